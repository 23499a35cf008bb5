"""ChilliSpot and CoovaChilli hotspots."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, split, wispr_rate
from aaa.wire import Attribute
from charging.plan import Profile


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    said: list[Attribute] = [*wispr_rate(profile)]
    if profile.redirect_url is not None:
        said.append(("WISPr-Redirection-URL", profile.redirect_url))
    return tuple(said)


def _quota(octets: int) -> tuple[Attribute, ...]:
    gigawords, low = split(octets)
    return (("ChilliSpot-Max-Total-Octets", low), ("ChilliSpot-Max-Total-Gigawords", gigawords))


CHILLISPOT: Final = Dialect(
    name="chillispot",
    about="CoovaChilli: speeds by WISPr-Bandwidth-Max-*, redirect by WISPr-Redirection-URL",
    capability="rate",
    profile=_profile,
    # Without a User-Name it says nothing at all; with nothing else it could mean the user's other session.
    identification=("User-Name", "Acct-Session-Id"),
    reduced_identification=("User-Name", "Acct-Session-Id"),
    coa_replaces_all=True,
    counters_reversed=True,
    quota=_quota,
    volume_by_coa=True,
    interval_by_coa=True,
    claims=(
        Claim("enforcement", "CoA and Disconnect on port 3799 (`coaport`)", "measured", "coova-chilli"),
        Claim(
            "identification",
            "User-Name must be there, or it says nothing; Acct-Session-Id picks the session",
            "measured",
            "coova-chilli",
        ),
        Claim("identification", "every session that has both does what it is told", "code", "coova-chilli, chilli.c"),
        Claim("rate", "WISPr-Bandwidth-Max-Up and -Down in bit/s", "measured", "coova-chilli"),
        Claim(
            "rate",
            "a CoA replaces everything the Accept said: the whole profile goes with it",
            "measured",
            "coova-chilli",
        ),
        Claim("volume", "ChilliSpot-Max-Total-Octets with -Gigawords, enforced within 2 s", "measured", "coova-chilli"),
        Claim("redirect", "WISPr-Redirection-URL", "manual", "CoovaChilli, RADIUS attributes"),
        Claim("session-timeout", "counts from the session's start; a CoA replaces it", "measured", "coova-chilli"),
        Claim(
            "counters",
            "reversed by default (Input is what goes to the subscriber); with gigawords",
            "measured",
            "coova-chilli",
        ),
        Claim("interval", "Acct-Interim-Interval, else every 300 s", "measured", "coova-chilli"),
        Claim("quirk", "sends a lost report again with the same octets", "measured", "coova-chilli"),
    ),
)
