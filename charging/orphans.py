"""Reports of nobody's session: they are kept as they came, and charged only when an operator says so."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from charging.catalogue import in_parts
from charging.history import PastSession
from charging.history_rows import closed_session, take
from charging.plan import Instant
from charging.session import CLOCK_SLACK_MS, Report
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


def runs(found: Iterable[tuple[OrphanReport, Report]]) -> list[list[tuple[OrphanReport, Report]]]:
    """Reports under one name, by session and in the order in which they were true: a NAS may give its ids again."""
    ordered = sorted(found, key=lambda pair: (pair[1].event_at, _began_at(pair[1]), pair[1].kind != "start"))
    sessions: list[list[tuple[OrphanReport, Report]]] = []
    began_at = last_at = 0
    for pair in ordered:
        report = pair[1]
        if not sessions or _is_another(report, began_at, last_at):
            sessions.append([])
            began_at = _began_at(report)
        sessions[-1].append(pair)
        last_at = report.event_at
    return sessions


def _is_another(report: Report, began_at: Instant, last_at: Instant) -> bool:
    """Is a report of a later session than the one that began and was last heard of at these moments? A doubtful one is not,
    for then its session's marks say what of it is new."""
    if report.kind == "start":
        if report.event_exact:
            return report.event_at >= last_at and report.event_at != began_at
        return report.event_at > last_at != began_at
    if not report.event_exact or report.seconds is None:
        return False
    # Its Start was lost. What its seconds count from lies nearer to the end of that session than to its beginning.
    return abs(_began_at(report) - last_at) < abs(_began_at(report) - began_at)


def _began_at(report: Report) -> Instant:
    """When the session of a report began, by the report alone."""
    return report.event_at if report.kind == "start" else report.event_at - (report.seconds or 0) * 1000


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
    s = session.c
    same_names = select(s.session_id, s.started_at, s.created_at, s.last_event_at).where(
        s.account_id == owner.account_id, s.session_key == first.session_key
    )
    known = connection.execute(same_names).all()
    session_id = _of_its_time(known, first)
    is_new = session_id is None
    if session_id is None:
        # Of sessions with the same names that began at one moment the newest is the one that goes on.
        session_id = max([_new_id(now), *(each.session_id + 1 for each in known)])
        connection.execute(insert(session), [_session(session_id, owner, nas_group, reports)])
    # Another Start would begin another session, which nobody would end.
    counted = [r for r in reports if r.kind != "start" or (is_new and r is first)]
    outcomes = settle_in(connection, counted, now).outcomes if counted else []
    recorded = [each for each in outcomes if isinstance(each, Recorded) and each.session_id == session_id]
    if len(recorded) < len(counted):
        raise NotAdopted(f"no session can be made of the reports of {first.username!r} at {first.nas_address}")
    for some in in_parts(digests):
        answered = update(orphan_report).where(orphan_report.c.digest.in_(some)).values(session_id=session_id)
        connection.execute(answered)
    return session_id, recorded


def forget(connection: Connection, digests: Sequence[str]) -> None:
    """Delete them: nobody will be charged."""
    for some in in_parts(digests):
        connection.execute(delete(orphan_report).where(orphan_report.c.digest.in_(some)))


def _of_its_time(known: Sequence[Any], first: Report) -> int | None:
    """The one of the sessions that are known by their names which a report goes on with; None: it was another."""
    began: dict[int, Instant] = {s.session_id: s.created_at if s.started_at is None else s.started_at for s in known}
    slack = 0 if first.event_exact else CLOCK_SLACK_MS
    earlier = [s for s in known if began[s.session_id] <= first.event_at + slack]
    latest = max(earlier, key=lambda s: (began[s.session_id], s.session_id), default=None)
    if latest is None or _is_another(first, began[latest.session_id], latest.last_event_at):
        return None
    return int(latest.session_id)


def _new_id(now: Instant) -> int:
    return ids(now, random.SystemRandom())()


def _session(session_id: int, owner: Owner, nas_group: str, reports: Sequence[Report]) -> dict[str, object]:
    first, last = reports[0], reports[-1]
    began_at = _began_at(first)
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
