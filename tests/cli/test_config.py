"""The configuration file, and the key file that follows from it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from aaa.keyring import load as load_keys
from charging.retention import DAY_SECONDS, KINDS, Retention
from cli.config import Config, ConfigError, Setup, load
from cli.main import aaa as command
from tests.cli.conftest import Aaa


def test_a_whole_file() -> None:
    text = """
    database = "postgresql://aaa@db/aaa"
    keys_file = "/etc/aaa/aaa.keys"
    listen = ["192.0.2.10", "2001:DB8::10"]
    auth_port = 1645
    acct_port = 1646
    node = "radius-1"
    processes = 4
    log_level = "debug"
    log_format = "json"
    """
    assert load(text, "aaa.toml") == Config(
        "postgresql://aaa@db/aaa",
        Path("/etc/aaa/aaa.keys"),
        ("192.0.2.10", "2001:db8::10"),
        1645,
        1646,
        "radius-1",
        4,
        "debug",
        "json",
    )


def test_an_empty_file_is_the_default() -> None:
    assert load("", "aaa.toml") == Config()


def test_one_address_needs_no_list() -> None:
    assert load('listen = "::"', "aaa.toml").listen == ("::",)


def test_what_is_kept_for_how_long() -> None:
    assert load("[retention]", "aaa.toml").retention == Retention()
    kept = load(
        '[retention]\nusage_lines = "30 days"\nclosed_sessions = "never"\ncommands = "1 day"', "aaa.toml"
    ).retention
    assert (kept.usage_lines, kept.closed_sessions, kept.commands) == (30 * DAY_SECONDS, None, DAY_SECONDS)
    assert kept.notices == Retention().notices


FAULTS = [
    ("retention = 5", "aaa.toml:1: retention: is not a table; write [retention]"),
    (
        "[retention]\nusage_lines = 400",
        'aaa.toml:2: retention.usage_lines: 400 is not a text; write for example "400 days", or "never"',
    ),
    (
        "[retention]\nusage_lines = '2 months'",
        (
            "aaa.toml:2: retention.usage_lines: '2 months': a month has no fixed length here; write for example 30 days; "
            'write for example "400 days", or "never"'
        ),
    ),
    (
        "[retention]\ncommands = '5m'",
        'aaa.toml:2: retention.commands: \'5m\' is too short; write at least "1d", or "never"',
    ),
    (
        "remind_ahead = '7 days'\n[retention]\nnotices = '5 days'",
        'aaa.toml:3: retention.notices: \'5 days\' is too short; write at least "8d", or "never"',
    ),
    (
        "[retention]\nclosed_sessions = '5 days'",
        'aaa.toml:2: retention.closed_sessions: \'5 days\' is too short; write at least "7d", or "never"',
    ),
    (
        "[retention]\nclosed_sessions = '90 days'",
        (
            "aaa.toml:2: retention.closed_sessions: closed_sessions is shorter than usage_lines, and a session is not "
            "removed before them; make it as long"
        ),
    ),
    (
        "[retention]\nusage_lines = 'never'",
        (
            "aaa.toml:2: retention.usage_lines: closed_sessions is shorter than usage_lines, and a session is not "
            "removed before them; make it as long"
        ),
    ),
    ("[retention]\ntransfers = '9 days'", "aaa.toml:2: retention.transfers: unknown key; known here are {known}"),
    ("databas = 'x'", "aaa.toml:1: databas: unknown key; did you mean 'database'?"),
    ("database = 5", 'aaa.toml:1: database: 5 is not a text; write for example "sqlite:///aaa.db"'),
    ("auth_port = 70000", "aaa.toml:1: auth_port: 70000 is not a port; write a number from 1 to 65535, without quotes"),
    ("acct_port = true", "aaa.toml:1: acct_port: True is not a port; write a number from 1 to 65535, without quotes"),
    ("log_level = 'loud'", "aaa.toml:1: log_level: 'loud' is unknown; write one of debug, info, warning, error"),
    ("listen = []", 'aaa.toml:1: listen: [] is no address; write "0.0.0.0", or ["0.0.0.0", "::"]'),
    (
        "\nlisten = 'localhost'",
        (
            "aaa.toml:2: listen: 'localhost' does not appear to be an IPv4 or IPv6 address; "
            'write "0.0.0.0", or ["0.0.0.0", "::"]'
        ),
    ),
    ("auth_port = ", "aaa.toml:1: not TOML: Invalid value (at end of document)"),
    (
        "node = ''\nkeys_file = 1",
        (
            "aaa.toml:1: node: '' is not a text; write for example \"radius-1\"\n"
            'aaa.toml:2: keys_file: 1 is not a text; write for example "/etc/aaa/aaa.keys"'
        ),
    ),
]


@pytest.mark.parametrize(("text", "problem"), FAULTS)
def test_a_fault_says_where_and_what_would_be_right(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, "aaa.toml")
    assert str(caught.value) == problem.replace("{known}", ", ".join(KINDS))


def test_a_faulty_file_is_told_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "aaa.toml"
    path.write_text("colour = 1")
    result = CliRunner().invoke(command, ["--config", str(path), "nas", "list"], prog_name="aaa")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {path}:1: colour: unknown key; known here are database, keys_file, ")


def test_the_option_wins_over_the_file(sqlite_url: str, tmp_path: Path) -> None:
    path = tmp_path / "aaa.toml"
    path.write_text('database = "mysql://nowhere"')
    arguments = ["--config", str(path), "--database", sqlite_url, "nas", "list"]
    assert CliRunner().invoke(command, arguments, prog_name="aaa").exit_code == 0


def test_the_file_may_come_from_the_environment(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "aaa.toml"
    path.write_text(f'database = "{sqlite_url}"')
    monkeypatch.setenv("AAA_CONFIG", str(path))
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(command, ["nas", "list"], prog_name="aaa").exit_code == 0
    assert not (tmp_path / "aaa.db").exists()


# The key file


def test_the_first_command_that_needs_keys_makes_them(aaa: Aaa) -> None:
    result = aaa("nas", "add", "bras-1", "--address", "192.0.2.1")
    assert f"made the key file {aaa.keys_file}: " in result.stderr
    assert stat.S_IMODE(aaa.keys_file.stat().st_mode) == 0o600
    assert len(load_keys(aaa.keys_file).token_keys) == 1
    second = aaa("nas", "add", "bras-2", "--address", "192.0.2.2")
    assert "key file" not in second.stderr


def test_a_missing_key_file_is_not_made_again(aaa: Aaa) -> None:
    aaa.ok("nas", "add", "bras-1", "--address", "192.0.2.1")
    aaa.keys_file.unlink()
    assert aaa.fails("nas", "add", "bras-2", "--address", "192.0.2.2") == (
        f"the key file {aaa.keys_file} is missing, and this database holds secrets sealed with it; "
        "put it back, or name it: keys_file in the configuration, or AAA_KEYS"
    )
    assert not aaa.keys_file.exists()


def test_what_needs_no_keys_makes_none(shop: Aaa) -> None:
    shop.ok("nas", "list")
    shop.ok("subscriber", "add", "alice", "--plan", "prepaid-50")
    assert not shop.keys_file.exists()


def test_a_broken_key_file_is_named_with_its_line(aaa: Aaa) -> None:
    aaa.keys_file.write_text("1:abc\n")
    message = aaa.fails("nas", "add", "bras-1", "--address", "192.0.2.1")
    assert message.startswith(f"{aaa.keys_file}:1: a line is NUMBER:KEY")


def test_where_the_keys_are() -> None:
    assert Setup(Config(keys_file=Path("/etc/k"))).keys_file() == Path("/etc/k")
    assert Setup(Config("sqlite:///data/aaa.db")).keys_file() == Path("data/aaa.db.keys")
    assert Setup(Config("postgresql://aaa@db/aaa")).keys_file() == Path("aaa.keys")


def test_what_happens_without_the_database() -> None:
    text = """
    spool_dir = "/var/lib/aaa/spool"
    spool_size = "500MB"
    spool_age = "12h"
    answer_deadline = "1s"
    cached_accepts = true
    cached_session = "2m"
    """
    assert load(text, "aaa.toml") == Config(
        spool_dir=Path("/var/lib/aaa/spool"),
        spool_octets=500_000_000,
        spool_seconds=43_200,
        answer_deadline_seconds=1,
        cached_accepts=True,
        cached_session_seconds=120,
    )


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("spool_size = 5", '"1GB"'),
        ('spool_size = "1kB"', '"1GB"'),
        ('spool_age = "1 month"', '"3 days"'),
        ('answer_deadline = "0s"', '"2s"'),
        ('cached_accepts = "yes"', "true nor false"),
    ],
)
def test_what_can_not_be_is_answered_with_what_could(line: str, right: str) -> None:
    with pytest.raises(ConfigError, match=right):
        load(line, "aaa.toml")


@pytest.mark.parametrize(
    ("config", "node", "folder"),
    [
        (Config(), "", "aaa.db.spool"),
        (Config(database="sqlite:////srv/a.db"), "", "/srv/a.db.spool"),
        (Config(database="sqlite:////srv/a.db"), "radius/1", "/srv/a.db-radius_1.spool"),
        (Config(database="postgresql://aaa@db/aaa"), "", "aaa.spool"),
        (Config(database="postgresql://aaa@db/aaa"), "radius-2", "aaa-radius-2.spool"),
        (Config(spool_dir=Path("/spool")), "radius-2", "/spool"),
    ],
)
def test_where_the_spool_is(config: Config, node: str, folder: str) -> None:
    assert Setup(config).spool_folder(node) == Path(folder)


def test_realms_are_taken_off_or_replaced() -> None:
    text = '[realm."example.net"]\nstrip = true\n[realm.old]\nmap = "new.example"\n'
    assert load(text, "aaa.toml").realms == (("example.net", None), ("old", "new.example"))
    with pytest.raises(ConfigError, match="write strip = true"):
        load("[realm.old]\n", "aaa.toml")
    with pytest.raises(ConfigError, match="write strip = true"):
        load('[realm.old]\nstrip = true\nmap = "new"\n', "aaa.toml")
