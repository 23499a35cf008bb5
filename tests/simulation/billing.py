"""What the billing systems and operators do, and the billing systems' own books of it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from aaa import registry
from charging import catalogue
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


@dataclass
class Operator:
    """Runs the operators' commands, each in a transaction of its own."""

    engine: Engine
    chance: random.Random
    usernames: list[str]
    accounts: list[str]
    plans: list[str]

    def act(self, now: int) -> None:
        """One command."""
        with self.engine.begin() as connection:
            self.chance.choice([self._suspend, self._resume, self._resume, self._other_plan, self._account])(
                connection, now
            )

    def resume_all(self) -> None:
        """Nobody is suspended any more."""
        with self.engine.begin() as connection:
            for username in self.usernames:
                found = registry.subscriber_named(connection, username)
                registry.change_subscriber(connection, found.subscriber_id, {"status": "active"})
            for name in self.accounts:
                catalogue.set_account_status(connection, catalogue.account_named(connection, name).account_id, "active")

    def _suspend(self, connection: Connection, now: int) -> None:
        registry.suspend(connection, registry.subscriber_named(connection, self.chance.choice(self.usernames)), now)

    def _resume(self, connection: Connection, _now: int) -> None:
        found = registry.subscriber_named(connection, self.chance.choice(self.usernames))
        registry.change_subscriber(connection, found.subscriber_id, {"status": "active"})

    def _other_plan(self, connection: Connection, _now: int) -> None:
        found = registry.subscriber_named(connection, self.chance.choice(self.usernames))
        registry.change_subscriber(connection, found.subscriber_id, {"plan_name": self.chance.choice(self.plans)})

    def _account(self, connection: Connection, now: int) -> None:
        account = catalogue.account_named(connection, self.chance.choice(self.accounts))
        suspended = account.status == "active" and self.chance.random() < 0.3
        catalogue.set_account_status(connection, account.account_id, "suspended" if suspended else "active")
        if suspended:
            registry.cut(connection, account.account_id, None, now)
