"""hostapd: Wi-Fi access points and 802.1X on wires. It lets in, counts, and cuts; it shapes nothing."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, rate_bps
from aaa.wire import Attribute
from charging.plan import Profile

_LAB: Final = "hostapd 2.10, wired driver"


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    """It has no words for a rate; a VLAN is said by every Accept. ValueError: rate 0."""
    rate_bps(profile)
    return ()


HOSTAPD: Final = Dialect(
    name="hostapd",
    about="hostapd, 802.1X: no speeds; whoever must be slow is cut, and let in again when it is paid",
    capability="disconnect",
    profile=_profile,
    identification=("User-Name", "Acct-Session-Id", "Calling-Station-Id"),
    reduced_identification=("Acct-Session-Id",),
    redirect_by_coa=False,
    claims=(
        Claim("enforcement", "Disconnect on `radius_das_port`, 3799; a CoA changes no speed", "measured", _LAB),
        Claim("identification", "Acct-Session-Id (upper case, exact), User-Name, Calling-Station-Id", "measured", _LAB),
        Claim(
            "identification",
            "Framed-IP-Address, NAS-Port, Class or Proxy-State in a request: NAK 401",
            "measured",
            _LAB,
        ),
        Claim("rate", "none", "measured", _LAB),
        Claim("volume", "none", "measured", _LAB),
        Claim("redirect", "a VLAN in the Accept of a new login", "manual", "hostapd.conf, dynamic_vlan"),
        Claim("session-timeout", "asks the subscriber's device to log in again", "manual", "hostapd.conf, RFC 3580"),
        Claim(
            "counters",
            "octets of the whole session, with gigawords; the wired driver sends none at all",
            "measured",
            _LAB,
        ),
        Claim("interval", "as Acct-Interim-Interval says", "measured", _LAB),
        Claim(
            "quirk",
            "an Event-Timestamp outside `radius_das_time_window` (300 s): silence; we send none",
            "measured",
            _LAB,
        ),
        Claim("quirk", "a lost report comes again under a new id, an interim with fresh counters", "measured", _LAB),
        Claim("quirk", "the Stop after a Disconnect does not say that it was us", "measured", _LAB),
    ),
)
