"""The attributes inside of TTLS: Diameter's form with RADIUS's numbers (RFC 5281 section 10)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from aaa.eap.exchange import Refused

_VENDOR: Final = 0x80
_MANDATORY: Final = 0x40
MOST_AVPS: Final = 64


class Avp(NamedTuple):
    """One attribute; vendor 0 is none."""

    vendor: int
    code: int
    value: bytes


def read(octets: bytes) -> list[Avp]:
    """The attributes in order; Refused where their lengths do not add up."""
    found: list[Avp] = []
    at = 0
    while at < len(octets):
        if len(octets) - at < 8 or len(found) >= MOST_AVPS:
            raise Refused("eap-malformed", f"no AVP at octet {at}, or more than {MOST_AVPS}")
        code, flags = int.from_bytes(octets[at : at + 4], "big"), octets[at + 4]
        length = int.from_bytes(octets[at + 5 : at + 8], "big")
        head = 12 if flags & _VENDOR else 8
        if length < head or length > len(octets) - at:
            raise Refused("eap-malformed", f"an AVP of {length} octets at octet {at}")
        vendor = int.from_bytes(octets[at + 8 : at + 12], "big") if flags & _VENDOR else 0
        found.append(Avp(vendor, code, octets[at + head : at + length]))
        at += length + -length % 4
    return found


def write(avps: Iterable[Avp]) -> bytes:
    """Their octets, each filled up to a multiple of four."""
    parts: list[bytes] = []
    for vendor, code, value in avps:
        head = 12 if vendor else 8
        length = head + len(value)
        flags = _MANDATORY | (_VENDOR if vendor else 0)
        parts.append(code.to_bytes(4, "big") + bytes((flags,)) + length.to_bytes(3, "big"))
        parts.append((vendor.to_bytes(4, "big") if vendor else b"") + value + bytes(-length % 4))
    return b"".join(parts)
