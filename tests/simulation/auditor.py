"""The auditor: believes the NASes' own logs and the billing systems' own books, and does its own sums over the database.

It knows nothing of the server's code: of the product it imports the class of a NAS's log lines, and no more. What it
finds has the name of a check, which is the name of the function that made it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatchcase
from fractions import Fraction
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final, NamedTuple, Protocol

from aaa.simulator import Event
from tests.simulation import contracts
from tests.simulation.contracts import AHEAD_OF_UTC_MS, DAY_MS, HOUR_MS, NEVER

Rows = Callable[..., list[tuple[Any, ...]]]
HALF_A_COUNTER = 2**31
#: A report's way to the books, and the longest that an order takes with its repetitions.
REPORT_SECONDS = 5
ORDER_SECONDS = 30
#: A session's interval is at least 60 s; this is how long a NAS that lives is silent at most, with some room.
SILENT_MS = 200_000

#: How often the simulation's nodes look for windows that begin or end, and how long such a look may take.
REVIEWED_EVERY_MS: Final = 5_000
_UNTIL_REVIEWED_MS: Final = REVIEWED_EVERY_MS + 2_000
#: What the ledger calls what was ordered.
_ORDERED: Final = {
    "voucher": "redeem", "transfer": "transfer", "refund": "refund", "adjustment": "adjust", "reversal": "reverse",
}  # fmt: skip


class Finding(NamedTuple):
    """Something that must not be."""

    at: int
    check: str
    words: str


class Witness(NamedTuple):
    """A NAS's log, and whether it does what it is told."""

    name: str
    address: str
    log: Sequence[Event]
    obeys: bool
    wraps: bool
    """It has 32-bit counters."""
    shapes: bool
    """It keeps a session to the rate that it was told."""
    says_time: bool = True
    """Its reports carry an Event-Timestamp."""


