"""accel-ppp, and VyOS, whose PPPoE and IPoE servers it is; with `attr=Filter-Id` in its shaper section."""

from __future__ import annotations

from typing import Final

from aaa.dialects.contract import Dialect, rate_bps
from aaa.wire import Attribute
from charging.plan import Profile


def _profile(profile: Profile) -> tuple[Attribute, ...]:
    """Filter-Id is where its shaper reads the rate, so a filter's name is said only where there is no rate."""
    rate = rate_bps(profile)
    if rate is not None:
        up_bps, down_bps = rate
        return (("Filter-Id", f"{_kbps(down_bps)}/{_kbps(up_bps)}"),)
    return () if profile.filter is None else (("Filter-Id", profile.filter),)


def _kbps(bps: int) -> int:
    """Whole kbit/s without a letter (it reads 1G as ten times that); at least 1, for 0 is no limit."""
    return max(bps // 1000, 1) if bps else 0


ACCEL_PPP: Final = Dialect(
    name="accel-ppp",
    about="accel-ppp and VyOS: speeds by Filter-Id (down/up in kbit/s); redirect by a new login and its pool",
    capability="rate",
    profile=_profile,
    identification=("User-Name", "Acct-Session-Id"),
    reduced_identification=("Acct-Session-Id",),
    unlimited=(("Filter-Id", "0/0"),),
    redirect_by_coa=False,
    session_timeout_extendable=False,
    one_in_flight=True,
    proof_of_ack=False,
)
