"""One request and its repetitions, until an answer or until nobody waits any more (RFC 5080 2.2.1). Pure: time and
chance are arguments. A repetition is the same bytes, so that the NAS can tell it from a new request.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from aaa.wire import Code, Malformed, parse, verify_reply

FIRST_WAIT_MS: Final = 2_000
LONGEST_WAIT_MS: Final = 16_000
ALL_IN_ALL_MS: Final = 30_000
#: Waits vary by a tenth in each direction, or all that began together would be repeated together.
JITTER_PERCENT: Final = 10

_ERROR_CAUSE: Final = 101  # RFC 5176 3.5
_ACKS: Final = frozenset({Code.DISCONNECT_ACK, Code.COA_ACK})
_REPLIES: Final = frozenset({Code.DISCONNECT_ACK, Code.DISCONNECT_NAK, Code.COA_ACK, Code.COA_NAK})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request. `error_cause`: of a NAK, where it gives one."""

    kind: Literal["ack", "nak", "no-answer"]
    error_cause: int | None = None
    packets: int = field(default=0, compare=False)
    """How often the request went out until then."""

    def __str__(self) -> str:
        return self.kind if self.error_cause is None else f"{self.kind}-{self.error_cause}"


ACK: Final = Answer("ack")
NO_ANSWER: Final = Answer("no-answer")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request under way. Instants are milliseconds on any clock that only moves forward."""

    request: bytes
    secret: bytes
    ends_at: int
    due_at: int
    """When to ask `again`."""
    wait_ms: int
    """The present wait, before jitter."""
    sent: int
    """How often the request has gone out."""


def begin(request: bytes, secret: bytes, now: int, chance: float) -> Exchange:
    """The request has just gone out for the first time. `chance`: from 0 to 1, random."""
    return Exchange(request, secret, now + ALL_IN_ALL_MS, now + _jittered(FIRST_WAIT_MS, chance), FIRST_WAIT_MS, 1)


def again(exchange: Exchange, now: int, chance: float) -> Exchange | None:
    """At `due_at`: the exchange after the same bytes were sent once more, or None when it has ended unanswered."""
    if now >= exchange.ends_at:
        return None
    wait_ms = min(exchange.wait_ms * 2, LONGEST_WAIT_MS)
    due_at = min(now + _jittered(wait_ms, chance), exchange.ends_at)
    return replace(exchange, due_at=due_at, wait_ms=wait_ms, sent=exchange.sent + 1)


def answer(exchange: Exchange, datagram: bytes) -> Answer | None:
    """What this datagram says, or None: what can not be verified is no answer, and changes nothing."""
    try:
        reply = parse(datagram, _REPLIES)
    except Malformed:
        return None
    if not verify_reply(reply, exchange.request, exchange.secret):
        return None
    if reply.code in _ACKS:
        return replace(ACK, packets=exchange.sent)
    cause = reply.first(_ERROR_CAUSE)
    return Answer("nak", int.from_bytes(cause, "big") if cause is not None and len(cause) == 4 else None, exchange.sent)


def _jittered(wait_ms: int, chance: float) -> int:
    return wait_ms + round(wait_ms * (2 * chance - 1) * JITTER_PERCENT / 100)
