"""`aaa account`: who pays."""

from __future__ import annotations

from typing import Any, Final, cast

import click
from sqlalchemy import Connection

from aaa import registry
from aaa.enrolment import name_fault
from charging import catalogue
from charging.catalogue import AccountLine, CatalogueError, Kind, NewAccount, Status
from charging.database import reading
from charging.money import exponent, format_money, parse_money
from charging.transaction import run
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.output import Column, Record, day, iso, json_option, print_record, print_records

DEFAULT_LIMIT: Final = 1000
MOST_LISTED: Final = 1_000_000


def _money(key: str) -> Any:
    return lambda record: format_money(record[key], record["currency"])


_COLUMNS: Final = (
    Column("account", "name"),
    Column("kind", "kind"),
    Column("status", "status"),
    Column("money", _money("balance_micros"), right=True),
    Column("credit limit", _money("credit_limit_micros"), right=True),
    Column("subscribers", "subscribers", right=True),
    Column("live sessions", "live_sessions", right=True),
)
_DETAILS: Final = (*_COLUMNS, Column("created", lambda record: day(record["created_at"])))


def _name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    fault = name_fault("account", value)
    if fault is not None:
        raise click.BadParameter(fault)
    return value


@click.group(epilog="Example: aaa account add smith --currency EUR")
def account() -> None:
    """Accounts: who pays."""


@account.command(epilog="Example: aaa account add smith --currency EUR --kind postpaid --credit-limit 50.00")
@click.argument("name", callback=_name)
@click.option("--currency", metavar="C", help="ISO 4217 code; without it, the one currency of all plans.")
@click.option("--credit-limit", metavar="AMOUNT", help="How far the money may fall below zero.")
@click.option("--kind", type=click.Choice(["prepaid", "postpaid"]), default="prepaid", show_default=True)
@json_option
@pass_setup
def add(setup: Setup, name: str, currency: str | None, credit_limit: str | None, kind: str, as_json: bool) -> None:
    """Add an account.

    `aaa subscriber add` makes one by itself; this is for several subscribers on one account, and for credit.
    """
    if kind == "postpaid" and credit_limit is None:
        raise click.UsageError("a postpaid account needs --credit-limit", click.get_current_context())
    engine, at = setup.engine(), now()

    def work(connection: Connection) -> AccountLine:
        code = _only_currency(connection) if currency is None else currency
        try:
            exponent(code)
            limit_micros = 0 if credit_limit is None else parse_money(credit_limit, code)
        except ValueError as error:
            raise CatalogueError(str(error)) from None
        catalogue.add_accounts(connection, [NewAccount(name, code, cast("Kind", kind), limit_micros)], at)
        return catalogue.account_named(connection, name)

    print_record(_record(run(engine, work)), _DETAILS, as_json=as_json)


@account.command(epilog="Example: aaa account show smith")
@click.argument("name")
@json_option
@pass_setup
def show(setup: Setup, name: str, as_json: bool) -> None:
    """Show one account and its subscribers; `aaa balance` shows all its buckets."""
    with reading(setup.engine()) as connection:
        line = catalogue.account_named(connection, name)
        lines = registry.subscribers(connection, account_name=name, limit=DEFAULT_LIMIT)
    record = {
        **_record(line),
        "usernames": [each.username for each in lines],
    }
    print_record(record, (*_DETAILS, Column("user names", "usernames")), as_json=as_json)


@account.command("list", epilog="Example: aaa account list --status suspended")
@click.option("--status", type=click.Choice(["active", "suspended"]), help="Only these.")
@click.option(
    "--limit", type=click.IntRange(1, MOST_LISTED), default=DEFAULT_LIMIT, show_default=True, help="At most so many."
)
@json_option
@pass_setup
def list_(setup: Setup, status: Status | None, limit: int, as_json: bool) -> None:
    """List accounts by name."""
    with reading(setup.engine()) as connection:
        lines = catalogue.accounts(connection, status=status, limit=limit + 1)
    print_records(
        [_record(line) for line in lines[:limit]],
        _COLUMNS,
        as_json=as_json,
        none="no account; run: aaa account add NAME",
    )
    if len(lines) > limit:
        click.echo(f"only the first {limit}; there are more: --limit", err=True)


@account.command(epilog="Example: aaa account suspend smith")
@click.argument("name")
@json_option
@pass_setup
def suspend(setup: Setup, name: str, as_json: bool) -> None:
    """Refuse new sessions of an account, and disconnect its live ones."""
    at = now()

    def work(connection: Connection) -> tuple[AccountLine, int]:
        found = catalogue.account_named(connection, name)
        catalogue.set_account_status(connection, found.account_id, "suspended")
        cut = registry.cut(connection, found.account_id, None, at)
        return catalogue.account_named(connection, name), cut

    line, cut = run(setup.engine(), work)
    record = {**_record(line), "disconnecting": cut}
    print_record(record, (*_DETAILS, Column("disconnecting", "disconnecting")), as_json=as_json)


@account.command(epilog="Example: aaa account resume smith")
@click.argument("name")
@json_option
@pass_setup
def resume(setup: Setup, name: str, as_json: bool) -> None:
    """Let the subscribers of a suspended account log in again."""

    def work(connection: Connection) -> AccountLine:
        found = catalogue.account_named(connection, name)
        catalogue.set_account_status(connection, found.account_id, "active")
        return catalogue.account_named(connection, name)

    print_record(_record(run(setup.engine(), work)), _DETAILS, as_json=as_json)


def _only_currency(connection: Connection) -> str:
    currencies = sorted({each.plan.currency for each in catalogue.current_plans(connection).values()})
    if len(currencies) == 1:
        return currencies[0]
    which = f"the plans are in {', '.join(currencies)}" if currencies else "there is no plan yet to take it from"
    raise CatalogueError(f"which currency? {which}; add --currency EUR, for example")


def _record(line: AccountLine) -> dict[str, Any]:
    record: Record = {
        "name": line.name,
        "kind": line.kind,
        "status": line.status,
        "currency": line.currency,
        "balance_micros": line.balance_micros,
        "credit_limit_micros": line.credit_limit_micros,
        "subscribers": line.subscribers,
        "live_sessions": line.live_sessions,
        "created_at": iso(line.created_at),
    }
    return dict(record)
