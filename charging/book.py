"""An account's book: everything that one decision about an account may read and change, held in memory.

`settle` opens a book from the database, the decisions (`admission`, `usage`, `payment`, `enforcement`) work on it,
and `settle` writes down what they changed. Nothing in here knows of SQL, clocks or sockets.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from charging.buckets import (
    NEVER,
    SHORTFALL,
    Bucket,
    Coverage,
    Rated,
    Usage,
    cover,
    is_purse,
    read_rated,
    usable,
    write_rated,
)
from charging.ledger import Entry, Transfer, bucket_name, bucket_named, chained
from charging.money import MAX_AMOUNT
from charging.notices.kinds import Facts, NoticeKind
from charging.plan import Instant, Plan, Unit
from charging.session import Session, Wanted
from charging.subscription import SERVED, Contract, Line, PaidPeriod, Subscription

CommandAction = Literal["profile", "disconnect"]

#: The name of the bucket that money top-ups go to; every account has one from its beginning.
MONEY_BUCKET = "money"


@dataclass(slots=True)
class Account:
    """A row of the account table. `version` is what the database held when the book was opened."""

    account_id: int
    currency: str
    kind: str
    credit_limit_micros: int
    status: str
    version: int
    ledger_seq: int
    ledger_hash: str
    voucher_failures: int = 0
    """Voucher codes that there are not; the first of them at `voucher_failed_at`."""
    voucher_failed_at: Instant = 0
    auto_below_micros: int = 0
    auto_amount_micros: int = 0
    """What to ask for when there is less money than `auto_below_micros`; 0: nothing."""
    auto_request_id: int | None = None
    """The request that nobody has answered yet: there is never more than one."""
    auto_not_before: Instant = 0


@dataclass(slots=True)
class Charge:
    """What one session took from one bucket: accrued at once, posted to the ledger later, held for the next interval."""

    account_id: int
    session_id: int
    bucket_id: int
    unit: Unit
    accrued: int = 0
    posted: int = 0
    held: int = 0
    held_until: Instant = 0
    live: bool = True


class Counter(NamedTuple):
    """What is counted of one subscriber over a period that begins at `period_at`, and until when."""

    subscriber_id: int
    name: str
    """`rate:<plan>:<line>` in whole steps, or `bucket:<id>` in the bucket's unit."""
    period_at: Instant
    until_at: Instant


@dataclass(slots=True)
class Tally:
    """A row of the tally table: how far a counter has come."""

    account_id: int
    subscriber_id: int
    name: str
    period_at: Instant
    until_at: Instant
    amount: int = 0


class UsageLine(NamedTuple):
    """A row of the usage_line table: what one report added."""

    account_id: int
    session_id: int
    line_no: int
    recorded_at: Instant
    event_at: Instant
    kind: str
    octets_up_from: int
    octets_up_to: int
    octets_down_from: int
    octets_down_to: int
    seconds_from: int
    seconds_to: int
    amount_micros: int
    draws: str
    free_octets: int
    flags: str
    raw: str
    rated: str = ""


class Command(NamedTuple):
    """A row of the command table: a CoA or Disconnect that must reach a NAS."""

    account_id: int
    command_id: int
    session_id: int
    nas_id: int
    action: CommandAction
    version: int
    reason: str
    not_before: Instant
    created_at: Instant


class Notice(NamedTuple):
    """A row of the notice table: something that a subscriber or an operator should hear of."""

    account_id: int
    notice_id: int
    session_id: int | None
    bucket_id: int | None
    subscriber_id: int | None
    kind: NoticeKind
    detail: str
    facts: str
    created_at: Instant


class Request(NamedTuple):
    """A row of the top_up_request table: a billing system shall charge the subscriber's card."""

    account_id: int
    request_id: int
    amount_micros: int
    amount: str
    balance_micros: int
    created_at: Instant


class Answer(NamedTuple):
    """What became of an open request: paid, declined or cancelled."""

    account_id: int
    request_id: int
    answered_at: Instant
    status: str
    answer: str


class Observation(NamedTuple):
    """What was seen of a NAS: `silent`, `not-applied`, `still-alive`, `limit-not-kept`; `answered` ends a silence."""

    nas_id: int
    nas_address: str
    what: str
    at: Instant


class Binding(NamedTuple):
    """What the first report adds to a session that a login opened."""

    account_id: int
    session_id: int
    session_key: str
    acct_session_id: bytes
    nas_port_id: str | None
    calling_station: str | None
    framed_address: str | None
    called_station: str
    nas_username: str | None


