"""`aaa refund`: pay money out."""

from __future__ import annotations

import click

from cli.config import Setup, pass_setup
from cli.ordering import place, reference_option, show, source_option
from cli.output import json_option


@click.command(epilog="Example: aaa refund smith 5.00 --reference refund-12 --reason 'moved away'")
@click.argument("account")
@click.argument("amount")
@reference_option
@source_option
@click.option("--reason", metavar="TEXT", help="Kept with the order.")
@json_option
@pass_setup
def refund(
    setup: Setup,
    /,
    *,
    account: str,
    amount: str,
    reference: str,
    source: str,
    reason: str | None,
    as_json: bool,
) -> None:
    """Take money off an account that is paid out to the subscriber.

    Only what was paid in and no live session holds; to take back one payment, see: aaa reverse.
    """
    record = place(setup, "refund", account, source=source, reference=reference, amount=amount, reason=reason)
    show(record, lambda paid_out: f"{paid_out} paid out of {account}", as_json=as_json)
