"""RADIUS over TLS (RadSec, RFC 6614) and RADIUS/1.1 in it (RFC 9765): connections that NASes open to us.

A certificate says which NAS speaks, wherever it is; its packets get the same two stories as datagrams, and CoA and Disconnect
go back over the connection. Once a second all connections are looked at: a certificate that was revoked, that has ended or
belongs to another NAS by now, a handshake that takes too long, and silence end a connection.
"""

from __future__ import annotations

import secrets
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import structlog
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IPushProducer,
)
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.task import LoopingCall
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from aaa.certificate_names import names_of
from aaa.certificates import CertificateError, ServerCertificate
from aaa.dynauth import QueueFull
from aaa.eap.channel import words_of
from aaa.handlers import Datagram, Services, accounting, authentication
from aaa.nas import RADSEC_SECRET, Nas, source_over_tls
from aaa.retransmission import ALL_IN_ALL_MS, NO_ANSWER, Answer, Exchange, answer, begin
from aaa.sockets import BACKLOG, ipv6_only, open_socket
from aaa.telling import tell
from aaa.wire import Attribute, Code, Malformed, message_authenticator, parse, request, verify_request, version_1_1
from aaa.wire.stream import Stream

VERSION_1_0: Final = b"radius/1.0"
VERSION_1_1: Final = b"radius/1.1"
#: Who has not proven by then who he is is sent away.
HANDSHAKE_SECONDS: Final = 10
MOST_HANDSHAKES: Final = 256
MOST_HANDSHAKES_PER_ADDRESS: Final = 16
#: Requests of one connection that wait for their answers; beyond these it is not read.
MOST_UNANSWERED: Final = 1024
#: A peer that does not take leave is left.
CLOSE_SECONDS: Final = 2
LOOK_SECONDS: Final = 1.0
_TLS_1_3: Final = 0x0304
_IDENTIFIERS: Final = 256

_REQUESTS: Final = frozenset({Code.ACCESS_REQUEST, Code.ACCOUNTING_REQUEST, Code.STATUS_SERVER})
_ANSWERS: Final = frozenset({Code.COA_ACK, Code.COA_NAK, Code.DISCONNECT_ACK, Code.DISCONNECT_NAK})


class RadSec(NamedTuple):
    """What the operator decides."""

    certificate: ServerCertificate
    """With a CA for the NASes' certificates."""
    versions: tuple[bytes, ...] = (VERSION_1_1, VERSION_1_0)
    """What is offered by ALPN, the better one first; a NAS that knows nothing of ALPN speaks 1.0."""
    most_per_nas: int = 8
    idle_seconds: int = 900


class _Asked(NamedTuple):
    """A request of ours that waits for its answer."""

    exchange: Exchange
    answered: Deferred[Answer]
    timer: IDelayedCall


