"""Secrets looked for where they must not be: in the database, the log, errors and what commands print."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from aaa.wire import Code
from charging import tables
from cli import log
from tests.aaa.conftest import PASSWORD, SECRET, Floor
from tests.cli.conftest import PLANS, Aaa

NAS_SECRET, CLEAR, HASHED, NT = (
    "a-nas-secret-of-32-characters-ab",
    "clear horse staple",
    "hashed horse staple",
    "nt horse staple",
)


@pytest.fixture
def shop(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Aaa:
    for name in ("AAA_DATABASE", "AAA_CONFIG", "AAA_KEYS"):
        monkeypatch.delenv(name, raising=False)
    aaa = Aaa(sqlite_url, tmp_path)
    aaa.ok("plan", "load", aaa.file("plans.toml", PLANS))
    return aaa


def shapes(secret: str | bytes) -> list[bytes]:
    """A secret as it might be written: plain, hexadecimal, base64, as MS-CHAP hashes it, reversed."""
    octets = secret.encode() if isinstance(secret, str) else secret
    wide = octets.decode("latin-1").encode("utf-16-le")
    return [octets, octets.hex().encode(), base64.b64encode(octets), base64.b32encode(octets), wide, octets[::-1]]


def test_a_stolen_database_file_holds_no_secret(shop: Aaa) -> None:
    """Every octet of the SQLite file, freed pages and the write-ahead log included, and the dump of its tables."""
    shop.ok("nas", "add", "bras-1", "--address", "192.0.2.1", "--secret", NAS_SECRET)
    rotated = shop.json("nas", "rotate-secret", "bras-1")["secret"]
    for name, password, keep in (("clear", CLEAR, "reversible"), ("hashed", HASHED, "argon2id"), ("nt", NT, "nt-hash")):
        shop.ok("subscriber", "add", name, "--plan", "evening", "--password", password, "--keep", keep)
    made = shop.json("subscriber", "add", "thing", "--plan", "evening", "--keep", "secret")
    generated = next(value for key, value in made.items() if key in ("password", "secret") and isinstance(value, str))
    coded = shop.json("subscriber", "set", "hashed", "--one-time-code", "new")
    totp = coded["authenticator_uri"].split("secret=")[1].split("&")[0]
    database = shop.database_url.removeprefix("sqlite:///")
    octets = b"".join(
        path.read_bytes() for path in Path(database).parent.glob(Path(database).name + "*") if path.suffix != ".keys"
    )
    with closing(sqlite3.connect(database)) as connection:
        dumped = "\n".join(connection.iterdump()).encode()
    key = bytes.fromhex(shop.keys_file.read_text().split(":")[1].strip())
    for secret in (
        NAS_SECRET,
        rotated,
        CLEAR,
        HASHED,
        NT,
        generated,
        totp,
        key,
        base64.b32decode(totp + "=" * (-len(totp) % 8)),
    ):
        for shape in shapes(secret):
            assert shape not in octets, secret
            assert shape not in dumped, secret


def test_no_command_prints_a_secret_again(shop: Aaa) -> None:
    shop.ok("nas", "add", "bras-1", "--address", "192.0.2.1", "--secret", NAS_SECRET)
    shop.ok("subscriber", "add", "clear", "--plan", "evening", "--password", CLEAR, "--keep", "reversible")
    printed = "".join(
        shop.ok(*command)
        for command in (
            ["nas", "list"], ["nas", "show", "bras-1"], ["nas", "show", "bras-1", "--json"], ["nas", "audit", "--json"], ["keys", "check"],
            ["subscriber", "list", "--json"], ["subscriber", "show", "clear", "--json"], ["explain", "clear"], ["keys", "rotate", "--prepare"],
        )
    )  # fmt: skip
    hexes = [line.split(":")[1] for line in shop.keys_file.read_text().splitlines()]
    for secret in (NAS_SECRET, CLEAR, *hexes):
        assert secret not in printed


FAILING = [
    ["nas", "add", "bras 1", "--address", "192.0.2.1", "--secret", NAS_SECRET],
    ["nas", "add", "bras-1", "--address", "nowhere", "--secret", NAS_SECRET],
    ["nas", "set", "bras-9", "--secret", NAS_SECRET],
    ["nas", "add", "bras-1", "--address", "192.0.2.1", "--secret", NAS_SECRET + "\n"],
    ["subscriber", "add", "x", "--plan", "nothing", "--password", CLEAR],
    ["subscriber", "add", "x", "--plan", "evening", "--password", CLEAR + "x" * 200],
    ["subscriber", "set", "nobody", "--password", CLEAR],
    ["--database", f"postgresql://aaa:{CLEAR.replace(' ', '')}@127.0.0.1:9/aaa", "nas", "list"],
    ["--database", f"mysql://aaa:{CLEAR.replace(' ', '')}@127.0.0.1:9/aaa", "nas", "list"],
]


@pytest.mark.parametrize("command", FAILING, ids=lambda command: " ".join(command)[:40])
def test_no_error_repeats_a_secret(shop: Aaa, command: list[str]) -> None:
    result = shop(*command)
    assert result.exit_code in (1, 2), result.output
    for secret in (NAS_SECRET, CLEAR, CLEAR.replace(" ", "")):
        assert secret not in result.output
        assert secret not in result.stderr


def test_a_bug_is_logged_without_the_values_it_happened_with(
    sqlite_floor: Floor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A traceback names places in the code, no local variables: passwords and secrets are in them."""
    import structlog

    from aaa import access

    def broken(*_arguments: Any) -> None:
        raise RuntimeError("what nobody expected")

    monkeypatch.setattr(access, "decide", broken)
    log.configure("debug", "json")
    try:
        sqlite_floor.services = sqlite_floor.services._replace(log=structlog.get_logger("aaa"))
        assert sqlite_floor.login().reply is None
        written = capsys.readouterr().err
    finally:
        structlog.reset_defaults()
    assert "what nobody expected" in written
    for secret in (PASSWORD, SECRET, *sqlite_floor.services.token_keys):
        for shape in shapes(secret):
            assert shape.decode("latin-1") not in written


