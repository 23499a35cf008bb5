"""What a use is charged where that depends on when, where and by whom: a night tariff, a zone, a daily tier, a member's cap.

Plans and buckets without such conditions never come here (`Book.is_plain`).

A report says what was used between two moments, not when. Where prices or buckets change in between, it is split at the
change: seconds exactly, octets in proportion to the time, in integers that add up to what was reported. Each piece is
then charged by the lines and buckets of its moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from charging.book import Book, Counter
from charging.buckets import Bucket, Coverage, Rated, Usage, cover, paid_in_full
from charging.plan import Instant, Lines, Plan, Rate
from charging.scope import Scope, read_scope
from charging.session import Session
from charging.tariff import in_steps
from charging.window import ALWAYS, NEVER, Present
from charging.zone import Place

#: A use that is spread over a longer time is cut by the conditions of its last days only.
MOST_SPLIT_MS: Final = 40 * 86_400_000
#: How far `seconds_paid` looks ahead.
FURTHEST_MS: Final = 35 * 86_400_000
#: So many changes are looked at for the end of what is paid.
_CHANGES_AHEAD: Final = 8
#: What was used longer ago is counted in the period of that time ago.
LATEST_COUNT_MS: Final = 35 * 86_400_000


_NO_COUNTS: Final[Mapping[Counter, int]] = {}
_NOTHING_RATED: Final = Rated(0, 0)
_NOTHING_USED: Final = Usage(0, 0, 0)


class Piece(NamedTuple):
    """A part of a use in which nothing changes. `begin`: since when."""

    begin: Instant
    usage: Usage


class Charged(NamedTuple):
    """What a whole use comes to."""

    coverage: Coverage
    counts: Mapping[Counter, int]
    """What it adds to what is counted over periods."""
    estimated: bool
    """Octets were split in proportion to time."""


def place_of(session: Session) -> Place:
    """Where a session is, as its login said."""
    return Place(session.nas_group, session.called_station, session.realm, session.service_class)


def lines_at(session: Session, plan: Plan, at: Instant) -> Lines:
    """The lines that price what a session uses at a moment."""
    return plan.lines_for(place_of(session), _present(plan, at).names)


def _present(plan: Plan, at: Instant) -> Present:
    return ALWAYS if plan.calendar is None else plan.calendar.at(at)


def counted_by(book: Book, session: Session, plan: Plan, rate: Rate, before: Rated, at: Instant) -> int:
    """What a price line has counted so far: of the session, or of its subscriber in the period of that moment."""
    if rate.accumulate == "session":
        return in_steps(rate, before.units)
    return book.counted(_counter(session, plan, rate, at))


def _counter(session: Session, plan: Plan, rate: Rate, at: Instant) -> Counter:
    assert rate.accumulate != "session"
    period = _present(plan, at).periods[rate.accumulate]
    return Counter(session.subscriber_id, f"rate:{plan.name}:{rate.name}", period[0], period[1])


def span_of(session: Session, used: Usage, event_at: Instant) -> tuple[Instant, Instant]:
    """The time that a report's use lies in: the seconds that it adds, up to its moment; without any, since the last one.
    Call it before the session's `last_event_at` moves on."""
    if used.seconds:
        return event_at - used.seconds * 1000, event_at
    return min(session.last_event_at, event_at), event_at


