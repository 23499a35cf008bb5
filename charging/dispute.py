"""The dispute bundle: all that the database knows of one subscriber in a time, from what NASes reported to what moved in the
ledger, and the checks that tie one to the other. Reads, changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select

from charging.buckets import Rated, read_rated
from charging.ledger import Transfer, bucket_named, chained
from charging.plan import Instant, from_json
from charging.statement import CommandLine, SessionLine, session_lines
from charging.tables import (
    bucket,
    command,
    notice,
    notice_delivery,
    orphan_report,
    plan_version,
    session,
    session_charge,
    trace,
    transfer,
    usage_line,
)

#: A bundle is for a person, or a court: who wants more asks for less time.
MOST_SESSIONS: Final = 1000
MOST_LINES: Final = 100_000
_MOST_IN_STATEMENT: Final = 500


class TooMuch(Exception):
    """A time with more in it than a bundle may have; the text says what would be right."""


class Draw(NamedTuple):
    """What one report took from one bucket; bucket 0 is what nothing paid for."""

    bucket_id: int
    bucket: str | None
    unit: str
    amount: int


class PriceLine(NamedTuple):
    """What one report was charged by one line of the plan."""

    name: str
    units: int
    micros: int


class ReportLine(NamedTuple):
    """A report that added something: the counters that the NAS had sent by then, and what it was charged."""

    session_id: int
    line_no: int
    kind: str
    event_at: Instant
    recorded_at: Instant
    octets_up_from: int
    octets_up_to: int
    octets_down_from: int
    octets_down_to: int
    seconds_from: int
    seconds_to: int
    amount_micros: int
    free_octets: int
    flags: str
    raw: str
    draws: tuple[Draw, ...]
    prices: tuple[PriceLine, ...]


class NoticeSent(NamedTuple):
    """A notice and where it went."""

    notice_id: int
    session_id: int | None
    kind: str
    detail: str
    created_at: Instant
    deliveries: tuple[tuple[str, str, str | None, Instant | None], ...]
    """Channel, state, address, when."""


class OrphanLine(NamedTuple):
    """A report that belonged to no session; `digest` is of its packet."""

    digest: str
    received_at: Instant
    nas_address: str
    reason: str
    octets: int
    """Of the packet."""
    session_id: int | None
    """In which an operator had it charged."""


class PacketLine(NamedTuple):
    """A packet that the history of trails has kept: what was decided about it, step by step."""

    received_at: Instant
    node: str
    nas: str
    kind: str
    result: str
    microseconds: int
    steps: tuple[tuple[int, str], ...]
    """Microseconds since it came, and words."""


class Check(NamedTuple):
    """One thing that must hold between the parts."""

    name: str
    holds: bool
    words: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything, each part in the order of time."""

    sessions: list[SessionLine]
    reports: list[ReportLine]
    transfers: list[Transfer]
    """Of the account, but for those of other subscribers' sessions."""
    commands: list[CommandLine]
    notices: list[NoticeSent]
    orphans: list[OrphanLine]
    packets: list[PacketLine]
    """Which ones are kept, and for how long, the server's configuration says."""
    checks: list[Check]


def bundle(
    connection: Connection, account_id: int, subscriber_id: int, username: str, since: Instant, until: Instant
) -> Bundle:
    """What happened from `since` to before `until`. TooMuch where that is more than a person can read."""
    s = session.c
    within = and_(
        s.account_id == account_id,
        s.subscriber_id == subscriber_id,
        s.created_at < until,
        or_(s.closed_at.is_(None), s.closed_at >= since),
    )
    sessions = session_lines(connection, within, MOST_SESSIONS + 1)
    if len(sessions) > MOST_SESSIONS:
        raise TooMuch(f"more than {MOST_SESSIONS} sessions in that time; ask for less of it")
    ids = [line.session_id for line in sessions]
    reports = _reports(connection, account_id, ids, since, until)
    transfers, broken = _transfers(connection, account_id, ids, since, until)
    checks = [_chain(broken, len(transfers)), *_sums(connection, account_id, sessions)]
    return Bundle(
        sessions,
        reports,
        transfers,
        _commands(connection, account_id, ids, since, until),
        _notices(connection, account_id, subscriber_id, since, until),
        _orphans(connection, username, since, until),
        _packets(connection, username, since, until),
        checks,
    )


def seal(previous: str, record: object) -> str:
    """SHA-256 (hex) over the hash before it and a record as JSON with sorted keys: a chain through a whole bundle."""
    text = json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return sha256(f"{previous}\n{text}".encode("utf-8", "surrogateescape")).hexdigest()


# --- reading -------------------------------------------------------------------------------------------------------


def _in(column: Any, ids: Sequence[int]) -> list[ColumnElement[bool]]:
    """Conditions, each for as many ids as one statement may name."""
    return [column.in_(ids[start : start + _MOST_IN_STATEMENT]) for start in range(0, len(ids), _MOST_IN_STATEMENT)]


