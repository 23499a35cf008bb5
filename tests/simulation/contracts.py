"""The auditor's own arithmetic of what is sold by periods: what each costs and brings, what a change of plans gives back,
what a pause moves, what goes over into the next period.

It believes what operators arranged, and reads the plans' own texts; of the server's code it knows nothing.
"""

from __future__ import annotations

import json
from calendar import monthrange
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Final, NamedTuple, Protocol

Rows = Callable[..., list[tuple[Any, ...]]]
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
NEVER: Final = 2**63
#: What is sold somewhere else than in UTC.
AHEAD_OF_UTC_MS: Final = {"UTC": 0, "Pacific/Fiji": 12 * HOUR_MS}
#: How far the nodes' clocks are apart, and the slowest of their jobs.
CLOCKS_MS: Final = 2_000
JOBS_MS: Final = 60_000


class Arranged(Protocol):
    """Something that an operator arranged for a subscriber, and that was not refused."""

    @property
    def at(self) -> int: ...
    @property
    def username(self) -> str: ...
    @property
    def what(self) -> str:
        """`now` or `period-end`: another plan; `pause`, `resume`."""

    @property
    def plan(self) -> str: ...
    @property
    def until(self) -> int | None: ...
    @property
    def reference(self) -> str: ...


class Row(NamedTuple):
    """A period that was paid."""

    start: int
    end: int
    number: int
    plan: dict[str, Any]
    price: int
    reference: str


class Moved(NamedTuple):
    """A transfer."""

    debit: str
    credit: str
    unit: str
    amount: int
    effective_at: int


Transfers = dict[tuple[int, str, str], list[Moved]]
"""By account, kind and reference."""


@dataclass
class Contract:
    """A subscriber, his periods in their order, and what was arranged for him."""

    account: int
    subscriber: int
    username: str
    plan: dict[str, Any]
    """Now."""
    active: bool
    rows: list[Row]
    arranged: list[Arranged]

    @property
    def who(self) -> str:
        return f"subscriber {self.username}"

    def paused_ms(self, row: Row) -> int:
        """How long the clock of a period stood still; NEVER while it does."""
        following = min((other.start for other in self.rows if other.start > row.start), default=NEVER)
        total = 0
        for begin, end in self._pauses():
            if row.start <= begin < min(row.end + total, following):
                total += end - begin
        return min(total, NEVER)

    def _pauses(self) -> Iterator[tuple[int, int]]:
        for index, each in enumerate(self.arranged):
            if each.what == "pause":
                ends = [other.at for other in self.arranged[index + 1 :] if other.what == "resume"]
                yield each.at, min([NEVER, *ends, *([] if each.until is None else [each.until])])

    def end_of(self, row: Row) -> int:
        """When it is over, if nobody changes the plan before."""
        return min(row.end + self.paused_ms(row), NEVER)

    def changed_between(self, begin: int, end: int) -> bool:
        """Has the plan been changed at once then?"""
        return any(each.what == "now" and begin < each.at <= end for each in self.arranged)

    def running_at(self, at: int) -> Row | None:
        """The period that a change at that moment ends."""
        before = [row for row in self.rows if row.start < at]
        if not before or at >= self.end_of(before[-1]) or self.changed_between(before[-1].start, at - 1):
            return None
        return before[-1]


