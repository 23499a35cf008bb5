"""The two stories: what becomes of an Access-Request and of an Accounting-Request.

Each is a coroutine from a datagram to the bytes of its answer, or to None for silence. A database that is down, a
full queue or a bug of ours is silence: the NAS tries again, or another node. It is never a Reject. A report has the
spool before that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple

import structlog
from sqlalchemy import Engine

from aaa import access, narration, reply_attributes
from aaa.accounting import Beside, Restart, report_of
from aaa.attempts import Attempts
from aaa.dialects import dialect, limits
from aaa.directory import NasDirectory, SubscriberDirectory
from aaa.drops import Drops
from aaa.eap import Check, Checked, Conversations, Ended, Full, Offer, Proven, Say
from aaa.eap.packet import FAILURE, write_end
from aaa.messages import (
    EAP_MESSAGE,
    MESSAGE_AUTHENTICATOR,
    USER_NAME,
    AccessRequest,
    access_request,
    port_type_name,
    station,
)
from aaa.nas import Nas
from aaa.passwords import Chap, Eap, Method, MsChap1, MsChap2, Pap, Unsupported, Verdict, name_of, totp, verify
from aaa.passwords.credential import UNKNOWN_USER
from aaa.realms import NO_REALMS, Realms
from aaa.remembered import RememberedLogins
from aaa.replies import Answered, InProgress, Key, ReplyCache
from aaa.spool import Spool, SpoolFailed, SpoolFull
from aaa.subscriber import Subscriber
from aaa.tokens import token
from aaa.tracing import Tracing
from aaa.trail import Trail
from aaa.verifier import Verifier
from aaa.wire import Attribute, Code, Malformed, Packet, message_authenticator, parse, reply, verify_request
from charging.admission import Admitted, Login, Refused
from charging.batching import QueueFull
from charging.conditions import Judgement, Place, judge
from charging.database import DatabaseError
from charging.plan import Instant
from charging.restarts import NasRestart
from charging.session import Report, device_key
from charging.settle import Close, Outcome
from charging.usage import Orphan, Recorded
from charging.writer import DatabaseUnavailable, DiskFailed, Writer

_PROXY_STATE: Final = 33
#: All Proxy-States go back in the answer, which needs room for its own attributes.
MOST_PROXY_STATE_OCTETS: Final = 2048
_ACCESS_CODES: Final = frozenset({Code.ACCESS_REQUEST, Code.STATUS_SERVER})
_ACCOUNTING_CODES: Final = frozenset({Code.ACCOUNTING_REQUEST, Code.STATUS_SERVER})
#: A Reject leaves no earlier than this after its request, so that guessing is slow and its time tells nothing.
REJECT_DELAY_MS: Final = 1_000
#: Rejects that wait; beyond this they are silence, and a flood of wrong passwords costs no more memory.
MOST_WAITING_REJECTS: Final = 10_000

#: Failures of ours and what is logged of them. The NAS sees silence in every case and asks again, or elsewhere.
#: Whether the same packet is then taken as new is decided by `ReplyCache.forget`.
OUR_FAILURES: Final[dict[type[Exception], str]] = {
    QueueFull: "queue-full",
    DatabaseUnavailable: "database-unavailable",
    DiskFailed: "disk-failed",
    **dict.fromkeys(DatabaseError, "database-unavailable"),
    SpoolFull: "spool-full",
    SpoolFailed: "spool-failed",
    Full: "too-many-eap-conversations",
}


class Datagram(NamedTuple):
    """What came in, from where, through which socket. One from a stream is the same, see `radsec`."""

    octets: bytes
    address: str
    """An IP address; over TLS `nas.source_over_tls`, for there a certificate says who it is."""
    port: int
    listener: str
    trail: Trail | None = None
    """What is decided about it, step by step, where somebody may want to read that."""


class EapLogins(NamedTuple):
    """What EAP needs: the methods that are offered, and the conversations under way."""

    offer: Offer
    conversations: Conversations


class Rejects:
    """How many Rejects of a server wait for their time."""

    def __init__(self) -> None:
        self.waiting = 0


class Services(NamedTuple):
    """Everything that a story needs besides its datagram."""

    engine: Engine
    nases: NasDirectory
    subscribers: SubscriberDirectory
    verifier: Verifier
    writer: Writer
    replies: ReplyCache
    drops: Drops
    token_keys: list[bytes]
    now: Callable[[], Instant]
    wait_until: Callable[[Instant], Awaitable[None]]
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    rejects: Rejects
    spool: Spool | None = None
    """None: what the database does not take is not answered."""
    remembered: RememberedLogins | None = None
    """None: without the database nobody gets in."""
    eap: EapLogins | None = None
    """None: EAP is refused."""
    attempts: Attempts | None = None
    """None: guessers are not made to wait."""
    realms: Realms = NO_REALMS
    tracing: Tracing | None = None
    """None: nothing is traced."""
    log: Any = structlog.get_logger("aaa")
    """Better bound already: finding its level again for every packet would cost more than the line."""


async def accounting(services: Services, datagram: Datagram) -> bytes | None:
    """Record a report, then answer it: the answer means that it is durable."""
    if services.tracing is not None and services.tracing.reports:
        return await _traced(services, services.tracing, datagram, _ACCOUNTING_CODES, _record)
    return await _answer(services, datagram, _ACCOUNTING_CODES, _record)


async def authentication(services: Services, datagram: Datagram) -> bytes | None:
    """Let a subscriber in, or not."""
    if services.tracing is not None and services.tracing.logins:
        return await _traced(services, services.tracing, datagram, _ACCESS_CODES, _admit)
    return await _answer(services, datagram, _ACCESS_CODES, _admit)


_Story = Callable[[Services, Packet, Nas, bytes, Instant, Datagram], Awaitable[bytes | None]]


async def _traced(
    services: Services, tracing: Tracing, datagram: Datagram, codes: frozenset[Code], story: _Story
) -> bytes | None:
    """The same, with every step written down."""
    nas = services.nases.at(datagram.address)
    if nas is None:
        return await _answer(services, datagram, codes, story)
    trail = tracing.begin("login" if codes is _ACCESS_CODES else "report", nas.name, services.now())
    trail.say("{} octets from {} port {}: NAS {}", len(datagram.octets), datagram.address, datagram.port, nas.name)
    answer = await _answer(services, datagram._replace(trail=trail), codes, story)
    tracing.end(trail, answer)
    return answer


async def _answer(services: Services, datagram: Datagram, codes: frozenset[Code], story: _Story) -> bytes | None:
    """What both stories begin with: who speaks, does he prove it, was he answered already?"""
    received_at = services.now()
    address = datagram.address
    nas = services.nases.at(address)
    if nas is None:
        _drop(services, "unknown-nas", datagram, received_at)
        return None
    try:
        packet = parse(datagram.octets, codes)
        secret = _proven_secret(services, packet, nas, address)
    except Malformed as problem:
        _drop(services, problem.reason, datagram, received_at, problem.detail)
        return None
    if secret is None:
        _drop(services, "bad-authenticator", datagram, received_at)
        return None
    lacking = _lacking(packet, nas)
    if lacking is not None:
        _drop(services, lacking, datagram, received_at)
        return None
    key = Key(datagram.listener, address, datagram.port, packet.code, packet.identifier, packet.authenticator)
    seen = services.replies.begin(key, received_at)
    if isinstance(seen, Answered):
        return seen.reply
    if isinstance(seen, InProgress):
        return None
    narration.proven(datagram.trail, signed=packet.first(MESSAGE_AUTHENTICATOR) is not None)
    answer = None
    try:
        if packet.code == Code.STATUS_SERVER:
            answer = await _status(services, packet, secret, codes)
        else:
            answer = await story(services, packet, nas, secret, received_at, datagram)
    except Malformed as problem:
        _drop(services, problem.reason, datagram, received_at, problem.detail)
    except tuple(OUR_FAILURES) as failure:
        reason = next(text for kind, text in OUR_FAILURES.items() if isinstance(failure, kind))
        _drop(services, reason, datagram, received_at, str(failure))
    except Exception:
        services.log.exception("bug", nas=nas.name, code=packet.code, identifier=packet.identifier)
    finally:
        if answer is None:
            services.replies.forget(key)
        else:
            services.replies.answer(key, answer, services.now())
    return answer


def _proven_secret(services: Services, packet: Packet, nas: Nas, address: str) -> bytes | None:
    """The secret of this NAS that the packet was signed with; None when it proves none."""
    for secret in nas.secrets:
        if verify_request(packet, secret) and (signed := message_authenticator(packet, secret)) is not False:
            if len(nas.secrets) > 1 and (signed or packet.code == Code.ACCOUNTING_REQUEST):
                services.nases.prove(nas, address, secret)
            return secret
    return None


def _lacking(packet: Packet, nas: Nas) -> str | None:
    """The proof that a request must bring and does not; None: it may come in. Anybody can send one that is not signed,
    so it must be turned away before it can push another out of the duplicate cache.

    A Message-Authenticator that is there was found right before.
    """
    if packet.code == Code.ACCOUNTING_REQUEST or packet.first(MESSAGE_AUTHENTICATOR) is not None:
        return None
    # RFC 5997 section 3, RFC 3579 section 3.2, and for all others BlastRADIUS.
    if (
        packet.code == Code.STATUS_SERVER
        or packet.first(EAP_MESSAGE) is not None
        or nas.require_message_authenticator == "yes"
    ):
        return "message-authenticator-missing"
    if nas.limit_proxy_state and packet.first(_PROXY_STATE) is not None:
        return "proxy-state-unsigned"
    return None


def _drop(services: Services, reason: str, datagram: Datagram, now: Instant, detail: str = "") -> None:
    if datagram.trail is not None:
        datagram.trail.say("silence: {} {}", reason, detail)
    services.drops.drop(reason, datagram.address, now, detail)


# --- Accounting-Request --------------------------------------------------------------------------------------------


async def _record(
    services: Services, packet: Packet, nas: Nas, secret: bytes, received_at: Instant, datagram: Datagram
) -> bytes | None:
    report = report_of(packet, nas, datagram.address, received_at, services.token_keys, services.realms)
    if isinstance(report, Beside):
        services.log.debug("record-beside", nas=nas.name)
        return reply(Code.ACCOUNTING_RESPONSE, packet, (), secret, message_authenticator=False)
    try:
        outcome = await services.writer.submit(NasRestart(*report) if isinstance(report, Restart) else report)
    except (DatabaseUnavailable, QueueFull):
        if services.spool is None or nas.on_database_down == "silent":
            raise
        # What a disk of ours holds is as durable as what the database holds, so it may be answered; `replay` books it.
        await services.spool.keep(received_at, datagram.address, packet.raw)
        services.log.debug("spooled", nas=nas.name, kind=report.kind)
        narration.report(datagram.trail, report, None)
    else:
        _say(services, nas, report, outcome)
        narration.report(datagram.trail, report, outcome)
    return reply(Code.ACCOUNTING_RESPONSE, packet, (), secret, message_authenticator=False)


def _say(services: Services, nas: Nas, report: Report | Restart, outcome: Outcome) -> None:
    """The one line of a report that is in the database."""
    if isinstance(report, Restart):
        services.log.info("nas-restart", nas=nas.name, source=report.nas_address, kind=report.kind)
    elif isinstance(outcome, Orphan):
        services.log.warning(
            "orphan-report", nas=nas.name, username=report.username, kind=report.kind, reason=outcome.reason
        )
    elif isinstance(outcome, Recorded):
        services.log.debug(
            "accounting", nas=nas.name, kind=report.kind, account_id=outcome.account_id,
            session_id=outcome.session_id, up=outcome.used.up, down=outcome.used.down,
            seconds=outcome.used.seconds, micros=outcome.micros, flags=outcome.flags,
        )  # fmt: skip


# --- Access-Request ------------------------------------------------------------------------------------------------


async def _admit(
    services: Services, packet: Packet, nas: Nas, secret: bytes, received_at: Instant, datagram: Datagram
) -> bytes | None:
    if len(packet.raw) > MOST_PROXY_STATE_OCTETS:
        octets = sum(map(len, packet.all(_PROXY_STATE)))
        if octets > MOST_PROXY_STATE_OCTETS:
            raise Malformed("proxy-state", f"{octets} octets, an answer has room for {MOST_PROXY_STATE_OCTETS}")
    try:
        if services.writer.why_unavailable is not None:
            raise DatabaseUnavailable(services.writer.why_unavailable)
        return await _admit_by_database(services, packet, nas, secret, received_at, datagram)
    except (DatabaseUnavailable, *DatabaseError):
        answer = _admit_from_memory(services, packet, nas, received_at)
        if answer is None:
            raise
        return answer


def _admit_from_memory(services: Services, packet: Packet, nas: Nas, received_at: Instant) -> bytes | None:
    """Without the database: let in again, for a short time, who was let in lately with the same password. Nobody is
    refused: None is silence, and the NAS asks elsewhere."""
    if services.remembered is None:
        return None
    for secret in nas.secrets:
        request = access_request(packet, secret)
        admitted = services.remembered.recall(request, received_at)
        if admitted is not None:
            # The token names the account and no session: its reports are kept as orphans, by account, to be charged
            # by hand.
            class_token = token(admitted.account_id, admitted.session_id, services.token_keys[0])
            attributes = access.accept(admitted, dialect(nas.dialect), class_token)
            services.log.warning(
                "access-accept-remembered", nas=nas.name, username=request.username,
                profile=admitted.profile.name, seconds=admitted.time_limit_seconds,
            )  # fmt: skip
            return reply(Code.ACCESS_ACCEPT, packet, attributes, secret, message_authenticator=True)
    return None


async def _admit_by_database(
    services: Services, packet: Packet, nas: Nas, secret: bytes, received_at: Instant, datagram: Datagram
) -> bytes | None:
    signed = packet.first(MESSAGE_AUTHENTICATOR) is not None
    if signed and nas.require_message_authenticator == "learn" and packet.first(EAP_MESSAGE) is None:
        await services.in_thread(lambda: services.nases.require_message_authenticator(nas.nas_id, received_at))
    request = access_request(packet, secret)
    narration.request(datagram.trail, request, services.realms.name(request.username))
    if isinstance(request.method, Eap) and services.eap is not None:
        attempt = Attempt(services, packet, nas, secret, received_at, datagram, request, "EAP")
        return await _admit_by_eap(attempt, request.method, services.eap)
    method_name = name_of(request.method)
    source = _source(request, datagram)
    subscriber = await _by_address(services, request) if nas.mac_authentication else None
    verdict: Verdict = "right"
    if subscriber is not None:
        method_name = "MAC"
    else:
        if _is_held(services, request.username, source, received_at):
            attempt = Attempt(services, packet, nas, secret, received_at, datagram, request, method_name)
            return await _reject(attempt, _HELD, access.reject(_HELD, request.method))
        subscriber = await services.subscribers.subscriber(services.realms.name(request.username))
        verdict = await _verdict(services, request.method, subscriber, received_at)
    if verdict == "wrong" and not signed:
        # While a secret is being changed, only the right password tells with which one it was hidden.
        for other in nas.secrets[1:]:
            method = access_request(packet, other).method
            if await _verdict(services, method, subscriber, received_at) == "right":
                secret, verdict = other, "right"
                break
    attempt = Attempt(services, packet, nas, secret, received_at, datagram, request, method_name)
    narration.verdict(datagram.trail, subscriber, method_name, verdict)
    if method_name != "MAC":
        _count(services, request.username, source, verdict, received_at)
    refusal = access.decide(subscriber, verdict, received_at)
    if refusal is None:
        assert subscriber is not None
        outcome = await _ask_charging(attempt, subscriber)
        if isinstance(outcome, Admitted):
            if services.remembered is not None and _may_be_remembered(subscriber, method_name, outcome):
                services.remembered.remember(request, outcome, subscriber.expires_at, received_at)
            return _accept(attempt, outcome, subscriber, _proof(attempt, subscriber))
        refusal = outcome
    if services.remembered is not None and verdict == "right":
        services.remembered.forget(request.username)
    kept = None if subscriber is None else subscriber.credential.kept
    return await _reject(attempt, refusal, access.reject(refusal, request.method), kept=kept)


def _may_be_remembered(subscriber: Subscriber, method_name: str, outcome: Admitted) -> bool:
    """A code is good for once, an address is no password, conditions are for each login anew, and a pool's address may be
    somebody else's by then."""
    return (
        method_name != "MAC"
        and subscriber.credential.totp is None
        and not subscriber.conditions
        and outcome.addresses == subscriber.own_addresses
    )


