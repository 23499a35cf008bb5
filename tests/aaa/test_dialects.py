"""What each dialect says: golden packets, and the rules that hold for all of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa import dialects, wire
from aaa.dialects.accel_ppp import ACCEL_PPP
from aaa.dialects.chillispot import CHILLISPOT
from aaa.dialects.contract import raw_attributes
from aaa.dialects.generic import GENERIC
from aaa.dialects.mikrotik import MIKROTIK
from aaa.wire.values import find
from charging.plan import Profile

FOLDER = Path(__file__).resolve().parent.parent / "vectors" / "dialects"
SECRET = b"testing123"
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
ALL = [dialects.dialect(name) for name in dialects.names()]


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


def coa(dialect: dialects.Dialect, to: Profile, previous: Profile) -> bytes:
    said = dialects.change(dialect, to, previous, redirect=False)
    assert said is not None
    who = dialects.identify(dialect.identification, ANNA)
    return wire.request(
        wire.Code.COA_REQUEST, 7, [*who, *said], SECRET, message_authenticator=dialect.message_authenticator
    )


def built(dialect: dialects.Dialect) -> dict[str, bytes]:
    login = wire.parse(
        wire.request(wire.Code.ACCESS_REQUEST, 7, [], SECRET, authenticator=bytes(16), message_authenticator=False),
        frozenset(wire.Code),
    )
    who = dialects.identify(dialect.identification, ANNA)
    return {
        "accept": wire.reply(
            wire.Code.ACCESS_ACCEPT, login, dialects.accept(dialect, FULL), SECRET, message_authenticator=True
        ),
        "throttle": coa(dialect, SLOW, FULL),
        "restore": coa(dialect, FULL, SLOW),
        "disconnect": wire.request(
            wire.Code.DISCONNECT_REQUEST, 7, who, SECRET, message_authenticator=dialect.message_authenticator
        ),
    }


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("packet", ["accept", "throttle", "restore", "disconnect"])
def test_golden_packets(dialect: dialects.Dialect, packet: str) -> None:
    assert built(dialect)[packet].hex() == golden(dialect.name)[packet].hex()


# dialect, what the throttle says, what the way back says; by hand from the vendors' manuals
SAID = [
    (
        GENERIC,
        [("WISPr-Bandwidth-Max-Up", 128_000), ("WISPr-Bandwidth-Max-Down", 256_000)],
        [("WISPr-Bandwidth-Max-Up", 5_000_000), ("WISPr-Bandwidth-Max-Down", 20_000_000)],
    ),
    (MIKROTIK, [("Mikrotik-Rate-Limit", "128k/256k")], [("Mikrotik-Rate-Limit", "5M/20M 5M/30M")]),
    (ACCEL_PPP, [("Filter-Id", "256/128")], [("Filter-Id", "20000/5000")]),
    (
        CHILLISPOT,
        [("WISPr-Bandwidth-Max-Up", 128_000), ("WISPr-Bandwidth-Max-Down", 256_000), ("Acct-Interim-Interval", 300)],
        [
            ("WISPr-Bandwidth-Max-Up", 5_000_000),
            ("WISPr-Bandwidth-Max-Down", 20_000_000),
            ("Acct-Interim-Interval", 300),
            ("Idle-Timeout", 600),
        ],
    ),
]


@pytest.mark.parametrize(("dialect", "throttle", "restore"), SAID, ids=lambda v: getattr(v, "name", ""))
def test_the_golden_packets_say_what_was_meant(
    dialect: dialects.Dialect, throttle: list[wire.Attribute], restore: list[wire.Attribute]
) -> None:
    packets = golden(dialect.name)
    for title, meant in (("throttle", throttle), ("restore", restore)):
        packet = wire.parse(packets[title], frozenset({wire.Code.COA_REQUEST}))
        assert wire.verify_request(packet, SECRET)
        assert wire.message_authenticator(packet, SECRET) is True
        identification = {*dialect.identification, "Message-Authenticator"}
        assert [pair for pair in wire.decode(packet) if pair[0] not in identification] == meant


RATES = [
    # dialect, rate up, rate down, what is said
    (MIKROTIK, 1_500, 1_500_000, [("Mikrotik-Rate-Limit", "1500/1500k")]),
    (MIKROTIK, None, 1_000_000_000, [("Mikrotik-Rate-Limit", "0/1000M")]),
    (ACCEL_PPP, 500, 1_000_000_000, [("Filter-Id", "1000000/1")]),
    (ACCEL_PPP, None, 64_500, [("Filter-Id", "64/0")]),
    (GENERIC, None, 10_000_000_000, [("WISPr-Bandwidth-Max-Down", 4_294_967_295)]),
    (CHILLISPOT, 8_000, None, [("WISPr-Bandwidth-Max-Up", 8_000)]),
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
]


@pytest.mark.parametrize(("dialect", "said"), NO_RATE, ids=lambda v: getattr(v, "name", ""))
def test_a_profile_without_a_rate_takes_an_earlier_one_back(
    dialect: dialects.Dialect, said: list[wire.Attribute]
) -> None:
    unlimited = Profile("unlimited")
    assert list(dialects.change(dialect, unlimited, SLOW, redirect=False) or ()) == said
    assert dialects.accept(dialect, unlimited) == ()  # a new session has none to take back


def test_half_a_rate_takes_the_other_half_back() -> None:
    down_only = Profile("down-only", rate_down_bps=1_000_000)
    assert dialects.change(GENERIC, down_only, SLOW, redirect=False) == (
        ("WISPr-Bandwidth-Max-Down", 1_000_000),
        ("WISPr-Bandwidth-Max-Up", 0),
    )


REDIRECTS = [
    # dialect, into the garden, out of it to a profile that names no list, out of it to one that does
    (GENERIC, True, False, False),
    (MIKROTIK, True, False, True),
    (ACCEL_PPP, False, False, False),
    (CHILLISPOT, True, True, True),
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
    cut_only = dataclasses.replace(GENERIC, capability="disconnect")
    assert dialects.change(cut_only, SLOW, FULL, redirect=False) is None


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
def test_what_only_a_login_can_set_is_in_the_accept_alone(dialect: dialects.Dialect) -> None:
    only_login = {"Framed-Pool", "Tunnel-Type:1", "Tunnel-Medium-Type:1", "Tunnel-Private-Group-Id:1"}
    assert only_login <= {name for name, _ in dialects.accept(dialect, FULL)}
    assert not only_login & {name for name, _ in dialects.change(dialect, FULL, SLOW, redirect=False) or ()}


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
def test_raw_attributes_come_last_and_win_over_what_would_lift_them(dialect: dialects.Dialect) -> None:
    raw = (("Mikrotik-Rate-Limit", "1M/1M"), ("Filter-Id", "raw"), ("WISPr-Bandwidth-Max-Up", "9"))
    profile = Profile("p", attributes=raw)
    typed = (("Mikrotik-Rate-Limit", "1M/1M"), ("Filter-Id", "raw"), ("WISPr-Bandwidth-Max-Up", 9))
    assert dialects.accept(dialect, profile)[-3:] == typed
    said = dialects.change(dialect, profile, None, redirect=False) or ()
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
        assert [name for name, _ in dialects.identify(MIKROTIK.identification, bare)] == ["User-Name", "Acct-Session-Id"]


def test_an_unknown_dialect_names_those_there_are() -> None:
    assert dialects.names() == ("generic", "mikrotik", "accel-ppp", "chillispot")
    with pytest.raises(ValueError, match="no dialect 'cisco'; the dialects are generic, mikrotik, accel-ppp, chillispot"):
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
    assert wire.request(
        wire.Code.COA_REQUEST,
        0,
        dialects.change(dialect, profile, SLOW, redirect=False) or (),
        SECRET,
        message_authenticator=True,
    )
