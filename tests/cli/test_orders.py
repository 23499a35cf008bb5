"""transfer, refund, adjust, reverse, account set: one order each, from the command line to the ledger."""

import pytest

from tests.cli.conftest import Aaa


@pytest.fixture
def paid(shop: Aaa) -> Aaa:
    """Anna has 10 EUR, Bob nothing, Carl is kept in dollars."""
    for name, currency in (("anna", "EUR"), ("bob", "EUR"), ("carl", "USD")):
        shop.ok("account", "add", name, "--currency", currency)
    shop.ok("topup", "anna", "10.00", "--reference", "p1")
    return shop


def test_each_order_says_what_it_did_and_is_done_once(paid: Aaa) -> None:
    transfer = ("transfer", "anna", "bob", "4.00", "--reference", "t1")
    assert paid.ok(*transfer) == "4.00 EUR from anna to bob; anna has 6.00 EUR now\n"
    assert paid.ok(*transfer) == "already applied as cli:t1: 4.00 EUR from anna to bob; anna has 6.00 EUR now\n"
    refund = paid.json("refund", "anna", "1.00", "--reference", "r1", "--reason", "moved away")
    assert refund == {
        "account": "anna", "reference": "cli:r1", "already_applied": False, "currency": "EUR",
        "transfers": [{"seq": 3, "debit": "bucket:1", "credit": "cash", "unit": "money", "amount": 1_000_000}],
        "balance_micros": 5_000_000, "octets": 0, "seconds": 0,
    }  # fmt: skip
    assert paid.ok("adjust", "anna", "--add", "5GB", "--reason", "outage", "--reference", "a1") == (
        "5 GB put on anna; anna has 5 GB now\n"
    )
    assert paid.ok("adjust", "anna", "--take", "0.50", "--reason", "typo", "--reference", "a2") == (
        "0.50 EUR taken off anna; anna has 4.50 EUR now\n"
    )
    assert paid.ok("reverse", "anna", "--transfer", "5", "--reason", "no typo", "--reference", "x1") == (
        "0.50 EUR reversed for anna; anna has 5.00 EUR now\n"
    )
    ledger = paid.json("ledger", "show", "anna")
    assert [line["kind"] for line in ledger] == ["top-up", "transfer", "refund", "adjustment", "adjustment", "reversal"]
    assert len({line["actor"] for line in ledger[1:]}) == 1
    assert ledger[1]["actor"] != "billing:cli", "who did it stands there"
    assert paid.json("account", "show", "bob")["balance_micros"] == 4_000_000
    assert paid.ok("ledger", "check").endswith("all invariants hold\n")


def test_what_is_refused_leaves_nothing(paid: Aaa) -> None:
    cases = [
        (("transfer", "anna", "bob", "10.01"), "amount: there are 10000000 micros to transfer"),
        (("transfer", "anna", "carl", "1.00"), "to_account: it is kept in USD, this one in EUR"),
        (("transfer", "anna", "nobody", "1.00"), "to_account: there is no account 'nobody'"),
        (("refund", "anna", "10,00"), "amount: '10,00' is not an amount of money; write 10.00"),
        (("refund", "nobody", "1.00"), "there is no account 'nobody'; see: aaa account list"),
        (("adjust", "anna", "--take", "10.01", "--reason", "x"), "amount: there are 10000000 micros to take"),
        (("reverse", "anna", "--transfer", "9", "--reason", "x"), "transfer_seq: there is no such transfer"),
        (("reverse", "anna", "--session", "9", "--reason", "x"), "session_id: nothing was charged to this account"),
    ]
    for arguments, error in cases:
        message = paid.fails(*arguments, "--reference", "1")
        assert message.startswith(error), arguments
        assert "\n" not in message
    for arguments, error in (
        (
            ("adjust", "anna", "--add", "-1", "--reason", "x", "--reference", "1"),
            "'-1' has a sign; --add and --take say",
        ),
        (("adjust", "anna", "--reason", "x", "--reference", "1"), "give --add or --take, one of the two"),
        (("reverse", "anna", "--reason", "x", "--reference", "1"), "give --transfer or --session, one of the two"),
        (("reverse", "anna", "--transfer", "1", "--reference", "1"), "Missing option '--reason'"),
        (("refund", "anna", "1.00"), "Missing option '--reference'"),
    ):
        assert paid.fails(*arguments, code=2).startswith(error)
    assert len(paid.json("ledger", "show", "anna")) == 1
    assert paid.ok("refund", "anna", "1.00", "--reference", "1"), "the reference is not used up"


def test_a_top_up_may_last_for_a_time(paid: Aaa) -> None:
    paid.ok("topup", "anna", "5GB", "--reference", "p2", "--validity", "30 days")
    (bucket,) = (b for b in paid.json("balance", "anna")["buckets"] if b["unit"] == "octets")
    assert bucket["expires_at"] is not None
    assert paid.fails("topup", "anna", "1", "--reference", "p3", "--validity", "x").startswith(
        "validity: 'x': not a time"
    )


def test_terms_are_set_and_shown(paid: Aaa) -> None:
    changed = paid.json("account", "set", "bob", "--kind", "postpaid", "--credit-limit", "50.00")
    assert (changed["kind"], changed["credit_limit_micros"]) == ("postpaid", 50_000_000)
    assert changed == {k: v for k, v in paid.json("account", "show", "bob").items() if k != "usernames"}
    text = paid.ok("account", "set", "bob", "--auto-topup-below", "5.00", "--auto-topup-amount", "20.00")
    assert "automatic top-up  20.00 EUR below 5.00 EUR" in text.splitlines()
    assert "automatic top-up  -" in paid.ok("account", "set", "bob", "--no-auto-topup").splitlines()
    assert paid.ok("ledger", "check").endswith("all invariants hold\n")


def test_terms_that_can_not_be(paid: Aaa) -> None:
    cases: list[tuple[tuple[str, ...], int, str]] = [
        ((), 2, "nothing to change; give for example --credit-limit 50.00"),
        (("--no-auto-topup", "--auto-topup-below", "1"), 2, "--no-auto-topup goes with no other of its kind"),
        (("--kind", "postpaid"), 1, "a postpaid account needs --credit-limit"),
        (("--credit-limit", "5,00"), 1, "'5,00' is not an amount of money; write 5.00"),
        (("--auto-topup-below", "5.00"), 1, "how much is it to ask for? add --auto-topup-amount 20.00, for example"),
        (("--auto-topup-amount", "5.00"), 1, "below which balance is it to ask? add --auto-topup-below 5.00, for example"),
    ]  # fmt: skip
    for arguments, code, error in cases:
        assert paid.fails("account", "set", "anna", *arguments, code=code).startswith(error), arguments
