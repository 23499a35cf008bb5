"""Periods: what begins them, what they cost, what they grant, and what becomes of what the one before has left.

A period is charged first and then granted, in one transaction, and whatever happens is a function of the book and the
time: whoever has the account at work does what is due (`catch_up`), in the order in which it was due, so it makes no
difference whether a job came at the moment or days later. The row of each paid period has a key, so that two who are at
work can not both write it; the account's version keeps them from it before that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from charging.book import Book
from charging.buckets import Bucket, is_purse, usable
from charging.enforcement import cover_again, reconsider
from charging.expiry import expire, expire_paid, hold_again, roll_over
from charging.level import move_counts
from charging.notices.kinds import Facts
from charging.payment import Applied, Grant, NotApplied, grant, grant_allowance
from charging.period import Period, period_of
from charging.plan import Instant, Plan
from charging.rhythm import buckets_of, turn
from charging.subscription import UNPAID, Contract, PaidPeriod, Subscription, grants, price_of, terms_of
from charging.succession import succeed

SERVER: Final = "server"
RENEWED: Final = "renewed"
#: What a period costs, in the ledger.
RENEWAL: Final = "renewal"
#: How much of what has become due one transaction does; the job comes back for the rest. More than an outage of three days
#: leaves of what is granted by the hour.
MOST_STEPS: Final = 100


class Missing(NamedTuple):
    """What the account's money lacks for a period: micros. 0: something else is in the way."""

    micros: int


def catch_up(book: Book, now: Instant) -> int:
    """Do what was due until now, in its order; how many things. At most MOST_STEPS at once."""
    holders = set[int]()
    steps = 0
    while book.due_at <= now and steps < MOST_STEPS:
        at = book.due_at
        due = [s for s in book.subscriptions.values() if s.due_at is not None and s.due_at <= at]
        for subscription in sorted(due, key=lambda s: s.subscriber_id):
            holders |= _look_at(book, subscription, at, now)
            steps += 1
        if not due:
            for bucket in [b for b in book.buckets.values() if _has_ended(b, at)]:
                if bucket.closed_at is None:  # not ended with another one of the same rhythm
                    holders |= _end(book, bucket, at, now)
                    steps += 1
    if steps:
        serve_again(book, holders, now)
    return steps


def pay_unpaid(book: Book, now: Instant) -> None:
    """Begin the periods that money has come in for."""
    for subscription in sorted(book.subscriptions.values(), key=lambda s: s.subscriber_id):
        if subscription.state in UNPAID and _renews_itself(book, subscription):
            start = subscription.end_at if subscription.state == "grace" else now
            begun = _begin(book, subscription, start, now, now, SERVER)
            if not isinstance(begun, Missing):
                serve_again(book, begun, now)
                catch_up(book, now)  # a grace may have been longer than the period


def _end(book: Book, bucket: Bucket, at: Instant, now: Instant) -> set[int]:
    """The end of a bucket's own time; where its allowance has a rhythm, the next span begins."""
    if bucket.subscriber_id is None:
        return expire_paid(book, bucket, at, now)
    subscription = book.subscriptions.get(bucket.subscriber_id) if bucket.every else None
    if subscription is None:
        return expire(book, bucket, at, now)
    return go_on(book, subscription, at, now)


def go_on(book: Book, subscription: Subscription, at: Instant, now: Instant) -> set[int]:
    """Begin the next spans of whatever the plan grants in a rhythm; the sessions that held something of the last ones."""
    reference = f"span:{subscription.subscriber_id}:{at}"
    return turn(book, subscription, _serving_plan(book, subscription, at), at, now, SERVER, reference)


def _serving_plan(book: Book, subscription: Subscription, at: Instant) -> Plan | None:
    """The plan that is paid for at that moment; one without periods in its newest version. None: nothing is."""
    plan = book.plans(subscription.plan_version_id)
    if plan.period is not None:
        return plan if subscription.state == "active" else None
    if subscription.state != "ended":
        return None
    if not _may_be_charged(book, subscription, at) and not _is_online(book, subscription):
        # Else the ledger would grow for ever by those who are gone; the next login begins it anew.
        subscription.state = "waiting"
        book.revise_subscription(subscription)
        return None
    version = next_version(book, subscription)
    if version != subscription.plan_version_id and book.plans(version).period is None:
        subscription.plan_version_id, plan = version, book.plans(version)
        book.revise_subscription(subscription)
    return plan