def _proof(attempt: Attempt, subscriber: Subscriber) -> list[Attribute]:
    """What an Accept says because of how the password was shown, and by which name."""
    request, proof = attempt.request, list[Attribute]()
    if isinstance(request.method, MsChap1 | MsChap2):
        proof = access.proof(request.method, subscriber.credential)
    if attempt.services.realms.name(request.username) != request.username:
        # So that accounting, and our own commands, speak of the name that is known here (RFC 2865 section 5.1).
        proof.append(("User-Name", subscriber.username))
    return proof


#: A guesser's password is not looked at; what he hears is what he always hears.
_HELD: Final = access.Rejection("too-many-attempts")


def _source(request: AccessRequest, datagram: Datagram) -> str:
    """Which device it is, as far as the NAS says so; else from where on the NAS it asks."""
    said = request.calling_station
    return f"{datagram.address} {request.nas_port_id or ''}" if said is None else station(said) or said


def _is_held(services: Services, username: str, source: str, now: Instant) -> bool:
    return services.attempts is not None and services.attempts.held(username, source, now)


def _count(services: Services, username: str, source: str, verdict: Verdict, now: Instant) -> None:
    """Remember a password that was right or wrong; a method that can not be checked is neither."""
    if services.attempts is None:
        return
    if verdict == "right":
        services.attempts.right(username, source, now)
    elif verdict == "wrong":
        services.attempts.wrong(username, source, now)


