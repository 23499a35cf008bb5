from collections.abc import Callable

from charging.admission import Admitted
from tests.cli.conftest import Aaa

# 25 Mbit/s are 3 125 000 octets/s; a session that may still begin reports every 330 s at most.
# Nobody knows its NAS: three times that (charging/bound.py).
ONE_MORE = 3 * 3_125_000 * (330 + 5 + 30)


def test_an_account_with_nobody_on_line(shop: Aaa) -> None:
    shop.ok("subscriber", "add", "anna", "--plan", "prepaid-50", "--password", "correct horse battery")
    text = shop.ok("explain", "anna")
    assert "Account anna is prepaid, has 0.00 EUR." in text
    assert "No session is live." in text
    assert "At most 3.42 GB can be used past the end of the money" in text
    assert "3 x (330 + 5 + 30) s" in text
    found = shop.json("explain", "anna")["bound"]
    assert (found["octets"], found["report_delay_seconds"], found["command_seconds"]) == (ONE_MORE, 5, 30)
    # 0.02 a MB in steps of 100 kB, and 0.50 for beginning
    assert found["micros"] == -(-ONE_MORE // 100_000) * 2_000 + 500_000


def test_a_live_session_takes_its_place_in_the_bound(shop: Aaa, log_in: Callable[[str], Admitted]) -> None:
    shop.ok("subscriber", "add", "anna", "--plan", "prepaid-50", "--password", "correct horse battery")
    admitted = log_in("anna")
    found = shop.json("explain", "anna")
    (session,) = found["sessions"]
    assert session["session_id"] == admitted.session_id
    (charge,) = session["charges"]
    assert charge["held"] == found["buckets"][0]["held"] > 0
    (term,) = found["bound"]["terms"]
    assert (term["session_id"], term["interval_seconds"]) == (admitted.session_id, admitted.interim_interval_seconds)
    assert found["bound"]["octets"] == 3 * 3_125_000 * (admitted.interim_interval_seconds + 35)
    text = shop.ok("explain", "anna")
    assert "One session is live; the NAS applies what it should." in text
    assert "anna, live" in text
    assert " of data" in text
    shop.ok("session", "disconnect", str(admitted.session_id))
    text = shop.ok("explain", "anna")
    assert "One session is live; its NAS has not yet acknowledged what it was told." in text
    assert "disconnect (operator)" in text


def test_a_plan_without_a_rate_has_no_bound(shop: Aaa) -> None:
    plans = """\
currency = "EUR"
time_zone = "UTC"
[profile.open]
interim_interval = "5m"
[plan.open]
profile = "open"
[[plan.open.allowance]]
name = "data"
unit = "octets"
amount = "1GB"
"""
    shop.ok("plan", "load", shop.file("open.toml", plans))
    shop.ok("subscriber", "add", "bob", "--plan", "open", "--password", "correct horse battery")
    assert "No bound: plan open has no rate." in shop.ok("explain", "bob")
    found = shop.json("explain", "bob")["bound"]
    assert found["octets"] is None
    assert found["terms"][0]["no_bound_because"] == "plan open has no rate"


def test_an_account_without_subscribers_can_not_overspend(shop: Aaa) -> None:
    shop.ok("account", "add", "smith", "--currency", "EUR")
    assert "Nothing can be overspent" in shop.ok("explain", "smith")
    assert shop.fails("explain", "smiht") == "there is no account 'smiht'; see: aaa account list"
