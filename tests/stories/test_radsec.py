"""Debian's radsecproxy carries radclient's packets to the real server over mutual TLS; commands go back over a connection;
whoever has no right certificate gets nowhere."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import pytest

from aaa import wire
from aaa.certificates import Authority
from aaa.wire import Attribute, Code, Packet
from aaa.wire.stream import Stream
from charging import tables
from charging.database import open_engine, reading
from tests.outside import SECRET
from tests.stories.conftest import PLANS, Aaa, ServerProcess
from tests.stories.test_eapol import EAPOL_TEST
from tests.stories.test_radclient import RADCLIENT, radclient
from tests.tls import HOST, RADSEC, client_context

RADSECPROXY = shutil.which("radsecproxy")
FREERADIUS = shutil.which("freeradius")
PASSWORD: Final = "correct-horse-battery-staple"
SMALL_PLAN: Final = """
[plan.small]
profile = "home-20"
[[plan.small.allowance]]
name = "data"
unit = "octets"
amount = "1GB"
[[plan.small.rate]]
unit = "octets"
price = "0.02"
per = "1MB"
[plan.small.exhausted]
action = "throttle"
profile = "slow"
"""
WITHIN_SECONDS: Final = 15

needs_radsecproxy = pytest.mark.skipif(
    RADSECPROXY is None or RADCLIENT is None,
    reason="radsecproxy or radclient is not installed; the Debian packages radsecproxy and freeradius-utils have them "
    "(.ci/run installs them)",
)


class Site(NamedTuple):
    """A running server with a port for TLS, and a folder of certificates."""

    server: ServerProcess
    port: int
    folder: Path
    ports: Callable[[int], list[int]]

    def events(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.server.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, free_udp_ports: Callable[[int], list[int]]
) -> Iterator[Site]:
    """The operator's own commands, from the CA to the NASes."""
    folder = tmp_path_factory.mktemp("radsec")
    shutil.copy(sqlite_template, folder / "test.db")
    aaa = Aaa(f"sqlite:///{folder / 'test.db'}", folder)
    certificates = folder / "certificates"
    said = aaa("certificate", "init", HOST, "--folder", str(certificates))
    keys = [line for line in said.splitlines() if line.startswith("eap_")]
    config = folder / "aaa.toml"
    config.write_text("\n".join(keys) + "\n", encoding="utf-8")
    aaa.options[:0] = ["--config", str(config)]
    for name in ("proxy", "bras-2", "bras-3", "stranger"):
        aaa("certificate", "issue", name, "--nas", "--folder", str(certificates), "--out", str(certificates))
    aaa("certificate", "issue", "alice", "--folder", str(certificates), "--out", str(certificates))
    past = datetime.now(UTC) - timedelta(days=30)
    authority = Authority(certificates)
    authority.write_client(authority.issue("expired", "nas", 1, past), certificates / "expired", PASSWORD)
    other = Authority.create(folder / "other", "another CA", datetime.now(UTC))
    other.write_client(other.issue("proxy", "nas", 1, datetime.now(UTC)), certificates / "forged", PASSWORD)
    plans = folder / "plans.toml"
    plans.write_text(PLANS + SMALL_PLAN, encoding="utf-8")
    aaa("nas", "add", "here", "--address", "127.0.0.1", "--secret-stdin", stdin=SECRET)
    for name in ("proxy", "expired"):
        aaa("nas", "add", name, "--certificate", f"dns:{name}")
    aaa("nas", "add", "bras-2", "--certificate", str(certificates / "bras-2.pem"))
    aaa("nas", "add", "bras-3", "--certificate", "subject:CN=bras-3", "--dialect", "mikrotik")
    aaa("plan", "load", str(plans))
    for name in ("alice", "bob"):
        aaa(
            "subscriber", "add", name, "--plan", "prepaid-50", "--password-stdin", "--max-sessions", "9", stdin=PASSWORD
        )
    for name in ("carol", "dora"):
        aaa("subscriber", "add", name, "--plan", "small", "--password-stdin", stdin=PASSWORD)
    server = ServerProcess(aaa, folder, *free_udp_ports(2), more=("--radsec-port", "0"))
    server.start()
    try:
        found = re.search(r"type='TCP', host='127.0.0.1', port=(\d+)", server.log)
        assert found is not None, server.log
        yield Site(server, int(found[1]), certificates, free_udp_ports)
    finally:
        server.kill()


# --- radsecproxy ---------------------------------------------------------------------------------------------------


class Proxy(NamedTuple):
    """A running radsecproxy: its UDP port, and what it prints."""

    port: int
    log: Path


