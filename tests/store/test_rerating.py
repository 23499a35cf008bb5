"""A time charged again under a corrected plan, on real databases."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import insert, select, update

from charging import catalogue, tables
from charging.admission import Admitted
from charging.database import reading
from charging.payment import NotApplied
from charging.plan import digest, to_json
from charging.rerating import Rerated
from charging.rerating_rows import accounts_of, charge_again
from charging.shelf import Shelf
from tests.store.test_tariffs import GB, VOLUME, House, house, instant, plan

__all__ = ["house"]

SINCE, UNTIL = instant("2026-09-01T00:00"), instant("2026-10-01T00:00")


def rate(price: str, **more: str) -> str:
    lines = "".join(f'{key} = "{value}"\n' for key, value in more.items())
    return f'[[rate]]\nname = "data"\nunit = "octets"\nprice = "{price}"\nper = "1GB"\n{lines}'


DATA = '[[allowance]]\nname = "data"\nunit = "octets"\namount = "5GB"\n'


def use(home: House, user: str, octets: int, minutes: int = 60, device: str = "d") -> Admitted:
    """A whole session."""
    session = home.login(user, device)
    home.report(session, "start", 0)
    home.now += minutes * 60_000
    home.report(session, "stop", octets, minutes * 60)
    home.now += 60_000
    return session


def correct(home: House, text: str) -> None:
    """The plan's next version."""
    sold = plan(text)
    with home.stage.engine.begin() as connection:
        number = len(connection.execute(select(tables.plan_version)).all()) + 1
        row = {
            "plan_name": "p",
            "number": number,
            "content": to_json(sold),
            "digest": digest(sold),
            "loaded_at": home.now,
        }
        made = connection.execute(
            insert(tables.plan_version).values(row).returning(tables.plan_version.c.plan_version_id)
        ).scalar_one()
        known = connection.execute(update(tables.plan).values(plan_version_id=made)).rowcount
        if not known:
            connection.execute(insert(tables.plan).values(name="p", plan_version_id=made))


def rerate(home: House, *, apply: bool = True) -> Rerated | NotApplied | None:
    with reading(home.stage.engine) as connection:
        newest = catalogue.current_plan(connection, "p")
        accounts = accounts_of(connection, "p", SINCE, UNTIL)
    found = [
        charge_again(home.stage.engine, account_id, newest, SINCE, UNTIL, "olga", home.now, apply=apply)
        for account_id, _ in accounts
    ]
    home.shelf = Shelf()  # another writer was at work
    assert home.audit() == []
    return found[0] if found else None


def bills(home: House, *, apply: bool = True) -> list[tuple[int, int]]:
    found = rerate(home, apply=apply)
    assert isinstance(found, Rerated), found
    return [(bill.before_micros, bill.after_micros) for bill in found.bills]


def ledger(home: House) -> list[tuple[str, str, str, int]]:
    """What is in it beyond payments and usage."""
    names = {f"bucket:{b.bucket_id}": b.name for b in home.stage.rows(home.account_id).buckets}
    return [
        (t.kind, names.get(t.debit, t.debit), names.get(t.credit, t.credit), t.amount)
        for t in home.stage.rows(home.account_id).transfers
        if t.kind not in {"top-up", "grant", "usage"}
    ]


Open = Callable[..., House]


def test_a_price_that_was_too_high_is_given_back_once(house: Open) -> None:
    home = house(rate("2.00"), money=50_000_000)
    session = use(home, "alice", 10 * GB)
    assert home.balance() == 30_000_000
    correct(home, rate("0.20"))
    assert bills(home, apply=False) == [(20_000_000, 2_000_000)]
    assert (home.balance(), ledger(home)) == (30_000_000, [])
    assert bills(home) == [(20_000_000, 2_000_000)]
    assert home.balance() == 48_000_000
    assert ledger(home) == [
        ("reversal", "revenue:p", "money", 20_000_000),
        ("rerating", "money", "revenue:p", 2_000_000),
    ]
    assert rerate(home) is None
    assert home.balance() == 48_000_000
    newest = home.stage.rows(home.account_id).transfers[-1]
    assert (newest.session_id, newest.actor, newest.reference.split(":")[0]) == (session.session_id, "olga", "rerate")


def test_from_plan_to_plan_and_back(house: Open) -> None:
    home = house(rate("2.00"), money=50_000_000)
    use(home, "alice", 10 * GB)
    for price, left in (("0.20", 48_000_000), ("1.00", 40_000_000), ("0.20", 48_000_000)):
        correct(home, rate(price))
        bills(home)
        assert home.balance() == left
        assert rerate(home) is None


