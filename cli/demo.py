"""`aaa demo`: one prepaid session on this machine, with the real server, the real commands and a simulated NAS."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from aaa.simulator import Behaviour, Event, Server, SimulatedNas, SimulatedSession, behaviour_of
from aaa.simulator.udp import Ports, now_ms
from charging.amounts import format_octets, format_rate
from charging.money import format_money

PLAN = """\
currency = "EUR"
time_zone = "Europe/Berlin"

[profile.fast]
rate_down = "20M"
rate_up = "5M"

[profile.slow]
rate_down = "256k"
rate_up = "128k"

[plan.demo]
profile = "fast"
thresholds = ["80%"]
[[plan.demo.allowance]]
name = "data"
unit = "octets"
amount = "12MB"
[[plan.demo.rate]]              # beyond the allowance, from the money bucket
unit = "octets"
price = "0.02"
per = "1MB"
step = "100kB"
[plan.demo.exhausted]
action = "throttle"
profile = "slow"
"""

SECRET = "a-demo-secret-of-32-characters!!"  # noqa: S105  nobody else ever talks to the demo
PASSWORD = "correct-horse"  # noqa: S105
START_SECONDS = 60
"""How long the server may need until it answers; a machine that has much else to do takes seconds."""
TOP_UP = "INSERT INTO billing_top_up (source, external_ref, account, unit, amount) VALUES ('shop', 'order-1', 'alice', 'money', '1.00')"


class DemoFailed(click.ClickException):
    """Something did not happen that the demo is there to show."""


@dataclass
class Stage:
    """The demo's folder, its server and its NAS."""

    folder: Path
    auth_port: int
    acct_port: int
    began_at: float = field(default_factory=time.monotonic)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "aaa.db"

    def command(self, *arguments: str) -> list[str]:
        """This very program, on the demo's database."""
        return [sys.executable, "-m", "cli.main", "--database", f"sqlite:///{self.database}", *arguments]

    def run(self, *arguments: str) -> None:
        """Show a command, run it, show what it says."""
        click.secho(f"$ aaa {' '.join(arguments)}", bold=True)
        done = subprocess.run(  # noqa: S603  our own program
            self.command(*arguments), capture_output=True, text=True, check=False, cwd=self.folder, env=environment()
        )
        click.echo("".join(f"  {line}\n" for line in (done.stdout + done.stderr).splitlines()), nl=False)
        if done.returncode:
            raise DemoFailed(f"`aaa {arguments[0]}` ended with {done.returncode}")

    def say(self, text: str) -> None:
        """One line of the story, with its time."""
        click.echo(f"{time.monotonic() - self.began_at:6.1f} s  {text}")

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """What any SQL client sees."""
        with closing(sqlite3.connect(self.database, timeout=30)) as connection, connection:
            return connection.execute(statement).fetchall()


