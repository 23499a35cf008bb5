"""Under which conditions a session may begin: where, on which kind of port, with which device, at what time of day. Pure.

A plan has conditions, and so may a subscriber; what the subscriber's say stands in the place of what the plan's say.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

Instant = int
"""Milliseconds since the epoch, UTC."""

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_MINUTES: Final = 1_440
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOURS: Final = re.compile(r"(?:([A-Za-z,-]+) +)?(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
_EXAMPLE: Final = "write for example Mon-Fri 18:00-24:00"


@dataclass(frozen=True, slots=True)
class Conditions:
    """None or nothing in a field: it is no condition."""

    nas: tuple[str, ...] = ()
    """Only at these NASes, by name; or in these groups."""
    nas_groups: tuple[str, ...] = ()
    port_types: tuple[str, ...] = ()
    """Only on these kinds of port, by the names of NAS-Port-Type."""
    stations: tuple[str, ...] = ()
    """Only with these devices, by Calling-Station-Id (a hardware address in its one spelling); and those learned."""
    learn_stations: int | None = None
    """The first so many devices become the ones that are allowed."""
    hours: tuple[str, ...] = ()
    """Only then, as `hours` writes them, in the plan's time zone; a session that is running ends when they do."""

    def __bool__(self) -> bool:
        return self != NO_CONDITIONS

    def over(self, before: Conditions) -> Conditions:
        """These where they say something, else those of `before`. Places go together, and so do devices."""
        place = self if self.nas or self.nas_groups else before
        device = self if self.stations or self.learn_stations is not None else before
        return Conditions(
            place.nas,
            place.nas_groups,
            self.port_types or before.port_types,
            device.stations,
            device.learn_stations,
            self.hours or before.hours,
        )


NO_CONDITIONS: Final = Conditions()


class Place(NamedTuple):
    """Where a login comes from. None: the NAS did not say it."""

    nas: str
    nas_group: str | None
    port_type: str | None
    station: str | None


class Judgement(NamedTuple):
    """What the conditions say of a login."""

    refusal: str | None = None
    """nas-not-allowed, port-type-not-allowed, station-not-allowed, outside-hours; None: he may."""
    detail: str = ""
    """In words, for the log: which condition was met, or not."""
    learn: str | None = None
    """The device that becomes one of the allowed ones by this login."""
    until: Instant | None = None
    """When the session must end; None: the time of day does not limit it."""


def judge(conditions: Conditions, place: Place, learned: tuple[str, ...], time_zone: str, now: Instant) -> Judgement:
    """May a session begin here and now? `learned`: the devices that were learned so far."""
    if (conditions.nas or conditions.nas_groups) and not (
        place.nas in conditions.nas or place.nas_group in conditions.nas_groups
    ):
        wanted = ", ".join((*conditions.nas, *(f"group {name}" for name in conditions.nas_groups)))
        group = "no group" if place.nas_group is None else f"group {place.nas_group}"
        return Judgement("nas-not-allowed", f"NAS {place.nas} of {group}; allowed: {wanted}")
    if conditions.port_types and place.port_type not in conditions.port_types:
        said = place.port_type or "not said"
        return Judgement("port-type-not-allowed", f"port type {said}; allowed: {', '.join(conditions.port_types)}")
    learn = None
    if conditions.stations or conditions.learn_stations is not None:
        known = (*conditions.stations, *learned)
        if place.station is None:
            return Judgement("station-not-allowed", "the NAS did not say which device it is")
        if place.station not in known:
            if len(learned) >= (conditions.learn_stations or 0):
                return Judgement("station-not-allowed", f"device {place.station}; allowed: {', '.join(known)}")
            learn = place.station
    until = None
    if conditions.hours:
        is_open, until = open_now(conditions.hours, time_zone, now)
        if not is_open:
            return Judgement("outside-hours", f"allowed: {', '.join(conditions.hours)} ({time_zone})")
    return Judgement(None, "all conditions met" if conditions else "no conditions", learn, until)


# --- time of day ---------------------------------------------------------------------------------------------------


class _Hours(NamedTuple):
    days: frozenset[int]
    start: int
    end: int
    """Minutes of the day; an end that is no later than its start is on the next day."""


