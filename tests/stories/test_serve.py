"""`aaa serve` as a process: how it begins, and how it ends when it can not go on."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aaa import wire
from aaa.wire import Attribute, Code
from tests.outside import SECRET, environment
from tests.stories.conftest import Aaa, ServerProcess

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def serve(aaa: Aaa, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it until it ends by itself."""
    line = [sys.executable, "-m", "cli.main", *aaa.options, "serve", "--listen", "127.0.0.1", *arguments]
    return subprocess.run(
        line, cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("which", ["auth", "acct"])
def test_a_port_that_is_taken_is_said_in_one_line(
    aaa: Aaa, tmp_path: Path, which: str, free_udp_ports: Callable[[int], list[int]]
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        (free,) = free_udp_ports(1)
        ports = (port, free) if which == "auth" else (free, port)
        ended = serve(aaa, tmp_path, "--auth-port", str(ports[0]), "--acct-port", str(ports[1]))
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert str(port) in last
    assert "Traceback" not in ended.stderr


def test_a_broken_database_file_ends_the_server(server: ServerProcess, tmp_path: Path) -> None:
    """What a disk gives back wrongly can not be trusted: nothing is answered, and the process says so and ends."""
    for file in [tmp_path / "test.db", *tmp_path.glob("test.db-*")]:
        with file.open("r+b") as broken:
            broken.write(bytes(file.stat().st_size))
    start: list[Attribute] = [("Acct-Status-Type", 1), ("User-Name", "alice")]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nas:
        nas.settimeout(0.5)
        for number in range(50):
            ask = wire.request(Code.ACCOUNTING_REQUEST, number, start, SECRET.encode(), message_authenticator=False)
            nas.sendto(ask, ("127.0.0.1", server.acct_port))
        with pytest.raises(TimeoutError):
            nas.recv(4096)
    assert server.ended(within=10) == 1
    assert server.log.count('"event": "disk-failed"') == 1
    assert "Traceback" not in server.log


def test_a_database_that_is_not_there_is_said_in_one_line(aaa: Aaa, tmp_path: Path) -> None:
    (tmp_path / "test.db").unlink()
    ended = serve(aaa, tmp_path)
    assert ended.returncode == 1
    assert "aaa db upgrade" in ended.stderr
    assert "Traceback" not in ended.stderr
