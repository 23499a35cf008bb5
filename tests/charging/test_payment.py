"""Top-ups and grants."""

from __future__ import annotations

from charging.money import MAX_AMOUNT
from charging.payment import Applied, Grant, NotApplied, TopUp, reset_marks
from charging.plan import Allowance, Duration, Plan, Profile
from tests.charging.cases.invariants import broken
from tests.charging.cases.story import BEGIN, Memory
from tests.charging.test_book import MB, let_in, report_of, stage_of

PLAN = Plan(
    "p", "EUR", "UTC", Profile("line", 8_000_000, 8_000_000), thresholds_percent=(95, 80),
    allowances=(Allowance("money", "money", "total", 7, validity=Duration(0, 60)), Allowance("top-up", "octets", "total", 100 * MB)),
)  # fmt: skip


def pay(stage: Memory, unit: str, amount: int) -> object:
    return stage.settle(TopUp(1, stage.put_top_up(1, unit, amount), unit, amount, "r", "shop"), BEGIN)[0]  # type: ignore[arg-type]


def test_money_goes_to_the_accounts_own_bucket_whatever_a_plan_calls_its_gift() -> None:
    stage = stage_of(PLAN)
    assert pay(stage, "money", 5) == Applied(12)
    assert {(b.name, b.source): b.balance for b in stage.books[1].buckets.values() if b.unit == "money"} == {
        ("money", "top-up"): 5, ("money", "allowance:p"): 7,
    }  # fmt: skip


def test_octets_share_one_bucket_that_does_not_expire() -> None:
    stage = stage_of(PLAN)
    pay(stage, "octets", 5)
    pay(stage, "octets", 6)
    assert [b.balance for b in stage.books[1].buckets.values() if b.unit == "octets" and b.source == "top-up"] == [11]


def test_a_balance_stays_within_64_bits() -> None:
    stage = stage_of(PLAN)
    assert pay(stage, "money", MAX_AMOUNT) == Applied(MAX_AMOUNT + 7)
    assert isinstance(pay(stage, "money", 1), NotApplied)
    assert broken(stage.rows(1)) == []


def test_a_grant_gives_each_allowance_its_bucket_and_marks() -> None:
    stage = stage_of(PLAN)
    money, octets = (b for b in stage.books[1].buckets.values() if b.source == "allowance:p")
    assert (money.expires_at, octets.expires_at) == (BEGIN + 60_000, None)
    assert octets.low_water_marks == f"{20 * MB} {5 * MB}"
    assert [(t.debit, t.credit, t.amount, t.kind) for t in stage.rows(1).transfers] == [
        ("grant:p", f"bucket:{money.bucket_id}", 7, "grant"),
        ("grant:p", f"bucket:{octets.bucket_id}", 100 * MB, "grant"),
    ]
    stage.settle(Grant(1, 1, "again", "test"), BEGIN)
    assert broken(stage.rows(1)) == []


def test_a_threshold_is_crossed_again_after_a_top_up() -> None:
    stage = stage_of(PLAN)
    session = let_in(stage, "d")
    assert session is not None
    (data,) = (b for b in stage.books[1].buckets.values() if b.unit == "octets")

    def use(second: int, down: int) -> int:
        settled = stage.settle(report_of(session, "interim", second, 0, down, second), BEGIN + second * 1000)
        return sum(notice.kind == "threshold" for notice in settled[1].notices)

    assert use(60, 80 * MB) == 1
    assert use(61, 81 * MB) == 0
    stage.books[1].move(data, "cash", 31 * MB, "top-up", "r", BEGIN, "test")
    reset_marks(data)
    assert data.marks_passed == 0
    assert use(120, 110 * MB) == 0  # 21 MB left
    assert use(121, 111 * MB) == 1
    reset_marks(data)
    assert data.marks_passed == 1
