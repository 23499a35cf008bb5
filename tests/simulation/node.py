"""One server process: what `aaa serve` builds, on a reactor and thread pools of the simulation. It may die at any point."""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from aaa.keyring import KeyRing
from aaa.server import listen
from aaa.spool import Spool, open_spool
from cli.serve import Server, build
from tests.simulation.clock import FakeClock
from tests.simulation.network import Address, Network
from tests.simulation.storage import NodeDied, Trouble, engine_of

AUTH_PORT = 1812
ACCT_PORT = 1813
FIRST_PORT = 50_000
RESTART_EVERY_MS = 1_000
#: CoA-Request and Disconnect-Request
ORDERS = frozenset({40, 43})
#: and what a NAS says to them
ANSWERS = frozenset({41, 42, 44, 45})


class _Socket:
    """An open UDP port: Twisted's listening port, its transport, and the handle underneath."""

    def __init__(self, process: _Process, address: Address, protocol: DatagramProtocol) -> None:
        self._process = process
        self.address = address
        self._protocol = protocol

    def getHandle(self) -> _Socket:  # noqa: N802  Twisted's name
        return self

    def setsockopt(self, *_: object) -> None:
        """As large as one likes."""

    def sendto(self, datagram: bytes, destination: tuple[Any, ...]) -> None:
        self._process.send(self.address, destination[:2], datagram)

    def write(self, datagram: bytes, destination: tuple[Any, ...]) -> None:
        self._process.send(self.address, destination[:2], datagram)

    def receive(self, datagram: bytes, source: Address) -> None:
        if self._process.alive and self._process.clock.now >= self._process.asleep_until:
            self._protocol.datagramReceived(datagram, source)
            if datagram[0] in ANSWERS:
                self._process.on_answer()

    def getHost(self) -> Address:  # noqa: N802  Twisted's name
        return self.address

    def stopListening(self) -> Deferred[None]:  # noqa: N802  Twisted's name
        self._process.network.listening.pop(self.address, None)
        return succeed(None)


class _Process:
    """The reactor and the thread pools of one life of a node."""

    def __init__(
        self,
        clock: FakeClock,
        network: Network,
        host: str,
        chance: random.Random,
        *,
        on_order: Callable[[], None],
        on_answer: Callable[[], None],
    ) -> None:
        self.clock = clock
        self.network = network
        self.host = host
        self.alive = True
        self.asleep_until = 0
        """Stopped like by SIGSTOP: nothing runs. What comes in meanwhile is lost, as from a full buffer."""
        self.work_ms = (1, 12)
        self._chance = chance
        self._on_order = on_order
        self.on_answer = on_answer
        self._sockets: list[_Socket] = []

    # the reactor

    def seconds(self) -> float:
        return self.clock.seconds()

    def callLater(self, delay: float, call: Callable[..., object], *args: object, **named: object) -> DelayedCall:  # noqa: N802
        return self.clock.later(delay, self._call, call, args, named)

    def sleeps(self, call: Callable[..., object], *args: object) -> bool:
        """Is it asleep? Then it makes this call when it wakes up."""
        if self.clock.now < self.asleep_until:
            self.clock.at(self.asleep_until, call, *args)
            return True
        return False

    def _call(self, call: Callable[..., object], args: tuple[object, ...], named: dict[str, object]) -> None:
        if self.alive and not self.sleeps(self._call, call, args, named):
            call(*args, **named)

    def listenUDP(  # noqa: N802  Twisted's name
        self,
        port: int,
        protocol: DatagramProtocol,
        interface: str = "",
        maxPacketSize: int = 8192,  # noqa: N803
    ) -> _Socket:
        number = port
        while number == 0 or (self.host, number) in self.network.listening:
            number = max(number, FIRST_PORT) + 1
        one = _Socket(self, (self.host, number), protocol)
        self._sockets.append(one)
        self.network.listening[one.address] = one.receive
        protocol.transport = one  # type: ignore[assignment]
        cast("Any", protocol).startProtocol()
        return one

    def send(self, source: Address, destination: Address, datagram: bytes) -> None:
        if self.alive:
            self.network.send(source, destination, datagram)
            if datagram[0] in ORDERS:
                self._on_order()

    # its threads

    def pool(self, _name: str, threads: int) -> Callable[[Callable[[], Any]], Deferred[Any]]:
        """A `run`: work is done in one piece at a moment of its own, and its result arrives a little later."""
        waiting: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        busy = 0

        def begin() -> None:
            nonlocal busy
            if waiting and busy < threads:
                busy += 1
                self.clock.at(self.clock.now + self._chance.randrange(*self.work_ms), work, *waiting.popleft())

        def work(task: Callable[[], Any], done: Deferred[Any]) -> None:
            if not self.alive or self.sleeps(work, task, done):
                return
            result: Any
            try:
                result = task()
            except NodeDied:
                return
            except Exception:  # noqa: BLE001  like a thread pool: whatever it is, it goes to the one who asked
                result = cast("Any", Failure)()
            self.clock.at(self.clock.now + self._chance.randrange(3), finish, done, result)

        def finish(done: Deferred[Any], result: Any) -> None:
            nonlocal busy
            if self.sleeps(finish, done, result):
                return
            busy -= 1
            begin()
            if self.alive:
                done.callback(result)

        def run(task: Callable[[], Any]) -> Deferred[Any]:
            done: Deferred[Any] = Deferred()
            waiting.append((task, done))
            begin()
            return done

        return run

    def die(self) -> None:
        """Nothing of it moves any more. It is kept in memory: what Python would do for it at its end must not happen."""
        self.alive = False
        for one in self._sockets:
            self.network.listening.pop(one.address, None)


