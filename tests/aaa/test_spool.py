"""The spool: its format against every kind of damage, its files on a disk that runs full, its replay to the writer."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, execute

from aaa.segments import MARKER, Record, encode, join, scan
from aaa.spool import Spool, SpoolFailed, SpoolFull, SpoolUnusable, folder_of, open_spool, processes_needed

T = TypeVar("T")
SALT = 0x1234ABCD
NOON = 1_772_366_400_000

# --- the format ----------------------------------------------------------------------------------------------------

PACKETS = st.one_of(st.binary(max_size=60), st.binary(max_size=20).map(lambda b: b + MARKER + b), st.just(bytes(4096)))
RECORDS = st.builds(
    Record,
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.sampled_from(["192.0.2.1", "2001:db8::1", "fe80::1%eth0", ""]),
    PACKETS,
)
SEGMENTS = st.lists(RECORDS, max_size=8)


@given(SEGMENTS)
def test_what_is_written_is_read(records: list[Record]) -> None:
    contents = scan(join(records, SALT), SALT)
    assert contents.records == records
    assert contents.damage == []


@given(SEGMENTS, st.data())
def test_a_torn_tail_costs_only_the_record_that_was_torn(records: list[Record], data: st.DataObject) -> None:
    whole = join(records, SALT)
    cut = data.draw(st.integers(0, len(whole)))
    contents = scan(whole[:cut], SALT)
    ends = [len(join(records[: n + 1], SALT)) for n in range(len(records))]
    assert contents.records == records[: sum(end <= cut for end in ends)]
    assert not contents.damaged_within
    assert [each.tail for each in contents.damage] == ([] if cut in {0, *ends} else [True])


@given(st.lists(RECORDS, min_size=1, max_size=8), st.data())
def test_a_changed_octet_costs_its_record_and_no_other(records: list[Record], data: st.DataObject) -> None:
    octets = bytearray(join(records, SALT))
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] ^= data.draw(st.integers(1, 255))
    ends = [len(join(records[: n + 1], SALT)) for n in range(len(records))]
    hit = sum(end <= at for end in ends)
    contents = scan(bytes(octets), SALT)
    assert contents.records == records[:hit] + records[hit + 1 :]
    assert contents.damaged_within == (hit < len(records) - 1)


@given(SEGMENTS, st.binary(max_size=200), st.data())
def test_rubbish_between_records_is_skipped(records: list[Record], rubbish: bytes, data: st.DataObject) -> None:
    before = data.draw(st.integers(0, len(records)))
    segment = join(records[:before], SALT) + rubbish + join(records[before:], SALT)
    assert scan(segment, SALT).records == records


@given(st.binary(max_size=2000))
def test_any_octets_are_read_without_an_error(octets: bytes) -> None:
    contents = scan(octets, SALT)
    assert contents.records == []
    assert sum(each.octets for each in contents.damage) == len(octets)


def test_a_record_inside_a_packet_is_none() -> None:
    """What a subscriber writes into an attribute carries no salt of ours, even where the record around it is broken."""
    forged = encode(Record(2, NOON, "192.0.2.1", b"forged"), 0)
    segment = bytearray(encode(Record(1, NOON, "192.0.2.1", forged), SALT))
    segment[12] ^= 1
    assert scan(bytes(segment), SALT).records == []


def test_a_record_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        encode(Record(1, NOON, "192.0.2.1", bytes(5000)), SALT)


# --- the files -----------------------------------------------------------------------------------------------------


def at_once(work: Callable[[], Any]) -> Deferred[Any]:
    return execute(work)


def ran(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine that waits for nothing returns or raises."""
    ended: list[T] = []
    failed: list[BaseException] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(ended.append, lambda failure: failed.append(failure.value))
    if failed:
        raise failed[0]
    return ended[0]


