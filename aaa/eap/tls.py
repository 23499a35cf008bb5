"""EAP-TLS (RFC 5216, RFC 9190): both sides prove themselves by certificates. Resumption is not offered."""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from aaa.eap import packet
from aaa.eap.exchange import Peer, Proven, Refused, Steps
from aaa.eap.tunnel import converse, keys, open_tunnel

_LABEL: Final = b"client EAP encryption"
#: RFC 9190 section 2.1.1: the server says that the handshake is complete and no more is to come.
_PROTECTED_SUCCESS: Final = b"\0"
_USER_PRINCIPAL_NAME: Final = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_UTF8_STRING: Final = 0x0C


def steps(peer: Peer) -> Steps:
    """The handshake, and whose certificate it was."""
    tunnel = yield from open_tunnel(peer, peer.mutual)
    channel = tunnel.channel
    certificate = channel.peer_certificate()
    if certificate is None:
        raise Refused("tls-no-certificate", "the peer has shown none")
    username = _who(peer, names_in(certificate))
    yield from converse(tunnel, _PROTECTED_SUCCESS if channel.is_tls_1_3 else b"")
    return Proven(username, "EAP-TLS", keys(channel, packet.TLS, _LABEL))


def names_in(certificate: x509.Certificate) -> list[str]:
    """Who a certificate says its owner is: the subject's common name, then mail addresses and user principal names,
    each once."""
    names = [
        name.value
        for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if isinstance(name.value, str)
    ]
    try:
        other = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return names
    names += other.get_values_for_type(x509.RFC822Name)
    for each in other.get_values_for_type(x509.OtherName):
        # DER of a short UTF8String: tag, length, octets
        if each.type_id == _USER_PRINCIPAL_NAME and each.value[:1] == bytes((_UTF8_STRING,)) and each.value[1] < 0x80:
            names.append(each.value[2:].decode("utf-8", "backslashreplace"))
    return list(dict.fromkeys(names))


def _who(peer: Peer, names: list[str]) -> str:
    """The name that the peer gave, if it stands in its certificate; for somebody anonymous, the first one there."""
    if peer.name in names:
        return peer.name
    if names and peer.is_anonymous:
        return names[0]
    raise Refused("eap-identity-mismatch", f"the certificate is of {', '.join(names) or 'nobody'}")
