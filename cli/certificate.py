"""`aaa certificate`: a small private CA, for EAP over TLS and for NASes that speak over TLS."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from aaa.certificates import CA_DAYS, DEFAULT_DAYS, MOST_SERVER_DAYS, Authority, Line
from cli.clock import now
from cli.output import Column, day, iso, json_option, print_record, print_records

DEFAULT_FOLDER: Final = Path("certificates")
#: `list` marks what ends sooner than this.
SOON_DAYS: Final = 30
_DAY_MS: Final = 86_400_000
_PASSWORD_OCTETS: Final = 12

_COLUMNS: Final = (
    Column("name", "name"),
    Column("kind", "kind"),
    Column("state", lambda record: "ends soon" if record["ends_soon"] else record["state"]),
    Column("ends (UTC)", lambda record: day(record["expires_at"])),
    Column("days left", "days_left", right=True),
    Column("serial", "serial"),
)

_folder_option = click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT_FOLDER, show_default=True,
    help="Where the CA is kept.",
)  # fmt: skip


@click.group(epilog="Example: aaa certificate init radius.example.net")
def certificate() -> None:
    """Certificates: a private CA for EAP and RadSec."""


@certificate.command(epilog="Example: aaa certificate init radius.example.net --folder /etc/aaa/certificates")
@click.argument("server_name")
@_folder_option
@click.option("--ca-name", metavar="NAME", default="AAA private CA", show_default=True, help="What devices show of it.")
@click.option(
    "--days", type=click.IntRange(1, MOST_SERVER_DAYS), default=MOST_SERVER_DAYS, show_default=True,
    help="How long the server's certificate is valid.",
)  # fmt: skip
def init(server_name: str, folder: Path, ca_name: str, days: int) -> None:
    """Make a CA and the server's certificate.

    SERVER_NAME is what devices are told to expect, for example radius.example.net. They need the file ca.pem and that name.
    """
    at = _today()
    authority = Authority.create(folder, ca_name, at)
    authority.write_server(authority.issue(server_name, "server", days, at))
    click.echo(
        f"made a CA for {CA_DAYS // 365} years and a certificate of {server_name}. In the configuration of aaa serve:"
    )
    for key, name in (("certificate", "server.pem"), ("key", "server.key"), ("ca", "ca.pem"), ("crl", "crl.pem")):
        click.echo(f'eap_{key} = "{(folder / name).absolute()}"')
    click.echo(
        f"keep {folder / 'ca.key'} where nobody else can read it: whoever has it can make certificates", err=True
    )


@certificate.command(epilog="Example: aaa certificate issue alice --days 365")
@click.argument("name")
@_folder_option
@click.option("--server", is_flag=True, help="Another certificate for the server, instead of the one it has.")
@click.option("--nas", is_flag=True, help="A certificate for a NAS that speaks over TLS; NAME is its host name.")
@click.option(
    "--days", type=click.IntRange(1, CA_DAYS), default=DEFAULT_DAYS, show_default=True, help="How long it is valid."
)
@click.option(
    "--out", type=click.Path(file_okay=False, exists=True, path_type=Path), default=Path(), show_default="here",
    help="Where the files for the device go.",
)  # fmt: skip
@json_option
def issue(name: str, folder: Path, server: bool, nas: bool, days: int, out: Path, as_json: bool) -> None:
    """Issue a certificate to a subscriber, by his user name, or to a NAS.

    Writes NAME.p12, which devices import with the password that is shown, and the same as NAME.pem and NAME.key.
    """
    if server and nas:
        raise click.UsageError("it is for the server or for a NAS: give one of --server and --nas")
    authority, at = Authority(folder), _today()
    if server:
        issued = authority.issue(name, "server", min(days, MOST_SERVER_DAYS), at)
        authority.write_server(issued)
        password, files = None, [str(folder / "server.pem"), str(folder / "server.key")]
    else:
        if "/" in name or name.startswith("."):
            raise click.ClickException(f"{name!r} can not be the name of a file")
        issued = authority.issue(name, "nas" if nas else "client", days, at)
        password = secrets.token_urlsafe(_PASSWORD_OCTETS)
        files = [str(path) for path in authority.write_client(issued, out / name, password)]
    serial = f"{issued.certificate.serial_number:x}"
    line = next(each for each in authority.lines(at) if each.serial == serial)
    record = {**_record(line), "files": files, "password": password}
    columns = (*_COLUMNS, Column("files", "files"), *([Column("password", "password")] if password else []))
    print_record(record, columns, as_json=as_json)


@certificate.command("list", epilog="Example: aaa certificate list --expires-within 60")
@_folder_option
@click.option("--expires-within", type=click.IntRange(0), metavar="DAYS", help="Only what ends by then.")
@json_option
def list_(folder: Path, expires_within: int | None, as_json: bool) -> None:
    """List certificates, those that end first at the top."""
    records = [_record(line) for line in Authority(folder).lines(_today())]
    if expires_within is not None:
        records = [each for each in records if each["state"] == "valid" and each["days_left"] <= expires_within]
    print_records(records, _COLUMNS, as_json=as_json, none="no certificate ends by then")


@certificate.command(epilog="Example: aaa certificate revoke alice")
@click.argument("name")
@_folder_option
@json_option
def revoke(name: str, folder: Path, as_json: bool) -> None:
    """Revoke certificates, by user name or serial number. A running server refuses them from now on."""
    records = [_record(line) for line in Authority(folder).revoke(name, _today())]
    print_records(records, _COLUMNS, as_json=as_json, none="none")


def _today() -> datetime:
    return datetime.fromtimestamp(now() // 1000, UTC)


def _record(line: Line) -> dict[str, Any]:
    left = max(0, line.expires_at - now()) // _DAY_MS
    return {
        "name": line.name,
        "kind": line.kind,
        "state": line.state,
        "ends_soon": line.state == "valid" and left < SOON_DAYS,
        "expires_at": iso(line.expires_at),
        "days_left": left,
        "serial": line.serial,
    }