async def _by_address(services: Services, request: AccessRequest) -> Subscriber | None:
    """Whoever needs nothing but the address of his device; None where this is no such login. What the NAS sends as a password is
    the address once more, and not looked at."""
    if request.calling_station is None or not isinstance(request.method, Pap | Chap | Unsupported):
        return None
    address = station(request.username)
    if address is None or address != station(request.calling_station):
        return None
    found = await services.subscribers.subscriber(address)
    return found if found is not None and found.credential.kept == "none" else None


class Attempt(NamedTuple):
    """One Access-Request on its way to an answer."""

    services: Services
    packet: Packet
    nas: Nas
    secret: bytes
    received_at: Instant
    datagram: Datagram
    request: AccessRequest
    method: str
    """Its name, for the log."""


async def _ask_charging(attempt: Attempt, subscriber: Subscriber) -> Admitted | access.Rejection:
    """A session for somebody who has proven who he is, or why there is none."""
    expires_at = subscriber.expires_at
    if subscriber.conditions:
        judgement = await _judged(attempt, subscriber)
        narration.judgement(attempt.datagram.trail, judgement)
        if judgement.refusal is not None:
            return access.rejection(judgement.refusal, judgement.detail)
        if judgement.until is not None:
            expires_at = judgement.until if expires_at is None else min(expires_at, judgement.until)
    login = _login(attempt.request, subscriber, expires_at, attempt.nas, attempt.datagram.address)
    outcome = await attempt.services.writer.submit(login)
    assert isinstance(outcome, Admitted | Refused)
    narration.admission(attempt.datagram.trail, outcome)
    if isinstance(outcome, Admitted):
        if outcome.wanted == "full" or limits(dialect(attempt.nas.dialect), outcome.profile):
            return outcome
        # The plan would let him go on slowly, but nothing that this NAS understands would make him slow.
        await attempt.services.writer.submit(
            Close(outcome.account_id, outcome.session_id, "refused", attempt.received_at)
        )
        return access.rejection("exhausted")
    return access.rejection(outcome.reason)


