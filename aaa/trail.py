"""What was decided about one packet, step by step, in words. Pure.

A step is kept as a template and what goes into it, and only put together when somebody wants to read it: most trails
are thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Literal

from aaa.wire import Attribute
from aaa.wire.values import find
from charging.plan import Instant

Kind = Literal["login", "report"]
Result = Literal["accept", "challenge", "reject", "recorded", "orphan", "silence"]

MOST_STEPS: Final = 100
LONGEST_STEP: Final = 400
#: By the code of the answer.
_RESULTS: Final[dict[int, Result]] = {2: "accept", 3: "reject", 5: "recorded", 11: "challenge"}
#: What is nobody's business, or says nothing to anybody.
_OPAQUE: Final = frozenset({"Class", "State", "EAP-Message", "MS-CHAP2-Success", "MS-CHAP-Error"})


class Trail:
    """The steps of one packet; `clock` counts nanoseconds."""

    __slots__ = (
        "_began",
        "_clock",
        "_steps",
        "kind",
        "microseconds",
        "nas",
        "proven",
        "received_at",
        "refused",
        "result",
        "username",
    )

    def __init__(self, kind: Kind, nas: str, received_at: Instant, clock: Callable[[], int]) -> None:
        self.kind = kind
        self.nas = nas
        self.received_at = received_at
        self.username = ""
        self.proven = False
        """Its sender has shown that he is the NAS, and it is no repetition."""
        self.refused = False
        """Something was refused, whatever the answer is: the client may go before it hears the last word."""
        self.result: Result = "silence"
        self.microseconds = 0
        self._clock = clock
        self._began = clock()
        self._steps: list[tuple[int, str | Callable[..., Iterable[str]], tuple[object, ...]]] = []

    def say(self, template: str, *values: object) -> None:
        """One step, as `str.format` writes it."""
        if len(self._steps) < MOST_STEPS:
            self._steps.append((self._clock() - self._began, template, values))

    def say_each(self, lines: Callable[..., Iterable[str]], *values: object) -> None:
        """Steps of one moment: the lines that this makes of the values, when somebody wants to read them."""
        if len(self._steps) < MOST_STEPS:
            self._steps.append((self._clock() - self._began, lines, values))

    def end(self, answer: bytes | None) -> None:
        """The packet has its answer, or silence."""
        self.microseconds = (self._clock() - self._began) // 1000
        if answer is not None and self.result != "orphan":
            self.result = _RESULTS.get(answer[0], "silence")

    def steps(self) -> list[tuple[int, str]]:
        """Microseconds since the packet came, and what was decided."""
        return list(islice(self._spoken(), MOST_STEPS))

    def _spoken(self) -> Iterator[tuple[int, str]]:
        for at, said, values in self._steps:
            for line in (said.format(*values),) if isinstance(said, str) else said(*values):
                yield at // 1000, line[:LONGEST_STEP]


def shown(attribute: Attribute) -> str:
    """An attribute of ours for people: `Filter-Id = vip`. What is hidden on the wire is hidden here too."""
    name, value = attribute
    definition = find(name)[3]
    if name in _OPAQUE or (definition is not None and definition.encryption):
        return name
    if isinstance(value, bytes):
        return f"{name} = 0x{value.hex()}"
    return f"{name} = {value}"


def said_by(attribute: Attribute, own: Sequence[Attribute], addresses: Sequence[Attribute], profile: str) -> str:
    """Who says it: the server, the subscriber's addresses, his plan's or his own attributes, or the profile."""
    name = attribute[0]
    if name in {"Class", "Session-Timeout", "Acct-Interim-Interval", "User-Name"} or name.startswith("MS-"):
        return "the server"
    if attribute in addresses:
        return "addresses"
    if attribute in own:
        return "attributes of plan and subscriber"
    return f"profile {profile}"
