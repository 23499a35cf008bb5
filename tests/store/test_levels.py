"""Other profiles at other hours, after so much use, and at caps: through `settle` and the clock's job on real databases."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Table
from twisted.internet.defer import Deferred, execute

from charging import tables
from charging.admission import Admitted, Refused
from charging.arrangement import Arrangement, Pause, Resume
from charging.jobs import review_due
from charging.payment import Grant
from charging.session import Session
from charging.settle import CatchUp, CommandAcked, CommandFailed
from charging.shelf import Shelf
from charging.window import local
from charging.writer import Writer
from tests.store.test_tariffs import GB, House, house, instant

__all__ = ["house"]

PROFILES = """
[profile.line]
rate_down = "100M"
rate_up = "100M"
interim_interval = "10m"
[profile.fast]
rate_down = "200M"
rate_up = "200M"
[profile.five]
rate_down = "5M"
rate_up = "5M"
[profile.one]
rate_down = "1M"
rate_up = "1M"
[window.late]
hours = "22:00-06:00"
"""
NIGHTS = """
[[profile_window]]
window = "late"
profile = "fast"
"""
FAIR = """
[fair_use]
per = "month"
[[fair_use.step]]
after = "50GB"
profile = "five"
[[fair_use.step]]
after = "80GB"
profile = "one"
"""


RENEWED = """
[period]
every = "1 month"
price = "10.00"
grace = "3 days"
""" + FAIR.replace('"month"', '"period"')


def file(text: str) -> str:
    """A plan `p` with the profile `line`, and these tables of its own."""
    for own in ("rate", "allowance", "profile_window", "cap", "fair_use", "exhausted", "period"):
        text = text.replace(f"[{own}", f"[plan.p.{own}")
    return f'{PROFILES}\n[plan.p]\nprofile = "line"\nmax_sessions = "unlimited"\n{text}'


Open = Callable[..., House]


@pytest.fixture
def home(house: Open) -> Open:
    def open_(text: str, money: int = 0, at: str = "2026-09-21T16:30") -> House:
        return house(file(text), money, at, whole=True)

    return open_


def at(home: House, moment: str) -> None:
    home.now = instant(moment)


def session(home: House, admitted: Admitted) -> Session:
    return next(s for s in home.stage.rows(home.account_id).sessions if s.session_id == admitted.session_id)


def told(home: House, admitted: Admitted) -> tuple[str, str, str]:
    """What is wanted, in which profile, why."""
    found = session(home, admitted)
    return found.wanted, found.profile, found.wanted_reason


def clock(home: House) -> int:
    """The job that looks at what is due, with the server's own writer; how many sessions it looked at."""
    writer = Writer(home.stage.engine, at_once, lambda: home.now, chance=random.Random(5))
    found: list[Any] = []
    work = review_due(home.stage.engine, writer, at_once, home.now)
    Deferred.fromCoroutine(work).addBoth(found.append)
    assert isinstance(found[0], int), found
    home.shelf = Shelf()  # another writer was at work
    return found[0]


def at_once(work: Callable[[], Any]) -> Deferred[Any]:
    return execute(work)


def acked(home: House, admitted: Admitted) -> None:
    home.settle(CommandAcked(home.account_id, admitted.session_id, session(home, admitted).wanted_version))


def commands(home: House, admitted: Admitted) -> list[tuple[str, str]]:
    return [(c.action, c.reason) for c in rows(home, tables.command) if c.session_id == admitted.session_id]


def notices(home: House) -> list[str]:
    return [f"{n.kind} {n.detail}" for n in rows(home, tables.notice)]


def rows(home: House, table: Table) -> Sequence[Any]:
    with home.stage.engine.connect() as connection:
        # Ids of one moment are in no order; versions are.
        return sorted(connection.execute(table.select()), key=lambda row: (row.created_at, row[1]))


def tallies(home: House) -> dict[int, int]:
    with home.stage.engine.connect() as connection:
        return {row.period_at: row.amount for row in connection.execute(tables.tally.select())}


# --- by the hour -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "profile", "until"),
    [
        ("2026-09-21T21:59", "line", "2026-09-21T22:00"),
        ("2026-09-21T22:00", "fast", "2026-09-22T06:00"),
        ("2026-09-22T05:59", "fast", "2026-09-22T06:00"),
        ("2026-09-22T06:00", "line", "2026-09-22T22:00"),
        ("2026-10-24T23:00", "fast", "2026-10-25T06:00"),  # nine hours
        ("2026-03-28T23:00", "fast", "2026-03-29T06:00"),  # seven
    ],
)
def test_a_login_gets_the_profile_of_its_moment(home: Open, moment: str, profile: str, until: str) -> None:
    here = home(NIGHTS, at=moment)
    admitted = here.login("alice")
    assert admitted.profile.name == profile
    assert session(here, admitted).review_at == instant(until)


