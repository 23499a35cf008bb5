"""What one report does to an account: find its session, move the meter, charge, hold the next slice."""

from __future__ import annotations

from typing import Final, NamedTuple

from charging import rating
from charging.book import Binding, Book, Opening, UsageLine
from charging.buckets import SHORTFALL, Bucket, Rated, Usage, cover
from charging.enforcement import (
    RELEASED,
    SETTLING_MS,
    check_applied,
    cover_again,
    free_octets,
    go_on,
    promised,
    reconsider,
    review,
)
from charging.level import count
from charging.notices.kinds import Facts
from charging.plan import Instant, Plan
from charging.session import CLOCK_SLACK_MS, NEXT_STATE, Report, Session, advance, interval_seen, stale_at
from charging.slices import ALL, usual_interval

#: Accrued charges of a session that stays open go to the ledger this often.
POSTING_MS: Final = 3_600_000
#: The session id of a login that was let in from memory, while the database was away: there is no session.
REMEMBERED: Final = 0
NAS_RESTART: Final = "nas-restart"
#: Sessions that were closed because we took them for dead; a newer interim says otherwise.
GIVEN_UP: Final = frozenset({"stale", NAS_RESTART})


class Recorded(NamedTuple):
    """A report that is in the database. `used` is what it added."""

    account_id: int
    session_id: int
    used: Usage
    micros: int
    flags: str


class Orphan(NamedTuple):
    """A report that nobody authorised; it is kept as it came, and not charged."""

    reason: str


def report(book: Book, report: Report, subscriber_id: int | None, now: Instant) -> Recorded | Orphan:
    """Book one report. `subscriber_id`: who the report's user name names; None where it carries a token instead."""
    if report.kind == "other":
        return Orphan("unknown-status-type")
    session = _session_of(book, report, subscriber_id, now)
    if session is None:
        remembered = report.token is not None and report.token[1] == REMEMBERED
        return Orphan("remembered-login" if remembered else "unknown-session")
    plan = book.plans(session.plan_version_id)
    step = advance(session, report, *_line_of(session, plan))
    used = Usage(
        step.octets_up - session.octets_up,
        step.octets_down - session.octets_down,
        step.seconds - session.seconds,
    )
    micros, draws, free, rated, crossed, flags = 0, "[]", 0, "", False, step.flags
    if session.closed_at is None:
        session.means = report.means
        steered = session.wanted != "full" or session.pace_permille != ALL or session.limit_octets is not None
        if steered or session.profile:
            check_applied(book, session, plan, used, report.event_at, now)
    if used.up or used.down or used.seconds:
        micros, draws, free, rated, estimated, crossed = _charge(book, session, plan, used, report.event_at, now)
        if estimated:
            flags = f"{flags} estimated".lstrip()
    if used.up or used.down or used.seconds or step.flags:
        session.line_no += 1
        line = UsageLine(
            session.account_id,
            session.session_id,
            session.line_no,
            now,
            report.event_at,
            report.kind,
            session.octets_up,
            step.octets_up,
            session.octets_down,
            step.octets_down,
            session.seconds,
            step.seconds,
            micros,
            draws,
            free,
            flags,
            step.raw,
            rated,
        )
        book.usage_lines += (line,)
    (
        session.octets_up, session.octets_down, session.seconds,
        session.offset_up, session.offset_down, session.offset_seconds,
        session.epoch, session.epoch_seconds, _, _,
    ) = step  # fmt: skip
    session.gigawords_seen = session.gigawords_seen or report.gigawords
    book.changed_sessions.add(session.session_id)
    if session.closed_at is not None:
        session.last_event_at = max(session.last_event_at, report.event_at)
        book.post(session, now)
        cover_again(book, now)
        return Recorded(session.account_id, session.session_id, used, micros, flags)
    session.interval_seconds = interval_seen(session, report, plan.profile.interim_interval_seconds)
    since_seconds = (report.event_at - session.last_event_at) // 1000
    session.last_report_at = now
    session.last_event_at = max(session.last_event_at, report.event_at)
    session.stale_at = stale_at(now, usual_interval(plan, session))
    session.state = NEXT_STATE[session.state, report.kind]
    if session.started_at is None:
        session.started_at = report.event_at
    if session.state == "closed":
        close(book, session, "stop", now)
    else:
        go_on(book, session, plan, used, since_seconds, now)
        cover_again(book, now)
        if now - session.posted_at >= POSTING_MS:
            book.post(session, now)
    if crossed:
        _tell_others(book, session, now)
    if len(book.sessions) > 1:
        _keep_newest(book, session, now)
    return Recorded(session.account_id, session.session_id, used, micros, flags)


