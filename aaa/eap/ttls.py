"""EAP-TTLS (RFC 5281): a password in any form, or another EAP conversation, as attributes inside of TLS."""

from __future__ import annotations

import hmac
from typing import Final

from aaa.eap import avp, gtc, md5, mschapv2, packet
from aaa.eap.avp import Avp
from aaa.eap.channel import Channel
from aaa.eap.exchange import Check, Checked, Dialogue, Peer, Proven, Refused, Steps, check, must_be_right
from aaa.eap.negotiation import EapMethod, negotiate
from aaa.eap.packet import Request, Response, read_response, write_request
from aaa.eap.tunnel import Tunnel, converse, keys, open_tunnel
from aaa.passwords import Chap, MsChap2, Pap, mschap
from aaa.wire import Malformed

_LABEL: Final = b"ttls keying material"
_CHALLENGE_LABEL: Final = b"ttls challenge"
_INNER_OCTETS: Final = 1000
INNER_METHODS: Final = (
    EapMethod(packet.MSCHAPV2, "EAP-MSCHAPv2", mschapv2.steps),
    EapMethod(packet.GTC, "EAP-GTC", gtc.steps),
    EapMethod(packet.MD5, "EAP-MD5", md5.steps),
)

_USER_NAME: Final = (0, 1)
_USER_PASSWORD: Final = (0, 2)
_CHAP_PASSWORD: Final = (0, 3)
_CHAP_CHALLENGE: Final = (0, 60)
_EAP_MESSAGE: Final = (0, 79)
_MICROSOFT: Final = 311
_MS_CHAP_CHALLENGE: Final = (_MICROSOFT, 11)
_MS_CHAP2_RESPONSE: Final = (_MICROSOFT, 25)
_MS_CHAP2_SUCCESS: Final = (_MICROSOFT, 26)

_Said = dict[tuple[int, int], bytes]


def steps(peer: Peer) -> Steps:
    """Tunnel, and whatever proof the peer puts into it."""
    tunnel = yield from open_tunnel(peer, peer.tunnel)
    # With TLS 1.3 the peer may send its attributes together with the end of the handshake.
    clear = tunnel.channel.decrypt(b"")
    if not clear:
        clear = yield from converse(tunnel, b"")
    said = _read(clear)
    if _EAP_MESSAGE in said:
        proven = yield from _eap(tunnel, peer, said[_EAP_MESSAGE])
    else:
        proven = yield from _password(tunnel, peer, said)
    return proven._replace(keys=keys(tunnel.channel, packet.TTLS, _LABEL))


def _read(clear: bytes) -> _Said:
    """The first of each attribute, and all of an EAP message."""
    said: _Said = {}
    for vendor, code, value in avp.read(clear):
        if (vendor, code) == _EAP_MESSAGE:
            said[_EAP_MESSAGE] = said.get(_EAP_MESSAGE, b"") + value
        else:
            said.setdefault((vendor, code), value)
    return said


def _password(tunnel: Tunnel, outer: Peer, said: _Said) -> Dialogue[Proven]:
    if _USER_NAME not in said:
        raise Refused("eap-malformed", "no User-Name in the tunnel")
    peer = outer.inside(said[_USER_NAME], _INNER_OCTETS)
    if _USER_PASSWORD in said:
        yield from must_be_right(peer.name, Pap(said[_USER_PASSWORD].rstrip(b"\0")), "PAP")
        return Proven(peer.name, "TTLS/PAP")
    if _CHAP_PASSWORD in said:
        yield from must_be_right(peer.name, _chap(tunnel, said), "CHAP")
        return Proven(peer.name, "TTLS/CHAP")
    if _MS_CHAP2_RESPONSE in said:
        method = _ms_chap(tunnel, said)
        checked = yield from must_be_right(peer.name, method, "MSCHAPv2")
        yield from _prove(tunnel, method, checked)
        return Proven(peer.name, "TTLS/MSCHAPv2")
    raise Refused("method-not-possible", "no method that is known in the tunnel")


def implied_challenge(channel: Channel, said: bytes | None, identifier: int) -> bytes:
    """Sixteen octets and an identifier that follow from the handshake (RFC 5281 section 11.1, RFC 9427 section 2.3): what the
    peer says of them must agree, or somebody could replay what he heard elsewhere."""
    implied = channel.export(_CHALLENGE_LABEL, 17)
    if said is None or not hmac.compare_digest(said, implied[:16]) or identifier != implied[16]:
        raise Refused("eap-challenge", "the challenge does not follow from the handshake")
    return implied[:16]


def _chap(tunnel: Tunnel, said: _Said) -> Chap:
    password = said[_CHAP_PASSWORD]
    if len(password) != 17:
        raise Refused("eap-malformed", f"CHAP-Password has {len(password)} octets, 17 expected")
    return Chap(password[0], password[1:], implied_challenge(tunnel.channel, said.get(_CHAP_CHALLENGE), password[0]))


def _ms_chap(tunnel: Tunnel, said: _Said) -> MsChap2:
    response = said[_MS_CHAP2_RESPONSE]
    if len(response) != 50:
        raise Refused("eap-malformed", f"MS-CHAP2-Response has {len(response)} octets, 50 expected")
    challenge = implied_challenge(tunnel.channel, said.get(_MS_CHAP_CHALLENGE), response[0])
    return MsChap2(response[0], challenge, response[2:18], response[26:], said[_USER_NAME])


def _prove(tunnel: Tunnel, method: MsChap2, checked: Checked) -> Dialogue[None]:
    """The server's own proof, which the peer acknowledges."""
    assert checked.nt is not None
    proof = bytes((method.identifier,)) + mschap.authenticator_response(method, checked.nt)
    yield from converse(tunnel, avp.write([Avp(*_MS_CHAP2_SUCCESS, proof)]))


def _eap(tunnel: Tunnel, outer: Peer, first: bytes) -> Dialogue[Proven]:
    """EAP inside, with its headers (RFC 5281 section 11.2.1). The peer begins with its identity."""
    response = _eap_response(first)
    if response.type != packet.IDENTITY:
        raise Refused("eap-type", f"type {response.type} instead of an identity in the tunnel")
    identifier = response.identifier
    negotiation = negotiate(INNER_METHODS, outer.inside(response.data, _INNER_OCTETS))
    step = next(negotiation)
    while True:
        try:
            if isinstance(step, Check):
                step = negotiation.send((yield from check(*step)))
                continue
            identifier = (identifier + 1) % 256
            response = yield from _inside(tunnel, identifier, step)
            step = negotiation.send(response)
        except StopIteration as end:
            proven: Proven = end.value
            return proven._replace(method=f"TTLS/{proven.method}")


def _inside(tunnel: Tunnel, identifier: int, request: Request) -> Dialogue[Response]:
    clear = yield from converse(tunnel, avp.write([Avp(*_EAP_MESSAGE, write_request(identifier, request))]))
    response = _eap_response(_read(clear).get(_EAP_MESSAGE, b""))
    if response.identifier != identifier:
        raise Refused("eap-malformed", "an answer to another request in the tunnel")
    return response


def _eap_response(octets: bytes) -> Response:
    try:
        return read_response(octets)
    except Malformed as problem:
        raise Refused("eap-malformed", problem.detail) from problem
