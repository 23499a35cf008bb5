"""What should have been done by now and was not: the database's side of `aaa doctor`. Reads, changes nothing.

Everything that waits here is worked off by any running server within a second or so, so what has waited for long shows
that no server runs, or what stands in its way.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Connection, text

from charging.plan import Instant

Level = Literal["ok", "warn", "fail"]

COMMANDS_MS: Final = 60_000
TOP_UPS_MS: Final = 10_000
LEASES_MS: Final = 60_000
#: Sessions are called stale by a job every 15 s, after their own time is over.
STALE_MS: Final = 60_000
RESTARTS_MS: Final = 60_000
DAY_MS: Final = 86_400_000
#: A NAS's clock and a database's may differ by some seconds; what is told apart by seconds is then wrong by seconds.
CLOCK_WARN_MS: Final = 2_000
CLOCK_FAIL_MS: Final = 60_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Finding(NamedTuple):
    """One line. `advice` is empty where nothing is to be done."""

    check: str
    level: Level
    words: str
    advice: str = ""


def examine(connection: Connection, now: Instant) -> list[Finding]:
    """All checks of one state of the database."""
    return [check(connection, now) for check in CHECKS]


def commands(connection: Connection, now: Instant) -> Finding:
    """Commands that wait although they could have been sent."""
    count, oldest = _waiting(
        connection,
        "SELECT count(*), min(created_at) FROM command WHERE state = 'pending' AND not_before < :before AND created_at < :before",
        before=now - COMMANDS_MS,
    )
    if not count:
        return Finding("commands", "ok", f"none waits for more than {COMMANDS_MS // 1000} s")
    return Finding(
        "commands", "fail", f"{count} wait for their NAS, the oldest since {_ago(now, oldest)}",
        "is a server running, and does the NAS take CoA (aaa nas list: coa_port, and its secret for CoA)?",
    )  # fmt: skip


def leases(connection: Connection, now: Instant) -> Finding:
    """Commands that a node had taken and did not finish, and that nobody took over."""
    row = connection.execute(
        text(
            "SELECT count(*), min(lease_until), min(lease_node) FROM command "
            "WHERE state = 'pending' AND lease_until > 0 AND lease_until < :before"
        ),
        {"before": now - LEASES_MS},
    ).one()
    if not row[0]:
        return Finding("leases", "ok", "none was left behind")
    return Finding(
        "leases", "warn", f"{row[0]} commands were taken by node {row[2]!r} and never finished, since {_ago(now, row[1])}",
        "that node died, and no other runs: start one",
    )  # fmt: skip


def top_ups(connection: Connection, now: Instant) -> Finding:
    """Payments that a billing system has committed and that are not paid in."""
    return _unanswered(connection, now, "top-ups", "billing_top_up", "paid in", "inbox")


def orders(connection: Connection, now: Instant) -> Finding:
    """What a billing system has ordered and nobody has carried out."""
    return _unanswered(connection, now, "orders", "billing_order", "carried out", "orders")


def refused_top_ups(connection: Connection, now: Instant) -> Finding:
    """Payments of the last day that were answered with an error."""
    return _refused(connection, now, "refused top-ups", "billing_top_up", "paid in")


def refused_orders(connection: Connection, now: Instant) -> Finding:
    """Orders of the last day that were answered with an error."""
    return _refused(connection, now, "refused orders", "billing_order", "carried out")


def top_up_requests(connection: Connection, now: Instant) -> Finding:
    """Accounts that asked for money and got no answer."""
    count, oldest = _waiting(
        connection,
        "SELECT count(*), min(created_at) FROM top_up_request WHERE status = 'open' AND created_at < :before",
        before=now - DAY_MS,
    )
    if not count:
        return Finding("top-up requests", "ok", "none is unanswered for more than a day")
    return Finding(
        "top-up requests", "warn", f"{count} are unanswered, since {_ago(now, oldest)}",
        "is the billing system running that reads billing_top_up_request? (docs/billing-sql.md)",
    )  # fmt: skip


def _unanswered(connection: Connection, now: Instant, name: str, table: str, done: str, job: str) -> Finding:
    before = _sql_time(connection, now - TOP_UPS_MS)
    count = _number(
        connection, f"SELECT count(*) FROM {table} WHERE status = 'pending' AND created_at < :before", before=before
    )
    if not count:
        return Finding(name, "ok", f"none waits for more than {TOP_UPS_MS // 1000} s")
    return Finding(
        name, "fail", f"{count} are committed and not {done}",
        f"is a server running? If so, its log says why (job-failed, job {job})",
    )  # fmt: skip


def _refused(connection: Connection, now: Instant, name: str, table: str, done: str) -> Finding:
    after = _sql_time(connection, now - DAY_MS)
    count = _number(
        connection, f"SELECT count(*) FROM {table} WHERE status = 'error' AND created_at >= :after", after=after
    )
    if not count:
        return Finding(name, "ok", "none in the last day")
    return Finding(
        name, "warn", f"{count} in the last day",
        f"read the error column of {table}; the billing system sent what can not be {done}",
    )  # fmt: skip


def _sql_time(connection: Connection, instant: Instant) -> Any:
    """An instant as the inboxes' `created_at` compares with."""
    moment = _EPOCH + timedelta(milliseconds=instant)
    return moment.strftime("%Y-%m-%d %H:%M:%S") if connection.dialect.name == "sqlite" else moment


