"""What was dropped: counted always, said once a minute for each source and cause, and in bounded memory."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from aaa import drops
from aaa.drops import Drops

NOW = 1_772_366_400_000


def test_counted_always_said_once_a_minute() -> None:
    dropped = Drops()
    with capture_logs() as logged:
        for at in (0, 1, 59_999, 60_000, 60_001, 120_000):
            dropped.drop("length", "192.0.2.1", NOW + at, "5 octets")
    assert dropped.counts == {"length": 6}
    assert [each["total"] for each in logged] == [1, 4, 6]
    assert logged[0] == {
        "event": "packet-dropped", "log_level": "warning", "reason": "length", "source": "192.0.2.1",
        "detail": "5 octets", "total": 1,
    }  # fmt: skip


def test_each_source_and_cause_is_said() -> None:
    dropped = Drops()
    with capture_logs() as logged:
        for source in ("192.0.2.1", "192.0.2.2"):
            for reason in ("length", "code"):
                for _ in range(3):
                    dropped.drop(reason, source, NOW)
    assert len(logged) == 4
    assert dropped.counts == {"length": 6, "code": 6}


def test_a_flood_of_spoofed_sources_takes_no_memory_and_few_lines() -> None:
    dropped = Drops()
    with capture_logs() as logged:
        for number in range(20_000):
            dropped.drop("unknown-nas", f"2001:db8::{number:x}", NOW)
    assert dropped.counts == {"unknown-nas": 20_000}
    assert len(dropped._said) <= drops._MOST_SOURCES
    assert len(logged) <= drops._MOST_SOURCES
    with capture_logs() as logged:
        dropped.drop("length", "192.0.2.1", NOW + 60_000)
    assert len(logged) == 1, "after a minute there is room again"


def test_a_source_that_speaks_again_is_not_the_first_to_be_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drops, "_MOST_SOURCES", 2)
    dropped = Drops()
    dropped.drop("length", "a", NOW)
    dropped.drop("length", "b", NOW)
    dropped.drop("length", "a", NOW + 60_000)
    dropped.drop("length", "c", NOW + 60_001)
    with capture_logs() as logged:
        dropped.drop("length", "a", NOW + 60_001)
    assert not logged
