"""What each dialect says: golden packets, and the rules that hold for all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa import dialects, wire
from aaa.dialects.accel_ppp import ACCEL_PPP
from aaa.dialects.aruba import ARUBA
from aaa.dialects.cambium import CAMBIUM
from aaa.dialects.chillispot import CHILLISPOT
from aaa.dialects.cisco_isg import CISCO_ISG
from aaa.dialects.contract import Source, raw_attributes
from aaa.dialects.generic import GENERIC
from aaa.dialects.hostapd import HOSTAPD
from aaa.dialects.huawei import HUAWEI
from aaa.dialects.juniper import JUNIPER
from aaa.dialects.mikrotik import MIKROTIK
from aaa.dialects.nokia import NOKIA
from aaa.dialects.pfsense import PFSENSE
from aaa.dialects.ruckus import RUCKUS
from aaa.dialects.strongswan import STRONGSWAN
from aaa.dialects.ubiquiti_edge import UBIQUITI_EDGE
from aaa.dialects.wispr import WISPR
from aaa.wire.values import find
from charging.plan import Profile

FOLDER = Path(__file__).resolve().parent.parent / "vectors" / "dialects"
SECRET = b"testing123"
REQUESTS = frozenset({wire.Code.COA_REQUEST, wire.Code.DISCONNECT_REQUEST})
FIVE_GB = 5_000_000_000
FULL = Profile(
    "home-20",
    rate_down_bps=20_000_000,
    rate_up_bps=5_000_000,
    burst_down_bps=30_000_000,
    pool="home",
    vlan=42,
    idle_timeout_seconds=600,
)
SLOW = Profile("slow", rate_down_bps=256_000, rate_up_bps=128_000)
GARDEN = Profile("garden", redirect_url="http://pay.example/", address_list="garden", pool="garden")
ANNA = dialects.Identity("anna", b"8000002a", "100.64.0.7", "AA-BB-CC-00-00-01", "ether1")
ALL = list(dialects.SHIPPED.values())


def golden(name: str) -> dict[str, bytes]:
    """The packets of one dialect's file: `title:` lines, each with its octets on the indented lines below."""
    packets: dict[str, bytes] = {}
    title = ""
    for line in (FOLDER / f"{name}.txt").read_text().splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line.startswith(" "):
            packets[title] += bytes.fromhex(line)
        else:
            title = line.strip().removesuffix(":")
            packets[title] = b""
    return packets


def coas(dialect: dialects.Dialect, to: Profile, previous: Profile) -> list[bytes]:
    said = dialects.change(dialect, to, previous, redirect=False)
    assert said is not None
    return [request(dialect, wire.Code.COA_REQUEST, each) for each in said]


def request(dialect: dialects.Dialect, code: int, said: Sequence[wire.Attribute] = ()) -> bytes:
    """As the runner sends it, at one second past the epoch where the NAS wants a time."""
    who = dialects.identify(dialect.identification, ANNA)
    when: list[wire.Attribute] = [("Event-Timestamp", 1)] if dialect.event_timestamp else []
    return wire.request(code, 7, [*who, *said, *when], SECRET, message_authenticator=dialect.message_authenticator)


def reply(said: Sequence[wire.Attribute]) -> bytes:
    login = wire.parse(
        wire.request(wire.Code.ACCESS_REQUEST, 7, [], SECRET, authenticator=bytes(16), message_authenticator=False),
        frozenset(wire.Code),
    )
    return wire.reply(wire.Code.ACCESS_ACCEPT, login, said, SECRET, message_authenticator=True)


def built(dialect: dialects.Dialect) -> dict[str, bytes]:
    """Every packet of a dialect by its title."""
    packets = {"accept": reply(dialects.accept(dialect, FULL))}
    if dialect.capability == "rate":
        for title, to, previous in (("throttle", SLOW, FULL), ("restore", FULL, SLOW)):
            told = coas(dialect, to, previous)
            numbers = [f" {number}" for number in range(1, len(told) + 1)] if len(told) > 1 else [""]
            packets |= {f"{title}{number}": packet for number, packet in zip(numbers, told, strict=True)}
    else:
        packets["accept slow"] = reply(dialects.accept(dialect, SLOW))
    if dialect.capability != "reauthenticate":
        packets["disconnect"] = request(dialect, wire.Code.DISCONNECT_REQUEST)
    if dialect.quota is not None:
        packets["quota"] = reply(dialect.quota(FIVE_GB))
    return packets


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
def test_golden_packets(dialect: dialects.Dialect) -> None:
    expected = {title: octets.hex() for title, octets in golden(dialect.name).items()}
    assert {title: octets.hex() for title, octets in built(dialect).items()} == expected


