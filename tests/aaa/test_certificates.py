"""The private CA and what it issues, and the server's certificate as its files change."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store
from structlog.testing import capture_logs

from aaa.certificates import Authority, CertificateError, CertificateFiles, ServerCertificate
from aaa.eap.tls import names_in

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    authority = Authority.create(tmp_path / "ca", "test CA", NOW)
    authority.write_server(authority.issue("radius.example.net", "server", 825, NOW))
    return tmp_path / "ca"


def server_files(folder: Path) -> CertificateFiles:
    return CertificateFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem", folder / "crl.pem")


def test_a_strict_client_believes_the_server(folder: Path) -> None:
    server, ca = x509.load_pem_x509_certificates((folder / "server.pem").read_bytes())
    verifier = PolicyBuilder().store(Store([ca])).time(NOW).build_server_verifier(x509.DNSName("radius.example.net"))
    assert verifier.verify(server, [])[0] == server
    assert server.not_valid_after_utc - NOW == timedelta(days=825)


def test_a_certificate_of_a_subscriber(folder: Path, tmp_path: Path) -> None:
    authority = Authority(folder)
    made = authority.issue("alice@example.net", "client", 365, NOW).certificate
    assert names_in(made) == ["alice@example.net"]
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    issued = authority.issue("böb", "client", 365, NOW)
    assert names_in(issued.certificate) == ["böb"]
    paths = authority.write_client(issued, tmp_path / "bob", "secret")
    key, certificate, others = pkcs12.load_key_and_certificates(paths[0].read_bytes(), b"secret")
    assert key is not None
    assert certificate == issued.certificate
    assert len(others) == 1
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_key_and_certificates(paths[0].read_bytes(), b"wrong")


def test_keys_can_be_read_by_their_owner_only(folder: Path, tmp_path: Path) -> None:
    authority = Authority(folder)
    paths = authority.write_client(authority.issue("alice", "client", 1, NOW), tmp_path / "alice", "secret")
    for path in (folder / "ca.key", folder / "server.key", *paths[:2]):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_nothing_outlives_its_ca(folder: Path) -> None:
    late = NOW + timedelta(days=3649)
    made = Authority(folder).issue("alice", "client", 365, late).certificate
    assert made.not_valid_after_utc - late == timedelta(days=1)


def test_what_was_issued_and_what_ends_first(folder: Path) -> None:
    authority = Authority(folder)
    authority.issue("alice", "client", 10, NOW)
    authority.issue("bob", "client", 20, NOW)
    authority.revoke("bob", NOW)
    lines = [(line.name, line.kind, line.state) for line in authority.lines(NOW + timedelta(days=15))]
    assert lines == [
        ("alice", "client", "expired"),
        ("bob", "client", "revoked"),
        ("radius.example.net", "server", "valid"),
        ("test CA", "ca", "valid"),
    ]


def test_revoking_by_name_takes_all_of_them_and_by_serial_one(folder: Path) -> None:
    authority = Authority(folder)
    first, second, third = (authority.issue("alice", "client", 10, NOW).certificate for _ in range(3))
    assert [line.serial for line in authority.revoke(f"{second.serial_number:x}", NOW)] == [f"{second.serial_number:x}"]
    assert {line.serial for line in authority.revoke("alice", NOW)} == {
        f"{each.serial_number:x}" for each in (first, third)
    }
    crl = x509.load_pem_x509_crl((folder / "crl.pem").read_bytes())
    assert {each.serial_number for each in crl} == {first.serial_number, second.serial_number, third.serial_number}
    with pytest.raises(CertificateError, match="no valid certificate of 'alice'"):
        authority.revoke("alice", NOW)


def test_a_ca_is_never_written_over(folder: Path) -> None:
    before = (folder / "ca.key").read_bytes()
    with pytest.raises(CertificateError, match="holds a CA already"):
        Authority.create(folder, "again", NOW)
    assert (folder / "ca.key").read_bytes() == before


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb"])
def test_what_is_no_name(folder: Path, name: str) -> None:
    with pytest.raises(CertificateError, match="is no name of 1 to 64 printable characters"):
        Authority(folder).issue(name, "client", 1, NOW)


def test_a_changed_file_is_read_and_a_broken_one_is_not(folder: Path) -> None:
    certificate = ServerCertificate(server_files(folder))
    first = certificate.contexts()
    assert certificate.contexts() is first
    authority = Authority(folder)
    authority.issue("alice", "client", 1, NOW)
    authority.revoke("alice", NOW)
    second = certificate.contexts()
    assert second is not first
    (folder / "crl.pem").write_text("broken")
    with capture_logs() as logged:
        assert certificate.contexts() is second
        assert certificate.contexts() is second
    assert [each["event"] for each in logged] == ["certificates-unusable"]
    assert "crl.pem is no PEM revocation list" in logged[0]["problem"]


def test_without_a_ca_of_clients_there_is_no_eap_tls(folder: Path) -> None:
    files = CertificateFiles(folder / "server.pem", folder / "server.key")
    assert ServerCertificate(files).contexts().mutual is None


@pytest.mark.parametrize(
    ("broken", "content", "problem"),
    [
        ("certificate", None, "server.pem: No such file"),
        ("key", None, "server.key: No such file"),
        ("certificate", "x", "server.pem is no PEM certificate"),
        ("key", "x", "server.key is not the key of"),
        ("ca", None, "ca.pem: No such file"),
        ("ca", "x", "ca.pem is no PEM certificate"),
        ("crl", None, "crl.pem: No such file"),
    ],
)
def test_files_that_can_not_be_used(folder: Path, broken: str, content: str | None, problem: str) -> None:
    files = server_files(folder)
    path: Path = getattr(files, broken)
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(CertificateError, match=problem):
        ServerCertificate(files)


def test_another_key_is_not_its_key(folder: Path) -> None:
    authority = Authority(folder)
    before = (folder / "server.key").read_bytes()
    authority.write_server(authority.issue("radius.example.net", "server", 1, NOW))
    (folder / "server.key").write_bytes(before)
    with pytest.raises(CertificateError, match="is not the key of"):
        ServerCertificate(server_files(folder))
