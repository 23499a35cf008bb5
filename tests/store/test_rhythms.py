"""Allowances with a rhythm of their own, on a fake clock: a gigabyte a day beside what the month brings, and without months."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, update

from charging import tables
from charging.admission import Admitted
from charging.arrangement import Change, Leave, Pause, Resume
from charging.bookkeeping import read_books, write_books
from charging.bulk import Conflict, sets
from charging.money import MICROS
from charging.payment import Applied, Grant
from charging.period import Every
from charging.plan import Allowance, Exhausted, Plan, Rate, RollOver
from charging.renewal import catch_up
from charging.settle import CatchUp
from tests.store.shop import HOME, SLOW
from tests.store.test_periods import DAY_MS, GB, HOUR_MS, MB, House, at, house, monthly, said

DAILY = Allowance("day", "octets", "total", GB, every=Every(1, "day"))
MONTH = Allowance("data", "octets", "total", 20 * GB)


def daily(**changes: Any) -> Plan:
    """12.00 a month for 20 GB, and for 1 GB every day."""
    terms = {"price_micros": 12 * MICROS} | changes.pop("terms", {})
    return monthly(**({"name": "daily", "allowances": (DAILY, MONTH)} | changes), terms=terms)


def free(*allowances: Allowance, **changes: Any) -> Plan:
    """No periods: 1 GB every day, and 1 EUR per GB."""
    given: dict[str, Any] = {"name": "free", "exhausted": Exhausted("throttle", SLOW)} | changes
    rate = Rate("octets", "total", 1_000, MB, MB)
    return Plan(
        given.pop("name"), "EUR", "Europe/Berlin", HOME, allowances=allowances or (DAILY,), rates=(rate,), **given
    )


def spans(home: House, name: str = "day") -> list[tuple[str | None, str | None, int, str]]:
    """From when, until when, how much was granted, and what became of it: what is left, or `-`."""
    c = tables.bucket.c
    rows = home.shop.rows(tables.bucket, c.account_id == home.account_id, c.name == name)
    rows = sorted(rows, key=lambda r: (r.valid_from, r.rolled, r.bucket_id))
    return [
        (said(r.valid_from), said(r.expires_at), r.granted // MB, "-" if r.closed_at else str(r.balance // MB))
        for r in rows
    ]


def moved(home: House, account_id: int | None = None) -> list[tuple[str | None, str, int]]:
    """When it was due, kind, and megabytes with the bucket's sign: of octets, in the ledger's order."""
    c = tables.transfer.c
    rows = home.shop.rows(tables.transfer, c.account_id == (account_id or home.account_id), c.unit == "octets")
    signed = [(r, r.amount if r.credit.startswith("bucket:") else -r.amount) for r in sorted(rows, key=lambda r: r.seq)]
    return [(said(r.effective_at), r.kind, amount // MB) for r, amount in signed]


def use(home: House, octets: int, device: str = "d1") -> Any:
    """A session of one report and its end."""
    session = home.login(device)
    assert isinstance(session, Admitted), session
    home.shop.report(home.account_id, session.session_id, "stop", down=octets, seconds=octets // MB)
    return session


# --- day by day ------------------------------------------------------------------------------------------------------


def test_a_day_begins_at_midnight_and_has_its_own_gigabyte(engine: Engine) -> None:
    home = house(engine, daily(), "12.00", "2027-04-01 14:30")
    assert spans(home) == [("2027-04-01 14:30", "2027-04-02 00:00", 1000, "1000")]
    use(home, 300 * MB)
    assert home.octets() == 20 * GB + 700 * MB  # what ends first is drawn first
    home.look("2027-04-02 00:00")
    assert spans(home)[1:] == [("2027-04-02 00:00", "2027-04-03 00:00", 1000, "1000")]
    assert moved(home)[2:] == [
        ("2027-04-01 14:30", "usage", -300),
        ("2027-04-02 00:00", "expired", -700),
        ("2027-04-02 00:00", "grant", 1000),
    ]
    assert home.notices() == []  # nobody is told every night what he has lost
    home.is_right()


@pytest.mark.parametrize(
    ("begins", "every", "looks", "begun"),
    [
        # the days on which the clock changes: 23 and 25 hours
        ("2027-03-27 14:30", Every(1, "day"), 3, ["03-27 14:30", "03-28 00:00", "03-29 00:00", "03-30 00:00"]),
        ("2027-10-30 14:30", Every(1, "day"), 3, ["10-30 14:30", "10-31 00:00", "11-01 00:00", "11-02 00:00"]),
        # a leap day, and none
        ("2028-02-28 14:30", Every(1, "day"), 2, ["02-28 14:30", "02-29 00:00", "03-01 00:00"]),
        ("2027-02-28 14:30", Every(1, "day"), 1, ["02-28 14:30", "03-01 00:00"]),
        # weeks are counted from the first day; from midnight on they begin at midnight
        ("2027-03-24 00:00", Every(7, "day"), 7, ["03-24 00:00", "03-31 00:00"]),
        ("2027-03-24 14:30", Every(7, "day"), 14, ["03-24 14:30", "03-31 00:00", "04-07 00:00"]),
        # hours are hours
        ("2027-03-27 23:30", Every(12, "hour"), 2, ["03-27 23:30", "03-28 12:30", "03-29 00:30", "03-29 12:30"]),
    ],
)
@pytest.mark.parametrize("periods", [True, False])
def test_when_it_comes(
    engine: Engine, begins: str, every: Every, looks: int, begun: list[str], *, periods: bool
) -> None:
    """Looked at each midnight, and half an hour after noon."""
    allowance = replace(DAILY, every=every)
    home = house(engine, daily(allowances=(allowance,)) if periods else free(allowance), "12.00", begins)
    midnight = at(f"{begins[:10]} 00:00")
    for half_day in range(1, 2 * looks + 2):
        home.look(midnight + half_day * DAY_MS // 2 + HOUR_MS)
    assert [(began or "")[5:] for began, *_ in spans(home)] == begun
    assert [left for *_, left in spans(home)] == ["-"] * (len(begun) - 1) + ["1000"]
    home.is_right()


def test_a_month_of_the_31st_within_a_year(engine: Engine) -> None:
    allowance = replace(DAILY, every=Every(1, "month"))
    home = house(
        engine, daily(allowances=(allowance,), terms={"every": Every(12, "month")}), "12.00", "2028-01-31 10:00"
    )
    home.look("2028-06-15 10:00")
    assert [(begin, end) for begin, end, _, _ in spans(home)] == [
        ("2028-01-31 10:00", "2028-02-29 00:00"), ("2028-02-29 00:00", "2028-03-31 00:00"),
        ("2028-03-31 00:00", "2028-04-30 00:00"), ("2028-04-30 00:00", "2028-05-31 00:00"),
        ("2028-05-31 00:00", "2028-06-30 00:00"),
    ]  # fmt: skip
    home.is_right()


@pytest.mark.parametrize(
    ("every", "count", "rule", "periods"),
    [
        (Every(1, "day"), 3, None, True),
        (Every(1, "day"), 3, RollOver(maximum=300 * MB, periods=2), False),
        (Every(5, "hour"), 14, RollOver(maximum=300 * MB, periods=2), True),
        (Every(1, "hour"), 72, None, False),
    ],
)
def test_a_server_that_was_away_for_three_days_catches_up_exactly(
    engine: Engine, every: Every, count: int, rule: RollOver | None, periods: bool
) -> None:
    """Once in time, hour by hour, over a change of the clock and of the period, and once afterwards."""
    allowance = replace(DAILY, every=every, roll_over=rule)
    plan = daily(allowances=(allowance, MONTH), terms={"every": Every(2, "day")}) if periods else free(allowance)
    home = house(engine, plan, "100.00", "2027-03-26 10:00")
    other = home.shop.account("otto")
    mate = home.shop.subscriber(other, "otto", plan.name)
    home.shop.pay("otto", "100.00")
    home.settle(Grant(other, home.plan_version_id, "r", "test", mate))
    for _ in range(72):
        home.look(home.shop.now + HOUR_MS)
    home.settle(CatchUp(other))  # one turn is enough
    assert moved(home) == moved(home, other)
    c = tables.transfer.c
    granted = home.shop.rows(tables.transfer, c.account_id == other, c.kind == "grant", c.amount == GB)
    assert len({row.effective_at for row in granted}) == len({row.reference for row in granted}) == count + 1
    home.is_right()


def test_two_nodes_grant_once(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite lets one writer in at a time")
    home = house(engine, free(), None, "2027-04-01 14:30")
    home.shop.now = at("2027-04-02 00:00")
    barrier = threading.Barrier(2)
    outcomes: list[str] = []

    def node() -> None:
        with engine.connect() as connection:
            numbers = iter(range(1, 1000)) if not outcomes else iter(range(1000, 2000))
            books = read_books(sets(connection), [home.account_id], home.shop.plans, lambda: next(numbers) + 2**40)
            barrier.wait()
            catch_up(books[home.account_id], home.shop.now)
            try:
                write_books(sets(connection), list(books.values()), home.shop.now)
                connection.commit()
                outcomes.append("granted")
            except Conflict:
                outcomes.append("came too late")

    threads = [threading.Thread(target=node) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["came too late", "granted"]
    assert [kind for _, kind, _ in moved(home)] == ["grant", "expired", "grant"]
    home.is_right()


# --- with the plan's periods -----------------------------------------------------------------------------------------


def test_a_renewal_in_the_middle_of_a_day_brings_no_second_one(engine: Engine) -> None:
    home = house(engine, daily(allowances=(DAILY, replace(MONTH, priority=1))), "100.00", "2027-04-01 14:30")
    home.look("2027-05-01 14:29")
    use(home, 400 * MB)
    home.look("2027-05-01 14:30")
    assert (home.row.number, home.octets()) == (2, 20 * GB + 600 * MB)
    assert spans(home)[-1] == ("2027-05-01 00:00", "2027-05-02 00:00", 1000, "600")
    assert len(spans(home)) == 31  # the 30 days of April, and the first of May
    home.is_right()


def test_a_period_and_a_day_that_end_together(engine: Engine) -> None:
    home = house(engine, daily(), "24.00", "2027-04-01 00:00")
    home.look("2027-05-01 00:00")
    assert [each for each in moved(home) if each[0] == "2027-05-01 00:00"] == [
        ("2027-05-01 00:00", "expired", -20_000),
        ("2027-05-01 00:00", "grant", 20_000),
        ("2027-05-01 00:00", "expired", -1000),
        ("2027-05-01 00:00", "grant", 1000),
    ]
    home.is_right()


def test_nothing_comes_while_it_is_not_paid(engine: Engine) -> None:
    home = house(engine, daily(), "12.00", "2027-04-01 14:30")
    home.look("2027-05-01 14:30")
    assert (home.row.state, spans(home)[-1]) == ("lapsed", ("2027-05-01 00:00", "2027-05-02 00:00", 1000, "1000"))
    home.look("2027-05-10 10:00")
    assert (home.octets(), len(spans(home))) == (0, 31)
    home.pay("12.00")
    assert spans(home)[31:] == [("2027-05-10 10:00", "2027-05-11 00:00", 1000, "1000")]
    home.is_right()


def test_a_payment_on_the_same_day_brings_no_second_one(engine: Engine) -> None:
    home = house(engine, daily(allowances=(DAILY, replace(MONTH, priority=1))), "12.00", "2027-04-01 14:30")
    home.look("2027-05-01 14:00")
    use(home, 400 * MB)
    home.look("2027-05-01 15:00")
    home.shop.now += HOUR_MS
    home.pay("12.00")
    assert (home.row.state, home.octets()) == ("active", 20 * GB + 600 * MB)
    home.is_right()


def test_nothing_comes_in_a_grace(engine: Engine) -> None:
    home = house(engine, daily(terms={"grace_seconds": 3 * 86_400}), "12.00", "2027-04-01 14:30")
    home.look("2027-05-03 10:00")
    assert (home.row.state, home.octets(), len(spans(home))) == ("grace", 20 * GB, 31)
    home.pay("12.00")
    assert home.periods()[1] == ("2027-05-01 14:30", "2027-06-01 14:30", 1200)
    assert spans(home)[31:] == [("2027-05-03 10:00", "2027-05-04 00:00", 1000, "1000")]
    home.is_right()


def test_nothing_comes_in_a_pause_and_the_same_day_only_once(engine: Engine) -> None:
    home = house(engine, daily(), "12.00", "2027-04-01 14:30")
    home.shop.now += HOUR_MS
    use(home, 400 * MB)
    home.arrange(Pause())
    home.shop.now += HOUR_MS
    home.arrange(Resume())
    assert spans(home) == [("2027-04-01 14:30", "2027-04-02 00:00", 1000, "600")]
    home.arrange(Pause(at("2027-04-04 08:00")))
    home.look("2027-04-03 10:00")
    assert (spans(home)[0][3], len(spans(home)), home.octets()) == ("-", 1, 20 * GB)
    home.look("2027-04-05 10:00")
    assert spans(home)[1:] == [
        ("2027-04-04 08:00", "2027-04-05 00:00", 1000, "-"),
        ("2027-04-05 00:00", "2027-04-06 00:00", 1000, "1000"),
    ]
    home.is_right()


@pytest.mark.parametrize(
    ("limits", "count"),
    [({"periods": 1}, 31), ({"valid_from": at("2027-05-01 00:00")}, 3), ({"valid_until": at("2027-05-01 00:00")}, 31)],
)
def test_periods_and_dates_say_in_which_periods_it_comes(engine: Engine, limits: dict[str, int], count: int) -> None:
    """The last one of April's lasts until its midnight."""
    allowance = replace(DAILY, **limits)  # type: ignore[arg-type]
    home = house(engine, daily(allowances=(allowance, MONTH)), "100.00", "2027-04-01 14:30")
    home.look("2027-05-03 20:00")
    assert len(spans(home)) == count
    home.is_right()


