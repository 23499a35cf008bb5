"""Between books and tables: reading an account's book, writing down what changed in it.

The tables' rows become a book's values and back; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter, itemgetter
from typing import Any, Final

from charging import tables
from charging.book import (
    Account,
    Answer,
    Binding,
    Book,
    Charge,
    Command,
    Notice,
    Observation,
    Opening,
    Request,
    Tally,
    UsageLine,
)
from charging.buckets import Bucket
from charging.bulk import Sets
from charging.leasing import write_freed
from charging.ledger import Transfer
from charging.plan import Instant, Plan
from charging.rating import LATEST_COUNT_MS
from charging.session import Session
from charging.subscription import Contract, PaidPeriod, Subscription

ACCOUNT: Final = tuple(f.name for f in fields(Account))
BUCKET: Final = tuple(f.name for f in fields(Bucket))
SESSION: Final = tuple(f.name for f in fields(Session))
CHARGE: Final = tuple(f.name for f in fields(Charge))
_LEDGER_END: Final = ("ledger_seq", "ledger_hash")
#: What the server changes of an account by itself, and what only an operator does.
_ACCOUNT_STATE: Final = ("voucher_failures", "voucher_failed_at", "auto_request_id", "auto_not_before")
_ACCOUNT_TERMS: Final = ("kind", "credit_limit_micros", "auto_below_micros", "auto_amount_micros")
_BUCKET_KEY: Final = ("account_id", "bucket_id")
_BUCKET_REWRITTEN: Final = ("balance", "held", "marks_passed")
#: What changes when a bucket's end comes, or another one is set.
_BUCKET_REVISED: Final = ("expires_at", "closed_at")
SUBSCRIPTION: Final = tuple(f.name for f in fields(Subscription))
_SUBSCRIPTION_KEY: Final = ("account_id", "subscriber_id")
_NEW_SESSION: Final = SESSION + Opening._fields
#: What there is to say of a session at its login. In nearly every new row the rest, which is more, is as the table's defaults are.
_AT_LOGIN: Final = (
    "account_id", "session_id", "subscriber_id", "plan_version_id", "nas_id", "nas_address", "root_id", "device_key",
    "created_at", "state", "last_report_at", "last_event_at", "stale_at", "interval_seconds", "wanted", "posted_at",
    "nas_group", "called_station", "realm", "service_class", "leased", "means", "limit_octets", "timeout_seconds",
    "profile", "acked_at", "username", "nas_port_id", "calling_station",
)  # fmt: skip
_LATER: Final = tuple(name for name in _NEW_SESSION if name not in _AT_LOGIN)
_UNSAID: Final = tuple(tables.default_of(tables.session.c[name]) for name in _LATER)
_SESSION_KEY: Final = ("account_id", "session_id")
#: What every report rewrites.
_SESSION_METER: Final = (
    "last_report_at", "last_event_at", "stale_at", "interval_seconds", "octets_up", "octets_down", "seconds",
    "rated", "line_no",
)  # fmt: skip
#: What few reports change.
_SESSION_STATE: Final = (
    "state", "closed_at", "close_reason", "started_at", "wanted", "posted_at", "offset_up", "offset_down",
    "offset_seconds", "epoch", "epoch_seconds", "gigawords_seen", "leaked_octets", "wanted_reason", "wanted_version",
    "failed_commands", "acked_version", "acked_at", "leased", "means", "limit_octets", "pace_permille",
    "asked_interval_seconds", "timeout_seconds", "exhausted_at", "exhausted_until", "profile", "acked_profile", "cap",
    "review_at",
)  # fmt: skip
_SESSION_BOUND: Final = tuple(name for name in Binding._fields if name not in _SESSION_KEY)
_CHARGE_KEY: Final = ("account_id", "session_id", "bucket_id", "unit")
_CHARGE_REWRITTEN: Final = ("accrued", "posted", "held", "held_until", "live")
TALLY: Final = tuple(f.name for f in fields(Tally))
_TALLY_SLACK_MS: Final = 86_400_000
_TALLY_KEY: Final = ("account_id", "subscriber_id", "name", "period_at")

_bucket_update = attrgetter(*_BUCKET_KEY, *_BUCKET_REWRITTEN)
_bucket_row = attrgetter(*BUCKET)
_bucket_revision = attrgetter(*_BUCKET_KEY, *_BUCKET_REVISED)
_subscription_row = attrgetter(*SUBSCRIPTION)
_session_meter = attrgetter(*_SESSION_KEY, *_SESSION_METER)
_session_state = attrgetter(*_SESSION_STATE)
_bound = attrgetter(*_SESSION_BOUND)
_session_row = attrgetter(*SESSION)
_at_login = itemgetter(*map(_NEW_SESSION.index, _AT_LOGIN))
_later = itemgetter(*map(_NEW_SESSION.index, _LATER))
_charge_update = attrgetter(*_CHARGE_KEY, *_CHARGE_REWRITTEN)
_charge_row = attrgetter(*CHARGE)
_tally_row = attrgetter(*TALLY)
_tally_update = attrgetter(*_TALLY_KEY, "amount")


def read_books(
    to: Sets,
    account_ids: list[int],
    plans: Callable[[int], Plan],
    new_id: Callable[[], int],
    *,
    waiting: bool = False,
) -> dict[int, Book]:
    """Books from the database: accounts that exist, with their live sessions.

    `waiting`: until whoever has them at work is done, in the order of their ids, and nobody else has them before us.
    """
    with to.together():
        # The account goes first: what is read after it can only be newer, and then its version gives it away.
        which = "account_id {any}" + (to.in_turn if waiting else "")
        accounts = to.select(tables.account, ACCOUNT, which, account_ids)
        buckets = to.select(tables.bucket, BUCKET, "account_id {any} AND closed_at IS NULL", account_ids)
        sessions = to.select(tables.session, SESSION, "account_id {any} AND closed_at IS NULL", account_ids)
        charges = to.select(tables.session_charge, CHARGE, "account_id {any} AND live", account_ids)
        subscriptions = to.select(tables.subscription, SUBSCRIPTION, "account_id {any}", account_ids)
    books = {row[0]: Book(Account(*row), new_id, plans) for row in accounts.fetchall()}
    for row in buckets.fetchall():
        books[row[0]].buckets[row[1]] = Bucket(*row)
    for row in sessions.fetchall():
        add_session(books[row[0]], row)
    for row in charges.fetchall():
        books[row[0]].charges[row[1], row[2], row[3]] = Charge(*row)
    for row in subscriptions.fetchall():
        books[row[0]].subscriptions[row[1]] = Subscription(*row)
    return books


def read_tallies(to: Sets, books: list[Book], now: Instant) -> None:
    """What was counted over periods, for the accounts that need it."""
    for book in books:
        book.knows_tallies = True
    by_account = {book.account.account_id: book for book in books}
    which, since = "account_id {any} AND until_at > {one}", now - LATEST_COUNT_MS - _TALLY_SLACK_MS
    for row in to.select(tables.tally, TALLY, which, sorted(by_account), since).fetchall():
        tally = Tally(*row)
        by_account[tally.account_id].tallies[tally.subscriber_id, tally.name, tally.period_at] = tally


def read_alone(to: Sets, books: list[Book]) -> None:
    """Whose account is one subscriber's, who sets no number of sessions of his own."""
    by_account = {book.account.account_id: book for book in books}
    others = (
        "account_id {any} AND NOT EXISTS (SELECT 1 FROM subscriber AS other WHERE other.account_id = subscriber.account_id"
        " AND (other.subscriber_id <> subscriber.subscriber_id OR other.max_sessions > 1))"
    )
    for book in books:
        book.is_alone = False
    for (account_id,) in to.select(tables.subscriber, ("account_id",), others, sorted(by_account)).fetchall():
        by_account[account_id].is_alone = True


