"""Every dialect's story on every kind of line: alone and with four sessions on one account, slow and fast, often and seldom."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aaa.dialects import Dialect
from tests.store.test_dialect_stories import (
    LINES,
    SHIPPED,
    Place,
    can_be_charged,
    place,
    spent_slowed_paid_served_spent_and_cut,
)

__all__ = ["place"]


@pytest.mark.parametrize(
    ("speaks", "sessions", "mbps", "interval"),
    [(each, *line) for each in SHIPPED for line in LINES if can_be_charged(each, *line[1:])],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_it_is_slowed_served_and_cut_within_the_printed_bound(
    place: Callable[..., Place],
    speaks: Dialect,
    sessions: int,
    mbps: int,
    interval: int,
) -> None:
    spent_slowed_paid_served_spent_and_cut(place, speaks, sessions, mbps, interval)
