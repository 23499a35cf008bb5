"""Recorded use under another plan, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.buckets import Usage
from charging.period import Every
from charging.plan import Allowance, Duration, Plan, Rate
from charging.shadow import Bill, Used, shadow
from charging.zone import NOWHERE
from tests.store.shop import HOME, START

MB = 1_000_000
DAY_MS = 86_400_000
#: 0.02 EUR per MB in steps of 100 kB, as the shop's own plan.
RATE = Rate("octets", "total", 20_000, MB, 100_000)
DAILY = Allowance("day", "octets", "total", 5 * MB, every=Every(1, "day"))
DATA = Allowance("data", "octets", "total", 10 * MB, validity=Duration(0, 30 * 86_400))


def plan(**given: Any) -> Plan:
    return Plan("other", "EUR", "UTC", HOME, **given)


def used(day: int, megabytes: int, session_id: int = 1, micros: int = 0) -> Used:
    at = START + day * DAY_MS
    return Used(session_id, NOWHERE, at, at + 60_000, Usage(0, megabytes * MB, 60), micros)


CASES = [
    # 5 MB at 0.02
    ("by volume", plan(rates=(RATE,)), [used(0, 2, micros=7), used(1, 3, micros=8)], Bill(15, 100_000, 0, 0, 0)),
    # 10 MB from the allowance, then 2 MB at 0.02
    ("an allowance first", plan(allowances=(DATA,), rates=(RATE,)), [used(0, 8), used(1, 4)], Bill(0, 40_000, 10 * MB, 0, 1)),
    # 8 of the first 10 MB, 8 of the second: the first 10 had ended after 30 days
    ("again after 30 days", plan(allowances=(DATA,), rates=(RATE,)), [used(0, 8), used(31, 8, 2)], Bill(0, 0, 16 * MB, 0, 2)),
    # the same within the 30 days: 6 MB are paid for
    ("not before", plan(allowances=(DATA,), rates=(RATE,)), [used(0, 8), used(29, 8, 2)], Bill(0, 120_000, 10 * MB, 0, 1)),
    # 5 MB every day, in UTC (the first use is at noon): of 8 + 2 + 6 MB 5 + 2 + 5 are free, 4 MB are paid for
    ("every day", plan(allowances=(DAILY,), rates=(RATE,)), [used(0, 8), used(1, 2), used(3, 6, 2)],
     Bill(0, 80_000, 12 * MB, 0, 3)),
    # beside 10 MB for 30 days, which are drawn after them: 3 + 1 MB of these
    ("every day beside others", plan(allowances=(DATA, DAILY), rates=(RATE,)), [used(0, 8), used(1, 2), used(3, 6, 2)],
     Bill(0, 0, 16 * MB, 0, 3)),
    # the fee is each session's own: 2 sessions, 0.50 each, and 2 MB
    (
        "a fee per session",
        plan(rates=(Rate("octets", "total", 20_000, MB, 100_000, fee_micros=500_000),)),
        [used(0, 1), used(1, 1, 2)],
        Bill(0, 1_040_000, 0, 0, 0),
    ),
    ("nothing used", plan(allowances=(DATA,)), [], Bill(0, 0, 0, 0, 0)),
    ("a plan that charges nothing", plan(), [used(0, 5, micros=3)], Bill(3, 0, 0, 0, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("other", "uses", "bill"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_it_would_have_cost(other: Plan, uses: list[Used], bill: Bill) -> None:
    assert shadow(other, uses) == bill


@given(st.lists(st.integers(1, 50_000_000), min_size=1, max_size=10))
def test_many_reports_cost_what_one_would(parts: list[int]) -> None:
    """Of one session: the shadow's charge is cumulative, as the living one's."""
    other = plan(allowances=(DATA,), rates=(RATE,))
    uses = [Used(1, NOWHERE, START + i, START + i, Usage(0, octets, 0), 0) for i, octets in enumerate(parts)]
    whole = [Used(1, NOWHERE, START, START, Usage(0, sum(parts), 0), 0)]
    assert shadow(other, uses) == shadow(other, whole)
