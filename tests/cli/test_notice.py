"""`aaa notice`, and contact data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from sqlalchemy import insert

from charging import tables
from charging.database import open_engine
from charging.notices.kinds import KINDS
from charging.notices.settings import read
from charging.tomlfile import parse
from cli.clock import now
from tests.cli.conftest import Aaa

DOCUMENT = (Path(__file__).parents[2] / "docs" / "notices.md").read_text(encoding="utf-8")


@pytest.fixture
def alice(shop: Aaa) -> Aaa:
    """Alice has two notices; one of the mails came back."""
    shop.ok("subscriber", "add", "alice", "--plan", "prepaid-50", "--email", "alice@example.net", "--language", "de")
    engine = open_engine(shop.database_url)
    facts = '{"bucket":"data","unit":"octets","left":10000000000,"granted":50000000000}'
    with engine.begin() as connection:
        ours = {
            "account_id": 1,
            "subscriber_id": 1,
            "kind": "threshold",
            "detail": "data: 10 GB left",
            "created_at": now(),
        }
        connection.execute(insert(tables.notice), [
            {**ours, "notice_id": 7, "facts": facts, "routed_at": now()},
            {**ours, "notice_id": 8, "facts": "{}", "routed_at": None, "created_at": now() + 1},
        ])  # fmt: skip
        connection.execute(insert(tables.notice_delivery).values(
            account_id=1, notice_id=7, channel="email", subscriber_id=1, urgent=False, state="failed", attempts=3,
            not_before=now(), give_up_at=now(), address="alice@example.net", error="550 no such user", created_at=now(),
            finished_at=now(),
        ))  # fmt: skip
    engine.dispose()
    return shop


def test_contact_data_is_kept_changed_and_forgotten(shop: Aaa) -> None:
    added = shop.json("subscriber", "add", "alice", "--plan", "prepaid-50", "--email", "alice@example.net")
    assert (added["email"], added["phone"], added["language"]) == ("alice@example.net", None, None)
    changed = shop.json(
        "subscriber", "set", "alice", "--email", "none", "--phone", "+4915112345678", "--language", "de"
    )
    assert (changed["email"], changed["phone"], changed["language"]) == (None, "+4915112345678", "de")


@pytest.mark.parametrize("command", [["add", "bob", "--plan", "prepaid-50"], ["set", "alice"]])
def test_wrong_contact_data_is_refused(alice: Aaa, command: list[str]) -> None:
    problem = "email: 'bob' is no e-mail address; write for example alice@example.net"
    assert alice.fails("subscriber", *command, "--email", "bob") == problem


def test_contact_data_comes_from_a_file_too(shop: Aaa) -> None:
    file = shop.file("new.csv", "username,password,plan,email,language\nbob,secret-pw,prepaid-50,bob@example.net,es\n")
    shop.ok("subscriber", "import", file)
    shown = shop.json("subscriber", "show", "bob")
    assert (shown["email"], shown["phone"], shown["language"]) == ("bob@example.net", None, "es")
    wrong = shop.file("bad.csv", "username,password,plan,phone\ncarol,secret-pw,prepaid-50,0151\n")
    assert "bad.csv:2: phone: '0151' is no telephone number" in shop.fails("subscriber", "import", wrong)


def test_notices_are_listed_the_newest_first(alice: Aaa) -> None:
    assert [n["notice_id"] for n in alice.json("notice", "list")] == [8, 7]
    assert [n["notice_id"] for n in alice.json("notice", "list", "--state", "failed")] == [7]
    assert alice.json("notice", "list", "--kind", "exhausted") == []
    assert "no account" in alice.fails("notice", "list", "--account", "bob")


def test_a_notice_is_shown_with_its_text_and_why_it_failed(alice: Aaa) -> None:
    shown = alice.json("notice", "show", "7")
    assert shown["subject"] == "Noch 10 GB von data"
    (delivery,) = shown["deliveries"]
    assert (delivery["state"], delivery["error"], delivery["attempts"]) == ("failed", "550 no such user", 3)
    text = alice.ok("notice", "show", "7")
    assert "550 no such user" in text
    assert "von Ihren 50 GB (data) sind noch 10 GB übrig." in text
    assert "not yet routed" in alice.ok("notice", "show", "8")
    assert alice.fails("notice", "show", "9") == "there is no notice 9; see: aaa notice list"


def test_what_failed_is_tried_again(alice: Aaa) -> None:
    assert "say what to try again" in alice.fails("notice", "retry", code=2)
    assert alice.json("notice", "retry", "--channel", "sms") == {"deliveries": 0}
    assert alice.json("notice", "retry", "7") == {"deliveries": 1}
    assert alice.json("notice", "show", "7")["deliveries"][0]["state"] == "pending"
    assert alice.ok("notice", "retry", "--all").strip() == "nothing has failed"


def test_a_test_without_a_server_says_so(alice: Aaa) -> None:
    problem = alice.fails("notice", "test", "alice", "--wait", "1s")
    assert problem == "no server took it within 1s; is one running with [notices] in its configuration?"


def test_every_kind_is_listed_and_documented(aaa: Aaa) -> None:
    assert [kind["kind"] for kind in aaa.json("notice", "kinds")] == list(KINDS)
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", DOCUMENT.split("## Kinds")[1].split("\n## ")[0], re.MULTILINE)
    assert [name for name, _ in rows] == list(KINDS)
    for name, row in rows:
        facts = re.findall(r"`(\w+)`", row)
        assert facts == list(KINDS[name].facts), name


def test_a_template_to_begin_with(shop: Aaa) -> None:
    assert shop.ok("notice", "template", "restored", "--language", "es").startswith(
        "Su servicio está completo de nuevo\n\n"
    )


def test_the_document_s_configuration_can_be_read() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert blocks
    for block in blocks:
        top = parse(block, "aaa.toml")
        table = top.table("notices")
        assert table is not None
        read(table)
        assert list(top.faults.in_file_order()) == []


def test_the_doctor_counts_what_was_given_up(alice: Aaa) -> None:
    found = {finding["check"]: finding for finding in json.loads(alice("doctor", "--json").stdout)}
    assert (found["notices"]["level"], found["notices"]["words"]) == (
        "warn",
        "1 did not arrive in the last day and were given up",
    )
