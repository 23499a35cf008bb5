"""Many callers, few round trips: while one batch is under way, the next one gathers.

An idle server works on a single item at once; a busy one works on hundreds together. Whoever waits for an answer sends his
next packet when he has it: with the reactor's clock, a batch begins when the answers of the one before it have gone and what
they brought has been read. Where it would be of a few that ran ahead, and as many or more are about to come, it waits for these:
else one that is out of step with thirty others has a batch of its own for ever, which costs nearly what theirs does.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from charging.waiting import Rank, Waiting

I = TypeVar("I")  # noqa: E741  the item
O = TypeVar("O")  # noqa: E741  the outcome

Run = Callable[[Callable[[], "Sequence[object]"]], "Deferred[Sequence[object]]"]
"""Runs a blocking function somewhere (a thread) and brings back what it returns."""


#: When an item came that may wait for as long as it takes, in looks.
_PATIENT: Final = 2**62
#: How long a batch waits for what is about to come, where that takes longer than it should.
MOST_PATIENCE_MS: Final = 5
#: In seconds, as a reactor's clock counts.
MILLISECOND: Final = 10**-3


class QueueFull(Exception):
    """More items wait than this process can work off in time; nothing is broken."""


class Batches(Generic[I, O]):
    """Collects items and gives them to `work` in batches, one batch at a time.

    `work` gets a list of items and returns as many outcomes, an exception standing for an item that failed; when it
    raises, all of its items have failed. It is called where `run` calls it; everything else happens in the reactor.
    `place_of` says where an item waits and for whom its place counts; without it all are equal.

    Time is counted in looks: whoever wants deadlines calls `look` at an even pace. So a deadline costs an item nothing,
    and a reactor that stood still for a moment does not take itself for a slow database.
    """

    def __init__(
        self,
        work: Callable[[Sequence[I]], Sequence[O | Exception]],
        run: Run,
        *,
        most_queued: int,
        most_in_batch: int,
        place_of: Callable[[I], tuple[Rank, Hashable]] | None = None,
        on_failure: Callable[[BaseException], None] = lambda _error: None,
    ) -> None:
        """`on_failure` is told of a batch that failed as a whole, before its items are and before the next begins."""
        self._work = work
        self._run = run
        self._most_in_batch = most_in_batch
        self._place_of = place_of
        self._on_failure = on_failure
        self._waiting: Waiting[tuple[I, Deferred[O], int]] = Waiting(most_queued)
        self._under_way: list[tuple[I, Deferred[O], int]] = []
        self._clock: IReactorTime | None = None
        self._before: Batches[Any, Any] | None = None
        self.on_answered: Callable[[], None] = lambda: None
        """Called in the reactor when those of a batch have heard: by this the queue behind this one knows."""
        self._patience: IDelayedCall | None = None
        """The end of waiting for what is about to come, while it is waited for."""
        self._looks = 0
        self._begun = 0
        """The look at which the batch under way began."""
        self._idle: list[Deferred[None]] = []
        self.busy = False
        self.batches = self.items = 0
        """How many began since the beginning, and what was in them."""

    @property
    def queued(self) -> int:
        """How many items wait."""
        return len(self._waiting)

    @property
    def unanswered(self) -> int:
        """How many items have no outcome yet; those of a batch that is stuck do not count."""
        return len(self._waiting) + len(self._under_way)

    @property
    def refused(self) -> dict[Rank, int]:
        """How many items found no place, or lost it to another, by rank."""
        return dict(self._waiting.refused)

    def submit(self, item: I, place: tuple[Rank, Hashable] | None = None, *, patient: bool = False) -> Deferred[O]:
        """The item's outcome, once its batch is done. It fails with QueueFull at once when too many wait, or later when others
        need its place more. `place` goes before what `place_of` says. `patient`: it is never late for having waited."""
        done: Deferred[O] = Deferred()
        entry = (item, done, _PATIENT if patient else self._looks)
        if place is None and self._place_of is not None:
            place = self._place_of(item)
        gone = self._waiting.put(entry) if place is None else self._waiting.put(entry, *place)
        if gone is not None:
            gone[1].errback(QueueFull())
        if not self.busy:
            self._begin()
        else:
            self._reconsider()
        return done

    def gather(self, clock: IReactorTime, before: Batches[Any, Any] | None = None) -> None:
        """From now on a batch begins when what the sockets have at that moment has been read. `before`: whose items mostly come here
        when they have their outcome; where these are not fewer than what there is, they are waited for."""
        self._clock = clock
        self._before = before
        if before is not None:
            before.on_answered = self._reconsider

    def idle(self) -> Deferred[None]:
        """Fires when nothing waits and nothing is under way."""
        waiting: Deferred[None] = Deferred()
        if self.busy:
            self._idle.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    def look(self, most_looks: int, error: Callable[[bool], Exception]) -> bool:
        """Time goes on by one look. Items without an outcome after `most_looks` of them fail. Is the batch under way stuck,
        that is, has it taken all of that time by itself? Otherwise it is the queue that is too long; `error` is told
        which. What becomes of those under way is seen by nobody: a late outcome is dropped."""
        self._looks += 1
        last = self._looks - most_looks
        stuck = self.busy and self._begun <= last
        late = [entry for entry in self._under_way if (stuck or entry[2] <= last) and not entry[1].called]
        late += self._waiting.take_while(lambda entry: entry[2] <= last)
        if stuck:
            self._under_way = []
        for _, done, _ in late:
            done.errback(error(stuck))
        return stuck

    def give_up(self, error: Callable[[], Exception]) -> None:
        """Everything that waits fails now."""
        for _, done, _ in self._waiting.take_while(lambda _: True):
            done.errback(error())

    def _begin(self) -> None:
        """Begin the first batch after a rest: with what else the sockets have at this moment."""
        if self._clock is None:
            self._next()
        else:
            self.busy = True
            self._begun = self._looks
            self._clock.callLater(0, self._next_in_company, self._clock)

    def _follow(self) -> None:
        """Begin the batch after one that is done."""
        if self._clock is None:
            self._next()
            return
        self._under_way = []
        self._begun = self._looks
        # The reactor calls what is due before it looks at its sockets; what that makes due, after it.
        self._clock.callLater(0, self._clock.callLater, 0, self._next_in_company, self._clock)

    def _next_in_company(self, clock: IReactorTime) -> None:
        """Begin the next batch, or wait a little for those who are about to come."""
        if self._ran_ahead():
            self._patience = clock.callLater(MOST_PATIENCE_MS * MILLISECOND, self._next)
        else:
            self._next()

    def _ran_ahead(self) -> bool:
        """Are as many about to come as wait here, or more?"""
        return self._before is not None and 0 < len(self._waiting) <= self._before.unanswered

    def _reconsider(self) -> None:
        """Somebody has come, or is known not to."""
        if self._patience is not None and not self._ran_ahead():
            self._patience.reset(0)
            self._patience = None

    def _next(self) -> None:
        self._patience = None
        batch = self._under_way = self._waiting.take(self._most_in_batch)
        if not batch:
            self.busy = False
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)
            return
        self.busy = True
        self.batches += 1
        self.items += len(batch)
        self._begun = self._looks
        items = [item for item, _, _ in batch]
        working = self._run(lambda: self._work(items))
        working.addCallbacks(self._finish, self._fail, callbackArgs=(batch,), errbackArgs=(batch,))

    def _finish(self, outcomes: Sequence[object], batch: list[tuple[I, Deferred[O], int]]) -> None:
        self._follow()
        for (_, done, _), outcome in zip(batch, outcomes, strict=True):
            if done.called:
                continue
            if isinstance(outcome, Exception):
                done.errback(outcome)
            else:
                done.callback(outcome)  # type: ignore[arg-type]
        self.on_answered()

    def _fail(self, failure: Failure, batch: list[tuple[I, Deferred[O], int]]) -> None:
        assert failure.value is not None
        self._on_failure(failure.value)
        self._next()
        for _, done, _ in batch:
            if not done.called:
                done.errback(failure.value)
        self.on_answered()
