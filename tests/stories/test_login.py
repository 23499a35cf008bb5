"""`aaa test login` and `aaa trace` against the real server, on each kind of database."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import aaa as command
from tests.outside import environment
from tests.stories.conftest import Aaa, ServerProcess

pytestmark = pytest.mark.proof

PASSWORD = "correct horse"


def tried(server: ServerProcess, *options: str, password: str = PASSWORD, code: int = 0) -> dict[str, Any]:
    arguments = [
        *server.aaa.options, "test", "login", "alice", "--password-stdin", "--auth-port", str(server.auth_port),
        "--acct-port", str(server.acct_port), "--json", *options,
    ]  # fmt: skip
    result = CliRunner().invoke(command, arguments, prog_name="aaa", input=password + "\n")
    assert result.exit_code == code, result.output
    return dict(json.loads(result.stdout))


def test_a_login_by_each_method_and_why_it_was_refused(server: ServerProcess, aaa: Aaa) -> None:
    aaa("subscriber", "add", "alice", "--plan", "prepaid-50", "--password", PASSWORD, "--allow-chap")
    for method, name in (("pap", "PAP"), ("chap", "CHAP"), ("mschapv2", "MS-CHAPv2")):
        done = tried(server, "--method", method)
        assert (done["result"], done["reason"]) == ("access-accept", None)
        assert done["server_proof"] is (True if method == "mschapv2" else None)
        steps = [step["words"] for step in done["trace"]["steps"]]
        assert any(f"asks by {name}; device aaa-test-login" in step for step in steps), steps
        assert any(step.startswith("charging admits") for step in steps)
    sessions = json.loads(aaa("session", "list", "--all", "--json"))
    assert len(sessions) == 3
    assert {session["state"] for session in sessions} == {"closed"}
    wrong = tried(server, password="something else", code=1)
    assert (wrong["result"], wrong["reason"]) == ("access-reject", "wrong-password")
    aaa("subscriber", "set", "alice", "--only-port-type", "Ethernet")
    assert tried(server, code=1)["reason"] == "port-type-not-allowed"
    assert tried(server, "--port-type", "Ethernet")["result"] == "access-accept"
    shown = aaa("trace", "--user", "alice", "--last", "5m")
    assert "Access-Reject: wrong-password" in shown
    assert "conditions: port type Virtual; allowed: Ethernet" in shown


def test_whoever_follows_sees_what_comes_until_he_stops(
    server: ServerProcess, aaa: Aaa, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    aaa("subscriber", "add", "alice", "--plan", "prepaid-50", "--password", PASSWORD)
    line = [sys.executable, "-m", "cli.main", *aaa.options, "trace", "--user", "alice", "--follow", "--json"]
    file = tmp_path / "followed"
    with file.open("wb") as out, subprocess.Popen(line, env=environment(), stdout=out) as follower:
        try:
            tried(server)
            eventually(lambda: file.read_text().count("\n") == 3, within=15)
        finally:
            follower.send_signal(signal.SIGINT)
            ended = follower.wait(10)
    assert ended == 0
    seen = [json.loads(each) for each in file.read_text().splitlines()]
    assert [(each["kind"], each["result"]) for each in seen] == [
        ("login", "accept"), ("report", "recorded"), ("report", "recorded"),
    ]  # fmt: skip
    assert len(json.loads(aaa("trace", "--user", "alice", "--json"))) == 3


def test_a_server_that_does_not_answer_and_a_machine_that_is_no_nas(server: ServerProcess, aaa: Aaa) -> None:
    aaa("subscriber", "add", "alice", "--plan", "prepaid-50", "--password", PASSWORD)
    auth_port = server.auth_port
    server.stop()
    arguments = [*aaa.options, "test", "login", "alice", "--password-stdin", "--auth-port", str(auth_port)]
    result = CliRunner().invoke(command, arguments, prog_name="aaa", input=PASSWORD + "\n")
    assert result.exit_code == 1
    assert result.stdout.startswith(f"no answer from 127.0.0.1 port {auth_port}")
    aaa("nas", "set", "here", "--address", "192.0.2.1")
    result = CliRunner().invoke(command, arguments, prog_name="aaa", input=PASSWORD + "\n")
    assert result.exit_code == 1
    assert "no NAS has this machine's address, 127.0.0.1; run: aaa nas add test --address 127.0.0.1" in result.stderr
