"""Where, with what and when a session may begin."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from charging.conditions import (
    NO_CONDITIONS,
    Conditions,
    Judgement,
    Place,
    from_text,
    hours,
    judge,
    open_now,
    to_text,
)

HERE = Place("bras-1", "hotspots", "Wireless-802.11", "02:00:5e:00:53:01")
ALICE, OTHER = "02:00:5e:00:53:01", "02:00:5e:00:53:02"

CASES: list[tuple[str, Conditions, tuple[str, ...], str | None]] = [
    ("nothing is said", NO_CONDITIONS, (), None),
    ("the NAS", Conditions(nas=("bras-1",)), (), None),
    ("another NAS", Conditions(nas=("bras-2",)), (), "nas-not-allowed"),
    ("its group", Conditions(nas_groups=("hotspots",)), (), None),
    ("another NAS, but its group", Conditions(nas=("bras-2",), nas_groups=("hotspots",)), (), None),
    ("another group", Conditions(nas_groups=("fibre",)), (), "nas-not-allowed"),
    ("the port type", Conditions(port_types=("Ethernet", "Wireless-802.11")), (), None),
    ("another port type", Conditions(port_types=("Ethernet",)), (), "port-type-not-allowed"),
    ("the device", Conditions(stations=(ALICE,)), (), None),
    ("another device", Conditions(stations=(OTHER,)), (), "station-not-allowed"),
    ("a device that was learned", Conditions(learn_stations=1), (ALICE,), None),
    ("another was learned", Conditions(learn_stations=1), (OTHER,), "station-not-allowed"),
    ("fixed, beside one learned", Conditions(stations=(ALICE,), learn_stations=1), (OTHER,), None),
]


@pytest.mark.parametrize(("conditions", "learned", "refusal"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_login_meets_its_conditions_or_is_told_which_not(
    conditions: Conditions, learned: tuple[str, ...], refusal: str | None
) -> None:
    judgement = judge(conditions, HERE, learned, "UTC", 0)
    assert judgement.refusal == refusal
    assert judgement.detail


def test_the_first_devices_are_learned() -> None:
    assert judge(Conditions(learn_stations=2), HERE, (OTHER,), "UTC", 0).learn == ALICE
    assert judge(Conditions(learn_stations=2), HERE, (OTHER, ALICE), "UTC", 0).learn is None


def test_what_the_nas_does_not_say_meets_no_condition() -> None:
    unsaid = Place("bras-1", None, None, None)
    assert judge(Conditions(learn_stations=1), unsaid, (), "UTC", 0).refusal == "station-not-allowed"
    assert judge(Conditions(port_types=("Ethernet",)), unsaid, (), "UTC", 0).refusal == "port-type-not-allowed"
    assert judge(Conditions(nas_groups=("fibre",)), unsaid, (), "UTC", 0).refusal == "nas-not-allowed"


HOURS = [
    ("Mon-Fri 18:00-24:00", "2026-03-02 17:59:59", None),  # a Monday
    ("Mon-Fri 18:00-24:00", "2026-03-02 18:00", "2026-03-03 00:00"),
    ("Mon-Fri 18:00-24:00", "2026-03-07 20:00", None),
    ("22:00-06:00", "2026-03-02 23:00", "2026-03-03 06:00"),
    ("22:00-06:00", "2026-03-03 05:59", "2026-03-03 06:00"),
    ("22:00-06:00", "2026-03-03 06:00", None),
    ("Sun 22:00-06:00", "2026-03-02 05:00", "2026-03-02 06:00"),
    ("Sat-Mon 00:00-24:00", "2026-03-01 12:00", "2026-03-03 00:00"),
]


@pytest.mark.parametrize(("allowed", "now", "until"), HOURS)
def test_hours(allowed: str, now: str, until: str | None, instant: Callable[[str], int]) -> None:
    is_open, ends = open_now((hours(allowed),), "UTC", instant(now))
    assert is_open == (until is not None)
    assert ends == (None if until is None else instant(until))


def test_hours_that_follow_each_other_are_one_span_and_those_without_end_have_none(
    instant: Callable[[str], int],
) -> None:
    now = instant("2026-03-02 13:00")
    assert open_now(("12:00-14:00", "14:00-16:00"), "UTC", now) == (True, instant("2026-03-02 16:00"))
    assert open_now(("00:00-24:00",), "UTC", now) == (True, None)
    assert open_now(("00:00-12:00", "12:00-24:00"), "UTC", now) == (True, None)


def test_hours_are_the_zones_also_when_its_clocks_change(instant: Callable[[str], int]) -> None:
    # Berlin goes to summer time on 29 March 2026 at 02:00: the evening is an hour earlier in UTC from then on.
    assert open_now(("18:00-20:00",), "Europe/Berlin", instant("2026-03-28 17:30"))[0]
    assert not open_now(("18:00-20:00",), "Europe/Berlin", instant("2026-03-29 18:30"))[0]
    assert open_now(("18:00-20:00",), "Europe/Berlin", instant("2026-03-29 16:30"))[0]
    # 02:30 is not there that night; it is an hour later.
    is_open, until = open_now(("00:00-02:30",), "Europe/Berlin", instant("2026-03-28 23:30"))
    assert is_open
    assert until == instant("2026-03-29 01:30")


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("mon-fri 8:00-17:30", "Mon-Fri 08:00-17:30"),
        ("Sat,Sun 00:00-24:00", "Sat,Sun 00:00-24:00"),
        ("Sun,Mon,Tue 00:00-24:00", "Mon,Tue,Sun 00:00-24:00"),
        ("Fri-Mon 00:00-24:00", "Mon,Fri-Sun 00:00-24:00"),
        ("Mon-Sun 22:00-6:00", "22:00-06:00"),
    ],
)
def test_hours_have_one_spelling(text: str, spelling: str) -> None:
    assert hours(text) == spelling
    assert hours(spelling) == spelling


@pytest.mark.parametrize("text", ["", "18:00", "Mon", "Mo-Fr 18:00-20:00", "18:00-25:00", "18:60-20:00", "8:00-8:00"])
def test_what_are_no_hours_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|the days are"):
        hours(text)


def test_a_subscribers_own_conditions_stand_in_the_place_of_the_plans() -> None:
    plan = Conditions(nas=("bras-1",), port_types=("Ethernet",), learn_stations=1, hours=("18:00-24:00",))
    own = Conditions(nas_groups=("fibre",), stations=(ALICE,))
    assert own.over(plan) == Conditions((), ("fibre",), ("Ethernet",), (ALICE,), None, ("18:00-24:00",))
    assert NO_CONDITIONS.over(plan) == plan


def test_the_kept_text_is_read_back() -> None:
    said = Conditions(nas=("a",), stations=(ALICE,), learn_stations=2, hours=("Mon 08:00-09:00",))
    assert from_text(to_text(said)) == said
    assert to_text(NO_CONDITIONS) is None
    assert from_text(None) == NO_CONDITIONS
    with pytest.raises(ValueError, match="can read"):
        from_text('{"moon": ["full"]}')


def test_no_condition_is_no_refusal() -> None:
    assert judge(NO_CONDITIONS, HERE, (), "UTC", 0) == Judgement(None, "no conditions")
