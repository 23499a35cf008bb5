"""`aaa trace`: what was decided about each packet, in words."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

import click
from sqlalchemy import Engine

from aaa import tracing
from aaa.tracing import TraceLine
from charging.amounts import parse_seconds
from charging.database import reading
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.output import day, iso, json_option, print_json, printable

DEFAULT_LIMIT: Final = 50
MOST_LISTED: Final = 10_000
#: A watch runs out by itself when whoever follows is gone.
WATCH_SECONDS: Final = 30
RENEWED_EVERY_SECONDS: Final = 10
LOOK_SECONDS: Final = 0.5
WRITTEN_WITHIN_MS: Final = 5_000
#: Rows of other nodes may be committed late, behind later ones.
OVERLAP: Final = 1_000


def _span(_ctx: click.Context, _param: click.Parameter, value: str) -> int:
    try:
        seconds = parse_seconds(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}; write for example 1h") from None
    if seconds < 1:
        raise click.BadParameter(f"{value!r} is no time; write for example 1h")
    return seconds


@click.command(epilog="Example: aaa trace --user alice --follow")
@click.option("--user", "username", metavar="U", help="Only packets of this subscriber.")
@click.option("--nas", metavar="N", help="Only packets from this NAS.")
@click.option(
    "--last", "seconds", metavar="TIME", default="1h", show_default=True, callback=_span, help="How far back."
)
@click.option(
    "--limit", type=click.IntRange(1, MOST_LISTED), default=DEFAULT_LIMIT, show_default=True, help="At most so many."
)
@click.option(
    "--follow", is_flag=True, help="Go on until Ctrl-C, with everything that comes: also what is let in, and reports."
)
@json_option
@pass_setup
def trace(
    setup: Setup, /, username: str | None, nas: str | None, seconds: int, limit: int, *, follow: bool, as_json: bool
) -> None:
    """Show what was decided about each packet: which rule, which attribute, how long after it came.

    The history has what was refused or got silence; with trace = "all" in the server's configuration everything, with "off"
    nothing. --follow watches: running servers write down whatever fits while it runs.
    """
    engine = setup.engine()
    with reading(engine) as connection:
        since = now() - seconds * 1000
        lines = tracing.lines(connection, username=username, nas=nas, since=since, limit=limit)
    if follow:
        _follow(engine, username, nas, lines, as_json=as_json)
    elif as_json:
        print_json([record_of(line) for line in lines])
    elif not lines:
        click.echo("nothing in the history; what is let in is only in it while somebody watches: --follow")
    else:
        for line in lines:
            print_line(line)


def _follow(engine: Engine, username: str | None, nas: str | None, lines: list[TraceLine], *, as_json: bool) -> None:
    watches: list[int] = []
    try:
        for each in chain(lines, _new(engine, username, nas, {line.trace_id for line in lines}, watches)):
            if as_json:
                click.echo(json.dumps(record_of(each), ensure_ascii=False))
            else:
                print_line(each)
    except KeyboardInterrupt:
        pass
    finally:
        with engine.begin() as connection:
            for watch_id in watches:
                tracing.unwatch(connection, watch_id)


def _new(
    engine: Engine, username: str | None, nas: str | None, seen: set[int], watches: list[int]
) -> Iterator[TraceLine]:
    """What comes from now on, for ever."""
    # What came just before may be written just now.
    since, renewed = now() - WRITTEN_WITHIN_MS, 0
    while True:
        if now() - renewed > RENEWED_EVERY_SECONDS * 1000:
            renewed = now()
            with engine.begin() as connection:
                watches.append(tracing.watch(connection, username, nas, renewed + WATCH_SECONDS * 1000))
                for old in watches[:-1]:
                    tracing.unwatch(connection, old)
            del watches[:-1]
        with reading(engine) as connection:
            after = max(seen, default=0) - OVERLAP
            fresh = tracing.lines(connection, username=username, nas=nas, since=since, after=after, limit=MOST_LISTED)
        for line in fresh:
            if line.trace_id not in seen:
                seen.add(line.trace_id)
                yield line
        newest = max(seen, default=0)
        seen = {trace_id for trace_id in seen if trace_id > newest - OVERLAP}
        time.sleep(LOOK_SECONDS)


def print_line(line: TraceLine) -> None:
    """A packet for people: a head, and a line for each step with the milliseconds since it came."""
    took = f"{line.microseconds / 1000:.1f} ms"
    click.echo(
        f"{day_of(line)}  {line.kind} of {printable(line.username) or '-'} at {line.nas}: {line.result} after {took}"
    )
    for at, words in line.steps:
        click.echo(f"  {at / 1000:9.2f}  {printable(words)}")


def day_of(line: TraceLine) -> str:
    """When it came, to the millisecond."""
    text = iso(line.received_at) or ""
    return f"{day(text)}{text[16:23]}"


def record_of(line: TraceLine) -> dict[str, Any]:
    """A packet for programs."""
    return {
        "received_at": iso(line.received_at), "node": line.node, "nas": line.nas, "username": line.username,
        "kind": line.kind, "result": line.result, "microseconds": line.microseconds,
        "steps": [{"microseconds": at, "words": words} for at, words in line.steps],
    }  # fmt: skip
