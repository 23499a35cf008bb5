"""What a session holds and what its NAS is asked for while the money runs out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charging.admission import Admitted, Login, Refused
from charging.book import Counter
from charging.enforcement import NO_ANSWER
from charging.money import Rounding, RoundingMode
from charging.payment import TopUp
from charging.plan import Allowance, Exhausted, Plan, Profile, Rate, Tier, Unit
from charging.session import Means, Session
from charging.settle import CommandAcked, CommandFailed
from charging.slices import ALL
from charging.window import period_of
from tests.charging.cases.story import BEGIN, Memory
from tests.charging.test_book import MB, report_of, stage_of

SLOW = Profile("slow", 256_000, 128_000)
#: 3.125 MB/s both ways: 1,047 MB until our next word at 300 s, 297 MB at 60 s.
LINE = Profile("line", 20_000_000, 5_000_000, interim_interval_seconds=300)
SHORT_SLICE = 3_125_000 * 95


def plan(octets: int, line: Profile = LINE, sessions: int | None = None, unit: Unit = "octets") -> Plan:
    return Plan(
        "p", "EUR", "UTC", line, allowances=(Allowance("data", unit, "total", octets),), exhausted=Exhausted("throttle", SLOW),
        max_sessions=sessions,
    )  # fmt: skip


def log_in(
    stage: Memory, device: str = "d", means: Means = "rate", second: int = 0, subscriber: int = 1, least: int = 60
) -> Admitted:
    login = Login(
        1, subscriber, "alice", 1, None, None, 1, "10.0.0.1", device, device, means=means, least_interval_seconds=least
    )
    admitted, _ = stage.settle(login, BEGIN + second * 1000)
    assert isinstance(admitted, Admitted)
    return admitted


def start(stage: Memory, admitted: Admitted, means: Means = "rate", second: int = 0) -> None:
    stage.settle(report_of(admitted, "start", second, 0, 0, 0)._replace(means=means), BEGIN + second * 1000)


def told_after(stage: Memory, admitted: Admitted, second: int, down: int, means: Means = "rate") -> list[str]:
    """The reasons of the commands that a report leads to."""
    report = report_of(admitted, "interim", second, 0, down, second)._replace(means=means)
    _, happened = stage.settle(report, BEGIN + second * 1000)
    return [command.reason for command in happened.commands]


def pay(stage: Memory, amount: int, second: int, unit: Unit = "octets") -> None:
    top_up = TopUp(1, stage.put_top_up(1, unit, amount), unit, amount, f"paid-{second}", "test")
    stage.settle(top_up, BEGIN + second * 1000)


def session_of(stage: Memory, admitted: Admitted) -> Session:
    return stage.books[1].sessions[admitted.session_id]


def held(stage: Memory) -> int:
    return sum(bucket.held for bucket in stage.books[1].buckets.values())


# --- more often before slower --------------------------------------------------------------------------------------


@pytest.mark.parametrize("means", ["rate", "profile", "disconnect"])
def test_who_logs_in_with_little_is_asked_to_report_more_often_and_is_not_slowed(means: Means) -> None:
    stage = stage_of(plan(500 * MB))
    admitted = log_in(stage, means=means)
    assert (admitted.interim_interval_seconds, admitted.paced, admitted.cap_seconds) == (60, False, None)
    assert held(stage) == SHORT_SLICE  # the rest is there for others


def test_no_nas_is_asked_for_what_it_does_not_do() -> None:
    stage = stage_of(plan(500 * MB))
    admitted = log_in(stage, least=600)
    assert (admitted.interim_interval_seconds >= 300, admitted.paced) == (True, True)
    stage = stage_of(plan(800 * MB, replace(LINE, interim_interval_seconds=600)))
    admitted = log_in(stage, least=200)
    assert (admitted.interim_interval_seconds, admitted.paced) == (200, False)


def test_too_little_for_the_shortest_interval_is_made_to_last_by_speed_too() -> None:
    stage = stage_of(plan(150 * MB))
    admitted = log_in(stage)
    assert (admitted.interim_interval_seconds, admitted.paced) == (60, True)
    assert session_of(stage, admitted).pace_permille == 500


def test_who_reports_as_often_as_asked_is_slowed_when_that_no_longer_fits_and_not_before() -> None:
    stage = stage_of(plan(500 * MB))
    admitted = log_in(stage)
    start(stage, admitted)
    told = {second: told_after(stage, admitted, second, 1_000_000 * second) for second in range(60, 481, 60)}
    assert [second for second, reasons in told.items() if reasons] == [240, 360, 480]
    assert session_of(stage, admitted).pace_permille == 62


def test_who_does_not_report_as_often_as_asked_is_slowed_at_once() -> None:
    stage = stage_of(plan(500 * MB))
    admitted = log_in(stage)
    start(stage, admitted)
    assert told_after(stage, admitted, 300, 10 * MB) == ["soft-landing"]
    session = session_of(stage, admitted)
    assert (session.interval_seconds, session.pace_permille) == (300, 250)


def test_who_does_not_report_as_often_as_asked_is_not_given_up_for_it() -> None:
    stage = stage_of(plan(500 * MB))
    admitted = log_in(stage)
    start(stage, admitted)
    assert session_of(stage, admitted).stale_at == BEGIN + 900_000


def test_with_enough_again_reports_come_as_often_as_usual() -> None:
    stage = stage_of(plan(500 * MB))
    admitted = log_in(stage)
    start(stage, admitted)
    assert told_after(stage, admitted, 60, MB) == []
    pay(stage, 5_000 * MB, 61)
    session = session_of(stage, admitted)
    assert (session.asked_interval_seconds, session.pace_permille) == (0, ALL)
    assert session.interval_seconds >= 300


# --- while there is enough ------------------------------------------------------------------------------------------

#: 0.1 cent a MB, a tenth of it beyond 2 GB, ten times as much beyond 4 GB.
TIERS = (Tier(2_000 * MB, 1_000, MB), Tier(4_000 * MB, 100, MB), Tier(None, 10_000, MB))
BY_MONEY = replace(plan(0), allowances=(), rates=(Rate("octets", "total", 0, 1, 1, tiers=TIERS),))


def test_a_hold_is_kept_while_it_pays_for_the_next_slice_and_not_for_much_more() -> None:
    stage = stage_of(BY_MONEY, money=1_000_000_000)
    admitted = log_in(stage)
    start(stage, admitted)
    holds = {}
    for second, used in ((300, 100), (600, 900), (900, 1_500), (1_200, 2_100), (1_500, 2_800), (1_800, 3_500)):
        assert told_after(stage, admitted, second, used * MB) == []
        holds[used] = held(stage) / 1_000
    slice_mb = holds[100]
    assert holds == {
        100: slice_mb,
        900: slice_mb,  # all of it still lies in the first tier
        1_500: pytest.approx(500 + (slice_mb - 500) / 10, rel=0.05),
        2_100: pytest.approx(slice_mb / 10, rel=0.05),
        2_800: holds[2_100],
        3_500: pytest.approx(50 + (slice_mb - 500) * 10, rel=0.05),
    }


@pytest.mark.parametrize("sold", [BY_MONEY, plan(100_000 * MB)], ids=["money", "octets"])
def test_a_report_some_seconds_sooner_or_later_is_no_reason_to_hold_another_slice(sold: Plan) -> None:
    stage = stage_of(sold, money=1_000_000_000)
    admitted = log_in(stage)
    start(stage, admitted)
    holds = set()
    second = 310
    for late in (0, -12, 9, -8, 7, 0, -10):
        told_after(stage, admitted, second + late, MB * second // 300)
        holds.add(held(stage))
        second += 300
    assert len(holds) <= 2, "one for 310 s and one for what came latest after it"
    told_after(stage, admitted, second + 300, MB * second // 300)
    assert held(stage) > max(holds)


# --- below a slice, shared ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("means", ["rate", "profile", "disconnect", "volume"])
@pytest.mark.parametrize("octets", [20 * MB, 150 * MB, 500 * MB])
@pytest.mark.parametrize("interval", [60, 300])
def test_a_second_device_is_served_from_what_the_first_held_below_a_slice(
    means: Means, octets: int, interval: int
) -> None:
    stage = stage_of(plan(octets, replace(LINE, interim_interval_seconds=interval)))
    first = log_in(stage, "a", means)
    start(stage, first, means)
    second = log_in(stage, "b", means, second=10)
    assert (second.wanted, session_of(stage, first).wanted) == ("full", "full")
    parts = [sum(c.held for c in stage.books[1].charges_of(session_of(stage, each))) for each in (first, second)]
    assert sum(parts) <= octets
    assert 2 * min(parts) >= max(parts) > 0  # what a NAS was told to count up to is not taken back: half of the rest
    paces = {session_of(stage, each).pace_permille for each in (first, second)}
    assert len(paces) == 1


def test_four_devices_of_a_family_go_equally_slow_and_together_within_what_is_left() -> None:
    stage = stage_of(plan(200 * MB))
    devices = [log_in(stage, device, second=at) for at, device in enumerate("abcd")]
    for device in devices:
        start(stage, device, second=5)
    paces = {session_of(stage, each).pace_permille for each in devices}
    assert len(paces) == 1
    assert sum(SHORT_SLICE * pace // ALL for pace in paces) * len(devices) <= 200 * MB


# --- paid time -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("means", ["rate", "profile", "disconnect", "volume"])
def test_paid_time_that_comes_in_moves_the_session_timeout(means: Means) -> None:
    stage = stage_of(plan(3_600, unit="seconds"))
    admitted = log_in(stage, means=means)
    start(stage, admitted, means)
    assert admitted.paid_seconds == 3_600
    told_after(stage, admitted, 300, MB, means)
    pay(stage, 7_200, 400, "seconds")
    assert session_of(stage, admitted).timeout_seconds == 3_600 + 7_200


def test_so_it_does_for_a_session_that_had_nothing_left_before_its_time() -> None:
    stage = stage_of(plan(600, unit="seconds"))
    pair = [log_in(stage, device) for device in "ab"]
    for each in pair:
        start(stage, each)
    for second in (120, 240, 360):
        for each in pair:
            told_after(stage, each, second, MB)
    assert {session_of(stage, each).wanted for each in pair} == {"exhausted"}  # together they had ten minutes
    pay(stage, 7_200, 400, "seconds")
    assert {session_of(stage, each).wanted for each in pair} == {"full"}
    assert min(session_of(stage, each).timeout_seconds or 0 for each in pair) > 3_600


def test_nobody_is_slowed_for_one_whom_what_he_holds_does_not_help() -> None:
    by_money = replace(plan(0), allowances=(), rates=(Rate("octets", "total", 20_000, MB, 100_000),))
    stage = stage_of(by_money, money=10_000_000)  # 500 MB
    first = log_in(stage, "a")
    start(stage, first)
    without_price = plan(100 * MB)  # and what it had is used up
    stage.books[1].plans = lambda number: {1: by_money, 2: without_price}[number]
    login = Login(1, 2, "bob", 2, None, None, 1, "10.0.0.1", "b", "b", means="rate")
    before = held(stage)
    admitted, happened = stage.settle(login, BEGIN + 10_000)
    assert isinstance(admitted, Admitted)
    assert admitted.wanted == "exhausted"
    assert happened.commands == []
    assert (session_of(stage, first).pace_permille, held(stage)) == (ALL, before)


# --- was it applied? ---------------------------------------------------------------------------------------------------

#: Paced to half the line from its login: 1,562,500 octets a second.
HALF_SPEED = 1_562_500


def paced(stage: Memory) -> Admitted:
    admitted = log_in(stage)
    assert session_of(stage, admitted).pace_permille == 500
    return admitted


def means_after(stage: Memory, admitted: Admitted, second: int, event_second: int, down: int, seconds: int) -> Means:
    """A report that comes at `second` and says that it is of `event_second`."""
    report = report_of(admitted, "interim", event_second, 0, down, seconds)._replace(means="rate")
    stage.settle(report, BEGIN + second * 1000)
    return session_of(stage, admitted).means


def test_two_reports_of_one_second_are_of_as_long_as_the_session_lasted_between_them() -> None:
    stage = stage_of(plan(150 * MB))
    admitted = paced(stage)
    start(stage, admitted)
    assert means_after(stage, admitted, 60, 60, MB, 60) == "rate"
    assert means_after(stage, admitted, 65, 60, MB + HALF_SPEED * 5, 65) == "rate"


def test_a_nas_whose_clock_is_ahead_has_not_had_longer_to_apply_an_order() -> None:
    stage = stage_of(plan(500 * MB, replace(LINE, interim_interval_seconds=60)))
    admitted = log_in(stage)
    ahead = 150
    stage.settle(report_of(admitted, "start", ahead, 0, 0, 0)._replace(means="rate"), BEGIN)
    for second in (60, 120):
        assert means_after(stage, admitted, second, second + ahead, 120 * MB * second // 60, second) == "rate"
    session = session_of(stage, admitted)
    assert session.pace_permille < ALL
    stage.settle(CommandAcked(1, session.session_id, session.wanted_version), BEGIN + 179_000)
    # Nearly all of this was before the answer; by the NAS's clock all of it came after.
    assert means_after(stage, admitted, 180, 180 + ahead, 420 * MB, 180) == "rate"


def test_a_nas_that_was_away_hears_of_the_full_speed_again_later() -> None:
    stage = stage_of(plan(150 * MB))
    admitted = paced(stage)
    start(stage, admitted)
    pay(stage, 5_000 * MB, 10)
    session = session_of(stage, admitted)
    for times, second in enumerate((40, 110, 200)):
        failed = CommandFailed(1, session.session_id, session.wanted_version, NO_ANSWER)
        _, happened = stage.settle(failed, BEGIN + second * 1000)
        (command,) = happened.commands
        assert (command.reason, command.not_before) == ("enough", BEGIN + second * 1000 + 30_000 * 2**times)
    failed = CommandFailed(1, session.session_id, session.wanted_version, NO_ANSWER)
    _, happened = stage.settle(failed, BEGIN + 400_000)
    assert not happened.commands  # it can not be reached
    assert session.acked_version == session.wanted_version


def test_a_nas_that_may_have_heard_of_the_slower_speed_is_told_of_the_full_one() -> None:
    stage = stage_of(plan(500 * MB, replace(LINE, interim_interval_seconds=60)))
    admitted = log_in(stage)
    start(stage, admitted)
    for second in (60, 120):
        means_after(stage, admitted, second, second, 120 * MB * second // 60, second)
    session = session_of(stage, admitted)
    assert session.pace_permille < ALL
    failed = CommandFailed(1, session.session_id, session.wanted_version, NO_ANSWER)
    _, happened = stage.settle(failed, BEGIN + 150_000)
    (command,) = happened.commands
    assert (command.reason, command.not_before) == ("enough", BEGIN + 180_000)
    assert (session.pace_permille, session.means) == (ALL, "disconnect")
    assert session.acked_version < session.wanted_version == command.version


def test_who_can_pay_with_money_too_leaves_the_octets_to_those_who_can_not() -> None:
    stage = stage_of(plan(1_500 * MB, sessions=2), money=1_000_000_000)
    only_octets = stage.books[1].plans(1)
    pays_too = replace(only_octets, rates=(Rate("octets", "total", 20_000, MB, 1, 0),))
    stage.books[1].plans = {1: only_octets, 2: pays_too}.__getitem__
    first = log_in(stage, "d1")
    start(stage, first)
    login = Login(1, 1, "alice", 2, None, None, 1, "10.0.0.1", "d2", "d2", means="rate")
    second, _ = stage.settle(login, BEGIN)
    assert isinstance(second, Admitted)
    start(stage, second)
    told_after(stage, first, 300, 600 * MB)
    assert session_of(stage, first).wanted == "full"
    told_after(stage, second, 300, 600 * MB)
    assert session_of(stage, first).wanted == "full"
    assert session_of(stage, second).wanted == "full"


# --- what rounds to nothing ------------------------------------------------------------------------------------------


def rounded(mode: RoundingMode, rate: Rate) -> Plan:
    return replace(plan(0), allowances=(), rates=(rate,), rounding=Rounding(mode, 2), max_sessions=None)


CENT_FOR_10_MB = Rate("octets", "total", 10_000, 10 * MB, 1)
#: By month: each login finds what was counted before it.
BY_MONTH = replace(CENT_FOR_10_MB, accumulate="month", name="metered")


@pytest.mark.parametrize("means", ["rate", "profile", "disconnect", "volume", "time"])
@pytest.mark.parametrize("mode", ["up", "down", "half-even"])
@pytest.mark.parametrize("micros", [0, 9_999])
@pytest.mark.parametrize(
    "rate",
    [
        CENT_FOR_10_MB,
        Rate("seconds", "total", 10_000, 3600, 1),
        replace(CENT_FOR_10_MB, fee_micros=100),
        BY_MONTH,
        Rate("octets", "total", 0, 1, 1, tiers=(Tier(10 * MB, 10_000, 10 * MB), Tier(None, 1_000, 10 * MB))),
    ],
)
def test_a_price_that_rounds_to_nothing_is_not_paid_by_nothing(
    means: Means, mode: RoundingMode, micros: int, rate: Rate
) -> None:
    """Else each login would be given its first octets."""
    sold = rounded(mode, rate)
    for action in (sold.exhausted, Exhausted("disconnect")):
        stage = stage_of(replace(sold, exhausted=action), money=micros)
        if rate.accumulate == "month":
            counter = Counter(1, f"rate:p:{rate.name}", *period_of("month", BEGIN, "UTC"))
            # Rounded up, all of a begun cent is paid.
            stage.books[1].count(counter, 10_000_000 if mode == "up" else 11_500_000)
        login = Login(1, 1, "alice", 1, None, None, 1, "10.0.0.1", "d", "d", means=means)
        for _ in range(3):
            outcome, _ = stage.settle(login, BEGIN)
            assert outcome == Refused("exhausted") or (isinstance(outcome, Admitted) and outcome.wanted == "exhausted")


@pytest.mark.parametrize("means", ["rate", "profile", "disconnect", "volume", "time"])
@pytest.mark.parametrize("mode", ["up", "down", "half-even"])
@pytest.mark.parametrize(
    ("micros", "rate"),
    [
        (10_000, CENT_FOR_10_MB),
        (5_000_000, Rate("octets", "total", 10_000, 100_000 * MB, 1)),  # a slice costs less than a cent
        (10_000, BY_MONTH),
        (0, replace(CENT_FOR_10_MB, free=1_000 * MB)),
        (0, replace(BY_MONTH, free=1_000 * MB)),
        (0, replace(CENT_FOR_10_MB, price_micros=0)),
        (0, Rate("octets", "total", 0, 1, 1, tiers=(Tier(50 * MB, 0, 10 * MB), Tier(None, 1_000, 10 * MB)))),
    ],
)
def test_who_can_pay_the_next_rounding_or_need_not_is_let_in(
    means: Means, mode: RoundingMode, micros: int, rate: Rate
) -> None:
    stage = stage_of(rounded(mode, rate), money=micros)
    assert log_in(stage, means=means).wanted == "full"


@pytest.mark.parametrize(("mode", "reached"), [("up", 10 * MB), ("down", 20 * MB - 1), ("half-even", 15 * MB - 1)])
def test_who_has_paid_has_what_his_plan_rounds_away(mode: RoundingMode, reached: int) -> None:
    stage = stage_of(rounded(mode, CENT_FOR_10_MB), money=10_000)
    admitted = log_in(stage)
    start(stage, admitted)
    told_after(stage, admitted, 60, 10 * MB - 1)
    told_after(stage, admitted, 120, reached - 1)
    assert session_of(stage, admitted).wanted == "full"
    told_after(stage, admitted, 180, reached)
    assert session_of(stage, admitted).wanted == "exhausted"
    assert stage.books[1].money_bucket().balance == 0


# --- what somebody else needs no longer --------------------------------------------------------------------------------

#: An hour of the line, which a NAS that can be told nothing is given at its login.
AN_HOUR = 3_125_000 * 3_600


def second_with_nothing(means: Means) -> tuple[Memory, Admitted, Admitted]:
    stage = stage_of(plan(AN_HOUR))
    first = log_in(stage, "a", "time")
    start(stage, first, "time")
    second = log_in(stage, "b", means)
    start(stage, second, means)
    assert (session_of(stage, first).wanted, session_of(stage, second).wanted) == ("full", "exhausted")
    return stage, first, second


@pytest.mark.parametrize("means", ["rate", "profile", "volume"])
def test_what_one_session_holds_no_longer_an_exhausted_one_finds_at_its_report(means: Means) -> None:
    stage, first, second = second_with_nothing(means)
    told: list[tuple[int, list[str]]] = []
    for seconds in range(300, 3_600, 300):  # the first one hardly uses its line
        assert told_after(stage, first, seconds, seconds * 10_000, "time") == []
        told.append((seconds, told_after(stage, second, seconds + 1, 0, means)))
    # As soon as there was a quarter of a slice, and then it goes on: nobody is told this and that in turns.
    assert [reasons for _, reasons in told if "released" in reasons] == [told[0][1]]
    assert sum(len(reasons) for _, reasons in told) <= 3
    assert (session_of(stage, first).wanted, session_of(stage, second).wanted) == ("full", "full")


@pytest.mark.parametrize("means", ["rate", "profile", "volume"])
def test_who_uses_up_what_he_finds_is_told_twice_for_each_quarter_of_a_slice_at_most(means: Means) -> None:
    stage, first, second = second_with_nothing(means)
    commands = used = 0
    for seconds in range(60, 3_600, 60):
        told_after(stage, first, seconds, seconds * 10_000, "time")
        session = session_of(stage, second)
        session.acked_version, session.acked_at = session.wanted_version, BEGIN + seconds * 1000
        if session.wanted == "full":
            used += stage.books[1].charges_of(session)[0].held
        commands += sum(
            1 for reason in told_after(stage, second, seconds + 1, used, means) if reason in {"released", "exhausted"}
        )
    slice_ = 3_125_000 * (session_of(stage, second).interval_seconds + 35)
    assert used > slice_
    assert commands <= 2 * (4 * used // slice_ + 1)


@pytest.mark.parametrize("means", ["disconnect", "time"])
def test_who_was_to_be_ended_is_not_told_otherwise(means: Means) -> None:
    stage, first, second = second_with_nothing(means)
    told_after(stage, first, 1_800, MB, "time")
    assert told_after(stage, second, 1_801, 0, means) == []
    assert session_of(stage, second).wanted == "exhausted"
