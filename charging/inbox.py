"""The billing systems' inbox: rows of billing_top_up, read, judged and answered.

Anyone with the right to INSERT writes here, so nothing in a row is believed: a bad one is answered in its own `error`
column and never holds up another. What is good goes to `settle`, which answers the row in the money's own transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, Literal, NamedTuple, cast

import psycopg.errors
from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    String,
    bindparam,
    func,
    insert,
    select,
    text,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy import cast as sql_cast

from charging import tables
from charging.amounts import format_octets, format_seconds, parse_octets, parse_seconds
from charging.money import exponent, format_money, parse_money
from charging.payment import TopUp
from charging.plan import Unit

#: The longest that each text of a row may be, in characters.
MOST_CHARACTERS: Final = {
    "source": 64,
    "external_ref": 255,
    "account": 255,
    "unit": 16,
    "amount": 64,
    "currency": 16,
    "comment": 1000,
}
#: What `settle` fails with when another row with the same reference was applied in the same moment: look again.
ALREADY_APPLIED: Final = (psycopg.errors.UniqueViolation, sqlite3.IntegrityError)
_OPTIONAL: Final = ("currency", "comment")
_MOST_ERROR_CHARACTERS: Final = 500
_QUOTED_CHARACTERS: Final = 60

_row = tables.billing_top_up.c
# Written out, not bound: only so does a database see that its partial indexes fit.
_PENDING: Final = _row.status == text("'pending'")
_APPLIED: Final = _row.status == text("'applied'")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a row that moves no money is told. `first_id`: of a duplicate, the row that was applied."""

    top_up_id: int
    status: Literal["duplicate", "error"]
    error: str | None = None
    first_id: int | None = None


class Pending(NamedTuple):
    """What was waiting: good rows to settle, answers for the others, and how many rows were looked at.

    A second row with the same reference as one of `top_ups` is in neither list; it waits until that one is settled.
    """

    top_ups: list[TopUp]
    answers: list[Answer]
    rows: int


class _Content(NamedTuple):
    """What makes two rows the same payment."""

    account_id: int
    unit: Unit
    amount: int


class _Row(NamedTuple):
    top_up_id: int
    source: str
    external_ref: str
    account: str
    unit: str
    amount: str
    currency: str | None
    comment: str | None


class _Owner(NamedTuple):
    account_id: int
    currency: str


class _Bad(ValueError):
    """A row that can not be a payment; the text is its answer."""


def pending(connection: Connection, limit: int, *, without: Collection[int] = (), only: int | None = None) -> Pending:
    """Read at most `limit` pending rows and judge them; nothing is written.

    `without`: rows to leave alone for now. `only`: look at this row and no other.
    """
    looked_at, rows, answers = _read(connection, limit, without, only)
    owners = _owners(connection, {row.account for row in rows})
    applied = _applied(connection, [(row.source, row.external_ref) for row in rows])
    top_ups: list[TopUp] = []
    taken: set[tuple[str, str]] = set()
    for row in rows:
        reference = (row.source, row.external_ref)
        try:
            content = _content(row, owners.get(row.account))
        except ValueError as error:
            answers.append(Answer(row.top_up_id, "error", _cut(str(error))))
            continue
        first = applied.get(reference)
        if first is not None:
            answers.append(_compare(connection, row, content, first))
        elif reference not in taken:
            taken.add(reference)
            name = f"{row.source}:{row.external_ref}"
            top_ups.append(
                TopUp(content.account_id, row.top_up_id, content.unit, content.amount, name, f"billing:{row.source}")
            )
    return Pending(top_ups, answers, looked_at)


def answer(connection: Connection, answers: Iterable[Answer]) -> int:
    """Write the answers to rows that are still pending; how many were."""
    written = 0
    first = tables.billing_top_up.alias("first")
    for each in answers:
        values: dict[str, Any] = {"status": each.status, "error": each.error}
        if each.first_id is not None:
            values["applied_at"] = (
                select(first.c.applied_at).where(first.c.top_up_id == each.first_id).scalar_subquery()
            )
        statement = update(tables.billing_top_up).where(_row.top_up_id == each.top_up_id, _PENDING).values(values)
        written += connection.execute(statement).rowcount
    return written


def refusal(top_up_id: int, reason: str) -> Answer:
    """The answer to a row that `settle` did not apply."""
    words = {"no-account": "account: it was removed"}
    return Answer(top_up_id, "error", _cut(words.get(reason, reason)))


