"""The aaa floor as it is built in the server, on a fake clock and a real database; nothing listens and nothing sleeps."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, event, insert, select, update
from sqlalchemy.engine import make_url
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock, deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import provider

from aaa import wire
from aaa.directory import NasDirectory, SubscriberDirectory
from aaa.drops import Drops
from aaa.handlers import Datagram, Rejects, Services, accounting, authentication
from aaa.keyring import KeyRing, nas_secret, subscriber_password
from aaa.passwords import hash_password
from aaa.replies import ReplyCache
from aaa.server import Story
from aaa.telling import tell
from aaa.verifier import Verifier
from aaa.wire import Attribute, Code, Packet
from charging import tables, transaction
from charging.database import open_engine
from charging.payment import Grant, money_bucket
from charging.plan import Allowance, Exhausted, Plan, Profile, digest, to_json
from charging.writer import Writer

#: 2026-03-01 12:00:00 UTC
NOON: Final = 1_772_366_400_000
NAS_ADDRESS: Final = "192.0.2.1"
SECRET: Final = b"a secret of this NAS, 32 octets."
PASSWORD: Final = b"correct horse"
RING: Final = KeyRing({1: b"k" * 32})

HOME: Final = Profile("home-20", rate_down_bps=20_000_000, rate_up_bps=5_000_000)
SLOW: Final = Profile("slow", rate_down_bps=256_000, rate_up_bps=128_000)
DATA: Final = Allowance("data", "octets", "total", 50_000_000_000)
PREPAID: Final = Plan("prepaid-50", "EUR", "UTC", HOME, allowances=(DATA,), exhausted=Exhausted("throttle", SLOW))

_ANY_CODE: Final = frozenset(Code)


class Thread:
    """A thread pool of the server, on this thread: work is done at once, or kept back until the test says `release`."""

    def __init__(self) -> None:
        self.holding = False
        self._held: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def __call__(self, work: Callable[[], Any]) -> Deferred[Any]:
        if not self.holding:
            return execute(work)
        done: Deferred[Any] = Deferred()
        self._held.append((work, done))
        return done

    def do_one(self) -> None:
        """Do the oldest piece that was kept back, if there is one."""
        if self._held:
            work, done = self._held.pop(0)
            execute(work).chainDeferred(done)

    def release(self) -> None:
        """Do what was kept back, and hold no longer."""
        self.holding = False
        held, self._held = self._held, []
        for work, done in held:
            execute(work).chainDeferred(done)


class Sent:
    """One datagram that was sent to the server; `reply` is None while, or because, the server is silent."""

    def __init__(self, datagram: bytes, story: Coroutine[Any, Any, bytes | None]) -> None:
        self.datagram = datagram
        self.reply: bytes | None = None
        self.done = False
        tell(story, self._finish)

    def _finish(self, reply: bytes | None) -> None:
        assert not self.done, "answered twice"
        self.reply, self.done = reply, True

    def answer(self, secret: bytes = SECRET) -> Packet:
        """The reply, which must be a right answer to what was sent."""
        assert self.reply is not None, "silence"
        packet = wire.parse(self.reply, _ANY_CODE)
        assert wire.verify_reply(packet, self.datagram, secret), "signed with another secret, or for another request"
        return packet

    def said(self, secret: bytes = SECRET) -> list[Attribute]:
        """The reply's attributes, decoded, without its Message-Authenticator."""
        return [each for each in wire.decode(self.answer(secret)) if each[0] != "Message-Authenticator"]

    def value(self, name: str, secret: bytes = SECRET) -> int | str | bytes | None:
        """The first value of an attribute of the reply."""
        return next((value for key, value in self.said(secret) if key == name), None)


class AtOnce(Clock):
    """A clock for a reactor that is at rest: what is due at once is done at once."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def seconds(self) -> float:
        return self._clock.seconds()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kw: object) -> Any:  # noqa: A002, N802
        """Twisted's."""
        return self._clock.callLater(delay, callable, *args, **kw) if delay else callable(*args, **kw)


