"""`aaa voucher`: printed codes that pay something in."""

from __future__ import annotations

import csv
import io
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
from sqlalchemy import Connection

from charging import catalogue, inbox, voucher_batch
from charging.catalogue import CatalogueError
from charging.database import reading
from charging.money import exponent
from charging.plan import Instant
from charging.tomlfile import NAME
from charging.transaction import run
from charging.voucher import fingerprint, read_code
from charging.voucher_batch import BatchLine, NewBatch, Printed, VoucherLine
from cli.amounts import Moment, amount_text
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.ordering import place, show, source_option, unit_of
from cli.output import Column, day, for_spreadsheet, iso, json_option, print_json, print_record, print_records

DEFAULT_LIMIT: Final = 1000
MOST_LISTED: Final = 1_000_000
#: Of a code's fingerprint, in the reference of its redemption: enough that no two are alike.
_REFERENCE_CHARACTERS: Final = 24

_WORTH: Final = Column("worth", lambda record: amount_text(record["unit"], record["amount"], record["currency"] or ""))
_LASTS: Final = Column("lasts", lambda record: record["validity"] or "for ever")
_EXPIRES: Final = Column("redeem until (UTC)", lambda record: day(record["expires_at"]))
_BATCHES: Final = (
    Column("batch", "batch"),
    _WORTH,
    _LASTS,
    _EXPIRES,
    Column("ready", "ready", right=True),
    Column("redeemed", "redeemed", right=True),
    Column("void", "void", right=True),
    Column("made (UTC)", lambda record: day(record["created_at"])),
)
_VOUCHERS: Final = (
    Column("voucher", lambda record: f"{record['batch']}/{record['serial']}"),
    _WORTH,
    _LASTS,
    _EXPIRES,
    Column("state", "state"),
    Column("account", "account"),
    Column("reference", "reference"),
    Column("by", "actor"),
    Column("when (UTC)", lambda record: day(record["settled_at"])),
)


def _batch_name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not NAME.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a name; use 1 to 64 of the letters a-z, digits, '.', '_', '-'")
    return value


@click.group(epilog="Example: aaa voucher generate spring --count 100 --amount 10.00")
def voucher() -> None:
    """Vouchers: printed codes that pay something in."""


