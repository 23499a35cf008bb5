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
from charging.terms import Terms
from charging.transaction import run, settle_in
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.ordering import place, reference_option, source_option
from cli.ordering import show as show_order
from cli.output import Column, Record, day, iso, json_option, print_record, print_records

DEFAULT_LIMIT: Final = 1000
MOST_LISTED: Final = 1_000_000


def _money(key: str) -> Any:
    return lambda record: format_money(record[key], record["currency"])


def _automatic(record: Record) -> str | None:
    if not record["auto_topup_amount_micros"]:
        return None
    amount = format_money(record["auto_topup_amount_micros"], record["currency"])
    return f"{amount} below {format_money(record['auto_topup_below_micros'], record['currency'])}"


_COLUMNS: Final = (
    Column("account", "name"),
    Column("kind", "kind"),
    Column("status", "status"),
    Column("money", _money("balance_micros"), right=True),
    Column("credit limit", _money("credit_limit_micros"), right=True),
    Column("subscribers", "subscribers", right=True),
    Column("live sessions", "live_sessions", right=True),
)
_DETAILS: Final = (
    *_COLUMNS,
    Column("automatic top-up", _automatic),
    Column("created", lambda record: day(record["created_at"])),
)


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
        code = catalogue.only_currency(connection) if currency is None else currency
        try:
            exponent(code)
            limit_micros = 0 if credit_limit is None else parse_money(credit_limit, code)
        except ValueError as error:
            raise CatalogueError(str(error)) from None
        catalogue.add_accounts(connection, [NewAccount(name, code, cast("Kind", kind), limit_micros)], at)
        return catalogue.account_named(connection, name)

    print_record(_record(run(engine, work)), _DETAILS, as_json=as_json)


@account.command("set", epilog="Example: aaa account set smith --credit-limit 50.00")
@click.argument("name")
@click.option("--kind", type=click.Choice(["prepaid", "postpaid"]), help="Who pays beforehand, or afterwards.")
@click.option("--credit-limit", metavar="AMOUNT", help="How far the money may fall below zero.")
@click.option(
    "--auto-topup-below", metavar="AMOUNT", help="Ask a billing system for money when there is less than this,"
)
@click.option("--auto-topup-amount", metavar="AMOUNT", help="and for how much.")
@click.option("--no-auto-topup", is_flag=True, help="Ask for nothing any more.")
@json_option
@pass_setup
def set_(
    setup: Setup,
    /,
    *,
    name: str,
    kind: Kind | None,
    credit_limit: str | None,
    auto_topup_below: str | None,
    auto_topup_amount: str | None,
    no_auto_topup: bool,
    as_json: bool,
) -> None:
    """Change on what terms an account pays.

    A higher credit limit restores sessions at once that had run dry; a lower one leaves live sessions what is still there.
    What an account with automatic top-up asks for is a row of billing_top_up_request (docs/billing-sql.md).
    """
    given = (kind, credit_limit, auto_topup_below, auto_topup_amount, no_auto_topup or None)
    if all(each is None for each in given):
        raise click.UsageError("nothing to change; give for example --credit-limit 50.00", click.get_current_context())
    if no_auto_topup and (auto_topup_below or auto_topup_amount):
        raise click.UsageError("--no-auto-topup goes with no other of its kind", click.get_current_context())
    at = now()

    def work(connection: Connection) -> AccountLine:
        line = catalogue.account_named(connection, name)

        def micros(amount: str | None) -> int | None:
            try:
                return None if amount is None else parse_money(amount, line.currency)
            except ValueError as error:
                raise CatalogueError(str(error)) from None

        amount = 0 if no_auto_topup else micros(auto_topup_amount)
        terms = Terms(line.account_id, kind, micros(credit_limit), micros(auto_topup_below), amount)
        _check(line, terms)
        settle_in(connection, [terms], at)
        return catalogue.account_named(connection, name)

    print_record(_record(run(setup.engine(), work)), _DETAILS, as_json=as_json)


def _check(line: AccountLine, terms: Terms) -> None:
    limit = line.credit_limit_micros if terms.credit_limit_micros is None else terms.credit_limit_micros
    if (terms.kind or line.kind) == "postpaid" and not limit:
        raise CatalogueError("a postpaid account needs --credit-limit")
    if terms.auto_below_micros and not (terms.auto_amount_micros or line.auto_amount_micros):
        raise CatalogueError("how much is it to ask for? add --auto-topup-amount 20.00, for example")
    if terms.auto_amount_micros and not (terms.auto_below_micros or line.auto_below_micros):
        raise CatalogueError("below which balance is it to ask? add --auto-topup-below 5.00, for example")


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

    at = now()

    def work(connection: Connection) -> AccountLine:
        found = catalogue.account_named(connection, name)
        catalogue.set_account_status(connection, found.account_id, "active")
        registry.look_again(connection, found.account_id, at)
        return catalogue.account_named(connection, name)

    print_record(_record(run(setup.engine(), work)), _DETAILS, as_json=as_json)


@account.command(epilog="Example: aaa account renew smith --subscriber alice --reference counter-17")
@click.argument("name")
@click.option("--subscriber", metavar="U", help="Only this one's; otherwise all that are over and not paid.")
@reference_option
@source_option
@json_option
@pass_setup
def renew(setup: Setup, /, *, name: str, subscriber: str | None, reference: str, source: str, as_json: bool) -> None:
    """Begin the next period of plans that are not renewed by themselves, or whose money did not suffice."""
    record = place(setup, "renew", name, source=source, reference=reference, subscriber=subscriber)
    show_order(record, lambda moved: f"renewed: {moved}" if moved else "renewed", as_json=as_json)


def _record(line: AccountLine) -> dict[str, Any]:
    record: Record = {
        "name": line.name,
        "kind": line.kind,
        "status": line.status,
        "currency": line.currency,
        "balance_micros": line.balance_micros,
        "credit_limit_micros": line.credit_limit_micros,
        "auto_topup_below_micros": line.auto_below_micros,
        "auto_topup_amount_micros": line.auto_amount_micros,
        "subscribers": line.subscribers,
        "live_sessions": line.live_sessions,
        "created_at": iso(line.created_at),
    }
    return dict(record)
