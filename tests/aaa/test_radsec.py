"""NASes over TLS: who may connect, what a stream is, both versions of RADIUS, commands going back, and the limits."""

from __future__ import annotations

import gc
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError

from aaa import wire
from aaa.certificate_names import fingerprint_name
from aaa.certificates import CertificateError, CertificateFiles, ServerCertificate, read_certificate
from aaa.dynauth import QueueFull
from aaa.radsec import (
    CLOSE_SECONDS,
    HANDSHAKE_SECONDS,
    MOST_HANDSHAKES,
    MOST_HANDSHAKES_PER_ADDRESS,
    MOST_UNANSWERED,
    VERSION_1_0,
    VERSION_1_1,
    Connections,
    RadSec,
    listen,
)
from aaa.retransmission import ACK, NO_ANSWER, Answer
from aaa.sockets import require_free
from aaa.wire import Attribute, Code, version_1_1
from charging import tables
from tests.aaa.conftest import NAS_ADDRESS, NOON, PASSWORD, Floor
from tests.tls import RADSEC, Certificates, Tcp, TlsNas, client_context

START = 1
TOKEN = b"\xca\xfe\x00\x01"
BRAS = "dns:bras-1.example.net"


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates are slow to make: those that no test spoils."""
    ours = Certificates(tmp_path_factory.mktemp("ours") / "ca")
    for name in ("bras-1.example.net", "bras-2.example.net", "stranger.example.net"):
        ours.issue(name)
    ours.issue("alice", kind="client")
    ours.issue("old.example.net", ago=timedelta(days=30), days=1)
    theirs = Certificates(tmp_path_factory.mktemp("theirs") / "ca", "another CA")
    theirs.issue("bras-1.example.net").with_suffix("")
    (ours.folder / "forged.pem").write_bytes((theirs.folder / "bras-1.example.net.pem").read_bytes())
    (ours.folder / "forged.key").write_bytes((theirs.folder / "bras-1.example.net.key").read_bytes())
    return ours.folder


class Site:
    """A server with a door for TLS, and two NASes that it knows."""

    def __init__(self, floor: Floor, folder: Path, **settings: Any) -> None:
        self.floor = floor
        self.folder = folder
        self.woken = 0
        files = CertificateFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem", folder / "crl.pem")
        radsec = RadSec(ServerCertificate(files), **settings)
        self.connections = Connections(floor.services, radsec, floor.clock, self._wake)
        self.connections.start()
        self.factory = self.connections.factory()

    def _wake(self) -> None:
        self.woken += 1

    def change(self, name: str, **values: Any) -> None:
        """What `aaa nas set` does, and the server sees."""
        self.floor.clock.advance(0.01)
        self.floor.set_nas(name, **values)
        self.floor.nases.refresh()

    def connect(self, name: str | None = "bras-1.example.net", *, address: str = "198.51.100.7", **how: Any) -> TlsNas:
        stem = None if name is None else self.folder / name
        return TlsNas(
            self.factory, self.floor.clock, client_context(self.folder / "ca.pem", stem, **how), address=address
        )


@pytest.fixture
def site(sqlite_floor: Floor, issued: Path) -> Iterator[Site]:
    yield from _site(sqlite_floor, issued)


def _site(floor: Floor, folder: Path, **settings: Any) -> Iterator[Site]:
    made = Site(floor, folder, **settings)
    made.change("bras-1", network=None, certificate=BRAS)
    floor.add_nas("bras-2", None, certificate="dns:bras-2.example.net")
    yield made
    made.connections.stop()


def said(answer: wire.Packet) -> dict[str, Any]:
    return dict(wire.decode(answer))


LOGIN: list[Attribute] = [("User-Name", "alice"), ("User-Password", PASSWORD)]


def started(session: str = "0000002A") -> list[Attribute]:
    return [("Acct-Status-Type", START), ("User-Name", "alice"), ("Acct-Session-Id", session)]


# --- who may connect -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_nas_logs_a_subscriber_in_and_reports(site: Site, newest: ssl.TLSVersion) -> None:
    nas = site.connect(newest=newest)
    accept = nas.ask(Code.ACCESS_REQUEST, LOGIN)
    assert accept.code == Code.ACCESS_ACCEPT
    report: list[Attribute] = [*started(), ("Class", said(accept)["Class"])]
    assert nas.ask(Code.ACCOUNTING_REQUEST, report, 2, signed=False).code == Code.ACCOUNTING_RESPONSE
    (session,) = site.floor.rows(tables.session)
    assert (session.nas_address, session.acct_session_id) == ("radsec:bras-1", b"0000002A")
    replayed = site.floor.nases.at(session.nas_address)
    assert replayed is not None, "the spool knows a report's NAS by this source"
    # The watchdog of RFC 6614 section 2.3.
    assert nas.ask(Code.STATUS_SERVER, [], 3).code == Code.ACCESS_ACCEPT
    assert site.floor.dropped == {}


def test_a_request_need_not_be_signed_where_tls_signs_everything(site: Site) -> None:
    assert site.connect().ask(Code.ACCESS_REQUEST, LOGIN, signed=False).code == Code.ACCESS_ACCEPT


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, "tls-failed"),
        ("forged", "certificate-refused"),
        ("old.example.net", "certificate-refused"),
        ("stranger.example.net", "certificate-of-no-nas"),
        ("alice", "certificate-of-no-nas"),
    ],
)
def test_whoever_is_nobody_is_sent_away(site: Site, name: str | None, reason: str, newest: ssl.TLSVersion) -> None:
    nas = site.connect(name, newest=newest)
    assert nas.closed()
    assert nas.packets() == []
    assert site.floor.dropped == {reason: 1}
    assert site.connections.reachable() == set()


def test_a_certificate_that_was_revoked_is_refused(sqlite_floor: Floor, tmp_path: Path) -> None:
    ours = Certificates(tmp_path / "ca")
    ours.issue("bras-1.example.net")
    ours.revoke("bras-1.example.net")
    for site in _site(sqlite_floor, ours.folder):
        assert site.connect().closed()
        assert site.floor.dropped == {"certificate-refused": 1}


def test_a_certificate_is_good_for_one_nas(site: Site) -> None:
    # One name of the certificate for each of two NASes: nobody can say who speaks.
    shown = read_certificate(site.folder / "bras-1.example.net.pem")
    site.change("bras-2", certificate=fingerprint_name(shown))
    assert site.connect().closed()
    assert site.floor.dropped == {"certificate-of-several-nases": 1}


@pytest.mark.parametrize("name", ["subject:CN=bras-1.example.net", "sha256"])
def test_other_names_of_a_certificate(site: Site, name: str) -> None:
    shown = read_certificate(site.folder / "bras-1.example.net.pem")
    site.change("bras-1", certificate=fingerprint_name(shown) if name == "sha256" else name)
    assert site.connect().ask(Code.ACCESS_REQUEST, LOGIN).code == Code.ACCESS_ACCEPT


def test_with_an_address_it_speaks_from_there_only(site: Site) -> None:
    site.change("bras-1", network="203.0.113.0/24")
    assert not site.connect(address="203.0.113.9").closed()
    assert site.connect(address="198.51.100.7").closed()
    assert site.floor.dropped == {"nas-elsewhere": 1}


def test_another_nas_s_certificate_is_another_nas(site: Site) -> None:
    accept = site.connect("bras-2.example.net").ask(Code.ACCESS_REQUEST, LOGIN)
    assert accept.code == Code.ACCESS_ACCEPT
    assert [row.nas_address for row in site.floor.rows(tables.session)] == ["radsec:bras-2"]


def test_who_has_only_a_certificate_is_nobody_over_udp(site: Site) -> None:
    sent = site.floor.login(source="198.51.100.7", secret=RADSEC)
    assert sent.reply is None
    assert site.floor.login(source="radsec", secret=RADSEC).reply is None
    assert site.floor.dropped == {"unknown-nas": 2}


def test_without_tls_there_is_nothing(site: Site) -> None:
    nas = site.connect()
    plain = TlsNas(site.factory, site.floor.clock, client_context(site.folder / "ca.pem", None))
    plain.send_raw(site.floor.access_request(LOGIN, secret=RADSEC))
    assert plain.closed()
    assert plain.packets() == []
    assert not nas.closed()


# --- while it lasts ------------------------------------------------------------------------------------------------


def test_a_revoked_certificate_loses_its_connection(sqlite_floor: Floor, tmp_path: Path) -> None:
    ours = Certificates(tmp_path / "ca")
    for name in ("bras-1.example.net", "bras-2.example.net"):
        ours.issue(name)
    for site in _site(sqlite_floor, ours.folder):
        one, two = site.connect(), site.connect("bras-2.example.net")
        sqlite_floor.clock.advance(1)
        assert not one.closed()
        ours.revoke("bras-1.example.net")
        sqlite_floor.clock.advance(1)
        assert one.closed()
        assert not two.closed()
        assert two.ask(Code.STATUS_SERVER, []).code == Code.ACCESS_ACCEPT
        assert site.connections.reachable() == {"radsec:bras-2"}
        assert site.connect().closed()


def test_a_look_that_fails_is_taken_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    nas = site.connect()
    monkeypatch.setattr(site.connections, "_why_not", None)
    site.floor.clock.advance(1)
    monkeypatch.undo()
    site.change("bras-1", certificate="dns:bras-3.example.net")
    site.floor.clock.advance(1)
    assert nas.closed()


def test_what_becomes_of_the_nas_table_becomes_of_the_connections(site: Site) -> None:
    one, two = site.connect(), site.connect("bras-2.example.net")
    site.change("bras-1", certificate="dns:bras-3.example.net")
    site.change("bras-2", network="198.51.100.0/24")
    site.floor.clock.advance(1)
    assert one.closed()
    assert not two.closed()
    site.change("bras-2", network="203.0.113.2")
    site.floor.clock.advance(1)
    assert two.closed()


def test_a_certificate_ends_while_it_is_connected(sqlite_floor: Floor, issued: Path) -> None:
    for site in _site(sqlite_floor, issued, idle_seconds=10**9):
        nas = site.connect()
        days_to_its_end = (datetime.now(UTC) - datetime.fromtimestamp(NOON / 1000, UTC)).days + 365
        sqlite_floor.clock.advance((days_to_its_end - 1) * 86_400)
        assert not nas.closed()
        sqlite_floor.clock.advance(2 * 86_400)
        assert nas.closed()


def test_silence_ends_a_connection(sqlite_floor: Floor, issued: Path) -> None:
    for site in _site(sqlite_floor, issued, idle_seconds=60):
        nas = site.connect()
        for _ in range(5):
            sqlite_floor.clock.pump([1] * 40)
            nas.ask(Code.STATUS_SERVER, [])
        sqlite_floor.clock.pump([1] * (60 + CLOSE_SECONDS + 1))
        nas.pump()
        assert nas.closed()
        assert site.connections.reachable() == set()


def test_one_nas_has_so_many_connections_and_the_oldest_goes_first(sqlite_floor: Floor, issued: Path) -> None:
    for site in _site(sqlite_floor, issued, most_per_nas=2):
        first, second = site.connect(), site.connect()
        sqlite_floor.clock.advance(0.1)
        first.ask(Code.STATUS_SERVER, [])
        third = site.connect()
        assert [first.closed(), second.closed(), third.closed()] == [False, True, False]
        assert not site.connect("bras-2.example.net").closed()


def test_handshakes_are_few_and_short(site: Site) -> None:
    idle = [Mute(site) for _ in range(MOST_HANDSHAKES_PER_ADDRESS)]
    assert not any(each.closed() for each in idle)
    assert site.connect().closed()
    assert not site.connect(address="198.51.100.8").closed()
    assert site.floor.dropped == {"too-many-handshakes": 1}
    site.floor.clock.pump([1] * HANDSHAKE_SECONDS)
    assert all(each.closed() for each in idle)
    assert not site.connect().closed()


def test_handshakes_are_few_in_all(site: Site) -> None:
    idle = [Mute(site, f"198.51.100.{number % 250}") for number in range(MOST_HANDSHAKES)]
    assert site.connect(address="203.0.113.1").closed()
    assert not any(each.closed() for each in idle)


class Mute:
    """Somebody who connects and says nothing."""

    def __init__(self, site: Site, address: str = "198.51.100.7") -> None:
        self._tcp = Tcp(address)
        server: Any = site.factory.buildProtocol(self._tcp.getPeer())
        server.makeConnection(self._tcp)

    def closed(self) -> bool:
        return self._tcp.closed


# --- the stream ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1, 3, 19, 20, 21, 4096])
def test_packets_split_and_joined(site: Site, piece: int) -> None:
    nas = site.connect()
    asked = [wire.request(Code.STATUS_SERVER, n, (), RADSEC, message_authenticator=True) for n in range(7)]
    nas.send(b"".join(asked), piece=piece)
    answers = [wire.parse(each, frozenset(Code)) for each in nas.packets()]
    assert [each.identifier for each in answers] == list(range(7))
    assert all(wire.verify_reply(each, octets, RADSEC) for each, octets in zip(answers, asked, strict=True))


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (bytes((1, 1, 0, 19)), "length"),
        (bytes((1, 1, 0x10, 0x01)), "length"),
        (bytes((1, 1, 0, 22)) + bytes(16) + b"\x01\x00", "attribute-chain"),
        (bytes((4, 1, 0, 20)) + bytes(16), "bad-authenticator"),
        (wire.request(Code.STATUS_SERVER, 1, (), b"secret", message_authenticator=True), "bad-authenticator"),
    ],
    ids=["too-short", "too-long", "attribute-chain", "authenticator", "secret"],
)
def test_what_can_not_be_right_closes_the_connection(site: Site, octets: bytes, reason: str) -> None:
    nas = site.connect()
    nas.send(octets)
    assert nas.closed()
    assert site.floor.dropped == {reason: 1}


def test_a_code_that_has_no_business_here_is_passed_over(site: Site) -> None:
    nas = site.connect()
    nas.send(wire.request(Code.COA_REQUEST, 1, [("User-Name", "alice")], RADSEC, message_authenticator=True))
    assert nas.ask(Code.STATUS_SERVER, []).code == Code.ACCESS_ACCEPT
    assert site.floor.dropped == {"code": 1}


def test_who_asks_too_much_at_once_is_not_read_until_he_has_his_answers(site: Site) -> None:
    nas = site.connect()
    site.floor.lookups.holding = True
    logins = [
        wire.request(Code.ACCESS_REQUEST, n % 256, LOGIN, RADSEC, message_authenticator=False)
        for n in range(MOST_UNANSWERED)
    ]
    nas.send(b"".join(logins[:-1]))
    assert nas.is_read()
    nas.send(logins[-1])
    assert not nas.is_read()
    site.floor.lookups.release()
    assert nas.is_read()


def test_who_does_not_read_his_answers_is_not_read(sqlite_floor: Floor, issued: Path) -> None:
    for site in _site(sqlite_floor, issued, idle_seconds=60):
        nas = site.connect()
        nas.reads(answers=False)
        assert not nas.is_read()
        nas.reads(answers=True)
        assert nas.is_read()
        nas.reads(answers=False)
        sqlite_floor.clock.pump([1] * (60 + CLOSE_SECONDS + 1))
        assert nas.closed()


def test_a_story_that_ends_after_its_connection_harms_nobody(site: Site) -> None:
    nas = site.connect()
    site.floor.lookups.holding = True
    nas.send(wire.request(Code.ACCESS_REQUEST, 1, LOGIN, RADSEC, message_authenticator=False))
    site.connections.stop()
    site.floor.lookups.release()
    assert nas.closed()


# --- RADIUS/1.1 ----------------------------------------------------------------------------------------------------


def in_1_1(code: int, token: bytes, body: bytes) -> bytes:
    return bytes((code, 0)) + (20 + len(body)).to_bytes(2, "big") + token + bytes(12) + body


def attribute(kind: int, value: bytes) -> bytes:
    return bytes((kind, 2 + len(value))) + value


def test_radius_1_1_has_tokens_and_no_md5(site: Site) -> None:
    nas = site.connect(alpn=("radius/1.1", "radius/1.0"))
    assert nas.version == "radius/1.1"
    nas.send(in_1_1(Code.ACCESS_REQUEST, TOKEN, attribute(1, b"alice") + attribute(2, PASSWORD)))
    (answer,) = nas.packets()
    assert (answer[0], answer[1], answer[4:8], answer[8:20]) == (Code.ACCESS_ACCEPT, 0, TOKEN, bytes(12))
    accept = wire.parse(answer, frozenset(Code))
    assert accept.first(80) is None
    token = accept.first(25)
    assert token is not None
    body = (
        attribute(40, START.to_bytes(4, "big")) + attribute(1, b"alice") + attribute(44, b"2A") + attribute(25, token)
    )
    nas.send(in_1_1(Code.ACCOUNTING_REQUEST, b"\0\0\0\2", body))
    assert nas.packets() == [in_1_1(Code.ACCOUNTING_RESPONSE, b"\0\0\0\2", b"")]
    nas.send(in_1_1(Code.STATUS_SERVER, b"\0\0\0\3", b""))
    assert nas.packets() == [in_1_1(Code.ACCESS_ACCEPT, b"\0\0\0\3", b"")]
    assert [row.nas_address for row in site.floor.rows(tables.session)] == ["radsec:bras-1"]


def test_a_wrong_password_in_1_1(site: Site) -> None:
    nas = site.connect(alpn=("radius/1.1",))
    nas.send(in_1_1(Code.ACCESS_REQUEST, TOKEN, attribute(1, b"alice") + attribute(2, b"wrong")))
    site.floor.clock.advance(2)
    nas.pump()
    (answer,) = nas.packets()
    assert (answer[0], answer[4:8]) == (Code.ACCESS_REJECT, TOKEN)


def test_an_answer_that_can_not_be_said_in_1_1_is_silence(site: Site) -> None:
    """198 Proxy-State come back with the attributes of an Accept: more than anybody reads."""
    nas = site.connect(alpn=("radius/1.1",))
    login = attribute(1, b"alice") + attribute(2, PASSWORD)
    nas.send(in_1_1(Code.ACCESS_REQUEST, TOKEN, login + attribute(33, b"p") * 198))
    assert nas.packets() == []
    assert site.floor.dropped == {"reply-not-sayable": 1}
    nas.send(in_1_1(Code.ACCESS_REQUEST, b"next", login + attribute(33, b"p") * 90))
    site.floor.clock.advance(2)  # the session of the answer that nobody saw counts, so it is a Reject
    nas.pump()
    assert len(nas.packets()) == 1


@pytest.mark.parametrize(
    ("offered", "versions", "agreed"),
    [
        ((), (VERSION_1_1, VERSION_1_0), None),
        (("radius/1.0",), (VERSION_1_1, VERSION_1_0), "radius/1.0"),
        (("radius/1.0", "radius/1.1"), (VERSION_1_1, VERSION_1_0), "radius/1.1"),
        (("radius/1.0", "radius/1.1"), (VERSION_1_0,), "radius/1.0"),
        (("radius/1.0", "radius/1.1"), (VERSION_1_1,), "radius/1.1"),
        (("http/1.1",), (VERSION_1_1, VERSION_1_0), "refused"),
        (("radius/1.1",), (VERSION_1_0,), "refused"),
        (("radius/1.0",), (VERSION_1_1,), "refused"),
        ((), (VERSION_1_1,), "refused"),
    ],
)
def test_the_table_of_versions(
    sqlite_floor: Floor, issued: Path, offered: tuple[str, ...], versions: tuple[bytes, ...], agreed: str | None
) -> None:
    """RFC 9765 section 3.3.1."""
    for site in _site(sqlite_floor, issued, versions=versions):
        nas = site.connect(alpn=offered)
        if agreed == "refused":
            assert nas.closed()
            if offered:
                assert "no application protocol" in str(nas.problem).lower()
        else:
            assert not nas.closed()
            assert nas.version == agreed


def test_1_1_needs_tls_1_3(site: Site) -> None:
    nas = site.connect(alpn=("radius/1.1", "radius/1.0"), newest=ssl.TLSVersion.TLSv1_2)
    assert nas.version == "radius/1.0"
    assert site.connect(alpn=("radius/1.1",), newest=ssl.TLSVersion.TLSv1_2).closed()


# --- commands ------------------------------------------------------------------------------------------------------


def disconnect(site: Site, source: str = "radsec:bras-1") -> list[Any]:
    """Send a Disconnect; the list gets its Answer."""
    results: list[Any] = []
    attributes: list[Attribute] = [("User-Name", "alice")]
    asked: Deferred[Answer] = site.connections.send(
        source, Code.DISCONNECT_REQUEST, attributes, message_authenticator=True
    )
    asked.addBoth(results.append)
    return results


def test_a_command_goes_back_over_the_connection(site: Site) -> None:
    nas = site.connect()
    site.floor.clock.advance(0)
    assert site.woken == 1, "what waited for the NAS can be told now"
    results = disconnect(site)
    nas.pump()
    asked = nas.packet()
    assert asked.code == Code.DISCONNECT_REQUEST
    assert wire.verify_request(asked, RADSEC)
    nas.send(wire.reply(Code.DISCONNECT_ACK, asked, (), RADSEC, message_authenticator=False))
    assert results == [ACK]
    results = disconnect(site)
    nas.pump()
    asked = nas.packet()
    nas.send(wire.reply(Code.DISCONNECT_NAK, asked, [("Error-Cause", 503)], RADSEC, message_authenticator=True))
    assert results == [Answer("nak", 503)]


def test_a_command_in_1_1(site: Site) -> None:
    nas = site.connect(alpn=("radius/1.1",))
    results = disconnect(site)
    nas.pump()
    (asked,) = nas.packets()
    token = version_1_1.token_of(asked)
    assert asked == in_1_1(Code.DISCONNECT_REQUEST, token, attribute(1, b"alice"))
    nas.send(in_1_1(Code.DISCONNECT_ACK, b"none", b""))
    assert results == []
    nas.send(in_1_1(Code.DISCONNECT_ACK, token, b""))
    assert results == [ACK]
    assert site.floor.dropped == {"answer-to-nothing": 1}


def test_a_forged_answer_is_none(site: Site) -> None:
    nas = site.connect()
    results = disconnect(site)
    nas.pump()
    asked = nas.packet()
    nas.send(wire.reply(Code.DISCONNECT_ACK, asked, (), b"another", message_authenticator=False))
    assert results == []
    assert site.floor.dropped == {"answer-to-nothing": 1}


def test_silence_and_a_lost_connection_are_no_answer(site: Site) -> None:
    assert disconnect(site) == [NO_ANSWER]
    nas = site.connect()
    results = disconnect(site)
    site.floor.clock.pump([1] * 31)
    assert results == [NO_ANSWER]
    assert not nas.closed()
    results = disconnect(site)
    site.connections.stop()
    site.floor.clock.advance(0)
    assert results == [NO_ANSWER]


def test_a_cancelled_command_leaves_its_place(site: Site) -> None:
    nas = site.connect()
    sent = [
        site.connections.send("radsec:bras-1", Code.COA_REQUEST, [("User-Name", "a")], message_authenticator=False)
        for _ in range(256)
    ]
    with pytest.raises(QueueFull):
        disconnect(site)
    for each in sent:
        each.addErrback(lambda _: None)
        each.cancel()
    nas.pump()
    assert len({octets[1] for octets in nas.packets()}) == 256
    disconnect(site)


def test_commands_go_to_the_connection_that_was_heard_last(site: Site) -> None:
    one, two = site.connect(), site.connect()
    site.floor.clock.advance(0.1)
    one.ask(Code.STATUS_SERVER, [])
    disconnect(site)
    one.pump()
    two.pump()
    assert len(one.packets()) == 1
    assert two.packets() == []


def test_who_takes_commands_by_udp_needs_no_connection(site: Site) -> None:
    assert site.connections.reachable() == set()
    site.change("bras-2", coa_address=NAS_ADDRESS)
    assert site.connections.reachable() == {"radsec:bras-2"}


def test_without_a_ca_there_is_no_radsec(sqlite_floor: Floor, issued: Path) -> None:
    files = CertificateFiles(issued / "server.pem", issued / "server.key")
    with pytest.raises(CertificateError, match="radsec_ca"):
        Connections(sqlite_floor.services, RadSec(ServerCertificate(files)), sqlite_floor.clock, lambda: None)


# --- real sockets --------------------------------------------------------------------------------------------------

ANY = "0.0.0.0"  # noqa: S104  an operator's usual choice


@pytest.mark.parametrize("addresses", [(ANY, "::"), ("::", ANY), ("127.0.0.1", "::1")])
def test_ipv4_and_ipv6_side_by_side(site: Site, addresses: tuple[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ports: list[Any] = list(listen(reactor, site.connections, addresses, port))
    try:
        for here in ("127.0.0.1", "::1"):
            socket.create_connection((here, port), 5).close()
    finally:
        for each in ports:
            each.stopReading()
            each.socket.close()


def test_several_processes_can_share_the_port_and_nobody_else(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ports: list[Any] = []
    try:
        for _ in range(2):
            ports += listen(reactor, site.connections, ("127.0.0.1",), port, shared=True)
        with pytest.raises(CannotListenError):
            require_free(("127.0.0.1",), [(port, True)])
        socket.create_connection(("127.0.0.1", port), 5).close()
    finally:
        for each in ports:
            each.stopReading()
            each.socket.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Twisted leaves its socket open
@pytest.mark.parametrize("addresses", [("127.0.0.1",), (ANY, "::")])
def test_a_port_that_is_taken_is_an_error(site: Site, addresses: tuple[str, ...]) -> None:
    family = socket.AF_INET6 if "::" in addresses else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as taken:
        taken.bind((addresses[-1], 0))
        taken.listen()
        with pytest.raises(CannotListenError):
            listen(reactor, site.connections, addresses, taken.getsockname()[1])
    gc.collect()
