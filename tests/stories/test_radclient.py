"""Debian's radclient, which shares no line with us, gets the right answers from the real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from charging import tables
from charging.database import open_engine, reading
from tests.outside import SECRET
from tests.stories.conftest import ServerProcess

RADCLIENT = shutil.which("radclient")
PASSWORD = "correct-horse-battery-staple"
WRONG = "incorrect-horse-battery-staple"

pytestmark = pytest.mark.skipif(
    RADCLIENT is None,
    reason="radclient is not installed; the Debian package freeradius-utils has it (.ci/run installs it)",
)


def radclient(port: int, kind: str, *attributes: str, secret: str = SECRET, tries: int = 3) -> list[str]:
    """Send one packet; what radclient printed of the answer, [] when there was none it could trust."""
    assert RADCLIENT is not None
    arguments = [
        RADCLIENT,
        "-x",
        "-r",
        str(tries),
        "-t",
        "2" if tries > 1 else "1",
        "-S",
        "/dev/stdin",
        f"127.0.0.1:{port}",
        kind,
    ]
    # The secret comes in through a pipe of its own, the packet from a file: neither may stand in a process list.
    read_end, write_end = os.pipe()
    os.write(write_end, (secret + "\n").encode())
    os.close(write_end)
    try:
        arguments[arguments.index("/dev/stdin")] = f"/dev/fd/{read_end}"
        done = subprocess.run(
            arguments, input="\n".join(attributes) + "\n", capture_output=True, text=True, timeout=30, check=False,
            pass_fds=(read_end,),
        )  # fmt: skip
    finally:
        os.close(read_end)
    lines = done.stdout.splitlines()
    received = [number for number, line in enumerate(lines) if line.startswith("Received ")]
    if not received:
        return []
    assert "Reply verification failed" not in done.stderr
    return [lines[received[0]].split()[1], *(line.strip() for line in lines[received[0] + 1 :])]


def login(server: ServerProcess, username: str, password: str, *, chap: bool = False) -> list[str]:
    kind = "CHAP-Password" if chap else "User-Password"
    return radclient(
        server.auth_port, "auth", f'User-Name = "{username}"', f'{kind} = "{password}"',
        "NAS-Port = 7", "Message-Authenticator = 0x00",
    )  # fmt: skip


def report(server: ServerProcess, kind: str, *more: str) -> list[str]:
    return radclient(
        server.acct_port, "acct", f"Acct-Status-Type = {kind}", 'User-Name = "alice"',
        'Acct-Session-Id = "0000002A"', "NAS-Port = 7", *more,
    )  # fmt: skip


def value(answer: list[str], name: str) -> str:
    found = [line.split(" = ", 1)[1] for line in answer[1:] if line.startswith(f"{name} = ")]
    assert len(found) == 1, answer
    return found[0]


def test_a_session_from_login_to_stop(server: ServerProcess, database_url: str) -> None:
    server.aaa("subscriber", "add", "alice", "--plan", "prepaid-50", "--password-stdin", "--allow-chap", stdin=PASSWORD)
    server.aaa("subscriber", "add", "bob", "--plan", "prepaid-50", "--password-stdin", stdin=PASSWORD)

    # Status-Server, on both ports.
    for port, kind in ((server.auth_port, "Access-Accept"), (server.acct_port, "Accounting-Response")):
        assert radclient(port, "status", "Message-Authenticator = 0x00")[0] == kind

    # Right and wrong passwords, PAP and CHAP, kept in clear and hashed.
    accept = login(server, "alice", PASSWORD)
    assert accept[0] == "Access-Accept"
    assert value(accept, "WISPr-Bandwidth-Max-Down") == "20000000"
    assert value(accept, "WISPr-Bandwidth-Max-Up") == "5000000"
    assert 300 <= int(value(accept, "Acct-Interim-Interval")) <= 330
    assert login(server, "alice", PASSWORD, chap=True)[0] == "Access-Accept"
    assert login(server, "bob", PASSWORD)[0] == "Access-Accept"
    refused = [("alice", WRONG, False), ("alice", WRONG, True), ("bob", WRONG, False), ("bob", PASSWORD, True),
               ("nobody", PASSWORD, False)]  # fmt: skip
    began = time.monotonic()
    with ThreadPoolExecutor(len(refused)) as at_once:
        answers = list(at_once.map(lambda case: login(server, case[0], case[1], chap=case[2]), refused))
    assert time.monotonic() - began >= 1, "a Reject takes its time"
    for case, answer in zip(refused, answers, strict=True):
        assert answer[0] == "Access-Reject", case
        assert not any(line.startswith("Reply-Message") for line in answer), case

    # Start, interim, stop, with the Class of the Accept.
    carried = f"Class = {value(login(server, 'alice', PASSWORD), 'Class')}"
    assert report(server, "Start", carried) == ["Accounting-Response"]
    used = ("Acct-Input-Octets = 1000", "Acct-Output-Octets = 705032704", "Acct-Output-Gigawords = 1")
    assert report(server, "Interim-Update", carried, *used, "Acct-Session-Time = 2000") == ["Accounting-Response"]
    assert report(server, "Stop", carried, *used, "Acct-Session-Time = 2001") == ["Accounting-Response"]
    assert report(server, "Accounting-On") == ["Accounting-Response"]

    # What is wrongly signed gets no answer.
    assert radclient(server.acct_port, "acct", "Acct-Status-Type = Start", secret="of-somebody-else", tries=1) == []

    engine = open_engine(database_url)
    with reading(engine) as connection:
        stopped = select(tables.session).where(tables.session.c.close_reason == "stop")
        session = connection.execute(stopped).one()
        charged = connection.execute(
            select(tables.session_charge.c.posted).where(tables.session_charge.c.session_id == session.session_id)
        ).scalars()
        assert (session.username, session.octets_up, session.octets_down) == ("alice", 1_000, 5_000_000_000)
        assert session.seconds == 2_001
        assert sum(charged) == 5_000_001_000
    engine.dispose()

    assert server.stop() == 0
    log = server.log
    for secret in (PASSWORD, WRONG, SECRET):
        assert secret not in log
    assert "Traceback" not in log
    events = [json.loads(line)["event"] for line in log.splitlines() if line.startswith("{")]
    assert {"serving", "access-accept", "access-reject", "packet-dropped", "stopped"} <= set(events)


def test_what_was_answered_survives_a_kill(server: ServerProcess) -> None:
    server.aaa("subscriber", "add", "alice", "--plan", "prepaid-50", "--password-stdin", stdin=PASSWORD)
    carried = f"Class = {value(login(server, 'alice', PASSWORD), 'Class')}"
    assert report(server, "Start", carried) == ["Accounting-Response"]
    used = ("Acct-Input-Octets = 1000", "Acct-Output-Octets = 2000", "Acct-Session-Time = 60")
    assert report(server, "Interim-Update", carried, *used) == ["Accounting-Response"]
    server.kill()
    assert json.loads(server.aaa("usage", "alice", "--json"))
    server.start()
    assert report(server, "Interim-Update", carried, *used) == ["Accounting-Response"], "the same again"
    more = ("Acct-Input-Octets = 1500", "Acct-Output-Octets = 2500", "Acct-Session-Time = 90")
    assert report(server, "Stop", carried, *more) == ["Accounting-Response"]
    balance = json.loads(server.aaa("balance", "alice", "--json"))
    assert "49999996000" in json.dumps(balance)
    assert server.stop() == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_nas_that_is_added_while_it_runs_is_answered_within_a_second(server: ServerProcess) -> None:
    server.aaa("nas", "remove", "here")
    other = "another-secret-of-32-characters!"
    server.aaa("nas", "add", "again", "--address", "127.0.0.0/8", "--secret-stdin", stdin=other)
    assert radclient(server.auth_port, "status", "Message-Authenticator = 0x00", secret=other)[0] == "Access-Accept"
