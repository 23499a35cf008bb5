"""NASes and the people on them, decided by the seed: what they are, and what they do all day."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.base import DelayedCall

from aaa.simulator import COA_PORT, Behaviour, Outgoing, Server, SimulatedNas, SimulatedSession
from tests.simulation.clock import FakeClock
from tests.simulation.network import Address, Network

FIRST_NAS_PORT = 20_000
PASSWORD = "a password"
#: Equipment that keeps a session to its rate, and equipment that can only end it: there the line itself is slow.
SHAPING = ("generic", "mikrotik", "accel-ppp", "chillispot", "wispr", "huawei", "nokia")
NOT_SHAPING = ("hostapd", "strongswan", "ubiquiti-edge")
SLOW_LINE_BPS = (1_000_000, 4_000_000)


class Station:
    """A simulated NAS at its place in the network, with its own idea of the time."""

    def __init__(self, nas: SimulatedNas, clock: FakeClock, network: Network, skew_ms: int) -> None:
        self.nas = nas
        self.skew_ms = skew_ms
        self.on_change: Callable[[], None] = lambda: None
        self._clock = clock
        self._network = network
        self._alarm: DelayedCall | None = None
        if nas.coa_port is not None:
            network.listening[nas.address, nas.coa_port] = self._receiver(COA_PORT)

    def now(self) -> int:
        """Its own clock."""
        return self._clock.now + self.skew_ms

    def settle(self) -> None:
        """Send what it has to send, and be there when it next wants to do something. Call it after every change."""
        self.on_change()
        outbox, self.nas.outbox = self.nas.outbox, []
        for outgoing in outbox:
            self._network.send(self._source(outgoing), outgoing.destination, outgoing.datagram)
        due = self.nas.due()
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        self._alarm = None if due is None else self._clock.at(due - self.skew_ms, self._tick)

    def _tick(self) -> None:
        self.nas.tick(self.now())
        self.settle()

    def _source(self, outgoing: Outgoing) -> Address:
        if outgoing.port == COA_PORT:
            assert self.nas.coa_port is not None
            return self.nas.address, self.nas.coa_port
        address = self.nas.address, FIRST_NAS_PORT + outgoing.port
        if address not in self._network.listening:
            self._network.listening[address] = self._receiver(outgoing.port)
        return address

    def _receiver(self, port: int):  # type: ignore[no-untyped-def]
        def receive(datagram: bytes, source: Address) -> None:
            self.nas.receive(datagram, source, self.now(), port)
            self.settle()

        return receive


#: They know a session by Acct-Session-Id alone.
BY_SESSION_ID = ("huawei", "nokia")


def behaviour(dialect: str, chance: random.Random, *, fair: bool) -> Behaviour:
    """Some manners or other. `fair`: it reports honestly and does what it is told."""
    obeys = fair or chance.random() < 0.75
    session_ids, class_echoed = chance.choice(["unique", "reused", "literal"]), chance.random() < 0.7
    if session_ids == "literal" and dialect in BY_SESSION_ID:
        session_ids = "unique"
    gigawords = chance.random() < 0.6
    # What neither has names of its own nor brings ours back must at least know the time.
    event_timestamp = chance.random() < 0.8 or not (class_echoed or session_ids == "unique")
    return Behaviour(
        interim_seconds=chance.choice([None, None, None, 30, 90]),
        least_interim_seconds=chance.choice([0, 0, 0, 120]),
        counters=chance.choice(["all"] * 8 + ["not-in-stop", "none"]) if not fair else "all",  # type: ignore[arg-type]
        gigawords=gigawords,
        counters_reversed=chance.random() < 0.3,
        # Without gigawords nobody could tell a reset from a wrap.
        counters_reset_after_seconds=chance.randrange(100, 700)
        if gigawords and not fair and chance.random() < 0.2
        else None,
        session_ids=session_ids,  # type: ignore[arg-type]
        event_timestamp=event_timestamp,
        class_echoed=class_echoed,
        accounting_on=chance.random() < 0.6,
        message_authenticator=chance.random() < 0.8,
        retransmission=chance.choice(["same-bytes", "new-identifier", "fresh-counters"]),
        timeout_ms=chance.choice([1_000, 3_000, 5_000]),
        attempts_per_server=chance.randrange(2, 6),
        gives_up=chance.random() < 0.5,
        ends_unreported_sessions=chance.random() < 0.2,
        coa="obey" if obeys else chance.choice(["ack-only", "nak", "ignore", "silent"]),
        disconnect="obey" if fair or chance.random() < 0.9 else chance.choice(["ack-only", "nak", "ignore", "silent"]),
        answer_delay_ms=chance.choice([0, 0, 0, 800, 2_500]),
        redirected_bps=64_000,
    )


def nas(number: int, servers: list[Server], chance: random.Random, *, fair: bool) -> SimulatedNas:
    """One of the fleet."""
    chosen = servers[:]
    chance.shuffle(chosen)
    dialect = chance.choice(SHAPING if chance.random() < 0.8 else NOT_SHAPING)
    return SimulatedNas(
        f"nas-{number}",
        f"192.0.2.{number}",
        f"the secret of nas {number}, thirty-two".encode(),
        dialect,
        chosen,
        coa_port=chance.choice([3799, 1700]),
        behaviour=behaviour(dialect, chance, fair=fair),
        seed=chance.getrandbits(32),
    )


@dataclass
class Line:
    """A subscriber's device: it comes and goes and wants more or less."""

    username: str
    station: Station
    calling_station: str
    port: int
    chance: random.Random
    clock: FakeClock
    busiest_bps: int
    session: SimulatedSession | None = None
    quiet: bool = False
    """It neither comes nor goes nor changes its mind any more."""

    def start(self) -> None:
        """Some time in the first minutes."""
        self._again(1, 180)

    def _again(self, first_seconds: int, last_seconds: int) -> None:
        self.clock.at(self.clock.now + self.chance.randrange(first_seconds * 1000, last_seconds * 1000), self._step)

    def _step(self) -> None:
        if self.quiet:
            return
        nas, now = self.station.nas, self.station.now()
        session = self.session
        if session is None or session.state in ("refused", "unanswered", "ended"):
            self.session = nas.log_in(
                self.username, PASSWORD, now,
                method=self.chance.choice(["pap", "chap"]),
                calling_station=self.calling_station, nas_port=self.port, demand_bps=self._demand(),
            )  # fmt: skip
        elif session.online:
            what = self.chance.random()
            if what < 0.25:
                nas.log_out(session, now)
            elif what < 0.6:
                up, down = self._demand()
                nas.use(session, now, up_bps=up, down_bps=down)
        self.station.settle()
        if self.chance.random() < 0.2:
            self._again(2, 6)  # a client that was cut comes back at once
        else:
            self._again(15, 240)

    def _demand(self) -> tuple[int, int]:
        most = self.busiest_bps
        up = self.chance.choice([0, most // 100, most // 10])
        down = self.chance.choice([0, most // 20, most // 2, most, most])
        if self.station.nas.dialect in NOT_SHAPING:
            return min(up, SLOW_LINE_BPS[0]), min(down, SLOW_LINE_BPS[1])
        return up, down
