"""Equipment that keeps to the RFCs and to the WISPr attributes, or that nobody has looked at more closely."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, wispr_rate
from aaa.wire import Attribute
from charging.plan import Profile


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    said: list[Attribute] = [*wispr_rate(profile)]
    if profile.filter is not None:
        said.append(("Filter-Id", profile.filter))
    if profile.redirect_url is not None:
        said.append(("WISPr-Redirection-URL", profile.redirect_url))
    return tuple(said)


GENERIC: Final = Dialect(
    name="generic",
    about="RFC 2865 and 5176, speeds by WISPr-Bandwidth-Max-*, filters by Filter-Id",
    capability="rate",
    profile=_profile,
    identification=("User-Name", "Acct-Session-Id"),
    reduced_identification=("Acct-Session-Id",),
    telling_apart=("Framed-IP-Address", "Calling-Station-Id"),
    unlimited=(("WISPr-Bandwidth-Max-Up", 0), ("WISPr-Bandwidth-Max-Down", 0)),
    lasting=frozenset({"Filter-Id", "WISPr-Redirection-URL"}),
    interval_by_coa=True,
    wishes_unknown=True,
    claims=(
        Claim("enforcement", "takes CoA and Disconnect on port 3799", "assumed", "RFC 5176"),
        Claim(
            "identification",
            "User-Name and Acct-Session-Id, then Acct-Session-Id alone",
            "assumed",
            "RFC 5176 section 3",
        ),
        Claim(
            "rate", "WISPr-Bandwidth-Max-Up and -Down in bit/s; 0 takes them back", "assumed", "WISPr 1.0 appendix C"
        ),
        Claim("volume", "no attribute for it that equipment agrees on", "assumed"),
        Claim("redirect", "Filter-Id or WISPr-Redirection-URL; a CoA can set but not clear them", "assumed"),
        Claim(
            "session-timeout",
            "counts from the session's start, and a later one replaces it",
            "assumed",
            "RFC 2865 section 5.27",
        ),
        Claim(
            "counters",
            "octets of the whole session, Input from the subscriber, with gigawords",
            "assumed",
            "RFC 2866, RFC 2869",
        ),
        Claim(
            "interval",
            "reports as often as Acct-Interim-Interval says, 60 s at least",
            "assumed",
            "RFC 2869 section 5.16",
        ),
    ),
)
