"""`aaa rate`, and with it the prices that docs/plans.md writes beside its examples."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Aaa

DOCS = (Path(__file__).parents[2] / "docs" / "plans.md").read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
ASKED = re.findall(r"^\| `aaa rate (.+?)` \| (.+?) \|$", DOCS, re.MULTILINE)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All examples of the documentation in one file."""
    whole, *pieces = EXAMPLES
    path = tmp_path_factory.mktemp("plans") / "plans.toml"
    path.write_text("\n".join([whole, *pieces]))
    return path


def test_every_example_has_a_price_beside_it() -> None:
    sold = {name for example in EXAMPLES for name in re.findall(r"^\[plan\.([a-z0-9-]+)\]$", example, re.MULTILINE)}
    assert sold == {command.split()[0] for command, _ in ASKED}


@pytest.fixture(scope="module")
def aaa(plans: Path) -> Aaa:
    """Without a database: a plan file needs none."""
    return Aaa("sqlite:////nowhere/aaa.db", plans.parent)


@pytest.mark.parametrize(("command", "answer"), ASKED)
def test_the_documentation_says_what_it_costs(aaa: Aaa, plans: Path, command: str, answer: str) -> None:
    said = aaa.ok("rate", *shlex.split(command), "--file", str(plans)).splitlines()
    if "--money" in command:
        assert answer in [line.split(maxsplit=1)[1] for line in said]
    else:
        assert said[-1] == f"total  {answer}"
