"""The end of a bucket: what is left of it goes to the counter-account `expired`, never just away."""

from __future__ import annotations

from typing import Final

from charging.book import Book
from charging.buckets import Bucket
from charging.enforcement import exhaust, renew
from charging.notices.kinds import Facts
from charging.plan import Instant

EXPIRED: Final = "expired"


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
