"""Notices of what ends by the clock alone: a bucket that was paid in for a time, and a subscriber's service.

They have no transaction that causes them, so a job writes them, on any number of nodes. Their ids follow from what ends,
not from chance: the second node's row is the first one's, and nobody hears twice.
"""

from __future__ import annotations

import json
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, and_, bindparam, exists, literal, select

from charging.bulk import sets
from charging.notices.kinds import NoticeKind
from charging.plan import Instant
from charging.tables import bucket, notice, subscriber

#: In one transaction.
MOST_AT_ONCE: Final = 500
#: What has ended is told within this time, or not any more.
STILL_NEWS_MS: Final = 86_400_000
#: Where the ids of everything begin (settle): these have the end's time in front, as others have that of their writing.
_EPOCH_MS: Final = 1_735_689_600_000
_COLUMNS: Final = ("account_id", "notice_id", "bucket_id", "subscriber_id", "kind", "detail", "facts", "created_at")
_NOW: Final = bindparam("now", type_=BigInteger)
_UNTIL: Final = bindparam("until", type_=BigInteger)
_AHEAD_MS: Final = bindparam("ahead_ms", type_=BigInteger)


def remind(connection: Connection, now: Instant, ahead_ms: int) -> int:
    """Write what must be told at `now` and has not been; how many, at most MOST_AT_ONCE of each kind.

    What ends within `ahead_ms` is told, but for what never lasted longer than that.
    """
    ahead = {"now": now, "ahead_ms": ahead_ms, "until": now + ahead_ms}
    rows: list[tuple[Any, ...]] = [
        *(_of_bucket(row, now) for row in connection.execute(_BUCKETS, ahead)),
        *(_of_service(row, "expiry-soon", now) for row in connection.execute(_SERVICES_THAT_END, ahead)),
        *(
            _of_service(row, "expired", now)
            for row in connection.execute(_SERVICES_THAT_ENDED, {"now": now, "since": now - STILL_NEWS_MS})
        ),
    ]
    if rows:
        sets(connection).insert(notice, _COLUMNS, sorted(rows, key=itemgetter(0, 1)), "ON CONFLICT DO NOTHING")
    return len(rows)


def _buckets() -> Select[Any]:
    b = bucket.c
    # A bucket's own id is no other notice's: both come from one source. It ends once.
    wanted = and_(
        b.closed_at.is_(None),
        b.expires_at > _NOW,
        b.expires_at <= _UNTIL,
        b.valid_from + _AHEAD_MS < b.expires_at,
        b.balance > 0,
        b.subscriber_id.is_(None),  # what ends with a period comes again with the next
    )
    chosen = select(b.account_id, b.bucket_id, b.name, b.unit, b.balance, b.expires_at)
    return chosen.where(wanted, _untold(b.account_id, b.bucket_id)).order_by(b.expires_at).limit(MOST_AT_ONCE)


def _services(which: ColumnElement[bool], ended: int) -> Select[Any]:
    """Of active subscribers. An end that was moved is another end, so it is told again."""
    s = subscriber.c
    notice_id = (s.expires_at - _EPOCH_MS) * literal(2**22) + (s.subscriber_id % literal(2**21)) * 2 + ended
    chosen = select(s.account_id, s.subscriber_id, s.expires_at, notice_id.label("notice_id"))
    wanted = and_(s.status == "active", s.expires_at > _EPOCH_MS, which)
    return chosen.where(wanted, _untold(s.account_id, notice_id)).order_by(s.expires_at).limit(MOST_AT_ONCE)


def _untold(account_id: Any, notice_id: Any) -> ColumnElement[bool]:
    return ~exists().where(notice.c.account_id == account_id, notice.c.notice_id == notice_id)


def _of_bucket(row: Any, now: Instant) -> tuple[Any, ...]:
    facts = {"bucket": row.name, "unit": row.unit, "left": row.balance, "expires_at": row.expires_at}
    detail = f"{row.name}: {row.balance} {row.unit} left"
    return row.account_id, row.bucket_id, row.bucket_id, None, "expiry-soon", detail, _json(facts), now


def _of_service(row: Any, kind: NoticeKind, now: Instant) -> tuple[Any, ...]:
    facts = {"expires_at": row.expires_at}
    return row.account_id, row.notice_id, None, row.subscriber_id, kind, "service", _json(facts), now


def _json(facts: dict[str, int | str]) -> str:
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))


# Made once: to put a statement together costs more than to run it.
_BUCKETS: Final = _buckets()
_SERVICES_THAT_END: Final = _services(
    and_(
        subscriber.c.expires_at > _NOW,
        subscriber.c.expires_at <= _UNTIL,
        subscriber.c.created_at + _AHEAD_MS < subscriber.c.expires_at,
    ),
    0,
)
_SERVICES_THAT_ENDED: Final = _services(
    and_(subscriber.c.expires_at <= _NOW, subscriber.c.expires_at > bindparam("since", type_=BigInteger)), 1
)
