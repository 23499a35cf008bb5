"""Several processes on the same ports of one machine (PostgreSQL): to its NASes they are one server."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from aaa import wire
from aaa.wire import Attribute, Code
from tests.outside import SECRET, alive, until
from tests.stories.conftest import PLANS, Aaa, ServerProcess
from tests.stories.plain_sql import plain_sql, top_up
from tests.stories.test_serve import serve

pytestmark = pytest.mark.proof

NASES = 32
CROWD = 512
MB = 10**6


@pytest.fixture
def server(aaa: Aaa, tmp_path: Path, free_udp_ports: Callable[[int], list[int]]) -> Iterator[ServerProcess]:
    plans = tmp_path / "plans.toml"
    plans.write_text(PLANS, encoding="utf-8")
    aaa("nas", "add", "here", "--address", "127.0.0.1", "--secret-stdin", stdin=SECRET)
    aaa("plan", "load", str(plans))
    aaa("subscriber", "add", "alice", "--plan", "prepaid-50", "--password", "open-sesame-1")
    more = ("--processes", "2", "--node", "pop", "--spool-dir", str(tmp_path / "spool"))
    running = ServerProcess(aaa, tmp_path, *free_udp_ports(2), more=more)
    running.start()
    try:
        until(lambda: len(events(running, "serving")) == 2, within=20)  # it answers as soon as one of them does
        yield running
    finally:
        running.kill()


def events(server: ServerProcess, name: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def is_spread_over(server: ServerProcess, processes: int) -> bool:
    """Were NASes ever spread over so many?"""
    return any(line["over"] == processes for line in events(server, "nases-spread"))


def crowd(server: ServerProcess, nases: list[socket.socket]) -> None:
    """Many reports at once, all of them answered, until NASes are spread over two processes."""
    number = count()

    def once() -> bool:
        for nas in nases:
            for identifier in range(CROWD // len(nases)):
                report: list[Attribute] = [
                    ("User-Name", "nobody"), ("Acct-Status-Type", 3), ("Acct-Session-Time", 60),
                    ("Acct-Session-Id", f"crowd-{next(number)}"),
                ]  # fmt: skip
                datagram = wire.request(
                    Code.ACCOUNTING_REQUEST, identifier, report, SECRET.encode(), message_authenticator=False
                )
                nas.sendto(datagram, ("127.0.0.1", server.acct_port))
        for nas in nases:
            nas.settimeout(5)
            answers = [wire.parse(nas.recv(4096), frozenset(Code)) for _ in range(CROWD // len(nases))]
            assert {answer.identifier for answer in answers} == set(range(CROWD // len(nases)))
        return is_spread_over(server, 2)

    until(once, within=20)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_session_whose_reports_come_from_many_ports_is_charged_once(server: ServerProcess, aaa: Aaa) -> None:
    secret = SECRET.encode()
    about: list[Attribute] = [("User-Name", "alice"), ("NAS-IP-Address", "127.0.0.1"), ("NAS-Port", 7)]
    with ExitStack() as stack:
        nases = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(NASES)]
        crowd(server, nases)

        def ask(nas: socket.socket, port: int, datagram: bytes) -> wire.Packet:
            nas.settimeout(5)
            nas.sendto(datagram, ("127.0.0.1", port))
            answer = wire.parse(nas.recv(4096), frozenset(Code))
            assert wire.verify_reply(answer, datagram, secret)
            return answer

        authenticator = bytes(range(16))
        login = wire.request(
            Code.ACCESS_REQUEST, 1, [*about, ("User-Password", b"open-sesame-1")], secret, authenticator=authenticator,
            message_authenticator=True,
        )  # fmt: skip
        accept = ask(nases[0], server.auth_port, login)
        assert accept.code == Code.ACCESS_ACCEPT
        token = [("Class", value) for kind, value in accept.attributes if kind == 25]
        for n, nas in enumerate(nases):
            counters: list[Attribute] = [
                ("Acct-Status-Type", 3 if n else 1), ("Acct-Session-Id", "s-1"), ("Acct-Session-Time", n * 60),
                ("Acct-Input-Octets", n * MB), ("Acct-Output-Octets", 2 * n * MB),
            ]  # fmt: skip
            report = wire.request(
                Code.ACCOUNTING_REQUEST, 2, [*about, *token, *counters], secret, message_authenticator=False
            )
            assert ask(nas, server.acct_port, report).code == Code.ACCOUNTING_RESPONSE
            assert ask(nas, server.acct_port, report).code == Code.ACCOUNTING_RESPONSE
    (session,) = json.loads(aaa("session", "list", "--json"))
    assert (session["octets_up"], session["octets_down"]) == ((NASES - 1) * MB, 2 * (NASES - 1) * MB)
    assert {line["node"] for line in events(server, "serving")} == {"pop", "pop.2"}
    assert server.stop() == 0
    assert len(events(server, "stopped")) == 2
    aaa("ledger", "check")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_few_packets_come_to_one_process_and_a_crowd_to_both(server: ServerProcess) -> None:
    until(lambda: is_spread_over(server, 1), within=20)
    assert not is_spread_over(server, 2)
    with ExitStack() as stack:
        crowd(server, [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(NASES)])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_second_server_does_not_slip_in_beside_them(server: ServerProcess, aaa: Aaa, tmp_path: Path) -> None:
    ports = ("--auth-port", str(server.auth_port), "--acct-port", str(server.acct_port))
    ended = serve(aaa, tmp_path, *ports, "--processes", "2", "--node", "other")
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert str(server.auth_port) in ended.stderr
    assert alive(server.auth_port)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_port_to_be_found_can_not_be_shared(aaa: Aaa, tmp_path: Path) -> None:
    ended = serve(aaa, tmp_path, "--auth-port", "0", "--processes", "2")
    assert ended.returncode == 2
    assert "name one that is not 0" in ended.stderr


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_sqlite_file_has_one_process(aaa: Aaa, tmp_path: Path) -> None:
    ended = serve(aaa, tmp_path, "--processes", "2")
    assert ended.returncode == 2
    assert "one process alone writes a SQLite file" in ended.stderr


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_when_the_process_that_looks_into_the_inbox_stands_still_another_does(
    server: ServerProcess, aaa: Aaa, database_url: str
) -> None:
    with plain_sql(database_url) as sql:

        def put(reference: str) -> Callable[[], bool]:
            """A payment, and whether it has been made."""
            sql(top_up("alice", reference, "money", "10.00"))
            return lambda: (
                sql(f"SELECT status FROM billing_top_up WHERE external_ref = '{reference}'") == [("applied",)]
            )

        until(put("both-are-there"), within=10)
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text(encoding="ascii").split()
        last = int(children[-1])
        os.kill(last, signal.SIGSTOP)
        try:
            until(put("the-last-stands-still"), within=10)
        finally:
            os.kill(last, signal.SIGCONT)
        until(put("it-goes-on"), within=10)
    assert server.stop() == 0
    aaa("ledger", "check")
