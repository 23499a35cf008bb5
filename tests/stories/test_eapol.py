"""wpa_supplicant's own EAP code, by Debian's eapol_test, against the real server: every method, and the keys on both sides."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from aaa.certificates import Authority
from aaa.passwords import totp
from tests.outside import SECRET
from tests.stories.conftest import PLANS, Aaa, ServerProcess
from tests.stories.test_radclient import RADCLIENT, radclient

EAPOL_TEST = shutil.which("eapol_test")
PASSWORD: Final = "correct-horse-battery-staple"
#: Tests run side by side: handshakes and the second that a Reject takes.
AT_ONCE: Final = 6

pytestmark = pytest.mark.skipif(
    EAPOL_TEST is None, reason="eapol_test is not installed; the Debian package eapoltest has it (.ci/run installs it)"
)


class Site(NamedTuple):
    """A running server, its CA's folder, and a folder for what clients hold."""

    server: ServerProcess
    folder: Path
    devices: Path


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, free_udp_ports: Callable[[int], list[int]]
) -> Iterator[Site]:
    """One server for all methods."""
    folder = tmp_path_factory.mktemp("eapol")
    shutil.copy(sqlite_template, folder / "test.db")
    aaa = Aaa(f"sqlite:///{folder / 'test.db'}", folder)
    certificates, devices = folder / "certificates", folder / "devices"
    devices.mkdir()
    said = aaa("certificate", "init", "radius.example.net", "--folder", str(certificates))
    keys = [line for line in said.splitlines() if line.startswith("eap_")]
    methods = 'eap_methods = ["peap", "ttls", "tls", "mschapv2", "md5", "gtc"]'
    config = folder / "aaa.toml"
    config.write_text("\n".join([*keys, methods]) + "\n", encoding="utf-8")
    aaa.options[:0] = ["--config", str(config)]
    for name in ("alice", "alice@example.net"):
        _issue(aaa, certificates, devices, name)
    _issue(aaa, certificates, devices, "eve")
    _issue(aaa, certificates, devices, "mallory")
    aaa("certificate", "revoke", "mallory", "--folder", str(certificates))
    past = datetime.now(UTC) - timedelta(days=30)
    authority = Authority(certificates)
    authority.write_client(authority.issue("expired", "client", 1, past), devices / "expired", PASSWORD)
    other = Authority.create(folder / "other", "another CA", datetime.now(UTC))
    other.write_client(other.issue("alice", "client", 1, datetime.now(UTC)), devices / "forged", PASSWORD)
    plans = folder / "plans.toml"
    plans.write_text(PLANS, encoding="utf-8")
    aaa("nas", "add", "here", "--address", "127.0.0.1", "--secret-stdin", stdin=SECRET)
    aaa("plan", "load", str(plans))
    often = ("--plan", "prepaid-50", "--password-stdin", "--max-sessions", "1000")
    for name in ("alice", "alice@example.net", "expired", "mallory", "dave"):
        aaa("subscriber", "add", name, *often, "--allow-chap", stdin=PASSWORD)
    aaa("subscriber", "suspend", "dave")
    aaa("subscriber", "add", "carol", *often, stdin=PASSWORD)
    server = ServerProcess(aaa, folder, *free_udp_ports(2))
    server.start()
    try:
        yield Site(server, certificates, devices)
    finally:
        server.kill()


def _issue(aaa: Aaa, certificates: Path, devices: Path, name: str) -> None:
    aaa("certificate", "issue", name, "--folder", str(certificates), "--out", str(devices))


class Case(NamedTuple):
    """A network block without its braces; keys: are both sides' keys compared?"""

    name: str
    lines: tuple[str, ...]
    keys: bool = True
    method: str = ""
    """What the server's log calls it."""
    mtu: int | None = None


def password(eap: str, *more: str, user: str = "alice", secret: str = PASSWORD) -> tuple[str, ...]:
    return (f"eap={eap}", f'identity="{user}"', f'password="{secret}"', *more)


def tunnel(eap: str, inner: str, *more: str, user: str = "alice", secret: str = PASSWORD) -> tuple[str, ...]:
    anonymous = (
        () if any(line.startswith("anonymous_identity") for line in more) else ('anonymous_identity="anonymous"',)
    )
    return (*password(eap, user=user, secret=secret), *anonymous, 'ca_cert="CA"', f'phase2="{inner}"', *more)


