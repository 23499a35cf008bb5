"""The client side of CoA and Disconnect (RFC 5176): UDP ports, identifiers, and the requests under way on them."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final, Protocol, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IUDPTransport
from twisted.internet.protocol import DatagramProtocol

from aaa.retransmission import NO_ANSWER, Answer, Exchange, again, answer, begin
from aaa.wire import Attribute, request
from aaa.wire.packet import LONGEST_PACKET_OCTETS

#: Each port has 256 identifiers for each destination.
MOST_PORTS: Final = 16
MOST_QUEUED: Final = 4096
#: Destinations whose identifiers a port remembers; an idle one beyond these is forgotten.
MOST_DESTINATIONS: Final = 4096

Destination = tuple[str, int]
"""An IPv4 or IPv6 address, and a UDP port."""


class QueueFull(Exception):
    """All ports are taken for this destination, and too many requests wait already."""


class Listening(Protocol):
    """An open UDP port, as Twisted's IListeningPort."""

    def stopListening(self) -> Deferred[None] | None:  # noqa: N802  Twisted's name
        """Close it."""
        ...


class Reactor(Protocol):
    """What is asked of a reactor: Twisted's IReactorUDP and IReactorTime."""

    def listenUDP(  # noqa: N802  Twisted's name
        self,
        port: int,
        protocol: DatagramProtocol,
        interface: str = "",
        maxPacketSize: int = 8192,  # noqa: N803
    ) -> Listening:
        """Open a UDP port."""
        ...

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> IDelayedCall:  # noqa: A002, N802
        """Call something, `delay` seconds from now."""
        ...

    def seconds(self) -> float:
        """The time, on a clock of the reactor's own."""
        ...


@dataclass(slots=True)
class _Waiting:
    destination: Destination
    code: int
    attributes: Sequence[Attribute]
    secret: bytes
    message_authenticator: bool
    answered: Deferred[Answer]


@dataclass(slots=True)
class _UnderWay:
    exchange: Exchange
    answered: Deferred[Answer]
    timer: IDelayedCall


