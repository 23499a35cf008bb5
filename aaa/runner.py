"""The command runner: takes what charging wants done from the command table, tells the NAS, and writes down its answer.

What is claimed (`claims`) is sent at once: a command that must wait (its NAS has enough to do, or does not answer)
waits in the table, where newer wishes supersede it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal, NamedTuple, Protocol, cast

import psycopg.errors
import structlog
from sqlalchemy import Engine
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall

from aaa import dynauth, reply_attributes
from aaa.claims import MOST_CLAIMED, MOST_PER_NAS, Claimed, Claims, Result, State
from aaa.dialects import Dialect, change, dialect, identify, names_in_turn
from aaa.nas import RADSEC_SOURCE, Nas
from aaa.retransmission import ALL_IN_ALL_MS, NO_ANSWER, Answer
from aaa.wire import Attribute, Code
from charging.batching import Batches, QueueFull, Run
from charging.database import DatabaseError, cause_of
from charging.enforcement import DETAILS, NO_COA_PORT, TIMEOUT, ended, previous_profile, profile_of
from charging.plan import Instant
from charging.settle import Close, CommandAcked, CommandFailed, Item, Outcome
from charging.slices import ALL, LEAST_INTERVAL_SECONDS
from charging.writer import DatabaseUnavailable, DiskFailed

POLL_MS: Final = 250
#: After a command ended there may be room for another; those that end soon after one another cause one look.
ENDED_MS: Final = 10
MOST_IN_FLIGHT: Final = 2048
MOST_RESULTS: Final = 2 * MOST_IN_FLIGHT
#: A NAS that does not answer is left alone for so long, then twice as long, and so on; then one command tries again.
SHORTEST_SILENCE_MS: Final = 2_000
LONGEST_SILENCE_MS: Final = 120_000
FORGET_SILENCE_MS: Final = 3_600_000
MOST_TRIES: Final = 5

SESSION_CONTEXT_NOT_FOUND: Final = 503
#: The answer of a NAS that can be told nothing and soon asks by itself.
REAUTHENTICATION: Final = "reauthentication"
#: A detail that this NAS has no words for: it stays as it is.
NOTHING_TO_SAY: Final = "nothing-to-say"
#: What a Session-Timeout is moved to when nothing but the plan limits a session any more (RADIUS has 32 bits).
LONGEST_SECONDS: Final = 2**31 - 1
#: NAS addresses whose way of being asked is remembered.
MOST_FORMS: Final = 4096
#: Error-Causes that may come of an attribute too many or one too few: with `auto` the other way is tried.
FORM_REFUSED: Final = frozenset({401, 402, 404, 406})
#: Error-Causes that find fault with how the session is named (RFC 5176 3.5).
IDENTIFICATION_REFUSED: Final = frozenset({401, 402, 403, 404, 407})

_LOST_RACES: Final = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
)
_NOT_RECORDED: Final = (QueueFull, DatabaseUnavailable, DiskFailed, *DatabaseError)
_log = structlog.get_logger("aaa.runner")


class Directory(Protocol):
    """Knows the NASes."""

    def nas(self, nas_id: int) -> Nas | None:
        """The NAS of that id, unless it was removed."""
        ...

    def proven_secret(self, nas: Nas, address: str) -> bytes | None:
        """The secret that the NAS at this address last showed to have; None where it showed none."""
        ...


class Connections(Protocol):
    """Reaches the NASes that are connected over TLS: `radsec.Connections`."""

    def reachable(self) -> set[str]:
        """The sources over TLS that can be told something now."""
        ...

    def send(
        self,
        source: str,
        code: int,
        attributes: Sequence[Attribute],
        *,
        message_authenticator: bool,
        event_timestamp: int | None = None,
    ) -> Deferred[Answer]:
        """The Answer to a request, NO_ANSWER where there is no connection."""
        ...


class Books(Protocol):
    """The way into the books: the Writer."""

    def submit(self, item: Item) -> Awaitable[Outcome]:
        """The outcome of an item, after it is durable."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """What goes to the NAS, but for the session's name."""

    code: Literal[Code.COA_REQUEST, Code.DISCONNECT_REQUEST]
    packets: tuple[tuple[Attribute, ...], ...] = ((),)
    """The attributes of each packet. One after the other; the last one's answer is the command's."""


