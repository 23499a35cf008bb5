"""`python -m bench.exhaustion`: very many sessions have nothing left within ten seconds. When are they told?

Real processes, PostgreSQL, UDP on loopback: 20 sessions on each NAS; of ten NASes one is silent, and one refuses. All sessions of the
others must be told within thirty seconds of the first report, and the server's memory stays bounded. What becomes of the rest takes
minutes, and is shown on a clock that need not be waited for (`python -m tests.store.mass`).
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import click

from bench.cluster import Cluster, own_folder
from bench.figures import show
from bench.load import Unanswered
from bench.nases import RESOURCES_UNAVAILABLE, Command, Nases, Packet
from bench.packets import NASES
from bench.poor import PoorServer, session_of
from bench.restore import SECRET
from bench.storm import memory_mb
from bench.subject import Unusable

SESSIONS_PER_NAS: Final = 20
EVENT_SECONDS: Final = 10
TOLD_WITHIN_SECONDS: Final = 30
#: A profile and the Disconnect after it, each with its repetitions.
MOST_PACKETS: Final = 30
#: What the event may add to a server with these sessions in its database.
MOST_ADDED_MB: Final = 128


def manners(command: Command) -> bytes | None:
    """The first of ten is silent, the second refuses, the others obey."""
    return {0: None, 1: RESOURCES_UNAVAILABLE}.get(command.nas % 10, b"")


def exhaust(folder: Path, count: int) -> dict[str, Any]:
    """The whole run, in an empty folder; what was found, and under `wrong` what should not be."""
    nas_count = -(-count // SESSIONS_PER_NAS // NASES) * NASES
    cluster = Cluster(folder / "postgresql")
    try:
        with Nases(nas_count, SECRET.encode(), manners) as nases:
            server = PoorServer(cluster, folder, 0, count, SECRET, nases.coa_port)
            server.start()
            try:
                return _measure(server, nases, nas_count)
            finally:
                server.stop()
    finally:
        cluster.stop()


def _measure(server: PoorServer, nases: Nases, nas_count: int) -> dict[str, Any]:
    count = server.poor
    sessions = server.log_in(nases, nas_count)
    server.cluster.settle_down()
    before = memory_mb(server.pid, "VmRSS")
    packets = [Packet(n % nas_count, server.acct_port, p) for n, p in enumerate(sessions.reports(0, count))]
    others = {session_of(n) for n in range(count) if n % nas_count % 10 > 1}
    first = len(nases.commands)
    began = time.monotonic()
    nases.pace(packets, count / EVENT_SECONDS)
    reported = time.monotonic()
    told: dict[bytes, float] = {}
    seen = first
    while len(told) < len(others) and time.monotonic() < began + 2 * TOLD_WITHIN_SECONDS:
        nases.turn(0.05)
        for command in nases.commands[seen:]:
            if command.session in others:
                told.setdefault(command.session, command.at)
        seen = len(nases.commands)
    last = max(told.values(), default=began) - began
    most = max(Counter(command.session for command in nases.commands[first:]).values(), default=0)
    peak = memory_mb(server.pid, "VmHWM")
    wrong = []
    if len(told) < len(others) or last > TOLD_WITHIN_SECONDS:
        wrong.append(
            f"{len(told)} of {len(others)} were told, the last after {last:.1f} s; {TOLD_WITHIN_SECONDS} is the most"
        )
    if most > MOST_PACKETS:
        wrong.append(f"{most} packets to one session, {MOST_PACKETS} is the most")
    if peak - before > MOST_ADDED_MB:
        wrong.append(f"the event took {peak - before} MB of memory, {MOST_ADDED_MB} is the most")
    return {
        "sessions": count,
        "on_obedient_nases": len(others),
        "reported_within_seconds": round(reported - began, 1),
        "told_within_seconds": round(last, 1),
        "packets_to_one_session": most,
        "reports_sent_again": nases.repeated,
        "memory_before_mb": before,
        "memory_peak_mb": peak,
        "wrong": wrong,
    }


@click.command()
@click.option("--sessions", type=click.IntRange(100, 100_000), default=10_000, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(*, sessions: int, as_json: bool) -> None:
    """Everybody has nothing left at once."""
    try:
        with own_folder("exhaustion") as folder:
            found = exhaust(folder, sessions)
    except (Unusable, Unanswered) as error:
        raise click.ClickException(str(error)) from None
    show(found, as_json=as_json)


if __name__ == "__main__":
    main()
