"""What is fuzzed: functions of any octets that fail where a promise does not hold. Each has examples to begin from."""

from __future__ import annotations

import hmac
import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from hashlib import md5
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from twisted.internet.task import Clock

from aaa import segments, wire
from aaa.certificates import Authority, CertificateFiles, ServerCertificate
from aaa.eap import Check, Checked, Conversations, Ended, Offer, Say
from aaa.handlers import EapLogins
from aaa.keyring import KeyRing, KeyRingError
from aaa.tokens import TOKEN_OCTETS, read_token, token
from aaa.wire import Attribute, Code, Malformed
from aaa.wire.packet import LONGEST_PACKET_OCTETS
from aaa.wire.stream import Stream
from aaa.wire.version_1_1 import request_in_1_0
from charging.database import open_engine
from tests.aaa.conftest import NAS_ADDRESS, SECRET, Floor

_ANY: Final = frozenset(Code)
_KEYS: Final = [b"k" * 32, b"l" * 32]
_SALT: Final = 0x01020304
_NONCE: Final = bytes(range(16))


class Broken(AssertionError):
    """A promise that does not hold."""


class Target(NamedTuple):
    """A function of any octets, and octets that bring it far."""

    run: Callable[[bytes], None]
    examples: Callable[[], list[bytes]]


def _require(kept: bool, promise: str) -> None:
    if not kept:
        raise Broken(promise)


# --- the pre-parser -----------------------------------------------------------------------------------------------


def pre_parser(octets: bytes) -> None:
    """Any datagram is a packet whose parts add up, or Malformed; its values are read, or Malformed; it is not signed."""
    try:
        packet = wire.parse(octets, _ANY)
    except Malformed:
        return
    rebuilt = b"".join(bytes((kind, 2 + len(value))) + value for kind, value in packet.attributes)
    _require(packet.raw[20:] == rebuilt, "nothing is lost and nothing added")
    with suppress(Malformed):
        wire.decode(packet)
    if packet.code not in (Code.ACCESS_REQUEST, Code.STATUS_SERVER):
        _require(not wire.verify_request(packet, SECRET), "nobody signs by accident")
    _require(not wire.message_authenticator(packet, SECRET), "nobody signs by accident")


def _datagrams() -> list[bytes]:
    login: list[Attribute] = [
        ("User-Name", "alice"),
        ("User-Password", b"correct horse"),
        ("Calling-Station-Id", "02-00-00-00-00-01"),
    ]
    report: list[Attribute] = [
        ("Acct-Status-Type", 3),
        ("User-Name", "alice"),
        ("Acct-Session-Id", "1"),
        ("Acct-Output-Octets", 2**31),
    ]
    vendor: list[Attribute] = [
        *login,
        ("Mikrotik-Rate-Limit", "5M/20M"),
        ("WISPr-Bandwidth-Max-Up", 5),
        ("Framed-IPv6-Prefix", "2001:db8::/64"),
    ]
    other = b"another secret than the server's"
    return [
        wire.request(Code.ACCESS_REQUEST, 1, login, other, message_authenticator=True),
        wire.request(Code.ACCESS_REQUEST, 1, vendor, other, message_authenticator=False),
        wire.request(Code.ACCOUNTING_REQUEST, 2, report, other, message_authenticator=False),
        wire.request(Code.STATUS_SERVER, 3, [], other, message_authenticator=True),
    ]


# --- the whole server ---------------------------------------------------------------------------------------------


