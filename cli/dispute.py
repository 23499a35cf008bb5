"""`aaa dispute`: all that is known of a subscriber in a time, for who doubts a bill."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from typing import Any, Final

import click

from aaa import registry
from charging import catalogue
from charging.catalogue import CatalogueError
from charging.database import reading
from charging.dispute import Bundle, ReportLine, TooMuch, bundle, seal
from charging.ledger import Transfer
from charging.plan import Instant
from cli import removed
from cli.amounts import Moment, amount_text
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.output import Record, for_spreadsheet, iso, print_json, printable
from cli.session import command_record, record_of

_CSV: Final = (
    "at", "what", "session_id", "reference", "octets_up", "octets_down", "seconds", "unit", "amount", "detail", "hash",
)  # fmt: skip


@click.command(
    "dispute", epilog="Example: aaa dispute alice --from 2026-03-01 --to 2026-03-31 --format json > alice.json"
)
@click.argument("subscriber")
@click.option("--from", "since", metavar="DAY", type=Moment(), required=True, help="From this day (UTC) on.")
@click.option(
    "--to", "until", metavar="DAY", type=Moment(ends=True), required=True, help="To the end of this day (UTC)."
)
@click.option(
    "--format", "shape", type=click.Choice(["text", "json", "csv"]), default="text", show_default=True, help="How."
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@pass_setup
def dispute(setup: Setup, subscriber: str, since: Instant, until: Instant, shape: str, as_json: bool) -> None:
    """Show what happened to a subscriber in a time: the reports of NASes, what each was charged and by which price lines, the
    buckets drawn, the ledger's transfers, what NASes were told, the notices, and what was decided about each packet that the
    history of `aaa trace` has kept.

    Every record carries the hash of itself and of the one before it, and the end shows which of the parts' sums agree. A
    report that added nothing (a duplicate, a retransmission) has left no line. Exit code 1 where a check does not hold.
    """
    if until <= since:
        raise CatalogueError("--to is before --from; there is no such time")
    at = now()
    with reading(setup.engine()) as connection:
        found = registry.subscriber_named(connection, subscriber)
        account = catalogue.account_named(connection, found.account_name)
        try:
            made = bundle(connection, account.account_id, found.subscriber_id, found.username, since, until)
        except TooMuch as error:
            raise CatalogueError(str(error)) from None
        not_kept = removed.words(connection, since, "usage_lines", "closed_sessions", "commands", "notices", "orphans")
    head = {
        "subscriber": found.username,
        "account": account.name,
        "currency": account.currency,
        "from": iso(since),
        "to": iso(until),
        "made_at": iso(at),
    }
    records = list(_sealed(head, made))
    checks = [check._asdict() for check in made.checks]
    checks += [{"name": "retention", "holds": True, "words": f"not complete: {sentence}"} for sentence in not_kept]
    if shape == "json" or as_json:
        print_json({**head, "records": records, "checks": checks, "hash": records[-1]["hash"]})
    elif shape == "csv":
        _print_csv(records)
    else:
        _print_text(head, records, checks)
    if not all(check.holds for check in made.checks):
        raise click.exceptions.Exit(1)


def _sealed(head: Record, made: Bundle) -> Iterator[dict[str, Any]]:
    """All records in the order of time, each with the chain's hash. The chain begins with the head, after nothing."""
    previous = ""
    first = {"what": "bundle", "at": head["made_at"], **head}
    for record in (first, *sorted(_records(made), key=lambda each: (each["at"], _ORDER[each["what"]]))):
        previous = seal(previous, record)
        yield {**record, "hash": previous}


_ORDER: Final = {what: place for place, what in enumerate(
    ("packet", "session", "report", "orphan", "transfer", "command", "notice")
)}  # fmt: skip


def _records(made: Bundle) -> Iterator[dict[str, Any]]:
    for packet in made.packets:
        yield {
            "what": "packet", "at": iso(packet.received_at), "node": packet.node, "nas": packet.nas, "kind": packet.kind,
            "result": packet.result, "microseconds": packet.microseconds,
            "steps": [{"microseconds": at, "words": words} for at, words in packet.steps],
        }  # fmt: skip
    for line in made.sessions:
        yield {"what": "session", "at": iso(line.created_at), **record_of(line)}
    for report in made.reports:
        yield _report(report)
    for orphan in made.orphans:
        yield {
            "what": "orphan", "at": iso(orphan.received_at), "packet_sha256": orphan.digest,
            "nas_address": orphan.nas_address, "reason": orphan.reason, "packet_octets": orphan.octets,
            "session_id": orphan.session_id,
        }  # fmt: skip
    for each in made.transfers:
        yield _transfer(each)
    for sent in made.commands:
        yield {"what": "command", "at": iso(sent.created_at), "session_id": sent.session_id, **command_record(sent)}
    for notice in made.notices:
        deliveries = [
            {"channel": channel, "state": state, "address": address, "finished_at": iso(finished_at)}
            for channel, state, address, finished_at in notice.deliveries
        ]
        yield {
            "what": "notice", "at": iso(notice.created_at), "session_id": notice.session_id,
            "notice_id": notice.notice_id, "kind": notice.kind, "detail": notice.detail, "deliveries": deliveries,
        }  # fmt: skip


