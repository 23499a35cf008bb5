"""Certificates: the server's own, read again when its files change, and a small private CA for a first set-up.

A folder of the CA holds `ca.pem`, `ca.key`, `crl.pem`, `server.pem`, `server.key` and `issued/`, every certificate it has made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, NamedTuple

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto

from aaa.certificate_names import names_of
from aaa.eap.channel import note_fault
from charging.plan import Instant

CA_DAYS: Final = 3650
#: Apple's devices take no server certificate that is valid for longer.
MOST_SERVER_DAYS: Final = 825
DEFAULT_DAYS: Final = 365
#: A clock that is a little behind must not refuse a new certificate.
_BACKDATED: Final = timedelta(hours=1)
_USER_PRINCIPAL_NAME: Final = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
#: X.520: ub-common-name
MOST_NAME_CHARACTERS: Final = 64

_CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20"
_NEVER_RESUMED: Final = SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION
_CRL_CHECK: Final = crypto.X509StoreFlags.CRL_CHECK

Kind = Literal["server", "client", "nas"]
State = Literal["valid", "expired", "revoked"]

_log = structlog.get_logger("aaa.certificates")


class CertificateError(Exception):
    """A certificate, key or list that is not there or can not be used; the text names the file."""


# --- the server's own ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """What EAP over TLS needs. Without `ca` no client certificates are asked for; without `crl` none counts as revoked."""

    certificate: Path
    key: Path
    ca: Path | None = None
    crl: Path | None = None


class Contexts(NamedTuple):
    """How a handshake is done: for PEAP and TTLS, and, where client certificates are known, for EAP-TLS."""

    tunnel: SSL.Context
    mutual: SSL.Context | None


class ServerCertificate:
    """The files' content as it is now. CertificateError when they can not be used at the start."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._stamp = _stamp(files)
        self._contexts = contexts_of(files)

    def contexts(self) -> Contexts:
        """From the files as they are; where they have become unusable that is logged and the last good ones stay."""
        stamp = _stamp(self._files)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._contexts = contexts_of(self._files)
                _log.info("certificates-read", certificate=str(self._files.certificate))
            except CertificateError as error:
                _log.error("certificates-unusable", problem=str(error))
        return self._contexts


