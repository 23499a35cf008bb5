"""The one way into the books: a bounded queue, one batch under way, results after the commit."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import psycopg
import psycopg.errors
import sqlalchemy.exc
from sqlalchemy import Engine
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from charging.admission import Login
from charging.batching import MILLISECOND, Batches, QueueFull, Run
from charging.bulk import Conflict
from charging.durability import NotDurable, committed, watch
from charging.lane import Kept, elsewhere
from charging.plan import Instant
from charging.restarts import NasRestart, record_restarts
from charging.session import Report
from charging.settle import Done, Item, Outcome, Plans, Settled, settle
from charging.shelf import Shelf
from charging.waiting import Rank

#: Waiting items beyond this are refused: the NAS's own retransmission is the better queue.
MOST_QUEUED: Final = 8192
#: Beyond some hundreds a commit is shared by enough; larger batches only answer later.
MOST_IN_BATCH: Final = 256
#: How often a batch, and then each of its items alone, is run again because another node was faster.
MOST_TRIES_TOGETHER: Final = 3
MOST_TRIES_ALONE: Final = 20
#: An item without an outcome for this long gets none; it may still be settled, which does no harm. A batch that takes so
#: long says that the database is away.
ANSWER_DEADLINE_MS: Final = 2_000
#: An account whose row somebody else held for too long is not asked for again for so long; its neighbours would wait too.
LOCKED_FOR_MS: Final = 5_000
#: So many of them in one batch: it is not a row that is locked but a table.
MOST_LOCKED: Final = 3
#: How often it is looked whether something is late, and whether a database that was away is back.
LOOK_MS: Final = 100
PROBE_MS: Final = 1_000

_CONFLICTS: Final = (Conflict, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
_UNAVAILABLE: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    # We stood still in the middle of a transaction, and it was ended so that nobody had to wait for us.
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    # After a failover the old connection leads to what is now a standby.
    psycopg.errors.ReadOnlySqlTransaction,
    sqlite3.OperationalError,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
)


#: A broken SQLite file shows itself by its code, whatever the class of the error.
_DATABASE_ERRORS: Final = (*_UNAVAILABLE, sqlite3.DatabaseError, sqlalchemy.exc.DatabaseError)


class DatabaseUnavailable(Exception):
    """The database did not take the batch; whether it kept it is not known. Nothing may be answered."""


class NotTried(DatabaseUnavailable):
    """The database was found to be away while this item waited, or before: it was not asked for it."""


class DatabaseSlow(DatabaseUnavailable):
    """A batch took longer than anybody waits; it may be settled yet."""


class AccountLocked(DatabaseUnavailable):
    """Somebody else holds this account's row and does not let go. The database is there for all others."""


class DiskFailed(Exception):
    """SQLite's file could not be read, written or synced: what it still says can not be trusted. Stop."""


#: Where a report waits. One of an unknown kind is only kept, so it may be dropped like an Interim.
_RANKS: Final = {"start": Rank.BEGINNING, "interim": Rank.INTERIM, "stop": Rank.STOP, "other": Rank.INTERIM}
_OURSELVES: Final = (Rank.CONVERSATION, None)
_REPLAYED: Final = (Rank.REPLAYED, None)
_LOCKED: Final = "somebody else holds the account's row"


def place_of(item: Item | NasRestart) -> tuple[Rank, int | None]:
    """Where an item waits, and the NAS whom its place is counted for; None: ourselves."""
    if isinstance(item, Report):
        return _RANKS[item.kind], item.nas_id
    if isinstance(item, Login):
        return Rank.BEGINNING, item.nas_id
    if isinstance(item, NasRestart):
        return Rank.STOP, item.nas_id
    return _OURSELVES


def whose(item: Item | NasRestart) -> int | str | None:
    """The account of an item, or the user name that leads to it; None: nobody's."""
    if isinstance(item, NasRestart):
        return None
    if isinstance(item, Report):
        return item.username if item.token is None else item.token[0]
    return item.account_id


