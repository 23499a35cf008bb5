"""HMAC as everybody else computes it."""

import hmac

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aaa.wire.keyed_hash import Digest, hmac_digest


@pytest.mark.parametrize(
    ("key", "octets", "expected"),
    [  # RFC 2202 section 2, test cases 1, 2, 3 and 6
        (b"\x0b" * 16, b"Hi There", "9294727a3638bb1c13f48ef8158bfc9d"),
        (b"Jefe", b"what do ya want for nothing?", "750c783e6ab0b503eaa86e310a5db738"),
        (b"\xaa" * 16, b"\xdd" * 50, "56be34521d144c88dbb8c733f0e8b3f6"),
        (b"\xaa" * 80, b"Test Using Larger Than Block-Size Key - Hash Key First", "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"),
    ],
)
def test_the_vectors_of_rfc_2202(key: bytes, octets: bytes, expected: str) -> None:
    assert hmac_digest(key, octets, "md5").hex() == expected


@given(st.binary(max_size=130), st.binary(max_size=300), st.sampled_from(["md5", "sha256"]))
@example(b"k" * 64, b"", "sha256")
@example(b"k" * 65, b"", "sha256")
def test_any_key_and_any_octets(key: bytes, octets: bytes, digest: Digest) -> None:
    for _ in range(2):  # the second time its key is known
        assert hmac_digest(key, octets, digest) == hmac.digest(key, octets, digest)
