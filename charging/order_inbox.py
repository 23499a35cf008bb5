"""The orders' inbox: rows of billing_order, read, judged and answered, as `inbox` does with top-ups."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple, cast

from sqlalchemy import Connection, String, delete, insert, select, text, tuple_, type_coerce

from charging import foreign, tables
from charging.foreign import Answer, BadRowError, cut, quoted
from charging.inbox import Owner, amount_of, minute, owned, owners_of
from charging.order import Adjust, Decline, Order, Redeem, Refund, Remit, Renew, Reverse, What
from charging.voucher import fingerprint, read_code

Kind = Literal["redeem", "transfer", "refund", "reverse", "adjust", "decline", "renew"]

#: The longest that each text of a row may be, in characters.
MOST_CHARACTERS: Final = {
    "source": 64,
    "external_ref": 255,
    "kind": 16,
    "account": 255,
    "unit": 16,
    "amount": 64,
    "currency": 16,
    "to_account": 255,
    "code": 64,
    "subscriber": 255,
    "reason": 1000,
}
INBOX: Final = foreign.Inbox(
    tables.billing_order,
    "order_id",
    tuple(MOST_CHARACTERS.items()),
    frozenset({"amount", "currency", "to_account", "code", "subscriber", "reason"}),
    ("bucket_id", "transfer_seq", "session_id", "request_id"),
    wiped=("code",),
)
_row = tables.billing_order.c
# Written out, not bound: only so does a database see that its partial indexes fit.
_PENDING: Final = _row.status == text("'pending'")
_APPLIED: Final = _row.status == text("'applied'")


class _Row(NamedTuple):
    order_id: int
    source: str
    external_ref: str
    kind: str
    account: str
    unit: str
    amount: str | None
    currency: str | None
    to_account: str | None
    code: str | None
    subscriber: str | None
    reason: str | None
    bucket_id: int | None
    transfer_seq: int | None
    session_id: int | None
    request_id: int | None


class Pending(NamedTuple):
    """What was waiting: good rows to settle, answers for the others, and how many rows were looked at.

    A second row with the same reference as one of `orders` is in neither list; it waits until that one is settled.
    """

    orders: list[Order]
    answers: list[Answer]
    rows: int


def pending(connection: Connection, limit: int, *, without: Collection[int] = (), only: int | None = None) -> Pending:
    """Read at most `limit` pending rows and judge them; nothing is written.

    `without`: rows to leave alone for now. `only`: look at this row and no other.
    """
    looked_at, found, faults = foreign.read(connection, INBOX, limit, without, only)
    rows = [_Row(*values) for values in found]
    answers = [Answer(order_id, "error", fault) for order_id, fault in faults]
    owners = owners_of(connection, {row.account for row in rows} | {row.to_account for row in rows if row.to_account})
    applied = _applied(connection, [(row.source, row.external_ref) for row in rows])
    orders: list[Order] = []
    taken: set[tuple[str, str]] = set()
    for row in rows:
        reference = (row.source, row.external_ref)
        try:
            owner = owned(row.account, row.currency, owners)
            what = _what(row, owner, owners)
        except ValueError as error:
            answers.append(Answer(row.order_id, "error", cut(str(error))))
            continue
        digest = sha256(f"{owner.account_id} {what!r}".encode()).hexdigest()
        first = applied.get(reference)
        if first is not None:
            answers.append(_compare(row, digest, first))
        elif reference not in taken:
            taken.add(reference)
            name = f"{row.source}:{row.external_ref}"
            orders.append(Order(owner.account_id, row.order_id, what, name, f"billing:{row.source}", digest))
    return Pending(orders, answers, looked_at)


def put(connection: Connection, *, source: str, external_ref: str, kind: Kind, account: str, **columns: Any) -> int:
    """Write a row as a billing system would; its order_id. `columns`: further ones by name."""
    values = {"source": source, "external_ref": external_ref, "kind": kind, "account": account, **columns}
    key = connection.execute(insert(tables.billing_order).values(values)).inserted_primary_key
    assert key is not None
    return cast("int", key[0])


def forget(connection: Connection, order_id: int) -> None:
    """Take back a row that `put` wrote in this transaction and that came to nothing: a typing error is nobody's order."""
    connection.execute(delete(tables.billing_order).where(_row.order_id == order_id, _row.status == "error"))


# --- what a row orders -------------------------------------------------------------------------------------------------


def _what(row: _Row, owner: Owner, owners: Mapping[str, Owner]) -> What:
    """What a row orders. ValueError says what is wrong with it."""
    reader = _KINDS.get(row.kind)
    if reader is None:
        raise BadRowError(f"kind: {quoted(row.kind)} is unknown; write {', '.join(_KINDS)}")
    wanted, read = reader
    for name in _CONTENT:
        if name not in wanted and getattr(row, name) is not None:
            raise BadRowError(f"{name}: does not belong to kind {row.kind}; leave it out")
    return read(row, owner, owners)


