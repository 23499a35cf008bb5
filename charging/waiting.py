"""The places in front of the writer: by rank, bounded, and no NAS may take them all.

What is served first when there is more than can be served: a conversation in progress (a NAS's answer, a session's
end), then Stops, then Interims, then Starts and logins, and last what is replayed. The next Interim of a session says
all that a lost one would have said, so when the places run out the oldest of them make room; after that, whoever would
begin something new is refused.

How much one NAS may hold follows from how much is free (Choudhury and Hahne, "Dynamic Queue Length Thresholds for
Shared-Memory Packet Switches", 1998): SHARE times as many places as are left. One that floods us alone gets 4/5 of
them, two get 4/9 each, and there is always room for one more. Nothing is sorted or searched: an item costs the same
however many wait.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable
from enum import IntEnum
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class Rank(IntEnum):
    """The classes of what waits, in the order in which they are served."""

    CONVERSATION = 0
    STOP = 1
    INTERIM = 2
    BEGINNING = 3
    """A Start or a login."""
    REPLAYED = 4


#: A holder may have this many times the free places.
SHARE: Final = 4
#: Starts, logins and replays leave one place in so many to what is under way already.
KEPT_FROM_BEGINNINGS: Final = 8


class Waiting(Generic[T]):
    """Bounded queues, one for each rank; within a rank the holders take turns, each one's own items keep their order.

    A holder is whoever the places are counted for: a NAS's id; None is ourselves, whom no share binds.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._length = 0
        self._held: dict[Hashable, int] = {}
        self._lines: list[dict[Hashable, deque[T]]] = [{} for _ in Rank]
        self._turns: list[deque[Hashable]] = [deque() for _ in Rank]
        self.refused: Counter[Rank] = Counter()
        """How many found no place, or lost it, since the beginning."""

    def __len__(self) -> int:
        return self._length

    def put(self, item: T, rank: Rank = Rank.CONVERSATION, holder: Hashable = None) -> T | None:
        """Stand at the end of the holder's line. Returns what has to go for it: None; the Interim that made room; or
        `item` itself, where there is no room."""
        gone = None
        free = self._most - self._length
        held = self._held
        if holder is not None and held.get(holder, 0) >= SHARE * free > 0:
            gone = self._make_room(rank, item, self._oldest_interim(holder))
        elif free <= 0 or (rank >= Rank.BEGINNING and free <= self._most // KEPT_FROM_BEGINNINGS):
            gone = self._make_room(rank, item, None if rank == Rank.REPLAYED else self._any_interim())
        if gone is item:
            return gone
        held[holder] = held.get(holder, 0) + 1
        line = self._lines[rank].get(holder)
        if line is None:
            self._lines[rank][holder] = deque((item,))
            self._turns[rank].append(holder)
        else:
            line.append(item)
        self._length += 1
        return gone

    def take(self, most: int) -> list[T]:
        """The next ones, at most so many, by rank, the holders of a rank in turn."""
        taken: list[T] = []
        held = self._held
        for lines, turns in zip(self._lines, self._turns, strict=True):
            while turns and len(taken) < most:
                holder = turns[0]
                line = lines[holder]
                if line:
                    # `_leave`, without the call: every item comes this way.
                    taken.append(line.popleft())
                    count = held[holder] - 1
                    if count:
                        held[holder] = count
                    else:
                        del held[holder]
                if not line:
                    turns.popleft()
                    del lines[holder]
                elif len(turns) > 1:
                    turns.rotate(-1)
        self._length -= len(taken)
        return taken

    def take_while(self, condition: Callable[[T], bool]) -> list[T]:
        """From the head of every line, those that meet a condition."""
        taken: list[T] = []
        for lines in self._lines:
            for holder, line in lines.items():
                while line and condition(line[0]):
                    taken.append(self._leave(line, holder))
        return taken

    def _leave(self, line: deque[T], holder: Hashable) -> T:
        self._length -= 1
        held = self._held
        if held[holder] == 1:
            del held[holder]
        else:
            held[holder] -= 1
        return line.popleft()

    def _make_room(self, rank: Rank, item: T, interim: T | None) -> T:
        self.refused[rank if interim is None else Rank.INTERIM] += 1
        return item if interim is None else interim

    def _oldest_interim(self, holder: Hashable) -> T | None:
        # An emptied line stays where it is until its turn comes: finding it among the turns would be a search.
        line = self._lines[Rank.INTERIM].get(holder)
        return self._leave(line, holder) if line else None

    def _any_interim(self) -> T | None:
        """The oldest of the holder whose turn is next: it has waited for longest."""
        lines, turns = self._lines[Rank.INTERIM], self._turns[Rank.INTERIM]
        while turns:
            if line := lines[turns[0]]:
                return self._leave(line, turns[0])
            del lines[turns.popleft()]
        return None