def test_every_dialect_has_its_golden_packets_and_every_file_a_dialect() -> None:
    assert {file.stem for file in FOLDER.glob("*.txt")} - {"README"} == {dialect.name for dialect in ALL}


def wispr(up: int, down: int) -> list[wire.Attribute]:
    return [("WISPr-Bandwidth-Max-Up", up), ("WISPr-Bandwidth-Max-Down", down)]


def isg(command: str, service: str) -> list[wire.Attribute]:
    return [("Cisco-AVPair", f"subscriber:command={command}"), ("Cisco-AVPair", f"subscriber:service-name={service}")]


# dialect, what the throttle says, what the way back says, CoA by CoA; by hand from the vendors' manuals
SAID: list[tuple[dialects.Dialect, list[list[wire.Attribute]], list[list[wire.Attribute]]]] = [
    (GENERIC, [wispr(128_000, 256_000)], [wispr(5_000_000, 20_000_000)]),
    (WISPR, [wispr(128_000, 256_000)], [wispr(5_000_000, 20_000_000)]),
    (MIKROTIK, [[("Mikrotik-Rate-Limit", "128k/256k")]], [[("Mikrotik-Rate-Limit", "5M/20M 5M/30M")]]),
    (ACCEL_PPP, [[("Filter-Id", "256/128")]], [[("Filter-Id", "20000/5000")]]),
    (
        CHILLISPOT,
        [[*wispr(128_000, 256_000), ("Acct-Interim-Interval", 300)]],
        [[*wispr(5_000_000, 20_000_000), ("Acct-Interim-Interval", 300), ("Idle-Timeout", 600)]],
    ),
    (
        CISCO_ISG,
        [isg("deactivate-service", "home-20"), isg("activate-service", "slow")],
        [isg("deactivate-service", "slow"), isg("activate-service", "home-20")],
    ),
    (
        JUNIPER,
        [
            [
                ("ERX-Service-Deactivate", "aaa-rate(5000000,20000000)"),
                ("ERX-Service-Activate:1", "aaa-rate(128000,256000)"),
            ]
        ],
        [
            [
                ("ERX-Service-Deactivate", "aaa-rate(128000,256000)"),
                ("ERX-Service-Activate:1", "aaa-rate(5000000,20000000)"),
            ]
        ],
    ),
    (
        HUAWEI,
        [
            [
                ("Huawei-Input-Average-Rate", 128_000),
                ("Huawei-Output-Average-Rate", 256_000),
                ("Huawei-Input-Peak-Rate", 0),
                ("Huawei-Output-Peak-Rate", 0),
            ]
        ],
        [
            [
                ("Huawei-Input-Average-Rate", 5_000_000),
                ("Huawei-Output-Average-Rate", 20_000_000),
                ("Huawei-Output-Peak-Rate", 30_000_000),
                ("Huawei-Input-Peak-Rate", 0),
            ]
        ],
    ),
    (
        NOKIA,
        [[("Alc-Subscriber-QoS-Override", "i:q:1:pir=128"), ("Alc-Subscriber-QoS-Override", "e:q:1:pir=256")]],
        [[("Alc-Subscriber-QoS-Override", "i:q:1:pir=5000"), ("Alc-Subscriber-QoS-Override", "e:q:1:pir=20000")]],
    ),
    (ARUBA, [[("Aruba-User-Role", "slow")]], [[("Aruba-User-Role", "home-20")]]),
]


