"""`python -m tests.fuzz --seconds 60`: each target for so long, guided by what its code does (atheris); without atheris, by chance."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

#: An input that takes longer is a hang.
SLOWEST_SECONDS = 5
MOST_MEMORY_MB = 3072


def main() -> int:
    """Exit code 1 where a promise was broken; the input that did it is kept and named."""
    from tests.fuzz.names import NAMES

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", choices=NAMES, action="append", help="only this one; may be repeated")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "aaa-fuzz", help="inputs that failed are kept here"
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.here:
        return _fuzz(given.target[0], given.seconds, given.folder)
    failed = []
    for name in given.target or NAMES:
        print(f"--- {name}, {given.seconds} s", flush=True)
        command = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--here",
            "--target",
            name,
            "--seconds",
            str(given.seconds),
            "--folder",
            str(given.folder),
        ]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}; inputs in {given.folder}" if failed else "nothing found")
    return 1 if failed else 0


def _fuzz(name: str, seconds: int, folder: Path) -> int:
    if find_spec("atheris") is None:
        return _by_chance(name, seconds, folder)
    import atheris

    with atheris.instrument_imports(include=["aaa", "charging"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix="aaa-corpus-") as corpus:
        for number, example in enumerate(target.examples()):
            (Path(corpus) / str(number)).write_bytes(example)
        target.run(target.examples()[0])  # what is made once is made now
        options = [
            f"-max_total_time={seconds}", f"-timeout={SLOWEST_SECONDS}", f"-rss_limit_mb={MOST_MEMORY_MB}", "-max_len=4096",
            f"-artifact_prefix={folder}/{name}-", "-print_final_stats=1", "-verbosity=0", corpus,
        ]  # fmt: skip
        atheris.Setup([sys.argv[0], *options], target.run)
        atheris.Fuzz()
    return 0


def _by_chance(name: str, seconds: int, folder: Path) -> int:
    from tests.fuzz.mutation import mutated
    from tests.fuzz.targets import TARGETS

    print("atheris is not installed: mutations by chance, seed 1")
    target, until, runs = TARGETS[name], time.monotonic() + seconds, 0
    for octets in mutated(target.examples(), random.Random(1)):
        began = time.monotonic()
        if began > until:
            break
        try:
            target.run(octets)
        except Exception:
            (folder / f"{name}-crash").write_bytes(octets)
            raise
        if time.monotonic() - began > SLOWEST_SECONDS:
            (folder / f"{name}-slow").write_bytes(octets)
            return 1
        runs += 1
    print(f"{runs} inputs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
