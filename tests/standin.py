"""A stand-in for the server, for tests of what talks to one: it lets everybody in, records, and gives orders."""

from __future__ import annotations

import itertools
import selectors
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aaa.simulator import COA_PORT, Address, Outgoing, Server, SimulatedNas
from aaa.wire import (
    Attribute,
    Code,
    Malformed,
    Packet,
    decode,
    message_authenticator,
    parse,
    reply,
    request,
    verify_reply,
    verify_request,
)

Value = int | str | bytes

SECRET = b"a secret of some length"
SERVER = Server(("192.0.2.1", 1812), ("192.0.2.1", 1813))
SECOND_SERVER = Server(("192.0.2.2", 1812), ("192.0.2.2", 1813))
DYNAUTH: Address = ("192.0.2.1", 40000)
REQUESTS = frozenset({Code.ACCESS_REQUEST, Code.ACCOUNTING_REQUEST})
ANSWERS = frozenset({Code.COA_ACK, Code.COA_NAK, Code.DISCONNECT_ACK, Code.DISCONNECT_NAK})


def values(attributes: Sequence[Attribute]) -> dict[str, Value]:
    """Attributes by name; of repeated ones the last."""
    return dict(attributes)


@dataclass
class StandIn:
    """Answers every verified request; what it was asked stands in `asked`, newest last."""

    accept: list[Attribute] = field(default_factory=list)
    reject: bool = False
    asked: list[tuple[Packet, dict[str, Value]]] = field(default_factory=list)

    def answer(self, datagram: bytes) -> bytes:
        packet = parse(datagram, REQUESTS)
        assert verify_request(packet, SECRET)
        assert message_authenticator(packet, SECRET) is not False
        self.asked.append((packet, values(decode(packet))))
        if packet.code == Code.ACCOUNTING_REQUEST:
            return reply(Code.ACCOUNTING_RESPONSE, packet, [], SECRET, message_authenticator=False)
        code = Code.ACCESS_REJECT if self.reject else Code.ACCESS_ACCEPT
        attributes: list[Attribute] = [("Reply-Message", "no")] if self.reject else self.accept
        return reply(code, packet, attributes, SECRET, message_authenticator=True)

    def reports(self, status: int) -> list[dict[str, Value]]:
        """What was reported: 1 Start, 2 Stop, 3 Interim-Update, 7 On, 8 Off."""
        return [asked for _, asked in self.asked if asked.get("Acct-Status-Type") == status]


class Bench:
    """A simulated NAS on a fake clock beside a stand-in for the server, which answers at once while `reachable`."""

    def __init__(self, nas: SimulatedNas, server: StandIn, now: int = 1_700_000_000_000) -> None:
        self.nas = nas
        self.server = server
        self.now = now
        self.reachable = True
        self.sent: list[tuple[int, Outgoing]] = []
        self._identifiers = itertools.cycle(range(256))

    def settle(self) -> None:
        """Carry datagrams to and fro until nothing moves."""
        while self.nas.outbox:
            outbox, self.nas.outbox = self.nas.outbox, []
            for outgoing in outbox:
                self.sent.append((self.now, outgoing))
                if self.reachable and outgoing.port != COA_PORT:
                    answer = self.server.answer(outgoing.datagram)
                    self.nas.receive(answer, outgoing.destination, self.now, outgoing.port)

    def run(self, seconds: int) -> None:
        """Let time pass, stopping at every moment that the NAS waits for."""
        end = self.now + seconds * 1000
        self.settle()
        while (due := self.nas.due()) is not None and due <= end:
            self.now = max(due, self.now)
            self.nas.tick(self.now)
            self.settle()
        self.now = end

    def order(
        self,
        code: Code,
        attributes: Sequence[Attribute],
        *,
        secret: bytes = SECRET,
        identifier: int | None = None,
        signed: bool = True,
    ) -> tuple[Code, Value | None] | None:
        """Send a CoA or Disconnect (`signed`: with a Message-Authenticator); its answer's code and Error-Cause, None for
        silence."""
        chosen = next(self._identifiers) if identifier is None else identifier
        datagram = request(code, chosen, attributes, secret, message_authenticator=signed)
        self.nas.receive(datagram, DYNAUTH, self.now, COA_PORT)
        before = len(self.sent)
        self.settle()
        answers = [outgoing for _, outgoing in self.sent[before:] if outgoing.port == COA_PORT]
        if not answers:
            return None
        packet = parse(answers[0].datagram, ANSWERS)
        assert answers[0].destination == DYNAUTH
        assert verify_reply(packet, datagram, secret)
        assert message_authenticator(packet, secret, datagram[4:20]) is (True if signed else None)
        return Code(packet.code), values(decode(packet)).get("Error-Cause")


class LoopbackServer:
    """A stand-in on real sockets, in a thread of its own, that answers what it can verify. `ports` are auth and acct."""

    def __init__(self, server: StandIn) -> None:
        self.server = server
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for one in self._sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            one.bind(("127.0.0.1", 0))
            one.setblocking(False)
        self.ports: tuple[int, int] = (self._sockets[0].getsockname()[1], self._sockets[1].getsockname()[1])
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="stand-in", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._thread.join()
        for one in self._sockets:
            one.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for one in self._sockets:
                selector.register(one, selectors.EVENT_READ, one)
            while not self._stopping:
                for key, _ in selector.select(0.05):
                    datagram, source = key.data.recvfrom(4096)
                    try:
                        answer = self.server.answer(datagram)
                    except (Malformed, AssertionError):
                        continue
                    key.data.sendto(answer, source)
