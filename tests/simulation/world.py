"""One run: a fleet, a network, some nodes and a database, from a seed; first trouble, then calm, then the books."""

from __future__ import annotations

import hashlib
import logging
import random
from collections import Counter
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from unittest import mock

import structlog
from twisted.logger import LogEvent, globalLogPublisher

import aaa.directory
import aaa.runner
import charging.jobs
import charging.transaction
import charging.writer
import cli.serve
from aaa import registry
from aaa.keyring import KeyRing
from aaa.simulator import Server, SimulatedNas
from charging import catalogue
from charging.database import open_engine
from charging.money import Rounding
from charging.period import Every
from charging.plan import (
    Allowance,
    Duration,
    Exhausted,
    FairUse,
    PeriodTerms,
    Plan,
    Profile,
    ProfileWindow,
    Promotion,
    Rate,
    RollOver,
    SpeedStep,
)
from charging.window import Window
from tests.simulation.auditor import REVIEWED_EVERY_MS, Auditor, Finding, Witness
from tests.simulation.billing import Billing, Operator
from tests.simulation.clock import BEGINNING, FakeClock
from tests.simulation.desk import Desk
from tests.simulation.fleet import PASSWORD, SHAPING, Line, Station, nas
from tests.simulation.network import Network
from tests.simulation.node import ACCT_PORT, AUTH_PORT, Node
from tests.simulation.storage import Database
from tests.simulation.tariffs import GROUPS, began_at
from tests.simulation.tariffs import plans as odd_plans

#: Looks at the database are dear: a simulated node takes fewer than a real one.
POLL_MS = 10_000
LOOK_EVERY_MS = 60_000
#: Sixty seconds after the last fault everything has converged.
CONVERGED_MS = 60_000
#: ... counted from when the NASes had the time to report what was left over.
SETTLING_MS = 240_000
#: What is ordered at the end of it may be answered this much later.
MOST_ORDERS_MS = 60_000

#: What should happen now and then in a run that is worth its time.
_COUNTED = {
    "exhausted": "notice WHERE kind = 'exhausted'",
    "restored": "notice WHERE kind = 'restored'",
    "wraps": "usage_line WHERE flags LIKE '%wrap%'",
    "resets": "usage_line WHERE flags LIKE '%reset%'",
    "successors": "session WHERE session_id <> root_id",
    "stale": "session WHERE close_reason = 'stale'",
    "never-started": "session WHERE close_reason = 'never-started'",
    "restarted": "session WHERE close_reason = 'nas-restart'",
    "orders": "command WHERE state = 'acked'",
    "refused orders": "command WHERE state = 'failed'",
    "superseded orders": "command WHERE state = 'superseded'",
    "top-ups": "transfer WHERE kind = 'top-up'",
    "vouchers": "transfer WHERE kind = 'voucher'",
    "transfers": "transfer WHERE kind = 'transfer'",
    "refunds": "transfer WHERE kind = 'refund'",
    "adjustments": "transfer WHERE kind = 'adjustment'",
    "reversals": "transfer WHERE kind = 'reversal'",
    "refused": "billing_order WHERE status = 'error'",
    "requests": "top_up_request WHERE status = 'paid'",
    "windows": "command WHERE reason = 'window' AND state = 'acked'",
    "fair use": "notice WHERE kind = 'fair-use'",
    "renewals": "subscription_period WHERE number > 1",
    "ended buckets": "bucket WHERE closed_at IS NOT NULL",
    "shortfalls": "transfer WHERE debit LIKE 'shortfall%'",
    "splits": "usage_line WHERE flags LIKE '%estimated%'",
    "prices that fell": "usage_line WHERE amount_micros < 0",
    "counts over a day": "tally WHERE name LIKE 'rate:%' AND amount > 0",
    "members with a cap": "tally WHERE name LIKE 'bucket:%' AND amount > 0",
    "ends at a maximum": "session WHERE wanted_reason = 'maximum'",
    "visits": "session AS s JOIN plan_version AS v ON v.plan_version_id = s.plan_version_id "
    """WHERE s.rated <> '' AND v.content LIKE '%"unit":"session"%'""",
    "plan changes": "session WHERE close_reason = 'plan-changed'",
    "given back": "transfer WHERE kind = 'proration'",
    "pauses": "command WHERE reason = 'paused'",
    "rolled over": "transfer WHERE kind = 'roll-over'",
    "not renewed": "notice WHERE kind = 'renewal-failed'",
    "capped": "notice WHERE kind = 'capped'",
    "blockers": "bucket WHERE blocker",
    "days anew": "bucket AS b WHERE every = '1 day' AND rolled = 0 AND valid_from = (SELECT max(o.expires_at) FROM bucket AS o "
    "WHERE o.account_id = b.account_id AND o.subscriber_id = b.subscriber_id AND o.name = b.name AND o.expires_at < b.expires_at)",
    "days that went over": "transfer AS t JOIN bucket AS b ON b.account_id = t.account_id AND t.credit = 'bucket:' || b.bucket_id "
    "WHERE t.kind = 'roll-over' AND b.every <> ''",
    "orphans": "orphan_report",
}

