"""What a subscriber has bought: immutable values, and the one text (canonical JSON) in which a version is kept.

Rates are bit/s, volumes octets, times seconds, money micros. `up` is from the subscriber, `down` to the subscriber.
"""

import calendar
import hashlib
import json
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from math import lcm
from typing import Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from charging.conditions import NO_CONDITIONS, Conditions, from_plain
from charging.money import UP_TO_MICROS, Rounding
from charging.period import Every
from charging.window import NEVER, Calendar, Period, Window
from charging.zone import Place, Zone

Instant = int
"""Milliseconds since the epoch, UTC."""

Unit = Literal["octets", "seconds", "money"]
Direction = Literal["total", "down", "up"]
Action = Literal["throttle", "redirect", "disconnect"]
RatedUnit = Literal["octets", "seconds", "session"]
TierMode = Literal["graduated", "volume", "package", "flat"]
Accumulation = Literal["session", "day", "week", "month"]
Beyond = Literal["free", "disconnect"]
Renewal = Literal["automatic", "manual"]
Begins = Literal["at-once", "first-use"]
Spell = Literal["period", "day", "week", "month"]
"""What use is counted over: a period of the plan, or of the calendar."""
Proration = Literal["time", "unused", "none"]

DEFAULT_INTERIM_INTERVAL_SECONDS: Final = 300

#: Of a field that plans of older versions do not know: it is left out of the kept text where it has its default, so that
#: a plan that does not use it keeps its text and its digest.
LATER: Final = {"later": True}

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
    """A pool of the NAS's own, by the name it has there."""
    address_pool: str | None = field(default=None, metadata=LATER)
    """A pool of ours, that the session gets its addresses from."""
    filter: str | None = None
    vlan: int | None = None
    redirect_url: str | None = None
    address_list: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    """Raw attributes by dictionary name, sent as they are, in this order."""


@dataclass(frozen=True, slots=True)
class RollOver:
    """What of an allowance goes over into the next period, or the next span of its own rhythm."""

    maximum: int | None = None
    """At most so much of it, the youngest first; None: all."""
    minimum: int = 0
    """Less than this is not carried over."""
    periods: int = 1
    """How often the same octets, seconds or micros go over."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """Another price for some periods: the first ones, or those that begin in a time."""

    price_micros: int
    periods: int | None = None
    valid_from: Instant | None = None
    valid_until: Instant | None = None


@dataclass(frozen=True, slots=True)
class PeriodTerms:
    """What is sold period by period."""

    every: Every
    price_micros: int = 0
    """Taken from the account's money when a period begins."""
    renewal: Renewal = "automatic"
    begins: Begins = "at-once"
    """When the first period begins: with the plan, or with the first login."""
    grace_seconds: int = 0
    """How long a period that is not paid for goes on with what is left of the one before."""
    remind_seconds: int = 0
    """How long before its end a notice says so; 0: none does."""
    proration: Proration = "time"
    """What of a period that is left for another plan is given back, and what of the new plan's is paid."""
    promotions: tuple[Promotion, ...] = ()


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
    windows: tuple[str, ...] = field(default=(), metadata=LATER)
    """Only use in one of these time windows draws it."""
    zones: tuple[str, ...] = field(default=(), metadata=LATER)
    """Only sessions in one of these zones draw it."""
    shared: bool = field(default=True, metadata=LATER)
    """False: only the subscriber that it was granted for draws it."""
    member_cap: int | None = field(default=None, metadata=LATER)
    """What one subscriber of the account draws at most, in `member_cap_per`."""
    member_cap_per: Period | None = field(default=None, metadata=LATER)
    """None: in all the bucket's time."""
    periods: int | None = field(default=None, metadata=LATER)
    """It is granted in so many periods from the first; None: in each."""
    valid_from: Instant | None = field(default=None, metadata=LATER)
    """It is granted in periods that begin from here on,"""
    valid_until: Instant | None = field(default=None, metadata=LATER)
    """and before this."""
    roll_over: RollOver | None = field(default=None, metadata=LATER)
    every: Every | None = field(default=None, metadata=LATER)
    """It is granted anew so often, whatever the plan's periods are; None: with each of them, or once."""


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier of a price line: `price_micros` per `per` units, up to and with the unit number `upto`; None: no end."""

    upto: int | None
    price_micros: int
    per: int = 1

    def __post_init__(self) -> None:
        if self.price_micros < 0 or self.per < 1:
            raise ValueError("a tier's price is not negative, and per at least 1 unit")


class Step(NamedTuple):
    """A tier as it is computed: `base + blocks begun since start · slope`, over the curve's denominator."""

    base: int
    start: int
    block: int
    slope: int


