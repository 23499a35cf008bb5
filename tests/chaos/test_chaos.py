"""The bounded run: every fault once. `python -m tests.chaos --seconds N` goes on for longer."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.chaos.run import PLACES, Wanted, run

MOST_SECONDS = 480
"""Some hundred and twenty on two processors of one's own."""


@pytest.mark.parametrize("place", PLACES)
def test_every_promise_is_kept_under_every_fault(place: str, tmp_path: Path) -> None:
    began = time.monotonic()
    report = run(tmp_path, Wanted(places=(place,)))
    print(f"\n{report.table()}")
    if report.skipped and not report.rows:
        pytest.skip("; ".join(report.skipped))
    assert report.kept, report.table()
    assert time.monotonic() - began < MOST_SECONDS


def test_no_two_faults_have_the_same_name_at_one_place() -> None:
    for _, faults in PLACES.values():
        names = [fault.name for fault in faults]
        assert len(names) == len(set(names))