def put(
    connection: Connection,
    *,
    source: str,
    external_ref: str,
    account: str,
    unit: Unit,
    amount: str,
    comment: str | None,
) -> int:
    """Write a row as a billing system would; its top_up_id."""
    statement = insert(tables.billing_top_up).values(
        source=source, external_ref=external_ref, account=account, unit=unit, amount=amount, comment=comment
    )
    key = connection.execute(statement).inserted_primary_key
    assert key is not None
    return cast("int", key[0])


class Answered(NamedTuple):
    """How a row stands."""

    status: str
    error: str | None


def status_of(connection: Connection, top_up_id: int) -> Answered:
    """How a row stands. LookupError where it does not exist."""
    found = connection.execute(select(_row.status, _row.error).where(_row.top_up_id == top_up_id)).first()
    if found is None:
        raise LookupError(f"there is no top-up {top_up_id}")
    return Answered(*found)


def amount_of(unit: str, amount: str, currency: str) -> tuple[Unit, int]:
    """A row's amount in micros, octets or seconds. ValueError says what is wrong and what would be right."""
    match unit:
        case "money":
            try:
                value = parse_money(amount, currency)
            except ValueError as error:
                raise ValueError(f"amount: {error}{_meant(amount)}") from None
        case "octets" | "seconds":
            try:
                value = parse_octets(amount) if unit == "octets" else parse_seconds(amount)
            except ValueError as error:
                raise ValueError(f"amount: {error}") from None
        case _:
            raise ValueError(f"unit: {_quoted(unit)} is unknown; write money, octets or seconds")
    if value == 0:
        raise ValueError(f"amount: {_quoted(amount)} is nothing; write an amount above zero")
    return unit, value


def written(unit: Unit, amount: int, currency: str) -> str:
    """An amount as people read it: `10.00 EUR`, `5 GB`, `2h`."""
    if unit == "money":
        return format_money(amount, currency)
    return format_octets(amount) if unit == "octets" else format_seconds(amount)


# --- reading rows that anybody may have written ----------------------------------------------------------------------


def _read(
    connection: Connection, limit: int, without: Collection[int], only: int | None
) -> tuple[int, list[_Row], list[Answer]]:
    """How many rows there were, those that can be read, oldest first, and answers for those that can not."""
    sqlite = connection.dialect.name == "sqlite"
    query = _pending_rows(sqlite=sqlite, one=only is not None, some_left_alone=bool(without))
    values = {"most": limit, "left_alone": sorted(without), "only": only}
    found = connection.execute(query, values).all()
    rows: list[_Row] = []
    answers: list[Answer] = []
    for top_up_id, *texts in found:
        try:
            rows.append(_Row(top_up_id, *_texts(texts)))
        except _Bad as error:
            answers.append(Answer(top_up_id, "error", _cut(str(error))))
    return len(found), rows, answers


@cache
def _pending_rows(*, sqlite: bool, one: bool, some_left_alone: bool) -> Select[Any]:
    """Built once: it is asked several times a second, mostly for nothing."""
    columns = [_bounded(name, sqlite=sqlite) for name in MOST_CHARACTERS]
    query = select(_row.top_up_id, *columns).where(_PENDING).order_by(_row.top_up_id).limit(bindparam("most"))
    if one:
        query = query.where(_row.top_up_id == bindparam("only"))
    if some_left_alone:
        query = query.where(_row.top_up_id.not_in(bindparam("left_alone", expanding=True)))
    return query


def _bounded(name: str, *, sqlite: bool) -> ColumnElement[Any]:
    """A text column, one character longer than it may be at most. SQLite keeps any bytes where text should be, and one
    row of them must not end the reading of the others: there they are read as bytes."""
    column = _row[name]
    most = MOST_CHARACTERS[name]
    if sqlite:
        return type_coerce(func.substr(sql_cast(column, LargeBinary), 1, 4 * most + 1), LargeBinary)
    return func.substr(column, 1, most + 1)


def _texts(values: Sequence[str | bytes | None]) -> list[Any]:
    texts: list[str | None] = []
    for (name, most), value in zip(MOST_CHARACTERS.items(), values, strict=True):
        decoded = _decoded(name, most, value)
        if decoded is None and name not in _OPTIONAL:
            decoded = ""  # SQLite's NULL for no bytes at all
        if decoded is not None:
            _check(name, most, decoded)
        texts.append(decoded)
    return texts


