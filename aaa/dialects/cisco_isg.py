"""Cisco ISG, on IOS and IOS XE: what a session may do is a service, switched on and off by name."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, rate_bps
from aaa.wire import Attribute
from charging.plan import Profile

_GUIDE: Final = "Intelligent Services Gateway Configuration Guide"


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    """The service of the profile's name, switched on at login. ValueError: rate 0."""
    rate_bps(profile)
    return (("Cisco-Account-Info", f"A{profile.name}"),)


def _switch(profile: Profile, previous: Profile | None) -> tuple[tuple[Attribute, ...], ...]:
    rate_bps(profile)
    activate = _command("activate-service", profile)
    if previous is None or previous.name == profile.name:
        return (activate,)
    return (_command("deactivate-service", previous), activate)


def _command(command: str, profile: Profile) -> tuple[Attribute, ...]:
    return (
        ("Cisco-AVPair", f"subscriber:command={command}"),
        ("Cisco-AVPair", f"subscriber:service-name={profile.name}"),
    )


CISCO_ISG: Final = Dialect(
    name="cisco-isg",
    about="Cisco ISG: each profile is a service of the same name, switched by CoA",
    capability="rate",
    profile=_profile,
    identification=("Acct-Session-Id",),
    reduced_identification=("Acct-Session-Id",),
    coa_port=1700,
    switch=_switch,
    reports_services=True,
    claims=(
        Claim("enforcement", "CoA and Disconnect on port 1700 (`aaa server radius dynamic-author`)", "manual", _GUIDE),
        Claim("enforcement", "one service per CoA: the old one off, then the new one on", "manual", _GUIDE),
        Claim(
            "identification",
            "Acct-Session-Id; where several attributes are given, all must match",
            "manual",
            "Consolidated Platform Configuration Guide, RADIUS Change of Authorization",
        ),
        Claim(
            "rate",
            "stands in the service (`police`, or QU;…;D;… in its RADIUS profile), not in our packets",
            "manual",
            _GUIDE,
        ),
        Claim("volume", "prepaid quotas (QV, QT) are another protocol: not spoken", "manual", _GUIDE),
        Claim("redirect", "a service with L4 redirect, of the exhausted profile's name", "manual", _GUIDE),
        Claim("session-timeout", "counts from the session's start; a CoA can not be relied on to move it", "assumed"),
        Claim(
            "counters", "octets of the whole session, Input from the subscriber, with gigawords", "assumed", "RFC 2866"
        ),
        Claim(
            "counters",
            "a service with accounting of its own sends records beside the session's: leave it off",
            "manual",
            _GUIDE,
        ),
        Claim("interval", "Acct-Interim-Interval, or `aaa accounting update periodic`", "manual", _GUIDE),
        Claim(
            "quirk",
            "between the two CoAs the session has neither service: what then holds is its own configuration",
            "assumed",
        ),
        Claim("quirk", "a NAK to the first is passed over: the service was off already", "assumed"),
    ),
)
