"""Address pools: who gets which address, when it is free again, and that no two ever have the same."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import psycopg.errors
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from charging import pools, tables
from charging.addresses import REST_MS, Kind
from charging.admission import Admitted, Login, Refused
from charging.bulk import Conflict
from charging.database import open_engine
from charging.leasing import ADDRESS_LOST
from charging.pools import PoolError
from charging.settle import Close, Outcome, Plans, settle
from tests.store.shop import HOME, START, Shop, plan_by_volume

POOLED = plan_by_volume(profile=replace(HOME, address_pool="home"), rates=())


class Home:
    """A shop with a pool and subscribers who log in."""

    def __init__(self, engine: Engine, network: str = "100.64.0.0/30") -> None:
        self.shop = Shop(engine)
        self.version = self.shop.plan(POOLED)
        self.add(network)
        self.customers: dict[str, tuple[int, int]] = {}

    def add(self, network: str, kind: Kind = "ipv4", length: int = 32) -> int:
        with self.shop.engine.begin() as connection:
            return pools.add_range(connection, "home", pools.parse_network(network), kind, length, self.shop.now)

    def customer(self, name: str) -> tuple[int, int]:
        if name not in self.customers:
            account_id = self.shop.account(name)
            self.customers[name] = account_id, self.shop.subscriber(account_id, name)
        return self.customers[name]

    def asks(self, name: str, device: str = "d1") -> Login:
        account_id, subscriber_id = self.customer(name)
        return Login(account_id, subscriber_id, name, self.version, 5, None, 1, "192.0.2.1", device)

    def login(self, name: str, device: str = "d1") -> Admitted:
        outcome = self.shop.settle(self.asks(name, device))[0]
        assert isinstance(outcome, Admitted), outcome
        return outcome

    def refused(self, name: str) -> str:
        outcome = self.shop.settle(self.asks(name))[0]
        assert isinstance(outcome, Refused), outcome
        return outcome.reason

    def report(self, who: Admitted, kind: str, at_s: int = 0, name: bytes | None = None) -> Outcome:
        item = self.shop.report_item(who.account_id, who.session_id, kind)  # type: ignore[arg-type]
        event_at = self.shop.now + at_s * 1000
        return self.shop.settle(item._replace(event_at=event_at, acct_session_id=name or item.acct_session_id))[0]


@pytest.fixture
def home(engine: Engine) -> Home:
    """Two addresses: 100.64.0.1 and .2."""
    return Home(engine)


def test_an_address_is_free_again_when_its_session_ends_and_rests_before_it_is_anothers(home: Home) -> None:
    anna, bert = home.login("anna"), home.login("bert")
    assert {anna.addresses.ipv4, bert.addresses.ipv4} == {"100.64.0.1", "100.64.0.2"}
    assert home.refused("carl") == "address-pool-exhausted"
    home.report(anna, "start")
    home.report(anna, "stop", 1)
    assert home.refused("carl") == "address-pool-exhausted", "it rests"
    home.shop.now += REST_MS + 10_000
    assert home.login("carl").addresses == anna.addresses


def test_whoever_had_an_address_gets_it_back_at_once(home: Home) -> None:
    anna = home.login("anna")
    home.report(anna, "start")
    home.report(anna, "stop", 1)
    assert home.login("anna").addresses == anna.addresses


def test_a_session_that_goes_stale_gives_its_address_back(home: Home) -> None:
    anna, _ = home.login("anna"), home.login("bert")
    home.shop.settle(Close(anna.account_id, anna.session_id, "stale", home.shop.now))
    home.shop.now += REST_MS + 10_000
    assert home.login("carl").addresses == anna.addresses


def test_a_login_that_begins_another_session_keeps_its_address(home: Home) -> None:
    anna, _ = home.login("anna"), home.login("bert")
    home.report(anna, "start")
    home.report(anna, "stop", 1)
    home.report(anna, "start", 2, b"another")
    home.shop.now += REST_MS + 10_000
    assert home.refused("carl") == "address-pool-exhausted"
    home.report(anna, "stop", 3, b"another")
    home.shop.now += REST_MS + 10_000
    assert home.login("carl").addresses == anna.addresses


def test_stop_and_start_in_one_batch_keep_it_too(home: Home) -> None:
    anna = home.login("anna")
    home.report(anna, "start")
    stop = home.shop.report_item(anna.account_id, anna.session_id, "stop")._replace(event_at=START + 1000)
    start = home.shop.report_item(anna.account_id, anna.session_id, "start")
    home.shop.settle(stop, start._replace(event_at=START + 2000, acct_session_id=b"another"))
    (row,) = [row for row in home.shop.rows(tables.pool_lease) if row.root_id == anna.session_id]
    assert row.freed_at is None


def test_a_session_that_wakes_after_its_address_was_given_away_has_to_go(home: Home) -> None:
    anna, _ = home.login("anna"), home.login("bert")
    home.report(anna, "start")
    home.shop.settle(Close(anna.account_id, anna.session_id, "stale", home.shop.now))
    home.shop.now += REST_MS + 10_000
    home.login("carl")
    home.report(anna, "start", 0, b"awake")
    reasons = [row.reason for row in home.shop.rows(tables.command, tables.command.c.account_id == anna.account_id)]
    assert reasons == [ADDRESS_LOST]
    held = {row.account_id for row in home.shop.rows(tables.pool_lease) if row.freed_at is None}
    assert anna.account_id not in held


def test_logins_of_one_batch_get_different_addresses_and_the_rest_none(home: Home) -> None:
    outcomes = home.shop.settle(*(home.asks(name) for name in ("anna", "bert", "carl")))
    addresses = [outcome.addresses.ipv4 for outcome in outcomes if isinstance(outcome, Admitted)]
    assert len(addresses) == len(set(addresses)) == 2
    assert outcomes[2] == Refused("address-pool-exhausted")


def test_a_pool_is_all_or_nothing(home: Home) -> None:
    home.add("2001:db8:100::/56", "delegated", 56)
    home.login("anna")
    assert home.refused("bert") == "address-pool-exhausted"
    held = [row for row in home.shop.rows(tables.pool_lease) if row.freed_at is None]
    assert sorted(row.kind for row in held) == ["delegated", "ipv4"]


@pytest.mark.parametrize(
    ("network", "kind", "length", "problem"),
    [
        ("100.64.0.0/24", "ipv4", 32, "overlaps 100.64.0.0/30"),
        ("2001:db8::/32", "delegated", 56, "write a /38 or less"),
        ("2001:db8::/48", "prefix", 32, "can not be cut"),
    ],
)
def test_what_can_be_no_network_of_a_pool(home: Home, network: str, kind: Kind, length: int, problem: str) -> None:
    with pytest.raises(PoolError, match=problem):
        home.add(network, kind, length)


def test_own_addresses_are_taken_out_of_the_pool_and_come_back(home: Home) -> None:
    account_id, subscriber_id = home.customer("anna")
    bert = home.login("bert")
    with home.shop.engine.begin() as connection:
        with pytest.raises(PoolError, match="leased to account 'bert'"):
            pools.make_own(connection, subscriber_id, account_id, "ipv4", bert.addresses.ipv4, START)
        pools.make_own(connection, subscriber_id, account_id, "ipv4", "100.64.0.2", START)
    account, subscriber = home.customer("carl")
    with home.shop.engine.begin() as connection, pytest.raises(PoolError, match="belongs to subscriber 'anna'"):
        pools.make_own(connection, subscriber, account, "ipv4", "100.64.0.2", START)
    assert home.refused("carl") == "address-pool-exhausted"
    with home.shop.engine.begin() as connection:
        pools.make_own(connection, subscriber_id, account_id, "ipv4", None, START)
    home.shop.now += REST_MS + 10_000
    assert home.login("carl").addresses.ipv4 == "100.64.0.2"


def test_a_pool_whose_addresses_are_leased_is_not_removed(home: Home) -> None:
    anna = home.login("anna")
    with home.shop.engine.begin() as connection, pytest.raises(PoolError, match="1 addresses are leased"):
        pools.remove(connection, "home", None)
    home.report(anna, "stop")
    with home.shop.engine.begin() as connection:
        assert pools.remove(connection, "home", None) == 2
    assert home.refused("anna") == "address-pool-unknown"


# --- several at once -----------------------------------------------------------------------------------------------

NODES, CUSTOMERS, SECONDS = 4, 12, 2


class Watch:
    """Who has which address from the commit that gave it to just before the one that takes it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.holder: dict[str, int] = {}
        self.given = 0
        self.problems: list[str] = []

    def begins(self, address: str, session_id: int) -> None:
        with self._lock:
            self.given += 1
            if address in self.holder:
                self.problems.append(f"{address} is {self.holder[address]}'s, and now {session_id}'s too")
            self.holder[address] = session_id

    def ends(self, address: str) -> None:
        with self._lock:
            self.holder.pop(address, None)


