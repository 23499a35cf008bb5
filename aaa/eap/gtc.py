"""EAP-GTC (RFC 3748 section 5.6): the password itself. For use inside a tunnel."""

from __future__ import annotations

from aaa.eap.exchange import Peer, Proven, Steps, ask, must_be_right
from aaa.passwords import Pap


def steps(peer: Peer) -> Steps:
    """Prompt and password."""
    answer = yield from ask(b"Password: ")
    yield from must_be_right(peer.name, Pap(answer.data))
    return Proven(peer.name, "EAP-GTC")
