"""The spool: verified accounting packets kept on this machine's own disk while the database is away.

A folder of segments, `SEQUENCE-SALT.spool`, each only ever appended to, by one process at a time. Records are written
many at once and synced once; only then may their packets be answered. Beside them lie `.aside` files, the same format:
records that could not be replayed (renamed to `.spool`, they are tried again at the next start), and `.damaged` ones:
segments in whose middle something was unreadable.

All of a spool's work with files is done by one thread, one thing after the other, so nothing is locked but the folder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast

from aaa.segments import Contents, Record, encode, join, scan
from charging.batching import Batches, Run
from charging.plan import Instant

T = TypeVar("T")

SEGMENT_OCTETS: Final = 4 * 2**20
MOST_OCTETS: Final = 2**30
MOST_AGE_MS: Final = 3 * 86_400_000
MOST_WAITING: Final = 8192
MOST_IN_BATCH: Final = 1024

#: The disk has no room: nothing is broken, and what was written before stays good.
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NAME: Final = re.compile(r"(\d{16})-([0-9a-f]{8})\.spool")
_KEPT_SUFFIXES: Final = (".aside", ".damaged")


class SpoolFull(Exception):
    """No room, by our bounds or the disk's; the packet is not kept and must not be answered."""


class SpoolFailed(Exception):
    """The disk under the spool failed: what it says it wrote can not be trusted. Stop."""


class SpoolUnusable(Exception):
    """The folder can not be a spool; the text says what would be right."""


class SpoolStatus(NamedTuple):
    """How a spool stands."""

    records: int
    octets: int
    """Of segments that wait to be replayed."""
    segments: int
    oldest_at: Instant | None
    """When the oldest waiting record was received."""
    kept_octets: int
    """Of `.aside` and `.damaged` files, which wait for the operator."""


EMPTY: Final = SpoolStatus(0, 0, 0, None, 0)


class Segment(NamedTuple):
    """A closed segment and what is in it."""

    path: Path
    salt: int
    contents: Contents


class _File:
    """A segment as the spool counts it; `descriptor` while it is appended to."""

    def __init__(self, path: Path, first_sequence: int, salt: int) -> None:
        self.path = path
        self.first_sequence = first_sequence
        self.salt = salt
        self.octets = 0
        self.records = 0
        self.oldest_at: Instant | None = None
        self.descriptor = -1