def hours(text: str) -> str:
    """Hours of the week in their one spelling: `Mon-Fri 18:00-24:00`, `Sat,Sun 00:00-24:00`, `22:00-06:00` (every day,
    into the next). ValueError says what would be right."""
    read = _hours(text)
    days = "" if len(read.days) == len(_DAYS) else f"{_days_text(read.days)} "
    return f"{days}{read.start // 60:02d}:{read.start % 60:02d}-{read.end // 60:02d}:{read.end % 60:02d}"


def open_now(allowed: tuple[str, ...], time_zone: str, now: Instant) -> tuple[bool, Instant | None]:
    """Is this instant within these hours, and when does that end? None: it never does.

    A local time that daylight saving skips is the one an hour later; of two equal ones the first counts.
    """
    zone = ZoneInfo(time_zone)
    today = datetime.fromtimestamp(now // 1000, zone).date()
    spans = []
    for offset in range(-1, len(_DAYS) + 2):
        day = today + timedelta(days=offset)
        for each in map(_hours, allowed):
            if day.weekday() in each.days:
                over_midnight = each.end <= each.start
                spans.append(
                    (_instant(day, each.start, zone), _instant(day, each.end + over_midnight * _DAY_MINUTES, zone))
                )
    ends = None
    for start, end in sorted(spans):
        if start <= (now if ends is None else ends) and end > now:
            ends = end if ends is None else max(ends, end)
    if ends is None:
        return False, None
    week = (len(_DAYS) - 1) * _DAY_MINUTES * 60_000
    return True, None if ends - now > week else ends


def _instant(day: date, minute: int, zone: ZoneInfo) -> Instant:
    day += timedelta(days=minute // _DAY_MINUTES)
    hour, minutes = divmod(minute % _DAY_MINUTES, 60)
    local = datetime.combine(day, time(hour, minutes), zone)
    return (local.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)


@lru_cache(maxsize=1024)
def _hours(text: str) -> _Hours:
    found = _HOURS.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} are no hours; {_EXAMPLE}")
    start, end = int(found[2]) * 60 + int(found[3]), int(found[4]) * 60 + int(found[5])
    if start >= _DAY_MINUTES or end > _DAY_MINUTES or int(found[3]) > 59 or int(found[5]) > 59:
        raise ValueError(f"{text!r} has a time that there is not; {_EXAMPLE}")
    if start == end:
        raise ValueError(f"{text!r} is no time at all; for the whole day write 00:00-24:00")
    return _Hours(_days(found[1]), start, end)


def _days(text: str | None) -> frozenset[int]:
    if text is None:
        return frozenset(range(len(_DAYS)))
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = _day(first), _day(last if dash else first)
        days.update((begin + n) % len(_DAYS) for n in range((end - begin) % len(_DAYS) + 1))
    return frozenset(days)


def _day(name: str) -> int:
    try:
        return _DAYS.index(name.capitalize())
    except ValueError:
        raise ValueError(f"{name!r} is no day; the days are {', '.join(_DAYS)}") from None


def _days_text(days: frozenset[int]) -> str:
    """`Mon-Fri`, `Sat,Sun`: three and more that follow each other as from-to."""
    parts: list[str] = []
    runs: list[list[int]] = []
    for day in sorted(days):
        if runs and day == runs[-1][-1] + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    for run in runs:
        parts += [f"{_DAYS[run[0]]}-{_DAYS[run[-1]]}"] if len(run) > 2 else [_DAYS[day] for day in run]
    return ",".join(parts)


# --- the kept text -------------------------------------------------------------------------------------------------


def plain(conditions: Conditions) -> dict[str, Any]:
    """What JSON can hold of them; only what is said."""
    found = {each.name: getattr(conditions, each.name) for each in fields(conditions)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in found.items()
        if value not in {(), None}
    }


def from_plain(read: dict[str, Any] | None) -> Conditions:
    """What `plain` made. ValueError where it is something else."""
    if not read:
        return NO_CONDITIONS
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in read.items()}
    try:
        return Conditions(**given)
    except TypeError as error:
        raise ValueError(f"these are no conditions that this version can read: {error}") from error


def to_text(conditions: Conditions) -> str | None:
    """As the database keeps them; None: there are none."""
    return json.dumps(plain(conditions)) if conditions else None


def from_text(kept: str | None) -> Conditions:
    """What `to_text` made. ValueError where it is something else."""
    return NO_CONDITIONS if kept is None else from_plain(json.loads(kept))
