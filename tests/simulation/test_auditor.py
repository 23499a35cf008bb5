"""The auditor is nobody's friend."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tests.simulation.auditor import _next_price, _price

SOURCES = [Path(__file__).parent / name for name in ("auditor.py", "contracts.py")]
PRODUCT = ("aaa", "charging", "cli", "migrations", "tests")


def test_it_knows_nothing_of_the_server_but_the_lines_of_a_nas_log() -> None:
    imported = set()
    for node in (node for source in SOURCES for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    imported = {name for name in imported if not name.startswith("tests.simulation.contracts")}
    assert {name for name in imported if name.split(".")[0] in PRODUCT} == {"aaa.simulator.Event"}


@st.composite
def plain_plans(draw: st.DrawFn) -> dict[str, Any]:
    """A plan of one line whose price depends on nothing but what one session has used."""
    rate = {
        "price_micros": draw(st.integers(0, 50_000)), "per": draw(st.sampled_from([10, 1_000_000])),
        "step": draw(st.integers(1, 50)), "first_step": draw(st.sampled_from([0, 0, 5, 60])),
        "fee_micros": draw(st.sampled_from([0, 0, 30_000])), "discount_percent": draw(st.sampled_from([0, 15, 50])),
        "minimum_micros": draw(st.sampled_from([0, 20_000])), "maximum_micros": draw(st.sampled_from([None, 400_000])),
    }  # fmt: skip
    mode = draw(st.sampled_from(["up", "down", "half-even"]))
    return {"rates": [rate], "rounding": {"mode": mode, "decimals": draw(st.sampled_from([2, 4, 6]))}}


#: One cent for a million octets, rounded down: the first hundred or so cost nothing, the next one may cost a micro.
ROUNDED_DOWN = {
    "rates": [{"price_micros": 10_000, "per": 1_000_000, "step": 1, "fee_micros": 0}],
    "rounding": {"mode": "down", "decimals": 6},
}


@given(plain_plans(), st.integers(0, 200_000_000))
@example(ROUNDED_DOWN, 100_500_099)
def test_it_takes_nothing_for_paid_that_the_next_use_may_cost_more_than(plan: dict[str, Any], used: int) -> None:
    rate, rounding = plan["rates"][0], plan["rounding"]
    assert _price(rate, used + 1, rounding) - _price(rate, used, rounding) <= _next_price(rate, plan)
