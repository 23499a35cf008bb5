"""`aaa import freeradius`, from the schema of Debian's package and from a plain one, on both databases."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select

from aaa.freeradius import expiration, login_time
from aaa.keyring import load, nas_secret, subscriber_nt_hash, subscriber_password
from aaa.radacct import instant as acct_instant
from charging import tables
from charging.database import open_engine
from tests.cli.conftest import Aaa
from tests.cli.test_shadow import DEARER

DEBIAN = Path("/etc/freeradius/3.0/mods-config/sql/main")
#: What the import needs of it, in our own words; any rlm_sql has at least this.
PLAIN = """
CREATE TABLE radcheck (id {id}, username text NOT NULL, attribute text NOT NULL, op varchar(2) NOT NULL, value text NOT NULL);
CREATE TABLE radreply (id {id}, username text NOT NULL, attribute text NOT NULL, op varchar(2) NOT NULL, value text NOT NULL);
CREATE TABLE radgroupcheck (id {id}, groupname text NOT NULL, attribute text NOT NULL, op varchar(2) NOT NULL, value text NOT NULL);
CREATE TABLE radgroupreply (id {id}, groupname text NOT NULL, attribute text NOT NULL, op varchar(2) NOT NULL, value text NOT NULL);
CREATE TABLE radusergroup (id {id}, username text NOT NULL, groupname text NOT NULL, priority integer NOT NULL DEFAULT 1);
CREATE TABLE radacct (
  radacctid {id}, acctsessionid text NOT NULL, acctuniqueid text NOT NULL UNIQUE, username text, nasipaddress text NOT NULL,
  nasportid text, acctstarttime {time}, acctstoptime {time}, acctsessiontime bigint, acctinputoctets bigint,
  acctoutputoctets bigint, calledstationid text, callingstationid text, acctterminatecause text, servicetype text,
  framedipaddress {address});
CREATE TABLE nas (id {id}, nasname text NOT NULL, shortname text, type text, ports integer, secret text NOT NULL);
"""
ROWS = """
INSERT INTO radcheck (username, attribute, op, value) VALUES
  ('alice', 'Cleartext-Password', ':=', 'correct horse'),
  ('alice', 'Simultaneous-Use', ':=', '2'),
  ('alice', 'Expiration', ':=', '31 Jan 2030 18:00:00'),
  ('bob', 'NT-Password', ':=', '0x8846F7EAEE8FB117AD06BDD830B7586C'),
  ('bob', 'Auth-Type', ':=', 'Reject'),
  ('carol', 'Crypt-Password', ':=', '$6$abc'),
  ('dave', 'Cleartext-Password', ':=', 'pw-of-dave'),
  ('dave', 'Max-Daily-Session', ':=', '3600'),
  ('dave', 'Calling-Station-Id', '==', '00-11-22-33-44-55'),
  ('dave', 'NAS-Port-Type', '==', 'Ethernet'),
  ('dave', 'NAS-Port-Type', '=~', 'Wire'),
  ('dave', 'Login-Time', ':=', 'Wk0800-1800,Sa'),
  ('dave', 'NAS-IP-Address', '==', '192.0.2.1'),
  ('dave', 'Framed-Protocol', '!=', 'PPP'),
  ('erin', 'Cleartext-Password', ':=', 'pw-of-erin'),
  ('here', 'Cleartext-Password', ':=', 'pw-of-here');
INSERT INTO radreply (username, attribute, op, value) VALUES
  ('alice', 'Filter-Id', ':=', 'vip'),
  ('alice', 'Framed-IP-Address', ':=', '198.51.100.7'),
  ('alice', 'Session-Timeout', ':=', '60'),
  ('carol', 'Filter-Id', ':=', 'vip');
INSERT INTO radusergroup (username, groupname, priority) VALUES
  ('alice', 'second', 5), ('alice', 'home-20', 1), ('bob', 'home-20', 1), ('carol', 'home-20', 1), ('dave', 'prepaid-50', 1),
  ('here', 'prepaid-50', 1), ('ghost', 'home-20', 1);
