"""EAP over RADIUS (RFC 3579), through the server: State, challenges, the second that a Reject takes, and what fails."""

from __future__ import annotations

from hashlib import md5
from typing import Any

import pytest
from structlog.testing import capture_logs

from aaa.eap import Conversations, Offer, packet
from aaa.handlers import EapLogins
from aaa.wire import Attribute, Code
from charging import tables
from tests.aaa.conftest import PASSWORD, Floor, Outage, Sent
from tests.aaa.test_eap_conversation import response
from tests.aaa.test_tracing import history, traced, words


def with_eap(floor: Floor, *methods: str, **most: int) -> Floor:
    made = iter(range(1000))
    conversations = Conversations(lambda octets: next(made).to_bytes(octets, "big"), **most)
    offer = Offer(methods or ("md5", "gtc", "mschapv2"))
    floor.services = floor.services._replace(eap=EapLogins(offer, conversations))
    return floor


def say(floor: Floor, eap: bytes, *more: Attribute, user: str = "alice", source: str = "192.0.2.1") -> Sent:
    attributes: list[Attribute] = [("User-Name", user), ("EAP-Message", eap), *more]
    return floor.send_access(floor.access_request(attributes), source)


def hello(floor: Floor, user: str = "alice") -> Sent:
    return say(floor, response(1, packet.IDENTITY, user.encode()), user=user)


def octets(sent: Sent, name: str = "EAP-Message") -> bytes:
    value = sent.value(name)
    assert isinstance(value, bytes)
    return value


def answer_md5(floor: Floor, challenge: Sent, password: bytes = PASSWORD, user: str = "alice") -> Sent:
    assert challenge.answer().code == Code.ACCESS_CHALLENGE
    request = octets(challenge)
    assert request[4] == packet.MD5
    proof = md5(request[1:2] + password + request[6:22]).digest()
    return say(
        floor, response(request[1], packet.MD5, b"\x10" + proof), ("State", octets(challenge, "State")), user=user
    )


def rejected(floor: Floor, sent: Sent) -> Sent:
    floor.clock.advance(0.999)
    assert sent.reply is None, "answered before its second was over"
    floor.clock.advance(0.001)
    assert sent.answer().code == Code.ACCESS_REJECT
    assert octets(sent)[0] == packet.FAILURE
    return sent


def test_a_conversation_from_identity_to_success(floor: Floor) -> None:
    challenge = hello(with_eap(floor))
    assert [name for name, _ in challenge.said()] == ["EAP-Message", "State"]
    accept = answer_md5(floor, challenge)
    assert accept.answer().code == Code.ACCESS_ACCEPT
    assert octets(accept) == bytes((packet.SUCCESS, 2, 0, 4))
    assert accept.value("Class") is not None
    assert len(floor.rows(tables.session)) == 1


def test_a_wrong_password_takes_its_second(sqlite_floor: Floor) -> None:
    sent = rejected(sqlite_floor, answer_md5(sqlite_floor, hello(with_eap(sqlite_floor)), b"wrong"))
    assert [name for name, _ in sent.said()] == ["EAP-Message"]


def test_nobody_hears_the_same_as_somebody_who_is_wrong(sqlite_floor: Floor) -> None:
    challenge = hello(with_eap(sqlite_floor), "nobody")
    sent = rejected(sqlite_floor, answer_md5(sqlite_floor, challenge, user="nobody"))
    assert [name for name, _ in sent.said()] == ["EAP-Message"]


def test_a_refusal_of_charging_says_nothing_beside_eap(sqlite_floor: Floor) -> None:
    """RFC 3579 section 2.6.5."""
    with_eap(sqlite_floor).add_subscriber("dave", status="suspended")
    sent = rejected(sqlite_floor, answer_md5(sqlite_floor, hello(sqlite_floor, "dave"), user="dave"))
    assert sent.value("Reply-Message") is None


def wrong_inside(floor: Floor) -> Sent:
    """The answer that nobody who knows alice's password would give to an EAP-MSCHAPv2 challenge."""
    challenge = hello(floor)
    request = octets(challenge)
    data = b"\x02" + request[6:7] + b"\x00\x3b\x31" + bytes(49) + b"alice"
    return say(floor, response(request[1], packet.MSCHAPV2, data), ("State", octets(challenge, "State")))


def test_whoever_goes_when_he_hears_of_the_failure_has_been_refused_all_the_same(sqlite_floor: Floor) -> None:
    tracing = traced(sqlite_floor, "refused")
    logged: list[Any]
    with capture_logs() as logged:
        wrong_inside(with_eap(sqlite_floor, "mschapv2"))
        sqlite_floor.clock.advance(1)
    (line,) = [each for each in logged if each["event"] == "eap-refused"]
    assert (line["username"], line["reason"]) == ("alice", "wrong-password")
    assert line["detail"] == "MS-CHAPv2 for 'alice', kept: reversible"
    tracing.turn()
    (kept,) = history(sqlite_floor)
    assert (kept.username, kept.result) == ("alice", "challenge")
    assert "inside of EAP: wrong-password, MS-CHAPv2 for 'alice'" in words(kept)


