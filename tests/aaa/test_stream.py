"""Packets out of a stream: whatever the pieces, the same packets; and nothing is kept that is no part of one."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from aaa.wire import Malformed
from aaa.wire.packet import LONGEST_PACKET_OCTETS
from aaa.wire.stream import Stream


def packet(body: bytes) -> bytes:
    return b"\x01\x02" + (20 + len(body)).to_bytes(2, "big") + bytes(16) + body


PACKETS = st.lists(
    st.one_of(st.binary(max_size=40), st.just(bytes(LONGEST_PACKET_OCTETS - 20))).map(packet), max_size=6
)


@given(packets=PACKETS, cuts=st.lists(st.integers(0, 400)), rest=st.binary(max_size=3))
def test_any_split_gives_the_same_packets(packets: list[bytes], cuts: list[int], rest: bytes) -> None:
    whole = b"".join(packets) + rest
    places = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    stream, found = Stream(), []
    for start, end in pairwise(places):
        found += list(stream.packets(whole[start:end]))
        assert stream.held < LONGEST_PACKET_OCTETS
    assert found == packets
    assert stream.held == len(rest)


@given(packets=PACKETS, length=st.one_of(st.integers(0, 19), st.integers(4097, 65_535)), behind=st.binary(max_size=50))
def test_a_bad_length_ends_it_behind_the_good_packets(packets: list[bytes], length: int, behind: bytes) -> None:
    stream = Stream()
    found: list[bytes] = []
    problem = ""
    try:
        found.extend(stream.packets(b"".join(packets) + b"\x01\x02" + length.to_bytes(2, "big") + behind))
    except Malformed as error:
        problem = error.reason
    assert (found, problem) == (packets, "length")
    assert stream.held == 0
