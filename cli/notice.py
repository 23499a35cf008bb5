"""`aaa notice`: what subscribers and operators were told."""

from __future__ import annotations

import json
import time
from typing import Any, Final, get_args

import click
from sqlalchemy import Connection

from aaa import registry
from charging import catalogue
from charging.amounts import parse_seconds
from charging.catalogue import CatalogueError
from charging.database import reading
from charging.notices import files, outbox, texts
from charging.notices.kinds import KINDS
from charging.notices.outbox import DeliveryLine, NoticeLine, State
from charging.notices.wording import About
from charging.transaction import run
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.output import Column, Record, day, iso, json_option, print_json, print_record, print_records

DEFAULT_LIMIT: Final = 100
MOST_LISTED: Final = 100_000
#: What a delivery is given anew, where no configuration says otherwise.
GIVE_UP_SECONDS: Final = 86_400
LOOK_SECONDS: Final = 0.2

_COLUMNS: Final = (
    Column("notice", "notice_id"),
    Column("when (UTC)", lambda record: day(record["created_at"])),
    Column("account", "account"),
    Column("about", lambda record: record["username"] or "the account"),
    Column("kind", "kind"),
    Column("what", "detail"),
    Column("waiting", "waiting", right=True),
    Column("sent", "sent", right=True),
    Column("failed", "failed", right=True),
)
_DELIVERY: Final = (
    Column("channel", "channel"),
    Column("to", lambda record: record["username"] or "-"),
    Column("address", "address"),
    Column("state", "state"),
    Column("attempts", "attempts", right=True),
    Column("next / done (UTC)", lambda record: day(record["finished_at"] or record["not_before"])),
    Column("problem", "error"),
)
_KIND: Final = (
    Column("kind", "kind"),
    Column("there is one when", "says"),
    Column("tells", lambda record: "the operator" if record["for_operator"] else "the subscriber"),
    Column("in quiet hours", "urgent"),
    Column("facts", lambda record: list(record["facts"])),
)


@click.group(epilog="Example: aaa notice list --state failed")
def notice() -> None:
    """Notices: what subscribers and operators were told, what waits, and what failed."""


@notice.command("list", epilog="Example: aaa notice list --account smith --json")
@click.option("--account", metavar="A", help="Only this account's.")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Only these.")
@click.option("--state", type=click.Choice(get_args(State)), help="Only those with such a delivery.")
@click.option(
    "--limit", type=click.IntRange(1, MOST_LISTED), default=DEFAULT_LIMIT, show_default=True, help="At most so many."
)
@json_option
@pass_setup
def list_(setup: Setup, account: str | None, kind: str | None, state: State | None, limit: int, as_json: bool) -> None:
    """List notices, the newest first."""
    with reading(setup.engine()) as connection:
        if account is not None:
            catalogue.account_named(connection, account)
        lines = outbox.notices(connection, account_name=account, kind=kind, state=state, limit=limit)
    print_records([_record(line) for line in lines], _COLUMNS, as_json=as_json, none="no notice")


@notice.command(epilog="Example: aaa notice show 7318")
@click.argument("notice_id", type=int)
@click.option("--account", metavar="A", help="Whose, where several accounts have one of that number.")
@json_option
@pass_setup
def show(setup: Setup, notice_id: int, account: str | None, as_json: bool) -> None:
    """Show a notice, its deliveries, and its text."""
    with reading(setup.engine()) as connection:
        line = _numbered(connection, notice_id, account)
        found = outbox.delivery_lines(connection, line.account_id, line.notice_id)
    settings = setup.config.notices
    about = About(line.kind, line.detail, line.account, line.username or line.account, line.currency, line.created_at)
    zone = "UTC" if settings is None else settings.time_zone
    said = files.wording_of(settings).say(about, json.loads(line.facts), line.language, zone)
    records = [_delivery_record(delivery) for delivery in found]
    record = {**_record(line), "subject": said.subject, "text": said.text, "deliveries": records}
    if as_json:
        print_json(record)
        return
    print_record(record, (*_COLUMNS, Column("subject", "subject")), as_json=False)
    click.echo(f"\n{said.text}")
    waits = "not yet routed: is a server with [notices] running?"
    print_records(records, _DELIVERY, as_json=False, none="nobody was told" if line.routed_at is not None else waits)


