"""What a session may commit its account to until our next word reaches its NAS: the slice that it holds, and how its NAS
is made to keep to it.

Between two reports nobody knows what a session uses. So it holds what its line can carry until the next report is here
and what follows from it has reached the NAS: R·(I+L+D). When that no longer fits, it depends on what the NAS can do:

* `volume`: the NAS itself stops at the limit that it was told; the limit moves on before it is reached.
* `rate`: reports are asked for more often, and where that is not enough, or it does not do so, the session is slowed down by
  halves so that what is left lasts.
* `profile`: it only changes between profiles that it knows; it goes on until nothing is left.
* `disconnect`: it is ended when at its present speed nothing would be left at its next report, and may come back for what
  is left, with a Session-Timeout that is as long as that lasts at the line's rate.
* `time`: it can be told nothing, so what it may use was held, and its Session-Timeout said, when it began.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from charging import rating
from charging.book import Book
from charging.buckets import Rated, Usage, charged_part, read_rated
from charging.plan import Instant, Plan
from charging.session import Session
from charging.tariff import Position, in_steps, quota, reach

#: A report's own way to us: the NAS writes it, the network carries it, the writer commits it.
REPORT_DELAY_SECONDS: Final = 5
#: The longest that a command takes with all its retransmissions (RFC 5080: 30 s).
COMMAND_SECONDS: Final = 30
#: What a line without a known rate is taken to carry in each direction, octets/s (20 Mbit/s).
UNKNOWN_LINE_OCTETS_PER_SECOND: Final = 2_500_000
#: No NAS is asked to report more often.
LEAST_INTERVAL_SECONDS: Final = 60
#: Where only a time can be said: how long a session lasts at most, and at least.
LONGEST_CAP_SECONDS: Final = 3_600
LEAST_CAP_SECONDS: Final = 30
#: Nobody who has money left is made slower than this, both directions together, nor slower than when he has none.
SLOWEST_BPS: Final = 128_000
#: What a NAS that counts for us is told is this many times what the line carries until our next word: so half may be used
#: before it must be told again.
LIMIT_SLICES: Final = 2
#: Nobody begins with a smaller limit: a NAS would end him before his first packets, and he would come again and again.
LEAST_LIMIT_OCTETS: Final = 10_000
#: The last of a volume is not halved any more for others who may come.
LEAST_SHARED_OCTETS: Final = 10_000_000
ALL: Final = 1000
#: An exhausted session goes on when so much of its slice is free. So it has used as much before it can be told the opposite.
LEAST_FOUND_PERMILLE: Final = ALL // 4

_TOTAL: Final = frozenset({"total"})
#: What these NASes were told is not taken back: a volume, a time.
LASTING_PROMISES: Final = frozenset({"volume", "time"})
_SHARING: Final = frozenset({"rate", "profile", "disconnect"})


Told = tuple[int | None, int, int, int | None, str]
"""What the NAS of a session is told while something pays: limit, pace, interval, Session-Timeout, profile."""


def slice_of(plan: Plan, interval_seconds: int, profile: str | None = None) -> Usage:
    """What a session can use until our next word reaches its NAS: R·(I+L+D), octets up and down, and seconds."""
    return use_in(plan, interval_seconds + REPORT_DELAY_SECONDS + COMMAND_SECONDS, profile)


def slice_for(plan: Plan, session: Session) -> Usage:
    """`slice_of` for a session with the profile that it is to have now."""
    return slice_of(plan, session.interval_seconds, session.profile if plan.varies else None)


def usual_interval(plan: Plan, session: Session) -> int:
    """How often a session reports where it is not asked to do so more often, as far as is known."""
    if not session.asked_interval_seconds:
        return session.interval_seconds
    return max(session.interval_seconds, plan.profile.interim_interval_seconds)


def as_usual(plan: Plan, session: Session) -> None:
    """Full speed, and reports as often as usual."""
    session.interval_seconds = usual_interval(plan, session)
    session.pace_permille, session.asked_interval_seconds = ALL, 0


def use_in(plan: Plan, seconds: int, profile: str | None = None) -> Usage:
    """What a line of this plan can carry in that time, with one of its profiles or the fastest."""
    up, down = _line(plan, profile)
    return Usage(
        (UNKNOWN_LINE_OCTETS_PER_SECOND if up is None else up) * seconds,
        (UNKNOWN_LINE_OCTETS_PER_SECOND if down is None else down) * seconds,
        seconds,
    )


def hold_next(
    book: Book, session: Session, plan: Plan, now: Instant, starved: list[Session], shortest_interval_seconds: int = 0
) -> int:
    """Reserve the next slice for a session: how much of it is covered, in thousandths; 0 when nothing is left of what the
    plan charges.

    What its NAS must be told so that it keeps to that is in the session's fields afterwards (`told`). Where there is not
    enough, other sessions of the account are given equal parts; the commands for them are written, and those for whom
    nothing is left are added to `starved`. `shortest_interval_seconds`: of its NAS, at login, when any interval can be said;
    later it is what the NAS keeps.
    """
    if book.subscriptions and not book.serves(session.subscriber_id):
        return 0
    if not plan.charged_units:
        return ALL
    if session.means == "volume" and plan.charged_directions == _TOTAL:
        return _hold_limit(book, session, plan, now)
    session.limit_octets = None
    if session.means == "time" and (session.started_at is None or session.timeout_seconds is not None):
        return _hold_time(book, session, plan, now)
    usual = usual_interval(plan, session)
    want = slice_of(plan, usual, session.profile if plan.varies else None)
    plain = session.pace_permille == ALL and session.timeout_seconds is None and not session.asked_interval_seconds
    if (
        plain
        and plan.charges_total_octets_only
        and not book.is_scoped()
        and (book.keeps_octets(session, want.up + want.down, now) or rating.keeps_money(book, session, plan, want, now))
    ):
        return ALL
    covered = covered_permille(plan, want, _hold(book, session, want, now))
    if covered == ALL:
        as_usual(plan, session)
    elif 0 < shortest_interval_seconds < min(usual, plan.profile.interim_interval_seconds):
        session.interval_seconds = session.asked_interval_seconds = shortest_interval_seconds
    if session.interval_seconds < usual:
        want = slice_for(plan, session)
        covered = covered_permille(plan, want, _hold(book, session, want, now))
    if covered < ALL:
        sharing = [s for s in book.live_sessions() if s is session or (s.wanted == "full" and s.means in _SHARING)]
        if len(sharing) > 1:
            covered = _share(book, session, sharing, now, starved)
    if covered == ALL:
        session.pace_permille = ALL
        if not plan.charges("seconds"):
            session.timeout_seconds = None
        return ALL
    _adapt(session, plan, covered)
    return covered


def paid_seconds(book: Book, session: Session, plan: Plan, now: Instant) -> int | None:
    """How long the balance lasts where time is charged, from the session's start; None where it is not."""
    if session.wanted != "full" or not plan.charges("seconds"):
        return None
    if plan.prices_sessions or not book.is_plain(plan):
        return session.seconds + max(1, rating.seconds_paid(book, session, plan, read_rated(session.rated), now))
    own = {(c.bucket_id, c.unit): c.held for c in book.charges_of(session)}
    seconds = 0
    blocked = False
    micros = book.account.credit_limit_micros
    for bucket in book.usable_buckets(now):
        available = bucket.balance - bucket.held + own.get((bucket.bucket_id, bucket.unit), 0)
        if bucket.unit == "seconds" and (bucket.blocker or not blocked):
            seconds += max(available, 0)
            blocked = bucket.blocker
        elif bucket.unit == "money":
            micros += available
    for index, rate in enumerate(plan.rates):
        if rate.unit == "seconds" and not blocked:
            before = read_rated(session.rated).get(index, Rated(0, 0))
            if rate.plain:
                seconds += max(0, quota(rate, before.micros + max(micros, 0), plan.rounding) - before.units)
            else:
                at = Position(before.units, in_steps(rate, before.units), before.micros)
                seconds += reach(rate, at, max(micros, 0), plan.rounding)
            break
    return session.seconds + max(1, seconds)


