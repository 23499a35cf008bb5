"""The command line as a test calls it: `aaa("nas", "list")`, on a database of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from charging import tables
from charging.admission import Admitted, Login
from charging.transaction import run, settle_in
from cli.clock import now
from cli.main import aaa as command

PLANS = """\
currency = "EUR"
time_zone = "Europe/Berlin"

[profile.home-20]
rate_down = "20M"
rate_up = "5M"
interim_interval = "5m"

[profile.slow]
rate_down = "256k"
rate_up = "128k"

[plan.prepaid-50]
profile = "home-20"
thresholds = ["80%", "95%"]
[[plan.prepaid-50.allowance]]
name = "data"
unit = "octets"
amount = "50GB"
validity = "1 month"
[[plan.prepaid-50.rate]]
unit = "octets"
price = "0.02"
per = "1MB"
step = "100kB"
fee = "0.50"
[plan.prepaid-50.exhausted]
action = "throttle"
profile = "slow"

[plan.evening]
profile = "home-20"
[[plan.evening.allowance]]
name = "time"
unit = "seconds"
amount = "90m"
"""


def words(value: object) -> str:
    """A case's name: the command line, without what it prints."""
    return " ".join(value)[:40] if isinstance(value, list) else ""


class Aaa:
    """Runs commands; a bug in one is raised, an expected failure is a result."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.database_url = database_url
        self.folder = folder
        self.keys_file = folder / "test.keys"

    def __call__(self, *arguments: str, stdin: str | bytes | None = None) -> Result:
        options = ["--database", self.database_url, "--keys", str(self.keys_file)]
        result = CliRunner().invoke(command, [*options, *arguments], prog_name="aaa", input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def ok(self, *arguments: str, stdin: str | None = None) -> str:
        """What a command that must succeed printed."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        """The JSON that a command that must succeed printed."""
        return json.loads(self.ok(*arguments, "--json", stdin=stdin))

    def fails(self, *arguments: str, stdin: str | None = None, code: int = 1) -> str:
        """The text after `Error: ` of a command that must fail with this exit code."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        before, _, message = result.stderr.rpartition("Error: ")
        assert not before, before
        return message.removesuffix("\n")

    def file(self, name: str, text: str) -> str:
        """A file with this text, to be named on the command line."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AAA_DATABASE", "AAA_CONFIG", "AAA_KEYS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password's hash is slow on purpose; here it is one of many things that a command writes."""
    monkeypatch.setattr("aaa.passwords.credential._HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def aaa(database_url: str, tmp_path: Path) -> Aaa:
    """The command line on a fresh database, on each kind."""
    return Aaa(database_url, tmp_path)


@pytest.fixture
def shop(aaa: Aaa) -> Aaa:
    """The command line on a database with two plans."""
    aaa.ok("plan", "load", aaa.file("plans.toml", PLANS))
    return aaa


@pytest.fixture
def log_in(shop: Aaa) -> Iterator[Callable[[str], Admitted]]:
    """`log_in("alice")`: a live session, as the server would open it."""
    from charging.database import open_engine

    engine: Engine = open_engine(shop.database_url)

    def begin(username: str) -> Admitted:
        with engine.connect() as connection:
            row = connection.execute(tables.subscriber.select().where(tables.subscriber.c.username == username)).one()
            version = connection.execute(tables.plan.select().where(tables.plan.c.name == row.plan_name)).one()
        login = Login(
            account_id=row.account_id,
            subscriber_id=row.subscriber_id,
            username=username,
            plan_version_id=version.plan_version_id,
            max_sessions=None,
            expires_at=None,
            nas_id=1,
            nas_address="192.0.2.1",
            device_key="",
        )
        outcome = run(engine, lambda connection: settle_in(connection, [login], now())).outcomes[0]
        assert isinstance(outcome, Admitted)
        return outcome

    yield begin
    engine.dispose()
