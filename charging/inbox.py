"""The billing systems' inbox: rows of billing_top_up, read, judged and answered.

Anyone with the right to INSERT writes here, so nothing in a row is believed: a bad one is answered in its own `error`
column and never holds up another. What is good goes to `settle`, which answers the row in the money's own transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NamedTuple, cast

import psycopg.errors
from sqlalchemy import Connection, String, insert, select, text, tuple_, type_coerce

from charging import foreign, tables
from charging.amounts import format_octets, format_seconds, parse_duration, parse_octets, parse_seconds
from charging.foreign import Answer, BadRowError, cut, quoted
from charging.money import exponent, format_money, parse_money
from charging.payment import TopUp
from charging.plan import Duration, Unit

#: The longest that each text of a row may be, in characters.
MOST_CHARACTERS: Final = {
    "source": 64,
    "external_ref": 255,
    "account": 255,
    "unit": 16,
    "amount": 64,
    "currency": 16,
    "comment": 1000,
    "validity": 64,
}
#: What `settle` fails with when another row with the same reference was applied in the same moment: look again.
ALREADY_APPLIED: Final = (psycopg.errors.UniqueViolation, sqlite3.IntegrityError)
_row = tables.billing_top_up.c
INBOX: Final = foreign.Inbox(
    tables.billing_top_up,
    "top_up_id",
    tuple(MOST_CHARACTERS.items()),
    frozenset({"currency", "comment", "validity"}),
    ("request_id",),
)
# Written out, not bound: only so does a database see that its partial indexes fit.
_PENDING: Final = _row.status == text("'pending'")
_APPLIED: Final = _row.status == text("'applied'")


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
    validity: Duration | None
    request_id: int | None


class _Row(NamedTuple):
    top_up_id: int
    source: str
    external_ref: str
    account: str
    unit: str
    amount: str
    currency: str | None
    comment: str | None
    validity: str | None
    request_id: int | None


class Owner(NamedTuple):
    """The account that a row names."""

    account_id: int
    currency: str


def pending(connection: Connection, limit: int, *, without: Collection[int] = (), only: int | None = None) -> Pending:
    """Read at most `limit` pending rows and judge them; nothing is written.

    `without`: rows to leave alone for now. `only`: look at this row and no other.
    """
    looked_at, found, faults = foreign.read(connection, INBOX, limit, without, only)
    rows = [_Row(*values) for values in found]
    answers = [Answer(top_up_id, "error", fault) for top_up_id, fault in faults]
    owners = owners_of(connection, {row.account for row in rows})
    applied = _applied(connection, [(row.source, row.external_ref) for row in rows])
    top_ups: list[TopUp] = []
    taken: set[tuple[str, str]] = set()
    for row in rows:
        reference = (row.source, row.external_ref)
        try:
            content = _content(row, owners)
        except ValueError as error:
            answers.append(Answer(row.top_up_id, "error", cut(str(error))))
            continue
        first = applied.get(reference)
        if first is not None:
            answers.append(_compare(connection, row, content, first))
        elif reference not in taken:
            taken.add(reference)
            name = f"{row.source}:{row.external_ref}"
            actor = f"billing:{row.source}"
            account_id, unit, amount, validity, request_id = content
            top_ups.append(TopUp(account_id, row.top_up_id, unit, amount, name, actor, validity, request_id))
    return Pending(top_ups, answers, looked_at)


def put(
    connection: Connection,
    *,
    source: str,
    external_ref: str,
    account: str,
    unit: Unit,
    amount: str,
    comment: str | None,
    validity: str | None = None,
) -> int:
    """Write a row as a billing system would; its top_up_id."""
    statement = insert(tables.billing_top_up).values(
        source=source,
        external_ref=external_ref,
        account=account,
        unit=unit,
        amount=amount,
        comment=comment,
        validity=validity,
    )
    key = connection.execute(statement).inserted_primary_key
    assert key is not None
    return cast("int", key[0])


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
            raise ValueError(f"unit: {quoted(unit)} is unknown; write money, octets or seconds")
    if value == 0:
        raise ValueError(f"amount: {quoted(amount)} is nothing; write an amount above zero")
    return unit, value


def written(unit: Unit, amount: int, currency: str) -> str:
    """An amount as people read it: `10.00 EUR`, `5 GB`, `2h`."""
    if unit == "money":
        return format_money(amount, currency)
    return format_octets(amount) if unit == "octets" else format_seconds(amount)


# --- what a row says ---------------------------------------------------------------------------------------------------


def owners_of(connection: Connection, names: set[str]) -> dict[str, Owner]:
    """The accounts of these names that there are."""
    if not names:
        return {}
    account = tables.account.c
    statement = select(account.name, account.account_id, account.currency).where(account.name.in_(sorted(names)))
    return {name: Owner(account_id, currency) for name, account_id, currency in connection.execute(statement)}


def owned(account: str, currency: str | None, owners: Mapping[str, Owner]) -> Owner:
    """The owner whom a row names. BadRowError where there is none, or the currency is not his."""
    owner = owners.get(account)
    if owner is None:
        raise BadRowError(f"account: there is no account {quoted(account)}")
    if currency is not None and currency != owner.currency:
        try:
            exponent(currency)
        except ValueError as error:
            raise BadRowError(f"currency: {error}") from None
        raise BadRowError(f"currency: {currency} is not the account's; it is kept in {owner.currency}")
    return owner


def lasting(validity: str | None) -> Duration | None:
    """How long a payment lasts; None: for ever. ValueError says what would be right."""
    if validity is None or not validity.strip():
        return None
    try:
        duration = parse_duration(validity)
    except ValueError as error:
        raise ValueError(f"validity: {error}") from None
    if duration == Duration():
        raise ValueError(f"validity: {quoted(validity)} is no time at all; write for example 30 days or 1 month")
    return duration


def _content(row: _Row, owners: Mapping[str, Owner]) -> _Content:
    """What a row pays. ValueError says what is wrong with it."""
    owner = owned(row.account, row.currency, owners)
    unit, amount = amount_of(row.unit, row.amount, owner.currency)
    return _Content(owner.account_id, unit, amount, lasting(row.validity), row.request_id)


# --- the same reference again ----------------------------------------------------------------------------------------


class _First(NamedTuple):
    top_up_id: int
    account: str
    unit: str
    amount: str
    validity: str | None
    request_id: int | None
    applied_at: object


def _applied(connection: Connection, references: Sequence[tuple[str, str]]) -> dict[tuple[str, str], _First]:
    """The applied rows with these references. Only good rows were ever applied, so their texts are read as they are."""
    if not references:
        return {}
    statement = select(
        _row.source, _row.external_ref, _row.top_up_id, _row.account, _row.unit, _row.amount,
        _row.validity, _row.request_id, type_coerce(_row.applied_at, String),
    ).where(tuple_(_row.source, _row.external_ref).in_(sorted(set(references))), _APPLIED)  # fmt: skip
    return {(source, ref): _First(*rest) for source, ref, *rest in connection.execute(statement)}


def _compare(connection: Connection, row: _Row, content: _Content, first: _First) -> Answer:
    what = first.amount
    owner = owners_of(connection, {first.account}).get(first.account)
    if owner is not None:
        with suppress(ValueError):  # somebody edited a row that was applied: then it is not the same
            unit, amount = amount_of(first.unit, first.amount, owner.currency)
            if _Content(owner.account_id, unit, amount, lasting(first.validity), first.request_id) == content:
                return Answer(row.top_up_id, "duplicate", first_key=first.top_up_id)
            what = written(unit, amount, owner.currency)
    return Answer(
        row.top_up_id,
        "error",
        cut(
            f"external_ref: {quoted(row.external_ref)} of {quoted(row.source)} was already used on "
            f"{minute(first.applied_at)} for {what} to account {quoted(first.account)}; "
            "a new payment needs a reference of its own"
        ),
    )


def minute(applied_at: object) -> str:
    """A SQL timestamp as an answer shows it."""
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
