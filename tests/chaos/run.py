"""Worlds, one after the other, with faults at seeded moments; a table of what was injected, when, promised, and came of it."""

from __future__ import annotations

import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

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
        lines = [head, *((row.fault, row.at, row.promise, ("" if row.kept else "BROKEN: ") + row.outcome) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(3)]
        text = ["  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]) for line in lines]
        text += ["", *self.figures, *(f"skipped: {why}" for why in self.skipped), *(f"BROKEN: {what}" for what in self.broken)]
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
        row = Row(fault.name, f"{title} {at:5.1f} s", fault.promise, f"{said}; {_answers(world, since, injected)}", kept)
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
    """A tmpfs of its own; PermissionError where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_OCTETS},mode=0755", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(done.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def on_postgresql(folder: Path, seed: int, faults: Sequence[Fault], lengths: Lengths, report: Report, *, say: Callable[[str], None]) -> None:
    """Two nodes, one PostgreSQL."""
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres(folder / "postgres"))
        postgres.execute("CREATE DATABASE aaa")
        world = stack.enter_context(World(folder, postgres.url("aaa"), seed=seed))
        play(Scene(world, lengths, postgres), faults, report, "postgresql", say=say)
        report.figures.append(f"postgresql: {_deadlocks(postgres)} deadlocks")


def _deadlocks(postgres: Postgres) -> int:
    return int(postgres.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = 'aaa'")[0][0])


def on_a_pair(folder: Path, seed: int, faults: Sequence[Fault], lengths: Lengths, report: Report, *, say: Callable[[str], None]) -> None:
    """Two nodes, a PostgreSQL with a synchronous standby."""
    with ExitStack() as stack:
        primary = stack.enter_context(Postgres(folder / "primary"))
        primary.execute("CREATE DATABASE aaa")
        standby = stack.enter_context(primary.standby(folder / "standby", "second"))
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'second'")
        primary.execute("SELECT pg_reload_conf()")
        shape = Shape(nases=2, users_per_nas=10)
        world = stack.enter_context(World(folder, primary.url("aaa", standby), seed=seed, shape=shape))
        play(Scene(world, lengths, primary, standby=standby), faults, report, "pair", say=say)


def on_sqlite(folder: Path, seed: int, faults: Sequence[Fault], lengths: Lengths, report: Report, *, say: Callable[[str], None]) -> None:
    """One node on a file."""
    folder.mkdir(parents=True, exist_ok=True)
    with World(folder, f"sqlite:///{folder / 'aaa.db'}", seed=seed, shape=Shape(nodes=1, nases=2, users_per_nas=10)) as world:
        play(Scene(world, lengths), faults, report, "sqlite", say=say)


def on_a_full_disk(folder: Path, seed: int, faults: Sequence[Fault], lengths: Lengths, report: Report, *, say: Callable[[str], None]) -> None:
    """One node, its SQLite file and its spool on a small disk."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(folder / "disk"))
        except PermissionError as error:
            report.skipped.append(f"full disk: {error}")
            return
        shape = Shape(nodes=1, nases=1, users_per_nas=6)
        world = stack.enter_context(
            World(folder, f"sqlite:///{disk / 'aaa.db'}", seed=seed, shape=shape, spools=[disk / "spool"])
        )
        play(Scene(world, lengths, full_disk=disk), faults, report, "full disk", say=say)


def on_a_full_spool(folder: Path, seed: int, faults: Sequence[Fault], lengths: Lengths, report: Report, *, say: Callable[[str], None]) -> None:
    """One node on PostgreSQL, its spool on a small disk."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(folder / "disk"))
        except PermissionError as error:
            report.skipped.append(f"full spool: {error}")
            return
        postgres = stack.enter_context(Postgres(folder / "postgres"))
        postgres.execute("CREATE DATABASE aaa")
        shape = Shape(nodes=1, nases=2, users_per_nas=10)
        world = stack.enter_context(World(folder, postgres.url("aaa"), seed=seed, shape=shape, spools=[disk / "spool"]))
        play(Scene(world, lengths, postgres, full_disk=disk), faults, report, "full spool", say=say)


def run(folder: Path | None = None, *, seed: int, seconds: float | None = None, only: str = "", say: Callable[[str], None] = lambda _: None) -> Report:
    """The bounded run; with `seconds`, longer faults in another order again and again for as long. `only`: faults with
    this in their name."""
    report = Report()
    began = time.monotonic()
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        where = folder or Path(temporary)
        Path(temporary).chmod(0o755)
        turn = 0
        while True:
            lengths = Lengths() if seconds is None else Lengths(chance.uniform(2, 12), chance.uniform(2, 12), 30, 5_000)
            for number, (place, all_faults) in enumerate((
                (on_postgresql, ON_POSTGRESQL), (on_a_pair, ON_A_PAIR), (on_sqlite, ON_SQLITE),
                (on_a_full_disk, ON_A_FULL_DISK), (on_a_full_spool, ON_A_FULL_SPOOL),
            )):  # fmt: skip
                faults = [fault for fault in all_faults if only in fault.name]
                if seconds is not None and place is not on_a_pair:  # after the promotion there is no standby
                    chance.shuffle(faults)
                if faults:
                    place(where / f"{turn}-{number}", chance.randrange(1 << 30), faults, lengths, report, say=say)
            turn += 1
            if seconds is None or time.monotonic() - began >= seconds or not report.kept:
                return report
