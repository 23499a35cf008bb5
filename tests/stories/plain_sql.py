"""The database as anybody else's program sees it: the driver itself, and text."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from sqlalchemy.engine import make_url

LOCK_SECONDS: Final = 30


class PlainSql:
    """One connection. Each statement is a transaction of its own, unless BEGIN was said."""

    def __init__(self, connection: sqlite3.Connection | psycopg.Connection[Any]) -> None:
        self._connection = connection

    def __call__(self, statement: str) -> list[tuple[Any, ...]]:
        """The statement's rows; [] where it has none."""
        cursor: Any = self._connection.cursor()
        # bytes: psycopg's types want a literal where a str is given
        cursor.execute(statement if isinstance(self._connection, sqlite3.Connection) else statement.encode())
        return cursor.fetchall() if cursor.description else []

    @property
    def sqlite(self) -> bool:
        """Whether this is SQLite; else it is PostgreSQL."""
        return isinstance(self._connection, sqlite3.Connection)


@contextmanager
def plain_sql(database_url: str) -> Iterator[PlainSql]:
    """Connect with nothing of ours in between, and close."""
    url = make_url(database_url)
    connection: sqlite3.Connection | psycopg.Connection[Any]
    if url.drivername == "sqlite":
        assert url.database
        connection = sqlite3.connect(url.database, timeout=LOCK_SECONDS, isolation_level=None)
    else:
        text = url.set(drivername="postgresql").render_as_string(hide_password=False)
        connection = psycopg.connect(text, autocommit=True)
    try:
        yield PlainSql(connection)
    finally:
        connection.close()


def top_up(account: str, reference: str, unit: str, amount: str) -> str:
    """The INSERT by which a billing system pays something in."""
    return (
        "INSERT INTO billing_top_up (source, external_ref, account, unit, amount) "
        f"VALUES ('shop', '{reference}', '{account}', '{unit}', '{amount}')"
    )
