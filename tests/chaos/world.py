"""Some nodes on one database, NASes around them, a bad network between, a billing system that tops up; and its end."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine, text

from charging.database import open_engine
from tests.chaos import oracle
from tests.chaos.nas import RETRANSMISSIONS, NasProcess, Spec
from tests.chaos.node import Node, aaa
from tests.network import BadNetwork, Faults
from tests.outside import SECRET, free_udp_ports

PASSWORD = "open-sesame-1"
PLANS = """\
currency = "EUR"
time_zone = "UTC"

[profile.fast]
rate_down = "40M"
rate_up = "10M"
interim_interval = "60s"

[profile.slow]
rate_down = "256k"
rate_up = "128k"
interim_interval = "60s"

# Never runs dry: what is left is what was paid in less what was used, to the octet.
[plan.wide]
profile = "fast"
[[plan.wide.allowance]]
name = "data"
unit = "octets"
amount = "1000GB"
[plan.wide.exhausted]
action = "throttle"
profile = "slow"

# Runs dry again and again, and is topped up: commands fly.
[plan.narrow]
profile = "fast"
[[plan.narrow.allowance]]
name = "data"
unit = "octets"
amount = "5MB"
[plan.narrow.exhausted]
action = "throttle"
profile = "slow"
"""
WIDE_OCTETS = 10**12
"""The plan's 1000 GB."""
CONVERGED_WITHIN_SECONDS = 60
#: What one turn of the billing system pays in, on one account.
TOP_UP_OCTETS = 5 * 10**6
#: Words that no node's log may hold whatever happens to it.
FORBIDDEN_IN_LOGS = ("Traceback", '"event": "internal-error"', "deadlock detected")


@dataclass(frozen=True)
class Shape:
    """How large a world is."""

    nodes: int = 2
    nases: int = 3
    users_per_nas: int = 20
    interim_seconds: int = 1
    demand_bps: int = 400_000
    churn_ms: int = 700
    shared_users: bool = True
    """The same people are on line at every NAS, so the same accounts at every node."""


