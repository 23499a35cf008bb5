"""docs/billing-sql.md is true: every column, every example, by plain SQL connections that know nothing of this code."""

import re
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine

from charging import foreign, inbox
from tests.store.shop import Shop, plan_by_volume

DOCUMENT = (Path(__file__).parents[2] / "docs" / "billing-sql.md").read_text(encoding="utf-8")
NAMES = (
    "billing_top_up",
    "billing_account",
    "billing_bucket",
    "billing_session",
    "billing_usage",
    "billing_ledger",
    "billing_notice",
    "billing_order",
    "billing_voucher",
    "billing_top_up_request",
    "billing_command",
    "billing_subscription",
    "billing_period",
)
BLOCKS = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)
# Those of orders are test_order_contract's.
EXAMPLES = [block for block in BLOCKS if not block.startswith(("-- psql", "-- order"))]


@pytest.fixture
def shop(engine: Engine) -> Shop:
    """Smith has a subscriber with a session that has used something."""
    shop = Shop(engine)
    shop.nas()
    version = shop.plan(plan_by_volume())
    account_id = shop.account("smith")
    shop.subscriber(account_id, "smith")
    shop.pay("smith", "3.00")
    session_id = shop.login(account_id, 1, "smith", version)
    shop.report(account_id, session_id, "start")
    shop.now += 60_000
    shop.report(account_id, session_id, "interim", up=1_000_000, down=4_000_000, seconds=60)
    return shop


@pytest.fixture
def plain(shop: Shop) -> Iterator[Any]:
    """A connection as a billing system opens it."""
    url = shop.engine.url
    if shop.engine.dialect.name == "sqlite":
        assert url.database is not None
        with closing(sqlite3.connect(url.database, isolation_level=None)) as connection:
            yield connection
    else:
        plain_url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain_url, autocommit=True) as connection:
            yield connection


@pytest.fixture
def turn(shop: Shop) -> Callable[[], None]:
    """What a running server does with the inbox."""

    def once() -> None:
        with shop.engine.begin() as connection:
            page = inbox.pending(connection, 100)
            foreign.answer(connection, inbox.INBOX, page.answers)
        shop.settle(*page.top_ups)

    return once


def documented(name: str) -> list[str]:
    """The columns that the section of that name lists."""
    section = DOCUMENT.split(f"\n### {name}\n", 1)[1].split("\n## ", 1)[0].split("\n### ", 1)[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_the_document_names_exactly_the_columns_that_there_are(plain: Any, name: str) -> None:
    columns = [column[0] for column in plain.execute(f"SELECT * FROM {name} WHERE 1 = 0").description]
    found = documented(name)
    assert sorted(found) == sorted(columns)
    if name not in {"billing_top_up", "billing_order"}:
        assert found == columns, "a reader finds them in the order of SELECT *"


def test_the_views_are_all_there_is(plain: Any) -> None:
    if isinstance(plain, sqlite3.Connection):
        rows = plain.execute("SELECT name FROM sqlite_master WHERE name LIKE 'billing%' AND type IN ('table', 'view')")
    else:
        rows = plain.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'billing%' AND table_schema = 'public'"
        )
    assert {row[0] for row in rows.fetchall()} == set(NAMES)


def test_the_examples_run_one_after_the_other(plain: Any, turn: Callable[[], None]) -> None:
    results = []
    for example in EXAMPLES:
        cursor = plain.execute(example)
        if example.startswith("INSERT"):
            turn()
        else:
            results.append([tuple(row) for row in cursor.fetchall()])
    status, account, buckets, sessions, usage, ledger, commands, _notices = results
    assert status[0][:2] == ("applied", None)
    # 13 EUR paid in, 0.10 used; the session holds its slice of the rest
    assert account[0][0] == "smith"
    assert 0 < account[0][1] < 12_900_000
    assert account[0][2:] == (5_000_000_000, 1)
    assert {row[1] for row in buckets} == {"money", "octets", "seconds"}
    assert [row[:2] for row in sessions] == [("smith", "nas-1")]
    assert sessions[0][3:] == (1_000_000, 4_000_000, 100_000)
    assert usage == [("smith", 5_000_000, 100_000)]
    assert commands == []
    assert [row[-1] for row in ledger] == ["bank:r1", "webshop:order-1041", "webshop:order-1042", "webshop:order-1043"]


def test_a_lost_answer_is_met_by_the_same_insert_again(plain: Any, turn: Callable[[], None]) -> None:
    insert = EXAMPLES[0]
    for _ in range(3):
        plain.execute(insert)
        turn()
    rows = plain.execute(
        "SELECT status, applied_at FROM billing_top_up WHERE source = 'webshop' ORDER BY top_up_id"
    ).fetchall()
    assert [row[0] for row in rows] == ["applied", "duplicate", "duplicate"]
    assert len({row[1] for row in rows}) == 1
    (found,) = plain.execute("SELECT money_micros FROM billing_account WHERE account = 'smith'").fetchall()
    assert found[0] == 3_000_000 - 100_000 + 10_000_000


def test_instants_are_times_in_utc(plain: Any) -> None:
    (row,) = plain.execute("SELECT started_at, last_report_at, closed_at FROM billing_session").fetchall()
    if isinstance(plain, sqlite3.Connection):
        assert row == ("2026-03-01 12:00:00.000+00:00", "2026-03-01 12:01:00.000+00:00", None)
    else:
        assert [moment and moment.timestamp() for moment in row] == [1_772_366_400, 1_772_366_460, None]


def test_the_session_id_of_the_nas_is_text(plain: Any) -> None:
    (row,) = plain.execute("SELECT acct_session_id, session_id FROM billing_session").fetchall()
    assert row[0] == f"s{row[1]}"


def test_the_role_can_pay_in_and_read_and_nothing_else(postgresql_url: str) -> None:
    role = f"billing_{uuid.uuid4().hex}"
    (block,) = (block for block in BLOCKS if block.startswith("-- psql"))
    url = postgresql_url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            connection.execute(re.sub(r"\bbilling(?=[ ;])", role, block))
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            connection.execute(EXAMPLES[0])
            for name in NAMES:
                connection.execute(f"SELECT * FROM {name}")
            for forbidden in (
                "INSERT INTO billing_top_up (source, external_ref, account, amount, status) VALUES ('a', 'b', 'c', '1', 'applied')",
                "UPDATE billing_top_up SET status = 'applied'",
                "DELETE FROM billing_top_up",
                "SELECT password_sealed FROM subscriber",
                "SELECT secret_sealed FROM nas",
                "DELETE FROM transfer",
                "UPDATE bucket SET balance = 1",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(forbidden)
        finally:
            connection.execute("RESET ROLE")
            connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(role)))


@pytest.mark.parametrize("statement", ["UPDATE {} SET account_id = 1", "DELETE FROM {}"])
@pytest.mark.parametrize("table", ["transfer", "usage_line"])
def test_what_is_written_once_is_never_changed(shop: Shop, plain: Any, table: str, statement: str) -> None:
    with pytest.raises(
        (sqlite3.IntegrityError, psycopg.errors.RaiseException), match=f"rows of {table} are never changed"
    ):
        plain.execute(statement.format(table))