@pytest.mark.parametrize(("dialect", "throttle", "restore"), SAID, ids=lambda v: getattr(v, "name", ""))
def test_the_golden_packets_say_what_was_meant(
    dialect: dialects.Dialect, throttle: list[list[wire.Attribute]], restore: list[list[wire.Attribute]]
) -> None:
    packets = golden(dialect.name)
    for title, meant in (("throttle", throttle), ("restore", restore)):
        told = [wire.parse(octets, REQUESTS) for name, octets in packets.items() if name.startswith(title)]
        assert all(wire.verify_request(packet, SECRET) for packet in told)
        assert all(wire.message_authenticator(packet, SECRET) is True for packet in told)
        other = {*dialect.identification, "Message-Authenticator", "Event-Timestamp"}
        assert [[pair for pair in wire.decode(packet) if pair[0] not in other] for packet in told] == meant


def test_every_dialect_that_changes_rates_is_among_them() -> None:
    assert {dialect.name for dialect, _, _ in SAID} == {each.name for each in ALL if each.capability == "rate"}


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
def test_requests_name_the_session_and_nothing_else(dialect: dialects.Dialect) -> None:
    if dialect.capability != "reauthenticate":
        packet = wire.parse(golden(dialect.name)["disconnect"], REQUESTS)
        named = {"User-Name", "Acct-Session-Id", "Calling-Station-Id", "Framed-IP-Address"}
        assert {name for name, _ in wire.decode(packet)} & named == set(dialect.identification)


# dialect, octets, what is said; by hand from the vendors' manuals
QUOTAS: list[tuple[dialects.Dialect, int, list[wire.Attribute]]] = [
    (MIKROTIK, FIVE_GB, [("Mikrotik-Total-Limit", 705_032_704), ("Mikrotik-Total-Limit-Gigawords", 1)]),
    (MIKROTIK, 2**32 - 1, [("Mikrotik-Total-Limit", 2**32 - 1), ("Mikrotik-Total-Limit-Gigawords", 0)]),
    (CHILLISPOT, FIVE_GB, [("ChilliSpot-Max-Total-Octets", 705_032_704), ("ChilliSpot-Max-Total-Gigawords", 1)]),
    (
        CAMBIUM, FIVE_GB,
        [("Cambium-Traffic-Quota-Limit-Total", 705_032_704), ("Cambium-Traffic-Quota-Limit-Total-Gigwords", 1)],
    ),
    (JUNIPER, FIVE_GB, [("ERX-Service-Volume:1", 5_000)]),
    (JUNIPER, 1, [("ERX-Service-Volume:1", 1)]),  # 0 would be no limit
    (JUNIPER, 10**15, [("ERX-Service-Volume:1", 2**24 - 1)]),
    (HUAWEI, FIVE_GB, [("Huawei-Remanent-Volume", 4_882_812)]),
    (HUAWEI, 10**15, [("Huawei-Remanent-Volume", 2**32 - 2)]),  # 2**32 - 1 would be no limit
    (PFSENSE, FIVE_GB, [("pfSense-Max-Total-Octets", 2**32 - 1)]),
    (PFSENSE, 10_000_000, [("pfSense-Max-Total-Octets", 10_000_000)]),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "octets", "said"), QUOTAS)
def test_quotas(dialect: dialects.Dialect, octets: int, said: list[wire.Attribute]) -> None:
    assert dialect.quota is not None
    assert list(dialect.quota(octets)) == said


@pytest.mark.parametrize("dialect", [each for each in ALL if each.quota is not None], ids=lambda d: d.name)
def test_a_quota_of_nothing_is_refused(dialect: dialects.Dialect) -> None:
    assert dialect.quota is not None
    with pytest.raises(ValueError, match="a volume limit of 0 octets would"):
        dialect.quota(0)


RATES = [
    # dialect, rate up, rate down, what is said
    (MIKROTIK, 1_500, 1_500_000, [("Mikrotik-Rate-Limit", "1500/1500k")]),
    (MIKROTIK, None, 1_000_000_000, [("Mikrotik-Rate-Limit", "0/1000M")]),
    (ACCEL_PPP, 500, 1_000_000_000, [("Filter-Id", "1000000/1")]),
    (ACCEL_PPP, None, 64_500, [("Filter-Id", "64/0")]),
    (GENERIC, None, 10_000_000_000, [("WISPr-Bandwidth-Max-Down", 4_294_967_295)]),
    (CHILLISPOT, 8_000, None, [("WISPr-Bandwidth-Max-Up", 8_000)]),
    (
        NOKIA,
        500,
        None,
        [("Alc-Subscriber-QoS-Override", "i:q:1:pir=1"), ("Alc-Subscriber-QoS-Override", "e:q:1:pir=-2")],
    ),
    (JUNIPER, None, 64_000, [("ERX-Service-Activate:1", "aaa-rate(100000000000,64000)")]),
    (HUAWEI, None, 10_000_000_000, [("Huawei-Output-Average-Rate", 4_294_967_295)]),
    (CISCO_ISG, 1, 1, [("Cisco-Account-Info", "Ap")]),
    (HOSTAPD, 1, 1, []),
    (STRONGSWAN, 1, 1, []),
    (UBIQUITI_EDGE, None, 64_000, [("WISPr-Bandwidth-Max-Down", 64_000)]),
]


