from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine

from charging.admission import Admitted
from charging.database import open_engine
from cli.clock import now
from tests.cli.conftest import Aaa
from tests.cli.reports import book


@pytest.fixture
def engine_of(shop: Aaa) -> Iterator[Engine]:
    engine = open_engine(shop.database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def online(shop: Aaa, log_in: Callable[[str], Admitted], engine_of: Engine) -> Admitted:
    """Anna is on line and has used 5 MB."""
    shop.ok("subscriber", "add", "anna", "--plan", "prepaid-50", "--password", "correct horse battery")
    shop.ok("subscriber", "add", "bob", "--plan", "prepaid-50", "--password", "correct horse battery")
    admitted = log_in("anna")
    at = now()
    book(engine_of, admitted, "start", at)
    book(engine_of, admitted, "interim", at + 60_000, up=1_000_000, down=4_000_000, seconds=60)
    return admitted


def test_live_sessions_are_listed_and_ended_ones_on_request(shop: Aaa, online: Admitted, engine_of: Engine) -> None:
    (line,) = shop.json("session", "list")
    assert (line["session_id"], line["username"], line["state"]) == (online.session_id, "anna", "open")
    assert (line["octets_up"], line["octets_down"], line["seconds"]) == (1_000_000, 4_000_000, 60)
    assert "anna" in shop.ok("session", "list")
    book(engine_of, online, "stop", now() + 120_000, up=1_000_000, down=4_000_000, seconds=120)
    assert shop.ok("session", "list") == "no live session; those that have ended: --all\n"
    (line,) = shop.json("session", "list", "--all")
    assert (line["state"], line["close_reason"]) == ("closed", "stop")


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (("--account", "anna"), 1),
        (("--account", "bob"), 0),
        (("--subscriber", "anna"), 1),
        (("--subscriber", "bob"), 0),
    ],
)
def test_a_list_can_be_narrowed(shop: Aaa, online: Admitted, options: tuple[str, ...], count: int) -> None:
    assert len(shop.json("session", "list", *options)) == count


@pytest.mark.parametrize("option", ["--account", "--subscriber", "--nas"])
def test_a_name_that_is_not_there_is_an_error_not_an_empty_list(shop: Aaa, online: Admitted, option: str) -> None:
    assert "nobody" in shop.fails("session", "list", option, "nobody")


def test_show_tells_what_was_drawn_and_what_is_held(shop: Aaa, online: Admitted) -> None:
    record = shop.json("session", "show", str(online.session_id))
    (charge,) = record["charges"]
    assert (charge["bucket"], charge["unit"], charge["accrued"], charge["posted"]) == ("data", "octets", 5_000_000, 0)
    text = shop.ok("session", "show", str(online.session_id))
    assert "5 MB from data" in text
    assert "held" in text


def test_disconnect_writes_the_command_for_the_nas(shop: Aaa, online: Admitted, engine_of: Engine) -> None:
    session_id = str(online.session_id)
    assert shop.ok("session", "disconnect", session_id).startswith("disconnecting anna on #1")
    (command,) = shop.json("session", "show", session_id)["commands"]
    assert (command["action"], command["reason"], command["state"]) == ("disconnect", "operator", "pending")
    assert shop.json("session", "list")[0]["service"] == "disconnect, not yet acknowledged"
    book(engine_of, online, "stop", now() + 120_000, up=1_000_000, down=4_000_000, seconds=120)
    assert shop.fails("session", "disconnect", session_id) == f"session {session_id} of anna has ended already (stop)"


def test_a_session_that_is_not_there(shop: Aaa) -> None:
    for command in ("show", "disconnect"):
        assert shop.fails("session", command, "17") == "there is no session 17; see: aaa session list --all"
    assert "'x'" in shop.fails("session", "show", "x", code=2)
