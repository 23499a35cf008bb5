"""`aaa topup`: put money or an allowance on an account."""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy import Connection

from charging import catalogue, foreign, inbox, statement
from charging.catalogue import CatalogueError
from charging.payment import Applied, NotApplied
from charging.transaction import run, settle_in
from cli.amounts import amount_text
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.ordering import unit_of
from cli.output import json_option, print_json


@click.command(epilog="Example: aaa topup smith 10.00 --reference receipt-1041")
@click.argument("account")
@click.argument("amount")
@click.option(
    "--reference", metavar="REF", required=True, help="Your own number of this payment; it is paid in once, ever."
)
@click.option(
    "--source", metavar="NAME", default="cli", show_default=True, help="Whose number it is; each has its own."
)
@click.option("--comment", metavar="TEXT", help="Kept with the payment.")
@click.option("--validity", metavar="TIME", help="How long it lasts: 12h, '30 days', '1 month'; without it for ever.")
@json_option
@pass_setup
def topup(
    setup: Setup,
    /,
    *,
    account: str,
    amount: str,
    reference: str,
    source: str,
    comment: str | None,
    validity: str | None,
    as_json: bool,
) -> None:
    """Put money (10.00), octets (5GB) or time (2h) on an account.

    The same reference again changes nothing and says so; with another amount or account it is an error. Sessions that had
    run dry get their full service back at once. Where the plan says so (top_up_extends), the service lasts longer, too.
    """
    at = now()

    def work(connection: Connection) -> dict[str, Any]:
        found = catalogue.account_named(connection, account)
        top_up_id = inbox.put(
            connection,
            source=source,
            external_ref=reference,
            account=account,
            unit=unit_of(amount),
            amount=amount,
            comment=comment,
            validity=validity,
        )
        page = inbox.pending(connection, 1, only=top_up_id)
        foreign.answer(connection, inbox.INBOX, page.answers)
        for outcome in settle_in(connection, page.top_ups, at).outcomes if page.top_ups else ():
            if isinstance(outcome, NotApplied):
                foreign.answer(connection, inbox.INBOX, [foreign.refusal(top_up_id, outcome.reason)])
            else:
                assert isinstance(outcome, Applied)
        status, error = foreign.status_of(connection, inbox.INBOX, top_up_id)
        if error is not None:
            # The transaction is rolled back, the row with it: a typing error is nobody's payment.
            raise CatalogueError(error)
        unit, paid = inbox.amount_of(unit_of(amount), amount, found.currency)
        left: dict[str, int] = {}
        for bucket in statement.buckets(connection, found.account_id, at):
            left[bucket.unit] = left.get(bucket.unit, 0) + bucket.balance
        return {
            "account": account,
            "reference": f"{source}:{reference}",
            "already_applied": status == "duplicate",
            "unit": unit,
            "amount": paid,
            "balance": left.get(unit, 0),
            "currency": found.currency,
        }

    engine = setup.engine()
    try:
        record = run(engine, work)
    except inbox.ALREADY_APPLIED:
        record = run(engine, work)  # the server applied the same reference in this moment: now it is there to compare
    paid_in = amount_text(record["unit"], record["amount"], record["currency"])
    has = amount_text(record["unit"], record["balance"], record["currency"])
    if as_json:
        print_json(record)
    elif record["already_applied"]:
        click.echo(f"already applied: {paid_in} for {account}, {record['reference']}; it has {has}")
    else:
        click.echo(f"{paid_in} for {account}; it has {has} now")
