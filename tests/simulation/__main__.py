"""Run seeds of the simulation and say which of them found something."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.simulation.run import Runner, run_many
from tests.simulation.world import MEANT_TO_HAPPEN, Verdict

PROGRESS_SECONDS = 5.0


def main() -> int:
    """1 where a seed found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one (default 0)")
    parser.add_argument("--processes", type=int, help="as many as there are cores, unless told otherwise")
    parser.add_argument(
        "--verbose", action="store_true", help="everything that was found, and what happened; one process"
    )
    parser.add_argument("--complete", action="store_true", help="fail, too, where something meant to happen did not")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    if options.verbose:
        with tempfile.TemporaryDirectory(prefix="aaa-simulation-") as folder:
            runner = Runner(Path(folder))
            return max((_tell(runner.run(seed)) for seed in seeds), default=0)
    began = said = time.monotonic()
    counts: Counter[str] = Counter()
    done = minutes = 0
    failed: list[int] = []
    for verdict in run_many(seeds, options.processes):
        done, minutes, counts = done + 1, minutes + verdict.minutes, counts + verdict.counts
        if verdict.findings:
            failed.append(verdict.seed)
            first = verdict.findings[0]
            print(f"seed {verdict.seed}: {first.check}: {first.words}\n  {verdict.replay}", flush=True)
        if time.monotonic() - said > PROGRESS_SECONDS:
            said = time.monotonic()
            rate = done / (said - began)
            print(f"{done} of {len(seeds)} seeds, {rate:.1f} seeds/s, {len(failed)} with findings", file=sys.stderr)
    seconds = time.monotonic() - began
    print(f"{done} seeds in {seconds:.0f} s ({done / seconds:.1f} seeds/s): {minutes / 60:.0f} hours of fake time")
    print("  " + ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())))
    print(f"  {len(failed)} with findings{': ' if failed else ''}{', '.join(map(str, sorted(failed)))}")
    missing = [what for what in MEANT_TO_HAPPEN if options.complete and not counts[what]]
    if missing:
        print(f"  never happened: {', '.join(missing)}")
    return 1 if failed or missing else 0


def _tell(verdict: Verdict) -> int:
    print(f"seed {verdict.seed}: {verdict.minutes} fake minutes, {dict(verdict.counts)}, {verdict.digest}")
    for finding in verdict.findings:
        print(f"  {finding.at} {finding.check}: {finding.words}")
    return 1 if verdict.findings else 0


if __name__ == "__main__":
    sys.exit(main())
