from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import PLANS, Aaa


def test_loading_says_what_is_new(aaa: Aaa) -> None:
    file = aaa.file("plans.toml", PLANS)
    assert aaa.json("plan", "load", file) == [
        {"name": "prepaid-50", "version": 1, "new": True},
        {"name": "evening", "version": 1, "new": True},
    ]
    # The same content, written differently, is the same plan.
    aaa.file("plans.toml", PLANS.replace('"50GB"', '"50000 MB"'))
    assert [each["new"] for each in aaa.json("plan", "load", file)] == [False, False]
    aaa.file("plans.toml", PLANS.replace('"50GB"', '"60GB"'))
    lines = [line.split() for line in aaa.ok("plan", "load", file).splitlines()]
    assert lines[2:] == [["prepaid-50", "2", "new"], ["evening", "1", "unchanged"]]


def test_a_faulty_file_loads_nothing(aaa: Aaa) -> None:
    file = aaa.file("plans.toml", PLANS.replace('price = "0.02"', 'price = "0,02"').replace('"90m"', '"ninety"'))
    message = aaa.fails("plan", "load", file).splitlines()
    assert message[0].startswith(f"{file}:23: plan.prepaid-50.rate[0].price: '0,02' is not a price; write 0.02")
    assert message[1].startswith(f"{file}:36: plan.evening.allowance[0].amount: ")
    assert aaa.json("plan", "list") == []


@pytest.mark.parametrize(("content", "problem"), [(b"\xff", "can't decode byte 0xff"), (b"", "there is no plan in it")])
def test_what_is_no_plan_file(aaa: Aaa, content: bytes, problem: str) -> None:
    path = aaa.folder / "plans.toml"
    path.write_bytes(content)
    assert problem in aaa.fails("plan", "load", str(path))


def test_list(shop: Aaa) -> None:
    shop.ok("subscriber", "add", "alice", "--plan", "evening")
    evening, prepaid = shop.json("plan", "list")
    assert evening == {
        "name": "evening",
        "version": 1,
        "currency": "EUR",
        "rate_down_bps": 20_000_000,
        "rate_up_bps": 5_000_000,
        "exhausted": "disconnect",
        "subscribers": 1,
        "loaded_at": evening["loaded_at"],
    }
    assert (prepaid["name"], prepaid["exhausted"], prepaid["subscribers"]) == ("prepaid-50", "throttle", 0)
    line = shop.ok("plan", "list").splitlines()[2]
    assert line.split()[:9] == ["evening", "1", "EUR", "20", "Mbit/s", "5", "Mbit/s", "disconnect", "1"]


def test_show_writes_every_amount_as_people_do(shop: Aaa) -> None:
    shown = shop.ok("plan", "show", "prepaid-50")
    for line in (
        "profile      home-20: down 20 Mbit/s, up 5 Mbit/s, reports every 5m",
        "allowances   data: 50 GB total, valid 1 month",
        "thresholds   80%, 95%",
        "rates        0.02 EUR per 1 MB total, in steps of 100 kB, 0.50 EUR per session",
        "exhausted    throttle: slow: down 256 kbit/s, up 128 kbit/s, reports every 5m",
        "sessions     at most 1 at the same time",
    ):
        assert line in shown.splitlines()
    assert "allowances   time: 1h30m" in shop.ok("plan", "show", "evening").splitlines()


def test_an_older_version_can_be_shown(shop: Aaa) -> None:
    shop.ok("plan", "load", shop.file("plans.toml", PLANS.replace('"50GB"', '"60GB"')))
    newest = shop.json("plan", "show", "prepaid-50")
    assert newest["version"] == 2
    assert newest["plan"]["allowances"][0]["amount"] == 60 * 10**9
    assert [each["version"] for each in newest["versions"]] == [2, 1]
    older = shop.json("plan", "show", "prepaid-50", "--version", "1")
    assert older["plan"]["allowances"][0]["amount"] == 50 * 10**9
    assert shop.fails("plan", "show", "prepaid-50", "--version", "3") == (
        "plan 'prepaid-50' has no version 3; its newest is 2"
    )


