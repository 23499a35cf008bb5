"""What there is to tell, as data: each kind of notice with who hears of it and which facts it brings.

A cause writes one with `Book.notify(kind, detail, now, ..., facts=...)`, in its own transaction and once per crossing. Facts
are integers and words by these names, and each may be left out; what ends in `_micros` is money, what ends in `_at` an
instant, and `left`, `granted` and `amount` count the fact `unit` (octets, seconds, or money in micros).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

NoticeKind = Literal[
    "threshold",
    "exhausted",
    "capped",
    "restored",
    "renewed",
    "renewal-soon",
    "renewal-failed",
    "expiry-soon",
    "expired",
    "fair-use",
    "voucher-used",
    "enforcement-failed",
    "test",
]
Facts = Mapping[str, int | str]

#: 2026-12-01 00:00 UTC.
_DAY: Final = 1_796_083_200_000


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of notice."""

    says: str
    """When there is one, in a few words."""
    facts: Facts
    """An example of each fact that it may bring."""
    for_operator: bool = False
    """The network's own business: no subscriber is told."""
    urgent: bool = False
    """It is told in quiet hours too."""


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "threshold": Kind(
            "a part of an allowance that the plan names is used",
            {"bucket": "data", "unit": "octets", "left": 10_000_000_000, "granted": 50_000_000_000},
        ),
        "exhausted": Kind("nothing is left to pay for a session", {"action": "throttle"}, urgent=True),
        "capped": Kind(
            "a subscriber has used what a cap of the plan allows",
            {"plan": "home", "cap": "daily", "action": "throttle", "until_at": _DAY},
            urgent=True,
        ),
        "restored": Kind("a session has its full service back", {"reason": "top-up"}, urgent=True),
        "renewed": Kind("a new period began", {"plan": "home", "price_micros": 19_900_000, "renews_at": _DAY}),
        "renewal-soon": Kind("a period ends soon", {"plan": "home", "price_micros": 19_900_000, "renews_at": _DAY}),
        "renewal-failed": Kind(
            "a period ended, and the money did not pay for the next one",
            {"plan": "home", "price_micros": 19_900_000, "missing_micros": 4_900_000},
            urgent=True,
        ),
        "expiry-soon": Kind(
            "a bucket, or the service itself, ends soon",
            {"bucket": "data", "unit": "octets", "left": 10_000_000_000, "expires_at": _DAY},
        ),
        "expired": Kind(
            "a bucket, or the service itself, has ended",
            {"bucket": "data", "unit": "octets", "left": 10_000_000_000, "expires_at": _DAY},
        ),
        "fair-use": Kind(
            "a fair-use step was reached", {"plan": "home", "profile": "home-5M", "after": 50_000_000_000}
        ),
        "voucher-used": Kind("a voucher was paid in", {"unit": "money", "amount": 10_000_000}, urgent=True),
        "enforcement-failed": Kind(
            "a NAS does not do what it is told", {"reason": "no-answer"}, for_operator=True, urgent=True
        ),
        "test": Kind("an operator tries the delivery", {}, urgent=True),
    }
)
