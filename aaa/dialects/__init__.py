"""How each vendor's equipment wants to be told things: one small file per dialect, found by name.

A dialect is data and a function; it decides nothing. What it claims is tested against the simulated NAS of the
same name, and where a real daemon runs on Linux, against that.
"""

from __future__ import annotations

from typing import Final

from aaa.dialects.accel_ppp import ACCEL_PPP
from aaa.dialects.chillispot import CHILLISPOT
from aaa.dialects.contract import Capability, Dialect, Identity, accept, change, identify
from aaa.dialects.generic import GENERIC
from aaa.dialects.mikrotik import MIKROTIK

__all__ = ["Capability", "Dialect", "Identity", "accept", "change", "dialect", "identify", "names"]

_DIALECTS: Final = {each.name: each for each in (GENERIC, MIKROTIK, ACCEL_PPP, CHILLISPOT)}


def names() -> tuple[str, ...]:
    """The names of all dialects; the first is what a NAS speaks that nobody knows more about."""
    return tuple(_DIALECTS)


def dialect(name: str) -> Dialect:
    """The dialect of that name; ValueError, listing the names, where there is none."""
    found = _DIALECTS.get(name)
    if found is None:
        raise ValueError(f"there is no dialect {name!r}; the dialects are {', '.join(_DIALECTS)}")
    return found
