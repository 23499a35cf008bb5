"""`aaa keys`: making, changing and checking the keys, with everything that is sealed on real databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update

from aaa import keyring, sealed
from aaa.directory import NasDirectory, SubscriberDirectory
from aaa.keyring import KeyRing
from charging import tables
from charging.database import open_engine
from cli import keys as command
from tests.aaa.conftest import Thread
from tests.cli.conftest import Aaa

SECRET = "correct horse battery staple"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SEEN_WITHIN_SECONDS", 0)


@pytest.fixture
def full(shop: Aaa) -> Aaa:
    """A database with one of everything that is sealed."""
    shop.ok("nas", "add", "bras-1", "--address", "192.0.2.1", "--secret", SECRET)
    shop.ok("nas", "rotate-secret", "bras-1")
    shop.ok("subscriber", "add", "chap", "--plan", "evening", "--password", "clear words", "--allow-chap")
    shop.ok("subscriber", "add", "hashed", "--plan", "evening", "--password", "hashed words")
    shop.ok("subscriber", "add", "nt", "--plan", "evening", "--password", "nt words", "--keep", "nt-hash")
    shop.ok("subscriber", "set", "hashed", "--one-time-code", "new")
    return shop


@pytest.fixture
def opened(full: Aaa) -> Iterator[Engine]:
    engine = open_engine(full.database_url)
    yield engine
    engine.dispose()


def in_use(engine: Engine) -> dict[int, dict[str, int]]:
    with engine.connect() as connection:
        return {number: dict(counts) for number, counts in sealed.keys_in_use(connection).items()}


ALL = {
    "nas.secret_sealed": 1,
    "nas.previous_secret_sealed": 1,
    "subscriber.password_sealed": 1,
    "subscriber.password_nt_sealed": 1,
    "subscriber.totp_sealed": 1,
}


def test_rotation_moves_everything_and_a_running_server_goes_on(full: Aaa, opened: Engine) -> None:
    assert in_use(opened) == {1: ALL}
    running = keyring.load(full.keys_file)
    directory = NasDirectory(opened, running)
    directory.refresh()
    subscribers = SubscriberDirectory(opened, running, Thread())
    before = credentials(subscribers)
    done = full.json("keys", "rotate")
    assert done == {"key": 2, "moved": 5, "left": 0, "unreadable": []}
    assert in_use(opened) == {2: ALL}
    assert credentials(subscribers) == before
    nas = directory.at("192.0.2.1")
    assert nas is not None
    assert nas.secrets[1] == SECRET.encode()
    fresh = NasDirectory(opened, keyring.load(full.keys_file))
    fresh.refresh()
    assert fresh.at("192.0.2.1") == nas
    assert running.token_keys == keyring.load(full.keys_file).token_keys, "and signs with the new key"


def credentials(subscribers: SubscriberDirectory) -> list[Any]:
    found: list[Any] = []
    for name in ("chap", "hashed", "nt"):
        waited = subscribers.subscriber(name)
        waited.addCallback(lambda each: found.append(None if each is None else each.credential))
    assert len(found) == 3
    return found


def test_a_node_without_the_new_key_serves_its_nases_and_refuses_nobody(full: Aaa, opened: Engine) -> None:
    other = KeyRing(keyring.load_keys(full.keys_file))  # a copy that nobody brings up to date
    directory = NasDirectory(opened, other)
    directory.refresh()
    full.ok("keys", "rotate")
    directory.refresh()
    assert directory.at("192.0.2.1") is not None


def test_prepare_first_for_several_nodes(full: Aaa, opened: Engine) -> None:
    assert "key 2 is prepared; copy" in full.ok("keys", "rotate", "--prepare")
    assert in_use(opened) == {1: ALL}
    other = KeyRing(keyring.load_keys(full.keys_file))
    assert full.json("keys", "rotate")["key"] == 2
    assert len(credentials(SubscriberDirectory(opened, other, Thread()))) == 3


def test_an_interrupted_rotation_goes_on_with_the_same_key(
    full: Aaa, opened: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = sealed.move
    monkeypatch.setattr(sealed, "SHELVES", sealed.SHELVES[:1])
    full.ok("keys", "rotate")
    monkeypatch.undo()
    assert moves is sealed.move
    assert set(in_use(opened)) == {1, 2}
    monkeypatch.setattr(command, "SEEN_WITHIN_SECONDS", 0)
    assert full.json("keys", "rotate") == {"key": 2, "moved": 3, "left": 0, "unreadable": []}
    assert set(keyring.load_keys(full.keys_file)) == {1, 2}


def test_small_batches_reach_every_row(full: Aaa, opened: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        full.ok("subscriber", "add", f"s{number}", "--plan", "evening", "--password", "words", "--allow-chap")
    monkeypatch.setattr(sealed, "ROWS_IN_BATCH", 2)
    assert full.json("keys", "rotate")["moved"] == 10
    assert set(in_use(opened)) == {2}


def test_what_somebody_writes_meanwhile_stays_as_he_wrote_it(full: Aaa, opened: Engine) -> None:
    ring = keyring.load(full.keys_file)
    keyring.prepare(full.keys_file)
    keyring.activate(full.keys_file, 0)
    new = keyring.load(full.keys_file)
    changed = ring.seal("subscriber.password:chap", b"other words")

    class Late(KeyRing):
        """Somebody else's change is committed between reading and writing."""

        def open(self, place: str, octets: bytes) -> bytes:
            if place == "subscriber.password:chap":
                write = update(tables.subscriber).where(tables.subscriber.c.username == "chap")
                connection.execute(write.values(password_sealed=changed))
            return super().open(place, octets)

    late = Late(keyring.load_keys(full.keys_file))
    with opened.begin() as connection:
        _, done = sealed.move(connection, late, sealed.SHELVES[1], 0)
    assert done.values == 2
    with opened.connect() as connection:
        kept = select(tables.subscriber.c.password_sealed).where(tables.subscriber.c.username == "chap")
        assert connection.execute(kept).scalar_one() == changed
    assert new.newest == 2