class Curve(NamedTuple):
    """The tiers of a price line over one common denominator, so that a price is rounded once."""

    denominator: int
    ends: tuple[int, ...]
    """The last unit of each tier but the last."""
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Rate:
    """A price line: `price_micros` per `per` units, sold in whole steps of `step` units, and a fee once per session.

    The price stays an exact pair, because micros per octet would not be an integer. With `tiers`, they say the price.
    """

    unit: RatedUnit
    direction: Direction
    price_micros: int
    per: int
    step: int
    fee_micros: int = 0
    name: str = field(default="", metadata=LATER)
    """By it a count that is longer than a session goes on in the plan's next version."""
    first_step: int = field(default=0, metadata=LATER)
    """The size of a session's first step; 0: as the following ones."""
    tiers: tuple[Tier, ...] = field(default=(), metadata=LATER)
    mode: TierMode = field(default="graduated", metadata=LATER)
    accumulate: Accumulation = field(default="session", metadata=LATER)
    """What `free`, tiers, minimum and maximum count over: a session, or a calendar period of one subscriber."""
    free: int = field(default=0, metadata=LATER)
    """So many units cost nothing."""
    minimum_micros: int = field(default=0, metadata=LATER)
    """What use beyond the free units costs at least."""
    maximum_micros: int | None = field(default=None, metadata=LATER)
    beyond: Beyond = field(default="free", metadata=LATER)
    """What happens at the maximum."""
    discount_percent: int = field(default=0, metadata=LATER)
    windows: tuple[str, ...] = field(default=(), metadata=LATER)
    """It prices use in one of these time windows; empty: at any time."""
    zones: tuple[str, ...] = field(default=(), metadata=LATER)
    service_classes: tuple[str, ...] = field(default=(), metadata=LATER)
    valid_from: Instant | None = field(default=None, metadata=LATER)
    valid_until: Instant | None = field(default=None, metadata=LATER)

    plain: bool = field(init=False, repr=False, compare=False)
    """Price, step and fee say everything."""
    curve: Curve = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # tariff divides by these on every report; it must be able to trust them.
        if self.price_micros < 0 or self.fee_micros < 0 or self.minimum_micros < 0:
            raise ValueError("a price and a fee are not negative")
        if self.per < 1 or self.step < 1 or self.first_step < 0 or self.free < 0:
            raise ValueError("a price is per at least 1 unit, in steps of at least 1 unit")
        if self.unit not in {"octets", "seconds", "session"}:
            raise ValueError("a rate prices octets, seconds or sessions, not money")
        if not 0 <= self.discount_percent <= 100 or (self.maximum_micros or 0) < 0:
            raise ValueError("a discount is 0 to 100 percent, a maximum not negative")
        ends = [tier.upto for tier in self.tiers]
        if ends and (ends[-1] is not None or any(e is None for e in ends[:-1])):
            raise ValueError("the last tier has no end, the others have one")
        plain = not (self.tiers or self.first_step or self.free or self.minimum_micros or self.discount_percent)
        plain = plain and self.maximum_micros is None and self.mode == "graduated" and self.accumulate == "session"
        object.__setattr__(self, "plain", plain and self.unit != "session")
        object.__setattr__(self, "curve", _curve(self.tiers or (Tier(None, self.price_micros, self.per),), self.mode))


