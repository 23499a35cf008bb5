"""How far an account can go below its limit at most, and why: the overspend bound with its terms.

Between two reports nobody knows what a session uses. When the last of the money was given out, a session may go on
for one reporting interval (I), until that report is here (L), until the command has reached the NAS (D); in that time
the line carries its rate (R). So one session's bound is R·(I + L + D), an account's is the sum over the sessions that
are live and those that its subscribers may still open. The numbers are those that `enforcement` reserves by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from charging.buckets import NEVER, Bucket, Rated, Usage, charged_part, cover
from charging.enforcement import COMMAND_SECONDS, REPORT_DELAY_SECONDS, slice_of
from charging.plan import Plan, Rate


class Line(NamedTuple):
    """Sessions of one plan that report equally often: one that is live, or those that may still be opened."""

    username: str
    plan: Plan
    interval_seconds: int
    sessions: int | None
    """None: as many as they like."""
    session_id: int | None = None
    """Of a live one."""
    rated: dict[int, Rated] = {}  # noqa: RUF012  never changed; what a live session has been charged so far


class Term(NamedTuple):
    """What the sessions of one line can use past the end of the money."""

    line: Line
    up_octets_per_second: int | None
    """R upstream as far as the plan charges it; None: not known."""
    down_octets_per_second: int | None
    seconds: int
    """I + L + D of one session."""
    octets: int | None
    """R·(I+L+D) of all sessions; 0 where the plan charges no octets, None where there is no bound."""
    charged_seconds: int | None
    """Of all sessions; 0 where the plan charges no time."""
    micros: int | None
    """What that would have cost at the plan's rates, allowances left aside."""
    why_none: str
    """Why there is no bound; empty where there is one."""


class Bound(NamedTuple):
    """An account's bound: the sum of its terms, None where one of them has none."""

    terms: tuple[Term, ...]
    octets: int | None
    seconds: int | None
    micros: int | None


def bound(lines: Sequence[Line]) -> Bound:
    """The bound of an account with these sessions."""
    terms = tuple(_term(line) for line in lines if line.sessions != 0)
    return Bound(
        terms,
        _sum([term.octets for term in terms]),
        _sum([term.charged_seconds for term in terms]),
        _sum([term.micros for term in terms]),
    )


def _term(line: Line) -> Term:
    plan = line.plan
    seconds = line.interval_seconds + REPORT_DELAY_SECONDS + COMMAND_SECONDS
    counted = charged_part(plan, Usage(1, 1, 1))
    up = plan.max_up_octets_per_second if counted.up else 0
    down = plan.max_down_octets_per_second if counted.down else 0
    timed = 0 if not counted.seconds else None if line.sessions is None else seconds * line.sessions
    why_none = ""
    if up is None or down is None:
        why_none = f"plan {plan.name} has no rate"
    elif line.sessions is None and (up or down or counted.seconds):
        why_none = f"plan {plan.name} sets no limit on sessions"
    if why_none:
        return Term(line, up, down, seconds, None, timed, None, why_none)
    one = charged_part(plan, slice_of(plan, line.interval_seconds))
    count = line.sessions or 0  # any number of sessions that are not charged
    micros = _price(plan, one, line.rated) * count
    return Term(line, up, down, seconds, (one.up + one.down) * count, timed, micros, "")


def _price(plan: Plan, usage: Usage, rated: dict[int, Rated]) -> int:
    """What a usage costs at most by the plan's lines, from a purse that is never empty."""
    if plan.selective:
        # Nobody knows when and where: the dearest line of each unit, as if it stood alone.
        alone = [_price(replace(plan, rates=(_always(rate),)), usage, {}) for rate in plan.rates]
        return sum(
            max(
                (micros for micros, rate in zip(alone, plan.rates, strict=True) if (rate.unit, rate.direction) == way),
                default=0,
            )
            for way in {(rate.unit, rate.direction) for rate in plan.rates}
        )
    purse = Bucket(0, 0, "", "money", "total", NEVER, 0, 0, "", 0, 0, False, "", 0, None, 0)
    return cover(plan, usage, [purse], lambda bucket: bucket.balance, rated, 0).money


def _always(rate: Rate) -> Rate:
    """The line without its conditions, and where it counts over a period, at its beginning."""
    return replace(
        rate, windows=(), zones=(), service_classes=(), valid_from=None, valid_until=None, accumulate="session", free=0
    )


def _sum(values: Sequence[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
