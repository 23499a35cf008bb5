"""An account as it was at a moment: what its rows, of which none is ever changed, say of that time. Reads, changes nothing.

A bucket's balance then is what had come and gone by transfers, less what reports had drawn: usage is debited when it is
reported, and posted to the ledger later, so its postings are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, exists, func, or_, select

from charging.ledger import bucket_named
from charging.plan import Instant
from charging.tables import bucket, command, nas, notice, plan_version, session, transfer, usage_line

#: How much of what had just happened is told.
MOST_EVENTS: Final = 20


class BucketThen(NamedTuple):
    """A bucket that could be drawn at the moment."""

    bucket_id: int
    name: str
    unit: str
    source: str
    balance: int
    expires_at: Instant | None


class SessionThen(NamedTuple):
    """A session that was live at the moment."""

    session_id: int
    username: str
    nas: str | None
    plan: str
    created_at: Instant
    octets_up: int
    octets_down: int
    seconds: int
    last_report_at: Instant | None
    told: str | None
    """What its NAS had last been told: `profile (top-up)`, `disconnect (exhausted)`; None: nothing since the login."""
    answer: str | None
    """What the NAS had said to it by then; None: nothing."""


class Event(NamedTuple):
    """Something that had happened."""

    at: Instant
    what: str
    session_id: int | None
    words: str


class Then(NamedTuple):
    """The account at the moment."""

    buckets: list[BucketThen]
    sessions: list[SessionThen]
    before: list[Event]
    """The last things up to the moment, the newest first."""
    after: list[Event]
    """The first things after it."""


def then(connection: Connection, account_id: int, at: Instant) -> Then:
    """The account as it was at the end of the millisecond `at`."""
    return Then(
        _buckets(connection, account_id, at),
        _sessions(connection, account_id, at),
        _events(connection, account_id, at, after=False),
        _events(connection, account_id, at, after=True),
    )


def _buckets(connection: Connection, account_id: int, at: Instant) -> list[BucketThen]:
    b, t, u, s = bucket.c, transfer.c, usage_line.c, session.c
    balances: dict[int, int] = {}
    # Of a session whose usage lines retention has removed only the postings are known.
    whole = exists().where(s.account_id == t.account_id, s.session_id == t.session_id, s.removed_line_no == 0)
    moved = select(t.debit, t.credit, func.sum(t.amount)).where(
        t.account_id == account_id, t.recorded_at <= at, or_(t.kind.not_in(("usage", "credit")), ~whole)
    )
    for debit, credit, amount in connection.execute(moved.group_by(t.debit, t.credit)):
        for name, sign in ((debit, -1), (credit, 1)):
            bucket_id = bucket_named(name)
            if bucket_id is not None:
                balances[bucket_id] = balances.get(bucket_id, 0) + sign * int(amount)
    of_whole = exists().where(s.account_id == u.account_id, s.session_id == u.session_id, s.removed_line_no == 0)
    drawn = select(u.draws).where(u.account_id == account_id, u.recorded_at <= at, u.draws != "[]", of_whole)
    for draws in connection.execution_options(yield_per=1000).execute(drawn).scalars():
        for bucket_id, _, amount in json.loads(draws):
            balances[bucket_id] = balances.get(bucket_id, 0) - amount
    usable = (
        select(b.bucket_id, b.name, b.unit, b.source, b.expires_at)
        .where(b.account_id == account_id, b.created_at <= at, b.valid_from <= at)
        .where(or_(b.expires_at.is_(None), b.expires_at > at))
        .order_by(b.unit == "money", b.bucket_id)
    )
    return [
        BucketThen(row.bucket_id, row.name, row.unit, row.source, balances.get(row.bucket_id, 0), row.expires_at)
        for row in connection.execute(usable)
    ]


def _sessions(connection: Connection, account_id: int, at: Instant) -> list[SessionThen]:
    s, u, c = session.c, usage_line.c, command.c
    live = (
        select(s.session_id, s.username, nas.c.name.label("nas"), plan_version.c.plan_name, s.created_at)
        .join(plan_version, plan_version.c.plan_version_id == s.plan_version_id)
        .outerjoin(nas, nas.c.nas_id == s.nas_id)
        .where(s.account_id == account_id, s.created_at <= at, or_(s.closed_at.is_(None), s.closed_at > at))
        .order_by(s.session_id)
    )
    found = []
    for row in connection.execute(live).all():
        own = and_(u.account_id == account_id, u.session_id == row.session_id, u.recorded_at <= at)
        meter = connection.execute(
            select(
                func.coalesce(func.max(u.octets_up_to), 0),
                func.coalesce(func.max(u.octets_down_to), 0),
                func.coalesce(func.max(u.seconds_to), 0),
                func.max(u.recorded_at),
            ).where(own)
        ).one()
        told = connection.execute(
            select(c.action, c.reason, c.answer, c.state, c.finished_at)
            .where(c.account_id == account_id, c.session_id == row.session_id, c.created_at <= at)
            .order_by(c.version.desc(), c.command_id.desc())
            .limit(1)
        ).first()
        heard = told is not None and told.finished_at is not None and told.finished_at <= at
        found.append(
            SessionThen(
                row.session_id, row.username, row.nas, row.plan_name, row.created_at, *meter,
                None if told is None else f"{told.action} ({told.reason})",
                (told.answer or told.state) if told is not None and heard else None,
            )
        )  # fmt: skip
    return found


def _events(connection: Connection, account_id: int, at: Instant, *, after: bool) -> list[Event]:
    """The nearest things on one side of the moment."""
    n, c, t, s = notice.c, command.c, transfer.c, session.c

    def near(table: Any, moment: Any, columns: Iterable[Any]) -> list[Any]:
        side = moment > at if after else moment <= at
        order = moment if after else moment.desc()
        chosen = select(moment.label("at"), *columns).where(table.c.account_id == account_id, side)
        return list(connection.execute(chosen.order_by(order).limit(MOST_EVENTS)).all())

    events = [
        Event(r.at, "notice", r.session_id, f"{r.kind}: {r.detail}")
        for r in near(notice, n.created_at, (n.session_id, n.kind, n.detail))
    ]
    events += [
        Event(r.at, "command", r.session_id, f"{r.action} ({r.reason}): {r.state}, {r.answer or '-'}")
        for r in near(command, c.created_at, (c.session_id, c.action, c.reason, c.state, c.answer))
    ]
    events += [
        Event(r.at, "transfer", r.session_id, f"{r.kind} {r.debit} > {r.credit}: {r.amount} {r.unit} ({r.reference})")
        for r in near(transfer, t.recorded_at, (t.session_id, t.kind, t.debit, t.credit, t.amount, t.unit, t.reference))
    ]
    events += [
        Event(r.at, "login", r.session_id, r.username) for r in near(session, s.created_at, (s.session_id, s.username))
    ]
    closed = near(session, s.closed_at, (s.session_id, s.username, s.close_reason))
    events += [Event(r.at, "closed", r.session_id, f"{r.username}: {r.close_reason}") for r in closed]
    return sorted(events, key=lambda event: event.at, reverse=not after)[:MOST_EVENTS]
