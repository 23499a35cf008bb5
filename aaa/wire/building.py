"""Packets of our own: replies, and the requests of a client (CoA, Disconnect, the simulated NAS).

What does not fit raises ValueError naming the attribute and its value: that is our fault, never the sender's.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from aaa.wire.definitions import HIDDEN, SALTED, Definition
from aaa.wire.keyed_hash import hmac_digest
from aaa.wire.packet import (
    EAP_MESSAGE,
    HEADER_OCTETS,
    LONGEST_PACKET_OCTETS,
    MESSAGE_AUTHENTICATOR,
    PROXY_STATE,
    VENDOR_SPECIFIC,
    Code,
    Packet,
)
from aaa.wire.signing import (
    NO_AUTHENTICATOR,
    NONCE_REQUESTS,
    SIGNED_REQUESTS,
    checksum,
    hide_password,
    hide_salted,
)
from aaa.wire.values import (
    HIGHEST_TAG,
    LONGEST_VALUE_OCTETS,
    LONGEST_VENDOR_VALUE_OCTETS,
    Attribute,
    Value,
    encode_value,
    find,
)

AUTHENTICATOR_OCTETS: Final = 16
LONGEST_SALTED_OCTETS: Final = 239  # with its length 15 blocks of 16; with a sixteenth it would not fit an attribute
_ADDED_HERE: Final = frozenset({MESSAGE_AUTHENTICATOR, PROXY_STATE})
_EMPTY_MESSAGE_AUTHENTICATOR: Final = bytes((MESSAGE_AUTHENTICATOR, 18)) + bytes(16)


def reply(
    code: int, request: Packet, attributes: Sequence[Attribute], secret: bytes, *, message_authenticator: bool
) -> bytes:
    """A signed reply: Message-Authenticator first (CVE-2024-3596), `attributes` in order, then every Proxy-State of
    the request in its order (RFC 2865 5.33). Accept, Reject, Challenge and all answers to Status-Server want
    `message_authenticator=True`. Tunnel-Password and MPPE keys are given in clear and go out salted.

    ValueError when an attribute does not fit, or the packet would exceed 4096 octets.
    """
    parts = [_EMPTY_MESSAGE_AUTHENTICATOR] if message_authenticator else []
    if attributes:
        parts += _encode(attributes, secret, request.authenticator, reserved=(MESSAGE_AUTHENTICATOR, PROXY_STATE))
    for kind, value in request.attributes:
        if kind == PROXY_STATE:
            parts.append(bytes((PROXY_STATE, 2 + len(value))) + value)
    body = b"".join(parts)
    head = _head(code, request.identifier, body)
    if message_authenticator:
        body = _with_message_authenticator(head, request.authenticator, body, secret)
    return b"".join((head, checksum(head, request.authenticator, body, secret), body))


def request(
    code: int,
    identifier: int,
    attributes: Sequence[Attribute],
    secret: bytes,
    *,
    authenticator: bytes | None = None,
    message_authenticator: bool,
) -> bytes:
    """A request of ours, ready to send; with a Message-Authenticator, that is its first attribute.

    Access-Request and Status-Server: `authenticator` is 16 octets, fresh random ones when None, and a User-Password
    given in clear goes out hidden. Accounting-, CoA- and Disconnect-Request: it is computed, and must not be given.
    ValueError when something does not fit.
    """
    if code in SIGNED_REQUESTS:
        if authenticator is not None:
            raise ValueError(f"the authenticator of a request with code {code} is computed")
        start = NO_AUTHENTICATOR
    elif code in NONCE_REQUESTS:
        start = secrets.token_bytes(AUTHENTICATOR_OCTETS) if authenticator is None else authenticator
        if len(start) != AUTHENTICATOR_OCTETS:
            raise ValueError(f"an authenticator has 16 octets, not {len(start)}")
    else:
        raise ValueError(f"code {code} is no request")
    if not 0 <= identifier <= 255:
        raise ValueError(f"identifier {identifier} is not from 0 to 255")
    hiding = start if code == Code.ACCESS_REQUEST else None
    parts = [_EMPTY_MESSAGE_AUTHENTICATOR] if message_authenticator else []
    parts += _encode(attributes, secret, hiding, reserved=(MESSAGE_AUTHENTICATOR,))
    body = b"".join(parts)
    head = _head(code, identifier, body)
    if message_authenticator:
        body = _with_message_authenticator(head, start, body, secret)
    if code in SIGNED_REQUESTS:
        start = checksum(head, NO_AUTHENTICATOR, body, secret)
    return b"".join((head, start, body))


def _head(code: int, identifier: int, body: bytes) -> bytes:
    """Code, identifier and length."""
    length = HEADER_OCTETS + len(body)
    if length > LONGEST_PACKET_OCTETS:
        raise ValueError(f"the packet has {length} octets, {LONGEST_PACKET_OCTETS} is the most")
    return bytes((code, identifier, length >> 8, length & 0xFF))


def _with_message_authenticator(head: bytes, authenticator: bytes, body: bytes, secret: bytes) -> bytes:
    """The body with its first attribute, an empty Message-Authenticator, filled in (RFC 3579 3.2)."""
    return body[:2] + hmac_digest(secret, head + authenticator + body, "md5") + body[18:]


def _encode(
    attributes: Sequence[Attribute], secret: bytes, authenticator: bytes | None, *, reserved: tuple[int, ...]
) -> list[bytes]:
    """The octets of attributes. `authenticator`: what hidden values are hidden with, None where none may go out."""
    encoded: list[bytes] = []
    salt = 0
    for name, value in attributes:
        if not isinstance(value, bytes):
            plain = _plain(name, value)
            if plain is not None:
                encoded.append(plain)
                continue
        vendor, kind, tag, definition = find(name)
        if not vendor and kind in reserved:
            raise ValueError(f"{name} is not given: it is added where it belongs")
        if definition is None:
            if not isinstance(value, bytes):
                raise ValueError(f"{name} = {value!r}: a numbered attribute takes bytes")
            octets = value
        else:
            octets = encode_value(name, definition, value)
            if not octets and definition.encryption != HIDDEN:
                raise ValueError(f"{name} is empty: leave it out (RFC 2865 5)")
            if definition.encryption and authenticator is None:
                raise ValueError(f"{name} can not be hidden in this kind of packet")
            if definition.encryption == HIDDEN and authenticator is not None:
                octets = hide_password(octets, secret, authenticator)
            elif definition.encryption == SALTED and authenticator is not None:
                # Any start will do, but no two salts of a packet may be equal (RFC 2868 section 3.5).
                salt = (salt + 1 if salt else secrets.randbits(15)) & 0xFFFF | 0x8000
                if len(octets) > LONGEST_SALTED_OCTETS:
                    raise ValueError(f"{name} has {len(octets)} octets, {LONGEST_SALTED_OCTETS} is the most")
                octets = hide_salted(octets, secret, authenticator, salt.to_bytes(2, "big"))
            if definition.tagged:
                octets = _tagged(definition, tag, octets)
        encoded.append(_attribute(name, value, vendor, kind, octets))
    return encoded


@lru_cache(maxsize=4096, typed=True)
def _plain(name: str, value: int | str) -> bytes | None:
    """An attribute that nothing is hidden in and nobody else adds, as it goes out; None for others. A profile's rates
    and filters go out with every login, so they are encoded once."""
    vendor, kind, tag, definition = find(name)
    if definition is None or definition.encryption or (not vendor and kind in _ADDED_HERE):
        return None
    octets = encode_value(name, definition, value)
    if not octets:
        return None
    return _attribute(name, value, vendor, kind, _tagged(definition, tag, octets) if definition.tagged else octets)


def _tagged(definition: Definition, tag: int, octets: bytes) -> bytes:
    """The octets with their tag (RFC 2868): in the first of an integer's four octets, or before a string, where a tag
    of 0 is left out if it can be: not every NAS skips it."""
    if definition.datatype == "integer":
        return bytes((tag,)) + octets[1:]
    if tag or octets[0] <= HIGHEST_TAG or definition.encryption:
        return bytes((tag,)) + octets
    return octets


def _attribute(name: str, value: Value, vendor: int, kind: int, octets: bytes) -> bytes:
    """Type and length before the octets; ValueError when they are too many for one attribute."""
    if vendor:
        most = LONGEST_VENDOR_VALUE_OCTETS + 2 if kind < 0 else LONGEST_VENDOR_VALUE_OCTETS
        head = b"" if kind < 0 else bytes((kind, (2 + len(octets)) & 0xFF))
        octets, before = vendor.to_bytes(4, "big") + head + octets, len(octets)
        kind = VENDOR_SPECIFIC
    elif kind == EAP_MESSAGE:
        pieces = [octets[at : at + LONGEST_VALUE_OCTETS] for at in range(0, len(octets), LONGEST_VALUE_OCTETS)] or [b""]
        return b"".join(bytes((EAP_MESSAGE, 2 + len(piece))) + piece for piece in pieces)
    else:
        most = LONGEST_VALUE_OCTETS
        before = len(octets)
    if before > most:
        raise ValueError(f"{name} has {before} octets, {most} is the most: {value!r:.40}")
    return bytes((kind, 2 + len(octets))) + octets
