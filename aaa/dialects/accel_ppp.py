"""accel-ppp, and VyOS, whose PPPoE and IPoE servers it is; with `attr=Filter-Id` in its shaper section."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Claim, Dialect, kbps, rate_bps
from aaa.wire import Attribute
from charging.plan import Profile


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    """Filter-Id is where its shaper reads the rate, so a filter's name is said only where there is no rate."""
    rate = rate_bps(profile)
    if rate is not None:
        up_bps, down_bps = rate
        # Without a letter: it reads 1G as ten times that.
        return (("Filter-Id", f"{kbps(down_bps)}/{kbps(up_bps)}"),)
    return () if profile.filter is None else (("Filter-Id", profile.filter),)


ACCEL_PPP: Final = Dialect(
    name="accel-ppp",
    about="accel-ppp and VyOS: speeds by Filter-Id (down/up in kbit/s); redirect by a new login and its pool",
    capability="rate",
    profile=_profile,
    identification=("User-Name", "Acct-Session-Id"),
    reduced_identification=("Acct-Session-Id",),
    telling_apart=("Framed-IP-Address", "Calling-Station-Id"),
    unlimited=(("Filter-Id", "0/0"),),
    redirect_by_coa=False,
    session_timeout_extendable=False,
    one_in_flight=True,
    proof_of_ack=False,
    claims=(
        Claim("enforcement", "CoA and Disconnect on the port of `dae-server`, 3799", "measured", "accel-ppp"),
        Claim(
            "enforcement",
            "acknowledges a CoA it does not understand: only the next report is believed",
            "measured",
            "accel-ppp",
        ),
        Claim("identification", "Acct-Session-Id or User-Name, compared as exact strings", "measured", "accel-ppp"),
        Claim("rate", "Filter-Id = down/up in kbit/s, with `attr=Filter-Id` in [shaper]", "measured", "accel-ppp"),
        Claim("rate", "a figure with the letter G becomes ten times as much: never sent", "measured", "accel-ppp"),
        Claim("volume", "none", "code", "accel-ppp"),
        Claim("redirect", "by the pool of a new login; no CoA moves a session there", "assumed"),
        Claim("session-timeout", "one in the Accept can not be extended", "measured", "accel-ppp"),
        Claim(
            "counters",
            "octets of the whole session, Input from the subscriber, with gigawords",
            "measured",
            "accel-ppp",
        ),
        Claim(
            "identification",
            "User-Name, Acct-Session-Id, Framed-IP-Address and Calling-Station-Id must all be the session's",
            "code",
            "accel-ppp, radius.c",
        ),
        Claim("interval", "as Acct-Interim-Interval says", "measured", "accel-ppp"),
        Claim("quirk", "drops a session 7 s after one unanswered interim report", "measured", "accel-ppp"),
        Claim("quirk", "one CoA per session at a time: a second one is lost", "measured", "accel-ppp"),
        Claim(
            "quirk",
            "Accounting-On may carry no session id; a Disconnect is reported as Admin-Reset",
            "measured",
            "accel-ppp",
        ),
    ),
)