def test_exactly_the_buckets_that_were_drawn(house: Open) -> None:
    home = house(DATA + rate("1.00"), money=20_000_000)
    use(home, "alice", 8 * GB)
    assert (home.balance("data"), home.balance()) == (0, 17_000_000)
    correct(home, DATA + rate("0.50"))
    assert bills(home) == [(3_000_000, 1_500_000)]
    assert (home.balance("data"), home.balance()) == (0, 18_500_000)
    assert sorted(ledger(home)) == [
        ("rerating", "data", "revenue:p", 5 * GB),
        ("rerating", "money", "revenue:p", 1_500_000),
        ("reversal", "revenue:p", "data", 5 * GB),
        ("reversal", "revenue:p", "money", 3_000_000),
    ]


def test_sessions_are_charged_in_the_order_of_time(house: Open) -> None:
    """The first one gets the allowance, as it did; what comes out the same is left alone."""
    home = house(DATA + rate("1.00"), money=20_000_000)
    use(home, "alice", 5 * GB)
    use(home, "bob", 4 * GB)
    correct(home, DATA + rate("2.00"))
    assert bills(home) == [(0, 0), (4_000_000, 8_000_000)]
    assert [kind for kind, *_ in ledger(home)] == ["reversal", "rerating"]


def test_what_counts_over_a_month_counts_the_sessions_before(house: Open) -> None:
    text = rate("1.00", accumulate="month")
    home = house(text, money=90_000_000, at="2026-09-21T16:30")
    use(home, "alice", 8 * GB)
    middle = home.now
    use(home, "alice", 8 * GB)
    correct(home, text + 'free = "10GB"\n')
    with reading(home.stage.engine) as connection:
        newest = catalogue.current_plan(connection, "p")
    # Only the second one: 2 GB of its 8 are still free.
    found = charge_again(home.stage.engine, home.account_id, newest, middle, UNTIL, "olga", home.now, apply=True)
    assert isinstance(found, Rerated)
    assert [(bill.before_micros, bill.after_micros) for bill in found.bills] == [(8_000_000, 6_000_000)]
    home.shelf = Shelf()
    assert home.audit() == []


def test_who_pays_more_than_he_has_is_not_overdrawn(house: Open) -> None:
    home = house(rate("1.00"), money=10_000_000)
    use(home, "alice", 8 * GB)
    correct(home, rate("2.00"))
    found = rerate(home)
    assert isinstance(found, Rerated)
    (bill,) = found.bills
    assert (bill.before_micros, bill.after_micros, bill.unpaid_octets) == (8_000_000, 10_000_000, 3 * GB)
    assert home.balance() == 0
    assert rerate(home) is None


def test_what_ran_over_is_not_asked_for_now(house: Open) -> None:
    home = house(rate("1.00"), money=5_000_000)
    use(home, "alice", 8 * GB)  # 3 of them ran over
    assert home.balance() == 0
    home.pay(50_000_000)
    correct(home, rate("0.50"))
    assert bills(home) == [(5_000_000, 2_500_000)]
    assert home.balance() == 52_500_000


def test_a_live_session_gets_what_came_back(house: Open) -> None:
    end = '[exhausted]\naction = "throttle"\nprofile = "slow"\n'
    home = house(rate("2.00") + end, money=20_000_000)
    use(home, "alice", 10 * GB)
    live = home.login("bob")
    home.report(live, "start", 0)
    assert home.wanted(live)[0] == "exhausted"
    correct(home, rate("1.00") + end)
    bills(home)
    assert home.wanted(live) == ("full", "re-rating")


def test_what_a_tier_gave_back_is_part_of_what_is_taken_back(house: Open) -> None:
    home = house(VOLUME, money=2_100_000)
    session = home.login("alice")
    home.now += 3_700_000
    home.report(session, "interim", 10 * GB)
    home.now += 3_700_000
    home.report(session, "stop", 12 * GB)
    assert home.balance() == 1_500_000
    correct(home, rate("0.20"))
    assert bills(home) == [(600_000, 2_100_000)]
    assert home.balance() == 0


def test_what_another_server_charged_is_not_charged_here(house: Open) -> None:
    home = house(rate("1.00"), money=20_000_000)
    use(home, "alice", 2 * GB)
    with home.stage.engine.begin() as connection:
        connection.execute(update(tables.session).values(close_reason="imported: User-Request"))
    home.shelf = Shelf()
    correct(home, rate("2.00"))
    assert rerate(home) is None
    assert home.balance() == 18_000_000


@pytest.mark.parametrize("zone", [True, False])
def test_a_zone_that_was_forgotten(house: Open, zone: bool) -> None:
    home = house(rate("1.00"), money=20_000_000)
    session = home.login("alice", called_station="02:cafe" if zone else "02:street")
    home.now += 60_000
    home.report(session, "stop", 2 * GB, 60)
    free = '[[rate]]\nunit = "octets"\nprice = "0"\nper = "1GB"\nzones = ["cafe"]\n'
    cafe = '[zone.cafe]\ncalled_stations = ["*:cafe"]\n'
    correct(home, free + rate("1.00") + cafe)
    bills(home)
    assert home.balance() == (20_000_000 if zone else 18_000_000)
    assert rerate(home) is None or not zone
