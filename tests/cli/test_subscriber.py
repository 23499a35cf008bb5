from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, select

from aaa import enrolment
from aaa.keyring import load as load_keys
from aaa.keyring import subscriber_nt_hash, subscriber_password, subscriber_totp
from aaa.passwords import hash_secret, nt_hash, totp, verify_hash
from charging import tables
from charging.database import open_engine
from tests.cli.conftest import PLANS, Aaa, words


@pytest.fixture
def engine_of_shop(shop: Aaa) -> Iterator[Engine]:
    engine = open_engine(shop.database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def rows(engine_of_shop: Engine) -> Callable[..., list[Any]]:
    """`rows(tables.bucket)`: all rows of a table."""

    def read(table: Any) -> list[Any]:
        with engine_of_shop.connect() as connection:
            return list(connection.execute(select(table)))

    return read


def test_a_subscriber_begins_with_an_account_a_password_and_the_allowances(
    shop: Aaa, rows: Callable[..., list[Any]]
) -> None:
    added = shop.json("subscriber", "add", "alice", "--plan", "prepaid-50")
    password = added.pop("password")
    assert len(password) == 12
    assert not set("0O1lI") & set(password)
    assert added == shop.json("subscriber", "show", "alice")
    assert added == {
        "username": "alice",
        "account": "alice",
        "plan": "prepaid-50",
        "status": "active",
        "password_kept": "argon2id",
        "one_time_code": False,
        "methods": ["PAP", "EAP-GTC", "PEAP/GTC", "TTLS/PAP", "EAP-TLS"],
        "max_sessions": None,
        "expires_at": None,
        "email": None,
        "phone": None,
        "language": None,
        "live_sessions": 0,
        "reply_attributes": [],
        "own_addresses": [],
        "conditions": [],
        "devices_learned": [],
        "period_state": None,
        "period_number": None,
        "period_ends_at": None,
        "next_plan": None,
        "created_at": added["created_at"],
    }
    (row,) = rows(tables.subscriber)
    assert verify_hash(row.password_argon2, password.encode())
    buckets = {each.name: each for each in rows(tables.bucket)}
    assert set(buckets) == {"money", "data"}
    assert (buckets["money"].balance, buckets["data"].balance) == (0, 50 * 10**9)
    (transfer,) = rows(tables.transfer)
    assert (transfer.kind, transfer.amount, transfer.reference) == (
        "grant",
        50 * 10**9,
        "subscriber:alice:prepaid-50:1",
    )
    assert transfer.actor.startswith("operator:")


def test_for_chap_the_password_is_encrypted(shop: Aaa, rows: Callable[..., list[Any]]) -> None:
    shop.ok("subscriber", "add", "alice", "--plan", "prepaid-50", "--password", "hunter22", "--allow-chap")
    (row,) = rows(tables.subscriber)
    assert row.password_argon2 is None
    assert b"hunter22" not in row.password_sealed
    assert load_keys(shop.keys_file).open(subscriber_password("alice"), row.password_sealed) == b"hunter22"


def test_a_family_shares_one_account(shop: Aaa) -> None:
    shop.ok("subscriber", "add", "alice", "--plan", "prepaid-50", "--account", "family")
    shop.ok("subscriber", "add", "bob", "--plan", "evening", "--account", "family")
    assert shop.json("account", "show", "family")["usernames"] == ["alice", "bob"]
    assert [each["username"] for each in shop.json("subscriber", "list", "--plan", "evening")] == ["bob"]
    assert [each["username"] for each in shop.json("subscriber", "list", "--account", "family")] == ["alice", "bob"]


REFUSED = [
    (["add", "alice", "--plan", "evening"], "there is a subscriber 'alice' already"),
    (["add", "x", "--plan", "evning"], "there is no plan 'evning'; did you mean 'evening'?"),
    (
        ["add", "x", "--plan", "evening", "--account", "tokyo"],
        "account 'tokyo' is in JPY, plan 'evening' in EUR; choose another account or plan",
    ),
    (
        ["add", "x", "--plan", "evening", "--expires", "2001-01-01"],
        "--expires: '2001-01-01' is past; write a later day",
    ),
    (
        ["add", "x", "--plan", "evening", "--expires", "soon"],
        "--expires: 'soon' is no day; write for example 2027-01-31, or 2027-01-31T18:00",
    ),
    (["add", "x", "--plan", "evening", "--password", ""], "password: is empty"),
    (["show", "x"], "there is no subscriber 'x'; see: aaa subscriber list"),
    (["set", "x", "--expires", "never"], "there is no subscriber 'x'; see: aaa subscriber list"),
    (["set", "alice", "--plan", "x"], "there is no plan 'x'; there are evening, prepaid-50"),
    (
        ["set", "alice", "--allow-chap"],
        "CHAP needs the password, and only its hash is known; add --password-stdin",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=words)
def test_what_can_not_be(shop: Aaa, arguments: list[str], message: str) -> None:
    shop.ok("subscriber", "add", "alice", "--plan", "prepaid-50")
    shop.ok("account", "add", "tokyo", "--currency", "JPY")
    assert shop.fails("subscriber", *arguments) == message
    assert [each["username"] for each in shop.json("subscriber", "list")] == ["alice"]


USAGE = [
    (["add", "x"], "Missing option '--plan'"),
    (["add", " x", "--plan", "evening"], "Invalid value for 'USERNAME': name: ' x' is not a name; "),
    (
        ["add", "x" * 254, "--plan", "evening"],
        "Invalid value for 'USERNAME': name: 'xxxxxxxxxxxxxxxxxxxx'… is too long",
    ),
    (
        ["add", "x", "--plan", "p", "--password", "a", "--password-stdin"],
        "give --password or --password-stdin, not both",
    ),
    (["add", "x", "--plan", "p", "--max-sessions", "0"], "Invalid value for '--max-sessions': 0 is not in the range"),
    (["set", "x"], "nothing to change; give at least one option"),
    (["set", "x", "--no-grant"], "--no-grant goes with --plan"),
    (
        ["set", "x", "--max-sessions", "many"],
        "Invalid value for '--max-sessions': 'many' is not a number from 1 to 1000",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE, ids=words)
def test_wrong_command_lines(sqlite_url: str, tmp_path: Any, arguments: list[str], message: str) -> None:
    assert Aaa(sqlite_url, tmp_path).fails("subscriber", *arguments, code=2).startswith(message)


def test_set_changes_what_is_said(shop: Aaa, rows: Callable[..., list[Any]]) -> None:
    before = shop.json(
        "subscriber", "add", "alice", "--plan", "prepaid-50", "--allow-chap", "--password-stdin", stdin="hunter22\n"
    )
    changed = shop.json("subscriber", "set", "alice", "--max-sessions", "3", "--expires", "2099-01-31")
    # the end of that day in Berlin
    assert changed == before | {"max_sessions": 3, "expires_at": "2099-01-31T23:00:00.000Z"}
    assert shop.json("subscriber", "set", "alice", "--max-sessions", "plan", "--expires", "never") == before
    assert shop.json("subscriber", "set", "alice", "--no-allow-chap")["password_kept"] == "argon2id"
    assert verify_hash(rows(tables.subscriber)[0].password_argon2, b"hunter22")
    shop.ok("subscriber", "set", "alice", "--password", "other")
    assert verify_hash(rows(tables.subscriber)[0].password_argon2, b"other")
    assert shop.json("subscriber", "set", "alice", "--password", "o", "--allow-chap")["password_kept"] == "reversible"


def test_another_plan_grants_its_allowances_once(shop: Aaa, rows: Callable[..., list[Any]]) -> None:
    shop.ok("subscriber", "add", "alice", "--plan", "prepaid-50")
    shop.ok("subscriber", "add", "bob", "--plan", "prepaid-50")
    assert shop.json("subscriber", "set", "alice", "--plan", "evening")["plan"] == "evening"
    shop.ok("subscriber", "set", "alice", "--plan", "evening")
    shop.ok("subscriber", "set", "bob", "--plan", "evening", "--no-grant")
    granted = [(each.unit, each.amount, each.reference) for each in rows(tables.transfer) if each.unit == "seconds"]
    assert granted == [("seconds", 5400, "subscriber:alice:evening:1")]


def test_a_plan_in_another_currency_is_refused(shop: Aaa) -> None:
    dollars = PLANS.replace('"EUR"', '"USD"').replace("prepaid-50", "dollar-50").replace("evening", "night")
    shop.ok("plan", "load", shop.file("dollars.toml", dollars))
    shop.ok("subscriber", "add", "alice", "--plan", "prepaid-50")
    assert shop.fails("subscriber", "set", "alice", "--plan", "night") == (
        "account 'alice' is in EUR, plan 'night' in USD; choose another plan"
    )


def test_suspend_writes_the_disconnect_that_the_server_sends(
    shop: Aaa, log_in: Callable[[str], Any], rows: Callable[..., list[Any]]
) -> None:
    for name in ("alice", "bob"):
        shop.ok("subscriber", "add", name, "--plan", "prepaid-50", "--account", "family")
    session = log_in("alice")
    log_in("bob")
    suspended = shop.json("subscriber", "suspend", "alice")
    assert (suspended["status"], suspended["disconnecting"]) == ("suspended", 1)
    (command,) = rows(tables.command)
    assert (command.session_id, command.action, command.reason, command.state) == (
        session.session_id,
        "disconnect",
        "suspended",
        "pending",
    )
    assert shop.json("subscriber", "resume", "alice")["status"] == "active"


def test_remove_waits_for_the_last_session(shop: Aaa, log_in: Callable[[str], Any]) -> None:
    for name in ("alice", "bob"):
        shop.ok("subscriber", "add", name, "--plan", "prepaid-50")
    log_in("alice")
    assert shop.fails("subscriber", "remove", "alice") == (
        "subscriber 'alice' has 1 live sessions; first run: aaa subscriber suspend alice"
    )
    assert shop.ok("subscriber", "remove", "bob") == "removed subscriber bob\n"
    assert [each["username"] for each in shop.json("subscriber", "list")] == ["alice"]
    assert shop.json("account", "show", "bob")["usernames"] == []


def test_list_is_bounded_and_says_so(shop: Aaa) -> None:
    assert shop.ok("subscriber", "list") == "no subscriber; run: aaa subscriber add USERNAME --plan P\n"
    for name in ("c", "a", "b"):
        shop.ok("subscriber", "add", name, "--plan", "evening")
    result = shop("subscriber", "list", "--limit", "2", "--json")
    assert result.stderr == "only the first 2; there are more: --limit\n"
    shop.ok("subscriber", "suspend", "b")
    assert [each["username"] for each in shop.json("subscriber", "list", "--status", "suspended")] == ["b"]


EXPIRIES = [
    ("2026-03-28", "Europe/Berlin", "2026-03-28 23:00"),
    # the day on which the clocks go forward ends an hour earlier in UTC
    ("2026-03-29", "Europe/Berlin", "2026-03-29 22:00"),
    ("2026-03-29", "UTC", "2026-03-30 00:00"),
    ("2026-03-29T18:30", "Europe/Berlin", "2026-03-29 16:30"),
    ("2026-03-29 18:30", "Africa/Nairobi", "2026-03-29 15:30"),
    ("2026-03-29T18:30Z", "Africa/Nairobi", "2026-03-29 18:30"),
]


@pytest.mark.parametrize(("text", "zone", "end"), EXPIRIES)
def test_the_last_day_ends_in_the_plans_time_zone(
    text: str, zone: str, end: str, instant: Callable[[str], int]
) -> None:
    assert enrolment.expiry(text, zone, instant("2026-01-01 00:00")) == instant(end)


def test_a_password_may_have_octets_that_are_no_text(shop: Aaa, rows: Callable[..., list[Any]]) -> None:
    """Old routers write Latin-1."""
    arguments = ("subscriber", "add", "alice", "--plan", "prepaid-50", "--password-stdin")
    assert shop(*arguments, stdin=b"gr\xfc\xdfe\n").exit_code == 0
    assert verify_hash(rows(tables.subscriber)[0].password_argon2, b"gr\xfc\xdfe")


ALL_METHODS = {
    "PAP", "CHAP", "MS-CHAP", "MS-CHAPv2", "EAP-MD5", "EAP-GTC", "EAP-MSCHAPv2", "EAP-TLS", "PEAP/GTC", "PEAP/MSCHAPv2",
    "TTLS/PAP", "TTLS/CHAP", "TTLS/MSCHAPv2", "TTLS/EAP-MD5",
}  # fmt: skip
WAYS_TO_KEEP = [
    ("argon2id", {"PAP", "EAP-GTC", "PEAP/GTC", "TTLS/PAP", "EAP-TLS"}),
    ("reversible", ALL_METHODS),
    ("nt-hash", ALL_METHODS - {"CHAP", "EAP-MD5", "TTLS/CHAP", "TTLS/EAP-MD5"}),
    ("secret", {"PAP", "EAP-GTC", "PEAP/GTC", "TTLS/PAP", "EAP-TLS"}),
    ("none", {"EAP-TLS"}),
]


@pytest.mark.parametrize(("keep", "methods"), WAYS_TO_KEEP)
def test_how_a_password_is_kept_decides_who_can_log_in_how(
    shop: Aaa, rows: Callable[..., list[Any]], keep: str, methods: set[str]
) -> None:
    chosen = keep not in {"secret", "none"}
    given = ["--password", "hunter22"] if chosen else []
    added = shop.json("subscriber", "add", "alice", "--plan", "prepaid-50", "--keep", keep, *given)
    assert (added["password_kept"], set(added["methods"])) == (keep, methods)
    (row,) = rows(tables.subscriber)
    everything = [row.password_argon2, row.password_sealed, row.password_nt_sealed, row.password_sha256]
    assert len([each for each in everything if each is not None]) == (keep != "none")
    assert not any("hunter22" in str(each) for each in everything)
    if keep == "nt-hash":
        assert load_keys(shop.keys_file).open(subscriber_nt_hash("alice"), row.password_nt_sealed) == nt_hash(
            b"hunter22"
        )
    if keep == "secret":
        assert len(added["password"]) == 26
        assert row.password_sha256 == hash_secret(added["password"].encode())
    if not chosen:
        assert shop.fails("subscriber", "set", "alice", "--password", "x", "--keep", keep).startswith(
            f"--keep {keep}: "
        )


def test_a_reversible_password_can_be_kept_in_every_other_way(shop: Aaa, rows: Callable[..., list[Any]]) -> None:
    shop.ok("subscriber", "add", "alice", "--plan", "prepaid-50", "--password", "hunter22", "--keep", "reversible")
    assert shop.json("subscriber", "set", "alice", "--keep", "nt-hash")["password_kept"] == "nt-hash"
    assert shop.fails("subscriber", "set", "alice", "--keep", "argon2id") == (
        "the hash is made from the password, and that is not known; add --password-stdin"
    )
    made = shop.json("subscriber", "set", "alice", "--keep", "secret")["password"]
    again = shop.json("subscriber", "set", "alice", "--keep", "secret")["password"]
    assert made != again
    assert rows(tables.subscriber)[0].password_sha256 == hash_secret(again.encode())
    assert shop.json("subscriber", "set", "alice", "--keep", "none")["password_kept"] == "none"


def test_a_one_time_code(shop: Aaa, rows: Callable[..., list[Any]]) -> None:
    shop.ok("subscriber", "add", "alice", "--plan", "prepaid-50", "--password", "hunter22", "--keep", "reversible")
    changed = shop.json("subscriber", "set", "alice", "--one-time-code", "new")
    assert changed["one_time_code"] is True
    assert set(changed["methods"]) == {"PAP", "EAP-GTC", "PEAP/GTC", "TTLS/PAP", "EAP-TLS"}
    secret = load_keys(shop.keys_file).open(subscriber_totp("alice"), rows(tables.subscriber)[0].totp_sealed)
    assert changed["authenticator_uri"] == totp.uri(secret, "alice")
    assert "authenticator_uri" not in shop.json("subscriber", "show", "alice")
    assert shop.json("subscriber", "set", "alice", "--one-time-code", "off")["one_time_code"] is False


def test_an_address_has_one_spelling(shop: Aaa) -> None:
    assert shop.fails("subscriber", "add", "02-00-5E-00-53-01", "--plan", "prepaid-50", "--keep", "none") == (
        "'02-00-5E-00-53-01' is an address in another spelling; write 02:00:5e:00:53:01"
    )
    added = shop.json("subscriber", "add", "02:00:5e:00:53:01", "--plan", "prepaid-50", "--keep", "none")
    assert added["methods"] == ["MAC", "EAP-TLS"]
