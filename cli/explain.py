"""`aaa explain`: why an account is in the state it is in."""

from __future__ import annotations

from typing import Any, Final

import click

from aaa import registry
from aaa.standing import CLASS_OF, least_of
from charging import bound, catalogue, retrospect, statement
from charging.amounts import format_octets, format_rate, format_seconds
from charging.bound import Bound, Term
from charging.catalogue import AccountLine
from charging.database import reading
from charging.money import format_money
from charging.plan import Instant
from charging.slices import COMMAND_SECONDS, REPORT_DELAY_SECONDS
from charging.statement import SessionLine
from cli import balance, past, removed
from cli.amounts import Moment, amount_text
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.output import Column, Record, json_option, print_json, print_records, printable
from cli.session import charge_record, command_record, record_of
from cli.subscriber import period_record

MOST_SESSIONS: Final = 1000

_HOLDS: Final = (
    Column("session", "session_id"),
    Column("user name", "username"),
    Column("NAS", "nas"),
    Column("holds", lambda record: record["holds"] or "nothing"),
    Column("should get", "service"),
    Column("version told / acknowledged", lambda record: f"{record['wanted_version']} / {record['acked_version']}"),
    Column("waiting for the NAS", lambda record: record["pending"] or "nothing"),
)
_PERIODS: Final = (
    Column("user name", "username"),
    Column("plan", "plan"),
    Column("state", "period_state"),
    Column("number", "period_number", right=True),
    Column("ends (UTC)", lambda record: record["period_ends_at"][:16]),
    Column("next plan", "next_plan"),
)
_TERMS: Final = (
    Column("sessions", "of"),
    Column("R", "rate"),
    Column("class", "class"),
    Column("I + L + D", "span"),
    Column(
        "octets", lambda record: "no bound" if record["octets"] is None else format_octets(record["octets"]), right=True
    ),
    Column(
        "time",
        lambda record: "no bound" if record["seconds"] is None else format_seconds(record["seconds"]),
        right=True,
    ),
    Column("at the plan's rates", "worth", right=True),
)


@click.command(epilog="Example: aaa explain smith --at '2026-03-01 21:14'")
@click.argument("account")
@click.option(
    "--at", "moment", metavar="WHEN", type=Moment(), help="As it was then (UTC), and what happened around it."
)
@json_option
@pass_setup
def explain(setup: Setup, account: str, moment: Instant | None, as_json: bool) -> None:
    """Explain an account: its buckets, what live sessions hold, what NASes were told, and the overspend bound.

    The bound is what the account can fall below its limit at most: for each session that is live or may still be opened,
    the line's rate R for the reporting interval I, the report's delay L and the time D of a command with its retries, as
    often as a NAS of its class makes necessary that acknowledges a new speed and does not apply it.
    """
    at = now()
    if moment is not None:
        if moment > at:
            raise catalogue.CatalogueError("--at: that is yet to come; write a time that has been")
        with reading(setup.engine()) as connection:
            found = catalogue.account_named(connection, account)
            past.show(found, moment, retrospect.then(connection, found.account_id, moment), as_json=as_json)
            removed.tell(connection, moment, "usage_lines", "closed_sessions", "commands", "notices")
        return
    with reading(setup.engine()) as connection:
        found = catalogue.account_named(connection, account)
        buckets = statement.buckets(connection, found.account_id, at)
        live = statement.sessions(connection, account_id=found.account_id, limit=MOST_SESSIONS)
        charges = statement.charges(connection, found.account_id)
        commands = {s.session_id: statement.commands(connection, found.account_id, s.session_id) for s in live}
        worst = least_of([line.standing.means for line in registry.all_nases(connection, at)])
        limit = bound.bound(statement.lines_of_bound(connection, found.account_id, worst))
        periods = [
            {"username": line.username, "plan": line.plan_name, **period_record(line)}
            for line in registry.subscribers(connection, account_name=found.name, limit=MOST_SESSIONS)
            if line.period is not None
        ]
    bucket_records = [balance.record_of(line, found) for line in buckets]
    session_records = [
        {
            **record_of(line),
            "charges": [charge_record(c) for c in charges if c.session_id == line.session_id],
            "commands": [command_record(c) for c in commands[line.session_id]],
        }
        for line in live
    ]
    terms = [_term_record(term, found.currency) for term in limit.terms]
    if as_json:
        print_json(
            {
                "account": found.name,
                "kind": found.kind,
                "status": found.status,
                "currency": found.currency,
                "balance_micros": int(found.balance_micros),
                "credit_limit_micros": found.credit_limit_micros,
                "periods": periods,
                "buckets": bucket_records,
                "sessions": session_records,
                "bound": {
                    "octets": limit.octets,
                    "seconds": limit.seconds,
                    "micros": limit.micros,
                    "report_delay_seconds": REPORT_DELAY_SECONDS,
                    "command_seconds": COMMAND_SECONDS,
                    "terms": terms,
                },
            }
        )
        return
    click.echo(_standing(found))
    if periods:
        click.echo("\nPeriods; only one that is active or in its grace is served:\n")
        print_records(periods, _PERIODS, as_json=False, none="")
    click.echo("\nBuckets, in the order in which they are drawn:\n")
    print_records(bucket_records, balance.columns_for(bucket_records), as_json=False, none="none")
    click.echo(f"\n{_sessions_sentence(live)}")
    if live:
        click.echo("")
        print_records([_holds(r, found.currency) for r in session_records], _HOLDS, as_json=False, none="")
    click.echo(f"\n{_bound_sentence(limit, found.currency)}")
    if terms:
        click.echo("")
        print_records(terms, _TERMS, as_json=False, none="")
        click.echo(
            f"\nR: what the line carries. I: the reporting interval. L: {REPORT_DELAY_SECONDS}s for a report to arrive. "
            f"D: {COMMAND_SECONDS}s for a command with all its retries. Class A: its NAS stops it at the octet. B: what it "
            "was told, and the same again until its report has shown that it is not so. C: it is ended. D: it ends by itself."
        )


