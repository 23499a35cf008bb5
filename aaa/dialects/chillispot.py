"""ChilliSpot and CoovaChilli hotspots."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Dialect, wispr_rate
from aaa.wire import Attribute
from charging.plan import Profile


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    said: list[Attribute] = [*wispr_rate(profile)]
    if profile.redirect_url is not None:
        said.append(("WISPr-Redirection-URL", profile.redirect_url))
    return tuple(said)


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
)
