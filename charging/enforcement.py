"""What a session may go on doing, and when its NAS must be told otherwise; what is seen of NASes that do not do it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from charging import rating
from charging.book import Book
from charging.buckets import Rated, Usage, read_rated
from charging.level import FAIR_USE, WINDOW, Reached, cap_of, level_of, profile_named, running_period
from charging.money import MAX_AMOUNT
from charging.notices.kinds import Facts
from charging.plan import Exhausted, Instant, Plan, Profile
from charging.session import Session, possible_octets
from charging.slices import ALL, Told, as_usual, finds_something, hold_next, is_spent_early, paid_seconds, told
from charging.tariff import Position, reach
from charging.window import NEVER

#: A NAS that shapes is believed within this: half as much again, and what was in its queues.
SHAPING_SLACK_OCTETS: Final = 262_144
#: A report tells of an enforced state only when all of its interval lies after the answer, by this margin.
SETTLING_MS: Final = 2_000
#: How often a NAS that lets a cut session live is told again before a person is called.
MOST_DISCONNECTS: Final = 3
#: The one reason for a cut that money takes back.
EXHAUSTED: Final = "exhausted"
#: The reason of a cut that the next day, week or month takes back.
CAPPED: Final = "cap"
#: A cut that money does not take back.
AT_MAXIMUM: Final = "maximum"
RETRY_MS: Final = 30_000
#: What a full profile's details are changed for. A NAS that refuses goes on with what it was told before.
LIMIT: Final = "limit"
LANDING: Final = "soft-landing"
SHARED: Final = "shared"
ENOUGH: Final = "enough"
TIMEOUT: Final = "session-timeout"
DETAILS: Final = frozenset({LIMIT, LANDING, SHARED, ENOUGH, TIMEOUT, WINDOW})
#: Its plan's day, week or month is over, or the hour is another one.
ANOTHER_TIME: Final = "another time"
#: The command cannot be sent at all.
NO_COA_PORT: Final = "no-coa-port"
#: A cut of a session that would have nothing left at its next report; it may come back for what there is.
EARLY_CUT: Final = "early-cut"
#: A cut of a session that has been without money for as long as its plan lets it.
GRACE_OVER: Final = "grace-over"
NO_ANSWER: Final = "no-answer"
#: What another session held is there again: it has ended, or needs less.
RELEASED: Final = "released"
#: A cut of a session whose NAS acknowledged the exhausted profile and let it run faster.
NOT_APPLIED: Final = "profile-not-applied"


def ended(plan: Plan, session: Session) -> Exhausted:
    """How a session is treated that nothing pays for, or that came to a cap."""
    if session.cap:
        for cap in plan.caps:
            if cap.name == session.cap:
                return cap.reached
    return plan.exhausted


def profile_of(plan: Plan, session: Session) -> Profile:
    """What the NAS should apply to a session now."""
    if session.wanted == "exhausted" and (profile := ended(plan, session).profile) is not None:
        return profile
    profile = profile_named(plan, session.profile) if session.profile else plan.profile
    if session.pace_permille != ALL:
        profile = paced(profile, session.pace_permille, plan.exhausted.profile)
    if session.asked_interval_seconds:
        profile = replace(profile, interim_interval_seconds=session.asked_interval_seconds)
    return profile


def paced(profile: Profile, permille: int, slowest: Profile | None) -> Profile:
    """The profile at a part of its rates, without bursts, and not below those of another profile."""

    def part(bps: int | None, least_bps: int | None) -> int | None:
        return None if bps is None else min(max(bps * permille // ALL, least_bps or 1), bps)

    return replace(
        profile,
        rate_up_bps=part(profile.rate_up_bps, None if slowest is None else slowest.rate_up_bps),
        rate_down_bps=part(profile.rate_down_bps, None if slowest is None else slowest.rate_down_bps),
        burst_up_bps=None,
        burst_down_bps=None,
    )


def previous_profile(plan: Plan, session: Session) -> Profile | None:
    """What the NAS may still apply to a session that is to have another profile now."""
    if session.exhausted_at is not None and session.wanted == "full":
        return ended(plan, session).profile
    return profile_named(plan, session.acked_profile)


def renew(book: Book, session: Session, plan: Plan, now: Instant, reason: str = "") -> int:
    """`hold_next` for a session that its NAS serves, and the command where the NAS must be told something else now."""
    before = told(session)
    covered = reserve(book, session, plan, now)
    after = told(session)
    if covered and after != before:
        book.command(session, "full", reason or _why(plan, before, after), now)
    return covered


def go_on(book: Book, session: Session, plan: Plan, used: Usage, seconds: int, now: Instant) -> None:
    """After a report of `used` in so many seconds: what the session may use until the next one, or its end."""
    if session.wanted != "full":
        if session.wanted == "exhausted" and (plan.varies or not book.is_plain(plan)):
            reconsider(book, ANOTHER_TIME, now)  # a window has opened, a day or a month begun
        elif session.wanted == "exhausted" and finds_something(book, session, plan, now):
            _reconsider(book, session, RELEASED, now)
        if session.wanted == "exhausted" and _grace_is_over(session, plan, now):
            book.command(session, "cut", GRACE_OVER, now)
        return
    covered = renew(book, session, plan, now)
    if not covered:
        exhaust(book, session, plan, now)
    elif covered < ALL and is_spent_early(session, plan, covered, used, seconds):
        book.release(session)
        book.command(session, "cut", EARLY_CUT, now)


def _grace_is_over(session: Session, plan: Plan, now: Instant) -> bool:
    grace = ended(plan, session).grace_seconds
    return grace is not None and session.exhausted_at is not None and now >= session.exhausted_at + grace * 1000


def reserve(book: Book, session: Session, plan: Plan, now: Instant, shortest_interval_seconds: int = 0) -> int:
    """`hold_next` on the level of service that the session is to have now, and the end of others for whom nothing is left
    then; 0 also at a cap."""
    if plan.varies:
        if plan.caps and cap_of(book.counted, session.subscriber_id, plan, now) is not None:
            return 0
        running = running_period(book, session.subscriber_id) if book.subscriptions else None
        level = level_of(book.counted, session.subscriber_id, plan, now, running)
        session.profile, session.review_at = level.profile, None if level.until >= NEVER else level.until
    starved: list[Session] = []
    covered = hold_next(book, session, plan, now, starved, shortest_interval_seconds)
    for other in starved:
        exhaust(book, other, book.plans(other.plan_version_id), now)
    return covered


def _why(plan: Plan, before: Told, after: Told) -> str:
    if before[4] != after[4]:
        return FAIR_USE if _is_step(plan, before[4]) or _is_step(plan, after[4]) else WINDOW
    if before[0] != after[0]:
        return LIMIT
    if before[3] != after[3]:
        return TIMEOUT
    return LANDING if after[1] < before[1] or after[2] else ENOUGH


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
    session.exhausted_at = now
    session.limit_octets = None
    as_usual(plan, session)
    reached = come_to_cap(book, session, plan, now)
    if reached is not None:
        then = reached.cap.reached
        book.command(session, "cut" if then.action == "disconnect" else "exhausted", CAPPED, now)
        facts: Facts = {"plan": plan.name, "cap": reached.cap.name, "action": then.action, "until_at": reached.until}
        book.notify("capped", reached.cap.name, now, session=session, facts=facts)
        return
    if at_maximum(book, session, plan, now):
        book.command(session, "cut", AT_MAXIMUM, now)
        book.notify("exhausted", AT_MAXIMUM, now, session=session, facts={"action": AT_MAXIMUM})
        return
    book.command(session, "cut" if plan.exhausted.action == "disconnect" else "exhausted", EXHAUSTED, now)
    book.notify("exhausted", plan.exhausted.action, now, session=session, facts={"action": plan.exhausted.action})


def come_to_cap(book: Book, session: Session, plan: Plan, now: Instant) -> Reached | None:
    """Is it a cap that a session has come to? It is remembered with the session, and looked at again when its period ends."""
    reached = cap_of(book.counted, session.subscriber_id, plan, now) if plan.caps else None
    session.cap, session.review_at = ("", None) if reached is None else (reached.cap.name, reached.until)
    return reached


def review(book: Book, session: Session, now: Instant) -> None:
    """What a session is to have may be another thing now: the clock came to a change, or its subscriber to a step."""
    plan = book.plans(session.plan_version_id)
    session.review_at = None
    book.changed_sessions.add(session.session_id)
    if session.wanted != "full":
        _reconsider(book, session, ANOTHER_TIME, now)
    elif not renew(book, session, plan, now):
        exhaust(book, session, plan, now)


def cover_again(book: Book, now: Instant) -> None:
    """After a draw: sessions whose hold it took get another one from what is left, or hear that nothing is."""
    for other in book.trim_holds():
        plan = book.plans(other.plan_version_id)
        if other.wanted == "full" and not renew(book, other, plan, now):
            exhaust(book, other, plan, now)


def reconsider(book: Book, reason: str, now: Instant) -> None:
    """Money or a hold came back: give live sessions that had nothing their slice and their full service again, and those
    that were to make it last theirs."""
    for session in book.live_sessions():
        _reconsider(book, session, reason, now)


def _reconsider(book: Book, session: Session, reason: str, now: Instant) -> None:
    if session.wanted == "cut" and session.wanted_reason not in {EXHAUSTED, CAPPED}:
        return  # money does not bring back what an operator, or the ladder, has ended
    plan = book.plans(session.plan_version_id)
    active = book.account.status == "active"
    if session.wanted == "full":
        varies = plan.varies and session.acct_session_id is not None
        if active and (varies or told(session)[:4] != NOTHING_TOLD):
            _extend(book, session, plan, now)
    elif active and reserve(book, session, plan, now):
        session.failed_commands = 0
        book.command(session, "full", reason, now)
        _lengthen(book, session, plan, now)
        book.notify("restored", reason, now, session=session, facts={"reason": reason})
    else:
        book.release(session)
        if plan.caps:
            _go_on_without(book, session, plan, now)


def _go_on_without(book: Book, session: Session, plan: Plan, now: Instant) -> None:
    """A session stays without its full service, perhaps for another reason than before."""
    before = session.cap
    reached = come_to_cap(book, session, plan, now)
    if session.cap != before and session.wanted == "exhausted":
        exhaust(book, session, plan, now)
    elif reached is None:
        session.cap = before  # it is the NAS's to hear of when it is restored


def _extend(book: Book, session: Session, plan: Plan, now: Instant) -> None:
    """As much longer, faster and further as there is now."""
    before = told(session)
    if reserve(book, session, plan, now):
        _lengthen(book, session, plan, now)
        after = told(session)
        if after != before:
            book.command(session, "full", _why(plan, before, after), now)


def _lengthen(book: Book, session: Session, plan: Plan, now: Instant) -> None:
    """Where paid time ends a session, when that is now; it is never sooner than its NAS was told."""
    paid = paid_seconds(book, session, plan, now)
    if paid is not None and session.timeout_seconds is not None and session.means != "time":
        session.timeout_seconds = max(paid, session.timeout_seconds)


NOTHING_TOLD: Final = (None, ALL, 0, None)


def free_octets(session: Session, plan: Plan, uncovered: Usage, event_at: Instant) -> int:
    """How many uncovered octets the exhausted profile allows for nothing, once the NAS has said that it applies it, and
    until it has been told something else."""
    profile = ended(plan, session).profile
    if session.exhausted_at is None or profile is None or session.wanted_reason == NOT_APPLIED:
        return 0
    since = session.exhausted_at
    if session.wanted == "exhausted":
        if session.acked_version < session.wanted_version:
            return 0
        since = session.acked_at or 0
    octets = uncovered.up + uncovered.down
    limit = _shaped_octets(profile, event_at - max(since, session.last_event_at))
    return octets if limit is None else min(octets, limit)


def promised(session: Session, plan: Plan, used: Usage, event_at: Instant) -> Usage:
    """What of `used` is free whatever is left: all that the walled garden lets through, what went through at the exhausted
    profile's speed before the NAS had gone back to the full one, and beyond a cap the time too."""
    then = ended(plan, session)
    until, profile = session.exhausted_until, then.profile
    free = seconds = 0
    if until is not None and profile is not None:
        limit = _shaped_octets(profile, min(until, event_at) - session.last_event_at)
        if limit is not None:
            free = min(used.up + used.down, limit) if until > session.last_event_at else 0
        if session.cap:
            seconds = min(used.seconds, max(until - session.last_event_at, 0) // 1000)
    elif then.action == "redirect" or session.cap:
        free = free_octets(session, plan, used, event_at)
        if session.cap and (session.wanted == "full" or session.acked_version >= session.wanted_version):
            seconds = used.seconds
    down = min(free, used.down)
    return Usage(free - down, down, seconds)


def check_applied(book: Book, session: Session, plan: Plan, used: Usage, event_at: Instant, now: Instant) -> None:
    """An ACK is not yet a fact: does what the NAS reports agree with what it was told? If not, the next rung down.

    Call it before the session's `last_event_at` moves on.
    """
    limit = session.limit_octets
    counted = session.octets_up + session.octets_down + used.up + used.down
    if limit is not None and counted > limit + SHAPING_SLACK_OCTETS:
        book.observe(session, "limit-not-kept", now)
        session.means = "rate"
    if session.acked_version < session.wanted_version:
        return
    if session.wanted == "cut":
        if session.last_event_at >= (session.acked_at or 0) + SETTLING_MS:
            book.observe(session, "still-alive", now)
            disconnect_again(book, session, "still-alive", now)
        return
    at_level = bool(session.profile) and session.profile == session.acked_profile
    if session.wanted == "full" and session.pace_permille == ALL and not at_level:
        return
    # A NAS's clock that is ahead of ours says nothing of the time since our order; one that stands still between two
    # reports is told by the seconds that the session lasted.
    end = min(event_at, now)
    begin = min(session.last_event_at, session.last_report_at, end - used.seconds * 1000)
    limit = _allowed_octets(plan, profile_of(plan, session), session, begin, end)
    if limit is None or used.up + used.down <= limit:
        return
    book.observe(session, "not-applied", now)
    if session.wanted == "full":
        if session.pace_permille == ALL and _is_step(plan, session.profile):
            book.command(session, "cut", NOT_APPLIED, now)  # its next login brings the step's speed
            return
        # It has something left. From now on it is treated as one that can only be ended.
        session.means = "disconnect"
        as_usual(plan, session)
    else:
        book.command(session, "cut", NOT_APPLIED, now)


def _is_step(plan: Plan, profile: str) -> bool:
    return plan.fair_use is not None and any(step.profile.name == profile for step in plan.fair_use.steps)


def command_acked(book: Book, session: Session, version: int, now: Instant) -> int:
    """The NAS says that it did what was wanted; its next report will tell. 1 when this was news."""
    book.answered(session)
    if version <= session.acked_version:
        return 0
    session.acked_version = version
    session.acked_at = now
    if session.wanted == "full" and version == session.wanted_version:
        session.acked_profile, session.failed_commands = session.profile, 0
    if session.wanted == "full" and version == session.wanted_version and session.exhausted_at is not None:
        session.exhausted_at, session.exhausted_until = None, now
    book.changed_sessions.add(session.session_id)
    return 1


def command_failed(book: Book, session: Session, version: int, answer: str, now: Instant) -> None:
    """The NAS refused or never answered: a profile falls down the ladder to Disconnect, a Disconnect is repeated. What was
    only a detail is left as it was."""
    if answer == NO_ANSWER:
        book.observe(session, "silent", now)
    elif answer.startswith("nak"):
        book.answered(session)
    if version != session.wanted_version or session.closed_at is not None:
        return  # something newer is wanted, or nothing any more
    if session.wanted == "full" and session.wanted_reason in DETAILS:
        slower = session.wanted_reason in {LANDING, SHARED}
        if answer == NO_ANSWER and not slower and session.failed_commands < MOST_DISCONNECTS:
            # It has paid for more than it gets, and its NAS was only away.
            session.failed_commands += 1
            not_before = now + RETRY_MS * 2 ** (session.failed_commands - 1)
            book.command(session, "full", session.wanted_reason, now, not_before=not_before)
            return
        session.acked_version = version  # no more is to be had
        book.changed_sessions.add(session.session_id)
        if slower:
            session.means = "disconnect"
            as_usual(book.plans(session.plan_version_id), session)
            if answer != NO_ANSWER:
                book.observe(session, "not-applied", now)
            else:  # perhaps only its answers were lost, and it is slower now than what is paid for
                session.failed_commands = 1
                book.command(session, "full", ENOUGH, now, not_before=now + RETRY_MS)
    elif session.wanted == "cut":
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


def _allowed_octets(plan: Plan, profile: Profile, session: Session, begin: Instant, end: Instant) -> int | None:
    """What may have gone through between two moments: at the line's rate until the NAS said that it applies this profile,
    then at the profile's. None where that can not be said."""
    changed_at = (session.acked_at or 0) + SETTLING_MS
    after = _shaped_octets(profile, end - max(changed_at, begin))
    if after is None or end <= changed_at:
        return None
    before_seconds = -(-max(changed_at - begin, 0) // 1000)
    if not before_seconds:
        return after
    up, down = plan.max_up_octets_per_second, plan.max_down_octets_per_second
    return None if up is None or down is None else after + possible_octets(up + down, before_seconds)


def _shaped_octets(profile: Profile, milliseconds: int) -> int | None:
    """What a profile lets through in that time at most; None where it does not shape."""
    if profile.rate_up_bps is None or profile.rate_down_bps is None:
        return None
    octets_per_second = (profile.rate_up_bps + profile.rate_down_bps) // 8
    return octets_per_second * max(milliseconds, 0) * 3 // 2 // 1000 + SHAPING_SLACK_OCTETS