@dataclass(slots=True)
class _Identifiers:
    """The identifiers of one port towards one destination.

    A free one waits until half of the others went before it: two requests with equal bytes would have equal
    authenticators, and some NASes answer the second with what they remember of the first.
    """

    free: list[int]
    under_way: dict[int, _UnderWay] = field(default_factory=dict)

    def take(self, chance: random.Random) -> int:
        return self.free.pop(chance.randrange((len(self.free) + 1) // 2))


class Ports:
    """Sends requests from a pool of UDP ports; each comes to an Answer within 30 s of its first packet.

    `source_v4`, `source_v6`: the addresses to send from; empty and `::` leave the choice to the kernel.
    """

    def __init__(
        self,
        reactor: Reactor,
        *,
        source_v4: str = "",
        source_v6: str = "::",
        chance: random.Random | None = None,
        most_ports: int = MOST_PORTS,
        most_queued: int = MOST_QUEUED,
    ) -> None:
        self._reactor = reactor
        self._sources = {4: source_v4, 6: source_v6}
        self._chance = chance or random.SystemRandom()
        self._most_ports = most_ports
        self._most_queued = most_queued
        self._ports: dict[int, list[_Port]] = {4: [], 6: []}
        self._waiting: dict[Destination, deque[_Waiting]] = {}
        self.queued = 0
        """How many requests wait for an identifier."""
        self.unverified = 0
        """How many datagrams came that answered nothing of ours."""

    def send(
        self,
        destination: Destination,
        code: int,
        attributes: Sequence[Attribute],
        secret: bytes,
        *,
        message_authenticator: bool,
        event_timestamp: int | None = None,
    ) -> Deferred[Answer]:
        """Send a CoA- or Disconnect-Request; the Answer, NO_ANSWER among them. Cancelling it ends the repetitions.

        `event_timestamp`: seconds since the epoch, where the NAS wants one. Raises QueueFull at once when too many
        wait, ValueError for what fits no packet or is no address, and OSError when no port can be opened at all.
        """
        address, port = destination
        destination = (str(ip_address(address)), port)
        if event_timestamp is not None:
            attributes = (*attributes, ("Event-Timestamp", event_timestamp))
        answered: Deferred[Answer] = Deferred(self._cancel)
        asked = _Waiting(destination, code, attributes, secret, message_authenticator, answered)
        chosen = None if destination in self._waiting else self._free_port(destination)
        if chosen is not None:
            self._send(chosen, asked)
        elif self.queued >= self._most_queued:
            raise QueueFull
        else:
            # What fits no packet is refused to the one who asks, not later when it is its turn.
            request(code, 0, attributes, secret, message_authenticator=message_authenticator)
            self._waiting.setdefault(destination, deque()).append(asked)
            self.queued += 1
        return answered

    @property
    def under_way(self) -> int:
        """How many requests wait for their answer."""
        return sum(len(each.under_way) for port in self._all() for each in port.identifiers.values())

    @property
    def open_ports(self) -> int:
        """How many UDP ports are open."""
        return len(self._all())

    async def stop(self) -> None:
        """Close all ports; whoever still waits for an answer is cancelled."""
        ports = self._all()
        unanswered = [asked.answered for queue in self._waiting.values() for asked in queue]
        for port in ports:
            unanswered += [u.answered for i in port.identifiers.values() for u in i.under_way.values()]
        for answered in unanswered:
            answered.cancel()
        self._ports = {4: [], 6: []}
        for port in ports:
            await maybeDeferred(port.listening.stopListening)

    def _all(self) -> list[_Port]:
        return self._ports[4] + self._ports[6]

    def _free_port(self, destination: Destination) -> _Port | None:
        """A port with a free identifier for this destination, opened if it must be; None when there is none."""
        version = ip_address(destination[0]).version
        ports = self._ports[version]
        free = [port for port in ports if port.identifiers_of(destination).free]
        if free:
            return self._chance.choice(free)
        if len(ports) >= self._most_ports:
            return None
        port = _Port(self, self._chance)
        port.listening = self._reactor.listenUDP(0, port, self._sources[version], LONGEST_PACKET_OCTETS * 2)
        ports.append(port)
        return port

    def _send(self, port: _Port, asked: _Waiting) -> None:
        identifiers = port.identifiers_of(asked.destination)
        identifier = identifiers.take(self._chance)
        try:
            octets = request(
                asked.code,
                identifier,
                asked.attributes,
                asked.secret,
                message_authenticator=asked.message_authenticator,
            )
        except ValueError:
            identifiers.free.append(identifier)
            raise
        exchange = begin(octets, asked.secret, self._now(), self._chance.random())
        timer = self._call_when_due(port, asked.destination, exchange)
        identifiers.under_way[identifier] = _UnderWay(exchange, asked.answered, timer)
        port.write(octets, asked.destination)

    def _due(self, port: _Port, destination: Destination, identifier: int) -> None:
        under_way = port.identifiers[destination].under_way[identifier]
        exchange = again(under_way.exchange, self._now(), self._chance.random())
        if exchange is None:
            self._finish(port, destination, identifier).callback(replace(NO_ANSWER, packets=under_way.exchange.sent))
            return
        under_way.exchange = exchange
        under_way.timer = self._call_when_due(port, destination, exchange)
        port.write(exchange.request, destination)

    def received(self, port: _Port, destination: Destination, datagram: bytes) -> None:
        """A datagram came to `port` from there."""
        identifiers = port.identifiers.get(destination)
        if identifiers is not None and len(datagram) > 1:
            under_way = identifiers.under_way.get(datagram[1])
            said = None if under_way is None else answer(under_way.exchange, datagram)
            if said is not None:
                self._finish(port, destination, datagram[1]).callback(said)
                return
        self.unverified += 1

    def _finish(self, port: _Port, destination: Destination, identifier: int) -> Deferred[Answer]:
        """Take a request off its port, and let the next one for that destination go."""
        identifiers = port.identifiers[destination]
        under_way = identifiers.under_way.pop(identifier)
        identifiers.free.append(identifier)
        if under_way.timer.active():
            under_way.timer.cancel()
        queue = self._waiting.get(destination)
        if queue:
            asked = queue.popleft()
            self.queued -= 1
            if not queue:
                del self._waiting[destination]
            self._send(port, asked)
        return under_way.answered

    def _cancel(self, answered: Deferred[Answer]) -> None:
        for destination, queue in list(self._waiting.items()):
            for asked in queue:
                if asked.answered is answered:
                    queue.remove(asked)
                    self.queued -= 1
                    if not queue:
                        del self._waiting[destination]
                    return
        for port in self._all():
            for destination, identifiers in port.identifiers.items():
                for identifier, under_way in identifiers.under_way.items():
                    if under_way.answered is answered:
                        self._finish(port, destination, identifier)
                        return

    def _call_when_due(self, port: _Port, destination: Destination, exchange: Exchange) -> IDelayedCall:
        seconds = max(exchange.due_at - self._now(), 0) / 1000
        return self._reactor.callLater(seconds, self._due, port, destination, exchange.request[1])

    def _now(self) -> int:
        return round(self._reactor.seconds() * 1000)


class _Port(DatagramProtocol):
    """One UDP port and the identifiers in use on it."""

    listening: Listening

    def __init__(self, ports: Ports, chance: random.Random) -> None:
        self._owner = ports
        self._chance = chance
        self.identifiers: OrderedDict[Destination, _Identifiers] = OrderedDict()

    def identifiers_of(self, destination: Destination) -> _Identifiers:
        """Those towards this destination."""
        known = self.identifiers.get(destination)
        if known is None:
            known = self.identifiers[destination] = _Identifiers(self._chance.sample(range(256), 256))
            if len(self.identifiers) > MOST_DESTINATIONS:
                idle = next((d for d, each in self.identifiers.items() if not each.under_way), destination)
                if idle != destination:
                    del self.identifiers[idle]
        self.identifiers.move_to_end(destination)
        return known

    def write(self, octets: bytes, destination: Destination) -> None:
        """Hand a datagram to the kernel; where it does not take it, it is lost like any other and repeated later."""
        try:
            cast("IUDPTransport", self.transport).write(octets, destination)
        except OSError:
            return

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:  # noqa: N802  Twisted's name
        """From Twisted; an IPv6 address comes with two more fields."""
        self._owner.received(self, (addr[0], addr[1]), datagram)
