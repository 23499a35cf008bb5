"""The plan file: TOML → plans. Every fault in it is found in one reading, each with its line and what would be right.

    prepaid.toml:24: plan.prepaid-50.rate[0].price: '0,02' is not a price; write 0.02

docs/plans.md explains the keys.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple, TypeVar, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from charging import amounts
from charging.conditions import NO_CONDITIONS, Conditions, hours
from charging.money import EXPONENTS, MAX_AMOUNT, PRICE_DECIMALS, Rounding, RoundingMode, exponent, parse_money
from charging.money import parse_price as parse_price_text
from charging.period import Every, PeriodUnit
from charging.plan import (
    DEFAULT_INTERIM_INTERVAL_SECONDS,
    Accumulation,
    Action,
    Allowance,
    Begins,
    Beyond,
    Cap,
    Direction,
    Duration,
    Exhausted,
    FairUse,
    Instant,
    PeriodTerms,
    Plan,
    Profile,
    ProfileWindow,
    Promotion,
    Proration,
    Rate,
    RatedUnit,
    Renewal,
    RollOver,
    SpeedStep,
    Spell,
    Tier,
    TierMode,
    Unit,
)
from charging.tomlfile import NAME, BadValueError, Table, TomlFileError, parse, parse_time_zone
from charging.window import DAY_MINUTES, Period, Window, local
from charging.zone import SERVICE_CLASSES, Zone

T = TypeVar("T")

_EXAMPLES: Final[Mapping[Unit, str]] = {"octets": "50GB", "seconds": "10h", "money": "10.00"}

MIN_INTERIM_INTERVAL_SECONDS: Final = 60
"""RFC 2869 section 5.16: an interim interval is at least 60 seconds."""
MAX_INTERIM_INTERVAL_SECONDS: Final = 86_400
MAX_RATE_BPS: Final = 10**12
MAX_TIMEOUT_SECONDS: Final = 2**32 - 1
MAX_STEP: Final[Mapping[RatedUnit, int]] = {"octets": 10 * 10**9, "seconds": 86_400, "session": 1}
"""The largest charging step: a hold must be able to pay for the next one."""
MAX_PER: Final = 10**15
MAX_PRICE_MICROS: Final = 10**15
MAX_TEXT_OCTETS: Final = 247
"""What fits any RADIUS attribute, vendor-specific ones too."""
MAX_PLANS: Final = 10_000
MAX_TIERS: Final = 20
MAX_ENTRIES: Final = 200
"""In a list of a window or a zone."""
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_STATIONS: Final = 100
MAX_PERIODS: Final = 1_000
_EVERY: Final[Mapping[str, tuple[PeriodUnit, int]]] = {
    "hour": ("hour", 1), "day": ("day", 1), "week": ("day", 7), "month": ("month", 1), "year": ("month", 12),
}  # fmt: skip
MAX_EVERY: Final[Mapping[PeriodUnit, int]] = {"hour": 8_784, "day": 3_660, "month": 120}


class PlanFileError(TomlFileError):
    """A plan file with faults."""


def load(text: str, name: str = "<plan file>") -> list[Plan]:
    """The plans of a file, in its order. `name` is what the problems call it. PlanFileError lists all its faults."""
    try:
        top = parse(text, name)
    except TomlFileError as error:
        raise PlanFileError(error.problems) from None
    plans = _file(top)
    if top.faults.found:
        raise PlanFileError(tuple(top.faults.in_file_order()))
    return plans


# The parts of a plan file


def _file(top: Table) -> list[Plan]:
    currency = top.take("currency", _currency, "", required='currency = "EUR"')
    time_zone = top.take("time_zone", _time_zone, "UTC", required='time_zone = "Europe/Berlin"')
    profiles = {name: _profile(name, table) for name, table in top.tables("profile").items()}
    windows = {name: _window(name, table) for name, table in top.tables("window").items()}
    zones = {name: _zone(name, table) for name, table in top.tables("zone").items()}
    tables = top.tables("plan")
    top.finish()
    if not tables and not top.faults.under(("plan",)):
        top.fault(None, "there is no plan in it; write [plan.NAME]")
    if len(tables) > MAX_PLANS:
        top.fault("plan", f"{len(tables)} plans in one file; the most is {MAX_PLANS}")
        return []
    sale = _Sale(currency, time_zone, profiles, windows, zones)
    return [_plan(name, table, sale) for name, table in tables.items()]


class _Sale(NamedTuple):
    """What all plans of a file share."""

    currency: str
    time_zone: str
    profiles: Mapping[str, Profile]
    windows: Mapping[str, Window]
    zones: Mapping[str, Zone]

    def windows_named(self, value: object) -> tuple[str, ...]:
        return _names(value, tuple(self.windows), "window")

    def zones_named(self, value: object) -> tuple[str, ...]:
        return _names(value, tuple(self.zones), "zone")


def _window(name: str, table: Table) -> Window:
    window = Window(
        name,
        days=table.take("days", _days, ()),
        hours=table.take("hours", _hours, ()),
        dates=table.take("dates", _dates, ()),
    )
    if not table.values:
        table.fault(None, 'is open always; write days = ["sat", "sun"], hours = ["22:00-06:00"] or dates = ["12-25"]')
    table.finish()
    return window


def _zone(name: str, table: Table) -> Zone:
    zone = Zone(
        name,
        nas_groups=table.take("nas_groups", _patterns, ()),
        called_stations=table.take("called_stations", _patterns, ()),
        realms=table.take("realms", _patterns, ()),
    )
    if not table.values:
        table.fault(None, 'holds everything; write nas_groups = ["NAME"], called_stations = ["*:guest"] or realms')
    table.finish()
    return zone


def _profile(name: str, table: Table) -> Profile:
    rates: dict[str, int | None] = {}
    for way in ("down", "up"):
        rate = rates[f"rate_{way}_bps"] = table.take(f"rate_{way}", _rate_bps, None)
        burst = rates[f"burst_{way}_bps"] = table.take(f"burst_{way}", _rate_bps, None)
        if burst is None:
            continue
        if f"rate_{way}" not in table.values:
            table.fault(f"burst_{way}", f"a burst without a rate; write rate_{way} too")
        elif rate is not None and burst < rate:
            table.fault(f"burst_{way}", f"is slower than rate_{way}; write at least {amounts.format_rate(rate)}")
    attributes = table.table("attributes")
    profile = Profile(
        name=name,
        **rates,
        interim_interval_seconds=table.take("interim_interval", _interim_interval, DEFAULT_INTERIM_INTERVAL_SECONDS),
        session_timeout_seconds=table.take("session_timeout", _timeout, None),
        idle_timeout_seconds=table.take("idle_timeout", _timeout, None),
        pool=table.take("pool", _text, None),
        address_pool=table.take("address_pool", _name, None),
        filter=table.take("filter", _text, None),
        vlan=table.take("vlan", _vlan, None),
        redirect_url=table.take("redirect_url", _url, None),
        address_list=table.take("address_list", _text, None),
        attributes=() if attributes is None else _attributes(attributes),
    )
    if profile.pool is not None and profile.address_pool is not None:
        table.fault("address_pool", "pool is the NAS's own and address_pool is this server's; leave one of the two")
    table.finish()
    return profile


def _attributes(table: Table) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for name in table.values:
        if not NAME.fullmatch(name.partition(":")[0]):
            table.fault(name, "is not the name of an attribute; write it as in the dictionary, for example Filter-Id")
            continue
        pairs.extend((name, value) for value in table.take(name, _attribute_values, ()))
    return tuple(pairs)


def _plan(name: str, table: Table, sale: _Sale) -> Plan:
    currency, profiles = sale.currency, sale.profiles

    def profile_named(value: object) -> Profile:
        return profiles[_one_of(value, tuple(profiles), "profile", "write [profile.{}] for it")]

    profile = table.take("profile", profile_named, None, required='profile = "NAME" of a [profile.NAME]')
    rounding_mode: RoundingMode = table.take("rounding", _rounding_mode, "up")
    decimals = table.take("decimals", _integer_between(0, PRICE_DECIMALS), PRICE_DECIMALS)
    thresholds = table.take("thresholds", _thresholds, ())
    allowances, rates = _allowances(table, sale), _rates(table, sale)
    lines: tuple[Allowance | Rate, ...] = (*allowances, *rates)
    profile_windows = _profile_windows(table, sale, profile_named)
    windows_used = {window for line in lines for window in line.windows}
    windows_used |= {each.window for each in profile_windows}
    zones_used = {zone for line in lines for zone in line.zones}
    plan = Plan(
        name=name,
        currency=currency,
        time_zone=sale.time_zone,
        profile=profile or Profile(""),
        thresholds_percent=thresholds,
        allowances=allowances,
        rates=rates,
        exhausted=_exhausted(table, profile, profile_named),
        max_sessions=table.take("max_sessions", _max_sessions, 1),
        rounding=Rounding(rounding_mode, decimals),
        description=table.take("description", _description, ""),
        windows=tuple(window for window in sale.windows.values() if window.name in windows_used),
        zones=tuple(zone for zone in sale.zones.values() if zone.name in zones_used),
        top_up_extends=table.take("top_up_extends", _validity, None),
        attributes=() if (own := table.table("attributes")) is None else _attributes(own),
        conditions=_login_conditions(table),
        profile_windows=profile_windows,
        caps=_caps(table, currency, profile, profile_named),
        fair_use=_fair_use(table, profile, profile_named),
        period=_period_terms(table, sale, allowances),
    )
    if plan.period is None:
        for number, allowance in enumerate(allowances):
            rolls = allowance.roll_over is not None and allowance.every is None
            if rolls or allowance.periods or allowance.valid_from or allowance.valid_until:
                table.fault(
                    "allowance", f"[{number}] goes by periods, and the plan has none; write [plan.{name}.period] too"
                )
    table.finish()
    return plan


def _profile_windows(plan: Table, sale: _Sale, profile_named: Callable[[object], Profile]) -> tuple[ProfileWindow, ...]:
    found: list[ProfileWindow] = []

    def window_named(value: object) -> str:
        return _one_of(value, tuple(sale.windows), "window", "write [window.{}] for it")

    for table in plan.array("profile_window"):
        window = table.take("window", window_named, "", required='window = "NAME" of a [window.NAME]')
        profile = table.take("profile", profile_named, None, required='profile = "NAME" of a [profile.NAME]')
        if window and window in {each.window for each in found}:
            table.fault("window", f"{window!r} has a profile already; leave one of the two")
        table.finish()
        if window and profile is not None:
            found.append(ProfileWindow(window, profile))
    return tuple(found)


def _caps(
    plan: Table, currency: str, usual: Profile | None, profile_named: Callable[[object], Profile]
) -> tuple[Cap, ...]:
    found: list[Cap] = []
    for table in plan.array("cap"):
        name = table.take("name", _name, "", required='name = "daily"')
        if name and name in {each.name for each in found}:
            table.fault("name", f"{name!r} is the name of another cap of this plan; names must differ")
        unit: Unit | None = table.take("unit", _unit, None, required='unit = "octets", "seconds" or "money"')
        if unit == "money" and not plan.values.get("rate"):
            table.fault("unit", "a cap of money in a plan without a rate is never reached; write a [[…rate]] too")
        required = f'amount = "{_EXAMPLES[unit or "octets"]}"'
        amount = table.take("amount", _amount(unit, currency), 1, required=required)
        per: Period = table.take("per", _period, "day", required='per = "day", "week" or "month"')
        direction = _direction_of(table, unit)
        found.append(Cap(name, unit or "octets", amount, per, direction, _end(table, plan, usual, profile_named)))
        table.finish()
    return tuple(found)


def _fair_use(plan: Table, usual: Profile | None, profile_named: Callable[[object], Profile]) -> FairUse | None:
    table = plan.table("fair_use")
    if table is None:
        return None
    per: Spell = table.take("per", _spell, "month", required='per = "period", "day", "week" or "month"')
    if per == "period" and "period" not in plan.values:
        table.fault("per", "the plan has no periods; write [plan.NAME.period] too, or day, week or month")
    direction = _direction_of(table, "octets")
    steps: list[SpeedStep] = []
    tables = table.array("step")
    if "step" not in table.values:
        table.fault(None, "there is no step in it; write [[plan.NAME.fair_use.step]]")
    for each in tables:
        after = each.take("after", _units("octets", MAX_AMOUNT), 0, required='after = "50GB"')
        if steps and after and after <= steps[-1].after:
            each.fault("after", "each step begins after the one before it; write a larger amount")
        profile = each.take("profile", profile_named, None, required='profile = "NAME" of a [profile.NAME]')
        if profile is not None:
            _check_throttle(each, profile, usual)
            steps.append(SpeedStep(after, profile))
        each.finish()
    table.finish()
    return FairUse(tuple(steps), per, direction) if steps else None


def _is_shorter(span: Every, period: Every) -> bool:
    """Does a span always end before a period that begins with it?"""
    if span.unit == period.unit:
        return span.count < period.count
    longest = {"hour": 1, "day": 24, "month": 31 * 24}[span.unit] * span.count + (span.unit != "hour")
    shortest = {"hour": 1, "day": 24, "month": 28 * 24}[period.unit] * period.count - (period.unit != "hour")
    return longest < shortest  # hours; the clock may be changed once in each


def _period_terms(plan: Table, sale: _Sale, allowances: tuple[Allowance, ...]) -> PeriodTerms | None:
    table = plan.table("period")
    if table is None:
        return None
    every = table.take("every", _every, None, required='every = "1 month"')
    for number, each in enumerate(allowances):
        if every is not None and each.every is not None and not _is_shorter(each.every, every):
            message = (
                f"{each.every} is not shorter than the plan's period, {every}; write a shorter time, or leave it out"
            )
            plan.faults.add((*plan.path, "allowance", number, "every"), message)
    price = _price(sale.currency)
    terms = PeriodTerms(
        every=every or Every(1, "month"),
        price_micros=table.take("price", price, 0),
        renewal=table.take("renewal", _renewal, "automatic"),
        begins=table.take("begins", _begins, "at-once"),
        grace_seconds=table.take("grace", _timeout, 0),
        remind_seconds=table.take("remind", _timeout, 0),
        proration=table.take("proration", _proration, "time"),
        promotions=tuple(_promotion(each, sale) for each in table.array("promotion")),
    )
    table.finish()
    return terms


def _promotion(table: Table, sale: _Sale) -> Promotion:
    price = table.take("price", _price(sale.currency), 0, required='price = "9.99"')
    periods = table.take("periods", _integer_between(1, MAX_PERIODS), None)
    first, until = _from_until(table, sale)
    if not table.values.keys() & {"periods", "from", "until"}:
        table.fault(None, "holds for ever; write periods = 3, or from and until, or change the price itself")
    table.finish()
    return Promotion(price, periods, first, until)


def _from_until(table: Table, sale: _Sale) -> tuple[Instant | None, Instant | None]:
    """The first moment of the day `from`, and the first after the day `until`."""
    first, last = table.take("from", _date, None), table.take("until", _date, None)
    if first is not None and last is not None and last < first:
        table.fault("until", f"is before {first}, the first day; write a later one")
    after = None if last is None else last + timedelta(days=1)
    return _day_begins(first, sale.time_zone), _day_begins(after, sale.time_zone)


def _roll_over(allowance: Table, unit: Unit | None, currency: str) -> RollOver | None:
    table = allowance.table("roll_over")
    if table is None:
        return None
    amount = _amount(unit, currency)
    least, most = table.take("min", amount, 0), table.take("max", amount, None)
    if most is not None and most < least:
        table.fault("max", "is less than min; write a larger one")
    periods = table.take("periods", _integer_between(1, MAX_PERIODS), 1)
    table.finish()
    return RollOver(most, least, periods)


def _login_conditions(plan: Table) -> Conditions:
    table = plan.table("conditions")
    if table is None:
        return NO_CONDITIONS
    conditions = Conditions(
        nas=table.take("nas", _texts(_name), ()),
        nas_groups=table.take("nas_groups", _texts(_name), ()),
        port_types=table.take("port_types", _texts(_text), ()),
        learn_stations=table.take("learn_stations", _integer_between(1, MAX_STATIONS), None),
        hours=table.take("hours", _texts(_login_hours), ()),
    )
    table.finish()
    return conditions


def _allowances(plan: Table, sale: _Sale) -> tuple[Allowance, ...]:
    currency = sale.currency
    tables = plan.array("allowance")
    found: list[Allowance] = []
    names: set[str] = set()
    for table in tables:
        name = table.take("name", _name, "", required='name = "data"')
        if name in names:
            table.fault("name", f"{name!r} is the name of another allowance of this plan; names must differ")
        if name:
            names.add(name)
        unit: Unit | None = table.take("unit", _unit, None, required='unit = "octets", "seconds" or "money"')
        granted_from, granted_until = _from_until(table, sale)
        allowance = Allowance(
            name=name,
            unit=unit or "octets",
            direction=_direction_of(table, unit),
            amount=table.take(
                "amount", _amount(unit, currency), 1, required=f'amount = "{_EXAMPLES[unit or "octets"]}"'
            ),
            priority=table.take("priority", _integer_between(-1_000, 1_000), 0),
            validity=table.take("validity", _validity, None),
            blocker=table.take("blocker", _boolean, default=False),
            windows=table.take("windows", sale.windows_named, ()),
            zones=table.take("zones", sale.zones_named, ()),
            shared=table.take("shared", _boolean, default=True),
            member_cap=table.take("member_cap", _amount(unit, currency), None),
            member_cap_per=table.take("member_cap_per", _period, None),
            periods=table.take("periods", _integer_between(1, MAX_PERIODS), None),
            valid_from=granted_from,
            valid_until=granted_until,
            roll_over=_roll_over(table, unit, currency),
            every=table.take("every", _every, None),
        )
        if allowance.every is not None and "validity" in table.values:
            table.fault("validity", f"it lasts until it comes again, every {allowance.every}; leave one of the two")
        if "member_cap_per" in table.values and "member_cap" not in table.values:
            example = _EXAMPLES[unit or "octets"]
            table.fault("member_cap_per", f'a period without a cap; write member_cap = "{example}" too')
        if not allowance.shared and "member_cap" in table.values:
            table.fault("member_cap", "only one member draws what is not shared; leave one of the two")
        table.finish()
        if unit == "money" and not plan.values.get("rate"):
            table.fault("unit", "an allowance of money in a plan without a rate is never drawn; write a [[…rate]] too")
        found.append(allowance)
    return tuple(found)


def _rates(plan: Table, sale: _Sale) -> tuple[Rate, ...]:
    found: dict[int, Rate] = {}
    names: set[str] = set()
    for index, table in enumerate(plan.array("rate")):
        rate = _rate(table, sale)
        table.finish()
        if rate is None:
            continue
        if rate.name in names:
            table.fault("name", f"{rate.name!r} is the name of another rate of this plan; names must differ")
        if rate.name:
            names.add(rate.name)
        # The same use would be paid twice, or the second line never be asked.
        for other_index, other in found.items():
            same = other.unit == rate.unit and (
                other.direction == rate.direction or "total" in {other.direction, rate.direction}
            )
            if same and _conditions(other) in {_conditions(rate), _NO_CONDITIONS}:
                what = "sessions" if rate.unit == "session" else rate.unit
                also = (
                    f"rate[{other_index}] prices {other.direction + ' ' if rate.unit == 'octets' else ''}{what} already"
                )
                table.fault("direction" if "direction" in table.values else None, f"{also}; leave one of the two")
        found[index] = rate
    return tuple(found.values())


def _conditions(rate: Rate) -> tuple[object, ...]:
    return rate.windows, rate.zones, rate.service_classes, rate.valid_from, rate.valid_until


_NO_CONDITIONS: Final = ((), (), (), None, None)


def _rate(table: Table, sale: _Sale) -> Rate | None:
    """One price line; None where it can not be said what its unit is."""
    currency = sale.currency
    unit: RatedUnit | None = table.take("unit", _rated_unit, None, required='unit = "octets", "seconds" or "session"')
    direction = _direction_of(table, unit)
    example = {"seconds": "1m", "session": "1"}.get(unit or "octets", "1MB")
    tier_tables = table.array("tier")
    per_required = None if unit == "session" or tier_tables else f'per = "{example}"'
    per = table.take("per", _units(unit, MAX_PER), 1, required=per_required)
    step = table.take("step", _units(unit, MAX_STEP.get(unit or "octets", MAX_PER)), 1)
    first_step = table.take("first_step", _units(unit, MAX_STEP.get(unit or "octets", MAX_PER)), 0)
    price = table.take("price", _price(currency), 0, required=None if tier_tables else 'price = "0.02"')
    if tier_tables and "price" in table.values:
        table.fault("price", "the tiers say the price; leave one of the two")
    name = table.take("name", _name, "")
    fee = table.take("fee", _price(currency), 0)
    mode: TierMode = table.take("mode", _tier_mode, "graduated")
    tiers = _tiers(table, tier_tables, unit, per, currency)
    if "mode" in table.values and not tier_tables and mode != "package":
        table.fault("mode", f"{mode} says how tiers are priced; write a [[{_SHORT}.tier]] too")
    accumulate: Accumulation = table.take("accumulate", _accumulation, "session")
    if accumulate != "session" and not name:
        table.fault(
            "accumulate", f'what is counted over a {accumulate} needs a name; write name = "{unit or "data"}" too'
        )
    free = table.take("free", _units(unit, MAX_AMOUNT), 0)
    minimum = table.take("minimum", _price(currency), 0)
    maximum = table.take("maximum", _price(currency), None)
    beyond: Beyond = table.take("at_maximum", _beyond, "free")
    if "at_maximum" in table.values and "maximum" not in table.values:
        table.fault("at_maximum", 'there is no maximum; write maximum = "5.00" too')
    if maximum is not None and maximum < minimum:
        table.fault("maximum", "is less than the minimum; write a larger one")
    valid_from, valid_until = _from_until(table, sale)
    discount = table.take("discount", _discount, 0)
    windows = table.take("windows", sale.windows_named, ())
    zones = table.take("zones", sale.zones_named, ())
    service_classes = table.take("service_classes", _service_classes, ())
    if unit is None:
        return None
    try:
        return Rate(
            unit, direction, price, per, step, fee, name, first_step, tiers, mode, accumulate, free, minimum, maximum,
            beyond, discount, windows, zones, service_classes, valid_from, valid_until,
        )  # fmt: skip
    except ValueError:  # tiers out of order: their faults are known
        return None


_SHORT: Final = "plan.NAME.rate"


def _tiers(rate: Table, tables: list[Table], unit: RatedUnit | None, per: int, currency: str) -> tuple[Tier, ...]:
    tiers: list[Tier] = []
    before = 0
    example = {"seconds": "10h", "session": "10"}.get(unit or "octets", "10GB")
    if len(tables) > MAX_TIERS:
        rate.fault("tier", f"{len(tables)} tiers; the most is {MAX_TIERS}")
        tables = tables[:MAX_TIERS]
    for number, table in enumerate(tables, 1):
        last = number == len(tables)
        required = None if last else f'upto = "{example}"; only the last tier has no end'
        upto = table.take("upto", _units(unit, MAX_AMOUNT), None, required=required)
        if last and "upto" in table.values:
            table.fault("upto", "the last tier has no end; remove this line, or write another tier")
        elif upto is not None and upto <= before:
            table.fault("upto", "each tier ends after the one before it; write a larger amount")
        before = upto or before
        price = table.take("price", _price(currency), 0, required='price = "0.02"')
        tiers.append(Tier(upto, price, table.take("per", _units(unit, MAX_PER), per)))
        table.finish()
    return tuple(tiers)


def _day_begins(day: date | None, time_zone: str) -> Instant | None:
    return None if day is None else local(day, 0, ZoneInfo(time_zone))


def _exhausted(plan: Table, usual: Profile | None, profile_named: Callable[[object], Profile]) -> Exhausted:
    table = plan.table("exhausted")
    if table is None:
        return Exhausted()
    exhausted = _end(table, plan, usual, profile_named)
    table.finish()
    return exhausted


def _end(table: Table, plan: Table, usual: Profile | None, profile_named: Callable[[object], Profile]) -> Exhausted:
    """What a table says of action, profile and grace."""
    action: Action | None = table.take(
        "action", _action, None, required='action = "throttle", "redirect" or "disconnect"'
    )
    profile = table.take("profile", profile_named, None)
    grace_seconds = table.take("grace", _timeout, None)
    if action is None:
        return Exhausted()
    if action == "disconnect":
        if "grace" in table.values:
            table.fault("grace", "a session that is disconnected has no grace; remove this line")
        if "profile" in table.values:
            table.fault("profile", "a session that is disconnected has no profile; remove this line")
        return Exhausted()
    if profile is None:
        if "profile" not in table.values:
            table.fault(None, f'{action} needs a profile; write profile = "NAME" of a [profile.NAME]')
        return Exhausted()
    if plan.faults.under(("profile", profile.name)):
        return Exhausted()
    if action == "throttle":
        _check_throttle(table, profile, usual)
    elif not (profile.redirect_url or profile.address_list or profile.filter or profile.pool or profile.address_pool):
        table.fault(
            "profile",
            f"{profile.name!r} redirects nothing; give it redirect_url, address_list, filter, pool or address_pool",
        )
    return Exhausted(action, profile, grace_seconds)


def _check_throttle(table: Table, profile: Profile, usual: Profile | None) -> None:
    if profile.rate_down_bps is None and profile.rate_up_bps is None:
        table.fault("profile", f"{profile.name!r} has no rate, so it throttles nothing; give it rate_down and rate_up")
        return
    if usual is None or table.faults.under(("profile", usual.name)):
        return
    pairs = {
        "down": (profile.rate_down_bps, usual.rate_down_bps),
        "up": (profile.rate_up_bps, usual.rate_up_bps),
    }
    for way, (throttled, normal) in pairs.items():
        if normal is not None and (throttled is None or throttled > normal):
            table.fault(
                "profile",
                f"{profile.name!r} is faster {way} than the plan's own profile {usual.name!r}; "
                f"give it a rate_{way} of at most {amounts.format_rate(normal)}",
            )


# Values: each parser takes what TOML holds and raises ValueError with what would be right


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _string(value: object, example: str) -> str:
    if not isinstance(value, str):
        raise BadValueError(f"{_shown(value)} is not text; write {example} in quotes")
    return value


def _text(value: object) -> str:
    text = _string(value, '"name"')
    if not text or not text.isprintable():
        raise BadValueError(f"{text!r} is empty or has unprintable characters; write plain text")
    if len(text.encode()) > MAX_TEXT_OCTETS:
        raise BadValueError(f"{text[:20]!r}… is too long; an attribute holds {MAX_TEXT_OCTETS} octets")
    return text


def _description(value: object) -> str:
    text = _string(value, '"what it is"')
    if len(text) > 1_000:
        raise BadValueError("is too long; write at most 1000 characters")
    return text


def _name(value: object) -> str:
    name = _string(value, '"data"')
    if not NAME.fullmatch(name):
        raise BadValueError(f"{name!r} is not a name; use 1 to 64 of the letters a-z, digits, '.', '_', '-'")
    return name


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadValueError(f"{_shown(value)} is not a yes or no; write true or false, without quotes")
    return value


def _integer_between(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise BadValueError(f"{_shown(value)} is not a whole number; write {least} to {most}, without quotes")
        if not least <= value <= most:
            raise BadValueError(f"{value} is out of range; write {least} to {most}")
        return value

    return read


def _one_of(value: object, known: tuple[str, ...], what: str, otherwise: str = "") -> str:
    text = _string(value, f'"{known[0]}"' if known else '"NAME"')
    if text in known:
        return text
    near = difflib.get_close_matches(text, known, n=1)
    if near:
        raise BadValueError(f"{text!r} is no {what}; did you mean {near[0]!r}?")
    raise BadValueError(f"{text!r} is no {what}; {otherwise.format(text) or 'write ' + ', '.join(known)}")


def _currency(value: object) -> str:
    code = _string(value, '"EUR"')
    exponent(code)
    return code


def _time_zone(value: object) -> str:
    return parse_time_zone(_string(value, '"Europe/Berlin"'))


def _unit(value: object) -> Unit:
    return _one_of(value, get_args(Unit), "unit")  # type: ignore[return-value]  # one of Unit's own values


def _rated_unit(value: object) -> RatedUnit:
    if value == "money":
        raise BadValueError("'money' has no price; write octets, seconds or session")
    return _one_of(value, get_args(RatedUnit), "unit")  # type: ignore[return-value]  # one of RatedUnit's own values


def _tier_mode(value: object) -> TierMode:
    return _one_of(value, get_args(TierMode), "mode")  # type: ignore[return-value]  # one of its own


def _accumulation(value: object) -> Accumulation:
    return _one_of(value, get_args(Accumulation), "accumulation")  # type: ignore[return-value]  # one of its own


def _period(value: object) -> Period:
    return _one_of(value, get_args(Period), "period")  # type: ignore[return-value]  # one of its own


def _every(value: object) -> Every:
    text = _string(value, '"1 month"').strip()
    match = re.fullmatch(r"(?:([0-9]{1,5}) *)?(hour|day|week|month|year)s?", text)
    if match is None:
        raise BadValueError(f"{text!r} is no period; write for example 1 month, 30 days, 1 week, 1 day or 1 hour")
    unit, times = _EVERY[match[2]]
    count = int(match[1] or "1") * times
    if not 1 <= count <= MAX_EVERY[unit]:
        raise BadValueError(f"{text!r}: a period is 1 to {MAX_EVERY[unit]} {unit}s")
    return Every(count, unit)


def _renewal(value: object) -> Renewal:
    return _one_of(value, get_args(Renewal), "renewal")  # type: ignore[return-value]  # one of its own


def _begins(value: object) -> Begins:
    return _one_of(value, get_args(Begins), "beginning")  # type: ignore[return-value]  # one of its own


def _proration(value: object) -> Proration:
    return _one_of(value, get_args(Proration), "proration")  # type: ignore[return-value]  # one of its own


def _spell(value: object) -> Spell:
    return _one_of(value, get_args(Spell), "period")  # type: ignore[return-value]  # one of its own


def _beyond(value: object) -> Beyond:
    return _one_of(value, get_args(Beyond), "action at the maximum")  # type: ignore[return-value]  # one of its own


def _list(value: object, example: str) -> list[object]:
    """A list, or one entry of it."""
    entries = value if isinstance(value, list) else [value]
    if not entries:
        raise BadValueError(f"an empty list holds nothing; write for example {example}, or leave the line out")
    if len(entries) > MAX_ENTRIES:
        raise BadValueError(f"{len(entries)} entries; the most is {MAX_ENTRIES}")
    return entries


def _names(value: object, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    names = [_one_of(each, known, what, f"write [{what}.{{}}] for it") for each in _list(value, f'["{what}"]')]
    return tuple(dict.fromkeys(names))


def _days(value: object) -> tuple[int, ...]:
    found: set[int] = set()
    for each in _list(value, '["mon-fri"]'):
        text = _string(each, '"mon-fri"').lower()
        first, _, last = text.partition("-")
        if first not in _WEEKDAYS or (last or first) not in _WEEKDAYS:
            raise BadValueError(f"{text!r} is no weekday; write mon, tue, wed, thu, fri, sat, sun or mon-fri")
        begin, end = _WEEKDAYS.index(first), _WEEKDAYS.index(last or first)
        found |= {day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)}
    return tuple(sorted(found))


def _hours(value: object) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for each in _list(value, '["22:00-06:00"]'):
        text = _string(each, '"22:00-06:00"')
        match = re.fullmatch(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})", text)
        ends = None if match is None else [int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])]
        if match is None or ends is None or max(int(match[2]), int(match[4])) > 59 or max(ends) > DAY_MINUTES:
            raise BadValueError(
                f'{text!r} are no hours; write for example "08:00-18:00", or "22:00-06:00" over midnight'
            )
        if ends[0] == DAY_MINUTES or ends[0] == ends[1]:
            raise BadValueError(f"{text!r} is no time at all; write 00:00-24:00 for a whole day")
        found.append((ends[0], ends[1]))
    return tuple(found)


def _dates(value: object) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for each in _list(value, '["12-25"]'):
        if isinstance(each, date):
            found.append((each.isoformat()[:10], each.isoformat()[:10]))
            continue
        text = _string(each, '"12-25"')
        first, _, last = text.partition(" to ")
        last = last or first
        if not all(map(_is_day, (first, last))) or len(first) != len(last):
            raise BadValueError(f'{text!r} is no date; write "2026-12-24", "12-25" for every year, or "12-24 to 12-26"')
        if last < first and len(first) == len("2026-12-24"):
            raise BadValueError(f"{text!r} ends before it begins; write {last} to {first}")
        found.append((first, last))
    return tuple(found)


def _is_day(text: str) -> bool:
    if not re.fullmatch(r"([0-9]{4}-)?[0-9]{2}-[0-9]{2}", text):
        return False
    try:
        date.fromisoformat(text if len(text) > len("12-25") else f"2024-{text}")  # a leap year has all days
    except ValueError:
        return False
    return True


def _date(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    text = _string(value, '"2026-12-24"')
    if len(text) != len("2026-12-24") or not _is_day(text):
        raise BadValueError(f"{text!r} is no day; write for example 2026-12-24")
    return date.fromisoformat(text)


def _patterns(value: object) -> tuple[str, ...]:
    return tuple(_text(each) for each in _list(value, '["NAME"]'))


def _service_classes(value: object) -> tuple[str, ...]:
    return tuple(_one_of(each, SERVICE_CLASSES, "service class") for each in _list(value, '["framed"]'))


def _discount(value: object) -> int:
    percent = value if isinstance(value, int) and not isinstance(value, bool) else None
    if percent is None:
        percent = amounts.parse_percent(_string(value, '"10%"'))
    if not 1 <= percent <= 100:
        raise BadValueError(f"{percent}% is no discount; write 1% to 100%")
    return percent


def _direction(value: object) -> Direction:
    return _one_of(value, get_args(Direction), "direction")  # type: ignore[return-value]  # one of Direction's own


def _action(value: object) -> Action:
    return _one_of(value, get_args(Action), "action")  # type: ignore[return-value]  # one of Action's own


def _rounding_mode(value: object) -> RoundingMode:
    return _one_of(value, get_args(RoundingMode), "rounding")  # type: ignore[return-value]  # one of its own


def _direction_of(table: Table, unit: Unit | RatedUnit | None) -> Direction:
    direction: Direction = table.take("direction", _direction, "total")
    if unit not in ("octets", None) and direction != "total":
        what = "sessions" if unit == "session" else unit
        table.fault("direction", f"{what} have no direction; remove this line, or write total")
        return "total"
    return direction


def _number_or_text(value: object, parse: Callable[[str], T], example: str) -> T:
    """TOML integers are plain numbers of the smallest unit; a float would lose digits and is refused."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise BadValueError(f"{value} is negative; write for example {example}")
        return parse(str(value))
    if not isinstance(value, str):
        raise BadValueError(f'{_shown(value)}: write it in quotes, for example "{example}"')
    return parse(value)


