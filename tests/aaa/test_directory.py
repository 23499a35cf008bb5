"""Who is who: NASes watched live, and subscribers as they are at this moment."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred

from aaa.directory import NasDirectory, SubscriberDirectory
from aaa.keyring import KeyRingError
from aaa.nas import Nas
from aaa.wire import Code
from charging import tables
from tests.aaa.conftest import NOON, PASSWORD, RING, SECRET, Floor


def name_at(floor: Floor, address: str) -> str | None:
    found = floor.nases.at(address)
    return None if found is None else found.name


# --- NASes -------------------------------------------------------------------------------------------------------


def test_a_row_with_its_secrets_opened_and_its_dialects_defaults(floor: Floor) -> None:
    nas_id = floor.add_nas("router", "198.51.100.0/24", previous=b"old", dialect="mikrotik", require="learn")
    assert floor.nases.at("198.51.100.7") == floor.nases.nas(nas_id) == Nas(
        nas_id=nas_id, name="router", network="198.51.100.0/24", secrets=(SECRET, b"old"), dialect="mikrotik",
        coa_address=None, coa_port=3799, require_message_authenticator="learn", limit_proxy_state=True,
        counters_reversed=False, means="volume",
    )  # fmt: skip
    floor.set_nas("router", coa_address="198.51.100.1", coa_port=0, counters_reversed=True, revised_at=NOON + 1)
    floor.nases.refresh()
    changed = floor.nases.nas(nas_id)
    assert changed is not None
    assert (changed.coa_address, changed.coa_port, changed.counters_reversed) == ("198.51.100.1", 0, True)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.1", "one"),
        ("192.0.2.2", "net"),
        ("192.0.3.1", "wide"),
        ("198.51.100.1", None),
        ("2001:db8::1", "one6"),
        ("2001:db8::2", "net6"),
        ("2001:db9::1", None),
        ("255.255.255.255", None),
        ("::", None),
        ("no address", None),
        ("", None),
        ("192.0.2.1 ", None),
    ],
)
def test_the_longest_prefix_wins_whatever_came_first(sqlite_floor: Floor, address: str, name: str | None) -> None:
    floor = sqlite_floor
    with floor.engine.begin() as connection:
        connection.execute(delete(tables.nas))
    for each, network in (
        ("wide", "192.0.0.0/16"), ("one", "192.0.2.1"), ("net", "192.0.2.0/24"),
        ("net6", "2001:db8::/32"), ("one6", "2001:db8::1/128"),
    ):  # fmt: skip
        floor.add_nas(each, network)
    assert name_at(floor, address) == name
    assert name_at(floor, address) == name, "remembered"


def test_nases_come_change_and_go_without_a_restart(floor: Floor) -> None:
    def answered(secret: bytes) -> bool:
        sent = floor.send_access(floor.status_request(secret=secret), "192.0.2.9")
        assert sent.done
        return sent.reply is not None and sent.answer(secret).code == Code.ACCESS_ACCEPT

    assert not answered(SECRET)
    assert floor.dropped == {"unknown-nas": 1}
    nas_id = floor.add_nas("new", "192.0.2.9")
    assert answered(SECRET)
    floor.set_nas("new", secret_sealed=floor.keys.seal("nas.secret:new", b"another"), revised_at=NOON + 1)
    floor.nases.refresh()
    assert not answered(SECRET)
    assert floor.dropped == {"unknown-nas": 1, "bad-authenticator": 1}
    assert answered(b"another")
    with floor.engine.begin() as connection:
        connection.execute(delete(tables.nas).where(tables.nas.c.name == "new"))
    floor.nases.refresh()
    assert not answered(b"another")
    assert floor.nases.nas(nas_id) is None
    assert name_at(floor, "192.0.2.1") == "bras-1"


def test_an_unchanged_table_is_not_read_again(sqlite_floor: Floor) -> None:
    before = sqlite_floor.nases.at("192.0.2.1")
    sqlite_floor.nases.refresh()
    assert sqlite_floor.nases.at("192.0.2.1") is before


@pytest.mark.parametrize("change", ["set", "replaced"])
def test_a_change_from_a_machine_whose_clock_is_behind_is_seen(floor: Floor, change: str) -> None:
    floor.add_nas("ahead", "192.0.2.8", revised_at=NOON + 60_000)
    floor.add_nas("behind", "192.0.2.9", revised_at=NOON)
    if change == "set":
        floor.set_nas("behind", network="192.0.2.10", revised_at=NOON + 5)
        floor.nases.refresh()
    else:
        with floor.engine.begin() as connection:
            connection.execute(delete(tables.nas).where(tables.nas.c.name == "behind"))
        floor.add_nas("behind", "192.0.2.10", revised_at=NOON + 5)
    assert name_at(floor, "192.0.2.9") is None
    assert name_at(floor, "192.0.2.10") == "behind"


UNUSABLE: list[tuple[str, dict[str, Any]]] = [
    ("a dialect of another version", {"dialect": "klingon"}),
    ("a secret of another key", {"secret_sealed": b"\0\7" + bytes(40)}),
    ("a secret of another NAS", {"secret_sealed": RING.seal("nas.secret:bras-1", b"x")}),
    ("a previous secret that can not be opened", {"previous_secret_sealed": b""}),
    ("no network", {"network": "everywhere"}),
    ("host bits in a network", {"network": "192.0.2.9/24"}),
]


@pytest.mark.parametrize("values", [c[1] for c in UNUSABLE], ids=[c[0] for c in UNUSABLE])
def test_a_row_that_can_not_be_used_is_said_and_hurts_no_other(sqlite_floor: Floor, values: dict[str, Any]) -> None:
    sqlite_floor.add_nas("broken", "192.0.2.9")
    sqlite_floor.set_nas("broken", **values, revised_at=NOON + 1)
    with capture_logs() as logged:
        sqlite_floor.nases.refresh()
    assert [each["nas"] for each in logged if each["event"] == "nas-unusable"] == ["broken"]
    assert name_at(sqlite_floor, "192.0.2.9") is None
    assert name_at(sqlite_floor, "192.0.2.1") == "bras-1"


def test_an_address_looked_up_while_the_table_is_read_is_not_remembered_wrongly(
    sqlite_floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other thread finishes between this one's search and its note of what it found."""
    search = NasDirectory._search

    def slow_search(self: NasDirectory, address: str) -> Nas | None:
        found = search(self, address)
        monkeypatch.setattr(NasDirectory, "_search", search)
        sqlite_floor.add_nas("new", "192.0.2.9")
        return found

    monkeypatch.setattr(NasDirectory, "_search", slow_search)
    assert sqlite_floor.nases.at("192.0.2.9") is None
    assert name_at(sqlite_floor, "192.0.2.9") == "new"