INSERT INTO radgroupcheck (groupname, attribute, op, value) VALUES ('home-20', 'Simultaneous-Use', ':=', '3');
INSERT INTO radgroupreply (groupname, attribute, op, value) VALUES
  ('home-20', 'Mikrotik-Rate-Limit', ':=', '5M/20M'),
  ('home-20', 'Acct-Interim-Interval', ':=', '300'),
  ('home-20', 'Idle-Timeout', ':=', '900'),
  ('home-20', 'Framed-Pool', ':=', 'pool-1'),
  ('home-20', 'No-Such-Attribute', ':=', '1'),
  ('second', 'Mikrotik-Rate-Limit', ':=', '1M/2M 3M/4M'),
  ('prepaid-50', 'Session-Timeout', ':=', '86400'),
  ('a b', 'Session-Timeout', ':=', '86400');
INSERT INTO nas (nasname, shortname, type, secret) VALUES
  ('192.0.2.1', 'bras-1', 'mikrotik', 'a-secret-of-the-first-nas'),
  ('192.0.2.0/24', 'bras-net', 'other', 'a-secret-of-the-second-nas'),
  ('nas.example.net', 'named', 'cisco', 'a-secret-of-the-third-nas'),
  ('192.0.2.9', 'old', 'other', '');
"""
ACCT = """
INSERT INTO radacct (acctsessionid, acctuniqueid, username, nasipaddress, nasportid, acctstarttime, acctstoptime, acctsessiontime,
  acctinputoctets, acctoutputoctets, calledstationid, callingstationid, acctterminatecause, servicetype, framedipaddress) VALUES
  ('81000001', 'u1', 'alice', '192.0.2.1', NULL, '2026-01-01 00:00:00+00', NULL, 0, 0, 0, '', '', '', NULL, '198.51.100.7'),
  ('81000002', 'u2', 'alice', '192.0.2.1', 'ether1', '2026-01-01 11:00:00+01', '2026-01-01 12:00:00+01', 3600, 1000000000, 5000000000,
   'service1', '02:00:00:00:00:01', 'User-Request', 'Framed-User', '198.51.100.7'),
  ('81000003', 'u3', 'dave', '192.0.2.77', NULL, '2026-01-02 10:00:00+00', '2026-01-02 10:01:30+00', NULL, NULL, 7000, '', '', '', NULL, '198.51.100.8'),
  ('81000004', 'u4', 'nobody', '192.0.2.1', NULL, '2026-01-02 10:00:00+00', '2026-01-02 10:01:30+00', 90, 1, 1, '', '', '', NULL, '198.51.100.9'),
  ('81000005', 'u5', 'nobody', '192.0.2.1', NULL, '2026-01-02 11:00:00+00', '2026-01-02 11:01:30+00', 90, 1, 1, '', '', '', NULL, '198.51.100.9'),
  ('81000006', 'u6', 'alice', '203.0.113.9', NULL, '2026-01-02 10:00:00+00', '2026-01-02 10:01:30+00', 90, 1, 1, '', '', '', NULL, '198.51.100.7'),
  ('81000007', 'u7', 'alice', '192.0.2.1', NULL, '2026-01-02 10:00:00+00', '2026-01-02 09:00:00+00', 90, 1, 1, '', '', '', NULL, '198.51.100.7'),
  ('81000008', 'u8', 'alice', '192.0.2.1', NULL, '2026-01-02 10:00:00+00', '2026-01-02 10:01:30+00', 90, -1, 1, '', '', '', NULL, '198.51.100.7'),
  ('81000009', 'u9', 'alice', '192.0.2.1', NULL, '2026-01-03 10:00:00+00', '2026-01-03 10:00:00+00', 0, 0, 0, '', '', 'NAS-Reboot', NULL, '198.51.100.7');