@pytest.mark.parametrize(
    ("evening", "hours"), [("2026-09-21", 8), ("2026-10-24", 9), ("2026-03-28", 7)], ids=["usual", "autumn", "spring"]
)
def test_at_a_windows_edges_the_clock_tells_live_sessions_once(home: Open, evening: str, hours: int) -> None:
    here = home(NIGHTS, at=f"{evening}T21:30")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    at(here, f"{evening}T21:59")
    assert clock(here) == 0
    at(here, f"{evening}T22:00")
    assert (clock(here), clock(here)) == (1, 0)
    assert told(here, alice) == ("full", "fast", "window")
    acked(here, alice)
    here.now += hours * 3_600_000 - 1
    assert clock(here) == 0
    here.now += 1
    assert (clock(here), clock(here)) == (1, 0)
    assert told(here, alice) == ("full", "", "window")
    assert commands(here, alice) == [("profile", "window")] * 2
    assert notices(here) == []


def test_a_report_that_comes_before_the_clock_changes_it_too(home: Open) -> None:
    here = home(NIGHTS, at="2026-09-21T21:55")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    at(here, "2026-09-21T22:00")
    here.report(alice, "interim", GB, 300)
    assert told(here, alice) == ("full", "fast", "window")
    assert clock(here) == 0


def test_a_job_that_stood_still_for_three_days_says_only_what_holds_now(home: Open) -> None:
    here = home(NIGHTS, at="2026-09-21T21:55")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    at(here, "2026-09-24T23:00")
    assert clock(here) == 1
    assert told(here, alice) == ("full", "fast", "window")
    assert commands(here, alice) == [("profile", "window")]
    at(here, "2026-09-26T12:00")
    assert clock(here) == 1
    assert told(here, alice) == ("full", "", "window")


def test_a_session_that_has_not_begun_yet_hears_with_its_first_report(home: Open) -> None:
    here = home(NIGHTS, at="2026-09-21T21:59:30")
    alice = here.login("alice")
    at(here, "2026-09-21T22:00")
    assert clock(here) == 0
    here.now += 5_000
    here.report(alice, "start", 0)
    assert told(here, alice) == ("full", "fast", "window")


def test_a_nas_that_refuses_goes_on_as_before(home: Open) -> None:
    here = home(NIGHTS, at="2026-09-21T21:59")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    at(here, "2026-09-21T22:00")
    clock(here)
    here.settle(CommandFailed(here.account_id, alice.session_id, session(here, alice).wanted_version, "nak:406"))
    for minutes in (10, 20, 30):
        at(here, f"2026-09-21T22:{minutes}")
        here.report(alice, "interim", minutes * GB // 10, 60 * minutes)
    assert told(here, alice)[0] == "full"
    assert commands(here, alice) == [("profile", "window")]
    assert session(here, alice).acked_profile == ""


def test_a_faster_hour_holds_more_and_is_not_suspect(home: Open) -> None:
    text = NIGHTS + '[[rate]]\nunit = "octets"\nprice = "0.10"\nper = "1GB"\n'
    here = home(text, money=100_000_000, at="2026-09-21T21:55")
    alice = here.login("alice")
    here.report(alice, "start", 0)

    def held() -> int:
        return sum(b.held for b in here.stage.rows(here.account_id).buckets)

    by_day = held()
    at(here, "2026-09-21T22:00")
    clock(here)
    assert held() == 2 * by_day
    at(here, "2026-09-21T22:05")
    recorded = here.report(alice, "interim", 200_000_000 // 8 * 300, 600)
    assert recorded.flags == ""


# --- fair use --------------------------------------------------------------------------------------------------------


def run_to(home: House, admitted: Admitted, used: int, minutes: int = 120) -> None:
    home.now += minutes * 60_000
    found = session(home, admitted)
    home.report(admitted, "interim", used, found.seconds + minutes * 60)


def test_after_fifty_five_after_eighty_one_and_back_at_the_months_end(home: Open) -> None:
    here = home(FAIR, at="2026-09-21T12:00")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, 50 * GB - 1)
    assert told(here, alice) == ("full", "", "")
    run_to(here, alice, 50 * GB)
    assert told(here, alice) == ("full", "five", "fair-use")
    acked(here, alice)
    assert here.login("alice", "second").profile.name == "five"
    run_to(here, alice, 53 * GB)
    assert told(here, alice)[1] == "five"
    run_to(here, alice, 80 * GB, minutes=24 * 60)
    assert told(here, alice) == ("full", "one", "fair-use")
    acked(here, alice)
    assert here.login("bob").profile.name == "line"  # he has used nothing
    at(here, "2026-09-30T23:59:59")
    assert clock(here) == 0
    at(here, "2026-10-01T00:00")
    assert (clock(here), clock(here)) == (1, 0)
    assert told(here, alice) == ("full", "", "fair-use")
    assert notices(here) == ["fair-use five", "fair-use one"]
    assert here.login("alice", "third").profile.name == "line"
    assert here.audit() == []


def test_all_sessions_of_the_subscriber_count_and_change(home: Open) -> None:
    here = home(FAIR)
    one, two, bob = here.login("alice", "a"), here.login("alice", "b"), here.login("bob")
    for each in (one, two, bob):
        here.report(each, "start", 0)
    run_to(here, one, 30 * GB)
    run_to(here, bob, 40 * GB)
    run_to(here, two, 30 * GB)
    assert [told(here, each)[1] for each in (one, two, bob)] == ["five", "five", ""]
    assert notices(here) == ["fair-use five"]


def test_of_two_steps_at_once_the_last_one_is_told(home: Open) -> None:
    here = home(FAIR)
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, 90 * GB, minutes=300)
    assert told(here, alice)[1] == "one"
    assert notices(here) == ["fair-use one"]


