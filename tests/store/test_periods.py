"""Plans by the month, day and hour on a fake clock: renewal, outages, money that is short, roll-over, other plans, pauses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, insert, update

from charging import audit, tables
from charging.admission import Admitted, Login, Refused
from charging.arrangement import Arrangement, Change, Pause, Resume, What
from charging.bulk import Conflict
from charging.database import reading
from charging.money import MICROS
from charging.payment import Applied, Grant, NotApplied
from charging.period import Every
from charging.plan import Allowance, Duration, Exhausted, PeriodTerms, Plan, Promotion, Rate, RollOver, digest, to_json
from charging.settle import CatchUp, CommandAcked
from charging.settle import settle as settle_batch
from tests.store.shop import HOME, SLOW, Shop

GB = 10**9
MB = 10**6
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() * 1000)


def said(moment: int | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment / 1000, BERLIN).isoformat(sep=" ")[:16]


def monthly(**changes: Any) -> Plan:
    """19.99 a month for 50 GB, then slowly."""
    terms = {"every": Every(1, "month"), "price_micros": 19_990_000} | changes.pop("terms", {})
    given: dict[str, Any] = {
        "name": "monthly",
        "allowances": (Allowance("data", "octets", "total", 50 * GB),),
        "exhausted": Exhausted("throttle", SLOW),
        "max_sessions": 2,
    } | changes
    return Plan(given.pop("name"), "EUR", "Europe/Berlin", HOME, period=PeriodTerms(**terms), **given)


@dataclass
class House:
    """One subscriber of one plan, from 2027-01-31 10:00 in Berlin."""

    shop: Shop
    account_id: int
    subscriber_id: int
    plan_version_id: int

    def settle(self, *items: Any) -> list[Any]:
        return list(self.shop.settle(*items))

    def look(self, when: str | int | None = None) -> None:
        """What the job does."""
        if when is not None:
            self.shop.now = at(when) if isinstance(when, str) else when
        self.settle(CatchUp(self.account_id))

    def pay(self, amount: str) -> None:
        self.shop.pay("anna", amount)

    def arrange(self, what: What) -> Any:
        return self.settle(Arrangement(self.account_id, self.subscriber_id, what, f"o{self.shop.now}", "test"))[0]

    @property
    def row(self) -> Any:
        (found,) = self.shop.rows(tables.subscription)
        return found

    def periods(self) -> list[tuple[str | None, str | None, int]]:
        c = tables.subscription_period.c
        rows = sorted(
            self.shop.rows(tables.subscription_period, c.account_id == self.account_id), key=lambda r: r.start_at
        )
        return [(said(row.start_at), said(row.end_at), row.price_micros // 10_000) for row in rows]

    def ledger(self) -> list[tuple[str, str, int]]:
        """Kind, unit and amount with the bucket's sign, in order."""
        rows = sorted(self.shop.rows(tables.transfer), key=lambda r: (r.account_id, r.seq))
        return [(r.kind, r.unit, r.amount if r.credit.startswith("bucket:") else -r.amount) for r in rows]

    def notices(self) -> list[str]:
        return [row.kind for row in sorted(self.shop.rows(tables.notice), key=lambda r: r.created_at)]

    def octets(self) -> int:
        return self.shop.balance(self.account_id, "octets")

    def money(self) -> int:
        return self.shop.balance(self.account_id)

    def login(self, device: str = "d1") -> Any:
        return self.settle(
            Login(
                self.account_id,
                self.subscriber_id,
                "anna",
                self.row.plan_version_id,
                None,
                None,
                1,
                "192.0.2.1",
                device,
            )
        )[0]

    def new_version(self, plan: Plan) -> int:
        with self.shop.engine.begin() as connection:
            row = insert(tables.plan_version).values(
                plan_name=plan.name, number=2, content=to_json(plan), digest=digest(plan), loaded_at=self.shop.now
            )
            key = connection.execute(row).inserted_primary_key
            assert key is not None
            connection.execute(
                update(tables.plan).where(tables.plan.c.name == plan.name).values(plan_version_id=key[0])
            )
            return int(key[0])

    def is_right(self) -> None:
        with reading(self.shop.engine) as connection:
            assert audit.check(connection, self.shop.now).found == []


