"""What service a session is to have while something pays for it: by the hour, by what its subscriber has used, up to caps.

Login, report, payment and the clock all ask here; only plans that vary come here (`Plan.varies`). A cap goes before a
speed step, a step before a window, a window before the plan's own profile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from charging.book import Book, Counter
from charging.buckets import Usage
from charging.notices.kinds import Facts
from charging.plan import Cap, Instant, Measure, Plan, Profile
from charging.session import Session
from charging.window import NEVER, period_of

WINDOW: Final = "window"
FAIR_USE: Final = "fair-use"
#: What was used longer ago is counted as if it had been then: older counts are not in memory.
LATEST_COUNT_MS: Final = 35 * 86_400_000


Counted = Callable[[Counter], int]
"""How far a subscriber's counter has come: `Book.counted`."""


Span = tuple[Instant, Instant]
"""From, until."""


class Level(NamedTuple):
    """A profile for now."""

    profile: str
    """One of `Plan.profiles`; empty: the plan's own."""
    why: str
    """`window`, `fair-use`, or empty."""
    until: Instant
    """The clock alone changes nothing before."""


class Reached(NamedTuple):
    """A cap that holds until its period ends."""

    cap: Cap
    until: Instant


def level_of(counted: Counted, subscriber_id: int, plan: Plan, at: Instant, running: Span | None = None) -> Level:
    """Which profile a subscriber's sessions are to have at a moment, and until when that can be trusted. `running`: the
    period of the plan that he is in; the next one says so itself when it begins."""
    until = NEVER
    fair_use = plan.fair_use
    if fair_use is not None:
        measure = Measure("octets", fair_use.direction, fair_use.per)
        counter = counter_of(subscriber_id, plan, measure, at, running)
        used = counted(counter)
        passed = [step for step in fair_use.steps if used >= step.after]
        if passed:
            until = NEVER if fair_use.per == "period" else counter.until_at
            return Level(_name(plan, passed[-1].profile), FAIR_USE, until)
    if plan.hours is not None:
        present = plan.hours.at(at)
        until = present.until
        for each in plan.profile_windows:
            if each.window in present.names:
                return Level(_name(plan, each.profile), WINDOW, until)
    return Level("", "", until)


def cap_of(counted: Counted, subscriber_id: int, plan: Plan, at: Instant) -> Reached | None:
    """The first cap in the plan's order that a subscriber has come to."""
    for cap in plan.caps:
        counter = counter_of(subscriber_id, plan, Measure(cap.unit, cap.direction, cap.per), at)
        if counted(counter) >= cap.amount:
            return Reached(cap, counter.until_at)
    return None


def capped_seconds(counted: Counted, subscriber_id: int, plan: Plan, at: Instant) -> int | None:
    """How long a session may last until it comes to a cap of time that ends it; None: there is none, or the cap's period
    ends before."""
    left = []
    for cap in plan.caps:
        if cap.unit == "seconds" and cap.reached.action == "disconnect":
            counter = counter_of(subscriber_id, plan, Measure(cap.unit, cap.direction, cap.per), at)
            rest = cap.amount - counted(counter)
            if at + rest * 1000 < counter.until_at:
                left.append(max(rest, 1))
    return min(left, default=None)


def profile_named(plan: Plan, name: str) -> Profile:
    """A profile of the plan by the name that a session keeps."""
    return plan.profiles.get(name, plan.profile)


def counter_of(subscriber_id: int, plan: Plan, measure: Measure, at: Instant, running: Span | None = None) -> Counter:
    """Where a subscriber's use at a moment is counted. A period of the plan that is over and not paid goes on."""
    period = running or (0, NEVER) if measure.per == "period" else period_of(measure.per, at, plan.time_zone)
    return Counter(subscriber_id, _name_of(plan.name, measure), *period)


@lru_cache(maxsize=1024)
def _name_of(plan_name: str, measure: Measure) -> str:
    return f"use:{plan_name}:{measure.unit}:{measure.direction}:{measure.per}"


