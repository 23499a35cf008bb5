"""`aaa plan`: what is sold."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from charging import amounts, catalogue, statement
from charging.book import Counter
from charging.catalogue import CatalogueError, PlanVersion
from charging.database import reading
from charging.level import Counted, cap_of, level_of
from charging.money import format_money, parse_money
from charging.plan import Allowance, Instant, PeriodTerms, Plan, Profile, Rate, Tier, to_json
from charging.transaction import run
from charging.window import NEVER, Window
from charging.zone import Zone
from cli import removed
from cli.amounts import OCTETS, TIME, Moment, amount_text
from cli.clock import now
from cli.conditions import condition_texts
from cli.config import Setup, pass_setup
from cli.output import Column, day, iso, json_option, print_json, print_record, print_records

MOST_FILE_OCTETS: Final = 16 * 2**20
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@click.group(epilog="Example: aaa plan load plans.toml")
def plan() -> None:
    """Plans: what is sold."""


@plan.command(epilog="Example: aaa plan load plans.toml")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
@pass_setup
def load(setup: Setup, file: Path, as_json: bool) -> None:
    """Load the plans of a TOML file: all of them, or with any fault none.

    A plan whose content has changed gets a new version. Sessions keep the version that they began with.
    """
    plans = plans_of(file)
    if problems := _unsayable(plans):
        raise CatalogueError("\n".join(f"{file}: {problem}" for problem in problems))
    at = now()
    loaded = run(setup.engine(), lambda connection: catalogue.load_plans(connection, plans, at))
    records = [{"name": each.name, "version": each.number, "new": each.new} for each in loaded]
    columns = (
        Column("plan", "name"),
        Column("version", "version", right=True),
        Column("", lambda record: "new" if record["new"] else "unchanged"),
    )
    print_records(records, columns, as_json=as_json, none="no plans")


def plans_of(file: Path) -> list[Plan]:
    """The plans of a TOML file; PlanFileError with all of its faults."""
    from charging import planfile

    return planfile.load(_text_of(file), str(file))


@plan.command("list", epilog="Example: aaa plan list")
@json_option
@pass_setup
def list_(setup: Setup, as_json: bool) -> None:
    """List all plans with their newest version."""
    with reading(setup.engine()) as connection:
        versions = catalogue.current_plans(connection)
        counts = catalogue.subscribers_by_plan(connection)
    records = [
        {
            "name": name,
            "version": each.number,
            "currency": each.plan.currency,
            "rate_down_bps": each.plan.profile.rate_down_bps,
            "rate_up_bps": each.plan.profile.rate_up_bps,
            "exhausted": each.plan.exhausted.action,
            "subscribers": counts.get(name, 0),
            "loaded_at": iso(each.loaded_at),
        }
        for name, each in versions.items()
    ]
    columns = (
        Column("plan", "name"),
        Column("version", "version", right=True),
        Column("currency", "currency"),
        Column("down", lambda record: _rate(record["rate_down_bps"])),
        Column("up", lambda record: _rate(record["rate_up_bps"])),
        Column("exhausted", "exhausted"),
        Column("subscribers", "subscribers", right=True),
        Column("loaded", lambda record: day(record["loaded_at"])),
    )
    print_records(records, columns, as_json=as_json, none="no plan yet; run: aaa plan load FILE")


@plan.command(epilog="Example: aaa plan show prepaid-50 --version 2")
@click.argument("name")
@click.option("--version", "number", type=click.IntRange(min=1), metavar="N", help="An older version.")
@json_option
@pass_setup
def show(setup: Setup, name: str, number: int | None, as_json: bool) -> None:
    """Show a plan, and which versions of it there are."""
    with reading(setup.engine()) as connection:
        versions = catalogue.plan_versions(connection, name)
    chosen = next((each for each in versions if number in {None, each.number}), None)
    if chosen is None:
        raise CatalogueError(f"plan {name!r} has no version {number}; its newest is {versions[0].number}")
    record = {
        "name": name,
        "version": chosen.number,
        "loaded_at": iso(chosen.loaded_at),
        "digest": chosen.digest,
        "plan": json.loads(to_json(chosen.plan)),
        "versions": [{"version": each.number, "loaded_at": iso(each.loaded_at)} for each in versions],
    }
    print_record(record, _columns(chosen, versions), as_json=as_json)


@plan.command(epilog="Example: aaa plan profile home --octets 60GB --at 2026-12-24T22:50")
@click.argument("name")
@click.option(
    "--octets", "down", type=OCTETS, default=0, help="Used in the period, to the subscriber; the same as --down."
)
@click.option("--down", "more", type=OCTETS, default=0, help="Used in the period, to the subscriber.")
@click.option("--up", type=OCTETS, default=0, help="Used in the period, from the subscriber.")
@click.option("--seconds", type=TIME, default=0, help="On line in the period.")
@click.option("--money", metavar="AMOUNT", help="Spent in the period.")
@click.option("--at", metavar="WHEN", help="At that moment, in the plan's time zone; otherwise now.")
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A plan file.")
@json_option
@pass_setup
def profile(setup: Setup, /, name: str, file: Path | None, as_json: bool, **asked: Any) -> None:
    """Say which profile a session of a plan has at a moment, and why: by the hour, by fair use, at a cap.

    What was used is taken as used in each period that the plan counts: its day, its week, its month.
    """
    sold = plan_named(setup, name, file)
    at = moment(asked["at"], sold.time_zone)
    try:
        spent = 0 if asked["money"] is None else parse_money(asked["money"], sold.currency)
    except ValueError as error:
        raise click.UsageError(f"--money: {error}") from error
    octets = {"down": asked["down"] + asked["more"], "up": asked["up"]}
    octets["total"] = octets["down"] + octets["up"]

    def counted(counter: Counter) -> int:
        _, _, unit, direction, _ = counter.name.split(":")
        used: int = {"money": spent, "seconds": asked["seconds"]}.get(unit, octets[direction])
        return used

    record = _level(sold, counted, at)
    if as_json:
        print_json(record)
        return
    click.echo(record["profile"] or record["action"])
    for title in ("why", "until"):
        if record[title] is not None:
            click.echo(f"{title}  {record[title]}")


def _level(sold: Plan, counted: Counted, at: Instant) -> dict[str, Any]:
    capped = cap_of(counted, 0, sold, at)
    if capped is not None:
        then, until, why = capped.cap.reached, capped.until, f"cap {capped.cap.name}"
        named = None if then.profile is None else then.profile.name
        action: str = then.action
    else:
        level = level_of(counted, 0, sold, at)
        named, until, why, action = level.profile or sold.profile.name, level.until, level.why, "full"
    local = None if until >= NEVER else datetime.fromtimestamp(until // 1000, ZoneInfo(sold.time_zone)).isoformat()
    return {"plan": sold.name, "action": action, "profile": named, "why": why or None, "until": local}


def plan_named(setup: Setup, name: str, file: Path | None) -> Plan:
    """The current version of a plan, or the one of a plan file that is not loaded yet."""
    if file is None:
        with reading(setup.engine()) as connection:
            return catalogue.current_plan(connection, name).plan
    known = {each.name: each for each in plans_of(file)}
    if name not in known:
        raise CatalogueError(catalogue.no_plan(name, known))
    return known[name]


def moment(text: str | None, time_zone: str) -> Instant:
    """`--at` of a command about plans: local time of the plan's zone, or with an offset of its own; None: now."""
    if text is None:
        return now()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--at: {text!r} is no moment; write for example 2026-12-24T22:50") from None
    found = found.replace(tzinfo=ZoneInfo(time_zone)) if found.tzinfo is None else found
    return (found - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _unsayable(plans: list[Plan]) -> list[str]:
    """What is wrong with the raw attributes and the port types of plans, by our dictionaries."""
    from aaa import reply_attributes
    from aaa.wire.values import value_names

    found: dict[str, None] = {}
    port_types = value_names("NAS-Port-Type")
    for each in plans:
        places = [(f"plan {each.name}", each.attributes)]
        ends = (each.exhausted.profile, *(cap.reached.profile for cap in each.caps))
        for profile in (each.profile, *each.profiles.values(), *ends):
            places += [] if profile is None else [(f"profile {profile.name}", profile.attributes)]
        for place, attributes in places:
            for name, text in attributes:
                try:
                    reply_attributes.check(name, text)
                except ValueError as error:
                    found[f"{place}: {error}"] = None
        for port_type in each.conditions.port_types:
            if port_type not in port_types:
                found[f"plan {each.name}: no port type {port_type!r}; there are {', '.join(port_types)}"] = None
    return list(found)


def _columns(chosen: PlanVersion, versions: list[PlanVersion]) -> tuple[Column, ...]:
    """Every amount of a plan as people write it."""
    sold = chosen.plan
    thresholds = [f"{percent}%" for percent in sold.thresholds_percent]
    exhausted = sold.exhausted
    then = exhausted.action + (f": {_profile(exhausted.profile)}" if exhausted.profile is not None else "")
    lines: list[tuple[str, Any]] = [
        ("plan", sold.name),
        ("version", f"{chosen.number}, loaded {day(iso(chosen.loaded_at))} UTC"),
        ("description", sold.description or None),
        ("currency", sold.currency),
        ("time zone", sold.time_zone),
        ("profile", _profile(sold.profile)),
        *([("at times", at_times)] if (at_times := _at_times(sold)) else []),
        *([("period", _period(sold.period, sold))] if sold.period is not None else []),
        ("allowances", [_allowance(each, sold.currency, sold.time_zone) for each in sold.allowances]),
        ("thresholds", ", ".join(thresholds) or None),
        ("rates", [_price(each, sold.currency, sold.time_zone) for each in sold.rates]),
        *([("windows", [_window(each) for each in sold.windows])] if sold.windows else []),
        *([("zones", [_zone(each) for each in sold.zones])] if sold.zones else []),
        ("exhausted", then),
        ("sessions", "no limit" if sold.max_sessions is None else f"at most {sold.max_sessions} at the same time"),
        ("attributes", [f"{name} = {text}" for name, text in sold.attributes]),
        ("conditions", condition_texts(sold.conditions)),
        ("rounding", f"{sold.rounding.mode}, to {sold.rounding.decimals} decimals"),
        ("versions", [f"{each.number}  {day(iso(each.loaded_at))}" for each in versions]),
    ]
    # Bound as a default: a closure would see only the last line.
    return tuple(Column(title, lambda _record, value=value: value) for title, value in lines)  # type: ignore[misc]


def _period(terms: PeriodTerms, sold: Plan) -> list[str]:
    """What is sold period by period."""
    price = format_money(terms.price_micros, sold.currency)
    found = [f"{price} for {terms.every}, {terms.renewal} renewal, begins {terms.begins}"]
    for each in terms.promotions:
        first = [] if each.periods is None else [f"the first {each.periods}"]
        when = [*first, *_dates(each.valid_from, each.valid_until, sold.time_zone)]
        found.append(f"{format_money(each.price_micros, sold.currency)} for {', '.join(when)}")
    for title, seconds in (("grace", terms.grace_seconds), ("reminder before its end", terms.remind_seconds)):
        found += [f"{title} {amounts.format_seconds(seconds)}"] if seconds else []
    return [*found, f"proration {terms.proration}"]


def _dates(first: Instant | None, until: Instant | None, time_zone: str) -> list[str]:
    """From which day, and through which, in the plan's time zone."""
    zone = ZoneInfo(time_zone)
    begins = [] if first is None else [f"from {datetime.fromtimestamp(first // 1000, zone):%Y-%m-%d}"]
    return begins + ([] if until is None else [f"until {datetime.fromtimestamp(until // 1000 - 1, zone):%Y-%m-%d}"])


def _at_times(sold: Plan) -> list[str]:
    """When sessions have another profile, or none."""
    found = [f"in {each.window}: {_profile(each.profile)}" for each in sold.profile_windows]
    if sold.fair_use is not None:
        direction = "" if sold.fair_use.direction == "total" else f" {sold.fair_use.direction}"
        for step in sold.fair_use.steps:
            after = amounts.format_octets(step.after)
            found.append(f"after {after}{direction} in a {sold.fair_use.per}: {_profile(step.profile)}")
    for cap in sold.caps:
        direction = "" if cap.direction == "total" else f" {cap.direction}"
        amount = amount_text(cap.unit, cap.amount, sold.currency)
        then = cap.reached.action + ("" if cap.reached.profile is None else f": {_profile(cap.reached.profile)}")
        found.append(f"after {amount}{direction} in a {cap.per}: {then}")
    return found


def _profile(profile: Profile) -> str:
    parts = [f"{profile.name}: down {_rate(profile.rate_down_bps)}, up {_rate(profile.rate_up_bps)}"]
    for title, bps in (("burst down", profile.burst_down_bps), ("burst up", profile.burst_up_bps)):
        parts += [f"{title} {_rate(bps)}"] if bps is not None else []
    parts.append(f"reports every {amounts.format_seconds(profile.interim_interval_seconds)}")
    for title, seconds in (
        ("session timeout", profile.session_timeout_seconds),
        ("idle timeout", profile.idle_timeout_seconds),
    ):
        parts += [f"{title} {amounts.format_seconds(seconds)}"] if seconds is not None else []
    for title, value in (
        ("pool", profile.pool),
        ("address pool", profile.address_pool),
        ("filter", profile.filter),
        ("VLAN", profile.vlan),
        ("redirect to", profile.redirect_url),
        ("address list", profile.address_list),
    ):
        parts += [f"{title} {value}"] if value is not None else []
    return ", ".join([*parts, *(f"{name} = {value}" for name, value in profile.attributes)])


def _allowance(allowance: Allowance, currency: str, time_zone: str) -> str:
    direction = f" {allowance.direction}" if allowance.unit == "octets" else ""
    parts = [f"{allowance.name}: {amount_text(allowance.unit, allowance.amount, currency)}{direction}"]
    if allowance.every is not None:
        parts.append(f"every {allowance.every}")
    if allowance.validity is not None:
        parts.append(f"valid {amounts.format_duration(allowance.validity)}")
    if allowance.priority:
        parts.append(f"priority {allowance.priority}")
    if allowance.blocker:
        parts.append("when it is empty, nothing else is drawn")
    if allowance.periods is not None:
        parts.append("in the first period" if allowance.periods == 1 else f"in the first {allowance.periods} periods")
    parts += _dates(allowance.valid_from, allowance.valid_until, time_zone)
    if (rolls := allowance.roll_over) is not None:
        most = "all" if rolls.maximum is None else f"at most {amount_text(allowance.unit, rolls.maximum, currency)}"
        least = f", from {amount_text(allowance.unit, rolls.minimum, currency)} on" if rolls.minimum else ""
        parts.append(f"{most} goes over{least}, {rolls.periods} times")
    parts += _conditions(allowance)
    if not allowance.shared:
        parts.append("not shared")
    if allowance.member_cap is not None:
        cap = amount_text(allowance.unit, allowance.member_cap, currency)
        parts.append(
            f"at most {cap} per member" + (f" and {allowance.member_cap_per}" if allowance.member_cap_per else "")
        )
    return ", ".join(parts)


def _price(rate: Rate, currency: str, time_zone: str) -> str:
    direction = f" {rate.direction}" if rate.unit == "octets" else ""

    def amount(units: int) -> str:
        return f"{units} sessions" if rate.unit == "session" else amount_text(rate.unit, units, currency)

    def price(micros: int, per: int) -> str:
        if rate.mode == "flat" and rate.tiers:
            return format_money(micros, currency)
        return (
            f"{format_money(micros, currency)} per {'session' if rate.unit == 'session' and per == 1 else amount(per)}"
        )

    def tier(each: Tier) -> str:
        return price(each.price_micros, each.per) + ("" if each.upto is None else f" up to {amount(each.upto)}")

    parts = [f"{rate.name}: " if rate.name else ""]
    if rate.tiers:
        parts[0] += f"{rate.mode}{direction}: " + "; ".join(map(tier, rate.tiers))
    else:
        parts[0] += price(rate.price_micros, rate.per) + direction + (" begun" if rate.mode == "package" else "")
    if rate.first_step:
        parts.append(f"first step {amount(rate.first_step)}")
    if rate.step > 1 or rate.first_step:
        parts.append(f"in steps of {amount(rate.step)}")
    parts += [f"{format_money(rate.fee_micros, currency)} per session"] if rate.fee_micros else []
    parts += [f"the first {amount(rate.free)} free"] if rate.free else []
    parts += [f"at least {format_money(rate.minimum_micros, currency)}"] if rate.minimum_micros else []
    if rate.maximum_micros is not None:
        then = "then free" if rate.beyond == "free" else "then disconnected"
        parts.append(f"at most {format_money(rate.maximum_micros, currency)}, {then}")
    parts += [f"{rate.discount_percent}% off"] if rate.discount_percent else []
    parts += [f"counted over the {rate.accumulate}"] if rate.accumulate != "session" else []
    parts += _conditions(rate)
    parts += [f"for {' or '.join(rate.service_classes)}"] if rate.service_classes else []
    zone = ZoneInfo(time_zone)
    if rate.valid_from is not None:
        parts.append(f"from {datetime.fromtimestamp(rate.valid_from // 1000, zone):%Y-%m-%d}")
    if rate.valid_until is not None:
        parts.append(f"until {datetime.fromtimestamp(rate.valid_until // 1000 - 1, zone):%Y-%m-%d}")
    return ", ".join(parts)


def _conditions(line: Allowance | Rate) -> list[str]:
    parts = [f"in {' or '.join(line.windows)}"] if line.windows else []
    return parts + ([f"where {' or '.join(line.zones)}"] if line.zones else [])


def _window(window: Window) -> str:
    parts = [" ".join(_WEEKDAYS[day] for day in window.days)] if window.days else []
    parts += (
        [", ".join(f"{a // 60:02}:{a % 60:02}-{b // 60:02}:{b % 60:02}" for a, b in window.hours)]
        if window.hours
        else []
    )
    parts += [", ".join(a if a == b else f"{a} to {b}" for a, b in window.dates)] if window.dates else []
    return f"{window.name}: " + "; ".join(parts)


def _zone(zone: Zone) -> str:
    lists = (("NAS group", zone.nas_groups), ("called station", zone.called_stations), ("realm", zone.realms))
    return f"{zone.name}: " + "; ".join(f"{title} {' or '.join(entries)}" for title, entries in lists if entries)


def _rate(bps: int | None) -> str:
    return "no limit" if bps is None else amounts.format_rate(bps)


def _text_of(file: Path) -> str:
    try:
        if file.stat().st_size > MOST_FILE_OCTETS:
            raise click.ClickException(f"{file}: larger than {MOST_FILE_OCTETS} octets, which is no plan file")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file}: {error}") from error


