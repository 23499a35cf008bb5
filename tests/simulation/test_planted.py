"""Every planted bug is found, by the check that is meant to find it, within some seeds."""

from __future__ import annotations

import pytest

from tests.simulation.planted import BUGS, Bug
from tests.simulation.run import Runner

MOST_SEEDS = 60


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(runner: Runner, bug: Bug) -> None:
    for seed in range(bug.first, bug.first + MOST_SEEDS):
        with bug.plant():
            found = {finding.check for finding in runner.run(seed, sleepy=bug.sleepy, odd=bug.odd).findings}
        if bug.check in found:
            assert runner.run(seed, sleepy=bug.sleepy, odd=bug.odd).findings == (), "the same seed without the bug"
            return
    pytest.fail(f"{bug.check} did not find {bug.name} in {MOST_SEEDS} seeds")


def test_there_are_bugs_enough() -> None:
    assert len(BUGS) >= 12
