"""What is kept of a password, and what can be checked with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

#: RFC 9106's second recommended choice needs 64 MiB; some hundred logins a second need less. OWASP's minimum.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)


@dataclass(frozen=True, slots=True)
class Credential:
    """One of the two: a hash that only PAP can be checked against, or the clear text that CHAP needs."""

    argon2: str | None
    clear: bytes | None


def hash_password(clear: bytes) -> str:
    """An argon2id hash for the database (some 20 ms of work)."""
    return _HASHER.hash(clear)


def verify_hash(stored: str, clear: bytes) -> bool:
    """Does the password fit the hash? As slow as hashing; call it off the reactor's thread."""
    try:
        return _HASHER.verify(stored, clear)
    except (VerificationError, InvalidHashError):
        return False


#: What an unknown user's password is checked against, so that he costs as much time as a wrong password.
UNKNOWN_USER: Final = Credential(hash_password(b"nobody has this password"), None)
