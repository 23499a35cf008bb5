"""Secrets at rest: AES-256-GCM, bound to the place where they stand, under keys that can be changed.

A key file holds one key per line, `NUMBER:HEX`; the largest number is the newest. What is sealed names its key's number, so old
rows stay readable while new ones use the new key. `NUMBER:HEX:prepared` is a key that opens and does not seal yet: every
node must have it first. `NUMBER:HEX:INSTANT` says since when it seals.
"""

from __future__ import annotations

import hmac
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from string import hexdigits
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_OCTETS = 32
_NONCE_OCTETS = 12
#: What is sealed names its key's number in two octets.
NUMBER_OCTETS: Final = 2
_HIGHEST_NUMBER = 65_535
PREPARED: Final = "prepared"


class KeyRingError(Exception):
    """A key file that can not be used, or something sealed under a key that it does not hold."""


class Key(NamedTuple):
    """One line of a key file."""

    octets: bytes
    prepared: bool = False
    """It opens and does not seal yet."""
    since: int | None = None
    """The instant (ms) since which it seals; None where nobody noted it."""


class KeyRing:
    """The keys of one installation; every node has the same. With `file` a ring follows its file: keys that are added there are
    taken up while the server runs, and none is forgotten before it ends."""

    def __init__(self, keys: Mapping[int, bytes | Key], *, file: Path | None = None) -> None:
        self._file = file
        self._looked_at = _mark(file)
        self._ciphers: dict[int, AESGCM] = {}
        self._of_tokens: dict[int, bytes] = {}
        #: One list for as long as the server runs: who was given it sees new keys.
        self.token_keys: list[bytes] = []
        """Keys for signing what NASes carry for us: the one that seals first, then the others, the newest first."""
        self._take({number: key if isinstance(key, Key) else Key(key) for number, key in keys.items()})

    def _take(self, keys: Mapping[int, Key]) -> None:
        sealing = [number for number, key in keys.items() if not key.prepared]
        if not sealing:
            raise KeyRingError("a key ring needs at least one key that is not only prepared")
        self._ciphers |= {number: AESGCM(key.octets) for number, key in keys.items()}
        # A token must be readable after a key change by every node, so all keys can check and one signs.
        self._of_tokens |= {n: hmac.digest(key.octets, b"class token", "sha256") for n, key in keys.items()}
        self.newest = max(sealing)
        """The number of the key that seals."""
        others = sorted(self._of_tokens.keys() - {self.newest}, reverse=True)
        self.token_keys[:] = [self._of_tokens[n] for n in (self.newest, *others)]

    @property
    def numbers(self) -> frozenset[int]:
        """The keys that can be used."""
        return frozenset(self._ciphers)

    def refresh(self) -> bool:
        """Take up what was added to the file; was there anything? KeyRingError where it can not be read: the keys stay."""
        mark = _mark(self._file)
        if self._file is None or mark is None or mark == self._looked_at:
            return False
        self._looked_at = mark  # a file with a fault is complained of once
        self._take(load_keys(self._file))
        return True

    def seal(self, place: str, clear: bytes) -> bytes:
        """Encrypt for one place, such as `nas.secret:bras-1`; it can not be opened anywhere else."""
        nonce = secrets.token_bytes(_NONCE_OCTETS)
        number = self.newest
        return (
            number.to_bytes(NUMBER_OCTETS, "big") + nonce + self._ciphers[number].encrypt(nonce, clear, place.encode())
        )

    def open(self, place: str, sealed: bytes) -> bytes:
        """The clear text of what `seal` made for the same place; KeyRingError otherwise."""
        number = number_of(sealed)
        if number not in self._ciphers:
            self.refresh()
        cipher = self._ciphers.get(number)
        if cipher is None:
            raise KeyRingError(f"{place} is sealed with key {number}, which this key file does not hold")
        nonce, body = sealed[NUMBER_OCTETS : NUMBER_OCTETS + _NONCE_OCTETS], sealed[NUMBER_OCTETS + _NONCE_OCTETS :]
        try:
            return cipher.decrypt(nonce, body, place.encode())
        except (InvalidTag, ValueError) as error:
            raise KeyRingError(
                f"{place} can not be opened: changed in the database, or sealed for another place"
            ) from error


