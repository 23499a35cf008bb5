"""settle(): the only code that moves money in SQL.

One transaction for a batch of items of many accounts: read the accounts' books, let the pure functions decide, write
down what changed. The account's version is moved on by compare-and-set; where another node was faster, nothing of the
batch is written and it is run again. No item is ever refused because of that.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from charging import extension, leasing, order_rows, tables
from charging.addresses import Leases
from charging.admission import Admitted, Login, Refused, admit, pools_of
from charging.arrangement import Arrangement, Change, arrange
from charging.auto_top_up import ask_where_low
from charging.book import Account, Book, Opening
from charging.bookkeeping import SESSION, add_closed, read_alone, read_books, read_tallies, write_books
from charging.bulk import Conflict, Sets, sets
from charging.enforcement import command_acked, command_failed, review
from charging.order import Order, Reach, Redeem, Remit, carry_out
from charging.payment import Applied, Grant, NotApplied, TopUp, grant, top_up
from charging.plan import Instant, Plan, from_json
from charging.renewal import catch_up, pay_unpaid, subscribe
from charging.rerating import Rerate, Rerated, rerate
from charging.session import Report, Session
from charging.shelf import Shelf
from charging.slices import LASTING_PROMISES, promises_last
from charging.subscription import Line
from charging.terms import Agreed, Terms, agree
from charging.usage import NAS_RESTART, Orphan, Recorded, close, report

#: The beginning of our own count of milliseconds: an id is 41 bits of time and 22 of chance.
_ORPHAN: Final = (
    "digest", "nas_id", "nas_address", "username", "acct_session_id", "reason", "packet", "received_at",
)  # fmt: skip
_ID_EPOCH_MS: Final = 1_735_689_600_000
#: Plan versions never change, so they are kept; more than this many and the memory is begun anew.
_MOST_PLANS: Final = 4096


@dataclass(frozen=True, slots=True)
class Close:
    """End a session without a Stop: stale, nas-restart, gone."""

    account_id: int
    session_id: int
    reason: str
    unless_reported_after: Instant
    """A report that came later proves the session alive; then nothing happens. Where its NAS restarted: one that was
    true later, by the NAS's own clock, whenever it came."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Disconnect live sessions: of one subscriber, or one session (the other is None)."""

    account_id: int
    subscriber_id: int | None
    session_id: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Do what is due of an account's buckets and periods; any other item of the account has the same effect."""

    account_id: int


@dataclass(frozen=True, slots=True)
class CommandAcked:
    """A NAS acknowledged a command."""

    account_id: int
    session_id: int
    version: int


@dataclass(frozen=True, slots=True)
class CommandFailed:
    """A NAS refused a command or never answered."""

    account_id: int
    session_id: int
    version: int
    answer: str


@dataclass(frozen=True, slots=True)
class Review:
    """The clock has come to where a session may get another profile."""

    account_id: int
    session_id: int


class Done(NamedTuple):
    """Close, Cut, Review, CommandAcked, CommandFailed: how many sessions it concerned; CatchUp: none."""

    sessions: int


class Settled(NamedTuple):
    """What a batch came to: one outcome per item, in order, and whether a NAS must now be told something."""

    outcomes: list[Outcome]
    commands: bool
    books: list[Book]
    """The books that the batch worked on; after the commit they may go on a shelf."""


Item = (
    Report | Login | TopUp | Grant | Order | Terms | Arrangement | Close | Cut | Review | Rerate | CatchUp
    | CommandAcked | CommandFailed
)  # fmt: skip
Outcome = Recorded | Orphan | Admitted | Refused | Applied | NotApplied | Agreed | Rerated | Done


#: What brings no money, and begins no period.
_LEAVES_MONEY: Final = frozenset({Report, Close, Cut, Review, CommandAcked, CommandFailed})


class Plans:
    """Plan versions by id, read once: they are immutable."""

    def __init__(self) -> None:
        self._known: dict[int, Plan] = {}

    def __call__(self, plan_version_id: int) -> Plan:
        """The plan; KeyError unless `read` was asked for it before."""
        return self._known[plan_version_id]

    def read(self, to: Sets, plan_version_ids: Iterable[int]) -> None:
        """Make sure that these are known."""
        missing = [i for i in set(plan_version_ids) if i not in self._known]
        if not missing:
            return
        if len(self._known) + len(missing) > _MOST_PLANS:
            self._known.clear()
            missing = list(set(plan_version_ids))
        rows = to.select(tables.plan_version, ("plan_version_id", "content"), "plan_version_id {any}", missing)
        self._known.update((plan_version_id, from_json(content)) for plan_version_id, content in rows.fetchall())


