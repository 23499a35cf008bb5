"""Attackers at work on the aaa floor as the server builds it; docs/security.md lists what each tries."""

from __future__ import annotations

from tests.aaa.conftest import floor, nothing_unhandled, outage, sqlite_floor

__all__ = ["floor", "nothing_unhandled", "outage", "sqlite_floor"]