def certificate(stem: str = "alice", *more: str, user: str = "alice", ca: str = "CA") -> tuple[str, ...]:
    return (
        "eap=TLS", f'identity="{user}"', f'ca_cert="{ca}"', f'client_cert="DEVICES/{stem}.pem"',
        f'private_key="DEVICES/{stem}.key"', *more,
    )  # fmt: skip


TLS_1_3 = 'phase1="tls_disable_tlsv1_3=0"'
SUCCEED: Final = [
    Case("MD5", password("MD5"), keys=False, method="EAP-MD5"),
    Case("GTC", password("GTC"), keys=False, method="EAP-GTC"),
    Case("GTC against a hash", password("GTC", user="carol"), keys=False, method="EAP-GTC"),
    Case("MSCHAPv2", password("MSCHAPV2"), method="EAP-MSCHAPv2"),
    Case("TLS 1.2", certificate(), method="EAP-TLS"),
    Case("TLS 1.3", certificate("alice", TLS_1_3), method="EAP-TLS"),
    Case("TLS in small pieces", certificate("alice", "fragment_size=150"), method="EAP-TLS"),
    Case("TLS 1.3 in small pieces", certificate("alice", TLS_1_3, "fragment_size=150"), method="EAP-TLS"),
    Case("TLS with a realm", certificate("alice@example.net", user="alice@example.net"), method="EAP-TLS"),
    Case("TLS, anonymous", certificate("alice", TLS_1_3, user="anonymous"), method="EAP-TLS"),
    Case("PEAP/MSCHAPv2", tunnel("PEAP", "auth=MSCHAPV2"), method="PEAP/MSCHAPv2"),
    Case("PEAP/MSCHAPv2 over TLS 1.3", tunnel("PEAP", "auth=MSCHAPV2", TLS_1_3), method="PEAP/MSCHAPv2"),
    Case("PEAP/GTC", tunnel("PEAP", "auth=GTC"), method="PEAP/GTC"),
    Case("PEAP/GTC against a hash", tunnel("PEAP", "auth=GTC", user="carol"), method="PEAP/GTC"),
    Case("TTLS/PAP", tunnel("TTLS", "auth=PAP"), method="TTLS/PAP"),
    Case("TTLS/PAP over TLS 1.3", tunnel("TTLS", "auth=PAP", TLS_1_3), method="TTLS/PAP"),
    Case("TTLS/PAP against a hash", tunnel("TTLS", "auth=PAP", user="carol"), method="TTLS/PAP"),
    Case("TTLS/CHAP", tunnel("TTLS", "auth=CHAP"), method="TTLS/CHAP"),
    Case("TTLS/CHAP over TLS 1.3", tunnel("TTLS", "auth=CHAP", TLS_1_3), method="TTLS/CHAP"),
    Case("TTLS/MSCHAPv2", tunnel("TTLS", "auth=MSCHAPV2"), method="TTLS/MSCHAPv2"),
    Case("TTLS/MSCHAPv2 over TLS 1.3", tunnel("TTLS", "auth=MSCHAPV2", TLS_1_3), method="TTLS/MSCHAPv2"),
    Case("TTLS/EAP-MD5", tunnel("TTLS", "autheap=MD5"), method="TTLS/EAP-MD5"),
    Case("TTLS/EAP-MSCHAPv2", tunnel("TTLS", "autheap=MSCHAPV2"), method="TTLS/EAP-MSCHAPv2"),
    Case("TTLS/EAP-GTC over TLS 1.3", tunnel("TTLS", "autheap=GTC", TLS_1_3), method="TTLS/EAP-GTC"),
    Case("the outer realm is the inner one", tunnel("PEAP", "auth=MSCHAPV2", 'anonymous_identity="@example.net"', user="alice@example.net"), method="PEAP/MSCHAPv2"),
]  # fmt: skip

