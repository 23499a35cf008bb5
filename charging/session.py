"""A session's meter and its states: what one report adds to what is already known.

Counters are cumulative, so what a report adds is the difference from the high-water mark, and a mark never falls.
A duplicate, a late interim, a retransmission or a replay therefore adds nothing; there is no other protection
against charging twice and none is needed.

The marks count from the session's beginning, whatever the NAS's counters do: an offset per counter takes the
NAS's number to ours. A wrap raises the offset by 2^32, a reset begins a new epoch whose offset is the mark, and a
Start that carries octets begins below zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal, NamedTuple

from charging.plan import Instant

Kind = Literal["start", "interim", "stop", "other"]
State = Literal["provisional", "open", "closed"]
Wanted = Literal["full", "exhausted", "cut"]
Means = Literal["volume", "rate", "profile", "disconnect", "time"]
"""What the NAS of a session can be made to do, best first: count octets and stop by itself, run at any rate that it is told,
change between profiles that it knows, end the session when told, or only end it at a time that was said at login."""

WRAP: Final = 2**32
#: More than any session has carried: such a number is a counter that ran below zero.
IMPOSSIBLE_OCTETS: Final = 2**60
#: What a line may carry beyond its nominal rate before a report is called suspect: a quarter, and 10 MB.
LINE_SLACK_OCTETS: Final = 10_000_000
#: NAS and server need not agree on the second in which a counter began.
CLOCK_SLACK_MS: Final = 5_000
#: A session that reports every few seconds is not given up after a few seconds.
STALE_FLOOR_MS: Final = 180_000
#: A NAS that reported every few seconds may turn to this interval at once.
MOST_PATIENT_FROM: Final = 60
#: A login that no report follows.
PROVISIONAL_MS: Final = 120_000


class Report(NamedTuple):
    """What a NAS says about one session at one moment. None means that the NAS did not say it: missing is not zero."""

    kind: Kind
    nas_id: int
    nas_address: str
    username: str
    acct_session_id: bytes
    token: tuple[int, int] | None
    """(account_id, session_id) given out at login and brought back unforged."""
    octets_up: int | None
    octets_down: int | None
    seconds: int | None
    gigawords: bool
    """The NAS sent the upper 32 bits, so its counters do not wrap."""
    event_at: Instant
    event_exact: bool
    """`event_at` is the NAS's own time; otherwise it was worked out from the arrival."""
    received_at: Instant
    packet: bytes
    """Kept when nobody is known who could pay for it."""
    calling_station: str | None = None
    nas_port_id: str | None = None
    """NAS-Port-Id, or the number of NAS-Port where there is none."""
    framed_address: str | None = None
    called_station: str = ""
    means: Means = "profile"
    """What this NAS can be made to do, as it is known now."""
    delta: bool = False
    """Its octets are those since the report before; seconds are the session's as ever."""
    nas_username: str | None = None
    """What the NAS calls the user, where that is not `username`."""

    @property
    def session_key(self) -> str:
        """Names the session for reports that carry no token. Acct-Session-Id alone is no name: routers repeat them."""
        return _digest(
            str(self.nas_id),
            self.nas_address,
            self.username,
            self.acct_session_id.hex(),
            self.nas_port_id or "",
            self.calling_station or "",
        )

    @property
    def device_key(self) -> str:
        """Names the subscriber's attachment, as at login."""
        return device_key(self.nas_id, self.nas_address, self.nas_port_id, self.calling_station)


def device_key(nas_id: int, nas_address: str, nas_port_id: str | None, calling_station: str | None) -> str:
    """A digest of NAS, port and calling station; empty where neither port nor station is said."""
    if not calling_station and nas_port_id in {None, "", "0"}:
        return ""  # a NAS without ports calls all of them 0
    return _digest(str(nas_id), nas_address, nas_port_id or "", calling_station or "")