# --- shadow rating -------------------------------------------------------------------------------------------------

_SHADOW: Final = (
    Column("user name", "username"),
    Column("was charged", lambda record: format_money(record["charged_micros"], record["currency"]), right=True),
    Column("would be charged", lambda record: format_money(record["shadow_micros"], record["currency"]), right=True),
    Column("difference", lambda record: format_money(record["difference_micros"], record["currency"]), right=True),
    Column("from allowances", lambda record: amounts.format_octets(record["allowances_octets"]), right=True),
    Column("time from allowances", lambda record: amounts.format_seconds(record["allowances_seconds"]), right=True),
    Column("allowances granted", "periods", right=True),
)


@plan.command(epilog="Example: aaa plan shadow new.toml home --from 2026-03-01 --to 2026-03-31 --of prepaid-50")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("name", metavar="PLAN")
@click.option("--from", "since", metavar="DAY", type=Moment(), required=True, help="Use from this day (UTC) on.")
@click.option(
    "--to", "until", metavar="DAY", type=Moment(ends=True), required=True, help="To the end of this day (UTC)."
)
@click.option("--of", "plan_name", metavar="P", help="Only subscribers who have this plan now.")
@click.option("--more", "only_more", is_flag=True, help="Show only those who would pay more.")
@json_option
@pass_setup
def shadow(
    setup: Setup, file: Path, name: str, since: Instant, until: Instant, plan_name: str | None, only_more: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Charge what was recorded in a time again, under the plan NAME of FILE, and say who would pay more. Nothing is changed.

    The plan's allowances are granted at the first use and again whenever they have ended. What either plan costs by itself is
    not in the sums, nor is what an exhausted line had for nothing. Subscribers in another currency are left out.
    """
    from charging.shadow import shadow as charged_again

    plans = {each.name: each for each in plans_of(file)}
    if name not in plans:
        raise catalogue.CatalogueError(f"{file}: {catalogue.no_plan(name, plans)}")
    chosen = plans[name]
    records: list[dict[str, Any]] = []
    with reading(setup.engine()) as connection:
        if plan_name is not None:
            catalogue.current_plan(connection, plan_name)
        removed.tell(connection, since, "usage_lines")
        for username, currency, uses in statement.recorded_use(connection, since, until, plan_name):
            if currency == chosen.currency:
                bill = charged_again(chosen, uses)
                difference = bill.shadow_micros - bill.charged_micros
                records.append(
                    {"username": username, "currency": currency, **bill._asdict(), "difference_micros": difference}
                )
    records.sort(key=lambda record: (-record["difference_micros"], record["username"]))
    shown = [record for record in records if record["difference_micros"] > 0] if only_more else records
    more = sum(1 for record in records if record["difference_micros"] > 0)
    less = sum(1 for record in records if record["difference_micros"] < 0)
    before, after = (sum(record[key] for record in records) for key in ("charged_micros", "shadow_micros"))
    if as_json:
        summary = {
            "subscribers": len(records),
            "more": more,
            "less": less,
            "charged_micros": before,
            "shadow_micros": after,
        }
        print_json({"plan": name, "currency": chosen.currency, **summary, "bills": shown})
        return
    print_records(shown, _SHADOW, as_json=False, none="nobody")
    sums = f"{format_money(before, chosen.currency)} before, {format_money(after, chosen.currency)} after"
    click.echo(f"\n{more} of {len(records)} would pay more, {less} less; in all {sums}")
