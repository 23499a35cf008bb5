"""A NAS that began anew (Accounting-On) or went away (Accounting-Off): its older sessions are over.

The fact is one durable row, so the NAS has its answer at once; `jobs` closes the sessions, in chunks, on any node.
"""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.dialects import postgresql, sqlite

from charging.plan import Instant
from charging.tables import nas_restart


def record_restart(
    engine: Engine, nas_id: int, nas_address: str, kind: str, event_at: Instant, recorded_at: Instant
) -> None:
    """Write the fact down. The same one again changes nothing."""
    insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    row = insert(nas_restart).values(
        nas_id=nas_id, nas_address=nas_address, kind=kind, event_at=event_at, recorded_at=recorded_at
    )
    with engine.begin() as connection:
        connection.execute(row.on_conflict_do_nothing())
