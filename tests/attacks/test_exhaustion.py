"""Floods: every table that a stranger can write into has an end, and who is already served goes on being served."""

from __future__ import annotations

import random
from itertools import count

import pytest
from structlog.testing import capture_logs

from aaa import directory
from aaa.drops import Drops
from aaa.eap import Conversations, Offer, fragments, packet
from aaa.eap.conversation import MOST_ROUNDS, Conversation, Ended, Say
from aaa.eap.exchange import Answer, Refused
from aaa.eap.fragments import MOST_MESSAGE_OCTETS, MOST_PIECES
from aaa.eap.table import LONGEST_MS
from aaa.handlers import EapLogins
from aaa.replies import Key, ReplyCache
from aaa.wire import Code
from tests.aaa.conftest import Floor
from tests.aaa.test_eap_conversation import response
from tests.aaa.test_eap_radius import answer_md5, hello, with_eap

FLOOD = 20_000


def offered() -> Conversation:
    return Offer(("md5",)).conversation(b"alice", None)


def test_a_flood_of_eap_identities_pushes_out_its_like_only(sqlite_floor: Floor) -> None:
    """The login that came further than saying a name survives; the table does not grow beyond its bound."""
    with_eap(sqlite_floor, "gtc", "md5", most_begun=50)
    challenge = hello(sqlite_floor)
    state = challenge.value("State")
    request = challenge.value("EAP-Message")
    assert isinstance(state, bytes)
    assert isinstance(request, bytes)
    nak = response(request[1], packet.NAK, bytes((packet.MD5,)))
    further = sqlite_floor.send_access(
        sqlite_floor.access_request([("User-Name", "alice"), ("EAP-Message", nak), ("State", state)])
    )
    for number in range(200):
        hello(sqlite_floor, f"flood-{number}")
    assert sqlite_floor.services.eap is not None
    assert len(sqlite_floor.services.eap.conversations) <= 51
    assert answer_md5(sqlite_floor, further).answer().code == Code.ACCESS_ACCEPT


def test_the_table_of_eap_conversations_is_bounded_in_number_and_age() -> None:
    chance = random.Random(1)
    table = Conversations(chance.randbytes)
    for number in range(FLOOD):
        table.begin(1, offered(), number // 1000)
    assert len(table) <= 8192
    table.begin(1, offered(), LONGEST_MS * 2)
    assert len(table) == 1


def test_a_state_can_not_be_guessed_or_counted_on(sqlite_floor: Floor) -> None:
    import secrets

    sqlite_floor.services = sqlite_floor.services._replace(
        eap=EapLogins(Offer(("md5",)), Conversations(secrets.token_bytes))
    )
    states = [hello(sqlite_floor).value("State") for _ in range(50)]
    assert len(set(states)) == 50
    assert all(isinstance(state, bytes) and len(state) == 16 for state in states)


# --- fragments: a peer that sends pieces of a message -------------------------------------------------------------


def feed(*pieces: bytes) -> str:
    """How a message in these pieces ends: as octets, or refused; where it never ends, that is said too."""
    steps = fragments.start()
    next(steps)
    try:
        for number, piece in enumerate(pieces):
            steps.send(Answer(number % 256, piece))
    except Refused as refused:
        return refused.reason
    except StopIteration as end:
        return f"{len(end.value)} octets"
    return "goes on"


MORE, LENGTH, BOTH = b"\x40", b"\x80", b"\xc0"


@pytest.mark.parametrize(
    ("pieces", "end"),
    [
        ([MORE + b"x"] * (MOST_PIECES + 1), "eap-fragment"),
        ([MORE + bytes(1000)] * 70, "eap-fragment"),
        ([MORE] * 3, "eap-fragment"),
        ([MORE + b"x", MORE], "eap-fragment"),
        ([LENGTH + b"\xff\xff\xff\xff" + b"x"], "eap-fragment"),
        ([BOTH + (MOST_MESSAGE_OCTETS + 1).to_bytes(4, "big") + b"x"], "eap-fragment"),
        ([BOTH + (5).to_bytes(4, "big") + b"abc", b"\0defgh"], "eap-fragment"),
        ([BOTH + (9).to_bytes(4, "big") + b"abc", b"\0de"], "eap-fragment"),
        ([LENGTH + b"\0\0"], "eap-malformed"),
        ([b""], "eap-malformed"),
        ([BOTH + (5).to_bytes(4, "big") + b"abc", b"\0de"], "5 octets"),
    ],
)
def test_fragments_end(pieces: list[bytes], end: str) -> None:
    """Without end, empty, announced as 4 GB, longer or shorter than announced."""
    assert feed(*pieces) == end


def test_a_conversation_without_end_is_ended() -> None:
    conversation = Offer(("gtc", "md5", "mschapv2")).conversation(b"alice", None)
    turn = conversation.receive(response(1, packet.IDENTITY, b"alice"))
    for number in count():
        assert number <= MOST_ROUNDS
        if isinstance(turn, Ended):
            break
        assert isinstance(turn, Say)
        kind = (packet.MD5, packet.GTC)[number % 2]
        turn = conversation.receive(response(turn.octets[1], packet.NAK, bytes((kind,))))


# --- tables that any datagram could fill --------------------------------------------------------------------------


def test_the_duplicate_cache_is_bounded() -> None:
    cache = ReplyCache(most=1000)
    for number in range(FLOOD):
        key = Key("auth", "192.0.2.1", number % 60_000, 1, number % 256, number.to_bytes(16, "big"))
        cache.begin(key, 0)
        if number % 2:
            cache.answer(key, b"", 0)
    assert len(cache) <= 1000


def test_spoofed_sources_fill_no_memory_and_no_log(sqlite_floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of thousands of addresses is looked up, remembered for a while, and said in at most a thousand lines."""
    assert directory._MOST_ADDRESSES <= 65_536
    monkeypatch.setattr(directory, "_MOST_ADDRESSES", 2000)
    datagram = sqlite_floor.access_request([("User-Name", "alice")])
    with capture_logs() as logged:
        for number in range(7000):
            source = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            assert sqlite_floor.nases.at(source) is None
            if number % 4 == 0:
                sqlite_floor.send_access(datagram, source)
    assert len(sqlite_floor.nases._by_address) <= 2000
    assert len(logged) == 1024
    assert sqlite_floor.login().answer().code == Code.ACCESS_ACCEPT


def test_a_flood_of_one_kind_is_one_line_a_minute() -> None:
    drops = Drops()
    with capture_logs() as logged:
        for number in range(FLOOD):
            drops.drop("bad-authenticator", "192.0.2.1", number)
    assert len(logged) == 1
    assert drops.counts["bad-authenticator"] == FLOOD
