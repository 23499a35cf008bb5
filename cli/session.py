"""`aaa session`: who is on line."""

from __future__ import annotations

from typing import Any, Final

import click

from aaa import registry
from charging import catalogue, statement
from charging.catalogue import CatalogueError
from charging.database import reading
from charging.settle import Cut, Done
from charging.statement import ChargeLine, CommandLine, SessionLine
from charging.transaction import run, settle_in
from cli.amounts import amount_text
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.output import Column, Record, day, iso, json_option, print_json, print_record, print_records

DEFAULT_LIMIT: Final = 1000


def _octets(key: str) -> Any:
    return lambda record: amount_text("octets", record[key], "")


def _money(record: Record) -> str:
    return amount_text("money", record["amount_micros"], record["currency"])


_COLUMNS: Final = (
    Column("session", "session_id"),
    Column("user name", "username"),
    Column("account", "account"),
    Column("NAS", "nas"),
    Column("state", "state"),
    Column("began (UTC)", lambda record: day(record["started_at"] or record["created_at"])),
    Column("up", _octets("octets_up"), right=True),
    Column("down", _octets("octets_down"), right=True),
    Column("time", lambda record: amount_text("seconds", record["seconds"], ""), right=True),
    Column("charged", _money, right=True),
    Column("service", "service"),
)
_DETAILS: Final = (
    *_COLUMNS,
    Column("plan", lambda record: f"{record['plan']}, version {record['plan_version']}"),
    Column("NAS address", "nas_address"),
    Column("port", "nas_port_id"),
    Column("calling station", "calling_station"),
    Column("address", "framed_address"),
    Column("Acct-Session-Id", "acct_session_id"),
    Column("last report (UTC)", lambda record: day(record["last_report_at"])),
    Column("ended (UTC)", lambda record: day(record["closed_at"])),
    Column("why it ended", "close_reason"),
    Column("leaked", _octets("leaked_octets")),
    Column("drawn", lambda record: [_charge_text(each, record["currency"]) for each in record["charges"]]),
    Column("told to the NAS", lambda record: [_command_text(each) for each in record["commands"]]),
)


@click.group(epilog="Example: aaa session list")
def session() -> None:
    """Sessions: who is on line; disconnect."""


@session.command("list", epilog="Example: aaa session list --account smith --all")
@click.option("--account", metavar="NAME", help="Only of this account.")
@click.option("--subscriber", metavar="USERNAME", help="Only of this subscriber.")
@click.option("--nas", metavar="NAME", help="Only on this NAS.")
@click.option("--all", "closed", is_flag=True, help="Sessions that have ended, too.")
@click.option("--limit", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True, help="At most so many.")
@json_option
@pass_setup
def list_(
    setup: Setup, account: str | None, subscriber: str | None, nas: str | None, closed: bool, limit: int, as_json: bool
) -> None:
    """List live sessions, the newest first."""
    with reading(setup.engine()) as connection:
        account_id = None if account is None else catalogue.account_named(connection, account).account_id
        if subscriber is not None:
            registry.subscriber_named(connection, subscriber)
        if nas is not None:
            registry.nas_named(connection, nas)
        lines = statement.sessions(
            connection, account_id=account_id, username=subscriber, nas_name=nas, closed=closed, limit=limit + 1
        )
    none = "no session" if closed else "no live session; those that have ended: --all"
    print_records([record_of(line) for line in lines[:limit]], _COLUMNS, as_json=as_json, none=none)
    if len(lines) > limit:
        click.echo(f"only the newest {limit}; there are more: --limit", err=True)


@session.command(epilog="Example: aaa session show 153834160655018217")
@click.argument("session_id", type=click.IntRange(min=1), metavar="ID")
@json_option
@pass_setup
def show(setup: Setup, session_id: int, as_json: bool) -> None:
    """Show one session: what it used and drew, and what its NAS was told."""
    with reading(setup.engine()) as connection:
        line = statement.session_numbered(connection, session_id)
        if line is None:
            raise CatalogueError(_no_session(session_id))
        charges = statement.charges(connection, line.account_id, session_id)
        commands = statement.commands(connection, line.account_id, session_id)
    record = {
        **record_of(line),
        "charges": [charge_record(each) for each in charges],
        "commands": [command_record(each) for each in commands],
    }
    print_record(record, _DETAILS, as_json=as_json)


