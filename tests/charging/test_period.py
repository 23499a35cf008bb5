"""Periods: month ends, leap years, both changes of the clock, and what holds for all of them."""

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charging.period import Every, Instant, Period, boundary, following, period_of

MONTH, DAY, HOUR = Every(1, "month"), Every(1, "day"), Every(1, "hour")
BERLIN = "Europe/Berlin"


def at(text: str, zone: str = BERLIN, fold: int = 0) -> Instant:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)


def said(moment: Instant, zone: str = BERLIN) -> str:
    return datetime.fromtimestamp(moment / 1000, ZoneInfo(zone)).isoformat(sep=" ", timespec="minutes")[:16]


@pytest.mark.parametrize(
    ("began", "every", "boundaries"),
    [
        # month ends: the day of the anchor comes back as soon as a month has it
        ("2027-01-31 10:00", MONTH, ["2027-02-28 10:00", "2027-03-31 10:00", "2027-04-30 10:00", "2027-05-31 10:00"]),
        ("2028-01-31 10:00", MONTH, ["2028-02-29 10:00", "2028-03-31 10:00", "2028-04-30 10:00"]),
        ("2027-01-30 00:00", MONTH, ["2027-02-28 00:00", "2027-03-30 00:00"]),
        ("2028-01-29 00:00", MONTH, ["2028-02-29 00:00", "2028-03-29 00:00"]),
        ("2027-08-31 23:59", MONTH, ["2027-09-30 23:59", "2027-10-31 23:59", "2027-11-30 23:59", "2027-12-31 23:59"]),
        ("2027-11-30 12:00", MONTH, ["2027-12-30 12:00", "2028-01-30 12:00", "2028-02-29 12:00", "2028-03-30 12:00"]),
        ("2027-11-30 12:00", Every(3, "month"), ["2028-02-29 12:00", "2028-05-30 12:00", "2028-08-30 12:00"]),
        # leap years: a year from 29 February, and the century that is none
        ("2028-02-29 06:00", Every(12, "month"), ["2029-02-28 06:00", "2030-02-28 06:00", "2031-02-28 06:00",
                                                  "2032-02-29 06:00"]),
        ("2096-02-29 06:00", Every(48, "month"), ["2100-02-28 06:00", "2104-02-29 06:00"]),
        # days are local days, also where the clock changes (in Berlin on 28 March and 31 October 2027)
        ("2027-03-27 02:30", DAY, ["2027-03-28 03:30", "2027-03-29 02:30"]),
        ("2027-10-30 02:30", DAY, ["2027-10-31 02:30", "2027-11-01 02:30"]),
        ("2027-03-27 00:00", DAY, ["2027-03-28 00:00", "2027-03-29 00:00"]),
        ("2027-02-28 02:30", MONTH, ["2027-03-28 03:30", "2027-04-28 02:30"]),
        ("2027-09-30 02:30", MONTH, ["2027-10-30 02:30", "2027-11-30 02:30"]),
        ("2027-02-26 12:00", Every(7, "day"), ["2027-03-05 12:00", "2027-03-12 12:00", "2027-03-19 12:00",
                                               "2027-03-26 12:00", "2027-04-02 12:00"]),
        ("2027-02-15 12:00", Every(30, "day"), ["2027-03-17 12:00", "2027-04-16 12:00"]),
        # hours are hours: the wall clock jumps, or says the same twice
        ("2027-03-28 00:30", HOUR, ["2027-03-28 01:30", "2027-03-28 03:30", "2027-03-28 04:30"]),
        ("2027-10-31 01:30", HOUR, ["2027-10-31 02:30", "2027-10-31 02:30", "2027-10-31 03:30"]),
        ("2027-03-27 12:00", Every(24, "hour"), ["2027-03-28 13:00", "2027-03-29 13:00"]),
    ],
)  # fmt: skip
def test_where_periods_begin(began: str, every: Every, boundaries: list[str]) -> None:
    anchor = at(began)
    assert [said(boundary(anchor, every, BERLIN, number)) for number in range(1, len(boundaries) + 1)] == boundaries


@pytest.mark.parametrize(
    ("began", "every", "moment", "number"),
    [
        ("2027-01-31 10:00", MONTH, "2027-01-31 10:00", 0),
        ("2027-01-31 10:00", MONTH, "2027-02-28 09:59", 0),
        ("2027-01-31 10:00", MONTH, "2027-02-28 10:00", 1),
        ("2027-01-31 10:00", MONTH, "2027-03-31 09:59", 1),
        ("2027-01-31 10:00", MONTH, "2028-02-29 10:00", 13),
        ("2027-01-31 10:00", MONTH, "2027-01-31 09:59", -1),
        ("2027-03-27 02:30", DAY, "2027-03-28 03:29", 0),
        ("2027-03-27 02:30", DAY, "2027-03-28 03:30", 1),
        ("2027-03-01 00:00", Every(30, "day"), "2027-03-30 23:59", 0),
        ("2027-03-01 00:00", Every(30, "day"), "2027-03-31 00:00", 1),
        ("2027-03-28 01:00", HOUR, "2027-03-28 03:00", 1),
    ],
)
def test_the_period_of_a_moment(began: str, every: Every, moment: str, number: int) -> None:
    assert period_of(at(began), every, BERLIN, at(moment)).number == number


