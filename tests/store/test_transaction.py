"""One transaction of an operator's command: all or nothing, and again where another writer was faster."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, Engine, func, insert, select

from charging import tables, transaction
from charging.bulk import Conflict
from charging.transaction import MOST_TRIES, run


def add_account(connection: Connection, name: str) -> None:
    connection.execute(insert(tables.account).values(name=name, currency="EUR", created_at=0))


def accounts(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(tables.account)).scalar_one())


def test_the_work_is_done_again_until_nobody_was_faster(engine: Engine) -> None:
    tries: list[int] = []

    def work(connection: Connection) -> str:
        add_account(connection, "smith")
        tries.append(1)
        if len(tries) < 3:
            raise Conflict
        return "done"

    assert run(engine, work) == "done"
    assert (len(tries), accounts(engine)) == (3, 1)


def test_not_for_ever(engine: Engine) -> None:
    tries: list[int] = []

    def work(connection: Connection) -> None:
        add_account(connection, "smith")
        tries.append(1)
        raise Conflict

    with pytest.raises(Conflict):
        run(engine, work)
    assert (len(tries), accounts(engine)) == (MOST_TRIES, 0)


def test_what_goes_wrong_is_undone_and_told_at_once(engine: Engine) -> None:
    tries: list[int] = []

    def work(connection: Connection) -> None:
        add_account(connection, "smith")
        tries.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(engine, work)
    assert (len(tries), accounts(engine)) == (1, 0)


def test_a_serialization_failure_of_postgresql_is_a_conflict(postgresql_url: str) -> None:
    from charging.database import open_engine

    engine = open_engine(postgresql_url)
    with engine.begin() as connection:
        add_account(connection, "smith")
    strict = engine.execution_options(isolation_level="REPEATABLE READ")
    tries: list[int] = []

    def work(connection: Connection) -> None:
        connection.execute(select(tables.account)).all()
        tries.append(1)
        if len(tries) == 1:
            with engine.begin() as other:
                other.execute(tables.account.update().values(version=5))
        connection.execute(tables.account.update().values(version=tables.account.c.version + 1))

    transaction.run(strict, work)
    with engine.connect() as connection:
        assert connection.execute(select(tables.account.c.version)).scalar_one() == 6
    assert len(tries) == 2
    engine.dispose()
