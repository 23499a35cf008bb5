from __future__ import annotations

from pathlib import Path

import pytest

from cli.config import ConfigError, load
from tests.cli.conftest import Aaa


@pytest.fixture
def ca(shop: Aaa, tmp_path: Path) -> tuple[Aaa, str]:
    folder = str(tmp_path / "certificates")
    shop.ok("certificate", "init", "radius.example.net", "--folder", folder)
    return shop, folder


def test_init_says_what_to_write_into_the_configuration(shop: Aaa, tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    said = shop.ok("certificate", "init", "radius.example.net", "--folder", str(folder))
    config = load("\n".join(line for line in said.splitlines() if line.startswith("eap_")), "aaa.toml")
    assert (config.eap_certificate, config.eap_key) == (folder / "server.pem", folder / "server.key")
    assert (config.eap_ca, config.eap_crl) == (folder / "ca.pem", folder / "crl.pem")


def test_issue_list_and_revoke(ca: tuple[Aaa, str], tmp_path: Path) -> None:
    shop, folder = ca
    out = tmp_path / "out"
    out.mkdir()
    issued = shop.json("certificate", "issue", "alice", "--folder", folder, "--out", str(out), "--days", "20")
    assert issued["files"] == [str(out / f"alice.{suffix}") for suffix in ("p12", "key", "pem")]
    assert len(issued["password"]) == 16
    assert (issued["state"], issued["ends_soon"]) == ("valid", True)
    listed = shop.json("certificate", "list", "--folder", folder)
    assert [each["name"] for each in listed] == ["alice", "radius.example.net", "AAA private CA"]
    assert [
        each["name"] for each in shop.json("certificate", "list", "--folder", folder, "--expires-within", "30")
    ] == ["alice"]
    (revoked,) = shop.json("certificate", "revoke", "alice", "--folder", folder)
    assert (revoked["serial"], revoked["state"]) == (issued["serial"], "revoked")


def test_another_certificate_for_the_server(ca: tuple[Aaa, str]) -> None:
    shop, folder = ca
    before = Path(folder, "server.pem").read_bytes()
    issued = shop.json("certificate", "issue", "radius.example.net", "--server", "--folder", folder)
    assert (issued["kind"], issued["password"]) == ("server", None)
    assert Path(folder, "server.pem").read_bytes() != before


def test_a_certificate_for_a_nas(ca: tuple[Aaa, str], tmp_path: Path) -> None:
    shop, folder = ca
    issued = shop.json(
        "certificate", "issue", "bras-1.example.net", "--nas", "--folder", folder, "--out", str(tmp_path)
    )
    assert (issued["kind"], issued["name"]) == ("nas", "bras-1.example.net")
    shop.ok("nas", "add", "bras-1", "--certificate", "dns:bras-1.example.net")
    shop.ok("nas", "add", "bras-2", "--certificate", str(tmp_path / "bras-1.example.net.pem"))
    assert shop.json("nas", "show", "bras-2")["certificate"].startswith("sha256:")
    shown = shop("certificate", "issue", "x", "--nas", "--server", "--folder", folder)
    assert shown.exit_code == 2


def test_what_can_not_be(ca: tuple[Aaa, str], tmp_path: Path) -> None:
    shop, folder = ca
    assert shop.fails("certificate", "init", "x", "--folder", folder) == f"{folder} holds a CA already"
    nowhere = str(tmp_path / "nowhere")
    assert shop.fails("certificate", "list", "--folder", nowhere) == f"{nowhere}/ca.pem: No such file or directory"
    assert shop.fails("certificate", "revoke", "alice", "--folder", folder) == (
        "there is no valid certificate of 'alice'; see: aaa certificate list"
    )
    assert (
        shop.fails("certificate", "issue", "../alice", "--folder", folder) == "'../alice' can not be the name of a file"
    )


FAULTS = [
    ('eap_methods = ["pwd"]', "'pwd' is unknown; there are peap, ttls, tls, mschapv2, md5, gtc"),
    ('eap_methods = ["md5", "md5"]', "'md5' stands there twice"),
    ('eap_methods = "md5"', "'md5' is no list of EAP methods"),
    ('eap_certificate = "a.pem"', "eap_certificate and eap_key go together"),
    ('eap_ca = "a.pem"', "eap_ca is of no use without eap_certificate and eap_key"),
    ('eap_crl = "a.pem"', "eap_crl is of no use without"),
    ('radsec_ca = "a.pem"', "radsec_certificate, radsec_key and radsec_ca go together"),
    ('radsec_crl = "a.pem"', "radsec_certificate, radsec_key and radsec_ca go together"),
    ("radsec_port = 0", "0 is not a port"),
    ('radsec_versions = ["1.2"]', "no list of versions"),
    ("radsec_versions = []", "no list of versions"),
    ("radsec_connections = 0", "0 is no number from 1 to 1000, without quotes"),
    ('radsec_idle = "0s"', "no time"),
]


@pytest.mark.parametrize(("line", "problem"), FAULTS)
def test_configuration_that_can_not_be(line: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(line, "aaa.toml")
    assert problem in str(caught.value)


def test_the_configuration_of_radsec() -> None:
    config = load(
        'radsec_port = 2083\nradsec_certificate = "a"\nradsec_key = "b"\nradsec_ca = "c"\nradsec_crl = "d"\n'
        'radsec_versions = ["1.0", "1.1"]\nradsec_connections = 3\nradsec_idle = "1h"\n',
        "aaa.toml",
    )
    assert (config.radsec_port, config.radsec_ca, config.radsec_crl) == (2083, Path("c"), Path("d"))
    assert (config.radsec_versions, config.radsec_connections, config.radsec_idle_seconds) == (("1.1", "1.0"), 3, 3600)
    assert load("", "aaa.toml").radsec_port is None


def test_radsec_without_certificates_says_how_to_make_them(shop: Aaa) -> None:
    result = shop("serve", "--auth-port", "0", "--acct-port", "0", "--radsec-port", "0")
    assert result.exit_code == 1
    assert "aaa certificate init" in result.stderr
