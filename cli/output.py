"""How every command prints what it found: a table for people, or with --json the same records for programs.

A record is a mapping of stable keys to JSON values: integers stay integers, instants are ISO 8601 in UTC, amounts are in
their smallest unit with the unit in the key (`balance_micros`, `octets_up`). A column says how people read one of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import click

from charging.plan import Instant

Record = Mapping[str, Any]
"""Keys and JSON values: str, int, bool, None, lists and mappings of them."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
"""The option of every command that prints data; the parameter is `as_json`."""


_BEGINS_A_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True, slots=True)
class Column:
    """One thing that people read of a record."""

    title: str
    read: str | Callable[[Record], object]
    """A key of the record, or what makes the text from it."""
    right: bool = False
    """Numbers stand on the right."""

    def text(self, record: Record) -> str:
        """What stands in the table; control characters are shown, never sent to a terminal."""
        value = record[self.read] if isinstance(self.read, str) else self.read(record)
        return printable(_words(value))


def print_records(records: Iterable[Record], columns: Sequence[Column], *, as_json: bool, none: str) -> None:
    """A list: a table with a line per record, or a JSON list. `none` is what people read where it is empty."""
    listed = list(records)
    if as_json:
        print_json(listed)
    elif not listed:
        click.echo(none)
    else:
        _table([column.title for column in columns], [[c.text(r) for c in columns] for r in listed], columns)


def print_record(record: Record, columns: Sequence[Column], *, as_json: bool) -> None:
    """One thing: a line per column, or a JSON object."""
    if as_json:
        print_json(record)
        return
    width = max(len(column.title) for column in columns)
    for column in columns:
        for number, line in enumerate(_lines(column, record)):
            title = column.title if number == 0 else ""
            click.echo(f"{title:<{width}}  {line}".rstrip())


def print_json(value: object) -> None:
    """One JSON value on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def iso(instant: Instant | None) -> str | None:
    """`2026-03-01T12:00:00.250Z`; None stays None."""
    if instant is None:
        return None
    second, millisecond = divmod(instant, 1000)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{millisecond:03d}Z"


def day(text: str | None) -> str | None:
    """The day and minute of an `iso` text, for tables: `2026-03-01 12:00`."""
    return None if text is None else text[:16].replace("T", " ")


def printable(text: str) -> str:
    """Control characters as escapes: what a NAS or a file brought must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def for_spreadsheet(text: str) -> str:
    """A text as a cell of CSV: what a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{text}" if text[:1] in _BEGINS_A_FORMULA else text


def _words(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(_words(item) for item in value) or "-"
        case _:
            return str(value)


def _lines(column: Column, record: Record) -> list[str]:
    """A column whose text is a list has a line for each item when one record is shown."""
    value = record[column.read] if isinstance(column.read, str) else column.read(record)
    if isinstance(value, list | tuple) and value:
        return [printable(_words(item)) for item in value]
    return [printable(_words(value))]


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[Column]) -> None:
    # Slow to import, and --json and --help do not need it.
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title, column in zip(titles, columns, strict=True):
        table.add_column(Text(title), justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    # Piped into another program a line stays whole.
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 1000)
    with console.capture() as capture:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))
