from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from aaa import enrolment, registry
from aaa.enrolment import Entry, Faults
from aaa.registry import RegistryError
from tests.cli.conftest import PLANS, Aaa

GOOD = """\
username,password,plan,account,allow_chap,max_sessions,expires
alice,secret-a,prepaid-50,family,yes,2,2099-01-31
bob,secret-b,evening,family,no,,
"carol, jr","p""w",evening,,,,
"""


def test_every_row_becomes_a_subscriber(shop: Aaa) -> None:
    assert shop.json("subscriber", "import", shop.file("s.csv", GOOD)) == {"subscribers": 3}
    alice, bob, carol = shop.json("subscriber", "list")
    assert (alice["account"], alice["password_kept"], alice["max_sessions"]) == ("family", "reversible", 2)
    assert alice["expires_at"] == "2099-01-31T23:00:00.000Z"
    assert (bob["account"], bob["password_kept"], bob["max_sessions"]) == ("family", "argon2id", None)
    assert (carol["username"], carol["account"], carol["plan"]) == ("carol, jr", "carol, jr", "evening")
    assert shop.ok("subscriber", "import", shop.file("t.csv", "username,password,plan\nd,x,evening\n")) == (
        "added 1 subscribers\n"
    )


def test_all_faults_are_told_at_once_and_nothing_is_written(shop: Aaa) -> None:
    shop.ok("subscriber", "add", "known", "--plan", "evening")
    shop.ok("account", "add", "tokyo", "--currency", "JPY")
    file = shop.file(
        "s.csv",
        "username,password,plan,account,allow_chap,max_sessions,expires\n"
        "good,x,evening,,,,\n"
        "good,x,evening,,,,\n"
        "known,x,evening,,,,\n"
        "a,x,evning,,,,\n"
        "b,,evening,,maybe,0,\n"
        "c,x,evening,tokyo,,,\n"
        "d,x,evening,,,,2099-02-30\n"
        "e,x\n"
        " f,x,,,,,\n",
    )
    assert shop.fails("subscriber", "import", file).splitlines() == [
        f"{file}:{line}"
        for line in [
            "3: 'good' stands in line 2 already",
            "4: there is a subscriber 'known' already",
            "5: there is no plan 'evning'; did you mean 'evening'?",
            "6: allow_chap: 'maybe' is neither yes nor no",
            "6: max_sessions: '0' is not a number from 1 to 1000",
            "6: password: is empty",
            "7: account 'tokyo' is in JPY, plan 'evening' in EUR; choose another account or plan",
            "8: expires: '2099-02-30' is no day; write for example 2027-01-31, or 2027-01-31T18:00",
            "9: 2 fields under 7 columns; quote a field that has a comma",
            "10: plan: is no name; write the name of a plan",
            "10: username: ' f' is not a name; write printable characters, no space at either end",
        ]
    ]
    assert [each["username"] for each in shop.json("subscriber", "list")] == ["known"]
    assert [each["name"] for each in shop.json("account", "list")] == ["known", "tokyo"]


def test_twenty_faults_are_told_and_the_others_counted(shop: Aaa) -> None:
    file = shop.file("s.csv", "username,password,plan\n" + "".join(f"u{i},x,nothing\n" for i in range(50)))
    lines = shop.fails("subscriber", "import", file).splitlines()
    assert len(lines) == 21
    assert lines[0].startswith(f"{file}:2: there is no plan 'nothing'; ")
    assert lines[-1] == "and 30 more"


def test_one_account_can_not_be_in_two_currencies(shop: Aaa) -> None:
    dollars = PLANS.replace('"EUR"', '"USD"').replace("prepaid-50", "dollar-50").replace("evening", "night")
    shop.ok("plan", "load", shop.file("dollars.toml", dollars))
    file = shop.file("s.csv", "username,password,plan,account\na,x,evening,shared\nb,x,night,shared\n")
    assert shop.fails("subscriber", "import", file) == (
        f"{file}:3: account 'shared' is in EUR, plan 'night' in USD; choose another account or plan"
    )