def _line_of(session: Session, plan: Plan) -> tuple[int | None, int | None]:
    """What its line can have carried since its last report, octets/s up and down. None for one that goes on where another one
    was left, until it has reported from when its NAS had the new plan: before, the line may have been a faster one."""
    if session.offset_seconds < 0:
        changed_at = max(session.created_at, session.acked_at or 0) + SETTLING_MS
        if session.acked_version < session.wanted_version or session.last_event_at < changed_at:
            return None, None
    return plan.max_up_octets_per_second, plan.max_down_octets_per_second


def _tell_others(book: Book, session: Session, now: Instant) -> None:
    """A subscriber came to a step or a cap: that holds for all his sessions."""
    for other in book.live_sessions():
        if other is not session and other.subscriber_id == session.subscriber_id and other.acct_session_id is not None:
            review(book, other, now)


def _keep_newest(book: Book, session: Session, now: Instant) -> None:
    """A NAS has one session of a name at a time: where another one has it too, the older of them is over."""
    alike = [s for s in book.live_sessions() if s.session_key is not None and s.session_key == session.session_key]
    for older in alike[:-1]:
        close(book, older, "replaced", now)


def close(book: Book, session: Session, reason: str, now: Instant) -> None:
    """End a session: its holds go back, what it used is posted, others may have what it leaves. Closed is final."""
    book.end(session, reason, now)
    cover_again(book, now)
    reconsider(book, RELEASED, now)


def _charge(
    book: Book, session: Session, plan: Plan, used: Usage, event_at: Instant, now: Instant
) -> tuple[int, str, int, str, bool, bool]:
    """Draw what was used from the buckets; micros charged, the draws as JSON, octets that were free, what each price line
    charged, whether octets were split by time, and whether the subscriber came to a speed step or a cap.

    What was consumed is always booked: what no bucket covers goes to shortfall, in its own unit.
    """
    rated = book.rated_of(session)
    plain = book.is_plain(plan)
    estimated = False
    span = None if plain and not plan.measured else rating.span_of(session, used, event_at)
    given = _NOTHING_GIVEN
    if session.exhausted_at is not None or session.exhausted_until is not None:
        given = promised(session, plan, used, event_at)
        used = Usage(used.up - given.up, used.down - given.down, used.seconds - given.seconds)
        session.exhausted_until = None
    given_octets = given.up + given.down
    if plain or span is None:
        coverage = cover(plan, used, book.usable_buckets(now), _balance, rated, book.account.credit_limit_micros)
    else:
        coverage, counts, estimated = rating.charge(book, session, plan, used, span, rated, now)
        for counter, amount in counts.items():
            book.count(counter, amount)
    parts: list[str] = []
    for bucket, amount in coverage.draws:
        book.draw(session, bucket, amount)
        if bucket.low_water_marks:
            _pass_marks(book, session, bucket, now)
        parts.append(f'[{bucket.bucket_id},"{bucket.unit}",{amount}]')
    if coverage.credit:
        given_back = book.give_back(session, coverage.credit)
        parts += [f'[{bucket.bucket_id},"{bucket.unit}",{-amount}]' for bucket, amount in given_back]
    lines = ""
    if coverage.rated:
        book.keep_rated(session, {**rated, **coverage.rated})
        lines = _added(rated, coverage.rated) if rated else session.rated
    uncovered = coverage.uncovered
    free = 0
    if uncovered.up or uncovered.down:
        both = uncovered._replace(down=uncovered.down + given_octets)
        free = max(free_octets(session, plan, both, event_at) - given_octets, 0)
        leaked = uncovered.up + uncovered.down - free
        if leaked:
            book.charge_of(session, SHORTFALL, "octets").accrued += leaked
            session.leaked_octets += leaked
            parts.append(f'[{SHORTFALL},"octets",{leaked}]')
    if uncovered.seconds and session.wanted != "exhausted":
        book.charge_of(session, SHORTFALL, "seconds").accrued += uncovered.seconds
        parts.append(f'[{SHORTFALL},"seconds",{uncovered.seconds}]')
    crossed = False
    if span is not None and plan.measured:
        if free:  # what is promised for nothing comes to no cap
            down = min(free, uncovered.down)
            used = used._replace(up=used.up - (free - down), down=used.down - down)
        crossed = count(book, session, plan, used, coverage.money, span, now)
    return coverage.money, f"[{','.join(parts)}]", free + given_octets, lines, estimated, crossed


