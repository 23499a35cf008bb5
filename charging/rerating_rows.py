"""Between re-rating and tables: what is read of an account's closed sessions, and which transfers were taken back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, select

from charging import tables
from charging.bookkeeping import BUCKET
from charging.buckets import SHORTFALL, Bucket, Usage, read_rated
from charging.bulk import sets
from charging.catalogue import PlanVersion
from charging.history import IMPORTED
from charging.ledger import Entry
from charging.order import Original
from charging.payment import NotApplied
from charging.plan import Instant, Plan, from_json
from charging.pruning import removed_before
from charging.rerating import DIGEST_LETTERS, REFERENCE, RERATING, Other, Past, Rerate, Rerated
from charging.shadow import Used
from charging.tables import account, plan_version, reversal, session, subscriber, transfer, usage_line
from charging.transaction import run, settle_in
from charging.window import period_of
from charging.zone import Place

_CHARGED = ("usage", "credit", RERATING)


class _Undone(Exception):
    """A trial has seen what it wanted to see."""


def accounts_of(connection: Connection, plan_name: str, since: Instant, until: Instant) -> list[tuple[int, str]]:
    """Id and name of the accounts with sessions under a plan, in any of its versions, that ended from `since` to before `until`."""
    chosen = (
        select(account.c.account_id, account.c.name)
        .distinct()
        .join(session, session.c.account_id == account.c.account_id)
        .join(plan_version, plan_version.c.plan_version_id == session.c.plan_version_id)
        .where(plan_version.c.plan_name == plan_name, _ended(since, until))
        .order_by(account.c.account_id)
    )
    return [(row.account_id, row.name) for row in connection.execute(chosen)]


def charge_again(
    engine: Engine, account_id: int, version: PlanVersion, since: Instant, until: Instant, actor: str, now: Instant,
    *, apply: bool,
) -> Rerated | NotApplied | None:  # fmt: skip
    """Re-rate an account's sessions under a plan version, in one transaction, or only try it; None: there is nothing to
    re-rate."""
    found: list[Rerated | NotApplied] = []

    def work(connection: Connection) -> None:
        found.clear()
        item = rerate_of(connection, account_id, version, since, until, actor)
        if not item.pasts:
            return
        (outcome,) = settle_in(connection, [item], now).outcomes
        assert isinstance(outcome, Rerated | NotApplied)
        found.append(outcome)
        if not apply or isinstance(outcome, NotApplied):
            raise _Undone
        write_reversals(connection, account_id, outcome.reversals)

    with suppress(_Undone):
        run(engine, work)
    return found[0] if found else None


def rerate_of(
    connection: Connection, account_id: int, version: PlanVersion, since: Instant, until: Instant, actor: str
) -> Rerate:
    """All that re-rating one account's sessions needs. The account is locked until the transaction ends: what is read here
    is what will be changed."""
    plan, digest = version.plan, version.digest
    to = sets(connection)
    to.select(account, ("account_id",), "account_id {any}" + to.in_turn, [account_id]).fetchall()
    sessions = _sessions(connection, account_id, plan.name, since, until)
    if plan.counts:
        # What the others of the same month counted must be known too.
        known_from = removed_before(connection).get("usage_lines", 0)
        sessions = [row for row in sessions if _counts_from(row.created_at, plan) >= known_from]
    originals, rated_by = _transfers(connection, account_id)
    wanted = {
        row.session_id: row
        for row in sessions
        if rated_by.get(row.session_id, row.digest[:DIGEST_LETTERS]) != digest[:DIGEST_LETTERS]
    }
    uses: dict[int, list[Used]] = {session_id: [] for session_id in wanted}
    others: list[Other] = []
    begin = min((row.created_at for row in wanted.values()), default=0)
    begin = _counts_from(begin, plan)
    for row in _lines(connection, account_id, begin, set(wanted)):
        if row.session_id in wanted:
            uses[row.session_id].append(_used(row))
        elif plan.counts and row.event_at >= begin:
            others.append(_other(row, plan.name))
    pasts = [
        Past(
            row.session_id, row.subscriber_id, row.username or "", row.nas_id, tuple(uses[row.session_id]),
            tuple(originals.get(row.session_id, ())),
        )
        for row in wanted.values()
    ]  # fmt: skip
    rows = to.select(tables.bucket, BUCKET, "account_id {any}", [account_id]).fetchall()
    buckets = tuple(Bucket(*row) for row in rows)
    return Rerate(account_id, version.plan_version_id, digest, tuple(pasts), tuple(others), buckets, actor)


def _counts_from(at: Instant, plan: Plan) -> Instant:
    """When the oldest of the periods began that a use of that moment counts in."""
    return min(period_of("month", at, plan.time_zone)[0], period_of("week", at, plan.time_zone)[0])


def write_reversals(connection: Connection, account_id: int, reversals: Iterable[tuple[int, int]]) -> None:
    """Each transfer is taken back once: a second time has no row."""
    rows = [(account_id, *each) for each in reversals]
    if rows:
        sets(connection).insert(reversal, ("account_id", "seq", "by_seq"), rows)


def _sessions(connection: Connection, account_id: int, plan_name: str, since: Instant, until: Instant) -> list[Any]:
    s, v = session.c, plan_version.c
    chosen = (
        select(s.session_id, s.subscriber_id, subscriber.c.username, s.nas_id, s.created_at, v.digest)
        .join(plan_version, v.plan_version_id == s.plan_version_id)
        .outerjoin(subscriber, subscriber.c.subscriber_id == s.subscriber_id)
        .where(s.account_id == account_id, v.plan_name == plan_name, _ended(since, until), s.removed_line_no == 0)
        .order_by(s.session_id)
    )
    return list(connection.execute(chosen))


def _ended(since: Instant, until: Instant) -> ColumnElement[bool]:
    """A session that ended in that time, and that was ours to charge: not one of another server's."""
    s = session.c
    return and_(s.closed_at >= since, s.closed_at < until, s.close_reason.not_like(f"{IMPORTED}%"))


