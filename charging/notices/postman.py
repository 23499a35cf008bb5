"""The postman: takes deliveries from the tables, has them sent, and writes down what became of them.

A way that fails as a whole (its server is away) rests for a while, then one letter tries it again; letters wait in the
table meanwhile. At most MOST_AT_ONCE letters of a channel are on their way, so a slow one keeps nobody else waiting.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar, cast

import structlog
from sqlalchemy import Connection, Engine
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from charging.batching import Batches, Run
from charging.notices import outbox
from charging.notices.letter import Letter
from charging.notices.outbox import Result
from charging.notices.routing import next_attempt
from charging.notices.settings import Settings
from charging.notices.wording import Said, Wording
from charging.plan import Instant

T = TypeVar("T")

POLL_SECONDS: Final = 1
MOST_AT_ONCE: Final = 8
MOST_RESULTS: Final = 1024
MOST_IN_BATCH: Final = 100
#: How many transactions of routing one turn makes: the rest waits for the next one.
MOST_ROUTINGS: Final = 20
#: An attempt that is longer on its way is given up; the lease is longer still.
ATTEMPT_SECONDS: Final = 60
SHORTEST_REST_MS: Final = 2_000
LONGEST_REST_MS: Final = 120_000

_log = structlog.get_logger("aaa.notices")


class NotSent(Exception):
    """A letter that did not arrive."""

    def __init__(self, problem: str, *, final: bool = False, about_way: bool = True) -> None:
        """`final`: no attempt will ever do better. `about_way`: others would fail as well now."""
        super().__init__(problem)
        self.final = final
        self.about_way = about_way and not final


class Way(Protocol):
    """A way out: SMTP, or one webhook."""

    def address(self, letter: Letter) -> str | None:
        """Where a letter goes by this way."""
        ...

    async def send(self, letter: Letter, said: Said, now: Instant) -> None:
        """Have it arrive, or raise NotSent."""
        ...


@dataclass(frozen=True, slots=True)
class PostOffice:
    """What the operator set up: rules, texts, and the ways out."""

    settings: Settings
    wording: Wording
    ways: Mapping[str, tuple[Way, int]]
    """By channel, with the seconds that one attempt may take."""


@dataclass(slots=True)
class _Channel:
    """One way, and what is known of it."""

    name: str
    way: Way
    timeout_seconds: int
    under_way: set[Deferred[None]] = field(default_factory=set)
    """From lease to result."""
    attempts: set[Deferred[None]] = field(default_factory=set)
    """Those of them that wait for an answer."""
    failures: int = 0
    rests_until: Instant = 0

    def free(self, now: Instant) -> int:
        """How many letters may go now: one only, when the way failed before."""
        if not self.failures:
            return MOST_AT_ONCE - len(self.under_way)
        return 1 if not self.under_way and now >= self.rests_until else 0

    def heard(self, problem: NotSent | None, now: Instant) -> None:
        """What one letter met; many that met the same failure count once."""
        if problem is None or not problem.about_way:
            self.failures, self.rests_until = 0, 0
        elif now >= self.rests_until:
            self.rests_until = now + min(SHORTEST_REST_MS << min(self.failures, 16), LONGEST_REST_MS)
            self.failures += 1


class Postman:
    """Carries notices to their readers. `node` must differ between the nodes that run on one database."""

    def __init__(
        self,
        engine: Engine,
        office: PostOffice,
        run: Run,
        clock: IReactorTime,
        node: str,
        now: Callable[[], Instant],
        chance: random.Random,
    ) -> None:
        self._engine = engine
        self._settings = office.settings
        self._wording = office.wording
        self._channels = [
            _Channel(name, way, min(timeout, ATTEMPT_SECONDS)) for name, (way, timeout) in office.ways.items()
        ]
        self._run = run
        self._clock = clock
        self._node = node
        self._now = now
        self._chance = chance
        self._results: Batches[Result, None] = Batches(
            self._store, run, most_queued=MOST_RESULTS, most_in_batch=MOST_IN_BATCH
        )
        self._polling = LoopingCall(self.wake)
        self._polling.clock = clock
        self._turn: Deferred[None] | None = None
        self._turning = False
        self._again = False
        self._stopped = False
        self._failing = False

    @property
    def busy(self) -> bool:
        """Is anything under way?"""
        return self._turning or any(channel.under_way for channel in self._channels)

    def start(self) -> None:
        """Begin, and look every second for what transactions have written."""
        self._polling.start(POLL_SECONDS)

    def wake(self) -> None:
        """There may be something to do. Any number of calls during a turn cause one more."""
        if self._stopped:
            return
        self._again = True
        if not self._turning:
            self._turning = True
            self._turn = Deferred.fromCoroutine(self._turns())

    async def stop(self) -> None:
        """Send no more, and give back what is on its way: it is sent again by whoever claims it next."""
        self._stopped = True
        if self._polling.running:
            self._polling.stop()
        if self._turning and self._turn is not None:
            await self._turn
        for channel in self._channels:
            for attempt in list(channel.attempts):
                attempt.cancel()
            for carrying in list(channel.under_way):
                await carrying
        await self._results.idle()

    async def _turns(self) -> None:
        try:
            while self._again and not self._stopped:
                self._again = False
                await self._one_turn()
        except Exception as error:  # noqa: BLE001  whatever it is, the next look tries again
            if not self._failing:
                _log.error("notices-not-read", problem=str(getattr(error, "orig", None) or error))
            self._failing = True
        else:
            if self._failing:
                _log.info("notices-read-again")
            self._failing = False
        finally:
            self._turning = False

    async def _one_turn(self) -> None:
        for _ in range(MOST_ROUTINGS):
            routed = await self._in_transaction(lambda c: outbox.route(c, self._settings, self._now()))
            if routed < outbox.MOST_ROUTED:
                break
        now = self._now()
        urgent_only = self._settings.urgent_only(now)
        for channel in self._channels:
            free = channel.free(now)
            if free > 0:
                letters = await self._in_transaction(
                    lambda c, name=channel.name, most=free: outbox.claim(  # type: ignore[misc]  # mypy and defaults
                        c, name, self._node, now, most, urgent_only=urgent_only
                    )
                )
                for letter in letters:
                    self._begin(channel, letter)

    def _begin(self, channel: _Channel, letter: Letter) -> None:
        carrying = Deferred.fromCoroutine(self._carry(channel, letter))
        channel.under_way.add(carrying)

        def done(_result: None) -> None:
            channel.under_way.discard(carrying)
            self.wake()

        carrying.addCallback(done)

    async def _carry(self, channel: _Channel, letter: Letter) -> None:
        """One letter from lease to result, with its one line in the log."""
        began = self._now()
        said = self._wording.say(letter.about, letter.facts, letter.language, self._settings.time_zone)
        problem: NotSent | None = None
        attempt = Deferred.fromCoroutine(channel.way.send(letter, said, began))
        attempt.addTimeout(channel.timeout_seconds, self._clock, _too_long)
        channel.attempts.add(attempt)
        try:
            await attempt
        except NotSent as error:
            problem = error
        except CancelledError:
            await self._write(Result(letter, "pending", None, None, self._now(), attempted=False))
            return
        except Exception as error:  # noqa: BLE001  logged; the letter is tried again
            _log.exception("notice-not-sent", notice_id=letter.notice_id, channel=letter.channel)
            problem = NotSent(f"a fault of ours: {type(error).__name__}: {error}", about_way=False)
        finally:
            channel.attempts.discard(attempt)
        now = self._now()
        channel.heard(problem, now)
        result = self._result(letter, channel.way.address(letter), problem, now)
        _log.info(
            "notice", state=result.state, kind=letter.kind, channel=letter.channel, account_id=letter.account_id,
            notice_id=letter.notice_id, attempts=letter.attempts, problem=result.error, milliseconds=now - began,
        )  # fmt: skip
        await self._write(result)

    def _result(self, letter: Letter, address: str | None, problem: NotSent | None, now: Instant) -> Result:
        if problem is None:
            return Result(letter, "sent", address, None, now)
        again = None if problem.final else next_attempt(letter.attempts, now, letter.give_up_at)
        if again is None:
            return Result(letter, "failed", address, str(problem), now)
        # Those that failed together do not come back together.
        again += self._chance.randrange((again - now) // 4 + 1)
        return Result(letter, "pending", address, str(problem), now, again)

    async def _write(self, result: Result) -> None:
        try:
            await self._results.submit(result)
        except Exception as error:  # noqa: BLE001  the database is away, or too much waits for it
            # Its lease runs out, and it is sent again under the same name.
            _log.warning("notice-not-recorded", problem=f"{type(error).__name__}: {error}")

    async def _in_transaction(self, work: Callable[[Connection], T]) -> T:
        def once() -> list[T]:
            with self._engine.begin() as connection:
                return [work(connection)]

        (result,) = await self._run(once)
        return cast("T", result)

    def _store(self, results: Sequence[Result]) -> Sequence[None]:
        with self._engine.begin() as connection:
            outbox.store(connection, results)
        return [None] * len(results)


def _too_long(_value: object, seconds: float) -> None:
    raise NotSent(f"no answer within {seconds:g} s")
