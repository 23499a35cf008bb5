"""UDP ports: from the socket to the story and back to where the datagram came from."""

from __future__ import annotations

import gc
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError

from aaa import server, wire
from aaa.handlers import Datagram, Services, accounting, authentication
from aaa.server import RadiusPort, listen
from aaa.telling import tell
from aaa.wire import Code
from charging.writer import DatabaseUnavailable
from tests.aaa.conftest import SECRET, Floor

ANY = "0.0.0.0"  # noqa: S104  the operator's word for all addresses


class Recorder:
    """A story that remembers what it was told and answers what it is asked to."""

    def __init__(self, answer: bytes | None = b"answer") -> None:
        self.told: list[Datagram] = []
        self._answer = answer

    async def __call__(self, _services: Services, datagram: Datagram) -> bytes | None:
        self.told.append(datagram)
        return self._answer


class Socket:
    """A socket's side of sending."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []

    def setsockopt(self, *_: int) -> None: ...

    def sendto(self, octets: bytes, addr: Any) -> None:
        self.sent.append((octets, addr))


class Transport:
    """A transport's side, as far as a port asks."""

    def __init__(self) -> None:
        self.socket = Socket()

    def getHandle(self) -> Socket:  # noqa: N802  Twisted's name
        return self.socket


def port_of(floor: Floor, story: Any) -> tuple[RadiusPort, Socket]:
    port = RadiusPort(floor.services, story, "auth ::")
    transport = Transport()
    port.transport = transport  # type: ignore[assignment]  # stands for Twisted's
    port.startProtocol()
    return port, transport.socket


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_a_datagram_and_its_answer(sqlite_floor: Floor, peer: str, address: str) -> None:
    story = Recorder()
    port, sent = port_of(sqlite_floor, story)
    port.datagramReceived(b"question", (peer, 1645))
    assert story.told == [Datagram(b"question", address, 1645, "auth ::")]
    assert sent.sent == [(b"answer", (peer, 1645))], "back to the address as the socket gave it"


def test_silence_sends_nothing(sqlite_floor: Floor) -> None:
    port, sent = port_of(sqlite_floor, Recorder(None))
    port.datagramReceived(b"question", ("192.0.2.1", 1645))
    assert sent.sent == []


def test_an_ipv4_nas_on_a_socket_for_both_is_the_nas_of_its_ipv4_address(sqlite_floor: Floor) -> None:
    port, sent = port_of(sqlite_floor, accounting)
    request = sqlite_floor.accounting_request([("Acct-Status-Type", 7)])
    port.datagramReceived(request, ("::ffff:192.0.2.1", 1646))
    reply = wire.parse(sent.sent[0][0], frozenset(Code))
    assert wire.verify_reply(reply, request, SECRET)


# --- real sockets ------------------------------------------------------------------------------------------------


def opened(floor: Floor, *addresses: str, auth_port: int = 0, acct_port: int = 0) -> list[Any]:
    return list(listen(reactor, floor.services, addresses, auth_port, acct_port))


def close(ports: list[Any]) -> None:
    """At once: the reactor, which would do it a moment later, does not run."""
    for port in ports:
        port.stopReading()
        port.socket.close()


@pytest.mark.parametrize(
    ("bound", "family", "here", "network"),
    [
        ("127.0.0.1", socket.AF_INET, "127.0.0.1", "127.0.0.0/8"),
        ("::1", socket.AF_INET6, "::1", "::1"),
        ("::", socket.AF_INET, "127.0.0.1", "127.0.0.1"),
    ],
)
def test_both_ports_over_real_sockets(
    sqlite_floor: Floor, bound: str, family: socket.AddressFamily, here: str, network: str
) -> None:
    sqlite_floor.add_nas("here", network)
    ports = opened(sqlite_floor, bound)
    try:
        assert [port.getHost().port > 0 for port in ports] == [True, True]
        for port, code in zip(ports, (Code.ACCESS_ACCEPT, Code.ACCOUNTING_RESPONSE), strict=True):
            with socket.socket(family, socket.SOCK_DGRAM) as nas:
                nas.settimeout(5)
                nas.bind((here, 0))
                request = sqlite_floor.status_request()
                nas.sendto(request, (here, port.getHost().port))
                port.doRead()  # what the reactor does when something has come
                reply = wire.parse(nas.recv(4096), frozenset(Code))
                assert reply.code == code
                assert wire.verify_reply(reply, request, SECRET)
            buffer = port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            assert buffer > 212_992, "bursts need room"
    finally:
        close(ports)


