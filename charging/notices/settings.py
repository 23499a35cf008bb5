"""What the operator decided about notices: the table `[notices]` of the configuration file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address, HeaderRegistry
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal, get_args
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from charging.amounts import parse_duration
from charging.notices.contact import LABEL, email_fault, language_fault
from charging.notices.kinds import KINDS
from charging.plan import Instant
from charging.tomlfile import BadValueError, Table, parse_time_zone

Tls = Literal["starttls", "tls", "none"]
Readers = Literal["everyone", "phone", "email"]

#: The channel of mail; webhooks have names of their own.
EMAIL: Final = "email"
MOST_WEBHOOKS: Final = 20
LONGEST_TIMEOUT_SECONDS: Final = 60
LONGEST_GIVE_UP_SECONDS: Final = 30 * 86_400
LEAST_GIVE_UP_SECONDS: Final = 60

_QUIET: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")
_EVERY_KIND: Final = frozenset(KINDS)
_URGENT: Final = frozenset(name for name, kind in KINDS.items() if kind.urgent)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `begin_minute` to before `end_minute` of the local day; over midnight where the end is the smaller one."""

    begin_minute: int
    end_minute: int

    def hold(self, now: Instant, zone: str) -> bool:
        """Is it quiet now, by the clock on a wall of that time zone?"""
        local = datetime.fromtimestamp(now // 1000, ZoneInfo(zone))
        minute = local.hour * 60 + local.minute
        if self.begin_minute < self.end_minute:
            return self.begin_minute <= minute < self.end_minute
        return minute >= self.begin_minute or minute < self.end_minute


@dataclass(frozen=True, slots=True)
class Mail:
    """`[notices.email]`: the way out by SMTP."""

    host: str
    sender: str
    """As a From header has it: `Example ISP <noreply@example.net>`."""
    port: int
    tls: Tls
    username: str | None
    password_file: Path | None
    operator: str | None
    """Who hears of the network's own business."""
    kinds: frozenset[str]
    timeout_seconds: int

    @property
    def sender_address(self) -> str:
        """The bare address, for the envelope."""
        return _addresses_in(self.sender)[0].addr_spec


@dataclass(frozen=True, slots=True)
class Webhook:
    """`[notices.webhook.NAME]`: the way out by HTTP, and so to SMS gateways."""

    name: str
    url: str
    secret_file: Path
    to: Readers
    """`phone`, `email`: only readers who have one."""
    kinds: frozenset[str]
    timeout_seconds: int


@dataclass(frozen=True, slots=True)
class Settings:
    """`[notices]` as a whole."""

    language: str
    time_zone: str
    quiet: QuietHours | None
    urgent: frozenset[str]
    give_up_seconds: int
    templates: Path | None
    mail: Mail | None
    webhooks: tuple[Webhook, ...]

    def urgent_only(self, now: Instant) -> bool:
        """Must what is not urgent wait now?"""
        return self.quiet is not None and self.quiet.hold(now, self.time_zone)


def read(table: Table) -> Settings:
    """The settings of a `[notices]` table; its faults are added to the table's."""
    language = table.take("language", _language, "en")
    zone = table.take("time_zone", parse_time_zone, "UTC")
    quiet = table.take("quiet_hours", _quiet_hours, None)
    urgent = table.take("urgent", _kinds, _URGENT)
    give_up = table.take("give_up_after", _seconds("1 day", LEAST_GIVE_UP_SECONDS, LONGEST_GIVE_UP_SECONDS), 86_400)
    templates = table.take("templates", _path("/etc/aaa/notices"), None)
    email_table = table.table(EMAIL)
    hooks = table.tables("webhook")
    if EMAIL in hooks:
        table.fault("webhook", f"a webhook can not be called {EMAIL!r}; give it another name")
    if len(hooks) > MOST_WEBHOOKS:
        table.fault("webhook", f"{len(hooks)} webhooks; there may be {MOST_WEBHOOKS}")
    settings = Settings(
        language=language,
        time_zone=zone,
        quiet=quiet,
        urgent=urgent,
        give_up_seconds=give_up,
        templates=templates,
        mail=None if email_table is None else _mail(email_table),
        webhooks=tuple(_webhook(name, hook) for name, hook in hooks.items()),
    )
    if settings.mail is None and not hooks and email_table is None:
        table.fault(None, "nothing to send by; write [notices.email] or [notices.webhook.NAME]")
    table.finish()
    return settings


def _mail(table: Table) -> Mail | None:
    host = table.take("host", _host, "", required='host = "mail.example.net"')
    sender = table.take("from", _sender, "", required='from = "Example ISP <noreply@example.net>"')
    tls: Tls = table.take("tls", _one_of(get_args(Tls)), "starttls")  # type: ignore[arg-type]  # one of its own
    username = table.take("username", _text("aaa"), None)
    password_file = table.take("password_file", _path("/etc/aaa/smtp.password"), None)
    if (username is None) != (password_file is None):
        table.fault(None, "username and password_file go together; write both")
    if username is not None and tls == "none":
        table.fault("tls", 'a password is not sent in the clear; write "starttls" or "tls"')
    mail = Mail(
        host=host,
        sender=sender,
        port=table.take("port", _port, 465 if tls == "tls" else 587),
        tls=tls,
        username=username,
        password_file=password_file,
        operator=table.take("operator", _operator, None),
        kinds=table.take("kinds", _kinds, _EVERY_KIND),
        timeout_seconds=table.take("timeout", _seconds("30s", 1, LONGEST_TIMEOUT_SECONDS), 30),
    )
    table.finish()
    return mail if host and sender else None


def _webhook(name: str, table: Table) -> Webhook:
    hook = Webhook(
        name=name,
        url=table.take("url", _url, "", required='url = "https://gateway.example.net/sms"'),
        secret_file=table.take(
            "secret_file", _path("/etc/aaa/webhook.secret"), Path(), required='secret_file = "/etc/aaa/webhook.secret"'
        ),
        to=table.take("to", _one_of(get_args(Readers)), "everyone"),  # type: ignore[arg-type]  # one of its own
        kinds=table.take("kinds", _kinds, _EVERY_KIND),
        timeout_seconds=table.take("timeout", _seconds("10s", 1, LONGEST_TIMEOUT_SECONDS), 10),
    )
    table.finish()
    return hook


# --- values --------------------------------------------------------------------------------------------------------


def _text(example: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or not value or not value.isprintable():
            raise BadValueError(f'{value!r} is not a text; write for example "{example}"')
        return value

    return parse


def _path(example: str) -> Callable[[object], Path]:
    return lambda value: Path(_text(example)(value)).expanduser()


def _one_of(known: tuple[str, ...]) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise BadValueError(f"{value!r} is unknown; write one of {', '.join(known)}")
        return value

    return parse


def _language(value: object) -> str:
    text = _text("en")(value)
    fault = language_fault(text)
    if fault is not None:
        raise BadValueError(fault)
    return text


def _operator(value: object) -> str:
    text = _text("noc@example.net")(value)
    fault = email_fault(text)
    if fault is not None:
        raise BadValueError(fault)
    return text


def _quiet_hours(value: object) -> QuietHours:
    match = _QUIET.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BadValueError(f'{value!r} are no quiet hours; write for example "22:00-07:00"')
    begin, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if begin == end:
        raise BadValueError(f'{value!r} would be the whole day or none of it; write for example "22:00-07:00"')
    return QuietHours(begin, end)


def _kinds(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        raise BadValueError(f'{value!r} is not a list of kinds; write for example ["threshold", "exhausted"]')
    for name in value:
        if name not in KINDS:
            raise BadValueError(f"{name!r} is no kind of notice; there are {', '.join(KINDS)}")
    return frozenset(value)


def _seconds(example: str, least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        try:
            duration = parse_duration(_text(example)(value))
        except ValueError as error:
            raise BadValueError(f'{error}; write for example "{example}"') from None
        if duration.months or not least <= duration.seconds <= most:
            raise BadValueError(f'{value!r} is not from {least} to {most} seconds; write for example "{example}"')
        return duration.seconds

    return parse


def _port(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65535:
        raise BadValueError(f"{value!r} is not a port; write a number from 1 to 65535, without quotes")
    return value


def _host(value: object) -> str:
    text = _text("mail.example.net")(value)
    if not _is_host(text):
        raise BadValueError(f'{text!r} is neither a name nor an address; write for example "mail.example.net"')
    return text


def _is_host(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return re.fullmatch(rf"{LABEL}(?:\.{LABEL})*\.?", text) is not None
    return True


def _url(value: object) -> str:
    example = "https://gateway.example.net/sms"
    text = _text(example)(value)
    try:
        parts: SplitResult | None = urlsplit(text)
        good = parts is not None and parts.scheme in {"http", "https"} and _is_host(parts.hostname or "")
        good = good and (parts is None or parts.port is None or parts.port > 0) and text.isascii() and " " not in text
    except ValueError:
        parts, good = None, False
    if not good or parts is None:
        raise BadValueError(f'{text!r} is no http or https URL; write for example "{example}"')
    if parts.username is not None or parts.fragment:
        raise BadValueError(f'{text!r}: leave out the user and the fragment; write for example "{example}"')
    return text


def _sender(value: object) -> str:
    example = "Example ISP <noreply@example.net>"
    text = _text(example)(value)
    found = _addresses_in(text)
    if len(found) != 1 or email_fault(found[0].addr_spec) is not None:
        raise BadValueError(f'{text!r} is no sender; write for example "{example}"')
    return text


def _addresses_in(text: str) -> tuple[Address, ...]:
    try:
        header: Any = HeaderRegistry()("From", text)
    except (MessageError, ValueError, IndexError):
        return ()
    return () if header.defects else tuple(header.addresses)
