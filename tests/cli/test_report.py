"""`aaa report nas`: two NASes, one of them with faults."""

from __future__ import annotations

import pytest

from charging.database import open_engine
from charging.settle import Close
from tests.cli.conftest import Aaa
from tests.store.shop import START, Shop, plan_with_allowance

TIME = ("--from", "2026-03-01", "--to", "2026-03-01")


@pytest.fixture
def two(aaa: Aaa) -> Aaa:
    """10 MB each. At the first NAS 4 MB and a Stop; at the second 12 MB, a reset, silence, a clock 30 s ahead, an orphan."""
    engine = open_engine(aaa.database_url)
    shop = Shop(engine)
    shop.nas("good", "192.0.2.1")
    shop.nas("bad", "192.0.2.2")
    version = shop.plan(plan_with_allowance())
    from charging.payment import Grant

    accounts = []
    for name in ("anna", "bob"):
        account_id = shop.account(name)
        shop.subscriber(account_id, name, "ten")
        shop.settle(Grant(account_id, version, "grant", "test"))
        accounts.append(account_id)
    first = shop.login(accounts[0], 1, "anna", version)
    shop.report(accounts[0], first, "start")
    second = shop.login(accounts[1], 2, "bob", version, nas_id=2)
    shop.settle(shop.report_item(accounts[1], second, "start")._replace(nas_id=2))
    shop.now = START + 60_000
    shop.report(accounts[0], first, "stop", down=4_000_000, seconds=60)
    shop.settle(
        shop.report_item(accounts[1], second, "interim", down=7_000_000, seconds=60)._replace(
            nas_id=2, event_at=shop.now + 30_000
        )
    )
    shop.now += 60_000
    shop.settle(
        shop.report_item(accounts[1], second, "interim", down=5_000_000, seconds=120)._replace(
            nas_id=2, event_at=shop.now + 30_000
        )
    )
    shop.settle(shop.report_item(accounts[1], second, "interim")._replace(nas_id=2, token=None, username="nobody"))
    shop.now += 600_000
    shop.settle(Close(accounts[1], second, "stale", shop.now))
    engine.dispose()
    return aaa


def test_what_was_reported_is_what_was_charged_or_said_to_be_lost(two: Aaa) -> None:
    bad, good = two.json("report", "nas", *TIME)
    assert (good["nas"], good["sessions"], good["without_stop"]) == ("good", 1, 0)
    assert (good["octets_reported"], good["octets_charged"], good["octets_leaked"]) == (4_000_000, 4_000_000, 0)
    assert (good["resets"], good["orphans"], good["earliest_ms"]) == (0, 0, 0)
    assert (bad["nas"], bad["sessions"], bad["without_stop"], bad["never_started"]) == ("bad", 1, 1, 0)
    assert (bad["octets_reported"], bad["octets_charged"], bad["octets_leaked"]) == (12_000_000, 10_000_000, 2_000_000)
    assert (bad["sessions_leaking"], bad["resets"], bad["orphans"], bad["reports"]) == (1, 1, 1, 2)
    assert (bad["earliest_ms"], bad["mean_ms"], bad["latest_ms"]) == (-30_000, -30_000, -30_000)


def test_only_that_time_counts(two: Aaa) -> None:
    assert two.json("report", "nas", "--from", "2026-03-02", "--to", "2026-03-09") == []
    assert two.ok("report", "nas", "--from", "2026-03-02", "--to", "2026-03-09") == "no NAS had sessions in that time\n"
    assert "--to is before --from" in two.fails("report", "nas", "--from", "2026-03-02", "--to", "2026-02-09")


def test_people_read_a_table(two: Aaa) -> None:
    assert "-30000 ms" in two.ok("report", "nas", *TIME)
