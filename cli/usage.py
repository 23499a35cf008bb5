"""`aaa usage`: what a subscriber used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import click

from aaa import registry
from charging import catalogue, statement
from charging.buckets import read_rated
from charging.database import reading
from charging.plan import Instant, Plan
from charging.statement import BucketLine, By, UsageLine
from cli import removed
from cli.amounts import Moment, amount_text
from cli.balance import conditions_of
from cli.config import Setup, pass_setup
from cli.output import Column, day, iso, json_option, print_records

DEFAULT_LIMIT: Final = 1000


def _amount(unit: str, key: str) -> Any:
    return lambda record: amount_text(unit, record[key], record["currency"])


_USED: Final = (
    Column("up", _amount("octets", "octets_up"), right=True),
    Column("down", _amount("octets", "octets_down"), right=True),
    Column("time", _amount("seconds", "seconds"), right=True),
    Column("charged", _amount("money", "amount_micros"), right=True),
)
_COLUMNS: Final[dict[By, tuple[Column, ...]]] = {
    "day": (Column("day (UTC)", lambda record: (record["day"] or "")[:10]), *_USED),
    "session": (
        Column("session", "session_id"),
        Column("first report (UTC)", lambda record: day(record["first_at"])),
        Column("last report (UTC)", lambda record: day(record["last_at"])),
        *_USED,
    ),
    "line": (
        Column("report (UTC)", lambda record: day(record["last_at"])),
        Column("session", "session_id"),
        Column("line", "line_no", right=True),
        Column("kind", "kind"),
        *_USED,
        Column("flags", lambda record: record["flags"] or "-"),
        Column("paid by", lambda record: "; ".join(map(_payer, record["paid_by"])) or "-"),
    ),
}


@click.command(epilog="Example: aaa usage anna --from 2026-03-01 --to 2026-03-31 --by session")
@click.argument("subscriber")
@click.option("--from", "since", metavar="DAY", type=Moment(), help="From this day (UTC) on.")
@click.option("--to", "until", metavar="DAY", type=Moment(ends=True), help="Up to the end of this day (UTC).")
@click.option("--by", type=click.Choice(["day", "session", "line"]), default="day", show_default=True, help="Add up.")
@click.option("--limit", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True, help="At most so many.")
@json_option
@pass_setup
def usage(
    setup: Setup, subscriber: str, since: Instant | None, until: Instant | None, by: By, limit: int, as_json: bool
) -> None:
    """Show what a subscriber used: by day, by session, or report by report; the newest first.

    Charged is money only. --by line says which buckets each report drew, and why those, and by which prices.
    """
    with reading(setup.engine()) as connection:
        found = registry.subscriber_named(connection, subscriber)
        account = catalogue.account_named(connection, found.account_name)
        lines = statement.usage(
            connection, account.account_id, found.subscriber_id, since=since, until=until, by=by, limit=limit + 1
        )
        buckets = {each.bucket_id: each for each in statement.buckets(connection, account.account_id, 0, expired=True)}
        plans = statement.plans(connection, {line.plan_version_id for line in lines if line.plan_version_id})
        if len(lines) <= limit:
            removed.tell(connection, since, "usage_lines")
    records = [
        {
            **_record(line, account.currency),
            **({"paid_by": _paid_by(line, account.currency, buckets, plans)} if by == "line" else {}),
        }
        for line in lines[:limit]
    ]
    print_records(records, _COLUMNS[by], as_json=as_json, none="nothing used in that time")
    if len(lines) > limit:
        click.echo(f"only the newest {limit}; there are more: --limit", err=True)


def _paid_by(
    line: UsageLine, currency: str, buckets: Mapping[int, BucketLine], plans: Mapping[int, Plan]
) -> list[dict[str, Any]]:
    """What one report drew, from which bucket and why from that one, and what each price line charged."""
    found: list[dict[str, Any]] = []
    for bucket_id, unit, amount in json.loads(line.draws or "[]"):
        bucket = buckets.get(bucket_id)
        name, why = (
            (bucket.name, _why(bucket, currency)) if bucket is not None else ("shortfall", "nothing was left to pay")
        )
        found.append({"bucket_id": bucket_id, "name": name, "unit": unit, "amount": amount, "why": why})
    plan = plans.get(line.plan_version_id or 0)
    rates = () if plan is None else plan.rates
    for index, (units, micros) in read_rated(line.rated or "").items():
        rate = rates[index]
        name = rate.name or f"rate {index + 1}"
        conditions = [f"in {' or '.join(rate.windows)}"] if rate.windows else []
        conditions += [f"where {' or '.join(rate.zones)}"] if rate.zones else []
        why = ", ".join(conditions) or "the first price that fits"
        found.append({"rate": name, "unit": rate.unit, "amount": units, "micros": micros, "why": why})
    for each in found:
        each["currency"] = currency
    return found


def _why(bucket: BucketLine, currency: str) -> str:
    """Why a bucket is drawn before others: its place in the order, and when, where and for whom it holds at all."""
    if bucket.unit == "money" and bucket.source == "top-up":
        return "money, after all else"
    parts = ["a blocker"] if bucket.blocker else []
    parts.append(f"priority {bucket.priority}")
    parts.append("never expires" if bucket.expires_at is None else f"expires {day(iso(bucket.expires_at))}")
    return ", ".join(parts + conditions_of(bucket, currency))


def _payer(paid: dict[str, Any]) -> str:
    amount = "1 session" if paid["unit"] == "session" else amount_text(paid["unit"], paid["amount"], paid["currency"])
    if "rate" in paid:
        return f"{paid['rate']}: {amount} for {amount_text('money', paid['micros'], paid['currency'])} ({paid['why']})"
    return f"{amount} from {paid['name']} ({paid['why']})"


def _record(line: UsageLine, currency: str) -> dict[str, Any]:
    return {
        "day": None if line.day_at is None else (iso(line.day_at) or "")[:10],
        "session_id": line.session_id,
        "line_no": line.line_no,
        "kind": line.kind,
        "first_at": iso(line.first_at),
        "last_at": iso(line.last_at),
        "octets_up": line.octets_up,
        "octets_down": line.octets_down,
        "seconds": line.seconds,
        "free_octets": line.free_octets,
        "amount_micros": line.amount_micros,
        "currency": currency,
        "flags": line.flags,
    }
