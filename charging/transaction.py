"""One transaction of an operator's command: rows written and items settled together, or nothing at all.

The server has its own way in, the writer, which gathers many callers; a command comes alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import psycopg.errors
import sqlalchemy.exc
from sqlalchemy import Connection, Engine

from charging.bulk import Conflict
from charging.plan import Instant
from charging.settle import Item, Plans, Settled, settle
from charging.shelf import Shelf

T = TypeVar("T")

#: A conflict means that another transaction has just finished, so trying again at once is right; but not for ever.
MOST_TRIES: Final = 50

_DRIVER_CONFLICTS: Final = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)


def run(engine: Engine, work: Callable[[Connection], T]) -> T:
    """What `work` returns, after its transaction is committed. Where another writer was faster with one of the
    accounts, the whole of `work` is run again: it must not keep anything from the time before.

    Raises Conflict after MOST_TRIES, and whatever `work` or the database raise; nothing is then written.
    """
    for _ in range(MOST_TRIES - 1):
        try:
            return _once(engine, work)
        except Conflict:
            continue
        except _DRIVER_CONFLICTS:
            continue
        except sqlalchemy.exc.OperationalError as error:
            if not isinstance(error.orig, _DRIVER_CONFLICTS):
                raise
    return _once(engine, work)


def settle_in(connection: Connection, items: Sequence[Item], now: Instant) -> Settled:
    """Settle items within `work`'s transaction, after the rows that they need are written.

    A command waits for its turn with an account: where many write to it, who only tried would be too late again and again.
    """
    shelf = Shelf()
    shelf.distrust(now)
    return settle(connection, items, now, Plans(), random.SystemRandom(), shelf)


def _once(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)
