"""The verifier: bounded, remembers what was right for a while, and never what was wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred, succeed

from aaa import verifier
from aaa.passwords import hash_password
from aaa.verifier import MOST_WAITING, REMEMBERED_MS, Verifier
from charging.batching import QueueFull

STORED = hash_password(b"right")
OTHER = hash_password(b"right")
NOW = 1_772_366_400_000


class Counted:
    """A pool that works at once and counts."""

    def __init__(self) -> None:
        self.checks = 0

    def __call__(self, check: Callable[[], bool]) -> Deferred[bool]:
        self.checks += 1
        return succeed(check())


def asked(of: Verifier, password: bytes, now: int = NOW, stored: str = STORED) -> bool:
    found: list[bool] = []
    Deferred.fromCoroutine(of.verify(stored, password, now)).addCallback(found.append)
    return found[0]


def test_right_is_remembered_and_wrong_never() -> None:
    pool = Counted()
    known = Verifier(pool)
    assert [asked(known, b"right") for _ in range(3)] == [True] * 3
    assert pool.checks == 1
    assert [asked(known, b"wrong") for _ in range(3)] == [False] * 3
    assert pool.checks == 4


def test_it_is_forgotten_after_its_time_however_often_it_was_asked() -> None:
    pool = Counted()
    known = Verifier(pool)
    asked(known, b"right")
    for later in (REMEMBERED_MS // 2, REMEMBERED_MS - 1):
        assert asked(known, b"right", NOW + later)
    assert pool.checks == 1
    assert asked(known, b"right", NOW + REMEMBERED_MS)
    assert pool.checks == 2


def test_a_new_hash_of_the_same_password_is_looked_at_anew() -> None:
    pool = Counted()
    known = Verifier(pool)
    asked(known, b"right")
    asked(known, b"right", stored=OTHER)
    assert pool.checks == 2
    changed = hash_password(b"another")
    assert not asked(known, b"right", stored=changed)


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "MOST_REMEMBERED", 2)
    pool = Counted()
    known = Verifier(pool)
    passwords = [b"1", b"2", b"3"]
    hashes = [hash_password(each) for each in passwords]
    for password, stored in zip(passwords, hashes, strict=True):
        assert asked(known, password, stored=stored)
    asked(known, b"3", stored=hashes[2])
    asked(known, b"2", stored=hashes[1])
    assert pool.checks == 3
    asked(known, b"1", stored=hashes[0])
    assert pool.checks == 4


def test_checks_that_wait_are_bounded_and_the_place_is_free_again() -> None:
    waiting: list[Deferred[bool]] = []

    def pool(check: Callable[[], bool]) -> Deferred[bool]:
        waiting.append(Deferred())
        return waiting[-1]

    known = Verifier(pool)
    outcomes: list[object] = []
    for number in range(MOST_WAITING):
        Deferred.fromCoroutine(known.verify(STORED, b"%d" % number, NOW)).addBoth(outcomes.append)
    assert not outcomes
    with pytest.raises(QueueFull):
        known.verify(STORED, b"one more", NOW).send(None)
    waiting[0].callback(False)
    waiting[1].errback(RuntimeError("a thread died"))
    assert len(outcomes) == 2
    for number in range(2):
        Deferred.fromCoroutine(known.verify(STORED, b"again %d" % number, NOW)).addBoth(outcomes.append)
    assert len(waiting) == MOST_WAITING + 2


def test_a_password_is_not_kept() -> None:
    known = Verifier(Counted())
    assert asked(known, b"hunter2", stored=hash_password(b"hunter2"))
    assert "hunter2" not in repr(vars(known))
