"""Cambium Wi-Fi access points: cnPilot and XV."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, split, wispr_rate
from aaa.wire import Attribute
from charging.plan import Profile

_VSAS: Final = "Cambium RADIUS dictionary for WiFi"
_DYNAMIC: Final = "Cambium community, Is RADIUS CoA/DM supported on the cnPilot access points"


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    return wispr_rate(profile)


def _quota(octets: int) -> tuple[Attribute, ...]:
    gigawords, low = split(octets)
    return (("Cambium-Traffic-Quota-Limit-Total", low), ("Cambium-Traffic-Quota-Limit-Total-Gigwords", gigawords))


CAMBIUM: Final = Dialect(
    name="cambium",
    about="Cambium cnPilot and XV: speeds by WISPr-Bandwidth-Max-* at login; changes by a new login",
    capability="disconnect",
    profile=_profile,
    identification=("User-Name", "Calling-Station-Id"),
    reduced_identification=("User-Name", "Calling-Station-Id"),
    redirect_by_coa=False,
    quota=_quota,
    claims=(
        Claim("enforcement", "Disconnect on port 3799 (`Dynamic Auth` of the WLAN)", "manual", _DYNAMIC),
        Claim("enforcement", "a CoA changes Session-Timeout and nothing else", "manual", _DYNAMIC),
        Claim("identification", "User-Name and Calling-Station-Id", "manual", _DYNAMIC),
        Claim("rate", "WISPr-Bandwidth-Max-Up and -Down in the Accept, bit/s", "manual", _VSAS),
        Claim("volume", "Cambium-Traffic-Quota-Limit-Total with -Gigwords, octets of the session", "manual", _VSAS),
        Claim("redirect", "by the login page of the guest portal; nothing that we say", "assumed"),
        Claim("session-timeout", "counts from the session's start; a CoA extends it", "manual", _DYNAMIC),
        Claim(
            "counters",
            "octets of the whole session, Input from the subscriber, with gigawords",
            "assumed",
            "RFC 2866, RFC 2869",
        ),
        Claim(
            "counters", "the PMP 450 counts reversed: set --counters-reversed yes for it", "manual", "PMP 450 manual"
        ),
        Claim("interval", "as Acct-Interim-Interval says", "assumed"),
    ),
)
