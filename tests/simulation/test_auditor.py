"""The auditor is nobody's friend."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parent / "auditor.py"
PRODUCT = ("aaa", "charging", "cli", "migrations", "tests")


def test_it_knows_nothing_of_the_server_but_the_lines_of_a_nas_log() -> None:
    imported = set()
    for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert {name for name in imported if name.split(".")[0] in PRODUCT} == {"aaa.simulator.Event"}
