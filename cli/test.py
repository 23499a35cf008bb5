"""`aaa test`: try the running server as a NAS would."""

from __future__ import annotations

import hashlib
import secrets
import socket
import time
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple

import click
from sqlalchemy import Engine

from aaa import registry, tracing, wire
from aaa.keyring import KeyRing
from aaa.passwords import mschap
from aaa.passwords.mschap import MsChap2
from aaa.passwords.nt import nt_hash
from aaa.registry import NasLine, RegistryError
from aaa.tracing import TraceLine
from aaa.trail import shown
from aaa.wire import Attribute, Code, Packet
from charging.database import reading
from charging.transaction import run
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.output import json_option, print_json, printable
from cli.stdin import read_secret
from cli.trace import print_line, record_of

METHODS: Final = ("pap", "chap", "mschapv2")
#: A session of ours for the server's books: its Calling-Station-Id and Acct-Session-Id.
STATION: Final = "aaa-test-login"
ANSWERS_WITHIN_SECONDS: Final = 3
TRIES: Final = 2
#: Running servers look twice a second who watches, and write twice a second.
WATCH_SEEN_WITHIN_SECONDS: Final = 0.8
WRITTEN_WITHIN_SECONDS: Final = 3
_ANY_CODE: Final = frozenset(Code)
_START, _STOP = 1, 2
#: Where the reason is not in the words of the trace: what to do.
_ADVICE: Final = {
    "unknown-user": "see: aaa subscriber list",
    "wrong-password": "set another one: aaa subscriber set USER --password-stdin",
    "method-not-possible": "keep the password in another way: aaa subscriber set USER --keep reversible --password-stdin",
    "suspended": "aaa subscriber resume USER, or aaa account resume",
    "expired": "aaa subscriber set USER --expires DAY",
    "exhausted": "aaa topup USER AMOUNT",
    "too-many-sessions": "see: aaa session list --user USER",
    "address-pool-exhausted": "see: aaa pool list",
    "address-pool-unknown": "see: aaa pool list, and the plan's address_pool",
    "outside-hours": "see: aaa subscriber show USER, aaa plan show PLAN",
    "nas-not-allowed": "see: aaa subscriber show USER, aaa plan show PLAN; --nas tests at another one",
    "port-type-not-allowed": "--port-type says which one the test claims",
    "station-not-allowed": "--station says which device the test claims",
    "too-many-attempts": "wait a minute: wrong passwords came from this device",
}  # fmt: skip


class Proof(NamedTuple):
    """The attributes that show a password, and what an Accept must show in turn."""

    attributes: list[Attribute]
    authenticator: bytes
    server_proof: bytes | None


@click.group(epilog="Example: aaa test login alice --method mschapv2")
def test() -> None:
    """Try the running server as a NAS would."""