class World:
    """A context manager; `database_url` must lead to an existing, empty database."""

    def __init__(
        self, folder: Path, database_url: str, *, seed: int, shape: Shape = Shape(), spools: Sequence[Path] = ()
    ) -> None:
        self.folder = folder
        self.url = database_url
        self.shape = shape
        self.chance = random.Random(seed)
        self.engine: Engine = open_engine(database_url)
        self.network = BadNetwork(Faults(), seed=seed)
        keys = folder / "aaa.keys"
        names = "abcdefgh"[: shape.nodes]
        where = [*spools, *[None] * (shape.nodes - len(spools))]
        self.nodes = [
            Node(name, folder / f"node-{name}", database_url, keys, spool=spool)
            for name, spool in zip(names, where, strict=True)
        ]
        self.nases: list[NasProcess] = []
        self.paid_in: Counter[str] = Counter()
        self.broken: list[str] = []
        self._billing = Billing(self)
        self._stack = ExitStack()
        self._options = ["--database", database_url, "--keys", str(keys)]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.engine.dispose)
            self._furnish()
            for node in self.nodes:
                stack.callback(node.kill)
                node.start(wait=False)
            for node in self.nodes:
                node.await_answers(30)
            stack.enter_context(self.network)
            self._plug_in(stack)
            self._billing.start()
            stack.callback(self._billing.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # --- the beginning -----------------------------------------------------------------------------------------------

    def users_of(self, nas: int) -> list[str]:
        """Who is on line at a NAS: half of them wide, half narrow."""
        first = 0 if self.shape.shared_users else nas * self.shape.users_per_nas
        return [f"{'wide' if n % 2 else 'narrow'}-{n}" for n in range(first, first + self.shape.users_per_nas)]

    def _furnish(self) -> None:
        aaa(self._options, "db", "upgrade")
        # `here` is whoever asks the nodes how they are.
        aaa(self._options, "nas", "add", "here", "--address", "127.0.0.1", "--secret-stdin", stdin=SECRET)
        plans = self.folder / "plans.toml"
        plans.write_text(PLANS, encoding="utf-8")
        aaa(self._options, "plan", "load", str(plans))
        users = sorted({user for nas in range(self.shape.nases) for user in self.users_of(nas)})
        csv = self.folder / "users.csv"
        lines = [f"{user},{PASSWORD},{user.partition('-')[0]},yes,{4 * self.shape.nases}" for user in users]
        # Two hundred more, for a storm.
        lines += [f"storm-{n},{PASSWORD},wide,yes,1000" for n in range(200)]
        csv.write_text("\n".join(["username,password,plan,allow_chap,max_sessions", *lines, ""]), encoding="utf-8")
        aaa(self._options, "subscriber", "import", str(csv))

    def _plug_in(self, stack: ExitStack) -> None:
        for number in range(self.shape.nases):
            name, address = f"nas-{number}", f"127.0.0.{number + 11}"
            (coa_port,) = free_udp_ports(1)
            aaa(
                self._options, "nas", "add", name, "--address", address, "--secret-stdin", "--coa-port", str(coa_port),
                stdin=SECRET,
            )  # fmt: skip
            servers: list[tuple[str, int, int]] = []
            for node in self.nodes:
                ways = [self.network.route(("127.0.0.1", port)) for port in (node.auth_port, node.acct_port)]
                servers.append(("127.0.0.1", ways[0][1], ways[1][1]))
            turn = number % len(servers)
            spec = Spec(
                name=name, address=address, coa_port=coa_port, secret=SECRET, servers=servers[turn:] + servers[:turn],
                users=self.users_of(number), password=PASSWORD, interim_seconds=self.shape.interim_seconds,
                retransmission=RETRANSMISSIONS[number % len(RETRANSMISSIONS)], demand_bps=self.shape.demand_bps,
                churn_ms=self.shape.churn_ms, journal=str(self.folder / f"{name}.journal"),
                seed=self.chance.randrange(1 << 30),
            )  # fmt: skip
            self.nases.append(NasProcess(spec, self.folder))
            stack.callback(self.nases[-1].kill)
        time.sleep(1.2)  # the nodes look for new NASes once a second

    def pay_in(self, account: str, octets: int) -> None:
        """A billing system's INSERT, committed when this returns; its errors."""
        reference = f"{account}-{self.paid_in[account]}"
        with self.engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO billing_top_up (source, external_ref, account, unit, amount) "
                    "VALUES ('chaos', :reference, :account, 'octets', :amount)"
                ),
                {"reference": reference, "account": account, "amount": str(octets)},
            )
        self.paid_in[account] += octets

    # --- meanwhile ---------------------------------------------------------------------------------------------------

    def number(self, statement: str, **values: object) -> int:
        """The one number that a query gives."""
        with self.engine.connect() as connection:
            return int(connection.execute(text(statement), values).scalar_one() or 0)

    def pending(self) -> dict[str, int]:
        """What waits: octets in spools, commands and top-ups in the database."""
        return {
            "spooled octets": sum(node.spooled() for node in self.nodes),
            "commands": self.number("SELECT count(*) FROM command WHERE state = 'pending'"),
            "top-ups": self.number("SELECT count(*) FROM billing_top_up WHERE status = 'pending'"),
        }

    def events(self) -> list[list[dict[str, Any]]]:
        """The NASes' journals so far."""
        return [nas.events() for nas in self.nases]

    # --- the end -----------------------------------------------------------------------------------------------------

    def finish(self) -> dict[str, object]:
        """Everybody logs out; everything converges; what is broken stands in `broken`. Figures of the run."""
        self._billing.stop()
        since = time.monotonic()
        self._billing.settle_up()
        for nas in self.nases:
            nas.tell("finish")
        for nas in self.nases:
            if not nas.finished(max(1, CONVERGED_WITHIN_SECONDS - (time.monotonic() - since))):
                self.broken.append(
                    f"{nas.spec.name}: accounting stayed unanswered after the last fault {nas.log[-500:]}"
                )
        pending: dict[str, int] = {}
        while time.monotonic() < since + CONVERGED_WITHIN_SECONDS:
            pending = self.pending()
            if not any(pending.values()):
                break
            time.sleep(0.2)
        else:
            self.broken.append(f"{CONVERGED_WITHIN_SECONDS} s after the last fault there wait {pending}")
        converged_seconds = time.monotonic() - since
        # Until now they were there to be told something.
        self.broken += [f"{nas.spec.name} did not end: {nas.log[-500:]}" for nas in self.nases if not nas.leave()]
        journal = oracle.read(self.events())
        self.broken += oracle.broken_promises(journal, self.marks())
        users = {user for nas in range(self.shape.nases) for user in self.users_of(nas)}
        wide = {user: self.paid_in[user] + WIDE_OCTETS for user in users if user.startswith("wide")}
        self.broken += oracle.wrong_balances(journal, wide, self.octets_left())
        self.broken += self._ledger()
        self.broken += self._top_ups()
        self.broken += self.words_in_logs()
        for node in self.nodes:
            self.broken += [f"node {node.name} set aside {path}" for path in node.kept_aside()]
        return {
            "accounting datagrams sent": journal.sent,
            "answered": journal.answered,
            "logins": journal.logins,
            "sessions": len(journal.sessions),
            "top-ups": self.number("SELECT count(*) FROM billing_top_up"),
            "commands": self.number("SELECT count(*) FROM command"),
            "converged after seconds": round(converged_seconds, 1),
        }

    def marks(self) -> dict[str, oracle.Mark]:
        """What the books have of each session, by NAS and Acct-Session-Id."""
        statement = text(
            "SELECT n.name, s.acct_session_id, s.octets_up, s.octets_down, s.seconds, s.closed_at "
            "FROM session AS s JOIN nas AS n ON n.nas_id = s.nas_id WHERE s.acct_session_id IS NOT NULL"
        )
        found: dict[str, oracle.Mark] = {}
        with self.engine.connect() as connection:
            for nas, acct_session_id, up, down, seconds, closed_at in connection.execute(statement):
                key = f"{nas}/{bytes(acct_session_id).decode()}"
                before = found.get(key, oracle.Mark(0, 0, 0, True))
                found[key] = oracle.Mark(
                    before.octets_up + up, before.octets_down + down, before.seconds + seconds,
                    before.closed and closed_at is not None,
                )  # fmt: skip
        return found

    def octets_left(self) -> dict[str, int]:
        """Balance in octets by account."""
        statement = text(
            "SELECT a.name, sum(b.balance) FROM account AS a JOIN bucket AS b ON b.account_id = a.account_id "
            "WHERE b.unit = 'octets' GROUP BY a.name"
        )
        with self.engine.connect() as connection:
            return {name: int(total) for name, total in connection.execute(statement)}

    def _ledger(self) -> list[str]:
        """`aaa ledger check`, as an operator runs it."""
        try:
            found = json.loads(aaa(self._options, "ledger", "check", "--json"))["violations"]
        except AssertionError as error:
            return [f"aaa ledger check: {error}"]
        return [f"{each}" for each in found]

    def _top_ups(self) -> list[str]:
        """Every payment that was committed is paid in, once."""
        statement = text(
            "SELECT account, sum(CASE WHEN status = 'applied' THEN CAST(amount AS BIGINT) ELSE 0 END) "
            "FROM billing_top_up GROUP BY account"
        )
        with self.engine.connect() as connection:
            applied = {account: int(total) for account, total in connection.execute(statement)}
        return [
            f"{account}: {paid} octets were paid in and committed, {applied.get(account, 0)} were applied"
            for account, paid in self.paid_in.items()
            if applied.get(account, 0) < paid
        ]

    def words_in_logs(self) -> list[str]:
        """Lines that no fault excuses, and errors of the nodes' own."""
        return [
            f"node {node.name} says: {line[:400]}"
            for node in self.nodes
            for line in node.log.splitlines()
            if any(word in line for word in FORBIDDEN_IN_LOGS)
        ][:10]


class Billing:
    """A billing system: a committed top-up every now and then, on an account that runs dry."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="billing", daemon=True)
        self._chance = random.Random(world.chance.randrange(1 << 30))
        self.unsure: set[str] = set()
        """Accounts whose newest INSERT failed: whether it is in all the same is not known."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        users = sorted({user for nas in range(self._world.shape.nases) for user in self._world.users_of(nas)})
        while not self._stopping.wait(0.2):
            account = self._chance.choice(users)
            try:
                self._world.pay_in(account, TOP_UP_OCTETS)
                self.unsure.discard(account)
            except Exception:  # noqa: BLE001  the database is away, as it should be now and then
                self.unsure.add(account)

    def settle_up(self) -> None:
        """Pay in again what may be in or not: the reference is the same, so it counts once."""
        for account in sorted(self.unsure):
            self._world.pay_in(account, TOP_UP_OCTETS)
