"""A simulated NAS: to test the server, to show it, and to try a plan before selling it.

`SimulatedNas` is pure: no socket, no clock. `aaa.simulator.udp` gives it both.
"""

from aaa.simulator.behaviour import BEHAVIOURS, Behaviour, Instant, Obedience, Service, behaviour_of
from aaa.simulator.nas import COA_PORT, Address, Event, Outgoing, Server, SimulatedNas
from aaa.simulator.profile import Told
from aaa.simulator.session import Figures, SimulatedSession

__all__ = [
    "BEHAVIOURS",
    "COA_PORT",
    "Address",
    "Behaviour",
    "Event",
    "Figures",
    "Instant",
    "Obedience",
    "Outgoing",
    "Server",
    "Service",
    "SimulatedNas",
    "SimulatedSession",
    "Told",
    "behaviour_of",
]
