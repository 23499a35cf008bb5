"""`aaa`: the one command. Every noun is a file of this folder, imported when it is asked for, so that help is quick."""

from __future__ import annotations

import importlib
import keyword
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from cli.config import Config, Setup, load

NOUNS: Final = {
    # noun: what `aaa --help` says of it; the command is the attribute of that name in the module cli.<noun>
    "serve": "Run the RADIUS server.",
    "demo": "Show a prepaid session from login to top-up.",
    "db": "Bring the database up to date; check it.",
    "keys": "The key file that secrets are sealed with.",
    "nas": "Network access servers: who may ask.",
    "dialect": "What each vendor's equipment understands.",
    "plan": "Plans: what is sold.",
    "rate": "What a use of a plan would cost, line by line.",
    "account": "Accounts: who pays.",
    "subscriber": "Subscribers: who logs in.",
    "pool": "Address pools: what sessions get their addresses from.",
    "certificate": "Certificates: a private CA for EAP.",
    "topup": "Put money or an allowance on an account.",
    "voucher": "Vouchers: print, redeem, list, void.",
    "transfer": "Move money or an allowance between accounts.",
    "refund": "Pay money out.",
    "adjust": "Correct a balance by hand.",
    "rerate": "Charge a time again under a corrected plan.",
    "reverse": "Take back a transfer, or what a session was charged.",
    "balance": "What an account has left.",
    "session": "Sessions: who is on line; disconnect.",
    "usage": "What a subscriber used, report by report.",
    "ledger": "The ledger: show and check it.",
    "orphan": "Reports of nobody's session: look at, charge, forget.",
    "service": "A systemd unit for the server.",
    "notice": "Notices to subscribers: what was told, and what failed.",
    "doctor": "Is everything as it should be? What to do where it is not.",
    "import": "Take over what another server has.",
    "report": "What a time comes to, NAS by NAS.",
    "dispute": "All about a subscriber in a time, with hashes.",
    "trace": "What was decided about each packet, step by step.",
    "test": "Log in at the running server, and explain the result.",
    "explain": "Why an account is in the state it is in.",
}


class Nouns(click.Group):
    """A group whose commands are imported late, and which says what went wrong in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """The nouns, in the order of their dictionary."""
        return list(NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """The command of a noun, from its file."""
        if cmd_name not in NOUNS:
            return None
        # A word of Python's own can name a file, but no function.
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(importlib.import_module(f"cli.{cmd_name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A noun that does not exist is answered with the ones that do."""
        if args and args[0] not in NOUNS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], NOUNS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(NOUNS)}"
            ctx.fail(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        """The nouns with their line each, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(NOUNS.items()))

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The options of `aaa` itself."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise in_one_line(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        """The command; what an operator can mend is said in one line, and only a bug has a traceback."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise in_one_line(error) from error
        except Exception as error:
            problem = in_words(error)
            if problem is None:
                raise
            from cli.output import printable

            # What was typed, or stands in a file, comes back in some of them.
            raise click.ClickException("\n".join(map(printable, problem.split("\n")))) from error


class WrongUsage(click.ClickException):
    """A command line that does not say what to do."""

    exit_code = 2


def in_one_line(error: click.UsageError) -> click.ClickException:
    """What is wrong with the command line, and where its help is."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error  # shows the help itself
    from cli.output import printable

    message = printable(error.format_message().rstrip(".").replace("\n", " "))
    path = error.ctx.command_path if error.ctx is not None else "aaa"
    return WrongUsage(f"{message} (see: {path} --help)")


def in_words(error: Exception) -> str | None:
    """An expected failure as the operator should read it; None for a bug."""
    import sqlite3

    import psycopg
    import sqlalchemy.exc

    from aaa.certificates import CertificateError
    from aaa.enrolment import EnrolmentError
    from aaa.keyring import KeyRingError
    from aaa.registry import RegistryError
    from aaa.rlm_sql import NotFreeRadius
    from charging.bulk import Conflict
    from charging.catalogue import CatalogueError
    from charging.database import DatabaseUrlError
    from charging.notices.files import NoticeFileError
    from charging.orphans import NotAdopted
    from charging.pools import PoolError
    from charging.tomlfile import TomlFileError
    from migrations import NotUpToDate

    said = (
        DatabaseUrlError
        | NotUpToDate
        | KeyRingError
        | TomlFileError
        | CatalogueError
        | RegistryError
        | EnrolmentError
        | CertificateError
        | PoolError
        | NoticeFileError
        | NotFreeRadius
        | NotAdopted
    )
    if isinstance(error, said):
        return str(error)
    if isinstance(error, UnicodeEncodeError):
        return "the command line has octets that are not UTF-8 text"
    if isinstance(error, Conflict):
        return "other writers kept changing the same account; nothing was changed, try again"
    if isinstance(error, sqlalchemy.exc.DBAPIError) and isinstance(error.orig, Exception):
        error = error.orig
    if isinstance(error, psycopg.errors.IntegrityError | sqlite3.IntegrityError):
        return f"somebody else changed the same at this moment; nothing was changed, try again: {_first_line(error)}"
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return f"cannot reach the database: {_first_line(error)}"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"the database does not allow it: {_first_line(error)}"
    if isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
        return f"cannot use the database: {_first_line(error)}"
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return "cannot reach the database: all connections are in use"
    return None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@click.group(cls=Nouns, epilog="Example: aaa --database sqlite:///aaa.db db upgrade")
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    envvar="AAA_CONFIG",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Configuration, TOML (also AAA_CONFIG).",
)
@click.option(
    "--database",
    metavar="URL",
    envvar="AAA_DATABASE",
    help="sqlite:///FILE or postgresql://USER@HOST/NAME (also AAA_DATABASE; without it aaa.db in this folder).",
)
@click.option(
    "--keys", metavar="FILE", envvar="AAA_KEYS", type=click.Path(path_type=Path), help="Key file (also AAA_KEYS)."
)
@click.version_option(package_name="prepaid-aaa", prog_name="aaa", message="%(prog)s %(version)s")
@click.pass_context
def aaa(ctx: click.Context, config_file: Path | None, database: str | None, keys: Path | None) -> None:
    """A RADIUS server with prepaid charging built in."""
    config = Config() if config_file is None else load(_text_of(config_file), str(config_file))
    if database:
        config = replace(config, database=database)
    if keys:
        config = replace(config, keys_file=keys)
    if config.dialects:
        from aaa.dialects import install

        install(config.dialects)
    setup = Setup(config)
    ctx.obj = setup
    ctx.call_on_close(setup.close)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path}: {error}") from error


def main() -> None:
    """The console command."""
    aaa(prog_name="aaa")


if __name__ == "__main__":
    main()