def _is_online(book: Book, subscription: Subscription) -> bool:
    return any(session.subscriber_id == subscription.subscriber_id for session in book.live_sessions())


def subscribe(book: Book, item: Grant, now: Instant) -> Applied | NotApplied:
    """The plan's first period for a subscriber, as soon as it is paid or he logs in. A plan without periods, but with a
    rhythm, is granted at once."""
    assert item.subscriber_id is not None
    plan = book.plans(item.plan_version_id)
    waits = plan.period is not None and plan.period.begins == "first-use"
    subscription = Subscription(
        account_id=book.account.account_id,
        subscriber_id=item.subscriber_id,
        plan_name=plan.name,
        plan_version_id=item.plan_version_id,
        next_plan_name=None,
        state="waiting" if waits else "lapsed",
        anchor_at=now,
        number=0,
        start_at=now,
        end_at=now,
        price_micros=0,
        reminded=False,
        paused_at=None,
        due_at=None,
    )
    if plan.period is None:
        subscription.state = "ended"
        book.revise_subscription(subscription)
        return grant(book, item, now)
    book.revise_subscription(subscription)
    book.agree_on(Contract(item.subscriber_id, plan.name, item.plan_version_id))
    if not waits:
        begun = _begin(book, subscription, now, now, now, item.actor)
        if not isinstance(begun, Missing):
            serve_again(book, begun, now)
    return Applied(0)


def first_use(book: Book, subscriber_id: int, now: Instant) -> None:
    """He logs in: a period, or a rhythm, that waits for that begins."""
    subscription = book.subscriptions.get(subscriber_id)
    if subscription is None or subscription.state != "waiting":
        return
    if book.plans(subscription.plan_version_id).period is None:
        subscription.state, subscription.anchor_at = "ended", now
        book.revise_subscription(subscription)
        go_on(book, subscription, now, now)
        return
    if isinstance(_begin(book, subscription, now, now, now, SERVER), Missing):
        subscription.state = "lapsed"  # from now on it waits for money
        book.revise_subscription(subscription)


def renew_unpaid(book: Book, username: str | None, reference: str, actor: str, now: Instant) -> Applied | NotApplied:
    """Begin the next period of those that are not paid, of one subscriber or all of the account, because somebody asks
    for it. All of them, or none."""
    lines = book.lines or {}
    unpaid = [
        s
        for s in sorted(book.subscriptions.values(), key=lambda s: s.subscriber_id)
        if s.state in UNPAID
        and (username is None or (s.subscriber_id in lines and lines[s.subscriber_id].username == username))
    ]
    if not unpaid:
        return NotApplied("subscriber: there is no period that is over and not paid")
    short = sum(_price_of_next(book, each, now) for each in unpaid) - purse(book, now)
    if short > 0:
        return NotApplied(f"amount: {short} micros are missing")
    for subscription in unpaid:
        start = subscription.end_at if subscription.state == "grace" else now
        begun = _begin(book, subscription, start, now, now, actor, reference)
        if not isinstance(begun, Missing):
            serve_again(book, begun, now)
    catch_up(book, now)
    return Applied(sum(b.balance for b in book.usable_buckets(now) if b.unit == "money"))


def _price_of_next(book: Book, subscription: Subscription, now: Instant) -> int:
    plan = book.plans(next_version(book, subscription))
    number = subscription.number + 1 if plan.name == subscription.plan_name else 1
    return 0 if plan.period is None else price_of(plan.period, number, now)


def serve_again(book: Book, holders: set[int], now: Instant) -> None:
    """After a period has begun or ended: every live session gets what there is for it now, or hears that nothing is."""
    hold_again(book, holders, now)
    cover_again(book, now)
    reconsider(book, RENEWED, now)


