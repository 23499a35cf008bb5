"""The end of a bucket: what is left of it goes to the counter-account `expired`, never just away."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from charging.book import Book
from charging.buckets import Bucket
from charging.enforcement import exhaust, renew
from charging.notices.kinds import Facts
from charging.plan import Instant, RollOver

EXPIRED: Final = "expired"
ROLL_OVER: Final = "roll-over"


def expire(book: Book, bucket: Bucket, at: Instant, now: Instant) -> set[int]:
    """Close a bucket whose time was over at `at`; the sessions that held something of it."""
    holders = set[int]()
    for charge in book.charges.values():
        if charge.bucket_id == bucket.bucket_id and charge.held:
            bucket.held -= charge.held
            charge.held = 0
            book.changed_charges.add((charge.session_id, charge.bucket_id, charge.unit))
            holders.add(charge.session_id)
    left = bucket.balance
    if left:
        reference = f"bucket:{bucket.bucket_id}"
        book.move(bucket, EXPIRED, -left, EXPIRED, reference, now, "server", effective_at=at)
    bucket.closed_at = at
    if bucket.expires_at is None or bucket.expires_at > at:
        bucket.expires_at = at  # its period has ended before its time
    book.revise_bucket(bucket)
    return holders


def expire_paid(book: Book, bucket: Bucket, at: Instant, now: Instant) -> set[int]:
    """`expire` for what no period ends: the subscriber hears of what he loses."""
    if bucket.balance > 0:
        facts: Facts = {"bucket": bucket.name, "unit": bucket.unit, "left": bucket.balance, "expires_at": at}
        book.notify(EXPIRED, f"{bucket.name}: {bucket.balance} {bucket.unit} left", now, bucket=bucket, facts=facts)
    return expire(book, bucket, at, now)


def roll_over(
    book: Book, buckets: list[Bucket], rule: RollOver, until: Instant, at: Instant, now: Instant, actor: str
) -> None:
    """Move what may go over into buckets that last until then, the youngest first: it lasts longest."""
    old = sorted((b for b in buckets if b.rolled < rule.periods and b.balance > 0), key=lambda b: b.rolled)
    total = sum(b.balance for b in old)
    if total < rule.minimum:
        return
    room = total if rule.maximum is None else min(total, rule.maximum)
    for bucket in old:
        amount = min(bucket.balance, room)
        if not amount:
            break
        room -= amount
        carried = replace(
            bucket, bucket_id=book.fresh_bucket_id(), balance=0, held=0, granted=amount, low_water_marks="", marks_passed=0,
            valid_from=at, expires_at=until, rolled=bucket.rolled + 1, closed_at=None,
        )  # fmt: skip
        reference = f"bucket:{bucket.bucket_id}"
        book.move(bucket, "rollover", -amount, ROLL_OVER, reference, now, actor, effective_at=at)
        book.add_bucket(carried)
        book.move(carried, "rollover", amount, ROLL_OVER, reference, now, actor, effective_at=at)


def hold_again(book: Book, holders: set[int], now: Instant) -> None:
    """Give sessions whose hold has ended with its bucket another one, and those who may use nothing any more the plan's
    exhausted action."""
    for session in book.live_sessions():
        if session.wanted != "full":
            continue
        if session.session_id in holders or not book.serves(session.subscriber_id):
            plan = book.plans(session.plan_version_id)
            if not renew(book, session, plan, now):
                exhaust(book, session, plan, now)
