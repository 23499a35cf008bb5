"""Automatic top-up: below a threshold the account asks, once, for money that a billing system then charges.

The question is a row that billing systems read; the answer is a top-up that names it, or an order that declines it.
Until then the account asks no more: `auto_request_id` is written under the account's version, whoever else is at work.
"""

from __future__ import annotations

from typing import Final

from charging.book import Answer, Book, Request
from charging.money import format_money
from charging.plan import Instant

#: After a card was declined it is not tried again for a day.
AGAIN_AFTER_MS: Final = 86_400_000


def ask_where_low(book: Book, now: Instant) -> None:
    """Ask for a top-up where money has fallen below the account's threshold and nothing is asked for yet."""
    account = book.account
    if (
        not account.auto_amount_micros
        or account.auto_request_id is not None
        or now < account.auto_not_before
        or account.status != "active"
    ):
        return
    balance = sum(bucket.balance for bucket in book.usable_buckets(now) if bucket.unit == "money")
    if balance >= account.auto_below_micros:
        return
    account.auto_request_id = book.new_id()
    amount = format_money(account.auto_amount_micros, account.currency).split(" ")[0]
    request = Request(account.account_id, account.auto_request_id, account.auto_amount_micros, amount, balance, now)
    book.requests += (request,)
    book.changed_account = True


def paid(book: Book, reference: str, now: Instant) -> None:
    """The open request was paid by the top-up of that reference."""
    _answer(book, "paid", reference, now)
    book.account.auto_not_before = 0


def declined(book: Book, reason: str, now: Instant) -> None:
    """The open request will not be paid; ask again in a day at the earliest."""
    _answer(book, "declined", reason, now)
    book.account.auto_not_before = now + AGAIN_AFTER_MS


def cancelled(book: Book, now: Instant) -> None:
    """Nobody needs to answer the open request any more, if there is one."""
    if book.account.auto_request_id is not None:
        _answer(book, "cancelled", "", now)


def _answer(book: Book, status: str, answer: str, now: Instant) -> None:
    assert book.account.auto_request_id is not None
    book.answers += (Answer(book.account.account_id, book.account.auto_request_id, now, status, answer),)
    book.account.auto_request_id = None
    book.changed_account = True
