"""`aaa explain --at`: an account as it was."""

from __future__ import annotations

from typing import Any, Final

import click

from charging.catalogue import AccountLine
from charging.plan import Instant
from charging.retrospect import BucketThen, Event, SessionThen, Then
from cli.amounts import amount_text
from cli.output import Column, Record, day, iso, print_json, print_records, printable


def _octets(key: str) -> Any:
    return lambda record: amount_text("octets", record[key], "")


_BUCKETS: Final = (
    Column("bucket", "name"),
    Column("from", "source"),
    Column("balance", lambda r: amount_text(r["unit"], r["balance"], r["currency"]), right=True),
    Column("ends (UTC)", lambda record: day(record["expires_at"])),
)
_SESSIONS: Final = (
    Column("session", "session_id"),
    Column("user name", "username"),
    Column("NAS", "nas"),
    Column("plan", "plan"),
    Column("since (UTC)", lambda record: day(record["created_at"])),
    Column("up", _octets("octets_up"), right=True),
    Column("down", _octets("octets_down"), right=True),
    Column("last booked (UTC)", lambda record: day(record["last_report_at"])),
    Column("its NAS was told", lambda record: record["told"] or "nothing since the login"),
    Column("and said", "answer"),
)
_EVENTS: Final = (
    Column("when (UTC)", lambda record: record["at"][:19].replace("T", " ")),
    Column("what", "what"),
    Column("session", "session_id"),
    Column("words", "words"),
)


def show(found: AccountLine, at: Instant, made: Then, *, as_json: bool) -> None:
    """Print it."""
    buckets = [_bucket(each, found.currency) for each in made.buckets]
    sessions = [_session(each) for each in made.sessions]
    before, after = ([_event(each) for each in events] for events in (made.before, made.after))
    if as_json:
        print_json(
            {
                "account": found.name, "currency": found.currency, "at": iso(at), "buckets": buckets,
                "sessions": sessions, "before": before, "after": after,
            }
        )  # fmt: skip
        return
    click.echo(printable(f"Account {found.name} at {iso(at)}, as its ledger and its reports tell."))
    click.echo("\nWhat it had:\n")
    print_records(buckets, _BUCKETS, as_json=False, none="nothing")
    click.echo("\nWho was on line:\n")
    print_records(sessions, _SESSIONS, as_json=False, none="nobody")
    click.echo("\nWhat had just happened:\n")
    print_records(before, _EVENTS, as_json=False, none="nothing")
    click.echo("\nWhat came next:\n")
    print_records(after, _EVENTS, as_json=False, none="nothing")


def _bucket(each: BucketThen, currency: str) -> Record:
    return {**each._asdict(), "expires_at": iso(each.expires_at), "currency": currency}


def _session(each: SessionThen) -> Record:
    return {**each._asdict(), "created_at": iso(each.created_at), "last_report_at": iso(each.last_report_at)}


def _event(each: Event) -> Record:
    return {**each._asdict(), "at": iso(each.at)}
