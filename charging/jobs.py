"""What the server does by itself: pay in what the inbox holds, close sessions that fell silent or whose NAS restarted,
begin and end periods and buckets, give sessions another profile when the hour, the day or the month is another, and remove
what is not kept any more.

Every job may run on several nodes at once: what it finds it only proposes, and `settle` decides again under the
account's version. A job that fails leaves everything as it was and is run again at its next turn.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar, cast

from sqlalchemy import ColumnElement, Engine, Select, and_, bindparam, select, text, tuple_, update
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from charging import foreign, inbox, order_inbox, pruning, tables
from charging.batching import MILLISECOND, QueueFull, Run
from charging.database import reading
from charging.lane import Kept, kept_for_reading
from charging.notices import reminder
from charging.payment import Applied, NotApplied
from charging.plan import Instant
from charging.retention import KINDS, Retention
from charging.settle import CatchUp, Close, Done, Item, Outcome, Review
from charging.usage import NAS_RESTART
from charging.writer import DatabaseUnavailable, Writer

P = ParamSpec("P")
T = TypeVar("T")

INBOX_EVERY_MS: Final = 100
RESTARTS_EVERY_MS: Final = 1_000
REVIEWS_EVERY_MS: Final = 1_000
STALE_EVERY_MS: Final = 15_000
DUE_EVERY_MS: Final = 1_000
REMINDERS_EVERY_MS: Final = 15_000
RETENTION_EVERY_MS: Final = 5_000
#: How long before its end something is called to end soon.
REMIND_AHEAD_MS: Final = 3 * 86_400_000
#: After a pause of ours the NASes speak first: for as long as the shortest silence that makes a session stale.
QUIET_MS: Final = 180_000
#: What a session may miss in a shorter outage does not make it stale.
SHORT_OUTAGE_MS: Final = 30_000

#: How many items a job has in the writer's queue at once: packets go on being answered meanwhile.
MOST_AT_ONCE: Final = 200
#: How many pages of the inbox one turn reads at most; the rest waits for the next turn.
MOST_PAGES: Final = 20
#: How many small transactions one turn gives to each kind of rows that are not kept any more.
MOST_REMOVALS: Final = 5
#: A top-up that failed for no reason of its own stays pending and is left alone for this long.
SET_ASIDE_MS: Final = 30_000
MOST_SET_ASIDE: Final = 1_000


_session = tables.session.c
_bucket = tables.bucket.c
_subscription = tables.subscription.c
_restart = tables.nas_restart.c


def _page(which: ColumnElement[bool]) -> Select[Any]:
    """The next live sessions that meet a condition, in the order of their key. To be made once: the jobs ask every second,
    and to put a statement together costs more than to run it."""
    after = tuple_(bindparam("after_account"), bindparam("after_session"))
    return (
        select(_session.account_id, _session.session_id, _session.state, _session.last_report_at)
        .where(_session.closed_at.is_(None), which, tuple_(_session.account_id, _session.session_id) > after)
        .order_by(_session.account_id, _session.session_id)
        .limit(MOST_AT_ONCE)
    )


_STALE: Final = _page(_session.stale_at < bindparam("now"))
#: A session that no report has named yet can be told nothing: its first report does it.
_REVIEWS: Final = _page(and_(_session.review_at <= bindparam("now"), _session.acct_session_id.is_not(None)))
_RESTARTED: Final = _page(
    and_(
        _session.nas_id == bindparam("nas_id"),
        _session.nas_address == bindparam("nas_address"),
        _session.created_at < bindparam("event_at"),
    )
)
#: Accounts with buckets and with periods that are over, those that have waited longest first.
_DUE: Final = (
    select(_bucket.account_id, _bucket.expires_at.label("at"))
    .where(_bucket.closed_at.is_(None), _bucket.expires_at.is_not(None), _bucket.expires_at <= bindparam("now"))
    .order_by(text("at"))
    .limit(bindparam("most")),
    select(_subscription.account_id, _subscription.due_at.label("at"))
    .where(_subscription.due_at.is_not(None), _subscription.due_at <= bindparam("now"))
    .order_by(text("at"))
    .limit(bindparam("most")),
)
_RESTARTS: Final = (
    select(_restart.nas_id, _restart.nas_address, _restart.event_at)
    .where(_restart.finished_at.is_(None))
    .order_by(_restart.event_at)
    .limit(MOST_AT_ONCE)
)

#: Rows of an inbox that are left alone for now → until when.
Aside = dict[int, Instant]


class Post(NamedTuple):
    """An inbox: how its rows are read, which they are, and the key of one that became an item."""

    pending: Callable[..., tuple[Sequence[Any], Sequence[foreign.Answer], int]]
    inbox: foreign.Inbox
    key: Callable[[Any], int]


TOP_UPS: Final = Post(inbox.pending, inbox.INBOX, attrgetter("top_up_id"))
ORDERS: Final = Post(order_inbox.pending, order_inbox.INBOX, attrgetter("order_id"))


async def read_inbox(
    engine: Engine, writer: Writer, run: Run, now: Instant, aside: Aside | None = None, post: Post = TOP_UPS
) -> int:
    """Apply or answer the pending rows of an inbox; how many. `aside` keeps, from turn to turn, the ones that failed
    without a reason of their own, so that they can not stand in the way of the others."""
    aside = {} if aside is None else aside
    for number in [i for i, until in aside.items() if until <= now]:
        del aside[number]
    done = 0
    for _ in range(MOST_PAGES):
        # The thread has a copy of its own.
        items, answered, rows = await _in_thread(run, _pending, engine, frozenset(aside), post)
        outcomes = await _settled(writer, items)
        answers = list(answered)
        applied = 0
        failure: Exception | None = None
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, Applied):
                applied += 1
            elif isinstance(outcome, NotApplied):
                if outcome.reason != "already-settled":
                    answers.append(foreign.refusal(post.key(item), outcome.reason))
            elif isinstance(outcome, Exception) and not isinstance(outcome, inbox.ALREADY_APPLIED):
                # The same reference may just have been applied elsewhere: then the next read finds it. Anything else
                # is no answer for a billing system: the row stays as it is.
                failure = outcome
                if not isinstance(outcome, DatabaseUnavailable | QueueFull) and len(aside) < MOST_SET_ASIDE:
                    aside[post.key(item)] = now + SET_ASIDE_MS
        if answers:
            done += await _in_thread(run, _answer, engine, answers, post)
        done += applied
        if failure is not None:
            raise failure
        if rows < MOST_AT_ONCE or not (applied or answers):
            break
    return done


async def close_stale(engine: Engine, writer: Writer, run: Run, now: Instant) -> int:
    """Close the live sessions that have been silent for too long; how many."""
    return await _settle_all(engine, writer, run, _STALE, {"now": now}, _silence)


async def review_due(engine: Engine, writer: Writer, run: Run, now: Instant) -> int:
    """Look again at the live sessions for which the clock has come to a change; how many."""
    return await _settle_all(engine, writer, run, _REVIEWS, {"now": now}, _look_again)


async def close_restarted(engine: Engine, writer: Writer, run: Run, now: Instant) -> int:
    """Close the sessions that a NAS lost when it restarted; how many. A restart is finished when none is left."""
    closed = 0
    for restart in await _in_thread(run, _restarts, engine):
        which = {"nas_id": restart.nas_id, "nas_address": restart.nas_address, "event_at": restart.event_at}
        closed += await _settle_all(engine, writer, run, _RESTARTED, which, partial(_lost, restart.event_at))
        await _in_thread(run, _finish, engine, restart, now)
    return closed


async def catch_up(engine: Engine, writer: Writer, run: Run, now: Instant) -> int:
    """Do what is due of buckets and periods; how many accounts were looked at. An account that is far behind takes several
    turns at it, with others in between. Who fails is left for the next turn, and stands in nobody's way."""
    done = 0
    failed = set[int]()
    failure: Exception | None = None
    for _ in range(MOST_PAGES):
        page = await _in_thread(run, _due, engine, now, failed)
        for account_id, outcome in zip(page, await _settled(writer, [CatchUp(each) for each in page]), strict=True):
            if isinstance(outcome, DatabaseUnavailable | QueueFull):
                raise outcome
            if isinstance(outcome, Exception):
                failed.add(account_id)
                failure = outcome
            else:
                done += 1
        if not page or len(failed) >= MOST_SET_ASIDE:
            break
    if failure is not None:
        raise failure
    return done


