"""A RADIUS packet as a value, and the strict reader that stands at the door.

Nothing gets past `parse` unless its lengths add up. It looks at bytes only: no secret, no dictionary values, no objects
besides one tuple per attribute, so it is cheap enough to run on every datagram an unknown sender cares to throw at us.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from aaa.wire.definitions import KNOWN_VENDORS

HEADER_OCTETS: Final = 20
LONGEST_PACKET_OCTETS: Final = 4096
MOST_ATTRIBUTES: Final = 200

USER_PASSWORD: Final = 2
VENDOR_SPECIFIC: Final = 26
PROXY_STATE: Final = 33
EAP_MESSAGE: Final = 79
MESSAGE_AUTHENTICATOR: Final = 80

# At most once, says the table of attributes in RFC 2865 5.44, RFC 2866 5.13 and RFC 2869 5.19. Enforced where a second
# one would leave it open who is meant or what is charged; a NAS that repeats, say, its NAS-Port-Type does no harm.
SINGLE_VALUED: Final = frozenset(
    {
        1,  # User-Name
        USER_PASSWORD,
        3,  # CHAP-Password
        24,  # State
        40,  # Acct-Status-Type
        41,  # Acct-Delay-Time
        42,  # Acct-Input-Octets
        43,  # Acct-Output-Octets
        44,  # Acct-Session-Id
        46,  # Acct-Session-Time
        47,  # Acct-Input-Packets
        48,  # Acct-Output-Packets
        49,  # Acct-Terminate-Cause
        52,  # Acct-Input-Gigawords
        53,  # Acct-Output-Gigawords
        55,  # Event-Timestamp
        60,  # CHAP-Challenge
        MESSAGE_AUTHENTICATOR,
    }
)


class Malformed(Exception):
    """These bytes are no packet we can read. The only exception that leaves this package for bytes from outside.

    `reason` is a short constant slug, fit for a counter: `length`, `code`, `attribute-chain`, `attribute-count`,
    `repeated-attribute`, `vendor-specific`, `message-authenticator`, `attribute-value`, `user-password`.
    `str()` says what is wrong and where, and never shows a value.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Code(IntEnum):
    """Packet types (RFC 2865 3, RFC 2866 3, RFC 5176 2.3, RFC 5997)."""

    ACCESS_REQUEST = 1
    ACCESS_ACCEPT = 2
    ACCESS_REJECT = 3
    ACCOUNTING_REQUEST = 4
    ACCOUNTING_RESPONSE = 5
    ACCESS_CHALLENGE = 11
    STATUS_SERVER = 12
    DISCONNECT_REQUEST = 40
    DISCONNECT_ACK = 41
    DISCONNECT_NAK = 42
    COA_REQUEST = 43
    COA_ACK = 44
    COA_NAK = 45


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet whose lengths add up. Nothing is verified or decoded yet.

    `authenticator` has 16 octets; `attributes` are (type, value octets) in the order received; `raw` is exactly the
    Length octets of the packet, without padding.
    """

    code: int
    identifier: int
    authenticator: bytes
    attributes: tuple[tuple[int, bytes], ...]
    raw: bytes

    def first(self, attribute_type: int) -> bytes | None:
        """The value of the first attribute of this type, or None."""
        for kind, value in self.attributes:
            if kind == attribute_type:
                return value
        return None

    def all(self, attribute_type: int) -> list[bytes]:
        """The values of all attributes of this type, in order."""
        return [value for kind, value in self.attributes if kind == attribute_type]


def parse(datagram: bytes, allowed: frozenset[int]) -> Packet:
    """Read one datagram; octets past Length are padding (RFC 2865 3).

    `allowed`: the packet codes welcome on this port. Raises Malformed and nothing else.
    """
    received = len(datagram)
    if received < HEADER_OCTETS:
        raise Malformed("length", f"{received} octets received, a packet has at least {HEADER_OCTETS}")
    length = datagram[2] << 8 | datagram[3]
    if not HEADER_OCTETS <= length <= LONGEST_PACKET_OCTETS:
        raise Malformed("length", f"Length says {length}, a packet has {HEADER_OCTETS} to {LONGEST_PACKET_OCTETS}")
    if length > received:
        raise Malformed("length", f"Length says {length}, but {received} octets were received")
    code = datagram[0]
    if code not in allowed:
        raise Malformed("code", f"code {code} has no business here")
    raw = datagram if length == received else datagram[:length]

    attributes: list[tuple[int, bytes]] = []
    offset = HEADER_OCTETS
    while offset < length:
        if offset + 1 == length:
            raise Malformed("attribute-chain", f"one octet left over at offset {offset}")
        end = offset + raw[offset + 1]
        if end > length or end < offset + 2:
            raise Malformed(
                "attribute-chain",
                f"attribute {raw[offset]} at offset {offset} says length {end - offset}, "
                f"{length - offset} octets are left and 2 is the least",
            )
        attributes.append((raw[offset], raw[offset + 2 : end]))
        offset = end
    _check(attributes)
    return Packet(code, raw[1], raw[4:20], tuple(attributes), raw)


def _check(attributes: list[tuple[int, bytes]]) -> None:
    """What can be said of attributes that are whole, without knowing their values."""
    types = [kind for kind, _ in attributes]
    distinct = set(types)
    if len(types) > MOST_ATTRIBUTES:
        raise Malformed("attribute-count", f"{len(types)} attributes, at most {MOST_ATTRIBUTES} are read")
    if len(distinct) != len(types):
        for kind in sorted(distinct & SINGLE_VALUED):
            if types.count(kind) > 1:
                raise Malformed("repeated-attribute", f"attribute {kind} stands {types.count(kind)} times")
    if VENDOR_SPECIFIC in distinct:
        for kind, value in attributes:
            if kind == VENDOR_SPECIFIC:
                _check_vendor_specific(value)
    if MESSAGE_AUTHENTICATOR in distinct:
        for kind, value in attributes:
            if kind == MESSAGE_AUTHENTICATOR and len(value) != 16:
                raise Malformed("message-authenticator", f"{len(value)} octets, it has 16")


def _check_vendor_specific(value: bytes) -> None:
    """RFC 2865 5.26: a vendor number, then type/length/value for the vendors of our dictionaries."""
    if len(value) < 4:
        raise Malformed("vendor-specific", f"{len(value)} octets are too few for a vendor number")
    vendor = int.from_bytes(value[:4], "big")
    if vendor in KNOWN_VENDORS and vendor_attributes(value) is None:
        raise Malformed(
            "vendor-specific", f"the attributes of vendor {vendor} do not add up to {len(value) - 4} octets"
        )


def vendor_attributes(value: bytes) -> list[tuple[int, bytes]] | None:
    """The (type, value octets) inside a Vendor-Specific value, or None when they do not chain (RFC 2865 5.26)."""
    length = len(value)
    if length < 6:
        return None
    inner: list[tuple[int, bytes]] = []
    offset = 4
    while offset < length:
        if offset + 1 == length:
            return None
        end = offset + value[offset + 1]
        if end > length or end < offset + 2:
            return None
        inner.append((value[offset], value[offset + 2 : end]))
        offset = end
    return inner
