"""`aaa rate`, and with it the prices that docs/plans.md writes beside its examples."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Aaa

DOCS = (Path(__file__).parents[2] / "docs" / "plans.md").read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
PROFILES = re.findall(r"^\| `aaa plan profile (.+?)` \| (.+?) \|$", DOCS, re.MULTILINE)
ASKED = re.findall(r"^\| `aaa rate (.+?)` \| (.+?) \|$", DOCS, re.MULTILINE)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All examples of the documentation in one file."""
    whole, *pieces = EXAMPLES
    path = tmp_path_factory.mktemp("plans") / "plans.toml"
    path.write_text("\n".join([whole, *pieces]))
    return path


def test_every_example_has_a_price_or_a_profile_beside_it() -> None:
    sold = {name for example in EXAMPLES for name in re.findall(r"^\[plan\.([a-z0-9-]+)\]$", example, re.MULTILINE)}
    assert sold == {command.split()[0] for command, _ in ASKED + PROFILES}


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


@pytest.mark.parametrize(("command", "answer"), PROFILES)
def test_the_documentation_says_which_profile_it_is(aaa: Aaa, plans: Path, command: str, answer: str) -> None:
    assert aaa.ok("plan", "profile", *shlex.split(command), "--file", str(plans)).splitlines()[0] == answer


def test_why_it_is_that_profile_and_until_when(aaa: Aaa, plans: Path) -> None:
    file = ("--file", str(plans))
    assert aaa.json("plan", "profile", "nights", "--at", "2026-10-24T23:00", *file) == {
        "plan": "nights", "action": "full", "profile": "home-50", "why": "window", "until": "2026-10-25T06:00:00+01:00",
    }  # fmt: skip
    assert aaa.json("plan", "profile", "capped", "--down", "6GB", "--at", "2026-10-25T12:00", *file) == {
        "plan": "capped", "action": "throttle", "profile": "crawl", "why": "cap daily", "until": "2026-10-26T00:00:00+01:00",
    }  # fmt: skip
    assert aaa.ok("plan", "profile", "fair", "--octets", "81GB", "--at", "2026-10-02", *file).splitlines() == [
        "fair-1", "why  fair-use", "until  2026-11-01T00:00:00+01:00",
    ]  # fmt: skip
    assert "is no moment" in aaa.fails("plan", "profile", "fair", "--at", "soon", *file, code=2)
    assert "--money" in aaa.fails("plan", "profile", "fair", "--money", "1.001", *file, code=2)


def test_line_by_line(aaa: Aaa, plans: Path) -> None:
    use = ("--octets", "2GB", "--seconds", "2h", "--at", "2026-05-04T17:00", "--file", str(plans))
    said = aaa.ok("rate", "windows", *use).splitlines()
    assert [line.split() for line in said[2:]] == [
        ["2026-05-04", "17:00:00", "rate", "4,", "total", "1", "GB", "0.50", "EUR"],
        ["2026-05-04", "18:00:00", "rate", "2,", "total", "1", "GB", "0.80", "EUR"],
        ["total", "1.30", "EUR"],
    ]
    record = aaa.json("rate", "windows", *use)
    assert (record["total_micros"], record["currency"]) == (1_300_000, "EUR")
    assert record["items"][1] == {
        "from": "2026-05-04T16:00:00.000Z",
        "until": "2026-05-04T17:00:00.000Z",
        "kind": "rate",
        "name": "rate 2",
        "unit": "octets",
        "amount": 1_000_000_000,
        "micros": 800_000,
    }
    assert aaa.json("rate", "graduated", "--money", "2.05", "--file", str(plans)) == {
        "plan": "graduated",
        "money_micros": 2_050_000,
        "octets": 11_000_000_000,
        "seconds": None,
    }


@pytest.mark.parametrize(
    ("command", "problem", "code"),
    [
        ("windows", "what was used? write --octets 3GB, --seconds 1h, or both; or --money 10.00", 2),
        ("windows --octets 3GBit", "'3GBit': not an amount of octets; write for example 500MB, 5GB or 5GiB", 2),
        ("windows --octets 1GB --at noon", "--at: 'noon' is no moment; write for example 2026-12-24T22:50", 2),
        ("zones --seconds 1m --zone pub", "--zone: 'pub' is no zone of plan 'zones'; it has cafe, partners", 2),
        ("steps --octets 1GB --counted x=1", "'x' is no rate that counts over a period; plan 'steps' has data", 2),
        ("steps --octets 1GB --counted data=x", "--counted: 'x': not an amount of octets", 2),
        ("steps --money 1.001", "--money: '1.001' has too many decimals", 2),
        ("window --octets 1GB", "there is no plan 'window'; did you mean 'windows'?", 1),
    ],
)
def test_what_is_wrong_and_what_would_be_right(aaa: Aaa, plans: Path, command: str, problem: str, code: int) -> None:
    assert problem in aaa.fails("rate", *shlex.split(command), "--file", str(plans), code=code)
