"""`aaa adjust`: correct a balance by hand."""

from __future__ import annotations

import click

from cli.config import Setup, pass_setup
from cli.ordering import place, reference_option, show, source_option, unit_of
from cli.output import json_option


@click.command(epilog="Example: aaa adjust smith --add 5.00 --reason 'outage of 3 March' --reference ticket-88")
@click.argument("account")
@click.option("--add", metavar="AMOUNT", help="Put this on: 5.00, 5GB or 2h.")
@click.option("--take", metavar="AMOUNT", help="Take this off, down to the credit limit.")
@click.option(
    "--bucket", type=int, metavar="ID", help="This one (see: aaa balance --json); without it what was paid in."
)
@click.option("--reason", metavar="TEXT", required=True, help="Why; kept with the order.")
@reference_option
@source_option
@json_option
@pass_setup
def adjust(
    setup: Setup,
    /,
    *,
    account: str,
    add: str | None,
    take: str | None,
    bucket: int | None,
    reason: str,
    reference: str,
    source: str,
    as_json: bool,
) -> None:
    """Put something on an account, or take it off, against the ledger's `adjustment`; who did it stands in the ledger."""
    if (add is None) == (take is None):
        raise click.UsageError("give --add or --take, one of the two", click.get_current_context())
    written = add or take or ""
    if written.startswith(("-", "+")):
        raise click.UsageError(f"{written!r} has a sign; --add and --take say which way", click.get_current_context())
    amount = written if take is None else f"-{written}"
    columns = {"unit": unit_of(written), "amount": amount, "bucket_id": bucket, "reason": reason}
    record = place(setup, "adjust", account, source=source, reference=reference, **columns)
    way = "taken off" if take else "put on"
    show(record, lambda moved: f"{moved} {way} {account}", as_json=as_json)
