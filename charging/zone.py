"""Zones: where and how a session is, as prices and buckets ask for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

#: RFC 2865 section 5.6: Service-Type 1 and on, small and with hyphens.
SERVICE_CLASSES: Final = (
    "login", "framed", "callback-login", "callback-framed", "outbound", "administrative", "nas-prompt",
    "authenticate-only", "callback-nas-prompt", "call-check", "callback-administrative",
)  # fmt: skip


class Place(NamedTuple):
    """What is known of a session from its login; empty where its NAS does not say it."""

    nas_group: str = ""
    called_station: str = ""
    """Called-Station-Id: an APN, a dialled number, or `address:SSID`."""
    realm: str = ""
    """Behind the last @ of the user name."""
    service_class: str = ""
    """Service-Type, one of SERVICE_CLASSES."""


NOWHERE = Place()


@dataclass(frozen=True, slots=True)
class Zone:
    """Sessions that fit all that is named here; of each list one entry is enough, and `*` in it is any text."""

    name: str
    nas_groups: tuple[str, ...] = ()
    called_stations: tuple[str, ...] = ()
    realms: tuple[str, ...] = ()

    def holds(self, place: Place) -> bool:
        """Is a session in this zone?"""
        asked = (
            (self.nas_groups, place.nas_group),
            (self.called_stations, place.called_station),
            (self.realms, place.realm),
        )
        return all(any(_fits(pattern, name) for pattern in patterns) for patterns, name in asked if patterns)


def realm_of(username: str) -> str:
    """`example.net` of `alice@Example.net`; empty where there is none (RFC 7542: names before the last @)."""
    return username.rpartition("@")[2].lower() if "@" in username else ""


def _fits(pattern: str, name: str) -> bool:
    return _pattern(pattern).fullmatch(name) is not None


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.IGNORECASE | re.DOTALL)
