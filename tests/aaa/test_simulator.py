"""The simulated NAS keeps its word: what it moves, what it says, and what it does when told."""

from dataclasses import replace
from hashlib import md5

import pytest

from aaa.dialects import Identity, change, identify
from aaa.dialects import dialect as named
from aaa.simulator import Behaviour, Event, Figures, SimulatedNas, SimulatedSession, behaviour_of
from aaa.wire import Attribute, Code, decode, decode_password, message_authenticator, parse
from charging.plan import Profile
from tests.standin import REQUESTS, SECOND_SERVER, SECRET, SERVER, Bench, StandIn, Value, values

DEMAND = (10_000_000, 50_000_000)
PASSWORD = "correct horse"
CLASS = b"\x01token"


def bench(
    dialect: str = "generic",
    behaviour: Behaviour | None = None,
    accept: list[Attribute] | None = None,
    *,
    seed: int = 1,
    servers: int = 1,
) -> Bench:
    nas = SimulatedNas(
        "edge-1",
        "198.51.100.7",
        SECRET,
        dialect,
        (SERVER, SECOND_SERVER)[:servers],
        behaviour=behaviour,
        seed=seed,
    )
    told: list[Attribute] = [("Class", CLASS), ("Acct-Interim-Interval", 60)]
    return Bench(nas, StandIn(told if accept is None else [*told, *accept]))


def online(at: Bench, username: str = "alice") -> SimulatedSession:
    session = at.nas.log_in(username, PASSWORD, at.now, demand_bps=DEMAND)
    at.settle()
    assert session.online
    return session


def identification(session: SimulatedSession) -> list[Attribute]:
    return [
        ("User-Name", session.username),
        ("Framed-IP-Address", session.framed_address),
        ("Acct-Session-Id", session.acct_session_id),
    ]


# asking


def test_a_login_is_signed_and_hides_the_password() -> None:
    at = bench()
    at.nas.log_in("alice", PASSWORD, at.now)
    packet = parse(at.nas.outbox[0].datagram, REQUESTS)
    assert message_authenticator(packet, SECRET) is True
    assert decode_password(packet, SECRET) == PASSWORD.encode()
    asked = values(decode(packet))
    assert asked["NAS-IP-Address"] == "198.51.100.7"
    assert asked["NAS-Identifier"] == "edge-1"


def test_a_chap_login_proves_the_password() -> None:
    at = bench()
    at.nas.log_in("alice", PASSWORD, at.now, method="chap")
    packet = parse(at.nas.outbox[0].datagram, REQUESTS)
    chap = packet.first(3)
    assert chap is not None
    assert chap[1:] == md5(chap[:1] + PASSWORD.encode() + packet.authenticator, usedforsecurity=False).digest()


def test_a_refused_login_is_no_session() -> None:
    at = bench()
    at.server.reject = True
    session = at.nas.log_in("alice", PASSWORD, at.now)
    at.run(600)
    assert (session.state, session.reply_message) == ("refused", "no")
    assert len(at.server.asked) == 1


def test_a_forged_accept_lets_nobody_in() -> None:
    at = bench()
    session = at.nas.log_in("alice", PASSWORD, at.now)
    answer = bytearray(at.server.answer(at.nas.outbox[0].datagram))
    answer[-1] ^= 1
    at.nas.receive(bytes(answer), SERVER.auth, at.now, 0)
    at.nas.receive(at.server.answer(at.nas.outbox[0].datagram), ("203.0.113.9", 1812), at.now, 0)
    assert session.state == "asking"
    assert [event.kind for event in at.nas.log] == ["access-sent", "unverified", "unverified"]


def test_more_requests_than_identifiers_use_another_port() -> None:
    at = bench()
    for number in range(600):
        at.nas.log_in(f"user{number}", PASSWORD, at.now)
    places = {(outgoing.port, outgoing.datagram[1]) for outgoing in at.nas.outbox}
    assert len(places) == 600
    assert {port for port, _ in places} == {0, 1, 2}
    at.settle()
    assert len(at.nas.online()) == 600
    assert at.nas.unanswered == 0