class Writer:
    """Takes items, settles them in batches where `run` says, and brings each its outcome after the commit.

    Once `watch` was called it also knows whether the database is there: when a batch fails for want of it, or takes all
    of the time that an answer may take, everything fails at once, without waiting, until a probe finds it back. Items
    that are late because too many came are another matter: they alone fail, and the others go on.
    """

    def __init__(
        self,
        engine: Engine,
        run: Run,
        now: Callable[[], Instant],
        *,
        chance: random.Random | None = None,
        on_commands: Callable[[], None] = lambda: None,
        on_disk_failed: Callable[[], None] = lambda: None,
        most_queued: int = MOST_QUEUED,
        most_in_batch: int = MOST_IN_BATCH,
    ) -> None:
        self._engine = engine
        self._kept = Kept(engine, plan_once=True)
        self._now = now
        self._chance = chance or random.SystemRandom()
        self._plans = Plans()
        self._shelf = Shelf()
        self.on_commands = on_commands
        """Called in the reactor when a batch wrote commands for NASes."""
        self.on_disk_failed = on_disk_failed
        self.on_unavailable: Callable[[str], None] = lambda _why: None
        """Called in the reactor when the database is found to be away, and why."""
        self.on_available: Callable[[], None] = lambda: None
        """Called in the reactor when it is back."""
        self._commands = False
        self._run = run
        self._batches: Batches[Item | NasRestart, Outcome] = Batches(
            self._settle_all, self._run_batch, most_queued=most_queued, most_in_batch=most_in_batch, place_of=place_of,
            on_failure=self._batch_failed,
        )  # fmt: skip
        self._watching: LoopingCall | None = None
        self._why_unavailable: str | None = None
        self._locked: dict[int | str | None, Instant] = {}
        """Accounts that are left alone for now → until when. Of the writer's thread."""
        self._looks_to_probe = 0
        self._probing = False
        watch(engine)

    @property
    def queued(self) -> int:
        """How many items wait."""
        return self._batches.queued

    @property
    def refused(self) -> dict[Rank, int]:
        """How many items found no place since the beginning, by rank."""
        return self._batches.refused

    @property
    def work(self) -> tuple[int, int]:
        """How many batches began since the beginning, and how many items were in them."""
        return self._batches.batches, self._batches.items

    @property
    def why_unavailable(self) -> str | None:
        """Why the database is known to be away; None: as far as we know it is there."""
        return self._why_unavailable

    def submit(self, item: Item | NasRestart, *, replayed: bool = False) -> Deferred[Outcome]:
        """The outcome of an item, after it is durable. One that is replayed waits behind all others, however long.

        Fails with QueueFull when too many wait or it has waited for too long, DatabaseUnavailable when the database did not
        take it in time, DiskFailed when SQLite's disk is broken, and whatever a bug raised for this item alone.
        """
        if self._why_unavailable is not None:
            return fail(NotTried(self._why_unavailable))
        return self._batches.submit(item, _REPLAYED if replayed else None, patient=replayed)

    def idle(self) -> Deferred[None]:
        """Fires when everything that was submitted is settled."""
        return self._batches.idle()

    # --- is the database there? ----------------------------------------------------------------------------------

    def watch(
        self, clock: IReactorTime, *, deadline_ms: int = ANSWER_DEADLINE_MS, before: Batches[Any, Any] | None = None
    ) -> None:
        """Begin to look: for what is late, and for a database that comes back. `before`: the queue that most items were in before they
        come here; a few of them do not go ahead of as many who are still there."""
        deadline_looks = -(-deadline_ms // LOOK_MS)
        self._watching = LoopingCall(self._look, deadline_looks, f"no answer within {deadline_ms} ms")
        self._watching.clock = clock
        self._batches.gather(clock, before)
        self._watching.start(LOOK_MS * MILLISECOND, now=False)

    def unwatch(self) -> None:
        """Look no more, and give the connection back. When idle."""
        if self._watching is not None and self._watching.running:
            self._watching.stop()
        self._watching = None
        self._kept.close()

    def unavailable(self, why: str) -> None:
        """Somebody found the database away: from now on nothing waits for it until a probe finds it back."""
        if self._watching is None or self._why_unavailable is not None:
            return
        self._why_unavailable = why
        self._looks_to_probe = PROBE_MS // LOOK_MS
        self.on_unavailable(why)
        self._batches.give_up(lambda: NotTried(why))

    def _run_batch(self, work: Callable[[], Sequence[object]]) -> Deferred[Sequence[object]]:
        return self._run(work).addCallback(self._announced)

    def _announced(self, outcomes: Sequence[object]) -> Sequence[object]:
        if self._commands:
            self._commands = False
            self.on_commands()
        return outcomes

    def _batch_failed(self, error: BaseException) -> None:
        if isinstance(error, DatabaseUnavailable):
            self.unavailable(str(error))
        elif isinstance(error, DiskFailed):
            self.on_disk_failed()

    def _look(self, deadline_looks: int, late: str) -> None:
        if self._batches.look(deadline_looks, lambda stuck: DatabaseSlow(late) if stuck else QueueFull(late)):
            self.unavailable(late)
        if self._why_unavailable is None or self._probing:
            return
        self._looks_to_probe -= 1
        if self._looks_to_probe <= 0:
            self._looks_to_probe = PROBE_MS // LOOK_MS
            self._probing = True
            self._run(lambda: elsewhere(self._probe)).addCallbacks(self._probed, self._probe_failed)

    def _probed(self, _: object) -> None:
        self._probing = False
        self._why_unavailable = None
        self.on_available()

    def _probe_failed(self, failure: Failure) -> None:
        self._probing = False
        if isinstance(failure.value, DiskFailed):
            self.on_disk_failed()

    # --- in the writer's thread ----------------------------------------------------------------------------------

    def _settle_all(self, items: Sequence[Item | NasRestart]) -> Sequence[Outcome | Exception]:
        """A batch; where it fails for a reason of its own, its items one by one, so that a bad one hurts no other."""
        if self._locked:
            return self._settle_apart(items)
        try:
            return self._settle(items, MOST_TRIES_TOGETHER)
        except psycopg.errors.LockNotAvailable:
            return self._settle_by_account(items)
        except (DatabaseUnavailable, DiskFailed):
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it is one item's: the others must not pay for it
            if len(items) == 1 and not isinstance(error, Conflict):
                return [error]
        return [self._settle_alone(item) for item in items]

    def _settle_alone(self, item: Item | NasRestart) -> Outcome | Exception:
        try:
            return self._settle([item], MOST_TRIES_ALONE)[0]
        except psycopg.errors.LockNotAvailable:
            return AccountLocked(_LOCKED)
        except (DatabaseUnavailable, DiskFailed):
            raise
        except Exception as error:  # noqa: BLE001  handed to the one who submitted it
            return error

    def _settle_apart(self, items: Sequence[Item | NasRestart]) -> Sequence[Outcome | Exception]:
        """Items of accounts that were locked do not go together with others."""
        now = self._now()
        suspects = {whose(item) for item in items} & self._locked.keys()
        waiting = {who for who in suspects if self._locked[who] > now}
        self._locked = {who: until for who, until in self._locked.items() if until > now}
        outcomes: dict[int, Outcome | Exception] = {
            i: AccountLocked(_LOCKED) for i, item in enumerate(items) if whose(item) in waiting
        }
        others = [(i, item) for i, item in enumerate(items) if whose(item) not in suspects]
        again = [(i, item) for i, item in enumerate(items) if whose(item) in suspects - waiting]
        locked, self._locked = self._locked, {}
        if others:
            settled = self._settle_all([item for _, item in others])
            outcomes.update(zip((i for i, _ in others), settled, strict=True))
        if again:
            settled = self._settle_by_account([item for _, item in again])
            outcomes.update(zip((i for i, _ in again), settled, strict=True))
        self._locked.update(locked)
        return [outcomes[i] for i in range(len(items))]

    def _settle_by_account(self, items: Sequence[Item | NasRestart]) -> Sequence[Outcome | Exception]:
        """Somebody holds a row: whose it is shows when each account goes alone."""
        groups: dict[int | str | None, list[int]] = {}
        for i, item in enumerate(items):
            groups.setdefault(whose(item), []).append(i)
        outcomes: dict[int, Outcome | Exception] = {}
        found = 0
        for who, group in groups.items():
            mine = [items[i] for i in group]
            try:
                settled: Sequence[Outcome | Exception] = self._settle(mine, MOST_TRIES_ALONE)
            except psycopg.errors.LockNotAvailable as error:
                found += 1
                if found >= MOST_LOCKED:
                    raise DatabaseUnavailable(f"{found} accounts or more are locked: {error}") from error
                self._locked[who] = self._now() + LOCKED_FOR_MS
                settled = [AccountLocked(_LOCKED)] * len(group)
            except (DatabaseUnavailable, DiskFailed):
                raise
            except Exception:  # noqa: BLE001  one of them is bad
                settled = [self._settle_alone(item) for item in mine]
            outcomes.update(zip(group, settled, strict=True))
        return [outcomes[i] for i in range(len(items))]

    def _settle(self, items: Sequence[Item | NasRestart], most_tries: int) -> Sequence[Outcome]:
        lost = False
        tries = 0
        restarts = [item for item in items if isinstance(item, NasRestart)]
        settling = cast("Sequence[Item]", items)
        if restarts:
            settling = [item for item in items if not isinstance(item, NasRestart)]
        while True:
            tries += 1
            now = self._now()
            try:
                settled = self._settle_once(settling, restarts, now)
            except NotDurable as error:
                raise DatabaseUnavailable(str(error)) from error
            except _CONFLICTS as error:
                self._shelf.distrust(now)
                if tries >= most_tries:
                    raise Conflict from error
                continue
            except psycopg.errors.LockNotAvailable:
                raise
            except _DATABASE_ERRORS as error:
                if _disk_failed(error):
                    raise DiskFailed(str(error)) from error
                if not _unavailable(error):
                    raise
                # A connection from the pool may have died long ago; a fresh one that fails is news. Running the
                # batch again is safe even when its commit went through: every item is idempotent.
                if lost:
                    raise DatabaseUnavailable(str(error)) from error
                lost = True
                continue
            self._shelf.keep(settled.books, now)
            self._commands = self._commands or settled.commands
            if not restarts:
                return settled.outcomes
            outcomes = iter(settled.outcomes)
            return [Done(0) if isinstance(item, NasRestart) else next(outcomes) for item in items]

    def _settle_once(self, items: Sequence[Item], restarts: Sequence[NasRestart], now: Instant) -> Settled:
        with self._kept.connection() as connection:
            try:
                with committed(connection):
                    if restarts:
                        record_restarts(connection, restarts)
                    return settle(connection, items, now, self._plans, self._chance, self._shelf, commit=True)
            except psycopg.errors.LockNotAvailable:
                raise
            except _DATABASE_ERRORS as error:
                if _unavailable(error):
                    connection.invalidate()
                raise

    def _probe(self) -> Sequence[object]:
        """A commit that must reach the disk, and the standby where there is one, and changes nothing."""
        postgresql = self._engine.dialect.name == "postgresql"
        try:
            with self._engine.connect() as connection, committed(connection):
                connection.exec_driver_sql(
                    "SELECT pg_logical_emit_message(true, 'aaa', 'probe')" if postgresql else "SELECT 1"
                )
        except Exception as error:
            # The pool may be full of connections to what is gone.
            self._engine.dispose()
            if _disk_failed(error):
                raise DiskFailed(str(error)) from error
            raise
        return ()


def _unavailable(error: Exception) -> bool:
    return isinstance(error, _UNAVAILABLE) or isinstance(getattr(error, "orig", None), _UNAVAILABLE)


def _disk_failed(error: Exception) -> bool:
    cause = error.__cause__ if isinstance(error, sqlalchemy.exc.SQLAlchemyError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