@voucher.command(epilog="Example: aaa voucher generate spring --count 100 --amount 10.00 --out spring.csv")
@click.argument("batch", callback=_batch_name)
@click.option(
    "--count", type=click.IntRange(1, voucher_batch.MOST_VOUCHERS), required=True, metavar="N", help="How many."
)
@click.option("--amount", required=True, metavar="AMOUNT", help="What each is worth: 10.00, 5GB or 2h.")
@click.option("--currency", metavar="C", help="ISO 4217 code of money; without it, the one currency of all plans.")
@click.option("--validity", metavar="TIME", help="How long what it pays in lasts: '30 days'; without it for ever.")
@click.option(
    "--expires", type=Moment(ends=True), metavar="DAY", help="The last day on which it can be redeemed (UTC)."
)
@click.option("--comment", metavar="TEXT", help="Kept with the batch.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the codes here, not to the screen.",
)
@json_option
@pass_setup
def generate(
    setup: Setup,
    /,
    *,
    batch: str,
    count: int,
    amount: str,
    currency: str | None,
    validity: str | None,
    expires: Instant | None,
    comment: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Make a batch of vouchers and write their codes as CSV, this once: the database keeps only fingerprints of them.

    The last character of a code checks the others, so that a mistyped one is found before it counts as a guess.
    """
    at = now()
    if expires is not None and expires <= at:
        raise click.UsageError("--expires is past; write a later day", click.get_current_context())
    unit = unit_of(amount)

    def work(connection: Connection) -> tuple[NewBatch, list[Printed]]:
        code = None
        try:
            if unit == "money":
                code = catalogue.only_currency(connection) if currency is None else currency
                exponent(code)
            worth = inbox.amount_of(unit, amount, code or "")[1]
            new = NewBatch(batch, count, unit, worth, code, inbox.lasting(validity), expires, comment)
        except ValueError as error:
            raise CatalogueError(str(error)) from None
        printed = voucher_batch.generate(
            connection, new, random.SystemRandom().choice, at, setup.actor, _progress(count)
        )
        if out is not None:
            _write(out, _csv(new, printed))
        return new, printed

    engine = setup.engine()
    if out is not None and out.exists():
        raise CatalogueError(f"{out}: is there already; its codes may be kept nowhere else")
    try:
        new, printed = run(engine, work)
    except BaseException:
        if out is not None:
            out.unlink(missing_ok=True)  # nothing of it was committed: its codes are worth nothing
        raise
    worth = amount_text(new.unit, new.amount, new.currency or "")
    if as_json:
        codes: Any = [each._asdict() for each in printed] if out is None else None
        print_json({**_head(new), "file": None if out is None else str(out), "vouchers": codes})
    elif out is None:
        click.echo(_csv(new, printed), nl=False)
    else:
        click.echo(f"{count} vouchers worth {worth} in {out}; their codes are kept nowhere else")


@voucher.command("list", epilog="Example: aaa voucher list spring --state ready")
@click.argument("batch", required=False)
@click.option("--state", type=click.Choice(["ready", "redeemed", "void", "expired"]), help="Only these, of a batch.")
@click.option(
    "--limit", type=click.IntRange(1, MOST_LISTED), default=DEFAULT_LIMIT, show_default=True, help="At most so many."
)
@json_option
@pass_setup
def list_(setup: Setup, batch: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """List batches, or the vouchers of one."""
    if batch is None and state is not None:
        raise click.UsageError("--state is for the vouchers of one batch; name it", click.get_current_context())
    with reading(setup.engine()) as connection:
        if batch is None:
            records = [_batch_record(line) for line in voucher_batch.batches(connection, limit=limit + 1)]
        else:
            lines = voucher_batch.vouchers(connection, batch, now(), state=state, limit=limit + 1)
            records = [_record(line) for line in lines]
    none = "no batch; run: aaa voucher generate NAME --count N --amount 10.00" if batch is None else "no such voucher"
    print_records(records[:limit], _BATCHES if batch is None else _VOUCHERS, as_json=as_json, none=none)
    if len(records) > limit:
        click.echo(f"only the first {limit}; there are more: --limit", err=True)


@voucher.command("show", epilog="Example: aaa voucher show spring/17")
@click.argument("voucher")
@json_option
@pass_setup
def show_(setup: Setup, voucher: str, as_json: bool) -> None:
    """Show one voucher, by its code or by BATCH/SERIAL: is it good, who redeemed it, and when."""
    with reading(setup.engine()) as connection:
        line = voucher_batch.find(connection, voucher, now())
    print_record(_record(line), _VOUCHERS, as_json=as_json)


@voucher.command(epilog="Example: aaa voucher redeem smith 7KQM-3XWP-9TRA-HC2N")
@click.argument("account")
@click.argument("code")
@click.option("--reference", metavar="REF", help="Your own number of it; without it, one made from the code.")
@source_option
@json_option
@pass_setup
def redeem(setup: Setup, account: str, code: str, reference: str | None, source: str, as_json: bool) -> None:
    """Pay in what a voucher is worth, once.

    After five codes that there are not, an account may redeem nothing for an hour.
    """
    if reference is None:
        try:
            reference = f"voucher-{fingerprint(read_code(code))[:_REFERENCE_CHARACTERS]}"
        except ValueError as error:
            raise CatalogueError(f"code: {error}") from None
    record = place(setup, "redeem", account, source=source, reference=reference, code=code)
    show(record, lambda amount: f"{amount} for {account}", as_json=as_json)


@voucher.command(epilog="Example: aaa voucher void spring/17")
@click.argument("voucher")
@json_option
@pass_setup
def void(setup: Setup, voucher: str, as_json: bool) -> None:
    """Make a voucher worthless, by its code or BATCH/SERIAL, or all of a BATCH that nobody has redeemed."""
    at = now()

    def work(connection: Connection) -> dict[str, Any]:
        if voucher_batch.is_batch(connection, voucher):
            batch, serial = voucher, None
        else:
            line = voucher_batch.find(connection, voucher, at)
            batch, serial = line.batch, line.serial
        made = voucher_batch.void(connection, batch, serial, at, setup.actor)
        if not made and serial is not None:
            raise CatalogueError(
                f"voucher {batch}/{serial} is {voucher_batch.find(connection, voucher, at).state} already"
            )
        return {"batch": batch, "serial": serial, "voided": made}

    record = run(setup.engine(), work)
    if as_json:
        print_json(record)
    else:
        what = record["batch"] if record["serial"] is None else f"{record['batch']}/{record['serial']}"
        click.echo(f"{record['voided']} voided of {what}")


def _progress(count: int) -> Any:
    shown = sys.stderr.isatty()

    def progress(made: int) -> None:
        if shown:
            click.echo(f"\r{made} of {count}" if made < count else "\r\x1b[K", nl=False, err=True)

    return progress


def _csv(new: NewBatch, printed: Sequence[Printed]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("batch", "serial", "code", "worth", "expires"))
    worth = amount_text(new.unit, new.amount, new.currency or "")
    for each in printed:
        writer.writerow((for_spreadsheet(new.name), each.serial, each.code, worth, iso(new.expires_at) or ""))
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    """Only its owner may read it, and it is on the disk before the vouchers are worth anything."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CatalogueError(f"{path}: {error.strerror}") from error


def _head(new: NewBatch) -> dict[str, Any]:
    return {
        "batch": new.name,
        "count": new.count,
        "unit": new.unit,
        "amount": new.amount,
        "currency": new.currency,
        "expires_at": iso(new.expires_at),
    }


def _batch_record(line: BatchLine) -> dict[str, Any]:
    record = {"batch": line.name, **line._asdict()}
    del record["name"]
    return {**record, "expires_at": iso(line.expires_at), "created_at": iso(line.created_at)}


def _record(line: VoucherLine) -> dict[str, Any]:
    return {**line._asdict(), "expires_at": iso(line.expires_at), "settled_at": iso(line.settled_at)}
