"""`aaa report`: what a time comes to."""

from __future__ import annotations

from typing import Any, Final

import click

from charging import reconciliation
from charging.catalogue import CatalogueError
from charging.database import reading
from charging.plan import Instant
from charging.reconciliation import NasLine
from cli import removed
from cli.amounts import Moment, amount_text
from cli.config import Setup, pass_setup
from cli.leaks import leaks
from cli.output import Column, json_option, print_records


def _octets(key: str) -> Any:
    return lambda record: amount_text("octets", record[key], "")


def _delay(key: str) -> Any:
    return lambda record: "-" if record[key] is None else f"{record[key]} ms"


_NAS: Final = (
    Column("NAS", lambda record: record["nas"] or f"#{record['nas_id']}, removed"),
    Column("sessions", "sessions", right=True),
    Column("without Stop", "without_stop", right=True),
    Column("reported", _octets("octets_reported"), right=True),
    Column("charged", _octets("octets_charged"), right=True),
    Column("free", _octets("octets_free"), right=True),
    Column("leaked", _octets("octets_leaked"), right=True),
    Column("resets", "resets", right=True),
    Column("wraps", "wraps", right=True),
    Column("suspect", "suspects", right=True),
    Column("orphans", "orphans", right=True),
    Column("clock: least", _delay("earliest_ms"), right=True),
    Column("mean", _delay("mean_ms"), right=True),
    Column("most", _delay("latest_ms"), right=True),
)


@click.group(epilog="Example: aaa report nas --from 2026-03-01 --to 2026-03-31")
def report() -> None:
    """Reports over a time."""


report.add_command(leaks)


@report.command("nas", epilog="Example: aaa report nas --from 2026-03-01 --to 2026-03-31 --json")
@click.option("--from", "since", metavar="DAY", type=Moment(), required=True, help="From this day (UTC) on.")
@click.option(
    "--to", "until", metavar="DAY", type=Moment(ends=True), required=True, help="To the end of this day (UTC)."
)
@json_option
@pass_setup
def nas_(setup: Setup, since: Instant, until: Instant, as_json: bool) -> None:
    """Compare, NAS by NAS, what was reported with what was charged.

    Reported = charged + free (at the exhausted profile's speed) + leaked (used past the balance, of whole sessions). Sessions
    without a Stop fell silent, or their NAS restarted. Resets, wraps and suspect reports are counters that did not simply
    grow; orphans are reports of nobody's session. The clock's columns are the time from when a report was true at the NAS
    to when it was booked: below zero its clock is ahead of ours.
    """
    if until <= since:
        raise CatalogueError("--to is before --from; there is no such time")
    with reading(setup.engine()) as connection:
        lines = reconciliation.by_nas(connection, since, until)
        removed.tell(connection, since, "usage_lines", "closed_sessions", "orphans")
    print_records([_record(line) for line in lines], _NAS, as_json=as_json, none="no NAS had sessions in that time")


def _record(line: NasLine) -> dict[str, Any]:
    return {**line._asdict(), "octets_charged": line.octets_charged}