def test_a_new_version_holds_from_the_first_day_in_its_period(engine: Engine) -> None:
    home = house(engine, daily(), "100.00", "2027-04-01 14:30")
    home.new_version(daily(allowances=(replace(DAILY, amount=2 * GB), MONTH)))
    home.look("2027-05-02 00:00")
    assert [amount for *_, amount, _ in spans(home)[-3:]] == [1000, 1000, 2000]
    home.is_right()


# --- another plan ----------------------------------------------------------------------------------------------------


def test_another_plan_ends_it_and_brings_its_own_in_part(engine: Engine) -> None:
    """At six in the evening a quarter of the day is left."""
    home = house(engine, daily(), "100.00", "2027-04-01 00:00")
    version = home.shop.plan(daily(name="large", allowances=(replace(DAILY, amount=4 * GB), MONTH)))
    home.look("2027-04-10 18:00")
    assert isinstance(home.arrange(Change(version)), Applied)
    assert spans(home)[-2:] == [
        ("2027-04-10 00:00", "2027-04-10 18:00", 1000, "-"),
        ("2027-04-10 18:00", "2027-04-11 00:00", 1000, "1000"),
    ]
    home.look("2027-04-11 00:00")
    assert spans(home)[-1] == ("2027-04-11 00:00", "2027-04-12 00:00", 4000, "4000")
    home.is_right()