def _redeem(row: _Row, _owner: Owner, _owners: Mapping[str, Owner]) -> Redeem:
    try:
        return Redeem(fingerprint(read_code(_given("code", row.code))))
    except BadRowError:
        raise
    except ValueError as error:
        raise BadRowError(f"code: {error}") from None


def _remit(row: _Row, owner: Owner, owners: Mapping[str, Owner]) -> Remit:
    name = _given("to_account", row.to_account)
    to = owners.get(name)
    if to is None:
        raise BadRowError(f"to_account: there is no account {quoted(name)}")
    if to.account_id == owner.account_id:
        raise BadRowError("to_account: is the account itself")
    unit, amount = amount_of(row.unit, _given("amount", row.amount), owner.currency)
    if unit == "money" and to.currency != owner.currency:
        raise BadRowError(f"to_account: it is kept in {to.currency}, this one in {owner.currency}")
    return Remit(to.account_id, unit, amount)


def _refund(row: _Row, owner: Owner, _owners: Mapping[str, Owner]) -> Refund:
    if row.unit != "money":
        raise BadRowError(f"unit: {quoted(row.unit)} is not paid out; only money is")
    return Refund(amount_of("money", _given("amount", row.amount), owner.currency)[1])


def _reverse(row: _Row, _owner: Owner, _owners: Mapping[str, Owner]) -> Reverse:
    _given("reason", row.reason)
    if (row.transfer_seq is None) == (row.session_id is None):
        raise BadRowError("transfer_seq: give this or session_id, one of the two")
    return Reverse(row.transfer_seq, row.session_id)


def _adjust(row: _Row, owner: Owner, _owners: Mapping[str, Owner]) -> Adjust:
    _given("reason", row.reason)
    written = _given("amount", row.amount)
    sign = -1 if written.startswith("-") else 1
    unit, amount = amount_of(row.unit, written.removeprefix("-").removeprefix("+"), owner.currency)
    return Adjust(unit, sign * amount, row.bucket_id)


def _decline(row: _Row, _owner: Owner, _owners: Mapping[str, Owner]) -> Decline:
    if row.request_id is None:
        raise BadRowError("request_id: is empty; it is the one of billing_top_up_request")
    return Decline(row.request_id, row.reason or "")


def _renew(row: _Row, _owner: Owner, _owners: Mapping[str, Owner]) -> Renew:
    return Renew(row.subscriber)


def _given(name: str, value: str | None) -> str:
    if value is None or not value.strip():
        raise BadRowError(f"{name}: is empty")
    return value


_CONTENT: Final = (
    "amount",
    "to_account",
    "code",
    "bucket_id",
    "transfer_seq",
    "session_id",
    "request_id",
    "subscriber",
)
_Reader = Callable[[_Row, Owner, Mapping[str, Owner]], What]
_KINDS: Final[dict[str, tuple[frozenset[str], _Reader]]] = {
    "redeem": (frozenset({"code"}), _redeem),
    "transfer": (frozenset({"to_account", "amount"}), _remit),
    "refund": (frozenset({"amount"}), _refund),
    "reverse": (frozenset({"transfer_seq", "session_id"}), _reverse),
    "adjust": (frozenset({"amount", "bucket_id"}), _adjust),
    "decline": (frozenset({"request_id"}), _decline),
    "renew": (frozenset({"subscriber"}), _renew),
}


# --- the same reference again ------------------------------------------------------------------------------------------


class _First(NamedTuple):
    order_id: int
    kind: str
    account: str
    digest: str | None
    applied_at: object


def _applied(connection: Connection, references: Sequence[tuple[str, str]]) -> dict[tuple[str, str], _First]:
    if not references:
        return {}
    statement = select(
        _row.source, _row.external_ref, _row.order_id, _row.kind, _row.account, _row.digest,
        type_coerce(_row.applied_at, String),
    ).where(tuple_(_row.source, _row.external_ref).in_(sorted(set(references))), _APPLIED)  # fmt: skip
    return {(source, ref): _First(*rest) for source, ref, *rest in connection.execute(statement)}


def _compare(row: _Row, digest: str, first: _First) -> Answer:
    if digest == first.digest:
        return Answer(row.order_id, "duplicate", first_key=first.order_id)
    problem = (
        f"external_ref: {quoted(row.external_ref)} of {quoted(row.source)} was already used on "
        f"{minute(first.applied_at)} to {first.kind} with account {quoted(first.account)}; "
        "a new order needs a reference of its own"
    )
    return Answer(row.order_id, "error", cut(problem))
