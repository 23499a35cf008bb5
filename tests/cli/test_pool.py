"""`aaa pool`, and what `aaa subscriber set` says of attributes, addresses and conditions."""

from __future__ import annotations

import pytest

from tests.cli.conftest import PLANS, Aaa


def test_a_pool_from_its_first_network_to_its_last(shop: Aaa) -> None:
    assert shop.ok("pool", "list").startswith("no pool yet")
    assert "14 more of Framed-IP-Address" in shop.ok("pool", "add", "home", "100.64.0.0/28")
    shop.ok("pool", "add", "home", "2001:db8:1::/60")
    added = shop.json("pool", "add", "home", "2001:db8:100::/48", "--delegate", "56")
    assert added == {
        "pool": "home", "network": "2001:db8:100::/48", "attribute": "Delegated-IPv6-Prefix", "addresses": 256,
    }  # fmt: skip
    ranges = shop.json("pool", "list")
    assert [(each["network"], each["addresses"], each["leased"]) for each in ranges] == [
        ("2001:db8:100::/48", 256, 0), ("100.64.0.0/28", 14, 0), ("2001:db8:1::/60", 16, 0),
    ]  # fmt: skip
    shop.ok("subscriber", "add", "alice", "--plan", "prepaid-50")
    shop.ok("subscriber", "set", "alice", "--own-ipv4", "100.64.0.7")
    assert shop.json("pool", "show", "home")["leases"] == [
        {"address": "100.64.0.7", "attribute": "Framed-IP-Address", "account": None, "username": "alice"}
    ]
    assert "removed 16 addresses" in shop.ok("pool", "remove", "home", "2001:db8:1::/60")
    shop.ok("pool", "remove", "home")
    assert "there is no pool 'home'" in shop.fails("pool", "show", "home")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["home", "100.64.0.1/18"], "host bits"),
        (["home", "224.0.0.0/24"], "no network that subscribers can have"),
        (["home", "100.64.0.0/18", "--delegate", "56"], "are for IPv6"),
        (["home", "2001:db8::/40", "--each", "64", "--delegate", "56"], "not both"),
    ],
)
def test_what_can_be_no_pool_is_said(aaa: Aaa, arguments: list[str], problem: str) -> None:
    assert problem in aaa.fails("pool", "add", *arguments)


@pytest.fixture
def alice(shop: Aaa) -> Aaa:
    shop.ok("subscriber", "add", "alice", "--plan", "prepaid-50")
    return shop


def test_a_subscribers_attributes_addresses_and_conditions(alice: Aaa) -> None:
    alice.ok(
        "subscriber", "set", "alice", "--reply-attribute", "Filter-Id=vip", "--reply-attribute", "Port-Limit=2",
        "--vlan", "7", "--own-ipv4", "192.0.2.7", "--own-delegated-prefix", "2001:db8:700::/56",
        "--only-group", "hotspots", "--only-port-type", "Wireless-802.11", "--only-device", "02-00-5E-00-53-01",
        "--learn-devices", "2", "--only-hours", "mon-fri 8:00-17:30",
    )  # fmt: skip
    shown = alice.json("subscriber", "show", "alice")
    assert shown["reply_attributes"] == [
        "Filter-Id = vip", "Port-Limit = 2", "Tunnel-Type:1 = VLAN", "Tunnel-Medium-Type:1 = IEEE-802",
        "Tunnel-Private-Group-Id:1 = 7",
    ]  # fmt: skip
    assert shown["own_addresses"] == ["192.0.2.7", "2001:db8:700::/56"]
    assert shown["conditions"] == [
        "at: group hotspots", "port: Wireless-802.11", "device: 02:00:5e:00:53:01", "hours: Mon-Fri 08:00-17:30",
        "device: the first 2 to log in",
    ]  # fmt: skip
    alice.ok(
        "subscriber", "set", "alice", "--reply-attribute", "Port-Limit=", "--filter", "none", "--vlan", "none",
        "--own-ipv4", "none", "--only-group", "plan", "--only-port-type", "plan", "--only-device", "plan",
        "--learn-devices", "plan", "--only-hours", "plan",
    )  # fmt: skip
    shown = alice.json("subscriber", "show", "alice")
    assert (shown["reply_attributes"], shown["conditions"]) == ([], [])
    assert shown["own_addresses"] == ["2001:db8:700::/56"]


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("--reply-attribute", "Filter-ID=x", "did you mean Filter-Id?"),
        ("--reply-attribute", "Port-Limit", "write NAME=VALUE"),
        ("--reply-attribute", "Class=x", "it names the session"),
        ("--vlan", "4095", "a number from 1 to 4094"),
        ("--own-ipv4", "2001:db8::1", "not of that kind"),
        ("--own-prefix", "2001:db8::1/64", "host bits"),
        ("--only-port-type", "Wifi", "no port type 'Wifi'"),
        ("--only-hours", "evenings", "are no hours"),
        ("--learn-devices", "0", "a number from 1 to 100"),
    ],
)
def test_what_is_wrong_is_said(alice: Aaa, option: str, value: str, problem: str) -> None:
    assert problem in alice.fails("subscriber", "set", "alice", option, value)


def test_one_address_is_not_two_subscribers(alice: Aaa) -> None:
    alice.ok("subscriber", "set", "alice", "--own-ipv4", "192.0.2.7")
    alice.ok("subscriber", "add", "bob", "--plan", "prepaid-50")
    assert "belongs to subscriber 'alice'" in alice.fails("subscriber", "set", "bob", "--own-ipv4", "192.0.2.7")
    alice.ok("subscriber", "remove", "alice")
    alice.ok("subscriber", "set", "bob", "--own-ipv4", "192.0.2.7")


def test_a_group_of_nases(aaa: Aaa) -> None:
    aaa.ok("nas", "add", "ap-1", "--address", "192.0.2.1", "--group", "hotspots")
    assert aaa.json("nas", "show", "ap-1")["group"] == "hotspots"
    aaa.ok("nas", "set", "ap-1", "--group", "none")
    assert aaa.json("nas", "show", "ap-1")["group"] is None


def test_a_plan_says_attributes_and_conditions_that_our_dictionaries_have(aaa: Aaa) -> None:
    more = '[plan.wifi]\nprofile = "home-20"\n[plan.wifi.attributes]\nPort-Limit = 2\n[plan.wifi.conditions]\n'
    good = PLANS + more + 'port_types = ["Wireless-802.11"]\nhours = "Mon-Fri 8:00-17:30"\nnas_groups = ["hotspots"]\n'
    aaa.ok("plan", "load", aaa.file("good.toml", good))
    shown = aaa.ok("plan", "show", "wifi")
    assert "Port-Limit = 2" in shown
    assert "hours: Mon-Fri 08:00-17:30" in shown
    bad = PLANS + more.replace("Port-Limit", "Port-Limits") + 'port_types = ["Wifi"]\n'
    problem = aaa.fails("plan", "load", aaa.file("bad.toml", bad))
    assert "plan wifi: no dictionary has an attribute 'Port-Limits'; did you mean Port-Limit?" in problem
    assert "plan wifi: no port type 'Wifi'" in problem
