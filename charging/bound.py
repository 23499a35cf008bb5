"""How far an account can go below its limit at most, and why: the overspend bound with its terms.

Between two reports nobody knows what a session uses. When the last of the money was given out, a session may go on
for one reporting interval (I), until that report is here (L), until the command has reached the NAS (D); in that time
the line carries its rate (R). How often that is so depends on what the NAS can be made to do, and it counts with a NAS that
acknowledges what it does not do:

* It stops by itself at the volume that it was told: 0.
* It is told a speed that makes what is left last, and may do nothing about it: R·(I + L + D) until it has been told and
  has said yes, and the same again until its report has shown the truth and a Disconnect is there.
* It only knows profiles, so nothing slows it down before the end: the last interval may have begun with next to nothing.
* It is ended: R·(I + L + D). It is told nothing: its Session-Timeout, which is never shorter than half a minute.

An account's bound is the sum over the sessions that are live and those that its subscribers may still open. It holds as long
as a NAS carries out a Disconnect, or keeps the limit that it was told; where one is seen not to, `aaa nas show` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from charging.buckets import NEVER, Bucket, Rated, Usage, charged_part, cover
from charging.plan import Plan, Rate
from charging.session import Means
from charging.slices import COMMAND_SECONDS, LEAST_CAP_SECONDS, REPORT_DELAY_SECONDS, use_in

#: How many times I + L + D it may take until a session has come to its end.
SPANS: Final[dict[Means, int]] = {"volume": 0, "rate": 2, "profile": 3, "disconnect": 1, "time": 0}


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
    means: Means = "profile"
    """What its NAS can be made to do; of those that may begin, what is usual."""


class Term(NamedTuple):
    """What the sessions of one line can use past the end of the money."""

    line: Line
    up_octets_per_second: int | None
    """R upstream as far as the plan charges it; None: not known."""
    down_octets_per_second: int | None
    seconds: int
    """I + L + D of one session."""
    spans: int
    """How many times that."""
    unsaid_seconds: int
    """Where only a time can be said: what no shorter one is said for."""
    octets: int | None
    """R·(I+L+D) of all sessions, as often as their NAS makes necessary; 0 where the plan charges no octets, None where there is no bound."""
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
    means = "rate" if line.means == "volume" and plan.charged_directions != {"total"} else line.means
    spans, unsaid = SPANS[means], LEAST_CAP_SECONDS if means == "time" else 0
    counted = charged_part(plan, Usage(1, 1, 1))
    up = plan.max_up_octets_per_second if counted.up else 0
    down = plan.max_down_octets_per_second if counted.down else 0
    timed = 0 if not counted.seconds else None if line.sessions is None else seconds * line.sessions
    why_none = ""
    if (up is None or down is None) and means != "volume":
        why_none = f"plan {plan.name} has no rate"
    elif line.sessions is None and (up or down or counted.seconds):
        why_none = f"plan {plan.name} sets no limit on sessions"
    if why_none:
        return Term(line, up, down, seconds, spans, unsaid, None, timed, None, why_none)
    octets = use_in(plan, seconds * spans + unsaid)
    one = charged_part(plan, Usage(octets.up, octets.down, seconds))
    count = line.sessions or 0  # any number of sessions that are not charged
    micros = _price(plan, one, line.rated) * count
    return Term(line, up, down, seconds, spans, unsaid, (one.up + one.down) * count, timed, micros, "")


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