def _units(unit: Unit | RatedUnit | None, most: int) -> Callable[[object], int]:
    """A positive number of octets, seconds or sessions, at most `most`. With an unknown unit nothing can be said: 1."""

    def read(value: object) -> int:
        if unit is None:
            return 1
        if unit == "session":
            return _integer_between(1, most)(int(value) if isinstance(value, str) and value.isdigit() else value)
        if unit == "seconds":
            count, shown = _number_or_text(value, amounts.parse_seconds, "1m"), amounts.format_seconds(most)
        else:
            count, shown = _number_or_text(value, amounts.parse_octets, "1MB"), amounts.format_octets(most)
        if count == 0:
            raise BadValueError(
                f"{_shown(value)}: must be more than 0; write for example {'1s' if unit == 'seconds' else '1kB'}"
            )
        if count > most:
            raise BadValueError(f"{_shown(value)} is too large; the most is {shown}")
        return count

    return read


def _amount(unit: Unit | None, currency: str) -> Callable[[object], int]:
    """The amount of an allowance; money with the currency's own decimals."""
    if unit != "money":
        return _units(unit, MAX_AMOUNT)

    def read(value: object) -> int:
        if currency not in EXPONENTS:
            return 1
        micros = _number_or_text(value, lambda text: parse_money(text, currency), "10.00")
        if micros == 0:
            raise BadValueError(f"{_shown(value)}: must be more than 0; write for example 10.00")
        return micros

    return read


