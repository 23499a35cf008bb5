"""What an account's rows say, read for people: balances, sessions, usage, transfers. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, and_, case, cast, func, select

from charging.bound import Line
from charging.buckets import Usage, draw_order, read_rated
from charging.history import IMPORTED
from charging.plan import Instant, Plan, from_json
from charging.session import Means
from charging.shadow import Used
from charging.tables import (
    account,
    bucket,
    command,
    nas,
    plan,
    plan_version,
    session,
    session_charge,
    transfer,
    usage_line,
)
from charging.tables import subscriber as subscriber_table
from charging.zone import Place

By = Literal["day", "session", "line"]
_DAY_MS: Final = 86_400_000


class BucketLine(NamedTuple):
    """A bucket; amounts in its unit (octets, seconds, micros)."""

    bucket_id: int
    name: str
    unit: str
    direction: str
    balance: int
    held: int
    granted: int
    priority: int
    blocker: bool
    source: str
    valid_from: Instant
    expires_at: Instant | None
    created_at: Instant
    scope: str
    every: str

    @property
    def available(self) -> int:
        """What is left for others than the sessions that hold some, without any credit limit."""
        return self.balance - self.held


class SessionLine(NamedTuple):
    """A session, live or closed."""

    account_id: int
    session_id: int
    account: str
    currency: str
    username: str
    plan: str
    plan_version: int
    plan_version_id: int
    nas: str
    nas_address: str
    nas_port_id: str | None
    calling_station: str | None
    framed_address: str | None
    acct_session_id: bytes | None
    state: str
    created_at: Instant
    started_at: Instant | None
    last_report_at: Instant
    stale_at: Instant
    closed_at: Instant | None
    close_reason: str | None
    interval_seconds: int
    octets_up: int
    octets_down: int
    seconds: int
    amount_micros: int
    leaked_octets: int
    wanted: str
    profile: str
    """While something pays; empty: the plan's own."""
    cap: str
    """The cap that it was exhausted for; empty: nothing paid."""
    wanted_version: int
    acked_version: int
    acked_at: Instant | None
    rated: str


class LeakLine(NamedTuple):
    """What the sessions of one NAS that have closed used without anything to pay for it."""

    nas: str
    dialect: str | None
    """None: the NAS was removed."""
    sessions: int
    leaking: int
    """How many of them leaked."""
    octets: int
    """All that they used."""
    leaked_octets: int
    most_octets: int
    """Of the one that leaked most."""


class ChargeLine(NamedTuple):
    """What a session took from one bucket and holds of it; bucket 0 is shortfall."""

    session_id: int
    bucket_id: int
    bucket: str | None
    unit: str
    accrued: int
    posted: int
    held: int
    held_until: Instant


class CommandLine(NamedTuple):
    """What a NAS is to be told, or was."""

    session_id: int
    command_id: int
    action: str
    version: int
    reason: str
    state: str
    attempts: int
    packets: int
    """Datagrams that were sent, repetitions among them."""
    answers: str
    """What was answered to each request, in turn; `no-answer` where nothing came."""
    not_before: Instant
    answer: str | None
    created_at: Instant
    sent_at: Instant | None
    finished_at: Instant | None


class UsageLine(NamedTuple):
    """What was used: by one report, in one session, or on one day (UTC). Fields that do not apply are None."""

    day_at: Instant | None
    session_id: int | None
    line_no: int | None
    kind: str | None
    first_at: Instant
    last_at: Instant
    octets_up: int
    octets_down: int
    seconds: int
    free_octets: int
    amount_micros: int
    flags: str | None
    draws: str | None = None
    """Of a report: JSON, `[[bucket_id, unit, amount], …]`."""
    rated: str | None = None
    """Of a report: what each price line added, as `buckets.read_rated` reads it."""
    plan_version_id: int | None = None


class TransferLine(NamedTuple):
    """A row of the ledger."""

    seq: int
    debit: str
    credit: str
    unit: str
    amount: int
    kind: str
    reference: str
    session_id: int | None
    effective_at: Instant
    recorded_at: Instant
    actor: str
    hash: str