class Node:
    """A server that is started again when it dies, with nothing but the database."""

    def __init__(
        self,
        name: str,
        host: str,
        url: str,
        keys: KeyRing,
        clock: FakeClock,
        network: Network,
        seed: str,
        *,
        skew_ms: int,
        spool_folder: Path | None,
    ) -> None:
        self.name = name
        self.host = host
        self.chance = random.Random(f"{seed}/{name}")
        self.trouble = Trouble(self.chance, on_death=self.die)
        self.die_on_order = 0.0
        """Between a CoA and its answer."""
        self.sleep_on_order = 0.0
        """After it, or after its answer, for longer than a lease lasts."""
        self.down_ms = (1_000, 20_000)
        self.deaths = 0
        self.server: Server | None = None
        self.process: _Process | None = None
        self.slow = False
        self._url = url
        self._keys = keys
        self._clock = clock
        self._network = network
        self._skew_ms = skew_ms
        self._spool_folder = spool_folder
        self._spool: Spool | None = None
        self._past: list[object] = []
        self._engines: list[Engine] = []
        self._engine: Engine | None = None

    def now(self) -> int:
        """This machine's clock."""
        return self._clock.now + self._skew_ms

    def start(self) -> None:
        """Start, or try again in a second: a server whose database is down can not."""
        process = _Process(
            self._clock, self._network, self.host, self.chance, on_order=self._ordered, on_answer=self._answered
        )
        self._engine = engine = engine_of(self._url, self.trouble)
        self._past.append(process)
        self._engines.append(engine)
        spool = None
        if self._spool_folder is not None:
            spool = open_spool(self._spool_folder, self._spooling(process), self.now)
        try:
            server = build(
                engine, self._keys, self.name, process, cast("Any", process.pool), self.now,
                on_disk_failed=lambda: self.die("disk-failed"), chance=self.chance, spool=spool,
            )  # fmt: skip
        except SQLAlchemyError:
            engine.dispose()
            _let_go(spool)
            self._clock.at(self._clock.now + RESTART_EVERY_MS, self.start)
            return
        self.process, self.server, self._spool = process, server, spool
        self.set_slow(slow=self.slow)
        listen(process, server.services, (self.host,), AUTH_PORT, ACCT_PORT)
        server.start()

    def set_slow(self, *, slow: bool) -> None:
        """A database that takes its time."""
        self.slow = slow
        if self.process is not None:
            self.process.work_ms = (200, 3_000) if slow else (1, 12)

    def sleep(self, until: int) -> None:
        """SIGSTOP now, SIGCONT then."""
        if self.process is not None:
            self.process.asleep_until = until

    def die(self, _point: str) -> None:
        """kill -9, and the way back."""
        if self.process is None or not self.process.alive:
            return
        self.deaths += 1
        self.process.die()
        self._past += [self.server, self._spool]
        _let_go(self._spool)
        self.server = self._spool = None
        if self._engine is not None:
            # The connections of a dead process are closed by the kernel. One may be in use at this very moment.
            self._clock.at(self._clock.now, self._engine.dispose)
        self._clock.at(self._clock.now + self.chance.randrange(*self.down_ms), self.start)

    def close(self) -> None:
        """The run is over."""
        if self.process is not None:
            self.process.die()
        _let_go(self._spool)
        self._spool = None
        for engine in self._engines:
            engine.dispose()

    def spooled(self) -> bytes:
        """What waits in its spool, as it stands on the disk."""
        if self._spool_folder is None or not self._spool_folder.is_dir():
            return b""
        return b"".join(path.read_bytes() for path in sorted(self._spool_folder.iterdir()) if path.is_file())

    def _spooling(self, process: _Process) -> Callable[[Callable[[], Any]], Deferred[Any]]:
        run = process.pool("spool", 1)

        def fatal(work: Callable[[], Any]) -> Any:
            result = work()
            self.trouble.after_spool()
            return result

        return lambda work: run(lambda: fatal(work))

    def _ordered(self) -> None:
        if self.die_on_order and self.chance.random() < self.die_on_order:
            self._clock.at(self._clock.now, self.die, "after-order")
        self._answered()

    def _answered(self) -> None:
        if self.sleep_on_order and self.chance.random() < self.sleep_on_order:
            self._clock.at(self._clock.now, self.sleep, self._clock.now + self.chance.randrange(100_000, 240_000))

    def calm(self) -> None:
        """Nothing bad happens to it any more."""
        self.trouble.calm()
        self.die_on_order = self.sleep_on_order = 0.0
        self.sleep(0)
        self.set_slow(slow=False)


def _let_go(spool: Spool | None) -> None:
    """What the kernel does with the files of a dead process."""
    if spool is None:
        return
    for descriptor in (spool._lock, -1 if spool._open is None else spool._open.descriptor):
        if descriptor >= 0:
            os.close(descriptor)
