from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charging.money import MAX_AMOUNT, Rounding
from charging.plan import Rate
from charging.tariff import UNLIMITED, price, quota

MB = 1_000_000
# 0.02 per MB in steps of 100 kB, 0.50 per session: a step costs 0.002.
BY_VOLUME = Rate("octets", "total", 20_000, MB, 100_000, 500_000)
# 0.05 per minute begun.
BY_MINUTE = Rate("seconds", "total", 50_000, 60, 60)
# 0.10 per minute, counted by 6 seconds: a step costs 0.01.
BY_SIX_SECONDS = Rate("seconds", "total", 100_000, 60, 6)
# 1.00 per 3 octets: never a whole number of micros.
THIRDS = Rate("octets", "total", 1_000_000, 3, 1)
FEE_ONLY = Rate("octets", "total", 0, MB, 1, 250_000)
# 0.0025 per MB, octet by octet.
FINE = Rate("octets", "down", 2_500, MB, 1)

MICROS = Rounding("up", 6)


@pytest.mark.parametrize(
    ("rate", "units", "rounding", "micros"),
    [
        (BY_VOLUME, 0, MICROS, 0),  # no usage, no fee
        (BY_VOLUME, 1, MICROS, 502_000),  # 0.50 + 1 step of 0.002
        (BY_VOLUME, 100_000, MICROS, 502_000),  # the step is full, not exceeded
        (BY_VOLUME, 100_001, MICROS, 504_000),  # the second step has begun
        (BY_VOLUME, 1_000 * MB, MICROS, 20_500_000),  # 0.50 + 1000 · 0.02
        (BY_MINUTE, 1, MICROS, 50_000),
        (BY_MINUTE, 60, MICROS, 50_000),
        (BY_MINUTE, 61, MICROS, 100_000),
        (BY_MINUTE, 3_600, MICROS, 3_000_000),  # 60 · 0.05
        (BY_SIX_SECONDS, 13, MICROS, 30_000),  # 3 steps of 0.01
        (THIRDS, 1, MICROS, 333_334),  # 0.3333…
        (THIRDS, 2, MICROS, 666_667),  # 0.6666…
        (THIRDS, 3, MICROS, 1_000_000),
        (THIRDS, 1, Rounding("down", 6), 333_333),
        (THIRDS, 2, Rounding("half-even", 6), 666_667),
        (THIRDS, 1, Rounding("half-even", 6), 333_333),
        (THIRDS, 1, Rounding("up", 2), 340_000),  # 0.34
        (THIRDS, 2, Rounding("down", 2), 660_000),  # 0.66
        (THIRDS, 4, Rounding("down", 0), 1_000_000),  # 1.33 → 1
        (THIRDS, 4, Rounding("up", 0), 2_000_000),
        (FINE, 1, MICROS, 1),  # 0.0025 micros, rounded up
        (FINE, 1, Rounding("half-even", 6), 0),
        (FINE, 400, MICROS, 1),  # exactly one micro
        (FINE, 401, MICROS, 2),
        (FINE, 200, Rounding("half-even", 6), 0),  # ½: to the even 0
        (FINE, 600, Rounding("half-even", 6), 2),  # 1½: to the even 2
        (FINE, 6 * MB, Rounding("half-even", 2), 20_000),  # 0.015: to the even 0.02
        (FINE, 2 * MB, Rounding("half-even", 2), 0),  # 0.005: to the even 0.00
        (FEE_ONLY, 1, MICROS, 250_000),
        (FEE_ONLY, 10**15, MICROS, 250_000),
    ],
)
def test_the_price_of_usage(rate: Rate, units: int, rounding: Rounding, micros: int) -> None:
    assert price(rate, units, rounding) == micros


