from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

import migrations
from charging.database import open_engine
from tests.cli.conftest import Aaa


def test_upgrade_fills_an_empty_database_and_says_so(empty_database_url: str, tmp_path: Path) -> None:
    aaa = Aaa(empty_database_url, tmp_path)
    newest = migrations.newest()
    assert aaa.ok("db", "upgrade") == f"upgraded from nothing to version {newest}\n"
    assert aaa.ok("db", "upgrade") == f"already at version {newest}\n"
    assert aaa.ok("db", "check") == f"version {newest}, no differences\n"
    upgraded = aaa.json("db", "upgrade")
    assert (upgraded["from"], upgraded["to"]) == (newest, newest)


def test_check_before_the_first_upgrade_names_it(empty_database_url: str, tmp_path: Path) -> None:
    assert Aaa(empty_database_url, tmp_path).fails("db", "check").endswith("; run: aaa db upgrade")


def test_check_finds_what_somebody_changed(aaa: Aaa) -> None:
    engine = open_engine(aaa.database_url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE nas ADD COLUMN colour TEXT"))
    engine.dispose()
    result = aaa("db", "check", "--json")
    assert result.exit_code == 1
    assert "colour" in result.stdout
    plain = aaa("db", "check")
    assert plain.exit_code == 1
    assert plain.stdout.endswith("1 differences\n")


def test_json_of_check(aaa: Aaa) -> None:
    assert aaa.json("db", "check") == {"version": migrations.newest(), "differences": []}


def test_a_password_in_the_url_is_not_printed(postgresql_url: str, tmp_path: Path) -> None:
    url = postgresql_url.replace("postgres:@", "postgres:hunter22@")
    assert "hunter22" not in Aaa(url, tmp_path).ok("db", "upgrade", "--json")
