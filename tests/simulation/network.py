"""Datagrams between NASes and nodes: lost, doubled, late, out of order, by the seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.clock import FakeClock

Address = tuple[str, int]
Receive = Callable[[bytes, Address], None]


@dataclass
class Weather:
    """Probabilities from 0 to 1, and the longest delay of one that is held back."""

    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    held_back_ms: int = 3_000


class Network:
    """Sends a datagram from an address to whoever listens at another."""

    def __init__(self, clock: FakeClock, chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self.weather = Weather()
        self.listening: dict[Address, Receive] = {}
        self.cut: set[frozenset[str]] = set()
        """Pairs of hosts that can not reach each other."""
        self.counts: Counter[str] = Counter()

    def send(self, source: Address, destination: Address, datagram: bytes) -> None:
        """Hand it over; nobody hears what became of it."""
        weather, chance = self.weather, self._chance
        self.counts["sent"] += 1
        if chance.random() < weather.loss:
            self.counts["lost"] += 1
            return
        copies = 2 if chance.random() < weather.duplication else 1
        for _ in range(copies):
            delay_ms = chance.randrange(1, 20)
            if chance.random() < weather.reordering:
                delay_ms += chance.randrange(weather.held_back_ms)
            self._clock.at(self._clock.now + delay_ms, self._arrive, source, destination, datagram)

    def _arrive(self, source: Address, destination: Address, datagram: bytes) -> None:
        receive = self.listening.get(destination)
        if receive is None or frozenset((source[0], destination[0])) in self.cut:
            self.counts["unheard"] += 1
            return
        self.counts["heard"] += 1
        receive(datagram, source)
