"""Address pools as operators write them down: networks, cut into addresses, and which of them are somebody's own."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import islice
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, case, delete, func, insert, select, update

from charging.addresses import KINDS, Kind
from charging.bulk import sets
from charging.plan import Instant
from charging.tables import account, pool_lease, pool_range, subscriber

#: Each address is a row.
MOST_ADDRESSES: Final = 262_144
MOST_IN_STATEMENT: Final = 5_000
Network = IPv4Network | IPv6Network

_LEASE: Final = ("address", "network", "pool_name", "kind", "subscriber_id", "freed_at")
_OWN: Final = dict(zip(KINDS, (getattr(subscriber.c, f"own_{kind}") for kind in KINDS), strict=True))


class PoolError(Exception):
    """A pool or an address that can not be so; the text says what would be right."""


class RangeLine(NamedTuple):
    """A network of a pool and what has become of its addresses."""

    pool_name: str
    network: str
    kind: Kind
    prefix_length: int
    addresses: int
    leased: int
    own: int
    """Always one subscriber's."""
    created_at: Instant


class LeaseLine(NamedTuple):
    """An address that somebody has."""

    address: str
    kind: Kind
    account_name: str | None
    username: str | None
    """Whose own it is; None: it is leased from the pool."""


def parse_network(text: str) -> Network:
    """A network; PoolError says what would be right."""
    example = "write for example 100.64.0.0/18 or 2001:db8:100::/40"
    try:
        network = ip_network(text)
    except ValueError as error:
        raise PoolError(f"{text!r} is no network: {error}; {example}") from None
    if network.is_multicast or network.is_loopback or network.is_link_local or network.is_unspecified:
        raise PoolError(f"{network} is no network that subscribers can have addresses of; {example}")
    return network


def own_address(kind: Kind, text: str) -> str:
    """A subscriber's own address or prefix in its one spelling. PoolError."""
    example = {
        "ipv4": "192.0.2.7",
        "ipv6": "2001:db8::7",
        "prefix": "2001:db8:7::/64",
        "delegated": "2001:db8:700::/56",
    }
    try:
        if kind in {"ipv4", "ipv6"}:
            address = ip_address(text)
            if address.version == (4 if kind == "ipv4" else 6):
                return str(address)
        elif "/" in text and (network := ip_network(text)).version == 6:
            return str(network)
    except ValueError as error:
        raise PoolError(f"{text!r}: {error}; write for example {example[kind]}") from None
    raise PoolError(f"{text!r} is not of that kind; write for example {example[kind]}")


def add_range(connection: Connection, pool_name: str, network: Network, kind: Kind, length: int, now: Instant) -> int:
    """Add a network to a pool, which is made where it is not there; how many addresses it gives. `length`: the prefix length
    of each. PoolError where it overlaps what is there, or comes to too many."""
    if not network.prefixlen <= length <= network.max_prefixlen:
        raise PoolError(
            f"{network} can not be cut into /{length}; write {network.prefixlen} to {network.max_prefixlen}"
        )
    count = 1 << (length - network.prefixlen)
    if count > MOST_ADDRESSES:
        least = length - (MOST_ADDRESSES.bit_length() - 1)
        raise PoolError(
            f"{network} gives {count} addresses, the most at once is {MOST_ADDRESSES}; write a /{least} or less"
        )
    for known, pool in connection.execute(select(pool_range.c.network, pool_range.c.pool_name)):
        other = ip_network(known)
        if other.version == network.version and other.overlaps(network):
            raise PoolError(f"{network} overlaps {known} of pool {pool!r}; no address can be in two places")
    row = {"network": str(network), "pool_name": pool_name, "kind": kind, "prefix_length": length, "created_at": now}
    connection.execute(insert(pool_range).values(row))
    own = _own_of(connection, kind)
    made = 0
    addresses = _addresses(network, kind, length)
    to = sets(connection)
    while some := list(islice(addresses, MOST_IN_STATEMENT)):
        rows = [(address, str(network), pool_name, kind, own.get(address), 0) for address in some]
        to.insert(pool_lease, _LEASE, rows)
        made += len(rows)
    return made


def _addresses(network: Network, kind: Kind, length: int) -> Iterator[str]:
    if kind in {"prefix", "delegated"}:
        yield from (str(each) for each in network.subnets(new_prefix=length))
        return
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.version == 4 and network.prefixlen < 31:
        # Old equipment takes the first for the network and the last for all.
        first, last = first + 1, last - 1
    make = type(network.network_address)
    yield from (str(make(number)) for number in range(first, last + 1))


def _own_of(connection: Connection, kind: Kind) -> dict[str, int]:
    column = _OWN[kind]
    rows = connection.execute(select(column, subscriber.c.subscriber_id).where(column.is_not(None)))
    return {row[0]: row[1] for row in rows}


