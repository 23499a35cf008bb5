"""A NAS that counts volume by itself is told a limit that nobody takes back: who may come later must find something."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, update

from charging import tables
from charging.admission import Admitted, Login
from charging.session import Kind
from tests.store.shop import Shop, plan_by_volume

#: 2 EUR at 0.02 per MB.
ALL_OCTETS = 100_000_000


class Family:
    """Accounts with 2 EUR, on a plan that lets each subscriber in once."""

    def __init__(self, engine: Engine) -> None:
        self.shop = Shop(engine)
        self.version = self.shop.plan(plan_by_volume(max_sessions=1))

    def account(self, *names: str) -> dict[str, tuple[int, int]]:
        account_id = self.shop.account(names[0])
        self.shop.pay(names[0], "2.00")
        return {name: (account_id, self.shop.subscriber(account_id, name)) for name in names}

    def log_in(self, who: tuple[int, int], name: str) -> Admitted:
        login = Login(*who, name, self.version, None, None, 1, "192.0.2.1", f"1-{name}", means="volume")
        (admitted,) = self.shop.settle(login)
        assert isinstance(admitted, Admitted)
        return admitted

    def report(self, session: Admitted, name: str, down: int = 0) -> None:
        self.shop.now += 60_000
        kind: Kind = "interim" if down else "start"
        item = self.shop.report_item(session.account_id, session.session_id, kind, down=down, seconds=60 if down else 0)
        self.shop.settle(item._replace(username=name, means="volume"))

    def limit(self, session: Admitted) -> int | None:
        (row,) = self.shop.rows(tables.session, tables.session.c.session_id == session.session_id)
        limit: int | None = row.limit_octets
        return limit


@pytest.fixture
def family(engine: Engine) -> Family:
    return Family(engine)


def test_who_is_alone_gets_everything(family: Family) -> None:
    alone = family.account("anna")
    assert family.log_in(alone["anna"], "anna").limit_octets == ALL_OCTETS


def test_the_first_of_a_family_leaves_something_to_the_second_at_login_and_later(family: Family) -> None:
    both = family.account("bob", "cleo")
    bob = family.log_in(both["bob"], "bob")
    assert bob.limit_octets == ALL_OCTETS // 2
    family.report(bob, "bob")
    family.report(bob, "bob", down=20_000_000)
    assert (family.limit(bob) or 0) < ALL_OCTETS * 4 // 5
    cleo = family.log_in(both["cleo"], "cleo")
    assert cleo.wanted == "full"
    assert (cleo.limit_octets or 0) >= 10_000_000


def test_so_does_who_may_have_two_sessions_himself(family: Family, engine: Engine) -> None:
    alone = family.account("dora")
    with engine.begin() as connection:
        connection.execute(update(tables.subscriber).values(max_sessions=2))
    assert family.log_in(alone["dora"], "dora").limit_octets == ALL_OCTETS // 2
