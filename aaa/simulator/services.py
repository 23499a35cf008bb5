"""Equipment on which a profile is a service or a role: what a server switches on and off by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from aaa.simulator.behaviour import Service
from aaa.wire import Attribute

#: The service with parameters that a Juniper router makes of any rate: bit/s up and down.
_RATE_SERVICE: Final = re.compile(r"aaa-rate\((\d+),(\d+)\)")
_COMMAND: Final = "subscriber:command="
_SERVICE_NAME: Final = "subscriber:service-name="

Understood = dict[str, int | str | tuple[str, ...] | None]
BY_SERVICE: Final = frozenset({"cisco-isg", "juniper", "aruba"})


def switched(
    dialect: str, before: tuple[str, ...], attributes: Sequence[Attribute], known: Sequence[Service]
) -> Understood | None:
    """What these attributes change; empty where nothing in them is about services, None where they can not be carried out:
    a service that is not known or not on, or more than one command in a packet."""
    if dialect == "cisco-isg":
        active = _isg(before, attributes)
    elif dialect == "juniper":
        active = _juniper(before, attributes)
    else:
        roles = [str(value) for name, value in attributes if name == "Aruba-User-Role"]
        active = tuple(roles) if roles else before
    if active is None:
        return None
    return {} if active == before else _effect(active, known)


def _effect(active: tuple[str, ...], known: Sequence[Service]) -> Understood | None:
    """The speeds and the redirect of the services that are on. None: one of them nobody has configured."""
    effect: Understood = {"services": active, "up_bps": None, "down_bps": None, "redirect": None}
    catalogue = {service.name: service for service in known}
    for name in active:
        rate = _RATE_SERVICE.fullmatch(name)
        service = Service(name, int(rate[1]), int(rate[2])) if rate is not None else catalogue.get(name)
        if service is None:
            return None
        for key, bps in (("up_bps", service.up_bps), ("down_bps", service.down_bps)):
            if bps is not None:
                effect[key] = bps
        if service.redirects:
            effect["redirect"] = service.name
    return effect


def _isg(before: tuple[str, ...], attributes: Sequence[Attribute]) -> tuple[str, ...] | None:
    logons = tuple(
        str(value)[1:] for name, value in attributes if name == "Cisco-Account-Info" and str(value)[:1] == "A"
    )
    pairs = [str(value) for name, value in attributes if name == "Cisco-AVPair"]
    commands = [pair.removeprefix(_COMMAND) for pair in pairs if pair.startswith(_COMMAND)]
    services = [pair.removeprefix(_SERVICE_NAME) for pair in pairs if pair.startswith(_SERVICE_NAME)]
    if not commands:
        return logons or before
    if len(commands) > 1 or len(services) != 1:
        return None
    on = commands[0] == "activate-service"
    if on:
        return (*before, services[0])
    return tuple(name for name in before if name != services[0]) if services[0] in before else None


def _juniper(before: tuple[str, ...], attributes: Sequence[Attribute]) -> tuple[str, ...] | None:
    gone = [str(value) for name, value in attributes if name == "ERX-Service-Deactivate"]
    come = [str(value) for name, value in attributes if name.startswith("ERX-Service-Activate:")]
    if not set(gone) <= set(before):
        return None
    return (*(name for name in before if name not in gone), *come)
