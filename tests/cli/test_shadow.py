"""`aaa plan shadow`: who would pay more."""

from __future__ import annotations

import pytest

from charging.database import open_engine
from tests.cli.conftest import Aaa
from tests.store.shop import Shop, plan_by_volume

TIME = ("--from", "2026-03-01", "--to", "2026-03-02")
DEARER = """\
currency = "EUR"
time_zone = "UTC"
[profile.p]
rate_down = "20M"
rate_up = "5M"
[plan.dear]
profile = "p"
[[plan.dear.rate]]
unit = "octets"
price = "0.03"
per = "1MB"
step = "100kB"
[plan.flat]
profile = "p"
[[plan.flat.rate]]
unit = "octets"
price = "0.02"
per = "1MB"
step = "100kB"
fee = "0.00"
"""


@pytest.fixture
def used(aaa: Aaa) -> Aaa:
    """Anna used 5 MB, Bob 10 MB, both at 0.02 EUR per MB."""
    engine = open_engine(aaa.database_url)
    shop = Shop(engine)
    shop.nas()
    version = shop.plan(plan_by_volume())
    sessions = []
    for number, name in enumerate(("anna", "bob"), start=1):
        account_id = shop.account(name)
        shop.subscriber(account_id, name)
        shop.pay(name, "5.00")
        session_id = shop.login(account_id, number, name, version)
        shop.report(account_id, session_id, "start")
        sessions.append((account_id, session_id, number * 5_000_000))
    shop.now += 60_000
    for account_id, session_id, octets in sessions:
        shop.report(account_id, session_id, "interim", down=octets // 2, seconds=60)
    shop.now += 60_000
    for account_id, session_id, octets in sessions:
        shop.report(account_id, session_id, "stop", down=octets, seconds=120)
    engine.dispose()
    return aaa


def test_who_would_pay_more(used: Aaa) -> None:
    file = used.file("new.toml", DEARER)
    made = used.json("plan", "shadow", file, "dear", *TIME)
    assert (made["subscribers"], made["more"], made["less"]) == (2, 2, 0)
    assert (made["charged_micros"], made["shadow_micros"]) == (300_000, 450_000)
    assert [(b["username"], b["charged_micros"], b["shadow_micros"]) for b in made["bills"]] == [
        ("bob", 200_000, 300_000), ("anna", 100_000, 150_000),
    ]  # fmt: skip
    text = used.ok("plan", "shadow", file, "dear", *TIME)
    assert text.splitlines()[-1] == "2 of 2 would pay more, 0 less; in all 0.30 EUR before, 0.45 EUR after"


def test_the_same_plan_costs_the_same(used: Aaa) -> None:
    made = used.json("plan", "shadow", used.file("new.toml", DEARER), "flat", *TIME, "--of", "volume")
    assert [b["difference_micros"] for b in made["bills"]] == [0, 0]
    assert used.json("plan", "shadow", used.file("new.toml", DEARER), "flat", *TIME, "--more")["bills"] == []


def test_what_can_not_be_asked(used: Aaa) -> None:
    file = used.file("new.toml", DEARER)
    assert "there is no plan 'deer'; did you mean 'dear'?" in used.fails("plan", "shadow", file, "deer", *TIME)
    assert "there is no plan 'home'" in used.fails("plan", "shadow", file, "dear", *TIME, "--of", "home")