class Form(NamedTuple):
    """What a request carries for the NAS's sake."""

    message_authenticator: bool
    event_timestamp: bool


@dataclass(slots=True)
class _Line:
    """What is known of the way to one NAS address."""

    outstanding: int = 0
    silences: int = 0
    resume_at: Instant = 0

    def free(self, now: Instant) -> int:
        """How many commands may be sent there now: one only, when it was silent before."""
        if not self.silences:
            return MOST_PER_NAS - self.outstanding
        return 1 if not self.outstanding and now >= self.resume_at else 0

    def forgotten(self, now: Instant) -> bool:
        """Is there nothing to remember any more?"""
        return not self.outstanding and (not self.silences or now > self.resume_at + FORGET_SILENCE_MS)


# --- decisions -----------------------------------------------------------------------------------------------------


def order_of(claimed: Claimed, speaks: str, now: Instant) -> Order | None:
    """How a command is said in a NAS's dialect; None for a detail that it has no words for. ValueError for a profile that
    can not be said at all."""
    disconnect = Order(Code.DISCONNECT_REQUEST)
    at_nas, understands = claimed.session, dialect(speaks)
    if claimed.action == "disconnect" or at_nas.acct_session_id is None:
        return disconnect
    detail = at_nas.wanted == "full" and claimed.reason in DETAILS and at_nas.exhausted_at is None
    if detail and understands.capability == "disconnect":
        movable = claimed.reason == TIMEOUT and understands.session_timeout_extendable
        return Order(Code.COA_REQUEST, (_timeout(understands, claimed, now),)) if movable else None
    # Who is slow because nothing or little is paid does not become fast by an attribute of his own.
    at_full_speed = at_nas.wanted == "full" and at_nas.pace_permille == ALL and not at_nas.profile
    own = reply_attributes.read(claimed.own) if at_full_speed and claimed.own else ()
    said = change(
        understands, profile_of(claimed.plan, at_nas), previous_profile(claimed.plan, at_nas),
        redirect=ended(claimed.plan, at_nas).action == "redirect" and at_nas.exhausted_at is not None, own=own,
    )  # fmt: skip
    if said is None:
        return None if detail else disconnect
    *before, last = said
    return Order(Code.COA_REQUEST, (*before, _instead(last, _limits(understands, claimed, now))))


def _has_none(answer: Answer, speaks: Dialect) -> bool:
    """Does a NAK say that there is no such session?"""
    if answer.error_cause is None:
        return answer.kind == "nak" and speaks.bare_nak_is_gone
    return answer.error_cause == SESSION_CONTEXT_NOT_FOUND


def _limits(speaks: Dialect, claimed: Claimed, now: Instant) -> tuple[Attribute, ...]:
    """What a CoA says beside the profile: how far the NAS lets the session go, for how long, and how often it reports."""
    at_nas, plan = claimed.session, claimed.plan
    words: list[Attribute] = []
    if at_nas.limit_octets is not None and speaks.quota is not None:
        counted = at_nas.octets_up + at_nas.octets_down if speaks.quota_counts_from_now else 0
        offset = 0 if speaks.quota_counts_from_now else at_nas.offset_up + at_nas.offset_down
        words += speaks.quota(max(at_nas.limit_octets - counted - offset, 1))
    elif speaks.volume_by_coa:
        words += speaks.no_volume_limit
    if at_nas.wanted == "full" and at_nas.timeout_seconds is not None and speaks.session_timeout_extendable:
        words += _timeout(speaks, claimed, now)
    if speaks.interval_by_coa and plan.profile.interim_interval_seconds > LEAST_INTERVAL_SECONDS:
        words.append(("Acct-Interim-Interval", profile_of(plan, at_nas).interim_interval_seconds))
    return tuple(words)


