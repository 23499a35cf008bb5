"""A simulated network access server: no socket, no clock; datagrams and moments go in, datagrams come out.

It logs subscribers in, moves their octets at the rate it was last told, reports, obeys or disobeys, and keeps a log of
its own that an auditor can trust. The same calls with the same seed give the same octets, on the wire and in the log.
"""

from __future__ import annotations

import heapq
import ipaddress
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import md5
from typing import Final, Literal, NamedTuple

from aaa.simulator.behaviour import Behaviour, Instant, Obedience, behaviour_of, manners_of
from aaa.simulator.outstanding import Outstanding, Request, Status
from aaa.simulator.profile import Told, told_by_accept, told_by_coa
from aaa.simulator.session import Figures, Method, SimulatedSession
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

COA_PORT: Final = -1
"""The local port on which a NAS takes orders; the ports from 0 on are those it asks from."""
DEFAULT_DEMAND_BPS: Final = 100_000_000
MOST_ANSWERS_KEPT: Final = 256
REFUSED: Final = "Resources-Unavailable"

_REPLIES: Final = frozenset({Code.ACCESS_ACCEPT, Code.ACCESS_REJECT, Code.ACCESS_CHALLENGE, Code.ACCOUNTING_RESPONSE})
_ORDERS: Final = frozenset({Code.COA_REQUEST, Code.DISCONNECT_REQUEST})
_IDENTIFICATION: Final = frozenset({"User-Name", "Acct-Session-Id", "Framed-IP-Address", "Calling-Station-Id"})
_LITERAL_SESSION_ID: Final = "%08lX%04hX%02hX"
_OWN_DOING: Final = frozenset({"User-Request", "NAS-Reboot"})

Address = tuple[str, int]
EventKind = Literal[
    "booted",
    "access-sent",
    "accepted",
    "refused",
    "accounting-sent",
    "accounting-answered",
    "unanswered",
    "unverified",
    "order-received",
    "order-answered",
    "told",
    "counters-reset",
    "ended",
]


class Server(NamedTuple):
    """Where a RADIUS server listens."""

    auth: Address
    acct: Address