def test_a_report_over_the_months_end_counts_in_both(home: Open) -> None:
    here = home(FAIR, at="2026-09-30T23:00")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    at(here, "2026-10-01T01:00")
    here.report(alice, "interim", 60 * GB, 7_200)
    assert tallies(here) == {instant("2026-09-01T00:00"): 30 * GB, instant("2026-10-01T00:00"): 30 * GB}
    assert told(here, alice)[1] == ""


def test_a_step_goes_before_a_window(home: Open) -> None:
    here = home(FAIR + NIGHTS, at="2026-09-21T20:00")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, 60 * GB)
    assert told(here, alice) == ("full", "five", "fair-use")
    at(here, "2026-10-01T00:00")
    clock(here)
    assert told(here, alice) == ("full", "fast", "fair-use")


def test_a_nas_that_says_yes_to_a_step_and_does_nothing_is_told_to_end_the_session(home: Open) -> None:
    here = home(FAIR)
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, 60 * GB)
    acked(here, alice)
    here.now += 10_000
    here.report(alice, "interim", 60 * GB + 1_000_000, 7_210)  # 5 Mbit/s let through as much
    assert told(here, alice)[0] == "full"
    run_to(here, alice, 62 * GB, minutes=10)
    assert told(here, alice) == ("cut", "five", "profile-not-applied")
    assert here.login("alice", "again").profile.name == "five"


def test_a_window_that_is_not_applied_cuts_nobody(home: Open) -> None:
    slow = '[[profile_window]]\nwindow = "late"\nprofile = "five"\n'
    here = home(slow, at="2026-09-21T21:55")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    at(here, "2026-09-21T22:00")
    clock(here)
    acked(here, alice)
    run_to(here, alice, 2 * GB, minutes=10)
    run_to(here, alice, 4 * GB, minutes=10)
    assert told(here, alice)[0] == "full"
    assert session(here, alice).means == "disconnect"


def renewing(home: Open, money: int) -> House:
    """Alice has the plan from the 21st on."""
    here = home(RENEWED, money=money, at="2026-09-21T18:00")
    subscriber_id, _ = here.stage.subscriber("alice")
    here.settle(Grant(here.account_id, here.stage.version, "first", "test", subscriber_id))
    return here


def test_back_at_the_renewal(home: Open) -> None:
    here = renewing(home, 20_000_000)
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, 60 * GB)
    assert told(here, alice) == ("full", "five", "fair-use")
    acked(here, alice)
    at(here, "2026-10-01T00:00")
    assert clock(here) == 0  # the calendar's month is not the plan's
    at(here, "2026-10-21T18:00")
    here.settle(CatchUp(here.account_id))
    assert told(here, alice) == ("full", "", "fair-use")
    acked(here, alice)
    here.settle(CatchUp(here.account_id))
    assert commands(here, alice) == [("profile", "fair-use")] * 2
    run_to(here, alice, 109 * GB)
    assert told(here, alice)[1] == ""
    run_to(here, alice, 110 * GB)
    assert told(here, alice)[1] == "five"
    assert [notice for notice in notices(here) if notice.startswith("fair-use")] == ["fair-use five"] * 2


