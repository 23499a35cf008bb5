"""What happened → what the NAS sees: the table of failures, case by case, and what the answers say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import md5
from typing import Any

import psycopg
import pytest
from psycopg import sql
from structlog.testing import capture_logs
from twisted.internet.task import Clock

from aaa import wire
from aaa.handlers import MOST_WAITING_REJECTS, REJECT_DELAY_MS
from aaa.tokens import read_token, token
from aaa.wire import Attribute, Code
from charging import tables
from charging.database import open_engine
from charging.plan import Allowance, Exhausted, Plan, Profile
from tests.aaa.conftest import (
    DATA,
    HOME,
    NAS_ADDRESS,
    NOON,
    PASSWORD,
    PREPAID,
    SECRET,
    SLOW,
    AtOnce,
    Floor,
    Outage,
    Sent,
    make_libpq,
)

START, STOP, INTERIM, ON, OFF = 1, 2, 3, 7, 8
OTHER_SECRET = b"quite another secret, 32 octets."
REJECT_DELAY = REJECT_DELAY_MS / 1000


def rejected(floor: Floor, sent: Sent) -> list[Attribute]:
    """What a Reject says, after checking that it came neither early nor late."""
    assert sent.reply is None, "answered at once"
    floor.clock.advance(REJECT_DELAY - 0.001)
    assert sent.reply is None, "answered before its second was over"
    floor.clock.advance(0.001)
    assert sent.answer().code == Code.ACCESS_REJECT
    return sent.said()


def silent(sent: Sent, clock: Clock) -> None:
    """Nothing was said, nothing will be, and nothing broke."""
    clock.advance(60)
    assert sent.done
    assert sent.reply is None


# --- who speaks, and does he prove it? ---------------------------------------------------------------------------


def damaged(datagram: bytes, at: int) -> bytes:
    return datagram[:at] + bytes([datagram[at] ^ 1]) + datagram[at + 1 :]


def without_message_authenticator(floor: Floor) -> bytes:
    return floor.access_request([("User-Name", "alice"), ("User-Password", PASSWORD)], signed=False)


def wrongly_proven() -> bytes:
    """An Accounting-Request with the right Request Authenticator (RFC 2866 section 3) and a wrong Message-Authenticator."""
    head, body = b"\x04\x01\x00\x2c", b"\x28\x06\x00\x00\x00\x01" + b"\x50\x12" + bytes(16)
    return head + md5(head + bytes(16) + body + SECRET).digest() + body


ACCESS_SILENCE: list[tuple[str, str, Callable[[Floor], Sent]]] = [
    ("unknown NAS", "unknown-nas", lambda f: f.login(source="198.51.100.1")),
    ("empty", "length", lambda f: f.send_access(b"")),
    ("cut", "length", lambda f: f.send_access(f.access_request([("User-Name", "alice")])[:-1])),
    ("a code for another port", "code", lambda f: f.send_access(f.accounting_request([("Acct-Status-Type", 1)]))),
    ("an answer", "code", lambda f: f.send_access(bytes.fromhex("02010014") + bytes(16))),
    ("attributes that do not chain", "attribute-chain", lambda f: f.send_access(b"\x01\x01\x00\x17" + bytes(16) + b"\x01\x09a")),
    ("wrong Message-Authenticator", "bad-authenticator", lambda f: f.send_access(damaged(f.access_request([("User-Name", "alice")]), 25))),
    ("another secret", "bad-authenticator", lambda f: f.login(secret=OTHER_SECRET)),
    ("no Message-Authenticator", "message-authenticator-missing", lambda f: f.login(signed=False)),
    ("no User-Name", "attribute-value", lambda f: f.send_access(f.access_request([("User-Password", b"x")]))),
    ("CHAP-Password of 16 octets", "attribute-value", lambda f: f.send_access(f.access_request([("User-Name", "alice"), ("CHAP-Password", bytes(16))]))),
    ("Status-Server without Message-Authenticator", "message-authenticator-missing", lambda f: f.send_access(f.status_request(signed=False))),
]  # fmt: skip

ACCOUNTING_SILENCE: list[tuple[str, str, Callable[[Floor], Sent]]] = [
    ("unknown NAS", "unknown-nas", lambda f: f.report(START, source="198.51.100.1")),
    ("a code for another port", "code", lambda f: f.send_accounting(f.access_request([("User-Name", "alice")]))),
    ("wrong authenticator", "bad-authenticator", lambda f: f.report(START, secret=OTHER_SECRET)),
    ("one octet changed", "bad-authenticator", lambda f: f.send_accounting(damaged(f.accounting_request([("Acct-Status-Type", 1)]), 25))),
    ("a wrong Message-Authenticator under a right authenticator", "bad-authenticator", lambda f: f.send_accounting(wrongly_proven())),
    ("no Acct-Status-Type", "attribute-value", lambda f: f.send_accounting(f.accounting_request([("User-Name", "alice")]))),
    ("two Acct-Session-Ids", "repeated-attribute", lambda f: f.report(START, ("Acct-Session-Id", "again"))),
    ("a counter of 3 octets", "attribute-value", lambda f: f.report(INTERIM, ("Attr-42", b"abc"))),
    ("Status-Server without Message-Authenticator", "message-authenticator-missing", lambda f: f.send_accounting(f.status_request(signed=False))),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "send"), [c[1:] for c in ACCESS_SILENCE], ids=[c[0] for c in ACCESS_SILENCE])
def test_silence_on_the_authentication_port_is_counted(
    sqlite_floor: Floor, reason: str, send: Callable[[Floor], Sent]
) -> None:
    silent(send(sqlite_floor), sqlite_floor.clock)
    assert sqlite_floor.dropped == {reason: 1}
    assert len(sqlite_floor.services.replies) == 0
    assert not sqlite_floor.rows(tables.session)


@pytest.mark.parametrize(
    ("reason", "send"), [c[1:] for c in ACCOUNTING_SILENCE], ids=[c[0] for c in ACCOUNTING_SILENCE]
)
def test_silence_on_the_accounting_port_is_counted(
    sqlite_floor: Floor, reason: str, send: Callable[[Floor], Sent]
) -> None:
    silent(send(sqlite_floor), sqlite_floor.clock)
    assert sqlite_floor.dropped == {reason: 1}
    assert len(sqlite_floor.services.replies) == 0
    assert not sqlite_floor.rows(tables.orphan_report)


@pytest.mark.parametrize("send", [Floor.send_access, Floor.send_accounting])
def test_a_packet_that_proves_nothing_does_not_touch_the_duplicate_cache(
    sqlite_floor: Floor, send: Callable[[Floor, bytes], Sent]
) -> None:
    floor = sqlite_floor
    if send is Floor.send_access:
        request = floor.access_request([("User-Name", "alice"), ("User-Password", PASSWORD)], identifier=7)
        forged = floor.access_request([("User-Name", "alice"), ("User-Password", b"?")], identifier=7, signed=False)
    else:
        request = wire.request(Code.STATUS_SERVER, 7, (), SECRET, message_authenticator=True)
        forged = wire.request(Code.STATUS_SERVER, 7, (), SECRET, message_authenticator=False)
    first = send(floor, request)
    assert first.reply is not None
    silent_forgery = send(floor, forged)
    assert silent_forgery.done
    assert silent_forgery.reply is None
    assert send(floor, request).reply == first.reply


# --- Message-Authenticator: yes, learn, no -----------------------------------------------------------------------

PROXIED: list[Attribute] = [("Proxy-State", b"p1")]
EAP: list[Attribute] = [("EAP-Message", b"\x02\x01\x00\x0a\x01alice")]


@pytest.mark.parametrize(
    ("require", "limit", "more", "signed", "outcome"),
    [
        ("yes", True, [], True, "accept"),
        ("yes", True, [], False, "message-authenticator-missing"),
        ("yes", True, PROXIED, True, "accept"),
        ("learn", True, [], False, "accept"),
        ("learn", True, PROXIED, False, "proxy-state-unsigned"),
        ("learn", True, PROXIED, True, "accept"),
        ("learn", False, PROXIED, False, "accept"),
        ("no", True, [], False, "accept"),
        ("no", True, PROXIED, False, "proxy-state-unsigned"),
        ("no", False, PROXIED, False, "accept"),
        ("no", False, EAP, False, "message-authenticator-missing"),
        ("learn", True, EAP, False, "message-authenticator-missing"),
    ],
)
def test_what_is_asked_of_a_nas(
    sqlite_floor: Floor, require: str, limit: bool, more: list[Attribute], signed: bool, outcome: str
) -> None:
    sqlite_floor.set_nas("bras-1", require_message_authenticator=require, limit_proxy_state=limit, revised_at=NOON + 1)
    sqlite_floor.nases.refresh()
    sent = sqlite_floor.login(more=more, signed=signed)
    if outcome == "accept":
        assert sent.answer().code == Code.ACCESS_ACCEPT
        assert sqlite_floor.dropped == {}
    else:
        silent(sent, sqlite_floor.clock)
        assert sqlite_floor.dropped == {outcome: 1}


@pytest.mark.parametrize("require", ["yes", "learn", "no"])
def test_a_wrong_message_authenticator_is_never_taken(sqlite_floor: Floor, require: str) -> None:
    sqlite_floor.set_nas("bras-1", require_message_authenticator=require, revised_at=NOON + 1)
    sqlite_floor.nases.refresh()
    sent = sqlite_floor.login(secret=OTHER_SECRET)
    silent(sent, sqlite_floor.clock)
    assert sqlite_floor.dropped == {"bad-authenticator": 1}


def test_learn_turns_to_yes_with_the_first_valid_message_authenticator_and_stays_so(floor: Floor) -> None:
    floor.set_nas("bras-1", require_message_authenticator="learn", revised_at=NOON + 1)
    floor.nases.refresh()
    assert floor.login(signed=False).answer().code == Code.ACCESS_ACCEPT
    assert floor.rows(tables.nas)[0].require_message_authenticator == "learn"
    floor.clock.advance(10)
    floor.login(password=b"wrong")  # the password has nothing to do with it
    assert floor.rows(tables.nas)[0].require_message_authenticator == "yes"
    floor.nases.refresh()
    silent(floor.login(signed=False), floor.clock)
    assert floor.dropped == {"message-authenticator-missing": 1}


def test_learn_learns_nothing_from_eap(sqlite_floor: Floor) -> None:
    sqlite_floor.set_nas("bras-1", require_message_authenticator="learn", revised_at=NOON + 1)
    sqlite_floor.nases.refresh()
    rejected(sqlite_floor, sqlite_floor.login(more=EAP))
    assert sqlite_floor.rows(tables.nas)[0].require_message_authenticator == "learn"


# --- duplicates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["accept", "reject", "accounting", "status"])
def test_a_duplicate_gets_the_same_bytes(floor: Floor, kind: str) -> None:
    send = floor.send_accounting if kind == "accounting" else floor.send_access
    if kind == "accounting":
        request = floor.accounting_request([("Acct-Status-Type", INTERIM), ("User-Name", "alice")])
    elif kind == "status":
        request = floor.status_request()
    else:
        password = PASSWORD if kind == "accept" else b"wrong"
        request = floor.access_request([("User-Name", "alice"), ("User-Password", password)])
    first = send(request)
    floor.clock.advance(1)
    assert first.reply is not None
    floor.clock.advance(4)
    again = send(request)
    assert again.done, "a duplicate waits for nothing"
    assert again.reply == first.reply
    assert len(floor.rows(tables.session)) == (kind == "accept")
    assert floor.dropped == {}


def test_a_duplicate_in_flight_is_silence_and_works_no_second_time(floor: Floor) -> None:
    floor.writing.holding = True
    request = floor.access_request([("User-Name", "alice"), ("User-Password", PASSWORD)])
    first = floor.send_access(request)
    assert not first.done
    again = floor.send_access(request)
    assert again.done
    assert again.reply is None
    floor.writing.release()
    assert first.answer().code == Code.ACCESS_ACCEPT
    assert len(floor.rows(tables.session)) == 1
    assert floor.send_access(request).reply == first.reply


def test_a_reject_that_waits_for_its_second_is_in_flight(sqlite_floor: Floor) -> None:
    request = sqlite_floor.access_request([("User-Name", "alice"), ("User-Password", b"wrong")])
    first = sqlite_floor.send_access(request)
    sqlite_floor.clock.advance(0.5)
    again = sqlite_floor.send_access(request)
    assert again.done
    assert again.reply is None
    sqlite_floor.clock.advance(0.5)
    assert first.answer().code == Code.ACCESS_REJECT


def test_a_new_authenticator_on_the_same_identifier_is_a_new_request(sqlite_floor: Floor) -> None:
    floor = sqlite_floor
    one, two = (
        floor.access_request([("User-Name", "alice"), ("User-Password", p)], identifier=9) for p in (PASSWORD, b"?")
    )
    first = floor.send_access(one)
    assert first.answer().code == Code.ACCESS_ACCEPT
    second = floor.send_access(two)
    floor.clock.advance(1)
    assert second.answer().code == Code.ACCESS_REJECT
    assert floor.send_access(two).reply == second.reply


def test_the_same_request_from_another_port_is_another_request(sqlite_floor: Floor) -> None:
    request = sqlite_floor.accounting_request([("Acct-Status-Type", START), ("User-Name", "nobody")])
    sqlite_floor.send_accounting(request, port=1)
    sqlite_floor.writing.holding = True
    assert not sqlite_floor.send_accounting(request, port=2).done


# --- refusals ----------------------------------------------------------------------------------------------------

CREDENTIAL_FAILURES: list[tuple[str, dict[str, Any], str]] = [
    ("unknown user", {"username": "nobody"}, "unknown-user"),
    ("another spelling", {"username": "Alice"}, "unknown-user"),
    ("wrong password", {"password": b"wrong"}, "wrong-password"),
    ("the beginning of the password", {"password": PASSWORD[:-1]}, "wrong-password"),
    ("no password", {"password": b""}, "wrong-password"),
    ("a name with NUL", {"username": "alice\0"}, "unknown-user"),
]


@pytest.mark.parametrize(
    ("login", "reason"), [c[1:] for c in CREDENTIAL_FAILURES], ids=[c[0] for c in CREDENTIAL_FAILURES]
)
def test_all_failures_of_credentials_look_alike(floor: Floor, login: dict[str, Any], reason: str) -> None:
    with capture_logs() as logged:
        assert rejected(floor, floor.login(**login)) == []
    assert [each["reason"] for each in logged if each["event"] == "access-reject"] == [reason]
    assert not floor.rows(tables.session)
    assert floor.dropped == {}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"status": "suspended"}, "Your access is suspended."),
        ({"expires_at": NOON}, "Your access has expired."),
        ({"granted": False, "plan": replace(PREPAID, name="cut", exhausted=Exhausted())}, "Your balance is used up."),
    ],
)
def test_refusals_say_why_once_the_password_was_right(floor: Floor, columns: dict[str, Any], message: str) -> None:
    floor.add_subscriber("bob", **columns)
    assert rejected(floor, floor.login("bob")) == [("Reply-Message", message)]
    floor.clock.advance(1)
    assert rejected(floor, floor.login("bob", b"wrong")) == []
    assert not floor.rows(tables.session)


def test_a_suspended_account_lets_nobody_in(sqlite_floor: Floor) -> None:
    with sqlite_floor.engine.begin() as connection:
        connection.execute(tables.account.update().values(status="suspended"))
    assert rejected(sqlite_floor, sqlite_floor.login()) == [("Reply-Message", "Your access is suspended.")]


def test_too_many_sessions(floor: Floor) -> None:
    calling: Callable[[int], list[Attribute]] = lambda n: [("Calling-Station-Id", f"02-00-00-00-00-0{n}")]  # noqa: E731
    assert floor.login(more=calling(1)).answer().code == Code.ACCESS_ACCEPT
    message = "You are already connected as often as your plan allows."
    assert rejected(floor, floor.login(more=calling(2))) == [("Reply-Message", message)]
    assert floor.login(more=calling(1)).answer().code == Code.ACCESS_ACCEPT, "the same device asks again"
    assert len(floor.rows(tables.session)) == 1


def test_two_logins_at_the_same_instant_can_not_both_pass_a_limit(floor: Floor) -> None:
    floor.writing.holding = True
    both = [floor.login(more=[("Calling-Station-Id", name)]) for name in ("one", "two")]
    floor.writing.release()
    floor.clock.advance(1)
    assert sorted(sent.answer().code for sent in both) == [Code.ACCESS_ACCEPT, Code.ACCESS_REJECT]


def test_the_subscribers_own_limit_goes_before_the_plans(sqlite_floor: Floor) -> None:
    sqlite_floor.add_subscriber("bob", max_sessions=2)
    for name in ("one", "two"):
        sent = sqlite_floor.login("bob", more=[("Calling-Station-Id", name)])
        assert sent.answer().code == Code.ACCESS_ACCEPT
    rejected(sqlite_floor, sqlite_floor.login("bob", more=[("Calling-Station-Id", "three")]))


@pytest.mark.parametrize(
    ("exhausted", "said"),
    [
        (Exhausted("throttle", SLOW), ("WISPr-Bandwidth-Max-Down", 256_000)),
        (
            Exhausted("redirect", Profile("walled", redirect_url="https://pay.example/")),
            ("WISPr-Redirection-URL", "https://pay.example/"),
        ),
    ],
)
def test_without_money_a_plan_may_let_in_slowly_or_to_the_till(
    floor: Floor, exhausted: Exhausted, said: Attribute
) -> None:
    floor.add_subscriber("bob", granted=False, plan=replace(PREPAID, name="other", exhausted=exhausted))
    sent = floor.login("bob")
    assert sent.answer().code == Code.ACCESS_ACCEPT
    assert said in sent.said()
    assert ("WISPr-Bandwidth-Max-Down", 20_000_000) not in sent.said()


def test_rejects_that_wait_are_bounded(sqlite_floor: Floor) -> None:
    sqlite_floor.services.rejects.waiting = others = MOST_WAITING_REJECTS - 2
    sent = [sqlite_floor.login(password=b"wrong") for _ in range(3)]
    sqlite_floor.clock.advance(1)
    assert [each.reply is None for each in sent] == [False, False, True]
    assert sqlite_floor.dropped == {"too-many-rejects": 1}
    assert sqlite_floor.services.rejects.waiting == others


def test_a_reject_waits_for_its_second_from_the_receipt_on(sqlite_floor: Floor) -> None:
    sqlite_floor.add_subscriber("carol", chap=False)
    sqlite_floor.passwords.holding = True
    sent = sqlite_floor.login("carol", b"wrong")
    sqlite_floor.clock.advance(0.7)
    sqlite_floor.passwords.release()
    assert not sent.done
    sqlite_floor.clock.advance(0.3)
    assert sent.answer().code == Code.ACCESS_REJECT


# --- methods -----------------------------------------------------------------------------------------------------


def chap(floor: Floor, username: str, password: bytes, *, challenge: bytes | None = None) -> Sent:
    authenticator = bytes(range(16))
    response = md5(b"\x07" + password + (challenge or authenticator)).digest()
    attributes: list[Attribute] = [("User-Name", username), ("CHAP-Password", b"\x07" + response)]
    if challenge is not None:
        attributes.append(("CHAP-Challenge", challenge))
    request = wire.request(
        Code.ACCESS_REQUEST, 3, attributes, SECRET, authenticator=authenticator, message_authenticator=True
    )
    return floor.send_access(request)


@pytest.mark.parametrize("challenge", [None, b"a challenge of 24 octets"])
def test_chap(floor: Floor, challenge: bytes | None) -> None:
    assert chap(floor, "alice", PASSWORD, challenge=challenge).answer().code == Code.ACCESS_ACCEPT
    floor.clock.advance(60)
    assert rejected(floor, chap(floor, "alice", b"wrong", challenge=challenge)) == []


def test_pap_against_a_hash(floor: Floor) -> None:
    floor.add_subscriber("carol", chap=False)
    assert floor.login("carol").answer().code == Code.ACCESS_ACCEPT
    rejected(floor, floor.login("carol", b"wrong"))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ([("CHAP-Password", bytes(17))], "method-not-possible"),
        ([("EAP-Message", b"\x02\x01\x00\x0a\x01carol")], "method-not-possible"),
        ([("MS-CHAP2-Response", bytes(50))], "method-not-possible"),
        ([], "method-not-possible"),
        ([("User-Password", PASSWORD), ("CHAP-Password", bytes(17))], "method-not-possible"),
    ],
)
def test_a_method_that_is_not_possible_is_a_reject_not_silence(
    sqlite_floor: Floor, attributes: list[Attribute], reason: str
) -> None:
    sqlite_floor.add_subscriber("carol", chap=False)
    with capture_logs() as logged:
        sent = sqlite_floor.send_access(sqlite_floor.access_request([("User-Name", "carol"), *attributes]))
        assert rejected(sqlite_floor, sent) == []
    assert [each["reason"] for each in logged if each["event"] == "access-reject"] == [reason]


def test_somebody_unknown_costs_a_check_of_a_hash(sqlite_floor: Floor) -> None:
    sqlite_floor.passwords.holding = True
    sent = sqlite_floor.login("nobody", b"nobody has this password")
    sqlite_floor.clock.advance(5)
    assert not sent.done, "no hash was looked at"
    sqlite_floor.passwords.release()
    sqlite_floor.clock.advance(0)
    assert sent.answer().code == Code.ACCESS_REJECT


# --- our own faults are silence ----------------------------------------------------------------------------------


def test_with_the_database_down_there_is_silence_and_the_retransmission_is_served(floor: Floor, outage: Outage) -> None:
    login = floor.access_request([("User-Name", "alice"), ("User-Password", PASSWORD)])
    report = floor.accounting_request([("Acct-Status-Type", START), ("User-Name", "alice"), ("Acct-Session-Id", "1")])
    restart = floor.accounting_request([("Acct-Status-Type", ON)])
    status = floor.status_request()
    outage.begin()
    for sent in (
        floor.send_access(login), floor.send_accounting(report), floor.send_accounting(restart),
        floor.send_access(status), floor.send_accounting(status),
    ):  # fmt: skip
        silent(sent, floor.clock)
    assert floor.dropped == {"database-unavailable": 5}
    outage.end()
    assert floor.send_access(login).answer().code == Code.ACCESS_ACCEPT
    for request in (report, restart, status):
        assert floor.send_accounting(request).answer().code == Code.ACCOUNTING_RESPONSE
    assert floor.send_access(status).answer().code == Code.ACCESS_ACCEPT


def test_a_database_that_goes_away_between_lookup_and_hold_is_silence_too(floor: Floor, outage: Outage) -> None:
    floor.writing.holding = True
    sent = floor.login()
    outage.begin()
    floor.writing.release()
    silent(sent, floor.clock)
    assert floor.dropped == {"database-unavailable": 1}
    outage.end()
    assert floor.send_access(sent.datagram).answer().code == Code.ACCESS_ACCEPT


def test_learning_while_the_database_is_down_is_silence(floor: Floor, outage: Outage) -> None:
    floor.set_nas("bras-1", require_message_authenticator="learn", revised_at=NOON + 1)
    floor.nases.refresh()
    outage.begin()
    sent = floor.login()
    silent(sent, floor.clock)
    assert floor.dropped == {"database-unavailable": 1}
    outage.end()
    assert floor.send_access(sent.datagram).answer().code == Code.ACCESS_ACCEPT
    assert floor.rows(tables.nas)[0].require_message_authenticator == "yes"


def test_a_full_queue_is_silence_and_the_retransmission_is_served(sqlite_floor: Floor) -> None:
    floor = Floor(sqlite_floor.engine, sqlite_floor.clock, most_queued=1)
    floor.nases.refresh()
    floor.writing.holding = True
    under_way, waiting, refused = (floor.report(START, acct_session_id=str(n)) for n in range(3))
    assert refused.done
    assert refused.reply is None
    assert floor.dropped == {"queue-full": 1}
    floor.writing.release()
    assert under_way.answer().code == waiting.answer().code == Code.ACCOUNTING_RESPONSE
    assert floor.send_accounting(refused.datagram).answer().code == Code.ACCOUNTING_RESPONSE


@pytest.mark.parametrize("port", ["access", "accounting"])
def test_a_bug_is_silence_one_error_line_and_the_retransmission_is_worked_on(sqlite_floor: Floor, port: str) -> None:
    """A plan version that nobody can read stands for a bug: it raises where nothing is expected to."""
    floor = sqlite_floor
    unreadable = floor.add_unreadable_plan("unreadable")
    good = floor.add_plan(PREPAID)
    if port == "access":
        use_plan(floor, "unreadable")
    else:
        floor.login().answer()
        pin(floor, unreadable)
        floor = Floor(floor.engine, floor.clock)  # a server that has only just begun
        floor.nases.refresh()
    with capture_logs() as logged:
        sent = floor.login() if port == "access" else floor.report(INTERIM)
        silent(sent, floor.clock)
    errors = [each for each in logged if each["log_level"] == "error"]
    assert [(each["event"], each["exc_info"]) for each in errors] == [("bug", True)]
    if port == "access":
        use_plan(floor, PREPAID.name)
        assert floor.send_access(sent.datagram).answer().code == Code.ACCESS_ACCEPT
    else:
        pin(floor, good)
        assert floor.send_accounting(sent.datagram).answer().code == Code.ACCOUNTING_RESPONSE


def use_plan(floor: Floor, name: str) -> None:
    with floor.engine.begin() as connection:
        connection.execute(tables.subscriber.update().values(plan_name=name))


def pin(floor: Floor, plan_version_id: int) -> None:
    with floor.engine.begin() as connection:
        connection.execute(tables.session.update().values(plan_version_id=plan_version_id))


def test_a_bug_with_one_item_hurts_no_other_of_its_batch(floor: Floor) -> None:
    floor.add_unreadable_plan("unreadable")
    floor.add_subscriber("bob")
    use_plan(floor, "unreadable")
    floor.add_subscriber("carol")
    floor.writing.holding = True
    under_way = floor.report(START, username="nobody")  # while this one is worked on, the others gather
    bob, carol = floor.login("bob"), floor.login("carol")
    floor.writing.release()
    assert under_way.answer().code == Code.ACCOUNTING_RESPONSE
    assert bob.done
    assert bob.reply is None
    assert carol.answer().code == Code.ACCESS_ACCEPT


def test_a_secret_that_can_not_be_opened_is_our_fault(sqlite_floor: Floor) -> None:
    with sqlite_floor.engine.begin() as connection:
        connection.execute(tables.subscriber.update().values(password_sealed=b"\0\1" + bytes(40)))
    silent(sqlite_floor.login(), sqlite_floor.clock)


# --- Status-Server -----------------------------------------------------------------------------------------------


def test_status_server_is_answered_on_both_ports_in_the_ports_own_words(floor: Floor) -> None:
    access, accounting = floor.send_access(floor.status_request()), floor.send_accounting(floor.status_request())
    for sent, code in ((access, Code.ACCESS_ACCEPT), (accounting, Code.ACCOUNTING_RESPONSE)):
        answer = sent.answer()
        assert answer.code == code
        assert answer.attributes[0][0] == 80
        assert sent.said() == []


def test_status_server_tells_the_truth_when_nothing_can_be_recorded(postgresql_url: str, clock: Clock) -> None:
    """After a failover a node may still be led to what is now a standby: it can read there, and not write."""
    engine = open_engine(postgresql_url)
    floor = Floor(engine, clock)
    floor.add_nas()
    floor.services.writer.watch(AtOnce(clock))
    name = sql.Identifier(str(engine.url.database))
    with psycopg.connect(make_libpq(postgresql_url), autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
    engine.dispose()
    for sent in (
        floor.report(START), floor.send_accounting(floor.status_request()), floor.send_access(floor.status_request())
    ):  # fmt: skip
        assert sent.done
        assert sent.reply is None
    assert floor.dropped == {"database-unavailable": 3}
    floor.services.writer.unwatch()
    engine.dispose()


# --- accounting --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "kind"), [(ON, "on"), (OFF, "off")])
def test_on_and_off_are_written_down_before_they_are_answered(floor: Floor, status: int, kind: str) -> None:
    sent = floor.send_accounting(floor.accounting_request([("Acct-Status-Type", status), ("Acct-Delay-Time", 5)]))
    assert sent.answer().code == Code.ACCOUNTING_RESPONSE
    row = floor.rows(tables.nas_restart)[0]
    assert (row.nas_address, row.event_at, row.kind, row.recorded_at) == ("192.0.2.1", NOON - 5_000, kind, NOON)
    floor.clock.advance(60)
    again = floor.send_accounting(floor.accounting_request([("Acct-Status-Type", status), ("Acct-Delay-Time", 65)]))
    assert again.answer().code == Code.ACCOUNTING_RESPONSE
    assert len(floor.rows(tables.nas_restart)) == 1


@pytest.mark.parametrize(
    ("kind", "username", "reason"),
    [
        (START, "nobody", "unknown-user"),
        (START, "alice", "unknown-session"),
        (STOP, "alice", "unknown-session"),
        (9, "alice", "unknown-status-type"),
        (15, "nobody", "unknown-user"),
    ],
)
def test_a_report_that_nobody_authorised_is_kept_answered_and_said(
    floor: Floor, kind: int, username: str, reason: str
) -> None:
    with capture_logs() as logged:
        sent = floor.report(kind, ("Acct-Input-Octets", 1000), username=username)
    assert sent.answer().code == Code.ACCOUNTING_RESPONSE
    row = floor.rows(tables.orphan_report)[0]
    assert (row.reason, row.username, row.packet, row.received_at) == (reason, username, sent.datagram, NOON)
    assert [each["reason"] for each in logged if each["log_level"] == "warning"] == [reason]
    # The retransmission after the duplicate cache forgot it is the same orphan.
    floor.clock.advance(40)
    assert floor.send_accounting(sent.datagram).answer().code == Code.ACCOUNTING_RESPONSE
    assert len(floor.rows(tables.orphan_report)) == 1


def test_an_answer_means_that_the_report_is_in_the_database(floor: Floor) -> None:
    login = floor.login()
    carried: Attribute = ("Class", login.value("Class") or b"")
    floor.report(START, carried).answer()
    floor.writing.holding = True
    floor.clock.advance(300)
    sent = floor.report(
        INTERIM, carried, ("Acct-Input-Octets", 1_000), ("Acct-Output-Octets", 2_000), ("Acct-Session-Time", 300)
    )
    assert not sent.done
    floor.writing.release()
    assert sent.answer().code == Code.ACCOUNTING_RESPONSE
    assert sent.said() == []
    row = floor.rows(tables.session)[0]
    assert (row.octets_up, row.octets_down, row.seconds, row.state) == (1_000, 2_000, 300, "open")


def test_the_class_token_names_the_session_whatever_else_the_nas_says(floor: Floor) -> None:
    login = floor.login(more=[("Calling-Station-Id", "one"), ("NAS-Port-Id", "ge-0/0/1")])
    brought = login.value("Class")
    assert isinstance(brought, bytes)
    named = read_token(brought, floor.services.token_keys)
    session = floor.rows(tables.session)[0]
    assert named == (session.account_id, session.session_id)
    floor.report(INTERIM, ("Class", b"of another server"), ("Class", brought), ("Acct-Output-Octets", 7_000),
                 ("Acct-Session-Time", 60), username="somebody else", acct_session_id="%lX").answer()  # fmt: skip
    assert floor.rows(tables.session)[0].octets_down == 7_000
    assert not floor.rows(tables.orphan_report)


def test_a_forged_class_token_names_nothing(floor: Floor) -> None:
    floor.login()
    session = floor.rows(tables.session)[0]
    forged = token(session.account_id, session.session_id, b"the key of somebody else")
    floor.report(INTERIM, ("Class", forged), ("Acct-Output-Octets", 7_000), username="nobody").answer()
    assert [row.reason for row in floor.rows(tables.orphan_report)] == ["unknown-user"]
    assert floor.rows(tables.session)[0].octets_down == 0


# --- what the answers say ----------------------------------------------------------------------------------------


def test_message_authenticator_first_then_proxy_states_in_order(sqlite_floor: Floor) -> None:
    states: list[Attribute] = [("Proxy-State", value) for value in (b"b", b"a", b"b", b"c" * 253)]
    accept = sqlite_floor.login(more=states)
    reject = sqlite_floor.login(password=b"wrong", more=states)
    sqlite_floor.clock.advance(1)
    accounting = sqlite_floor.report(START, *states)
    for sent in (accept, reject, accounting):
        answer = sent.answer()
        assert answer.all(33) == [value for _, value in states]
        if sent is not accounting:
            assert answer.attributes[0][0] == 80
            assert wire.message_authenticator(answer, SECRET, sent.datagram[4:20]) is True


def test_the_reply_of_a_request_without_message_authenticator_carries_one(sqlite_floor: Floor) -> None:
    sqlite_floor.set_nas("bras-1", require_message_authenticator="no", revised_at=NOON + 1)
    sqlite_floor.nases.refresh()
    assert sqlite_floor.login(signed=False).answer().attributes[0][0] == 80


def timed(name: str, profile: Profile = HOME, *, seconds: int | None = None) -> Plan:
    allowances = (DATA,) if seconds is None else (Allowance("time", "seconds", "total", seconds),)
    return Plan(name, "EUR", "UTC", profile, allowances=allowances, exhausted=Exhausted("throttle", SLOW))


@pytest.mark.parametrize(
    ("dialect", "plan", "columns", "expected"),
    [
        ("generic", timed("no limit"), {}, None),
        ("generic", timed("profile", replace(HOME, session_timeout_seconds=86_400)), {}, 86_400),
        ("generic", timed("expiry"), {"expires_at": NOON + 90_500}, 90),
        ("generic", timed("almost expired"), {"expires_at": NOON + 1}, 1),
        ("generic", timed("the sooner", replace(HOME, session_timeout_seconds=60)), {"expires_at": NOON + 90_000}, 60),
        ("generic", timed("expiry beyond 31 bits"), {"expires_at": NOON + 2**31 * 1000}, None),
        ("mikrotik", timed("balance", seconds=3_600), {}, 3_600),
        ("mikrotik", timed("balance of a second", seconds=1), {}, 1),
        ("accel-ppp", timed("balance, not extendable", seconds=3_600), {}, None),
        ("accel-ppp", timed("both", replace(HOME, session_timeout_seconds=86_400), seconds=3_600), {}, 86_400),
        ("mikrotik", timed("nothing left", seconds=3_600), {"granted": False}, None),
    ],
    ids=lambda value: value.name if isinstance(value, Plan) else None,
)
def test_session_timeout(
    sqlite_floor: Floor, dialect: str, plan: Plan, columns: dict[str, Any], expected: int | None
) -> None:
    sqlite_floor.add_nas("other", "192.0.2.9", dialect=dialect)
    sqlite_floor.add_subscriber("bob", plan=plan, **columns)
    sent = sqlite_floor.login("bob", source="192.0.2.9")
    assert sent.answer().code == Code.ACCESS_ACCEPT
    assert sent.value("Session-Timeout") == expected


def test_the_interim_interval_is_the_profiles_and_a_little_more_for_some(sqlite_floor: Floor) -> None:
    for number in range(20):
        sqlite_floor.add_subscriber(f"s{number}")
    seen = {sqlite_floor.login(f"s{number}").value("Acct-Interim-Interval") for number in range(20)}
    assert all(isinstance(value, int) and 300 <= value <= 330 for value in seen)
    assert len(seen) > 3


def test_the_profile_is_said_in_the_dialect_of_the_nas(sqlite_floor: Floor) -> None:
    sqlite_floor.add_nas("router", "192.0.2.9", dialect="mikrotik")
    assert ("Mikrotik-Rate-Limit", "5M/20M") in sqlite_floor.login(source="192.0.2.9").said()


# --- two secrets while one is being changed ----------------------------------------------------------------------

OLD_SECRET = b"the secret of yesterday, 32 oct."


@pytest.fixture
def changing(sqlite_floor: Floor) -> Floor:
    """A NAS whose secret is being changed and that need not sign its Access-Requests."""
    place = "nas.secret:bras-1"
    sealed = sqlite_floor.keys.seal(place, OLD_SECRET)
    sqlite_floor.set_nas(
        "bras-1", previous_secret_sealed=sealed, require_message_authenticator="no", revised_at=NOON + 1
    )
    sqlite_floor.nases.refresh()
    return sqlite_floor


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("signed", [True, False])
def test_both_secrets_are_good_and_the_answer_has_the_one_that_was_used(
    changing: Floor, secret: bytes, hashed: bool, signed: bool
) -> None:
    changing.add_subscriber("bob", chap=not hashed)
    sent = changing.login("bob", secret=secret, signed=signed)
    assert sent.answer(secret).code == Code.ACCESS_ACCEPT


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
def test_with_two_secrets_a_wrong_password_is_wrong(changing: Floor, secret: bytes) -> None:
    sent = changing.login(password=b"wrong", secret=secret)
    changing.clock.advance(1)
    assert sent.answer(secret).code == Code.ACCESS_REJECT
    unsigned = changing.login(password=b"wrong", secret=secret, signed=False)
    changing.clock.advance(1)
    assert unsigned.reply is not None
    assert unsigned.reply[0] == Code.ACCESS_REJECT


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
def test_with_two_secrets_reports_are_answered_with_theirs(changing: Floor, secret: bytes) -> None:
    assert changing.report(START, secret=secret).answer(secret).code == Code.ACCOUNTING_RESPONSE
    silent(changing.report(START, secret=OTHER_SECRET), changing.clock)


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
def test_what_the_nas_signs_with_is_the_secret_it_has(changing: Floor, secret: bytes) -> None:
    nas = changing.nases.at(NAS_ADDRESS)
    assert nas is not None
    changing.login(secret=secret, signed=False)
    assert changing.nases.proven_secret(nas, NAS_ADDRESS) is None, "what is not signed proves nothing"
    changing.report(START, secret=secret)
    assert changing.nases.proven_secret(nas, NAS_ADDRESS) == secret
    changing.report(START, secret=OTHER_SECRET)
    assert changing.nases.proven_secret(nas, NAS_ADDRESS) == secret
    assert changing.nases.proven_secret(nas, "192.0.2.77") is None, "another machine of the same prefix"


def test_a_secret_that_is_forgotten_is_no_proof_any_more(changing: Floor) -> None:
    changing.report(START, secret=OLD_SECRET)
    changing.set_nas("bras-1", previous_secret_sealed=None, revised_at=NOON + 2)
    changing.nases.refresh()
    nas = changing.nases.at(NAS_ADDRESS)
    assert nas is not None
    assert changing.nases.proven_secret(nas, NAS_ADDRESS) is None


# --- nothing secret is said --------------------------------------------------------------------------------------


def test_no_log_line_holds_a_secret(floor: Floor, outage: Outage) -> None:
    with capture_logs() as logged:
        floor.login(password=b"hunter2 is my password")
        floor.login()
        floor.login(secret=OTHER_SECRET)
        chap(floor, "alice", PASSWORD)
        floor.report(START)
        outage.begin()
        floor.login()
        floor.report(START, acct_session_id="2")
        outage.end()
    assert len(logged) >= 5
    text = repr(logged)
    for secret in (b"hunter2 is my password", PASSWORD, SECRET, OTHER_SECRET):
        assert secret.decode() not in text
        assert secret.hex() not in text
