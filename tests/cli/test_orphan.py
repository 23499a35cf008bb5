"""`aaa orphan`: what nobody was charged for is charged when somebody says so, once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from aaa import wire
from aaa.accounting import report_of
from aaa.directory import metered
from aaa.wire import Attribute, Code
from charging import tables
from charging.admission import Admitted, Login
from charging.database import open_engine
from charging.history_rows import owners
from charging.session import Report, device_key
from charging.transaction import run, settle_in
from charging.usage import Orphan, Recorded
from cli.clock import now
from tests.cli.conftest import Aaa

SECRET = "a-secret-of-a-tested-nas"
START, STOP, INTERIM = 1, 2, 3
MB = 1_000_000
#: Wall time of all of it; EUR of prepaid-50 beyond its allowance: 0.50 a session and 0.002 for each 100 kB begun.
Send = Callable[..., object]


@pytest.fixture
def shop_with_nas(shop: Aaa) -> Aaa:
    shop.ok("nas", "add", "bras-1", "--address", "192.0.2.1", "--secret-stdin", stdin=SECRET)
    shop.ok("nas", "add", "bras-2", "--address", "192.0.2.2", "--secret-stdin", stdin=SECRET)
    return shop


@pytest.fixture
def send(shop_with_nas: Aaa) -> Iterator[Send]:
    """`send(INTERIM, "alice", "81000001", 60, down=5)`: what a server does with a report, `seconds` after the session began."""
    engine = open_engine(shop_with_nas.database_url)
    with engine.connect() as connection:
        nases = {nas.network: nas for nas in metered(connection).values()}
    first = now() - 3_600_000
    numbers = itertools.count()

    def one(
        kind: int, username: str, acct_session_id: str, seconds: int, *, down: int = 0, source: str = "192.0.2.1",
        timed: bool = True, began: int = 0,
    ) -> object:  # fmt: skip
        at = first + began * 1000 + seconds * 1000
        attributes: list[Attribute] = [
            ("Acct-Status-Type", kind), ("User-Name", username), ("Acct-Session-Id", acct_session_id),
            *([("Acct-Session-Time", seconds)] if timed else []), ("Acct-Output-Octets", down * MB),
            ("Acct-Input-Octets", 0), ("Calling-Station-Id", "02-00-00-00-00-01"), ("Event-Timestamp", at // 1000),
        ]  # fmt: skip
        packet = wire.request(
            Code.ACCOUNTING_REQUEST, next(numbers) % 256, attributes, SECRET.encode(), message_authenticator=False
        )
        parsed = wire.parse(packet, frozenset({Code.ACCOUNTING_REQUEST}))
        report = report_of(parsed, nases[source], source, at, ())
        assert isinstance(report, Report)
        return run(engine, lambda connection: settle_in(connection, [report], now())).outcomes[0]

    yield one
    engine.dispose()


@pytest.fixture
def log_in(shop_with_nas: Aaa) -> Iterator[Callable[[str], Admitted]]:
    """A login on bras-1, as a server lets it in."""
    engine = open_engine(shop_with_nas.database_url)

    def one(username: str) -> Admitted:
        with engine.connect() as connection:
            account_id, subscriber_id, version_id = owners(connection, [username])[username]
            (nas,) = [each for each in metered(connection).values() if each.name == "bras-1"]
        station = "02-00-00-00-00-01"
        login = Login(
            account_id, subscriber_id, username, version_id, None, None, nas.nas_id, "192.0.2.1",
            device_key(nas.nas_id, "192.0.2.1", None, station), station,
        )  # fmt: skip
        outcome = run(engine, lambda connection: settle_in(connection, [login], now())).outcomes[0]
        assert isinstance(outcome, Admitted)
        return outcome

    yield one
    engine.dispose()


@pytest.fixture
def orphaned(shop_with_nas: Aaa, send: Send) -> Aaa:
    """Alice has 50 GB; her NAS let her in without asking, and Bob whom nobody knows."""
    shop_with_nas.ok("subscriber", "add", "alice", "--plan", "prepaid-50")
    sent = [
        send(START, "alice", "81000001", 0),
        send(INTERIM, "alice", "81000001", 60, down=5),
        send(INTERIM, "alice", "81000001", 120, down=9),
        send(STOP, "alice", "81000001", 180, down=10),
        send(INTERIM, "alice", "81000002", 60, down=2, source="192.0.2.2"),
        send(INTERIM, "bob", "81000001", 60, down=1),
    ]
    assert [getattr(each, "reason", each) for each in sent] == ["unknown-session"] * 5 + ["unknown-user"]
    assert all(isinstance(each, Orphan) for each in sent)
    return shop_with_nas


def lines(records: list[Any]) -> list[tuple[Any, ...]]:
    names = ("username", "nas", "acct_session_id", "reports", "octets_down", "seconds")
    return sorted(tuple(record[name] for name in names) for record in records)


def test_they_are_listed_by_session(orphaned: Aaa) -> None:
    assert lines(orphaned.json("orphan", "list")) == [
        ("alice", "bras-1", "81000001", 4, 10 * MB, 180),
        ("alice", "bras-2", "81000002", 1, 2 * MB, 60),
        ("bob", "bras-1", "81000001", 1, 1 * MB, 60),
    ]
    ended = {each["acct_session_id"]: each["ended"] for each in orphaned.json("orphan", "list", "--user", "alice")}
    assert ended == {"81000001": True, "81000002": False}
    assert lines(orphaned.json("orphan", "list", "--nas", "bras-2")) == [("alice", "bras-2", "81000002", 1, 2 * MB, 60)]
    assert "81000002" in orphaned.ok("orphan", "list")


def test_they_are_charged_as_if_they_had_been_let_in(orphaned: Aaa, send: Send) -> None:
    charged = orphaned.json("orphan", "charge", "alice", "--session", "81000001")
    assert lines(charged) == [("alice", "bras-1", "81000001", 4, 10 * MB, 180)]
    (bucket, _) = orphaned.json("balance", "alice")["buckets"]
    assert bucket["balance"] == 50_000 * MB - 10 * MB
    (session,) = orphaned.json("session", "list", "--all")
    assert (session["session_id"], session["close_reason"]) == (charged[0]["session_id"], "adopted")
    assert (session["octets_down"], session["seconds"], session["state"]) == (10 * MB, 180, "closed")
    # Three reports added something, each with its own draw; and the auditor agrees.
    assert [line["octets_down"] for line in orphaned.json("usage", "alice", "--by", "line")] == [MB, 4 * MB, 5 * MB]
    assert orphaned.json("ledger", "check")["violations"] == []
    # Nobody is told anything of a session that nobody let in.
    assert orphaned.json("session", "show", str(session["session_id"]))["commands"] == []
    # Once: it is not there any more, and the same report again adds nothing.
    assert len(orphaned.json("orphan", "list")) == 2
    assert orphaned.json("orphan", "charge", "alice", "--session", "81000001") == []
    send(STOP, "alice", "81000001", 180, down=10)
    assert orphaned.json("balance", "alice")["buckets"][0]["balance"] == bucket["balance"]


def test_what_comes_later_goes_on_from_there(orphaned: Aaa, send: Send) -> None:
    first = orphaned.json("orphan", "charge", "alice", "--nas", "bras-2")[0]
    send(STOP, "alice", "81000002", 600, down=7, source="192.0.2.2")
    assert orphaned.json("balance", "alice")["buckets"][0]["balance"] == 50_000 * MB - 7 * MB
    assert [each["session_id"] for each in orphaned.json("session", "list", "--all")] == [first["session_id"]]
    assert lines(orphaned.json("orphan", "list", "--user", "alice")) == [
        ("alice", "bras-1", "81000001", 4, 10 * MB, 180)
    ]


def test_beyond_the_allowance_money_pays_and_then_nobody(orphaned: Aaa, send: Send) -> None:
    data = str(orphaned.json("balance", "alice")["buckets"][0]["bucket_id"])
    orphaned.ok("adjust", "alice", "--take", "50GB", "--bucket", data, "--reason", "test", "--reference", "r1")
    orphaned.ok("topup", "alice", "0.60", "--reference", "r2")
    (charged,) = orphaned.json("orphan", "charge", "alice", "--nas", "bras-1")
    # 0.50 for the session and 0.10 for 5 MB; of the other 5 MB it is written down that nothing paid.
    assert charged["amount_micros"] == 600_000
    (session,) = orphaned.json("session", "list", "--all")
    assert session["leaked_octets"] == 5 * MB
    assert orphaned.json("ledger", "check")["violations"] == []


def test_who_is_no_subscriber_is_charged_when_he_is_one(orphaned: Aaa) -> None:
    assert "there is no subscriber 'bob'" in orphaned.fails("orphan", "charge", "bob")
    orphaned.ok("subscriber", "add", "bob", "--plan", "prepaid-50")
    assert lines(orphaned.json("orphan", "charge", "bob")) == [("bob", "bras-1", "81000001", 1, MB, 60)]


def test_a_start_after_the_stop_begins_a_session_of_its_own_which_is_over_too(orphaned: Aaa, send: Send) -> None:
    send(START, "alice", "81000001", 300)
    orphaned.ok("orphan", "charge", "alice")
    sessions = orphaned.json("session", "list", "--all")
    assert [each["state"] for each in sessions] == ["closed"] * 3


#: What a NAS says under one Acct-Session-Id, by second of the wall: (kind, when, how long, MB down), and the sessions that it
#: is: (reports, MB, seconds).
RUNS: Final = {
    "each with its start and stop": (
        [(START, 0, 0, 0), (STOP, 180, 180, 10), (START, 300, 0, 0), (INTERIM, 360, 60, 3), (STOP, 420, 120, 7)],
        [(2, 10, 180), (3, 7, 120)],
    ),
    "in the wrong order": (
        [(STOP, 420, 120, 7), (INTERIM, 360, 60, 3), (STOP, 180, 180, 10), (START, 300, 0, 0), (START, 0, 0, 0)],
        [(2, 10, 180), (3, 7, 120)],
    ),
    "stopped and started within one second": (
        [(START, 0, 0, 0), (START, 180, 0, 0), (STOP, 180, 180, 10), (STOP, 200, 20, 2)],
        [(2, 10, 180), (2, 2, 20)],
    ),
    "the first stop is lost": (
        [(START, 0, 0, 0), (INTERIM, 60, 60, 4), (START, 300, 0, 0), (STOP, 330, 30, 1)],
        [(2, 4, 60), (2, 1, 30)],
    ),
    "the second start is lost": ([(START, 0, 0, 0), (STOP, 60, 60, 4), (STOP, 400, 100, 1)], [(2, 4, 60), (1, 1, 100)]),
    "three times": (
        [(START, 0, 0, 0), (STOP, 60, 60, 4), (START, 90, 0, 0), (STOP, 120, 30, 4), (START, 130, 0, 0), (STOP, 180, 50, 4)],
        [(2, 4, 60), (2, 4, 30), (2, 4, 50)],
    ),
    "once, and a part of it twice": (
        [(START, 0, 0, 0), (START, 0, 0, 0), (INTERIM, 60, 60, 3), (STOP, 180, 180, 10), (INTERIM, 120, 120, 5)],
        [(5, 10, 180)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("said", "sessions"), RUNS.values(), ids=RUNS.keys())
def test_an_id_that_was_used_again_names_another_session(
    shop_with_nas: Aaa, send: Send, said: list[tuple[int, int, int, int]], sessions: list[tuple[int, int, int]]
) -> None:
    shop_with_nas.ok("subscriber", "add", "alice", "--plan", "prepaid-50")
    for kind, second, seconds, down in said:
        send(kind, "alice", "81000009", seconds, down=down, began=second - seconds)
    expected = [("alice", "bras-1", "81000009", n, mb * MB, seconds) for n, mb, seconds in sessions]
    assert lines(shop_with_nas.json("orphan", "list")) == sorted(expected)
    charged = shop_with_nas.json("orphan", "charge", "alice", "--session", "81000009")
    assert lines(charged) == sorted(expected)
    assert len({each["session_id"] for each in charged}) == len(sessions)
    (bucket, _) = shop_with_nas.json("balance", "alice")["buckets"]
    assert bucket["balance"] == 50_000 * MB - sum(mb for _, mb, _ in sessions) * MB
    assert shop_with_nas.json("ledger", "check")["violations"] == []
    assert shop_with_nas.json("orphan", "list") == []
    # Everything again, late: each knows its session, and nothing is charged twice.
    for kind, second, seconds, down in said:
        if kind != START:
            send(kind, "alice", "81000009", seconds, down=down, began=second - seconds)
    assert shop_with_nas.json("balance", "alice")["buckets"][0]["balance"] == bucket["balance"]


def test_what_came_before_a_session_that_was_let_in_is_not_that_session(
    shop_with_nas: Aaa, send: Send, log_in: Callable[[str], Admitted]
) -> None:
    """Bob was nobody's; now he is a subscriber, and his NAS gives its ids anew."""
    send(START, "bob", "81000009", 0)
    send(STOP, "bob", "81000009", 500, down=20)
    shop_with_nas.ok("subscriber", "add", "bob", "--plan", "prepaid-50")
    let_in = log_in("bob")
    sent = [send(START, "bob", "81000009", 0, began=600), send(INTERIM, "bob", "81000009", 60, down=3, began=600)]
    assert [getattr(each, "session_id", each) for each in sent] == [let_in.session_id] * 2
    (charged,) = shop_with_nas.json("orphan", "charge", "bob")
    assert (charged["octets_down"], charged["session_id"] != let_in.session_id) == (20 * MB, True)
    late = send(INTERIM, "bob", "81000009", 400, down=15)
    more = send(STOP, "bob", "81000009", 120, down=8, began=600)
    assert [(each.session_id, each.used.down) for each in (late, more) if isinstance(each, Recorded)] == [
        (charged["session_id"], 0),
        (let_in.session_id, 5 * MB),
    ]
    again = send(STOP, "bob", "81000009", 121, down=9, began=600)
    assert isinstance(again, Recorded)
    assert again.session_id == let_in.session_id  # closed as well, and begun later
    assert shop_with_nas.json("ledger", "check")["violations"] == []