@notice.command(epilog="Example: aaa notice retry --channel email")
@click.argument("notice_id", type=int, required=False)
@click.option("--channel", metavar="C", help="Only by this channel: email, or a webhook's name.")
@click.option("--all", "everything", is_flag=True, help="All that failed.")
@json_option
@pass_setup
def retry(setup: Setup, notice_id: int | None, channel: str | None, everything: bool, as_json: bool) -> None:
    """Have what failed tried again: of one notice, of one channel, or all."""
    if notice_id is None and channel is None and not everything:
        context = click.get_current_context()
        raise click.UsageError("say what to try again: a NOTICE_ID, --channel C or --all", context)
    at, settings = now(), setup.config.notices
    until = at + (GIVE_UP_SECONDS if settings is None else settings.give_up_seconds) * 1000
    tried = run(setup.engine(), lambda c: outbox.retry(c, at, until, notice_id=notice_id, channel=channel))
    if as_json:
        print_json({"deliveries": tried})
    else:
        click.echo("nothing has failed" if not tried else f"{tried} deliveries are tried again")


@notice.command(epilog="Example: aaa notice test alice")
@click.argument("username")
@click.option("--wait", metavar="TIME", default="15s", show_default=True, help="How long to wait for the outcome.")
@json_option
@pass_setup
def test(setup: Setup, username: str, wait: str, as_json: bool) -> None:
    """Send a subscriber a notice of the kind `test` by every channel that takes it, and show what became of it.

    The running server sends it, as it would any other.
    """
    try:
        seconds = parse_seconds(wait)
    except ValueError as error:
        raise click.BadParameter(str(error), click.get_current_context(), param_hint="'--wait'") from None
    engine = setup.engine()

    def work(connection: Connection) -> tuple[int, int]:
        found = registry.subscriber_named(connection, username)
        return found.account_id, outbox.write(connection, "test", found.account_id, found.subscriber_id, now())

    account_id, notice_id = run(engine, work)
    until = time.monotonic() + seconds
    while True:
        with reading(engine) as connection:
            line = next(
                n for n in outbox.notices(connection, notice_id=notice_id, limit=100) if n.account_id == account_id
            )
            found = outbox.delivery_lines(connection, account_id, notice_id)
        tried = all(d.state != "pending" or d.error is not None for d in found)
        if (line.routed_at is not None and tried) or time.monotonic() >= until:
            break
        time.sleep(LOOK_SECONDS)
    records = [_delivery_record(delivery) for delivery in found]
    if as_json:
        print_json({**_record(line), "deliveries": records})
    elif line.routed_at is not None:
        print_records(
            records, _DELIVERY, as_json=False, none="no channel takes it: aaa subscriber show says how she is reached"
        )
    if line.routed_at is None:
        raise CatalogueError(f"no server took it within {wait}; is one running with [notices] in its configuration?")
    if any(delivery.state != "sent" for delivery in found):
        raise click.exceptions.Exit(1)


@notice.command(epilog="Example: aaa notice kinds")
@json_option
def kinds(as_json: bool) -> None:
    """List the kinds of notices, and the facts that their texts may say."""
    records = [
        {
            "kind": name,
            "says": kind.says,
            "for_operator": kind.for_operator,
            "urgent": kind.urgent,
            "facts": dict(kind.facts),
        }
        for name, kind in KINDS.items()
    ]
    print_records(records, _KIND, as_json=as_json, none="")


@notice.command(epilog="Example: aaa notice template threshold --language de > threshold.txt")
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option(
    "--language", metavar="L", help=f"One of yours, or {', '.join(texts.SHIPPED)}; without it the configured one."
)
@pass_setup
def template(setup: Setup, kind: str, language: str | None) -> None:
    """Print the template of a kind: what to begin your own with."""
    found = files.wording_of(setup.config.notices).template(kind, language)
    assert found is not None, kind
    click.echo(found, nl=False)


def _numbered(connection: Connection, notice_id: int, account: str | None) -> NoticeLine:
    found = outbox.notices(connection, notice_id=notice_id, account_name=account, limit=20)
    if not found:
        raise CatalogueError(f"there is no notice {notice_id}; see: aaa notice list")
    if len(found) > 1:
        names = ", ".join(line.account for line in found)
        raise CatalogueError(f"several accounts have a notice {notice_id}: {names}; add --account A")
    return found[0]


def _record(line: NoticeLine) -> dict[str, Any]:
    return {
        "notice_id": line.notice_id,
        "account": line.account,
        "username": line.username,
        "kind": line.kind,
        "detail": line.detail,
        "facts": json.loads(line.facts),
        "session_id": line.session_id,
        "bucket_id": line.bucket_id,
        "created_at": iso(line.created_at),
        "routed_at": iso(line.routed_at),
        "waiting": line.waiting,
        "sent": line.sent,
        "failed": line.failed,
    }


def _delivery_record(line: DeliveryLine) -> Record:
    return {
        "channel": line.channel,
        "username": line.username,
        "address": line.address,
        "state": line.state,
        "attempts": line.attempts,
        "error": line.error,
        "not_before": iso(line.not_before),
        "give_up_at": iso(line.give_up_at),
        "finished_at": iso(line.finished_at),
    }
