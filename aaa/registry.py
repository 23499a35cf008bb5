"""What operators write down: NASes and subscribers. The server reads them in `directory`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Connection, Row, Select, case, delete, func, insert, select, update

from aaa import reply_attributes
from aaa.dialects import dialect
from aaa.dialects import names as dialect_names
from aaa.keyring import KeyRing, nas_secret, subscriber_nt_hash, subscriber_password, subscriber_totp
from aaa.nas import CounterLevel, CounterUnit, OnDatabaseDown, RequireMessageAuthenticator, Wish
from aaa.observations import observations
from aaa.passwords import Credential, Kept
from aaa.reply_attributes import Texts
from aaa.standing import EnforcementClass, Observation, Standing, refused, standing
from charging import catalogue, pools
from charging.addresses import KINDS, Addresses
from charging.arrangement import Arrangement, Leave, What
from charging.catalogue import NewAccount, Status, in_parts
from charging.conditions import Conditions, from_text
from charging.notices.contact import UNKNOWN, Contact
from charging.payment import Grant, NotApplied
from charging.plan import Instant
from charging.settle import CatchUp, Cut
from charging.tables import account, nas, nas_observation, session, subscriber, subscription
from charging.transaction import settle_in

#: Any word list of an attacker begins with these.
KNOWN_SECRETS: Final = frozenset(
    {
        "12345678", "123456789", "admin", "changeme", "cisco", "default", "letmein", "mikrotik", "mysecret", "pass",
        "passwd", "password", "private", "public", "qwerty", "radius", "radiussecret", "radsec", "secret", "shared",
        "sharedsecret", "test", "test123", "testing", "testing123", "whatever",
    }
)  # fmt: skip
STRONG_SECRET_CHARACTERS: Final = 16
MOST_SECRET_OCTETS: Final = 128


class RegistryError(Exception):
    """A NAS or a subscriber that is not there, is there already, or is not right; the text says what would be."""


# --- NASes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NasSettings:
    """What an operator decides about a NAS, without its secret."""

    name: str
    network: str | None
    """As `canonical_network` writes it. None: any, for what comes over TLS."""
    dialect: str = dialect_names()[0]
    coa_address: str | None = None
    coa_port: int | None = None
    """None: the dialect's; 0: this NAS takes no CoA."""
    require_message_authenticator: RequireMessageAuthenticator = "yes"
    limit_proxy_state: bool = True
    counters_reversed: bool | None = None
    """None: as the dialect says."""
    counter_unit: CounterUnit | None = None
    counters_delta: bool | None = None
    counter_bits: int | None = None
    counter_level: CounterLevel | None = None
    enforcement_class: EnforcementClass | None = None
    coa_message_authenticator: Wish | None = None
    coa_event_timestamp: Wish | None = None
    on_database_down: OnDatabaseDown = "spool"
    mac_authentication: bool = False
    nas_group: str = ""
    certificate: str | None = None
    """As `certificate_names.canonical_name` writes it. None: it does not speak over TLS."""


class NasLine(NamedTuple):
    """A NAS as the table has it, its secrets still sealed."""

    nas_id: int
    settings: NasSettings
    secret_sealed: bytes
    previous_secret_sealed: bytes | None
    created_at: Instant
    revised_at: Instant
    live_sessions: int
    late_sessions: int
    """Live ones that were asked to report more often, and do not."""
    seen: tuple[Observation, ...]

    @property
    def standing(self) -> Standing:
        """What it can be made to do now."""
        speaks = dialect(self.settings.dialect)
        port = speaks.coa_port if self.settings.coa_port is None else self.settings.coa_port
        return standing(speaks, self.settings.enforcement_class, port, self.seen)


def canonical_network(text: str) -> str:
    """The source of a NAS's packets in its one spelling: `192.0.2.1`, `192.0.2.0/24`, `2001:db8::1`.

    RegistryError where it is no address or prefix.
    """
    example = "write for example 192.0.2.1, 192.0.2.0/24 or 2001:db8::/48"
    address_text, slash, _ = text.partition("/")
    try:
        address = ip_address(address_text)
    except ValueError:
        raise RegistryError(f"{text!r} is not an address; {example}") from None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise RegistryError(f"{text!r} names an interface; write the address without '%{address.scope_id}'")
        if address.ipv4_mapped is not None:
            mapped = address.ipv4_mapped
            raise RegistryError(f"{text!r} is an IPv4 address in IPv6 clothes; write {mapped}")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise RegistryError(f"{text!r} has no such prefix length; {example}") from None
    if slash and network.network_address != address:
        raise RegistryError(f"{text!r} has bits beyond its prefix; write {network}, or {address} for one machine")
    return _network_text(network)