def test_an_identifier_is_not_taken_while_its_request_waits() -> None:
    at = bench()
    waiting = at.nas.log_in("first", PASSWORD, at.now)
    (request,), at.nas.outbox = at.nas.outbox, []
    for number in range(300):
        online(at, f"user{number}")
    at.nas.receive(at.server.answer(request.datagram), SERVER.auth, at.now, request.port)
    assert waiting.online


# reporting


def test_start_interims_and_stop_carry_the_class_and_the_octets() -> None:
    at = bench()
    session = online(at)
    at.run(150)
    at.nas.log_out(session, at.now)
    at.settle()
    (start,), interims, (stop,) = at.server.reports(1), at.server.reports(3), at.server.reports(2)
    assert [interim["Acct-Session-Time"] for interim in interims] == [60, 120]
    assert [interim["Acct-Input-Octets"] for interim in interims] == [75_000_000, 150_000_000]
    assert [interim["Acct-Output-Octets"] for interim in interims] == [375_000_000, 750_000_000]
    assert stop["Acct-Session-Time"] == 150
    assert (stop["Acct-Input-Octets"], stop["Acct-Output-Octets"]) == (187_500_000, 937_500_000)
    assert stop["Acct-Terminate-Cause"] == 1
    assert {one["Class"] for one in (start, *interims, stop)} == {CLASS}
    assert session.acked == session.sent == Figures(187_500_000, 937_500_000, 150)
    assert session.stop_acked


@pytest.mark.parametrize(
    ("behaviour", "asked", "expected"),
    [
        (Behaviour(), 300, [300, 600]),
        (Behaviour(interim_seconds=250), 300, [250, 500]),
        (Behaviour(least_interim_seconds=400), 300, [400]),
        (Behaviour(unasked_interim_seconds=300), None, [300, 600]),
        (Behaviour(), None, []),
    ],
)
def test_it_reports_at_its_interval(behaviour: Behaviour, asked: int | None, expected: list[int]) -> None:
    at = bench(behaviour=behaviour)
    at.server.accept = [] if asked is None else [("Acct-Interim-Interval", asked)]
    online(at)
    at.run(700)
    assert [interim["Acct-Session-Time"] for interim in at.server.reports(3)] == expected


def test_session_timeout_ends_the_session() -> None:
    at = bench(accept=[("Session-Timeout", 90)])
    session = online(at)
    at.run(200)
    (stop,) = at.server.reports(2)
    assert (stop["Acct-Session-Time"], stop["Acct-Terminate-Cause"]) == (90, 5)
    assert session.octets_up == 112_500_000


def test_gigawords_carry_what_32_bits_can_not() -> None:
    at = bench()
    online(at)
    at.run(720)  # 4.5 GB down
    last = at.server.reports(3)[-1]
    assert last["Acct-Output-Octets"] == 4_500_000_000 - 2**32
    assert last["Acct-Output-Gigawords"] == 1
    assert last["Acct-Input-Gigawords"] == 0


def test_without_gigawords_the_counters_wrap() -> None:
    at = bench(behaviour=Behaviour(gigawords=False))
    session = online(at)
    at.run(720)
    last = at.server.reports(3)[-1]
    assert last["Acct-Output-Octets"] == 4_500_000_000 - 2**32
    assert "Acct-Output-Gigawords" not in last
    assert session.sent.octets_down == 4_500_000_000
    said = [event.fields for event in at.nas.log if event.kind == "accounting-sent"][-1]
    assert (said["octets_down"], said["output_octets"]) == (4_500_000_000, 4_500_000_000 - 2**32)


