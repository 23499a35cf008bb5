"""Octets made of examples, by chance with a seed: for the suite, which needs no fuzzer's library and repeats itself."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

_LIVELY: Final = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\0\0",
    b"\xff\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x01",
    b"\x1a",
    b"\x50\x12",
    b"\x4f\xff",
)
MOST_OCTETS: Final = 4096


def mutated(examples: Sequence[bytes], chance: random.Random) -> Iterator[bytes]:
    """Without end."""
    while True:
        octets = bytearray(
            chance.choice(examples) if chance.random() < 0.95 else chance.randbytes(chance.randrange(200))
        )
        for _ in range(chance.choice((1, 1, 2, 3, 8, 30))):
            _change(octets, examples, chance)
        yield bytes(octets[:MOST_OCTETS])


def _change(octets: bytearray, examples: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(octets) + 1)
    to = min(len(octets), at + chance.randrange(1, 20))
    match chance.randrange(7):
        case 0 if at < len(octets):
            octets[at] ^= 1 << chance.randrange(8)
        case 1 if at < len(octets):
            octets[at] = chance.randrange(256)
        case 2:
            octets[at:at] = chance.choice(_LIVELY)
        case 3:
            del octets[at:to]
        case 4:
            octets[at:at] = octets[at:to] * chance.randrange(1, 12)
        case 5:
            other = chance.choice(examples)
            cut = chance.randrange(len(other) + 1)
            octets[at:] = other[cut:]
        case _:
            octets[at:to] = chance.choice(_LIVELY)
