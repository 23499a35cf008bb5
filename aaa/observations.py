"""What was seen of NASes, as the database has it: the server and the operator's lists judge them by the same rows."""

from __future__ import annotations

from sqlalchemy import Connection, select

from aaa.standing import REMEMBERED_MS, Observation
from charging.plan import Instant
from charging.tables import nas_observation


def observations(connection: Connection, now: Instant) -> dict[tuple[int, str], list[Observation]]:
    """What was seen of NASes and still counts at `now`, by NAS and source address, the newest last."""
    c = nas_observation.c
    chosen = select(c.nas_id, c.nas_address, c.what, c.count, c.first_at, c.last_at).order_by(c.last_at)
    found: dict[tuple[int, str], list[Observation]] = {}
    for nas_id, *row in connection.execute(chosen.where(c.last_at > now - REMEMBERED_MS)):
        each = Observation(*row)
        if each.counts:
            found.setdefault((nas_id, each.nas_address), []).append(each)
    return found