def _digest(*names: str) -> str:
    text = "".join(f"{len(name)}:{name}" for name in names)
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


@dataclass(slots=True)
class Session:
    """A row of the session table, as far as decisions read it; the fields of `SESSION_REWRITTEN` are written back."""

    account_id: int
    session_id: int
    subscriber_id: int
    plan_version_id: int
    nas_id: int
    nas_address: str
    root_id: int
    device_key: str
    session_key: str | None
    acct_session_id: bytes | None
    created_at: Instant
    closed_at: Instant | None
    close_reason: str | None
    state: State
    started_at: Instant | None
    last_report_at: Instant
    last_event_at: Instant
    stale_at: Instant
    interval_seconds: int
    wanted: Wanted
    posted_at: Instant
    octets_up: int = 0
    octets_down: int = 0
    seconds: int = 0
    offset_up: int = 0
    offset_down: int = 0
    offset_seconds: int = 0
    epoch: int = 0
    epoch_seconds: int = 0
    gigawords_seen: bool = False
    rated: str = ""
    line_no: int = 0
    leaked_octets: int = 0
    wanted_reason: str = ""
    wanted_version: int = 0
    failed_commands: int = 0
    acked_version: int = 0
    acked_at: Instant | None = None
    nas_group: str = ""
    called_station: str = ""
    realm: str = ""
    service_class: str = ""
    leased: int = 0
    """How many addresses of pools its login (`root_id`) has."""
    means: Means = "profile"
    limit_octets: int | None = None
    """Up and down together, counted as the marks are: where the NAS was told to stop by itself."""
    pace_permille: int = 1000
    """The part of its plan's rate that it may run at, so that what is left lasts."""
    asked_interval_seconds: int = 0
    """The shorter reporting interval that it was asked for; 0: its plan's."""
    timeout_seconds: int | None = None
    """When it ends by itself for the balance's sake, counted from its start; None: it does not."""
    exhausted_at: Instant | None = None
    """Since when nothing pays for it; None: something does."""
    exhausted_until: Instant | None = None
    """When its NAS had gone back to the full profile; None: its last report was later."""
    profile: str = ""
    """Which of its plan's profiles it is to have while something pays; empty: the plan's own."""
    acked_profile: str = ""
    """Which of them its NAS has said that it applies."""
    cap: str = ""
    """The cap of its plan that it was exhausted for the last time; empty: nothing paid."""
    review_at: Instant | None = None
    """When the clock may change what it is to have; None: it does not."""


class Advance(NamedTuple):
    """Where a report moves the meter. `flags` and `raw` are empty for a report that was taken as it stood."""

    octets_up: int
    octets_down: int
    seconds: int
    offset_up: int
    offset_down: int
    offset_seconds: int
    epoch: int
    epoch_seconds: int
    flags: str
    raw: str


def advance(session: Session, report: Report, max_up: int | None, max_down: int | None) -> Advance:
    """The meter after `report`. `max_up`, `max_down`: what the line can carry, octets/s; None: unknown.

    Marks never fall. A lower counter later in the session is a 32-bit wrap where that is possible, else a reset;
    earlier in the session it is an old report. A delta that the line can not have carried is charged up to what it
    can, and flagged; the NAS's own figure is kept in `raw`.
    """
    if report.delta:
        report = _cumulative(session, report)
    if (report.octets_up or 0) >= IMPOSSIBLE_OCTETS or (report.octets_down or 0) >= IMPOSSIBLE_OCTETS:
        step = advance(session, report._replace(octets_up=_count(report.octets_up),
                                                octets_down=_count(report.octets_down)), max_up, max_down)  # fmt: skip
        return step._replace(flags=f"{step.flags} suspect".lstrip(), raw=_raw(report))
    return _baseline(session, report) if report.kind == "start" else _moved(session, report, max_up, max_down)


