"""A bad network between NASes and a server: a UDP proxy that loses, doubles, delays and damages datagrams, by a seed.

It runs in a thread of its own. A client's datagrams leave from a socket that only this client has, bound to the client's
own host, so the server still tells NASes by their address and requests by their port.
"""

from __future__ import annotations

import contextlib
import heapq
import random
import selectors
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Self

Address = tuple[str, int]

DATAGRAMS_PER_TURN = 64
LONGEST_WAIT_SECONDS = 0.05
BUFFER_OCTETS = 4 << 20


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities from 0 to 1, for each datagram in either direction.

    `reordering`: it is held back for up to `reordering_ms`, while others pass it. `delay_ms`: everything takes as long.
    """

    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    corruption: float = 0.0
    reordering_ms: int = 300
    delay_ms: int = 0


@dataclass(slots=True)
class _Route:
    """From where clients send to, to where it goes."""

    target: Address
    listening: socket.socket
    clients: dict[Address, socket.socket]


class BadNetwork:
    """Use as a context manager; `route` before or while it runs. `faults` may be replaced at any time.

    `counts`: how many datagrams were received, sent, lost, doubled, reordered, corrupted, so far, and in which
    direction: ("up" to the target | "down", what).
    """

    def __init__(self, faults: Faults, *, seed: int) -> None:
        self.faults = faults
        self.counts: Counter[tuple[str, str]] = Counter()
        self._random = random.Random(seed)
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        self._held: list[tuple[float, int, socket.socket, bytes, Address]] = []
        self._held_ever = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="bad network", daemon=True)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._thread.join()
        self._selector.close()
        for one in self._sockets:
            one.close()

    def route(self, target: Address, listen: Address = ("127.0.0.1", 0)) -> Address:
        """Send here to reach `target` through the bad network: the address, with the port that was free for a 0."""
        with self._lock:
            listening = self._open(listen)
            self._selector.register(listening, selectors.EVENT_READ, (_Route(target, listening, {}), None))
        address: Address = listening.getsockname()[:2]
        return address

    def _open(self, at: Address) -> socket.socket:
        one = socket.socket(socket.AF_INET6 if ":" in at[0] else socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_OCTETS)
        one.bind(at)
        one.setblocking(False)
        self._sockets.append(one)
        return one

    def _run(self) -> None:
        while not self._stopping:
            wait_seconds = LONGEST_WAIT_SECONDS
            if self._held:
                wait_seconds = min(wait_seconds, max(0.0, self._held[0][0] - time.monotonic()))
            for key, _ in self._selector.select(wait_seconds):
                route, client = key.data
                self._drain(route, client)
            now = time.monotonic()
            while self._held and self._held[0][0] <= now:
                _, _, one, datagram, destination = heapq.heappop(self._held)
                self._send(one, datagram, destination)

    def _drain(self, route: _Route, client: Address | None) -> None:
        """What came for the target, or, with `client`, from it for this client."""
        one = route.listening if client is None else route.clients[client]
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                datagram, source = one.recvfrom(65_535)
            except OSError:
                return
            if client is None:
                self._carry("up", self._socket_of(route, source[:2]), datagram, route.target)
            else:
                self._carry("down", route.listening, datagram, client)

    def _socket_of(self, route: _Route, client: Address) -> socket.socket:
        if client not in route.clients:
            with self._lock:
                route.clients[client] = self._open((client[0], 0))
                self._selector.register(route.clients[client], selectors.EVENT_READ, (route, client))
        return route.clients[client]

    def _carry(self, direction: str, one: socket.socket, datagram: bytes, destination: Address) -> None:
        faults, chance = self.faults, self._random.random
        self.counts[direction, "received"] += 1
        if chance() < faults.loss:
            self.counts[direction, "lost"] += 1
            return
        copies = 1
        if chance() < faults.duplication:
            self.counts[direction, "doubled"] += 1
            copies = 2
        for _ in range(copies):
            copy = datagram
            if chance() < faults.corruption:
                self.counts[direction, "corrupted"] += 1
                at = self._random.randrange(len(datagram))
                copy = datagram[:at] + bytes((datagram[at] ^ 1 << self._random.randrange(8),)) + datagram[at + 1 :]
            wait_ms: float = faults.delay_ms
            if chance() < faults.reordering:
                self.counts[direction, "reordered"] += 1
                wait_ms += chance() * faults.reordering_ms
            self.counts[direction, "sent"] += 1
            if wait_ms:
                self._held_ever += 1
                release = time.monotonic() + wait_ms / 1000
                heapq.heappush(self._held, (release, self._held_ever, one, copy, destination))
            else:
                self._send(one, copy, destination)

    def _send(self, one: socket.socket, datagram: bytes, destination: Address) -> None:
        with contextlib.suppress(OSError):  # a full buffer is one more way to lose a datagram
            one.sendto(datagram, destination)
