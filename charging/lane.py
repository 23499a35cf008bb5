"""Blocking database work in the reactor's own thread, without blocking it.

The work is plain code, as it would run in a thread. Here it runs in a greenlet: wherever it would wait for PostgreSQL's
socket, the reactor goes on, and comes back when there is something to read. So the interpreter's lock never goes to
and fro between two threads that both have work, which nearly doubled what a report cost a busy server.

SQLite has no socket to wait for: its work belongs into a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import greenlet
import psycopg
import sqlalchemy
from psycopg.waiting import Ready, Wait
from sqlalchemy import Engine, event
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from charging.database import DatabaseError

T = TypeVar("T")

#: How long a plan is good for at the most; see `Kept`.
PLANS_LAST_NS: Final = 60 * 10**9


class Kept:
    """A connection for one piece of work at a time, kept from one to the next: asking the pool for it, and giving it
    back, costs as much as a small statement."""

    def __init__(
        self, engine: Engine, *, plan_once: bool = False, clock: Callable[[], int] = time.monotonic_ns, **options: Any
    ) -> None:
        """`plan_once`: for work whose statements are few and go by keys. PostgreSQL does not plan them anew for every set of
        values, which it does for as long as it takes that for cheaper: a sixth of what it does for a small batch. A plan is
        made for tables as large as they are at that moment, and one for an empty table reads all of it; so all are made
        again when there has been as much work as before them, which is what may double a table, and after PLANS_LAST_NS
        that begins anew. `clock`: nanoseconds. `options`: SQLAlchemy's execution options."""
        self._engine = engine
        self._plan_once = plan_once and engine.dialect.name == "postgresql"
        self._clock = clock
        self._began = 0
        self._uses = self._uses_planned = 0
        """Since then: how often it was used, and after how many its plans were made."""
        self._options = options
        self._connection: sqlalchemy.Connection | None = None
        event.listen(engine, "engine_disposed", self._disposed)

    @contextmanager
    def connection(self) -> Iterator[sqlalchemy.Connection]:
        """The connection; after any error what was begun is undone, and a connection in a bad state is used no more."""
        connection, self._connection = self._connection, None
        if connection is None:
            connection = elsewhere(self._connect)
        try:
            if self._plan_once:
                self._renew_plans(connection)
            yield connection
        except BaseException:
            if _undone(connection):
                self._connection = connection
            else:
                _end(connection)
            raise
        self._connection = connection

    def close(self) -> None:
        """Use it no more; one that is at work is not touched."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._plan_once:
            _end(connection)  # nobody else wants one with this setting
        else:
            connection.close()

    def _connect(self) -> sqlalchemy.Connection:
        connection = self._engine.connect().execution_options(**self._options)
        if self._plan_once:
            connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
            connection.commit()
        return connection

    def _renew_plans(self, connection: sqlalchemy.Connection) -> None:
        self._uses += 1
        now = self._clock()
        if now - self._began >= PLANS_LAST_NS:
            self._began, self._uses = now, 1
        elif self._uses < 2 * self._uses_planned:
            return
        connection.exec_driver_sql("DISCARD PLANS")
        connection.commit()
        self._uses_planned = self._uses

    def _disposed(self, _engine: Engine) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _end(connection)  # its pool is gone


def kept_for_reading(engine: Engine, *, plan_once: bool = False) -> Kept:
    """A kept connection for statements that only read, each by itself: without a transaction around it, where the database
    can do without."""
    if engine.dialect.name == "postgresql":
        return Kept(engine, plan_once=plan_once, isolation_level="AUTOCOMMIT")
    return Kept(engine, reading=True)


def _undone(connection: sqlalchemy.Connection) -> bool:
    """Roll back; False where the connection is in a bad state."""
    if connection.invalidated or getattr(connection.connection.driver_connection, "broken", False):
        return False
    try:
        connection.rollback()
    except DatabaseError:
        return False
    return True


def _end(connection: sqlalchemy.Connection) -> None:
    """Give a connection back that nobody may have after us."""
    if not connection.invalidated:
        connection.invalidate()  # else giving it back would fail, or hand on what is wrong with it
    connection.close()


class Connection(psycopg.Connection[Any]):
    """A connection whose waiting lets the reactor go on, where it is a lane that waits."""

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Run one of the driver's generators to its end."""
        current = greenlet.getcurrent()
        if isinstance(current, _Lane):
            return current.wait(gen, self.pgconn.socket)
        return super().wait(gen, *args, **kwargs)