def leave(
    book: Book,
    subscription: Subscription,
    version: int,
    at: Instant,
    now: Instant,
    actor: str,
    *,
    granting: bool = True,
) -> set[int]:
    """The plan of that version has no periods: it is granted once, and nothing is counted any more."""
    plan = book.plans(version)
    holders = close_period(book, subscription, at, now)
    subscription.plan_name, subscription.plan_version_id, subscription.next_plan_name = plan.name, version, None
    subscription.state, subscription.due_at, subscription.anchor_at = "ended", None, at
    book.revise_subscription(subscription)
    book.agree_on(Contract(subscription.subscriber_id, plan.name, None))
    reference = f"period:{subscription.subscriber_id}:{at}"
    for allowance in plan.allowances if granting else ():
        bucket = grant_allowance(book, plan, allowance, subscription.subscriber_id, at)  # a rhythm counts from here
        book.move(bucket, f"grant:{plan.name}", allowance.amount, "grant", reference, now, actor, effective_at=at)
    succeed(book, subscription.subscriber_id, version, now)
    return holders


def resume(book: Book, subscription: Subscription, at: Instant, now: Instant) -> None:
    """The clock goes on: everything ends as much later as it stood still. A rhythm keeps to the calendar; what it grants for
    the span of this moment comes where that has not been granted before."""
    assert subscription.paused_at is not None
    later_ms = at - subscription.paused_at
    begun = subscription.start_at
    subscription.start_at += later_ms
    subscription.end_at += later_ms
    move_counts(book, subscription.subscriber_id, begun, (subscription.start_at, subscription.end_at))
    subscription.anchor_at = subscription.end_at
    subscription.state, subscription.paused_at = "active", None
    subscription.due_at = due_at(subscription, book.plans(subscription.plan_version_id))
    book.revise_subscription(subscription)
    for bucket in of_the_period(book, subscription):
        bucket.expires_at = subscription.end_at
        book.revise_bucket(bucket)
    go_on(book, subscription, at, now)


# --- what is due -----------------------------------------------------------------------------------------------------


def _look_at(book: Book, subscription: Subscription, at: Instant, now: Instant) -> set[int]:
    """One subscription at the moment when something of it was due; the sessions whose hold has ended by that."""
    if subscription.state == "active" and at < subscription.end_at:
        return _remind(book, subscription, now)
    if subscription.state == "active":
        missing = Missing(0)
        if _renews_itself(book, subscription):
            begun = _begin(book, subscription, subscription.end_at, at, now, SERVER)
            if not isinstance(begun, Missing):
                return begun
            missing = begun
        return _unpaid(book, subscription, missing, at, now)
    if subscription.state == "grace":
        _lapse(book, subscription, now)
    elif subscription.state == "paused":
        resume(book, subscription, at, now)
    else:
        subscription.due_at = None
        book.revise_subscription(subscription)
    return set()


def _remind(book: Book, subscription: Subscription, now: Instant) -> set[int]:
    subscription.reminded = True
    subscription.due_at = subscription.end_at
    book.revise_subscription(subscription)
    if now < subscription.end_at:
        plan = book.plans(next_version(book, subscription))
        number = subscription.number + 1 if plan.name == subscription.plan_name else 1
        facts: Facts = {"plan": plan.name, "renews_at": subscription.end_at}
        if plan.period is not None:
            facts = {**facts, "price_micros": price_of(plan.period, number, subscription.end_at)}
        book.notify("renewal-soon", plan.name, now, subscriber_id=subscription.subscriber_id, facts=facts)
    return set()


def _unpaid(book: Book, subscription: Subscription, missing: Missing, at: Instant, now: Instant) -> set[int]:
    """A period has ended and the next one has not begun."""
    plan = book.plans(subscription.plan_version_id)
    if missing.micros:
        price = price_of(terms_of(plan), subscription.number + 1, at)
        facts: Facts = {"plan": plan.name, "price_micros": price, "missing_micros": missing.micros}
        book.notify("renewal-failed", plan.name, now, subscriber_id=subscription.subscriber_id, facts=facts)
    grace_ms = terms_of(plan).grace_seconds * 1000
    if not grace_ms:
        _lapse(book, subscription, now)
        return set()
    subscription.state, subscription.due_at = "grace", at + grace_ms
    book.revise_subscription(subscription)
    for bucket in of_the_period(book, subscription):
        bucket.expires_at = subscription.due_at
        book.revise_bucket(bucket)
    return set()


def _lapse(book: Book, subscription: Subscription, now: Instant) -> None:
    """Nothing is paid any more, and nobody served. What the period left expires by its own time."""
    plan = book.plans(subscription.plan_version_id)
    subscription.state, subscription.due_at = "lapsed", None
    book.revise_subscription(subscription)
    facts: Facts = {"plan": plan.name, "expires_at": subscription.end_at}
    book.notify("expired", plan.name, now, subscriber_id=subscription.subscriber_id, facts=facts)


