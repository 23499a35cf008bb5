"""Every dialect has a page in docs/nas, every page is a dialect's, and none claims more than the dialect does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from aaa.dialects import SHIPPED
from aaa.dialects.site import FLAGS, read
from charging.tomlfile import parse

FOLDER = Path(__file__).parents[2] / "docs" / "nas"
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")
SECTIONS = ["Set it up", "What is enforced, and how", "The bound", "Known and not known"]


def page(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def test_every_dialect_has_a_page_and_every_page_a_dialect() -> None:
    assert {file.stem for file in FOLDER.iterdir()} - {"README"} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_page_says_how_to_set_up_what_is_enforced_and_what_is_not_known(name: str) -> None:
    text = page(name)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert f"    aaa nas add nas-1 --address 192.0.2.1 --dialect {name}\n" in text
    assert f"`aaa dialect show {name}`" in text
    assert f"]({name}.md)" in INDEX


@pytest.mark.parametrize("name", SHIPPED)
def test_a_page_says_when_nobody_here_has_seen_the_equipment(name: str) -> None:
    seen = {claim.source for claim in SHIPPED[name].claims if claim.subject == "enforcement"} & {"tested", "measured"}
    assert ("Not tried on the real equipment" in page(name)) is not bool(seen)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_page_names_the_attributes_that_its_dialect_says(name: str) -> None:
    quota = SHIPPED[name].quota
    if quota is not None:
        assert f"`{quota(1)[0][0].partition(':')[0]}`" in page(name)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.md")), ids=lambda file: file.name)
def test_links_lead_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", file.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        assert (FOLDER / path).exists(), target
        headings = re.findall(r"^#+ (.+)$", (FOLDER / path).read_text(encoding="utf-8"), re.MULTILINE)
        assert not anchor or anchor in [heading.lower().replace(" ", "-") for heading in headings], target


def test_the_example_of_a_sites_own_dialect_has_no_faults_and_every_key_is_explained() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", INDEX, re.DOTALL)
    assert tomllib.loads(example)
    top = parse(example, "README.md")
    read(top.tables("dialect"), SHIPPED)
    assert list(top.faults.in_file_order()) == []
    explained = set(re.findall(r"`([a-z_]+)`", INDEX))
    assert {
        "base",
        "about",
        "capability",
        "identification",
        "reduced_identification",
        "coa_port",
        "lasting",
    } <= explained
    assert {"rate", "redirect", "quota", *FLAGS} <= explained
