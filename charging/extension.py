"""Service that every payment makes last longer, where the plan says so (`top_up_extends`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from charging import tables
from charging.bulk import Sets
from charging.payment import extended
from charging.plan import Duration, Instant, Plan


class Line(NamedTuple):
    """A subscriber whose service ends, and how far a payment moves that end."""

    account_id: int
    subscriber_id: int
    expires_at: Instant
    extends: Duration
    time_zone: str


def lines_of(
    to: Sets, account_ids: Sequence[int], read_plans: Callable[[list[int]], None], plan_of: Callable[[int], Plan]
) -> list[Line]:
    """The subscribers of these accounts whose end a payment moves. A service without an end stays so."""
    columns = ("account_id", "subscriber_id", "expires_at", "plan_name")
    which = "account_id {any} AND expires_at IS NOT NULL"
    rows = to.select(tables.subscriber, columns, which, sorted(set(account_ids))).fetchall()
    if not rows:
        return []
    names = sorted({row[3] for row in rows})
    versions = dict(to.select(tables.plan, ("name", "plan_version_id"), "name {any}", names).fetchall())
    read_plans(list(versions.values()))
    plans = {name: plan_of(version) for name, version in versions.items()}
    return [
        Line(account_id, subscriber_id, expires_at, extends, plans[name].time_zone)
        for account_id, subscriber_id, expires_at, name in rows
        if (extends := plans[name].top_up_extends) is not None
    ]


def extend(to: Sets, lines: Sequence[Line], paid: Collection[int | None], now: Instant) -> None:
    """Move the end of service of the accounts that paid."""
    rows = [
        (line.subscriber_id, until)
        for line in sorted(lines, key=lambda line: line.subscriber_id)
        if line.account_id in paid
        and (until := extended(line.expires_at, line.extends, line.time_zone, now)) > line.expires_at
    ]
    if rows:
        to.update(tables.subscriber, ("subscriber_id",), ("expires_at",), rows)