@click.command(epilog="Example: aaa demo")
@click.option("--keep", is_flag=True, help="Leave the demo's folder, to look around in it.")
def demo(keep: bool) -> None:
    """Show a prepaid session: login, usage, throttle, top-up by SQL, full speed again, a clean ledger.

    Everything happens on 127.0.0.1 in a folder of its own; nothing else is touched. It takes about 20 seconds.
    """
    folder = Path(tempfile.mkdtemp(prefix="aaa-demo-"))
    auth_port, acct_port = free_ports(2)
    stage = Stage(folder, auth_port, acct_port)
    try:
        play(stage)
    except DemoFailed:
        keep = True  # with the server's log, which says why
        raise
    finally:
        if keep:
            click.echo(f"the demo's folder: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def play(stage: Stage) -> None:
    """The whole story."""
    (stage.folder / "plan.toml").write_text(PLAN, encoding="utf-8")
    stage.run("db", "upgrade")
    nas = simulated_nas(stage)
    on_event: list[Callable[[Event], None]] = []

    def tell(_nas: SimulatedNas, event: Event) -> None:
        for each in on_event:
            each(event)

    with Ports([nas], on_event=tell) as ports:
        stage.run(
            "nas", "add", "bras-1", "--address", "127.0.0.1", "--secret", SECRET, "--dialect", "mikrotik",
            "--coa-port", str(nas.coa_port),
        )  # fmt: skip
        stage.run("plan", "load", "plan.toml")
        stage.run("subscriber", "add", "alice", "--plan", "demo", "--password", PASSWORD)
        stage.run("topup", "alice", "0.10", "--reference", "first")
        click.secho("$ aaa serve", bold=True)
        server = start_server(stage)
        try:
            session_of_alice(stage, nas, ports, on_event)
        finally:
            stop_server(server)
    stage.run("usage", "alice")
    stage.run("balance", "alice")
    stage.run("ledger", "check")
    click.secho("That is all: every octet paid for, and the ledger agrees.", fg="green")


def session_of_alice(stage: Stage, nas: SimulatedNas, ports: Ports, on_event: list[Callable[[Event], None]]) -> None:
    """Login, exhaustion, top-up, logout."""
    alice: list[SimulatedSession] = []
    throttled = full_rate = 0
    answered = [0]

    def heard(event: Event) -> None:
        nonlocal throttled, full_rate
        if event.kind == "accounting-answered":
            answered[0] += 1
            stage.say(figures(stage, alice[0]))
        elif event.kind in {"accepted", "refused"}:
            stage.say(f"Access-{'Accept' if event.kind == 'accepted' else 'Reject'} for alice")
        elif event.kind == "told" and alice and alice[0].told.down_bps is not None:
            stage.say(f"the NAS applies {format_rate(alice[0].told.down_bps)} down")

    on_event.append(heard)

    def wait(until: Callable[[], bool], seconds: int, what: str) -> None:
        if not ports.run(until, now_ms() + seconds * 1000):
            raise DemoFailed(
                f"{what} did not happen within {seconds} s; the server's log is {stage.folder / 'serve.log'}"
            )

    nas.boot(now_ms())
    alice.append(nas.log_in("alice", PASSWORD, now_ms(), demand_bps=(8_000_000, 40_000_000)))
    wait(lambda: alice[0].state in {"online", "refused"}, START_SECONDS, "an answer to the login")
    if not alice[0].online:
        raise DemoFailed(f"alice was refused; the server's log is {stage.folder / 'serve.log'}")
    wait(lambda: not alice[0].online and alice[0].stop_acked, 60, "the end of what is paid")
    stage.say("the balance is used up: this NAS was told how far it reaches, and stopped at its last octet")
    alice[0] = nas.log_in("alice", PASSWORD, now_ms(), demand_bps=(8_000_000, 40_000_000))
    wait(lambda: rate_of(alice[0]) == 256_000, 10, "the throttle")
    stage.say("alice dials again, and is throttled: nothing pays for more")
    seen = answered[0]
    wait(lambda: answered[0] >= seen + 3, 20, "accounting")
    click.secho(f"sql> {TOP_UP};", bold=True)
    stage.query(TOP_UP)
    committed = time.monotonic()
    wait(lambda: rate_of(alice[0]) == 20_000_000, 10, "the restore")
    stage.say(f"full speed again, {(time.monotonic() - committed) * 1000:.0f} ms after the top-up was committed")
    seen = answered[0]
    wait(lambda: answered[0] >= seen + 3, 20, "accounting")
    nas.log_out(alice[0], now_ms())
    wait(lambda: alice[0].stop_acked, 10, "the Stop's answer")
    stage.say("alice hangs up; the Stop is answered, so it is in the books")


def rate_of(session: SimulatedSession) -> int | None:
    """What the NAS lets alice download, bit/s."""
    return session.told.down_bps


def figures(stage: Stage, session: SimulatedSession) -> str:
    """One line of live figures."""
    ((octets, micros),) = stage.query("SELECT octets, money_micros FROM billing_account WHERE account = 'alice'")
    used = session.acked.octets_up + session.acked.octets_down
    rate = "-" if session.told.down_bps is None else format_rate(session.told.down_bps)
    left = f"left {format_octets(int(str(octets)))} and {format_money(int(str(micros)), 'EUR')}"
    return f"used {format_octets(used):>10}   {left:<32} at {rate}"


def simulated_nas(stage: Stage) -> SimulatedNas:
    """A MikroTik router that reports every second, whatever it is asked for, and is more patient than most."""
    behaviour: Behaviour = replace(
        behaviour_of("mikrotik"), interim_seconds=1, timeout_ms=1_000, attempts_per_server=START_SECONDS
    )
    server = Server(("127.0.0.1", stage.auth_port), ("127.0.0.1", stage.acct_port))
    return SimulatedNas("bras-1", "127.0.0.1", SECRET.encode(), "mikrotik", [server], coa_port=0, behaviour=behaviour)


def start_server(stage: Stage) -> subprocess.Popen[bytes]:
    """`aaa serve`, its log in the demo's folder. It may take a moment; the NAS asks again until it is there."""
    with (stage.folder / "serve.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603  our own program
            stage.command(
                "serve",
                "--listen",
                "127.0.0.1",
                "--auth-port",
                str(stage.auth_port),
                "--acct-port",
                str(stage.acct_port),
            ),
            stdout=log,
            stderr=log,
            cwd=stage.folder,
            env=environment(),
        )


def stop_server(server: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and wait."""
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def free_ports(count: int) -> list[int]:
    """UDP ports on 127.0.0.1 that nobody has."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as first:
        first.bind(("127.0.0.1", 0))
        taken = first.getsockname()[1]
        return [taken, *free_ports(count - 1)] if count > 1 else [taken]


def environment() -> dict[str, str]:
    """Ours, without what would lead the commands to another database, and with this program's own modules in reach."""
    root = str(Path(__file__).parents[1])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AAA_")}
    return kept | {"PYTHONPATH": os.pathsep.join([root, *filter(None, [kept.get("PYTHONPATH")])])}
