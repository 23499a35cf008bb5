"""The octets that go out."""

import email
import json
from email.policy import default

import pytest

from charging.notices.letter import Letter, mail, secret_of, signature, webhook_body, webhook_headers
from charging.notices.wording import Said

LETTER = Letter(
    account_id=4,
    notice_id=7,
    channel="email",
    subscriber_id=9,
    lease_epoch=1,
    lease_until=0,
    attempts=1,
    give_up_at=0,
    account="smith",
    currency="EUR",
    kind="threshold",
    detail="data: 5 octets left",
    facts={"bucket": "data", "unit": "octets", "left": 5},
    session_id=11,
    created_at=1_796_083_200_250,
    username="alice",
    email="alice@example.net",
    phone="+4915112345678",
    language="de",
)
SAID = Said("Noch 5 B, Grüße", "Guten Tag alice,\n\nnoch 5 B übrig.\n")


def test_a_mail() -> None:
    octets = mail(
        LETTER, SAID, "Example ISP <noreply@example.net>", "alice@example.net", "example.net", 1_796_083_201_000
    )
    assert b"\n" not in octets.replace(b"\r\n", b"")
    read = email.message_from_bytes(octets, policy=default)
    assert dict(read.items()) == {
        "From": "Example ISP <noreply@example.net>",
        "To": "alice@example.net",
        "Subject": "Noch 5 B, Grüße",
        "Date": "Tue, 01 Dec 2026 00:00:01 +0000",
        "Message-ID": "<4-7-9.email@example.net>",
        "Auto-Submitted": "auto-generated",
        "Content-Type": 'text/plain; charset="utf-8"',
        "Content-Transfer-Encoding": read["Content-Transfer-Encoding"],
        "MIME-Version": "1.0",
    }
    assert read.get_content().replace("\r\n", "\n") == SAID.text
    octets.decode("ascii")


def test_a_webhook_says_everything() -> None:
    assert json.loads(webhook_body(LETTER, SAID)) == {
        "type": "notice.threshold",
        "timestamp": "2026-12-01T00:00:00.250Z",
        "data": {
            "notice_id": 7,
            "account": "smith",
            "currency": "EUR",
            "session_id": 11,
            "kind": "threshold",
            "detail": "data: 5 octets left",
            "facts": {"bucket": "data", "unit": "octets", "left": 5},
            "subscriber": {
                "username": "alice",
                "email": "alice@example.net",
                "phone": "+4915112345678",
                "language": "de",
            },
            "subject": SAID.subject,
            "text": SAID.text,
        },
    }


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The vector of the specification's reference libraries."""
    secret = secret_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_headers_name_and_date_what_is_signed() -> None:
    secret = secret_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert webhook_headers(LETTER, b"{}", secret, 1_614_265_330_999) == {
        "webhook-id": "msg_4-7-9",
        "webhook-timestamp": "1614265330",
        "webhook-signature": signature(secret, "msg_4-7-9", 1_614_265_330, b"{}"),
    }


@pytest.mark.parametrize("text", ["", "secret", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", "whsec_" + "A" * 200])
def test_a_weak_or_broken_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no signing secret: whsec_ and the base64 of 24 to 64 octets; make one:"):
        secret_of(text)
