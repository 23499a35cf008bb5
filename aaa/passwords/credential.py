"""What is kept of a password, and what can be checked with it."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, Literal, NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from aaa.passwords.nt import nt_hash

#: RFC 9106's second recommended choice needs 64 MiB; some hundred logins a second need less. OWASP's minimum.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)

Kept = Literal["argon2id", "reversible", "nt-hash", "secret", "none"]
"""How a password is kept: as a slow hash; as itself, encrypted; as its MD4 hash, encrypted; as a fast hash, which is enough for
a secret that was generated; or not at all."""

_THE_PASSWORD_ITSELF: Final = ("PAP", "EAP-GTC", "PEAP/GTC", "TTLS/PAP")
_ITS_NT_HASH: Final = ("MS-CHAP", "MS-CHAPv2", "EAP-MSCHAPv2", "PEAP/MSCHAPv2", "TTLS/MSCHAPv2")
_ITS_CLEAR_TEXT: Final = ("CHAP", "EAP-MD5", "TTLS/CHAP", "TTLS/EAP-MD5")
_NO_PASSWORD: Final = ("EAP-TLS",)

#: Which methods can be checked against what is kept. EAP-TLS asks for a certificate, whatever is kept.
ALLOWED_METHODS: Final[dict[Kept, tuple[str, ...]]] = {
    "argon2id": (*_THE_PASSWORD_ITSELF, *_NO_PASSWORD),
    "reversible": (*_THE_PASSWORD_ITSELF, *_ITS_NT_HASH, *_ITS_CLEAR_TEXT, *_NO_PASSWORD),
    "nt-hash": (*_THE_PASSWORD_ITSELF, *_ITS_NT_HASH, *_NO_PASSWORD),
    "secret": (*_THE_PASSWORD_ITSELF, *_NO_PASSWORD),
    "none": _NO_PASSWORD,
}


class Credential(NamedTuple):
    """What is kept of one password: one of the four, or nothing, where only a certificate lets in."""

    argon2: str | None = None
    clear: bytes | None = None
    nt: bytes | None = None
    """MD4 of the password (RFC 2759 section 8.3), 16 octets: all that MS-CHAP needs."""
    sha256: bytes | None = None
    """Of a generated secret, 32 octets."""
    totp: bytes | None = None
    """What the one-time codes behind the password are made from; None: there are none."""

    @property
    def kept(self) -> Kept:
        """How the password is kept."""
        if self.argon2 is not None:
            return "argon2id"
        if self.clear is not None:
            return "reversible"
        if self.nt is not None:
            return "nt-hash"
        return "none" if self.sha256 is None else "secret"

    def known_nt_hash(self) -> bytes | None:
        """The NT hash, kept or made from the clear text; None where there is none to be had."""
        return self.nt if self.clear is None else nt_hash(self.clear)


def allowed_methods(kept: Kept, *, with_code: bool) -> list[str]:
    """The methods that a subscriber can log in by. A one-time code is typed behind the password, so that must arrive as it is."""
    return [name for name in ALLOWED_METHODS[kept] if not with_code or name in (*_THE_PASSWORD_ITSELF, *_NO_PASSWORD)]


def hash_password(clear: bytes) -> str:
    """An argon2id hash for the database (some 20 ms of work)."""
    return _HASHER.hash(clear)


def verify_hash(stored: str, clear: bytes) -> bool:
    """Does the password fit the hash? As slow as hashing; call it off the reactor's thread."""
    try:
        return _HASHER.verify(stored, clear)
    except (VerificationError, InvalidHashError):
        return False


def hash_secret(clear: bytes) -> bytes:
    """SHA-256, for secrets that nobody could guess: generated ones of 128 bits and more."""
    return hashlib.sha256(clear).digest()


def verify_secret(stored: bytes, clear: bytes) -> bool:
    """Does the generated secret fit?"""
    return hmac.compare_digest(stored, hash_secret(clear))


#: What an unknown user's password is checked against, so that he costs as much time as a wrong password. The hash of octets
#: that nobody has kept, with the costs of `_HASHER`: made once and for all, because it takes as long as a tenth of a command.
UNKNOWN_USER: Final = Credential(
    "$argon2id$v=19$m=19456,t=2,p=1$EyJ/HchIEi1rkscplDg8Lg$PxZ+Tb5Owt0WnbVGz9GPCWFEQjtaMk2iCrWUc51qWmk", None
)
