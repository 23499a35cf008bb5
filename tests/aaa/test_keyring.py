"""Secrets at rest: bound to their place, readable after a change of keys, and files that say what is wrong with them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa import keyring
from aaa.keyring import KeyRing, KeyRingError, nas_secret, subscriber_password

RING = KeyRing({1: b"1" * 32})
BRAS = nas_secret("bras-1")
HEX = "0f" * 32


@given(st.binary(max_size=300))
def test_what_was_sealed_is_opened_in_its_place(clear: bytes) -> None:
    sealed = RING.seal(BRAS, clear)
    assert RING.open(BRAS, sealed) == clear
    assert clear == b"" or len(clear) < 4 or clear not in sealed
    assert RING.seal(BRAS, clear) != sealed, "two of the same must not look alike"


@pytest.mark.parametrize(
    "place", [nas_secret("bras-2"), subscriber_password("bras-1"), "", nas_secret("bras-1 "), nas_secret("BRAS-1")]
)
def test_what_was_sealed_can_not_be_opened_anywhere_else(place: str) -> None:
    with pytest.raises(KeyRingError, match="changed in the database, or sealed for another place"):
        RING.open(place, RING.seal(BRAS, b"secret"))


def test_every_changed_octet_is_noticed() -> None:
    sealed = RING.seal(BRAS, b"secret")
    for at in range(len(sealed)):
        for bit in (1, 128):
            changed = sealed[:at] + bytes([sealed[at] ^ bit]) + sealed[at + 1 :]
            with pytest.raises(KeyRingError, match=BRAS):
                RING.open(BRAS, changed)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\0\1" + rest))
def test_any_octets_are_opened_or_an_error(sealed: bytes) -> None:
    with pytest.raises(KeyRingError):
        RING.open(BRAS, sealed)


def test_a_missing_key_is_named() -> None:
    sealed = KeyRing({300: b"3" * 32}).seal(BRAS, b"secret")
    with pytest.raises(KeyRingError, match=f"{BRAS} is sealed with key 300, which this key file does not hold"):
        RING.open(BRAS, sealed)


def test_the_wrong_key_of_the_right_number_opens_nothing() -> None:
    with pytest.raises(KeyRingError):
        KeyRing({1: b"2" * 32}).open(BRAS, RING.seal(BRAS, b"secret"))


def test_after_a_change_old_rows_stay_readable_and_new_ones_take_the_new_key() -> None:
    both = KeyRing({1: b"1" * 32, 2: b"2" * 32})
    assert both.open(BRAS, RING.seal(BRAS, b"old")) == b"old"
    assert KeyRing({2: b"2" * 32}).open(BRAS, both.seal(BRAS, b"new")) == b"new"
    assert both.token_keys[1] == RING.token_keys[0]
    assert len(set(both.token_keys)) == 2
    assert not {b"1" * 32, b"2" * 32} & set(both.token_keys), "one key, one purpose"


# --- files -------------------------------------------------------------------------------------------------------


def test_a_new_file_is_its_owners_alone_and_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "aaa.keys"
    ring = keyring.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keyring.load(path).open(BRAS, ring.seal(BRAS, b"secret")) == b"secret"
    before = path.read_text()
    with pytest.raises(KeyRingError, match="exists"):
        keyring.create(path)
    assert path.read_text() == before
    assert keyring.create(tmp_path / "other.keys").token_keys != ring.token_keys


def test_a_file_of_several_keys(tmp_path: Path) -> None:
    path = tmp_path / "aaa.keys"
    path.write_text(f"12:{'ab' * 32}\n3:{HEX}\n")
    ring = keyring.load(path)
    assert ring.seal(BRAS, b"")[:2] == b"\0\x0c", "the largest number is the newest"
    assert len(ring.token_keys) == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rubbish\n", 1),
        (f"1:{HEX}\n2:{HEX[:-2]}\n", 2),
        (f"1:{HEX}\n\n2:{HEX}\n", 2),
        (f"1:{HEX}00\n", 1),
        (f"one:{HEX}\n", 1),
        (f":{HEX}\n", 1),
        (f"{HEX}\n", 1),
        (f"1:{'xy' * 32}\n", 1),
        (f"65536:{HEX}\n", 1),
        (f"-1:{HEX}\n", 1),
        (f"0:{HEX}\n", 1),
        (f"1:{HEX}:soon\n", 1),
        (f"1:{HEX}:1:2\n", 1),
        (f"1:{HEX}\n1:{'ab' * 32}\n", 2),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "aaa.keys"
    path.write_text(text)
    with pytest.raises(KeyRingError) as caught:
        keyring.load(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert HEX[:16] not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(KeyRingError, match=str(tmp_path / "missing")):
        keyring.load(tmp_path / "missing")
    with pytest.raises(KeyRingError, match=str(tmp_path)):
        keyring.load(tmp_path)
    for content in (b"", b"\xff\xfe"):
        (tmp_path / "aaa.keys").write_bytes(content)
        with pytest.raises(KeyRingError, match=r"aaa\.keys"):
            keyring.load(tmp_path / "aaa.keys")


# --- a change of keys ----------------------------------------------------------------------------------------------


def test_a_prepared_key_opens_and_does_not_seal(tmp_path: Path) -> None:
    path = tmp_path / "aaa.keys"
    first = keyring.create(path)
    assert keyring.prepare(path) == 2
    assert keyring.prepare(path) == 2, "one is enough"
    prepared = keyring.load(path)
    assert prepared.seal(BRAS, b"")[:2] == b"\0\1"
    assert prepared.token_keys[0] == first.token_keys[0]
    assert keyring.activate(path, 1_772_366_400_000) == 2
    active = keyring.load(path)
    assert prepared.open(BRAS, active.seal(BRAS, b"new")) == b"new", "a node that has not heard of the activation"
    assert active.token_keys == prepared.token_keys[::-1]
    assert keyring.load_keys(path)[2].since == 1_772_366_400_000
    with pytest.raises(KeyRingError, match="no key is prepared"):
        keyring.activate(path, 0)
    keyring.retire(path, frozenset({1}))
    assert keyring.load(path).numbers == {2}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["aaa.keys"]


def test_a_ring_follows_its_file_and_forgets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "aaa.keys"
    ring = keyring.create(path)
    tokens = ring.token_keys
    old = ring.seal(BRAS, b"old")
    assert ring.refresh() is False
    keyring.prepare(path)
    keyring.activate(path, 0)
    new = keyring.load(path).seal(BRAS, b"new")
    assert ring.open(BRAS, new) == b"new", "a key that is not known is looked for at once"
    assert len(tokens) == 2, "who holds the list of token keys sees the new one"
    keyring.retire(path, frozenset({1}))
    assert ring.refresh() is True
    assert ring.open(BRAS, old) == b"old"
    path.write_text("rubbish")
    with pytest.raises(KeyRingError):
        ring.refresh()
    assert ring.refresh() is False, "said once"
    path.unlink()
    assert ring.refresh() is False
    assert ring.open(BRAS, new) == b"new"
