"""What else a billing system or an operator may order: redeem a voucher, transfer, refund, reverse, adjust, decline, renew.

Each is carried out under the accounts' versions, is a transfer in the ledger with the order's reference, and happens
once. Only what no live session holds can be taken away: it has been promised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from charging.auto_top_up import declined
from charging.book import Book
from charging.buckets import Bucket, is_purse
from charging.enforcement import reconsider
from charging.ledger import Entry, bucket_named
from charging.money import MAX_AMOUNT
from charging.payment import TOO_MUCH, Applied, Income, NotApplied, bucket_for, paid_bucket, pay_in, reset_marks
from charging.plan import Instant, Unit
from charging.renewal import renew_unpaid
from charging.voucher import Voucher, count_failure, locked, why_not

#: Transfers that no reversal takes back, and what would.
_NOT_REVERSED: Final = {
    "reversal": "it is a reversal itself; adjust the account instead",
    "transfer": "the other account has its half; transfer it back instead",
}


@dataclass(frozen=True, slots=True)
class Redeem:
    """Pay in what a voucher is worth, once."""

    fingerprint: str


@dataclass(frozen=True, slots=True)
class Remit:
    """Move an amount to another account; what has an expiry keeps it."""

    to_account_id: int
    unit: Unit
    amount: int


@dataclass(frozen=True, slots=True)
class Refund:
    """Pay money out to the subscriber."""

    amount: int


@dataclass(frozen=True, slots=True)
class Reverse:
    """Take back one transfer of the account's ledger, or all that a closed session was charged (the other is None)."""

    seq: int | None
    session_id: int | None


@dataclass(frozen=True, slots=True)
class Adjust:
    """Correct a bucket by hand, up or down; None: the one that top-ups go to."""

    unit: Unit
    amount: int
    bucket_id: int | None


@dataclass(frozen=True, slots=True)
class Decline:
    """The account's open top-up request will not be paid."""

    request_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Renew:
    """Begin the next period of those that are not paid: one subscriber's, or with None all of the account's."""

    username: str | None


What = Redeem | Remit | Refund | Reverse | Adjust | Decline | Renew


@dataclass(frozen=True, slots=True)
class Order:
    """A row of the orders' inbox, read and found good."""

    account_id: int
    order_id: int
    what: What
    reference: str
    """`<source>:<external_ref>`"""
    actor: str
    digest: str
    """Over what is ordered."""


@dataclass(frozen=True, slots=True)
class Original:
    """A transfer that an order wants to take back. `closed`: its session, if it has one, has ended."""

    seq: int
    entry: Entry
    kind: str
    session_id: int | None
    closed: bool
    reversed_by: int | None


@dataclass(slots=True)
class Reach:
    """What orders need to see besides their account's book."""

    pending: set[int] = field(default_factory=set)
    """Orders that nobody has carried out yet."""
    vouchers: dict[str, Voucher] = field(default_factory=dict)
    """By fingerprint."""
    originals: dict[int, list[Original]] = field(default_factory=dict)
    """By account: transfers to take back; their buckets are in its book."""
    redeemed: list[tuple[Voucher, Order]] = field(default_factory=list)
    reversals: list[tuple[int, int, int]] = field(default_factory=list)
    """account, the transfer that was taken back, the one that did."""


def carry_out(books: Mapping[int, Book], order: Order, reach: Reach, now: Instant) -> Applied | NotApplied:
    """Do what is ordered, or say why not; then nothing has changed but the count of wrong voucher codes."""
    book = books[order.account_id]
    match order.what:
        case Redeem():
            return _redeem(book, order, order.what, reach, now)
        case Remit():
            return _remit(book, books.get(order.what.to_account_id), order, order.what, now)
        case Refund():
            return _refund(book, order, order.what, now)
        case Reverse():
            return _reverse(book, order, order.what, reach, now)
        case Adjust():
            return _adjust(book, order, order.what, now)
        case Decline():
            if order.what.request_id != book.account.auto_request_id:
                return NotApplied(f"request_id: the account has no open top-up request {order.what.request_id}")
            declined(book, order.what.reason, now)
            return _balance(book, "money", now)
        case Renew():
            return renew_unpaid(book, order.what.username, order.reference, order.actor, now)


