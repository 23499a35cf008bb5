"""Packets from somebody who has not the secret, or has another's; and forged answers to what we ask."""

from __future__ import annotations

import random

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred

from aaa import wire
from aaa.dynauth import Ports
from aaa.eap import Conversations, Offer
from aaa.handlers import EapLogins
from aaa.retransmission import Answer, answer, begin
from aaa.tokens import read_token, token
from aaa.wire import Attribute, Code
from charging import tables
from tests.aaa.conftest import NAS_ADDRESS, PASSWORD, SECRET, Floor
from tests.datagrams import Network, reply

OTHER_SECRET = b"the secret of another NAS, 32 o."
LOGIN: list[Attribute] = [("User-Name", "alice"), ("User-Password", PASSWORD)]
START: list[Attribute] = [("Acct-Status-Type", 1), ("User-Name", "alice"), ("Acct-Session-Id", "1")]


def test_a_right_packet_from_a_wrong_address_is_silence(sqlite_floor: Floor) -> None:
    for source in ("192.0.2.2", "203.0.113.9", "::1", "2001:db8::1", "not an address", ""):
        assert sqlite_floor.send_access(sqlite_floor.access_request(LOGIN), source).reply is None
        assert sqlite_floor.send_accounting(sqlite_floor.accounting_request(START), source).reply is None
    assert set(sqlite_floor.dropped) == {"unknown-nas"}
    assert sqlite_floor.rows(tables.orphan_report) == []


def test_a_nas_can_not_speak_for_another(sqlite_floor: Floor) -> None:
    """Its own secret from the other's address (a spoofed source), and the other's identity in its own packet's attributes."""
    sqlite_floor.add_nas("bras-2", "192.0.2.2", secret=OTHER_SECRET)
    claims: list[Attribute] = [("NAS-IP-Address", NAS_ADDRESS), ("NAS-Identifier", "bras-1")]
    spoofed = sqlite_floor.access_request([*LOGIN, *claims], secret=OTHER_SECRET)
    assert sqlite_floor.send_access(spoofed, NAS_ADDRESS).reply is None
    claimed = sqlite_floor.send_access(sqlite_floor.access_request([*LOGIN, *claims], secret=OTHER_SECRET), "192.0.2.2")
    assert claimed.answer(OTHER_SECRET).code == Code.ACCESS_ACCEPT
    (session,) = sqlite_floor.rows(tables.session)
    assert session.nas_address == "192.0.2.2", "whatever it says of itself"


def test_another_nas_can_not_end_a_session_that_it_did_not_begin(sqlite_floor: Floor) -> None:
    sqlite_floor.add_nas("bras-2", "192.0.2.2", secret=OTHER_SECRET)
    sqlite_floor.login()
    sqlite_floor.report(1)
    forged = sqlite_floor.report(7, secret=OTHER_SECRET, source="192.0.2.2")
    assert forged.answer(OTHER_SECRET).code == Code.ACCOUNTING_RESPONSE
    stop = sqlite_floor.report(2, ("Acct-Session-Time", 1), secret=OTHER_SECRET, source="192.0.2.2")
    assert stop.done
    (session,) = sqlite_floor.rows(tables.session)
    assert session.closed_at is None


@pytest.mark.parametrize("attributes", [LOGIN, [("User-Name", "alice"), ("EAP-Message", b"\x02\x01\x00\x0a\x01alice")]])
def test_an_access_request_without_message_authenticator_is_silence(
    sqlite_floor: Floor, attributes: list[Attribute]
) -> None:
    """BlastRADIUS (CVE-2024-3596)."""
    assert sqlite_floor.send_access(sqlite_floor.access_request(attributes, signed=False)).reply is None
    assert sqlite_floor.dropped == {"message-authenticator-missing": 1}


def test_a_lenient_nas_still_signs_eap_and_status_and_proxy_state(sqlite_floor: Floor) -> None:
    sqlite_floor.add_nas("old", "192.0.2.2", require="no")
    bare: list[list[Attribute]] = [
        [("User-Name", "alice"), ("EAP-Message", b"\x02\x01\x00\x0a\x01alice")],
        [*LOGIN, ("Proxy-State", b"collision block")],
    ]
    for attributes in bare:
        assert (
            sqlite_floor.send_access(sqlite_floor.access_request(attributes, signed=False), "192.0.2.2").reply is None
        )
    assert sqlite_floor.send_access(sqlite_floor.status_request(signed=False), "192.0.2.2").reply is None
    assert sqlite_floor.dropped == {"message-authenticator-missing": 2, "proxy-state-unsigned": 1}


def test_every_answer_of_ours_is_signed_first_of_all(sqlite_floor: Floor) -> None:
    """Message-Authenticator as the first attribute of Accept, Reject and Challenge: nothing can be put before it."""
    with_eap = EapLogins(Offer(("md5",)), Conversations(random.Random(1).randbytes))
    sqlite_floor.services = sqlite_floor.services._replace(eap=with_eap)
    wrong = sqlite_floor.login(password=b"wrong")
    sqlite_floor.clock.advance(1)
    eap: list[Attribute] = [("User-Name", "alice"), ("EAP-Message", b"\x02\x01\x00\x0a\x01alice")]
    challenge = sqlite_floor.send_access(sqlite_floor.access_request(eap))
    for sent, code in ((sqlite_floor.login(), 2), (wrong, 3), (challenge, 11)):
        packet = sent.answer()
        assert (packet.code, packet.attributes[0][0]) == (code, 80)


