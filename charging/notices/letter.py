"""One notice for one reader by one channel, and the octets that go out: a mail (RFC 5322), or a signed webhook."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, Final

from charging.notices.kinds import Facts
from charging.notices.wording import About, Said
from charging.plan import Instant

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  how one begins
LEAST_SECRET_OCTETS: Final = 24
MOST_SECRET_OCTETS: Final = 64
#: Not every server takes eight bits (RFC 6152).
_MAIL: Final = SMTP.clone(cte_type="7bit")


@dataclass(frozen=True, slots=True)
class Letter:
    """A delivery that is ours until `lease_until`, with all that must be known to carry it out."""

    account_id: int
    notice_id: int
    channel: str
    subscriber_id: int
    lease_epoch: int
    lease_until: Instant
    attempts: int
    """This one included."""
    give_up_at: Instant
    account: str
    currency: str
    kind: str
    detail: str
    facts: Facts
    session_id: int | None
    created_at: Instant
    username: str | None
    """None: nobody in particular."""
    email: str | None
    phone: str | None
    language: str | None

    @property
    def about(self) -> About:
        """What its text may say besides the facts."""
        username = self.username or self.account
        return About(self.kind, self.detail, self.account, username, self.currency, self.created_at)

    @property
    def name(self) -> str:
        """The same for every attempt, and for no other letter: a receiver may know a repetition by it."""
        return f"{self.account_id}-{self.notice_id}-{self.subscriber_id}"


def mail(letter: Letter, said: Said, sender: str, to: str, domain: str, now: Instant) -> bytes:
    """The mail as SMTP carries it, lines ended by CRLF. ValueError where a header can not be written."""
    message = EmailMessage(policy=_MAIL)
    message["From"] = sender
    message["To"] = to
    message["Subject"] = said.subject
    message["Date"] = datetime.fromtimestamp(now // 1000, UTC)
    message["Message-ID"] = f"<{letter.name}.{letter.channel}@{domain}>"
    # RFC 3834: nobody's holiday answers this.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(said.text)
    return message.as_bytes()


def webhook_body(letter: Letter, said: Said) -> bytes:
    """The JSON that a webhook is told; docs/notices.md has its fields."""
    reader: dict[str, Any] | None = None
    if letter.username is not None:
        reader = {
            "username": letter.username,
            "email": letter.email,
            "phone": letter.phone,
            "language": letter.language,
        }
    moment = datetime.fromtimestamp(letter.created_at // 1000, UTC).replace(microsecond=letter.created_at % 1000 * 1000)
    body = {
        "type": f"notice.{letter.kind}",
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": {
            "notice_id": letter.notice_id,
            "account": letter.account,
            "currency": letter.currency,
            "session_id": letter.session_id,
            "kind": letter.kind,
            "detail": letter.detail,
            "facts": dict(letter.facts),
            "subscriber": reader,
            "subject": said.subject,
            "text": said.text,
        },
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def webhook_headers(letter: Letter, body: bytes, secret: bytes, now: Instant) -> dict[str, str]:
    """The headers that name, date and sign a webhook, as the Standard Webhooks specification has them."""
    name, seconds = f"msg_{letter.name}", now // 1000
    return {
        "webhook-id": name,
        "webhook-timestamp": str(seconds),
        "webhook-signature": signature(secret, name, seconds, body),
    }


def signature(secret: bytes, name: str, seconds: int, body: bytes) -> str:
    """The value of webhook-signature."""
    signed = hmac.digest(secret, b"%s.%d.%s" % (name.encode(), seconds, body), "sha256")
    return f"v1,{base64.b64encode(signed).decode()}"


def secret_of(text: str) -> bytes:
    """The signing key out of `whsec_` and base64; ValueError says what would be right."""
    try:
        if not text.startswith(SECRET_PREFIX):
            raise ValueError
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
        if not LEAST_SECRET_OCTETS <= len(secret) <= MOST_SECRET_OCTETS:
            raise ValueError
    except (ValueError, binascii.Error):
        raise ValueError(
            f"is no signing secret: {SECRET_PREFIX} and the base64 of {LEAST_SECRET_OCTETS} to {MOST_SECRET_OCTETS} "
            f"octets; make one: (printf {SECRET_PREFIX}; head -c 32 /dev/urandom | base64) > FILE"
        ) from None
    return secret
