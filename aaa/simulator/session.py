"""A subscriber's session on a simulated NAS: its true counters, and what has been said about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from aaa.simulator.behaviour import Instant
from aaa.simulator.profile import NOTHING_TOLD, Told

_BIT_MS_PER_OCTET: Final = 8_000

Method = Literal["pap", "chap"]
State = Literal["asking", "online", "refused", "unanswered", "ended"]


class Figures(NamedTuple):
    """Cumulative since the session's start: octets from (`up`) and to (`down`) the subscriber, and seconds."""

    octets_up: int = 0
    octets_down: int = 0
    seconds: int = 0

    def highest(self, other: Figures) -> Figures:
        """The higher of each."""
        return Figures(*map(max, self, other))


NOTHING: Final = Figures()


@dataclass(slots=True, eq=False)
class SimulatedSession:
    """One login and what follows. The simulated NAS changes it, everybody else reads.

    `octets_up` and `octets_down` are the truth, whatever the reports say: no wrap, no reset, the RFC's direction.
    `sent` and `acked`: the highest true figures that were reported, and of those that were answered.
    """

    number: int
    username: str
    password: str = field(repr=False)
    method: Method
    calling_station: str
    nas_port: int
    demand_up_bps: int
    demand_down_bps: int
    acct_session_id: str
    framed_address: str
    state: State = "asking"
    told: Told = NOTHING_TOLD
    classes: tuple[bytes, ...] = ()
    reply_message: str | None = None
    started_at: Instant = 0
    moved_at: Instant = 0
    ended_at: Instant | None = None
    terminate_cause: str | None = None
    interim_at: Instant | None = None
    timeout_at: Instant | None = None
    redirected_bps: int = 0
    limit_octets: int | None = None
    """Where its NAS stops it."""
    sent: Figures = NOTHING
    acked: Figures = NOTHING
    reset_octets_up: int = 0
    reset_octets_down: int = 0
    """The octets before the last counter reset: reports count from here."""
    stop_acked: bool = False
    _bit_ms_up: int = 0
    _bit_ms_down: int = 0

    @property
    def online(self) -> bool:
        """Accepted, and not ended."""
        return self.state == "online"

    @property
    def octets_up(self) -> int:
        """From the subscriber, until the last `move`."""
        return self._bit_ms_up // _BIT_MS_PER_OCTET

    @property
    def octets_down(self) -> int:
        """To the subscriber, until the last `move`."""
        return self._bit_ms_down // _BIT_MS_PER_OCTET

    @property
    def rate_up_bps(self) -> int:
        """What flows from the subscriber now."""
        return self._rate(self.demand_up_bps, self.told.up_bps)

    @property
    def rate_down_bps(self) -> int:
        """What flows to the subscriber now."""
        return self._rate(self.demand_down_bps, self.told.down_bps)

    def _rate(self, demand_bps: int, told_bps: int | None) -> int:
        rate = demand_bps if told_bps is None else min(demand_bps, told_bps)
        return rate if self.told.redirect is None else min(rate, self.redirected_bps)

    def move(self, now: Instant) -> None:
        """Let the traffic since the last `move` flow. How often this is called changes no octet."""
        if self.online and now > self.moved_at:
            elapsed_ms = now - self.moved_at
            up, down = self.rate_up_bps * elapsed_ms, self.rate_down_bps * elapsed_ms
            if self.limit_octets is not None:
                left = max(self.limit_octets - self.octets_up - self.octets_down, 0) * _BIT_MS_PER_OCTET
                if up + down > left:
                    up, down = left * up // (up + down), left * down // (up + down)
            self._bit_ms_up += up
            self._bit_ms_down += down
            self.moved_at = now

    def figures(self, now: Instant) -> Figures:
        """The true figures at this moment; of an ended session, those it ended with."""
        self.move(now)
        until = self.ended_at if self.ended_at is not None else now
        return Figures(self.octets_up, self.octets_down, max(0, until - self.started_at) // 1000)

    def reset_counters(self, now: Instant) -> None:
        """From here on reports count octets from zero."""
        self.move(now)
        self.reset_octets_up, self.reset_octets_down = self.octets_up, self.octets_down