def add_session(book: Book, row: tuple[Any, ...]) -> Session:
    """Take a session's row into its book."""
    session = book.sessions[row[1]] = Session(*row)
    book.settled_states[row[1]] = _session_state(session)
    return session


def add_closed(to: Sets, books: dict[int, Book], rows: list[tuple[Any, ...]]) -> list[Session]:
    """Take closed sessions that were found by other names into their books, with what they were charged."""
    closed: dict[int, set[int]] = {}
    added: list[Session] = []
    for row in rows:
        if row[0] in books and row[1] not in books[row[0]].sessions:
            added.append(add_session(books[row[0]], row))
            closed.setdefault(row[0], set()).add(row[1])
    if not closed:
        return []
    session_ids = sorted({session_id for group in closed.values() for session_id in group})
    charges = to.select(
        tables.session_charge, CHARGE, "account_id {any} AND session_id {any}", sorted(closed), session_ids
    )
    for row in charges.fetchall():
        if row[1] in closed.get(row[0], ()):
            books[row[0]].charges[row[1], row[2], row[3]] = Charge(*row)
    return added


def write_books(to: Sets, books: list[Book], now: Instant) -> None:
    """Write what the books changed: accounts first, by compare-and-set; everything sorted, so that two nodes that
    write the same accounts wait for each other in the same order. Raises Conflict where another node was faster, before
    the keys that he took for his new rows can be in the way of ours."""
    books.sort(key=lambda book: book.account.account_id)
    for columns, group in _by_columns(books).items():
        _move_versions(to, [book.account for book in group], columns)
    _write_sessions(to, books)
    _write_buckets(to, books)
    _write_charges(to, books)
    _write_tallies(to, books)
    _write_subscriptions(to, books)
    answers = [answer for b in books for answer in b.answers]
    if answers:
        key, columns = Answer._fields[:2], Answer._fields[2:]
        to.update(tables.top_up_request, key, columns, answers)
    write_freed(to, books, now)
    for table, kind, rows in (
        (tables.usage_line, UsageLine, [line for b in books for line in b.usage_lines]),
        (tables.transfer, Transfer, [t for b in books for t in b.transfers]),
        (tables.notice, Notice, [n for b in books for n in b.notices]),
        (tables.top_up_request, Request, [r for b in books for r in b.requests]),
    ):
        if rows:
            to.insert(table, kind._fields, rows)
    _write_commands(to, books, now)
    _write_observations(to, [each for b in books for each in b.observations], now)