class Floor:
    """Everything of the aaa floor, and what a test does with it: rows that an operator writes, packets that NASes send."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        most_queued: int = 8192,
        serving: Engine | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """`engine` is the operator's, `serving` the server's; one may be both. With a `chance` of their own sessions have the
        same ids, and so the same reporting intervals, in every run: for one floor of a database."""
        self.engine = engine
        self.serving = serving = serving or engine
        self.clock = clock
        self.keys = RING
        self.lookups, self.passwords, self.writing, self.chores = Thread(), Thread(), Thread(), Thread()
        self.nases = NasDirectory(serving, self.keys)
        self.services = Services(
            engine=serving,
            nases=self.nases,
            subscribers=SubscriberDirectory(serving, self.keys, self.lookups),
            verifier=Verifier(self.passwords),
            writer=Writer(serving, self.writing, self.now, most_queued=most_queued, chance=chance),
            replies=ReplyCache(),
            drops=Drops(),
            token_keys=self.keys.token_keys,
            now=self.now,
            wait_until=self._wait_until,
            in_thread=self.chores,
            rejects=Rejects(),
        )
        self._identifier = 0

    def now(self) -> int:
        return NOON + round(self.clock.seconds() * 1000)

    async def _wait_until(self, instant: int) -> None:
        await deferLater(self.clock, max(0, instant - self.now()) / 1000)

    # --- what operators write ------------------------------------------------------------------------------------

    def add_nas(
        self, name: str = "bras-1", network: str | None = NAS_ADDRESS, *, secret: bytes = SECRET,
        previous: bytes | None = None, dialect: str = "generic", require: str = "yes", limit_proxy_state: bool = True,
        revised_at: int | None = None, certificate: str | None = None,
    ) -> int:  # fmt: skip
        place = nas_secret(name)
        row = {
            "name": name,
            "network": network,
            "certificate": certificate,
            "secret_sealed": self.keys.seal(place, secret),
            "previous_secret_sealed": None if previous is None else self.keys.seal(place, previous),
            "dialect": dialect,
            "require_message_authenticator": require,
            "limit_proxy_state": limit_proxy_state,
            "created_at": self.now(),
            "revised_at": self.now() if revised_at is None else revised_at,
        }
        with self.engine.begin() as connection:
            made = connection.execute(insert(tables.nas).values(row).returning(tables.nas.c.nas_id)).scalar_one()
        self.nases.refresh()
        return int(made)

    def set_nas(self, name: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            changed = {"revised_at": self.now(), **values}
            connection.execute(update(tables.nas).where(tables.nas.c.name == name).values(changed))

    def add_plan(self, plan: Plan = PREPAID) -> int:
        with self.engine.begin() as connection:
            known = connection.execute(
                select(tables.plan.c.plan_version_id).where(tables.plan.c.name == plan.name)
            ).scalar()
            if known is not None:
                return int(known)
            version = insert(tables.plan_version).values(
                plan_name=plan.name, number=1, content=to_json(plan), digest=digest(plan), loaded_at=self.now()
            )
            made = connection.execute(version.returning(tables.plan_version.c.plan_version_id)).scalar_one()
            connection.execute(insert(tables.plan).values(name=plan.name, plan_version_id=made))
        return int(made)

    def add_unreadable_plan(self, name: str) -> int:
        """A plan whose content no version of the server understands."""
        with self.engine.begin() as connection:
            version = insert(tables.plan_version).values(
                plan_name=name, number=1, content="{}", digest="", loaded_at=self.now()
            )
            made = connection.execute(version.returning(tables.plan_version.c.plan_version_id)).scalar_one()
            connection.execute(insert(tables.plan).values(name=name, plan_version_id=made))
        return int(made)

    def add_subscriber(
        self, username: str = "alice", password: bytes = PASSWORD, *, plan: Plan = PREPAID, chap: bool = True,
        granted: bool = True, **columns: Any,
    ) -> int:  # fmt: skip
        """A subscriber with an account of his own; its id. `granted=False`: nothing is left to use."""
        plan_version_id = self.add_plan(plan)
        now = self.now()
        sealed = self.keys.seal(subscriber_password(username), password) if chap else None
        with self.engine.begin() as connection:
            account = insert(tables.account).values(name=username, currency=plan.currency, created_at=now)
            account_id = int(connection.execute(account.returning(tables.account.c.account_id)).scalar_one())
            bucket = money_bucket(account_id, 1, now)
            names = [c.key for c in tables.bucket.columns]
            connection.execute(insert(tables.bucket).values({name: getattr(bucket, name) for name in names}))
            row = {
                "account_id": account_id,
                "username": username,
                "plan_name": plan.name,
                "password_sealed": sealed,
                "password_argon2": None if chap else hash_password(password),
                "created_at": now,
            }
            connection.execute(insert(tables.subscriber).values(row | columns))
            if granted:
                item = Grant(account_id, plan_version_id, f"subscriber:{username}", "test")
                transaction.settle_in(connection, [item], now)
        return account_id

    def rows(self, table: Any) -> list[Any]:
        """All rows of a table."""
        with self.engine.connect() as connection:
            return list(connection.execute(select(table)))

    # --- what NASes send -----------------------------------------------------------------------------------------

    def send_access(self, datagram: bytes, source: str = NAS_ADDRESS, port: int = 1645) -> Sent:
        return self._send(authentication, datagram, source, port, "auth 0.0.0.0")

    def send_accounting(self, datagram: bytes, source: str = NAS_ADDRESS, port: int = 1646) -> Sent:
        return self._send(accounting, datagram, source, port, "acct 0.0.0.0")

    def login(
        self, username: str = "alice", password: bytes = PASSWORD, *, more: Sequence[Attribute] = (),
        signed: bool = True, secret: bytes = SECRET, source: str = NAS_ADDRESS,
    ) -> Sent:  # fmt: skip
        """A fresh Access-Request with PAP."""
        attributes: list[Attribute] = [("User-Name", username), ("User-Password", password), *more]
        return self.send_access(self.access_request(attributes, signed=signed, secret=secret), source)

    def report(
        self, kind: int, *more: Attribute, username: str = "alice", acct_session_id: str = "0000002A",
        secret: bytes = SECRET, source: str = NAS_ADDRESS,
    ) -> Sent:  # fmt: skip
        """A fresh Accounting-Request."""
        attributes: list[Attribute] = [
            ("Acct-Status-Type", kind), ("User-Name", username), ("Acct-Session-Id", acct_session_id), *more
        ]  # fmt: skip
        return self.send_accounting(self.accounting_request(attributes, secret=secret), source)

    def access_request(
        self, attributes: Sequence[Attribute], *, signed: bool = True, secret: bytes = SECRET,
        identifier: int | None = None,
    ) -> bytes:  # fmt: skip
        number = self._next() if identifier is None else identifier
        return wire.request(Code.ACCESS_REQUEST, number, attributes, secret, message_authenticator=signed)

    def accounting_request(
        self, attributes: Sequence[Attribute], *, secret: bytes = SECRET, identifier: int | None = None
    ) -> bytes:
        number = self._next() if identifier is None else identifier
        return wire.request(Code.ACCOUNTING_REQUEST, number, attributes, secret, message_authenticator=False)

    def status_request(self, *, signed: bool = True, secret: bytes = SECRET) -> bytes:
        return wire.request(Code.STATUS_SERVER, self._next(), (), secret, message_authenticator=signed)

    def _next(self) -> int:
        self._identifier = (self._identifier + 1) % 256
        return self._identifier

    def _send(self, story: Story, datagram: bytes, source: str, port: int, listener: str) -> Sent:
        return Sent(datagram, story(self.services, Datagram(datagram, source, port, listener)))

    @property
    def dropped(self) -> dict[str, int]:
        """Reasons for silence so far."""
        return dict(self.services.drops.counts)


class Outage:
    """Takes the database away from under an open engine, and gives it back."""

    def __init__(self, engine: Engine, server_uri: Callable[[], str]) -> None:
        self._engine = engine
        self._server_uri = server_uri

    def begin(self) -> None:
        if self._engine.dialect.name == "sqlite":
            self._engine.dispose()
            path = self._path()
            shutil.move(path, path.with_suffix(".away"))
            path.mkdir()
            return
        self._allow_connections(sql.SQL("false"))

    def end(self) -> None:
        if self._engine.dialect.name == "sqlite":
            path = self._path()
            path.rmdir()
            shutil.move(path.with_suffix(".away"), path)
            return
        self._allow_connections(sql.SQL("true"))
        self._engine.dispose()  # the test's own connections; the server finds out by itself that its are gone

    def _path(self) -> Path:
        assert self._engine.url.database is not None
        return Path(self._engine.url.database)

    def _allow_connections(self, word: sql.SQL) -> None:
        name = self._engine.url.database
        assert name is not None
        with psycopg.connect(self._server_uri(), autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), word))
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


@pytest.fixture(autouse=True)
def nothing_unhandled() -> Iterator[None]:
    """No Deferred may end with an error that nobody took."""
    found: list[Any] = []

    @provider(ILogObserver)
    def watch(event: LogEvent) -> None:
        if "log_failure" in event:
            found.append(event["log_failure"])

    globalLogPublisher.addObserver(watch)
    yield
    globalLogPublisher.removeObserver(watch)
    assert not found, found


@pytest.fixture
def floor(engine: Engine, clock: Clock) -> Iterator[Floor]:
    """The aaa floor on each kind of database, with one NAS and one subscriber. On PostgreSQL the server has its own role
    (`aaa db roles`), so that whatever it needs and may not do fails here."""
    if engine.dialect.name == "sqlite":
        yield _furnished(engine, clock)
        return
    serving = open_engine(engine.url.render_as_string(hide_password=False))

    @event.listens_for(serving, "connect")
    def become(connection: Any, _record: object) -> None:
        connection.execute("SET ROLE aaa_server")
        connection.commit()

    yield _furnished(engine, clock, serving)
    serving.dispose()


@pytest.fixture
def sqlite_floor(sqlite_url: str, clock: Clock) -> Iterator[Floor]:
    """The same on SQLite only, for what no database can make a difference to."""
    engine = open_engine(sqlite_url)
    yield _furnished(engine, clock)
    engine.dispose()


@pytest.fixture
def outage(floor: Floor, request: pytest.FixtureRequest) -> Outage:
    """What a database administrator does to `floor`'s database."""
    return Outage(floor.engine, lambda: make_libpq(request.getfixturevalue("postgres_server")))


def make_libpq(uri: str) -> str:
    """A server's URI as psycopg takes it."""
    return make_url(uri).set(drivername="postgresql").render_as_string(hide_password=False)


def _furnished(engine: Engine, clock: Clock, serving: Engine | None = None) -> Floor:
    floor = Floor(engine, clock, serving=serving)
    floor.add_nas()
    floor.add_subscriber()
    return floor
