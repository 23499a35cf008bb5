"""This server, driven through its public command line, charging every report."""

import csv
import os
import subprocess
import sys
from pathlib import Path

from bench import load
from bench.cluster import Cluster
from bench.packets import (
    ACCESS_ACCEPT,
    CLASS,
    DOWN_OCTETS,
    INTERIM_SECONDS,
    UP_OCTETS,
    Sessions,
    Subscriber,
    first_of,
    logins,
)
from bench.subject import Unusable, end, run_until_it_answers

DATABASE = "aaa"
#: As an operator would choose: FreeRADIUS' threads use all processors too.
PROCESSES = os.cpu_count() or 1
REPOSITORY = Path(__file__).resolve().parent.parent

# The allowance outlasts the run, holds of every login included, so that each report is charged and none ends a session.
PLAN = """\
currency = "EUR"
time_zone = "UTC"

[profile.line-20]
rate_down = "20M"
rate_up = "5M"
interim_interval = "5m"

[profile.slow]
rate_down = "256k"
rate_up = "128k"

[plan.bench]
profile = "line-20"
thresholds = ["80%", "95%"]

[[plan.bench.allowance]]
name = "data"
unit = "octets"
direction = "total"
amount = "500000GB"

[[plan.bench.rate]]
unit = "octets"
price = "0.02"
per = "1MB"
step = "100kB"

[plan.bench.exhausted]
action = "throttle"
profile = "slow"
"""


# The same service with everything at once: prices by hour and in tiers, paid from money that rolls over, and fair use. Every
# hour is in a window, so that the time of the run makes no difference.
RICH_PLAN = """\
currency = "EUR"
time_zone = "Europe/Berlin"

[window.day]
hours = "06:00-22:00"

[window.night]
hours = "22:00-06:00"

[profile.line-20]
rate_down = "20M"
rate_up = "5M"
interim_interval = "5m"

[profile.fair]
rate_down = "5M"
rate_up = "1M"

[profile.slow]
rate_down = "256k"
rate_up = "128k"

[plan.bench]
profile = "line-20"
thresholds = ["80%", "95%"]

[plan.bench.period]
every = "1 month"

[[plan.bench.allowance]]
name = "credit"
unit = "money"
amount = "1000000.00"
[plan.bench.allowance.roll_over]
max = "500000.00"
periods = 3

[[plan.bench.rate]]
unit = "octets"
per = "1GB"
step = "100kB"
windows = ["day"]
[[plan.bench.rate.tier]]
upto = "500MB"
price = "0.50"
[[plan.bench.rate.tier]]
upto = "5GB"
price = "0.30"
[[plan.bench.rate.tier]]
price = "0.10"

[[plan.bench.rate]]
unit = "octets"
per = "1GB"
step = "100kB"
windows = ["night"]
[[plan.bench.rate.tier]]
upto = "1GB"
price = "0.20"
[[plan.bench.rate.tier]]
price = "0.05"

[plan.bench.fair_use]
per = "period"
[[plan.bench.fair_use.step]]
after = "50GB"
profile = "fair"
[[plan.bench.fair_use.step]]
after = "80GB"
profile = "slow"

[plan.bench.exhausted]
action = "throttle"
profile = "slow"
"""


