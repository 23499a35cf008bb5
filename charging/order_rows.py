"""Between orders and tables: what a batch's orders need to see, and what they leave behind besides the books.

Everything here is read and written in the transaction of the batch, in the same order by everybody: accounts, then
vouchers, then the inbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from charging import tables
from charging.amounts import parse_duration
from charging.book import Book
from charging.bookkeeping import BUCKET
from charging.buckets import Bucket
from charging.bulk import Sets
from charging.ledger import Entry, bucket_named
from charging.order import Order, Original, Reach, Redeem, Reverse
from charging.payment import Applied
from charging.plan import Instant
from charging.voucher import Voucher

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_VOUCHER: Final = ("voucher_id", "batch_id", "serial", "state", "fingerprint")
_BATCH: Final = ("batch_id", "name", "unit", "amount", "currency", "validity", "expires_at")
_ORIGINAL: Final = ("account_id", "seq", "debit", "credit", "unit", "amount", "kind", "session_id")


def timestamp(now: Instant) -> str:
    """An instant as the inboxes' SQL timestamps are written."""
    return (_EPOCH + timedelta(milliseconds=now)).isoformat(sep=" ")


def reach_of(to: Sets, orders: Sequence[Order], books: dict[int, Book]) -> Reach:
    """Read what these orders need to see; the buckets that a reversal would change are added to the books."""
    ids = [order.order_id for order in orders]
    rows = to.select(tables.billing_order, ("order_id",), "order_id {any} AND status = 'pending'", ids).fetchall()
    reach = Reach({row[0] for row in rows})
    fingerprints = sorted({o.what.fingerprint for o in orders if isinstance(o.what, Redeem)})
    if fingerprints:
        reach.vouchers = _vouchers(to, fingerprints)
    reversing = [(order.account_id, order.what) for order in orders if isinstance(order.what, Reverse)]
    if reversing:
        reach.originals = _originals(to, reversing, books)
    return reach


def _vouchers(to: Sets, fingerprints: list[str]) -> dict[str, Voucher]:
    rows = to.select(tables.voucher, _VOUCHER, "fingerprint {any}", fingerprints).fetchall()
    if not rows:
        return {}
    batch_ids = sorted({row[1] for row in rows})
    batches = {
        row[0]: row[1:] for row in to.select(tables.voucher_batch, _BATCH, "batch_id {any}", batch_ids).fetchall()
    }
    found: dict[str, Voucher] = {}
    for voucher_id, batch_id, serial, state, fingerprint in rows:
        name, unit, amount, currency, validity, expires_at = batches[batch_id]
        lasting = None if validity is None else parse_duration(validity)
        found[fingerprint] = Voucher(voucher_id, name, serial, state, unit, amount, currency, lasting, expires_at)
    return found


def _originals(to: Sets, reversing: list[tuple[int, Reverse]], books: dict[int, Book]) -> dict[int, list[Original]]:
    """The transfers that are to be taken back, by account, in their order."""
    account_ids = sorted({account_id for account_id, _ in reversing})
    seqs = sorted({what.seq for _, what in reversing if what.seq is not None})
    session_ids = sorted({what.session_id for _, what in reversing if what.session_id is not None})
    rows: list[tuple[Any, ...]] = []
    if seqs:
        rows += to.select(tables.transfer, _ORIGINAL, "account_id {any} AND seq {any}", account_ids, seqs).fetchall()
    if session_ids:
        which = "account_id {any} AND session_id {any}"
        rows += to.select(tables.transfer, _ORIGINAL, which, account_ids, session_ids).fetchall()
    if not rows:
        return {}
    taken_back = to.select(
        tables.reversal, ("account_id", "seq", "by_seq"), "account_id {any} AND seq {any}",
        account_ids, sorted({row[1] for row in rows}),
    ).fetchall()  # fmt: skip
    by = {(account_id, seq): by_seq for account_id, seq, by_seq in taken_back}
    found: dict[int, dict[int, Original]] = {}
    for account_id, seq, debit, credit, unit, amount, kind, session_id in rows:
        if account_id not in books:
            continue
        live = session_id in books[account_id].sessions and books[account_id].sessions[session_id].closed_at is None
        found.setdefault(account_id, {})[seq] = Original(
            seq, Entry(debit, credit, unit, amount), kind, session_id, not live, by.get((account_id, seq))
        )
    _add_expired(to, found, books)
    return {account_id: [each for _, each in sorted(group.items())] for account_id, group in found.items()}


def _add_expired(to: Sets, found: dict[int, dict[int, Original]], books: dict[int, Book]) -> None:
    """A book is opened without the buckets whose time is over; what was drawn from one goes back to it all the same."""
    missing = {
        (account_id, bucket_id)
        for account_id, group in found.items()
        for each in group.values()
        for name in (each.entry.debit, each.entry.credit)
        if (bucket_id := bucket_named(name)) is not None and bucket_id not in books[account_id].buckets
    }
    if missing:
        rows = to.select(
            tables.bucket, BUCKET, "account_id {any} AND bucket_id {any}",
            sorted({account_id for account_id, _ in missing}), sorted({bucket_id for _, bucket_id in missing}),
        ).fetchall()  # fmt: skip
        for row in rows:
            if (row[0], row[1]) in missing:
                books[row[0]].buckets[row[1]] = Bucket(*row)


def store(to: Sets, reach: Reach, done: Sequence[tuple[Order, object]], now: Instant) -> None:
    """Answer the orders that were carried out, and write what they redeemed and reversed. Raises Conflict where somebody
    else was faster with one of them."""
    if reach.redeemed:
        rows = [
            (voucher.voucher_id, "ready", order.account_id, order.reference, order.actor, now)
            for voucher, order in sorted(reach.redeemed, key=lambda each: each[0].voucher_id)
        ]
        settled = ("account_id", "reference", "actor", "settled_at")
        to.update(tables.voucher, ("voucher_id", "state"), settled, rows, "state = 'redeemed'", every_row=True)
    if reach.reversals:
        to.insert(tables.reversal, ("account_id", "seq", "by_seq"), reach.reversals)
    answers = [
        (order.order_id, "pending", timestamp(now), order.digest, None)
        for order, outcome in done
        if isinstance(outcome, Applied)
    ]
    if answers:
        answered = ("applied_at", "digest", "code")
        key = ("order_id", "status")
        to.update(tables.billing_order, key, answered, answers, "status = 'applied'", every_row=True)
