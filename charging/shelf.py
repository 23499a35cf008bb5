"""Books kept open between batches, so that an account whose reports come to this node is not read again each time.

It is safe because of the account's version: whatever another node or a command changes of an account moves the
version on, and then a batch that decided from an older book is not written at all. A book is taken off the shelf to
be worked on and only put back after the commit; what a failed batch touched is read anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from charging.book import Book
from charging.plan import Instant

#: A book takes some kilobytes.
MOST_BOOKS: Final = 20_000
#: After somebody else changed an account under our hands, the shelf stays empty for this long: where two nodes serve
#: the same accounts, reading first, and waiting there for the other, is cheaper than finding out at the end.
DISTRUST_MS: Final = 10_000


class Shelf:
    """Books by account, the least recently used one forgotten first."""

    def __init__(self, most: int = MOST_BOOKS) -> None:
        self._most = most
        self._books: OrderedDict[int, Book] = OrderedDict()
        self._distrusted_until: Instant = 0

    def __len__(self) -> int:
        return len(self._books)

    def distrusts(self, now: Instant) -> bool:
        """Does somebody else write to our accounts?"""
        return now < self._distrusted_until

    def take(self, account_id: int) -> Book | None:
        """An account's book; it is then no longer on the shelf."""
        return self._books.pop(account_id, None)

    def keep(self, books: Iterable[Book], now: Instant) -> None:
        """Put books back whose changes are committed."""
        if self.distrusts(now):
            return
        for book in books:
            book.turn_page()
            self._books[book.account.account_id] = book
        while len(self._books) > self._most:
            self._books.popitem(last=False)

    def distrust(self, now: Instant) -> None:
        """Somebody else writes to our accounts: forget what is here, and keep nothing for a while."""
        self._books.clear()
        self._distrusted_until = now + DISTRUST_MS
