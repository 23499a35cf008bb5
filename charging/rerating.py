"""Re-rating: what closed sessions were charged, taken back and charged again under a corrected plan.

A session's own transfers go back to exactly the buckets that were drawn; then its reports are charged anew, all of an
account's in the order of time, on the buckets that could be drawn at their time. What nothing paid for then is left as it is:
it was not taken from the subscriber, and is not taken now. A session for which the same comes out is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, NamedTuple

from charging.book import Account, Book, Counter
from charging.buckets import SHORTFALL, Bucket, is_purse
from charging.enforcement import cover_again, reconsider
from charging.ledger import Entry, bucket_name, bucket_named
from charging.order import Original
from charging.payment import NotApplied, reset_marks
from charging.plan import Instant, Plan, Unit
from charging.scope import read_scope
from charging.session import Session
from charging.shadow import Used, charged, session_of
from charging.window import NEVER, period_of

RERATING: Final = "rerating"
#: What the ledger's reference of a re-rated session begins with; the plan's digest and the session's id follow.
REFERENCE: Final = "rerate:"
#: So much of a digest tells plan versions apart.
DIGEST_LETTERS: Final = 12

Draws = dict[tuple[int, Unit], int]
"""Bucket and unit → amount; SHORTFALL is no bucket."""


class Past(NamedTuple):
    """A closed session that is to be charged again."""

    session_id: int
    subscriber_id: int
    username: str
    nas_id: int
    uses: tuple[Used, ...]
    """What it used and something paid for."""
    originals: tuple[Original, ...]
    """What it was charged and nobody has taken back."""


class Other(NamedTuple):
    """What a report of another session counted over periods: so much of named price lines, and of buckets."""

    event_at: Instant
    subscriber_id: int
    lines: tuple[tuple[str, int], ...]
    draws: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Rerate:
    """Charge an account's sessions again, under a plan version."""

    account_id: int
    plan_version_id: int
    digest: str
    pasts: tuple[Past, ...]
    others: tuple[Other, ...]
    buckets: tuple[Bucket, ...]
    """All of the account's, those whose time is over too."""
    actor: str


class Bill(NamedTuple):
    """What a session was charged, and is charged now. `unpaid`: octets and seconds that nothing pays for now."""

    session_id: int
    username: str
    before_micros: int
    after_micros: int
    unpaid_octets: int
    unpaid_seconds: int
    changed: bool


class Rerated(NamedTuple):
    """Each session's bill, and the transfers that were taken back: number, and number of the one that did."""

    bills: tuple[Bill, ...]
    reversals: tuple[tuple[int, int], ...]


def reference_of(digest: str, session_id: int) -> str:
    """What a re-rated session's transfers have as their reference."""
    return f"{REFERENCE}{digest[:DIGEST_LETTERS]}:{session_id}"


def rerate(book: Book, item: Rerate, now: Instant) -> Rerated | NotApplied:
    """Take back and charge again, or say why not; then nothing has changed."""
    plan = book.plans(item.plan_version_id)
    for bucket in item.buckets:
        if bucket.bucket_id not in book.buckets:
            book.buckets[bucket.bucket_id] = bucket
    befores = {past.session_id: _drawn(past.originals) for past in item.pasts}
    scratch = _scratch(book, plan, befores.values())
    afters = _charge_again(scratch, plan, item, book)
    for bucket_id, bucket in scratch.buckets.items():
        credit = book.account.credit_limit_micros if is_purse(bucket) else 0
        if bucket.balance < min(-credit, book.buckets[bucket_id].balance):
            return NotApplied(f"bucket {bucket_id} ({bucket.name}): what was given back to it has been spent")
    changed = [past for past in item.pasts if afters[past.session_id] != befores[past.session_id]]
    reversals: list[tuple[int, int]] = []
    for past in changed:
        reference = reference_of(item.digest, past.session_id)
        for original in past.originals:
            by_seq = book.move_back(original.entry, "reversal", reference, now, item.actor)
            reversals.append((original.seq, by_seq))
    for past in changed:
        reference = reference_of(item.digest, past.session_id)
        for (bucket_id, unit), amount in sorted(afters[past.session_id].items()):
            source = f"shortfall:nas-{past.nas_id}" if bucket_id == SHORTFALL else bucket_name(bucket_id)
            # A negative amount comes back: a transfer has none.
            names = (source, f"revenue:{plan.name}") if amount > 0 else (f"revenue:{plan.name}", source)
            entry = Entry(*names, unit, abs(amount))
            book.carry(entry, RERATING, reference, past.session_id, now, item.actor)
    if changed:
        for bucket_id in {b for past in changed for b, _ in (*befores[past.session_id], *afters[past.session_id])}:
            if bucket_id != SHORTFALL:
                reset_marks(book.buckets[bucket_id])
        cover_again(book, now)
        reconsider(book, "re-rating", now)
    touched = {past.session_id for past in changed}
    bills = [
        Bill(
            past.session_id, past.username, _money(befores[past.session_id]), _money(afters[past.session_id]),
            afters[past.session_id].get((SHORTFALL, "octets"), 0), afters[past.session_id].get((SHORTFALL, "seconds"), 0),
            past.session_id in touched,
        )
        for past in item.pasts
    ]  # fmt: skip
    return Rerated(tuple(bills), tuple(reversals))


