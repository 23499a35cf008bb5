"""Which method it shall be (RFC 3748 section 5.3): the server proposes its first, and the peer may name others once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from aaa.eap import packet
from aaa.eap.exchange import Answer, Check, Checked, Peer, Proven, Refused, Steps
from aaa.eap.packet import Request, Response


class EapMethod(NamedTuple):
    """A method by its number and its name."""

    type: int
    name: str
    steps: Callable[[Peer], Steps]


Negotiation = Generator[Request | Check, Response | Checked, Proven]


def negotiate(methods: Sequence[EapMethod], peer: Peer) -> Negotiation:
    """Run the method that both sides want; Refused when there is none."""
    if not methods:
        raise Refused("eap-no-method", "no EAP method is enabled")
    method = methods[0]
    steps = _begin(method, peer)
    step = next(steps)
    may_decline = True
    while True:
        if isinstance(step, Check):
            reply = yield step
            assert isinstance(reply, Checked)
            answer: Answer | Checked = reply
        else:
            response = yield Request(method.type, step.data)
            assert isinstance(response, Response)
            if response.type == packet.NAK and may_decline:
                may_decline = False
                method = _wanted(methods, response.data, method)
                steps = _begin(method, peer)
                step = next(steps)
                continue
            may_decline = False
            if response.type != method.type:
                raise Refused("eap-type", f"{method.name} was answered by type {response.type}")
            answer = Answer(response.identifier, response.data)
        try:
            step = steps.send(answer)
        except StopIteration as end:
            proven: Proven = end.value
            return proven


def _begin(method: EapMethod, peer: Peer) -> Steps:
    try:
        return (yield from method.steps(peer))
    except Refused as refused:
        raise refused.within(method.name) from None


def _wanted(methods: Sequence[EapMethod], wanted: bytes, proposed: EapMethod) -> EapMethod:
    """The first of ours that the peer names."""
    for method in methods:
        if method.type in wanted and method.type != proposed.type:
            return method
    types = ", ".join(map(str, wanted[:16])) or "none"
    enabled = ", ".join(method.name for method in methods)
    raise Refused("eap-no-common-method", f"the peer wants type {types}; enabled are {enabled}")
