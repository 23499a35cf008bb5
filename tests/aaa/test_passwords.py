"""Passwords: PAP and CHAP against what is kept of one."""

from __future__ import annotations

from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.passwords import Chap, Credential, Method, Pap, Unsupported, Verdict, hash_password, verify, verify_hash
from aaa.passwords.credential import UNKNOWN_USER

CLEAR = Credential(None, b"arctangent")
HASH = Credential(hash_password(b"arctangent"), None)
# RFC 2865 section 7.2: flopsy's CHAP-Password; the Request Authenticator is its challenge.
FLOPSY = Chap(
    0x16, bytes.fromhex("e97557c316185895f293ff6344077275"), bytes.fromhex("2aee86f08d0d55969ca5978e0d3367a2")
)


@pytest.mark.parametrize(
    ("method", "credential", "verdict"),
    [
        (Pap(b"arctangent"), CLEAR, "right"),
        (Pap(b"arctangen"), CLEAR, "wrong"),
        (Pap(b"arctangent\0"), CLEAR, "wrong"),
        (Pap(b"Arctangent"), CLEAR, "wrong"),
        (Pap(b""), CLEAR, "wrong"),
        (Pap(b"arctangent"), HASH, "slow"),
        (Pap(b"wrong"), HASH, "slow"),
        (Chap(1, md5(b"\x01arctangentchallenge").digest(), b"challenge"), CLEAR, "right"),
        (Chap(2, md5(b"\x01arctangentchallenge").digest(), b"challenge"), CLEAR, "wrong"),
        (Chap(1, md5(b"\x01arctangentchallenge").digest(), b"challengf"), CLEAR, "wrong"),
        (Chap(1, bytes(16), b""), CLEAR, "wrong"),
        (Chap(1, md5(b"\x01arctangentchallenge").digest(), b"challenge"), HASH, "method"),
        (Unsupported("EAP"), CLEAR, "method"),
        (Unsupported("none"), HASH, "method"),
        (Pap(b"x"), UNKNOWN_USER, "slow"),
        (Chap(1, bytes(16), b""), UNKNOWN_USER, "method"),
    ],
)
def test_verdicts(method: Method, credential: Credential, verdict: Verdict) -> None:
    assert verify(method, credential) == verdict


def test_chap_of_rfc_2865() -> None:
    assert verify(FLOPSY, CLEAR) == "right"
    assert verify(FLOPSY, Credential(None, b"arctangens")) == "wrong"


@given(st.binary(max_size=128), st.integers(0, 255), st.binary(min_size=1, max_size=64))
def test_chap_is_right_for_the_password_that_made_it_and_for_no_other(
    password: bytes, identifier: int, challenge: bytes
) -> None:
    response = md5(bytes([identifier]) + password + challenge).digest()
    assert verify(Chap(identifier, response, challenge), Credential(None, password)) == "right"
    assert verify(Chap(identifier, response, challenge), Credential(None, password + b"x")) == "wrong"


def test_hashes() -> None:
    assert HASH.argon2 is not None
    assert HASH.argon2.startswith("$argon2id$v=19$m=19456,t=2,p=1$"), "OWASP's minimum"
    assert verify_hash(HASH.argon2, b"arctangent")
    assert not verify_hash(HASH.argon2, b"arctangen")
    assert not verify_hash(HASH.argon2, b"")
    assert hash_password(b"arctangent") != HASH.argon2, "a salt of its own"


@pytest.mark.parametrize("stored", ["", "arctangent", "$argon2id$", "$1$abc$def", "$argon2id$v=19$m=8,t=1,p=1$YQ$YQ"])
def test_what_is_no_hash_fits_no_password(stored: str) -> None:
    assert not verify_hash(stored, b"arctangent")


def test_any_octets_may_be_a_password() -> None:
    for password in (b"p\xffw", b"\0", bytes(range(256))):
        assert verify_hash(hash_password(password), password)
        assert not verify_hash(hash_password(b"pw"), password)


def test_an_unknown_user_costs_what_a_known_one_costs() -> None:
    assert UNKNOWN_USER.argon2 is not None
    assert HASH.argon2 is not None
    assert UNKNOWN_USER.argon2.split("$")[:4] == HASH.argon2.split("$")[:4], "other costs would tell them apart"
