"""What EAP-TLS, PEAP and TTLS have in common: the handshake, octets through the tunnel, and the keys in the end."""

from __future__ import annotations

from typing import Final, NamedTuple

from OpenSSL import SSL

from aaa.eap.channel import Channel
from aaa.eap.exchange import Dialogue, Peer, Refused
from aaa.eap.fragments import exchange, start
from aaa.passwords.mppe import Keys

_KEY_OCTETS: Final = 32
_MATERIAL_OCTETS: Final = 128
# RFC 5216 section 2.3 and RFC 5281 section 8; RFC 9190 section 2.3 and RFC 9427 section 2.1
_LABEL_1_3: Final = b"EXPORTER_EAP_TLS_Key_Material"


class Tunnel(NamedTuple):
    """A finished handshake. What TLS still has to say of it goes out with what is said next."""

    channel: Channel
    most_octets: int


def open_tunnel(peer: Peer, context: SSL.Context | None) -> Dialogue[Tunnel]:
    """The handshake. After a fatal error the peer is told TLS's alert, and acknowledges it, before the end."""
    assert context is not None, "a method over TLS is not offered without a certificate"
    channel = Channel(context)
    received = yield from start()
    while True:
        try:
            done = channel.handshake(received)
        except Refused:
            alert = channel.output()
            if alert:
                yield from exchange(alert, peer.most_octets)
            raise
        if done:
            return Tunnel(channel, peer.most_octets)
        if not received:
            raise Refused("tls-failed", "the peer says nothing")
        received = yield from exchange(channel.output(), peer.most_octets)


def converse(tunnel: Tunnel, clear: bytes) -> Dialogue[bytes]:
    """Say something, or nothing, inside of the tunnel; the peer's answer from there, empty where it only acknowledges."""
    received = yield from exchange(tunnel.channel.encrypt(clear), tunnel.most_octets)
    return tunnel.channel.decrypt(received)


def keys(channel: Channel, eap_type: int, label: bytes) -> Keys:
    """The MSK's two halves. MS-MPPE-Recv-Key is its first (RFC 5216 section 2.3). `label`: up to TLS 1.2."""
    # With TLS 1.3 the length asked for is part of the derivation: MSK and EMSK, 128 octets, of which the first 64 are wanted.
    if channel.is_tls_1_3:
        material = channel.export(_LABEL_1_3, _MATERIAL_OCTETS, bytes((eap_type,)))
    else:
        material = channel.export(label, _MATERIAL_OCTETS)
    return Keys(recv=material[:_KEY_OCTETS], send=material[_KEY_OCTETS : 2 * _KEY_OCTETS])
