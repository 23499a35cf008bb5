"""`aaa reverse`: take something back."""

from __future__ import annotations

import click

from cli.config import Setup, pass_setup
from cli.ordering import place, reference_option, show, source_option
from cli.output import json_option


@click.command(epilog="Example: aaa reverse smith --transfer 17 --reason 'charged back' --reference cb-3")
@click.argument("account")
@click.option(
    "--transfer", "seq", type=click.IntRange(min=1), metavar="SEQ", help="This one of: aaa ledger show ACCOUNT."
)
@click.option(
    "--session", "session_id", type=click.IntRange(min=1), metavar="ID", help="All that this session was charged."
)
@click.option("--reason", metavar="TEXT", required=True, help="Why; kept with the order.")
@reference_option
@source_option
@json_option
@pass_setup
def reverse(
    setup: Setup,
    /,
    *,
    account: str,
    seq: int | None,
    session_id: int | None,
    reason: str,
    reference: str,
    source: str,
    as_json: bool,
) -> None:
    """Take back a transfer of an account's ledger, or all that a closed session was charged.

    The same amounts go back between exactly the same buckets; each transfer is reversed once.
    """
    if (seq is None) == (session_id is None):
        raise click.UsageError("give --transfer or --session, one of the two", click.get_current_context())
    columns = {"transfer_seq": seq, "session_id": session_id, "reason": reason}
    record = place(setup, "reverse", account, source=source, reference=reference, **columns)
    show(record, lambda amount: f"{amount} reversed for {account}", as_json=as_json)
