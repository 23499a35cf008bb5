"""The one way into the books: a bounded queue, one batch under way, results after the commit."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

import psycopg
import psycopg.errors
import sqlalchemy.exc
from sqlalchemy import Engine
from twisted.internet.defer import Deferred

from charging.batching import Batches, Run
from charging.plan import Instant
from charging.settle import Conflict, Item, Outcome, Plans, settle
from charging.shelf import Shelf

#: Waiting items beyond this are refused: the NAS's own retransmission is the better queue.
MOST_QUEUED: Final = 8192
#: Beyond some hundreds a commit is shared by enough; larger batches only answer later.
MOST_IN_BATCH: Final = 256
#: How often a batch, and then each of its items alone, is run again because another node was faster.
MOST_TRIES_TOGETHER: Final = 3
MOST_TRIES_ALONE: Final = 20

_CONFLICTS: Final = (Conflict, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
_UNAVAILABLE: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    sqlite3.OperationalError,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
)


class DatabaseUnavailable(Exception):
    """The database did not take the batch; whether it kept it is not known. Nothing may be answered."""


class DiskFailed(Exception):
    """SQLite's file could not be read, written or synced: what it still says can not be trusted. Stop."""


class Writer:
    """Takes items, settles them in batches in another thread, and brings each its outcome after the commit."""

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
        self._now = now
        self._chance = chance or random.SystemRandom()
        self._plans = Plans()
        self._shelf = Shelf()
        self.on_commands = on_commands
        """Called in the reactor when a batch wrote commands for NASes."""
        self.on_disk_failed = on_disk_failed
        self._commands = False
        self._batches: Batches[Item, Outcome] = Batches(
            self._settle_all, run, most_queued=most_queued, most_in_batch=most_in_batch
        )

    @property
    def queued(self) -> int:
        """How many items wait."""
        return self._batches.queued

    async def submit(self, item: Item) -> Outcome:
        """The outcome of an item, after it is durable.

        Raises QueueFull when too many wait, DatabaseUnavailable when the database did not take it, DiskFailed when
        SQLite's disk is broken, and whatever a bug raised for this item alone.
        """
        try:
            outcome = await self._batches.submit(item)
        except DiskFailed:
            self.on_disk_failed()
            raise
        if self._commands:
            self._commands = False
            self.on_commands()
        return outcome

    def idle(self) -> Deferred[None]:
        """Fires when everything that was submitted is settled."""
        return self._batches.idle()

    # --- in the writer's thread ----------------------------------------------------------------------------------

    def _settle_all(self, items: Sequence[Item]) -> Sequence[Outcome | Exception]:
        """A batch; where it fails for a reason of its own, its items one by one, so that a bad one hurts no other."""
        try:
            return self._settle(items, MOST_TRIES_TOGETHER)
        except (DatabaseUnavailable, DiskFailed):
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it is one item's: the others must not pay for it
            if len(items) == 1 and not isinstance(error, Conflict):
                return [error]
        return [self._settle_alone(item) for item in items]

    def _settle_alone(self, item: Item) -> Outcome | Exception:
        try:
            return self._settle([item], MOST_TRIES_ALONE)[0]
        except (DatabaseUnavailable, DiskFailed):
            raise
        except Exception as error:  # noqa: BLE001  handed to the one who submitted it
            return error

    def _settle(self, items: Sequence[Item], most_tries: int) -> Sequence[Outcome]:
        lost = False
        tries = 0
        while True:
            tries += 1
            now = self._now()
            with self._engine.connect() as connection:
                try:
                    settled = settle(connection, items, now, self._plans, self._chance, self._shelf)
                    connection.commit()
                except _CONFLICTS as error:
                    connection.rollback()
                    self._shelf.distrust(now)
                    if tries >= most_tries:
                        raise Conflict from error
                    continue
                except _UNAVAILABLE as error:
                    connection.invalidate()
                    if _disk_failed(error):
                        raise DiskFailed(str(error)) from error
                    # A connection from the pool may have died long ago; a fresh one that fails is news. Running the
                    # batch again is safe even when its commit went through: every item is idempotent.
                    if lost:
                        raise DatabaseUnavailable(str(error)) from error
                    lost = True
                    continue
            self._shelf.keep(settled.books, now)
            self._commands = self._commands or settled.commands
            return settled.outcomes


def _disk_failed(error: Exception) -> bool:
    cause = error.__cause__ if isinstance(error, sqlalchemy.exc.SQLAlchemyError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
