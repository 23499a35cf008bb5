"""A network access server, as the directory knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RequireMessageAuthenticator = Literal["yes", "learn", "no"]
OnDatabaseDown = Literal["spool", "silent"]


@dataclass(frozen=True, slots=True)
class Nas:
    """A row of the nas table with its secrets opened and its dialect's defaults filled in."""

    nas_id: int
    name: str
    network: str
    """The source of its packets: an address or a prefix."""
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
