"""Money: integer micro-units (10⁻⁶) of an ISO 4217 currency, and explicit rounding.

No float and no Decimal: text is read digit by digit, and every division names its rounding.
"""

import re
from dataclasses import dataclass, field
from typing import Final, Literal

RoundingMode = Literal["up", "down", "half-even"]

MICROS: Final = 1_000_000
"""Micro-units in one unit of a currency."""

MAX_AMOUNT: Final = 2**63 - 1
"""The largest amount of anything (micros, octets, seconds): what a signed 64-bit column holds."""

PRICE_DECIMALS: Final = 6

# ISO 4217, active currencies by the number of decimals of their minor unit. Funds and metals are left out.
_BY_EXPONENT: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY
          COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS
          INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR
          MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD
          SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG""",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
EXPONENTS: Final[dict[str, int]] = {code: exp for exp, codes in _BY_EXPONENT.items() for code in codes.split()}
"""Currency code → decimals of its minor unit: EUR 2, JPY 0, KWD 3."""

_PLAIN_AMOUNT: Final = re.compile(r"([0-9]{1,13})(?:\.([0-9]+))?")
# 1,234.50 · 1.234,50 · 1 234,50 · 0,02: what people write where we want a plain number.
_GROUPED_AMOUNT: Final = re.compile(r"([0-9]{1,3}(?:[ ',.][0-9]{3})+|[0-9]+)(?:[.,]([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Rounding:
    """How a price becomes an amount: to `decimals` places of the currency (0..6), in the direction `mode`.

    `up` never favours the subscriber, `down` always does, `half-even` is a banker's rounding.
    """

    mode: RoundingMode = "up"
    decimals: int = 6
    unit_micros: int = field(init=False, repr=False, compare=False)
    """The smallest amount that this rule lets through, in micros: 10_000 for two decimals."""

    def __post_init__(self) -> None:
        if self.mode not in ("up", "down", "half-even"):
            raise ValueError(f"{self.mode!r} is not a rounding; write up, down or half-even")
        if not 0 <= self.decimals <= PRICE_DECIMALS:
            raise ValueError(f"rounding to {self.decimals} decimals: give 0 to {PRICE_DECIMALS}")
        object.__setattr__(self, "unit_micros", 10 ** (PRICE_DECIMALS - self.decimals))


UP_TO_MICROS: Final = Rounding()
"""The rule of a plan that names none."""


def divide(numerator: int, denominator: int, mode: RoundingMode) -> int:
    """`numerator / denominator` as an integer; `denominator` > 0. `up` is towards the larger, `down` towards the smaller integer."""
    if mode == "up":
        return -(-numerator // denominator)
    if mode == "down":
        return numerator // denominator
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient


def exponent(currency: str) -> int:
    """Decimals of the currency's minor unit. ValueError when it is not an ISO 4217 code."""
    try:
        return EXPONENTS[currency]
    except KeyError:
        hint = currency.strip().upper()
        right = f"write {hint}" if hint in EXPONENTS else "write an ISO 4217 code such as EUR, USD or KES"
        raise ValueError(f"{currency!r} is not a currency; {right}") from None


def parse_money(text: str, currency: str) -> int:
    """An amount that is paid, `10.00`, in micros: no more decimals than the currency has, not negative."""
    return _parse(text, currency, exponent(currency), "an amount of money")


def parse_price(text: str, currency: str) -> int:
    """A price, `0.0025`, in micros: up to six decimals in any currency, not negative."""
    exponent(currency)
    return _parse(text, currency, PRICE_DECIMALS, "a price")


def _parse(text: str, currency: str, decimals: int, what: str) -> int:
    match = _PLAIN_AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not {what}; write {_suggestion(text, currency)}")
    whole, fraction = match[1], match[2] or ""
    if len(fraction.rstrip("0")) > decimals:
        if decimals == 0:
            raise ValueError(f"{text!r}: {currency} has no decimals; write {whole}")
        limit = f"{currency} has {decimals}" if what != "a price" else f"a price has at most {decimals}"
        raise ValueError(f"{text!r} has too many decimals: {limit}; write for example {whole}.{fraction[:decimals]}")
    micros = int(whole) * MICROS + int(fraction.rstrip("0").ljust(PRICE_DECIMALS, "0"))
    if micros > MAX_AMOUNT:
        raise ValueError(f"{text!r} is too large; the largest amount is {format_money(MAX_AMOUNT, currency)}")
    return micros


def _suggestion(text: str, currency: str) -> str:
    bare = text.strip().removesuffix(currency).removeprefix(currency).strip()
    if bare.startswith("-"):
        return "an amount that is not negative"
    match = _GROUPED_AMOUNT.fullmatch(bare)
    if match is None:
        return "for example " + "10." + "0" * exponent(currency) if exponent(currency) else "for example 10"
    whole = re.sub(r"[ ',.]", "", match[1])
    return f"{whole}.{match[2]}" if match[2] else whole


def format_money(micros: int, currency: str) -> str:
    """`10.00 EUR`, exact: the currency's own decimals, and more only where the amount has them (`0.0025 EUR`)."""
    decimals = EXPONENTS.get(currency, 2)
    whole, fraction = divmod(abs(micros), MICROS)
    digits = f"{fraction:06d}"
    shown = digits[:decimals] + digits[decimals:].rstrip("0")
    sign = "-" if micros < 0 else ""
    return f"{sign}{whole}.{shown} {currency}" if shown else f"{sign}{whole} {currency}"
