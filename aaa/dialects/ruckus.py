"""Ruckus SmartZone and ZoneDirector."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, wispr_rate
from aaa.wire import Attribute
from charging.plan import Profile

_AAA: Final = "SmartZone AAA (RADIUS) Interface Reference Guide"
_ZONE_DIRECTOR: Final = "ZoneDirector 9.8 User Guide, RADIUS Attributes"


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    said: list[Attribute] = [*wispr_rate(profile)]
    if profile.address_list is not None:
        said.append(("Ruckus-User-Groups", profile.address_list))
    if profile.redirect_url is not None:
        said.append(("WISPr-Redirection-URL", profile.redirect_url))
    return tuple(said)


RUCKUS: Final = Dialect(
    name="ruckus",
    about="Ruckus: speeds by WISPr-Bandwidth-Max-* at login, roles by Ruckus-User-Groups; changes by a new login",
    capability="disconnect",
    profile=_profile,
    identification=("User-Name", "Acct-Session-Id", "Calling-Station-Id"),
    reduced_identification=("User-Name", "Calling-Station-Id"),
    redirect_by_coa=False,
    claims=(
        Claim(
            "enforcement",
            "Disconnect on port 3799: the device logs in again and gets what then holds",
            "manual",
            _ZONE_DIRECTOR,
        ),
        Claim(
            "enforcement", "SmartZone knows CoA too; which attributes it changes is not known: not used", "manual", _AAA
        ),
        Claim("identification", "User-Name, Acct-Session-Id and Calling-Station-Id", "assumed", _AAA),
        Claim("rate", "WISPr-Bandwidth-Max-Up and -Down in the Accept, bit/s", "assumed", _AAA),
        Claim("volume", "Ruckus-Max-DL-UL-Quota exists, its unit is not known: not spoken", "assumed"),
        Claim(
            "redirect",
            "Ruckus-User-Groups = the profile's address_list (a role), or WISPr-Redirection-URL",
            "manual",
            _AAA,
        ),
        Claim("session-timeout", "counts from the session's start", "assumed", _AAA),
        Claim("counters", "octets of the whole session, Input from the subscriber, with gigawords", "assumed", _AAA),
        Claim("interval", "Acct-Interim-Interval, or the WLAN's own", "assumed", _AAA),
        Claim("quirk", "roaming between access points may begin a new session", "manual", _AAA),
    ),
)
