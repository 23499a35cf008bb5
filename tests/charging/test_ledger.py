"""The chain of transfers: an edit, a deletion, an insertion, a reordering and a cut tail are all seen."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.ledger import Transfer, bucket_name, chain_break, chained
from charging.plan import Allowance, Plan, Profile
from tests.charging.cases.story import BEGIN
from tests.charging.test_book import MB, let_in, report_of, stage_of


@dataclass
class Chain:
    """Four real transfers, and the head that their account knows."""

    transfers: list[Transfer]
    seq: int
    hash: str

    def wrong(self, transfers: list[Transfer]) -> str | None:
        return chain_break(transfers, self.seq, self.hash)


@pytest.fixture
def chain() -> Chain:
    plan = Plan(
        "p",
        "EUR",
        "UTC",
        Profile("fast"),
        allowances=(Allowance("data", "octets", "total", 100 * MB),),
        max_sessions=None,
    )
    stage = stage_of(plan, money=1)
    for second in (60, 61):
        session = let_in(stage, f"d{second}")
        assert session is not None
        stage.settle(report_of(session, "stop", second, 0, second * MB, second), BEGIN + second * 1000)
    rows = stage.rows(1)
    assert len(rows.transfers) == 5  # payment, grant, two sessions, shortfall of the second
    return Chain(rows.transfers, rows.account.ledger_seq, rows.account.ledger_hash)


def test_an_honest_chain_holds(chain: Chain) -> None:
    assert chain.wrong(chain.transfers) is None
    assert chain_break([], 0, "") is None


@pytest.mark.parametrize("field", [f for f in Transfer._fields if f not in {"seq", "hash"}])
def test_an_edit_of_any_field_is_found(chain: Chain, field: str) -> None:
    for at, transfer in enumerate(chain.transfers):
        value = getattr(transfer, field)
        changed = transfer._replace(**{field: value + 1 if isinstance(value, int) else f"{value or ''}x"})  # type: ignore[arg-type]
        edited = [*chain.transfers[:at], changed, *chain.transfers[at + 1 :]]
        assert chain.wrong(edited) == f"transfer {at + 1} was changed after it was written"


def test_an_edit_with_its_own_hash_made_anew_is_found_at_the_next(chain: Chain) -> None:
    changed = chain.transfers[1]._replace(amount=1)
    changed = changed._replace(hash=chained(chain.transfers[0].hash, changed[:-1]))
    assert (
        chain.wrong([chain.transfers[0], changed, *chain.transfers[2:]])
        == "transfer 3 was changed after it was written"
    )


def test_a_whole_tail_made_anew_does_not_fit_the_head(chain: Chain) -> None:
    previous, forged = "", list[Transfer]()
    for transfer in chain.transfers:
        changed = transfer._replace(amount=transfer.amount + 1)
        forged.append(changed._replace(hash=chained(previous, changed[:-1])))
        previous = forged[-1].hash
    assert chain.wrong(forged) is not None


def test_a_deletion_is_found(chain: Chain) -> None:
    for at in range(len(chain.transfers) - 1):
        without = chain.transfers[:at] + chain.transfers[at + 1 :]
        assert chain.wrong(without) == f"transfer {at + 1} is missing"


def test_a_cut_tail_is_found(chain: Chain) -> None:
    assert chain.wrong(chain.transfers[:-1]) == "the ledger ends at transfer 4, but the account counted 5"
    assert chain.wrong([]) == "the ledger ends at transfer 0, but the account counted 5"


def test_an_insertion_and_a_reordering_are_found(chain: Chain) -> None:
    first, second, *rest = chain.transfers
    assert chain.wrong([first, first, second, *rest]) is not None
    assert chain.wrong([second, first, *rest]) is not None
    swapped = [second._replace(seq=1), first._replace(seq=2), *rest]
    assert chain.wrong(swapped) is not None


fields = st.tuples(st.integers(), st.integers(), st.text(), st.text(), st.none() | st.integers(), st.text())


@given(one=fields, other=fields, previous=st.text())
def test_different_rows_have_different_hashes(
    one: tuple[object, ...], other: tuple[object, ...], previous: str
) -> None:
    def written(row: tuple[object, ...]) -> tuple[str, ...]:
        return tuple("" if field is None else str(field) for field in row)

    assert (chained(previous, one) == chained(previous, other)) == (written(one) == written(other))


def test_text_can_not_move_between_fields() -> None:
    assert chained("", ("ab", "c")) != chained("", ("a", "bc"))
    assert chained("a", ("b",)) != chained("", ("a", "b"))
    assert chained("", ("1:a",)) != chained("", ("1", "a"))


def test_a_buckets_name() -> None:
    assert bucket_name(7) == "bucket:7"