def _curve(tiers: tuple[Tier, ...], mode: TierMode) -> Curve:
    denominator = lcm(*(tier.per for tier in tiers)) if mode in {"graduated", "volume"} else 1
    ends = tuple(tier.upto for tier in tiers if tier.upto is not None)
    if any(upto <= before for before, upto in zip((0, *ends), ends, strict=False)):
        raise ValueError("each tier ends after the one before it")
    steps: list[Step] = []
    start = base = 0
    for tier in tiers:
        slope = tier.price_micros * denominator // (tier.per if mode in {"graduated", "volume"} else 1)
        match mode:
            case "graduated":
                step = Step(base, start, 1, slope)
            case "package":
                step = Step(base, start, tier.per, slope)
            case "volume":
                step = Step(0, 0, 1, slope)
            case _:
                step = Step(slope, start, 1, 0)
        steps.append(step)
        if tier.upto is not None:
            base = step.base + -(-(tier.upto - step.start) // step.block) * step.slope
            start = tier.upto
    return Curve(denominator, ends, tuple(steps))


@dataclass(frozen=True, slots=True)
class Exhausted:
    """What happens to a session that nothing pays for any more."""

    action: Action = "disconnect"
    profile: Profile | None = None
    grace_seconds: int | None = None
    """How long a session may go on with that profile before it is ended; None: as long as it likes."""

    def __post_init__(self) -> None:
        if (self.profile is None) != (self.action == "disconnect"):
            raise ValueError("throttle and redirect need a profile, disconnect has none")
        if self.grace_seconds is not None and self.profile is None:
            raise ValueError("a session that is disconnected has no grace")


@dataclass(frozen=True, slots=True)
class ProfileWindow:
    """The profile of a plan's sessions while a time window is open."""

    window: str
    profile: Profile


@dataclass(frozen=True, slots=True)
class SpeedStep:
    """The profile of a subscriber's sessions once he has used `after` octets."""

    after: int
    profile: Profile


@dataclass(frozen=True, slots=True)
class FairUse:
    """Speed steps by what one subscriber has used in a period."""

    steps: tuple[SpeedStep, ...]
    per: Spell = "month"
    direction: Direction = "total"


class Measure(NamedTuple):
    """What is counted of a subscriber's use, and over which period."""

    unit: Unit
    direction: Direction
    per: Spell


@dataclass(frozen=True, slots=True)
class Cap:
    """What one subscriber uses at most in a calendar period, and what becomes of his sessions until that ends."""

    name: str
    unit: Unit
    amount: int
    per: Period
    direction: Direction = "total"
    reached: Exhausted = Exhausted()


Lines = tuple[tuple[int, Rate], ...]
#: Kinds of sessions whose price lines a plan remembers.
_MOST_CHOICES: Final = 4_096


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
    windows: tuple[Window, ...] = field(default=(), metadata=LATER)
    """Those that rates and allowances name."""
    zones: tuple[Zone, ...] = field(default=(), metadata=LATER)
    top_up_extends: Duration | None = field(default=None, metadata=LATER)
    """Service that has an end lasts at least this long after each payment."""
    attributes: tuple[tuple[str, str], ...] = field(default=(), metadata=LATER)
    """Raw attributes for every session of the plan; they stand in the place of the profile's of the same names."""
    conditions: Conditions = field(default=NO_CONDITIONS, metadata=LATER)
    profile_windows: tuple[ProfileWindow, ...] = field(default=(), metadata=LATER)
    """Of several that are open, the first one's profile holds."""
    caps: tuple[Cap, ...] = field(default=(), metadata=LATER)
    fair_use: FairUse | None = field(default=None, metadata=LATER)
    period: PeriodTerms | None = field(default=None, metadata=LATER)
    """None: it is granted once and lasts."""

    # Facts that follow from the fields above, computed once because every report asks for them.
    charged_units: frozenset[Unit] = field(init=False, repr=False, compare=False)
    """Units that usage is counted in: of an allowance or a rate. `money` when there is a rate that draws it."""
    charged_directions: frozenset[Direction] = field(init=False, repr=False, compare=False)
    """Directions in which octets are counted: of an allowance or a rate."""
    charges_total_octets_only: bool = field(init=False, repr=False, compare=False)
    """Nothing but octets is counted, and both directions alike: the commonest plan, and the cheapest to compute."""
    max_down_octets_per_second: int | None = field(init=False, repr=False, compare=False)
    """What the line can carry while in credit, with the fastest of the plan's profiles: the larger of rate and burst,
    rounded up; None: not limited."""
    max_up_octets_per_second: int | None = field(init=False, repr=False, compare=False)
    varies: bool = field(init=False, repr=False, compare=False)
    """What a session gets while something pays depends on the hour, or on what was used in a period."""
    profiles: dict[str, Profile] = field(init=False, repr=False, compare=False)
    """Those that sessions have instead of the plan's own at times, by name."""
    speeds: dict[str, tuple[int | None, int | None]] = field(init=False, repr=False, compare=False)
    """`line_of` each of them, and of the plan's own under the empty name."""
    hours: Calendar | None = field(init=False, repr=False, compare=False)
    """When which of them do."""
    measured: dict[Measure, tuple[int, ...]] = field(init=False, repr=False, compare=False)
    """What is counted for caps and speed steps, and at which amounts something happens."""
    lines: Lines = field(init=False, repr=False, compare=False)
    """All price lines, with their numbers."""
    recurring: tuple[Allowance, ...] = field(init=False, repr=False, compare=False)
    """Those that have a rhythm of their own."""
    selective: bool = field(init=False, repr=False, compare=False)
    """Which line prices a use depends on when, where, and on what was used in the period."""
    accumulates: bool = field(init=False, repr=False, compare=False)
    """A price goes by what was used in a day, a week or a month."""
    prices_sessions: bool = field(init=False, repr=False, compare=False)
    first_rounding: Rounding = field(init=False, repr=False, compare=False)
    """As `rounding`, of a line that has cost a session nothing yet."""
    ahead: "Plan" = field(init=False, repr=False, compare=False)
    """The same plan for what has not been used yet: what a session costs first is rounded up. Else who has nothing would be
    let in by a price that rounds to 0, and again and again."""
    counts: bool = field(init=False, repr=False, compare=False)
    """Something is counted over periods: a price line, or what a member draws from an allowance."""
    disconnects_at_maximum: bool = field(init=False, repr=False, compare=False)
    calendar: Calendar | None = field(init=False, repr=False, compare=False)
    _chosen: dict[tuple[Place, frozenset[str]], Lines] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lines: tuple[Allowance | Rate, ...] = (*self.allowances, *self.rates)
        units: set[Unit] = {line.unit for line in lines if line.unit not in {"money", "session"}}  # type: ignore[misc]
        if self.rates:
            units.add("money")
        profiles = {each.profile.name: each.profile for each in self.profile_windows}
        if self.fair_use is not None:
            profiles |= {step.profile.name: step.profile for step in self.fair_use.steps}
        derived = {
            "charged_units": frozenset(units),
            "charged_directions": frozenset(line.direction for line in lines if line.unit == "octets"),
            "charges_total_octets_only": (
                units - {"money"} == {"octets"}
                and {line.direction for line in lines if line.unit == "octets"} == {"total"}
                and all(rate.unit != "session" for rate in self.rates)
            ),
            "max_down_octets_per_second": _fastest([line_of(each)[1] for each in (self.profile, *profiles.values())]),
            "max_up_octets_per_second": _fastest([line_of(each)[0] for each in (self.profile, *profiles.values())]),
            "varies": bool(self.profile_windows or self.caps or self.fair_use),
            "profiles": profiles,
            "speeds": {"": line_of(self.profile), **{name: line_of(each) for name, each in profiles.items()}},
            "hours": _hours(self),
            "measured": _measured(self),
            "lines": tuple(enumerate(self.rates)),
            "recurring": tuple(each for each in self.allowances if each.every is not None),
            "selective": any(map(_is_selective, self.rates)),
            "accumulates": any(rate.accumulate != "session" for rate in self.rates),
            "prices_sessions": any(rate.unit == "session" for rate in self.rates),
            "first_rounding": self.rounding,
            "ahead": self,
            "counts": (
                any(rate.accumulate != "session" for rate in self.rates)
                or any(each.member_cap is not None for each in self.allowances)
                or bool(self.caps or self.fair_use)
            ),
            "disconnects_at_maximum": any(
                rate.maximum_micros is not None and rate.beyond == "disconnect" for rate in self.rates
            ),
            "calendar": _calendar(self),
            "_chosen": {},
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)
        if self.rounding.mode != "up":
            ahead = Plan.__new__(Plan)
            for each in fields(self):
                object.__setattr__(ahead, each.name, getattr(self, each.name))
            object.__setattr__(ahead, "first_rounding", Rounding("up", self.rounding.decimals))
            object.__setattr__(self, "ahead", ahead)

    def charges(self, unit: Unit) -> bool:
        """Does usage in this unit (for `money`: any usage at all) draw something?"""
        return unit in self.charged_units

    def lines_for(self, place: Place, opened: frozenset[str]) -> Lines:
        """The lines that price a use there while these windows are open: of each unit and direction the first that
        fits, with its number."""
        chosen = self._chosen.get((place, opened))
        if chosen is None:
            if len(self._chosen) >= _MOST_CHOICES:
                self._chosen.clear()
            chosen = self._chosen[place, opened] = _choose(self, place, opened)
        return chosen


def _is_selective(rate: Rate) -> bool:
    dated = rate.valid_from is not None or rate.valid_until is not None
    return bool(dated or rate.windows or rate.zones or rate.service_classes or rate.accumulate != "session")


def _calendar(plan: Plan) -> Calendar | None:
    """When which price lines hold, by the windows' names and by their own dates, and what they count over."""
    named = {name for rate in plan.rates for name in rate.windows}
    dated = tuple(
        (f"#{index}", rate.valid_from or 0, NEVER if rate.valid_until is None else rate.valid_until)
        for index, rate in enumerate(plan.rates)
        if rate.valid_from is not None or rate.valid_until is not None
    )
    windows = tuple(window for window in plan.windows if window.name in named)
    periods = frozenset(rate.accumulate for rate in plan.rates if rate.accumulate != "session")
    return Calendar(plan.time_zone, windows, dated, periods) if windows or dated or periods else None


def _measured(plan: Plan) -> dict[Measure, tuple[int, ...]]:
    found: dict[Measure, tuple[int, ...]] = {}
    for cap in plan.caps:
        measure = Measure(cap.unit, cap.direction, cap.per)
        found[measure] = (*found.get(measure, ()), cap.amount)
    if plan.fair_use is not None:
        measure = Measure("octets", plan.fair_use.direction, plan.fair_use.per)
        found[measure] = (*found.get(measure, ()), *(step.after for step in plan.fair_use.steps))
    return found


def _hours(plan: Plan) -> Calendar | None:
    named = {each.window for each in plan.profile_windows}
    windows = tuple(window for window in plan.windows if window.name in named)
    return Calendar(plan.time_zone, windows) if windows else None


def _choose(plan: Plan, place: Place, opened: frozenset[str]) -> Lines:
    zones = {zone.name for zone in plan.zones if zone.holds(place)}
    chosen: list[tuple[int, Rate]] = []
    priced: set[tuple[RatedUnit, str]] = set()
    for index, rate in plan.lines:
        if (
            (rate.windows and opened.isdisjoint(rate.windows))
            or (rate.zones and zones.isdisjoint(rate.zones))
            or (rate.service_classes and place.service_class not in rate.service_classes)
            or ((rate.valid_from is not None or rate.valid_until is not None) and f"#{index}" not in opened)
        ):
            continue
        ways: tuple[Direction, ...] = (
            ("down", "up") if rate.unit == "octets" and rate.direction == "total" else (rate.direction,)
        )
        left = [way for way in ways if (rate.unit, way) not in priced]
        if left:
            priced |= {(rate.unit, way) for way in left}
            chosen.append((index, rate if len(left) == len(ways) else replace(rate, direction=left[0])))
    return tuple(chosen)


def line_of(profile: Profile) -> tuple[int | None, int | None]:
    """What a line with this profile can carry, up and down, octets/s; None: not limited."""
    return (
        _octets_per_second(profile.rate_up_bps, profile.burst_up_bps),
        _octets_per_second(profile.rate_down_bps, profile.burst_down_bps),
    )


def _fastest(rates: list[int | None]) -> int | None:
    known = [rate for rate in rates if rate is not None]
    return max(known) if len(known) == len(rates) else None


def _octets_per_second(rate_bps: int | None, burst_bps: int | None) -> int | None:
    return None if rate_bps is None else -(-max(rate_bps, burst_bps or 0) // 8)


# The kept text


def to_json(plan: Plan) -> str:
    """The plan as one line of canonical JSON: every field, keys sorted, profiles inlined. Equal plans, equal text."""
    return json.dumps(plain(plan), sort_keys=True, separators=(",", ":"))


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
        extends = read.pop("top_up_extends", None)
        return Plan(
            profile=_profile(read.pop("profile")),
            thresholds_percent=tuple(read.pop("thresholds_percent", ())),
            allowances=tuple(_allowance(item) for item in read.pop("allowances", ())),
            rates=tuple(_rate(item) for item in read.pop("rates", ())),
            exhausted=Exhausted() if exhausted is None else _exhausted(exhausted),
            rounding=UP_TO_MICROS if rounding is None else Rounding(**rounding),
            windows=tuple(window_from(item) for item in read.pop("windows", ())),
            zones=tuple(zone_from(item) for item in read.pop("zones", ())),
            top_up_extends=None if extends is None else Duration(**extends),
            attributes=tuple((name, value) for name, value in read.pop("attributes", ())),
            conditions=from_plain(read.pop("conditions", None)),
            profile_windows=tuple(_profile_window(item) for item in read.pop("profile_windows", ())),
            caps=tuple(_cap(item) for item in read.pop("caps", ())),
            fair_use=_fair_use(read.pop("fair_use", None)),
            period=_period(read.pop("period", None)),
            **read,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"this text is not a plan that this version can read: {error}") from error


def plain(value: object) -> Any:
    """A value of plans as JSON has it."""
    if is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value) if _is_kept(item, value)}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def _is_kept(item: "Field[Any]", value: object) -> bool:
    unused = "later" in item.metadata and item.default is not MISSING and getattr(value, item.name) == item.default
    return item.init and not unused


