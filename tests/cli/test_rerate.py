"""`aaa rerate`: who pays more and who less under a corrected plan; and then they do."""

from __future__ import annotations

import pytest

from charging import tables
from charging.database import open_engine
from tests.cli.conftest import Aaa
from tests.store.shop import Shop, plan_by_volume

TIME = ("--from", "2026-03-01", "--to", "2026-03-02")
FILE = """\
currency = "EUR"
time_zone = "UTC"
[profile.p]
rate_down = "20M"
rate_up = "5M"
[plan.volume]
profile = "p"
[[plan.volume.rate]]
unit = "octets"
price = "PRICE"
per = "1MB"
FREE
"""


@pytest.fixture
def used(aaa: Aaa) -> Aaa:
    """Anna used 5 MB, Bob 20 MB, both at 0.02 EUR per MB."""
    engine = open_engine(aaa.database_url)
    shop = Shop(engine)
    shop.nas()
    version = shop.plan(plan_by_volume())
    for number, (name, octets) in enumerate((("anna", 5_000_000), ("bob", 20_000_000)), start=1):
        account_id = shop.account(name)
        shop.subscriber(account_id, name)
        shop.pay(name, "5.00")
        session_id = shop.login(account_id, number, name, version)
        shop.report(account_id, session_id, "start")
        shop.now += 60_000
        shop.report(account_id, session_id, "stop", down=octets, seconds=60)
    engine.dispose()
    return aaa


def correct(aaa: Aaa, price: str, free: str = "") -> None:
    aaa.ok("plan", "load", aaa.file("new.toml", FILE.replace("PRICE", price).replace("FREE", free)))


def balances(aaa: Aaa) -> list[int]:
    engine = open_engine(aaa.database_url)
    with engine.connect() as connection:
        found = [row.balance for row in connection.execute(tables.bucket.select().order_by(tables.bucket.c.account_id))]
    engine.dispose()
    return found


def test_a_dry_run_says_who_pays_more_and_who_less(used: Aaa) -> None:
    # 10 MB free, then 0.05: anna pays nothing instead of 0.10, bob 0.50 instead of 0.40
    correct(used, "0.05", 'free = "10MB"')
    said = used.ok("rerate", "volume", *TIME).splitlines()
    assert [line.split() for line in said[2:4]] == [
        ["bob", "bob", "1", "0.40", "EUR", "0.50", "EUR", "0.10", "EUR"],
        ["anna", "anna", "1", "0.10", "EUR", "0.00", "EUR", "-0.10", "EUR"],
    ]
    assert said[-2:] == [
        "1 pay more, 1 less; of what changes 0.50 EUR before, 0.50 EUR after",
        "nothing was changed; --apply writes it",
    ]
    assert balances(used) == [4_900_000, 4_600_000]


def test_applied_once(used: Aaa) -> None:
    correct(used, "0.03")
    found = used.json("rerate", "volume", *TIME, "--apply")
    assert (found["applied"], found["more"], found["less"], found["problems"]) == (True, 2, 0, 0)
    assert (found["before_micros"], found["after_micros"]) == (500_000, 750_000)
    assert [(each["username"], each["difference_micros"]) for each in found["bills"]] == [
        ("bob", 200_000),
        ("anna", 50_000),
    ]
    assert balances(used) == [4_850_000, 4_400_000]
    assert "nothing comes out another way" in used.ok("rerate", "volume", *TIME, "--apply")
    assert balances(used) == [4_850_000, 4_400_000]
    used.ok("ledger", "check")
    kinds = [each["kind"] for each in used.json("ledger", "show", "anna")]
    assert kinds == ["top-up", "usage", "reversal", "rerating"]


def test_another_time_and_another_plan(used: Aaa) -> None:
    correct(used, "0.03")
    assert "nothing comes out another way" in used.ok("rerate", "volume", "--from", "2026-03-02", "--to", "2026-03-31")
    assert "there is no plan 'volum'; did you mean 'volume'?" in used.fails("rerate", "volum", *TIME)
    wrong = ("rerate", "volume", "--from", "2026-03-02", "--to", "2026-03-01")
    assert "--to: is before --from" in used.fails(*wrong, code=2)
