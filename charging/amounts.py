"""Amounts as people write them, to integers and back: `50GB`, `20M`, `1h30m`, `1 month`, `80%`.

Every parser raises ValueError with a text that says what is wrong and what would be right. Integers only: "1.5GB" is
read digit by digit, and an amount that is not whole is an error, never rounded.
"""

import re
from typing import Final

from charging.money import MAX_AMOUNT, format_money
from charging.plan import Duration

_OCTET_UNITS: Final = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "PB": 10**15,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "PiB": 2**50,
}
_RATE_UNITS: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_RATE_SUFFIXES: Final = ("bit/s", "bps")

_SECONDS: Final = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3_600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
}
_MONTHS: Final = {
    **dict.fromkeys(("month", "months"), 1),
    **dict.fromkeys(("year", "years"), 12),
}
MAX_MONTHS: Final = 1_200

# Bounded, so that a hostile text costs nothing: 19 digits are enough for 2^63.
_NUMBER: Final = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,18}))?[ ]?([A-Za-z/]*)")
_SPAN: Final = re.compile(r"([0-9]{1,19})[ ]?([A-Za-z]+)[ ]?")


def parse_octets(text: str) -> int:
    """`500MB`, `1.5 GB` (decimal), `5GiB` (binary) or a plain number of octets."""
    return _scaled(text, _OCTET_UNITS, "an amount of octets", "500MB, 5GB or 5GiB", "a whole number of octets")


def parse_rate(text: str) -> int:
    """`256k`, `20M`, `1.5G`, optionally with `bit/s` or `bps`, or a plain number, in bit/s. 0 is a number here."""
    bare = text
    for suffix in _RATE_SUFFIXES:
        bare = bare.removesuffix(suffix)
    return _scaled(text, _RATE_UNITS, "a bit rate", "256k, 20M or 1G", "a whole number of bit/s", bare=bare)


def parse_seconds(text: str) -> int:
    """`90s`, `30m`, `1h30m`, `30 days` or a plain number of seconds. Months are refused: they are not all equal."""
    span = parse_duration(text)
    if span.months:
        raise ValueError(f"{text!r}: a month has no fixed length here; write for example 30 days")
    return span.seconds


def parse_duration(text: str) -> Duration:
    """What `parse_seconds` reads, and calendar months and years: `1 month`, `1 year`, `1 month 12h`."""
    bare = text.strip()
    if re.fullmatch(r"[0-9]{1,19}", bare):
        return _bounded(text, 0, int(bare))
    months = seconds = position = 0
    seen: list[str] = []
    while position < len(bare):
        match = _SPAN.match(bare, position)
        if match is None or (unit := match[2]) not in _SECONDS.keys() | _MONTHS.keys():
            raise ValueError(f"{text!r}: not a time span; write for example 90s, 30m, 1h30m, 30 days or 1 month")
        seen.append(unit)
        if unit in _MONTHS:
            months += int(match[1]) * _MONTHS[unit]
        else:
            seconds += int(match[1]) * _SECONDS[unit]
        position = match.end()
    if not seen:
        raise ValueError("an empty text is not a time span; write for example 90s, 30m, 1h30m, 30 days or 1 month")
    return _bounded(text, months, seconds)


def parse_percent(text: str) -> int:
    """`80%`: whole percent, 0 to 100."""
    match = re.fullmatch(r"([0-9]{1,3})[ ]?%", text.strip())
    if match is None or int(match[1]) > 100:
        raise ValueError(f"{text!r}: not a percentage; write for example 80%, whole and at most 100%")
    return int(match[1])


def format_amount(unit: str, amount: int, currency: str) -> str:
    """An amount of `unit` in words: money (micros) `10.00 EUR`, octets `5 GB`, seconds `2h`."""
    if unit == "money":
        return format_money(amount, currency)
    return format_octets(amount) if unit == "octets" else format_seconds(amount)


def format_octets(octets: int) -> str:
    """Human text, decimal units, at most two decimals, rounded half up: `999 B`, `1.53 GB`, `50 GB`."""
    if octets < 0:
        return "-" + format_octets(-octets)
    if octets < 1_000:
        return f"{octets} B"
    size = 1_000
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        hundredths = _hundredths(octets, size)
        # 999 999 octets round to 1000.00 kB; they are shown as 1 MB.
        if hundredths < 100_000:
            return f"{_decimal(hundredths, 2)} {unit}"
        size *= 1_000
    return f"{_decimal(_hundredths(octets, size), 2)} EB"


def format_seconds(seconds: int) -> str:
    """`0s`, `5m`, `1h30m`, `30d`: exact, and `parse_seconds` reads it back."""
    if seconds < 0:
        return "-" + format_seconds(-seconds)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, seconds = divmod(seconds, _SECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_duration(duration: Duration) -> str:
    """`1 month`, `30d`, `1 month 12h`: exact, and `parse_duration` reads it back."""
    if not duration.months:
        return format_seconds(duration.seconds)
    months = "1 month" if duration.months == 1 else f"{duration.months} months"
    return f"{months} {format_seconds(duration.seconds)}" if duration.seconds else months


def format_rate(rate_bps: int) -> str:
    """`20 Mbit/s`, `1.5 Gbit/s`, `800 bit/s`: exact, and `parse_rate` reads it back."""
    for prefix, zeros in (("G", 9), ("M", 6), ("k", 3)):
        if rate_bps >= 10**zeros:
            return f"{_decimal(rate_bps, zeros)} {prefix}bit/s"
    return f"{rate_bps} bit/s"


def _hundredths(octets: int, size: int) -> int:
    return (octets * 200 + size) // (2 * size)


def _decimal(scaled: int, zeros: int) -> str:
    whole, fraction = divmod(scaled, 10**zeros)
    digits = f"{fraction:0{zeros}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def _scaled(text: str, units: dict[str, int], what: str, example: str, whole: str, *, bare: str | None = None) -> int:
    match = _NUMBER.fullmatch((text if bare is None else bare).strip())
    if match is None or match[3] not in units:
        raise ValueError(f"{text!r}: not {what}; write for example {example}")
    size = units[match[3]]
    fraction = (match[2] or "").rstrip("0")
    denominator: int = 10 ** len(fraction)
    part, rest = divmod(int(fraction or "0") * size, denominator)
    if rest:
        raise ValueError(f"{text!r} is not {whole}; write for example {example}")
    amount = int(match[1]) * size + part
    if amount > MAX_AMOUNT:
        raise ValueError(f"{text!r} is too large; the largest amount is {MAX_AMOUNT}")
    return amount


def _bounded(text: str, months: int, seconds: int) -> Duration:
    # A hundred years: the end of any span that passes stays a date that the calendar knows.
    if months > MAX_MONTHS or seconds > MAX_MONTHS // 12 * 366 * 86_400:
        raise ValueError(f"{text!r} is too long; the longest time span is 100 years")
    return Duration(months, seconds)
