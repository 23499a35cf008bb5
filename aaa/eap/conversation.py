"""One EAP conversation, from the first identity to Success or Failure: numbers its requests, takes each answer once, and
counts what it costs. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from aaa.eap import packet
from aaa.eap.exchange import Check, Checked, Proven, Refused
from aaa.eap.negotiation import Negotiation
from aaa.eap.packet import Request, Response, read_response

#: A chain of certificates of 64 kB in pieces of 1000 octets, and what comes before and after.
MOST_ROUNDS: Final = 100
MOST_OCTETS: Final = 131_072


class Say(NamedTuple):
    """An EAP-Request for the peer."""

    octets: bytes


class Ended(NamedTuple):
    """The conversation is over; `octets` is the EAP-Success or -Failure."""

    result: Proven | Refused
    octets: bytes


Turn = Say | Check | Ended
"""What is to be done now: say something, look something up and call `checked`, or end."""

Begin = Callable[[bytes], Negotiation]
"""Begins the methods for an identity."""


class Conversation:
    """`begin` is called with the identity, once the peer has said it."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._steps: Negotiation | None = None
        self._identifier = 0
        self._rounds = 0
        self._octets = 0
        self._answered: bytes | None = None
        self._said: Say | None = None
        self._postponed: Check | None = None

    def receive(self, octets: bytes) -> Turn | None:
        """The peer's next packet. None: it answers nothing that was asked, and is let lie. Malformed: it is no response."""
        if not octets and self._steps is None:  # EAP-Start (RFC 3579 section 2.1)
            return self._say(Request(packet.IDENTITY, b""))
        response = read_response(octets)
        if octets == self._answered:
            # Lost on the way, and sent once more under another RADIUS authenticator. None while it is being checked.
            postponed, self._postponed = self._postponed, None
            return postponed or self._said
        if self._said is not None and response.identifier != self._identifier:
            return None
        if self._said is None and self._answered is not None:
            return None
        self._answered, self._said = octets, None
        self._identifier = response.identifier
        self._rounds += 1
        self._octets += len(octets)
        if self._rounds > MOST_ROUNDS or self._octets > MOST_OCTETS:
            return self._end(Refused("eap-too-long", f"{self._rounds} rounds, {self._octets} octets"))
        if self._steps is None:
            if response.type != packet.IDENTITY:
                return self._end(Refused("eap-type", f"type {response.type} instead of an identity"))
            return self._go_on(response)
        return self._go_on(response)

    def checked(self, checked: Checked) -> Turn:
        """What the directory said about the `Check` of this turn."""
        return self._go_on(checked)

    def postpone(self, check: Check) -> None:
        """The directory can not be asked now; it will be, if the peer's packet comes once more."""
        self._postponed = check

    def _go_on(self, answer: Response | Checked) -> Turn:
        try:
            if self._steps is None:
                assert isinstance(answer, Response)
                self._steps = self._begin(answer.data)
                step = next(self._steps)
            else:
                step = self._steps.send(answer)
        except StopIteration as end:
            proven: Proven = end.value
            return self._end(proven)
        except Refused as refused:
            return self._end(refused)
        return step if isinstance(step, Check) else self._say(step)

    def _say(self, request: Request) -> Say:
        self._identifier = (self._identifier + 1) % 256
        self._said = Say(packet.write_request(self._identifier, request))
        return self._said

    def _end(self, result: Proven | Refused) -> Ended:
        code = packet.SUCCESS if isinstance(result, Proven) else packet.FAILURE
        return Ended(result, packet.write_end(code, self._identifier))
