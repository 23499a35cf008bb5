"""Who may come in, and what the NAS is told about him: the decision alone, without a server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aaa.access import accept, decide, reject, rejection
from aaa.dialects import dialect, names
from aaa.passwords import Credential, Verdict
from aaa.subscriber import Subscriber
from charging.admission import Admitted
from charging.plan import Profile
from charging.session import Means

NOW = 1_772_366_400_000
ALICE = Subscriber(1, 2, "alice", 3, "active", None, None, Credential(None, b"secret"))
SUSPENDED = ALICE._replace(status="suspended")
ADMITTED = Admitted(2, 9, "full", Profile("home"), 300, None, None)


@pytest.mark.parametrize(
    ("subscriber", "verdict", "reason"),
    [
        (ALICE, "right", None),
        (ALICE, "wrong", "wrong-password"),
        (ALICE, "method", "method-not-possible"),
        (None, "right", "unknown-user"),
        (None, "wrong", "unknown-user"),
        (None, "method", "unknown-user"),
        (SUSPENDED, "right", "suspended"),
        (SUSPENDED, "wrong", "wrong-password"),
        (ALICE._replace(expires_at=NOW + 1), "right", None),
        (ALICE._replace(expires_at=NOW), "right", "expired"),
        (ALICE._replace(expires_at=NOW - 1), "wrong", "wrong-password"),
        (SUSPENDED._replace(expires_at=NOW - 1), "right", "suspended"),
        (ALICE._replace(status="anything else"), "right", "suspended"),
    ],
)
def test_decisions(subscriber: Subscriber | None, verdict: Verdict, reason: str | None) -> None:
    decided = decide(subscriber, verdict, NOW)
    assert (None if decided is None else decided.reason) == reason


@pytest.mark.parametrize("reason", ["unknown-user", "wrong-password", "method-not-possible", "no-account"])
def test_a_failure_of_credentials_says_nothing(reason: str) -> None:
    assert reject(rejection(reason)) == []


@pytest.mark.parametrize("reason", ["suspended", "expired", "exhausted", "too-many-sessions"])
def test_other_refusals_say_why(reason: str) -> None:
    assert [name for name, _ in reject(rejection(reason))] == ["Reply-Message"]


@pytest.mark.parametrize(
    ("limits", "extendable", "expected"),
    [
        ({}, True, None),
        ({"time_limit_seconds": 60}, True, 60),
        ({"time_limit_seconds": 60}, False, 60),
        ({"paid_seconds": 60}, True, 60),
        ({"paid_seconds": 60}, False, None),
        ({"time_limit_seconds": 60, "paid_seconds": 30}, True, 30),
        ({"time_limit_seconds": 60, "paid_seconds": 30}, False, 60),
        ({"time_limit_seconds": 60, "paid_seconds": 90}, True, 60),
        ({"time_limit_seconds": 2**31 - 1}, True, 2**31 - 1),
        ({"time_limit_seconds": 2**31}, True, None),
        ({"time_limit_seconds": 2**40, "paid_seconds": 90}, True, 90),
    ],
)
def test_session_timeout(limits: dict[str, Any], extendable: bool, expected: int | None) -> None:
    nas = replace(dialect("generic"), session_timeout_extendable=extendable)
    said = dict(accept(ADMITTED._replace(**limits), nas, b"token"))
    assert said.get("Session-Timeout") == expected


@pytest.mark.parametrize(
    ("seconds", "means", "expected"),
    [(30, "disconnect", 1800), (1799, "profile", 1800), (1801, "disconnect", 1801), (30, "time", 30)],
)
def test_no_shorter_session_timeout_than_a_nas_can_bear_but_where_it_is_all_there_is(
    seconds: int, means: Means, expected: int
) -> None:
    nas = replace(dialect("generic"), least_session_timeout_seconds=1800)
    said = dict(accept(ADMITTED._replace(cap_seconds=seconds), nas, b"token", means=means))
    assert said["Session-Timeout"] == expected


@pytest.mark.parametrize(
    ("limits", "means", "asks_again"),
    [
        ({"cap_seconds": 60}, "disconnect", True),
        ({"cap_seconds": 60, "time_limit_seconds": 90}, "disconnect", True),
        # who must leave then, whatever is paid; who has nothing left; a NAS that can be told nothing
        ({"cap_seconds": 60, "time_limit_seconds": 60}, "disconnect", False),
        ({"cap_seconds": 60, "wanted": "exhausted"}, "disconnect", False),
        ({"cap_seconds": 60}, "time", False),
    ],
)
def test_a_timeout_for_the_balances_sake_only_asks_again(
    limits: dict[str, Any], means: Means, asks_again: bool
) -> None:
    admitted = ADMITTED._replace(**limits)
    said = dict(accept(admitted, dialect("hostapd"), b"token", means=means))
    assert (said["Session-Timeout"], said.get("Termination-Action")) == (60, 1 if asks_again else None)
    assert "Termination-Action" not in dict(accept(admitted, dialect("generic"), b"token", means=means))


def test_what_was_told_to_ask_again_soon_is_told_to_ask_again_later() -> None:
    again = ADMITTED._replace(again=True)
    said = dict(accept(again, dialect("hostapd"), b"token", means="disconnect"))
    assert (said["Session-Timeout"], said["Termination-Action"]) == (3_600, 1)
    for admitted, name in ((again, "generic"), (ADMITTED, "hostapd")):
        assert "Session-Timeout" not in dict(accept(admitted, dialect(name), b"token", means="disconnect"))


@pytest.mark.parametrize("name", names())
def test_every_accept_has_its_token_and_its_interval(name: str) -> None:
    said = accept(ADMITTED, dialect(name), b"token")
    assert said[0] == ("Class", b"token")
    assert ("Acct-Interim-Interval", 300) in said
    assert len([each for each in said if each[0] == "Class"]) == 1
