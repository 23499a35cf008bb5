"""Attributes that a plan or a subscriber adds to an Access-Accept, as texts: which there may be, and which stand in whose
place. Pure.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from aaa.dialects.contract import read_attribute, slot
from aaa.wire import Attribute

Texts = tuple[tuple[str, str], ...]
"""Names and values as an operator writes them."""

#: What the server says itself, and what would be right instead.
_OURS: Final = {
    "Class": "it names the session",
    "State": "it names an EAP conversation",
    "EAP-Message": "it is EAP's",
    "Message-Authenticator": "it is added to every answer",
    "Proxy-State": "it is the proxy's",
    "User-Password": "it is only for requests",
    "CHAP-Password": "it is only for requests",
    "Session-Timeout": "write session_timeout in the profile: it depends on what is paid too",
    "Acct-Interim-Interval": "write interim_interval in the profile: what is held depends on it",
    "MS-MPPE-Send-Key": "it is made at login",
    "MS-MPPE-Recv-Key": "it is made at login",
    "MS-CHAP-MPPE-Keys": "it is made at login",
    "MS-CHAP2-Success": "it is made at login",
    "MS-CHAP-Error": "it is only for refusals",
}
LONGEST_OCTETS: Final = 247
MOST: Final = 64


def check(name: str, text: str) -> None:
    """ValueError where this can not be a reply attribute: our dictionaries do not have it, its value does not fit, or it
    is not for others to say."""
    why = _OURS.get(name)
    if why is not None:
        raise ValueError(f"{name} is not given: {why}")
    if not text or not text.isprintable() or len(text.encode()) > LONGEST_OCTETS:
        raise ValueError(f"{name}: its value must be 1 to {LONGEST_OCTETS} printable characters")
    read_attribute(name, text)


def layered(*layers: Texts) -> Texts:
    """One after the other; what a later one says stands in the place of what earlier ones say."""
    found: Texts = ()
    for layer in layers:
        slots = {slot(*each) for each in layer}
        found = (*(each for each in found if slot(*each) not in slots), *layer) if layer else found
    return found


@lru_cache(maxsize=4096)
def read(texts: Texts) -> tuple[Attribute, ...]:
    """Their values by our dictionaries. ValueError where one does not fit."""
    return tuple(read_attribute(name, text) for name, text in texts)


def to_text(own: Texts) -> str | None:
    """As the database keeps them; None: there are none."""
    return json.dumps(own) if own else None


def from_text(kept: str | None) -> Texts:
    """What `to_text` made."""
    return () if kept is None else tuple((name, text) for name, text in json.loads(kept))


def vlan(number: int) -> Texts:
    """RFC 3580 section 3.31."""
    return (
        ("Tunnel-Type:1", "VLAN"),
        ("Tunnel-Medium-Type:1", "IEEE-802"),
        ("Tunnel-Private-Group-Id:1", str(number)),
    )
