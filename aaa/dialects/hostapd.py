"""hostapd: Wi-Fi access points and 802.1X on wires. It lets in, counts, and cuts; it shapes nothing."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, rate_bps
from aaa.wire import Attribute
from charging.plan import Profile

_LAB: Final = "hostapd 2.10, wired driver"
_TEST: Final = "tests/peers/test_hostapd.py"


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
    session_timeout_extendable=False,
    asks_again_at_timeout=True,
    claims=(
        Claim("enforcement", "Disconnect on `radius_das_port`, 3799; a CoA changes nothing (NAK 401)", "tested", _TEST),
        Claim("identification", "Acct-Session-Id (upper case, exact), User-Name, Calling-Station-Id", "tested", _TEST),
        Claim(
            "identification",
            "Framed-IP-Address, NAS-Port, Class or Proxy-State in a request: NAK 401",
            "measured",
            _LAB,
        ),
        Claim("rate", "none", "measured", _LAB),
        Claim("volume", "none", "measured", _LAB),
        Claim("redirect", "a VLAN in the Accept of a new login", "manual", "hostapd.conf, dynamic_vlan"),
        Claim(
            "session-timeout",
            "ends the session, or with Termination-Action authenticates it again; counted from the newest Accept; a CoA can not move it",
            "measured",
            _LAB,
        ),
        Claim(
            "counters",
            "octets of the whole session, with gigawords; the wired driver sends none at all, only the time",
            "tested",
            _TEST,
        ),
        Claim(
            "interval",
            "as Acct-Interim-Interval says; where hostapd.conf has `radius_acct_interim_interval`, that instead",
            "tested",
            _TEST,
        ),
        Claim(
            "quirk",
            "asks again for running sessions (`eap_reauth_period`, 1 h): a new Class, the same Acct-Session-Id, its counters go on",
            "tested",
            _TEST,
        ),
        Claim(
            "quirk",
            "after a Disconnect on a wire the device is not told; after a Reject hostapd does not hear it for 5 s",
            "tested",
            _TEST,
        ),
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
