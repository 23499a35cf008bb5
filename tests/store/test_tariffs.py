"""Sessions that are charged by tiers, windows, zones, periods and scoped buckets, through `settle` on real databases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, select

from charging import audit, planfile, tables
from charging.admission import Admitted, Login, Refused
from charging.book import UsageLine
from charging.database import reading
from charging.payment import Grant, TopUp
from charging.plan import Plan
from charging.session import Report
from charging.settle import Item, Outcome, Plans, settle
from charging.shelf import Shelf
from charging.usage import Recorded
from tests.charging.cases.invariants import broken
from tests.charging.cases.story import Case, Stored

GB = 10**9
HEAD = """
currency = "EUR"
time_zone = "Europe/Berlin"
[profile.home]
interim_interval = "10m"
[profile.slow]
rate_down = "256k"
rate_up = "256k"
[plan.p]
profile = "home"
max_sessions = "unlimited"
"""


def plan(text: str, *, whole: bool = False) -> Plan:
    if whole:
        (found,) = planfile.load('currency = "EUR"\ntime_zone = "Europe/Berlin"\n' + text)
        return found
    (found,) = planfile.load(HEAD + text.replace("[[", "[[plan.p.").replace("[exhausted]", "[plan.p.exhausted]"))
    return found


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()) * 1000


@dataclass
class House:
    """One account with alice and bob, as a server serves it."""

    stage: Stored
    account_id: int
    shelf: Shelf = field(default_factory=Shelf)
    plans: Plans = field(default_factory=Plans)
    now: int = 0

    def settle(self, *items: Item) -> list[Outcome]:
        with self.stage.engine.connect() as connection:
            settled = settle(connection, items, self.now, self.plans, self.stage.chance, self.shelf)
            connection.commit()
        self.shelf.keep(settled.books, self.now)
        assert broken(self.stage.rows(self.account_id)) == []
        return settled.outcomes

    def try_login(self, user: str, device: str = "d", **facts: str) -> Admitted | Refused:
        subscriber_id, username = self.stage.subscriber(user)
        login = Login(
            self.account_id, subscriber_id, facts.pop("username", username), self.stage.version, None, None, 1,
            "10.0.0.1", f"{device}-{user}", **facts,  # type: ignore[arg-type]
        )  # fmt: skip
        (outcome,) = self.settle(login)
        assert isinstance(outcome, Admitted | Refused)
        return outcome

    def login(self, user: str, device: str = "d", **facts: str) -> Admitted:
        outcome = self.try_login(user, device, **facts)
        assert isinstance(outcome, Admitted), outcome
        return outcome

    def report(self, session: Admitted, kind: str, down: int, seconds: int = 0, **more: str) -> Recorded:
        item = Report(
            kind, 1, "10.0.0.1", "?", b"S%d" % session.session_id, (session.account_id, session.session_id), 0, down,  # type: ignore[arg-type]
            seconds, True, self.now, True, self.now, b"", **more,  # type: ignore[arg-type]
        )  # fmt: skip
        (outcome,) = self.settle(item)
        assert isinstance(outcome, Recorded)
        return outcome

    def pay(self, micros: int) -> None:
        top_up_id = self.stage.put_top_up(self.account_id, "money", micros)
        self.settle(TopUp(self.account_id, top_up_id, "money", micros, f"r{top_up_id}", "test"))

    def balance(self, name: str = "money") -> int:
        return next(b.balance for b in self.stage.rows(self.account_id).buckets if b.name == name)

    def lines(self) -> list[UsageLine]:
        return self.stage.rows(self.account_id).usage_lines

    def wanted(self, session: Admitted) -> tuple[str, str]:
        sessions = self.stage.rows(self.account_id).sessions
        return next((s.wanted, s.wanted_reason) for s in sessions if s.session_id == session.session_id)

    def audit(self) -> list[str]:
        with reading(self.stage.engine) as connection:
            found = audit.check(connection, self.now).found
        return [str(violation) for violation in found if violation.invariant != "top ups"]  # they came by no inbox


@pytest.fixture
def house(engine: Engine) -> Callable[..., House]:
    def open_(text: str, money: int = 0, at: str = "2026-09-21T16:30", *, whole: bool = False) -> House:
        stage = Stored(engine)
        sold = plan(text, whole=whole)
        ids = stage.open(Case("tariffs", sold), {"home": ["alice", "bob"]})
        opened = House(stage, ids["home"], now=instant(at))
        if money:
            opened.pay(money)
        if sold.allowances:
            subscriber_id, _ = stage.subscriber("alice")
            opened.settle(Grant(ids["home"], stage.version, "first", "test", subscriber_id))
        return opened

    return open_


VOLUME = """
[[rate]]
unit = "octets"
per = "1GB"
mode = "volume"
[[rate.tier]]
upto = "10GB"
price = "0.20"
[[rate.tier]]
price = "0.05"
"""


def test_a_volume_tier_gives_back_what_was_paid_too_much(house: Callable[..., House]) -> None:
    home = house(VOLUME, money=10_000_000)
    session = home.login("alice")
    home.now += 3_700_000  # posted every hour
    assert home.report(session, "interim", 10 * GB).micros == 2_000_000
    home.now += 3_700_000
    assert home.report(session, "interim", 10 * GB + 1).micros == -1_499_999  # 0.05 · 10.000000001, rounded up
    assert home.balance() == 9_499_999
    home.now += 1_000
    assert home.report(session, "stop", 12 * GB).micros == 99_999
    assert home.balance() == 9_400_000
    kinds = [(t.kind, t.amount) for t in home.stage.rows(home.account_id).transfers]
    assert kinds == [("top-up", 10_000_000), ("usage", 2_000_000), ("credit", 1_499_999), ("usage", 99_999)]
    assert home.audit() == []


MONTHLY = """
[[rate]]
name = "data"
unit = "octets"
per = "1GB"
accumulate = "month"
[[rate.tier]]
upto = "10GB"
price = "0.20"
[[rate.tier]]
price = "0.05"
"""


def test_a_month_is_counted_over_sessions_nodes_and_versions(house: Callable[..., House]) -> None:
    home = house(MONTHLY, money=100_000_000)
    first = home.login("alice")
    assert home.report(first, "stop", 9 * GB).micros == 1_800_000
    # another node, which knows nothing yet, and the plan's next version
    home.shelf, home.plans = Shelf(), Plans()
    second = home.login("alice", "e")
    assert home.report(second, "interim", 2 * GB).micros == 250_000  # 0.20 + 0.05
    assert home.report(home.login("bob"), "stop", 2 * GB).micros == 400_000  # each has his own count
    home.now = instant("2026-10-01T00:10")
    assert home.report(second, "stop", 4 * GB, 600).micros == 400_000  # ten minutes of October
    counted = {(row.subscriber_id, row.period_at): row.amount for row in tallies(home)}
    alice, bob = home.stage.subscriber("alice")[0], home.stage.subscriber("bob")[0]
    september, october = instant("2026-09-01T00:00"), instant("2026-10-01T00:00")
    assert counted == {(alice, september): 11 * GB, (alice, october): 2 * GB, (bob, september): 2 * GB}
    assert home.audit() == []


def tallies(home: House) -> list[Any]:
    with home.stage.engine.connect() as connection:
        return list(connection.execute(select(tables.tally)).all())


NIGHT = """
[window.night]
hours = "22:00-06:00"
[[allowance]]
name = "nights"
unit = "octets"
amount = "1GB"
windows = ["night"]
[[rate]]
unit = "octets"
price = "1.00"
per = "1GB"
[exhausted]
action = "throttle"
profile = "slow"
"""


def test_a_report_over_the_turn_of_a_window_is_split(house: Callable[..., House]) -> None:
    home = house(NIGHT, money=10_000_000, at="2026-09-21T21:30")
    session = home.login("alice")
    home.now = instant("2026-09-21T22:30")
    assert home.report(session, "interim", 1 * GB, 3600).micros == 500_000
    assert home.balance("nights") == 500_000_000
    (line,) = home.lines()
    assert (line.flags, line.rated) == ("estimated", "0:500000000:500000")
    home.now += 600_000
    assert home.report(session, "interim", GB + 300_000_000, 4200).micros == 0
    assert home.balance("nights") == 200_000_000
    assert home.lines()[-1].flags == ""
    assert home.audit() == []


def test_by_day_a_bucket_for_the_night_admits_nobody(house: Callable[..., House]) -> None:
    home = house(NIGHT, at="2026-09-21T16:30")
    assert home.login("alice").wanted == "exhausted"
    home.now = instant("2026-09-21T23:30")
    assert home.login("bob").wanted == "full"


def test_an_exhausted_session_is_restored_when_the_night_begins(house: Callable[..., House]) -> None:
    home = house(NIGHT, at="2026-09-21T21:30")
    session = home.login("alice")
    assert session.wanted == "exhausted"
    home.now = instant("2026-09-21T21:45")
    home.report(session, "interim", 1_000, 900)
    assert home.wanted(session)[0] == "exhausted"
    home.now = instant("2026-09-21T22:00")
    home.report(session, "interim", 2_000, 1800)
    assert home.wanted(session)[0] == "full"


def test_the_nas_is_told_when_time_alone_ends_a_session(house: Callable[..., House]) -> None:
    night = NIGHT[: NIGHT.index("[exhausted]")]
    home = house(night, at="2026-09-22T03:00")
    assert home.login("alice").time_limit_seconds == 3 * 3600
    home.pay(1_000_000)  # by day there is money
    assert home.login("bob").time_limit_seconds is None


FAMILY = """
[[allowance]]
name = "family"
unit = "octets"
amount = "50GB"
member_cap = "2GB"
member_cap_per = "day"
[[allowance]]
name = "hers"
unit = "octets"
amount = "1GB"
shared = false
priority = 1
"""


def test_a_family_shares_but_nobody_takes_it_all(house: Callable[..., House]) -> None:
    home = house(FAMILY)
    alice, bob = home.login("alice"), home.login("bob")
    home.now += 1_000
    home.report(alice, "interim", 2 * GB)
    assert (home.balance("family"), home.balance("hers")) == (48 * GB, GB)
    home.now += 1_000
    home.report(alice, "interim", 2 * GB + 400_000_000)
    assert (home.balance("family"), home.balance("hers")) == (48 * GB, 600_000_000)
    home.report(bob, "interim", 3 * GB)
    assert (home.balance("family"), home.balance("hers")) == (46 * GB, 600_000_000)
    assert home.wanted(bob)[0] == "cut"  # hers is not his
    assert home.wanted(alice)[0] == "full"
    assert isinstance(home.try_login("bob", "e"), Refused)
    home.now += 86_400_000
    assert isinstance(home.try_login("bob", "e"), Admitted)  # another day
    assert home.audit() == []


MAXIMUM = """
[[rate]]
name = "data"
unit = "octets"
price = "1.00"
per = "1GB"
accumulate = "day"
maximum = "2.00"
at_maximum = "disconnect"
[exhausted]
action = "throttle"
profile = "slow"
"""


def test_the_maximum_ends_the_session_and_money_does_not_bring_it_back(house: Callable[..., House]) -> None:
    home = house(MAXIMUM, money=10_000_000)
    session = home.login("alice")
    home.now += 1_000
    assert home.report(session, "interim", 5 * GB).micros == 2_000_000
    assert home.wanted(session) == ("cut", "maximum")
    with home.stage.engine.connect() as connection:
        (notice,) = connection.execute(select(tables.notice).where(tables.notice.c.kind == "exhausted")).all()
    assert (notice.detail, json.loads(notice.facts)) == ("maximum", {"action": "maximum"})
    home.pay(5_000_000)
    assert home.wanted(session) == ("cut", "maximum")
    assert home.balance() == 13_000_000
    home.report(session, "stop", 5 * GB)
    assert home.try_login("alice", "e") == Refused("exhausted")
    home.now += 86_400_000
    assert home.login("alice", "f").wanted == "full"
    assert home.audit() == []


VISITS = """
[[rate]]
unit = "session"
price = "0.50"
[[rate]]
unit = "seconds"
price = "0.06"
per = "1m"
step = "1m"
[window.night]
hours = "22:00-06:00"
"""


def test_the_session_has_a_price(house: Callable[..., House]) -> None:
    home = house(VISITS, money=490_000)
    assert home.try_login("alice") == Refused("exhausted")
    home.pay(610_000)
    session = home.login("alice")
    assert session.paid_seconds == 600  # 1.10 - 0.50
    home.now += 60_000
    assert home.report(session, "interim", 0, 60).micros == 560_000
    home.now += 60_000
    assert home.report(session, "stop", 0, 120).micros == 60_000
    assert home.balance() == 480_000
    assert home.audit() == []


def test_a_plan_may_charge_the_session_and_nothing_else(house: Callable[..., House]) -> None:
    home = house(
        """