def _reports(
    connection: Connection, account_id: int, ids: Sequence[int], since: Instant, until: Instant
) -> list[ReportLine]:
    u = usage_line.c
    named = select(bucket.c.bucket_id, bucket.c.name).where(bucket.c.account_id == account_id)
    names = {row.bucket_id: row.name for row in connection.execute(named)}
    found: list[ReportLine] = []
    plain = [u[name] for name in ReportLine._fields[:-2]]
    for some in _in(u.session_id, ids):
        chosen = (
            select(*plain, u.draws, u.rated, plan_version.c.content)
            .join(session, and_(session.c.account_id == u.account_id, session.c.session_id == u.session_id))
            .join(plan_version, plan_version.c.plan_version_id == session.c.plan_version_id)
            .where(u.account_id == account_id, some, u.event_at >= since, u.event_at < until)
            .limit(MOST_LINES + 1)
        )
        plans: dict[str, Any] = {}
        for row in connection.execute(chosen):
            *fields, draws, rated, content = tuple(row)
            plan = plans.get(content) or plans.setdefault(content, from_json(content))
            prices = tuple(_price_line(plan, index, each) for index, each in sorted(read_rated(rated).items()))
            drawn = tuple(Draw(i, names.get(i), unit, amount) for i, unit, amount in json.loads(draws))
            found.append(ReportLine._make([*fields, drawn, prices]))
        if len(found) > MOST_LINES:
            raise TooMuch(f"more than {MOST_LINES} reports in that time; ask for less of it")
    return sorted(found, key=lambda line: (line.event_at, line.session_id, line.line_no))


def _price_line(plan: Any, index: int, rated: Rated) -> PriceLine:
    known = plan.rates[index].name if index < len(plan.rates) else ""
    return PriceLine(known or f"rate {index + 1}", rated.units, rated.micros)


def _transfers(
    connection: Connection, account_id: int, ids: Sequence[int], since: Instant, until: Instant
) -> tuple[list[Transfer], list[int]]:
    """Those of the time and of these sessions, and the seqs at which the chain does not hold."""
    t = transfer.c
    columns = [t[name] for name in Transfer._fields]
    # Whose a session was that retention has removed nobody knows any more, but the account's it was.
    there = exists().where(session.c.account_id == t.account_id, session.c.session_id == t.session_id)
    in_time = and_(t.recorded_at >= since, t.recorded_at < until, or_(t.session_id.is_(None), ~there))
    found: dict[int, Transfer] = {}
    for which in (in_time, *_in(t.session_id, ids)):
        rows = connection.execute(select(*columns).where(t.account_id == account_id, which).limit(MOST_LINES + 1))
        found |= {row.seq: Transfer(*row) for row in rows}
    if len(found) > MOST_LINES:
        raise TooMuch(f"more than {MOST_LINES} transfers in that time; ask for less of it")
    before: dict[int, str] = {0: ""}
    for some in _in(t.seq, [seq - 1 for seq in sorted(found) if seq > 1]):
        rows = connection.execute(select(t.seq, t.hash).where(t.account_id == account_id, some))
        before |= {row.seq: row.hash for row in rows}
    broken = [
        each.seq for each in found.values() if chained(before.get(each.seq - 1, "?"), tuple(each[:-1])) != each.hash
    ]
    return [found[seq] for seq in sorted(found)], sorted(broken)


def _commands(
    connection: Connection, account_id: int, ids: Sequence[int], since: Instant, until: Instant
) -> list[CommandLine]:
    c = command.c
    found: list[CommandLine] = []
    for some in _in(c.session_id, ids):
        chosen = select(*(c[name] for name in CommandLine._fields)).where(
            c.account_id == account_id, some, c.created_at >= since, c.created_at < until
        )
        found += [CommandLine(*row) for row in connection.execute(chosen)]
    return sorted(found, key=lambda line: (line.created_at, line.command_id))


def _notices(
    connection: Connection, account_id: int, subscriber_id: int, since: Instant, until: Instant
) -> list[NoticeSent]:
    n, d = notice.c, notice_delivery.c
    chosen = (
        select(n.notice_id, n.session_id, n.kind, n.detail, n.created_at, d.channel, d.state, d.address, d.finished_at)
        .outerjoin(notice_delivery, and_(d.account_id == n.account_id, d.notice_id == n.notice_id))
        .where(
            n.account_id == account_id,
            or_(n.subscriber_id.is_(None), n.subscriber_id == subscriber_id),
            n.created_at >= since,
            n.created_at < until,
        )
        .order_by(n.created_at, n.notice_id, d.channel)
    )
    found: dict[int, NoticeSent] = {}
    for row in connection.execute(chosen):
        *fields, channel, state, address, finished_at = tuple(row)
        line = found.get(fields[0]) or NoticeSent._make([*fields, ()])
        sent = () if channel is None else ((channel, state, address, finished_at),)
        found[fields[0]] = line._replace(deliveries=(*line.deliveries, *sent))
    return list(found.values())


