"""The finer rules of the house, read from the source's syntax trees. The floors themselves are import-linter's, in setup.cfg."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("aaa", "charging", "cli", "migrations", "dictionaries")

# Every room is pure unless it is named here. A name stands for a module or for a package with everything in it.
EFFECTS_ALLOWED = {
    "charging": (
        "audit",
        "batching",
        "bulk",
        "catalogue",
        "database",
        "dispute",
        "durability",
        "foreign",
        "health",
        "history_rows",
        "inbox",
        "jobs",
        "lane",
        "orphans",
        "order_audit",
        "order_inbox",
        "order_rows",
        "rerating_rows",
        "leasing",
        "pools",
        "pruning",
        "notices/files",
        "notices/outbox",
        "notices/postman",
        "notices/reminder",
        "notices/smtp",
        "notices/webhook",
        "reconciliation",
        "restarts",
        "retrospect",
        "roles",
        "roundtrip",
        "settle",
        "statement",
        "tables",
        "transaction",
        "voucher_batch",
        "writer",
    ),
    "aaa": (
        "certificates",
        "claims",
        "directory",
        "drops",
        "dynauth",
        "handlers",
        "keyring",
        "observations",
        "radsec",
        "registry",
        "replay",
        "rlm_sql",
        "runner",
        "sealed",
        "server",
        "simulator/udp",
        "sockets",
        "steering",
        "spool",
        "telling",
        "tracing",
        "verifier",
    ),
}
# `secrets` is let in: an authenticator that nobody gave must be unguessable, and no test may wish for anything else.
EFFECTS = {
    "alembic", "asyncio", "click", "greenlet", "logging", "os", "psycopg", "random", "rich", "select", "selectors",
    "socket", "sqlalchemy", "sqlite3", "ssl", "structlog", "subprocess", "threading", "time", "twisted",
}  # fmt: skip
# An instant is an argument; who would ask the calendar for it calls one of these.
CLOCK_CALLS = {"now", "utcnow", "today"}
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "core", "manager", "misc"}


def modules(*packages: str) -> list[Path]:
    """All Python files of these packages that exist now, relative to the root."""
    return sorted(path.relative_to(ROOT) for package in packages for path in (ROOT / package).rglob("*.py"))


def is_pure(path: Path) -> bool:
    package, *rest = path.with_suffix("").parts
    return bool(rest) and not {rest[0], "/".join(rest)} & set(EFFECTS_ALLOWED[package])


def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported: `from a import b` gives `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module or ''}.{alias.name}") for alias in node.names)


def effects_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """What a pure room may not do: import an effect, or ask for the time."""
    for line, name in imports(tree):
        if name.split(".")[0] in EFFECTS:
            yield line, f"imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK_CALLS:
            yield node.lineno, f"calls .{node.func.attr}()"
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"open", "print", "input"}
        ):
            yield node.lineno, f"calls {node.func.id}()"


def inexact_numbers_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """What money never sees: float literals, float(), Decimal, true division."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield node.lineno, f"the literal {node.value!r}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
            yield node.lineno, "float()"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield node.lineno, "the operator /"
    for line, name in imports(tree):
        if name.split(".")[0] == "decimal":
            yield line, name


def importers_of(name: str, *packages: str) -> set[str]:
    """The files that import this module or something from it."""
    return {
        str(path)
        for path in modules(*packages)
        if any(imported == name or imported.startswith(f"{name}.") for _, imported in imports(tree_of(path)))
    }


def complaints(path: Path, found: Iterator[tuple[int, str]]) -> list[str]:
    return [f"{path}:{line}: {what}" for line, what in found]


@pytest.mark.parametrize("path", [path for path in modules(*EFFECTS_ALLOWED) if is_pure(path)], ids=str)
def test_a_pure_room_has_no_socket_clock_log_or_sql(path: Path) -> None:
    assert complaints(path, effects_of(tree_of(path))) == []


@pytest.mark.parametrize("path", modules("charging"), ids=str)
def test_charging_counts_in_integers(path: Path) -> None:
    assert complaints(path, inexact_numbers_of(tree_of(path))) == []


def test_only_the_wire_imports_pyrad() -> None:
    assert {path for path in importers_of("pyrad", *PACKAGES) if not path.startswith("aaa/wire")} == set()


def test_only_serve_imports_the_reactor() -> None:
    assert importers_of("twisted.internet.reactor", *PACKAGES) <= {"cli/serve.py"}


def test_every_module_has_a_noun() -> None:
    assert [str(path) for path in modules(*PACKAGES) if FORBIDDEN_NAMES & set(path.with_suffix("").parts)] == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import socket", ["imports socket"]),
        ("from sqlalchemy.engine import Engine", ["imports sqlalchemy.engine.Engine"]),
        ("def f():\n    from time import time", ["imports time.time"]),
        ("from datetime import datetime\nx = datetime.now()", ["calls .now()"]),
        ("from datetime import timedelta\nimport struct", []),
    ],
)
def test_the_search_for_effects_finds_them(source: str, expected: list[str]) -> None:
    assert [what for _, what in effects_of(ast.parse(source))] == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 0.5", ["the literal 0.5"]),
        ("x = float('1')", ["float()"]),
        ("x = a / b", ["the operator /"]),
        ("x /= 2", ["the operator /"]),
        ("from decimal import Decimal", ["decimal.Decimal"]),
        ("x = a // b", []),
    ],
)
def test_the_search_for_inexact_numbers_finds_them(source: str, expected: list[str]) -> None:
    assert [what for _, what in inexact_numbers_of(ast.parse(source))] == expected