def charge(
    book: Book,
    session: Session,
    plan: Plan,
    used: Usage,
    span: tuple[Instant, Instant],
    rated: dict[int, Rated],
    now: Instant,
) -> Charged:
    """Price and cover what was used in a span of time, piece by piece. Changes nothing."""
    if not plan.accumulates and not book.is_scoped():
        present = _present(plan, span[0])
        if present.until >= span[1]:
            found = _from_one_purse(book, session, plan, used, rated, present, now) or _at_once(
                book, session, plan, used, rated, present, _balance, now
            )
            return Charged(found, _NO_COUNTS, estimated=False)
    tab = Tab(book, session, plan, now, rated)
    parts = pieces(plan, tab.scopes, used, span)
    if len(parts) == 1:
        return Charged(*tab.cover(used, parts[0].begin), estimated=False)
    money = credit = up = down = seconds = 0
    refused = False
    for piece in parts:
        found = tab.take(piece.usage, piece.begin)
        money += found.money
        credit += found.credit
        up, down, seconds = up + found.uncovered.up, down + found.uncovered.down, seconds + found.uncovered.seconds
        refused = refused or found.refused
    new_rated = {index: now for index, now in tab.rated.items() if now != rated.get(index)}
    coverage = Coverage(list(tab.draws.values()), new_rated, money, Usage(up, down, seconds), credit, refused)
    return Charged(coverage, tab.counts, len(parts) > 1 and bool(used.up or used.down))


def hold(book: Book, session: Session, plan: Plan, want: Usage, rated: dict[int, Rated], now: Instant) -> Coverage:
    """What a session is to hold for its next slice. Where a change lies within it, the dearer side is held; whether
    anything is left to go on with is for the present side to say."""
    plan = plan.ahead
    if not plan.accumulates and not book.is_scoped():
        moment = _present(plan, now)
        if moment.until >= now + want.seconds * 1000:
            return _at_once(book, session, plan, want, rated, moment, _unheld, now)
    tab = Tab(book, session, plan, now, rated, unheld=True, counting=False)
    present, _ = tab.cover(want, now)
    change = _next_change(plan, tab.scopes, now)
    if change < now + want.seconds * 1000:
        dearer, _ = tab.cover(want, change)
        if dearer.money > present.money:
            return dearer._replace(uncovered=present.uncovered, refused=present.refused)
    return present


def _at_once(
    book: Book,
    session: Session,
    plan: Plan,
    usage: Usage,
    rated: dict[int, Rated],
    present: Present,
    available: Callable[[Bucket], int],
    now: Instant,
) -> Coverage:
    """Cover a use in which no price changes, where buckets have no conditions and nothing is counted: nearly every report."""
    lines = plan.lines_for(place_of(session), present.names)
    return cover(plan, usage, book.usable_buckets(now), available, rated, book.account.credit_limit_micros, lines)


def _from_one_purse(
    book: Book, session: Session, plan: Plan, used: Usage, rated: dict[int, Rated], present: Present, now: Instant
) -> Coverage | None:
    """What `_at_once` says, where one line prices all of the use and one bucket of money pays for it; else None."""
    found = _sole(book, session, plan, present, now)
    if found is None:
        return None
    index, rate, bucket = found
    units = used.up + used.down
    before = rated.get(index, _NOTHING_RATED)
    micros = paid_in_full(rate, plan.rounding, before, units, bucket.balance)
    if micros is None:
        return None
    new_rated = {index: Rated(before.units + units, before.micros + micros)} if units else {}
    return Coverage([(bucket, micros)] if micros else [], new_rated, micros, _NOTHING_USED)


def keeps_money(book: Book, session: Session, plan: Plan, want: Usage, now: Instant) -> bool:
    """Does the money that a session holds still pay for its next slice, and not for much more? Then it keeps it. For
    plans that charge nothing but octets in total."""
    if plan.accumulates or book.is_scoped():
        return False
    present = _present(plan, now)
    found = _sole(book, session, plan, present, now) if present.until >= now + want.seconds * 1000 else None
    if found is None:
        return False
    index, rate, bucket = found
    before = book.rated_of(session).get(index, _NOTHING_RATED)
    rounding = plan.rounding if before.micros else plan.ahead.first_rounding
    micros = paid_in_full(rate, rounding, before, want.up + want.down, bucket.balance)
    return micros is not None and micros > 0 and book.keeps(session, bucket, micros)


