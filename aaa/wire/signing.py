"""Authenticators, hidden passwords and salted keys: everything that takes the shared secret. All comparisons take
the same time for every wrong value. MD5 is what RADIUS is defined on."""

from __future__ import annotations

import hmac
from hashlib import md5
from typing import Final

from aaa.wire.keyed_hash import hmac_digest
from aaa.wire.packet import (
    HEADER_OCTETS,
    MESSAGE_AUTHENTICATOR,
    USER_PASSWORD,
    Code,
    Malformed,
    Packet,
)

NO_AUTHENTICATOR: Final = bytes(16)
BLOCK_OCTETS: Final = 16
LONGEST_PASSWORD_OCTETS: Final = 128

# Requests whose authenticator is a checksum over the packet (RFC 2866 3, RFC 5176 2.3)
SIGNED_REQUESTS: Final = frozenset({Code.ACCOUNTING_REQUEST, Code.DISCONNECT_REQUEST, Code.COA_REQUEST})
# Requests whose authenticator is a random number (RFC 2865 3, RFC 5997 3)
NONCE_REQUESTS: Final = frozenset({Code.ACCESS_REQUEST, Code.STATUS_SERVER})

_REPLIES_TO: Final[dict[int, frozenset[int]]] = {
    Code.ACCESS_REQUEST: frozenset({Code.ACCESS_ACCEPT, Code.ACCESS_REJECT, Code.ACCESS_CHALLENGE}),
    Code.ACCOUNTING_REQUEST: frozenset({Code.ACCOUNTING_RESPONSE}),
    Code.STATUS_SERVER: frozenset({Code.ACCESS_ACCEPT, Code.ACCOUNTING_RESPONSE}),
    Code.DISCONNECT_REQUEST: frozenset({Code.DISCONNECT_ACK, Code.DISCONNECT_NAK}),
    Code.COA_REQUEST: frozenset({Code.COA_ACK, Code.COA_NAK}),
}


def checksum(head: bytes, authenticator: bytes, body: bytes, secret: bytes) -> bytes:
    """MD5 over code, identifier and length; this authenticator; the attributes; the secret (RFC 2865 3, RFC 2866 3)."""
    return md5(b"".join((head, authenticator, body, secret)), usedforsecurity=False).digest()


def verify_request(packet: Packet, secret: bytes) -> bool:
    """Whether the Request Authenticator of an Accounting-, Disconnect- or CoA-Request is right (RFC 2866 3, RFC 5176 2.3).

    True for Access-Request and Status-Server: theirs is random and proves nothing; see `message_authenticator`.
    """
    if packet.code in SIGNED_REQUESTS:
        raw = packet.raw
        return hmac.compare_digest(packet.authenticator, checksum(raw[:4], NO_AUTHENTICATOR, raw[20:], secret))
    return packet.code in NONCE_REQUESTS


def message_authenticator(packet: Packet, secret: bytes, request_authenticator: bytes | None = None) -> bool | None:
    """Whether the Message-Authenticator is right (RFC 3579 3.2, RFC 5176 3.4, RFC 5997 3); None when there is none.

    For a reply, `request_authenticator` is that of the request it answers; a request needs none.
    """
    offset = HEADER_OCTETS
    for kind, value in packet.attributes:
        if kind == MESSAGE_AUTHENTICATOR:
            break
        offset += 2 + len(value)
    else:
        return None
    if packet.code in NONCE_REQUESTS:
        authenticator = packet.authenticator
    elif packet.code in SIGNED_REQUESTS:
        authenticator = NO_AUTHENTICATOR
    elif request_authenticator is not None:
        authenticator = request_authenticator
    else:
        return False
    raw = packet.raw
    covered = b"".join((raw[:4], authenticator, raw[20 : offset + 2], bytes(16), raw[offset + 18 :]))
    return hmac.compare_digest(value, hmac_digest(secret, covered, "md5"))


def verify_reply(reply: Packet, request_raw: bytes, secret: bytes) -> bool:
    """Whether this reply answers exactly that request: code, identifier, Response Authenticator, and the
    Message-Authenticator where there is one (RFC 2865 3, RFC 5176 2.3). False for everything else."""
    if len(request_raw) < HEADER_OCTETS or reply.identifier != request_raw[1]:
        return False
    if reply.code not in _REPLIES_TO.get(request_raw[0], ()):
        return False
    request_authenticator = request_raw[4:20]
    expected = checksum(reply.raw[:4], request_authenticator, reply.raw[20:], secret)
    if not hmac.compare_digest(reply.authenticator, expected):
        return False
    return message_authenticator(reply, secret, request_authenticator) is not False


