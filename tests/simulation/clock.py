"""Time that passes only when nothing is left to do at the present moment."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from twisted.internet.base import DelayedCall

#: 2026-05-31 11:52:00 UTC. Eight minutes later a day, a week and a month begin in Fiji.
BEGINNING = 1_780_228_320_000


class FakeClock:
    """Twisted's IReactorTime in whole milliseconds; what is due at one moment happens in the order it was asked for."""

    def __init__(self) -> None:
        self.now = BEGINNING
        self.calls = 0
        self._heap: list[tuple[int, int, DelayedCall]] = []

    def seconds(self) -> float:
        """Since the beginning."""
        return (self.now - BEGINNING) / 1000

    def at(self, instant: int, call: Callable[..., object], *args: object) -> DelayedCall:
        """Call something at an instant, or now when that has passed."""
        self.calls += 1
        delayed = DelayedCall(max(instant, self.now), call, args, {}, self._forget, self._forget, self.seconds)
        heapq.heappush(self._heap, (max(instant, self.now), self.calls, delayed))
        return delayed

    def later(self, seconds: float, call: Callable[..., object], *args: object) -> DelayedCall:
        """Call something so many seconds from now; time that is not zero is at least a millisecond."""
        return self.at(self.now + (max(1, round(seconds * 1000)) if seconds > 0 else 0), call, *args)

    def run(self, until: int) -> None:
        """Let time pass."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, delayed = heapq.heappop(heap)
            if not delayed.cancelled:
                delayed.called = 1
                delayed.func(*delayed.args, **delayed.kw)
        self.now = until

    def _forget(self, _delayed: DelayedCall) -> None:
        """A cancelled call stays in the heap and is passed over."""
