"""`aaa import freeradius --radacct`: what was used while FreeRADIUS did the accounting, as history."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Final, NamedTuple

from sqlalchemy import Engine

from aaa import radacct, registry, rlm_sql
from aaa.freeradius import Carried
from aaa.radacct import DoesNotFit, NasMeters
from aaa.realms import Realms
from charging import history_rows
from charging.database import reading
from charging.plan import Instant
from charging.transaction import run
from cli.clock import now
from cli.config import Setup

#: How many different reasons are told one by one.
MOST_REASONS: Final = 1_000


class Told(NamedTuple):
    """What came over, or would."""

    sessions: int = 0
    octets: int = 0
    already: int = 0
    """That came over some time before."""


class Period(NamedTuple):
    """Which sessions: those that ended from `since` to before `until`; None: no end."""

    time_zone: str
    since: Instant | None
    until: Instant | None

    def has(self, ended_at: Instant) -> bool:
        """Did it end in this time?"""
        return (self.since is None or ended_at >= self.since) and (self.until is None or ended_at < self.until)


def take_over(setup: Setup, source: Engine, carried: Carried, period: Period, *, dry_run: bool) -> Told:
    """Write the ended sessions of `source` down, page by page, each once; what does not fit is added to what `carried` leaves."""
    engine = setup.engine()
    realms = Realms(dict(setup.config.realms))
    nases = _nases(engine, carried if dry_run else Carried())
    # On a dry run nobody is here yet who would be.
    coming = {each.username: (0, 0, 0) for each in carried.subscribers} if dry_run else {}
    sessions = octets = already = 0
    left: Counter[tuple[str, str]] = Counter()
    for page in rlm_sql.ended_sessions(source):
        with reading(engine) as connection:
            owners = coming | history_rows.owners(connection, sorted({realms.name(row.username or "") for row in page}))
        past = []
        for row in page:
            try:
                found = radacct.past(row, owners, nases, realms.name, period.time_zone, now())
            except DoesNotFit as problem:
                left[_bounded(left, (problem.name, problem.why))] += 1
                continue
            if period.has(found.ended_at):
                past.append(found)
        with reading(engine) as connection:
            fresh = history_rows.new(connection, past)
        already += len(past) - len(fresh)
        sessions += len(fresh)
        octets += sum(each.octets_up + each.octets_down for each in fresh)
        if not dry_run:
            run(engine, partial(history_rows.write, past=fresh, now=now()))
    for (name, why), count in sorted(left.items()):
        carried.leave("radacct", name, f"{why} ({count} sessions)")
    return Told(sessions, octets, already)


def _bounded(left: Counter[tuple[str, str]], reason: tuple[str, str]) -> tuple[str, str]:
    return reason if reason in left or len(left) < MOST_REASONS else ("others", "for reasons like these")


def _nases(engine: Engine, carried: Carried) -> NasMeters:
    with reading(engine) as connection:
        lines = registry.all_nases(connection)
    here = [
        (
            has.network,
            radacct.meter(
                line.nas_id, has.nas_group, has.dialect, has.counter_unit, has.counters_reversed, has.counters_delta
            ),
        )
        for line in lines
        if (has := line.settings).network is not None
    ]
    coming = [(nas.address, radacct.meter(0, "", nas.dialect, None, None, None)) for nas in carried.nases]
    return NasMeters([*here, *coming])