def test_what_can_not_be_opened_is_left_and_told(full: Aaa, opened: Engine) -> None:
    with opened.begin() as connection:
        value = keyring.load(full.keys_file).seal("subscriber.password:somebody else", b"x")
        write = update(tables.subscriber).where(tables.subscriber.c.username == "chap")
        connection.execute(write.values(password_sealed=value))
    result = full("keys", "rotate")
    assert result.exit_code == 1
    assert "subscriber.password:chap can not be opened" in result.stderr
    assert "4 values moved to it, 1 left" in result.stdout
    result = full("keys", "check")
    assert result.exit_code == 1
    assert "subscriber.password:chap can not be opened" in result.stderr


def test_check(full: Aaa) -> None:
    found = full.json("keys", "check")
    assert found["problems"] == []
    (key,) = found["keys"]
    assert key["number"] == 1
    assert key["state"] == "seals"
    assert key["values"] == ALL
    hexes = full.keys_file.read_text()
    assert key["fingerprint"] not in hexes
    assert hexes.split(":")[1][:16] not in full.ok("keys", "check")
    full.keys_file.chmod(0o644)
    assert "can be read by others" in full("keys", "check").stderr


def test_init_makes_a_file_once(aaa: Aaa) -> None:
    assert "keep a copy" in aaa.ok("keys", "init")
    assert "exists" in aaa.fails("keys", "init").lower()


def test_init_makes_none_beside_what_others_sealed(full: Aaa) -> None:
    full.keys_file.unlink()
    assert "put that file back" in full.fails("keys", "init")


def drop_key(path: Path) -> None:
    path.write_text("7:" + "ab" * 32 + "\n")


def other_key(path: Path) -> None:
    path.write_text("1:" + "ab" * 32 + "\n")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (drop_key, ["key 1 is missing", "1 of nas.secret_sealed", "put that line back"]),
        (other_key, ["key 1 is not the one that was used", "nas.secret:bras-1", "put that line back"]),
    ],
)
def test_a_server_does_not_start_without_its_keys(full: Aaa, spoil: Callable[[Path], None], words: list[str]) -> None:
    spoil(full.keys_file)
    for arguments in (["serve", "--listen", "127.0.0.1", "--auth-port", "0", "--acct-port", "0"], ["keys", "rotate"]):
        said = full.fails(*arguments)
        assert all(word in said for word in words), said
        assert "\n" not in said


def test_one_damaged_row_does_not_stop_a_server(full: Aaa, opened: Engine) -> None:
    with opened.begin() as connection:
        connection.execute(update(tables.nas).values(secret_sealed=b"\0\1 rubbish"))
    with opened.connect() as connection:
        sealed.require_keys(connection, keyring.load(full.keys_file), full.keys_file)


def test_retiring(full: Aaa, opened: Engine, log_in: Callable[[str], Any]) -> None:
    assert "nothing to retire" in full.ok("keys", "retire")
    log_in("chap")
    full.ok("keys", "rotate")
    assert "1 live sessions may carry tokens" in full.fails("keys", "retire")
    assert set(keyring.load_keys(full.keys_file)) == {1, 2}
    with opened.begin() as connection:
        connection.execute(update(tables.session).values(closed_at=1, state="closed"))
        assert connection.execute(select(func.count()).select_from(tables.session)).scalar_one() == 1
    assert "retired key 1" in full.ok("keys", "retire")
    assert full.json("keys", "check")["problems"] == []
    assert set(keyring.load_keys(full.keys_file)) == {2}


def test_every_sealed_column_is_moved() -> None:
    """A new `*_sealed` column that nobody moves would be lost with the old key."""
    known = {f"{shelf.table.name}.{column}" for shelf in sealed.SHELVES for column in shelf.places}
    there = {
        f"{t.name}.{c.name}" for t in tables.metadata.tables.values() for c in t.columns if c.name.endswith("_sealed")
    }
    assert known == there
