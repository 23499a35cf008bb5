"""Packets out of a stream (RFC 6613 section 2.6.2): each says itself how long it is, and that is all there is to go by."""

from __future__ import annotations

from collections.abc import Iterator

from aaa.wire.packet import HEADER_OCTETS, LONGEST_PACKET_OCTETS, Malformed

_LENGTH_KNOWN_OCTETS = 4


class Stream:
    """The octets of one connection, in whatever pieces they come. It never holds a whole packet back."""

    def __init__(self) -> None:
        self._held = b""

    @property
    def held(self) -> int:
        """How many octets of a packet that is not whole yet are kept."""
        return len(self._held)

    def packets(self, octets: bytes) -> Iterator[bytes]:
        """The packets that these octets complete, in order.

        Malformed (`length`) where a length can not be right: nobody knows any more where the next packet begins, so
        the connection is of no use (RFC 6613 section 2.6.4). To be read to its end before the next octets are given.
        """
        held = self._held + octets if self._held else octets
        at, end = 0, len(held)
        while end - at >= _LENGTH_KNOWN_OCTETS:
            length = held[at + 2] << 8 | held[at + 3]
            if not HEADER_OCTETS <= length <= LONGEST_PACKET_OCTETS:
                self._held = b""
                raise Malformed(
                    "length", f"Length says {length}, a packet has {HEADER_OCTETS} to {LONGEST_PACKET_OCTETS}"
                )
            if end - at < length:
                break
            yield held[at : at + length]
            at += length
        self._held = held[at:]
