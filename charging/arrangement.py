"""What somebody arranges about a subscriber's periods: another plan, at once or from the next period; a pause; a renewal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from charging.book import Book
from charging.money import Rounding, divide
from charging.payment import Applied, Grant, NotApplied, grant
from charging.period import Period, period_of
from charging.plan import Instant, Plan
from charging.renewal import (
    charge,
    close_period,
    enter,
    grant_period,
    leave,
    of_the_period,
    pay_unpaid,
    purse,
    resume,
    serve_again,
    subscribe,
)
from charging.subscription import UNPAID, Contract, Subscription, price_of, terms_of
from charging.succession import succeed

When = Literal["now", "period-end"]
PAUSED: Final = "paused"
#: What a plan change gives back, in the ledger.
PRORATION: Final = "proration"


@dataclass(frozen=True, slots=True)
class Change:
    """Another plan, or the newest version of the same one."""

    plan_version_id: int
    when: When = "now"
    granting: bool = True
    """Where the plan has no periods: with its allowances."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The clock of the period stands still, and nobody is served."""

    until: Instant | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """It goes on."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The subscriber is removed: what is left of his period expires."""


What = Change | Pause | Resume | Leave


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Something that is arranged for a subscriber."""

    account_id: int
    subscriber_id: int
    what: What
    reference: str
    actor: str


class Share(NamedTuple):
    """A part of a whole."""

    part: int
    whole: int

    def of(self, micros: int, rounding: Rounding) -> int:
        """This part of an amount."""
        unit = rounding.unit_micros
        return divide(micros * self.part, self.whole * unit, rounding.mode) * unit


def arrange(book: Book, item: Arrangement, now: Instant) -> Applied | NotApplied:
    """Do what is arranged, or say why not; then nothing has changed."""
    known = subscription = book.subscriptions.get(item.subscriber_id)
    if known is not None and (known.state == "ended" or book.plans(known.plan_version_id).period is None):
        subscription = None
    match item.what:
        case Change():
            return _change(book, subscription, item, item.what, now)
        case Leave():
            if known is not None:
                _leave(book, known, now)
            return Applied(0)
        case _ if subscription is None:
            return NotApplied("subscriber: the plan is not sold by periods")
        case Pause():
            return _pause(book, subscription, item.what, now)
        case Resume():
            if subscription.state != "paused":
                return NotApplied(f"subscriber: the period is {subscription.state}, not paused")
            resume(book, subscription, now, now)
            serve_again(book, set(), now)
            return Applied(0)


def _pause(book: Book, subscription: Subscription, what: Pause, now: Instant) -> Applied | NotApplied:
    if subscription.state != "active":
        return NotApplied(f"subscriber: the period is {subscription.state}; only one that is paid can be paused")
    if what.until is not None and what.until <= now:
        return NotApplied("until: is over already; give a later day")
    subscription.state, subscription.paused_at, subscription.due_at = "paused", now, what.until
    book.revise_subscription(subscription)
    for bucket in of_the_period(book, subscription):
        bucket.expires_at = None
        book.revise_bucket(bucket)
    for session in book.live_sessions():
        if session.subscriber_id == subscription.subscriber_id and session.wanted != "cut":
            book.release(session)
            book.command(session, "cut", PAUSED, now)
    return Applied(0)


def _leave(book: Book, subscription: Subscription, now: Instant) -> None:
    holders = close_period(book, subscription, now, now)
    subscription.state, subscription.due_at = "ended", None
    book.revise_subscription(subscription)
    serve_again(book, holders, now)


# --- another plan ----------------------------------------------------------------------------------------------------


def _change(
    book: Book, subscription: Subscription | None, item: Arrangement, what: Change, now: Instant
) -> Applied | NotApplied:
    plan = book.plans(what.plan_version_id)
    if subscription is None:
        if what.when == "period-end":
            return NotApplied("at: the present plan has no periods; change it now")
        given = Grant(item.account_id, what.plan_version_id, item.reference, item.actor, item.subscriber_id)
        book.agree_on(Contract(item.subscriber_id, plan.name, None))
        known = book.subscriptions.get(item.subscriber_id)
        if known is not None:
            _leave(book, known, now)  # what the plan before grants in a rhythm ends with it
        if plan.period is not None or (plan.recurring and what.granting):
            return subscribe(book, given, now)
        return grant(book, given, now) if what.granting else Applied(0)
    if what.when == "period-end":
        if subscription.state == "waiting":
            return NotApplied("at: no period has begun; change the plan now")
        subscription.next_plan_name = None if plan.name == subscription.plan_name else plan.name
        book.revise_subscription(subscription)
        return Applied(0)
    if subscription.state == "paused":
        return NotApplied("subscriber: the period is paused; resume it first")
    if subscription.state == "active":
        return _change_now(book, subscription, plan, item, what, now)
    if plan.period is None:
        serve_again(
            book, leave(book, subscription, what.plan_version_id, now, now, item.actor, granting=what.granting), now
        )
        return Applied(0)
    # Nothing is paid, so nothing is given back: what is left of the grace ends, and the new plan begins with its money.
    holders = close_period(book, subscription, now, now)
    if subscription.plan_name != plan.name:
        subscription.number = 0
    subscription.plan_name, subscription.plan_version_id, subscription.next_plan_name = (
        plan.name,
        what.plan_version_id,
        None,
    )
    if subscription.state in UNPAID:
        subscription.state, subscription.due_at, subscription.end_at = "lapsed", None, now
    book.revise_subscription(subscription)
    book.agree_on(Contract(subscription.subscriber_id, plan.name, what.plan_version_id))
    succeed(book, subscription.subscriber_id, what.plan_version_id, now)
    serve_again(book, holders, now)
    pay_unpaid(book, now)
    return Applied(0)


def _change_now(
    book: Book, subscription: Subscription, plan: Plan, item: Arrangement, what: Change, now: Instant
) -> Applied | NotApplied:
    """In the middle of a paid period: give back its rest, and charge for the new plan's."""
    if subscription.start_at >= now:
        return NotApplied("subscriber: the period has begun this very moment; try again")
    before = book.plans(subscription.plan_version_id)
    prorated = terms_of(before).proration != "none"
    credit = _credit(book, subscription, before, now)
    reference, actor = item.reference, item.actor
    if plan.period is None:
        _give_back(book, before, credit, reference, actor, now)
        version = what.plan_version_id
        serve_again(book, leave(book, subscription, version, now, now, actor, granting=what.granting), now)
        return Applied(0)
    number = subscription.number if plan.name == subscription.plan_name else 1
    price, share, period = price_of(plan.period, number, now), Share(1, 1), None
    anchor = subscription.anchor_at
    if prorated and plan.period.every == terms_of(before).every:
        # The same rhythm: the period's end stays, and so does the day on which money is taken.
        whole = period_of(anchor, plan.period.every, plan.time_zone, now)
        share = Share(min(subscription.end_at - now, whole.end - whole.start), whole.end - whole.start)
        period, price = Period(0, now, subscription.end_at), share.of(price, plan.rounding)
    else:
        anchor, period = now, period_of(now, plan.period.every, plan.time_zone, now)
    short = price - purse(book, now) - credit
    if short > 0:
        return NotApplied(f"amount: {short} micros are missing for plan {plan.name}")
    subscription.anchor_at = anchor
    _give_back(book, before, credit, reference, actor, now)
    charge(book, plan, price, reference, actor, now, now)
    holders = close_period(book, subscription, now, now)
    enter(book, subscription, what.plan_version_id, number, period, price, reference, now)
    holders |= grant_period(book, subscription, plan, now, now, actor, reference, share)
    succeed(book, subscription.subscriber_id, what.plan_version_id, now)
    serve_again(book, holders, now)
    return Applied(sum(b.balance for b in book.usable_buckets(now) if b.unit == "money"))


def _credit(book: Book, subscription: Subscription, plan: Plan, now: Instant) -> int:
    """What of the period's price is given back, rounded down."""
    rule = terms_of(plan).proration
    if rule == "none":
        return 0
    left = Share(max(subscription.end_at - now, 0), subscription.end_at - subscription.start_at)
    if rule == "unused":
        for bucket in of_the_period(book, subscription):
            if bucket.granted and not bucket.rolled:
                unused = Share(max(bucket.balance, 0), bucket.granted)
                if unused.part * left.whole < left.part * unused.whole:
                    left = unused
    return left.of(subscription.price_micros, Rounding("down", plan.rounding.decimals))


def _give_back(book: Book, plan: Plan, micros: int, reference: str, actor: str, now: Instant) -> None:
    if micros:
        book.move(book.money_bucket(), f"revenue:{plan.name}", micros, PRORATION, reference, now, actor)