def test_a_plan_that_is_not_there(aaa: Aaa) -> None:
    assert aaa.fails("plan", "show", "x") == "there is no plan 'x', nor any other; run: aaa plan load FILE"
    aaa.ok("plan", "load", aaa.file("plans.toml", PLANS))
    assert aaa.fails("plan", "show", "prepaid-5") == "there is no plan 'prepaid-5'; did you mean 'prepaid-50'?"
    assert aaa.fails("plan", "show", "zzz") == "there is no plan 'zzz'; there are evening, prepaid-50"


def test_a_plan_with_subscribers_keeps_its_currency(shop: Aaa) -> None:
    dollars = shop.file("dollars.toml", PLANS.replace('"EUR"', '"USD"'))
    shop.ok("subscriber", "add", "alice", "--plan", "evening")
    assert shop.fails("plan", "load", dollars) == (
        "plan 'evening' is sold in EUR and has subscribers; give the one in USD another name"
    )
    assert [each["version"] for each in shop.json("plan", "list")] == [1, 1]


def test_show_says_all_of_a_tariff(aaa: Aaa) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "plans.md").read_text()
    examples = re.findall(r"^```toml\n(.*?)^```$", docs, re.MULTILINE | re.DOTALL)
    aaa.ok("plan", "load", aaa.file("plans.toml", "\n".join(examples)))
    assert "all: 100 GB total, at most 5 GB per member and day" in aaa.ok("plan", "show", "family")
    assert "night: 1 TB total, priority -10, in night" in aaa.ok("plan", "show", "family")
    assert "0.06 EUR per 1m, first step 1m, in steps of 1s" in aaa.ok("plan", "show", "by-the-second")
    hotel = "0.10 EUR per 1m, in steps of 1m, 0.20 EUR per session, the first 2m free, at least 0.50 EUR, "
    assert hotel + "at most 5.00 EUR, then free, 10% off" in aaa.ok("plan", "show", "hotel")
    steps = "data: flat total: 5.00 EUR up to 10 GB; 9.00 EUR up to 50 GB; 15.00 EUR, counted over the month"
    assert steps in aaa.ok("plan", "show", "steps")
    graduated = "graduated total: 0.20 EUR per 1 GB up to 10 GB; 0.05 EUR per 1 GB"
    assert graduated in aaa.ok("plan", "show", "graduated")
    assert "visits: 0.75 EUR per session, the first 3 sessions free" in aaa.ok("plan", "show", "per-visit")
    windows = aaa.ok("plan", "show", "windows")
    assert "0.25 EUR per 1 GB total, from 2026-11-01, until 2026-11-30" in windows
    assert "evening: Mon Tue Wed Thu Fri; 18:00-23:00" in windows
    assert "holidays: 12-24 to 12-26, 2026-04-06" in windows
    zones = aaa.ok("plan", "show", "zones")
    assert "0.02 EUR per 1m, where cafe" in zones
    assert "partners: NAS group hotspots; realm partner.example or *.partner.example" in zones


LEVELS = """\
currency = "EUR"
time_zone = "UTC"
[profile.p]
rate_down = "20M"
rate_up = "5M"
[profile.fast]
rate_down = "50M"
rate_up = "10M"
[profile.slow]
rate_down = "1M"
rate_up = "1M"
[window.night]
hours = "22:00-06:00"
[plan.levels]
profile = "p"
[[plan.levels.profile_window]]
window = "night"
profile = "fast"
[plan.levels.fair_use]
per = "month"
direction = "down"
[[plan.levels.fair_use.step]]
after = "50GB"
profile = "slow"
[[plan.levels.cap]]
name = "daily"
unit = "seconds"
amount = "5h"
per = "day"
action = "disconnect"
"""


def test_a_plan_that_changes_speed_says_when(aaa: Aaa) -> None:
    aaa.ok("plan", "load", aaa.file("levels.toml", LEVELS))
    said = aaa.ok("plan", "show", "levels")
    assert "in night: fast: down 50 Mbit/s, up 10 Mbit/s" in said
    assert "after 50 GB down in a month: slow: down 1 Mbit/s" in said
    assert "after 5h in a day: disconnect" in said
    assert aaa.ok("plan", "profile", "levels", "--at", "2026-05-04T23:00").splitlines()[0] == "fast"
    assert aaa.json("plan", "profile", "levels", "--seconds", "5h")["why"] == "cap daily"
