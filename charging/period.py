"""Periods: calendar arithmetic from the moment a service began.

Months and days keep the anchor's local time in the plan's zone, so a day has 23 or 25 hours where the clock changes; hours
are hours. All boundaries are counted from the anchor and never from one another: from 31 January by months they are 28 or
29 February and 31 March, not 28 March.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

Instant = int
"""Milliseconds since the epoch, UTC."""
PeriodUnit = Literal["hour", "day", "month"]

_HOUR_MS = 3_600_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Every:
    """How long a period is: `count` calendar months, local days or hours."""

    count: int
    unit: PeriodUnit

    def __post_init__(self) -> None:
        if self.count < 1 or self.unit not in {"hour", "day", "month"}:
            raise ValueError("a period is at least 1 hour, day or month")

    def __str__(self) -> str:
        """`1 month`, `30 days`."""
        return f"{self.count} {self.unit}{'' if self.count == 1 else 's'}"


class Period(NamedTuple):
    """One period: it has `start` in it, and `end` not. The one that begins at the anchor has the number 0."""

    number: int
    start: Instant
    end: Instant


def boundary(anchor: Instant, every: Every, time_zone: str, number: int, *, from_midnight: bool = False) -> Instant:
    """Where the period of that number begins. `from_midnight`: by days and months they begin at midnight of the anchor's
    day, not at its time of day.

    A day that the month does not have is its last one. A local time that the clock skips stands for the moment as long
    after the gap; of two equal ones it is the first.
    """
    if number == 0 and not from_midnight:
        return anchor
    if every.unit == "hour":
        return anchor + number * every.count * _HOUR_MS
    zone = ZoneInfo(time_zone)
    began = _local(anchor, zone)
    day = began.date()
    if every.unit == "day":
        day += timedelta(days=number * every.count)
    else:
        year, month_index = divmod(_months(day) + number * every.count, 12)
        day = date(year, month_index + 1, min(day.day, calendar.monthrange(year, month_index + 1)[1]))
    moment = datetime.combine(day, time() if from_midnight else began.time(), zone)
    return (moment - _EPOCH) // _MILLISECOND


def period_of(anchor: Instant, every: Every, time_zone: str, at: Instant, *, from_midnight: bool = False) -> Period:
    """The period that a moment lies in; before the anchor the number is negative."""

    def begins(number: int) -> Instant:
        return boundary(anchor, every, time_zone, number, from_midnight=from_midnight)

    match every.unit:
        case "hour":
            number = (at - anchor) // (every.count * _HOUR_MS)
        case "day":
            zone = ZoneInfo(time_zone)
            number = (_local(at, zone).toordinal() - _local(anchor, zone).toordinal()) // every.count
        case _:
            zone = ZoneInfo(time_zone)
            number = (_months(_local(at, zone).date()) - _months(_local(anchor, zone).date())) // every.count
    # The estimate is at most one off: the time of day, or the day of the month, may not have come yet.
    while begins(number) > at:
        number -= 1
    while (end := begins(number + 1)) <= at:
        number += 1
    return Period(number, begins(number), end)


def following(anchor: Instant, every: Every, time_zone: str, period: Period) -> Period:
    """The period after one. Where a zone has left out a whole day, so does the count: nobody pays for it."""
    return period_of(anchor, every, time_zone, period.end)


def _local(moment: Instant, zone: ZoneInfo) -> datetime:
    second, millisecond = divmod(moment, 1000)
    return datetime.fromtimestamp(second, zone).replace(microsecond=millisecond * 1000, fold=0)


def _months(day: date) -> int:
    return day.year * 12 + day.month - 1
