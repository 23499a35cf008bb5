"""What a subscriber has bought: immutable values, and the one text (canonical JSON) in which a version is kept.

Rates are bit/s, volumes octets, times seconds, money micros. `up` is from the subscriber, `down` to the subscriber.
"""

import calendar
import hashlib
import json
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from charging.money import UP_TO_MICROS, Rounding

Instant = int
"""Milliseconds since the epoch, UTC."""

Unit = Literal["octets", "seconds", "money"]
Direction = Literal["total", "down", "up"]
Action = Literal["throttle", "redirect", "disconnect"]

DEFAULT_INTERIM_INTERVAL_SECONDS: Final = 300

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Duration:
    """A time span: calendar months, then seconds. A day is 86 400 s; only months follow the calendar."""

    months: int = 0
    seconds: int = 0

    def __post_init__(self) -> None:
        if self.months < 0 or self.seconds < 0:
            raise ValueError("a duration is not negative")

    def after(self, start: Instant, time_zone: str) -> Instant:
        """The instant this long after `start`.

        Months keep the day and the local time of the zone: 31 January + 1 month is the last day of February. A local
        time that daylight saving skips moves forward by the hour that is skipped; of two equal ones it is the first.
        """
        end = start
        if self.months:
            second, millisecond = divmod(start, 1000)
            local = datetime.fromtimestamp(second, ZoneInfo(time_zone))
            years, month_index = divmod(local.month - 1 + self.months, 12)
            year, month = local.year + years, month_index + 1
            day = min(local.day, calendar.monthrange(year, month)[1])
            moved = local.replace(year=year, month=month, day=day, fold=0)
            end = (moved - _EPOCH) // _SECOND * 1000 + millisecond
        return end + self.seconds * 1000


@dataclass(frozen=True, slots=True)
class Profile:
    """What the network does for a session, without vendor words. None means: not limited, not said."""

    name: str
    rate_down_bps: int | None = None
    rate_up_bps: int | None = None
    burst_down_bps: int | None = None
    burst_up_bps: int | None = None
    interim_interval_seconds: int = DEFAULT_INTERIM_INTERVAL_SECONDS
    session_timeout_seconds: int | None = None
    idle_timeout_seconds: int | None = None
    pool: str | None = None
    filter: str | None = None
    vlan: int | None = None
    redirect_url: str | None = None
    address_list: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    """Raw attributes by dictionary name, sent as they are, in this order."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a subscriber gets with the plan: a bucket of octets, seconds or micros that is drawn before money."""

    name: str
    unit: Unit
    direction: Direction
    amount: int
    priority: int = 0
    validity: Duration | None = None
    blocker: bool = False
    """When this bucket is empty, nothing else is drawn: the session is exhausted."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A price line: `price_micros` per `per` units, sold in whole steps of `step` units, and a fee once per session.

    The price stays an exact pair, because micros per octet would not be an integer.
    """

    unit: Unit
    direction: Direction
    price_micros: int
    per: int
    step: int
    fee_micros: int = 0

    def __post_init__(self) -> None:
        # tariff divides by these on every report; it must be able to trust them.
        if self.unit == "money":
            raise ValueError("a rate prices octets or seconds, not money")
        if self.price_micros < 0 or self.fee_micros < 0:
            raise ValueError("a price and a fee are not negative")
        if self.per < 1 or self.step < 1:
            raise ValueError("a price is per at least 1 unit, in steps of at least 1 unit")


@dataclass(frozen=True, slots=True)
class Exhausted:
    """What happens to a session that nothing pays for any more."""

    action: Action = "disconnect"
    profile: Profile | None = None

    def __post_init__(self) -> None:
        if (self.profile is None) != (self.action == "disconnect"):
            raise ValueError("throttle and redirect need a profile, disconnect has none")


