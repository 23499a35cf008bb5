"""How each vendor's equipment wants to be told things: one small file per dialect, found by name.

A dialect is data and two functions; it decides nothing. What it claims is tested against the simulated NAS of the
same name, and where a real daemon runs on Linux, against that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aaa.wire import Attribute
from charging.plan import Profile

Capability = Literal["rate", "disconnect"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a kind of NAS understands. Attribute names are the dictionary's."""

    name: str
    about: str
    """One line for `aaa nas add --help`."""
    capability: Capability
    """`rate`: a CoA changes a running session's speed. `disconnect`: it can only be ended, and logs in again."""
    profile: Callable[[Profile], tuple[Attribute, ...]]
    """A profile in this vendor's words, for Accept and CoA alike: rates, pool, filter, redirect, timeouts of its own."""
    identification: tuple[str, ...]
    """What names a session in CoA and Disconnect, and nothing else: some refuse any further attribute."""
    reduced_identification: tuple[str, ...]
    """A smaller set, tried when the first is answered with 401, 402, 403, 404 or 407."""
    coa_port: int = 3799
    message_authenticator: bool = True
    """Whether CoA and Disconnect carry one."""
    event_timestamp: bool = False
    """Whether CoA and Disconnect carry one."""
    counters_reversed: bool = False
    session_timeout_extendable: bool = True
    """A Session-Timeout in the Accept can be moved later; where not, one for the balance's sake would outlive a top-up."""
    one_in_flight: bool = False
    """A second request for a session while one is unanswered is lost."""
    proof_of_ack: bool = True
    """False: it acknowledges what it does not do; only its next report tells."""