def _price(currency: str) -> Callable[[object], int]:
    """Micros of a price or fee; with an unknown currency, which is a fault of its own, the digits are still read."""

    def read(value: object) -> int:
        known = currency if currency in EXPONENTS else "EUR"
        micros = _number_or_text(value, lambda text: parse_price_text(text, known), "0.02")
        if micros > MAX_PRICE_MICROS:
            raise BadValueError(f"{_shown(value)} is too large; the most is {MAX_PRICE_MICROS // 1_000_000}")
        return micros

    return read


def _rate_bps(value: object) -> int:
    rate_bps = _number_or_text(value, amounts.parse_rate, "20M")
    if rate_bps == 0:
        raise BadValueError("a rate of 0 means 'no limit' to many devices; write at least 1k, or leave the line out")
    if rate_bps < 1_000:
        raise BadValueError(f"{_shown(value)} is less than 1 kbit/s; write for example 64k")
    if rate_bps > MAX_RATE_BPS:
        raise BadValueError(f"{_shown(value)} is too fast; the most is {amounts.format_rate(MAX_RATE_BPS)}")
    return rate_bps


def _seconds(value: object) -> int:
    return _number_or_text(value, amounts.parse_seconds, "30m")


def _interim_interval(value: object) -> int:
    seconds = _seconds(value)
    if seconds < MIN_INTERIM_INTERVAL_SECONDS:
        raise BadValueError(f"{_shown(value)} is too short for many devices; write 1m or more")
    if seconds > MAX_INTERIM_INTERVAL_SECONDS:
        raise BadValueError(f"{_shown(value)} is too long to charge in real time; write 24h or less")
    return seconds