def buckets(connection: Connection, account_id: int, now: Instant, *, expired: bool = False) -> list[BucketLine]:
    """An account's buckets in the order in which they are drawn, money last; `expired`: those too."""
    chosen = select(*(bucket.c[name] for name in BucketLine._fields)).where(bucket.c.account_id == account_id)
    lines = [BucketLine(*row) for row in connection.execute(chosen)]
    valid = [b for b in lines if expired or b.expires_at is None or b.expires_at > now]
    return sorted(valid, key=lambda b: (b.unit == "money", draw_order(b)))


def sessions(
    connection: Connection,
    *,
    account_id: int | None = None,
    username: str | None = None,
    nas_name: str | None = None,
    closed: bool = False,
    limit: int,
) -> list[SessionLine]:
    """Sessions, the newest first: the live ones, or with `closed` all of them; at most `limit`."""
    chosen = _sessions().order_by(session.c.created_at.desc(), session.c.session_id.desc()).limit(limit)
    if not closed:
        chosen = chosen.where(session.c.closed_at.is_(None))
    if account_id is not None:
        chosen = chosen.where(session.c.account_id == account_id)
    if username is not None:
        chosen = chosen.where(session.c.username == username)
    if nas_name is not None:
        chosen = chosen.where(nas.c.name == nas_name)
    return [SessionLine(*row) for row in connection.execute(chosen)]


def session_lines(connection: Connection, which: ColumnElement[bool], limit: int) -> list[SessionLine]:
    """The sessions, live and closed, that meet a condition, the oldest first."""
    chosen = _sessions().where(which).order_by(session.c.created_at, session.c.session_id).limit(limit)
    return [SessionLine(*row) for row in connection.execute(chosen)]


def session_numbered(connection: Connection, session_id: int) -> SessionLine | None:
    """The session of that id; the live ones, which have an index, are looked through first."""
    for live in (session.c.closed_at.is_(None), session.c.closed_at.is_not(None)):
        row = connection.execute(_sessions().where(session.c.session_id == session_id, live).limit(1)).first()
        if row is not None:
            return SessionLine(*row)
    return None


def charges(connection: Connection, account_id: int, session_id: int | None = None) -> list[ChargeLine]:
    """What a session took and holds; without a session, what the account's live sessions did."""
    c = session_charge.c
    named = bucket.c.name.label("bucket")
    columns = [named if name == "bucket" else c[name] for name in ChargeLine._fields]
    chosen = (
        select(*columns)
        .outerjoin(bucket, (bucket.c.account_id == c.account_id) & (bucket.c.bucket_id == c.bucket_id))
        .where(c.account_id == account_id)
        .order_by(c.session_id, c.bucket_id)
    )
    chosen = chosen.where(c.live) if session_id is None else chosen.where(c.session_id == session_id)
    return [ChargeLine(*row) for row in connection.execute(chosen)]


def commands(connection: Connection, account_id: int, session_id: int) -> list[CommandLine]:
    """What the NAS of a session was told, in order."""
    c = command.c
    chosen = (
        select(*(c[name] for name in CommandLine._fields))
        .where(c.account_id == account_id, c.session_id == session_id)
        .order_by(c.version, c.command_id)
    )
    return [CommandLine(*row) for row in connection.execute(chosen)]


def leaks(connection: Connection, *, since: Instant | None, until: Instant | None) -> list[LeakLine]:
    """What leaked in the sessions that closed from `since` to before `until`, by NAS, the worst first."""
    c = session.c
    leaked = func.coalesce(func.sum(c.leaked_octets), 0)
    chosen = (
        select(
            func.coalesce(nas.c.name, "#" + cast(c.nas_id, account.c.name.type)).label("nas"),
            nas.c.dialect,
            func.count(),
            func.sum(case((c.leaked_octets > 0, 1), else_=0)),
            cast(func.sum(c.octets_up + c.octets_down), BigInteger),
            cast(leaked, BigInteger),
            func.max(c.leaked_octets),
        )
        .outerjoin(nas, nas.c.nas_id == c.nas_id)
        .where(c.closed_at.is_not(None), c.close_reason.not_like(f"{IMPORTED}%"))
        .group_by(c.nas_id, nas.c.name, nas.c.dialect)
        .order_by(leaked.desc(), c.nas_id)
    )
    if since is not None:
        chosen = chosen.where(c.closed_at >= since)
    if until is not None:
        chosen = chosen.where(c.closed_at < until)
    return [LeakLine(*row) for row in connection.execute(chosen)]


