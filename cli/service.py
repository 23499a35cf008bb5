"""`aaa service`: the unit that runs the server under systemd, with nothing it does not need."""

from __future__ import annotations

import re
import sys
from importlib.resources import files
from pathlib import Path

import click

from cli.output import printable


def _plain(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_./@-]{1,200}", value):
        raise click.BadParameter(f"{printable(value)!r}: use letters, digits and _ . / @ - only")
    return value


def _path(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value.startswith("/"):
        raise click.BadParameter(f"{printable(value)!r} is not a whole path; begin with /")
    return _plain(ctx, param, value)


@click.command(epilog="Example: aaa service > /etc/systemd/system/aaa.service")
@click.option("--user", default="aaa", show_default=True, metavar="NAME", callback=_plain, help="Who it runs as.")
@click.option(
    "--config-file",
    default="/etc/aaa/aaa.toml",
    show_default=True,
    metavar="FILE",
    callback=_path,
    help="Its configuration.",
)
def service(user: str, config_file: str) -> None:
    """Print a systemd unit for the server: a user of its own, no privileges, a read-only system.

    Its database (SQLite), key file and spool belong into /var/lib/aaa.
    """
    program = Path(sys.argv[0]).absolute()
    if program.name != "aaa":
        program = Path(sys.executable).with_name("aaa")
    name = "aaa"
    click.echo(
        files("cli").joinpath("aaa.service").read_text(encoding="utf-8").format(
            user=user, config=config_file, program=program, state=f"/var/lib/{name}", state_name=name
        ),
        nl=False,
    )  # fmt: skip
