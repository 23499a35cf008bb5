"""`aaa rate`: what a use of a plan would cost."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from charging import quote
from charging.amounts import format_octets, format_seconds, parse_octets, parse_seconds
from charging.money import format_money, parse_money
from charging.plan import Instant, Plan
from charging.quote import Item, Quote, Reach, Use
from charging.zone import Place
from cli.amounts import OCTETS, TIME, amount_text
from cli.config import Setup, pass_setup
from cli.output import Column, iso, json_option, print_json, print_records
from cli.plan import moment, plan_named


@click.command(epilog="Example: aaa rate prepaid-50 --octets 3GB --seconds 1h --at 2026-12-24T22:50")
@click.argument("plan")
@click.option("--octets", type=OCTETS, default=0, help="Used, to the subscriber; the same as --down.")
@click.option("--down", type=OCTETS, default=0, help="Used, to the subscriber.")
@click.option("--up", type=OCTETS, default=0, help="Used, from the subscriber.")
@click.option("--seconds", type=TIME, default=0, help="How long the session is; octets are spread over it.")
@click.option("--at", metavar="WHEN", help="When it begins, in the plan's time zone; otherwise now.")
@click.option("--zone", metavar="NAME", help="A zone of the plan that the session is in.")
@click.option("--nas-group", default="", metavar="NAME", help="Of its NAS.")
@click.option("--called-station", default="", metavar="TEXT", help="Its Called-Station-Id: an APN, address:SSID.")
@click.option("--realm", default="", metavar="NAME", help="Behind the @ of its user name.")
@click.option("--service-class", default="", metavar="NAME", help="Its Service-Type: framed, login.")
@click.option("--counted", multiple=True, metavar="RATE=AMOUNT", help="What a rate had counted before in this period.")
@click.option(
    "--allowances/--no-allowances", default=True, help="With all that the plan includes, or nothing left of it."
)
@click.option("--period", type=click.IntRange(1), metavar="N", help="With the price of the plan's N-th period.")
@click.option("--money", metavar="AMOUNT", help="How far so much money goes, instead of what a use costs.")
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A plan file.")
@json_option
@pass_setup
def rate(setup: Setup, /, plan: str, file: Path | None, as_json: bool, **options: Any) -> None:
    """What a use would cost, line by line: for a new subscriber of a plan, or with --no-allowances for one who has used up
    what it includes.

    With --money it is the other way round: how many octets, and how many seconds, that money pays for.
    """
    sold = plan_named(setup, plan, file)
    use = _use(sold, options)
    if options["money"] is not None:
        try:
            micros = parse_money(options["money"], sold.currency)
        except ValueError as error:
            raise click.UsageError(f"--money: {error}") from error
        _print_reach(sold, micros, quote.reach(sold, use, micros, allowances=options["allowances"]), as_json=as_json)
        return
    if use.period and sold.period is None:
        raise click.UsageError(f"--period: plan {sold.name!r} is not sold by periods")
    if not (use.down or use.up or use.seconds or use.period):
        raise click.UsageError("what was used? write --octets 3GB, --seconds 1h, or both; or --money 10.00")
    _print_quote(sold, quote.quote(sold, use, allowances=options["allowances"]), as_json=as_json)


def _use(plan: Plan, options: dict[str, Any]) -> Use:
    place = Place(options["nas_group"], options["called_station"], options["realm"], options["service_class"].lower())
    if options["zone"] is not None:
        zone = next((each for each in plan.zones if each.name == options["zone"]), None)
        if zone is None:
            names = ", ".join(each.name for each in plan.zones) or "none"
            raise click.UsageError(f"--zone: {options['zone']!r} is no zone of plan {plan.name!r}; it has {names}")
        lists = (zone.nas_groups, zone.called_stations, zone.realms)
        found = (entries[0].replace("*", "") if entries else own for entries, own in zip(lists, place[:3], strict=True))
        group, station, realm = found
        place = Place(group, station, realm, place.service_class)
    return Use(
        begin=moment(options["at"], plan.time_zone),
        up=options["up"],
        down=options["down"] + options["octets"],
        seconds=options["seconds"],
        place=place,
        counted=dict(_counted(plan, each) for each in options["counted"]),
        period=options["period"] or 0,
    )


def _counted(plan: Plan, text: str) -> tuple[str, int]:
    name, _, amount = text.partition("=")
    line = next((each for each in plan.rates if each.name == name and each.accumulate != "session"), None)
    if line is None:
        names = ", ".join(each.name for each in plan.rates if each.accumulate != "session") or "none"
        raise click.UsageError(
            f"--counted: {name!r} is no rate that counts over a period; plan {plan.name!r} has {names}"
        )
    try:
        parse = {"octets": parse_octets, "seconds": parse_seconds}.get(line.unit, int)
        return name, parse(amount)
    except ValueError as error:
        raise click.UsageError(f"--counted: {error}; write for example {name}=10") from error


def _print_quote(plan: Plan, found: Quote, *, as_json: bool) -> None:
    zone = ZoneInfo(plan.time_zone)
    record = {
        "plan": plan.name,
        "currency": plan.currency,
        "items": [_record(item) for item in found.items],
        "total_micros": found.micros,
    }
    if as_json:
        print_json(record)
        return

    def clock(instant: Instant) -> str:
        return f"{datetime.fromtimestamp(instant // 1000, zone):%Y-%m-%d %H:%M:%S}"

    columns = (
        Column("from", lambda each: clock(each["begin"])),
        Column("", "what"),
        Column("used", "used", right=True),
        Column("charged", "charged", right=True),
    )
    lines = [
        {
            "begin": item.begin,
            "what": _what(item),
            "used": _amount(item, plan.currency),
            "charged": format_money(item.micros, plan.currency) if item.kind in {"rate", "period"} else "",
        }
        for item in found.items
    ]
    print_records(lines, columns, as_json=False, none="nothing of this is charged")
    click.echo(f"total  {format_money(found.micros, plan.currency)}")


def _amount(item: Item, currency: str) -> str:
    if item.unit in {"session", "period"}:
        return f"1 {item.unit}"
    return amount_text(item.unit, item.amount, currency)


def _what(item: Item) -> str:
    if item.kind == "allowance":
        return f"allowance {item.name}"
    if item.kind == "unpaid":
        return "nothing pays for it: the session is exhausted"
    return item.name if item.rate is None or item.rate.unit != "octets" else f"{item.name}, {item.rate.direction}"


def _record(item: Item) -> dict[str, Any]:
    return {
        "from": iso(item.begin),
        "until": iso(item.until),
        "kind": item.kind,
        "name": item.name or None,
        "unit": item.unit,
        "amount": item.amount,
        "micros": item.micros,
    }


def _print_reach(plan: Plan, micros: int, found: Reach, *, as_json: bool) -> None:
    if as_json:
        print_json({"plan": plan.name, "money_micros": micros, "octets": found.octets, "seconds": found.seconds})
        return
    if plan.charges("octets"):
        click.echo(f"octets   {'no limit' if found.octets is None else format_octets(found.octets)}")
    if plan.charges("seconds"):
        click.echo(f"seconds  {'no limit' if found.seconds is None else format_seconds(found.seconds)}")
    if not plan.charges("octets") and not plan.charges("seconds"):
        click.echo("neither octets nor seconds are charged")
