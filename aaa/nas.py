"""A network access server, as the directory knows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from charging.session import Means

RequireMessageAuthenticator = Literal["yes", "learn", "no"]
OnDatabaseDown = Literal["spool", "silent"]
CounterUnit = Literal["octets", "kB", "KiB", "MB", "MiB"]
CounterLevel = Literal["session", "service"]
Wish = Literal["yes", "no", "auto"]

#: Octets in one of what a NAS counts.
OCTETS_IN: Final[dict[CounterUnit, int]] = {
    "octets": 1, "kB": 1_000, "KiB": 1_024, "MB": 1_000_000, "MiB": 1_048_576,
}  # fmt: skip

#: RFC 6614 section 2.3: TLS protects what the secret protects elsewhere.
RADSEC_SECRET: Final = b"radsec"
#: What comes over TLS has this and the NAS's name for its source: its certificate says who it is, wherever it is.
RADSEC_SOURCE: Final = "radsec:"


@dataclass(frozen=True, slots=True)
class Nas:
    """A row of the nas table with its secrets opened and its dialect's defaults filled in."""

    nas_id: int
    name: str
    network: str | None
    """The source of its packets: an address or a prefix. None: any, over TLS only."""
    secrets: tuple[bytes, ...]
    """The current one first; while a secret is being changed, the previous one after it."""
    dialect: str
    coa_address: str | None
    """None: CoA goes to the source address of the session's own packets."""
    coa_port: int
    """0: this NAS takes no CoA."""
    require_message_authenticator: RequireMessageAuthenticator
    limit_proxy_state: bool
    counters_reversed: bool
    """Its Acct-Input-* counts what the subscriber downloads."""
    on_database_down: OnDatabaseDown = "spool"
    """spool: its reports are kept on this machine's disk and answered; silent: it must send them elsewhere, or later."""
    counter_unit: CounterUnit = "octets"
    counters_delta: bool = False
    """Each report counts from the one before; else from the session's start."""
    counter_bits: int | None = None
    """32: no gigawords, so counters wrap; 64: they never do; None: as its reports show."""
    reports_services: bool = False
    """It reports the services in a session beside the session itself."""
    counter_level: CounterLevel = "session"
    """Where it reports a session and the services in it: which of them is charged."""
    enforcement_class: Literal["A", "B", "C", "D"] | None = None
    """What its people set; None: as the dialect says."""
    means: Means = "profile"
    """What it can be made to do, as it is known now."""
    coa_message_authenticator: Wish = "yes"
    coa_event_timestamp: Wish = "no"
    """Whether CoA and Disconnect carry one; auto: both ways are tried."""
    mac_authentication: bool = False
    """Who has no password but an address (User-Name = Calling-Station-Id) may log in here."""
    nas_group: str = ""
    """What prices and allowances may ask for."""
    certificate: str | None = None
    """Its certificate's name, as `certificate_names` writes it. None: it does not speak over TLS."""


def source_over_tls(nas: Nas) -> str:
    """The source of what this NAS sends over TLS, as sessions, reports and the spool write it down."""
    return f"{RADSEC_SOURCE}{nas.name}"


def over_tls(nas: Nas) -> Nas:
    """The NAS as it is over TLS: the secret is known to everybody, and what defends UDP against forgers is not needed."""
    return replace(nas, secrets=(RADSEC_SECRET,), require_message_authenticator="no", limit_proxy_state=False)
