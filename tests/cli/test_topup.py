import pytest

from tests.cli.conftest import Aaa


@pytest.fixture
def anna(shop: Aaa) -> Aaa:
    shop.ok("subscriber", "add", "anna", "--plan", "prepaid-50", "--password", "correct horse battery")
    return shop


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("10.00", "10.00 EUR for anna; it has 10.00 EUR now\n"),
        ("7", "7.00 EUR for anna; it has 7.00 EUR now\n"),
        ("5GB", "5 GB for anna; it has 55 GB now\n"),
        ("2h", "2h for anna; it has 2h now\n"),
        ("90m", "1h30m for anna; it has 1h30m now\n"),
    ],
)
def test_an_amount_names_its_unit(anna: Aaa, amount: str, expected: str) -> None:
    assert anna.ok("topup", "anna", amount, "--reference", "r1") == expected


def test_the_same_reference_again_is_already_applied(anna: Aaa) -> None:
    anna.ok("topup", "anna", "10.00", "--reference", "r1")
    assert anna.ok("topup", "anna", "10", "--reference", "r1") == (
        "already applied: 10.00 EUR for anna, cli:r1; it has 10.00 EUR\n"
    )
    assert anna.json("topup", "anna", "10", "--reference", "r1")["already_applied"] is True
    assert anna.json("topup", "anna", "10", "--reference", "r1", "--source", "shop") == {
        "account": "anna", "reference": "shop:r1", "already_applied": False, "unit": "money", "amount": 10_000_000,
        "balance": 20_000_000, "currency": "EUR",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("anna", "11.00", "--reference", "r1"), "external_ref: 'r1' of 'cli' was already used on "),
        (("anna", "10,00", "--reference", "r2"), "amount: '10,00' is not an amount of money; write 10.00"),
        (("anna", "0", "--reference", "r2"), "amount: '0' is nothing; write an amount above zero"),
        (("anna", "lots", "--reference", "r2"), "amount: 'lots' is not an amount of money; write for example 10.00"),
        (("anna", "1.00", "--reference", "a\nb"), "external_ref: 'a\\nb' holds a control character"),
        (("ana", "1.00", "--reference", "r2"), "there is no account 'ana'; see: aaa account list"),
    ],
)
def test_what_can_not_be_a_payment_is_told_in_a_line_and_leaves_nothing(
    anna: Aaa, arguments: tuple[str, ...], error: str
) -> None:
    anna.ok("topup", "anna", "10.00", "--reference", "r1")
    message = anna.fails("topup", *arguments)
    assert message.startswith(error)
    assert "\n" not in message
    assert anna.ok("ledger", "check").endswith("all invariants hold\n")
    assert anna.json("balance", "anna")["buckets"][-1]["balance"] == 10_000_000


def test_a_negative_amount_is_no_option(anna: Aaa) -> None:
    assert "not negative" in anna.fails("topup", "--reference", "r1", "anna", "--", "-5")


def test_without_a_reference_nothing_is_paid_in(anna: Aaa) -> None:
    assert "--reference" in anna.fails("topup", "anna", "10.00", code=2)