def test_a_pause_does_not_begin_the_count_anew(home: Open) -> None:
    here = renewing(home, 20_000_000)
    subscriber_id, _ = here.stage.subscriber("alice")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, 60 * GB)
    here.report(alice, "stop", 60 * GB, 7_300)
    steps: tuple[Pause | Resume, ...] = (Pause(None), Resume())
    for number, what in enumerate(steps):
        here.settle(Arrangement(here.account_id, subscriber_id, what, f"o{number}", "test"))
        here.now += 5 * 86_400_000
    assert here.login("alice", "again").profile.name == "five"


def test_what_is_not_renewed_stays_slow(home: Open) -> None:
    here = renewing(home, 10_000_000)
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, 60 * GB)
    at(here, "2026-10-21T18:00")
    here.settle(CatchUp(here.account_id))
    at(here, "2026-10-22T18:00")
    here.report(alice, "interim", 60 * GB, 86_400)
    assert told(here, alice)[1] == "five"  # its grace
    here.pay(10_000_000)
    assert told(here, alice) == ("full", "", "fair-use")


def test_a_report_over_the_renewal_counts_what_came_after_it(home: Open) -> None:
    here = renewing(home, 20_000_000)
    alice = here.login("alice")
    here.report(alice, "start", 0)
    at(here, "2026-10-21T17:00")
    here.report(alice, "interim", 0, 10)
    at(here, "2026-10-21T19:00")
    here.settle(CatchUp(here.account_id))
    here.report(alice, "interim", 60 * GB, 10 + 7_200)
    assert tallies(here)[instant("2026-10-21T18:00")] == 30 * GB


def test_a_duplicate_counts_nothing(home: Open) -> None:
    here = home(FAIR)
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, 40 * GB)
    here.report(alice, "interim", 40 * GB, 7_200)
    here.report(alice, "interim", 39 * GB, 7_000)
    assert list(tallies(here).values()) == [40 * GB]


# --- caps ------------------------------------------------------------------------------------------------------------


def cap(unit: str, amount: str, per: str = "day", then: str = 'action = "throttle"\nprofile = "one"') -> str:
    return f'[[cap]]\nname = "{per}ly"\nunit = "{unit}"\namount = "{amount}"\nper = "{per}"\n{then}\n'


CUT = 'action = "disconnect"'


def test_throttled_at_the_days_cap_and_restored_at_midnight(home: Open) -> None:
    here = home(cap("octets", "5GB"), at="2026-09-21T20:00")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, 5 * GB)
    assert told(here, alice) == ("exhausted", "", "cap")
    acked(here, alice)
    run_to(here, alice, 5 * GB + 1_000_000, minutes=60)
    assert here.lines()[-1].free_octets == 1_000_000  # the crawl is free, and counts for nothing
    assert here.login("alice", "second").profile.name == "one"
    at(here, "2026-09-21T23:59:59")
    assert clock(here) == 0
    at(here, "2026-09-22T00:00")
    assert (clock(here), clock(here)) == (1, 0)
    assert told(here, alice) == ("full", "", "another time")
    assert notices(here) == ["capped dayly", "restored another time"]
    assert here.login("alice", "third").profile.name == "line"


def test_a_cap_of_time_ends_the_session_and_the_next_day_lets_in_again(home: Open) -> None:
    here = home(cap("seconds", "2h", then=CUT), at="2026-09-21T12:00")
    alice = here.login("alice")
    assert alice.time_limit_seconds == 7_200
    here.report(alice, "start", 0)
    run_to(here, alice, GB, minutes=90)
    assert here.login("alice", "second").time_limit_seconds == 1_800
    run_to(here, alice, 2 * GB, minutes=30)
    assert told(here, alice) == ("cut", "", "cap")
    assert here.try_login("alice", "third") == Refused("cap")
    at(here, "2026-09-22T00:00")
    assert here.login("alice", "third").time_limit_seconds == 7_200


def test_late_in_the_day_the_next_days_time_counts(home: Open) -> None:
    here = home(cap("seconds", "2h", then=CUT), at="2026-09-21T23:00")
    assert here.login("alice").time_limit_seconds is None


