"""What a NAS's counters mean, as its people say or its dialect: each setting from a packet to what is charged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aaa.accounting import Beside, report_of
from aaa.dialects import SHIPPED
from aaa.nas import Nas
from charging.session import Report, Session, advance
from tests.aaa.test_accounting import KEYS, NAS, NOON, instant, packet_of

MINUTE_MS = 60_000


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def vendor(vendor_id: int, kind: int, value: bytes) -> tuple[int, bytes]:
    return 26, number(vendor_id) + bytes([kind, len(value) + 2]) + value


def said(
    nas: Nas, *, up: int, down: int, seconds: int = 60, kind: int = 3, gigawords: int | None = None,
    more: tuple[tuple[int, bytes], ...] = (),
) -> Report | Beside:  # fmt: skip
    """A report of that many of whatever this NAS counts in Acct-Input-Octets and Acct-Output-Octets."""
    attributes = [
        (40, number(kind)),
        (44, b"S1"),
        (1, b"anna"),
        (42, number(up)),
        (43, number(down)),
        (46, number(seconds)),
    ]
    attributes.append((55, number((instant(NOON) + seconds * 1000) // 1000)))
    if gigawords is not None:
        attributes += [(52, number(gigawords)), (53, number(gigawords))]
    report = report_of(packet_of([*attributes, *more]), nas, "192.0.2.1", instant(NOON) + seconds * 1000, KEYS)
    assert not hasattr(report, "kind") or isinstance(report, Report)
    return report


def session(**marks: Any) -> Session:
    at = instant(NOON)
    last = at + 1000 * marks.get("seconds", 0)
    return Session(
        account_id=1, session_id=1, subscriber_id=1, plan_version_id=1, nas_id=1, nas_address="192.0.2.1", root_id=1,
        device_key="d", session_key="k", acct_session_id=b"S1", created_at=at, closed_at=None, close_reason=None,
        state="open", started_at=at, last_report_at=last, last_event_at=last, stale_at=at, interval_seconds=60,
        wanted="full", posted_at=at, **marks,
    )  # fmt: skip


def moved(of: Session, report: Report | Beside) -> tuple[int, int]:
    """What a report adds, up and down; the session moves on."""
    assert isinstance(report, Report)
    before = of.octets_up, of.octets_down
    step = advance(of, report, None, None)
    of.octets_up, of.octets_down, of.seconds = step.octets_up, step.octets_down, step.seconds
    of.offset_up, of.offset_down, of.offset_seconds = step.offset_up, step.offset_down, step.offset_seconds
    of.epoch, of.epoch_seconds, of.line_no = step.epoch, step.epoch_seconds, of.line_no + 1
    of.last_event_at = report.event_at
    return of.octets_up - before[0], of.octets_down - before[1]


def test_direction() -> None:
    assert moved(session(), said(NAS, up=10, down=20)) == (10, 20)
    assert moved(session(), said(replace(NAS, counters_reversed=True), up=10, down=20)) == (20, 10)


@pytest.mark.parametrize(
    ("unit", "octets"), [("octets", 1), ("kB", 1_000), ("KiB", 1_024), ("MB", 1_000_000), ("MiB", 1_048_576)]
)
def test_unit(unit: Any, octets: int) -> None:
    assert moved(session(), said(replace(NAS, counter_unit=unit), up=3, down=5)) == (3 * octets, 5 * octets)


def test_gigawords_count_units_too() -> None:
    report = said(replace(NAS, counter_unit="kB"), up=1, down=0, gigawords=1)
    assert moved(session(), report) == ((2**32 + 1) * 1_000, 2**32 * 1_000)


def test_differences_add_up_and_a_repeated_one_adds_nothing() -> None:
    nas = replace(NAS, counters_delta=True)
    of = session()
    assert moved(of, said(nas, up=10, down=100, seconds=60)) == (10, 100)
    assert moved(of, said(nas, up=10, down=100, seconds=120)) == (10, 100)
    assert moved(of, said(nas, up=10, down=100, seconds=120)) == (0, 0)  # sent again
    assert moved(of, said(nas, up=5, down=50, seconds=60)) == (0, 0)  # late: it was counted, or is lost
    assert moved(of, said(nas, up=1, down=2, seconds=150, kind=2)) == (1, 2)
    assert (of.octets_up, of.octets_down) == (21, 202)


def test_cumulative_counters_of_the_same_packets_count_once() -> None:
    of = session()
    assert moved(of, said(NAS, up=10, down=100, seconds=60)) == (10, 100)
    assert moved(of, said(NAS, up=10, down=100, seconds=120)) == (0, 0)


HIGH = 4_000_000_000


@pytest.mark.parametrize(
    ("bits", "gigawords", "added"),
    [
        (None, None, 2**32 - HIGH + 5),  # no gigawords seen: it turned over
        (32, None, 2**32 - HIGH + 5),
        (32, 7, 2**32 - HIGH + 5),  # what it writes there is nothing
        (64, None, 5),  # gigawords only when there are some: a lower counter began anew
    ],
)
def test_32_bits_turn_over_and_64_do_not(bits: int | None, gigawords: int | None, added: int) -> None:
    nas = replace(NAS, counter_bits=bits)
    of = session(octets_down=HIGH, seconds=60)
    report = said(nas, up=0, down=5, seconds=120, gigawords=gigawords)
    assert moved(of, report)[1] == added


CISCO_SERVICE = vendor(9, 251, b"NHOME")
CISCO_PARENT = vendor(9, 1, b"parent-session-id=0000002A")
JUNIPER_SERVICE = vendor(4874, 83, b"aaa-rate(1,2)")


@pytest.mark.parametrize("mark", [CISCO_SERVICE, CISCO_PARENT, JUNIPER_SERVICE])
def test_of_a_session_and_its_services_one_level_is_charged(mark: tuple[int, bytes]) -> None:
    both = replace(NAS, reports_services=True)
    by_service = replace(both, counter_level="service")
    assert isinstance(said(both, up=1, down=1), Report)
    assert isinstance(said(both, up=1, down=1, more=(mark,)), Beside)
    assert isinstance(said(by_service, up=1, down=1), Beside)
    assert isinstance(said(by_service, up=1, down=1, more=(mark,)), Report)
    # Elsewhere such an attribute means nothing.
    assert isinstance(said(NAS, up=1, down=1, more=(mark,)), Report)


def test_what_a_cisco_says_of_other_things_marks_no_service() -> None:
    assert isinstance(
        said(replace(NAS, reports_services=True), up=1, down=1, more=(vendor(9, 1, b"client-mac=02"),)), Report
    )


def test_dialects_say_how_their_equipment_counts() -> None:
    assert [name for name, each in SHIPPED.items() if each.counters_reversed] == ["chillispot"]
    assert [name for name, each in SHIPPED.items() if each.counter_bits == 32] == ["ubiquiti-edge"]
    assert [name for name, each in SHIPPED.items() if each.reports_services] == ["cisco-isg", "juniper"]
    assert {each.counter_unit for each in SHIPPED.values()} == {"octets"}
    assert not [name for name, each in SHIPPED.items() if each.counters_delta]
