"""What a report on a time can not know, because retention has removed it."""

from __future__ import annotations

from typing import Final

import click
from sqlalchemy import Connection

from charging.plan import Instant
from charging.pruning import removed_before
from cli.output import day, iso

_WHAT: Final = {
    "usage_lines": "the usage lines of sessions that ended",
    "closed_sessions": "sessions that ended",
    "commands": "commands of NASes given",
    "notices": "notices written",
    "orphans": "orphans that came",
    "top_up_requests": "top-up requests answered",
}


def words(connection: Connection, since: Instant | None, *kinds: str) -> list[str]:
    """A sentence for each of the kinds of which something after `since` is not there any more; None: since ever."""
    known = removed_before(connection)
    return [
        f"{_WHAT[kind]} before {day(iso(known[kind]))} (UTC) were removed by retention"
        for kind in kinds
        if kind in known and (since is None or known[kind] > since)
    ]


def tell(connection: Connection, since: Instant | None, *kinds: str) -> None:
    """Say it beside the output."""
    for sentence in words(connection, since, *kinds):
        click.echo(f"not complete: {sentence}", err=True)
