"""Address pools in the database: which addresses a transaction's logins may choose from, who took one, who has left his.

An address is taken in the transaction that admits its session and given back in the one that closes the last session of
that login. Several nodes choose at the same time without waiting: each locks what it looks at, and passes over what
another has locked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from charging import tables
from charging.addresses import REST_MS, Kind, Lease, Leases
from charging.book import Book
from charging.bulk import Sets
from charging.plan import Instant
from charging.tomlfile import NAME

#: The reason of a cut: while its session was thought to be over, its address was given to somebody else.
ADDRESS_LOST: Final = "address-lost"

_LEASE: Final = ("address", "pool_name", "kind", "account_id", "root_id", "freed_at")
#: Free addresses are asked for in round numbers, at round instants: the statement is then one that is known.
_ROUND_MS: Final = 10_000


def offer(to: Sets, wishes: Sequence[tuple[int, set[str]]], now: Instant) -> Leases:
    """What these logins (account_id, the pools they may ask for) can choose from; until the transaction ends, nobody else
    can choose the same."""
    leases = Leases()
    pools = sorted({pool for _, wanted in wishes for pool in wanted})
    if not pools:
        return leases
    kinds: dict[str, set[Kind]] = {}
    for pool, kind in to.select(tables.pool_range, ("pool_name", "kind"), "pool_name {any}", pools).fetchall():
        kinds.setdefault(pool, set()).add(kind)
    leases.kinds = {pool: tuple(sorted(found)) for pool, found in kinds.items()}
    accounts = sorted({account_id for account_id, _ in wishes})
    mine = f"account_id {{any}} AND subscriber_id IS NULL{to.passing_over}"
    for address, pool, kind, account_id, root_id, freed_at in to.select(
        tables.pool_lease, _LEASE, mine, accounts
    ).fetchall():
        lease = Lease(address, pool, kind, account_id, root_id, held=freed_at is None)
        leases.known.setdefault(account_id, []).append(lease)
    rested = (now - REST_MS) // _ROUND_MS * _ROUND_MS
    wanted = Counter(pool for _, each in wishes for pool in each)
    known = {lease.address for each in leases.known.values() for lease in each}
    for pool, found in leases.kinds.items():
        for kind in found:
            addresses = _free(to, pool, kind, wanted[pool], rested, to.passing_over)
            if len(addresses) < wanted[pool] and len(_free(to, pool, kind, wanted[pool], rested, "")) > len(addresses):
                leases.contended = True
            # What a login's account had last is in `known`, and is for that account.
            leases.free[pool, kind] = [address for address in addresses if address not in known]
    return leases


def _free(to: Sets, pool: str, kind: Kind, wanted: int, rested: Instant, lock: str) -> list[str]:
    # Written out, for only so does an index bring them in their order; pools have plain names.
    assert NAME.fullmatch(pool)
    condition = (
        f"pool_name = '{pool}' AND kind = '{kind}' AND subscriber_id IS NULL AND freed_at <= {rested:d} "
        f"ORDER BY freed_at LIMIT {1 << (wanted - 1).bit_length():d}{lock}"
    )
    return [address for (address,) in to.select(tables.pool_lease, ("address",), condition).fetchall()]


def write_taken(to: Sets, leases: Leases) -> None:
    """Write down who took what."""
    if leases.taken:
        rows = [(address, account_id, root_id, None) for address, account_id, root_id in leases.taken]
        to.update(tables.pool_lease, ("address",), ("account_id", "root_id", "freed_at"), rows)


def resume(to: Sets, books: Iterable[Book], now: Instant) -> None:
    """A login whose sessions seemed to be over goes on: its addresses are its again. Where one was given to somebody else
    meanwhile, the session that came second has to go."""
    for book in books:
        for session in book.resumed:
            key = (session.account_id, session.root_id)
            columns = ("account_id", "root_id")
            held = to.update(tables.pool_lease, columns, ("freed_at",), [(*key, None)]).rowcount
            if held < session.leased and session.closed_at is None:
                book.release(session)
                book.command(session, "cut", ADDRESS_LOST, now)


def write_freed(to: Sets, books: Iterable[Book], now: Instant) -> None:
    """The addresses of logins whose last session has ended are free again."""
    rows: list[tuple[int, int, int]] = []
    for book in books:
        ended = [book.sessions[session_id] for session_id in book.ended if book.sessions[session_id].leased]
        if not ended:
            continue
        alive = {session.root_id for session in book.live_sessions()}
        rows += [(book.account.account_id, root_id, now) for root_id in sorted({s.root_id for s in ended} - alive)]
    if rows:
        to.update(tables.pool_lease, ("account_id", "root_id"), ("freed_at",), rows)
