"""Many NASes on loopback, each with an address of its own: they send what they are given and take CoA and Disconnect.

One socket per NAS for its packets, and one that hears the commands to all of them; whom a command was for, and who answers it,
is the address it was sent to (IP_PKTINFO).
"""

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, NamedTuple, Self

from bench.load import GIVE_UP_SECONDS, RETRANSMIT_SECONDS, Unanswered
from bench.packets import first_of, md5

ACCT_SESSION_ID: Final = 44
COA_ACK, COA_NAK, DISCONNECT_REQUEST = 44, 45, 40
RESOURCES_UNAVAILABLE: Final = b"\x65\x06\0\0\x01\xfa"
"""Error-Cause 506 (RFC 5176 section 3.5)."""
_IP_PKTINFO: Final = 8
_PKTINFO = struct.Struct("=I4s4s")


class Command(NamedTuple):
    """What came to a NAS."""

    nas: int
    session: bytes
    """Its Acct-Session-Id."""
    code: int
    at: float
    """By `time.monotonic`."""


class Packet(NamedTuple):
    """What a NAS sends, and to which port."""

    nas: int
    port: int
    octets: bytes


#: To a command: the Error-Cause attribute of a NAK, nothing for an ACK, None for silence.
Manners = Callable[[Command], bytes | None]


class Nases(AbstractContextManager["Nases"]):
    """`count` of them, fewer than 60,000. What they heard stands in `commands`."""

    def __init__(self, count: int, secret: bytes, manners: Manners) -> None:
        self._secret = secret
        self._manners = manners
        self.commands: list[Command] = []
        self.repeated = self.left_out = self.answered = 0
        self._poller = select.epoll()
        self._coa = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._coa.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self._coa.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._coa.bind(("0.0.0.0", 0))  # noqa: S104  every address of loopback; what comes from elsewhere is not signed
        self._coa.setblocking(False)
        self.coa_port = int(self._coa.getsockname()[1])
        self._poller.register(self._coa.fileno(), select.EPOLLIN)
        self._number = {socket.inet_aton(address(nas)): nas for nas in range(count)}
        self._sockets: list[socket.socket] = []
        self._by_descriptor: dict[int, int] = {}
        for nas in range(count):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((address(nas), 0))
            one.setblocking(False)
            self._sockets.append(one)
            self._by_descriptor[one.fileno()] = nas
            self._poller.register(one.fileno(), select.EPOLLIN)
        self._waiting: dict[tuple[int, int], tuple[Packet, float]] = {}
        self._next_look = 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._poller.close()
        for one in (*self._sockets, self._coa):
            one.close()

    def exchange(self, packets: Iterable[Packet], outstanding: int) -> list[bytes]:
        """Send all, so many at a time, and wait for their answers, which come in the order of the packets."""
        left = deque(enumerate(packets))
        answers: dict[int, bytes] = {}
        places: dict[tuple[int, int], int] = {}
        last_answer = time.monotonic()
        while left or places:
            while left and len(places) < outstanding and self.send(left[0][1]):
                index, packet = left.popleft()
                places[packet.nas, packet.octets[1]] = index
            for key, reply in self.turn(0.05):
                if (index := places.pop(key, -1)) >= 0:
                    answers[index] = reply
                    last_answer = time.monotonic()
            if time.monotonic() > last_answer + GIVE_UP_SECONDS:
                raise Unanswered(f"no answer for {GIVE_UP_SECONDS:.0f} s, {len(places)} outstanding")
        return [answers[index] for index in sorted(answers)]

    def pace(self, packets: Sequence[Packet], per_second: float, going_on: Callable[[], bool] = lambda: True) -> float:
        """Send them at an even pace, answered or not, as long as `going_on`; how many a second it became. One whose identifier
        still waits for an answer is left out: its meter comes with the next."""
        began = time.monotonic()
        sent = 0
        while sent < len(packets) and going_on():
            due = int((time.monotonic() - began) * per_second) + 1
            for packet in packets[sent:due]:
                self.left_out += not self.send(packet)
            sent = max(sent, min(due, len(packets)))
            self.turn(1 / per_second)
        return sent / (time.monotonic() - began)

    def send(self, packet: Packet) -> bool:
        """False while its identifier waits for an answer to another."""
        key = packet.nas, packet.octets[1]
        if key in self._waiting:
            return False
        self._waiting[key] = packet, time.monotonic()
        self._sockets[packet.nas].sendto(packet.octets, ("127.0.0.1", packet.port))
        return True

    @property
    def outstanding(self) -> int:
        """How many packets wait for their answer."""
        return len(self._waiting)

    def turn(self, seconds: float) -> list[tuple[tuple[int, int], bytes]]:
        """Wait so long at most for something, and take what is there: commands are answered, answers returned by NAS and identifier."""
        answers = []
        for descriptor, _ in self._poller.poll(seconds):
            nas = self._by_descriptor.get(descriptor)
            if nas is None:
                self._hear()
            else:
                answers += self._answers(nas)
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + RETRANSMIT_SECONDS / 4
            for key, (packet, sent_at) in self._waiting.items():
                if now - sent_at >= RETRANSMIT_SECONDS:
                    self._waiting[key] = packet, now
                    self._sockets[packet.nas].sendto(packet.octets, ("127.0.0.1", packet.port))
                    self.repeated += 1
        return answers

    def _answers(self, nas: int) -> list[tuple[tuple[int, int], bytes]]:
        answers: list[tuple[tuple[int, int], bytes]] = []
        while True:
            try:
                reply = self._sockets[nas].recv(4096)
            except OSError:
                return answers
            key = nas, reply[1]
            waited = self._waiting.get(key)
            if waited is not None:
                said = md5(reply[:4] + waited[0].octets[4:20] + reply[20:] + self._secret).digest()
                if said == reply[4:20]:
                    del self._waiting[key]
                    self.answered += 1
                    answers.append((key, reply))

    def _hear(self) -> None:
        while True:
            try:
                datagram, more, _, source = self._coa.recvmsg(4096, 64)
            except BlockingIOError:
                return
            index, _, to = _PKTINFO.unpack(more[0][2][: _PKTINFO.size])
            nas = self._number.get(to)
            signed = md5(datagram[:4] + bytes(16) + datagram[20:] + self._secret).digest() == datagram[4:20]
            if nas is None or not signed:
                continue
            command = Command(nas, first_of(datagram, ACCT_SESSION_ID), datagram[0], time.monotonic())
            self.commands.append(command)
            cause = self._manners(command)
            if cause is None:
                continue
            head = struct.pack(">BBH", datagram[0] + (2 if cause else 1), datagram[1], 20 + len(cause))
            signature = md5(head + datagram[4:20] + cause + self._secret).digest()
            ancillary = [(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(index, to, to))]
            self._coa.sendmsg([head + signature + cause], ancillary, 0, source)

    def __enter__(self) -> Self:
        return self


def address(nas: int) -> str:
    """Its own, on loopback."""
    return f"127.1.{nas // 250}.{nas % 250 + 1}"
