"""`aaa usage`: what a subscriber used."""

from __future__ import annotations

from typing import Any, Final

import click

from aaa import registry
from charging import catalogue, statement
from charging.database import reading
from charging.plan import Instant
from charging.statement import By, UsageLine
from cli.amounts import Moment, amount_text
from cli.config import Setup, pass_setup
from cli.output import Column, day, iso, json_option, print_records

DEFAULT_LIMIT: Final = 1000


def _amount(unit: str, key: str) -> Any:
    return lambda record: amount_text(unit, record[key], record["currency"])


_USED: Final = (
    Column("up", _amount("octets", "octets_up"), right=True),
    Column("down", _amount("octets", "octets_down"), right=True),
    Column("time", _amount("seconds", "seconds"), right=True),
    Column("charged", _amount("money", "amount_micros"), right=True),
)
_COLUMNS: Final[dict[By, tuple[Column, ...]]] = {
    "day": (Column("day (UTC)", lambda record: (record["day"] or "")[:10]), *_USED),
    "session": (
        Column("session", "session_id"),
        Column("first report (UTC)", lambda record: day(record["first_at"])),
        Column("last report (UTC)", lambda record: day(record["last_at"])),
        *_USED,
    ),
    "line": (
        Column("report (UTC)", lambda record: day(record["last_at"])),
        Column("session", "session_id"),
        Column("line", "line_no", right=True),
        Column("kind", "kind"),
        *_USED,
        Column("flags", lambda record: record["flags"] or "-"),
    ),
}


@click.command(epilog="Example: aaa usage anna --from 2026-03-01 --to 2026-03-31 --by session")
@click.argument("subscriber")
@click.option("--from", "since", metavar="DAY", type=Moment(), help="From this day (UTC) on.")
@click.option("--to", "until", metavar="DAY", type=Moment(ends=True), help="Up to the end of this day (UTC).")
@click.option("--by", type=click.Choice(["day", "session", "line"]), default="day", show_default=True, help="Add up.")
@click.option("--limit", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True, help="At most so many.")
@json_option
@pass_setup
def usage(
    setup: Setup, subscriber: str, since: Instant | None, until: Instant | None, by: By, limit: int, as_json: bool
) -> None:
    """Show what a subscriber used: by day, by session, or report by report; the newest first.

    Charged is money only; `aaa session show` says what was drawn from allowances.
    """
    with reading(setup.engine()) as connection:
        found = registry.subscriber_named(connection, subscriber)
        account = catalogue.account_named(connection, found.account_name)
        lines = statement.usage(
            connection, account.account_id, found.subscriber_id, since=since, until=until, by=by, limit=limit + 1
        )
    records = [_record(line, account.currency) for line in lines[:limit]]
    print_records(records, _COLUMNS[by], as_json=as_json, none="nothing used in that time")
    if len(lines) > limit:
        click.echo(f"only the newest {limit}; there are more: --limit", err=True)


def _record(line: UsageLine, currency: str) -> dict[str, Any]:
    return {
        "day": None if line.day_at is None else (iso(line.day_at) or "")[:10],
        "session_id": line.session_id,
        "line_no": line.line_no,
        "kind": line.kind,
        "first_at": iso(line.first_at),
        "last_at": iso(line.last_at),
        "octets_up": line.octets_up,
        "octets_down": line.octets_down,
        "seconds": line.seconds,
        "free_octets": line.free_octets,
        "amount_micros": line.amount_micros,
        "currency": currency,
        "flags": line.flags,
    }
