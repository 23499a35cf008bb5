"""What retention removes, what it leaves, and what is said of that time afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy.exc
from sqlalchemy import Engine, insert, text, update
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from charging import audit, pruning, rerating_rows, retrospect, tables
from charging.catalogue import current_plan
from charging.dispute import bundle
from charging.jobs import MOST_REMOVALS, Jobs
from charging.plan import Plan, Rate, digest, to_json
from charging.pruning import ROWS_AT_ONCE, SESSIONS_AT_ONCE, due, prune, removed_before
from charging.rerating import Rerated
from charging.retention import DAY_SECONDS, KINDS, Retention
from charging.usage import Recorded
from charging.writer import Writer
from tests.store.shop import START, Shop, euros, plan_by_volume

DAY_MS = DAY_SECONDS * 1000
MB = 1_000_000
#: Everything for ten days, sessions for twenty.
SHORT = Retention(**{kind: (20 if kind == "closed_sessions" else 10) * DAY_SECONDS for kind in KINDS})
FOR_EVER = Retention(**dict.fromkeys(KINDS))
NOTHING = dict.fromkeys(KINDS, 0)


def open_shop(engine: Engine, plan: Plan) -> Shop:
    """Anna has ten euros and this plan."""
    shop = Shop(engine)
    shop.plan(plan)
    shop.nas()
    shop.account()
    shop.subscriber(1, "anna")
    shop.pay("anna", "10.00")
    return shop


@pytest.fixture
def sold(engine: Engine) -> Shop:
    return open_shop(engine, plan_by_volume())


def used(shop: Shop, down: int, *, reports: int = 3, stop: bool = True, version: int = 1) -> int:
    """A session of an hour, charged report by report; its id."""
    session_id = shop.login(1, 1, "anna", version)
    shop.report(1, session_id, "start")
    for number in range(1, reports + 1):
        shop.now += 3_600_000 // reports
        kind: Any = "stop" if stop and number == reports else "interim"
        shop.report(1, session_id, kind, down=down * number // reports, seconds=3_600 * number // reports)
    return session_id


def violations(shop: Shop) -> list[Any]:
    with shop.engine.connect() as connection:
        return audit.check(connection, shop.now).found


def kept(shop: Shop, table: Any) -> list[int]:
    return sorted(row.session_id for row in shop.rows(table))


def test_usage_lines_go_with_the_age_of_their_session_and_the_ledger_stays(sold: Shop) -> None:
    old = used(sold, 6 * MB)
    sold.now = START + 5 * DAY_MS
    young = used(sold, 3 * MB)
    ledger, balance = sold.rows(tables.transfer), sold.balance(1)
    sold.now = START + 11 * DAY_MS
    with sold.engine.connect() as connection:
        assert due(connection, SHORT, sold.now) == NOTHING | {"usage_lines": 3}
    steps: list[tuple[str, int]] = []
    removed = prune(sold.engine, SHORT, sold.now, progress=lambda what, rows: steps.append((what, rows)))
    assert removed == NOTHING | {"usage_lines": 3}
    assert ("usage_lines", 3) in steps
    assert kept(sold, tables.usage_line) == [young] * 3
    assert kept(sold, tables.session) == [old, young]
    assert (sold.rows(tables.transfer), sold.balance(1), violations(sold)) == (ledger, balance, [])
    with sold.engine.connect() as connection:
        assert removed_before(connection) == {"usage_lines": sold.now - 10 * DAY_MS}
        assert due(connection, SHORT, sold.now) == NOTHING
    assert prune(sold.engine, SHORT, sold.now) == NOTHING


def test_sessions_go_after_their_lines_with_all_that_is_no_money(sold: Shop) -> None:
    used(sold, 6 * MB)
    sold.now = START + 15 * DAY_MS
    young = used(sold, 3 * MB)
    ledger, balance = sold.rows(tables.transfer), sold.balance(1)
    sold.now = START + 21 * DAY_MS
    with sold.engine.connect() as connection:
        assert due(connection, SHORT, sold.now) == NOTHING | {"usage_lines": 3, "closed_sessions": 1}
    assert prune(sold.engine, SHORT, sold.now) == NOTHING | {"usage_lines": 3, "closed_sessions": 1}
    for table in (tables.session, tables.session_charge):
        assert set(kept(sold, table)) == {young}
    assert (sold.rows(tables.transfer), sold.balance(1), violations(sold)) == (ledger, balance, [])


def test_for_ever_is_for_ever(sold: Shop) -> None:
    used(sold, 6 * MB)
    sold.now += 10_000 * DAY_MS
    with sold.engine.connect() as connection:
        assert due(connection, FOR_EVER, sold.now) == NOTHING
    assert prune(sold.engine, FOR_EVER, sold.now) == NOTHING


def test_a_live_session_keeps_everything_and_so_does_its_login(sold: Shop) -> None:
    session_id = used(sold, 6 * MB)  # a Start after the Stop: a session of the same login
    sold.now += 1_000
    again = sold.report_item(1, session_id, "start")
    sold.settle(again)
    live = max(kept(sold, tables.session))
    sold.now += 100 * DAY_MS
    assert prune(sold.engine, SHORT, sold.now) == NOTHING | {"usage_lines": 3}
    assert kept(sold, tables.session) == sorted([session_id, live])
    assert violations(sold) == []


def test_what_comes_late_is_charged_and_checked_all_the_same(sold: Shop) -> None:
    session_id = used(sold, 6 * MB)
    sold.now = START + 12 * DAY_MS
    prune(sold.engine, SHORT, sold.now)
    balance = sold.balance(1)
    late = sold.report(1, session_id, "stop", down=7 * MB, seconds=3_700)
    assert isinstance(late, Recorded)
    assert (late.used.down, sold.balance(1)) == (MB, balance - 20_000)
    assert violations(sold) == []
    sold.now = START + 32 * DAY_MS
    assert prune(sold.engine, SHORT, sold.now)["closed_sessions"] == 1
    assert kept(sold, tables.usage_line) == []
    assert violations(sold) == []


def test_a_session_with_very_many_lines_goes_in_parts(sold: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "ROWS_AT_ONCE", 2)
    used(sold, 5 * MB, reports=5)
    used(sold, 3 * MB, reports=1)
    sold.now += 11 * DAY_MS
    before = sold.now - 10 * DAY_MS
    done = []
    for left in (4, 2, 0):
        done.append(pruning.turn(sold.engine, "usage_lines", before, sold.now))
        assert len(sold.rows(tables.usage_line)) == left
        assert violations(sold) == []
    assert done == [(2, True), (2, True), (2, True)]
    assert pruning.turn(sold.engine, "usage_lines", before, sold.now) == (0, False)


def test_no_transaction_is_large() -> None:
    assert (ROWS_AT_ONCE, SESSIONS_AT_ONCE) <= (1_000, 100)


@pytest.mark.parametrize("mark", ["removed_line_no = 0", "removed_line_no = 2"])
def test_a_line_goes_only_where_its_session_says_so(sold: Shop, mark: str) -> None:
    used(sold, 6 * MB)
    live = used(sold, 1 * MB, stop=False)
    for statement in (
        "DELETE FROM usage_line WHERE line_no = 3",
        f"DELETE FROM usage_line WHERE session_id = {live}",
        "UPDATE usage_line SET amount_micros = 0 WHERE line_no = 1",
    ):
        with sold.engine.connect() as connection:
            connection.execute(text(f"UPDATE session SET {mark}"))
            with pytest.raises(sqlalchemy.exc.DBAPIError, match="rows of usage_line are never changed"):
                connection.execute(text(statement))
            connection.rollback()


def test_the_auditor_sees_lines_that_went_another_way(sold: Shop) -> None:
    live = used(sold, 1 * MB, stop=False)
    with sold.engine.begin() as connection:
        connection.execute(update(tables.session).values(removed_line_no=1))
    assert [(each.invariant, str(live) in each.words) for each in violations(sold)] == [("removals", True)]


def test_commands_notices_requests_and_orphans_by_their_age(sold: Shop) -> None:
    old, young = sold.now, sold.now + 5 * DAY_MS

    def commands(state: str, at: int, number: int) -> dict[str, Any]:
        return {
            "account_id": 1, "command_id": number, "session_id": 1, "nas_id": 1, "action": "profile", "version": 1,
            "reason": "r", "state": state, "not_before": at, "created_at": at,
        }  # fmt: skip

    def notices(number: int, at: int) -> dict[str, Any]:
        return {"account_id": 1, "notice_id": number, "kind": "threshold", "detail": "d", "created_at": at}

    def deliveries(number: int, state: str) -> dict[str, Any]:
        return {
            "account_id": 1, "notice_id": number, "channel": "email", "subscriber_id": 1, "urgent": False,
            "state": state, "not_before": old, "give_up_at": old, "created_at": old,
        }  # fmt: skip

    def requests(number: int, status: str, at: int | None) -> dict[str, Any]:
        return {
            "account_id": 1, "request_id": number, "amount_micros": 1, "amount": "1", "balance_micros": 0,
            "status": status, "created_at": old, "answered_at": at,
        }  # fmt: skip

    def orphans(digest: str, at: int) -> dict[str, Any]:
        return {
            "digest": digest, "nas_id": 1, "nas_address": "192.0.2.1", "username": "bob", "reason": "unknown-user",
            "packet": b"x", "received_at": at,
        }  # fmt: skip

    with sold.engine.begin() as connection:
        for table, rows in (
            (tables.command, [commands("acked", old, 1), commands("pending", old, 2), commands("failed", young, 3)]),
            (tables.notice, [notices(1, old), notices(2, old), notices(3, young)]),
            (tables.notice_delivery, [deliveries(1, "sent"), deliveries(2, "pending"), deliveries(3, "failed")]),
            (tables.top_up_request, [requests(1, "declined", old), requests(2, "open", None), requests(3, "declined", young)]),
            (tables.orphan_report, [orphans("a", old), orphans("b", young)]),
        ):  # fmt: skip
            connection.execute(insert(table), rows)
    sold.now = START + 11 * DAY_MS
    expected = NOTHING | {"commands": 1, "notices": 1, "top_up_requests": 1, "orphans": 1}
    with sold.engine.connect() as connection:
        assert due(connection, SHORT, sold.now) == expected
    assert prune(sold.engine, SHORT, sold.now) == expected
    assert sorted(row.command_id for row in sold.rows(tables.command)) == [2, 3]
    assert sorted(row.notice_id for row in sold.rows(tables.notice)) == [2, 3]
    assert sorted(row.notice_id for row in sold.rows(tables.notice_delivery)) == [2, 3]
    assert sorted(row.request_id for row in sold.rows(tables.top_up_request)) == [2, 3]
    assert [row.digest for row in sold.rows(tables.orphan_report)] == ["b"]


# --- who looks at that time afterwards ----------------------------------------------------------------------------------


def test_the_balance_of_a_moment_since_then_is_still_right(sold: Shop) -> None:
    used(sold, 6 * MB)
    sold.now = START + 5 * DAY_MS
    used(sold, 3 * MB)

    def money(at: int) -> int:
        with sold.engine.connect() as connection:
            (bucket,) = [each for each in retrospect.then(connection, 1, at).buckets if each.unit == "money"]
        return bucket.balance

    moments = (START, START + DAY_MS, START + 4 * DAY_MS, START + 6 * DAY_MS)
    before = [money(at) for at in moments]
    assert before == [euros(10), euros(10) - 120_000, euros(10) - 120_000, euros(10) - 180_000]
    for days in (11, 21):
        sold.now = START + days * DAY_MS
        prune(sold.engine, SHORT, sold.now)
        assert [money(at) for at in moments] == before


def test_a_dispute_says_of_the_lines_that_are_there_what_it_says(sold: Shop) -> None:
    old = used(sold, 6 * MB)
    sold.now = START + 5 * DAY_MS
    young = used(sold, 3 * MB)
    for days, sessions in ((11, [old, young]), (21, [young])):
        sold.now = START + days * DAY_MS
        prune(sold.engine, SHORT, sold.now)
        with sold.engine.connect() as connection:
            made = bundle(connection, 1, 1, "anna", START, sold.now)
        assert [line.session_id for line in made.sessions] == sessions
        assert {each.session_id for each in made.reports} <= {young}
        # The money of what is not there any more is: two sessions and a top-up.
        assert [each.kind for each in made.transfers] == ["top-up", "usage", "usage"]
        assert [check for check in made.checks if not check.holds] == []


@pytest.mark.parametrize("over_a_month", [False, True])
def test_what_is_not_known_is_not_charged_again(engine: Engine, over_a_month: bool) -> None:
    rate = Rate("octets", "total", 20_000, MB, 100_000, name="data")
    plan = plan_by_volume(rates=(replace(rate, accumulate="month" if over_a_month else "session"),))
    shop = open_shop(engine, plan)
    used(shop, 6 * MB)
    shop.now = START + 5 * DAY_MS
    young = used(shop, 3 * MB)
    dearer = replace(plan, rates=(replace(plan.rates[0], price_micros=40_000),))
    with shop.engine.begin() as connection:
        row = insert(tables.plan_version).values(
            plan_name="volume", number=2, content=to_json(dearer), digest=digest(dearer), loaded_at=shop.now
        )
        key = connection.execute(row).inserted_primary_key
        assert key is not None
        connection.execute(update(tables.plan).values(plan_version_id=key[0]))
        newest = current_plan(connection, "volume")
    shop.now = START + 11 * DAY_MS
    prune(shop.engine, SHORT, shop.now)
    balance = shop.balance(1)
    outcome = rerating_rows.charge_again(shop.engine, 1, newest, START, shop.now, "test", shop.now, apply=True)
    if over_a_month:
        # Nobody knows any more what the first one counted in that month.
        assert (outcome, shop.balance(1)) == (None, balance)
    else:
        assert isinstance(outcome, Rerated)
        assert [(bill.session_id, bill.after_micros - bill.before_micros) for bill in outcome.bills] == [
            (young, 60_000)
        ]
        assert shop.balance(1) == balance - 60_000
    assert violations(shop) == []


# --- at work ---------------------------------------------------------------------------------------------------------------


def at_once(work: Callable[[], Sequence[object]]) -> Deferred[Sequence[object]]:
    return execute(work)


def test_a_server_removes_a_little_at_each_turn(sold: Shop, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "ROWS_AT_ONCE", 1)
    for _ in range(4):
        used(sold, 3 * MB)
    sold.now += 11 * DAY_MS
    writer = Writer(sold.engine, at_once, lambda: sold.now, chance=random.Random(3))
    said: list[str] = []
    jobs = Jobs(
        sold.engine, writer, at_once, lambda: sold.now, clock,
        on_failure=lambda name, error: said.append(f"{name}: {error}"),
    )  # fmt: skip
    jobs.start()
    clock.advance(60)
    assert len(sold.rows(tables.usage_line)) == 12  # nobody has said that anything may go
    jobs.retention = SHORT
    left = []
    for _ in range(4):
        clock.advance(5)
        left.append(len(sold.rows(tables.usage_line)))
    assert left == [12 - MOST_REMOVALS, 12 - 2 * MOST_REMOVALS, 0, 0]
    jobs.stop()
    assert (said, violations(sold)) == ([], [])


def test_two_nodes_remove_each_row_once(sold: Shop) -> None:
    for _ in range(4):
        used(sold, 3 * MB)
    sold.now += 25 * DAY_MS
    before = sold.now - 10 * DAY_MS
    if sold.engine.dialect.name == "postgresql":
        # One is in the middle of its turn: the other passes over those rows and does not wait.
        with sold.engine.begin() as other:
            chosen = "SELECT session_id FROM session ORDER BY closed_at LIMIT 2 FOR UPDATE"
            assert len(other.execute(text(chosen)).all()) == 2
            assert pruning.turn(sold.engine, "usage_lines", before, sold.now) == (6, False)
    prune(sold.engine, SHORT, sold.now)
    assert sold.rows(tables.session) == []
    assert {row.what: row.removed for row in sold.rows(tables.removal)} == {"usage_lines": 12, "closed_sessions": 4}
    assert violations(sold) == []