async def _judged(attempt: Attempt, subscriber: Subscriber) -> Judgement:
    """What the conditions say; a device that is to be learned has been."""
    services, request, nas = attempt.services, attempt.request, attempt.nas
    device = request.calling_station
    device = None if device is None else station(device) or device
    place = Place(nas.name, nas.nas_group or None, port_type_name(request.port_type), device)
    learned = subscriber.stations_learned
    while True:
        judgement = judge(subscriber.conditions, place, learned, subscriber.time_zone, attempt.received_at)
        if judgement.learn is None:
            return judgement
        learn = partial(services.subscribers.learn_station, subscriber.subscriber_id, learned, judgement.learn)
        if await services.in_thread(learn):
            return judgement
        # Another device was faster: then there is one place less.
        again = await services.subscribers.subscriber(subscriber.username)
        learned = learned if again is None else again.stations_learned


def _accept(attempt: Attempt, admitted: Admitted, subscriber: Subscriber, proof: list[Attribute]) -> bytes:
    services, nas = attempt.services, attempt.nas
    class_token = token(admitted.account_id, admitted.session_id, services.token_keys[0])
    own = _own_attributes(attempt, subscriber)
    attributes = access.accept(admitted, dialect(nas.dialect), class_token, own, means=nas.means) + proof
    narration.acceptance(
        attempt.datagram.trail, attributes, own, access.address_words(admitted.addresses), admitted.profile.name
    )
    services.log.info(
        "access-accept", nas=nas.name, username=attempt.request.username, session_id=admitted.session_id,
        profile=admitted.profile.name, method=attempt.method, milliseconds=services.now() - attempt.received_at,
    )  # fmt: skip
    return reply(Code.ACCESS_ACCEPT, attempt.packet, attributes, attempt.secret, message_authenticator=True)


