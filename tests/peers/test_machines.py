"""The small machines themselves: they reach each other, nobody else, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.machines import Failed, Network, needs

ECHO = """
import socket
door = socket.create_server(("10.9.0.2", 7))
print("open", flush=True)
caller, _ = door.accept()
caller.sendall(caller.recv(99))
"""
CALL = """
import socket
line = socket.create_connection(("10.9.0.2", 7))
line.sendall(b"hello")
print(line.recv(99).decode())
"""
TEST = """
import pathlib, sys, time
from tests.peers.machines import Network
with Network() as network:
    machine = network.machine("one")
    daemon = machine.start("sleep", "1000", log=pathlib.Path(sys.argv[1]))
    print(machine.pid, daemon.pid, flush=True)
    time.sleep(1000)
"""

pytestmark = needs(package="iproute2")


def test_two_machines_reach_each_other_over_their_cable_and_leave_nothing_behind(
    tmp_path: Path, eventually: Callable[..., None]
) -> None:
    before = subprocess.run(["ip", "link"], capture_output=True, check=True).stdout
    with Network() as network:
        one, other = network.machine("one"), network.machine("other")
        network.cable((one, "a0", "10.9.0.1/24"), (other, "b0", "10.9.0.2/24"))
        echo = other.start(sys.executable, "-c", ECHO, log=tmp_path / "echo")
        eventually(lambda: b"open" in (tmp_path / "echo").read_bytes())
        assert one.run(sys.executable, "-c", CALL) == "hello\n"
        assert "a0" in one.run("ip", "link")
        with pytest.raises(Failed, match="one: ip link show dev b0: 1: Device"):
            one.run("ip", "link", "show", "dev", "b0")
        daemon = one.start("sleep", "1000", log=tmp_path / "daemon")
    assert (daemon.poll(), echo.poll()) == (-15, 0)
    for machine in (one, other):
        assert not Path(f"/proc/{machine.pid}").exists()
    assert subprocess.run(["ip", "link"], capture_output=True, check=True).stdout == before


def test_a_killed_test_takes_its_machines_and_daemons_with_it(tmp_path: Path, eventually: Callable[..., None]) -> None:
    test = subprocess.Popen(
        [sys.executable, "-c", TEST, str(tmp_path / "log")], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert test.stdout is not None
    with test:
        holder, daemon = (Path("/proc") / word.decode() for word in test.stdout.readline().split())
        eventually(lambda: (daemon / "cmdline").read_bytes().startswith(b"sleep"))
        test.kill()
    # The kernel ends them; who reaps them is not ours to say, and may take its time.
    for process in (holder, daemon):
        eventually(lambda: not running(process))  # noqa: B023


def running(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
