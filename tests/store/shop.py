"""A small shop for tests: plans, accounts with their money bucket, subscribers, and `settle` in a transaction."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from charging import tables
from charging.admission import Admitted, Login
from charging.money import MICROS
from charging.plan import Allowance, Exhausted, Plan, Profile, Rate, digest, to_json
from charging.session import Kind, Report
from charging.settle import Item, Outcome, Plans, settle

START = 1_772_366_400_000
"""2026-03-01 12:00 UTC"""

HOME = Profile("home", rate_down_bps=8_000_000, rate_up_bps=800_000, interim_interval_seconds=60)
SLOW = Profile("slow", rate_down_bps=256_000, rate_up_bps=128_000)


def plan_by_volume(**changes: Any) -> Plan:
    """0.02 EUR per MB from the money bucket, throttled when it is empty."""
    rate = Rate("octets", "total", 20_000, 1_000_000, 100_000)
    given: dict[str, Any] = {
        "profile": HOME,
        "rates": (rate,),
        "exhausted": Exhausted("throttle", SLOW),
        "max_sessions": 2,
    } | changes
    return Plan(given.pop("name", "volume"), "EUR", "UTC", **given)


def plan_with_allowance() -> Plan:
    """10 MB with the plan, then disconnected."""
    return Plan("ten", "EUR", "UTC", HOME, allowances=(Allowance("data", "octets", "total", 10_000_000),))


@dataclass
class Shop:
    """Rows as the directory would write them, and the way to settle."""

    engine: Engine
    now: int = START
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    plans: Plans = field(default_factory=Plans)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def plan(self, plan: Plan) -> int:
        with self.engine.begin() as connection:
            row = insert(tables.plan_version).values(
                plan_name=plan.name, number=1, content=to_json(plan), digest=digest(plan), loaded_at=self.now
            )
            key = connection.execute(row).inserted_primary_key
            assert key is not None
            connection.execute(insert(tables.plan).values(name=plan.name, plan_version_id=key[0]))
            return int(key[0])

    def account(self, name: str = "anna", *, currency: str = "EUR", credit_limit_micros: int = 0) -> int:
        with self.engine.begin() as connection:
            row = insert(tables.account).values(
                name=name, currency=currency, credit_limit_micros=credit_limit_micros, created_at=self.now
            )
            key = connection.execute(row).inserted_primary_key
            assert key is not None
            bucket = insert(tables.bucket).values(
                account_id=key[0], bucket_id=1, name="money", unit="money", source="top-up", valid_from=self.now,
                created_at=self.now,
            )  # fmt: skip
            connection.execute(bucket)
            return int(key[0])

    def subscriber(self, account_id: int, username: str, plan_name: str = "volume") -> int:
        with self.engine.begin() as connection:
            row = insert(tables.subscriber).values(
                account_id=account_id, username=username, plan_name=plan_name, password_argon2="x", created_at=self.now
            )
            key = connection.execute(row).inserted_primary_key
            assert key is not None
            return int(key[0])

    def nas(self, name: str = "nas-1", network: str = "192.0.2.1") -> int:
        with self.engine.begin() as connection:
            row = insert(tables.nas).values(
                name=name, network=network, secret_sealed=b"x", dialect="generic", require_message_authenticator="no",
                limit_proxy_state=False, created_at=self.now, revised_at=self.now,
            )  # fmt: skip
            key = connection.execute(row).inserted_primary_key
            assert key is not None
            return int(key[0])

    def settle(self, *items: Item) -> list[Outcome]:
        with self.engine.begin() as connection:
            return settle(connection, items, self.now, self.plans, self.chance).outcomes

    def pay(
        self, account: str, amount: str, *, unit: str = "money", source: str = "bank", ref: str | None = None
    ) -> int:
        """A row of the inbox, applied as the server would; its id."""
        from charging import inbox

        top_up_id = self.put(account, amount, unit=unit, source=source, ref=ref)
        with self.engine.begin() as connection:
            page = inbox.pending(connection, 1, only=top_up_id)
            assert not page.answers, page.answers
            settle(connection, page.top_ups, self.now, self.plans, self.chance)
        return top_up_id

    def put(self, account: str, amount: str, **columns: Any) -> int:
        """A row of the inbox; its id."""
        ref = columns.pop("ref", None) or f"r{next(self.numbers)}"
        row = {"source": "bank", "external_ref": ref, "account": account, "amount": amount} | columns
        with self.engine.begin() as connection:
            key = connection.execute(insert(tables.billing_top_up).values(row)).inserted_primary_key
            assert key is not None
            return int(key[0])

    def login(
        self,
        account_id: int,
        subscriber_id: int,
        username: str,
        plan_version_id: int,
        device: str = "d1",
        nas_id: int = 1,
    ) -> int:
        """A provisional session; its id."""
        outcome = self.settle(
            Login(
                account_id,
                subscriber_id,
                username,
                plan_version_id,
                None,
                None,
                nas_id,
                "192.0.2.1",
                f"{nas_id}-{device}",
            )
        )[0]
        assert isinstance(outcome, Admitted), outcome
        return outcome.session_id

    def report(
        self, account_id: int, session_id: int, kind: Kind, *, up: int = 0, down: int = 0, seconds: int = 0,
        username: str = "anna",
    ) -> Outcome:  # fmt: skip
        item = self.report_item(account_id, session_id, kind, up=up, down=down, seconds=seconds)
        return self.settle(item._replace(username=username))[0]

    def report_item(
        self, account_id: int, session_id: int, kind: Kind, *, up: int = 0, down: int = 0, seconds: int = 0
    ) -> Report:
        name = f"s{session_id}"
        return Report(
            kind=kind, nas_id=1, nas_address="192.0.2.1", username="anna", acct_session_id=name.encode(),
            token=(account_id, session_id), octets_up=up,
            octets_down=down, seconds=seconds, gigawords=True, event_at=self.now, event_exact=True,
            received_at=self.now, packet=b"",
        )  # fmt: skip

    def rows(self, table: Any, *where: Any) -> Sequence[Any]:
        with self.engine.connect() as connection:
            return connection.execute(select(table).where(*where)).all()

    def balance(self, account_id: int, unit: str = "money") -> int:
        c = tables.bucket.c
        return sum(row.balance for row in self.rows(tables.bucket, c.account_id == account_id, c.unit == unit))


def euros(amount: int) -> int:
    return amount * MICROS


def execute(connection: Connection, statement: str, **values: Any) -> None:
    from sqlalchemy import text

    connection.execute(text(statement), values)
