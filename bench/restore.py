"""`python -m bench.restore`: how long after a top-up is committed does the CoA that restores the session leave?

Real processes, PostgreSQL, UDP on loopback. Some hundred subscribers have used everything up and are slowed; one after the other is paid
for by an INSERT of another program, while accounting packets of others come at an even pace. Counted is from the return of the COMMIT
to the packet's arrival at the NAS.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import click

from bench.cluster import Cluster, own_folder
from bench.figures import show
from bench.load import Unanswered
from bench.nases import Command, Nases, Packet
from bench.ours import DATABASE
from bench.packets import NASES, Sessions, Subscriber
from bench.poor import PoorServer, session_of
from bench.subject import Unusable

SECRET = "bench-secret-on-loopback-0123456"
MOST_P99_MS = 500
#: What the load may fall behind what was asked for.
ENOUGH_OF_THE_PACE = 0.95
_PAY = "INSERT INTO billing_top_up (source, external_ref, account, amount) VALUES ('bench', %s, %s, '5.00')"
_SETTLING_SECONDS = 60.0


def restore(
    folder: Path, per_second: int, top_ups: int, seconds: float, most_p99_ms: float = MOST_P99_MS
) -> dict[str, Any]:
    """The whole run, in an empty folder; what was found, and under `wrong` what should not be."""
    rich = -(-max(per_second, NASES) // NASES) * NASES
    cluster = Cluster(folder / "postgresql")
    try:
        with Nases(NASES, SECRET.encode(), lambda _: b"") as nases:
            server = PoorServer(cluster, folder, rich, top_ups, SECRET, nases.coa_port)
            server.start()
            try:
                return _measure(server, nases, per_second, seconds, most_p99_ms)
            finally:
                server.stop()
    finally:
        cluster.stop()


def _measure(server: PoorServer, nases: Nases, per_second: int, seconds: float, most_p99_ms: float) -> dict[str, Any]:
    rich, wanted = server.rich, range(server.rich, server.subscribers)
    sessions = server.log_in(nases, NASES)
    spent = sessions.reports(rich, server.poor)
    nases.exchange([Packet(n % NASES, server.acct_port, p) for n, p in zip(wanted, spent, strict=True)], 128)
    _until_told(nases, wanted)
    server.cluster.settle_down()
    load = Sessions(sessions.classes[:rich], SECRET.encode()).reports(0, int(per_second * (seconds + 30)))
    packets = [Packet(k % rich % NASES, server.acct_port, p) for k, p in enumerate(load)]
    nases.pace(packets[: 3 * per_second], per_second)
    first = len(nases.commands)
    answered, repeated = nases.answered, nases.repeated
    committed: dict[bytes, float] = {}
    paying = threading.Thread(target=_pay, args=(server, wanted, seconds, committed), daemon=True)
    paying.start()
    began = time.monotonic()
    until = began + seconds + 20
    pace = nases.pace(
        packets[3 * per_second :],
        per_second,
        lambda: (
            paying.is_alive() or (len(_first_told(nases.commands[first:])) < len(wanted) and time.monotonic() < until)
        ),
    )
    took = time.monotonic() - began
    return _found(committed, _first_told(nases.commands[first:]), pace, per_second, most_p99_ms) | {
        "accounting_answered_per_second": round((nases.answered - answered) / took),
        "accounting_sent_again": nases.repeated - repeated,
        "seconds": round(took, 1),
    }


def _pay(server: PoorServer, wanted: range, seconds: float, committed: dict[bytes, float]) -> None:
    """One after the other, at an even pace."""
    began = time.monotonic()
    with server.cluster.connect(DATABASE) as connection:
        for at, n in enumerate(wanted):
            time.sleep(max(0.0, began + at * seconds / len(wanted) - time.monotonic()))
            connection.execute(_PAY, (f"r{n}", Subscriber(n).username))
            committed[session_of(n)] = time.monotonic()


def _until_told(nases: Nases, wanted: range) -> None:
    """Everybody is slowed."""
    until = time.monotonic() + _SETTLING_SECONDS
    while len(_first_told(nases.commands)) < len(wanted):
        nases.turn(0.05)
        if time.monotonic() > until:
            raise Unusable(f"{len(_first_told(nases.commands))} of {len(wanted)} were slowed")
    quiet = time.monotonic() + 1
    while time.monotonic() < quiet:
        nases.turn(0.05)


def _first_told(commands: list[Command]) -> dict[bytes, float]:
    told: dict[bytes, float] = {}
    for each in commands:
        told.setdefault(each.session, each.at)
    return told


def _found(
    committed: dict[bytes, float], told: dict[bytes, float], pace: float, per_second: int, most_p99_ms: float
) -> dict[str, Any]:
    ms = sorted((told[session] - at) * 1000 for session, at in committed.items() if session in told)
    wrong = [f"{len(committed) - len(ms)} were paid for and never restored"] if len(ms) < len(committed) else []
    if not ms:
        raise Unusable("nobody was restored")
    p50, p99 = (ms[min(len(ms) - 1, len(ms) * percent // 100)] for percent in (50, 99))
    if p99 >= most_p99_ms:
        wrong.append(f"p99 is {p99:.0f} ms, less than {most_p99_ms:.0f} was promised")
    if pace < ENOUGH_OF_THE_PACE * per_second:
        wrong.append(f"only {pace:.0f} packets a second of load were sent, {per_second} were asked for")
    return {
        "top_ups": len(committed),
        "p50_ms": round(p50),
        "p99_ms": round(p99),
        "most_ms": round(ms[-1]),
        "accounting_sent_per_second": round(pace),
        "wrong": wrong,
    }


@click.command()
@click.option(
    "--per-second", type=click.IntRange(1, 20_000), default=2000, show_default=True, help="Accounting packets."
)
@click.option("--top-ups", type=click.IntRange(1, 10_000), default=500, show_default=True)
@click.option("--seconds", type=click.FloatRange(1, 3600), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(*, per_second: int, top_ups: int, seconds: float, as_json: bool) -> None:
    """From a committed top-up to the CoA on the wire, under load."""
    try:
        with own_folder("restore") as folder:
            found = restore(folder, per_second, top_ups, seconds)
    except (Unusable, Unanswered) as error:
        raise click.ClickException(str(error)) from None
    show(found, as_json=as_json)


if __name__ == "__main__":
    main()
