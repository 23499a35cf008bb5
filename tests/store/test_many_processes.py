"""Real processes at one account and at one voucher: the result is exact, and the voucher is redeemed once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, Engine
from twisted.internet.defer import execute

from charging import order_inbox, tables
from charging.audit import check
from charging.database import open_engine, reading
from charging.payment import Applied, NotApplied
from charging.settle import Outcome
from charging.transaction import run, settle_in
from charging.usage import Recorded
from charging.writer import Writer
from tests.store.shop import euros, plan_by_volume
from tests.store.test_orders import Counter

DEBITING = 50
REDEEMING = 20
ROUNDS = 3
MOST_SECONDS = 60
_FORK = multiprocessing.get_context("fork")


@pytest.fixture
def shop(postgresql_url: str) -> Iterator[Counter]:
    """SQLite lets one writer in at a time anyway."""
    engine = open_engine(postgresql_url)
    shop = Counter(engine)
    shop.nas()
    shop.version = shop.plan(plan_by_volume(max_sessions=None))
    yield shop
    with reading(engine) as connection:
        assert check(connection, shop.now).found == []
    engine.dispose()


def side_by_side(shop: Counter, count: int, work: Callable[[Engine, int], Any]) -> list[Any]:
    """What `work(engine, number)` returned in each of so many processes that begin in the same moment."""
    url = shop.engine.url.render_as_string(hide_password=False)
    begin = _FORK.Barrier(count)

    def child(number: int, answer: Any) -> None:
        engine = open_engine(url)
        with engine.connect():
            pass
        begin.wait(MOST_SECONDS)
        answer.send(work(engine, number))

    pipes = [_FORK.Pipe(duplex=False) for _ in range(count)]
    processes = [_FORK.Process(target=child, args=(n, ours), daemon=True) for n, (_, ours) in enumerate(pipes)]
    shop.engine.dispose()  # nobody inherits a connection
    for process in processes:
        process.start()
    try:
        answers = [theirs.recv() if theirs.poll(MOST_SECONDS) else "no answer" for theirs, _ in pipes]
        for process in processes:
            process.join(MOST_SECONDS)
    finally:
        for process in processes:
            process.kill()
    return answers


def submitted(writer: Writer, item: Any) -> Outcome:
    """What a node's writer made of an item."""
    found: list[Any] = []
    writer.submit(item).addBoth(found.append)
    return found[0]  # type: ignore[no-any-return]


def test_fifty_processes_debit_one_bucket(shop: Counter) -> None:
    """Most are nodes whose sessions use 1 MB at a time (0.02 EUR), some are commands that refund 0.01 EUR at a time."""
    account_id = shop.account()
    shop.subscriber(account_id, "anna")
    shop.pay("anna", "1000.00")
    sessions = [shop.login(account_id, 1, "anna", shop.version, device=f"d{n}") for n in range(DEBITING)]
    # The logins hold much of it; refunds take only what nobody holds.
    shop.pay("anna", "10.00")

    def refund(engine: Engine, number: int, turn: int) -> bool:
        def work(connection: Any) -> bool:
            order_id = order_inbox.put(
                connection, source=f"s{number}", external_ref=str(turn), kind="refund", account="anna", amount="0.01"
            )
            orders = order_inbox.pending(connection, 1, only=order_id).orders
            return isinstance(settle_in(connection, orders, shop.now).outcomes[0], Applied)

        return run(engine, work)

    def debit(engine: Engine, number: int) -> int:
        if number % 5 == 0:
            return sum(refund(engine, number, turn) for turn in range(ROUNDS))
        writer = Writer(engine, execute, lambda: shop.now)
        reports = [
            shop.report_item(account_id, sessions[number], "interim", down=turn * 1_000_000, seconds=turn)
            for turn in range(1, ROUNDS + 1)
        ]
        return sum(isinstance(submitted(writer, report), Recorded) for report in reports)

    assert side_by_side(shop, DEBITING, debit) == [ROUNDS] * DEBITING
    refunds = DEBITING // 5 * ROUNDS
    reports = DEBITING * ROUNDS - refunds
    assert shop.balance(account_id) == euros(1010) - 20_000 * reports - 10_000 * refunds


def test_twenty_processes_redeem_one_voucher(shop: Counter) -> None:
    code, *_ = shop.batch()
    accounts = [shop.account(f"a{n}") for n in range(REDEEMING)]
    for n in range(REDEEMING):
        shop.order("redeem", f"a{n}", code=code)
    with shop.engine.begin() as connection:
        orders = order_inbox.pending(connection, REDEEMING).orders

    def redeem(engine: Engine, number: int) -> str:
        outcome = submitted(Writer(engine, execute, lambda: shop.now), orders[number])
        return outcome.reason if isinstance(outcome, NotApplied) else type(outcome).__name__

    answers = side_by_side(shop, REDEEMING, redeem)
    assert sorted(answers) == ["Applied"] + ["code: this voucher was redeemed before"] * (REDEEMING - 1)
    assert sorted(shop.balance(a) for a in accounts) == [0] * (REDEEMING - 1) + [euros(10)]
    assert [row.kind for row in shop.rows(tables.transfer)] == ["voucher"]


def test_twenty_processes_pay_each_other_in_a_ring(shop: Counter) -> None:
    """Two accounts at work in each item, in every order of their ids: nobody waits for ever, nothing is lost."""
    accounts = [shop.account(f"a{n}") for n in range(4)]
    for n in range(4):
        shop.pay(f"a{n}", "10.00")

    def pay(engine: Engine, number: int) -> int:
        payer, payee = f"a{number % 4}", f"a{(number + 1 + number // 4 % 3) % 4}"

        def work(turn: int, connection: Connection) -> int:
            order_id = order_inbox.put(
                connection, source=f"s{number}", external_ref=f"{turn}", kind="transfer", account=payer,
                to_account=payee, amount="0.10",
            )  # fmt: skip
            orders = order_inbox.pending(connection, 1, only=order_id).orders
            return int(isinstance(settle_in(connection, orders, shop.now).outcomes[0], Applied))

        return sum(run(engine, partial(work, turn)) for turn in range(ROUNDS))

    assert side_by_side(shop, REDEEMING, pay) == [ROUNDS] * REDEEMING
    assert sum(shop.balance(a) for a in accounts) == euros(40)
