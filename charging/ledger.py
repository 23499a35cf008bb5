"""Double entry, append-only, chained: every transfer's hash covers the one before it in the same account."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from charging.plan import Instant, Unit


class Entry(NamedTuple):
    """What moves: `amount` > 0 of `unit` from `debit` to `credit`."""

    debit: str
    credit: str
    unit: Unit
    amount: int


class Transfer(NamedTuple):
    """`amount` of `unit` from `debit` to `credit`. A bucket's name is `bucket:<id>`; all other names are
    counter-accounts: cash, voucher, grant:<plan>, revenue:<plan>, shortfall:<nas>, adjustment, account:<id>."""

    account_id: int
    seq: int
    debit: str
    credit: str
    unit: Unit
    amount: int
    kind: str
    reference: str
    session_id: int | None
    effective_at: Instant
    recorded_at: Instant
    actor: str
    hash: str


def chained(previous_hash: str, fields: tuple[object, ...]) -> str:
    """SHA-256 (hex) over the previous hash and a transfer's fields without its own hash.

    Each field is written with its length, so that no two different rows write the same text.
    """
    text = "".join(f"{len(part)}:{part}" for part in (previous_hash, *("" if f is None else str(f) for f in fields)))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def bucket_name(bucket_id: int) -> str:
    """The ledger's name of a bucket."""
    return f"bucket:{bucket_id}"


def bucket_named(name: str) -> int | None:
    """The bucket of a name in the ledger; None for a counter-account."""
    return int(name.removeprefix("bucket:")) if name.startswith("bucket:") else None


def chain_break(transfers: Iterable[Transfer], head_seq: int, head_hash: str) -> str | None:
    """What is wrong with an account's transfers (in order of seq), in words; None when the chain holds.

    Finds an edit, a deletion, an insertion, a reordering, and a cut tail (against the account's own head).
    """
    previous = ""
    expected_seq = 0
    for expected_seq, transfer in enumerate(transfers, start=1):
        if transfer.seq != expected_seq:
            return f"transfer {expected_seq} is missing"
        if chained(previous, transfer[:-1]) != transfer.hash:
            return f"transfer {transfer.seq} was changed after it was written"
        previous = transfer.hash
    if expected_seq != head_seq or previous != head_hash:
        return f"the ledger ends at transfer {expected_seq}, but the account counted {head_seq}"
    return None
