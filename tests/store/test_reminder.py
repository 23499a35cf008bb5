"""What ends by the clock alone is told in time, and once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest
from sqlalchemy import Engine, update
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from charging import inbox, tables
from charging.bulk import sets
from charging.jobs import Jobs, remind_all
from charging.notices import reminder
from charging.settle import settle
from charging.writer import Writer
from tests.store.shop import Shop, plan_by_volume

DAY: Final = 86_400_000
AHEAD: Final = 3 * DAY


@pytest.fixture
def shop(engine: Engine) -> Shop:
    shop = Shop(engine)
    shop.plan(plan_by_volume())
    return shop


def at_once(work: Callable[[], Sequence[object]]) -> Deferred[Sequence[object]]:
    return execute(work)


def turn(shop: Shop) -> int:
    found: list[Any] = []
    Deferred.fromCoroutine(remind_all(shop.engine, at_once, shop.now, AHEAD)).addBoth(found.append)
    assert isinstance(found[0], int), found[0]
    return found[0]


def told(shop: Shop) -> list[tuple[str, str, Any]]:
    rows = sorted(shop.rows(tables.notice), key=lambda row: (row.created_at, row.kind))
    return [(row.kind, row.detail, json.loads(row.facts)) for row in rows]


def pay_for(shop: Shop, account: str, days: int, *, amount: str = "5GB") -> None:
    """Octets that last so long."""
    top_up_id = shop.put(account, amount, unit="octets", validity=f"{days} days")
    with shop.engine.begin() as connection:
        page = inbox.pending(connection, 1, only=top_up_id)
        settle(connection, page.top_ups, shop.now, shop.plans, shop.chance)


def test_what_was_paid_in_for_a_time_is_told_three_days_before_its_end_and_once(shop: Shop) -> None:
    shop.account()
    pay_for(shop, "anna", 30)
    begun = shop.now
    shop.now = begun + 27 * DAY - 1
    assert turn(shop) == 0
    shop.now += 1
    assert turn(shop) == 1
    (bucket,) = shop.rows(tables.bucket, tables.bucket.c.unit == "octets")
    facts = {"bucket": bucket.name, "unit": "octets", "left": 5 * 10**9, "expires_at": begun + 30 * DAY}
    assert told(shop) == [("expiry-soon", f"{bucket.name}: 5000000000 octets left", facts)]
    for _ in range(3):
        shop.now += DAY // 2
        assert turn(shop) == 0


def test_two_nodes_tell_it_once(shop: Shop) -> None:
    """Both have looked before either has written."""
    account_id = shop.account()
    subscriber_id = shop.subscriber(account_id, "anna")
    expire(shop, subscriber_id, shop.now + 10 * DAY)
    pay_for(shop, "anna", 10)
    shop.now += 8 * DAY
    with shop.engine.connect() as connection:
        ahead = {"now": shop.now, "ahead_ms": AHEAD, "until": shop.now + AHEAD}
        seen = [list(connection.execute(chosen, ahead)) for chosen in (reminder._BUCKETS, reminder._SERVICES_THAT_END)]
    assert turn(shop) == 2
    rows = [reminder._of_bucket(row, shop.now) for row in seen[0]]
    rows += [reminder._of_service(row, "expiry-soon", shop.now) for row in seen[1]]
    with shop.engine.begin() as connection:
        sets(connection).insert(tables.notice, reminder._COLUMNS, rows, "ON CONFLICT DO NOTHING")
    assert len(rows) == len(told(shop)) == 2


@pytest.mark.parametrize("days", [1, 3])
def test_a_day_pass_is_no_news(shop: Shop, days: int) -> None:
    shop.account()
    pay_for(shop, "anna", days)
    assert turn(shop) == 0
    shop.now += days * DAY - 1
    assert turn(shop) == 0


def test_what_is_empty_has_ended_or_does_not_end_is_no_news(shop: Shop) -> None:
    account_id = shop.account()
    shop.pay("anna", "10.00")
    pay_for(shop, "anna", 30)
    pay_for(shop, "anna", 29)
    pay_for(shop, "anna", 28)
    b = tables.bucket.c
    empty, closed, period = sorted(
        row.bucket_id for row in shop.rows(tables.bucket, b.account_id == account_id, b.unit == "octets")
    )
    with shop.engine.begin() as connection:
        change = update(tables.bucket)
        connection.execute(change.where(b.bucket_id == empty).values(balance=0))
        connection.execute(change.where(b.bucket_id == closed).values(closed_at=shop.now))
        connection.execute(change.where(b.bucket_id == period).values(subscriber_id=1))
    shop.now += 27 * DAY + 1
    assert turn(shop) == 0


def expire(shop: Shop, subscriber_id: int, at: int, **values: Any) -> None:
    s = tables.subscriber
    with shop.engine.begin() as connection:
        connection.execute(update(s).where(s.c.subscriber_id == subscriber_id).values(expires_at=at, **values))


def test_the_end_of_the_service_is_told_before_and_after_and_again_when_it_was_moved(shop: Shop) -> None:
    account_id = shop.account()
    subscriber_id = shop.subscriber(account_id, "anna")
    end = shop.now + 30 * DAY
    expire(shop, subscriber_id, end)
    shop.now = end - AHEAD
    assert turn(shop) == 1
    expire(shop, subscriber_id, end + 30 * DAY)  # she has paid
    assert turn(shop) == 0
    shop.now = end + 30 * DAY - DAY
    assert turn(shop) == 1
    assert turn(shop) == 0
    shop.now = end + 30 * DAY
    assert turn(shop) == 1
    assert turn(shop) == 0
    assert [(kind, facts) for kind, _, facts in told(shop)] == [
        ("expiry-soon", {"expires_at": end}),
        ("expiry-soon", {"expires_at": end + 30 * DAY}),
        ("expired", {"expires_at": end + 30 * DAY}),
    ]
    assert {row.subscriber_id for row in shop.rows(tables.notice)} == {subscriber_id}


def test_old_news_and_those_who_are_suspended(shop: Shop) -> None:
    account_id = shop.account()
    long_ago, suspended = (shop.subscriber(account_id, name) for name in ("anna", "bob"))
    shop.now += 30 * DAY
    expire(shop, long_ago, shop.now - DAY)
    expire(shop, suspended, shop.now + DAY, status="suspended")
    assert turn(shop) == 0


def test_many_are_told_page_by_page(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reminder, "MOST_AT_ONCE", 2)
    for name in ("a", "b", "c", "d", "e"):
        shop.account(name)
        pay_for(shop, name, 30)
    shop.now += 28 * DAY
    assert turn(shop) == 5
    assert len(told(shop)) == 5


def test_the_server_looks_by_itself(shop: Shop, clock: Clock) -> None:
    shop.account()
    pay_for(shop, "anna", 30)
    shop.now += 27 * DAY - 1_000
    writer = Writer(shop.engine, at_once, lambda: shop.now, chance=random.Random(3))
    failures: list[str] = []
    jobs = Jobs(
        shop.engine, writer, at_once, lambda: shop.now, clock, on_failure=lambda name, error: failures.append(f"{name}: {error}")
    )  # fmt: skip
    jobs.start()
    assert told(shop) == []
    shop.now += 60_000
    clock.advance(60)
    assert [kind for kind, _, _ in told(shop)] == ["expiry-soon"]
    assert failures == []
    jobs.stop()