class Opening(NamedTuple):
    """What only the database keeps of a new session."""

    username: str
    nas_port_id: str | None
    calling_station: str | None
    framed_address: str | None
    nas_username: str | None = None


class Book:
    """One account, its usable buckets, its live sessions, and the closed ones that a report may still speak of.

    Books are made by the thousand and kept open for long, so what few batches change of one is kept in tuples and frozen sets: an
    empty one takes neither time nor memory.
    """

    knows_tallies: bool = False
    """They were read from the database, or there were none; most accounts never need them."""
    is_alone: bool = False
    """Only one session at a time can use the account: it has one subscriber, who may have no more. Known, and asked, only where that decides."""
    quiet_until: Instant = 0
    """Nothing is due before; 0: not known."""
    lines: dict[int, Line] | None = None
    """Subscribers; read where a period may begin."""
    _usable: list[Bucket] | None = None
    _scoped: bool | None = None

    # What has changed since the book was opened.
    changed_account: bool = False
    """More of the account than its version and the ledger's end,"""
    changed_terms: bool = False
    """among it what operators agreed."""
    new_buckets: frozenset[int] = frozenset()
    changed_tallies: frozenset[tuple[int, str, int]] = frozenset()
    new_tallies: frozenset[tuple[int, str, int]] = frozenset()
    bindings: tuple[Binding, ...] = ()
    usage_lines: tuple[UsageLine, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    commands: tuple[Command, ...] = ()
    notices: tuple[Notice, ...] = ()
    requests: tuple[Request, ...] = ()
    answers: tuple[Answer, ...] = ()
    observations: tuple[Observation, ...] = ()
    ended: tuple[int, ...] = ()
    """Sessions that were closed: what their NAS was to be told is of no use any more."""
    withdrawn: tuple[int, ...] = ()
    """Sessions whose NAS has just been told otherwise: what it was to be told before is of no use any more."""
    resumed: tuple[Session, ...] = ()
    """New sessions of a login that has addresses of a pool, which may have been given back meanwhile."""
    moved: bool = False
    """A bucket has ended, or something of a subscription has changed: the next five say what. Few batches ask further."""
    revised_buckets: frozenset[int] = frozenset()
    """Whose end has changed, or come."""
    changed_subscriptions: frozenset[int] = frozenset()
    new_subscriptions: frozenset[int] = frozenset()
    paid_periods: tuple[PaidPeriod, ...] = ()
    contracts: tuple[Contract, ...] = ()
    """Whose plan, or whose version of it, is another one now."""

    def __init__(self, account: Account, new_id: Callable[[], int], plans: Callable[[int], Plan]) -> None:
        """`new_id`: an id for a row of this account, a new one each time. `plans`: the plan version of an id; immutable."""
        self.account = account
        self.new_id = new_id
        self.plans = plans
        self.buckets: dict[int, Bucket] = {}
        self.sessions: dict[int, Session] = {}
        self.charges: dict[tuple[int, int, str], Charge] = {}
        self.tallies: dict[tuple[int, str, int], Tally] = {}
        self.subscriptions: dict[int, Subscription] = {}
        """By subscriber: those whose plan is sold by periods."""
        self.settled_states: dict[int, tuple[object, ...]] = {}
        """Per session: what the database has of the fields that few reports change."""
        self.newest: dict[str, int] = {}
        """Plan name → its newest version; read where a period may begin."""
        self.openings: dict[int, Opening] = {}
        """Of sessions that may have to go on under another version; read where a period may begin."""
        self._rated: tuple[str, dict[int, Rated]] = ("", {})

        # What has changed, too: most batches change these.
        self.changed_buckets: set[int] = set()
        self.changed_sessions: set[int] = set()
        self.changed_charges: set[tuple[int, int, str]] = set()
        self.new_sessions: dict[int, Opening] = {}
        self.new_charges: set[tuple[int, int, str]] = set()

    def turn_page(self) -> None:
        """Everything that changed is in the database: go on from there, without the sessions that have ended."""
        if self.changed:
            self.account.version += 1
            self.changed_account = self.changed_terms = False
        self._usable = None
        closed = [s.session_id for s in self.sessions.values() if s.closed_at is not None]
        for session_id in closed:
            del self.sessions[session_id]
            self.settled_states.pop(session_id, None)
        if closed:
            self.charges = {key: charge for key, charge in self.charges.items() if key[0] in self.sessions}
        for changes in (self.changed_buckets, self.changed_sessions, self.changed_charges, self.new_charges):
            changes.clear()
        self.new_sessions.clear()
        self.new_buckets = frozenset()
        self.changed_tallies = self.new_tallies = frozenset()
        self.bindings = ()
        self.usage_lines = ()
        self.transfers = ()
        self.commands = ()
        self.notices = ()
        self.requests = ()
        self.answers = ()
        self.observations = ()
        self.ended = self.withdrawn = ()
        self.resumed = ()
        if self.moved:
            self._forget_moves()

    def _forget_moves(self) -> None:
        self.moved = False
        self.revised_buckets = self.changed_subscriptions = self.new_subscriptions = frozenset()
        self.paid_periods = ()
        self.contracts = ()
        self.newest, self.lines, self.openings = {}, None, {}

    @property
    def changed(self) -> bool:
        """Is there anything to write?"""
        return bool(
            self.changed_sessions or self.changed_buckets or self.commands or self.changed_account or self.observations
            or (self.moved and (self.changed_subscriptions or self.new_subscriptions or self.contracts))
        )  # fmt: skip

    @property
    def due_at(self) -> Instant:
        """When the next bucket or period ends, or something else of a subscription is due."""
        if not self.quiet_until:
            ends = [b.expires_at for b in self.buckets.values() if b.expires_at is not None and b.closed_at is None]
            ends += [s.due_at for s in self.subscriptions.values() if s.due_at is not None]
            self.quiet_until = min(ends, default=NEVER)
        return self.quiet_until

    def serves(self, subscriber_id: int) -> bool:
        """May this subscriber use what the account has?"""
        found = self.subscriptions.get(subscriber_id)
        return found is None or found.state in SERVED

    def revise_bucket(self, bucket: Bucket) -> None:
        """Its end has changed, or come."""
        self.moved = True
        self.revised_buckets |= {bucket.bucket_id}
        self.changed_buckets.add(bucket.bucket_id)
        self._usable, self.quiet_until = None, 0

    def revise_subscription(self, subscription: Subscription) -> None:
        """It has changed, or is new."""
        known = subscription.subscriber_id in self.subscriptions
        self.subscriptions[subscription.subscriber_id] = subscription
        if known and subscription.subscriber_id not in self.new_subscriptions:
            self.changed_subscriptions |= {subscription.subscriber_id}
        else:
            self.new_subscriptions |= {subscription.subscriber_id}
        self.moved = True
        self.quiet_until = 0

    def agree_on(self, contract: Contract) -> None:
        """A subscriber has another plan, or another version of it."""
        self.moved = True
        self.contracts += (contract,)

    def live_sessions(self) -> list[Session]:
        """Those that are not closed, oldest first."""
        return sorted((s for s in self.sessions.values() if s.closed_at is None), key=lambda s: s.session_id)

    def usable_buckets(self, now: Instant) -> list[Bucket]:
        """Those valid now, in draw order."""
        if self._usable is None:
            self._usable = usable(list(self.buckets.values()), now)
        return self._usable

    def rated_of(self, session: Session) -> dict[int, Rated]:
        """What a session has been charged per price line, parsed once for a report; not to be changed."""
        text, rated = self._rated
        if text != session.rated:
            rated = read_rated(session.rated)
            self._rated = session.rated, rated
        return rated

    def keep_rated(self, session: Session, rated: dict[int, Rated]) -> None:
        """Write down what a session has been charged per price line."""
        session.rated = write_rated(rated)
        self._rated = session.rated, rated

    def is_plain(self, plan: Plan) -> bool:
        """Does it not matter when, where and by whom something is used?"""
        return not (plan.selective or self.is_scoped())

    def is_scoped(self) -> bool:
        """Is there a bucket that not every use may draw?"""
        if self._scoped is None:
            self._scoped = any(bucket.scope for bucket in self.buckets.values())
        return self._scoped

    def counted(self, counter: Counter) -> int:
        """How far a counter has come."""
        tally = self.tallies.get(counter[:3])
        return 0 if tally is None else tally.amount

    def count(self, counter: Counter, amount: int) -> None:
        """Let a counter go on."""
        key = counter[:3]
        tally = self.tallies.get(key)
        if tally is None:
            tally = self.tallies[key] = Tally(self.account.account_id, *counter)
            self.new_tallies |= {key}
        else:
            self.changed_tallies |= {key}
        tally.amount = min(tally.amount + amount, MAX_AMOUNT)

    def fresh_bucket_id(self) -> int:
        """An id that no bucket of the account has: catching up makes many in one millisecond."""
        while (bucket_id := self.new_id()) in self.buckets:
            pass
        return bucket_id

    def add_bucket(self, bucket: Bucket) -> Bucket:
        """Take a new bucket into the book; its balance comes by `move`."""
        self.buckets[bucket.bucket_id] = bucket
        self.new_buckets |= {bucket.bucket_id}
        self._usable, self.quiet_until = None, 0
        self._scoped = None
        return bucket

    def add_session(self, session: Session, opening: Opening) -> Session:
        """Take a new session into the book."""
        self.sessions[session.session_id] = session
        self.new_sessions[session.session_id] = opening
        return session

    def drop_session(self, session: Session) -> None:
        """Take a new session out again, as if it had never been: what it held goes back."""
        self.release(session)
        for key in [key for key in self.charges if key[0] == session.session_id]:
            del self.charges[key]
            self.new_charges.discard(key)
            self.changed_charges.discard(key)
        del self.sessions[session.session_id], self.new_sessions[session.session_id]

    def money_bucket(self) -> Bucket:
        """The bucket that money top-ups go to."""
        for bucket in self.buckets.values():
            if is_purse(bucket):
                return bucket
        raise LookupError(f"account {self.account.account_id} has no money bucket")

    def charge_of(self, session: Session, bucket_id: int, unit: Unit) -> Charge:
        """The session's charge on a bucket, new or known, marked as changed."""
        key = (session.session_id, bucket_id, unit)
        charge = self.charges.get(key)
        if charge is None:
            charge = Charge(session.account_id, session.session_id, bucket_id, unit, live=session.closed_at is None)
            self.charges[key] = charge
            self.new_charges.add(key)
        else:
            self.changed_charges.add(key)
        return charge

    def charges_of(self, session: Session) -> list[Charge]:
        """All of a session's charges."""
        return [c for c in self.charges.values() if c.session_id == session.session_id]

    # --- moving money ---------------------------------------------------------------------------------------------

    def draw(self, session: Session, bucket: Bucket, amount: int) -> None:
        """Take `amount` from a bucket for a session: the real-time debit. The ledger hears of it at `post`."""
        bucket.balance -= amount
        self.changed_buckets.add(bucket.bucket_id)
        self.charge_of(session, bucket.bucket_id, bucket.unit).accrued += amount

    def give_back(self, session: Session, micros: int) -> list[tuple[Bucket, int]]:
        """Money that a session has paid too much: to the buckets that it took it from, the latest first; what other sessions
        had paid of it, to the account's own. The buckets with what each got."""
        paid = [
            c for c in self.charges_of(session) if c.unit == "money" and c.accrued > 0 and c.bucket_id in self.buckets
        ]
        given: list[tuple[Bucket, int]] = []
        for charge in reversed(paid):
            if amount := min(charge.accrued, micros):
                given.append((self.buckets[charge.bucket_id], amount))
                micros -= amount
        if micros:
            given.append((self.money_bucket(), micros))
        for bucket, amount in given:
            self.draw(session, bucket, -amount)
        return given

    def move(
        self, bucket: Bucket, counter_account: str, amount: int, kind: str, reference: str, now: Instant, actor: str,
        *, effective_at: Instant | None = None,
    ) -> None:  # fmt: skip
        """A transfer between a counter-account and a bucket: into the bucket where `amount` > 0, else out of it.
        `effective_at`: when it was due, where that was earlier than now."""
        bucket.balance += amount
        self.changed_buckets.add(bucket.bucket_id)
        name = bucket_name(bucket.bucket_id)
        debit, credit = (counter_account, name) if amount > 0 else (name, counter_account)
        entry = Entry(debit, credit, bucket.unit, abs(amount))
        self._append(entry, kind, reference, now, actor, effective_at=effective_at)

    def move_back(self, entry: Entry, kind: str, reference: str, now: Instant, actor: str) -> int:
        """The opposite of an earlier transfer, in exactly the buckets that it drew and filled; its number."""
        for name, amount in ((entry.debit, entry.amount), (entry.credit, -entry.amount)):
            bucket_id = bucket_named(name)
            if bucket_id is not None:
                bucket = self.buckets[bucket_id]
                bucket.balance += amount
                self.changed_buckets.add(bucket_id)
                if bucket.closed_at is not None:
                    bucket.closed_at = None  # what comes back to a bucket whose time is over expires once more
                    self.revise_bucket(bucket)
        self._append(Entry(entry.credit, entry.debit, entry.unit, entry.amount), kind, reference, now, actor)
        self.changed_account = True  # a transfer between two counter-accounts changes no bucket
        return self.account.ledger_seq

    def carry(self, entry: Entry, kind: str, reference: str, session_id: int, now: Instant, actor: str) -> None:
        """A transfer about a closed session, between whatever it names."""
        for name, amount in ((entry.debit, -entry.amount), (entry.credit, entry.amount)):
            bucket_id = bucket_named(name)
            if bucket_id is not None:
                self.buckets[bucket_id].balance += amount
                self.changed_buckets.add(bucket_id)
        self._append(entry, kind, reference, now, actor, session_id=session_id)
        self.changed_account = True

    def end(self, session: Session, reason: str, now: Instant) -> None:
        """Close a session: its holds go back, what it used is posted. What it leaves is not yet given to others."""
        self.release(session)
        session.state = "closed"
        session.closed_at = now
        session.close_reason = reason
        self.ended += (session.session_id,)
        self.changed_sessions.add(session.session_id)
        self.post(session, now)
        for charge in self.charges_of(session):
            charge.live = False
            self.changed_charges.add((charge.session_id, charge.bucket_id, charge.unit))

    def post(self, session: Session, now: Instant) -> None:
        """Write what a session has accrued since the last time into the ledger, one transfer per bucket."""
        plan = self.plans(session.plan_version_id)
        for charge in self.charges_of(session):
            amount = charge.accrued - charge.posted
            if amount:
                source = (
                    bucket_name(charge.bucket_id)
                    if charge.bucket_id != SHORTFALL
                    else f"shortfall:nas-{session.nas_id}"
                )
                revenue = f"revenue:{plan.name}"
                reference = f"session:{session.session_id}:{session.line_no}"
                # What was given back goes the other way: a transfer has no negative amount.
                debit, credit = (source, revenue) if amount > 0 else (revenue, source)
                entry = Entry(debit, credit, charge.unit, abs(amount))
                self._append(
                    entry, "usage" if amount > 0 else "credit", reference, now, "server", session_id=session.session_id
                )
                charge.posted = charge.accrued
                self.changed_charges.add((charge.session_id, charge.bucket_id, charge.unit))
        session.posted_at = now

    def _append(
        self, entry: Entry, kind: str, reference: str, now: Instant, actor: str, *, session_id: int | None = None,
        effective_at: Instant | None = None,
    ) -> None:  # fmt: skip
        account = self.account
        account.ledger_seq += 1
        effective_at = now if effective_at is None else effective_at
        fields = (account.account_id, account.ledger_seq, *entry, kind, reference, session_id, effective_at, now, actor)
        account.ledger_hash = chained(account.ledger_hash, fields)
        self.transfers += (Transfer(*fields, account.ledger_hash),)

    # --- holds ----------------------------------------------------------------------------------------------------

    def release(self, session: Session) -> None:
        """Give back what a session holds."""
        for charge in self.charges_of(session):
            if charge.held:
                bucket = self.buckets.get(charge.bucket_id)
                if bucket is not None:
                    bucket.held -= charge.held
                    self.changed_buckets.add(bucket.bucket_id)
                charge.held = 0
                self.changed_charges.add((charge.session_id, charge.bucket_id, charge.unit))

    def coverable(self, session: Session, plan: Plan, want: Usage, now: Instant) -> Coverage:
        """How far a plain plan's unheld balances cover a usage."""
        return cover(
            plan.ahead,
            want,
            self.usable_buckets(now),
            _unheld,
            self.rated_of(session),
            self.account.credit_limit_micros,
        )

    def hold(self, session: Session, coverage: Coverage, until: Instant) -> None:
        """Reserve what covers a session's next slice; what it held before was released."""
        for bucket, amount in coverage.draws:
            bucket.held += amount
            self.changed_buckets.add(bucket.bucket_id)
            charge = self.charge_of(session, bucket.bucket_id, bucket.unit)
            charge.held += amount
            charge.held_until = until

    def keeps_octets(self, session: Session, want_octets: int, now: Instant) -> bool:
        """Does the session keep what it holds of octets? The common case, and much cheaper to see than to hold anew: all of
        it is on the bucket of octets that is drawn first. Only for plans that charge nothing but octets in total."""
        for bucket in self.usable_buckets(now):
            if bucket.unit == "octets":
                return bucket.direction == "total" and self.keeps(session, bucket, want_octets)
        return False

    def keeps(self, session: Session, bucket: Bucket, amount: int) -> bool:
        """Go on holding what the session holds of a bucket, where that is what it needs now and not much more, and the
        bucket still covers its holds."""
        key = (session.session_id, bucket.bucket_id, bucket.unit)
        charge = self.charges.get(key)
        if charge is None or not amount <= charge.held <= enough(amount) or bucket.held > bucket.balance:
            return False
        charge.held_until = session.stale_at
        self.changed_charges.add(key)
        return True

    def trim_holds(self) -> list[Session]:
        """Cut back holds that a bucket no longer covers, youngest session first; the sessions that lost some.

        A session that used more than its own hold has drawn what another one held. The holds must never exceed what
        is there, or two sessions would be told that the same money is theirs.
        """
        trimmed: list[Session] = []
        for bucket in self.buckets.values():
            limit = bucket.balance + (self.account.credit_limit_micros if is_purse(bucket) else 0)
            if bucket.held <= max(limit, 0):
                continue
            held = [c for c in self.charges.values() if c.bucket_id == bucket.bucket_id and c.held]
            for charge in sorted(held, key=lambda c: -c.session_id):
                cut = min(charge.held, bucket.held - max(limit, 0))
                if cut <= 0:
                    break
                charge.held -= cut
                bucket.held -= cut
                self.changed_buckets.add(bucket.bucket_id)
                self.changed_charges.add((charge.session_id, charge.bucket_id, charge.unit))
                trimmed.append(self.sessions[charge.session_id])
        return trimmed

    # --- what must follow ----------------------------------------------------------------------------------------

    def notify(
        self,
        kind: NoticeKind,
        detail: str,
        now: Instant,
        *,
        session: Session | None = None,
        bucket: Bucket | None = None,
        subscriber_id: int | None = None,
        facts: Facts = MappingProxyType({}),
    ) -> None:
        """Write a notice in the transaction that causes it, about a session's subscriber, another one, or the whole
        account. `facts`: what its text may say, by the names of charging.notices.kinds."""
        notice = Notice(
            self.account.account_id,
            self.new_id(),
            None if session is None else session.session_id,
            None if bucket is None else bucket.bucket_id,
            subscriber_id if session is None else session.subscriber_id,
            kind,
            detail,
            json.dumps(dict(facts), ensure_ascii=False, separators=(",", ":")),
            now,
        )
        self.notices += (notice,)

    def observe(self, session: Session, what: str, now: Instant) -> None:
        """The NAS of a session did not do what it was told, or did not answer."""
        self.observations += (Observation(session.nas_id, session.nas_address, what, now),)

    def answered(self, session: Session) -> None:
        """It answers."""
        self.observations += (Observation(session.nas_id, session.nas_address, "answered", 0),)

    def command(self, session: Session, wanted: Wanted, reason: str, now: Instant, *, not_before: Instant = 0) -> None:
        """Write what the NAS must now apply to a session. Only the latest wanted state matters, so it gets a new
        version, and commands for older ones are superseded when this is stored."""
        session.wanted = wanted
        session.wanted_reason = reason
        session.wanted_version += 1
        self.changed_sessions.add(session.session_id)
        ends = wanted == "cut" or (wanted == "exhausted" and session.means in {"disconnect", "time"})
        action: CommandAction = "disconnect" if ends else "profile"
        command = Command(
            session.account_id,
            self.new_id(),
            session.session_id,
            session.nas_id,
            action,
            session.wanted_version,
            reason,
            not_before or now,
            now,
        )
        self.commands += (command,)

    def told_at_login(self, session: Session, now: Instant) -> None:
        """An Accept says itself what is wanted: an order that still waits, or is on its way, is about the past."""
        if session.acked_version < session.wanted_version:
            self.commands = tuple(c for c in self.commands if c.session_id != session.session_id)
            self.withdrawn += (session.session_id,)
            session.wanted_version += 1
        session.acked_version, session.acked_at = session.wanted_version, now
        session.acked_profile = session.profile
        session.failed_commands = 0
        self.changed_sessions.add(session.session_id)


def enough(amount: int) -> int:
    """The most that a session goes on holding where it needs `amount`: a slice is now a little longer, now a little
    shorter, as its NAS reports."""
    return amount + amount // 8


def _unheld(bucket: Bucket) -> int:
    return bucket.balance - bucket.held
