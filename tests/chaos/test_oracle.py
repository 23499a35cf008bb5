"""The oracle on journals made by hand: every promise broken once, each broken one found."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos import oracle
from tests.chaos.oracle import Mark


def line(at: int, kind: str, session: int | None = 1, **fields: Any) -> dict[str, Any]:
    return {"at": at, "nas": "nas-0", "kind": kind, "session": session, **fields}


def figures(up: int, down: int, seconds: int) -> dict[str, int]:
    return {"octets_up": up, "octets_down": down, "seconds": seconds}


def journal(*, stop_answered: bool = True) -> oracle.Journal:
    """One session: an interim of 40 octets that was answered, a Stop of 100 that was sent, and perhaps answered."""
    lines = [
        line(0, "access-sent", attempt=1),
        line(1, "accepted", username="wide-1", acct_session_id="s1"),
        line(2, "accounting-sent", status="Start", attempt=1),
        line(3, "accounting-answered", status="Start"),
        line(10, "accounting-sent", status="Interim-Update", attempt=1, **figures(10, 30, 10)),
        line(12, "accounting-sent", status="Interim-Update", attempt=2, **figures(10, 30, 10)),
        line(13, "accounting-answered", status="Interim-Update", **figures(10, 30, 10)),
        line(20, "accounting-sent", status="Stop", attempt=1, **figures(20, 80, 20)),
    ]
    if stop_answered:
        lines.append(line(24, "accounting-answered", status="Stop", **figures(20, 80, 20)))
    return oracle.read([lines])


WHOLE = Mark(20, 80, 20, closed=True)


def test_books_that_have_everything_keep_every_promise() -> None:
    assert oracle.broken_promises(journal(), {"nas-0/s1": WHOLE}) == []
    assert oracle.wrong_balances(journal(), {"wide-1": 1000}, {"wide-1": 900}) == []


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        (None, "3 reports were answered, and the books do not know it"),
        (WHOLE._replace(octets_up=19), "20 octets up were answered, the books have 19"),
        (WHOLE._replace(octets_down=30), "80 octets down were answered, the books have 30"),
        (WHOLE._replace(seconds=10), "20 seconds were answered, the books have 10"),
        (WHOLE._replace(octets_down=81), "only 80 octets down were ever sent, the books have 81"),
        (WHOLE._replace(octets_down=160), "only 80 octets down were ever sent, the books have 160"),
        (WHOLE._replace(closed=False), "its Stop was answered, and it is still open"),
    ],
)
def test_what_was_answered_and_is_not_there_is_found(mark: Mark | None, said: str) -> None:
    """A server that acknowledges before its commit, one that charges twice, one that forgets a Stop."""
    found = oracle.broken_promises(journal(), {} if mark is None else {"nas-0/s1": mark})
    assert len(found) == 1
    assert said in found[0]


def test_what_was_not_answered_may_be_there_or_not() -> None:
    unsure = journal(stop_answered=False)
    for mark in (WHOLE, Mark(10, 30, 10, closed=False)):
        assert oracle.broken_promises(unsure, {"nas-0/s1": mark}) == []
    assert oracle.broken_promises(unsure, {"nas-0/s1": Mark(9, 30, 10, closed=False)}) != []


@pytest.mark.parametrize(("stop_answered", "left", "wrong"), [
    (True, 899, 1), (True, 901, 1), (True, 900, 0),
    (False, 899, 1), (False, 900, 0), (False, 960, 0), (False, 961, 1),
])  # fmt: skip
def test_a_balance_that_is_an_octet_off_is_found(stop_answered: bool, left: int, wrong: int) -> None:
    found = oracle.wrong_balances(journal(stop_answered=stop_answered), {"wide-1": 1000}, {"wide-1": left})
    assert len(found) == wrong


def test_the_time_without_an_answer() -> None:
    lines = [line(at, "accounting-answered", status="Interim-Update") for at in (100, 200, 900)]
    assert oracle.longest_silence_ms(lines, 0, 1000) == 700
    assert oracle.longest_silence_ms(lines, 0, 3000) == 2100
    assert oracle.longest_silence_ms([], 50, 80) == 30


def test_how_long_answers_took() -> None:
    lines = [
        line(0, "accounting-sent", status="Start", attempt=1),
        line(5, "accounting-sent", status="Start", attempt=2),
        line(7, "accounting-answered", status="Start"),
        line(8, "accounting-sent", status="Stop", attempt=1),
    ]
    assert oracle.answer_times_ms(lines, 0, 10) == [7]
    assert oracle.answer_times_ms(lines, 1, 10) == []


def test_silence_counts_only_for_sessions_that_were_on_all_the_time() -> None:
    lines = [
        line(0, "accepted", 1, username="a", acct_session_id="1"),
        line(0, "accepted", 2, username="b", acct_session_id="2"),
        line(600, "accepted", 3, username="c", acct_session_id="3"),
        line(700, "accounting-answered", 1, status="Interim-Update"),
        line(800, "ended", 2),
    ]
    assert oracle.silences_ms(lines, 500, 1000) == {1: 300}