def _added(before: dict[int, Rated], after: dict[int, Rated]) -> str:
    """What each price line has charged since, as `write_rated` writes it."""
    parts: list[str] = []
    for index, now in after.items():
        was = before.get(index, _NOTHING_RATED)
        parts.append(f"{index}:{now.units - was.units}:{now.micros - was.micros}")
    return " ".join(parts)


_NOTHING_RATED: Final = Rated(0, 0)
_NOTHING_GIVEN: Final = Usage(0, 0, 0)


def _balance(bucket: Bucket) -> int:
    return bucket.balance


def _pass_marks(book: Book, session: Session, bucket: Bucket, now: Instant) -> None:
    """A notice for each low-water mark that this draw went below, once per crossing."""
    marks = bucket.low_water_marks.split(" ")
    while bucket.marks_passed < len(marks) and bucket.balance <= int(marks[bucket.marks_passed]):
        bucket.marks_passed += 1
        detail = f"{bucket.name}: {bucket.balance} {bucket.unit} left"
        facts: Facts = {"bucket": bucket.name, "unit": bucket.unit, "left": bucket.balance, "granted": bucket.granted}
        book.notify("threshold", detail, now, session=session, bucket=bucket, facts=facts)


# --- whose report is it? -------------------------------------------------------------------------------------------


def _session_of(book: Book, report: Report, subscriber_id: int | None, now: Instant) -> Session | None:
    """The session that a report belongs to, bound or opened anew where that is what the report means."""
    session = _named(book, report, subscriber_id)
    if session is None:
        return None
    if session.acct_session_id is None:
        earlier = _asked_again(book, session, report)
        if session.closed_at is not None and report.kind != "stop":
            # The login was given up before its first report came. What goes on must be held and steered.
            session = _successor(book, session, report, now)
        else:
            _bind(book, session, report)
        if earlier is not None:
            _replace(book, earlier, session, now)
        return session
    if session.acct_session_id != report.acct_session_id:
        return _successor(book, session, report, now)
    if session.closed_at is not None:
        if _starts_again(session, report):
            return _successor(book, session, report, now)
        if session.close_reason in GIVEN_UP and report.kind == "interim" and _goes_on(session, report):
            # It was only silent, or had begun after its NAS did. Closed is final, so a new one goes on where the old one's counters were left.
            successor = _successor(book, session, report, now)
            _count_on(successor, session)
            if session.wanted == "cut":
                book.command(successor, "cut", session.wanted_reason, now)  # nobody has taken it back
            return successor
    elif not (report.event_exact or session.line_no or report.kind == "start"):
        earlier = _repeated(book, session, report)
        if earlier is not None:
            _count_on(session, earlier)
    return session


def _repeated(book: Book, session: Session, report: Report) -> Session | None:
    """The closed session whose last word this first report of `session` is: then what began `session` was a Start of that one,
    held back for longer than all of it lasted. Only a NAS that does not say the time can be misunderstood so."""
    # Session times are whole seconds: what seems to have begun up to one before the Start has begun with it.
    began = report.event_at - (report.seconds or 0) * 1_000
    if session.started_at is None or began + 1_000 >= session.started_at:
        return None
    return next(
        (
            each
            for each in book.sessions.values()
            if each.closed_at is not None
            and each.root_id == session.root_id
            and each.acct_session_id == session.acct_session_id
            and _ended_with(each) == (report.octets_up, report.octets_down, report.seconds)
        ),
        None,
    )


def _ended_with(session: Session) -> tuple[int, int, int]:
    """What its NAS's own counters said last: octets up and down, seconds."""
    return (
        session.octets_up - session.offset_up,
        session.octets_down - session.offset_down,
        session.seconds - session.offset_seconds,
    )


