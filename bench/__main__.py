"""`python -m bench`: this server and FreeRADIUS side by side, in one run on one machine."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench import load, machine
from bench.cluster import Cluster
from bench.freeradius import FreeRadius
from bench.ours import Ours
from bench.packets import ACCESS_ACCEPT, ACCOUNTING_RESPONSE, STRIDE, Sessions, logins
from bench.subject import Server, Unusable, end

SECRET = "bench-secret-on-loopback-0123456"
KINDS = ("accounting", "pap")
# Packets are made before the window. Should a server be faster than this, its window ends early and says so in `seconds`.
PREPARED_PER_SECOND = {"accounting": 40_000, "pap": 20_000}

console = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    kinds: tuple[str, ...]
    outstanding: tuple[int, ...]
    rounds: int
    seconds: float
    warm_up: float
    subscribers: int
    sessions: int


@dataclass(slots=True)
class Progress:
    """How far one server's streams have come."""

    interims: int = 0
    logins: int = 0


@dataclass(slots=True)
class Results:
    """What was found."""

    cells: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def measured(
    server: Server, cluster: Cluster, packets: Sequence[bytes], code: int, outstanding: int, first: int,
    warm_up: float, seconds: float,
) -> tuple[load.Run, dict[str, float]]:  # fmt: skip
    """One window, and what it cost: see `machine.Cpu.since`. `packets` are accounting where `code` answers that."""
    port = server.acct_port if code == ACCOUNTING_RESPONSE else server.auth_port
    before = machine.cpu(server.pid, cluster.pid)
    run = load.drive(port, packets, SECRET.encode(), code, outstanding, first=first, warm_up=warm_up, seconds=seconds)
    return run, machine.cpu(server.pid, cluster.pid).since(before, run.sent)


def measure(
    kind: str,
    turn: int,
    outstanding: int,
    server: Server,
    cluster: Cluster,
    plan: Plan,
    sessions: Sessions | None,
    progress: Progress,
) -> Results:
    """One kind of packet against one running server, at one number outstanding."""
    results = Results()
    cluster.settle_down()
    count = int(PREPARED_PER_SECOND[kind] * (plan.warm_up + plan.seconds))
    if sessions is not None and kind == "accounting":
        first = progress.interims
        packets = sessions.reports(first, count)
        code = ACCOUNTING_RESPONSE
    else:
        first = progress.logins
        packets = logins(first, count, plan.subscribers, SECRET.encode(), STRIDE)
        code = ACCESS_ACCEPT
    run, used = measured(server, cluster, packets, code, outstanding, first, plan.warm_up, plan.seconds)
    if kind == "accounting":
        progress.interims += run.sent
    else:
        progress.logins += run.sent
    cell = {
        "kind": kind,
        "round": turn + 1,
        "server": server.name,
        "outstanding": outstanding,
        "packets_per_second": round(run.per_second, 1),
        "p50_ms": round(run.percentile_ms(50), 3),
        "p99_ms": round(run.percentile_ms(99), 3),
        "seconds": round(run.seconds, 3),
        "answers": run.answers,
        "retransmissions": run.retransmissions,
        "unverified": run.unverified,
        "unexpected": run.unexpected,
        "cpu": used,
    }
    results.cells.append(cell)
    if run.unverified or run.unexpected or not run.answers:
        results.wrong.append(
            f"{server.name}, {kind}, {outstanding} outstanding: {run.answers} answers, {run.unverified} with a wrong "
            f"authenticator, {run.unexpected} with another code than {code}"
        )
    console.print(
        f"  {kind} {outstanding:>4} outstanding: {server.name:>10} {run.per_second:>8,.0f}/s  p50 {cell['p50_ms']:.1f} ms  p99 {cell['p99_ms']:.1f} ms"
        f"  {run.retransmissions} retransmitted  CPU µs/packet: server {used['server_us']:.0f}, PostgreSQL {used['postgresql_us']:.0f},"
        f" generator {used['generator_us']:.0f}; others {used['others_share']:.0%}, stolen {used['stolen_share']:.0%}"
    )
    return results


