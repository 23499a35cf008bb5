"""What prices ask for, from the packets to the ledger: group of the NAS, called station, realm, Service-Type, time."""

from __future__ import annotations

import pytest

from aaa.wire import Code
from charging import planfile, tables
from tests.aaa.conftest import Floor

START, STOP, INTERIM = 1, 2, 3
PLAN = """
currency = "EUR"
time_zone = "UTC"
[profile.home]
rate_down = "800M"
rate_up = "80M"
interim_interval = "10m"
[window.afternoon]
hours = "12:00-18:00"
[zone.cafe]
called_stations = ["*:cafe"]
nas_groups = ["hotspots"]
[zone.partner]
realms = ["partner.example"]
[plan.places]
profile = "home"
[[plan.places.allowance]]
name = "credit"
unit = "money"
amount = "10.00"
[[plan.places.rate]]
unit = "octets"
price = "0.10"
per = "1MB"
zones = ["cafe"]
[[plan.places.rate]]
unit = "octets"
price = "0.20"
per = "1MB"
zones = ["partner"]
[[plan.places.rate]]
unit = "octets"
price = "0.30"
per = "1MB"
service_classes = ["administrative"]
[[plan.places.rate]]
unit = "octets"
price = "0.40"
per = "1MB"
windows = ["afternoon"]
"""


@pytest.mark.parametrize(
    ("username", "group", "called", "service_type", "facts", "micros"),
    [
        (
            "anna",
            "hotspots",
            "02-00-00-00-00-01:Cafe",
            2,
            ("hotspots", "02-00-00-00-00-01:Cafe", "", "framed"),
            100_000,
        ),
        ("anna", "", "02-00-00-00-00-01:Cafe", 2, ("", "02-00-00-00-00-01:Cafe", "", "framed"), 400_000),
        ("anna@Partner.example", "", "", 2, ("", "", "partner.example", "framed"), 200_000),
        ("anna", "", "", 6, ("", "", "", "administrative"), 300_000),
        ("anna", "", "", 99, ("", "", "", ""), 400_000),
    ],
)
def test_where_and_how_decides_what_it_costs(
    floor: Floor, username: str, group: str, called: str, service_type: int, facts: tuple[str, ...], micros: int
) -> None:
    (plan,) = planfile.load(PLAN)
    floor.add_subscriber(username, plan=plan)
    floor.set_nas("bras-1", nas_group=group, revised_at=floor.now() + 1)
    floor.nases.refresh()
    station = [("Called-Station-Id", called)] if called else []
    sent = floor.login(username, more=[*station, ("Service-Type", service_type)])
    assert sent.answer().code == Code.ACCESS_ACCEPT
    (session,) = floor.rows(tables.session)
    assert (session.nas_group, session.called_station, session.realm, session.service_class) == facts
    floor.clock.advance(60)
    more = ("Acct-Output-Octets", 1_000_000), ("Acct-Session-Time", 60)
    floor.report(STOP, *more, username=username).answer()
    (line,) = floor.rows(tables.usage_line)
    assert (line.amount_micros, line.flags) == (micros, "")


def test_a_session_over_the_end_of_a_window(floor: Floor) -> None:
    """From 17:30 to 18:30; what is sold in the afternoon only is not paid for after it."""
    (plan,) = planfile.load(PLAN)
    floor.add_subscriber("anna", plan=plan)
    floor.clock.advance(5.5 * 3600)
    floor.login("anna").answer()
    floor.clock.advance(3600)
    floor.report(INTERIM, ("Acct-Output-Octets", 2_000_000), ("Acct-Session-Time", 3600), username="anna").answer()
    (line,) = floor.rows(tables.usage_line)
    assert (line.amount_micros, line.flags, line.rated) == (400_000, "estimated", "3:1000000:400000")
    (session,) = floor.rows(tables.session)
    assert (session.wanted, session.leaked_octets) == ("cut", 1_000_000)
