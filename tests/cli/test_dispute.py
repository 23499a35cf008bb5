"""`aaa dispute`: everything about anna in some days, and what shows that nothing was changed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from hashlib import sha256

import pytest
from sqlalchemy import text

from charging.admission import Admitted
from charging.database import open_engine
from cli.clock import now
from cli.output import iso
from tests.cli.conftest import Aaa
from tests.cli.reports import book

DAY_MS = 86_400_000
#: Tomorrow: the plan's allowance is granted today and lasts a month.
FIRST = now() // DAY_MS * DAY_MS + DAY_MS


def day(number: int) -> str:
    """The first, second, third … day of it."""
    return (iso(FIRST + (number - 1) * DAY_MS) or "")[:10]


TIME = ("--from", day(0), "--to", day(10))


@pytest.fixture
def anna(shop: Aaa, log_in: Callable[[str], Admitted]) -> Aaa:
    """Anna uses 45 of her 50 GB, which is told, in a session that ends; one report comes of nobody's session."""
    shop.ok("subscriber", "add", "anna", "--plan", "prepaid-50", "--password", "correct horse battery")
    admitted = log_in("anna")
    engine = open_engine(shop.database_url)
    for kind, when, up, down in (
        ("start", 0, 0, 0),
        ("interim", DAY_MS, 0, 30_000_000_000),
        ("interim", DAY_MS, 0, 30_000_000_000),
        ("stop", 2 * DAY_MS, 1_000_000_000, 44_000_000_000),
    ):
        book(engine, admitted, kind, FIRST + when, up=up, down=down, seconds=when // 1000)  # type: ignore[arg-type]
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO orphan_report (digest, nas_id, nas_address, username, reason, packet, received_at) "
                "VALUES ('feed', 1, '192.0.2.1', 'anna', 'unknown-session', :packet, :at)"
            ),
            {"packet": b"=SUM(1)", "at": FIRST + 5 * DAY_MS},
        )
        connection.execute(
            text(
                "INSERT INTO trace (node, received_at, nas, username, kind, result, microseconds, steps) VALUES "
                "('one', :at, 'bras-1', 'anna', 'login', 'reject', 1004000, :steps), "
                "('one', :at, 'bras-1', 'bob', 'login', 'reject', 1004000, :steps)"
            ),
            {"at": FIRST + 6 * DAY_MS, "steps": '[[20, "the shared secret is right"], [3250, "PAP: wrong"]]'},
        )
    engine.dispose()
    return shop


def test_everything_is_there_in_the_order_of_time(anna: Aaa) -> None:
    made = anna.json("dispute", "anna", *TIME)
    whats = [record["what"] for record in made["records"]]
    assert whats[:3] == ["bundle", "transfer", "session"]
    # The duplicate interim has added nothing, and left no line.
    assert sorted(whats[3:]) == sorted(["report", "report", "notice", "transfer", "transfer", "orphan", "packet"])
    assert [r["at"] for r in made["records"][1:]] == sorted(r["at"] for r in made["records"][1:])
    first, last = [record for record in made["records"] if record["what"] == "report"]
    assert [(d["bucket"], d["unit"], d["amount"]) for d in first["draws"]] == [("data", "octets", 30_000_000_000)]
    assert (last["kind"], last["octets_down_from"], last["octets_down_to"]) == ("stop", 30_000_000_000, 44_000_000_000)
    posted = sum(r["amount"] for r in made["records"] if r["what"] == "transfer" and r["kind"] == "usage")
    assert posted == 45_000_000_000
    assert [check["holds"] for check in made["checks"]] == [True] * 4


def test_the_packets_that_the_history_has_are_there(anna: Aaa) -> None:
    (packet,) = [record for record in anna.json("dispute", "anna", *TIME)["records"] if record["what"] == "packet"]
    assert (packet["kind"], packet["result"], packet["steps"][1]) == (
        "login", "reject", {"microseconds": 3250, "words": "PAP: wrong"},
    )  # fmt: skip
    assert "packet    login at bras-1, reject: PAP: wrong" in anna.ok("dispute", "anna", *TIME)


def test_the_hashes_are_a_chain_that_anybody_can_follow(anna: Aaa) -> None:
    made = anna.json("dispute", "anna", *TIME)
    previous = ""
    for record in made["records"]:
        rest = {key: value for key, value in record.items() if key != "hash"}
        line = json.dumps(rest, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        previous = sha256(f"{previous}\n{line}".encode()).hexdigest()
        assert record["hash"] == previous
    assert made["hash"] == previous


def test_only_what_lies_in_the_time(anna: Aaa) -> None:
    made = anna.json("dispute", "anna", "--from", day(3), "--to", day(3))
    assert [r["kind"] for r in made["records"] if r["what"] == "report"] == ["stop"]
    made = anna.json("dispute", "anna", "--from", "2020-01-01", "--to", "2020-01-31")
    assert [r["what"] for r in made["records"]] == ["bundle"]
    assert "--to is before --from" in anna.fails("dispute", "anna", "--from", day(3), "--to", day(1))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("UPDATE transfer SET amount = amount - 1 WHERE kind = 'usage'", {"ledger", "postings"}),
        ("UPDATE usage_line SET draws = '[]' WHERE line_no = 1", {"draws"}),
        ("UPDATE usage_line SET octets_down_to = octets_down_to - 1 WHERE line_no = 1", {"reports"}),
    ],
)
def test_what_was_changed_afterwards_is_seen(anna: Aaa, change: str, broken: set[str]) -> None:
    engine = open_engine(anna.database_url)
    with engine.begin() as connection:
        for trigger in ("transfer_no_update", "usage_line_no_update"):
            connection.exec_driver_sql(f"DROP TRIGGER {trigger}")
        connection.exec_driver_sql(change)
    engine.dispose()
    result = anna("dispute", "anna", *TIME, "--json")
    assert result.exit_code == 1
    assert {check["name"] for check in json.loads(result.stdout)["checks"] if not check["holds"]} == broken


def test_a_spreadsheet_gets_a_line_for_every_draw(anna: Aaa) -> None:
    rows = list(csv.DictReader(io.StringIO(anna.ok("dispute", "anna", *TIME, "--format", "csv"))))
    draws = [row for row in rows if row["what"] == "draw"]
    assert [(row["unit"], row["amount"], row["detail"]) for row in draws] == [
        ("octets", "30000000000", "data"), ("octets", "15000000000", "data"),
    ]  # fmt: skip
    assert all(not value.startswith(("=", "+", "-", "@")) for row in rows for value in row.values())


def test_people_read_lines(anna: Aaa) -> None:
    lines = anna.ok("dispute", "anna", *TIME).splitlines()
    assert lines[0].startswith(f"Subscriber anna, account anna, {day(0)}T00:00:00.000Z to {day(11)}")
    assert any("interim: up 0 B, down 30 GB, 1d; 30 GB of data" in line for line in lines)
    assert any("usage: 30 GB from bucket:" in line for line in lines)
    assert any("threshold" in line and "sent to nobody" in line for line in lines)
    assert "holds: the draws add up to what was charged" in lines
    assert lines[-1].startswith("SHA-256 of the whole: ")
