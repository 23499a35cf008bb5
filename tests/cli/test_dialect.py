"""`aaa dialect`: the list, one of them, and those that a site has of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aaa import dialects
from cli.config import ConfigError, load
from tests.cli.conftest import Aaa

OWN = """\
[dialect.our-bng]
base = "generic"
about = "what we have in the cellar"
coa_port = 1700
[dialect.our-bng.rate]
Filter-Id = "{down_kbps}/{up_kbps}"
"""


@pytest.fixture(autouse=True)
def nothing_installed() -> Iterator[None]:
    yield
    dialects.install(())


@pytest.fixture
def plain(sqlite_url: str, tmp_path: object) -> Aaa:
    from pathlib import Path

    return Aaa(sqlite_url, Path(str(tmp_path)))


def test_the_list_has_all_of_them(plain: Aaa) -> None:
    listed = plain.json("dialect", "list")
    assert [each["name"] for each in listed] == list(dialects.SHIPPED)
    strongswan = next(each for each in listed if each["name"] == "strongswan")
    assert (strongswan["capability"], strongswan["sources"]) == ("disconnect", ["tested", "measured", "code"])
    text = plain.ok("dialect", "list")
    assert "huawei" in text
    assert "disconnect only" in text


def test_one_of_them_with_the_source_of_each_claim(plain: Aaa) -> None:
    shown = plain.json("dialect", "show", "mikrotik")
    assert shown["accept"] == ["Mikrotik-Rate-Limit = 5M/20M"]
    assert shown["throttle"] == [["Mikrotik-Rate-Limit = 128k/256k"]]
    assert shown["quota"] == ["Mikrotik-Total-Limit = 705032704", "Mikrotik-Total-Limit-Gigawords = 1"]
    assert {
        "subject": "volume", "says": "Mikrotik-Total-Limit with -Gigawords ends the session; 0 and 0 is no limit",
        "source": "manual", "where": "RouterOS manual, RADIUS Client",
    } in shown["claims"]  # fmt: skip
    assert "[its manual, RouterOS manual, RADIUS Client]" in plain.ok("dialect", "show", "mikrotik")


def test_several_coas_are_several_lines(plain: Aaa) -> None:
    lines = plain.ok("dialect", "show", "cisco-isg").splitlines()
    assert sum("subscriber:command=" in line for line in lines) == 2


@pytest.mark.parametrize("name", dialects.SHIPPED)
def test_each_can_be_shown(plain: Aaa, name: str) -> None:
    assert plain.ok("dialect", "show", name).splitlines()[0].split() == ["name", name]


def test_one_that_is_not_there(plain: Aaa) -> None:
    message = plain.fails("dialect", "show", "cisco", code=2)
    assert message.startswith("Invalid value for 'NAME': 'cisco' is not one of 'generic', 'mikrotik'")


def test_a_site_has_its_own(plain: Aaa) -> None:
    config = plain.file("aaa.toml", OWN)
    assert plain.json("--config", config, "dialect", "list")[-1]["about"] == "what we have in the cellar"
    shown = plain.json("--config", config, "dialect", "show", "our-bng")
    assert (shown["coa_port"], shown["accept"]) == (1700, ["Filter-Id = 20000/5000"])
    assert shown["claims"][0]["source"] == "site"


def test_a_nas_can_speak_it(aaa: Aaa) -> None:
    aaa.ok("db", "upgrade")
    config = aaa.file("aaa.toml", OWN)
    added = aaa.json("--config", config, "nas", "add", "bras-1", "--address", "192.0.2.1", "--dialect", "our-bng")
    assert (added["dialect"], added["coa_port"]) == ("our-bng", 1700)


def test_faults_of_the_file_are_told_as_all_others() -> None:
    with pytest.raises(ConfigError) as caught:
        load(OWN.replace("coa_port = 1700", "coa_port = 0x10000") + 'auth_prot = 5\n[dialect."bad name"]\n', "aaa.toml")
    assert [problem.split(": ", 1)[0] for problem in caught.value.problems] == [
        "aaa.toml:4",
        "aaa.toml:7",
        "aaa.toml:8",
    ]
    assert "is not a name" in caught.value.problems[2]


def test_nobody_simulates_what_a_site_has_of_its_own(aaa: Aaa) -> None:
    aaa.ok("db", "upgrade")
    config = aaa.file("aaa.toml", OWN)
    aaa.ok("--config", config, "nas", "add", "bras-1", "--address", "127.0.0.1", "--dialect", "our-bng")
    simulate = ("nas", "simulate", "bras-1", "alice", "--password", "x")
    assert aaa.fails("--config", config, *simulate).startswith("no simulated NAS speaks 'our-bng'; there are accel-ppp")
