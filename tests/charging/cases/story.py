"""Reads the cases of README.txt and plays them: on books in memory, or through `settle` on a real database."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Engine, insert, select

from charging import bookkeeping, tables
from charging import settle as settling
from charging.admission import Admitted, Login, Refused
from charging.book import Account, Book, Charge, Command, Notice, UsageLine
from charging.buckets import Bucket
from charging.ledger import Transfer
from charging.money import Rounding, parse_price
from charging.payment import Applied, Grant, NotApplied, TopUp, money_bucket
from charging.plan import Allowance, Duration, Exhausted, Plan, Profile, Rate, digest, to_json
from charging.renewal import catch_up
from charging.rerating import Rerated
from charging.session import Report, Session, device_key
from charging.settle import Close, CommandAcked, CommandFailed, Cut, Done, Item, Outcome, Plans
from charging.terms import Agreed
from charging.usage import Orphan, Recorded
from tests.charging.cases.invariants import Rows, broken

FOLDER = Path(__file__).parent
#: The second 0 of every case, some time after the first id that the server can make.
BEGIN = 1_790_000_000_000
FIRST_MONEY = "first-money"

_SIZES = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "h": 3600, "m": 60, "s": 1}


# --- reading -------------------------------------------------------------------------------------------------------


@dataclass
class Event:
    """One line that begins with a second, and what must come of it."""

    at: int
    words: list[str]
    options: dict[str, str]
    outcome: str
    where: str
    commands: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    checks: list[list[str]] = field(default_factory=list)


@dataclass
class Case:
    """A plan, who pays, and what happens."""

    name: str
    plan: Plan
    money: int = 0
    credit: int = 0
    others: dict[str, list[str]] = field(default_factory=dict)
    """Accounts besides `home`, with who is on them."""
    events: list[Event] = field(default_factory=list)
    ledger: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return self.name


def cases() -> list[Case]:
    """All cases of the folder."""
    return [case for path in sorted(FOLDER.glob("*.txt")) if path.name != "README.txt" for case in read(path)]


def read(path: Path) -> Iterator[Case]:
    """The cases of one file."""
    name, lines = "", list[tuple[str, str]]()
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        line = raw.split("#")[0].rstrip()
        if line.startswith("case "):
            if lines:
                yield _case(name, lines)
            name, lines = line.removeprefix("case ").strip(), []
        elif line.strip():
            lines.append((f"{path.name}:{number}", line.strip()))
    yield _case(name, lines)


def _case(name: str, lines: list[tuple[str, str]]) -> Case:
    case = Case(name, Plan("p", "EUR", "UTC", Profile("line", 8_000_000, 8_000_000, interim_interval_seconds=5)))
    for where, line in lines:
        word, _, rest = line.partition(" ")
        try:
            if word.isdigit() or "." in word:
                case.events.append(_event(word, rest, where))
            elif word == "!":
                case.events[-1].commands.append(rest.strip())
            elif word == "~":
                case.events[-1].notices.append(rest.strip())
            elif word == "=":
                case.events[-1].checks.append(rest.split())
            else:
                _setting(case, word, rest.strip())
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(f"{where}: {line}: {error!r}") from error
    return case


def _setting(case: Case, word: str, rest: str) -> None:
    plan = case.plan
    words = rest.split()
    match word:
        case "line":
            down, up = (None, None) if rest == "none" else map(bits, rest.split("/"))
            case.plan = replace(plan, profile=replace(plan.profile, rate_down_bps=down, rate_up_bps=up))
        case "allowance":
            case.plan = replace(plan, allowances=(*plan.allowances, _allowance(words)))
        case "rate":
            case.plan = replace(plan, rates=(*plan.rates, _rate(words)))
        case "exhausted":
            case.plan = replace(plan, exhausted=_exhausted(words))
        case "thresholds":
            case.plan = replace(plan, thresholds_percent=tuple(int(w.rstrip("%")) for w in words))
        case "sessions":
            case.plan = replace(plan, max_sessions=int(rest))
        case "rounding":
            case.plan = replace(plan, rounding=Rounding(words[0], int(words[1])))  # type: ignore[arg-type]
        case "money":
            case.money = money(rest)
        case "credit":
            case.credit = money(rest)
        case "account":
            name, _, users = rest.partition(":")
            case.others[name] = users.split()
        case "ledger":
            case.ledger.append(" ".join(words))
        case _:
            raise ValueError(f"{word} is no word of a case")


def _allowance(words: list[str]) -> Allowance:
    name, size, *more = words
    allowance = Allowance(name, "octets", "total", 0)
    while more:
        match more.pop(0):
            case "down" | "up" as direction:
                allowance = replace(allowance, direction=direction)
            case "seconds" | "money" as unit:
                allowance = replace(allowance, unit=unit)
            case "priority":
                allowance = replace(allowance, priority=int(more.pop(0)))
            case "valid":
                allowance = replace(allowance, validity=Duration(0, amount(more.pop(0))))
            case "blocker":
                allowance = replace(allowance, blocker=True)
            case word:
                raise ValueError(word)
    return replace(allowance, amount=money(size) if allowance.unit == "money" else amount(size))


def _rate(words: list[str]) -> Rate:
    price, _, per, *more = words
    rate = Rate("octets", "total", parse_price(price, "EUR"), amount(per), 1)
    while more:
        match more.pop(0):
            case "down" | "up" as direction:
                rate = replace(rate, direction=direction)
            case "seconds":
                rate = replace(rate, unit="seconds")
            case "step":
                rate = replace(rate, step=amount(more.pop(0)))
            case "fee":
                rate = replace(rate, fee_micros=money(more.pop(0)))
            case word:
                raise ValueError(word)
    return rate


def _exhausted(words: list[str]) -> Exhausted:
    match words:
        case ["throttle", rates]:
            down, up = map(bits, rates.split("/"))
            return Exhausted("throttle", Profile("slow", down, up))
        case ["redirect", rates]:
            down, up = map(bits, rates.split("/"))
            return Exhausted("redirect", Profile("wall", down, up, redirect_url="https://pay.example.net/"))
        case ["redirect"]:
            return Exhausted("redirect", Profile("wall", redirect_url="https://pay.example.net/"))
        case _:
            return Exhausted()


def _event(second: str, rest: str, where: str) -> Event:
    done, _, outcome = rest.partition("->")
    words = [w for w in done.split() if "=" not in w]
    options = dict(w.split("=") for w in done.split() if "=" in w)
    return Event(instant(second), words, options, " ".join(outcome.split()), where)


def instant(second: str) -> int:
    """`12.5`: milliseconds since the epoch of that second of a case."""
    whole, _, fraction = second.partition(".")
    return BEGIN + int(whole) * 1000 + int(fraction.ljust(3, "0"))


def amount(text: str) -> int:
    """`4GiB+5MB`, `300s`, `7`."""
    total = 0
    for part in text.split("+"):
        found = re.fullmatch(r"(-?[0-9]+)([a-zA-Z]*)", part)
        if found is None:
            raise ValueError(f"{part!r} is no amount")
        total += int(found[1]) * (_SIZES[found[2]] if found[2] else 1)
    return total


def money(text: str) -> int:
    """`-0.50` in micros."""
    return -parse_price(text[1:], "EUR") if text.startswith("-") else parse_price(text, "EUR")


def bits(text: str) -> int:
    """`8M`."""
    return int(text[:-1]) * {"k": 10**3, "M": 10**6, "G": 10**9}[text[-1]]


# --- the two stages ------------------------------------------------------------------------------------------------


class Happened:
    """What an event wrote besides its outcome."""

    def __init__(self, commands: Sequence[Command], notices: Sequence[Notice]) -> None:
        self.commands = commands
        self.notices = notices


class Stage(Protocol):
    """Where a case is played."""

    def open(self, case: Case, users: dict[str, list[str]]) -> dict[str, int]:
        """Make accounts with their users; account ids by name."""

    def subscriber(self, user: str) -> tuple[int, str]:
        """A user's subscriber id, and his user name on this stage."""

    def plan_version_id(self) -> int: ...

    def put_top_up(self, account_id: int, unit: str, paid: int) -> int:
        """Write a row into the billing inbox; its id."""

    def settle(self, item: Item, now: int) -> tuple[Outcome, Happened]: ...

    def rows(self, account_id: int) -> Rows: ...


