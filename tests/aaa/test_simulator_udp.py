"""The simulated NAS on real sockets, the scripted fleet, and the bad network between."""

import socket
import threading
import time
from pathlib import Path

import pytest

from aaa.simulator import Behaviour, Event, Server, SimulatedNas
from aaa.simulator.udp import Journal, Ports, now_ms, read_journal
from aaa.wire import Attribute, Code, parse, request, verify_reply
from tests.fleet import ScriptedFleet
from tests.network import BadNetwork, Faults
from tests.standin import ANSWERS, SECRET, LoopbackServer, StandIn


def test_a_session_over_loopback_is_in_the_journal_before_its_answer(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "nas.jsonl", durable=True)
    seen: list[Event] = []
    with LoopbackServer(StandIn([("Acct-Interim-Interval", 1)])) as server:
        at = Server(("127.0.0.1", server.ports[0]), ("127.0.0.1", server.ports[1]))
        nas = SimulatedNas(
            "edge-1", "127.0.0.1", SECRET, "generic", [at], coa_port=0, behaviour=Behaviour(timeout_ms=200)
        )
        with Ports([nas], on_event=lambda _, event: seen.append(event), journal=journal) as ports:
            assert nas.coa_port
            ports.post(nas.boot)
            ports.post(lambda now: nas.log_in("alice", "secret", now))
            assert ports.run(lambda: bool(nas.online()) and nas.unanswered == 0, now_ms() + 5_000)
            session = nas.sessions[0]
            answer = coa(nas.coa_port, session.acct_session_id, ports)
            assert answer == Code.COA_ACK
            assert session.told.up_bps == 64_000
            ports.post(lambda now: nas.log_out(session, now))
            assert ports.run(lambda: session.stop_acked, now_ms() + 5_000)
    journal.close()
    assert len(server.server.reports(2)) == 1
    lines = read_journal(tmp_path / "nas.jsonl")
    assert [line["kind"] for line in lines] == [event.kind for event in nas.log] == [event.kind for event in seen]
    with (tmp_path / "nas.jsonl").open("a") as file:
        file.write('{"at":12')  # what a crash may leave
    assert read_journal(tmp_path / "nas.jsonl") == lines


def coa(port: int, acct_session_id: str, ports: Ports) -> int:
    """Throttle a session over a real socket; the code of the answer."""
    attributes: list[Attribute] = [("Acct-Session-Id", acct_session_id), ("WISPr-Bandwidth-Max-Up", 64_000)]
    datagram = request(Code.COA_REQUEST, 5, attributes, SECRET, message_authenticator=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(0)
        one.sendto(datagram, ("127.0.0.1", port))
        received: list[bytes] = []

        def arrived() -> bool:
            try:
                received.append(one.recv(4096))
            except BlockingIOError:
                return False
            return True

        assert ports.run(arrived, now_ms() + 5_000)
    packet = parse(received[0], ANSWERS)
    assert verify_reply(packet, datagram, SECRET)
    return packet.code


def test_the_loop_ends_at_its_deadline() -> None:
    nas = SimulatedNas(
        "edge-1", "127.0.0.1", SECRET, "generic", [Server(("127.0.0.1", 9), ("127.0.0.1", 9))], coa_port=None
    )
    with Ports([nas]) as ports:
        nas.log_in("alice", "secret", now_ms())
        assert ports.run(lambda: False, now_ms() + 100) is False
    assert nas.unanswered == 1


FAULTS = Faults(loss=0.1, duplication=0.1, reordering=0.2, corruption=0.02, reordering_ms=60)


@pytest.mark.parametrize("method", ["pap", "chap"])
def test_a_fleet_gets_every_report_through_a_bad_network(method: str) -> None:
    with LoopbackServer(StandIn([("Class", b"\1token")])) as server, BadNetwork(FAULTS, seed=3) as network:
        fleet = ScriptedFleet(
            server=("127.0.0.1", *server.ports),
            secret=SECRET,
            sessions=60,
            users=["alice", "bob"],
            password="secret",
            method="pap" if method == "pap" else "chap",
            seed=3,
            through=network,
            retransmit_seconds=(0.1, 0.2),
        )
        thread = threading.Thread(target=fleet.run, args=(time.monotonic() + 30,))
        thread.start()
        thread.join()
    assert fleet.done == 60
    assert fleet.refused == []
    assert fleet.answered == 60 * 7
    assert fleet.retransmissions
    assert fleet.unverified
    for session in fleet.sessions:
        assert session.acked == session.sent == session.script[-1]
    for direction in ("up", "down"):
        for what in ("lost", "doubled", "reordered", "corrupted"):
            assert network.counts[direction, what] > 0, (direction, what)
    stops = {str(stop["Acct-Session-Id"]): stop for stop in server.server.reports(2)}
    assert {session.acct_session_id: session.octets_down for session in fleet.sessions} == {
        number: stop["Acct-Output-Octets"] for number, stop in stops.items()
    }
    assert {stop.get("Class") for stop in stops.values()} == {b"\1token"}


def test_a_fleet_without_a_server_knows_what_is_missing() -> None:
    fleet = ScriptedFleet(
        server=("127.0.0.1", 9, 9),
        secret=SECRET,
        sessions=3,
        users=["alice"],
        password="x",
        retransmit_seconds=(0.02, 0.03),
    )
    assert fleet.run(time.monotonic() + 0.2) is False
    assert (fleet.done, fleet.answered) == (0, 0)
    assert fleet.retransmissions > 3


def test_a_fleet_is_decided_by_its_seed() -> None:
    def scripts(seed: int) -> list[object]:
        fleet = ScriptedFleet(
            server=("127.0.0.1", 9, 9), secret=SECRET, sessions=5, users=["alice"], password="x", seed=seed
        )
        return [session.script for session in fleet.sessions]

    assert scripts(1) == scripts(1) != scripts(2)
