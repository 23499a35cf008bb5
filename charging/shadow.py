"""Shadow rating: what recorded use would have cost under another plan.

The same code charges as charges the living, on a book that nobody has: with the plan's allowances, granted anew whenever the
last of them has ended or as often as they say, and with money without end. So what comes out is what the plan asks for, not what a
subscriber could pay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from typing import NamedTuple

from charging import rating
from charging.book import Account, Book
from charging.buckets import Bucket, Coverage, Usage, cover, is_purse, read_rated, write_rated
from charging.money import MAX_AMOUNT
from charging.payment import Grant, grant, money_bucket
from charging.plan import Instant, Plan
from charging.rhythm import turn_on_paper
from charging.session import Session
from charging.zone import Place

_PURSE = 1
_SUBSCRIBER = 1


class Used(NamedTuple):
    """What one report of a session added."""

    session_id: int
    place: Place
    begun_at: Instant
    """Since when."""
    event_at: Instant
    usage: Usage
    micros: int
    """What it was charged."""


class Bill(NamedTuple):
    """A subscriber's use under two plans, without what either costs by the month."""

    charged_micros: int
    """As it was charged."""
    shadow_micros: int
    """As it would have been."""
    allowances_octets: int
    """Drawn from the other plan's allowances."""
    allowances_seconds: int
    periods: int
    """How often its allowances were granted; 0 where it has none."""


def shadow(plan: Plan, uses: Iterable[Used]) -> Bill:
    """Charge a subscriber's recorded use, in the order of time, as the plan would."""
    ids = count(_PURSE + 1)
    lasting = replace(plan, allowances=tuple(each for each in plan.allowances if each.every is None))
    book = Book(Account(1, plan.currency, "prepaid", 0, "active", 0, 0, ""), lambda: next(ids), lambda _: lasting)
    sessions: dict[int, Session] = {}
    before = would = periods = began = 0
    granted_until: Instant | None = 0
    gone: list[Bucket] = []
    for use in uses:
        if not book.buckets:
            began = use.begun_at
            book.add_bucket(money_bucket(1, _PURSE, use.begun_at)).balance = MAX_AMOUNT
        known = set(book.buckets)
        if lasting.allowances and granted_until is not None and use.event_at >= granted_until:
            granted_until = _grant(book, use.begun_at)
        if plan.recurring:
            gone += turn_on_paper(book, plan, _SUBSCRIBER, began, use.event_at)
        periods += not book.buckets.keys() <= known
        session = sessions.get(use.session_id)
        if session is None:
            session = sessions[use.session_id] = book.sessions[use.session_id] = session_of(use, _SUBSCRIBER)
        before += use.micros
        would += charged(book, session, plan, use).money
    drawn = {
        unit: sum(b.granted - b.balance for b in (*book.buckets.values(), *gone) if b.unit == unit and not is_purse(b))
        for unit in ("octets", "seconds")
    }
    return Bill(before, would, drawn["octets"], drawn["seconds"], periods)


def _grant(book: Book, at: Instant) -> Instant | None:
    """All allowances, from a moment on; until when, None: for ever."""
    before = set(book.buckets)
    grant(book, Grant(1, 1, "shadow", "shadow", _SUBSCRIBER), at)
    ends = [bucket.expires_at for key, bucket in book.buckets.items() if key not in before]
    return None if None in ends else max(end for end in ends if end is not None)


def charged(book: Book, session: Session, plan: Plan, use: Used) -> Coverage:
    """Charge what one report added, on a book of paper: what it draws is gone from the buckets, what a tier gives back is the
    caller's to give."""
    rated = read_rated(session.rated)
    # A bucket that has ended is not drawn any more.
    book.turn_page()
    credit = book.account.credit_limit_micros
    if book.is_plain(plan):
        found = cover(plan, use.usage, book.usable_buckets(use.event_at), _balance, rated, credit)
    else:
        span = (use.begun_at, use.event_at)
        found, counts, _ = rating.charge(book, session, plan, use.usage, span, rated, use.event_at)
        for counter, amount in counts.items():
            book.count(counter, amount)
    for bucket, amount in found.draws:
        bucket.balance -= amount
    session.rated = write_rated({**rated, **found.rated})
    return found


def _balance(bucket: Bucket) -> int:
    return bucket.balance


def session_of(use: Used, subscriber_id: int) -> Session:
    """A session on paper that begins with this use."""
    at, place = use.begun_at, use.place
    return Session(
        account_id=1, session_id=use.session_id, subscriber_id=subscriber_id, plan_version_id=1, nas_id=1, nas_address="",
        root_id=use.session_id, device_key="", session_key=None, acct_session_id=None, created_at=at, closed_at=None,
        close_reason=None, state="open", started_at=at, last_report_at=at, last_event_at=at, stale_at=at,
        interval_seconds=60, wanted="full", posted_at=at, nas_group=place.nas_group,
        called_station=place.called_station, realm=place.realm, service_class=place.service_class,
    )  # fmt: skip
