"""MikroTik RouterOS: PPP and hotspot (its manual, "RADIUS Client")."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Dialect, rate_bps
from aaa.wire import Attribute
from charging.plan import Profile


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    said: list[Attribute] = []
    rate = rate_bps(profile)
    if rate is not None:
        said.append(("Mikrotik-Rate-Limit", _rate_limit(profile, *rate)))
    if profile.address_list is not None:
        said.append(("Mikrotik-Address-List", profile.address_list))
    return tuple(said)


def _rate_limit(profile: Profile, up_bps: int, down_bps: int) -> str:
    """`rx/tx`, and `rx-burst/tx-burst` where there is one. The router's rx is what the subscriber sends.

    A burst without a threshold and a time has the rate for its threshold, and lasts one second.
    """
    text = f"{_short(up_bps)}/{_short(down_bps)}"
    if profile.burst_up_bps is None and profile.burst_down_bps is None:
        return text
    return f"{text} {_short(profile.burst_up_bps or up_bps)}/{_short(profile.burst_down_bps or down_bps)}"


def _short(bps: int) -> str:
    """20000000 → 20M, 256000 → 256k, 0 → 0. RouterOS counts these in thousands."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if bps and bps % unit == 0:
            return f"{bps // unit}{letter}"
    return str(bps)


MIKROTIK: Final = Dialect(
    name="mikrotik",
    about="MikroTik RouterOS: speeds by Mikrotik-Rate-Limit, redirect by Mikrotik-Address-List",
    capability="rate",
    profile=_profile,
    identification=("User-Name", "Framed-IP-Address", "Acct-Session-Id"),
    reduced_identification=("User-Name", "Acct-Session-Id"),
    unlimited=(("Mikrotik-Rate-Limit", "0/0"),),
    lasting=frozenset({"Mikrotik-Address-List"}),
)
