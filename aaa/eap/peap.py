"""PEAPv0 (draft-kamath-pppext-peapv0): another EAP conversation inside of TLS, without its headers."""

from __future__ import annotations

from typing import Final

from aaa.eap import gtc, mschapv2, packet
from aaa.eap.exchange import Check, Dialogue, Peer, Proven, Refused, Steps, check
from aaa.eap.negotiation import EapMethod, negotiate
from aaa.eap.packet import Request, Response
from aaa.eap.tunnel import Tunnel, converse, keys, open_tunnel

_LABEL: Final = b"client EAP encryption"
#: Longest that fits into one piece is none of the inner methods' concern: TLS is cut outside.
_INNER_OCTETS: Final = 1000
INNER_METHODS: Final = (
    EapMethod(packet.MSCHAPV2, "MSCHAPv2", mschapv2.steps),
    EapMethod(packet.GTC, "GTC", gtc.steps),
)
# Result TLV (section 8.1): mandatory, type 3, two octets of status
_RESULT: Final = b"\x80\x03\x00\x02"
_SUCCESS: Final = _RESULT + b"\x00\x01"
_FAILURE: Final = _RESULT + b"\x00\x02"


def steps(peer: Peer) -> Steps:
    """Tunnel, inner identity, inner method, and both sides' word on how it ended."""
    tunnel = yield from open_tunnel(peer, peer.tunnel)
    if not tunnel.channel.is_tls_1_3:
        yield from converse(tunnel, b"")
    answer = yield from _inside(tunnel, Request(packet.IDENTITY, b""))
    inner = peer.inside(answer.data, _INNER_OCTETS)
    try:
        proven = yield from _inner(tunnel, inner)
    except Refused:
        yield from _result(tunnel, _FAILURE)
        raise
    if not (yield from _result(tunnel, _SUCCESS)):
        raise Refused("eap-server-refused", "the peer does not say that it succeeded")
    method = f"PEAP/{proven.method.removeprefix('EAP-')}"
    return Proven(proven.username, method, keys(tunnel.channel, packet.PEAP, _LABEL))


def _inner(tunnel: Tunnel, peer: Peer) -> Dialogue[Proven]:
    negotiation = negotiate(INNER_METHODS, peer)
    step = next(negotiation)
    while True:
        try:
            if isinstance(step, Check):
                step = negotiation.send((yield from check(*step)))
            else:
                step = negotiation.send((yield from _inside(tunnel, step)))
        except StopIteration as end:
            proven: Proven = end.value
            return proven


def _inside(tunnel: Tunnel, request: Request) -> Dialogue[Response]:
    clear = yield from converse(tunnel, bytes((request.type,)) + request.data)
    if not clear:
        raise Refused("eap-malformed", "nothing in the tunnel")
    return Response(0, clear[0], clear[1:])


def _result(tunnel: Tunnel, status: bytes) -> Dialogue[bool]:
    """Say how it ended: this one with its header. Does the peer say that it succeeded?"""
    clear = yield from converse(tunnel, packet.write_request(0, Request(packet.RESULT_TLV, status)))
    return clear[:1] == bytes((packet.RESPONSE,)) and clear[4:5] == bytes((packet.RESULT_TLV,)) and _SUCCESS in clear
