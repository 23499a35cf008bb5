"""The real server as a process of its own, furnished by the operator's own commands."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from cli.main import aaa as command
from tests.outside import SECRET, alive, environment

PLANS: Final = """\
currency = "EUR"
time_zone = "Europe/Berlin"

[profile.home-20]
rate_down = "20M"
rate_up = "5M"
interim_interval = "5m"

[profile.slow]
rate_down = "256k"
rate_up = "128k"

[plan.prepaid-50]
profile = "home-20"
[[plan.prepaid-50.allowance]]
name = "data"
unit = "octets"
amount = "50GB"
[plan.prepaid-50.exhausted]
action = "throttle"
profile = "slow"
"""

START_WITHIN_SECONDS: Final = 30
STOP_WITHIN_SECONDS: Final = 15
#: On PostgreSQL the server has its own role (`aaa db roles`): what it needs and may not do fails in these stories.
SERVER_ROLE: Final = {"PGOPTIONS": "-c role=aaa_server"}


class Aaa:
    """`aaa` as an operator types it, in this process; a failure fails the test."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.options = ["--database", database_url, "--keys", str(folder / "aaa.keys")]

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        result = CliRunner().invoke(command, [*self.options, *arguments], prog_name="aaa", input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, f"aaa {' '.join(arguments)}: {result.output}"
        return result.output


class ServerProcess:
    """`aaa serve` in a process of its own, on 127.0.0.1."""

    def __init__(self, aaa: Aaa, folder: Path, auth_port: int, acct_port: int, *, more: tuple[str, ...] = ()) -> None:
        self.aaa = aaa
        self.auth_port = auth_port
        self.acct_port = acct_port
        self.log_file = folder / "serve.log"
        self._more = more
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything it has said so far."""
        return self.log_file.read_text(encoding="utf-8")

    def start(self) -> None:
        """Start it and wait until both ports answer Status-Server."""
        arguments = [
            sys.executable, "-m", "cli.main", *self.aaa.options, "serve", "--listen", "127.0.0.1",
            "--auth-port", str(self.auth_port), "--acct-port", str(self.acct_port), *self._more,
        ]  # fmt: skip
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                arguments, cwd=self._folder, env=environment() | SERVER_ROLE, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + START_WITHIN_SECONDS
        for port in (self.auth_port, self.acct_port):
            while not alive(port):
                if self._process.poll() is not None:
                    pytest.fail(f"aaa serve ended with {self._process.returncode}:\n{self.log}")
                if time.monotonic() > deadline:
                    pytest.fail(f"port {port} did not answer within {START_WITHIN_SECONDS} s:\n{self.log}")

    def stop(self) -> int:
        """Stop it as an operator does (SIGTERM); its exit code."""
        process, self._process = self._process, None
        assert process is not None, "it does not run"
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"SIGTERM did not stop it within {STOP_WITHIN_SECONDS} s:\n{self.log}")

    def ended(self, *, within: int) -> int:
        """Its exit code, when it ends by itself."""
        assert self._process is not None, "it does not run"
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it did not end within {within} s:\n{self.log}")

    def kill(self) -> None:
        """End it at once (SIGKILL), as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


@pytest.fixture
def aaa(database_url: str, tmp_path: Path) -> Aaa:
    """The command line, on a fresh database of each kind."""
    return Aaa(database_url, tmp_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show the server's log with every failure."""
    report = yield
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(server, ServerProcess) and server.log_file.exists():
        report.sections.append(("aaa serve", server.log[-20_000:]))
    return report


@pytest.fixture
def server(aaa: Aaa, tmp_path: Path, free_udp_ports: Callable[[int], list[int]]) -> Iterator[ServerProcess]:
    """A running server that knows 127.0.0.1 as a NAS and sells one plan."""
    plans = tmp_path / "plans.toml"
    plans.write_text(PLANS, encoding="utf-8")
    aaa("nas", "add", "here", "--address", "127.0.0.1", "--secret-stdin", stdin=SECRET)
    aaa("plan", "load", str(plans))
    running = ServerProcess(aaa, tmp_path, *free_udp_ports(2))
    running.start()
    try:
        yield running
    finally:
        running.kill()
