"""`aaa pool`: the addresses that sessions get."""

from __future__ import annotations

from typing import Any, Final

import click

from charging import pools
from charging.addresses import Kind
from charging.database import reading
from charging.pools import LeaseLine, PoolError, RangeLine
from charging.tomlfile import NAME
from charging.transaction import run
from cli.clock import now
from cli.config import Setup, pass_setup
from cli.output import Column, day, iso, json_option, print_json, print_records

DEFAULT_LIMIT: Final = 1000
_GIVES: Final[dict[Kind, str]] = {
    "ipv4": "Framed-IP-Address",
    "ipv6": "Framed-IPv6-Address",
    "prefix": "Framed-IPv6-Prefix",
    "delegated": "Delegated-IPv6-Prefix",
}
_COLUMNS: Final = (
    Column("pool", "pool"),
    Column("network", "network"),
    Column("gives", lambda record: f"{record['attribute']} /{record['prefix_length']}"),
    Column("addresses", "addresses", right=True),
    Column("leased", "leased", right=True),
    Column("own", "own", right=True),
    Column("added (UTC)", lambda record: day(record["created_at"])),
)
_LEASES: Final = (
    Column("address", "address"),
    Column("gives", "attribute"),
    Column("leased to account", "account"),
    Column("own of", "username"),
)


def _name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not NAME.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a name; use 1 to 64 of the letters a-z, digits, '.', '_', '-'")
    return value


@click.group(epilog="Example: aaa pool add home 100.64.0.0/18")
def pool() -> None:
    """Address pools: what sessions get their addresses from.

    A plan names its pool in the profile: address_pool = "home". A session gets one address of each kind that the pool has, and
    has it until the session ends.
    """


@pool.command(epilog="Example: aaa pool add home 2001:db8:100::/40 --delegate 56")
@click.argument("name", callback=_name)
@click.argument("network")
@click.option("--each", type=click.IntRange(32, 128), metavar="LEN", help="Of IPv6: a prefix of this length each (64).")
@click.option(
    "--delegate", type=click.IntRange(32, 64), metavar="LEN", help="Of IPv6: to delegate, of this length each."
)
@json_option
@pass_setup
def add(setup: Setup, name: str, network: str, each: int | None, delegate: int | None, as_json: bool) -> None:
    """Add a network to a pool: IPv4 addresses; IPv6 prefixes of 64 bits for the line, or with --each 128 addresses; or with
    --delegate prefixes for the customer's own network. The pool is made where it is not there."""
    parsed = pools.parse_network(network)
    kind, length = _cut(parsed, each, delegate)
    at = now()
    made = run(setup.engine(), lambda connection: pools.add_range(connection, name, parsed, kind, length, at))
    if as_json:
        print_json({"pool": name, "network": str(parsed), "attribute": _GIVES[kind], "addresses": made})
    else:
        click.echo(f"pool {name}: {made} more of {_GIVES[kind]}")


def _cut(network: pools.Network, each: int | None, delegate: int | None) -> tuple[Kind, int]:
    if network.version == 4:
        if each is not None or delegate is not None:
            raise PoolError("--each and --delegate are for IPv6; a session gets one IPv4 address")
        return "ipv4", 32
    if each is not None and delegate is not None:
        raise PoolError("give --each or --delegate, not both; one network can not serve both")
    if delegate is not None:
        return "delegated", delegate
    return ("ipv6", 128) if each == 128 else ("prefix", 64 if each is None else each)


@pool.command("list", epilog="Example: aaa pool list --json")
@json_option
@pass_setup
def list_(setup: Setup, as_json: bool) -> None:
    """List all pools with their networks, and how many of their addresses are taken."""
    with reading(setup.engine()) as connection:
        records = [_record(line) for line in pools.ranges(connection)]
    print_records(records, _COLUMNS, as_json=as_json, none="no pool yet; run: aaa pool add NAME NETWORK")


@pool.command(epilog="Example: aaa pool show home")
@click.argument("name")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=DEFAULT_LIMIT, show_default=True, help="At most so many."
)
@json_option
@pass_setup
def show(setup: Setup, name: str, limit: int, as_json: bool) -> None:
    """Show who has which address of a pool."""
    with reading(setup.engine()) as connection:
        ranges = [_record(line) for line in pools.ranges_of(connection, name)]
        leases = [_lease(line) for line in pools.held(connection, name, limit)]
    if as_json:
        print_json({"networks": ranges, "leases": leases})
        return
    print_records(ranges, _COLUMNS, as_json=False, none="")
    click.echo()
    print_records(leases, _LEASES, as_json=False, none="nobody has an address of it")


@pool.command(epilog="Example: aaa pool remove home 100.64.0.0/18")
@click.argument("name")
@click.argument("network", required=False)
@pass_setup
def remove(setup: Setup, name: str, network: str | None) -> None:
    """Remove a network of a pool, or the whole pool, that no session has addresses of."""
    chosen = None if network is None else str(pools.parse_network(network))
    gone = run(setup.engine(), lambda connection: pools.remove(connection, name, chosen))
    click.echo(f"removed {gone} addresses of pool {name}")


def _record(line: RangeLine) -> dict[str, Any]:
    return {
        "pool": line.pool_name,
        "network": line.network,
        "attribute": _GIVES[line.kind],
        "prefix_length": line.prefix_length,
        "addresses": line.addresses,
        "leased": line.leased,
        "own": line.own,
        "created_at": iso(line.created_at),
    }


def _lease(line: LeaseLine) -> dict[str, Any]:
    return {
        "address": line.address, "attribute": _GIVES[line.kind], "account": line.account_name, "username": line.username,
    }  # fmt: skip