def test_another_plan_with_the_next_period_ends_it_too(engine: Engine) -> None:
    home = house(engine, daily(), "100.00", "2027-04-01 14:30")
    home.shop.plan(monthly())
    version = home.shop.plan(daily(name="large", allowances=(replace(DAILY, amount=4 * GB), MONTH)))
    home.arrange(Change(version, "period-end"))
    home.look("2027-05-01 14:30")
    assert spans(home)[-2:] == [
        ("2027-05-01 00:00", "2027-05-01 14:30", 1000, "-"),
        ("2027-05-01 14:30", "2027-05-02 00:00", 4000, "4000"),
    ]
    home.is_right()


def test_from_plan_to_plan_with_and_without_periods(engine: Engine) -> None:
    home = house(engine, free(), "100.00", "2027-04-01 14:30")
    plain = home.shop.plan(Plan("plain", "EUR", "UTC", HOME, allowances=(MONTH,)))
    by_month = home.shop.plan(daily())
    steps: list[tuple[int, int]] = []
    for version in (by_month, home.plan_version_id, plain, home.plan_version_id, by_month, plain):
        home.shop.now += DAY_MS
        assert isinstance(home.arrange(Change(version)), Applied)
        open_ones = [left for *_, left in spans(home) if left != "-"]
        steps.append((len(open_ones), sum(map(int, open_ones))))
        home.is_right()
    assert steps == [(1, 1000), (1, 1000), (0, 0), (1, 1000), (1, 1000), (0, 0)]
    before = len(spans(home))
    home.look(home.shop.now + 40 * DAY_MS)
    assert len(spans(home)) == before
    home.is_right()