def audit(rows: Rows, arranged: Sequence[Arranged], now: int) -> Iterator[str]:
    """What is wrong, in words."""
    plans = {json.loads(text)["name"]: json.loads(text) for (text,) in rows("SELECT content FROM plan_version")}
    versions = {number: json.loads(text) for number, text in rows("SELECT plan_version_id, content FROM plan_version")}
    transfers: Transfers = defaultdict(list)
    by_rhythm = {f"bucket:{row[0]}" for row in rows("SELECT bucket_id FROM bucket WHERE every <> ''")}
    for account, kind, reference, *moved in rows(
        "SELECT account_id, kind, reference, debit, credit, unit, amount, effective_at FROM transfer "
        "WHERE kind IN ('renewal', 'grant', 'proration', 'roll-over', 'expired', 'reversal')"
    ):
        if kind != "grant" or moved[1] not in by_rhythm:
            transfers[account, kind, reference].append(Moved(*moved))
    periods = defaultdict(list)
    for subscriber, start, end, number, version, price, reference in rows(
        "SELECT subscriber_id, start_at, end_at, number, plan_version_id, price_micros, reference "
        "FROM subscription_period ORDER BY subscriber_id, start_at"
    ):
        periods[subscriber].append(Row(start, end, number, versions[version], price, reference))
    contracts = [
        Contract(
            account, subscriber, username, plans[name], status == account_status == "active", periods[subscriber],
            [each for each in arranged if each.username == username],
        )
        for account, subscriber, username, name, status, account_status in rows(
            "SELECT u.account_id, u.subscriber_id, u.username, u.plan_name, u.status, a.status FROM subscriber AS u "
            "JOIN account AS a ON a.account_id = u.account_id ORDER BY u.subscriber_id"
        )
    ]  # fmt: skip
    yield from _what_was_paid(contracts, transfers)
    yield from _what_went_over(rows, contracts, plans, transfers)
    yield from _what_is_over(rows, now)
    yield from _who_is_served(rows, contracts, plans, now)


# --- what was paid, and what came for it ---------------------------------------------------------------------------------


def _what_was_paid(contracts: Sequence[Contract], transfers: Transfers) -> Iterator[str]:
    prices: dict[tuple[int, str], int] = defaultdict(int)
    brought: dict[tuple[int, str], Counter[tuple[str, int]]] = defaultdict(Counter)
    refunds: dict[tuple[int, str], tuple[int, int]] = {}
    for each in contracts:
        whole = 0
        for index, row in enumerate(each.rows):
            change = next((one for one in each.arranged if one.reference == row.reference), None)
            running = None if change is None else each.running_at(change.at)
            part, whole = _part_of(each, row, running, whole)
            right, end = _price(row), _after(row.start, row.plan)
            if running is not None and whole:
                right, end = _rounded(right * part, row.plan["rounding"]), each.end_of(running)
            if (row.price, row.end) != (right, end):
                words = f"cost {row.price} until {row.end}, right is {right} until {end}"
                yield f"{each.who}: period {row.number} of {row.plan['name']} {words}"
            yield from _follows(each, each.rows[index - 1] if index else None, row, change)
            prices[each.account, row.reference] += row.price
            brought[each.account, row.reference].update(_brings(row, part))
        for one in each.arranged:
            running = each.running_at(one.at) if one.what == "now" else None
            if running is not None:
                refunds[each.account, one.reference] = _refund(each, running, one.at)
    for account, reference in {(a, r) for a, kind, r in transfers if kind == "renewal"} | set(prices):
        paid = sum(each.amount for each in transfers.get((account, "renewal", reference), ()))
        if paid != prices[account, reference]:
            yield f"{reference}: paid {paid} for its periods, they cost {prices[account, reference]}"
    for (account, reference), expected in brought.items():
        came = Counter((each.unit, each.amount) for each in transfers.get((account, "grant", reference), ()))
        if came != expected:
            yield f"{reference} brought {dict(came)}, right is {dict(expected)}"
    for account, reference in {(a, r) for a, kind, r in transfers if kind == "proration"} | set(refunds):
        given = sum(each.amount for each in transfers.get((account, "proration", reference), ()))
        least, most = refunds.get((account, reference), (0, 0))
        if not least <= given <= most:
            yield f"{reference} gave back {given}, right is {least} to {most}"


def _part_of(each: Contract, row: Row, running: Row | None, whole: int) -> tuple[Fraction, int]:
    """The part of a whole period that a change has bought, and how long the whole one is; 1 and 0 where it is itself one.
    `whole`: of the row before."""
    if running is None or not _same_rhythm(running.plan, row.plan):
        return Fraction(1), 0
    end, whole = each.end_of(running), whole or running.end - running.start
    return Fraction(min(end - row.start, whole), whole), whole


def _brings(row: Row, part: Fraction) -> list[tuple[str, int]]:
    """Units and amounts of the allowances."""
    return [
        (each["unit"], each["amount"] if each.get("periods") == 1 else max(int(each["amount"] * part), 1))
        for each in row.plan["allowances"]
        if not each.get("every") and _is_granted(each, row)
    ]


