from __future__ import annotations

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
