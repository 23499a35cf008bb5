"""What a login is given, and where, with what and when it is let in: as the NAS sees it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from aaa import reply_attributes
from aaa.dialects import change, dialect
from aaa.handlers import REJECT_DELAY_MS
from aaa.wire import Attribute, Code
from charging import pools, tables
from charging.addresses import Kind
from charging.conditions import Conditions, to_text
from charging.plan import Exhausted, Plan, Profile
from tests.aaa.conftest import DATA, HOME, NOON, PREPAID, SLOW, Floor, Sent

STATION = ("Calling-Station-Id", "02-00-5E-00-53-01")
OTHER_STATION = ("Calling-Station-Id", "02-00-5E-00-53-02")


def set_subscriber(floor: Floor, username: str = "alice", **columns: Any) -> None:
    with floor.engine.begin() as connection:
        chosen = update(tables.subscriber).where(tables.subscriber.c.username == username)
        connection.execute(chosen.values(columns))


def sold(floor: Floor, plan: Plan) -> None:
    floor.add_plan(plan)
    set_subscriber(floor, plan_name=plan.name)


def reason(floor: Floor, *more: Attribute) -> tuple[str, str]:
    """Why a login is refused: the log's reason and detail."""
    with capture_logs() as logs:
        sent = floor.login(more=more)
        floor.clock.advance(REJECT_DELAY_MS / 1000)
    assert sent.answer().code == Code.ACCESS_REJECT
    (line,) = [each for each in logs if each["event"] == "access-reject"]
    return line["reason"], line.get("detail", "")


def accepted(sent: Sent) -> dict[str, Any]:
    assert sent.answer().code == Code.ACCESS_ACCEPT
    return dict(sent.said())


# --- attributes ----------------------------------------------------------------------------------------------------


def test_the_subscribers_word_goes_before_the_plans_and_that_before_the_profiles(sqlite_floor: Floor) -> None:
    profile = replace(HOME, attributes=(("Filter-Id", "profile"), ("Reply-Message", "profile"), ("Port-Limit", "1")))
    sold(sqlite_floor, Plan("p", "EUR", "UTC", profile, attributes=(("Filter-Id", "plan"), ("Reply-Message", "plan"))))
    set_subscriber(sqlite_floor, reply_attributes=json.dumps([["Filter-Id", "alice"], ["Filter-Id", "again"]]))
    said = sqlite_floor.login().said()
    assert [value for name, value in said if name == "Filter-Id"] == ["alice", "again"]
    assert [value for name, value in said if name == "Reply-Message"] == ["plan"]
    assert ("Port-Limit", 1) in said


def test_an_attribute_stands_in_the_place_of_a_dialects_word(sqlite_floor: Floor) -> None:
    sqlite_floor.set_nas("bras-1", dialect="mikrotik", revised_at=NOON + 1)
    sqlite_floor.nases.refresh()
    set_subscriber(sqlite_floor, reply_attributes=json.dumps([["Mikrotik-Rate-Limit", "9M/9M"]]))
    said = sqlite_floor.login().said()
    assert [value for name, value in said if name == "Mikrotik-Rate-Limit"] == ["9M/9M"]


def test_who_is_slow_because_nothing_is_paid_does_not_become_fast_by_an_attribute(sqlite_floor: Floor) -> None:
    floor = sqlite_floor
    floor.set_nas("bras-1", dialect="mikrotik", revised_at=NOON + 1)
    floor.nases.refresh()
    own = json.dumps([["Mikrotik-Rate-Limit", "900M/900M"], ["Reply-Message", "hello"]])
    floor.add_subscriber("bob", granted=False, reply_attributes=own)
    said = floor.login("bob").said()
    assert [value for name, value in said if name == "Mikrotik-Rate-Limit"] == ["128k/256k"]
    assert ("Reply-Message", "hello") in said


def test_what_the_dictionaries_do_not_have_keeps_nobody_out(sqlite_floor: Floor) -> None:
    set_subscriber(sqlite_floor, reply_attributes=json.dumps([["No-Such-Thing", "1"]]))
    with capture_logs() as logs:
        assert sqlite_floor.login().answer().code == Code.ACCESS_ACCEPT
    assert "reply-attributes-unusable" in {each["event"] for each in logs}


