"""`aaa serve`: the composition root. Everything that lives in the server is made here, and nowhere else."""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click
from sqlalchemy import Engine

from aaa.keyring import KeyRing, KeyRingError
from aaa.realms import NO_REALMS, Realms
from charging.plan import Instant
from cli.config import Config, Setup, pass_setup

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IListeningPort
    from twisted.internet.task import LoopingCall
    from twisted.python.failure import Failure

    from aaa.dynauth import Ports
    from aaa.handlers import EapLogins, Services
    from aaa.radsec import Connections, RadSec
    from aaa.remembered import RememberedLogins
    from aaa.replay import Replay
    from aaa.runner import Runner
    from aaa.spool import Spool
    from aaa.tracing import Tracing
    from charging.jobs import Jobs
    from charging.notices.postman import Postman, PostOffice
    from charging.notices.settings import Settings as Notices
    from charging.retention import Retention
    from charging.writer import Writer
    from cli.spread import Board

T = TypeVar("T")

MOST_PROCESSES = 64

#: Requests make many short-lived objects and hardly any cycles: with Python's own thresholds a fifth of the time of a
#: busy server goes into looking for them.
GC_THRESHOLDS = (50_000, 50, 100)
#: How long what is under way may take to end after the server was told to stop.
STOP_WITHIN_SECONDS = 10
#: How soon a change of the NAS table is seen.
NAS_TABLE_EVERY_SECONDS = 1.0


@click.command(epilog="Example: aaa serve --listen 127.0.0.1 --auth-port 1812 --acct-port 1813")
@click.option("--listen", "addresses", multiple=True, metavar="ADDR", help="Address to listen on; may be repeated.")
@click.option("--auth-port", type=click.IntRange(0, 65535), help="Authentication port; 0 takes a free one.")
@click.option("--acct-port", type=click.IntRange(0, 65535), help="Accounting port; 0 takes a free one.")
@click.option("--radsec-port", type=click.IntRange(0, 65535), help="Port for RADIUS over TLS; 0 takes a free one.")
@click.option("--processes", type=click.IntRange(1, MOST_PROCESSES), help="How many share the ports (PostgreSQL only).")
@click.option("--node", metavar="NAME", help="This server's name among several on one database.")
@click.option(
    "--spool-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where reports are kept while the database is away.",
)
@pass_setup
def serve(
    setup: Setup,
    addresses: tuple[str, ...],
    auth_port: int | None,
    acct_port: int | None,
    radsec_port: int | None,
    processes: int | None,
    node: str | None,
    spool_dir: Path | None,
) -> None:
    """Run the RADIUS server until it is told to stop (SIGTERM or Ctrl-C).

    NASes, plans, subscribers and top-ups may change while it runs; it sees them within a second.
    """
    from aaa.sealed import require_keys
    from aaa.spool import processes_needed
    from charging.database import reading
    from cli import log

    config = setup.config
    config = replace(
        config,
        listen=addresses or config.listen,
        auth_port=config.auth_port if auth_port is None else auth_port,
        acct_port=config.acct_port if acct_port is None else acct_port,
        radsec_port=config.radsec_port if radsec_port is None else radsec_port,
        processes=config.processes if processes is None else processes,
        node=node or config.node,
    )
    engine, keys = setup.engine(), setup.key_ring()
    with reading(engine) as connection:
        require_keys(connection, keys, setup.keys_file())
    log.configure(config.log_level, config.log_format)
    if engine.url.password:
        log.hide(engine.url.password)
    spool_folder = spool_dir or setup.spool_folder(config.node)
    # What a process left in its spool is booked, also where there are fewer of them now.
    count = max(config.processes, processes_needed(spool_folder))
    if count == 1:
        code = _run(config, engine, keys, spool_folder)
    else:
        code = _run_several(count, config, engine, keys, spool_folder)
    if code:
        raise click.exceptions.Exit(code)


