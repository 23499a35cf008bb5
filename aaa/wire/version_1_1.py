"""RADIUS/1.1 (RFC 9765) at the edge of a TLS connection: its packets, and the same ones in the words of RADIUS 1.0.

In 1.1 TLS does what MD5 did: nothing is hidden and nothing is signed, and a Token of 32 bits takes the place of Identifier and
Authenticator. The rest of RADIUS is as it was. So a packet is translated where it comes in and where it goes out, signed
with a secret that never leaves this process, and nothing else knows that there are two versions.
"""

from __future__ import annotations

import hmac
from typing import Final

from aaa.wire.definitions import BY_NUMBER, HIDDEN, SALTED
from aaa.wire.packet import (
    EAP_MESSAGE,
    HEADER_OCTETS,
    LONGEST_PACKET_OCTETS,
    MESSAGE_AUTHENTICATOR,
    USER_PASSWORD,
    VENDOR_SPECIFIC,
    Code,
    Malformed,
    Packet,
    parse,
    vendor_attributes,
)
from aaa.wire.signing import (
    LONGEST_PASSWORD_OCTETS,
    NO_AUTHENTICATOR,
    NONCE_REQUESTS,
    SIGNED_REQUESTS,
    checksum,
    hide_password,
    reveal_hidden,
    reveal_salted,
)

TOKEN_OCTETS: Final = 4
_TOKEN: Final = slice(4, 4 + TOKEN_OCTETS)
_RESERVED_2: Final = bytes(12)
_REQUESTS: Final = SIGNED_REQUESTS | NONCE_REQUESTS


def token_of(octets: bytes) -> bytes:
    """The Token of a packet in 1.1."""
    return octets[_TOKEN]


def request_in_1_0(octets: bytes, secret: bytes) -> bytes:
    """A request that came in 1.1, as it would have come in 1.0 from somebody with this secret.

    Malformed where it is no packet, or its User-Password has a length that no password has.
    """
    packet = parse(octets, _REQUESTS)
    # The Token is different for every request of a connection, which is what an authenticator is for here.
    nonce = token_of(octets) + _RESERVED_2
    parts: list[bytes] = []
    signed = packet.code == Code.STATUS_SERVER or packet.first(EAP_MESSAGE) is not None
    if signed:
        parts.append(_attribute(MESSAGE_AUTHENTICATOR, bytes(16)))
    for kind, value in packet.attributes:
        if kind == MESSAGE_AUTHENTICATOR:
            continue  # RFC 9765 section 5.2: it says nothing here
        if kind == USER_PASSWORD:
            if not 0 < len(value) <= LONGEST_PASSWORD_OCTETS:
                raise Malformed("user-password", f"{len(value)} octets, it has 1 to {LONGEST_PASSWORD_OCTETS}")
            parts.append(_attribute(kind, hide_password(value, secret, nonce)))
        else:
            parts.append(_attribute(kind, value))
    body = b"".join(parts)
    head = _head(packet.code, octets[7], body)
    start = NO_AUTHENTICATOR if packet.code in SIGNED_REQUESTS else nonce
    if signed:
        body = body[:2] + hmac.digest(secret, head + start + body, "md5") + body[18:]
    if packet.code in SIGNED_REQUESTS:
        start = checksum(head, NO_AUTHENTICATOR, body, secret)
    return b"".join((head, start, body))


def reply_in_1_1(octets: bytes, request: bytes, token: bytes, secret: bytes) -> bytes:
    """Our reply in 1.0 to this request in 1.0, as it goes out in 1.1 to the request with this Token."""
    packet = parse(octets, frozenset({octets[0]}))
    return _in_1_1(packet, token, secret, request[4:HEADER_OCTETS])


def request_in_1_1(octets: bytes, token: bytes) -> bytes:
    """A CoA- or Disconnect-Request of ours, made in 1.0, as it goes out in 1.1. Nothing can be hidden in these."""
    packet = parse(octets, SIGNED_REQUESTS)
    return _in_1_1(packet, token, b"", NO_AUTHENTICATOR)


def reply_in_1_0(octets: bytes, request: bytes, secret: bytes) -> bytes:
    """A reply that came in 1.1 to that request of ours, as it would have come in 1.0. Malformed where it is no packet."""
    packet = parse(octets, frozenset({octets[0]}))
    kept = [_attribute(kind, value) for kind, value in packet.attributes if kind != MESSAGE_AUTHENTICATOR]
    body = b"".join(kept)
    head = _head(packet.code, request[1], body)
    return b"".join((head, checksum(head, request[4:HEADER_OCTETS], body, secret), body))


def _in_1_1(packet: Packet, token: bytes, secret: bytes, authenticator: bytes) -> bytes:
    parts = [
        _attribute(kind, _revealed(kind, value, secret, authenticator))
        for kind, value in packet.attributes
        if kind != MESSAGE_AUTHENTICATOR
    ]
    body = b"".join(parts)
    return b"".join((_head(packet.code, 0, body), token, _RESERVED_2, body))


def _revealed(kind: int, value: bytes, secret: bytes, authenticator: bytes) -> bytes:
    """The value as its plain type (RFC 9765 section 5.1)."""
    if kind != VENDOR_SPECIFIC:
        return _clear(0, kind, value, secret, authenticator)
    vendor = int.from_bytes(value[:4], "big")
    inner = vendor_attributes(value)
    if inner is None:
        return value
    parts = ((each, _clear(vendor, each, octets, secret, authenticator)) for each, octets in inner)
    return value[:4] + b"".join(_attribute(each, octets) for each, octets in parts)


def _clear(vendor: int, kind: int, value: bytes, secret: bytes, authenticator: bytes) -> bytes:
    definition = BY_NUMBER.get((vendor, kind))
    if definition is None or not definition.encryption:
        return value
    if definition.encryption == SALTED:
        tag = value[:1] if definition.tagged else b""
        return tag + reveal_salted(value[len(tag) :], secret, authenticator)
    return reveal_hidden(value, secret, authenticator) if definition.encryption == HIDDEN else value


def _attribute(kind: int, value: bytes) -> bytes:
    return bytes((kind, 2 + len(value))) + value


def _head(code: int, identifier: int, body: bytes) -> bytes:
    length = HEADER_OCTETS + len(body)
    if length > LONGEST_PACKET_OCTETS:
        raise Malformed("length", f"{length} octets in RADIUS 1.0, where {LONGEST_PACKET_OCTETS} is the most")
    return bytes((code, identifier, length >> 8, length & 0xFF))
