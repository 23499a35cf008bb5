"""The Class token: only ours is believed, whatever comes."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aaa.tokens import TOKEN_OCTETS, read_token, token

KEY, OLD_KEY = b"k" * 32, b"o" * 32
IDS = st.integers(min_value=1, max_value=2**63 - 1)
GOOD = token(12, 153_833_648_948_352_994, KEY)


@given(IDS, IDS)
def test_what_was_signed_is_read(account_id: int, session_id: int) -> None:
    made = token(account_id, session_id, KEY)
    assert len(made) == TOKEN_OCTETS
    assert set(made.decode("ascii")) <= set(string.ascii_letters + string.digits + "-_")
    assert read_token(made, [KEY]) == (account_id, session_id)


def test_a_token_of_an_older_key_is_read_while_the_ring_holds_it() -> None:
    old = token(1, 2, OLD_KEY)
    assert read_token(old, [KEY, OLD_KEY]) == (1, 2)
    assert read_token(old, [KEY]) is None
    assert read_token(old, []) is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"a",
        GOOD[:-1],
        GOOD + b"A",
        b"b" + GOOD[1:],
        GOOD.swapcase(),
        GOOD[:-1] + b"=",
        GOOD[:5] + b"\n" + GOOD[6:],
        GOOD[:5] + b"\xff" + GOOD[6:],
        b"a" + bytes(36),
        b"a" + b"A" * 36,
        b"a" + b"=" * 36,
        token(12, 153_833_648_948_352_994, b""),
    ],
)
def test_everything_else_is_nothing(value: bytes) -> None:
    assert read_token(value, [KEY, OLD_KEY]) is None


@given(st.binary(max_size=64) | st.binary(min_size=TOKEN_OCTETS, max_size=TOKEN_OCTETS))
@example(b"a" + b"!" * 36)
def test_any_octets_are_no_token(value: bytes) -> None:
    assert read_token(value, [KEY]) is None


@given(st.integers(0, TOKEN_OCTETS - 1), st.integers(0, 255))
def test_no_octet_of_a_token_can_be_changed_to_another_meaning(at: int, octet: int) -> None:
    changed = GOOD[:at] + bytes([octet]) + GOOD[at + 1 :]
    assert read_token(changed, [KEY]) in (None, read_token(GOOD, [KEY]))


def test_two_tokens_can_not_be_mixed() -> None:
    other = token(13, 7, KEY)
    for cut in range(1, TOKEN_OCTETS):
        mixed = GOOD[:cut] + other[cut:]
        if mixed not in (GOOD, other):
            assert read_token(mixed, [KEY]) is None