def _standing(found: AccountLine) -> str:
    state = "" if found.status == "active" else "; it is suspended: no new sessions"
    credit = ""
    if found.credit_limit_micros:
        credit = f" and may go {format_money(found.credit_limit_micros, found.currency)} below zero"
    money = format_money(int(found.balance_micros), found.currency)
    return printable(f"Account {found.name} is {found.kind}, has {money}{credit}{state}.")


def _sessions_sentence(live: list[SessionLine]) -> str:
    if not live:
        return "No session is live."
    count = "One session is live" if len(live) == 1 else f"{len(live)} sessions are live"
    behind = sum(1 for line in live if line.acked_version < line.wanted_version)
    if not behind:
        return f"{count}; the NAS applies what it should."
    what = "one of them" if behind == 1 and len(live) > 1 else "its NAS" if len(live) == 1 else f"{behind} of them"
    return f"{count}; {what} has not yet acknowledged what it was told."


def _holds(record: Record, currency: str) -> Record:
    held = [
        f"{amount_text(c['unit'], c['held'], currency)} of {c['bucket'] or '#' + str(c['bucket_id'])}"
        for c in record["charges"]
        if c["held"]
    ]
    pending = [f"{c['action']} ({c['reason']})" for c in record["commands"] if c["state"] == "pending"]
    return {**record, "holds": held, "pending": pending}


def _term_record(term: Term, currency: str) -> dict[str, Any]:
    line = term.line
    if line.session_id is not None:
        of = f"{line.username}, live"
    else:
        count = "any number" if line.sessions is None else str(line.sessions)
        of = f"{line.username}, {count} more may begin"
    known = term.up_octets_per_second is not None and term.down_octets_per_second is not None
    rate = (term.up_octets_per_second or 0) + (term.down_octets_per_second or 0)
    return {
        "of": of,
        "username": line.username,
        "plan": line.plan.name,
        "session_id": line.session_id,
        "sessions": line.sessions,
        "octets_per_second_up": term.up_octets_per_second,
        "octets_per_second_down": term.down_octets_per_second,
        "rate": format_rate(rate * 8) if known else "unknown",
        "interval_seconds": line.interval_seconds,
        "means": line.means,
        "class": CLASS_OF[line.means],
        "spans": term.spans,
        "unsaid_seconds": term.unsaid_seconds,
        "span": _span(term),
        "octets": term.octets,
        "seconds": term.charged_seconds,
        "micros": term.micros,
        "worth": "no bound" if term.micros is None else format_money(term.micros, currency),
        "no_bound_because": term.why_none or None,
    }


def _span(term: Term) -> str:
    """For how long R can run past the end."""
    if term.unsaid_seconds:
        return f"{term.unsaid_seconds} s"
    if not term.spans:
        return "0 s"
    once = f"{term.line.interval_seconds} + {REPORT_DELAY_SECONDS} + {COMMAND_SECONDS}"
    return f"{once} s" if term.spans == 1 else f"{term.spans} x ({once}) s"


def _bound_sentence(limit: Bound, currency: str) -> str:
    reasons = sorted({term.why_none for term in limit.terms if term.why_none})
    if reasons:
        return printable(f"No bound: {'; '.join(reasons)}.")
    parts = []
    if limit.octets:
        parts.append(format_octets(limit.octets))
    if limit.seconds:
        parts.append(format_seconds(limit.seconds))
    if not parts:
        return "Nothing can be overspent: no session that is live or may begin is charged."
    worth = f", {format_money(limit.micros, currency)} at the plans' rates" if limit.micros else ""
    return f"At most {' and '.join(parts)} can be used past the end of the money{worth}:"