def _lost(event_at: Instant, row: Any) -> Close:
    return Close(row.account_id, row.session_id, NAS_RESTART, event_at)


def _silence(row: Any) -> Close:
    reason = "never-started" if row.state == "provisional" else "stale"
    return Close(row.account_id, row.session_id, reason, row.last_report_at)


def _look_again(row: Any) -> Review:
    return Review(row.account_id, row.session_id)


async def _settle_all(
    engine: Engine,
    writer: Writer,
    run: Run,
    statement: Select[Any],
    which: Mapping[str, Any],
    item_of: Callable[[Any], Close | Review],
) -> int:
    """An item for each live session that meets a condition, some at a time; how many it concerned."""
    done = 0
    after = (-1, -1)
    while True:
        page = await _in_thread(run, _live, engine, statement, which, after)
        for outcome in await _settled(writer, [item_of(row) for row in page]):
            if isinstance(outcome, Exception):
                raise outcome
            done += outcome.sessions if isinstance(outcome, Done) else 0
        if len(page) < MOST_AT_ONCE:
            return done
        after = (page[-1].account_id, page[-1].session_id)


async def remind_all(engine: Engine, run: Run, now: Instant, ahead_ms: int) -> int:
    """Write the notices of what ends by the clock alone; how many."""
    written = 0
    for _ in range(MOST_PAGES):
        page = await _in_thread(run, _remind, engine, now, ahead_ms)
        written += page
        if page < reminder.MOST_AT_ONCE:
            break
    return written


