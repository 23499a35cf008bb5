"""Database work in the reactor's own thread: one that waits does not keep another."""

import select
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import Engine
from twisted.internet.defer import Deferred

from charging.database import open_engine
from charging.lane import PLANS_LAST_NS, Kept, Lanes, cooperate, elsewhere


class Sockets:
    """The part of a reactor that looks at sockets."""

    def __init__(self) -> None:
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard
        self.called: list[Callable[[], None]] = []

    def in_thread(self, work: Callable[[], Any]) -> "Deferred[Any]":
        """As a thread: never done before the one who asked goes on."""
        done: Deferred[Any] = Deferred()
        self.called.append(lambda: done.callback(work()))
        return done

    def until(self, condition: Callable[[], object]) -> None:
        for _ in range(2_000):
            if condition():
                return
            while self.called:
                self.called.pop()()
            readable, writable, _ = select.select(self.readers, self.writers, [], 0.01)
            for each in readable:
                each.doRead()
            for each in writable:
                each.doWrite()
        raise AssertionError("it never came to that")


@pytest.fixture
def engine(postgresql_url: str) -> Iterator[Engine]:
    engine = open_engine(postgresql_url)
    cooperate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def sockets() -> Sockets:
    return Sockets()


@pytest.fixture
def lanes(sockets: Sockets) -> Lanes:
    return Lanes(sockets, sockets.in_thread)


def asking(engine: Engine, statement: str, *, rows: bool = True) -> Callable[[], Any]:
    def work() -> Any:
        with engine.begin() as connection:
            found = connection.exec_driver_sql(statement)
            return found.scalar() if rows else None

    return work


def outcome(of: "Deferred[Any]", into: list[Any]) -> None:
    of.addBoth(into.append)


def test_one_that_waits_does_not_keep_another(engine: Engine, lanes: Lanes, sockets: Sockets) -> None:
    """The first waits for a lock that only the second gives back."""
    happened: list[Any] = []
    held = engine.connect()
    held.exec_driver_sql("SELECT pg_advisory_xact_lock(7)")

    def let_go() -> str:
        assert elsewhere(lambda: "from a thread") == "from a thread"
        held.commit()
        held.close()
        return "second"

    outcome(lanes.run(asking(engine, "SELECT 'first' FROM pg_advisory_xact_lock(7)")), happened)
    assert happened == []
    outcome(lanes.run(let_go), happened)
    sockets.until(lambda: len(happened) == 2)
    assert happened == ["second", "first"]
    assert not sockets.readers
    assert not sockets.writers


def test_an_error_comes_out_where_the_work_was_asked_for(engine: Engine, lanes: Lanes, sockets: Sockets) -> None:
    happened: list[Any] = []
    outcome(lanes.run(asking(engine, "SELECT 1 / 0")), happened)
    sockets.until(lambda: happened)
    assert isinstance(happened[0].value.orig, psycopg.errors.DivisionByZero)


def test_a_connection_that_is_cut_while_it_is_waited_for(engine: Engine, lanes: Lanes, sockets: Sockets) -> None:
    happened: list[Any] = []
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
        outcome(lanes.run(asking(engine, "SELECT pg_sleep(3600)")), happened)
        asleep = "FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%%'"
        sockets.until(lambda: other.exec_driver_sql(f"SELECT count(*) {asleep}").scalar())
        other.exec_driver_sql(f"SELECT pg_terminate_backend(pid) {asleep}")
    sockets.until(lambda: happened)
    assert isinstance(happened[0].value, sqlalchemy.exc.OperationalError)


def test_more_than_the_sockets_hold(engine: Engine, lanes: Lanes, sockets: Sockets) -> None:
    happened: list[Any] = []
    outcome(lanes.run(asking(engine, "SELECT repeat('x', 8000000) || '" + "y" * 8_000_000 + "'")), happened)
    sockets.until(lambda: happened)
    assert len(happened[0]) == 16_000_000


def test_what_is_not_in_a_lane_waits_as_ever(engine: Engine) -> None:
    assert asking(engine, "SELECT 5")() == 5
    assert elsewhere(lambda: 6) == 6


def backend(kept: Kept) -> object:
    """The process behind it."""
    with kept.connection() as connection:
        found = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        connection.commit()
    return found


def test_a_kept_connection_is_the_same_and_what_failed_is_undone(engine: Engine) -> None:
    kept = Kept(engine)
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of the pool that engines have
    first = backend(kept)
    with pytest.raises(sqlalchemy.exc.DataError), kept.connection() as connection:
        connection.exec_driver_sql("CREATE TABLE half_done AS SELECT 1; SELECT 1 / 0")
    assert backend(kept) == first
    assert engine.pool.checkedout() == 1  # type: ignore[attr-defined]
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT to_regclass('half_done')").scalar() is None
    kept.close()
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("plan_once", [False, True])
def test_a_kept_connection_that_was_cut_is_not_used_again(engine: Engine, *, plan_once: bool) -> None:
    kept = Kept(engine, plan_once=plan_once)
    first = backend(kept)
    with engine.connect() as other:
        other.exec_driver_sql(f"SELECT pg_terminate_backend({first})")
    with pytest.raises(sqlalchemy.exc.OperationalError):
        backend(kept)
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert backend(kept) != first


def test_planning_once_is_a_matter_of_the_kept_connection_alone(engine: Engine) -> None:
    kept = Kept(engine, plan_once=True)

    def mode(connection: sqlalchemy.Connection) -> object:
        return connection.exec_driver_sql("SHOW plan_cache_mode").scalar()

    with kept.connection() as connection:
        assert mode(connection) == "force_generic_plan"
        connection.commit()
    with pytest.raises(sqlalchemy.exc.DataError), kept.connection() as connection:
        connection.exec_driver_sql("SELECT 1 / 0")
    with kept.connection() as connection:
        assert mode(connection) == "force_generic_plan"
        connection.commit()
    kept.close()
    with engine.connect() as one, engine.connect() as another:
        assert [mode(one), mode(another)] == ["auto", "auto"]


def test_a_plan_for_an_empty_table_does_not_last_when_the_table_grows(engine: Engine) -> None:
    now = [PLANS_LAST_NS]
    kept = Kept(engine, plan_once=True, clock=lambda: now[0])

    def plan() -> str:
        with kept.connection() as connection:
            lines = connection.exec_driver_sql("EXPLAIN EXECUTE look(7)").scalars().all()
            connection.commit()
        return next(scan for scan in ("Seq Scan", "Index Scan") if scan in lines[0])

    with kept.connection() as connection:
        connection.exec_driver_sql("CREATE TABLE grown (a bigint PRIMARY KEY, b text)")
        connection.exec_driver_sql("PREPARE look(bigint) AS SELECT b FROM grown WHERE a = $1")
        connection.commit()

    def fill() -> None:
        with engine.begin() as other:
            other.exec_driver_sql("INSERT INTO grown SELECT n, 'some text' FROM generate_series(1, 5000) AS n")

    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
        other.exec_driver_sql("VACUUM ANALYZE grown")
    assert {plan() for _ in range(7)} == {"Seq Scan"}  # the 2nd to 8th use
    fill()
    assert [plan() for _ in range(8)] == ["Seq Scan"] * 7 + ["Index Scan"], "made again with the 16th, as with the 8th"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
        other.exec_driver_sql("TRUNCATE grown")
        other.exec_driver_sql("VACUUM ANALYZE grown")
    assert plan() == "Seq Scan"
    fill()
    assert [plan() for _ in range(10)] == ["Seq Scan"] * 10
    now[0] += PLANS_LAST_NS
    assert plan() == "Index Scan"
