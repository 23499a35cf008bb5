"""Bugs to be switched on one at a time: what a check is worth shows when something is wrong.

Each patches one function of the server, from here alone, and names the check of the auditor that must find it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple
from unittest import mock

from twisted.internet.defer import succeed

import aaa.claims
import aaa.replies
import aaa.runner
import aaa.spool
import charging.admission
import charging.arrangement
import charging.book
import charging.bookkeeping
import charging.buckets
import charging.enforcement
import charging.jobs
import charging.payment
import charging.plan
import charging.renewal
import charging.scope
import charging.session
import charging.settle
import charging.slices
import charging.tables
import charging.usage
import charging.writer
from charging.buckets import Usage
from charging.session import Report, Session
from charging.usage import Recorded


class Bug(NamedTuple):
    """What is wrong, which check must say so, and how it is switched on."""

    name: str
    check: str
    plant: Callable[[], contextlib.AbstractContextManager[object]]
    first: int = 0
    """A seed shortly before one that finds it."""
    sleepy: bool = False
    """Only nodes that sleep between an order and its result can show it."""
    odd: bool = False
    """Only plans made up for the run can show it; the others are found sooner without."""


BUGS: list[Bug] = []


def _bug(
    check: str, first: int = 0, *, sleepy: bool = False, odd: bool = False
) -> Callable[[Callable[[], Iterator[None]]], None]:
    def register(plant: Callable[[], Iterator[None]]) -> None:
        BUGS.append(Bug(plant.__name__.replace("_", "-"), check, contextmanager(plant), first, sleepy, odd))

    return register


def _around(owner: Any, name: str, change: Callable[..., Any]) -> Any:
    """Patch a function by one that gets the original before its arguments."""
    original = getattr(owner, name)

    def changed(*args: Any, **named: Any) -> Any:
        return change(original, *args, **named)

    return mock.patch.object(owner, name, changed)


# --- what is answered ------------------------------------------------------------------------------------------------


@_bug("durability")
def answer_before_commit() -> Iterator[None]:
    def submit(original: Any, writer: Any, item: Any, **named: Any) -> Any:
        outcome = original(writer, item, **named)
        if not isinstance(item, Report):
            return outcome
        outcome.addErrback(lambda _: None)
        return succeed(Recorded(0, 0, Usage(0, 0, 0), 0, ""))

    with _around(charging.writer.Writer, "submit", submit):
        yield


@_bug("durability", first=2)
def spool_answers_before_the_disk() -> Iterator[None]:
    async def keep(_original: Any, _spool: Any, *_: Any) -> None:
        return None

    with _around(aaa.spool.Spool, "keep", keep):
        yield


@_bug("durability")
def restart_answered_and_forgotten() -> Iterator[None]:
    def submit(original: Any, writer: Any, item: Any, **named: Any) -> Any:
        return succeed(None) if type(item).__name__ == "NasRestart" else original(writer, item, **named)

    with _around(charging.writer.Writer, "submit", submit):
        yield


# --- the meter ---------------------------------------------------------------------------------------------------------


@_bug("octets")
def at_the_mark_counted_again() -> Iterator[None]:
    """`>=` for `>`: a report that stands at the mark is taken for a counter that began anew."""

    def advance(original: Any, session: Any, report: Report, *lines: Any) -> Any:
        step = original(session, report, *lines)
        said = report.octets_down
        if report.kind != "start" and said and said + session.offset_down == session.octets_down:
            return step._replace(octets_down=session.octets_down + said)
        return step

    with _around(charging.usage, "advance", advance):
        yield


@_bug("octets")
def marks_lost_in_a_restart() -> Iterator[None]:
    """A duplicate is applied again by a node that has just started: it did not read how far the session was."""

    def add(original: Any, book: Any, row: Any) -> Any:
        session = original(book, row)
        session.octets_up = session.octets_down = 0
        return session

    with _around(charging.bookkeeping, "add_session", add):
        yield


@_bug("durability", first=20)
def wrap_taken_for_reset() -> Iterator[None]:
    with mock.patch.object(charging.session, "_wraps", return_value=False):
        yield


@_bug("prices")
def rounded_per_report() -> Iterator[None]:
    """Each report is priced by itself, with its own fee and its own last step."""
    with mock.patch.object(charging.book.Book, "rated_of", return_value={}):
        yield


# --- money -------------------------------------------------------------------------------------------------------------


@_bug("draw_order")
def drawn_in_the_wrong_order() -> Iterator[None]:
    def order(bucket: Any) -> Any:
        return (bucket.blocker, -bucket.priority, -bucket.created_at, -bucket.bucket_id)

    with mock.patch.object(charging.buckets, "draw_order", order):
        yield


@_bug("holds")
def hold_not_released() -> Iterator[None]:
    def close(original: Any, book: Any, session: Any, reason: str, now: int) -> None:
        held = {key: charge.held for key, charge in book.charges.items() if key[0] == session.session_id}
        original(book, session, reason, now)
        for key, amount in held.items():
            bucket = book.buckets.get(key[1])
            if bucket is not None:
                bucket.held += amount

    with _around(charging.usage, "close", close), _around(charging.settle, "close", close):
        yield


@_bug("holds")
def the_same_money_for_two() -> Iterator[None]:
    """What others hold is offered again."""
    with (
        mock.patch.object(charging.book, "_unheld", lambda bucket: bucket.balance),
        mock.patch.object(charging.book.Book, "trim_holds", return_value=[]),
    ):
        yield


@_bug("money")
def posted_twice() -> Iterator[None]:
    def post(original: Any, book: Any, session: Any, now: int) -> None:
        before = {key: charge.posted for key, charge in book.charges.items()}
        original(book, session, now)
        for key, posted in before.items():
            book.charges[key].posted = posted
        original(book, session, now)

    with _around(charging.book.Book, "post", post):
        yield


@_bug("immutability")
def head_of_the_chain_not_moved() -> Iterator[None]:
    def append(original: Any, book: Any, *args: Any, **named: Any) -> None:
        before = book.account.ledger_hash
        original(book, *args, **named)
        book.account.ledger_hash = before

    with _around(charging.book.Book, "_append", append):
        yield


@_bug("top_ups")
def top_up_applied_twice() -> Iterator[None]:
    """The row of the inbox is not answered in the money's transaction."""
    with mock.patch.object(charging.settle, "_store_top_ups", return_value=None):
        yield