def _orphans(connection: Connection, username: str, since: Instant, until: Instant) -> list[OrphanLine]:
    o = orphan_report.c
    chosen = (
        select(o.digest, o.received_at, o.nas_address, o.reason, func.length(o.packet), o.session_id)
        .where(o.username == username, o.received_at >= since, o.received_at < until)
        .order_by(o.received_at, o.digest)
        .limit(MOST_LINES)
    )
    return [OrphanLine(*row) for row in connection.execute(chosen)]


def _packets(connection: Connection, username: str, since: Instant, until: Instant) -> list[PacketLine]:
    c = trace.c
    chosen = (
        select(c.received_at, c.node, c.nas, c.kind, c.result, c.microseconds, c.steps)
        .where(c.username == username, c.received_at >= since, c.received_at < until)
        .order_by(c.received_at, c.trace_id)
        .limit(MOST_LINES)
    )
    return [
        PacketLine._make([*row[:-1], tuple((at, words) for at, words in json.loads(row.steps))])
        for row in connection.execute(chosen)
    ]


# --- checks --------------------------------------------------------------------------------------------------------


def _chain(broken: list[int], count: int) -> Check:
    if broken:
        return Check("ledger", holds=False, words=f"transfer {broken[0]} was changed after it was written")
    return Check("ledger", holds=True, words=f"the hashes of all {count} transfers follow from the ones before them")


def _sums(connection: Connection, account_id: int, sessions: Sequence[SessionLine]) -> list[Check]:
    """Over whole sessions: lines add up to the counters, draws to what was charged, transfers to what was posted."""
    if not sessions:
        return []
    ids = [line.session_id for line in sessions]
    used: dict[int, list[int]] = {i: [0, 0, 0] for i in ids}
    drawn: dict[tuple[int, int, str], int] = {}
    u, c, t = usage_line.c, session_charge.c, transfer.c
    for some in _in(u.session_id, ids):
        chosen = select(
            u.session_id, u.octets_up_to - u.octets_up_from, u.octets_down_to - u.octets_down_from,
            u.seconds_to - u.seconds_from, u.draws,
        ).where(u.account_id == account_id, some)  # fmt: skip
        for session_id, up, down, seconds, draws in connection.execute(chosen):
            used[session_id] = [a + b for a, b in zip(used[session_id], (up, down, seconds), strict=True)]
            for bucket_id, unit, amount in json.loads(draws):
                key = session_id, bucket_id, unit
                drawn[key] = drawn.get(key, 0) + amount
    bare = _bare(connection, account_id, ids)
    metered = all(
        used[s.session_id] == [s.octets_up, s.octets_down, s.seconds] for s in sessions if s.session_id not in bare
    )
    charges: dict[tuple[int, int, str], tuple[int, int]] = {}
    posted: dict[tuple[int, int, str], int] = {}
    for some in _in(c.session_id, ids):
        rows = connection.execute(
            select(c.session_id, c.bucket_id, c.unit, c.accrued, c.posted).where(c.account_id == account_id, some)
        )
        charges |= {(row.session_id, row.bucket_id, row.unit): (row.accrued, row.posted) for row in rows}
    for some in _in(t.session_id, ids):
        rows = connection.execute(
            select(t.session_id, t.debit, t.credit, t.unit, t.amount).where(
                t.account_id == account_id, some, t.kind.in_(("usage", "credit"))
            )
        )
        for session_id, debit, credit, unit, amount in rows:
            gave, got = bucket_named(debit), bucket_named(credit)
            sign, bucket_id = (-1, got) if got is not None else (1, gave or 0)
            key = session_id, bucket_id, unit
            posted[key] = posted.get(key, 0) + sign * amount
    accrued = {key: amount for key, (amount, _) in charges.items() if amount and key[0] not in bare}
    drawn = {key: amount for key, amount in drawn.items() if key[0] not in bare}
    written = {key: amount for key, (_, amount) in charges.items() if amount}
    return [
        Check("reports", metered, _said(metered, "the reports add up to the counters of all sessions")),
        Check("draws", (same := _nonzero(drawn) == accrued), _said(same, "the draws add up to what was charged")),
        Check(
            "postings",
            (same := _nonzero(posted) == written),
            _said(same, "the transfers add up to what was posted"),
        ),
    ]


def _bare(connection: Connection, account_id: int, ids: Sequence[int]) -> set[int]:
    """Those of the sessions of which retention has removed usage lines: nothing can be added up."""
    s = session.c
    return {
        session_id
        for some in _in(s.session_id, ids)
        for session_id in connection.execute(
            select(s.session_id).where(s.account_id == account_id, some, s.removed_line_no > 0)
        ).scalars()
    }


def _nonzero(amounts: dict[tuple[int, int, str], int]) -> dict[tuple[int, int, str], int]:
    return {key: amount for key, amount in amounts.items() if amount}


def _said(holds: bool, words: str) -> str:  # noqa: FBT001  what the check found
    return words if holds else f"not so: {words}"
