"""What simulated NASes of each dialect put up with in a CoA or Disconnect, and what they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aaa.dialects import SHIPPED, Identity, accept, change, identify
from aaa.simulator import BEHAVIOURS, COA_PORT, Behaviour, Service, SimulatedNas, SimulatedSession, behaviour_of
from aaa.simulator.behaviour import MANNERS
from aaa.wire import Attribute, Code, request
from charging.plan import Profile
from tests.standin import DYNAUTH, SECRET, SERVER, Bench, StandIn

FULL = Profile("full", rate_up_bps=5_000_000, rate_down_bps=20_000_000)
SLOW = Profile("slow", rate_up_bps=128_000, rate_down_bps=256_000)
SERVICES = (Service("full", 5_000_000, 20_000_000), Service("slow", 128_000, 256_000))
TAKES_ORDERS = [name for name, each in SHIPPED.items() if each.capability != "reauthenticate"]
Answer = tuple[Code, object] | None
ACK, SILENCE = (Code.DISCONNECT_ACK, None), None


def bench(name: str, behaviour: Behaviour | None = None) -> Bench:
    told: list[Attribute] = [("Class", b"token"), ("Acct-Interim-Interval", 60), *accept(SHIPPED[name], FULL)]
    behaviour = replace(behaviour or behaviour_of(name), services=SERVICES)
    nas = SimulatedNas("edge-1", "198.51.100.7", SECRET, name, (SERVER,), behaviour=behaviour, seed=1)
    return Bench(nas, StandIn(told))


def online(at: Bench, username: str = "alice") -> SimulatedSession:
    session = at.nas.log_in(username, "correct horse", at.now)
    at.settle()
    assert session.online
    return session


def who(name: str, session: SimulatedSession) -> list[Attribute]:
    """As the server names it in that dialect."""
    identity = Identity(
        session.username, session.acct_session_id.encode(), session.framed_address, session.calling_station, None
    )
    return list(identify(SHIPPED[name].identification, identity))


def when(name: str, at: Bench) -> list[Attribute]:
    return [("Event-Timestamp", at.now // 1000)] if SHIPPED[name].event_timestamp else []


def test_every_dialect_has_its_manners_and_its_behaviour() -> None:
    assert set(MANNERS) == set(BEHAVIOURS) == set(SHIPPED)


@pytest.mark.parametrize("name", TAKES_ORDERS)
def test_the_servers_own_words_are_taken(name: str) -> None:
    at = bench(name)
    session = online(at)
    said = change(SHIPPED[name], SLOW, FULL, redirect=False)
    for each in said or ():
        assert at.order(Code.COA_REQUEST, [*who(name, session), *each, *when(name, at)]) == (Code.COA_ACK, None)
        assert session.told.up_bps in (None, 128_000)
    if said is not None:
        assert (session.told.up_bps, session.told.down_bps) == (128_000, 256_000)
    assert at.order(Code.DISCONNECT_REQUEST, [*who(name, session), *when(name, at)]) == ACK
    assert not session.online


# dialect, what is said beside the session's name, the answer to a Disconnect
BESIDE: list[tuple[str, list[Attribute], Answer]] = [
    ("hostapd", [], ACK),
    ("hostapd", [("Framed-IP-Address", "100.64.0.1")], (Code.DISCONNECT_NAK, 401)),
    ("hostapd", [("NAS-Port", 1)], (Code.DISCONNECT_NAK, 401)),
    ("hostapd", [("Class", b"x")], (Code.DISCONNECT_NAK, 401)),
    ("hostapd", [("Proxy-State", b"x")], (Code.DISCONNECT_NAK, 401)),
    ("hostapd", [("Event-Timestamp", 1)], SILENCE),
    ("strongswan", [("Acct-Session-Id", "another's")], ACK),
    ("huawei", [("User-Name", "alice")], (Code.DISCONNECT_NAK, 401)),
    ("nokia", [("Framed-IP-Address", "100.64.9.9")], (Code.DISCONNECT_NAK, 503)),
    ("aruba", [("Event-Timestamp", 1)], SILENCE),
    ("aruba", [], SILENCE),  # without any
    ("cambium", [], ACK),
]


@pytest.mark.parametrize(("name", "beside", "answer"), BESIDE)
def test_what_else_a_request_may_say(name: str, beside: list[Attribute], answer: Answer) -> None:
    at = bench(name)
    session = online(at)
    assert at.order(Code.DISCONNECT_REQUEST, [*who(name, session), *beside]) == answer
    assert session.online is (answer != ACK)


def test_an_event_timestamp_within_the_window_is_taken() -> None:
    at = bench("hostapd")
    session = online(at)
    late: list[Attribute] = [("Event-Timestamp", at.now // 1000 - 300)]
    assert at.order(Code.DISCONNECT_REQUEST, [*who("hostapd", session), *late]) == ACK


def test_strongswan_ends_all_sessions_of_the_user() -> None:
    at = bench("strongswan")
    one, other, bert = online(at), online(at), online(at, "bert")
    assert at.order(Code.DISCONNECT_REQUEST, who("strongswan", one)) == ACK
    assert (one.online, other.online, bert.online) == (False, False, True)


def test_strongswan_gives_no_cause() -> None:
    at = bench("strongswan")
    assert at.order(Code.DISCONNECT_REQUEST, [("User-Name", "nobody")]) == (Code.DISCONNECT_NAK, None)


@pytest.mark.parametrize(("name", "replayed"), [("strongswan", True), ("hostapd", False)])
def test_strongswan_repeats_its_answer_for_the_same_port_and_identifier(name: str, replayed: bool) -> None:
    at = bench(name)
    alice, bert = online(at), online(at, "bert")
    for session in (alice, bert):
        datagram = request(Code.DISCONNECT_REQUEST, 7, who(name, session), SECRET, message_authenticator=True)
        at.nas.receive(datagram, DYNAUTH, at.now, COA_PORT)
    assert (alice.online, bert.online) == (False, replayed)


@pytest.mark.parametrize("name", [each.name for each in SHIPPED.values() if each.capability == "disconnect"])
def test_a_coa_changes_no_speed_where_only_a_login_does(name: str) -> None:
    at = bench(name)
    session = online(at)
    told = session.told
    said: list[Attribute] = [("WISPr-Bandwidth-Max-Up", 1), ("WISPr-Bandwidth-Max-Down", 1)]
    answer = at.order(Code.COA_REQUEST, [*who(name, session), *said])
    assert answer == (Code.COA_NAK, 401 if MANNERS[name].error_causes else None)
    assert session.told == told


ISG_ON: list[Attribute] = [
    ("Cisco-AVPair", "subscriber:command=activate-service"),
    ("Cisco-AVPair", "subscriber:service-name=slow"),
]
ISG_OFF: list[Attribute] = [
    ("Cisco-AVPair", "subscriber:command=deactivate-service"),
    ("Cisco-AVPair", "subscriber:service-name=full"),
]
SWITCHES: list[tuple[str, list[Attribute], Code, tuple[str, ...]]] = [
    ("cisco-isg", ISG_OFF, Code.COA_ACK, ()),
    ("cisco-isg", ISG_ON, Code.COA_ACK, ("full", "slow")),
    ("cisco-isg", [*ISG_OFF, *ISG_ON], Code.COA_NAK, ("full",)),
    ("cisco-isg", [ISG_OFF[0], ISG_ON[1]], Code.COA_NAK, ("full",)),
    ("cisco-isg", [ISG_ON[0], ("Cisco-AVPair", "subscriber:service-name=unknown")], Code.COA_NAK, ("full",)),
    ("juniper", [("ERX-Service-Deactivate", "aaa-rate(1,1)")], Code.COA_NAK, ("aaa-rate(5000000,20000000)",)),
    ("juniper", [("ERX-Service-Activate:1", "unknown")], Code.COA_NAK, ("aaa-rate(5000000,20000000)",)),
    ("aruba", [("Aruba-User-Role", "unknown")], Code.COA_NAK, ("full",)),
    ("aruba", [("Aruba-User-Role", "slow")], Code.COA_ACK, ("slow",)),
]


@pytest.mark.parametrize(("name", "said", "code", "services"), SWITCHES)
def test_services_are_switched_by_name_one_per_coa(
    name: str, said: list[Attribute], code: Code, services: tuple[str, ...]
) -> None:
    at = bench(name)
    session = online(at)
    answer = at.order(Code.COA_REQUEST, [*who(name, session), *said, *when(name, at)])
    assert answer is not None
    assert answer[0] == code
    assert session.told.services == services


def test_a_re_authentication_brings_the_new_profile_or_the_end() -> None:
    at = bench("pfsense")
    session = online(at)
    at.run(59)
    at.server.accept = [("Class", b"token"), *accept(SHIPPED["pfsense"], SLOW)]
    assert session.told.up_bps == 5_000_000
    at.run(3)
    assert session.told.up_bps == 128_000
    at.server.reject = True
    at.run(60)
    assert (session.online, session.terminate_cause) == (False, "User-Error")
    assert len(at.server.reports(1)) == len(at.server.reports(2)) == 1


def test_a_re_authentication_without_an_answer_changes_nothing() -> None:
    at = bench("pfsense")
    session = online(at)
    at.reachable = False
    at.run(200)
    assert session.online