def start_sessions(server: Server, sessions: Sessions) -> None:
    """Send every session's Start, unmeasured."""
    run = load.drive(server.acct_port, sessions.starts(), sessions.secret, ACCOUNTING_RESPONSE, 128)
    console.print(f"  {server.name}: {run.sent:,} Starts at {run.per_second:,.0f}/s")


def see_everybody(server: Server, plan: Plan, progress: Progress) -> list[str]:
    """Log every subscriber in, unmeasured: what is measured then is a server that runs, not one that begins. As few at a time as
    will be measured first: after a crowd ours would be spread over more processes for half a minute."""
    packets = logins(progress.logins, plan.subscribers, plan.subscribers, SECRET.encode(), STRIDE)
    outstanding = plan.outstanding[0]
    run = load.drive(server.auth_port, packets, SECRET.encode(), ACCESS_ACCEPT, outstanding, first=progress.logins)
    progress.logins += run.sent
    console.print(f"  {server.name}: everybody logs in once, {run.sent:,} at {run.per_second:,.0f}/s")
    return [f"{server.name}: {run.unexpected} of {run.sent} were not let in"] if run.unexpected else []


def check(kind: str, server: Server, plan: Plan, sessions: Sessions | None, progress: Progress) -> list[str]:
    """What is wrong in its database."""
    if sessions is not None and kind == "accounting":
        found = server.check_accounting(sessions, progress.interims)
    else:
        found = server.check_logins(progress.logins, plan.subscribers)
    return [f"{server.name}: {text}" for text in found]


def stop_sessions(server: Server, sessions: Sessions, progress: Progress) -> list[str]:
    """Send every session's Stop, unmeasured, and check what is left."""
    run = load.drive(server.acct_port, sessions.stops(progress.interims), sessions.secret, ACCOUNTING_RESPONSE, 128)
    console.print(f"  {server.name}: {run.sent:,} Stops at {run.per_second:,.0f}/s")
    return [f"{server.name}: {text}" for text in server.check_end(sessions)]


def generator_ceiling(outstanding: int) -> dict[str, float]:
    """What the generator does against a server that does nothing."""
    (port,) = load.free_ports(1)
    secret = SECRET.encode()
    echo = subprocess.Popen(
        [sys.executable, "-m", "bench.echo", str(port), SECRET], cwd=Path(__file__).resolve().parent.parent
    )
    try:
        if not load.wait_for(port, secret, alive=lambda: echo.poll() is None):
            raise Unusable("the echo server of the generator's own test does not answer")
        packets = Sessions([bytes(48)] * 1000, secret).reports(0, 200_000)
        run = load.drive(port, packets, secret, ACCOUNTING_RESPONSE, outstanding, warm_up=0.2, seconds=1.5)
    finally:
        end(echo)
    return {
        "packets_per_second": round(run.per_second),
        "cpu_us_per_packet": round(run.cpu_micros_per_packet, 1),
        "outstanding": outstanding,
    }


@contextmanager
def running(server: Server) -> Iterator[None]:
    """The server, from its first answer to its end."""
    server.start()
    try:
        yield
    finally:
        server.stop()


