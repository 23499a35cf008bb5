"""The tables' side of notices: their deliveries written down, leased, and answered; and what people ask of them.

A notice is routed once: who marks it has written its deliveries in the same transaction. A delivery is claimed by a lease, so
that of several nodes one sends it; the lease's epoch goes with every result, so that a node that slept through its lease
changes nothing any more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, text, tuple_, update

from charging.notices.kinds import NoticeKind
from charging.notices.letter import Letter
from charging.notices.routing import Reader, deliveries, is_urgent
from charging.notices.settings import Settings
from charging.plan import Instant
from charging.tables import account, notice, notice_delivery, subscriber

State = Literal["pending", "sent", "failed"]

#: How many notices one transaction routes.
MOST_ROUTED: Final = 200
#: Longer than any attempt may take.
LEASE_MS: Final = 120_000
MOST_ERROR_CHARACTERS: Final = 500

# Written out, not bound: else SQLite does not see that the index of pending deliveries will do.
_PENDING: Final = notice_delivery.c.state == text("'pending'")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a letter. `pending`: it is tried again, not before `not_before`."""

    letter: Letter
    state: State
    address: str | None
    error: str | None
    at: Instant
    not_before: Instant = 0
    attempted: bool = True
    """False: the lease is given back, nothing was tried."""


class DeliveryLine(NamedTuple):
    """One way that a notice goes, or went."""

    channel: str
    username: str | None
    state: State
    attempts: int
    address: str | None
    error: str | None
    not_before: Instant
    give_up_at: Instant
    created_at: Instant
    finished_at: Instant | None


class NoticeLine(NamedTuple):
    """A notice as operators see it."""

    account_id: int
    notice_id: int
    account: str
    currency: str
    username: str | None
    language: str | None
    session_id: int | None
    bucket_id: int | None
    kind: str
    detail: str
    facts: str
    created_at: Instant
    routed_at: Instant | None
    waiting: int
    sent: int
    failed: int


# --- the server's turn ---------------------------------------------------------------------------------------------


def route(connection: Connection, settings: Settings, now: Instant) -> int:
    """Write down the deliveries of the oldest notices that have none yet; how many notices. One that is older than what
    would be given up is let go."""
    n = notice.c
    key = tuple_(n.account_id, n.notice_id)
    waiting = select(n.account_id, n.notice_id).where(n.routed_at.is_(None)).order_by(n.created_at).limit(MOST_ROUTED)
    keys = sorted((row.account_id, row.notice_id) for row in connection.execute(waiting))
    if not keys:
        return 0
    taking = update(notice).where(key.in_(keys), n.routed_at.is_(None)).values(routed_at=now)
    taken = connection.execute(taking.returning(n.account_id, n.notice_id, n.subscriber_id, n.kind, n.created_at)).all()
    fresh = [row for row in taken if row.created_at + settings.give_up_seconds * 1000 > now]
    readers = _readers(connection, {row.account_id for row in fresh})
    rows = [
        {
            "account_id": row.account_id,
            "notice_id": row.notice_id,
            "channel": channel,
            "subscriber_id": reader,
            "urgent": is_urgent(row.kind, settings),
            "not_before": now,
            "give_up_at": now + settings.give_up_seconds * 1000,
            "created_at": now,
        }
        for row in fresh
        for channel, reader in deliveries(row.kind, row.subscriber_id, readers.get(row.account_id, ()), settings)
    ]
    if rows:
        connection.execute(insert(notice_delivery), rows)
    return len(taken)


def claim(
    connection: Connection, channel: str, node: str, now: Instant, most: int, *, urgent_only: bool
) -> list[Letter]:
    """Take the lease of up to `most` deliveries of a channel, those that have waited longest first."""
    d = notice_delivery.c
    free = [_PENDING, d.channel == channel, d.not_before <= now, d.lease_until < now]
    if urgent_only:
        free.append(d.urgent)
    key = tuple_(d.account_id, d.notice_id, d.subscriber_id)
    due = select(d.account_id, d.notice_id, d.subscriber_id).where(*free).order_by(d.not_before).limit(most)
    keys = sorted(tuple(row) for row in connection.execute(due))
    if not keys:
        return []
    leasing = (
        update(notice_delivery)
        .where(key.in_(keys), *free)
        .values(
            lease_node=node,
            lease_epoch=d.lease_epoch + 1,
            lease_until=now + LEASE_MS,
            attempts=d.attempts + 1,
        )
        .returning(d.account_id, d.notice_id, d.subscriber_id)
    )
    ours = [tuple(row) for row in connection.execute(leasing)]
    return _letters(connection, and_(d.channel == channel, key.in_(ours))) if ours else []


def store(connection: Connection, results: Sequence[Result]) -> None:
    """Write down what became of letters, in order of their key; what somebody else has leased since is left alone."""
    d = notice_delivery.c
    for result in sorted(results, key=lambda each: (each.letter.account_id, each.letter.notice_id)):
        letter = result.letter
        values: dict[str, Any] = {"lease_until": 0, "state": result.state}
        if result.attempted:
            values |= {
                "address": result.address,
                "error": None if result.error is None else result.error[:MOST_ERROR_CHARACTERS],
                "not_before": result.not_before or d.not_before,
                "finished_at": None if result.state == "pending" else result.at,
            }
        else:
            values["attempts"] = d.attempts - 1
        connection.execute(
            update(notice_delivery)
            .where(
                d.account_id == letter.account_id,
                d.notice_id == letter.notice_id,
                d.channel == letter.channel,
                d.subscriber_id == letter.subscriber_id,
                d.lease_epoch == letter.lease_epoch,
            )
            .values(values)
        )


