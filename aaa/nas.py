"""A network access server, as the directory knows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

RequireMessageAuthenticator = Literal["yes", "learn", "no"]
OnDatabaseDown = Literal["spool", "silent"]

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
