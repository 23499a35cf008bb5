"""Many callers, few round trips: while one batch is under way, the next one gathers.

There is no timer. An idle server works on a single item at once; a busy one works on hundreds together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

I = TypeVar("I")  # noqa: E741  the item
O = TypeVar("O")  # noqa: E741  the outcome

Run = Callable[[Callable[[], "Sequence[object]"]], "Deferred[Sequence[object]]"]
"""Runs a blocking function somewhere (a thread) and brings back what it returns."""


class QueueFull(Exception):
    """More items wait than this process can work off in time; the caller drops its packet."""


class Batches(Generic[I, O]):
    """Collects items and gives them to `work` in batches, one batch at a time.

    `work` gets a list of items and returns as many outcomes, an exception standing for an item that failed; when it
    raises, all of its items have failed. It is called where `run` calls it; everything else happens in the reactor.
    """

    def __init__(
        self, work: Callable[[Sequence[I]], Sequence[O | Exception]], run: Run, *, most_queued: int, most_in_batch: int
    ) -> None:
        self._work = work
        self._run = run
        self._most_queued = most_queued
        self._most_in_batch = most_in_batch
        self._queue: deque[tuple[I, Deferred[O]]] = deque()
        self._idle: list[Deferred[None]] = []
        self.busy = False

    @property
    def queued(self) -> int:
        """How many items wait."""
        return len(self._queue)

    def submit(self, item: I) -> Deferred[O]:
        """The item's outcome, once its batch is done. QueueFull at once when too many wait."""
        if len(self._queue) >= self._most_queued:
            raise QueueFull
        done: Deferred[O] = Deferred()
        self._queue.append((item, done))
        if not self.busy:
            self._next()
        return done

    def idle(self) -> Deferred[None]:
        """Fires when nothing waits and nothing is under way."""
        waiting: Deferred[None] = Deferred()
        if self.busy:
            self._idle.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    def _next(self) -> None:
        queue = self._queue
        batch = [queue.popleft() for _ in range(min(len(queue), self._most_in_batch))]
        if not batch:
            self.busy = False
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)
            return
        self.busy = True
        items = [item for item, _ in batch]
        working = self._run(lambda: self._work(items))
        working.addCallbacks(self._finish, self._fail, callbackArgs=(batch,), errbackArgs=(batch,))

    def _finish(self, outcomes: Sequence[object], batch: list[tuple[I, Deferred[O]]]) -> None:
        # The next batch goes to work before the answers of this one are written.
        self._next()
        for (_, done), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                done.errback(outcome)
            else:
                done.callback(outcome)  # type: ignore[arg-type]

    def _fail(self, failure: Failure, batch: list[tuple[I, Deferred[O]]]) -> None:
        self._next()
        for _, done in batch:
            done.errback(failure.value)
