"""Statements over sets of rows, on the driver's own connection: what makes hundreds of reports one small transaction.

PostgreSQL takes a column of values as one array (`unnest`) and all statements of a batch in one round trip. Numbers travel in
PostgreSQL's binary form, packed at once; the rest as text, which Python writes several times faster than the driver would.
SQLite, in the same process, takes them row by row from a prepared statement.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any, Final, Protocol, cast

from psycopg.errors import DivisionByZero
from sqlalchemy import BigInteger, Boolean, Connection, DateTime, FromClause, Integer, LargeBinary, Table

from charging.roundtrip import Parameter, Statement, run

Given = Sequence[int | str] | int

_AS_PYTHON_WRITES: Final = frozenset({"bigint", "integer", "boolean"})
#: What is packed: struct's letter, octets, and the type's object identifier (PostgreSQL's pg_type.dat).
_NUMBERS: Final = {"bigint": ("q", 8, 20), "integer": ("i", 4, 23)}


class Conflict(Exception):
    """Somebody else changed a row first. Nothing may be kept; run the transaction again."""


class Result(Protocol):
    """What a statement brought; to be asked after the end of `together`, or at once outside of it."""

    rowcount: int

    def fetchall(self) -> list[tuple[Any, ...]]: ...


class Sets(Protocol):
    """A transaction's connection, for statements over sets of rows."""

    in_turn: str
    """After a condition on accounts: read them when nobody else has them at work, and keep others away until the end."""

    passing_over: str
    """Behind a select: keep others away from these rows until the end, and pass over those that others are at work on."""

    def together(self, *, commit: bool = False) -> AbstractContextManager[object]:
        """What is said inside is sent together at its end; rows and row counts are known afterwards. `commit`: nothing
        comes after it, so the transaction may end with it; the caller ends it all the same."""
        ...

    def select(self, table: FromClause, columns: tuple[str, ...], condition: str, *given: Given) -> Result:
        """Rows of a table (or a join, whose columns are named `table.column`) that meet `condition`, in which `{any}` stands for membership in the next of `given`, and `{one}` for
        its value. The conditions are few and fixed: each is prepared and stays so."""
        ...

    def insert(
        self, table: Table, columns: tuple[str, ...], rows: Sequence[Sequence[Any]], conflict: str = ""
    ) -> Result:
        """Insert rows; `conflict` is an ON CONFLICT clause."""
        ...

    def update(
        self,
        table: Table,
        keys: tuple[str, ...],
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        extra: str = "",
        *,
        every_row: bool = False,
    ) -> Result:
        """Set `columns` where `keys` are equal; a row is its keys' values, then its columns'. `extra` is one more
        assignment, in which `{t}` stands before a column's old value. `every_row`: Conflict where one is not found, and
        nothing that is sent with it or after it is done."""
        ...


def sets(connection: Connection) -> Sets:
    """The set-based face of a connection whose transaction has begun."""
    if not connection.in_transaction():
        connection.begin()
    driver = connection.connection.driver_connection
    if connection.dialect.name == "postgresql":
        return _PostgreSQL(driver, connection.info)
    return _SQLite(driver)


