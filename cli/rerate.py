"""`aaa rerate`: charge a time again under a corrected plan."""

from __future__ import annotations

from typing import Any

import click

from charging import catalogue, rerating_rows
from charging.catalogue import CatalogueError
from charging.database import reading
from charging.money import format_money
from charging.payment import NotApplied
from charging.plan import Instant
from charging.rerating import Bill, Rerated
from cli import removed
from cli.amounts import Moment
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.output import Column, json_option, print_json, print_records

_COLUMNS = (
    Column("account", "account"),
    Column("user name", "username"),
    Column("sessions", "sessions", right=True),
    Column("was charged", lambda record: format_money(record["before_micros"], record["currency"]), right=True),
    Column("is charged", lambda record: format_money(record["after_micros"], record["currency"]), right=True),
    Column("difference", lambda record: format_money(record["difference_micros"], record["currency"]), right=True),
    Column("", lambda record: record["problem"] or ""),
)


@click.command(epilog="Example: aaa rerate prepaid-50 --from 2026-03-01 --to 2026-03-31 --apply")
@click.argument("name", metavar="PLAN")
@click.option(
    "--from", "since", metavar="DAY", type=Moment(), required=True, help="Sessions that ended from this day (UTC) on."
)
@click.option(
    "--to", "until", metavar="DAY", type=Moment(ends=True), required=True, help="To the end of this day (UTC)."
)
@click.option("--apply", "apply", is_flag=True, help="Write it; otherwise nothing is changed.")
@json_option
@pass_setup
def rerate(setup: Setup, /, name: str, since: Instant, until: Instant, apply: bool, as_json: bool) -> None:
    """Charge the sessions of a plan that ended in a time again, under the plan's newest version.

    Without --apply it says who would pay more and who less. With it, what each of these sessions was charged is taken back to
    exactly the buckets that were drawn, and charged anew from those that could be drawn then. A session for which the same
    comes out is left alone, and a second run changes nothing. Allowances stay as they were granted, and what nothing paid for
    stays unpaid. Left out are live sessions, and those whose usage lines retention has removed, or some that counted in
    the same month.
    """
    if until <= since:
        raise click.UsageError("--to: is before --from")
    engine = setup.engine()
    with reading(engine) as connection:
        newest = catalogue.current_plan(connection, name)
        accounts = rerating_rows.accounts_of(connection, name, since, until)
        removed.tell(connection, since, "usage_lines")
    records: list[dict[str, Any]] = []
    for account_id, account in accounts:
        outcome = rerating_rows.charge_again(engine, account_id, newest, since, until, setup.actor, now(), apply=apply)
        if outcome is not None:
            records += _records(outcome, account, newest.plan.currency)
    _print(name, newest.plan.currency, records, apply=apply, as_json=as_json)


def _records(outcome: Rerated | NotApplied, account: str, currency: str) -> list[dict[str, Any]]:
    if isinstance(outcome, NotApplied):
        return [_record(account, "", [], currency, outcome.reason)]
    by_name: dict[str, list[Bill]] = {}
    for bill in outcome.bills:
        if bill.changed:
            by_name.setdefault(bill.username, []).append(bill)
    return [_record(account, username, bills, currency, None) for username, bills in sorted(by_name.items())]


def _record(account: str, username: str, bills: list[Bill], currency: str, problem: str | None) -> dict[str, Any]:
    before, after = sum(bill.before_micros for bill in bills), sum(bill.after_micros for bill in bills)
    return {
        "account": account,
        "username": username,
        "currency": currency,
        "sessions": len(bills),
        "before_micros": before,
        "after_micros": after,
        "difference_micros": after - before,
        "unpaid_octets": sum(bill.unpaid_octets for bill in bills),
        "unpaid_seconds": sum(bill.unpaid_seconds for bill in bills),
        "problem": problem,
    }


def _print(name: str, currency: str, records: list[dict[str, Any]], *, apply: bool, as_json: bool) -> None:
    records.sort(key=lambda record: (-record["difference_micros"], record["account"], record["username"]))
    more = sum(1 for record in records if record["difference_micros"] > 0)
    less = sum(1 for record in records if record["difference_micros"] < 0)
    problems = sum(1 for record in records if record["problem"])
    before, after = (sum(record[key] for record in records) for key in ("before_micros", "after_micros"))
    if as_json:
        summary = {
            "plan": name,
            "currency": currency,
            "applied": apply,
            "more": more,
            "less": less,
            "problems": problems,
        }
        print_json({**summary, "before_micros": before, "after_micros": after, "bills": records})
    else:
        print_records(records, _COLUMNS, as_json=False, none="nothing comes out another way")
        sums = f"{format_money(before, currency)} before, {format_money(after, currency)} after"
        click.echo(f"\n{more} pay more, {less} less; of what changes {sums}")
        if records and not apply:
            click.echo("nothing was changed; --apply writes it")
    if problems and apply:
        raise CatalogueError(f"{problems} accounts were left as they are")
