"""`aaa dialect`: what each vendor's equipment understands, and why we believe it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from aaa import dialects
from aaa.dialects import Dialect
from aaa.wire import Attribute
from charging.plan import Profile
from cli.output import Column, Record, json_option, print_record, print_records

_CAPABILITIES: Final = {
    "rate": "speed by CoA",
    "disconnect": "disconnect only",
    "reauthenticate": "asks again by itself",
}
_SOURCES: Final = {
    "tested": "tested here",
    "measured": "measured on the real program",
    "code": "its source code",
    "manual": "its manual",
    "report": "a report",
    "assumed": "assumed",
    "site": "this site's configuration",
}
FULL: Final = Profile("full", rate_up_bps=5_000_000, rate_down_bps=20_000_000)
SLOW: Final = Profile("slow", rate_up_bps=128_000, rate_down_bps=256_000)
QUOTA_OCTETS: Final = 5_000_000_000


class DialectName(click.ParamType):  # type: ignore[type-arg]  # only newer ones of click have an argument
    """The name of a dialect, the site's own included: they are known only when the configuration has been read."""

    name = "dialect"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name."""
        if value not in dialects.names():
            self.fail(f"{value!r} is not one of {', '.join(map(repr, dialects.names()))}", param, ctx)
        return str(value)


DIALECT: Final = DialectName()

_COLUMNS: Final = (
    Column("name", "name"),
    Column("enforces by", lambda each: _CAPABILITIES[each["capability"]]),
    Column("volume limit", lambda each: each["quota"] is not None),
    Column("CoA port", lambda each: each["coa_port"] or "none", right=True),
    Column("rests on", "sources"),
    Column("what it is", "about"),
)
_DETAILS: Final = (
    Column("name", "name"),
    Column("what it is", "about"),
    Column("enforces by", lambda each: _CAPABILITIES[each["capability"]]),
    Column("CoA port", lambda each: each["coa_port"] or "none"),
    Column("session named by", "identification"),
    Column("else by", "reduced_identification"),
    Column("Message-Authenticator", "message_authenticator"),
    Column("Event-Timestamp", "event_timestamp"),
    Column("CoA replaces all", "coa_replaces_all"),
    Column("redirect by CoA", "redirect_by_coa"),
    Column("one CoA at a time", "one_in_flight"),
    Column("an ACK is proof", "proof_of_ack"),
    Column("Session-Timeout can be moved", "session_timeout_extendable"),
    Column("least interval, s", "least_interval_seconds"),
    Column("counters reversed", "counters_reversed"),
    Column("Accept at 5M/20M", "accept"),
    Column("CoA to 128k/256k", lambda each: _told(each["throttle"])),
    Column("limit of 5 GB", lambda each: "none" if each["quota"] is None else each["quota"]),
    Column("claims", lambda each: [_claim(claim) for claim in each["claims"]]),
)


@click.group(epilog="Example: aaa dialect show mikrotik")
def dialect() -> None:
    """Dialects: what each vendor's equipment understands, and what that rests on."""


@dialect.command("list", epilog="Example: aaa dialect list --json")
@json_option
def list_(as_json: bool) -> None:
    """List all dialects, this site's own among them."""
    print_records([_record(each) for each in _all()], _COLUMNS, as_json=as_json, none="")


@dialect.command(epilog="Example: aaa dialect show mikrotik")
@click.argument("name", type=DIALECT)
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one dialect: what it says for an example, and the source of each claim."""
    print_record(_record(dialects.dialect(name)), _DETAILS, as_json=as_json)


def _all() -> Iterable[Dialect]:
    return [dialects.dialect(name) for name in dialects.names()]


def _record(each: Dialect) -> dict[str, Any]:
    throttle = dialects.change(each, SLOW, FULL, redirect=False)
    return {
        "name": each.name,
        "about": each.about,
        "capability": each.capability,
        "coa_port": each.coa_port,
        "identification": list(each.identification),
        "reduced_identification": list(each.reduced_identification),
        "message_authenticator": each.message_authenticator,
        "event_timestamp": each.event_timestamp,
        "coa_replaces_all": each.coa_replaces_all,
        "redirect_by_coa": each.redirect_by_coa,
        "one_in_flight": each.one_in_flight,
        "proof_of_ack": each.proof_of_ack,
        "session_timeout_extendable": each.session_timeout_extendable,
        "least_interval_seconds": each.least_interval_seconds,
        "counters_reversed": each.counters_reversed,
        "accept": _said(dialects.accept(each, FULL)),
        "throttle": None if throttle is None else [_said(packet) for packet in throttle],
        "quota": None if each.quota is None else _said(each.quota(QUOTA_OCTETS)),
        "sources": sorted({claim.source for claim in each.claims}, key=list(_SOURCES).index),
        "claims": [claim._asdict() for claim in each.claims],
    }


def _said(attributes: Sequence[Attribute]) -> list[str]:
    return [f"{name} = {value!r}" if isinstance(value, bytes) else f"{name} = {value}" for name, value in attributes]


def _told(packets: Sequence[Sequence[str]] | None) -> list[str]:
    """A line per packet."""
    if packets is None:
        return ["none: a new login brings the new speed"]
    return ["; ".join(packet) for packet in packets]


def _claim(claim: Record) -> str:
    where = f", {claim['where']}" if claim["where"] else ""
    return f"{claim['subject']}: {claim['says']} [{_SOURCES[claim['source']]}{where}]"
