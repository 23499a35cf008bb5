"""Very many sessions have nothing left at once, and some of their NASes do not answer or refuse: the runner's own queue.

`python -m tests.store.mass 10000` takes half a minute and prints what it measured; the suite runs a small one.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select, update
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from aaa import wire
from aaa.dynauth import Ports
from aaa.nas import Nas
from aaa.runner import Runner
from aaa.wire import Code
from charging import tables
from charging.admission import Admitted, Login
from charging.catalogue import NewAccount, add_accounts
from charging.database import open_engine
from charging.session import Report
from charging.settle import Item, Outcome, settle
from charging.writer import Writer
from tests.datagrams import Network, Sent, answering
from tests.store.shop import Shop, plan_by_volume

SECRET = b"a-secret-between-us"
COA_PORT = 3799
RESOURCES_UNAVAILABLE = 506
SESSIONS_PER_NAS = 20
AT_ONCE = 500
#: What a transaction takes on the runner's clock.
DATABASE_SECONDS = 0.02


@dataclass
class Nases:
    """A directory of generic NASes, one per address."""

    by_id: dict[int, Nas]

    def nas(self, nas_id: int) -> Nas | None:
        return self.by_id.get(nas_id)

    def proven_secret(self, nas: Nas, address: str) -> bytes | None:
        return None


@dataclass
class Measured:
    """Times in seconds: on the runner's clock, and of this machine."""

    sessions: int
    others_slowed_after: float
    empty_after: float
    real_seconds: float
    most_in_flight: int
    most_packets: int
    """To one session."""
    packets: int
    unenforced: int
    """Sessions on NASes that do as they are told, which nobody told in the end."""


@dataclass
class Mass:
    """`sessions` live ones on as many NASes as that takes; a tenth of those silent for a minute, a tenth refusing."""

    engine: Engine
    sessions: int
    network: Network = field(default_factory=Network)
    slowed_at: dict[bytes, float] = field(default_factory=dict)
    packets: dict[bytes, int] = field(default_factory=dict)
    most_in_flight: int = 0

    def __post_init__(self) -> None:
        self.shop = Shop(self.engine)
        self.began = self.shop.now
        self.plan_version_id = self.shop.plan(plan_by_volume())
        count = -(-self.sessions // SESSIONS_PER_NAS)
        kinds = ["silent", "refusing", *["doing"] * 8]
        self.kind_of = {number: kinds[number % 10] for number in range(count)}
        nases = {}
        for number, kind in self.kind_of.items():
            address = self.address_of(number)
            nases[number] = Nas(
                number, f"nas-{number}", address, (SECRET,), "nokia", None, COA_PORT, "no", limit_proxy_state=False,
                counters_reversed=False,
            )  # fmt: skip
            answers = answering(SECRET, RESOURCES_UNAVAILABLE if kind == "refusing" else None)
            self.network.nases[address, COA_PORT] = self.heard(kind, answers)
        self.writer = Writer(self.engine, self.by_and_by, self.now, chance=random.Random(1))
        self.runner = Runner(
            self.engine, self.writer, Nases(nases), Ports(self.network, chance=random.Random(2)), self.by_and_by, self.network,
            "node-a", self.now,
        )  # fmt: skip

    @staticmethod
    def address_of(number: int) -> str:
        return f"10.1.{number // 250}.{number % 250 + 1}"

    def now(self) -> int:
        return self.began + round(self.network.seconds() * 1000)

    def by_and_by(self, work: Callable[[], Any]) -> Deferred[Any]:
        """As in a thread: what comes meanwhile gathers to the next batch."""
        return deferLater(self.network, DATABASE_SECONDS, work)

    def heard(self, kind: str, answers: Callable[[Sent], bytes | None]) -> Callable[[Sent], bytes | None]:
        def hear(sent: Sent) -> bytes | None:
            packet = wire.parse(sent.datagram, frozenset({Code.COA_REQUEST, Code.DISCONNECT_REQUEST}))
            session = packet.first(44) or b""
            self.packets[session] = self.packets.get(session, 0) + 1
            self.most_in_flight = max(self.most_in_flight, self.runner.in_flight)
            if kind == "silent" and self.network.seconds() < 60:
                return None
            if kind == "doing":
                self.slowed_at.setdefault(session, self.network.seconds())
            return answers(sent)

        return hear

    def settle(self, items: list[Item], now: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for start in range(0, len(items), AT_ONCE):
            with self.engine.begin() as connection:
                some = items[start : start + AT_ONCE]
                outcomes += settle(connection, some, now, self.shop.plans, self.shop.chance).outcomes
        return outcomes

    def log_in(self) -> list[Report]:
        """Everybody, with a euro each; the reports of those who have used it."""
        with self.engine.begin() as connection:
            accounts = add_accounts(connection, [NewAccount(f"a{n}", "EUR") for n in range(self.sessions)], self.began)
            connection.execute(update(tables.bucket).values(balance=1_000_000))
        logins: list[Item] = [
            Login(account_id, 1, name, self.plan_version_id, None, None, n // SESSIONS_PER_NAS,
                  self.address_of(n // SESSIONS_PER_NAS), f"d{n}")
            for n, (name, account_id) in enumerate(accounts.items())
        ]  # fmt: skip
        admitted = self.settle(logins, self.began)
        starts = []
        for n, (login, at) in enumerate(zip(logins, admitted, strict=True)):
            assert isinstance(login, Login)
            assert isinstance(at, Admitted)
            starts.append(
                Report("start", login.nas_id, login.nas_address, login.username, b"S%d" % n, (at.account_id, at.session_id),
                       0, 0, 0, True, self.began, True, self.began, b"")
            )  # fmt: skip
        self.settle(list(starts), self.began)
        return starts

    def run(self) -> Measured:
        """One event: within ten seconds every session reports that it has used up what there was."""
        starts = self.log_in()
        self.writer.on_commands = self.runner.wake
        began = time.monotonic()
        self.runner.start()
        turn = -(-len(starts) // 20)
        for part in range(20):
            at = self.now()
            reports: list[Item] = [
                each._replace(kind="interim", octets_down=60_000_000, seconds=60, event_at=at, received_at=at)
                for each in starts[part * turn : (part + 1) * turn]
            ]
            self.settle(reports, at)
            self.runner.wake()
            self.network.pump([0.02] * 25)
        others = sum(self.kind_of[each.nas_id] == "doing" for each in starts)
        slowed_after = self.until(lambda: len(self.slowed_at) == others, 60)
        empty_after = self.until(lambda: not self.waiting(), 1_200)
        return Measured(
            self.sessions, slowed_after, empty_after, time.monotonic() - began, self.most_in_flight,
            max(self.packets.values()), sum(self.packets.values()), others - len(self.slowed_at),
        )  # fmt: skip

    def until(self, done: Callable[[], bool], seconds: float) -> float:
        deadline = self.network.seconds() + seconds
        while not done() and self.network.seconds() < deadline:
            self.network.pump([0.02] * 25)
        return self.network.seconds()

    def waiting(self) -> int:
        """Commands that are not finished, and those on their way."""
        with self.engine.connect() as connection:
            pending = connection.execute(select(func.count()).where(tables.command.c.state == "pending")).scalar_one()
        return int(pending) + self.runner.in_flight


def main(sessions: int) -> None:
    """Run one on SQLite and print what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'mass.db'}")
        tables.metadata.create_all(engine)
        print(replace(Mass(engine, sessions).run()))
        engine.dispose()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