WRONG = "incorrect-horse"
FAIL: Final = [
    *(
        Case(f"{eap}, wrong password", password(eap, secret=WRONG), keys=False, method="wrong-password")
        for eap in ("MD5", "GTC", "MSCHAPV2")
    ),
    *(
        Case(f"PEAP/{inner}, wrong password", tunnel("PEAP", f"auth={inner}", secret=WRONG), method="wrong-password")
        for inner in ("MSCHAPV2", "GTC")
    ),
    *(
        Case(f"TTLS/{inner}, wrong password", tunnel("TTLS", inner, secret=WRONG), method="wrong-password")
        for inner in ("auth=PAP", "auth=CHAP", "auth=MSCHAPV2", "autheap=MD5")
    ),
    Case("nobody", tunnel("PEAP", "auth=MSCHAPV2", user="nobody"), method="unknown-user"),
    Case("suspended", tunnel("TTLS", "auth=PAP", user="dave"), method="suspended"),
    Case("PEAP/MSCHAPv2 against a hash", tunnel("PEAP", "auth=MSCHAPV2", user="carol"), method="method-not-possible"),
    Case("somebody else outside", tunnel("PEAP", "auth=MSCHAPV2", 'anonymous_identity="bob"'), method="eap-identity-mismatch"),
    Case("another realm outside", tunnel("TTLS", "auth=PAP", 'anonymous_identity="@example.org"', user="alice@example.net"), method="eap-realm-mismatch"),
    Case("a certificate of another CA", certificate("forged"), method="certificate-refused"),
    Case("a certificate of another CA, TLS 1.3", certificate("forged", TLS_1_3), method="certificate-refused"),
    Case("a server of another CA", certificate("alice", ca="DEVICES/../other/ca.pem"), method="tls-failed"),
    Case("a server of another CA, PEAP", (*tunnel("PEAP", "auth=MSCHAPV2")[:-2], 'ca_cert="DEVICES/../other/ca.pem"', 'phase2="auth=MSCHAPV2"'), method="tls-failed"),
    Case("an expired certificate", certificate("expired", user="expired"), method="certificate-refused"),
    Case("an expired certificate, TLS 1.3", certificate("expired", TLS_1_3, user="expired"), method="certificate-refused"),
    Case("a revoked certificate", certificate("mallory", user="mallory"), method="certificate-refused"),
    Case("a revoked certificate, TLS 1.3", certificate("mallory", TLS_1_3, user="mallory"), method="certificate-refused"),
    Case("somebody else's certificate", certificate("eve"), method="eap-identity-mismatch"),
    Case("a certificate of nobody", certificate("eve", user="eve"), method="unknown-user"),
]  # fmt: skip


def run(site: Site, number: int, case: Case) -> str:
    """SUCCESS or FAILURE, as the client has it, with the keys compared; else what the client printed."""
    assert EAPOL_TEST is not None
    text = "\n".join(["network={", "key_mgmt=IEEE8021X", "eapol_flags=0", *case.lines, "}"]) + "\n"
    text = text.replace('"CA"', f'"{site.folder / "ca.pem"}"').replace("DEVICES", str(site.devices))
    path = site.devices / f"{number}.conf"
    path.write_text(text, encoding="utf-8")
    station = f"02:00:00:00:{number // 256:02x}:{number % 256:02x}"
    arguments = [
        EAPOL_TEST, "-c", str(path), "-a", "127.0.0.1", "-p", str(site.server.auth_port), "-s", SECRET, "-t", "10", "-r", "0",
        "-M", station, *([] if case.keys else ["-n"]),
    ]  # fmt: skip
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
    last = done.stdout.rstrip().rpartition("\n")[2]
    if last == "SUCCESS" and case.keys and "MPPE keys OK: 1  mismatch: 0" not in done.stdout:
        return "no keys"
    if last not in {"SUCCESS", "FAILURE"} or "EAPOL test timed out" in done.stdout:
        return done.stdout[-2000:] + done.stderr[-500:]
    return last


def run_all(site: Site, cases: list[Case], first: int) -> list[str]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda item: run(site, first + item[0], item[1]), enumerate(cases)))


