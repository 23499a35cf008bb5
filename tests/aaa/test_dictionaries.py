"""The dictionary files: complete, consistent, and the same after packaging."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from pyrad.dictionary import Dictionary

import dictionaries
from aaa.wire import definitions

# (name, vendor, number, type): one of every source, and those that money hangs on
NUMBERS = [
    ("User-Name", 0, 1, "string"),
    ("NAS-Port-Type", 0, 61, "integer"),
    ("Acct-Status-Type", 0, 40, "integer"),
    ("Acct-Input-Octets", 0, 42, "integer"),
    ("Acct-Output-Octets", 0, 43, "integer"),
    ("Acct-Session-Id", 0, 44, "string"),
    ("Acct-Session-Time", 0, 46, "integer"),
    ("Acct-Input-Gigawords", 0, 52, "integer"),
    ("Acct-Output-Gigawords", 0, 53, "integer"),
    ("Event-Timestamp", 0, 55, "date"),
    ("Acct-Tunnel-Connection", 0, 68, "string"),
    ("Tunnel-Private-Group-Id", 0, 81, "string"),
    ("Message-Authenticator", 0, 80, "octets"),
    ("Acct-Interim-Interval", 0, 85, "integer"),
    ("NAS-Port-Id", 0, 87, "string"),
    ("Framed-Pool", 0, 88, "string"),
    ("Chargeable-User-Identity", 0, 89, "octets"),
    ("NAS-IPv6-Address", 0, 95, "ipv6addr"),
    ("Framed-IPv6-Prefix", 0, 97, "ipv6prefix"),
    ("Egress-VLANID", 0, 56, "integer"),
    ("Error-Cause", 0, 101, "integer"),
    ("Delegated-IPv6-Prefix", 0, 123, "ipv6prefix"),
    ("Framed-IPv6-Address", 0, 168, "ipv6addr"),
    ("Delegated-IPv6-Prefix-Pool", 0, 171, "string"),
    ("Cisco-AVPair", 9, 1, "string"),
    ("Cisco-Account-Info", 9, 250, "string"),
    ("MS-CHAP2-Response", 311, 25, "octets"),
    ("MS-MPPE-Recv-Key", 311, 17, "octets"),
    ("WISPr-Bandwidth-Max-Up", 14122, 7, "integer"),
    ("WISPr-Bandwidth-Max-Down", 14122, 8, "integer"),
    ("ChilliSpot-Max-Total-Octets", 14559, 3, "integer"),
    ("ChilliSpot-Max-Input-Gigawords", 14559, 21, "integer"),
    ("ChilliSpot-Max-Output-Gigawords", 14559, 22, "integer"),
    ("ChilliSpot-Max-Total-Gigawords", 14559, 23, "integer"),
    ("Mikrotik-Rate-Limit", 14988, 8, "string"),
    ("Mikrotik-Total-Limit", 14988, 17, "integer"),
    ("Mikrotik-Total-Limit-Gigawords", 14988, 18, "integer"),
    ("Mikrotik-Address-List", 14988, 19, "string"),
    ("Cisco-Sub-Activate-Service", 9, 60, "string"),
    ("Huawei-Input-Average-Rate", 2011, 2, "integer"),
    ("Huawei-Output-Average-Rate", 2011, 5, "integer"),
    ("Huawei-Output-Peak-Rate", 2011, 6, "integer"),
    ("Huawei-Remanent-Volume", 2011, 15, "integer"),
    ("Huawei-HTTP-Redirect-URL", 2011, 140, "string"),
    ("ERX-Service-Activate", 4874, 65, "string"),
    ("ERX-Service-Deactivate", 4874, 66, "string"),
    ("ERX-Service-Volume", 4874, 67, "integer"),
    ("ERX-Service-Session", 4874, 83, "string"),
    ("Alc-SLA-Prof-Str", 6527, 13, "string"),
    ("Alc-Subscriber-QoS-Override", 6527, 126, "string"),
    ("pfSense-Max-Total-Octets", 13644, 3, "integer"),
    ("Aruba-User-Role", 14823, 1, "string"),
    ("Aruba-Captive-Portal-URL", 14823, 43, "string"),
    ("Cambium-Traffic-Quota-Limit-Total", 17713, 155, "integer"),
    ("Cambium-Traffic-Quota-Limit-Total-Gigwords", 17713, 156, "integer"),
    ("Ruckus-User-Groups", 25053, 1, "string"),
]


@pytest.mark.parametrize(("name", "vendor", "number", "datatype"), NUMBERS)
def test_number_and_type(name: str, vendor: int, number: int, datatype: str) -> None:
    definition = definitions.BY_NAME[name]
    assert (definition.vendor, definition.type, definition.datatype) == (vendor, number, datatype)
    assert definitions.BY_NUMBER[vendor, number] is definition


@pytest.mark.parametrize("file", dictionaries.files(), ids=lambda file: file.name)
def test_every_file_says_its_source_and_is_read_whole(file: Path) -> None:
    assert file.parent == dictionaries.path()
    text = file.read_text()
    assert re.match(r"# (RFC \d+|[A-Z]\w+ \(\d+\)).*\.\n", text)
    names = re.findall(r"^ATTRIBUTE\s+(\S+)", text, re.MULTILINE)
    assert names
    assert set(names) <= set(definitions.BY_NAME)


def test_every_source_is_there() -> None:
    assert [file.name.removeprefix("dictionary.") for file in dictionaries.files()] == [
        *("aruba", "cambium", "chillispot", "cisco", "erx", "huawei", "microsoft", "mikrotik", "nokia", "pfsense"),
        *("rfc2865", "rfc2866", "rfc2867", "rfc2868", "rfc2869", "rfc3162", "rfc4372", "rfc4675", "rfc4818"),
        *("rfc5176", "rfc6911", "ruckus", "wispr"),
    ]


def test_no_number_and_no_name_is_given_twice() -> None:
    lines = [line.split() for file in dictionaries.files() for line in file.read_text().splitlines()]
    names = Counter(line[1] for line in lines if line[:1] == ["ATTRIBUTE"])
    assert [name for name, times in names.items() if times > 1] == []
    assert len(definitions.BY_NUMBER) == len(definitions.BY_NAME) == len(names)
    values = Counter((line[1], line[3]) for line in lines if line[:1] == ["VALUE"])
    assert [value for value, times in values.items() if times > 1] == []


def test_pyrad_skips_nothing() -> None:
    read = Dictionary(*(str(file) for file in dictionaries.files()))
    assert read.skipped_attributes == set()
    # the reader of Vendor-Specific takes every vendor of ours for one of the RFC 2865 format
    assert read._unsupported_vendors == set()


def test_named_values() -> None:
    assert definitions.BY_NAME["Acct-Status-Type"].values["Interim-Update"] == 3
    assert definitions.BY_NAME["Acct-Status-Type"].values["Tunnel-Link-Reject"] == 14
    assert definitions.BY_NAME["Service-Type"].values["Authorize-Only"] == 17
    assert definitions.BY_NAME["Error-Cause"].values["Session-Context-Not-Found"] == 503
    assert definitions.BY_NAME["NAS-Port-Type"].values["PPPoEoVLAN"] == 33


def test_what_travels_hidden_and_what_has_a_tag() -> None:
    by_name = definitions.BY_NAME.values()
    assert {one.name for one in by_name if one.encryption == definitions.HIDDEN} == {
        "User-Password",
        "MS-CHAP-MPPE-Keys",
    }
    assert {one.name for one in by_name if one.encryption == definitions.SALTED} == {
        "Tunnel-Password",
        "MS-MPPE-Send-Key",
        "MS-MPPE-Recv-Key",
    }
    assert {one.type for one in by_name if one.tagged and not one.vendor} == {64, 65, 66, 67, 69, 81, 82, 83, 90, 91}
    assert {(one.vendor, one.type) for one in by_name if one.tagged and one.vendor} == {
        (4874, number) for number in (65, 67, 68, 69, 140, 179, 180)
    }
