"""Which bucket gives what, in which order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.buckets import Bucket, Rated, Usage, charged_part, cover, is_purse, read_rated, usable, write_rated
from charging.plan import Allowance, Direction, Plan, Profile, Rate, Unit


def bucket(
    bucket_id: int, balance: int = 10, unit: Unit = "octets", direction: Direction = "total", *, priority: int = 0,
    blocker: bool = False, source: str = "allowance:p", valid_from: int = 0, expires_at: int | None = None, created_at: int = 0,
) -> Bucket:  # fmt: skip
    return Bucket(
        1, bucket_id, "b", unit, direction, balance, 0, balance, "", 0, priority, blocker, source, valid_from, expires_at,
        created_at,
    )  # fmt: skip


def plan(*lines: Allowance | Rate) -> Plan:
    return Plan(
        "p", "EUR", "UTC", Profile("p"),
        allowances=tuple(line for line in lines if isinstance(line, Allowance)),
        rates=tuple(line for line in lines if isinstance(line, Rate)),
    )  # fmt: skip


TOTAL = Allowance("a", "octets", "total", 1)
CENT = Rate("octets", "total", 10, 1, 1)  # 10 micros an octet


def drawn(of: Plan, usage: Usage, *buckets: Bucket, credit: int = 0) -> tuple[dict[int, int], Usage]:
    covered = cover(of, usage, usable(buckets, 5), lambda b: b.balance, {}, credit)
    return {b.bucket_id: amount for b, amount in covered.draws}, covered.uncovered


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (bucket(2, blocker=True, priority=9), bucket(1)),
        (bucket(2, priority=0), bucket(1, priority=1, expires_at=6)),
        (bucket(2, expires_at=6), bucket(1, expires_at=7)),
        (bucket(2, expires_at=6), bucket(1)),
        (bucket(2, created_at=0), bucket(1, created_at=1)),
        (bucket(1), bucket(2)),
    ],
)
def test_draw_order(one: Bucket, two: Bucket) -> None:
    assert usable([one, two], 5) == usable([two, one], 5) == [one, two]


def test_valid_from_its_first_to_before_its_last_millisecond() -> None:
    assert usable([bucket(1, valid_from=5)], 5)
    assert not usable([bucket(1, valid_from=6)], 5)
    assert usable([bucket(1, expires_at=6)], 5)
    assert not usable([bucket(1, expires_at=5)], 5)


def test_a_draw_spreads_over_buckets_and_what_is_left_is_uncovered() -> None:
    assert drawn(plan(TOTAL), Usage(3, 20, 0), bucket(1, 8), bucket(2, 9)) == ({1: 8, 2: 9}, Usage(3, 3, 0))


def test_an_overdrawn_bucket_gives_nothing() -> None:
    assert drawn(plan(TOTAL), Usage(0, 5, 0), bucket(1, -3), bucket(2, 9)) == ({2: 5}, Usage(0, 0, 0))


def test_directions() -> None:
    down, up = Allowance("d", "octets", "down", 1), Allowance("u", "octets", "up", 1)
    found = drawn(plan(down, up), Usage(7, 20, 0), bucket(1, 8, direction="down"), bucket(2, 9, direction="up"))
    assert found == ({1: 8, 2: 7}, Usage(0, 12, 0))
    assert charged_part(plan(down), Usage(7, 20, 30)) == Usage(0, 20, 0)
    assert charged_part(plan(up), Usage(7, 20, 30)) == Usage(7, 0, 0)
    assert charged_part(plan(TOTAL), Usage(7, 20, 30)) == Usage(7, 20, 0)


def test_money_pays_what_the_units_own_buckets_leave() -> None:
    purse = bucket(9, 65, "money", source="top-up")
    assert drawn(plan(TOTAL, CENT), Usage(2, 12, 0), bucket(1, 8), purse) == ({1: 8, 9: 60}, Usage(0, 0, 0))
    assert drawn(plan(TOTAL, CENT), Usage(2, 13, 0), bucket(1, 8), purse) == ({1: 8, 9: 60}, Usage(1, 0, 0))


def test_credit_is_the_purses_and_nobody_elses() -> None:
    purse, gift = bucket(9, 20, "money", source="top-up"), bucket(1, 30, "money")
    assert (is_purse(purse), is_purse(gift), is_purse(bucket(1, source="top-up"))) == (True, False, False)
    assert drawn(plan(CENT), Usage(0, 9, 0), purse, gift, credit=40) == ({1: 30, 9: 60}, Usage(0, 0, 0))
    assert drawn(plan(CENT), Usage(0, 10, 0), purse, gift, credit=40) == ({1: 30, 9: 60}, Usage(0, 1, 0))
    assert drawn(plan(CENT), Usage(0, 4, 0), gift, credit=40) == ({1: 30}, Usage(0, 1, 0))


def test_a_step_that_is_paid_is_free_also_for_an_empty_purse() -> None:
    step = Rate("octets", "total", 10, 1, 100)
    purse = bucket(9, 0, "money", source="top-up")
    covered = cover(plan(step), Usage(0, 150, 0), [purse], lambda b: b.balance, {0: Rated(30, 1000)}, 0)
    assert (covered.draws, covered.uncovered, covered.rated) == ([], Usage(0, 80, 0), {0: Rated(100, 1000)})


@given(st.dictionaries(st.integers(0, 99), st.builds(Rated, st.integers(0, 2**63), st.integers(0, 2**63)), max_size=4))
def test_what_is_rated_is_read_as_it_was_written(rated: dict[int, Rated]) -> None:
    assert read_rated(write_rated(rated)) == rated
