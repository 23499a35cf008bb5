"""EAP without a socket: packets, numbering, negotiation, the table of conversations, and the methods without TLS."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.eap import Check, Checked, Conversation, Conversations, Ended, Full, Offer, Proven, Refused, Say, packet
from aaa.eap import conversation as limits
from aaa.eap.exchange import Peer
from aaa.eap.table import LONGEST_MS
from aaa.passwords import Chap, MsChap2, Pap, nt_hash
from aaa.passwords.mppe import keys_2
from aaa.passwords.mschap import challenge_hash, challenge_response
from aaa.wire import Malformed

NOW = 1_772_366_400_000
PASSWORD = b"correct horse"
NT = nt_hash(PASSWORD)
assert NT is not None


def counted(octets: int) -> bytes:
    """As random as a test needs it."""
    return bytes(range(1, octets + 1))


def talk(*methods: str, user: bytes = b"alice") -> Conversation:
    return Offer(methods, random=counted).conversation(user, None)


def response(identifier: int, kind: int, data: bytes = b"") -> bytes:
    return bytes((2, identifier)) + (5 + len(data)).to_bytes(2, "big") + bytes((kind,)) + data


def said(turn: object) -> tuple[int, int, bytes]:
    """Identifier, type and data of a request."""
    assert isinstance(turn, Say), turn
    octets = turn.octets
    assert octets[0] == 1
    assert int.from_bytes(octets[2:4], "big") == len(octets)
    return octets[1], octets[4], octets[5:]


def refusal(turn: object) -> str:
    assert isinstance(turn, Ended), turn
    assert turn.octets[0] == packet.FAILURE
    assert isinstance(turn.result, Refused)
    return turn.result.reason


def proven(turn: object) -> Proven:
    assert isinstance(turn, Ended), turn
    assert turn.octets[0] == packet.SUCCESS
    assert isinstance(turn.result, Proven)
    return turn.result


# --- packets and numbering ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [
        b"", b"\x02", b"\x02\x01\x00\x04", b"\x02\x01\x00\x09\x01abc", b"\x01\x01\x00\x05\x01", b"\x03\x01\x00\x05\x01",
        b"\x02\x01\x00\x04\x01",
    ],
)  # fmt: skip
def test_what_is_no_response_is_malformed(octets: bytes) -> None:
    with pytest.raises(Malformed):
        packet.read_response(octets)


def test_padding_is_let_lie() -> None:
    assert packet.read_response(b"\x02\x07\x00\x06\x01apadding") == (7, 1, b"a")


def test_a_peer_that_only_knocks_is_asked_who_it_is() -> None:
    conversation = talk("md5")
    identifier, kind, data = said(conversation.receive(b""))
    assert (kind, data) == (packet.IDENTITY, b"")
    assert said(conversation.receive(response(identifier, packet.IDENTITY, b"alice")))[1] == packet.MD5


def test_an_answer_counts_once_and_a_lost_request_is_said_again() -> None:
    conversation = talk("gtc")
    first = conversation.receive(response(9, packet.IDENTITY, b"alice"))
    identifier, _, _ = said(first)
    assert identifier == 10
    assert conversation.receive(response(9, packet.IDENTITY, b"alice")) == first
    assert conversation.receive(response(9, packet.GTC, b"x")) is None, "an answer to an older request"
    assert conversation.receive(response(77, packet.GTC, b"x")) is None
    check = conversation.receive(response(10, packet.GTC, PASSWORD))
    assert check == Check("alice", Pap(PASSWORD))
    assert conversation.receive(response(10, packet.GTC, PASSWORD)) is None, "it is being checked"
    assert conversation.receive(response(10, packet.GTC, b"other")) is None
    assert proven(conversation.checked(Checked(None))) == Proven("alice", "EAP-GTC", None)


def test_what_could_not_be_checked_is_checked_when_it_comes_again() -> None:
    conversation = talk("gtc")
    identifier, _, _ = said(conversation.receive(response(1, packet.IDENTITY, b"alice")))
    answer = response(identifier, packet.GTC, PASSWORD)
    check = conversation.receive(answer)
    assert isinstance(check, Check)
    conversation.postpone(check)
    assert conversation.receive(answer) == check
    assert conversation.receive(answer) is None


def test_the_user_name_is_the_identity() -> None:
    assert refusal(talk("md5").receive(response(1, packet.IDENTITY, b"bob"))) == "eap-identity-mismatch"


def test_a_conversation_begins_with_an_identity() -> None:
    assert refusal(talk("md5").receive(response(1, packet.MD5, b"bob"))) == "eap-type"


def test_a_conversation_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_OCTETS", 100)
    conversation = talk("gtc")
    identifier, _, _ = said(conversation.receive(response(1, packet.IDENTITY, b"alice")))
    assert refusal(conversation.receive(response(identifier, packet.GTC, bytes(100)))) == "eap-too-long"


# --- negotiation -------------------------------------------------------------------------------------------------


def asked(conversation: Conversation) -> tuple[int, int]:
    identifier, kind, _ = said(conversation.receive(response(1, packet.IDENTITY, b"alice")))
    return identifier, kind


def test_the_first_method_is_proposed_and_another_taken_where_the_peer_wants_it() -> None:
    conversation = talk("mschapv2", "md5", "gtc")
    identifier, kind = asked(conversation)
    assert kind == packet.MSCHAPV2
    identifier, kind, _ = said(conversation.receive(response(identifier, packet.NAK, bytes((packet.GTC, packet.MD5)))))
    assert kind == packet.MD5, "the server's order counts"
    assert refusal(conversation.receive(response(identifier, packet.NAK, bytes((packet.GTC,))))) == "eap-type", (
        "once only"
    )


@pytest.mark.parametrize("wanted", [b"", b"\0", bytes((packet.TLS,)), bytes((packet.MSCHAPV2,))])
def test_nothing_in_common(wanted: bytes) -> None:
    conversation = talk("mschapv2", "md5")
    identifier, _ = asked(conversation)
    assert refusal(conversation.receive(response(identifier, packet.NAK, wanted))) == "eap-no-common-method"


def test_methods_over_tls_are_not_offered_without_a_certificate() -> None:
    assert asked(talk("peap", "tls", "ttls", "md5"))[1] == packet.MD5
    assert refusal(talk("peap").receive(response(1, packet.IDENTITY, b"alice"))) == "eap-no-method"


def test_an_unknown_name_is_no_offer() -> None:
    with pytest.raises(ValueError, match="'pwd' is no EAP method; there are peap, ttls, tls, mschapv2, md5, gtc"):
        Offer(["pwd"])


# --- methods -----------------------------------------------------------------------------------------------------


def test_md5() -> None:
    conversation = talk("md5")
    identifier, _, data = said(conversation.receive(response(1, packet.IDENTITY, b"alice")))
    assert data == b"\x10" + counted(16)
    proof = md5(bytes((identifier,)) + PASSWORD + counted(16)).digest()
    check = conversation.receive(response(identifier, packet.MD5, b"\x10" + proof + b"alice"))
    assert check == Check("alice", Chap(identifier, proof, counted(16)))
    assert proven(conversation.checked(Checked(None))).method == "EAP-MD5"


@pytest.mark.parametrize("data", [b"", b"\x10", b"\x0f" + bytes(16), b"\x10" + bytes(15)])
def test_md5_malformed(data: bytes) -> None:
    conversation = talk("md5")
    identifier, _ = asked(conversation)
    assert refusal(conversation.receive(response(identifier, packet.MD5, data))) == "eap-malformed"


def mschapv2_response(challenge: bytes, number: int = 1, name: bytes = b"alice") -> tuple[bytes, MsChap2]:
    assert NT is not None
    nt_response = challenge_response(challenge_hash(bytes(16), challenge, name), NT)
    value = b"\x31" + bytes(24) + nt_response + b"\0" + name
    data = bytes((2, number)) + (4 + len(value)).to_bytes(2, "big") + value
    return data, MsChap2(number, challenge, bytes(16), nt_response, name)


def begun_mschapv2(user: bytes = b"alice") -> tuple[Conversation, int, bytes]:
    conversation = talk("mschapv2", user=user)
    identifier, _, data = said(conversation.receive(response(1, packet.IDENTITY, user)))
    assert data[:2] == b"\x01\x01"
    assert int.from_bytes(data[2:4], "big") == len(data)
    return conversation, identifier, data[5 : 5 + data[4]]


def test_mschapv2() -> None:
    conversation, identifier, challenge = begun_mschapv2()
    data, method = mschapv2_response(challenge)
    assert conversation.receive(response(identifier, packet.MSCHAPV2, data)) == Check("alice", method)
    identifier, _, data = said(conversation.checked(Checked(None, NT)))
    assert data[0] == 3
    assert data[4:6] == b"S="
    assert NT is not None
    assert proven(conversation.receive(response(identifier, packet.MSCHAPV2, b"\x03"))) == Proven(
        "alice", "EAP-MSCHAPv2", keys_2(NT, method.nt_response)
    )


def test_mschapv2_with_a_wrong_password_hears_a_failure_first() -> None:
    conversation, identifier, challenge = begun_mschapv2()
    data, _ = mschapv2_response(challenge)
    conversation.receive(response(identifier, packet.MSCHAPV2, data))
    identifier, _, data = said(conversation.checked(Checked("wrong-password")))
    assert data[0] == 4
    assert data[4:].startswith(b"E=691 R=0 C=")
    assert refusal(conversation.receive(response(identifier, packet.MSCHAPV2, b"\x04"))) == "wrong-password"


def test_mschapv2_where_the_peer_does_not_believe_the_server() -> None:
    conversation, identifier, challenge = begun_mschapv2()
    conversation.receive(response(identifier, packet.MSCHAPV2, mschapv2_response(challenge)[0]))
    identifier, _, _ = said(conversation.checked(Checked(None, NT)))
    assert refusal(conversation.receive(response(identifier, packet.MSCHAPV2, b"\x04"))) == "eap-server-refused"


def test_mschapv2_with_a_domain_before_the_name() -> None:
    conversation, identifier, challenge = begun_mschapv2(b"HOME\\alice")
    data, _ = mschapv2_response(challenge)
    assert isinstance(conversation.receive(response(identifier, packet.MSCHAPV2, data)), Check)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: b"", "eap-malformed"),
        (lambda data: data[:53], "eap-malformed"),
        (lambda data: b"\x07" + data[1:], "eap-malformed"),
        (lambda data: data[:1] + b"\x02" + data[2:], "eap-malformed"),
        (lambda data: data[:4] + b"\x30" + data[5:], "eap-malformed"),
        (lambda data: data + b"x", "eap-identity-mismatch"),
    ],
)
def test_mschapv2_malformed(change: Callable[[bytes], bytes], reason: str) -> None:
    conversation, identifier, challenge = begun_mschapv2()
    data, _ = mschapv2_response(challenge)
    assert refusal(conversation.receive(response(identifier, packet.MSCHAPV2, change(data)))) == reason


@given(
    st.sampled_from(["md5", "gtc", "mschapv2"]),
    st.lists(st.one_of(st.binary(max_size=80), st.tuples(st.integers(0, 255), st.binary(max_size=80))), max_size=8),
)
def test_whatever_a_peer_says_ends_in_a_turn_or_is_malformed(
    method: str, answers: list[bytes | tuple[int, bytes]]
) -> None:
    conversation = talk(method)
    turn = conversation.receive(response(1, packet.IDENTITY, b"alice"))
    for answer in answers:
        if isinstance(turn, Check):
            turn = conversation.checked(Checked("wrong-password"))
        if isinstance(turn, Ended):
            assert isinstance(turn.result, Refused)
            break
        identifier, _, _ = said(turn)
        octets = answer if isinstance(answer, bytes) else response(identifier, *answer)
        try:
            turn = conversation.receive(octets) or turn
        except Malformed:
            continue


# --- who is meant ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outer", "inner", "reason"),
    [
        (b"alice", b"alice", None),
        (b"anonymous", b"alice", None),
        (b"Anonymous@isp.example", b"alice@ISP.example", None),
        (b"@isp.example", b"alice@isp.example", None),
        (b"@isp.example", b"alice", None),
        (b"", b"alice@isp.example", None),
        (b"anonymous", b"alice@isp.example", None),
        (b"alice", b"alice@isp.example", None),
        (b"bob", b"alice", "eap-identity-mismatch"),
        (b"bob@isp.example", b"alice@isp.example", "eap-identity-mismatch"),
        (b"@isp.example", b"alice@other.example", "eap-realm-mismatch"),
        (b"alice@isp.example", b"alice@other.example", "eap-realm-mismatch"),
        (b"", b"x" * 254, "eap-malformed"),
    ],
)
def test_the_name_inside_is_the_one_that_counts_and_the_one_outside_must_not_belie_it(
    outer: bytes, inner: bytes, reason: str | None
) -> None:
    peer = Peer(outer, 1000, counted)
    if reason is None:
        assert peer.inside(inner, 500).identity == inner
    else:
        with pytest.raises(Refused) as caught:
            peer.inside(inner, 500)
        assert caught.value.reason == reason


# --- the table ---------------------------------------------------------------------------------------------------


def table(**most: int) -> Conversations:
    made = iter(range(1000))
    return Conversations(lambda octets: next(made).to_bytes(octets, "big"), **most)


def test_a_conversation_is_found_by_its_state_and_its_nas() -> None:
    conversations, conversation = table(), talk("md5")
    state = conversations.begin(7, conversation, NOW)
    assert conversations.find(7, state, NOW + 1) is conversation
    assert conversations.find(8, state, NOW + 1) is None
    assert conversations.find(7, b"x" * 16, NOW + 1) is None
    conversations.end(state)
    assert conversations.find(7, state, NOW + 1) is None
    assert len(conversations) == 0


def test_a_conversation_grows_old() -> None:
    conversations = table()
    begun, going = conversations.begin(7, talk("md5"), NOW), conversations.begin(7, talk("md5"), NOW)
    assert conversations.find(7, going, NOW + LONGEST_MS - 1) is not None
    assert conversations.find(7, going, NOW + LONGEST_MS) is None
    assert conversations.find(7, begun, NOW + LONGEST_MS) is None
    assert len(conversations) == 0


def test_a_flood_of_beginners_pushes_out_its_like_only() -> None:
    conversations = table(most_begun=10, most_going=3)
    going = [conversations.begin(7, talk("md5"), NOW) for _ in range(3)]
    assert all(conversations.find(7, state, NOW) for state in going)
    late = [conversations.begin(7, talk("md5"), NOW) for _ in range(100)]
    assert all(conversations.find(7, state, NOW) for state in going)
    assert len(conversations) == 13
    assert conversations.find(7, late[0], NOW) is None, "pushed out"
    with pytest.raises(Full):
        conversations.find(7, late[-1], NOW)
    conversations.end(going[0])
    assert conversations.find(7, late[-1], NOW) is not None
