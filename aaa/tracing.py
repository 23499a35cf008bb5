"""The bounded history of trails: what is kept of them, and how it gets into the database without anybody waiting for it.

What is written down: by the configuration nothing, what was refused, or everything; and whatever fits a watch, as long as
somebody watches (`aaa trace --follow`). A thread writes twice a second; when it can not keep up, or the database is away,
trails are lost and counted, and nothing else happens.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import structlog
from sqlalchemy import Connection, Engine, delete, func, insert, select
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from aaa.trail import Kind, Trail
from charging.database import reading
from charging.plan import Instant
from charging.tables import trace, trace_watch

Mode = Literal["off", "refused", "all"]

EVERY_MS: Final = 500
#: Trails that wait to be written; beyond this they are lost.
MOST_WAITING: Final = 2_000
MOST_AT_ONCE: Final = 500
MOST_WATCHES: Final = 100
#: Every so many turns what is too old or too much is removed.
TURNS_TO_PRUNING: Final = 60
DEFAULT_ROWS: Final = 100_000
DEFAULT_AGE_MS: Final = 7 * 86_400_000
_UNREFUSED: Final = frozenset({"accept", "challenge", "recorded"})

_log = structlog.get_logger("aaa.tracing")


class Watch(NamedTuple):
    """Whose trails somebody wants to see. None: everybody's."""

    username: str | None
    nas: str | None


class Tracing:
    """Begins trails, and keeps those that are wanted."""

    def __init__(
        self,
        engine: Engine,
        run: Callable[[Callable[[], Any]], Deferred[Any]],
        now: Callable[[], Instant],
        node: str,
        mode: Mode = "refused",
        *,
        most_rows: int = DEFAULT_ROWS,
        most_age_ms: int = DEFAULT_AGE_MS,
    ) -> None:
        self._engine = engine
        self._run = run
        self._now = now
        self._node = node
        self._mode = mode
        self._most_rows = most_rows
        self._most_age_ms = most_age_ms
        self._watches: tuple[Watch, ...] = ()
        self._waiting: deque[Trail] = deque()
        self._turns = 0
        self._failed = False
        self._writing: LoopingCall | None = None
        self.lost = 0
        """How many trails were wanted and not written."""
        self.logins = mode != "off"
        self.reports = mode == "all"
        """Whether trails of these are begun at all."""

    def begin(self, kind: Kind, nas: str, received_at: Instant) -> Trail:
        """A trail for a packet that just came; only where `logins` or `reports` says so."""
        return Trail(kind, nas, received_at, time.perf_counter_ns)

    def end(self, trail: Trail, answer: bytes | None) -> None:
        """The packet has its answer; the trail is kept where somebody may want to read it."""
        trail.end(answer)
        refused = trail.refused or trail.result not in _UNREFUSED
        wanted = trail.proven and (self._mode == "all" or (self._mode == "refused" and refused))
        if not wanted and not any(
            (each.username is None or each.username == trail.username) and each.nas in {None, trail.nas}
            for each in self._watches
        ):
            return
        if len(self._waiting) >= MOST_WAITING:
            self.lost += 1
        else:
            self._waiting.append(trail)

    # --- writing -------------------------------------------------------------------------------------------------

    def start(self, clock: IReactorTime) -> None:
        """Begin to write, and to look who watches."""
        self._writing = LoopingCall(self.turn)
        self._writing.clock = clock
        self._writing.start(EVERY_MS / 1000)

    def stop(self) -> None:
        """Write no more."""
        if self._writing is not None and self._writing.running:
            self._writing.stop()

    def turn(self) -> Deferred[None]:
        """Write what waits, and see who watches now."""
        some = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]
        pruning = self._turns % TURNS_TO_PRUNING == 0
        self._turns += 1

        def done(watches: tuple[Watch, ...]) -> None:
            self._failed = False
            self._watches = watches
            self.logins = self._mode != "off" or bool(watches)
            self.reports = self._mode == "all" or bool(watches)

        def failed(failure: Failure) -> None:
            self.lost += len(some)
            if not self._failed:
                self._failed = True
                _log.warning("trace-not-written", problem=str(failure.value), lost=self.lost)

        return self._run(lambda: self._work(some, pruning=pruning)).addCallbacks(done, failed)

    def _work(self, some: list[Trail], *, pruning: bool) -> tuple[Watch, ...]:
        """In a thread."""
        now = self._now()
        if some or pruning:
            with self._engine.begin() as connection:
                if some:
                    connection.execute(insert(trace), [self._row(each) for each in some])
                if pruning:
                    prune(connection, now - self._most_age_ms, self._most_rows)
                    connection.execute(delete(trace_watch).where(trace_watch.c.until <= now))
        with reading(self._engine) as connection:
            c = trace_watch.c
            chosen = select(c.username, c.nas).where(c.until > now).order_by(c.watch_id.desc()).limit(MOST_WATCHES)
            return tuple(Watch(*row) for row in connection.execute(chosen))

    def _row(self, each: Trail) -> dict[str, Any]:
        return {
            "node": self._node, "received_at": each.received_at, "nas": each.nas, "username": each.username,
            "kind": each.kind, "result": each.result, "microseconds": each.microseconds,
            "steps": json.dumps(each.steps()),
        }  # fmt: skip


def prune(connection: Connection, before: Instant, most_rows: int) -> int:
    """Remove what is older, and the oldest beyond so many; how many went."""
    newest = connection.execute(select(func.max(trace.c.trace_id))).scalar()
    if newest is None:
        return 0
    gone = delete(trace).where((trace.c.received_at < before) | (trace.c.trace_id <= newest - most_rows))
    return connection.execute(gone).rowcount


# --- reading -------------------------------------------------------------------------------------------------------


class TraceLine(NamedTuple):
    """A packet of the history."""

    trace_id: int
    node: str
    received_at: Instant
    nas: str
    username: str
    kind: str
    result: str
    microseconds: int
    steps: list[tuple[int, str]]


def lines(
    connection: Connection,
    *,
    username: str | None,
    nas: str | None,
    since: Instant,
    after: int = 0,
    limit: int,
) -> list[TraceLine]:
    """The newest packets of the history since then, at most `limit`, in the order in which they came."""
    c = trace.c
    chosen = select(trace).where(c.received_at >= since, c.trace_id > after).order_by(c.trace_id.desc()).limit(limit)
    if username is not None:
        chosen = chosen.where(c.username == username)
    if nas is not None:
        chosen = chosen.where(c.nas == nas)
    found = [
        TraceLine(**row._asdict() | {"steps": [(at, text) for at, text in json.loads(row.steps)]})
        for row in connection.execute(chosen)
    ]
    return sorted(found, key=lambda line: (line.received_at, line.trace_id))


def watch(connection: Connection, username: str | None, nas: str | None, until: Instant) -> int:
    """Have running servers write down whatever fits, until then; the watch's id. They see it within half a second."""
    row = insert(trace_watch).values(username=username, nas=nas, until=until).returning(trace_watch.c.watch_id)
    return int(connection.execute(row).scalar_one())


def unwatch(connection: Connection, watch_id: int) -> None:
    """End a watch before its time."""
    connection.execute(delete(trace_watch).where(trace_watch.c.watch_id == watch_id))