class Payment(Protocol):
    """A row that a billing system wrote; `amount` None: one that can not be read."""

    @property
    def source(self) -> str: ...
    @property
    def external_ref(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def amount(self) -> int | None: ...


class Order(Protocol):
    """A row that a billing system ordered something with; `amount`: what it adds to the account, None where it depends."""

    @property
    def reference(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def amount(self) -> int | None: ...
    @property
    def to_account(self) -> str | None: ...
    @property
    def code(self) -> str | None: ...
    @property
    def seq(self) -> int | None: ...


class Figures(NamedTuple):
    """Octets up and down, and seconds, of a session, as its NAS counted them in truth."""

    up: int = 0
    down: int = 0
    seconds: int = 0

    def highest(self, other: Figures) -> Figures:
        return Figures(*map(max, self, other))

    def plus(self, other: Figures) -> Figures:
        return Figures(*(a + b for a, b in zip(self, other, strict=True)))

    def covers(self, other: Figures) -> bool:
        return all(a >= b for a, b in zip(self, other, strict=True))


@dataclass
class Truth:
    """What a NAS's log says of one of its sessions."""

    nas: Witness
    username: str = ""
    acct_session_id: str = ""
    sent: Figures = Figures()  # noqa: RUF009  a value
    acked: Figures = Figures()  # noqa: RUF009  a value
    """What the books must hold at least."""
    last_acked: Figures = Figures()  # noqa: RUF009  a value
    reset: Figures | None = None
    ambiguous: bool = False
    """Its counters may have gone round between two answered reports: nobody can know how often."""
    told: dict[str, Any] = field(default_factory=dict)
    told_at: int = 0
    mistaken: bool = False
    """What it was told may have been meant for another one: their NAS gives both the same names, and an order has no other."""
    online: bool = False
    stopped: bool = False
    """Its Stop was answered."""
    answered_at: int = 0

    @property
    def name(self) -> tuple[str, str, str]:
        """What its reports say of it."""
        return self.nas.address, self.username, self.acct_session_id


class Service(NamedTuple):
    """What the books want of a session."""

    session: int
    wanted: str
    pace: int
    """The part of its rates, in thousandths, that it lands at softly when little is left."""
    profile: str
    cap: str


class Range(NamedTuple):
    """An amount that is not known exactly."""

    least: int
    most: int


class Use(NamedTuple):
    """What a report added that money paid for."""

    begin: int
    """0 where nobody knows."""
    end: int
    lines: dict[int, tuple[int, int]]
    """By price line: units and micros."""
    used: Figures | None
    """All that it added; None where something else paid for a part of it."""


@dataclass
class Sums:
    """What a session's usage lines add up to."""

    charged: int = 0
    """Micros, by the lines' own word."""
    units: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Octets and seconds that were used, "octets covered" and "seconds covered" by buckets or shortfall, money drawn."""
    lines: dict[int, tuple[int, int]] = field(default_factory=lambda: defaultdict(lambda: (0, 0)))
    """By price line: units and micros."""
    bought: bool = False
    """Something was drawn from a bucket."""
    uses: list[Use] = field(default_factory=list)

    def add(self, used: Figures, free: int, micros: int, draws: list[Any], rated: str, event_at: int) -> None:
        """One usage line."""
        octets, seconds = used.up + used.down - free, used.seconds
        self.charged += micros
        self.units["octets"] += octets
        self.units["seconds"] += seconds
        for bucket, unit, amount in draws:
            self.bought = self.bought or bucket > 0
            self.units[unit if unit == "money" else f"{unit} covered"] += amount
        added = {}
        for part in rated.split():
            index, amount, paid = map(int, part.split(":"))
            before = self.lines[index]
            self.lines[index] = before[0] + amount, before[1] + paid
            added[index] = amount, paid
        if added:
            alone = not free and not any(unit != "money" for _, unit, _ in draws)
            self.uses.append(Use(event_at - seconds * 1000 if seconds else 0, event_at, added, used if alone else None))


class Auditor:
    """See the module. Findings gather in `findings`; one check complains at most ten times."""

    def __init__(
        self,
        rows: Rows,
        witnesses: Sequence[Witness],
        paid: Sequence[Payment],
        ordered: Sequence[Order],
        arranged: Sequence[contracts.Arranged],
        spooled: Callable[[], bytes],
        *,
        fair: bool,
    ) -> None:
        self.findings: list[Finding] = []
        self.answers = 0
        self._rows = rows
        self._witnesses = witnesses
        self._paid = paid
        self._ordered = ordered
        self._arranged = arranged
        self._spooled = spooled
        """What waits on the nodes' own disks."""
        self._fair = fair
        """Nothing was lost, nothing broke, and every NAS obeys: then no session passes its bound."""
        self._read = [0] * len(witnesses)
        self._truths: dict[tuple[str, int], Truth] = {}
        self._named: dict[tuple[str, str, str], list[Truth]] = defaultdict(list)
        self._accepted: dict[tuple[str, str], int] = defaultdict(int)
        self._hashes: dict[tuple[int, int], str] = {}
        self._closed: dict[tuple[int, int], int] = {}
        self._lines: set[tuple[int, int, int]] = set()
        self._moved: dict[tuple[int, int], int] = {}
        self._ends: dict[tuple[int, int], int | None] = {}
        self._looked_at = 0
        self._done: dict[tuple[int, int], str] = {}

    def _complain(self, at: int, check: str, words: str) -> None:
        if sum(1 for finding in self.findings if finding.check == check) < 10:
            self.findings.append(Finding(at, check, words))

    # --- while it happens: what a NAS was answered is in the books ---------------------------------------------------

    def hear(self, now: int) -> None:
        """Read what is new in the NASes' logs. To be called at once after whatever they heard."""
        for index, witness in enumerate(self._witnesses):
            log = witness.log
            while self._read[index] < len(log):
                event = log[self._read[index]]
                self._read[index] += 1
                self._hear(witness, event, now)

    def _hear(self, witness: Witness, event: Event, now: int) -> None:
        fields: dict[str, Any] = event.fields
        if event.session is None:
            if event.kind == "accounting-answered":
                self._restart_answered(witness, now)
            return
        truth = self._truths.get((witness.name, event.session))
        if truth is None:
            truth = self._truths[witness.name, event.session] = Truth(witness)
        said = Figures(fields.get("octets_up", 0), fields.get("octets_down", 0), fields.get("seconds", 0))
        match event.kind:
            case "accepted":
                truth.username, truth.acct_session_id = fields["username"], fields["acct_session_id"]
                truth.online = True
                self._named[truth.name].append(truth)
                self._accepted[witness.address, truth.username] += 1
                self.logins(witness.address, truth.username, now)
            case "accounting-sent":
                truth.sent = truth.sent.highest(said)
            case "accounting-answered":
                self.answers += 1
                self._acked(truth, fields, said, now)
                self.durability(truth, now)
            case "counters-reset":
                truth.reset = said
            case "told":
                truth.told, truth.told_at = fields, now
                truth.mistaken = self._has_namesake(truth)
            case "ended":
                truth.online = False
            case _:
                pass

    def _acked(self, truth: Truth, fields: dict[str, Any], said: Figures, now: int) -> None:
        truth.answered_at = now
        truth.stopped = truth.stopped or fields["status"] == "Stop"
        if "octets_up" not in fields:
            return
        if truth.nas.wraps and max(said.up - truth.last_acked.up, said.down - truth.last_acked.down) > HALF_A_COUNTER:
            truth.ambiguous = True
        truth.last_acked = truth.last_acked.highest(said)
        if truth.reset is not None:
            if not said.covers(truth.reset):
                return  # from before the reset, and late: it can no longer be told from what came after
            # What was used between the last report and the reset is known to nobody but the NAS; and if it counted
            # further than before in the meantime, nobody can see that there was a reset.
            said = Figures(said.up - truth.reset.up, said.down - truth.reset.down, said.seconds)
        truth.acked = truth.acked.highest(said)

    def _marks(self, name: tuple[str, str, str]) -> list[tuple[Any, ...]]:
        address, username, acct_session_id = name
        return self._rows(
            "SELECT octets_up, octets_down, seconds, closed_at FROM session "
            "WHERE nas_address = ? AND username = ? AND acct_session_id = ?",
            address, username, acct_session_id.encode(),
        )  # fmt: skip

    def durability(self, truth: Truth, now: int) -> None:
        """What was answered is recorded: the books' marks are at least what the answered reports said, or a report of
        that session still stands on a node's disk."""
        missing = self._missing(truth)
        if missing and truth.acct_session_id.encode() not in self._spooled():
            self._complain(now, "durability", f"{truth.name}: {missing}")

    def _missing(self, truth: Truth) -> str:
        marks = self._marks(truth.name)
        group = self._named[truth.name]
        if any(each.ambiguous for each in group) or self._orphans(truth.name):
            return ""
        if not marks:
            return "a report was answered, the books know no such session" if truth.answered_at else ""
        booked, acked = _total(Figures(*row[:3]) for row in marks), _total(each.acked for each in group)
        if not booked.covers(acked):
            return f"answered up to {acked}, the books have {booked}"
        # Where the time is not said, a Start that was held back for longer than its session lasted seems to begin another one:
        # nothing is charged to that, and silence ends it.
        live = sum(1 for *used, closed_at in marks if closed_at is None and (truth.nas.says_time or any(used)))
        if truth.stopped and live > sum(1 for each in group if not each.stopped):
            return f"its Stop was answered, {live} of its sessions are live"
        return ""

    def _orphans(self, name: tuple[str, str, str]) -> int:
        address, username, acct_session_id = name
        found: int = self._rows(
            "SELECT count(*) FROM orphan_report WHERE nas_address = ? AND username = ? AND acct_session_id = ?",
            address, username, acct_session_id.encode(),
        )[0][0]  # fmt: skip
        return found

    def _restart_answered(self, witness: Witness, now: int) -> None:
        known = self._rows("SELECT count(*) FROM nas_restart WHERE nas_address = ?", witness.address)[0][0]
        if not known and witness.name.encode() not in self._spooled():
            self._complain(
                now, "durability", f"{witness.name}: its Accounting-On or -Off was answered and is not recorded"
            )

    def logins(self, address: str, username: str, now: int) -> None:
        """Whoever was let in has a session in the books, opened by that login or by one of the same device before."""
        found = self._rows(
            "SELECT count(*) FROM session WHERE nas_address = ? AND username = ?", address, username
        )[0][0]  # fmt: skip
        if not found:
            self._complain(now, "logins", f"{username} was let in at {address}, the books know no session")

    # --- now and then: the books agree with themselves ---------------------------------------------------------------

    def look(self, now: int) -> None:
        """What must hold at every moment."""
        self.hear(now)
        self.money(now)
        self.periods(now)
        self.spans(now)
        self.holds(now)
        self.octets(now)
        self.draw_order(now)
        self.scopes(now)
        self.sessions(now)
        self.immutability(now)
        self.top_ups(now)
        self.orders(now)
        self.last_words(now)
        self.told(now)
        self._looked_at = now

    def money(self, now: int) -> None:
        """A bucket's balance is the sum of its transfers less what was taken from it and is not yet posted; what counts
        as posted is in the ledger; nobody goes below his limit."""
        moved: dict[tuple[int, str, str], int] = defaultdict(int)
        posted: dict[tuple[int, int, str, str], int] = defaultdict(int)
        for account, debit, credit, unit, amount, session, kind in self._rows(
            "SELECT account_id, debit, credit, unit, amount, session_id, kind FROM transfer"
        ):
            moved[account, credit, unit] += amount
            moved[account, debit, unit] -= amount
            if kind == "usage":
                posted[account, session, debit, unit] += amount
            elif kind == "credit":  # a volume tier has made cheaper what was paid
                posted[account, session, credit, unit] -= amount
        unposted: dict[tuple[int, int], int] = defaultdict(int)
        nas_of = {(a, s): nas for a, s, nas in self._rows("SELECT account_id, session_id, nas_id FROM session")}
        for account, session, bucket, unit, accrued, on_record in self._rows(
            "SELECT account_id, session_id, bucket_id, unit, accrued, posted FROM session_charge"
        ):
            unposted[account, bucket] += accrued - on_record
            name = f"bucket:{bucket}" if bucket else f"shortfall:nas-{nas_of.get((account, session))}"
            in_ledger = posted.pop((account, session, name, unit), 0)
            if in_ledger != on_record:
                words = f"session {session}, {name}: {on_record} {unit} posted, the ledger has {in_ledger}"
                self._complain(now, "money", words)
        for key, amount in posted.items():
            self._complain(now, "money", f"the ledger has {amount} of {key}, no session was charged for it")
        credit_of: dict[int, int] = dict(self._rows("SELECT account_id, credit_limit_micros FROM account"))
        for account, bucket, unit, balance in self._rows("SELECT account_id, bucket_id, unit, balance FROM bucket"):
            right = moved.get((account, f"bucket:{bucket}", unit), 0) - unposted[account, bucket]
            if balance != right:
                self._complain(now, "money", f"bucket {bucket}: balance {balance} {unit}, its rows make {right}")
            if balance < (-credit_of[account] if unit == "money" else 0):
                self._complain(now, "limit", f"account {account}, bucket {bucket}: {balance} {unit}")

    def periods(self, now: int) -> None:
        """What is over is empty; a price is only paid for a period that there is."""
        for bucket, balance in self._rows(
            "SELECT bucket_id, balance FROM bucket WHERE closed_at IS NOT NULL AND balance <> 0"
        ):
            self._complain(now, "periods", f"bucket {bucket} is over, and has {balance}")
        for account, reference in self._rows(
            "SELECT account_id, reference FROM transfer WHERE kind = 'renewal' EXCEPT "
            "SELECT account_id, reference FROM subscription_period"
        ):
            self._complain(now, "periods", f"account {account}: {reference} was paid, and there is no such period")

    def contracts(self, now: int) -> None:
        """Periods cost and bring what their plans say, a change of plans gives back what it must, a pause moves the end,
        and service is for who has paid."""
        for words in contracts.audit(self._rows, self._arranged, now):
            self._complain(now, "contracts", words)

    def spans(self, now: int, *, to_the_present: bool = False) -> None:
        """What comes every day was granted once for each, from midnight to midnight, without a gap."""
        granted: dict[tuple[int, str], list[int]] = defaultdict(list)
        for account, bucket, amount in self._rows(
            "SELECT account_id, credit, amount FROM transfer WHERE kind = 'grant'"
        ):
            granted[account, bucket].append(amount)
        others = {row[0] for row in self._rows("SELECT subscriber_id FROM subscription_period")}
        """Days of a plan that is sold by periods, or of several plans, need not follow each other."""
        changed = {each.username for each in self._arranged}
        for subscriber, username in self._rows("SELECT subscriber_id, username FROM subscriber"):
            if username in changed:
                others.add(subscriber)
        until: dict[tuple[int, int, str], int] = {}
        for account, subscriber, name, bucket, amount, start, end in self._rows(
            "SELECT account_id, subscriber_id, name, bucket_id, granted, valid_from, expires_at FROM bucket "
            "WHERE every = '1 day' AND rolled = 0 ORDER BY account_id, subscriber_id, name, valid_from"
        ):
            where = f"subscriber {subscriber}, {name}, bucket {bucket}"
            if granted[account, f"bucket:{bucket}"] != [amount]:
                self._complain(now, "spans", f"{where} was not granted once")
            if subscriber in others:
                continue
            # Midnight in UTC or in Fiji, twelve hours ahead.
            if end % (12 * HOUR_MS) or start != until.get((account, subscriber, name), start):
                self._complain(now, "spans", f"{where} is from {start} to {end}, the one before ended otherwise")
            until[account, subscriber, name] = end
        if not to_the_present:
            return
        waiting = set(self._rows("SELECT account_id, subscriber_id FROM subscription WHERE state = 'waiting'"))
        for (account, subscriber, name), end in until.items():
            if end <= now and (account, subscriber) not in waiting:
                self._complain(now, "spans", f"subscriber {subscriber}, {name}: nothing since {end}")

    def holds(self, now: int) -> None:
        """What a bucket says is held is what live sessions hold of it, and never more than there is."""
        held: dict[tuple[int, int], int] = defaultdict(int)
        for account, bucket, session, amount, closed_at in self._rows(
            "SELECT c.account_id, c.bucket_id, c.session_id, c.held, s.closed_at FROM session_charge AS c "
            "JOIN session AS s ON s.account_id = c.account_id AND s.session_id = c.session_id WHERE c.held <> 0"
        ):
            held[account, bucket] += amount
            if closed_at is not None:
                self._complain(now, "holds", f"session {session} is closed and holds {amount} of bucket {bucket}")
        for account, bucket, unit, balance, says, credit in self._rows(
            "SELECT b.account_id, b.bucket_id, b.unit, b.balance, b.held, a.credit_limit_micros FROM bucket AS b "
            "JOIN account AS a ON a.account_id = b.account_id"
        ):
            if says != held[account, bucket]:
                self._complain(now, "holds", f"bucket {bucket}: {says} held, its sessions hold {held[account, bucket]}")
            if says > max(0, balance + (credit if unit == "money" else 0)):
                self._complain(now, "holds", f"bucket {bucket}: {says} held of a balance of {balance} {unit}")

    def octets(self, now: int) -> None:
        """A session's marks are the sum of its usage lines, and not more than its NAS has ever said; what its lines drew
        is what it was charged."""
        used: dict[tuple[int, int], Figures] = defaultdict(Figures)
        drawn: dict[tuple[int, int, int, str], int] = defaultdict(int)
        for account, session, up, down, seconds, draws in self._rows(
            "SELECT account_id, session_id, octets_up_to - octets_up_from, octets_down_to - octets_down_from, "
            "seconds_to - seconds_from, draws FROM usage_line"
        ):
            used[account, session] = used[account, session].plus(Figures(up, down, seconds))
            for bucket, unit, amount in json.loads(draws):
                drawn[account, session, bucket, unit] += amount
        by_name: dict[tuple[str, str, str], Figures] = defaultdict(Figures)
        for account, session, up, down, seconds, address, username, acct_session_id in self._rows(
            "SELECT account_id, session_id, octets_up, octets_down, seconds, nas_address, username, acct_session_id "
            "FROM session"
        ):
            marks = Figures(up, down, seconds)
            if marks != used[account, session]:
                self._complain(
                    now, "octets", f"session {session}: marks {marks}, its lines make {used[account, session]}"
                )
            if acct_session_id is not None:
                name = address, username, bytes(acct_session_id).decode()
                by_name[name] = by_name[name].plus(marks)
        for name, marks in by_name.items():
            if any(truth.ambiguous for truth in self._named.get(name, ())):
                continue
            sent = _total(truth.sent for truth in self._named.get(name, ()))
            if not sent.covers(marks):
                self._complain(now, "octets", f"{name}: the books have {marks}, its NAS never said more than {sent}")
        for account, session, bucket, unit, accrued in self._rows(
            "SELECT account_id, session_id, bucket_id, unit, accrued FROM session_charge"
        ):
            if drawn.pop((account, session, bucket, unit), 0) != accrued:
                self._complain(
                    now, "octets", f"session {session}, bucket {bucket}: charged {accrued}, its lines drew other"
                )
        for key, amount in drawn.items():
            if amount:
                self._complain(now, "octets", f"lines drew {amount} of {key}, the session was not charged")

    def draw_order(self, now: int) -> None:
        """Nothing was drawn from a bucket while there was something in one that goes before it."""
        new: dict[tuple[int, int], int] = defaultdict(int)
        for account, session, line, draws in self._rows(
            "SELECT account_id, session_id, line_no, draws FROM usage_line"
        ):
            if (account, session, line) not in self._lines:
                self._lines.add((account, session, line))
                for bucket, _unit, amount in json.loads(draws):
                    new[account, bucket] += amount
        moved: dict[tuple[int, int], int] = defaultdict(int)
        for account, credit, amount in self._rows("SELECT account_id, credit, amount FROM transfer"):
            if credit.startswith("bucket:"):
                moved[account, int(credit[7:])] += amount
        buckets: dict[tuple[int, str, str], list[tuple[Any, ...]]] = defaultdict(list)
        ends: dict[tuple[int, int], int | None] = {}
        for (
            account,
            bucket,
            unit,
            direction,
            balance,
            blocker,
            priority,
            valid_from,
            expires_at,
            created_at,
        ) in self._rows(
            "SELECT account_id, bucket_id, unit, direction, balance, blocker, priority, valid_from, expires_at, created_at "
            "FROM bucket WHERE scope = ''"  # of the others not everybody may draw always: `scopes`
        ):
            order = (not blocker, priority, NEVER if expires_at is None else expires_at, created_at, bucket)
            steady = moved[account, bucket] == self._moved.get((account, bucket)) and valid_from <= self._looked_at
            ends[account, bucket] = expires_at
            buckets[account, unit, direction].append((order, bucket, balance, steady))
        # A pause, its end, or a grace gives a bucket another place.
        moving = {key for key, end in ends.items() if self._ends.get(key, end) != end}
        for (account, unit, _), found in buckets.items():
            alike = sorted(each for each in found if (account, each[1]) not in moving)
            for (_, first, balance, steady), (order, second, *_more) in (
                (alike[i], alike[j]) for j in range(len(alike)) for i in range(j)
            ):
                if new[account, second] > 0 and balance > 0 and steady and first != second and order[2] > now:
                    first_expires = next(row[0][2] for row in alike if row[1] == first)
                    if first_expires > now + 5_000:
                        words = f"{new[account, second]} {unit} drawn from bucket {second}, {balance} left in {first}"
                        self._complain(now, "draw_order", f"account {account}: {words}")
        self._moved, self._ends = dict(moved), ends

    def scopes(self, now: int) -> None:
        """A bucket that is for somebody, somewhere or some time was drawn by nobody else, nowhere else and at no other
        time; and by none more than his cap."""
        scope_of = {
            (account, bucket): json.loads(scope)
            for account, bucket, scope in self._rows(
                "SELECT account_id, bucket_id, scope FROM bucket WHERE scope <> ''"
            )
        }
        if not scope_of:
            return
        drawn: dict[tuple[int, int, int, int], int] = defaultdict(int)
        for account, session, subscriber, group, draws, event_at, seconds in self._rows(
            "SELECT u.account_id, u.session_id, s.subscriber_id, n.nas_group, u.draws, u.event_at, "
            "u.seconds_to - u.seconds_from FROM usage_line AS u "
            "JOIN session AS s ON s.account_id = u.account_id AND s.session_id = u.session_id "
            "LEFT JOIN nas AS n ON n.nas_id = s.nas_id"
        ):
            for bucket, unit, amount in json.loads(draws):
                scope = scope_of.get((account, bucket))
                if scope is None:
                    continue
                per, spell = scope.get("cap_per"), 0
                if per is not None:
                    spells = {
                        _calendar(per, at, scope["time_zone"]) for at in (event_at - seconds * 1000, event_at - 1)
                    }
                    spell = spells.pop() if len(spells) == 1 and seconds else -1
                if spell >= 0:  # else it was drawn in two, and nobody can say what in which
                    drawn[account, bucket, subscriber, spell] += amount
                words = f"session {session} drew {amount} {unit} of bucket {bucket}"
                if scope.get("subscriber_id") not in (None, subscriber):
                    self._complain(now, "scopes", f"{words}, which is another's")
                zones = scope.get("zones") or ()
                if zones and not any(fnmatchcase(group, each) for zone in zones for each in zone["nas_groups"]):
                    self._complain(now, "scopes", f"{words} from {group!r}, where it does not hold")
                windows = scope.get("windows") or ()
                open_then = {"windows": [window["name"] for window in windows]}
                if seconds and windows and not _open_ms(open_then, scope, event_at - seconds * 1000, event_at):
                    self._complain(now, "scopes", f"{words} when it does not hold")
        for (account, bucket, subscriber, _), amount in drawn.items():
            cap = scope_of[account, bucket].get("cap")
            if cap is not None and amount > cap:
                self._complain(
                    now, "scopes", f"subscriber {subscriber} drew {amount} of bucket {bucket}, {cap} are his part"
                )

    def sessions(self, now: int) -> None:
        """At most one live session per key; not more of a subscriber's than allowed; closed is final."""
        for key, count in self._rows(
            "SELECT session_key, count(*) FROM session WHERE closed_at IS NULL AND session_key IS NOT NULL "
            "GROUP BY session_key HAVING count(*) > 1"
        ):
            self._complain(now, "sessions", f"{count} live sessions have the key {key}")
        closed = {}
        for account, session, closed_at, state in self._rows(
            "SELECT account_id, session_id, closed_at, state FROM session"
        ):
            if (closed_at is not None) != (state == "closed"):
                self._complain(now, "sessions", f"session {session} is {state}, closed at {closed_at}")
            if closed_at is not None:
                closed[account, session] = closed_at
        for key, closed_at in self._closed.items():
            if closed.get(key) != closed_at:
                self._complain(now, "sessions", f"session {key} was closed at {closed_at} and now {closed.get(key)}")
        self._closed = closed
        for username, live, allowed in self._rows(
            "SELECT s.username, count(DISTINCT s.device_key), min(coalesce(u.max_sessions, 1000)) FROM session AS s "
            "JOIN subscriber AS u ON u.subscriber_id = s.subscriber_id "
            "WHERE s.closed_at IS NULL AND s.session_id = s.root_id GROUP BY s.username"
        ):
            if live > allowed:
                self._complain(now, "sessions", f"{username} has sessions on {live} devices, {allowed} are allowed")

    def immutability(self, now: int) -> None:
        """No transfer was ever changed or removed, and each account's chain of hashes holds up to its head."""
        rows = self._rows(
            "SELECT account_id, seq, debit, credit, unit, amount, kind, reference, session_id, effective_at, recorded_at, "
            "actor, hash FROM transfer ORDER BY account_id, seq"
        )
        hashes: dict[tuple[int, int], str] = {}
        heads: dict[int, tuple[int, str]] = {}
        for *values, written in rows:
            account, seq = values[0], values[1]
            before_seq, before = heads.get(account, (0, ""))
            text = "".join(f"{len(part)}:{part}" for part in [before, *("" if v is None else str(v) for v in values)])
            if seq != before_seq + 1 or sha256(text.encode()).hexdigest() != written:
                self._complain(now, "immutability", f"account {account}: the chain breaks at transfer {seq}")
            heads[account] = seq, written
            hashes[account, seq] = written
        for key, written in self._hashes.items():
            if hashes.get(key) != written:
                self._complain(now, "immutability", f"transfer {key} is not what it was")
        self._hashes = hashes
        for account, seq, head in self._rows("SELECT account_id, ledger_seq, ledger_hash FROM account"):
            if heads.get(account, (0, "")) != (seq, head):
                self._complain(now, "immutability", f"account {account}: its head is {seq}, its ledger ends elsewhere")

    def top_ups(self, now: int) -> None:
        """A payment is in the ledger once, as it was written, and nothing else is."""
        meant: dict[tuple[str, str], set[tuple[str, str, int]]] = defaultdict(set)
        for each in self._paid:
            if each.amount is not None:
                meant[f"{each.source}:{each.external_ref}", "top-up"].add((each.account, each.unit, each.amount))
        seen: set[str] = set()
        for account, unit, amount, reference in self._rows(
            "SELECT a.name, t.unit, t.amount, t.reference FROM transfer AS t JOIN account AS a "
            "ON a.account_id = t.account_id WHERE t.kind = 'top-up'"
        ):
            if reference in seen:
                self._complain(now, "top_ups", f"{reference} was paid in twice")
            seen.add(reference)
            if (account, unit, amount) not in meant[reference, "top-up"]:
                self._complain(now, "top_ups", f"{reference} brought {account} {amount} {unit}, nobody paid that")

    def orders(self, now: int) -> None:
        """What was ordered happened once or not at all, with its amount, in each account that it concerns; a voucher was
        redeemed once, whoever tried; what was taken back was taken back once, as it had gone."""
        meant = {each.reference: each for each in self._ordered}
        came: dict[tuple[str, str], dict[str, dict[str, int]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(int))
        )
        ledger: dict[tuple[str, int], tuple[str, str, str, int]] = {}
        taken_back: dict[tuple[str, int], str] = {}
        for account, seq, debit, credit, unit, amount, kind, reference in self._rows(
            "SELECT a.name, t.seq, t.debit, t.credit, t.unit, t.amount, t.kind, t.reference FROM transfer AS t "
            "JOIN account AS a ON a.account_id = t.account_id ORDER BY a.name, t.seq"
        ):
            ledger[account, seq] = (debit, credit, unit, amount)
            if kind not in _ORDERED:
                continue
            came[reference, kind][account][unit] += amount if credit.startswith("bucket:") else -amount
            order = meant.get(reference)
            if order is None or _ORDERED[kind] != order.kind:
                self._complain(now, "orders", f"{kind} {reference}: nobody ordered that")
            elif kind == "reversal" and order.seq is not None:
                before = ledger.get((account, order.seq), ("", "", "", 0))
                if (credit, debit, unit, amount) != before or account != order.account:
                    self._complain(now, "orders", f"{reference} is not the opposite of transfer {order.seq}: {before}")
                if taken_back.setdefault((account, order.seq), reference) != reference:
                    self._complain(now, "orders", f"{account}: transfer {order.seq} was taken back twice")
        redeemed: dict[str, str] = {}
        for (reference, kind), accounts in came.items():
            order = meant.get(reference)
            if order is None or order.amount is None:
                continue
            right = {order.account: {order.unit: order.amount}}
            if order.to_account is not None:
                right[order.to_account] = {order.unit: -order.amount}
            if accounts != right:
                self._complain(now, "orders", f"{kind} {reference} moved {accounts}, ordered was {right}")
            if order.code is not None and redeemed.setdefault(order.code, reference) != reference:
                self._complain(now, "orders", f"a voucher was redeemed by {redeemed[order.code]} and {reference}")

    def last_words(self, now: int) -> None:
        """What a NAS answered to a command is never written over."""
        done: dict[tuple[int, int], str] = {}
        for account, command, state, answer, at in self._rows(
            "SELECT account_id, command_id, state, answer, finished_at FROM command"
        ):
            if state in ("acked", "failed"):
                done[account, command] = f"{state} ({answer}) at {at}"
        for key, state in self._done.items():
            if done.get(key) != state:
                self._complain(now, "last_words", f"command {key} was {state} and now {done.get(key)}")
        self._done = done

    def _has_namesake(self, truth: Truth) -> bool:
        return sum(each.online for each in self._named[truth.name]) > 1

    def told(self, now: int) -> None:
        """A NAS that obeys was last told what it has said yes to, be it in the Accept or by an order: what is wanted of
        the session. Some take an order for one that they have had, when its identifier comes again: where such a session
        goes on too fast, its reports show it, and it is cut."""
        settled, noticed = now - ORDER_SECONDS * 1000, now - SILENT_MS
        live: dict[tuple[str, str, str], list[tuple[Any, ...]]] = defaultdict(list)
        for address, username, name, *row in self._rows(
            "SELECT s.nas_address, s.username, s.acct_session_id, s.session_id, s.wanted, "
            "s.pace_permille, s.acked_profile, s.cap, v.content, s.wanted <> 'cut' AND s.acked_version = s.wanted_version AND s.acked_at < CASE s.wanted WHEN 'full' THEN ? ELSE ? END FROM session AS s "
            "JOIN plan_version AS v ON v.plan_version_id = s.plan_version_id "
            "WHERE s.closed_at IS NULL AND s.acct_session_id IS NOT NULL",
            settled, noticed,
        ):  # fmt: skip
            live[address, username, bytes(name).decode()].append(tuple(row))
        for truth in self._truths.values():
            if not (truth.online and truth.nas.obeys and truth.nas.shapes and truth.told_at < settled):
                continue
            rows = live.get(truth.name, [])
            if len(rows) == 1 and not truth.mistaken and not self._has_namesake(truth):
                *service, content, agreed = rows[0]
                if agreed and (service[1] == "full" or truth.told_at < noticed):
                    plan = json.loads(content)
                    self._compare_told(truth, Service(*service), plan, "told", now)

    def _compare_told(self, truth: Truth, service: Service, plan: dict[str, Any], check: str, now: int) -> None:
        session, wanted, pace, name, cap = service
        full, exhausted = _profiles(plan)[name], plan["exhausted"]["profile"]
        capped = next((each["reached"]["profile"] for each in plan.get("caps", ()) if each["name"] == cap), exhausted)
        profile = full if wanted == "full" else capped
        rates = [profile["rate_up_bps"], profile["rate_down_bps"]]
        if wanted == "full" and pace != 1000:
            least = [exhausted["rate_up_bps"], exhausted["rate_down_bps"]] if exhausted else [1, 1]
            rates = [min(max(rate * pace // 1000, low), rate) for rate, low in zip(rates, least, strict=True)]
        told = [truth.told.get("up_bps"), truth.told.get("down_bps")]
        if told != rates:
            self._complain(now, check, f"session {session} is to be {wanted} at {rates}, its NAS was told {told}")

    # --- at the end: everything has converged -------------------------------------------------------------------------

    def end(self, now: int) -> None:
        """What must hold when the last trouble is long over."""
        self.look(now)
        for each in list(self._truths.values()):
            if each.username:
                self.durability(each, now)
        if self._spooled():
            self._complain(now, "spool", "reports still stand in a spool")
        self.spans(now, to_the_present=True)
        self.prices(now)
        self.contracts(now)
        self.inbox(now)
        self.commands(now)
        self.enforcement(now)
        self.levels(now)
        self.maxima(now)
        self.blockers(now)
        self.stale(now)
        if self._fair:
            self.bound(now)

    def inbox(self, now: int) -> None:
        """Every row is answered, and every payment that can be read has come in."""
        for top_up, status in self._rows("SELECT top_up_id, status FROM billing_top_up WHERE status = 'pending'"):
            self._complain(now, "inbox", f"top-up {top_up} is still {status}")
        for order, code in self._rows(
            "SELECT order_id, code FROM billing_order WHERE status = 'pending' OR code IS NOT NULL"
        ):
            self._complain(
                now, "inbox", f"order {order} is not answered" if code is None else f"order {order} shows its code"
            )
        applied = {row[0] for row in self._rows("SELECT reference FROM transfer WHERE kind = 'top-up'")}
        for each in self._paid:
            if each.amount is not None and f"{each.source}:{each.external_ref}" not in applied:
                self._complain(now, "inbox", f"{each} never came in")

    def is_telling(self, now: int) -> bool:
        """Has a NAS just been ordered something that it may still answer?"""
        since = now - ORDER_SECONDS * 1000
        pending = "SELECT count(*) FROM command WHERE state = 'pending' AND created_at > ?"
        return bool(self._rows(pending, since)[0][0])

    def commands(self, now: int) -> None:
        """No NAS that answers has still to be told something; and none when it has said yes already."""
        obeys = {witness.address for witness in self._witnesses if witness.obeys}
        for session, address, action, version, wanted, acked, state in self._rows(
            "SELECT c.session_id, s.nas_address, c.action, c.version, s.wanted_version, s.acked_version, s.state "
            "FROM command AS c JOIN session AS s ON s.account_id = c.account_id AND s.session_id = c.session_id "
            "WHERE c.state = 'pending'"
        ):
            if address in obeys:
                words = f"session {session} ({state}): {action} {version} still waits; wanted {wanted}, acked {acked}"
                self._complain(now, "commands", words)

    def enforcement(self, now: int) -> None:
        """Sessions that are on line have what their money pays for: no less, and no more."""
        able = self._able(now)
        live: dict[tuple[str, str, str], list[tuple[Any, ...]]] = defaultdict(list)
        for row in self._rows(
            "SELECT s.nas_address, s.username, s.acct_session_id, s.session_id, s.wanted, s.pace_permille, s.profile, s.cap, "
            "s.account_id, v.content, "
            "u.status, a.status FROM session AS s "
            "JOIN plan_version AS v ON v.plan_version_id = s.plan_version_id "
            "JOIN subscriber AS u ON u.subscriber_id = s.subscriber_id JOIN account AS a ON a.account_id = s.account_id "
            "WHERE s.closed_at IS NULL AND s.acct_session_id IS NOT NULL ORDER BY s.session_id"
        ):
            live[row[0], row[1], bytes(row[2]).decode()].append(row[3:])
        for truth in self._truths.values():
            if not truth.online or not truth.nas.obeys or truth.mistaken or self._has_namesake(truth):
                continue
            rows = live.get(truth.name, [])
            if not rows:
                if now - truth.answered_at < SILENT_MS and not self._orphans(truth.name):
                    self._complain(now, "enforcement", f"{truth.name} is on line, the books have closed it")
                continue
            session, wanted, pace, name, cap, account, content, status, account_status = rows[-1]
            plan = json.loads(content)
            if "suspended" in (status, account_status):
                self._complain(now, "enforcement", f"{truth.name} is suspended and on line")
                continue
            if wanted == "cut":
                self._complain(now, "enforcement", f"session {session} is to be cut and still on line")
                continue
            if truth.nas.shapes:
                self._compare_told(truth, Service(session, wanted, pace, name, cap), plan, "enforcement", now)
            if wanted == "exhausted" and not cap and able(account, plan):
                self._complain(
                    now, "enforcement", f"session {session} is {wanted}, there is something that pays for it"
                )

    def _able(self, now: int) -> Callable[[int, dict[str, Any]], bool]:
        """Has an account something free that pays for use by a plan?"""
        free: dict[tuple[int, str], int] = defaultdict(int)
        blocked = set(self._rows("SELECT account_id, unit FROM bucket WHERE blocker AND closed_at IS NULL"))
        for account, unit, available, expires_at, credit in self._rows(
            "SELECT b.account_id, b.unit, b.balance - b.held, b.expires_at, a.credit_limit_micros FROM bucket AS b "
            "JOIN account AS a ON a.account_id = b.account_id WHERE b.direction = 'total' AND b.scope = ''"
        ):
            if expires_at is None or expires_at > now + 60_000:
                free[account, unit] += available + (credit if unit == "money" else 0)

        def able(account: int, plan: dict[str, Any]) -> bool:
            lines = plan["allowances"] + plan["rates"]
            units = {line["unit"] for line in lines} - {"money"}
            if len(units) != 1:
                return False  # of several, each must be paid for
            if plan.get("period") or any((account, unit) in blocked for unit in units):
                return False  # something else may be in the way
            if any(free[account, unit] > 0 for unit in units):
                return True
            return any(free[account, "money"] >= _next_price(rate, plan) for rate in plan["rates"])

        return able

    def prices(self, now: int) -> None:
        """A session paid the price of all its use at once, however many reports it came in, and whatever was counted over
        a day the price of the day; each use by a line that was sold then and there, and all that nothing else paid for."""
        sums_of: dict[tuple[int, int], Sums] = defaultdict(Sums)
        for account, session, up, down, seconds, micros, draws, free, rated, event_at in self._rows(
            "SELECT account_id, session_id, octets_up_to - octets_up_from, octets_down_to - octets_down_from, "
            "seconds_to - seconds_from, amount_micros, draws, free_octets, rated, event_at FROM usage_line"
        ):
            used = Figures(up, down, seconds)
            sums_of[account, session].add(used, free, micros, json.loads(draws), rated, event_at)
        chains: dict[tuple[int, int, bytes], dict[str, list[Sums]]] = defaultdict(lambda: defaultdict(list))
        days: dict[tuple[int, str, str], list[Any]] = defaultdict(lambda: [None, None, []])
        for account, session, root, subscriber, group, acct_session_id, content in self._rows(
            "SELECT s.account_id, s.session_id, s.root_id, s.subscriber_id, n.nas_group, s.acct_session_id, v.content "
            "FROM session AS s JOIN plan_version AS v ON v.plan_version_id = s.plan_version_id "
            "LEFT JOIN nas AS n ON n.nas_id = s.nas_id ORDER BY s.session_id"
        ):
            plan, sums = json.loads(content), sums_of[account, session]
            chains[account, root, bytes(acct_session_id or b"")][content].append(sums)
            for use in sums.uses:
                if use.begin:
                    self._sold_there(session, plan, group, use, now)
                for index in use.lines:
                    rate = plan["rates"][index]
                    if not _by_session(rate):
                        day = days[subscriber, plan["name"], rate["name"]]
                        day[0], day[1] = rate, plan
                        day[2].append((use, *use.lines[index]))
        for (_account, root, _), by_plan in chains.items():
            plans = [json.loads(content) for content in by_plan]
            lines = [json.dumps(rate) for plan in plans for rate in plan["rates"]]
            if len(set(lines)) == len(lines):  # else what one plan began, another one may go on with
                for plan, members in zip(plans, by_plan.values(), strict=True):
                    self._price_of_chain(root, members, plan, now)
        for (subscriber, name, line_name), (rate, plan, uses) in days.items():
            self._price_of_days(f"subscriber {subscriber}, {name} {line_name}", rate, plan, uses, now)

    def _price_of_days(
        self, who: str, rate: dict[str, Any], plan: dict[str, Any], uses: list[tuple[Use, int, int]], now: int
    ) -> None:
        """What a line counts over a day, a week or a month costs what all of it together does. What was used from one to
        the next is split by the time."""
        amounts: dict[int, int] = defaultdict(int)
        total = 0
        for use, amount, paid in uses:
            total += paid
            spells = [_calendar(rate["accumulate"], at, plan["time_zone"]) for at in (use.begin, use.end - 1)]
            if spells[0] == spells[1]:
                amounts[spells[0]] += amount
                continue
            edge = use.end - (use.end + AHEAD_OF_UTC_MS[plan["time_zone"]]) % DAY_MS
            first = _share_of(rate, use, edge, amount)
            if first is None:
                return  # nobody can say what of it was before
            amounts[spells[0]] += first
            amounts[spells[1]] += amount - first
        right = sum(_price(rate, amount, plan["rounding"]) for amount in amounts.values())
        if total != right:
            words = f"paid {total} micros for {dict(amounts)} {rate['unit']} of each {rate['accumulate']}"
            self._complain(now, "prices", f"{who}: {words}, they cost {right}")
        for amount in amounts.values():
            if rate.get("beyond") == "disconnect" and _ends_before(rate, amount, plan["rounding"]):
                self._complain(now, "prices", f"{who}: {amount} {rate['unit']} are beyond its end")

    def _price_of_chain(self, root: int, members: list[Sums], plan: dict[str, Any], now: int) -> None:
        rates = plan["rates"]
        for sums in members:
            if sums.charged != sums.units["money"] or sums.charged != sum(paid for _, paid in sums.lines.values()):
                self._complain(now, "prices", f"session {root}: its lines' amounts are not what they drew of money")
            for unit in {rate["unit"] for rate in rates} - {"session"}:
                priced = sum(amount for index, (amount, _) in sums.lines.items() if rates[index]["unit"] == unit)
                left = sums.units[unit] - sums.units[f"{unit} covered"]
                # Seconds at the exhausted profile's speed are free, and nobody writes down how many they were.
                slowly = [plan["exhausted"], *(cap["reached"] for cap in plan.get("caps", ()))]
                free = unit == "seconds" and any(each["profile"] for each in slowly)
                if priced > left or (priced < left and not free):
                    self._complain(now, "prices", f"session {root}: not all {unit} that nothing covered have a price")
        own = [index for index, rate in enumerate(rates) if _by_session(rate)]
        paid = sum(sums.lines[index][1] for sums in members for index in own)
        used = [{index: sums.lines[index][0] for index in own} for sums in members]
        right = {sum(_price_of_all(plan, part) for part in parts) for parts in _partitions(used)}
        if paid not in right:
            words = f"paid {paid} micros by plan {plan['name']}, its use costs {sorted(right)}"
            self._complain(now, "prices", f"session {root} ({len(members)} in a row): {words}")
        self._entrance(root, members, plan, now)
        for index in own:
            most = max(each[index] for each in used)
            if rates[index].get("beyond") == "disconnect" and _ends_before(rates[index], most, plan["rounding"]):
                self._complain(now, "prices", f"session {root}: {most} by line {index} are beyond its end")

    def _entrance(self, root: int, members: list[Sums], plan: dict[str, Any], now: int) -> None:
        """The price of the session itself is paid once, and before anything else is drawn."""
        visits = [index for index, rate in enumerate(plan["rates"]) if rate["unit"] == "session"]
        paid = dict.fromkeys(visits, 0)
        for sums in members:
            for index in visits:
                paid[index] += sums.lines[index][0]
                if sums.lines[index][0] > 1:
                    self._complain(now, "prices", f"session {root} paid {sums.lines[index][0]} times to begin")
                always = not plan["rates"][index].get("windows")
                if always and not paid[index] and sums.bought:
                    self._complain(now, "prices", f"session {root} was charged for use, and not to begin")

    def _sold_there(self, session: int, plan: dict[str, Any], group: str, use: Use, now: int) -> None:
        """No line prices what was used when or where it does not hold; and none that comes after one that always did."""
        rates = plan["rates"]
        zones = {zone["name"]: zone["nas_groups"] for zone in plan.get("zones", ())}
        begin, end = use.begin, use.end
        for index, (amount, _) in use.lines.items():
            if not amount:
                continue
            words = f"session {session}: {amount} {rates[index]['unit']} by line {rates[index].get('name', index)}"
            if not _in_zones(rates[index], zones, group) or _open_ms(rates[index], plan, begin, end) == 0:
                self._complain(now, "prices", f"{words}, which was not sold there and then")
            for earlier in rates[:index]:
                always = _in_zones(earlier, zones, group) and _open_ms(earlier, plan, begin, end) == end - begin
                if always and (earlier["unit"], earlier["direction"]) == (
                    rates[index]["unit"],
                    rates[index]["direction"],
                ):
                    self._complain(now, "prices", f"{words}, where line {earlier.get('name')} comes first")

    def maxima(self, now: int) -> None:
        """A session that has come to the end of what a line sells is over, and not only slower."""
        units: dict[tuple[int, int], int] = defaultdict(int)
        for session, rated in self._rows("SELECT session_id, rated FROM usage_line WHERE rated <> ''"):
            for part in rated.split():
                index, amount, _ = map(int, part.split(":"))
                units[session, index] += amount
        for session, content in self._rows(
            "SELECT s.session_id, v.content FROM session AS s "
            "JOIN plan_version AS v ON v.plan_version_id = s.plan_version_id "
            "WHERE s.wanted = 'exhausted'"
        ):
            plan = json.loads(content)
            for index, rate in enumerate(plan["rates"]):
                if not rate.get("beyond") or any(
                    rate.get(w) for w in ("windows", "zones", "valid_until", "accumulate")
                ):
                    continue
                alone = [each["unit"] for each in plan["rates"]].count(rate["unit"]) == 1
                used = units[session, index]
                if alone and used and _ends_before(rate, used + 1, plan["rounding"]):
                    words = f"session {session} has come to the end of line {rate['name']} with {used}"
                    self._complain(now, "maxima", f"{words}, and lives on")

    def blockers(self, now: int) -> None:
        """Behind a bucket that lets nothing else pay, nothing else has paid, be it empty or not."""
        last: dict[int, list[tuple[str, int | None, int, int]]] = defaultdict(list)
        buckets: dict[int, bool] = {}
        for account, bucket, unit, blocker, scope, begin, end in self._rows(
            "SELECT account_id, bucket_id, unit, blocker, scope, valid_from, expires_at FROM bucket"
        ):
            buckets[bucket] = bool(blocker)
            limits = json.loads(scope or "{}")
            if blocker and not limits.get("windows") and not limits.get("zones"):
                span = begin + REPORT_SECONDS * 1000, (NEVER if end is None else end) - REPORT_SECONDS * 1000
                last[account].append((unit, limits.get("subscriber_id"), *span))
        if not last:
            return
        for account, session, subscriber, at, draws, rated, content in self._rows(
            "SELECT u.account_id, u.session_id, s.subscriber_id, u.recorded_at, u.draws, u.rated, v.content "
            "FROM usage_line AS u "
            "JOIN session AS s ON s.account_id = u.account_id AND s.session_id = u.session_id "
            "JOIN plan_version AS v ON v.plan_version_id = s.plan_version_id"
        ):
            for unit, whose, begin, end in last.get(account, ()):
                if begin <= at < end and whose in (None, subscriber):
                    drawn = sum(n for b, u, n in json.loads(draws) if u == unit and b and not buckets[b])
                    rates = json.loads(content)["rates"]
                    parts = [tuple(map(int, part.split(":"))) for part in rated.split()]
                    priced = sum(amount for index, amount, _ in parts if rates[index]["unit"] == unit)
                    if drawn or priced:
                        words = f"{drawn} {unit} of other buckets and {priced} for money"
                        self._complain(now, "blockers", f"session {session} used {words}, behind a blocker")

    def levels(self, now: int) -> None:
        """Who has used so much today, this week or this month has the profile of that step, and nobody else; the hour's has
        whom no step slows; who has come to a cap has nothing more than its profile, and nobody else is kept to that."""
        used = self._used_at_least_and_most()
        told = {row[0] for row in self._rows("SELECT DISTINCT subscriber_id FROM notice WHERE kind = 'capped'")}
        for session, subscriber, profile, wanted, reached, content in self._rows(
            "SELECT s.session_id, s.subscriber_id, s.profile, s.wanted, s.cap, v.content FROM session AS s "
            "JOIN plan_version AS v ON v.plan_version_id = s.plan_version_id "
            "WHERE s.closed_at IS NULL AND s.wanted <> 'cut' AND s.acct_session_id IS NOT NULL"
        ):
            plan = json.loads(content)

            def counted(each: dict[str, Any], unit: str, plan: dict[str, Any] = plan, who: int = subscriber) -> Range:
                spell = _calendar(each["per"], now, plan["time_zone"])
                return used[who, plan["name"], f"{unit} {each.get('direction', 'total')}", each["per"], spell]

            for cap in plan.get("caps", ()):
                least, most = counted(cap, cap["unit"])
                if cap["unit"] == "seconds" and subscriber in told:
                    least = 0  # seconds at a cap's profile are free, and nobody writes down how many they were
                words = f"session {session} is {wanted}, its subscriber has used {least} to {most} {cap['unit']}"
                if wanted == "full" and least >= cap["amount"]:
                    self._complain(now, "levels", f"{words}, cap {cap['name']} is {cap['amount']}")
                elif wanted == "exhausted" and reached == cap["name"] and most < cap["amount"]:
                    self._complain(now, "levels", f"{words} and is kept to cap {cap['name']} of {cap['amount']}")
            if wanted != "full":
                continue
            right = {_of_the_hour(plan, now), _of_the_hour(plan, now - _UNTIL_REVIEWED_MS)}
            fair_use = plan.get("fair_use")
            for step in fair_use["steps"] if fair_use else ():
                least, most = counted(fair_use, "octets")
                if least >= step["after"]:
                    right = {step["profile"]["name"]}
                elif most >= step["after"]:
                    right = right | {step["profile"]["name"]}
            if profile not in right:
                words = f"session {session}: its subscriber has used {counted(fair_use, 'octets') if fair_use else ''}"
                self._complain(now, "levels", f"{words}, its profile is {profile!r} and not {sorted(right)}")

    def _used_at_least_and_most(self) -> dict[tuple[int, str, str, str, int], Range]:
        """By subscriber, plan, unit and direction, and spell: what was surely used in it, and what may have been. Of what
        is free nobody says in which direction it went; and what lies in two spells may lie in either."""
        used: dict[tuple[int, str, str, str, int], Range] = defaultdict(lambda: Range(0, 0))
        zone_of = {}
        for version, content in self._rows("SELECT plan_version_id, content FROM plan_version"):
            plan = json.loads(content)
            if plan.get("caps") or plan.get("fair_use"):
                zone_of[version] = plan["name"], plan["time_zone"]
        for subscriber, version, up, down, seconds, free, micros, event_at in self._rows(
            "SELECT s.subscriber_id, s.plan_version_id, octets_up_to - octets_up_from, octets_down_to - octets_down_from, "
            "seconds_to - seconds_from, free_octets, amount_micros, event_at "
            "FROM usage_line AS u JOIN session AS s ON s.account_id = u.account_id AND s.session_id = u.session_id"
        ):
            if version not in zone_of:
                continue
            name, time_zone = zone_of[version]
            amounts = {
                "octets total": Range(up + down - free, up + down - free),
                "octets down": Range(max(down - free, 0), down),
                "seconds total": Range(seconds, seconds),
                "money total": Range(micros, micros),
            }
            begin = event_at - seconds * 1000 if seconds else event_at - HOUR_MS
            for per in ("day", "week", "month"):
                spells = {_calendar(per, at, time_zone) for at in (begin, event_at - 1)}
                for spell in spells:
                    for what, amount in amounts.items():
                        key = subscriber, name, what, per, spell
                        surely = amount.least if len(spells) == 1 else min(amount.least, 0)
                        used[key] = Range(used[key].least + surely, used[key].most + max(amount.most, surely))
        return used

    def stale(self, now: int) -> None:
        """No session lives on in the books of which nothing was heard for three of its intervals and a minute."""
        for session, last, interval in self._rows(
            "SELECT session_id, last_report_at, interval_seconds FROM session WHERE closed_at IS NULL"
        ):
            if now - last > max(3 * interval, 180) * 1000 + 60_000:
                self._complain(now, "stale", f"session {session}: nothing for {(now - last) // 1000} s, and it is live")

    def bound(self, now: int) -> None:
        """Where nothing fails, no session uses more past the end of the money than its line carries until it is told."""
        shaping = ", ".join(f"'{witness.address}'" for witness in self._witnesses if witness.shapes) or "''"
        for session, leaked, interval, content in self._rows(
            "SELECT s.session_id, s.leaked_octets, s.interval_seconds, v.content FROM session AS s "
            "JOIN plan_version AS v ON v.plan_version_id = s.plan_version_id "
            f"WHERE s.leaked_octets > 0 AND s.nas_address IN ({shaping})"
        ):
            profiles = _profiles(json.loads(content))
            profile = profiles[""]
            octets_per_second = max(each["rate_up_bps"] + each["rate_down_bps"] for each in profiles.values()) // 8
            asked = profile["interim_interval_seconds"] * 11 // 10
            ends = self._rows(
                "SELECT count(*) FROM notice WHERE kind IN ('exhausted', 'capped') AND session_id = ?", session
            )[0][0]
            most = octets_per_second * (max(interval, asked) + REPORT_SECONDS + ORDER_SECONDS) * max(ends, 1)
            if leaked > most:
                self._complain(
                    now, "bound", f"session {session}: {leaked} octets past the end of the money, {most} at most"
                )


def _profiles(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A plan's profiles in credit by the names that sessions keep; its own has none."""
    others = [window["profile"] for window in plan.get("profile_windows", ())]
    others += [step["profile"] for step in plan["fair_use"]["steps"]] if plan.get("fair_use") else []
    return {"": plan["profile"], **{each["name"]: each for each in others}}


def _total(figures: Iterable[Figures]) -> Figures:
    total = Figures()
    for each in figures:
        total = total.plus(each)
    return total


def _by_session(rate: dict[str, Any]) -> bool:
    return bool(rate.get("accumulate", "session") == "session")


def _price_of_all(plan: dict[str, Any], units: dict[int, int]) -> int:
    return sum(_price(plan["rates"][index], amount, plan["rounding"]) for index, amount in units.items())


def _price(rate: dict[str, Any], units: int, rounding: dict[str, Any]) -> int:
    """Whole steps, less what is free, by the tiers, and the fee; less the discount; rounded once; within its limits."""
    most = rate.get("maximum_micros")
    micros = _price_without_end(rate, units, rounding)
    return micros if most is None else min(micros, most)


def _ends_before(rate: dict[str, Any], units: int, rounding: dict[str, Any]) -> bool:
    """Are so many units beyond the maximum, where a session is to end?"""
    return units > 0 and _price_without_end(rate, units, rounding) > rate.get("maximum_micros", NEVER)


def _price_without_end(rate: dict[str, Any], units: int, rounding: dict[str, Any]) -> int:
    if units <= 0:
        return 0
    first = rate.get("first_step") or rate["step"]
    counted = first + max(0, -(-(units - first) // rate["step"])) * rate["step"]
    beyond = counted - rate.get("free", 0)
    price = Fraction(rate["fee_micros"])
    if beyond > 0:
        price += _by_tiers(rate, beyond)
    price = price * (100 - rate.get("discount_percent", 0)) / 100
    micros = _round(price, rounding)
    return max(micros, rate.get("minimum_micros", 0)) if beyond > 0 else micros


def _by_tiers(rate: dict[str, Any], units: int) -> Fraction:
    """Unit by unit through the tiers; or all at the tier that is reached; or its blocks, or the tiers themselves."""
    tiers = rate.get("tiers") or [{"upto": None, "price_micros": rate["price_micros"], "per": rate["per"]}]
    mode = rate.get("mode", "graduated")
    total, before = Fraction(0), 0
    for tier in tiers:
        last = tier["upto"] is None or units <= tier["upto"]
        inside = (units if last else tier["upto"]) - before
        match mode:
            case "graduated":
                total += Fraction(inside * tier["price_micros"], tier["per"])
            case "package":
                total += (inside + tier["per"] - 1) // tier["per"] * tier["price_micros"]
            case "volume":
                total = Fraction(units * tier["price_micros"], tier["per"])
            case _:
                total = Fraction(tier["price_micros"])
        if last:
            break
        before = tier["upto"]
    return total


def _round(micros: Fraction, rounding: dict[str, Any]) -> int:
    coin: int = 10 ** (6 - rounding["decimals"])
    whole, rest = divmod(micros, coin)
    if rounding["mode"] == "up":
        whole += rest > 0
    elif rounding["mode"] == "half-even":
        whole += 2 * rest > coin or (2 * rest == coin and whole % 2)
    return int(whole) * coin


def _next_price(rate: dict[str, Any], plan: dict[str, Any]) -> int:
    """What the next use of a session costs at most, whatever it has used; where that depends on more than the line, more
    than anybody has. Where not all is rounded up, what was rounded away before may make it dearer by the smallest amount."""
    if any(rate.get(word) for word in ("tiers", "free", "windows", "zones", "valid_until", "accumulate", "beyond")):
        return NEVER
    rounding = plan["rounding"]
    first = _price(rate, max(rate.get("first_step") or 0, rate["step"]), rounding)
    coin: int = 10 ** (6 - rounding["decimals"])
    return first if rounding["mode"] == "up" else first + coin


def _in_zones(rate: dict[str, Any], zones: dict[str, list[str]], group: str) -> bool:
    names = rate.get("zones") or ()
    return not names or any(fnmatchcase(group, pattern) for name in names for pattern in zones[name])


def _of_the_hour(plan: dict[str, Any], at: int) -> str:
    """The profile of the window that is open then."""
    names = [
        each["profile"]["name"]
        for each in plan.get("profile_windows", ())
        if _open_ms({"windows": [each["window"]]}, plan, at, at + 1)
    ]
    return names[-1] if names else ""


def _open_ms(rate: dict[str, Any], plan: dict[str, Any], begin: int, end: int) -> int:
    """For how much of a time on one day, or from one to the next, a line holds."""
    end = min(end, rate.get("valid_until") or NEVER)
    if not rate.get("windows"):
        return max(0, end - begin)
    midnight = begin - (begin + AHEAD_OF_UTC_MS[plan["time_zone"]]) % DAY_MS
    hours = [
        (day + first * 60_000, day + last * 60_000)
        for day in (midnight, midnight + DAY_MS)
        for window in plan["windows"]
        if window["name"] in rate["windows"]
        for first, last in window["hours"]
    ]
    edges = sorted({begin, end, *(edge for span in hours for edge in span if begin < edge < end)})
    return sum(b - a for a, b in pairwise(edges) if any(first <= a and b <= last for first, last in hours))


def _share_of(rate: dict[str, Any], use: Use, edge: int, amount: int) -> int | None:
    """The units of a use before a moment: its part of the time, of each direction in whole octets. None where other things
    paid for some of it, or it is not known since when it is."""
    if not use.begin or use.used is None:
        return None
    part, whole = edge - use.begin, use.end - use.begin
    if rate["unit"] == "session":
        return amount  # paid with the first use
    ways = {"total": ("up", "down"), "up": ("up",), "down": ("down",)}[rate["direction"]]
    each = [use.used.seconds] if rate["unit"] == "seconds" else [getattr(use.used, way) for way in ways]
    return sum(used * part // whole for used in each) if sum(each) == amount else None


def _calendar(per: str, instant: int, time_zone: str) -> int:
    """The number of the day, the week or the month that a moment lies in."""
    day = (instant + AHEAD_OF_UTC_MS[time_zone]) // DAY_MS + date(1970, 1, 1).toordinal()
    if per == "day":
        return day
    local = date.fromordinal(day)
    return (day - 1) // 7 if per == "week" else local.year * 12 + local.month


def _partitions(rated: list[dict[int, int]]) -> Iterable[list[dict[int, int]]]:
    """All ways to see sessions in a row as fewer ones: one that was only silent goes on where it was left."""
    for cuts in range(2 ** (len(rated) - 1)):
        bounds = [0, *(i + 1 for i in range(len(rated) - 1) if cuts >> i & 1), len(rated)]
        yield [
            {line: sum(each[line] for each in rated[first:last]) for line in rated[0]}
            for first, last in pairwise(bounds)
        ]
