"""A simulated NAS as a process of its own: `python -m tests.chaos.nas SPEC.json`, told on its standard input what to do.

Its journal is on disk before a datagram leaves, so whatever was sent is known, and whatever it says was answered was.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from aaa.simulator import Behaviour, Event, Server, SimulatedNas, SimulatedSession
from aaa.simulator.udp import Journal, Ports, now_ms, read_journal
from tests.outside import ROOT, environment

FINISHED = "all is answered"
LEAVE_WITHIN_SECONDS = 10
RETRANSMISSIONS = ("same-bytes", "new-identifier", "fresh-counters")


@dataclass(frozen=True)
class Spec:
    """What one NAS is. `servers`: (host, auth port, acct port), the one it asks first first."""

    name: str
    address: str
    coa_port: int
    secret: str
    servers: list[tuple[str, int, int]]
    users: list[str]
    password: str
    interim_seconds: int
    retransmission: str
    """One of RETRANSMISSIONS."""
    demand_bps: int
    """Up; down is five times as much."""
    churn_ms: int
    """After this, on average, one of the sessions logs out and in again."""
    journal: str
    seed: int


class NasProcess:
    """Started, told, and awaited by whoever runs the scenario."""

    def __init__(self, spec: Spec, folder: Path) -> None:
        self.spec = spec
        self.journal = Path(spec.journal)
        file = folder / f"{spec.name}.json"
        file.write_text(json.dumps(asdict(spec)), encoding="utf-8")
        self._log = folder / f"{spec.name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.nas", str(file)], cwd=ROOT, env=environment(),
                stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip

    def tell(self, word: str) -> None:
        """`finish`: log everybody out, and say so when all is answered. `leave`: end. `storm`: lose power, boot, all
        come back at once."""
        assert self._process.stdin is not None
        self._process.stdin.write(word.encode() + b"\n")
        self._process.stdin.flush()

    def finished(self, seconds: float) -> bool:
        """Was all of its accounting answered after `finish`, within this time? It goes on answering orders."""
        deadline = time.monotonic() + seconds
        while FINISHED not in self.log:
            if time.monotonic() > deadline or self._process.poll() is not None:
                return False
            time.sleep(0.05)
        return True

    def leave(self) -> bool:
        """End; did it end as it should?"""
        self.tell("leave")
        try:
            return self._process.wait(LEAVE_WITHIN_SECONDS) == 0
        except subprocess.TimeoutExpired:
            return False

    def kill(self) -> None:
        """SIGKILL; for the end of a scenario that failed."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def events(self) -> list[dict[str, object]]:
        """Its journal so far."""
        return read_journal(self.journal) if self.journal.exists() else []

    @property
    def log(self) -> str:
        """What it said when something went wrong with itself."""
        return self._log.read_text(encoding="utf-8")


class _Life:
    """Everybody logs in, comes and goes, and at last goes."""

    def __init__(self, spec: Spec) -> None:
        behaviour = Behaviour(
            interim_seconds=spec.interim_seconds, timeout_ms=1_000, attempts_per_server=2, gives_up=False,
            reconnect_ms=500, retransmission=spec.retransmission,  # type: ignore[arg-type]  # from JSON
        )  # fmt: skip
        servers = [Server((host, auth), (host, acct)) for host, auth, acct in spec.servers]
        self.spec = spec
        self.nas = SimulatedNas(
            spec.name, spec.address, spec.secret.encode(), "generic", servers, coa_port=spec.coa_port,
            behaviour=behaviour, seed=spec.seed,
        )  # fmt: skip
        self._chance = random.Random(spec.seed)
        self._finishing = self._finished = self._leaving = False
        self._churn_at = now_ms() + 2_000
        self._words = b""

    def begin(self) -> None:
        now = now_ms()
        self.nas.boot(now)
        for username in self.spec.users:
            self._log_in(username, now)

    def on_event(self, nas: SimulatedNas, event: Event) -> None:
        """Whoever was refused or not answered tries again."""
        if event.kind == "refused" or (event.kind == "unanswered" and event.fields.get("status") == "Access"):
            assert event.session is not None
            self._again(nas.sessions[event.session - 1])

    def go_on(self) -> bool:
        """Asked again and again: is everything over?"""
        if select.select([sys.stdin], [], [], 0)[0]:
            read = os.read(sys.stdin.fileno(), 4096)
            self._words += read or b"leave\n"
        while b"\n" in self._words:
            word, _, self._words = self._words.partition(b"\n")
            self._obey(word.decode())
        now = now_ms()
        if self._finishing:
            for session in self.nas.online():  # one that was still asking
                self.nas.log_out(session, now)
            asking = any(s.state == "asking" for s in self.nas.sessions)
            if not self._finished and not self.nas.unanswered and not asking:
                self._finished = True
                print(FINISHED, flush=True)
            return self._leaving
        if self.spec.churn_ms and now >= self._churn_at:
            self._churn_at = now + self._chance.randrange(self.spec.churn_ms * 2)
            online = self.nas.online()
            if online:
                leaving = self._chance.choice(online)
                self.nas.log_out(leaving, now)
                self._again(leaving)
        return False

    def _obey(self, word: str) -> None:
        now = now_ms()
        if word == "finish" and not self._finishing:
            self._finishing = True
            for session in self.nas.online():
                self.nas.log_out(session, now)
        elif word == "leave":
            self._leaving = self._finishing = True
        elif word == "storm":
            self.nas.reboot(now, orderly=False)
            for username in self.spec.users:
                self._log_in(username, now)

    def _log_in(self, username: str, now: int) -> None:
        up = self.spec.demand_bps
        port = self.spec.users.index(username) + 1
        self.nas.log_in(
            username, self.spec.password, now, method="chap", nas_port=port, demand_bps=(up, 5 * up),
            calling_station=f"02-00-00-00-{port >> 8:02X}-{port & 255:02X}",
        )  # fmt: skip

    def _again(self, session: SimulatedSession) -> None:
        if not self._finishing:
            self._log_in(session.username, now_ms())


def main() -> int:
    """Run one NAS until it is told to leave; exit code 1 when that took too long."""
    spec = Spec(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    life = _Life(spec)
    journal = Journal(Path(spec.journal), durable=True)
    with Ports([life.nas], on_event=life.on_event, journal=journal) as ports:
        life.begin()
        over = ports.run(life.go_on, now_ms() + 3_600_000)
        ports.run(lambda: False, now_ms() + 50)  # the last lines
    journal.close()
    return 0 if over else 1


if __name__ == "__main__":
    sys.exit(main())