def number_of(sealed: bytes) -> int:
    """The number of the key that something was sealed with."""
    return int.from_bytes(sealed[:NUMBER_OCTETS], "big")


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
    """The keys of a file, which the ring follows; KeyRingError says what is wrong with it."""
    keys = load_keys(path)
    try:
        return KeyRing(keys, file=path)
    except KeyRingError as error:
        raise KeyRingError(f"{path}: {error}") from error


def load_keys(path: Path) -> dict[int, Key]:
    """The lines of a key file; KeyRingError says which is wrong."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyRingError(f"{path}: {error}") from error
    keys: dict[int, Key] = {}
    for line_no, line in enumerate(text.splitlines(), start=1):
        digits, key, state = (*line.strip().split(":", 2), "", "")[:3]
        number = int(digits) if digits.isascii() and digits.isdecimal() else 0
        known_state = state in ("", PREPARED) or (state.isascii() and state.isdecimal() and len(state) < 16)
        if not 1 <= number <= _HIGHEST_NUMBER or not _is_key(key) or not known_state:
            raise KeyRingError(
                f"{path}:{line_no}: a line is NUMBER:KEY, a number from 1 to {_HIGHEST_NUMBER} and the key as "
                f"{2 * _KEY_OCTETS} hexadecimal digits"
            )
        if number in keys:
            raise KeyRingError(f"{path}:{line_no}: there is a key {number} already; each has a number of its own")
        keys[number] = Key(bytes.fromhex(key), state == PREPARED, int(state) if state.isdecimal() else None)
    if not keys:
        raise KeyRingError(f"{path} is empty: a line is NUMBER:KEY")
    return keys


def _is_key(text: str) -> bool:
    return len(text) == 2 * _KEY_OCTETS and set(text) <= set(hexdigits)


def _mark(path: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file does; None where there is none."""
    try:
        found = None if path is None else path.stat()
    except OSError:
        return None
    return None if found is None else (found.st_ino, found.st_mtime_ns, found.st_size)


def create(path: Path) -> KeyRing:
    """A new key file that only its owner can read. KeyRingError when it exists: keys are never written over."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise KeyRingError(f"{path}: {error}") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(_text_of({1: Key(secrets.token_bytes(_KEY_OCTETS))}))
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path)
    return load(path)


def prepare(path: Path) -> int:
    """Add a key to a file that opens and does not seal yet; its number. One that is prepared already is not doubled."""
    keys = load_keys(path)
    prepared = [number for number, key in keys.items() if key.prepared]
    if prepared:
        return max(prepared)
    number = max(keys) + 1
    if number > _HIGHEST_NUMBER:
        raise KeyRingError(f"{path}: there is no number after {_HIGHEST_NUMBER}; retire old keys and renumber")
    _write(path, keys | {number: Key(secrets.token_bytes(_KEY_OCTETS), prepared=True)})
    return number


def activate(path: Path, now: int) -> int:
    """From now on the prepared key seals; its number. KeyRingError where none is prepared."""
    keys = load_keys(path)
    prepared = [number for number, key in keys.items() if key.prepared]
    if not prepared:
        raise KeyRingError(f"{path}: no key is prepared; run: aaa keys rotate")
    _write(path, keys | {number: Key(keys[number].octets, since=now) for number in prepared})
    return max(prepared)


def retire(path: Path, numbers: frozenset[int]) -> None:
    """Take keys out of a file."""
    _write(path, {number: key for number, key in load_keys(path).items() if number not in numbers})


def _text_of(keys: Mapping[int, Key]) -> str:
    def state(key: Key) -> str:
        return f":{PREPARED}" if key.prepared else "" if key.since is None else f":{key.since}"

    return "".join(f"{number}:{key.octets.hex()}{state(key)}\n" for number, key in sorted(keys.items()))


def _write(path: Path, keys: Mapping[int, Key]) -> None:
    """The whole file or nothing of it: a reader sees the one before or this one, also after a power cut."""
    path = path.resolve()  # a link stays one
    try:
        before = path.stat()
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(_text_of(keys))
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(before.st_mode & 0o777)
            if os.geteuid() == 0:
                os.chown(name, before.st_uid, before.st_gid)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink()
            raise
        _sync_folder(path)
    except OSError as error:
        raise KeyRingError(f"{path}: {error}") from error


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
