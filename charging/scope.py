"""When, where and for whom a bucket may be drawn: a value that stands with the bucket, because a bucket outlives the plan
version that it came from, and other plans of the account draw it too."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache

from charging.plan import Allowance, Plan, plain, window_from, zone_from
from charging.window import ALWAYS, Calendar, Instant, Period, Present, Window
from charging.zone import Place, Zone


@dataclass(frozen=True, slots=True)
class Scope:
    """What limits the use of a bucket; what is empty does not."""

    time_zone: str
    windows: tuple[Window, ...] = ()
    zones: tuple[Zone, ...] = ()
    subscriber_id: int | None = None
    cap: int | None = None
    """What one subscriber draws at most, in `cap_per`, or in all the bucket's time."""
    cap_per: Period | None = None

    calendar: Calendar | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        periods = frozenset[Period]() if self.cap_per is None else frozenset({self.cap_per})
        calendar = Calendar(self.time_zone, self.windows, (), periods) if self.windows or periods else None
        object.__setattr__(self, "calendar", calendar)

    def at(self, moment: Instant) -> Present:
        """What of its windows is open, and in which period its cap counts."""
        return ALWAYS if self.calendar is None else self.calendar.at(moment)

    def allows(self, subscriber_id: int, place: Place, moment: Instant) -> bool:
        """May this subscriber's session draw the bucket at that moment?"""
        return (
            (self.subscriber_id is None or self.subscriber_id == subscriber_id)
            and (not self.zones or any(zone.holds(place) for zone in self.zones))
            and (not self.windows or bool(self.at(moment).names))
        )


def scope_of(plan: Plan, allowance: Allowance, subscriber_id: int | None) -> str:
    """The text that a bucket of this allowance carries; empty where nothing limits it."""
    scope = Scope(
        plan.time_zone,
        tuple(window for window in plan.windows if window.name in allowance.windows),
        tuple(zone for zone in plan.zones if zone.name in allowance.zones),
        None if allowance.shared else subscriber_id,
        allowance.member_cap,
        allowance.member_cap_per,
    )
    return "" if scope == Scope(plan.time_zone) else json.dumps(plain(scope), sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=4096)
def read_scope(text: str) -> Scope:
    """The scope that `scope_of` wrote."""
    read = json.loads(text)
    return Scope(
        windows=tuple(window_from(item) for item in read.pop("windows", ())),
        zones=tuple(zone_from(item) for item in read.pop("zones", ())),
        **read,
    )
