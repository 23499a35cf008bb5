"""Several nodes on one PostgreSQL, and who stands in their way: rows that are held, nodes that stand still."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, text
from twisted.internet.defer import Deferred

from charging import database
from charging.bulk import Conflict
from charging.usage import Recorded
from charging.writer import LOCKED_FOR_MS, AccountLocked, DatabaseUnavailable, Writer
from tests.store.shop import Shop, plan_by_volume
from tests.store.test_writer import Later, outcome, run_now

#: Long enough for a machine that stands still now and then.
LOCK_MS = 250
TRANSACTION_MS = 3_000
MB = 1_000_000


class Street:
    """Accounts with one session each, and nodes: a server's engine and writer, with waits as short as a test's."""

    def __init__(self, url: str, accounts: int) -> None:
        self.url = url
        self.waits = 0
        """Transactions of nodes that were given up: each has waited for a lock in vain."""
        self.engines = [database.open_engine(url)]
        self.shop = Shop(self.engines[0])
        version = self.shop.plan(plan_by_volume())
        self.houses: list[tuple[int, int]] = []
        for number in range(accounts):
            name = f"house-{number}"
            account_id = self.shop.account(name)
            subscriber_id = self.shop.subscriber(account_id, name)
            self.shop.pay(name, "100.00")
            session_id = self.shop.login(account_id, subscriber_id, name, version, device=name)
            self.shop.report(account_id, session_id, "start")
            self.houses.append((account_id, session_id))
        self.shop.now += 3_600_000

    def node(self, run: Any = run_now) -> Writer:
        engine = database.open_engine(self.url)
        database.bound_waits(engine, lock_ms=LOCK_MS, transaction_ms=TRANSACTION_MS)
        self.engines.append(engine)

        @event.listens_for(engine, "rollback")
        def given_up(_connection: Any) -> None:
            self.waits += 1

        return Writer(engine, run, lambda: self.shop.now, chance=random.Random(len(self.engines)))

    def report(self, house: int, megabytes: int) -> Any:
        return self.shop.report_item(*self.houses[house], "interim", down=megabytes * MB, seconds=600 + megabytes)

    def batch(self, writer: Writer, later: Later, *reports: Any) -> list[Any]:
        """What comes of some reports that are settled together."""
        done: list[Deferred[Any]] = []
        # The first one is a batch of its own, whatever follows gathers behind it.
        first = writer.submit(self.report(len(self.houses) - 1, 0))
        done = [writer.submit(report) for report in reports]
        later.go()
        later.go()
        outcome(first)
        return [outcome(each) for each in done]

    def octets(self, house: int) -> int:
        _, session_id = self.houses[house]
        statement = text("SELECT octets_down FROM session WHERE session_id = :id")
        with self.engines[0].connect() as connection:
            return int(connection.execute(statement, {"id": session_id}).scalar_one())

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url.replace("+psycopg", ""))

    def close(self) -> None:
        for engine in self.engines:
            engine.dispose()


@pytest.fixture
def street(postgresql_url: str) -> Iterator[Callable[[int], Street]]:
    opened: list[Street] = []

    def build(accounts: int) -> Street:
        opened.append(Street(postgresql_url, accounts))
        return opened[0]

    yield build
    for each in opened:
        each.close()


def kinds(outcomes: Sequence[Any]) -> list[str]:
    return [type(each).__name__ for each in outcomes]


# --- a row that somebody holds -----------------------------------------------------------------------------------------


def test_a_row_that_somebody_holds_keeps_only_its_own_account_waiting(street: Callable[[int], Street]) -> None:
    here = street(5)
    later = Later()
    writer = here.node(later)
    with here.connect() as client:
        client.execute("SELECT * FROM account WHERE account_id = %s FOR UPDATE", [here.houses[1][0]])
        settled = here.batch(writer, later, *(here.report(n, 1) for n in range(4)))
        assert kinds(settled) == ["Recorded", "AccountLocked", "Recorded", "Recorded"]
        # Its neighbours do not wait a second time: it is known.
        waits = here.waits
        settled = here.batch(writer, later, *(here.report(n, 2) for n in range(4)))
        assert kinds(settled) == ["Recorded", "AccountLocked", "Recorded", "Recorded"]
        assert (waits > 0, here.waits) == (True, waits)
        # Later it is tried again, apart from the others.
        here.shop.now += LOCKED_FOR_MS
        assert kinds(here.batch(writer, later, *(here.report(n, 3) for n in (1, 2)))) == ["AccountLocked", "Recorded"]
    assert writer.why_unavailable is None
    here.shop.now += LOCKED_FOR_MS
    assert kinds(here.batch(writer, later, *(here.report(n, 4) for n in range(4)))) == ["Recorded"] * 4
    assert [here.octets(n) for n in range(4)] == [4 * MB] * 4


def test_a_row_of_another_table_counts_for_its_account(street: Callable[[int], Street]) -> None:
    here = street(3)
    later = Later()
    writer = here.node(later)
    with here.connect() as client:
        client.execute("SELECT * FROM bucket WHERE account_id = %s FOR UPDATE", [here.houses[0][0]])
        assert kinds(here.batch(writer, later, here.report(0, 1), here.report(1, 1))) == ["AccountLocked", "Recorded"]


def test_a_table_that_somebody_holds_is_a_database_that_is_away(street: Callable[[int], Street]) -> None:
    """As a migration does: nobody's report is asked for one by one."""
    here = street(8)
    later = Later()
    writer = here.node(later)
    with here.connect() as client:
        client.execute("ALTER TABLE session ADD COLUMN more integer")
        settled = here.batch(writer, later, *(here.report(n, 1) for n in range(7)))
        assert all(isinstance(each, DatabaseUnavailable) for each in settled)
        assert not any(isinstance(each, AccountLocked) for each in settled)
        # First the batch of one, then the seven: each once together and then three alone at most.
        assert 2 <= here.waits < 8
        client.rollback()
    here.shop.now += LOCKED_FOR_MS
    assert kinds(here.batch(writer, later, *(here.report(n, 1) for n in range(7)))) == ["Recorded"] * 7


