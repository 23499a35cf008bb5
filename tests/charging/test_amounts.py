import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging import amounts
from charging.money import MAX_AMOUNT
from charging.plan import Duration


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("0", 0),
        ("1234", 1_234),
        ("1B", 1),
        ("100kB", 100_000),
        ("100KB", 100_000),
        ("5GB", 5_000_000_000),
        ("5 GB", 5_000_000_000),
        ("5GiB", 5_368_709_120),
        ("1.5GB", 1_500_000_000),
        ("0.1GB", 100_000_000),
        ("0.5KiB", 512),
        ("1.000000001GB", 1_000_000_001),
        ("2TB", 2_000_000_000_000),
    ],
)
def test_octets_are_read(text: str, octets: int) -> None:
    assert amounts.parse_octets(text) == octets


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5 GBit", "'5 GBit': not an amount of octets; write for example 500MB, 5GB or 5GiB"),
        ("5Gb", "'5Gb': not an amount of octets; write for example 500MB, 5GB or 5GiB"),  # bits?
        ("5G", "'5G': not an amount of octets; write for example 500MB, 5GB or 5GiB"),
        ("1,5GB", "'1,5GB': not an amount of octets; write for example 500MB, 5GB or 5GiB"),
        ("-5GB", "'-5GB': not an amount of octets; write for example 500MB, 5GB or 5GiB"),
        ("", "'': not an amount of octets; write for example 500MB, 5GB or 5GiB"),
        ("0.5B", "'0.5B' is not a whole number of octets; write for example 500MB, 5GB or 5GiB"),
        ("0.0001kB", "'0.0001kB' is not a whole number of octets; write for example 500MB, 5GB or 5GiB"),
        ("10000PB", "'10000PB' is too large; the largest amount is 9223372036854775807"),
    ],
)
def test_what_is_no_amount_of_octets_says_what_would_be(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        amounts.parse_octets(text)


@pytest.mark.parametrize(
    ("text", "rate_bps"),
    [
        ("20M", 20_000_000),
        ("256k", 256_000),
        ("1G", 1_000_000_000),
        ("1.5M", 1_500_000),
        ("64000", 64_000),
        ("20 Mbit/s", 20_000_000),
        ("20Mbps", 20_000_000),
        ("800 bit/s", 800),
    ],
)
def test_rates_are_read(text: str, rate_bps: int) -> None:
    assert amounts.parse_rate(text) == rate_bps


@pytest.mark.parametrize("text", ["20MB", "20MB/s", "fast", "20 Mi", "-1M", "20m", "M"])
def test_what_is_no_rate_says_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text!r}: not a bit rate; write for example 256k, 20M or 1G$"):
        amounts.parse_rate(text)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90", Duration(0, 90)),
        ("90s", Duration(0, 90)),
        ("30m", Duration(0, 1_800)),
        ("2h", Duration(0, 7_200)),
        ("1h30m", Duration(0, 5_400)),
        ("1h 30m", Duration(0, 5_400)),
        ("30 days", Duration(0, 2_592_000)),
        ("1 day", Duration(0, 86_400)),
        ("2 weeks", Duration(0, 1_209_600)),
        ("1 month", Duration(1, 0)),
        ("3 months", Duration(3, 0)),
        ("1 year", Duration(12, 0)),
        ("1 month 12h", Duration(1, 43_200)),
    ],
)
def test_durations_are_read(text: str, duration: Duration) -> None:
    assert amounts.parse_duration(text) == duration


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.5h", "'1.5h': not a time span; write for example 90s, 30m, 1h30m, 30 days or 1 month"),
        ("h", "'h': not a time span; write for example 90s, 30m, 1h30m, 30 days or 1 month"),
        ("1h 30", "'1h 30': not a time span; write for example 90s, 30m, 1h30m, 30 days or 1 month"),
        ("2M", "'2M': not a time span; write for example 90s, 30m, 1h30m, 30 days or 1 month"),  # minutes? months?
        ("", "an empty text is not a time span; write for example 90s, 30m, 1h30m, 30 days or 1 month"),
        ("200 years", "'200 years' is too long; the longest time span is 100 years"),
    ],
)
def test_what_is_no_duration_says_what_would_be(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        amounts.parse_duration(text)


def test_a_month_is_no_number_of_seconds() -> None:
    assert amounts.parse_seconds("30 days") == 2_592_000
    with pytest.raises(ValueError, match="no fixed length here; write for example 30 days"):
        amounts.parse_seconds("1 month")


def test_percentages() -> None:
    assert [amounts.parse_percent(text) for text in ("80%", "0%", "100 %")] == [80, 0, 100]
    for text in ("80", "101%", "8.5%", "-1%", "%"):
        with pytest.raises(ValueError, match="write for example 80%"):
            amounts.parse_percent(text)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1 kB"),
        (1_525_000_000, "1.53 GB"),  # 1.525 rounds half up
        (1_524_999_999, "1.52 GB"),
        (999_994, "999.99 kB"),
        (999_995, "1 MB"),  # never 1000.00 kB
        (50_000_000_000, "50 GB"),
        (-1_500, "-1.5 kB"),
        (MAX_AMOUNT, "9.22 EB"),
    ],
)
def test_octets_are_written_for_people(octets: int, text: str) -> None:
    assert amounts.format_octets(octets) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (90, "1m30s"), (5_400, "1h30m"), (90_061, "1d1h1m1s"), (-60, "-1m")]
)
def test_seconds_are_written_for_people(seconds: int, text: str) -> None:
    assert amounts.format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("rate_bps", "text"),
    [(0, "0 bit/s"), (800, "800 bit/s"), (256_000, "256 kbit/s"), (1_500_000, "1.5 Mbit/s"), (10**10, "10 Gbit/s")],
)
def test_rates_are_written_for_people(rate_bps: int, text: str) -> None:
    assert amounts.format_rate(rate_bps) == text


@given(st.integers(0, 3_000_000_000), st.integers(0, amounts.MAX_MONTHS))
def test_times_are_read_back(seconds: int, months: int) -> None:
    assert amounts.parse_seconds(amounts.format_seconds(seconds)) == seconds
    duration = Duration(months, seconds)
    assert amounts.parse_duration(amounts.format_duration(duration)) == duration


@given(st.integers(0, 10**13))
def test_rates_are_read_back(rate_bps: int) -> None:
    assert amounts.parse_rate(amounts.format_rate(rate_bps)) == rate_bps


@given(st.text(max_size=30))
def test_any_text_is_an_amount_or_a_value_error(text: str) -> None:
    for parse in (amounts.parse_octets, amounts.parse_rate, amounts.parse_duration, amounts.parse_percent):
        with suppress(ValueError):
            parse(text)
