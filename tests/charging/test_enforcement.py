"""How much is held, and how a NAS that does not do as it says is brought to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charging.admission import Admitted, Login
from charging.buckets import Usage
from charging.enforcement import MOST_DISCONNECTS, profile_of
from charging.plan import Allowance, Direction, Exhausted, Plan, Profile, Unit
from charging.settle import CommandAcked, CommandFailed, Cut
from charging.slices import covered_permille, slice_of
from tests.charging.cases.story import BEGIN, Memory
from tests.charging.test_book import MB, let_in, report_of, stage_of

SLOW = Profile("slow", 80_000, 80_000)


def plan(*lines: tuple[Unit, Direction], line: Profile | None = None) -> Plan:
    return Plan(
        "p", "EUR", "UTC", line or Profile("line", 16_000_000, 8_000_000),
        allowances=tuple(Allowance(f"{u}-{d}", u, d, 100 * MB) for u, d in lines), exhausted=Exhausted("throttle", SLOW),
    )  # fmt: skip


def test_a_slice_lasts_until_our_next_word_has_arrived() -> None:
    assert slice_of(plan(), 60) == Usage(95 * MB, 190 * MB, 95)
    unknown = slice_of(plan(line=Profile("any")), 60)  # 20 Mbit/s are assumed
    assert unknown == Usage(237_500_000, 237_500_000, 95)


WANT = Usage(10, 20, 30)


@pytest.mark.parametrize(
    ("lines", "uncovered", "permille"),
    [
        ([("octets", "total")], Usage(10, 20, 0), 0),
        ([("octets", "total")], Usage(10, 19, 0), 33),
        ([("octets", "total")], Usage(10, 0, 0), 666),
        ([("octets", "total")], Usage(0, 0, 0), 1000),
        ([("octets", "down"), ("octets", "up")], Usage(10, 0, 0), 0),
        ([("octets", "down"), ("octets", "up")], Usage(9, 19, 0), 50),
        ([("octets", "down")], Usage(0, 20, 0), 0),
        ([("octets", "down")], Usage(0, 19, 0), 50),
        ([("seconds", "total")], Usage(0, 0, 30), 0),
        ([("seconds", "total")], Usage(0, 0, 29), 33),
        ([("seconds", "total"), ("octets", "total")], Usage(0, 0, 30), 0),
        ([("seconds", "total"), ("octets", "total")], Usage(10, 20, 0), 0),
        ([("seconds", "total"), ("octets", "total")], Usage(10, 19, 15), 33),
        ([], Usage(0, 0, 0), 1000),
    ],
)
def test_the_part_of_a_slice_that_is_covered(
    lines: list[tuple[Unit, Direction]], uncovered: Usage, permille: int
) -> None:
    assert covered_permille(plan(*lines), WANT, uncovered) == permille


def test_of_a_million_octets_one_is_not_nothing() -> None:
    want = Usage(0, 1_000_000, 0)
    assert covered_permille(plan(("octets", "total")), want, Usage(0, 999_999, 0)) == 1


def test_the_profile_that_a_session_should_have() -> None:
    stage = stage_of(plan(("octets", "total")))
    session_id = live(stage)
    session = stage.books[1].sessions[session_id]
    assert profile_of(plan(), session).name == "line"
    session.wanted = "exhausted"
    assert profile_of(plan(), session).name == "slow"


def live(stage: Memory) -> int:
    admitted = let_in(stage, "d")
    assert admitted is not None
    stage.settle(report_of(admitted, "start", 0, 0, 0, 0), BEGIN)
    return admitted.session_id


@pytest.mark.parametrize(
    ("octets", "wanted", "limit"), [(1, "exhausted", None), (9_999, "exhausted", None), (10_000, "full", 10_000)]
)
def test_nobody_begins_with_a_limit_that_is_over_before_his_first_packets(
    octets: int, wanted: str, limit: int | None
) -> None:
    stage = stage_of(replace(plan(), allowances=(Allowance("data", "octets", "total", octets),)))
    login = Login(1, 1, "alice", 1, None, None, 1, "10.0.0.1", "d", "d", means="volume")
    admitted, _ = stage.settle(login, BEGIN)
    assert isinstance(admitted, Admitted)
    assert (admitted.wanted, admitted.limit_octets) == (wanted, limit)


def test_who_has_begun_goes_on_to_the_last_octet_of_his_limit() -> None:
    stage = stage_of(replace(plan(), allowances=(Allowance("data", "octets", "total", MB),)))
    login = Login(1, 1, "alice", 1, None, None, 1, "10.0.0.1", "d", "d", means="volume")
    admitted, _ = stage.settle(login, BEGIN)
    assert isinstance(admitted, Admitted)
    stage.settle(report_of(admitted, "start", 0, 0, 0, 0)._replace(means="volume"), BEGIN)
    stage.settle(report_of(admitted, "interim", 60, 0, MB - 1, 60)._replace(means="volume"), BEGIN + 60_000)
    session = stage.books[1].sessions[admitted.session_id]
    assert (session.wanted, session.limit_octets) == ("full", MB)


def test_an_answer_to_an_older_command_changes_nothing() -> None:
    stage = stage_of(plan(("octets", "total")))
    session_id = live(stage)
    stage.settle(Cut(1, None, session_id, "suspended"), BEGIN)
    session = stage.books[1].sessions[session_id]
    assert (session.wanted, session.wanted_version) == ("cut", 1)
    stage.settle(CommandFailed(1, session_id, 0, "refused"), BEGIN)
    assert (session.wanted_version, session.failed_commands) == (1, 0)
    stage.settle(CommandAcked(1, session_id, 0), BEGIN)
    assert session.acked_version == 0


def test_disconnects_are_repeated_ever_later_and_then_somebody_is_called() -> None:
    stage = stage_of(plan(("octets", "total")))
    session_id = live(stage)
    stage.settle(Cut(1, None, session_id, "suspended"), BEGIN)
    session = stage.books[1].sessions[session_id]
    waits, calls = [], []
    for _ in range(MOST_DISCONNECTS + 3):
        _, happened = stage.settle(CommandFailed(1, session_id, session.wanted_version, "refused"), BEGIN)
        waits += [command.not_before - BEGIN for command in happened.commands]
        calls += [notice.kind for notice in happened.notices]
    assert waits == [30_000, 60_000, 120_000]
    assert calls == ["enforcement-failed"]


def test_a_grace_is_over_at_the_first_report_after_it() -> None:
    grace = Exhausted("throttle", SLOW, 120)
    stage = stage_of(replace(plan(("octets", "total")), exhausted=grace))
    admitted = let_in(stage, "d")
    assert admitted is not None
    stage.settle(report_of(admitted, "start", 0, 0, 0, 0), BEGIN)
    session = stage.books[1].sessions[admitted.session_id]
    stage.settle(report_of(admitted, "interim", 60, 0, 100 * MB, 60), BEGIN + 60_000)
    assert (session.wanted, session.exhausted_at) == ("exhausted", BEGIN + 60_000)
    _, happened = stage.settle(report_of(admitted, "interim", 120, 0, 100 * MB, 120), BEGIN + 120_000)
    assert happened.commands == []
    _, happened = stage.settle(report_of(admitted, "interim", 180, 0, 100 * MB, 180), BEGIN + 180_000)
    assert [(command.action, command.reason) for command in happened.commands] == [("disconnect", "grace-over")]
