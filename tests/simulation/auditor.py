"""The auditor: believes the NASes' own logs and nobody else, and does its own sums over the database's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from aaa.simulator import Event

Rows = Callable[..., list[tuple[Any, ...]]]


class Finding(NamedTuple):
    """Something that must not be."""

    at: int
    check: str
    words: str


class Witness(NamedTuple):
    """A NAS's log, and how far its clock is off."""

    name: str
    address: str
    log: Sequence[Event]
    skew_ms: int


class Auditor:
    def __init__(self, rows: Rows, witnesses: Sequence[Witness], paid: Sequence[Any], *, fair: bool) -> None:
        self.findings: list[Finding] = []
        self.answers = 0

    def look(self, now: int) -> None: ...

    def end(self, now: int) -> None: ...
