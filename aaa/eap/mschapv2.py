"""EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2): both sides prove that they know the password, and share keys then."""

from __future__ import annotations

from typing import Final

from aaa.eap.exchange import Peer, Proven, Refused, Steps, ask, check
from aaa.messages import text
from aaa.passwords import MsChap2, mppe, mschap

_CHALLENGE: Final = 1
_RESPONSE: Final = 2
_SUCCESS: Final = 3
_FAILURE: Final = 4
_RESPONSE_OCTETS: Final = 49
_SERVER_NAME: Final = b"aaa"


def steps(peer: Peer) -> Steps:
    """Challenge, response, and the server's own proof, or a failure that the peer acknowledges."""
    number = peer.random(1)[0]
    challenge = peer.random(mschap.CHALLENGE_OCTETS)
    answer = yield from ask(_message(_CHALLENGE, number, bytes((len(challenge),)) + challenge + _SERVER_NAME))
    method = _response(answer.data, number, challenge)
    if text(method.name.rpartition(b"\\")[2]) != text(peer.identity.rpartition(b"\\")[2]):
        raise Refused("eap-identity-mismatch", "the MS-CHAP name is not the EAP identity")
    checked = yield from check(peer.name, method)
    if checked.refusal is not None:
        error = mschap.failure(mschap.AUTHENTICATION_FAILURE, peer.random(mschap.CHALLENGE_OCTETS))
        yield from ask(_message(_FAILURE, number, error))
        # A peer may ask to change its password here; it hears no more than that it failed.
        raise Refused(checked.refusal, checked.detail)
    assert checked.nt is not None
    proof = mschap.authenticator_response(method, checked.nt)
    answer = yield from ask(_message(_SUCCESS, number, proof + b" M=OK"))
    if answer.data[:1] != bytes((_SUCCESS,)):
        raise Refused("eap-server-refused", "the peer did not accept the server's proof")
    return Proven(peer.name, "EAP-MSCHAPv2", mppe.keys_2(checked.nt, method.nt_response))


def _message(code: int, number: int, value: bytes) -> bytes:
    return bytes((code, number)) + (4 + len(value)).to_bytes(2, "big") + value


def _response(data: bytes, number: int, challenge: bytes) -> MsChap2:
    """OpCode, MS-CHAPv2-ID, MS-Length, Value-Size 49, then peer challenge, 8 zeros, NT response, flags, and the name."""
    if len(data) < 5 + _RESPONSE_OCTETS or data[0] != _RESPONSE or data[4] != _RESPONSE_OCTETS or data[1] != number:
        raise Refused("eap-malformed", "no MS-CHAPv2 response")
    value = data[5 : 5 + _RESPONSE_OCTETS]
    return MsChap2(number, challenge, value[:16], value[24:48], data[5 + _RESPONSE_OCTETS :])
