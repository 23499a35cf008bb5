"""Allowances with a rhythm of their own: so much a day, a week, an hour, whatever the plan's periods are.

Each span has a bucket that ends with it. Then what is left goes over or expires, and the next span's is granted, in that
order and at that moment's date, however late it is done. A span that has begun goes on through a renewal, so nobody has
two of them, and none begins that is not paid for. By days, weeks and months they begin at midnight in the plan's zone,
counted from the day on which the subscriber's periods began.
"""

from __future__ import annotations

from dataclasses import replace

from charging.book import Book
from charging.buckets import Bucket
from charging.expiry import expire, roll_over
from charging.payment import grant_allowance, span_of
from charging.period import Period
from charging.plan import Allowance, Instant, Plan
from charging.subscription import Subscription, grants


def turn(
    book: Book,
    subscription: Subscription,
    plan: Plan | None,
    at: Instant,
    now: Instant,
    actor: str,
    reference: str,
    *,
    prorated: bool = False,
) -> set[int]:
    """End the spans that are over at that moment and begin those that `plan` (None: nothing) grants and that do not run yet;
    the sessions that held something of what has ended. `prorated`: only what the rest of a span is worth."""
    ending: list[Bucket] = []
    running = set[tuple[str, str]]()
    for bucket in buckets_of(book, subscription.subscriber_id):
        if bucket.expires_at is not None and bucket.expires_at <= at:
            ending.append(bucket)
        else:
            running.add((bucket.name, bucket.unit))
    beginning: list[tuple[Plan, Allowance, Period]] = []
    if plan is not None:
        beginning = [
            (plan, each, span_of(plan, each, subscription.anchor_at, at))
            for each in plan.recurring
            if (each.name, each.unit) not in running and grants(each, subscription.number, subscription.start_at)
        ]
    for _, each, span in beginning:
        if each.roll_over is not None:
            old = [b for b in ending if (b.name, b.unit) == (each.name, each.unit)]
            roll_over(book, old, each.roll_over, span.end, at, now, actor)
    holders = set[int]()
    for bucket in ending:
        holders |= expire(book, bucket, at, now)
    for sold, each, span in beginning:
        amount = each.amount
        if prorated:
            amount = max(amount * (span.end - at) // (span.end - span.start), 1)
        given = replace(each, amount=amount)
        bucket = grant_allowance(book, sold, given, subscription.subscriber_id, at, subscription.anchor_at)
        book.move(bucket, f"grant:{sold.name}", amount, "grant", reference, now, actor, effective_at=at)
    return holders


def turn_on_paper(book: Book, plan: Plan, subscriber_id: int, anchor: Instant, at: Instant) -> list[Bucket]:
    """`turn` for a book that nobody has, without a ledger and without roll-over: the buckets that are gone."""
    ended = [b for b in buckets_of(book, subscriber_id) if b.expires_at is not None and b.expires_at <= at]
    for bucket in ended:
        del book.buckets[bucket.bucket_id]
    running = {(bucket.name, bucket.unit) for bucket in buckets_of(book, subscriber_id)}
    for each in plan.recurring:
        if (each.name, each.unit) not in running:
            grant_allowance(book, plan, each, subscriber_id, at, anchor).balance = each.amount
    return ended


def buckets_of(book: Book, subscriber_id: int) -> list[Bucket]:
    """The open buckets of a subscriber's rhythms, the oldest first."""
    mine = (b for b in book.buckets.values() if b.every and b.subscriber_id == subscriber_id and b.closed_at is None)
    return sorted(mine, key=lambda b: (b.created_at, b.name, b.bucket_id))
