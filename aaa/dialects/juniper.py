"""Juniper MX (Junos OS) and E series (JunosE) broadband gateways: services with parameters, switched by name."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, rate_bps
from aaa.wire import Attribute
from charging.plan import Profile

RATE_SERVICE: Final = "aaa-rate"
"""The dynamic profile (service definition) with two parameters, bit/s up and down, that every rate is said by."""
UNLIMITED_BPS: Final = 100_000_000_000
"""What a direction that the plan leaves free is policed to."""
OCTETS_PER_MB: Final = 1_000_000
#: ERX-Service-Volume has 24 bits beside its tag.
MOST_MB: Final = 2**24 - 1

_VSAS: Final = "Juniper Networks VSAs Supported by the AAA Service Framework"
_MANAGER: Final = "JunosE Broadband Access Configuration Guide, Service Manager"


def _services(profile: Profile) -> tuple[str, ...]:
    services: list[str] = []
    rate = rate_bps(profile)
    if rate is not None:
        up, down = (bps or UNLIMITED_BPS for bps in rate)
        services.append(f"{RATE_SERVICE}({up},{down})")
    if profile.redirect_url is not None or profile.address_list is not None:
        services.append(profile.name)
    return tuple(services)


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    return tuple((f"ERX-Service-Activate:{tag}", service) for tag, service in enumerate(_services(profile), 1))


def _switch(profile: Profile, previous: Profile | None) -> tuple[tuple[Attribute, ...], ...]:
    """One CoA: the router takes what is to go before what is to come."""
    wanted = _services(profile)
    gone = [service for service in (() if previous is None else _services(previous)) if service not in wanted]
    return ((*(("ERX-Service-Deactivate", service) for service in gone), *_profile(profile)),)


def _quota(octets: int) -> tuple[Attribute, ...]:
    if octets < 1:
        raise ValueError(f"a volume limit of {octets} octets would mean no limit")
    return (("ERX-Service-Volume:1", min(max(octets // OCTETS_PER_MB, 1), MOST_MB)),)


JUNIPER: Final = Dialect(
    name="juniper",
    about="Juniper MX and E series: speeds by the service aaa-rate(up,down), redirect by a service of the profile's name",
    capability="rate",
    profile=_profile,
    identification=("User-Name", "Acct-Session-Id"),
    reduced_identification=("Acct-Session-Id",),
    switch=_switch,
    quota=_quota,
    reports_services=True,
    least_interval_seconds=600,
    claims=(
        Claim("enforcement", "CoA and Disconnect on port 3799", "manual", "Junos OS, Using RADIUS Dynamic Requests"),
        Claim(
            "enforcement",
            "one CoA may carry both: deactivations are carried out first since 16.1R4, before that last",
            "manual",
            "Junos OS Feature Explorer 6605",
        ),
        Claim("identification", "Acct-Session-Id, with User-Name", "manual", "Junos OS, Using RADIUS Dynamic Requests"),
        Claim(
            "rate",
            "ERX-Service-Activate = aaa-rate(up,down), bit/s; the service must exist on the router",
            "manual",
            _VSAS,
        ),
        Claim("rate", "a parameter of 100000000000 stands for a direction that the plan leaves free", "assumed"),
        Claim(
            "volume",
            "ERX-Service-Volume, MB in 24 bits; 0 is no limit; needs ERX-Service-Statistics",
            "manual",
            _MANAGER,
        ),
        Claim(
            "volume",
            "at its end the service is taken away, not the session; JunosE counts the output only",
            "manual",
            _MANAGER,
        ),
        Claim("redirect", "a service of the exhausted profile's name (HTTP redirect)", "manual", _VSAS),
        Claim("session-timeout", "counts from the session's start; a CoA replaces it", "assumed", _VSAS),
        Claim("counters", "octets of the whole session, Input from the subscriber, with gigawords", "manual", _VSAS),
        Claim(
            "counters",
            "a service with statistics sends records beside the session's (ERX-Service-Session): leave it off",
            "manual",
            _VSAS,
        ),
        Claim("interval", "Acct-Interim-Interval; less than 600 s is raised to 600", "report"),
    ),
)
