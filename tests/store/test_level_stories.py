"""The hour, the month and the day's cap on simulated NASes: the server's handlers, its runner and its jobs on one clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from aaa import dialects
from aaa.dialects import Dialect
from aaa.simulator import Service, behaviour_of
from charging import tables
from charging.jobs import Jobs
from charging.plan import Cap, Exhausted, FairUse, Plan, Profile, ProfileWindow, SpeedStep
from charging.window import Window
from tests.aaa.conftest import NOON
from tests.store.test_dialect_stories import FULL_BPS, HOME, SLOW, SLOW_BPS, Place, at_once

#: The stories begin at 12:00 UTC: there it is 23:00.
ZONE = "Pacific/Noumea"
UNTIL_MIDNIGHT = 3_600
FAST = Profile("fast", rate_down_bps=16_000_000, rate_up_bps=1_600_000, interim_interval_seconds=60)
FAST_BPS = (1_600_000, 16_000_000)
SERVICES = tuple(Service(each.name, each.rate_up_bps, each.rate_down_bps) for each in (HOME, SLOW, FAST))
EVENING = Window("evening", hours=((23 * 60 + 10, 23 * 60 + 20),))
MB = 10**6

HOSTAPD, ACCEL = dialects.dialect("hostapd"), dialects.dialect("accel-ppp")
BY_COA = [ACCEL, dialects.dialect("mikrotik"), dialects.dialect("juniper")]


def plan(**more: Any) -> Plan:
    return Plan("levels", "EUR", ZONE, HOME, max_sessions=4, **more)


NIGHTS = plan(profile_windows=(ProfileWindow("evening", FAST),), windows=(EVENING,))
FAIR = plan(fair_use=FairUse((SpeedStep(300 * MB, SLOW),), "day"))
CAPPED = plan(caps=(Cap("daily", "octets", 300 * MB, "day", reached=Exhausted("throttle", SLOW)),))
CUT = plan(caps=(Cap("daily", "octets", 300 * MB, "day"),))


@pytest.fixture
def place(engine: Engine) -> Iterator[Callable[[Dialect, Plan], Place]]:
    """Opens one, with the server's jobs at work."""
    running: list[Jobs] = []

    def open_(speaks: Dialect, sold: Plan) -> Place:
        here = Place(engine, speaks, sold, replace(behaviour_of(speaks.name), services=SERVICES, reconnect_ms=3_000))
        services = here.floor.services
        jobs = Jobs(
            engine,
            services.writer,
            at_once,
            here.floor.now,
            here.network,
            on_failure=lambda _name, error: failed(error),
        )
        jobs.start()
        running.append(jobs)
        return here

    yield open_
    for jobs in running:
        jobs.stop()


def failed(error: Exception) -> None:
    raise error


def sleep_until(here: Place, seconds: float) -> None:
    """To that many seconds after noon, with nobody moving anything."""
    until = NOON + round(seconds * 1000)
    while (left_ms := until - here.floor.now()) > 0:
        due = here.nas.due()
        step_ms = left_ms if due is None else min(left_ms, max(1, due - here.floor.now()))
        here.network.advance(step_ms / 1000)
        here.nas.tick(here.floor.now())
        here.settle_down()


def reasons(here: Place) -> list[tuple[str, str]]:
    rows = sorted(here.floor.rows(tables.command), key=lambda row: (row.created_at, row.version))
    return [(row.reason, row.state) for row in rows]


@pytest.mark.parametrize("speaks", BY_COA, ids=lambda d: d.name)
def test_the_hour_changes_the_speed_and_changes_it_back(place: Callable[..., Place], speaks: Dialect) -> None:
    here = place(speaks, NIGHTS)
    session = here.log_in(SLOW_BPS)
    here.run(60)
    assert here.rates() == FULL_BPS
    sleep_until(here, 602)
    assert here.rates() == FAST_BPS
    sleep_until(here, 1_202)
    assert here.rates() == FULL_BPS
    assert here.session() is session
    assert reasons(here) == [("window", "acked")] * 2


def test_a_nas_that_can_not_change_speed_cuts_nobody_for_the_hour(place: Callable[..., Place]) -> None:
    here = place(HOSTAPD, NIGHTS)
    session = here.log_in(SLOW_BPS)
    sleep_until(here, 720)
    assert here.session() is session
    assert here.received() == []
    assert reasons(here) == [("window", "acked")]


def test_slower_after_so_much_and_back_when_the_day_is_over(place: Callable[..., Place]) -> None:
    here = place(ACCEL, FAIR)
    session = here.log_in()
    here.run(480)  # at 1.1 MB/s
    assert here.session() is session
    assert here.rates() == SLOW_BPS
    sleep_until(here, UNTIL_MIDNIGHT + 2)
    assert here.rates() == FULL_BPS
    assert here.session() is session
    assert reasons(here) == [("fair-use", "acked")] * 2
    assert [row.kind for row in here.floor.rows(tables.notice)] == ["fair-use"]


def test_a_step_that_can_not_be_told_comes_with_the_next_login(place: Callable[..., Place]) -> None:
    here = place(HOSTAPD, FAIR)
    first = here.log_in()
    here.run(480)
    assert here.session() is not first
    assert set(here.received()) == {"DISCONNECT_REQUEST"}
    (row,) = [each for each in here.floor.rows(tables.session) if each.closed_at is None]
    assert (row.profile, row.acked_profile, row.wanted) == ("slow", "slow", "full")


def test_throttled_at_the_cap_and_back_at_midnight(place: Callable[..., Place]) -> None:
    here = place(ACCEL, CAPPED)
    session = here.log_in()
    here.run(480)
    assert here.rates() == SLOW_BPS
    sleep_until(here, UNTIL_MIDNIGHT + 2)
    assert here.session() is session
    assert here.rates() == FULL_BPS
    assert [reason for reason, _ in reasons(here)] == ["cap", "another time"]
    assert sorted(row.kind for row in here.floor.rows(tables.notice)) == ["capped", "restored"]


def test_cut_at_the_cap_kept_out_and_let_in_the_next_day(place: Callable[..., Place]) -> None:
    here = place(ACCEL, CUT)
    here.log_in()
    here.run(480)
    assert here.nas.online() == []
    assert here.nas.sessions[-1].state == "refused"
    moved = here.octets()
    assert 300 * MB <= moved <= 300 * MB + 70 * 1_100_000  # an interval, and the way of the Disconnect
    sleep_until(here, UNTIL_MIDNIGHT)
    assert here.log_in().online
