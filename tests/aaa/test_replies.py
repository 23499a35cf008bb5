"""The duplicate cache, on a clock that is a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.replies import IN_PROGRESS, NEW, Answered, Key, ReplyCache


def key(identifier: int = 7, *, authenticator: bytes = b"a" * 16, port: int = 1645, listener: str = "acct") -> Key:
    return Key(listener, "192.0.2.1", port, 4, identifier, authenticator)


def test_a_new_request_is_worked_on_once_and_answered_with_the_same_bytes() -> None:
    cache = ReplyCache()
    assert cache.begin(key(), 0) is NEW
    assert cache.begin(key(), 1) is IN_PROGRESS
    cache.answer(key(), b"reply", 2)
    assert cache.begin(key(), 3) == Answered(b"reply")
    assert cache.begin(key(), 4) == Answered(b"reply")


@pytest.mark.parametrize(
    "other",
    [
        key(8),
        key(port=1646),
        key(listener="acct [::]:1813"),
        key()._replace(address="192.0.2.2"),
        key()._replace(code=1),
    ],
)
def test_another_place_is_another_request(other: Key) -> None:
    cache = ReplyCache()
    cache.begin(key(), 0)
    cache.answer(key(), b"reply", 0)
    assert cache.begin(other, 0) is NEW
    assert cache.begin(key(), 0) == Answered(b"reply")


def test_a_new_authenticator_pushes_the_answered_one_out() -> None:
    cache = ReplyCache()
    old, new = key(), key(authenticator=b"b" * 16)
    cache.begin(old, 0)
    cache.answer(old, b"old", 0)
    assert cache.begin(new, 1) is NEW
    assert len(cache) == 1
    cache.answer(new, b"new", 2)
    assert cache.begin(new, 3) == Answered(b"new")
    assert cache.begin(old, 4) is NEW


def test_a_new_authenticator_pushes_the_one_in_progress_out_and_its_late_answer_is_dropped() -> None:
    cache = ReplyCache()
    old, new = key(), key(authenticator=b"b" * 16)
    cache.begin(old, 0)
    assert cache.begin(new, 1) is NEW
    cache.answer(old, b"old", 2)
    assert cache.begin(new, 3) is IN_PROGRESS
    cache.forget(old)
    assert cache.begin(new, 3) is IN_PROGRESS
    cache.answer(new, b"new", 4)
    cache.answer(old, b"old", 5)
    assert cache.begin(new, 6) == Answered(b"new")


def test_silence_is_forgotten() -> None:
    cache = ReplyCache()
    cache.begin(key(), 0)
    cache.forget(key())
    assert len(cache) == 0
    assert cache.begin(key(), 1) is NEW


def test_an_answer_is_not_forgotten() -> None:
    cache = ReplyCache()
    cache.begin(key(), 0)
    cache.answer(key(), b"reply", 0)
    cache.forget(key())
    assert cache.begin(key(), 1) == Answered(b"reply")


def test_answers_are_kept_from_when_they_were_given() -> None:
    cache = ReplyCache(kept_ms=5_000)
    cache.begin(key(), 0)
    cache.answer(key(), b"reply", 3_000)
    assert cache.begin(key(), 7_999) == Answered(b"reply")
    assert cache.begin(key(), 8_000) is NEW


def test_a_second_answer_replaces_the_first() -> None:
    cache = ReplyCache(kept_ms=5_000)
    cache.begin(key(), 0)
    cache.answer(key(), b"first", 0)
    cache.answer(key(), b"second", 4_000)
    assert cache.begin(key(), 8_999) == Answered(b"second")
    assert len(cache) == 1


def test_what_is_never_finished_is_given_up() -> None:
    cache = ReplyCache(in_progress_ms=1_000)
    cache.begin(key(), 0)
    assert cache.begin(key(), 999) is IN_PROGRESS
    assert cache.begin(key(), 1_000) is NEW
    assert cache.begin(key(), 1_999) is IN_PROGRESS


def test_an_answer_that_comes_after_its_entry_went_is_still_kept() -> None:
    cache = ReplyCache(in_progress_ms=1_000)
    cache.begin(key(), 0)
    cache.begin(key(8), 5_000)
    assert len(cache) == 1
    cache.answer(key(), b"late", 5_001)
    assert cache.begin(key(), 5_002) == Answered(b"late")


def test_the_oldest_answers_go_first_when_it_is_full() -> None:
    cache = ReplyCache(most=3)
    cache.begin(key(1), 0)
    for identifier in (2, 3):
        cache.begin(key(identifier), 0)
        cache.answer(key(identifier), b"reply", identifier)
    cache.begin(key(4), 4)
    assert len(cache) == 3
    assert cache.begin(key(1), 5) is IN_PROGRESS
    assert cache.begin(key(3), 5) == Answered(b"reply")
    assert cache.begin(key(2), 5) is NEW


def test_the_oldest_in_progress_goes_when_there_are_no_answers() -> None:
    cache = ReplyCache(most=2)
    for identifier in (1, 2, 3):
        assert cache.begin(key(identifier), identifier) is NEW
    assert len(cache) == 2
    assert cache.begin(key(2), 4) is IN_PROGRESS
    assert cache.begin(key(1), 4) is NEW


def test_old_entries_go_by_themselves() -> None:
    cache = ReplyCache()
    for identifier in range(256):
        cache.begin(key(identifier), 0)
        if identifier % 2:
            cache.answer(key(identifier), b"reply", 0)
    assert len(cache) == 256
    for number in range(64):
        cache.begin(key(0, port=2000 + number), 40_000 + number)
    assert len(cache) == 64


@pytest.mark.parametrize("kept_ms", [4_999, 30_001])
def test_answers_are_kept_five_to_thirty_seconds(kept_ms: int) -> None:
    with pytest.raises(ValueError, match="answers are kept 5000 to 30000 ms"):
        ReplyCache(kept_ms=kept_ms)


@pytest.mark.parametrize("limits", [{"most": 0}, {"in_progress_ms": 0}])
def test_a_cache_has_room_and_time(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="needs room for one entry and a millisecond"):
        ReplyCache(**limits)


steps = st.lists(
    st.tuples(
        st.sampled_from(["begin", "answer", "forget"]),
        st.integers(0, 3),  # identifier
        st.sampled_from([b"a" * 16, b"b" * 16]),
        st.integers(0, 4_000),  # ms since the step before
    ),
    max_size=60,
)


@given(steps)
def test_against_a_plain_table(walk: list[tuple[str, int, bytes, int]]) -> None:
    """A cache with room for everything behaves like a table of one row per identifier."""
    cache = ReplyCache(kept_ms=5_000, in_progress_ms=6_000)
    rows: dict[int, tuple[bytes, int, bytes | None]] = {}  # authenticator, since, reply
    now = 0
    for number, (what, identifier, authenticator, later) in enumerate(walk):
        now += later
        asked = key(identifier, authenticator=authenticator)
        row = rows.get(identifier)
        if row is not None and now - row[1] >= (6_000 if row[2] is None else 5_000):
            row = None
        if what == "begin":
            seen = cache.begin(asked, now)
            if row is None or row[0] != authenticator:
                assert seen is NEW
                rows[identifier] = authenticator, now, None
            else:
                assert seen == (IN_PROGRESS if row[2] is None else Answered(row[2]))
        elif what == "answer":
            # a handler answers only what it was given, and before it is given up
            if row is not None:
                cache.answer(asked, b"%d" % number, now)
                if row[0] == authenticator:
                    rows[identifier] = authenticator, now, b"%d" % number
        else:
            cache.forget(asked)
            if row is not None and row[0] == authenticator and row[2] is None:
                del rows[identifier]
        assert len(cache) <= 4