def _run_several(count: int, config: Config, engine: Engine, keys: KeyRing, spool_folder: Path) -> int:
    """As many processes, each a node of its own on the database they share; the exit code of them all."""
    from twisted.internet.error import CannotListenError

    from aaa.sockets import require_free
    from aaa.spool import folder_of
    from cli import log
    from cli.processes import run_together
    from cli.spread import Board

    if engine.dialect.name == "sqlite":
        raise click.UsageError("one process alone writes a SQLite file; leave --processes away, or use PostgreSQL")
    ports = [(config.auth_port, False), (config.acct_port, False)]
    if config.radsec_port is not None:
        ports.append((config.radsec_port, True))
    if any(port == 0 for port, _ in ports):
        raise click.UsageError("several processes share a port that is known: with --processes, name one that is not 0")
    try:
        require_free(config.listen, ports)
    except CannotListenError as error:
        raise click.ClickException(_why_not(error)) from error
    # A connection that two processes inherit is of use to neither.
    engine.dispose()
    board = Board(count)

    def run(number: int) -> int:
        node = config.node_name if number == 1 else f"{config.node_name}.{number}"
        log.configure(config.log_level, config.log_format, {"node": node})
        return _run(replace(config, node=node), engine, keys, folder_of(spool_folder, number), board, number - 1)

    return run_together(count, run)


class Pool(Protocol):
    """Makes a `run`: what brings blocking work to threads of its own and their results back."""

    def __call__(self, name: str, threads: int) -> Callable[[Callable[[], T]], Deferred[T]]:
        """At most `threads` pieces of work at a time."""
        ...


@dataclass(frozen=True, slots=True)
class Server:
    """What lives in the server and is woken, started and stopped."""

    services: Services
    writer: Writer
    runner: Runner
    jobs: Jobs
    ports: Ports
    watching: LoopingCall
    """Looks for changes of the NAS table."""
    replay: Replay | None
    postman: Postman | None
    deadline_ms: int
    connections: Connections | None
    """Of NASes over TLS."""

    def start(self) -> None:
        """Begin what the server does by itself."""
        clock, subscribers = self.watching.clock, self.services.subscribers
        # Whoever is looked up now logs in next.
        self.writer.watch(clock, deadline_ms=self.deadline_ms, before=subscribers.lookups)
        subscribers.watch(clock, deadline_ms=self.deadline_ms)
        if self.replay is not None:
            self.replay.start()
        self.watching.start(NAS_TABLE_EVERY_SECONDS, now=False)
        self.jobs.start()
        self.runner.start()
        if self.services.tracing is not None:
            self.services.tracing.start(self.watching.clock)
        if self.connections is not None:
            self.connections.start()
        if self.postman is not None:
            self.postman.start()

    async def stop(self) -> None:
        """End it; what is under way is settled, answered by nobody, and asked again by its NAS."""
        self.watching.stop()
        if self.services.tracing is not None:
            self.services.tracing.stop()
        if self.connections is not None:
            self.connections.stop()
        if self.replay is not None:
            await self.replay.stop()
        await self.jobs.stop()
        if self.postman is not None:
            await self.postman.stop()
        await self.runner.stop()
        await self.ports.stop()
        await self.writer.idle()
        self.writer.unwatch()
        self.services.subscribers.unwatch()
        if self.services.spool is not None:
            await self.services.spool.close()