@_bug("octets", first=28)
def version_not_compared() -> Iterator[None]:
    """Whoever writes last wins, however old the book was that he decided from."""

    def move(_original: Any, to: Any, accounts: Sequence[Any], columns: tuple[str, ...]) -> Any:
        if not accounts:
            return []
        rows = [(a.account_id, *(getattr(a, column) for column in columns)) for a in accounts]
        return [to.update(charging.tables.account, ("account_id",), columns, rows, "version = {t}version + 1")]

    with _around(charging.bookkeeping, "_move_versions", move):
        yield


@_bug("prices", first=6, odd=True)
def every_window_always_open() -> Iterator[None]:
    def lines_for(original: Any, plan: Any, place: Any, _opened: Any) -> Any:
        return original(plan, place, frozenset(window.name for window in plan.windows))

    with _around(charging.plan.Plan, "lines_for", lines_for):
        yield


@_bug("prices", first=5, odd=True)
def days_counted_by_session() -> Iterator[None]:
    """What a price line counts over a day begins anew with every use."""
    with mock.patch.object(charging.book.Book, "counted", return_value=0):
        yield


@_bug("prices", first=18, odd=True)
def sessions_begun_for_nothing() -> Iterator[None]:
    """What the session itself costs is taken for paid."""

    def cover(original: Any, plan: Any, usage: Any, buckets: Any, available: Any, rated: Any, *more: Any) -> Any:
        begun = {index: charging.buckets.Rated(1, 0) for index, rate in plan.lines if rate.unit == "session"}
        return original(plan, usage, buckets, available, {**begun, **rated}, *more)

    with _around(charging.buckets, "_cover_session", cover):
        yield


@_bug("blockers", first=10, odd=True)
def money_pays_behind_a_blocker() -> Iterator[None]:
    def by_rates(original: Any, plan: Any, usage: Any, _blocked: Any, *more: Any) -> Any:
        return original(plan, usage, frozenset(), *more)

    with _around(charging.buckets, "_by_rates", by_rates):
        yield


@_bug("scopes", odd=True)
def buckets_for_everybody_everywhere() -> Iterator[None]:
    with mock.patch.object(charging.scope.Scope, "allows", return_value=True):
        yield


@_bug("spans", odd=True)
def days_that_do_not_come_again() -> Iterator[None]:
    def turn(original: Any, book: Any, subscription: Any, _plan: Any, *more: Any, **named: Any) -> Any:
        return original(book, subscription, None, *more, **named)

    with _around(charging.renewal, "turn", turn):
        yield