def test_without_a_session_time_what_the_line_can_carry_is_known_by_the_reports_own(orphaned: Aaa, send: Send) -> None:
    """20 Mbit/s are 150 MB in a minute."""
    send(START, "alice", "81000003", 0, timed=False)
    send(INTERIM, "alice", "81000003", 60, down=100, timed=False)
    assert lines(orphaned.json("orphan", "charge", "alice", "--session", "81000003"))[0][4] == 100 * MB


def test_they_are_forgotten(orphaned: Aaa) -> None:
    assert orphaned.ok("orphan", "forget", "--before", "2001-01-01") == "0 reports deleted\n"
    orphaned.ok("orphan", "charge", "alice", "--nas", "bras-2")
    assert orphaned.ok("orphan", "forget", "--user", "alice", "--before", "2100-01-01") == "4 reports deleted\n"
    assert [each["username"] for each in orphaned.json("orphan", "list")] == ["bob"]
    # What was charged is kept: it is what the charge rests on.
    engine = open_engine(orphaned.database_url)
    with engine.connect() as connection:
        assert len(connection.execute(tables.orphan_report.select()).all()) == 2
    engine.dispose()


def test_the_doctor_says_what_to_do(orphaned: Aaa) -> None:
    assert "aaa orphan list" in orphaned("doctor").stdout


def test_what_a_nas_says_does_not_steer_the_terminal(orphaned: Aaa, send: Send) -> None:
    send(INTERIM, "alice", "\x1b[31m\n=1", 60, down=1)
    assert "\x1b" not in orphaned.ok("orphan", "list")
    assert "\x1b" not in orphaned.ok("orphan", "charge", "alice")