def _sole(book: Book, session: Session, plan: Plan, present: Present, now: Instant) -> tuple[int, Rate, Bucket] | None:
    """The line that prices all that a session uses, and the bucket that pays for all of it: nearly always, once a session
    is on money. Where a purse runs out, or anything else decides too, it is for `cover` to say."""
    lines = plan.lines_for(place_of(session), present.names)
    if len(lines) != 1 or not plan.charges_total_octets_only:
        return None
    index, rate = lines[0]
    if rate.maximum_micros is not None:
        return None
    for bucket in book.usable_buckets(now):
        if bucket.unit == "money":
            return index, rate, bucket
        if bucket.blocker or bucket.balance > 0:
            return None
    return None


def after_changes(
    book: Book, session: Session, plan: Plan, want: Usage, rated: dict[int, Rated], now: Instant
) -> Iterator[tuple[Instant, Coverage]]:
    """What would cover a session's slice after each of the next changes of prices and buckets."""
    plan = plan.ahead
    tab = Tab(book, session, plan, now, rated, unheld=True)
    tab.own = {charge.bucket_id: charge.held for charge in book.charges_of(session)}
    at = now
    for _ in range(_CHANGES_AHEAD):
        at = _next_change(plan, tab.scopes, at)
        if at >= now + FURTHEST_MS:
            return
        yield at, tab.cover(want, at)[0]


