"""Who waits where, who must go when the places run out, and that nobody takes them all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from charging.admission import Login
from charging.batching import Batches, QueueFull
from charging.restarts import NasRestart
from charging.session import Report
from charging.settle import Close
from charging.waiting import SHARE, Rank, Waiting
from charging.writer import place_of

CONVERSATION, STOP, INTERIM, BEGINNING, REPLAYED = Rank


def test_they_are_served_by_rank_and_each_nas_in_turn() -> None:
    waiting: Waiting[str] = Waiting(100)
    for item, rank, holder in (
        ("replayed", REPLAYED, None), ("login", BEGINNING, 1), ("interim a1", INTERIM, 1), ("interim a2", INTERIM, 1),
        ("interim b1", INTERIM, 2), ("stop", STOP, 1), ("ack", CONVERSATION, None), ("interim a3", INTERIM, 1),
    ):  # fmt: skip
        assert waiting.put(item, rank, holder) is None
    assert waiting.take(4) == ["ack", "stop", "interim a1", "interim b1"]
    assert waiting.take(100) == ["interim a2", "interim a3", "login", "replayed"]
    assert waiting.take(1) == []


@pytest.mark.parametrize(
    ("newcomer", "goes"),
    [(CONVERSATION, "old"), (STOP, "old"), (INTERIM, "old"), (BEGINNING, "old"), (REPLAYED, "new")],
)
def test_the_oldest_interim_makes_room(newcomer: Rank, goes: str) -> None:
    waiting: Waiting[str] = Waiting(3)
    for item in ("old", "middle", "young"):
        assert waiting.put(item, INTERIM, None) is None
    assert waiting.put("new", newcomer, None) == goes
    assert len(waiting) == 3
    assert waiting.refused == {INTERIM if goes == "old" else newcomer: 1}


@pytest.mark.parametrize("newcomer", Rank)
def test_without_interims_the_newcomer_goes(newcomer: Rank) -> None:
    waiting: Waiting[str] = Waiting(3)
    for item in ("a", "b", "c"):
        waiting.put(item, STOP, None)
    assert waiting.put("new", newcomer, None) == "new"
    assert waiting.refused == {newcomer: 1}
    assert waiting.take(10) == ["a", "b", "c"]


def test_beginnings_leave_places_to_what_is_under_way() -> None:
    waiting: Waiting[int] = Waiting(80)
    kept = [n for n in range(80) if waiting.put(n, BEGINNING, None) is None]
    assert len(kept) == 70
    assert waiting.put(100, STOP, 1) is None


def test_one_nas_leaves_places_to_the_others() -> None:
    waiting: Waiting[str] = Waiting(1000)
    flood = sum(waiting.put("flood", STOP, 1) is None for _ in range(5000))
    assert flood == 800
    assert all(waiting.put("other", STOP, nas) is None for nas in range(2, 102))


def test_a_flood_pushes_out_its_own_interims_and_no_others() -> None:
    waiting: Waiting[tuple[int, int]] = Waiting(1000)
    for n in range(40):
        waiting.put((2, n), INTERIM, 2)
    gone = [gone for n in range(5000) if (gone := waiting.put((1, n), INTERIM, 1)) is not None]
    assert {nas for nas, _ in gone} == {1}
    assert [n for _, n in gone] == list(range(len(gone))), "the oldest first"
    left = waiting.take(2000)
    assert [n for nas, n in left if nas == 2] == list(range(40))
    assert [n for nas, n in left if nas == 1] == list(range(5000))[len(gone) :]


def test_floods_get_equal_shares() -> None:
    waiting: Waiting[int] = Waiting(900)
    for _ in range(2000):
        for nas in (1, 2):
            waiting.put(nas, STOP, nas)
    held = waiting.take(900)
    assert abs(held.count(1) - held.count(2)) <= 1
    assert held.count(1) == 400  # SHARE / (2 * SHARE + 1) of 900


@given(
    st.integers(1, 30),
    st.lists(st.tuples(st.sampled_from(Rank), st.sampled_from([None, 1, 2, 3]), st.integers(0, 4)), max_size=200),
)
def test_nothing_is_lost_unsaid_and_the_bound_holds(most: int, steps: list[tuple[Rank, int | None, int]]) -> None:
    waiting: Waiting[int] = Waiting(most)
    inside: set[int] = set()
    for number, (rank, holder, take) in enumerate(steps):
        held_before = len(inside)
        gone = waiting.put(number, rank, holder)
        inside.add(number)
        if gone is not None:
            inside.remove(gone)
        assert len(waiting) == len(inside) <= most
        assert held_before < most or gone is not None
        for item in waiting.take(take):
            inside.remove(item)
    assert sorted(waiting.take(most)) == sorted(inside)
    assert len(waiting) == 0


def test_a_share_is_a_multiple_of_what_is_free() -> None:
    assert SHARE == 4, "the figures above were worked out for it"


def report(kind: str) -> Report:
    return Report(kind, 7, "192.0.2.1", "alice", b"1", None, None, None, None, False, 0, False, 0, b"")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("item", "place"),
    [
        (report("stop"), (STOP, 7)),
        (report("interim"), (INTERIM, 7)),
        (report("start"), (BEGINNING, 7)),
        (report("other"), (INTERIM, 7)),
        (NasRestart(7, "192.0.2.1", "on", 0, 0), (STOP, 7)),
        (Login(1, 2, "alice", 3, None, None, 7, "192.0.2.1", ""), (BEGINNING, 7)),
        (Close(1, 2, "stale", 0), (CONVERSATION, None)),
    ],
)
def test_where_each_kind_of_item_waits(item: object, place: object) -> None:
    assert place_of(item) == place  # type: ignore[arg-type]


# --- in front of work --------------------------------------------------------------------------------------------


class Held:
    """Work that is done when the test says so."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.pending: list[tuple[object, Deferred[object]]] = []

    def run(self, work: object) -> Deferred[object]:
        done: Deferred[object] = Deferred()
        self.pending.append((work, done))
        return done

    def work(self, items: list[str]) -> list[str]:
        self.batches.append(list(items))
        return list(items)

    def finish(self) -> None:
        work, done = self.pending.pop(0)
        done.callback(work())  # type: ignore[operator]


