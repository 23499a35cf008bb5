"""`aaa report leaks`, and what `aaa session show` and `aaa nas show` say of enforcement."""

from collections.abc import Callable

from sqlalchemy import insert, update

from charging import tables
from charging.admission import Admitted
from charging.database import open_engine
from tests.cli.conftest import Aaa
from tests.cli.reports import book

MINUTE_MS = 60_000


def test_what_leaked_by_nas_and_by_dialect(shop: Aaa, log_in: Callable[[str], Admitted]) -> None:
    shop.ok("nas", "add", "edge", "--address", "192.0.2.1", "--dialect", "hostapd")
    shop.ok("subscriber", "add", "anna", "--plan", "prepaid-50", "--password", "correct horse battery")
    assert shop.ok("report", "leaks") == "no session closed in that time\n"
    admitted = log_in("anna")
    engine = open_engine(shop.database_url)
    at = 1_772_366_400_000
    book(engine, admitted, "start", at)
    book(engine, admitted, "stop", at + 60 * MINUTE_MS, down=50_000_000_000 + 7_000_000, seconds=3600)
    with engine.begin() as connection:
        leaked = connection.execute(tables.session.select()).one().leaked_octets
    engine.dispose()
    (line,) = shop.json("report", "leaks")
    assert (line["nas"], line["dialect"], line["sessions"]) == ("edge", "hostapd", 1)
    assert line["leaked_octets"] == line["most_octets"] == leaked
    assert line["leaking"] == (1 if leaked else 0)
    (by_dialect,) = shop.json("report", "leaks", "--by", "dialect")
    assert (by_dialect["dialect"], by_dialect["leaked_octets"]) == ("hostapd", leaked)
    assert "edge" in shop.ok("report", "leaks")
    assert shop.json("report", "leaks", "--to", "2020-01-01") == []


def test_a_command_with_its_packets_and_answers(shop: Aaa, log_in: Callable[[str], Admitted]) -> None:
    shop.ok("nas", "add", "edge", "--address", "192.0.2.1")
    shop.ok("subscriber", "add", "anna", "--plan", "prepaid-50", "--password", "correct horse battery")
    admitted = log_in("anna")
    shop.ok("session", "disconnect", str(admitted.session_id))
    engine = open_engine(shop.database_url)
    with engine.begin() as connection:
        connection.execute(
            update(tables.command).values(
                state="failed", packets=6, answers="nak-402 no-answer ", answer="no-answer", sent_at=1_772_366_400_000,
                finished_at=1_772_366_430_000,
            )
        )  # fmt: skip
    engine.dispose()
    (command,) = shop.json("session", "show", str(admitted.session_id))["commands"]
    assert (command["reason"], command["packets"], command["answers"]) == ("operator", 6, "nak-402 no-answer ")
    text = shop.ok("session", "show", str(admitted.session_id))
    assert "disconnect, operator: failed (nak-402, no-answer), 6 packets from 2026-03-01" in text
    assert "finished 2026-03-01" in text


def test_a_class_falls_with_what_was_seen_and_a_change_of_settings_forgets_it(shop: Aaa) -> None:
    shop.ok("nas", "add", "edge", "--address", "192.0.2.1", "--dialect", "mikrotik")
    assert shop.json("nas", "show", "edge")["enforcement_class"] == "A"
    engine = open_engine(shop.database_url)
    nas_id = 1
    row = {"nas_id": nas_id, "nas_address": "192.0.2.1", "what": "silent", "count": 3, "first_at": 0, "last_at": 2**42}
    with engine.begin() as connection:
        connection.execute(insert(tables.nas_observation).values(row))
    engine.dispose()
    shown = shop.json("nas", "show", "edge")
    assert shown["enforcement_class"] == "D"
    assert shown["class_because"] == ["dialect mikrotik", "192.0.2.1 did not answer its last 3 commands"]
    assert shop.json("nas", "set", "edge", "--coa-port", "1700")["enforcement_class"] == "A"


def test_a_class_that_the_equipment_can_not_be(shop: Aaa) -> None:
    result = shop("nas", "add", "edge", "--address", "192.0.2.1", "--dialect", "hostapd", "--enforcement-class", "A")
    assert result.exit_code == 1
    assert "dialect hostapd has no words for a volume limit; the class can be C at best" in result.stderr


def test_the_meter_of_a_nas_is_set_and_goes_back_to_its_dialects(shop: Aaa) -> None:
    shop.ok("nas", "add", "edge", "--address", "192.0.2.1")
    changed = shop.json(
        "nas", "set", "edge", "--counter-unit", "kB", "--counters-delta", "yes", "--counter-bits", "32",
        "--counter-level", "service", "--coa-message-authenticator", "no",
    )  # fmt: skip
    said = ("counter_unit", "counters_delta", "counter_bits", "counter_level", "coa_message_authenticator")
    assert [changed[each] for each in said] == ["kB", True, 32, "service", "no"]
    back = shop.json(
        "nas", "set", "edge", "--counter-unit", "dialect", "--counters-delta", "dialect", "--counter-bits", "dialect",
        "--counter-level", "dialect", "--coa-message-authenticator", "dialect",
    )  # fmt: skip
    assert [back[each] for each in said] == ["octets", False, None, "session", "auto"]