def compare(folder: Path, plan: Plan, names: tuple[str, ...]) -> dict[str, Any]:
    """The whole run: prepare, then each kind of packet against the servers in turns, then the checks. JSON-ready.

    In turns for each number outstanding, because a machine's speed changes within seconds: what is compared was measured one
    right after the other, and the other way round in the next round. Both run; who is not measured has nothing to do.
    """
    report: dict[str, Any] = {
        "at": int(time.time()),
        "machine": machine.describe(folder),
        "plan": {name: getattr(plan, name) for name in Plan.__slots__},
    }
    if report["machine"]["file_system"] == "tmpfs":
        console.print("[yellow]The database is on tmpfs: commits cost nothing there. Choose a disk with --folder.[/]")
    report["generator"] = generator_ceiling(max(plan.outstanding))
    console.print(
        f"The generator alone: {report['generator']['packets_per_second']:,}/s, {report['generator']['cpu_us_per_packet']} µs per packet"
    )
    cluster = Cluster(folder / "postgresql")
    everything = Results()
    try:
        report["postgresql"] = cluster.settings()
        kinds_of_server: dict[str, type[Ours | FreeRadius]] = {"ours": Ours, "freeradius": FreeRadius}
        servers: list[Server] = []
        for name in names:
            began = time.monotonic()
            servers.append(kinds_of_server[name](cluster, folder, plan.subscribers, SECRET))
            console.print(f"{name}: {plan.subscribers:,} subscribers prepared in {time.monotonic() - began:.1f} s")
        report["servers"] = {server.name: server.describe() for server in servers}
        progress = {server.name: Progress() for server in servers}
        sessions: Sessions | None = None
        for kind, turn in product(plan.kinds, range(plan.rounds)):
            console.print(f"[bold]{kind}[/], round {turn + 1} of {plan.rounds}")
            with ExitStack() as stack:
                for server in servers:
                    stack.enter_context(running(server))
                if kind == "accounting" and sessions is None:
                    # the first server's Class values go into the packets of both
                    sessions = Sessions(servers[0].classes(plan.sessions), SECRET.encode(), STRIDE)
                    for server in servers:
                        start_sessions(server, sessions)
                if kind == "pap":
                    for server in servers:
                        everything.wrong += see_everybody(server, plan, progress[server.name])
                in_turn = servers if turn % 2 == 0 else servers[::-1]
                for outstanding, server in product(plan.outstanding, in_turn):
                    found = measure(kind, turn, outstanding, server, cluster, plan, sessions, progress[server.name])
                    everything.cells += found.cells
                    everything.wrong += found.wrong
                for server in servers:
                    everything.wrong += check(kind, server, plan, sessions, progress[server.name])
                    if sessions is not None and (kind, turn) == (plan.kinds[-1], plan.rounds - 1):
                        everything.wrong += stop_sessions(server, sessions, progress[server.name])
    finally:
        cluster.stop()
    report["cells"] = everything.cells
    report["ratios"] = ratios(everything.cells)
    report["wrong"] = everything.wrong
    return report