def events(site: Site, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in site.server.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def test_every_method_logs_in_with_the_same_keys_on_both_sides(site: Site) -> None:
    before = len(events(site, "access-accept"))
    results = dict(zip([case.name for case in SUCCEED], run_all(site, SUCCEED, 1), strict=True))
    assert {name: result for name, result in results.items() if result != "SUCCESS"} == {}
    accepted = [str(each["method"]) for each in events(site, "access-accept")[before:]]
    assert sorted(accepted) == sorted(case.method for case in SUCCEED)


def test_whoever_is_wrong_stays_out(site: Site) -> None:
    before = len(events(site, "access-reject"))
    results = dict(zip([case.name for case in FAIL], run_all(site, FAIL, 100), strict=True))
    assert {name: result for name, result in results.items() if result != "FAILURE"} == {}
    reasons = [str(each["reason"]) for each in events(site, "access-reject")[before:]]
    assert sorted(reasons) == sorted(case.method for case in FAIL)


def test_a_certificate_is_revoked_while_the_server_runs(site: Site) -> None:
    _issue(site.server.aaa, site.folder, site.devices, "alice@example.net")
    case = Case("", certificate("alice@example.net", user="alice@example.net"))
    assert run(site, 200, case) == "SUCCESS"
    site.server.aaa("certificate", "revoke", "alice@example.net", "--folder", str(site.folder))
    assert run(site, 201, case) == "FAILURE"


def record(output: str) -> dict[str, str]:
    """The record of a command with --json, without what it says beside."""
    found: dict[str, str] = json.JSONDecoder().raw_decode(output)[0]
    return found


@pytest.mark.skipif(RADCLIENT is None, reason="radclient is not installed; the Debian package freeradius-utils has it")
def test_ms_chap_one_time_codes_and_addresses_by_radclient(site: Site) -> None:
    aaa, port = site.server.aaa, site.server.auth_port

    def login(name: str, *proof: str) -> list[str]:
        return radclient(port, "auth", f'User-Name = "{name}"', *proof, "NAS-Port = 7", "Message-Authenticator = 0x00")

    accept = login("alice", f'MS-CHAP-Password = "{PASSWORD}"')
    assert accept[0] == "Access-Accept"
    assert any(line.startswith("MS-CHAP-MPPE-Keys = 0x") for line in accept)
    refused = login("alice", f'MS-CHAP-Password = "{WRONG}"')
    assert refused[0] == "Access-Reject"
    assert any("E=691 R=0" in line for line in refused)
    assert login("carol", f'MS-CHAP-Password = "{PASSWORD}"')[0] == "Access-Reject", "only its hash is kept"

    added = record(aaa("subscriber", "add", "nina", "--plan", "prepaid-50", "--keep", "nt-hash", "--json"))
    assert login("nina", f'MS-CHAP-Password = "{added["password"]}"')[0] == "Access-Accept"
    added = record(aaa("subscriber", "add", "sara", "--plan", "prepaid-50", "--keep", "secret", "--json"))
    assert login("sara", f'User-Password = "{added["password"]}"')[0] == "Access-Accept"

    often = ("--plan", "prepaid-50", "--password-stdin", "--max-sessions", "9")
    aaa("subscriber", "add", "otto", *often, stdin=PASSWORD)
    uri = record(aaa("subscriber", "set", "otto", "--one-time-code", "new", "--json"))["authenticator_uri"]
    secret = base64.b32decode(uri.split("secret=")[1].split("&")[0])
    code = totp.code_at(secret, time.time_ns() // 10**6 // totp.STEP_MS).decode()
    assert login("otto", f'User-Password = "{PASSWORD}{code}"')[0] == "Access-Accept"
    assert login("otto", f'User-Password = "{PASSWORD}{code}"')[0] == "Access-Reject"
    assert login("otto", f'User-Password = "{PASSWORD}"')[0] == "Access-Reject"

    aaa("subscriber", "add", "02:00:5e:00:53:01", "--plan", "prepaid-50", "--keep", "none")
    address = ("02005E005301", 'User-Password = "02005E005301"', 'Calling-Station-Id = "02-00-5E-00-53-01"')
    assert login(*address)[0] == "Access-Reject"
    aaa("nas", "set", "here", "--mac-authentication")
    deadline = time.monotonic() + 10
    while login(*address)[0] != "Access-Accept":  # the server looks at the table of NASes once a second
        assert time.monotonic() < deadline


def test_the_log_keeps_secrets(site: Site) -> None:
    assert not re.search(f"{PASSWORD}|{WRONG}|{SECRET}|Traceback", site.server.log)
