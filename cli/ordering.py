"""What the commands that order something have in common: a row of the orders' inbox, carried out in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import click
from sqlalchemy import Connection

from charging import catalogue, foreign, inbox, order_inbox, statement
from charging.catalogue import CatalogueError
from charging.payment import NotApplied
from charging.plan import Unit
from charging.transaction import run, settle_in
from cli.amounts import amount_text
from cli.clock import now
from cli.config import Setup
from cli.output import print_json

reference_option: Final = click.option(
    "--reference", metavar="REF", required=True, help="Your own number of this order; it is carried out once, ever."
)
source_option: Final = click.option(
    "--source", metavar="NAME", default="cli", show_default=True, help="Whose number it is; each has its own."
)
MOST_REVERSALS: Final = 10_000


def place(
    setup: Setup, kind: order_inbox.Kind, account: str, *, source: str, reference: str, **columns: Any
) -> dict[str, Any]:
    """Carry out an order for an account, or find that it was; what to print of it. CatalogueError says why not.

    A refused order leaves no row; but what it changed all the same, the count of wrong voucher codes, is kept.
    """
    engine = setup.engine()

    def work(connection: Connection) -> dict[str, Any]:
        found = catalogue.account_named(connection, account)
        order_id = order_inbox.put(
            connection, source=source, external_ref=reference, kind=kind, account=account, **columns
        )
        page = order_inbox.pending(connection, 1, only=order_id)
        foreign.answer(connection, order_inbox.INBOX, page.answers)
        at = now()
        for order in page.orders:
            # Who did it is an operator, not a billing system.
            outcome = settle_in(connection, [replace(order, actor=setup.actor)], at).outcomes[0]
            if isinstance(outcome, NotApplied):
                foreign.answer(connection, order_inbox.INBOX, [foreign.refusal(order_id, outcome.reason)])
        status, error = foreign.status_of(connection, order_inbox.INBOX, order_id)
        if error is not None:
            order_inbox.forget(connection, order_id)
            return {"error": error}
        left: dict[str, int] = {}
        for bucket in statement.buckets(connection, found.account_id, at):
            left[bucket.unit] = left.get(bucket.unit, 0) + bucket.balance
        moved = statement.transfers_of(connection, found.account_id, f"{source}:{reference}", limit=MOST_REVERSALS)
        return {
            "account": account,
            "reference": f"{source}:{reference}",
            "already_applied": status == "duplicate",
            "currency": found.currency,
            "transfers": [
                {"seq": t.seq, "debit": t.debit, "credit": t.credit, "unit": t.unit, "amount": t.amount} for t in moved
            ],
            "balance_micros": left.get("money", 0),
            "octets": left.get("octets", 0),
            "seconds": left.get("seconds", 0),
        }

    try:
        record = run(engine, work)
    except inbox.ALREADY_APPLIED:
        record = run(engine, work)  # the server carried out the same reference in this moment: now it is there
    if "error" in record:
        raise CatalogueError(record["error"])
    return record


def show(record: dict[str, Any], says: Callable[[str], str], *, as_json: bool) -> None:
    """Print an order that was carried out; `says` makes the sentence from the amount in words."""
    if as_json:
        print_json(record)
        return
    totals: dict[str, int] = {}
    for each in record["transfers"]:
        totals[each["unit"]] = totals.get(each["unit"], 0) + each["amount"]
    amount = " and ".join(amount_text(unit, total, record["currency"]) for unit, total in totals.items())
    has = [
        amount_text(unit, record["balance_micros" if unit == "money" else unit], record["currency"])
        for unit in (totals or {"money": 0})
    ]
    before = f"already applied as {record['reference']}: " if record["already_applied"] else ""
    click.echo(f"{before}{says(amount)}; {record['account']} has {' and '.join(has)} now")


def unit_of(amount: str) -> Unit:
    """10.00 is money, 5GB octets, 2h a time; a plain number is money."""
    letters = amount.lstrip("0123456789., ")
    if not letters or letters[0] == "-":
        return "money"
    for unit in ("octets", "seconds"):
        try:
            inbox.amount_of(unit, amount, "")
        except ValueError:
            continue
        return "octets" if unit == "octets" else "seconds"
    return "money"