class Spool:
    """Made by `open_spool`. `keep`, `oldest` and `finish` are called in the reactor and return after the disk did."""

    def __init__(
        self,
        folder: Path,
        run: Run,
        now: Callable[[], Instant],
        *,
        most_octets: int = MOST_OCTETS,
        most_age_ms: int = MOST_AGE_MS,
        segment_octets: int = SEGMENT_OCTETS,
    ) -> None:
        self._folder = folder
        self._run = run
        self._now = now
        self._most_octets = most_octets
        self._most_age_ms = most_age_ms
        self._segment_octets = segment_octets
        self._closed: deque[_File] = deque()
        self._open: _File | None = None
        self._next_sequence = 1
        self._kept_octets = 0
        self._failed: SpoolFailed | None = None
        self._lock = -1
        self.status = EMPTY
        self.on_failed: Callable[[str], None] = lambda _problem: None
        """Called in the reactor when the disk failed."""
        self._appends: Batches[tuple[Instant, str, bytes], None] = Batches(
            self._append, run, most_queued=MOST_WAITING, most_in_batch=MOST_IN_BATCH
        )

    async def keep(self, received_at: Instant, address: str, packet: bytes) -> None:
        """Returns when the packet is durable. SpoolFull, SpoolFailed or QueueFull: it is not, do not answer."""
        try:
            await self._appends.submit((received_at, address, packet))
        except SpoolFailed as error:
            self.on_failed(str(error))
            raise

    async def oldest(self) -> Segment | None:
        """The oldest segment, which is not appended to any more; None where the spool is empty."""
        return await self._in_thread(self._read_oldest)

    async def finish(self, segment: Segment, aside: Sequence[Record]) -> None:
        """Everything of the oldest segment is in the database, or stands in `aside`: let go of it."""
        await self._in_thread(lambda: self._finish(segment, aside))

    async def close(self) -> None:
        """Close the files and let another process have the folder."""
        await self._in_thread(self._close)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def answer() -> Sequence[object]:
            try:
                return [work()]
            except OSError as error:
                raise self._fail(error) from error

        try:
            (result,) = await self._run(answer)
        except SpoolFailed as error:
            self.on_failed(str(error))
            raise
        return cast("T", result)

    # --- in the spool's thread -----------------------------------------------------------------------------------

    def _append(self, items: Sequence[tuple[Instant, str, bytes]]) -> Sequence[Exception | None]:
        if self._failed is not None:
            raise self._failed
        oldest_at = self.status.oldest_at
        if oldest_at is not None and self._now() - oldest_at > self._most_age_ms:
            raise SpoolFull(f"the oldest record has waited for more than {self._most_age_ms // 1000} s")
        try:
            file = self._open or self._begin()
            room = self._most_octets - self.status.octets - self._kept_octets
            parts: list[bytes] = []
            octets = 0
            outcomes: list[Exception | None] = []
            for received_at, address, packet in items:
                record = Record(self._next_sequence + len(parts), received_at, address, packet)
                part = encode(record, file.salt)
                if octets + len(part) > room:
                    outcomes.append(SpoolFull(f"it holds its {self._most_octets} octets"))
                    continue
                octets += len(part)
                parts.append(part)
                outcomes.append(None)
            if parts:
                self._write(file, b"".join(parts))
        except OSError as error:
            raise self._fail(error) from error
        if parts:
            file.records += len(parts)
            self._next_sequence += len(parts)
            if file.oldest_at is None:
                file.oldest_at = items[0][0]
            if file.octets >= self._segment_octets:
                self._seal()
            self._count()
        return outcomes

    def _begin(self) -> _File:
        salt = secrets.randbits(32)
        path = self._folder / f"{self._next_sequence:016d}-{salt:08x}.spool"
        file = _File(path, self._next_sequence, salt)
        try:
            file.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._sync_folder()
        except OSError as error:
            if error.errno in _NO_ROOM and file.descriptor < 0:
                raise SpoolFull(str(error)) from error
            raise
        self._open = file
        return file

    def _write(self, file: _File, octets: bytes) -> None:
        """All of it on the disk, or nothing of it in the file."""
        try:
            left = memoryview(octets)
            while left:
                left = left[os.write(file.descriptor, left) :]
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            os.ftruncate(file.descriptor, file.octets)
            raise SpoolFull(str(error)) from error
        # An error here is final, also for want of room: what the kernel has given up can not be synced a second time.
        os.fdatasync(file.descriptor)
        file.octets += len(octets)

    def _seal(self) -> None:
        """Nothing is appended to the open segment any more."""
        file, self._open = self._open, None
        if file is not None:
            os.close(file.descriptor)
            file.descriptor = -1
            self._closed.append(file)

    def _read_oldest(self) -> Segment | None:
        if not self._closed:
            self._seal()
        if not self._closed:
            return None
        file = self._closed[0]
        return Segment(file.path, file.salt, scan(file.path.read_bytes(), file.salt))

    def _finish(self, segment: Segment, aside: Sequence[Record]) -> None:
        file = self._closed[0]
        assert file.path == segment.path, "segments are finished in their order"
        if aside:
            self._set_aside(segment, aside)
        if segment.contents.damaged_within:
            file.path.rename(file.path.with_suffix(".damaged"))
            self._kept_octets += file.octets
        else:
            file.path.unlink()
        self._sync_folder()
        self._closed.popleft()
        self._count()

    def _set_aside(self, segment: Segment, records: Sequence[Record]) -> None:
        # A server that stopped between this and the end of its segment writes the same file again.
        octets = join(records, segment.salt)
        path = segment.path.with_suffix(".aside")
        with path.open("wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        self._kept_octets += len(octets)

    def _close(self) -> None:
        self._seal()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _fail(self, error: OSError) -> SpoolFailed:
        self._failed = self._failed or SpoolFailed(f"{self._folder}: {error}")
        return self._failed

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _count(self) -> None:
        files = [*self._closed, self._open] if self._open is not None else list(self._closed)
        filled = [file for file in files if file.octets]
        self.status = SpoolStatus(
            sum(file.records for file in filled),
            sum(file.octets for file in filled),
            len(filled),
            min((file.oldest_at for file in filled if file.oldest_at is not None), default=None),
            self._kept_octets,
        )

    # --- at the start --------------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Make the folder this process's own, and count what is in it. SpoolUnusable, OSError. Blocks."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise SpoolUnusable(
                f"the spool {self._folder} belongs to another running server; give this one its own: spool_dir"
            ) from None
        named = [(path, name) for path in self._folder.iterdir() if (name := _NAME.fullmatch(path.name))]
        files = [_File(path, int(name[1]), int(name[2], 16)) for path, name in named]
        files.sort(key=lambda file: file.first_sequence)
        for file in files:
            file.octets = file.path.stat().st_size
            # Nothing but the file's own records says how many it has: files may have been put back by the operator.
            contents = scan(file.path.read_bytes(), file.salt)
            file.records = len(contents.records)
            file.oldest_at = contents.records[0].received_at if contents.records else None
            last = max((record.sequence for record in contents.records), default=file.first_sequence)
            self._next_sequence = max(self._next_sequence, last + 1)
        self._closed.extend(files)
        kept = [path for path in self._folder.iterdir() if path.suffix in _KEPT_SUFFIXES]
        self._kept_octets = sum(path.stat().st_size for path in kept)
        self._count()


def folder_of(folder: Path, process: int) -> Path:
    """Where process number `process`, from 1, of a server keeps its spool: the first in `folder` itself."""
    return folder if process == 1 else folder / f"process-{process}"


def processes_needed(folder: Path) -> int:
    """How many processes it takes to replay what was left in `folder`: 1, or the last one whose spool holds something."""
    found = [1]
    for path in folder.glob("process-*/*.spool"):
        number = path.parent.name.removeprefix("process-")
        if number.isascii() and number.isdigit() and _NAME.fullmatch(path.name) and path.stat().st_size:
            found.append(int(number))
    return max(found)


def open_spool(folder: Path, run: Run, now: Callable[[], Instant], **bounds: Any) -> Spool:
    """The spool in this folder, with whatever an earlier process left there. SpoolUnusable says what is wrong."""
    spool = Spool(folder, run, now, **bounds)
    try:
        spool.take_over()
    except OSError as error:
        raise SpoolUnusable(f"the spool {folder} can not be used: {error}; name another folder: spool_dir") from error
    return spool
