"""Who guesses waits; who knows, and everybody else, does not."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from aaa.attempts import FORGOTTEN_AFTER_MS, FREE, LONGEST_HOLD_MS, SHORTEST_HOLD_MS, Attempts
from aaa.handlers import REJECT_DELAY_MS
from aaa.realms import Realms
from aaa.wire import Attribute, Code
from charging import tables
from tests.aaa.conftest import Floor

PHONE: Attribute = ("Calling-Station-Id", "02:00:5e:00:53:01")
GUESSER: Attribute = ("Calling-Station-Id", "02:00:5e:00:53:66")


def test_a_few_wrong_passwords_are_free_then_each_doubles_the_wait() -> None:
    attempts, now = Attempts(), 0
    for _ in range(FREE - 1):
        attempts.wrong("alice", "x", now)
        assert not attempts.held("alice", "x", now)
    hold = SHORTEST_HOLD_MS
    for _ in range(10):
        attempts.wrong("alice", "x", now)
        assert attempts.held("alice", "x", now + hold - 1)
        assert not attempts.held("alice", "x", now + hold)
        now, hold = now + hold, min(2 * hold, LONGEST_HOLD_MS)
    assert not attempts.held("alice", "y", now), "another device"
    assert not attempts.held("bob", "x", now), "another user"
    attempts.wrong("alice", "x", now + FORGOTTEN_AFTER_MS)
    assert not attempts.held("alice", "x", now + FORGOTTEN_AFTER_MS), "all was forgotten"


def test_a_device_that_has_known_the_password_never_waits() -> None:
    attempts = Attempts()
    attempts.right("alice", "x", 0)
    for now in range(100):
        attempts.wrong("alice", "x", now)
        assert not attempts.held("alice", "x", now)


def test_the_memory_is_bounded_and_the_oldest_goes_first() -> None:
    attempts = Attempts(most=2)
    for _ in range(FREE):
        attempts.wrong("a", "x", 0)
    assert attempts.held("a", "x", 1)
    attempts.wrong("b", "x", 0)
    attempts.wrong("c", "x", 0)
    assert not attempts.held("a", "x", 1)


@pytest.fixture
def guarded(sqlite_floor: Floor) -> Floor:
    sqlite_floor.services = sqlite_floor.services._replace(attempts=Attempts())
    return sqlite_floor


def test_a_guesser_is_not_listened_to_and_hears_what_he_always_hears_while_the_customer_comes_in(
    guarded: Floor,
) -> None:
    answers = []
    with capture_logs() as logs:
        for guess in range(FREE + 2):
            sent = guarded.login(password=b"guess %d" % guess, more=[GUESSER])
            guarded.clock.advance(REJECT_DELAY_MS / 1000)
            assert sent.answer().code == Code.ACCESS_REJECT
            answers.append(sent.said())
        right = guarded.login(more=[GUESSER])
        guarded.clock.advance(REJECT_DELAY_MS / 1000)
        assert right.answer().code == Code.ACCESS_REJECT, "even what would have been right"
    reasons = [each["reason"] for each in logs if each["event"] == "access-reject"]
    assert set(reasons) == {"wrong-password", "too-many-attempts"}
    assert all(answer == answers[0] for answer in answers)
    assert guarded.login(more=[PHONE]).answer().code == Code.ACCESS_ACCEPT
    guarded.clock.advance(LONGEST_HOLD_MS / 1000)
    assert guarded.login(more=[GUESSER]).reply is None, "too many sessions now, but it was looked at"


def test_who_claims_the_customers_device_does_not_keep_him_out(guarded: Floor) -> None:
    assert guarded.login(more=[PHONE]).answer().code == Code.ACCESS_ACCEPT
    for _ in range(3 * FREE):
        guarded.login(password=b"guess", more=[PHONE])
    assert guarded.login(more=[PHONE]).answer().code == Code.ACCESS_ACCEPT


# --- realms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("alice", "alice"),
        ("alice@example.net", "alice"),
        ("alice@EXAMPLE.NET", "alice"),
        ("alice@old.example", "alice@new.example"),
        ("alice@elsewhere.example", "alice@elsewhere.example"),
        ("CORP\\alice", "alice"),
        ("OTHER\\alice", "OTHER\\alice"),
        ("a@b@example.net", "a@b"),
        ("@example.net", "@example.net"),
    ],
)
def test_a_realm_is_taken_off_or_replaced(said: str, name: str) -> None:
    assert Realms({"example.net": None, "old.example": "new.example", "corp": None}).name(said) == name


def test_a_login_and_its_reports_under_a_realm_are_the_subscribers(sqlite_floor: Floor) -> None:
    floor = sqlite_floor
    floor.services = floor.services._replace(realms=Realms({"example.net": None}))
    accepted = floor.login("alice@example.net", more=[PHONE])
    assert accepted.value("User-Name") == "alice"
    floor.report(1, PHONE, username="alice@example.net")
    (session,) = floor.rows(tables.session)
    assert (session.username, session.state) == ("alice", "open")
    assert session.nas_username == "alice@example.net", "that is how its NAS must be told"
    assert not floor.rows(tables.orphan_report)
