"""Accounting-Requests as reports: every case of tests/vectors/accounting, and what any octets come to."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa import wire
from aaa.accounting import Beside, Restart, report_of
from aaa.nas import Nas
from aaa.tokens import token
from aaa.wire import Code, Malformed, Packet
from aaa.wire.definitions import BY_NUMBER
from charging.session import Report

FOLDER = Path(__file__).resolve().parent.parent / "vectors" / "accounting"
SECRET = b"xyzzy5461"
KEYS = [b"k" * 32, b"an older key"]
NAS = Nas(
    7, "bras-1", "192.0.2.0/24", (SECRET,), "generic", None, 3799, "yes",
    limit_proxy_state=True, counters_reversed=False,
)  # fmt: skip
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = "2026-03-01 12:00:00"

Case = dict[str, str]


def cases() -> list[Case]:
    found: list[Case] = []
    for file in sorted(FOLDER.glob("*.txt")):
        if file.name == "README.txt":
            continue
        field = ""
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith(" "):
                found[-1][field] += line.strip() + "\n"
                continue
            field, colon, value = line.partition(":")
            assert colon, f"{file.name}:{number}: neither a field nor the continuation of one"
            assert field in {"title", "received", "source", "nas", "attributes", "malformed", "report"}, field
            if field == "title":
                found.append({})
            assert field not in found[-1], f"{file.name}:{number}: {field} a second time"
            found[-1][field] = value.strip()
    return found


def packet_of(attributes: list[tuple[int, bytes]]) -> Packet:
    """A signed Accounting-Request, put together here from RFC 2866 alone."""
    body = b"".join(bytes([kind, 2 + len(value)]) + value for kind, value in attributes)
    head = b"\x04\x2a" + (20 + len(body)).to_bytes(2, "big")
    authenticator = hashlib.md5(head + bytes(16) + body + SECRET).digest()
    packet = wire.parse(head + authenticator + body, frozenset({Code.ACCOUNTING_REQUEST}))
    assert wire.verify_request(packet, SECRET)
    return packet


def written(text: str) -> list[tuple[int, bytes]]:
    read = []
    for line in text.splitlines():
        number, name, value = line.split(" ", 2)
        assert BY_NUMBER[0, int(number)].name == name, line
        read.append((int(number), value[1:-1].encode() if value.startswith('"') else bytes.fromhex(value)))
    return read


def instant(text: str) -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


def shown(at: int) -> str:
    return (EPOCH + timedelta(milliseconds=at)).strftime("%Y-%m-%d %H:%M:%S.") + f"{at % 1000:03d}"


def lines(report: Report | Restart) -> list[str]:
    """A report in the words of the vectors."""
    said = [f"nas_address = {report.nas_address}"] if report.nas_address != "192.0.2.1" else []
    if isinstance(report, Restart):
        return [f"restart = {report.kind}", *said, f"event_at = {shown(report.event_at)}"]
    session_id = report.acct_session_id
    said += [
        f"kind = {report.kind}",
        f'username = "{report.username}"',
        f'acct_session_id = "{session_id.decode()}"'
        if session_id.decode("ascii", "replace").isprintable()
        else f"acct_session_id = 0x{session_id.hex()}",
    ]
    said += [
        f"{name} = {value}"
        for name in ("octets_up", "octets_down", "seconds")
        if (value := getattr(report, name)) is not None
    ]
    if report.gigawords:
        said.append("gigawords")
    said += [
        f'{name} = "{value}"'
        for name in ("calling_station", "nas_port_id", "framed_address")
        if (value := getattr(report, name)) is not None
    ]
    said.append(f"event_at = {shown(report.event_at)}, {'exact' if report.event_exact else 'worked out'}")
    return said


def read(case: Case) -> Report | Restart:
    nas = replace(NAS, counters_reversed=case.get("nas") == "counters reversed")
    packet = packet_of(written(case["attributes"]))
    report = report_of(packet, nas, case.get("source", "192.0.2.1"), instant(case.get("received", NOON)), KEYS)
    assert not isinstance(report, Beside)
    return report


def test_there_are_vectors_of_every_kind() -> None:
    assert len(cases()) >= 35
    assert sum("malformed" in case for case in cases()) >= 8


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["title"])
def test_vector(case: Case) -> None:
    if "malformed" in case:
        with pytest.raises(Malformed, match=case["malformed"]) as caught:
            read(case)
        assert caught.value.reason == "attribute-value"
        return
    report = read(case)
    assert lines(report) == case["report"].splitlines()
    assert report.nas_id == 7
    assert report.received_at == instant(case.get("received", NOON))
    if isinstance(report, Report):
        assert report.packet == packet_of(written(case["attributes"])).raw
        assert report.token is None


# --- Class -------------------------------------------------------------------------------------------------------


def classes(*values: bytes) -> Report:
    report = report_of(packet_of([(40, b"\0\0\0\3"), *((25, value) for value in values)]), NAS, "192.0.2.1", 0, KEYS)
    assert isinstance(report, Report)
    return report


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([token(3, 4, KEYS[0])], (3, 4)),
        ([token(3, 4, KEYS[1])], (3, 4)),
        ([token(3, 4, b"of somebody else")], None),
        ([b"", b"a policy of the NAS", token(3, 4, KEYS[0]), token(5, 6, KEYS[0])], (3, 4)),
        ([token(1, 1, b"of somebody else"), token(3, 4, KEYS[0])], (3, 4)),
    ],
)
def test_the_first_class_of_ours_counts(values: list[bytes], expected: tuple[int, int] | None) -> None:
    assert classes(*values).token == expected


# --- keys --------------------------------------------------------------------------------------------------------

NAMES = {1: b"alice", 44: b"0000002A", 31: b"02-00-00-00-00-01", 87: b"ge-0/0/1"}


def named(source: str = "192.0.2.1", nas: Nas = NAS, **changed: bytes) -> Report:
    names = NAMES | {int(key[1:]): value for key, value in changed.items()}
    report = report_of(packet_of([(40, b"\0\0\0\3"), *names.items()]), nas, source, 0, [])
    assert isinstance(report, Report)
    return report


@pytest.mark.parametrize(
    ("other", "same_session", "same_device"),
    [
        (named(), True, True),
        (named(_1=b"bob"), False, True),
        (named(_44=b"0000002a"), False, True),
        (named(_44=b"0000002A\0"), False, True),
        (named(_31=b"02-00-00-00-00-02"), False, False),
        (named(_87=b"ge-0/0/2"), False, False),
        (named(source="192.0.2.2"), False, False),
        (named(nas=replace(NAS, nas_id=8)), False, False),
        (named(_1=b"alice\xff", _44=b"0000002A"), False, True),
    ],
)
def test_what_names_a_session_and_a_device(other: Report, same_session: bool, same_device: bool) -> None:
    assert (other.session_key == named().session_key) == same_session
    assert (other.device_key == named().device_key) == same_device


def test_names_do_not_run_into_each_other() -> None:
    assert named(_1=b"al", _44=b"ice").session_key != named(_1=b"ali", _44=b"ce").session_key
    assert named(_87=b"1", _31=b"23").device_key != named(_87=b"12", _31=b"3").device_key


def test_without_port_and_station_there_is_no_device() -> None:
    report = report_of(packet_of([(40, b"\0\0\0\3"), (1, b"alice")]), NAS, "192.0.2.1", 0, [])
    assert isinstance(report, Report)
    assert report.device_key == ""


# --- any octets --------------------------------------------------------------------------------------------------

KINDS = [1, 5, 8, 25, 31, 40, 41, 42, 43, 44, 46, 52, 53, 55, 87, 168]
VALUES = st.binary(max_size=20) | st.binary(min_size=4, max_size=4)


@given(st.lists(st.tuples(st.sampled_from(KINDS), VALUES), max_size=12, unique_by=lambda pair: pair[0]))
def test_any_attributes_come_to_a_report_or_malformed(attributes: list[tuple[int, bytes]]) -> None:
    try:
        report = report_of(packet_of(attributes), NAS, "192.0.2.1", instant(NOON), KEYS)
    except Malformed:
        return
    assert not isinstance(report, Beside)
    assert instant(NOON) - 86_400_000 <= report.event_at <= instant(NOON) + 300_000
    if isinstance(report, Report):
        kept = [report.username, report.calling_station, report.nas_port_id, report.framed_address]
        assert not any("\0" in each for each in kept if each is not None)
        for each in kept:
            if each is not None:
                each.encode()  # any database can keep it
        assert len(report.session_key) == 32
