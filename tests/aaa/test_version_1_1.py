"""RADIUS/1.1 and 1.0 say the same: what is hidden in one is clear in the other, and nothing else changes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa import wire
from aaa.wire import Attribute, Code, Malformed, version_1_1

SECRET = b"radsec"
TOKEN = b"\x01\x02\x03\x04"
ANY = frozenset(Code)
SIGNED = 80


def in_1_1(code: int, *attributes: tuple[int, bytes], token: bytes = TOKEN, reserved: bytes = bytes(12)) -> bytes:
    body = b"".join(bytes((kind, 2 + len(value))) + value for kind, value in attributes)
    return bytes((code, reserved[0])) + (20 + len(body)).to_bytes(2, "big") + token + reserved + body


def read(octets: bytes) -> wire.Packet:
    packet = wire.parse(octets, ANY)
    assert wire.verify_request(packet, SECRET)
    assert wire.message_authenticator(packet, SECRET) is not False
    return packet


VALUES = st.lists(
    st.tuples(st.sampled_from([4, 5, 30, 31, 32, 33, 87]), st.binary(min_size=1, max_size=253)), max_size=5
)


@given(
    password=st.binary(min_size=1, max_size=128).filter(lambda p: p[-1] != 0),
    others=VALUES,
    token=st.binary(min_size=4, max_size=4),
)
def test_a_password_and_all_else_come_through(password: bytes, others: list[tuple[int, bytes]], token: bytes) -> None:
    packet = read(version_1_1.request_in_1_0(in_1_1(1, (2, password), *others, token=token), SECRET))
    assert wire.decode_password(packet, SECRET) == password
    assert [each for each in packet.attributes if each[0] != 2] == others


def test_what_needs_a_signature_in_1_0_has_one() -> None:
    assert read(version_1_1.request_in_1_0(in_1_1(Code.STATUS_SERVER), SECRET)).first(SIGNED) is not None
    eap = read(version_1_1.request_in_1_0(in_1_1(Code.ACCESS_REQUEST, (79, b"\x02\x01\x00\x04")), SECRET))
    assert eap.attributes[0][0] == SIGNED
    assert read(version_1_1.request_in_1_0(in_1_1(Code.ACCESS_REQUEST, (1, b"a")), SECRET)).first(SIGNED) is None


def test_a_message_authenticator_and_what_is_reserved_mean_nothing() -> None:
    plain = in_1_1(Code.ACCESS_REQUEST, (1, b"alice"))
    odd = in_1_1(Code.ACCESS_REQUEST, (SIGNED, bytes(16)), (1, b"alice"), reserved=b"\xff" * 12)
    assert version_1_1.request_in_1_0(odd, SECRET) == version_1_1.request_in_1_0(plain, SECRET)


def test_an_accept_hides_nothing() -> None:
    asked = in_1_1(Code.ACCESS_REQUEST, (1, b"alice"), (33, b"proxy"))
    before = version_1_1.request_in_1_0(asked, SECRET)
    said: list[Attribute] = [
        ("Class", b"token"),
        ("MS-MPPE-Send-Key", b"s" * 32),
        ("MS-MPPE-Recv-Key", b"r" * 32),
        ("MS-CHAP-MPPE-Keys", bytes(8) + b"k" * 16 + bytes(8)),
        ("Tunnel-Password:3", b"opener"),
        ("Mikrotik-Rate-Limit", "1M/2M"),
    ]
    reply = wire.reply(Code.ACCESS_ACCEPT, wire.parse(before, ANY), said, SECRET, message_authenticator=True)
    out = version_1_1.reply_in_1_1(reply, before, version_1_1.token_of(asked), SECRET)
    microsoft = (311).to_bytes(4, "big")
    assert out == in_1_1(
        Code.ACCESS_ACCEPT,
        (25, b"token"),
        (26, microsoft + b"\x10\x22" + b"s" * 32),
        (26, microsoft + b"\x11\x22" + b"r" * 32),
        (26, microsoft + b"\x0c\x22" + bytes(8) + b"k" * 16 + bytes(8)),
        (69, b"\x03opener"),
        (26, (14988).to_bytes(4, "big") + b"\x08\x071M/2M"),
        (33, b"proxy"),
    )


def test_a_command_and_its_answer() -> None:
    asked = wire.request(Code.COA_REQUEST, 7, [("User-Name", "alice")], SECRET, message_authenticator=True)
    assert version_1_1.request_in_1_1(asked, TOKEN) == in_1_1(Code.COA_REQUEST, (1, b"alice"))
    came = in_1_1(Code.COA_NAK, (SIGNED, bytes(16)), (101, (503).to_bytes(4, "big")))
    answer = wire.parse(version_1_1.reply_in_1_0(came, asked, SECRET), ANY)
    assert wire.verify_reply(answer, asked, SECRET)
    assert answer.attributes == ((101, (503).to_bytes(4, "big")),)


@pytest.mark.parametrize("password", [b"", b"p" * 129])
def test_a_password_that_is_none(password: bytes) -> None:
    with pytest.raises(Malformed, match="user-password"):
        version_1_1.request_in_1_0(in_1_1(1, (2, password)), SECRET)


def test_what_does_not_fit_into_1_0_is_refused() -> None:
    full = in_1_1(1, *[(79, bytes(253))] * 15, (79, bytes(240)))
    with pytest.raises(Malformed, match="4096"):
        version_1_1.request_in_1_0(full, SECRET)


@given(octets=st.binary(min_size=20, max_size=60))
def test_bytes_from_outside_are_a_packet_or_malformed(octets: bytes) -> None:
    asked = wire.request(Code.COA_REQUEST, 7, [], SECRET, message_authenticator=False)
    with suppress(Malformed):
        version_1_1.request_in_1_0(octets, SECRET)
    with suppress(Malformed):
        version_1_1.reply_in_1_0(octets, asked, SECRET)
