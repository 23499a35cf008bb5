"""`python -m bench.storm`: a NAS reboots, and everybody it served comes back at once.

All subscribers are on line. The NAS sends Accounting-On, and then every one of them logs in, with a thousand requests outstanding,
while the server is still closing what was. Nobody may be refused, all must be in, memory stays bounded, and of each one session is
left.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from bench import load
from bench.cluster import Cluster, own_folder
from bench.figures import show
from bench.ours import DATABASE, PROCESSES, Ours
from bench.packets import ACCESS_ACCEPT, ACCOUNTING_RESPONSE, Sessions, accounting, attribute, logins
from bench.subject import Unusable

SECRET = "bench-secret-on-loopback-0123456"
ACCOUNTING_ON = 7
#: What a server with 20,000 sessions in its database may take at the most, and how much a storm may add to it.
MOST_MEMORY_MB = 384 * PROCESSES
CLOSED_WITHIN_SECONDS = 120


def storm(folder: Path, count: int, outstanding: int) -> dict[str, Any]:
    """The whole run, in an empty folder; what was found, and under `wrong` what should not be."""
    secret = SECRET.encode()
    cluster = Cluster(folder / "postgresql")
    wrong: list[str] = []
    try:
        server = Ours(cluster, folder, count, SECRET)
        server.start()
        try:
            sessions = Sessions(server.classes(count), secret)
            load.drive(server.acct_port, sessions.starts(), secret, ACCOUNTING_RESPONSE, 128)
            before = memory_mb(server.pid, "VmRSS")
            rebooted = attribute(40, ACCOUNTING_ON) + attribute(4, bytes((192, 0, 2, 1)))
            load.drive(server.acct_port, [accounting(0, rebooted, secret)], secret, ACCOUNTING_RESPONSE, 1)
            on_at = time.time()
            run = load.drive(
                server.auth_port,
                logins(count, count, count, secret),
                secret,
                ACCESS_ACCEPT,
                outstanding,
                keep_replies=True,
            )
            peak = memory_mb(server.pid, "VmHWM")
            codes = Counter(reply[0] for reply in run.replies if reply)
            closed_at = _closed(cluster, count)
        finally:
            server.stop()
        live = "FROM session WHERE closed_at IS NULL"
        again = cluster.number(DATABASE, f"SELECT count(DISTINCT subscriber_id) {live} AND state = 'provisional'")
        left = cluster.number(DATABASE, f"SELECT count(*) {live}")
    finally:
        cluster.stop()
    if codes != {ACCESS_ACCEPT: count}:
        wrong.append(f"answers by code {dict(codes)}, expected {count} Accepts and nothing else")
    if run.unverified:
        wrong.append(f"{run.unverified} answers with a wrong authenticator")
    if again != count or left != count:
        wrong.append(f"{again} subscribers are in again with {left} live sessions, expected {count} and {count}")
    if closed_at is None:
        wrong.append(f"the sessions from before were not closed within {CLOSED_WITHIN_SECONDS} s")
    if peak > MOST_MEMORY_MB:
        wrong.append(f"{peak} MB of memory, {MOST_MEMORY_MB} is the most")
    return {
        "logins": count,
        "outstanding": outstanding,
        "seconds": round(run.seconds, 2),
        "logins_per_second": round(run.per_second),
        "p50_ms": round(run.percentile_ms(50)),
        "p99_ms": round(run.percentile_ms(99)),
        "retransmissions": run.retransmissions,
        "rejects": run.unexpected,
        "old_sessions_closed_after_seconds": None if closed_at is None else round(closed_at - on_at, 1),
        "memory_before_mb": before,
        "memory_peak_mb": peak,
        "wrong": wrong,
    }


def _closed(cluster: Cluster, count: int) -> float | None:
    """When the last of the sessions from before the reboot was closed."""
    until = time.monotonic() + CLOSED_WITHIN_SECONDS
    while time.monotonic() < until:
        closed = cluster.number(DATABASE, "SELECT count(*) FROM session WHERE closed_at IS NOT NULL")
        if closed >= count:
            return time.time()
        time.sleep(0.1)
    return None


def memory_mb(pid: int, what: str) -> int:
    """`VmRSS` now, or `VmHWM`, the most so far; of a process and those that it started, together."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) // 1024 + sum(memory_mb(int(child), what) for child in children)
    raise Unusable(f"/proc/{pid}/status says nothing of {what}")


@click.command()
@click.option("--logins", "count", type=click.IntRange(1, 100_000), default=20_000, show_default=True)
@click.option("--outstanding", type=click.IntRange(1, 1024), default=1000, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(*, count: int, outstanding: int, as_json: bool) -> None:
    """Everybody comes back at once after a NAS's reboot."""
    try:
        with own_folder("storm") as folder:
            found = storm(folder, count, outstanding)
    except (Unusable, load.Unanswered) as error:
        raise click.ClickException(str(error)) from None
    show(found, as_json=as_json)


if __name__ == "__main__":
    main()
