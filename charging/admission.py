"""Letting a session begin: counted, held and opened in one place, so that two logins at one instant can not both pass."""

from __future__ import annotations

from typing import NamedTuple

from charging.addresses import NO_ADDRESSES, Addresses, Leases
from charging.book import Book, Opening
from charging.enforcement import CAPPED, EXHAUSTED, at_maximum, come_to_cap, ended, profile_of, reserve
from charging.level import capped_seconds
from charging.plan import Instant, Plan, Profile
from charging.renewal import first_use
from charging.session import PROVISIONAL_MS, Means, Session, Wanted
from charging.slices import ALL, LEAST_INTERVAL_SECONDS, as_usual, paid_seconds, paid_until
from charging.zone import realm_of


class Login(NamedTuple):
    """A subscriber whose password was right asks to begin a session."""

    account_id: int
    subscriber_id: int
    username: str
    plan_version_id: int
    max_sessions: int | None
    """The subscriber's own limit; None: the plan's."""
    expires_at: Instant | None
    nas_id: int
    nas_address: str
    device_key: str
    """Empty where the request says neither port nor calling station."""
    calling_station: str | None = None
    nas_port_id: str | None = None
    means: Means = "profile"
    """What this NAS can be made to do."""
    least_interval_seconds: int = LEAST_INTERVAL_SECONDS
    """How often it can be made to report at most."""
    again: bool = False
    """This NAS asks about running sessions too: one of the same device is answered for, not replaced."""
    nas_group: str = ""
    called_station: str = ""
    service_class: str = ""
    own_addresses: Addresses = NO_ADDRESSES
    """The subscriber's, whatever pool there is: only one session at a time can have them."""


class Admitted(NamedTuple):
    """The session that was opened, and what the NAS is to be told about it."""

    account_id: int
    session_id: int
    wanted: Wanted
    profile: Profile
    interim_interval_seconds: int
    time_limit_seconds: int | None
    """When the session must end whatever is paid: the profile's limit, the subscriber's expiry."""
    paid_seconds: int | None
    """Where time is charged: how long the balance lasts, in whole charging steps."""
    addresses: Addresses = NO_ADDRESSES
    """The subscriber's own, and those of a pool that are the session's until it ends."""
    cap_seconds: int | None = None
    """Where the NAS can be told nothing better: how long what is held lasts at the line's rate."""
    limit_octets: int | None = None
    """Where the NAS counts for us: up and down together, from the session's start."""
    paced: bool = False
    """It is to run at another speed than its plan's own profile has: so that what is left lasts, by fair use, by the hour."""
    again: bool = False
    """A session of this device runs already: its NAS may only be asking again."""


class Refused(NamedTuple):
    """Why not: suspended, too-many-sessions, address-in-use, exhausted, cap, address-pool-exhausted, address-pool-unknown; or
    disconnected, where it was asked again."""

    reason: str


def admit(book: Book, login: Login, now: Instant, leases: Leases | None = None) -> Admitted | Refused:
    """Open a provisional session with its first hold and its addresses, or say why not. `leases`: what the pools have."""
    leases = Leases() if leases is None else leases
    if book.subscriptions:
        login = _under_contract(book, login, now)
    plan = book.plans(login.plan_version_id)
    if book.account.status != "active":
        return Refused("suspended")
    running = _running(book, login)
    if running is not None:
        return _still(book, running, login, now, leases)
    known = _waiting(book, login)
    limit = plan.max_sessions if login.max_sessions is None else login.max_sessions
    if limit is not None and known is None and len(_others(book, login)) >= limit:
        return Refused("too-many-sessions")
    if login.own_addresses != NO_ADDRESSES and known is None and _others(book, login):
        return Refused("address-in-use")
    session = known or _open(book, login, plan, now)
    session.stale_at = now + PROVISIONAL_MS
    session.last_report_at = session.last_event_at = now
    session.wanted, session.wanted_reason, session.means = "full", "", login.means
    session.limit_octets = None
    as_usual(plan, session)
    session.timeout_seconds = session.exhausted_at = session.exhausted_until = session.review_at = None
    session.profile = session.cap = ""
    if not reserve(book, session, plan, now, login.least_interval_seconds):
        book.release(session)
        capped = come_to_cap(book, session, plan, now) is not None
        if ended(plan, session).action == "disconnect" or (not capped and at_maximum(book, session, plan, now)):
            if known is None:
                book.drop_session(session)
            return Refused(CAPPED if capped else EXHAUSTED)
        reason = CAPPED if capped else EXHAUSTED
        session.wanted, session.wanted_reason, session.exhausted_at = "exhausted", reason, now
    pool = pool_of(plan, profile_of(plan, session))
    addresses = leases.take(session.account_id, session.root_id, pool, login.own_addresses)
    if isinstance(addresses, str):
        if known is None:
            book.drop_session(session)
        return Refused(addresses)
    session.leased = sum(a is not None and a != o for a, o in zip(addresses, login.own_addresses, strict=True))
    if known is None and addresses.ipv4 is not None:
        book.new_sessions[session.session_id] = book.new_sessions[session.session_id]._replace(
            framed_address=addresses.ipv4
        )
    book.told_at_login(session, now)
    return _admitted(book, session, plan, login, addresses, now)


def _under_contract(book: Book, login: Login, now: Instant) -> Login:
    """A login to a plan that is sold by periods: the first one may begin now, and its version is the period's."""
    if book.account.status == "active":
        first_use(book, login.subscriber_id, now)
    subscription = book.subscriptions.get(login.subscriber_id)
    if subscription is None or subscription.state == "ended":
        return login
    return login._replace(plan_version_id=subscription.plan_version_id)