def _by_columns(books: list[Book]) -> dict[tuple[str, ...], list[Book]]:
    """Which columns of their accounts the books changed: mostly none but the version, or the ledger's end too."""
    groups: dict[tuple[str, ...], list[Book]] = {}
    for book in books:
        columns: tuple[str, ...] = _LEDGER_END if book.transfers or book.changed_account else ()
        if book.changed_account:
            columns += _ACCOUNT_STATE + (_ACCOUNT_TERMS if book.changed_terms else ())
        groups.setdefault(columns, []).append(book)
    return groups


def _move_versions(to: Sets, accounts: list[Account], columns: tuple[str, ...]) -> None:
    """The compare-and-set: where an account's version is no longer the one that was read, its row is not found."""
    rows = [(a.account_id, a.version, *(getattr(a, column) for column in columns)) for a in accounts]
    key = ("account_id", "version")
    to.update(tables.account, key, columns, rows, "version = {t}version + 1", every_row=True)


def _write_sessions(to: Sets, books: list[Book]) -> None:
    new = [(*_session_row(b.sessions[i]), *opening) for b in books for i, opening in b.new_sessions.items()]
    usual: list[tuple[Any, ...]] = []
    unusual: list[tuple[Any, ...]] = []
    for row in new:
        if _later(row) == _UNSAID:
            usual.append(_at_login(row))
        else:
            unusual.append(row)
    # A row is written once, however much of it has changed: each time it is another version, for PostgreSQL to keep and to remove.
    meters: list[tuple[Any, ...]] = []
    states: list[tuple[Any, ...]] = []
    bound: list[tuple[Any, ...]] = []
    for book in books:
        bindings = {binding.session_id: binding for binding in book.bindings}
        for session_id in sorted(book.changed_sessions):
            session = book.sessions[session_id]
            state = _session_state(session)
            if session_id not in book.new_sessions:
                meter = _session_meter(session)
                if session_id in bindings:
                    bound.append((*meter, *state, *_bound(bindings[session_id])))
                elif state != book.settled_states.get(session_id):
                    states.append((*meter, *state))
                else:
                    meters.append(meter)
            book.settled_states[session_id] = state
    if usual:
        to.insert(tables.session, _AT_LOGIN, usual)
    if unusual:
        to.insert(tables.session, _NEW_SESSION, unusual)
    if meters:
        to.update(tables.session, _SESSION_KEY, _SESSION_METER, meters)
    if states:
        to.update(tables.session, _SESSION_KEY, _SESSION_METER + _SESSION_STATE, states)
    if bound:
        to.update(tables.session, _SESSION_KEY, _SESSION_METER + _SESSION_STATE + _SESSION_BOUND, bound)