def cooperate(engine: Engine) -> None:
    """From now on this engine's connections let the reactor go on when a lane waits for them. For PostgreSQL."""

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> Connection:
        return Connection.connect(*arguments, **options)

    engine.dispose()


def elsewhere(work: Callable[[], T]) -> T:
    """What `work` returns; from a lane it is called in a thread, for what blocks without a socket of ours (connecting)."""
    current = greenlet.getcurrent()
    return current.elsewhere(work) if isinstance(current, _Lane) else work()


class Lanes:
    """Runs pieces of work, each in a lane of its own. `in_thread` is for what can only block."""

    def __init__(self, reactor: Any, in_thread: Callable[[Callable[[], Any]], Deferred[Any]]) -> None:
        self._reactor = reactor
        self._in_thread = in_thread

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """Begin now; fires with what `work` returns or raises."""
        done: Deferred[T] = Deferred()
        _Lane(work, done, self._reactor, self._in_thread).go_on()
        return done


class _Lane(greenlet.greenlet):
    """One piece of work under way."""

    def __init__(
        self, work: Callable[[], Any], done: Deferred[Any], reactor: Any, in_thread: Callable[..., Deferred[Any]]
    ) -> None:
        super().__init__(self._body)
        self._work = work
        self._done = done
        self._reactor = reactor
        self._in_thread = in_thread

    # --- inside of the greenlet

    def _body(self) -> Callable[[], None]:
        try:
            result = self._work()
        except BaseException:  # noqa: BLE001  to be told to whoever asked for the work
            failure = Failure()  # type: ignore[no-untyped-call]  # Twisted
            return lambda: self._done.errback(failure)
        return lambda: self._done.callback(result)

    def wait(self, generator: Generator[Wait, Ready, T], socket: int) -> T:
        """Run a generator that says what it waits for on a socket."""
        try:
            wants = next(generator)
            while True:
                _Watch(self, self._reactor, socket, wants)
                wants = generator.send(self._leave())
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # a generator's return value

    def elsewhere(self, work: Callable[[], T]) -> T:
        """Have it done in a thread."""
        self._in_thread(work).addBoth(self.go_on)
        result = self._leave()
        if isinstance(result, Failure):
            result.raiseException()
        return result  # type: ignore[no-any-return]  # what `work` returned

    def _leave(self) -> Any:
        """Let the reactor go on; what it comes back with."""
        assert self.parent is not None
        return self.parent.switch(None)

    # --- in the reactor's

    def go_on(self, news: object = None) -> None:
        """Work until there is something to wait for, or to the end."""
        self.parent = greenlet.getcurrent()
        end = self.switch(news) if self.gr_frame else self.switch()
        if end is not None:
            end()


@implementer(IReadWriteDescriptor)
class _Watch:
    """The reactor's look at a socket, on behalf of a lane, until there is something to do."""

    __slots__ = ("_lane", "_reactor", "_socket")

    def __init__(self, lane: _Lane, reactor: Any, socket: int, wants: Wait) -> None:
        self._lane: _Lane | None = lane
        self._reactor = reactor
        self._socket = socket
        if wants & Wait.R:
            reactor.addReader(self)
        if wants & Wait.W:
            reactor.addWriter(self)

    def _wake(self, ready: Ready) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:  # one event may tell of both directions
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            lane.go_on(ready)

    def fileno(self) -> int:
        """Of the socket."""
        return self._socket

    def doRead(self) -> None:  # noqa: N802  Twisted's name
        """There is something to read."""
        self._wake(Ready.R)

    def doWrite(self) -> None:  # noqa: N802  Twisted's name
        """There is room to write."""
        self._wake(Ready.W)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802, ARG002  Twisted's name
        """The socket is in a bad state: reading from it will say so."""
        self._wake(Ready.R)

    def logPrefix(self) -> str:  # noqa: N802  Twisted's name
        """For Twisted's log."""
        return "database"
