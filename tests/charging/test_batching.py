"""Batches gather by themselves: one under way, each item with its own outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from charging.batching import MOST_PATIENCE_MS, Batches, QueueFull


class Floor:
    """Work that is done when the test says so; items are doubled, `bad` ones fail, `boom` takes the batch along."""

    def __init__(self, most_queued: int = 100, most_in_batch: int = 3) -> None:
        self.batches: list[list[Any]] = []
        self.waiting: list[tuple[Callable[[], Sequence[object]], Deferred[Sequence[object]]]] = []
        self.told: list[object] = []
        self.queue: Batches[Any, Any] = Batches(
            self.work, self.run, most_queued=most_queued, most_in_batch=most_in_batch, on_failure=self.told.append
        )

    def work(self, items: Sequence[Any]) -> Sequence[Any]:
        self.batches.append(list(items))
        if "boom" in items:
            raise OSError("boom")
        return [ValueError(item) if item == "bad" else item * 2 for item in items]

    def run(self, work: Callable[[], Sequence[object]]) -> Deferred[Sequence[object]]:
        done: Deferred[Sequence[object]] = Deferred()
        self.waiting.append((work, done))
        return done

    def go(self) -> None:
        work, done = self.waiting.pop(0)
        try:
            outcomes = work()
        except OSError:
            done.errback(Failure())  # type: ignore[no-untyped-call]
        else:
            done.callback(outcomes)

    def submit(self, *items: Any) -> list[list[Any]]:
        found: list[list[Any]] = []
        for item in items:
            answers: list[Any] = []
            self.queue.submit(item).addBoth(answers.append)
            found.append(answers)
        return found


def test_an_idle_one_works_at_once() -> None:
    floor = Floor()
    (answer,) = floor.submit(1)
    assert len(floor.waiting) == 1
    floor.go()
    assert answer == [2]
    assert not floor.queue.busy


def test_what_comes_meanwhile_goes_together_in_order_and_no_more_than_allowed() -> None:
    floor = Floor(most_in_batch=3)
    answers = floor.submit(1, 2, 3, 4, 5)
    assert floor.queue.queued == 4
    floor.go()
    floor.go()
    assert floor.batches == [[1], [2, 3, 4]]
    floor.go()
    assert floor.batches[2] == [5]
    assert answers == [[2], [4], [6], [8], [10]]
    assert not floor.waiting


def test_the_next_batch_is_at_work_before_the_answers_of_the_last_are_heard() -> None:
    floor = Floor()
    heard: list[int] = []
    floor.queue.submit(1).addCallback(lambda _: heard.append(len(floor.waiting)))
    floor.submit(2)
    floor.go()
    assert heard == [1]


def test_a_failed_item_is_only_its_own() -> None:
    floor = Floor()
    floor.submit("x")
    good, bad, other = floor.submit("a", "bad", "b")
    floor.go()
    floor.go()
    assert (good, other) == (["aa"], ["bb"])
    assert isinstance(bad[0].value, ValueError)
    assert floor.told == []


def test_a_failed_batch_is_told_to_all_of_it_and_to_nobody_else() -> None:
    floor = Floor(most_in_batch=2)
    before, first, second, after = floor.submit("x", "a", "boom", "z")
    for _ in range(3):
        floor.go()
    assert before == ["xx"]
    assert [answer[0].check(OSError) for answer in (first, second)] == [OSError, OSError]
    assert after == ["zz"]
    assert [str(error) for error in floor.told] == ["boom"]
    assert not floor.queue.busy


def test_a_full_queue_refuses_and_what_waits_is_kept() -> None:
    floor = Floor(most_queued=2)
    answers = floor.submit(1, 2, 3)
    (refused,) = floor.submit(4)
    assert refused[0].check(QueueFull)
    floor.go()
    floor.go()
    assert answers == [[2], [4], [6]]
    assert floor.submit(5) == [[]]  # there is room again


def test_one_who_has_gone_does_not_hold_up_the_others() -> None:
    floor = Floor()
    floor.submit(0)
    gone: Deferred[Any] = floor.queue.submit(1)
    gone.addErrback(lambda _: None)
    (stayed,) = floor.submit(2)
    gone.cancel()
    floor.go()
    floor.go()
    assert stayed == [4]


def test_a_callback_that_breaks_hurts_no_other() -> None:
    floor = Floor()
    floor.submit(0)
    breaks = floor.queue.submit(1)
    breaks.addCallback(lambda _: 1 // 0).addErrback(lambda _: None)
    (stayed,) = floor.submit(2)
    floor.go()
    floor.go()
    assert stayed == [4]


def test_idle() -> None:
    floor = Floor()
    told: list[str] = []
    floor.queue.idle().addCallback(lambda _: told.append("at once"))
    floor.submit(1, 2)
    floor.queue.idle().addCallback(lambda _: told.append("later"))
    floor.go()
    assert told == ["at once"]
    floor.go()
    assert told == ["at once", "later"]


# --- company -----------------------------------------------------------------------------------------------------


class Reactor(Clock):
    """Looks at what is due before it looks at its sockets, as Twisted's does: what that makes due at once comes after them."""

    def __init__(self) -> None:
        super().__init__()
        self.due: list[Callable[[], object]] = []

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kw: object) -> Any:  # noqa: A002, N802
        """Twisted's."""
        if delay:
            return super().callLater(delay, callable, *args, **kw)
        self.due.append(partial(callable, *args, **kw))
        return None

    def turn(self) -> None:
        """Once around the loop."""
        self.advance(0)
        due, self.due = self.due, []
        for each in due:
            each()