def build(
    engine: Engine,
    keys: KeyRing,
    node_name: str,
    reactor: Any,
    in_pool: Pool,
    now: Callable[[], Instant],
    *,
    on_disk_failed: Callable[[], None],
    in_lane: Pool | None = None,
    chance: random.Random | None = None,
    spool: Spool | None = None,
    remembered: RememberedLogins | None = None,
    deadline_ms: int = 2_000,
    eap: EapLogins | None = None,
    realms: Realms = NO_REALMS,
    tracing: Tracing | None = None,
    radsec: RadSec | None = None,
    post_office: PostOffice | None = None,
    remind_ahead_ms: int = 3 * 86_400_000,
    retention: Retention | None = None,
) -> Server:
    """Make the server; nothing listens yet and nothing runs. Reads the NAS table: the database's errors.

    `reactor`, `in_pool`, `now`, `chance` and `spool` are all that it knows of the machine it runs on; what every packet
    waits for is done by `in_lane`, where that is not the same. Without a spool,
    what the database does not take is not answered; without `remembered`, nobody gets in without it. A database that
    does not answer within `deadline_ms` is taken to be away. Without `eap`, EAP is refused; without `radsec`, there are no
    connections over TLS; without a `post_office`, nobody is sent a notice.
    """
    import structlog
    from twisted.internet import task

    from aaa.attempts import Attempts
    from aaa.directory import NasDirectory, SubscriberDirectory
    from aaa.drops import Drops
    from aaa.dynauth import Ports
    from aaa.handlers import Rejects, Services
    from aaa.replay import Replay
    from aaa.replies import ReplyCache
    from aaa.runner import Runner
    from aaa.verifier import Verifier
    from charging.jobs import Jobs
    from charging.writer import Writer

    log = structlog.get_logger("aaa.serve")
    chores = in_pool("chores", 2)
    in_lane = in_lane or in_pool
    writer = Writer(engine, in_lane("writer", 1), now, chance=chance, on_disk_failed=on_disk_failed)
    writer.on_unavailable = lambda why: log.error("database-away", problem=why)
    writer.on_available = lambda: log.info("database-back")
    nases = NasDirectory(engine, keys)
    nases.refresh()
    ports = Ports(reactor, chance=chance)
    runner = Runner(engine, writer, nases, ports, in_lane("commands", 1), reactor, node_name, now)
    writer.on_commands = runner.wake
    jobs = Jobs(
        engine,
        writer,
        in_pool("jobs", 1),
        now,
        reactor,
        on_failure=lambda name, error: log.error("job-failed", job=name, problem=str(error)),
        on_recovery=lambda name: log.info("job-recovered", job=name),
        reports_wait=lambda: spool is not None and spool.status.records > 0,
    )
    jobs.remind_ahead_ms, jobs.retention = remind_ahead_ms, retention
    jobs.run_looks = in_lane("inboxes", 1)

    async def wait_until(instant: int) -> None:
        await task.deferLater(reactor, max(0, instant - now()) / 1000)

    services = Services(
        engine=engine,
        nases=nases,
        subscribers=SubscriberDirectory(engine, keys, in_lane("lookups", 1)),
        verifier=Verifier(in_pool("passwords", os.cpu_count() or 1)),
        writer=writer,
        replies=ReplyCache(),
        drops=Drops(),
        token_keys=keys.token_keys,
        now=now,
        wait_until=wait_until,
        in_thread=chores,
        rejects=Rejects(),
        spool=spool,
        remembered=remembered,
        eap=eap,
        attempts=Attempts(),
        realms=realms,
        tracing=tracing,
        log=structlog.get_logger("aaa").bind(),
    )

    connections = None
    if radsec is not None:
        from aaa.radsec import Connections

        runner.connections = connections = Connections(services, radsec, reactor, runner.wake)

    def refresh() -> Deferred[None]:
        def failed(failure: Failure) -> None:
            log.warning("nas-directory-not-read", problem=str(failure.value))

        def look() -> None:
            try:
                if keys.refresh():
                    log.info("keys-read", newest=keys.newest, keys=len(keys.numbers))
            except KeyRingError as error:
                log.error("keys-not-read", problem=str(error))  # noqa: TRY400  the operator's fault, not ours
            nases.refresh(now())

        return chores(look).addErrback(failed)

    watching = task.LoopingCall(refresh)
    watching.clock = reactor
    replay = None if spool is None else Replay(spool, writer, nases, keys.token_keys, reactor, now, realms)
    if spool is not None:
        spool.on_failed = lambda _problem: on_disk_failed()
    return Server(
        services,
        writer,
        runner,
        jobs,
        ports,
        watching,
        replay,
        None if post_office is None else _postman(engine, post_office, reactor, in_pool, now, node_name, chance),
        deadline_ms,
        connections,
    )


async def _stopped(server: Server, reactor: Any) -> bool:
    """Stop the server; False: a database that hangs would have held us for ever. Whatever was answered is durable, so
    an end by force loses nothing."""
    from twisted.internet import defer

    try:
        await defer.Deferred.fromCoroutine(server.stop()).addTimeout(STOP_WITHIN_SECONDS, reactor)
    except defer.TimeoutError:
        return False
    return True


def _eap_logins(config: Config) -> EapLogins:
    """EAP as configured; CertificateError where its certificates can not be used."""
    import secrets

    from aaa.certificates import CertificateFiles, ServerCertificate
    from aaa.eap import Conversations, Offer
    from aaa.handlers import EapLogins

    conversations = Conversations(secrets.token_bytes)
    if config.eap_certificate is None or config.eap_key is None:
        return EapLogins(Offer(config.eap_methods), conversations)
    files = CertificateFiles(config.eap_certificate, config.eap_key, config.eap_ca, config.eap_crl)
    return EapLogins(Offer(config.eap_methods, ServerCertificate(files).contexts), conversations)