@pytest.mark.parametrize(("dialect", "up", "down", "said"), RATES)
def test_rates(dialect: dialects.Dialect, up: int | None, down: int | None, said: list[wire.Attribute]) -> None:
    assert list(dialect.profile(Profile("p", rate_up_bps=up, rate_down_bps=down))) == said


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("rate", ["rate_up_bps", "rate_down_bps", "burst_up_bps", "burst_down_bps"])
def test_a_rate_of_zero_would_mean_no_limit_and_is_refused(dialect: dialects.Dialect, rate: str) -> None:
    with pytest.raises(ValueError, match="profile slow: a rate of 0 bit/s would mean no limit"):
        dialect.profile(dataclasses.replace(SLOW, **{rate: 0}))  # type: ignore[arg-type]


NO_RATE = [
    (GENERIC, [("WISPr-Bandwidth-Max-Up", 0), ("WISPr-Bandwidth-Max-Down", 0)]),
    (MIKROTIK, [("Mikrotik-Rate-Limit", "0/0")]),
    (ACCEL_PPP, [("Filter-Id", "0/0")]),
    (CHILLISPOT, [("Acct-Interim-Interval", 300)]),  # it forgets what a CoA does not repeat
    (WISPR, wispr(0, 0)),
    (JUNIPER, [("ERX-Service-Deactivate", "aaa-rate(128000,256000)")]),
    (
        HUAWEI,
        [(f"Huawei-{side}-{kind}-Rate", 0) for kind in ("Average", "Peak") for side in ("Input", "Output")],
    ),
    (NOKIA, [("Alc-Subscriber-QoS-Override", "i:q:1:pir=-2"), ("Alc-Subscriber-QoS-Override", "e:q:1:pir=-2")]),
]


@pytest.mark.parametrize(("dialect", "said"), NO_RATE, ids=lambda v: getattr(v, "name", ""))
def test_a_profile_without_a_rate_takes_an_earlier_one_back(
    dialect: dialects.Dialect, said: list[wire.Attribute]
) -> None:
    unlimited = Profile("unlimited")
    assert [list(each) for each in dialects.change(dialect, unlimited, SLOW, redirect=False) or ()] == [said]
    assert dialects.accept(dialect, unlimited) == ()  # a new session has none to take back


def test_half_a_rate_takes_the_other_half_back() -> None:
    down_only = Profile("down-only", rate_down_bps=1_000_000)
    assert dialects.change(GENERIC, down_only, SLOW, redirect=False) == (
        (("WISPr-Bandwidth-Max-Down", 1_000_000), ("WISPr-Bandwidth-Max-Up", 0)),
    )


REDIRECTS = [
    # dialect, into the garden, out of it to a profile that names no list, out of it to one that does
    (GENERIC, True, False, False),
    (MIKROTIK, True, False, True),
    (ACCEL_PPP, False, False, False),
    (CHILLISPOT, True, True, True),
    (WISPR, True, False, False),
    (HOSTAPD, False, False, False),
    (STRONGSWAN, False, False, False),
    (CISCO_ISG, True, True, True),
    (JUNIPER, True, True, True),
    (HUAWEI, True, False, False),
    (NOKIA, True, False, True),
    (ARUBA, True, False, False),
    (RUCKUS, False, False, False),
    (CAMBIUM, False, False, False),
    (UBIQUITI_EDGE, False, False, False),
    (PFSENSE, False, False, False),
]