def test_addresses_are_remembered_within_bounds(sqlite_floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aaa.directory._MOST_ADDRESSES", 4)
    for number in range(50):
        assert sqlite_floor.nases.at(f"198.51.100.{number}") is None
    assert len(sqlite_floor.nases._by_address) <= 4
    assert name_at(sqlite_floor, "192.0.2.1") == "bras-1"


def test_when_the_table_can_not_be_read_what_is_known_stays(floor: Floor, outage: Any) -> None:
    outage.begin()
    with pytest.raises(Exception, match=r"."):
        floor.nases.refresh()
    assert name_at(floor, "192.0.2.1") == "bras-1"
    outage.end()
    floor.nases.refresh()
    assert name_at(floor, "192.0.2.1") == "bras-1"


# --- subscribers -------------------------------------------------------------------------------------------------


def looked_up(directory: SubscriberDirectory, username: str) -> Any:
    found: list[Any] = []
    directory.subscriber(username).addBoth(found.append)
    return found[0]


def test_a_subscriber_with_his_credential_opened(floor: Floor) -> None:
    account_id = floor.add_subscriber("bob", b"bob's", max_sessions=3, expires_at=NOON)
    bob = looked_up(floor.services.subscribers, "bob")
    assert (bob.username, bob.account_id, bob.max_sessions, bob.expires_at) == ("bob", account_id, 3, NOON)
    assert (bob.credential.clear, bob.credential.argon2, bob.status) == (b"bob's", None, "active")
    floor.add_subscriber("carol", chap=False)
    carol = looked_up(floor.services.subscribers, "carol")
    assert carol.credential.clear is None
    assert carol.credential.argon2.startswith("$argon2id$")
    assert "bob's" not in repr(floor.rows(tables.subscriber))


@pytest.mark.parametrize("username", ["", "nobody", "ALICE", "alice ", "alic", "a%", "' OR 1=1 --", "al\\x00ice"])
def test_names_are_compared_octet_by_octet(floor: Floor, username: str) -> None:
    assert looked_up(floor.services.subscribers, username) is None


def test_many_lookups_at_once_each_get_their_own(floor: Floor) -> None:
    floor.add_subscriber("bob")
    floor.lookups.holding = True
    directory = floor.services.subscribers
    names = ["alice", "nobody", "bob", "alice"]
    found: list[tuple[str, Any]] = []

    async def look_up(name: str) -> None:
        found.append((name, await directory.subscriber(name)))

    for name in names:
        Deferred.fromCoroutine(look_up(name))
    assert not found
    floor.lookups.release()
    answers = sorted((name, one and one.username) for name, one in found)
    assert answers == [("alice", "alice"), ("alice", "alice"), ("bob", "bob"), ("nobody", None)]


def test_a_credential_that_can_not_be_opened_fails_its_own_login_only(floor: Floor) -> None:
    floor.add_subscriber("bob")
    with floor.engine.begin() as connection:
        moved = floor.keys.seal("subscriber.password:alice", PASSWORD)
        connection.execute(
            tables.subscriber.update().where(tables.subscriber.c.username == "bob").values(password_sealed=moved)
        )
    assert isinstance(looked_up(floor.services.subscribers, "bob").value, KeyRingError)
    assert looked_up(floor.services.subscribers, "alice").username == "alice"


def test_what_an_operator_changes_counts_from_the_next_login_on(floor: Floor) -> None:
    assert looked_up(floor.services.subscribers, "alice").status == "active"
    with floor.engine.begin() as connection:
        connection.execute(tables.subscriber.update().values(status="suspended"))
    assert looked_up(floor.services.subscribers, "alice").status == "suspended"
