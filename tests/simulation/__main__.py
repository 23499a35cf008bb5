"""python -m tests.simulation --seeds 200 --from 0"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.simulation.storage import sqlite_database, sqlite_template
from tests.simulation.world import Verdict, World


def main() -> int:
    """Run seeds until one finds something, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    began, counts, failed = time.monotonic(), Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="aaa-simulation-") as folder:
        template = sqlite_template(Path(folder))
        for seed in range(options.first, options.first + options.seeds):
            t=time.monotonic()
            with sqlite_database(template) as database:
                verdict = World(seed, database).run()
            counts += verdict.counts
            if options.verbose: print(seed, f'{time.monotonic()-t:.2f}', verdict.digest[:12], verdict.minutes, dict(verdict.counts))
            for f in verdict.findings: print(seed, *f)
            failed += bool(verdict.findings)
    print(f"{options.seeds} seeds, {failed} failed, {options.seeds/(time.monotonic()-began):.2f} seeds/s", dict(counts))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
