"""Wrong passwords, counted for each user name from each device: who guesses is made to wait, and nobody else. Pure.

A device that has shown the right password before is never made to wait, so that nobody who claims its address can keep
it out; and what is counted of one device says nothing about any other one of the same user.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from charging.plan import Instant

#: So many may be wrong before there is a wait: people mistype, and devices try an old password a few times.
FREE: Final = 5
SHORTEST_HOLD_MS: Final = 2_000
#: Doubled with every further wrong password; whoever finds the right one at last waits no longer than this.
LONGEST_HOLD_MS: Final = 64_000
#: After this long without a wrong password all is forgotten.
FORGOTTEN_AFTER_MS: Final = 600_000
#: And after this long without a right one, a device is like any other.
PROVEN_MS: Final = 30 * 86_400_000
MOST: Final = 65_536

_Key = tuple[str, str]


class _Guesses(NamedTuple):
    wrong: int
    held_until: Instant
    forgotten_at: Instant


class Attempts:
    """Who has guessed lately and who has known, each bounded: the oldest is forgotten first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._guesses: OrderedDict[_Key, _Guesses] = OrderedDict()
        self._proven: OrderedDict[_Key, Instant] = OrderedDict()

    def held(self, username: str, source: str, now: Instant) -> bool:
        """Has this one guessed so often that his next password is not even looked at yet?"""
        guesses = self._guesses.get((username, source))
        if guesses is None or now >= guesses.held_until:
            return False
        proven = self._proven.get((username, source))
        return proven is None or proven <= now

    def wrong(self, username: str, source: str, now: Instant) -> None:
        """A password was looked at, and wrong."""
        key = username, source
        before = self._guesses.pop(key, None)
        count = 1 if before is None or before.forgotten_at <= now else before.wrong + 1
        hold = 0 if count < FREE else min(SHORTEST_HOLD_MS << min(count - FREE, 16), LONGEST_HOLD_MS)
        self._guesses[key] = _Guesses(count, now + hold, now + FORGOTTEN_AFTER_MS)
        if len(self._guesses) > self._most:
            self._guesses.popitem(last=False)

    def right(self, username: str, source: str, now: Instant) -> None:
        """A password was right: this device is known."""
        key = username, source
        self._guesses.pop(key, None)
        self._proven[key] = now + PROVEN_MS
        self._proven.move_to_end(key)
        if len(self._proven) > self._most:
            self._proven.popitem(last=False)
