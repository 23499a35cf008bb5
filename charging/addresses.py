"""Addresses for sessions: a subscriber's own, and leases from pools. Pure.

Which address of a pool a session gets is decided while it is admitted, from those that the transaction found free and
keeps others away from; so no address is ever given to two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

Kind = Literal["ipv4", "ipv6", "prefix", "delegated"]
"""Framed-IP-Address, Framed-IPv6-Address, Framed-IPv6-Prefix, Delegated-IPv6-Prefix."""

KINDS: Final[tuple[Kind, ...]] = ("ipv4", "ipv6", "prefix", "delegated")
#: An address that one session has left is given to somebody else no sooner: its last packets, and a Start right after a
#: Stop, must not meet another's. Whoever had it gets it back at once.
REST_MS: Final = 60_000


class Addresses(NamedTuple):
    """What a session is given. None: nothing of that kind."""

    ipv4: str | None = None
    ipv6: str | None = None
    prefix: str | None = None
    delegated: str | None = None


NO_ADDRESSES: Final = Addresses()


class Lease(NamedTuple):
    """An address of a pool and who has it, or had it last: the login, by the session that it opened."""

    address: str
    pool: str
    kind: Kind
    account_id: int
    root_id: int
    held: bool


@dataclass(slots=True)
class Leases:
    """What the logins of one transaction may choose from."""

    kinds: dict[str, tuple[Kind, ...]] = field(default_factory=dict)
    """What each pool gives; a pool that does not exist is not in it."""
    known: dict[int, list[Lease]] = field(default_factory=dict)
    """By account: what it has, and had last where nobody has it now."""
    free: dict[tuple[str, Kind], list[str]] = field(default_factory=dict)
    """The longest unused first."""
    contended: bool = False
    """Others have their hands on addresses that we would need: what is left when they are done decides."""
    taken: list[tuple[str, int, int]] = field(default_factory=list)
    """(address, account_id, root_id), to be written down."""

    def take(self, account_id: int, root_id: int, pool: str | None, own: Addresses) -> Addresses | str:
        """One address of each kind that the pool has, unless the subscriber has his own; all of them or, as a word, why
        not: address-pool-unknown, address-pool-exhausted."""
        if pool is None:
            return own
        kinds = self.kinds.get(pool)
        if kinds is None:
            return "address-pool-unknown"
        found = own._asdict()
        chosen: list[tuple[Kind, str]] = []
        for kind in kinds:
            if found[kind] is not None:
                continue
            held = self._held(account_id, root_id, pool, kind)
            if held is not None:
                found[kind] = held
                continue
            address = self._choose(account_id, pool, kind)
            if address is None:
                return "address-pool-exhausted"
            chosen.append((kind, address))
            found[kind] = address
        for kind, address in chosen:
            free = self.free.get((pool, kind), [])
            if address in free:
                free.remove(address)
            known = self.known.setdefault(account_id, [])
            known[:] = [lease for lease in known if lease.address != address]
            known.append(Lease(address, pool, kind, account_id, root_id, held=True))
            self.taken.append((address, account_id, root_id))
        return Addresses(**found)

    def held_by(self, account_id: int, root_id: int, own: Addresses) -> Addresses:
        """What a running session has."""
        found = own._asdict()
        for lease in self.known.get(account_id, ()):
            if lease.held and lease.root_id == root_id and found[lease.kind] is None:
                found[lease.kind] = lease.address
        return Addresses(**found)

    def _held(self, account_id: int, root_id: int, pool: str, kind: Kind) -> str | None:
        for lease in self.known.get(account_id, ()):
            if lease.held and (lease.root_id, lease.pool, lease.kind) == (root_id, pool, kind):
                return lease.address
        return None

    def _choose(self, account_id: int, pool: str, kind: Kind) -> str | None:
        before = [
            lease.address
            for lease in self.known.get(account_id, ())
            if not lease.held and lease.pool == pool and lease.kind == kind
        ]
        return next(iter(before or self.free.get((pool, kind), [])), None)
