"""What the spool holds is brought to the database, oldest first and behind everything that is live.

A report that is replayed is the report that came: it is read with its own receive time. Replaying one twice adds
nothing, so no position is kept on disk: a segment is let go of when all of it is in the database or set aside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import structlog
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure

from aaa.accounting import Beside, Restart, report_of
from aaa.directory import NasDirectory
from aaa.realms import NO_REALMS, Realms
from aaa.segments import Record
from aaa.spool import Segment, Spool, SpoolStatus
from aaa.wire import Code, Malformed, parse
from charging.batching import QueueFull
from charging.plan import Instant
from charging.restarts import NasRestart
from charging.session import Report
from charging.usage import Orphan
from charging.writer import AccountLocked, DatabaseSlow, DatabaseUnavailable, DiskFailed, NotTried, Writer

TURN_SECONDS: Final = 1.0
#: Records in the writer at once. They wait behind everything live, and a batch that holds so many is soon done.
MOST_AT_ONCE: Final = 64
#: While more live items wait than one batch takes, nothing is replayed.
SHORT_QUEUE: Final = 256
PAUSE_SECONDS: Final = 0.02
#: A record that failed for itself so often is set aside. One that failed alone when the database, asked before and
#: after, was there, gets more chances: it may have been the database all the same.
MOST_TRIES: Final = 3
MOST_TRIES_UNAVAILABLE: Final = 10
#: One that was alone and found the database too slow says little about itself; the others go first meanwhile.
MOST_TRIES_SLOW: Final = 1_000
PROGRESS_MS: Final = 10_000

_CODES: Final = frozenset({Code.ACCOUNTING_REQUEST})


class ReplayStatus(NamedTuple):
    """How far the replay is, since the process began."""

    running: bool
    replayed: int
    orphans: int
    """Of the replayed ones."""
    set_aside: int


class Replay:
    """Takes turns, one each second and one at once when the database is back; a turn ends when the spool is empty or
    the database away."""

    def __init__(
        self,
        spool: Spool,
        writer: Writer,
        nases: NasDirectory,
        token_keys: Sequence[bytes],
        clock: IReactorTime,
        now: Callable[[], Instant],
        realms: Realms = NO_REALMS,
    ) -> None:
        self._realms = realms
        self._spool = spool
        self._writer = writer
        self._nases = nases
        self._token_keys = token_keys
        self._clock = clock
        self._now = now
        self._log = structlog.get_logger("aaa.replay")
        self._turns = LoopingCall(lambda: Deferred.fromCoroutine(self._turn()))
        self._turns.clock = clock
        self._stopping = False
        self._busy: Deferred[None] | None = None
        self._segment: _Open | None = None
        self._begun_at: Instant | None = None
        self._said_at: Instant = 0
        self._at_once = MOST_AT_ONCE
        self._replayed = self._orphans = self._set_aside = 0

    @property
    def status(self) -> ReplayStatus:
        """Counts since the start."""
        return ReplayStatus(self._begun_at is not None, self._replayed, self._orphans, self._set_aside)

    @property
    def spooled(self) -> SpoolStatus:
        """What waits."""
        return self._spool.status

    def start(self) -> None:
        """Begin, with what an earlier process left."""
        self._turns.start(TURN_SECONDS)

    async def stop(self) -> None:
        """No further turns; returns when the one under way has ended."""
        self._stopping = True
        if self._turns.running:
            self._turns.stop()
        if self._busy is not None:
            await self._busy

    async def _turn(self) -> None:
        done: Deferred[None] = Deferred()
        self._busy = done
        try:
            await self._work_off()
        except Exception:  # noqa: BLE001  whatever it is, the segment is still there for the next turn
            self._log.exception("replay-failed")
        finally:
            self._busy = None
            done.callback(None)

    async def _work_off(self) -> None:
        while not self._stopping and self._writer.why_unavailable is None:
            if self._segment is None:
                if self._spool.status.records == 0 and self._spool.status.segments == 0:
                    self._end()
                    return
                segment = await self._spool.oldest()
                if segment is None:
                    self._end()
                    return
                self._begin(segment)
                self._segment = _Open(segment)
            if not await self._replay(self._segment):
                return
            await self._spool.finish(self._segment.segment, self._segment.aside)
            self._segment = None

    async def _replay(self, open_: _Open) -> bool:
        """True: everything of it is in the database or set aside. False: what is left is for another turn."""
        later: list[Record] = []
        while open_.left:
            if self._stopping or self._writer.why_unavailable is not None:
                break
            if self._writer.queued > SHORT_QUEUE:
                await deferLater(self._clock, PAUSE_SECONDS)
                continue
            some, open_.left = open_.left[: self._at_once], open_.left[self._at_once :]
            failed = await self._bring(open_, some)
            if failed.unavailable or failed.slow:
                # Perhaps one of them is the reason: they go one by one until one succeeds.
                self._at_once = 1
                open_.left = failed.unavailable + failed.again + open_.left + failed.slow
                break
            self._at_once = min(MOST_AT_ONCE, self._at_once * 2)
            later += failed.again
            self._progress()
        open_.left = open_.left + later
        return not open_.left

    async def _bring(self, open_: _Open, records: Sequence[Record]) -> _Failed:
        """Some records to the writer, all at once; which of them must come again."""
        waiting: list[tuple[Record, Deferred[Any]]] = []
        for record in records:
            item = self._item(open_, record)
            if item is not None:
                waiting.append((record, self._writer.submit(item, replayed=True)))
        failed = _Failed([], [], [])
        results = await DeferredList([deferred for _, deferred in waiting], consumeErrors=True)
        for (record, _), (_, result) in zip(waiting, results, strict=True):
            error = result.value if isinstance(result, Failure) else None
            if error is None:
                self._replayed += 1
                self._orphans += isinstance(result, Orphan)
            elif isinstance(error, QueueFull | AccountLocked):
                failed.again.append(record)
            elif isinstance(error, NotTried):
                failed.unavailable.append(record)
            elif isinstance(error, DatabaseSlow):
                if len(waiting) > 1:
                    failed.unavailable.append(record)
                elif not self._give_up(open_, record, error, MOST_TRIES_SLOW):
                    failed.slow.append(record)
            elif isinstance(error, DatabaseUnavailable | DiskFailed):
                alone = len(waiting) == 1
                if not alone or not self._give_up(open_, record, error, MOST_TRIES_UNAVAILABLE):
                    failed.unavailable.append(record)
            elif not self._give_up(open_, record, error, MOST_TRIES):
                failed.again.append(record)
        return failed

    def _item(self, open_: _Open, record: Record) -> Report | NasRestart | None:
        """What the record's packet says; None where it can say nothing and was set aside."""
        nas = self._nases.at(record.address)
        if nas is None:
            self._put_aside(open_, record, "unknown-nas", f"no NAS has {record.address} any more")
            return None
        try:
            packet = parse(record.packet, _CODES)
            report = report_of(packet, nas, record.address, record.received_at, self._token_keys, self._realms)
        except Malformed as problem:
            self._put_aside(open_, record, problem.reason, problem.detail)
            return None
        if isinstance(report, Beside):
            return None
        return NasRestart(*report) if isinstance(report, Restart) else report

    def _give_up(self, open_: _Open, record: Record, error: BaseException | None, most_tries: int) -> bool:
        tries = open_.tries[record.sequence] = open_.tries.get(record.sequence, 0) + 1
        if tries < most_tries:
            return False
        self._put_aside(open_, record, "failed", repr(error))
        return True

    def _put_aside(self, open_: _Open, record: Record, reason: str, detail: str) -> None:
        self._set_aside += 1
        open_.aside.append(record)
        self._log.error(
            "spool-record-set-aside", reason=reason, detail=detail, source=record.address, sequence=record.sequence,
            file=str(open_.segment.path.with_suffix(".aside")),
        )  # fmt: skip

    # --- what is said of it --------------------------------------------------------------------------------------

    def _begin(self, segment: Segment) -> None:
        if self._begun_at is None:
            self._begun_at = self._said_at = self._now()
            status = self._spool.status
            self._log.info("replay-begun", records=status.records, octets=status.octets, oldest_at=status.oldest_at)
        for damage in segment.contents.damage:
            if damage.tail:
                # The last write before a crash; what it held was not answered.
                self._log.info("spool-torn-tail", file=str(segment.path), offset=damage.offset, octets=damage.octets)
            else:
                self._log.error(
                    "spool-damaged", file=str(segment.path.with_suffix(".damaged")), offset=damage.offset,
                    octets=damage.octets, advice="reports in there were answered and are lost; check the disk",
                )  # fmt: skip

    def _progress(self) -> None:
        if self._now() - self._said_at >= PROGRESS_MS:
            self._said_at = self._now()
            self._log.info("replay-goes-on", replayed=self._replayed, left=self._spool.status.records)

    def _end(self) -> None:
        if self._begun_at is not None:
            self._log.info(
                "replay-ended", replayed=self._replayed, orphans=self._orphans, set_aside=self._set_aside,
                milliseconds=self._now() - self._begun_at,
            )  # fmt: skip
            self._begun_at = None


class _Open:
    """A segment at work."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.left = list(segment.contents.records)
        self.aside: list[Record] = []
        self.tries: dict[int, int] = {}


class _Failed(NamedTuple):
    unavailable: list[Record]
    again: list[Record]
    slow: list[Record]