class Ours:
    """One `aaa serve` on its own database and ports. One account per subscriber; passwords encrypted at rest."""

    name = "ours"

    def __init__(
        self, cluster: Cluster, folder: Path, subscribers: int, secret: str, plan: str = PLAN, database: str = DATABASE
    ) -> None:
        """`folder` and `database` are nobody else's; `plan`: the plan file."""
        self.cluster, self.folder, self.secret, self.plan = cluster, folder / "ours", secret, plan
        self.database = database
        self.subscribers = subscribers
        self.auth_port, self.acct_port = load.free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        self.folder.mkdir(parents=True)
        self._fill()

    def _command(self, *arguments: str) -> list[str]:
        database = self.cluster.uri(self.database).replace("postgresql:", "postgresql+psycopg:", 1)
        return [sys.executable, "-c", "from cli.main import main; main()", "--database", database, *arguments]

    @property
    def _environment(self) -> dict[str, str]:
        # the code beside this folder, whatever is installed; its files (keys, logs) go to a folder of the bench
        return {k: v for k, v in os.environ.items() if not k.startswith("AAA_")} | {"PYTHONPATH": str(REPOSITORY)}

    def _aaa(self, *arguments: str) -> str:
        done = subprocess.run(
            self._command(*arguments),
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        if done.returncode != 0:
            raise Unusable(
                f"`aaa {' '.join(arguments)}` failed with status {done.returncode}:\n{(done.stderr or done.stdout)[-2000:]}"
            )
        return done.stdout

    def plan_of(self, _number: int) -> str:
        """What the subscriber of that number has bought."""
        return "bench"

    def nas_options(self) -> tuple[str, ...]:
        """What else is to be said of the NASes."""
        return ()

    def _fill(self) -> None:
        self.cluster.create(self.database)
        plan, people = self.folder / "plan.toml", self.folder / "subscribers.csv"
        # The packaged FreeRADIUS logs no logins either.
        (self.folder / "aaa.toml").write_text('log_level = "warning"\n')
        plan.write_text(self.plan)
        with people.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("username", "password", "plan", "account", "allow_chap"))
            for n in range(self.subscribers):
                one = Subscriber(n)
                rows.writerow((one.username, one.password, self.plan_of(n), one.username, "yes"))
        self._aaa("db", "upgrade")
        self._aaa(
            "nas",
            "add",
            "bench",
            "--address",
            "127.0.0.0/8",
            "--secret",
            self.secret,
            "--require-message-authenticator",
            "no",
            *self.nas_options(),
        )
        self._aaa("plan", "load", str(plan))
        self._aaa("subscriber", "import", str(people))

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait for its first answers."""
        ports = (self.auth_port, self.acct_port)
        command = self._command(
            "--config",
            str(self.folder / "aaa.toml"),
            "serve",
            "--listen",
            "127.0.0.1",
            "--auth-port",
            str(self.auth_port),
            "--acct-port",
            str(self.acct_port),
            "--processes",
            str(PROCESSES),
        )
        self._process = run_until_it_answers(command, ports, self.secret, self.folder / "serve.log", self._environment)

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def classes(self, sessions: int) -> list[bytes]:
        """Log the first subscribers in: accounting is charged for sessions that were authorised. The Class of each Accept."""
        secret = self.secret.encode()
        run = load.drive(
            self.auth_port, logins(0, sessions, sessions, secret), secret, ACCESS_ACCEPT, 128, keep_replies=True
        )
        if run.unexpected:
            raise Unusable(f"{run.unexpected} of {sessions} logins were not accepted; see {self.folder / 'serve.log'}")
        found = [first_of(reply, CLASS) for reply in run.replies]
        if not all(found):
            raise Unusable(f"{found.count(b'')} of {sessions} Accepts carry no Class")
        return found

    def check_accounting(self, sessions: Sessions, sent: int) -> list[str]:
        """The meters, the buckets and the usage lines agree with what was reported, to the octet; nothing was doubted."""
        reports = sum(sessions.interims(n, sent) for n in range(len(sessions.classes)))
        started = "FROM session WHERE state <> 'provisional'"
        octets = reports * (UP_OCTETS + DOWN_OCTETS)
        expected = {
            f"SELECT count(*) {started}": len(sessions.classes),
            f"SELECT sum(seconds) {started}": reports * INTERIM_SECONDS,
            f"SELECT sum(octets_up + octets_down) {started}": octets,
            "SELECT sum(octets_up_to - octets_up_from + octets_down_to - octets_down_from) FROM usage_line": octets,
            "SELECT count(*) FROM usage_line WHERE flags LIKE '%suspect%'": 0,
            "SELECT count(*) FROM orphan_report": 0,
        }
        if self.plan == PLAN:  # else money pays
            expected["SELECT sum(accrued) FROM session_charge WHERE unit = 'octets'"] = octets
        found = {statement: self.cluster.number(self.database, statement) for statement in expected}
        return [
            f"{statement}: {found[statement]}, expected {value}"
            for statement, value in expected.items()
            if found[statement] != value
        ]

    def check_logins(self, sent: int, subscribers: int) -> list[str]:
        """Everybody who was accepted has a session."""
        people = self.cluster.number(self.database, "SELECT count(DISTINCT subscriber_id) FROM session")
        if people >= min(sent, subscribers):
            return []
        return [f"{people} subscribers have a session, {min(sent, subscribers)} were accepted"]

    def check_end(self, sessions: Sessions) -> list[str]:
        """No started session is open, and the ledger holds."""
        still_open = self.cluster.number(self.database, "SELECT count(*) FROM session WHERE state = 'open'")
        wrong = [f"{still_open} of {len(sessions.classes)} sessions are still open"] if still_open else []
        try:
            self._aaa("ledger", "check")
        except Unusable as error:
            wrong.append(str(error))
        return wrong

    def describe(self) -> dict[str, object]:
        """What was measured, for the report."""
        where = "import platform, charging.settle as s; print(platform.python_version(), s.__file__)"
        python, file = subprocess.run(
            [sys.executable, "-c", where], env=self._environment, capture_output=True, text=True, check=True
        ).stdout.split(maxsplit=1)
        return {
            "version": self._aaa("--version").strip(),
            "python": python,
            "compiled": not file.strip().endswith(".py"),
            "processes": PROCESSES,
            "charging": True,
            "passwords": "encrypted at rest",
        }
