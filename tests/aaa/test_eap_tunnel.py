"""EAP over TLS without a socket: pieces, attributes, and Python's own TLS as the peer."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from aaa.certificates import Authority, CertificateFiles, ServerCertificate
from aaa.eap import Check, Checked, Conversation, Ended, Offer, Proven, Refused, Say, avp, packet, ttls
from aaa.eap.avp import Avp
from aaa.eap.channel import Channel
from aaa.eap.exchange import Answer, Ask
from aaa.eap.fragments import MOST_MESSAGE_OCTETS, exchange
from aaa.passwords import Pap
from tests.aaa.test_eap_conversation import proven, refusal, response, said

# --- pieces ------------------------------------------------------------------------------------------------------


def carried(message: bytes, reply: list[bytes], most_octets: int) -> tuple[bytes, bytes, int]:
    """What arrives at the peer, what arrives at the server when the peer answers in these pieces, and the longest piece."""
    dialogue = exchange(message, most_octets)
    arrived, longest = b"", 0
    step = next(dialogue)
    try:
        while True:
            assert isinstance(step, Ask)
            longest = max(longest, len(step.data))
            flags, data = step.data[0], step.data[1:]
            if flags & 0x80:
                assert int.from_bytes(data[:4], "big") == len(message)
                data = data[4:]
            arrived += data
            if flags & 0x40:
                step = dialogue.send(Answer(1, b"\0"))
                continue
            piece = reply.pop(0) if reply else b"\0"
            step = dialogue.send(Answer(1, piece))
    except StopIteration as end:
        return arrived, end.value, longest


def pieces(message: bytes, size: int) -> list[bytes]:
    """As a peer sends them: the length with the first."""
    if len(message) <= size:
        return [b"\0" + message]
    cut = [message[at : at + size] for at in range(0, len(message), size)]
    first = b"\xc0" + len(message).to_bytes(4, "big") + cut[0]
    return [first, *(b"\x40" + each for each in cut[1:-1]), b"\0" + cut[-1]]


@given(st.binary(max_size=3000), st.binary(min_size=1, max_size=3000), st.integers(250, 1020), st.integers(100, 1400))
def test_any_message_arrives_whole_in_both_directions(there: bytes, back: bytes, most_octets: int, size: int) -> None:
    arrived, received, longest = carried(there, pieces(back, size), most_octets)
    assert (arrived, received) == (there, back)
    assert longest <= most_octets


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ([b""], "eap-malformed"),
        ([b"\x80\0\0"], "eap-malformed"),
        ([b"\x80\0\0\0\x05abc"], "eap-fragment"),
        ([b"\x80\xff\xff\xff\xffabc"], "eap-fragment"),
        ([b"\x40"], "eap-fragment"),
        ([b"\xc0\0\0\0\x02a", b"\x40"], "eap-fragment"),
        ([b"\x40" + bytes(1000)] * 90, "eap-fragment"),
    ],
)
def test_pieces_that_do_not_fit(reply: list[bytes], reason: str) -> None:
    with pytest.raises(Refused) as caught:
        carried(b"hello", reply, 1000)
    assert caught.value.reason == reason


def test_data_instead_of_a_receipt() -> None:
    dialogue = exchange(bytes(2000), 1000)
    next(dialogue)
    with pytest.raises(Refused):
        dialogue.send(Answer(1, b"\0data"))
    assert MOST_MESSAGE_OCTETS > 2000


# --- attributes --------------------------------------------------------------------------------------------------

AVPS = st.builds(Avp, st.sampled_from([0, 311]), st.integers(1, 2**32 - 1), st.binary(max_size=300))


@given(st.lists(AVPS, max_size=20))
def test_attributes_come_back_as_they_went(avps: list[Avp]) -> None:
    assert avp.read(avp.write(avps)) == avps


def test_the_form_of_an_attribute() -> None:
    assert avp.write([Avp(0, 1, b"alice")]) == bytes.fromhex("000000014000000d616c696365000000")


@given(st.binary(max_size=200))
def test_any_octets_are_attributes_or_refused(octets: bytes) -> None:
    with suppress(Refused):
        assert len(avp.read(octets)) <= avp.MOST_AVPS


@pytest.mark.parametrize("octets", [b"\0" * 7, bytes(8), b"\0\0\0\x01\0\0\0\x09", b"\0\0\0\x01\x80\0\0\x0b" + bytes(4)])
def test_attributes_whose_lengths_do_not_add_up(octets: bytes) -> None:
    with pytest.raises(Refused):
        avp.read(octets)


# --- a peer ------------------------------------------------------------------------------------------------------


class Site(NamedTuple):
    """A CA with a server's and a client's certificate."""

    folder: Path
    files: CertificateFiles
    offer: Offer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("ca")
    now = datetime.now(UTC)
    authority = Authority.create(folder, "test CA", now)
    authority.write_server(authority.issue("radius.example.net", "server", 30, now))
    authority.write_client(authority.issue("alice", "client", 30, now), folder / "alice", "secret")
    files = CertificateFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem", folder / "crl.pem")
    return Site(folder, files, Offer(["peap", "ttls", "tls"], ServerCertificate(files).contexts))


class TlsPeer:
    """Python's own TLS, in memory, and the flags of EAP around it."""

    def __init__(self, site: Site, version: ssl.TLSVersion, before: TlsPeer | None = None) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if before is None else before.context
        context.minimum_version = context.maximum_version = version
        context.load_verify_locations(site.folder / "ca.pem")
        context.load_cert_chain(site.folder / "alice.pem", site.folder / "alice.key")
        self.context: ssl.SSLContext = context
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = None if before is None else before.tls.session
        self.tls: ssl.SSLObject = context.wrap_bio(
            self.incoming, self.outgoing, server_hostname="radius.example.net", session=session
        )

    def shake(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def heard(self) -> bytes:
        try:
            return self.tls.read(65536)
        except ssl.SSLWantReadError:
            return b""


def exchanged(conversation: Conversation, turn: object, kind: int, message: bytes) -> tuple[object, bytes]:
    """Say this, in one piece, and hear the server's next message whole."""
    identifier, _, _ = said(turn)
    turn = conversation.receive(response(identifier, kind, b"\0" + message))
    whole = b""
    while isinstance(turn, Say):
        identifier, _, data = said(turn)
        whole += data[5:] if data[0] & 0x80 else data[1:]
        if not data[0] & 0x40:
            break
        turn = conversation.receive(response(identifier, kind, b"\0"))
    return turn, whole


def shaken(conversation: Conversation, peer: TlsPeer, kind: int) -> object:
    """Begin, decline what is proposed, and do the handshake; the server's last request."""
    turn: object = conversation.receive(response(1, packet.IDENTITY, b"alice"))
    if said(turn)[1] != kind:
        turn = conversation.receive(response(said(turn)[0], packet.NAK, bytes((kind,))))
    assert said(turn)[2] == b"\x20", "start"
    done = False
    while not done:
        done = peer.shake()
        octets = peer.outgoing.read()
        if done and not octets:
            break
        turn, heard = exchanged(conversation, turn, kind, octets)
        peer.incoming.write(heard)
    return turn


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_a_certificate_proves_who_it_is_and_nothing_is_resumed(site: Site, version: ssl.TLSVersion) -> None:
    before: TlsPeer | None = None
    for _ in range(2):
        peer = TlsPeer(site, version, before)
        conversation = site.offer.conversation(b"alice", None)
        turn = shaken(conversation, peer, packet.TLS)
        if version == ssl.TLSVersion.TLSv1_3:
            assert peer.heard() == b"\0", "RFC 9190: no more is to come"
        end = conversation.receive(response(said(turn)[0], packet.TLS, b"\0"))
        assert proven(end)[:2] == ("alice", "EAP-TLS")
        keys = proven(end).keys
        assert keys is not None
        assert (len(keys.send), len(keys.recv), keys.send != keys.recv) == (32, 32, True)
        assert peer.tls.session_reused is False
        before = peer


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_a_password_through_the_tunnel(site: Site, version: ssl.TLSVersion) -> None:
    peer, conversation = TlsPeer(site, version), site.offer.conversation(b"alice", None)
    turn = shaken(conversation, peer, packet.TTLS)
    peer.tls.write(avp.write([Avp(0, 1, b"alice"), Avp(0, 2, b"secret" + bytes(10))]))
    turn, _ = exchanged(conversation, turn, packet.TTLS, peer.outgoing.read())
    assert turn == Check("alice", Pap(b"secret"))
    assert proven(conversation.checked(Checked(None)))[:2] == ("alice", "TTLS/PAP")


@pytest.mark.parametrize(
    ("avps", "reason"),
    [
        ([], "eap-malformed"),
        ([Avp(0, 2, b"secret")], "eap-malformed"),
        ([Avp(0, 1, b"alice")], "method-not-possible"),
        ([Avp(0, 1, b"bob"), Avp(0, 2, b"secret")], "eap-identity-mismatch"),
        ([Avp(0, 1, b"alice"), Avp(0, 3, bytes(17)), Avp(0, 60, bytes(16))], "eap-challenge"),
        ([Avp(0, 1, b"alice"), Avp(0, 3, bytes(16))], "eap-malformed"),
        ([Avp(0, 1, b"alice"), Avp(311, 25, bytes(50)), Avp(311, 11, bytes(16))], "eap-challenge"),
        ([Avp(0, 1, b"alice"), Avp(311, 25, bytes(49))], "eap-malformed"),
        ([Avp(0, 79, b"")], "eap-malformed"),
        ([Avp(0, 79, response(1, packet.NAK))], "eap-type"),
    ],
)
def test_what_is_no_proof_in_the_tunnel(site: Site, avps: list[Avp], reason: str) -> None:
    peer, conversation = TlsPeer(site, ssl.TLSVersion.TLSv1_2), site.offer.conversation(b"alice", None)
    turn = shaken(conversation, peer, packet.TTLS)
    peer.tls.write(avp.write(avps) or b"\0")
    turn, _ = exchanged(conversation, turn, packet.TTLS, peer.outgoing.read())
    assert refusal(turn) == reason


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
def test_a_challenge_in_the_tunnel_follows_from_the_handshake(site: Site, version: int) -> None:
    """Whoever heard a CHAP response elsewhere could say it again here, if he could choose the challenge."""
    channel = Channel(ServerCertificate(site.files).contexts().tunnel)
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(version)
    client = SSL.Connection(context, None)
    client.set_connect_state()
    done = False
    while not done:
        with suppress(SSL.WantReadError):
            client.do_handshake()
        done = channel.handshake(client.bio_read(65536))
        with suppress(SSL.WantReadError):
            client.bio_write(channel.output() or b"")
            client.do_handshake()
    implied = client.export_keying_material(b"ttls challenge", 17)
    challenge, identifier = implied[:16], implied[16]
    assert ttls.implied_challenge(channel, challenge, identifier) == challenge
    for wrong in ((None, identifier), (b"", identifier), (bytes(16), identifier), (challenge, identifier ^ 1)):
        with pytest.raises(Refused) as caught:
            ttls.implied_challenge(channel, *wrong)
        assert caught.value.reason == "eap-challenge"


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6))
def test_whatever_a_peer_says_instead_of_tls(answers: list[bytes]) -> None:
    conversation = _FUZZED[0].conversation(b"alice", None)
    turn: object = conversation.receive(response(1, packet.IDENTITY, b"alice"))
    for answer in answers:
        if isinstance(turn, Ended):
            assert isinstance(turn.result, Refused)
            return
        assert isinstance(turn, Say)
        turn = conversation.receive(response(said(turn)[0], packet.PEAP, answer))
        assert not isinstance(turn, Ended) or not isinstance(turn.result, Proven)


_FUZZED: list[Offer] = []


@pytest.fixture(scope="module", autouse=True)
def fuzzed(site: Site) -> Iterator[None]:
    _FUZZED.append(site.offer)
    yield
    _FUZZED.clear()