class _PostgreSQL:
    in_turn = " ORDER BY account_id FOR UPDATE"
    passing_over = " FOR UPDATE SKIP LOCKED"

    def __init__(self, driver: Any, known: MutableMapping[Any, Any]) -> None:
        self._driver = driver
        self._known = known
        self._waiting: list[Statement] | None = None

    @contextmanager
    def together(self, *, commit: bool = False) -> Iterator[None]:
        waiting = self._waiting = []
        try:
            yield
        finally:
            self._waiting = None
        if waiting:
            self._send(waiting, commit=commit)

    def select(self, table: FromClause, columns: tuple[str, ...], condition: str, *given: Given) -> Result:
        kinds = tuple(_kind(each) for each in given)
        values = [
            str(each) if isinstance(each, int) else _array(each, kind) for each, kind in zip(given, kinds, strict=True)
        ]
        return self._run(_postgres_select(table, columns, condition, kinds), values)

    def insert(
        self, table: Table, columns: tuple[str, ...], rows: Sequence[Sequence[Any]], conflict: str = ""
    ) -> Result:
        return self._run(_postgres_insert(table, columns, conflict), self._columns(table, columns, rows))

    def update(
        self,
        table: Table,
        keys: tuple[str, ...],
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        extra: str = "",
        *,
        every_row: bool = False,
    ) -> Result:
        sql = _postgres_update(table, keys, columns, extra, every_row=every_row)
        return self._run(sql, self._columns(table, keys + columns, rows))

    def _run(self, sql: str, parameters: Sequence[Parameter]) -> Result:
        statement = Statement(sql, parameters)
        if self._waiting is None:
            self._send([statement])
        else:
            self._waiting.append(statement)
        return statement

    def _send(self, statements: Sequence[Statement], *, commit: bool = False) -> None:
        try:
            run(self._driver, self._known, statements, commit=commit)
        except DivisionByZero as error:  # see `_postgres_update`
            raise Conflict from error

    @staticmethod
    def _columns(table: Table, columns: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> list[Parameter]:
        types = _types(table, columns)
        return [_array(values, kind) for kind, values in zip(types, zip(*rows, strict=True), strict=True)]


class _SQLite:
    in_turn = ""  # one writer at a time anyway
    passing_over = ""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def together(self, *, commit: bool = False) -> AbstractContextManager[object]:  # noqa: ARG002  the caller commits
        return nullcontext()

    def select(self, table: FromClause, columns: tuple[str, ...], condition: str, *given: Given) -> Result:
        where = condition.format(any="IN (SELECT value FROM json_each(?))", one="?")
        sql = f"SELECT {', '.join(columns)} FROM {_name(table)} WHERE {where}"
        values = [each if isinstance(each, int) else json.dumps(list(each)) for each in given]
        rows = self._driver.execute(sql, values).fetchall()
        flags = [i for i, c in enumerate(columns) if isinstance(table, Table) and isinstance(table.c[c].type, Boolean)]
        if flags:  # SQLite has no booleans of its own
            rows = [tuple(bool(v) if i in flags and v is not None else v for i, v in enumerate(row)) for row in rows]
        return _Rows(rows)

    def insert(
        self, table: Table, columns: tuple[str, ...], rows: Sequence[Sequence[Any]], conflict: str = ""
    ) -> Result:
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks}) {conflict}"
        return cast("Result", self._driver.executemany(sql, rows))

    def update(
        self,
        table: Table,
        keys: tuple[str, ...],
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        extra: str = "",
        *,
        every_row: bool = False,
    ) -> Result:
        assignments = ", ".join([f"{c} = ?" for c in columns] + ([extra.format(t="")] if extra else []))
        where = " AND ".join(f"{k} = ?" for k in keys)
        n = len(keys)
        sql = f"UPDATE {table.name} SET {assignments} WHERE {where}"
        result = cast("Result", self._driver.executemany(sql, [(*row[n:], *row[:n]) for row in rows]))
        if every_row and result.rowcount != len(rows):
            raise Conflict
        return result


class _Rows:
    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self.rowcount = len(rows)
        self._rows = rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows


def _name(table: FromClause) -> str:
    return table.name if isinstance(table, Table) else str(table)


def _kind(given: Given) -> str:
    return "text" if not isinstance(given, int) and given and isinstance(given[0], str) else "bigint"


@lru_cache(maxsize=256)
def _types(table: Table, columns: tuple[str, ...]) -> tuple[str, ...]:
    names = []
    for column in columns:
        kind = table.c[column].type
        names.append(
            "boolean" if isinstance(kind, Boolean)
            else "bigint" if isinstance(kind, BigInteger)
            else "integer" if isinstance(kind, Integer)
            else "bytea" if isinstance(kind, LargeBinary)
            else "timestamptz" if isinstance(kind, DateTime)
            else "text"
        )  # fmt: skip
    return tuple(names)