def _timeout(speaks: Dialect, claimed: Claimed, now: Instant) -> tuple[Attribute, ...]:
    at_nas = claimed.session
    limits = (at_nas.timeout_seconds, profile_of(claimed.plan, at_nas).session_timeout_seconds)
    seconds = min((each for each in limits if each is not None), default=LONGEST_SECONDS)
    if speaks.session_timeout_counts_from_now and seconds != LONGEST_SECONDS:
        seconds -= (now - (at_nas.started_at or at_nas.created_at)) // 1000
    least = 1 if at_nas.means == "time" else max(1, speaks.least_session_timeout_seconds)
    return (("Session-Timeout", max(least, min(seconds, LONGEST_SECONDS))),)


def _instead(said: tuple[Attribute, ...], words: tuple[Attribute, ...]) -> tuple[Attribute, ...]:
    """`said` with `words` in the place of attributes of the same name."""
    names = {name for name, _ in words}
    return (*(each for each in said if each[0] not in names), *words)


def forms_of(nas: Nas, known: Form | None) -> tuple[Form, ...]:
    """The ways to ask a NAS, the likeliest first. `known`: the one that it answered."""
    if known is not None and _fits(nas, known):
        return (known,)
    all_forms = (Form(True, False), Form(False, False), Form(True, True), Form(False, True))
    return tuple(form for form in all_forms if _fits(nas, form))


def _fits(nas: Nas, form: Form) -> bool:
    wishes = (nas.coa_message_authenticator, nas.coa_event_timestamp)
    return all(wish == "auto" or (wish == "yes") == carries for wish, carries in zip(wishes, form, strict=True))


# --- the runner ----------------------------------------------------------------------------------------------------