class Memory:
    """Books that are never closed."""

    def __init__(self) -> None:
        self.books: dict[int, Book] = {}
        self.owners: dict[str, tuple[int, int]] = {}
        self.pending: set[int] = set()
        self.lines: dict[int, list[UsageLine]] = {}
        self.transfers: dict[int, list[Transfer]] = {}
        self.ids = iter(range(100, 10**6))

    def open(self, case: Case, users: dict[str, list[str]]) -> dict[str, int]:
        for account_id, (name, members) in enumerate(users.items(), start=1):
            book = Book(
                Account(account_id, "EUR", "prepaid", case.credit, "active", 0, 0, ""),
                lambda: next(self.ids),
                lambda _: case.plan,
            )
            book.buckets[1] = money_bucket(account_id, 1, BEGIN)
            self.books[account_id] = book
            self.lines[account_id], self.transfers[account_id] = [], []
            for user in members:
                self.owners[user] = (account_id, len(self.owners) + 1)
            assert name
        return {name: i for i, name in enumerate(users, start=1)}

    def subscriber(self, user: str) -> tuple[int, str]:
        return self.owners.get(user, (0, 0))[1], user

    def plan_version_id(self) -> int:
        return 1

    def put_top_up(self, account_id: int, unit: str, paid: int) -> int:
        self.pending.add(top_up_id := next(self.ids))
        return top_up_id

    def settle(self, item: Item, now: int) -> tuple[Outcome, Happened]:
        for book in self.books.values():
            catch_up(book, now)
        outcome = settling._decide(settling._Work(self.books, self.owners, self.pending), item, now)
        happened = Happened([], [])
        for account_id, book in self.books.items():
            happened.commands = [*happened.commands, *book.commands]
            happened.notices = [*happened.notices, *book.notices]
            self.lines[account_id] += book.usage_lines
            self.transfers[account_id] += book.transfers
            forget_changes(book)
        return outcome, happened

    def rows(self, account_id: int) -> Rows:
        book = self.books[account_id]
        return Rows(
            book.account,
            list(book.buckets.values()),
            list(book.sessions.values()),
            list(book.charges.values()),
            self.lines[account_id],
            self.transfers[account_id],
        )


