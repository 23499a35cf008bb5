"""Requests that wait for an answer, and the identifiers they occupy: 256 per local port, more ports when more wait."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from aaa.simulator.behaviour import Instant
from aaa.simulator.session import Figures, SimulatedSession
from aaa.wire import Attribute

IDENTIFIERS: Final = 256

Status = Literal["Access", "Start", "Interim-Update", "Stop", "Accounting-On", "Accounting-Off"]


@dataclass(slots=True, eq=False)
class Request:
    """One request with its retransmissions. `port` and `identifier` are where its answer is awaited."""

    status: Status
    session: SimulatedSession | None
    attributes: list[Attribute]
    """Without counters and Acct-Delay-Time, which a retransmission may change."""
    figures: Figures | None
    """The true figures that it reports; None where it reports none."""
    authenticator: bytes | None
    first_sent_at: Instant
    port: int = 0
    identifier: int = 0
    raw: bytes = b""
    due_at: Instant = 0
    attempts: int = 0


class Outstanding:
    """Requests by the port and identifier on which they await their answers."""

    def __init__(self) -> None:
        self._requests: dict[tuple[int, int], Request] = {}
        self._ports = 1
        self._next = 0

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(list(self._requests.values()))

    def place(self, request: Request) -> None:
        """Give a request a free port and identifier; the one freed last comes up last."""
        if len(self._requests) >= self._ports * IDENTIFIERS:
            self._next = self._ports * IDENTIFIERS
            self._ports += 1
        while True:
            place = divmod(self._next, IDENTIFIERS)
            self._next = (self._next + 1) % (self._ports * IDENTIFIERS)
            if place not in self._requests:
                request.port, request.identifier = place
                self._requests[place] = request
                return

    def at(self, port: int, identifier: int) -> Request | None:
        """Who waits there."""
        return self._requests.get((port, identifier))

    def remove(self, request: Request) -> None:
        """It waits no more."""
        self._requests.pop((request.port, request.identifier), None)

    def waits(self, request: Request) -> bool:
        """Whether it still does."""
        return self._requests.get((request.port, request.identifier)) is request

    def clear(self) -> None:
        """Nobody waits any more."""
        self._requests.clear()