def _radsec(config: Config) -> RadSec | None:
    """RADIUS over TLS as configured; CertificateError where its certificates can not be used."""
    if config.radsec_port is None:
        return None
    from aaa.certificates import CertificateError, CertificateFiles, ServerCertificate
    from aaa.radsec import RadSec

    own = config.radsec_certificate is not None
    certificate = config.radsec_certificate if own else config.eap_certificate
    key, ca = (config.radsec_key, config.radsec_ca) if own else (config.eap_key, config.eap_ca)
    crl = config.radsec_crl if own else config.eap_crl
    if certificate is None or key is None or ca is None:
        raise CertificateError(
            "RADIUS over TLS needs radsec_certificate, radsec_key and radsec_ca, or those of EAP, in the configuration; "
            "make them by: aaa certificate init SERVER_NAME"
        )
    versions = tuple(f"radius/{version}".encode() for version in config.radsec_versions)
    files = CertificateFiles(certificate, key, ca, crl)
    return RadSec(ServerCertificate(files), versions, config.radsec_connections, config.radsec_idle_seconds)


def _postman(
    engine: Engine,
    office: PostOffice,
    reactor: Any,
    in_pool: Pool,
    now: Callable[[], Instant],
    node_name: str,
    chance: random.Random | None,
) -> Postman:
    from charging.notices.postman import Postman

    return Postman(engine, office, in_pool("notices", 1), reactor, node_name, now, chance or random.SystemRandom())


def _post_office(settings: Notices, reactor: Any) -> PostOffice:
    """The ways out as configured; NoticeFileError where a file can not be used."""
    from charging.notices import files
    from charging.notices.postman import PostOffice, Way
    from charging.notices.settings import EMAIL
    from charging.notices.smtp import MailWay
    from charging.notices.webhook import WebhookWay

    ways: dict[str, tuple[Way, int]] = {}
    mail = settings.mail
    if mail is not None:
        password = None if mail.password_file is None else files.password(mail.password_file)
        ways[EMAIL] = (MailWay(reactor, mail, password), mail.timeout_seconds)
    for hook in settings.webhooks:
        ways[hook.name] = (WebhookWay(reactor, hook, files.signing_secret(hook.secret_file)), hook.timeout_seconds)
    return PostOffice(settings, files.wording_of(settings), ways)


def _tracing(config: Config, engine: Engine, in_pool: Pool, now: Callable[[], Instant]) -> Tracing:
    """The history of packets, as configured."""
    from aaa.tracing import Tracing

    return Tracing(
        engine, in_pool("trace", 1), now, config.node_name, config.trace, most_rows=config.trace_rows,
        most_age_ms=config.trace_seconds * 1000,
    )  # fmt: skip