def test_reversed_counters() -> None:
    at = bench("chillispot")
    online(at)
    at.run(60)
    (interim,) = at.server.reports(3)
    assert (interim["Acct-Input-Octets"], interim["Acct-Output-Octets"]) == (375_000_000, 75_000_000)


def test_counters_begin_anew_but_not_the_time() -> None:
    at = bench(behaviour=Behaviour(counters_reset_after_seconds=90))
    session = online(at)
    at.run(120)
    first, second = at.server.reports(3)
    assert first["Acct-Input-Octets"] == 75_000_000
    assert (second["Acct-Input-Octets"], second["Acct-Session-Time"]) == (37_500_000, 120)
    assert session.sent.octets_up == 150_000_000


@pytest.mark.parametrize("counters", ["none", "not-in-stop"])
def test_missing_counters_are_left_out_not_zero(counters: str) -> None:
    behaviour = Behaviour(counters="none") if counters == "none" else Behaviour(counters="not-in-stop")
    at = bench(behaviour=behaviour)
    session = online(at)
    at.run(60)
    at.nas.log_out(session, at.now)
    at.settle()
    (interim,), (stop,) = at.server.reports(3), at.server.reports(2)
    assert ("Acct-Input-Octets" in interim) == (counters == "not-in-stop")
    assert "Acct-Input-Octets" not in stop
    assert session.acked.octets_up == (0 if counters == "none" else 75_000_000)


def test_session_ids_of_three_kinds() -> None:
    literal = bench(behaviour=Behaviour(session_ids="literal"))
    assert {online(literal, name).acct_session_id for name in ("alice", "bob")} == {"%08lX%04hX%02hX"}
    reused = bench(behaviour=Behaviour(session_ids="reused"))
    before = online(reused).acct_session_id
    reused.nas.reboot(reused.now, orderly=False)
    assert online(reused).acct_session_id == before
    unique = bench()
    assert online(unique).acct_session_id != online(unique).acct_session_id


def test_a_crash_forgets_the_sessions_and_an_orderly_boot_reports_them() -> None:
    crashed = bench()
    online(crashed)
    crashed.nas.reboot(crashed.now, orderly=False)
    crashed.run(600)
    assert (len(crashed.server.reports(7)), len(crashed.server.reports(2)), len(crashed.server.reports(3))) == (1, 0, 0)
    orderly = bench()
    online(orderly)
    orderly.nas.reboot(orderly.now, orderly=True)
    orderly.run(600)
    assert [len(orderly.server.reports(status)) for status in (2, 8, 7, 3)] == [1, 1, 1, 0]
    silent = bench(behaviour=Behaviour(accounting_on=False))
    silent.nas.reboot(silent.now, orderly=False)
    silent.run(1)
    assert silent.server.asked == []


def test_what_it_need_not_say_it_can_leave_out() -> None:
    at = bench(behaviour=Behaviour(event_timestamp=False, class_echoed=False))
    online(at)
    (start,) = at.server.reports(1)
    assert not {"Event-Timestamp", "Class"} & start.keys()


def test_a_new_interval_begins_when_it_is_told() -> None:
    at = bench()
    session = online(at)
    at.run(30)
    at.order(Code.COA_REQUEST, [*identification(session), ("Acct-Interim-Interval", 120)])
    at.run(300)
    assert [interim["Acct-Session-Time"] for interim in at.server.reports(3)] == [150, 270]


# retransmission


