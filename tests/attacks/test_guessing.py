"""Who tries passwords, and who tries names: neither the answer, nor its time, nor the work for it tells them apart."""

from __future__ import annotations

import time
from statistics import median

import pytest
from twisted.internet.defer import Deferred

from aaa import wire
from aaa.handlers import REJECT_DELAY_MS, _verdict
from aaa.passwords import Pap
from aaa.passwords.credential import UNKNOWN_USER
from aaa.wire import Code
from tests.aaa.conftest import PASSWORD, Floor


def test_every_reject_takes_the_same_second_and_has_the_same_words(sqlite_floor: Floor) -> None:
    """Unknown, wrong, suspended with a wrong password, without a password that PAP could check."""
    sqlite_floor.add_subscriber("hashed", chap=False)
    sqlite_floor.add_subscriber("suspended", status="suspended")
    said = set()
    for name in ("alice", "hashed", "suspended", "nobody", "ALICE", "", " alice", "x" * 250):
        sent = sqlite_floor.send_access(
            sqlite_floor.access_request(
                [("User-Name", name), ("User-Password", b"wrong")] if name else [("User-Password", b"wrong")]
            )
        )
        sqlite_floor.clock.advance(REJECT_DELAY_MS / 1000 - 0.001)
        assert not sent.reply, name
        sqlite_floor.clock.advance(0.001)
        if name:
            packet = sent.answer()
            assert packet.code == Code.ACCESS_REJECT
            said.add(tuple(wire.decode(packet))[1:])
    assert len(said) == 1


def test_guessing_locks_nobody_out_and_fills_nothing(sqlite_floor: Floor) -> None:
    for number in range(300):
        sent = sqlite_floor.login(password=b"guess %d" % number)
        sqlite_floor.clock.advance(1)
        assert sent.reply is None or sent.reply[0] == Code.ACCESS_REJECT
    assert sqlite_floor.services.rejects.waiting == 0
    sqlite_floor.clock.advance(3600)
    assert sqlite_floor.login().answer().code == Code.ACCESS_ACCEPT


@pytest.mark.parametrize("known", ["hashed", "nobody"])
def test_an_unknown_user_is_checked_against_a_hash_like_any_other(sqlite_floor: Floor, known: str) -> None:
    assert UNKNOWN_USER.argon2 is not None
    sqlite_floor.add_subscriber("hashed", chap=False)
    sqlite_floor.passwords.holding = True
    sent = sqlite_floor.login(known, b"wrong")
    sqlite_floor.clock.advance(5)
    assert not sent.done, "it waits for the hash"
    sqlite_floor.passwords.release()
    sqlite_floor.clock.advance(1)
    assert sent.answer().code == Code.ACCESS_REJECT


def test_timing_tells_nothing_about_names(sqlite_floor: Floor) -> None:
    """Statistically: the processor time of 15 wrong passwords for somebody known and of 15 for nobody, in turns. The middle ones
    differ by less than a quarter, where a lookup without a hash would be a hundred times faster."""
    sqlite_floor.add_subscriber("hashed", chap=False)
    services = sqlite_floor.services
    (known,) = [_looked_up(sqlite_floor, "hashed")]
    spent: dict[str, list[float]] = {"known": [], "unknown": []}
    for number in range(15):
        for name, subscriber in (("known", known), ("unknown", None)):
            began = time.process_time()
            done = Deferred.fromCoroutine(_verdict(services, Pap(b"guess %d" % number), subscriber, sqlite_floor.now()))
            spent[name].append(time.process_time() - began)
            assert done.result == "wrong"
    one, other = (median(each) for each in spent.values())
    assert 0.75 < one / other < 1.33, spent
    assert one > 0.002, "a hash is slow"


def _looked_up(floor: Floor, name: str):  # type: ignore[no-untyped-def]
    found: list[object] = []
    floor.services.subscribers.subscriber(name).addCallback(found.append)
    return found[0]


def test_a_code_can_not_be_tried_beside_a_wrong_password(sqlite_floor: Floor) -> None:
    """With a wrong password the right code is not used up, and the Reject does not say which of both was wrong."""
    secret = b"twenty octets of it!"
    from aaa.passwords import totp

    sqlite_floor.add_subscriber("carol", totp_sealed=sqlite_floor.keys.seal("subscriber.totp:carol", secret))
    code = totp.code_at(secret, sqlite_floor.now() // 30_000)
    answers = []
    for password in (b"wrong" + code, PASSWORD + b"000000", PASSWORD, code):
        sent = sqlite_floor.login("carol", password)
        sqlite_floor.clock.advance(1)
        answers.append(wire.decode(sent.answer())[1:])
    assert all(each == answers[0] for each in answers)
    assert (
        sqlite_floor.login("carol", PASSWORD + totp.code_at(secret, sqlite_floor.now() // 30_000)).answer().code
        == Code.ACCESS_ACCEPT
    )