def ratios(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ours : FreeRADIUS, where both were measured: of every round, and the median of these."""
    rate = {(c["kind"], c["outstanding"], c["round"], c["server"]): c["packets_per_second"] for c in cells}
    found: dict[tuple[str, int], list[float]] = {}
    for (kind, outstanding, turn, server), ours in rate.items():
        theirs = rate.get((kind, outstanding, turn, "freeradius"))
        if server == "ours" and theirs:
            found.setdefault((kind, outstanding), []).append(round(ours / theirs, 2))
    return [
        {"kind": kind, "outstanding": outstanding, "ratio": round(median(each), 2), "rounds": each}
        for (kind, outstanding), each in found.items()
    ]


def table(report: dict[str, Any]) -> Table:
    """The figures, one row per kind and number outstanding."""
    titles = ("packets", "outstanding", "ours/s", "p50 ms", "p99 ms", "FreeRADIUS/s", "p50 ms", "p99 ms", "ratio")
    shown = Table(title="This server, charging, and FreeRADIUS with rlm_sql on the same PostgreSQL")
    for title in titles:
        shown.add_column(title, justify="left" if title == "packets" else "right")
    by_row: dict[tuple[str, int], dict[str, list[dict[str, Any]]]] = {}
    for cell in report["cells"]:
        row = by_row.setdefault((cell["kind"], cell["outstanding"]), {})
        row.setdefault(cell["server"], []).append(cell)
    ratio = {(one["kind"], one["outstanding"]): f"{one['ratio']:.2f}" for one in report["ratios"]}
    for (kind, outstanding), servers in by_row.items():
        figures: list[str] = []
        for name in ("ours", "freeradius"):
            rounds = servers.get(name, ())
            for column, form in (("packets_per_second", ",.0f"), ("p50_ms", ".1f"), ("p99_ms", ".1f")):
                figures.append(format(median(cell[column] for cell in rounds), form) if rounds else "-")
        shown.add_row(kind, str(outstanding), *figures, ratio.get((kind, outstanding), "-"))
    return shown


def _numbers(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(one) for one in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of numbers like 32,128,512") from None
    if not all(1 <= number <= 1024 for number in numbers):
        raise click.BadParameter("each number is between 1 and 1024: more needs more source ports")
    return numbers


@click.command()
@click.option("--quick", is_flag=True, help="Short windows, fewer subscribers: under 90 seconds, for a first look.")
@click.option(
    "--json", "json_file", type=click.File("w"), help="Write everything measured to this file ('-': standard output)."
)
@click.option("--seconds", type=click.FloatRange(1, 60), help="Length of a measured window.  [default: 3, quick: 2.5]")
@click.option(
    "--rounds", type=click.IntRange(1, 20), help="Turns of each server; medians are shown.  [default: 5, quick: 1]"
)
@click.option(
    "--outstanding", default="32,128,512", show_default=True, callback=_numbers, help="Packets under way at any moment."
)
@click.option("--only", type=click.Choice(KINDS), help="Only this kind of packet.")
@click.option("--server", "which", type=click.Choice(["ours", "freeradius", "both"]), default="both", show_default=True)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Disk to work on.  [default: the system's temporary folder]",
)
@click.option("--keep", is_flag=True, help="Keep the working folder, for its logs.")
def main(  # noqa: PLR0913 - its options
    *,
    quick: bool,
    json_file: Any,
    seconds: float | None,
    rounds: int | None,
    outstanding: tuple[int, ...],
    only: str | None,
    which: str,
    folder: Path | None,
    keep: bool,
) -> None:
    """Measure this server (charging on) and FreeRADIUS with rlm_sql on the same PostgreSQL, with the same packets.

    Example: python -m bench --quick --json bench.json
    """
    plan = Plan(
        kinds=(only,) if only else KINDS,
        outstanding=outstanding,
        rounds=rounds or (1 if quick else 5),
        seconds=seconds or (2.5 if quick else 3.0),
        warm_up=0.7 if quick else 1.5,
        subscribers=4_000 if quick else 20_000,
        sessions=2_000 if quick else 4_000,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C does: end the servers, remove the folder
    names = ("ours", "freeradius") if which == "both" else (which,)
    work = Path(tempfile.mkdtemp(prefix="aaa-bench-", dir=folder))
    work.chmod(0o711)  # PostgreSQL runs as another user when root starts it
    try:
        report = compare(work, plan, names)
    except (Unusable, load.Unanswered) as error:
        raise click.ClickException(str(error)) from None
    finally:
        if keep:
            console.print(f"Kept: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    settings = report["postgresql"]
    Console(width=max(100, Console().width)).print(table(report))
    click.echo("PostgreSQL " + ", ".join(f"{name} {value}" for name, value in settings.items()))
    for name, description in report["servers"].items():
        click.echo(f"{name}: " + ", ".join(f"{key} {value}" for key, value in description.items()))
    described = report["machine"]
    click.echo(
        f"{described['processors']} x {described['processor']}; {described['file_system']}, {described['sync_ms']} ms per synced write"
    )
    disturbed = [share for cell in report["cells"] if (share := machine.disturbed(cell["cpu"]))]
    if disturbed:
        click.echo(
            f"The machine was not quiet in {len(disturbed)} of {len(report['cells'])} windows: others took up to {max(disturbed):.0%} of it."
        )
    if json_file is not None:
        json.dump(report, json_file, indent=2, default=list)
        json_file.write("\n")
    for text in report["wrong"]:
        click.echo(f"WRONG: {text}", err=True)
    if report["wrong"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