# --- a node that stands still ------------------------------------------------------------------------------------------


def test_a_node_that_stands_still_in_a_transaction_keeps_nobody_waiting(street: Callable[[int], Street]) -> None:
    """SIGSTOP between its writes and its commit. When it wakes its transaction is gone; it settles again, once."""
    here = street(2)
    sleeper, other = here.node(), here.node()
    asleep, wake = threading.Event(), threading.Event()
    engine = here.engines[1]

    def stand_still(_connection: Any) -> None:
        if asleep.is_set():
            return
        asleep.set()
        assert wake.wait(20)

    event.listen(engine, "commit", stand_still)
    slept: list[Any] = []
    thread = threading.Thread(target=lambda: sleeper.submit(here.report(0, 1)).addBoth(slept.append))
    thread.start()
    assert asleep.wait(20)
    deadline = time.monotonic() + 20
    while kinds([outcome(other.submit(here.report(0, 5)))]) != ["Recorded"]:
        here.shop.now += LOCKED_FOR_MS
        assert time.monotonic() < deadline, "the other node still waits for the one that stands still"
    wake.set()
    thread.join()
    assert kinds(slept) == ["Recorded"]
    assert here.octets(0) == 5 * MB
    with here.connect() as client:
        lines = client.execute("SELECT sum(octets_down_to - octets_down_from) FROM usage_line").fetchone()
    assert lines == (5 * MB,)


# --- two nodes with the same accounts -----------------------------------------------------------------------------------


def test_who_lost_once_waits_for_his_turn_and_does_not_lose_again(
    street: Callable[[int], Street], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without that two busy nodes decide in vain again and again, and each batch falls apart into single transactions."""
    accounts, rounds = 20, 40
    here = street(accounts + 1)
    lost = 0
    deadlocks = 0
    laters = [Later(), Later()]
    writers = [here.node(later) for later in laters]

    def counting(writer: Writer) -> Any:
        settle_once = writer._settle_once

        def once(*arguments: Any) -> Any:
            nonlocal lost, deadlocks
            try:
                return settle_once(*arguments)
            except (Conflict, psycopg.errors.DeadlockDetected) as error:
                lost += isinstance(error, Conflict)
                deadlocks += isinstance(error, psycopg.errors.DeadlockDetected)
                raise

        return once

    for writer in writers:
        monkeypatch.setattr(writer, "_settle_once", counting(writer))

    failed: list[Any] = []

    def work(number: int) -> None:
        order = list(range(accounts))
        random.Random(number).shuffle(order)
        for turn in range(1, rounds + 1):
            settled = here.batch(writers[number], laters[number], *(here.report(n, 2 * turn + number) for n in order))
            failed.extend(each for each in settled if not isinstance(each, Recorded))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [here.octets(n) for n in range(accounts)] == [(2 * rounds + 1) * MB] * accounts
    assert deadlocks == 0
    # Each node finds out once that it is not alone, perhaps both at once; then they take turns.
    print(f"{lost} of {2 * rounds} batches were decided in vain")
    assert lost <= 6
