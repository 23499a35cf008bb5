"""The conversations under way, by the State that the NAS brings back: bounded in number and in age. Pure: time is an argument.

Anybody can begin one, so those whose peer has said no more than a name are kept apart: a flood of them pushes out its like,
and never a login that has come further.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from aaa.eap.conversation import Conversation
from charging.plan import Instant

STATE_OCTETS: Final = 16
MOST_BEGUN: Final = 8192
#: One in the middle of a handshake holds some 70 kB.
MOST_GOING: Final = 4096
#: Somebody may have to type a password meanwhile.
LONGEST_MS: Final = 120_000


class Full(Exception):
    """As many logins are under way as there is room for."""


class _Entry(NamedTuple):
    nas_id: int
    began_at: Instant
    conversation: Conversation


class Conversations:
    """By State and NAS. `random`: where State comes from."""

    def __init__(
        self, random: Callable[[int], bytes], *, most_begun: int = MOST_BEGUN, most_going: int = MOST_GOING
    ) -> None:
        self._random = random
        self._most_begun = most_begun
        self._most_going = most_going
        self._begun: OrderedDict[bytes, _Entry] = OrderedDict()
        self._going: OrderedDict[bytes, _Entry] = OrderedDict()

    def __len__(self) -> int:
        """Conversations held."""
        return len(self._begun) + len(self._going)

    def begin(self, nas_id: int, conversation: Conversation, now: Instant) -> bytes:
        """Keep a conversation; its State."""
        self._drop_old(now)
        if len(self._begun) >= self._most_begun:
            self._begun.popitem(last=False)
        state = self._random(STATE_OCTETS)
        self._begun[state] = _Entry(nas_id, now, conversation)
        return state

    def find(self, nas_id: int, state: bytes, now: Instant) -> Conversation | None:
        """The conversation of that State, if this NAS began it and it is not too old. Full: there is no room to go on."""
        self._drop_old(now)
        entry = self._going.get(state)
        if entry is None:
            entry = self._begun.get(state)
            if entry is None or entry.nas_id != nas_id:
                return None
            if len(self._going) >= self._most_going:
                raise Full
            self._going[state] = self._begun.pop(state)
        if entry.nas_id != nas_id or now - entry.began_at >= LONGEST_MS:
            return None
        return entry.conversation

    def end(self, state: bytes) -> None:
        """It is over."""
        self._going.pop(state, None)
        self._begun.pop(state, None)

    def _drop_old(self, now: Instant) -> None:
        for table in (self._begun, self._going):
            while table and now - next(iter(table.values())).began_at >= LONGEST_MS:
                table.popitem(last=False)
