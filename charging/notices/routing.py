"""Who is told of a notice, by which channel, and when it is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from charging.notices.kinds import KINDS
from charging.notices.settings import EMAIL, Readers, Settings
from charging.plan import Instant

#: Nobody in particular: the operator, or an account without subscribers.
NOBODY: Final = 0
#: So many subscribers of one account are told of one notice.
MOST_READERS: Final = 20
#: After a failure a delivery waits for so long, then twice as long, and so on.
FIRST_WAIT_MS: Final = 15_000
LONGEST_WAIT_MS: Final = 3_600_000


class Reader(NamedTuple):
    """A subscriber of the account, and how she can be reached."""

    subscriber_id: int
    email: str | None
    phone: str | None


def deliveries(kind: str, about: int | None, readers: Sequence[Reader], settings: Settings) -> list[tuple[str, int]]:
    """(channel, subscriber_id) of each delivery of a notice.

    A notice about a subscriber goes to her; where she can not be reached by a channel, or it is about the whole account, to
    all of the account's `readers` who can. What is the operator's business goes to the operator's address.
    """
    known = KINDS.get(kind)
    for_operator = known is not None and known.for_operator
    found: list[tuple[str, int]] = []
    if settings.mail is not None and kind in settings.mail.kinds:
        if not for_operator:
            found += [(EMAIL, reader) for reader in _told(readers, about, "email")]
        elif settings.mail.operator is not None:
            found.append((EMAIL, NOBODY))
    for hook in settings.webhooks:
        if kind in hook.kinds:
            told = [about or NOBODY] if for_operator else _told(readers, about, hook.to)
            found += [(hook.name, reader) for reader in told]
    return found


def is_urgent(kind: str, settings: Settings) -> bool:
    """Is it told in quiet hours too?"""
    return kind in settings.urgent


def wait_ms(attempts: int) -> int:
    """How long to wait after that many failures, 1 or more."""
    return min(FIRST_WAIT_MS << min(attempts - 1, 16), LONGEST_WAIT_MS)


def next_attempt(attempts: int, now: Instant, give_up_at: Instant) -> Instant | None:
    """When to try again after that many failures; None: never."""
    at = now + wait_ms(attempts)
    return at if at <= give_up_at else None


def _told(readers: Sequence[Reader], about: int | None, to: Readers) -> list[int]:
    reachable = [r for r in readers if to == "everyone" or (r.email if to == "email" else r.phone) is not None]
    own = [reader for reader in reachable if reader.subscriber_id == about]
    told = [reader.subscriber_id for reader in (own or reachable)[:MOST_READERS]]
    return told or ([NOBODY] if to == "everyone" else [])
