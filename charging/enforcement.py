"""What a session may go on doing: how much it holds, and when its NAS must be told otherwise."""

from __future__ import annotations

from typing import Final

from charging import rating
from charging.book import Book
from charging.buckets import Rated, Usage, charged_part, read_rated
from charging.money import MAX_AMOUNT
from charging.plan import Instant, Plan, Profile
from charging.session import Session
from charging.tariff import Position, reach

#: A report's own way to us: the NAS writes it, the network carries it, the writer commits it.
REPORT_DELAY_SECONDS: Final = 5
#: The longest that a command takes with all its retransmissions (RFC 5080: 30 s).
COMMAND_SECONDS: Final = 30
#: What a line without a known rate is taken to carry in each direction, octets/s (20 Mbit/s).
UNKNOWN_LINE_OCTETS_PER_SECOND: Final = 2_500_000
#: A NAS that shapes is believed within this: half as much again, and what was in its queues.
SHAPING_SLACK_OCTETS: Final = 262_144
#: A report tells of an enforced state only when all of its interval lies after the answer, by this margin.
SETTLING_MS: Final = 2_000
#: How often a NAS that lets a cut session live is told again before a person is called.
MOST_DISCONNECTS: Final = 3
#: The one reason for a cut that money takes back.
EXHAUSTED: Final = "exhausted"
#: A cut that money does not take back.
AT_MAXIMUM: Final = "maximum"
RETRY_MS: Final = 30_000


def slice_of(plan: Plan, interval_seconds: int) -> Usage:
    """What a session can use until our next word reaches its NAS: R·(I+L+D), octets up and down, and seconds."""
    span = interval_seconds + REPORT_DELAY_SECONDS + COMMAND_SECONDS
    up = plan.max_up_octets_per_second
    down = plan.max_down_octets_per_second
    return Usage(
        (UNKNOWN_LINE_OCTETS_PER_SECOND if up is None else up) * span,
        (UNKNOWN_LINE_OCTETS_PER_SECOND if down is None else down) * span,
        span,
    )


def hold_next(book: Book, session: Session, plan: Plan, now: Instant) -> bool:
    """Reserve the next slice for a session; False when nothing is left of what the plan charges."""
    if not plan.charged_units:
        return True
    want = slice_of(plan, session.interval_seconds)
    if (
        plan.charges_total_octets_only
        and not book.is_scoped()
        and book.keeps_hold(session, want.up + want.down, session.stale_at, now)
    ):
        return True
    if book.is_plain(plan):
        book.release(session)
        coverage = book.coverable(session, plan, want, now)
    else:
        book.release(session)
        coverage = rating.hold(book, session, plan, want, read_rated(session.rated), now)
    book.hold(session, coverage, session.stale_at)
    return not (coverage.refused or nothing_covered(plan, want, coverage.uncovered))


def paid_until(book: Book, session: Session, plan: Plan, now: Instant) -> Instant | None:
    """When the first change of prices and buckets comes from which nothing pays any more; None: not within days."""
    want = slice_of(plan, session.interval_seconds)
    rated = read_rated(session.rated)
    for at, coverage in rating.after_changes(book, session, plan, want, rated, now):
        if coverage.refused or nothing_covered(plan, want, coverage.uncovered):
            return at
    return None


def nothing_covered(plan: Plan, want: Usage, uncovered: Usage) -> bool:
    """Was nothing at all granted of something that the plan charges?"""
    want = charged_part(plan, want)
    if want.seconds and uncovered.seconds == want.seconds:
        return True
    if "total" in plan.charged_directions:
        return uncovered.up + uncovered.down == want.up + want.down
    return bool((want.up and uncovered.up == want.up) or (want.down and uncovered.down == want.down))


def profile_of(plan: Plan, session: Session) -> Profile:
    """What the NAS should apply to a session now."""
    if session.wanted == "exhausted" and plan.exhausted.profile is not None:
        return plan.exhausted.profile
    return plan.profile


def at_maximum(book: Book, session: Session, plan: Plan, now: Instant) -> bool:
    """Has the session come to the maximum of a price line that disconnects there?"""
    if not plan.disconnects_at_maximum:
        return False
    rated = read_rated(session.rated)
    for index, rate in rating.lines_at(session, plan, now):
        if rate.maximum_micros is not None and rate.beyond == "disconnect":
            before = rated.get(index, Rated(0, 0))
            counted = rating.counted_by(book, session, plan, rate, before, now)
            if not reach(rate, Position(before.units, counted, before.micros), MAX_AMOUNT, plan.rounding):
                return True
    return False


