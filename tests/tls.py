"""TLS in memory, by Python's own `ssl`: what a NAS over TLS does, without a socket. And the certificates for it."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from aaa import wire
from aaa.certificates import Authority
from aaa.wire import Attribute, Code, Packet

RADSEC: Final = b"radsec"
HOST: Final = "radius.example.net"
_ANY_CODE: Final = frozenset(Code)


class Certificates:
    """A CA, its server, and NASes, in a folder."""

    def __init__(self, folder: Path, name: str = "test CA") -> None:
        self.folder = folder
        self.authority = Authority.create(folder, name, datetime.now(UTC))
        self.authority.write_server(self.authority.issue(HOST, "server", 365, datetime.now(UTC)))

    def issue(self, name: str, *, ago: timedelta = timedelta(0), days: int = 365, kind: Any = "nas") -> Path:
        """A certificate and its key: NAME.pem and NAME.key."""
        made = self.authority.issue(name, kind, days, datetime.now(UTC) - ago)
        self.authority.write_client(made, self.folder / name, "p12")
        return self.folder / name

    def revoke(self, name: str) -> None:
        """From now on it is not good any more."""
        self.authority.revoke(name, datetime.now(UTC))


def client_context(
    ca: Path, stem: Path | None, *, alpn: tuple[str, ...] = (), newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """How a NAS connects that has this certificate, or none."""
    context = ssl.create_default_context(cafile=str(ca))
    context.maximum_version = newest
    if stem is not None:
        context.load_cert_chain(f"{stem}.pem", f"{stem}.key")
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


class Tcp:
    """Twisted's transport of a TCP connection, in memory."""

    disconnecting = False

    def __init__(self, address: str) -> None:
        self._address = address
        self.sent = b""
        self.closed = False
        self.reading = True
        self.producer: Any = None
        self.lost: Callable[[], None] = lambda: None

    def write(self, octets: bytes) -> None:
        self.sent += octets

    def writeSequence(self, pieces: list[bytes]) -> None:  # noqa: N802  Twisted's names
        self.sent += b"".join(pieces)

    def loseConnection(self, _reason: object = None) -> None:  # noqa: N802
        self.abortConnection()

    def abortConnection(self) -> None:  # noqa: N802
        if not self.closed:
            self.closed = True
            self.lost()

    def pauseProducing(self) -> None:  # noqa: N802
        self.reading = False

    def resumeProducing(self) -> None:  # noqa: N802
        self.reading = True

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        self.producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802
        pass

    def setTcpKeepAlive(self, on: bool) -> None:  # noqa: N802
        pass

    def setTcpNoDelay(self, on: bool) -> None:  # noqa: N802
        pass

    def getPeer(self) -> IPv4Address:  # noqa: N802
        return IPv4Address("TCP", self._address, 40_000)

    def getHost(self) -> IPv4Address:  # noqa: N802
        return IPv4Address("TCP", "192.0.2.10", 2083)


class TlsNas:
    """A NAS over TLS: it connects to a factory of the server's and says what a test wants."""

    def __init__(self, factory: Any, clock: Clock, context: ssl.SSLContext, *, address: str = "198.51.100.7") -> None:
        self._clock = clock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=HOST)
        self._tcp = Tcp(address)
        self._server = factory.buildProtocol(self._tcp.getPeer())
        self._tcp.lost = lambda: clock.callLater(0, self._server.connectionLost, Failure(ConnectionLost()))  # type: ignore[assignment, no-untyped-call]  # Twisted
        self.problem: Exception | None = None
        self.clear = b""
        """What the server has said and no test has taken yet."""
        self._ready = False
        self._server.makeConnection(self._tcp)
        self.pump()

    def closed(self) -> bool:
        """Did the server end the connection?"""
        return self._tcp.closed

    @property
    def version(self) -> str | None:
        """What was agreed on by ALPN."""
        return self._tls.selected_alpn_protocol()

    def is_read(self) -> bool:
        """Does the server read what comes?"""
        return self._tcp.reading

    def reads(self, answers: bool) -> None:
        """Does the NAS read what the server writes? If not, the kernel's buffer is full some time."""
        if answers:
            self._tcp.producer.resumeProducing()
        else:
            self._tcp.producer.pauseProducing()

    def send_raw(self, octets: bytes) -> None:
        """Octets below TLS."""
        if not self._tcp.closed:
            self._server.dataReceived(octets)
        self.pump()

    def send(self, octets: bytes, *, piece: int = 16_384) -> None:
        """Say something, in pieces that each are a TLS record."""
        for at in range(0, len(octets), piece):
            self._tls.write(octets[at : at + piece])
        self.pump()

    def pump(self) -> None:
        """Carry octets to and fro until there are none left."""
        for _ in range(100):
            if self.problem is None:
                self._turn()
            moved = self._out.read()
            if moved and not self._tcp.closed:
                self._server.dataReceived(moved)
            self._clock.advance(0)
            came, self._tcp.sent = self._tcp.sent, b""
            self._in.write(came)
            if not moved and not came:
                return
        raise AssertionError("they never come to an end")

    def _turn(self) -> None:
        try:
            if not self._ready:
                self._tls.do_handshake()
                self._ready = True
            while True:
                octets = self._tls.read(16_384)
                if not octets:
                    return
                self.clear += octets
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            self.problem = error

    def packets(self) -> list[bytes]:
        """Take what the server has said."""
        found = []
        while self.clear:
            length = int.from_bytes(self.clear[2:4], "big")
            found.append(self.clear[:length])
            self.clear = self.clear[length:]
        return found

    def packet(self) -> Packet:
        """Take the one packet that the server has said."""
        found = self.packets()
        assert len(found) == 1, found
        return wire.parse(found[0], _ANY_CODE)

    def ask(self, code: int, attributes: list[Attribute], identifier: int = 1, *, signed: bool = True) -> Packet:
        """A request in RADIUS 1.0; its verified answer."""
        octets = wire.request(code, identifier, attributes, RADSEC, message_authenticator=signed)
        self.send(octets)
        answer = self.packet()
        assert wire.verify_reply(answer, octets, RADSEC)
        return answer
