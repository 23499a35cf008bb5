"""What a subscriber is given and where he may log in: the options of `aaa subscriber set` for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

import click
from sqlalchemy import Connection

from aaa import reply_attributes
from aaa.messages import station
from aaa.registry import RegistryError, SubscriberLine
from aaa.reply_attributes import Texts
from aaa.wire.values import value_names
from charging import pools
from charging.addresses import KINDS, Kind
from charging.conditions import Conditions, hours, to_text
from charging.plan import Instant
from charging.planfile import MAX_STATIONS
from charging.tomlfile import NAME

F = TypeVar("F", bound=Callable[..., Any])

#: As the options say it: no value of one's own.
_NONE: Final = "none"
_PLAN: Final = "plan"
_VLAN: Final = tuple(name for name, _ in reply_attributes.vlan(1))
_ADDRESS_OPTIONS: Final[dict[Kind, str]] = {
    "ipv4": "own_ipv4", "ipv6": "own_ipv6", "prefix": "own_prefix", "delegated": "own_delegated_prefix",
}  # fmt: skip
_CONDITIONS: Final = ("only_nas", "only_group", "only_port_type", "only_device", "learn_devices", "only_hours")


def entitlement_options(command: F) -> F:
    """What may be said of a subscriber beside plan and password. None or empty: not said."""
    for option in reversed(
        (
            click.option(
                "--reply-attribute", "attributes", multiple=True, metavar="NAME=VALUE",
                help="Said in every Accept, in the place of the plan's; 'NAME=' takes it back. Repeat for more.",
            ),
            click.option("--vlan", metavar="N", help="The VLAN, 1 to 4094 (RFC 3580); 'none': as the plan says."),
            click.option("--filter", "filter_id", metavar="F", help="Filter-Id; 'none': as the plan says."),
            click.option("--own-ipv4", metavar="A", help="Always this address; 'none': none of his own."),
            click.option("--own-ipv6", metavar="A", help="The same, Framed-IPv6-Address."),
            click.option("--own-prefix", metavar="P", help="The same, Framed-IPv6-Prefix."),
            click.option("--own-delegated-prefix", metavar="P", help="The same, Delegated-IPv6-Prefix."),
            click.option("--only-nas", multiple=True, metavar="N", help="Log in at these NASes; 'plan': as it says."),
            click.option("--only-group", multiple=True, metavar="G", help="Log in at NASes of these groups."),
            click.option("--only-port-type", multiple=True, metavar="T", help="Log in on these kinds of port."),
            click.option("--only-device", multiple=True, metavar="A", help="Log in with these devices."),
            click.option("--learn-devices", metavar="N", help="The first N devices become the only ones; or 'plan'."),
            click.option("--forget-devices", is_flag=True, help="Forget those that were learned."),
            click.option("--only-hours", multiple=True, metavar="H", help="Log in then: 'Mon-Fri 18:00-24:00'."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def says_something(given: dict[str, Any]) -> bool:
    """Was any of these options given?"""
    return any(bool(value) or value == "" for value in given.values())


def change(connection: Connection, found: SubscriberLine, given: dict[str, Any], now: Instant) -> dict[str, Any]:
    """Make the addresses the subscriber's own, and the columns that are to be written. RegistryError, PoolError."""
    values: dict[str, Any] = {}
    own = _attributes(found.reply_attributes, given)
    if own != found.reply_attributes:
        values["reply_attributes"] = reply_attributes.to_text(own)
    if any(given[name] for name in _CONDITIONS):
        conditions = _conditions(found.conditions, given)
        values["conditions"] = to_text(conditions)
    if given["forget_devices"]:
        values["stations_learned"] = None
    for kind in KINDS:
        text = given[_ADDRESS_OPTIONS[kind]]
        if text is not None:
            address = None if text == _NONE else pools.own_address(kind, text)
            pools.make_own(connection, found.subscriber_id, found.account_id, kind, address, now)
    return values


def _attributes(before: Texts, given: dict[str, Any]) -> Texts:
    said: list[tuple[str, str]] = []
    removed: set[str] = set()
    for text in given["attributes"]:
        name, equals, value = text.partition("=")
        if not equals:
            raise RegistryError(f"--reply-attribute {text!r}: write NAME=VALUE, for example Filter-Id=vip")
        if value:
            said.append((name, value))
        else:
            removed.add(name)
    if given["vlan"] == _NONE:
        removed.update(_VLAN)
    elif given["vlan"] is not None:
        said += reply_attributes.vlan(_number("--vlan", given["vlan"], 4094))
    if given["filter_id"] == _NONE:
        removed.add("Filter-Id")
    elif given["filter_id"] is not None:
        said.append(("Filter-Id", given["filter_id"]))
    for name, value in said:
        try:
            reply_attributes.check(name, value)
        except ValueError as error:
            raise RegistryError(f"--reply-attribute: {error}") from None
    kept = tuple(each for each in before if each[0] not in removed)
    own = reply_attributes.layered(kept, tuple(said))
    if len(own) > reply_attributes.MOST:
        raise RegistryError(f"{len(own)} reply attributes; the most is {reply_attributes.MOST}")
    return own


def _conditions(before: Conditions, given: dict[str, Any]) -> Conditions:
    def said(name: str, known: tuple[str, ...], read: Callable[[str], str]) -> tuple[str, ...]:
        texts: tuple[str, ...] = given[name]
        if not texts:
            return known
        return () if texts == (_PLAN,) else tuple(dict.fromkeys(read(text) for text in texts))

    learn = before.learn_stations
    if given["learn_devices"] is not None:
        learn = (
            None
            if given["learn_devices"] == _PLAN
            else _number("--learn-devices", given["learn_devices"], MAX_STATIONS)
        )
    return replace(
        before,
        nas=said("only_nas", before.nas, _name),
        nas_groups=said("only_group", before.nas_groups, _name),
        port_types=said("only_port_type", before.port_types, _port_type),
        stations=said("only_device", before.stations, _device),
        learn_stations=learn,
        hours=said("only_hours", before.hours, _hours),
    )


def _number(option: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise RegistryError(f"{option} {text!r}: write a number from 1 to {most}")
    return int(text)


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise RegistryError(f"{text!r} is not a name; use 1 to 64 of the letters a-z, digits, '.', '_', '-'")
    return text


def _port_type(text: str) -> str:
    known = value_names("NAS-Port-Type")
    if text not in known:
        raise RegistryError(f"no port type {text!r}; there are {', '.join(known)}")
    return text


def _device(text: str) -> str:
    if not text or not text.isprintable() or len(text.encode()) > 253:
        raise RegistryError(f"{text!r} is no Calling-Station-Id; write for example 02:00:5e:00:53:01")
    return station(text) or text


def _hours(text: str) -> str:
    try:
        return hours(text)
    except ValueError as error:
        raise RegistryError(str(error)) from None