def _transfers(connection: Connection, account_id: int) -> tuple[dict[int, list[Original]], dict[int, str]]:
    """Per session what it was charged and still is, but for what nothing paid; and the plan that it was re-rated to last."""
    t = transfer.c
    gone = select(reversal.c.seq).where(reversal.c.account_id == account_id)
    taken_back = set(connection.execute(gone).scalars())
    originals: dict[int, list[Original]] = {}
    rated_by: dict[int, str] = {}
    chosen = select(t.seq, t.debit, t.credit, t.unit, t.amount, t.kind, t.session_id, t.reference)
    for row in connection.execute(chosen.where(t.account_id == account_id).order_by(t.seq)):
        if row.reference.startswith(REFERENCE):
            _, digest, session_id = row.reference.split(":")
            rated_by[int(session_id)] = digest
        if row.kind in _CHARGED and row.seq not in taken_back and not _is_old_shortfall(row):
            entry = Entry(row.debit, row.credit, row.unit, row.amount)
            originals.setdefault(row.session_id, []).append(
                Original(row.seq, entry, row.kind, row.session_id, True, None)
            )
    return originals, rated_by


def _is_old_shortfall(row: Any) -> bool:
    """What ran over when it was used, and is not the subscriber's. What a re-rating could not charge is asked for again."""
    return bool(row.kind != RERATING and (row.debit.startswith("shortfall:") or row.credit.startswith("shortfall:")))


def _lines(connection: Connection, account_id: int, since: Instant, wanted: set[int]) -> Iterable[Any]:
    u, s, v = usage_line.c, session.c, plan_version.c
    chosen = (
        select(
            u.session_id, s.subscriber_id, v.plan_name, v.content, s.nas_group, s.called_station, s.realm,
            s.service_class, u.event_at, (u.octets_up_to - u.octets_up_from).label("up"),
            (u.octets_down_to - u.octets_down_from).label("down"), (u.seconds_to - u.seconds_from).label("seconds"),
            u.free_octets, u.amount_micros, u.draws, u.rated,
        )
        .join(session, and_(s.account_id == u.account_id, s.session_id == u.session_id))
        .join(plan_version, v.plan_version_id == s.plan_version_id)
        .where(u.account_id == account_id)
        .order_by(u.event_at, u.session_id, u.line_no)
    )  # fmt: skip
    for row in connection.execution_options(yield_per=1_000).execute(chosen):
        if row.event_at >= since or row.session_id in wanted:
            yield row


def _used(row: Any) -> Used:
    """What something paid for: not what was free, and not what ran over."""
    leaked = {unit: amount for bucket_id, unit, amount in json.loads(row.draws) if bucket_id == SHORTFALL}
    free = row.free_octets + leaked.get("octets", 0)
    free_down = min(free, row.down)
    seconds = row.seconds - leaked.get("seconds", 0)
    usage = Usage(row.up - min(free - free_down, row.up), row.down - free_down, seconds)
    place = Place(row.nas_group, row.called_station, row.realm, row.service_class)
    return Used(row.session_id, place, row.event_at - row.seconds * 1000, row.event_at, usage, row.amount_micros)


def _other(row: Any, plan_name: str) -> Other:
    lines: list[tuple[str, int]] = []
    if row.rated and row.plan_name == plan_name:
        rates = from_json(row.content).rates
        lines = [(rates[index].name, rated.units) for index, rated in read_rated(row.rated).items()]
    draws = [(bucket_id, amount) for bucket_id, _, amount in json.loads(row.draws) if bucket_id != SHORTFALL]
    return Other(row.event_at, row.subscriber_id, tuple(lines), tuple(draws))
