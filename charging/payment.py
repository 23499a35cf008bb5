"""What comes in: top-ups and plan allowances, each a transfer, and what they set free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from charging.auto_top_up import paid
from charging.book import MONEY_BUCKET, Book
from charging.buckets import Bucket
from charging.enforcement import reconsider
from charging.money import MAX_AMOUNT
from charging.period import Period, period_of
from charging.plan import Allowance, Duration, Instant, Plan, Unit
from charging.scope import scope_of

TOP_UP_BUCKET = "top-up"
TOO_MUCH = "amount: the balance would be larger than 2^63"


@dataclass(frozen=True, slots=True)
class TopUp:
    """A row of the billing inbox, read and found good: micros, octets or seconds for an account."""

    account_id: int
    top_up_id: int
    unit: Unit
    amount: int
    reference: str
    """`<source>:<external_ref>`"""
    actor: str
    validity: Duration | None = None
    """How long it lasts; None: for ever."""
    request_id: int | None = None
    """The account's top-up request that it answers."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A plan's allowances for a new subscriber."""

    account_id: int
    plan_version_id: int
    reference: str
    actor: str
    subscriber_id: int | None = None
    """Who it is for, where an allowance is not shared."""


class Income(NamedTuple):
    """An amount that comes in from a counter-account, until when it lasts (None: for ever), and what the ledger calls it."""

    unit: Unit
    amount: int
    expires_at: Instant | None
    counter_account: str
    kind: str


class Applied(NamedTuple):
    """Money came in; the account's balance in that unit afterwards."""

    balance: int


class NotApplied(NamedTuple):
    """Why a top-up was not taken."""

    reason: str


def top_up(book: Book, payment: TopUp, now: Instant) -> Applied | NotApplied:
    """Book a payment and restore what it can restore."""
    if payment.request_id is not None and payment.request_id != book.account.auto_request_id:
        return NotApplied(f"request_id: the account has no open top-up request {payment.request_id}")
    expires_at = None if payment.validity is None else payment.validity.after(now, "UTC")
    income = Income(payment.unit, payment.amount, expires_at, "cash", "top-up")
    came = pay_in(book, income, payment.reference, payment.actor, now)
    if isinstance(came, Applied) and payment.request_id is not None:
        paid(book, payment.reference, now)
    return came


def pay_in(book: Book, income: Income, reference: str, actor: str, now: Instant) -> Applied | NotApplied:
    """Move what came in to the bucket of its unit and expiry, and restore what it can restore."""
    bucket = bucket_for(book, income.unit, income.expires_at, now)
    if bucket.balance + income.amount > MAX_AMOUNT:
        return NotApplied(TOO_MUCH)
    book.move(bucket, income.counter_account, income.amount, income.kind, reference, now, actor)
    reset_marks(bucket)
    reconsider(book, income.kind, now)
    return Applied(sum(b.balance for b in book.usable_buckets(now) if b.unit == income.unit))


def extended(expires_at: Instant, extends: Duration, time_zone: str, now: Instant) -> Instant:
    """When a service ends that a payment of now extends; never earlier than before."""
    return max(expires_at, extends.after(now, time_zone))


def grant(book: Book, item: Grant, now: Instant) -> Applied:
    """Fill a bucket for each of the plan's allowances."""
    plan = book.plans(item.plan_version_id)
    for allowance in plan.allowances:
        bucket = grant_allowance(book, plan, allowance, item.subscriber_id, now)
        book.move(bucket, f"grant:{plan.name}", allowance.amount, "grant", item.reference, now, item.actor)
    reconsider(book, "grant", now)
    return Applied(0)


def grant_allowance(
    book: Book, plan: Plan, allowance: Allowance, subscriber_id: int | None, now: Instant, anchor: Instant | None = None
) -> Bucket:
    """The new bucket of an allowance, still empty. `anchor`: what its rhythm is counted from; None: from now."""
    bucket = _allowance_bucket(book, plan, allowance, subscriber_id, now)
    if allowance.every is not None:
        anchor = now if anchor is None else anchor
        bucket.every, bucket.subscriber_id = str(allowance.every), subscriber_id
        bucket.expires_at = span_of(plan, allowance, anchor, now).end
    return book.add_bucket(bucket)


def span_of(plan: Plan, allowance: Allowance, anchor: Instant, at: Instant) -> Period:
    """The span of its rhythm that a moment lies in."""
    assert allowance.every is not None
    return period_of(anchor, allowance.every, plan.time_zone, at, from_midnight=True)


def money_bucket(account_id: int, bucket_id: int, now: Instant) -> Bucket:
    """The bucket that an account begins with."""
    return _empty(account_id, bucket_id, MONEY_BUCKET, "money", now)


def reset_marks(bucket: Bucket) -> None:
    """After a balance rose, marks below it may be crossed again."""
    if bucket.low_water_marks:
        bucket.marks_passed = sum(1 for mark in bucket.low_water_marks.split(" ") if bucket.balance <= int(mark))


def paid_bucket(book: Book, unit: Unit, expires_at: Instant | None) -> Bucket | None:
    """The bucket of what was paid in of that unit and expiry, where there is one."""
    for bucket in book.buckets.values():
        if bucket.unit == unit and bucket.source == "top-up" and bucket.expires_at == expires_at:
            return bucket
    return None


def bucket_for(book: Book, unit: Unit, expires_at: Instant | None, now: Instant) -> Bucket:
    """The bucket for what is paid in; a new one where there is none of that unit and expiry."""
    if unit == "money" and expires_at is None:
        return book.money_bucket()
    known = paid_bucket(book, unit, expires_at)
    if known is not None:
        return known
    bucket = _empty(book.account.account_id, book.new_id(), TOP_UP_BUCKET, unit, now)
    bucket.expires_at = expires_at
    return book.add_bucket(bucket)


def _empty(account_id: int, bucket_id: int, name: str, unit: Unit, now: Instant) -> Bucket:
    return Bucket(
        account_id=account_id,
        bucket_id=bucket_id,
        name=name,
        unit=unit,
        direction="total",
        balance=0,
        held=0,
        granted=0,
        low_water_marks="",
        marks_passed=0,
        priority=0,
        blocker=False,
        source="top-up",
        valid_from=now,
        expires_at=None,
        created_at=now,
    )


def _allowance_bucket(book: Book, plan: Plan, allowance: Allowance, subscriber_id: int | None, now: Instant) -> Bucket:
    left = (allowance.amount * (100 - percent) // 100 for percent in sorted(plan.thresholds_percent))
    bucket = _empty(book.account.account_id, book.fresh_bucket_id(), allowance.name, allowance.unit, now)
    bucket.direction = allowance.direction
    bucket.granted = allowance.amount
    bucket.low_water_marks = " ".join(str(mark) for mark in left)
    bucket.priority = allowance.priority
    bucket.blocker = allowance.blocker
    bucket.source = f"allowance:{plan.name}"
    bucket.scope = scope_of(plan, allowance, subscriber_id)
    if allowance.validity is not None:
        bucket.expires_at = allowance.validity.after(now, plan.time_zone)
    return bucket
