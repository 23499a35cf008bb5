"""Nokia (Alcatel-Lucent) 7750 SR and VSR with enhanced subscriber management."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, kbps, rate_bps
from aaa.wire import Attribute
from charging.plan import Profile

_OVERRIDE: Final = "Alc-Subscriber-QoS-Override"
_GUIDE: Final = "7750 SR RADIUS Attributes Reference Guide"


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    """Egress is to the subscriber; queue 1 is the one of a simple SLA profile."""
    said: list[Attribute] = []
    rate = rate_bps(profile)
    if rate is not None:
        said += [(_OVERRIDE, f"i:q:1:pir={_pir(rate[0])}"), (_OVERRIDE, f"e:q:1:pir={_pir(rate[1])}")]
    if profile.address_list is not None:
        said.append(("Alc-SLA-Prof-Str", profile.address_list))
    return tuple(said)


def _pir(bps: int) -> int:
    """kbit/s; -2 is no override."""
    return kbps(bps) or -2


NOKIA: Final = Dialect(
    name="nokia",
    about="Nokia 7750 SR: speeds by Alc-Subscriber-QoS-Override of queue 1, redirect by the SLA profile that address_list names",
    capability="rate",
    profile=_profile,
    # One key and no other: two that do not mean the same host are answered with 503.
    identification=("Acct-Session-Id",),
    reduced_identification=("Acct-Session-Id",),
    unlimited=((_OVERRIDE, "i:q:1:pir=-2"), (_OVERRIDE, "e:q:1:pir=-2")),
    lasting=frozenset({"Alc-SLA-Prof-Str"}),
    least_interval_seconds=300,
    claims=(
        Claim("enforcement", "CoA and Disconnect on port 3799 (`accept-authorization-change`)", "manual", _GUIDE),
        Claim(
            "identification", "one key: Acct-Session-Id; with a second that disagrees it answers 503", "manual", _GUIDE
        ),
        Claim("rate", "Alc-Subscriber-QoS-Override = i|e:q:1:pir=…, kbit/s; -2 takes it back", "manual", _GUIDE),
        Claim("rate", "an override of a queue that the QoS policy lacks is stored and does nothing", "manual", _GUIDE),
        Claim("volume", "Alc-Credit-Control-Quota wants credit control configured: not spoken", "manual", _GUIDE),
        Claim(
            "redirect", "Alc-SLA-Prof-Str = the profile's address_list; its ingress filter redirects", "manual", _GUIDE
        ),
        Claim("session-timeout", "counts from the session's start; a CoA replaces it", "assumed", _GUIDE),
        Claim(
            "counters",
            "octets of the whole session, with gigawords, once std-acct-attributes is included",
            "manual",
            _GUIDE,
        ),
        Claim("counters", "per queue and per host there are others (Alc-Acct-*-Octets-64): not read", "manual", _GUIDE),
        Claim("interval", "Acct-Interim-Interval, 5 minutes at least unless configured otherwise", "manual", _GUIDE),
    ),
)