def test_without_its_allowances(engine: Engine) -> None:
    home = house(engine, free(name="other"), "100.00", "2027-04-01 14:30")
    version = home.shop.plan(free())
    home.arrange(Change(version, granting=False))
    home.look("2027-04-05 10:00")
    assert (home.octets(), len(spans(home))) == (0, 1)
    home.is_right()


def test_it_ends_with_the_subscriber(engine: Engine) -> None:
    home = house(engine, free(), "100.00", "2027-04-01 14:30")
    home.arrange(Leave())
    home.look("2027-04-05 10:00")
    assert spans(home) == [("2027-04-01 14:30", "2027-04-01 14:30", 1000, "-")]
    home.is_right()


# --- without periods -------------------------------------------------------------------------------------------------


def test_a_plan_without_periods_gives_its_free_amount_and_then_charges(engine: Engine) -> None:
    home = house(engine, free(), "10.00", "2027-04-01 14:30")
    for day in ("2027-04-01 15:00", "2027-04-02 15:00"):
        home.look(day)
        use(home, 1_500 * MB)
    assert home.money() == 10 * MICROS - 2 * MICROS // 2
    home.look("2027-04-03 15:00")
    assert home.octets() == GB
    assert home.shop.rows(tables.subscription_period) == []
    home.is_right()