# --- beginning a period ----------------------------------------------------------------------------------------------


def next_version(book: Book, subscription: Subscription) -> int:
    """What the next period is sold under: the newest version of its plan, where that is known."""
    name = subscription.next_plan_name or subscription.plan_name
    return book.newest.get(name, subscription.plan_version_id)


def _renews_itself(book: Book, subscription: Subscription) -> bool:
    """Does money alone begin the next period? The first one it always does."""
    if not subscription.number or subscription.next_plan_name is not None:
        return True
    return terms_of(book.plans(subscription.plan_version_id)).renewal == "automatic"


def _begin(
    book: Book,
    subscription: Subscription,
    start: Instant,
    at: Instant,
    now: Instant,
    actor: str,
    reference: str | None = None,
) -> set[int] | Missing:
    """Charge for the period that begins at `start` and grant what it brings; the sessions that held what has ended.
    `at`: the moment for whose money and buckets it is decided, no later than now."""
    if not _may_be_charged(book, subscription, at):
        return Missing(0)
    version = next_version(book, subscription)
    plan = book.plans(version)
    if plan.period is None:
        return leave(book, subscription, version, at, now, actor)
    number = subscription.number + 1 if plan.name == subscription.plan_name else 1
    price = price_of(plan.period, number, start)
    short = price - purse(book, at)
    if short > 0:
        return Missing(short)
    period = _period(subscription, plan, start)
    reference = reference or f"period:{subscription.subscriber_id}:{start}"
    charge(book, plan, price, reference, actor, at, now)
    holders = _end_of_period(book, subscription, plan, period, at, now, actor)
    enter(book, subscription, version, number, period, price, reference, now)
    holders |= grant_period(book, subscription, plan, at, now, actor, reference)
    succeed(book, subscription.subscriber_id, version, now)
    if number > 1 and period.end > now:
        facts: Facts = {"plan": plan.name, "price_micros": price, "renews_at": period.end}
        book.notify(RENEWED, plan.name, now, subscriber_id=subscription.subscriber_id, facts=facts)
    return holders


def _period(subscription: Subscription, plan: Plan, start: Instant) -> Period:
    """The period that begins at `start`: counted from the anchor where it leads there, else the anchor is moved."""
    every = terms_of(plan).every
    if subscription.number:
        period = period_of(subscription.anchor_at, every, plan.time_zone, start)
        if period.start == start:
            return period
    subscription.anchor_at = start
    return period_of(start, every, plan.time_zone, start)


def enter(
    book: Book,
    subscription: Subscription,
    version: int,
    number: int,
    period: Period,
    price: int,
    reference: str,
    now: Instant,
) -> None:
    """From now on the subscription is in this period, and its sessions under this version."""
    plan = book.plans(version)
    before = subscription.plan_version_id
    subscription.plan_name, subscription.plan_version_id, subscription.next_plan_name = plan.name, version, None
    subscription.state, subscription.number, subscription.price_micros = "active", number, price
    subscription.start_at, subscription.end_at = period.start, period.end
    subscription.reminded = not terms_of(plan).remind_seconds
    subscription.paused_at = None
    subscription.due_at = due_at(subscription, plan)
    book.revise_subscription(subscription)
    key = (book.account.account_id, subscription.subscriber_id)
    book.paid_periods += (PaidPeriod(*key, period.start, period.end, number, version, price, reference, now),)
    if version != before or number == 1:
        book.agree_on(Contract(subscription.subscriber_id, plan.name, version))


def due_at(subscription: Subscription, plan: Plan) -> Instant:
    """When an active subscription must be looked at next."""
    if subscription.reminded:
        return subscription.end_at
    return max(subscription.end_at - terms_of(plan).remind_seconds * 1000, subscription.start_at)


def _may_be_charged(book: Book, subscription: Subscription, at: Instant) -> bool:
    """Not while account or subscriber are suspended, and not for a service that has ended."""
    if book.account.status != "active":
        return False
    if book.lines is None:
        return True
    line = book.lines.get(subscription.subscriber_id)
    return line is not None and line.status == "active" and (line.expires_at is None or line.expires_at > at)