def decode_password(packet: Packet, secret: bytes) -> bytes:
    """The clear User-Password of an Access-Request, without its padding (RFC 2865 5.2).

    Any octets may come out: a wrong secret or a wrong password look alike. Malformed when there is no User-Password
    or its length is not a multiple of 16 from 16 to 128.
    """
    hidden = packet.first(USER_PASSWORD)
    if hidden is None:
        raise Malformed("user-password", "there is none")
    if not hidden or len(hidden) % BLOCK_OCTETS or len(hidden) > LONGEST_PASSWORD_OCTETS:
        raise Malformed("user-password", f"{len(hidden)} octets, it has 16, 32, … or 128")
    return reveal_hidden(hidden, secret, packet.authenticator).rstrip(b"\0")


def reveal_hidden(hidden: bytes, secret: bytes, request_authenticator: bytes) -> bytes:
    """The clear octets of a value hidden as a User-Password is, with its padding. `hidden`: a multiple of 16 octets."""
    return _unmask(hidden, secret, request_authenticator)


def hide_password(clear: bytes, secret: bytes, request_authenticator: bytes) -> bytes:
    """A User-Password as it goes over the wire (RFC 2865 5.2). ValueError above 128 octets."""
    if len(clear) > LONGEST_PASSWORD_OCTETS:
        raise ValueError(f"User-Password has {len(clear)} octets, {LONGEST_PASSWORD_OCTETS} is the most (RFC 2865 5.2)")
    padded = clear.ljust(max(BLOCK_OCTETS, -(-len(clear) // BLOCK_OCTETS) * BLOCK_OCTETS), b"\0")
    return _mask(padded, secret, request_authenticator)


def hide_salted(clear: bytes, secret: bytes, request_authenticator: bytes, salt: bytes) -> bytes:
    """A Tunnel-Password or MPPE key as it goes over the wire: salt, then the masked length, value and padding
    (RFC 2868 3.5, RFC 2548 2.4.2). `salt`: 2 octets, the first bit set, different for every attribute of a packet."""
    counted = bytes((len(clear),)) + clear
    padded = counted.ljust(-(-len(counted) // BLOCK_OCTETS) * BLOCK_OCTETS, b"\0")
    return salt + _mask(padded, secret, request_authenticator + salt)


def reveal_salted(hidden: bytes, secret: bytes, request_authenticator: bytes) -> bytes:
    """The clear value of a salted attribute (RFC 2868 3.5, without its tag). Malformed when that is impossible."""
    salt, masked = hidden[:2], hidden[2:]
    if not masked or len(masked) % BLOCK_OCTETS:
        raise Malformed("attribute-value", f"a salted value of {len(hidden)} octets, it has 2 and a multiple of 16")
    clear = _unmask(masked, secret, request_authenticator + salt)
    if clear[0] >= len(clear):
        raise Malformed("attribute-value", "a salted value longer than its attribute: is the secret right?")
    return clear[1 : 1 + clear[0]]


def _mask(padded: bytes, secret: bytes, start: bytes) -> bytes:
    """Each block xor MD5(secret, previous masked block); `start` stands for the block before the first."""
    masked: list[bytes] = []
    previous = start
    for offset in range(0, len(padded), BLOCK_OCTETS):
        previous = _xor(padded[offset : offset + BLOCK_OCTETS], secret, previous)
        masked.append(previous)
    return b"".join(masked)


def _unmask(masked: bytes, secret: bytes, start: bytes) -> bytes:
    """The inverse of `_mask`."""
    clear: list[bytes] = []
    previous = start
    for offset in range(0, len(masked), BLOCK_OCTETS):
        block = masked[offset : offset + BLOCK_OCTETS]
        clear.append(_xor(block, secret, previous))
        previous = block
    return b"".join(clear)


def _xor(block: bytes, secret: bytes, previous: bytes) -> bytes:
    key = md5(secret + previous, usedforsecurity=False).digest()
    return (int.from_bytes(block, "big") ^ int.from_bytes(key, "big")).to_bytes(BLOCK_OCTETS, "big")
