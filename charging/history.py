"""Sessions of the past that another server metered, charged to nobody. Pure.

They are closed sessions with one usage line each, of the kind `imported`. There is no report, no draw and no transfer behind
them, so nothing that checks or repeats a charge has anything to do with them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from charging.plan import Instant

IMPORTED: Final = "imported"
"""The kind of their usage lines, and how the reason begins for which they are closed."""


class PastSession(NamedTuple):
    """A session that is over; `key` names it for ever, so that it is written once."""

    account_id: int
    subscriber_id: int
    username: str
    plan_version_id: int
    nas_id: int
    nas_address: str
    nas_group: str
    key: str
    acct_session_id: bytes
    calling_station: str | None
    called_station: str
    nas_port_id: str | None
    framed_address: str | None
    realm: str
    service_class: str
    began_at: Instant
    ended_at: Instant
    octets_up: int
    octets_down: int
    seconds: int
    cause: str