async def remove_old(engine: Engine, run: Run, now: Instant, retention: Retention | None) -> int:
    """Remove some of what is not kept any more; how many rows."""
    removed = 0
    if retention is None:
        return removed
    for what in KINDS:
        before = retention.before(what, now)
        if before is None:
            continue
        for _ in range(MOST_REMOVALS):
            # One at a time, so that the other jobs have their turns in between.
            done, more = await _in_thread(run, pruning.turn, engine, what, before, now)
            removed += done
            if not more:
                break
    return removed


class Jobs:
    """The jobs of one node, each at its own pace; a job that is still at work is not begun again."""

    def __init__(
        self,
        engine: Engine,
        writer: Writer,
        run: Run,
        now: Callable[[], Instant],
        clock: IReactorTime,
        *,
        on_failure: Callable[[str, Exception], None],
        on_recovery: Callable[[str], None] = lambda _name: None,
        reports_wait: Callable[[], bool] = lambda: False,
    ) -> None:
        """`on_failure(job, error)` is called once for a row of failures, `on_recovery(job)` when it works again.
        `reports_wait`: are there reports that the books do not know yet? Then silence says nothing."""
        self.remind_ahead_ms = REMIND_AHEAD_MS
        self.retention: Retention | None = None
        self.on_duty: Callable[[], bool] = lambda: True
        """Is it this process's turn to do them, where one does them for several?"""
        self.run_looks = run
        """Runs the looks into the inboxes, mostly in vain; the other work runs where `run` says."""
        self._now = now
        self._quiet_until: Instant = 0
        self._failing_since: dict[str, Instant] = {}

        def failed(name: str, error: Exception) -> None:
            self._failing_since[name] = now()
            on_failure(name, error)

        def recovered(name: str) -> None:
            if now() - self._failing_since.pop(name, now()) >= SHORT_OUTAGE_MS:
                self._quiet_until = now() + QUIET_MS
            on_recovery(name)

        async def close_silent() -> int:
            if now() < self._quiet_until or reports_wait():
                return 0
            return await close_stale(engine, writer, run, now())

        def emptied(post: Post) -> Callable[[], Coroutine[Any, Any, int]]:
            # Looked into so often that it is worth a connection of its own.
            aside: Aside = {}
            kept = kept_for_reading(engine, plan_once=True)
            self._kept.append(kept)

            async def turn() -> int:
                if not await _in_thread(self.run_looks, _waits, kept, post.inbox):
                    return 0
                return await read_inbox(engine, writer, run, now(), aside, post)

            return turn

        self._kept: list[Kept] = []
        self._turns = [
            _Turn("inbox", INBOX_EVERY_MS, emptied(TOP_UPS)),
            _Turn("orders", INBOX_EVERY_MS, emptied(ORDERS)),
            _Turn("restarts", RESTARTS_EVERY_MS, lambda: close_restarted(engine, writer, run, now())),
            _Turn("reviews", REVIEWS_EVERY_MS, lambda: review_due(engine, writer, run, now())),
            _Turn("stale", STALE_EVERY_MS, close_silent, at_once=False),
            _Turn("due", DUE_EVERY_MS, lambda: catch_up(engine, writer, run, now())),
            _Turn(
                "reminders",
                REMINDERS_EVERY_MS,
                lambda: remind_all(engine, run, now(), self.remind_ahead_ms),
                at_once=False,
            ),
            _Turn(
                "retention",
                RETENTION_EVERY_MS,
                lambda: remove_old(engine, run, now(), self.retention),
                at_once=False,
            ),
        ]
        for turn in self._turns:
            turn.on_failure, turn.on_recovery = failed, recovered
            turn.is_ours = self._is_ours
            turn.loop.clock = clock

    def start(self) -> None:
        """Begin. Stale sessions wait: nobody knows how long we were not there to be told anything."""
        self._quiet_until = self._now() + QUIET_MS
        for turn in self._turns:
            turn.loop.start(turn.every_ms * MILLISECOND, now=turn.at_once)

    def _is_ours(self) -> bool:
        if self.on_duty():
            return True
        # Who takes over knows no more of the time before than one that has just begun.
        self._quiet_until = self._now() + QUIET_MS
        return False

    def stop(self) -> Deferred[Any]:
        """No further turns; fires when those under way have ended."""
        for turn in self._turns:
            if turn.loop.running:
                turn.loop.stop()
        return DeferredList([turn.ended() for turn in self._turns]).addCallback(self._stopped)

    def _stopped(self, _: object) -> None:
        for kept in self._kept:
            kept.close()


