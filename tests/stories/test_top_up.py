"""A top-up that any SQL client commits is on the wire, as a CoA to the subscriber's NAS, within a second."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Final

from aaa.simulator import Behaviour, Event, Server, SimulatedNas, SimulatedSession
from aaa.simulator.udp import Ports, now_ms
from tests.outside import SECRET
from tests.stories.conftest import Aaa, ServerProcess
from tests.stories.plain_sql import plain_sql, top_up

TOP_UPS: Final = 200
MEAN_PAUSE_MS: Final = 25
PASSWORD: Final = "correct-horse"
NAS_ADDRESS: Final = "127.0.0.2"
LIMIT_MS: Final = 1_000

PLAN: Final = """\
currency = "EUR"
time_zone = "Europe/Berlin"
[profile.fast]
rate_down = "20M"
rate_up = "5M"
interim_interval = "1m"
[profile.slow]
rate_down = "256k"
rate_up = "128k"
interim_interval = "1m"
[plan.by-use]
profile = "fast"
[[plan.by-use.rate]]
unit = "octets"
price = "0.02"
per = "1MB"
[plan.by-use.exhausted]
action = "throttle"
profile = "slow"
"""


def test_from_committed_row_to_coa_within_a_second(
    server: ServerProcess, aaa: Aaa, database_url: str, tmp_path: Path
) -> None:
    chance = random.Random(5)
    users = [f"user-{number:03}" for number in range(TOP_UPS)]
    nas = SimulatedNas(
        "bras", NAS_ADDRESS, SECRET.encode(), "mikrotik",
        [Server(("127.0.0.1", server.auth_port), ("127.0.0.1", server.acct_port))],
        coa_port=0, behaviour=Behaviour(interim_seconds=5, timeout_ms=1_000, attempts_per_server=10),
    )  # fmt: skip
    with Ports([nas]) as ports, plain_sql(database_url) as sql:
        furnish(aaa, tmp_path, users, nas)
        sessions = log_in_exhausted(nas, ports, users)

        committed: dict[str, int] = {}
        chance.shuffle(users)
        for number, user in enumerate(users):
            # Meanwhile the NAS does what a NAS does: reports, and obeys.
            ports.run(lambda: False, now_ms() + round(chance.expovariate(1 / MEAN_PAUSE_MS)))
            sql("BEGIN")
            sql(top_up(user, f"order-{number}", "money", "10.00"))
            committed[user] = now_ms()  # just before, so that the COMMIT itself counts too
            sql("COMMIT")
        assert ports.run(lambda: all(s.told.down_bps == 20_000_000 for s in sessions), now_ms() + 15_000), [
            s.username for s in sessions if s.told.down_bps != 20_000_000
        ]

    ordered = first_orders(nas.log)
    latencies = sorted(ordered[user] - committed[user] for user in users)
    p50, p99 = (latencies[-(-TOP_UPS * percent // 100) - 1] for percent in (50, 99))
    print(f"top-up row to CoA over {TOP_UPS} top-ups: p50 {p50} ms, p99 {p99} ms, max {latencies[-1]} ms")
    assert p99 < LIMIT_MS
    aaa("ledger", "check")


def furnish(aaa: Aaa, folder: Path, users: list[str], nas: SimulatedNas) -> None:
    """A NAS, a plan without any allowance, and subscribers who have paid nothing yet, each with an account of their own."""
    (folder / "by-use.toml").write_text(PLAN, encoding="utf-8")
    rows = ["username,password,plan,allow_chap", *(f"{user},{PASSWORD},by-use,yes" for user in users)]
    (folder / "users.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    aaa(
        "nas", "add", nas.name, "--address", nas.address, "--dialect", nas.dialect, "--coa-port", str(nas.coa_port),
        "--secret-stdin", stdin=SECRET,
    )  # fmt: skip
    aaa("plan", "load", str(folder / "by-use.toml"))
    aaa("subscriber", "import", str(folder / "users.csv"))


def log_in_exhausted(nas: SimulatedNas, ports: Ports, users: list[str]) -> list[SimulatedSession]:
    """Everybody is let in at the exhausted profile's speed."""
    nas.boot(now_ms())
    sessions = [nas.log_in(user, PASSWORD, now_ms(), method="chap", demand_bps=(8_000, 64_000)) for user in users]
    assert ports.run(lambda: all(s.state != "asking" for s in sessions) and not nas.unanswered, now_ms() + 30_000)
    assert {(s.state, s.told.down_bps) for s in sessions} == {("online", 256_000)}
    return sessions


def first_orders(log: list[Event]) -> dict[str, int]:
    """When the NAS first received an order for each user name, by its own log."""
    received: dict[str, int] = {}
    for event in log:
        if event.kind == "order-received":
            assert event.fields["order"] == "COA_REQUEST"
            named = re.search(r"User-Name = '([^']+)'", str(event.fields["attributes"]))
            assert named
            received.setdefault(named[1], event.at)
    return received