def test_a_sealed_password_can_not_be_moved_to_somebody_else(floor: Floor) -> None:
    """Who can write the database but has no key puts his own sealed password into another's row: it opens nothing."""
    floor.add_subscriber("mallory", b"his own password")
    with floor.engine.begin() as connection:
        own = (
            select(tables.subscriber.c.password_sealed)
            .where(tables.subscriber.c.username == "mallory")
            .scalar_subquery()
        )
        connection.execute(
            update(tables.subscriber).where(tables.subscriber.c.username == "alice").values(password_sealed=own)
        )
    with capture_logs():
        for password in (b"his own password", PASSWORD, b""):
            sent = floor.login(password=password)
            floor.clock.advance(1)
            assert sent.reply is None, "our fault: silence, no Reject"
    assert floor.login("mallory", b"his own password").answer().code == Code.ACCESS_ACCEPT


def test_a_sealed_nas_secret_can_not_be_moved_to_another_nas(sqlite_floor: Floor) -> None:
    sqlite_floor.add_nas("mine", "192.0.2.66", secret=b"a secret that the attacker knows")
    with sqlite_floor.engine.begin() as connection:
        own = select(tables.nas.c.secret_sealed).where(tables.nas.c.name == "mine").scalar_subquery()
        connection.execute(
            update(tables.nas).where(tables.nas.c.name == "bras-1").values(secret_sealed=own, revised_at=2**50)
        )
    with capture_logs() as logged:
        sqlite_floor.nases.refresh()
        sent = sqlite_floor.login(secret=b"a secret that the attacker knows")
    assert sent.reply is None
    assert [line["nas"] for line in logged if line["event"] == "nas-unusable"] == ["bras-1"]


def test_the_databases_password_is_not_in_the_log(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a library says of its connection."""
    import structlog
    from click.testing import CliRunner
    from sqlalchemy.engine import make_url

    from cli import serve
    from cli.main import aaa as command

    def broken(*_arguments: Any) -> int:
        structlog.get_logger("aaa.serve").error(
            "database-away", problem="could not connect: password=hunter2-of-the-database"
        )
        return 0

    monkeypatch.setattr(serve, "_run", broken)
    url = make_url(postgresql_url).set(password="hunter2-of-the-database").render_as_string(hide_password=False)
    try:
        done = CliRunner().invoke(command, ["--database", url, "--keys", str(tmp_path / "keys"), "serve"])
        assert done.exit_code == 0, done.output
        written = capsys.readouterr().err + done.output
    finally:
        log.forget_hidden()
        structlog.reset_defaults()
    assert "database-away" in written
    assert "hunter2" not in written