def canonical_address(text: str) -> str:
    """One address in its one spelling; RegistryError where it is none."""
    found = canonical_network(text)
    if "/" in found:
        raise RegistryError(f"{text!r} is a prefix; write one address")
    return found


def _network_text(network: IPv4Network | IPv6Network) -> str:
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def is_known_secret(secret: str) -> bool:
    """Is it in every attacker's list?"""
    return secret.casefold() in KNOWN_SECRETS


def secret_weakness(secret: str) -> str | None:
    """Why a shared secret is weak; None where it is not. It protects every password on the way from NAS to server."""
    if is_known_secret(secret):
        return "a known default"
    if len(secret) < STRONG_SECRET_CHARACTERS:
        return f"only {len(secret)} characters, fewer than {STRONG_SECRET_CHARACTERS}"
    if len(set(secret)) < STRONG_SECRET_CHARACTERS // 2:
        return f"only {len(set(secret))} different characters"
    return None


def add_nas(connection: Connection, keys: KeyRing, settings: NasSettings, secret: str, now: Instant) -> None:
    """Write down a NAS; running servers see it within a second. RegistryError where its name or network is taken."""
    if connection.execute(select(nas.c.nas_id).where(nas.c.name == settings.name)).first() is not None:
        raise RegistryError(f"there is a NAS {settings.name!r} already; change it with: aaa nas set {settings.name}")
    _is_known_by_its_own(connection, settings)
    _class_is_possible(settings)
    row = _nas_values(settings) | {
        "secret_sealed": keys.seal(nas_secret(settings.name), secret.encode()),
        "created_at": now,
        "revised_at": _next_revision(connection, now),
    }
    connection.execute(insert(nas).values(row))


def change_nas(
    connection: Connection,
    keys: KeyRing | None,
    settings: NasSettings,
    now: Instant,
    *,
    secret: str | None,
    forget_previous: bool,
) -> None:
    """Write down what has changed of the NAS of that name. With a new `secret` (which needs `keys`) the one before stays
    accepted, until a later change says `forget_previous`."""
    before = nas_named(connection, settings.name)
    _is_known_by_its_own(connection, settings)
    _class_is_possible(settings)
    # What was seen of it, it did with other settings: it is believed again.
    connection.execute(delete(nas_observation).where(nas_observation.c.nas_id == before.nas_id))
    values = _nas_values(settings) | {"revised_at": _next_revision(connection, now)}
    if secret is not None:
        assert keys is not None
        values["previous_secret_sealed"] = before.secret_sealed
        values["secret_sealed"] = keys.seal(nas_secret(settings.name), secret.encode())
    if forget_previous:
        values["previous_secret_sealed"] = None
    connection.execute(update(nas).where(nas.c.nas_id == before.nas_id).values(values))


def begin_secret(connection: Connection, keys: KeyRing, name: str, now: Instant, *, secret: str) -> None:
    """Give a NAS a new secret; the one before stays accepted. RegistryError while an earlier change is not finished: of three
    secrets one would be lost, and it may be the one that the NAS has."""
    before = nas_named(connection, name)
    if before.previous_secret_sealed is not None:
        raise RegistryError(
            f"NAS {name!r} has two secrets already; first run: aaa nas rotate-secret {name} --finish (the NAS has the new one) "
            "or --cancel (it has the one before)"
        )
    change_nas(connection, keys, before.settings, now, secret=secret, forget_previous=False)


def end_secret(
    connection: Connection, keys: KeyRing, name: str, now: Instant, *, keep: Literal["new", "previous"]
) -> None:
    """Let one of a NAS's two secrets be the only one. RegistryError where it has only one."""
    before = nas_named(connection, name)
    if before.previous_secret_sealed is None:
        raise RegistryError(
            f"NAS {name!r} has one secret; nothing is being changed (see: aaa nas rotate-secret --help)"
        )
    if keep == "previous":
        keys.open(nas_secret(name), before.previous_secret_sealed)  # better an error now than a NAS without a secret
        stays = update(nas).where(nas.c.nas_id == before.nas_id)
        connection.execute(stays.values(secret_sealed=before.previous_secret_sealed))
    change_nas(connection, None, before.settings, now, secret=None, forget_previous=True)