[[rate]]
unit = "session"
price = "0.50"
""",
        money=900_000,
    )
    session = home.login("alice")
    assert home.report(session, "interim", 5 * GB, 3_600).micros == 500_000
    assert home.try_login("alice", "e") == Refused("exhausted")
    home.now += 1_000
    assert home.report(session, "stop", 6 * GB, 3_601).micros == 0
    assert home.balance() == 400_000
    assert home.audit() == []


CHEAP_NIGHT = """
[window.night]
hours = "22:00-06:00"
[[rate]]
unit = "seconds"
price = "0.01"
per = "1m"
windows = ["night"]
[[rate]]
unit = "seconds"
price = "0.06"
per = "1m"
"""


def test_session_timeout_reaches_over_the_turn_of_a_window(house: Callable[..., House]) -> None:
    home = house(CHEAP_NIGHT, money=4_200_000, at="2026-09-21T21:00")
    session = home.login("alice")
    assert session.paid_seconds == 7_200  # 3.60 for the hour by day, 0.60 for one by night
    home.now += 7_200_000
    assert home.report(session, "stop", 0, 7_200).micros == 4_200_000
    assert home.balance() == 0
    assert home.audit() == []


PLACES = """
[zone.cafe]
called_stations = ["*:cafe"]
[zone.partner]
realms = ["partner.example"]
[zone.hall]
nas_groups = ["hall"]
[[rate]]
unit = "octets"
price = "1.00"
per = "1GB"
zones = ["cafe"]
[[rate]]
unit = "octets"
price = "2.00"
per = "1GB"
zones = ["partner"]
[[rate]]
unit = "octets"
price = "3.00"
per = "1GB"
zones = ["hall"]
[[rate]]
unit = "octets"
price = "4.00"
per = "1GB"
service_classes = ["call-check"]
[[rate]]
unit = "octets"
price = "5.00"
per = "1GB"
"""


def test_where_a_session_is_decides_its_price(house: Callable[..., House]) -> None:
    home = house(PLACES, money=100_000_000)
    for device, (facts, micros) in enumerate([
        ({"called_station": "02-00-00-00-00-01:Cafe"}, 1_000_000),
        ({"username": "alice@partner.example"}, 2_000_000),
        ({"nas_group": "hall"}, 3_000_000),
        ({"service_class": "call-check"}, 4_000_000),
        ({}, 5_000_000),
    ]):  # fmt: skip
        session = home.login("alice", str(device), **facts)
        home.shelf = Shelf()  # what is known of it stands in the database
        assert home.report(session, "interim", GB).micros == micros
    # One whose NAS says it with the first report only.
    session = home.login("alice", "late")
    assert home.report(session, "start", 0, called_station="x:cafe").micros == 0
    home.shelf = Shelf()
    home.now += 1_000
    assert home.report(session, "stop", GB).micros == 1_000_000
    assert home.audit() == []
