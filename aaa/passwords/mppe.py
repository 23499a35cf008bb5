"""The keys that follow from MS-CHAPv2 (RFC 3079): what a NAS encrypts PPP with."""

from __future__ import annotations

from hashlib import sha1
from typing import Final, NamedTuple

from aaa.passwords.nt import hash_of_hash

KEY_OCTETS: Final = 16

_MAGIC_MASTER: Final = b"This is the MPPE Master Key"
_MAGIC_FROM_CLIENT: Final = b"On the client side, this is the send key; on the server side, it is the receive key."
_MAGIC_TO_CLIENT: Final = b"On the client side, this is the receive key; on the server side, it is the send key."
_PAD_1: Final = bytes(40)
_PAD_2: Final = b"\xf2" * 40


class Keys(NamedTuple):
    """What the NAS encrypts with towards the client, and what it decrypts with."""

    send: bytes
    recv: bytes


def keys_2(nt: bytes, nt_response: bytes) -> Keys:
    """The 128-bit start keys of MS-CHAPv2 as the NAS needs them (RFC 3079 section 3.3)."""
    master = master_key(nt, nt_response)
    return Keys(_start_key(master, _MAGIC_TO_CLIENT), _start_key(master, _MAGIC_FROM_CLIENT))


def master_key(nt: bytes, nt_response: bytes) -> bytes:
    """GetMasterKey of RFC 3079 section 3.4."""
    return sha1(hash_of_hash(nt) + nt_response + _MAGIC_MASTER, usedforsecurity=False).digest()[:KEY_OCTETS]


def _start_key(master: bytes, magic: bytes) -> bytes:
    """GetAsymmetricStartKey of RFC 3079 section 3.4."""
    return sha1(master + _PAD_1 + magic + _PAD_2, usedforsecurity=False).digest()[:KEY_OCTETS]
