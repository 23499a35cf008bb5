"""CoA and Disconnect on the wire: repetitions, identifiers, ports, and what is taken for an answer."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from aaa import wire
from aaa.dynauth import MOST_DESTINATIONS, Ports, QueueFull
from aaa.retransmission import ACK, ALL_IN_ALL_MS, NO_ANSWER, Answer, again, answer, begin
from aaa.wire import Code
from tests.datagrams import Network, answering, reply

SECRET = b"a-secret-between-us"
NAS = ("192.0.2.1", 3799)
WHO = [("User-Name", "anna"), ("Acct-Session-Id", "8000002a")]
REQUEST = wire.request(Code.COA_REQUEST, 7, WHO, SECRET, message_authenticator=True)
MIDDLE = 0.5


# --- the exchange --------------------------------------------------------------------------------------------------


def schedule(chances: list[float]) -> list[int]:
    """The instants at which a request goes out that nobody answers, and the one at which it is given up."""
    exchange = begin(REQUEST, SECRET, 0, chances[0])
    instants = [0]
    for chance in chances[1:]:
        now = exchange.due_at
        instants.append(now)
        following = again(exchange, now, chance)
        if following is None:
            return instants
        assert following.request is REQUEST
        assert following.sent == exchange.sent + 1
        exchange = following
    raise AssertionError("it never ends")


def test_a_request_is_repeated_after_2_6_and_14_seconds_and_given_up_after_30() -> None:
    assert schedule([MIDDLE] * 10) == [0, 2_000, 6_000, 14_000, 30_000]


@given(st.lists(st.floats(0, 1), min_size=10, max_size=10))
def test_waits_vary_by_a_tenth_and_never_exceed_thirty_seconds(chances: list[float]) -> None:
    instants = schedule(chances)
    assert instants[-1] == ALL_IN_ALL_MS
    waits = [after - before for before, after in pairwise(instants)]
    for wait, nominal in zip(waits[:3], (2_000, 4_000, 8_000), strict=True):
        assert nominal * 0.9 <= wait <= nominal * 1.1
    assert max(waits) <= 16_000 * 1.1
    assert 4 <= len(waits) <= 5


def damaged(octets: bytes, at: int) -> bytes:
    return octets[:at] + bytes((octets[at] ^ 1,)) + octets[at + 1 :]


DISCONNECT = wire.request(Code.DISCONNECT_REQUEST, 7, WHO, SECRET, message_authenticator=True)
OTHER_ID = wire.request(Code.COA_REQUEST, 8, WHO, SECRET, message_authenticator=True)
REPLIES = [
    ("ack", reply(REQUEST, SECRET), ACK),
    ("nak", reply(REQUEST, SECRET, 503), Answer("nak", 503)),
    ("nak without a cause", reply(REQUEST, SECRET, bare_nak=True), Answer("nak")),
    ("padded ack", reply(REQUEST, SECRET) + b"\0\0", ACK),
    ("another secret", reply(REQUEST, b"another"), None),
    ("another identifier", reply(OTHER_ID, SECRET), None),
    ("an answer to a Disconnect", reply(DISCONNECT, SECRET), None),
    ("damaged authenticator", damaged(reply(REQUEST, SECRET), 4), None),
    ("damaged Message-Authenticator", damaged(reply(REQUEST, SECRET), 30), None),
    ("our own request", REQUEST, None),
    ("nothing", b"", None),
    ("half a packet", reply(REQUEST, SECRET)[:19], None),
]


@pytest.mark.parametrize(("datagram", "said"), [case[1:] for case in REPLIES], ids=[case[0] for case in REPLIES])
def test_what_is_taken_for_an_answer(datagram: bytes, said: Answer | None) -> None:
    assert answer(begin(REQUEST, SECRET, 0, MIDDLE), datagram) == said


@given(st.binary(max_size=200))
def test_no_octets_are_an_answer_by_accident(datagram: bytes) -> None:
    assert answer(begin(REQUEST, SECRET, 0, MIDDLE), datagram) is None


# --- the ports -----------------------------------------------------------------------------------------------------


@pytest.fixture
def network() -> Network:
    return Network()


def ports_on(network: Network, **limits: Any) -> Ports:
    return Ports(network, chance=random.Random(5), **limits)


def send(ports: Ports, destination: tuple[str, int] = NAS, code: int = Code.COA_REQUEST) -> list[object]:
    """Send a request; the list gets what comes of it."""
    outcomes: list[object] = []
    waiting: Deferred[Answer] = ports.send(destination, code, WHO, SECRET, message_authenticator=True)
    waiting.addBoth(outcomes.append)
    return outcomes


@pytest.mark.parametrize(("cause", "said"), [(None, ACK), (503, Answer("nak", 503))])
def test_an_answer_ends_the_exchange(network: Network, cause: int | None, said: Answer) -> None:
    network.nases[NAS] = answering(SECRET, cause)
    ports = ports_on(network)
    outcomes = send(ports)
    assert outcomes == []
    network.advance(0)
    assert outcomes == [said]
    assert (ports.under_way, network.getDelayedCalls()) == (0, [])
    assert len(network.sent) == 1


def test_repetitions_are_the_same_bytes_from_the_same_port(network: Network) -> None:
    ports = ports_on(network)
    outcomes = send(ports)
    network.pump([0.1] * 301)
    assert outcomes == [NO_ANSWER]
    assert 4 <= len(network.sent) <= 5
    assert len({(sent.datagram, sent.socket.number) for sent in network.sent}) == 1
    assert ports.under_way == 0
    assert network.getDelayedCalls() == []


def test_a_late_answer_still_counts_within_the_thirty_seconds(network: Network) -> None:
    outcomes = send(ports_on(network))
    network.pump([0.1] * 290)
    network.sent[0].socket.hear(reply(network.sent[0].datagram, SECRET), NAS)
    assert outcomes == [ACK]


@pytest.mark.parametrize("source", [("192.0.2.2", 3799), ("192.0.2.1", 3798)])
def test_only_the_one_who_was_asked_can_answer(network: Network, source: tuple[str, int]) -> None:
    ports = ports_on(network)
    outcomes = send(ports)
    sent = network.sent[0]
    sent.socket.hear(reply(sent.datagram, SECRET), source)
    sent.socket.hear(reply(sent.datagram, b"forged"), NAS)
    assert outcomes == []
    assert ports.unverified == 2
    sent.socket.hear(reply(sent.datagram, SECRET), NAS)
    assert outcomes == [ACK]
    sent.socket.hear(reply(sent.datagram, SECRET), NAS)  # a second copy means nothing any more
    assert outcomes == [ACK]


def test_256_requests_go_out_on_one_port_each_with_its_own_identifier(network: Network) -> None:
    ports = ports_on(network)
    for _ in range(256):
        send(ports)
    assert sorted(sent.identifier for sent in network.sent) == list(range(256))
    assert [sent.identifier for sent in network.sent] != list(range(256))
    assert ports.open_ports == 1
    send(ports)
    assert ports.open_ports == 2
    send(ports, ("192.0.2.9", 3799))
    assert ports.open_ports == 2  # another destination has its own 256


def test_beyond_the_last_port_requests_wait_and_beyond_the_queue_they_are_refused(network: Network) -> None:
    ports = ports_on(network, most_ports=2, most_queued=3)
    for _ in range(512):
        send(ports)
    waiting = [send(ports) for _ in range(3)]
    assert (ports.open_ports, ports.queued, len(network.sent)) == (2, 3, 512)
    with pytest.raises(QueueFull):
        send(ports)
    answered = network.sent[300]
    answered.socket.hear(reply(answered.datagram, SECRET), NAS)
    assert (ports.queued, len(network.sent)) == (2, 513)
    assert network.sent[-1].identifier == answered.identifier
    network.sent[-1].socket.hear(reply(network.sent[-1].datagram, SECRET), NAS)
    assert waiting == [[ACK], [], []]
    send(ports, ("192.0.2.9", 3799))
    assert len(network.sent) == 515  # the queue of one NAS is not another's


def test_an_identifier_rests_before_it_is_used_again(network: Network) -> None:
    network.nases[NAS] = answering(SECRET, None)
    ports = ports_on(network)
    for _ in range(1_000):
        send(ports)
        network.advance(0)
    used = [sent.identifier for sent in network.sent]
    for at in range(len(used) - 100):
        assert len(set(used[at : at + 100])) == 100
    assert set(used) == set(range(256))
    assert ports.open_ports == 1


def test_ipv6(network: Network) -> None:
    written, canonical = ("2001:DB8:0::1", 3799), ("2001:db8::1", 3799)
    network.nases[canonical] = answering(SECRET, None)
    ports = ports_on(network, source_v4="198.51.100.1", source_v6="2001:db8::ffff")
    six, four = send(ports, written), send(ports)
    network.advance(0)
    assert (six, four) == ([ACK], [])
    assert [(socket.interface) for socket in network.sockets] == ["2001:db8::ffff", "198.51.100.1"]


def test_a_datagram_that_the_kernel_refuses_is_lost_like_any_other(network: Network) -> None:
    network.unreachable.add(NAS)
    outcomes = send(ports_on(network))
    network.advance(1)
    network.unreachable.clear()
    network.nases[NAS] = answering(SECRET, None)
    network.advance(2)
    network.advance(0)
    assert outcomes == [ACK]


def test_message_authenticator_and_event_timestamp_where_they_are_wanted(network: Network) -> None:
    ports = ports_on(network)
    ports.send(NAS, Code.DISCONNECT_REQUEST, WHO, SECRET, message_authenticator=False)
    ports.send(NAS, Code.DISCONNECT_REQUEST, WHO, SECRET, message_authenticator=True, event_timestamp=1_772_366_400)
    plain, full = ({name for name, _ in sent.attributes} for sent in network.sent)
    assert plain == {"User-Name", "Acct-Session-Id"}
    assert full == plain | {"Message-Authenticator", "Event-Timestamp"}


@pytest.mark.parametrize("destination", [("nas.example", 3799), ("", 3799)])
def test_a_destination_is_an_address(network: Network, destination: tuple[str, int]) -> None:
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        send(ports_on(network), destination)


def test_what_fits_no_packet_is_refused_and_costs_no_identifier(network: Network) -> None:
    ports = ports_on(network, most_ports=1)
    for _ in range(300):
        with pytest.raises(ValueError, match="Filter-Id"):
            ports.send(NAS, Code.COA_REQUEST, [("Filter-Id", "x" * 300)], SECRET, message_authenticator=True)
    for _ in range(256):
        send(ports)
    assert (len(network.sent), ports.queued) == (256, 0)


def test_cancelling_ends_the_repetitions(network: Network) -> None:
    ports = ports_on(network, most_ports=1)
    waiting = [ports.send(NAS, Code.COA_REQUEST, WHO, SECRET, message_authenticator=True) for _ in range(257)]
    outcomes: list[object] = []
    for each in (waiting[256], waiting[0]):
        each.addErrback(lambda failure: outcomes.append(failure.type))
        each.cancel()
    assert outcomes == [CancelledError, CancelledError]
    assert (ports.under_way, ports.queued) == (255, 0)


def test_stop_closes_every_port_and_answers_nobody(network: Network) -> None:
    ports = ports_on(network, most_ports=1)
    outcomes = [send(ports) for _ in range(258)]
    stopping = Deferred.fromCoroutine(ports.stop())
    assert stopping.called
    assert all(len(each) == 1 and each[0].type is CancelledError for each in outcomes)  # type: ignore[attr-defined]
    assert all(socket.closed for socket in network.sockets)
    assert network.getDelayedCalls() == []


def test_idle_destinations_are_forgotten(network: Network) -> None:
    ports = ports_on(network)
    for number in range(MOST_DESTINATIONS + 10):
        destination = (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 3799)
        network.nases[destination] = answering(SECRET, None)
        send(ports, destination)
        network.advance(0)
    (port,) = ports._all()
    assert len(port.identifiers) == MOST_DESTINATIONS
