"""What a subscriber, a NAS or an operator's copied text brings, where it could be taken for SQL, a line of a log, an order to a
terminal, markup, a formula or a path."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import structlog
from structlog.testing import capture_logs

from aaa.wire import Attribute, Code
from charging import tables
from cli import log
from cli.config import Config, Setup
from cli.main import NOUNS
from cli.output import for_spreadsheet
from tests.aaa.conftest import PASSWORD, Floor
from tests.cli.conftest import PLANS, Aaa
from tests.cli.test_main import COMMANDS, LEAVES

ROOT = Path(__file__).parents[2]
#: Octets that steer a terminal or end a line; C1 controls and direction marks too.
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

NASTY = {
    "sql": b"'; DROP TABLE session; --",
    "sql by quotes": b"\\' OR 1=1 /* \" ` */ ; SELECT pg_sleep(9)",
    "array": b'{"a","b"}, {NULL}',
    "backslashes": b"\\\\\\x41\\u0041%s%(name)s{0}{x!r}$1:name?",
    "nul": b"ali\0ce",
    "newline": b"alice\n2026-03-01 access-accept user=root\r\n",
    "terminal": b"\x1b[2J\x1b]0;owned\x07\x9b31m",
    "not utf-8": b"\xff\xfe\xc3\x28\xed\xa0\x80",
    "direction": "\u202eecila\u2028".encode(),
    "markup": b"[bold red]x[/] [link=http://x]y[/link]",
    "formula": b"=cmd|' /C calc'!A0",
    "path": b"../../../../etc/passwd",
    "longest": b"x" * 253,
    "spaces": b"   ",
    "json": b'{"username":"root"}',
}
ATTRIBUTES = (
    "User-Name", "Calling-Station-Id", "Called-Station-Id", "NAS-Port-Id", "NAS-Identifier", "Acct-Session-Id",
    "Acct-Multi-Session-Id", "Connect-Info", "Filter-Id", "Reply-Message", "Login-LAT-Group", "Class", "State", "Proxy-State",
)  # fmt: skip
NUMBERS = {
    "User-Name": 1, "Filter-Id": 11, "Reply-Message": 18, "State": 24, "Class": 25, "Called-Station-Id": 30,
    "Calling-Station-Id": 31, "NAS-Identifier": 32, "Proxy-State": 33, "Login-LAT-Group": 36, "Acct-Session-Id": 44,
    "Acct-Multi-Session-Id": 50, "Connect-Info": 77, "NAS-Port-Id": 87,
}  # fmt: skip


def with_value(plain: list[Attribute], name: str, value: bytes) -> list[Attribute]:
    kept = [each for each in plain if each[0] != name]
    return [*kept, (f"Attr-{NUMBERS[name]}", value)]


@pytest.mark.parametrize("value", NASTY.values(), ids=NASTY)
def test_injection_through_every_attribute(floor: Floor, value: bytes) -> None:
    """Login and report with it in each attribute in turn: no bug, no change of anything but this login's rows, and afterwards
    everything works. On both databases, because each has another idea of what text is."""
    with capture_logs() as logged:
        for number, name in enumerate(ATTRIBUTES):
            login: list[Attribute] = [("User-Name", "alice"), ("User-Password", PASSWORD)]
            floor.send_access(floor.access_request(with_value(login, name, value)))
            floor.clock.advance(1)
            report: list[Attribute] = [
                ("Acct-Status-Type", 1), ("User-Name", "alice"), ("Acct-Session-Id", f"i{number}"), ("Acct-Output-Octets", 1)
            ]  # fmt: skip
            sent = floor.send_accounting(floor.accounting_request(with_value(report, name, value)))
            assert sent.done
            assert sent.answer().code == Code.ACCOUNTING_RESPONSE, name
    assert [line for line in logged if line["event"] == "bug" or line["log_level"] == "error"] == []
    for table in tables.metadata.tables.values():
        floor.rows(table)
    (alice,) = [row for row in floor.rows(tables.subscriber) if row.username == "alice"]
    assert alice.status == "active"
    floor.add_subscriber("bob")
    assert floor.login("bob").answer().code == Code.ACCESS_ACCEPT
    for row in floor.rows(tables.session):
        assert row.username in ("alice", "bob")


@pytest.mark.parametrize("value", NASTY.values(), ids=NASTY)
@pytest.mark.parametrize("text", [True, False])
def test_injection_into_the_log(value: bytes, text: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """One event is one line, of characters that only show."""
    log.configure("info", "text" if text else "json")
    try:
        said = value.decode("utf-8", "backslashreplace")
        structlog.get_logger("aaa").info("access-reject", username=said, detail=[said, {said: said}])
        written = capsys.readouterr().err
        assert written.endswith("\n")
        assert "\n" not in written[:-1]
        assert CONTROL.search(written[:-1]) is None, written
        if not text:
            assert json.loads(written)["username"] == said
    finally:
        structlog.reset_defaults()


@pytest.fixture
def shop(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Aaa:
    for name in ("AAA_DATABASE", "AAA_CONFIG", "AAA_KEYS"):
        monkeypatch.delenv(name, raising=False)
    aaa = Aaa(sqlite_url, tmp_path)
    aaa.ok("plan", "load", aaa.file("plans.toml", PLANS))
    aaa.ok("subscriber", "add", "alice", "--plan", "evening", "--password", "correct horse")
    return aaa


#: They run until they are stopped, or want a server; what they are told is read as by the others.
RUNNING = {"aaa serve", "aaa demo", "aaa nas simulate", "aaa test login", "aaa notice test"}


def with_one_value(words: str, value: str, folder: Path) -> Iterator[list[str]]:
    """The example of a command with the value in the place of each of its words in turn, and once behind each option."""
    typed = shlex.split((COMMANDS[words].epilog or "").removeprefix("Example: aaa "))
    typed = typed[2:] if typed[0] == "--database" else typed
    names = words.split()[1:]
    end = next((n for n, word in enumerate(typed) if word in {"|", "<", ">"}), len(typed))
    # Nothing outside of this test's folder is written to, and nothing is followed without an end.
    rest = [
        str(folder / "here") if word.startswith("/") else word for word in typed[len(names) : end] if word != "--follow"
    ]
    for n, word in enumerate(rest):
        if not word.startswith("--"):
            yield [*names, *rest[:n], value, *rest[n + 1 :]]
    for option in COMMANDS[words].params:
        if isinstance(option, click.Option) and not option.is_flag:
            yield [*names, *rest, option.opts[-1], value]


@pytest.mark.parametrize("noun", NOUNS)
def test_injection_through_every_argument(
    noun: str, shop: Aaa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A success or one line of error, with nothing in it that steers the terminal; the tables are what they were."""
    monkeypatch.chdir(tmp_path)
    parts = ("terminal", "sql", "direction", "markup", "newline", "backslashes", "formula", "path")
    value = b"".join(NASTY[name] for name in parts).decode("utf-8", "surrogateescape")
    typed = [
        each
        for words in LEAVES
        if words.split()[1] == noun and words not in RUNNING
        for each in with_one_value(words, value, tmp_path)
    ]
    for command in ([value], [noun, value], *typed):
        result = shop(*command, stdin="")
        assert result.exit_code in (0, 1, 2), command
        assert "Traceback" not in result.output
        for line in (result.stdout + result.stderr).splitlines():
            assert CONTROL.search(line) is None, line
    assert [row["username"] for row in shop.json("subscriber", "list") if row["username"] == "alice"] == ["alice"]
    assert shop.ok("db", "check").endswith("no differences\n")