@lru_cache(maxsize=256)
def _postgres_select(table: FromClause, columns: tuple[str, ...], condition: str, kinds: tuple[str, ...]) -> str:
    numbered = iter(enumerate(kinds, start=1))

    def parameter(mark: re.Match[str]) -> str:
        n, kind = next(numbered)
        return f"= ANY(${n}::{kind}[])" if mark[0] == "{any}" else f"${n}::{kind}"

    where = re.sub(r"\{(any|one)\}", parameter, condition)
    return f"SELECT {', '.join(columns)} FROM {_name(table)} WHERE {where}"


@lru_cache(maxsize=256)
def _postgres_insert(table: Table, columns: tuple[str, ...], conflict: str) -> str:
    return f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {_unnested(table, columns)} {conflict}"


@lru_cache(maxsize=256)
def _postgres_update(
    table: Table, keys: tuple[str, ...], columns: tuple[str, ...], extra: str, *, every_row: bool
) -> str:
    rows = _unnested(table, keys + columns)
    assignments = ", ".join([f"{c} = v.{c}" for c in columns] + ([extra.format(t="t.")] if extra else []))
    where = " AND ".join(f"t.{k} = v.{k}" for k in keys)
    sql = f"UPDATE {table.name} AS t SET {assignments} FROM (SELECT {rows}) AS v WHERE {where}"
    if every_row:
        # An error is what ends a transaction from within, before what is sent behind it. SQL has no other way to raise one.
        sql = f"WITH found AS ({sql} RETURNING 1) SELECT 1 / (count(*) = cardinality($1))::integer FROM found"
    return sql


def _unnested(table: Table, columns: tuple[str, ...]) -> str:
    """A select list that makes rows of parameters, which are columns' arrays. Each array in FROM would be kept in a store of its own first, 16 kB
    for a handful of values: half of PostgreSQL's time for a small batch."""
    kinds = _types(table, columns)
    return ", ".join(
        f"unnest(${n}::{kind}[]) AS {c}" for n, (c, kind) in enumerate(zip(columns, kinds, strict=True), start=1)
    )


def _array(values: Sequence[Any], kind: str) -> Parameter:
    """An array of that element type, with nulls.

    Python's own text of a list of numbers or booleans is nearly PostgreSQL's, and written several times faster than any
    loop of ours could. Numbers without nulls are packed, which is twice as fast, and for PostgreSQL too.
    """
    packed = _packed(values, kind) if kind in _NUMBERS else None
    if packed is not None:
        return packed
    if kind in _AS_PYTHON_WRITES:
        text = repr(list(values))[1:-1]
        return f"{{{text.replace('None', 'NULL') if 'N' in text else text}}}"
    if kind == "bytea":
        values = [None if value is None else f"\\x{value.hex()}" for value in values]
    elif None not in values:
        text = '","'.join(values)
        if "\\" not in text and text.count('"') == 2 * (len(values) - 1):
            return f'{{"{text}"}}'
    return f"{{{','.join(map(_element, values))}}}"


def _packed(values: Sequence[Any], kind: str) -> bytes | None:
    """An array of numbers in PostgreSQL's binary form (array_send); None where it is not only of such numbers: nulls have
    another form, and what is too large, or no number, PostgreSQL refuses in its own words when it reads the text."""
    if not values or values[0] is None:  # mostly they are all null then, and need not be tried
        return None
    head, pack, octets = _packing(kind, len(values))
    elements = [octets] * (2 * len(values))
    elements[1::2] = values
    try:
        return head + pack(*elements)
    except struct.error:
        return None


@lru_cache(maxsize=256)
def _packing(kind: str, count: int) -> tuple[bytes, Callable[..., bytes], int]:
    """How so many of a kind are written: what comes first, how lengths and values follow, and each value's octets."""
    letter, octets, identifier = _NUMBERS[kind]
    # dimensions, nulls or not, element type; of the one dimension: length, lower bound
    head = struct.pack(">5i", 1, 0, identifier, count, 1)
    return head, struct.Struct(">" + f"i{letter}" * count).pack, octets


def _element(value: str | None) -> str:
    return "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