def test_nodes_that_admit_at_the_same_time_never_give_one_address_twice(database_url: str) -> None:
    """Each thread is a node with its own connections; there are fewer addresses than customers, so every free one is
    fought for, and rests no time: the clock runs a minute with every step."""
    engine = open_engine(database_url)
    home = Home(engine, "100.64.0.0/28")
    customers = [[home.asks(f"c{node}-{n}") for n in range(CUSTOMERS)] for node in range(NODES)]
    watch, errors = Watch(), list[BaseException]()
    deadline = time.monotonic() + SECONDS
    clock = iter(range(START, START + 10**12, REST_MS + 10_000))
    clock_lock = threading.Lock()

    def node(number: int) -> None:
        try:
            _admit_and_close(open_engine(database_url), customers[number], watch, deadline, now, random.Random(number))
        except BaseException as error:  # noqa: BLE001  the test's thread looks at it
            errors.append(error)

    def now() -> int:
        with clock_lock:
            return next(clock)

    threads = [threading.Thread(target=node, args=(number,)) for number in range(NODES)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not errors, errors
    assert watch.problems == []
    assert watch.given > CUSTOMERS * NODES, "too little happened to show anything"
    held = {row.address: row.root_id for row in home.shop.rows(tables.pool_lease) if row.freed_at is None}
    live = {row.session_id for row in home.shop.rows(tables.session) if row.closed_at is None and row.leased}
    assert held == watch.holder
    assert set(held.values()) == live
    engine.dispose()


def _admit_and_close(
    engine: Engine, customers: list[Login], watch: Watch, deadline: float, now: Callable[[], int], chance: random.Random
) -> None:
    plans, live = Plans(), dict[int, Admitted]()
    while time.monotonic() < deadline:
        some = [login for login in chance.sample(customers, 4) if login.account_id not in live]
        for outcome in _settle(engine, some, now(), plans, chance):
            if isinstance(outcome, Admitted):
                assert outcome.addresses.ipv4 is not None
                watch.begins(outcome.addresses.ipv4, outcome.session_id)
                live[outcome.account_id] = outcome
        for leaving in chance.sample(sorted(live), min(2, len(live))):
            gone = live.pop(leaving)
            watch.ends(gone.addresses.ipv4 or "")
            _settle(engine, [Close(gone.account_id, gone.session_id, "gone", 10**15)], now(), plans, chance)
    engine.dispose()


def _settle(
    engine: Engine, items: list[Login] | list[Close], now: int, plans: Plans, chance: random.Random
) -> list[Outcome]:
    """As the writer does: run again where another node was faster."""
    while True:
        try:
            with engine.begin() as connection:
                return settle(connection, items, now, plans, chance).outcomes
        except (Conflict, psycopg.errors.DeadlockDetected, OperationalError):
            continue
