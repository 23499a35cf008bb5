"""How many processes there should be at work, from what they say of themselves."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.spreading import (
    BUSY_PERCENT,
    LARGE_BATCH_ITEMS,
    MOST_QUIET_NS,
    QUIET_NS,
    SILENT_NS,
    SOON_NS,
    Load,
    Spreading,
    decider,
    keeper,
)

LOOK_NS = 5 * 10**8
NOTHING = (0, 0, 0)
"""Batches, items and busy percent of a process between two looks."""


class Server:
    """Some processes with the same clock, of which nobody is really there."""

    def __init__(self, processes: int) -> None:
        self.now_ns = 10**12
        self.loads = [Load(self.now_ns, 0, 0, 0)] * processes
        self.over = 1
        self.spreading = Spreading()
        self.spreading.look(self.loads, 1, self.now_ns)

    def look(self, *work: tuple[int, int, int], silent: int | None = None) -> int:
        self.now_ns += LOOK_NS
        for place, (batches, items, busy_percent) in enumerate(work):
            before = self.loads[place]
            if place != silent:
                busy_ns = before.busy_ns + busy_percent * LOOK_NS // 100
                self.loads[place] = Load(self.now_ns, before.batches + batches, before.items + items, busy_ns)
        self.over = self.spreading.look(self.loads, self.over, self.now_ns)
        return self.over

    def looks_until(self, over: int, *work: tuple[int, int, int]) -> int:
        """How many looks at this work it takes; it is never another number in between."""
        before = self.over
        for looks in range(1, 10_000):
            if self.look(*work) == over:
                return looks
            assert self.over == before
        raise AssertionError(f"still {before}")


NOW_NS = 10**12
THERE, STILL, NOT_YET = Load(NOW_NS - SILENT_NS + 1, 0, 0, 0), Load(NOW_NS - SILENT_NS, 0, 0, 0), Load(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("loads", "first", "last"),
    [
        ((NOT_YET, NOT_YET), None, None),
        ((THERE,), 0, 0),
        ((THERE, THERE, THERE), 0, 2),
        ((THERE, THERE, NOT_YET), 0, 1),
        ((STILL, THERE, THERE), 1, 2),
        ((THERE, THERE, STILL), 0, 1),
        ((STILL, STILL, STILL), None, None),
    ],
)
def test_the_first_that_is_there_decides_and_the_last_does_what_any_could(
    loads: tuple[Load, ...], first: int | None, last: int | None
) -> None:
    assert (decider(loads, NOW_NS), keeper(loads, NOW_NS)) == (first, last)


@pytest.mark.parametrize(
    ("work", "over"),
    [
        ((NOTHING, NOTHING, NOTHING), 1),
        (((100, 100 * LARGE_BATCH_ITEMS, 70), NOTHING, NOTHING), 1),
        (((100, 100 * LARGE_BATCH_ITEMS + 1, 70), NOTHING, NOTHING), 2),
        (((100, 300 * LARGE_BATCH_ITEMS, 70), NOTHING, NOTHING), 3),
        (((100, 10_000 * LARGE_BATCH_ITEMS, 70), NOTHING, NOTHING), 3),  # there are no more
        (((10, 10, BUSY_PERCENT), NOTHING, NOTHING), 1),
        (((10, 10, BUSY_PERCENT + 1), NOTHING, NOTHING), 2),
        (((0, 0, 99), NOTHING, NOTHING), 2),  # handshakes are no batches
        (((50, 50 * LARGE_BATCH_ITEMS, 40), (25, 25 * LARGE_BATCH_ITEMS, 40), (1, LARGE_BATCH_ITEMS, 5)), 3),
    ],
)
def test_there_are_more_at_once(work: tuple[tuple[int, int, int], ...], over: int) -> None:
    assert Server(3).look(*work) == over


def test_there_are_fewer_after_a_while() -> None:
    server = Server(2)
    assert server.look((10, 20 * LARGE_BATCH_ITEMS, 70), NOTHING) == 2
    assert server.look(NOTHING, NOTHING) == 2
    assert server.looks_until(1, NOTHING, NOTHING) == QUIET_NS // LOOK_NS


def test_a_while_is_without_interruption() -> None:
    server = Server(2)
    server.look((10, 20 * LARGE_BATCH_ITEMS, 70), NOTHING)
    for _ in range(5):
        for _ in range(QUIET_NS // LOOK_NS):
            assert server.look(NOTHING, NOTHING) == 2
        assert server.look((10, 10 * LARGE_BATCH_ITEMS, 30), NOTHING) == 2


@pytest.mark.parametrize(
    ("items", "busy_percent", "over"),
    [
        (LARGE_BATCH_ITEMS * 3 // 4, 130, 1),  # larger batches take less
        (LARGE_BATCH_ITEMS * 3 // 4 + 2, 130, 2),
        (LARGE_BATCH_ITEMS * 3 // 4, 140, 2),
    ],
)
def test_there_are_fewer_where_they_will_stay_so(items: int, busy_percent: int, over: int) -> None:
    server = Server(2)
    server.look((10, 20 * LARGE_BATCH_ITEMS, 70), NOTHING)
    both = (10, 10 * items // 2, busy_percent // 2)
    assert {server.look(both, both) for _ in range(QUIET_NS // LOOK_NS)} == {2}
    assert server.look(both, both) == over


def test_work_that_takes_time_by_itself_is_tried_on_fewer_less_and_less_often() -> None:
    """Handshakes: one process has too little time for what two have enough for."""
    server = Server(2)
    waits = []
    for _ in range(12):
        assert server.look((5, 5, 99), NOTHING) == 2
        waits.append(server.looks_until(1, (3, 3, 60), (3, 3, 60)) - 1)
    assert waits[0] == QUIET_NS // LOOK_NS
    assert all(after == min(2 * before, MOST_QUIET_NS // LOOK_NS) for before, after in pairwise(waits))
    assert waits[-1] == MOST_QUIET_NS // LOOK_NS
    for _ in range(SOON_NS // LOOK_NS):
        assert server.look(NOTHING, NOTHING) == 1
    server.look((5, 5, 99), NOTHING)  # what comes later is another matter
    assert server.looks_until(1, (3, 3, 60), (3, 3, 60)) == QUIET_NS // LOOK_NS + 1


def test_work_that_comes_and_goes_is_no_mistake() -> None:
    server = Server(2)
    for _ in range(5):
        assert server.look((10, 20 * LARGE_BATCH_ITEMS, 99), NOTHING) == 2
        assert server.looks_until(1, (3, 3, 20), (3, 3, 20)) == QUIET_NS // LOOK_NS + 1


def test_when_one_stands_still_all_get_some() -> None:
    """As nobody knows which socket is his."""
    server = Server(3)
    for _ in range(SILENT_NS // LOOK_NS - 1):
        assert server.look(NOTHING, NOTHING, NOTHING, silent=1) == 1
    for _ in range(3 * QUIET_NS // LOOK_NS):
        assert server.look(NOTHING, NOTHING, NOTHING, silent=1) == 3
    assert server.look(NOTHING, NOTHING, NOTHING) == 3  # it is back
    assert server.looks_until(1, NOTHING, NOTHING, NOTHING) == QUIET_NS // LOOK_NS


def test_what_was_quiet_before_one_stood_still_does_not_count() -> None:
    server = Server(3)
    server.look((10, 30 * LARGE_BATCH_ITEMS, 70), NOTHING, NOTHING)
    for _ in range(QUIET_NS // LOOK_NS // 2):
        assert server.look(NOTHING, NOTHING, NOTHING) == 3
    for _ in range(SILENT_NS // LOOK_NS):
        server.look(NOTHING, NOTHING, NOTHING, silent=2)
    assert server.looks_until(1, NOTHING, NOTHING, NOTHING) == QUIET_NS // LOOK_NS + 1


def test_what_was_quiet_before_there_were_more_does_not_count() -> None:
    server = Server(3)
    server.look((10, 20 * LARGE_BATCH_ITEMS, 70), NOTHING, NOTHING)
    for _ in range(QUIET_NS // LOOK_NS):
        assert server.look(NOTHING, NOTHING, NOTHING) == 2
    assert server.look((10, 15 * LARGE_BATCH_ITEMS, 70), (10, 15 * LARGE_BATCH_ITEMS, 70), NOTHING) == 3
    assert server.looks_until(1, NOTHING, NOTHING, NOTHING) == QUIET_NS // LOOK_NS + 1


def test_one_that_was_started_again_has_done_nothing_yet() -> None:
    server = Server(2)
    server.look((10, 20 * LARGE_BATCH_ITEMS, 70), (500, 500, 40))
    server.loads[1] = Load(server.now_ns, 3, 3, 10**6)
    assert server.look((10, LARGE_BATCH_ITEMS, 20), NOTHING) == 2
    assert server.looks_until(1, NOTHING, NOTHING) == QUIET_NS // LOOK_NS


def test_what_one_did_before_it_was_started_again_is_not_taken_from_the_others() -> None:
    server = Server(2)
    server.look(NOTHING, (5, 5, 50))
    server.loads[1] = Load(server.now_ns, 0, 0, 0)
    assert server.look((5, 5, BUSY_PERCENT + 1), NOTHING) == 2


def test_the_first_that_is_there_decides() -> None:
    now_ns = 10**12
    there, gone, never = Load(now_ns - 1, 0, 0, 0), Load(now_ns - SILENT_NS, 9, 9, 9), Load(0, 0, 0, 0)
    assert decider([there, there], now_ns) == 0
    assert decider([gone, there], now_ns) == 1
    assert decider([never, gone, there], now_ns) == 2
    assert decider([gone, never], now_ns) is None


@given(
    st.lists(st.tuples(*[st.tuples(st.integers(0, 500), st.integers(0, 10**6), st.integers(0, 200))] * 4), max_size=60)
)
def test_whatever_they_do_there_is_one_and_there_are_no_more_than_there_are(
    looks: list[tuple[tuple[int, int, int], ...]],
) -> None:
    server = Server(4)
    for work in looks:
        assert 1 <= server.look(*work) <= 4