@session.command(epilog="Example: aaa session disconnect 153834160655018217")
@click.argument("session_id", type=click.IntRange(min=1), metavar="ID")
@json_option
@pass_setup
def disconnect(setup: Setup, session_id: int, as_json: bool) -> None:
    """Disconnect a live session.

    The command is written down here; a running server sends it to the NAS and repeats it until the session ends.
    """
    at = now()
    engine = setup.engine()
    with reading(engine) as connection:
        line = statement.session_numbered(connection, session_id)
    if line is None:
        raise CatalogueError(_no_session(session_id))
    cut = Cut(line.account_id, None, session_id, "operator")
    (outcome,) = run(engine, lambda connection: settle_in(connection, [cut], at)).outcomes
    assert isinstance(outcome, Done)
    if not outcome.sessions:
        raise CatalogueError(f"session {session_id} of {line.username} has ended already ({line.close_reason})")
    if as_json:
        print_json({"session_id": session_id, "username": line.username, "nas": line.nas, "disconnecting": True})
    else:
        click.echo(f"disconnecting {line.username} on {line.nas}; see: aaa session show {session_id}")


def _no_session(session_id: int) -> str:
    return f"there is no session {session_id}; see: aaa session list --all"


def record_of(line: SessionLine) -> dict[str, Any]:
    """A session as printed."""
    return {
        "session_id": line.session_id,
        "account": line.account,
        "currency": line.currency,
        "username": line.username,
        "plan": line.plan,
        "plan_version": line.plan_version,
        "nas": line.nas,
        "nas_address": line.nas_address,
        "nas_port_id": line.nas_port_id,
        "calling_station": line.calling_station,
        "framed_address": line.framed_address,
        "acct_session_id": None
        if line.acct_session_id is None
        else line.acct_session_id.decode("utf-8", "backslashreplace"),
        "state": line.state,
        "created_at": iso(line.created_at),
        "started_at": iso(line.started_at),
        "last_report_at": iso(line.last_report_at),
        "closed_at": iso(line.closed_at),
        "close_reason": line.close_reason,
        "interval_seconds": line.interval_seconds,
        "octets_up": line.octets_up,
        "octets_down": line.octets_down,
        "seconds": line.seconds,
        "amount_micros": line.amount_micros,
        "leaked_octets": line.leaked_octets,
        "wanted": line.wanted,
        "profile": line.profile or None,
        "cap": line.cap if line.wanted != "full" and line.cap else None,
        "wanted_version": line.wanted_version,
        "acked_version": line.acked_version,
        "acked_at": iso(line.acked_at),
        "service": service_text(line),
    }


def service_text(line: SessionLine) -> str:
    """What the NAS should apply to a session, and whether it has said that it does."""
    if line.state == "closed":
        return "-"
    wanted = {"full": "full", "exhausted": "exhausted", "cut": "disconnect"}[line.wanted]
    if line.wanted == "full" and line.profile:
        wanted += f", profile {line.profile}"
    elif line.wanted != "full" and line.cap:
        wanted += f", cap {line.cap}"
    return wanted if line.acked_version >= line.wanted_version else f"{wanted}, not yet acknowledged"


def charge_record(charge: ChargeLine) -> dict[str, Any]:
    """A charge as printed; amounts in its unit."""
    return {**charge._asdict(), "held_until": iso(charge.held_until or None)}


def command_record(command: CommandLine) -> dict[str, Any]:
    """A command as printed."""
    instants = {name: iso(getattr(command, name)) for name in ("not_before", "created_at", "sent_at", "finished_at")}
    return {**command._asdict(), **instants}


def _charge_text(charge: Record, currency: str) -> str:
    name = charge["bucket"] or ("shortfall" if charge["bucket_id"] == 0 else f"#{charge['bucket_id']}")
    held = f", {amount_text(charge['unit'], charge['held'], currency)} held" if charge["held"] else ""
    return f"{amount_text(charge['unit'], charge['accrued'], currency)} from {name}{held}"


def _command_text(command: Record) -> str:
    answers = command["answers"].split() or ([command["answer"]] if command["answer"] else [])
    said = f" ({', '.join(answers)})" if answers else ""
    sent = f", {command['packets']} packets from {day(command['sent_at'])}" if command["packets"] else ""
    ended = f", finished {day(command['finished_at'])}" if command["finished_at"] else ""
    return (
        f"{day(command['created_at'])} {command['action']}, {command['reason']}: {command['state']}{said}{sent}{ended}"
    )
