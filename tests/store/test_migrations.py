"""The database's versions: from nothing to the newest, without drift, and words for a database that is not there yet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

import migrations
from charging import database, tables


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Engine]:
    engine = database.open_engine(empty_database_url)
    yield engine
    engine.dispose()


def test_the_newest_version_is_the_last_migration() -> None:
    assert ScriptDirectory.from_config(migrations.config()).get_heads() == [migrations.NEWEST]


def test_from_nothing_to_the_newest_and_again(empty: Engine) -> None:
    assert migrations.current(empty) is None
    assert migrations.upgrade(empty) == (None, migrations.NEWEST)
    assert migrations.current(empty) == migrations.NEWEST
    before = inspect(empty).get_table_names()
    assert migrations.upgrade(empty) == (migrations.NEWEST, migrations.NEWEST)
    assert inspect(empty).get_table_names() == before
    assert set(tables.metadata.tables) <= set(before)


def test_what_the_migrations_make_is_what_the_code_declares(engine: Engine) -> None:
    assert migrations.drift(engine) == []


def test_drift_is_seen(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE notice ADD COLUMN mood TEXT"))
        connection.execute(text("DROP INDEX ix_session_live"))
    found = " ".join(migrations.drift(engine))
    assert "mood" in found
    assert "ix_session_live" in found


def test_an_empty_database_is_told_what_to_run(empty: Engine) -> None:
    with pytest.raises(migrations.NotUpToDate, match=r"^the database is empty; run: aaa db upgrade$"):
        migrations.require_current(empty)


def test_an_old_database_is_told_what_to_run(engine: Engine) -> None:
    migrations.require_current(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    expected = f"^the database has version 0000, this program needs {migrations.NEWEST}; run: aaa db upgrade$"
    with pytest.raises(migrations.NotUpToDate, match=expected):
        migrations.require_current(engine)


def test_an_upgrade_that_fails_leaves_nothing_behind(empty: Engine) -> None:
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE session (x INTEGER)"))  # in the way of ours
    with pytest.raises(Exception, match="session"):
        migrations.upgrade(empty)
    assert inspect(empty).get_table_names() == ["session"]