def _timeout(value: object) -> int:
    seconds = _seconds(value)
    if not 1 <= seconds <= MAX_TIMEOUT_SECONDS:
        raise BadValueError(
            f"{_shown(value)}: a timeout is 1 to {MAX_TIMEOUT_SECONDS} seconds; leave it out for no limit"
        )
    return seconds


def _validity(value: object) -> Duration:
    duration = _number_or_text(value, amounts.parse_duration, "30 days")
    if duration == Duration():
        raise BadValueError(f"{_shown(value)} is no time at all; write for example 30 days or 1 month")
    return duration


def _vlan(value: object) -> int:
    return _integer_between(1, 4_094)(value)


def _max_sessions(value: object) -> int | None:
    if value == "unlimited":
        return None
    if isinstance(value, str):
        raise BadValueError(f'{value!r} is not a number of sessions; write for example 2, or "unlimited"')
    return _integer_between(1, 10_000)(value)


def _url(value: object) -> str:
    text = _text(value)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable or " " in text or not text.isascii():
        raise BadValueError(f"{text!r} is not a web address; write for example https://pay.example.net/")
    return text


def _texts(read: Callable[[object], str]) -> Callable[[object], tuple[str, ...]]:
    """One text, or a list of them."""

    def texts(value: object) -> tuple[str, ...]:
        return tuple(read(item) for item in (value if isinstance(value, list) else [value]))

    return texts


def _login_hours(value: object) -> str:
    return hours(_string(value, '"Mon-Fri 18:00-24:00"'))


def _attribute_values(value: object) -> tuple[str, ...]:
    """One attribute's values: text or a number, or a list of them for an attribute that is sent several times."""
    items = value if isinstance(value, list) else [value]
    return tuple(_text(str(item) if isinstance(item, int) and not isinstance(item, bool) else item) for item in items)


def _thresholds(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise BadValueError(f'{_shown(value)} is not a list; write for example ["80%", "95%"]')
    percents = tuple(
        item if isinstance(item, int) and not isinstance(item, bool) else amounts.parse_percent(_string(item, '"80%"'))
        for item in value
    )
    for percent in percents:
        if not 1 <= percent <= 100:
            raise BadValueError(f"{percent}% is no threshold; write 1% to 100%")
    if percents != tuple(sorted(set(percents))):
        right = ", ".join(f'"{percent}%"' for percent in sorted(set(percents)))
        raise BadValueError(f"thresholds must rise; write [{right}]")
    return percents
