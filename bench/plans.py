"""What a plan with everything costs: accounting for it and for a plain one, window by window, in one run.

python -m bench.plans
"""

from pathlib import Path
from statistics import median
from typing import Any

import click

from bench import load, machine
from bench.__main__ import SECRET, measured, running
from bench.cluster import Cluster, own_folder
from bench.figures import show
from bench.ours import PLAN, RICH_PLAN, Ours
from bench.packets import ACCOUNTING_RESPONSE, Sessions
from bench.subject import Unusable

SESSIONS = 2_000
WARM_UP_SECONDS = 1.0
SECONDS = 4.0


def compare(folder: Path, outstanding: int, rounds: int) -> dict[str, Any]:
    """Accounting under a plain and a rich plan in turn: packets per second of every window, and the ratio of the medians."""
    cluster = Cluster(folder / "postgresql")
    found: dict[str, list[float]] = {"plain": [], "rich": []}
    cost: dict[str, list[tuple[float, float]]] = {"plain": [], "rich": []}
    wrong: list[str] = []
    noisy = 0
    try:
        servers = {
            name: Ours(cluster, folder / name, SESSIONS, SECRET, plan, f"aaa_{name}")
            for name, plan in (("plain", PLAN), ("rich", RICH_PLAN))
        }
        sent = dict.fromkeys(servers, 0)
        sessions: dict[str, Sessions] = {}
        for turn in range(rounds):
            for name, server in servers.items():
                with running(server):
                    if not turn:
                        sessions[name] = Sessions(server.classes(SESSIONS), SECRET.encode())
                        load.drive(
                            server.acct_port, sessions[name].starts(), SECRET.encode(), ACCOUNTING_RESPONSE, outstanding
                        )
                    cluster.settle_down()
                    count = int(20_000 * (WARM_UP_SECONDS + SECONDS))
                    packets = sessions[name].reports(sent[name], count)
                    run, used = measured(
                        server, cluster, packets, ACCOUNTING_RESPONSE, outstanding, sent[name], WARM_UP_SECONDS, SECONDS
                    )
                    sent[name] += run.sent
                    noisy += machine.disturbed(used) > 0
                    found[name].append(round(run.per_second, 1))
                    cost[name].append((used["server_us"], used["postgresql_us"]))
                    wrong += server.check_accounting(sessions[name], sent[name])
    finally:
        cluster.stop()
    ratio = median(found["rich"]) / median(found["plain"])
    return {
        "outstanding": outstanding, "plain_per_second": found["plain"], "rich_per_second": found["rich"],
        "plain_server_and_database_us": cost["plain"], "rich_server_and_database_us": cost["rich"],
        "ratio": round(ratio, 3), "windows_not_quiet": noisy, "wrong": wrong,
    }  # fmt: skip


@click.command()
@click.option("--outstanding", type=click.IntRange(1, 1024), default=128, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True, help="Windows of each plan.")
@click.option("--json", "as_json", is_flag=True)
def main(*, outstanding: int, rounds: int, as_json: bool) -> None:
    """What tiers, windows, fair use and roll-over cost against a plain plan."""
    try:
        with own_folder("plans") as folder:
            found = compare(folder, outstanding, rounds)
    except (Unusable, load.Unanswered) as error:
        raise click.ClickException(str(error)) from None
    show(found, as_json=as_json)


if __name__ == "__main__":
    main()
