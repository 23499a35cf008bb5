"""Rows that others wrote: read without believing them.

Anyone with the right to INSERT writes into an inbox, so a row may hold anything its database lets in (SQLite: any bytes in
any column). A bad one becomes an error of its own and never ends the reading of the others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    Table,
    Text,
    bindparam,
    func,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy import cast as sql_cast

from charging.bulk import sets

_MOST_ERROR_CHARACTERS: Final = 500
_QUOTED_CHARACTERS: Final = 60
_MOST_DIGITS: Final = 20
_NUMBER: Final = re.compile(r"[0-9]{1,18}")


class BadRowError(ValueError):
    """A row that can not mean anything; the text is its answer."""


@dataclass(frozen=True)
class Inbox:
    """A table that others write: `texts` with the most characters of each, then `numbers`, in the order of the rows that
    `read` returns after their key. Those in `optional`, and all numbers, may be null."""

    table: Table
    key: str
    texts: tuple[tuple[str, int], ...]
    optional: frozenset[str]
    numbers: tuple[str, ...] = ()
    wiped: tuple[str, ...] = ()
    """Texts that nobody may read once the row is answered."""


class Answer(NamedTuple):
    """What a row that changes nothing is told. `key`: its own; `first_key`: of a duplicate, that of the row that was applied."""

    key: int
    status: Literal["duplicate", "error"]
    error: str | None = None
    first_key: int | None = None


class Answered(NamedTuple):
    """How a row stands."""

    status: str
    error: str | None


class Read(NamedTuple):
    """How many rows there were; those that can be read, oldest first, with their key; what is wrong with the others."""

    looked_at: int
    rows: list[tuple[Any, ...]]
    faults: list[tuple[int, str]]


def waits(connection: Connection, inbox: Inbox) -> bool:
    """Is any row pending? Every node asks ten times a second, mostly for nothing."""
    return bool(sets(connection).select(inbox.table, (inbox.key,), "status = 'pending' LIMIT 1").fetchall())


def read(connection: Connection, inbox: Inbox, limit: int, without: Collection[int], only: int | None) -> Read:
    """At most `limit` pending rows. `without`: rows to leave alone for now; `only`: look at this row and no other."""
    sqlite = connection.dialect.name == "sqlite"
    query = _pending_rows(inbox, sqlite=sqlite, one=only is not None, some_left_alone=bool(without))
    found = connection.execute(query, {"most": limit, "left_alone": sorted(without), "only": only}).all()
    rows: list[tuple[Any, ...]] = []
    faults: list[tuple[int, str]] = []
    for key, *values in found:
        try:
            rows.append((key, *_values(inbox, values)))
        except BadRowError as error:
            faults.append((key, cut(str(error))))
    return Read(len(found), rows, faults)


def answer(connection: Connection, inbox: Inbox, answers: Iterable[Answer]) -> int:
    """Write the answers to rows that are still pending; how many were."""
    written = 0
    columns, first = inbox.table.c, inbox.table.alias("first")
    for each in answers:
        values: dict[str, Any] = {"status": each.status, "error": each.error} | dict.fromkeys(inbox.wiped)
        if each.first_key is not None:
            same = first.c[inbox.key] == each.first_key
            values["applied_at"] = select(first.c.applied_at).where(same).scalar_subquery()
        statement = update(inbox.table).where(columns[inbox.key] == each.key, columns.status == text("'pending'"))
        written += connection.execute(statement.values(values)).rowcount
    return written


def refusal(key: int, reason: str) -> Answer:
    """The answer to a row that `settle` did not apply, for a reason of `NotApplied`."""
    words = {"no-account": "account: it was removed"}
    return Answer(key, "error", cut(words.get(reason, reason)))


def status_of(connection: Connection, inbox: Inbox, key: int) -> Answered:
    """How a row stands. LookupError where it does not exist."""
    columns = inbox.table.c
    found = connection.execute(select(columns.status, columns.error).where(columns[inbox.key] == key)).first()
    if found is None:
        raise LookupError(f"{inbox.table.name} has no row {key}")
    return Answered(*found)


def quoted(value: str) -> str:
    """A text of theirs as an answer may show it."""
    return repr(value if len(value) <= _QUOTED_CHARACTERS else value[:_QUOTED_CHARACTERS] + "…")


def cut(error: str) -> str:
    """An answer of bounded length."""
    return error if len(error) <= _MOST_ERROR_CHARACTERS else error[: _MOST_ERROR_CHARACTERS - 1] + "…"


@cache
def _pending_rows(inbox: Inbox, *, sqlite: bool, one: bool, some_left_alone: bool) -> Select[Any]:
    """Built once for each of its forms: they never change."""
    columns = inbox.table.c
    key = columns[inbox.key]
    chosen = [_bounded(columns[name], most, sqlite=sqlite) for name, most in inbox.texts]
    chosen += [_bounded(sql_cast(columns[name], Text), _MOST_DIGITS, sqlite=sqlite) for name in inbox.numbers]
    # Written out, not bound: only so does a database see that its partial index fits.
    query = select(key, *chosen).where(columns.status == text("'pending'")).order_by(key).limit(bindparam("most"))
    if one:
        query = query.where(key == bindparam("only"))
    if some_left_alone:
        query = query.where(key.not_in(bindparam("left_alone", expanding=True)))
    return query


def _bounded(column: ColumnElement[Any], most: int, *, sqlite: bool) -> ColumnElement[Any]:
    """A text, one character longer than it may be at most. SQLite keeps any bytes where text should be, and one row of
    them must not end the reading of the others: there they are read as bytes."""
    if sqlite:
        return type_coerce(func.substr(sql_cast(column, LargeBinary), 1, 4 * most + 1), LargeBinary)
    return func.substr(column, 1, most + 1)


def _values(inbox: Inbox, values: Sequence[str | bytes | None]) -> list[Any]:
    found: list[Any] = []
    for (name, most), value in zip(inbox.texts, values[: len(inbox.texts)], strict=True):
        decoded = _decoded(name, most, value)
        if decoded is None and name not in inbox.optional:
            decoded = ""  # SQLite's NULL for no bytes at all
        if decoded is not None:
            _check(name, most, decoded, optional=name in inbox.optional)
        found.append(decoded)
    for name, value in zip(inbox.numbers, values[len(inbox.texts) :], strict=True):
        decoded = _decoded(name, _MOST_DIGITS, value)
        if decoded is not None and not _NUMBER.fullmatch(decoded):
            raise BadRowError(f"{name}: {quoted(decoded)} is not a number that there can be")
        found.append(None if decoded is None else int(decoded))
    return found


def _check(name: str, most: int, value: str, *, optional: bool) -> None:
    if len(value) > most:
        raise BadRowError(f"{name}: is longer than {most} characters")
    if "\0" in value:
        raise BadRowError(f"{name}: holds a NUL byte")
    if optional:
        return
    if not value.strip():
        raise BadRowError(f"{name}: is empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise BadRowError(f"{name}: {quoted(value)} holds a control character")
    if name == "source" and ":" in value:
        # The ledger's reference is source:external_ref; so it names one payment and no other.
        raise BadRowError(f"source: {quoted(value)} holds a colon; leave it out")


def _decoded(name: str, most: int, value: str | bytes | None) -> str | None:
    if not isinstance(value, bytes):
        return value
    if len(value) > 4 * most:
        raise BadRowError(f"{name}: is longer than {most} characters")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRowError(f"{name}: {quoted(value.decode('utf-8', 'replace'))} is not UTF-8 text") from None
