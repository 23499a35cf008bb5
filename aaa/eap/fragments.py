"""How TLS travels in EAP (RFC 5216 section 2.1.5 and 3): flags, a length, pieces, and an empty packet as their receipt."""

from __future__ import annotations

from typing import Final

from aaa.eap.exchange import Answer, Dialogue, Refused, ask

_LENGTH: Final = 0x80
_MORE: Final = 0x40
_START: Final = 0x20
_FLAGS_OCTETS: Final = 1
_LENGTH_OCTETS: Final = 4
#: A chain of certificates, with room.
MOST_MESSAGE_OCTETS: Final = 65_536
MOST_PIECES: Final = 80


def start() -> Dialogue[bytes]:
    """Begin; what the peer sends first."""
    answer = yield from ask(bytes((_START,)))
    return (yield from _receive(answer))


def exchange(message: bytes, most_octets: int) -> Dialogue[bytes]:
    """Send a message, in as many pieces as it takes; the peer's next one, put together. `most_octets`: of type data."""
    if len(message) <= most_octets - _FLAGS_OCTETS:
        answer = yield from ask(b"\0" + message)
        return (yield from _receive(answer))
    room = most_octets - _FLAGS_OCTETS - _LENGTH_OCTETS
    pieces = [message[at : at + room] for at in range(0, len(message), room)]
    length = len(message).to_bytes(_LENGTH_OCTETS, "big")
    for number, piece in enumerate(pieces[:-1]):
        head = bytes((_LENGTH | _MORE,)) + length if number == 0 else bytes((_MORE,))
        answer = yield from ask(head + piece)
        if _read(answer)[1]:
            raise Refused("eap-fragment", "data where the receipt of a piece was expected")
    answer = yield from ask(b"\0" + pieces[-1])
    return (yield from _receive(answer))


def _receive(answer: Answer) -> Dialogue[bytes]:
    """The whole message whose first piece this is."""
    flags, piece, length = _read(answer)
    pieces = [piece]
    while flags & _MORE:
        if not piece:
            raise Refused("eap-fragment", "an empty piece with more to come")
        if len(pieces) >= MOST_PIECES or sum(map(len, pieces)) > MOST_MESSAGE_OCTETS:
            raise Refused("eap-fragment", f"more than {MOST_PIECES} pieces or {MOST_MESSAGE_OCTETS} octets")
        answer = yield from ask(b"\0")
        flags, piece, _ = _read(answer)
        pieces.append(piece)
    message = b"".join(pieces)
    if length is not None and length != len(message):
        raise Refused("eap-fragment", f"{len(message)} octets, {length} were announced")
    return message


def _read(answer: Answer) -> tuple[int, bytes, int | None]:
    """Flags, octets of TLS, and the announced length of the whole message."""
    data = answer.data
    if not data:
        raise Refused("eap-malformed", "no flags")
    flags = data[0]
    if not flags & _LENGTH:
        return flags, data[_FLAGS_OCTETS:], None
    if len(data) < _FLAGS_OCTETS + _LENGTH_OCTETS:
        raise Refused("eap-malformed", "the length is cut off")
    length = int.from_bytes(data[1:5], "big")
    if length > MOST_MESSAGE_OCTETS:
        raise Refused("eap-fragment", f"{length} octets announced, {MOST_MESSAGE_OCTETS} are the most")
    return flags, data[5:], length