@contextmanager
def radsecproxy(site: Site, folder: Path, certificate: str) -> Iterator[Proxy]:
    """radsecproxy with this certificate, as docs/radsec.md sets it up."""
    assert RADSECPROXY is not None
    (port,) = site.ports(1)
    config = folder / "radsecproxy.conf"
    config.write_text(
        f"""\
ListenUDP 127.0.0.1:{port}
LogLevel 5
tls default {{
    CACertificateFile {site.folder / "ca.pem"}
    CertificateFile {site.folder / certificate}.pem
    CertificateKeyFile {site.folder / certificate}.key
}}
client 127.0.0.1 {{
    type udp
    secret {SECRET}
}}
server aaa {{
    host 127.0.0.1
    port {site.port}
    type tls
    secret radsec
    StatusServer on
    CertificateNameCheck off
    MatchCertificateAttribute SubjectAltName:DNS:/^{HOST.replace(".", "[.]")}$/
}}
realm * {{
    server aaa
    accountingServer aaa
}}
""",
        encoding="utf-8",
    )
    log = folder / "radsecproxy.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [RADSECPROXY, "-f", "-c", str(config)], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield Proxy(port, log)
    finally:
        process.kill()
        process.wait()


def login(port: int, username: str, password: str = PASSWORD, *, tries: int = 5) -> list[str]:
    return radclient(
        port, "auth", f'User-Name = "{username}"', f'User-Password = "{password}"', "NAS-Port = 7",
        "Message-Authenticator = 0x00", tries=tries,
    )  # fmt: skip


@needs_radsecproxy
def test_radsecproxy_carries_radclients_packets(site: Site, tmp_path: Path, eventually: Callable[..., None]) -> None:
    with radsecproxy(site, tmp_path, "proxy") as proxy:
        eventually(lambda: site.events("radsec-connected"), within=WITHIN_SECONDS)
        accept = login(proxy.port, "alice")
        assert accept[0] == "Access-Accept"
        token = next(line.split(" = ")[1] for line in accept if line.startswith("Class = "))
        report = ('User-Name = "alice"', 'Acct-Session-Id = "0000002A"', f"Class = {token}", "NAS-Port = 7")
        for kind in ("Start", "Interim-Update"):
            assert radclient(proxy.port, "acct", f"Acct-Status-Type = {kind}", *report, "Acct-Session-Time = 5",
                             "Acct-Input-Octets = 1000", "Acct-Output-Octets = 9000") == ["Accounting-Response"]  # fmt: skip
        assert login(proxy.port, "alice", "wrong")[0] == "Access-Reject"
        # It answers Status-Server itself; every 25 seconds it asks us by the same packet whether we live.
        assert radclient(proxy.port, "status", "Message-Authenticator = 0x00")[0] == "Access-Accept"
        (shown,) = json.loads(site.server.aaa("session", "list", "--json"))
        assert (shown["nas"], shown["nas_address"], shown["username"]) == ("proxy", "radsec:proxy", "alice")
        # radsecproxy carries no commands: it takes one for a reply that it does not expect, and says so.
        site.server.aaa("subscriber", "suspend", "alice")
        eventually(lambda: "ignoring reply" in proxy.log.read_text(), within=WITHIN_SECONDS)
        site.server.aaa("subscriber", "resume", "alice")
    eventually(lambda: site.events("radsec-closed"), within=WITHIN_SECONDS)