@test.command(epilog="Example: aaa test login alice --password-stdin < password.txt")
@click.argument("username")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input; else it is asked for.")
@click.option(
    "--method", type=click.Choice(METHODS), default="pap", show_default=True, help="How the password is shown."
)
@click.option("--server", metavar="ADDR", default="127.0.0.1", show_default=True, help="Where the server listens.")
@click.option("--auth-port", type=click.IntRange(1, 65535), help="Its port for logins; without it the configuration's.")
@click.option(
    "--acct-port", type=click.IntRange(1, 65535), help="Its port for reports; without it the configuration's."
)
@click.option(
    "--nas", "nas_name", metavar="N", help="As which NAS; without it, the one that this machine's address is."
)
@click.option("--station", metavar="A", default=STATION, show_default=True, help="The device that it claims to be.")
@click.option("--port-type", metavar="T", default="Virtual", show_default=True, help="The kind of port.")
@json_option
@pass_setup
def login(
    setup: Setup,
    /,
    username: str,
    *,
    password_stdin: bool,
    method: str,
    server: str,
    auth_port: int | None,
    acct_port: int | None,
    nas_name: str | None,
    station: str,
    port_type: str,
    as_json: bool,
) -> None:
    """Log a subscriber in at the running server, say what it answered and why, and log out again.

    It is a real login: it counts, it needs money, and it is refused where the subscriber's own would be. The session that it opens
    is ended at once, without usage. This machine must be a NAS of the server: aaa nas add test --address 127.0.0.1
    """
    password = (
        read_secret("password") if password_stdin else click.prompt("password", hide_input=True, err=True)
    ).encode("utf-8", "surrogateescape")
    engine = setup.engine()
    ports = (auth_port or setup.config.auth_port, acct_port or setup.config.acct_port)
    nas, secret = _nas_for(engine, setup.key_ring(), server, nas_name)
    proof = _proof(method, username, password)
    more: list[Attribute] = [("Calling-Station-Id", station), ("NAS-Port-Type", port_type)]
    at = now()
    watch_id = run(engine, lambda connection: tracing.watch(connection, None, nas.settings.name, at + 30_000))
    try:
        time.sleep(WATCH_SEEN_WITHIN_SECONDS)
        answer, line = _try(engine, nas, secret, (server, *ports), username, proof, more)
    finally:
        run(engine, lambda connection: tracing.unwatch(connection, watch_id))
    accepted = answer is not None and answer.code == Code.ACCESS_ACCEPT
    reason = _reason(line)
    if as_json:
        print_json(
            {
                "result": "silence" if answer is None else Code(answer.code).name.lower().replace("_", "-"),
                "reason": reason,
                "attributes": [] if answer is None else [shown(each) for each in wire.decode(answer)],
                "server_proof": _server_is_proven(answer, proof),
                "trace": None if line is None else record_of(line),
            }
        )
    else:
        _explain(answer, proof, line, reason, username, f"{server} port {ports[0]}")
    if not accepted:
        raise click.exceptions.Exit(1)


def _try(
    engine: Engine,
    nas: NasLine,
    secret: bytes,
    server: tuple[str, int, int],
    username: str,
    proof: Proof,
    more: list[Attribute],
) -> tuple[Packet | None, TraceLine | None]:
    """The server's answer to the login, and what it wrote about it; what was opened is ended."""
    address, auth_port, acct_port = server
    began = now()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as port:
        request = wire.request(
            Code.ACCESS_REQUEST, secrets.randbelow(256), [("User-Name", username), *more, *proof.attributes], secret,
            authenticator=proof.authenticator, message_authenticator=True,
        )  # fmt: skip
        answer = _ask(port, (address, auth_port), request, secret)
        if answer is not None and answer.code == Code.ACCESS_ACCEPT:
            _log_out(port, (address, acct_port), secret, username, answer, more)
        return answer, _trace_of(engine, nas.settings.name, port.getsockname()[1], began)


def _nas_for(engine: Engine, keys: KeyRing, server: str, name: str | None) -> tuple[NasLine, bytes]:
    """The NAS that this machine is for that server, and its secret. RegistryError where it is none."""
    with reading(engine) as connection:
        if name is not None:
            found = registry.nas_named(connection, name)
        else:
            source = _source_for(server)
            fitting = [
                line
                for line in registry.all_nases(connection)
                if line.settings.network is not None and ip_address(source) in ip_network(line.settings.network)
            ]
            if not fitting:
                raise RegistryError(
                    f"no NAS has this machine's address, {source}; run: aaa nas add test --address {source}"
                )
            found = max(fitting, key=lambda line: ip_network(line.settings.network or "").prefixlen)
    return found, registry.open_secret(keys, found).encode()


