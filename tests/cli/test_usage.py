from collections.abc import Callable

import pytest

from charging.admission import Admitted
from charging.database import open_engine
from tests.cli.conftest import Aaa
from tests.cli.reports import book


@pytest.fixture
def anna(shop: Aaa, log_in: Callable[[str], Admitted], instant: Callable[[str], int]) -> Aaa:
    """Anna used 3 MB just before midnight and 5 MB after it, in one session."""
    shop.ok("subscriber", "add", "anna", "--plan", "prepaid-50", "--password", "correct horse battery")
    admitted = log_in("anna")
    engine = open_engine(shop.database_url)
    for kind, when, up, down in (
        ("start", "2030-03-01 23:50:00", 0, 0),
        ("interim", "2030-03-01 23:55:00", 1_000_000, 2_000_000),
        ("stop", "2030-03-02 00:05:00", 2_000_000, 6_000_000),
    ):
        at = instant(when)
        seconds = (at - instant("2030-03-01 23:50:00")) // 1000
        book(engine, admitted, kind, at, up=up, down=down, seconds=seconds)  # type: ignore[arg-type]
    engine.dispose()
    return shop


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [("2030-03-02", 1_000_000, 4_000_000, 600), ("2030-03-01", 1_000_000, 2_000_000, 300)]),
        (("--to", "2030-03-01"), [("2030-03-01", 1_000_000, 2_000_000, 300)]),
        (("--from", "2030-03-02"), [("2030-03-02", 1_000_000, 4_000_000, 600)]),
        (("--from", "2030-03-01 23:56", "--to", "2030-03-02 00:05"), []),
        (("--limit", "1"), [("2030-03-02", 1_000_000, 4_000_000, 600)]),
    ],
)
def test_usage_by_day(anna: Aaa, options: tuple[str, ...], expected: list[tuple[object, ...]]) -> None:
    lines = anna.json("usage", "anna", *options)
    assert [(e["day"], e["octets_up"], e["octets_down"], e["seconds"]) for e in lines] == expected


def test_usage_by_session_and_by_line(anna: Aaa) -> None:
    (whole,) = anna.json("usage", "anna", "--by", "session")
    assert (whole["octets_up"], whole["octets_down"], whole["seconds"]) == (2_000_000, 6_000_000, 900)
    lines = anna.json("usage", "anna", "--by", "line")
    assert [(e["line_no"], e["kind"], e["octets_down"]) for e in lines] == [
        (2, "stop", 4_000_000),
        (1, "interim", 2_000_000),
    ]


TARIFF = """
currency = "EUR"
time_zone = "UTC"
[profile.p]
[window.night]
hours = "22:00-06:00"
[plan.nights]
profile = "p"
[[plan.nights.allowance]]
name = "dark"
unit = "octets"
amount = "2MB"
priority = 3
windows = ["night"]
member_cap = "1MB"
member_cap_per = "day"
[[plan.nights.rate]]
name = "late"
unit = "octets"
price = "0.01"
per = "1MB"
windows = ["night"]
[[plan.nights.rate]]
unit = "octets"
price = "0.10"
per = "1MB"
"""


def test_each_report_says_what_it_drew_and_why(
    aaa: Aaa, log_in: Callable[[str], Admitted], instant: Callable[[str], int]
) -> None:
    aaa.ok("plan", "load", aaa.file("tariff.toml", TARIFF))
    aaa.ok("nas", "add", "nas-1", "--address", "192.0.2.1")
    aaa.ok("subscriber", "add", "nina", "--plan", "nights", "--password", "correct horse battery")
    aaa.ok("topup", "nina", "10.00", "--reference", "r1")
    admitted = log_in("nina")
    engine = open_engine(aaa.database_url)
    for kind, when, down, seconds in (
        ("start", "2030-03-01 21:00:00", 0, 0),
        ("interim", "2030-03-01 23:00:00", 6_000_000, 7_200),
    ):
        book(engine, admitted, kind, instant(when), up=0, down=down, seconds=seconds)  # type: ignore[arg-type]
    engine.dispose()
    (line,) = aaa.json("usage", "nina", "--by", "line")
    assert line["flags"] == "estimated"
    paid = [(e.get("name") or e["rate"], e["unit"], e["amount"], e.get("micros"), e["why"]) for e in line["paid_by"]]
    assert paid == [
        ("money", "money", 320_000, None, "money, after all else"),
        ("dark", "octets", 1_000_000, None, "priority 3, never expires, in night, at most 1 MB a member and day"),
        ("late", "octets", 2_000_000, 20_000, "in night"),
        ("rate 2", "octets", 3_000_000, 300_000, "the first price that fits"),
    ]
    only = "in night, at most 1 MB a member and day"
    assert aaa.json("balance", "nina")["buckets"][0]["only"] == only.split(", ")
    assert only in aaa.ok("balance", "nina")
    assert "1 MB from dark (priority 3, never expires, in night" in aaa.ok("usage", "nina", "--by", "line")


def test_people_read_a_table(anna: Aaa) -> None:
    lines = anna.ok("usage", "anna").splitlines()
    assert lines[2].split() == ["2030-03-02", "1", "MB", "4", "MB", "10m", "0.00", "EUR"]
    for by in ("session", "line"):
        assert "MB" in anna.ok("usage", "anna", "--by", by)


def test_what_can_not_be_shown(anna: Aaa) -> None:
    assert anna.ok("usage", "anna", "--from", "2031-01-01") == "nothing used in that time\n"
    assert "'yesterday' is not a day; write for example 2026-03-01" in anna.fails(
        "usage", "anna", "--from", "yesterday", code=2
    )
    assert "nobody" in anna.fails("usage", "nobody")
