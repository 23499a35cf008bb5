"""Statements over sets of rows give back what they were given, whatever it is, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.errors import UniqueViolation
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    select,
)

from charging.bulk import Conflict, sets
from charging.database import open_engine

LARGEST = 2**63 - 1

drawer = Table(
    "drawer",
    MetaData(),
    Column("k", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("big", BigInteger),
    Column("small", Integer),
    Column("flag", Boolean),
    Column("words", Text),
    Column("octets", LargeBinary),
    Column("at", DateTime(timezone=True)),
)
COLUMNS = ("k", "name", "big", "small", "flag", "words", "octets", "at")
VALUES = COLUMNS[2:]
AT = "2026-11-21 20:00:00.123000+00:00"

TEXTS = [
    "", " ", "  two  ", "NULL", "null", "None", "True", "it's", '"', '""', '","', "\\", "\\\\", '\\"', "{", "}", "{}", "{1,2}",
    ",", "a,b", "a\tb\nc\rd", "%s", "%", "%%", "?", ":name", "$1", "é", "日本語", "🙂", "\u202e", "\x01\x1f\x7f", "x" * 10_000,
    "'; DROP TABLE drawer; --", "\\x41", "E'\\n'", "//", "1", "-1", "t", "f",
]  # fmt: skip


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as opened:
        drawer.create(opened)
        yield opened
        opened.rollback()


def row(k: int, **values: Any) -> tuple[Any, ...]:
    return tuple({**dict.fromkeys(COLUMNS), "k": k, "name": "n", **values}[c] for c in COLUMNS)


def stored(connection: Connection) -> list[tuple[Any, ...]]:
    """By SQLAlchemy's own way of reading."""
    chosen = select(*(drawer.c[c] for c in COLUMNS)).order_by(drawer.c.k, drawer.c.name)
    return [tuple(_plain(v) for v in found) for found in connection.execute(chosen)]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return (
            (value if value.tzinfo else value.replace(tzinfo=UTC))
            .astimezone(UTC)
            .isoformat(sep=" ", timespec="microseconds")
        )
    return bytes(value) if isinstance(value, memoryview) else value


EVERY_ROW = [
    row(1),
    row(2, big=LARGEST, small=2**31 - 1, flag=True, words="NULL", octets=b"", at=AT),
    row(3, big=-LARGEST - 1, small=-(2**31), flag=False, words="", octets=bytes(range(256)), at=None),
    row(-4, big=0, small=0, flag=None, words=None, octets=b"\\x00'\"", at=AT),
    *(row(100 + i, name=words, words=words, octets=words.encode()) for i, words in enumerate(TEXTS)),
]


def test_insert(connection: Connection) -> None:
    sets(connection).insert(drawer, COLUMNS, EVERY_ROW)
    assert stored(connection) == sorted(EVERY_ROW, key=lambda r: (r[0], r[1]))


@pytest.mark.parametrize("order", [1, -1])
def test_update(connection: Connection, order: int) -> None:
    """Whatever stands first in a column (a null, a number) must not decide how the others are written."""
    to = sets(connection)
    to.insert(drawer, COLUMNS, [row(r[0], name=r[1], big=7, words="before", flag=True) for r in EVERY_ROW])
    written = to.update(drawer, ("k", "name"), VALUES, EVERY_ROW[::order])
    assert written.rowcount == len(EVERY_ROW)
    assert stored(connection) == sorted(EVERY_ROW, key=lambda r: (r[0], r[1]))


def test_update_only_where_all_keys_are_equal(connection: Connection) -> None:
    to = sets(connection)
    to.insert(drawer, COLUMNS, [row(1, name="a", big=1), row(1, name="b", big=1), row(2, name="a", big=1)])
    written = to.update(
        drawer, ("k", "name"), ("words",), [(1, "a", "x"), (2, "b", "x"), (3, "a", "x")], "big = {t}big + 1"
    )
    assert written.rowcount == 1
    assert [(r[0], r[1], r[2], r[5]) for r in stored(connection)] == [
        (1, "a", 2, "x"),
        (1, "b", 1, None),
        (2, "a", 1, None),
    ]


