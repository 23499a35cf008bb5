"""NAS by NAS: what was reported against what was charged, and what does not fit. Reads, changes nothing."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, Connection, and_, case, cast, func, or_, select

from charging.history import IMPORTED
from charging.plan import Instant
from charging.tables import nas, orphan_report, session, usage_line

#: How a session ends that its NAS has not ended by a Stop.
_ENDED_OTHERWISE: Final = ("stale", "never-started", "nas-restart", "replaced", "gone")
#: Of closed sessions; others were metered by another server, and nothing of them was charged.
_OURS: Final = session.c.close_reason.not_like(f"{IMPORTED}%")


class NasLine(NamedTuple):
    """One NAS in a time."""

    nas_id: int
    nas: str | None
    """None: it was removed."""
    sessions: int
    """That were open in that time."""
    without_stop: int
    """Closed because they fell silent, their NAS restarted, or another one took their name."""
    never_started: int
    """Let in, and never heard of: a part of `without_stop`."""
    reports: int
    """That added something."""
    octets_reported: int
    octets_free: int
    """At the exhausted profile's speed."""
    octets_leaked: int
    """Used past the balance, and charged to nobody; of whole sessions."""
    sessions_leaking: int
    resets: int
    """Counters that began anew in the middle of a session."""
    wraps: int
    """32-bit counters that went over their end."""
    suspects: int
    """Reports of more than the line can carry; they were charged up to that."""
    orphans: int
    """Reports of nobody's session: not charged."""
    earliest_ms: int | None
    """The least time from when a report was true at the NAS to when it was booked; below zero its clock is ahead."""
    mean_ms: int | None
    latest_ms: int | None

    @property
    def octets_charged(self) -> int:
        """What somebody paid for, from an allowance or by price."""
        return self.octets_reported - self.octets_free - self.octets_leaked


def by_nas(connection: Connection, since: Instant, until: Instant) -> list[NasLine]:
    """All NASes that had sessions or orphans from `since` to before `until`, by name."""
    s, u, o = session.c, usage_line.c, orphan_report.c
    one = cast(1, BigInteger)

    def count(condition: Any) -> Any:
        return cast(func.coalesce(func.sum(case((condition, one), else_=0)), 0), BigInteger)

    def total(column: Any) -> Any:
        return cast(func.coalesce(func.sum(column), 0), BigInteger)

    otherwise = and_(s.close_reason.in_(_ENDED_OTHERWISE), s.closed_at < until)
    sessions = {
        row.nas_id: row
        for row in connection.execute(
            select(
                s.nas_id,
                func.count().label("sessions"),
                count(otherwise).label("without_stop"),
                count(and_(s.close_reason == "never-started", s.closed_at < until)).label("never_started"),
                total(s.leaked_octets).label("leaked"),
                count(s.leaked_octets > 0).label("leaking"),
            )
            .where(s.created_at < until, or_(s.closed_at.is_(None), and_(s.closed_at >= since, _OURS)))
            .group_by(s.nas_id)
        )
    }
    delay = u.recorded_at - u.event_at
    reports = {
        row.nas_id: row
        for row in connection.execute(
            select(
                s.nas_id,
                func.count().label("reports"),
                total(u.octets_up_to - u.octets_up_from + u.octets_down_to - u.octets_down_from).label("octets"),
                total(u.free_octets).label("free"),
                count(u.flags.like("%reset%")).label("resets"),
                count(u.flags.like("%wrap%")).label("wraps"),
                count(u.flags.like("%suspect%")).label("suspects"),
                func.min(delay).label("earliest"),
                total(delay).label("delays"),
                func.max(delay).label("latest"),
            )
            .join(session, and_(s.account_id == u.account_id, s.session_id == u.session_id))
            .where(u.event_at >= since, u.event_at < until, u.kind != IMPORTED)
            .group_by(s.nas_id)
        )
    }
    orphaned = select(o.nas_id, func.count()).group_by(o.nas_id)
    orphaned = orphaned.where(o.session_id.is_(None), o.received_at >= since, o.received_at < until)
    orphans: dict[int, int] = {row[0]: row[1] for row in connection.execute(orphaned)}
    names: dict[int, str] = {row.nas_id: row.name for row in connection.execute(select(nas.c.nas_id, nas.c.name))}
    found = [
        _line(nas_id, names.get(nas_id), sessions.get(nas_id), reports.get(nas_id), orphans.get(nas_id, 0))
        for nas_id in sessions.keys() | reports.keys() | orphans.keys()
    ]
    return sorted(found, key=lambda line: (line.nas or "", line.nas_id))


def _line(nas_id: int, name: str | None, sessions: Any, reports: Any, orphans: int) -> NasLine:
    return NasLine(
        nas_id=nas_id,
        nas=name,
        sessions=sessions.sessions if sessions else 0,
        without_stop=sessions.without_stop if sessions else 0,
        never_started=sessions.never_started if sessions else 0,
        reports=reports.reports if reports else 0,
        octets_reported=reports.octets if reports else 0,
        octets_free=reports.free if reports else 0,
        octets_leaked=sessions.leaked if sessions else 0,
        sessions_leaking=sessions.leaking if sessions else 0,
        resets=reports.resets if reports else 0,
        wraps=reports.wraps if reports else 0,
        suspects=reports.suspects if reports else 0,
        orphans=orphans,
        earliest_ms=reports.earliest if reports else None,
        mean_ms=reports.delays // reports.reports if reports else None,
        latest_ms=reports.latest if reports else None,
    )
