"""What an Accept or a CoA tells a NAS, read the way each vendor's equipment reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from aaa.simulator.behaviour import Service
from aaa.simulator.services import BY_SERVICE, Understood, switched
from aaa.wire import Attribute


@dataclass(frozen=True, slots=True)
class Told:
    """What a session was told last. None: not limited, not said."""

    up_bps: int | None = None
    down_bps: int | None = None
    session_timeout_seconds: int | None = None
    interim_interval_seconds: int | None = None
    limit_octets: int | None = None
    """Where it stops the session by itself, up and down together; None or 0: nowhere."""
    redirect: str | None = None
    """Where a portal redirects to, or the address list or service that redirects."""
    services: tuple[str, ...] = ()
    """Those that are on, where profiles are services."""


NOTHING_TOLD: Final = Told()

_PROFILE: Final = frozenset({"up_bps", "down_bps", "redirect", "services"})
_NOKIA_OVERRIDE: Final = re.compile(r"([ie]):q:1:pir=(-?\d+)")
_MIKROTIK_SIDE: Final = re.compile(r"(\d+)([kKMG]?)")
_MIKROTIK_SUFFIX: Final = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_ACCEL_SIDE: Final = re.compile(r"(\d+)([KkMmGg]?)")
# 1G became 10 Gbit/s on the real one: whoever writes G shall find out here
_ACCEL_SUFFIX_BPS: Final = {"": 1_000, "k": 1_000, "m": 1_000_000, "g": 10_000_000_000}


def told_by_accept(dialect: str, attributes: Sequence[Attribute], services: Sequence[Service] = ()) -> Told:
    """The profile that a session begins with. `services`: what is configured on the NAS."""
    understood = _understood(dialect, attributes)
    if dialect in BY_SERVICE:
        understood |= switched(dialect, (), attributes, services) or {}
    return replace(NOTHING_TOLD, **_no_zeroes(understood))  # type: ignore[arg-type]


def told_by_coa(
    dialect: str,
    before: Told,
    attributes: Sequence[Attribute],
    *,
    replaces: bool,
    session_timeout_changes: bool,
    profile_changes: bool = True,
    services: Sequence[Service] = (),
) -> Told | None:
    """The profile after a CoA; None when nothing in it is understood, or it can not be carried out.

    `replaces`: what the CoA does not say is forgotten; else it stays as it was.
    """
    understood = _understood(dialect, attributes)
    if dialect in BY_SERVICE:
        switch = switched(dialect, before.services, attributes, services)
        if switch is None:
            return None
        understood |= switch
    if not session_timeout_changes:
        understood.pop("session_timeout_seconds", None)
    if not profile_changes:
        understood = {field: value for field, value in understood.items() if field not in _PROFILE}
    if not understood:
        return None
    return replace(NOTHING_TOLD if replaces else before, **_no_zeroes(understood))  # type: ignore[arg-type]


def _no_zeroes(understood: Understood) -> Understood:
    """A rate of 0 means "no limit" everywhere."""
    return {field: None if value == 0 and field.endswith("_bps") else value for field, value in understood.items()}


def _understood(dialect: str, attributes: Sequence[Attribute]) -> Understood:
    """The fields of `Told` that these attributes set."""
    understood: Understood = {}
    if dialect in _VOLUMES:
        low, high = _VOLUMES[dialect]
        said = {name: value for name, value in attributes if name in (low, high) and isinstance(value, int)}
        if said:
            understood["limit_octets"] = (int(said.get(high, 0)) << 32) + int(said.get(low, 0)) or None
    for name, value in attributes:
        if name == "Session-Timeout" and isinstance(value, int):
            understood["session_timeout_seconds"] = value
        elif name == "Acct-Interim-Interval" and isinstance(value, int):
            understood["interim_interval_seconds"] = value
        elif dialect in _READERS:
            understood.update(_READERS[dialect](name, value))
    return understood


def _mikrotik(name: str, value: int | str | bytes) -> dict[str, int | str]:
    if name == "Mikrotik-Rate-Limit" and isinstance(value, str):
        return _sides(value.split(" ", 1)[0], ("up_bps", "down_bps"), _mikrotik_bps)
    if name == "Mikrotik-Address-List" and isinstance(value, str):
        return {"redirect": value}
    return {}


def _accel(name: str, value: int | str | bytes) -> dict[str, int | str]:
    if name == "Filter-Id" and isinstance(value, str):
        return _sides(value, ("down_bps", "up_bps"), _accel_bps)
    return {}


def _huawei(name: str, value: int | str | bytes) -> dict[str, int | str]:
    """Input is what the subscriber sends."""
    field = {"Huawei-Input-Average-Rate": "up_bps", "Huawei-Output-Average-Rate": "down_bps"}.get(name)
    if field is not None and isinstance(value, int):
        return {field: value}
    if name == "Huawei-HTTP-Redirect-URL" and isinstance(value, str):
        return {"redirect": value}
    return {}


def _nokia(name: str, value: int | str | bytes) -> dict[str, int | str]:
    """Egress is to the subscriber; -2 is no override."""
    if name == "Alc-SLA-Prof-Str" and isinstance(value, str):
        return {"redirect": value}
    override = _NOKIA_OVERRIDE.fullmatch(str(value)) if name == "Alc-Subscriber-QoS-Override" else None
    if override is None:
        return {}
    return {"up_bps" if override[1] == "i" else "down_bps": max(int(override[2]), 0) * 1_000}


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


#: Octets and gigawords of a volume limit that counts from the session's start.
_VOLUMES: Final = {
    "mikrotik": ("Mikrotik-Total-Limit", "Mikrotik-Total-Limit-Gigawords"),
    "chillispot": ("ChilliSpot-Max-Total-Octets", "ChilliSpot-Max-Total-Gigawords"),
}
_READERS: Final[dict[str, Callable[[str, int | str | bytes], dict[str, int | str]]]] = {
    "mikrotik": _mikrotik,
    "accel-ppp": _accel,
    "huawei": _huawei,
    "nokia": _nokia,
    **dict.fromkeys(("generic", "chillispot", "wispr", "ruckus", "cambium", "ubiquiti-edge", "pfsense"), _wispr),
}
