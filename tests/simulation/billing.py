"""What the billing systems and operators do, and the billing systems' own books of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from aaa import registry
from charging import catalogue
from charging.arrangement import Change, Pause, Resume, What, When
from charging.transaction import run
from tests.simulation.storage import Database


class Payment(NamedTuple):
    """A row that a billing system wrote. `amount` is in micros, octets or seconds; None: it can not be read."""

    source: str
    external_ref: str
    account: str
    unit: str
    amount: int | None


@dataclass
class Billing:
    """Writes top-ups as any SQL client would; retries the same reference, and sometimes writes nonsense."""

    database: Database
    chance: random.Random
    accounts: list[str]
    paid: list[Payment]

    def top_up(self) -> None:
        """One payment, or an old one again."""
        chance = self.chance
        good = [payment for payment in self.paid if payment.amount is not None]
        if good and chance.random() < 0.2:
            again = chance.choice(good)
            amount = (again.amount or 0) + (60_000_000 if chance.random() < 0.3 else 0)
            self._write(again._replace(amount=amount), _text(again.unit, amount))
            return
        account = chance.choice(self.accounts)
        reference = f"{len(self.paid):06}"
        source = chance.choice(["shop", "bank"])
        if chance.random() < 0.08:
            bad = chance.choice([("money", "ten"), ("octets", "-5"), ("gold", "1"), ("money", "0")])
            self._write(Payment(source, reference, account, bad[0], None), bad[1])
            return
        unit = chance.choice(["money", "octets", "octets", "seconds"])
        amount = {
            "money": chance.randrange(1, 800) * 10_000,
            "octets": chance.randrange(1, 400) * 1_000_000,
            "seconds": chance.randrange(1, 20) * 60,
        }[unit]
        self._write(Payment(source, reference, account, unit, amount), _text(unit, amount))

    def pay(self, account: str) -> None:
        """Something of everything, as one pays before the first use."""
        for unit, amount in (
            ("money", self.chance.randrange(50, 400) * 10_000),
            ("octets", self.chance.randrange(20, 200) * 1_000_000),
            ("seconds", self.chance.randrange(2, 10) * 60),
        ):
            self._write(Payment("shop", f"{len(self.paid):06}", account, unit, amount), _text(unit, amount))

    def _write(self, payment: Payment, text: str) -> None:
        self.paid.append(payment)
        self.database.rows(
            "INSERT INTO billing_top_up (source, external_ref, account, unit, amount) VALUES (?, ?, ?, ?, ?)",
            payment.source, payment.external_ref, payment.account, payment.unit, text,
        )  # fmt: skip


def _text(unit: str, amount: int) -> str:
    match unit:
        case "money":
            return f"{amount // 1_000_000}.{amount % 1_000_000 // 10_000:02}"
        case "octets":
            return f"{amount // 1_000_000}MB"
        case _:
            return f"{amount // 60}m"


class Arranged(NamedTuple):
    """What was arranged for a subscriber and not refused: another plan `now` or at `period-end`, `pause`, `resume`."""

    at: int
    username: str
    what: str
    plan: str
    until: int | None
    reference: str


@dataclass
class Operator:
    """Runs the operators' commands, each in a transaction of its own."""

    engine: Engine
    chance: random.Random
    usernames: list[str]
    accounts: list[str]
    plans: list[str]
    arranged: list[Arranged] = field(default_factory=list)
    paused: list[str] = field(default_factory=list)
    """Until somebody says so."""

    def arrange(self, now: int) -> None:
        """Something about a subscriber's periods; what can not be is refused."""
        username = self.chance.choice(self.usernames)
        match self.chance.choice(["change", "change", "change", "pause", "pause", "resume"]):
            case "change":
                when: When = self.chance.choice(["now", "now", "period-end"])
                self._change(username, self.chance.choice(self.plans), when, now)
            case "pause":
                until = now + self.chance.randrange(30_000, 400_000) if self.chance.random() < 0.7 else None
                if (
                    self._done(username, Arranged(now, username, "pause", "", until, ""), Pause(until))
                    and until is None
                ):
                    self.paused.append(username)
            case _:
                self._done(username, Arranged(now, username, "resume", "", None, ""), Resume())

    def resume_paused(self, now: int) -> None:
        """Most of those who wait for it."""
        for username in self.paused:
            if self.chance.random() < 0.8:
                self._done(username, Arranged(now, username, "resume", "", None, ""), Resume())

    def _change(self, username: str, plan_name: str, when: When, now: int) -> None:
        """`aaa subscriber set --plan`."""
        with self.engine.connect() as connection:
            version = catalogue.current_plan(connection, plan_name)
        reference = f"subscriber:{username}:change:{now}"
        if version.plan.period is None:
            reference = registry.granted_as(username, version)
        event = Arranged(now, username, when, plan_name, None, reference)
        self._done(username, event, Change(version.plan_version_id, when))

    def _done(self, username: str, event: Arranged, what: What) -> bool:
        def work(connection: Connection) -> None:
            found = registry.subscriber_named(connection, username)
            registry.arrange(connection, found, what, event.at, "operator:test", reference=event.reference or None)

        try:
            run(self.engine, work)
        except registry.RegistryError:
            return False
        self.arranged.append(event)
        return True

    def act(self, now: int) -> None:
        """One command."""
        with self.engine.begin() as connection:
            self.chance.choice([self._suspend, self._resume, self._resume, self._account])(connection, now)

    def _suspend(self, connection: Connection, now: int) -> None:
        registry.suspend(connection, registry.subscriber_named(connection, self.chance.choice(self.usernames)), now)

    def _resume(self, connection: Connection, now: int) -> None:
        found = registry.subscriber_named(connection, self.chance.choice(self.usernames))
        registry.change_subscriber(connection, found.subscriber_id, {"status": "active"})
        registry.look_again(connection, found.account_id, now)

    def _account(self, connection: Connection, now: int) -> None:
        account = catalogue.account_named(connection, self.chance.choice(self.accounts))
        suspended = account.status == "active" and self.chance.random() < 0.3
        catalogue.set_account_status(connection, account.account_id, "suspended" if suspended else "active")
        if suspended:
            registry.cut(connection, account.account_id, None, now)
        else:
            registry.look_again(connection, account.account_id, now)