def _asked_again(book: Book, session: Session, report: Report) -> Session | None:
    """The session that this first report under a new login goes on with: its NAS has asked again for a session that runs
    (802.1X re-authentication), and counts on under the same Acct-Session-Id. None: the login began a new one."""
    if report.kind == "start" or not session.device_key:
        return None
    alike = [
        s
        for s in book.sessions.values()
        if s.acct_session_id == report.acct_session_id
        and s.device_key == session.device_key
        and s.subscriber_id == session.subscriber_id
        and s.nas_id == session.nas_id
    ]
    earlier = max(alike, key=lambda s: (s.closed_at is None, s.session_id), default=None)
    if earlier is None or earlier.session_id > session.session_id:
        return None
    if report.seconds is None:
        return earlier if earlier.closed_at is None else None
    # Some NASes give one id to all sessions. What its counters count from lies nearer to the one or to the other.
    began = report.event_at - report.seconds * 1000
    before = earlier.created_at if earlier.started_at is None else earlier.started_at
    return earlier if abs(began - before) <= abs(began - session.created_at) else None


def _replace(book: Book, earlier: Session, session: Session, now: Instant) -> None:
    """What its NAS counts for `earlier` is counted for `session` from here on."""
    _count_on(session, earlier)
    session.last_event_at = earlier.last_event_at
    if earlier.exhausted_at is not None and session.exhausted_at is None:
        session.exhausted_until = session.created_at
    if earlier.closed_at is None:
        close(book, earlier, "replaced", now)


def _count_on(session: Session, earlier: Session) -> None:
    """The same counters of the same NAS, from where `earlier` has left them; and its prices."""
    session.offset_up = earlier.offset_up - earlier.octets_up
    session.offset_down = earlier.offset_down - earlier.octets_down
    session.offset_seconds = earlier.offset_seconds - earlier.seconds
    session.epoch = earlier.epoch
    if earlier.epoch or earlier.epoch_seconds:  # else no packet can be from before a wrap or a reset
        session.epoch_seconds = earlier.epoch_seconds - earlier.seconds
    session.gigawords_seen = earlier.gigawords_seen
    session.rated = earlier.rated
    session.started_at = earlier.started_at


def _goes_on(session: Session, report: Report) -> bool:
    """Is this report of a session that was given up newer than all that is known of it?"""
    longer = report.seconds is None or report.seconds + session.offset_seconds > session.seconds
    return longer and report.event_at > session.last_event_at


def _starts_again(session: Session, report: Report) -> bool:
    """Does a Start with the id of a closed session begin a new one? Otherwise it is an old packet of that session."""
    if report.kind != "start" or report.event_at == session.started_at:
        return False
    if report.event_exact:
        return report.event_at >= session.last_event_at  # some routers stop and start in one second
    # A session of which nothing but the Stop was seen may have been overtaken by that Stop: this is its own Start.
    return report.event_at > session.last_event_at and session.started_at != session.last_event_at


def _named(book: Book, report: Report, subscriber_id: int | None) -> Session | None:
    """The newest session that the report's names fit; a token's own word goes before any other."""
    sessions = book.sessions
    if report.token is not None:
        root = sessions.get(report.token[1])
        if (
            root is not None
            and root.closed_at is None
            and root.acct_session_id == report.acct_session_id
            and root.nas_id == report.nas_id
        ):
            return root
        family = [s for s in sessions.values() if s.root_id == report.token[1] and s.nas_id == report.nas_id]
        family += _under_later_logins(sessions, family, report)
        same_id = [s for s in family if s.acct_session_id == report.acct_session_id]
        unbound = [s for s in family if s.acct_session_id is None and s.closed_at is None]
        candidates = same_id or unbound or family
    else:
        candidates = [s for s in sessions.values() if s.session_key == report.session_key]
        begins = (
            report.kind == "start" and report.event_exact and all(report.event_at > s.last_event_at for s in candidates)
        )
        if not candidates or begins:
            # The login knew the device, not yet the accounting session: the oldest login still waiting there. A Start
            # that is surely new is that login's even where an older session has all the same names.
            waiting = [
                s
                for s in book.live_sessions()
                if s.acct_session_id is None
                and s.subscriber_id == subscriber_id
                and s.nas_id == report.nas_id
                and s.nas_address == report.nas_address
            ]
            found = next((s for s in waiting if s.device_key == report.device_key), None)
            if found is not None or not candidates:
                return found
    if len(candidates) > 1:
        # Sessions that followed each other under one id: a late packet belongs to the one of its time.
        candidates = _of_its_time(candidates, report)
    return max(candidates, key=lambda s: (s.closed_at is None, s.session_id), default=None)


