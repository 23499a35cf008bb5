"""The meter and the states, looked at alone; the table of cases shows them in their stories."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.session import (
    IMPOSSIBLE_OCTETS,
    NEXT_STATE,
    WRAP,
    Advance,
    Kind,
    Report,
    Session,
    advance,
    device_key,
    interval_seen,
    possible_octets,
    stale_at,
)

SECOND = 1_000
OPEN = Session(
    account_id=1, session_id=2, subscriber_id=3, plan_version_id=4, nas_id=5, nas_address="10.0.0.1", root_id=2,
    device_key="", session_key=None, acct_session_id=b"S", created_at=0, closed_at=None, close_reason=None, state="open",
    started_at=0, last_report_at=0, last_event_at=0, stale_at=0, interval_seconds=60, wanted="full", posted_at=0,
)  # fmt: skip
FIRST = Report("interim", 5, "10.0.0.1", "u", b"S", None, 0, 0, 0, False, 0, True, 0, b"")


def test_a_report_names_its_session_by_nas_user_id_port_and_station() -> None:
    assert FIRST.session_key == FIRST._replace(octets_up=9, event_at=9, kind="stop", token=(1, 2)).session_key
    others = [
        FIRST._replace(nas_id=6), FIRST._replace(nas_address="10.0.0.2"), FIRST._replace(username="v"),
        FIRST._replace(acct_session_id=b"T"), FIRST._replace(nas_port_id="1"), FIRST._replace(calling_station="1"),
    ]  # fmt: skip
    assert len({FIRST.session_key, *(other.session_key for other in others)}) == 1 + len(others)
    assert (
        FIRST._replace(username="u", nas_address="10.0.0.11").session_key != FIRST._replace(username="1u").session_key
    )


def test_a_device_without_port_and_station_is_nobody() -> None:
    assert device_key(1, "10.0.0.1", None, None) == device_key(1, "10.0.0.1", "", "") == ""
    assert device_key(1, "10.0.0.1", "a", None) != device_key(1, "10.0.0.1", None, "a") != ""


def test_closed_is_final_and_every_state_knows_every_kind() -> None:
    assert set(NEXT_STATE) == set(product(("provisional", "open", "closed"), ("start", "interim", "stop")))
    for (state, kind), after in NEXT_STATE.items():
        assert (after == "closed") == (state == "closed" or kind == "stop")
        assert after != "provisional"


@pytest.mark.parametrize(
    ("lower", "flags", "reached"), [(500_000_000, "wrap", 4_794_967_296), (0, "reset", 4_200_000_000)]
)
def test_what_was_counted_before_a_stop_without_counters_is_news_after_it(lower: int, flags: str, reached: int) -> None:
    """Once after the counters have wrapped, once after they began anew; the session's time went on."""
    session = replace(OPEN, octets_down=4_200_000_000, seconds=60, last_event_at=60 * SECOND)
    fall = FIRST._replace(octets_down=lower, gigawords=flags == "reset", seconds=120, event_at=120 * SECOND)
    stop = FIRST._replace(kind="stop", octets_up=None, octets_down=None, seconds=None, event_at=200 * SECOND)
    late = fall._replace(octets_down=lower + 100_000_000, seconds=180, event_at=180 * SECOND)
    steps = []
    for report in (fall, stop, late, fall):
        step = advance(session, report, None, None)
        steps.append((step.octets_down, step.seconds, step.flags))
        session = replace(session, **dict(zip(Advance._fields[:8], step, strict=False)))  # type: ignore[arg-type]
        session.last_event_at = max(session.last_event_at, report.event_at)
    assert steps == [
        (reached, 120, flags), (reached, 120, ""), (reached + 100_000_000, 180, ""), (reached + 100_000_000, 180, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mark", "counter", "line", "flags"),
    [
        (2**31 + 1, 0, None, "wrap"),  # just above the half
        (2**31, 0, None, "reset"),  # the half is not above it
        (WRAP - 1, 0, None, "wrap"),
        (WRAP - 1, 2**31 - 1, None, "wrap"),  # rises by half of the counter
        (WRAP - 1, 2**31, None, "reset"),  # by more
        (WRAP - 1, 85_000_000 - 1, 1_000_000, "wrap"),  # 60 s at 1 MB/s and a quarter, and 10 MB
        (WRAP - 1, 85_000_000, 1_000_000, "reset"),
    ],
)
def test_wrap_or_reset(mark: int, counter: int, line: int | None, flags: str) -> None:
    session = replace(OPEN, octets_down=mark, seconds=60, last_event_at=60 * SECOND)
    report = FIRST._replace(octets_down=counter, seconds=120, event_at=120 * SECOND)
    step = advance(session, report, line, line)
    assert step.flags == flags
    assert step.octets_down == (counter + WRAP if flags == "wrap" else mark + counter)
    assert step.epoch == (flags == "reset")


@pytest.mark.parametrize(
    ("event_second", "seconds", "exact", "flags"),
    [
        (1000, 300, True, "reset"),  # began at 700, after the last report at 600
        (1000, 405, True, "reset"),  # 595: within what clocks may differ
        (1000, 406, True, ""),  # 594: it ran already
        (1000, 300, False, ""),  # worked out from the arrival, this proves nothing
        (605, 3, True, ""),  # too close to tell
        (606, 3, True, "reset"),
        (1000, None, True, ""),
    ],
)
def test_a_counter_that_began_anew_with_its_time(
    event_second: int, seconds: int | None, exact: bool, flags: str
) -> None:
    session = replace(OPEN, octets_up=50, octets_down=50, seconds=600, last_event_at=600 * SECOND)
    report = FIRST._replace(
        octets_up=7, octets_down=8, seconds=seconds, event_at=event_second * SECOND, event_exact=exact
    )
    step = advance(session, report, None, None)
    assert step.flags == flags
    assert (step.octets_up, step.octets_down) == ((57, 58) if flags else (50, 50))


def test_an_impossible_counter_is_none_and_shown() -> None:
    session = replace(OPEN, octets_up=5, octets_down=5)
    report = FIRST._replace(octets_up=IMPOSSIBLE_OCTETS, octets_down=IMPOSSIBLE_OCTETS - 1, seconds=1)
    step = advance(session, report, None, None)
    assert (step.octets_up, step.octets_down, step.flags) == (5, IMPOSSIBLE_OCTETS - 1, "suspect")
    assert step.raw == f"up={IMPOSSIBLE_OCTETS} down={IMPOSSIBLE_OCTETS - 1} seconds=1"


counts = st.none() | st.integers(0, 2**64 - 1)


@given(
    marks=st.tuples(*[st.integers(0, 2**61)] * 3),
    offsets=st.tuples(*[st.integers(-(2**61), 2**61)] * 3),
    told=st.tuples(counts, counts, st.none() | st.integers(0, 2**32 - 1)),
    kind=st.sampled_from(["start", "interim", "stop"]),
    epoch=st.integers(0, 2),
    lines=st.none() | st.integers(1, 10**9),
    when=st.integers(-(10**6), 10**6),
    exact=st.booleans(),
    gigawords=st.booleans(),
)
def test_a_mark_never_falls_and_fits_its_column(  # noqa: PLR0917  one for each strategy
    marks: tuple[int, ...], offsets: tuple[int, ...], told: tuple[int | None, ...], kind: Kind, epoch: int,
    lines: int | None, when: int, exact: bool, gigawords: bool,
) -> None:  # fmt: skip
    session = replace(
        OPEN, octets_up=marks[0], octets_down=marks[1], seconds=marks[2], offset_up=offsets[0], offset_down=offsets[1],
        offset_seconds=offsets[2], epoch=epoch, line_no=1, last_event_at=10**6,
    )  # fmt: skip
    report = FIRST._replace(
        kind=kind, octets_up=told[0], octets_down=told[1], seconds=told[2], event_at=10**6 + when * SECOND,
        event_exact=exact, gigawords=gigawords,
    )  # fmt: skip
    step = advance(session, report, lines, lines)
    assert step.octets_up >= marks[0]
    assert step.octets_down >= marks[1]
    assert step.seconds >= marks[2]
    assert all(-(2**63) <= number < 2**63 for number in step if isinstance(number, int))
    assert bool(step.flags) == bool(step.raw)  # what was not taken as it stood is kept as it came
    if lines is not None:
        most = possible_octets(lines, max(when, step.seconds - marks[2], told[2] or 0, 1))
        assert step.octets_up - marks[0] <= most
        assert step.octets_down - marks[1] <= most


def test_the_interval_grows_at_once_at_most_to_twice_and_shrinks_by_degrees() -> None:
    session = replace(OPEN, interval_seconds=100, last_event_at=0)
    assert interval_seen(session, FIRST._replace(event_at=150 * SECOND), 100) == 150
    assert interval_seen(session, FIRST._replace(event_at=3_600 * SECOND), 100) == 200  # an outage, not an interval
    assert interval_seen(session, FIRST._replace(event_at=20 * SECOND), 100) == 80
    assert interval_seen(session, FIRST._replace(event_at=0), 100) == 100
    assert interval_seen(session, FIRST._replace(event_at=300 * SECOND, kind="stop"), 100) == 100


@pytest.mark.parametrize(("seen", "known"), [(60, 60), (90, 90), (300, 300), (600, 600), (3_600, 600)])
def test_where_a_shorter_interval_was_asked_for_it_is_kept_at_once_or_not_at_all(seen: int, known: int) -> None:
    session = replace(OPEN, interval_seconds=60, asked_interval_seconds=60, last_event_at=0)
    assert interval_seen(session, FIRST._replace(event_at=seen * SECOND), 300) == known


def test_given_up_after_three_intervals_but_not_too_soon() -> None:
    assert stale_at(0, 600) == 1_800 * SECOND
    assert stale_at(0, 5) == 180 * SECOND
