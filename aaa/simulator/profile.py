"""What an Accept or a CoA tells a NAS, read the way each vendor's equipment reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from aaa.wire import Attribute


@dataclass(frozen=True, slots=True)
class Told:
    """What a session was told last. None: not limited, not said."""

    up_bps: int | None = None
    down_bps: int | None = None
    session_timeout_seconds: int | None = None
    interim_interval_seconds: int | None = None
    redirect: str | None = None
    """Where a portal redirects to, or the address list that a firewall redirects."""


NOTHING_TOLD: Final = Told()

_MIKROTIK_SIDE: Final = re.compile(r"(\d+)([kKMG]?)")
_MIKROTIK_SUFFIX: Final = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_ACCEL_SIDE: Final = re.compile(r"(\d+)([KkMmGg]?)")
# 1G became 10 Gbit/s on the real one: whoever writes G shall find out here
_ACCEL_SUFFIX_BPS: Final = {"": 1_000, "k": 1_000, "m": 1_000_000, "g": 10_000_000_000}


def told_by_accept(dialect: str, attributes: Sequence[Attribute]) -> Told:
    """The profile that a session begins with."""
    return replace(NOTHING_TOLD, **_understood(dialect, attributes))  # type: ignore[arg-type]


def told_by_coa(
    dialect: str, before: Told, attributes: Sequence[Attribute], *, replaces: bool, session_timeout_changes: bool
) -> Told | None:
    """The profile after a CoA; None when nothing in it is understood.

    `replaces`: what the CoA does not say is forgotten; else it stays as it was.
    """
    understood = _understood(dialect, attributes)
    if not session_timeout_changes:
        understood.pop("session_timeout_seconds", None)
    if not understood:
        return None
    return replace(NOTHING_TOLD if replaces else before, **understood)  # type: ignore[arg-type]


def _understood(dialect: str, attributes: Sequence[Attribute]) -> dict[str, int | str | None]:
    """The fields of `Told` that these attributes set; a rate of 0 means "no limit" everywhere."""
    understood: dict[str, int | str] = {}
    for name, value in attributes:
        if name == "Session-Timeout" and isinstance(value, int):
            understood["session_timeout_seconds"] = value
        elif name == "Acct-Interim-Interval" and isinstance(value, int):
            understood["interim_interval_seconds"] = value
        elif dialect == "mikrotik" and name == "Mikrotik-Rate-Limit" and isinstance(value, str):
            understood.update(_sides(value.split(" ", 1)[0], ("up_bps", "down_bps"), _mikrotik_bps))
        elif dialect == "mikrotik" and name == "Mikrotik-Address-List" and isinstance(value, str):
            understood["redirect"] = value
        elif dialect == "accel-ppp" and name == "Filter-Id" and isinstance(value, str):
            understood.update(_sides(value, ("down_bps", "up_bps"), _accel_bps))
        elif dialect in ("chillispot", "generic"):
            understood.update(_wispr(name, value))
    return {field: None if value == 0 and field.endswith("_bps") else value for field, value in understood.items()}


def _wispr(name: str, value: int | str | bytes) -> dict[str, int | str]:
    if name == "WISPr-Bandwidth-Max-Up" and isinstance(value, int):
        return {"up_bps": value}
    if name == "WISPr-Bandwidth-Max-Down" and isinstance(value, int):
        return {"down_bps": value}
    if name == "WISPr-Redirection-URL" and isinstance(value, str):
        return {"redirect": value}
    return {}


def _sides(text: str, fields: tuple[str, str], bps: Callable[[str], int | None]) -> dict[str, int | str]:
    """`first/second`, or one figure for both; nothing when it can not be read."""
    first, slash, second = text.partition("/")
    sides = bps(first), bps(second if slash else first)
    if sides[0] is None or sides[1] is None:
        return {}
    return {fields[0]: sides[0], fields[1]: sides[1]}


def _mikrotik_bps(text: str) -> int | None:
    """bit/s, with k, M or G."""
    side = _MIKROTIK_SIDE.fullmatch(text)
    return None if side is None else int(side[1]) * _MIKROTIK_SUFFIX[side[2]]


def _accel_bps(text: str) -> int | None:
    """kbit/s."""
    side = _ACCEL_SIDE.fullmatch(text)
    return None if side is None else int(side[1]) * _ACCEL_SUFFIX_BPS[side[2].lower()]
