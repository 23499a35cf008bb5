"""Ubiquiti EdgeRouter: the PPPoE server of EdgeOS, which is Debian's pppd."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, wispr_rate
from aaa.wire import Attribute
from charging.plan import Profile

_SPLYNX: Final = "Splynx, Ubiquiti EdgeRouters PPPoE RADIUS support (EdgeOS 1.8.5)"


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    return wispr_rate(profile)


UBIQUITI_EDGE: Final = Dialect(
    name="ubiquiti-edge",
    about="Ubiquiti EdgeRouter, PPPoE: speeds by WISPr-Bandwidth-Max-* at login; changes by a new login",
    capability="disconnect",
    profile=_profile,
    # Its session ids may all be the same: without the name they would mean everybody.
    identification=("User-Name", "Acct-Session-Id"),
    reduced_identification=("User-Name", "Acct-Session-Id"),
    redirect_by_coa=False,
    coa_port=3779,
    counter_bits=32,
    claims=(
        Claim(
            "enforcement",
            "Disconnect on port 3779, once its listener is installed; the client is back within seconds",
            "report",
            _SPLYNX,
        ),
        Claim("identification", "User-Name and Acct-Session-Id", "assumed"),
        Claim(
            "rate",
            "WISPr-Bandwidth-Max-Up and -Down in the Accept, bit/s",
            "report",
            "Splynx, RADIUS based speed limits",
        ),
        Claim("volume", "none", "assumed"),
        Claim(
            "redirect",
            "by the address of a new login (Framed-Pool is not read: give addresses by the subscriber's profile)",
            "assumed",
        ),
        Claim("session-timeout", "counts from the session's start", "code", "pppd, radius plugin"),
        Claim(
            "counters",
            "octets of the whole session, Input from the subscriber, 32 bits: no gigawords ever",
            "code",
            "pppd, radius plugin",
        ),
        Claim("interval", "Acct-Interim-Interval, raised where it is too short", "code", "pppd, radius plugin"),
        Claim(
            "quirk",
            "Debian's pppd sends the literal %lX…%hX for a session id, the same for every session",
            "measured",
            "pppd",
        ),
        Claim("quirk", "no Accounting-On or -Off", "code", "pppd, radius plugin"),
    ),
)
