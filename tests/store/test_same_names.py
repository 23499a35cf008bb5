"""A router that gives every session the same Acct-Session-Id and does not bring the Class back."""

from __future__ import annotations

from sqlalchemy import Engine

from charging import tables
from charging.session import Kind, Report, device_key
from charging.settle import Outcome
from charging.usage import Recorded
from tests.store.shop import Shop, plan_by_volume

MB = 1_000_000


class Router:
    """The same port and station over and over."""

    def __init__(self, engine: Engine) -> None:
        self.shop = shop = Shop(engine)
        self.plan, self.account = shop.plan(plan_by_volume()), shop.account()
        self.subscriber, self.nas = shop.subscriber(self.account, "anna"), shop.nas()
        shop.pay("anna", "10.00")

    def log_in(self, station: str = "02-00") -> int:
        shop = self.shop
        from charging.admission import Admitted, Login

        key = device_key(self.nas, "192.0.2.1", "7", station)
        login = Login(self.account, self.subscriber, "anna", self.plan, None, None, self.nas, "192.0.2.1", key)
        (outcome,) = shop.settle(login)
        assert isinstance(outcome, Admitted)
        return outcome.session_id

    def report(self, kind: Kind, *, up: int = 0, seconds: int = 0, token: int | None = None) -> Outcome:
        shop = self.shop
        item: Report = shop.report_item(self.account, 0, kind, up=up, seconds=seconds)
        item = replace_names(item, None if token is None else (self.account, token), self.nas)
        (outcome,) = shop.settle(item)
        return outcome

    def live(self) -> list[int]:
        c = tables.session.c
        return [row.session_id for row in self.shop.rows(tables.session, c.closed_at.is_(None))]


def replace_names(item: Report, token: tuple[int, int] | None, nas_id: int) -> Report:
    return item._replace(token=token, nas_id=nas_id, acct_session_id=b"%lX", nas_port_id="7", calling_station="02-00")


def test_a_start_after_a_new_login_begins_a_new_session_though_the_old_one_never_ended(engine: Engine) -> None:
    router = Router(engine)
    first = router.log_in()
    router.report("start")
    router.shop.now += 60_000
    router.report("interim", up=10 * MB, seconds=60)
    router.shop.now += 60_000  # the router loses its power, and says nothing of it
    second = router.log_in()
    router.report("start")
    assert router.live() == [second]
    router.shop.now += 61_000
    outcome = router.report("interim", up=11 * MB, seconds=61)
    assert isinstance(outcome, Recorded)
    assert (outcome.session_id, outcome.used.up) == (second, 11 * MB)
    assert first != second


def test_of_two_sessions_with_the_same_names_the_newer_login_lives(engine: Engine) -> None:
    router = Router(engine)
    first = router.log_in()
    router.report("start", token=first)
    router.shop.now += 60_000
    second = router.log_in()
    router.report("start", token=second)
    assert router.live() == [second]
    late = router.report("interim", up=MB, seconds=50, token=first)
    assert isinstance(late, Recorded)
    assert (late.session_id, late.used.up) == (first, MB)
    assert router.live() == [second]


def test_the_late_start_of_an_older_login_does_not_end_the_newer_one(engine: Engine) -> None:
    router = Router(engine)
    first = router.log_in()
    router.shop.now += 1_000
    router.report("stop", token=first)
    second = router.log_in()
    router.report("start", token=second)
    router.report("start", token=first)
    assert router.live() == [second]