def outcomes(deferred: Deferred[str]) -> list[object]:
    found: list[object] = []
    deferred.addCallbacks(found.append, lambda failure: found.append(failure.value))
    return found


def test_who_loses_a_place_is_told_so_at_once() -> None:
    held = Held()
    batches: Batches[str, str] = Batches(held.work, held.run, most_queued=1, most_in_batch=10)  # type: ignore[arg-type]
    under_way = outcomes(batches.submit("first"))
    interim = outcomes(batches.submit("interim", (INTERIM, 1)))
    stop = outcomes(batches.submit("stop", (STOP, 1)))
    (full,) = interim
    assert isinstance(full, QueueFull)
    (refused,) = outcomes(batches.submit("start", (BEGINNING, 1)))
    assert isinstance(refused, QueueFull)
    held.finish()
    held.finish()
    assert (under_way, stop) == (["first"], ["stop"])
    assert held.batches == [["first"], ["stop"]]
    assert batches.refused == {INTERIM: 1, BEGINNING: 1}


def late(stuck: bool) -> Exception:
    return TimeoutError("stuck" if stuck else "too many")


def test_what_is_late_fails_and_its_late_outcome_is_dropped() -> None:
    held = Held()
    batches: Batches[str, str] = Batches(held.work, held.run, most_queued=10, most_in_batch=10)  # type: ignore[arg-type]
    first = outcomes(batches.submit("first"))
    assert not batches.look(2, late)
    second = outcomes(batches.submit("second"))
    assert batches.look(2, late)
    assert [str(each) for each in first] == ["stuck"]
    assert second == []
    assert batches.look(2, late)
    assert [str(each) for each in second] == ["stuck"]
    third = outcomes(batches.submit("third"))
    held.finish()
    held.finish()
    assert third == ["third"]
    assert held.batches == [["first"], ["third"]], "the second never went to work"
    assert len(first) == len(second) == 1


def test_who_waits_too_long_while_batches_come_and_go_is_late_because_there_are_too_many() -> None:
    held = Held()
    batches: Batches[str, str] = Batches(held.work, held.run, most_queued=10, most_in_batch=1)  # type: ignore[arg-type]
    waiting = [outcomes(batches.submit(name)) for name in ("first", "second", "third")]
    patient = outcomes(batches.submit("patient", patient=True))
    assert not batches.look(2, late)
    held.finish()
    assert not batches.look(2, late)
    assert [str(each) for each in waiting[1]] == ["too many"], "under way since one look only"
    assert [str(each) for each in waiting[2]] == ["too many"]
    held.finish()
    assert not batches.look(2, late)
    assert patient == [], "it may wait as long as it takes"
    assert batches.look(2, late)
    assert [str(each) for each in patient] == ["stuck"], "but not for a batch that does not end"


def test_a_late_item_takes_no_other_of_its_batch_along() -> None:
    held = Held()
    batches: Batches[str, str] = Batches(held.work, held.run, most_queued=10, most_in_batch=10)  # type: ignore[arg-type]
    batches.submit("under way")
    early = outcomes(batches.submit("early"))
    batches.look(9, late)
    young = outcomes(batches.submit("young"))
    held.finish()
    assert not batches.look(2, late)
    held.finish()
    assert held.batches[1] == ["early", "young"]
    assert [type(each) for each in early] == [TimeoutError]
    assert young == ["young"]
