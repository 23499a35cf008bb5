"""Batches of vouchers, as operators make, list and void them. Redeeming one is an order, and goes through `settle`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, case, func, insert, select, update

from charging.amounts import format_duration
from charging.catalogue import CatalogueError
from charging.plan import Duration, Instant, Unit
from charging.tables import account, voucher, voucher_batch
from charging.voucher import fingerprint, new_code, read_code

MOST_VOUCHERS: Final = 100_000
_ROWS_IN_STATEMENT: Final = 1_000


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What a batch of vouchers is to be worth."""

    name: str
    count: int
    unit: Unit
    amount: int
    currency: str | None
    validity: Duration | None
    expires_at: Instant | None
    comment: str | None


class Printed(NamedTuple):
    """A new voucher; its code is known now and never again."""

    serial: int
    code: str


class BatchLine(NamedTuple):
    """A batch, and how many of its vouchers are in each state."""

    name: str
    unit: str
    amount: int
    currency: str | None
    validity: str | None
    expires_at: Instant | None
    comment: str | None
    actor: str
    created_at: Instant
    ready: int
    redeemed: int
    void: int


class VoucherLine(NamedTuple):
    """A voucher. `state` is also `expired`."""

    batch: str
    serial: int
    unit: str
    amount: int
    currency: str | None
    validity: str | None
    state: str
    expires_at: Instant | None
    account: str | None
    reference: str | None
    actor: str | None
    settled_at: Instant | None


def generate(
    connection: Connection,
    new: NewBatch,
    choose: Callable[[str], str],
    now: Instant,
    actor: str,
    progress: Callable[[int], None] = lambda _count: None,
) -> list[Printed]:
    """Make a batch; the codes that only their fingerprints are kept of. CatalogueError where its name is taken.

    `choose` takes one of an alphabet's characters by chance. A code takes about a millisecond: `progress(made)` now and then.
    """
    if is_batch(connection, new.name):
        raise CatalogueError(f"there is a batch {new.name!r} already; choose another name")
    made = connection.execute(
        insert(voucher_batch)
        .values(
            name=new.name, unit=new.unit, amount=new.amount, currency=new.currency,
            validity=None if new.validity is None else format_duration(new.validity), expires_at=new.expires_at,
            comment=new.comment, actor=actor, created_at=now,
        )
        .returning(voucher_batch.c.batch_id)
    )  # fmt: skip
    batch_id = made.scalar_one()
    printed: list[Printed] = []
    for first in range(1, new.count + 1, _ROWS_IN_STATEMENT):
        some = [Printed(n, new_code(choose)) for n in range(first, min(first + _ROWS_IN_STATEMENT, new.count + 1))]
        rows = [
            {"batch_id": batch_id, "serial": each.serial, "fingerprint": fingerprint(read_code(each.code))}
            for each in some
        ]
        connection.execute(insert(voucher), rows)
        printed += some
        progress(len(printed))
    return printed


def batches(connection: Connection, *, limit: int) -> list[BatchLine]:
    """Batches, the newest first, at most `limit`."""
    chosen = _batch_lines().order_by(voucher_batch.c.created_at.desc(), voucher_batch.c.batch_id.desc()).limit(limit)
    return [BatchLine(*row) for row in connection.execute(chosen)]


def batch_named(connection: Connection, name: str) -> BatchLine:
    """A batch; CatalogueError where there is none of that name."""
    row = connection.execute(_batch_lines().where(voucher_batch.c.name == name)).first()
    if row is None:
        raise CatalogueError(f"there is no batch {name!r}; see: aaa voucher list")
    return BatchLine(*row)


def is_batch(connection: Connection, name: str) -> bool:
    """Is there a batch of that name?"""
    return connection.execute(select(voucher_batch.c.batch_id).where(voucher_batch.c.name == name)).first() is not None


def vouchers(
    connection: Connection, batch: str, now: Instant, *, state: str | None = None, limit: int
) -> list[VoucherLine]:
    """A batch's vouchers by serial number, at most `limit`; CatalogueError where there is no such batch."""
    batch_named(connection, batch)
    chosen = _voucher_lines(now).where(voucher_batch.c.name == batch).order_by(voucher.c.serial).limit(limit)
    if state is not None:
        chosen = chosen.where(_state(now) == state)
    return [VoucherLine(*row) for row in connection.execute(chosen)]


def find(connection: Connection, which: str, now: Instant) -> VoucherLine:
    """A voucher by its code, or by BATCH/SERIAL; CatalogueError where there is none."""
    batch, slash, serial = which.rpartition("/")
    if slash:
        if not (serial.isascii() and serial.isdigit() and len(serial) <= len(str(MOST_VOUCHERS))):
            raise CatalogueError(f"{serial!r} is no serial number; write BATCH/SERIAL, for example spring/17")
        chosen = _voucher_lines(now).where(voucher_batch.c.name == batch, voucher.c.serial == int(serial))
    else:
        try:
            chosen = _voucher_lines(now).where(voucher.c.fingerprint == fingerprint(read_code(which)))
        except ValueError as error:
            raise CatalogueError(f"{error}; or write BATCH/SERIAL, for example spring/17") from None
    row = connection.execute(chosen).first()
    if row is None:
        raise CatalogueError(f"there is no such voucher{f' {which!r}' if slash else ''}; see: aaa voucher list")
    return VoucherLine(*row)


def void(connection: Connection, batch: str, serial: int | None, now: Instant, actor: str) -> int:
    """Make a batch's vouchers, or one of them, worthless, where nobody has redeemed them; how many."""
    batch_id = select(voucher_batch.c.batch_id).where(voucher_batch.c.name == batch).scalar_subquery()
    changed = update(voucher).where(voucher.c.batch_id == batch_id, voucher.c.state == "ready")
    if serial is not None:
        changed = changed.where(voucher.c.serial == serial)
    return connection.execute(changed.values(state="void", actor=actor, settled_at=now)).rowcount


def _batch_lines() -> Select[Any]:
    def counted(state: str) -> Any:
        own = (voucher.c.batch_id == voucher_batch.c.batch_id, voucher.c.state == state)
        return select(func.count()).where(*own).scalar_subquery()

    c = voucher_batch.c
    return select(
        c.name, c.unit, c.amount, c.currency, c.validity, c.expires_at, c.comment, c.actor, c.created_at,
        counted("ready"), counted("redeemed"), counted("void"),
    )  # fmt: skip


def _state(now: Instant) -> Any:
    late = (voucher.c.state == "ready") & (voucher_batch.c.expires_at <= now)
    return case((late, "expired"), else_=voucher.c.state)


def _voucher_lines(now: Instant) -> Select[Any]:
    b, v = voucher_batch.c, voucher.c
    return (
        select(
            b.name, v.serial, b.unit, b.amount, b.currency, b.validity, _state(now), b.expires_at, account.c.name,
            v.reference, v.actor, v.settled_at,
        )
        .select_from(voucher)
        .join(voucher_batch, b.batch_id == v.batch_id)
        .outerjoin(account, account.c.account_id == v.account_id)
    )  # fmt: skip