def test_a_new_version_of_a_plan_without_periods_holds_from_the_next_day(engine: Engine) -> None:
    home = house(engine, free(), "10.00", "2027-04-01 14:30")
    home.new_version(free(replace(DAILY, amount=2 * GB)))
    home.look("2027-04-02 10:00")
    assert [amount for *_, amount, _ in spans(home)] == [1000, 2000]
    home.is_right()


def test_who_is_gone_gets_nothing_until_he_is_back(engine: Engine) -> None:
    home = house(engine, free(), "10.00", "2027-04-01 14:30")

    def suspended(status: str) -> None:
        with engine.begin() as connection:
            row = tables.account.c.account_id == home.account_id
            values = {"status": status, "version": tables.account.c.version + 1}
            connection.execute(update(tables.account).where(row).values(values))

    suspended("suspended")
    home.look("2027-04-05 10:00")
    assert (len(spans(home)), home.octets(), home.row.due_at) == (1, 0, None)
    suspended("active")
    home.look("2027-04-06 10:00")
    assert len(spans(home)) == 1
    assert home.login().wanted == "full"
    assert spans(home)[1:] == [("2027-04-06 10:00", "2027-04-07 00:00", 1000, "1000")]
    home.look("2027-04-08 10:00")
    assert len(spans(home)) == 4
    home.is_right()


def test_who_is_online_meanwhile_gets_it(engine: Engine) -> None:
    home = house(engine, free(), None, "2027-04-01 14:30")
    home.login()
    with engine.begin() as connection:
        connection.execute(update(tables.subscriber).values(expires_at=at("2027-04-01 20:00")))
    home.look("2027-04-02 10:00")
    assert [left for *_, left in spans(home)] == ["-", "1000"]
    (session,) = home.shop.rows(tables.session)
    home.shop.report(home.account_id, session.session_id, "stop", down=MB, seconds=70_200)
    home.look("2027-04-06 10:00")
    assert (home.row.state, len(spans(home))) == ("waiting", 2)
    home.is_right()


