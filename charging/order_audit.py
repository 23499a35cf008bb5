"""What must always hold of vouchers, transfers between accounts, reversals and top-up requests: more of `audit`'s list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, text

from charging.inbox import amount_of

#: What each kind of order is called in the ledger. A decline moves nothing, and a renewal as many times as there are periods.
LEDGER_KINDS: Final = {
    "redeem": "voucher",
    "transfer": "transfer",
    "refund": "refund",
    "reverse": "reversal",
    "adjust": "adjustment",
}
_ROWS_AT_ONCE: Final = 1_000

Found = Iterator[tuple[str, str]]
"""account name and words."""


def orders(connection: Connection) -> Found:
    """Each order that was carried out is in its account's ledger, with its amount, and nothing is there unasked."""
    kinds = " ".join(f"WHEN '{order}' THEN '{kind}'" for order, kind in LEDGER_KINDS.items())
    names = ", ".join(f"'{kind}'" for kind in LEDGER_KINDS.values())
    rows = _rows(
        connection,
        f"""
        WITH ordered AS (
            SELECT a.account_id, a.name, a.currency, o.source || ':' || o.external_ref AS reference,
                   CASE o.kind {kinds} END AS kind, o.unit, o.amount
            FROM billing_order AS o JOIN account AS a ON a.name = o.account
            WHERE o.status = 'applied' AND o.kind NOT IN ('decline', 'renew')),
        booked AS (
            SELECT t.account_id, t.reference, t.kind, min(t.unit) AS unit,
                   CAST(sum(CASE WHEN t.debit LIKE 'bucket:%' THEN -t.amount ELSE t.amount END) AS BIGINT) AS total
            FROM transfer AS t
            WHERE t.kind IN ({names}) AND NOT (t.kind = 'transfer' AND t.debit LIKE 'account:%')
              AND NOT (t.kind = 'reversal' AND t.reference LIKE 'rerate:%')
            GROUP BY t.account_id, t.reference, t.kind)
        SELECT o.name, o.currency, o.reference, o.kind, o.unit, o.amount, b.unit, b.total
        FROM ordered AS o LEFT JOIN booked AS b
          ON b.account_id = o.account_id AND b.reference = o.reference AND b.kind = o.kind
        UNION ALL
        SELECT a.name, a.currency, b.reference, b.kind, NULL, NULL, b.unit, b.total
        FROM booked AS b JOIN account AS a ON a.account_id = b.account_id
        LEFT JOIN ordered AS o ON o.account_id = b.account_id AND o.reference = b.reference AND o.kind = b.kind
        WHERE o.reference IS NULL""",
    )
    for name, currency, reference, kind, unit, amount, booked_unit, total in rows:
        if total is None:
            yield name, f"order {reference} ({kind}) was carried out, but it is not in the ledger"
        elif unit is None:
            yield name, f"the ledger has a {kind} {reference} that no order asked for"
        elif kind in {"transfer", "refund", "adjustment"}:
            asked = _asked(kind, unit, amount, currency)
            if asked != (booked_unit, total):
                yield (
                    name,
                    f"order {reference} ({kind}) asked for {amount} {unit}, the ledger has {total} {booked_unit}",
                )


def _asked(kind: str, unit: str, amount: str, currency: str) -> tuple[str, int] | None:
    """The unit of an order and what it changes a balance by; None where it can not be read any more."""
    try:
        known, value = amount_of(unit, amount.lstrip("+-"), currency)
    except ValueError:
        return None
    return known, value if kind == "adjustment" and not amount.startswith("-") else -value


def vouchers(connection: Connection) -> Found:
    """Each redeemed voucher is one transfer of what it is worth, and each such transfer one voucher."""
    rows = _rows(
        connection,
        """
        WITH redeemed AS (
            SELECT v.account_id, v.reference, b.unit, b.amount, b.name || '/' || v.serial AS voucher
            FROM voucher AS v JOIN voucher_batch AS b ON b.batch_id = v.batch_id WHERE v.state = 'redeemed'),
        booked AS (SELECT account_id, reference, unit, amount FROM transfer WHERE kind = 'voucher')
        SELECT a.name, r.voucher, r.unit, r.amount, NULL FROM redeemed AS r
        LEFT JOIN account AS a ON a.account_id = r.account_id
        LEFT JOIN booked AS t ON t.account_id = r.account_id AND t.reference = r.reference
            AND t.unit = r.unit AND t.amount = r.amount
        WHERE t.account_id IS NULL
        UNION ALL
        SELECT a.name, NULL, t.unit, t.amount, t.reference FROM booked AS t
        JOIN account AS a ON a.account_id = t.account_id
        LEFT JOIN redeemed AS r ON r.account_id = t.account_id AND r.reference = t.reference
        WHERE r.account_id IS NULL""",
    )
    for name, voucher, unit, amount, reference in rows:
        if voucher is not None:
            yield name or "", f"voucher {voucher} of {amount} {unit} is redeemed, but not in the ledger"
        else:
            yield name, f"the ledger has {reference}, a voucher of {amount} {unit} that nobody redeemed"


