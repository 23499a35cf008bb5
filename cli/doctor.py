"""`aaa doctor`: is everything as it should be, and what to do where it is not. Works with the server stopped too."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from sqlalchemy import Connection

from charging.health import Finding, Level
from charging.plan import Instant
from cli.clock import now
from cli.config import Setup
from cli.output import json_option, print_json, printable

#: A spool is empty within seconds once the database is there.
SPOOL_WARN_MS: Final = 60_000
_SEGMENT: Final = re.compile(r"\d{16}-([0-9a-f]{8})\.spool")
_MARKS: Final[dict[Level, str]] = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


@click.command(epilog="Example: aaa doctor")
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check the database, its queues, the keys, the NASes, the clock and the spool of this machine.

    Each line is ok, WARN or FAIL and says what to do. Exit code 1 where something fails. Changes nothing.
    """
    setup = ctx.ensure_object(Setup)
    at = now()
    findings = [*_database(setup, at), *_spool(setup, at)]
    failed = any(finding.level == "fail" for finding in findings)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            advice = f"\n      {'':{width}}  → {finding.advice}" if finding.advice else ""
            click.echo(f"{_MARKS[finding.level]}  {finding.check:<{width}}  {printable(finding.words)}{advice}")
    if failed:
        ctx.exit(1)


def _database(setup: Setup, at: Instant) -> Iterator[Finding]:
    """Everything that needs the database, each check after what it stands on."""
    import migrations
    from charging import health
    from charging.database import DatabaseUrlError, reading
    from cli.main import in_words

    try:
        engine = setup.engine()
        with reading(engine) as connection:
            yield Finding("database", "ok", engine.url.render_as_string())
            yield _schema(migrations.NEWEST, migrations.drift(engine))
            yield from health.examine(connection, at)
            yield from _keys(setup, connection)
    except migrations.NotUpToDate as error:
        yield Finding("schema", "fail", str(error).partition(";")[0], str(error).partition("; ")[2])
    except DatabaseUrlError as error:
        yield Finding("database", "fail", str(error), "name one: database in the configuration, or AAA_DATABASE")
    except Exception as error:
        words = in_words(error)
        if words is None:
            raise
        yield Finding("database", "fail", words, "is it running, and is its address right?")


def _schema(version: str, differences: list[str]) -> Finding:
    if not differences:
        return Finding("schema", "ok", f"version {version}, no differences")
    words = f"version {version}, but {len(differences)} differences from what this program expects"
    return Finding("schema", "warn", words, "somebody changed it; aaa db check shows the differences")


def _keys(setup: Setup, connection: Connection) -> Iterator[Finding]:
    """The key file, and whether every NAS's secret can be opened with it."""
    from aaa import keyring, registry, sealed
    from aaa.dialects import dialect

    path = setup.keys_file()
    if not path.exists():
        if sealed.anything_sealed(connection):
            yield Finding(
                "key file", "fail", f"{path} is missing", "put it back from its copy: nothing sealed can be read"
            )
        else:
            yield Finding("key file", "ok", f"{path} will be made with the first secret")
        return
    try:
        keys = keyring.load(path)
    except keyring.KeyRingError as error:
        yield Finding("key file", "fail", str(error), "put its copy back")
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield Finding("key file", "warn", f"{path} can be read by others (mode {mode:03o})", f"chmod 600 {path}")
    else:
        yield Finding("key file", "ok", str(path))
    nases = registry.all_nases(connection)
    unusable: list[str] = []
    for nas in nases:
        try:
            registry.open_secret(keys, nas)
            dialect(nas.settings.dialect)
        except (keyring.KeyRingError, ValueError) as error:
            unusable.append(f"{nas.settings.name}: {error}")
    if unusable:
        yield Finding(
            "NASes", "fail", f"{len(unusable)} of {len(nases)} get no answer: {'; '.join(unusable[:5])}",
            "give them a new secret: aaa nas set NAME --secret-stdin; or put the right key file in place",
        )  # fmt: skip
    elif not nases:
        yield Finding("NASes", "warn", "there are none, so nobody is answered", "aaa nas add NAME --address ADDRESS")
    else:
        yield Finding("NASes", "ok", f"{len(nases)}, all with a secret that can be opened")


def _spool(setup: Setup, at: Instant) -> Iterator[Finding]:
    """What waits on this machine's disk. A running server may own the folder: it is only looked at."""
    from charging.database import DatabaseUrlError

    try:
        folder = setup.spool_folder(setup.config.node)
    except DatabaseUrlError:
        return  # it is told already, and without a database's name nobody knows where its spool is
    try:
        folders = [folder, *sorted(folder.glob("process-*"))] if folder.is_dir() else []
        names = sorted(
            (path for each in folders for path in each.iterdir() if path.is_file()), key=lambda path: path.name
        )
        waiting = [(path, size) for path in names if _SEGMENT.fullmatch(path.name) and (size := path.stat().st_size)]
        kept = [path for path in names if path.suffix in {".aside", ".damaged"}]
        oldest = _oldest_record(waiting[0][0]) if waiting else None
    except OSError as error:
        yield Finding("spool", "fail", f"{folder}: {error.strerror}", "name a folder of the server's own: spool_dir")
        return
    if not waiting:
        yield Finding("spool", "ok", f"{folder} is empty")
    else:
        octets = sum(size for _, size in waiting)
        since = "" if oldest is None else f", the oldest received {max(0, at - oldest) // 1000} s ago"
        old = oldest is None or at - oldest > SPOOL_WARN_MS
        yield Finding(
            "spool", "warn" if old else "ok", f"{folder} holds {octets} octets of reports{since}",
            "they are booked when the server runs and reaches the database; do not remove them" if old else "",
        )  # fmt: skip
    if kept:
        yield Finding(
            "set aside", "warn", f"{len(kept)} files of reports that could not be booked: {kept[0].name} …",
            "the log says why (spool-record-set-aside); once that is mended rename them to .spool and restart",
        )  # fmt: skip


def _oldest_record(path: Path) -> Instant | None:
    from aaa.segments import MOST_RECORD_OCTETS, scan

    found = _SEGMENT.fullmatch(path.name)
    assert found is not None
    with path.open("rb") as file:
        records = scan(file.read(2 * MOST_RECORD_OCTETS), int(found[1], 16)).records
    return records[0].received_at if records else None
