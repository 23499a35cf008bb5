"""`aaa orphan`: what nobody was charged for is charged when somebody says so, once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aaa import wire
from aaa.accounting import report_of
from aaa.directory import metered
from aaa.wire import Attribute, Code
from charging import tables
from charging.database import open_engine
from charging.session import Report
from charging.transaction import run, settle_in
from charging.usage import Orphan
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
    began = now() - 3_600_000
    numbers = itertools.count()

    def one(
        kind: int, username: str, acct_session_id: str, seconds: int, *, down: int = 0, source: str = "192.0.2.1",
        timed: bool = True,
    ) -> object:  # fmt: skip
        attributes: list[Attribute] = [
            ("Acct-Status-Type", kind), ("User-Name", username), ("Acct-Session-Id", acct_session_id),
            *([("Acct-Session-Time", seconds)] if timed else []), ("Acct-Output-Octets", down * MB),
            ("Acct-Input-Octets", 0), ("Calling-Station-Id", "02-00-00-00-00-01"), ("Event-Timestamp", began // 1000 + seconds),
        ]  # fmt: skip
        packet = wire.request(
            Code.ACCOUNTING_REQUEST, next(numbers) % 256, attributes, SECRET.encode(), message_authenticator=False
        )
        parsed = wire.parse(packet, frozenset({Code.ACCOUNTING_REQUEST}))
        report = report_of(parsed, nases[source], source, began + seconds * 1000, ())
        assert isinstance(report, Report)
        return run(engine, lambda connection: settle_in(connection, [report], now())).outcomes[0]

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


def test_a_start_of_another_session_under_the_same_id_opens_none(orphaned: Aaa, send: Send) -> None:
    send(START, "alice", "81000001", 300)
    orphaned.ok("orphan", "charge", "alice")
    assert all(each["state"] == "closed" for each in orphaned.json("session", "list", "--all"))


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