def _source_for(server: str) -> str:
    """The address that our packets to the server come from."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((server, 9))
        except OSError as error:
            raise click.ClickException(f"{server}: {error}") from error
        address: str = probe.getsockname()[0]
    return address


def _proof(method: str, username: str, password: bytes) -> Proof:
    authenticator = secrets.token_bytes(16)
    if method == "pap":
        return Proof([("User-Password", password)], authenticator, None)
    if method == "chap":
        challenge = secrets.token_bytes(16)
        digest = hashlib.md5(b"\x01" + password + challenge, usedforsecurity=False).digest()
        return Proof([("CHAP-Password", b"\x01" + digest), ("CHAP-Challenge", challenge)], authenticator, None)
    nt = nt_hash(password)
    if nt is None:
        raise RegistryError("the password is no UTF-8 text, as MS-CHAP needs it")
    challenge, peer = secrets.token_bytes(16), secrets.token_bytes(16)
    name = username.encode()
    response = mschap.challenge_response(mschap.challenge_hash(peer, challenge, name), nt)
    octets = b"\x01\x00" + peer + bytes(8) + response
    expected = b"\x01" + mschap.authenticator_response(MsChap2(1, challenge, peer, response, name), nt)
    return Proof([("MS-CHAP-Challenge", challenge), ("MS-CHAP2-Response", octets)], authenticator, expected)


def _ask(port: socket.socket, address: tuple[str, int], request: bytes, secret: bytes) -> Packet | None:
    """The server's answer, proven to be its own; None where there is none."""
    port.settimeout(ANSWERS_WITHIN_SECONDS)
    for _ in range(TRIES):
        try:
            port.sendto(request, address)
            answer = wire.parse(port.recv(4096), _ANY_CODE)
        except (TimeoutError, ConnectionRefusedError):
            continue
        except wire.Malformed:
            return None
        return answer if wire.verify_reply(answer, request, secret) else None
    return None


def _log_out(
    port: socket.socket, address: tuple[str, int], secret: bytes, username: str, accept: Packet, more: list[Attribute]
) -> None:
    """End the session: a Start and a Stop without usage."""
    session: list[Attribute] = [
        ("User-Name", username), ("Acct-Session-Id", f"{STATION}-{secrets.token_hex(4)}"), *more,
        *(("Class", value) for value in accept.all(25)),
    ]  # fmt: skip
    for kind in (_START, _STOP):
        request = wire.request(
            Code.ACCOUNTING_REQUEST, secrets.randbelow(256), [("Acct-Status-Type", kind), *session], secret,
            message_authenticator=False,
        )  # fmt: skip
        if _ask(port, address, request, secret) is None:
            click.echo(
                f"the session was not ended: no answer from port {address[1]}; it is given up after two minutes",
                err=True,
            )
            return


def _trace_of(engine: Engine, nas: str, port: int, since: int) -> TraceLine | None:
    """Our login in the history, known by the port that it came from, as soon as the server has written it."""
    ours = f" port {port}: "
    for _ in range(WRITTEN_WITHIN_SECONDS * 10):
        with reading(engine) as connection:
            found = tracing.lines(connection, username=None, nas=nas, since=since, limit=20)
        for line in found:
            if line.kind == "login" and line.steps and ours in line.steps[0][1]:
                return line
        time.sleep(0.1)
    return None


def _reason(line: TraceLine | None) -> str | None:
    """The refusal's own word, out of the last step."""
    if line is None:
        return None
    words = [words for _, words in line.steps if words.startswith(("Access-Reject: ", "silence: "))]
    return words[-1].split(": ", 1)[1].split(",")[0].split(" ")[0] if words else None


def _server_is_proven(answer: Packet | None, proof: Proof) -> bool | None:
    """Has the server shown that it knows the password too? None: this method does not ask it to."""
    if proof.server_proof is None or answer is None or answer.code != Code.ACCESS_ACCEPT:
        return None
    return ("MS-CHAP2-Success", proof.server_proof) in wire.decode(answer)


def _explain(
    answer: Packet | None, proof: Proof, line: TraceLine | None, reason: str | None, username: str, where: str
) -> None:
    if answer is None:
        click.echo(f"no answer from {where}, or none that is signed with this NAS's secret")
        click.echo("is it running (aaa serve), on this database, and reachable? its log says why a packet is dropped")
    else:
        result = {Code.ACCESS_ACCEPT: "let in", Code.ACCESS_REJECT: "refused"}.get(Code(answer.code), "asked for more")
        click.echo(f"{printable(username)} is {result}" + (f": {reason}" if reason else ""))
        if _server_is_proven(answer, proof) is False:
            click.echo("but the server did not prove that it knows the password (MS-CHAP2-Success)")
    if reason in _ADVICE:
        click.echo(f"  {_ADVICE[reason].replace('USER', username)}")
    if line is not None:
        print_line(line)
    elif answer is not None:
        click.echo("the server wrote no trace: it runs on another database, or its clock is another one")
