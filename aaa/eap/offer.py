"""What this server offers to whom: the enabled methods, the first of them proposed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from aaa.eap import gtc, md5, mschapv2, packet, peap, tls, ttls
from aaa.eap.conversation import Conversation
from aaa.eap.exchange import Peer, Refused
from aaa.eap.negotiation import EapMethod, Negotiation, negotiate

if TYPE_CHECKING:
    from OpenSSL import SSL

_METHODS: Final = {
    "peap": EapMethod(packet.PEAP, "PEAP", peap.steps),
    "ttls": EapMethod(packet.TTLS, "TTLS", ttls.steps),
    "tls": EapMethod(packet.TLS, "EAP-TLS", tls.steps),
    "mschapv2": EapMethod(packet.MSCHAPV2, "EAP-MSCHAPv2", mschapv2.steps),
    "md5": EapMethod(packet.MD5, "EAP-MD5", md5.steps),
    "gtc": EapMethod(packet.GTC, "EAP-GTC", gtc.steps),
}
METHOD_NAMES: Final = tuple(_METHODS)
_IN_A_TUNNEL: Final = frozenset({"peap", "ttls"})

#: Longest type data where the NAS does not say what its link carries; RADIUS and every known link take it.
MOST_OCTETS: Final = 1020
#: A link so narrow that a certificate would take more rounds than a peer has patience is not believed.
LEAST_OCTETS: Final = 250
#: EAPOL's head, EAP's own and the type (RFC 3579 section 2.4).
_HEADS_OCTETS: Final = 9


class Offer:
    """The enabled methods by name, in the order in which they are wanted. `contexts`: TLS with the server's certificate as it is
    now, for tunnels and for EAP-TLS; what is None there is not offered."""

    def __init__(
        self,
        names: Sequence[str],
        contexts: Callable[[], tuple[SSL.Context | None, SSL.Context | None]] = lambda: (None, None),
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """ValueError for a name that is no method."""
        unknown = [name for name in names if name not in _METHODS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no EAP method; there are {', '.join(_METHODS)}")
        self._names = tuple(names)
        self._contexts = contexts
        self._random = random

    def conversation(self, username: bytes, framed_mtu: int | None) -> Conversation:
        """A new conversation with the peer that the NAS calls `username`."""

        def begin(identity: bytes) -> Negotiation:
            if identity != username:
                raise Refused("eap-identity-mismatch", "User-Name is not the EAP identity (RFC 3579 section 2.1)")
            most_octets = MOST_OCTETS if framed_mtu is None else min(MOST_OCTETS, framed_mtu - _HEADS_OCTETS)
            peer = Peer(identity, max(LEAST_OCTETS, most_octets), self._random, *self._contexts())
            methods = [_METHODS[name] for name in self._names if _is_possible(name, peer)]
            return negotiate(methods, peer)

        return Conversation(begin)


def _is_possible(name: str, peer: Peer) -> bool:
    if name == "tls":
        return peer.mutual is not None
    return name not in _IN_A_TUNNEL or peer.tunnel is not None