def _run(
    config: Config, engine: Engine, keys: KeyRing, spool_folder: Path, board: Board | None = None, place: int = 0
) -> int:
    """Build the server and run the reactor; the process's exit code. With a `board`, other processes have the ports too, each its
    place on it."""
    import structlog
    from twisted.internet import reactor as installed_reactor
    from twisted.internet.defer import Deferred, maybeDeferred
    from twisted.internet.threads import deferToThreadPool
    from twisted.python.threadpool import ThreadPool

    from aaa.remembered import RememberedLogins
    from aaa.spool import open_spool
    from charging.database import bound_waits
    from charging.lane import Lanes, cooperate
    from cli.clock import now

    bound_waits(engine)
    if engine.dialect.name == "postgresql":
        cooperate(engine)

    reactor: Any = installed_reactor
    log = structlog.get_logger("aaa.serve")
    pools: list[ThreadPool] = []
    exit_codes: list[int] = []

    def in_pool(name: str, threads: int) -> Callable[[Callable[[], T]], Deferred[T]]:
        pool = ThreadPool(minthreads=1, maxthreads=threads, name=name)
        pool.start()
        pools.append(pool)
        return lambda work: deferToThreadPool(reactor, pool, work)

    def in_lane(name: str, threads: int) -> Callable[[Callable[[], T]], Deferred[T]]:
        return Lanes(reactor, in_pool(name, threads)).run

    def disk_failed() -> None:
        if exit_codes:
            return  # said already: every item of a batch brings the news
        log.critical("disk-failed", advice="the database file or the spool can not be trusted any more; check the disk")
        exit_codes.append(1)
        reactor.stop()

    try:
        spool = open_spool(
            spool_folder, in_pool("spool", 1), now, most_octets=config.spool_octets,
            most_age_ms=config.spool_seconds * 1000,
        )  # fmt: skip
        seconds = config.cached_session_seconds
        server = build(
            engine, keys, config.node_name, reactor, in_pool, now, on_disk_failed=disk_failed,
            in_lane=in_pool if engine.dialect.name == "sqlite" else in_lane, spool=spool,
            remembered=RememberedLogins(session_timeout_seconds=seconds) if config.cached_accepts else None,
            deadline_ms=config.answer_deadline_seconds * 1000, eap=_eap_logins(config), realms=Realms(dict(config.realms)),
            tracing=_tracing(config, engine, in_pool, now),
            radsec=_radsec(config),
            post_office=None if config.notices is None else _post_office(config.notices, reactor),
            remind_ahead_ms=config.remind_ahead_seconds * 1000,
            retention=config.retention,
        )  # fmt: skip
        listening = _listen(reactor, server, config, board, place)
    except _unusable() as error:
        for pool in pools:
            pool.stop()
        raise click.ClickException(_why_not(error)) from error
    server.start()

    async def shut_down() -> None:
        # No new packet comes in.
        for port in listening:
            await maybeDeferred(port.stopListening)
        if not await _stopped(server, reactor):
            log.warning(
                "stopped-by-force", problem="the database does not answer", dropped=dict(server.services.drops.counts)
            )
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(exit_codes[0] if exit_codes else 0)
        log.info("stopped", dropped=dict(server.services.drops.counts))

    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(shut_down()))
    for pool in pools:
        reactor.addSystemEventTrigger("after", "shutdown", pool.stop)
    log.info(
        "serving", node=config.node_name, database=engine.url.render_as_string(),
        ports=[str(port.getHost()) for port in listening],
    )  # fmt: skip
    _spare_the_collector()
    reactor.run()
    return exit_codes[0] if exit_codes else 0


def _listen(reactor: Any, server: Server, config: Config, board: Board | None, place: int) -> list[IListeningPort]:
    """Open every port of the server, and take part in the spreading of what comes there. CannotListenError."""
    from aaa import radsec
    from aaa.server import listen

    shared = board is not None
    ports = listen(reactor, server.services, config.listen, config.auth_port, config.acct_port, shared=shared)
    if board is not None:
        _spread(reactor, board, place, ports, server)
    if server.connections is None:
        return ports
    return ports + radsec.listen(reactor, server.connections, config.listen, config.radsec_port or 0, shared=shared)


def _spread(reactor: Any, board: Board, place: int, ports: Sequence[Any], server: Server) -> None:
    from twisted.internet.task import LoopingCall

    from cli.spread import LOOK_SECONDS, Spread

    spread = Spread(board, place, [port.getHandle() for port in ports], lambda: server.writer.work)
    server.jobs.on_duty = server.runner.on_duty = lambda: spread.on_duty
    looking = LoopingCall(spread.look)
    looking.clock = reactor
    looking.start(LOOK_SECONDS)
    # before the sockets are gone
    reactor.addSystemEventTrigger("before", "shutdown", lambda: looking.stop() if looking.running else None)


def _unusable() -> tuple[type[Exception], ...]:
    """What an operator can mend before the server starts."""
    from twisted.internet.error import CannotListenError

    from aaa.certificates import CertificateError
    from aaa.spool import SpoolUnusable
    from charging.notices.files import NoticeFileError

    return SpoolUnusable, CannotListenError, CertificateError, NoticeFileError


def _why_not(error: Exception) -> str:
    from twisted.internet.error import CannotListenError

    if isinstance(error, CannotListenError):
        return f"{error.socketError}: {error.interface} port {error.port}"
    return str(error)


def _spare_the_collector() -> None:
    """What was made up to here lives as long as the process: it need not be looked at again, nor so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