@dataclass(frozen=True, slots=True)
class Plan:
    """One immutable version of a plan. A session keeps the version it began with."""

    name: str
    currency: str
    time_zone: str
    profile: Profile
    thresholds_percent: tuple[int, ...] = ()
    allowances: tuple[Allowance, ...] = ()
    rates: tuple[Rate, ...] = ()
    exhausted: Exhausted = Exhausted()
    max_sessions: int | None = 1
    """Live sessions per subscriber at the same time; None: no limit."""
    rounding: Rounding = UP_TO_MICROS
    description: str = ""

    # Facts that follow from the fields above, computed once because every report asks for them.
    charged_units: frozenset[Unit] = field(init=False, repr=False, compare=False)
    """Units that usage is counted in: of an allowance or a rate. `money` when there is a rate that draws it."""
    charged_directions: frozenset[Direction] = field(init=False, repr=False, compare=False)
    """Directions in which octets are counted: of an allowance or a rate."""
    charges_total_octets_only: bool = field(init=False, repr=False, compare=False)
    """Nothing but octets is counted, and both directions alike: the commonest plan, and the cheapest to compute."""
    max_down_octets_per_second: int | None = field(init=False, repr=False, compare=False)
    """What the line can carry while in credit: the larger of rate and burst, rounded up; None: not limited."""
    max_up_octets_per_second: int | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lines: tuple[Allowance | Rate, ...] = (*self.allowances, *self.rates)
        units: set[Unit] = {line.unit for line in lines if line.unit != "money"}
        if self.rates:
            units.add("money")
        profile = self.profile
        derived = {
            "charged_units": frozenset(units),
            "charged_directions": frozenset(line.direction for line in lines if line.unit == "octets"),
            "charges_total_octets_only": (
                units - {"money"} == {"octets"}
                and {line.direction for line in lines if line.unit == "octets"} == {"total"}
            ),
            "max_down_octets_per_second": _octets_per_second(profile.rate_down_bps, profile.burst_down_bps),
            "max_up_octets_per_second": _octets_per_second(profile.rate_up_bps, profile.burst_up_bps),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def charges(self, unit: Unit) -> bool:
        """Does usage in this unit (for `money`: any usage at all) draw something?"""
        return unit in self.charged_units


def _octets_per_second(rate_bps: int | None, burst_bps: int | None) -> int | None:
    return None if rate_bps is None else -(-max(rate_bps, burst_bps or 0) // 8)


# The kept text


def to_json(plan: Plan) -> str:
    """The plan as one line of canonical JSON: every field, keys sorted, profiles inlined. Equal plans, equal text."""
    return json.dumps(_plain(plan), sort_keys=True, separators=(",", ":"))


def digest(plan: Plan) -> str:
    """SHA-256 of `to_json`, in hexadecimal: the identity of this version's content."""
    return hashlib.sha256(to_json(plan).encode("ascii")).hexdigest()


def from_json(text: str) -> Plan:
    """The plan that `to_json` wrote. A field that is missing has its default, so text of older versions stays readable;
    ValueError when the text is no plan or has a field that this version does not know."""
    try:
        read = json.loads(text)
        exhausted = read.pop("exhausted", None)
        rounding = read.pop("rounding", None)
        return Plan(
            profile=_profile(read.pop("profile")),
            thresholds_percent=tuple(read.pop("thresholds_percent", ())),
            allowances=tuple(_allowance(item) for item in read.pop("allowances", ())),
            rates=tuple(Rate(**item) for item in read.pop("rates", ())),
            exhausted=Exhausted() if exhausted is None else _exhausted(exhausted),
            rounding=UP_TO_MICROS if rounding is None else Rounding(**rounding),
            **read,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"this text is not a plan that this version can read: {error}") from error


def _plain(value: object) -> Any:
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value) if item.init}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _profile(read: dict[str, Any]) -> Profile:
    attributes = tuple((name, value) for name, value in read.pop("attributes", ()))
    return Profile(attributes=attributes, **read)


def _allowance(read: dict[str, Any]) -> Allowance:
    validity = read.pop("validity", None)
    return Allowance(validity=None if validity is None else Duration(**validity), **read)


def _exhausted(read: dict[str, Any]) -> Exhausted:
    profile = read.pop("profile", None)
    return Exhausted(profile=None if profile is None else _profile(profile), **read)