def _cumulative(session: Session, report: Report) -> Report:
    """A report of differences as one of sums. One that is not newer than what is known adds nothing: it was counted."""
    if report.seconds is not None:
        newer = report.seconds + session.offset_seconds > session.seconds
    else:
        newer = report.event_at > session.last_event_at + (0 if report.event_exact else CLOCK_SLACK_MS)
    if report.kind == "start" or not newer:
        return report._replace(octets_up=None, octets_down=None, delta=False)
    return report._replace(
        octets_up=session.octets_up - session.offset_up + (report.octets_up or 0),
        octets_down=session.octets_down - session.offset_down + (report.octets_down or 0),
        gigawords=True,
        delta=False,
    )


def _baseline(session: Session, report: Report) -> Advance:
    """Some routers count on through a reconnect: what they had counted before a Start is not this session's."""
    if session.line_no or session.octets_up or session.octets_down or session.seconds:
        return _unmoved(session)
    up, down = -(report.octets_up or 0), -(report.octets_down or 0)
    flags = "baseline" if up or down else ""
    return Advance(
        0, 0, 0, up, down, -(report.seconds or 0), session.epoch, session.epoch_seconds, flags,
        _raw(report) if flags else "",
    )  # fmt: skip


def _moved(session: Session, report: Report, max_up: int | None, max_down: int | None) -> Advance:
    mark_up, mark_down, mark_seconds = session.octets_up, session.octets_down, session.seconds
    offset_up, offset_down, offset_seconds = session.offset_up, session.offset_down, session.offset_seconds
    epoch, epoch_seconds = session.epoch, session.epoch_seconds
    flags = ""

    up = mark_up if report.octets_up is None else report.octets_up + offset_up
    down = mark_down if report.octets_down is None else report.octets_down + offset_down
    seconds = mark_seconds if report.seconds is None else report.seconds + offset_seconds

    elapsed = max((report.event_at - session.last_event_at) // 1000, seconds - mark_seconds, 1)
    if (epoch or epoch_seconds) and _late(session, report, seconds):
        return _unmoved(session)  # what its counters count from may be over: a wrap or a reset lies between
    if up < mark_up or down < mark_down:
        if _restarted(session, report):
            flags = "reset"
            epoch, epoch_seconds = epoch + 1, mark_seconds
            offset_up, offset_down, offset_seconds = mark_up, mark_down, mark_seconds
            up, down = mark_up + (report.octets_up or 0), mark_down + (report.octets_down or 0)
            seconds = mark_seconds + (report.seconds or 0)
            elapsed = max((report.event_at - session.last_event_at) // 1000, report.seconds or 0, 1)
        elif seconds > mark_seconds:
            wrap_up = up < mark_up and _wraps(session, report, mark_up - offset_up, up - mark_up, max_up, elapsed)
            wrap_down = down < mark_down and _wraps(
                session, report, mark_down - offset_down, down - mark_down, max_down, elapsed
            )
            if (wrap_up or up >= mark_up) and (wrap_down or down >= mark_down):
                flags = "wrap"
                epoch_seconds = mark_seconds
                if wrap_up:
                    offset_up += WRAP
                    up += WRAP
                if wrap_down:
                    offset_down += WRAP
                    down += WRAP
            else:
                flags = "reset"
                epoch, epoch_seconds = epoch + 1, mark_seconds
                offset_up, offset_down = mark_up, mark_down
                up, down = mark_up + (report.octets_up or 0), mark_down + (report.octets_down or 0)

    over_up = 0 if max_up is None else up - mark_up - possible_octets(max_up, elapsed)
    over_down = 0 if max_down is None else down - mark_down - possible_octets(max_down, elapsed)
    raw = ""
    if over_up > 0 or over_down > 0:
        flags = f"{flags} suspect".lstrip()
        if over_up > 0:
            up, offset_up = up - over_up, offset_up - over_up
        if over_down > 0:
            down, offset_down = down - over_down, offset_down - over_down
    if flags:
        raw = _raw(report)
    return Advance(
        up if up > mark_up else mark_up,
        down if down > mark_down else mark_down,
        seconds if seconds > mark_seconds else mark_seconds,
        offset_up,
        offset_down,
        offset_seconds,
        epoch,
        epoch_seconds,
        flags,
        raw,
    )


def _count(octets: int | None) -> int | None:
    return None if octets is None or octets >= IMPOSSIBLE_OCTETS else octets


def _raw(report: Report) -> str:
    return f"up={report.octets_up} down={report.octets_down} seconds={report.seconds}"


def possible_octets(octets_per_second: int, seconds: int) -> int:
    """What a line of this rate can have carried at most: its rate and a quarter, and a burst, or the second that whole
    seconds do not show."""
    return octets_per_second * seconds * 5 // 4 + max(LINE_SLACK_OCTETS, octets_per_second)


def _unmoved(session: Session) -> Advance:
    return Advance(
        session.octets_up,
        session.octets_down,
        session.seconds,
        session.offset_up,
        session.offset_down,
        session.offset_seconds,
        session.epoch,
        session.epoch_seconds,
        "",
        "",
    )


def _wraps(session: Session, report: Report, counter: int, fall: int, line: int | None, elapsed: int) -> bool:
    """Is this lower counter a 32-bit wrap? `counter`: the NAS's last number; `fall`: new minus old, negative."""
    if session.gigawords_seen or report.gigawords or counter % WRAP <= WRAP // 2:
        return False
    risen = fall + WRAP
    return risen <= (possible_octets(line, elapsed) if line is not None else WRAP // 2)


def _late(session: Session, report: Report, seconds: int) -> bool:
    """Is this report older than the newest one of its session? `seconds`: its session time, counted as ours."""
    if report.event_exact and report.event_at < session.last_event_at:
        # A Stop may come without counters: what its NAS had counted before then is news all the same. Its session time says
        # so, unless that too began anew.
        return report.seconds is None or seconds <= session.seconds or session.offset_seconds > 0
    return report.seconds is not None and seconds < session.seconds and not _restarted(session, report)


def _restarted(session: Session, report: Report) -> bool:
    """Did the NAS begin counting anew, time included, after the last report that we have of this session?"""
    if not report.event_exact or report.seconds is None:
        return False
    return report.event_at - report.seconds * 1000 >= session.last_event_at - CLOCK_SLACK_MS and (
        report.event_at > session.last_event_at + CLOCK_SLACK_MS
    )


def interval_seen(session: Session, report: Report, usual_seconds: int) -> int:
    """The reporting interval that a NAS really keeps, in seconds: down by degrees, and up at once, but at most to twice
    what it was: a long silence is an outage more often than a new interval. Where another one than the usual was asked for, it
    is either of the two at once."""
    seen = (report.event_at - session.last_event_at) // 1000
    known = session.interval_seconds
    if report.kind != "interim" or seen <= 0:
        return known
    if session.asked_interval_seconds:
        if seen <= session.asked_interval_seconds * 3 // 2:
            return seen
        known = max(known, usual_seconds)
    return min(seen, max(2 * known, MOST_PATIENT_FROM)) if seen > known else (known * 3 + seen) // 4


def stale_at(now: Instant, interval_seconds: int) -> Instant:
    """When a session that says nothing more is given up: three times its interval."""
    return now + max(3_000 * interval_seconds, STALE_FLOOR_MS)


#: (state, kind of report) → state afterwards. Closed is final.
NEXT_STATE: Final[dict[tuple[State, Kind], State]] = {
    ("provisional", "start"): "open",
    ("provisional", "interim"): "open",
    ("provisional", "stop"): "closed",
    ("open", "start"): "open",
    ("open", "interim"): "open",
    ("open", "stop"): "closed",
    ("closed", "start"): "closed",
    ("closed", "interim"): "closed",
    ("closed", "stop"): "closed",
}
