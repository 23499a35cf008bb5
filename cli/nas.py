"""`aaa nas`: the network access servers that may ask, and what is asked of them."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from aaa import dialects, registry
from aaa.dialects import wish
from aaa.nas import OCTETS_IN
from aaa.registry import NasLine, NasSettings, RegistryError
from charging.database import reading
from charging.tomlfile import NAME
from charging.transaction import run
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.dialect import DIALECT
from cli.output import Column, Record, day, iso, json_option, print_record, print_records
from cli.simulate import simulate
from cli.stdin import read_secret

F = TypeVar("F", bound=Callable[..., Any])

GENERATED_SECRET_CHARACTERS: Final = 32
_SECRET_ALPHABET: Final = string.ascii_letters + string.digits


def _coa_of(nas: Record) -> str:
    if not nas["coa_port"]:
        return "none"
    if nas["certificate"] and not nas["coa_address"]:
        return (
            "its connection"
            if nas["network"] is None
            else f"where it speaks: its connection, or port {nas['coa_port']}"
        )
    return f"{nas['coa_address'] or 'source'} port {nas['coa_port']}"


_COLUMNS: Final = (
    Column("name", "name"),
    Column("network", lambda nas: nas["network"] or "any, over TLS"),
    Column("dialect", "dialect"),
    Column("CoA to", _coa_of),
    Column("class", "enforcement_class"),
    Column("Message-Authenticator", "require_message_authenticator"),
    Column("live sessions", "live_sessions", right=True),
)
_AS_DIALECT: Final = (
    "counter_unit", "counter_bits", "counter_level", "enforcement_class", "coa_message_authenticator",
    "coa_event_timestamp",
)  # fmt: skip
_DETAILS: Final = (
    *_COLUMNS,
    Column("certificate", lambda nas: nas["certificate"] or "none"),
    Column("limit Proxy-State", "limit_proxy_state"),
    Column("counters reversed", "counters_reversed"),
    Column("counter unit", "counter_unit"),
    Column("counters from report to report", "counters_delta"),
    Column("counter bits", lambda nas: nas["counter_bits"] or "as its reports show"),
    Column("level charged", "counter_level"),
    Column("enforcement class", "enforcement_class"),
    Column("why that class", "class_because"),
    Column("Message-Authenticator in CoA", "coa_message_authenticator"),
    Column("Event-Timestamp in CoA", "coa_event_timestamp"),
    Column("on database down", "on_database_down"),
    Column("MAC authentication", "mac_authentication"),
    Column("group", lambda nas: nas["group"] or "none"),
    Column("previous secret accepted", "previous_secret_accepted"),
    Column("created", lambda nas: day(nas["created_at"])),
    Column("changed", lambda nas: day(nas["revised_at"])),
)


def _name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not NAME.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a name; use 1 to 64 of the letters a-z, digits, '.', '_', '-'")
    return value


def _coa_port(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "dialect":
        return value
    if not value.isascii() or not value.isdigit() or int(value) > 65535:
        raise click.BadParameter(f"{value!r} is not a port; write 0 to 65535, or dialect for the dialect's own")
    return int(value)


def _certificate(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """The name of a certificate; of a file, its fingerprint; `none` stays as it is."""
    from aaa import certificate_names, certificates

    if value is None or value == "none":
        return value
    try:
        if Path(value).suffix in {".pem", ".crt", ".cer"}:
            return certificate_names.fingerprint_name(certificates.read_certificate(Path(value)))
        return certificate_names.canonical_name(value)
    except (ValueError, certificates.CertificateError) as error:
        raise click.BadParameter(str(error)) from None


def _group(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not NAME.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a name; use 1 to 64 of the letters a-z, digits, '.', '_', '-'")
    return value


def _settings_options(command: F) -> F:
    """What may be said of a NAS when it is added and when it is changed. None: not said."""
    for option in reversed(
        (
            click.option("--secret", metavar="S", help="The shared secret; --secret-stdin shows it to nobody."),
            click.option("--secret-stdin", is_flag=True, help="Read the shared secret from standard input."),
            click.option("--allow-weak-secret", is_flag=True, help="Take a secret that every attacker tries first."),
            click.option(
                "--certificate",
                metavar="NAME",
                callback=_certificate,
                help="Its certificate over TLS (RadSec): dns:HOST, sha256:FINGERPRINT, subject:DN, a .pem file, or none.",
            ),
            click.option("--dialect", type=DIALECT, metavar="NAME", help="What it understands; see: aaa dialect list."),
            click.option("--coa-port", metavar="N", callback=_coa_port, help="Where it takes CoA; 0: nowhere."),
            click.option("--coa-address", metavar="A", help="Where CoA goes; 'source': where its packets come from."),
            click.option(
                "--require-message-authenticator",
                type=click.Choice(["yes", "learn", "no"]),
                help="In Access-Requests (BlastRADIUS); learn: from the first that has one.",
            ),
            click.option(
                "--limit-proxy-state/--no-limit-proxy-state",
                default=None,
                help="Refuse Proxy-State without a Message-Authenticator.",
            ),
            click.option(
                "--counters-reversed",
                type=click.Choice(["yes", "no", "dialect"]),
                help="Its Acct-Input counts what the subscriber downloads.",
            ),
            click.option(
                "--counter-unit",
                type=click.Choice([*OCTETS_IN, "dialect"]),
                help="What one of its Acct-*-Octets stands for.",
            ),
            click.option(
                "--counters-delta",
                type=click.Choice(["yes", "no", "dialect"]),
                help="Each report counts from the one before.",
            ),
            click.option(
                "--counter-bits",
                type=click.Choice(["32", "64", "dialect"]),
                help="32: no gigawords, its counters wrap; 64: they never do.",
            ),
            click.option(
                "--counter-level",
                type=click.Choice(["session", "service", "dialect"]),
                help="Which is charged where it reports services beside their session.",
            ),
            click.option(
                "--enforcement-class",
                type=click.Choice(["A", "B", "C", "D", "dialect"]),
                help="A: it stops at a volume; B: changes speed; C: ends sessions when told; D: can be told nothing.",
            ),
            click.option(
                "--coa-message-authenticator",
                type=click.Choice(["yes", "no", "auto", "dialect"]),
                help="In CoA and Disconnect; auto: both ways are tried, what is answered is remembered.",
            ),
            click.option(
                "--coa-event-timestamp",
                type=click.Choice(["yes", "no", "auto", "dialect"]),
                help="In CoA and Disconnect; auto: as above.",
            ),
            click.option(
                "--on-database-down",
                type=click.Choice(["spool", "silent"]),
                help="Its reports then: kept on this machine's disk and answered, or not answered.",
            ),
            click.option(
                "--mac-authentication/--no-mac-authentication",
                default=None,
                help="Let in who has no password but an address, which anybody can claim.",
            ),
            click.option(
                "--group",
                "nas_group",
                metavar="NAME",
                callback=_group,
                help="What zones and conditions of plans name; none: in no group.",
            ),
        )
    ):
        command = option(command)
    return command


@click.group(epilog="Example: aaa nas add bras-1 --address 192.0.2.1 --dialect mikrotik")
def nas() -> None:
    """Network access servers: who may ask."""


nas.add_command(simulate)


@nas.command(epilog="Example: aaa nas add bras-1 --address 192.0.2.1 --dialect mikrotik")
@click.argument("name", callback=_name)
@click.option("--address", metavar="ADDR[/LEN]", help="Where its packets come from; not needed with --certificate.")
@_settings_options
@json_option
@pass_setup
def add(setup: Setup, /, name: str, address: str | None, as_json: bool, **given: Any) -> None:
    """Add a NAS; running servers answer it within a second.

    Without --secret or --secret-stdin a secret of 32 characters is made and shown this once. Over TLS the certificate
    stands in its place, and the NAS may be anywhere.
    """
    if address is None and given["certificate"] in {None, "none"}:
        raise click.UsageError(
            "say where its packets come from: --address, or by what it is known over TLS: --certificate",
            click.get_current_context(),
        )
    chosen = _secret_of(given)
    settings = _changed(NasSettings(name, None if address is None else registry.canonical_network(address)), given)
    secret = chosen or "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(GENERATED_SECRET_CHARACTERS))
    engine, keys, at = setup.engine(), setup.key_ring(), now()
    run(engine, lambda connection: registry.add_nas(connection, keys, settings, secret, at))
    with reading(engine) as connection:
        record = _record(registry.nas_named(connection, name, now()))
    if chosen is not None or address is None:
        print_record(record, _DETAILS, as_json=as_json)
        return
    print_record({**record, "secret": secret}, (*_DETAILS, Column("secret", "secret")), as_json=as_json)
    click.echo("the secret is shown this once; write it into the NAS", err=True)


@nas.command("list", epilog="Example: aaa nas list --json")
@json_option
@pass_setup
def list_(setup: Setup, as_json: bool) -> None:
    """List all NASes."""
    with reading(setup.engine()) as connection:
        records = [_record(line) for line in registry.all_nases(connection, now())]
    print_records(records, _COLUMNS, as_json=as_json, none="no NAS yet; run: aaa nas add NAME --address ADDR")


@nas.command(epilog="Example: aaa nas show bras-1")
@click.argument("name")
@json_option
@pass_setup
def show(setup: Setup, name: str, as_json: bool) -> None:
    """Show one NAS. Its secret is not shown: set another one where it is lost."""
    with reading(setup.engine()) as connection:
        record = _record(registry.nas_named(connection, name, now()))
    print_record(record, _DETAILS, as_json=as_json)


@nas.command("set", epilog="Example: aaa nas set bras-1 --require-message-authenticator yes")
@click.argument("name")
@click.option("--address", metavar="ADDR[/LEN]", help="Where its packets come from; none: anywhere, over TLS only.")
@_settings_options
@click.option("--forget-previous-secret", is_flag=True, help="Accept the previous secret no more.")
@json_option
@pass_setup
def set_(
    setup: Setup, /, name: str, address: str | None, forget_previous_secret: bool, as_json: bool, **given: Any
) -> None:
    """Change a NAS; running servers notice within a second.

    With a new secret the one before stays accepted, so that the NAS can be changed without a gap; when that is done, run
    aaa nas set NAME --forget-previous-secret.
    """
    secret = _secret_of(given)
    if secret is None and not forget_previous_secret and address is None and not _says_something(given):
        raise click.UsageError("nothing to change; give at least one option", click.get_current_context())
    if secret is not None and forget_previous_secret:
        raise click.UsageError(
            "--forget-previous-secret together with a new secret would cut the NAS off; run it after the NAS was changed",
            click.get_current_context(),
        )
    network = None if address in {None, "none"} else registry.canonical_network(str(address))
    engine, at = setup.engine(), now()
    keys = None if secret is None else setup.key_ring()

    def change(connection: Any) -> NasLine:
        before = registry.nas_named(connection, name).settings
        settings = _changed(before, given)
        if address is not None:
            settings = replace(settings, network=network)
        if before.network is None and settings.network is not None and secret is None:
            raise RegistryError(
                f"over TLS {name!r} needed no secret, from an address it does; add --secret-stdin or --secret"
            )
        registry.change_nas(connection, keys, settings, at, secret=secret, forget_previous=forget_previous_secret)
        return registry.nas_named(connection, name, at)

    print_record(_record(run(engine, change)), _DETAILS, as_json=as_json)


@nas.command("rotate-secret", epilog="Example: aaa nas rotate-secret bras-1 --finish")
@click.argument("name")
@click.option("--finish", is_flag=True, help="The NAS has the new secret: the one before is accepted no more.")
@click.option("--cancel", is_flag=True, help="The NAS keeps the secret before: the new one is accepted no more.")
@json_option
@pass_setup
def rotate_secret(setup: Setup, name: str, finish: bool, cancel: bool, as_json: bool) -> None:
    """Give a NAS a new secret without a gap: both are accepted until --finish.

    The new one is shown once; write it into the NAS, then --finish. Commands to the NAS are signed with the secret that its own packets prove it has.
    """
    if finish and cancel:
        raise click.UsageError("--finish or --cancel, not both", click.get_current_context())
    engine, keys, at = setup.engine(), setup.key_ring(), now()
    secret = (
        None
        if finish or cancel
        else "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(GENERATED_SECRET_CHARACTERS))
    )

    def change(connection: Any) -> NasLine:
        if secret is not None:
            registry.begin_secret(connection, keys, name, at, secret=secret)
        else:
            registry.end_secret(connection, keys, name, at, keep="new" if finish else "previous")
        return registry.nas_named(connection, name, at)

    line = run(engine, change)
    if as_json:
        print_record({**_record(line), **({} if secret is None else {"secret": secret})}, _DETAILS, as_json=True)
    elif secret is not None:
        click.echo(f"new secret of {name}, shown only now: {secret}")
        click.echo(f"the one before is accepted too, until: aaa nas rotate-secret {name} --finish")
    else:
        click.echo(f"{name} has one secret now, the {'new' if finish else 'previous'} one")


@nas.command(epilog="Example: aaa nas remove bras-1")
@click.argument("name")
@click.option("--force", is_flag=True, help="Also with live sessions; nobody can disconnect them then.")
@pass_setup
def remove(setup: Setup, name: str, force: bool) -> None:
    """Remove a NAS; its packets are answered no more."""
    run(setup.engine(), lambda connection: registry.remove_nas(connection, name, with_live_sessions=force))
    click.echo(f"removed NAS {name}")


@nas.command(epilog="Example: aaa nas audit")
@json_option
@pass_setup
def audit(setup: Setup, as_json: bool) -> None:
    """List what makes NASes open to forged answers and guessed secrets, and how to mend it."""
    engine = setup.engine()
    with reading(engine) as connection:
        lines = registry.all_nases(connection)
    records = [{**_record(line), "findings": _findings(setup, line)} for line in lines]
    columns = (
        Column("name", "name"),
        Column("network", "network"),
        Column("Message-Authenticator", "require_message_authenticator"),
        Column("finding", "finding"),
    )
    if as_json:
        print_records(records, columns, as_json=True, none="")
        return
    each = [{**record, "finding": finding} for record in records for finding in record["findings"]]
    print_records(each, columns, as_json=False, none=f"{len(lines)} NASes, nothing found")


def _findings(setup: Setup, line: NasLine) -> list[str]:
    settings = line.settings
    found: list[str] = []
    if settings.network is None:
        return found  # TLS signs everything, and the secret is not used
    change = f"aaa nas set {settings.name}"
    if settings.require_message_authenticator == "no":
        found.append(f"Message-Authenticator is not required; run: {change} --require-message-authenticator learn")
    elif settings.require_message_authenticator == "learn":
        found.append(
            "Message-Authenticator has not been seen yet; when the NAS sends it, "
            f"it is required from then on, or run: {change} --require-message-authenticator yes"
        )
    if settings.require_message_authenticator != "yes" and not settings.limit_proxy_state:
        found.append(f"Proxy-State is taken without a Message-Authenticator; run: {change} --limit-proxy-state")
    weakness = registry.secret_weakness(registry.open_secret(setup.key_ring(), line))
    if weakness is not None:
        found.append(f"the secret is weak: {weakness}; run: {change} --secret-stdin")
    if line.previous_secret_sealed is not None:
        found.append(f"the previous secret is still accepted; run: aaa nas rotate-secret {settings.name} --finish")
    return found


def _secret_of(given: dict[str, Any]) -> str | None:
    """The secret that the operator chose, checked; None where none was given."""
    secret: str | None = given.pop("secret")
    from_stdin, weak_allowed = given.pop("secret_stdin"), given.pop("allow_weak_secret")
    if from_stdin:
        if secret is not None:
            raise click.UsageError("give --secret or --secret-stdin, not both", click.get_current_context())
        secret = read_secret("shared secret")
    if secret is None:
        return None
    if not secret or not secret.isprintable() or len(secret.encode()) > registry.MOST_SECRET_OCTETS:
        raise RegistryError(f"the secret must be 1 to {registry.MOST_SECRET_OCTETS} printable characters")
    if registry.is_known_secret(secret) and not weak_allowed:
        raise RegistryError(
            "that secret is a known default that every attacker tries first; leave --secret out and one is made, "
            "or add --allow-weak-secret"
        )
    weakness = registry.secret_weakness(secret)
    if weakness is not None:
        click.echo(f"warning: a weak secret, {weakness}; leave --secret out and a strong one is made", err=True)
    return secret


def _says_something(given: dict[str, Any]) -> bool:
    return any(value is not None for value in given.values())


def _changed(settings: NasSettings, given: dict[str, Any]) -> NasSettings:
    """The settings with what the options said."""
    said = {key: value for key, value in given.items() if value is not None}
    if said.get("coa_port") == "dialect":
        said["coa_port"] = None
    if said.get("nas_group") == "none":
        said["nas_group"] = ""
    if said.get("certificate") == "none":
        said["certificate"] = None
    if "coa_address" in said:
        address = said["coa_address"]
        said["coa_address"] = None if address == "source" else registry.canonical_address(address)
    for flag in ("counters_reversed", "counters_delta"):
        if flag in said:
            said[flag] = {"yes": True, "no": False, "dialect": None}[said[flag]]
    for key in _AS_DIALECT:
        if said.get(key) == "dialect":
            said[key] = None
    if said.get("counter_bits") is not None:
        said["counter_bits"] = int(said["counter_bits"])
    return replace(settings, **said)


def _late(line: NasLine) -> list[str]:
    if not line.late_sessions:
        return []
    return [f"{line.late_sessions} live sessions do not report as often as asked: their own interval is counted with"]


def _record(line: NasLine) -> dict[str, Any]:
    settings = line.settings
    speaks = dialects.dialect(settings.dialect)
    reversed_, delta = settings.counters_reversed, settings.counters_delta
    coa_port = speaks.coa_port if settings.coa_port is None else settings.coa_port
    stands = line.standing
    return {
        "name": settings.name,
        "network": settings.network,
        "certificate": settings.certificate,
        "dialect": settings.dialect,
        "coa_address": settings.coa_address,
        "coa_port": coa_port,
        "require_message_authenticator": settings.require_message_authenticator,
        "limit_proxy_state": settings.limit_proxy_state,
        "counters_reversed": speaks.counters_reversed if reversed_ is None else reversed_,
        "counter_unit": settings.counter_unit or speaks.counter_unit,
        "counters_delta": speaks.counters_delta if delta is None else delta,
        "counter_bits": settings.counter_bits or speaks.counter_bits,
        "counter_level": settings.counter_level or "session",
        "enforcement_class": stands.enforcement_class,
        "enforcement_means": stands.means,
        "class_because": [*stands.why, *_late(line)],
        "coa_message_authenticator": settings.coa_message_authenticator
        or wish(speaks, usual=speaks.message_authenticator),
        "coa_event_timestamp": settings.coa_event_timestamp or wish(speaks, usual=speaks.event_timestamp),
        "on_database_down": settings.on_database_down,
        "mac_authentication": settings.mac_authentication,
        "group": settings.nas_group or None,
        "previous_secret_accepted": line.previous_secret_sealed is not None,
        "live_sessions": line.live_sessions,
        "created_at": iso(line.created_at),
        "revised_at": iso(line.revised_at),
    }