def busy(reactor: Reactor, size: int) -> Floor:
    """One batch of so many is under way."""
    floor = Floor(most_in_batch=100)
    floor.queue.gather(reactor)
    floor.submit(*range(size))
    reactor.turn()
    return floor


def test_after_a_rest_the_first_batch_has_what_else_the_sockets_have() -> None:
    reactor = Reactor()
    floor = Floor(most_in_batch=100)
    floor.queue.gather(reactor)
    floor.submit("first")
    floor.submit("second")
    assert not floor.waiting
    reactor.turn()
    floor.submit("third")
    floor.go()
    assert floor.batches == [["first", "second"]]


def test_what_the_answers_bring_goes_into_the_next_batch() -> None:
    reactor = Reactor()
    floor = busy(reactor, 20)
    floor.submit(*range(19))
    floor.go()
    reactor.turn()
    assert not floor.waiting, "the sockets were not read yet"
    floor.submit("read", "then")
    assert not floor.waiting
    reactor.turn()
    assert len(floor.waiting) == 1
    floor.go()
    assert floor.batches[1:] == [[*range(19), "read", "then"]]


def test_it_is_idle_when_nobody_came() -> None:
    reactor = Reactor()
    floor = busy(reactor, 20)
    gone: list[None] = []
    floor.queue.idle().addCallback(gone.append)
    floor.go()
    reactor.turn()
    assert not gone
    reactor.turn()
    assert gone == [None]
    assert not reactor.getDelayedCalls()
    (answer,) = floor.submit(1)
    reactor.turn()
    floor.go()
    assert answer == [2]


class Stairs:
    """Two queues: what has its outcome in the one before goes on, unless it is `refused`."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.before, self.floor = Floor(most_in_batch=100), Floor(most_in_batch=100)
        self.before.queue.gather(self.reactor)
        self.floor.queue.gather(self.reactor, self.before.queue)

    def come(self, *items: Any) -> None:
        for item in items:
            found = self.before.queue.submit(item)
            found.addCallbacks(lambda _, item=item: None if item == "refused" else self.floor.queue.submit(item), str)
        self.turn()

    def turn(self) -> None:
        """Until what has begun has begun, and what has ended has been answered."""
        for _ in range(3):
            self.reactor.turn()

    def after(self, milliseconds: int) -> None:
        self.reactor.advance(milliseconds / 1000)


def test_one_who_ran_ahead_goes_with_the_many_who_come_behind() -> None:
    stairs = Stairs()
    stairs.come(1, 2, 3)
    stairs.floor.submit("ahead")
    stairs.turn()
    assert not stairs.floor.waiting
    stairs.before.go()
    assert not stairs.floor.waiting, "others may come at this very moment"
    stairs.turn()
    stairs.floor.go()
    assert stairs.floor.batches == [["ahead", 1, 2, 3]]
    assert not stairs.reactor.getDelayedCalls()


def test_many_do_not_wait_for_a_few() -> None:
    stairs = Stairs()
    stairs.come(1, 2, 3)
    stairs.floor.submit(*"abc")
    stairs.turn()
    assert not stairs.floor.waiting, "as many are to come"
    stairs.floor.submit("d")
    stairs.turn()
    assert len(stairs.floor.waiting) == 1
    stairs.floor.go()
    assert stairs.floor.batches == [[*"abcd"]]


def test_who_is_refused_before_is_not_waited_for() -> None:
    for outcome in ("refused", "boom"):
        stairs = Stairs()
        stairs.come(outcome, outcome)
        stairs.floor.submit("ahead")
        stairs.turn()
        assert not stairs.floor.waiting
        stairs.before.go()
        stairs.turn()
        assert len(stairs.floor.waiting) == 1


def test_who_takes_long_is_not_waited_for() -> None:
    stairs = Stairs()
    stairs.come(1, 2)
    (answer,) = stairs.floor.submit("ahead")
    stairs.turn()
    stairs.after(MOST_PATIENCE_MS - 1)
    assert not stairs.floor.waiting
    stairs.after(1)
    stairs.floor.submit(*"later")
    stairs.floor.go()
    assert answer == ["aheadahead"]
    stairs.turn()
    stairs.floor.go()
    assert stairs.floor.batches == [["ahead"], [*"later"]]


def test_where_nobody_waits_nothing_waits_for_those_to_come() -> None:
    stairs = Stairs()
    stairs.come(1, 2)
    stairs.floor.submit(*"abc")
    stairs.turn()
    stairs.floor.go()
    stairs.turn()
    assert not stairs.floor.queue.busy


def test_who_waited_and_was_given_up_is_not_waited_with() -> None:
    stairs = Stairs()
    stairs.come("refused", "refused")
    stairs.floor.submit("ahead")
    stairs.turn()
    stairs.floor.queue.give_up(lambda: OSError("away"))
    stairs.before.go()
    stairs.turn()
    assert not stairs.floor.queue.busy


def test_after_a_batch_too_they_are_waited_for() -> None:
    stairs = Stairs()
    stairs.floor.submit("first")
    stairs.turn()
    stairs.floor.submit("ahead")
    stairs.come(1)
    stairs.floor.go()
    stairs.turn()
    assert not stairs.floor.waiting
    stairs.before.go()
    stairs.turn()
    stairs.floor.go()
    assert stairs.floor.batches == [["first"], ["ahead", 1]]


def test_those_of_a_batch_that_is_stuck_are_not_coming() -> None:
    floor = Floor()
    floor.submit(1, 2)
    assert floor.queue.unanswered == 2
    floor.queue.look(1, lambda _stuck: OSError("late"))
    assert floor.queue.unanswered == 0
    floor.go()
    floor.submit(3)
    assert floor.queue.unanswered == 1
