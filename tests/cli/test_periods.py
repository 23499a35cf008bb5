"""Plans that are sold by periods, as operators see them."""

from __future__ import annotations

import pytest

from tests.cli.conftest import PLANS, Aaa

MONTHLY = """\
[plan.monthly]
profile = "home-20"
[plan.monthly.period]
every = "1 month"
price = "20.00"
renewal = "manual"
[[plan.monthly.allowance]]
name = "data"
unit = "octets"
amount = "50GB"
[plan.large]
profile = "home-20"
[plan.large.period]
every = "1 month"
price = "30.00"
"""


@pytest.fixture
def alice(aaa: Aaa) -> Aaa:
    """Has a period of 20.00, and 5.00 left."""
    aaa.ok("plan", "load", aaa.file("plans.toml", PLANS + MONTHLY))
    aaa.ok("subscriber", "add", "alice", "--plan", "monthly")
    aaa.ok("topup", "alice", "25.00", "--reference", "r1")
    return aaa


def shown(aaa: Aaa) -> tuple[str | None, int | None, str | None]:
    record = aaa.json("subscriber", "show", "alice")
    return record["period_state"], record["period_number"], record["next_plan"]


def micros(aaa: Aaa) -> int:
    return int(aaa.json("account", "show", "alice")["balance_micros"])


def test_a_subscriber_begins_with_a_period_as_soon_as_it_is_paid(aaa: Aaa) -> None:
    aaa.ok("plan", "load", aaa.file("plans.toml", PLANS + MONTHLY))
    aaa.ok("subscriber", "add", "alice", "--plan", "monthly")
    assert shown(aaa) == ("lapsed", 0, None)
    aaa.ok("topup", "alice", "25.00", "--reference", "r1")
    assert (shown(aaa), micros(aaa)) == (("active", 1, None), 5_000_000)
    assert "active" in aaa.ok("subscriber", "show", "alice")
    aaa.ok("ledger", "check")


def test_another_plan_with_the_next_period_or_at_once(alice: Aaa) -> None:
    assert alice.json("subscriber", "set", "alice", "--plan", "large", "--at", "period-end")["plan"] == "monthly"
    assert shown(alice) == ("active", 1, "large")
    assert "are missing for plan large" in alice.fails("subscriber", "set", "alice", "--plan", "large")
    alice.ok("topup", "alice", "10.00", "--reference", "r2")
    assert alice.json("subscriber", "set", "alice", "--plan", "large", "--at", "now")["plan"] == "large"
    assert shown(alice) == ("active", 1, None)
    assert 4_990_000 <= micros(alice) <= 5_010_000  # some seconds of the month are gone
    refused = alice.fails("subscriber", "set", "alice", "--max-sessions", "2", "--at", "now", code=2)
    assert refused.startswith("--at goes with --plan")
    alice.ok("ledger", "check")


def test_a_pause(alice: Aaa) -> None:
    assert alice.json("subscriber", "pause", "alice", "--until", "2099-01-31")["period_state"] == "paused"
    assert "only one that is paid can be paused" in alice.fails("subscriber", "pause", "alice")
    assert alice.json("subscriber", "resume", "alice")["period_state"] == "active"
    assert "is not sold by periods" in _without_periods(alice)


def _without_periods(aaa: Aaa) -> str:
    aaa.ok("subscriber", "add", "bob", "--plan", "prepaid-50")
    return aaa.fails("subscriber", "pause", "bob")


def test_a_renewal_by_hand(alice: Aaa) -> None:
    refused = alice.fails("account", "renew", "alice", "--reference", "n1")
    assert refused == "subscriber: there is no period that is over and not paid"
    alice.ok("subscriber", "add", "ann", "--account", "alice", "--plan", "large")
    assert "25000000 micros are missing" in alice.fails(
        "account", "renew", "alice", "--reference", "n1", "--subscriber", "ann"
    )
    alice.ok("account", "set", "alice", "--credit-limit", "40.00")
    # The first period begins by itself as soon as there is money; the credit limit is.
    assert alice.json("subscriber", "show", "ann")["period_state"] == "active"
    assert micros(alice) == -25_000_000


def test_whoever_is_removed_leaves_nothing_behind(alice: Aaa) -> None:
    alice.ok("subscriber", "remove", "alice")
    kinds = [each["kind"] for each in alice.json("ledger", "show", "alice")]
    assert sorted(kinds) == ["expired", "grant", "renewal", "top-up"]
    alice.ok("ledger", "check")


def test_a_plan_and_an_account_are_explained(alice: Aaa) -> None:
    said = alice.ok("plan", "show", "monthly")
    assert "20.00 EUR for 1 month, manual renewal, begins at-once" in said
    (period,) = alice.json("explain", "alice")["periods"]
    assert (period["username"], period["plan"], period["period_state"]) == ("alice", "monthly", "active")
    assert "only one that is active or in its grace is served" in alice.ok("explain", "alice")


def test_the_terms_of_a_plan_in_words(aaa: Aaa) -> None:
    more = """\
[plan.rich]
profile = "home-20"
[plan.rich.period]
every = "30 days"
price = "9.00"
grace = "3 days"
[[plan.rich.period.promotion]]
price = "1.00"
periods = 2
until = "2026-12-31"
[[plan.rich.allowance]]
name = "data"
unit = "octets"
amount = "5GB"
periods = 3
[plan.rich.allowance.roll_over]
min = "1GB"
max = "2GB"
"""
    aaa.ok("plan", "load", aaa.file("plans.toml", PLANS + more))
    said = aaa.ok("plan", "show", "rich")
    for words in (
        "9.00 EUR for 30 days, automatic renewal",
        "1.00 EUR for the first 2, until 2026-12-31",
        "grace 3d",
        "in the first 3 periods, at most 2 GB goes over, from 1 GB on, 1 times",
    ):
        assert words in said, said


def test_what_comes_every_day_is_shown(aaa: Aaa) -> None:
    daily = MONTHLY.replace('name = "data"', 'name = "data"\npriority = 1').replace(
        "[plan.large]",
        '[[plan.monthly.allowance]]\nname = "day"\nunit = "octets"\namount = "1GB"\nevery = "1 day"\n[plan.large]',
    )
    aaa.ok("plan", "load", aaa.file("plans.toml", PLANS + daily))
    assert "day: 1 GB total, every 1 day" in aaa.ok("plan", "show", "monthly")
    aaa.ok("subscriber", "add", "alice", "--plan", "monthly")
    aaa.ok("topup", "alice", "25.00", "--reference", "r1")
    for record in (aaa.json("balance", "alice"), aaa.json("explain", "alice")):
        assert [(each["name"], each["every"]) for each in record["buckets"]] == [
            ("day", "1 day"), ("data", None), ("money", None),
        ]  # fmt: skip
    for text in (aaa.ok("balance", "alice"), aaa.ok("explain", "alice")):
        lines = [line.split("  ") for line in text.splitlines() if line.startswith(("bucket", "day", "data"))]
        assert [line[-1].strip() for line in lines] == ["every", "1 day", "-"]
    aaa.ok("ledger", "check")
