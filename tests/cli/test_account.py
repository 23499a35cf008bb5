from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from charging import tables
from charging.database import open_engine
from tests.cli.conftest import PLANS, Aaa, words


def test_add_and_show(shop: Aaa) -> None:
    added = shop.json("account", "add", "smith", "--kind", "postpaid", "--credit-limit", "50.00")
    assert added == {
        "name": "smith",
        "kind": "postpaid",
        "status": "active",
        "currency": "EUR",
        "balance_micros": 0,
        "credit_limit_micros": 50_000_000,
        "auto_topup_below_micros": 0,
        "auto_topup_amount_micros": 0,
        "subscribers": 0,
        "live_sessions": 0,
        "created_at": added["created_at"],
    }
    assert shop.json("account", "show", "smith") == {**added, "usernames": []}
    assert "credit limit      50.00 EUR" in shop.ok("account", "show", "smith").splitlines()


def test_the_currency_comes_from_the_plans_when_there_is_one(aaa: Aaa) -> None:
    assert aaa.fails("account", "add", "smith") == (
        "which currency? there is no plan yet to take it from; add --currency EUR, for example"
    )
    aaa.ok("plan", "load", aaa.file("plans.toml", PLANS))
    assert aaa.json("account", "add", "smith")["currency"] == "EUR"
    dollars = PLANS.replace('"EUR"', '"USD"').replace("prepaid-50", "dollar-50").replace("evening", "night")
    aaa.ok("plan", "load", aaa.file("dollars.toml", dollars))
    assert aaa.fails("account", "add", "jones") == (
        "which currency? the plans are in EUR, USD; add --currency EUR, for example"
    )
    assert aaa.json("account", "add", "jones", "--currency", "JPY")["currency"] == "JPY"


REFUSED = [
    (["add", "smith"], "there is an account 'smith' already; choose another name"),
    (["add", "x", "--currency", "eur"], "'eur' is not a currency; write EUR"),
    (["add", "x", "--credit-limit", "5,00"], "'5,00' is not an amount of money; write 5.00"),
    (["add", "x", "--credit-limit", "-5"], "'-5' is not an amount of money; write an amount that is not negative"),
    (["show", "x"], "there is no account 'x'; see: aaa account list"),
    (["suspend", "x"], "there is no account 'x'; see: aaa account list"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=words)
def test_what_can_not_be(shop: Aaa, arguments: list[str], message: str) -> None:
    shop.ok("account", "add", "smith")
    assert shop.fails("account", *arguments) == message


def test_wrong_command_lines(shop: Aaa) -> None:
    assert shop.fails("account", "add", "x", "--kind", "postpaid", code=2).startswith(
        "a postpaid account needs --credit-limit (see: "
    )
    assert "'\\x1bx' is not a name" in shop.fails("account", "add", "\x1bx", code=2)


def test_suspend_disconnects_and_resume_lets_in_again(shop: Aaa, log_in: Callable[[str], Any]) -> None:
    shop.ok("subscriber", "add", "alice", "--plan", "prepaid-50", "--account", "family")
    shop.ok("subscriber", "add", "bob", "--plan", "prepaid-50", "--account", "family")
    log_in("alice")
    log_in("bob")
    suspended = shop.json("account", "suspend", "family")
    assert (suspended["status"], suspended["disconnecting"], suspended["live_sessions"]) == ("suspended", 2, 2)
    with pytest.raises(AssertionError, match="Refused"):
        log_in("alice")
    assert shop.json("account", "resume", "family")["status"] == "active"


def test_a_login_that_is_being_decided_is_decided_again(shop: Aaa) -> None:
    """Its transaction read the account before it was suspended; the account's version tells it so."""
    engine = open_engine(shop.database_url)

    def version() -> int:
        with engine.connect() as connection:
            return int(connection.execute(select(tables.account.c.version)).scalar_one())

    shop.ok("account", "add", "smith")
    before = version()
    shop.ok("account", "suspend", "smith")
    assert version() == before + 1
    engine.dispose()


def test_list(shop: Aaa) -> None:
    assert shop.ok("account", "list") == "no account; run: aaa account add NAME\n"
    for name in ("c", "a", "b"):
        shop.ok("account", "add", name)
    shop.ok("account", "suspend", "b")
    assert [each["name"] for each in shop.json("account", "list")] == ["a", "b", "c"]
    assert [each["name"] for each in shop.json("account", "list", "--status", "suspended")] == ["b"]
    result = shop("account", "list", "--limit", "2")
    assert result.stderr == "only the first 2; there are more: --limit\n"
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == ["a", "b"]