@pytest.mark.parametrize(("dialect", "enter", "leave", "leave_to_list"), REDIRECTS)
def test_who_logs_in_again_around_the_walled_garden(
    dialect: dialects.Dialect, enter: bool, leave: bool, leave_to_list: bool
) -> None:
    paid = dataclasses.replace(FULL, address_list="paid")
    assert (dialects.change(dialect, GARDEN, FULL, redirect=True) is not None) is enter
    assert (dialects.change(dialect, FULL, GARDEN, redirect=True) is not None) is leave
    assert (dialects.change(dialect, paid, GARDEN, redirect=True) is not None) is leave_to_list


def test_a_dialect_that_can_only_disconnect_has_no_change() -> None:
    assert dialects.change(HOSTAPD, SLOW, FULL, redirect=False) is None
    assert dialects.change(PFSENSE, SLOW, FULL, redirect=False) is None
    cut_only = dataclasses.replace(GENERIC, capability="disconnect")
    assert dialects.change(cut_only, SLOW, FULL, redirect=False) is None


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
def test_what_only_a_login_can_set_is_in_the_accept_alone(dialect: dialects.Dialect) -> None:
    only_login = {"Framed-Pool", "Tunnel-Type:1", "Tunnel-Medium-Type:1", "Tunnel-Private-Group-Id:1"}
    assert only_login <= {name for name, _ in dialects.accept(dialect, FULL)}
    told = dialects.change(dialect, FULL, SLOW, redirect=False) or ()
    assert not only_login & {name for each in told for name, _ in each}


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
def test_raw_attributes_come_last_and_win_over_what_would_lift_them(dialect: dialects.Dialect) -> None:
    raw = (("Mikrotik-Rate-Limit", "1M/1M"), ("Filter-Id", "raw"), ("WISPr-Bandwidth-Max-Up", "9"))
    profile = Profile("p", attributes=raw)
    typed = (("Mikrotik-Rate-Limit", "1M/1M"), ("Filter-Id", "raw"), ("WISPr-Bandwidth-Max-Up", 9))
    assert dialects.accept(dialect, profile)[-3:] == typed
    if dialect.capability == "rate":
        *_, said = dialects.change(dialect, profile, None, redirect=False) or ()
        assert said[-3:] == typed
        assert not {name for name, _ in said[:-3]} & {name for name, _ in typed}


RAW = [
    ("Session-Timeout", "300", 300),
    ("Service-Type", "Framed-User", "Framed-User"),
    ("Framed-IP-Address", "10.0.0.1", "10.0.0.1"),
    ("Reply-Message", "0x41", "0x41"),
    ("State", "0x0102", b"\x01\x02"),
    ("State", "plain", b"plain"),
    ("Attr-26.14988.99", "0xff", b"\xff"),
    ("Tunnel-Type:1", "VLAN", "VLAN"),
]


@pytest.mark.parametrize(("name", "text", "value"), RAW)
def test_raw_text_is_read_by_the_dictionarys_type(name: str, text: str, value: int | str | bytes) -> None:
    assert raw_attributes(Profile("p", attributes=((name, text),))) == ((name, value),)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("Sesion-Timeout", "300", "did you mean Session-Timeout"),
        ("Session-Timeout", "soon", "number"),
        ("Framed-IP-Address", "10.0.0.300", "10.0.0.300"),
        ("State", "0xzz", "hexadecimal digits"),
    ],
)
def test_a_raw_attribute_that_makes_no_sense_names_profile_and_value(name: str, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"profile p: .*{name}.*{complaint}"):
        raw_attributes(Profile("p", attributes=((name, text),)))


def test_identification_leaves_out_what_is_not_known() -> None:
    assert dialects.identify(MIKROTIK.identification, ANNA) == (
        ("User-Name", "anna"),
        ("Framed-IP-Address", "100.64.0.7"),
        ("Acct-Session-Id", b"8000002a"),
    )
    for unknown in (None, "2001:db8::7"):
        bare = dataclasses.replace(ANNA, framed_address=unknown)
        assert [name for name, _ in dialects.identify(MIKROTIK.identification, bare)] == [
            "User-Name",
            "Acct-Session-Id",
        ]