def _own_attributes(attempt: Attempt, subscriber: Subscriber) -> tuple[Attribute, ...]:
    """What the plan and the subscriber say themselves. They were looked at when they were written down; what this server's
    dictionaries do not have all the same is left out, and nobody stays outside for it."""
    if not subscriber.reply_attributes:
        return ()
    try:
        return reply_attributes.read(subscriber.reply_attributes)
    except ValueError as error:
        said = str(error)
        attempt.services.log.warning("reply-attributes-unusable", username=subscriber.username, problem=said)
        return ()


async def _reject(
    attempt: Attempt, why: access.Rejection, attributes: list[Attribute], **more: str | None
) -> bytes | None:
    """Log why, and say No when its time has come. `more`: for the log."""
    attempt.services.log.info(
        "access-reject", nas=attempt.nas.name, username=attempt.request.username, reason=why.reason,
        method=attempt.method, **({"detail": why.detail} if why.detail else {}), **more,
    )  # fmt: skip
    narration.refusal(attempt.datagram.trail, why.reason, why.detail or more.get("detail"))
    if not await _wait(attempt):
        return None
    return reply(Code.ACCESS_REJECT, attempt.packet, attributes, attempt.secret, message_authenticator=True)


async def _wait(attempt: Attempt) -> bool:
    """Until a Reject may leave. False: too many wait already."""
    rejects = attempt.services.rejects
    if rejects.waiting >= MOST_WAITING_REJECTS:
        _drop(attempt.services, "too-many-rejects", attempt.datagram, attempt.received_at)
        return False
    rejects.waiting += 1
    try:
        await attempt.services.wait_until(attempt.received_at + REJECT_DELAY_MS)
    finally:
        rejects.waiting -= 1
    return True