def _under_later_logins(sessions: dict[int, Session], family: list[Session], report: Report) -> list[Session]:
    """The sessions that went on with the counters of one of the family, after their NAS had asked again."""
    begun = {
        s.started_at for s in family if s.acct_session_id == report.acct_session_id and s.close_reason == "replaced"
    }
    if not begun:
        return []
    return [
        s
        for s in sessions.values()
        if s.session_key == report.session_key and s.started_at in begun and s not in family
    ]


def _of_its_time(sessions: list[Session], report: Report) -> list[Session]:
    """Those that had begun at the report's time; or the one whose last word it repeats, where the next one began in
    that very second."""
    for session in sessions:
        if (
            session.closed_at is not None
            and session.last_event_at == report.event_at
            and report.seconds is not None
            and report.seconds + session.offset_seconds == session.seconds
            and report.kind != "start"
        ):
            return [session]
    # A time that is not exact is when the packet came, less its delay: what it tells of was then, or earlier.
    latest_begin = report.event_at + (0 if report.event_exact else CLOCK_SLACK_MS)
    begun = [s for s in sessions if s.started_at is None or s.started_at <= latest_begin]
    if any(s.closed_at is None or s.started_at is None for s in begun):
        return begun
    # What was charged to somebody later may have begun earlier.
    latest = max((s.started_at or 0 for s in begun), default=0)
    return [s for s in begun if s.started_at == latest] or sessions


def _bind(book: Book, session: Session, report: Report) -> None:
    session.acct_session_id = report.acct_session_id
    session.session_key = report.session_key
    session.called_station = session.called_station or report.called_station  # not every login says it
    binding = Binding(
        session.account_id,
        session.session_id,
        report.session_key,
        report.acct_session_id,
        report.nas_port_id,
        report.calling_station,
        report.framed_address,
        session.called_station,
        report.nas_username or report.username or None,
    )
    book.bindings += (binding,)
    book.changed_sessions.add(session.session_id)


def _successor(book: Book, session: Session, report: Report, now: Instant) -> Session:
    """A new session under the authority of the login that opened `session`."""
    successor = Session(
        account_id=session.account_id,
        session_id=book.new_id(),
        subscriber_id=session.subscriber_id,
        plan_version_id=session.plan_version_id,
        nas_id=session.nas_id,
        nas_address=report.nas_address,
        root_id=session.root_id,
        device_key=report.device_key,
        session_key=report.session_key,
        acct_session_id=report.acct_session_id,
        created_at=now,
        closed_at=None,
        close_reason=None,
        state="provisional",
        started_at=None,
        last_report_at=now,
        last_event_at=session.last_event_at,
        stale_at=stale_at(now, session.interval_seconds),
        interval_seconds=session.interval_seconds,
        wanted=session.wanted if session.wanted != "cut" else "full",
        posted_at=now,
        wanted_version=session.wanted_version,
        acked_version=session.acked_version,
        acked_at=session.acked_at,
        nas_group=session.nas_group,
        called_station=session.called_station,
        realm=session.realm,
        service_class=session.service_class,
        leased=session.leased,
        means=session.means,
        exhausted_at=session.exhausted_at,
        profile=session.profile,
        acked_profile=session.acked_profile,
        cap=session.cap,
        review_at=session.review_at,
    )
    if successor.leased:
        book.resumed += (successor,)
    opening = Opening(
        report.username, report.nas_port_id, report.calling_station, report.framed_address,
        report.nas_username or report.username or None,
    )  # fmt: skip
    book.add_session(successor, opening)
    if session.wanted != "cut" and session.acked_version < session.wanted_version:
        # The order went with the session that it was about, and the NAS has never heard it.
        book.command(successor, session.wanted, session.wanted_reason, now)
    return successor