"""
ACCT_LEFT = [
    ("203.0.113.9", "there is no NAS with this address here; add it: aaa nas add (1 sessions)"),
    ("alice", "its counters are impossible (1 sessions)"),
    ("alice", "the session ended before it began (1 sessions)"),
    ("nobody", "there is no such subscriber here (2 sessions)"),
]


@pytest.fixture(params=["debian", "plain"])
def freeradius(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> str:
    """The URL of a FreeRADIUS database of the same kind as ours."""
    kind = "sqlite" if database_url.startswith("sqlite") else "postgresql"
    if request.param == "debian":
        schema = DEBIAN / kind / "schema.sql"
        if not schema.exists():
            pytest.skip("Debian's freeradius-config (sqlite) or freeradius-postgresql is not installed")
        statements = schema.read_text()
    else:
        types = {
            "sqlite": ("INTEGER", "datetime", "text"),
            "postgresql": ("serial", "timestamp with time zone", "inet"),
        }[kind]
        statements = PLAIN.format(id=f"{types[0]} PRIMARY KEY", time=types[1], address=types[2])
    statements += ROWS + ACCT
    if kind == "sqlite":
        with closing(sqlite3.connect(tmp_path / "radius.db")) as source:
            source.executescript(statements)
        return f"sqlite:///{tmp_path / 'radius.db'}"
    url: str = request.getfixturevalue("empty_postgresql_url")
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(statements.encode())
    return url


@pytest.fixture
def here(shop: Aaa) -> Aaa:
    """We sell prepaid-50 already, and have a subscriber called `here`."""
    shop.ok("subscriber", "add", "here", "--plan", "prepaid-50")
    return shop


OPTIONS = ("--currency", "EUR", "--time-zone", "Europe/Berlin")
LEFT = [
    ("nas", "192.0.2.9", "its secret is empty"),
    ("nas", "nas.example.net", "'nas.example.net' is not an address"),
    ("radcheck", "carol", "has no password that can be carried over (Crypt-Password: this hash can not be used"),
    ("radcheck", "dave", "Framed-Protocol 'PPP': the operator != is not carried over"),
    ("radcheck", "dave", "Max-Daily-Session '3600': a limit of sqlcounter"),
    ("radcheck", "dave", "NAS-IP-Address '192.0.2.1': a condition"),
    ("radcheck", "dave", "NAS-Port-Type 'Wire': the operator =~ is not carried over"),
    ("radcheck", "erin", "is in no group; give such users a plan: --default-plan P"),
    ("radcheck", "here", "there is a subscriber 'here' already"),
    ("radgroupreply", "a b", "is no name of a plan"),
    ("radgroupreply", "home-20", "No-Such-Attribute '1':"),
    ("radgroupreply", "prepaid-50", "there is a plan of this name; it stays as it is"),
    ("radgroupreply", "second", "Mikrotik-Rate-Limit '1M/2M 3M/4M': only the rate is carried over"),
    ("radreply", "alice", "Session-Timeout '60': Session-Timeout is not given"),
    ("radreply", "carol", "its user is not carried over"),
    ("radusergroup", "alice", "group 'second': a subscriber has one plan, 'home-20'"),
    ("radusergroup", "ghost", "has no row in radcheck: nothing to log in with"),
]


def all_rows(aaa: Aaa, table: Any) -> list[Any]:
    engine = open_engine(aaa.database_url)
    with engine.connect() as connection:
        found = list(connection.execute(select(table)).all())
    engine.dispose()
    return found


def test_a_dry_run_says_everything_and_changes_nothing(here: Aaa, freeradius: str) -> None:
    before = [all_rows(here, table) for table in (tables.subscriber, tables.nas, tables.plan_version)]
    told = here.json("import", "freeradius", freeradius, *OPTIONS, "--dry-run")
    assert before == [all_rows(here, table) for table in (tables.subscriber, tables.nas, tables.plan_version)]
    assert [each["username"] for each in told["subscribers"]] == ["alice", "bob", "dave"]
    assert [each["name"] for each in told["plans"]] == ["home-20", "second"]
    assert [each["name"] for each in told["nases"]] == ["bras-1", "bras-net"]
    left = sorted((each["table"], each["name"], each["why"]) for each in told["left"])
    assert [each[:2] for each in left] == [each[:2] for each in LEFT]
    for (_, _, why), (_, _, expected) in zip(left, LEFT, strict=True):
        assert why.startswith(expected)
    # No password is ever shown.
    assert "pw-of" not in str(told)


def test_what_came_over_works_here(here: Aaa, freeradius: str) -> None:
    here.ok("import", "freeradius", freeradius, *OPTIONS)
    alice = here.json("subscriber", "show", "alice")
    assert (alice["plan"], alice["password_kept"], alice["max_sessions"]) == ("home-20", "reversible", 2)
    assert alice["expires_at"] == "2030-01-31T17:00:00.000Z"
    assert alice["reply_attributes"] == ["Filter-Id = vip", "Framed-IP-Address = 198.51.100.7"]
    bob = here.json("subscriber", "show", "bob")
    assert (bob["password_kept"], bob["status"]) == ("nt-hash", "suspended")
    keys = load(here.keys_file)
    rows = {row.username: row for row in all_rows(here, tables.subscriber)}
    assert keys.open(subscriber_password("alice"), rows["alice"].password_sealed) == b"correct horse"
    assert (
        keys.open(subscriber_nt_hash("bob"), rows["bob"].password_nt_sealed).hex() == "8846f7eaee8fb117ad06bdd830b7586c"
    )
    assert here.json("subscriber", "show", "dave")["conditions"] == [
        "port: Ethernet", "device: 00:11:22:33:44:55", "hours: Mon-Fri 08:00-18:00, Sat 00:00-24:00",
    ]  # fmt: skip
    nases = {row.name: row for row in all_rows(here, tables.nas)}
    assert (nases["bras-1"].network, nases["bras-1"].dialect) == ("192.0.2.1", "mikrotik")
    assert keys.open(nas_secret("bras-1"), nases["bras-1"].secret_sealed) == b"a-secret-of-the-first-nas"
    assert nases["bras-net"].require_message_authenticator == "learn"
    plan = here.json("plan", "show", "home-20")
    profile = plan["plan"]["profile"] if "plan" in plan else plan["profile"]
    assert (profile["rate_up_bps"], profile["rate_down_bps"]) == (5_000_000, 20_000_000)
    assert (profile["interim_interval_seconds"], profile["idle_timeout_seconds"]) == (300, 900)
    assert "0 violations" not in here.ok("ledger", "check")


def test_again_changes_nothing(here: Aaa, freeradius: str) -> None:
    here.ok("import", "freeradius", freeradius, *OPTIONS)
    told = here.json("import", "freeradius", freeradius, *OPTIONS)
    assert (told["subscribers"], told["plans"], told["nases"]) == ([], [], [])


def test_hashed_passwords_and_a_plan_for_the_rest(here: Aaa, freeradius: str) -> None:
    here.ok("import", "freeradius", freeradius, *OPTIONS, "--keep", "argon2id", "--default-plan", "prepaid-50")
    erin = here.json("subscriber", "show", "erin")
    assert (erin["plan"], erin["password_kept"]) == ("prepaid-50", "argon2id")
    # She has the plan's allowance, as any new subscriber.
    assert any(bucket["balance"] == 50 * 10**9 for bucket in here.json("balance", "erin")["buckets"])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("url", "options", "problem"),
    [
        ("sqlite:////no/such/file.db", OPTIONS, "there is no file /no/such/file.db"),
        ("oracle://radius@db/radius", OPTIONS, "oracle: the databases are sqlite and postgresql"),
        ("radius.db", OPTIONS, "'radius.db' is not a database URL"),
        ("ours", OPTIONS, "there is no table radcheck; is this FreeRADIUS's database?"),
        ("ours", ("--currency", "Euro"), "'Euro'"),
        ("ours", (*OPTIONS, "--default-plan", "none"), "there is no plan 'none'"),
    ],
)
def test_what_can_not_be_read(here: Aaa, url: str, options: tuple[str, ...], problem: str) -> None:
    assert problem in here.fails("import", "freeradius", here.database_url if url == "ours" else url, *options)


@pytest.mark.parametrize(
    ("text", "zone", "at"),
    [
        ("31 Jan 2027", "UTC", "2027-01-31 00:00"),
        ("Jan 31 2027 18:00", "UTC", "2027-01-31 18:00"),
        ("31  January 2027 18:00:30", "Europe/Berlin", "2027-01-31 17:00:30"),
        ("2027-07-31 18:00", "Europe/Berlin", "2027-07-31 16:00"),
    ],
)
def test_dates_as_freeradius_writes_them(text: str, zone: str, at: str, instant: Any) -> None:
    assert expiration(text, zone) == instant(at)


def test_past_sessions_become_history_that_costs_nothing(here: Aaa, freeradius: str) -> None:
    dry = here.json("import", "freeradius", freeradius, *OPTIONS, "--radacct", "--dry-run")
    assert all_rows(here, tables.session) == []
    before = here.json("balance", "here")
    told = here.json("import", "freeradius", freeradius, *OPTIONS, "--radacct")
    for each in (dry, told):
        assert each["past"] == {"sessions": 3, "octets": 6_000_007_000, "already": 0}
        assert each["open_sessions"] == 1
        assert [(left["name"], left["why"]) for left in each["left"] if left["table"] == "radacct"] == ACCT_LEFT
    # As her NAS counted: Input is from her.
    (line,) = here.json("usage", "alice", "--by", "line")
    assert (line["kind"], line["octets_up"], line["octets_down"], line["seconds"]) == (
        "imported", 1_000_000_000, 5_000_000_000, 3600,
    )  # fmt: skip
    assert (line["last_at"], line["amount_micros"], line["paid_by"]) == ("2026-01-01T11:00:00.000Z", 0, [])
    # Where a count is missing it is nothing; where the time is, it is that between begin and end.
    (line,) = here.json("usage", "dave")
    assert (line["day"], line["octets_up"], line["octets_down"], line["seconds"]) == ("2026-01-02", 0, 7000, 90)
    newest, oldest = here.json("session", "list", "--subscriber", "alice", "--all")
    assert (newest["close_reason"], oldest["close_reason"]) == ("imported: NAS-Reboot", "imported: User-Request")
    assert (oldest["nas"], oldest["calling_station"], oldest["framed_address"]) == (
        "bras-1", "02:00:00:00:00:01", "198.51.100.7",
    )  # fmt: skip
    assert (oldest["acct_session_id"], oldest["started_at"]) == ("81000002", "2026-01-01T10:00:00.000Z")
    # Nobody paid for it, nothing contradicts it, and no report is made of it.
    assert here.json("balance", "here") == before
    assert here.json("ledger", "check")["violations"] == []
    assert here.json("report", "nas", "--from", "2026-01-01", "--to", "2026-01-31") == []
    disputed = here.json("dispute", "alice", "--from", "2026-01-01", "--to", "2026-01-31")
    assert all(check["holds"] for check in disputed["checks"])


def test_past_sessions_come_once(here: Aaa, freeradius: str) -> None:
    day = ("--from", "2026-01-02", "--to", "2026-01-02")
    assert here.json("import", "freeradius", freeradius, *OPTIONS, "--radacct", *day)["past"]["sessions"] == 1
    again = here.json("import", "freeradius", freeradius, *OPTIONS, "--radacct")["past"]
    assert again == {"sessions": 2, "octets": 6_000_000_000, "already": 1}
    said = here.ok("import", "freeradius", freeradius, *OPTIONS, "--radacct")
    assert "0 past sessions of 0 B came; 3 more had come before" in said
    assert len(all_rows(here, tables.session)) == 3


def test_use_of_before_is_rated_under_a_new_plan(here: Aaa, freeradius: str) -> None:
    """6,000 MB at 0.03 EUR, and 7 kB, of which 100 are sold at least."""
    here.ok("import", "freeradius", freeradius, *OPTIONS, "--radacct")
    told = here.json(
        "plan", "shadow", here.file("new.toml", DEARER), "dear", "--from", "2026-01-01", "--to", "2026-01-31"
    )
    assert [(each["username"], each["charged_micros"], each["shadow_micros"]) for each in told["bills"]] == [
        ("alice", 0, 180_000_000), ("dave", 0, 3_000),
    ]  # fmt: skip


def test_past_sessions_are_charged_by_no_correction_of_a_plan(here: Aaa, freeradius: str) -> None:
    here.ok("import", "freeradius", freeradius, *OPTIONS, "--radacct")
    here.ok("plan", "load", here.file("dear.toml", DEARER.replace("plan.dear", "plan.home-20")))
    before = here.json("ledger", "show", "alice")
    told = here.json("rerate", "home-20", "--from", "2026-01-01", "--to", "2026-01-31", "--apply")
    assert told["bills"] == []
    assert here.json("ledger", "show", "alice") == before


def test_a_meter_that_is_reversed_and_counts_kilobytes(here: Aaa, freeradius: str) -> None:
    here.ok("nas", "add", "old", "--address", "192.0.2.1", "--counters-reversed", "yes", "--counter-unit", "kB")
    here.ok("import", "freeradius", freeradius, *OPTIONS, "--radacct")
    (line,) = here.json("usage", "alice", "--by", "line")
    assert (line["octets_up"], line["octets_down"]) == (5_000_000_000_000, 1_000_000_000_000)


def test_a_meter_that_counts_from_report_to_report_kept_nothing(here: Aaa, freeradius: str) -> None:
    here.ok("nas", "add", "old", "--address", "192.0.2.1", "--counters-delta", "yes")
    told = here.json("import", "freeradius", freeradius, *OPTIONS, "--radacct")
    assert told["past"]["sessions"] == 1
    assert any("it counts from report to report" in each["why"] for each in told["left"])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_time_of_radacct_without_radacct(here: Aaa) -> None:
    assert "add --radacct" in here.fails("import", "freeradius", "sqlite:///x", *OPTIONS, "--to", "2026-01-02", code=2)


@pytest.mark.parametrize(
    ("value", "zone", "at"),
    [
        (1_767_261_600, "Europe/Berlin", "2026-01-01 10:00"),
        ("1767261600", "Europe/Berlin", "2026-01-01 10:00"),
        ("2026-01-01 11:00:00", "Europe/Berlin", "2026-01-01 10:00"),
        ("2026-01-01 11:00:00+00", "Europe/Berlin", "2026-01-01 11:00"),
        (datetime.fromisoformat("2026-07-01 12:00"), "Europe/Berlin", "2026-07-01 10:00"),
    ],
)
def test_times_as_radacct_has_them(value: object, zone: str, at: str, instant: Any) -> None:
    assert acct_instant(value, zone) == instant(at)


@pytest.mark.parametrize("value", ["yesterday", None, 1.5])
def test_what_is_no_time_of_radacct(value: object) -> None:
    with pytest.raises(ValueError, match="times are none"):
        acct_instant(value, "UTC")


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("Wk0800-1800", ("Mon-Fri 08:00-18:00",)),
        ("Al", ("00:00-24:00",)),
        ("Any0600-2200", ("06:00-22:00",)),
        ("MoWeFr2000-2359, sasu", ("Mon,Wed,Fri 20:00-23:59", "Sat,Sun 00:00-24:00")),
        ("Sa|Su1000-1200", ("Sat 00:00-24:00", "Sun 10:00-12:00")),
    ],
)
def test_login_times_as_freeradius_writes_them(text: str, hours: tuple[str, ...]) -> None:
    assert login_time(text) == hours


@pytest.mark.parametrize("text", ["", "Never", "Wk08-18", "Su2305-1655", "Wk2500-2600", "Mo0800-1800Tu"])
def test_what_is_no_login_time(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        login_time(text)