class Clock:
    """An instant that the test moves."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def moment() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, moment: Clock) -> Iterator[Callable[..., Spool]]:
    """`opened()`: the spool in this test's folder, as a process opens it; one opened before is closed, or died."""
    spools: list[Spool] = []

    def begin(**bounds: int) -> Spool:
        for earlier in spools:
            ran(earlier.close())
        spools.append(open_spool(tmp_path / "spool", at_once, moment, **bounds))
        return spools[-1]

    yield begin
    for spool in spools:
        ran(spool.close())


def keep(spool: Spool, *packets: bytes) -> None:
    for packet in packets:
        ran(spool.keep(NOON, "192.0.2.1", packet))


def taken(spool: Spool) -> list[bytes]:
    """All packets, in the order in which a replay gets them; each segment is finished."""
    packets: list[bytes] = []
    while (segment := ran(spool.oldest())) is not None:
        packets += [record.packet for record in segment.contents.records]
        ran(spool.finish(segment, []))
    return packets


def files(folder: Path) -> list[str]:
    return sorted(path.suffix for path in (folder / "spool").iterdir() if path.name != "lock")


def test_what_was_kept_is_there_for_the_next_process(opened: Callable[..., Spool], tmp_path: Path) -> None:
    keep(opened(), b"one", b"two")
    later = opened()
    assert later.status.records == 2
    assert later.status.oldest_at == NOON
    keep(later, b"three")
    assert taken(later) == [b"one", b"two", b"three"]
    assert later.status == (0, 0, 0, None, 0)
    assert files(tmp_path) == []


def test_sequences_go_on_after_a_restart(opened: Callable[..., Spool]) -> None:
    keep(opened(), b"one", b"two")
    later = opened()
    keep(later, b"three")
    sequences = []
    while (segment := ran(later.oldest())) is not None:
        sequences += [record.sequence for record in segment.contents.records]
        ran(later.finish(segment, []))
    assert sequences == [1, 2, 3]


def test_a_segment_is_left_when_it_is_long_enough(opened: Callable[..., Spool]) -> None:
    spool = opened(segment_octets=100)
    packets = [bytes([n]) * 80 for n in range(10)]
    keep(spool, *packets)
    assert spool.status.segments == 10
    assert taken(spool) == packets


def test_a_process_that_dies_while_it_writes_leaves_a_tail_that_is_no_alarm(
    opened: Callable[..., Spool], tmp_path: Path
) -> None:
    keep(opened(), b"one", b"two")
    (path,) = (tmp_path / "spool").glob("*.spool")
    path.write_bytes(path.read_bytes() + MARKER + b"\0\0\0\x20torn")
    later = opened()
    segment = ran(later.oldest())
    assert segment is not None
    assert [record.packet for record in segment.contents.records] == [b"one", b"two"]
    assert [each.tail for each in segment.contents.damage] == [True]
    ran(later.finish(segment, []))
    assert files(tmp_path) == []


def test_a_damaged_segment_gives_what_is_intact_and_is_kept(opened: Callable[..., Spool], tmp_path: Path) -> None:
    keep(opened(), b"one", b"two", b"three")
    (path,) = (tmp_path / "spool").glob("*.spool")
    octets = bytearray(path.read_bytes())
    octets[octets.index(b"two")] ^= 0xFF
    path.write_bytes(octets)
    later = opened()
    assert taken(later) == [b"one", b"three"]
    assert files(tmp_path) == [".damaged"]
    assert later.status.kept_octets == len(octets)
    assert opened().status.kept_octets == len(octets)


def test_what_was_set_aside_is_tried_again_when_it_is_put_back(opened: Callable[..., Spool], tmp_path: Path) -> None:
    spool = opened()
    keep(spool, b"good", b"poison")
    segment = ran(spool.oldest())
    assert segment is not None
    ran(spool.finish(segment, segment.contents.records[1:]))
    assert files(tmp_path) == [".aside"]
    (path,) = (tmp_path / "spool").glob("*.aside")
    path.rename(path.with_suffix(".spool"))
    assert taken(opened()) == [b"poison"]