def _readers(connection: Connection, account_ids: set[int]) -> dict[int, list[Reader]]:
    s = subscriber.c
    chosen = select(s.account_id, s.subscriber_id, s.email, s.phone).where(s.account_id.in_(sorted(account_ids)))
    found: dict[int, list[Reader]] = {}
    for account_id, subscriber_id, email, phone in connection.execute(chosen.order_by(s.subscriber_id)):
        found.setdefault(account_id, []).append(Reader(subscriber_id, email, phone))
    return found


def _letters(connection: Connection, which: ColumnElement[bool]) -> list[Letter]:
    d, n, a, s = notice_delivery.c, notice.c, account.c, subscriber.c
    chosen = (
        select(
            d.account_id, d.notice_id, d.channel, d.subscriber_id, d.lease_epoch, d.lease_until, d.attempts,
            d.give_up_at, a.name.label("account"), a.currency, n.kind, n.detail, n.facts, n.session_id, n.created_at,
            s.username, s.email, s.phone, s.language,
        )
        .join(notice, and_(n.account_id == d.account_id, n.notice_id == d.notice_id))
        .join(account, a.account_id == d.account_id)
        .outerjoin(subscriber, s.subscriber_id == d.subscriber_id)
        .where(which)
        .order_by(d.not_before, n.created_at)
    )  # fmt: skip
    return [Letter(**{**row, "facts": json.loads(row["facts"])}) for row in connection.execute(chosen).mappings().all()]


# --- what operators ask --------------------------------------------------------------------------------------------


def notices(
    connection: Connection,
    *,
    account_name: str | None = None,
    kind: str | None = None,
    state: State | None = None,
    notice_id: int | None = None,
    limit: int,
) -> list[NoticeLine]:
    """Notices, the newest first; with `state` those that have such a delivery."""
    n, d = notice.c, notice_delivery.c
    own = and_(d.account_id == n.account_id, d.notice_id == n.notice_id)

    def count(wanted: State) -> Any:
        return select(func.count()).where(own, d.state == wanted).scalar_subquery()

    others = {
        "account": account.c.name,
        "currency": account.c.currency,
        "username": subscriber.c.username,
        "language": subscriber.c.language,
        "waiting": count("pending"),
        "sent": count("sent"),
        "failed": count("failed"),
    }
    chosen = (
        select(*(others[name] if name in others else n[name] for name in NoticeLine._fields))
        .join(account, account.c.account_id == n.account_id)
        .outerjoin(subscriber, subscriber.c.subscriber_id == n.subscriber_id)
        .order_by(n.created_at.desc(), n.notice_id.desc())
        .limit(limit)
    )
    if account_name is not None:
        chosen = chosen.where(account.c.name == account_name)
    if kind is not None:
        chosen = chosen.where(n.kind == kind)
    if notice_id is not None:
        chosen = chosen.where(n.notice_id == notice_id)
    if state is not None:
        chosen = chosen.where(select(1).where(own, d.state == text(f"'{state}'")).exists())
    return [NoticeLine(*row) for row in connection.execute(chosen)]


def delivery_lines(connection: Connection, account_id: int, notice_id: int) -> list[DeliveryLine]:
    """The deliveries of a notice."""
    d = notice_delivery.c
    columns = [subscriber.c.username if name == "username" else d[name] for name in DeliveryLine._fields]
    chosen = (
        select(*columns)
        .outerjoin(subscriber, subscriber.c.subscriber_id == d.subscriber_id)
        .where(d.account_id == account_id, d.notice_id == notice_id)
        .order_by(d.channel, d.subscriber_id)
    )
    return [DeliveryLine(*row) for row in connection.execute(chosen)]


def retry(
    connection: Connection,
    now: Instant,
    give_up_at: Instant,
    *,
    notice_id: int | None = None,
    channel: str | None = None,
) -> int:
    """Have what failed tried again at once, of one notice, one channel, or all; how many deliveries."""
    d = notice_delivery.c
    changing = update(notice_delivery).where(d.state == text("'failed'"))
    if notice_id is not None:
        changing = changing.where(d.notice_id == notice_id)
    if channel is not None:
        changing = changing.where(d.channel == channel)
    values = {"state": "pending", "attempts": 0, "not_before": now, "give_up_at": give_up_at, "finished_at": None}
    return connection.execute(changing.values(values)).rowcount


def write(connection: Connection, kind: NoticeKind, account_id: int, subscriber_id: int | None, now: Instant) -> int:
    """A notice that no book's decision wrote: an operator's test; its id."""
    # Ids of the books come from the clock with 22 bits of chance behind it; within an account the newest tells the rest.
    newest = select(func.max(notice.c.notice_id)).where(notice.c.account_id == account_id)
    notice_id = (connection.execute(newest).scalar_one() or 0) + 1
    row = {
        "account_id": account_id,
        "notice_id": notice_id,
        "subscriber_id": subscriber_id,
        "kind": kind,
        "detail": "a test",
        "created_at": now,
    }
    connection.execute(insert(notice).values(row))
    return notice_id
