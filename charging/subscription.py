"""A subscriber's way through the periods of his plan: where he stands, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from charging.plan import Allowance, Instant, PeriodTerms, Plan

State = Literal["waiting", "active", "grace", "lapsed", "paused", "ended"]
"""waiting: for the first login. active: the period is paid. grace: it is over and the next one not paid, but service goes
on. lapsed: nothing is paid. paused: somebody stopped the clock. ended: the plan has no periods (any more); where that plan
grants something in a rhythm and the service has ended, it is waiting for the next login."""

#: Who may use what his account has. One whose plan has no periods has an ended subscription, or none at all where it has no
#: rhythm either.
SERVED: Final = frozenset({"active", "grace", "ended"})
#: Money that comes in begins the next period.
UNPAID: Final = frozenset({"grace", "lapsed"})


@dataclass(slots=True)
class Subscription:
    """A row of the subscription table."""

    account_id: int
    subscriber_id: int
    plan_name: str
    plan_version_id: int
    next_plan_name: str | None
    state: State
    anchor_at: Instant
    number: int
    """How many periods of this plan were paid."""
    start_at: Instant
    end_at: Instant
    """Of the period that runs, or ran last."""
    price_micros: int
    """What that period cost."""
    reminded: bool
    paused_at: Instant | None
    due_at: Instant | None
    """When it must be looked at next; None: when money comes in, or somebody says so."""


class PaidPeriod(NamedTuple):
    """A row of the subscription_period table."""

    account_id: int
    subscriber_id: int
    start_at: Instant
    end_at: Instant
    number: int
    plan_version_id: int
    price_micros: int
    reference: str
    recorded_at: Instant


class Line(NamedTuple):
    """What the subscriber table says of somebody whose period ends."""

    username: str
    status: str
    expires_at: Instant | None


class Contract(NamedTuple):
    """A subscriber's plan from now on, as the subscriber table has it; no version: the plan's newest."""

    subscriber_id: int
    plan_name: str
    plan_version_id: int | None


def terms_of(plan: Plan) -> PeriodTerms:
    """The terms of a plan that is sold by periods."""
    assert plan.period is not None
    return plan.period


def price_of(terms: PeriodTerms, number: int, start_at: Instant) -> int:
    """Micros for the `number`-th period, which begins at `start_at`: of the promotions that hold the first one's price."""
    for each in terms.promotions:
        if (each.periods is None or number <= each.periods) and _within(each.valid_from, each.valid_until, start_at):
            return each.price_micros
    return terms.price_micros


def grants(allowance: Allowance, number: int, start_at: Instant) -> bool:
    """Does the `number`-th period, which begins at `start_at`, bring this allowance?"""
    if allowance.periods is not None and number > allowance.periods:
        return False
    return _within(allowance.valid_from, allowance.valid_until, start_at)


def _within(first: Instant | None, until: Instant | None, at: Instant) -> bool:
    return (first is None or first <= at) and (until is None or at < until)
