"""The names of a certificate, and the one spelling of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aaa.certificate_names import canonical_name, names_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DIGITS = "1f" * 32


def certificate(*others: x509.GeneralName) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.COMMON_NAME, "bras-1"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ISP")]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.Name(names))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    if others:
        builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
    return builder.sign(key, hashes.SHA256())


def test_a_certificate_is_called_by_all_that_stands_in_it() -> None:
    shown = certificate(
        x509.DNSName("BRAS-1.example.net"),
        x509.IPAddress(ip_address("2001:db8::1")),
        x509.UniformResourceIdentifier("urn:nas:7"),
        x509.RFC822Name("noc@example.net"),
    )
    assert names_of(shown) == {
        f"sha256:{shown.fingerprint(hashes.SHA256()).hex()}",
        "subject:O=ISP,CN=bras-1",
        "dns:bras-1.example.net",
        "ip:2001:db8::1",
        "uri:urn:nas:7",
    }


def test_a_common_name_alone_is_no_name() -> None:
    assert {name.partition(":")[0] for name in names_of(certificate())} == {"sha256", "subject"}


NAMES = [
    (f"sha256:{DIGITS}", f"sha256:{DIGITS}"),
    ("SHA256:" + ":".join(["1F"] * 32), f"sha256:{DIGITS}"),
    ("dns:BRAS-1.example.net", "dns:bras-1.example.net"),
    ("ip:2001:DB8:0::1", "ip:2001:db8::1"),
    ("uri:urn:nas:7", "uri:urn:nas:7"),
    ("subject:O=ISP, CN=bras-1", None),
    ("subject:O=ISP,CN=bras-1", "subject:O=ISP,CN=bras-1"),
    ("bras-1", None),
    ("dns:", None),
    ("dns:*.example.net", None),
    ("dns:-.example.net", None),
    (f"sha256:{DIGITS[2:]}", None),
    ("ip:192.0.2.1/24", None),
    ("cn:bras-1", None),
    ("subject:bras-1", None),
]


@pytest.mark.parametrize(("text", "canonical"), NAMES)
def test_a_name_has_one_spelling(text: str, canonical: str | None) -> None:
    if canonical is None:
        with pytest.raises(ValueError, match=r"write|fingerprint"):
            canonical_name(text)
    else:
        assert canonical_name(text) == canonical


def test_what_is_written_down_matches_what_is_shown() -> None:
    shown = certificate(x509.DNSName("bras-1.example.net"))
    assert {canonical_name(name) for name in names_of(shown)} == names_of(shown)