def test_what_a_nas_said_does_not_steer_the_operators_terminal(sqlite_floor: Floor, tmp_path: Path) -> None:
    """`aaa session list`, `explain` and `usage` show what NASes and subscribers wrote."""
    path = sqlite_floor.engine.url.render_as_string(hide_password=False)
    nasty = NASTY["terminal"] + NASTY["newline"] + NASTY["markup"]
    more: list[Attribute] = [("Attr-31", nasty), ("Attr-87", nasty)]
    token = sqlite_floor.login(more=more).value("Class")
    assert isinstance(token, bytes)
    sqlite_floor.report(1, ("Class", token), *more, acct_session_id="plain")
    aaa = Aaa(path, tmp_path)
    for command in (["session", "list"], ["explain", "alice"], ["usage", "alice"], ["session", "list", "--json"]):
        printed = aaa.ok(*command)
        assert all(CONTROL.search(line) is None for line in printed.splitlines()), printed
    assert "[bold red]" in aaa.ok("session", "list", "--json"), "shown as it is"


def test_no_table_is_written_as_csv_without_a_guard() -> None:
    """A spreadsheet takes `=…` for a formula: every module that writes CSV puts its texts through `for_spreadsheet`."""
    writing = [
        path
        for package in ("aaa", "charging", "cli")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("writer", "DictWriter")
        and ast.unparse(node).startswith("csv.")
    ]
    assert writing, "vouchers are printed from CSV"
    for path in writing:
        assert "for_spreadsheet(" in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_formula_is_a_text_in_a_spreadsheet(name: str) -> None:
    assert for_spreadsheet(name) == f"'{name}"
    assert for_spreadsheet("spring-2027") == "spring-2027"


def test_a_batch_of_vouchers_that_is_called_like_a_formula(shop: Aaa) -> None:
    printed = shop("voucher", "generate", "=cmd|calc", "--count", "1", "--amount", "1.00")
    assert not any(cell.startswith("=") for line in printed.stdout.splitlines() for cell in line.split(","))


@pytest.mark.parametrize("node", ["../../etc/cron.d/x", "a/b", "..", "\0", "a b;rm -rf ~", "$(id)", "x" * 300])
def test_a_nodes_name_leads_out_of_no_folder(tmp_path: Path, node: str) -> None:
    folder = Setup(Config(database=f"sqlite:///{tmp_path}/aaa.db")).spool_folder(node)
    assert folder.parent == tmp_path
    assert re.fullmatch(r"[\w.-]+", folder.name)


def test_no_sql_is_made_of_values() -> None:
    """Every statement of the packages that is built as an f-string takes only names of tables and columns, never a value: the
    modules that do so are these, and are read with care."""
    known = {"audit.py", "bulk.py", "health.py", "rlm_sql.py", "roles.py", "database.py", "0001_first_tables.py"}
    verbs = re.compile(r"^\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|GRANT|SET)\s", re.ASCII)
    found = {
        path.name
        for package in ("aaa", "charging", "cli", "migrations")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr)
        and isinstance(node.values[0], ast.Constant)
        and verbs.match(str(node.values[0].value))
    }
    assert found <= known, found - known
