"""Who is who: NASes, watched live, and subscribers, read as they come.

NASes are few and asked for with every packet, so all of them are in memory and the table's newest revision is looked
at once a second. Subscribers are many and asked for at login, so they are read from the database, many at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final, NamedTuple

import psycopg
import structlog
from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.exc import OperationalError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from aaa import reply_attributes
from aaa.dialects import dialect, wish
from aaa.dialects import names as dialect_names
from aaa.keyring import KeyRing, KeyRingError, nas_secret, subscriber_nt_hash, subscriber_password, subscriber_totp
from aaa.nas import Nas, over_tls, source_over_tls
from aaa.observations import observations
from aaa.passwords import Credential
from aaa.standing import Observation, standing
from aaa.subscriber import Subscriber
from charging.addresses import NO_ADDRESSES, Addresses
from charging.batching import MILLISECOND, Batches, QueueFull, Run
from charging.bulk import sets
from charging.conditions import NO_CONDITIONS, Conditions, from_text
from charging.database import reading
from charging.lane import kept_for_reading
from charging.plan import Instant, from_json
from charging.tables import nas, plan, plan_version, subscriber
from charging.writer import LOOK_MS, DatabaseUnavailable

#: Addresses remembered for prefixes; a prefix may be large.
_MOST_ADDRESSES: Final = 65_536
#: Plan versions never change, so they are kept; more than this many and the memory is begun anew.
_MOST_PLANS: Final = 4096
MOST_WAITING_LOOKUPS: Final = 8192
MOST_IN_LOOKUP: Final = 256

_log = structlog.get_logger("aaa.directory")


class NasDirectory:
    """All NASes, by source address. `refresh` is called in a thread, everything else in the reactor's."""

    def __init__(self, engine: Engine, keys: KeyRing) -> None:
        self._engine = engine
        self._keys = keys
        self._revision: tuple[Any, ...] | None = None
        self._by_id: dict[int, Nas] = {}
        self._networks: list[tuple[IPv4Network | IPv6Network, Nas]] = []
        self._by_address: dict[str, Nas | None] = {}
        self._seen: dict[tuple[int, str], list[Observation]] = {}
        self._proven: dict[tuple[int, str], bytes] = {}
        self._over_tls: dict[str, Nas] = {}
        self._by_certificate: dict[str, Nas] = {}
        self._commanded_by_udp: frozenset[str] = frozenset()

    def prove(self, nas: Nas, address: str, secret: bytes) -> None:
        """The NAS at this address has signed with this one of its secrets. Of interest only while it has two."""
        if len(self._proven) >= _MOST_ADDRESSES:
            self._proven.clear()
        self._proven[nas.nas_id, address] = secret

    def proven_secret(self, nas: Nas, address: str) -> bytes | None:
        """The secret that the NAS at this address last showed to have; None where it showed none that it still may have."""
        secret = self._proven.get((nas.nas_id, address))
        return secret if secret in nas.secrets else None

    def at(self, address: str) -> Nas | None:
        """The NAS whose packets come from this address: the longest prefix wins. Or from this source over TLS."""
        # `refresh` may put a new directory in place meanwhile; what is found in the old one is noted in the old one.
        known = self._by_address
        try:
            return known[address]
        except KeyError:
            found = self._as_seen(address, self._search(address))
            if len(known) >= _MOST_ADDRESSES:
                known.clear()
            known[address] = found
            return found

    def nas(self, nas_id: int) -> Nas | None:
        """The NAS of that id, unless it was removed."""
        return self._by_id.get(nas_id)

    def of_certificate(self, names: Collection[str]) -> list[Nas]:
        """The NASes, as they are over TLS, that a certificate of these names belongs to. It is good for one."""
        known = self._by_certificate
        return [known[name] for name in names if name in known]

    @property
    def commanded_by_udp(self) -> frozenset[str]:
        """The sources over TLS whose NASes take CoA elsewhere: at an address of their own, over UDP."""
        return self._commanded_by_udp

    def refresh(self, now: Instant = 0) -> None:
        """Read the table again if it has changed, and what has been seen of NASes, but for what is too old at `now`. A row
        that can not be used is logged and left out."""
        with reading(self._engine) as connection:
            seen = observations(connection, now)
            if seen != self._seen:
                self._seen, self._by_address = seen, {}
            # The newest alone would hide a change from a machine whose clock is behind; the sum moves with every row.
            revised_at = nas.c.revised_at
            revision = tuple(connection.execute(select(func.count(), func.max(revised_at), func.sum(revised_at))).one())
            if self._revision == revision:
                return
            rows = connection.execute(select(nas)).all()
        found = [each for row in rows if (each := self._nas_of(row)) is not None]
        networks = [(ip_network(each.network), each) for each in found if each.network is not None]
        networks.sort(key=lambda entry: -entry[0].prefixlen)
        over = [over_tls(each) for each in found if each.certificate is not None]
        # Rebinding is atomic: a packet sees the old directory or the new one.
        self._networks = networks
        self._over_tls = {source_over_tls(each): each for each in over}
        self._by_certificate = {each.certificate: each for each in over if each.certificate is not None}
        self._commanded_by_udp = frozenset(source_over_tls(each) for each in over if each.coa_address is not None)
        self._by_id = {each.nas_id: each for each in found}
        self._by_address = {}
        self._revision = revision
        _log.info("nas-directory-read", nas_count=len(found))

    def require_message_authenticator(self, nas_id: int, now: Instant) -> None:
        """What `learn` has learnt: from now on this NAS's Access-Requests must carry one. In a thread."""
        with self._engine.begin() as connection:
            connection.execute(
                update(nas)
                .where(nas.c.nas_id == nas_id, nas.c.require_message_authenticator == "learn")
                .values(require_message_authenticator="yes", revised_at=now)
            )

    def _search(self, address: str) -> Nas | None:
        try:
            parsed = ip_address(address)
        except ValueError:
            return self._over_tls.get(address)
        return next((each for network, each in self._networks if parsed in network), None)

    def _as_seen(self, address: str, found: Nas | None) -> Nas | None:
        """With the means that are left to the NAS at this address."""
        seen = () if found is None else self._seen.get((found.nas_id, address), ())
        if found is None or not seen:
            return found
        stands = standing(dialect(found.dialect), found.enforcement_class, found.coa_port, seen)
        return replace(found, means=stands.means)

    def _nas_of(self, row: Any) -> Nas | None:
        try:
            if row.network is not None:
                ip_network(row.network)
            sealed = [row.secret_sealed, row.previous_secret_sealed]
            secrets = tuple(self._keys.open(nas_secret(row.name), each) for each in sealed if each is not None)
            return _with_defaults(row, secrets)
        except (KeyRingError, ValueError) as error:
            _log.error("nas-unusable", nas=row.name, problem=str(error))
            return None