def house(engine: Engine, plan: Plan, money: str | None = "19.99", begins: str = "2027-01-31 10:00") -> House:
    shop = Shop(engine, now=at(begins))
    shop.nas()
    version = shop.plan(plan)
    account_id = shop.account()
    subscriber_id = shop.subscriber(account_id, "anna", plan.name)
    if money is not None:
        shop.pay("anna", money)
    home = House(shop, account_id, subscriber_id, version)
    home.settle(Grant(account_id, version, "r", "test", subscriber_id))
    return home


# --- beginning and renewing ------------------------------------------------------------------------------------------


def test_a_period_is_charged_then_granted(engine: Engine) -> None:
    home = house(engine, monthly())
    assert home.periods() == [("2027-01-31 10:00", "2027-02-28 10:00", 1999)]
    assert home.ledger() == [
        ("top-up", "money", 19_990_000),
        ("renewal", "money", -19_990_000),
        ("grant", "octets", 50 * GB),
    ]
    assert (home.money(), home.octets(), home.row.state) == (0, 50 * GB, "active")
    home.is_right()


def test_without_money_the_first_period_waits_for_it(engine: Engine) -> None:
    home = house(engine, monthly(terms={"renewal": "manual"}), None)
    assert (home.row.state, home.periods()) == ("lapsed", [])
    assert home.login().wanted == "exhausted"
    home.shop.now += HOUR_MS
    home.pay("19.98")
    assert home.row.state == "lapsed"
    home.pay("0.01")
    assert home.periods() == [("2027-01-31 11:00", "2027-02-28 11:00", 1999)]
    home.is_right()


def test_a_month_of_the_31st_comes_back_to_it(engine: Engine) -> None:
    home = house(engine, monthly(), "100.00")
    for day in ("2027-02-28 10:00", "2027-03-31 10:00", "2027-04-30 10:00"):
        home.look(day)
    assert [end for _, end, _ in home.periods()] == [
        "2027-02-28 10:00", "2027-03-31 10:00", "2027-04-30 10:00", "2027-05-31 10:00"
    ]  # fmt: skip
    assert (home.money(), home.octets()) == (100 * MICROS - 4 * 19_990_000, 50 * GB)
    assert [kind for kind, _, _ in home.ledger()].count("expired") == 3
    assert home.notices() == ["renewed"] * 3
    home.is_right()


@pytest.mark.parametrize(("every", "count"), [(Every(1, "hour"), 72), (Every(1, "day"), 3)])
def test_a_server_that_was_away_for_three_days_catches_up_exactly(engine: Engine, every: Every, count: int) -> None:
    """Once in time, hour by hour, and once afterwards: the same ledger but for when it was written."""
    plan = monthly(terms={"every": every, "price_micros": MICROS}, allowances=(
        Allowance("data", "octets", "total", GB, roll_over=RollOver(maximum=300 * MB)),
    ))  # fmt: skip
    home = house(engine, plan, "1000.00", "2027-03-27 02:30")
    other = home.shop.account("otto")
    mate = home.shop.subscriber(other, "otto", plan.name)
    home.shop.pay("otto", "1000.00")
    home.settle(Grant(other, home.plan_version_id, "r", "test", mate))
    began = home.shop.now
    for _ in range(72):
        home.look(home.shop.now + HOUR_MS)
    for _ in range(2):  # the job comes again for what was too much for one transaction
        home.settle(CatchUp(other))
    rows = home.shop.rows(tables.transfer)
    away: dict[int, list[object]] = {r.account_id: [] for r in rows}
    for row in sorted(rows, key=lambda r: (r.account_id, r.seq)):
        # The numbers of buckets differ.
        away[row.account_id].append(
            (row.seq, row.unit, row.amount, row.kind, row.effective_at, row.debit[:6], row.credit[:6])
        )
    assert away[home.account_id] == away[other]
    c = tables.subscription_period.c
    in_time, late = (
        [
            (r.start_at, r.end_at, r.number, r.price_micros)
            for r in home.shop.rows(tables.subscription_period, c.account_id == i)
        ]
        for i in (home.account_id, other)
    )
    assert sorted(in_time) == sorted(late)
    assert len(late) == count + 1
    assert [a[1] for a in sorted(late)][:-1] == [b[0] for b in sorted(late)][1:]  # none left out, none twice
    assert min(late)[0] == began
    home.is_right()