def test_update_without_columns_of_its_own(connection: Connection) -> None:
    to = sets(connection)
    to.insert(drawer, COLUMNS, [row(1, big=1), row(2, big=5)])
    assert to.update(drawer, ("k", "big"), (), [(1, 1), (2, 4)], "big = {t}big + 1").rowcount == 1
    assert [r[2] for r in stored(connection)] == [2, 5]


def test_select(connection: Connection) -> None:
    to = sets(connection)
    to.insert(drawer, COLUMNS, EVERY_ROW)
    found = to.select(drawer, COLUMNS[:7], "k {any}", [1, 2, 3, -4, 99_999]).fetchall()
    assert sorted(tuple(map(_plain, r)) for r in found) == sorted(r[:7] for r in EVERY_ROW[:4])
    assert all(r[4] is None or isinstance(r[4], bool) for r in found)


def test_select_by_texts(connection: Connection) -> None:
    to = sets(connection)
    to.insert(drawer, COLUMNS, EVERY_ROW)
    for words in TEXTS:
        assert [r[0] for r in to.select(drawer, ("name",), "name {any}", [words]).fetchall()] == [words]
    assert len(to.select(drawer, ("k",), "name {any}", TEXTS).fetchall()) == len(TEXTS)
    both = to.select(drawer, ("k",), "name {any} AND k {any} AND flag IS NULL", TEXTS, [100, 101]).fetchall()
    assert sorted(r[0] for r in both) == [100, 101]


def test_select_of_none(connection: Connection) -> None:
    to = sets(connection)
    to.insert(drawer, COLUMNS, EVERY_ROW)
    assert to.select(drawer, ("k",), "k {any}", []).fetchall() == []


def test_insert_twice_where_that_is_allowed(connection: Connection) -> None:
    to = sets(connection)
    to.insert(drawer, COLUMNS, [row(1, big=1)])
    to.insert(drawer, COLUMNS, [row(1, big=2), row(2, big=2), row(2, big=3)], "ON CONFLICT DO NOTHING")
    assert [(r[0], r[2]) for r in stored(connection)] == [(1, 1), (2, 2)]


def test_what_is_sent_together_is_counted_and_read_after_its_end(connection: Connection) -> None:
    to = sets(connection)
    with to.together():
        to.insert(drawer, COLUMNS, [row(1, big=1), row(2, big=2)])
        changed = to.update(drawer, ("k",), ("big",), [(1, 10), (9, 90)])
    with to.together():
        first = to.select(drawer, ("k", "big"), "k {any}", [1])
        found = to.select(drawer, ("k", "big"), "k {any}", [1, 2])
    assert changed.rowcount == 1
    assert first.fetchall() == [(1, 10)]
    assert sorted(found.fetchall()) == [(1, 10), (2, 2)]


def test_more_than_the_sockets_hold_goes_through_together(connection: Connection) -> None:
    to = sets(connection)
    long = "x" * 1_000_000
    with to.together():
        for k in range(12):
            to.insert(drawer, COLUMNS, [row(k, words=long)])
    assert len(to.select(drawer, ("k",), "k {any}", list(range(12))).fetchall()) == 12


def test_an_error_among_what_is_sent_together_is_the_first_statements_own(connection: Connection) -> None:
    to = sets(connection)
    to.insert(drawer, COLUMNS, [row(1)])

    def work() -> None:
        with to.together():
            to.insert(drawer, COLUMNS, [row(1)])
            for k in range(2, 40):
                to.insert(drawer, COLUMNS, [row(k)])

    with pytest.raises(Exception, match=r"(?i)unique|duplicate key"):
        work()


