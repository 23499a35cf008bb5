"""Properties of an account's book: whatever happens in whatever order, the sums are right."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from charging.admission import Admitted, Login
from charging.buckets import SHORTFALL
from charging.money import MAX_AMOUNT, Rounding
from charging.payment import Grant, TopUp
from charging.plan import Allowance, Duration, Exhausted, Plan, Profile, Rate
from charging.session import Report
from charging.settle import Close, CommandAcked, CommandFailed, Cut
from charging.usage import Recorded
from tests.charging.cases.invariants import broken
from tests.charging.cases.story import BEGIN, Case, Memory

MB = 1_000_000
#: As fast as anything: here nothing is suspect.
FAST = Profile("fast", None, None, interim_interval_seconds=5)
LINE = Profile("line", 8_000_000, 8_000_000, interim_interval_seconds=5)
SLOW = Exhausted("throttle", Profile("slow", 80_000, 80_000))

amounts = st.integers(1, 200 * MB)
rates = st.builds(
    Rate,
    unit=st.sampled_from(["octets", "seconds"]),
    direction=st.sampled_from(["total", "down", "up"]),
    price_micros=st.integers(0, 50_000),
    per=st.sampled_from([1, 3, 60, 1000, MB]),
    step=st.sampled_from([1, 7, 60, 1000, 100_000]),
    fee_micros=st.sampled_from([0, 1, 500_000]),
)
allowances = st.builds(
    Allowance,
    name=st.sampled_from(["a", "b", "money", "top-up"]),
    unit=st.sampled_from(["octets", "octets", "seconds", "money"]),
    direction=st.sampled_from(["total", "total", "down", "up"]),
    amount=amounts,
    priority=st.integers(0, 2),
    validity=st.none() | st.builds(Duration, st.just(0), st.integers(1, 400)),
    blocker=st.booleans(),
)
plans = st.builds(
    Plan,
    name=st.just("p"),
    currency=st.just("EUR"),
    time_zone=st.just("UTC"),
    profile=st.sampled_from([FAST, LINE]),
    thresholds_percent=st.sampled_from([(), (80, 95), (1, 50, 100)]),
    allowances=st.lists(allowances, max_size=3).map(tuple),
    rates=st.lists(rates, max_size=2).map(tuple),
    exhausted=st.sampled_from([SLOW, Exhausted()]),
    max_sessions=st.just(None),
    rounding=st.sampled_from([Rounding(), Rounding("down", 2), Rounding("half-even", 4)]),
)


def stage_of(plan: Plan, money: int = 0, credit: int = 0) -> Memory:
    stage = Memory()
    stage.open(Case("property", plan, credit=credit), {"home": ["alice"]})
    if money:
        stage.settle(TopUp(1, stage.put_top_up(1, "money", money), "money", money, "first", "test"), BEGIN)
    if plan.allowances:
        stage.settle(Grant(1, 1, "first", "test"), BEGIN)
    return stage


def let_in(stage: Memory, device: str, now: int = BEGIN) -> Admitted | None:
    outcome, _ = stage.settle(Login(1, 1, "alice", 1, None, None, 1, "10.0.0.1", device, device), now)
    return outcome if isinstance(outcome, Admitted) else None


def report_of(
    session: Admitted, kind: str, second: int, up: int | None, down: int | None, seconds: int | None
) -> Report:
    return Report(
        kind, 1, "10.0.0.1", "alice", b"%d" % session.session_id, (1, session.session_id), up, down, seconds,  # type: ignore[arg-type]
        True, BEGIN + second * 1000, True, BEGIN + second * 1000, b"packet", "d",
    )  # fmt: skip


def totals(stage: Memory) -> dict[tuple[int, str], int]:
    """What was taken from each bucket."""
    found: dict[tuple[int, str], int] = {}
    for charge in stage.books[1].charges.values():
        key = (charge.bucket_id, charge.unit)
        found[key] = found.get(key, 0) + charge.accrued
    return {key: amount for key, amount in found.items() if amount}


@st.composite
def packets(draw: st.DrawFn) -> list[tuple[str, int, int, int]]:
    """A session as its NAS tells it: counters that rise with the session time."""
    steps = draw(
        st.lists(
            st.tuples(st.integers(1, 600), st.integers(0, 9 * MB), st.integers(0, 30 * MB)), min_size=1, max_size=6
        )
    )
    found = [("start", 0, 0, 0)]
    second = up = down = 0
    for more_seconds, more_up, more_down in steps:
        second, up, down = second + more_seconds, up + more_up, down + more_down
        found.append(("interim", second, up, down))
    found.append(("stop", second, up, down))
    return found


#: One that covers everything, one where allowance, price and shortfall follow each other.
WIDE = Plan(
    "p",
    "EUR",
    "UTC",
    FAST,
    allowances=(Allowance("data", "octets", "total", 10**12), Allowance("h", "seconds", "total", 10**9)),
)
PRICED = Plan(
    "p",
    "EUR",
    "UTC",
    FAST,
    rates=(Rate("octets", "total", 20_000, MB, 100_000, 500_000), Rate("seconds", "total", 50_000, 60, 60)),
)


@settings(max_examples=150, deadline=None)
@given(
    session=packets(),
    order=st.randoms(use_true_random=False),
    copies=st.integers(1, 3),
    plan=st.sampled_from([WIDE, PRICED]),
)
def test_any_order_and_any_copies_cost_the_same(
    session: list[tuple[str, int, int, int]], order: random.Random, copies: int, plan: Plan
) -> None:
    def told(sequence: list[tuple[str, int, int, int]]) -> Memory:
        stage = stage_of(plan, money=10**12)
        admitted = let_in(stage, "d")
        assert admitted is not None
        for kind, second, up, down in sequence:
            outcome, _ = stage.settle(report_of(admitted, kind, second, up, down, second), BEGIN + 10**7)
            assert isinstance(outcome, Recorded)
        return stage

    straight = told(session)
    shuffled = session * copies
    order.shuffle(shuffled)
    mixed = told(shuffled)
    _, seconds, up, down = session[-1]
    assert totals(mixed) == totals(straight)
    rows = mixed.rows(1)
    assert [(s.octets_up, s.octets_down, s.seconds) for s in rows.sessions] == [(up, down, seconds)]
    assert broken(rows) == []
    if plan is WIDE:
        assert totals(mixed) == {k: v for k, v in {(101, "octets"): up + down, (102, "seconds"): seconds}.items() if v}


@settings(max_examples=150, deadline=None)
@given(session=packets(), lost=st.data())
def test_what_was_lost_is_charged_by_what_came_and_never_more(
    session: list[tuple[str, int, int, int]], lost: st.DataObject
) -> None:
    kept = lost.draw(st.lists(st.sampled_from(session), max_size=8))
    stage = stage_of(WIDE)
    admitted = let_in(stage, "d")
    assert admitted is not None
    for kind, second, up, down in kept:
        stage.settle(report_of(admitted, kind, second, up, down, second), BEGIN + 10**7)
    most = (
        max((p[2] for p in kept), default=0),
        max((p[3] for p in kept), default=0),
        max((p[1] for p in kept), default=0),
    )
    assert [(s.octets_up, s.octets_down, s.seconds) for s in stage.rows(1).sessions] == [most]
    assert broken(stage.rows(1)) == []


@settings(max_examples=150, deadline=None)
@given(
    session=packets(),
    plan=plans.map(
        lambda p: replace(p, profile=FAST, allowances=tuple(replace(a, validity=None) for a in p.allowances))
    ),
    money=st.integers(0, 20_000_000),
)
def test_ten_reports_cost_what_one_would(session: list[tuple[str, int, int, int]], plan: Plan, money: int) -> None:
    """As long as something pays for it: what runs over is free once the NAS throttles, so it matters when it is told."""

    def told(sequence: list[tuple[str, int, int, int]]) -> Memory | None:
        stage = stage_of(plan, money=10**12 + money)
        admitted = let_in(stage, "d")
        if admitted is None:
            return None
        for kind, second, up, down in sequence:
            stage.settle(report_of(admitted, kind, second, up, down, second), BEGIN + second * 1000)
        return stage

    many, one = told(session), told(session[-1:])
    if many is None or one is None:
        return
    assert broken(many.rows(1)) == []
    assert broken(one.rows(1)) == []
    if any(bucket_id == SHORTFALL for bucket_id, _ in totals(one)):
        return
    directions = {a.direction for a in plan.allowances if a.unit == "octets"}
    directions |= {r.direction for r in plan.rates if r.unit == "octets"}
    if len(directions) <= 1:  # otherwise what `total` leaves for `down` depends on what came first
        assert totals(many) == totals(one)


events = st.one_of(
    st.tuples(st.just("login"), st.integers(0, 3)),
    st.tuples(
        st.sampled_from(["start", "interim", "interim", "interim", "stop"]), st.integers(0, 5), st.integers(0, 120),
        st.none() | st.integers(0, 2**33), st.none() | st.integers(0, 300 * MB), st.none() | st.integers(0, 5_000),
    ),
    st.tuples(st.just("top-up"), st.sampled_from(["money", "octets", "seconds"]), amounts),
    st.tuples(st.just("grant")),
    st.tuples(st.sampled_from(["close", "cut", "ack", "nak"]), st.integers(0, 5)),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    plan=plans,
    money=st.sampled_from([0, 1, 500_000, 5_000_000]),
    credit=st.sampled_from([0, 1_000_000]),
    story=st.lists(events, max_size=25),
)
def test_whatever_happens_the_invariants_hold(
    plan: Plan, money: int, credit: int, story: list[tuple[object, ...]]
) -> None:
    stage = stage_of(plan, money, credit)
    admitted: list[Admitted] = []
    second = 0
    for event in story:
        second += 20
        now = BEGIN + second * 1000
        match event:
            case ("login", int(device)):
                let = let_in(stage, f"d{device}", now)
                admitted += [let] if let is not None else []
            case ("top-up", str(unit), int(paid)):
                stage.settle(TopUp(1, stage.put_top_up(1, unit, paid), unit, paid, "r", "test"), now)  # type: ignore[arg-type]
            case ("grant",):
                stage.settle(Grant(1, 1, "again", "test"), now)
            case (str(kind), int(which), *rest) if admitted:
                session_id = admitted[which % len(admitted)].session_id
                session = stage.books[1].sessions[session_id]
                match kind:
                    case "close":
                        stage.settle(Close(1, session_id, "stale", now), now)
                    case "cut":
                        stage.settle(Cut(1, None, session_id, "suspended"), now)
                    case "ack":
                        stage.settle(CommandAcked(1, session_id, session.wanted_version), now)
                    case "nak":
                        stage.settle(CommandFailed(1, session_id, session.wanted_version, "refused"), now)
                    case _:
                        ago, up, down, seconds = rest
                        report = report_of(admitted[which % len(admitted)], kind, second - ago, up, down, seconds)  # type: ignore[operator, arg-type]
                        stage.settle(report, now)
        rows = stage.rows(1)
        assert broken(rows) == []
        assert all(abs(b.balance) <= MAX_AMOUNT for b in rows.buckets)
        assert all(s.state == "closed" for s in rows.sessions if s.close_reason is not None)