def settle(
    connection: Connection,
    items: Sequence[Item],
    now: Instant,
    plans: Plans,
    chance: random.Random,
    shelf: Shelf | None = None,
    *,
    commit: bool = False,
) -> Settled:
    """Book `items` in order, in the transaction that `connection` has open; the caller commits or rolls back.

    Books are taken from `shelf` where it has them. `commit`: the transaction may end with the last round trip already.

    Raises Conflict where another node was faster, and the driver's own errors; nothing may then be kept.
    """
    to = sets(connection)
    work = _open(to, items, now, plans, ids(now, chance), Shelf() if shelf is None else shelf)
    for book in work.moving:
        catch_up(book, now)
    outcomes = [_decide(work, item, now) for item in items]
    for book in work.moving:
        if book.subscriptions:
            pay_unpaid(book, now)
    books = list(work.books.values())
    if work.leases is not None:
        leasing.write_taken(to, work.leases)
    leasing.resume(to, books, now)
    changed: list[Book] = []
    unchanged: list[Book] = []
    for book in books:
        if book.account.auto_amount_micros:
            ask_where_low(book, now)
        (changed if book.changed else unchanged).append(book)
    _verify(to, [book.account for book in unchanged if book.account.account_id in work.from_shelf])
    with to.together(commit=commit):
        if changed:
            write_books(to, changed, now)
        _store_orphans(to, items, outcomes)
        _store_top_ups(to, items, outcomes, now)
        if work.reach is not None:
            order_rows.store(
                to, work.reach, [(i, o) for i, o in zip(items, outcomes, strict=True) if isinstance(i, Order)], now
            )
        if work.extensible:
            paid = {_payer(i) for i, o in zip(items, outcomes, strict=True) if isinstance(o, Applied)}
            extension.extend(to, work.extensible, paid, now)
    return Settled(outcomes, any(book.commands for book in changed), books)


# --- opening -------------------------------------------------------------------------------------------------------


class _Work(NamedTuple):
    books: dict[int, Book]
    owners: dict[str, tuple[int, int]]
    """User name → (account_id, subscriber_id), for reports without a token."""
    pending_top_ups: set[int]
    from_shelf: frozenset[int] = frozenset()
    """Accounts whose books were not read in this transaction."""
    reach: Reach | None = None
    """What the batch's orders see."""
    extensible: Sequence[extension.Line] = ()
    """Whose service a payment of this batch extends."""
    leases: Leases | None = None
    """What this transaction's logins can choose from."""
    moving: Sequence[Book] = ()
    """Those of which something is due, or whose money or plans may change."""


def _open(
    to: Sets, items: Sequence[Item], now: Instant, plans: Plans, new_id: Callable[[], int], shelf: Shelf
) -> _Work:
    usernames = [item.username for item in items if isinstance(item, Report) and item.token is None]
    owners = _owners(to, usernames) if usernames else {}
    books: dict[int, Book] = {}
    unread: list[int] = []
    orders = [item for item in items if isinstance(item, Order)]
    account_ids = {a for item in items if (a := _account_of(item, owners)) is not None}
    others = {order.what.to_account_id for order in orders if isinstance(order.what, Remit)}
    for account_id in sorted(account_ids | others):
        book = shelf.take(account_id, now)
        if book is None or others:
            unread.append(account_id)
        else:
            book.new_id = new_id
            books[account_id] = book
    if unread:
        # Where two nodes have the same accounts at work, who comes second would lose what he decided, again and again.
        # And who has two accounts at work in one item takes all locks in the order of their ids before anything else.
        waiting = bool(others) or shelf.distrusts(now)
        books.update(read_books(to, unread, plans, new_id, waiting=waiting))
    closed = _open_closed(to, items, books, owners)
    plans.read(
        to,
        [s.plan_version_id for account_id in unread if account_id in books for s in books[account_id].sessions.values()]
        + [s.plan_version_id for s in closed]
        + [item.plan_version_id for item in items if isinstance(item, Login | Grant | Rerate)]
        + [s.plan_version_id for i in unread if i in books for s in books[i].subscriptions.values()],
    )
    moving = _moving(to, items, books, now, plans)
    beginning = {i.account_id for i in items if isinstance(i, Login) and plans(i.plan_version_id).counts}
    counting = [book for book in books.values() if not book.knows_tallies and _counts(book, plans, beginning)]
    if counting:
        read_tallies(to, counting, now)
    promising = {i.account_id for i in items if isinstance(i, Login) and i.means in LASTING_PROMISES}
    promising.update(a for a in unread if a in books and promises_last(books[a].sessions.values()))
    if promising:
        read_alone(to, [books[a] for a in promising if a in books])
    wishes = [
        (item.account_id, pools)
        for item in items
        if isinstance(item, Login) and (pools := pools_of(plans(item.plan_version_id)))
    ]
    leases = leasing.offer(to, wishes, now) if wishes else None
    if leases is not None and leases.contended:
        raise Conflict
    top_ups = [item.top_up_id for item in items if isinstance(item, TopUp)]
    pending: set[int] = set()
    if top_ups:
        rows = to.select(tables.billing_top_up, ("top_up_id",), "top_up_id {any} AND status = 'pending'", top_ups)
        pending = {row[0] for row in rows.fetchall()}
    from_shelf = frozenset(books).difference(unread)
    reach = order_rows.reach_of(to, orders, books) if orders else None
    paying = [a for item in items if (a := _payer(item)) is not None] if top_ups or orders else []
    lines = extension.lines_of(to, paying, partial(plans.read, to), plans) if paying else ()
    return _Work(books, owners, pending, from_shelf, reach, lines, leases, moving)


