"""For how long what is no money is kept. Pure.

The ledger's transfers, accounts, buckets, periods, vouchers, plan versions and the rows of billing systems are money, or say why
it moved: nothing here removes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

from charging.amounts import format_seconds, parse_seconds
from charging.plan import Instant
from charging.tomlfile import BadValueError, Table

NEVER: Final = "never"
"""What is written where something is to be kept for ever."""
DAY_SECONDS: Final = 86_400
#: A packet that is late by less must still find its session.
LEAST_SESSION_SECONDS: Final = 7 * DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Retention:
    """Per kind of rows, how many seconds they are kept; None: for ever. The fields' names are the configuration's keys."""

    usage_lines: int | None = 400 * DAY_SECONDS
    """What each report added, from the end of its session on."""
    commands: int | None = 90 * DAY_SECONDS
    """What NASes were told, and what they answered."""
    notices: int | None = 400 * DAY_SECONDS
    """With where they were delivered."""
    top_up_requests: int | None = 400 * DAY_SECONDS
    """From their answer on."""
    orphans: int | None = 400 * DAY_SECONDS
    """Reports of nobody's session, charged or not."""
    closed_sessions: int | None = 1_000 * DAY_SECONDS
    """With what they drew from each bucket; their transfers stay."""

    def before(self, what: str, now: Instant) -> Instant | None:
        """What was over before that moment need not be kept; None: everything must."""
        seconds: int | None = getattr(self, what)
        return None if seconds is None else now - seconds * 1000


KINDS: Final = tuple(each.name for each in fields(Retention))
"""In the order in which they are removed: a session goes after its usage lines."""


def read(table: Table, *, remind_ahead_seconds: int, spool_seconds: int) -> Retention:
    """The table `[retention]`; faults are the table's. Reminders must outlive what they remind of, sessions what may still wait
    in a spool."""
    default = Retention()
    least = {
        "notices": remind_ahead_seconds + DAY_SECONDS,
        "closed_sessions": max(LEAST_SESSION_SECONDS, spool_seconds + DAY_SECONDS),
    }
    found = Retention(
        **{kind: table.take(kind, _age(least.get(kind, DAY_SECONDS)), getattr(default, kind)) for kind in KINDS}
    )
    table.finish()
    sessions, lines = found.closed_sessions, found.usage_lines
    if sessions is not None and (lines is None or lines > sessions) and not table.faults.under(table.path):
        key = "closed_sessions" if "closed_sessions" in table.values else "usage_lines"
        table.fault(
            key,
            "closed_sessions is shorter than usage_lines, and a session is not removed before them; make it as long",
        )
    return found


def _age(least_seconds: int) -> Callable[[object], int | None]:
    def parse(value: object) -> int | None:
        example = 'write for example "400 days", or "never"'
        if not isinstance(value, str):
            raise BadValueError(f"{value!r} is not a text; {example}")
        if value.strip() == NEVER:
            return None
        try:
            seconds = parse_seconds(value)
        except ValueError as error:
            raise BadValueError(f"{error}; {example}") from None
        if seconds < least_seconds:
            raise BadValueError(f'{value!r} is too short; write at least "{format_seconds(least_seconds)}", or "never"')
        return seconds

    return parse