def remove_nas(connection: Connection, name: str, *, with_live_sessions: bool) -> None:
    """Forget a NAS. RegistryError while it has live sessions, which nobody could command any more."""
    found = nas_named(connection, name)
    if found.live_sessions and not with_live_sessions:
        raise RegistryError(f"NAS {name!r} has {found.live_sessions} live sessions; wait for their end, or add --force")
    connection.execute(delete(nas_observation).where(nas_observation.c.nas_id == found.nas_id))
    connection.execute(delete(nas).where(nas.c.nas_id == found.nas_id))


def open_secret(keys: KeyRing, line: NasLine) -> str:
    """The NAS's shared secret; KeyRingError where these are not its keys."""
    return keys.open(nas_secret(line.settings.name), line.secret_sealed).decode("utf-8", "backslashreplace")


def nas_named(connection: Connection, name: str, now: Instant = 0) -> NasLine:
    """A NAS, and what was seen of it and still counts at `now`; RegistryError, with the name that was meant, where there is none."""
    row = connection.execute(_nas_lines().where(nas.c.name == name)).first()
    if row is None:
        known = connection.execute(select(nas.c.name).order_by(nas.c.name)).scalars().all()
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see: aaa nas list"
        raise RegistryError(f"there is no NAS {name!r}; {hint}")
    return _nas_line(row, _seen(connection, now))


def all_nases(connection: Connection, now: Instant = 0) -> list[NasLine]:
    """Every NAS, by name, with what was seen of it and still counts at `now`."""
    seen = _seen(connection, now)
    return [_nas_line(row, seen) for row in connection.execute(_nas_lines().order_by(nas.c.name))]


def _seen(connection: Connection, now: Instant) -> dict[int, list[Observation]]:
    by_nas: dict[int, list[Observation]] = {}
    for (nas_id, _), each in sorted(observations(connection, now).items()):
        by_nas.setdefault(nas_id, []).extend(each)
    return by_nas


def _nas_lines() -> Select[Any]:
    live = select(func.count()).where(session.c.nas_id == nas.c.nas_id, session.c.closed_at.is_(None))
    late = live.where(
        session.c.asked_interval_seconds > 0, session.c.interval_seconds > 2 * session.c.asked_interval_seconds
    )
    return select(nas, live.scalar_subquery().label("live_sessions"), late.scalar_subquery().label("late_sessions"))


def _nas_line(row: Row[Any], seen: Mapping[int, Sequence[Observation]]) -> NasLine:
    settings = NasSettings(**{name: getattr(row, name) for name in NasSettings.__slots__})
    return NasLine(
        row.nas_id, settings, row.secret_sealed, row.previous_secret_sealed, row.created_at, row.revised_at,
        row.live_sessions, row.late_sessions, tuple(seen.get(row.nas_id, ())),
    )  # fmt: skip


def _nas_values(settings: NasSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in NasSettings.__slots__}


def _class_is_possible(settings: NasSettings) -> None:
    if settings.enforcement_class is not None:
        why_not = refused(dialect(settings.dialect), settings.enforcement_class)
        if why_not is not None:
            raise RegistryError(why_not)


def _is_known_by_its_own(connection: Connection, settings: NasSettings) -> None:
    if settings.network is None and settings.certificate is None:
        raise RegistryError(f"NAS {settings.name!r} needs an address, or a certificate to know it by; give one of them")
    for column, value, rule in (
        (nas.c.network, settings.network, "is the network of NAS {!r} already; a packet can be from one only"),
        (nas.c.certificate, settings.certificate, "is the certificate of NAS {!r} already; each needs its own"),
    ):
        taken = select(nas.c.name).where(column == value, nas.c.name != settings.name)
        name = None if value is None else connection.execute(taken).scalar_one_or_none()
        if name is not None:
            raise RegistryError(f"{value} {rule.format(name)}")


