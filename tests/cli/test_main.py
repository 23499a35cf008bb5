"""The door itself: help, options, and how failures are told."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from sqlalchemy.exc import IntegrityError

from charging import tables
from charging.database import open_engine
from cli.main import NOUNS, in_words
from cli.main import aaa as command
from tests.cli.conftest import Aaa, words

PRESENT = [noun for noun in NOUNS if importlib.util.find_spec(f"cli.{noun}") is not None]


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and group, by its words."""
    waiting: list[tuple[str, click.Command]] = [("aaa", command)]
    while waiting:
        words, each = waiting.pop()
        yield words, each
        if isinstance(each, click.Group):
            names = PRESENT if each is command else list(each.commands)
            context = click.Context(each)
            for name in names:
                found = each.get_command(context, name)
                assert found is not None
                waiting.append((f"{words} {name}", found))


COMMANDS = dict(commands())
LEAVES = sorted(words for words, each in COMMANDS.items() if not isinstance(each, click.Group))
DOCS = Path(__file__).parents[2] / "docs"


def test_every_noun_of_help_has_its_file() -> None:
    assert list(NOUNS) == PRESENT


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_says_what_it_does_and_shows_an_example(words: str) -> None:
    each = COMMANDS[words]
    assert each.help
    assert each.help.splitlines()[0].endswith((".", ":")) or ". " in each.help or "." in each.help
    example = each.epilog or ""
    assert example.startswith("Example: aaa ")
    if words != "aaa":
        assert example.removeprefix("Example: ").startswith(words) or "--database" in example


