"""One-time codes by time (RFC 6238): six digits behind the password, a new one every 30 seconds."""

from __future__ import annotations

import base64
import hmac
import urllib.parse
from typing import Final

from charging.plan import Instant

DIGITS: Final = 6
STEP_MS: Final = 30_000
#: Steps by which the clock of a phone may be off, in either direction.
STEPS_OFF: Final = 1
SECRET_OCTETS: Final = 20


def split(password: bytes) -> tuple[bytes, bytes]:
    """What was typed, as password and code."""
    return password[:-DIGITS], password[-DIGITS:]


def code_at(secret: bytes, step: int) -> bytes:
    """The code of one step (RFC 4226 section 5.3)."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 0xF
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFF_FFFF
    return b"%0*d" % (DIGITS, number % 10**DIGITS)


def step_of(secret: bytes, code: bytes, now: Instant) -> int | None:
    """The step that the code is of, if that is now or close to it. Whether it was used before is the directory's to know."""
    current = now // STEP_MS
    found: int | None = None
    for step in range(current - STEPS_OFF, current + STEPS_OFF + 1):
        if hmac.compare_digest(code_at(secret, step), code):
            found = step
    return found


def uri(secret: bytes, username: str, issuer: str = "AAA") -> str:
    """What authenticator applications read, mostly as a QR code."""
    label = urllib.parse.quote(f"{issuer}:{username}", safe="")
    return (
        f"otpauth://totp/{label}?secret={base64.b32encode(secret).decode()}&issuer={issuer}&digits={DIGITS}&period=30"
    )
