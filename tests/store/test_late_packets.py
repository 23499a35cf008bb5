"""A packet for a session that is over, at a node that has never seen it."""

from __future__ import annotations

from sqlalchemy import Engine

from charging import tables
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


def test_an_old_interim_does_not_wake_a_session_that_was_given_up(engine: Engine) -> None:
    shop = Shop(engine)
    plan, account = shop.plan(plan_by_volume()), shop.account()
    subscriber, nas = shop.subscriber(account, "anna"), shop.nas()
    shop.pay("anna", "10.00")
    session = shop.login(account, subscriber, "anna", plan, nas_id=nas)
    shop.report(account, session, "start")
    shop.now += 60_000
    shop.report(account, session, "interim", up=1_000_000, seconds=60)
    shop.settle(Close(account, session, "stale", shop.now))
    shop.now += 300_000
    shop.report(account, session, "stop", up=2_000_000, seconds=300)
    shop.now += 1_000
    # Sent long ago, and its NAS does not say when: only its session time tells.
    old = shop.report_item(account, session, "interim", up=1_500_000, seconds=240)._replace(event_exact=False)
    shop.settle(old)
    assert [row.closed_at is None for row in shop.rows(tables.session)] == [False]


def test_a_session_that_goes_on_after_its_nas_restarted_is_steered_again(engine: Engine) -> None:
    shop = Shop(engine)
    plan, account = shop.plan(plan_by_volume()), shop.account()
    subscriber, nas = shop.subscriber(account, "anna"), shop.nas()
    shop.pay("anna", "10.00")
    session = shop.login(account, subscriber, "anna", plan, nas_id=nas)
    shop.report(account, session, "start")
    shop.now += 1_000
    shop.settle(Close(account, session, "nas-restart", shop.now))  # its Accounting-Off was a minute on its way
    shop.now += 60_000
    shop.report(account, session, "interim", up=1_000_000, seconds=60)
    rows = sorted(shop.rows(tables.session), key=lambda row: row.session_id)
    assert [(row.state, row.octets_up) for row in rows] == [("closed", 0), ("open", 1_000_000)]
    assert shop.rows(tables.bucket, tables.bucket.c.held > 0)
