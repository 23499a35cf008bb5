"""Running seeds: one, or many on all cores."""

from __future__ import annotations

import gc
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.simulation.storage import memory_folder, postgresql_database, sqlite_database, sqlite_template
from tests.simulation.world import Verdict, World

#: A seed whose run itself breaks is told like any other finding.
CRASHED = "crashed"
#: Like the server itself: what was imported is never garbage, and what a run leaves is little.
GC_THRESHOLDS = (200_000, 20, 100)


class Runner:
    """Runs seeds in this process, each on a fresh database: copies of a migrated SQLite file, or on a PostgreSQL server
    whose URI it is given and which has a migrated database to copy from."""

    def __init__(self, folder: Path, *, server_uri: str | None = None, template: str = "") -> None:
        self._folder = folder
        self._server_uri = server_uri
        self._template = template
        self._sqlite = sqlite_template(folder) if server_uri is None else None

    def run(self, seed: int, *, sleepy: bool = False, odd: bool = True) -> Verdict:
        """One seed; `odd`: perhaps with plans made up for it."""
        if self._sqlite is not None:
            with sqlite_database(self._sqlite) as database:
                return World(seed, database, sleepy=sleepy, odd=odd).run()
        assert self._server_uri is not None
        with postgresql_database(self._server_uri, self._template, self._folder) as database:
            return World(seed, database, sleepy=sleepy, odd=odd).run()


def run_many(seeds: Sequence[int], processes: int | None = None) -> Iterator[Verdict]:
    """Verdicts as they come, from as many processes as there are cores."""
    with multiprocessing.get_context("spawn").Pool(processes or os.cpu_count() or 1, _begin) as pool:
        yield from pool.imap_unordered(_run, seeds, chunksize=4)


_runner: list[Runner] = []


def _begin() -> None:
    folder = tempfile.mkdtemp(prefix="aaa-simulation-", dir=memory_folder())
    _runner.append(Runner(Path(folder)))
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    multiprocessing.util.Finalize(None, _remove, args=(folder,), exitpriority=10)


def _remove(folder: str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _run(seed: int) -> Verdict:
    return _runner[0].run(seed)
