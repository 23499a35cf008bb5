"""What an Accept says, and refusals that the table of cases can not tell."""

from __future__ import annotations

from dataclasses import replace

from charging.admission import Admitted, Login, Refused
from charging.plan import Exhausted, Plan, Profile, Rate
from charging.session import PROVISIONAL_MS
from tests.charging.cases.story import BEGIN, Memory
from tests.charging.test_book import stage_of

LINE = Profile("line", 8_000_000, 8_000_000, session_timeout_seconds=3600)
MINUTES = Plan("p", "EUR", "UTC", LINE, rates=(Rate("seconds", "total", 50_000, 60, 60),))
LOGIN = Login(1, 1, "alice", 1, None, None, 1, "10.0.0.1", "d", "aa:bb", "port 7")


def admit(stage: Memory, login: Login = LOGIN, now: int = BEGIN) -> Admitted | Refused:
    outcome, _ = stage.settle(login, now)
    assert isinstance(outcome, Admitted | Refused)
    return outcome


def test_a_suspended_account_lets_nobody_in() -> None:
    stage = stage_of(MINUTES, money=1_000_000)
    stage.books[1].account.status = "suspended"
    assert admit(stage) == Refused("suspended")
    assert stage.books[1].sessions == {}


def test_an_accept_says_how_long() -> None:
    stage = stage_of(MINUTES, money=149_999)
    found = admit(stage, LOGIN._replace(expires_at=BEGIN + 60_999, means="rate"))
    assert isinstance(found, Admitted)
    assert found.paid_seconds == 120  # the third minute is not paid
    assert found.time_limit_seconds == 60
    session = stage.books[1].sessions[found.session_id]
    assert (session.state, session.root_id, session.stale_at) == (
        "provisional",
        found.session_id,
        BEGIN + PROVISIONAL_MS,
    )
    assert found.interim_interval_seconds == 60  # the end is near: reports are asked for more often


def test_never_a_limit_of_nothing() -> None:
    """Session-Timeout 0 would mean: no limit."""
    stage = stage_of(MINUTES, money=1_000_000)
    found = admit(stage, LOGIN._replace(expires_at=BEGIN + 1))
    assert isinstance(found, Admitted)
    assert found.time_limit_seconds == 1


def test_the_profiles_limit_where_nothing_expires() -> None:
    found = admit(stage_of(MINUTES, money=1_000_000))
    assert isinstance(found, Admitted)
    assert found.time_limit_seconds == 3600


def test_who_has_nothing_gets_the_exhausted_profile_and_no_time_that_is_paid() -> None:
    wall = Profile("wall", redirect_url="https://pay.example.net/")
    found = admit(stage_of(replace(MINUTES, exhausted=Exhausted("redirect", wall))))
    assert isinstance(found, Admitted)
    assert (found.wanted, found.profile, found.paid_seconds) == ("exhausted", wall, None)


def test_two_sessions_do_not_share_the_same_minutes() -> None:
    """The first would hold all of the three minutes; the second one gets a part of them, and the parts are no more."""
    stage = stage_of(replace(MINUTES, max_sessions=2), money=150_000)
    assert isinstance(admit(stage), Admitted)
    second = admit(stage, LOGIN._replace(device_key="e"))
    assert isinstance(second, Admitted)
    assert second.paid_seconds is not None
    assert second.paid_seconds <= 120
    assert sum(bucket.held for bucket in stage.books[1].buckets.values()) <= 150_000
