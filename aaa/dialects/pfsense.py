"""pfSense captive portal: nobody can tell it anything, but it asks for every session again, once a minute."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import HIGHEST_INTEGER, Claim, Dialect, wispr_rate
from aaa.wire import Attribute
from charging.plan import Profile

_CODE: Final = "pfSense, captiveportal.inc"


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    said: list[Attribute] = [*wispr_rate(profile)]
    if profile.redirect_url is not None:
        said.append(("WISPr-Redirection-URL", profile.redirect_url))
    return tuple(said)


def _quota(octets: int) -> tuple[Attribute, ...]:
    """No more than 4 GiB can be said: less is safe, for the next login says the rest."""
    if octets < 1:
        raise ValueError(f"a volume limit of {octets} octets would mean no limit")
    return (("pfSense-Max-Total-Octets", min(octets, HIGHEST_INTEGER)),)


PFSENSE: Final = Dialect(
    name="pfsense",
    about="pfSense captive portal: no CoA; its re-authentication of every minute brings the new speed or the Reject",
    capability="reauthenticate",
    profile=_profile,
    identification=(),
    reduced_identification=(),
    redirect_by_coa=False,
    coa_port=0,
    quota=_quota,
    claims=(
        Claim(
            "enforcement",
            "no CoA, no Disconnect; with `Reauthenticate connected users every minute` the answer is the command",
            "code",
            _CODE,
        ),
        Claim("identification", "not needed", "code", _CODE),
        Claim(
            "rate",
            "WISPr-Bandwidth-Max-Up and -Down in bit/s, also in the Accept of a re-authentication",
            "code",
            _CODE,
        ),
        Claim("volume", "pfSense-Max-Total-Octets, looked at once a minute; 32 bits", "code", _CODE),
        Claim("redirect", "WISPr-Redirection-URL, once after the login; nobody is held there", "code", _CODE),
        Claim("session-timeout", "counts from the session's start, looked at once a minute", "code", _CODE),
        Claim("counters", "with Interim: octets of the whole session, with gigawords", "code", _CODE),
        Claim(
            "counters",
            "with Stop/Start: a Stop and a Start under one id every minute, counters from zero",
            "code",
            _CODE,
        ),
        Claim("interval", "60 s, or Acct-Interim-Interval in whole minutes", "code", _CODE),
        Claim("quirk", "the report of a minute is sent before its re-authentication: one pass enforces", "code", _CODE),
        Claim(
            "quirk",
            "only a Reject ends a session: an operator's disconnect too takes until the next re-authentication",
            "code",
            _CODE,
        ),
    ),
)