def test_two_processes_can_not_have_one_spool(opened: Callable[..., Spool], tmp_path: Path, moment: Clock) -> None:
    opened()
    with pytest.raises(SpoolUnusable, match="another running server"):
        open_spool(tmp_path / "spool", at_once, moment)


def test_a_folder_that_is_none_is_said(tmp_path: Path, moment: Clock) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(SpoolUnusable, match="spool_dir"):
        open_spool(tmp_path / "spool", at_once, moment)


# --- its bounds, and disks -----------------------------------------------------------------------------------------


def test_it_takes_no_more_octets_than_it_may(opened: Callable[..., Spool]) -> None:
    spool = opened(most_octets=200)
    keep(spool, b"x" * 100)
    with pytest.raises(SpoolFull):
        keep(spool, b"y" * 100)
    keep(spool, b"z" * 10)
    assert taken(spool) == [b"x" * 100, b"z" * 10]
    keep(spool, b"y" * 100)


def test_while_its_oldest_has_waited_too_long_it_takes_no_more(opened: Callable[..., Spool], moment: Clock) -> None:
    spool = opened(most_age_ms=1000)
    keep(spool, b"old")
    moment.now += 1001
    with pytest.raises(SpoolFull):
        keep(spool, b"new")
    assert taken(spool) == [b"old"]
    keep(spool, b"new")


@contextmanager
def files_no_longer_than(octets: int) -> Iterator[None]:
    """The kernel ends a write there, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_silence_and_what_was_kept_stays_good(opened: Callable[..., Spool], tmp_path: Path) -> None:
    spool = opened()
    failures: list[str] = []
    spool.on_failed = failures.append
    keep(spool, b"before")
    with files_no_longer_than(200), pytest.raises(SpoolFull):
        keep(spool, bytes(4000))
    keep(spool, b"after")
    assert failures == []
    assert taken(spool) == [b"before", b"after"]
    assert files(tmp_path) == [], "half a record in the middle would be damage"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_full_file_system(tmp_path: Path, moment: Clock) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    if os.system(f"mount -t tmpfs -o size=64k tmpfs {folder} 2>/dev/null") != 0:  # noqa: S605
        pytest.skip("this machine does not let us mount")
    try:
        spool = open_spool(folder / "spool", at_once, moment)
        kept = 0
        with suppress(SpoolFull):
            for _ in range(100):
                keep(spool, kept.to_bytes(2, "big") * 1000)
                kept += 1
        assert 10 < kept < 33
        assert [packet[:2] for packet in taken(spool)] == [n.to_bytes(2, "big") for n in range(kept)]
        keep(spool, b"room again")
        ran(spool.close())
    finally:
        os.system(f"umount {folder}")  # noqa: S605


def test_a_disk_that_fails_ends_the_spool(opened: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync that failed once is never asked again: the kernel may have thrown away what it could not write."""
    spool = opened()
    failures: list[str] = []
    spool.on_failed = failures.append
    keep(spool, b"before")
    syncs = 0

    def broken(_descriptor: int) -> None:
        nonlocal syncs
        syncs += 1
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    for _ in range(3):
        with pytest.raises(SpoolFailed):
            keep(spool, b"lost")
    assert syncs == 1
    assert len(failures) == 3


def test_as_many_processes_as_left_something_in_their_spools(tmp_path: Path) -> None:
    assert processes_needed(tmp_path) == 1
    for number, octets in ((2, b"x"), (3, b""), (11, b"")):
        folder = folder_of(tmp_path, number)
        folder.mkdir()
        (folder / f"{1:016}-0badcafe.spool").write_bytes(octets)
    assert processes_needed(tmp_path) == 2
    (folder_of(tmp_path, 3) / "lock").write_bytes(b"x")
    (folder_of(tmp_path, 11) / f"{2:016}-0badcafe.spool").write_bytes(b"x")
    assert processes_needed(tmp_path) == 11
    assert folder_of(tmp_path, 1) == tmp_path
