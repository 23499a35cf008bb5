"""On what terms an account pays: beforehand or afterwards, how far its money may fall, when it asks for more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from charging.auto_top_up import cancelled
from charging.book import Book
from charging.enforcement import cover_again, reconsider
from charging.plan import Instant

Kind = Literal["prepaid", "postpaid"]


@dataclass(frozen=True, slots=True)
class Terms:
    """New terms for an account; None leaves one as it is."""

    account_id: int
    kind: Kind | None = None
    credit_limit_micros: int | None = None
    auto_below_micros: int | None = None
    auto_amount_micros: int | None = None
    """0: no automatic top-up."""


class Agreed(NamedTuple):
    """The terms hold from now on."""


def agree(book: Book, terms: Terms, now: Instant) -> Agreed:
    """Change an account's terms. A higher limit restores what it can; under a lower one live sessions keep what is
    there, and one that gets nothing any more hears so."""
    account = book.account
    before = account.credit_limit_micros
    if terms.kind is not None:
        account.kind = terms.kind
    if terms.credit_limit_micros is not None:
        account.credit_limit_micros = terms.credit_limit_micros
    if terms.auto_below_micros is not None:
        account.auto_below_micros = terms.auto_below_micros
    if terms.auto_amount_micros is not None:
        account.auto_amount_micros = terms.auto_amount_micros
        account.auto_not_before = 0
        if not terms.auto_amount_micros:
            cancelled(book, now)
    book.changed_account = book.changed_terms = True
    if account.credit_limit_micros < before:
        cover_again(book, now)
    elif account.credit_limit_micros > before:
        reconsider(book, "credit", now)
    return Agreed()