def forget_changes(book: Book) -> None:
    """As if the book had been stored and opened again."""
    for changes in (
        book.changed_buckets, book.changed_sessions, book.changed_charges, book.new_sessions, book.new_charges,
    ):  # fmt: skip
        changes.clear()
    book.new_buckets = frozenset()
    book.bindings = ()
    book.usage_lines = ()
    book.transfers = ()
    book.commands = ()
    book.notices = ()
    book._usable = None


class Stored:
    """A database; many cases may share it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.plans = Plans()
        self.chance = random.Random(1)
        self.subscribers: dict[str, tuple[int, str]] = {}
        self.version = 0
        self.seen: set[tuple[int, int]] = set()
        self.accounts: dict[int, str] = {}
        self.newest: list[int] = []

    def open(self, case: Case, users: dict[str, list[str]]) -> dict[str, int]:
        self.subscribers = {}
        ids = {}
        with self.engine.begin() as connection:
            made = connection.execute(
                insert(tables.plan_version)
                .values(plan_name="p", number=len(self.accounts) + 1, content=to_json(case.plan),
                        digest=digest(case.plan), loaded_at=BEGIN)
                .returning(tables.plan_version.c.plan_version_id)
            )  # fmt: skip
            self.version = made.scalar_one()
            if not self.accounts:
                connection.execute(insert(tables.plan).values(name="p", plan_version_id=self.version))
            for name, members in users.items():
                account_id = connection.execute(
                    insert(tables.account)
                    .values(name=f"{name}-{self.version}", currency="EUR", credit_limit_micros=case.credit,
                            created_at=BEGIN)
                    .returning(tables.account.c.account_id)
                ).scalar_one()  # fmt: skip
                ids[name] = account_id
                self.accounts[account_id] = f"{name}-{self.version}"
                connection.execute(insert(tables.bucket), [asdict(money_bucket(account_id, 1, BEGIN))])
                for user in members:
                    username = f"{user}-{self.version}"
                    subscriber_id = connection.execute(
                        insert(tables.subscriber)
                        .values(account_id=account_id, username=username, plan_name="p", password_argon2="-",
                                created_at=BEGIN)
                        .returning(tables.subscriber.c.subscriber_id)
                    ).scalar_one()  # fmt: skip
                    self.subscribers[user] = (subscriber_id, username)
        self.newest = list(ids.values())
        return ids

    def subscriber(self, user: str) -> tuple[int, str]:
        return self.subscribers.get(user, (0, user))

    def plan_version_id(self) -> int:
        return self.version

    def put_top_up(self, account_id: int, unit: str, paid: int) -> int:
        with self.engine.begin() as connection:
            row = insert(tables.billing_top_up).values(
                source="shop", external_ref=f"{account_id}-{random.random()}", account=self.accounts[account_id],
                unit=unit, amount=str(paid),
            )  # fmt: skip
            top_up_id: int = connection.execute(row.returning(tables.billing_top_up.c.top_up_id)).scalar_one()
        return top_up_id

    def settle(self, item: Item, now: int) -> tuple[Outcome, Happened]:
        with self.engine.connect() as connection:
            settled = settling.settle(connection, [item], now, self.plans, self.chance)
            connection.commit()
            happened = Happened(
                self._new(connection, tables.command, Command), self._new(connection, tables.notice, Notice)
            )
            assert settled.commands == bool(happened.commands)
        return settled.outcomes[0], happened

    def _new(self, connection: Any, table: Any, kind: Any) -> list[Any]:
        chosen = select(*(table.c[name] for name in kind._fields)).where(table.c.account_id.in_(self.newest))
        rows = [kind(*row) for row in connection.execute(chosen)]
        new = [row for row in rows if (row[0], row[1]) not in self.seen]
        self.seen |= {(row[0], row[1]) for row in new}
        return new

    def rows(self, account_id: int) -> Rows:
        with self.engine.connect() as connection:

            def all_of(table: Any, kind: Any, names: Sequence[str]) -> list[Any]:
                chosen = select(*(table.c[n] for n in names)).where(table.c.account_id == account_id)
                return [kind(*row) for row in connection.execute(chosen.order_by(*table.primary_key.columns))]

            return Rows(
                all_of(tables.account, Account, bookkeeping.ACCOUNT)[0],
                all_of(tables.bucket, Bucket, bookkeeping.BUCKET),
                all_of(tables.session, Session, bookkeeping.SESSION),
                all_of(tables.session_charge, Charge, bookkeeping.CHARGE),
                all_of(tables.usage_line, UsageLine, UsageLine._fields),
                all_of(tables.transfer, Transfer, Transfer._fields),
            )


# --- playing -------------------------------------------------------------------------------------------------------


@dataclass
class _Who:
    """A login of a case."""

    user: str
    nas: int
    device: str | None
    session_id: int
    account_id: int
    admitted: Admitted
    means: str


class Play:
    """One case on one stage."""

    def __init__(self, case: Case, stage: Stage) -> None:
        self.case = case
        self.stage = stage
        named = {user for members in case.others.values() for user in members}
        home = sorted(
            {w for e in case.events if e.words[0] == "login" for w in e.words[1:2]}
            | {e.options["user"] for e in case.events if "user" in e.options}
        )
        self.users = {"home": [u for u in home if u not in named and u != "nobody"], **case.others}
        self.accounts = stage.open(case, self.users)
        self.logins: dict[str, _Who] = {}
        self.problems: list[str] = []
        self.before: dict[int, int] = {}

    def run(self) -> list[str]:
        """Play it; what did not come out as written."""
        case, stage = self.case, self.stage
        for account_id in self.accounts.values():
            if case.money:
                top_up_id = stage.put_top_up(account_id, "money", case.money)
                stage.settle(TopUp(account_id, top_up_id, "money", case.money, FIRST_MONEY, "test"), BEGIN)
            if case.plan.allowances:
                stage.settle(Grant(account_id, stage.plan_version_id(), "first", "test"), BEGIN)
            self.before[account_id] = len(stage.rows(account_id).transfers)
        for event in case.events:
            self._play(event)
            if self.problems:
                return self.problems
        if case.ledger:
            found = [
                self._transfer(t, rows)
                for account_id in self.accounts.values()
                for rows in [stage.rows(account_id)]
                for t in rows.transfers[self.before[account_id] :]
            ]
            if sorted(found) != sorted(map(self._written_transfer, case.ledger)):
                self.problems.append(f"{case.name}: the ledger says {found}")
        return self.problems

    def _play(self, event: Event) -> None:
        outcome, happened = self.stage.settle(self._item(event), event.at)
        if event.words[0] == "login" and isinstance(outcome, Admitted):
            device = event.options.get("device")
            self.logins[event.words[3]] = _Who(
                event.words[1],
                int(event.options.get("nas", "1")),
                device,
                outcome.session_id,
                outcome.account_id,
                outcome,
                event.options.get("means", "profile"),
            )
        self._same(event, "outcome", event.outcome, self._outcome(outcome, event.outcome))
        self._same(event, "commands", sorted(event.commands), sorted(map(self._command, happened.commands)))
        self._same(event, "notices", sorted(event.notices), sorted(map(self._notice, happened.notices)))
        for check in event.checks:
            self._check(event, check)
        if isinstance(self.stage, Memory) or event is self.case.events[-1]:
            for name, account_id in self.accounts.items():
                for problem in broken(self.stage.rows(account_id)):
                    self.problems.append(f"{event.where}: {name}: {problem}")

    def _same(self, event: Event, what: str, wanted: object, found: object) -> None:
        if wanted != found:
            self.problems.append(f"{event.where}: {what}: {wanted!r} is written, {found!r} came")

    def _item(self, event: Event) -> Item:
        words, options, stage = event.words, event.options, self.stage
        home = self.accounts["home"]
        match words:
            case ["login", user, "as", _]:
                nas = int(options.get("nas", "1"))
                subscriber_id, username = stage.subscriber(user)
                device = options.get("device", user)
                return Login(
                    self._account_of(user), subscriber_id, username, stage.plan_version_id(),
                    int(options["max"]) if "max" in options else None,
                    instant(options["expires"]) if "expires" in options else None,
                    nas, f"10.0.0.{nas}", device_key(nas, f"10.0.0.{nas}", None, device or None), device or None,
                    means=options.get("means", "profile"),  # type: ignore[arg-type]
                )  # fmt: skip
            case ["start" | "interim" | "stop" | "other", *_]:
                return self._report(event)
            case ["top-up", unit, paid, *_]:
                account_id = self.accounts[options.get("account", "home")]
                paid_amount = money(paid) if unit == "money" else amount(paid)
                top_up_id = stage.put_top_up(account_id, unit, paid_amount)
                return TopUp(account_id, top_up_id, unit, paid_amount, "shop:1", "shop")  # type: ignore[arg-type]
            case ["grant"]:
                return Grant(home, stage.plan_version_id(), "again", "test")
            case ["ack", label]:
                session = self._session(label)
                return CommandAcked(session.account_id, session.session_id, session.wanted_version)
            case ["nak", label]:
                session = self._session(label)
                return CommandFailed(session.account_id, session.session_id, session.wanted_version, "refused")
            case ["close", label, reason]:
                session = self._session(label)
                return Close(session.account_id, session.session_id, reason, event.at)
            case ["cut", user]:
                return Cut(self._account_of(user), stage.subscriber(user)[0], None, "suspended")
            case _:
                raise ValueError(f"{event.where}: {words}")

    def _account_of(self, user: str) -> int:
        return next(self.accounts[name] for name, members in self.users.items() if user in members)

    def _report(self, event: Event) -> Report:
        words, options = event.words, event.options
        kind, acct_session_id, label = words[:3]
        who = self.logins[label]
        nas = int(options.get("nas", who.nas))
        token: tuple[int, int] | None = None
        if "no-token" not in words:
            other = self.logins[options.get("token", label)]
            token = (other.account_id, other.session_id)
        user = options.get("user", who.user)
        device = options.get("device", who.device if who.device is not None else who.user)
        octets = {name: amount(options[name]) if name in options else None for name in ("up", "down", "time")}
        return Report(
            kind, nas, f"10.0.0.{nas}", self.stage.subscriber(user)[1], acct_session_id.encode(), token,  # type: ignore[arg-type]
            octets["up"], octets["down"], octets["time"], "gigawords" in words,
            instant(options["at"]) if "at" in options else event.at, "inexact" not in words, event.at,
            f"{event.where}".encode(), device or None, means=options.get("means", who.means),  # type: ignore[arg-type]
        )  # fmt: skip

    # --- what came, in the words of the case ---

    def _outcome(self, outcome: Outcome, written: str) -> str:
        match outcome:
            case Admitted():
                return outcome.wanted
            case Refused() | NotApplied():
                return f"refused {outcome.reason}"
            case Orphan():
                return f"orphan {outcome.reason}"
            case Applied() | Agreed() | Rerated() | Done():
                return ""
            case Recorded():
                used = outcome.used
                if not (any(used) or outcome.micros or outcome.flags):
                    return "nothing"
                usage, *more = written.split()
                wanted = [amount(part) for part in usage.split("/")] if "/" in usage else []
                text = (
                    usage if wanted == [used.up, used.down, used.seconds] else f"{used.up}/{used.down}/{used.seconds}"
                )
                if outcome.micros:
                    cost = (
                        more[1]
                        if more[:1] == ["cost"] and money_or_micros(more[1]) == outcome.micros
                        else outcome.micros
                    )
                    text += f" cost {cost}"
                return f"{text} {outcome.flags}".strip()

    def _sessions(self) -> dict[str, Session]:
        """Sessions by their names: A, then A2, A3 …"""
        found: dict[str, Session] = {}
        for label, who in self.logins.items():
            family = [s for s in self.stage.rows(who.account_id).sessions if s.root_id == who.session_id]
            for number, session in enumerate(sorted(family, key=lambda s: s.session_id), start=1):
                found[label if number == 1 else f"{label}{number}"] = session
        return found

    def _session(self, label: str) -> Session:
        return self._sessions()[label]

    def _name(self, session_id: int) -> str:
        return next((n for n, s in self._sessions().items() if s.session_id == session_id), "?")

    def _command(self, command: Command) -> str:
        session = self._session(self._name(command.session_id))
        assert command.version == session.wanted_version
        assert (command.action == "disconnect") == (session.wanted == "cut")
        late = command.not_before - command.created_at
        return f"{self._name(command.session_id)} {session.wanted} {command.reason}" + (
            f" in {late // 1000} s" if late else ""
        )

    def _notice(self, notice: Notice) -> str:
        if notice.bucket_id is not None:
            return f"{notice.kind} {notice.detail.split(':')[0]}"
        assert notice.session_id is not None
        return f"{notice.kind} {self._name(notice.session_id)}"

    def _bucket_names(self, rows: Rows) -> dict[str, str]:
        names: dict[str, str] = {}
        for bucket in sorted(rows.buckets, key=lambda b: b.bucket_id):
            name, number = bucket.name, 2
            while name in names.values():
                name, number = f"{bucket.name}{number}", number + 1
            names[f"bucket:{bucket.bucket_id}"] = name
        return names

    def _transfer(self, transfer: Transfer, rows: Rows) -> str:
        names = self._bucket_names(rows)
        debit, credit = (names.get(n, n) for n in (transfer.debit, transfer.credit))
        return f"{debit} > {credit} {transfer.amount} {transfer.kind}"

    def _written_transfer(self, line: str) -> str:
        debit, arrow, credit, size, kind = line.split()
        return f"{debit} {arrow} {credit} {money_or_amount(size)} {kind}"

    def _check(self, event: Event, check: list[str]) -> None:
        name, *words = check
        account, _, bucket_name = name.rpartition(".")
        rows = self.stage.rows(self.accounts[account or "home"])
        names = self._bucket_names(rows)
        bucket = next((b for b in rows.buckets if names[f"bucket:{b.bucket_id}"] == bucket_name), None)
        if bucket is not None:
            read_amount = money_or_micros if bucket.unit == "money" else amount
            self._same(event, f"{name}: balance", read_amount(words[0]), bucket.balance)
            if words[1:2] == ["held"]:
                self._same(event, f"{name}: held", read_amount(words[2]), bucket.held)
            return
        if words[1:] == ["s"]:
            self._same(event, f"{name}: paid seconds", int(words[0]), self.logins[name].admitted.paid_seconds)
            return
        session = self._sessions().get(name)
        if session is None:
            self.problems.append(f"{event.where}: there is no {name}")
            return
        state, wanted, marks, *more = words
        self._same(event, f"{name}: state", f"{state} {wanted}", f"{session.state} {session.wanted}")
        self._same(
            event, f"{name}: marks", [amount(p) for p in marks.split("/")],
            [session.octets_up, session.octets_down, session.seconds],
        )  # fmt: skip
        leaked = amount(more[1]) if more[:1] == ["leaked"] else 0
        self._same(event, f"{name}: leaked", leaked, session.leaked_octets)


def money_or_micros(text: str) -> int:
    """`0.52`, or `3micros`."""
    return int(text.removesuffix("micros")) if text.endswith("micros") else money(text)


def money_or_amount(text: str) -> int:
    """`0.52` is money, `21MB` and `7` are not."""
    return money_or_micros(text) if "." in text or text.endswith("micros") else amount(text)
