from collections.abc import Callable

from charging.admission import Admitted
from tests.cli.conftest import Aaa


def test_buckets_stand_in_the_order_in_which_they_are_drawn(shop: Aaa, log_in: Callable[[str], Admitted]) -> None:
    shop.ok("subscriber", "add", "anna", "--plan", "prepaid-50", "--password", "correct horse battery")
    shop.ok("topup", "anna", "10.00", "--reference", "r1")
    log_in("anna")
    lines = shop.ok("balance", "anna").splitlines()
    assert lines[0].split() == ["bucket", "of", "balance", "held", "available", "expires", "(UTC)"]
    assert lines[2].startswith("data     octets       50 GB")
    assert lines[3].startswith("money    money    10.00 EUR")
    found = shop.json("balance", "anna")
    data, money = found["buckets"]
    assert data["held"] > 0
    assert data["available"] == data["balance"] - data["held"] == 50_000_000_000 - data["held"]
    assert (money["balance"], money["held"], money["expires_at"]) == (10_000_000, 0, None)


def test_credit_counts_as_available(shop: Aaa) -> None:
    shop.ok("account", "add", "smith", "--kind", "postpaid", "--credit-limit", "50.00")
    assert shop.json("balance", "smith")["buckets"][0]["available"] == 50_000_000
    assert "credit limit: 50.00 EUR" in shop.ok("balance", "smith")


def test_an_account_that_is_not_there(shop: Aaa) -> None:
    assert shop.fails("balance", "nobody") == "there is no account 'nobody'; see: aaa account list"