class Runner:
    """Carries commands to NASes. `node_name` must differ between the nodes that run on one database."""

    def __init__(
        self,
        engine: Engine,
        writer: Books,
        directory: Directory,
        ports: dynauth.Ports,
        run_in_thread: Run,
        clock: IReactorTime,
        node_name: str,
        now: Callable[[], Instant],
    ) -> None:
        self.connections: Connections | None = None
        """None: nobody is reached over TLS."""
        self.on_duty: Callable[[], bool] = lambda: True
        """Does this process look for what others wrote, where one does it for several?"""
        self._claims = Claims(engine, node_name)
        self._writer = writer
        self._directory = directory
        self._ports = ports
        self._run = run_in_thread
        self._clock = clock
        self._now = now
        self._results: Batches[Result, None] = Batches(
            self._store, run_in_thread, most_queued=MOST_RESULTS, most_in_batch=MOST_CLAIMED
        )
        self._in_flight: dict[tuple[int, int], Deferred[None]] = {}
        self._asking: set[Deferred[Answer]] = set()
        self._lines: dict[str, _Line] = {}
        self._forms: OrderedDict[str, Form] = OrderedDict()
        self._tries: dict[str, int] = {}
        self._polling = LoopingCall(self._poll)
        self._polling.clock = clock
        self._look: Deferred[None] | None = None
        self._looking = False
        self._again = False
        self._ended: IDelayedCall | None = None
        self._given_back = False
        self._stopped = False
        self._database_failed = False

    @property
    def in_flight(self) -> int:
        """How many commands are on their way."""
        return len(self._in_flight)

    def start(self) -> None:
        """Begin, and look every 250 ms for commands that other processes wrote."""
        self.wake()
        self._polling.start(POLL_MS / 1000, now=False)

    def _poll(self) -> None:
        # A NAS over TLS is told by whom it is connected to.
        if self.on_duty() or (self.connections is not None and self.connections.reachable()):
            self.wake()

    def wake(self) -> None:
        """There may be commands. Any number of calls while a look is under way cause one more look."""
        if self._stopped:
            return
        self._again = True
        if not self._looking:
            self._looking = True
            self._look = Deferred.fromCoroutine(self._claim_all())

    async def stop(self) -> None:
        """Take no more commands, and give back those on their way: they are sent again by whoever claims them next."""
        self._stopped = True
        if self._polling.running:
            self._polling.stop()
        if self._ended is not None:
            self._ended.cancel()
        if self._looking and self._look is not None:
            await self._look
        for asking in list(self._asking):
            asking.cancel()
        for carried in list(self._in_flight.values()):
            await carried
        await self._results.idle()
        self._claims.close()

    async def _claim_all(self) -> None:
        try:
            while self._again and not self._stopped and len(self._in_flight) < MOST_IN_FLIGHT:
                self._again = False
                now = self._now()
                claimed, more = await self._claim(now)
                self._again = self._again or more
                for each in claimed:
                    self._begin(each)
        finally:
            self._looking = False

    async def _claim(self, now: Instant) -> tuple[list[Claimed], bool]:
        self._lines = {address: line for address, line in self._lines.items() if not line.forgotten(now)}
        free = {address: line.free(now) for address, line in self._lines.items()}
        most = min(MOST_CLAIMED, MOST_IN_FLIGHT - len(self._in_flight))
        connected = set() if self.connections is None else self.connections.reachable()
        work = partial(self._take, now, set(self._in_flight), free, most, connected)
        try:
            claimed, more = cast("tuple[list[Claimed], bool]", await self._run(work))
        except Exception as error:  # noqa: BLE001  whatever it is, it must not end the polling
            # The next poll tries again; a deadlock with another node is over by then, a database that is down may be.
            if not self._database_failed and not _lost_race(error):
                if isinstance(error, DatabaseError):
                    _log.error("commands-not-read", problem=str(cause_of(error)))
                else:
                    _log.exception("commands-not-read")
                self._database_failed = True
            return [], False
        self._database_failed = False
        return claimed, more

    def _take(
        self, now: Instant, busy: set[tuple[int, int]], free: dict[str, int], most: int, connected: set[str]
    ) -> tuple[list[Claimed], bool]:
        if not self._given_back:
            self._claims.give_back()
            self._given_back = True
        return self._claims.take(now, busy, free, most, connected)

    def _begin(self, claimed: Claimed) -> None:
        address = claimed.session.nas_address
        line = self._lines.setdefault(address, _Line())
        line.outstanding += 1
        carried = self._in_flight[claimed.key] = Deferred.fromCoroutine(self._carry_out(claimed, line))
        carried.addBoth(lambda _: self._end(claimed, line))

    def _end(self, claimed: Claimed, line: _Line) -> None:
        self._in_flight.pop(claimed.key, None)
        line.outstanding -= 1
        if self._ended is None and not self._stopped:
            self._ended = self._clock.callLater(ENDED_MS / 1000, self._look_again)

    def _look_again(self) -> None:
        self._ended = None
        self.wake()

    async def _carry_out(self, claimed: Claimed, line: _Line) -> None:
        """One command from lease to result, with its one line in the log."""
        began = self._clock.seconds()
        log = _log.bind(
            action=claimed.action, reason=claimed.reason, version=claimed.version, account_id=claimed.account_id,
            session_id=claimed.session.session_id, username=claimed.identity.username, nas_id=claimed.nas_id,
            nas_address=claimed.session.nas_address,
        )  # fmt: skip
        try:
            result = await self._outcome(claimed, line)
            if result.state == "failed" and result.at > claimed.lease_until:
                # We slept through our lease: whoever has the command now knows better what became of it.
                result = replace(result, state="released", answer=None)
            await self._consequence(result)
            await self._results.submit(result)
        except _NOT_RECORDED as error:
            # Its lease runs out, and it is sent again; it means the same a second time.
            log.warning("command-not-recorded", problem=f"{type(error).__name__}: {error}")
            return
        except Exception:
            log.exception("command-not-finished")
            return
        milliseconds = round((self._clock.seconds() - began) * 1000)
        log.info("command", state=result.state, answer=result.answer, milliseconds=milliseconds)

    async def _outcome(self, claimed: Claimed, line: _Line) -> Result:
        now = self._now()
        at_nas = claimed.session
        if at_nas.closed_at is not None or claimed.version != at_nas.wanted_version:
            return Result(claimed, "superseded", None, None, now)
        nas = self._directory.nas(claimed.nas_id)
        if nas is None:
            return Result(claimed, "failed", "no-nas", None, now)
        if dialect(nas.dialect).capability == "reauthenticate":
            return Result(claimed, "acked", REAUTHENTICATION, None, now)
        if nas.coa_port == 0:
            return Result(claimed, "failed", NO_COA_PORT, None, now)
        try:
            order = order_of(claimed, nas.dialect, now)
        except ValueError as error:
            _log.error("profile-not-sayable", plan=claimed.plan.name, dialect=nas.dialect, problem=str(error))
            return Result(claimed, "failed", "profile-not-sayable", None, now)
        if order is None:
            return Result(claimed, "acked", NOTHING_TO_SAY, None, now)
        met: list[Answer] = []
        try:
            answer: Answer | None = None
            for attributes in order.packets:
                # A NAK to one that is not the last changes nothing: what it takes away was not there.
                answer = await self._ask(claimed, nas, order.code, attributes, line, met)
                if answer is None or answer.kind == "no-answer":
                    break
        except (CancelledError, dynauth.QueueFull):
            answer = None
        packets, answers = sum(each.packets for each in met), tuple(map(str, met))
        if answer is None:
            return Result(claimed, "released", None, None, self._now(), packets, answers)
        gone = order.code == Code.DISCONNECT_REQUEST and _has_none(answer, dialect(nas.dialect))
        state: State = "acked" if answer.kind == "ack" or gone else "failed"
        return Result(claimed, state, str(answer), now, self._now(), packets, answers)

    async def _ask(
        self, claimed: Claimed, nas: Nas, code: Code, attributes: tuple[Attribute, ...], line: _Line, met: list[Answer]
    ) -> Answer | None:
        """The NAS's answer; asked once more by a smaller name where it found fault with the first, and in another form
        where nobody knows the right one. None: too late."""
        address = nas.coa_address or claimed.session.nas_address
        answer: Answer | None = None
        known = self._forms.get(address)
        for form in self._in_turn(address, forms_of(nas, known)):
            late, answer = await self._ask_so(claimed, nas, code, attributes, line, form, met, answer)
            if late or answer is None:
                return answer
            if answer.kind == "ack" or answer.error_cause not in FORM_REFUSED | {None}:
                self._remember(address, form)
                return answer
        if answer is not None and answer.kind == "no-answer":
            self._forms.pop(address, None)  # perhaps it is another machine now
        return answer

    async def _ask_so(
        self, claimed: Claimed, nas: Nas, code: Code, attributes: tuple[Attribute, ...], line: _Line, form: Form,
        met: list[Answer], answer: Answer | None,
    ) -> tuple[bool, Answer | None]:  # fmt: skip
        """Whether it is too late to go on, and the newest answer."""
        speaks = dialect(nas.dialect)
        for names in names_in_turn(speaks, claimed.identity):
            who = identify(names, claimed.identity)
            now = self._now()
            if not who or now + ALL_IN_ALL_MS > claimed.lease_until:
                return True, answer
            asking = self._send(claimed, nas, code, (*who, *attributes), form, line)
            self._asking.add(asking)
            try:
                answer = await asking
            finally:
                self._asking.discard(asking)
            met.append(answer)
            self._heard(line, answer)
            if answer.error_cause not in IDENTIFICATION_REFUSED:
                break
        return False, answer

    def _in_turn(self, address: str, forms: tuple[Form, ...]) -> Iterator[Form]:
        """Beginning behind the one that was tried last: a silent NAS takes a command's whole time for one of them."""
        begin = self._tries.get(address, 0)
        for tried in range(len(forms)):
            if len(forms) > 1:
                if len(self._tries) >= MOST_FORMS:
                    self._tries.clear()
                self._tries[address] = begin + tried + 1
            yield forms[(begin + tried) % len(forms)]

    def _remember(self, address: str, form: Form) -> None:
        """This NAS answers to that."""
        self._forms[address] = form
        self._forms.move_to_end(address)
        self._tries.pop(address, None)
        while len(self._forms) > MOST_FORMS:
            self._forms.popitem(last=False)

    def _send(
        self,
        claimed: Claimed,
        nas: Nas,
        code: Code,
        attributes: tuple[Attribute, ...],
        form: Form,
        line: _Line,
    ) -> Deferred[Answer]:
        """Back over the connection that the NAS opened, or over UDP to where it takes commands."""
        source, signed = claimed.session.nas_address, form.message_authenticator
        timestamp = self._now() // 1000 if form.event_timestamp else None
        if nas.coa_address is None and source.startswith(RADSEC_SOURCE):
            if self.connections is None:
                return succeed(NO_ANSWER)
            return self.connections.send(
                source, code, attributes, message_authenticator=signed, event_timestamp=timestamp
            )
        return self._ports.send(
            (nas.coa_address or source, nas.coa_port), code, attributes, self._secret(nas, claimed, line),
            message_authenticator=signed, event_timestamp=timestamp,
        )  # fmt: skip

    def _secret(self, nas: Nas, claimed: Claimed, line: _Line) -> bytes:
        """While a secret is being changed: the one that the NAS has proven to have. Where it is silent, or proved none to this
        node, each in turn, because to the wrong one it is silent."""
        if len(nas.secrets) == 1:
            return nas.secrets[0]
        proven = self._directory.proven_secret(nas, claimed.session.nas_address)
        in_turn = sorted(nas.secrets, key=lambda secret: secret != proven)
        return in_turn[line.silences % len(in_turn)]

    def _heard(self, line: _Line, answer: Answer) -> None:
        """Leave a NAS alone that does not answer; many commands that met the same silence count once."""
        now = self._now()
        if answer.kind != "no-answer":
            line.silences, line.resume_at = 0, 0
        elif now >= line.resume_at:
            line.resume_at = now + min(SHORTEST_SILENCE_MS * 2**line.silences, LONGEST_SILENCE_MS)
            line.silences = min(line.silences + 1, 16)

    async def _consequence(self, result: Result) -> None:
        """Tell the books first: while they do not know, the command stays pending and nothing is lost."""
        claimed = result.claimed
        session_id = claimed.session.session_id
        if result.state == "failed":
            answer = result.answer or "failed"
            await self._writer.submit(CommandFailed(claimed.account_id, session_id, claimed.version, answer))
        elif result.state == "acked" and result.answer in ("ack", REAUTHENTICATION, NOTHING_TO_SAY):
            await self._writer.submit(CommandAcked(claimed.account_id, session_id, claimed.version))
        elif result.state == "acked":
            await self._writer.submit(Close(claimed.account_id, session_id, "gone", result.sent_at or result.at))

    def _store(self, results: Sequence[Result]) -> Sequence[None]:
        for tries_left in reversed(range(MOST_TRIES)):
            try:
                self._claims.store(results)
                break
            except DatabaseError as error:
                if not tries_left or not _lost_race(error):
                    raise
        return [None] * len(results)


def _lost_race(error: Exception) -> bool:
    """Another transaction wanted the same rows in another order; ours was undone and can run again."""
    return isinstance(cause_of(error), _LOST_RACES)
