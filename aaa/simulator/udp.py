"""Simulated NASes on real UDP sockets and the real clock: a plain loop, no framework.

One thread runs the loop and owns the NASes; others talk to it through `Ports.post`.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aaa.simulator.behaviour import Instant
from aaa.simulator.nas import COA_PORT, Address, Event, SimulatedNas

LONGEST_WAIT_SECONDS: Final = 0.05
"""How often `until` is asked when nothing happens."""
LONGEST_DATAGRAM_OCTETS: Final = 4096
DATAGRAMS_PER_TURN: Final = 64
RECEIVE_BUFFER_OCTETS: Final = 1 << 20

OnEvent = Callable[[SimulatedNas, Event], None]


def now_ms() -> Instant:
    """The real clock."""
    return time.time_ns() // 1_000_000


class Journal:
    """The NASes' logs as JSON lines. With `durable`, each turn's lines are on disk before its datagrams leave."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._durable = durable

    def write(self, events: Sequence[Event]) -> None:
        """Append, and flush."""
        self._file.writelines(f"{event.as_json()}\n" for event in events)
        self._file.flush()
        if self._durable:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """No more lines."""
        self._file.close()


def read_journal(path: Path) -> list[dict[str, object]]:
    """The lines of a journal; a last line that was cut off by a crash is left out."""
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


class Ports:
    """The sockets of some NASes, and the loop over them. Each NAS uses its own address: 127.0.0.1, 127.0.0.2 …

    A `coa_port` of 0 becomes a free one when its socket is opened, which is at once; OSError where an address or port
    can not be had.
    """

    def __init__(
        self, nases: Sequence[SimulatedNas], *, on_event: OnEvent | None = None, journal: Journal | None = None
    ) -> None:
        self._nases = list(nases)
        self._on_event = on_event
        self._journal = journal
        self._logged = [0] * len(self._nases)
        self._sockets: dict[tuple[int, int], socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._posted: deque[Callable[[Instant], object]] = deque()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        for index, nas in enumerate(self._nases):
            if nas.coa_port is not None:
                nas.coa_port = self._open(index, COA_PORT, nas.coa_port).getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the sockets. Not while `run` is running."""
        self._selector.close()
        for one in (*self._sockets.values(), self._wake, self._woken):
            one.close()
        self._sockets.clear()

    def post(self, action: Callable[[Instant], object]) -> None:
        """Have the loop call `action(now)` on its own thread: the way for another thread to log somebody in."""
        self._posted.append(action)
        with contextlib.suppress(BlockingIOError):  # it has been woken often enough
            self._wake.send(b"\0")

    def run(self, until: Callable[[], bool], deadline: Instant) -> bool:
        """Drive the NASes until `until()` is true, which is the answer, or `deadline` has passed.

        `until` is asked at least every 50 ms, and after everything that happened.
        """
        while True:
            self._flush()
            now = now_ms()
            if until():
                return True
            if now >= deadline:
                return False
            self._wait(now, deadline)
            for nas in self._nases:
                nas.tick(now_ms())

    def _wait(self, now: Instant, deadline: Instant) -> None:
        """For datagrams, posted actions, or the next moment that a NAS waits for."""
        moments = [deadline, *(due for nas in self._nases if (due := nas.due()) is not None)]
        wait_seconds = min(max(0, min(moments) - now) / 1000, LONGEST_WAIT_SECONDS)
        for key, _ in self._selector.select(wait_seconds):
            if key.data is None:
                self._woken.recv(4096)
            else:
                index, port = key.data
                self._receive(self._nases[index], port, self._sockets[index, port])
        while self._posted:
            self._posted.popleft()(now_ms())

    def _receive(self, nas: SimulatedNas, port: int, one: socket.socket) -> None:
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                datagram, source = one.recvfrom(LONGEST_DATAGRAM_OCTETS)
            except OSError:
                return  # nothing more, or word of a port where nobody listens
            nas.receive(datagram, source[:2], now_ms(), port)

    def _flush(self) -> None:
        """First the logs, then the datagrams: what was sent is always known."""
        for index, nas in enumerate(self._nases):
            while len(nas.log) > self._logged[index]:  # who is told of an event may cause another
                events, self._logged[index] = nas.log[self._logged[index] :], len(nas.log)
                if self._journal is not None:
                    self._journal.write(events)
                if self._on_event is not None:
                    for event in events:
                        self._on_event(nas, event)
            outbox, nas.outbox = nas.outbox, []
            for outgoing in outbox:
                self._send(index, outgoing.port, outgoing.datagram, outgoing.destination)

    def _send(self, index: int, port: int, datagram: bytes, destination: Address) -> None:
        one = self._sockets.get((index, port)) or self._open(index, port, 0)
        with contextlib.suppress(OSError):  # like a lost datagram: it will be sent again
            one.sendto(datagram, destination)

    def _open(self, index: int, port: int, number: int) -> socket.socket:
        address = self._nases[index].address
        one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self._sockets[index, port] = one
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_OCTETS)
        one.bind((address, number))
        one.setblocking(False)
        self._selector.register(one, selectors.EVENT_READ, (index, port))
        return one


def run(
    nases: Sequence[SimulatedNas],
    until: Callable[[], bool],
    deadline: Instant,
    *,
    on_event: OnEvent | None = None,
    journal: Journal | None = None,
) -> bool:
    """Drive some NASes on real sockets until `until()` is true; False when `deadline` (an instant) passed first."""
    with Ports(nases, on_event=on_event, journal=journal) as ports:
        return ports.run(until, deadline)
