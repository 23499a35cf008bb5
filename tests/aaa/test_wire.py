"""What holds for every packet, and what our own side may not send. Single packets stand in tests/vectors."""

from __future__ import annotations

import contextlib
import struct
from hashlib import md5

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aaa import wire
from aaa.wire import definitions

SECRET = b"xyzzy5461"
EVERY_CODE = frozenset(range(256))
KNOWN_TYPES = sorted(kind for vendor, kind in definitions.BY_NUMBER if vendor == 0)
KNOWN_VENDORS = sorted(definitions.KNOWN_VENDORS)

# Long enough for a busy machine: what it guards against is time that grows with the wrong thing.
in_time = settings(deadline=2_000)


def packet(body: bytes, code: int = 4, identifier: int = 1) -> bytes:
    """A datagram with this body, its Length right and its authenticator zero."""
    return struct.pack("!BBH16x", code, identifier, 20 + len(body)) + body


def attribute(kind: int, value: bytes) -> bytes:
    return bytes((kind, 2 + len(value))) + value


def parsed(datagram: bytes) -> wire.Packet:
    return wire.parse(datagram, EVERY_CODE)


def read_all(datagram: bytes) -> None:
    """Everything that is done with a datagram of a stranger."""
    read = parsed(datagram)
    wire.verify_request(read, SECRET)
    wire.message_authenticator(read, SECRET)
    wire.message_authenticator(read, SECRET, bytes(16))
    wire.verify_reply(read, packet(b"", code=1, identifier=read.identifier), SECRET)
    wire.reply(5, read, (), SECRET, message_authenticator=True)
    for name, value in wire.decode(read):
        assert isinstance(name, str)
        assert isinstance(value, int | str | bytes)
    wire.decode_password(read, SECRET)


def read_or_refused(datagram: bytes) -> None:
    refusal = None
    try:
        read_all(datagram)
    except wire.Malformed as error:
        refusal = error
    assert refusal is None or str(refusal) == f"{refusal.reason}: {refusal.detail}"


# --- any bytes ---------------------------------------------------------------------------------------------------------

chains = st.lists(
    st.one_of(
        st.builds(attribute, st.integers(0, 255), st.binary(max_size=20)),
        st.builds(attribute, st.sampled_from(KNOWN_TYPES), st.binary(max_size=20)),
        st.builds(
            lambda vendor, body: attribute(26, struct.pack("!I", vendor) + body),
            st.sampled_from([*KNOWN_VENDORS, 429, 99999]),
            st.one_of(st.binary(max_size=20), st.builds(attribute, st.integers(0, 255), st.binary(max_size=20))),
        ),
        st.binary(max_size=4),
    ),
    max_size=12,
).map(b"".join)


@in_time
@given(st.binary(max_size=120))
@example(b"")
@example(packet(b"\x1a\x08\x00\x00\x3a\x8c\x08\x00"))
def test_any_bytes_are_a_packet_or_malformed(datagram: bytes) -> None:
    read_or_refused(datagram)


@in_time
@given(chains, st.sampled_from(list(wire.Code)), st.binary(max_size=3))
def test_any_attributes_are_a_packet_or_malformed(body: bytes, code: int, padding: bytes) -> None:
    read_or_refused(packet(body, code) + padding)


@in_time
@given(st.integers(20, 4096), st.binary(min_size=1, max_size=8))
def test_long_packets_too(length: int, pattern: bytes) -> None:
    body = (pattern * length)[: length - 20]
    read_or_refused(packet(body))


@given(chains)
def test_reading_loses_nothing(body: bytes) -> None:
    try:
        read = parsed(packet(body))
    except wire.Malformed:
        return
    assert b"".join(attribute(kind, value) for kind, value in read.attributes) == body
    assert read.raw == packet(body)
    for kind in range(256):
        assert read.all(kind) == [value for other, value in read.attributes if other == kind]
        assert read.first(kind) == next(iter(read.all(kind)), None)


def test_no_packet_is_longer_than_4096_octets() -> None:
    longest = attribute(25, bytes(253)) * 15 + attribute(25, bytes(249))
    assert len(parsed(packet(longest)).raw) == 4096
    with pytest.raises(wire.Malformed) as caught:
        parsed(packet(longest[:-251] + attribute(25, bytes(250))))
    assert caught.value.reason == "length"


