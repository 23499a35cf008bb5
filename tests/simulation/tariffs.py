"""Plans made up at random of everything that can be sold, beside the fixed ones: tiers of every kind, windows, zones, dates,
steps, fees, free units, minima, maxima that end a session, discounts, counts over a day, a week or a month, prices for the
session itself; allowances for some, for some of the time, up to a cap, every day anew, and such that let nothing else pay;
other speeds by the hour, by what was used, and beyond caps; periods of all lengths, with grace, promotions and what goes
over. Half of it is sold where all calendar periods end in the middle of a run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from charging.money import Rounding
from charging.period import Every
from charging.plan import (
    Allowance,
    Cap,
    Duration,
    Exhausted,
    FairUse,
    PeriodTerms,
    Plan,
    Profile,
    ProfileWindow,
    Promotion,
    Rate,
    RollOver,
    SpeedStep,
    Tier,
)
from charging.window import Window
from charging.zone import Zone
from tests.simulation.clock import BEGINNING

MB: Final = 1_000_000
GROUPS: Final = ("", "north", "south")
"""Of NASes."""
MOST_PLANS: Final = 3
ZONES: Final = {"UTC": 0, "Pacific/Fiji": 12 * 60}
"""Minutes ahead of UTC."""
_CRAWL: Final = Profile("crawl", rate_down_bps=128_000, rate_up_bps=64_000, interim_interval_seconds=60)
#: Minutes of the run in which windows begin.
_LAST_MINUTE = 18
_BEGINNING_MINUTE = BEGINNING // 60_000 % 1_440


def plans(chance: random.Random, slow: Profile) -> list[Plan]:
    """Some plans that nobody has sold before."""
    return [_plan(f"odd-{number}", chance, slow) for number in range(1, chance.randrange(2, MOST_PLANS + 1) + 1)]


def _plan(name: str, chance: random.Random, slow: Profile) -> Plan:
    time_zone = chance.choice(sorted(ZONES))
    windows = [_window(each, time_zone, chance) for each in ("early", "late", "fast")]
    zones = [Zone("north", nas_groups=("north",)), Zone("elsewhere", nas_groups=("sou*", "east"))]
    unit = chance.choice(["octets", "octets", "seconds"])
    rates: list[Rate] = []
    if chance.random() < 0.5:
        rates.append(replace(_rate("window", unit, chance), windows=_some(chance, ["early", "late"])))
    if chance.random() < 0.5:
        rates.append(replace(_rate("zone", unit, chance), zones=_some(chance, ["north", "elsewhere"])))
    if chance.random() < 0.3:
        until = BEGINNING + chance.randrange(3, 15) * 60_000
        rates.append(replace(_rate("promotion", unit, chance), discount_percent=50, valid_until=until))
    if chance.random() < 0.8:
        rates.append(_rate("otherwise", unit, chance))
    else:  # each direction by itself
        rates += [replace(_rate(way, "octets", chance), direction=way) for way in ("down", "up")]
    if chance.random() < 0.35:
        rates.insert(chance.randrange(len(rates) + 1), _visit(chance))
    terms = _terms(time_zone, chance) if chance.random() < 0.5 else None
    allowances = [_allowance(f"allowance-{n}", chance) for n in range(chance.randrange(4))]
    if terms is not None:
        allowances = [each if each.every is not None else _by_period(each, chance) for each in allowances]
    profile = Profile(f"{name}-line", rate_down_bps=10_000_000, rate_up_bps=4_000_000, interim_interval_seconds=60)
    return Plan(
        name, "EUR", time_zone, profile, allowances=tuple(allowances), rates=tuple(rates),
        exhausted=chance.choice([Exhausted("disconnect"), Exhausted("throttle", slow)]),
        max_sessions=chance.choice([1, 2, 3]),
        rounding=Rounding(chance.choice(["up", "down", "half-even"]), chance.choice([2, 4, 6])),
        windows=tuple(windows), zones=tuple(zones),
        profile_windows=(ProfileWindow("fast", _speed("fast", 16_000_000, 6_000_000)),) if chance.random() < 0.3 else (),
        fair_use=_fair_use(chance) if chance.random() < 0.3 else None,
        caps=_caps(chance, slow) if chance.random() < 0.4 else (), period=terms,
    )  # fmt: skip


def _window(name: str, time_zone: str, chance: random.Random) -> Window:
    """Some minutes of the run; one that goes on over midnight is two."""
    first = _BEGINNING_MINUTE + chance.randrange(_LAST_MINUTE) + ZONES[time_zone]
    last = first + chance.randrange(2, 10)
    if first < 1_440 < last:
        return Window(name, hours=((first, 1_440), (0, last - 1_440)))
    return Window(name, hours=((first % 1_440, (last - 1) % 1_440 + 1),))


def _speed(name: str, down_bps: int, up_bps: int) -> Profile:
    return Profile(name, rate_down_bps=down_bps, rate_up_bps=up_bps, interim_interval_seconds=60)


def _fair_use(chance: random.Random) -> FairUse:
    first = chance.randrange(5, 60) * MB
    second = first + chance.randrange(5, 60) * MB
    steps = (
        SpeedStep(first, _speed("fair", 3_000_000, 1_000_000)),
        SpeedStep(second, _speed("fairer", 1_000_000, 500_000)),
    )
    return FairUse(
        steps[: chance.randrange(1, 3)], chance.choice(["day", "week", "month"]), chance.choice(["total", "down"])
    )


def _caps(chance: random.Random, slow: Profile) -> tuple[Cap, ...]:
    """One or two, of whatever there is to count."""
    found = []
    for name in ("first", "second")[: chance.randrange(1, 3)]:
        unit = chance.choice(["octets", "octets", "seconds", "money"])
        amount = {"octets": chance.randrange(10, 80) * MB, "seconds": chance.randrange(60, 900), "money": 90_000}[unit]
        direction = chance.choice(["total", "down"]) if unit == "octets" else "total"
        reached = chance.choice([Exhausted("disconnect"), Exhausted("throttle", slow), Exhausted("throttle", _CRAWL)])
        found.append(Cap(name, unit, amount, chance.choice(["day", "week", "month"]), direction, reached))  # type: ignore[arg-type]
    return tuple(found)


def _some(chance: random.Random, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(chance.sample(names, chance.randrange(1, len(names) + 1)))


def _rate(name: str, unit: Any, chance: random.Random) -> Rate:
    """One price line: some MB, or some minutes, for a few cents."""
    size = MB if unit == "octets" else 10
    price = chance.choice([777, 3_001, 10_000])
    rate = Rate(
        unit, "total", price, size, chance.choice([1, size // 10, size]), name=name,
        fee_micros=chance.choice([0, 0, 30_000]), first_step=chance.choice([0, 0, 3 * size]),
        free=chance.choice([0, 0, 5 * size]), minimum_micros=chance.choice([0, 0, 20_000]),
        maximum_micros=chance.choice([None, None, 400_000]), discount_percent=chance.choice([0, 0, 15]),
    )  # fmt: skip
    if chance.random() < 0.25:
        rate = replace(rate, maximum_micros=chance.choice([60_000, 150_000]), beyond="disconnect")
    if chance.random() < 0.5:
        first = chance.randrange(1, 20) * size
        second = first + chance.randrange(1, 40) * size
        per = size if chance.random() < 0.7 else 3 * size
        tiers = (Tier(first, price, per), Tier(second, price * 2 // 3, per), Tier(None, price // 2, per))
        rate = replace(rate, tiers=tiers, mode=chance.choice(["graduated", "volume", "package", "flat"]))
    if chance.random() < 0.3:
        # A count over a day has no steps here: then its sum is the sum of what was used, however sessions share it.
        rate = replace(rate, accumulate=chance.choice(["day", "week", "month"]), step=1, first_step=0, fee_micros=0)
    return rate


def _terms(time_zone: str, chance: random.Random) -> PeriodTerms:
    """How it is sold by periods. The first one is mostly a gift, for it began before anybody has paid."""
    rhythms = [Every(1, "hour"), Every(1, "hour"), Every(12, "hour"), Every(1, "day"), Every(30, "day")]
    if ZONES[time_zone]:
        rhythms += [Every(1, "month")] * 3
    promotions = []
    if chance.random() < 0.8:
        promotions.append(Promotion(0, periods=1))
    if chance.random() < 0.5:
        promotions.append(Promotion(55_555, valid_until=BEGINNING + chance.randrange(2, 15) * 60_000))
    return PeriodTerms(
        chance.choice(rhythms), chance.choice([0, 100_000, 300_001]),
        renewal=chance.choice(["automatic", "automatic", "automatic", "manual"]),
        begins=chance.choice(["at-once", "at-once", "at-once", "first-use"]),
        grace_seconds=chance.choice([0, 90, 400]), remind_seconds=chance.choice([0, 180]),
        proration=chance.choice(["time", "time", "unused", "none"]), promotions=tuple(promotions),
    )  # fmt: skip


def began_at(plan: Plan, chance: random.Random) -> int:
    """When a subscriber's first period began, so that it ends in the first minutes of a run."""
    assert plan.period is not None
    end = BEGINNING + chance.randrange(60_000, 720_000)
    count, unit = plan.period.every.count, plan.period.every.unit
    if unit == "month":  # in Fiji, from 1 May
        return max(end, BEGINNING + 8 * 60_000 + 1_000) - 31 * 86_400_000
    return end - count * (3_600_000 if unit == "hour" else 86_400_000)


