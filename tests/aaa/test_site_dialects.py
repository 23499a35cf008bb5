"""Dialects from the configuration file: what they say, and how their faults are told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aaa import dialects, wire
from aaa.dialects import SHIPPED, Dialect
from aaa.dialects.site import FLAGS, read
from charging.plan import Profile
from charging.tomlfile import parse

FULL = Profile("home-20", rate_up_bps=5_000_000, rate_down_bps=20_000_000, burst_down_bps=30_000_000)
SLOW = Profile("slow", rate_up_bps=128_000, rate_down_bps=256_500)
GARDEN = Profile("garden", redirect_url="http://pay.example/", address_list="unpaid")


def problems(text: str) -> list[str]:
    top = parse(text, "aaa.toml")
    read(top.tables("dialect"), SHIPPED)
    return list(top.faults.in_file_order())


def one(text: str) -> Dialect:
    """The dialect of a text without faults."""
    top = parse(text, "aaa.toml")
    (found,) = read(top.tables("dialect"), SHIPPED)
    assert list(top.faults.in_file_order()) == []
    return found


def test_what_is_not_said_is_the_bases() -> None:
    ours = one('[dialect.ours]\nbase = "mikrotik"\ncoa_port = 1700\n')
    mikrotik = dialects.dialect("mikrotik")
    assert (ours.name, ours.coa_port) == ("ours", 1700)
    assert ours.profile(FULL) == mikrotik.profile(FULL)
    assert dialects.change(ours, SLOW, FULL, redirect=False) == dialects.change(mikrotik, SLOW, FULL, redirect=False)
    assert (ours.identification, ours.lasting, ours.quota) == (
        mikrotik.identification,
        mikrotik.lasting,
        mikrotik.quota,
    )


def test_a_shipped_one_can_be_changed_under_its_own_name() -> None:
    changed = one("[dialect.chillispot]\ncounters_reversed = false\n")
    assert (changed.name, changed.counters_reversed, changed.coa_replaces_all) == ("chillispot", False, True)
    assert ("counters", "as this site says: counters_reversed", "site", "") in changed.claims
    assert [claim.source for claim in changed.claims if claim.subject == "counters"] == ["site"]


RATE = '[dialect.ours]\nbase = "generic"\n[dialect.ours.rate]\n'


@pytest.mark.parametrize(
    ("template", "profile", "said"),
    [
        ('Filter-Id = "{down_kbps}/{up_kbps}"', SLOW, [("Filter-Id", "256/128")]),
        ('Filter-Id = "{down_kbps}/{up_kbps}"', Profile("p", rate_down_bps=64_000), [("Filter-Id", "64/0")]),
        ('Filter-Id = "{profile}"', SLOW, [("Filter-Id", "slow")]),
        ('Filter-Id = "{profile}"', Profile("free"), []),
        ('Filter-Id = "{burst_down_mbps} {burst_up_mbps}"', FULL, [("Filter-Id", "30 5")]),
        ('WISPr-Bandwidth-Max-Up = "{up_bps}"', SLOW, [("WISPr-Bandwidth-Max-Up", 128_000)]),
        ('WISPr-Bandwidth-Max-Up = "{up_bps}"', Profile("p", rate_down_bps=64_000), []),
        (
            'Alc-Subscriber-QoS-Override = ["i:q:2:pir={up_kbps}", "e:q:2:pir={down_kbps}"]', SLOW,
            [("Alc-Subscriber-QoS-Override", "i:q:2:pir=128"), ("Alc-Subscriber-QoS-Override", "e:q:2:pir=256")],
        ),
        ('"Attr-26.999.1" = "0xff"', SLOW, [("Attr-26.999.1", b"\xff")]),
        ('"ERX-Service-Activate:1" = "ours({down_bps})"', SLOW, [("ERX-Service-Activate:1", "ours(256500)")]),
    ],
)  # fmt: skip
def test_rates_are_filled_in(template: str, profile: Profile, said: list[wire.Attribute]) -> None:
    assert list(one(RATE + template).profile(profile)) == said


def test_a_rate_of_zero_is_refused_here_too() -> None:
    with pytest.raises(ValueError, match="a rate of 0 bit/s would mean no limit"):
        one(RATE + 'Filter-Id = "{up_kbps}"').profile(Profile("slow", rate_up_bps=0))


def test_redirects_are_filled_in_and_need_all_their_words() -> None:
    text = (
        '[dialect.ours]\nbase = "generic"\n[dialect.ours.redirect]\nFilter-Id = "{address_list}"\n'
        'WISPr-Redirection-URL = "{redirect_url}"\nCisco-AVPair = "url-redirect-acl={filter}"\n'
    )
    ours = one(text)
    assert ours.profile(GARDEN) == (("Filter-Id", "unpaid"), ("WISPr-Redirection-URL", "http://pay.example/"))
    assert ours.profile(Profile("garden", address_list="unpaid")) == (("Filter-Id", "unpaid"),)
    assert ours.profile(FULL) == ()
    assert dialects.change(ours, FULL, GARDEN, redirect=True) is None  # what a CoA can not take back
    taken_back = one(text.replace('base = "generic"\n', 'base = "generic"\nlasting = []\n'))
    assert dialects.change(taken_back, FULL, GARDEN, redirect=True) == ((),)


def test_a_base_with_services_speaks_by_the_templates_alone() -> None:
    ours = one('[dialect.ours]\nbase = "cisco-isg"\n[dialect.ours.rate]\nFilter-Id = "{profile}"\n')
    assert dialects.change(ours, SLOW, FULL, redirect=False) == ((("Filter-Id", "slow"),),)


def test_what_takes_a_rate_back() -> None:
    ours = one(RATE + 'Filter-Id = "{down_kbps}"\n[dialect.ours.unlimited]\nFilter-Id = "0"\nPort-Limit = 0\n')
    assert dialects.change(ours, Profile("free"), SLOW, redirect=False) == ((("Filter-Id", "0"), ("Port-Limit", 0)),)


QUOTA = '[dialect.ours]\nbase = "generic"\n[dialect.ours.quota]\n'


@pytest.mark.parametrize(
    ("template", "octets", "said"),
    [
        ('Session-Octets-Limit = "{octets}"', 5, None),
        ('Filter-Id = "{octets} {gigawords} {low_octets}"', 5_000_000_000, "5000000000 1 705032704"),
        ('Filter-Id = "{kilobytes} {megabytes} {kibibytes} {mebibytes}"', 5_000_000_000, "5000000 5000 4882812 4768"),
        ('Filter-Id = "{megabytes}"', 1, "1"),
    ],
)
def test_quotas_are_filled_in(template: str, octets: int, said: str | None) -> None:
    if said is None:
        assert problems(QUOTA + template)[0].startswith(
            "aaa.toml:4: dialect.ours.quota.Session-Octets-Limit: no dictionary"
        )
        return
    quota = one(QUOTA + template).quota
    assert quota is not None
    assert quota(octets) == (("Filter-Id", said),)


HEAD = '[dialect.ours]\nbase = "generic"\n'
FAULTS = [
    ("[dialect.ours]\n", "1: dialect.ours: 'base' is missing; write base = \"generic\", or another dialect"),
    (
        '[dialect.ours]\nbase = "mikrotic"',
        "2: dialect.ours.base: no dialect 'mikrotic' comes with the server; did you mean 'mikrotik'?",
    ),
    (HEAD + "coa_prot = 1700", "3: dialect.ours.coa_prot: unknown key; did you mean 'coa_port'?"),
    (HEAD + "coa_port = 65536", "3: dialect.ours.coa_port: 65536 is not a port"),
    (HEAD + 'coa_port = "1700"', "3: dialect.ours.coa_port: '1700' is not a port"),
    (
        HEAD + "least_session_timeout_seconds = -1",
        "3: dialect.ours.least_session_timeout_seconds: -1: write seconds from 0 to 86400",
    ),
    (
        HEAD + 'capability = "speed"',
        "3: dialect.ours.capability: 'speed' is unknown; write one of rate, disconnect, reauthenticate",
    ),
    (HEAD + 'event_timestamp = "yes"', "3: dialect.ours.event_timestamp: 'yes' is neither true nor false"),
    (HEAD + "about = 5", "3: dialect.ours.about: 5 is not one line"),
    (HEAD + "identification = []", "3: dialect.ours.identification: [] is not a list of attributes"),
    (
        HEAD + 'identification = ["Acct-Sesion-Id"]',
        "3: dialect.ours.identification: 'Acct-Sesion-Id' names no session; did you mean 'Acct-Session-Id'?",
    ),
    (
        HEAD + 'identification = ["User-Name"]\nreduced_identification = ["Acct-Session-Id"]',
        "4: dialect.ours.reduced_identification: Acct-Session-Id is not in identification",
    ),
    (
        '[dialect.ours]\nbase = "pfsense"\ncapability = "disconnect"',
        "1: dialect.ours: identification is missing; write for example",
    ),
    (HEAD + 'lasting = ["Filter-Idd"]', "3: dialect.ours.lasting: no dictionary has an attribute 'Filter-Idd'"),
    (HEAD + 'rate = "{up_bps}"', "3: dialect.ours.rate: is not a table; write [dialect.ours.rate]"),
    (
        RATE + 'Mikrotik-Rate-Limt = "{up_bps}"',
        "4: dialect.ours.rate.Mikrotik-Rate-Limt: no dictionary has an attribute 'Mikrotik-Rate-Limt'; did you mean",
    ),
    (
        RATE + 'Filter-Id = "{up_kbs}"',
        "4: dialect.ours.rate.Filter-Id: nothing stands for {up_kbs}; did you mean {up_kbps}?",
    ),
    (RATE + 'Filter-Id = "{up_kbps"', "4: dialect.ours.rate.Filter-Id: '{up_kbps' has a brace without its other half"),
    (RATE + "Filter-Id = 5", "4: dialect.ours.rate.Filter-Id: 5 is not a text"),
    (
        RATE + 'Session-Timeout = "{up_kbps}k"',
        "4: dialect.ours.rate.Session-Timeout: Session-Timeout = '5000k': it takes a number",
    ),
    (
        QUOTA + 'Filter-Id = "{octetts}"',
        "4: dialect.ours.quota.Filter-Id: nothing stands for {octetts}; did you mean {octets}?",
    ),
    (
        HEAD + "[dialect.ours.unlimited]\nFilter-Id = true",
        "4: dialect.ours.unlimited.Filter-Id: True is neither a text nor",
    ),
]


@pytest.mark.parametrize(("text", "problem"), FAULTS)
def test_faults_say_where_and_what_would_be_right(text: str, problem: str) -> None:
    (found,) = problems(text)
    assert found.startswith(f"aaa.toml:{problem}")


def test_every_fault_is_found_in_one_reading() -> None:
    assert len(problems(HEAD + 'coa_port = -1\nabout = ""\nabuot = "x"\n')) == 3


@pytest.mark.parametrize("flag", FLAGS)
def test_flags(flag: str) -> None:
    for value in (True, False):
        assert getattr(one(f"{HEAD}{flag} = {str(value).lower()}\n"), flag) is value


@pytest.fixture
def nothing_installed() -> Iterator[None]:
    yield
    dialects.install(())


@pytest.mark.usefixtures("nothing_installed")
def test_installed_ones_are_found_by_name_and_replace_those_of_before() -> None:
    dialects.install([one(HEAD), one("[dialect.mikrotik]\ncoa_port = 1\n")])
    assert dialects.dialect("ours").name == dialects.names()[-1] == "ours"
    assert dialects.dialect("mikrotik").coa_port == 1
    dialects.install(())
    assert dialects.names() == tuple(SHIPPED)
    assert dialects.dialect("mikrotik").coa_port == 3799
