"""`aaa db`: the database's tables."""

from __future__ import annotations

import re
import sys
from typing import Final

import click

from charging.amounts import format_seconds
from charging.retention import KINDS, NEVER
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.output import Column, day, iso, json_option, print_json, print_records


@click.group(epilog="Example: aaa db upgrade")
def db() -> None:
    """Bring the database up to date; check it; remove what is old."""


@db.command(epilog="Example: aaa --database postgresql://aaa@localhost/aaa db upgrade")
@json_option
@pass_setup
def upgrade(setup: Setup, as_json: bool) -> None:
    """Make the tables, or bring them to this program's version.

    In one transaction: it succeeds or changes nothing.
    """
    import migrations

    engine = setup.unchecked_engine()
    before, after = migrations.upgrade(engine)
    if as_json:
        print_json({"database": engine.url.render_as_string(), "from": before, "to": after})
    elif before == after:
        click.echo(f"already at version {after}")
    else:
        click.echo(f"upgraded from {'nothing' if before is None else 'version ' + before} to version {after}")


@db.command(epilog="Example: aaa db check")
@json_option
@pass_setup
def check(setup: Setup, as_json: bool) -> None:
    """Compare the database's tables with what this program expects.

    Exit code 1, and the differences, where somebody has changed them.
    """
    import migrations

    engine = setup.engine()
    differences = migrations.drift(engine)
    if as_json:
        print_json({"version": migrations.NEWEST, "differences": differences})
    else:
        for difference in differences:
            click.echo(difference)
        click.echo(f"{len(differences)} differences" if differences else f"version {migrations.NEWEST}, no differences")
    if differences:
        raise click.exceptions.Exit(1)


_KEPT: Final = (
    Column("what", lambda record: record["what"].replace("_", " ")),
    Column("is kept", lambda record: record["kept"]),
    Column("removed before (UTC)", lambda record: day(record["before_at"]) or "nothing"),
    Column("rows", "rows", right=True),
)


@db.command(epilog="Example: aaa db prune --dry-run")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
@pass_setup
def prune(setup: Setup, dry_run: bool, as_json: bool) -> None:
    """Remove what is older than [retention] in the configuration says, all of it now; running servers do it bit by bit.

    Works beside running servers, in many small transactions. The ledger, balances, periods, vouchers and the rows of
    billing systems are never removed.
    """
    from charging import pruning
    from charging.database import reading

    engine = setup.engine()
    kept = setup.config.retention
    at = now()
    shown = sys.stderr.isatty()

    def progress(what: str, removed: int) -> None:
        if shown:
            click.echo(f"\r\x1b[K{what.replace('_', ' ')}: {removed} rows removed", nl=False, err=True)

    if dry_run:
        with reading(engine) as connection:
            rows = pruning.due(connection, kept, at)
    else:
        rows = pruning.prune(engine, kept, at, progress=progress)
        if shown:
            click.echo("\r\x1b[K", nl=False, err=True)
    records = [
        {"what": what, "kept": _age(getattr(kept, what)), "before_at": iso(kept.before(what, at)), "rows": rows[what]}
        for what in KINDS
    ]
    if as_json:
        print_json({"removed": not dry_run, "kinds": records})
        return
    print_records(records, _KEPT, as_json=False, none="nothing")
    total = sum(rows.values())
    click.echo(f"\n{total} rows would be removed; nothing was changed" if dry_run else f"\n{total} rows removed")


def _age(seconds: int | None) -> str:
    return NEVER if seconds is None else format_seconds(seconds)


def _prefix(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", value):
        raise click.BadParameter(f"{value!r} is no name; use lower-case letters, digits and '_'")
    return value


@db.command(epilog="Example: aaa db roles --apply")
@click.option(
    "--apply", "apply_", is_flag=True, help="Make them, as the owner of the tables, instead of printing the SQL."
)
@click.option(
    "--prefix", default="aaa", metavar="NAME", callback=_prefix, show_default=True, help="What their names begin with."
)
@json_option
@pass_setup
def roles(setup: Setup, apply_: bool, prefix: str, as_json: bool) -> None:
    """Roles for the server, operators, billing systems and auditors (PostgreSQL): each may do what it needs and no more.

    Run it again after an upgrade: new tables have their rights then. A login gets a role in psql: GRANT aaa_server TO radius
    """
    from sqlalchemy import inspect

    from charging.database import reading
    from charging.roles import ROLES, statements

    engine = setup.engine()
    if engine.dialect.name != "postgresql":
        raise click.ClickException(
            "SQLite has no roles: who can write the file can write everything in it; guard it by its folder's permissions"
        )
    with reading(engine) as connection:
        views = inspect(connection).get_view_names()
    said = list(statements(prefix, views))
    if apply_:
        with engine.begin() as connection:
            for statement in said:
                connection.exec_driver_sql(statement)
    names = [f"{prefix}_{role}" for role in ROLES]
    if as_json:
        print_json({"roles": names, "applied": apply_, "statements": said})
    elif apply_:
        click.echo(f"{', '.join(names)} have their rights; give one to whoever logs in: GRANT {names[0]} TO radius;")
    else:
        click.echo("".join(f"{statement};\n" for statement in said), nl=False)
