"""`aaa serve` as a process of its own: started, killed, frozen, woken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from click.testing import CliRunner

from cli.main import aaa as command
from tests.outside import alive, environment, free_udp_ports

START_WITHIN_SECONDS = 30
STOP_WITHIN_SECONDS = 20


class NodeFailed(AssertionError):
    """A node did not do what every node does."""


class Node:
    """One server. Its folder holds its configuration, its log and its spool."""

    def __init__(self, name: str, folder: Path, database_url: str, keys: Path, *, spool: Path | None = None) -> None:
        self.name = name
        self.folder = folder
        self.spool = spool or folder / "spool"
        self.log_file = folder / "serve.log"
        self.auth_port, self.acct_port = free_udp_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "aaa.toml"
        config.write_text(f'node = "{name}"\nspool_dir = "{self.spool}"\nlog_format = "json"\n', encoding="utf-8")
        self.options = ["--config", str(config), "--database", database_url, "--keys", str(keys)]

    @property
    def running(self) -> bool:
        """Is there a process?"""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None, f"node {self.name} does not run"
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything it has said so far."""
        return self.log_file.read_text(encoding="utf-8") if self.log_file.exists() else ""

    def start(self, *, wait: bool = True) -> None:
        """Start it; wait until both ports answer Status-Server."""
        line = [
            sys.executable, "-m", "cli.main", *self.options, "serve", "--listen", "127.0.0.1",
            "--auth-port", str(self.auth_port), "--acct-port", str(self.acct_port),
        ]  # fmt: skip
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                line, cwd=self.folder, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if wait:
            self.await_answers(START_WITHIN_SECONDS)

    def await_answers(self, within_seconds: float) -> None:
        """Until both ports answer Status-Server, which says that the database takes writes."""
        deadline = time.monotonic() + within_seconds
        for port in (self.auth_port, self.acct_port):
            while not alive(port):
                if not self.running:
                    raise NodeFailed(f"node {self.name} ended:\n{self.log[-3000:]}")
                if time.monotonic() > deadline:
                    raise NodeFailed(f"node {self.name} did not answer within {within_seconds} s:\n{self.log[-3000:]}")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it does nothing more, and nobody is told."""
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM, as an operator does; the exit code."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(STOP_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise NodeFailed(f"SIGTERM did not stop node {self.name}:\n{self.log[-3000:]}") from None

    def spooled(self) -> int:
        """Octets in its spool that wait to be replayed."""
        return sum(path.stat().st_size for path in self.spool.glob("*.spool")) if self.spool.exists() else 0

    def kept_aside(self) -> list[Path]:
        """What it could not replay."""
        return [*self.spool.glob("*.aside"), *self.spool.glob("*.damaged")] if self.spool.exists() else []


def aaa(options: Sequence[str], *arguments: str, stdin: str | None = None) -> str:
    """`aaa` as an operator types it, in this process; its output. NodeFailed where it fails."""
    done = CliRunner().invoke(command, [*options, *arguments], prog_name="aaa", input=stdin)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    if done.exit_code:
        raise NodeFailed(f"aaa {' '.join(arguments)}: exit code {done.exit_code}\n{done.output}")
    return done.stdout
