"""Opening a database with the settings that make a commit durable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

#: How long one writer waits for another on SQLite, whose file takes one at a time.
SQLITE_BUSY_SECONDS = 30


class DatabaseUrlError(ValueError):
    """A database URL that names nothing we can open."""


def open_engine(url: str) -> Engine:
    """An engine for `sqlite:///FILE` or `postgresql://…`; nothing is connected yet. DatabaseUrlError on other URLs."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseUrlError(
            f"{url!r} is not a database URL; write sqlite:///aaa.db or postgresql://user@host/name"
        ) from error
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise DatabaseUrlError(f"{parsed.drivername}: the databases are sqlite and postgresql")
    try:
        if parsed.drivername == "sqlite":
            return _open_sqlite(parsed.render_as_string(hide_password=False))
        return create_engine(parsed, pool_size=8)
    except NoSuchModuleError as error:
        raise DatabaseUrlError(str(error)) from error


def _open_sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_SECONDS, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        # The driver must not begin transactions by itself: we say which kind.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that begins by reading and then writes can not wait for another writer: it fails. So those
        # who may write say so at once, and those who read take no lock.
        reading_only = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading_only else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one state of the database and locks nobody out."""
    options: dict[str, Any] = {"reading": True}
    if engine.dialect.name == "postgresql":
        options["isolation_level"] = "REPEATABLE READ"
    with engine.connect().execution_options(**options) as connection:
        yield connection


def file_of(engine: Engine) -> str | None:
    """The SQLite file behind an engine; None for PostgreSQL."""
    return engine.url.database if engine.dialect.name == "sqlite" else None
