"""Where sealed things stand in the database, which keys they need, and how they move to a new key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, Connection, Table, and_, exists, func, or_, select, update

from aaa.keyring import (
    NUMBER_OCTETS,
    KeyRing,
    KeyRingError,
    nas_secret,
    number_of,
    subscriber_nt_hash,
    subscriber_password,
    subscriber_totp,
)
from charging.plan import Instant
from charging.tables import nas, session, subscriber

#: Rows that one transaction moves to another key: few, so that nobody waits for them.
ROWS_IN_BATCH: Final = 200
#: The other nodes get their copy of the key file by hand.
TAKEN_UP_WITHIN_MS: Final = 3_600_000


class Shelf(NamedTuple):
    """A table with sealed columns. `key` numbers its rows, `name` is what their places are called after."""

    table: Table
    key: Column[Any]
    name: Column[Any]
    places: Mapping[str, Callable[[str], str]]
    """Column: the place of what stands in it."""


SHELVES: Final = (
    Shelf(nas, nas.c.nas_id, nas.c.name, {"secret_sealed": nas_secret, "previous_secret_sealed": nas_secret}),
    Shelf(
        subscriber,
        subscriber.c.subscriber_id,
        subscriber.c.username,
        {
            "password_sealed": subscriber_password,
            "password_nt_sealed": subscriber_nt_hash,
            "totp_sealed": subscriber_totp,
        },
    ),
)


class Moved(NamedTuple):
    """What became of some rows."""

    values: int
    """How many were sealed again."""
    unreadable: list[str]
    """What can not be opened, in words; it is left as it is."""


def anything_sealed(connection: Connection) -> bool:
    """Does the database hold a secret that needs its key file?"""
    each = (exists(select(1).where(_any_sealed(shelf))) for shelf in SHELVES)
    return bool(connection.execute(select(or_(*each))).scalar_one())


def keys_in_use(connection: Connection) -> dict[int, Counter[str]]:
    """What each key seals: by the key's number, how many values of each `table.column`."""
    found: dict[int, Counter[str]] = {}
    for shelf in SHELVES:
        for name in shelf.places:
            column = shelf.table.c[name]
            number = func.substr(column, 1, NUMBER_OCTETS)
            rows = connection.execute(select(number, func.count()).where(column.is_not(None)).group_by(number))
            for octets, count in rows:
                found.setdefault(number_of(bytes(octets)), Counter())[f"{shelf.table.name}.{name}"] += count
    return found


def require_keys(connection: Connection, keys: KeyRing, file: object) -> None:
    """KeyRingError, with what to do, unless every key in use is there and is the right one."""
    missing: list[str] = []
    for number, counts in sorted(keys_in_use(connection).items()):
        what = ", ".join(f"{count} of {column}" for column, count in sorted(counts.items()))
        if number not in keys.numbers:
            missing.append(f"key {number} is missing ({what} are sealed with it)")
        elif (problem := _first_problem(connection, keys, number)) is not None:
            missing.append(f"key {number} is not the one that was used: {problem}")
    if missing:
        raise KeyRingError(
            f"{file}: {'; '.join(missing)}; put that line back from a copy of the file, or copy the file of a node that has it"
        )


def _first_problem(connection: Connection, keys: KeyRing, number: int) -> str | None:
    """Why something sealed with this key can not be opened; None where any one can: a single row may be damaged."""
    problem: str | None = None
    for shelf in SHELVES:
        for column, place in shelf.places.items():
            c = shelf.table.c[column]
            with_key = func.substr(c, 1, NUMBER_OCTETS) == number.to_bytes(NUMBER_OCTETS, "big")
            for name, value in connection.execute(select(shelf.name, c).where(c.is_not(None), with_key).limit(20)):
                try:
                    keys.open(place(name), value)
                except KeyRingError as error:
                    problem = problem or str(error)
                else:
                    return None
    return problem


def unreadable(connection: Connection, keys: KeyRing) -> Iterator[str]:
    """Everything sealed that these keys do not open, in words."""
    for shelf in SHELVES:
        columns = [shelf.table.c[name] for name in shelf.places]
        for row in connection.execute(select(shelf.name, *columns).where(_any_sealed(shelf)).order_by(shelf.key)):
            for place, value in zip(shelf.places.values(), row[1:], strict=True):
                if value is not None:
                    try:
                        keys.open(place(row[0]), value)
                    except KeyRingError as error:
                        yield str(error)


def move(connection: Connection, keys: KeyRing, shelf: Shelf, after: int) -> tuple[int | None, Moved]:
    """Seal the next rows after the key `after` with the newest key, in this transaction; the last row's key (None: there
    are no more), and what became of them.

    A value that somebody else changes meanwhile is left as he wrote it. A NAS's revision does not move on: its secret is
    what it was, so that running servers need not read it again.
    """
    newest = keys.newest.to_bytes(NUMBER_OCTETS, "big")
    columns = {name: shelf.table.c[name] for name in shelf.places}
    old = [and_(c.is_not(None), func.substr(c, 1, NUMBER_OCTETS) != newest) for c in columns.values()]
    rows = connection.execute(
        select(shelf.key, shelf.name, *columns.values())
        .where(shelf.key > after, or_(*old))
        .order_by(shelf.key)
        .limit(ROWS_IN_BATCH)
    ).all()
    values, faults = 0, []
    for row in rows:
        for (name, column), value in zip(columns.items(), row[2:], strict=True):
            if value is None or number_of(value) == keys.newest:
                continue
            place = shelf.places[name](row[1])
            try:
                again = keys.seal(place, keys.open(place, value))
            except KeyRingError as error:
                faults.append(str(error))
                continue
            chosen = update(shelf.table).where(shelf.key == row[0], column == value)
            values += connection.execute(chosen.values({name: again})).rowcount
    return (rows[-1][0] if rows else None), Moved(values, faults)


def live_sessions_before(connection: Connection, since: Instant | None) -> int:
    """Sessions that may carry a token of a key before the one that signs since then; None: nobody noted it, so all."""
    live = select(func.count()).select_from(session).where(session.c.closed_at.is_(None))
    # A node signs with the new key from when it got the file.
    early = live if since is None else live.where(session.c.created_at < since + TAKEN_UP_WITHIN_MS)
    return int(connection.execute(early).scalar_one())


def _any_sealed(shelf: Shelf) -> Any:
    return or_(*(shelf.table.c[name].is_not(None) for name in shelf.places))