def test_a_failure_inside_is_heard_no_sooner_than_a_reject(sqlite_floor: Floor) -> None:
    sent = wrong_inside(with_eap(sqlite_floor, "mschapv2"))
    sqlite_floor.clock.advance(0.999)
    assert sent.reply is None
    sqlite_floor.clock.advance(0.001)
    assert sent.answer().code == Code.ACCESS_CHALLENGE
    assert octets(sent)[5] == 4, "MS-CHAPv2 failure"


def test_the_same_datagram_gets_the_same_challenge(sqlite_floor: Floor) -> None:
    with_eap(sqlite_floor)
    datagram = sqlite_floor.access_request(
        [("User-Name", "alice"), ("EAP-Message", response(1, packet.IDENTITY, b"alice"))]
    )
    first, second = sqlite_floor.send_access(datagram), sqlite_floor.send_access(datagram)
    assert first.reply == second.reply is not None
    assert sqlite_floor.services.eap is not None
    assert len(sqlite_floor.services.eap.conversations) == 1


def test_the_same_answer_in_another_packet_gets_the_same_request(sqlite_floor: Floor) -> None:
    challenge = hello(with_eap(sqlite_floor, "gtc", "md5"))
    request, state = octets(challenge), ("State", octets(challenge, "State"))
    nak = response(request[1], packet.NAK, bytes((packet.MD5,)))
    first, second = say(sqlite_floor, nak, state), say(sqlite_floor, nak, state)
    assert octets(first) == octets(second)


def test_a_state_that_is_not_known_ends_the_login(sqlite_floor: Floor) -> None:
    with_eap(sqlite_floor)
    with capture_logs() as logged:
        sent = say(sqlite_floor, response(7, packet.MD5, bytes(17)), ("State", b"x" * 16))
        rejected(sqlite_floor, sent)
    assert [each["reason"] for each in logged if each["event"] == "access-reject"] == ["eap-conversation-unknown"]


def test_another_nas_can_not_go_on_with_a_conversation(sqlite_floor: Floor) -> None:
    with_eap(sqlite_floor).add_nas("bras-2", "192.0.2.2")
    challenge = hello(sqlite_floor)
    request = octets(challenge)
    proof = md5(request[1:2] + PASSWORD + request[6:22]).digest()
    state = ("State", octets(challenge, "State"))
    sent = say(sqlite_floor, response(request[1], packet.MD5, b"\x10" + proof), state, source="192.0.2.2")
    rejected(sqlite_floor, sent)


def test_an_end_is_the_end(sqlite_floor: Floor) -> None:
    challenge = hello(with_eap(sqlite_floor))
    assert answer_md5(sqlite_floor, challenge).answer().code == Code.ACCESS_ACCEPT
    rejected(sqlite_floor, answer_md5(sqlite_floor, challenge))


@pytest.mark.parametrize("eap", [b"\x02", b"\x01\x01\x00\x05\x01", b"\x02\x01\x00\xff\x01"])
def test_what_is_no_eap_response_gets_silence(sqlite_floor: Floor, eap: bytes) -> None:
    sent = say(with_eap(sqlite_floor), eap)
    assert sent.done
    assert sent.reply is None
    assert sqlite_floor.dropped == {"eap-message": 1}


def test_no_room_is_silence(sqlite_floor: Floor) -> None:
    with_eap(sqlite_floor, "gtc", "md5", most_going=1)
    first, second = hello(sqlite_floor), hello(sqlite_floor)
    for sent, answered in ((first, True), (second, False)):
        nak = response(octets(sent)[1], packet.NAK, bytes((packet.MD5,)))
        assert (say(sqlite_floor, nak, ("State", octets(sent, "State"))).reply is not None) is answered
    assert sqlite_floor.dropped == {"too-many-eap-conversations": 1}


def test_without_the_database_there_is_silence_and_then_the_login_goes_on(floor: Floor, outage: Outage) -> None:
    challenge = hello(with_eap(floor))
    outage.begin()
    sent = answer_md5(floor, challenge)
    assert sent.done
    assert sent.reply is None
    outage.end()
    floor.clock.advance(60)
    again = answer_md5(floor, challenge)
    floor.clock.advance(1)
    assert again.answer().code == Code.ACCESS_ACCEPT


def test_what_is_kept_decides_and_the_log_says_so(sqlite_floor: Floor) -> None:
    with_eap(sqlite_floor).add_subscriber("carol", chap=False)
    logged: list[Any]
    with capture_logs() as logged:
        rejected(sqlite_floor, answer_md5(sqlite_floor, hello(sqlite_floor, "carol"), user="carol"))
    (line,) = [each for each in logged if each["event"] == "access-reject"]
    assert (line["reason"], line["method"]) == ("method-not-possible", "EAP-MD5")
    assert line["detail"] == "CHAP for 'carol', kept: argon2id"
