"""What is drawn first, and how far it reaches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from charging.money import MAX_AMOUNT, Rounding
from charging.plan import Direction, Instant, Lines, Plan, Rate, Unit
from charging.tariff import Position, cost, in_steps, left_out, price, quota, reach

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
    scope: str = ""
    """When, where and for whom it may be drawn, as `scope` reads it; empty: always, everywhere, for all of the account."""
    subscriber_id: int | None = None
    """Whose period it ends with, or whose rhythm."""
    rolled: int = 0
    """Into how many further periods it went over."""
    every: str = ""
    """The rhythm in which its allowance is granted anew, `1 day`; empty: it has none of its own."""
    closed_at: Instant | None = None
    """When its time was over and what was left went to `expired`."""


class Usage(NamedTuple):
    """Octets in both directions and seconds: what was used, or what may be."""

    up: int
    down: int
    seconds: int


class Rated(NamedTuple):
    """What a price line has charged in one session so far."""

    units: int
    micros: int


_NOTHING_COUNTED: Final[Mapping[int, int]] = {}


class Coverage(NamedTuple):
    """What pays for a usage, and what nothing pays for."""

    draws: list[tuple[Bucket, int]]
    """Buckets in draw order with what each gives, money buckets last."""
    rated: dict[int, Rated]
    """Per price line touched: its new totals in this session."""
    money: int
    """The part of `draws` that is money, micros, less `credit`."""
    uncovered: Usage
    credit: int = 0
    """Micros to be given back: a volume tier has made cheaper what was paid before."""
    refused: bool = False
    """The price of the session itself is not paid, so nothing is."""


class Drawn(Protocol):
    """What decides when a bucket is drawn."""

    @property
    def bucket_id(self) -> int: ...
    @property
    def priority(self) -> int: ...
    @property
    def blocker(self) -> bool: ...
    @property
    def expires_at(self) -> Instant | None: ...
    @property
    def created_at(self) -> Instant: ...


def draw_order(bucket: Drawn) -> tuple[bool, int, Instant, Instant, int]:
    """What is drawn first: blocker, then priority (lower first), then earlier expiry, then earlier creation; the id breaks a tie."""
    expires_at = NEVER if bucket.expires_at is None else bucket.expires_at
    return (not bucket.blocker, bucket.priority, expires_at, bucket.created_at, bucket.bucket_id)


def is_purse(bucket: Bucket) -> bool:
    """Is this the money bucket that every account begins with? Top-ups go to it, and the credit limit is its own: a
    bucket that a plan gave, whatever its name, or that was paid in for a time, may expire, and with it a debt."""
    return bucket.unit == "money" and bucket.source == "top-up" and bucket.expires_at is None


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
    lines: Lines | None = None,
    counted: Mapping[int, int] = _NOTHING_COUNTED,
) -> Coverage:
    """Spread `usage` over `buckets` (usable ones, in draw order) and price what they leave by the plan's lines.

    A bucket of the usage's own unit goes before money. `available` says what a bucket may give; `rated` is what this
    session has been charged per price line so far; `credit_micros` is what the money buckets may go below zero.
    `lines` are those that price this use (all of the plan); `counted` says what lines that count over a period have
    counted in it. For what has not been used yet, `plan` is `Plan.ahead`.
    """
    draws: list[tuple[Bucket, int]] = []
    if plan.prices_sessions:
        return _cover_session(plan, usage, buckets, available, rated, credit_micros, lines or plan.lines, counted)
    uncovered, blocked = _from_own_units(charged_part(plan, usage), buckets, available, draws)
    if not plan.rates or not any(uncovered):
        return Coverage(draws, {}, 0, uncovered)
    purse = _purse(buckets, available, credit_micros)
    if lines is None:
        lines = plan.lines
    new_rated, micros, uncovered = _by_rates(plan, uncovered, blocked, rated, purse, lines, counted)
    if micros > 0:
        draws += _from_money(buckets, available, micros)
    elif micros:
        return Coverage(draws, new_rated, micros, uncovered, -micros)
    return Coverage(draws, new_rated, micros, uncovered)


def _purse(buckets: Sequence[Bucket], available: Callable[[Bucket], int], credit_micros: int) -> int:
    """What money there is, as far as an amount of it can be written down."""
    purse = sum(available(b) + (credit_micros if is_purse(b) else 0) for b in buckets if b.unit == "money")
    return purse if purse < MAX_AMOUNT else MAX_AMOUNT


def _cover_session(
    plan: Plan,
    usage: Usage,
    buckets: Sequence[Bucket],
    available: Callable[[Bucket], int],
    rated: dict[int, Rated],
    credit_micros: int,
    lines: Lines,
    counted: Mapping[int, int],
) -> Coverage:
    """Where the session itself has a price: it is paid first, or nothing is."""
    draws: list[tuple[Bucket, int]] = []
    purse = _purse(buckets, available, credit_micros)
    new_rated: dict[int, Rated] = {}
    entrance = 0
    for index, rate in lines:
        if rate.unit == "session" and not rated.get(index, _NOTHING_RATED).units:
            units, micros = _affordable(plan, rate, _NOTHING_RATED, 1, purse - entrance, counted.get(index, 0))
            if not units:
                return Coverage([], {}, 0, charged_part(plan, usage), refused=True)
            entrance += micros
            new_rated[index] = Rated(1, micros)
    uncovered, blocked = _from_own_units(charged_part(plan, usage), buckets, available, draws)
    used, micros, uncovered = _by_rates(plan, uncovered, blocked, rated, purse - entrance, lines, counted)
    micros += entrance
    if micros > 0:
        draws += _from_money(buckets, available, micros)
    return Coverage(draws, new_rated | used, micros, uncovered, max(-micros, 0))


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
    plan: Plan,
    usage: Usage,
    blocked: frozenset[Unit],
    rated: dict[int, Rated],
    purse: int,
    lines: Lines,
    counted: Mapping[int, int],
) -> tuple[dict[int, Rated], int, Usage]:
    """Price a usage by the plan's lines as far as `purse` micros reach: the lines' new totals, micros, what is left."""
    up, down, seconds = usage
    new_rated: dict[int, Rated] = {}
    micros = 0
    for index, rate in lines:
        if rate.unit in blocked:
            continue
        if rate.unit == "seconds":
            units = seconds
        elif rate.unit == "session":
            continue
        else:
            units = (up if rate.direction != "down" else 0) + (down if rate.direction != "up" else 0)
        before = rated.get(index, _NOTHING_RATED)
        units, spent = _affordable(plan, rate, before, units, purse - micros, counted.get(index, 0))
        if not units:
            continue
        micros += spent
        new_rated[index] = Rated(before.units + units, before.micros + spent)
        if rate.unit == "seconds":
            seconds -= units
        else:
            from_down = min(units, down) if rate.direction != "up" else 0
            down -= from_down
            up -= units - from_down
    return new_rated, micros, Usage(up, down, seconds)


def paid_in_full(rate: Rate, rounding: Rounding, before: Rated, units: int, purse: int) -> int | None:
    """What `units` more cost at this point of the session by a line without a maximum that counts the session alone; None
    where a purse does not pay for all of them, or where something comes back."""
    try:
        micros = price(rate, before.units + units, rounding) - before.micros
    except OverflowError:
        return None
    return micros if 0 <= micros <= purse else None


def _affordable(plan: Plan, rate: Rate, before: Rated, units: int, purse: int, counted: int) -> tuple[int, int]:
    """How many of `units` a purse pays for at this point of the session, and their cost."""
    if not units:
        return 0, 0
    rounding = plan.rounding if before.micros else plan.first_rounding
    if not rate.plain:
        owed = 0 if rounding is plan.rounding else left_out(rate, counted, plan.rounding)
        return _affordable_in_tiers(rate, rounding, before, units, purse - owed, counted, owed)
    try:
        spent = price(rate, before.units + units, rounding) - before.micros
    except OverflowError:  # more than any purse holds
        spent = MAX_AMOUNT + 1
    if spent > purse:
        units = max(0, min(units, quota(rate, before.micros + max(purse, 0), rounding) - before.units))
        spent = price(rate, before.units + units, rounding) - before.micros if units else 0
    return units, spent


def _affordable_in_tiers(
    rate: Rate, rounding: Rounding, before: Rated, units: int, purse: int, counted: int, owed: int
) -> tuple[int, int]:
    at = Position(
        before.units, in_steps(rate, before.units) if rate.accumulate == "session" else counted, before.micros
    )
    if rate.maximum_micros is None or rate.beyond == "free":
        spent = cost(rate, at, units, rounding)
        if spent <= purse:
            return units, spent + owed
    units = min(units, reach(rate, at, purse if owed else max(purse, 0), rounding))
    return units, cost(rate, at, units, rounding) + owed if units else 0


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