def _redeem(book: Book, order: Order, what: Redeem, reach: Reach, now: Instant) -> Applied | NotApplied:
    account = book.account
    if locked(account, now):
        return NotApplied("code: too many wrong voucher codes; try again in an hour")
    voucher = reach.vouchers.get(what.fingerprint)
    problem = why_not(voucher, account.currency, now)
    if voucher is None:
        count_failure(account, now)
        book.changed_account = True
    if problem is not None or voucher is None:
        return NotApplied(f"code: {problem}")
    expires_at = None if voucher.validity is None else voucher.validity.after(now, "UTC")
    income = Income(voucher.unit, voucher.amount, expires_at, "voucher", "voucher")
    came = pay_in(book, income, order.reference, order.actor, now)
    if isinstance(came, Applied):
        voucher.state = "redeemed"
        reach.redeemed.append((voucher, order))
        facts = {"unit": voucher.unit, "amount": voucher.amount}
        book.notify("voucher-used", f"{voucher.batch}/{voucher.serial}", now, facts=facts)
    return came


def _remit(book: Book, to: Book | None, order: Order, what: Remit, now: Instant) -> Applied | NotApplied:
    if to is None:
        return NotApplied("to_account: it was removed")
    if what.unit == "money" and to.account.currency != book.account.currency:
        return NotApplied(f"to_account: it is kept in {to.account.currency}, this one in {book.account.currency}")
    own = [b for b in book.usable_buckets(now) if b.unit == what.unit and b.source == "top-up"]
    parts = _taken(own, what.amount)
    if parts is None:
        return _not_enough(own, what.unit, "to transfer")
    for bucket, amount in parts:
        known = paid_bucket(to, what.unit, bucket.expires_at)
        if known is not None and known.balance + amount > MAX_AMOUNT:
            return NotApplied(TOO_MUCH)
    for bucket, amount in parts:
        theirs = bucket_for(to, what.unit, bucket.expires_at, now)
        counter, back = f"account:{to.account.account_id}", f"account:{book.account.account_id}"
        book.move(bucket, counter, -amount, "transfer", order.reference, now, order.actor)
        to.move(theirs, back, amount, "transfer", order.reference, now, order.actor)
        reset_marks(theirs)
    reconsider(to, "transfer", now)
    return _balance(book, what.unit, now)


def _refund(book: Book, order: Order, what: Refund, now: Instant) -> Applied | NotApplied:
    own = [b for b in book.usable_buckets(now) if b.unit == "money" and b.source == "top-up"]
    parts = _taken(own, what.amount)
    if parts is None:
        return _not_enough(own, "money", "to refund")
    for bucket, amount in parts:
        book.move(bucket, "cash", -amount, "refund", order.reference, now, order.actor)
    return _balance(book, "money", now)


def _adjust(book: Book, order: Order, what: Adjust, now: Instant) -> Applied | NotApplied:
    if what.bucket_id is None:
        found = paid_bucket(book, what.unit, None)
    else:
        found = book.buckets.get(what.bucket_id)
        if found is None or found.unit != what.unit:
            return NotApplied(
                f"bucket_id: the account has no bucket {what.bucket_id} of {what.unit} that has not expired"
            )
    if found is not None and found.balance + what.amount > MAX_AMOUNT:
        return NotApplied(TOO_MUCH)
    if what.amount < 0 and (found is None or -what.amount > _free(book, found)):
        own, credit = ([], 0) if found is None else ([found], _credit(book, found))
        return _not_enough(own, what.unit, "to take", credit)
    bucket = found or bucket_for(book, what.unit, None, now)
    book.move(bucket, "adjustment", what.amount, "adjustment", order.reference, now, order.actor)
    reset_marks(bucket)
    reconsider(book, "adjustment", now)
    return _balance(book, what.unit, now)


