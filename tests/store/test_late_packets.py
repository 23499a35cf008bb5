"""A packet for a session that is over, at a node that has never seen it."""

from __future__ import annotations

from sqlalchemy import Engine

from charging.settle import Close, Plans, settle
from charging.shelf import Shelf
from charging.usage import Recorded
from tests.store.shop import START, Shop, plan_by_volume


def test_its_plan_is_read_where_the_account_is_on_the_shelf_already(engine: Engine) -> None:
    shop = Shop(engine)
    plan, account = shop.plan(plan_by_volume()), shop.account()
    subscriber, nas = shop.subscriber(account, "anna"), shop.nas()
    shop.pay("anna", "10.00")
    session = shop.login(account, subscriber, "anna", plan, nas_id=nas)
    shop.report(account, session, "stop", up=1_000_000, seconds=60)
    plans, shelf = Plans(), Shelf()
    with engine.begin() as connection:
        # The account comes to this node without any session, so without any plan.
        books = settle(connection, [Close(account, 1, "gone", START)], shop.now, plans, shop.chance, shelf).books
    shelf.keep(books, shop.now)
    late = shop.report_item(account, session, "interim", up=2_000_000, seconds=70)
    with engine.begin() as connection:
        (outcome,) = settle(connection, [late], shop.now, plans, shop.chance, shelf).outcomes
    assert isinstance(outcome, Recorded)
    assert outcome.used.up == 1_000_000
