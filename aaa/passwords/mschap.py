"""MS-CHAP version 1 (RFC 2433) and 2 (RFC 2759): both prove that one knows the password's NT hash. DES in place of a hash is what
they are defined on."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha1
from typing import Final

from Crypto.Cipher import DES

from aaa.passwords.nt import hash_of_hash

RESPONSE_OCTETS: Final = 24
CHALLENGE_OCTETS: Final = 16
CHALLENGE_1_OCTETS: Final = 8

# RFC 2433 section 9, RFC 2759 section 6
RESTRICTED_LOGON_HOURS: Final = 646
ACCOUNT_DISABLED: Final = 647
NO_DIALIN_PERMISSION: Final = 649
AUTHENTICATION_FAILURE: Final = 691
ERROR_CHANGING_PASSWORD: Final = 709

_MAGIC_1: Final = b"Magic server to client signing constant"
_MAGIC_2: Final = b"Pad to make it do more than one iteration"


@dataclass(frozen=True, slots=True)
class MsChap1:
    """An MS-CHAP-Response (RFC 2548 section 2.1.3) whose NT part is used."""

    identifier: int
    challenge: bytes
    nt_response: bytes


@dataclass(frozen=True, slots=True)
class MsChap2:
    """An MS-CHAP2-Response (RFC 2548 section 2.3.2) or its like in EAP; `name` as the client says it."""

    identifier: int
    challenge: bytes
    peer_challenge: bytes
    nt_response: bytes
    name: bytes


@dataclass(frozen=True, slots=True)
class PasswordChange:
    """MS-CHAP-CPW-1, -2 or MS-CHAP2-CPW (RFC 2548 sections 2.1.5, 2.1.6, 2.3.4): a wish that is refused; passwords are
    changed where subscribers are kept."""

    identifier: int


MsChap = MsChap1 | MsChap2


def is_right(method: MsChap, nt: bytes) -> bool:
    """Was the response made with this NT hash? In constant time."""
    return hmac.compare_digest(method.nt_response, challenge_response(_eight_octets(method), nt))


def challenge_hash(peer_challenge: bytes, challenge: bytes, name: bytes) -> bytes:
    """The 8 octets that are answered in version 2 (RFC 2759 section 8.2). A domain before the name is not part of it."""
    user = name.rpartition(b"\\")[2]
    return sha1(peer_challenge + challenge + user, usedforsecurity=False).digest()[:8]


def challenge_response(challenge: bytes, nt: bytes) -> bytes:
    """The NT response, 24 octets, to a challenge of 8 (RFC 2433 appendix A.5, RFC 2759 section 8.5)."""
    padded = nt.ljust(21, b"\0")
    return b"".join(_des(padded[at : at + 7], challenge) for at in (0, 7, 14))


def authenticator_response(method: MsChap2, nt: bytes) -> bytes:
    """What proves the server to the client: `S=` and 40 hexadecimal digits (RFC 2759 section 8.7)."""
    first = sha1(hash_of_hash(nt) + method.nt_response + _MAGIC_1, usedforsecurity=False).digest()
    second = sha1(first + _eight_octets(method) + _MAGIC_2, usedforsecurity=False).hexdigest()
    return b"S=" + second.upper().encode("ascii")


def failure(error: int, challenge: bytes) -> bytes:
    """The text of a refusal: which error, and that there is no retry. Version 2 wants a challenge for one nevertheless (RFC 2433
    section 9, RFC 2759 section 6)."""
    if len(challenge) == CHALLENGE_1_OCTETS:
        return b"E=%d R=0 V=2" % error
    return b"E=%d R=0 C=%s V=3 M=Access denied" % (error, challenge.hex().upper().encode("ascii"))


def _eight_octets(method: MsChap) -> bytes:
    if isinstance(method, MsChap1):
        return method.challenge
    return challenge_hash(method.peer_challenge, method.challenge, method.name)


def _des(seven_octets: bytes, block: bytes) -> bytes:
    """One block under a key of 56 bits, spread over 8 octets (RFC 2759 section 8.6; the lowest bits are parity)."""
    bits = int.from_bytes(seven_octets, "big")
    key = bytes((bits >> shift & 0x7F) << 1 for shift in range(49, -1, -7))
    return DES.new(key, DES.MODE_ECB).encrypt(block)  # noqa: S304  what MS-CHAP is defined on
