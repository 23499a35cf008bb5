"""Huawei broadband gateways: ME60, NE40E, NetEngine 8000, with RADIUS+1.1."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import HIGHEST_INTEGER, Claim, Dialect, rate_bps
from aaa.wire import Attribute
from charging.plan import Profile

OCTETS_PER_KB: Final = 1024
#: 0xFFFFFFFF would be no limit.
MOST_KB: Final = 0xFFFFFFFE

_APPENDIX: Final = "NetEngine 8000 Configuration Guide, Appendix: RADIUS Attributes"


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    said: list[Attribute] = []
    rate = rate_bps(profile)
    if rate is not None:
        sides = (("Input", rate[0], profile.burst_up_bps), ("Output", rate[1], profile.burst_down_bps))
        for side, bps, peak_bps in sides:
            if bps:
                said.append((f"Huawei-{side}-Average-Rate", min(bps, HIGHEST_INTEGER)))
            if bps and peak_bps:
                said.append((f"Huawei-{side}-Peak-Rate", min(peak_bps, HIGHEST_INTEGER)))
    if profile.redirect_url is not None:
        said.append(("Huawei-HTTP-Redirect-URL", profile.redirect_url))
    return tuple(said)


def _quota(octets: int) -> tuple[Attribute, ...]:
    """ValueError for less than 1 octet: 0 logs out at once."""
    if octets < 1:
        raise ValueError(f"a volume limit of {octets} octets would end the session at once")
    return (("Huawei-Remanent-Volume", min(max(octets // OCTETS_PER_KB, 1), MOST_KB)),)


HUAWEI: Final = Dialect(
    name="huawei",
    about="Huawei ME60, NE40E, NetEngine: speeds by Huawei-Input/Output-Average-Rate",
    capability="rate",
    profile=_profile,
    identification=("Acct-Session-Id",),
    reduced_identification=("Acct-Session-Id",),
    unlimited=(
        ("Huawei-Input-Average-Rate", 0),
        ("Huawei-Output-Average-Rate", 0),
        ("Huawei-Input-Peak-Rate", 0),
        ("Huawei-Output-Peak-Rate", 0),
    ),
    lasting=frozenset({"Huawei-HTTP-Redirect-URL"}),
    quota=_quota,
    quota_counts_from_now=True,
    session_timeout_counts_from_now=True,
    claims=(
        Claim("enforcement", "CoA and Disconnect on port 3799 (`radius-server authorization`)", "manual", _APPENDIX),
        Claim("identification", "Acct-Session-Id and nothing else", "report"),
        Claim(
            "rate",
            "Huawei-Input/Output-Average-Rate, bit/s; Input is from the subscriber; -Peak-Rate for a burst",
            "manual",
            _APPENDIX,
        ),
        Claim("rate", "0 and 0 is what `user-qos cir-zero` says, without it no limit", "manual", _APPENDIX),
        Claim(
            "volume",
            "Huawei-Remanent-Volume, kB still to go; 0 logs out at once, 0xFFFFFFFF is no limit",
            "manual",
            _APPENDIX,
        ),
        Claim(
            "redirect",
            "Huawei-HTTP-Redirect-URL; whether a CoA takes it back is not known: a new login does",
            "assumed",
            _APPENDIX,
        ),
        Claim("session-timeout", "seconds still to go, also in a CoA", "assumed", _APPENDIX),
        Claim(
            "counters", "octets of the whole session, Input from the subscriber, with gigawords", "manual", _APPENDIX
        ),
        Claim(
            "counters",
            "the unit can be set on the router (byte, kbyte, Mbyte, Gbyte): leave it at byte",
            "manual",
            "SmartAX Commissioning and Configuration Guide",
        ),
        Claim("interval", "Acct-Interim-Interval, or `accounting realtime`", "manual", _APPENDIX),
        Claim("quirk", "refuses the login when the Accounting Start is not answered", "manual", _APPENDIX),
    ),
)