@needs_radsecproxy
@pytest.mark.skipif(EAPOL_TEST is None, reason="eapol_test is not installed; the Debian package eapoltest has it")
@pytest.mark.parametrize("inner", ["auth=PAP", "autheap=GTC"])
def test_eap_over_tls_and_its_keys(site: Site, tmp_path: Path, inner: str) -> None:
    """The keys are hidden with "radsec", by the proxy with its own secret, and the client finds them to be its own."""
    assert EAPOL_TEST is not None
    network = tmp_path / "network.conf"
    network.write_text(
        f"""network={{
            key_mgmt=IEEE8021X
            eapol_flags=0
            eap=TTLS
            identity="alice"
            anonymous_identity="anonymous"
            password="{PASSWORD}"
            ca_cert="{site.folder / "ca.pem"}"
            phase2="{inner}"
        }}""",
        encoding="utf-8",
    )
    with radsecproxy(site, tmp_path, "proxy") as proxy:
        done = subprocess.run(
            [EAPOL_TEST, "-c", str(network), "-a", "127.0.0.1", "-p", str(proxy.port), "-s", SECRET, "-t", "10", "-r", "0"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert done.stdout.rstrip().endswith("SUCCESS"), done.stdout[-2000:]
    assert "MPPE keys OK: 1  mismatch: 0" in done.stdout


@needs_radsecproxy
@pytest.mark.parametrize(
    ("certificate", "reason"),
    [("forged", "certificate-refused"), ("stranger", "certificate-of-no-nas"), ("alice", "certificate-of-no-nas")],
)
def test_radsecproxy_with_a_wrong_certificate_gets_nowhere(
    site: Site, tmp_path: Path, eventually: Callable[..., None], certificate: str, reason: str
) -> None:
    before = len(site.events("access-accept"))
    with radsecproxy(site, tmp_path, certificate) as proxy:
        eventually(
            lambda: any(each["reason"] == reason for each in site.events("packet-dropped")), within=WITHIN_SECONDS
        )
        assert login(proxy.port, "alice", tries=1) == []
    assert len(site.events("access-accept")) == before


# --- FreeRADIUS ----------------------------------------------------------------------------------------------------

FREERADIUS_CONF: Final = """\
raddbdir = {folder}
logdir = {folder}
run_dir = {folder}
pidfile = {folder}/freeradius.pid
correct_escapes = true
proxy_requests = yes
security {{
    allow_vulnerable_openssl = yes
}}
thread pool {{
    start_servers = 1
    max_servers = 2
    min_spare_servers = 1
    max_spare_servers = 2
}}
modules {{
    always ok {{
        rcode = ok
    }}
    linelog heard {{
        filename = {folder}/heard
        format = "%{{Packet-Type}} %{{User-Name}} %{{Acct-Session-Id}} %{{WISPr-Bandwidth-Max-Down}}"
    }}
}}
client here {{
    ipaddr = 127.0.0.1
    secret = {secret}
}}
home_server aaa {{
    type = auth+acct+coa
    ipaddr = 127.0.0.1
    port = {port}
    proto = tcp
    secret = radsec
    status_check = none
    tls {{
        certificate_file = {certificate}.pem
        private_key_file = {certificate}.key
        ca_file = {ca}
        tls_min_version = "1.2"
        tls_max_version = "1.3"
    }}
    recv_coa {{
        virtual_server = back
    }}
}}
home_server_pool aaa {{
    home_server = aaa
}}
realm aaa {{
    auth_pool = aaa
    acct_pool = aaa
    nostrip
}}
server there {{
    listen {{
        type = auth
        ipaddr = 127.0.0.1
        port = {auth_port}
    }}
    listen {{
        type = acct
        ipaddr = 127.0.0.1
        port = {acct_port}
    }}
    authorize {{
        update control {{
            Proxy-To-Realm := "aaa"
        }}
    }}
    preacct {{
        update control {{
            Proxy-To-Realm := "aaa"
        }}
    }}
}}
server back {{
    recv-coa {{
        heard
        ok
    }}
    send-coa {{
        ok
    }}
}}
"""


class FreeRadius(NamedTuple):
    """A running FreeRADIUS: its UDP ports, and a line for each command that came to it."""

    auth_port: int
    acct_port: int
    heard: Path

    def commands(self) -> list[str]:
        return self.heard.read_text(encoding="utf-8").splitlines() if self.heard.exists() else []


@contextmanager
def freeradius(site: Site, folder: Path, certificate: str, eventually: Callable[..., None]) -> Iterator[FreeRadius]:
    """FreeRADIUS with this certificate, as docs/radsec.md sets it up."""
    assert FREERADIUS is not None
    auth_port, acct_port = site.ports(2)
    text = FREERADIUS_CONF.format(
        folder=folder, secret=SECRET, port=site.port, certificate=site.folder / certificate,
        ca=site.folder / "ca.pem", auth_port=auth_port, acct_port=acct_port,
    )  # fmt: skip
    (folder / "radiusd.conf").write_text(text, encoding="utf-8")
    log = folder / "freeradius.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [FREERADIUS, "-fxx", "-l", "stdout", "-d", str(folder)], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        eventually(lambda: process.poll() is not None or "Ready to process" in log.read_text(), within=WITHIN_SECONDS)
        assert process.poll() is None, log.read_text()[-3000:]
        yield FreeRadius(auth_port, acct_port, folder / "heard")
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(
    FREERADIUS is None or RADCLIENT is None,
    reason="freeradius or radclient is not installed; the Debian packages freeradius and freeradius-utils have them "
    "(.ci/run installs them)",
)
def test_freeradius_carries_radclients_packets_and_commands_come_back(
    site: Site, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """What radsecproxy can not: it was built to take commands from a server over the connection that it has opened."""
    with freeradius(site, tmp_path, "proxy", eventually) as nas:
        accept = login(nas.auth_port, "dora")
        assert accept[0] == "Access-Accept"
        token = next(line.split(" = ")[1] for line in accept if line.startswith("Class = "))
        session = ('User-Name = "dora"', 'Acct-Session-Id = "000000F1"', f"Class = {token}", "NAS-Port = 7")
        used = ("Acct-Session-Time = 3600", "Acct-Input-Octets = 400000000", "Acct-Output-Octets = 700000000")
        for report in (("Start",), ("Interim-Update", *used)):
            kind, *counters = report
            said = radclient(nas.acct_port, "acct", f"Acct-Status-Type = {kind}", *session, *counters)
            assert said == ["Accounting-Response"]
        eventually(lambda: nas.commands() == ["CoA-Request dora 000000F1 256000"], within=WITHIN_SECONDS)
        site.server.aaa("subscriber", "suspend", "dora")
        eventually(lambda: nas.commands()[1:] == ["Disconnect-Request dora 000000F1 "], within=WITHIN_SECONDS)
        eventually(
            lambda: [done for done in commands(site)[-2:] if done[1:] == ("acked", "ack")] == commands(site)[-2:]
        )
        site.server.aaa("subscriber", "resume", "dora")


# --- a NAS of Python's own TLS -------------------------------------------------------------------------------------


class Nas:
    """A NAS that obeys commands over its connection."""

    def __init__(self, site: Site, certificate: str | None, *alpn: str) -> None:
        stem = None if certificate is None else site.folder / certificate
        context = client_context(site.folder / "ca.pem", stem, alpn=alpn)
        plain = socket.create_connection(("127.0.0.1", site.port), WITHIN_SECONDS)
        self._socket = context.wrap_socket(plain, server_hostname=HOST)  # closes the plain one where it fails
        self.version = self._socket.selected_alpn_protocol()
        self._stream = Stream()
        self._heard: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def hear(self) -> bytes:
        """The next packet; ConnectionError when the server has closed."""
        while not self._heard:
            octets = self._socket.recv(4096)
            if not octets:
                raise ConnectionResetError
            self._heard += self._stream.packets(octets)
        return self._heard.pop(0)

    def ask(self, code: int, attributes: list[Attribute], identifier: int = 1) -> Packet:
        octets = wire.request(
            code, identifier, attributes, RADSEC, message_authenticator=code != Code.ACCOUNTING_REQUEST
        )
        self.send(octets)
        answer = wire.parse(self.hear(), frozenset(Code))
        assert wire.verify_reply(answer, octets, RADSEC)
        return answer

    def online(self, username: str, session: str) -> None:
        accept = self.ask(Code.ACCESS_REQUEST, [("User-Name", username), ("User-Password", PASSWORD)])
        assert accept.code == Code.ACCESS_ACCEPT
        token = accept.first(25)
        assert token is not None
        start: list[Attribute] = [
            ("Acct-Status-Type", 1), ("User-Name", username), ("Acct-Session-Id", session), ("Class", token),
        ]  # fmt: skip
        assert self.ask(Code.ACCOUNTING_REQUEST, start, 2).code == Code.ACCOUNTING_RESPONSE


def commands(site: Site) -> list[tuple[str, str, str | None]]:
    engine = open_engine(site.server.aaa.options[site.server.aaa.options.index("--database") + 1])
    with reading(engine) as connection:
        rows = connection.execute(tables.command.select().order_by(tables.command.c.created_at)).all()
    engine.dispose()
    return [(row.action, row.state, row.answer) for row in rows]


def test_a_command_goes_back_over_the_connection(site: Site, eventually: Callable[..., None]) -> None:
    with Nas(site, "bras-3") as nas:
        nas.online("bob", "0000007F")
        site.server.aaa("subscriber", "suspend", "bob")
        asked = wire.parse(nas.hear(), frozenset({Code.DISCONNECT_REQUEST}))
        assert wire.verify_request(asked, RADSEC)
        assert dict(wire.decode(asked))["Acct-Session-Id"] == "0000007F"
        nas.send(wire.reply(Code.DISCONNECT_ACK, asked, (), RADSEC, message_authenticator=True))
        eventually(lambda: ("disconnect", "acked", "ack") in commands(site), within=WITHIN_SECONDS)
        site.server.aaa("subscriber", "resume", "bob")


def in_1_1(code: int, token: bytes, *attributes: tuple[int, bytes | int]) -> bytes:
    """A packet as RFC 9765 has it: by number, nothing hidden, nothing signed."""
    values = [(kind, value if isinstance(value, bytes) else value.to_bytes(4, "big")) for kind, value in attributes]
    body = b"".join(bytes((kind, 2 + len(value))) + value for kind, value in values)
    return bytes((code, 0)) + (20 + len(body)).to_bytes(2, "big") + token + bytes(12) + body


def test_a_prepaid_session_in_radius_1_1_is_throttled_and_restored(site: Site) -> None:
    def command(nas: Nas) -> dict[str, Any]:
        """The CoA that comes, acknowledged."""
        asked = nas.hear()
        assert (asked[0], asked[1], asked[8:20]) == (Code.COA_REQUEST, 0, bytes(12))
        nas.send(in_1_1(Code.COA_ACK, asked[4:8]))
        packet = wire.parse(asked, frozenset(Code))
        assert packet.first(80) is None, "no Message-Authenticator in 1.1"
        return dict(wire.decode(packet))

    with Nas(site, "bras-2", "radius/1.1", "radius/1.0") as nas:
        assert nas.version == "radius/1.1"
        nas.send(in_1_1(Code.ACCESS_REQUEST, b"t001", (1, b"carol"), (2, PASSWORD.encode())))
        answer = nas.hear()
        assert (answer[0], answer[1], answer[4:20]) == (Code.ACCESS_ACCEPT, 0, b"t001" + bytes(12))
        accept = wire.parse(answer, frozenset(Code))
        class_token = accept.first(25)
        assert class_token is not None
        assert accept.first(80) is None
        session = ((1, b"carol"), (25, class_token), (44, b"000000C1"))
        for token, kind, octets, seconds in ((b"t002", 1, 0, 0), (b"t003", 3, 1_100_000_000, 440)):
            report = ((40, kind), *session, (43, octets), (46, seconds))
            nas.send(in_1_1(Code.ACCOUNTING_REQUEST, token, *report))
            assert nas.hear() == in_1_1(Code.ACCOUNTING_RESPONSE, token)
        assert command(nas)["WISPr-Bandwidth-Max-Down"] == 256_000
        site.server.aaa("topup", "carol", "100.00", "--reference", "receipt-1")
        assert command(nas)["WISPr-Bandwidth-Max-Down"] == 20_000_000


def login_with(site: Site, certificate: str | None) -> None:
    """Log in with a certificate that is not good; it fails, with TLS 1.3 only when something is to be heard."""
    login: list[Attribute] = [("User-Name", "alice"), ("User-Password", PASSWORD)]
    with pytest.raises((ssl.SSLError, ConnectionError)), Nas(site, certificate) as nas:
        nas.ask(Code.ACCESS_REQUEST, login)


@pytest.mark.parametrize("certificate", [None, "forged", "expired", "stranger", "alice"])
def test_whoever_is_wrong_hears_nothing(site: Site, certificate: str | None) -> None:
    before = len(site.events("access-accept"))
    login_with(site, certificate)
    assert len(site.events("access-accept")) == before


def test_tcp_without_tls_is_refused(site: Site) -> None:
    octets = wire.request(Code.STATUS_SERVER, 1, (), RADSEC, message_authenticator=True)
    with socket.create_connection(("127.0.0.1", site.port), WITHIN_SECONDS) as plain:
        plain.sendall(octets)
        heard = b""
        with suppress(ConnectionResetError):
            while piece := plain.recv(4096):
                heard += piece
    # An alert of TLS at most (15, content type), and no packet.
    assert heard[:1] in {b"", b"\x15"}
    for port in (site.server.auth_port, site.server.acct_port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), WITHIN_SECONDS)


def test_revoking_a_certificate_ends_its_connection(site: Site) -> None:
    with Nas(site, "bras-2") as lost, Nas(site, "bras-3") as stays:
        assert lost.ask(Code.STATUS_SERVER, []).code == Code.ACCESS_ACCEPT
        site.server.aaa("certificate", "revoke", "bras-2", "--folder", str(site.folder))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            lost.hear()  # which waits far shorter than a connection may be idle
        assert stays.ask(Code.STATUS_SERVER, []).code == Code.ACCESS_ACCEPT
        login_with(site, "bras-2")


def test_nothing_in_the_log_is_a_bug_or_a_secret(site: Site) -> None:
    assert site.events("bug") == []
    assert "Traceback" not in site.server.log
    assert PASSWORD not in site.server.log
