import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, insert
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from charging import jobs, order_inbox, tables
from charging.jobs import QUIET_MS, Jobs, close_restarted, close_stale, read_inbox
from charging.payment import Grant
from charging.period import Every
from charging.plan import PeriodTerms, Plan
from charging.renewal import MOST_STEPS
from charging.session import PROVISIONAL_MS
from charging.settle import CommandAcked, CommandFailed, Cut
from charging.writer import Writer
from tests.store.shop import HOME, Shop, euros, plan_by_volume


@pytest.fixture
def shop(engine: Engine) -> Shop:
    return Shop(engine)


def at_once(work: Callable[[], Sequence[object]]) -> Deferred[Sequence[object]]:
    return execute(work)


@pytest.fixture
def writer(shop: Shop) -> Writer:
    return Writer(shop.engine, at_once, lambda: shop.now, chance=random.Random(3))


def inbox_turn(shop: Shop, writer: Writer, aside: jobs.Aside | None = None) -> int:
    return result(read_inbox(shop.engine, writer, at_once, shop.now, aside))


def result(coroutine: object) -> int:
    found: list[object] = []
    Deferred.fromCoroutine(coroutine).addBoth(found.append)  # type: ignore[arg-type]
    failed = getattr(found[0], "value", None)
    if isinstance(failed, Exception):
        raise failed
    assert isinstance(found[0], int)
    return found[0]


def statuses(shop: Shop) -> list[str]:
    return [row.status for row in sorted(shop.rows(tables.billing_top_up))]


def open_session(shop: Shop, *, money: str = "10.00") -> tuple[int, int]:
    """An account with money and one session that has started."""
    version = shop.plan(plan_by_volume())
    account_id = shop.account()
    shop.subscriber(account_id, "anna")
    shop.pay("anna", money)
    session_id = shop.login(account_id, 1, "anna", version)
    shop.now += 1_000
    shop.report(account_id, session_id, "start")
    return account_id, session_id


def session(shop: Shop, session_id: int) -> tuple[str, str | None]:
    (row,) = shop.rows(tables.session, tables.session.c.session_id == session_id)
    return row.state, row.close_reason


def fall_silent(shop: Shop) -> None:
    """Until the instant before its session is given up."""
    (shop.now,) = (row.stale_at for row in shop.rows(tables.session))


# --- the inbox -------------------------------------------------------------------------------------------------------


def test_a_turn_applies_what_is_good_and_answers_what_is_not(shop: Shop, writer: Writer) -> None:
    account_id = shop.account()
    shop.put("anna", "10.00")
    shop.put("bob", "10.00")
    shop.put("anna", "10,00")
    shop.put("anna", "5.00")
    assert inbox_turn(shop, writer) == 4
    assert statuses(shop) == ["applied", "error", "error", "applied"]
    assert shop.balance(account_id) == euros(15)
    assert inbox_turn(shop, writer) == 0


