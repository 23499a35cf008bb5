"""docs/security.md names no attack that no test carries out."""

from __future__ import annotations

import re
from pathlib import Path

from tests.house.test_reliability import names_of_tests, shown_by

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "security.md"
LEAST_ATTACKS = 50
HEAD = "| attack | what comes of it | test |"


def attacks() -> list[list[str]]:
    """The rows of the table of attacks."""
    table = DOCUMENT.read_text(encoding="utf-8").split(HEAD, 1)[1].splitlines()[2:]
    lines = table[: next((n for n, line in enumerate(table) if not line.startswith("|")), len(table))]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_attack_names_a_test_that_exists() -> None:
    known = names_of_tests()
    for row in attacks():
        assert len(row) == 3, row
        named = shown_by(row[2])
        assert named, f"{row[0]}: no test is named"
        for name in named:
            assert name in known or (ROOT / name).is_file(), f"{row[0]}: there is no {name}"


def test_there_are_attacks_enough_and_each_is_told_once() -> None:
    names = [row[0] for row in attacks()]
    assert len(names) >= LEAST_ATTACKS
    assert len(set(names)) == len(names)


def test_every_test_of_an_attack_is_in_the_table() -> None:
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT.read_text(encoding="utf-8")))
    carried_out = {
        name
        for path in (ROOT / "tests" / "attacks").glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert carried_out - named == set()
