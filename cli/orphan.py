"""`aaa orphan`: reports of nobody's session."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click
from sqlalchemy import Connection

from aaa import registry, wire
from aaa.accounting import report_of
from aaa.directory import metered
from aaa.nas import Nas
from aaa.registry import RegistryError
from aaa.wire import Code, Malformed
from charging import catalogue, history_rows, orphans
from charging.catalogue import AccountLine
from charging.database import reading
from charging.orphans import OrphanReport, Owner
from charging.plan import Instant
from charging.session import Report
from charging.transaction import run
from cli.amounts import Moment, amount_text
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.output import Column, day, iso, json_option, print_records

#: What one command looks at.
MOST_REPORTS: Final = 100_000
_CODES: Final = frozenset({Code.ACCOUNTING_REQUEST})


def _amount(unit: str, key: str) -> Any:
    return lambda record: amount_text(unit, record[key], record.get("currency") or "")


_WHOSE: Final = (
    Column("user name", "username"),
    Column("NAS", "nas"),
    Column("Acct-Session-Id", "acct_session_id"),
    Column("reports", "reports", right=True),
    Column("up", _amount("octets", "octets_up"), right=True),
    Column("down", _amount("octets", "octets_down"), right=True),
    Column("time", _amount("seconds", "seconds"), right=True),
)
_LIST: Final = (
    *_WHOSE,
    Column("last came (UTC)", lambda record: day(record["last_at"])),
    Column("why", "reason"),
)
_CHARGED: Final = (
    *_WHOSE,
    Column("charged", _amount("money", "amount_micros"), right=True),
    Column("session", "session_id"),
)


@dataclass(slots=True)
class _Session:
    """The reports of one session, in the order in which they were true."""

    nas: Nas
    rows: list[OrphanReport]
    reports: list[Report]

    @property
    def digests(self) -> list[str]:
        return [row.digest for row in self.rows]


@click.group(epilog="Example: aaa orphan list")
def orphan() -> None:
    """Reports of nobody's session: look at them, charge them, forget them."""


@orphan.command("list", epilog="Example: aaa orphan list --user alice")
@click.option("--user", "username", metavar="USERNAME", help="Only of this user name.")
@click.option("--nas", "nas_name", metavar="NAME", help="Only of this NAS.")
@json_option
@pass_setup
def list_(setup: Setup, username: str | None, nas_name: str | None, as_json: bool) -> None:
    """List the sessions that were reported, and whose login is not known: nobody was charged for them.

    It is so where the user name is nobody's, where the NAS let somebody in without asking, and where somebody was let in
    from memory while the database was away (`cached_accepts`).
    """
    sessions = _sessions(setup, username, nas_name)
    print_records([_record(each) for each in sessions], _LIST, as_json=as_json, none="no orphans")


@orphan.command(epilog="Example: aaa orphan charge alice --session 81A00003")
@click.argument("username")
@click.option("--session", "acct_session_id", metavar="ID", help="Only what has this Acct-Session-Id.")
@click.option("--nas", "nas_name", metavar="NAME", help="Only of this NAS.")
@json_option
@pass_setup
def charge(setup: Setup, username: str, acct_session_id: str | None, nas_name: str | None, as_json: bool) -> None:
    """Charge a subscriber's orphans, by the plan that he has now: each session as if it had been let in.

    They become sessions that have ended, so no NAS is told anything. What is not there to pay for them becomes shortfall.
    Where a NAS used one Acct-Session-Id again, each Start to Stop is a session of its own. Reports that come later can be
    charged too: it goes on from there.
    """
    at = now()
    sessions = [
        each
        for each in _sessions(setup, username, nas_name)
        if acct_session_id is None or _shown(each.rows[0].acct_session_id) == acct_session_id
    ]

    def work(connection: Connection) -> list[dict[str, Any]]:
        found = registry.subscriber_named(connection, username)
        account = catalogue.account_named(connection, found.account_name)
        owner = Owner(*history_rows.owners(connection, [username])[username])
        return [_charged(connection, each, owner, account, at) for each in sessions]

    records = run(setup.engine(), work)
    print_records(records, _CHARGED, as_json=as_json, none=f"no orphans of {username!r} to charge")


