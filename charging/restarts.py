"""A NAS that began anew (Accounting-On) or went away (Accounting-Off): its older sessions are over.

The fact is one durable row, so the NAS has its answer at once; `jobs` closes the sessions, in chunks, on any node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from charging.plan import Instant
from charging.tables import nas_restart


class NasRestart(NamedTuple):
    """All sessions of this NAS that are older than the event have ended. The fields are columns."""

    nas_id: int
    nas_address: str
    kind: str
    """on or off"""
    event_at: Instant
    recorded_at: Instant


def record_restarts(connection: Connection, restarts: Sequence[NasRestart]) -> None:
    """Write the facts down, in the transaction that is open. The same one again changes nothing."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    rows = [restart._asdict() for restart in sorted(restarts)]
    connection.execute(insert(nas_restart).on_conflict_do_nothing(), rows)
