"""The database's versions, driven from code: no alembic.ini, no working folder, the same from a wheel."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from charging.database import reading
from charging.tables import metadata


class NotUpToDate(Exception):
    """The database's version is not the one that this program works with."""


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Bring the database to the newest version, in one transaction; (version before, version after)."""
    config = _config()
    with engine.begin() as connection:
        before = _current(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return before, newest()


def newest() -> str:
    """The version that this program works with."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def current(engine: Engine) -> str | None:
    """The database's version; None where it is empty."""
    with reading(engine) as connection:
        return _current(connection)


def require_current(engine: Engine) -> None:
    """NotUpToDate, with the command that mends it, unless the database has the newest version."""
    found = current(engine)
    if found != newest():
        state = "is empty" if found is None else f"has version {found}, this program needs {newest()}"
        raise NotUpToDate(f"the database {state}; run: aaa db upgrade")


def drift(engine: Engine) -> list[str]:
    """Differences between the tables that the migrations made and those that the code declares, in words."""
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})
        return [repr(difference) for difference in compare_metadata(context, metadata)]


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
