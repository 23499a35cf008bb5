"""Datagrams of many sources, on sockets that share a port."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from aaa.sockets import open_socket
from aaa.steering import steer

SOURCES = 96
SOCKETS = 4
LOOPBACK = {
    "ipv4": ("127.0.0.1", "127.0.0.1"),
    "ipv6": ("::1", "::1"),
    "ipv4 on a socket for both": ("::", "127.0.0.1"),
}


class Stage:
    """Sources, and sockets in the order in which they were opened."""

    def __init__(self, stack: ExitStack, listen: str, address: str) -> None:
        first = stack.enter_context(open_socket(socket.SOCK_DGRAM, listen, 0, shared=True))
        port = first.getsockname()[1]
        more = [open_socket(socket.SOCK_DGRAM, listen, port, shared=True) for _ in range(SOCKETS - 1)]
        self.sockets = [first, *(stack.enter_context(one) for one in more)]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sources = [stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(SOURCES)]
        for source in self.sources:
            source.connect((address, port))

    def whose(self) -> list[int]:
        """Each source's socket, by number: all of them send, and it is looked where it has arrived."""
        for number, source in enumerate(self.sources):
            source.send(b"%d" % number)
        found = {}
        for at, one in enumerate(self.sockets):
            try:
                while True:
                    found[int(one.recv(8))] = at
            except BlockingIOError:
                continue
        return [found[number] for number in range(SOURCES)]


@pytest.fixture(params=LOOPBACK)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, *LOOPBACK[request.param])


def test_all_goes_to_as_many_as_are_said(stage: Stage) -> None:
    for over in (1, 2, SOCKETS, 3, 1):
        steer(stage.sockets[-1], over)
        whose = stage.whose()
        assert set(whose) == set(range(over))
        assert all(whose.count(at) >= SOURCES // over // 3 for at in range(over)), "one has next to nothing"
        assert stage.whose() == whose, "what comes from one address and port goes to one socket"


def test_where_sockets_are_gone_the_others_get_theirs(stage: Stage) -> None:
    steer(stage.sockets[0], SOCKETS)
    for gone in (1, 0):
        stage.sockets.pop(gone).close()
    whose = stage.whose()
    assert set(whose) == {0, 1}
    assert stage.whose() == whose


def test_nases_with_one_port_and_addresses_of_their_own_are_spread_too() -> None:
    with ExitStack() as stack:
        stage = Stage(stack, "0.0.0.0", "127.0.0.1")  # noqa: S104  NASes of many addresses come to it
        port = stage.sources[0].getsockname()[1]
        for number, source in enumerate(stage.sources):
            source.close()
            stage.sources[number] = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            stage.sources[number].bind((f"127.0.1.{number + 1}", port))
            stage.sources[number].connect(("127.0.0.1", stage.sockets[0].getsockname()[1]))
        steer(stage.sockets[0], 2)
        whose = stage.whose()
        assert all(whose.count(at) >= SOURCES // 6 for at in range(2))
