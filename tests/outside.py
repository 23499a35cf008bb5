"""What a test needs to run our server as a process of its own, and to see that it answers."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from aaa import wire
from aaa.wire import Code

ROOT: Final = Path(__file__).resolve().parent.parent
SECRET: Final = "the-shared-secret-of-these-tests"
PATIENCE_SECONDS: Final = 0.2


def environment() -> dict[str, str]:
    """What a process of ours sees: this tree, and no settings of whoever runs the tests."""
    return {key: value for key, value in os.environ.items() if not key.startswith("AAA_")} | {"PYTHONPATH": str(ROOT)}


def free_udp_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that nobody holds at this moment, for a process of its own.

    Inside one process bind to port 0 and ask for the port instead: that leaves no gap for another to step into.
    """
    held = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def until(condition: Callable[[], object], *, within: float, what: str = "it did not become true") -> None:
    """Wait for a real process to make it true; AssertionError with `what` after so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"{what} within {within} s"
        time.sleep(0.02)


def alive(port: int) -> bool:
    """Does a Status-Server get its answer there at once?"""
    secret = SECRET.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nas:
        nas.settimeout(PATIENCE_SECONDS)
        nas.connect(("127.0.0.1", port))
        request = wire.request(Code.STATUS_SERVER, 1, (), secret, message_authenticator=True)
        with suppress(OSError):  # a timeout, or nobody has the port yet
            nas.send(request)
            reply = nas.recv(4096)
            return wire.verify_reply(wire.parse(reply, frozenset(Code)), request, secret)
    time.sleep(0.02)
    return False
