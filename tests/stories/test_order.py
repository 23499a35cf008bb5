"""A row that orders something is carried out by a running server: a voucher and a transfer restore who had run dry."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from aaa.simulator import Behaviour, Server, SimulatedNas
from aaa.simulator.udp import Ports, now_ms
from tests.outside import SECRET
from tests.stories.conftest import Aaa, ServerProcess
from tests.stories.plain_sql import plain_sql
from tests.stories.test_top_up import NAS_ADDRESS, furnish, log_in_exhausted


def test_a_voucher_and_a_transfer_by_sql_restore_live_sessions(
    server: ServerProcess, aaa: Aaa, database_url: str, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    nas = SimulatedNas(
        "bras", NAS_ADDRESS, SECRET.encode(), "mikrotik",
        [Server(("127.0.0.1", server.auth_port), ("127.0.0.1", server.acct_port))],
        coa_port=0, behaviour=Behaviour(interim_seconds=5, timeout_ms=1_000, attempts_per_server=10),
    )  # fmt: skip
    with Ports([nas]) as ports, plain_sql(database_url) as sql:
        furnish(aaa, tmp_path, ["anna", "bob"], nas)
        made = json.loads(aaa("voucher", "generate", "spring", "--count", "1", "--amount", "10.00", "--json"))
        code = made["vouchers"][0]["code"]
        aaa("account", "add", "carl")
        aaa("topup", "carl", "10.00", "--reference", "1")
        sessions = log_in_exhausted(nas, ports, ["anna", "bob"])
        columns = "INSERT INTO billing_order (source, external_ref, kind, account"
        sql(f"{columns}, code) VALUES ('portal', 'v-1', 'redeem', 'anna', '{code}')")
        assert ports.run(lambda: sessions[0].told.down_bps == 20_000_000, now_ms() + 15_000)
        sql(f"{columns}, to_account, amount) VALUES ('portal', 't-1', 'transfer', 'carl', 'bob', '10.00')")
        sql(f"{columns}, code) VALUES ('portal', 'v-2', 'redeem', 'bob', '{code}')")
        assert ports.run(lambda: sessions[1].told.down_bps == 20_000_000, now_ms() + 15_000)
        eventually(lambda: not sql("SELECT 1 FROM billing_order WHERE status = 'pending'"))
        assert sql("SELECT external_ref, status, error, code FROM billing_order ORDER BY order_id") == [
            ("v-1", "applied", None, None),
            ("t-1", "applied", None, None),
            ("v-2", "error", "code: this voucher was redeemed before", None),
        ]
    aaa("ledger", "check")
