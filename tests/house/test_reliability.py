"""docs/reliability.md promises nothing that no test shows."""

from __future__ import annotations

import re
from pathlib import Path

from tests.chaos.run import PLACES

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reliability.md"
LEAST_FAULTS = 40
HEAD = ("fault", "how it is injected", "promise", "test")


def rows(markdown: str) -> list[tuple[str, ...]]:
    """The rows of the tables of faults."""
    found: list[tuple[str, ...]] = []
    inside = False
    for line in markdown.splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split(" | ")) if line.startswith("|") else ()
        cells = tuple(cell.strip("| ") for cell in cells)
        if cells == HEAD:
            inside = True
        elif not cells:
            inside = False
        elif inside and not line.startswith("|---"):
            found.append(cells)
    return found


def shown_by(cell: str) -> list[str]:
    """What the last cell of a row names: tests, files of tests, faults of the chaos run."""
    return [
        *re.findall(r"`(test_\w+)`", cell),
        *re.findall(r"`(tests/[\w/.]+)`", cell),
        *re.findall(r"chaos: ([^`|]+?)(?:, `|$)", cell),
    ]


def names_of_tests() -> set[str]:
    """The names of all tests."""
    return {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }


def test_every_fault_names_a_test_that_exists() -> None:
    known = names_of_tests()
    faults = {fault.name for _, faults in PLACES.values() for fault in faults}
    for row in rows(DOCUMENT.read_text(encoding="utf-8")):
        assert len(row) == 4, row
        named = shown_by(row[3])
        assert named, f"{row[0]}: no test is named"
        for name in named:
            assert name in known or name in faults or (ROOT / name).is_file(), f"{row[0]}: there is no {name}"


def test_there_are_faults_enough_and_no_chaos_is_left_out() -> None:
    table = rows(DOCUMENT.read_text(encoding="utf-8"))
    assert len(table) >= LEAST_FAULTS
    named = {name for row in table for name in shown_by(row[3])}
    assert {fault.name for _, faults in PLACES.values() for fault in faults} - named == set()


def test_the_reading_of_rows() -> None:
    markdown = "| fault | how it is injected | promise | test |\n|---|---|---|---|\n| a | b | c | `test_x`, chaos: it falls, hard |\n\n| k | v |\n"
    assert rows(markdown) == [("a", "b", "c", "`test_x`, chaos: it falls, hard")]
    assert shown_by(rows(markdown)[0][3]) == ["test_x", "it falls, hard"]
    assert shown_by("chaos: one, `test_y`") == ["test_y", "one"]
