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
#: After somebody else changed an account under our hands, books are read first for so long, and their locks waited for. Where
#: that happens again soon after, two nodes serve the same accounts: then finding out at the end is dearer than reading
#: first, and it lasts twice as long each time.
LEAST_DISTRUST_MS: Final = 50
MOST_DISTRUST_MS: Final = 10_000
SOON_MS: Final = 1_000


class Shelf:
    """Books by account, the least recently used one forgotten first."""

    def __init__(self, most: int = MOST_BOOKS) -> None:
        self._most = most
        self._books: OrderedDict[int, Book] = OrderedDict()
        self._distrust_ms = LEAST_DISTRUST_MS
        self._distrusted_until: Instant = 0

    def __len__(self) -> int:
        return len(self._books)

    def distrusts(self, now: Instant) -> bool:
        """Does somebody else write to our accounts?"""
        return now < self._distrusted_until

    def take(self, account_id: int, now: Instant) -> Book | None:
        """An account's book, unless it is not trusted; it is then no longer on the shelf."""
        book = self._books.pop(account_id, None)
        return None if now < self._distrusted_until else book

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
        """Somebody else wrote to our accounts: use no book for a while. If it was only a payment, all others are as they were;
        if it happens again soon, none is."""
        if now - self._distrusted_until < SOON_MS:
            self._books.clear()
            self._distrust_ms = min(2 * self._distrust_ms, MOST_DISTRUST_MS)
        else:
            self._distrust_ms = LEAST_DISTRUST_MS
        self._distrusted_until = now + self._distrust_ms