def _check(name: str, most: int, value: str) -> None:
    if len(value) > most:
        raise _Bad(f"{name}: is longer than {most} characters")
    if "\0" in value:
        raise _Bad(f"{name}: holds a NUL byte")
    if name in _OPTIONAL:
        return
    if not value.strip():
        raise _Bad(f"{name}: is empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise _Bad(f"{name}: {_quoted(value)} holds a control character")
    if name == "source" and ":" in value:
        # The ledger's reference is source:external_ref; so it names one payment and no other.
        raise _Bad(f"source: {_quoted(value)} holds a colon; leave it out")


def _decoded(name: str, most: int, value: str | bytes | None) -> str | None:
    if not isinstance(value, bytes):
        return value
    if len(value) > 4 * most:
        raise _Bad(f"{name}: is longer than {most} characters")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise _Bad(f"{name}: {_quoted(value.decode('utf-8', 'replace'))} is not UTF-8 text") from None


def _owners(connection: Connection, names: set[str]) -> dict[str, _Owner]:
    account = tables.account.c
    statement = select(account.name, account.account_id, account.currency).where(account.name.in_(sorted(names)))
    return {name: _Owner(account_id, currency) for name, account_id, currency in connection.execute(statement)}


def _content(row: _Row, owner: _Owner | None) -> _Content:
    """What a row pays. ValueError says what is wrong with it."""
    if owner is None:
        raise _Bad(f"account: there is no account {_quoted(row.account)}")
    if row.currency is not None and row.currency != owner.currency:
        try:
            exponent(row.currency)
        except ValueError as error:
            raise _Bad(f"currency: {error}") from None
        raise _Bad(f"currency: {row.currency} is not the account's; it is kept in {owner.currency}")
    unit, amount = amount_of(row.unit, row.amount, owner.currency)
    return _Content(owner.account_id, unit, amount)


# --- the same reference again ----------------------------------------------------------------------------------------


class _First(NamedTuple):
    top_up_id: int
    account: str
    unit: str
    amount: str
    applied_at: object


def _applied(connection: Connection, references: Sequence[tuple[str, str]]) -> dict[tuple[str, str], _First]:
    """The applied rows with these references. Only good rows were ever applied, so their texts are read as they are."""
    if not references:
        return {}
    statement = select(
        _row.source, _row.external_ref, _row.top_up_id, _row.account, _row.unit, _row.amount,
        type_coerce(_row.applied_at, String),
    ).where(tuple_(_row.source, _row.external_ref).in_(sorted(set(references))), _APPLIED)  # fmt: skip
    return {(source, ref): _First(*rest) for source, ref, *rest in connection.execute(statement)}


def _compare(connection: Connection, row: _Row, content: _Content, first: _First) -> Answer:
    what = first.amount
    owner = _owners(connection, {first.account}).get(first.account)
    if owner is not None:
        with suppress(ValueError):  # somebody edited a row that was applied: then it is not the same
            unit, amount = amount_of(first.unit, first.amount, owner.currency)
            if _Content(owner.account_id, unit, amount) == content:
                return Answer(row.top_up_id, "duplicate", first_id=first.top_up_id)
            what = written(unit, amount, owner.currency)
    return Answer(
        row.top_up_id,
        "error",
        _cut(
            f"external_ref: {_quoted(row.external_ref)} of {_quoted(row.source)} was already used on "
            f"{_minute(first.applied_at)} for {what} to account {_quoted(first.account)}; "
            "a new payment needs a reference of its own"
        ),
    )


def _minute(applied_at: object) -> str:
    if isinstance(applied_at, datetime):
        return f"{applied_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return f"{str(applied_at)[:16]} UTC"


def _meant(amount: str) -> str:
    """A hint for an amount of money that reads like another unit."""
    for unit, parse in (("octets", parse_octets), ("seconds", parse_seconds)):
        try:
            parse(amount)
        except ValueError:
            continue
        if not amount.strip().isdigit():
            return f", or unit '{unit}' where that is meant"
    return ""


def _quoted(value: str) -> str:
    return repr(value if len(value) <= _QUOTED_CHARACTERS else value[:_QUOTED_CHARACTERS] + "…")


def _cut(error: str) -> str:
    return error if len(error) <= _MOST_ERROR_CHARACTERS else error[: _MOST_ERROR_CHARACTERS - 1] + "…"