def paid_until(book: Book, session: Session, plan: Plan, now: Instant) -> Instant | None:
    """When the first change of prices and buckets comes from which nothing pays any more; None: not within days."""
    want = slice_for(plan, session)
    rated = read_rated(session.rated)
    for at, coverage in rating.after_changes(book, session, plan, want, rated, now):
        if coverage.refused or not covered_permille(plan, want, coverage.uncovered):
            return at
    return None


def told(session: Session) -> Told:
    """What the NAS of a session is told now; a command is due when it changes."""
    return (
        session.limit_octets, session.pace_permille, session.asked_interval_seconds, session.timeout_seconds,
        session.profile,
    )  # fmt: skip


def covered_permille(plan: Plan, want: Usage, uncovered: Usage) -> int:
    """The part of a slice that something pays for, where the plan charges several things the least of them; never 0 where
    a little of each is there."""
    want = charged_part(plan, want)
    pairs = [(want.seconds, uncovered.seconds)]
    if "total" in plan.charged_directions:
        pairs.append((want.up + want.down, uncovered.up + uncovered.down))
    else:
        pairs += [(want.up, uncovered.up), (want.down, uncovered.down)]
    return min(
        (_permille(wanted - left, wanted) for wanted, left in pairs if wanted), default=0 if any(uncovered) else ALL
    )