@dataclass(slots=True)
class _Turn:
    name: str
    every_ms: int
    job: Callable[[], Coroutine[Any, Any, int]]
    at_once: bool = True
    on_failure: Callable[[str, Exception], None] = lambda _name, _error: None
    on_recovery: Callable[[str], None] = lambda _name: None
    is_ours: Callable[[], bool] = lambda: True
    failing: bool = False
    busy: bool = False
    waiting: list[Deferred[None]] = field(default_factory=list)
    loop: LoopingCall = field(init=False)

    def __post_init__(self) -> None:
        # A LoopingCall waits for what its function returns before it counts to the next turn.
        self.loop = LoopingCall(lambda: Deferred.fromCoroutine(self.once()) if self.is_ours() else None)

    async def once(self) -> None:
        self.busy = True
        try:
            await self.job()
        except Exception as error:  # noqa: BLE001  whatever it is, the next turn tries again
            if not self.failing:
                self.failing = True
                self.on_failure(self.name, error)
        else:
            if self.failing:
                self.failing = False
                self.on_recovery(self.name)
        finally:
            self.busy = False
            waiting, self.waiting = self.waiting, []
            for deferred in waiting:
                deferred.callback(None)

    def ended(self) -> Deferred[None]:
        deferred: Deferred[None] = Deferred()
        if self.busy:
            self.waiting.append(deferred)
        else:
            deferred.callback(None)
        return deferred


# --- the writer ------------------------------------------------------------------------------------------------------


async def _settled(writer: Writer, items: Sequence[Item]) -> list[Outcome | Exception]:
    """Each item's outcome, an exception for one that failed. At most MOST_AT_ONCE items are given."""
    ended = await DeferredList([writer.submit(item) for item in items], consumeErrors=True)
    outcomes: list[Any] = [result for _, result in ended]
    return [cast("Exception", o.value) if isinstance(o, Failure) else o for o in outcomes]


# --- the database, in a thread ---------------------------------------------------------------------------------------


async def _in_thread(run: Run, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    (result,) = await run(lambda: [work(*args, **kwargs)])
    return cast("T", result)


def _waits(kept: Kept, into: foreign.Inbox) -> bool:
    with kept.connection() as connection:
        found = foreign.waits(connection, into)
        connection.rollback()
    return found


def _pending(engine: Engine, skipped: frozenset[int], post: Post = TOP_UPS) -> tuple[Sequence[Any], Sequence[Any], int]:
    with reading(engine) as connection:
        return post.pending(connection, MOST_AT_ONCE, without=skipped)


def _answer(engine: Engine, answers: Sequence[Any], post: Post) -> int:
    with engine.begin() as connection:
        return foreign.answer(connection, post.inbox, answers)


def _live(engine: Engine, statement: Select[Any], which: Mapping[str, Any], after: tuple[int, int]) -> Sequence[Any]:
    """The next live sessions of a `_page`."""
    with reading(engine) as connection:
        given = {**which, "after_account": after[0], "after_session": after[1]}
        return connection.execute(statement, given).all()


def _due(engine: Engine, now: Instant, without: Collection[int]) -> list[int]:
    """Accounts of which something is due, those that have waited longest first."""
    found: dict[int, Instant] = {}
    with reading(engine) as connection:
        for statement in _DUE:
            for account_id, at in connection.execute(statement, {"now": now, "most": MOST_AT_ONCE + len(without)}):
                if account_id not in without:
                    found[account_id] = min(at, found.get(account_id, at))
    return sorted(found, key=lambda account_id: (found[account_id], account_id))[:MOST_AT_ONCE]


def _restarts(engine: Engine) -> Sequence[Any]:
    with reading(engine) as connection:
        return connection.execute(_RESTARTS).all()


def _remind(engine: Engine, now: Instant, ahead_ms: int) -> int:
    with engine.begin() as connection:
        return reminder.remind(connection, now, ahead_ms)


def _finish(engine: Engine, restart: Any, now: Instant) -> int:
    statement = (
        update(tables.nas_restart)
        .where(
            _restart.nas_id == restart.nas_id,
            _restart.nas_address == restart.nas_address,
            _restart.event_at == restart.event_at,
            _restart.finished_at.is_(None),
        )
        .values(finished_at=now)
    )
    with engine.begin() as connection:
        return connection.execute(statement).rowcount