def test_only_the_codes_of_this_port_are_read() -> None:
    for code in range(256):
        if code == wire.Code.ACCOUNTING_REQUEST:
            wire.parse(packet(b"", code), frozenset({wire.Code.ACCOUNTING_REQUEST}))
        else:
            with pytest.raises(wire.Malformed, match=r"^code: "):
                wire.parse(packet(b"", code), frozenset({wire.Code.ACCOUNTING_REQUEST}))


# --- signatures --------------------------------------------------------------------------------------------------------

REPORT: list[wire.Attribute] = [
    ("Acct-Status-Type", "Interim-Update"),
    ("User-Name", "alice"),
    ("Acct-Session-Id", "0000002A"),
    ("Acct-Input-Octets", 123_456),
    ("Mikrotik-Rate-Limit", "1M/2M"),
]


@pytest.mark.parametrize("code", [4, 40, 43])
def test_every_flipped_bit_of_a_signed_request_is_found(code: int) -> None:
    signed = wire.request(code, 7, REPORT, SECRET, message_authenticator=False)
    assert wire.verify_request(parsed(signed), SECRET)
    for bit in range(len(signed) * 8):
        forged = bytearray(signed)
        forged[bit // 8] ^= 1 << bit % 8
        try:
            read = wire.parse(bytes(forged), frozenset({code}))
        except wire.Malformed:
            continue
        assert not wire.verify_request(read, SECRET), f"bit {bit}"


@pytest.mark.parametrize("code", [1, 4, 12, 40, 43])
def test_every_flipped_bit_under_a_message_authenticator_is_found(code: int) -> None:
    signed = wire.request(code, 7, REPORT, SECRET, message_authenticator=True)
    assert parsed(signed).attributes[0][0] == 80
    assert wire.message_authenticator(parsed(signed), SECRET) is True
    for bit in range(len(signed) * 8):
        forged = bytearray(signed)
        forged[bit // 8] ^= 1 << bit % 8
        try:
            read = wire.parse(bytes(forged), frozenset({code}))
        except wire.Malformed:
            continue
        if wire.message_authenticator(read, SECRET) is True:
            # the authenticator of a signed request is not under the Message-Authenticator, but under itself
            assert code in (4, 40, 43)
            assert not wire.verify_request(read, SECRET), f"bit {bit}"


@pytest.mark.parametrize("message_authenticator", [False, True])
@pytest.mark.parametrize(("code", "answer"), [(1, 2), (1, 3), (1, 11), (4, 5), (12, 2), (12, 5), (40, 41), (43, 45)])
def test_every_flipped_bit_of_a_reply_is_found(code: int, answer: int, message_authenticator: bool) -> None:
    sent = wire.request(code, 7, REPORT, SECRET, message_authenticator=message_authenticator)
    reply = wire.reply(
        answer, parsed(sent), [("Reply-Message", "hi")], SECRET, message_authenticator=message_authenticator
    )
    assert wire.verify_reply(parsed(reply), sent, SECRET)
    assert not wire.verify_reply(parsed(reply), sent, SECRET + b"1")
    for bit in range(len(reply) * 8):
        forged = bytearray(reply)
        forged[bit // 8] ^= 1 << bit % 8
        try:
            read = parsed(bytes(forged))
        except wire.Malformed:
            continue
        assert not wire.verify_reply(read, sent, SECRET), f"bit {bit}"


def test_codes_that_are_no_requests_are_never_verified() -> None:
    for code in EVERY_CODE - {1, 4, 12, 40, 43}:
        read = parsed(packet(attribute(80, bytes(16)), code))
        assert not wire.verify_request(read, SECRET)
        assert wire.message_authenticator(read, SECRET) is False


def test_a_reply_to_nothing_is_no_reply() -> None:
    assert not wire.verify_reply(parsed(packet(b"", code=5)), b"", SECRET)
    assert not wire.verify_reply(parsed(packet(b"", code=5)), packet(b"", code=5), SECRET)


@given(st.lists(st.binary(max_size=253), max_size=8), st.booleans())
def test_every_proxy_state_is_echoed_in_order(states: list[bytes], message_authenticator: bool) -> None:
    sent = wire.request(
        4, 0, [("Attr-33", state) for state in states], SECRET, message_authenticator=message_authenticator
    )
    reply = parsed(wire.reply(5, parsed(sent), (), SECRET, message_authenticator=message_authenticator))
    assert reply.all(33) == states
    assert (reply.attributes[:1] == ((80, reply.first(80)),)) == message_authenticator
    assert wire.verify_reply(reply, sent, SECRET)


# --- hidden values -----------------------------------------------------------------------------------------------------


@given(st.binary(max_size=128).filter(lambda clear: not clear.endswith(b"\0")), st.binary(min_size=1, max_size=40))
def test_a_password_comes_back(clear: bytes, secret: bytes) -> None:
    sent = parsed(wire.request(1, 0, [("User-Password", clear)], secret, message_authenticator=True))
    hidden = sent.first(2)
    assert hidden is not None
    assert len(hidden) in range(16, 129, 16)
    assert wire.decode_password(sent, secret) == clear


def test_a_password_is_octets_all_through() -> None:
    sent = parsed(wire.request(1, 0, [("User-Password", b"p\xffw")], SECRET, message_authenticator=False))
    assert wire.decode_password(sent, SECRET) == b"p\xffw"


@pytest.mark.parametrize("octets", [0, 1, 15, 17, 31, 127, 129, 144, 253])
def test_a_password_of_impossible_length(octets: int) -> None:
    with pytest.raises(wire.Malformed, match=r"^user-password: "):
        wire.decode_password(parsed(packet(attribute(2, bytes(octets)), code=1)), SECRET)


def test_no_password() -> None:
    with pytest.raises(wire.Malformed, match=r"^user-password: there is none"):
        wire.decode_password(parsed(packet(b"", code=1)), SECRET)


@given(st.binary(min_size=1, max_size=239))
def test_salted_keys_come_back(key: bytes) -> None:
    asked = parsed(wire.request(1, 0, [], SECRET, message_authenticator=True))
    answered = parsed(
        wire.reply(
            2,
            asked,
            [("MS-MPPE-Send-Key", key), ("MS-MPPE-Recv-Key", key), ("Tunnel-Password:3", key)],
            SECRET,
            message_authenticator=True,
        )
    )
    hidden = dict(wire.decode(answered)[1:])
    assert list(hidden) == ["MS-MPPE-Send-Key", "MS-MPPE-Recv-Key", "Tunnel-Password:3"]
    salts = set()
    for value in hidden.values():
        assert isinstance(value, bytes)
        assert value[0] & 0x80
        salts.add(value[:2])
        assert wire.reveal_salted(value, SECRET, asked.authenticator) == key
    assert len(salts) == 3


def test_salted_keys_by_the_words_of_rfc_2868() -> None:
    asked = parsed(wire.request(1, 0, [], SECRET, message_authenticator=True))
    answered = wire.reply(2, asked, [("MS-MPPE-Send-Key", b"key")], SECRET, message_authenticator=False)
    value = parsed(answered).attributes[0][1][6:]
    mask = md5(SECRET + asked.authenticator + value[:2]).digest()
    assert bytes(a ^ b for a, b in zip(value[2:], mask, strict=True)) == b"\x03key" + bytes(12)


def test_a_salted_key_that_says_it_is_longer_than_it_can_be() -> None:
    salt = b"\x80\x00"
    mask = md5(SECRET + bytes(16) + salt).digest()
    with pytest.raises(wire.Malformed, match=r"^attribute-value: "):
        wire.reveal_salted(salt + bytes((mask[0] ^ 16,)) + mask[1:], SECRET, bytes(16))
    assert wire.reveal_salted(salt + bytes((mask[0] ^ 15,)) + mask[1:], SECRET, bytes(16)) == bytes(15)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_salted_key_or_malformed(hidden: bytes) -> None:
    with contextlib.suppress(wire.Malformed):
        assert len(wire.reveal_salted(hidden, SECRET, bytes(16))) < len(hidden)


# --- values ------------------------------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
VALUES: dict[str, st.SearchStrategy[int | str | bytes]] = {
    "string": text,
    "octets": st.binary(min_size=1, max_size=247),
    "integer": st.integers(0, 2**32 - 1),
    "date": st.integers(0, 2**32 - 1),
    "ipaddr": st.ip_addresses(v=4).map(str),
    "ipv6addr": st.ip_addresses(v=6).map(str),
    "ipv6prefix": st.sampled_from(["::/0", "2001:db8::/32", "2001:db8:0:ff80::/57", "2001:db8::1/128"]),
    "ifid": st.sampled_from(["0:0:0:1", "211:22ff:fe33:4455"]),
}
WRITABLE = [
    definition
    for definition in definitions.BY_NAME.values()
    if not definition.encryption and definition.name not in ("Message-Authenticator", "Proxy-State")
]


def values(definition: definitions.Definition) -> st.SearchStrategy[wire.Attribute]:
    if not definition.tagged:
        return st.tuples(st.just(definition.name), VALUES[definition.datatype])
    names = st.integers(0, 31).map(lambda tag: f"{definition.name}:{tag}" if tag else definition.name)
    return st.tuples(names, st.integers(0, 2**24 - 1) if definition.datatype == "integer" else text)


@pytest.mark.parametrize("definition", WRITABLE, ids=lambda definition: definition.name)
@settings(max_examples=10, deadline=None)
@given(st.data())
def test_every_attribute_comes_back(definition: definitions.Definition, data: st.DataObject) -> None:
    given_attribute = data.draw(values(definition))
    sent = wire.request(4, 0, [given_attribute], SECRET, message_authenticator=False)
    assert wire.decode(parsed(sent)) == [given_attribute]


@given(st.lists(st.sampled_from(WRITABLE).flatmap(values), max_size=10, unique_by=lambda attribute: attribute[0]))
def test_attributes_come_back_in_order(given_attributes: list[wire.Attribute]) -> None:
    sent = wire.request(4, 0, given_attributes, SECRET, message_authenticator=True)
    assert wire.decode(parsed(sent))[1:] == given_attributes


@given(st.binary(max_size=600))
def test_eap_message_is_split_and_joined(message: bytes) -> None:
    sent = parsed(wire.request(1, 0, [("Attr-79", message)], SECRET, message_authenticator=True))
    assert all(len(piece) == 253 for piece in sent.all(79)[:-1])
    assert wire.decode(sent)[1:] == [("EAP-Message", message)]


@pytest.mark.parametrize(
    ("name", "value", "octets"),
    [
        ("Attr-201", b"\x01\x02", b"\xc9\x04\x01\x02"),
        ("Attr-201", b"", b"\xc9\x02"),
        ("Attr-26.14988.99", b"z", b"\x1a\x09\x00\x00\x3a\x8c\x63\x03z"),
        ("Attr-26.14988.0", b"", b"\x1a\x08\x00\x00\x3a\x8c\x00\x02"),
        ("Attr-26.429", b"\x01\x02\x03", b"\x1a\x09\x00\x00\x01\xad\x01\x02\x03"),
        ("Class", b"0x41", b"\x19\x060x41"),  # octets stay octets, also when they look like digits
        ("User-Name", "0x41", b"\x01\x060x41"),
        ("Class", "12", b"\x19\x0412"),
        ("Service-Type", "Framed-User", b"\x06\x06\x00\x00\x00\x02"),
        ("Acct-Status-Type", "Tunnel-Stop", b"\x28\x06\x00\x00\x00\x0a"),
        ("Tunnel-Type:2", "VLAN", b"\x40\x06\x02\x00\x00\x0d"),
        ("Tunnel-Private-Group-Id", "100", b"\x51\x05100"),
        ("Tunnel-Private-Group-Id", "\x01", b"\x51\x04\x00\x01"),
        ("Error-Cause", "Session-Context-Not-Found", b"\x65\x06\x00\x00\x01\xf7"),
        ("Delegated-IPv6-Prefix", "2001:db8::/56", b"\x7b\x14\x00\x38\x20\x01\x0d\xb8" + bytes(12)),
    ],
)
def test_attributes_as_octets(name: str, value: int | str | bytes, octets: bytes) -> None:
    sent = wire.request(4, 0, [(name, value)], SECRET, message_authenticator=False)
    assert sent[20:].hex(" ") == octets.hex(" ")


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("Sesion-Timeout", 1, "no dictionary has an attribute 'Sesion-Timeout'; did you mean Session-Timeout?"),
        ("xyzzy", 1, "no dictionary has an attribute 'xyzzy'"),
        ("Session-Timeout", -1, "Session-Timeout = -1: "),
        ("Session-Timeout", 2**32, "Session-Timeout = 4294967296: "),
        ("Session-Timeout", "soon", "Session-Timeout = 'soon': it takes a number"),
        ("Session-Timeout", b"\0\0\0\1", "Session-Timeout = b'"),
        ("Session-Timeout:1", 1, "Session-Timeout:1: Session-Timeout takes no tag"),
        ("Tunnel-Type", 2**24, "Tunnel-Type = 16777216: "),
        ("Tunnel-Type:32", 1, "Tunnel-Type:32: Tunnel-Type takes tags 0 to 31"),
        ("NAS-IP-Address", "192.0.2.256", "NAS-IP-Address = '192.0.2.256': "),
        ("NAS-IP-Address", "2001:db8::1", "NAS-IP-Address = '2001:db8::1': "),
        ("NAS-IPv6-Address", "192.0.2.1", "NAS-IPv6-Address = '192.0.2.1': "),
        ("Framed-IPv6-Prefix", "10.0.0.0/8", "Framed-IPv6-Prefix = '10.0.0.0/8': "),
        ("NAS-IP-Address", 3221225985, "NAS-IP-Address = 3221225985: a value of type ipaddr is no int"),
        ("User-Name", 5, "User-Name = 5: a value of type string is no int"),
        ("User-Name", "", "User-Name is empty"),
        ("User-Name", "x" * 254, "User-Name has 254 octets, 253 is the most: 'xxx"),
        ("User-Name", "ü" * 127, "User-Name has 254 octets"),
        ("User-Name", "\ud800", "User-Name = '\\ud800': "),
        ("Mikrotik-Rate-Limit", "x" * 248, "Mikrotik-Rate-Limit has 248 octets, 247 is the most"),
        ("Attr-26.429", bytes(250), "Attr-26.429 has 250 octets, 249 is the most"),
        ("Attr-0", b"x", "Attr-0: a standard attribute is Attr-1 "),
        ("Attr-256", b"x", "Attr-256: a standard attribute is Attr-1 "),
        ("Attr-26", b"x", "Attr-26: a standard attribute is Attr-1 "),
        ("Attr-27.1.1", b"x", "Attr-27.1.1: a vendor's attribute is Attr-26.VENDOR.TYPE"),
        ("Attr-26.0.1", b"x", "Attr-26.0.1: a vendor's attribute is Attr-26.VENDOR.TYPE"),
        ("Attr-26.1.256", b"x", "Attr-26.1.256: a vendor's attribute is Attr-26.VENDOR.TYPE"),
        ("Attr-201", "text", "Attr-201 = 'text': a numbered attribute takes bytes"),
        ("User-Password", "\ud800", "User-Password = (hidden): "),
        ("User-Password", b"secret", "User-Password can not be hidden in this kind of packet"),
        ("MS-MPPE-Send-Key", b"secret", "MS-MPPE-Send-Key can not be hidden in this kind of packet"),
        ("Message-Authenticator", bytes(16), "Message-Authenticator is not given"),
        ("Attr-80", bytes(16), "Attr-80 is not given"),
    ],
)
def test_what_can_not_be_sent_says_why(name: str, value: int | str | bytes, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its words are compared below
        wire.request(4, 0, [(name, value)], SECRET, message_authenticator=False)
    assert str(caught.value).startswith(complaint)


def test_requests_that_can_not_be_sent() -> None:
    with pytest.raises(ValueError, match="code 2 is no request"):
        wire.request(2, 0, [], SECRET, message_authenticator=False)
    with pytest.raises(ValueError, match="identifier 256"):
        wire.request(1, 256, [], SECRET, message_authenticator=False)
    with pytest.raises(ValueError, match="an authenticator has 16 octets, not 15"):
        wire.request(1, 0, [], SECRET, authenticator=bytes(15), message_authenticator=False)
    with pytest.raises(ValueError, match="the authenticator of a request with code 4 is computed"):
        wire.request(4, 0, [], SECRET, authenticator=bytes(16), message_authenticator=False)
    with pytest.raises(ValueError, match="User-Password has 129 octets, 128 is the most"):
        wire.request(1, 0, [("User-Password", bytes(129))], SECRET, message_authenticator=False)
    with pytest.raises(ValueError, match="the packet has 4098 octets, 4096 is the most"):
        wire.request(1, 0, [("Class", bytes(249))] * 16 + [("Class", bytes(60))], SECRET, message_authenticator=False)


def test_replies_that_can_not_be_sent() -> None:
    asked = parsed(wire.request(1, 0, [], SECRET, message_authenticator=False))
    with pytest.raises(ValueError, match="Proxy-State is not given"):
        wire.reply(2, asked, [("Proxy-State", b"1")], SECRET, message_authenticator=True)
    with pytest.raises(ValueError, match="MS-MPPE-Send-Key has 240 octets, 239 is the most"):
        wire.reply(2, asked, [("MS-MPPE-Send-Key", bytes(240))], SECRET, message_authenticator=True)


def test_authenticators_of_access_requests_are_random_unless_given() -> None:
    first, second = (parsed(wire.request(1, 0, [], SECRET, message_authenticator=False)) for _ in range(2))
    assert first.authenticator != second.authenticator
    fixed = wire.request(12, 0, [], SECRET, authenticator=bytes(range(16)), message_authenticator=True)
    assert parsed(fixed).authenticator == bytes(range(16))
    assert wire.message_authenticator(parsed(fixed), SECRET) is True
