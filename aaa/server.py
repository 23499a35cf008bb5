"""UDP ports: a datagram in, the answer of its story out."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import DatagramProtocol

from aaa.handlers import Datagram, Services, accounting, authentication
from aaa.sockets import ipv6_only, open_socket
from aaa.telling import tell

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
        tell(story, partial(self._write, addr))

    def _write(self, addr: Any, answer: bytes | None) -> None:
        if answer is None or self.transport is None:
            return
        try:
            # Straight to the socket: the transport would look at the address again each time.
            self._socket.sendto(answer, addr)
        except OSError:
            return  # what the kernel can not take now is lost like any datagram, and its NAS asks again


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
