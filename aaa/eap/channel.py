"""TLS in memory: octets in, octets out, as the server. No socket; a handshake takes some milliseconds of work."""

from __future__ import annotations

from typing import Final

from cryptography import x509
from OpenSSL import SSL

from aaa.eap.exchange import Refused

_MOST_READ_OCTETS: Final = 65_536
_TLS_1_3: Final = 0x0304
#: X509_V_ERR_… of openssl/x509_vfy.h
_CERTIFICATE_FAULTS: Final = {
    3: "there is no revocation list of its CA",
    9: "not valid yet",
    10: "expired",
    12: "the revocation list has expired",
    18: "of another CA",
    19: "of another CA",
    20: "of another CA",
    21: "of another CA",
    23: "revoked",
    26: "not made for clients",
}


class Channel:
    """One TLS connection. Refused, with OpenSSL's reason, where the peer or its certificate is not right."""

    def __init__(self, context: SSL.Context) -> None:
        self._connection = SSL.Connection(context, None)
        self._connection.set_accept_state()

    def handshake(self, received: bytes) -> bool:
        """Take the peer's next octets; is the handshake complete?"""
        if received:
            self._connection.bio_write(received)
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise self._refused(error) from None
        return True

    def output(self) -> bytes:
        """What TLS wants to send now; empty where nothing."""
        pieces: list[bytes] = []
        while True:
            try:
                pieces.append(self._connection.bio_read(_MOST_READ_OCTETS))
            except SSL.WantReadError:
                return b"".join(pieces)

    def encrypt(self, clear: bytes) -> bytes:
        """TLS records with this, and with whatever else TLS wants to send."""
        if clear:
            self._connection.send(clear)
        return self.output()

    def decrypt(self, received: bytes) -> bytes:
        """What the peer says in its TLS records."""
        if received:
            self._connection.bio_write(received)
        pieces: list[bytes] = []
        while sum(map(len, pieces)) < _MOST_READ_OCTETS:
            try:
                pieces.append(self._connection.recv(_MOST_READ_OCTETS))
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                raise Refused("tls-closed", "the peer closed the tunnel") from None
            except SSL.Error as error:
                raise self._refused(error) from None
        return b"".join(pieces)

    @property
    def is_tls_1_3(self) -> bool:
        """Is it version 1.3, which derives its keys and ends its handshake in another way?"""
        return self._connection.get_protocol_version() >= _TLS_1_3

    def export(self, label: bytes, octets: int, context: bytes | None = None) -> bytes:
        """Keying material that both sides share (RFC 5705, RFC 8446 section 7.5)."""
        return self._connection.export_keying_material(label, octets, context)

    def peer_certificate(self) -> x509.Certificate | None:
        """What the peer proved to be."""
        return self._connection.get_peer_certificate(as_cryptography=True)

    def _refused(self, error: SSL.Error) -> Refused:
        """OpenSSL's own words, such as `tlsv1 alert unknown ca`, and what is wrong with the peer's certificate."""
        entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
        words = ", ".join(entry[2] or entry[0] for entry in entries) or type(error).__name__
        fault = self._connection.get_app_data()
        return Refused("tls-failed", words) if fault is None else Refused("certificate-refused", words_of(fault))


def words_of(fault: int) -> str:
    """What is wrong with a peer's certificate, for the log."""
    return _CERTIFICATE_FAULTS.get(fault, f"error {fault} of OpenSSL's verification")


def note_fault(connection: SSL.Connection, _certificate: object, fault: int, _depth: int, preverified: int) -> bool:
    """For `SSL.Context.set_verify`: OpenSSL decides; what it has found is remembered for the log."""
    if not preverified and connection.get_app_data() is None:
        connection.set_app_data(fault)
    return bool(preverified)