def test_a_cap_of_money_stops_the_spending(home: Open) -> None:
    price = '[[rate]]\nunit = "octets"\nprice = "1.00"\nper = "1GB"\n'
    here = home(price + cap("money", "3.00"), money=50_000_000, at="2026-09-22T12:00")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, 3 * GB)
    assert told(here, alice) == ("exhausted", "", "cap")
    assert here.balance() == 47_000_000
    acked(here, alice)
    run_to(here, alice, 3 * GB + 10_000_000, minutes=60)
    here.pay(10_000_000)  # money does not lift it
    assert told(here, alice)[0] == "exhausted"
    assert here.balance() == 57_000_000
    at(here, "2026-09-23T00:00")
    clock(here)
    assert told(here, alice) == ("full", "", "another time")
    assert sum(b.held for b in here.stage.rows(here.account_id).buckets) > 0
    assert here.audit() == []


def test_what_is_free_without_money_comes_to_no_cap(home: Open) -> None:
    price = '[[rate]]\nunit = "octets"\nprice = "1.00"\nper = "1GB"\n'
    end = '[exhausted]\naction = "throttle"\nprofile = "one"\n'
    here = home(price + end + cap("octets", "2GB"), money=1_000_000, at="2026-09-22T12:00")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, GB)
    assert told(here, alice) == ("exhausted", "", "exhausted")
    acked(here, alice)
    run_to(here, alice, 2 * GB)
    assert list(tallies(here).values()) == [GB]
    here.pay(5_000_000)
    assert told(here, alice)[0] == "full"


def test_what_a_tier_gives_back_was_not_spent(home: Open) -> None:
    price = '[[rate]]\nunit = "octets"\nper = "1GB"\nmode = "volume"\n'
    tiers = '[[rate.tier]]\nupto = "2GB"\nprice = "1.00"\n[[rate.tier]]\nprice = "0.10"\n'
    here = home(price + tiers + cap("money", "9.00"), money=50_000_000, at="2026-09-22T12:00")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, 2 * GB)
    run_to(here, alice, 3 * GB)
    assert here.balance() == 50_000_000 - 300_000
    assert list(tallies(here).values()) == [300_000]


def test_of_two_caps_the_months_holds_on_when_the_day_is_over(home: Open) -> None:
    daily, monthly = cap("octets", "5GB"), cap("octets", "9GB", "month", 'action = "throttle"\nprofile = "five"')
    here = home(daily + monthly, at="2026-09-20T20:00")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, 4 * GB)
    at(here, "2026-09-21T20:00")
    here.report(alice, "interim", 4 * GB, 86_400)
    run_to(here, alice, 9 * GB)
    assert session(here, alice).cap == "dayly"
    at(here, "2026-09-22T00:00")
    assert (clock(here), clock(here)) == (1, 0)
    found = session(here, alice)
    assert (found.wanted, found.cap, found.review_at) == ("exhausted", "monthly", instant("2026-10-01T00:00"))
    at(here, "2026-10-01T00:00")
    assert clock(here) == 1
    assert told(here, alice)[0] == "full"


def test_no_money_after_the_cap_is_the_plans_own_end(home: Open) -> None:
    price = '[[rate]]\nunit = "octets"\nprice = "1.00"\nper = "1GB"\n'
    end = '[exhausted]\naction = "throttle"\nprofile = "five"\n'
    here = home(price + end + cap("octets", "3GB"), money=3_000_000, at="2026-09-22T12:00")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, 3 * GB)
    assert (told(here, alice), session(here, alice).cap) == (("exhausted", "", "cap"), "dayly")
    at(here, "2026-09-23T00:00")
    clock(here)
    assert (told(here, alice), session(here, alice).cap) == (("exhausted", "", "exhausted"), "")
    here.pay(5_000_000)
    assert told(here, alice)[0] == "full"


def test_both_nodes_clocks_at_once_say_it_once(home: Open) -> None:
    here = home(cap("octets", "5GB"), at="2026-09-21T20:00")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, 5 * GB)
    at(here, "2026-09-22T00:00")
    nodes = [Writer(here.stage.engine, at_once, lambda: here.now, chance=random.Random(seed)) for seed in (1, 2)]
    found: list[Any] = []
    works = [review_due(here.stage.engine, writer, at_once, here.now) for writer in nodes]
    for work in works:
        Deferred.fromCoroutine(work).addBoth(found.append)
    assert found == [1, 0]
    assert notices(here) == ["capped dayly", "restored another time"]


def test_a_day_has_its_length_when_the_clocks_change(home: Open) -> None:
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("Europe/Berlin")
    midnight = local(datetime(2026, 10, 26).date(), 0, zone)  # noqa: DTZ001  the wall's
    here = home(cap("octets", "1GB"), at="2026-10-25T00:30")
    alice = here.login("alice")
    here.report(alice, "start", 0)
    run_to(here, alice, GB)
    assert session(here, alice).review_at == midnight == instant("2026-10-25T00:00") + 25 * 3_600_000
