"""The server as `build` puts it together: who waits for whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Engine
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from aaa.keyring import KeyRing
from charging.settle import CatchUp
from cli.serve import build

T = TypeVar("T")
NOON = 1_750_000_000_000


class Hand:
    """Pools whose work is done when the test says so."""

    def __init__(self) -> None:
        self.begun: dict[str, list[tuple[Callable[[], Any], Deferred[Any]]]] = {}

    def __call__(self, name: str, threads: int) -> Callable[[Callable[[], T]], Deferred[T]]:
        begun = self.begun.setdefault(name, [])

        def run(work: Callable[[], T]) -> Deferred[T]:
            done: Deferred[T] = Deferred()
            begun.append((work, done))
            return done

        return run

    def finish(self, name: str) -> None:
        work, done = self.begun[name].pop(0)
        done.callback(work())


def test_a_login_that_ran_ahead_waits_for_those_who_are_looked_up(engine: Engine) -> None:
    clock, hand = Clock(), Hand()
    keys = KeyRing({1: bytes(32)})
    server = build(engine, keys, "pop", clock, hand, lambda: NOON, on_disk_failed=lambda: None, in_lane=hand)
    server.start()
    found: list[object] = []
    for name in ("alice", "bob"):
        server.services.subscribers.subscriber(name).addCallback(found.append)
    server.writer.submit(CatchUp(1))
    for _ in range(3):
        clock.advance(0)
    assert (len(hand.begun["lookups"]), len(hand.begun["writer"])) == (1, 0)
    hand.finish("lookups")
    assert found == [None, None]
    server.writer.submit(CatchUp(2))
    clock.advance(0)
    (batch,) = hand.begun["writer"]
    assert len(batch[0]()) == 2