def test_a_coa_repeats_what_stands_in_the_place_of_its_words_and_nothing_else() -> None:
    own: tuple[Attribute, ...] = (("Mikrotik-Rate-Limit", "9M/9M"), ("Tunnel-Private-Group-Id:1", "7"))
    said = change(dialect("mikrotik"), HOME, SLOW, redirect=False, own=own)
    assert said is not None
    assert [each for each in said[0] if each[0] in dict(own)] == [("Mikrotik-Rate-Limit", "9M/9M")]
    whole = change(dialect("chillispot"), HOME, SLOW, redirect=False, own=own)
    assert whole is not None
    assert ("Tunnel-Private-Group-Id:1", "7") in whole[0], "this one forgets what is not repeated"


def test_one_cisco_avpair_does_not_replace_all_others() -> None:
    before = (("Cisco-AVPair", "ip:a=1"), ("Cisco-AVPair", "ip:b=1"))
    assert reply_attributes.layered(before, (("Cisco-AVPair", "ip:b=2"),)) == (
        ("Cisco-AVPair", "ip:a=1"), ("Cisco-AVPair", "ip:b=2"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("Filter-ID", "x", "did you mean Filter-Id"),
        ("Port-Limit", "many", "takes a number"),
        ("Framed-IP-Address", "1.2.3", "Framed-IP-Address"),
        ("Class", "x", "it names the session"),
        ("Session-Timeout", "60", "session_timeout"),
        ("Filter-Id", "a\nb", "printable"),
        ("Filter-Id", "x" * 248, "1 to 247"),
    ],
)
def test_what_can_be_no_reply_attribute(name: str, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        reply_attributes.check(name, text)


# --- conditions ----------------------------------------------------------------------------------------------------


def test_a_plans_conditions_hold_for_its_subscribers(floor: Floor) -> None:
    sold(floor, replace(PREPAID, name="wifi", conditions=Conditions(port_types=("Wireless-802.11",))))
    assert reason(floor, ("NAS-Port-Type", "Ethernet"))[0] == "port-type-not-allowed"
    assert accepted(floor.login(more=[("NAS-Port-Type", "Wireless-802.11")]))


def test_a_nas_group_is_a_condition(sqlite_floor: Floor) -> None:
    set_subscriber(sqlite_floor, conditions=to_text(Conditions(nas_groups=("hotspots",))))
    assert reason(sqlite_floor) == ("nas-not-allowed", "NAS bras-1 of no group; allowed: group hotspots")
    sqlite_floor.set_nas("bras-1", nas_group="hotspots", revised_at=NOON + 1)
    sqlite_floor.nases.refresh()
    assert accepted(sqlite_floor.login())


def test_the_first_device_is_learned_and_no_other_gets_in(floor: Floor) -> None:
    set_subscriber(floor, conditions=to_text(Conditions(learn_stations=1)), max_sessions=2)
    assert accepted(floor.login(more=[STATION]))
    assert json.loads(floor.rows(tables.subscriber)[0].stations_learned) == ["02:00:5e:00:53:01"]
    assert reason(floor, OTHER_STATION)[0] == "station-not-allowed"
    assert accepted(floor.login(more=[("Calling-Station-Id", "0200.5e00.5301")])), "in another spelling"


def test_a_wrong_password_teaches_no_device(sqlite_floor: Floor) -> None:
    set_subscriber(sqlite_floor, conditions=to_text(Conditions(learn_stations=1)))
    sqlite_floor.login(password=b"wrong", more=[STATION])
    assert sqlite_floor.rows(tables.subscriber)[0].stations_learned is None


def test_two_devices_at_one_instant_are_not_both_the_first(floor: Floor) -> None:
    set_subscriber(floor, conditions=to_text(Conditions(learn_stations=1)), max_sessions=2)
    floor.chores.holding = True
    first, second = floor.login(more=[STATION]), floor.login(more=[OTHER_STATION])
    assert first.reply is None
    floor.chores.release()
    floor.clock.advance(REJECT_DELAY_MS / 1000)
    assert first.answer().code == Code.ACCESS_ACCEPT
    assert second.answer().code == Code.ACCESS_REJECT


def test_hours_refuse_and_end_a_session(sqlite_floor: Floor) -> None:
    set_subscriber(sqlite_floor, conditions=to_text(Conditions(hours=("18:00-20:00",))))
    assert reason(sqlite_floor) == ("outside-hours", "allowed: 18:00-20:00 (UTC)")
    set_subscriber(sqlite_floor, conditions=to_text(Conditions(hours=("11:00-12:30",))))
    assert accepted(sqlite_floor.login())["Session-Timeout"] == 1800 - REJECT_DELAY_MS // 1000


# --- addresses -----------------------------------------------------------------------------------------------------

POOLED = Plan(
    "pooled",
    "EUR",
    "UTC",
    replace(HOME, address_pool="home"),
    allowances=(DATA,),
    exhausted=Exhausted("throttle", SLOW),
)


def with_pool(floor: Floor, *networks: tuple[str, Kind, int]) -> None:
    with floor.engine.begin() as connection:
        for text, kind, length in networks:
            pools.add_range(connection, "home", pools.parse_network(text), kind, length, NOON)
    sold(floor, POOLED)


def test_a_session_gets_one_of_each_kind_that_its_pool_has(floor: Floor) -> None:
    with_pool(
        floor,
        ("100.64.0.0/29", "ipv4", 32),
        ("2001:db8:1::/60", "prefix", 64),
        ("2001:db8:100::/52", "delegated", 56),
    )
    said = accepted(floor.login(more=[STATION]))
    assert said["Framed-IP-Address"] == "100.64.0.1"
    assert said["Framed-IPv6-Prefix"] == "2001:db8:1::/64"
    assert said["Delegated-IPv6-Prefix"] == "2001:db8:100::/56"
    (session,) = floor.rows(tables.session)
    assert (session.leased, session.framed_address) == (3, "100.64.0.1")
    assert accepted(floor.login(more=[STATION]))["Framed-IP-Address"] == "100.64.0.1", "asked again"


def test_a_pool_that_is_empty_or_not_there_refuses_by_name(floor: Floor) -> None:
    sold(floor, POOLED)
    assert reason(floor)[0] == "address-pool-unknown"
    with_pool(floor, ("100.64.0.0/31", "ipv4", 32))
    for name in ("bob", "carol"):
        floor.add_subscriber(name, plan=POOLED)
        assert accepted(floor.login(name))
    assert reason(floor)[0] == "address-pool-exhausted"
    assert len([s for s in floor.rows(tables.session) if s.closed_at is None]) == 2
    assert not [c for c in floor.rows(tables.session_charge) if c.held and not c.live]


def test_a_subscribers_own_address_is_his_alone_and_leased_to_nobody(floor: Floor) -> None:
    with_pool(floor, ("100.64.0.0/30", "ipv4", 32))
    alice = floor.rows(tables.subscriber)[0]
    with floor.engine.begin() as connection:
        pools.make_own(connection, alice.subscriber_id, alice.account_id, "ipv4", "100.64.0.1", NOON)
    floor.add_subscriber("bob", plan=POOLED)
    assert accepted(floor.login("bob"))["Framed-IP-Address"] == "100.64.0.2"
    assert accepted(floor.login())["Framed-IP-Address"] == "100.64.0.1"
    set_subscriber(floor, max_sessions=5)
    assert reason(floor, OTHER_STATION)[0] == "address-in-use"


def test_a_garden_of_the_nass_own_gets_no_address_of_ours(sqlite_floor: Floor) -> None:
    garden = Profile("garden", pool="walled", redirect_url="https://pay.example.net/")
    plan = replace(POOLED, name="garden", exhausted=Exhausted("redirect", garden))
    sqlite_floor.add_subscriber("bob", plan=plan, granted=False)
    said = accepted(sqlite_floor.login("bob"))
    assert said["Framed-Pool"] == "walled"
    assert "Framed-IP-Address" not in said
