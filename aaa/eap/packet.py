"""An EAP packet ↔ bytes (RFC 3748 section 4)."""

from __future__ import annotations

from typing import Final, NamedTuple

from aaa.wire import Malformed

REQUEST: Final = 1
RESPONSE: Final = 2
SUCCESS: Final = 3
FAILURE: Final = 4

# RFC 3748 section 5; IANA
IDENTITY: Final = 1
NAK: Final = 3
MD5: Final = 4
GTC: Final = 6
TLS: Final = 13
TTLS: Final = 21
PEAP: Final = 25
MSCHAPV2: Final = 26
RESULT_TLV: Final = 33

_HEAD_OCTETS: Final = 5


class Request(NamedTuple):
    """What the server asks; the conversation numbers it."""

    type: int
    data: bytes


class Response(NamedTuple):
    """What the peer answers to the request of the same identifier."""

    identifier: int
    type: int
    data: bytes


def read_response(octets: bytes) -> Response:
    """A response; Malformed for everything else. Octets past its length are padding of the link."""
    if len(octets) < _HEAD_OCTETS:
        raise Malformed("eap-message", f"{len(octets)} octets, a response has at least {_HEAD_OCTETS}")
    length = octets[2] << 8 | octets[3]
    if not _HEAD_OCTETS <= length <= len(octets):
        raise Malformed("eap-message", f"Length says {length}, {len(octets)} octets are there")
    if octets[0] != RESPONSE:
        raise Malformed("eap-message", f"code {octets[0]}, a peer sends responses only")
    return Response(octets[1], octets[4], octets[_HEAD_OCTETS:length])


def write_request(identifier: int, request: Request) -> bytes:
    """The octets of a request."""
    length = _HEAD_OCTETS + len(request.data)
    return bytes((REQUEST, identifier, length >> 8, length & 0xFF, request.type)) + request.data


def write_end(code: int, identifier: int) -> bytes:
    """The octets of Success or Failure; `identifier`: of the response that it answers."""
    return bytes((code, identifier, 0, 4))
