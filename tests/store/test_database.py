"""Opening a database: which URLs, and the settings that a durable commit needs."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import psycopg
import pytest
import sqlalchemy.exc
from sqlalchemy import Engine, insert, select, text

from aaa.handlers import OUR_FAILURES
from charging import database, tables


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///x.db", "sqlite"),
        ("postgresql://u@h/n", "postgresql+psycopg"),
        ("postgres://u@h/n", "postgresql+psycopg"),
        ("postgresql+psycopg://u:p%40ss@h/n", "postgresql+psycopg"),
    ],
)
def test_urls(url: str, driver: str) -> None:
    assert database.open_engine(url).url.drivername == driver


@pytest.mark.parametrize("url", ["", "aaa.db", "mysql://u@h/n", "postgresql+asyncpg://u@h/n", "sqlite+other:///x"])
def test_other_urls_are_refused_with_words(url: str) -> None:
    with pytest.raises(database.DatabaseUrlError, match=r"database|sqlite"):
        database.open_engine(url)


def test_a_password_does_not_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert "geheim" not in repr(database.open_engine("postgresql://u:geheim@h/n"))


def test_sqlite_commits_to_the_disk(sqlite_url: str) -> None:
    engine = database.open_engine(sqlite_url)
    with engine.connect() as connection:
        found = {
            p: connection.execute(text(f"PRAGMA {p}")).scalar_one()
            for p in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    engine.dispose()


def test_a_reader_sees_one_state_and_locks_nobody_out(engine: Engine) -> None:
    def count() -> int:
        return len(connection.execute(select(tables.account)).all())

    with database.reading(engine) as connection:
        assert count() == 0
        with engine.begin() as writer:
            writer.execute(insert(tables.account).values(name="a", currency="EUR", created_at=0))
        assert count() == 0
    with database.reading(engine) as connection:
        assert count() == 1


def test_writers_wait_for_each_other_also_when_they_read_first(engine: Engine) -> None:
    """A SQLite transaction that began by reading could not wait: it would fail with "locked"."""
    with engine.begin() as connection:
        connection.execute(insert(tables.account).values(account_id=1, name="a", currency="EUR", created_at=0))
    failed: list[Exception] = []

    def add_one() -> None:
        for _ in range(10):
            try:
                with engine.begin() as connection:
                    lock = " FOR UPDATE" if engine.dialect.name == "postgresql" else ""
                    version = connection.execute(text(f"SELECT version FROM account{lock}")).scalar_one()
                    connection.execute(text("UPDATE account SET version = :v"), {"v": version + 1})
            except sqlalchemy.exc.SQLAlchemyError as error:
                failed.append(error)

    threads = [threading.Thread(target=add_one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with database.reading(engine) as connection:
        assert connection.execute(select(tables.account.c.version)).scalar_one() == 30


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("account", "(account_id, name, currency, created_at, kind) VALUES (1, 'a', 'EUR', 0, 'gift')"),
        ("account", "(account_id, name, currency, created_at, credit_limit_micros) VALUES (1, 'a', 'EUR', 0, -1)"),
        (
            "bucket",
            "(account_id, bucket_id, name, unit, source, valid_from, created_at, held) VALUES (1, 1, 'b', 'money', '', 0, 0, -1)",
        ),
        (
            "bucket",
            "(account_id, bucket_id, name, unit, source, valid_from, created_at) VALUES (1, 1, 'b', 'bananas', '', 0, 0)",
        ),
        ("session_charge", "(account_id, session_id, bucket_id, unit, held) VALUES (1, 1, 1, 'octets', -1)"),
        (
            "transfer",
            (
                "(account_id, seq, debit, credit, unit, amount, kind, reference, effective_at, recorded_at, actor, hash)"
                " VALUES (1, 1, 'a', 'b', 'money', 0, '', '', 0, 0, '', '')"
            ),
        ),
    ],
)
def test_what_must_not_be_is_refused_by_the_database_too(engine: Engine, table: str, values: str) -> None:
    with engine.connect() as connection, pytest.raises(sqlalchemy.exc.IntegrityError):
        connection.execute(text(f"INSERT INTO {table} {values}"))


def test_the_file_behind_an_engine(tmp_path: Path) -> None:
    assert database.file_of(database.open_engine(f"sqlite:///{tmp_path}/x.db")) == f"{tmp_path}/x.db"
    assert database.file_of(database.open_engine("postgresql://u@h/n")) is None


@pytest.mark.parametrize(
    "error",
    [psycopg.OperationalError("gone"), sqlite3.OperationalError("locked"), psycopg.errors.AdminShutdown("ended")],
)
def test_a_driver_s_error_is_the_database_s_with_sqlalchemy_around_it_or_without(error: Exception) -> None:
    """Some statements go by SQLAlchemy: a connection that is ended beneath them is no bug of ours."""
    around = sqlalchemy.exc.OperationalError("SELECT 1", {}, error)
    assert database.cause_of(around) is database.cause_of(error) is error
    for each in (around, error):
        with pytest.raises(database.DatabaseError):
            raise each
        assert isinstance(each, tuple(OUR_FAILURES))