def test_days_have_23_and_25_hours_where_the_clock_changes() -> None:
    spring = period_of(at("2027-03-01 00:00"), DAY, BERLIN, at("2027-03-28 12:00"))
    autumn = period_of(at("2027-03-01 00:00"), DAY, BERLIN, at("2027-10-31 12:00"))
    assert [(each.end - each.start) // 3_600_000 for each in (spring, autumn)] == [23, 25]


@pytest.mark.parametrize(
    ("began", "zone", "every", "boundaries"),
    [
        # a day is a calendar day, of 23 and of 25 hours too (in Berlin on 28 March and 31 October 2027)
        ("2027-03-27 14:30", BERLIN, DAY, ["2027-03-27 00:00", "2027-03-28 00:00", "2027-03-29 00:00"]),
        ("2027-10-30 14:30", BERLIN, DAY, ["2027-10-30 00:00", "2027-10-31 00:00", "2027-11-01 00:00"]),
        ("2028-02-28 23:59", BERLIN, DAY, ["2028-02-28 00:00", "2028-02-29 00:00", "2028-03-01 00:00"]),
        ("2027-03-24 14:30", BERLIN, Every(7, "day"), ["2027-03-24 00:00", "2027-03-31 00:00", "2027-04-07 00:00"]),
        ("2027-01-31 10:00", BERLIN, MONTH, ["2027-01-31 00:00", "2027-02-28 00:00", "2027-03-31 00:00"]),
        # hours are counted from the moment itself
        ("2027-03-28 01:30", BERLIN, Every(6, "hour"), ["2027-03-28 01:30", "2027-03-28 08:30", "2027-03-28 14:30"]),
        # where midnight itself is skipped (Beirut, 28 March 2027), that day begins an hour later, and no other one
        ("2027-03-27 14:30", "Asia/Beirut", DAY, ["2027-03-27 00:00", "2027-03-28 01:00", "2027-03-29 00:00"]),
        ("2027-03-28 14:30", "Asia/Beirut", DAY, ["2027-03-28 01:00", "2027-03-29 00:00", "2027-03-30 00:00"]),
        # where it comes twice (Havana, 7 November 2027), the day has 25 hours
        ("2027-11-06 14:30", "America/Havana", DAY, ["2027-11-06 00:00", "2027-11-07 00:00", "2027-11-08 00:00"]),
    ],
)
def test_spans_begin_at_midnight(began: str, zone: str, every: Every, boundaries: list[str]) -> None:
    anchor = at(began, zone)
    begins = [boundary(anchor, every, zone, number, from_midnight=True) for number in range(3)]
    assert [said(each, zone) for each in begins] == boundaries
    for number, (begin, end) in enumerate(pairwise(begins)):
        for moment in (begin, (begin + end) // 2, end - 1):
            assert period_of(anchor, every, zone, moment, from_midnight=True) == Period(number, begin, end)


def test_an_anchor_in_the_second_of_two_equal_hours_is_where_its_first_period_begins() -> None:
    anchor = at("2027-10-31 02:30", fold=1)
    assert period_of(anchor, DAY, BERLIN, anchor) == Period(0, anchor, at("2027-11-01 02:30"))
    assert period_of(anchor, DAY, BERLIN, at("2027-10-31 02:30", fold=0)).number == -1


def test_a_day_that_a_zone_left_out_is_no_period() -> None:
    # Samoa had no 30 December 2011.
    zone = "Pacific/Apia"
    anchor = at("2011-12-28 10:00", zone)
    periods = [period_of(anchor, DAY, zone, anchor)]
    for _ in range(3):
        periods.append(following(anchor, DAY, zone, periods[-1]))
    assert [(each.number, said(each.start, zone)[:10]) for each in periods] == [
        (0, "2011-12-28"), (1, "2011-12-29"), (3, "2011-12-31"), (4, "2012-01-01")
    ]  # fmt: skip


MOMENTS = st.integers(at("2000-01-01"), at("2060-01-01"))
RULES = st.builds(Every, st.integers(1, 60), st.sampled_from(["hour", "day", "month"]))
ZONES = st.sampled_from([BERLIN, "UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu"])


@given(MOMENTS, RULES, ZONES, MOMENTS)
@example(at("2027-10-31 02:30", fold=1), DAY, BERLIN, at("2027-10-31 02:30", fold=0))
def test_every_moment_lies_in_one_period_and_the_next_begins_where_it_ends(
    anchor: Instant, every: Every, zone: str, moment: Instant
) -> None:
    period = period_of(anchor, every, zone, moment)
    assert period.start <= moment < period.end
    after = following(anchor, every, zone, period)
    assert after.start == period.end < after.end
    assert after.number > period.number


@pytest.mark.parametrize(("every", "text"), [(MONTH, "1 month"), (Every(30, "day"), "30 days"), (HOUR, "1 hour")])
def test_how_a_rule_is_said(every: Every, text: str) -> None:
    assert str(every) == text


def test_nothing_is_shorter_than_an_hour() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Every(0, "day")