#: A simulation in which nothing goes wrong proves nothing: all of this happens in two hundred seeds.
MEANT_TO_HAPPEN = (
    "lost", "deaths", "died before-commit", "died after-commit", "died after-spool", "failed-commit",
    "unknown-commit", "killed", "exhausted", "restored", "wraps", "resets", "orders",
    "refused orders", "superseded orders", "stale", "restarted", "top-ups", "shortfalls", "never-started",
    "vouchers", "transfers", "refunds", "adjustments", "reversals", "requests", "windows",
    "fair use", "renewals", "ended buckets", "splits", "prices that fell", "counts over a day", "members with a cap",
    "visits", "blockers", "capped", "plan changes", "given back", "pauses", "rolled over", "not renewed",
)  # fmt: skip

_KEYS = KeyRing({1: bytes(range(32))})
MB = 1_000_000


def _profile(name: str, down_bps: int, up_bps: int, **more: Any) -> Profile:
    return Profile(name, rate_down_bps=down_bps, rate_up_bps=up_bps, interim_interval_seconds=60, **more)


_SLOW = _profile("slow", 256_000, 128_000)
_WALLED = _profile("walled", 128_000, 64_000, redirect_url="http://192.0.2.250/", address_list="walled")
PLANS = [
    Plan(
        "data", "EUR", "UTC", _profile("home", 10_000_000, 2_000_000), thresholds_percent=(50, 90),
        allowances=(Allowance("data", "octets", "total", 90 * MB),), exhausted=Exhausted("throttle", _SLOW),
        max_sessions=2,
    ),
    Plan(
        "payg", "EUR", "UTC", _profile("fast", 20_000_000, 5_000_000),
        rates=(Rate("octets", "total", 7_001, 1 * MB, 1_000, fee_micros=50_000),), exhausted=Exhausted("disconnect"),
        rounding=Rounding("up", 4), max_sessions=1,
    ),
    Plan(
        "mixed", "EUR", "UTC", _profile("mixed", 8_000_000, 8_000_000), thresholds_percent=(80,),
        allowances=(
            Allowance("night", "octets", "down", 60 * MB, priority=5, validity=Duration(seconds=900)),
            Allowance("extra", "octets", "total", 50 * MB, priority=10),
            Allowance("first", "octets", "total", 40 * MB, priority=1),
        ),
        rates=(Rate("octets", "total", 3_333, 1 * MB, 100_000),), exhausted=Exhausted("redirect", _WALLED),
        rounding=Rounding("half-even", 6), max_sessions=3,
    ),
    Plan(
        "time", "EUR", "UTC", _profile("timed", 4_000_000, 1_000_000),
        allowances=(Allowance("hours", "seconds", "total", 600),),
        rates=(Rate("seconds", "total", 90_001, 60, 30),), exhausted=Exhausted("disconnect"),
        rounding=Rounding("down", 3), max_sessions=2,
    ),
    Plan(
        "glass", "EUR", "UTC", _profile("glass", 250_000_000, 100_000_000),
        allowances=(Allowance("data", "octets", "total", 9_000 * MB),), exhausted=Exhausted("throttle", _SLOW),
        max_sessions=2,
    ),
    Plan("flat", "EUR", "UTC", _profile("flat", 20_000_000, 20_000_000), max_sessions=None),
]  # fmt: skip
#: For some who would have another plan: slower after so much, and faster for some minutes of the run.
VARYING = Plan(
    "varying", "EUR", "UTC", _profile("usual", 10_000_000, 2_000_000),
    allowances=(Allowance("data", "octets", "total", 400 * MB),), exhausted=Exhausted("throttle", _SLOW), max_sessions=2,
    windows=(Window("soon", hours=((11 * 60 + 58, 12 * 60 + 6),)),),
    profile_windows=(ProfileWindow("soon", _profile("better", 16_000_000, 4_000_000)),),
    fair_use=FairUse(
        (SpeedStep(80 * MB, _profile("fair", 3_000_000, 1_000_000)), SpeedStep(200 * MB, _profile("fairer", 1_000_000, 500_000))),
        "day",
    ),
)  # fmt: skip
#: For some others: by the hour. Their first one, a gift, began before the run and ends within it.
HOURLY = Plan(
    "hourly", "EUR", "UTC", _profile("hour", 6_000_000, 2_000_000), thresholds_percent=(60,),
    allowances=(Allowance("data", "octets", "total", 70 * MB, roll_over=RollOver(maximum=30 * MB)),),
    exhausted=Exhausted("throttle", _SLOW), max_sessions=2,
    period=PeriodTerms(
        Every(1, "hour"), 300_000, grace_seconds=120, remind_seconds=180, promotions=(Promotion(0, periods=1),)
    ),
)  # fmt: skip
HOUR_MS = 3_600_000
#: In so many runs there are plans made up for them alone.
ODD_PLANS = 0.75
BUSIEST_BPS = {"glass": 160_000_000}


