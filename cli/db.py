"""`aaa db`: the database's tables."""

from __future__ import annotations

import click

from cli.config import Setup, pass_setup
from cli.output import json_option, print_json


@click.group(epilog="Example: aaa db upgrade")
def db() -> None:
    """Bring the database up to date; check it."""


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
        print_json({"version": migrations.newest(), "differences": differences})
    else:
        for difference in differences:
            click.echo(difference)
        click.echo(
            f"{len(differences)} differences" if differences else f"version {migrations.newest()}, no differences"
        )
    if differences:
        raise click.exceptions.Exit(1)
