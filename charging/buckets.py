"""What is drawn first, and how far it reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from charging.money import Rounding
from charging.plan import Direction, Instant, Plan, Rate, Unit
from charging.tariff import price, quota

#: Draws past everything that could pay: consumed, but not covered. It is no bucket's number.
SHORTFALL: Final = 0
NEVER: Final = 2**63 - 1


@dataclass(slots=True)
class Bucket:
    """A row of the bucket table. `balance` and `held` are rewritten by every report."""

    account_id: int
    bucket_id: int
    name: str
    unit: Unit
    direction: Direction
    balance: int
    held: int
    granted: int
    low_water_marks: str
    marks_passed: int
    priority: int
    blocker: bool
    source: str
    valid_from: Instant
    expires_at: Instant | None
    created_at: Instant


class Usage(NamedTuple):
    """Octets in both directions and seconds: what was used, or what may be."""

    up: int
    down: int
    seconds: int


class Rated(NamedTuple):
    """What a price line has charged in one session so far."""

    units: int
    micros: int


class Coverage(NamedTuple):
    """What pays for a usage, and what nothing pays for."""

    draws: list[tuple[Bucket, int]]
    """Buckets in draw order with what each gives, money buckets last."""
    rated: dict[int, Rated]
    """Per price line touched: its new totals in this session."""
    money: int
    """The part of `draws` that is money, micros."""
    uncovered: Usage


def draw_order(bucket: Bucket) -> tuple[bool, int, Instant, Instant, int]:
    """Blocker, then priority (lower first), then earlier expiry, then earlier creation; the id breaks a tie."""
    expires_at = NEVER if bucket.expires_at is None else bucket.expires_at
    return (not bucket.blocker, bucket.priority, expires_at, bucket.created_at, bucket.bucket_id)


def is_purse(bucket: Bucket) -> bool:
    """Is this the money bucket that every account begins with? Top-ups go to it, and the credit limit is its own: a
    bucket that a plan gave, whatever its name, may expire, and with it a debt."""
    return bucket.unit == "money" and bucket.source == "top-up"


def usable(buckets: Sequence[Bucket], now: Instant) -> list[Bucket]:
    """Those valid now, in draw order."""
    valid = [b for b in buckets if b.valid_from <= now and (b.expires_at is None or b.expires_at > now)]
    if len(valid) > 1:
        valid.sort(key=draw_order)
    return valid


def charged_part(plan: Plan, usage: Usage) -> Usage:
    """The part of a usage that this plan counts at all."""
    directions = plan.charged_directions
    total = "total" in directions
    return Usage(
        usage.up if total or "up" in directions else 0,
        usage.down if total or "down" in directions else 0,
        usage.seconds if "seconds" in plan.charged_units else 0,
    )


def cover(
    plan: Plan,
    usage: Usage,
    buckets: Sequence[Bucket],
    available: Callable[[Bucket], int],
    rated: dict[int, Rated],
    credit_micros: int,
) -> Coverage:
    """Spread `usage` over `buckets` (usable ones, in draw order) and price what they leave by the plan's lines.

    A bucket of the usage's own unit goes before money. `available` says what a bucket may give; `rated` is what this
    session has been charged per price line so far; `credit_micros` is what the money buckets may go below zero.
    """
    draws: list[tuple[Bucket, int]] = []
    uncovered, blocked = _from_own_units(charged_part(plan, usage), buckets, available, draws)
    if not plan.rates or not any(uncovered):
        return Coverage(draws, {}, 0, uncovered)
    purse = sum(available(b) + (credit_micros if is_purse(b) else 0) for b in buckets if b.unit == "money")
    new_rated, micros, uncovered = _by_rates(plan, uncovered, blocked, rated, purse)
    if micros:
        draws += _from_money(buckets, available, micros)
    return Coverage(draws, new_rated, micros, uncovered)


def _from_own_units(
    usage: Usage, buckets: Sequence[Bucket], available: Callable[[Bucket], int], draws: list[tuple[Bucket, int]]
) -> tuple[Usage, frozenset[Unit]]:
    """Add to `draws` what buckets of octets and seconds give; what they leave, and the units that a blocker closes:
    behind one, only other blockers give."""
    up, down, seconds = usage
    blocked: frozenset[Unit] = _NOTHING_BLOCKED
    for bucket in buckets:
        unit = bucket.unit
        if unit == "money" or (unit in blocked and not bucket.blocker):
            continue
        if bucket.blocker:
            blocked |= {unit}
        room = available(bucket)
        if room <= 0:
            continue
        if unit == "octets":
            from_down = min(room, down) if bucket.direction != "up" else 0
            from_up = min(room - from_down, up) if bucket.direction != "down" else 0
            down -= from_down
            up -= from_up
            taken = from_down + from_up
        else:
            taken = min(room, seconds)
            seconds -= taken
        if taken:
            draws.append((bucket, taken))
    return Usage(up, down, seconds), blocked


def _by_rates(
    plan: Plan, usage: Usage, blocked: frozenset[Unit], rated: dict[int, Rated], purse: int
) -> tuple[dict[int, Rated], int, Usage]:
    """Price a usage by the plan's lines as far as `purse` micros reach: the lines' new totals, micros, what is left."""
    up, down, seconds = usage
    new_rated: dict[int, Rated] = {}
    micros = 0
    for index, rate in enumerate(plan.rates):
        if rate.unit in blocked:
            continue
        if rate.unit == "seconds":
            units = seconds
        else:
            units = (up if rate.direction != "down" else 0) + (down if rate.direction != "up" else 0)
        before = rated.get(index, _NOTHING_RATED)
        units, cost = _affordable(rate, plan.rounding, before, units, purse - micros)
        if not units:
            continue
        micros += cost
        new_rated[index] = Rated(before.units + units, before.micros + cost)
        if rate.unit == "seconds":
            seconds -= units
        else:
            from_down = min(units, down) if rate.direction != "up" else 0
            down -= from_down
            up -= units - from_down
    return new_rated, micros, Usage(up, down, seconds)


def _affordable(rate: Rate, rounding: Rounding, before: Rated, units: int, purse: int) -> tuple[int, int]:
    """How many of `units` a purse pays for at this point of the session, and their cost."""
    if not units:
        return 0, 0
    cost = price(rate, before.units + units, rounding) - before.micros
    if cost > purse:
        units = max(0, min(units, quota(rate, before.micros + max(purse, 0), rounding) - before.units))
        cost = price(rate, before.units + units, rounding) - before.micros if units else 0
    return units, cost


_NOTHING_BLOCKED: Final[frozenset[Unit]] = frozenset()
_NOTHING_RATED: Final = Rated(0, 0)


def _from_money(buckets: Sequence[Bucket], available: Callable[[Bucket], int], micros: int) -> list[tuple[Bucket, int]]:
    """`micros` from the money buckets in order; the purse may go below zero, as far as there is credit."""
    draws: list[tuple[Bucket, int]] = []
    for bucket in buckets:
        if bucket.unit != "money":
            continue
        taken = min(max(available(bucket), 0), micros)
        if taken:
            draws.append((bucket, taken))
            micros -= taken
    if micros:
        # Only the credit limit lets a price through that the buckets do not hold.
        purse = next(b for b in buckets if is_purse(b))
        before = sum(amount for bucket, amount in draws if bucket is purse)
        draws = [(bucket, amount) for bucket, amount in draws if bucket is not purse]
        draws.append((purse, before + micros))
    return draws


def read_rated(text: str) -> dict[int, Rated]:
    """`line:units:micros` separated by spaces, as the session row keeps it."""
    if not text:
        return {}
    parts = (part.split(":") for part in text.split(" "))
    return {int(line): Rated(int(units), int(micros)) for line, units, micros in parts}


def write_rated(rated: dict[int, Rated]) -> str:
    """The inverse of `read_rated`."""
    return " ".join(f"{line}:{r.units}:{r.micros}" for line, r in sorted(rated.items()))
