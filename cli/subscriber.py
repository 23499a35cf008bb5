"""`aaa subscriber`: who logs in."""

from __future__ import annotations

import os
import secrets
import string
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import click
from sqlalchemy import Connection, Engine

from aaa import enrolment, registry
from aaa.enrolment import EnrolmentError, Entry, Faults
from aaa.messages import station
from aaa.passwords import Credential, Kept, allowed_methods, hash_password, hash_secret, nt_hash, totp
from aaa.registry import Newcomer, RegistryError, SubscriberLine
from charging import catalogue
from charging.arrangement import Change, Pause, Resume, When
from charging.catalogue import Status
from charging.database import reading
from charging.notices.contact import Contact
from charging.plan import Instant
from charging.transaction import run
from cli.clock import now
from cli.conditions import condition_texts
from cli.config import Setup, pass_setup
from cli.entitlement import change as change_entitlement
from cli.entitlement import entitlement_options, says_something
from cli.output import Column, Record, day, iso, json_option, print_json, print_record, print_records
from cli.stdin import read_secret

T = TypeVar("T")

GENERATED_PASSWORD_CHARACTERS: Final = 12
#: 151 bits: nobody guesses it, so a fast hash protects it.
GENERATED_SECRET_CHARACTERS: Final = 26
#: Without those that look like another one on paper.
_PASSWORD_ALPHABET: Final = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lI")))
DEFAULT_LIMIT: Final = 1000
MOST_LISTED: Final = 1_000_000
#: So many at once are checked and settled.
BATCH: Final = 500
#: And so many hashed, between two steps of the progress bar.
HASHED_AT_ONCE: Final = 50

_COLUMNS: Final = (
    Column("user name", "username"),
    Column("account", "account"),
    Column("plan", "plan"),
    Column("status", "status"),
    Column("expires (UTC)", lambda record: day(record["expires_at"])),
    Column("live sessions", "live_sessions", right=True),
)
_DETAILS: Final = (
    *_COLUMNS,
    Column("password kept", "password_kept"),
    Column("one-time code", "one_time_code"),
    Column("logs in by", "methods"),
    Column("sessions at most", lambda record: record["max_sessions"] or "as the plan says"),
    Column("reply attributes", "reply_attributes"),
    Column("own addresses", "own_addresses"),
    Column("only", "conditions"),
    Column("devices learned", "devices_learned"),
    Column("e-mail", "email"),
    Column("phone", "phone"),
    Column("language", lambda record: record["language"] or "as configured"),
    Column("period", lambda record: record["period_state"]),
    Column("period ends (UTC)", lambda record: None if (end := record["period_ends_at"]) is None else end[:16]),
    Column("next plan", "next_plan"),
    Column("created", lambda record: day(record["created_at"])),
)


#: Kept encrypted.
_SEALED: Final = frozenset({"reversible", "nt-hash"})
_ONLY_ITS_HASH: Final = {
    "reversible": "CHAP needs the password, and only its hash is known",
    "nt-hash": "the NT hash is made from the password, and that is not known",
    "argon2id": "the hash is made from the password, and that is not known",
}
_KEEP_HELP: Final = (
    "How the password is kept: argon2id, for PAP; reversible, for everything; nt-hash, for MS-CHAP; secret: one is made that "
    "nobody can guess; none: only a certificate or an address lets in."
)