def remove(connection: Connection, pool_name: str, network: str | None) -> int:
    """Remove a network of a pool, or all of it; how many addresses went. PoolError while sessions have some."""
    ranges = [line for line in ranges_of(connection, pool_name) if network in {None, line.network}]
    if not ranges:
        there = ", ".join(line.network for line in ranges_of(connection, pool_name))
        raise PoolError(f"pool {pool_name!r} has no network {network}; it has {there}")
    leased = sum(line.leased for line in ranges)
    if leased:
        raise PoolError(f"{leased} addresses are leased to sessions; wait for their end, or: aaa session disconnect")
    for line in ranges:
        # Whoever is being admitted at this moment has locked his: then this waits, and finds it leased.
        connection.execute(
            delete(pool_lease).where(pool_lease.c.network == line.network, pool_lease.c.freed_at.is_not(None))
        )
        connection.execute(delete(pool_range).where(pool_range.c.network == line.network))
    return sum(line.addresses for line in ranges)


def ranges(connection: Connection) -> list[RangeLine]:
    """All networks of all pools."""
    return [RangeLine(*row) for row in connection.execute(_range_lines())]


def ranges_of(connection: Connection, pool_name: str) -> list[RangeLine]:
    """The networks of a pool; PoolError, with the name that was meant, where there is none."""
    found = [RangeLine(*row) for row in connection.execute(_range_lines().where(pool_range.c.pool_name == pool_name))]
    if not found:
        known = connection.execute(select(pool_range.c.pool_name).distinct()).scalars().all()
        near = difflib.get_close_matches(pool_name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"run: aaa pool add {pool_name} NETWORK"
        raise PoolError(f"there is no pool {pool_name!r}; {hint}")
    return found


def held(connection: Connection, pool_name: str, limit: int) -> list[LeaseLine]:
    """Who has which address of a pool, at most `limit`."""
    c = pool_lease.c
    leased = (
        select(c.address, c.kind, account.c.name, subscriber.c.username)
        .select_from(pool_lease)
        .outerjoin(subscriber, subscriber.c.subscriber_id == c.subscriber_id)
        .outerjoin(account, (account.c.account_id == c.account_id) & c.freed_at.is_(None))
        .where(c.pool_name == pool_name, c.freed_at.is_(None) | c.subscriber_id.is_not(None))
        .order_by(c.kind, c.address)
        .limit(limit)
    )
    return [LeaseLine(*row) for row in connection.execute(leased)]


def _range_lines() -> Select[Any]:
    r, c = pool_range.c, pool_lease.c
    counted = (
        select(
            c.network,
            func.count().label("addresses"),
            func.sum(case((c.freed_at.is_(None), 1), else_=0)).label("leased"),
            func.sum(case((c.subscriber_id.is_not(None), 1), else_=0)).label("own"),
        )
        .group_by(c.network)
        .subquery()
    )
    return (
        select(
            r.pool_name, r.network, r.kind, r.prefix_length, counted.c.addresses, counted.c.leased, counted.c.own,
            r.created_at,
        )
        .join(counted, counted.c.network == r.network)
        .order_by(r.pool_name, r.kind, r.network)
    )  # fmt: skip


# --- a subscriber's own --------------------------------------------------------------------------------------------


def make_own(
    connection: Connection, subscriber_id: int, account_id: int, kind: Kind, address: str | None, now: Instant
) -> None:
    """From now on this address is this subscriber's own; None: he has none of that kind any more. PoolError where it is
    somebody else's, or a session has it."""
    mine = (pool_lease.c.subscriber_id == subscriber_id) & (pool_lease.c.kind == kind)
    connection.execute(
        update(pool_lease).where(mine).values(subscriber_id=None, freed_at=func.coalesce(pool_lease.c.freed_at, now))
    )
    if address is not None:
        other = select(subscriber.c.username).where(_OWN[kind] == address, subscriber.c.subscriber_id != subscriber_id)
        username = connection.execute(other).scalar_one_or_none()
        if username is not None:
            raise PoolError(f"{address} belongs to subscriber {username!r} already; choose another one")
        lock = select(pool_lease.c.account_id, pool_lease.c.freed_at).where(pool_lease.c.address == address)
        row = connection.execute(lock.with_for_update()).first()
        if row is not None and row.freed_at is None and row.account_id != account_id:
            name = connection.execute(select(account.c.name).where(account.c.account_id == row.account_id)).scalar()
            raise PoolError(f"{address} is leased to account {name!r} until its session ends; choose another one")
        connection.execute(
            update(pool_lease).where(pool_lease.c.address == address).values(subscriber_id=subscriber_id)
        )
    values = {_OWN[kind].name: address}
    connection.execute(update(subscriber).where(subscriber.c.subscriber_id == subscriber_id).values(values))


def free_own(connection: Connection, subscriber_id: int) -> None:
    """What was a subscriber's own is the pool's again."""
    connection.execute(update(pool_lease).where(pool_lease.c.subscriber_id == subscriber_id).values(subscriber_id=None))