def _moving(to: Sets, items: Sequence[Item], books: dict[int, Book], now: Instant, plans: Plans) -> list[Book]:
    """The books in which a period may begin or end, with what that needs to know: the newest versions of their plans, the
    subscribers, and who their live sessions are."""
    # Asked for every batch of reports, so as cheaply as can be.
    moving = {book.account.account_id for book in books.values() if book.quiet_until <= now and book.due_at <= now}
    if not _LEAVES_MONEY.issuperset(map(type, items)):
        moving |= {
            account_id
            for item in items
            if type(item) not in _LEAVES_MONEY
            for account_id in _accounts_of(item)
            if account_id in books and _may_begin_period(item, books[account_id])
        }
    if not moving:
        return []
    found = [books[account_id] for account_id in sorted(moving) if account_id in books]
    periodic = [book for book in found if book.subscriptions]
    changing = [
        i for i in items if isinstance(i, Arrangement) or (isinstance(i, Grant) and plans(i.plan_version_id).period)
    ]
    plans.read(
        to, [i.what.plan_version_id for i in changing if isinstance(i, Arrangement) and isinstance(i.what, Change)]
    )
    involved = sorted(
        {b.account.account_id for b in periodic} | {i.account_id for i in changing if i.account_id in books}
    )
    if not involved:
        return found
    names = {s.next_plan_name or s.plan_name for book in periodic for s in book.subscriptions.values()}
    newest = dict(to.select(tables.plan, ("name", "plan_version_id"), "name {any}", sorted(names) or [""]).fetchall())
    plans.read(to, newest.values())
    for account_id in involved:
        books[account_id].newest, books[account_id].lines, books[account_id].moved = newest, {}, True
    columns = ("account_id", "subscriber_id", *Line._fields)
    for account_id, subscriber_id, *line in to.select(
        tables.subscriber, columns, "account_id {any}", involved
    ).fetchall():
        lines = books[account_id].lines
        assert lines is not None
        lines[subscriber_id] = Line(*line)
    which = "account_id {any} AND closed_at IS NULL"
    sessions = ("account_id", "session_id", *Opening._fields)
    for account_id, session_id, *opening in to.select(tables.session, sessions, which, involved).fetchall():
        books[account_id].openings[session_id] = Opening(*opening)
    return found


def _accounts_of(item: Item) -> tuple[int, ...]:
    """The accounts of anything but a report."""
    assert not isinstance(item, Report)
    if isinstance(item, Order) and isinstance(item.what, Remit):
        return item.account_id, item.what.to_account_id
    return (item.account_id,)


def _may_begin_period(item: Item, book: Book) -> bool:
    if isinstance(item, Login):
        subscription = book.subscriptions.get(item.subscriber_id)
        return subscription is not None and subscription.state == "waiting"
    return bool(book.subscriptions) or isinstance(item, Arrangement | Grant)