# --- money -----------------------------------------------------------------------------------------------------------


def purse(book: Book, at: Instant) -> int:
    """What of the account's money may pay for a period: what was paid in, and the credit. What a plan gave pays for use."""
    return sum(b.balance for b in _paid_in(book, at)) + book.account.credit_limit_micros


def charge(book: Book, plan: Plan, micros: int, reference: str, actor: str, at: Instant, now: Instant) -> None:
    """Take the price of a period. Whoever holds some of it loses his hold: it is cut back before the transaction ends."""
    buckets = _paid_in(book, at)
    for bucket in buckets:
        last = bucket is buckets[-1]
        part = micros if last else min(micros, max(bucket.balance, 0))
        if part:
            revenue = f"revenue:{plan.name}"
            book.move(bucket, revenue, -part, RENEWAL, reference, now, actor, effective_at=at)
            micros -= part


def _paid_in(book: Book, at: Instant) -> list[Bucket]:
    """Money that was paid in, in draw order; the purse, which alone has credit, comes last."""
    money = [b for b in book.buckets.values() if b.unit == "money" and b.source == "top-up" and b.closed_at is None]
    return sorted(usable(money, at), key=is_purse)


# --- buckets ---------------------------------------------------------------------------------------------------------


def grant_period(
    book: Book,
    subscription: Subscription,
    plan: Plan,
    at: Instant,
    now: Instant,
    actor: str,
    reference: str,
    share: tuple[int, int] = (1, 1),
) -> set[int]:
    """A bucket for each allowance that this period grants; `share`: a part of what lasts as long as the period. The
    sessions that held something of a span that ended at the same moment."""
    for allowance in plan.allowances:
        if allowance.every is not None or not grants(allowance, subscription.number, subscription.start_at):
            continue
        once = allowance.periods == 1
        amount = allowance.amount
        if not once:
            amount = max(amount * share[0] // share[1], 1)
        bucket = grant_allowance(book, plan, replace(allowance, amount=amount), subscription.subscriber_id, at)
        if allowance.validity is None and not once:
            bucket.subscriber_id = subscription.subscriber_id
            bucket.expires_at = subscription.end_at
            book.revise_bucket(bucket)
        book.move(bucket, f"grant:{plan.name}", amount, "grant", reference, now, actor, effective_at=at)
    return turn(book, subscription, plan, at, now, actor, reference, prorated=share[0] != share[1])


def _end_of_period(
    book: Book, subscription: Subscription, plan: Plan, period: Period, at: Instant, now: Instant, actor: str
) -> set[int]:
    """Carry over what the plan of the period that ends lets go over into the next one, and let the rest expire."""
    before = book.plans(subscription.plan_version_id)
    granted = {(each.name, each.unit) for each in plan.allowances}
    rules = {
        (each.name, each.unit): each.roll_over
        for each in before.allowances
        if each.roll_over is not None and each.every is None and (each.name, each.unit) in granted
    }
    ending = of_the_period(book, subscription)
    for key, rule in rules.items():
        roll_over(book, [b for b in ending if (b.name, b.unit) == key], rule, period.end, at, now, actor)
    if plan.name != before.name:
        ending += buckets_of(book, subscription.subscriber_id)
    return close_period(book, subscription, at, now, ending)


def close_period(
    book: Book, subscription: Subscription, at: Instant, now: Instant, ending: list[Bucket] | None = None
) -> set[int]:
    """What is left of a period expires; unless it is said what ends, that of the spans in it too."""
    if ending is None:
        ending = of_the_period(book, subscription) + buckets_of(book, subscription.subscriber_id)
    holders = set[int]()
    for bucket in ending:
        holders |= expire(book, bucket, at, now)
    return holders


def of_the_period(book: Book, subscription: Subscription) -> list[Bucket]:
    """The buckets that end with it, the oldest first."""
    mine = (
        b
        for b in book.buckets.values()
        if b.subscriber_id == subscription.subscriber_id and b.closed_at is None and not b.every
    )
    return sorted(mine, key=lambda b: (b.created_at, b.name, b.bucket_id))


def _has_ended(bucket: Bucket, at: Instant) -> bool:
    return bucket.expires_at is not None and bucket.expires_at <= at and bucket.closed_at is None
