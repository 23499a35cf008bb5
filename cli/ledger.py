"""`aaa ledger`: show it, and check everything that must always hold."""

from __future__ import annotations

import sys
from typing import Final

import click

from charging import audit, catalogue, statement
from charging.database import reading
from cli import removed
from cli.amounts import amount_text
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.output import Column, iso, json_option, print_json, print_records, printable

DEFAULT_LIMIT: Final = 100
MOST_VIOLATIONS: Final = 1000

_COLUMNS: Final = (
    Column("seq", "seq", right=True),
    Column("recorded (UTC)", lambda record: record["recorded_at"][:19].replace("T", " ")),
    Column("kind", "kind"),
    Column("debit", "debit"),
    Column("credit", "credit"),
    Column("amount", lambda record: amount_text(record["unit"], record["amount"], record["currency"]), right=True),
    Column("reference", "reference"),
    Column("actor", "actor"),
)


@click.group(epilog="Example: aaa ledger check")
def ledger() -> None:
    """The ledger: show and check it."""


@ledger.command(epilog="Example: aaa ledger show smith")
@click.argument("account")
@click.option("--limit", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True, help="The newest ones.")
@json_option
@pass_setup
def show(setup: Setup, account: str, limit: int, as_json: bool) -> None:
    """Show an account's transfers, in their order.

    What live sessions have used since their last posting (hourly, and when they end) is not in it yet.
    """
    with reading(setup.engine()) as connection:
        found = catalogue.account_named(connection, account)
        lines = statement.transfers(connection, found.account_id, limit=limit + 1)
    records = [
        {
            **line._asdict(),
            "effective_at": iso(line.effective_at),
            "recorded_at": iso(line.recorded_at),
            "currency": found.currency,
        }
        for line in lines[-limit:]
    ]
    print_records(records, _COLUMNS, as_json=as_json, none="no transfer yet")
    if len(lines) > limit:
        click.echo(f"only the newest {limit}; there are more: --limit", err=True)


@ledger.command(epilog="Example: aaa ledger check")
@json_option
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Check everything that must always hold: balances, holds, meters, top-ups, and that no row was changed.

    Works on a running server; everything is read as it was at one moment. Exit code 1, and the violations, where
    something does not hold.
    """
    setup = ctx.ensure_object(Setup)
    shown = sys.stderr.isatty()

    def progress(done: int, total: int) -> None:
        if shown:
            click.echo(f"\r{done} of {total} accounts", nl=False, err=True)

    with reading(setup.engine()) as connection:
        result = audit.check(connection, now(), most=MOST_VIOLATIONS, progress=progress)
        not_kept = removed.words(connection, None, "usage_lines", "closed_sessions")
    if shown:
        click.echo("\r\x1b[K", nl=False, err=True)
    if as_json:
        print_json(
            {
                "transfers": result.transfers,
                "accounts": result.accounts,
                "violations": [violation._asdict() for violation in result.found],
                "not_compared": not_kept,
            }
        )
    else:
        for sentence in not_kept:
            click.echo(f"not compared with the ledger: {sentence}")
        looked_at = f"ledger: {_count(result.transfers, 'transfer')} of {_count(result.accounts, 'account')}"
        if not result.found:
            click.echo(f"{looked_at}, all invariants hold")
            return
        for violation in result.found:
            owner = f"account {violation.account!r}: " if violation.account else ""
            click.echo(printable(f"{violation.invariant}: {owner}{violation.words}"))
        more = " or more" if len(result.found) >= MOST_VIOLATIONS else ""
        click.echo(f"{looked_at}, {_count(len(result.found), 'violation')}{more}")
    if result.found:
        ctx.exit(1)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
