"""The database as a node meets it: the real one behind connections that break, refuse, and commit with unknown outcome."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psycopg
from sqlalchemy import Engine, event

from charging.database import open_engine

LOST = "simulated: the connection is lost"


class NodeDied(BaseException):
    """The process is gone: nothing of it runs any further."""


@dataclass
class Trouble:
    """What goes wrong between one node and the database. Probabilities are per statement, or per commit."""

    chance: random.Random
    refusing: bool = False
    """The server is down: connections break, and no new one is taken."""
    killed: float = 0.0
    """The connection is gone before a statement."""
    failed_commits: float = 0.0
    """The connection is gone, and nothing was committed."""
    unknown_commits: float = 0.0
    """The connection is gone after the commit, which the node does not learn."""
    die_before_commit: float = 0.0
    die_after_commit: float = 0.0
    die_after_spool: float = 0.0
    on_death: Callable[[str], None] = lambda _point: None
    on_commit: Callable[[], None] = lambda: None
    counts: Counter[str] = field(default_factory=Counter)

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        self.refusing = False
        self.killed = self.failed_commits = self.unknown_commits = self.die_before_commit = self.die_after_commit = 0.0
        self.die_after_spool = 0.0

    def breaks(self) -> bool:
        """Is the connection gone before this statement?"""
        if self.refusing or (self.killed and self.chance.random() < self.killed):
            self.counts["killed"] += 1
            return True
        return False

    def before_commit(self) -> bool:
        """Is it gone before this commit? NodeDied where the node is."""
        if self.die_before_commit and self.chance.random() < self.die_before_commit:
            self._die("before-commit")
        if self.refusing or (self.failed_commits and self.chance.random() < self.failed_commits):
            self.counts["failed-commit"] += 1
            return True
        return False

    def after_commit(self) -> bool:
        """Is it gone after it? NodeDied where the node is."""
        self.on_commit()
        if self.die_after_commit and self.chance.random() < self.die_after_commit:
            self._die("after-commit")
        if self.unknown_commits and self.chance.random() < self.unknown_commits:
            self.counts["unknown-commit"] += 1
            return True
        return False

    def after_spool(self) -> None:
        """Something was written to the spool. NodeDied where the node is dead."""
        if self.die_after_spool and self.chance.random() < self.die_after_spool:
            self._die("after-spool")

    def _die(self, point: str) -> None:
        self.counts[f"died {point}"] += 1
        self.on_death(point)
        raise NodeDied(point)


class _SQLiteCursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:  # type: ignore[override]
        cast("_SQLite", self.connection).check(sql)
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any) -> sqlite3.Cursor:  # type: ignore[override]
        cast("_SQLite", self.connection).check(sql)
        return super().executemany(sql, parameters)


class _SQLite(sqlite3.Connection):
    """SQLite as if it stood behind a wire."""

    trouble: Trouble
    lost = False

    def check(self, sql: str) -> None:
        if not self.lost and not sql.startswith("PRAGMA") and self.trouble.breaks():
            self.lose()
        if self.lost:
            raise sqlite3.OperationalError(LOST)

    def lose(self) -> None:
        """The server undoes what was not committed."""
        super().rollback()
        self.lost = True

    def cursor(self, *_: Any) -> Any:
        return super().cursor(_SQLiteCursor)

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        self.check(sql)
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any) -> sqlite3.Cursor:
        self.check(sql)
        return super().executemany(sql, parameters)

    def commit(self) -> None:
        if self.lost:
            raise sqlite3.OperationalError(LOST)
        try:
            if self.trouble.before_commit():
                raise sqlite3.OperationalError(LOST)
        except (NodeDied, sqlite3.OperationalError):
            self.lose()
            raise
        super().commit()
        if self.trouble.after_commit():
            self.lost = True
            raise sqlite3.OperationalError(LOST)

    def rollback(self) -> None:
        if self.lost:
            raise sqlite3.OperationalError(LOST)
        super().rollback()


class _PostgreSQLCursor(psycopg.Cursor[Any]):
    def execute(self, *args: Any, **kwargs: Any) -> Any:
        connection = cast("_PostgreSQL", self.connection)
        if connection.trouble is not None and connection.trouble.breaks():
            connection.close()
        return super().execute(*args, **kwargs)


class _PostgreSQL(psycopg.Connection[Any]):
    trouble: Trouble | None = None

    def commit(self) -> None:
        trouble = self.trouble
        try:
            if trouble is not None and not self.closed and trouble.before_commit():
                self.close()
        except NodeDied:
            self.close()
            raise
        super().commit()
        if trouble is not None and trouble.after_commit():
            self.close()
            raise psycopg.OperationalError(LOST)


def engine_of(url: str, trouble: Trouble) -> Engine:
    """An engine as the server opens it, on connections that meet this trouble."""
    engine = open_engine(url)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, args: list[Any], options: dict[str, Any]) -> Any:
        if engine.dialect.name == "sqlite":
            if trouble.refusing:
                raise sqlite3.OperationalError("simulated: connection refused")
            opened = sqlite3.connect(*args, **options, factory=_SQLite, cached_statements=512)
            opened.trouble = trouble
            return opened
        if trouble.refusing:
            raise psycopg.OperationalError("simulated: connection refused")
        connection = _PostgreSQL.connect(*args, **options)
        connection.cursor_factory = _PostgreSQLCursor
        connection.trouble = trouble
        return connection

    @event.listens_for(engine, "handle_error")
    def lost(context: Any) -> None:
        if LOST in str(context.original_exception):
            context.is_disconnect = True

    return engine


class Database:
    """A migrated database of one run's own, and a plain connection to it that nothing disturbs."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        """For what nodes keep beside the database."""
        engine = open_engine(url)
        self._kind = engine.dialect.name
        connected = engine.raw_connection()
        plain: Any = connected.driver_connection
        self._plain = plain
        connected.detach()
        engine.dispose()
        if self._kind == "postgresql":
            self._plain.autocommit = True

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Plain SQL, `?` for a parameter."""
        statement = sql if self._kind == "sqlite" else sql.replace("?", "%s")
        cursor = self._plain.execute(statement, parameters or None) if parameters else self._plain.execute(statement)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def close(self) -> None:
        """Give the plain connection back."""
        self._plain.close()


def memory_folder() -> Path:
    """Where files cost no disk."""
    shared_memory = Path("/dev/shm")  # noqa: S108  a file system in memory: nothing here must outlive the machine
    return shared_memory if shared_memory.is_dir() else Path("/tmp")  # noqa: S108


def sqlite_template(folder: Path) -> Path:
    """A migrated SQLite file to copy from."""
    import migrations

    path = folder / "template.db"
    engine = open_engine(f"sqlite:///{path}")
    migrations.upgrade(engine)
    engine.dispose()
    return path


@contextmanager
def sqlite_database(template: Path) -> Iterator[Database]:
    """A fresh SQLite database in memory, removed afterwards."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="aaa-simulation-", dir=memory_folder()) as folder:
        path = Path(folder) / "aaa.db"
        shutil.copy(template, path)
        database = Database(f"sqlite:///{path}", Path(folder))
        try:
            yield database
        finally:
            database.close()


@contextmanager
def postgresql_database(server_uri: str, template: str, folder: Path) -> Iterator[Database]:
    """A fresh PostgreSQL database, copied from a migrated one and removed afterwards."""
    import tempfile
    import uuid

    from sqlalchemy.engine import make_url

    name = f"simulation_{uuid.uuid4().hex}"
    with psycopg.connect(server_uri, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    url = make_url(server_uri).set(drivername="postgresql+psycopg", database=name)
    with tempfile.TemporaryDirectory(prefix="spool-", dir=folder) as spools:
        database = Database(url.render_as_string(hide_password=False), Path(spools))
        try:
            yield database
        finally:
            database.close()
            with psycopg.connect(server_uri, autocommit=True) as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
