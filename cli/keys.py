"""`aaa keys`: the key file that everything secret in the database is sealed with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final

import click

from aaa import keyring, sealed
from aaa.keyring import Key, KeyRingError
from charging.database import reading
from charging.transaction import run
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.output import Column, Record, day, iso, json_option, print_json, print_records, printable

#: Running servers look at their key file once a second.
SEEN_WITHIN_SECONDS: Final = 2.5
_MOST_SHOWN: Final = 20


@click.group(epilog="Example: aaa keys check")
def keys() -> None:
    """The key file: make it, change keys, check it."""


@keys.command(epilog="Example: aaa keys init")
@pass_setup
def init(setup: Setup) -> None:
    """Make the key file. It is never written over."""
    path = setup.keys_file()
    engine = setup.engine()
    if not path.exists():
        with reading(engine) as connection:
            if sealed.anything_sealed(connection):
                raise KeyRingError(
                    f"this database holds secrets sealed with keys that are not in {path}; put that file back from its copy"
                )
    keyring.create(path)
    click.echo(f"made the key file {path}: keep a copy, nothing sealed can be read without it")


@keys.command(epilog="Example: aaa keys rotate --prepare")
@click.option(
    "--prepare", is_flag=True, help="Only add the key, so that the file can be copied to the other nodes first."
)
@json_option
@pass_setup
def rotate(setup: Setup, prepare: bool, as_json: bool) -> None:
    """Make a new key, and seal everything with it again, while servers run.

    The key before stays in the file: Class tokens that sessions carry are signed with it. Run it again after an
    interruption; it goes on where it was. With several nodes: --prepare, copy the file to each, then without it.
    """
    path, engine = setup.keys_file(), setup.engine()
    ring = setup.key_ring()
    with reading(engine) as connection:
        sealed.require_keys(connection, ring, path)
        in_use = sealed.keys_in_use(connection)
    lines = keyring.load_keys(path)
    prepared = any(key.prepared for key in lines.values())
    if prepare:
        number = keyring.prepare(path)
        if as_json:
            print_json({"prepared": number, "keys_file": str(path)})
        else:
            click.echo(f"key {number} is prepared; copy {path} to every node, then run: aaa keys rotate")
        return
    interrupted = not prepared and len(in_use) > 0 and set(in_use) != {ring.newest}
    if not interrupted:
        if not prepared:
            keyring.prepare(path)
            # A server on this machine must be able to read what is sealed with it before anything is.
            time.sleep(SEEN_WITHIN_SECONDS)
        keyring.activate(path, now())
        ring = keyring.load(path)
    moved, unreadable = _move_all(setup, ring)
    with reading(engine) as connection:
        left = sum(sum(counts.values()) for n, counts in sealed.keys_in_use(connection).items() if n != ring.newest)
    if as_json:
        print_json({"key": ring.newest, "moved": moved, "left": left, "unreadable": unreadable})
    else:
        for problem in unreadable[:_MOST_SHOWN]:
            click.echo(printable(problem), err=True)
        click.echo(f"key {ring.newest} seals now; {moved} values moved to it, {left} left under older keys")
        click.echo(f"copy {path} to every node and keep a copy; when no session needs the older keys: aaa keys retire")
    if left:
        raise click.exceptions.Exit(1)


def _move_all(setup: Setup, ring: keyring.KeyRing) -> tuple[int, list[str]]:
    moved, unreadable = 0, []
    for shelf in sealed.SHELVES:
        after: int | None = 0
        while after is not None:
            at = after
            after, done = run(setup.engine(), lambda connection: sealed.move(connection, ring, shelf, at))  # noqa: B023
            moved += done.values
            unreadable += done.unreadable
    return moved, unreadable


@keys.command(epilog="Example: aaa keys check --json")
@json_option
@pass_setup
def check(setup: Setup, as_json: bool) -> None:
    """Open everything that is sealed. Exit code 1 where a key is missing or something can not be opened.

    The fingerprints of all nodes' files must be the same.
    """
    path, engine = setup.keys_file(), setup.engine()
    lines = keyring.load_keys(path)
    ring = keyring.load(path)
    with reading(engine) as connection:
        in_use = sealed.keys_in_use(connection)
        problems = list(_first(sealed.unreadable(connection, ring), 1000))
    records = [
        _record(number, lines.get(number), in_use.get(number, {}), ring.newest) for number in sorted({*lines, *in_use})
    ]
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        problems.append(f"{path} can be read by others (mode {mode:03o}); run: chmod 600 {path}")
    if as_json:
        print_json({"keys": records, "problems": problems})
    else:
        columns = (
            Column("key", "number", right=True),
            Column("state", "state"),
            Column("seals since", lambda record: day(record["since"])),
            Column("fingerprint", "fingerprint"),
            Column("values sealed with it", lambda record: sum(record["values"].values()), right=True),
        )
        print_records(records, columns, as_json=False, none="no keys")
        for problem in problems[:_MOST_SHOWN]:
            click.echo(printable(problem), err=True)
        if len(problems) > _MOST_SHOWN:
            click.echo(f"and {len(problems) - _MOST_SHOWN} more", err=True)
    if problems:
        raise click.exceptions.Exit(1)


@keys.command(epilog="Example: aaa keys retire")
@click.option(
    "--force",
    is_flag=True,
    help="Also while sessions carry tokens signed with them; these are known by their names then.",
)
@pass_setup
def retire(setup: Setup, force: bool) -> None:
    """Take keys that seal nothing any more out of the file."""
    path, engine = setup.keys_file(), setup.engine()
    lines, ring = keyring.load_keys(path), keyring.load(path)
    with reading(engine) as connection:
        sealed.require_keys(connection, ring, path)
        in_use = sealed.keys_in_use(connection)
        old = frozenset(number for number in lines if number < ring.newest) - in_use.keys()
        since = lines[ring.newest].since
        carried = sealed.live_sessions_before(connection, since)
    if not old:
        click.echo("there is nothing to retire: every older key still seals something, or there is none")
        return
    if carried and not force:
        raise KeyRingError(
            f"{carried} live sessions may carry tokens signed with the older keys; wait for their end, or add --force: "
            "then they are known by the names their NAS gives them"
        )
    keyring.retire(path, old)
    click.echo(f"retired {', '.join(f'key {number}' for number in sorted(old))}; copy {path} to every node")


def _record(number: int, key: Key | None, values: Any, newest: int) -> Record:
    state = "MISSING" if key is None else "prepared" if key.prepared else "seals" if number == newest else "opens"
    return {
        "number": number,
        "state": state,
        "since": None if key is None else iso(key.since),
        "fingerprint": None if key is None else sha256(b"fingerprint" + key.octets).hexdigest()[:16],
        "values": dict(values),
    }


def _first(problems: Iterator[str], most: int) -> Iterator[str]:
    for _, problem in zip(range(most), problems, strict=False):
        yield problem
