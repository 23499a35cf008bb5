"""Time windows: weekdays, hours and dates in a plan's time zone, and the calendar periods that counts are kept for.

Windows are local time, so a night is nine hours long when summer time ends and seven when it begins. A local time that
is skipped then stands for the moment after the gap; of two equal ones it is the first.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

Instant = int
"""Milliseconds since the epoch, UTC."""
Period = Literal["day", "week", "month"]

DAY_MINUTES: Final = 1_440
DAY_MS: Final = 86_400_000
NEVER: Final = 2**63 - 1

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
#: Days that a timetable remembers.
_MOST_DAYS: Final = 128
#: A calendar looks no further ahead for a change.
_MOST_DAYS_ALIKE: Final = 40
#: Every zone has been some quarters of an hour from UTC since 1972.
_QUARTER_MS: Final = 900_000


@dataclass(frozen=True, slots=True)
class Window:
    """The time for which a price or an allowance holds; what is empty is not asked for."""

    name: str
    days: tuple[int, ...] = ()
    """Weekdays on which it begins; Monday is 0."""
    hours: tuple[tuple[int, int], ...] = ()
    """From and to, in minutes of the local day; a `to` that is not after its `from` is on the next day."""
    dates: tuple[tuple[str, str], ...] = ()
    """First and last day, `2026-12-24` or, for every year, `12-24`."""

    def begins_on(self, day: date) -> bool:
        """Does it begin on this local day?"""
        if self.days and day.weekday() not in self.days:
            return False
        if not self.dates:
            return True
        whole = day.isoformat()
        return any(_between(first, last, whole[-len(first) :]) for first, last in self.dates)

    def spans(self, day: date, zone: ZoneInfo) -> list[tuple[Instant, Instant]]:
        """Its parts that begin on this local day."""
        if not self.begins_on(day):
            return []
        hours = self.hours or ((0, DAY_MINUTES),)
        return [
            (local(day, begin, zone), local(day, end if end > begin else end + DAY_MINUTES, zone))
            for begin, end in hours
        ]


def _between(first: str, last: str, day: str) -> bool:
    if first <= last:
        return first <= day <= last
    return day >= first or day <= last  # over the turn of the year


def local(day: date, minutes: int, zone: ZoneInfo) -> Instant:
    """The instant of a local time."""
    moment = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)  # noqa: DTZ001  the wall's, no zone's
    return (moment.replace(tzinfo=zone) - _EPOCH) // _MILLISECOND


class Open(NamedTuple):
    """The names of what is open at a moment, and until when that is so: no longer than the UTC day."""

    names: frozenset[str]
    until: Instant


class Timetable:
    """What is open when. It computes each UTC day once, and remembers some."""

    def __init__(
        self, time_zone: str, windows: tuple[Window, ...], spans: tuple[tuple[str, Instant, Instant], ...] = ()
    ) -> None:
        """`spans`: besides the windows, what is open once: name, from, until."""
        self._zone = time_zone
        self._windows = windows
        self._spans = spans
        self._days: dict[int, tuple[list[Instant], list[Open]]] = {}

    def at(self, moment: Instant) -> Open:
        """What is open at a moment."""
        number = moment // DAY_MS
        day = self._days.get(number)
        if day is None:
            if len(self._days) >= _MOST_DAYS:
                self._days.clear()
            day = self._days[number] = self._day(number)
        return day[1][bisect_right(day[0], moment) - 1]

    def _day(self, number: int) -> tuple[list[Instant], list[Open]]:
        begin, end = number * DAY_MS, (number + 1) * DAY_MS
        zone = ZoneInfo(self._zone)
        first = date.fromordinal(number + 719_163 - 2)
        spans = [span for span in self._spans if span[1] < end and span[2] > begin]
        for window in self._windows:
            for ahead in range(5):  # a zone is up to 14 hours away, and a window goes on into the next day
                spans += [(window.name, a, b) for a, b in window.spans(first + timedelta(days=ahead), zone)]
        edges = sorted({begin, *(edge for _, a, b in spans for edge in (a, b) if begin < edge < end)})
        opened = [
            Open(frozenset(name for name, a, b in spans if a <= edge < b), until)
            for edge, until in zip(edges, [*edges[1:], end], strict=True)
        ]
        return edges, opened


class Present(NamedTuple):
    """What holds from `begin` until `until`: the open windows, and the periods that counts are kept for."""

    begin: Instant
    until: Instant
    names: frozenset[str]
    periods: dict[Period, tuple[Instant, Instant]]


ALWAYS: Final = Present(0, NEVER, frozenset(), {})


class Calendar:
    """Windows and periods of one time zone. It remembers the latest answer, which is the next one too, but at a change."""

    def __init__(
        self,
        time_zone: str,
        windows: tuple[Window, ...] = (),
        spans: tuple[tuple[str, Instant, Instant], ...] = (),
        periods: frozenset[Period] = frozenset(),
    ) -> None:
        """`spans`: besides the windows, what is open once: name, from, until."""
        self._zone = time_zone
        self._timetable = Timetable(time_zone, windows, spans) if windows or spans else None
        self._periods = periods
        self._latest = Present(0, 0, frozenset(), {})

    def at(self, moment: Instant) -> Present:
        """What holds at a moment, and until when."""
        latest = self._latest
        if latest.begin <= moment < latest.until:
            return latest
        found = self._latest = self._at(moment)
        return found

    def _at(self, moment: Instant) -> Present:
        names, until = frozenset[str](), NEVER
        if self._timetable is not None:
            names, until = self._timetable.at(moment)
            for _ in range(_MOST_DAYS_ALIKE):  # a day ends without a change as often as not
                opened, after = self._timetable.at(until)
                if opened != names:
                    break
                until = after
        periods = {period: period_of(period, moment, self._zone) for period in self._periods}
        until = min([until, *(end for _, end in periods.values())])
        return Present(moment, until, names, periods)


def period_of(period: Period, moment: Instant, time_zone: str) -> tuple[Instant, Instant]:
    """The local day, week (from Monday) or calendar month that a moment lies in: its begin and its end."""
    return _period(period, moment // _QUARTER_MS, time_zone)


@lru_cache(maxsize=4096)
def _period(period: Period, quarter: int, time_zone: str) -> tuple[Instant, Instant]:
    zone = ZoneInfo(time_zone)
    day = datetime.fromtimestamp(quarter * _QUARTER_MS // 1000, zone).date()
    match period:
        case "day":
            first, after = day, day + timedelta(days=1)
        case "week":
            first = day - timedelta(days=day.weekday())
            after = first + timedelta(days=7)
        case _:
            first = day.replace(day=1)
            after = (first + timedelta(days=31)).replace(day=1)
    return local(first, 0, zone), local(after, 0, zone)