def _username(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    fault = None if value is None else enrolment.name_fault("name", value)
    if fault is not None:
        raise click.BadParameter(fault)
    return value


@click.group(epilog="Example: aaa subscriber add alice --plan prepaid-50")
def subscriber() -> None:
    """Subscribers: who logs in."""


@subscriber.command(epilog="Example: aaa subscriber add alice --plan prepaid-50 --expires 2027-01-31")
@click.argument("username", callback=_username)
@click.option("--plan", "plan_name", required=True, metavar="P", help="What the subscriber buys.")
@click.option("--account", metavar="A", callback=_username, help="Who pays; without it an account of the same name.")
@click.option("--password", metavar="P", help="The password; --password-stdin shows it to nobody.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--allow-chap", is_flag=True, help="Keep the password encrypted instead of hashed, as CHAP needs it.")
@click.option("--keep", type=click.Choice(get_args(Kept)), help=_KEEP_HELP)
@click.option(
    "--max-sessions", type=click.IntRange(1, enrolment.MOST_SESSIONS), metavar="N", help="Instead of the plan's."
)
@click.option("--expires", metavar="DAY", help="The last day of service, for example 2027-01-31.")
@click.option("--email", metavar="ADDR", help="Where notices go.")
@click.option("--phone", metavar="NUMBER", help="For notices by SMS: + and digits.")
@click.option("--language", metavar="L", help="Of notices: en, de, es, or one of your templates.")
@json_option
@pass_setup
def add(
    setup: Setup,
    /,
    *,
    username: str,
    plan_name: str,
    account: str | None,
    password: str | None,
    password_stdin: bool,
    allow_chap: bool,
    keep: Kept | None,
    max_sessions: int | None,
    expires: str | None,
    email: str | None,
    phone: str | None,
    language: str | None,
    as_json: bool,
) -> None:
    """Add a subscriber, with the plan's allowances.

    Without --password or --password-stdin a password is made and shown this once. Without --account an account of the
    same name is made, in the plan's currency.
    """
    chosen = _password_of(password, from_stdin=password_stdin)
    contact = _contact(email, phone, language)
    keep = _kept(keep, allow_chap=allow_chap or None) or "argon2id"
    clear = _to_keep(keep, chosen)
    if keep == "none" and (fault := _address_fault(username)) is not None:
        raise RegistryError(fault)
    engine, at = setup.engine(), now()
    with reading(engine) as connection:
        time_zone = catalogue.current_plan(connection, plan_name).plan.time_zone
    expires_at = None if expires is None else _expiry(expires, time_zone, at)
    keys = setup.key_ring() if keep in _SEALED else None
    kept = _credential(keep, clear)
    newcomer = Newcomer(
        username,
        plan_name,
        account or username,
        argon2=kept.argon2,
        clear=kept.clear,
        nt=kept.nt,
        sha256=kept.sha256,
        max_sessions=max_sessions,
        expires_at=expires_at,
        contact=contact,
    )

    def work(connection: Connection) -> SubscriberLine:
        registry.enrol(connection, keys, [newcomer], at, setup.actor)
        return registry.subscriber_named(connection, username)

    record = _record(run(engine, work))
    _show(record, {"password": None if chosen else clear}, as_json=as_json)


@subscriber.command("list", epilog="Example: aaa subscriber list --plan prepaid-50 --json")
@click.option("--account", metavar="A", help="Only those of this account.")
@click.option("--plan", "plan_name", metavar="P", help="Only those of this plan.")
@click.option("--status", type=click.Choice(["active", "suspended"]), help="Only these.")
@click.option(
    "--limit", type=click.IntRange(1, MOST_LISTED), default=DEFAULT_LIMIT, show_default=True, help="At most so many."
)
@json_option
@pass_setup
def list_(
    setup: Setup, account: str | None, plan_name: str | None, status: Status | None, limit: int, as_json: bool
) -> None:
    """List subscribers by user name."""
    with reading(setup.engine()) as connection:
        lines = registry.subscribers(
            connection, account_name=account, plan_name=plan_name, status=status, limit=limit + 1
        )
    records = [_record(line) for line in lines[:limit]]
    print_records(records, _COLUMNS, as_json=as_json, none="no subscriber; run: aaa subscriber add USERNAME --plan P")
    if len(lines) > limit:
        click.echo(f"only the first {limit}; there are more: --limit", err=True)


@subscriber.command(epilog="Example: aaa subscriber show alice")
@click.argument("username")
@json_option
@pass_setup
def show(setup: Setup, username: str, as_json: bool) -> None:
    """Show one subscriber."""
    with reading(setup.engine()) as connection:
        record = _record(registry.subscriber_named(connection, username))
    print_record(record, _DETAILS, as_json=as_json)


@subscriber.command("set", epilog="Example: aaa subscriber set alice --plan prepaid-100")
@click.argument("username")
@click.option("--plan", "plan_name", metavar="P", help="Another plan; its allowances are granted.")
@click.option("--no-grant", is_flag=True, help="With --plan, where it has no periods: without its allowances.")
@click.option(
    "--at", "when", type=click.Choice(get_args(When)), help="With --plan: at once, or from the next period on. [now]"
)
@click.option("--password", metavar="P", help="Another password; --password-stdin shows it to nobody.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--allow-chap/--no-allow-chap", default=None, help="Keep the password encrypted, for CHAP, or hashed.")
@click.option("--keep", type=click.Choice(get_args(Kept)), help=_KEEP_HELP)
@click.option(
    "--one-time-code",
    type=click.Choice(["new", "off"]),
    help="Ask for a code of six digits behind the password; or no more.",
)
@click.option("--max-sessions", metavar="N", help="A number, or 'plan' for the plan's own.")
@click.option("--expires", metavar="DAY", help="The last day of service, or 'never'.")
@entitlement_options
@click.option("--email", metavar="ADDR", help="Where notices go, or 'none'.")
@click.option("--phone", metavar="NUMBER", help="For notices by SMS: + and digits, or 'none'.")
@click.option("--language", metavar="L", help="Of notices: en, de, es, one of your templates; or 'none'.")
@json_option
@pass_setup
def set_(
    setup: Setup,
    /,
    *,
    username: str,
    plan_name: str | None,
    no_grant: bool,
    when: When | None,
    password: str | None,
    password_stdin: bool,
    allow_chap: bool | None,
    keep: Kept | None,
    one_time_code: str | None,
    max_sessions: str | None,
    expires: str | None,
    email: str | None,
    phone: str | None,
    language: str | None,
    as_json: bool,
    **entitlement: Any,
) -> None:
    """Change a subscriber.

    Live sessions go on with the plan that they began with; where a plan is sold by periods they have the new one at once,
    what the old one cost is given back in part, and the new one is charged.
    """
    context = click.get_current_context()
    if plan_name is None and (no_grant or when is not None):
        raise click.UsageError(f"{'--no-grant' if no_grant else '--at'} goes with --plan", context)
    chosen = _password_of(password, from_stdin=password_stdin)
    keep = _kept(keep, allow_chap=allow_chap)
    values: dict[str, Any] = _changed_contact(email, phone, language)
    unsaid = all(option is None for option in (chosen, keep, one_time_code, plan_name, max_sessions, expires))
    if unsaid and not values and not says_something(entitlement):
        raise click.UsageError("nothing to change; give at least one option", context)
    if max_sessions is not None:
        values["max_sessions"] = _max_sessions(max_sessions)
    engine, at = setup.engine(), now()
    with reading(engine) as connection:
        found = registry.subscriber_named(connection, username)
        plan = catalogue.current_plan(connection, plan_name or found.plan_name)
        currency = catalogue.account_named(connection, found.account_name).currency
        made = chosen
        keeping: Credential | None = None
        if chosen is not None or keep not in {None, found.password_kept} or keep == "secret":
            made = _password_to_keep(setup, connection, found, chosen, keep)
            keeping = _credential(keep or found.password_kept, made)
    code_secret = secrets.token_bytes(totp.SECRET_OCTETS) if one_time_code == "new" else None
    kept = keep or found.password_kept
    keys = setup.key_ring() if (keeping is not None and kept in _SEALED) or code_secret is not None else None
    if plan_name is not None and plan.plan.currency != currency:
        raise RegistryError(
            f"account {found.account_name!r} is in {currency}, plan {plan_name!r} in {plan.plan.currency}; "
            "choose another plan"
        )
    if expires is not None:
        values["expires_at"] = None if expires == "never" else _expiry(expires, plan.plan.time_zone, at)

    def work(connection: Connection) -> SubscriberLine:
        line = registry.subscriber_named(connection, username)
        given = change_entitlement(connection, line, entitlement, at)
        registry.change_subscriber(connection, line.subscriber_id, values | given)
        if keeping is not None:
            registry.change_password(connection, keys, line, keeping)
        if one_time_code is not None:
            registry.change_totp(connection, keys, line, code_secret)
        if plan_name is not None and (plan_name != line.plan_name or line.period is not None or when is not None):
            change = Change(plan.plan_version_id, when or "now", not no_grant)
            once = None if plan.plan.period is not None else registry.granted_as(username, plan)
            registry.arrange(connection, line, change, at, setup.actor, reference=once)
        return registry.subscriber_named(connection, username)

    record = _record(run(engine, work))
    shown = {
        "password": made if kept == "secret" and keeping is not None else None,
        "authenticator_uri": None if code_secret is None else totp.uri(code_secret, username),
    }
    _show(record, shown, as_json=as_json)


@subscriber.command(epilog="Example: aaa subscriber suspend alice")
@click.argument("username")
@json_option
@pass_setup
def suspend(setup: Setup, username: str, as_json: bool) -> None:
    """Refuse new sessions of a subscriber, and disconnect the live ones."""
    at = now()

    def work(connection: Connection) -> tuple[SubscriberLine, int]:
        cut = registry.suspend(connection, registry.subscriber_named(connection, username), at)
        return registry.subscriber_named(connection, username), cut

    line, cut = run(setup.engine(), work)
    record = {**_record(line), "disconnecting": cut}
    print_record(record, (*_DETAILS, Column("disconnecting", "disconnecting")), as_json=as_json)


@subscriber.command(epilog="Example: aaa subscriber pause alice --until 2027-01-31")
@click.argument("username")
@click.option("--until", metavar="DAY", help="The last day of the pause; without it, until: aaa subscriber resume.")
@json_option
@pass_setup
def pause(setup: Setup, username: str, until: str | None, as_json: bool) -> None:
    """Stop the clock of a period that is paid: nobody is served, and everything ends as much later."""
    engine, at = setup.engine(), now()
    with reading(engine) as connection:
        found = registry.subscriber_named(connection, username)
        zone = catalogue.current_plan(connection, found.plan_name).plan.time_zone
    until_at = None if until is None else _expiry(until, zone, at, "--until")

    def work(connection: Connection) -> SubscriberLine:
        line = registry.subscriber_named(connection, username)
        registry.arrange(connection, line, Pause(until_at), at, setup.actor)
        return registry.subscriber_named(connection, username)

    print_record(_record(run(engine, work)), _DETAILS, as_json=as_json)


@subscriber.command(epilog="Example: aaa subscriber resume alice")
@click.argument("username")
@json_option
@pass_setup
def resume(setup: Setup, username: str, as_json: bool) -> None:
    """Let a subscriber who is suspended or paused log in again."""

    at = now()

    def work(connection: Connection) -> SubscriberLine:
        found = registry.subscriber_named(connection, username)
        registry.change_subscriber(connection, found.subscriber_id, {"status": "active"})
        if found.period is not None and found.period.state == "paused":
            registry.arrange(connection, found, Resume(), at, setup.actor)
        else:
            registry.look_again(connection, found.account_id, at)
        return registry.subscriber_named(connection, username)

    print_record(_record(run(setup.engine(), work)), _DETAILS, as_json=as_json)


@subscriber.command(epilog="Example: aaa subscriber remove alice")
@click.argument("username")
@pass_setup
def remove(setup: Setup, username: str) -> None:
    """Remove a subscriber who has no live sessions. The account, its money and its ledger stay."""

    at = now()

    def work(connection: Connection) -> None:
        registry.remove_subscriber(connection, registry.subscriber_named(connection, username), at, setup.actor)

    run(setup.engine(), work)
    click.echo(f"removed subscriber {username}")


@subscriber.command("import", epilog="Example: aaa subscriber import customers.csv")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
@pass_setup
def import_(setup: Setup, file: Path, as_json: bool) -> None:
    """Add the subscribers of a CSV file: all of them, or with any fault none.

    Its first line names the columns: username,password,plan and, where wanted, account,allow_chap,max_sessions,expires,
    email,phone,language.
    Hashing takes some 20 ms of one processor for each password; one with allow_chap is encrypted instead.
    """
    engine, at = setup.engine(), now()
    entries, newcomers = _checked(engine, file, at)
    keys = setup.key_ring() if any(entry.allow_chap for entry in entries) else None
    newcomers = list(_with_passwords(entries, newcomers))

    def work(connection: Connection) -> None:
        for some in _progress("writing", newcomers, BATCH):
            registry.enrol(connection, keys, some, at, setup.actor)

    run(engine, work)
    if as_json:
        print_json({"subscribers": len(newcomers)})
    else:
        click.echo(f"added {len(newcomers)} subscribers")


# --- import --------------------------------------------------------------------------------------------------------


def _checked(engine: Engine, file: Path, at: Instant) -> tuple[list[Entry], list[Newcomer]]:
    """The file's rows, and what they come to but for the passwords. EnrolmentError names every fault."""
    faults = Faults(str(file))
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            entries = enrolment.read(lines, faults)
    except (OSError, UnicodeDecodeError) as error:
        raise EnrolmentError(f"{file}: {error}") from error
    with reading(engine) as connection:
        zones = {name: each.plan.time_zone for name, each in catalogue.current_plans(connection).items()}
        newcomers = [_newcomer(entry, zones, at, faults) for entry in entries]
        for index, problem in registry.obstacles(connection, newcomers):
            faults.add(entries[index].line, problem)
    if faults.count:
        raise EnrolmentError(str(faults))
    return entries, newcomers


def _newcomer(entry: Entry, zones: dict[str, str], at: Instant, faults: Faults) -> Newcomer:
    expires_at = None
    if entry.expires is not None:
        try:
            expires_at = enrolment.expiry(entry.expires, zones.get(entry.plan_name, "UTC"), at)
        except ValueError as error:
            faults.add(entry.line, f"expires: {error}")
    return Newcomer(
        entry.username, entry.plan_name, entry.account_name, None, None, entry.max_sessions, expires_at,
        contact=entry.contact,
    )  # fmt: skip


def _with_passwords(entries: Sequence[Entry], newcomers: Sequence[Newcomer]) -> Iterable[Newcomer]:
    """Each with what is kept of its password. argon2 lets other threads run, so all processors work."""

    def protect(pair: tuple[Entry, Newcomer]) -> Newcomer:
        entry, newcomer = pair
        clear = _octets(entry.password)
        return replace(newcomer, clear=clear) if entry.allow_chap else replace(newcomer, argon2=hash_password(clear))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for some in _progress("protecting passwords", list(zip(entries, newcomers, strict=True)), HASHED_AT_ONCE):
            yield from pool.map(protect, some)


def _progress(label: str, items: Sequence[T], batch: int) -> Iterable[Sequence[T]]:
    """The items in parts, and how far that is on a terminal."""
    with click.progressbar(length=len(items), label=label, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        for some in _parts(items, batch):
            yield some
            bar.update(len(some))


def _parts(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


# --- options -------------------------------------------------------------------------------------------------------


def _password_of(password: str | None, *, from_stdin: bool) -> str | None:
    """The password that the operator chose; None where none was given."""
    if from_stdin:
        if password is not None:
            raise click.UsageError("give --password or --password-stdin, not both", click.get_current_context())
        password = read_secret("password")
    if password is not None and (fault := enrolment.password_fault(password)) is not None:
        raise RegistryError(fault)
    return password


def _generated(characters: int) -> str:
    return "".join(secrets.choice(_PASSWORD_ALPHABET) for _ in range(characters))


def _kept(keep: Kept | None, *, allow_chap: bool | None) -> Kept | None:
    """How the password is to be kept, said by either option; None: not said."""
    if allow_chap is None:
        return keep
    if keep is not None:
        raise click.UsageError("give --keep or --allow-chap, not both", click.get_current_context())
    return "reversible" if allow_chap else "argon2id"


def _to_keep(keep: Kept, chosen: str | None) -> str | None:
    """The password: chosen, made, or none at all."""
    if keep in {"secret", "none"}:
        if chosen is not None:
            what = "a secret is made, never chosen" if keep == "secret" else "there is no password then"
            raise RegistryError(f"--keep {keep}: {what}; leave --password out")
        return _generated(GENERATED_SECRET_CHARACTERS) if keep == "secret" else None
    return chosen or _generated(GENERATED_PASSWORD_CHARACTERS)


def _credential(keep: Kept, password: str | None) -> Credential:
    """What is kept of a password; RegistryError where that can not be."""
    if password is None:
        return Credential()
    clear = _octets(password)
    match keep:
        case "reversible":
            return Credential(clear=clear)
        case "nt-hash":
            nt = nt_hash(clear)
            if nt is None:
                raise RegistryError("password: is no UTF-8 text, as MS-CHAP needs it")
            return Credential(nt=nt)
        case "secret":
            return Credential(sha256=hash_secret(clear))
        case _:
            return Credential(hash_password(clear))


def _address_fault(username: str) -> str | None:
    """Whoever logs in by an address is found by its one spelling."""
    address = station(username)
    if address is None or address == username:
        return None
    return f"{username!r} is an address in another spelling; write {address}"


def _show(record: Record, once: dict[str, str | None], *, as_json: bool) -> None:
    """A subscriber, and what is shown this once."""
    shown = {key: value for key, value in once.items() if value is not None}
    columns = (*_DETAILS, *(Column(key.replace("_", " "), key) for key in shown))
    print_record({**record, **shown}, columns, as_json=as_json)
    for key in shown:
        click.echo(f"the {key.replace('_', ' ')} is shown this once", err=True)


def _octets(password: str) -> bytes:
    return password.encode("utf-8", "surrogateescape")


def _password_to_keep(
    setup: Setup, connection: Connection, found: SubscriberLine, chosen: str | None, keep: Kept | None
) -> str | None:
    """The password that is to be kept in another way, or another password."""
    wanted = keep or found.password_kept
    if chosen is not None or wanted in {"secret", "none"}:
        return _to_keep(wanted, chosen)
    if found.password_kept != "reversible":  # noqa: S105  how it is kept, not what it is
        raise RegistryError(_ONLY_ITS_HASH[wanted] + "; add --password-stdin")
    return registry.clear_password(connection, setup.key_ring(), found).decode("utf-8", "surrogateescape")


def _contact(email: str | None, phone: str | None, language: str | None) -> Contact:
    contact = Contact(email, phone, language)
    if faults := contact.faults():
        raise RegistryError(faults[0])
    return contact


def _changed_contact(email: str | None, phone: str | None, language: str | None) -> dict[str, Any]:
    """The columns to set; `none` empties one."""
    given = {"email": email, "phone": phone, "language": language}
    changed = {name: None if text == "none" else text for name, text in given.items() if text is not None}
    _contact(**{name: changed.get(name) for name in given})
    return changed


def _max_sessions(text: str) -> int | None:
    if text == "plan":
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= enrolment.MOST_SESSIONS):
        raise click.BadParameter(
            f"{text!r} is not a number from 1 to {enrolment.MOST_SESSIONS}, nor plan",
            click.get_current_context(),
            param_hint="'--max-sessions'",
        )
    return int(text)


def _expiry(text: str, time_zone: str, at: Instant, option: str = "--expires") -> Instant:
    try:
        return enrolment.expiry(text, time_zone, at)
    except ValueError as error:
        raise RegistryError(f"{option}: {error}") from None


def _methods(line: SubscriberLine) -> list[str]:
    """What can be logged in by; an address alone also where the NAS may ask so (`aaa nas set --mac-authentication`)."""
    by_address = line.password_kept == "none" and station(line.username) is not None  # noqa: S105  no password
    return [*(["MAC"] if by_address else []), *allowed_methods(line.password_kept, with_code=line.has_totp)]


def period_record(line: SubscriberLine) -> dict[str, Any]:
    """Where a subscriber is in the periods of his plan; nothing but None where it has none."""
    period = line.period
    return {
        "period_state": None if period is None else period.state,
        "period_number": None if period is None else period.number,
        "period_ends_at": None if period is None else iso(period.end_at),
        "next_plan": None if period is None else period.next_plan_name,
    }


def _record(line: SubscriberLine) -> dict[str, Any]:
    return {
        "username": line.username,
        "account": line.account_name,
        "plan": line.plan_name,
        "status": line.status,
        "password_kept": line.password_kept,
        "one_time_code": line.has_totp,
        "methods": _methods(line),
        "max_sessions": line.max_sessions,
        "expires_at": iso(line.expires_at),
        "email": line.email,
        "phone": line.phone,
        "language": line.language,
        "live_sessions": line.live_sessions,
        "reply_attributes": [f"{name} = {text}" for name, text in line.reply_attributes],
        "own_addresses": [address for address in line.own_addresses if address is not None],
        "conditions": condition_texts(line.conditions),
        "devices_learned": list(line.stations_learned),
        **period_record(line),
        "created_at": iso(line.created_at),
    }
