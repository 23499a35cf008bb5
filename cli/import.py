"""`aaa import`: from other servers."""

from __future__ import annotations

from typing import Any, Final

import click
from sqlalchemy import Connection

from aaa import freeradius, registry, reply_attributes, rlm_sql
from aaa.freeradius import Carried, Left, NewNas, Subscriber, Wishes
from aaa.passwords import hash_password
from aaa.registry import NasSettings, Newcomer, RegistryError
from charging import catalogue, conditions
from charging.database import reading
from charging.money import parse_money
from charging.plan import Instant, Plan
from charging.tomlfile import parse_time_zone
from charging.transaction import run
from cli import radacct
from cli.amounts import Moment, amount_text
from cli.clock import now
from cli.conditions import condition_texts
from cli.config import Setup, pass_setup
from cli.output import Column, iso, json_option, print_json, print_records
from cli.radacct import Period, Told

BATCH: Final = 500
_LEFT: Final = (Column("table", "table"), Column("name", "name"), Column("is not carried over", "why"))


@click.group("import", epilog="Example: aaa import freeradius sqlite:///radius.db --currency EUR --dry-run")
def import_() -> None:
    """Take over what another server has."""


@import_.command(
    "freeradius", epilog="Example: aaa import freeradius postgresql://radius@db/radius --currency EUR --dry-run"
)
@click.argument("url")
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would come and what would stay behind.")
@click.option("--currency", metavar="C", required=True, help="Of the new plans and accounts, for example EUR.")
@click.option("--time-zone", default="UTC", show_default=True, metavar="Z", help="Of the new plans, and of Expiration.")
@click.option("--default-plan", metavar="P", help="A plan that there is, for users without a group.")
@click.option(
    "--keep", type=click.Choice(["reversible", "argon2id"]), default="reversible", show_default=True,
    help="How clear-text passwords are kept: encrypted, as CHAP and MS-CHAP need them, or hashed, for PAP only.",
)  # fmt: skip
@click.option(
    "--radacct", "with_acct", is_flag=True, help="Ended sessions of radacct too, as history that costs nothing."
)
@click.option("--from", "since", metavar="DAY", type=Moment(), help="Of radacct: what ended from this day (UTC) on.")
@click.option(
    "--to", "until", metavar="DAY", type=Moment(ends=True), help="Of radacct: up to the end of this day (UTC)."
)
@json_option
@pass_setup
def freeradius_(  # noqa: PLR0917  one for each option
    setup: Setup, url: str, dry_run: bool, currency: str, time_zone: str, default_plan: str | None, keep: str,
    with_acct: bool, since: Instant | None, until: Instant | None, as_json: bool,
) -> None:  # fmt: skip
    """Take over users, groups and NASes from FreeRADIUS's SQL tables; that database is only read: sqlite:///FILE,
    postgresql://USER@HOST/NAME, or mysql://USER@HOST/NAME.

    A user becomes a subscriber with an account of the same name, with Cleartext-Password or NT-Password, Simultaneous-Use,
    Expiration and reply attributes. The first group is the plan: a plan of that name that there is, or a new one with the
    group's rates and timeouts, its other attributes, and no price: load it again with one. What can not be carried over is
    listed and left out; what is here already stays as it is, so it can be run again. Sessions that are open there are not
    taken over: their users log in anew.

    With --radacct the sessions that have ended come too, each as one line of usage at its end, charged to nobody: for
    usage, disputes and `aaa plan shadow`.
    """
    if not with_acct and (since is not None or until is not None):
        raise click.UsageError("--from and --to say which sessions of radacct: add --radacct")
    wishes = _wishes(setup, currency, time_zone, default_plan)
    with rlm_sql.opened(url) as engine:
        carried = freeradius.carry(rlm_sql.read(engine), wishes)
        sessions = rlm_sql.open_sessions(engine)
        with reading(setup.engine()) as connection:
            _leave_what_is_here(connection, carried, wishes)
        if not dry_run:
            _write(setup, carried, keep)
        past = None
        if with_acct:
            past = radacct.take_over(setup, engine, carried, Period(time_zone, since, until), dry_run=dry_run)
    _tell(carried, sessions, past, dry_run=dry_run, as_json=as_json)


def _write(setup: Setup, carried: Carried, keep: str) -> None:
    """All of it, or nothing."""
    keys = setup.key_ring()
    at, actor = now(), setup.actor

    def work(connection: Connection) -> None:
        catalogue.load_plans(connection, carried.plans, at)
        for nas in carried.nases:
            registry.add_nas(connection, keys, _settings(nas), nas.secret, at)
        everybody = carried.subscribers
        for start in range(0, len(everybody), BATCH):
            some = everybody[start : start + BATCH]
            registry.enrol(connection, keys, [_newcomer(each, keep) for each in some], at, actor)
        for each in everybody:
            if each.suspended or each.reply_attributes or each.conditions:
                line = registry.subscriber_named(connection, each.username)
                values = {
                    "reply_attributes": reply_attributes.to_text(each.reply_attributes),
                    "conditions": conditions.to_text(each.conditions),
                }
                status = {"status": "suspended"} if each.suspended else {}
                registry.change_subscriber(connection, line.subscriber_id, values | status)

    run(setup.engine(), work)


