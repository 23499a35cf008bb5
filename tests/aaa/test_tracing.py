"""What was decided about a packet, step by step: which trails are kept, what they say, and that the history is bounded."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select
from twisted.internet.defer import execute

from aaa import tracing
from aaa.handlers import REJECT_DELAY_MS
from aaa.tracing import MOST_WAITING, Mode, Tracing
from aaa.trail import LONGEST_STEP, MOST_STEPS, Trail
from aaa.wire import Attribute, Code
from charging import tables
from charging.conditions import Conditions, to_text
from tests.aaa.conftest import NOON, PASSWORD, Floor
from tests.aaa.test_authorisation import set_subscriber

STATION: Attribute = ("Calling-Station-Id", "02-00-5E-00-53-01")


def traced(floor: Floor, mode: Mode = "all", *, most_rows: int = 1000, most_age_ms: int = 10**9) -> Tracing:
    made = Tracing(floor.engine, execute, floor.now, "node-1", mode, most_rows=most_rows, most_age_ms=most_age_ms)
    floor.services = floor.services._replace(tracing=made)
    return made


def refused(floor: Floor, **how: object) -> None:
    sent = floor.login(**how)  # type: ignore[arg-type]
    floor.clock.advance(REJECT_DELAY_MS / 1000)
    assert sent.answer().code == Code.ACCESS_REJECT


def history(floor: Floor, **which: str) -> list[tracing.TraceLine]:
    with floor.engine.connect() as connection:
        return tracing.lines(connection, username=which.get("username"), nas=which.get("nas"), since=NOON, limit=1000)


def words(line: tracing.TraceLine) -> str:
    return "\n".join(text for _, text in line.steps)


def test_a_login_says_each_decision_and_each_attribute(floor: Floor) -> None:
    set_subscriber(
        floor, conditions=to_text(Conditions(learn_stations=1)), reply_attributes=json.dumps([["Filter-Id", "vip"]])
    )
    made = traced(floor)
    assert floor.login(more=[STATION]).reply is not None
    made.turn()
    (line,) = history(floor)
    assert (line.username, line.nas, line.kind, line.result, line.node) == (
        "alice",
        "bras-1",
        "login",
        "accept",
        "node-1",
    )
    said = words(line)
    for part in (
        "NAS bras-1", "the shared secret is right, with Message-Authenticator", "'alice' asks by PAP; device 02-00-5E",
        "subscriber 'alice', active; PAP: right (kept: reversible)", "all conditions met; device 02:00:5e:00:53:01 is one of",
        "charging admits: session", "profile home-20", "says Filter-Id = vip, by attributes of plan and subscriber",
        "says Acct-Interim-Interval = ", "by the server", "WISPr-Bandwidth-Max-Down = 20000000, by profile home-20",
    ):  # fmt: skip
        assert part in said
    assert PASSWORD.decode() not in said
    assert [at for at, _ in line.steps] == sorted(at for at, _ in line.steps)
    assert line.steps[-1][0] <= line.microseconds


def test_a_refusal_names_its_reason(floor: Floor) -> None:
    made = traced(floor, "refused")
    refused(floor, password=b"wrong")
    set_subscriber(floor, conditions=to_text(Conditions(nas=("bras-2",))))
    refused(floor)
    made.turn()
    first, second = history(floor)
    assert words(first).endswith("Access-Reject: wrong-password")
    assert "conditions: NAS bras-1 of no group; allowed: bras-2" in words(second)
    assert "Access-Reject: nas-not-allowed, NAS bras-1" in words(second)


def test_a_report_says_what_it_came_to(floor: Floor) -> None:
    made = traced(floor)
    accept = floor.login(more=[STATION])
    token = accept.value("Class")
    assert isinstance(token, bytes)
    floor.report(1, ("Class", token), STATION)
    floor.report(3, ("Class", token), STATION, ("Acct-Input-Octets", 1000), ("Acct-Session-Time", 60))
    floor.report(3, username="nobody", acct_session_id="x")
    made.turn()
    _, start, interim, orphan = history(floor)
    assert "start of Acct-Session-Id '0000002A'" in words(start)
    assert "1000 octets up" in words(interim)
    assert (interim.result, interim.kind) == ("recorded", "report")
    assert orphan.result == "orphan"
    assert "nobody authorised it: unknown-user" in words(orphan)


@pytest.mark.parametrize(
    ("mode", "kept"), [("off", []), ("refused", ["reject"]), ("all", ["accept", "recorded", "reject"])]
)
def test_the_configuration_says_what_is_kept(sqlite_floor: Floor, mode: Mode, kept: list[str]) -> None:
    floor = sqlite_floor
    made = traced(floor, mode)
    token = floor.login(more=[STATION]).value("Class")
    floor.report(1, ("Class", token or b""), STATION)
    refused(floor, password=b"wrong")
    made.turn()
    assert [line.result for line in history(floor)] == kept


def test_a_watch_sees_everything_that_fits_until_it_ends(sqlite_floor: Floor) -> None:
    floor = sqlite_floor
    floor.add_subscriber("bob")
    made = traced(floor, "off")
    assert (made.logins, made.reports) == (False, False)
    with floor.engine.begin() as connection:
        watch_id = tracing.watch(connection, "alice", None, floor.now() + 60_000)
    made.turn()
    assert (made.logins, made.reports) == (True, True)
    floor.login()
    floor.login("bob")
    made.turn()
    assert [line.username for line in history(floor)] == ["alice"]
    with floor.engine.begin() as connection:
        tracing.unwatch(connection, watch_id)
    made.turn()
    assert (made.logins, made.reports) == (False, False)
    with floor.engine.begin() as connection:
        tracing.watch(connection, None, "bras-1", floor.now() + 1_000)
    made.turn()
    floor.login("bob", secret=b"another secret of 32 octets, yes")
    floor.clock.advance(2)
    made.turn()
    assert [line.result for line in history(floor)] == ["accept", "silence"], "also what is not signed right"
    assert not made.reports, "it ran out by itself"


def test_what_is_not_signed_is_kept_by_nobodys_configuration(sqlite_floor: Floor) -> None:
    made = traced(sqlite_floor, "all")
    sqlite_floor.login(secret=b"another secret of 32 octets, yes")
    made.turn()
    assert not history(sqlite_floor), "else anybody could push the others out"


def test_the_history_and_the_queue_are_bounded(sqlite_floor: Floor) -> None:
    made = traced(sqlite_floor, most_rows=3, most_age_ms=10_000)
    for _ in range(MOST_WAITING + 5):
        trail = made.begin("login", "bras-1", sqlite_floor.now())
        trail.proven = True
        made.end(trail, None)
    assert made.lost == 5
    for _ in range(61):
        made.turn()
    assert len(history(sqlite_floor)) == 3
    sqlite_floor.clock.advance(20)
    for _ in range(61):
        made.turn()
    assert history(sqlite_floor) == []


def test_a_database_that_is_away_loses_trails_and_nothing_else(sqlite_floor: Floor) -> None:
    floor = sqlite_floor
    down = [True]

    def work(job: object) -> object:
        if down[0]:
            raise ConnectionError("away")
        return job()  # type: ignore[operator]

    made = Tracing(floor.engine, lambda job: execute(work, job), floor.now, "node-1", "all")
    floor.services = floor.services._replace(tracing=made)
    assert floor.login().answer().code == Code.ACCESS_ACCEPT
    made.turn()
    assert made.lost == 1
    down[0] = False
    refused(floor, password=b"wrong")
    made.turn()
    assert [line.result for line in history(floor)] == ["reject"]


def test_a_trail_is_bounded_however_much_is_said_at_once() -> None:
    trail = Trail("login", "n", 0, lambda: 0)
    trail.say("{}", "long" * LONGEST_STEP)
    trail.say_each(lambda most: map(str, range(most)), 2 * MOST_STEPS)
    trail.say("never heard")
    steps = [text for _, text in trail.steps()]
    assert len(steps) == MOST_STEPS
    assert len(steps[0]) == LONGEST_STEP
    assert steps[-1] == str(MOST_STEPS - 2)


def test_a_step_is_timed_in_microseconds_since_the_packet_came() -> None:
    nanoseconds = iter([7_000_000_000, 7_000_001_999, 7_000_020_000, 7_003_000_999])
    trail = Trail("login", "n", 0, lambda: next(nanoseconds))
    trail.say("at once")
    trail.say_each(lambda: ["later"])
    trail.end(None)
    assert trail.steps() == [(1, "at once"), (20, "later")]
    assert trail.microseconds == 3000


def test_words_from_outside_are_only_words() -> None:
    trail = Trail("login", "n", 0, lambda: 0)
    trail.say("{} says {!r}", "a{0}b", "{1.__class__}")
    trail.say("{}", "x" * 10_000)
    for _ in range(1000):
        trail.say("again")
    steps = trail.steps()
    assert steps[0][1] == "a{0}b says '{1.__class__}'"
    assert (len(steps[1][1]), len(steps)) == (400, 100)


def test_accounting_that_nobody_watches_leaves_no_trail(sqlite_floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    made = traced(sqlite_floor, "refused")

    def begin(*_: object) -> Trail:
        raise AssertionError("a trail was begun")

    monkeypatch.setattr(made, "begin", begin)
    assert sqlite_floor.report(1).reply is not None
    with sqlite_floor.engine.connect() as connection:
        assert connection.execute(select(tables.trace)).first() is None
