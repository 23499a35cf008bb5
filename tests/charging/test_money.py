import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.money import EXPONENTS, MAX_AMOUNT, Rounding, divide, exponent, format_money, parse_money, parse_price


@pytest.mark.parametrize(
    ("numerator", "denominator", "up", "down", "half_even"),
    [
        (0, 3, 0, 0, 0),
        (6, 3, 2, 2, 2),
        (7, 3, 3, 2, 2),  # 2.33
        (8, 3, 3, 2, 3),  # 2.67
        (5, 2, 3, 2, 2),  # 2.5: 2 is even
        (7, 2, 4, 3, 4),  # 3.5: 4 is even
        (1, 2, 1, 0, 0),  # 0.5: 0 is even
        (-5, 2, -2, -3, -2),  # -2.5
        (-7, 2, -3, -4, -4),  # -3.5
        (-7, 3, -2, -3, -2),  # -2.33
    ],
)
def test_division_names_its_rounding(numerator: int, denominator: int, up: int, down: int, half_even: int) -> None:
    assert divide(numerator, denominator, "up") == up
    assert divide(numerator, denominator, "down") == down
    assert divide(numerator, denominator, "half-even") == half_even


@given(st.integers(-(2**80), 2**80), st.integers(1, 2**70))
def test_division_is_within_its_rule(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    assert 0 <= divide(numerator, denominator, "up") - exact < 1
    assert 0 <= exact - divide(numerator, denominator, "down") < 1
    assert divide(numerator, denominator, "half-even") == round(exact)


@pytest.mark.parametrize(
    ("text", "currency", "micros"),
    [
        ("10.00", "EUR", 10_000_000),
        ("10", "EUR", 10_000_000),
        ("0.5", "EUR", 500_000),
        ("0.01", "EUR", 10_000),
        ("1.500", "EUR", 1_500_000),  # zeros at the end are no decimals
        ("0", "EUR", 0),
        ("1500", "JPY", 1_500_000_000),
        ("1500.00", "JPY", 1_500_000_000),
        ("1.250", "KWD", 1_250_000),
        ("9223372036854.77", "EUR", 9_223_372_036_854_770_000),
    ],
)
def test_money_is_read(text: str, currency: str, micros: int) -> None:
    assert parse_money(text, currency) == micros


@pytest.mark.parametrize(
    ("text", "currency", "message"),
    [
        ("0,02", "EUR", "'0,02' is not an amount of money; write 0.02"),
        ("1,234.50", "EUR", "'1,234.50' is not an amount of money; write 1234.50"),
        ("1.234,50", "EUR", "'1.234,50' is not an amount of money; write 1234.50"),
        ("10 EUR", "EUR", "'10 EUR' is not an amount of money; write 10"),
        ("-5", "EUR", "'-5' is not an amount of money; write an amount that is not negative"),
        ("", "EUR", "'' is not an amount of money; write for example 10.00"),
        ("ten", "JPY", "'ten' is not an amount of money; write for example 10"),
        ("1e3", "EUR", "'1e3' is not an amount of money; write for example 10.00"),
        ("NaN", "EUR", "'NaN' is not an amount of money; write for example 10.00"),
        ("٣", "EUR", "'٣' is not an amount of money; write for example 10.00"),
        ("10.005", "EUR", "'10.005' has too many decimals: EUR has 2; write for example 10.00"),
        ("1.2345", "KWD", "'1.2345' has too many decimals: KWD has 3; write for example 1.234"),
        ("10.5", "JPY", "'10.5': JPY has no decimals; write 10"),
        ("9223372036854.78", "EUR", "'9223372036854.78' is too large; the largest amount is 9223372036854.775807 EUR"),
        ("10", "eur", "'eur' is not a currency; write EUR"),
        ("10", "XYZ", "'XYZ' is not a currency; write an ISO 4217 code such as EUR, USD or KES"),
    ],
)
def test_what_is_no_money_says_what_would_be(text: str, currency: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_money(text, currency)


def test_a_price_may_have_six_decimals_in_any_currency() -> None:
    assert parse_price("0.000001", "EUR") == 1
    assert parse_price("0.0025", "JPY") == 2_500
    with pytest.raises(ValueError, match="a price has at most 6"):
        parse_price("0.0000005", "EUR")


@pytest.mark.parametrize(
    ("micros", "currency", "text"),
    [
        (10_000_000, "EUR", "10.00 EUR"),
        (2_500, "EUR", "0.0025 EUR"),
        (9_986_400, "EUR", "9.9864 EUR"),
        (-500_000, "EUR", "-0.50 EUR"),
        (-1, "EUR", "-0.000001 EUR"),
        (0, "EUR", "0.00 EUR"),
        (1_500_000_000, "JPY", "1500 JPY"),
        (1_500_000, "JPY", "1.5 JPY"),
        (1_250_000, "KWD", "1.250 KWD"),
    ],
)
def test_money_is_written_exactly(micros: int, currency: str, text: str) -> None:
    assert format_money(micros, currency) == text


@given(st.integers(0, MAX_AMOUNT), st.sampled_from(sorted(EXPONENTS)))
def test_what_is_written_is_read_back(micros: int, currency: str) -> None:
    assert parse_price(format_money(micros, currency).removesuffix(f" {currency}"), currency) == micros


def test_currencies() -> None:
    assert [exponent(code) for code in ("EUR", "JPY", "KWD", "BHD", "TND", "KES", "UGX")] == [2, 0, 3, 3, 3, 2, 0]
    assert all(len(code) == 3 and code.isalpha() and code.isupper() for code in EXPONENTS)


@pytest.mark.parametrize("decimals", [-1, 7])
def test_a_rounding_has_zero_to_six_decimals(decimals: int) -> None:
    with pytest.raises(ValueError, match="give 0 to 6"):
        Rounding("up", decimals)