class Outgoing(NamedTuple):
    """A datagram to send from the local port `port`: COA_PORT, or 0, 1, 2 …"""

    destination: Address
    datagram: bytes
    port: int


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a NAS's log. `session` is the session's `number`; octets are the true ones, up is from the subscriber,
    `input_octets` and `output_octets` what the report says."""

    at: Instant
    nas: str
    kind: EventKind
    session: int | None
    fields: dict[str, int | str | None]

    def as_json(self) -> str:
        """One line, keys in order."""
        line = {"at": self.at, "nas": self.nas, "kind": self.kind, "session": self.session, **self.fields}
        return json.dumps(line, separators=(",", ":"))


class SimulatedNas:
    """See the module. `servers` are tried in turn; `coa_port` None: it takes no orders; `seed` decides all randomness.

    Whoever drives it calls `tick` when `due()` has come, `receive` with what arrives, and sends and empties `outbox`.
    """

    def __init__(
        self,
        name: str,
        address: str,
        secret: bytes,
        dialect: str,
        servers: Sequence[Server],
        *,
        coa_port: int | None = 3799,
        behaviour: Behaviour | None = None,
        seed: int = 0,
    ) -> None:
        if not servers:
            raise ValueError("a NAS needs a server to ask")
        self.name = name
        self.address = address
        self.secret = secret
        self.dialect = dialect
        self.servers = tuple(servers)
        self.coa_port = coa_port
        self.behaviour = behaviour_of(dialect) if behaviour is None else behaviour
        self.sessions: list[SimulatedSession] = []
        self.log: list[Event] = []
        self.outbox: list[Outgoing] = []
        self._manners = manners_of(dialect)
        self._seed = seed
        self._drawn = 0
        self._sessions_since_boot = 0
        self._outstanding = Outstanding()
        self._alarms: list[tuple[Instant, int, Callable[[Instant], None]]] = []
        self._alarms_set = 0
        self._answers: OrderedDict[tuple[Address, int, bytes], bytes | None] = OrderedDict()
        self._answering: set[int] = set()

    # what its people and subscribers do

    def boot(self, now: Instant) -> None:
        """Power on: Accounting-On, where it says that."""
        self._sessions_since_boot = 0
        self._record(now, "booted", None)
        if self.behaviour.accounting_on:
            self._account("Accounting-On", None, now)

    def reboot(self, now: Instant, *, orderly: bool) -> None:
        """Orderly: a Stop for each session, Accounting-Off, then `boot`. Else all is forgotten and nothing said before
        Accounting-On."""
        if orderly:
            for session in self.online():
                self._end(session, now, "NAS-Reboot")
            if self.behaviour.accounting_on:
                self._account("Accounting-Off", None, now)
        else:
            self._outstanding.clear()
            self._alarms.clear()
            self._answers.clear()
            self._answering.clear()
            for session in self.sessions:
                if session.state in ("online", "asking"):
                    session.move(now)
                    session.state, session.ended_at, session.terminate_cause = "ended", now, "Lost-Power"
                    self._record_end(session, now)
        self.boot(now)

    def log_in(
        self,
        username: str,
        password: str,
        now: Instant,
        *,
        method: Method = "pap",
        calling_station: str | None = None,
        nas_port: int | None = None,
        demand_bps: tuple[int, int] = (DEFAULT_DEMAND_BPS, DEFAULT_DEMAND_BPS),
    ) -> SimulatedSession:
        """Ask for a session, which has just begun to ask when this returns. `demand_bps`: what the subscriber would
        move, up and down, if nobody limited it."""
        number = len(self.sessions) + 1
        self._sessions_since_boot += 1
        session = SimulatedSession(
            number=number,
            username=username,
            password=password,
            method=method,
            calling_station=calling_station
            or f"02-00-00-{number >> 16 & 255:02X}-{number >> 8 & 255:02X}-{number & 255:02X}",
            nas_port=number if nas_port is None else nas_port,
            demand_up_bps=demand_bps[0],
            demand_down_bps=demand_bps[1],
            acct_session_id=self._session_id(number, now),
            framed_address=f"100.{64 + (number >> 16 & 63)}.{number >> 8 & 255}.{number & 255}",
            redirected_bps=self.behaviour.redirected_bps,
        )
        self.sessions.append(session)
        self._ask_to_admit(session, now)
        return session

    def use(self, session: SimulatedSession, now: Instant, *, up_bps: int, down_bps: int) -> None:
        """The subscriber wants to move more, or less, from now on."""
        session.move(now)
        session.demand_up_bps, session.demand_down_bps = up_bps, down_bps
        self._alarm_volume(session, now)

    def log_out(self, session: SimulatedSession, now: Instant) -> None:
        """The subscriber hangs up. Nothing happens where there is no session any more."""
        if session.online:
            self._end(session, now, "User-Request")

    def report(self, session: SimulatedSession, now: Instant) -> None:
        """An Interim-Update out of turn."""
        if session.online:
            self._account("Interim-Update", session, now)

    def online(self) -> list[SimulatedSession]:
        """The sessions that are on."""
        return [session for session in self.sessions if session.online]

    @property
    def unanswered(self) -> int:
        """How many requests await their answer."""
        return len(self._outstanding)

    # what drives it

    def due(self) -> Instant | None:
        """When it next wants a `tick`."""
        return self._alarms[0][0] if self._alarms else None

    def tick(self, now: Instant) -> None:
        """Do all that is due."""
        while self._alarms and self._alarms[0][0] <= now:
            heapq.heappop(self._alarms)[2](now)

    def receive(self, datagram: bytes, source: Address, now: Instant, port: int) -> None:
        """A datagram that came to this local port. What can not be verified is logged and changes nothing."""
        self.tick(now)
        try:
            packet = parse(datagram, _ORDERS if port == COA_PORT else _REPLIES)
            attributes = decode(packet)
        except Malformed as error:
            self._record(now, "unverified", None, reason=error.reason)
            return
        if port == COA_PORT:
            self._order(packet, attributes, source, now)
        else:
            self._answered(packet, attributes, source, now, port)

    # asking

    def _ask_to_admit(self, session: SimulatedSession, now: Instant) -> None:
        """An Access-Request: to begin with, and where it asks again for a session that is on."""
        authenticator = self._random_octets()
        attributes: list[Attribute] = [("User-Name", session.username)]
        password = session.password.encode()
        if session.method == "chap":
            identifier = session.number & 255
            digest = md5(bytes((identifier,)) + password + authenticator, usedforsecurity=False).digest()
            attributes.append(("CHAP-Password", bytes((identifier,)) + digest))
        else:
            attributes.append(("User-Password", password))
        attributes += [*self._about_itself(), ("NAS-Port", session.nas_port)]
        attributes.append(("Calling-Station-Id", session.calling_station))
        self._ask(Request("Access", session, attributes, None, authenticator, now), now)

    def _ask_again(self, session: SimulatedSession, now: Instant) -> None:
        if session.online:
            self._ask_to_admit(session, now)
            self._alarm_ask_again(session, now)

    def _alarm_ask_again(self, session: SimulatedSession, now: Instant) -> None:
        seconds = self.behaviour.reauthenticate_seconds
        if seconds is not None:
            self._alarm(now + seconds * 1000, lambda moment: self._ask_again(session, moment))

    def _ask(self, asked: Request, now: Instant) -> None:
        self._outstanding.place(asked)
        self._transmit(asked, now)

    def _transmit(self, asked: Request, now: Instant) -> None:
        """Send it for the first time or again."""
        behaviour = self.behaviour
        access = asked.status == "Access"
        rebuilt = not access and asked.attempts > 0 and behaviour.retransmission != "same-bytes"
        if rebuilt:
            self._outstanding.remove(asked)
            self._outstanding.place(asked)
            if behaviour.retransmission == "fresh-counters" and asked.status == "Interim-Update" and asked.session:
                asked.figures = self._figures(asked.session, now)
        if rebuilt or not asked.raw:
            asked.raw = self._encode(asked, now)
        asked.attempts += 1
        turn = (asked.attempts - 1) // behaviour.attempts_per_server % len(self.servers)
        server = self.servers[turn]
        destination = server.auth if access else server.acct
        self.outbox.append(Outgoing(destination, asked.raw, asked.port))
        self._record_sent(asked, now)
        asked.due_at = due_at = now + behaviour.timeout_ms
        self._alarm(due_at, lambda moment: self._overdue(asked, due_at, moment))

    def _encode(self, asked: Request, now: Instant) -> bytes:
        if asked.status == "Access":
            return request(
                Code.ACCESS_REQUEST,
                asked.identifier,
                asked.attributes,
                self.secret,
                authenticator=asked.authenticator,
                message_authenticator=self.behaviour.message_authenticator,
            )
        attributes = [*asked.attributes, ("Acct-Delay-Time", max(0, now - asked.first_sent_at) // 1000)]
        if asked.session is not None and asked.figures is not None:
            attributes += self._counters(asked.session, asked.figures)
        return request(Code.ACCOUNTING_REQUEST, asked.identifier, attributes, self.secret, message_authenticator=False)

    def _overdue(self, asked: Request, due_at: Instant, now: Instant) -> None:
        if not self._outstanding.waits(asked) or asked.due_at != due_at:
            return  # answered meanwhile
        endless = asked.status != "Access" and not self.behaviour.gives_up
        if endless or asked.attempts < self.behaviour.attempts_per_server * len(self.servers):
            self._transmit(asked, now)
            return
        self._outstanding.remove(asked)
        session = asked.session
        self._record(now, "unanswered", session, status=asked.status, attempts=asked.attempts)
        if session is None:
            return
        if asked.status == "Access":
            if not session.online:
                session.state = "unanswered"
        elif asked.status == "Interim-Update" and self.behaviour.ends_unreported_sessions and session.online:
            self._end(session, now, "NAS-Error")

    def _answered(
        self, packet: Packet, attributes: Sequence[Attribute], source: Address, now: Instant, port: int
    ) -> None:
        asked = self._outstanding.at(port, packet.identifier)
        known = any(source in (server.auth, server.acct) for server in self.servers)
        if asked is None or not known or not verify_reply(packet, asked.raw, self.secret):
            self._record(now, "unverified", None, reason="nobody asked" if asked is None or not known else "reply")
            return
        self._outstanding.remove(asked)
        session = asked.session
        if asked.status == "Access" and session is not None:
            self._admitted(session, packet, attributes, now)
            return
        self._record(now, "accounting-answered", session, status=asked.status, **_told_figures(asked.figures))
        if session is not None:
            session.stop_acked = session.stop_acked or asked.status == "Stop"
            if asked.figures is not None:
                session.acked = session.acked.highest(asked.figures)

    def _admitted(
        self, session: SimulatedSession, packet: Packet, attributes: Sequence[Attribute], now: Instant
    ) -> None:
        for name, value in attributes:
            if name == "Reply-Message":
                session.reply_message = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        if session.state != "asking":
            self._admitted_again(session, packet, attributes, now)
            return
        if packet.code != Code.ACCESS_ACCEPT:
            session.state = "refused"
            self._record(now, "refused", session, code=packet.code, message=session.reply_message)
            return
        session.state, session.started_at, session.moved_at = "online", now, now
        session.classes = tuple(v for n, v in attributes if n == "Class" and isinstance(v, bytes))
        for name, value in attributes:
            if name == "Framed-IP-Address" and isinstance(value, str):
                session.framed_address = value
        self._record(now, "accepted", session, username=session.username, acct_session_id=session.acct_session_id)
        self._tell(session, told_by_accept(self.dialect, attributes, self.behaviour.services), now)
        self._account("Start", session, now)
        self._alarm_ask_again(session, now + 1000)
        reset_after = self.behaviour.counters_reset_after_seconds
        if reset_after is not None:
            self._alarm(now + reset_after * 1000, lambda moment: self._reset_counters(session, moment))

    def _admitted_again(
        self, session: SimulatedSession, packet: Packet, attributes: Sequence[Attribute], now: Instant
    ) -> None:
        """The answer for a session that was on when it was asked about."""
        if not session.online:
            return
        if packet.code == Code.ACCESS_ACCEPT:
            self._tell(session, told_by_accept(self.dialect, attributes, self.behaviour.services), now)
        else:
            self._end(session, now, "User-Error")

    # reporting

    def _account(self, status: Status, session: SimulatedSession | None, now: Instant) -> None:
        attributes: list[Attribute] = [("Acct-Status-Type", status)]
        figures = None
        if session is not None:
            attributes += [("Acct-Session-Id", session.acct_session_id), ("User-Name", session.username)]
            attributes += [*self._about_itself(), ("NAS-Port", session.nas_port)]
            attributes.append(("Framed-IP-Address", session.framed_address))
            attributes.append(("Calling-Station-Id", session.calling_station))
            if self.behaviour.class_echoed:
                attributes += [("Class", octets) for octets in session.classes]
            if status == "Stop" and session.terminate_cause is not None:
                attributes.append(("Acct-Terminate-Cause", session.terminate_cause))
            if status != "Start" and not (status == "Stop" and self.behaviour.counters == "not-in-stop"):
                figures = self._figures(session, now)
        else:
            attributes += self._about_itself()
        if self.behaviour.event_timestamp:
            attributes.append(("Event-Timestamp", now // 1000))
        self._ask(Request(status, session, attributes, figures, None, now), now)

    def _figures(self, session: SimulatedSession, now: Instant) -> Figures:
        """What a report of this moment can tell."""
        figures = session.figures(now)
        return Figures(0, 0, figures.seconds) if self.behaviour.counters == "none" else figures

    def _counters(self, session: SimulatedSession, figures: Figures) -> list[Attribute]:
        """What this NAS says of these figures."""
        attributes: list[Attribute] = [("Acct-Session-Time", figures.seconds)]
        if self.behaviour.counters != "none":
            for name, octets in zip(("Input", "Output"), self._reported(session, figures), strict=True):
                attributes.append((f"Acct-{name}-Octets", octets & 0xFFFFFFFF))
                if self.behaviour.gigawords:
                    attributes.append((f"Acct-{name}-Gigawords", octets >> 32))
        return attributes

    def _reported(self, session: SimulatedSession, figures: Figures) -> tuple[int, int]:
        """Its input and output counters: since the last reset, wrapped and turned round as it does."""
        up, down = figures.octets_up, figures.octets_down
        if up >= session.reset_octets_up and down >= session.reset_octets_down:
            up, down = up - session.reset_octets_up, down - session.reset_octets_down
        if not self.behaviour.gigawords:
            up, down = up & 0xFFFFFFFF, down & 0xFFFFFFFF
        return (down, up) if self.behaviour.counters_reversed else (up, down)

    def _interim(self, session: SimulatedSession, at: Instant, now: Instant) -> None:
        if session.online and session.interim_at == at:
            self._account("Interim-Update", session, now)
            interval_ms = self._interval_ms(session)
            # keep the beat, whatever was missed
            session.interim_at = at + (max(0, now - at) // interval_ms + 1) * interval_ms if interval_ms else None
            self._alarm_interim(session)

    def _interval_ms(self, session: SimulatedSession) -> int:
        """How often this session is reported; 0: never."""
        behaviour = self.behaviour
        if behaviour.interim_seconds is not None:
            return behaviour.interim_seconds * 1000
        asked = session.told.interim_interval_seconds or behaviour.unasked_interim_seconds or 0
        return max(asked, behaviour.least_interim_seconds) * 1000 if asked else 0

    def _alarm_interim(self, session: SimulatedSession) -> None:
        at = session.interim_at
        if at is not None:
            self._alarm(at, lambda moment: self._interim(session, at, moment))

    def _reset_counters(self, session: SimulatedSession, now: Instant) -> None:
        if session.online:
            session.reset_counters(now)
            self._record(now, "counters-reset", session, **_told_figures(session.figures(now)))

    def _end(self, session: SimulatedSession, now: Instant, cause: str) -> None:
        session.move(now)
        session.state, session.ended_at, session.terminate_cause = "ended", now, cause
        self._record_end(session, now)
        self._account("Stop", session, now)
        if self.behaviour.reconnect_ms is not None and cause not in _OWN_DOING:
            self._alarm(now + self.behaviour.reconnect_ms, lambda moment: self._come_back(session, moment))

    def _come_back(self, session: SimulatedSession, now: Instant) -> None:
        self.log_in(
            session.username,
            session.password,
            now,
            method=session.method,
            calling_station=session.calling_station,
            nas_port=session.nas_port,
            demand_bps=(session.demand_up_bps, session.demand_down_bps),
        )

    # being told

    def _tell(self, session: SimulatedSession, told: Told, now: Instant) -> None:
        """From this moment the session has this profile. Session-Timeout counts from its start."""
        before_ms = self._interval_ms(session) if session.interim_at is not None else 0
        session.move(now)
        session.told = told
        self._record(
            now,
            "told",
            session,
            up_bps=told.up_bps,
            down_bps=told.down_bps,
            session_timeout_seconds=told.session_timeout_seconds,
            interim_interval_seconds=told.interim_interval_seconds,
            redirect=told.redirect,
        )
        interval_ms = self._interval_ms(session)
        if interval_ms != before_ms:
            session.interim_at = now + interval_ms if interval_ms else None
            self._alarm_interim(session)
        session.limit_octets = told.limit_octets if self.behaviour.keeps_volume else None
        self._alarm_volume(session, now)
        timeout = told.session_timeout_seconds
        session.timeout_at = at = None if timeout is None else session.started_at + timeout * 1000
        if at is not None:
            self._alarm(at, lambda moment: self._time_out(session, at, moment))

    def _alarm_volume(self, session: SimulatedSession, now: Instant) -> None:
        """When its volume will be used, if it goes on like this."""
        rate_bps = session.rate_up_bps + session.rate_down_bps
        if session.limit_octets is not None and rate_bps:
            left = max(session.limit_octets - session.octets_up - session.octets_down, 0)
            # A fraction of an octet each way is not moved any more.
            limit, at = session.limit_octets, now + max(left - 2, 0) * 8_000 // rate_bps + 1
            self._alarm(at, lambda moment: self._volume_out(session, limit, moment))

    def _volume_out(self, session: SimulatedSession, limit: int, now: Instant) -> None:
        session.move(now)
        if session.online and session.limit_octets == limit:
            if session.octets_up + session.octets_down >= limit - 2:
                self._end(session, now, "Session-Timeout")
            else:
                self._alarm_volume(session, now)

    def _time_out(self, session: SimulatedSession, at: Instant, now: Instant) -> None:
        if session.online and session.timeout_at == at:
            self._end(session, now, "Session-Timeout")

    def _order(self, packet: Packet, attributes: Sequence[Attribute], source: Address, now: Instant) -> None:
        """A CoA- or Disconnect-Request (RFC 5176). A retransmission gets the same answer, or the same silence."""
        if not verify_request(packet, self.secret) or message_authenticator(packet, self.secret) is False:
            self._record(now, "unverified", None, reason="order")
            return
        key = self._answer_key(packet, source)
        if key in self._answers:
            answer = self._answers[key]
            if answer is not None:
                self.outbox.append(Outgoing(source, answer, COA_PORT))
            return
        name = Code(packet.code).name
        self._record(now, "order-received", None, order=name, attributes=_as_text(attributes))
        if not self._in_time(attributes, now):
            return
        found = self._identify(attributes)
        if isinstance(found, str):
            if found:
                self._answer(packet, source, now, found)
            return
        obedience = self.behaviour.coa if packet.code == Code.COA_REQUEST else self.behaviour.disconnect
        if obedience == "ignore":
            self._keep_answer(key, None)
        elif obedience == "nak":
            self._answer(packet, source, now, REFUSED)
        elif not (self._manners.one_in_flight and any(session.number in self._answering for session in found)):
            self._keep_answer(key, None)
            numbers = {session.number for session in found}

            def carry_out(moment: Instant) -> None:
                self._answering -= numbers
                self._carry_out(packet, attributes, source, moment, obedience, found)

            if self.behaviour.answer_delay_ms:
                self._answering |= numbers
                self._alarm(now + self.behaviour.answer_delay_ms, carry_out)
            else:
                carry_out(now)

    def _answer_key(self, packet: Packet, source: Address) -> tuple[Address, int, bytes]:
        """What tells a request from a retransmission."""
        return source, packet.identifier, b"" if self._manners.answers_by_identifier else packet.authenticator

    def _in_time(self, attributes: Sequence[Attribute], now: Instant) -> bool:
        """Whether the order's Event-Timestamp is as it must be."""
        said = dict(attributes).get("Event-Timestamp")
        if not isinstance(said, int):
            return not self._manners.timestamp_needed
        window = self._manners.timestamp_window_seconds
        return window is None or abs(said - now // 1000) <= window

    def _identify(self, attributes: Sequence[Attribute]) -> list[SimulatedSession] | str:
        """The sessions meant; or the name of an Error-Cause, empty for silence."""
        manners = self._manners
        given = {name: value for name, value in attributes if name in _IDENTIFICATION - manners.ignored}
        if any(name in manners.refused for name, _ in attributes):
            return "Unsupported-Attribute"
        if not manners.needed <= given.keys() or not manners.any_of & given.keys():
            return "Missing-Attribute" if manners.when_missing == "nak" else ""
        for name, value in attributes:
            if (name == "NAS-Identifier" and value != self.name) or (
                name == "NAS-IP-Address" and value != self.address
            ):
                return "NAS-Identification-Mismatch"
        found = [session for session in self.online() if given.items() <= _identification_of(session).items()]
        return found or "Session-Context-Not-Found"

    def _carry_out(
        self,
        packet: Packet,
        attributes: Sequence[Attribute],
        source: Address,
        now: Instant,
        obedience: Obedience,
        sessions: list[SimulatedSession],
    ) -> None:
        sessions = [session for session in sessions if session.online]
        cause = None if sessions else "Session-Context-Not-Found"
        for session in sessions:
            if packet.code == Code.COA_REQUEST:
                told = told_by_coa(
                    self.dialect,
                    session.told,
                    attributes,
                    replaces=self._manners.coa_replaces_profile,
                    session_timeout_changes=self._manners.session_timeout_changes,
                    profile_changes=self._manners.coa_changes_profile,
                    services=self.behaviour.services,
                )
                if told is None:
                    cause = None if self._manners.coa_acks_nonsense else "Unsupported-Attribute"
                elif obedience != "ack-only":
                    self._tell(session, told, now)
        if obedience != "silent":
            self._answer(packet, source, now, cause)
        if packet.code == Code.DISCONNECT_REQUEST and obedience != "ack-only":
            for session in sessions:
                self._end(session, now, "Admin-Reset")

    def _answer(self, packet: Packet, source: Address, now: Instant, cause: str | None) -> None:
        """ACK, or NAK with an Error-Cause; kept for retransmissions. (ACK and NAK follow their request's code.)"""
        code = Code(packet.code + (1 if cause is None else 2))
        # What a test has it refuse has its cause whatever its manners: the real thing refuses nothing that it knows.
        said = self._manners.error_causes or cause == REFUSED
        answer = reply(
            code,
            packet,
            [("Error-Cause", cause)] if cause is not None and said else [],
            self.secret,
            message_authenticator=message_authenticator(packet, self.secret) is not None,
        )
        self._keep_answer(self._answer_key(packet, source), answer)
        self.outbox.append(Outgoing(source, answer, COA_PORT))
        self._record(now, "order-answered", None, answer=code.name, error_cause=cause)

    def _keep_answer(self, key: tuple[Address, int, bytes], answer: bytes | None) -> None:
        self._answers[key] = answer
        while len(self._answers) > MOST_ANSWERS_KEPT:
            self._answers.popitem(last=False)

    # small things

    def _about_itself(self) -> list[Attribute]:
        version = ipaddress.ip_address(self.address).version
        name = "NAS-IP-Address" if version == 4 else "NAS-IPv6-Address"
        return [(name, self.address), ("NAS-Identifier", self.name)]

    def _session_id(self, number: int, now: Instant) -> str:
        match self.behaviour.session_ids:
            case "literal":
                return _LITERAL_SESSION_ID
            case "reused":
                return f"{self._sessions_since_boot:08X}"
            case "unique":
                return f"{now // 1000:08X}{number:06X}"

    def _random_octets(self) -> bytes:
        """16 octets that look random and are decided by the seed, the name and how many were drawn before."""
        self._drawn += 1
        return md5(f"{self._seed}/{self.name}/{self._drawn}".encode(), usedforsecurity=False).digest()

    def _alarm(self, at: Instant, action: Callable[[Instant], None]) -> None:
        """Call `action` when `at` has come; alarms of one moment in the order they were set."""
        self._alarms_set += 1
        heapq.heappush(self._alarms, (at, self._alarms_set, action))

    def _record(
        self, now: Instant, kind: EventKind, session: SimulatedSession | None, **fields: int | str | None
    ) -> None:
        self.log.append(Event(now, self.name, kind, None if session is None else session.number, fields))

    def _record_sent(self, asked: Request, now: Instant) -> None:
        session, figures = asked.session, asked.figures
        if asked.status == "Access":
            self._record(now, "access-sent", session, attempt=asked.attempts)
            return
        fields = _told_figures(figures)
        if session is not None and figures is not None:
            session.sent = session.sent.highest(figures)
            if self.behaviour.counters != "none":
                fields["input_octets"], fields["output_octets"] = self._reported(session, figures)
        self._record(now, "accounting-sent", session, status=asked.status, attempt=asked.attempts, **fields)

    def _record_end(self, session: SimulatedSession, now: Instant) -> None:
        self._record(now, "ended", session, cause=session.terminate_cause, **_told_figures(session.figures(now)))


def _told_figures(figures: Figures | None) -> dict[str, int | str | None]:
    return {} if figures is None else dict(figures._asdict())


def _identification_of(session: SimulatedSession) -> dict[str, int | str | bytes]:
    return {
        "User-Name": session.username,
        "Acct-Session-Id": session.acct_session_id,
        "Framed-IP-Address": session.framed_address,
        "Calling-Station-Id": session.calling_station,
    }


def _as_text(attributes: Sequence[Attribute]) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in attributes)
