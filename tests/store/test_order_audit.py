"""`ledger check` finds what is wrong with orders, vouchers, transfers between accounts, reversals and top-up requests."""

import pytest
from sqlalchemy import Engine, text

from charging.audit import check
from charging.terms import Terms
from tests.store.shop import euros, plan_by_volume
from tests.store.test_orders import Counter

#: What somebody with all rights does, and what the check says of it.
EDITS = [
    ("UPDATE billing_order SET status = 'pending' WHERE kind = 'refund'",
     "orders: anna: the ledger has a refund shop:f1 that no order asked for"),
    ("UPDATE billing_order SET amount = '2.00' WHERE kind = 'refund'",
     "orders: anna: order shop:f1 (refund) asked for 2.00 money, the ledger has -1000000 money"),
    ("UPDATE billing_order SET amount = '0.50' WHERE kind = 'adjust'",
     "orders: anna: order shop:a1 (adjustment) asked for 0.50 money, the ledger has -500000 money"),
    ("UPDATE billing_order SET external_ref = 'x' WHERE kind = 'transfer'",
     "orders: anna: order shop:x (transfer) was carried out, but it is not in the ledger"),
    ("UPDATE billing_order SET account = 'bob' WHERE kind = 'reverse'",
     "orders: bob: order shop:r1 (reversal) was carried out, but it is not in the ledger"),
    ("UPDATE voucher SET state = 'ready' WHERE serial = 1",
     "vouchers: anna: the ledger has shop:v1, a voucher of 10000000 money that nobody redeemed"),
    ("UPDATE voucher SET state = 'redeemed', account_id = 2, reference = 'x' WHERE serial = 2",
     "vouchers: bob: voucher spring/2 of 10000000 money is redeemed, but not in the ledger"),
    ("UPDATE voucher_batch SET amount = 11000000",
     "vouchers: anna: voucher spring/1 of 11000000 money is redeemed, but not in the ledger"),
    ("UPDATE transfer SET amount = amount - 1 WHERE kind = 'transfer' AND account_id = 2",
     "between accounts: anna: transfer shop:t1: 1 money left the account and did not arrive at the other"),
    ("DELETE FROM transfer WHERE kind = 'transfer' AND account_id = 1",
     "between accounts: anna: transfer shop:t1: -4000000 money left the account and did not arrive at the other"),
    ("DELETE FROM reversal", "reversals: anna: transfer 6 is a reversal, but of no transfer"),
    ("UPDATE reversal SET seq = 2", "reversals: anna: transfer 6 is not the opposite of transfer 2, which it reverses"),
    ("UPDATE account SET auto_request_id = 7 WHERE name = 'bob'",
     "top up requests: bob: it waits for top-up request 7, open is "),
    ("UPDATE top_up_request SET status = 'cancelled' WHERE account_id = 2",
     "top up requests: bob: it waits for top-up request "),
    ("UPDATE top_up_request SET answer = 'x' WHERE status = 'paid'",
     "top up requests: carl: top-up request "),
]  # fmt: skip


@pytest.fixture
def shop(engine: Engine) -> Counter:
    shop = Counter(engine)
    shop.nas()
    shop.version = shop.plan(plan_by_volume())
    shop.account()
    bob, carl = shop.account("bob"), shop.account("carl")
    shop.pay("anna", "10.00")
    code, *_ = shop.batch()
    for kind, columns in (
        ("redeem", {"code": code, "ref": "v1"}),
        ("transfer", {"to_account": "bob", "amount": "4.00", "ref": "t1"}),
        ("refund", {"amount": "1.00", "ref": "f1"}),
        ("adjust", {"amount": "-0.50", "reason": "x", "ref": "a1"}),
        ("reverse", {"transfer_seq": 1, "reason": "x", "ref": "r1"}),
    ):
        assert shop.ordered(kind, "anna", **columns) is None
    for account_id in (bob, carl):
        shop.settle(Terms(account_id, auto_below_micros=euros(5), auto_amount_micros=euros(20)))
    with engine.connect() as connection:
        asked = connection.execute(text("SELECT request_id FROM top_up_request WHERE account_id = 3")).scalar_one()
    shop.put("carl", "20.00", request_id=asked)
    shop.turn()
    return shop


def test_what_somebody_edits_is_found(shop: Counter) -> None:
    with shop.engine.connect() as connection:
        assert check(connection, shop.now).found == []
        connection.rollback()
        for statement, expected in EDITS:
            for table in ("transfer", "reversal"):
                if connection.dialect.name == "postgresql":
                    connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
                else:
                    for event in ("update", "delete"):
                        connection.execute(text(f"DROP TRIGGER {table}_no_{event}"))
            assert connection.execute(text(statement)).rowcount
            found = [f"{v.invariant}: {v.account}: {v.words}" for v in check(connection, shop.now).found]
            assert any(line.startswith(expected) for line in found), (statement, found)
            connection.rollback()
