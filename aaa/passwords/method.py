"""The ways in which a request proves a password."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final, Literal

from aaa.passwords import mschap
from aaa.passwords.credential import Credential, verify_secret
from aaa.passwords.mschap import MsChap1, MsChap2, PasswordChange
from aaa.passwords.nt import nt_hash

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
class Eap:
    """A step of an EAP conversation (RFC 3579); `aaa.eap` finds out what it proves."""

    message: bytes
    state: bytes | None
    framed_mtu: int | None


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A method that this server does not speak, or none, or two at once."""

    name: str


Method = Pap | Chap | MsChap1 | MsChap2 | PasswordChange | Eap | Unsupported

_NAMES: Final[dict[type[Method], str]] = {
    Pap: "PAP",
    Chap: "CHAP",
    MsChap1: "MS-CHAP",
    MsChap2: "MS-CHAPv2",
    PasswordChange: "MS-CHAP password change",
    Eap: "EAP",
}


def name_of(method: Method) -> str:
    """The method's name, for people."""
    return method.name if isinstance(method, Unsupported) else _NAMES[type(method)]


def verify(method: Method, credential: Credential) -> Verdict:
    """Check a method against what is kept, in constant time. A one-time code is not looked at: see `totp`."""
    if credential.totp is not None and not isinstance(method, Pap):
        return "method"
    match method:
        case Pap(password):
            return _verify_pap(password, credential)
        case Chap(identifier, response, challenge):
            if credential.clear is None:
                return "method"
            expected = hashlib.md5(bytes([identifier]) + credential.clear + challenge).digest()
            return _verdict(right=hmac.compare_digest(response, expected))
        case MsChap1() | MsChap2():
            nt = credential.known_nt_hash()
            return "method" if nt is None else _verdict(right=mschap.is_right(method, nt))
        case PasswordChange() | Eap() | Unsupported():
            return "method"


def _verify_pap(password: bytes, credential: Credential) -> Verdict:
    if credential.clear is not None:
        return _verdict(right=hmac.compare_digest(password, credential.clear))
    if credential.argon2 is not None:
        return "slow"
    if credential.nt is not None:
        return _verdict(right=hmac.compare_digest(nt_hash(password) or b"", credential.nt))
    if credential.sha256 is not None:
        return _verdict(right=verify_secret(credential.sha256, password))
    return "method"


def _verdict(*, right: bool) -> Verdict:
    return "right" if right else "wrong"