class Connections:
    """All connections over TLS, and what is asked of the NASes over them. RadSec needs a CA: CertificateError without."""

    def __init__(self, services: Services, settings: RadSec, reactor: Any, on_connected: Callable[[], None]) -> None:
        self.services = services
        self.settings = settings
        self.reactor = reactor
        self._on_connected = on_connected
        self._tls = _Tls(settings)
        self._seen = self._tls.mutual()
        self._handshakes: set[Connection] = set()
        self._addresses: Counter[str] = Counter()
        self._open: dict[str, list[Connection]] = {}
        self._closing: dict[Connection, float] = {}
        self._number = 0
        self._looking = LoopingCall(self.look)
        self._looking.clock = reactor
        self.log = structlog.get_logger("aaa.radsec")

    def start(self) -> None:
        """Begin to look after the connections."""
        self._looking.start(LOOK_SECONDS, now=False)

    def stop(self) -> None:
        """End them all."""
        if self._looking.running:
            self._looking.stop()
        for connection in [*self._handshakes, *self._all(), *self._closing]:
            connection.abort("stopped")

    def factory(self) -> TLSMemoryBIOFactory:
        """For the reactor's listenTCP."""
        made = ServerFactory.forProtocol(lambda: Connection(self))
        made.noisy = False
        wrapped = TLSMemoryBIOFactory(self._tls, False, made, self.reactor)
        wrapped.noisy = False
        return wrapped

    def reachable(self) -> set[str]:
        """Who can be told something now, as `nas.source_over_tls`: the connected, and those who take CoA by UDP instead."""
        return self._open.keys() | self.services.nases.commanded_by_udp

    def send(
        self,
        source: str,
        code: int,
        attributes: Sequence[Attribute],
        *,
        message_authenticator: bool,
        event_timestamp: int | None = None,
    ) -> Deferred[Answer]:
        """Send a CoA- or Disconnect-Request back over the connection that was heard last; the Answer within 30 s.

        NO_ANSWER where the NAS is not connected, or closes without an answer. Cancelling it forgets the request.
        QueueFull when 256 wait for their answers there; ValueError for what fits no packet.
        """
        connections = self._open.get(source)
        if not connections:
            return succeed(NO_ANSWER)
        if event_timestamp is not None:
            attributes = (*attributes, ("Event-Timestamp", event_timestamp))
        last = max(connections, key=lambda each: each.heard_at)
        return last.ask(code, attributes, with_message_authenticator=message_authenticator)

    def look(self) -> None:
        """Once a second: whom do we no longer want?"""
        try:
            self._look()
        except Exception:
            # Whatever it was, it must not end the looking: a certificate revoked later counts too.
            self.log.exception("bug")

    def _look(self) -> None:
        now = self.reactor.seconds()
        for connection in [c for c in self._handshakes if now - c.heard_at >= HANDSHAKE_SECONDS]:
            connection.abort("handshake-too-slow")
        for connection in [c for c, since in self._closing.items() if now - since >= CLOSE_SECONDS]:
            connection.abort("left")
        context = self._tls.mutual()
        changed, self._seen = context is not self._seen, context
        today = datetime.fromtimestamp(self.services.now() / 1000, UTC)
        for connection in list(self._all()):
            why = self._why_not(connection, today, context if changed else None)
            if why is not None:
                connection.abort(why)
            elif now - connection.heard_at >= self.settings.idle_seconds:
                connection.close("idle")

    # --- what its connections say --------------------------------------------------------------------------------

    def began(self, connection: Connection) -> str | None:
        """Somebody has connected; why he can not stay, or None."""
        self._number += 1
        connection.number = self._number
        self._handshakes.add(connection)
        self._addresses[connection.address] += 1
        if len(self._handshakes) > MOST_HANDSHAKES or self._addresses[connection.address] > MOST_HANDSHAKES_PER_ADDRESS:
            return "too-many-handshakes"
        return None

    def known(self, connection: Connection) -> Nas | None:
        """His certificate is one of our CA: which NAS is it? None: none, and it was dropped."""
        self._proven(connection)
        found = self.services.nases.of_certificate(connection.names)
        if len(found) != 1:
            self.refuse(
                connection, "certificate-of-no-nas" if not found else "certificate-of-several-nases",
                ", ".join(sorted(connection.names)),
            )  # fmt: skip
            return None
        nas = found[0]
        if not _from_network(connection.address, nas):
            self.refuse(connection, "nas-elsewhere", f"{nas.name} is in {nas.network}")
            return None
        source = source_over_tls(nas)
        there = self._open.setdefault(source, [])
        if len(there) >= self.settings.most_per_nas:
            # One that restarted must not be shut out by what is left of its connections from before.
            min(there, key=lambda each: each.heard_at).abort("too-many-connections")
            there = self._open.setdefault(source, [])
        there.append(connection)
        # Its commands have waited; but first it must have become a connection.
        self.reactor.callLater(0, self._on_connected)
        return nas

    def refuse(self, connection: Connection, why: str, detail: str = "") -> None:
        """Send somebody away."""
        self.services.drops.drop(why, connection.address, self.services.now(), detail)
        connection.abort(why)

    def failed(self, connection: Connection, handle: SSL.Connection, reason: Failure) -> None:
        """TLS never came to be: was it the certificate?"""
        fault = self._tls.faults.get(handle)
        why, detail = ("tls-failed", str(reason.value)) if fault is None else ("certificate-refused", words_of(fault))
        self.services.drops.drop(why, connection.address, self.services.now(), detail)

    def ended(self, connection: Connection, source: str | None) -> None:
        """Forget a connection that is not there any more."""
        self._proven(connection)
        self._closing.pop(connection, None)
        there = self._open.get(source or "", [])
        if connection in there:
            there.remove(connection)
            if not there:
                del self._open[source or ""]

    def closing(self, connection: Connection, source: str) -> None:
        """It takes leave: nothing is sent over it any more."""
        self.ended(connection, source)
        self._closing[connection] = self.reactor.seconds()

    def _proven(self, connection: Connection) -> None:
        if connection in self._handshakes:
            self._handshakes.remove(connection)
            self._addresses[connection.address] -= 1
            if not self._addresses[connection.address]:
                del self._addresses[connection.address]

    def _all(self) -> Iterable[Connection]:
        return [each for there in self._open.values() for each in there]

    def _why_not(self, connection: Connection, today: datetime, context: SSL.Context | None) -> str | None:
        """Why this connection would not be accepted now. `context`: where the certificates have been read again."""
        now_known = self.services.nases.of_certificate(connection.names)
        if len(now_known) != 1 or source_over_tls(now_known[0]) != connection.source:
            return "certificate-of-no-nas"
        if not _from_network(connection.address, now_known[0]):
            return "nas-elsewhere"
        if connection.ends <= today:
            return "certificate-expired"
        if context is not None and not _still_good(context, connection.certificate, connection.chain):
            return "certificate-refused"
        return None