async def _verdict(services: Services, method: Method, subscriber: Subscriber | None, now: Instant) -> Verdict:
    """Is the password right? Somebody unknown costs as much time as somebody who is wrong."""
    credential = UNKNOWN_USER if subscriber is None else subscriber.credential
    step: int | None = None
    if credential.totp is not None and isinstance(method, Pap):
        password, code = totp.split(method.password)
        method, step = Pap(password), totp.step_of(credential.totp, code, now)
    verdict = verify(method, credential)
    if verdict == "slow":
        assert isinstance(method, Pap)
        assert credential.argon2 is not None
        right = await services.verifier.verify(credential.argon2, method.password, now)
        verdict = "right" if right else "wrong"
    if credential.totp is None or verdict != "right":
        return verdict
    assert subscriber is not None
    return "right" if await _is_unused(services, subscriber.subscriber_id, step) else "wrong"


async def _is_unused(services: Services, subscriber_id: int, step: int | None) -> bool:
    """Was it a code of this time, and is this the first time it is heard? Whoever listened can not use it again."""
    if step is None:
        return False
    used = step
    return bool(await services.in_thread(lambda: services.subscribers.use_code(subscriber_id, used)))


# --- Access-Request with EAP ---------------------------------------------------------------------------------------


async def _admit_by_eap(attempt: Attempt, method: Eap, eap: EapLogins) -> bytes | None:
    """One step of a conversation: a Challenge, or its end."""
    now = attempt.received_at
    state = method.state
    if state is None:
        username = attempt.packet.first(USER_NAME) or b""
        conversation = eap.offer.conversation(username, method.framed_mtu)
        turn = conversation.receive(method.message)
        if isinstance(turn, Say):
            state = eap.conversations.begin(attempt.nas.nas_id, conversation, now)
    else:
        known = eap.conversations.find(attempt.nas.nas_id, state, now)
        if known is None:
            failure = write_end(FAILURE, method.message[1] if len(method.message) > 1 else 0)
            why = access.rejection("eap-conversation-unknown")
            return await _reject(attempt, why, [("EAP-Message", failure)])
        conversation = known
        turn = conversation.receive(method.message)
    refusal, detail = None, ""
    while isinstance(turn, Check):
        try:
            checked = await _check(attempt, turn)
        except BaseException:
            conversation.postpone(turn)
            raise
        if checked.refusal is not None:
            refusal, detail = checked.refusal, checked.detail
        narration.inside(attempt.datagram.trail, checked)
        turn = conversation.checked(checked)
    if turn is None:
        return None
    if isinstance(turn, Say):
        if refusal is not None:
            # Here and not at the end: many go when they hear of it, and there is no end.
            attempt.services.log.info(
                "eap-refused", nas=attempt.nas.name, username=attempt.request.username, reason=refusal, detail=detail,
            )  # fmt: skip
            # That a password was wrong is heard no sooner in a tunnel than outside.
            if not await _wait(attempt):
                return None
        if attempt.datagram.trail is not None:
            attempt.datagram.trail.say("EAP goes on: {} octets to the client", len(turn.octets))
        challenge: list[Attribute] = [("EAP-Message", turn.octets), ("State", state or b"")]
        return reply(Code.ACCESS_CHALLENGE, attempt.packet, challenge, attempt.secret, message_authenticator=True)
    if state is not None:
        eap.conversations.end(state)
    return await _end_eap(attempt, turn)