def _next_revision(connection: Connection, now: Instant) -> Instant:
    """Later than every revision before, also where another machine's clock is ahead: servers watch the newest."""
    newest = connection.execute(select(func.max(nas.c.revised_at))).scalar_one()
    return now if newest is None else max(now, newest + 1)


# --- subscribers ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A subscriber to be written down, with what is to be kept of the password: at most one of `argon2`, `clear` and `nt`, which
    are sealed, and `sha256`."""

    username: str
    plan_name: str
    account_name: str
    """Made, in the plan's currency, where it is not there."""
    argon2: str | None
    clear: bytes | None
    max_sessions: int | None = None
    expires_at: Instant | None = None
    nt: bytes | None = None
    sha256: bytes | None = None
    contact: Contact = UNKNOWN


class SubscriberLine(NamedTuple):
    """A subscriber as operators see it."""

    subscriber_id: int
    account_id: int
    username: str
    account_name: str
    plan_name: str
    status: Status
    password_kept: Kept
    has_totp: bool
    max_sessions: int | None
    expires_at: Instant | None
    email: str | None
    phone: str | None
    language: str | None
    created_at: Instant
    live_sessions: int
    reply_attributes: Texts
    """His own, without the plan's; so are the conditions."""
    conditions: Conditions
    stations_learned: tuple[str, ...]
    own_addresses: Addresses
    period: PeriodLine | None
    """None: the plan is not sold by periods."""


class PeriodLine(NamedTuple):
    """Where a subscriber is in the periods of his plan."""

    state: str
    number: int
    end_at: Instant
    next_plan_name: str | None


def obstacles(connection: Connection, newcomers: Sequence[Newcomer]) -> list[tuple[int, str]]:
    """What stands against writing these down: the newcomer's index and what would be right, in their order."""
    plans = catalogue.current_plans(connection, {each.plan_name for each in newcomers})
    known_plans = list(plans) if len(plans) == len({n.plan_name for n in newcomers}) else _plan_names(connection)
    accounts = catalogue.account_currencies(connection, [each.account_name for each in newcomers])
    taken = _usernames(connection, [each.username for each in newcomers])
    found: list[tuple[int, str]] = []
    currency_of = {name: currency for name, (_, currency) in accounts.items()}
    seen: set[str] = set()
    for index, each in enumerate(newcomers):
        if each.username in taken or each.username in seen:
            found.append((index, f"there is a subscriber {each.username!r} already"))
        seen.add(each.username)
        version = plans.get(each.plan_name)
        if version is None:
            found.append((index, catalogue.no_plan(each.plan_name, known_plans)))
            continue
        currency = currency_of.setdefault(each.account_name, version.plan.currency)
        if currency != version.plan.currency:
            clash = (
                f"account {each.account_name!r} is in {currency}, plan {each.plan_name!r} in {version.plan.currency}"
            )
            found.append((index, f"{clash}; choose another account or plan"))
    return found


def enrol(
    connection: Connection, keys: KeyRing | None, newcomers: Sequence[Newcomer], now: Instant, actor: str
) -> None:
    """Write down subscribers, make the accounts that are not there, and grant each the allowances of its plan.

    `keys` are needed where a password is kept in clear. RegistryError where something stands against it.
    """
    if found := obstacles(connection, newcomers):
        raise RegistryError(found[0][1])
    plans = catalogue.current_plans(connection, {each.plan_name for each in newcomers})
    accounts = catalogue.account_ids(connection, [each.account_name for each in newcomers])
    missing = {
        each.account_name: plans[each.plan_name].plan.currency
        for each in newcomers
        if each.account_name not in accounts
    }
    accounts |= catalogue.add_accounts(connection, [NewAccount(*each) for each in missing.items()], now)
    ids: dict[str, int] = {}
    for some in in_parts(newcomers):
        rows = [_subscriber_values(each, accounts[each.account_name], keys, now) for each in some]
        connection.execute(insert(subscriber), rows)
        made = select(subscriber.c.username, subscriber.c.subscriber_id)
        made = made.where(subscriber.c.username.in_([each.username for each in some]))
        ids |= {row.username: row.subscriber_id for row in connection.execute(made)}
    grants = [
        grant_of(each.username, ids[each.username], accounts[each.account_name], plans[each.plan_name], actor)
        for each in newcomers
        if (sold := plans[each.plan_name].plan).allowances or sold.period is not None
    ]
    if grants:
        settle_in(connection, grants, now)