def metered(connection: Connection) -> dict[int, Nas]:
    """All NASes by their ids, without secrets: to read what they have reported. One of a dialect that is not there is left out."""
    rows = connection.execute(select(nas))
    return {row.nas_id: _with_defaults(row, ()) for row in rows if row.dialect in dialect_names()}


def _with_defaults(row: Any, secrets: tuple[bytes, ...]) -> Nas:
    """A row of the nas table, with what its dialect says where it says nothing. ValueError: there is no such dialect."""
    speaks = dialect(row.dialect)
    coa_port = speaks.coa_port if row.coa_port is None else row.coa_port
    return Nas(
        nas_id=row.nas_id,
        name=row.name,
        network=row.network,
        secrets=secrets,
        dialect=row.dialect,
        coa_address=row.coa_address,
        coa_port=coa_port,
        require_message_authenticator=row.require_message_authenticator,
        limit_proxy_state=row.limit_proxy_state,
        counter_unit=speaks.counter_unit if row.counter_unit is None else row.counter_unit,
        counters_delta=speaks.counters_delta if row.counters_delta is None else row.counters_delta,
        counter_bits=speaks.counter_bits if row.counter_bits is None else row.counter_bits,
        reports_services=speaks.reports_services or row.counter_level is not None,
        counter_level="session" if row.counter_level is None else row.counter_level,
        enforcement_class=row.enforcement_class,
        means=standing(speaks, row.enforcement_class, coa_port, ()).means,
        coa_message_authenticator=row.coa_message_authenticator or wish(speaks, usual=speaks.message_authenticator),
        coa_event_timestamp=row.coa_event_timestamp or wish(speaks, usual=speaks.event_timestamp),
        counters_reversed=speaks.counters_reversed if row.counters_reversed is None else row.counters_reversed,
        on_database_down=row.on_database_down,
        mac_authentication=row.mac_authentication,
        nas_group=row.nas_group,
        certificate=row.certificate,
    )


