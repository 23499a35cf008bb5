"""NASes spread over the processes of one server, by what each of them says of its work."""

from __future__ import annotations

import mmap
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from aaa.spreading import Load, Spreading, decider, keeper
from aaa.steering import steer

#: How often each says what it has done, and one of them decides.
LOOK_SECONDS: Final = 0.5
_LINE: Final = struct.Struct("=4q")

_log = structlog.get_logger("aaa.spread")


class Board:
    """Memory that processes share, when it was made before them: what each has done, and over how many NASes are spread."""

    def __init__(self, processes: int) -> None:
        self._memory = mmap.mmap(-1, (processes + 1) * _LINE.size)
        self.over = 1

    @property
    def over(self) -> int:
        """Over how many."""
        return int(_LINE.unpack_from(self._memory)[0])

    @over.setter
    def over(self, over: int) -> None:
        _LINE.pack_into(self._memory, 0, over, 0, 0, 0)

    def tell(self, place: int, load: Load) -> None:
        """What the process at this place (from 0) has done."""
        _LINE.pack_into(self._memory, (place + 1) * _LINE.size, *load)

    def loads(self) -> list[Load]:
        """What all have done, by their places."""
        return [Load._make(line) for line in _LINE.iter_unpack(self._memory)][1:]


class Spread:
    """One process's part: it says what it has done, and if it is the first that is there, it decides for all. If it is the last, it is
    on duty: it does what any of them could do."""

    def __init__(
        self,
        board: Board,
        place: int,
        shared: Sequence[socket.socket],
        work: Callable[[], tuple[int, int]],
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        busy_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        """`shared`: a socket of each port. `work`: how many batches there were, and items in them, since it began. The clock is
        one for all processes; `busy_ns` is asked in the reactor's thread, whose time it is."""
        self._board = board
        self._place = place
        self._shared = shared
        self._work = work
        self._clock_ns = clock_ns
        self._busy_ns = busy_ns
        self._spreading = Spreading()
        self._steered: int | None = None
        self.on_duty = False

    def look(self) -> None:
        """To be called every LOOK_SECONDS, in the reactor."""
        now_ns = self._clock_ns()
        self._board.tell(self._place, Load(now_ns, *self._work(), self._busy_ns()))
        loads = self._board.loads()
        self.on_duty = keeper(loads, now_ns) == self._place
        if decider(loads, now_ns) != self._place:
            self._steered = None  # somebody else steers, and what the kernel heard last may be his
            return
        over = self._board.over = self._spreading.look(loads, self._board.over, now_ns)
        if over != self._steered:
            self._steered = over
            self._steer(over, len(loads))

    def _steer(self, over: int, processes: int) -> None:
        try:
            for each in self._shared:
                steer(each, over)
        except OSError as error:
            _log.warning(
                "nases-not-steered", problem=str(error), advice="the system itself spreads them over all processes"
            )
        else:
            _log.info("nases-spread", over=over, processes=processes)