@dataclass(frozen=True)
class Verdict:
    """What came of one seed."""

    seed: int
    findings: tuple[Finding, ...]
    digest: str
    """Of everything that the NASes saw and that the database holds in the end."""
    counts: Counter[str]
    minutes: int

    @property
    def replay(self) -> str:
        """The command that shows the same run again."""
        return f"python -m tests.simulation --seeds 1 --from {self.seed} --verbose"


class World:
    """See the module."""

    def __init__(self, seed: int, database: Database, *, sleepy: bool = False, odd: bool = True) -> None:
        self.seed = seed
        self.odd = odd and not sleepy
        """Most runs have plans that were made up for them."""
        self.chance = chance = random.Random(f"world/{seed}")
        self.sleepy = sleepy
        """Several nodes, which often sleep between an order and its result."""
        self.mild = chance.random() < 0.2 and not sleepy
        """No faults at all, and fair NASes: then the bound must hold."""
        self.database = database
        self.clock = FakeClock()
        self.network = Network(self.clock, random.Random(f"network/{seed}"))
        self.logged: list[tuple[int, str, str]] = []
        self.last_fault_at = BEGINNING
        self.calm_at = BEGINNING + chance.randrange(8, 20) * 60_000
        hosts = [f"198.51.100.{n + 1}" for n in range(2 if sleepy else chance.choice([1, 1, 2, 3]))]
        servers = [Server((host, AUTH_PORT), (host, ACCT_PORT)) for host in hosts]
        self.stations: list[Station] = []
        for number in range(1, chance.choice([2, 3, 3, 4])):
            self.stations.append(self._station(nas(number, servers, chance, fair=self.mild)))
        self.lines: list[Line] = []
        self._engine = open_engine(database.url)
        self._settle_in = random.Random(f"operator/{seed}")
        with _quiet(self):
            self._write_down()
        self.nodes = [
            Node(
                f"node-{n + 1}", host, database.url, _KEYS, self.clock, self.network, str(seed),
                skew_ms=chance.choice([0, 0, -700, 400]),
                spool_folder=database.folder / f"spool-{n + 1}" if chance.random() < 0.5 else None,
            )
            for n, host in enumerate(hosts)
        ]  # fmt: skip
        for station in self.stations:
            station.on_change = lambda: self.auditor.hear(self.clock.now)
        self.auditor = Auditor(
            database.rows,
            [_witness(station) for station in self.stations],
            self.billing.paid,
            self.desk.ordered,
            self.operator.arranged,
            lambda: b"".join(node.spooled() for node in self.nodes),
            fair=self.mild,
        )

    def _station(self, one: SimulatedNas) -> Station:
        named = one.behaviour.class_echoed or one.behaviour.session_ids == "unique"
        wrong = -3_600_000 if named else -40_000  # a clock that is not believed, or one that is
        skew_ms = 0 if self.mild else self.chance.choice([0, 0, 0, 1_500, -2_000, 150_000, wrong])
        return Station(one, self.clock, self.network, skew_ms)

    def _write_down(self) -> None:
        """NASes, plans, accounts, subscribers, as operators would."""
        chance, now = self.chance, self.clock.now
        plans = [plan.name for plan in PLANS]
        own = random.Random(f"tariffs/{self.seed}")  # of its own: what else happens does not depend on it
        odd = odd_plans(own, _SLOW) if own.random() < ODD_PLANS and self.odd else []
        accounts = [f"account-{n}" for n in range(chance.randrange(2, 5))]
        usernames: list[str] = []
        with self._engine.begin() as connection:
            for station in self.stations:
                registry.add_nas(connection, _KEYS, self._settings(station.nas), station.nas.secret.decode(), now)
            catalogue.load_plans(connection, [*PLANS, VARYING, HOURLY, *odd], now)
            kinds = {name: ("postpaid", 2 * MB) if chance.random() < 0.15 else ("prepaid", 0) for name in accounts}
            catalogue.add_accounts(
                connection,
                [catalogue.NewAccount(name, "EUR", kind, credit) for name, (kind, credit) in kinds.items()],  # type: ignore[arg-type]
                now - 40 * 24 * HOUR_MS,  # before any period began
            )
            for number in range(chance.randrange(3, 6)):
                usernames.append(f"user-{number}")
                plan, begins = chance.choice([*plans, "data", "mixed", "payg"]), now
                if odd and own.random() < 0.7:
                    sold = own.choice(odd)
                    plan, begins = sold.name, began_at(sold, own) if sold.period is not None else now
                if random.Random(f"varying/{self.seed}/{number}").random() < 0.15:
                    plan, begins = VARYING.name, now
                hourly = random.Random(f"hourly/{self.seed}/{number}")
                if plan != VARYING.name and hourly.random() < 0.2:
                    plan, begins = HOURLY.name, now - HOUR_MS + hourly.randrange(60_000, 600_000)
                newcomer = registry.Newcomer(
                    usernames[-1], plan, chance.choice(accounts), None, PASSWORD.encode(),
                    max_sessions=chance.choice([None, None, 1, 2]),
                )  # fmt: skip
                registry.enrol(connection, _KEYS, [newcomer], begins, "operator:test")
                for device in range(chance.choice([1, 1, 2])):
                    self.lines.append(self._line(usernames[-1], plan, number, device))
        self.billing = Billing(self.database, random.Random(f"billing/{self.seed}"), accounts, [])
        self.desk = Desk(self.database, self._engine, random.Random(f"desk/{self.seed}"), accounts, self.billing.paid)
        self.desk.open(now)
        self.operator = Operator(
            self._engine,
            random.Random(f"commands/{self.seed}"),
            usernames,
            accounts,
            [*plans, VARYING.name, HOURLY.name, HOURLY.name, *(each.name for each in odd)],
        )

    def _settings(self, one: SimulatedNas) -> registry.NasSettings:
        signs = one.behaviour.message_authenticator
        return registry.NasSettings(
            name=one.name, network=one.address, dialect=one.dialect, coa_port=one.coa_port,
            require_message_authenticator=self.chance.choice(["yes", "learn"]) if signs else "no",
            counters_reversed=one.behaviour.counters_reversed,
            nas_group=random.Random(f"group/{self.seed}/{one.name}").choice(GROUPS),
        )  # fmt: skip

    def _line(self, username: str, plan: str, number: int, device: int) -> Line:
        return Line(
            username=username,
            station=self.chance.choice(self.stations),
            calling_station=f"02-00-00-00-{number:02X}-{device:02X}",
            port=number * 10 + device,
            chance=random.Random(f"line/{self.seed}/{username}/{device}"),
            clock=self.clock,
            busiest_bps=BUSIEST_BPS.get(plan, 25_000_000),
        )

    # --- the run ------------------------------------------------------------------------------------------------

    def run(self) -> Verdict:
        """All of it."""
        with _quiet(self):
            for node in self.nodes:
                node.trouble.on_commit = self._committed
                self.clock.at(self.clock.now + self.chance.randrange(2_000), node.start)
            for station in self.stations:
                station.nas.boot(station.now())
                station.settle()
            for line in self.lines:
                line.start()
            self._plan_events()
            self.clock.at(self.clock.now + LOOK_EVERY_MS, self._look)
            self.clock.run(self.calm_at)
            self._calm()
            self.clock.run(settled := max(self.calm_at, self.last_fault_at) + SETTLING_MS)
            while self.auditor.is_telling(self.clock.now) and self.clock.now < settled + MOST_ORDERS_MS:
                self.clock.run(self.clock.now + 1_000)  # an order of the last moment is on its way
            self.auditor.end(self.clock.now)
            self._engine.dispose()
            for node in self.nodes:
                node.close()
        findings = [
            *self.auditor.findings,
            *(Finding(at, "log", f"{event}: {words}") for at, event, words in self.logged),
        ]
        counts = Counter(self.network.counts)
        for node in self.nodes:
            counts += node.trouble.counts
            counts["deaths"] += node.deaths
        counts["sessions"] = sum(len(s.nas.sessions) for s in self.stations)
        counts["answers"] = self.auditor.answers
        for name, sql in _COUNTED.items():
            counts[name] = self.database.rows(f"SELECT count(*) FROM {sql}")[0][0]
        return Verdict(self.seed, tuple(findings), self._digest(), counts, (self.clock.now - BEGINNING) // 60_000)

    def _plan_events(self) -> None:
        chance, most = self.chance, self.calm_at - BEGINNING
        for account in self.billing.accounts:
            if chance.random() < 0.7:
                self.clock.at(BEGINNING + chance.randrange(60_000), self.billing.pay, account)
        for _ in range(chance.randrange(4, 14)):
            self.clock.at(BEGINNING + chance.randrange(most), self.billing.top_up)
        for _ in range(chance.randrange(5)):
            self.clock.at(BEGINNING + chance.randrange(most), lambda: self.operator.act(self.clock.now))
        own = self.desk.chance  # of its own: what else happens does not depend on it
        for _ in range(own.randrange(2, 20)):
            self.clock.at(BEGINNING + own.randrange(most), lambda: self.desk.act(self.clock.now))
        own = self.operator.chance
        for _ in range(own.randrange(1, 7) if own.random() < 0.7 else 0):
            self.clock.at(BEGINNING + own.randrange(most), lambda: self.operator.arrange(self.clock.now))
        if self.mild:
            return
        weather = self.network.weather
        weather.loss = chance.choice([0.0, 0.02, 0.1])
        weather.duplication = chance.choice([0.0, 0.05, 0.2])
        weather.reordering = chance.choice([0.0, 0.05, 0.2])
        weather.held_back_ms = chance.choice([500, 3_000, 12_000])
        for node in self.nodes:
            trouble = node.trouble
            trouble.killed = chance.choice([0.0, 0.0, 0.001])
            trouble.failed_commits = chance.choice([0.0, 0.0, 0.02])
            trouble.unknown_commits = chance.choice([0.0, 0.02, 0.05])
            trouble.die_before_commit = chance.choice([0.0, 0.006])
            trouble.die_after_commit = chance.choice([0.0, 0.006])
            trouble.die_after_spool = chance.choice([0.0, 0.1])
            node.die_on_order = chance.choice([0.0, 0.0, 0.1])
            node.sleep_on_order = 0.5 if self.sleepy else chance.choice([0.0, 0.3]) if len(self.nodes) > 1 else 0.0
        for _ in range(chance.randrange(5)):
            at, lasts = BEGINNING + chance.randrange(most), chance.choice([5_000, 30_000, 90_000, 200_000])
            self.clock.at(at, self._misfortune, lasts)
        for station in self.stations:
            for _ in range(chance.choice([0, 0, 1, 2])):
                self.clock.at(BEGINNING + chance.randrange(most), self._reboot, station, chance.random() < 0.4)

    def _misfortune(self, lasts: int) -> None:
        """Something is broken for a while."""
        chance = self.chance
        until = min(self.clock.now + lasts, self.calm_at)
        node, station = chance.choice(self.nodes), chance.choice(self.stations)
        match chance.choice(["database", "database-of-one", "slow", "network", "node", "sleep"]):
            case "database":
                for each in self.nodes:
                    self._refuse(each, until)
            case "database-of-one":
                self._refuse(node, until)
            case "slow":
                node.set_slow(slow=True)
                self.clock.at(until, lambda: node.set_slow(slow=False))
            case "network":
                pair = frozenset((node.host, station.nas.address))
                self.network.cut.add(pair)
                self.clock.at(until, self.network.cut.discard, pair)
            case "sleep":
                node.sleep(until)
            case _:
                node.down_ms = (max(lasts // 2, 1), lasts + 1)
                node.die("killed")
        self.last_fault_at = max(self.last_fault_at, until)

    def _refuse(self, node: Node, until: int) -> None:
        node.trouble.refusing = True

        def accept() -> None:
            node.trouble.refusing = False

        self.clock.at(until, accept)

    def _reboot(self, station: Station, orderly: bool) -> None:
        station.nas.reboot(station.now(), orderly=orderly)
        station.settle()

    def _calm(self) -> None:
        """The last fault is over; nobody comes or goes any more."""
        self.network.weather.loss = self.network.weather.duplication = self.network.weather.reordering = 0.0
        self.network.cut.clear()
        for node in self.nodes:
            node.calm()
            if node.process is None or not node.process.alive:
                self.last_fault_at = max(self.last_fault_at, self.clock.now + node.down_ms[1])
        waiting = self._who_waits_for_money()
        for account in self.billing.accounts:
            if self.chance.random() < 0.6 or account in waiting.values():
                self.billing.pay(account)
        self.desk.answer()
        self.operator.resume_paused(self.clock.now)
        for line in self.lines:
            line.quiet = True
            session = next((s for s in line.station.nas.online() if s.calling_station == line.calling_station), None)
            if session is not None and self.chance.random() < 0.4 and line.username not in waiting:
                line.station.nas.log_out(session, line.station.now())
                line.station.settle()

    def _who_waits_for_money(self) -> dict[str, str]:
        """On line without it: usernames, with their accounts. They stay, for the money that comes now."""
        rows = self.database.rows(
            "SELECT s.username, a.name FROM session AS s JOIN account AS a ON a.account_id = s.account_id "
            "WHERE s.closed_at IS NULL AND s.wanted = 'exhausted'"
        )
        return dict(cast("list[tuple[str, str]]", rows))

    def _committed(self) -> None:
        """A node has committed something."""

    def _look(self) -> None:
        self.auditor.look(self.clock.now)
        self.clock.at(self.clock.now + LOOK_EVERY_MS, self._look)

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for station in self.stations:
            for event in station.nas.log:
                digest.update(event.as_json().encode())
        for table in ("account", "bucket", "session", "session_charge", "usage_line", "transfer", "notice", "command"):
            for row in self.database.rows(f"SELECT * FROM {table} ORDER BY 1, 2"):
                digest.update(repr(row).encode())
        return digest.hexdigest()


def _witness(station: Station) -> Witness:
    one = station.nas
    obeys = one.behaviour.coa == one.behaviour.disconnect == "obey"
    return Witness(
        one.name, one.address, one.log, obeys, not one.behaviour.gigawords, one.dialect in SHAPING,
        one.behaviour.event_timestamp,
    )  # fmt: skip


@contextmanager
def _quiet(world: World) -> Iterator[None]:
    """What would look at the real world: the operators' chance; how often is polled; and where the log goes."""

    class Chance:
        @staticmethod
        def SystemRandom() -> random.Random:  # noqa: N802  the name it stands for
            return world._settle_in

    def keep(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Any:
        name = str(event.get("event"))
        expected = name in {"commands-not-read", "job-failed", "database-away"} and not world.mild
        if event["level"] in {"error", "critical"} and not expected:
            words = event.get("exception") or {k: v for k, v in event.items() if k not in {"event", "level"}}
            world.logged.append((world.clock.now, name, str(words)))
        raise structlog.DropEvent

    def unhandled(event: LogEvent) -> None:
        if event.get("isError") or event.get("log_failure") is not None:
            failure = event.get("log_failure")
            words = failure.getTraceback() if failure is not None else str(event)
            world.logged.append((world.clock.now, "unhandled", words))

    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, keep],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        cache_logger_on_first_use=False,
    )
    globalLogPublisher.addObserver(unhandled)  # type: ignore[arg-type]
    try:
        with (
            mock.patch.object(charging.transaction, "random", Chance),
            mock.patch.object(aaa.runner, "POLL_MS", POLL_MS),
            mock.patch.object(charging.jobs, "INBOX_EVERY_MS", 2 * POLL_MS),
            mock.patch.object(charging.jobs, "RESTARTS_EVERY_MS", 2 * POLL_MS),
            mock.patch.object(charging.jobs, "REVIEWS_EVERY_MS", REVIEWED_EVERY_MS),
            mock.patch.object(charging.jobs, "DUE_EVERY_MS", POLL_MS // 2),
            mock.patch.object(charging.writer, "LOOK_MS", 1_000),
            mock.patch.object(aaa.directory, "LOOK_MS", 1_000),
            mock.patch.object(cli.serve, "NAS_TABLE_EVERY_SECONDS", 60.0),
        ):
            yield
    finally:
        globalLogPublisher.removeObserver(unhandled)  # type: ignore[arg-type]
        structlog.reset_defaults()