@implementer(IHandshakeListener, IPushProducer)
class Connection(Protocol):
    """One connection: who is there, and what is under way on it."""

    number: int
    certificate: crypto.X509
    chain: Sequence[crypto.X509]
    ends: datetime
    heard_at: float

    def __init__(self, connections: Connections) -> None:
        self._owner = connections
        self._services = connections.services
        self.address = ""
        self._port = 0
        self.names: frozenset[str] = frozenset()
        self.source: str | None = None
        """None: nobody yet, or nobody any more."""
        self._nas_name = ""
        self._version_1_1 = False
        self._stream = Stream()
        self._unanswered = 0
        self._writes_held = False
        self._reading = True
        self._asked: dict[int, _Asked] = {}
        self._free: list[int] = []
        self._next_token = 0
        self._why = ""

    # --- Twisted -------------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:  # noqa: N802  Twisted's name
        """The TCP connection is there; TLS is still to come."""
        peer = self._tls.getPeer()
        self.address = peer.host.removeprefix("::ffff:")
        self._port = peer.port
        self.heard_at = self._owner.reactor.seconds()
        with suppress(AttributeError, OSError):
            self._tls.setTcpKeepAlive(True)
            self._tls.setTcpNoDelay(True)
        why = self._owner.began(self)
        if why is not None:
            self._owner.refuse(self, why)

    def handshakeCompleted(self) -> None:  # noqa: N802  Twisted's name
        """TLS is there, with a certificate that our CA has signed."""
        handle: SSL.Connection = self._tls.getHandle()
        certificate = handle.get_peer_certificate()
        if certificate is None or self._why:
            self._owner.refuse(self, "certificate-refused", "none was shown")
            return
        self.certificate = certificate
        self.chain = handle.get_peer_cert_chain() or []
        shown = certificate.to_cryptography()
        self.names, self.ends = names_of(shown), shown.not_valid_after_utc
        self.heard_at = self._owner.reactor.seconds()
        version = handle.get_alpn_proto_negotiated() or VERSION_1_0
        if version not in self._owner.settings.versions:
            self._owner.refuse(self, "radius-version", "it knows nothing of ALPN, so it speaks RADIUS 1.0")
            return
        nas = self._owner.known(self)
        if nas is None:
            return
        self.source, self._nas_name = source_over_tls(nas), nas.name
        self._version_1_1 = version == VERSION_1_1
        self._free = secrets.SystemRandom().sample(range(_IDENTIFIERS), _IDENTIFIERS)
        self._next_token = secrets.randbits(32)
        self._tls.registerProducer(self, True)
        self._owner.log.info(
            "radsec-connected", nas=nas.name, address=self.address, connection=self.number,
            version="1.1" if self._version_1_1 else "1.0", tls=handle.get_protocol_version_name(),
        )  # fmt: skip

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  Twisted's name
        """Any piece of the stream."""
        if self.source is None:
            return
        self.heard_at = self._owner.reactor.seconds()
        try:
            for octets in self._stream.packets(data):
                self._packet(octets)
                if self._why:
                    return
        except Malformed as problem:
            # RFC 6613 section 2.6.4: whoever writes this can not be believed to know where his next packet begins.
            self._owner.refuse(self, problem.reason, problem.detail)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802  Twisted's name
        """It is over."""
        source, self.source = self.source, None
        if not self._nas_name and not self._why:
            self._owner.failed(self, self._tls.getHandle(), reason)
        self._owner.ended(self, source)
        asked, self._asked = self._asked, {}
        for each in asked.values():
            _finish(each, NO_ANSWER)
        if self._nas_name:
            self._owner.log.info(
                "radsec-closed", nas=self._nas_name, address=self.address, connection=self.number,
                reason=self._why or "by-peer",
            )  # fmt: skip

    def pauseProducing(self) -> None:  # noqa: N802  Twisted's name
        """It does not read its answers: then it is not asked for more questions."""
        self._writes_held = True
        self._read_or_not()

    def resumeProducing(self) -> None:  # noqa: N802  Twisted's name
        """It reads again."""
        self._writes_held = False
        self._read_or_not()

    def stopProducing(self) -> None:  # noqa: N802  Twisted's name
        """The connection is going; connectionLost follows."""

    @property
    def _tls(self) -> Any:
        return self.transport

    # --- requests of the NAS -------------------------------------------------------------------------------------

    def _packet(self, octets: bytes) -> None:
        code = octets[0]
        if code in _ANSWERS:
            self._heard(octets)
            return
        if code not in _REQUESTS:
            # Not a reason to close (RFC 6613 section 2.6.4), nor to answer.
            self._services.drops.drop("code", self.source or "", self._services.now(), f"code {code} over TLS")
            return
        asked = version_1_1.request_in_1_0(octets, RADSEC_SECRET) if self._version_1_1 else octets
        packet = parse(asked, _REQUESTS)
        if not verify_request(packet, RADSEC_SECRET) or message_authenticator(packet, RADSEC_SECRET) is False:
            raise Malformed("bad-authenticator", "the secret over TLS is 'radsec' (RFC 6614 section 2.3)")
        story = accounting if code == Code.ACCOUNTING_REQUEST else authentication
        self._unanswered += 1
        datagram = Datagram(asked, self.source or "", self._port, f"radsec {self.number}")
        tell(story(self._services, datagram), partial(self._reply, asked, octets))
        self._read_or_not()

    def _reply(self, asked: bytes, octets: bytes, reply: bytes | None) -> None:
        self._unanswered -= 1
        if self.source is None:
            return
        self._read_or_not()
        if reply is not None:
            try:
                if self._version_1_1:
                    reply = version_1_1.reply_in_1_1(reply, asked, version_1_1.token_of(octets), RADSEC_SECRET)
            except Malformed as problem:
                # Ours is no packet that we would read, such as one with more Proxy-State than attributes are good for.
                self._services.drops.drop("reply-not-sayable", self.source, self._services.now(), problem.detail)
            else:
                self._tls.write(reply)

    def _read_or_not(self) -> None:
        read = not self._writes_held and self._unanswered < MOST_UNANSWERED
        if self.source is not None and read != self._reading:
            self._reading = read
            if read:
                self._tls.resumeProducing()
            else:
                self._tls.pauseProducing()

    # --- requests of ours ----------------------------------------------------------------------------------------

    def ask(self, code: int, attributes: Sequence[Attribute], *, with_message_authenticator: bool) -> Deferred[Answer]:
        """As `Connections.send`."""
        if not self._free:
            raise QueueFull
        identifier = self._free[0]
        octets = request(code, identifier, attributes, RADSEC_SECRET, message_authenticator=with_message_authenticator)
        del self._free[0]
        answered: Deferred[Answer] = Deferred(lambda _: self._cancel(key))
        key = identifier
        sent = octets
        if self._version_1_1:
            self._next_token = key = (self._next_token + 1) & 0xFFFF_FFFF
            sent = version_1_1.request_in_1_1(octets, key.to_bytes(version_1_1.TOKEN_OCTETS, "big"))
        # Nothing is lost on the way, so nothing is repeated (RFC 6613 section 2.6.1).
        exchange = begin(octets, RADSEC_SECRET, round(self._owner.reactor.seconds() * 1000), 0.5)
        timer = self._owner.reactor.callLater(ALL_IN_ALL_MS / 1000, self._no_answer, key)
        self._asked[key] = _Asked(exchange, answered, timer)
        self._tls.write(sent)
        return answered

    def _heard(self, octets: bytes) -> None:
        key = int.from_bytes(version_1_1.token_of(octets), "big") if self._version_1_1 else octets[1]
        asked = self._asked.get(key)
        said = None
        if asked is not None:
            if self._version_1_1:
                octets = version_1_1.reply_in_1_0(octets, asked.exchange.request, RADSEC_SECRET)
            said = answer(asked.exchange, octets)
        if asked is None or said is None:
            self._services.drops.drop("answer-to-nothing", self.source or "", self._services.now())
            return
        self._forget(key)
        _finish(asked, said)

    def _cancel(self, key: int) -> None:
        self._forget(key)

    def _no_answer(self, key: int) -> None:
        _finish(self._forget(key), NO_ANSWER)

    def _forget(self, key: int) -> _Asked:
        asked = self._asked.pop(key)
        self._free.append(asked.exchange.request[1])
        if asked.timer.active():
            asked.timer.cancel()
        return asked

    # --- the end -------------------------------------------------------------------------------------------------

    def close(self, why: str) -> None:
        """Take leave."""
        source, self.source = self.source, None
        if source is not None:
            self._why = why
            self._owner.closing(self, source)
            self._tls.unregisterProducer()
            self._tls.resumeProducing()
            self._tls.loseConnection()

    def abort(self, why: str) -> None:
        """End it at once."""
        source, self.source = self.source, None
        self._why = self._why or why
        self._owner.ended(self, source)
        self._tls.abortConnection()


