"""Listening sockets that the reactor does not open by itself: IPv6 without IPv4, and ports shared by several processes."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from twisted.internet.error import CannotListenError

BACKLOG = 128
IPV4_ANY = "0.0.0.0"  # noqa: S104  compared with, as the operator says
IPV6_ANY = "::"


def ipv6_only(address: str, addresses: tuple[str, ...]) -> bool:
    """Is this `::` beside 0.0.0.0? Then it is not for IPv4: the kernel would not let both have the port."""
    return address == IPV6_ANY and IPV4_ANY in addresses


def family_of(address: str) -> socket.AddressFamily:
    """Of an IP address as text."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def open_socket(
    kind: socket.SocketKind, address: str, port: int, *, only_ipv6: bool = False, shared: bool = False
) -> socket.socket:
    """A bound socket, listening where `kind` is SOCK_STREAM; CannotListenError where somebody else has the port.

    With `shared`, other processes of the same user may have it too (SO_REUSEPORT, socket(7)): what comes from one address and
    port of a NAS reaches the same process as long as none comes or goes, so that it remembers what it has answered.
    """
    opened = socket.socket(family_of(address), kind)
    try:
        if only_ipv6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.setblocking(False)
        opened.bind((address, port))
        if kind == socket.SOCK_STREAM:
            opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise CannotListenError(address, port, error) from error  # type: ignore[no-untyped-call]  # Twisted
    return opened


def require_free(addresses: tuple[str, ...], ports: Iterable[tuple[int, bool]]) -> None:
    """CannotListenError where somebody has one of these (port, TCP): who shares a port would not notice him."""
    for address in addresses:
        for port, over_tcp in ports:
            kind = socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM
            open_socket(kind, address, port, only_ipv6=ipv6_only(address, addresses)).close()
