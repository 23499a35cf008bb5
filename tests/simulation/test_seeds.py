"""The first seeds. `make prove` runs two hundred of them beside these tests; `make simulate SEEDS=5000` more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.run import Runner
from tests.simulation.world import Verdict

SEEDS = 20
MOST_SEEDS = 120
"""... until everything has happened that is meant to."""
TOGETHER = 10
"""Seeds of one test, so that the workers share them evenly."""
ON_POSTGRESQL = range(1_000, 1_006)


def complaint(verdict: Verdict) -> str:
    lines = [f"seed {verdict.seed}; to see it again: {verdict.replay}"]
    return "\n".join([*lines, *(f"  {f.at} {f.check}: {f.words}" for f in verdict.findings)])


@pytest.mark.parametrize("first", range(0, SEEDS, TOGETHER))
def test_no_money_is_lost(runner: Runner, first: int) -> None:
    verdicts = [runner.run(seed) for seed in range(first, first + TOGETHER)]
    assert [complaint(verdict) for verdict in verdicts if verdict.findings] == []


@pytest.mark.parametrize("seed", ON_POSTGRESQL)
def test_no_money_is_lost_on_postgresql(postgresql_runner: Runner, seed: int) -> None:
    verdict = postgresql_runner.run(seed)
    assert not verdict.findings, complaint(verdict)


def test_what_is_meant_to_happen_happens(runner: Runner) -> None:
    """A simulation in which nothing goes wrong proves nothing."""
    missing = {
        "lost", "deaths", "died before-commit", "died after-commit", "died after-spool", "failed-commit",
        "unknown-commit", "killed", "exhausted", "restored", "wraps", "resets", "orders",
        "refused orders", "superseded orders", "stale", "restarted", "top-ups", "shortfalls", "never-started",
        "vouchers", "transfers", "refunds", "adjustments", "reversals", "requests", "windows",
        "fair use", "renewals", "ended buckets", "splits", "prices that fell", "counts over a day", "members with a cap",
        "visits", "blockers", "capped", "plan changes", "given back", "pauses", "rolled over", "not renewed",
    }  # fmt: skip
    for seed in range(MOST_SEEDS):
        counts = runner.run(seed).counts
        missing = {what for what in missing if not counts[what]}
        if not missing:
            return
    pytest.fail(f"{MOST_SEEDS} seeds had no {', '.join(sorted(missing))}")


def test_a_seed_is_one_run(runner: Runner) -> None:
    once, again = runner.run(5), runner.run(5)
    assert once.digest == again.digest
    assert once.digest != runner.run(6).digest


def test_a_seed_is_one_run_in_every_process(runner: Runner) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seeds", "1", "--from", "7", "--verbose"],
        cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert runner.run(7).digest in done.stdout, done.stdout + done.stderr
