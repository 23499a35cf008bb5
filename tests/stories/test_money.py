"""Thousands of sessions over a bad network, the server killed three times: what was answered is in the books, to the octet.

The auditor here is the fleet itself: what each session reported was written down before anything was sent, and what it
has to cost is worked out from the plan by hand.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from click.testing import CliRunner

from aaa.simulator import Figures
from cli.main import aaa as command
from tests.fleet import ScriptedFleet, ScriptedSession
from tests.network import BadNetwork, Faults
from tests.outside import SECRET
from tests.stories.conftest import Aaa, ServerProcess
from tests.stories.plain_sql import PlainSql, plain_sql, top_up

pytestmark = pytest.mark.proof

SESSIONS: Final = int(os.environ.get("AAA_MONEY_SESSIONS", "2000"))
"""Fewer are for a quick look."""
REPORTS: Final = 6
KILL_AT_PERCENT: Final = (10, 40, 70)
WITHIN_SECONDS: Final = 120
NAS_ADDRESS: Final = "127.0.0.2"
PASSWORD: Final = "correct-horse"
FAULTS: Final = Faults(loss=0.1, duplication=0.1, reordering=0.2)

PLAN: Final = """\
currency = "EUR"
time_zone = "Europe/Berlin"
[profile.fast]
rate_down = "20M"
rate_up = "5M"
interim_interval = "1m"
[plan.mixed]
profile = "fast"
max_sessions = "unlimited"
[[plan.mixed.allowance]]
name = "data"
unit = "octets"
amount = "20MB"
[[plan.mixed.rate]]
unit = "octets"
price = "0.02"
per = "1MB"
step = "100kB"
fee = "0.50"
"""
ALLOWANCE_OCTETS: Final = 20_000_000
PAID_IN_MICROS: Final = 100_000_000


def cost_micros(octets: int) -> int:
    """The plan's rate by hand: 0.02 per MB is 2000 micros per begun 100 kB, and 0.50 once."""
    return 500_000 + -(-octets // 100_000) * 2_000 if octets else 0


class House(NamedTuple):
    """An account and its subscribers: every other subscriber has one alone, the rest share one by threes."""

    account: str
    users: list[str]


def houses(users: int) -> list[House]:
    half = users // 2
    alone = [House(f"user-{n}", [f"user-{n}"]) for n in range(half)]
    shared = [House(f"family-{n}", [f"user-{m}" for m in range(n, min(n + 3, users))]) for n in range(half, users, 3)]
    return alone + shared


def test_every_answered_packet_is_paid_for_exactly_once(
    server: ServerProcess, aaa: Aaa, database_url: str, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    users = [f"user-{n}" for n in range(SESSIONS // 2)]
    homes = houses(len(users))
    with plain_sql(database_url) as sql:
        furnish(aaa, tmp_path, homes)
        for home in homes:
            sql(top_up(home.account, f"first-{home.account}", "money", "100.00"))
        eventually(lambda: sql("SELECT count(*) FROM billing_top_up WHERE status <> 'applied'") == [(0,)], within=20)

        began = time.monotonic()
        with BadNetwork(FAULTS, seed=7) as network:
            fleet = ScriptedFleet(
                server=("127.0.0.1", server.auth_port, server.acct_port), secret=SECRET.encode(), address=NAS_ADDRESS,
                sessions=SESSIONS, users=users, password=PASSWORD, method="chap", reports=REPORTS, seed=3,
                through=network, retransmit_seconds=(0.4, 0.8),
            )  # fmt: skip
            complete = drive(fleet, server, sql, eventually)
        took = time.monotonic() - began
        print(
            f"{SESSIONS} sessions x {REPORTS} packets in {took:.1f} s: {fleet.answered} answers, "
            f"{fleet.retransmissions} retransmissions, {network.counts['up', 'lost'] + network.counts['down', 'lost']} "
            f"lost, {network.counts['up', 'doubled'] + network.counts['down', 'doubled']} doubled, "
            f"{network.counts['up', 'reordered'] + network.counts['down', 'reordered']} reordered"
        )
        assert complete, f"{fleet.done} of {SESSIONS} done, {len(fleet.refused)} refused"

        booked = meters_agree(sql, fleet)
        ledger_agrees(sql, fleet, homes, booked)
        assert "all invariants hold" in aaa("ledger", "check")
        tampering_is_found(sql, aaa)


def furnish(aaa: Aaa, folder: Path, homes: list[House]) -> None:
    """The NAS, the plan, the subscribers and their accounts."""
    (folder / "mixed.toml").write_text(PLAN, encoding="utf-8")
    rows = [f"{user},{PASSWORD},mixed,{home.account},yes" for home in homes for user in home.users]
    (folder / "users.csv").write_text("\n".join(["username,password,plan,account,allow_chap", *rows]) + "\n")
    aaa("nas", "add", "fleet", "--address", NAS_ADDRESS, "--coa-port", "0", "--secret-stdin", stdin=SECRET)
    aaa("plan", "load", str(folder / "mixed.toml"))
    aaa("subscriber", "import", str(folder / "users.csv"))


def drive(fleet: ScriptedFleet, server: ServerProcess, sql: PlainSql, eventually: Callable[..., None]) -> bool:
    """Run the whole fleet, and kill the server in the middle of it, again and again; whether everything was answered."""
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(fleet.run(time.monotonic() + WITHIN_SECONDS)))
    thread.start()
    try:
        for percent in KILL_AT_PERCENT:
            enough = SESSIONS * (REPORTS + 1) * percent // 100
            eventually(lambda enough=enough: fleet.answered >= enough, within=WITHIN_SECONDS)
            server.kill()
            nothing_answered_is_missing(sql, fleet)
            server.start()
        thread.join()
    finally:
        fleet.stop_asked = True
        thread.join()
    return ended == [True]


def nothing_answered_is_missing(sql: PlainSql, fleet: ScriptedFleet) -> None:
    """While no server runs that could make good for it: every answered report is in the database."""
    meters = {name: Figures(*marks) for name, *marks in sql(_METERS)}
    for session in fleet.sessions:
        if session.answered:
            assert session.acct_session_id in meters, f"{session.acct_session_id}: answered, but not in the database"
            mark = meters[session.acct_session_id]
            assert mark.highest(session.acked) == mark, (
                f"{session.acct_session_id}: {session.acked} answered, {mark} kept"
            )
            assert mark.highest(session.sent) == session.sent, f"{session.acct_session_id}: more than was ever sent"


_METERS: Final = (
    "SELECT acct_session_id, octets_up, octets_down, seconds FROM billing_session WHERE acct_session_id IS NOT NULL"
)


class Booked(NamedTuple):
    """A session as the books have it."""

    session: ScriptedSession
    account: str


def meters_agree(sql: PlainSql, fleet: ScriptedFleet) -> dict[tuple[str, int], Booked]:
    """Each session is there once, closed by its Stop, and its marks and usage lines are what its NAS counted."""
    rows = sql(
        "SELECT acct_session_id, session_id, account, username, close_reason, wanted, leaked_octets, octets_up, octets_down, "
        "seconds FROM billing_session WHERE acct_session_id IS NOT NULL"
    )
    lines = {
        (account, session_id): Figures(*map(int, sums))
        for account, session_id, *sums in sql(
            "SELECT account, session_id, sum(octets_up), sum(octets_down), sum(seconds) FROM billing_usage "
            "GROUP BY account, session_id"  # a session's id is unique within its account
        )
    }
    by_name = {session.acct_session_id: session for session in fleet.sessions}
    assert sorted(row[0] for row in rows) == sorted(by_name), "sessions twice, missing, or of nobody's"
    booked: dict[tuple[str, int], Booked] = {}
    for name, session_id, account, username, close_reason, wanted, leaked, *marks in rows:
        session = by_name[name]
        booked[account, session_id] = Booked(session, account)
        truth = session.script[-1]
        assert (username, close_reason, wanted, leaked) == (session.username, "stop", "full", 0), name
        assert Figures(*marks) == truth, name
        assert lines[account, session_id] == truth, name
    assert sql("SELECT count(*) FROM orphan_report") == [(0,)]
    return booked


def ledger_agrees(
    sql: PlainSql, fleet: ScriptedFleet, homes: list[House], booked: dict[tuple[str, int], Booked]
) -> None:
    """Octets and money, by session and by account, and what is left in the buckets."""
    octets: dict[tuple[str, int], int] = defaultdict(int)
    micros: dict[tuple[str, int], int] = defaultdict(int)
    for account, session_id, debit, credit, unit, amount in sql(
        "SELECT account, session_id, debit, credit, unit, amount FROM billing_ledger WHERE kind = 'usage'"
    ):
        assert (account, session_id) in booked
        assert (debit.split(":")[0], credit) == ("bucket", "revenue:mixed")
        {"octets": octets, "money": micros}[unit][account, session_id] += amount

    used: dict[str, int] = defaultdict(int)
    from_allowance: dict[str, int] = defaultdict(int)
    paid: dict[str, int] = defaultdict(int)
    for (account, session_id), (session, _) in booked.items():
        total = session.octets_up + session.octets_down
        beyond = total - octets[account, session_id]
        assert beyond >= 0, f"{session.acct_session_id}: more octets charged than used"
        assert micros[account, session_id] == cost_micros(beyond), (
            f"{session.acct_session_id}: {beyond} octets beyond the allowance"
        )
        used[account] += total
        from_allowance[account] += octets[account, session_id]
        paid[account] += micros[account, session_id]

    left = {(account, unit): int(balance) for account, unit, balance in sql(
        "SELECT account, unit, sum(balance) FROM billing_bucket GROUP BY account, unit"
    )}  # fmt: skip
    for home in homes:
        allowance = ALLOWANCE_OCTETS * len(home.users)
        drawn = min(allowance, used[home.account])
        assert from_allowance[home.account] == drawn, home.account
        assert left[home.account, "octets"] == allowance - drawn, home.account
        assert left[home.account, "money"] == PAID_IN_MICROS - paid[home.account], home.account
    print(
        f"{sum(used.values())} octets: {sum(from_allowance.values())} from allowances, {sum(paid.values())} micros paid"
    )
    assert sum(paid.values()) > 0
    assert sum(from_allowance.values()) > 0


def tampering_is_found(sql: PlainSql, aaa: Aaa) -> None:
    """The database refuses to change a transfer; who can make it do so all the same is found out."""
    account, seq = sql("SELECT account, seq FROM billing_ledger WHERE kind = 'usage' ORDER BY account, seq LIMIT 1")[0]
    edit = (
        f"UPDATE transfer SET amount = amount + 1 WHERE seq = {seq} "
        f"AND account_id = (SELECT account_id FROM account WHERE name = '{account}')"
    )
    with pytest.raises(Exception, match="never changed"):
        sql(edit)
    sql(
        "DROP TRIGGER transfer_no_update" if sql.sqlite
        else "ALTER TABLE transfer DISABLE TRIGGER transfer_written_once"
    )  # fmt: skip
    sql(edit)
    result: Any = CliRunner().invoke(command, [*aaa.options, "ledger", "check"], prog_name="aaa")
    assert result.exit_code == 1, result.output
    assert f"chains: account '{account}'" in result.output
