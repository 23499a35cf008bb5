"""Every packet in tests/vectors, read, verified, decoded and answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from aaa import wire

FOLDER = Path(__file__).resolve().parent.parent / "vectors"
FIELDS = {
    "title",
    "secret",
    "packet",
    "answers",
    "malformed",
    "authenticator",
    "message-authenticator",
    "password",
    "attributes",
    "reply",
    "reply-attributes",
    "reply-packet",
}
PORTS = frozenset(wire.Code)
MESSAGE_AUTHENTICATOR_WORDS = {True: "good", False: "bad", None: "none"}

Case = dict[str, str]


def cases() -> list[Case]:
    found: list[Case] = []
    for file in sorted(FOLDER.glob("*.txt")):
        if file.name == "README.txt":
            continue
        field = ""
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith(" "):
                found[-1][field] += line.strip() + "\n"
                continue
            field, colon, value = line.partition(":")
            assert colon, f"{file.name}:{number}: neither a field nor the continuation of one"
            assert field in FIELDS, f"{file.name}:{number}: there is no field {field}"
            if field == "title":
                found.append({})
            assert field not in found[-1], f"{file.name}:{number}: {field} a second time"
            found[-1][field] = value.strip()
    return found


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def attributes(text: str) -> list[wire.Attribute]:
    read: list[wire.Attribute] = []
    for line in text.splitlines():
        name, _, value = line.partition(" = ")
        if not name:
            continue
        if value.startswith('"'):
            read.append((name, value[1:-1]))
        elif value.startswith("0x"):
            read.append((name, bytes.fromhex(value[2:])))
        else:
            read.append((name, int(value) if value.isdecimal() else value))
    return read


def test_there_are_vectors_of_every_kind() -> None:
    read = cases()
    assert len(read) > 70
    for field in FIELDS:
        assert any(field in case for case in read), field


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["title"])
def test_vector(case: Case) -> None:
    secret = case["secret"].encode()
    if "malformed" in case:
        with pytest.raises(wire.Malformed) as caught:
            wire.decode(wire.parse(octets(case["packet"]), PORTS))
        assert caught.value.reason == case["malformed"]
        assert (caught.value.reason == "attribute-value") == parses(octets(case["packet"]))
        return
    packet = wire.parse(octets(case["packet"]), PORTS)
    request_authenticator = None
    if "answers" in case:
        request = octets(case["answers"])
        request_authenticator = request[4:20]
        verified = wire.verify_reply(packet, request, secret)
    else:
        verified = wire.verify_request(packet, secret)
    assert verified == (case.get("authenticator", "good") == "good")
    if "message-authenticator" in case:
        word = MESSAGE_AUTHENTICATOR_WORDS[wire.message_authenticator(packet, secret, request_authenticator)]
        assert word == case["message-authenticator"]
    if "password" in case:
        assert wire.decode_password(packet, secret) == case["password"].encode()
    if "attributes" in case:
        assert wire.decode(packet) == attributes(case["attributes"])
    if "reply" in case:
        check_reply(case, packet, secret)


def parses(datagram: bytes) -> bool:
    try:
        wire.parse(datagram, PORTS)
    except wire.Malformed:
        return False
    return True


def check_reply(case: Case, packet: wire.Packet, secret: bytes) -> None:
    code, _, with_message_authenticator = case["reply"].partition(" with ")
    assert with_message_authenticator in ("", "Message-Authenticator")
    reply = wire.reply(
        int(code),
        packet,
        attributes(case["reply-attributes"]),
        secret,
        message_authenticator=bool(with_message_authenticator),
    )
    assert reply.hex(" ") == octets(case["reply-packet"]).hex(" ")
    assert wire.verify_reply(wire.parse(reply, PORTS), packet.raw, secret)
