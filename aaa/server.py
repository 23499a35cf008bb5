"""UDP ports: a datagram in, the answer of its story out."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from aaa.handlers import Datagram, Services, accounting, authentication
from aaa.sockets import ipv6_only, open_socket

#: What the kernel keeps for us while a batch commits; with the default of 200 kB it drops the 500th packet.
RECEIVE_BUFFER_OCTETS: Final = 4 * 2**20
LARGEST_DATAGRAM_OCTETS: Final = 8192

Story = Callable[[Services, Datagram], Coroutine[Any, Any, bytes | None]]


class RadiusPort(DatagramProtocol):
    """One UDP socket and the story that its requests get."""

    def __init__(self, services: Services, story: Story, name: str) -> None:
        self._services = services
        self._story = story
        self._name = name

    def startProtocol(self) -> None:  # noqa: N802  Twisted's name
        """Give the socket room for bursts."""
        self._socket: socket.socket = self.transport.getHandle()  # type: ignore[union-attr]  # not in the interface
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_OCTETS)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:  # noqa: N802  Twisted's name
        """Begin the story; its answer goes back where the datagram came from."""
        address = addr[0].removeprefix("::ffff:")  # an IPv4 client on a socket for both
        story = self._story(self._services, Datagram(datagram, address, addr[1], self._name))
        tell(story, lambda answer: self._write(answer, addr))

    def _write(self, answer: bytes | None, addr: Any) -> None:
        if answer is not None and self.transport is not None:
            # Straight to the socket: the transport would look at the address again each time. What the kernel can not
            # take now is lost like any datagram, and its NAS asks again.
            with suppress(OSError):
                self._socket.sendto(answer, addr)


def tell(story: Coroutine[Deferred[Any], None, bytes | None], end: Callable[[bytes | None], None]) -> None:
    """Run a story that awaits Deferreds, and give its answer to `end`.

    This is Deferred.fromCoroutine without what no story needs: cancelling it, and a context of its own. That is a tenth
    of all that Python does for an accounting packet.
    """
    _Telling(story, end).go_on(None)


class _Telling:
    """A story under way. A closure would refer to itself, and then only the collector of cycles could take the packet
    and all that hangs on it away: it stood still for 50 to 100 ms in every second of a busy server."""

    __slots__ = ("_end", "_story")

    def __init__(
        self, story: Coroutine[Deferred[Any], None, bytes | None], end: Callable[[bytes | None], None]
    ) -> None:
        self._story = story
        self._end = end

    def go_on(self, result: object) -> None:
        # A result the story takes from the Deferred itself; a failure, while callbacks run, is not to be had from there.
        failed = result.value if isinstance(result, Failure) else None
        try:
            awaited = self._story.send(None) if failed is None else self._story.throw(failed)
        except StopIteration as answer:
            self._end(answer.value)
        else:
            awaited.addBoth(self.go_on)


def listen(
    reactor: Any,
    services: Services,
    addresses: tuple[str, ...],
    auth_port: int,
    acct_port: int,
    *,
    shared: bool = False,
) -> list[IListeningPort]:
    """Open both ports on every address, with other processes where `shared`. Port 0 takes any free one. Raises CannotListenError."""
    ports: list[IListeningPort] = []
    for address in addresses:
        only_ipv6 = ipv6_only(address, addresses)
        for name, port, story in (("auth", auth_port, authentication), ("acct", acct_port, accounting)):
            protocol = RadiusPort(services, story, f"{name} {address}")
            if not only_ipv6 and not shared:
                ports.append(reactor.listenUDP(port, protocol, address, LARGEST_DATAGRAM_OCTETS))
                continue
            with open_socket(socket.SOCK_DGRAM, address, port, only_ipv6=only_ipv6, shared=shared) as opened:
                ports.append(
                    reactor.adoptDatagramPort(opened.fileno(), opened.family, protocol, LARGEST_DATAGRAM_OCTETS)
                )
    return ports
