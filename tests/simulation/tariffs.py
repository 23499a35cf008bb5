"""Plans made up at random of everything that can be sold, beside the fixed ones: tiers of every kind, windows, zones, dates,
steps, fees, free units, minima, maxima that end a session, discounts, counts over a day, prices for the session itself;
allowances for some, for some of the time, up to a cap, and such that let nothing else pay."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from charging.money import Rounding
from charging.plan import Allowance, Duration, Exhausted, Plan, Profile, Rate, Tier
from charging.window import Window
from charging.zone import Zone
from tests.simulation.clock import BEGINNING

MB: Final = 1_000_000
GROUPS: Final = ("", "north", "south")
"""Of NASes."""
MOST_PLANS: Final = 3
#: Minutes of the day, UTC, around the time that a run takes (from noon for half an hour).
_FIRST_MINUTE, _LAST_MINUTE = 12 * 60, 12 * 60 + 18


def plans(chance: random.Random, slow: Profile) -> list[Plan]:
    """Some plans that nobody has sold before."""
    return [_plan(f"odd-{number}", chance, slow) for number in range(1, chance.randrange(2, MOST_PLANS + 1) + 1)]


def _plan(name: str, chance: random.Random, slow: Profile) -> Plan:
    windows = [_window("early", chance), _window("late", chance)]
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
    allowances = [_allowance(f"allowance-{n}", chance) for n in range(chance.randrange(4))]
    profile = Profile(f"{name}-line", rate_down_bps=10_000_000, rate_up_bps=4_000_000, interim_interval_seconds=60)
    return Plan(
        name, "EUR", "UTC", profile, allowances=tuple(allowances), rates=tuple(rates),
        exhausted=chance.choice([Exhausted("disconnect"), Exhausted("throttle", slow)]),
        max_sessions=chance.choice([1, 2, 3]),
        rounding=Rounding(chance.choice(["up", "down", "half-even"]), chance.choice([2, 4, 6])),
        windows=tuple(windows), zones=tuple(zones),
    )  # fmt: skip


def _window(name: str, chance: random.Random) -> Window:
    first = chance.randrange(_FIRST_MINUTE, _LAST_MINUTE)
    return Window(name, hours=((first, first + chance.randrange(2, 10)),))


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
        rate = replace(rate, accumulate="day", step=1, first_step=0, fee_micros=0)
    return rate


def _visit(chance: random.Random) -> Rate:
    """The price of the session itself."""
    return Rate(
        "session", "total", chance.choice([40_000, 100_001]), 1, 1, name="visit",
        accumulate=chance.choice(["session", "day"]), free=chance.choice([0, 0, 1]),
        discount_percent=chance.choice([0, 10]), maximum_micros=chance.choice([None, None, 150_000]),
        windows=chance.choice([(), (), _some(chance, ["early", "late"])]),
    )  # fmt: skip


def _allowance(name: str, chance: random.Random) -> Allowance:
    unit = chance.choice(["octets", "octets", "seconds", "money"])
    amount = {"octets": chance.randrange(5, 60) * MB, "seconds": chance.randrange(60, 900), "money": 300_000}[unit]
    return Allowance(
        name, unit, chance.choice(["total", "down"]) if unit == "octets" else "total", amount,  # type: ignore[arg-type]
        priority=chance.randrange(3),
        validity=chance.choice([None, None, Duration(seconds=chance.randrange(5, 20) * 60)]),
        windows=chance.choice([(), (), _some(chance, ["early", "late"])]),
        zones=chance.choice([(), (), ("north",)]), blocker=unit != "money" and chance.random() < 0.2, shared=chance.random() < 0.7,
        member_cap=chance.choice([None, None, amount // 3]), member_cap_per=chance.choice([None, "day"]),
    )  # fmt: skip
