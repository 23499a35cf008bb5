"""Who is told, and when again."""

from dataclasses import replace
from pathlib import Path

import pytest

from charging.notices.kinds import KINDS
from charging.notices.routing import MOST_READERS, Reader, deliveries, next_attempt, wait_ms
from charging.notices.settings import Mail, Readers, Settings, Webhook

ALL = frozenset(KINDS)
MAIL = Mail("mail", "isp@example.net", 587, "starttls", None, None, None, ALL, 30)
ALICE = Reader(1, "alice@example.net", "+491")
BOB = Reader(2, None, "+492")
CAROL = Reader(3, "carol@example.net", None)


def hook(to: Readers = "everyone", kinds: frozenset[str] = ALL) -> Webhook:
    return Webhook("sms", "https://x/", Path("s"), to, kinds, 10)


def settings(mail: Mail | None = MAIL, *hooks: Webhook) -> Settings:
    return Settings("en", "UTC", None, frozenset(), 86_400, None, mail, hooks)


FAMILY = [ALICE, BOB, CAROL]
CASES = [
    ("about one who has an address", "threshold", 1, FAMILY, settings(), [("email", 1)]),
    ("about one who has none: to the others", "threshold", 2, FAMILY, settings(), [("email", 1), ("email", 3)]),
    ("about the account: to all who have one", "threshold", None, FAMILY, settings(), [("email", 1), ("email", 3)]),
    ("about one who is gone", "threshold", 99, FAMILY, settings(), [("email", 1), ("email", 3)]),
    ("nobody has one", "threshold", 2, [BOB], settings(), []),
    ("a kind that mail does not take", "restored", 1, FAMILY, settings(replace(MAIL, kinds=frozenset({"threshold"}))), []),
    ("a webhook for all", "threshold", 2, FAMILY, settings(None, hook()), [("sms", 2)]),
    ("a webhook for phones", "threshold", 3, FAMILY, settings(None, hook("phone")), [("sms", 1), ("sms", 2)]),
    ("a webhook for addresses", "threshold", None, FAMILY, settings(None, hook("email")), [("sms", 1), ("sms", 3)]),
    ("an account of nobody", "threshold", None, [], settings(MAIL, hook()), [("sms", 0)]),
    ("an account of nobody, phones", "threshold", None, [], settings(MAIL, hook("phone")), []),
    ("the network's business goes to no subscriber", "enforcement-failed", 1, FAMILY, settings(), []),
    ("but to the operator", "enforcement-failed", 1, FAMILY, settings(replace(MAIL, operator="noc@x.net")), [("email", 0)]),
    ("and to webhooks, by its subscriber", "enforcement-failed", 2, FAMILY, settings(None, hook("email")), [("sms", 2)]),
    ("a kind of a newer version", "moon", 1, FAMILY, settings(), []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "about", "readers", "rules", "told"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_who_is_told(
    kind: str, about: int | None, readers: list[Reader], rules: Settings, told: list[tuple[str, int]]
) -> None:
    assert deliveries(kind, about, readers, rules) == told


def test_a_hotel_is_not_told_room_by_room() -> None:
    rooms = [Reader(number, f"room{number}@example.net", None) for number in range(1, 500)]
    assert len(deliveries("threshold", None, rooms, settings())) == MOST_READERS


def test_attempts_come_ever_later_and_end() -> None:
    seconds = [wait_ms(attempts) // 1000 for attempts in range(1, 11)]
    assert seconds == [15, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert wait_ms(10**6) == 3_600_000
    assert next_attempt(1, 1_000, 16_000) == 16_000
    assert next_attempt(1, 1_001, 16_000) is None
