"""Access-Requests as values: names that any database can keep, and exactly one method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa import wire
from aaa.messages import access_request, optional_text, port_of, text
from aaa.passwords import Chap, Eap, Pap, Unsupported
from aaa.wire import Attribute, Code, Malformed

SECRET = b"xyzzy5461"
NONCE = bytes(range(16))
ALICE: Attribute = ("User-Name", "alice")


def read(attributes: Sequence[Attribute], secret: bytes = SECRET) -> Any:
    octets = wire.request(Code.ACCESS_REQUEST, 1, attributes, SECRET, authenticator=NONCE, message_authenticator=False)
    return access_request(wire.parse(octets, frozenset({Code.ACCESS_REQUEST})), secret)


@pytest.mark.parametrize(
    ("attributes", "method"),
    [
        ([("User-Password", b"p\xffw")], Pap(b"p\xffw")),
        ([("User-Password", b"")], Pap(b"")),
        ([("User-Password", b"x" * 128)], Pap(b"x" * 128)),
        ([("CHAP-Password", b"\x07" + b"r" * 16)], Chap(7, b"r" * 16, NONCE)),
        ([("CHAP-Password", b"\x07" + b"r" * 16), ("CHAP-Challenge", b"c")], Chap(7, b"r" * 16, b"c")),
        ([("CHAP-Challenge", b"c")], Unsupported("none")),
        ([("EAP-Message", b"\x02\x01\x00\x04")], Eap(b"\x02\x01\x00\x04", None, None)),
        ([("MS-CHAP-Challenge", b"c" * 8), ("MS-CHAP2-Response", bytes(50))], Unsupported("MS-CHAP")),
        ([], Unsupported("none")),
        ([("User-Password", b"x"), ("CHAP-Password", bytes(17))], Unsupported("several")),
        ([("User-Password", b"x"), ("EAP-Message", b"\x02\x01\x00\x04")], Unsupported("several")),
        ([("User-Password", b"x"), ("Mikrotik-Realm", "pppoe")], Pap(b"x")),
        ([("User-Password", b"x"), ("MS-RAS-Vendor", 311), ("MS-RAS-Version", "MSRASV5.20")], Pap(b"x")),
        ([("MS-CHAP-Response", bytes(50))], Unsupported("MS-CHAP")),
        ([("User-Password", b"x"), ("MS-CHAP-Response", bytes(50))], Unsupported("several")),
    ],
)
def test_methods(attributes: list[Attribute], method: object) -> None:
    assert read([ALICE, *attributes]).method == method


def test_the_wrong_secret_reveals_another_password() -> None:
    assert read([ALICE, ("User-Password", b"secret")], b"another").method != Pap(b"secret")


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ([("User-Password", b"x")], "attribute-value"),
        ([ALICE, ("CHAP-Password", bytes(16))], "attribute-value"),
        ([ALICE, ("CHAP-Password", bytes(18))], "attribute-value"),
    ],
)
def test_malformed(attributes: list[Attribute], reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        read(attributes)
    assert caught.value.reason == reason


@pytest.mark.parametrize("octets", [b"", b"x" * 15, b"x" * 17, b"x" * 144])
def test_a_hidden_password_of_an_impossible_length_is_malformed(octets: bytes) -> None:
    body = b"\x01\x07alice" + bytes([2, 2 + len(octets)]) + octets
    packet = wire.parse(b"\x01\x01" + (20 + len(body)).to_bytes(2, "big") + NONCE + body, frozenset({1}))
    with pytest.raises(Malformed) as caught:
        access_request(packet, SECRET)
    assert caught.value.reason == "user-password"


def test_names() -> None:
    request = read([ALICE, ("Calling-Station-Id", "02-00"), ("NAS-Port-Id", "ge-0"), ("NAS-Port", 7)])
    assert (request.username, request.calling_station, request.nas_port_id) == ("alice", "02-00", "ge-0")
    assert read([ALICE, ("NAS-Port", 7)]).nas_port_id == "7"
    assert read([ALICE]).nas_port_id is None
    assert read([ALICE]).calling_station is None


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"alice", "alice"),
        ("Jörg".encode(), "Jörg"),
        (b"J\xf6rg", "J\\xf6rg"),
        (b"a\0b", "a\\x00b"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        (b"", ""),
    ],
)
def test_text(octets: bytes, expected: str) -> None:
    assert text(octets) == expected


@given(st.binary(max_size=253))
def test_any_octets_are_a_text_that_every_database_keeps(octets: bytes) -> None:
    shown = text(octets)
    assert "\0" not in shown
    shown.encode()


def test_nothing_said_is_none() -> None:
    assert optional_text(None) is None
    assert optional_text(b"") is None
    assert port_of(None, None) is None
    assert port_of(b"", b"") is None
    assert port_of(b"", b"\0\0\0\1") == "1"
    assert port_of(None, b"\xff" * 253) is not None, "too long, and still only a name"