@pytest.mark.parametrize(
    ("rate", "micros", "rounding", "units"),
    [
        (BY_VOLUME, 0, MICROS, 0),
        (BY_VOLUME, 500_000, MICROS, 0),  # the fee fits, the first step does not
        (BY_VOLUME, 501_999, MICROS, 0),
        (BY_VOLUME, 502_000, MICROS, 100_000),
        (BY_VOLUME, 503_999, MICROS, 100_000),  # not a step and a half
        (BY_VOLUME, 10_000_000, MICROS, 475 * MB),  # (10.00 - 0.50) / 0.02
        (BY_VOLUME, -1, MICROS, 0),
        (BY_MINUTE, 3_000_000, MICROS, 3_600),
        (BY_MINUTE, 49_999, MICROS, 0),
        (THIRDS, 333_333, MICROS, 0),
        (THIRDS, 333_333, Rounding("down", 6), 1),
        (THIRDS, 333_334, MICROS, 1),
        (THIRDS, 0, Rounding("down", 0), 2),  # 0.67 rounds down to nothing
        (THIRDS, 0, Rounding("half-even", 0), 1),  # 0.33 rounds to 0, 0.67 to 1
        (FINE, 0, Rounding("half-even", 6), 200),  # ½ micro rounds to 0
        (FINE, 1, Rounding("half-even", 6), 599),  # 1½ micros would round to 2
        (FEE_ONLY, 249_999, MICROS, 0),
        (FEE_ONLY, 250_000, MICROS, UNLIMITED),
        (Rate("octets", "up", 0, 1, 1), 0, MICROS, UNLIMITED),  # free
        (Rate("octets", "up", 1, 10**12, 1), MAX_AMOUNT, MICROS, UNLIMITED),  # never more than 64 bits
    ],
)
def test_what_a_balance_pays_for(rate: Rate, micros: int, rounding: Rounding, units: int) -> None:
    assert quota(rate, micros, rounding) == units


def test_usage_is_not_negative() -> None:
    with pytest.raises(ValueError, match="not negative"):
        price(BY_VOLUME, -1, MICROS)


def test_a_price_beyond_64_bits_is_an_error_not_a_number() -> None:
    dear = Rate("octets", "total", 10**15, 1, 1)
    assert price(dear, 9_223, MICROS) == 9_223 * 10**15
    with pytest.raises(OverflowError):
        price(dear, 9_224, MICROS)


roundings = st.builds(Rounding, st.sampled_from(["up", "down", "half-even"]), st.integers(0, 6))
# Small numbers make steps, fees and rounding meet; large ones look for overflows.
counts = st.one_of(st.integers(1, 50), st.integers(1, 10**10))
prices = st.one_of(st.integers(0, 50), st.integers(0, 10**9))
rates = st.builds(Rate, st.just("octets"), st.just("total"), prices, counts, counts, prices)
usages = st.one_of(st.integers(0, 1_000), st.integers(0, 10**12))


@given(rates, usages, roundings)
def test_the_price_is_the_definition(rate: Rate, units: int, rounding: Rounding) -> None:
    """Independently, in fractions: within one rounding unit, on the side that the rule names."""
    if units == 0:
        return
    begun = (units + rate.step - 1) // rate.step
    exact = rate.fee_micros + Fraction(begun * rate.step * rate.price_micros, rate.per)
    unit = 10 ** (6 - rounding.decimals)
    assume(exact < MAX_AMOUNT - unit)
    rounded = price(rate, units, rounding)
    assert rounded % unit == 0
    if rounding.mode == "up":
        assert 0 <= rounded - exact < unit
    elif rounding.mode == "down":
        assert 0 <= exact - rounded < unit
    else:
        assert rounded == round(exact / unit) * unit


@given(rates, usages, usages, roundings)
def test_the_price_never_falls(rate: Rate, units: int, more: int, rounding: Rounding) -> None:
    try:
        assert price(rate, units, rounding) <= price(rate, units + more, rounding)
    except OverflowError:
        assume(False)


@given(rates, st.one_of(st.integers(0, 1_000), st.integers(0, MAX_AMOUNT)), roundings)
def test_quota_is_the_inverse_of_price(rate: Rate, micros: int, rounding: Rounding) -> None:
    units = quota(rate, micros, rounding)
    assert 0 <= units <= UNLIMITED
    assert price(rate, units, rounding) <= micros
    if units == UNLIMITED:
        return
    assert units % rate.step == 0
    with suppress(OverflowError):  # dearer than any balance
        assert micros < price(rate, units + 1, rounding)


@given(rates, st.lists(st.integers(0, 10**6), min_size=1, max_size=30), roundings)
def test_any_number_of_reports_costs_what_one_would(rate: Rate, deltas: list[int], rounding: Rounding) -> None:
    """Each report is charged the price of all usage so far minus what is booked."""
    booked = used = 0
    try:
        for delta in deltas:
            used += delta
            charge = price(rate, used, rounding) - booked
            assert charge >= 0
            booked += charge
        assert booked == price(rate, sum(deltas), rounding)
    except OverflowError:
        assume(False)