def _write_buckets(to: Sets, books: list[Book]) -> None:
    new = [_bucket_row(b.buckets[i]) for b in books for i in sorted(b.new_buckets)]
    changed = [_bucket_update(b.buckets[i]) for b in books for i in sorted(b.changed_buckets) if i not in b.new_buckets]
    if new:
        to.insert(tables.bucket, BUCKET, new)
    if changed:
        to.update(tables.bucket, _BUCKET_KEY, _BUCKET_REWRITTEN, changed)
    revised = [_bucket_revision(b.buckets[i]) for b in books
        if b.moved
               for i in sorted(b.revised_buckets - b.new_buckets)]  # fmt: skip
    if revised:
        to.update(tables.bucket, _BUCKET_KEY, _BUCKET_REVISED, revised)


def _write_charges(to: Sets, books: list[Book]) -> None:
    new = [_charge_row(b.charges[k]) for b in books for k in sorted(b.new_charges)]
    changed = [_charge_update(b.charges[k]) for b in books for k in sorted(b.changed_charges - b.new_charges)]
    if new:
        to.insert(tables.session_charge, CHARGE, new)
    if changed:
        to.update(tables.session_charge, _CHARGE_KEY, _CHARGE_REWRITTEN, changed)


def _write_tallies(to: Sets, books: list[Book]) -> None:
    new = [_tally_row(b.tallies[k]) for b in books for k in sorted(b.new_tallies)]
    changed = [_tally_update(b.tallies[k]) for b in books for k in sorted(b.changed_tallies - b.new_tallies)]
    if new:
        to.insert(tables.tally, TALLY, new)
    if changed:
        to.update(tables.tally, _TALLY_KEY, ("amount",), changed)


def _write_subscriptions(to: Sets, books: list[Book]) -> None:
    with_some = [b for b in books if b.moved]
    if not with_some:
        return
    new = [_subscription_row(b.subscriptions[i]) for b in with_some for i in sorted(b.new_subscriptions)]
    changed = [_subscription_row(b.subscriptions[i]) for b in with_some for i in sorted(b.changed_subscriptions)]
    if new:
        to.insert(tables.subscription, SUBSCRIPTION, new)
    if changed:
        to.update(tables.subscription, _SUBSCRIPTION_KEY, SUBSCRIPTION[len(_SUBSCRIPTION_KEY) :], changed)
    periods = [period for b in with_some for period in b.paid_periods]
    if periods:
        to.insert(tables.subscription_period, PaidPeriod._fields, periods)
    contracts = {each.subscriber_id: each for b in with_some for each in b.contracts}
    if contracts:
        rows = [contracts[subscriber_id] for subscriber_id in sorted(contracts)]
        to.update(tables.subscriber, Contract._fields[:1], Contract._fields[1:], rows)


def _write_commands(to: Sets, books: list[Book], now: Instant) -> None:
    """Only the latest wanted state of a session matters, and none of one that has ended."""
    newest = {(c.account_id, c.session_id): c for b in books for c in b.commands}
    ended = {(b.account.account_id, session_id) for b in books for session_id in b.ended}
    withdrawn = {(b.account.account_id, session_id) for b in books for session_id in b.withdrawn}
    if newest or ended or withdrawn:
        rows = [(*key, "pending", now) for key in sorted(newest.keys() | ended | withdrawn)]
        key = ("account_id", "session_id", "state")
        to.update(tables.command, key, ("finished_at",), rows, "state = 'superseded'")
    wanted = [c for key, c in newest.items() if key not in ended]
    if wanted:
        to.insert(tables.command, Command._fields, wanted)


def _write_observations(to: Sets, seen: list[Observation], now: Instant) -> None:
    """What NASes did not do, counted; a silence begins anew after each answer."""
    counts: dict[tuple[int, str, str], int] = {}
    answered: set[tuple[int, str]] = set()
    for each in seen:
        if each.what == "answered":
            answered.add((each.nas_id, each.nas_address))
        else:
            key = (each.nas_id, each.nas_address, each.what)
            counts[key] = counts.get(key, 0) + 1
    keys = ("nas_id", "nas_address", "what")
    if answered:
        to.update(tables.nas_observation, keys, ("count",), [(*nas, "silent", 0) for nas in sorted(answered)])
    rows = [
        (*key, count, now, now)
        for key, count in sorted(counts.items())
        if key[2] != "silent" or key[:2] not in answered
    ]
    if rows:
        once_more = (
            "ON CONFLICT (nas_id, nas_address, what) DO UPDATE "
            "SET count = nas_observation.count + excluded.count, last_at = excluded.last_at"
        )
        to.insert(tables.nas_observation, (*keys, "count", "first_at", "last_at"), rows, once_more)