async def _check(attempt: Attempt, check: Check) -> Checked:
    """Is that the user's password, whatever method it was proven with inside of EAP?"""
    services, now = attempt.services, attempt.received_at
    source = _source(attempt.request, attempt.datagram)
    if _is_held(services, check.username, source, now):
        return Checked(_HELD.reason, detail=f"{name_of(check.method)} for {check.username!r}")
    subscriber = await services.subscribers.subscriber(services.realms.name(check.username))
    verdict = await _verdict(services, check.method, subscriber, now)
    _count(services, check.username, source, verdict, now)
    refusal = access.unproven(subscriber, verdict)
    if refusal is not None or subscriber is None:
        kept = "" if subscriber is None else f", kept: {subscriber.credential.kept}"
        reason = "unknown-user" if refusal is None else refusal.reason
        return Checked(reason, detail=f"{name_of(check.method)} for {check.username!r}{kept}")
    return Checked(None, subscriber.credential.known_nt_hash())


async def _end_eap(attempt: Attempt, end: Ended) -> bytes | None:
    """Somebody has proven who he is, or has not."""
    proven = end.result
    if not isinstance(proven, Proven):
        refusal = access.rejection(proven.reason)
        attempt = attempt._replace(method=proven.method or attempt.method)
        return await _reject(attempt, refusal, [("EAP-Message", end.octets)], detail=proven.detail or None)
    attempt = attempt._replace(method=proven.method)
    if attempt.datagram.trail is not None:
        attempt.datagram.trail.username = attempt.services.realms.name(proven.username)
        attempt.datagram.trail.say("EAP has ended: {!r} is proven by {}", proven.username, proven.method)
    subscriber = await attempt.services.subscribers.subscriber(attempt.services.realms.name(proven.username))
    refused = access.decide(subscriber, "right", attempt.received_at)
    if refused is None:
        assert subscriber is not None
        outcome = await _ask_charging(attempt, subscriber)
        if isinstance(outcome, Admitted):
            proof: list[Attribute] = [("EAP-Message", end.octets)]
            if subscriber.username != attempt.request.username:
                # So that accounting speaks of whoever pays (RFC 2865 section 5.1).
                proof.append(("User-Name", subscriber.username))
            if proven.keys is not None:
                proof += access.keys(proven.keys)
            return _accept(attempt, outcome, subscriber, proof)
        refused = outcome
    if attempt.services.remembered is not None:
        attempt.services.remembered.forget(proven.username)
    # No Reply-Message beside EAP (RFC 3579 section 2.6.5).
    failure = write_end(FAILURE, end.octets[1])
    return await _reject(attempt, refused, [("EAP-Message", failure)], account_of=proven.username)


