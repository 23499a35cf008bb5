"""Which books are trusted, and for how long not."""

from __future__ import annotations

from typing import Any

import pytest

from charging.book import Account, Book
from charging.plan import Instant
from charging.settle import Plans
from charging.shelf import LEAST_DISTRUST_MS, MOST_DISTRUST_MS, SOON_MS, Shelf

NOW: Instant = 1_800_000_000_000


def book(account_id: int) -> Book:
    account = Account(
        account_id=account_id, currency="EUR", kind="prepaid", credit_limit_micros=0, status="active", version=1,
        ledger_seq=0, ledger_hash="",
    )  # fmt: skip
    return Book(account, new_id=lambda: 1, plans=Plans())


def shelf_of(*account_ids: int) -> Shelf:
    shelf = Shelf()
    shelf.keep(map(book, account_ids), NOW)
    return shelf


def test_a_book_is_taken_off_the_shelf() -> None:
    shelf = shelf_of(1, 2)
    taken = shelf.take(1, NOW)
    assert taken is not None
    assert taken.account.account_id == 1
    assert shelf.take(1, NOW) is None
    assert len(shelf) == 1


def test_the_least_recently_used_book_is_forgotten_first() -> None:
    shelf = Shelf(most=2)
    shelf.keep(map(book, (1, 2)), NOW)
    used = shelf.take(1, NOW)
    assert used is not None
    shelf.keep([used, book(3)], NOW)
    assert [shelf.take(account_id, NOW) is not None for account_id in (1, 2, 3)] == [True, False, True]


def test_a_payment_from_elsewhere_costs_the_other_accounts_nothing_after_a_moment() -> None:
    shelf = shelf_of(1, 2, 3)
    shelf.distrust(NOW)
    assert shelf.distrusts(NOW)
    assert shelf.take(1, NOW) is None, "whatever is read now is read with its lock"
    shelf.keep([book(1)], NOW)
    later = NOW + LEAST_DISTRUST_MS
    assert not shelf.distrusts(later)
    assert shelf.take(1, later) is None, "it was not kept"
    assert shelf.take(2, later) is not None


def test_where_it_happens_again_soon_no_book_is_what_it_was() -> None:
    shelf = shelf_of(1, 2)
    shelf.distrust(NOW)
    again = NOW + LEAST_DISTRUST_MS + SOON_MS - 1
    shelf.distrust(again)
    assert len(shelf) == 0
    assert shelf.distrusts(again + 2 * LEAST_DISTRUST_MS - 1)
    assert not shelf.distrusts(again + 2 * LEAST_DISTRUST_MS)


def test_two_nodes_with_the_same_accounts_mostly_read_first() -> None:
    """A conflict as soon as the shelf is trusted: within a minute there are few of them."""
    shelf, now, conflicts = Shelf(), NOW, 0
    while now < NOW + 60_000:
        if not shelf.distrusts(now):
            shelf.distrust(now)
            conflicts += 1
        now += 5
    assert conflicts <= 8 + 60_000 // MOST_DISTRUST_MS


def test_what_happens_seldom_is_always_a_moment() -> None:
    shelf, now = Shelf(), NOW
    for _ in range(100):
        shelf.distrust(now)
        assert not shelf.distrusts(now + LEAST_DISTRUST_MS)
        now += LEAST_DISTRUST_MS + SOON_MS


# --- the page is turned ------------------------------------------------------------------------------------------


def changes() -> list[str]:
    """What of a book says what has changed, by name: so none is left out that comes later."""
    lasting = {"buckets", "sessions", "charges", "tallies", "subscriptions", "settled_states"}
    fresh = book(1)
    public = {name for name in dir(fresh) if not name.startswith("_")} - lasting
    return sorted(name for name in public if isinstance(getattr(fresh, name), tuple | frozenset | set | dict))


@pytest.mark.parametrize("name", changes())
def test_what_was_written_is_not_written_again(name: str) -> None:
    kept = book(1)
    kept.moved = True
    kind = type(getattr(kept, name))
    something: Any = {1: 1} if kind is dict else kind([1])
    setattr(kept, name, something)
    Shelf().keep([kept], NOW)
    assert getattr(kept, name) == kind()


def test_what_says_that_something_changed_is_found() -> None:
    found = changes()
    assert {"changed_buckets", "new_sessions", "transfers", "withdrawn", "contracts", "newest"} <= set(found)


def test_a_book_moves_on_with_its_row_and_only_then() -> None:
    kept = book(1)
    Shelf().keep([kept], NOW)
    assert kept.account.version == 1
    kept.changed_sessions.add(1)
    Shelf().keep([kept], NOW)
    assert kept.account.version == 2
    assert not kept.changed
