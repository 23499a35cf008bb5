"""Thousands of scripted sessions, as fast as a server answers: login, Start, Interims, Stop, retransmitted until answered.

What each session reports is decided by the seed alone, so it is known before anything is sent; when and how often is left
to the network. Counters rise by some MB a minute of Acct-Session-Time, which a server that looks for impossible rates
believes of a line of 2 Mbit/s and more.
"""

from __future__ import annotations

import contextlib
import heapq
import random
import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import md5
from typing import Literal

from aaa.simulator import Figures
from aaa.wire import Attribute, Code, Malformed, Packet, decode, parse, request, verify_reply
from tests.network import Address, BadNetwork

REPLIES = frozenset({Code.ACCESS_ACCEPT, Code.ACCESS_REJECT, Code.ACCESS_CHALLENGE, Code.ACCOUNTING_RESPONSE})
LOGIN = -1  # in place of a report's index
SECONDS_PER_REPORT = 60
PLACES_PER_SOCKET = 256
USED_PER_SOCKET = 128  # half the identifiers, so that one is not taken again at once


@dataclass(slots=True, eq=False)
class ScriptedSession:
    """One session: `script` is what it reports, first the Start, last the Stop; `sent` and `acked` how far it came."""

    number: int
    username: str
    acct_session_id: str
    calling_station: str
    script: tuple[Figures, ...]
    rebuilds: bool
    """Retransmits with a new identifier and Acct-Delay-Time; else the same bytes."""
    state: Literal["waiting", "online", "refused", "done"] = "waiting"
    classes: tuple[bytes, ...] = ()
    next_report: int = 0
    answered: set[int] = field(default_factory=set)
    """Indices of the script."""
    sent: Figures = Figures(0, 0, 0)  # noqa: RUF009 - a value
    acked: Figures = Figures(0, 0, 0)  # noqa: RUF009 - a value

    @property
    def octets_up(self) -> int:
        """From the subscriber, in the whole session, as its Stop says."""
        return self.script[-1].octets_up

    @property
    def octets_down(self) -> int:
        """To the subscriber, in the whole session, as its Stop says."""
        return self.script[-1].octets_down

    @property
    def seconds(self) -> int:
        """The whole session's, as its Stop says."""
        return self.script[-1].seconds


@dataclass(slots=True, eq=False)
class _Pending:
    session: ScriptedSession
    index: int
    first_at: float
    event_timestamp: int
    place: tuple[int, int] = (0, 0)
    raw: bytes = b""
    attempts: int = 0


