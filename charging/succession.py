"""A live session whose subscriber has another plan, or another version of it, from now on.

Each session has one version for all its life, so that every charge can be computed again. So the session is closed, and
another one goes on under the same login where its counters were left.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from charging.book import Book
from charging.buckets import read_rated, write_rated
from charging.enforcement import NOTHING_TOLD, exhaust, profile_of, reserve
from charging.plan import Instant, Plan
from charging.session import Session
from charging.slices import ALL, told

PLAN_CHANGED: Final = "plan-changed"


def succeed(book: Book, subscriber_id: int, plan_version_id: int, now: Instant) -> None:
    """Let a subscriber's live sessions go on under that version."""
    for session in book.live_sessions():
        # One that is to be cut ends as it is: the order for that is the session's own.
        mine = session.subscriber_id == subscriber_id and session.wanted != "cut"
        if mine and session.plan_version_id != plan_version_id:
            _succeed(book, session, plan_version_id, now)


def _succeed(book: Book, session: Session, plan_version_id: int, now: Instant) -> None:
    before, plan = book.plans(session.plan_version_id), book.plans(plan_version_id)
    opening = book.new_sessions.get(session.session_id) or book.openings.get(session.session_id)
    if opening is None:
        return  # nobody can say who it is; it goes on as it is, to its end
    applied = profile_of(before, session)
    successor = replace(
        session,
        session_id=book.new_id(),
        plan_version_id=plan_version_id,
        created_at=now,
        octets_up=0,
        octets_down=0,
        seconds=0,
        offset_up=session.offset_up - session.octets_up,
        offset_down=session.offset_down - session.octets_down,
        offset_seconds=session.offset_seconds - session.seconds,
        epoch_seconds=session.epoch_seconds - session.seconds if session.epoch or session.epoch_seconds else 0,
        rated=_carried(before, plan, session.rated),
        line_no=0,
        leaked_octets=0,
        posted_at=now,
        limit_octets=None,
        pace_permille=ALL,
        asked_interval_seconds=0,
        timeout_seconds=None,
        profile="",
        acked_profile="",
        review_at=None,
    )
    # Without `usage.close`: what it leaves is its successor's before anybody else's.
    book.end(session, PLAN_CHANGED, now)
    book.add_session(successor, opening)
    if reserve(book, successor, plan, now):
        said = told(successor)[:4]
        if successor.wanted != "full" or said != NOTHING_TOLD or applied != profile_of(plan, successor):
            book.command(successor, "full", PLAN_CHANGED, now)
    elif successor.wanted == "full" or before.exhausted != plan.exhausted:
        exhaust(book, successor, plan, now)
    elif successor.acked_version < successor.wanted_version:
        book.command(successor, "exhausted", successor.wanted_reason, now)


def _carried(before: Plan, after: Plan, rated: str) -> str:
    """What the session has been charged by price lines that are the same in both: they go on counting, so that no fee is
    paid twice."""
    if not rated:
        return ""
    same = {old: new for old, line in before.lines for new, other in after.lines if line == other}
    return write_rated({same[old]: each for old, each in read_rated(rated).items() if old in same})