def _login(request: AccessRequest, subscriber: Subscriber, expires_at: Instant | None, nas: Nas, source: str) -> Login:
    return Login(
        account_id=subscriber.account_id,
        subscriber_id=subscriber.subscriber_id,
        username=subscriber.username,
        plan_version_id=subscriber.plan_version_id,
        max_sessions=subscriber.max_sessions,
        expires_at=expires_at,
        nas_id=nas.nas_id,
        nas_address=source,
        device_key=device_key(nas.nas_id, source, request.nas_port_id, request.calling_station),
        calling_station=request.calling_station,
        nas_port_id=request.nas_port_id,
        means=nas.means,
        least_interval_seconds=dialect(nas.dialect).least_interval_seconds,
        again=dialect(nas.dialect).capability == "reauthenticate",
        nas_group=nas.nas_group,
        called_station=request.called_station,
        service_class=request.service_class,
        own_addresses=subscriber.own_addresses,
    )


# --- Status-Server -------------------------------------------------------------------------------------------------


async def _status(services: Services, packet: Packet, secret: bytes, codes: frozenset[Code]) -> bytes | None:
    """RFC 5997: an answer says that a request would be served now, so it asks the database, and whether it takes what is
    written."""
    away = services.writer.why_unavailable
    if away is not None:
        raise DatabaseUnavailable(away)
    await services.subscribers.subscriber("")
    code = Code.ACCOUNTING_RESPONSE if codes is _ACCOUNTING_CODES else Code.ACCESS_ACCEPT
    return reply(code, packet, (), secret, message_authenticator=True)