def exhaust(book: Book, session: Session, plan: Plan, now: Instant) -> None:
    """Nothing pays for this session any more: have the plan's exhausted action applied; at a price line's maximum, end it."""
    book.release(session)
    if at_maximum(book, session, plan, now):
        book.command(session, "cut", AT_MAXIMUM, now)
        book.notify(EXHAUSTED, AT_MAXIMUM, now, session=session)
        return
    book.command(session, "cut" if plan.exhausted.action == "disconnect" else "exhausted", EXHAUSTED, now)
    book.notify("exhausted", plan.exhausted.action, now, session=session, facts={"action": plan.exhausted.action})


def cover_again(book: Book, now: Instant) -> None:
    """After a draw: sessions whose hold it took get another one from what is left, or hear that nothing is."""
    for other in book.trim_holds():
        plan = book.plans(other.plan_version_id)
        if other.wanted == "full" and not hold_next(book, other, plan, now):
            exhaust(book, other, plan, now)


def reconsider(book: Book, reason: str, now: Instant) -> None:
    """Money or a hold came back: give live sessions that had nothing their slice and their full service again."""
    for session in book.live_sessions():
        if session.wanted == "full" or (session.wanted == "cut" and session.wanted_reason != EXHAUSTED):
            continue  # money does not bring back what an operator, or the ladder, has ended
        plan = book.plans(session.plan_version_id)
        if book.account.status == "active" and hold_next(book, session, plan, now):
            session.failed_commands = 0
            book.command(session, "full", reason, now)
            book.notify("restored", reason, now, session=session, facts={"reason": reason})
        else:
            book.release(session)


def free_octets(session: Session, plan: Plan, uncovered: Usage, event_at: Instant) -> int:
    """How many uncovered octets the exhausted profile allows for nothing, once the NAS has said that it applies it."""
    profile = plan.exhausted.profile
    if session.wanted != "exhausted" or session.acked_version < session.wanted_version or profile is None:
        return 0
    octets = uncovered.up + uncovered.down
    limit = _shaped_octets(profile, event_at - max(session.acked_at or 0, session.last_event_at))
    return octets if limit is None else min(octets, limit)


def check_applied(book: Book, session: Session, plan: Plan, used: Usage, event_at: Instant, now: Instant) -> None:
    """An ACK is not yet a fact: does what the NAS reports agree with what it was told? If not, the next rung down.

    Call it before the session's `last_event_at` moves on.
    """
    if session.acked_version < session.wanted_version or session.last_event_at < (session.acked_at or 0) + SETTLING_MS:
        return
    if session.wanted == "exhausted" and plan.exhausted.profile is not None:
        limit = _shaped_octets(plan.exhausted.profile, event_at - session.last_event_at)
        if limit is not None and used.up + used.down > limit:
            book.command(session, "cut", "profile-not-applied", now)
    elif session.wanted == "cut":
        disconnect_again(book, session, "still-alive", now)


def command_acked(book: Book, session: Session, version: int, now: Instant) -> int:
    """The NAS says that it did what was wanted; its next report will tell. 1 when this was news."""
    if version <= session.acked_version:
        return 0
    session.acked_version = version
    session.acked_at = now
    book.changed_sessions.add(session.session_id)
    return 1


def command_failed(book: Book, session: Session, version: int, answer: str, now: Instant) -> None:
    """The NAS refused or never answered: a profile falls down the ladder to Disconnect, a Disconnect is repeated."""
    if version != session.wanted_version or session.closed_at is not None:
        return  # something newer is wanted, or nothing any more
    if session.wanted == "cut":
        disconnect_again(book, session, answer, now)
    else:
        book.release(session)
        book.command(session, "cut", answer, now)


def disconnect_again(book: Book, session: Session, reason: str, now: Instant) -> None:
    """Repeat a Disconnect that had no effect, ever later, and call a person when it stays so."""
    session.failed_commands += 1
    book.changed_sessions.add(session.session_id)
    if session.failed_commands <= MOST_DISCONNECTS:
        book.command(session, "cut", reason, now, not_before=now + RETRY_MS * 2 ** (session.failed_commands - 1))
    elif session.failed_commands == MOST_DISCONNECTS + 1:
        book.notify("enforcement-failed", reason, now, session=session, facts={"reason": reason})


def _shaped_octets(profile: Profile, milliseconds: int) -> int | None:
    """What a profile lets through in that time at most; None where it does not shape."""
    if profile.rate_up_bps is None or profile.rate_down_bps is None:
        return None
    octets_per_second = (profile.rate_up_bps + profile.rate_down_bps) // 8
    return octets_per_second * max(milliseconds, 0) * 3 // 2 // 1000 + SHAPING_SLACK_OCTETS