def _stamp(files: CertificateFiles) -> tuple[object, ...]:
    found: list[object] = []
    for path in (files.certificate, files.key, files.ca, files.crl):
        try:
            status = None if path is None else path.stat()
        except OSError as error:
            found.append(error.errno)
        else:
            found.append(None if status is None else (status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def contexts_of(files: CertificateFiles) -> Contexts:
    """TLS as this server speaks it: 1.2 and 1.3, nothing resumed. CertificateError where a file is not right."""
    tunnel = _context(files)
    if files.ca is None:
        return Contexts(tunnel, None)
    mutual = _context(files)
    store = mutual.get_cert_store()
    if store is None:
        raise CertificateError("OpenSSL has no store for certificates")
    _certificates(files.ca)
    mutual.load_verify_locations(str(files.ca))
    mutual.load_client_ca(str(files.ca).encode())
    if files.crl is not None:
        store.add_crl(_crl(files.crl))
        store.set_flags(_CRL_CHECK)
    mutual.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, note_fault)
    return Contexts(tunnel, mutual)


def _context(files: CertificateFiles) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(_CIPHERS)
    context.set_options(_NEVER_RESUMED)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    _certificates(files.certificate)
    _octets(files.key)
    try:
        context.use_certificate_chain_file(str(files.certificate))
        context.use_privatekey_file(str(files.key))
        context.check_privatekey()
    except SSL.Error as error:
        raise CertificateError(
            f"{files.key} is not the key of {files.certificate}, or no PEM key without a password"
        ) from error
    return context


def _octets(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_octets(path))
    except ValueError as error:
        raise CertificateError(f"{path} is no PEM certificate: {error}") from error


def _crl(path: Path) -> x509.CertificateRevocationList:
    try:
        return x509.load_pem_x509_crl(_octets(path))
    except ValueError as error:
        raise CertificateError(f"{path} is no PEM revocation list: {error}") from error


def read_certificate(path: Path) -> x509.Certificate:
    """The first certificate of a PEM file; CertificateError where there is none."""
    return _certificates(path)[0]


# --- a private CA --------------------------------------------------------------------------------------------------


class Issued(NamedTuple):
    """A certificate and its key, just made."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Line(NamedTuple):
    """A certificate of the folder as operators see it."""

    name: str
    kind: str
    serial: str
    expires_at: Instant
    state: State


class Authority:
    """The CA in a folder. CertificateError where the folder is not one, or holds one already."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._certificate = _certificates(folder / "ca.pem")[0]

    @classmethod
    def create(cls, folder: Path, name: str, now: datetime) -> Authority:
        """A new CA in a folder that holds none yet."""
        if (folder / "ca.pem").exists() or (folder / "ca.key").exists():
            raise CertificateError(f"{folder} holds a CA already")
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(name)
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        made = (
            _builder(subject, subject, key.public_key(), now, timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write_secret(folder / "ca.key", _key_pem(key))
        _write(folder / "ca.pem", _pem(made))
        authority = cls(folder)
        authority._sign_crl([], now)
        return authority

    def issue(self, name: str, kind: Kind, days: int, now: datetime) -> Issued:
        """A certificate for a server or a NAS (`name` is its host name) or for a subscriber (his user name)."""
        if not name or len(name) > MOST_NAME_CHARACTERS or not name.isprintable():
            raise CertificateError(f"{name[:80]!r} is no name of 1 to {MOST_NAME_CHARACTERS} printable characters")
        ca_key = self._key()
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if kind == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
        validity = min(timedelta(days=days), self._certificate.not_valid_after_utc - now)
        try:
            other_name = x509.SubjectAlternativeName([_alternative(name, kind)])
        except ValueError as error:
            raise CertificateError(f"{name!r} is no host name: {error}") from error
        made = (
            _builder(_subject(name), self._certificate.subject, key.public_key(), now, validity)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(other_name, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        issued = self._folder / "issued"
        issued.mkdir(exist_ok=True)
        _write(issued / f"{made.serial_number:x}.pem", _pem(made))
        return Issued(made, key)

    def write_server(self, issued: Issued) -> None:
        """Make it the certificate that the server shows; a running one sees that by itself."""
        _write_secret(self._folder / "server.key", _key_pem(issued.key))
        _write(self._folder / "server.pem", _pem(issued.certificate) + _pem(self._certificate))

    def write_client(self, issued: Issued, stem: Path, password: str) -> list[Path]:
        """The files for a subscriber's device: `.p12` with everything under a password, and `.pem` and `.key`."""
        name = issued.certificate.subject.rfc4514_string().encode()
        bundle = pkcs12.serialize_key_and_certificates(
            name, issued.key, issued.certificate, [self._certificate],
            serialization.BestAvailableEncryption(password.encode()),
        )  # fmt: skip
        paths = [stem.with_name(f"{stem.name}{suffix}") for suffix in (".p12", ".key", ".pem")]
        _write_secret(paths[0], bundle)
        _write_secret(paths[1], _key_pem(issued.key))
        _write(paths[2], _pem(issued.certificate))
        return paths

    def lines(self, now: datetime) -> list[Line]:
        """Everything that was issued, and the CA, by the day on which it ends."""
        revoked = {each.serial_number for each in self._crl()}
        found = [_line(each, _kind_of(each), revoked, now) for each in self._issued()]
        found.append(_line(self._certificate, "ca", revoked, now))
        return sorted(found, key=lambda line: (line.expires_at, line.name))

    def revoke(self, chosen: str, now: datetime) -> list[Line]:
        """Revoke the certificate of that serial, or all of that name; those that were still good."""
        revoked = list(self._crl())
        known = {each.serial_number for each in revoked}
        good = [
            each
            for each in self._issued()
            if each.serial_number not in known
            and each.not_valid_after_utc > now
            and chosen in {_name_of(each), f"{each.serial_number:x}"}
        ]
        if not good:
            raise CertificateError(f"there is no valid certificate of {chosen!r}; see: aaa certificate list")
        made = [
            x509.RevokedCertificateBuilder().serial_number(each.serial_number).revocation_date(now).build()
            for each in good
        ]
        self._sign_crl([*revoked, *made], now)
        return [_line(each, _kind_of(each), known | {each.serial_number}, now) for each in good]

    def _issued(self) -> Iterator[x509.Certificate]:
        for path in sorted((self._folder / "issued").glob("*.pem")):
            yield _certificates(path)[0]

    def _crl(self) -> x509.CertificateRevocationList:
        return _crl(self._folder / "crl.pem")

    def _sign_crl(self, revoked: list[x509.RevokedCertificate], now: datetime) -> None:
        """It is read from disk, so it is as fresh as it can be: it holds until the CA ends."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - _BACKDATED)
            .next_update(self._certificate.not_valid_after_utc)
        )
        for each in revoked:
            builder = builder.add_revoked_certificate(each)
        signed = builder.sign(self._key(), hashes.SHA256())
        _write(self._folder / "crl.pem", signed.public_bytes(serialization.Encoding.PEM))

    def _key(self) -> ec.EllipticCurvePrivateKey:
        path = self._folder / "ca.key"
        try:
            key = serialization.load_pem_private_key(_octets(path), None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise CertificateError(f"{path} is no PEM key without a password: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CertificateError(f"{path} is not a key that this command made")
        return key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, validity: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + validity)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str, kind: Kind) -> x509.GeneralName:
    """A server's or NAS's host name; a subscriber's user principal name, which is where Windows looks."""
    if kind != "client":
        return x509.DNSName(name)
    octets = name.encode()
    length = bytes((len(octets),)) if len(octets) < 0x80 else bytes((0x82,)) + len(octets).to_bytes(2, "big")
    return x509.OtherName(_USER_PRINCIPAL_NAME, b"\x0c" + length + octets)


def _line(certificate: x509.Certificate, kind: str, revoked: set[int], now: datetime) -> Line:
    ends = certificate.not_valid_after_utc
    state: State = "revoked" if certificate.serial_number in revoked else "expired" if ends <= now else "valid"
    expires_at = (ends - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return Line(_name_of(certificate), kind, f"{certificate.serial_number:x}", expires_at, state)


def _name_of(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def _kind_of(certificate: x509.Certificate) -> str:
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return "other"
    if ExtendedKeyUsageOID.SERVER_AUTH in purposes:
        return "server"
    # A subscriber's has his user principal name there.
    return "nas" if any(name.startswith("dns:") for name in names_of(certificate)) else "client"


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, octets: bytes, mode: int = 0o644) -> None:
    """All of it or nothing: a running server reads these files."""
    made = path.with_name(f".{path.name}.new")
    made.unlink(missing_ok=True)
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    made.replace(path)


def _write_secret(path: Path, octets: bytes) -> None:
    _write(path, octets, 0o600)
