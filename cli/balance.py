"""`aaa balance`: what an account has left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from charging import catalogue, statement
from charging.catalogue import AccountLine
from charging.database import reading
from charging.scope import read_scope
from charging.statement import BucketLine
from cli.amounts import amount_text
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.output import Column, Record, day, iso, json_option, print_json, print_records


def _amount(key: str) -> Any:
    return lambda record: amount_text(record["unit"], record[key], record["currency"])


COLUMNS = (
    Column("bucket", "name"),
    Column(
        "of",
        lambda record: {"total": record["unit"]}.get(record["direction"], f"{record['unit']} {record['direction']}"),
    ),
    Column("balance", _amount("balance"), right=True),
    Column("held", _amount("held"), right=True),
    Column("available", _amount("available"), right=True),
    Column("expires (UTC)", lambda record: day(record["expires_at"])),
)
_EVERY = Column("every", lambda record: record["every"] or "-")
_ONLY = Column("only", lambda record: ", ".join(record["only"]) or "-")


@click.command(epilog="Example: aaa balance smith")
@click.argument("account")
@click.option("--expired", is_flag=True, help="Show buckets whose time is over, too.")
@json_option
@pass_setup
def balance(setup: Setup, account: str, expired: bool, as_json: bool) -> None:
    """Show an account's buckets in the order in which they are drawn.

    Held is what live sessions have reserved for their next minutes; available is what is left for others, the credit
    limit included.
    """
    at = now()
    with reading(setup.engine()) as connection:
        found = catalogue.account_named(connection, account)
        lines = statement.buckets(connection, found.account_id, at, expired=expired)
    records = [record_of(line, found) for line in lines]
    if as_json:
        print_json(
            {
                "account": found.name,
                "currency": found.currency,
                "credit_limit_micros": found.credit_limit_micros,
                "buckets": [{k: v for k, v in each.items() if k != "currency"} for each in records],
            }
        )
        return
    print_records(records, columns_for(records), as_json=False, none="no bucket")
    if found.credit_limit_micros:
        click.echo(f"credit limit: {amount_text('money', found.credit_limit_micros, found.currency)}")


def columns_for(records: Sequence[Record]) -> tuple[Column, ...]:
    """Rhythm and conditions only where a bucket has some."""
    rare = ((_EVERY, "every"), (_ONLY, "only"))
    return (*COLUMNS, *(column for column, key in rare if any(record[key] for record in records)))


def record_of(line: BucketLine, account: AccountLine) -> Record:
    """A bucket as printed; amounts in its unit (octets, seconds, micros)."""
    credit = account.credit_limit_micros if line.unit == "money" else 0
    return {
        "bucket_id": line.bucket_id,
        "name": line.name,
        "unit": line.unit,
        "direction": line.direction,
        "balance": line.balance,
        "held": line.held,
        "available": line.available + credit,
        "granted": line.granted,
        "priority": line.priority,
        "blocker": line.blocker,
        "source": line.source,
        "valid_from": iso(line.valid_from),
        "expires_at": iso(line.expires_at),
        "every": line.every or None,
        "only": conditions_of(line, account.currency),
        "currency": account.currency,
    }


def conditions_of(line: BucketLine, currency: str) -> list[str]:
    """When, where and for whom a bucket is drawn, in words; empty where it is always."""
    if not line.scope:
        return []
    scope = read_scope(line.scope)
    parts = [f"in {' or '.join(each.name for each in scope.windows)}"] if scope.windows else []
    parts += [f"where {' or '.join(each.name for each in scope.zones)}"] if scope.zones else []
    parts += ["not shared"] if scope.subscriber_id is not None else []
    if scope.cap is not None:
        cap = amount_text(line.unit, scope.cap, currency)
        parts.append(f"at most {cap} a member" + (f" and {scope.cap_per}" if scope.cap_per else ""))
    return parts
