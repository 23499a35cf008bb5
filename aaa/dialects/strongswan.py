"""strongSwan: IPsec gateways with its eap-radius plugin, accounting and DAE."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, rate_bps
from aaa.wire import Attribute
from charging.plan import Profile

_LAB: Final = "strongSwan 5.9.8"
_TEST: Final = "tests/peers/test_strongswan.py"


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    """It has no words for a rate. ValueError: rate 0."""
    rate_bps(profile)
    return ()


STRONGSWAN: Final = Dialect(
    name="strongswan",
    about="strongSwan, IKEv2: no speeds; whoever must be slow is cut, and let in again when it is paid",
    capability="disconnect",
    profile=_profile,
    # It looks at nothing else, and ends all tunnels of that user.
    identification=("User-Name",),
    reduced_identification=("User-Name",),
    redirect_by_coa=False,
    bare_nak_is_gone=True,
    # It acknowledges a later one, and has the device log in again at the earlier.
    session_timeout_extendable=False,
    session_timeout_counts_from_now=True,
    # The gateway takes its `over_time` off and the device its own, 24 minutes each by default; the rest must be above 0.
    least_session_timeout_seconds=3_600,
    claims=(
        Claim("enforcement", "Disconnect on the port of `dae`, 3799", "tested", _TEST),
        Claim(
            "identification", "User-Name alone: it ends all tunnels of that user, other devices too", "tested", _TEST
        ),
        Claim("rate", "none", "measured", _LAB),
        Claim("volume", "none", "measured", _LAB),
        Claim("redirect", "none", "measured", _LAB),
        Claim(
            "session-timeout",
            "ends the tunnel, but not before `over_time` (24 min) of the connection; one of less than twice that makes "
            "strongSwan's own clients log in again at once, over and over, so none under an hour is said; a CoA, which "
            "changes nothing else, can only shorten it",
            "measured",
            _LAB,
        ),
        Claim(
            "counters",
            "octets of the whole tunnel, Input from the subscriber; gigawords only when not zero",
            "tested",
            _TEST,
        ),
        Claim("interval", "Acct-Interim-Interval, before `accounting_interval` of its own", "tested", _TEST),
        Claim(
            "quirk",
            "repeats its last answer when source port and identifier repeat: ours are drawn at random",
            "measured",
            _LAB,
        ),
        Claim(
            "quirk",
            "cuts the subscriber off when accounting is not answered (`accounting_close_on_timeout`)",
            "code",
            _LAB,
        ),
        Claim("quirk", "no Error-Cause; it refuses a Disconnect when it has no tunnel of that user", "tested", _TEST),
        Claim("quirk", "re-authentication: the old session's Stop and the new one's Start overlap", "measured", _LAB),
        Claim("quirk", "no Accounting-On or -Off; the Stop after a Disconnect says User-Request", "measured", _LAB),
    ),
)