def seconds_paid(book: Book, session: Session, plan: Plan, rated: dict[int, Rated], now: Instant) -> int:
    """How many seconds from now are paid for, across every change of prices and buckets: the inverse of `charge` in time."""
    tab = Tab(book, session, plan, now, rated, unheld=True)
    tab.own = {charge.bucket_id: charge.held for charge in book.charges_of(session)}
    at, seconds = now, 0
    while at < now + FURTHEST_MS:
        until = min(_next_change(plan, tab.scopes, at), now + FURTHEST_MS)
        most = -(-(until - at) // 1000)  # whole seconds, so that the pieces add up
        left = tab.take(Usage(0, 0, most), at).uncovered.seconds
        seconds += most - left
        if left:
            break
        at += most * 1000
    return seconds


def pieces(plan: Plan, scopes: Sequence[Scope | None], usage: Usage, span: tuple[Instant, Instant]) -> list[Piece]:
    """A use split wherever prices or buckets change within its span."""
    begin, end = span
    at = max(begin, end - MOST_SPLIT_MS)
    edges = [begin]
    while (at := _next_change(plan, scopes, at)) < end:
        edges.append(at)
    if len(edges) == 1:
        return [Piece(begin, usage)]
    whole = end - begin
    found: list[Piece] = []
    before = Usage(0, 0, 0)
    for edge, until in zip(edges, [*edges[1:], end], strict=True):
        # Shares of the whole up to here, so that rounding never adds or loses anything.
        now = Usage(*(amount * (until - begin) // whole for amount in usage))
        part = Usage(now.up - before.up, now.down - before.down, now.seconds - before.seconds)
        before = now
        if any(part):
            found.append(Piece(edge, part))
    return found


def _next_change(plan: Plan, scopes: Sequence[Scope | None], at: Instant) -> Instant:
    """The first moment after `at` from which prices, buckets or counts may be others. A moment at which nothing
    changes after all splits nothing: both sides are charged alike."""
    until = _present(plan, at).until
    for scope in scopes:
        if scope is not None and scope.calendar is not None:
            until = min(until, scope.calendar.at(at).until)
    return until


@dataclass(slots=True)
class Tab:
    """A use of one session that is covered piece by piece: what a piece takes is gone for those after it."""

    book: Book
    session: Session
    plan: Plan
    now: Instant
    rated: dict[int, Rated]
    unheld: bool = False
    """Leave what sessions hold to them, except what is this one's `own`."""
    counting: bool = True
    """Say what a piece adds to the counts."""
    own: dict[int, int] = field(default_factory=dict)
    draws: dict[int, tuple[Bucket, int]] = field(default_factory=dict)
    counts: dict[Counter, int] = field(default_factory=dict)
    place: Place = field(init=False)
    usable: list[Bucket] = field(init=False)
    scoped: list[tuple[Bucket, Scope | None]] = field(init=False)
    """The usable ones with their scopes; empty where none has one."""

    def __post_init__(self) -> None:
        self.place = place_of(self.session)
        self.look_again(self.now)

    def look_again(self, now: Instant) -> None:
        """At the buckets that can be drawn at a later moment."""
        self.now = now
        self.usable = self.book.usable_buckets(self.now)
        scoped = self.usable if self.book.is_scoped() else ()
        self.scoped = [(b, read_scope(b.scope) if b.scope else None) for b in scoped]

    @property
    def scopes(self) -> list[Scope | None]:
        """Of the buckets that may be drawn at all."""
        return [scope for _, scope in self.scoped]

    def take(self, usage: Usage, at: Instant) -> Coverage:
        """Cover a piece and remember what it took."""
        found, counts = self.cover(usage, at)
        for bucket, amount in found.draws:
            taken = self.draws.get(bucket.bucket_id)
            self.draws[bucket.bucket_id] = (bucket, amount if taken is None else taken[1] + amount)
        for counter, amount in counts.items():
            self.counts[counter] = self.counts.get(counter, 0) + amount
        self.rated = self.rated | found.rated
        return found

    def cover(self, usage: Usage, at: Instant) -> tuple[Coverage, dict[Counter, int]]:
        """Cover a piece by the lines and the buckets of its moment."""
        plan, subscriber_id = self.plan, self.session.subscriber_id
        present = _present(plan, at)
        lines = plan.lines_for(self.place, present.names)
        counted_at = max(at, self.now - LATEST_COUNT_MS)
        counters: dict[int, Counter] = {}
        counted: dict[int, int] = {}
        for index, rate in lines if plan.counts else ():
            if rate.accumulate != "session":
                counter = counters[index] = _counter(self.session, plan, rate, counted_at)
                counted[index] = self.book.counted(counter) + (self.counts.get(counter, 0) if self.counts else 0)
        caps: dict[int, tuple[Counter, int]] = {}
        allowed = self.usable
        if self.scoped:
            allowed = []
            for bucket, scope in self.scoped:
                if scope is not None:
                    if not scope.allows(subscriber_id, self.place, at):
                        continue
                    if scope.cap is not None:
                        span = (0, NEVER) if scope.cap_per is None else scope.at(counted_at).periods[scope.cap_per]
                        counter = Counter(subscriber_id, f"bucket:{bucket.bucket_id}", *span)
                        caps[bucket.bucket_id] = counter, scope.cap - self._counted(counter)
                allowed.append(bucket)

        def rest(bucket: Bucket) -> int:
            room = bucket.balance - (bucket.held - self.own.get(bucket.bucket_id, 0) if self.unheld else 0)
            if bucket.bucket_id in self.draws:
                room -= self.draws[bucket.bucket_id][1]
            if bucket.bucket_id in caps:
                room = min(room, max(caps[bucket.bucket_id][1], 0))
            return room

        available = rest if self.draws or self.own or caps else _unheld if self.unheld else _balance
        credit_limit = self.book.account.credit_limit_micros
        found = cover(plan, usage, allowed, available, self.rated, credit_limit, lines, counted)
        counts: dict[Counter, int] = {}
        if caps:
            counts = {caps[bucket.bucket_id][0]: amount for bucket, amount in found.draws if bucket.bucket_id in caps}
        for index, counter in counters.items() if self.counting else ():
            if index in found.rated:
                rate = plan.rates[index]
                units = self.rated[index].units if index in self.rated else 0
                counts[counter] = in_steps(rate, found.rated[index].units) - in_steps(rate, units)
        return found, counts

    def _counted(self, counter: Counter) -> int:
        return self.book.counted(counter) + self.counts.get(counter, 0)


def _balance(bucket: Bucket) -> int:
    return bucket.balance


def _unheld(bucket: Bucket) -> int:
    return bucket.balance - bucket.held
