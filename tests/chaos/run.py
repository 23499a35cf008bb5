"""Worlds, one after the other, with faults at seeded moments; a table of what was injected, when, promised, and came of it."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.chaos import oracle
from tests.chaos.faults import (
    ON_A_FULL_DISK,
    ON_A_FULL_SPOOL,
    ON_A_PAIR,
    ON_POSTGRESQL,
    ON_SQLITE,
    Fault,
    Lengths,
    Scene,
)
from tests.chaos.postgres import Postgres
from tests.chaos.world import Shape, World

SMALL_DISK_OCTETS = 24 << 20


class NotAllowed(Exception):
    """This machine does not let us do what the fault needs."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    fault: str
    at: str
    promise: str
    outcome: str
    kept: bool


@dataclass
class Report:
    """What a run found."""

    rows: list[Row] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Was every promise kept?"""
        return not self.broken and all(row.kept for row in self.rows)

    def table(self) -> str:
        """For people."""
        head = ("fault", "at", "promise", "outcome")
        lines = [
            head,
            *((row.fault, row.at, row.promise, ("" if row.kept else "BROKEN: ") + row.outcome) for row in self.rows),
        ]
        widths = [max(len(line[column]) for line in lines) for column in range(3)]
        text = [
            "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]])
            for line in lines
        ]
        text += [
            "",
            *self.figures,
            *(f"skipped: {why}" for why in self.skipped),
            *(f"BROKEN: {what}" for what in self.broken),
        ]
        return "\n".join(text)


def play(scene: Scene, faults: Sequence[Fault], report: Report, title: str, *, say: Callable[[str], None]) -> None:
    """The faults, in their order, at seeded moments; then the end, with all checks."""
    world = scene.world
    began = time.monotonic()
    for fault in faults:
        time.sleep(world.chance.uniform(0.5, 1.5))
        at = time.monotonic() - began
        since = time.time_ns() // 1_000_000
        kept = True
        try:
            said = fault.inject(scene)
        except AssertionError as error:
            kept, said = False, str(error)[:1500]
        injected = time.time_ns() // 1_000_000
        # What waited for an answer when the fault ended has it two retransmissions later.
        time.sleep(1.2)
        row = Row(
            fault.name, f"{title} {at:5.1f} s", fault.promise, f"{said}; {_answers(world, since, injected)}", kept
        )
        report.rows.append(row)
        say(f"  {row.at}  {row.fault}: {'' if kept else 'BROKEN: '}{row.outcome}")
    figures = world.finish()
    report.figures.append(f"{title}: " + ", ".join(f"{value} {name}" for name, value in figures.items()))
    say(report.figures[-1])
    report.broken += [f"{title}: {what}" for what in world.broken[:20]]


def _answers(world: World, since: int, until: int) -> str:
    """Per report that was first sent during the fault: how many were answered, and how late."""
    took: list[int] = []
    silences: list[int] = []
    for lines in world.events():
        took += oracle.answer_times_ms(lines, since, until)
        silences.append(oracle.longest_silence_ms(lines, since, until + 1_000))
    took.sort()
    p99 = took[len(took) * 99 // 100] if took else 0
    return f"{len(took)} reports answered, p99 {p99} ms, longest silence of a NAS {max(silences)} ms"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A tmpfs of its own. NotAllowed where only root may mount, and we are not."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_OCTETS},mode=0755", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotAllowed(done.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@contextmanager
def on_postgresql(folder: Path, seed: int) -> Iterator[Scene]:
    """Two nodes, one PostgreSQL."""
    with Postgres(folder / "postgres") as postgres:
        postgres.execute("CREATE DATABASE aaa")
        with World(folder, postgres.url("aaa"), seed=seed) as world:
            yield Scene(world, postgres=postgres)


@contextmanager
def on_a_pair(folder: Path, seed: int) -> Iterator[Scene]:
    """Two nodes, a PostgreSQL with a synchronous standby."""
    with ExitStack() as stack:
        primary = stack.enter_context(Postgres(folder / "primary"))
        primary.execute("CREATE DATABASE aaa")
        standby = stack.enter_context(primary.standby(folder / "standby", "second"))
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'second'")
        primary.execute("SELECT pg_reload_conf()")
        shape = Shape(nases=2, users_per_nas=10)
        world = stack.enter_context(World(folder, primary.url("aaa", standby), seed=seed, shape=shape))
        yield Scene(world, postgres=primary, standby=standby)


@contextmanager
def on_sqlite(folder: Path, seed: int) -> Iterator[Scene]:
    """One node on a file."""
    with World(
        folder, f"sqlite:///{folder / 'aaa.db'}", seed=seed, shape=Shape(nodes=1, nases=2, users_per_nas=10)
    ) as world:
        yield Scene(world)


@contextmanager
def on_a_full_disk(folder: Path, seed: int) -> Iterator[Scene]:
    """One node, its SQLite file and its spool on a small disk."""
    shape = Shape(nodes=1, nases=1, users_per_nas=6)
    with small_disk(folder / "disk") as disk:
        url = f"sqlite:///{disk / 'aaa.db'}"
        with World(folder, url, seed=seed, shape=shape, spools=[disk / "spool"]) as world:
            yield Scene(world, full_disk=disk)


@contextmanager
def on_a_full_spool(folder: Path, seed: int) -> Iterator[Scene]:
    """One node on PostgreSQL, its spool on a small disk."""
    shape = Shape(nodes=1, nases=2, users_per_nas=10)
    with small_disk(folder / "disk") as disk, Postgres(folder / "postgres") as postgres:
        postgres.execute("CREATE DATABASE aaa")
        with World(folder, postgres.url("aaa"), seed=seed, shape=shape, spools=[disk / "spool"]) as world:
            yield Scene(world, postgres=postgres, full_disk=disk)


PLACES: Final[dict[str, tuple[Callable[[Path, int], AbstractContextManager[Scene]], tuple[Fault, ...]]]] = {
    "postgresql": (on_postgresql, ON_POSTGRESQL),
    "pair": (on_a_pair, ON_A_PAIR),
    "sqlite": (on_sqlite, ON_SQLITE),
    "full disk": (on_a_full_disk, ON_A_FULL_DISK),
    "full spool": (on_a_full_spool, ON_A_FULL_SPOOL),
}


@dataclass(frozen=True)
class Wanted:
    """What is to be run: the bounded list once, or, with `seconds`, longer faults in another order each time."""

    seed: int = 1
    seconds: float | None = None
    only: str = ""
    """Faults with this in their name."""
    places: tuple[str, ...] = tuple(PLACES)


def run(folder: Path, wanted: Wanted, *, say: Callable[[str], None] = lambda _: None) -> Report:
    """All that is wanted; it ends early where a promise is broken."""
    report = Report()
    began = time.monotonic()
    chance = random.Random(wanted.seed)
    turn = 0
    while True:
        for place in wanted.places:
            build, faults = PLACES[place]
            chosen = [fault for fault in faults if wanted.only in fault.name]
            lengths = Lengths()
            if wanted.seconds is not None:
                lengths = Lengths(chance.uniform(2, 12), chance.uniform(2, 12), row_lock_seconds=30)
                if place != "pair":  # after the promotion there is no standby
                    chance.shuffle(chosen)
            if chosen:
                where = folder / f"{turn}-{place.replace(' ', '-')}"
                where.mkdir(parents=True)
                _visit(build, where, chance.randrange(1 << 30), chosen, lengths, report, place, say)
        turn += 1
        if wanted.seconds is None or time.monotonic() - began >= wanted.seconds or not report.kept:
            return report


def _visit(
    build: Callable[[Path, int], AbstractContextManager[Scene]],
    where: Path,
    seed: int,
    faults: Sequence[Fault],
    lengths: Lengths,
    report: Report,
    place: str,
    say: Callable[[str], None],
) -> None:
    try:
        with build(where, seed) as scene:
            play(replace(scene, lengths=lengths), faults, report, place, say=say)
            if scene.postgres is not None and scene.postgres.running:
                report.figures.append(f"{place}: {_deadlocks(scene.postgres)} deadlocks in the database")
    except NotAllowed as error:
        report.skipped.append(f"{place}: {error}")


def _deadlocks(postgres: Postgres) -> int:
    return int(postgres.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = 'aaa'")[0][0])