def test_an_update_that_must_find_every_row(connection: Connection) -> None:
    to = sets(connection)
    to.insert(drawer, COLUMNS, [row(1, big=1), row(2, big=2)])
    to.update(drawer, ("k", "big"), (), [(1, 1), (2, 2)], "big = {t}big + 1", every_row=True)
    assert [r[2] for r in stored(connection)] == [2, 3]
    with pytest.raises(Conflict):
        to.update(drawer, ("k", "big"), (), [(1, 2), (2, 2)], "big = {t}big + 1", every_row=True)


#: Only the commit finds two rows with the same `big`.
chest = Table(
    "chest",
    MetaData(),
    Column("k", BigInteger, primary_key=True),
    Column("big", BigInteger),
    UniqueConstraint("big", deferrable=True, initially="DEFERRED"),
)


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Engine]:
    """Where statements need round trips, with a row in `chest`."""
    opened = open_engine(postgresql_url)
    chest.create(opened)
    with opened.begin() as connection:
        sets(connection).insert(chest, ("k", "big"), [(1, 1)])
    yield opened
    opened.dispose()


def seen(engine: Engine) -> list[tuple[Any, ...]]:
    """By another connection."""
    with engine.connect() as other:
        return [tuple(each) for each in other.execute(select(chest).order_by(chest.c.k))]


@pytest.mark.parametrize("reading", [False, True], ids=["alone", "after a read"])
def test_the_last_round_trip_of_a_transaction_commits_it(postgresql: Engine, reading: bool) -> None:
    with postgresql.connect() as connection:
        to = sets(connection)
        if reading:
            assert to.select(chest, ("k",), "k {any}", [1]).fetchall() == [(1,)]
        with to.together(commit=True):
            to.update(chest, ("k",), ("big",), [(1, 10)], every_row=True)
            to.insert(chest, ("k", "big"), [(2, 20)])
        assert seen(postgresql) == [(1, 10), (2, 20)]
        connection.commit()


@pytest.mark.parametrize("reading", [False, True], ids=["alone", "after a read"])
@pytest.mark.parametrize(
    ("update", "insert", "error"),
    [
        ([(1, 10), (9, 90)], [(2, 20)], Conflict),
        ([(1, 10), (9, 90)], [(1, 20)], Conflict),  # and not the error that it explains
        ([(1, 10)], [(1, 20)], UniqueViolation),
        ([(1, 10)], [(2, 10)], UniqueViolation),  # which the commit finds
    ],
)
def test_nothing_is_left_of_a_last_round_trip_that_failed(
    postgresql: Engine, reading: bool, update: list[Any], insert: list[Any], error: type[Exception]
) -> None:
    with postgresql.connect() as connection:
        to = sets(connection)
        if reading:
            to.select(chest, ("k",), "k {any}", [1])

        def work() -> None:
            with to.together(commit=True):
                to.update(chest, ("k",), ("big",), update, every_row=True)
                to.insert(chest, ("k", "big"), insert)

        with pytest.raises(error):
            work()
        connection.rollback()
        assert seen(postgresql) == [(1, 1)]
        assert sets(connection).select(chest, ("big",), "k {any}", [1]).fetchall() == [(1,)], "it can be used again"


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
cells = st.tuples(
    st.none() | st.integers(-LARGEST - 1, LARGEST),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.booleans(),
    st.none() | texts | st.sampled_from(TEXTS[:-9]),
    st.none() | st.binary(max_size=12),
    st.none() | st.just(AT),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(cells, min_size=1, max_size=6))
def test_any_rows(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    to = sets(connection)
    keyed = [(k, "n", *values) for k, values in enumerate(rows)]
    connection.execute(drawer.delete())
    to.insert(drawer, COLUMNS, [row(k) for k in range(len(rows))])
    to.update(drawer, ("k", "name"), VALUES, keyed)
    assert stored(connection) == keyed
    connection.execute(drawer.delete())
    to.insert(drawer, COLUMNS, keyed)
    assert stored(connection) == keyed
