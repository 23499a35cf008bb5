"""Vouchers: what is printed on them, and whether one may be redeemed.

A code is 16 characters of an alphabet of 31, without those that look alike: 15 by chance, the last one checks them. 31 is
a prime, so that a sum with a different weight for each place finds every wrong character and every two that changed places
(the way of ISBN-10, ISO 2108). The database keeps a fingerprint of a code, never the code: a slow one, since codes are
short enough to be typed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from charging.book import Account
from charging.plan import Duration, Instant, Unit

State = Literal["ready", "redeemed", "void"]

#: Digits and letters without 0, 1, I, L and O.
ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
CODE_CHARACTERS: Final = 16
_GROUP: Final = 4
#: 74 bits of chance, and some thousand hashes for each guess: who has a copy of the database has a graphics card at work
#: for hundreds of years to find one of a million vouchers.
_ROUNDS: Final = 2_000
_SALT: Final = b"prepaid-aaa voucher"

#: So many wrong codes within the time, and the account may try no more until it is over.
MOST_FAILURES: Final = 5
FAILURES_FORGOTTEN_MS: Final = 3_600_000


@dataclass(slots=True)
class Voucher:
    """A row of the voucher table with what its batch says."""

    voucher_id: int
    batch: str
    serial: int
    state: State
    unit: Unit
    amount: int
    currency: str | None
    validity: Duration | None
    expires_at: Instant | None


def new_code(choose: Callable[[str], str]) -> str:
    """A code as it is printed: `7KQM-3XWP-9TRA-HC2N`. `choose` takes one of the alphabet's characters by chance."""
    characters = "".join(choose(ALPHABET) for _ in range(CODE_CHARACTERS - 1))
    return in_groups(characters + check_character(characters))


def check_character(characters: str) -> str:
    """The one that makes the weighted sum of all a multiple of 31."""
    total = sum(weight * ALPHABET.index(each) for weight, each in enumerate(characters, start=2))
    # Its own weight is 1.
    return ALPHABET[-total % len(ALPHABET)]


def in_groups(code: str) -> str:
    """A code in groups of four."""
    return "-".join(code[i : i + _GROUP] for i in range(0, len(code), _GROUP))


def read_code(text: str) -> str:
    """A code as people type it, in small letters, with spaces or without hyphens: its 16 characters. ValueError where it
    can be none; that says nothing about any voucher, so it need not be counted as a guess."""
    code = "".join(each for each in text.upper() if each not in " -\t.")
    wrong = next((each for each in code if each not in ALPHABET), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} is in no voucher code; there is no 0, 1, I, L or O in it")
    if len(code) != CODE_CHARACTERS:
        raise ValueError(f"a voucher code has {CODE_CHARACTERS} characters, this one has {len(code)}")
    if check_character(code[:-1]) != code[-1]:
        raise ValueError("this voucher code is mistyped: its last character does not fit the others")
    return code


def fingerprint(code: str) -> str:
    """What the database keeps of a code's 16 characters, hexadecimal: PBKDF2 (RFC 8018) with SHA-256."""
    return hashlib.pbkdf2_hmac("sha256", code.encode("ascii"), _SALT, _ROUNDS).hex()


def why_not(voucher: Voucher | None, currency: str, now: Instant) -> str | None:
    """Why a voucher may not be redeemed by an account of that currency; None where it may."""
    if voucher is None:
        return "there is no such voucher"
    match voucher.state:
        case "redeemed":
            return "this voucher was redeemed before"
        case "void":
            return "this voucher is void"
    if voucher.expires_at is not None and voucher.expires_at <= now:
        return "this voucher has expired"
    if voucher.unit == "money" and voucher.currency != currency:
        return f"this voucher is in {voucher.currency}, the account in {currency}"
    return None


def locked(account: Account, now: Instant) -> bool:
    """Were there too many wrong codes?"""
    return account.voucher_failures >= MOST_FAILURES and now < account.voucher_failed_at + FAILURES_FORGOTTEN_MS


def count_failure(account: Account, now: Instant) -> None:
    """One more code that there is not."""
    if now >= account.voucher_failed_at + FAILURES_FORGOTTEN_MS:
        account.voucher_failures, account.voucher_failed_at = 0, now
    account.voucher_failures += 1