def test_what_goes_wrong_in_the_last_batch_undoes_the_first(shop: Aaa, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when somebody adds one of the names while the passwords are hashed."""
    monkeypatch.setattr("cli.subscriber.BATCH", 1)
    enrol = registry.enrol

    def late(connection: Any, keys: Any, newcomers: Any, now: int, actor: str) -> None:
        if newcomers[0].username == "b":
            raise RegistryError("there is a subscriber 'b' already")
        enrol(connection, keys, newcomers, now, actor)

    monkeypatch.setattr("aaa.registry.enrol", late)
    file = shop.file("s.csv", "username,password,plan\na,x,evening\nb,x,evening\n")
    assert shop.fails("subscriber", "import", file) == "there is a subscriber 'b' already"
    assert shop.json("subscriber", "list") == []
    assert shop.json("account", "list") == []


HEADERS = [
    ("", "no column username, password, plan; the first line must be, for example: username,password,plan"),
    ("username,plan\n", "no column password; the first line must be, for example: username,password,plan"),
    ("username,password,plan,acount\n", "unknown column 'acount'; did you mean 'account'?"),
    ("username,password,plan,plan\n", "column 'plan' stands there twice"),
]


@pytest.mark.parametrize(("text", "problem"), HEADERS)
def test_the_first_line_names_the_columns(text: str, problem: str) -> None:
    faults = Faults("s.csv")
    assert enrolment.read(text.splitlines(keepends=True), faults) == []
    assert str(faults) == f"s.csv:1: {problem}"


def read(text: str) -> tuple[list[Entry], str]:
    faults = Faults("s.csv")
    return enrolment.read(text.splitlines(keepends=True), faults), str(faults)


def test_columns_may_stand_in_any_order_after_a_spreadsheets_mark() -> None:
    entries, problems = read("\ufeffplan, username ,password\nevening,alice, pw \n\n")
    assert entries == [Entry(2, "alice", " pw ", "evening", "alice", allow_chap=False, max_sessions=None, expires=None)]
    assert problems == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('username,password,plan\n"alice,x,evening\n', "s.csv:2: not CSV: unexpected end of data"),
        (f"username,password,plan\n{'x' * 5000},y,z\n", "s.csv:2: not CSV: a line of more than 4096 characters"),
        (f"username,password,plan\na,{'x' * 129},z\n", "s.csv:2: password: at most 128 octets, none of them zero"),
    ],
)
def test_what_is_not_right_in_a_line(text: str, problem: str) -> None:
    assert read(text) == ([], problem)


def test_a_file_has_at_most_so_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolment, "MOST_ROWS", 2)
    entries, problems = read("username,password,plan\na,x,p\nb,x,p\nc,x,p\nd,x,p\n")
    assert len(entries) == 2
    assert problems == "s.csv:4: more than 2 subscribers; split the file"


def test_a_password_is_never_in_a_fault() -> None:
    _, problems = read("username,password,plan\na,hunter22,\nb,hunter22,p,x\n")
    assert problems
    assert "hunter22" not in problems


def test_a_file_that_is_not_text(shop: Aaa) -> None:
    path = shop.folder / "s.csv"
    path.write_bytes(b"username,password,plan\n\xff\xfe,x,evening\n")
    assert "can't decode byte 0xff" in shop.fails("subscriber", "import", str(path))


def test_thousands_are_written_in_seconds(shop: Aaa) -> None:
    rows = "".join(f"user-{i},password-{i},prepaid-50,yes\n" for i in range(3000))
    began = time.process_time()  # this machine may have other things to do
    shop.ok("subscriber", "import", shop.file("s.csv", f"username,password,plan,allow_chap\n{rows}"))
    # Some 4,000 a second on an idle machine; far more than this would be a statement per row.
    assert time.process_time() - began < 10
    assert len(shop.json("subscriber", "list", "--limit", "5000")) == 3000


def test_an_empty_list_is_no_fault(shop: Aaa, tmp_path: Path) -> None:
    assert shop.ok("subscriber", "import", shop.file("s.csv", "username,password,plan\n")) == "added 0 subscribers\n"
