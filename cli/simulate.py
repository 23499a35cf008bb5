"""`aaa nas simulate`: a NAS of paper on real sockets, to try a plan before selling it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import click

from aaa import registry
from aaa.dialects import dialect
from aaa.simulator import Event, Server, SimulatedNas, SimulatedSession, behaviour_of
from aaa.simulator.udp import Journal, Ports, now_ms
from charging.amounts import format_octets, format_rate, format_seconds, parse_rate, parse_seconds
from charging.database import reading
from cli.config import Setup, pass_setup
from cli.output import json_option, print_json
from cli.stdin import read_secret


class Amount(click.ParamType):  # type: ignore[type-arg]  # only newer ones of click have an argument
    """A value that one of charging's readers understands."""

    def __init__(self, name: str, read: object) -> None:
        self.name = name
        self._read = read

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The integer."""
        try:
            return value if isinstance(value, int) else int(self._read(str(value)))  # type: ignore[operator]
        except ValueError as error:
            self.fail(str(error), param, ctx)


RATE = Amount("rate", parse_rate)
SECONDS = Amount("duration", parse_seconds)


@click.command(epilog="Example: aaa nas simulate bras-1 alice --password secret --lasting 5m --down 20M")
@click.argument("nas_name", metavar="NAS")
@click.argument("username")
@click.option("--password", help="The subscriber's password.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--chap", is_flag=True, help="Log in by CHAP instead of PAP.")
@click.option("--server", default="127.0.0.1", show_default=True, help="The RADIUS server's address.")
@click.option("--auth-port", type=click.IntRange(1, 65535), help="Its authentication port.")
@click.option("--acct-port", type=click.IntRange(1, 65535), help="Its accounting port.")
@click.option(
    "--source", metavar="ADDR", help="Address to speak from; without it the NAS's own, if it is on this machine."
)
@click.option("--down", type=RATE, default="20M", show_default=True, help="What the subscriber would download.")
@click.option("--up", type=RATE, default="5M", show_default=True, help="What the subscriber would upload.")
@click.option("--interval", type=SECONDS, help="Report this often, whatever the server asks for.")
@click.option("--lasting", type=SECONDS, default="1m", show_default=True, help="Hang up after this time.")
@click.option("--journal", type=click.Path(path_type=Path, dir_okay=False), help="Append every event to this file.")
@json_option
@pass_setup
def simulate(
    setup: Setup,
    *,
    nas_name: str,
    username: str,
    password: str | None,
    password_stdin: bool,
    chap: bool,
    server: str,
    auth_port: int | None,
    acct_port: int | None,
    source: str | None,
    down: int,
    up: int,
    interval: int | None,
    lasting: int,
    journal: Path | None,
    as_json: bool,
) -> None:
    """Be NAS for one session of USERNAME, against a running server.

    The NAS must be registered, with a network that holds the address it speaks from (127.0.0.1 for a server on this
    machine). It moves octets at the rate it is told, reports, and obeys CoA and Disconnect as its dialect does.
    """
    if (password is None) == (not password_stdin):
        raise click.UsageError("give the password by --password or by --password-stdin")
    password = read_secret("password") if password is None else password
    with reading(setup.engine()) as connection:
        line = registry.nas_named(connection, nas_name)
    network = line.settings.network
    if network is None:
        raise click.UsageError(f"{nas_name} has no address: it speaks over TLS only, and this command over UDP")
    address = source or network.partition("/")[0]
    if ip_address(address) not in ip_network(network):
        raise click.UsageError(f"--source {address} is not in {nas_name}'s network {network}")
    to = Server((server, auth_port or setup.config.auth_port), (server, acct_port or setup.config.acct_port))
    try:
        behaviour = replace(behaviour_of(line.settings.dialect), interim_seconds=interval)
    except ValueError as error:  # a dialect of the site's own
        raise click.ClickException(str(error)) from error
    nas = SimulatedNas(
        nas_name, address, registry.open_secret(setup.key_ring(), line).encode(), line.settings.dialect, [to],
        coa_port=_coa_port(line.settings), behaviour=behaviour,
    )  # fmt: skip
    with ExitStack() as stack:
        kept = None if journal is None else Journal(journal, durable=False)
        if kept is not None:
            stack.callback(kept.close)
        try:
            ports = stack.enter_context(Ports([nas], on_event=None if as_json else _tell, journal=kept))
        except OSError as error:
            raise click.ClickException(
                f"{address}: {error.strerror}; name an address of this machine by --source"
            ) from error
        session = _play(nas, ports, username, password, (up, down), lasting, chap=chap)
    _say_end(session, as_json=as_json)


def _coa_port(settings: registry.NasSettings) -> int | None:
    """Where this NAS takes orders; None: nowhere."""
    return (dialect(settings.dialect).coa_port if settings.coa_port is None else settings.coa_port) or None


def _play(
    nas: SimulatedNas,
    ports: Ports,
    username: str,
    password: str,
    demand_bps: tuple[int, int],
    lasting: int,
    *,
    chap: bool,
) -> SimulatedSession:
    """Login, use, hang up."""
    session = nas.log_in(username, password, now_ms(), method="chap" if chap else "pap", demand_bps=demand_bps)
    ports.run(lambda: session.state != "asking", now_ms() + 60_000)
    if session.state == "refused":
        raise click.ClickException(
            f"{username} was refused" + (f": {session.reply_message}" if session.reply_message else "")
        )
    if not session.online:
        raise click.ClickException("no answer: is the server running there, and is this address one of its NASes'?")
    ports.run(lambda: not session.online, now_ms() + lasting * 1000)
    nas.log_out(session, now_ms())
    ports.run(lambda: session.stop_acked, now_ms() + 30_000)
    return session


def _tell(nas: SimulatedNas, event: Event) -> None:
    """One line for what matters of an event."""
    session = nas.sessions[-1] if nas.sessions else None
    if session is None:
        return
    seconds = (event.at - (session.started_at or event.at)) // 1000
    match event.kind:
        case "accepted" | "refused" | "ended":
            text = event.kind if event.kind != "ended" else f"ended: {session.terminate_cause}"
        case "told":
            told = [
                f"{word} {format_rate(bps)}"
                for word, bps in (("down", session.told.down_bps), ("up", session.told.up_bps))
                if bps is not None
            ]
            redirect = [f"redirect {session.told.redirect}"] if session.told.redirect is not None else []
            text = f"applies {', '.join([*told, *redirect]) or 'no limits'}"
        case "accounting-answered":
            text = (
                f"reported {format_octets(session.acked.octets_down)} down, {format_octets(session.acked.octets_up)} up"
            )
        case "order-received" | "unanswered":
            text = event.kind
        case _:
            return
    click.echo(f"{seconds:6d} s  {text}")


def _say_end(session: SimulatedSession, *, as_json: bool) -> None:
    used = session.figures(session.ended_at or now_ms())
    if as_json:
        print_json(
            {
                "username": session.username,
                "acct_session_id": session.acct_session_id,
                "octets_up": used.octets_up,
                "octets_down": used.octets_down,
                "seconds": used.seconds,
                "terminate_cause": session.terminate_cause,
                "stop_answered": session.stop_acked,
            }
        )
        return
    click.echo(
        f"{format_octets(used.octets_down)} down and {format_octets(used.octets_up)} up in {format_seconds(used.seconds)}; "
        + ("the Stop was answered" if session.stop_acked else "the Stop was not answered")
    )
