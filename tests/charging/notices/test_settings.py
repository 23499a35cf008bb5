"""The table [notices] of the configuration file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from charging.notices.contact import Contact
from charging.notices.kinds import KINDS
from charging.notices.settings import QuietHours, Settings, read
from charging.tomlfile import parse

MAIL = """
[notices.email]
host = "mail.example.net"
from = "Example ISP <noreply@example.net>"
"""
HOOK = """
[notices.webhook.sms]
url = "https://gateway.example.net/sms"
secret_file = "/etc/aaa/sms.secret"
"""


def settings_of(text: str) -> tuple[Settings | None, list[str]]:
    top = parse(text, "aaa.toml")
    table = top.table("notices")
    assert table is not None
    settings = read(table)
    return settings, list(top.faults.in_file_order())


def good(text: str) -> Settings:
    settings, faults = settings_of(text)
    assert faults == []
    assert settings is not None
    return settings


def test_the_least_there_is_to_write() -> None:
    settings = good(MAIL)
    assert settings.mail is not None
    assert (settings.mail.port, settings.mail.tls, settings.mail.username) == (587, "starttls", None)
    assert settings.mail.sender_address == "noreply@example.net"
    assert settings.mail.kinds == frozenset(KINDS)
    assert (settings.language, settings.time_zone, settings.quiet, settings.give_up_seconds) == (
        "en",
        "UTC",
        None,
        86_400,
    )
    assert "exhausted" in settings.urgent
    assert "threshold" not in settings.urgent


def test_everything() -> None:
    settings = good(
        """
        [notices]
        language = "de"
        time_zone = "Europe/Berlin"
        quiet_hours = "22:00-07:00"
        urgent = ["exhausted"]
        give_up_after = "12h"
        templates = "/etc/aaa/notices"
        [notices.email]
        host = "2001:db8::25"
        from = "noreply@example.net"
        tls = "tls"
        username = "aaa"
        password_file = "/etc/aaa/smtp.password"
        operator = "noc@example.net"
        kinds = ["threshold", "enforcement-failed"]
        timeout = "20s"
        """
        + HOOK
        + 'to = "phone"\nkinds = ["exhausted"]\ntimeout = "5s"\n'
    )
    assert settings.mail is not None
    assert (settings.mail.port, settings.mail.timeout_seconds) == (465, 20)
    assert settings.quiet == QuietHours(22 * 60, 7 * 60)
    assert settings.templates == Path("/etc/aaa/notices")
    (hook,) = settings.webhooks
    assert (hook.name, hook.to, hook.kinds, hook.timeout_seconds) == ("sms", "phone", frozenset({"exhausted"}), 5)


FAULTS = [
    ("[notices]", "aaa.toml:1: notices: nothing to send by; write [notices.email] or [notices.webhook.NAME]"),
    ("[notices]\nlanguag = 'de'" + MAIL, "aaa.toml:2: notices.languag: unknown key; did you mean 'language'?"),
    ("[notices]\nlanguage = 'Deutsch'" + MAIL, "aaa.toml:2: notices.language: 'Deutsch' is no language; write for example en, de or es"),
    ("[notices]\ntime_zone = 'Berlin'" + MAIL, "aaa.toml:2: notices.time_zone: 'Berlin' is no time zone; write for example Europe/Berlin, Africa/Nairobi or UTC"),
    ("[notices]\nquiet_hours = '22-7'" + MAIL, 'aaa.toml:2: notices.quiet_hours: \'22-7\' are no quiet hours; write for example "22:00-07:00"'),
    ("[notices]\nquiet_hours = '22:00-22:00'" + MAIL, "aaa.toml:2: notices.quiet_hours: '22:00-22:00' would be the whole day or none of it; write for example \"22:00-07:00\""),
    ("[notices]\nurgent = ['exhaust']" + MAIL, f"aaa.toml:2: notices.urgent: 'exhaust' is no kind of notice; there are {', '.join(KINDS)}"),
    ("[notices]\ngive_up_after = '1 month'" + MAIL, "aaa.toml:2: notices.give_up_after: '1 month' is not from 60 to 2592000 seconds; write for example \"1 day\""),
    ("[notices.email]\nfrom = 'a@b'", "aaa.toml:1: notices.email: 'host' is missing; write host = \"mail.example.net\""),
    ("[notices.email]\nhost = 'mail server'\nfrom = 'a@b'", "aaa.toml:2: notices.email.host: 'mail server' is neither a name nor an address; write for example \"mail.example.net\""),
    ("[notices.email]\nhost = 'm'\nfrom = 'Example ISP'", "aaa.toml:3: notices.email.from: 'Example ISP' is no sender; write for example \"Example ISP <noreply@example.net>\""),
    ("[notices.email]\nhost = 'm'\nfrom = 'a@b, c@d'", "aaa.toml:3: notices.email.from: 'a@b, c@d' is no sender; write for example \"Example ISP <noreply@example.net>\""),
    (MAIL.lstrip() + "username = 'aaa'", "aaa.toml:1: notices.email: username and password_file go together; write both"),
    (MAIL.lstrip() + "username = 'aaa'\npassword_file = 'p'\ntls = 'none'", 'aaa.toml:6: notices.email.tls: a password is not sent in the clear; write "starttls" or "tls"'),
    (MAIL.lstrip() + "tls = 'ssl'", "aaa.toml:4: notices.email.tls: 'ssl' is unknown; write one of starttls, tls, none"),
    (MAIL.lstrip() + "timeout = '2m'", "aaa.toml:4: notices.email.timeout: '2m' is not from 1 to 60 seconds; write for example \"30s\""),
    ("[notices.webhook.sms]\nsecret_file = 's'", 'aaa.toml:1: notices.webhook.sms: \'url\' is missing; write url = "https://gateway.example.net/sms"'),
    ("[notices.webhook.sms]\nsecret_file = 's'\nurl = 'ftp://x'", "aaa.toml:3: notices.webhook.sms.url: 'ftp://x' is no http or https URL; write for example \"https://gateway.example.net/sms\""),
    ("[notices.webhook.sms]\nsecret_file = 's'\nurl = 'https://x:70000/'", "aaa.toml:3: notices.webhook.sms.url: 'https://x:70000/' is no http or https URL; write for example \"https://gateway.example.net/sms\""),
    ("[notices.webhook.sms]\nsecret_file = 's'\nurl = 'https://me:pw@x/'", "aaa.toml:3: notices.webhook.sms.url: 'https://me:pw@x/': leave out the user and the fragment; write for example \"https://gateway.example.net/sms\""),
    ("[notices.webhook.sms]\nsecret_file = 's'\nurl = 'https://x/'\nto = 'all'", "aaa.toml:4: notices.webhook.sms.to: 'all' is unknown; write one of everyone, phone, email"),
    ("[notices.webhook.email]\nsecret_file = 's'\nurl = 'https://x/'", "aaa.toml:1: notices.webhook: a webhook can not be called 'email'; give it another name"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), FAULTS)
def test_a_fault_says_where_and_what_would_be_right(text: str, problem: str) -> None:
    _, faults = settings_of(text)
    assert faults == [problem]


QUIET = [
    # hours, zone, instant (UTC), quiet?
    ("22:00-07:00", "UTC", "2026-03-01 21:59:59.999", False),
    ("22:00-07:00", "UTC", "2026-03-01 22:00", True),
    ("22:00-07:00", "UTC", "2026-03-02 06:59", True),
    ("22:00-07:00", "UTC", "2026-03-02 07:00", False),
    ("12:00-14:00", "UTC", "2026-03-02 13:00", True),
    ("12:00-14:00", "UTC", "2026-03-02 14:00", False),
    # Berlin is an hour ahead in winter and two in summer; the clocks go forward on 29 March 2026, back on 25 October.
    ("22:00-07:00", "Europe/Berlin", "2026-03-28 05:59", True),
    ("22:00-07:00", "Europe/Berlin", "2026-03-28 06:00", False),
    ("22:00-07:00", "Europe/Berlin", "2026-03-29 04:59", True),
    ("22:00-07:00", "Europe/Berlin", "2026-03-29 05:00", False),
    ("22:00-07:00", "Europe/Berlin", "2026-10-25 05:59", True),
    ("22:00-07:00", "Europe/Berlin", "2026-10-25 06:00", False),
    # On that October night 02:30 comes twice: quiet until half past two is quiet both times, and in the half hour between.
    ("22:00-02:30", "Europe/Berlin", "2026-10-25 00:29", True),
    ("22:00-02:30", "Europe/Berlin", "2026-10-25 00:30", False),
    ("22:00-02:30", "Europe/Berlin", "2026-10-25 01:00", True),
    ("22:00-02:30", "Europe/Berlin", "2026-10-25 01:30", False),
    ("22:00-07:00", "Asia/Kathmandu", "2026-03-01 01:14", True),  # 06:59 there
    ("22:00-07:00", "Asia/Kathmandu", "2026-03-01 01:15", False),
]


@pytest.mark.parametrize(("hours", "zone", "at", "quiet"), QUIET)
def test_quiet_hours_are_those_of_the_wall_clock(
    hours: str, zone: str, at: str, quiet: bool, instant: Callable[[str], int]
) -> None:
    settings = good(f'[notices]\nquiet_hours = "{hours}"\ntime_zone = "{zone}"' + MAIL)
    assert settings.urgent_only(instant(at)) is quiet


@pytest.mark.parametrize(
    ("contact", "problem"),
    [
        (Contact("alice@example.net", "+4915112345678", "pt-BR"), None),
        (Contact(), None),
        (Contact(email="alice"), "email: 'alice' is no e-mail address; write for example alice@example.net"),
        (Contact(email="a@b\r\nBcc: c@d"), "email: 'a@b\\r\\nBcc: c@d' is no e-mail address; write for example alice@example.net"),
        (Contact(email="zoë@example.net"), "email: 'zoë@example.net' is no e-mail address; write for example alice@example.net"),
        (Contact(email="a@-b.net"), "email: 'a@-b.net' is no e-mail address; write for example alice@example.net"),
        (Contact(phone="015112345678"), "phone: '015112345678' is no telephone number; write + and digits, with the country, for example +4915112345678"),
        (Contact(language="German"), "language: 'German' is no language; write for example en, de or es"),
    ],
)  # fmt: skip
def test_contact_data_is_checked_at_the_door(contact: Contact, problem: str | None) -> None:
    assert contact.faults() == ([] if problem is None else [problem])
