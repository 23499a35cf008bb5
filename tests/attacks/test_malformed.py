"""Datagrams that are no packets, or not quite: silence, a counter, nothing changed, and the next good one is served."""

from __future__ import annotations

import random

import pytest
from structlog.testing import capture_logs

from aaa import wire
from aaa.wire import Attribute, Code
from charging import tables
from tests.aaa.conftest import PASSWORD, SECRET, Floor

LOGIN: list[Attribute] = [("User-Name", "alice"), ("User-Password", PASSWORD)]
START: list[Attribute] = [("Acct-Status-Type", 1), ("User-Name", "alice"), ("Acct-Session-Id", "1")]


def raw(body: bytes, code: int = Code.ACCESS_REQUEST, length: int | None = None) -> bytes:
    """A packet by hand; `length` where it is to lie."""
    said = 20 + len(body) if length is None else length
    return bytes((code, 7)) + said.to_bytes(2, "big") + bytes(range(16)) + body


def attribute(kind: int, value: bytes, length: int | None = None) -> bytes:
    return bytes((kind, 2 + len(value) if length is None else length)) + value


NAME = attribute(1, b"alice")
MIKROTIK, UNKNOWN_VENDOR = (14988).to_bytes(4, "big"), (4_000_000).to_bytes(4, "big")
# what is wrong with it · the datagram · why it is dropped
MALFORMED: list[tuple[str, bytes, str]] = [
    ("nothing at all", b"", "length"),
    ("one octet", b"\x01", "length"),
    ("half a header", raw(NAME)[:19], "length"),
    ("a Length of zero", raw(NAME, length=0), "length"),
    ("a Length below the header's", raw(NAME, length=19), "length"),
    ("a Length beyond the datagram", raw(NAME, length=200), "length"),
    ("a Length beyond 4096", raw(bytes(5000), length=5000), "length"),
    ("the longest Length there is", raw(NAME, length=65_535), "length"),
    ("an attribute of length 0", raw(attribute(1, b"", 0)), "attribute-chain"),
    ("an attribute of length 1", raw(attribute(1, b"", 1)), "attribute-chain"),
    ("an attribute beyond the packet", raw(attribute(1, b"alice", 200)), "attribute-chain"),
    ("an octet left over", raw(NAME + b"\x01"), "attribute-chain"),
    ("a length 0 after good ones", raw(NAME * 1 + attribute(4, b"abcd") + b"\x05\x00"), "attribute-chain"),
    ("201 attributes", raw(attribute(18, b"x") * 201), "attribute-count"),
    ("two User-Names", raw(NAME + attribute(1, b"bob")), "repeated-attribute"),
    ("two User-Passwords", raw(NAME + attribute(2, bytes(16)) * 2), "repeated-attribute"),
    ("two Message-Authenticators", raw(attribute(80, bytes(16)) * 2), "repeated-attribute"),
    ("two States", raw(attribute(24, b"a") * 2), "repeated-attribute"),
    ("a vendor without a number", raw(attribute(26, b"\0\0")), "vendor-specific"),
    ("a vendor's attribute of length 0", raw(attribute(26, MIKROTIK + b"\x01\x00")), "vendor-specific"),
    ("a vendor's attribute of length 1", raw(attribute(26, MIKROTIK + b"\x01\x01")), "vendor-specific"),
    ("a vendor's attribute beyond its end", raw(attribute(26, MIKROTIK + b"\x01\xff")), "vendor-specific"),
    ("a short Message-Authenticator", raw(attribute(80, bytes(15))), "message-authenticator"),
    ("a long Message-Authenticator", raw(attribute(80, bytes(17))), "message-authenticator"),
    ("an empty Message-Authenticator", raw(attribute(80, b"")), "message-authenticator"),
]  # fmt: skip


