"""The spool's file format: records that find themselves again after damage. Pure.

A record is a marker (4 octets), the body's length and a CRC-32 (4 each, big-endian), and the body: sequence and receive
time in milliseconds (8 each), the length of the source address (1), the address as text, the packet as it came.

The CRC covers length and body and begins with the segment's salt, a random number that stands in the file's name: what a
subscriber writes into his user name can not pass for a record of ours when the search for the next one goes through it.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from charging.plan import Instant

MARKER: Final = b"\xf5\xaaS1"
_HEAD: Final = Struct(">4sII")
_BODY: Final = Struct(">QQB")
#: The largest packet of RFC 2865, and an address as text.
MOST_BODY_OCTETS: Final = _BODY.size + 255 + 4096
MOST_RECORD_OCTETS: Final = _HEAD.size + MOST_BODY_OCTETS


class Record(NamedTuple):
    """One verified packet that was answered, or will be."""

    sequence: int
    received_at: Instant
    address: str
    """Where it came from."""
    packet: bytes


class Damage(NamedTuple):
    """Octets that are no record. `tail`: nothing intact follows, as when the machine stopped while it wrote."""

    offset: int
    octets: int
    tail: bool


class Contents(NamedTuple):
    """What a segment holds, in its order."""

    records: list[Record]
    damage: list[Damage]

    @property
    def damaged_within(self) -> bool:
        """Were records lost that may have been answered?"""
        return any(not each.tail for each in self.damage)


def encode(record: Record, salt: int) -> bytes:
    """A record's octets. ValueError for one that does not fit."""
    address = record.address.encode("ascii")
    body = _BODY.pack(record.sequence, record.received_at, len(address)) + address + record.packet
    if len(address) > 255 or len(body) > MOST_BODY_OCTETS:
        raise ValueError(f"a record of {len(body)} octets; at most {MOST_BODY_OCTETS} fit")
    return _HEAD.pack(MARKER, len(body), _check(body, salt)) + body


def scan(segment: bytes, salt: int) -> Contents:
    """All intact records, whatever lies between them. Never raises."""
    records: list[Record] = []
    damage: list[Damage] = []
    at = 0
    intact_to = 0
    while True:
        found = _record_at(segment, at, salt)
        if found is not None:
            if at > intact_to:
                damage.append(Damage(intact_to, at - intact_to, tail=False))
            record, at = found
            records.append(record)
            intact_to = at
            continue
        at = segment.find(MARKER, at + 1)
        if at < 0:
            break
    if intact_to < len(segment):
        damage.append(Damage(intact_to, len(segment) - intact_to, tail=True))
    return Contents(records, damage)


def join(records: Iterable[Record], salt: int) -> bytes:
    """A segment of these."""
    return b"".join(encode(record, salt) for record in records)


def _record_at(segment: bytes, at: int, salt: int) -> tuple[Record, int] | None:
    """The record that begins here and where it ends; None where there is none."""
    if len(segment) - at < _HEAD.size:
        return None
    marker, length, check = _HEAD.unpack_from(segment, at)
    begin = at + _HEAD.size
    end = begin + length
    if marker != MARKER or not _BODY.size <= length <= MOST_BODY_OCTETS or end > len(segment):
        return None
    body = segment[begin:end]
    if _check(body, salt) != check:
        return None
    sequence, received_at, address_octets = _BODY.unpack_from(body)
    if _BODY.size + address_octets > length:
        return None
    packet_at = _BODY.size + address_octets
    address = body[_BODY.size : packet_at].decode("ascii", "replace")
    return Record(sequence, received_at, address, body[packet_at:]), end


def _check(body: bytes, salt: int) -> int:
    return crc32(body, crc32(len(body).to_bytes(4, "big"), salt))
