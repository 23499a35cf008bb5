"""MikroTik RouterOS: PPP and hotspot (its manual, "RADIUS Client")."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, rate_bps, split
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


def _quota(octets: int) -> tuple[Attribute, ...]:
    gigawords, low = split(octets)
    return (("Mikrotik-Total-Limit", low), ("Mikrotik-Total-Limit-Gigawords", gigawords))


_MANUAL: Final = "RouterOS manual, RADIUS Client"

MIKROTIK: Final = Dialect(
    name="mikrotik",
    about="MikroTik RouterOS: speeds by Mikrotik-Rate-Limit, redirect by Mikrotik-Address-List",
    capability="rate",
    profile=_profile,
    identification=("User-Name", "Framed-IP-Address", "Acct-Session-Id"),
    reduced_identification=("User-Name", "Acct-Session-Id"),
    unlimited=(("Mikrotik-Rate-Limit", "0/0"),),
    lasting=frozenset({"Mikrotik-Address-List"}),
    quota=_quota,
    volume_by_coa=True,
    no_volume_limit=(("Mikrotik-Total-Limit", 0), ("Mikrotik-Total-Limit-Gigawords", 0)),
    claims=(
        Claim(
            "enforcement", "CoA and Disconnect on port 3799, once `/radius incoming set accept=yes`", "manual", _MANUAL
        ),
        Claim("enforcement", "CoA for PPP; a hotspot may refuse it: then Disconnect", "report"),
        Claim(
            "identification",
            "User-Name, Framed-IP-Address and Acct-Session-Id, without the address as a fallback",
            "manual",
            _MANUAL,
        ),
        Claim(
            "rate",
            "Mikrotik-Rate-Limit: rx/tx and rx-burst/tx-burst; rx is what the subscriber sends",
            "manual",
            _MANUAL,
        ),
        Claim(
            "volume", "Mikrotik-Total-Limit with -Gigawords ends the session; 0 and 0 is no limit", "manual", _MANUAL
        ),
        Claim("volume", "a CoA moves it, and counts from the session's start as the Accept did", "assumed"),
        Claim("redirect", "Mikrotik-Address-List; the firewall sends the list to the portal", "manual", _MANUAL),
        Claim(
            "redirect",
            "a CoA can set another list but not take one away: without a new one it is a new login",
            "assumed",
        ),
        Claim("session-timeout", "counts from the session's start; a CoA replaces it", "assumed"),
        Claim("counters", "octets of the whole session, Input from the subscriber, with gigawords", "manual", _MANUAL),
        Claim("interval", "Acct-Interim-Interval, or interim-update of the router's own settings", "manual", _MANUAL),
        Claim("quirk", "since 7.15 refuses replies without Message-Authenticator (ours all have it)", "report"),
        Claim(
            "quirk",
            "session ids of several routers may collide: the source address is part of a session's key",
            "report",
        ),
    ),
)