@pytest.mark.parametrize(("datagram", "reason"), [pytest.param(d, r, id=name) for name, d, r in MALFORMED])
def test_a_malformed_packet_is_silence_and_a_counter(sqlite_floor: Floor, datagram: bytes, reason: str) -> None:
    for sent in (sqlite_floor.send_access(datagram), sqlite_floor.send_accounting(b"\x04" + datagram[1:])):
        assert sent.done
        assert sent.reply is None
    assert sqlite_floor.dropped[reason] >= 1
    assert len(sqlite_floor.services.replies) == 0
    assert sqlite_floor.login().answer().code == Code.ACCESS_ACCEPT


@pytest.mark.parametrize("code", [0, *sorted(set(Code) - {Code.ACCESS_REQUEST, Code.STATUS_SERVER}), 254, 255])
def test_a_code_that_has_no_business_on_the_port(sqlite_floor: Floor, code: int) -> None:
    """Replies and CoA-Requests among them: nobody commands this server by RADIUS."""
    assert sqlite_floor.send_access(raw(NAME, code)).reply is None
    if code != Code.ACCOUNTING_REQUEST:
        assert sqlite_floor.send_accounting(raw(NAME, code)).reply is None
    assert sqlite_floor.dropped["code"] >= 1


def signed(floor: Floor) -> list[tuple[str, bytes]]:
    return [
        ("access", floor.access_request(LOGIN)),
        ("accounting", floor.accounting_request(START)),
        ("status", floor.status_request()),
    ]


def send(floor: Floor, kind: str, datagram: bytes) -> bytes | None:
    sent = (floor.send_accounting if kind == "accounting" else floor.send_access)(datagram)
    floor.clock.advance(2)
    return sent.reply


def test_every_flipped_bit_of_every_signed_request_is_silence(sqlite_floor: Floor) -> None:
    for kind, datagram in signed(sqlite_floor):
        for at in range(len(datagram)):
            for bit in range(8):
                flipped = datagram[:at] + bytes([datagram[at] ^ 1 << bit]) + datagram[at + 1 :]
                assert send(sqlite_floor, kind, flipped) is None, (kind, at, bit)
        assert send(sqlite_floor, kind, datagram) is not None
    (session,) = sqlite_floor.rows(tables.session)
    assert session.state == "open", "by the two that were not flipped"
    assert sqlite_floor.rows(tables.orphan_report) == []


def test_every_truncated_request_is_silence(sqlite_floor: Floor) -> None:
    for kind, datagram in signed(sqlite_floor):
        for end in range(len(datagram)):
            assert send(sqlite_floor, kind, datagram[:end]) is None
            said = datagram[:2] + max(20, end).to_bytes(2, "big") + datagram[4:end]
            assert send(sqlite_floor, kind, said) is None


def test_octets_behind_the_packet_say_nothing(sqlite_floor: Floor) -> None:
    """Length ends the packet: what a datagram brings behind it can not add an attribute to what was signed."""
    smuggled = sqlite_floor.access_request([("User-Name", "alice"), ("User-Password", b"wrong")]) + attribute(1, b"bob")
    sent = sqlite_floor.send_access(smuggled)
    sqlite_floor.clock.advance(1)
    assert sent.reply is not None
    assert sent.reply[0] == Code.ACCESS_REJECT


def test_a_flood_of_random_octets(sqlite_floor: Floor) -> None:
    chance = random.Random(7)
    for _ in range(2000):
        datagram = bytes((chance.choice((1, 4, 12)), 0)) + chance.randbytes(chance.randrange(120))
        assert sqlite_floor.send_access(datagram).reply is None
        assert sqlite_floor.send_accounting(datagram).reply is None
    assert len(sqlite_floor.services.replies) == 0
    assert sqlite_floor.login().answer().code == Code.ACCESS_ACCEPT


# a User-Password in the packet's own octets
PASSWORDS = [b"", b"x", bytes(15), bytes(17), bytes(127), bytes(129), bytes(144), bytes(253)]


