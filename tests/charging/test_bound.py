from typing import Any

import pytest

from charging.bound import Bound, Line, bound
from charging.buckets import Rated
from charging.plan import Allowance, Exhausted, Plan, Profile, Rate
from charging.session import Means

# 8 Mbit/s down and 800 kbit/s up: 1 000 000 and 100 000 octets a second.
HOME = Profile("home", rate_down_bps=8_000_000, rate_up_bps=800_000)
PER_MB = Rate("octets", "total", price_micros=20_000, per=1_000_000, step=1)
PER_MINUTE = Rate("seconds", "total", price_micros=10_000, per=60, step=60, fee_micros=500_000)


def plan(profile: Profile = HOME, **fields: Any) -> Plan:
    return Plan("p", "EUR", "UTC", profile, exhausted=Exhausted(), **fields)


def line(of: Plan, interval_seconds: int, sessions: int | None = 1, **fields: Any) -> Line:
    return Line("anna", of, interval_seconds, sessions, **({"means": "disconnect"} | fields))


# Worked by hand: I + 5 s for the report + 30 s for the command.
@pytest.mark.parametrize(
    ("lines", "octets", "seconds", "micros"),
    [
        ([], 0, 0, 0),
        # 60 + 35 = 95 s · 1 100 000 octets/s = 104.5 MB · 0.02 = 2.09
        ([line(plan(rates=(PER_MB,)), 60)], 104_500_000, 0, 2_090_000),
        # 300 + 35 = 335 s · 1 100 000 = 368.5 MB · 0.02 = 7.37, and twice that for two
        ([line(plan(rates=(PER_MB,)), 300)], 368_500_000, 0, 7_370_000),
        ([line(plan(rates=(PER_MB,)), 300, 2)], 737_000_000, 0, 14_740_000),
        # one live, two that may still come
        ([line(plan(rates=(PER_MB,)), 60), line(plan(rates=(PER_MB,)), 300, 2)], 841_500_000, 0, 16_830_000),
        # only what is counted: 335 s · 1 000 000 down; an allowance has no price
        ([line(plan(allowances=(Allowance("a", "octets", "down", 1),)), 300)], 335_000_000, 0, 0),
        # a burst is what the line can carry: 16 Mbit/s = 2 000 000 octets/s; 95 s · 2 100 000 = 199.5 MB
        (
            [line(plan(Profile("b", 8_000_000, 800_000, 16_000_000, 800_000), rates=(PER_MB,)), 60)],
            199_500_000, 0, 3_990_000,
        ),
        # time: 95 s are two minutes begun: 0.02, and 0.50 for beginning
        ([line(plan(rates=(PER_MINUTE,)), 60)], 0, 95, 520_000),
        # a session that has paid its fee and 90 s of its second minute: 185 s are four minutes, 0.04 less 0.02
        ([line(plan(rates=(PER_MINUTE,)), 60, rated={0: Rated(90, 520_000)})], 0, 95, 20_000),
        # nothing is charged, so nothing can be overspent, whatever the line carries and however many they are
        ([line(plan(), 300)], 0, 0, 0),
        ([line(plan(Profile("none")), 300, None)], 0, 0, 0),
        ([line(plan(rates=(PER_MB,)), 300, 0)], 0, 0, 0),
    ],
)  # fmt: skip
def test_the_bound_is_rate_times_interval_delay_and_command(
    lines: list[Line], octets: int, seconds: int, micros: int
) -> None:
    found = bound(lines)
    assert (found.octets, found.seconds, found.micros) == (octets, seconds, micros)
    assert all(term.why_none == "" for term in found.terms)


# 95 s · 1 100 000 = 104.5 MB, as often as the NAS makes necessary
@pytest.mark.parametrize(
    ("means", "octets"),
    [
        ("volume", 0),
        ("rate", 209_000_000),
        ("profile", 313_500_000),
        ("disconnect", 104_500_000),
        ("time", 33_000_000),  # 30 s, the shortest Session-Timeout that is said
    ],
)
def test_the_bound_depends_on_what_the_nas_can_be_made_to_do(means: Means, octets: int) -> None:
    assert bound([line(plan(rates=(PER_MB,)), 60, means=means)]).octets == octets


def test_a_nas_that_counts_both_directions_together_cannot_hold_one_of_them() -> None:
    only_down = plan(allowances=(Allowance("a", "octets", "down", 1),))
    assert bound([line(only_down, 60, means="volume")]).octets == 2 * 95_000_000


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([line(plan(Profile("none"), rates=(PER_MB,)), 300)], "plan p has no rate"),
        ([line(plan(Profile("half", rate_down_bps=1_000), rates=(PER_MB,)), 300)], "plan p has no rate"),
        ([line(plan(rates=(PER_MB,)), 300, None)], "plan p sets no limit on sessions"),
    ],
)
def test_where_there_is_no_bound_it_says_why(lines: list[Line], why: str) -> None:
    found = bound([line(plan(rates=(PER_MB,)), 60), *lines])
    assert isinstance(found, Bound)
    assert (found.octets, found.micros) == (None, None)
    assert [term.why_none for term in found.terms] == ["", why]


def test_time_is_bounded_even_where_the_line_is_unknown() -> None:
    found = bound([line(plan(Profile("none"), rates=(PER_MB, PER_MINUTE)), 60, 2)])
    assert (found.octets, found.seconds) == (None, 190)