def _wishes(setup: Setup, currency: str, time_zone: str, default_plan: str | None) -> Wishes:
    try:
        parse_money("1", currency)
        parse_time_zone(time_zone)
    except ValueError as error:
        raise RegistryError(str(error)) from None
    with reading(setup.engine()) as connection:
        known = catalogue.current_plans(connection)
        if default_plan is not None:
            catalogue.current_plan(connection, default_plan)
    return Wishes(currency, time_zone, default_plan, frozenset(known))


def _leave_what_is_here(connection: Connection, carried: Carried, wishes: Wishes) -> None:
    """What stands against the rest: names and addresses that are taken, addresses that are none."""
    currency = {plan.name: plan.currency for plan in carried.plans}
    new = {plan.name for plan in carried.plans}
    newcomers = [_newcomer(each, "none") for each in carried.subscribers]
    # A new plan is not there to be looked up yet; all else that stands against a subscriber can be seen now.
    taken = {
        index: problem
        for index, problem in registry.obstacles(connection, newcomers)
        if not (newcomers[index].plan_name in new and "no plan" in problem)
    }
    accounts = catalogue.account_currencies(connection, [each.account_name for each in newcomers])
    for index, each in enumerate(newcomers):
        _, has = accounts.get(each.account_name, (0, wishes.currency))
        if index not in taken and each.plan_name in currency and has != currency[each.plan_name]:
            taken[index] = f"account {each.account_name!r} is in {has}, not in {currency[each.plan_name]}"
    for index, problem in sorted(taken.items()):
        carried.leave("radcheck", carried.subscribers[index].username, problem)
    carried.subscribers[:] = [each for index, each in enumerate(carried.subscribers) if index not in taken]
    here = registry.all_nases(connection)
    names = {line.settings.name for line in here}
    networks = {line.settings.network for line in here}
    kept: list[NewNas] = []
    for nas in carried.nases:
        try:
            network = registry.canonical_network(nas.address)
        except RegistryError as error:
            carried.leave("nas", nas.address, str(error))
            continue
        if nas.name in names or network in networks:
            carried.leave(
                "nas", nas.address, f"there is a NAS of the name {nas.name!r} or the address {network} already"
            )
            continue
        names.add(nas.name)
        networks.add(network)
        kept.append(nas._replace(address=network))
    carried.nases[:] = kept


def _settings(nas: NewNas) -> NasSettings:
    # Who spoke to FreeRADIUS may not sign its requests yet; the server learns who does.
    return NasSettings(nas.name, nas.address, nas.dialect, require_message_authenticator="learn")


def _newcomer(each: Subscriber, keep: str) -> Newcomer:
    clear = each.password
    hashed = hash_password(clear) if keep == "argon2id" and clear is not None else None
    return Newcomer(
        each.username,
        each.plan_name,
        each.username,
        argon2=hashed,
        clear=clear if keep == "reversible" else None,
        max_sessions=each.max_sessions,
        expires_at=each.expires_at,
        nt=each.nt if clear is None else None,
    )


def _tell(carried: Carried, sessions: int, past: Told | None, *, dry_run: bool, as_json: bool) -> None:
    left = [_left_record(each) for each in carried.left]
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "subscribers": [_subscriber_record(each) for each in carried.subscribers],
                "plans": [_plan_record(each) for each in carried.plans],
                "nases": [{"name": n.name, "network": n.address, "dialect": n.dialect} for n in carried.nases],
                "left": left,
                "open_sessions": sessions,
                "past": None if past is None else past._asdict(),
            }
        )
        return
    if left:
        print_records(left, _LEFT, as_json=False, none="")
        click.echo("")
    would = "would come" if dry_run else "came"
    counts = (
        f"{len(carried.subscribers)} subscribers, {len(carried.plans)} plans, {len(carried.nases)} NASes {would}; "
        f"{len(left)} rows stay behind"
    )
    click.echo(counts)
    if past is not None:
        again = f"; {past.already} more had come before" if past.already else ""
        click.echo(f"{past.sessions} past sessions of {amount_text('octets', past.octets, '')} {would}{again}")
    if carried.plans:
        names = ", ".join(plan.name for plan in carried.plans)
        click.echo(f"the new plans charge nothing yet ({names}): write prices and allowances, see docs/plans.md")
    if sessions:
        click.echo(f"{sessions} sessions are open there; they are counted from their next login on")


def _left_record(each: Left) -> dict[str, Any]:
    return each._asdict()


def _subscriber_record(each: Subscriber) -> dict[str, Any]:
    return {
        "username": each.username,
        "plan": each.plan_name,
        "password": "clear" if each.password is not None else "nt-hash",
        "max_sessions": each.max_sessions,
        "expires_at": iso(each.expires_at),
        "suspended": each.suspended,
        "reply_attributes": [f"{name} = {value}" for name, value in each.reply_attributes],
        "conditions": condition_texts(each.conditions),
    }


def _plan_record(plan: Plan) -> dict[str, Any]:
    profile = plan.profile
    return {
        "name": plan.name,
        "rate_down_bps": profile.rate_down_bps,
        "rate_up_bps": profile.rate_up_bps,
        "max_sessions": plan.max_sessions,
        "attributes": [f"{name} = {value}" for name, value in profile.attributes],
    }
