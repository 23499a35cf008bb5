"""Who may come in, and what the NAS is told about him."""

from __future__ import annotations

from typing import Final, NamedTuple

from aaa.dialects import Dialect
from aaa.dialects import accept as profile_words
from aaa.passwords import Verdict
from aaa.subscriber import Subscriber
from aaa.wire import Attribute
from charging.admission import Admitted
from charging.plan import Instant

#: RADIUS has 32 bits for a time; what does not fit is no limit.
_LONGEST_SECONDS: Final = 2**31 - 1


class Rejection(NamedTuple):
    """Why not: for the log. `message` is what the subscriber may be told; empty for everything about credentials,
    so that nobody learns which user names exist."""

    reason: str
    message: str = ""


_MESSAGES: Final = {
    "suspended": "Your access is suspended.",
    "expired": "Your access has expired.",
    "exhausted": "Your balance is used up.",
    "too-many-sessions": "You are already connected as often as your plan allows.",
}


def rejection(reason: str) -> Rejection:
    """The rejection for a refusal of ours or of charging's."""
    return Rejection(reason, _MESSAGES.get(reason, ""))


def decide(subscriber: Subscriber | None, verdict: Verdict, now: Instant) -> Rejection | None:
    """May he ask charging for a session? None: yes. Nothing but the password is looked at until it was right."""
    if subscriber is None:
        return Rejection("unknown-user")
    if verdict != "right":
        return Rejection("wrong-password" if verdict == "wrong" else "method-not-possible")
    if subscriber.status != "active":
        return rejection("suspended")
    if subscriber.expires_at is not None and subscriber.expires_at <= now:
        return rejection("expired")
    return None


def accept(admitted: Admitted, dialect: Dialect, token: bytes) -> list[Attribute]:
    """The attributes of an Access-Accept: the session's token, its limits, and the profile in the NAS's own words."""
    limits = [seconds for seconds in (admitted.time_limit_seconds,) if seconds is not None]
    # Where the NAS can not move a Session-Timeout later, one for the balance's sake would outlive a top-up.
    if admitted.paid_seconds is not None and dialect.session_timeout_extendable:
        limits.append(admitted.paid_seconds)
    attributes: list[Attribute] = [("Class", token)]
    if limits and min(limits) <= _LONGEST_SECONDS:
        attributes.append(("Session-Timeout", min(limits)))
    attributes.append(("Acct-Interim-Interval", admitted.interim_interval_seconds))
    attributes.extend(profile_words(dialect, admitted.profile))
    return attributes


def reject(why: Rejection) -> list[Attribute]:
    """The attributes of an Access-Reject."""
    return [("Reply-Message", why.message)] if why.message else []
