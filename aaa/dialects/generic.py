"""Equipment that keeps to the RFCs and to the WISPr attributes, or that nobody has looked at more closely."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Dialect, wispr_rate
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
    unlimited=(("WISPr-Bandwidth-Max-Up", 0), ("WISPr-Bandwidth-Max-Down", 0)),
    lasting=frozenset({"Filter-Id", "WISPr-Redirection-URL"}),
)