class _Bugs:
    """Counts what the server calls a bug of its own."""

    seen = 0

    def __call__(self, _logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if event.get("event") == "bug":
            _Bugs.seen += 1
        raise structlog.DropEvent


@cache
def _template() -> Path:
    import migrations

    path = Path(tempfile.mkdtemp(prefix="aaa-fuzz-")) / "template.db"
    engine = open_engine(f"sqlite:///{path}")
    migrations.upgrade(engine)
    engine.dispose()
    return path


@cache
def _floor() -> Floor:
    """One server for all inputs, its database in a folder of its own."""
    path = _template().with_name("fuzz.db")
    shutil.copy(_template(), path)
    structlog.configure(processors=[_Bugs()])
    floor = Floor(open_engine(f"sqlite:///{path}"), Clock())
    floor.services = floor.services._replace(
        eap=EapLogins(_offer(), Conversations(random.Random(1).randbytes)), log=structlog.get_logger()
    )
    floor.add_nas()
    floor.add_subscriber()
    return floor


def unsigned(octets: bytes) -> None:
    """Whatever a stranger sends, with the address of a NAS: silence, and nothing remembered."""
    floor, before = _floor(), _Bugs.seen
    remembered = len(floor.services.replies)
    sent = [floor.send_access(octets), floor.send_accounting(octets)]
    floor.clock.advance(2)
    _require(all(each.done and each.reply is None for each in sent), "no reply to an unverified packet")
    _require(len(floor.services.replies) == remembered, "an unverified packet touches no cache")
    _require(_Bugs.seen == before, "no bug")


def signed_mutations(octets: bytes) -> None:
    """Any attributes, signed as the NAS signs: an answer that is signed, or silence, and no bug. The first octet chooses the code."""
    if not octets:
        return
    code, body = (Code.ACCESS_REQUEST, Code.ACCOUNTING_REQUEST, Code.STATUS_SERVER)[octets[0] % 3], octets[1:4000]
    floor, before = _floor(), _Bugs.seen
    if code != Code.ACCOUNTING_REQUEST:
        body = bytes((80, 18)) + bytes(16) + body
    head = bytes((code, octets[0])) + (20 + len(body)).to_bytes(2, "big")
    start = bytes(16) if code == Code.ACCOUNTING_REQUEST else md5(octets).digest()
    if code == Code.ACCOUNTING_REQUEST:
        start = md5(head + start + body + SECRET).digest()
    else:
        body = body[:2] + hmac.digest(SECRET, head + start + body, "md5") + body[18:]
    datagram = head + start + body
    sent = floor.send_accounting(datagram) if code == Code.ACCOUNTING_REQUEST else floor.send_access(datagram)
    floor.clock.advance(40)
    _require(sent.done, "every story ends")
    _require(_Bugs.seen == before, "no bug")
    if sent.reply is not None:
        answer = wire.parse(sent.reply, _ANY)
        _require(wire.verify_reply(answer, datagram, SECRET), "an answer is signed")
    _require(len(floor.services.replies) < 20, "what is over is forgotten")


def _attributes() -> list[bytes]:
    made = _datagrams()
    eap = wire.request(
        Code.ACCESS_REQUEST,
        1,
        [("User-Name", "alice"), ("EAP-Message", b"\x02\x01\x00\x0a\x01alice")],
        SECRET,
        message_authenticator=False,
    )
    return [b"\0" + made[1][20:], b"\x01" + made[2][20:], b"\x02", b"\0" + eap[20:], b"\0" + _mschap()]


def _mschap() -> bytes:
    said: list[Attribute] = [("User-Name", "alice"), ("MS-CHAP-Challenge", bytes(16)), ("MS-CHAP2-Response", bytes(50))]
    return wire.request(Code.ACCESS_REQUEST, 1, said, SECRET, message_authenticator=False)[20:]


# --- EAP ----------------------------------------------------------------------------------------------------------


@cache
def _offer() -> Offer:
    folder = Path(tempfile.mkdtemp(prefix="aaa-fuzz-ca-"))
    now = datetime.now(UTC)
    authority = Authority.create(folder, "fuzz CA", now)
    authority.write_server(authority.issue("radius.example.net", "server", 30, now))
    files = CertificateFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem", folder / "crl.pem")
    chance = random.Random(1)
    return Offer(("md5", "gtc", "mschapv2", "peap", "ttls", "tls"), ServerCertificate(files).contexts, chance.randbytes)


def eap(octets: bytes) -> None:
    """A peer that says anything, message after message (each a length of two octets, then itself): it ends, it is bounded, and
    nobody is let in whose password was found wrong."""
    conversation = _offer().conversation(b"alice", None)
    identifier = 1
    turn: object = conversation.receive(b"\x02\x01\x00\x0a\x01alice")
    at = 0
    while at + 2 <= len(octets) and not isinstance(turn, Ended):
        length = int.from_bytes(octets[at : at + 2], "big") % 1100
        said = octets[at + 2 : at + 2 + length]
        at += 2 + length
        if isinstance(turn, Say):
            identifier = turn.octets[1]
            if said:  # the peer at least numbers it as it must be, or nothing would ever be read
                said = b"\x02" + bytes((identifier,)) + (4 + len(said)).to_bytes(2, "big") + said
        try:
            turn = conversation.receive(said)
        except Malformed:
            continue
        while isinstance(turn, Check):
            turn = conversation.checked(Checked("wrong-password"))
    if isinstance(turn, Ended):
        _require(turn.octets[0] == 4, "a wrong password lets nobody in")


def _messages() -> list[bytes]:
    def all_of(*said: bytes) -> bytes:
        return b"".join(len(each).to_bytes(2, "big") + each for each in said)

    tls = bytes.fromhex("160301002f0100002b0303") + bytes(32) + bytes.fromhex("000004c02fc0300100")
    return [
        all_of(b"\x04\x10" + bytes(16)),
        all_of(b"\x03\x06", b"\x06correct horse"),
        all_of(b"\x03\x1a", b"\x1a\x02\x02\x00\x3b\x31" + bytes(49) + b"alice", b"\x1a\x04"),
        all_of(b"\x03\x19", b"\x19\x00" + tls, b"\x19\x00"),
        all_of(b"\x03\x15", b"\x15\x80" + len(tls).to_bytes(4, "big") + tls, b"\x15\x00"),
        all_of(b"\x03\x0d", b"\x0d\xc0\x00\x00\x10\x00" + bytes(200), b"\x0d\x40" + bytes(200)),
    ]


# --- tokens, the spool, streams, what is sealed --------------------------------------------------------------------


def tokens(octets: bytes) -> None:
    """Nothing that was not signed is a Class token, nor what was sealed with a key."""
    _require(
        read_token(octets, _KEYS) is None or octets == token(*read_token(octets, _KEYS) or (0, 0), _KEYS[0]),
        "a forged token",
    )
    with suppress(KeyRingError):
        KeyRing({1: b"r" * 32}).open("nas.secret:x", octets)
        raise Broken("something opened that was not sealed")


def _forged_tokens() -> list[bytes]:
    return [
        token(7, 4711, b"another key"),
        b"a" * TOKEN_OCTETS,
        KeyRing({1: b"s" * 32}).seal("nas.secret:x", b"secret"),
    ]


def spool(octets: bytes) -> None:
    """Any file is read to its end, in time, and what comes out of it went in."""
    found = segments.scan(octets, _SALT)
    for record in found.records:
        _require(segments.encode(record, _SALT) in octets, "a record is there as it was written")
    _require(sum(each.octets for each in found.damage) <= len(octets), "damage is counted once")


def _segments() -> list[bytes]:
    records = [
        segments.Record(n, 1_772_366_400_000 + n, NAS_ADDRESS, b"\x04\x01\x00\x14" + bytes(16)) for n in range(3)
    ]
    whole = b"".join(segments.encode(record, _SALT) for record in records)
    return [whole, whole[:-5], whole[:40] + b"xx" + whole[40:], segments.MARKER * 5 + whole]


def radsec_framing(octets: bytes) -> None:
    """A stream in pieces (the first octet says how large) gives what it gives in one; no more than a packet is held."""
    size = octets[0] + 1 if octets else 1
    whole, pieces = _framed([octets]), _framed([octets[at : at + size] for at in range(0, len(octets), size)])
    _require(whole == pieces, "how it is cut says nothing")


def _framed(parts: list[bytes]) -> list[bytes]:
    """The packets; a last word where the stream broke, after which its connection is closed."""
    stream, found = Stream(), list[bytes]()
    for part in parts:
        try:
            found.extend(stream.packets(part))
        except Malformed:
            return [*found, b"malformed"]
        _require(stream.held <= LONGEST_PACKET_OCTETS, "no more than a packet is held")
    return found


def radius_1_1(octets: bytes) -> None:
    """A packet of RADIUS/1.1 becomes one of 1.0 that is signed and no longer than may be, or Malformed."""
    with suppress(Malformed):
        packet = wire.parse(request_in_1_0(octets, SECRET), _ANY)
        if packet.code == Code.ACCOUNTING_REQUEST:
            _require(wire.verify_request(packet, SECRET), "it is signed")


def _longest() -> list[bytes]:
    """As long as a packet may be, where a translation must add something."""
    eap: list[Attribute] = [("User-Name", "alice"), ("User-Password", b"x" * 113), ("EAP-Message", bytes(3900))]
    whole = wire.request(Code.ACCESS_REQUEST, 1, eap, SECRET, message_authenticator=False)
    left = LONGEST_PACKET_OCTETS - len(whole)
    filled = whole + bytes((33, left)) + bytes(left - 2)
    return [filled[:2] + len(filled).to_bytes(2, "big") + filled[4:]]


TARGETS: Final[dict[str, Target]] = {
    "pre_parser": Target(pre_parser, _datagrams),
    "unsigned": Target(unsigned, _datagrams),
    "signed_mutations": Target(signed_mutations, _attributes),
    "eap": Target(eap, _messages),
    "tokens": Target(tokens, _forged_tokens),
    "spool": Target(spool, _segments),
    "radsec_framing": Target(
        radsec_framing, lambda: [b"".join(_datagrams()), _datagrams()[0] * 3 + b"\x01\x02\x00\x05"]
    ),
    "radius_1_1": Target(radius_1_1, lambda: [*_datagrams(), *_longest()]),
}
