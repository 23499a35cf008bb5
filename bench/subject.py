"""What the bench needs of a server that it measures."""

import subprocess
from pathlib import Path
from typing import Protocol

from bench import load
from bench.packets import Sessions


class Unusable(Exception):
    """This server can not be measured here; the text says what to install, change or look at."""


class Server(Protocol):
    """A server with its own database and ports, filled with subscribers and ready to start. Starts and stops more than once."""

    name: str
    auth_port: int
    acct_port: int

    @property
    def pid(self) -> int:
        """Of the running process."""

    def start(self) -> None:
        """Start it and wait for its first answers. Raises Unusable."""

    def stop(self) -> None:
        """End it, if it runs."""

    def classes(self, sessions: int) -> list[bytes]:
        """Log the first subscribers in where this server wants that; the Class value of each Accept."""

    def check_accounting(self, sessions: Sessions, sent: int) -> list[str]:
        """What is wrong in the database after `sent` answered interims over all sessions."""

    def check_logins(self, sent: int, subscribers: int) -> list[str]:
        """What is wrong in the database after `sent` Accepts, given to the subscribers in turn."""

    def check_end(self, sessions: Sessions) -> list[str]:
        """What is wrong in the database after every session's Stop."""

    def describe(self) -> dict[str, object]:
        """What was measured, for the report."""


def run_until_it_answers(
    command: list[str], ports: tuple[int, int], secret: str, log: Path, environment: dict[str, str]
) -> "subprocess.Popen[bytes]":
    """Start a server in the log's folder and return its process once both ports answer a Status-Server. Raises Unusable."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd=log.parent
        )
    if all(load.wait_for(port, secret.encode(), alive=lambda: process.poll() is None) for port in ports):
        return process
    end(process)
    raise Unusable(f"{command[0]} does not answer. The end of its log:\n{log.read_text(errors='replace')[-2000:]}")


def end(process: "subprocess.Popen[bytes]") -> None:
    """Terminate a process and wait for it."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