def slowest_permille(plan: Plan, name: str | None = None) -> int:
    """The least part of its profile's rate that a session is slowed down to while something is left."""
    up, down = _line(plan, name)
    line = 8 * ((up or 0) + (down or 0))
    profile = plan.exhausted.profile
    slow = 0 if profile is None else (profile.rate_up_bps or 0) + (profile.rate_down_bps or 0)
    return ALL if not line else min(-(-max(slow, SLOWEST_BPS) * ALL // line), ALL)


def is_spent_early(session: Session, plan: Plan, covered: int, used: Usage, seconds: int) -> bool:
    """Would nothing be left at the next report, if the session went on as it did in the last `seconds`? Where all that its
    NAS can do is to end it, this is the moment."""
    if session.means != "disconnect" or covered == ALL or seconds <= 0:
        return False
    want = charged_part(plan, slice_for(plan, session))
    used = charged_part(plan, used)
    span = session.interval_seconds + REPORT_DELAY_SECONDS + COMMAND_SECONDS
    return (used.up + used.down) * span * ALL > (want.up + want.down) * covered * seconds


def finds_something(book: Book, session: Session, plan: Plan, now: Instant) -> bool:
    """Is there something for an exhausted session that nobody holds? Others may have come to need less: one of a plain plan
    looks at its own reports. From then on it has its part as all have."""
    if session.means in {"disconnect", "time"}:
        return False  # it is being ended
    want = slice_for(plan, session)
    return covered_permille(plan, want, book.coverable(session, plan, want, now).uncovered) >= LEAST_FOUND_PERMILLE


def _hold_limit(book: Book, session: Session, plan: Plan, now: Instant) -> int:
    """Octets up to which the NAS lets it go on by itself. They are held, all of them and nothing else."""
    slice_ = slice_for(plan, session)
    one = slice_.up + slice_.down
    mark = session.octets_up + session.octets_down
    left = 0 if session.limit_octets is None else max(session.limit_octets - mark, 0)
    want = left if left >= one else LIMIT_SLICES * one
    uncovered = _hold(book, session, Usage(0, want, slice_.seconds), now)
    granted = want - uncovered.up - uncovered.down
    if granted < want and granted > max(left, LEAST_SHARED_OCTETS) and _others_may_come(book, plan):
        # Whoever comes next must find something, and what a NAS was told is not taken back.
        want = max(left, granted // 2)
        uncovered = _hold(book, session, Usage(0, want, slice_.seconds), now)
        granted = want - uncovered.up - uncovered.down
    if granted <= 0 or (plan.charges("seconds") and uncovered.seconds == slice_.seconds):
        return 0
    if session.limit_octets is None and granted < LEAST_LIMIT_OCTETS:
        return 0
    session.limit_octets = mark + granted
    as_usual(plan, session)
    return min(_permille(granted, one), ALL)


def _hold(book: Book, session: Session, want: Usage, now: Instant) -> Usage:
    """Reserve as much of `want` as is there, instead of what the session held; the part that nothing covers."""
    plan = book.plans(session.plan_version_id)
    book.release(session)
    if book.is_plain(plan):
        coverage = book.coverable(session, plan, want, now)
    else:
        coverage = rating.hold(book, session, plan, want, book.rated_of(session), now)
    book.hold(session, coverage, session.stale_at)
    if coverage.refused:
        counted = charged_part(plan, want)
        return counted if any(counted) else want  # a plan may charge the session and nothing else
    return coverage.uncovered


def _line(plan: Plan, profile: str | None) -> tuple[int | None, int | None]:
    """What a line with one of the plan's profiles can carry, up and down, octets/s; None: not limited."""
    if profile is None:
        return plan.max_up_octets_per_second, plan.max_down_octets_per_second
    return plan.speeds.get(profile, plan.speeds[""])


def promises_last(sessions: Iterable[Session]) -> bool:
    """Has one of these been promised what is not taken back?"""
    return any(session.means in LASTING_PROMISES for session in sessions)


def _others_may_come(book: Book, plan: Plan) -> bool:
    return not book.is_alone or plan.max_sessions != 1 or len(book.live_sessions()) > 1


def _hold_time(book: Book, session: Session, plan: Plan, now: Instant) -> int:
    """All that it can use until its Session-Timeout is held from the beginning."""
    if session.timeout_seconds is None:
        want = use_in(plan, LONGEST_CAP_SECONDS, session.profile if plan.varies else None)
        covered = covered_permille(plan, want, _hold(book, session, want, now))
        if covered < ALL and _others_may_come(book, plan):
            covered = -(-covered // 2)
            want = _part(want, covered, ALL)
            _hold(book, session, want, now)
        if covered:
            session.timeout_seconds = max(LONGEST_CAP_SECONDS * covered // ALL, LEAST_CAP_SECONDS)
        return covered
    began = session.created_at if session.started_at is None else session.started_at
    left = session.timeout_seconds - (session.last_event_at - began) // 1000
    want = use_in(plan, max(left, 1), session.profile if plan.varies else None)
    return covered_permille(plan, want, _hold(book, session, want, now))


def _share(book: Book, session: Session, sharing: Sequence[Session], now: Instant, starved: list[Session]) -> int:
    """Equal parts of what is left for all; what `session` gets of its slice, in thousandths. Nothing changes where that is 0."""
    plans = {each.session_id: book.plans(each.plan_version_id) for each in sharing}
    wants = {each.session_id: slice_for(plans[each.session_id], each) for each in sharing}
    # Who can pay with money too leaves the rest to those who can not.
    sharing = sorted(sharing, key=lambda s: bool(plans[s.session_id].rates))
    kept = [(c, c.held) for each in sharing if each is not session for c in book.charges_of(each)]
    for each in sharing:
        book.release(each)
    plan, want = plans[session.session_id], wants[session.session_id]
    if not covered_permille(plan, want, _hold(book, session, want, now)):
        # Nothing of what the others hold is of use to it, so they keep theirs.
        book.release(session)
        for charge, amount in kept:
            charge.held = amount
            if charge.bucket_id in book.buckets:
                book.buckets[charge.bucket_id].held += amount
        return 0
    book.release(session)
    octets = granted_octets = seconds = granted_seconds = 0
    for each in sharing:
        plan, want = plans[each.session_id], wants[each.session_id]
        uncovered = _hold(book, each, want, now)
        want = charged_part(plan, want)
        octets += want.up + want.down
        granted_octets += want.up + want.down - uncovered.up - uncovered.down
        seconds += want.seconds
        granted_seconds += want.seconds - uncovered.seconds
    for each in sharing:
        book.release(each)
    for each in sharing:
        plan, want = plans[each.session_id], wants[each.session_id]
        part = Usage(
            want.up * granted_octets // octets if octets else 0,
            want.down * granted_octets // octets if octets else 0,
            want.seconds * granted_seconds // seconds if seconds else 0,
        )
        uncovered = _hold(book, each, part, now)
        if each is session:
            continue  # it gets what is left over, too, when all have their parts
        counted, given = charged_part(plan, want), charged_part(plan, part)
        missing = Usage(*(w - g + u for w, g, u in zip(counted, given, uncovered, strict=True)))
        before, covered = told(each), covered_permille(plan, want, missing)
        if not covered:
            starved.append(each)
            continue
        _adapt(each, plan, covered)
        if told(each) != before:
            book.command(each, "full", "shared", now)
    plan, want = plans[session.session_id], wants[session.session_id]
    return covered_permille(plan, want, _hold(book, session, want, now))


def _adapt(session: Session, plan: Plan, covered: int) -> None:
    """Have the NAS make what is left last: slower by halves, so that a session's whole end takes few commands."""
    if not covered:
        return
    if session.means == "disconnect" and session.started_at is None:
        seconds = session.interval_seconds + REPORT_DELAY_SECONDS + COMMAND_SECONDS
        session.timeout_seconds = max(seconds * covered // ALL, LEAST_CAP_SECONDS)
    profile = session.profile if plan.varies else None
    if session.means != "rate" or None in _line(plan, profile):
        return
    usual = plan.profile.interim_interval_seconds
    if session.started_at is not None and not session.asked_interval_seconds and usual > LEAST_INTERVAL_SECONDS:
        session.asked_interval_seconds = LEAST_INTERVAL_SECONDS
    if covered < session.pace_permille or covered >= 4 * session.pace_permille:
        pace = ALL
        while pace > covered:
            pace //= 2
        session.pace_permille = max(pace, slowest_permille(plan, profile))


def _part(usage: Usage, numerator: int, denominator: int) -> Usage:
    return Usage(*(each * numerator // denominator for each in usage))


def _permille(part: int, whole: int) -> int:
    return 0 if part <= 0 else max(part * ALL // whole, 1)