def usage(
    connection: Connection,
    account_id: int,
    subscriber_id: int,
    *,
    since: Instant | None,
    until: Instant | None,
    by: By,
    limit: int,
) -> list[UsageLine]:
    """A subscriber's usage from `since` to before `until`, the newest first, at most `limit` lines."""
    u = usage_line.c
    own = (
        session.c.account_id == u.account_id,
        session.c.session_id == u.session_id,
        session.c.subscriber_id == subscriber_id,
    )
    used = {
        "octets_up": u.octets_up_to - u.octets_up_from,
        "octets_down": u.octets_down_to - u.octets_down_from,
        "seconds": u.seconds_to - u.seconds_from,
        "free_octets": u.free_octets,
        "amount_micros": u.amount_micros,
    }
    none = cast(None, BigInteger)
    if by == "line":
        chosen = select(
            none, u.session_id, u.line_no, u.kind, u.event_at, u.event_at, *used.values(), u.flags,
            u.draws, u.rated, session.c.plan_version_id,
        ).order_by(u.event_at.desc(), u.session_id.desc(), u.line_no.desc())  # fmt: skip
    else:
        group = u.session_id if by == "session" else u.event_at - u.event_at % _DAY_MS
        first, last = func.min(u.event_at), func.max(u.event_at)
        names = (none, group) if by == "session" else (group, none)
        sums = [cast(func.sum(column), BigInteger) for column in used.values()]
        chosen = select(*names, none, none, first, last, *sums, none).group_by(group).order_by(last.desc())
    chosen = chosen.where(u.account_id == account_id, *own).limit(limit)
    if since is not None:
        chosen = chosen.where(u.event_at >= since)
    if until is not None:
        chosen = chosen.where(u.event_at < until)
    return [UsageLine(*row) for row in connection.execute(chosen)]


def recorded_use(
    connection: Connection, since: Instant, until: Instant, plan_name: str | None = None
) -> Iterator[tuple[str, str, list[Used]]]:
    """(user name, currency, what was used in order of time) of each subscriber who used something from `since` to
    before `until`; with `plan_name` of those who have that plan. One subscriber at a time is in memory."""
    u, s = usage_line.c, session.c
    order = (s.account_id, s.subscriber_id, u.event_at, u.session_id, u.line_no)
    chosen = (
        select(
            s.account_id, s.subscriber_id, s.username, account.c.currency, u.session_id, s.nas_group, s.called_station,
            s.realm, s.service_class, u.event_at,
            (u.octets_up_to - u.octets_up_from).label("up"), (u.octets_down_to - u.octets_down_from).label("down"),
            (u.seconds_to - u.seconds_from).label("seconds"), u.free_octets, u.amount_micros,
        )
        .join(session, and_(s.account_id == u.account_id, s.session_id == u.session_id))
        .join(account, account.c.account_id == u.account_id)
        .where(u.event_at >= since, u.event_at < until)
        .order_by(*order)
    )  # fmt: skip
    if plan_name is not None:
        own = subscriber_table.c
        chosen = chosen.join(subscriber_table, own.subscriber_id == s.subscriber_id).where(own.plan_name == plan_name)
    rows = connection.execution_options(yield_per=1000).execute(chosen)
    for _, group in groupby(rows, key=lambda row: (row[0], row[1])):
        uses: list[Used] = []
        username = currency = ""
        for row in group:
            username, currency = row[2], row[3]
            uses.append(_used(row))
        yield username, currency, uses


def _used(row: Any) -> Used:
    # What the exhausted profile let through for nothing was given, not asked for.
    free_down = min(row.free_octets, row.down)
    usage = Usage(row.up - min(row.free_octets - free_down, row.up), row.down - free_down, row.seconds)
    place = Place(row.nas_group, row.called_station, row.realm, row.service_class)
    return Used(row.session_id, place, row.event_at - row.seconds * 1000, row.event_at, usage, row.amount_micros)


def transfers(connection: Connection, account_id: int, *, limit: int) -> list[TransferLine]:
    """An account's newest transfers, in their order."""
    c = transfer.c
    newest = (
        select(*(c[name] for name in TransferLine._fields))
        .where(c.account_id == account_id)
        .order_by(c.seq.desc())
        .limit(limit)
    )
    return [TransferLine(*row) for row in connection.execute(newest)][::-1]