def _report(line: ReportLine) -> dict[str, Any]:
    fields = line._asdict() | {
        "event_at": iso(line.event_at),
        "recorded_at": iso(line.recorded_at),
        "draws": [draw._asdict() for draw in line.draws],
        "prices": [price._asdict() for price in line.prices],
    }
    return {"what": "report", "at": iso(line.event_at), **fields}


def _transfer(each: Transfer) -> dict[str, Any]:
    fields = each._asdict()
    fields["ledger_hash"] = fields.pop("hash")
    times = {"effective_at": iso(each.effective_at), "recorded_at": iso(each.recorded_at)}
    return {"what": "transfer", "at": iso(each.recorded_at), **fields, **times}


# --- for people, and for spreadsheets ------------------------------------------------------------------------------


def _print_text(head: Record, records: list[dict[str, Any]], checks: list[dict[str, Any]]) -> None:
    click.echo(
        printable(f"Subscriber {head['subscriber']}, account {head['account']}, {head['from']} to {head['to']} (UTC)")
    )
    for record in records[1:]:
        when = record["at"][:19].replace("T", " ")
        click.echo(
            printable(f"{when}  {record['what']:<8}  {_words(record, head['currency'])}  #{record['hash'][:12]}")
        )
    click.echo("")
    for check in checks:
        click.echo(printable(f"{'holds' if check['holds'] else 'BROKEN'}: {check['words']}"))
    click.echo(f"SHA-256 of the whole: {records[-1]['hash']}")


def _words(record: Record, currency: str) -> str:
    match record["what"]:
        case "session":
            ended = f", ended {record['closed_at']} ({record['close_reason']})" if record["closed_at"] else ", live"
            return f"{record['session_id']} at {record['nas']}, plan {record['plan']} {record['plan_version']}{ended}"
        case "report":
            octets = (
                record["octets_up_to"] - record["octets_up_from"],
                record["octets_down_to"] - record["octets_down_from"],
            )
            used = (
                f"up {amount_text('octets', octets[0], '')}, down {amount_text('octets', octets[1], '')}, "
                f"{amount_text('seconds', record['seconds_to'] - record['seconds_from'], '')}"
            )
            prices = [f"{p['name']} {amount_text('money', p['micros'], currency)}" for p in record["prices"]]
            draws = [
                f"{amount_text(d['unit'], d['amount'], currency)} of {d['bucket'] or 'nothing: shortfall'}"
                for d in record["draws"]
            ]
            flags = f" [{record['flags']}]" if record["flags"] else ""
            return f"{record['session_id']} {record['kind']}: {used}{flags}; {'; '.join([*prices, *draws]) or 'free'}"
        case "packet":
            last = f": {record['steps'][-1]['words']}" if record["steps"] else ""
            return f"{record['kind']} at {record['nas']}, {record['result']}{last}"
        case "orphan":
            charged = f"charged in {record['session_id']}" if record["session_id"] else "not charged"
            return f"of nobody's session, {charged}: {record['reason']}, packet {record['packet_sha256'][:12]}"
        case "transfer":
            amount = amount_text(record["unit"], record["amount"], currency)
            return f"{record['seq']} {record['kind']}: {amount} from {record['debit']} to {record['credit']} ({record['reference']})"
        case "command":
            return f"{record['session_id']} {record['action']} ({record['reason']}): {record['state']}, {record['answer'] or '-'}"
        case _:
            sent = [f"{d['channel']} {d['state']}" for d in record["deliveries"]]
            return f"{record['kind']}: {record['detail']}; {', '.join(sent) or 'sent to nobody'}"


def _print_csv(records: list[dict[str, Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\r\n")
    writer.writerow(_CSV)
    for record in records:
        for row in _rows(record):
            writer.writerow([_cell(row.get(name, "")) for name in _CSV])


def _cell(value: object) -> object:
    """What came from a NAS or a name must be no formula."""
    return for_spreadsheet(value) if isinstance(value, str) else value


def _rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A record's lines: a report has one for itself and one for each draw."""
    row = {key: record.get(key) or "" for key in ("at", "what", "session_id", "hash")}
    match record["what"]:
        case "report":
            yield row | {
                "reference": record["line_no"],
                "octets_up": record["octets_up_to"] - record["octets_up_from"],
                "octets_down": record["octets_down_to"] - record["octets_down_from"],
                "seconds": record["seconds_to"] - record["seconds_from"],
                "unit": "money",
                "amount": record["amount_micros"],
                "detail": " ".join(filter(None, [record["kind"], record["flags"]])),
            }
            for draw in record["draws"]:
                bucket = draw["bucket"] or "shortfall"
                yield row | {"what": "draw", "reference": record["line_no"], "unit": draw["unit"],
                             "amount": draw["amount"], "detail": bucket}  # fmt: skip
        case "transfer":
            names = f"{record['debit']} > {record['credit']}"
            yield row | {"reference": record["reference"], "unit": record["unit"], "amount": record["amount"],
                         "detail": f"{record['kind']}: {names}; {record['ledger_hash']}"}  # fmt: skip
        case _:
            detail = {
                k: v for k, v in record.items() if k not in {"at", "what", "session_id", "hash"} and v is not None
            }
            yield row | {"detail": json.dumps(detail, ensure_ascii=False)}
