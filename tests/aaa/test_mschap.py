"""MS-CHAP and its keys: the examples of the RFCs, and both versions through the server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa import wire
from aaa.messages import access_request
from aaa.passwords import (
    Credential,
    MsChap1,
    MsChap2,
    Pap,
    PasswordChange,
    Unsupported,
    hash_password,
    hash_secret,
    nt_hash,
    verify,
)
from aaa.passwords.mppe import keys_2, master_key
from aaa.passwords.mschap import authenticator_response, challenge_hash, challenge_response, failure
from aaa.passwords.nt import hash_of_hash
from aaa.wire import Attribute, Code
from tests.aaa.conftest import PASSWORD, SECRET, Floor

# RFC 2759 section 9.2
USER = b"User"
CLIENT_PASS = b"clientPass"
CHALLENGE = bytes.fromhex("5B5D7C7D7B3F2F3E3C2C602132262628")
PEER_CHALLENGE = bytes.fromhex("21402324255E262A28295F2B3A337C7E")
NT_RESPONSE = bytes.fromhex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF")
RFC_2759 = MsChap2(7, CHALLENGE, PEER_CHALLENGE, NT_RESPONSE, USER)
# RFC 2433 appendix B.2
CHALLENGE_1 = bytes.fromhex("102DB5DF085D3041")
RFC_2433 = MsChap1(7, CHALLENGE_1, bytes.fromhex("4E9D3C8F9CFD385D5BF4D3246791956CA4C351AB409A3D61"))


def test_the_example_of_rfc_2759() -> None:
    nt = nt_hash(CLIENT_PASS)
    assert nt == bytes.fromhex("44EBBA8D5312B8D611474411F56989AE")
    assert hash_of_hash(nt) == bytes.fromhex("41C00C584BD2D91C4017A2A12FA59F3F")
    assert challenge_hash(PEER_CHALLENGE, CHALLENGE, USER) == bytes.fromhex("D02E4386BCE91226")
    assert verify(RFC_2759, Credential(nt=nt)) == "right"
    assert authenticator_response(RFC_2759, nt) == b"S=407A5589115FD0D6209F510FE9C04566932CDA56"


def test_the_example_of_rfc_3079() -> None:
    """Section 3.5.3: 128 bits."""
    nt = nt_hash(CLIENT_PASS)
    assert nt is not None
    assert master_key(nt, NT_RESPONSE) == bytes.fromhex("FDECE3717A8C838CB388E527AE3CDD31")
    assert keys_2(nt, NT_RESPONSE).send == bytes.fromhex("8B7CDC149B993A1BA118CB153F56DCCB")


def test_the_example_of_rfc_2433() -> None:
    assert nt_hash(b"MyPw") == bytes.fromhex("FC156AF7EDCD6C0EDDE3337D427F4EAC")
    assert verify(RFC_2433, Credential(clear=b"MyPw")) == "right"
    assert verify(RFC_2433, Credential(clear=b"myPw")) == "wrong"


def test_a_domain_is_no_part_of_the_name() -> None:
    assert (
        verify(MsChap2(7, CHALLENGE, PEER_CHALLENGE, NT_RESPONSE, b"DOMAIN\\User"), Credential(clear=CLIENT_PASS))
        == "right"
    )
    assert verify(MsChap2(7, CHALLENGE, PEER_CHALLENGE, NT_RESPONSE, b"user"), Credential(clear=CLIENT_PASS)) == "wrong"


@given(
    st.text(max_size=64),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=16, max_size=16),
    st.binary(max_size=20),
)
def test_only_the_password_that_made_a_response_is_right(
    password: str, challenge: bytes, peer_challenge: bytes, name: bytes
) -> None:
    clear = password.encode()
    nt = nt_hash(clear)
    assert nt is not None
    response = challenge_response(challenge_hash(peer_challenge, challenge, name), nt)
    method = MsChap2(1, challenge, peer_challenge, response, name)
    assert verify(method, Credential(clear=clear)) == verify(method, Credential(nt=nt)) == "right"
    assert verify(method, Credential(clear=clear + b"x")) == "wrong"


def test_what_is_kept_decides_which_method_is_possible() -> None:
    nt = nt_hash(b"arctangent")
    assert verify(Pap(b"arctangent"), Credential(nt=nt)) == "right"
    assert verify(Pap(b"arctangens"), Credential(nt=nt)) == "wrong"
    assert verify(Pap(b"p\xffw"), Credential(nt=nt)) == "wrong"
    assert verify(Pap(b"arctangent"), Credential(sha256=hash_secret(b"arctangent"))) == "right"
    assert verify(Pap(b"arctangens"), Credential(sha256=hash_secret(b"arctangent"))) == "wrong"
    assert verify(Pap(b""), Credential()) == "method"
    for kept in (Credential(hash_password(CLIENT_PASS)), Credential(sha256=hash_secret(CLIENT_PASS)), Credential()):
        assert verify(RFC_2759, kept) == "method"
    assert verify(RFC_2759, Credential(clear=b"p\xffw")) == "method", "no client can have typed it as Unicode"


# --- over RADIUS (RFC 2548) ----------------------------------------------------------------------------------------


def version_2(password: bytes, username: str = "alice") -> list[Attribute]:
    nt = nt_hash(password)
    assert nt is not None
    response = challenge_response(challenge_hash(PEER_CHALLENGE, CHALLENGE, username.encode()), nt)
    return [("MS-CHAP-Challenge", CHALLENGE), ("MS-CHAP2-Response", b"\x07\0" + PEER_CHALLENGE + bytes(8) + response)]


def version_1(password: bytes, flags: int = 1) -> list[Attribute]:
    nt = nt_hash(password)
    assert nt is not None
    response = challenge_response(CHALLENGE_1, nt)
    return [("MS-CHAP-Challenge", CHALLENGE_1), ("MS-CHAP-Response", bytes([7, flags]) + bytes(24) + response)]


def test_version_2_logs_in_with_its_proof_and_keys(floor: Floor) -> None:
    datagram = floor.access_request([("User-Name", "alice"), *version_2(PASSWORD)])
    sent = floor.send_access(datagram)
    assert sent.answer().code == Code.ACCESS_ACCEPT
    nt = nt_hash(PASSWORD)
    assert nt is not None
    request = access_request(wire.parse(datagram, frozenset({1})), SECRET)
    assert isinstance(request.method, MsChap2)
    assert sent.value("MS-CHAP2-Success") == b"\x07" + authenticator_response(request.method, nt)
    keys = keys_2(nt, request.method.nt_response)
    for name, key in (("MS-MPPE-Send-Key", keys.send), ("MS-MPPE-Recv-Key", keys.recv)):
        hidden = sent.value(name)
        assert isinstance(hidden, bytes)
        assert wire.reveal_salted(hidden, SECRET, datagram[4:20]) == key
    assert sent.value("MS-MPPE-Encryption-Types") == 4


def test_version_1_logs_in_with_its_keys(sqlite_floor: Floor) -> None:
    sent = sqlite_floor.send_access(sqlite_floor.access_request([("User-Name", "alice"), *version_1(PASSWORD)]))
    assert sent.answer().code == Code.ACCESS_ACCEPT
    hidden = sent.value("MS-CHAP-MPPE-Keys")
    assert isinstance(hidden, bytes)
    assert len(hidden) == 32
    assert sent.value("MS-MPPE-Send-Key") is None


@pytest.mark.parametrize(
    ("username", "attributes", "error"),
    [
        ("alice", version_2(b"wrong"), 691),
        ("alice", version_1(b"wrong"), 691),
        ("nobody", version_2(PASSWORD, "nobody"), 691),
        ("carol", version_2(PASSWORD, "carol"), 691),
        ("dave", version_2(PASSWORD, "dave"), 647),
        ("alice", [("MS-CHAP2-CPW", b"\x07\x07" + bytes(66))], 709),
    ],
)
def test_a_refusal_says_no_more_than_it_must(
    sqlite_floor: Floor, username: str, attributes: list[Attribute], error: int
) -> None:
    sqlite_floor.add_subscriber("carol", chap=False)
    sqlite_floor.add_subscriber("dave", status="suspended")
    sent = sqlite_floor.send_access(sqlite_floor.access_request([("User-Name", username), *attributes]))
    sqlite_floor.clock.advance(1)
    assert sent.answer().code == Code.ACCESS_REJECT
    said = sent.value("MS-CHAP-Error")
    assert isinstance(said, bytes)
    assert said.startswith(b"\x07E=%d R=0 " % error)
    assert sent.value("MS-CHAP2-Success") is None


def test_the_text_of_a_failure() -> None:
    assert failure(691, bytes(8)) == b"E=691 R=0 V=2"
    assert failure(691, bytes(16)) == b"E=691 R=0 C=" + b"0" * 32 + b" V=3 M=Access denied"


@pytest.mark.parametrize(
    ("attributes", "method"),
    [
        (version_1(PASSWORD, flags=0), Unsupported("MS-CHAP with an LM response")),
        ([*version_1(PASSWORD), version_2(PASSWORD)[1]], Unsupported("several")),
        (version_1(PASSWORD)[1:], Unsupported("MS-CHAP")),
        ([("MS-CHAP-Challenge", CHALLENGE)], Unsupported("none")),
        ([("MS-CHAP-CPW-2", b"\x06\x09" + bytes(84))], PasswordChange(9)),
    ],
)
def test_what_is_no_response(attributes: list[Attribute], method: object) -> None:
    octets = wire.request(
        Code.ACCESS_REQUEST, 1, [("User-Name", "alice"), *attributes], SECRET, message_authenticator=True
    )
    assert access_request(wire.parse(octets, frozenset({1})), SECRET).method == method
