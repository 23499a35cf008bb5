"""What the machine is and who uses its processors during a measurement."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path


def describe(folder: Path) -> dict[str, object]:
    """Processors, memory, and the disk under the database."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processors": os.cpu_count(),
        "processor": names[0] if names else platform.machine(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "file_system": file_system(folder),
        "sync_ms": round(sync_ms(folder), 3),
    }


def sync_ms(folder: Path, times: int = 100) -> float:
    """What one durable 8 kB write costs in this folder: the floor under every commit."""
    path = folder / "sync-probe"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        began = time.perf_counter()
        for at in range(times):
            os.pwrite(descriptor, bytes(8192), at * 8192)
            os.fdatasync(descriptor)
        return (time.perf_counter() - began) / times * 1000
    finally:
        os.close(descriptor)
        path.unlink()


def file_system(folder: Path) -> str:
    """The type of the file system under a folder; on `tmpfs` nothing is durable and a commit costs nothing."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, this, *_ = line.split()
        if str(folder).startswith(mount) and len(mount) > len(best):
            best, kind = mount, this
    return kind


NOT_QUIET = 0.10


def disturbed(used: dict[str, float]) -> float:
    """How much of its processors a measurement did without, where that is more than a tenth, or else nothing: what others took,
    and what the machine itself did not get."""
    missing = max(used["others_share"], used["stolen_share"])
    return missing if missing > NOT_QUIET else 0.0


@dataclass(frozen=True, slots=True)
class Cpu:
    """Processor seconds used so far."""

    at: float
    busy: float  # by everybody
    stolen: float  # wanted, and given to another guest of the same hardware
    server: float
    postgresql: float
    generator: float

    def since(self, before: "Cpu", packets: int) -> dict[str, float]:
        """Microseconds per packet of each part; the share of the machine that went to anybody else; and of the time that its
        processors were wanted, the share that the machine did not get."""
        per_packet = 1e6 / max(1, packets)
        parts = (self.server - before.server, self.postgresql - before.postgresql, self.generator - before.generator)
        busy, stolen = self.busy - before.busy, self.stolen - before.stolen
        return {
            "server_us": round(parts[0] * per_packet, 1),
            "postgresql_us": round(parts[1] * per_packet, 1),
            "generator_us": round(parts[2] * per_packet, 1),
            "others_share": round(max(0.0, busy - sum(parts)) / ((self.at - before.at) * (os.cpu_count() or 1)), 3),
            "stolen_share": round(stolen / (busy + stolen), 3) if stolen else 0.0,
        }


def cpu(server_pid: int, postgresql_pid: int) -> Cpu:
    """The state of the meters now. Interrupts on behalf of nobody are nobody's; waiting is not work."""
    parents, used = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
            fields = text.rpartition(")")[2].split()  # from field 3 on, see proc_pid_stat(5)
            parents[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = (
                sum(int(ticks) for ticks in fields[11:15]) / _TICKS
            )  # own and of children that ended
    user, nice, system, _, _, _, _, stolen = (
        int(ticks) / _TICKS for ticks in Path("/proc/stat").read_text().split(None, 9)[1:9]
    )
    return Cpu(
        at=time.monotonic(),
        busy=user + nice + system,
        stolen=stolen,
        server=_tree(server_pid, parents, used),
        postgresql=_tree(postgresql_pid, parents, used),
        generator=time.process_time(),
    )


_TICKS = os.sysconf("SC_CLK_TCK")


def _tree(root: int, parents: dict[int, int], used: dict[int, float]) -> float:
    """Processor seconds of a process and everything below it."""
    own = used.get(root, 0.0)
    return own + sum(_tree(pid, parents, used) for pid, parent in parents.items() if parent == root)