def _reverse(book: Book, order: Order, what: Reverse, reach: Reach, now: Instant) -> Applied | NotApplied:
    known = reach.originals.get(book.account.account_id, [])
    if what.session_id is not None:
        ours = [each for each in known if each.session_id == what.session_id]
        if not ours:
            return NotApplied(f"session_id: nothing was charged to this account for a session {what.session_id}")
        originals = [each for each in ours if each.reversed_by is None]
        if not originals:
            return NotApplied("session_id: all that it was charged was reversed before")
        if not originals[0].closed:
            return NotApplied("session_id: it is still live; disconnect it first")
    else:
        originals = [each for each in known if each.seq == what.seq]
        problem = _irreversible(originals[0]) if originals else "there is no such transfer"
        if problem is not None:
            return NotApplied(f"transfer_seq: {problem}")
    change = _changes(originals)
    for bucket_id, amount in change.items():
        bucket = book.buckets[bucket_id]
        if bucket.balance + amount > MAX_AMOUNT:
            return NotApplied(TOO_MUCH)
        if amount < 0 and -amount > _free(book, bucket):
            return _not_enough([bucket], bucket.unit, "to take back", _credit(book, bucket))
    for each in originals:
        by = book.move_back(each.entry, "reversal", order.reference, now, order.actor)
        reach.reversals.append((book.account.account_id, each.seq, by))
        known[known.index(each)] = Original(each.seq, each.entry, each.kind, each.session_id, each.closed, by)
    for bucket_id in change:
        reset_marks(book.buckets[bucket_id])
    reconsider(book, "reversal", now)
    return _balance(book, originals[0].entry.unit, now)


def _irreversible(original: Original) -> str | None:
    if original.reversed_by is not None:
        return f"it was reversed by transfer {original.reversed_by}"
    if original.kind in _NOT_REVERSED:
        return _NOT_REVERSED[original.kind]
    return None


def _changes(originals: list[Original]) -> dict[int, int]:
    """What taking them back does to each bucket."""
    change: dict[int, int] = {}
    for each in originals:
        for name, amount in ((each.entry.debit, each.entry.amount), (each.entry.credit, -each.entry.amount)):
            bucket_id = bucket_named(name)
            if bucket_id is not None:
                change[bucket_id] = change.get(bucket_id, 0) + amount
    return change


def _credit(book: Book, bucket: Bucket) -> int:
    return book.account.credit_limit_micros if is_purse(bucket) else 0


def _free(book: Book, bucket: Bucket) -> int:
    """What may be taken out of a bucket: not what is held, but the credit of the purse."""
    return bucket.balance - bucket.held + _credit(book, bucket)


def _taken(buckets: list[Bucket], amount: int) -> list[tuple[Bucket, int]] | None:
    """An amount out of buckets in draw order, of what nobody holds; None where they do not have it."""
    parts: list[tuple[Bucket, int]] = []
    for bucket in buckets:
        part = min(amount, max(bucket.balance - bucket.held, 0))
        if part:
            parts.append((bucket, part))
            amount -= part
    return parts if not amount else None


def _not_enough(buckets: list[Bucket], unit: Unit, what_for: str, credit: int = 0) -> NotApplied:
    free = sum(max(b.balance - b.held + credit, 0) for b in buckets)
    held = sum(b.held for b in buckets)
    also = f"; live sessions hold {held} more" if held else ""
    return NotApplied(f"amount: there are {free} {'micros' if unit == 'money' else unit} {what_for}{also}")


def _balance(book: Book, unit: Unit, now: Instant) -> Applied:
    return Applied(sum(b.balance for b in book.usable_buckets(now) if b.unit == unit))
