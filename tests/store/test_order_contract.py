"""What docs/billing-sql.md says of orders, vouchers and top-up requests is true, by plain SQL connections."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from charging import tables
from charging.audit import check
from charging.database import reading
from charging.terms import Terms
from charging.voucher import fingerprint, read_code
from tests.store.shop import euros, plan_by_volume
from tests.store.test_billing_contract import BLOCKS, DOCUMENT
from tests.store.test_orders import Counter
from tests.stories.plain_sql import PlainSql, plain_sql

EXAMPLES = [block for block in BLOCKS if block.startswith("-- order")]


@pytest.fixture
def shop(engine: Engine) -> Counter:
    """Smith has paid 10 EUR; both he and Jones ask for more below 5; the document's voucher is for sale."""
    shop = Counter(engine)
    shop.nas()
    shop.version = shop.plan(plan_by_volume())
    smith, jones = shop.account("smith"), shop.account("jones")
    shop.pay("smith", "10.00")
    for account_id in (smith, jones):
        shop.settle(Terms(account_id, auto_below_micros=euros(5), auto_amount_micros=euros(20)))
    shop.batch("spring", count=2)
    (code,) = re.findall(r"'redeem', 'smith', '(\S+)'", DOCUMENT)
    with engine.begin() as connection:
        row = {"batch_id": 1, "serial": 3, "fingerprint": fingerprint(read_code(code))}
        connection.execute(insert(tables.voucher).values(row))
    return shop


@pytest.fixture
def sql(shop: Counter) -> Iterator[PlainSql]:
    with plain_sql(shop.engine.url.render_as_string(hide_password=False)) as connection:
        yield connection


def test_the_examples_run_one_after_the_other(shop: Counter, sql: PlainSql) -> None:
    read: list[list[tuple[Any, ...]]] = []
    for example in EXAMPLES:
        rows = sql(example)
        if "INSERT" in example:
            shop.turn()
        else:
            read.append(rows)
    orders = sql("SELECT external_ref, status, code FROM billing_order ORDER BY order_id")
    assert [row for row in orders if not row[0].startswith("declined")] == [
        ("v-1", "applied", None), ("t-1", "applied", None), ("r-1", "applied", None), ("a-1", "applied", None),
        ("x-1", "error", None), ("x-2", "applied", None),
    ]  # fmt: skip
    assert sql("SELECT account, status, answer FROM billing_top_up_request ORDER BY account") == [
        ("jones", "declined", "card refused"),
        (
            "smith",
            "paid",
            sql("SELECT 'cards:auto-' || request_id FROM billing_top_up_request WHERE status = 'paid'")[0][0],
        ),
    ]
    # 10 paid in, 10 by voucher, 4 to Jones, 1.50 paid out, 0.25 taken, 10 charged back, 20 asked for
    assert sql("SELECT account, money_micros FROM billing_account ORDER BY account") == [
        ("jones", euros(4)), ("smith", euros(20) + 4_250_000),
    ]  # fmt: skip
    assert sql("SELECT kind, unit, amount FROM billing_ledger WHERE account = 'smith' ORDER BY seq") == [
        ("top-up", "money", euros(10)), ("voucher", "money", euros(10)), ("transfer", "money", euros(4)),
        ("refund", "money", 1_500_000), ("adjustment", "money", 250_000), ("reversal", "money", euros(10)),
        ("top-up", "money", euros(20)),
    ]  # fmt: skip
    left, waiting = read
    assert sorted(left) == [("spring", "ready", 2), ("spring", "redeemed", 1)]
    assert waiting == []
    assert sql("SELECT serial, account, reference, actor FROM billing_voucher WHERE state = 'redeemed'") == [
        (3, "smith", "portal:v-1", "billing:portal"),
    ]  # fmt: skip
    with reading(shop.engine) as connection:
        assert check(connection, shop.now).found == []


def test_all_examples_again_change_nothing(shop: Counter, sql: PlainSql) -> None:
    inserts = [example for example in EXAMPLES if "INSERT" in example]
    for example in inserts:
        sql(example)
        shop.turn()
    ledger = sql("SELECT * FROM billing_ledger ORDER BY account, seq")
    for example in inserts:
        sql(example)
        shop.turn()
    assert sql("SELECT * FROM billing_ledger ORDER BY account, seq") == ledger
    (pending,) = sql("SELECT count(*) FROM billing_order WHERE status = 'pending'")
    assert pending == (0,)


def test_an_open_request_is_seen(shop: Counter, sql: PlainSql) -> None:
    assert shop.ordered("refund", "smith", amount="6.00") is None
    assert [row[1:4] for row in sorted(sql(EXAMPLES[-1]), key=lambda row: str(row[1]))] == [
        ("jones", "20.00", "EUR"), ("smith", "20.00", "EUR"),
    ]  # fmt: skip


@pytest.mark.parametrize("statement", ["UPDATE reversal SET by_seq = 9", "DELETE FROM reversal"])
def test_what_was_reversed_is_written_once(shop: Counter, sql: PlainSql, statement: str) -> None:
    assert shop.ordered("reverse", "smith", transfer_seq=1, reason="x") is None
    with pytest.raises(Exception, match="rows of reversal are never changed"):
        sql(statement)
