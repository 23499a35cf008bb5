"""The Class token: what every Accept gives the NAS to bring back with its reports.

37 characters, because some equipment takes Class for text: a version, then base64url of account id, session id (8
octets each) and 11 octets of HMAC-SHA-256. It names the session whatever the NAS does to its other names.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct

from aaa.wire.keyed_hash import hmac_digest

_IDS = Struct(">qq")
_VERSION = b"a"
_MAC_OCTETS = 11
TOKEN_OCTETS = 37


def token(account_id: int, session_id: int, key: bytes) -> bytes:
    """The Class value for a session."""
    ids = _IDS.pack(account_id, session_id)
    return _VERSION + urlsafe_b64encode(ids + hmac_digest(key, ids, "sha256")[:_MAC_OCTETS])


def read_token(value: bytes, keys: Sequence[bytes]) -> tuple[int, int] | None:
    """(account_id, session_id) of a token that one of `keys` signed; None for anything else."""
    return _read(value, tuple(keys))


@lru_cache(maxsize=65_536)
def _read(value: bytes, keys: tuple[bytes, ...]) -> tuple[int, int] | None:
    """A session brings the same token with each of its reports, so what was found is remembered."""
    if len(value) != TOKEN_OCTETS or value[:1] != _VERSION:
        return None
    try:
        body = urlsafe_b64decode(value[1:])
    except (Error, ValueError):
        return None
    if len(body) != _IDS.size + _MAC_OCTETS:
        return None
    ids, signature = body[: _IDS.size], body[_IDS.size :]
    for key in keys:
        if hmac.compare_digest(hmac_digest(key, ids, "sha256")[:_MAC_OCTETS], signature):
            account_id, session_id = _IDS.unpack(ids)
            return account_id, session_id
    return None