class SubscriberDirectory:
    """Subscribers by user name, many lookups in one query."""

    def __init__(self, engine: Engine, keys: KeyRing, run: Run) -> None:
        self._engine = engine
        self._keys = keys
        self._kept = kept_for_reading(engine, plan_once=True)
        self._watching: LoopingCall | None = None
        self._terms: dict[int, _Terms] = {}
        self.lookups: Batches[str, Subscriber | None] = Batches(
            self._read, run, most_queued=MOST_WAITING_LOOKUPS, most_in_batch=MOST_IN_LOOKUP
        )
        """Who is being looked up."""

    def watch(self, clock: IReactorTime, *, deadline_ms: int) -> None:
        """From now on a lookup fails with DatabaseUnavailable when it has no answer by then."""
        looks, late = -(-deadline_ms // LOOK_MS), f"no answer within {deadline_ms} ms"
        # Too many lookups, or one that hangs: a login has silence for either.
        self._watching = LoopingCall(
            self.lookups.look, looks, lambda stuck: DatabaseUnavailable(late) if stuck else QueueFull(late)
        )
        self._watching.clock = clock
        self.lookups.gather(clock)
        self._watching.start(LOOK_MS * MILLISECOND, now=False)

    def unwatch(self) -> None:
        """Look no more, and give the connection back."""
        if self._watching is not None and self._watching.running:
            self._watching.stop()
        self._kept.close()

    def subscriber(self, username: str) -> Deferred[Subscriber | None]:
        """The subscriber of that name as he is now, None where there is none. Fails with QueueFull, DatabaseUnavailable, or the
        database's error."""
        return self.lookups.submit(username)

    def _read(self, usernames: Sequence[str]) -> list[Subscriber | Exception | None]:
        try:
            return self._read_once(usernames)
        except (psycopg.OperationalError, OperationalError):
            # The kept connection may have died long ago; a fresh one that fails is news.
            return self._read_once(usernames)

    def _read_once(self, usernames: Sequence[str]) -> list[Subscriber | Exception | None]:
        with self._kept.connection() as connection:
            found = _rows(connection, sorted(set(usernames)))
            self._read_terms(connection, {row.plan_version_id for row in found.values()})
            connection.rollback()
        return [None if row is None else self._subscriber_of(row) for row in map(found.get, usernames)]

    def _subscriber_of(self, row: _Row) -> Subscriber | Exception:
        try:
            credential = Credential(
                row.password_argon2,
                self._opened(subscriber_password, row.username, row.password_sealed),
                self._opened(subscriber_nt_hash, row.username, row.password_nt_sealed),
                row.password_sha256,
                self._opened(subscriber_totp, row.username, row.totp_sealed),
            )
        except KeyRingError as error:
            return error
        terms = self._terms[row.plan_version_id]
        if terms.problem is not None:
            return terms.problem
        attributes, conditions = terms.attributes, terms.conditions
        if row.reply_attributes is not None:
            attributes = reply_attributes.layered(attributes, reply_attributes.from_text(row.reply_attributes))
        if row.conditions is not None:
            conditions = from_text(row.conditions).over(conditions)
        return Subscriber(
            reply_attributes=attributes,
            conditions=conditions,
            time_zone=terms.time_zone,
            stations_learned=() if row.stations_learned is None else tuple(json.loads(row.stations_learned)),
            own_addresses=_own_addresses(row),
            subscriber_id=row.subscriber_id,
            account_id=row.account_id,
            username=row.username,
            plan_version_id=row.plan_version_id,
            status=row.status,
            expires_at=row.expires_at,
            max_sessions=row.max_sessions,
            credential=credential,
        )

    def _read_terms(self, connection: Connection, plan_version_ids: set[int]) -> None:
        """Make sure that these versions are known: they never change."""
        missing = plan_version_ids - self._terms.keys()
        if not missing:
            return
        if len(self._terms) > _MOST_PLANS:
            self._terms.clear()
            missing = plan_version_ids
        c = plan_version.c
        chosen = select(c.plan_version_id, c.content).where(c.plan_version_id.in_(missing))
        self._terms.update({row.plan_version_id: _terms(row.content) for row in connection.execute(chosen)})

    def learn_station(self, subscriber_id: int, before: tuple[str, ...], station: str) -> bool:
        """Make a device one of the allowed ones; False: another one was faster. In a thread."""
        known = None if not before else json.dumps(before)
        column = subscriber.c.stations_learned
        unchanged = column.is_(None) if known is None else column == known
        with self._engine.begin() as connection:
            chosen = update(subscriber).where(subscriber.c.subscriber_id == subscriber_id, unchanged)
            learned = json.dumps((*before, station))
            return connection.execute(chosen.values(stations_learned=learned)).rowcount == 1

    def _opened(self, place: Callable[[str], str], username: str, sealed: bytes | None) -> bytes | None:
        return None if sealed is None else self._keys.open(place(username), sealed)

    def use_code(self, subscriber_id: int, step: int) -> bool:
        """Use up a one-time code, and with it all older ones; False: it was used. In a thread."""
        with self._engine.begin() as connection:
            unused = subscriber.c.totp_step.is_(None) | (subscriber.c.totp_step < step)
            chosen = update(subscriber).where(subscriber.c.subscriber_id == subscriber_id, unused)
            return connection.execute(chosen.values(totp_step=step)).rowcount == 1


class _Terms(NamedTuple):
    """What a plan's version says about logins. `problem`: why it can not be read."""

    attributes: tuple[tuple[str, str], ...] = ()
    conditions: Conditions = NO_CONDITIONS
    time_zone: str = "UTC"
    problem: ValueError | None = None


def _terms(content: str) -> _Terms:
    try:
        sold = from_json(content)
    except ValueError as error:
        return _Terms(problem=error)
    return _Terms(sold.attributes, sold.conditions, sold.time_zone)


def _own_addresses(row: _Row) -> Addresses:
    own = Addresses(row.own_ipv4, row.own_ipv6, row.own_prefix, row.own_delegated)
    return NO_ADDRESSES if own == NO_ADDRESSES else own


class _Row(NamedTuple):
    """A subscriber's columns, and his plan's version."""

    subscriber_id: Any
    account_id: Any
    username: Any
    plan_version_id: Any
    status: Any
    expires_at: Any
    max_sessions: Any
    password_argon2: Any
    password_sealed: Any
    password_nt_sealed: Any
    password_sha256: Any
    totp_sealed: Any
    reply_attributes: Any
    conditions: Any
    stations_learned: Any
    own_ipv4: Any
    own_ipv6: Any
    own_prefix: Any
    own_delegated: Any


_SUBSCRIBERS: Final = subscriber.join(plan, plan.c.name == subscriber.c.plan_name)
_COLUMNS: Final = tuple(
    # The version that his period was sold under goes before the plan's newest.
    "coalesce(subscriber.plan_version_id, plan.plan_version_id)" if name == "plan_version_id" else f"subscriber.{name}"
    for name in _Row._fields
)


def _rows(connection: Connection, usernames: list[str]) -> dict[str, _Row]:
    rows = sets(connection).select(_SUBSCRIBERS, _COLUMNS, "subscriber.username {any}", usernames).fetchall()
    return {row[2]: _Row(*row) for row in rows}