def _payer(item: Item) -> int | None:
    """The account that an item pays something in for."""
    if isinstance(item, TopUp) or (isinstance(item, Order) and isinstance(item.what, Redeem)):
        return item.account_id
    return None


def _counts(book: Book, plans: Plans, beginning: Collection[int]) -> bool:
    """Does something of this account go by what was used in a period? `beginning`: accounts with a login under a plan
    that does."""
    # Asked for every report of a batch, so loops rather than generators.
    for session in book.sessions.values():
        if plans(session.plan_version_id).counts:
            return True
    for bucket in book.buckets.values():
        if bucket.scope:
            return True
    for subscription in book.subscriptions.values():
        if plans(subscription.plan_version_id).counts:
            return True
    return book.account.account_id in beginning


def _open_closed(
    to: Sets, items: Sequence[Item], books: dict[int, Book], owners: dict[str, tuple[int, int]]
) -> list[Session]:
    """Add the closed sessions that reports of this batch may mean: a late packet, or a Start after a Stop."""
    roots: dict[int, set[int]] = {}
    keys: set[str] = set()
    for item in items:
        if not isinstance(item, Report):
            continue
        if item.token is not None:
            account_id, root_id = item.token
            if account_id not in books:
                continue
            root = _live_root(books[account_id], item)
            if root is None:
                roots.setdefault(account_id, set()).add(root_id)
            if root is None or (root.acct_session_id is None and item.kind != "start"):
                keys.add(item.session_key)  # whose counters went on under another login, or go on under this one
        elif item.username in owners:
            keys.add(item.session_key)
    found: list[tuple[Any, ...]] = []
    if roots:
        wanted = sorted({root for family in roots.values() for root in family})
        rows = to.select(tables.session, SESSION, "account_id {any} AND root_id {any}", sorted(roots), wanted)
        found += rows.fetchall()
    if keys:
        found += to.select(tables.session, SESSION, "session_key {any}", sorted(keys)).fetchall()
    return add_closed(to, books, found)


def _live_root(book: Book, item: Report) -> Session | None:
    assert item.token is not None
    session = book.sessions.get(item.token[1])
    if session is not None and session.acct_session_id in {None, item.acct_session_id}:
        return session
    return None


def _owners(to: Sets, usernames: list[str]) -> dict[str, tuple[int, int]]:
    rows = to.select(
        tables.subscriber, ("username", "account_id", "subscriber_id"), "username {any}", sorted(set(usernames))
    )
    return {username: (account_id, subscriber_id) for username, account_id, subscriber_id in rows.fetchall()}


def _account_of(item: Item, owners: dict[str, tuple[int, int]]) -> int | None:
    """Whose book an item is about; that of a transfer's other side is opened too."""
    if not isinstance(item, Report):
        return item.account_id
    if item.token is not None:
        return item.token[0]
    owner = owners.get(item.username)
    return None if owner is None else owner[0]


def ids(now: Instant, chance: random.Random) -> Callable[[], int]:
    """Ids that grow with time, so that new rows stand together; unique within an account."""
    prefix = (now - _ID_EPOCH_MS) << 22
    return lambda: prefix | chance.getrandbits(22)


# --- deciding ------------------------------------------------------------------------------------------------------


def _decide(work: _Work, item: Item, now: Instant) -> Outcome:
    account_id = _account_of(item, work.owners)
    book = None if account_id is None else work.books.get(account_id)
    if book is None:
        return Orphan("unknown-user") if isinstance(item, Report) else _no_account(item)
    match item:
        case Report():
            subscriber_id = work.owners[item.username][1] if item.token is None else None
            return report(book, item, subscriber_id, now)
        case Login():
            return admit(book, item, now, work.leases)
        case TopUp() | Grant() | Order() | Terms():
            return _pay(work, book, item, now)
        case Arrangement():
            return arrange(book, item, now)
        case CatchUp():
            return Done(0)
        case Close():
            return Done(_give_up(book, item, now))
        case Cut():
            return Done(_cut(book, item, now))
        case Review():
            return Done(_review(book, item, now))
        case Rerate():
            return rerate(book, item, now)
        case CommandAcked():
            session = book.sessions.get(item.session_id)
            return Done(0 if session is None else command_acked(book, session, item.version, now))
        case CommandFailed():
            session = book.sessions.get(item.session_id)
            if session is None:
                return Done(0)
            command_failed(book, session, item.version, item.answer, now)
            return Done(1)


