"""How a subscriber can be reached, and in which language."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MOST_ADDRESS_CHARACTERS: Final = 254

_ATEXT: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
#: A label of a name in the DNS.
LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL: Final = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*@{LABEL}(?:\.{LABEL})*")
_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")


class Contact(NamedTuple):
    """What is known of it; None: nothing."""

    email: str | None = None
    phone: str | None = None
    """E.164: + and digits."""
    language: str | None = None
    """A tag such as `de` or `pt-BR`; None: the configuration's."""

    def faults(self) -> list[str]:
        """What is wrong with what is there."""
        checks = {"email": email_fault, "phone": phone_fault, "language": language_fault}
        found = ((name, check(text)) for (name, check), text in zip(checks.items(), self, strict=True) if text)
        return [f"{name}: {fault}" for name, fault in found if fault is not None]


#: Nobody knows how.
UNKNOWN: Final = Contact()


def email_fault(text: str) -> str | None:
    """Why this is no address that mail can be sent to; None where it is one (RFC 5321, without quoted local parts)."""
    if len(text) > MOST_ADDRESS_CHARACTERS or not _EMAIL.fullmatch(text):
        return f"{text!r} is no e-mail address; write for example alice@example.net"
    return None


def phone_fault(text: str) -> str | None:
    """Why this is no telephone number; None where it is one (E.164)."""
    if not _PHONE.fullmatch(text):
        return f"{text!r} is no telephone number; write + and digits, with the country, for example +4915112345678"
    return None


def language_fault(text: str) -> str | None:
    """Why this is no language's tag; None where it is one."""
    if not _LANGUAGE.fullmatch(text):
        return f"{text!r} is no language; write for example en, de or es"
    return None
