"""Aruba mobility controllers and gateways (ArubaOS): what a session may do is a role."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, rate_bps
from aaa.wire import Attribute
from charging.plan import Profile

_CLI: Final = "ArubaOS CLI reference, aaa rfc-3576-server"
_VSAS: Final = "AOS-CX, Vendor-Specific Attributes supported in session authorization"


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    """The role of the profile's name. ValueError: rate 0."""
    rate_bps(profile)
    said: list[Attribute] = [("Aruba-User-Role", profile.name)]
    if profile.redirect_url is not None:
        said.append(("Aruba-Captive-Portal-URL", profile.redirect_url))
    return tuple(said)


ARUBA: Final = Dialect(
    name="aruba",
    about="Aruba controllers: each profile is a role of the same name",
    capability="rate",
    profile=_profile,
    identification=("User-Name", "Acct-Session-Id", "Calling-Station-Id"),
    reduced_identification=("User-Name", "Calling-Station-Id"),
    lasting=frozenset({"Aruba-Captive-Portal-URL"}),
    event_timestamp=True,
    rates_by_name=True,
    claims=(
        Claim("enforcement", "CoA and Disconnect on port 3799 (`aaa rfc-3576-server`)", "manual", _CLI),
        Claim(
            "identification",
            "User-Name, Framed-IP-Address, Calling-Station-Id, Acct-Session-Id; others are ignored",
            "manual",
            _CLI,
        ),
        Claim(
            "identification",
            "AOS-CX switches also want NAS-IP-Address or NAS-Identifier, which we do not send",
            "manual",
            _VSAS,
        ),
        Claim(
            "rate",
            "stands in the role (bandwidth contract), not in our packets; a CoA changes the whole role",
            "manual",
            _VSAS,
        ),
        Claim("volume", "none", "manual", _VSAS),
        Claim("redirect", "a role with captive portal, and Aruba-Captive-Portal-URL", "manual", _VSAS),
        Claim("session-timeout", "counts from the session's start; a CoA replaces it", "manual", _CLI),
        Claim(
            "counters",
            "octets of the whole session, Input from the subscriber, with gigawords",
            "assumed",
            "RFC 2866, RFC 2869",
        ),
        Claim("interval", "Acct-Interim-Interval, or the AAA profile's own", "assumed"),
        Claim(
            "quirk", "with `replay-protection` an Event-Timestamp within 300 s is wanted: we send one", "manual", _CLI
        ),
    ),
)
