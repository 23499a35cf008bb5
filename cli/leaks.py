"""`aaa report leaks`: what was used with nothing left to pay for it, NAS by NAS."""

from __future__ import annotations

from typing import Any, Final

import click

from charging import statement
from charging.database import reading
from charging.plan import Instant
from charging.statement import LeakLine
from cli import removed
from cli.amounts import Moment, amount_text
from cli.config import Setup, pass_setup
from cli.output import Column, json_option, print_records


def _octets(key: str) -> Any:
    return lambda record: amount_text("octets", record[key], "")


_LEAKS: Final = (
    Column("NAS", "nas"),
    Column("dialect", lambda record: record["dialect"] or "-"),
    Column("sessions", "sessions", right=True),
    Column("of them leaked", "leaking", right=True),
    Column("used", _octets("octets"), right=True),
    Column("leaked", _octets("leaked_octets"), right=True),
    Column("share", lambda record: f"{record['leaked_ppm'] / 10_000:.2f} %", right=True),
    Column("the worst", _octets("most_octets"), right=True),
)
_BY_DIALECT: Final = tuple(column for column in _LEAKS if column.title != "NAS")


@click.command(epilog="Example: aaa report leaks --from 2026-03-01 --by dialect")
@click.option("--from", "since", metavar="DAY", type=Moment(), help="Sessions that closed on this day (UTC) or later.")
@click.option("--to", "until", metavar="DAY", type=Moment(ends=True), help="Up to the end of this day (UTC).")
@click.option("--by", type=click.Choice(["nas", "dialect"]), default="nas", show_default=True, help="Add up.")
@json_option
@pass_setup
def leaks(setup: Setup, since: Instant | None, until: Instant | None, by: str, as_json: bool) -> None:
    """List what sessions that have closed used with nothing left to pay for it; the worst first.

    A NAS that leaks more than the others does not do what it is told, or late: aaa nas show NAME says what was seen.
    """
    with reading(setup.engine()) as connection:
        lines = statement.leaks(connection, since=since, until=until)
        removed.tell(connection, since, "closed_sessions")
    records = [_record(line) for line in (lines if by == "nas" else _by_dialect(lines))]
    if by == "dialect":
        for record in records:
            del record["nas"]
    columns = _LEAKS if by == "nas" else _BY_DIALECT
    print_records(records, columns, as_json=as_json, none="no session closed in that time")


def _by_dialect(lines: list[LeakLine]) -> list[LeakLine]:
    found: dict[str | None, LeakLine] = {}
    for line in lines:
        known = found.get(line.dialect, LeakLine("", line.dialect, 0, 0, 0, 0, 0))
        found[line.dialect] = LeakLine(
            "",
            line.dialect,
            known.sessions + line.sessions,
            known.leaking + line.leaking,
            known.octets + line.octets,
            known.leaked_octets + line.leaked_octets,
            max(known.most_octets, line.most_octets),
        )
    return sorted(found.values(), key=lambda line: -line.leaked_octets)


def _record(line: LeakLine) -> dict[str, Any]:
    """A line as printed; `leaked_ppm`: of a million octets used."""
    return {**line._asdict(), "leaked_ppm": line.leaked_octets * 1_000_000 // line.octets if line.octets else 0}