def stale_sessions(connection: Connection, now: Instant) -> Finding:
    """Live sessions that have been silent for longer than they may."""
    count, oldest = _waiting(
        connection,
        "SELECT count(*), min(stale_at) FROM session WHERE closed_at IS NULL AND stale_at < :before",
        before=now - STALE_MS,
    )
    if not count:
        return Finding("stale sessions", "ok", "none is left open")
    return Finding(
        "stale sessions", "fail", f"{count} are silent and still open, the oldest since {_ago(now, oldest)}",
        "they hold their users' balance; a running server closes them: is one running? (job-failed, job stale)",
    )  # fmt: skip


def nas_restarts(connection: Connection, now: Instant) -> Finding:
    """NASes that restarted, and whose older sessions are not all closed yet."""
    count, oldest = _waiting(
        connection,
        "SELECT count(*), min(recorded_at) FROM nas_restart WHERE finished_at IS NULL AND recorded_at < :before",
        before=now - RESTARTS_MS,
    )
    if not count:
        return Finding("NAS restarts", "ok", "all are worked off")
    return Finding(
        "NAS restarts", "fail", f"{count} are not worked off, the oldest since {_ago(now, oldest)}",
        "is a server running? If so, its log says why (job-failed, job restarts)",
    )  # fmt: skip


def orphans(connection: Connection, now: Instant) -> Finding:
    """Reports of the last day that belong to nobody."""
    count = _number(
        connection,
        "SELECT count(*) FROM orphan_report WHERE session_id IS NULL AND received_at >= :after",
        after=now - DAY_MS,
    )
    if not count:
        return Finding("orphans", "ok", "no report of the last day belongs to nobody")
    return Finding(
        "orphans", "warn", f"{count} reports of the last day belong to no known session",
        "they were not charged: aaa orphan list, then aaa orphan charge or forget",
    )  # fmt: skip


def enforcement(connection: Connection, now: Instant) -> Finding:
    """Sessions that a NAS could not be made to end or slow down."""
    count = _number(
        connection,
        "SELECT count(*) FROM notice WHERE kind = 'enforcement-failed' AND created_at >= :after",
        after=now - DAY_MS,
    )
    if not count:
        return Finding("enforcement", "ok", "every NAS did what it was told in the last day")
    return Finding(
        "enforcement", "warn", f"{count} times in the last day a NAS did not do what it was told",
        "read notice (kind enforcement-failed), then: aaa explain SUBSCRIBER",
    )  # fmt: skip


def notices(connection: Connection, now: Instant) -> Finding:
    """Notices that did not arrive in the last day, and were given up."""
    count = _number(
        connection,
        "SELECT count(*) FROM notice_delivery WHERE state = 'failed' AND finished_at >= :after",
        after=now - DAY_MS,
    )
    if not count:
        return Finding("notices", "ok", "none was given up in the last day")
    return Finding(
        "notices", "warn", f"{count} did not arrive in the last day and were given up",
        "see why: aaa notice list --state failed; then: aaa notice retry --all",
    )  # fmt: skip


def clock(connection: Connection, now: Instant) -> Finding:
    """The database's clock against ours; SQLite has none of its own."""
    if connection.dialect.name == "sqlite":
        return Finding("clock", "ok", "the database has this machine's")
    theirs = _number(connection, "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)")
    behind = abs(now - theirs)
    words = f"the database's is {behind} ms {'behind' if theirs < now else 'ahead of'} this machine's"
    if behind < CLOCK_WARN_MS:
        return Finding("clock", "ok", words)
    level: Level = "warn" if behind < CLOCK_FAIL_MS else "fail"
    return Finding(
        "clock", level, words, "run NTP on both; sessions are called stale and leases run out by these clocks"
    )


CHECKS: Final[tuple[Callable[[Connection, Instant], Finding], ...]] = (
    clock, commands, leases, top_ups, refused_top_ups, orders, refused_orders, top_up_requests, stale_sessions, nas_restarts, orphans, enforcement, notices,
)  # fmt: skip


def _number(connection: Connection, statement: str, **values: object) -> int:
    return int(connection.execute(text(statement), values).scalar_one() or 0)


def _waiting(connection: Connection, statement: str, **values: object) -> tuple[int, Instant]:
    count, oldest = connection.execute(text(statement), values).one()
    return int(count), int(oldest or 0)


def _ago(now: Instant, instant: Instant) -> str:
    seconds = max(0, now - instant) // 1000
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