def _follows(each: Contract, previous: Row | None, row: Row, change: Arranged | None) -> Iterator[str]:
    """A period follows the one before at once, or when its grace is over; its number goes on where the plan does."""
    if previous is None or change is not None or each.changed_between(previous.start, row.start):
        return
    end = each.end_of(previous)
    grace = previous.plan["period"]["grace_seconds"] * 1000
    if row.start < end or end < row.start < end + grace - CLOCKS_MS:
        yield f"{each.who}: a period begins at {row.start}, the one before ended at {end}, with a grace of {grace}"
    number = previous.number + 1 if previous.plan["name"] == row.plan["name"] else 1
    if row.number != number:
        yield f"{each.who}: a period of {row.plan['name']} has the number {row.number}, right is {number}"


def _refund(each: Contract, row: Row, at: int) -> tuple[int, int]:
    """What a change gives back of a period, at least and at most."""
    rule = row.plan["period"]["proration"]
    if rule == "none":
        return 0, 0
    coin = 10 ** (6 - row.plan["rounding"]["decimals"])
    by_time = row.price * (each.end_of(row) - at) // ((row.end - row.start) * coin) * coin
    return (0 if rule == "unused" else by_time), by_time


def _price(row: Row) -> int:
    """Of a whole period of that number that begins then."""
    price: int = row.plan["period"]["price_micros"]
    for each in reversed(row.plan["period"]["promotions"]):
        if (each["periods"] is None or row.number <= each["periods"]) and _within(each, row.start):
            price = each["price_micros"]
    return price


def _is_granted(allowance: dict[str, Any], row: Row) -> bool:
    most = allowance.get("periods")
    return (most is None or row.number <= most) and _within(allowance, row.start)


def _within(each: dict[str, Any], at: int) -> bool:
    begin, end = each.get("valid_from"), each.get("valid_until")
    return (begin is None or begin <= at) and (end is None or at < end)


def _same_rhythm(before: dict[str, Any], after: dict[str, Any]) -> bool:
    kept = before["period"]["proration"] != "none"
    return bool(kept and before["period"]["every"] == after["period"]["every"])


def _after(start: int, plan: dict[str, Any]) -> int:
    """Where a whole period ends that begins then."""
    count, unit = plan["period"]["every"]["count"], plan["period"]["every"]["unit"]
    if unit != "month":
        return int(start + count * (HOUR_MS if unit == "hour" else DAY_MS))
    ahead = AHEAD_OF_UTC_MS[plan["time_zone"]]
    local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=start + ahead)
    months = local.year * 12 + local.month - 1 + count
    year, month = divmod(months, 12)
    day = min(local.day, monthrange(year, month + 1)[1])
    later = local.replace(year=year, month=month + 1, day=day)
    return start + (later - local) // timedelta(milliseconds=1)


def _rounded(micros: Fraction, rounding: dict[str, Any]) -> int:
    coin: int = 10 ** (6 - rounding["decimals"])
    whole, rest = divmod(micros, coin)
    if rounding["mode"] == "up":
        whole += rest > 0
    elif rounding["mode"] == "half-even":
        whole += 2 * rest > coin or (2 * rest == coin and whole % 2)
    return int(whole) * coin


# --- what is left of a period -------------------------------------------------------------------------------------------