@pytest.mark.parametrize("addresses", [(ANY, "::"), ("::", ANY), ("127.0.0.1", "::1")])
def test_ipv4_and_ipv6_side_by_side(
    sqlite_floor: Floor, free_udp_ports: Callable[[int], list[int]], addresses: tuple[str, str]
) -> None:
    sqlite_floor.add_nas("here", "127.0.0.1")
    sqlite_floor.add_nas("here-6", "::1")
    auth_port, acct_port = free_udp_ports(2)
    ports = opened(sqlite_floor, *addresses, auth_port=auth_port, acct_port=acct_port)
    try:
        for family, here in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_DGRAM) as nas:
                nas.settimeout(5)
                request = sqlite_floor.status_request()
                nas.sendto(request, (here, auth_port))
                for port in ports:
                    port.doRead()
                assert wire.verify_reply(wire.parse(nas.recv(4096), frozenset(Code)), request, SECRET)
    finally:
        close(ports)
    assert len(ports) == 4


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Twisted leaves its socket open
@pytest.mark.parametrize("addresses", [("127.0.0.1",), (ANY, "::")])
def test_a_port_that_is_taken_is_an_error(sqlite_floor: Floor, addresses: tuple[str, ...]) -> None:
    family = socket.AF_INET6 if "::" in addresses else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as taken:
        taken.bind((addresses[-1], 0))
        with pytest.raises(CannotListenError):
            opened(sqlite_floor, *addresses, auth_port=taken.getsockname()[1])
    gc.collect()


def test_the_longest_packet_comes_in_whole_and_padding_is_cut(sqlite_floor: Floor) -> None:
    story = Recorder(None)
    port, _ = port_of(sqlite_floor, story)
    assert server.LARGEST_DATAGRAM_OCTETS > 4096
    port.datagramReceived(bytes(server.LARGEST_DATAGRAM_OCTETS), ("192.0.2.1", 1645))
    assert len(story.told[0].octets) == server.LARGEST_DATAGRAM_OCTETS


@pytest.mark.parametrize("story", [authentication, accounting])
def test_a_flood_of_rubbish_is_silence(sqlite_floor: Floor, story: Any) -> None:
    port, sent = port_of(sqlite_floor, story)
    for length in range(40):
        head = struct.pack(">BBH", 1 if story is authentication else 4, 7, length)
        port.datagramReceived((head + bytes(36))[:length], ("192.0.2.1", 0))
        port.datagramReceived((head + b"\xff" * 36)[:length], ("192.0.2.1", 0))
    assert sent.sent == []
    assert sum(sqlite_floor.dropped.values()) == 80


def test_a_story_meets_the_failure_that_it_waited_for() -> None:
    waiting: Deferred[None] = Deferred()
    answers: list[bytes | None] = []

    async def story() -> bytes | None:
        try:
            await waiting
        except DatabaseUnavailable:
            return b"met"
        return b"missed"

    tell(story(), answers.append)
    waiting.errback(DatabaseUnavailable("gone"))
    assert answers == [b"met"]


def test_a_story_leaves_nothing_to_the_collector() -> None:
    """Garbage in cycles is found by a collector that stops the server for it: 50 to 100 ms in every second."""
    waiting: list[Deferred[bytes]] = []

    async def story() -> bytes:
        first: Deferred[bytes] = Deferred()
        waiting.append(first)
        return await first

    answers: list[bytes | None] = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            tell(story(), answers.append)
        while waiting:
            waiting.pop().callback(b"met")
        assert gc.collect() < 100
    finally:
        gc.enable()
    assert len(answers) == 100