def _profile(read: dict[str, Any]) -> Profile:
    attributes = tuple((name, value) for name, value in read.pop("attributes", ()))
    return Profile(attributes=attributes, **read)


def _allowance(read: dict[str, Any]) -> Allowance:
    validity, rolls, every = (read.pop(key, None) for key in ("validity", "roll_over", "every"))
    names: dict[str, Any] = {key: tuple(read.pop(key, ())) for key in ("windows", "zones")}
    return Allowance(
        validity=None if validity is None else Duration(**validity),
        roll_over=None if rolls is None else RollOver(**rolls),
        every=None if every is None else Every(**every),
        **names,
        **read,
    )


def _period(read: dict[str, Any] | None) -> PeriodTerms | None:
    if read is None:
        return None
    promotions = tuple(Promotion(**item) for item in read.pop("promotions", ()))
    return PeriodTerms(Every(**read.pop("every")), promotions=promotions, **read)


def _rate(read: dict[str, Any]) -> Rate:
    names: dict[str, Any] = {key: tuple(read.pop(key, ())) for key in ("windows", "zones", "service_classes")}
    return Rate(tiers=tuple(Tier(**item) for item in read.pop("tiers", ())), **names, **read)


def window_from(read: dict[str, Any]) -> Window:
    """A window as `plain` wrote it."""
    pairs: dict[str, Any] = {key: tuple((a, b) for a, b in read.pop(key, ())) for key in ("hours", "dates")}
    return Window(days=tuple(read.pop("days", ())), **pairs, **read)


def zone_from(read: dict[str, Any]) -> Zone:
    """A zone as `plain` wrote it."""
    return Zone(read.pop("name"), **{key: tuple(names) for key, names in read.items()})


def _exhausted(read: dict[str, Any]) -> Exhausted:
    profile = read.pop("profile", None)
    return Exhausted(profile=None if profile is None else _profile(profile), **read)


def _profile_window(read: dict[str, Any]) -> ProfileWindow:
    return ProfileWindow(profile=_profile(read.pop("profile")), **read)


def _cap(read: dict[str, Any]) -> Cap:
    return Cap(reached=_exhausted(read.pop("reached")), **read)


def _fair_use(read: dict[str, Any] | None) -> FairUse | None:
    if read is None:
        return None
    steps = tuple(SpeedStep(profile=_profile(item.pop("profile")), **item) for item in read.pop("steps"))
    return FairUse(steps, **read)
