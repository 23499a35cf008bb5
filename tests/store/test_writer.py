"""The writer on real databases: neighbours, conflicts, failures, and nothing told before it is durable."""

from __future__ import annotations

import random
import resource
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine, event, func, select, text
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from charging import database, tables
from charging.admission import Admitted, Login
from charging.batching import QueueFull
from charging.payment import Grant
from charging.session import Report
from charging.settle import Cut, Done, Outcome
from charging.usage import Orphan, Recorded
from charging.writer import DatabaseUnavailable, DiskFailed, Writer
from tests.charging.cases.invariants import broken
from tests.charging.cases.story import BEGIN, Case, Stored
from tests.store.test_settle import MB, PLAN

Work = Callable[[], Sequence[object]]


def run_now(work: Work) -> Deferred[Sequence[object]]:
    """A thread that needs no time."""
    try:
        return succeed(work())
    except Exception:  # noqa: BLE001  as a thread pool does
        failed: Deferred[Sequence[object]] = Deferred()
        failed.errback(Failure())  # type: ignore[no-untyped-call]
        return failed


class Later:
    """A thread that works when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Work, Deferred[Sequence[object]]]] = []

    def __call__(self, work: Work) -> Deferred[Sequence[object]]:
        done: Deferred[Sequence[object]] = Deferred()
        self.waiting.append((work, done))
        return done

    def go(self) -> None:
        work, done = self.waiting.pop(0)
        run_now(work).addBoth(done.callback)


class Office:
    """An account with a hundred logins on a database, and a writer for it."""

    def __init__(self, engine: Engine, run: Any = run_now, **options: Any) -> None:
        self.engine = engine
        self.stage = Stored(engine)
        self.account_id = self.stage.open(Case("office", PLAN), {"home": ["alice"]})["home"]
        self.writer = Writer(engine, run, lambda: BEGIN, chance=random.Random(1), **options)

    def login(self, device: str) -> Login:
        subscriber_id, username = self.stage.subscriber("alice")
        return Login(self.account_id, subscriber_id, username, self.stage.version, 99, None, 1, "10.0.0.1", device)

    def report(self, session: Admitted, second: int, down: int) -> Report:
        return Report(
            "interim", 1, "10.0.0.1", "?", b"%d" % session.session_id, (session.account_id, session.session_id),
            0, down, second, False, BEGIN + second * 1000, True, BEGIN, b"packet",
        )  # fmt: skip

    def submit(self, item: Any) -> Deferred[Outcome]:
        return self.writer.submit(item)

    def open(self, count: int = 1) -> list[Admitted]:
        grant = Grant(self.account_id, self.stage.version, "first", "test")
        outcome(self.submit(grant))
        admitted = [outcome(self.submit(self.login(f"d{i}"))) for i in range(count)]
        assert all(isinstance(a, Admitted) for a in admitted)
        return admitted

    def lines(self) -> int:
        """What another connection sees."""
        with database.reading(self.engine) as connection:
            found: int = connection.execute(select(func.count()).select_from(tables.usage_line)).scalar_one()
        return found


def outcome(done: Deferred[Any]) -> Any:
    """What a Deferred has fired with; an exception where it failed."""
    found: list[Any] = []
    done.addBoth(found.append)
    assert found, "it has not fired"
    return found[0].value if isinstance(found[0], Failure) else found[0]


def test_an_outcome_comes_after_the_commit(engine: Engine) -> None:
    office = Office(engine)
    (session,) = office.open()
    seen: list[int] = []
    office.submit(office.report(session, 60, MB)).addCallback(lambda _: seen.append(office.lines()))
    assert seen == [1]


def test_while_one_batch_is_under_way_the_next_one_gathers(engine: Engine) -> None:
    office = Office(engine)
    sessions = office.open(3)
    later = Later()
    writer = Writer(engine, later, lambda: BEGIN, chance=random.Random(2))
    office.writer = writer
    done = [office.submit(office.report(s, 60, MB)) for s in sessions]
    assert (len(later.waiting), writer.queued) == (1, 2)
    idle: list[None] = []
    writer.idle().addCallback(idle.append)
    later.go()
    assert done[0].called
    assert not done[1].called
    assert writer.queued == 0  # the second batch took both
    later.go()
    assert all(isinstance(outcome(d), Recorded) for d in done)
    assert idle == [None]
    assert office.lines() == 3


def test_a_full_queue_says_so_at_once_and_takes_nothing(engine: Engine) -> None:
    later = Later()
    office = Office(engine, later, most_queued=2)
    waiting = [office.submit(Cut(office.account_id, None, i, "x")) for i in range(3)]
    assert isinstance(outcome(office.submit(office.login("one too many"))), QueueFull)
    later.go()  # one was under way, two waited
    later.go()
    assert [outcome(d) for d in waiting] == [Done(0)] * 3
    assert office.writer.queued == 0


def test_a_bad_item_does_not_hurt_its_neighbours(engine: Engine) -> None:
    office = Office(engine)
    sessions = office.open(2)
    later = Later()
    office.writer = Writer(engine, later, lambda: BEGIN, chance=random.Random(2))
    first = office.submit(office.report(sessions[0], 60, MB))
    no_plan = Login(office.account_id, 1, "alice", 999_999, None, None, 1, "10.0.0.1", "x")
    too_large = office.report(sessions[0], 61, 2 * MB)._replace(octets_down=2**64 - 1)
    no_text = office.report(sessions[0], 61, 2 * MB)._replace(token=None, username="nul\0")
    rest = [
        office.submit(item)
        for item in (
            no_plan, office.report(sessions[0], 62, 3 * MB), too_large, office.report(sessions[1], 60, 5 * MB), no_text,
        )
    ]  # fmt: skip
    later.go()
    later.go()
    assert isinstance(outcome(first), Recorded)
    found = [outcome(d) for d in rest]
    assert isinstance(found[0], KeyError)
    assert isinstance(found[1], Recorded)
    assert isinstance(found[3], Recorded)
    # An impossible counter is none; text that PostgreSQL can not keep is one item's failure.
    assert isinstance(found[2], Recorded)
    assert isinstance(found[4], Orphan if engine.dialect.name == "sqlite" else Exception)
    assert not isinstance(found[4], DatabaseUnavailable)
    assert broken(office.stage.rows(office.account_id)) == []


def test_an_item_that_the_database_refuses_hurts_only_itself(engine: Engine) -> None:
    """Refused inside the pipeline, after other statements were sent: the error must not look like a lost connection."""
    office = Office(engine)
    sessions = office.open(2)
    later = Later()
    office.writer = Writer(engine, later, lambda: BEGIN, chance=random.Random(2))
    office.submit(office.report(sessions[0], 60, MB))
    # A second count beyond 64 bits passes every rule and no column.
    bad = office.submit(office.report(sessions[1], 2**64, MB)._replace(event_at=BEGIN + 60_000))
    good = office.submit(office.report(sessions[0], 61, 2 * MB))
    later.go()
    later.go()
    assert isinstance(outcome(good), Recorded)
    assert isinstance(outcome(bad), Exception)
    assert not isinstance(outcome(bad), DatabaseUnavailable)
    assert office.stage.rows(office.account_id).sessions[0].octets_down == 2 * MB


def test_two_writers_take_turns(engine: Engine) -> None:
    """Two nodes, each on its own thread, all on one account: every report is booked, once."""
    office = Office(engine)
    sessions = office.open(8)
    results: list[object] = []

    def work(mine: list[Admitted], chance: random.Random) -> None:
        writer = Writer(engine, run_now, lambda: BEGIN, chance=chance)
        for second in range(1, 8):
            for session in mine:
                done = writer.submit(office.report(session, second, second * MB))
                done.addBoth(results.append)

    threads = [threading.Thread(target=work, args=(sessions[i::2], random.Random(i))) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r for r in results if not isinstance(r, Recorded)] == []
    assert len(results) == 8 * 7
    rows = office.stage.rows(office.account_id)
    assert next(b.balance for b in rows.buckets if b.name == "data") == (1_000 - 8 * 7) * MB
    assert broken(rows) == []


def test_commands_are_announced_after_their_commit(engine: Engine) -> None:
    announced: list[int] = []

    def on_commands() -> None:
        with database.reading(engine) as connection:
            announced.append(connection.execute(select(func.count()).select_from(tables.command)).scalar_one())

    office = Office(engine, on_commands=on_commands)
    (session,) = office.open()
    assert announced == []
    outcome(office.submit(Cut(office.account_id, None, session.session_id, "suspended")))
    assert announced == [1]
    outcome(office.submit(office.report(session, 60, MB)))
    assert announced == [1]


# --- databases that fail -------------------------------------------------------------------------------------------


def test_a_connection_that_died_in_the_pool_is_replaced(postgresql_url: str) -> None:
    engine = database.open_engine(postgresql_url)
    office = Office(engine)
    (session,) = office.open()
    with engine.connect() as connection:
        pooled = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as killer:
        assert killer.execute("SELECT pg_terminate_backend(%s, 5000)", [pooled]).fetchone() == (True,)
    assert isinstance(outcome(office.submit(office.report(session, 60, MB))), Recorded)
    engine.dispose()


def test_a_database_that_is_gone_fails_every_item_alike(postgresql_url: str) -> None:
    engine = database.open_engine(postgresql_url)
    office = Office(engine)
    sessions = office.open(3)
    asked: list[int] = []
    engine.dispose()
    gone = database.open_engine("postgresql://nobody@127.0.0.1:1/none?connect_timeout=2")
    event.listen(gone, "do_connect", lambda *_: asked.append(1))
    later = Later()
    office.writer = Writer(gone, later, lambda: BEGIN, chance=random.Random(2))
    done = [office.submit(office.report(s, 60, MB)) for s in sessions]
    later.go()
    later.go()
    assert [type(outcome(d)) for d in done] == [DatabaseUnavailable] * 3
    assert len(asked) == 4  # twice a batch, not once an item
    gone.dispose()


@contextmanager
def files_end_at(octets: int) -> Iterator[None]:
    """A disk on which no file grows beyond this: a write fails as on a broken one (EFBIG, which is not "full")."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fails_stops_the_writer(sqlite_url: str) -> None:
    engine = database.open_engine(sqlite_url)
    stopped: list[str] = []
    office = Office(engine, on_disk_failed=lambda: stopped.append("stop"))
    (session,) = office.open()
    path = database.file_of(engine)
    assert path is not None
    with files_end_at(Path(path + "-wal").stat().st_size):
        found = outcome(office.submit(office.report(session, 60, MB)))
    assert isinstance(found, DiskFailed)
    assert stopped == ["stop"]
    assert office.lines() == 0
    engine.dispose()


def test_a_file_that_is_no_database_any_more_stops_the_writer(sqlite_url: str) -> None:
    engine = database.open_engine(sqlite_url)
    office = Office(engine)
    (session,) = office.open()
    engine.dispose()
    path = database.file_of(engine)
    assert path is not None
    Path(path).write_bytes(b"x" * 8192)
    assert isinstance(outcome(office.submit(office.report(session, 60, MB))), DiskFailed)
    engine.dispose()