@pytest.mark.parametrize("words", LEAVES)
def test_every_example_can_be_typed(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words, options and values are those of the command; only what they name may not be there."""
    monkeypatch.chdir(tmp_path)
    example = (COMMANDS[words].epilog or "").removeprefix("Example: aaa ")
    typed = shlex.split(example)
    given = typed[: next((n for n, word in enumerate(typed) if word in {"|", "<", ">"}), len(typed))]
    for word in given:
        if re.fullmatch(r"[\w-]+\.[a-z]+", word):
            (tmp_path / word).touch()
    if given[0] == "--database":
        given = given[2:]
    names = words.split()[1:]
    assert given[: len(names)] == names
    COMMANDS[words].make_context(words, given[len(names) :])


def test_the_page_of_commands_has_each_of_them() -> None:
    page = (DOCS / "commands.md").read_text()
    listed = re.findall(r"^\| `(aaa [a-z -]+)` \|", page, re.MULTILINE)
    missing = [f"| `{words}` | {COMMANDS[words].get_short_help_str(200)} |" for words in LEAVES if words not in listed]
    assert not missing, "docs/commands.md lacks:\n" + "\n".join(missing)
    assert [words for words in listed if words not in LEAVES] == []
    assert len(set(listed)) == len(listed)


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words behind `aaa` of each command line on a page: indented, after a `$`, or in backticks. A router's are not ours."""
    for line in page.read_text(encoding="utf-8").splitlines():
        for found in re.findall(r"^(?: {4}|\$ )(?:\$ )?aaa (.*)$", line) or re.findall(r"`aaa ([a-z][^`]*)`", line):
            typed = shlex.split(found, comments=True)
            if typed and typed[0] in NOUNS:
                end = next((n for n, word in enumerate(typed) if word in {"|", "<", ">", "&", "…"}), len(typed))
                yield [word.rstrip(",;") for word in typed[:end]]


@pytest.mark.parametrize("page", sorted([*DOCS.rglob("*.md"), DOCS.parent / "README.md"]), ids=lambda page: page.name)
def test_the_documentation_names_no_command_and_no_option_that_is_not_there(page: Path) -> None:
    wrong = []
    for typed in command_lines(page):
        length = max(n for n in range(1, len(typed) + 1) if " ".join(["aaa", *typed[:n]]) in COMMANDS)
        each = COMMANDS[" ".join(["aaa", *typed[:length]])]
        there = {name for param in each.params for name in (*param.opts, *param.secondary_opts)} | {"--help"}
        wrong += [
            [*typed, "has no", word] for word in typed if word.startswith("--") and word.split("=")[0] not in there
        ]
        verb = typed[length] if len(typed) > length else ""
        if isinstance(each, click.Group) and re.fullmatch(r"[a-z][a-z-]*", verb):
            wrong.append([*typed, "has no", verb])
    assert wrong == []


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_is_explained(words: str) -> None:
    options = [p for p in COMMANDS[words].params if isinstance(p, click.Option)]
    assert [p.name for p in options if not p.help and not isinstance(p.type, click.Choice)] == []


@pytest.mark.parametrize("words", COMMANDS)
def test_help_is_printed_without_a_database(words: str) -> None:
    result = CliRunner().invoke(command, [*words.split()[1:], "--help"], prog_name="aaa")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: {words} ")


@pytest.mark.parametrize("words", [w for w, each in COMMANDS.items() if not isinstance(each, click.Group)])
def test_what_prints_data_prints_json_too(words: str) -> None:
    verbs = {"list", "show", "check", "audit", "add", "set", "load", "import", "balance", "usage", "explain", "topup"}
    if words.rsplit(maxsplit=1)[-1] in verbs:
        assert any(p.name == "as_json" for p in COMMANDS[words].params), words


@pytest.mark.parametrize(
    ("arguments", "slow"),
    [
        (["--help"], {"sqlalchemy", "alembic", "twisted", "rich", "structlog", "cryptography"}),
        (["nas", "list", "--json"], {"alembic", "twisted", "rich", "structlog", "OpenSSL"}),
        (["subscriber", "list", "--json"], {"alembic", "twisted", "rich", "structlog", "OpenSSL"}),
        (["session", "list", "--json"], {"alembic", "twisted", "rich", "structlog", "OpenSSL"}),
    ],
    ids=words,
)
def test_a_command_imports_no_more_than_it_needs(arguments: list[str], slow: set[str], sqlite_url: str) -> None:
    """So that it is quick: most take longer to import than to run."""
    program = (
        "import sys\nfrom cli.main import aaa\n"
        f"try:\n    aaa(['--database', {sqlite_url!r}, *{arguments}], prog_name='aaa')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        f"sys.exit(repr(sorted({slow} & set(sys.modules))) if {slow} & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


USAGE = [
    (["dbb"], "there is no command 'dbb'; did you mean 'db'? (see: aaa --help)"),
    (["zzz"], f"there is no command 'zzz'; there are {', '.join(NOUNS)} (see: aaa --help)"),
    (["--databse", "x", "db", "check"], "No such option '--databse'. Did you mean '--database'? (see: aaa --help)"),
    (["db", "chek"], "No such command 'chek'. Did you mean 'check'? (see: aaa db --help)"),
    (["nas", "show"], "Missing argument 'NAME' (see: aaa nas show --help)"),
    (
        ["nas", "add", "bras-1"],
        "say where its packets come from: --address, or by what it is known over TLS: --certificate (see: aaa nas add --help)",
    ),
    (
        ["nas", "add", "a b", "--address", "192.0.2.1"],
        (
            "Invalid value for 'NAME': 'a b' is not a name; use 1 to 64 of the letters a-z, digits, '.', '_', '-' "
            "(see: aaa nas add --help)"
        ),
    ),
    (["--config", "/nowhere.toml", "db", "check"], "Invalid value for '--config': File '/nowhere.toml' does not exist"),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE, ids=words)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(command, arguments, prog_name="aaa")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("aaa.db", "'aaa.db' is not a database URL; write sqlite:///aaa.db or postgresql://user@host/name"),
        ("mysql://host/name", "mysql: the databases are sqlite and postgresql"),
        ("sqlite:////nowhere/aaa.db", "there is no database /nowhere/aaa.db yet; run: aaa db upgrade"),
        ("postgresql://aaa@127.0.0.1:1/aaa", "cannot reach the database: connection failed: "),
    ],
)
def test_a_database_that_can_not_be_used(url: str, message: str) -> None:
    result = CliRunner().invoke(command, ["--database", url, "nas", "list"], prog_name="aaa")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.count("\n") == 1


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database " * 1000)
    result = CliRunner().invoke(command, ["--database", f"sqlite:///{tmp_path / 'x.db'}", "nas", "list"])
    assert result.stderr == "Error: cannot use the database: file is not a database\n"


def test_an_empty_database_names_the_command_that_fills_it(empty_postgresql_url: str, tmp_path: Path) -> None:
    assert Aaa(empty_postgresql_url, tmp_path).fails("nas", "list") == "the database is empty; run: aaa db upgrade"


def test_looking_for_a_database_does_not_make_one(empty_sqlite_url: str, tmp_path: Path) -> None:
    message = Aaa(empty_sqlite_url, tmp_path).fails("nas", "list")
    assert message == f"there is no database {tmp_path / 'empty.db'} yet; run: aaa db upgrade"
    assert list(tmp_path.iterdir()) == []


def test_the_database_may_come_from_the_environment(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AAA_DATABASE", database_url)
    result = CliRunner().invoke(command, ["nas", "list"], prog_name="aaa")
    assert (result.exit_code, result.stdout) == (0, "no NAS yet; run: aaa nas add NAME --address ADDR\n")


def test_a_bug_keeps_its_traceback(aaa: Aaa, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("aaa.registry.all_nases", broken)
    with pytest.raises(ZeroDivisionError):
        aaa("nas", "list")


def test_octets_that_are_no_text(aaa: Aaa) -> None:
    assert aaa.fails("nas", "show", "br\udcff") == "the command line has octets that are not UTF-8 text"


def test_who_comes_second_with_the_same_name_is_told(aaa: Aaa) -> None:
    """Two operators at one moment: neither's command saw the other's row, and the database had the last word."""
    engine = open_engine(aaa.database_url)
    row = {"name": "smith", "currency": "EUR", "created_at": 0}
    with pytest.raises(IntegrityError) as caught, engine.begin() as connection:
        connection.execute(tables.account.insert(), [row, row])
    engine.dispose()
    problem = in_words(caught.value)
    assert problem is not None
    assert problem.startswith("somebody else changed the same at this moment; nothing was changed, try again: ")