def count(book: Book, session: Session, plan: Plan, used: Usage, micros: int, span: Span, now: Instant) -> bool:
    """Count what a report adds, in proportion to the time where a period ends within its span. Whether it came to a speed
    step or a cap that holds now; the subscriber is told of each step once."""
    crossed = False
    running = running_period(book, session.subscriber_id) if book.subscriptions else None
    for measure, marks in plan.measured.items():
        amount = _amount(measure, used, micros)
        if not amount:
            continue
        counter = counter_of(session.subscriber_id, plan, measure, span[1], running)
        whole = counter.period_at <= span[0] and span[0] >= now - LATEST_COUNT_MS
        for at, part in ((span[1], amount),) if whole else _spread(measure, plan, amount, span, now, running):
            if not whole:
                counter = counter_of(session.subscriber_id, plan, measure, at, running)
            before = book.counted(counter)
            book.count(counter, part)
            if measure.per == "period" or counter.until_at > now:
                passed = [mark for mark in marks if before < mark <= before + part]
                if passed:
                    crossed = True
                    _tell_of_step(book, session, plan, measure, passed, now)
    return crossed


def _tell_of_step(book: Book, session: Session, plan: Plan, measure: Measure, passed: list[int], now: Instant) -> None:
    """Of several steps at once, the last."""
    fair_use = plan.fair_use
    if fair_use is not None and ("octets", fair_use.direction, fair_use.per) == measure:
        for step in [step for step in fair_use.steps if step.after in passed][-1:]:
            facts: Facts = {"plan": plan.name, "profile": step.profile.name, "after": step.after}
            book.notify("fair-use", step.profile.name, now, session=session, facts=facts)


def _amount(measure: Measure, used: Usage, micros: int) -> int:
    match measure.unit:
        case "money":
            return micros
        case "seconds":
            return used.seconds
        case _:
            up = used.up if measure.direction != "down" else 0
            return up + (used.down if measure.direction != "up" else 0)


def running_period(book: Book, subscriber_id: int) -> Span | None:
    """The period of the plan that a subscriber is in; None: his plan has none."""
    subscription = book.subscriptions.get(subscriber_id)
    return None if subscription is None else (subscription.start_at, subscription.end_at)


def _spread(
    measure: Measure, plan: Plan, amount: int, span: Span, now: Instant, running: Span | None
) -> Iterator[tuple[Instant, int]]:
    """A report's use by the periods that it lies in: when, and how much."""
    if measure.per == "period":
        yield span[1], _since(amount, span, running)
        return
    begin, end = max(span[0], now - LATEST_COUNT_MS), max(span[1], now - LATEST_COUNT_MS)
    at, done = begin, 0
    while (until := period_of(measure.per, at, plan.time_zone)[1]) < end:
        # Shares of the whole up to here, so that rounding never adds or loses anything.
        share = amount * (until - begin) // (end - begin)
        if share != done:
            yield at, share - done
        at, done = until, share
    if amount != done:
        yield at, amount - done


def move_counts(book: Book, subscriber_id: int, begun: Instant, running: Span) -> None:
    """The plan's period that began at `begun` stood still, and is another span of time now: it goes on counting."""
    moved = [t for t in book.tallies.values() if (t.subscriber_id, t.period_at) == (subscriber_id, begun)]
    for tally in moved:
        if tally.name.startswith("use:") and tally.name.endswith(":period") and begun != running[0]:
            book.count(Counter(subscriber_id, tally.name, *running), tally.amount)


def _since(amount: int, span: Span, running: Span | None) -> int:
    """What of a use lies in the plan's running period: of the one before nobody asks any more."""
    begin, end = span
    if running is None or begin >= running[0] or begin >= end:
        return amount
    return amount * max(end - running[0], 0) // (end - begin)


def _name(plan: Plan, profile: Profile) -> str:
    return "" if profile == plan.profile else profile.name
