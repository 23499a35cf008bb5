"""The command table as one node uses it: what waits, taken by a lease, and what became of it.

Of several nodes one has a command at a time, and the lease's epoch goes with every result, so that a node that slept
through its lease changes nothing any more. Many commands are taken, and many answered, in one round trip each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Connection, Engine, and_

from aaa import reply_attributes
from aaa.dialects import Identity
from aaa.nas import RADSEC_SOURCE
from aaa.reply_attributes import Texts, layered
from charging.bulk import Sets, sets
from charging.lane import Kept, kept_for_reading
from charging.plan import Instant, Plan
from charging.session import Session
from charging.settle import Plans
from charging.tables import command, session, subscriber

#: Two exchanges fit: the command as it should be, and once more with a smaller identification.
LEASE_MS: Final = 60_000
MOST_CLAIMED: Final = 200
MOST_PER_NAS: Final = 32
#: A session without a report can only be named by its user, who may have others. Its first report is waited for.
FIRST_REPORT_MS: Final = 10_000
#: A NAS over TLS that is not connected here may be so to another node, or in a moment again. Then it counts as silent.
CONNECTION_MS: Final = 60_000

State = Literal["acked", "failed", "superseded", "released"]

_WITH_SESSION: Final = command.join(
    session, and_(command.c.account_id == session.c.account_id, command.c.session_id == session.c.session_id)
)
# The state is written out, not bound: else no database sees that the index of pending commands will do. A session's
# command that is on its way, from whichever node, is waited for: what comes of it must not arrive after a newer one.
_DUE: Final = f"""command.state = 'pending' AND command.not_before <= {{one}} AND command.lease_until < {{one}}
 AND (session.acct_session_id IS NOT NULL OR session.closed_at IS NOT NULL OR session.created_at <= {{one}})
 AND NOT EXISTS (SELECT 1 FROM command AS other WHERE other.account_id = command.account_id
  AND other.session_id = command.session_id AND other.lease_until >= {{one}})
 AND NOT (session.nas_address {{any}})
 AND (session.nas_address NOT LIKE '{RADSEC_SOURCE}%' OR command.not_before <= {{one}} OR session.nas_address {{any}})
 ORDER BY command.not_before LIMIT {MOST_CLAIMED}"""
_CANDIDATE: Final = (
    "command.account_id",
    "command.command_id",
    "command.session_id",
    "command.lease_epoch",
    "nas_address",
)
_KEY: Final = ("account_id", "command_id")
_LEASED: Final = (*_KEY, "lease_epoch")
_COMMAND: Final = (
    *_LEASED, "session_id", "lease_node", "lease_until", "action", "version", "reason", "packets", "answers",
)  # fmt: skip
_SESSION: Final = tuple(f.name for f in fields(Session))
_IDENTITY: Final = ("username", "nas_username", "framed_address", "calling_station", "nas_port_id")
_NAME: Final = ("account_id", "nas_address", "username", "acct_session_id")
_RELEASED: Final = ("lease_until", "packets", "answers")
_FINISHED: Final = (*_RELEASED, "state", "answer", "sent_at", "finished_at")
#: No NAS has this address; a set of addresses is never empty, so that databases know what kind it is.
_NOBODY: Final = ("",)


class Candidate(NamedTuple):
    """A command that could be sent now."""

    account_id: int
    command_id: int
    session_id: int
    lease_epoch: int
    nas_address: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A command that is ours until `lease_until`, with what must be known to carry it out."""

    account_id: int
    command_id: int
    nas_id: int
    action: str
    version: int
    reason: str
    lease_epoch: int
    lease_until: Instant
    session: Session
    identity: Identity
    plan: Plan
    own: Texts = ()
    """What the plan and the subscriber say themselves, in the place of the profile's words."""
    packets: int = 0
    """Those that went before, under other leases."""
    answers: str = ""
    """To those, each with a space behind it."""

    @property
    def key(self) -> tuple[int, int]:
        """The session that it is about; one command at a time is on its way to each."""
        return self.account_id, self.session.session_id


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a claimed command. `released`: nothing, it may be claimed again."""

    claimed: Claimed
    state: State
    answer: str | None
    sent_at: Instant | None
    at: Instant
    packets: int = 0
    answers: tuple[str, ...] = ()
    """Of each request in turn."""


def pick(
    candidates: Iterable[Candidate], busy: Collection[tuple[int, int]], free: Mapping[str, int], most: int
) -> list[Candidate]:
    """Those that can be sent now: one per session, none to a `busy` one, and no more than each NAS address has `free`."""
    left = dict(free)
    sessions = set(busy)
    picked: list[Candidate] = []
    for candidate in candidates:
        key = candidate.account_id, candidate.session_id
        address = candidate.nas_address
        if len(picked) < most and key not in sessions and left.setdefault(address, MOST_PER_NAS) > 0:
            left[address] -= 1
            sessions.add(key)
            picked.append(candidate)
    return picked


class Claims:
    """What the node of that name has taken and takes of the command table."""

    def __init__(self, engine: Engine, node: str) -> None:
        self._node = node
        self._plans = Plans()
        self._looking = kept_for_reading(engine)
        self._writing = Kept(engine)

    def take(
        self,
        now: Instant,
        busy: Collection[tuple[int, int]],
        free: Mapping[str, int],
        most: int,
        connected: Collection[str] = (),
    ) -> tuple[list[Claimed], bool]:
        """Take what can be sent now; whether there may be more. Another node's being faster only makes it fewer.

        `busy`: sessions, by account and id, that something is on its way to from here. `free`: how many commands each NAS address can be sent,
        where that is not MOST_PER_NAS. `connected`: the NASes over TLS that are reached from here.
        """
        with self._looking.connection() as connection:
            candidates = due(connection, now, [address for address, left in free.items() if left <= 0], connected)
            connection.rollback()
        picked = pick(candidates, busy, free, most)
        if not picked:
            return [], False
        return self._in_transaction(lambda to: _take(to, picked, self._node, now, self._plans)), (
            len(candidates) == MOST_CLAIMED
        )

    def give_back(self) -> None:
        """Give back what a process of this name had when it ended: nothing of that is on its way any more."""
        self._in_transaction(lambda to: _give_back(to, self._node))

    def store(self, results: Sequence[Result]) -> None:
        """Write down what became of commands."""
        self._in_transaction(lambda to: _store(to, results))

    def close(self) -> None:
        """Give the connections back to the pool."""
        self._looking.close()
        self._writing.close()

    def _in_transaction(self, work: Callable[[Sets], Any]) -> Any:
        with self._writing.connection() as connection:
            done = work(sets(connection))
            connection.commit()
        return done


def due(
    connection: Connection, now: Instant, busy_addresses: Collection[str] = (), connected: Collection[str] = ()
) -> list[Candidate]:
    """Commands that wait, oldest first, but for those of sessions that another is on its way to, of busy NAS addresses, and of
    NASes over TLS that are not `connected` here and may be so elsewhere."""
    given = (
        now, now, now - FIRST_REPORT_MS, now, sorted(busy_addresses) or _NOBODY, now - CONNECTION_MS,
        sorted(connected) or _NOBODY,
    )  # fmt: skip
    rows = sets(connection).select(_WITH_SESSION, _CANDIDATE, _DUE, *given)
    return [Candidate(*row) for row in rows.fetchall()]


def _take(to: Sets, picked: Sequence[Candidate], node: str, now: Instant, plans: Plans) -> list[Claimed]:
    """Lease those that nobody was faster with, and read them with their sessions as these are now."""
    until = now + LEASE_MS
    seen = {each[:2]: each.lease_epoch + 1 for each in picked}
    leases = [(*each[:2], each.lease_epoch, "pending", node, until) for each in sorted(picked)]
    accounts, commands, sessions = (sorted({each[i] for each in picked}) for i in range(3))
    of_session = "account_id {any} AND session_id {any}"
    with to.together():
        more = "lease_epoch = {t}lease_epoch + 1, attempts = {t}attempts + 1"
        to.update(command, (*_LEASED, "state"), ("lease_node", "lease_until"), leases, more)
        rows = to.select(command, _COMMAND, "account_id {any} AND command_id {any}", accounts, commands)
        found = to.select(session, _SESSION + _IDENTITY, of_session, accounts, sessions)
        own = to.select(
            subscriber, ("subscriber_id", "reply_attributes"), "reply_attributes IS NOT NULL AND subscriber_id IN "
            f"(SELECT subscriber_id FROM session WHERE {of_session})", accounts, sessions,
        )  # fmt: skip
        live = to.select(session, ("session_id", *_NAME), "account_id {any} AND closed_at IS NULL", accounts)
    shared = _shared(live.fetchall())
    at_nas = {row[:2]: row for row in found.fetchall()}
    texts = dict(own.fetchall())
    ours = [
        (row, at_nas[row[0], row[3]])
        for row in rows.fetchall()
        if row[2] == seen.get(row[:2]) and row[4] == node and row[5] == until and (row[0], row[3]) in at_nas
    ]
    plans.read(to, [of[3] for _, of in ours])
    in_turn = {each[:2]: place for place, each in enumerate(picked)}
    ours.sort(key=lambda each: in_turn[each[0][:2]])
    return [_claimed(row, of, texts, plans, shared) for row, of in ours]


def _shared(live: Sequence[tuple[Any, ...]]) -> set[int]:
    """Sessions that have their name in common with another."""
    by_name: dict[tuple[Any, ...], list[int]] = {}
    for session_id, *name in live:
        by_name.setdefault(tuple(name), []).append(session_id)
    return {session_id for alike in by_name.values() if len(alike) > 1 for session_id in alike}


def _claimed(
    row: tuple[Any, ...], of: tuple[Any, ...], texts: Mapping[int, str], plans: Plans, shared: Collection[int]
) -> Claimed:
    account_id, command_id, lease_epoch, _, _, lease_until, action, version, reason, packets, answers = row
    at_nas = Session(*of[: len(_SESSION)])
    username, nas_username, framed_address, calling_station, nas_port_id = of[len(_SESSION) :]
    plan = plans(at_nas.plan_version_id)
    return Claimed(
        account_id, command_id, at_nas.nas_id, action, version, reason, lease_epoch, lease_until, at_nas,
        Identity(
            nas_username or username, at_nas.acct_session_id, framed_address, calling_station, nas_port_id,
            at_nas.session_id in shared,
        ), plan,
        layered(plan.attributes, reply_attributes.from_text(texts.get(at_nas.subscriber_id))), packets, answers,
    )  # fmt: skip


def _store(to: Sets, results: Sequence[Result]) -> None:
    """In the order of their keys. One that newer wishes superseded while it was on its way still tells what it met."""
    released: list[tuple[Any, ...]] = []
    finished: list[tuple[Any, ...]] = []
    for result in sorted(results, key=lambda result: (result.claimed.account_id, result.claimed.command_id)):
        claimed = result.claimed
        answers = claimed.answers + "".join(f"{each} " for each in result.answers)
        row = (
            claimed.account_id, claimed.command_id, claimed.lease_epoch, 0, claimed.packets + result.packets, answers,
        )  # fmt: skip
        if result.state == "released":
            released.append(row)
        else:
            finished.append((*row, result.state, result.answer, result.sent_at, result.at))
    with to.together():
        if released:
            to.update(command, _LEASED, _RELEASED, released)
        if finished:
            to.update(command, _LEASED, _FINISHED, finished)


def _give_back(to: Sets, node: str) -> None:
    rows = to.select(command, _LEASED, "state = 'pending' AND lease_until > 0 AND lease_node {any}", (node,)).fetchall()
    if rows:
        to.update(command, _LEASED, ("lease_until",), [(*row, 0) for row in sorted(rows)])
