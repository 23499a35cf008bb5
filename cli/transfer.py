"""`aaa transfer`: from one account to another."""

from __future__ import annotations

import click

from cli.config import Setup, pass_setup
from cli.ordering import place, reference_option, show, source_option, unit_of
from cli.output import json_option


@click.command(epilog="Example: aaa transfer smith jones 5.00 --reference gift-7")
@click.argument("account")
@click.argument("to_account", metavar="TO")
@click.argument("amount")
@reference_option
@source_option
@click.option("--reason", metavar="TEXT", help="Kept with the order.")
@json_option
@pass_setup
def transfer(
    setup: Setup,
    /,
    *,
    account: str,
    to_account: str,
    amount: str,
    reference: str,
    source: str,
    reason: str | None,
    as_json: bool,
) -> None:
    """Move money (5.00), octets (5GB) or time (2h) from ACCOUNT to another one.

    Only what was paid in and no live session holds: no plan's allowance, no credit. What has an expiry keeps it.
    """
    columns = {"to_account": to_account, "unit": unit_of(amount), "amount": amount, "reason": reason}
    record = place(setup, "transfer", account, source=source, reference=reference, **columns)
    show(record, lambda moved: f"{moved} from {account} to {to_account}", as_json=as_json)
