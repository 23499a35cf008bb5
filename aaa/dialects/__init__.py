"""How each vendor's equipment wants to be told things: one small file per dialect, found by name.

A dialect is data and a function; it decides nothing. What it claims is tested against the simulated NAS of the
same name, and where a real daemon runs on Linux, against that; each claim says what it rests on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aaa.dialects.accel_ppp import ACCEL_PPP
from aaa.dialects.aruba import ARUBA
from aaa.dialects.cambium import CAMBIUM
from aaa.dialects.chillispot import CHILLISPOT
from aaa.dialects.cisco_isg import CISCO_ISG
from aaa.dialects.contract import (
    Capability,
    Claim,
    Dialect,
    Identity,
    accept,
    change,
    identify,
    limits,
    names_in_turn,
    wish,
)
from aaa.dialects.generic import GENERIC
from aaa.dialects.hostapd import HOSTAPD
from aaa.dialects.huawei import HUAWEI
from aaa.dialects.juniper import JUNIPER
from aaa.dialects.mikrotik import MIKROTIK
from aaa.dialects.nokia import NOKIA
from aaa.dialects.pfsense import PFSENSE
from aaa.dialects.ruckus import RUCKUS
from aaa.dialects.strongswan import STRONGSWAN
from aaa.dialects.ubiquiti_edge import UBIQUITI_EDGE
from aaa.dialects.wispr import WISPR

__all__ = [
    "SHIPPED",
    "Capability",
    "Claim",
    "Dialect",
    "Identity",
    "accept",
    "change",
    "dialect",
    "identify",
    "install",
    "limits",
    "names",
    "names_in_turn",
    "wish",
]  # fmt: skip

SHIPPED: Final = {
    each.name: each
    for each in (
        GENERIC, MIKROTIK, ACCEL_PPP, CHILLISPOT, WISPR, HOSTAPD, STRONGSWAN, CISCO_ISG, JUNIPER, HUAWEI, NOKIA, ARUBA,
        RUCKUS, CAMBIUM, UBIQUITI_EDGE, PFSENSE,
    )
}  # fmt: skip
"""The dialects that come with the server; the first is what a NAS speaks that nobody knows more about."""

_known: dict[str, Dialect] = dict(SHIPPED)


def install(own: Iterable[Dialect]) -> None:
    """The site's own dialects beside the shipped ones, or in their place; those of an earlier call are gone.

    To be called once, before anything asks: by the front door, when it has read the configuration.
    """
    _known.clear()
    _known.update(SHIPPED)
    _known.update({each.name: each for each in own})


def names() -> tuple[str, ...]:
    """The names of all dialects."""
    return tuple(_known)


def dialect(name: str) -> Dialect:
    """The dialect of that name; ValueError, listing the names, where there is none."""
    found = _known.get(name)
    if found is None:
        raise ValueError(f"there is no dialect {name!r}; the dialects are {', '.join(_known)}")
    return found
