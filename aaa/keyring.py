"""Secrets at rest: AES-256-GCM, bound to the place where they stand, under keys that can be changed.

A key file holds one key per line, `number:hex`; the largest number is the newest. What is sealed names its key's number, so old
rows stay readable while new ones use the new key.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from string import hexdigits

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_OCTETS = 32
_NONCE_OCTETS = 12
#: What is sealed names its key's number in two octets.
_HIGHEST_NUMBER = 65_535


class KeyRingError(Exception):
    """A key file that can not be used, or something sealed under a key that it does not hold."""


class KeyRing:
    """The keys of one installation; every node has the same."""

    def __init__(self, keys: dict[int, bytes]) -> None:
        if not keys:
            raise KeyRingError("a key ring needs at least one key")
        self._newest = max(keys)
        self._ciphers = {number: AESGCM(key) for number, key in keys.items()}
        # A token must be readable after a key change by every node, so all keys can check and the newest signs.
        self._token_keys = {n: hmac.digest(key, b"class token", "sha256") for n, key in keys.items()}

    @property
    def token_keys(self) -> list[bytes]:
        """Keys for signing what NASes carry for us, the newest first."""
        return [self._token_keys[n] for n in sorted(self._token_keys, reverse=True)]

    def seal(self, place: str, clear: bytes) -> bytes:
        """Encrypt for one place, such as `nas.secret:bras-1`; it can not be opened anywhere else."""
        nonce = secrets.token_bytes(_NONCE_OCTETS)
        return (
            self._newest.to_bytes(2, "big") + nonce + self._ciphers[self._newest].encrypt(nonce, clear, place.encode())
        )

    def open(self, place: str, sealed: bytes) -> bytes:
        """The clear text of what `seal` made for the same place; KeyRingError otherwise."""
        number = int.from_bytes(sealed[:2], "big")
        cipher = self._ciphers.get(number)
        if cipher is None:
            raise KeyRingError(f"{place} is sealed with key {number}, which this key file does not hold")
        nonce, body = sealed[2 : 2 + _NONCE_OCTETS], sealed[2 + _NONCE_OCTETS :]
        try:
            return cipher.decrypt(nonce, body, place.encode())
        except (InvalidTag, ValueError) as error:
            raise KeyRingError(
                f"{place} can not be opened: changed in the database, or sealed for another place"
            ) from error


def nas_secret(name: str) -> str:
    """The place of a NAS's shared secret."""
    return f"nas.secret:{name}"


def subscriber_password(username: str) -> str:
    """The place of a subscriber's reversible password."""
    return f"subscriber.password:{username}"


def subscriber_nt_hash(username: str) -> str:
    """The place of a subscriber's NT hash."""
    return f"subscriber.nt:{username}"


def subscriber_totp(username: str) -> str:
    """The place of the secret that a subscriber's one-time codes are made from."""
    return f"subscriber.totp:{username}"


def load(path: Path) -> KeyRing:
    """The keys of a file; KeyRingError says what is wrong with it."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyRingError(f"{path}: {error}") from error
    keys: dict[int, bytes] = {}
    for line_no, line in enumerate(text.splitlines(), start=1):
        digits, _, key = line.strip().partition(":")
        number = int(digits) if digits.isascii() and digits.isdecimal() else 0
        if not 1 <= number <= _HIGHEST_NUMBER or not _is_key(key):
            raise KeyRingError(
                f"{path}:{line_no}: a line is NUMBER:KEY, a number from 1 to {_HIGHEST_NUMBER} and the key as "
                f"{2 * _KEY_OCTETS} hexadecimal digits"
            )
        if number in keys:
            raise KeyRingError(f"{path}:{line_no}: there is a key {number} already; each has a number of its own")
        keys[number] = bytes.fromhex(key)
    if not keys:
        raise KeyRingError(f"{path} is empty: a line is NUMBER:KEY")
    return KeyRing(keys)


def _is_key(text: str) -> bool:
    return len(text) == 2 * _KEY_OCTETS and set(text) <= set(hexdigits)


def create(path: Path) -> KeyRing:
    """A new key file that only its owner can read. KeyRingError when it exists: keys are never written over."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise KeyRingError(f"{path}: {error}") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"1:{secrets.token_hex(_KEY_OCTETS)}\n")
        file.flush()
        os.fsync(file.fileno())
    return load(path)
