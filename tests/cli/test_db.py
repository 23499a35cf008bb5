from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

import migrations
from charging.admission import Admitted
from charging.database import open_engine
from cli.clock import now
from tests.cli.conftest import Aaa
from tests.cli.reports import book


def test_upgrade_fills_an_empty_database_and_says_so(empty_database_url: str, tmp_path: Path) -> None:
    aaa = Aaa(empty_database_url, tmp_path)
    newest = migrations.NEWEST
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
    assert aaa.json("db", "check") == {"version": migrations.NEWEST, "differences": []}


@pytest.fixture
def old(shop: Aaa, log_in: Callable[[str], Admitted]) -> Aaa:
    """Anna's session of yesterday, and her bill; what was is 500 days older than it says."""
    shop.ok("subscriber", "add", "anna", "--plan", "prepaid-50")
    engine = open_engine(shop.database_url)
    admitted = log_in("anna")
    book(engine, admitted, "start", now())
    book(engine, admitted, "stop", now(), down=5_000_000, seconds=60)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE session SET closed_at = closed_at - {500 * 86_400_000}"))
    engine.dispose()
    return shop


def test_prune_says_what_it_would_do_and_does_it(old: Aaa) -> None:
    before = old.json("balance", "anna")
    said = old.json("db", "prune", "--dry-run")
    rows = {kind["what"]: (kind["kept"], kind["rows"]) for kind in said["kinds"]}
    assert (said["removed"], rows["usage_lines"], rows["commands"]) == (False, ("400d", 1), ("90d", 0))
    assert old.ok("db", "prune", "--dry-run").endswith("\n1 rows would be removed; nothing was changed\n")
    assert len(old.json("usage", "anna", "--by", "line")) == 1
    assert old.ok("db", "prune").endswith("\n1 rows removed\n")
    assert old.json("db", "prune")["kinds"][0]["rows"] == 0
    assert old.json("balance", "anna") == before


def test_who_looks_at_that_time_is_told(old: Aaa) -> None:
    assert old.json("ledger", "check")["not_compared"] == []
    old.ok("db", "prune")
    word = "the usage lines of sessions that ended before "
    (said,) = old.json("ledger", "check")["not_compared"]
    assert said.startswith(word)
    checked = old.ok("ledger", "check")
    assert checked.startswith(f"not compared with the ledger: {word}")
    assert checked.endswith("all invariants hold\n")
    for command in (
        ("usage", "anna"),
        ("report", "nas", "--from", "2001-01-01", "--to", "2001-12-31"),
        ("rerate", "prepaid-50", "--from", "2001-01-01", "--to", "2001-12-31"),
        ("explain", "anna", "--at", "2001-01-01"),
    ):
        result = old(*command)
        assert (result.exit_code, result.stderr.startswith(f"not complete: {word}")) == (0, True), result.output
    disputed = old.json("dispute", "anna", "--from", "2001-01-01", "--to", "2100-01-01")
    (retention,) = [check for check in disputed["checks"] if check["name"] == "retention"]
    assert (retention["holds"], word in retention["words"]) == (True, True)
    # Of a time since then everything is there.
    assert old("usage", "anna", "--from", "2100-01-01").stderr == ""


def test_a_password_in_the_url_is_not_printed(postgresql_url: str, tmp_path: Path) -> None:
    url = postgresql_url.replace("postgres:@", "postgres:hunter22@")
    assert "hunter22" not in Aaa(url, tmp_path).ok("db", "upgrade", "--json")