@pytest.mark.parametrize("count", [1, 16, 50, 180])
@pytest.mark.parametrize("room", [0, 1, 40, 100, 300])
def test_a_flood_of_proxy_states_is_echoed_or_silence(sqlite_floor: Floor, count: int, room: int) -> None:
    """All of them go back (RFC 2865 section 5.33), so they could make an answer that fits no packet. `room`: what the request
    leaves of the longest packet."""
    left = 4096 - len(sqlite_floor.access_request(LOGIN)) - room
    size = min(255, left // count)
    states: list[Attribute] = [("Proxy-State", bytes(size - 2))] * (count - 1)
    states.append(("Proxy-State", bytes(min(253, left - size * (count - 1) - 2))))
    with capture_logs() as logged:
        sent = sqlite_floor.send_access(sqlite_floor.access_request([*LOGIN, *states]))
        report = sqlite_floor.send_accounting(sqlite_floor.accounting_request([*START, *states]))
    assert report.answer().code == Code.ACCOUNTING_RESPONSE
    assert sent.done
    assert not [line for line in logged if line["event"] == "bug"]
    if sent.reply is None:
        assert sqlite_floor.dropped == {"proxy-state": 1}
        assert sqlite_floor.rows(tables.session) == [], "nothing is held for an answer that can not be given"
    else:
        assert [value for name, value in sent.said() if name == "Proxy-State"] == [value for _, value in states]


# --- what we ask, and who answers ---------------------------------------------------------------------------------

NAS = (NAS_ADDRESS, 3799)
WHO: list[Attribute] = [("User-Name", "alice"), ("Acct-Session-Id", "8000002a")]


def asked(network: Network) -> tuple[Deferred[Answer], list[Answer]]:
    ports = Ports(network, chance=random.Random(2))
    said: list[Answer] = []
    waiting = ports.send(NAS, Code.DISCONNECT_REQUEST, WHO, SECRET, message_authenticator=True)
    waiting.addCallback(said.append)
    return waiting, said


def test_a_forged_answer_to_our_disconnect_is_none() -> None:
    """From the right address, to the right port, with any identifier; without the secret it says nothing."""
    network = Network()
    _, said = asked(network)
    (sent,) = network.sent
    for identifier in range(256):
        for code in (Code.DISCONNECT_ACK, Code.DISCONNECT_NAK, Code.COA_ACK, Code.ACCESS_ACCEPT):
            forged = bytes((code, identifier, 0, 20)) + random.Random(identifier).randbytes(16)
            sent.socket.hear(forged, NAS)
    sent.socket.hear(reply(sent.datagram, OTHER_SECRET), NAS)
    sent.socket.hear(reply(sent.datagram, SECRET), ("192.0.2.77", 3799))
    sent.socket.hear(reply(sent.datagram, SECRET), (NAS_ADDRESS, 3800))
    assert said == []
    sent.socket.hear(reply(sent.datagram, SECRET), NAS)
    assert [each.kind for each in said] == ["ack"]


def test_every_flipped_bit_of_an_answer_to_our_disconnect_makes_it_none() -> None:
    request = wire.request(Code.DISCONNECT_REQUEST, 7, WHO, SECRET, message_authenticator=True)
    exchange = begin(request, SECRET, 0, 0.5)
    good = reply(request, SECRET, 503)
    assert answer(exchange, good) is not None
    for at in range(len(good)):
        for bit in range(8):
            flipped = good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]
            assert answer(exchange, flipped) is None, (at, bit)


def test_a_recorded_answer_does_not_answer_the_next_request() -> None:
    network = Network()
    _, said = asked(network)
    recorded = reply(network.sent[0].datagram, SECRET)
    network.sent[0].socket.hear(recorded, NAS)
    assert len(said) == 1
    for identifier in range(256):
        request = wire.request(
            Code.DISCONNECT_REQUEST, identifier, [*WHO, ("Event-Timestamp", 5)], SECRET, message_authenticator=True
        )
        exchange = begin(request, SECRET, 0, 0.5)
        assert answer(exchange, bytes((recorded[0], identifier)) + recorded[2:]) is None


# --- the Class token ----------------------------------------------------------------------------------------------


def test_every_flipped_bit_of_a_class_token_makes_it_none() -> None:
    good = token(7, 4711, b"k" * 32)
    assert read_token(good, [b"k" * 32]) == (7, 4711)
    for at in range(len(good)):
        for bit in range(8):
            flipped = good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]
            assert read_token(flipped, [b"k" * 32]) in (None, (7, 4711)), "base64 has spare bits, at most"


def test_a_subscriber_can_not_have_another_pay(sqlite_floor: Floor) -> None:
    """A Class value of his own making, for the account of somebody else."""
    victim = sqlite_floor.add_subscriber("victim")
    sqlite_floor.login("victim")
    (session,) = sqlite_floor.rows(tables.session)
    for key in (b"", b"guess", SECRET):
        forged = token(victim, session.session_id, key)
        sent = sqlite_floor.report(
            3, ("Class", forged), ("Acct-Output-Octets", 10**9), username="mallory", acct_session_id="9"
        )
        assert sent.answer().code == Code.ACCOUNTING_RESPONSE
    (session,) = sqlite_floor.rows(tables.session)
    assert session.octets_down == 0
    assert {row.username for row in sqlite_floor.rows(tables.orphan_report)} == {"mallory"}