def between_accounts(connection: Connection) -> Found:
    """What one account transferred is what the other received."""
    rows = _rows(
        connection,
        """
        SELECT a.name, h.reference, h.unit, CAST(sum(h.amount) AS BIGINT) FROM (
            SELECT account_id AS payer, 'account:' || account_id AS debit, credit, reference, unit, amount
            FROM transfer WHERE kind = 'transfer' AND credit LIKE 'account:%'
            UNION ALL
            SELECT CAST(substr(debit, 9) AS BIGINT), debit, 'account:' || account_id, reference, unit, -amount
            FROM transfer WHERE kind = 'transfer' AND debit LIKE 'account:%') AS h
        LEFT JOIN account AS a ON a.account_id = h.payer
        GROUP BY a.name, h.payer, h.debit, h.credit, h.reference, h.unit HAVING sum(h.amount) <> 0""",
    )
    for name, reference, unit, missing in rows:
        yield name or "", f"transfer {reference}: {missing} {unit} left the account and did not arrive at the other"


def reversals(connection: Connection) -> Found:
    """Each reversal is the exact opposite of one transfer, which is reversed once."""
    rows = _rows(
        connection,
        """
        SELECT a.name, r.seq, r.by_seq FROM reversal AS r
        LEFT JOIN account AS a ON a.account_id = r.account_id
        LEFT JOIN transfer AS t ON t.account_id = r.account_id AND t.seq = r.seq
        LEFT JOIN transfer AS b ON b.account_id = r.account_id AND b.seq = r.by_seq AND b.kind = 'reversal'
            AND b.debit = t.credit AND b.credit = t.debit AND b.unit = t.unit AND b.amount = t.amount
        WHERE b.seq IS NULL
        UNION ALL
        SELECT a.name, NULL, t.seq FROM transfer AS t JOIN account AS a ON a.account_id = t.account_id
        LEFT JOIN reversal AS r ON r.account_id = t.account_id AND r.by_seq = t.seq
        WHERE t.kind = 'reversal' AND r.seq IS NULL""",
    )
    for name, seq, by_seq in rows:
        if seq is None:
            yield name, f"transfer {by_seq} is a reversal, but of no transfer"
        else:
            yield name or "", f"transfer {by_seq} is not the opposite of transfer {seq}, which it reverses"


def top_up_requests(connection: Connection) -> Found:
    """The request that an account waits for is the one that is open; a paid one names a top-up."""
    rows = _rows(
        connection,
        """
        SELECT a.name, a.auto_request_id, r.request_id FROM account AS a
        LEFT JOIN top_up_request AS r ON r.account_id = a.account_id AND r.status = 'open'
        WHERE (a.auto_request_id IS NOT NULL OR r.request_id IS NOT NULL)
          AND (a.auto_request_id IS NULL OR r.request_id IS NULL OR a.auto_request_id <> r.request_id)""",
    )
    for name, waiting_for, is_open in rows:
        yield name, f"it waits for top-up request {waiting_for}, open is {is_open}"
    unpaid = _rows(
        connection,
        """
        SELECT a.name, r.request_id, r.answer FROM top_up_request AS r JOIN account AS a ON a.account_id = r.account_id
        LEFT JOIN transfer AS t ON t.account_id = r.account_id AND t.kind = 'top-up' AND t.reference = r.answer
        WHERE r.status = 'paid' AND t.seq IS NULL""",
    )
    for name, request_id, answer in unpaid:
        yield name, f"top-up request {request_id} is paid by {answer}, which is not in the ledger"


def _rows(connection: Connection, statement: str) -> Iterator[tuple[Any, ...]]:
    with connection.execute(text(statement), execution_options={"yield_per": _ROWS_AT_ONCE}) as result:
        for row in result:
            yield tuple(row)