def grant_of(username: str, subscriber_id: int, account_id: int, version: catalogue.PlanVersion, actor: str) -> Grant:
    """The allowances of a plan's version, for a subscriber."""
    return Grant(account_id, version.plan_version_id, granted_as(username, version), actor, subscriber_id)


def granted_as(username: str, version: catalogue.PlanVersion) -> str:
    """The ledger's reference of what a plan's version brings a subscriber, once."""
    return f"subscriber:{username}:{version.plan.name}:{version.number}"


def _subscriber_values(each: Newcomer, account_id: int, keys: KeyRing | None, now: Instant) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "username": each.username,
        "plan_name": each.plan_name,
        "max_sessions": each.max_sessions,
        "expires_at": each.expires_at,
        "created_at": now,
        **each.contact._asdict(),
        **_password_values(each.username, Credential(each.argon2, each.clear, each.nt, each.sha256), keys),
    }


def _password_values(username: str, credential: Credential, keys: KeyRing | None) -> dict[str, Any]:
    def sealed(place: str, clear: bytes | None) -> bytes | None:
        if clear is None:
            return None
        assert keys is not None
        return keys.seal(place, clear)

    return {
        "password_argon2": credential.argon2,
        "password_sealed": sealed(subscriber_password(username), credential.clear),
        "password_nt_sealed": sealed(subscriber_nt_hash(username), credential.nt),
        "password_sha256": credential.sha256,
    }


def change_subscriber(connection: Connection, subscriber_id: int, values: Mapping[str, Any]) -> None:
    """Set columns of a subscriber: plan_name, max_sessions, expires_at, status, email, phone, language."""
    if values:
        connection.execute(update(subscriber).where(subscriber.c.subscriber_id == subscriber_id).values(**values))


def change_password(
    connection: Connection, keys: KeyRing | None, found: SubscriberLine, credential: Credential
) -> None:
    """Keep another password. `keys` are needed for what is sealed: the clear text and the NT hash."""
    change_subscriber(connection, found.subscriber_id, _password_values(found.username, credential, keys))


def change_totp(connection: Connection, keys: KeyRing | None, found: SubscriberLine, secret: bytes | None) -> None:
    """Ask for one-time codes made from this secret; None: for none."""
    sealed = None
    if secret is not None:
        assert keys is not None
        sealed = keys.seal(subscriber_totp(found.username), secret)
    change_subscriber(connection, found.subscriber_id, {"totp_sealed": sealed, "totp_step": None})


def arrange(
    connection: Connection, found: SubscriberLine, what: What, now: Instant, actor: str, *, reference: str | None = None
) -> None:
    """Another plan for a subscriber, or a pause. RegistryError where it can not be."""
    reference = reference or f"subscriber:{found.username}:{type(what).__name__.lower()}:{now}"
    item = Arrangement(found.account_id, found.subscriber_id, what, reference, actor)
    outcome = settle_in(connection, [item], now).outcomes[0]
    if isinstance(outcome, NotApplied):
        raise RegistryError(outcome.reason)


def look_again(connection: Connection, account_id: int, now: Instant) -> None:
    """Begin the periods of an account that nothing keeps from beginning any more."""
    settle_in(connection, [CatchUp(account_id)], now)


def clear_password(connection: Connection, keys: KeyRing, found: SubscriberLine) -> bytes:
    """The reversible password of a subscriber who has one."""
    chosen = select(subscriber.c.password_sealed).where(subscriber.c.subscriber_id == found.subscriber_id)
    sealed = connection.execute(chosen).scalar_one()
    return keys.open(subscriber_password(found.username), sealed)


def suspend(connection: Connection, found: SubscriberLine, now: Instant) -> int:
    """Let a subscriber log in no more, and disconnect what is on line; how many sessions that concerned."""
    change_subscriber(connection, found.subscriber_id, {"status": "suspended"})
    return cut(connection, found.account_id, found.subscriber_id, now)


def cut(connection: Connection, account_id: int, subscriber_id: int | None, now: Instant) -> int:
    """Disconnect a subscriber's sessions, or with None all of the account's; the running server does it."""
    done = settle_in(connection, [Cut(account_id, subscriber_id, None, "suspended")], now).outcomes[0]
    return int(getattr(done, "sessions", 0))