def _by_period(allowance: Allowance, chance: random.Random) -> Allowance:
    """What each period, or the first ones, bring, and what of it the next one has too."""
    amount = allowance.amount
    allowance = replace(allowance, periods=chance.choice([None, None, None, 1, 2]))
    if chance.random() < 0.3:
        allowance = replace(allowance, valid_until=BEGINNING + chance.randrange(15) * 60_000)
    if allowance.validity is None and allowance.periods != 1 and chance.random() < 0.6:
        minimum = chance.choice([0, 0, amount // 4])
        rule = RollOver(chance.choice([None, amount // 3]), minimum, chance.choice([1, 2]))
        allowance = replace(allowance, roll_over=rule)
    return allowance


def _visit(chance: random.Random) -> Rate:
    """The price of the session itself."""
    return Rate(
        "session", "total", chance.choice([40_000, 100_001]), 1, 1, name="visit",
        accumulate=chance.choice(["session", "day", "month"]), free=chance.choice([0, 0, 1]),
        discount_percent=chance.choice([0, 10]), maximum_micros=chance.choice([None, None, 150_000]),
        windows=chance.choice([(), (), _some(chance, ["early", "late"])]),
    )  # fmt: skip


def _allowance(name: str, chance: random.Random) -> Allowance:
    unit = chance.choice(["octets", "octets", "seconds", "money"])
    amount = {"octets": chance.randrange(5, 60) * MB, "seconds": chance.randrange(60, 900), "money": 300_000}[unit]
    allowance = Allowance(
        name, unit, chance.choice(["total", "down"]) if unit == "octets" else "total", amount,  # type: ignore[arg-type]
        priority=chance.randrange(3),
        validity=chance.choice([None, None, Duration(seconds=chance.randrange(5, 20) * 60)]),
        windows=chance.choice([(), (), _some(chance, ["early", "late"])]),
        zones=chance.choice([(), (), ("north",)]), blocker=unit != "money" and chance.random() < 0.2, shared=chance.random() < 0.7,
        member_cap=chance.choice([None, None, amount // 3]), member_cap_per=chance.choice([None, "day", "month"]),
    )  # fmt: skip
    # By a chance of its own, so that everything else stays what it is for a seed.
    own = random.Random(f"every/{name}/{amount}")
    if own.random() < 0.35:
        rolls = own.choice([None, RollOver(), RollOver(amount // 4, amount // 10)])
        allowance = replace(allowance, every=Every(1, "day"), validity=None, roll_over=rolls)
    return allowance