@pytest.mark.parametrize("hidden", PASSWORDS, ids=len)
def test_a_password_of_impossible_length_lets_nobody_in(sqlite_floor: Floor, hidden: bytes) -> None:
    with capture_logs() as logged:
        sent = sqlite_floor.send_access(sqlite_floor.access_request([("User-Name", "alice"), ("Attr-2", hidden)]))
        sqlite_floor.clock.advance(1)
    assert sent.reply is None or sent.reply[0] == Code.ACCESS_REJECT
    assert not [line for line in logged if line["event"] == "bug"]


@pytest.mark.parametrize(
    "near", [b"correct\xff horse", b"correct horse\0", b"correct horse\0x", b"correct hors", b"\0", b""]
)
def test_a_password_that_nearly_is_one_is_none(sqlite_floor: Floor, near: bytes) -> None:
    """RFC 2865 pads with zeros, so those at the end can not be told from padding; anything else counts."""
    sent = sqlite_floor.login(password=near)
    sqlite_floor.clock.advance(1)
    right = near.rstrip(b"\0") == PASSWORD
    assert sent.reply is None or (sent.reply[0] == Code.ACCESS_ACCEPT) == right


TWO_METHODS: list[list[Attribute]] = [
    [("User-Password", PASSWORD), ("CHAP-Password", bytes(17))],
    [("User-Password", PASSWORD), ("EAP-Message", b"\x02\x01\x00\x0a\x01alice")],
    [("CHAP-Password", bytes(17)), ("EAP-Message", b"\x02\x01\x00\x0a\x01alice")],
]


@pytest.mark.parametrize("both", TWO_METHODS, ids=lambda both: "+".join(name for name, _ in both))
def test_two_methods_at_once_let_nobody_in(sqlite_floor: Floor, both: list[Attribute]) -> None:
    """RFC 2865 section 4.1: of two proofs the weaker must not be chosen by the sender."""
    sent = sqlite_floor.send_access(sqlite_floor.access_request([("User-Name", "alice"), *both]))
    sqlite_floor.clock.advance(1)
    assert sent.reply is None or sent.reply[0] == Code.ACCESS_REJECT


@pytest.mark.parametrize(
    "said",
    [
        [("Attr-46", b"\xff" * 3)], [("Attr-42", b"")], [("Attr-43", b"\x01" * 8)], [("Attr-40", b"\x01")], [("Attr-55", b"\0" * 5)], [("Attr-41", b"\xff" * 4)],
        [("Attr-52", b"\xff" * 4), ("Attr-53", b"\xff" * 4), ("Attr-42", b"\xff" * 4), ("Attr-43", b"\xff" * 4), ("Attr-46", b"\xff" * 4)],
        [("Attr-55", b"\xff" * 4)], [("Attr-55", bytes(4))], [("Attr-8", b"\x01")], [("Attr-97", b"\x00" * 30)], [("Attr-40", b"\xff" * 4)],
    ],
    ids=str,
)  # fmt: skip
def test_a_signed_report_of_nonsense_is_no_bug(sqlite_floor: Floor, said: list[Attribute]) -> None:
    """A NAS may be mad: what it signs is recorded or dropped, and never wedges anything."""
    body: list[Attribute] = [("User-Name", "alice"), ("Acct-Session-Id", "1"), *said]
    if not any(name == "Attr-40" for name, _ in said):
        body.append(("Acct-Status-Type", 3))
    with capture_logs() as logged:
        sent = sqlite_floor.send_accounting(sqlite_floor.accounting_request(body))
    assert sent.done
    assert not [line for line in logged if line["event"] == "bug"]
    assert sqlite_floor.report(1).answer().code == Code.ACCOUNTING_RESPONSE
    assert wire.parse(sent.datagram, frozenset(Code)).code == Code.ACCOUNTING_REQUEST
    assert SECRET not in repr(logged).encode()
