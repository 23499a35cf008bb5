"""Over how many of its processes a server spreads its NASes: as few as have the time.

A batch costs something by itself and something for each item. What one process settles in a batch of twenty, two settle in two of
ten, and of small batches that is the larger part: with 32 packets outstanding a report cost twice as much. In large batches it
is next to nothing, and then a second processor is worth more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

#: With so many items in its batches, on average, a process has enough for two.
LARGE_BATCH_ITEMS: Final = 80
#: Of its processor; beyond it a process has no time for more.
BUSY_PERCENT: Final = 90
#: What fewer may have to do, that they do not become more again at once: of a large batch, and, as the same work takes them less
#: in larger batches, of that time.
ROOM_PERCENT: Final = 75
RELIEF_PERCENT: Final = 150
#: How long it must have been so. Each time that they soon become more again for want of time, and not of more packets, twice as
#: long: their work takes time by itself.
QUIET_NS: Final = 30 * 10**9
MOST_QUIET_NS: Final = 960 * 10**9
SOON_NS: Final = 60 * 10**9
#: Who has said nothing for so long stands still, or is being started again. As nobody knows whose NASes he has, all get some.
SILENT_NS: Final = 2 * 10**9


class Load(NamedTuple):
    """What a process has done since it began, and when it said so, by a clock that is one for all (0: it has not said anything yet).
    `busy_ns`: processor time of its reactor."""

    told_ns: int
    batches: int
    items: int
    busy_ns: int


class _Done(NamedTuple):
    """What a process has done between two looks."""

    elapsed_ns: int
    batches: int
    items: int
    busy_ns: int


def decider(loads: Sequence[Load], now_ns: int) -> int | None:
    """The one that decides for all: the first that is there, by its place; None: nobody is."""
    return next((place for place, load in enumerate(loads) if _is_there(load, now_ns)), None)


def keeper(loads: Sequence[Load], now_ns: int) -> int | None:
    """The one that does for all what any of them can do: the last that is there, as NASes are given to the first ones."""
    return next((place for place in reversed(range(len(loads))) if _is_there(loads[place], now_ns)), None)


class Spreading:
    """The decision, from look to look, of the process that decides."""

    def __init__(self) -> None:
        self._before: Sequence[Load] = ()
        self._quiet_ns = QUIET_NS
        self._quiet_since_ns: int | None = None
        self._fewer_since_ns = -SOON_NS

    def look(self, loads: Sequence[Load], over: int, now_ns: int) -> int:
        """Over how many processes NASes should be spread now that they are over `over` of them: more at once, fewer after a while."""
        before, self._before = self._before, tuple(loads)
        if any(load.told_ns and not _is_there(load, now_ns) for load in loads):
            self._quiet_since_ns = None
            return len(loads)
        done = [_done(*each) for each in zip(before, loads, strict=False)]  # at the first look there is nothing before
        for_items, for_time = _for_items(done, 100), _for_time(done, 100)
        more = min(max(for_items, for_time), len(loads))
        if more > over:
            mistaken = for_items <= over and now_ns - self._fewer_since_ns < SOON_NS
            self._quiet_ns = min(2 * self._quiet_ns, MOST_QUIET_NS) if mistaken else QUIET_NS
            self._quiet_since_ns = None
            return more
        fewer = max(_for_items(done, ROOM_PERCENT), _for_time(done, RELIEF_PERCENT))
        if fewer >= over:
            self._quiet_since_ns = None
        elif self._quiet_since_ns is None:
            self._quiet_since_ns = now_ns
        elif now_ns - self._quiet_since_ns >= self._quiet_ns:
            self._quiet_since_ns, self._fewer_since_ns = None, now_ns
            return fewer
        return over


def _is_there(load: Load, now_ns: int) -> bool:
    return load.told_ns != 0 and now_ns - load.told_ns < SILENT_NS


def _done(before: Load, after: Load) -> _Done:
    """Nothing where it has not said more since, or began anew."""
    if after.told_ns <= before.told_ns or after.busy_ns < before.busy_ns:
        return _Done(0, 0, 0, 0)
    return _Done(*(b - a for a, b in zip(before, after, strict=True)))


def _for_items(done: Sequence[_Done], percent: int) -> int:
    """How many processes their items take, where one may have so much of a large batch."""
    items = sum(each.items * 100 // each.batches for each in done if each.batches)
    return max(1, -(-items // (LARGE_BATCH_ITEMS * percent)))


def _for_time(done: Sequence[_Done], percent: int) -> int:
    """How many processes their work takes, where one may have so much of its time."""
    busy = sum(each.busy_ns * 100 // each.elapsed_ns for each in done if each.elapsed_ns)
    return max(1, -(-busy * 100 // (BUSY_PERCENT * percent)))
