"""What a use of a plan would cost, line by line, and how far money would reach: the charging of a session that nobody has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from typing import Final, Literal, NamedTuple

from charging import rating
from charging.book import Account, Book, Counter
from charging.buckets import Rated, Usage
from charging.money import MAX_AMOUNT
from charging.payment import Grant, grant, money_bucket, span_of
from charging.period import period_of as period_after
from charging.plan import Instant, Plan, Rate
from charging.rhythm import turn_on_paper
from charging.session import Session
from charging.subscription import grants, price_of
from charging.window import period_of
from charging.zone import NOWHERE, Place

_PURSE: Final = 1
_SUBSCRIBER: Final = 1


@dataclass(frozen=True, slots=True)
class Use:
    """A use that begins at a moment; octets are spread over its seconds."""

    begin: Instant
    up: int = 0
    down: int = 0
    seconds: int = 0
    place: Place = NOWHERE
    counted: Mapping[str, int] = field(default_factory=dict)
    """Per name of a price line: what it had counted before in this period, in whole steps."""
    period: int = 0
    """With the price of the plan's n-th period; 0: without."""


class Item(NamedTuple):
    """One line of the bill."""

    begin: Instant
    until: Instant
    kind: Literal["period", "allowance", "rate", "unpaid"]
    name: str
    unit: str
    amount: int
    """Of the unit; micros where an allowance of money pays."""
    micros: int
    """What it costs; 0 where an allowance of octets or time is drawn."""
    rate: Rate | None = None


class Quote(NamedTuple):
    """A bill. `micros`: all of it, whoever pays; money that allowances bring is among the items."""

    items: list[Item]
    micros: int


def quote(plan: Plan, use: Use, *, allowances: bool = True) -> Quote:
    """What a use costs a new subscriber of the plan, who has all its allowances, or none of them."""
    book, session = _imagined(plan, use, MAX_AMOUNT, allowances=allowances)
    tab = rating.Tab(book, session, plan, use.begin, {})
    items: list[Item] = []
    micros = 0
    if plan.period is not None and use.period:
        micros = price_of(plan.period, use.period, use.begin)
        until = period_after(use.begin, plan.period.every, plan.time_zone, use.begin).end
        items.append(Item(use.begin, until, "period", f"period {use.period}", "period", 1, micros))
    granted = _granted(plan, use) if allowances else replace(plan, allowances=())
    for piece, until in _pieces(granted, use, tab):
        before = tab.rated
        found = tab.take(piece.usage, piece.begin)
        micros += found.money
        for bucket, amount in found.draws:
            if bucket.bucket_id != _PURSE:
                items.append(Item(piece.begin, until, "allowance", bucket.name, bucket.unit, amount, 0))
        for index, now in found.rated.items():
            rate = plan.rates[index]
            was = before.get(index, Rated(0, 0))
            name = rate.name or f"rate {index + 1}"
            added = now.units - was.units
            items.append(Item(piece.begin, until, "rate", name, rate.unit, added, now.micros - was.micros, rate))
        for unit, amount in (
            ("octets", found.uncovered.up + found.uncovered.down),
            ("seconds", found.uncovered.seconds),
        ):
            if amount:
                items.append(Item(piece.begin, until, "unpaid", "", unit, amount, 0))
    return Quote(items, micros)


def _pieces(plan: Plan, use: Use, tab: rating.Tab) -> Iterator[tuple[rating.Piece, Instant]]:
    """The pieces of a use, and until when; where the plan grants something anew in between, that is on the tab then."""
    end = use.begin + use.seconds * 1000
    edges = [use.begin, *sorted(_turns(plan, use, end)), end]
    before = Usage(0, 0, 0)
    for begin, until in pairwise(edges):
        # Shares of the whole up to here, so that rounding never adds or loses anything.
        part, whole = (until - use.begin, end - use.begin) if until < end else (1, 1)
        so_far = Usage(use.up * part // whole, use.down * part // whole, use.seconds * part // whole)
        used = Usage(so_far.up - before.up, so_far.down - before.down, so_far.seconds - before.seconds)
        before = so_far
        if begin > use.begin:
            turn_on_paper(tab.book, plan, _SUBSCRIBER, use.begin, begin)
            tab.look_again(begin)
        parts = rating.pieces(plan, tab.scopes, used, (begin, until))
        yield from zip(parts, [*(part.begin for part in parts[1:]), until][: len(parts)], strict=True)


def _turns(plan: Plan, use: Use, end: Instant) -> set[Instant]:
    """Within a use, when something is granted anew."""
    found = set[Instant]()
    for each in plan.recurring:
        at = use.begin
        while (at := span_of(plan, each, use.begin, at).end) < end:
            found.add(at)
    return found


class Reach(NamedTuple):
    """How far money goes; None: no end."""

    octets: int | None
    """Down, at the prices of the moment."""
    seconds: int | None
    """Through all changes of prices."""


def reach(plan: Plan, use: Use, micros: int, *, allowances: bool = True) -> Reach:
    """How many octets down, and how many seconds, a subscriber with so much money may use after `use`'s beginning."""
    book, session = _imagined(plan, use, micros, allowances=allowances)
    most = MAX_AMOUNT
    left, _ = rating.Tab(book, session, plan, use.begin, {}).cover(Usage(0, most, 0), use.begin)
    octets = None if not plan.charges("octets") or not left.uncovered.down else most - left.uncovered.down
    if not plan.charges("seconds"):
        return Reach(octets, None)
    seconds = rating.seconds_paid(book, session, plan, {}, use.begin)
    return Reach(octets, None if seconds * 1000 >= rating.FURTHEST_MS else seconds)


def _granted(plan: Plan, use: Use) -> Plan:
    """The plan with the allowances of that period only."""
    return replace(plan, allowances=tuple(each for each in plan.allowances if grants(each, use.period or 1, use.begin)))


def _imagined(plan: Plan, use: Use, micros: int, *, allowances: bool) -> tuple[Book, Session]:
    ids = count(_PURSE + 1)
    account = Account(1, plan.currency, "prepaid", 0, "active", 0, 0, "")
    book = Book(account, lambda: next(ids), lambda _: plan)
    purse = book.add_bucket(money_bucket(1, _PURSE, use.begin))
    purse.balance = micros
    if allowances:
        granted = _granted(plan, use)
        book.plans = lambda _: granted
        grant(book, Grant(1, 1, "quote", "quote", _SUBSCRIBER), use.begin)
        book.plans = lambda _: plan
    for rate in plan.rates:
        if rate.accumulate != "session" and use.counted.get(rate.name):
            period = period_of(rate.accumulate, use.begin, plan.time_zone)
            book.count(Counter(_SUBSCRIBER, f"rate:{plan.name}:{rate.name}", *period), use.counted[rate.name])
    session = Session(
        account_id=1, session_id=1, subscriber_id=_SUBSCRIBER, plan_version_id=1, nas_id=1, nas_address="", root_id=1,
        device_key="", session_key=None, acct_session_id=None, created_at=use.begin, closed_at=None, close_reason=None,
        state="open", started_at=use.begin, last_report_at=use.begin, last_event_at=use.begin, stale_at=use.begin,
        interval_seconds=60, wanted="full", posted_at=use.begin, nas_group=use.place.nas_group,
        called_station=use.place.called_station, realm=use.place.realm, service_class=use.place.service_class,
    )  # fmt: skip
    return book, session