def transmissions(at: Bench) -> list[tuple[int, str, bytes]]:
    """Seconds since the first, destination, datagram."""
    first = at.sent[0][0]
    return [((when - first) // 1000, out.destination[0], out.datagram) for when, out in at.sent]


def test_a_login_goes_to_each_server_in_turn_with_the_same_bytes() -> None:
    at = bench(servers=2)
    at.reachable = False
    session = at.nas.log_in("alice", PASSWORD, at.now)
    at.run(60)
    sent = transmissions(at)
    assert [(when, where) for when, where, _ in sent] == [
        (0, "192.0.2.1"),
        (3, "192.0.2.1"),
        (6, "192.0.2.1"),
        (9, "192.0.2.2"),
        (12, "192.0.2.2"),
        (15, "192.0.2.2"),
    ]
    assert len({datagram for _, _, datagram in sent}) == 1
    assert session.state == "unanswered"


@pytest.mark.parametrize("manner", ["same-bytes", "new-identifier", "fresh-counters"])
def test_accounting_is_retransmitted_in_three_ways(manner: str) -> None:
    behaviour = replace(Behaviour(), retransmission=manner)  # type: ignore[arg-type]
    at = bench(behaviour=behaviour)
    online(at)
    at.run(59)
    at.reachable = False
    at.sent.clear()
    at.run(5)
    packets = [parse(out.datagram, REQUESTS) for _, out in at.sent]
    first, second = (values(decode(packet)) for packet in packets)
    assert (packets[0].raw == packets[1].raw) == (manner == "same-bytes")
    assert (packets[0].identifier == packets[1].identifier) == (manner == "same-bytes")
    assert (first["Acct-Delay-Time"], second["Acct-Delay-Time"]) == (0, 0 if manner == "same-bytes" else 3)
    assert first["Event-Timestamp"] == second["Event-Timestamp"]
    assert (first["Acct-Input-Octets"] == second["Acct-Input-Octets"]) == (manner != "fresh-counters")
    at.reachable = True
    at.run(5)
    assert at.nas.unanswered == 0


def test_an_answer_that_comes_twice_counts_once() -> None:
    at = bench()
    session = at.nas.log_in("alice", PASSWORD, at.now)
    answer = at.server.answer(at.nas.outbox[0].datagram)
    at.nas.outbox.clear()
    at.nas.receive(answer, SERVER.auth, at.now, 0)
    at.nas.receive(answer, SERVER.auth, at.now, 0)
    at.settle()
    assert session.online
    assert len(at.server.reports(1)) == 1


def test_unanswered_reports_are_sent_but_not_acknowledged_and_may_end_the_session() -> None:
    patient, strict = bench(), bench("accel-ppp")
    for at in (patient, strict):
        session = online(at)
        at.reachable = False
        at.run(75)
        assert session.acked == Figures(0, 0, 0)
        assert session.sent.octets_up >= 75_000_000
        assert session.online == (at is patient)


def test_answers_in_the_wrong_order_take_nothing_back() -> None:
    at = bench()
    session = online(at)
    at.reachable = False
    at.run(59)
    at.sent.clear()
    for _ in range(2):
        at.run(1)
        at.nas.report(session, at.now)
    at.settle()
    for _, out in reversed(at.sent):
        at.nas.receive(at.server.answer(out.datagram), SERVER.acct, at.now, out.port)
    assert session.acked == session.sent == Figures(76_250_000, 381_250_000, 61)


# orders


RATE: dict[str, list[Attribute]] = {
    "generic": [("WISPr-Bandwidth-Max-Up", 128_000), ("WISPr-Bandwidth-Max-Down", 256_000)],
    "mikrotik": [("Mikrotik-Rate-Limit", "128k/256k")],
    "accel-ppp": [("Filter-Id", "256/128")],
    "chillispot": [("WISPr-Bandwidth-Max-Up", 128_000), ("WISPr-Bandwidth-Max-Down", 256_000)],
}


@pytest.mark.parametrize("dialect", RATE)
def test_a_new_rate_holds_from_the_moment_it_is_told(dialect: str) -> None:
    at = bench(dialect, replace(behaviour_of(dialect), interim_seconds=60))
    session = online(at)
    at.run(30)
    assert at.order(Code.COA_REQUEST, [*identification(session), *RATE[dialect]]) == (Code.COA_ACK, None)
    at.run(30)
    assert (session.octets_up, session.octets_down) == (37_500_000 + 480_000, 187_500_000 + 960_000)


@pytest.mark.parametrize("dialect", RATE)
def test_the_rate_of_the_accept_holds_from_the_start(dialect: str) -> None:
    at = bench(dialect, accept=RATE[dialect])
    session = online(at)
    at.run(60)
    assert (session.octets_up, session.octets_down) == (960_000, 1_920_000)


@pytest.mark.parametrize("dialect", RATE)
@pytest.mark.parametrize(
    ("up_bps", "down_bps"), [(128_000, 256_000), (5_000_000, 20_000_000), (None, 1_500_000), (None, None)]
)
def test_it_understands_what_the_server_says_in_its_dialect(
    dialect: str, up_bps: int | None, down_bps: int | None
) -> None:
    told = change(
        named(dialect), Profile("any", rate_up_bps=up_bps, rate_down_bps=down_bps), previous=None, redirect=False
    )
    assert told is not None
    at = bench(dialect, accept=RATE[dialect])
    session = online(at)
    identity = Identity(
        session.username, session.acct_session_id.encode(), session.framed_address, session.calling_station, None
    )
    wanted = identify(named(dialect).identification, identity)
    assert at.order(Code.COA_REQUEST, [*wanted, *told[0]]) == (Code.COA_ACK, None)
    assert (session.told.up_bps, session.told.down_bps) == (up_bps, down_bps)


def test_octets_do_not_depend_on_how_often_one_looks() -> None:
    often, seldom = bench(accept=RATE["generic"]), bench(accept=RATE["generic"])
    one, other = online(often), online(seldom)
    for _ in range(997):
        often.now += 7
        one.move(often.now)
    seldom.now += 997 * 7
    other.move(seldom.now)
    assert (one.octets_up, one.octets_down) == (other.octets_up, other.octets_down)
    assert one.octets_up == 128_000 * 997 * 7 // 8000


def test_a_disconnect_ends_the_session_with_a_stop() -> None:
    at = bench()
    session = online(at)
    at.run(10)
    assert at.order(Code.DISCONNECT_REQUEST, identification(session)) == (Code.DISCONNECT_ACK, None)
    (stop,) = at.server.reports(2)
    assert (stop["Acct-Session-Time"], stop["Acct-Terminate-Cause"]) == (10, 6)
    assert at.order(Code.DISCONNECT_REQUEST, identification(session)) == (Code.DISCONNECT_NAK, 503)
    at.run(600)
    assert session.figures(at.now) == session.acked == Figures(12_500_000, 62_500_000, 10)


def without(attributes: list[Attribute], name: str) -> list[Attribute]:
    return [attribute for attribute in attributes if attribute[0] != name]


@pytest.mark.parametrize(
    ("dialect", "missing", "expected"),
    [
        ("generic", "User-Name", (Code.COA_ACK, None)),
        ("generic", "Acct-Session-Id", (Code.COA_NAK, 402)),
        ("mikrotik", "User-Name", (Code.COA_NAK, 402)),
        ("mikrotik", "Framed-IP-Address", (Code.COA_NAK, 402)),
        ("mikrotik", "Acct-Session-Id", (Code.COA_NAK, 402)),
        ("accel-ppp", "User-Name", (Code.COA_ACK, None)),
        ("accel-ppp", "Acct-Session-Id", (Code.COA_ACK, None)),
        ("chillispot", "User-Name", None),
        ("chillispot", "Acct-Session-Id", (Code.COA_ACK, None)),
    ],
)
def test_each_dialect_wants_its_identification(
    dialect: str, missing: str, expected: tuple[Code, Value | None] | None
) -> None:
    at = bench(dialect)
    session = online(at)
    assert at.order(Code.COA_REQUEST, [*without(identification(session), missing), *RATE[dialect]]) == expected


def test_identification_is_compared_exactly() -> None:
    at = bench()
    session = online(at)
    wrong: list[Attribute] = [("Acct-Session-Id", session.acct_session_id), ("User-Name", "Alice")]
    assert at.order(Code.COA_REQUEST, [*wrong, *RATE["generic"]]) == (Code.COA_NAK, 503)
    elsewhere: list[Attribute] = [*identification(session), ("NAS-Identifier", "edge-2")]
    assert at.order(Code.COA_REQUEST, [*elsewhere, *RATE["generic"]]) == (Code.COA_NAK, 403)


@pytest.mark.parametrize(("dialect", "acknowledged"), [("accel-ppp", True), ("mikrotik", False), ("generic", False)])
def test_nonsense_changes_nothing_but_accel_ppp_acknowledges_it(dialect: str, acknowledged: bool) -> None:
    at = bench(dialect)
    session = online(at)
    told = session.told
    answer = at.order(Code.COA_REQUEST, [*identification(session), ("Filter-Id", "no such thing")])
    assert answer == ((Code.COA_ACK, None) if acknowledged else (Code.COA_NAK, 401))
    assert session.told == told


def test_chillispot_forgets_what_a_coa_does_not_repeat() -> None:
    profile: list[Attribute] = [*RATE["chillispot"], ("Session-Timeout", 3600)]
    forgetful, keeping = bench("chillispot", accept=profile), bench("generic", accept=profile)
    for at in (forgetful, keeping):
        session = online(at)
        at.order(Code.COA_REQUEST, [*identification(session), ("WISPr-Bandwidth-Max-Up", 64_000)])
        assert session.told.up_bps == 64_000
        assert session.told.down_bps == (256_000 if at is keeping else None)
        assert session.told.session_timeout_seconds == (3600 if at is keeping else None)


def test_accel_ppp_takes_gigabits_for_ten_and_keeps_its_session_timeout() -> None:
    at = bench("accel-ppp", accept=[("Session-Timeout", 600)])
    session = online(at)
    at.order(Code.COA_REQUEST, [*identification(session), ("Filter-Id", "1G/1G"), ("Session-Timeout", 6000)])
    assert session.told.down_bps == 10_000_000_000
    assert session.told.session_timeout_seconds == 600


def test_a_session_timeout_can_be_extended_elsewhere() -> None:
    at = bench(accept=[("Session-Timeout", 90)])
    session = online(at)
    at.order(Code.COA_REQUEST, [*identification(session), ("Session-Timeout", 180)])
    at.run(120)
    assert session.online
    at.run(61)
    assert session.terminate_cause == "Session-Timeout"


def test_accel_ppp_drops_a_second_order_while_one_is_in_flight() -> None:
    at = bench("accel-ppp", Behaviour(answer_delay_ms=500))
    session = online(at)
    assert at.order(Code.COA_REQUEST, [*identification(session), ("Filter-Id", "256/128")]) is None
    assert at.order(Code.COA_REQUEST, [*identification(session), ("Filter-Id", "512/128")]) is None
    at.run(1)
    assert session.told.down_bps == 256_000
    answers = [event for event in at.nas.log if event.kind == "order-answered"]
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("obedience", "answer", "throttled"),
    [
        ("obey", (Code.COA_ACK, None), True),
        ("ack-only", (Code.COA_ACK, None), False),
        ("nak", (Code.COA_NAK, 506), False),
        ("ignore", None, False),
        ("silent", None, True),
    ],
)
def test_obedience(obedience: str, answer: tuple[Code, int | None] | None, throttled: bool) -> None:
    at = bench(behaviour=replace(Behaviour(), coa=obedience))  # type: ignore[arg-type]
    session = online(at)
    order = [*identification(session), *RATE["generic"]]
    assert at.order(Code.COA_REQUEST, order, identifier=7) == answer
    assert (session.told.up_bps == 128_000) == throttled
    assert at.order(Code.COA_REQUEST, order, identifier=7) == answer  # and so is its retransmission
    assert at.order(Code.DISCONNECT_REQUEST, identification(session)) == (Code.DISCONNECT_ACK, None)


@pytest.mark.parametrize(
    ("obedience", "ended"), [("obey", True), ("ack-only", False), ("nak", False), ("silent", True)]
)
def test_a_disconnect_can_be_disobeyed_too(obedience: str, ended: bool) -> None:
    at = bench(behaviour=replace(Behaviour(), disconnect=obedience))  # type: ignore[arg-type]
    session = online(at)
    at.order(Code.DISCONNECT_REQUEST, identification(session))
    assert session.online != ended


def test_a_retransmitted_order_is_answered_alike_and_done_once() -> None:
    at = bench()
    session = online(at)
    order = identification(session)
    assert at.order(Code.DISCONNECT_REQUEST, order, identifier=9) == (Code.DISCONNECT_ACK, None)
    assert at.order(Code.DISCONNECT_REQUEST, order, identifier=9) == (Code.DISCONNECT_ACK, None)
    assert len(at.server.reports(2)) == 1


def test_an_order_with_the_wrong_secret_is_met_with_silence() -> None:
    at = bench()
    session = online(at)
    order = identification(session)
    for signed in (True, False):
        assert at.order(Code.DISCONNECT_REQUEST, order, secret=b"another secret", signed=signed) is None
    assert session.online


def test_a_redirected_session_moves_nothing() -> None:
    at = bench(accept=[("WISPr-Redirection-URL", "http://top-up.example/")])
    session = online(at)
    at.run(60)
    assert (session.octets_up, session.octets_down) == (0, 0)


def test_a_subscriber_whom_the_network_threw_out_comes_back() -> None:
    at = bench(behaviour=Behaviour(reconnect_ms=3_000))
    first = online(at)
    at.order(Code.DISCONNECT_REQUEST, identification(first))
    at.run(2)
    assert len(at.nas.sessions) == 1
    at.run(2)
    second = at.nas.sessions[1]
    assert second.online
    assert (second.username, second.calling_station) == (first.username, first.calling_station)
    at.nas.log_out(second, at.now)
    at.run(60)
    assert len(at.nas.sessions) == 2


# the log


def story(seed: int) -> tuple[list[Event], list[bytes]]:
    at = bench("mikrotik", Behaviour(retransmission="new-identifier", reconnect_ms=3_000), seed=seed, servers=2)
    at.nas.boot(at.now)
    sessions = [online(at, name) for name in ("alice", "bob")]
    at.run(100)
    at.order(Code.COA_REQUEST, [*identification(sessions[0]), ("Mikrotik-Rate-Limit", "1M/2M")])
    at.reachable = False
    at.run(100)
    at.reachable = True
    at.order(Code.DISCONNECT_REQUEST, identification(sessions[1]))
    at.run(100)
    return at.nas.log, [out.datagram for _, out in at.sent]


def test_the_same_seed_tells_the_same_story_to_the_byte() -> None:
    assert story(1) == story(1)
    assert story(1)[1] != story(2)[1]


def test_an_auditor_can_read_what_was_acknowledged() -> None:
    at = bench()
    session = online(at)
    at.run(130)
    at.reachable = False
    at.nas.log_out(session, at.now)
    at.settle()
    highest = {
        kind: max(int(event.fields.get("octets_down") or 0) for event in at.nas.log if event.kind == kind)
        for kind in ("accounting-sent", "accounting-answered")
    }
    assert highest == {"accounting-sent": session.sent.octets_down, "accounting-answered": session.acked.octets_down}
    assert highest == {"accounting-sent": 812_500_000, "accounting-answered": 750_000_000}
    assert '"kind":"ended"' in at.nas.log[-2].as_json()


def test_an_unknown_dialect_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no simulated NAS speaks 'zte'; there are accel-ppp, aruba, "):
        bench("zte")
