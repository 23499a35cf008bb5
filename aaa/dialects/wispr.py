"""Hotspot gateways that understand the attributes of WISPr, and CoA more or less."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, wispr_rate
from aaa.wire import Attribute
from charging.plan import Profile


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    said: list[Attribute] = [*wispr_rate(profile)]
    if profile.redirect_url is not None:
        said.append(("WISPr-Redirection-URL", profile.redirect_url))
    return tuple(said)


_WISPR: Final = "WISPr 1.0, appendix C"

WISPR: Final = Dialect(
    name="wispr",
    about="hotspot gateways: speeds by WISPr-Bandwidth-Max-*, redirect by WISPr-Redirection-URL",
    capability="rate",
    profile=_profile,
    identification=("User-Name", "Acct-Session-Id"),
    reduced_identification=("Acct-Session-Id",),
    telling_apart=("Framed-IP-Address", "Calling-Station-Id"),
    unlimited=(("WISPr-Bandwidth-Max-Up", 0), ("WISPr-Bandwidth-Max-Down", 0)),
    lasting=frozenset({"WISPr-Redirection-URL"}),
    interval_by_coa=True,
    wishes_unknown=True,
    claims=(
        Claim("enforcement", "CoA on port 3799; one that refuses it gets a Disconnect", "assumed", "RFC 5176"),
        Claim(
            "identification",
            "User-Name and Acct-Session-Id, then Acct-Session-Id alone",
            "assumed",
            "RFC 5176 section 3",
        ),
        Claim("rate", "WISPr-Bandwidth-Max-Up and -Down in bit/s", "manual", _WISPR),
        Claim("rate", "0 takes a limit back", "assumed"),
        Claim("volume", "none", "manual", _WISPR),
        Claim(
            "redirect", "WISPr-Redirection-URL, opened after the login; a CoA can not take it back", "manual", _WISPR
        ),
        Claim("session-timeout", "counts from the session's start, and a later one replaces it", "assumed", "RFC 2865"),
        Claim(
            "counters",
            "octets of the whole session, Input from the subscriber, with gigawords",
            "assumed",
            "RFC 2866, RFC 2869",
        ),
        Claim("interval", "as Acct-Interim-Interval says, 60 s at least", "assumed", "RFC 2869"),
        Claim(
            "quirk",
            "gateways built on ChilliSpot count reversed: set --counters-reversed, or dialect chillispot",
            "report",
        ),
    ),
)
