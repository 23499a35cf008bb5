"""Seeds on PostgreSQL, and that a seed is one run. `make prove-simulation` runs two hundred on SQLite before these tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.run import Runner
from tests.simulation.world import Verdict

ON_POSTGRESQL = range(1_000, 1_006)


def complaint(verdict: Verdict) -> str:
    lines = [f"seed {verdict.seed}; to see it again: {verdict.replay}"]
    return "\n".join([*lines, *(f"  {f.at} {f.check}: {f.words}" for f in verdict.findings)])


@pytest.mark.parametrize("seed", ON_POSTGRESQL)
def test_no_money_is_lost_on_postgresql(postgresql_runner: Runner, seed: int) -> None:
    verdict = postgresql_runner.run(seed)
    assert not verdict.findings, complaint(verdict)


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
