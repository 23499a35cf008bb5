"""Reports of nobody's session: they are kept as they came, and charged only when an operator says so."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from charging.catalogue import in_parts
from charging.history import PastSession
from charging.history_rows import closed_session, take
from charging.plan import Instant
from charging.session import Report
from charging.settle import ids
from charging.tables import orphan_report, session
from charging.transaction import settle_in
from charging.usage import Recorded
from charging.zone import realm_of

ADOPTED: Final = "adopted"
"""Why such a session is closed: it was never open."""
_COLUMNS: Final = (
    "digest", "nas_id", "nas_address", "username", "acct_session_id", "reason", "packet", "received_at",
)  # fmt: skip


class NotAdopted(Exception):
    """Reports that can not be charged."""


class OrphanReport(NamedTuple):
    """A row that nobody has been charged for; `packet` is what came."""

    digest: str
    nas_id: int
    nas_address: str
    username: str
    acct_session_id: bytes
    reason: str
    packet: bytes
    received_at: Instant


class Owner(NamedTuple):
    """Who is to pay: a subscriber, and the version of the plan that it is charged by."""

    account_id: int
    subscriber_id: int
    plan_version_id: int


def waiting(
    connection: Connection, *, username: str | None = None, nas_id: int | None = None, limit: int
) -> list[OrphanReport]:
    """What nobody has been charged for, in the order in which it came; at most `limit`."""
    o = orphan_report.c
    chosen = select(*(o[name] for name in _COLUMNS)).where(o.session_id.is_(None))
    if username is not None:
        chosen = chosen.where(o.username == username)
    if nas_id is not None:
        chosen = chosen.where(o.nas_id == nas_id)
    return [OrphanReport(*row) for row in connection.execute(chosen.order_by(o.received_at, o.digest).limit(limit))]


def adopt(
    connection: Connection,
    owner: Owner,
    nas_group: str,
    reports: Sequence[Report],
    digests: Sequence[str],
    now: Instant,
) -> tuple[int, list[Recorded]]:
    """Charge one session's reports to somebody, as if it had been let in: its id, and what became of each. Where it was
    charged before, this goes on from there.

    The session is closed from the beginning, so its NAS is told nothing. `reports` are of one session, without a token.
    """
    first = reports[0]
    take(connection, [owner.account_id])
    found = select(session.c.session_id).where(
        session.c.account_id == owner.account_id, session.c.session_key == first.session_key
    )
    is_new = connection.execute(found.limit(1)).first() is None
    if is_new:
        connection.execute(insert(session), [_session(owner, nas_group, reports, now)])
    # Another Start would begin another session, which nobody would end.
    counted = [r for r in reports if r.kind != "start" or (is_new and r is first)]
    outcomes = settle_in(connection, counted, now).outcomes if counted else []
    recorded = [outcome for outcome in outcomes if isinstance(outcome, Recorded)]
    if not recorded or len(recorded) < len(counted):
        raise NotAdopted(f"no session can be made of the reports of {first.username!r} at {first.nas_address}")
    session_id = recorded[-1].session_id
    for some in in_parts(digests):
        answered = update(orphan_report).where(orphan_report.c.digest.in_(some)).values(session_id=session_id)
        connection.execute(answered)
    return session_id, recorded


def forget(connection: Connection, digests: Sequence[str]) -> None:
    """Delete them: nobody will be charged."""
    for some in in_parts(digests):
        connection.execute(delete(orphan_report).where(orphan_report.c.digest.in_(some)))


def _session(owner: Owner, nas_group: str, reports: Sequence[Report], now: Instant) -> dict[str, object]:
    first, last = reports[0], reports[-1]
    began_at = first.event_at if first.kind == "start" else first.event_at - (first.seconds or 0) * 1000
    session_id = ids(now, random.SystemRandom())()
    past = PastSession(
        account_id=owner.account_id,
        subscriber_id=owner.subscriber_id,
        username=first.username,
        plan_version_id=owner.plan_version_id,
        nas_id=first.nas_id,
        nas_address=first.nas_address,
        nas_group=nas_group,
        key=first.session_key,
        acct_session_id=first.acct_session_id,
        calling_station=first.calling_station,
        called_station=first.called_station,
        nas_port_id=first.nas_port_id,
        framed_address=next((r.framed_address for r in reversed(reports) if r.framed_address), None),
        realm=realm_of(first.username),
        service_class="",
        began_at=began_at,
        ended_at=last.event_at,
        octets_up=0,
        octets_down=0,
        seconds=0,
        cause="",
    )
    # The meter begins with the first report, whose Start is the session's own.
    return {**closed_session(past, session_id, ADOPTED), "line_no": 0, "last_event_at": began_at}