def _drawn(originals: Sequence[Original]) -> Draws:
    """What transfers took out of each bucket in all."""
    drawn: Draws = {}
    for each in originals:
        for name, amount in ((each.entry.debit, each.entry.amount), (each.entry.credit, -each.entry.amount)):
            bucket_id = bucket_named(name)
            if bucket_id is None and name.startswith("shortfall:"):
                bucket_id = SHORTFALL
            if bucket_id is not None:
                key = (bucket_id, each.entry.unit)
                drawn[key] = drawn.get(key, 0) + amount
    return {key: amount for key, amount in drawn.items() if amount}


def _money(drawn: Draws) -> int:
    return sum(amount for (_, unit), amount in drawn.items() if unit == "money")


def _scratch(book: Book, plan: Plan, befores: Iterable[Draws]) -> Book:
    """A copy of the account to try it on, with everything given back."""
    ids = count(1)
    own = book.account
    account = Account(own.account_id, own.currency, own.kind, own.credit_limit_micros, own.status, 0, 0, "")
    scratch = Book(account, lambda: next(ids), lambda _: plan)
    scratch.buckets = {bucket_id: replace(bucket) for bucket_id, bucket in book.buckets.items()}
    for drawn in befores:
        for (bucket_id, _), amount in drawn.items():
            if bucket_id != SHORTFALL:
                scratch.buckets[bucket_id].balance += amount
    return scratch


def _charge_again(scratch: Book, plan: Plan, item: Rerate, book: Book) -> dict[int, Draws]:
    """What each session draws now."""
    sessions: dict[int, Session] = {}
    afters: dict[int, Draws] = {past.session_id: {} for past in item.pasts}
    _count_for_all_time(scratch, item, book)
    subscribers = {past.session_id: past.subscriber_id for past in item.pasts}
    uses = sorted((use for past in item.pasts for use in past.uses), key=lambda use: (use.event_at, use.session_id))
    others = list(item.others)[::-1]
    for use in uses:
        while others and others[-1].event_at <= use.event_at:
            _count(scratch, plan, others.pop())
        session = sessions.get(use.session_id)
        if session is None:
            session = session_of(use, subscribers[use.session_id])
            sessions[use.session_id] = scratch.sessions[use.session_id] = session
        found = charged(scratch, session, plan, use)
        drawn = afters[use.session_id]
        for bucket, amount in found.draws:
            _add(drawn, (bucket.bucket_id, bucket.unit), amount)
        if found.credit:
            _give_back(scratch, drawn, found.credit)
        _add(drawn, (SHORTFALL, "octets"), found.uncovered.up + found.uncovered.down)
        _add(drawn, (SHORTFALL, "seconds"), found.uncovered.seconds)
    return afters


def _add(drawn: Draws, key: tuple[int, Unit], amount: int) -> None:
    total = drawn.get(key, 0) + amount
    if total:
        drawn[key] = total
    else:
        drawn.pop(key, None)


def _give_back(scratch: Book, drawn: Draws, micros: int) -> None:
    """What a volume tier has made cheaper, to the buckets that paid it, the latest first; the rest to the account's own."""
    parts = [key for key in drawn if key[1] == "money"][::-1]
    for key in [*parts, (scratch.money_bucket().bucket_id, "money")]:
        amount = min(drawn.get(key, 0), micros) if key in parts else micros
        if amount:
            scratch.buckets[key[0]].balance += amount
            _add(drawn, (key[0], "money"), -amount)
            micros -= amount


def _count(scratch: Book, plan: Plan, other: Other) -> None:
    """What sessions that are not charged again have counted meanwhile."""
    for name, units in other.lines:
        for rate in plan.rates:
            if rate.name == name and rate.accumulate != "session":
                period = period_of(rate.accumulate, other.event_at, plan.time_zone)
                scratch.count(Counter(other.subscriber_id, f"rate:{plan.name}:{name}", *period), units)
    for bucket_id, amount in other.draws:
        bucket = scratch.buckets.get(bucket_id)
        if bucket is not None and bucket.scope:
            scope = read_scope(bucket.scope)
            if scope.cap is not None and scope.cap_per is not None:
                period = period_of(scope.cap_per, other.event_at, scope.time_zone)
                scratch.count(Counter(other.subscriber_id, f"bucket:{bucket_id}", *period), amount)


def _count_for_all_time(scratch: Book, item: Rerate, book: Book) -> None:
    """Caps that count in all a bucket's time: what was drawn, less what is charged again."""
    for (subscriber_id, name, period_at), tally in book.tallies.items():
        if period_at == 0 and name.startswith("bucket:"):
            bucket_id = int(name.removeprefix("bucket:"))
            own = [past for past in item.pasts if past.subscriber_id == subscriber_id]
            drawn = sum(amount for past in own for (b, _), amount in _drawn(past.originals).items() if b == bucket_id)
            scratch.count(Counter(subscriber_id, name, 0, NEVER), tally.amount - drawn)
