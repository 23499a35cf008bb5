"""Removes what retention does not keep, some rows at a time.

Any number of nodes may do it at once, beside everything else: each transaction is small, passes over rows that others are at
work on, and does what is oldest first. What has gone is written down in `removal`, so that a report on that time can say that
it does not know instead of what is not true. `aaa ledger check` leaves out the meters of sessions whose lines have gone; the
ledger itself is never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    select,
    update,
)

from charging.bulk import sets
from charging.history_rows import take
from charging.plan import Instant
from charging.retention import KINDS, Retention
from charging.tables import (
    command,
    notice,
    notice_delivery,
    orphan_report,
    removal,
    session,
    session_charge,
    top_up_request,
    usage_line,
)
from charging.transaction import run

#: In one transaction: milliseconds of work, so that no report waits for it longer than for another batch.
ROWS_AT_ONCE: Final = 1_000
SESSIONS_AT_ONCE: Final = 100

_s = session.c
_ENDED: Final = and_(_s.closed_at.is_not(None), _s.lines_removed_at.is_(None))
_pending: Final = exists().where(
    notice_delivery.c.account_id == notice.c.account_id,
    notice_delivery.c.notice_id == notice.c.notice_id,
    notice_delivery.c.state == "pending",
)
_relative: Final = session.alias("relative")
#: One login may have opened several sessions; a later one may still be at work under its token.
_family_lives: Final = exists().where(
    _relative.c.account_id == _s.account_id, _relative.c.root_id == _s.root_id, _relative.c.closed_at.is_(None)
)

#: Which rows of a kind are over: the table, the moment that counts, and what else must be so.
_OVER: Final[Mapping[str, tuple[Table, ColumnElement[int], ColumnElement[bool]]]] = {
    "usage_lines": (session, _s.closed_at, _ENDED),
    "commands": (command, command.c.created_at, command.c.state != "pending"),
    "notices": (notice, notice.c.created_at, ~_pending),
    "top_up_requests": (
        top_up_request,
        top_up_request.c.answered_at,
        and_(top_up_request.c.answered_at.is_not(None), top_up_request.c.status != "open"),
    ),
    "orphans": (orphan_report, orphan_report.c.received_at, orphan_report.c.digest.is_not(None)),
    "closed_sessions": (session, _s.closed_at, and_(_s.lines_removed_at.is_not(None), ~_family_lives)),
}


def prune(
    engine: Engine,
    retention: Retention,
    now: Instant,
    *,
    progress: Callable[[str, int], None] = lambda _what, _removed: None,
) -> dict[str, int]:
    """Remove what is not kept, until nothing of it is left; how many rows of each kind have gone.

    `progress(kind, rows removed)` is called after each transaction.
    """
    removed = dict.fromkeys(KINDS, 0)
    for what in KINDS:
        before = retention.before(what, now)
        if before is None:
            continue
        more = True
        while more:
            done, more = turn(engine, what, before, now)
            removed[what] += done
            progress(what, removed[what])
    return removed


def due(connection: Connection, retention: Retention, now: Instant) -> dict[str, int]:
    """How many rows of each kind `prune` would remove now."""
    found = dict.fromkeys(KINDS, 0)
    for what in KINDS:
        before = retention.before(what, now)
        if before is None:
            continue
        table, moment, otherwise = _OVER[what]
        count: Any = func.count()
        if what == "usage_lines":
            count = func.coalesce(func.sum(_s.line_no - _s.removed_line_no), 0)
        elif what == "closed_sessions":
            # Those too whose usage lines go first.
            otherwise = and_(_s.closed_at.is_not(None), ~_family_lives)
        found[what] = int(
            connection.execute(select(count).select_from(table).where(moment < before, otherwise)).scalar_one()
        )
    return found


def removed_before(connection: Connection) -> dict[str, Instant]:
    """Per kind of which something was removed: what was over before that moment is not known any more."""
    return {row.what: row.before_at for row in connection.execute(select(removal.c.what, removal.c.before_at))}


def turn(engine: Engine, what: str, before: Instant, now: Instant) -> tuple[int, bool]:
    """One transaction that removes some of the oldest rows of a kind: how many went, and whether there may be more."""

    def work(connection: Connection) -> tuple[int, bool]:
        done, more = _REMOVERS[what](connection, what, before, now)
        if done:
            sets(connection).insert(
                removal,
                ("what", "before_at", "removed", "removed_at"),
                [(what, before, done, now)],
                "ON CONFLICT (what) DO UPDATE SET removed = removal.removed + excluded.removed, "
                "removed_at = excluded.removed_at, before_at = CASE WHEN excluded.before_at > removal.before_at "
                "THEN excluded.before_at ELSE removal.before_at END",
            )
        return done, more

    return run(engine, work)


def _oldest(what: str, columns: Sequence[Any], before: Instant, most: int) -> Select[Any]:
    table, moment, otherwise = _OVER[what]
    return select(*columns).select_from(table).where(moment < before, otherwise).order_by(moment).limit(most)


def _remove_rows(connection: Connection, what: str, before: Instant, _now: Instant) -> tuple[int, bool]:
    """Of a table whose rows stand alone."""
    table = _OVER[what][0]
    key = list(table.primary_key.columns)
    rows = connection.execute(_oldest(what, key, before, ROWS_AT_ONCE).with_for_update(skip_locked=True)).all()
    if what == "notices" and rows:
        _delete_each(connection, notice_delivery, key, rows)
    _delete_each(connection, table, key, rows)
    return len(rows), len(rows) == ROWS_AT_ONCE


def _remove_lines(connection: Connection, what: str, before: Instant, now: Instant) -> tuple[int, bool]:
    """Of sessions that have ended, the oldest first: all lines of some, or the first ones of one that has very many."""
    columns = (_s.account_id, _s.session_id, _s.line_no, _s.removed_line_no)
    chosen = _oldest(what, columns, before, SESSIONS_AT_ONCE).with_for_update(skip_locked=True)
    rows = connection.execute(chosen).all()
    marks: list[dict[str, Any]] = []
    left = ROWS_AT_ONCE
    for row in rows:
        if not left:
            break
        upto = min(row.line_no, row.removed_line_no + left)
        left -= upto - row.removed_line_no
        gone = now if upto == row.line_no else None
        marks.append({"account": row.account_id, "id": row.session_id, "upto": upto, "gone": gone})
    if not marks:
        return 0, False
    # First the mark: the database lets no other line go.
    connection.execute(_MARK, marks)
    connection.execute(_DELETE_LINES, marks)
    return ROWS_AT_ONCE - left, len(rows) == SESSIONS_AT_ONCE or not left


def _remove_sessions(connection: Connection, what: str, before: Instant, _now: Instant) -> tuple[int, bool]:
    """With all that hangs on them and is no money. Their accounts are locked first, as everybody does, and move on: so nobody
    has such a session at work."""
    key = (_s.account_id, _s.session_id)
    rows = connection.execute(_oldest(what, key, before, SESSIONS_AT_ONCE)).all()
    if not rows:
        return 0, False
    take(connection, sorted({row.account_id for row in rows}))
    marks = [{"account": row.account_id, "id": row.session_id, "upto": 2**63 - 1, "gone": 0} for row in rows]
    connection.execute(_MARK, marks)
    connection.execute(_DELETE_LINES, marks)  # of packets that came after the others had gone
    for table in (session_charge, command):
        own = [table.c.account_id, table.c.session_id]
        _delete_each(connection, table, own, rows)
    # Another node may have chosen the same ones, and been faster.
    return _delete_each(connection, session, key, rows), len(rows) == SESSIONS_AT_ONCE


def _delete_each(connection: Connection, table: Table, columns: Sequence[Any], rows: Sequence[Any]) -> int:
    """The rows of a table in which these columns have these values; how many there were."""
    if not rows:
        return 0
    names = [column.name for column in columns]
    which = and_(*(table.c[name] == bindparam(f"the_{name}") for name in names))
    given = [{f"the_{name}": value for name, value in zip(names, row, strict=True)} for row in rows]
    return connection.execute(delete(table).where(which), given).rowcount


_THE_SESSION: Final = and_(_s.account_id == bindparam("account"), _s.session_id == bindparam("id"))
_MARK: Final = (
    update(session).where(_THE_SESSION).values(removed_line_no=bindparam("upto"), lines_removed_at=bindparam("gone"))
)
_DELETE_LINES: Final = delete(usage_line).where(
    usage_line.c.account_id == bindparam("account"),
    usage_line.c.session_id == bindparam("id"),
    usage_line.c.line_no <= bindparam("upto"),
)
_REMOVERS: Final[Mapping[str, Callable[[Connection, str, Instant, Instant], tuple[int, bool]]]] = {
    "usage_lines": _remove_lines,
    "commands": _remove_rows,
    "notices": _remove_rows,
    "top_up_requests": _remove_rows,
    "orphans": _remove_rows,
    "closed_sessions": _remove_sessions,
}
