"""What billing systems order besides payments, at random: vouchers, transfers, refunds, reversals, adjustments, renewals,
terms."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from charging import catalogue, voucher_batch
from charging.terms import Terms
from charging.transaction import run, settle_in
from charging.voucher_batch import NewBatch
from tests.simulation.billing import Payment
from tests.simulation.storage import Database


class Ordered(NamedTuple):
    """A row that was written. `amount` is what it adds to the account, in micros, octets or seconds; None: it depends."""

    reference: str
    kind: str
    account: str
    unit: str
    amount: int | None
    to_account: str | None = None
    code: str | None = None
    seq: int | None = None


@dataclass
class Desk:
    """Writes orders as any SQL client would, and keeps its own book of them; retries, and tries what can not be."""

    database: Database
    engine: Engine
    chance: random.Random
    accounts: list[str]
    paid: list[Payment]
    ordered: list[Ordered] = field(default_factory=list)
    worth: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Of each voucher's code."""
    _rows: list[tuple[Any, ...]] = field(default_factory=list)
    _answered: set[int] = field(default_factory=set)

    def open(self, now: int) -> None:
        """Print some vouchers, and have some accounts ask for money by themselves."""
        with self.engine.begin() as connection:
            for name, unit, amount in (("money", "money", 1_000_000), ("data", "octets", 30_000_000)):
                currency = "EUR" if unit == "money" else None
                new = NewBatch(name, 3, unit, amount, currency, None, None, None)  # type: ignore[arg-type]
                for printed in voucher_batch.generate(connection, new, self.chance.choice, now, "operator:test"):
                    self.worth[printed.code] = (unit, amount)
        for account in self.accounts:
            if self.chance.random() < 0.4:
                self._agree(account, now, auto_topup=True)

    def act(self, now: int) -> None:
        """One thing."""
        chance = self.chance
        if self._rows and chance.random() < 0.2:
            self._write(*chance.choice(self._rows))
            return
        account = chance.choice(self.accounts)
        what = chance.choice(
            ["redeem", "redeem", "transfer", "refund", "adjust", "reverse", "top-up", "credit", "answer", "renew"]
        )
        if what == "top-up":
            self._top_up(account)
        elif what == "credit":
            self._agree(account, now, auto_topup=False)
        elif what == "answer":
            self.answer()
        else:
            self._order(what, account)

    def answer(self) -> None:
        """Each open request is paid, declined, or forgotten: once."""
        for request, account in self.database.rows(
            "SELECT r.request_id, a.name FROM top_up_request AS r JOIN account AS a ON a.account_id = r.account_id "
            "WHERE r.status = 'open' ORDER BY r.request_id"
        ):
            if request in self._answered:
                continue
            self._answered.add(request)
            fate = self.chance.choice(["pay", "pay", "decline", "forget"])
            if fate == "pay":
                self.paid.append(Payment("cards", str(request), account, "money", 2_000_000))
                self.database.rows(
                    "INSERT INTO billing_top_up (source, external_ref, account, amount, request_id) "
                    "VALUES ('cards', ?, ?, '2.00', ?)", str(request), account, request,
                )  # fmt: skip
            elif fate == "decline":
                self._write(Ordered(f"desk:{request}", "decline", account, "money", 0), {"request_id": request})

    def _order(self, kind: str, account: str) -> None:
        chance = self.chance
        reference = f"desk:{len(self.ordered):06}"
        unit = chance.choice(["money", "money", "octets", "seconds"]) if kind in {"transfer", "adjust"} else "money"
        size = {"money": 10_000, "octets": 1_000_000, "seconds": 1}[unit]
        number = chance.randrange(1, 200)
        text = f"{number // 100}.{number % 100:02}" if unit == "money" else str(number * size)
        amount = number * size
        match kind:
            case "redeem":
                code = chance.choice(sorted(self.worth))
                self._write(Ordered(reference, kind, account, *self.worth[code], code=code), {"code": code})
            case "transfer":
                to = chance.choice([each for each in self.accounts if each != account])
                order = Ordered(reference, kind, account, unit, -amount, to_account=to)
                self._write(order, {"unit": unit, "amount": text, "to_account": to})
            case "refund":
                self._write(Ordered(reference, kind, account, unit, -amount), {"amount": text})
            case "adjust":
                sign = chance.choice([-1, 1])
                columns = {"unit": unit, "amount": f"{'-' if sign < 0 else ''}{text}", "reason": "test"}
                self._write(Ordered(reference, kind, account, unit, sign * amount), columns)
            case "renew":
                self._write(Ordered(reference, kind, account, "money", None), {})
            case _:
                seq = chance.randrange(1, 12)
                order = Ordered(reference, kind, account, "", None, seq=seq)
                self._write(order, {"transfer_seq": seq, "reason": "test"})

    def _write(self, order: Ordered, columns: dict[str, Any]) -> None:
        self.ordered.append(order)
        self._rows.append((order, columns))
        source, _, reference = order.reference.partition(":")
        row = {"source": source, "external_ref": reference, "kind": order.kind, "account": order.account, **columns}
        marks = ", ".join("?" * len(row))
        self.database.rows(f"INSERT INTO billing_order ({', '.join(row)}) VALUES ({marks})", *row.values())

    def _top_up(self, account: str) -> None:
        """A payment that lasts for some minutes."""
        reference = f"{len(self.paid):06}"
        minutes = self.chance.randrange(2, 15)
        unit, text, amount = self.chance.choice([("money", "0.80", 800_000), ("octets", "60MB", 60_000_000)])
        self.paid.append(Payment("desk", reference, account, unit, amount))
        self.database.rows(
            "INSERT INTO billing_top_up (source, external_ref, account, unit, amount, validity) "
            "VALUES ('desk', ?, ?, ?, ?, ?)", reference, account, unit, text, f"{minutes}m",
        )  # fmt: skip

    def _agree(self, account: str, now: int, *, auto_topup: bool) -> None:
        """New terms. A credit limit is never lowered: the auditor would find the debts of before."""

        def work(connection: Connection) -> None:
            found = catalogue.account_named(connection, account)
            limit = found.credit_limit_micros + 100_000
            terms = Terms(found.account_id, credit_limit_micros=limit)
            if auto_topup:
                terms = Terms(found.account_id, auto_below_micros=500_000, auto_amount_micros=2_000_000)
            settle_in(connection, [terms], now)

        run(self.engine, work)
