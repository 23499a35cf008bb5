"""The duplicate cache of RFC 5080 2.2.2: a retransmitted request gets the very same bytes again, or silence while the
first one is still being worked on. Pure: time is an argument; bounded in entries and in age.

One request stands in each place (listener, source address, source port, code, identifier); a request there with another
authenticator is a new one and pushes the old one out. Ask only about requests whose authenticators were verified:
a forged packet must not touch this table.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

SHORTEST_KEPT_MS: Final = 5_000
LONGEST_KEPT_MS: Final = 30_000
# Entries dropped for their age in one call: more than the one a call adds, so that the table shrinks, few enough that
# no call takes long.
_DROPPED_PER_CALL: Final = 4


class Key(NamedTuple):
    """What makes two datagrams the same request. `listener` names the socket, e.g. "acct 0.0.0.0:1813"."""

    listener: str
    address: str
    port: int
    code: int
    identifier: int
    authenticator: bytes


_Place = tuple[str, str, int, int, int]


@dataclass(frozen=True, slots=True)
class New:
    """Not seen before: process it, then `answer` or `forget`."""


@dataclass(frozen=True, slots=True)
class InProgress:
    """The same request is being worked on: stay silent."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The same request was answered with these bytes: send them again."""

    reply: bytes


Seen = New | InProgress | Answered
NEW: Final = New()
IN_PROGRESS: Final = InProgress()


class ReplyCache:
    """`kept_ms`: how long an answer is kept after it was given, 5 to 30 s. `in_progress_ms`: after this long without an
    answer or `forget`, a request counts as lost and its retransmission as new. `most`: entries of both kinds.

    `now` is milliseconds on a clock that does not run backwards.
    """

    def __init__(
        self, *, kept_ms: int = LONGEST_KEPT_MS, in_progress_ms: int = LONGEST_KEPT_MS, most: int = 131_072
    ) -> None:
        """ValueError for a limit that makes no sense."""
        if not SHORTEST_KEPT_MS <= kept_ms <= LONGEST_KEPT_MS:
            raise ValueError(
                f"answers are kept {SHORTEST_KEPT_MS} to {LONGEST_KEPT_MS} ms (RFC 5080 2.2.2), not {kept_ms}"
            )
        if in_progress_ms < 1 or most < 1:
            raise ValueError("a duplicate cache needs room for one entry and a millisecond")
        self._kept_ms = kept_ms
        self._in_progress_ms = in_progress_ms
        self._most = most
        # Both in the order of their instants, the oldest first; a place is in one of them at most.
        self._answered: OrderedDict[_Place, tuple[bytes, int, Answered]] = OrderedDict()
        self._in_progress: OrderedDict[_Place, tuple[bytes, int]] = OrderedDict()

    def __len__(self) -> int:
        """Entries held, answered and in progress."""
        return len(self._answered) + len(self._in_progress)

    def begin(self, key: Key, now: int) -> Seen:
        """What to do with this request; when it is `New`, it is in progress from now on."""
        place, authenticator = key[:5], key[5]
        answered = self._answered.get(place)
        if answered is not None:
            if answered[0] == authenticator and now - answered[1] < self._kept_ms:
                return answered[2]
            del self._answered[place]
        else:
            started = self._in_progress.get(place)
            if started is not None:
                if started[0] == authenticator and now - started[1] < self._in_progress_ms:
                    return IN_PROGRESS
                del self._in_progress[place]
        self._make_room(now)
        self._in_progress[place] = authenticator, now
        return NEW

    def answer(self, key: Key, reply: bytes, now: int) -> None:
        """This request was answered with these bytes. Without effect when a newer request has its place."""
        place, authenticator = key[:5], key[5]
        started = self._in_progress.get(place)
        held = started or self._answered.get(place)
        if held is None:
            self._make_room(now)
        elif held[0] != authenticator:
            return
        elif started is not None:
            del self._in_progress[place]
        else:
            del self._answered[place]
        self._answered[place] = authenticator, now, Answered(reply)

    def forget(self, key: Key) -> None:
        """This request gets silence; a later retransmission is processed anew."""
        place = key[:5]
        started = self._in_progress.get(place)
        if started is not None and started[0] == key[5]:
            del self._in_progress[place]

    def _make_room(self, now: int) -> None:
        """Drop what is too old, a few at a time, and the oldest answer (else the oldest in progress) when full."""
        answered, in_progress = self._answered, self._in_progress
        for _ in range(_DROPPED_PER_CALL):
            if not answered or now - answered[next(iter(answered))][1] < self._kept_ms:
                break
            answered.popitem(last=False)
        for _ in range(_DROPPED_PER_CALL):
            if not in_progress or now - in_progress[next(iter(in_progress))][1] < self._in_progress_ms:
                break
            in_progress.popitem(last=False)
        if len(answered) + len(in_progress) >= self._most:
            (answered or in_progress).popitem(last=False)