@implementer(IOpenSSLServerConnectionCreator)
class _Tls:
    """Makes the TLS of each new connection, from the certificates as they are then."""

    def __init__(self, settings: RadSec) -> None:
        self._settings = settings
        self._prepared: SSL.Context | None = None
        self.faults: WeakKeyDictionary[SSL.Connection, int] = WeakKeyDictionary()
        """What OpenSSL has found wrong with certificates; Twisted has its own use for the connection's data."""

    def mutual(self) -> SSL.Context:
        """How a NAS is asked for its certificate. The same object as long as the files are the same."""
        context = self._settings.certificate.contexts().mutual
        if context is None:
            raise CertificateError("RadSec needs a CA for the NASes' certificates; set radsec_ca")
        if context is not self._prepared:
            context.set_alpn_select_callback(self._version)
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verified)
            self._prepared = context
        return context

    def serverConnectionForTLS(self, _protocol: object) -> SSL.Connection:  # noqa: N802  Twisted's name
        """From Twisted."""
        return SSL.Connection(self.mutual(), None)

    def _verified(
        self, connection: SSL.Connection, _certificate: object, fault: int, _depth: int, preverified: int
    ) -> bool:
        """OpenSSL decides; what it has found is for the log."""
        if not preverified:
            self.faults.setdefault(connection, fault)
        return bool(preverified)

    def _version(self, connection: SSL.Connection, offered: list[bytes]) -> bytes:
        """The best version that both know (RFC 9765 section 3.3)."""
        for version in self._settings.versions:
            if version in offered and (version != VERSION_1_1 or connection.get_protocol_version() >= _TLS_1_3):
                return version
        # OpenSSL makes of it the alert that RFC 7301 section 3.2 asks for: no_application_protocol.
        raise SSL.Error([("", "", "no version of RADIUS in common")])


