"""A network in memory, on a clock that stands still: the reactor of tests that send and receive datagrams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock

from aaa import wire
from aaa.wire import Attribute, Code

Address = tuple[str, int]
REQUESTS = frozenset({Code.COA_REQUEST, Code.DISCONNECT_REQUEST})
FIRST_PORT = 50_000


@dataclass
class Socket:
    """One open UDP port: Twisted's listening port and the transport of its protocol."""

    network: Network
    number: int
    interface: str
    protocol: DatagramProtocol
    closed: bool = False

    def write(self, datagram: bytes, addr: Address) -> None:
        assert not self.closed
        self.network.carry(self, datagram, addr)

    def stopListening(self) -> Deferred[None]:  # noqa: N802  Twisted's name
        self.closed = True
        return succeed(None)

    def hear(self, datagram: bytes, source: Address) -> None:
        """Something arrives; an IPv6 address has two more fields, as from the kernel."""
        self.protocol.datagramReceived(datagram, (*source, 0, 0) if ":" in source[0] else source)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Sent:
    """A datagram of ours on the wire."""

    at: float
    socket: Socket
    destination: Address
    datagram: bytes

    @property
    def identifier(self) -> int:
        return self.datagram[1]

    @property
    def attributes(self) -> list[Attribute]:
        return wire.decode(wire.parse(self.datagram, REQUESTS))

    @property
    def code(self) -> int:
        return self.datagram[0]


class Network(Clock):
    """A reactor: its clock, its UDP ports, and what went over them. NASes answer by a function of the request."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[Socket] = []
        self.sent: list[Sent] = []
        self.nases: dict[Address, Callable[[Sent], bytes | None]] = {}
        self.unreachable: set[Address] = set()

    def listenUDP(  # noqa: N802  Twisted's name
        self,
        port: int,
        protocol: DatagramProtocol,
        interface: str = "",
        maxPacketSize: int = 8192,  # noqa: N803
    ) -> Socket:
        socket = Socket(self, FIRST_PORT + len(self.sockets), interface, protocol)
        self.sockets.append(socket)
        protocol.transport = socket  # type: ignore[assignment]
        return socket

    def carry(self, socket: Socket, datagram: bytes, destination: Address) -> None:
        if destination in self.unreachable:
            raise OSError("network is unreachable")
        sent = Sent(self.seconds(), socket, destination, datagram)
        self.sent.append(sent)
        nas = self.nases.get(destination)
        reply = None if nas is None else nas(sent)
        if reply is not None:
            self.callLater(0, socket.hear, reply, destination)


def answering(secret: bytes, *causes: int | None) -> Callable[[Sent], bytes | None]:
    """A NAS that answers with a NAK for each of these Error-Causes, None for an ACK, one after the other; then always
    as the last time."""
    left = list(causes)

    def answer(sent: Sent) -> bytes | None:
        cause = left.pop(0) if len(left) > 1 else left[0]
        return reply(sent.datagram, secret, cause)

    return answer


def reply(request: bytes, secret: bytes, cause: int | None = None, *, bare_nak: bool = False) -> bytes:
    """What a NAS answers to a request of ours: an ACK, or a NAK with its cause."""
    packet = wire.parse(request, REQUESTS)
    code = packet.code + (2 if cause is not None or bare_nak else 1)
    attributes: list[Attribute] = [] if cause is None else [("Error-Cause", cause)]
    return wire.reply(code, packet, attributes, secret, message_authenticator=True)