def _admitted(book: Book, session: Session, plan: Plan, login: Login, addresses: Addresses, now: Instant) -> Admitted:
    profile = profile_of(plan, session)
    paid = paid_seconds(book, session, plan, now)
    cap = session.timeout_seconds if session.wanted == "full" else ended(plan, session).grace_seconds
    if session.wanted == "full":
        session.timeout_seconds = min((each for each in (paid, cap) if each is not None), default=None)
    return Admitted(
        session.account_id,
        session.session_id,
        session.wanted,
        profile,
        session.asked_interval_seconds or session.interval_seconds,
        _time_limit(book, session, profile, login.expires_at, now),
        paid,
        addresses,
        cap,
        session.limit_octets,
        session.wanted == "full" and (session.pace_permille != ALL or bool(session.profile)),
        any(_same_device(each, login) for each in book.live_sessions() if each is not session),
    )


def pool_of(plan: Plan, profile: Profile) -> str | None:
    """The pool that a session with this profile gets its addresses from. The exhausted profile may name one of its own, or
    one of the NAS's; where it names neither, it is as in credit."""
    if profile.address_pool is not None or profile.pool is not None:
        return profile.address_pool
    return plan.profile.address_pool


def pools_of(plan: Plan) -> set[str]:
    """All pools that a login with this plan may ask for."""
    profiles = (plan.profile, plan.exhausted.profile, *plan.profiles.values(), *(c.reached.profile for c in plan.caps))
    return {each.address_pool for each in profiles if each is not None and each.address_pool is not None}


def _running(book: Book, login: Login) -> Session | None:
    """The session that a NAS asks again about: the device's newest that has reported."""
    if not login.again or not login.device_key:
        return None
    same = [session for session in book.live_sessions() if _same_device(session, login)]
    return max(same, key=lambda session: session.created_at, default=None)


def _same_device(session: Session, login: Login) -> bool:
    """Has the subscriber's device reported this session?"""
    return (
        session.subscriber_id == login.subscriber_id
        and session.device_key == login.device_key != ""
        and session.acct_session_id is not None
    )


def _still(book: Book, session: Session, login: Login, now: Instant, leases: Leases) -> Admitted | Refused:
    """What is wanted of a running session now. It holds its slice already, and its reports decide about it."""
    if session.wanted == "cut":
        return Refused(session.wanted_reason if session.wanted_reason in {EXHAUSTED, CAPPED} else "disconnected")
    addresses = leases.held_by(session.account_id, session.root_id, login.own_addresses)
    return _admitted(book, session, book.plans(session.plan_version_id), login, addresses, now)


def _waiting(book: Book, login: Login) -> Session | None:
    """The session of an earlier Accept for the same device that no report has followed: the NAS asks again."""
    for session in book.live_sessions():
        if (
            session.state == "provisional"
            and session.acct_session_id is None
            and session.subscriber_id == login.subscriber_id
            and session.plan_version_id == login.plan_version_id
            and session.nas_address == login.nas_address
            and session.device_key == login.device_key != ""
        ):
            return session
    return None


def _others(book: Book, login: Login) -> list[Session]:
    """The subscriber's live sessions on other devices: one from the same device is about to be replaced."""
    return [
        s
        for s in book.live_sessions()
        if s.subscriber_id == login.subscriber_id
        and not (s.nas_id == login.nas_id and s.device_key == login.device_key != "")
    ]


def _open(book: Book, login: Login, plan: Plan, now: Instant) -> Session:
    session_id = book.new_id()
    interval = plan.profile.interim_interval_seconds
    return book.add_session(
        Session(
            account_id=login.account_id,
            session_id=session_id,
            subscriber_id=login.subscriber_id,
            plan_version_id=login.plan_version_id,
            nas_id=login.nas_id,
            nas_address=login.nas_address,
            root_id=session_id,
            device_key=login.device_key,
            session_key=None,
            acct_session_id=None,
            created_at=now,
            closed_at=None,
            close_reason=None,
            state="provisional",
            started_at=None,
            last_report_at=now,
            last_event_at=now,
            stale_at=now + PROVISIONAL_MS,
            # A little longer for some than for others, or a reconnect storm comes back with every interval.
            interval_seconds=interval + session_id % (interval // 10 + 1),
            wanted="full",
            posted_at=now,
            nas_group=login.nas_group,
            called_station=login.called_station,
            realm=realm_of(login.username),
            service_class=login.service_class,
        ),
        Opening(login.username, login.nas_port_id, login.calling_station, None),
    )


def _time_limit(book: Book, session: Session, profile: Profile, expires_at: Instant | None, now: Instant) -> int | None:
    limits = [] if profile.session_timeout_seconds is None else [profile.session_timeout_seconds]
    plan = book.plans(session.plan_version_id)
    if session.wanted == "full" and plan.exhausted.action == "disconnect" and not book.is_plain(plan):
        # Where time alone ends it, the NAS is told when.
        until = paid_until(book, session, plan, now)
        if until is not None:
            limits.append(max(1, (until - now) // 1000))
    if session.wanted == "full" and plan.caps:
        capped = capped_seconds(book.counted, session.subscriber_id, plan, now)
        if capped is not None:
            limits.append(capped)
    subscription = book.subscriptions.get(session.subscriber_id)
    if subscription is not None and session.means == "time" and subscription.due_at is not None:
        # Nobody can tell this NAS when a period is over and not paid.
        limits.append(max(1, (max(subscription.due_at, subscription.end_at) - now) // 1000))
    if expires_at is not None:
        limits.append(max(1, (expires_at - now) // 1000))
    return min(limits, default=None)