def test_a_turn_goes_on_until_the_inbox_is_empty(shop: Shop, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_AT_ONCE", 3)
    account_id = shop.account()
    for _ in range(4):
        shop.put("nobody", "1.00")
    for _ in range(7):
        shop.put("anna", "1.00")
    assert inbox_turn(shop, writer) == 11
    assert shop.balance(account_id) == euros(7)


def test_equal_rows_are_paid_once_within_one_turn(shop: Shop, writer: Writer) -> None:
    account_id = shop.account()
    for _ in range(3):
        shop.put("anna", "1.00", ref="77")
    inbox_turn(shop, writer)
    inbox_turn(shop, writer)
    assert statuses(shop) == ["applied", "duplicate", "duplicate"]
    assert shop.balance(account_id) == euros(1)


def test_the_database_has_the_last_word_on_a_reference(
    shop: Shop, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes that each saw one of two equal rows: the second apply fails, and the next read knows why."""
    account_id = shop.account()
    shop.put("anna", "1.00", ref="77")
    looked: Any = jobs._pending(shop.engine, frozenset())
    shop.settle(*looked.top_ups)
    second = shop.put("anna", "1.00", ref="77")
    seen_too_early = looked._replace(top_ups=[replace(looked.top_ups[0], top_up_id=second)], rows=1)
    with monkeypatch.context() as patched:
        patched.setattr(jobs, "_pending", lambda *_: seen_too_early)
        assert inbox_turn(shop, writer) == 0
    assert statuses(shop) == ["applied", "pending"]
    assert inbox_turn(shop, writer) == 1
    assert statuses(shop) == ["applied", "duplicate"]
    assert shop.balance(account_id) == euros(1)


def test_a_row_that_fails_without_a_reason_stands_in_nobodys_way(
    shop: Shop, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MOST_AT_ONCE", 2)
    account_id, broken_id = shop.account(), shop.account("broken")
    with shop.engine.begin() as connection:  # no money bucket: a state that no row can be blamed for
        connection.execute(tables.bucket.delete().where(tables.bucket.c.account_id == broken_id))
    for _ in range(4):
        shop.put("broken", "1.00")
    shop.put("anna", "1.00")
    aside: jobs.Aside = {}
    for _ in range(2):
        with pytest.raises(LookupError):
            inbox_turn(shop, writer, aside)
    assert inbox_turn(shop, writer, aside) == 1
    assert statuses(shop) == ["pending"] * 4 + ["applied"]
    assert shop.balance(account_id) == euros(1)
    shop.now += jobs.SET_ASIDE_MS
    with pytest.raises(LookupError):
        inbox_turn(shop, writer, aside)


def test_orders_are_carried_out_refused_and_answered_like_top_ups(shop: Shop, writer: Writer) -> None:
    account_id = shop.account()
    shop.pay("anna", "10.00")
    with shop.engine.begin() as connection:
        for number, amount in enumerate(("1.00", "99.00", "x")):
            order_inbox.put(
                connection, source="shop", external_ref=f"{number}", kind="refund", account="anna", amount=amount
            )
    for handled in (3, 0):
        assert result(read_inbox(shop.engine, writer, at_once, shop.now, post=jobs.ORDERS)) == handled
    rows = sorted(shop.rows(tables.billing_order), key=lambda row: row.order_id)
    assert [(row.status, (row.error or "")[:12]) for row in rows] == [
        ("applied", ""), ("error", "amount: ther"), ("error", "amount: 'x' "),
    ]  # fmt: skip
    assert shop.balance(account_id) == euros(9)


def test_a_top_up_restores_a_live_session_in_its_own_transaction(shop: Shop, writer: Writer) -> None:
    account_id, session_id = open_session(shop, money="0.02")
    shop.now += 60_000
    shop.report(account_id, session_id, "interim", down=5_000_000, seconds=60)
    told = []
    writer.on_commands = lambda: told.append(True)
    shop.put("anna", "10.00")
    inbox_turn(shop, writer)
    (row,) = shop.rows(tables.session)
    assert row.wanted == "full"
    assert told == [True]


# --- silent sessions ---------------------------------------------------------------------------------------------------


def test_a_silent_session_is_closed_as_stale_and_its_hold_comes_back(shop: Shop, writer: Writer) -> None:
    account_id, session_id = open_session(shop)
    fall_silent(shop)
    assert result(close_stale(shop.engine, writer, at_once, shop.now)) == 0
    shop.now += 1
    assert result(close_stale(shop.engine, writer, at_once, shop.now)) == 1
    assert session(shop, session_id) == ("closed", "stale")
    (bucket,) = shop.rows(tables.bucket, tables.bucket.c.account_id == account_id)
    assert bucket.held == 0
    assert result(close_stale(shop.engine, writer, at_once, shop.now)) == 0


def test_a_login_that_no_report_follows_never_started(shop: Shop, writer: Writer) -> None:
    version = shop.plan(plan_by_volume())
    account_id = shop.account()
    shop.pay("anna", "1.00")
    session_id = shop.login(account_id, 1, "anna", version)
    shop.now += PROVISIONAL_MS + 1
    assert result(close_stale(shop.engine, writer, at_once, shop.now)) == 1
    assert session(shop, session_id) == ("closed", "never-started")


def test_stale_sessions_are_closed_page_by_page(shop: Shop, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_AT_ONCE", 2)
    version = shop.plan(plan_by_volume())
    for name in ("a", "b", "c", "d", "e"):
        account_id = shop.account(name)
        shop.pay(name, "1.00")
        shop.login(account_id, 1, name, version)
    shop.now += PROVISIONAL_MS + 1
    assert result(close_stale(shop.engine, writer, at_once, shop.now)) == 5


def test_a_report_that_comes_between_looking_and_closing_keeps_the_session(
    shop: Shop, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id, session_id = open_session(shop)
    fall_silent(shop)
    shop.now += 1
    live = jobs._live

    def overtaken(*args: object) -> Sequence[object]:
        page = live(*args)  # type: ignore[arg-type]
        shop.report(account_id, session_id, "interim", down=1_000, seconds=181)
        return page

    monkeypatch.setattr(jobs, "_live", overtaken)
    assert result(close_stale(shop.engine, writer, at_once, shop.now)) == 0
    assert session(shop, session_id) == ("open", None)


def test_commands_for_sessions_that_are_over_are_let_go(shop: Shop, writer: Writer) -> None:
    account_id, session_id = open_session(shop)
    shop.settle(Cut(account_id, None, session_id, "operator"))
    assert [row.state for row in shop.rows(tables.command)] == ["pending"]
    fall_silent(shop)
    shop.now += 1
    result(close_stale(shop.engine, writer, at_once, shop.now))
    (command,) = shop.rows(tables.command)
    assert (command.state, command.finished_at) == ("superseded", shop.now)


def test_an_order_that_went_with_a_stale_session_is_given_again_when_it_goes_on(shop: Shop, writer: Writer) -> None:
    account_id, session_id = open_session(shop, money="0.02")
    shop.now += 60_000
    shop.report(account_id, session_id, "interim", down=5_000_000, seconds=60)
    shop.settle(CommandAcked(account_id, session_id, 1))
    shop.pay("anna", "10.00")
    assert [row.state for row in shop.rows(tables.command) if row.version == 2] == ["pending"]
    fall_silent(shop)
    shop.now += 1
    assert result(close_stale(shop.engine, writer, at_once, shop.now)) == 1
    shop.now += 60_000
    shop.report(account_id, session_id, "interim", down=5_001_000, seconds=400)
    (row,) = shop.rows(tables.session, tables.session.c.closed_at.is_(None))
    (order,) = shop.rows(tables.command, tables.command.c.state == "pending")
    assert (row.wanted, order.session_id, order.version) == ("full", row.session_id, row.wanted_version)


def test_an_accept_takes_back_what_the_nas_was_to_be_told_before(shop: Shop, writer: Writer) -> None:
    """A login whose Accept was lost, an order that such a NAS refuses, and the same device once more."""
    version = shop.plan(plan_by_volume())
    account_id = shop.account()
    shop.subscriber(account_id, "anna")
    shop.pay("anna", "10.00")
    session_id = shop.login(account_id, 1, "anna", version)
    (row,) = shop.rows(tables.session)
    for _ in range(2):  # down the ladder, to a Disconnect that waits for its time
        shop.settle(CommandFailed(account_id, session_id, row.wanted_version, "nak-402"))
        (row,) = shop.rows(tables.session)
    assert (row.wanted, row.failed_commands) == ("cut", 1)
    shop.now += 1_000
    assert shop.login(account_id, 1, "anna", version) == session_id
    (row,) = shop.rows(tables.session)
    assert (row.wanted, row.failed_commands, row.acked_version) == ("full", 0, row.wanted_version)
    assert {command.state for command in shop.rows(tables.command)} == {"superseded"}
    shop.settle(CommandFailed(account_id, session_id, row.wanted_version - 1, "no-answer"))
    assert shop.rows(tables.session)[0].wanted == "full", "an order that was on its way fails about the past"


# --- a NAS that restarted ------------------------------------------------------------------------------------------------


def restart(shop: Shop, *, nas_address: str = "192.0.2.1") -> None:
    with shop.engine.begin() as connection:
        connection.execute(
            insert(tables.nas_restart).values(
                nas_id=1, nas_address=nas_address, event_at=shop.now, kind="on", recorded_at=shop.now
            )
        )


def test_a_restart_closes_the_sessions_that_began_before_it_and_is_then_finished(shop: Shop, writer: Writer) -> None:
    version = shop.plan(plan_by_volume())
    account_id = shop.account()
    shop.pay("anna", "10.00")
    before = [shop.login(account_id, 1, "anna", version, device) for device in ("d1", "d2")]
    shop.now += 1_000
    restart(shop)
    shop.now += 1_000
    after = shop.login(account_id, 2, "anne", version, "d3")
    assert result(close_restarted(shop.engine, writer, at_once, shop.now)) == 2
    assert [session(shop, i) for i in before] == [("closed", "nas-restart")] * 2
    assert session(shop, after) == ("provisional", None)
    assert [row.finished_at for row in shop.rows(tables.nas_restart)] == [shop.now]
    assert result(close_restarted(shop.engine, writer, at_once, shop.now)) == 0


def test_a_restart_closes_nothing_that_reported_later(shop: Shop, writer: Writer) -> None:
    account_id, session_id = open_session(shop)
    shop.now += 1_000
    restart(shop)
    shop.now += 1_000
    shop.report(account_id, session_id, "interim", down=1_000, seconds=2)
    assert result(close_restarted(shop.engine, writer, at_once, shop.now)) == 0
    assert session(shop, session_id) == ("open", None)
    assert all(row.finished_at for row in shop.rows(tables.nas_restart))


def test_a_restart_closes_what_was_last_true_before_it_however_late_that_came(shop: Shop, writer: Writer) -> None:
    """Event-Timestamp counts in seconds, and the spool, or the network, may bring a report late."""
    account_id, session_id = open_session(shop)
    shop.now += 5_000
    restart(shop)
    before = shop.report_item(account_id, session_id, "interim", down=1_000, seconds=5)
    shop.now += 700
    shop.settle(before._replace(received_at=shop.now))
    assert result(close_restarted(shop.engine, writer, at_once, shop.now)) == 1
    assert session(shop, session_id) == ("closed", "nas-restart")


def test_a_restart_closes_nothing_of_another_address(shop: Shop, writer: Writer) -> None:
    _, session_id = open_session(shop)
    shop.now += 1_000
    restart(shop, nas_address="192.0.2.9")
    assert result(close_restarted(shop.engine, writer, at_once, shop.now)) == 0
    assert session(shop, session_id) == ("open", None)


# --- the turns -----------------------------------------------------------------------------------------------------------


class Turns:
    """Jobs on a clock that the test moves, and what they said."""

    def __init__(self, shop: Shop, writer: Writer, clock: Clock, run: Callable[..., object] = at_once) -> None:
        self.said: list[str] = []
        self.spooled = 0
        self.jobs = Jobs(
            shop.engine, writer, run, lambda: shop.now, clock,  # type: ignore[arg-type]
            on_failure=lambda name, error: self.said.append(f"{name}: {error}"),
            on_recovery=lambda name: self.said.append(f"{name} works again"),
            reports_wait=lambda: self.spooled > 0,
        )  # fmt: skip


def test_a_top_up_is_seen_within_a_quarter_of_a_second(shop: Shop, writer: Writer, clock: Clock) -> None:
    account_id = shop.account()
    taken: Callable[[], int] = shop.engine.pool.checkedout  # type: ignore[attr-defined]  # of the pool that engines have
    before = taken()
    turns = Turns(shop, writer, clock)
    turns.jobs.start()
    shop.put("anna", "10.00")
    clock.advance(0.25)
    assert shop.balance(account_id) == euros(10)
    writer.unwatch()
    assert taken() == before + 2, "one kept for each inbox"
    turns.jobs.stop()
    assert taken() == before
    shop.put("anna", "10.00")
    clock.advance(60)
    assert shop.balance(account_id) == euros(10)
    assert clock.getDelayedCalls() == []


def pass_time(shop: Shop, clock: Clock, seconds: int) -> None:
    for _ in range(seconds):
        shop.now += 1_000
        clock.advance(1)


def test_sessions_are_not_called_stale_before_their_nas_could_speak_again(
    shop: Shop, writer: Writer, clock: Clock
) -> None:
    _, session_id = open_session(shop)
    fall_silent(shop)
    turns = Turns(shop, writer, clock)
    turns.jobs.start()
    pass_time(shop, clock, QUIET_MS // 1000 - 1)
    assert session(shop, session_id) == ("open", None)
    pass_time(shop, clock, 15)
    assert session(shop, session_id) == ("closed", "stale")


def test_after_an_outage_nas_may_speak_before_their_sessions_are_called_stale(
    shop: Shop, writer: Writer, clock: Clock
) -> None:
    away = False

    def run(work: Callable[[], Sequence[object]]) -> Deferred[Sequence[object]]:
        if away:
            raise OSError("no database")
        return at_once(work)

    account_id, session_id = open_session(shop)
    turns = Turns(shop, writer, clock, run)
    turns.jobs.start()
    pass_time(shop, clock, 100)
    shop.report(account_id, session_id, "interim", down=1_000, seconds=100)
    away = True
    pass_time(shop, clock, 1_000)
    away = False
    pass_time(shop, clock, QUIET_MS // 1000 - 1)
    assert session(shop, session_id) == ("open", None)
    pass_time(shop, clock, 16)
    assert session(shop, session_id) == ("closed", "stale")


def test_no_session_is_called_stale_while_reports_wait_in_the_spool(shop: Shop, writer: Writer, clock: Clock) -> None:
    _, session_id = open_session(shop)
    fall_silent(shop)
    turns = Turns(shop, writer, clock)
    turns.jobs.start()
    turns.spooled = 1
    pass_time(shop, clock, QUIET_MS // 1000 + 60)
    assert session(shop, session_id) == ("open", None)
    turns.spooled = 0
    pass_time(shop, clock, 15)
    assert session(shop, session_id) == ("closed", "stale")


def test_where_another_process_does_it_nothing_is_looked_for(shop: Shop, writer: Writer, clock: Clock) -> None:
    looks = 0

    def run(work: Callable[[], Sequence[object]]) -> Deferred[Sequence[object]]:
        nonlocal looks
        looks += 1
        return at_once(work)

    account_id = shop.account()
    shop.put("anna", "10.00")
    turns = Turns(shop, writer, clock, run)
    turns.jobs.on_duty = lambda: False
    turns.jobs.start()
    pass_time(shop, clock, 60)
    assert (looks, shop.balance(account_id)) == (0, 0)
    turns.jobs.on_duty = lambda: True
    clock.advance(0.25)
    assert shop.balance(account_id) == euros(10)


def test_who_takes_over_lets_nas_speak_before_their_sessions_are_called_stale(
    shop: Shop, writer: Writer, clock: Clock
) -> None:
    _, session_id = open_session(shop)
    fall_silent(shop)
    turns = Turns(shop, writer, clock)
    turns.jobs.on_duty = lambda: False
    turns.jobs.start()
    pass_time(shop, clock, 2 * QUIET_MS // 1000)
    turns.jobs.on_duty = lambda: True
    pass_time(shop, clock, QUIET_MS // 1000 - 1)
    assert session(shop, session_id) == ("open", None)
    pass_time(shop, clock, 16)
    assert session(shop, session_id) == ("closed", "stale")


def test_a_failure_is_told_once_and_the_next_turn_tries_again(shop: Shop, writer: Writer, clock: Clock) -> None:
    account_id = shop.account()
    broken = True

    def run(work: Callable[[], Sequence[object]]) -> Deferred[Sequence[object]]:
        if broken:
            raise OSError("no database")
        return at_once(work)

    turns = Turns(shop, writer, clock, run)
    shop.put("anna", "10.00")
    turns.jobs.start()
    for _ in range(3):
        clock.advance(0.25)
    names = ["inbox", "orders", "restarts", "reviews", "due"]
    assert turns.said == [f"{name}: no database" for name in names]
    broken = False
    clock.advance(0.25)
    assert shop.balance(account_id) == euros(10)
    assert sorted(turns.said[5:]) == sorted(f"{name} works again" for name in names)


def test_a_turn_under_way_is_not_begun_again_and_stop_waits_for_it(shop: Shop, writer: Writer, clock: Clock) -> None:
    waiting: list[tuple[Callable[[], Sequence[object]], Deferred[Sequence[object]]]] = []

    def run(work: Callable[[], Sequence[object]]) -> Deferred[Sequence[object]]:
        waiting.append((work, Deferred()))
        return waiting[-1][1]

    turns = Turns(shop, writer, clock, run)
    turns.jobs.start()
    clock.advance(10)
    assert len(waiting) == 5, "the two inboxes, the restarts, the reviews and what is due, once each"
    stopped: list[object] = []
    turns.jobs.stop().addCallback(stopped.append)
    assert stopped == []
    for work, done in waiting:
        done.callback(work())
    assert len(stopped) == 1
    clock.advance(10)
    assert len(waiting) == 5


# --- what is due -----------------------------------------------------------------------------------------------------


def due(shop: Shop, writer: Writer) -> int:
    return result(jobs.catch_up(shop.engine, writer, at_once, shop.now))


def hourly(shop: Shop, houses: int = 1) -> list[int]:
    """Accounts with one subscriber each, whose plan costs 1 EUR an hour."""
    terms = PeriodTerms(Every(1, "hour"), euros(1))
    version = shop.plan(Plan("hourly", "EUR", "UTC", HOME, period=terms))
    found = []
    for number in range(houses):
        account_id = shop.account(f"a{number}")
        subscriber_id = shop.subscriber(account_id, f"s{number}", "hourly")
        shop.pay(f"a{number}", "200.00")
        shop.settle(Grant(account_id, version, "r", "test", subscriber_id))
        found.append(account_id)
    return found


def test_the_job_renews_what_is_due_and_nothing_else(shop: Shop, writer: Writer) -> None:
    hourly(shop, 3)
    assert due(shop, writer) == 0
    shop.now += 3_600_000
    assert due(shop, writer) == 3
    assert due(shop, writer) == 0
    assert len(shop.rows(tables.subscription_period)) == 6


def test_the_job_comes_back_until_an_outage_is_made_good(shop: Shop, writer: Writer) -> None:
    (account_id,) = hourly(shop)
    hours = MOST_STEPS + 22
    shop.now += hours * 3_600_000
    assert due(shop, writer) == 2, "so many periods in a transaction, and the rest"
    assert len(shop.rows(tables.subscription_period)) == 1 + hours
    assert shop.balance(account_id) == euros(200 - 1 - hours)


def test_an_account_that_can_not_be_renewed_stands_in_nobodys_way(shop: Shop, writer: Writer) -> None:
    broken, whole = hourly(shop, 2)
    with shop.engine.begin() as connection:
        begun = tables.subscription_period.insert().values(
            account_id=broken, subscriber_id=1, start_at=shop.now + 3_600_000, end_at=shop.now + 7_200_000, number=2,
            plan_version_id=1, price_micros=0, reference="x", recorded_at=shop.now,
        )  # fmt: skip
        connection.execute(begun)
    shop.now += 3_600_000
    with pytest.raises(Exception, match=r"(?i)unique"):
        due(shop, writer)
    assert (shop.balance(broken), shop.balance(whole)) == (euros(199), euros(198))


def test_buckets_end_without_any_period(shop: Shop, writer: Writer) -> None:
    account_id = shop.account()
    shop.put("anna", "5.00", validity="2 days")
    inbox_turn(shop, writer)
    shop.now += 2 * 86_400_000
    assert due(shop, writer) == 1
    assert shop.balance(account_id) == 0
    assert [(row.kind, row.credit) for row in shop.rows(tables.transfer)][1:] == [("expired", "expired")]