def remove_subscriber(connection: Connection, found: SubscriberLine, now: Instant, actor: str) -> None:
    """Forget a subscriber; the account, its money and the ledger stay, what is left of his period expires. RegistryError
    while there are live sessions."""
    if found.live_sessions:
        raise RegistryError(
            f"subscriber {found.username!r} has {found.live_sessions} live sessions; "
            f"first run: aaa subscriber suspend {found.username}"
        )
    leaving = Arrangement(found.account_id, found.subscriber_id, Leave(), f"subscriber:{found.username}", actor)
    settle_in(connection, [leaving], now)
    pools.free_own(connection, found.subscriber_id)
    connection.execute(delete(subscriber).where(subscriber.c.subscriber_id == found.subscriber_id))


def subscriber_named(connection: Connection, username: str) -> SubscriberLine:
    """A subscriber; RegistryError where there is none of that user name."""
    row = connection.execute(_subscriber_lines().where(subscriber.c.username == username)).first()
    if row is None:
        raise RegistryError(f"there is no subscriber {username!r}; see: aaa subscriber list")
    return _subscriber_line(row)


def subscribers(
    connection: Connection,
    *,
    account_name: str | None = None,
    plan_name: str | None = None,
    status: Status | None = None,
    limit: int,
) -> list[SubscriberLine]:
    """Subscribers by user name, at most `limit`."""
    chosen = _subscriber_lines().order_by(subscriber.c.username).limit(limit)
    if account_name is not None:
        chosen = chosen.where(account.c.name == account_name)
    if plan_name is not None:
        chosen = chosen.where(subscriber.c.plan_name == plan_name)
    if status is not None:
        chosen = chosen.where(subscriber.c.status == status)
    return [_subscriber_line(row) for row in connection.execute(chosen)]


def _subscriber_lines() -> Select[Any]:
    live = select(func.count()).where(
        session.c.account_id == subscriber.c.account_id,
        session.c.subscriber_id == subscriber.c.subscriber_id,
        session.c.closed_at.is_(None),
    )
    c, p = subscriber.c, subscription
    return select(
        c.subscriber_id, c.account_id, c.username, account.c.name.label("account_name"), c.plan_name, c.status,
        _KEPT.label("password_kept"), c.totp_sealed.is_not(None).label("has_totp"), c.max_sessions, c.expires_at,
        c.email, c.phone, c.language, c.created_at,
        live.scalar_subquery().label("live_sessions"), c.reply_attributes, c.conditions, c.stations_learned,
        *(c[f"own_{kind}"] for kind in KINDS), *(p.c[name].label(f"period_{name}") for name in PeriodLine._fields),
    ).join_from(subscriber, account, account.c.account_id == c.account_id).outerjoin(
        p, (p.c.account_id == c.account_id) & (p.c.subscriber_id == c.subscriber_id) & (p.c.state != "ended")
    )  # fmt: skip


def _subscriber_line(row: Row[Any]) -> SubscriberLine:
    read = row._asdict()
    learned = read.pop("stations_learned")
    of_period = [read.pop(f"period_{name}") for name in PeriodLine._fields]
    return SubscriberLine(
        reply_attributes=reply_attributes.from_text(read.pop("reply_attributes")),
        conditions=from_text(read.pop("conditions")),
        stations_learned=() if learned is None else tuple(json.loads(learned)),
        own_addresses=Addresses(*(read.pop(f"own_{kind}") for kind in KINDS)),
        period=None if of_period[0] is None else PeriodLine(*of_period),
        **read,
    )


#: How the password is kept, in the words of `Kept`.
_KEPT: Final = case(
    (subscriber.c.password_argon2.is_not(None), "argon2id"),
    (subscriber.c.password_sealed.is_not(None), "reversible"),
    (subscriber.c.password_nt_sealed.is_not(None), "nt-hash"),
    (subscriber.c.password_sha256.is_not(None), "secret"),
    else_="none",
)


def _usernames(connection: Connection, names: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for some in in_parts(sorted(set(names))):
        found |= set(connection.execute(select(subscriber.c.username).where(subscriber.c.username.in_(some))).scalars())
    return found


def _plan_names(connection: Connection) -> Iterable[str]:
    return list(catalogue.current_plans(connection))
