"""`python -m tests.chaos`: the bounded run; with --seconds, on and on."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import Wanted, run


def main() -> int:
    """Exit code 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides the moments, the victims and the NASes")
    parser.add_argument(
        "--seconds", type=float, help="go on for so long, with longer faults in another order each time"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only faults with this in their name")
    parser.add_argument("--folder", type=Path, help="keep journals, logs and databases here")
    given = parser.parse_args()
    wanted = Wanted(given.seed, given.seconds, given.only)
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        report = run(given.folder or Path(temporary), wanted, say=lambda line: print(line, flush=True))
    print(f"\n{report.table()}")
    if not report.kept:
        print(f"\nseed {given.seed}: promises were broken")
    return 0 if report.kept else 1


if __name__ == "__main__":
    sys.exit(main())
