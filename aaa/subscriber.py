"""A subscriber, as the directory knows him at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from aaa.passwords import Credential
from charging.plan import Instant


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A row of the subscriber table with his credential opened."""

    subscriber_id: int
    account_id: int
    username: str
    plan_version_id: int
    status: str
    expires_at: Instant | None
    max_sessions: int | None
    credential: Credential