def test_two_nodes_renew_once(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite lets one writer in at a time")
    home = house(engine, monthly(), "100.00")
    home.shop.now = at("2027-02-28 10:00")
    barrier = threading.Barrier(2)
    outcomes: list[object] = []

    def node() -> None:
        with engine.connect() as connection:
            settled = settle_batch(
                connection, [CatchUp(home.account_id)], home.shop.now, home.shop.plans, home.shop.chance
            )
            barrier.wait()
            connection.commit()
            outcomes.append(settled.outcomes)

    def late_node() -> None:
        with engine.connect() as connection:
            # It has read the book before the other one commits, and comes too late with its version.
            from charging.bookkeeping import read_books, write_books
            from charging.bulk import sets
            from charging.renewal import catch_up as catch_up_book

            book = read_books(
                sets(connection), [home.account_id], home.shop.plans, lambda: home.shop.chance.getrandbits(60)
            )[home.account_id]
            barrier.wait()
            catch_up_book(book, home.shop.now)
            try:
                write_books(sets(connection), [book], home.shop.now)
            except Conflict as error:
                outcomes.append(error)

    threads = [threading.Thread(target=work) for work in (node, late_node)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(each).__name__ for each in outcomes) == ["Conflict", "list"]
    assert len(home.periods()) == 2
    assert home.money() == 100 * MICROS - 2 * 19_990_000
    home.is_right()


def test_the_key_of_a_period_is_the_last_word(engine: Engine) -> None:
    home = house(engine, monthly(), "100.00")
    (period,) = home.shop.rows(tables.subscription_period)
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"), engine.begin() as connection:
        connection.execute(insert(tables.subscription_period).values(period._asdict()))


def test_a_new_version_holds_from_the_next_period_on_for_running_sessions_too(engine: Engine) -> None:
    home = house(engine, monthly(rates=(Rate("octets", "total", 20_000, MB, MB, 0),)), "100.00")
    session = home.login()
    assert isinstance(session, Admitted)
    home.shop.now += 60_000
    home.shop.report(home.account_id, session.session_id, "interim", down=5 * MB, seconds=60)
    version = home.new_version(
        monthly(
            terms={"price_micros": 25 * MICROS},
            allowances=(Allowance("data", "octets", "total", 60 * GB),),
            rates=(Rate("octets", "total", 20_000, MB, MB, 0),),
        )
    )
    home.shop.now += 60_000
    home.shop.report(home.account_id, session.session_id, "interim", down=6 * MB, seconds=120)
    assert home.row.plan_version_id == home.plan_version_id
    assert home.login("d2").profile == HOME
    home.look("2027-02-28 10:00")
    assert home.row.plan_version_id == version
    assert (home.octets(), home.row.price_micros) == (60 * GB, 25 * MICROS)
    live = home.shop.rows(tables.session, tables.session.c.closed_at.is_(None))
    assert {row.plan_version_id for row in live} == {version}
    (ended,) = home.shop.rows(tables.session, tables.session.c.session_id == session.session_id)
    assert (ended.close_reason, ended.octets_down) == ("plan-changed", 6 * MB)
    # Its NAS goes on counting from where it was: nothing twice, nothing lost.
    home.shop.now += 60_000
    outcome = home.shop.report(home.account_id, session.session_id, "interim", down=8 * MB, seconds=180)
    assert outcome.used.down == 2 * MB  # type: ignore[union-attr]
    assert home.octets() == 60 * GB - 2 * MB
    (subscriber,) = home.shop.rows(tables.subscriber)
    assert subscriber.plan_version_id == version
    home.is_right()


def reporting(home: House) -> Callable[[int, int], Any]:
    """After a login at this moment: what comes of an Interim, whenever it arrives, by octets and the session's second."""
    began, session = home.shop.now, home.login()

    def reported(down: int, at_second: int) -> Any:
        item = home.shop.report_item(home.account_id, session.session_id, "interim", down=down, seconds=at_second)
        return home.shop.settle(item._replace(event_at=began + at_second * 1000))[0]

    return reported


def test_what_was_used_before_a_slower_plan_is_not_more_than_its_line_carries(engine: Engine) -> None:
    home = house(engine, monthly(), "100.00")
    began, reported = home.shop.now, reporting(home)

    def passes(until_second: int) -> None:
        home.shop.now = began + until_second * 1000

    passes(60)
    reported(5 * MB, 60)
    version = home.new_version(replace(monthly(), profile=SLOW, exhausted=Exhausted("disconnect")))
    passes(110)
    assert isinstance(home.arrange(Change(version)), Applied)
    passes(120)
    late = reported(50 * MB, 90)  # it had been under way since before the change
    assert (late.used.down, late.flags) == (45 * MB, "")
    passes(126)
    for down, at_second in ((80 * MB, 120), (110 * MB, 126)):  # nothing says that the NAS has heard of it
        not_yet = reported(down, at_second)
        assert (not_yet.used.down, not_yet.flags) == (30 * MB, "")
    (live,) = home.shop.rows(tables.session, tables.session.c.closed_at.is_(None))
    home.shop.settle(CommandAcked(home.account_id, live.session_id, live.wanted_version))
    passes(130)
    around = reported(140 * MB, 130)
    assert (around.used.down, around.flags) == (30 * MB, "")
    passes(140)
    assert reported(170 * MB, 140).flags == "suspect"


def test_where_the_nas_need_not_hear_of_another_plan_its_line_is_known_since_the_change(engine: Engine) -> None:
    home = house(engine, monthly(), "100.00")
    began, reported = home.shop.now, reporting(home)
    home.shop.now = began + 60_000
    reported(5 * MB, 60)
    version = home.new_version(monthly(terms={"price_micros": 25 * MICROS}))
    assert isinstance(home.arrange(Change(version)), Applied)
    assert home.shop.rows(tables.command) == []
    home.shop.now = began + 75_000
    outcomes = [reported(105 * MB, 61), reported(205 * MB, 70), reported(305 * MB, 75)]
    assert [each.flags for each in outcomes] == ["", "", "suspect"]


def test_a_session_that_goes_on_in_the_next_period_has_its_hold_there(engine: Engine) -> None:
    home = house(engine, monthly(), "100.00")
    session = home.login()
    assert sum(row.held for row in home.shop.rows(tables.bucket)) > 0
    home.look("2027-02-28 10:00")
    (held,) = home.shop.rows(tables.bucket, tables.bucket.c.held > 0)
    assert (held.closed_at, said(held.expires_at)) == (None, "2027-03-31 10:00")
    assert home.shop.rows(tables.command) == []
    assert home.shop.rows(tables.session)[0].session_id == session.session_id
    home.is_right()


def test_who_was_throttled_is_back_with_the_next_period(engine: Engine) -> None:
    home = house(engine, monthly(allowances=(Allowance("data", "octets", "total", 10 * MB),)), "100.00")
    session = home.login()
    home.shop.now += 60_000
    home.shop.report(home.account_id, session.session_id, "interim", down=10 * MB, seconds=60)
    assert home.shop.rows(tables.session)[0].wanted == "exhausted"
    home.look("2027-02-28 10:00")
    (row,) = home.shop.rows(tables.session)
    assert (row.wanted, row.wanted_reason) == ("full", "renewed")
    assert home.notices()[-1] == "restored"
    home.is_right()


# --- when the money is short ------------------------------------------------------------------------------------------


def test_without_money_the_exhausted_action_applies_until_a_payment(engine: Engine) -> None:
    home = house(engine, monthly(allowances=()))
    home.pay("5.00")
    session = home.login()
    assert session.wanted == "full"
    home.look("2027-02-28 10:00")
    assert (home.row.state, home.money()) == ("lapsed", 5 * MICROS)
    (row,) = home.shop.rows(tables.session)
    assert row.wanted == "exhausted"
    assert sorted(home.notices()) == ["exhausted", "expired", "renewal-failed"]
    (failed,) = home.shop.rows(tables.notice, tables.notice.c.kind == "renewal-failed")
    assert '"missing_micros":14990000' in failed.facts
    home.look("2027-03-02 12:00")
    home.pay("14.99")
    (row,) = home.shop.rows(tables.session)
    assert (row.wanted, home.row.state) == ("full", "active")
    assert home.periods()[1:] == [("2027-03-02 12:00", "2027-04-02 12:00", 1999)]
    assert home.shop.rows(tables.command)[-1].action == "profile"
    home.is_right()


def test_grace_goes_on_with_what_is_left_and_is_not_free(engine: Engine) -> None:
    home = house(engine, monthly(terms={"grace_seconds": 3 * 86_400}))
    session = home.login()
    home.shop.now += 60_000
    home.shop.report(home.account_id, session.session_id, "interim", down=20 * MB, seconds=60)
    home.look("2027-02-28 10:00")
    assert (home.row.state, home.octets()) == ("grace", 50 * GB - 20 * MB)
    assert home.shop.rows(tables.session)[0].wanted == "full"
    home.look("2027-03-02 09:00")
    home.pay("19.99")
    assert home.periods()[1:] == [("2027-02-28 10:00", "2027-03-31 10:00", 1999)]
    assert (home.row.state, home.octets()) == ("active", 50 * GB)
    home.is_right()


def test_after_the_grace_nobody_is_served(engine: Engine) -> None:
    home = house(engine, monthly(terms={"grace_seconds": 3 * 86_400}, exhausted=Exhausted()))
    home.login()
    home.look("2027-03-10 10:00")  # the server was away all the time
    assert (home.row.state, home.octets()) == ("lapsed", 0)
    assert home.shop.rows(tables.session)[0].wanted == "cut"
    assert isinstance(home.login("d2"), Refused)
    c = tables.transfer.c
    (expired,) = home.shop.rows(tables.transfer, c.kind == "expired")
    assert said(expired.effective_at) == "2027-03-03 10:00"
    home.is_right()


def test_a_credit_limit_pays_too(engine: Engine) -> None:
    home = house(engine, monthly())
    with engine.begin() as connection:
        connection.execute(update(tables.account).values(credit_limit_micros=20 * MICROS))
    home.look("2027-02-28 10:00")
    assert (home.row.state, home.money()) == ("active", -19_990_000)
    home.is_right()


def test_money_that_a_session_holds_pays_all_the_same(engine: Engine) -> None:
    rate = Rate("octets", "total", 20_000, MB, MB, 0)
    home = house(engine, monthly(allowances=(), rates=(rate,)), "39.98")
    home.login()
    (purse,) = home.shop.rows(tables.bucket)
    assert purse.held > 0
    home.look("2027-02-28 10:00")
    assert (home.row.state, home.money()) == ("active", 0)
    assert home.shop.rows(tables.session)[0].wanted == "exhausted"
    home.is_right()


def test_nobody_suspended_is_charged(engine: Engine) -> None:
    home = house(engine, monthly(), "100.00")
    with engine.begin() as connection:
        connection.execute(update(tables.subscriber).values(status="suspended"))
    home.look("2027-02-28 10:00")
    assert (home.row.state, len(home.periods())) == ("lapsed", 1)
    with engine.begin() as connection:
        connection.execute(update(tables.subscriber).values(status="active"))
    home.look("2027-03-05 08:00")
    assert home.periods()[1:] == [("2027-03-05 08:00", "2027-04-05 08:00", 1999)]


def test_manual_renewal_waits_for_somebody_to_ask(engine: Engine) -> None:
    home = house(engine, monthly(terms={"renewal": "manual", "remind_seconds": 2 * 86_400}), "100.00")
    home.look("2027-02-26 10:00")
    assert home.notices() == ["renewal-soon"]
    home.look("2027-02-26 11:00")
    assert home.notices() == ["renewal-soon"]
    home.look("2027-02-28 10:00")
    assert home.row.state == "lapsed"
    home.pay("1.00")
    assert home.row.state == "lapsed"
    from charging import order_inbox

    def order(**columns: Any) -> Any:
        with engine.begin() as connection:
            number = order_inbox.put(
                connection, source="shop", external_ref=f"n{home.shop.now}", kind="renew", account="anna", **columns
            )
            page = order_inbox.pending(connection, 1, only=number)
        return home.settle(*page.orders)[0]

    assert isinstance(order(subscriber="bert"), NotApplied)
    home.shop.now += 1
    assert isinstance(order(subscriber="anna"), Applied)
    assert (home.row.state, home.row.number) == ("active", 2)
    home.shop.now += 1
    assert isinstance(order(), NotApplied)
    home.is_right()


def test_first_use(engine: Engine) -> None:
    home = house(engine, monthly(terms={"begins": "first-use"}))
    assert (home.row.state, home.money()) == ("waiting", 19_990_000)
    home.look("2027-02-10 08:00")
    assert isinstance(home.login(), Admitted)
    assert home.periods() == [("2027-02-10 08:00", "2027-03-10 08:00", 1999)]
    home.is_right()


# --- what a period brings and leaves ----------------------------------------------------------------------------------


def test_promotions_and_gifts(engine: Engine) -> None:
    plan = monthly(
        terms={
            "promotions": (Promotion(9_990_000, periods=2), Promotion(1_000_000, valid_from=at("2027-04-01 00:00")))
        },
        allowances=(
            Allowance("data", "octets", "total", 50 * GB),
            Allowance("welcome", "octets", "total", 5 * GB, periods=1, validity=Duration(months=2)),
            Allowance(
                "spring",
                "octets",
                "total",
                7 * GB,
                valid_from=at("2027-03-01 00:00"),
                valid_until=at("2027-04-01 00:00"),
            ),
        ),
    )
    home = house(engine, plan, "100.00")
    assert home.octets() == 55 * GB
    home.look("2027-02-28 10:00")
    assert home.octets() == 55 * GB
    home.look("2027-03-31 10:00")  # the gift ends, spring has come
    assert home.octets() == 57 * GB
    home.look("2027-04-30 10:00")
    assert home.octets() == 50 * GB
    assert [price for _, _, price in home.periods()] == [999, 999, 1999, 100]
    home.is_right()


@pytest.mark.parametrize(
    ("rule", "used", "balances"),
    [
        # GB used in each period; what there is at the beginning of the next one
        (RollOver(), [20, 20, 20], [80, 100, 100]),  # the older 30 are drawn first; 10 of them end, and 50 go over
        (RollOver(maximum=10 * GB), [20, 0, 0], [60, 60, 60]),
        (RollOver(minimum=5 * GB), [46, 44], [50, 56]),
        (RollOver(periods=2), [20, 0, 0], [80, 130, 150]),
        (RollOver(periods=3), [0, 0, 0, 0], [100, 150, 200, 200]),
    ],
)
def test_roll_over(engine: Engine, rule: RollOver, used: list[int], balances: list[int]) -> None:
    """By hand: with `periods=2`, 30 of the first month and 50 of each later one are there: 30 + 50 + 50, then the 30 end,
    and 50 + 50 + 50 are left."""
    home = house(engine, monthly(allowances=(Allowance("data", "octets", "total", 50 * GB, roll_over=rule),)), "200.00")
    found: list[int] = []
    for gigabytes, day in zip(used, ("2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"), strict=False):
        if gigabytes:
            home.shop.now += 60_000
            session = home.login(f"d{len(found)}")
            home.shop.now += 60_000 * gigabytes * 20
            home.shop.report(
                home.account_id, session.session_id, "stop", down=gigabytes * GB, seconds=60 * gigabytes * 20
            )
        home.look(f"{day} 10:00")
        found.append(home.octets() // GB)
    assert found == balances
    home.is_right()


def test_what_was_paid_in_for_a_time_expires_into_the_ledger(engine: Engine) -> None:
    home = house(engine, monthly())
    home.shop.pay("anna", "5GB", unit="octets")
    top_up = home.shop.put("anna", "2.00", validity="10 days")
    from charging import inbox

    with engine.begin() as connection:
        settle_batch(
            connection,
            inbox.pending(connection, 1, only=top_up).top_ups,
            home.shop.now,
            home.shop.plans,
            home.shop.chance,
        )
    home.look("2027-02-10 10:00")
    assert home.ledger()[-1] == ("expired", "money", -2 * MICROS)
    assert home.notices() == ["expired"]
    home.look("2027-02-28 10:00")
    assert home.octets() == 5 * GB  # what was paid in without an end stays
    home.is_right()


def test_a_nas_that_can_be_told_nothing_is_told_the_end_of_the_period_at_login(engine: Engine) -> None:
    home = house(engine, monthly(allowances=()))
    login = Login(home.account_id, home.subscriber_id, "anna", home.plan_version_id, None, None, 1, "192.0.2.1", "d")
    (told,) = home.settle(login._replace(means="time"))
    assert told.time_limit_seconds == 28 * 86_400
    (told,) = home.settle(login._replace(device_key="e"))
    assert told.time_limit_seconds is None


def test_late_packets_of_the_session_before_a_change_are_charged_once(engine: Engine) -> None:
    """The NAS knows one session; whatever it repeats of the time before the change is known already."""
    home = house(engine, monthly(), "100.00", "2027-04-01 10:00")
    version = home.shop.plan(monthly(name="large", allowances=(Allowance("data", "octets", "total", 90 * GB),)))
    session = home.login()
    home.shop.now += 60_000
    before = home.shop.report_item(home.account_id, session.session_id, "interim", down=5 * MB, seconds=60)
    home.settle(before)
    home.shop.now += 60_000
    home.arrange(Change(version))
    left = home.octets()
    home.shop.now += 60_000
    home.settle(before)
    assert home.octets() == left
    home.shop.report(home.account_id, session.session_id, "stop", down=9 * MB, seconds=240)
    assert home.octets() == left - 4 * MB
    home.settle(before)
    assert home.octets() == left - 4 * MB
    assert home.shop.rows(tables.session, tables.session.c.closed_at.is_(None)) == []
    home.is_right()


# --- another plan -----------------------------------------------------------------------------------------------------

TEN_DAYS_MS = 10 * DAY_MS


def test_a_change_at_once_gives_back_the_rest_and_charges_the_rest(engine: Engine) -> None:
    """30 days from 1 April 10:00 to 1 May 10:00; ten are gone. 30.00 * 2/3 = 20.00 back; 60.00 * 2/3 = 40.00 for 2/3 of 90 GB."""
    home = house(engine, monthly(terms={"price_micros": 30 * MICROS}), "80.00", "2027-04-01 10:00")
    version = home.shop.plan(
        monthly(
            name="large",
            terms={"price_micros": 60 * MICROS},
            allowances=(Allowance("data", "octets", "total", 90 * GB),),
        )
    )
    session = home.login()
    home.shop.now += TEN_DAYS_MS
    assert isinstance(home.arrange(Change(version)), Applied)
    assert (home.money(), home.octets()) == ((80 - 30 + 20 - 40) * MICROS, 60 * GB)
    assert home.periods() == [
        ("2027-04-01 10:00", "2027-05-01 10:00", 3000),
        ("2027-04-11 10:00", "2027-05-01 10:00", 4000),
    ]
    live = home.shop.rows(tables.session, tables.session.c.closed_at.is_(None))
    assert [(row.plan_version_id, row.root_id) for row in live] == [(version, session.session_id)]
    (subscriber,) = home.shop.rows(tables.subscriber)
    assert (subscriber.plan_name, subscriber.plan_version_id) == ("large", version)
    home.shop.now += TEN_DAYS_MS
    # And back: half of the 20 days is left; 40.00 * 1/2 = 20.00 back, 30.00 * 1/3 = 10.00 for a third of 50 GB.
    assert isinstance(home.arrange(Change(home.plan_version_id)), Applied)
    assert (home.money(), home.octets()) == (40 * MICROS, 50 * GB // 3)
    home.is_right()
    home.look("2027-05-01 10:00")
    assert (home.money(), home.octets()) == (10 * MICROS, 50 * GB)


@pytest.mark.parametrize(("rule", "back"), [("time", 20), ("unused", 12), ("none", 0)])
def test_what_is_given_back_of_a_period(engine: Engine, rule: str, back: int) -> None:
    """Two thirds of the time are left, and 20 of 50 GB."""
    home = house(engine, monthly(terms={"price_micros": 30 * MICROS, "proration": rule}), "40.00", "2027-04-01 10:00")
    version = home.shop.plan(monthly(name="week", terms={"every": Every(7, "day"), "price_micros": 5 * MICROS}))
    session = home.login()
    home.shop.now += TEN_DAYS_MS
    home.shop.report(home.account_id, session.session_id, "stop", down=30 * GB, seconds=864_000)
    assert isinstance(home.arrange(Change(version)), Applied)
    assert home.money() == (10 + back - 5) * MICROS
    assert home.periods()[-1] == ("2027-04-11 10:00", "2027-04-18 10:00", 500)
    home.is_right()


def test_a_change_that_is_not_paid_changes_nothing(engine: Engine) -> None:
    home = house(engine, monthly(), begins="2027-04-01 10:00")
    version = home.shop.plan(monthly(name="large", terms={"price_micros": 60 * MICROS}))
    home.shop.now += TEN_DAYS_MS
    before = (home.ledger(), home.row)
    outcome = home.arrange(Change(version))
    assert isinstance(outcome, NotApplied)
    assert "are missing for plan large" in outcome.reason
    assert (home.ledger(), home.row) == before


def test_a_change_with_the_next_period(engine: Engine) -> None:
    home = house(engine, monthly(), "100.00")
    version = home.shop.plan(monthly(name="large", terms={"price_micros": 25 * MICROS}))
    home.shop.now += TEN_DAYS_MS
    assert isinstance(home.arrange(Change(version, "period-end")), Applied)
    assert (home.row.plan_name, home.row.next_plan_name) == ("monthly", "large")
    home.look("2027-02-28 10:00")
    assert (home.row.plan_name, home.row.next_plan_name, home.row.number) == ("large", None, 1)
    assert home.money() == 100 * MICROS - 19_990_000 - 25 * MICROS
    (subscriber,) = home.shop.rows(tables.subscriber)
    assert subscriber.plan_name == "large"
    home.is_right()


def test_to_a_plan_without_periods_and_back(engine: Engine) -> None:
    home = house(engine, monthly(terms={"price_micros": 30 * MICROS}), "100.00", "2027-04-01 10:00")
    plain = home.shop.plan(Plan("plain", "EUR", "UTC", HOME, allowances=(Allowance("data", "octets", "total", GB),)))
    home.shop.now += TEN_DAYS_MS
    home.arrange(Change(plain))
    assert (home.row.state, home.octets(), home.money()) == ("ended", GB, 90 * MICROS)
    (subscriber,) = home.shop.rows(tables.subscriber)
    assert (subscriber.plan_name, subscriber.plan_version_id) == ("plain", None)
    home.look("2027-09-01 10:00")
    assert home.octets() == GB
    home.arrange(Change(home.plan_version_id))
    assert (home.row.state, home.octets(), home.money()) == ("active", 51 * GB, 60 * MICROS)
    home.is_right()


def test_a_pause_makes_everything_end_later(engine: Engine) -> None:
    home = house(engine, monthly(), "100.00", "2027-04-01 10:00")
    home.login()
    home.shop.now += TEN_DAYS_MS
    assert isinstance(home.arrange(Pause()), Applied)
    assert home.shop.rows(tables.session)[0].wanted == "cut"
    assert home.login("d2").wanted == "exhausted"
    home.look("2027-08-01 10:00")
    assert (home.row.state, home.octets(), len(home.periods())) == ("paused", 50 * GB, 1)
    assert isinstance(home.arrange(Resume()), Applied)
    assert said(home.row.end_at) == "2027-08-21 10:00"
    home.look("2027-08-21 10:00")
    assert home.periods()[1:] == [("2027-08-21 10:00", "2027-09-21 10:00", 1999)]
    home.is_right()


def test_a_pause_with_an_end_ends_by_itself(engine: Engine) -> None:
    home = house(engine, monthly(), "100.00", "2027-04-01 10:00")
    home.shop.now += TEN_DAYS_MS
    home.arrange(Pause(home.shop.now + 5 * DAY_MS))
    home.look("2027-04-20 10:00")
    assert (home.row.state, said(home.row.end_at)) == ("active", "2027-05-06 10:00")
    home.is_right()
