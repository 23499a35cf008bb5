"""`aaa explain ACCOUNT --at`: smith's evening of 1 March 2026, minute by minute."""

from __future__ import annotations

import random

import pytest

from charging.database import open_engine
from charging.retrospect import then
from charging.settle import CommandAcked
from tests.cli.conftest import Aaa
from tests.store.shop import START, Shop, plan_by_volume


@pytest.fixture
def smith(aaa: Aaa) -> Aaa:
    """12:00 one euro and a session; 12:01 30 of 50 MB used; 12:02 all of it and more: exhausted; 12:03 the NAS obeys; 12:05 paid."""
    engine = open_engine(aaa.database_url)
    shop = Shop(engine)
    shop.nas()
    version = shop.plan(plan_by_volume())
    account_id = shop.account("smith")
    shop.subscriber(account_id, "smith")
    shop.pay("smith", "1.00", ref="first")
    session_id = shop.login(account_id, 1, "smith", version)
    shop.report(account_id, session_id, "start")
    for minute, megabytes in ((1, 30), (2, 52)):
        shop.now = START + minute * 60_000
        shop.report(account_id, session_id, "interim", down=megabytes * 1_000_000, seconds=minute * 60)
    shop.now = START + 3 * 60_000
    shop.settle(CommandAcked(account_id, session_id, 1))
    shop.now = START + 5 * 60_000
    shop.pay("smith", "5.00", ref="second")
    engine.dispose()
    return aaa


MOMENTS = [
    # when, money in micros, down, what the NAS had been told
    ("2026-03-01 12:00:30", 1_000_000, 0, None),
    ("2026-03-01 12:01:30", 400_000, 30_000_000, None),
    ("2026-03-01 12:02:30", 0, 52_000_000, "profile (exhausted)"),
    ("2026-03-01 12:04:59", 0, 52_000_000, "profile (exhausted)"),
    ("2026-03-01 12:05:00", 5_000_000, 52_000_000, "profile (top-up)"),
]


@pytest.mark.parametrize(("at", "micros", "down", "told"), MOMENTS)
def test_an_account_as_it_was(smith: Aaa, at: str, micros: int, down: int, told: str | None) -> None:
    made = smith.json("explain", "smith", "--at", at)
    assert [(b["name"], b["balance"]) for b in made["buckets"]] == [("money", micros)]
    assert [(s["octets_down"], s["told"]) for s in made["sessions"]] == [(down, told)]


def test_before_there_was_anything(smith: Aaa) -> None:
    made = smith.json("explain", "smith", "--at", "2026-03-01 11:00")
    assert (made["buckets"], made["sessions"], made["before"]) == ([], [], [])
    assert [event["what"] for event in made["after"]][:2] == ["transfer", "login"] or made["after"][0][
        "what"
    ] == "login"


def test_why_was_she_cut_off(smith: Aaa) -> None:
    made = smith.json("explain", "smith", "--at", "2026-03-01 12:02:30")
    assert {(e["what"], e["words"].split(":")[0]) for e in made["before"]} >= {
        ("notice", "exhausted"),
        ("command", "profile (exhausted)"),
    }
    assert {(e["what"], e["words"].split(" ")[0]) for e in made["after"]} >= {
        ("transfer", "top-up"),
        ("notice", "restored:"),
    }
    text = smith.ok("explain", "smith", "--at", "2026-03-01 12:02:30")
    assert "exhausted: throttle" in text
    assert "profile (exhausted)" in text


def test_the_future_is_not_known(smith: Aaa) -> None:
    assert "yet to come" in smith.fails("explain", "smith", "--at", "2999-01-01")


def test_now_is_what_the_balance_says(aaa: Aaa) -> None:
    """Through random use and payments, the balance that the past gives for this moment is the one that is kept."""
    engine = open_engine(aaa.database_url)
    shop = Shop(engine)
    shop.nas()
    version = shop.plan(plan_by_volume())
    account_id = shop.account("smith")
    shop.subscriber(account_id, "smith")
    chance = random.Random(11)
    session_id = shop.login(account_id, 1, "smith", version)
    shop.report(account_id, session_id, "start")
    down = 0
    for minute in range(1, 100):
        shop.now = START + minute * 60_000
        if chance.random() < 0.2:
            shop.pay("smith", f"{chance.randint(1, 300) / 100:.2f}")
        down += chance.randint(0, 20_000_000)
        shop.report(account_id, session_id, "interim", down=down, seconds=minute * 60)
        with engine.connect() as connection:
            (money,) = then(connection, account_id, shop.now).buckets
        assert money.balance == shop.balance(account_id)
    engine.dispose()