def transfers_of(connection: Connection, account_id: int, reference: str, *, limit: int) -> list[TransferLine]:
    """An account's transfers with a reference, in their order."""
    c = transfer.c
    chosen = select(*(c[name] for name in TransferLine._fields)).where(
        c.account_id == account_id, c.reference == reference, c.kind.not_in(("top-up", "usage", "grant"))
    )
    return [TransferLine(*row) for row in connection.execute(chosen.order_by(c.seq).limit(limit))]


def lines_of_bound(connection: Connection, account_id: int, means_of_new: Means = "profile") -> list[Line]:
    """The sessions that an account's bound counts: the live ones, then those that its subscribers may still open.

    `means_of_new`: the least that the NASes can be made to do on which those may begin.
    """
    found = list(_live_lines(connection, account_id))
    live: dict[int, int] = {}
    for subscriber_id, _ in found:
        live[subscriber_id] = live.get(subscriber_id, 0) + 1
    lines = [line for _, line in found]
    s = subscriber_table.c
    chosen = (
        select(s.subscriber_id, s.username, s.max_sessions, plan_version.c.content)
        .join(plan, plan.c.name == s.plan_name)
        .join(plan_version, plan_version.c.plan_version_id == plan.c.plan_version_id)
        .where(s.account_id == account_id, s.status == "active")
        .order_by(s.username)
    )
    for subscriber_id, username, own_limit, content in connection.execute(chosen):
        sold = from_json(content)
        limit = sold.max_sessions if own_limit is None else own_limit
        more = None if limit is None else max(limit - live.get(subscriber_id, 0), 0)
        interval = sold.profile.interim_interval_seconds
        # A new session's interval is up to a tenth longer than its plan's.
        lines.append(Line(username, sold, interval + interval // 10, more, means=means_of_new))
    return lines


def _live_lines(connection: Connection, account_id: int) -> Iterator[tuple[int, Line]]:
    s = session.c
    chosen = (
        select(
            s.subscriber_id,
            s.username,
            s.session_id,
            s.interval_seconds,
            s.asked_interval_seconds,
            s.rated,
            s.means,
            plan_version.c.content,
        )
        .join(plan_version, plan_version.c.plan_version_id == s.plan_version_id)
        .where(s.account_id == account_id, s.closed_at.is_(None))
        .order_by(s.session_id)
    )
    plans: dict[str, Plan] = {}
    for subscriber_id, username, session_id, interval, asked, rated, means, content in connection.execute(chosen):
        pinned = plans.setdefault(content, from_json(content))
        # What it was asked for it may not do.
        seconds = max(interval, pinned.profile.interim_interval_seconds) if asked else interval
        yield subscriber_id, Line(username, pinned, seconds, 1, session_id, read_rated(rated), means)


def plans(connection: Connection, plan_version_ids: Iterable[int]) -> dict[int, Plan]:
    """Versions of plans, by their ids."""
    chosen = select(plan_version.c.plan_version_id, plan_version.c.content)
    chosen = chosen.where(plan_version.c.plan_version_id.in_(sorted(set(plan_version_ids))))
    return {version_id: from_json(content) for version_id, content in connection.execute(chosen)}


def _sessions() -> Select[Any]:
    c = session.c
    amount = (
        select(cast(func.coalesce(func.sum(session_charge.c.accrued), 0), BigInteger))
        .where(
            session_charge.c.account_id == c.account_id,
            session_charge.c.session_id == c.session_id,
            session_charge.c.unit == "money",
        )
        .scalar_subquery()
    )
    others = {
        "account": account.c.name,
        "currency": account.c.currency,
        "plan": plan_version.c.plan_name,
        "plan_version": plan_version.c.number,
        "nas": func.coalesce(nas.c.name, "#" + cast(c.nas_id, account.c.name.type)),
        "amount_micros": amount,
    }
    return (
        select(*(others[name] if name in others else c[name] for name in SessionLine._fields))
        .join(account, account.c.account_id == c.account_id)
        .join(plan_version, plan_version.c.plan_version_id == c.plan_version_id)
        .outerjoin(nas, nas.c.nas_id == c.nas_id)
    )
