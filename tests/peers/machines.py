"""Machines that are network namespaces, with cables between them.

They have no names in /run/netns and need none removed: a machine is a process that holds its namespaces and ends when
this process does, however that ends; the daemons on it are ended with it. Nothing of the real machine's network is
touched. Each machine has a /run of its own too, for daemons that want theirs at a fixed place there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

TOOLS: Final = ("ip", "nsenter", "setpriv", "unshare")
ENDS_WITHIN_SECONDS: Final = 5
HOLD: Final = "mount -t tmpfs tmpfs /run && ip link set lo up && exec cat"


class Failed(AssertionError):
    """A command on a machine said no."""


class Machine:
    """One of a network's machines."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self.name = name
        self._stack = stack
        # `cat` holds the namespaces until its input ends, which is when this process does.
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", HOLD],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        stack.enter_context(self._holder)
        stack.callback(_end, self._holder)
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        with suppress(BrokenPipeError):
            self._holder.stdin.write(b"ready\n")
            self._holder.stdin.flush()
        said = self._holder.stdout.readline()
        if said != b"ready\n":  # it comes back when everything before it is done
            raise Failed(f"no machine {name}: {(said + self._holder.stdout.read()).decode(errors='replace').strip()}")

    @property
    def pid(self) -> int:
        """The process that holds its namespaces: `nsenter -t PID -n` looks inside."""
        return self._holder.pid

    def start(
        self, *command: str | Path, log: Path, environment: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """A daemon; it stays in the foreground, its output goes to `log`, and it is ended with the machine at the latest."""
        with log.open("ab") as out:
            process = subprocess.Popen(
                self._inside(command, folder), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
            )
        self._stack.callback(_end, process)
        return process

    def run(self, *command: str | Path, within: float = 10, given: str | None = None) -> str:
        """A command's output, once it has ended well; Failed with what it said otherwise."""
        try:
            done = subprocess.run(
                self._inside(command, None), input=given or "", capture_output=True, text=True, timeout=within,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{self.name}: {_words(command)}: no end within {within} s") from error
        if done.returncode:
            raise Failed(f"{self.name}: {_words(command)}: {done.returncode}: {(done.stdout + done.stderr).strip()}")
        return done.stdout

    def _inside(self, command: Sequence[str | Path], folder: Path | None) -> list[str]:
        # Both replace themselves by what they start, so that the process is the command's; it dies with this process.
        return [
            "nsenter", f"--target={self.pid}", "--net", "--mount", f"--wdns={folder or '/'}",
            "setpriv", "--pdeathsig", "KILL", *map(str, command),
        ]  # fmt: skip


class Network:
    """`with Network() as network:` everything on it is ended and gone afterwards."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def machine(self, name: str) -> Machine:
        """A new machine with nothing but its loopback interface."""
        return Machine(name, self._stack)

    def cable(self, *ends: tuple[Machine, str, str | None]) -> None:
        """Two ends: the machine, the name of its new interface, and its address there ("10.9.0.1/24") or None."""
        (one, its_name, _), (other, others_name, _) = ends
        one.run(
            "ip", "link", "add", "name", its_name, "type", "veth", "peer", "name", others_name, "netns", str(other.pid)
        )
        for machine, interface, address in ends:
            if address is not None:
                machine.run("ip", "address", "add", address, "dev", interface)
            machine.run("ip", "link", "set", "dev", interface, "up")


@cache
def impossible() -> str:
    """Why there can be no machines here; empty where they can be."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not installed; the Debian packages iproute2 and util-linux have them"
    try:
        with Network() as network:
            network.cable((network.machine("one"), "a", None), (network.machine("other"), "b", None))
    except Failed as error:
        return f"this kernel or container allows no network namespaces: {error}"
    return ""


def needs(*programs: str, package: str) -> pytest.MarkDecorator:
    """Tests of a peer: skipped, with the reason, where its programs or the machines for it are missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    reason = f"{', '.join(missing)} not installed; .ci/run installs {package}" if missing else impossible()
    return pytest.mark.skipif(bool(reason), reason=reason)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; make it where it does not."""
    if process.stdin is not None:
        process.stdin.close()
    process.terminate()
    try:
        process.wait(ENDS_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _words(command: Sequence[str | Path]) -> str:
    return " ".join(map(str, command))