def test_an_unknown_dialect_names_those_there_are() -> None:
    assert dialects.names() == (
        "generic", "mikrotik", "accel-ppp", "chillispot", "wispr", "hostapd", "strongswan", "cisco-isg", "juniper",
        "huawei", "nokia", "aruba", "ruckus", "cambium", "ubiquiti-edge", "pfsense",
    )  # fmt: skip
    with pytest.raises(
        ValueError, match="no dialect 'cisco'; the dialects are generic, mikrotik, accel-ppp, chillispot"
    ):
        dialects.dialect("cisco")


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
def test_every_name_a_dialect_uses_is_in_the_dictionaries(dialect: dialects.Dialect) -> None:
    for name in (*dialect.identification, *dialect.reduced_identification, *dialect.lasting):
        assert find(name)[3] is not None
    assert set(dialect.reduced_identification) <= set(dialect.identification)


bps = st.none() | st.integers(1, 10**11)


@given(st.sampled_from(ALL), bps, bps, bps, bps)
def test_any_profile_fits_a_packet(
    dialect: dialects.Dialect, up: int | None, down: int | None, burst_up: int | None, burst_down: int | None
) -> None:
    profile = Profile("p", rate_up_bps=up, rate_down_bps=down, burst_up_bps=burst_up, burst_down_bps=burst_down)
    for said in dialects.change(dialect, profile, SLOW, redirect=False) or ():
        assert request(dialect, wire.Code.COA_REQUEST, said)
    assert reply(dialects.accept(dialect, profile))


@given(st.sampled_from([each for each in ALL if each.quota is not None]), st.integers(1, 2**70))
def test_any_quota_fits_a_packet(dialect: dialects.Dialect, octets: int) -> None:
    assert dialect.quota is not None
    assert reply(dialect.quota(octets))


SUBJECTS = ("enforcement", "identification", "rate", "volume", "redirect", "session-timeout", "counters", "interval")


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
def test_every_dialect_says_what_it_rests_on(dialect: dialects.Dialect) -> None:
    found = [claim.subject for claim in dialect.claims]
    assert list(dict.fromkeys(found)) == [*SUBJECTS, "quirk"][: len(dict.fromkeys(found))]
    assert set(SUBJECTS) <= set(found)
    for claim in dialect.claims:
        assert claim.source in get_args(Source)
        assert claim.says
        assert claim.where or claim.source in ("assumed", "report"), claim


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
def test_what_is_tested_names_its_test(dialect: dialects.Dialect) -> None:
    for claim in dialect.claims:
        if claim.source == "tested":
            assert (FOLDER.parents[2] / claim.where).exists(), claim


LIMITS = [
    (GENERIC, SLOW, True),
    (GENERIC, Profile("free"), False),
    (HOSTAPD, SLOW, False),
    (STRONGSWAN, SLOW, False),
    (HOSTAPD, Profile("garden", vlan=66), True),
    (ACCEL_PPP, Profile("garden", pool="garden"), True),
    (CISCO_ISG, Profile("garden"), True),
]


@pytest.mark.parametrize(("dialect", "profile", "expected"), LIMITS)
def test_what_can_hold_a_session_to_its_profile(dialect: dialects.Dialect, profile: Profile, expected: bool) -> None:
    assert dialects.limits(dialect, profile) is expected


def test_a_service_is_switched_off_only_where_another_was_on() -> None:
    assert dialects.change(CISCO_ISG, SLOW, None, redirect=False) == (tuple(isg("activate-service", "slow")),)
    assert dialects.change(CISCO_ISG, SLOW, SLOW, redirect=False) == (tuple(isg("activate-service", "slow")),)
    assert dialects.change(JUNIPER, SLOW, SLOW, redirect=False) == (
        (("ERX-Service-Activate:1", "aaa-rate(128000,256000)"),),
    )


def test_the_garden_of_a_service_router_is_a_service() -> None:
    garden = dataclasses.replace(GARDEN, rate_up_bps=64_000, rate_down_bps=64_000)
    assert dialects.change(JUNIPER, garden, FULL, redirect=True) == (
        (
            ("ERX-Service-Deactivate", "aaa-rate(5000000,20000000)"),
            ("ERX-Service-Activate:1", "aaa-rate(64000,64000)"),
            ("ERX-Service-Activate:2", "garden"),
        ),
    )