# --- what it does to sessions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("periods", [True, False])
def test_who_was_throttled_is_back_at_midnight(engine: Engine, *, periods: bool) -> None:
    plan = daily(allowances=(DAILY,)) if periods else free()
    home = house(engine, plan, "12.00" if periods else None, "2027-04-01 14:30")
    session = home.login()
    home.shop.now += 3 * HOUR_MS
    home.shop.report(home.account_id, session.session_id, "interim", down=GB, seconds=10_800)
    (live,) = home.shop.rows(tables.session)
    assert live.wanted == "exhausted"
    home.look("2027-04-02 00:00")
    (live,) = home.shop.rows(tables.session)
    assert (live.wanted, live.wanted_version) == ("full", 2)
    assert [row.reason for row in home.shop.rows(tables.command) if row.state == "pending"] == ["renewed"]
    (held,) = home.shop.rows(tables.bucket, tables.bucket.c.held > 0)
    assert said(held.expires_at) == "2027-04-03 00:00"
    home.is_right()


def test_a_session_that_goes_on_has_its_hold_in_the_next_day(engine: Engine) -> None:
    home = house(engine, free(), None, "2027-04-01 14:30")
    session = home.login()
    home.look("2027-04-02 00:00")
    (held,) = home.shop.rows(tables.bucket, tables.bucket.c.held > 0)
    assert (held.closed_at, said(held.expires_at)) == (None, "2027-04-03 00:00")
    assert home.shop.rows(tables.command) == []
    home.shop.now += 60_000
    home.shop.report(home.account_id, session.session_id, "interim", down=30 * MB, seconds=34_260)
    assert home.octets() == GB - 30 * MB
    home.is_right()


def test_a_blocker_a_day_stops_it_where_there_is_money_too(engine: Engine) -> None:
    home = house(engine, free(replace(DAILY, blocker=True)), "10.00", "2027-04-01 14:30")
    session = home.login()
    home.shop.now += 3 * HOUR_MS
    home.shop.report(home.account_id, session.session_id, "interim", down=GB, seconds=10_800)
    assert home.shop.rows(tables.session)[0].wanted == "exhausted"
    home.look("2027-04-02 00:00")
    assert home.shop.rows(tables.session)[0].wanted == "full"
    assert home.money() == 10 * MICROS
    home.is_right()


def test_each_of_a_family_has_his_own(engine: Engine) -> None:
    home = house(engine, free(replace(DAILY, shared=False)), "10.00", "2027-04-01 14:30")
    berta = home.shop.subscriber(home.account_id, "berta", "free")
    home.settle(Grant(home.account_id, home.plan_version_id, "r", "test", berta))
    session = home.shop.login(home.account_id, berta, "berta", home.plan_version_id)
    home.shop.report(home.account_id, session, "stop", down=600 * MB, seconds=600)
    assert sorted(left for *_, left in spans(home)) == ["1000", "400"]
    home.look("2027-04-02 00:00")
    assert [left for *_, left in spans(home)] == ["-", "-", "1000", "1000"]
    owners = [row.subscriber_id for row in home.shop.rows(tables.bucket, tables.bucket.c.name == "day")]
    assert sorted(owners) == sorted([home.subscriber_id, berta] * 2)
    home.is_right()


# --- what is left of a day -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "used", "balances"),
    [
        # at most half a GB goes over, once: of 0.8 it is 0.5; on the next day of 0.5 + 1.0 half of the new one
        (RollOver(maximum=500 * MB), [200, 0, 1500], [1500, 1500, 1000]),
        # all of it, for two days: 0.9 + 1.0; of that less 0.1 of the oldest 1.8 + 1.0; then the first 0.8 are lost
        (RollOver(periods=2), [100, 100, 0], [1900, 2800, 3000]),
        # not less than 0.6
        (RollOver(minimum=600 * MB), [500, 300, 0], [1000, 1700, 2000]),
    ],
)
def test_roll_over_goes_from_day_to_day(engine: Engine, rule: RollOver, used: list[int], balances: list[int]) -> None:
    home = house(engine, free(replace(DAILY, roll_over=rule)), None, "2027-04-01 14:30")
    found: list[int] = []
    for day, amount in enumerate(used):
        if amount:
            use(home, amount * MB, f"d{day}")
        home.look(f"2027-04-0{day + 2} 00:00")
        found.append(home.octets() // MB)
        home.is_right()
    assert found == balances
