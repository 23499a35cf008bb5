"""Opening a database with the settings that make a commit durable."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

#: How long one writer waits for another on SQLite, whose file takes one at a time.
SQLITE_BUSY_SECONDS = 30
#: A PostgreSQL server that vanished without a word (its machine, or the network to it) is given up after some ten
#: seconds, so that a connection can be made to its successor. What the URL says goes before these.
POSTGRESQL_CONNECTING = {
    "connect_timeout": 5, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000,
}  # fmt: skip
#: How long a server waits for a lock that somebody else holds. Two busy nodes wait for each other's commits, some tens
#: of milliseconds, on a machine with far too much to do some hundreds; who holds a row for longer has forgotten it, or
#: is stopped. Two of these waits fit into the time that an answer may take.
LOCK_TIMEOUT_MS = 600
#: A server that stands still in the middle of a transaction (SIGSTOP, a virtual machine that is moved) loses it, and its
#: locks, after this. No transaction of a server's takes nearly as long.
TRANSACTION_TIMEOUT_MS = 5_000
#: The first PostgreSQL that has a timeout for a whole transaction.
_TRANSACTION_TIMEOUT_SINCE = 170_000


class DatabaseUrlError(ValueError):
    """A database URL that names nothing we can open."""


#: What a statement fails with: SQLAlchemy's error, or the driver's own where a statement goes by it.
DatabaseError: Final = (SQLAlchemyError, psycopg.Error, sqlite3.Error)


def cause_of(error: Exception) -> BaseException:
    """The driver's error behind SQLAlchemy's; any other is its own cause."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def open_engine(url: str) -> Engine:
    """An engine for `sqlite:///FILE` or `postgresql://…`; nothing is connected yet. DatabaseUrlError on other URLs.

    PostgreSQL may have several hosts, of which the one that takes writes is used, after a failover the other:
    `postgresql://aaa@/aaa?host=one:5432&host=two:5432&target_session_attrs=read-write`.
    """
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
        settings = {key: value for key, value in POSTGRESQL_CONNECTING.items() if key not in parsed.query}
        # Where the driver prepares statements of its own, it forgets all there are after each rollback, ours too.
        return create_engine(parsed, pool_size=8, connect_args={**settings, "prepare_threshold": None})
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


def bound_waits(
    engine: Engine, *, lock_ms: int = LOCK_TIMEOUT_MS, transaction_ms: int = TRANSACTION_TIMEOUT_MS
) -> None:
    """From now on this engine waits for no lock for long, and keeps nobody waiting when its process stands still.

    For servers on PostgreSQL; a migration or an operator may wait.
    """
    if engine.dialect.name != "postgresql":
        return

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.execute(f"SET lock_timeout = {lock_ms:d}")
        connection.execute(f"SET idle_in_transaction_session_timeout = {transaction_ms:d}")
        # The one before does not begin to count when a pipeline's last message is a Flush, as the driver's is.
        if connection.info.server_version >= _TRANSACTION_TIMEOUT_SINCE:
            connection.execute(f"SET transaction_timeout = {transaction_ms:d}")
        connection.commit()

    engine.dispose()


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
