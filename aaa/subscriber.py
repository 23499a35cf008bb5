"""A subscriber, as the directory knows him at one moment."""

from __future__ import annotations

from typing import NamedTuple

from aaa.passwords import Credential
from charging.addresses import NO_ADDRESSES, Addresses
from charging.conditions import NO_CONDITIONS, Conditions
from charging.plan import Instant


class Subscriber(NamedTuple):
    """A row of the subscriber table with his credential opened."""

    subscriber_id: int
    account_id: int
    username: str
    plan_version_id: int
    status: str
    expires_at: Instant | None
    max_sessions: int | None
    credential: Credential
    reply_attributes: tuple[tuple[str, str], ...] = ()
    """The plan's and then his own, by name and text; later ones have taken the place of earlier ones."""
    conditions: Conditions = NO_CONDITIONS
    """His own over the plan's."""
    time_zone: str = "UTC"
    """The plan's: what its hours are told in."""
    stations_learned: tuple[str, ...] = ()
    own_addresses: Addresses = NO_ADDRESSES
    """Given to all of his sessions, which can then be one at a time."""