class ScriptedFleet:
    """One NAS with many sessions. Build it, `run` it (in a thread if need be), read `sessions`.

    server: (host, auth port, acct port). through: the bad network to take the way through. users: session n is of
    user n modulo their number. reports: Start, Interims and Stop together, 2 or more. overlap: how many reports of one
    session may be unanswered at a time: from 2 on, a network that reorders turns round reports of the same session.
    """

    def __init__(
        self,
        *,
        server: tuple[str, int, int],
        secret: bytes,
        sessions: int,
        users: Sequence[str],
        password: str,
        reports: int = 6,
        seed: int = 1,
        through: BadNetwork | None = None,
        method: Literal["pap", "chap"] = "pap",
        address: str = "127.0.0.1",
        outstanding: int = 256,
        overlap: int = 2,
        retransmit_seconds: tuple[float, float] = (0.5, 1.0),
    ) -> None:
        host, auth_port, acct_port = server
        self._auth: Address = (host, auth_port)
        self._acct: Address = (host, acct_port)
        if through is not None:
            self._auth, self._acct = through.route(self._auth), through.route(self._acct)
        self._secret = secret
        self._password = password
        self._method = method
        self._address = address
        self._outstanding = outstanding
        self._overlap = overlap
        self._retransmit_seconds = retransmit_seconds
        self._random = random.Random(seed)
        began = int(time.time())
        self.sessions = [self._scripted(n, users[n % len(users)], reports, began) for n in range(sessions)]
        self._ready: deque[tuple[ScriptedSession, int]] = deque((session, LOGIN) for session in self.sessions)
        self._pending: dict[tuple[int, int], _Pending] = {}
        self._due: list[tuple[float, int, _Pending]] = []
        self._due_ever = 0
        self._next_place = 0
        self._sockets: list[socket.socket] = []
        self.answered = 0
        """Verified answers so far, logins included."""
        self.retransmissions = 0
        self.unverified = 0
        """Datagrams that answer nothing that waits: late duplicates, damaged ones, forgeries."""
        self.stop_asked = False
        """Set by another thread: `run` comes back."""

    def _scripted(self, number: int, username: str, reports: int, began: int) -> ScriptedSession:
        draw = self._random.randrange
        script = [Figures(0, 0, 0)]
        for _ in range(reports - 1):
            up, down, seconds = script[-1]
            script.append(
                Figures(up + draw(2_000_000), down + draw(1_000_000, 8_000_000), seconds + SECONDS_PER_REPORT)
            )
        return ScriptedSession(
            number=number,
            username=username,
            acct_session_id=f"{began:08X}{number:06X}",
            calling_station=f"02-00-01-{number >> 16 & 255:02X}-{number >> 8 & 255:02X}-{number & 255:02X}",
            script=tuple(script),
            rebuilds=draw(2) == 1,
        )

    @property
    def done(self) -> int:
        """Sessions of which every report was answered."""
        return sum(session.state == "done" for session in self.sessions)

    @property
    def refused(self) -> list[ScriptedSession]:
        """Sessions whose login was rejected."""
        return [session for session in self.sessions if session.state == "refused"]

    def run(self, deadline: float) -> bool:
        """Until everything is answered: True; False when `deadline` (time.monotonic) passed or `stop_asked` was set."""
        selector = selectors.DefaultSelector()
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        for index in range(-(-self._outstanding // USED_PER_SOCKET)):
            one = socket.socket(family, socket.SOCK_DGRAM)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            one.bind((self._address, 0))
            one.setblocking(False)
            selector.register(one, selectors.EVENT_READ, index)
            self._sockets.append(one)
        try:
            while self._ready or self._pending:
                now = time.monotonic()
                if now >= deadline or self.stop_asked:
                    return False
                while self._ready and len(self._pending) < self._outstanding:
                    session, index = self._ready.popleft()
                    pending = _Pending(session, index, now, int(time.time()))
                    self._place(pending)
                    self._transmit(pending, now)
                wait_seconds = max(0.0, min(self._due[0][0] - now, 0.05)) if self._due else 0.05
                for key, _ in selector.select(wait_seconds):
                    self._drain(key.data)
                self._retransmit(time.monotonic())
            return not self.refused
        finally:
            selector.close()
            for one in self._sockets:
                one.close()
            self._sockets.clear()

    # out

    def _place(self, pending: _Pending) -> None:
        """A free socket and identifier: half of them always are."""
        while True:
            place = divmod(self._next_place, PLACES_PER_SOCKET)
            self._next_place = (self._next_place + 1) % (len(self._sockets) * PLACES_PER_SOCKET)
            if place not in self._pending:
                pending.place = place
                self._pending[place] = pending
                return

    def _retransmit(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            pending = heapq.heappop(self._due)[2]
            if self._pending.get(pending.place) is not pending:
                continue
            self.retransmissions += 1
            if pending.index != LOGIN and pending.session.rebuilds:
                del self._pending[pending.place]
                self._place(pending)
                pending.raw = b""
            self._transmit(pending, now)

    def _transmit(self, pending: _Pending, now: float) -> None:
        session = pending.session
        if not pending.raw:
            pending.raw = self._login(pending) if pending.index == LOGIN else self._report(pending, now)
        pending.attempts += 1
        if pending.index != LOGIN:
            session.sent = session.sent.highest(session.script[pending.index])
        with contextlib.suppress(OSError):  # as good as lost on the way
            destination = self._auth if pending.index == LOGIN else self._acct
            self._sockets[pending.place[0]].sendto(pending.raw, destination)
        self._due_ever += 1
        due = now + self._random.uniform(*self._retransmit_seconds)
        heapq.heappush(self._due, (due, self._due_ever, pending))

    def _about(self, session: ScriptedSession) -> list[Attribute]:
        return [
            ("User-Name", session.username),
            ("NAS-IP-Address", self._address) if "." in self._address else ("NAS-IPv6-Address", self._address),
            ("NAS-Port", session.number),
            ("Calling-Station-Id", session.calling_station),
        ]

    def _login(self, pending: _Pending) -> bytes:
        session = pending.session
        authenticator = self._random.randbytes(16)
        password = self._password.encode()
        credential: Attribute = ("User-Password", password)
        if self._method == "chap":
            digest = md5(b"\1" + password + authenticator, usedforsecurity=False).digest()
            credential = ("CHAP-Password", b"\1" + digest)
        return request(
            Code.ACCESS_REQUEST,
            pending.place[1],
            [*self._about(session), credential],
            self._secret,
            authenticator=authenticator,
            message_authenticator=True,
        )

    def _report(self, pending: _Pending, now: float) -> bytes:
        session, index = pending.session, pending.index
        last = len(session.script) - 1
        figures = session.script[index]
        attributes: list[Attribute] = [
            ("Acct-Status-Type", "Start" if index == 0 else "Stop" if index == last else "Interim-Update"),
            ("Acct-Session-Id", session.acct_session_id),
            *self._about(session),
            *(("Class", octets) for octets in session.classes),
            ("Event-Timestamp", pending.event_timestamp),
            ("Acct-Delay-Time", int(now - pending.first_at)),
        ]
        if index:
            attributes += [
                ("Acct-Session-Time", figures.seconds),
                ("Acct-Input-Octets", figures.octets_up & 0xFFFFFFFF),
                ("Acct-Input-Gigawords", figures.octets_up >> 32),
                ("Acct-Output-Octets", figures.octets_down & 0xFFFFFFFF),
                ("Acct-Output-Gigawords", figures.octets_down >> 32),
            ]
        if index == last:
            attributes.append(("Acct-Terminate-Cause", "User-Request"))
        return request(Code.ACCOUNTING_REQUEST, pending.place[1], attributes, self._secret, message_authenticator=False)

    # in

    def _drain(self, index: int) -> None:
        for _ in range(64):
            try:
                datagram = self._sockets[index].recv(4096)
            except OSError:
                return
            try:
                packet = parse(datagram, REPLIES)
            except Malformed:
                self.unverified += 1
                continue
            pending = self._pending.get((index, packet.identifier))
            if pending is None or not verify_reply(packet, pending.raw, self._secret):
                self.unverified += 1
                continue
            del self._pending[pending.place]
            self.answered += 1
            self._answered(pending, packet)

    def _answered(self, pending: _Pending, packet: Packet) -> None:
        session = pending.session
        if pending.index == LOGIN:
            if packet.code != Code.ACCESS_ACCEPT:
                session.state = "refused"
                return
            session.state = "online"
            session.classes = tuple(v for n, v in decode(packet) if n == "Class" and isinstance(v, bytes))
        else:
            session.answered.add(pending.index)
            session.acked = session.acked.highest(session.script[pending.index])
            if len(session.answered) == len(session.script):
                session.state = "done"
        while session.next_report < len(session.script) and (
            session.next_report - len(session.answered) < self._overlap
        ):
            self._ready.append((session, session.next_report))
            session.next_report += 1
