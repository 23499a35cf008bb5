"""Right packets, heard on the wire and sent again; and attempts to get between a request and its kept answer."""

from __future__ import annotations

import pytest

from aaa.passwords import totp
from aaa.wire import Attribute, Code
from charging import tables
from tests.aaa.conftest import NAS_ADDRESS, PASSWORD, Floor


def spent(floor: Floor) -> tuple[int, int]:
    """Octets that were counted, and what was drawn for them."""
    drawn = sum(row.accrued for row in floor.rows(tables.session_charge))
    return sum(row.octets_down for row in floor.rows(tables.session)), drawn


def test_a_replayed_report_charges_nothing(floor: Floor) -> None:
    """At once (the same bytes come back), after the cache has forgotten it, from another port, and in any order."""
    token = floor.login().value("Class")
    assert isinstance(token, bytes)
    reports = [
        floor.report(1, ("Class", token)),
        floor.report(3, ("Class", token), ("Acct-Output-Octets", 40_000_000), ("Acct-Session-Time", 60)),
        floor.report(3, ("Class", token), ("Acct-Output-Octets", 90_000_000), ("Acct-Session-Time", 120)),
    ]
    before = spent(floor)
    assert before[0] == 90_000_000
    for seconds in (0, 31, 3600):
        floor.clock.advance(seconds)
        for sent in reversed(reports):
            assert floor.send_accounting(sent.datagram).answer().code == Code.ACCOUNTING_RESPONSE
            assert floor.send_accounting(sent.datagram, port=40_000 + seconds).reply is not None
    assert spent(floor) == before


def test_a_replayed_start_opens_no_session_again(floor: Floor) -> None:
    token = floor.login().value("Class")
    assert isinstance(token, bytes)

    def stamp() -> Attribute:
        return "Event-Timestamp", floor.now() // 1000

    start = floor.report(1, ("Class", token), stamp())
    floor.clock.advance(60)
    floor.report(2, ("Class", token), ("Acct-Session-Time", 60), stamp())
    floor.clock.advance(60)
    floor.send_accounting(start.datagram)
    assert [row.state for row in floor.rows(tables.session)] == ["closed"]


def test_a_one_time_code_is_good_once(sqlite_floor: Floor) -> None:
    """Whoever listens to the wire of the hotspot can not use it again, not even within its half minute."""
    secret = b"twenty octets of it!"
    place = "subscriber.totp:carol"
    sqlite_floor.add_subscriber("carol", totp_sealed=sqlite_floor.keys.seal(place, secret))
    code = totp.code_at(secret, sqlite_floor.now() // 30_000)
    first = sqlite_floor.login("carol", PASSWORD + code)
    assert first.answer().code == Code.ACCESS_ACCEPT
    for port in (1645, 1700):
        again = sqlite_floor.send_access(
            sqlite_floor.access_request([("User-Name", "carol"), ("User-Password", PASSWORD + code)]), port=port
        )
        sqlite_floor.clock.advance(1)
        assert again.answer().code == Code.ACCESS_REJECT


def test_a_kept_answer_is_for_its_own_place_only(sqlite_floor: Floor) -> None:
    """From another address or port, the same datagram gets no answer that was made for somebody else."""
    sqlite_floor.add_nas("bras-2", "192.0.2.2", secret=b"the secret of another NAS, 32 o.")
    sent = sqlite_floor.login()
    assert sent.reply is not None
    assert sqlite_floor.send_access(sent.datagram, "192.0.2.2").reply is None
    assert sqlite_floor.send_access(sent.datagram, "203.0.113.1").reply is None
    assert sqlite_floor.send_accounting(sent.datagram, NAS_ADDRESS).reply is None
    assert sqlite_floor.send_access(sent.datagram).reply == sent.reply


@pytest.mark.parametrize("what", ["authenticator", "attributes", "both"])
def test_a_forged_packet_poisons_no_kept_answer(sqlite_floor: Floor, what: str) -> None:
    """On the same identifier, it neither pushes the kept answer out nor gets it."""
    sent = sqlite_floor.login()
    forged = bytearray(sent.datagram)
    if what != "attributes":
        forged[4:20] = bytes(16)
    if what != "authenticator":
        forged[-1] ^= 1
    assert sqlite_floor.send_access(bytes(forged)).reply is None
    assert sqlite_floor.send_access(sent.datagram).reply == sent.reply
    assert len(sqlite_floor.rows(tables.session)) == 1


def test_a_replayed_start_without_a_time_costs_nothing(sqlite_floor: Floor) -> None:
    """It can not be told from a new session of the same login; that one holds a slice until it is stale, and draws nothing."""
    token = sqlite_floor.login().value("Class")
    assert isinstance(token, bytes)
    start = sqlite_floor.report(1, ("Class", token))
    sqlite_floor.clock.advance(60)
    sqlite_floor.report(2, ("Class", token), ("Acct-Output-Octets", 1000), ("Acct-Session-Time", 60))
    before = spent(sqlite_floor)
    sqlite_floor.clock.advance(60)
    sqlite_floor.send_accounting(start.datagram)
    assert spent(sqlite_floor) == before
