"""The database's versions, driven from code: no alembic.ini, no working folder, the same from a wheel.

Every command asks for the version and few change it: Alembic, which takes longer to import than most commands to run, is
imported by who changes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from charging.database import reading

if TYPE_CHECKING:
    from alembic.config import Config

#: The version that this program works with: the last of `versions/`.
NEWEST: Final = "0001"


class NotUpToDate(Exception):
    """The database's version is not the one that this program works with."""


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Bring the database to the newest version, in one transaction; (version before, version after)."""
    from alembic import command

    alembic = config()
    before = current(engine)
    with engine.begin() as connection:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "head")
    return before, NEWEST


def current(engine: Engine) -> str | None:
    """The database's version; None where it is empty."""
    with reading(engine) as connection:
        try:
            version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        except DBAPIError:
            connection.rollback()
            if inspect(connection).has_table("alembic_version"):
                raise
            return None
        return version


def require_current(engine: Engine) -> None:
    """NotUpToDate, with the command that mends it, unless the database has the newest version."""
    found = current(engine)
    if found != NEWEST:
        state = "is empty" if found is None else f"has version {found}, this program needs {NEWEST}"
        raise NotUpToDate(f"the database {state}; run: aaa db upgrade")


def drift(engine: Engine) -> list[str]:
    """Differences between the tables that the migrations made and those that the code declares, in words."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from charging.tables import metadata

    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})
        return [repr(difference) for difference in compare_metadata(context, metadata)]


def config() -> Config:
    """What Alembic's own functions ask for."""
    from alembic.config import Config

    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent))
    return found