def _pay(work: _Work, book: Book, item: TopUp | Grant | Order | Terms, now: Instant) -> Applied | NotApplied | Agreed:
    """What comes in or is put right; a row of an inbox once."""
    if isinstance(item, Grant):
        plan = book.plans(item.plan_version_id)
        comes_again = (plan.period is not None or plan.recurring) and item.subscriber_id is not None
        return subscribe(book, item, now) if comes_again else grant(book, item, now)
    if isinstance(item, Terms):
        return agree(book, item, now)
    if isinstance(item, TopUp):
        if item.top_up_id not in work.pending_top_ups:
            return NotApplied("already-settled")
        outcome = top_up(book, item, now)
        if isinstance(outcome, Applied):
            work.pending_top_ups.discard(item.top_up_id)
        return outcome
    if work.reach is None or item.order_id not in work.reach.pending:
        return NotApplied("already-settled")
    outcome = carry_out(work.books, item, work.reach, now)
    if isinstance(outcome, Applied):
        work.reach.pending.discard(item.order_id)
    return outcome


def _no_account(
    item: Login
    | TopUp
    | Grant
    | Order
    | Terms
    | Arrangement
    | Close
    | Cut
    | Review
    | Rerate
    | CatchUp
    | CommandAcked
    | CommandFailed,
) -> Outcome:
    match item:
        case Login():
            return Refused("no-account")
        case TopUp() | Grant() | Order() | Terms() | Arrangement() | Rerate():
            return NotApplied("no-account")
        case _:
            return Done(0)


def _give_up(book: Book, item: Close, now: Instant) -> int:
    session = book.sessions.get(item.session_id)
    if session is None or session.closed_at is not None:
        return 0
    newest = session.last_event_at if item.reason == NAS_RESTART else session.last_report_at
    if newest > item.unless_reported_after:
        return 0
    close(book, session, item.reason, now)
    return 1


def _review(book: Book, item: Review, now: Instant) -> int:
    session = book.sessions.get(item.session_id)
    if session is None or session.closed_at is not None or session.review_at is None or session.review_at > now:
        return 0
    review(book, session, now)
    return 1


def _cut(book: Book, item: Cut, now: Instant) -> int:
    sessions = [
        s
        for s in book.live_sessions()
        if (item.session_id is None or s.session_id == item.session_id)
        and (item.subscriber_id is None or s.subscriber_id == item.subscriber_id)
    ]
    for session in sessions:
        if session.wanted != "cut":
            book.release(session)
            book.command(session, "cut", item.reason, now)
    return len(sessions)


# --- the rest of what must be written -------------------------------------------------------------------------------


def _verify(to: Sets, accounts: list[Account]) -> None:
    """A refusal or an orphan changes nothing, so no compare-and-set shows that its book was an old one: look."""
    if accounts:
        ids = [account.account_id for account in accounts]
        found = to.select(tables.account, ("account_id", "version"), "account_id {any}", ids).fetchall()
        if {tuple(row) for row in found} != {(account.account_id, account.version) for account in accounts}:
            raise Conflict


def _store_orphans(to: Sets, items: Sequence[Item], outcomes: list[Outcome]) -> None:
    rows = [
        (
            sha256(b"%d %s " % (item.nas_id, item.nas_address.encode()) + item.packet).hexdigest(),
            item.nas_id, item.nas_address, item.username, item.acct_session_id, outcome.reason, item.packet,
            item.received_at,
        )
        for item, outcome in zip(items, outcomes, strict=True)
        if isinstance(outcome, Orphan) and isinstance(item, Report)
    ]  # fmt: skip
    if rows:
        to.insert(tables.orphan_report, _ORPHAN, rows, "ON CONFLICT DO NOTHING")


def _store_top_ups(to: Sets, items: Sequence[Item], outcomes: list[Outcome], now: Instant) -> None:
    """The inbox row is answered in the transaction that moves the money. Only a row that is still pending is."""
    applied_at = order_rows.timestamp(now)
    rows = [
        (item.top_up_id, "pending", applied_at)
        for item, outcome in zip(items, outcomes, strict=True)
        if isinstance(item, TopUp) and isinstance(outcome, Applied)
    ]
    if rows:
        key = ("top_up_id", "status")
        to.update(tables.billing_top_up, key, ("applied_at",), rows, "status = 'applied'", every_row=True)
