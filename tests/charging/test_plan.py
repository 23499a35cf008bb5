from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.money import Rounding
from charging.plan import Allowance, Duration, Exhausted, Plan, Profile, Rate, digest, from_json, to_json

BERLIN = "Europe/Berlin"
HOME = Profile("home", rate_down_bps=20_000_000, rate_up_bps=5_000_000)
SLOW = Profile("slow", rate_down_bps=256_000, rate_up_bps=128_000)
DATA = Allowance("data", "octets", "total", 50_000_000_000, validity=Duration(months=1))
VOLUME = Rate("octets", "down", 20_000, 1_000_000, 100_000, 500_000)
MINUTES = Rate("seconds", "total", 50_000, 60, 60)


def instant(text: str, zone: str = BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1000


def a_plan(**other: object) -> Plan:
    values: dict[str, object] = {"name": "prepaid-50", "currency": "EUR", "time_zone": BERLIN, "profile": HOME}
    return Plan(**(values | other))  # type: ignore[arg-type]  # a test gives the fields it speaks of


@pytest.mark.parametrize(
    ("start", "duration", "end"),
    [
        ("2026-01-15T10:00", Duration(1), "2026-02-15T10:00"),
        ("2026-01-31T10:00", Duration(1), "2026-02-28T10:00"),  # no 31 February
        ("2028-01-31T10:00", Duration(1), "2028-02-29T10:00"),  # leap year
        ("2028-02-29T10:00", Duration(12), "2029-02-28T10:00"),
        ("2026-12-31T23:30", Duration(2), "2027-02-28T23:30"),
        ("2026-03-15T10:00", Duration(1), "2026-04-15T10:00"),  # summer time begins between: still ten o'clock
        ("2026-02-28T02:30", Duration(1), "2026-03-28T02:30"),
        ("2026-02-28T02:30", Duration(1, 86_400), "2026-03-29T03:30"),  # 24 h later the clock has moved
        ("2026-10-24T12:00", Duration(0, 86_400), "2026-10-25T11:00"),  # a day is 86 400 s
        ("2026-05-05T05:05", Duration(), "2026-05-05T05:05"),
    ],
)
def test_a_duration_ends(start: str, duration: Duration, end: str) -> None:
    assert duration.after(instant(start), BERLIN) == instant(end)


def test_a_month_that_ends_in_the_skipped_hour_ends_an_hour_later() -> None:
    # 29 March 2026 02:30 does not exist in Berlin; the moment is 01:30 UTC, shown as 03:30 summer time.
    assert Duration(1).after(instant("2026-02-28T02:30") + 86_400_000, BERLIN) == instant("2026-04-01T02:30")
    assert Duration(2).after(instant("2026-01-29T02:30"), BERLIN) == instant("2026-03-29T01:30", "UTC")


def test_a_month_that_ends_in_the_repeated_hour_ends_in_the_first() -> None:
    # 25 October 2026 02:30 is 00:30 UTC and 01:30 UTC.
    assert Duration(1).after(instant("2026-09-25T02:30"), BERLIN) == instant("2026-10-25T00:30", "UTC")


def test_the_zone_decides_which_month_it_is() -> None:
    # 31 January 23:30 UTC is 1 February in Nairobi, so a month later is 1 March there, 28 February 23:30 UTC is not.
    start = instant("2026-01-31T23:30", "UTC")
    assert Duration(1).after(start, "Africa/Nairobi") == instant("2026-03-01T02:30", "Africa/Nairobi")
    assert Duration(1).after(start, "UTC") == instant("2026-02-28T23:30", "UTC")


def test_milliseconds_survive() -> None:
    assert Duration(1).after(instant("2026-01-15T10:00") + 123, BERLIN) == instant("2026-02-15T10:00") + 123


@given(st.integers(0, 4_000_000_000_000), st.integers(0, 240), st.integers(0, 10**8))
def test_time_goes_forward(start: int, months: int, seconds: int) -> None:
    end = Duration(months, seconds).after(start, BERLIN)
    # A month has at least 28 days; summer time moves the end by at most an hour.
    assert end >= start + months * 28 * 86_400_000 - 3_600_000 * (months > 0) + seconds * 1000


@pytest.mark.parametrize(
    ("allowances", "rates", "octets", "seconds", "money", "directions"),
    [
        ((), (), False, False, False, set()),
        ((DATA,), (), True, False, False, {"total"}),
        ((DATA,), (VOLUME,), True, False, True, {"total", "down"}),
        ((), (MINUTES,), False, True, True, set()),
        ((Allowance("gift", "money", "total", 1),), (MINUTES,), False, True, True, set()),
        ((Allowance("hours", "seconds", "total", 1),), (), False, True, False, set()),
    ],
)
def test_what_a_plan_charges(
    allowances: tuple[Allowance, ...],
    rates: tuple[Rate, ...],
    octets: bool,
    seconds: bool,
    money: bool,
    directions: set[str],
) -> None:
    plan = a_plan(allowances=allowances, rates=rates)
    assert (plan.charges("octets"), plan.charges("seconds"), plan.charges("money")) == (octets, seconds, money)
    assert plan.charged_directions == directions


@pytest.mark.parametrize(
    ("profile", "down", "up"),
    [
        (HOME, 2_500_000, 625_000),
        (Profile("burst", 10_000_000, 10_000_000, 30_000_000, 5_000_000), 3_750_000, 1_250_000),  # the larger of both
        (Profile("odd", 1_001, 8), 126, 1),  # 125.125 octets/s, rounded up: a bound must not be too small
        (Profile("open"), None, None),
        (Profile("one way", rate_up_bps=8_000), None, 1_000),
    ],
)
def test_what_the_line_can_carry(profile: Profile, down: int | None, up: int | None) -> None:
    plan = a_plan(profile=profile, exhausted=Exhausted("throttle", SLOW))
    assert (plan.max_down_octets_per_second, plan.max_up_octets_per_second) == (down, up)


FULL = a_plan(
    profile=Profile("guests", 1_000_000, 1_000_000, attributes=(("Reply-Message", "Grüß Gott"), ("Filter-Id", "a"))),
    thresholds_percent=(80, 95),
    allowances=(DATA, Allowance("hours", "seconds", "total", 36_000, priority=-1, blocker=True)),
    rates=(VOLUME, MINUTES),
    exhausted=Exhausted("redirect", Profile("wall", redirect_url="https://pay.example.net/")),
    max_sessions=None,
    rounding=Rounding("half-even", 2),
    description="everything at once",
)


@pytest.mark.parametrize("plan", [a_plan(), FULL])
def test_json_keeps_all_of_a_plan(plan: Plan) -> None:
    read = from_json(to_json(plan))
    assert read == plan
    assert to_json(read) == to_json(plan)
    assert read.rounding.unit_micros == plan.rounding.unit_micros
    assert read.charged_units == plan.charged_units


def test_json_is_canonical() -> None:
    text = to_json(FULL)
    assert text.isascii()
    assert text.startswith('{"allowances":[{"amount":50000000000,"blocker":false,"direction":"total","name":"data",')
    assert '"exhausted":{"action":"redirect","grace_seconds":null,"profile":{"address_list":null,' in text
    assert " everything" not in text
    assert ", " not in text.replace("everything at once", "")


def test_the_digest_changes_with_any_field() -> None:
    plans = [FULL, a_plan(), a_plan(name="other"), a_plan(max_sessions=2), a_plan(rates=(VOLUME,))]
    assert len({digest(plan) for plan in plans}) == len(plans)
    assert digest(a_plan()) == digest(a_plan())
    # The text of a version is kept for years: a change here means that every stored digest changes.
    assert digest(a_plan()) == "4a1513bc3298ce5152fdf44c6ae7e9032f8bb67084c0deb4ac84d0f324e97277"


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", '{"name": "x"}', to_json(FULL).replace('"name"', '"nickname"')])
def test_other_text_is_no_plan(text: str) -> None:
    with pytest.raises(ValueError, match="not a plan that this version can read"):
        from_json(text)


@pytest.mark.parametrize(
    ("price", "per", "step", "fee"), [(-1, 1, 1, 0), (1, 0, 1, 0), (1, 1, 0, 0), (1, 1, 1, -1), (1, -1, 1, 0)]
)
def test_a_rate_that_can_not_be_computed_is_never_built(price: int, per: int, step: int, fee: int) -> None:
    with pytest.raises(ValueError, match=r"not negative|at least 1"):
        Rate("octets", "total", price, per, step, fee)


def test_impossible_values_are_never_built() -> None:
    with pytest.raises(ValueError, match="not money"):
        Rate("money", "total", 1, 1, 1)  # type: ignore[arg-type]  # what no plan file gives
    with pytest.raises(ValueError, match="need a profile"):
        Exhausted("throttle")
    with pytest.raises(ValueError, match="disconnect has none"):
        Exhausted("disconnect", SLOW)
    with pytest.raises(ValueError, match="not negative"):
        Duration(-1)