@orphan.command(epilog="Example: aaa orphan forget --before 2026-03-01")
@click.option("--user", "username", metavar="USERNAME", help="Only of this user name.")
@click.option("--before", metavar="DAY", type=Moment(), required=True, help="What came before this day (UTC).")
@pass_setup
def forget(setup: Setup, username: str | None, before: Instant) -> None:
    """Delete orphans that nobody will be charged for."""

    def work(connection: Connection) -> int:
        rows = orphans.waiting(connection, username=username, limit=MOST_REPORTS)
        old = [row.digest for row in rows if row.received_at < before]
        orphans.forget(connection, old)
        return len(old)

    click.echo(f"{run(setup.engine(), work)} reports deleted")


def _charged(connection: Connection, each: _Session, owner: Owner, account: AccountLine, at: Instant) -> dict[str, Any]:
    session_id, recorded = orphans.adopt(connection, owner, each.nas.nas_group, each.reports, each.digests, at)
    return {
        **_record(each),
        "octets_up": sum(outcome.used.up for outcome in recorded),
        "octets_down": sum(outcome.used.down for outcome in recorded),
        "seconds": sum(outcome.used.seconds for outcome in recorded),
        "session_id": session_id,
        "amount_micros": sum(outcome.micros for outcome in recorded),
        "currency": account.currency,
    }


def _sessions(setup: Setup, username: str | None, nas_name: str | None) -> list[_Session]:
    """The sessions behind the orphans; what can not be read any more is left out."""
    with reading(setup.engine()) as connection:
        nases = metered(connection)
        nas_id = None if nas_name is None else registry.nas_named(connection, nas_name).nas_id
        rows = orphans.waiting(connection, username=username, nas_id=nas_id, limit=MOST_REPORTS + 1)
    if len(rows) > MOST_REPORTS:
        raise RegistryError(f"more than {MOST_REPORTS} reports; choose by --user or --nas, or: aaa orphan forget")
    found: dict[str, list[tuple[OrphanReport, Report]]] = {}
    of: dict[str, Nas] = {}
    for row, nas, report in _read(rows, nases):
        found.setdefault(report.session_key, []).append((row, report))
        of[report.session_key] = nas
    return [
        _Session(of[key], [row for row, _ in run], [report for _, report in run])
        for key, pairs in found.items()
        for run in orphans.runs(pairs)
    ]


def _read(rows: Iterable[OrphanReport], nases: Mapping[int, Nas]) -> Iterator[tuple[OrphanReport, Nas, Report]]:
    for row in rows:
        nas = nases.get(row.nas_id)
        if nas is None:
            continue
        try:
            report = report_of(wire.parse(row.packet, _CODES), nas, row.nas_address, row.received_at, ())
        except Malformed:
            continue
        if isinstance(report, Report) and report.kind != "other":
            # By the name that it was kept under; a token of no session would lead nowhere.
            yield row, nas, report._replace(username=row.username, token=None)


def _record(each: _Session) -> dict[str, Any]:
    first = each.rows[0]
    return {
        "username": first.username,
        "nas": each.nas.name,
        "nas_address": first.nas_address,
        "acct_session_id": _shown(first.acct_session_id),
        "reason": first.reason,
        "reports": len(each.rows),
        "first_at": iso(min(row.received_at for row in each.rows)),
        "last_at": iso(max(row.received_at for row in each.rows)),
        "octets_up": _total(each.reports, "octets_up"),
        "octets_down": _total(each.reports, "octets_down"),
        "seconds": max((report.seconds or 0 for report in each.reports), default=0),
        "ended": any(report.kind == "stop" for report in each.reports),
    }


def _total(reports: Sequence[Report], name: str) -> int:
    counts = [getattr(report, name) or 0 for report in reports]
    return sum(counts) if reports[0].delta else max(counts)


def _shown(acct_session_id: bytes | None) -> str:
    return (acct_session_id or b"").decode("utf-8", "backslashreplace")
