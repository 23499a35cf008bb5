"""`python -m bench.logins`: how many logins a second, by what is kept of the password and how it is proven.

Clear text (PAP), NT hash (MS-CHAPv2), argon2id (PAP) the first time and again within five minutes, EAP-TLS with TLS 1.3.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import socket
import ssl
import struct
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from aaa import keyring, registry, wire
from aaa.passwords import hash_password, nt_hash
from aaa.passwords.mschap import challenge_hash, challenge_response
from aaa.registry import Newcomer
from aaa.wire import Attribute, Code
from bench import load, machine
from bench.cluster import Cluster
from bench.ours import DATABASE, PLAN, Ours
from bench.packets import ACCESS_ACCEPT
from bench.subject import Unusable
from charging.database import open_engine

SECRET: Final = "bench-secret-on-loopback-0123456"
PASSWORD: Final = b"correct horse battery"
KINDS: Final = ("clear text", "NT", "argon2id, cold", "argon2id, warm", "EAP-TLS")
_RETRANSMIT_SECONDS: Final = 2.0
_GIVE_UP_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result."""

    kind: str
    logins: int
    outstanding: int
    per_second: float
    p50_ms: float
    p99_ms: float
    refused: int
    server_us: float
    """Processor time of the server for each login."""


class LoginServer(Ours):
    """`aaa serve` with subscribers of every kind: `clear-7`, `nt-7`, `hash-7`; `tls-7` has a certificate."""

    name = "logins"

    def _fill(self) -> None:
        self.cluster.create(DATABASE)
        certificates = self.folder / "certificates"
        self._aaa("db", "upgrade")
        self._aaa("certificate", "init", "radius.example.net", "--folder", str(certificates))
        (self.folder / "client").mkdir()
        self._aaa("certificate", "issue", "tls-0", "--folder", str(certificates), "--out", str(self.folder / "client"))
        (self.folder / "aaa.toml").write_text(
            'log_level = "warning"\neap_methods = ["tls"]\n'
            + "".join(f'eap_{key} = "{certificates / name}"\n' for key, name in _FILES.items())
        )
        (self.folder / "plan.toml").write_text(PLAN)
        self._aaa("nas", "add", "bench", "--address", "127.0.0.0/8", "--secret", self.secret)
        self._aaa("plan", "load", str(self.folder / "plan.toml"))
        engine = open_engine(self.cluster.uri(DATABASE))
        keys = keyring.load(self.folder / "aaa.keys")
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            hashes = list(pool.map(hash_password, [PASSWORD] * self.hashed))
        with engine.begin() as connection:
            registry.enrol(connection, keys, list(self._newcomers(hashes)), time.time_ns() // 1_000_000, "bench")
        engine.dispose()

    @property
    def hashed(self) -> int:
        """How many have a hash, which takes as long to make as to check."""
        return max(1, self.subscribers // 10)

    def _newcomers(self, hashes: list[str]) -> Iterator[Newcomer]:
        for n in range(self.subscribers):
            yield Newcomer(f"clear-{n}", "bench", f"clear-{n}", None, PASSWORD)
            yield Newcomer(f"nt-{n}", "bench", f"nt-{n}", None, None, nt=nt_hash(PASSWORD))
        for n, each in enumerate(hashes):
            yield Newcomer(f"hash-{n}", "bench", f"hash-{n}", each, None)
        # One certificate stands for many devices here.
        yield Newcomer("tls-0", "bench", "tls-0", None, None, max_sessions=1_000_000)


_FILES: Final = {"certificate": "server.pem", "key": "server.key", "ca": "ca.pem", "crl": "crl.pem"}


def pap(k: int, name: str) -> bytes:
    """An Access-Request with a password."""
    return _request(k, name, [("User-Password", PASSWORD)])


def ms_chap(k: int, name: str) -> bytes:
    """An Access-Request with MS-CHAPv2 (RFC 2759)."""
    challenge, peer, nt = secrets.token_bytes(16), secrets.token_bytes(16), nt_hash(PASSWORD)
    assert nt is not None
    response = challenge_response(challenge_hash(peer, challenge, name.encode()), nt)
    said: list[Attribute] = [
        ("MS-CHAP-Challenge", challenge),
        ("MS-CHAP2-Response", b"\x07\0" + peer + bytes(8) + response),
    ]
    return _request(k, name, said)


def _request(k: int, name: str, proof: list[Attribute]) -> bytes:
    said: list[Attribute] = [
        ("User-Name", name),
        *proof,
        ("Calling-Station-Id", f"02-00-00-00-{k >> 8 & 255:02X}-{k & 255:02X}"),
    ]
    return wire.request(Code.ACCESS_REQUEST, k % 256, said, SECRET.encode(), message_authenticator=True)


# --- EAP-TLS: a supplicant in memory -------------------------------------------------------------------------------


def supplicant(context: ssl.SSLContext, name: str) -> Generator[bytes, bytes, None]:
    """Gives EAP responses, takes EAP requests, until Success (RFC 5216)."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="radius.example.net")
    request = yield _eap(0, b"\x01" + name.encode())
    while True:
        flags, data = request[5], request[6:]
        whole = data[4:] if flags & 0x80 else data
        while flags & 0x40:
            request = yield _eap(request[1], b"\x0d\0")
            flags, data = request[5], request[6:]
            whole += data
        incoming.write(whole)
        try:
            tls.do_handshake()
            # The server's word that all is well is the last of TLS 1.3; it is read, and answered with nothing.
            tls.read(65536)
        except ssl.SSLWantReadError:
            pass
        said = outgoing.read()
        pieces = [said[at : at + 1000] for at in range(0, len(said), 1000)] or [b""]
        for number, piece in enumerate(pieces):
            more = 0x40 if number < len(pieces) - 1 else 0
            head = bytes((0x80 | more,)) + struct.pack(">I", len(said)) if more and not number else bytes((more,))
            request = yield _eap(request[1], b"\x0d" + head + piece)


def _eap(identifier: int, data: bytes) -> bytes:
    return b"\x02" + struct.pack(">BH", identifier, 4 + len(data)) + data


class _Login:
    """One EAP login on a socket of its own."""

    def __init__(self, port: int, context: ssl.SSLContext, name: str) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.name, self.began = name, time.perf_counter()
        self._peer = supplicant(context, name)
        self._identifier, self._state = 0, b""
        self.code = 0
        self._say(next(self._peer))

    def _say(self, eap: bytes) -> None:
        said: list[Attribute] = [("User-Name", self.name), ("EAP-Message", eap)]
        if self._state:
            said.append(("State", self._state))
        self._identifier = (self._identifier + 1) % 256
        self.sent = wire.request(
            Code.ACCESS_REQUEST, self._identifier, said, SECRET.encode(), message_authenticator=True
        )
        self.sent_at = time.perf_counter()
        self.socket.send(self.sent)

    def hear(self) -> bool:
        """Take what came; is it over?"""
        try:
            packet = wire.parse(self.socket.recv(4096), frozenset(Code))
        except BlockingIOError:
            return False
        if not wire.verify_reply(packet, self.sent, SECRET.encode()):
            return False
        if packet.code != Code.ACCESS_CHALLENGE:
            self.code = packet.code
            return True
        self._state = packet.first(24) or b""
        self._say(self._peer.send(b"".join(packet.all(79))))
        return False

    def repeat(self, now: float) -> None:
        """Send again what was not answered."""
        if now - self.sent_at > _RETRANSMIT_SECONDS:
            self.sent_at = now
            self.socket.send(self.sent)
        if now - self.began > _GIVE_UP_SECONDS:
            raise load.Unanswered(f"an EAP login has no end after {_GIVE_UP_SECONDS:.0f} s")


def drive_eap(port: int, folder: Path, count: int, outstanding: int) -> tuple[float, list[float], int]:
    """(seconds, latencies in seconds, refused) of that many EAP-TLS logins."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(folder / "certificates" / "ca.pem")
    context.load_cert_chain(folder / "client" / "tls-0.pem", folder / "client" / "tls-0.key")
    poller, under_way = select.epoll(), dict[int, _Login]()
    began, started, refused = time.perf_counter(), 0, 0
    latencies: list[float] = []
    while len(latencies) < count:
        while started < count and len(under_way) < outstanding:
            one = _Login(port, context, "tls-0")
            under_way[one.socket.fileno()] = one
            poller.register(one.socket.fileno(), select.EPOLLIN)
            started += 1
        for descriptor, _ in poller.poll(0.5):
            one = under_way[descriptor]
            if one.hear():
                latencies.append(time.perf_counter() - one.began)
                refused += one.code != Code.ACCESS_ACCEPT
                poller.unregister(descriptor)
                del under_way[descriptor]
                one.socket.close()
        now = time.perf_counter()
        for one in under_way.values():
            one.repeat(now)
    poller.close()
    return time.perf_counter() - began, sorted(latencies), refused


# --- the run -------------------------------------------------------------------------------------------------------


def measure(folder: Path, subscribers: int, outstanding: int) -> list[Figure]:
    """All kinds, one after the other, on one server."""
    cluster = Cluster(folder / "postgresql")
    figures: list[Figure] = []
    try:
        server = LoginServer(cluster, folder, subscribers, SECRET)
        server.start()
        try:
            made = {
                "clear text": [pap(k, f"clear-{k}") for k in range(subscribers)],
                "NT": [ms_chap(k, f"nt-{k}") for k in range(subscribers)],
                "argon2id, cold": [pap(k, f"hash-{k}") for k in range(server.hashed)],
                "argon2id, warm": [pap(k % server.hashed, f"hash-{k % server.hashed}") for k in range(subscribers)],
            }
            for kind, packets in made.items():
                before = machine.cpu(server.pid, cluster.pid)
                run = load.drive(server.auth_port, packets, SECRET.encode(), ACCESS_ACCEPT, outstanding)
                used = machine.cpu(server.pid, cluster.pid).since(before, run.sent)
                figures.append(
                    Figure(
                        kind, run.sent, outstanding, run.per_second, run.percentile_ms(50), run.percentile_ms(99),
                        run.unexpected + run.unverified, used["server_us"],
                    )
                )  # fmt: skip
            count = max(1, subscribers // 10)
            before = machine.cpu(server.pid, cluster.pid)
            seconds, latencies, refused = drive_eap(server.auth_port, server.folder, count, min(outstanding, count))
            used = machine.cpu(server.pid, cluster.pid).since(before, count)
            middle, last = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
            figures.append(
                Figure(
                    "EAP-TLS",
                    count,
                    outstanding,
                    count / seconds,
                    middle * 1000,
                    last * 1000,
                    refused,
                    used["server_us"],
                )
            )
        finally:
            server.stop()
    finally:
        cluster.stop()
    return figures


@click.command()
@click.option(
    "--subscribers",
    type=click.IntRange(10, 50_000),
    default=5_000,
    show_default=True,
    help="Of each kind; a tenth have hashes.",
)
@click.option("--outstanding", type=click.IntRange(1, 256), default=128, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(*, subscribers: int, outstanding: int, as_json: bool) -> None:
    """Logins a second: clear text, NT hash, argon2id (cold and warm), EAP-TLS."""
    folder = Path(tempfile.mkdtemp(prefix="aaa-logins-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user when root starts it
    try:
        figures = measure(folder, subscribers, outstanding)
    except (Unusable, load.Unanswered) as error:
        raise click.ClickException(str(error)) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        click.echo(json.dumps([asdict(each) for each in figures], indent=2))
    else:
        click.echo(
            f"{'':<16}{'logins/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'server µs':>10} {'refused':>8}   {outstanding} outstanding"
        )
        for each in figures:
            click.echo(
                f"{each.kind:<16}{each.per_second:>9,.0f} {each.p50_ms:>8.1f} {each.p99_ms:>8.1f} {each.server_us:>10,.0f} {each.refused:>8}"
            )
    if any(each.refused for each in figures):
        sys.exit(1)


if __name__ == "__main__":
    main()
