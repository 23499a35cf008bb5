"""The ways in which a request proves a password."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Literal

from aaa.passwords.credential import Credential

Verdict = Literal["right", "wrong", "slow", "method"]
"""right, wrong; slow: only `verify_hash` in another thread can tell; method: this credential can not do this method."""


@dataclass(frozen=True, slots=True)
class Pap:
    """The password itself (RFC 2865 section 5.2), already revealed."""

    password: bytes


@dataclass(frozen=True, slots=True)
class Chap:
    """CHAP (RFC 2865 section 2.2): MD5 over identifier, password and challenge."""

    identifier: int
    response: bytes
    challenge: bytes


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A method that this server does not speak, or none, or two at once."""

    name: str


Method = Pap | Chap | Unsupported


def verify(method: Method, credential: Credential) -> Verdict:
    """Check a method against what is kept, in constant time."""
    match method:
        case Pap(password):
            if credential.clear is not None:
                return _verdict(right=hmac.compare_digest(password, credential.clear))
            return "slow"
        case Chap(identifier, response, challenge):
            if credential.clear is None:
                return "method"
            expected = hashlib.md5(bytes([identifier]) + credential.clear + challenge).digest()
            return _verdict(right=hmac.compare_digest(response, expected))
        case Unsupported():
            return "method"


def _verdict(*, right: bool) -> Verdict:
    return "right" if right else "wrong"
