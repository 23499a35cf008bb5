"""Writes sessions of the past (`history`) down, each once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from charging.catalogue import in_parts
from charging.history import IMPORTED, PastSession
from charging.plan import Instant
from charging.settle import ids
from charging.tables import account, plan, session, subscriber, usage_line


def owners(connection: Connection, usernames: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """(account_id, subscriber_id, id of the plan version that she has now) of those that there are."""
    s = subscriber.c
    version = func.coalesce(s.plan_version_id, plan.c.plan_version_id)
    chosen = select(s.username, s.account_id, s.subscriber_id, version)
    chosen = chosen.join(plan, plan.c.name == s.plan_name)
    return {
        row[0]: (row[1], row[2], row[3])
        for some in in_parts(usernames)
        for row in connection.execute(chosen.where(s.username.in_(some)))
    }


def new(connection: Connection, past: Sequence[PastSession]) -> list[PastSession]:
    """Those that have not been written yet."""
    known: set[str] = set()
    for some in in_parts(past):
        chosen = select(session.c.session_key).where(session.c.session_key.in_([each.key for each in some]))
        known |= set(connection.execute(chosen).scalars())
    found = {each.key: each for each in past if each.key not in known}
    return list(found.values())


def take(connection: Connection, account_ids: Sequence[int]) -> None:
    """Keep others away from these accounts until the end, in the order of their ids as everybody does, and move them on."""
    for some in in_parts(account_ids):
        locked = select(account.c.account_id).where(account.c.account_id.in_(some)).order_by(account.c.account_id)
        connection.execute(locked.with_for_update()).all()
        moved = update(account).where(account.c.account_id.in_(some)).values(version=account.c.version + 1)
        connection.execute(moved)


def write(connection: Connection, past: Sequence[PastSession], now: Instant) -> int:
    """Write down those that are new; how many they were."""
    take(connection, sorted({each.account_id for each in past}))
    fresh = new(connection, past)
    if not fresh:
        return 0
    new_id = ids(now, random.SystemRandom())
    taken: set[int] = set()
    rows: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    for each in fresh:
        while (session_id := new_id()) in taken:
            pass
        taken.add(session_id)
        used = bool(each.octets_up or each.octets_down or each.seconds)
        reason = f"{IMPORTED}: {each.cause}" if each.cause else IMPORTED
        rows.append({**closed_session(each, session_id, reason), "line_no": int(used)})
        if used:
            lines.append(_line(each, session_id, now))
    connection.execute(insert(session), rows)
    if lines:
        connection.execute(insert(usage_line), lines)
    return len(fresh)


def closed_session(each: PastSession, session_id: int, reason: str) -> dict[str, Any]:
    """The row of a session that is over; its line count is the caller's."""
    return {
        "account_id": each.account_id,
        "session_id": session_id,
        "subscriber_id": each.subscriber_id,
        "username": each.username,
        "plan_version_id": each.plan_version_id,
        "nas_id": each.nas_id,
        "nas_address": each.nas_address,
        "root_id": session_id,
        "device_key": "",
        "session_key": each.key,
        "acct_session_id": each.acct_session_id,
        "calling_station": each.calling_station,
        "nas_port_id": each.nas_port_id,
        "framed_address": each.framed_address,
        "created_at": each.began_at,
        "closed_at": each.ended_at,
        "close_reason": reason,
        "state": "closed",
        "started_at": each.began_at,
        "last_report_at": each.ended_at,
        "last_event_at": each.ended_at,
        "stale_at": each.ended_at,
        "octets_up": each.octets_up,
        "octets_down": each.octets_down,
        "seconds": each.seconds,
        "posted_at": each.ended_at,
        "wanted": "full",
        "nas_group": each.nas_group,
        "called_station": each.called_station,
        "realm": each.realm,
        "service_class": each.service_class,
    }


def _line(each: PastSession, session_id: int, now: Instant) -> dict[str, Any]:
    return {
        "account_id": each.account_id,
        "session_id": session_id,
        "line_no": 1,
        "recorded_at": now,
        "event_at": each.ended_at,
        "kind": IMPORTED,
        "octets_up_from": 0,
        "octets_up_to": each.octets_up,
        "octets_down_from": 0,
        "octets_down_to": each.octets_down,
        "seconds_from": 0,
        "seconds_to": each.seconds,
        "amount_micros": 0,
        "draws": "[]",
        "free_octets": 0,
        "flags": "",
        "raw": "",
    }