def _what_went_over(
    rows: Rows, contracts: Sequence[Contract], plans: dict[str, dict[str, Any]], transfers: Transfers
) -> Iterator[str]:
    """At the end of a period goes over what its plan's rule says, into a period that brings the same; the rest expires."""
    over: dict[str, int] = defaultdict(int)
    left: dict[str, int] = defaultdict(int)
    taken_back = set()
    for (_, kind, _), moves in transfers.items():
        for each in moves:
            if kind == "roll-over" and each.credit == "rollover":
                over[each.debit] += each.amount
            elif kind == "expired":
                left[each.debit] += each.amount
            elif kind == "reversal":
                taken_back |= {each.debit, each.credit}
    by_subscriber = {each.subscriber: each for each in contracts}
    ended: dict[tuple[int, str, str, int, str], list[tuple[str, int]]] = defaultdict(list)
    for bucket, subscriber, name, unit, closed_at, source, rolled in rows(
        "SELECT bucket_id, subscriber_id, name, unit, closed_at, source, rolled FROM bucket "
        "WHERE subscriber_id IS NOT NULL AND closed_at IS NOT NULL AND every = ''"
    ):
        ended[subscriber, name, unit, closed_at, source].append((f"bucket:{bucket}", rolled))
    for (subscriber, name, unit, closed_at, source), buckets in ended.items():
        if any(bucket in taken_back for bucket, _ in buckets):
            continue
        rule = next(
            each.get("roll_over") for each in plans[source.partition(":")[2]]["allowances"] if each["name"] == name
        )
        went = sum(over[bucket] for bucket, _ in buckets)
        right = 0
        if rule is not None and _is_renewed(by_subscriber[subscriber], name, unit, closed_at):
            total = sum(over[bucket] + left[bucket] for bucket, rolled in buckets if rolled < rule["periods"])
            if total >= rule["minimum"]:
                right = total if rule["maximum"] is None else min(total, rule["maximum"])
        if went != right:
            who = by_subscriber[subscriber].who
            yield f"{who}: {went} {unit} of {name} went over at {closed_at}, right is {right}"


def _is_renewed(each: Contract, name: str, unit: str, at: int) -> bool:
    """Did the end of a bucket come with a new period that brings the same, and without a change at once?"""
    following = [row for row in each.rows if row.start <= at]
    if not following or any(one.what == "now" and one.at == at for one in each.arranged):
        return False
    row = following[-1]
    came = row.start == at or (len(following) > 1 and each.end_of(following[-2]) == row.start)
    brought = [(one["name"], one["unit"]) for one in row.plan["allowances"] if not one.get("every")]
    return came and (name, unit) in brought


def _what_is_over(rows: Rows, now: int) -> Iterator[str]:
    for bucket, end in rows(
        "SELECT bucket_id, expires_at FROM bucket WHERE closed_at IS NULL AND expires_at < ?", now - JOBS_MS
    ):
        yield f"bucket {bucket} was over at {end}, and is not closed"


def _who_is_served(
    rows: Rows, contracts: Sequence[Contract], plans: dict[str, dict[str, Any]], now: int
) -> Iterator[str]:
    """Who has paid for no period has no service; and who has the money for one has it."""
    money: dict[int, int] = defaultdict(int)
    for account, balance in rows(
        "SELECT account_id, sum(balance) FROM bucket WHERE unit = 'money' AND source = 'top-up' AND closed_at IS NULL "
        "AND (expires_at IS NULL OR expires_at > ?) GROUP BY account_id", now,
    ):  # fmt: skip
        money[account] += int(balance)
    for account, credit in rows("SELECT account_id, credit_limit_micros FROM account"):
        money[account] += credit
    served = {row[0] for row in rows("SELECT subscriber_id FROM session WHERE closed_at IS NULL AND wanted = 'full'")}
    for each in contracts:
        terms = each.plan.get("period")
        last = each.rows[-1] if each.rows else None
        if terms is None:
            continue
        paid = last is not None and not each.changed_between(last.start, now)
        paused = paid and last is not None and each.paused_ms(last) >= NEVER - last.end
        end = each.end_of(last) if paid and last is not None else 0
        grace = last.plan["period"]["grace_seconds"] * 1000 if paid and last is not None else 0
        if each.subscriber in served and (paused or end + grace < now - JOBS_MS):
            yield f"{each.who} is served, and what he has paid for was over at {end}"
        if last is None or not paid or paused or end >= now - JOBS_MS or not each.active:
            continue
        wanted = [one.plan for one in each.arranged if one.what == "period-end" and one.at >= last.start]
        plan = plans[wanted[-1]] if wanted else each.plan
        number = last.number + 1 if last.plan["name"] == plan["name"] else 1
        price = _price(last._replace(start=now, number=number, plan=plan)) if plan.get("period") else 0
        by_itself = terms["renewal"] == "automatic" or plan["name"] != last.plan["name"]
        if by_itself and money[each.account] >= price:
            yield f"{each.who}: no period since {end}, there are {money[each.account]} and it costs {price}"
