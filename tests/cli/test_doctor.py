"""`aaa doctor`: each thing that can be wrong is made wrong once, found, and told what to do about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from aaa.segments import Record, encode
from charging import health
from charging.admission import Admitted
from charging.database import open_engine
from cli.clock import now
from tests.cli.conftest import Aaa

LogIn = Callable[[str], Admitted]


def execute(aaa: Aaa, statement: str, **values: object) -> None:
    engine = open_engine(aaa.database_url)
    with engine.begin() as connection:
        connection.execute(text(statement), values)
    engine.dispose()


def findings(aaa: Aaa) -> dict[str, tuple[str, str]]:
    """Level and words by check; the exit code must agree with them, and whatever is wrong has advice."""
    result = aaa("doctor", "--json")
    found: list[dict[str, Any]] = json.loads(result.stdout)
    assert result.exit_code == (1 if any(line["level"] == "fail" for line in found) else 0)
    assert all(line["advice"] for line in found if line["level"] != "ok")
    return {line["check"]: (line["level"], line["words"]) for line in found}


@pytest.fixture
def sound(shop: Aaa, monkeypatch: pytest.MonkeyPatch) -> Aaa:
    """A shop with one NAS and a subscriber, in a folder of its own."""
    monkeypatch.chdir(shop.folder)
    shop.ok("nas", "add", "bras-1", "--address", "192.0.2.1")
    shop.ok("subscriber", "add", "anna", "--plan", "prepaid-50", "--password", "correct horse battery")
    return shop


def test_where_all_is_well_every_line_says_ok(sound: Aaa) -> None:
    assert {level for level, _ in findings(sound).values()} == {"ok"}
    for line in sound.ok("doctor").splitlines():
        assert line.startswith("ok  "), line


def test_commands_that_wait(sound: Aaa, log_in: LogIn) -> None:
    session = log_in("anna")
    insert = (
        "INSERT INTO command (account_id, command_id, session_id, nas_id, action, version, reason, not_before, created_at, "
        "lease_node, lease_until) VALUES (:account, :id, :session, 1, 'profile', 1, 'test', :at, :at, 'gone', :lease)"
    )
    same = {"account": session.account_id, "session": session.session_id}
    execute(sound, insert, **same, id=1, at=now() - 30_000, lease=0)
    assert findings(sound)["commands"][0] == "ok"
    execute(sound, insert, **same, id=2, at=now() - 90_000, lease=now() - 70_000)
    found = findings(sound)
    assert found["commands"] == ("fail", "1 wait for their NAS, the oldest since 90 s")
    assert found["leases"] == ("warn", "1 commands were taken by node 'gone' and never finished, since 70 s")


def test_top_ups_that_wait_and_that_were_refused(sound: Aaa) -> None:
    insert = "INSERT INTO billing_top_up (source, external_ref, account, amount) VALUES ('bank', :ref, 'anna', '1.00')"
    execute(sound, insert, ref="new")
    assert findings(sound)["top-ups"][0] == "ok"
    execute(sound, insert, ref="old")
    execute(sound, "UPDATE billing_top_up SET created_at = '2026-01-01 00:00:00+00' WHERE external_ref = 'old'")
    assert findings(sound)["top-ups"] == ("fail", "1 are committed and not paid in")
    execute(sound, "UPDATE billing_top_up SET status = 'error' WHERE external_ref = 'new'")
    assert findings(sound)["refused top-ups"] == ("warn", "1 in the last day")


def test_orders_and_requests_that_nobody_answers(sound: Aaa) -> None:
    insert = "INSERT INTO billing_order (source, external_ref, kind, account, amount) VALUES ('shop', :ref, 'refund', 'anna', '1.00')"
    execute(sound, insert, ref="old")
    assert (findings(sound)["orders"][0], findings(sound)["top-up requests"][0]) == ("ok", "ok")
    execute(sound, "UPDATE billing_order SET created_at = '2026-01-01 00:00:00+00'")
    execute(sound, insert, ref="new")
    assert findings(sound)["orders"] == ("fail", "1 are committed and not carried out")
    execute(sound, "UPDATE billing_order SET status = 'error' WHERE external_ref = 'new'")
    assert findings(sound)["refused orders"] == ("warn", "1 in the last day")
    request = (
        "INSERT INTO top_up_request (account_id, request_id, amount_micros, amount, balance_micros, created_at) "
        "VALUES (1, 1, 1, '1', 0, :at)"
    )
    execute(sound, request, at=now() - 2 * 86_400_000)
    assert findings(sound)["top-up requests"] == ("warn", "1 are unanswered, since 48 h")


def test_sessions_that_nobody_closes(sound: Aaa, log_in: LogIn) -> None:
    log_in("anna")
    assert findings(sound)["stale sessions"][0] == "ok"
    execute(sound, "UPDATE session SET stale_at = :at", at=now() - 120_000)
    assert findings(sound)["stale sessions"] == ("fail", "1 are silent and still open, the oldest since 2 min")


def test_restarts_orphans_and_disobedience(sound: Aaa) -> None:
    execute(
        sound,
        "INSERT INTO nas_restart (nas_id, nas_address, event_at, kind, recorded_at) VALUES (1, '192.0.2.1', :at, 'on', :at)",
        at=now() - 7_200_000,
    )
    execute(
        sound,
        "INSERT INTO orphan_report (digest, nas_id, nas_address, username, reason, packet, received_at) "
        "VALUES ('d', 1, '192.0.2.1', 'nobody', 'unknown-user', '', :at)",
        at=now(),
    )
    execute(
        sound,
        "INSERT INTO notice (account_id, notice_id, kind, detail, created_at) VALUES (1, 99, 'enforcement-failed', '', :at)",
        at=now(),
    )
    found = findings(sound)
    assert found["NAS restarts"] == ("fail", "1 are not worked off, the oldest since 2 h")
    assert found["orphans"][0] == "warn"
    assert found["enforcement"][0] == "warn"


def test_a_changed_table(sound: Aaa) -> None:
    execute(sound, "ALTER TABLE notice ADD COLUMN more integer")
    assert findings(sound)["schema"][0] == "warn"


def test_a_database_of_another_version(sound: Aaa) -> None:
    execute(sound, "UPDATE alembic_version SET version_num = '0000'")
    found = findings(sound)
    assert found["schema"][0] == "fail"
    assert "aaa db upgrade" in sound("doctor").stdout


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://nobody@127.0.0.1:1/none", "cannot reach the database"),
        ("mysql://x", "the databases are sqlite and postgresql"),
        ("sqlite:///not-there.db", "there is no database not-there.db yet"),
    ],
)
def test_a_database_that_is_not_there(url: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = Aaa(url, tmp_path)("doctor")
    assert result.exit_code == 1
    assert words in result.stdout
    assert "FAIL" in result.stdout
    assert not list(tmp_path.glob("not-there*"))


def test_keys_that_are_missing_or_wrong_or_seen_by_others(sound: Aaa) -> None:
    sound.keys_file.chmod(0o644)
    assert findings(sound)["key file"][0] == "warn"
    kept = sound.keys_file.read_text()
    sound.keys_file.write_text("1:" + "0" * 64)
    sound.keys_file.chmod(0o600)
    found = findings(sound)
    assert found["key file"][0] == "ok"
    assert found["NASes"][0] == "fail"
    assert "bras-1" in found["NASes"][1]
    sound.keys_file.write_text("rubbish")
    assert findings(sound)["key file"][0] == "fail"
    sound.keys_file.unlink()
    assert findings(sound)["key file"] == ("fail", f"{sound.keys_file} is missing")
    sound.keys_file.write_text(kept)


def test_no_nas_at_all(shop: Aaa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.folder)
    assert findings(shop)["key file"][0] == "ok"
    shop.ok("nas", "add", "bras-1", "--address", "192.0.2.1")
    shop.ok("nas", "remove", "bras-1")
    assert findings(shop)["NASes"][0] == "warn"


def test_what_waits_in_the_spool(sound: Aaa) -> None:
    folder = sound.folder / "spool"
    folder.mkdir()
    config = sound.file("aaa.toml", f'spool_dir = "{folder}"')

    def spool() -> dict[str, tuple[str, str]]:
        return {line["check"]: (line["level"], line["words"]) for line in json.loads(doctor_with(sound, config))}

    assert spool()["spool"][0] == "ok"
    salt = 7
    segment = folder / f"{1:016d}-{salt:08x}.spool"
    segment.write_bytes(encode(Record(1, now(), "192.0.2.1", b"packet"), salt))
    assert spool()["spool"][0] == "ok"
    segment.write_bytes(encode(Record(1, now() - 3_600_000, "192.0.2.1", b"packet"), salt))
    level, words = spool()["spool"]
    assert level == "warn"
    assert "received 3600 s ago" in words
    (folder / f"{2:016d}-{salt:08x}.aside").write_bytes(b"x")
    assert spool()["set aside"][0] == "warn"


def doctor_with(aaa: Aaa, config: str) -> str:
    """The doctor's JSON under a configuration file."""
    from click.testing import CliRunner

    from cli.main import aaa as command

    line = ["--config", config, "--database", aaa.database_url, "--keys", str(aaa.keys_file), "doctor", "--json"]
    return CliRunner().invoke(command, line, prog_name="aaa").stdout


@pytest.mark.parametrize(("apart_ms", "level"), [(0, "ok"), (30_000, "warn"), (-30_000, "warn"), (3_600_000, "fail")])
def test_clocks_that_differ(postgresql_url: str, apart_ms: int, level: str) -> None:
    engine = open_engine(postgresql_url)
    with engine.connect() as connection:
        found = health.clock(connection, now() + apart_ms)
    engine.dispose()
    assert found.level == level
    assert ("behind" in found.words) == (apart_ms > 0) or apart_ms == 0