@_bug("spans", odd=True)
def days_granted_twice() -> Iterator[None]:
    def turn(
        original: Any, book: Any, subscription: Any, plan: Any, at: Any, now: Any, *more: Any, **named: Any
    ) -> Any:
        known = set(book.buckets)
        holders = original(book, subscription, plan, at, now, *more, **named)
        for bucket in [b for b in book.buckets.values() if b.bucket_id not in known and not b.rolled]:
            book.move(bucket, "grant:again", bucket.granted, "grant", "again", now, "server")
        return holders

    with _around(charging.renewal, "turn", turn):
        yield


# --- periods -----------------------------------------------------------------------------------------------------------


@_bug("contracts", first=20, odd=True)
def all_of_a_period_given_back() -> Iterator[None]:
    """Who changes his plan in the middle of a period gets back what all of it cost."""
    with mock.patch.object(charging.arrangement, "_credit", lambda _book, subscription, *_: subscription.price_micros):
        yield


@_bug("contracts", first=16)
def pauses_that_stop_no_clock() -> Iterator[None]:
    def resume(_original: Any, book: Any, subscription: Any, *_: int) -> None:
        subscription.state, subscription.paused_at = "active", None
        subscription.due_at = subscription.end_at
        book.revise_subscription(subscription)

    with _around(charging.arrangement, "resume", resume), _around(charging.renewal, "resume", resume):
        yield


@_bug("contracts", first=7)
def all_that_is_left_goes_over() -> Iterator[None]:
    def roll_over(original: Any, book: Any, buckets: Any, rule: Any, *more: Any) -> None:
        original(book, buckets, replace(rule, maximum=None, minimum=0), *more)

    with _around(charging.renewal, "roll_over", roll_over):
        yield


@_bug("contracts", first=50)
def money_that_begins_no_period() -> Iterator[None]:
    """A payment for a period that is over is only kept."""
    with mock.patch.object(charging.settle, "pay_unpaid", return_value=None):
        yield


# --- sessions and what NASes are told ----------------------------------------------------------------------------------


@_bug("sessions", first=2)
def others_not_counted() -> Iterator[None]:
    with mock.patch.object(charging.admission, "_others", return_value=[]):
        yield


@_bug("stale", first=4)
def silent_sessions_kept() -> Iterator[None]:
    async def nothing(*_: Any) -> int:
        return 0

    with mock.patch.object(charging.jobs, "close_stale", nothing):
        yield


@_bug("told", first=18)
def order_for_an_old_version() -> Iterator[None]:
    """A NAS is told what was wanted of a session when it was first told anything."""
    first: dict[tuple[int, int], str] = {}

    def order_of(original: Any, claimed: Any, *args: Any) -> Any:
        wanted = first.setdefault(claimed.key, claimed.session.wanted)
        return original(replace(claimed, session=replace(claimed.session, wanted=wanted)), *args)

    with _around(aaa.runner, "order_of", order_of):
        yield


@_bug("enforcement", first=24)
def nothing_restores() -> Iterator[None]:
    """Neither money nor what another session leaves, nor a report that comes afterwards."""

    def reconsider(original: Any, book: Any, session: Session, *args: Any) -> None:
        if session.wanted == "full":
            original(book, session, *args)

    with _around(charging.enforcement, "_reconsider", reconsider):
        yield


@_bug("levels", first=2)
def use_of_the_day_not_counted() -> Iterator[None]:
    with mock.patch.object(charging.usage, "count", return_value=False):
        yield


@_bug("levels", first=6, odd=True)
def caps_not_kept() -> Iterator[None]:
    with mock.patch.object(charging.enforcement, "cap_of", return_value=None):
        yield


@_bug("bound", first=40)
def nobody_is_ever_out_of_money() -> Iterator[None]:
    def hold_next(original: Any, *args: Any, **named: Any) -> int:
        original(*args, **named)
        return charging.slices.ALL

    with _around(charging.enforcement, "hold_next", hold_next):
        yield


@_bug("last_words", first=8, sleepy=True)
def lease_without_epoch() -> Iterator[None]:
    """A node that slept through its lease writes its result over another's."""

    class Anyway:
        def __init__(self, to: Any) -> None:
            self.to, self.together = to, to.together

        def update(self, table: Any, key: Any, columns: Any, rows: Any) -> Any:
            return self.to.update(table, key[:2], columns, [(*row[:2], *row[3:]) for row in rows])

    def store(original: Any, to: Any, results: Any) -> None:
        original(Anyway(to), results)

    with _around(aaa.claims, "_store", store):
        yield


@_bug("commands")
def results_of_orders_not_written() -> Iterator[None]:
    """What became of a command is not written down: it waits for ever."""

    with mock.patch.object(aaa.claims, "_store", return_value=None):
        yield