def listen(
    reactor: Any, connections: Connections, addresses: tuple[str, ...], port: int, *, shared: bool = False
) -> list[IListeningPort]:
    """Open the port on every address, with other processes where `shared`. Port 0 takes any free one. CannotListenError."""
    factory = connections.factory()
    ports: list[IListeningPort] = []
    for address in addresses:
        only_ipv6 = ipv6_only(address, addresses)
        if not only_ipv6 and not shared:
            ports.append(reactor.listenTCP(port, factory, BACKLOG, address))
            continue
        with open_socket(socket.SOCK_STREAM, address, port, only_ipv6=only_ipv6, shared=shared) as opened:
            ports.append(reactor.adoptStreamPort(opened.fileno(), opened.family, factory))
    return ports


def _finish(asked: _Asked, said: Answer) -> None:
    if asked.timer.active():
        asked.timer.cancel()
    asked.answered.callback(said)


def _from_network(address: str, nas: Nas) -> bool:
    return nas.network is None or ip_address(address) in ip_network(nas.network)


def _still_good(context: SSL.Context, certificate: crypto.X509, chain: Sequence[crypto.X509]) -> bool:
    """Would this certificate be accepted by what the CA says now?"""
    store = context.get_cert_store()
    if store is None:
        return False
    try:
        crypto.X509StoreContext(store, certificate, list(chain)).verify_certificate()
    except crypto.X509StoreContextError:
        return False
    return True
