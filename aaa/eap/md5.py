"""EAP-MD5 (RFC 3748 section 5.4): CHAP. It proves nothing about the server and makes no keys."""

from __future__ import annotations

from typing import Final

from aaa.eap.exchange import Peer, Proven, Refused, Steps, ask, must_be_right
from aaa.passwords import Chap

CHALLENGE_OCTETS: Final = 16


def steps(peer: Peer) -> Steps:
    """Challenge and response."""
    challenge = peer.random(CHALLENGE_OCTETS)
    answer = yield from ask(bytes((CHALLENGE_OCTETS,)) + challenge)
    if len(answer.data) < 1 + CHALLENGE_OCTETS or answer.data[0] != CHALLENGE_OCTETS:
        raise Refused("eap-malformed", "an MD5 response of another length")
    response = answer.data[1 : 1 + CHALLENGE_OCTETS]
    yield from must_be_right(peer.name, Chap(answer.identifier, response, challenge))
    return Proven(peer.name, "EAP-MD5")
