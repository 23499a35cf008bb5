"""The Makefile's targets, without running them."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HELP = re.findall(r"@echo 'make (\w+)", (ROOT / "Makefile").read_text(encoding="utf-8"))


def test_the_promised_targets_are_in_the_help() -> None:
    assert {"demo", "test", "lint", "bench", "serve"} <= set(HELP)


@pytest.mark.parametrize("target", HELP)
def test_every_target_in_the_help_exists(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", ["demo", "test", "lint", "bench", "serve"])
def test_a_target_makes_its_own_environment_first(target: str, tmp_path: Path) -> None:
    plan = subprocess.run(
        ["make", "-n", target, f"VENV={tmp_path}/venv"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    assert f"-m venv {tmp_path}/venv" in plan
    assert plan.index("-m pip install") < plan.index(f"touch {tmp_path}/venv/.installed")
