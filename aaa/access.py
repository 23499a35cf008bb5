"""Who may come in, and what the NAS is told about him."""

from __future__ import annotations

from typing import Final, NamedTuple

from aaa.dialects import Dialect
from aaa.dialects import accept as profile_words
from aaa.dialects.contract import not_in
from aaa.passwords import Credential, Method, MsChap1, MsChap2, PasswordChange, Verdict, mppe, mschap
from aaa.passwords.nt import hash_of_hash
from aaa.subscriber import Subscriber
from aaa.wire import Attribute
from charging.addresses import NO_ADDRESSES, Addresses
from charging.admission import Admitted
from charging.plan import Instant
from charging.session import Means

#: RADIUS has 32 bits for a time; what does not fit is no limit.
_LONGEST_SECONDS: Final = 2**31 - 1


class Rejection(NamedTuple):
    """Why not: for the log. `message` is what the subscriber may be told; empty for everything about credentials,
    so that nobody learns which user names exist."""

    reason: str
    message: str = ""
    detail: str = ""
    """For the log: which condition it was."""


_MESSAGES: Final = {
    "suspended": "Your access is suspended.",
    "expired": "Your access has expired.",
    "exhausted": "Your balance is used up.",
    "cap": "You have used what your plan allows for now.",
    "too-many-sessions": "You are already connected as often as your plan allows.",
    "nas-not-allowed": "Your access is not valid here.",
    "port-type-not-allowed": "Your access is not valid here.",
    "station-not-allowed": "Your access is not valid with this device.",
    "outside-hours": "Your access is not valid at this time.",
}

#: The same, for clients of MS-CHAP (RFC 2759 section 6); for whatever else, and all about credentials: 691.
_MS_CHAP_ERRORS: Final = {
    "suspended": mschap.ACCOUNT_DISABLED,
    "expired": mschap.NO_DIALIN_PERMISSION,
    "exhausted": mschap.NO_DIALIN_PERMISSION,
    "cap": mschap.NO_DIALIN_PERMISSION,
    "too-many-sessions": mschap.NO_DIALIN_PERMISSION,
    "nas-not-allowed": mschap.NO_DIALIN_PERMISSION,
    "port-type-not-allowed": mschap.NO_DIALIN_PERMISSION,
    "station-not-allowed": mschap.NO_DIALIN_PERMISSION,
    "outside-hours": mschap.RESTRICTED_LOGON_HOURS,
}
#: Termination-Action (RFC 2865 section 5.29).
_RADIUS_REQUEST: Final = 1
#: How often a NAS authenticates a running session again that was told to do so earlier: it forgets that only when it is told
#: another time.
_ASK_AGAIN_SECONDS: Final = 3_600
# RFC 2548 sections 2.4.4 and 2.4.5. RC4 with 40 bits is not offered.
_ENCRYPTION_ALLOWED: Final = 1
_ONLY_128_BIT: Final = 4


#: In the order of `Addresses`.
_ADDRESS_ATTRIBUTES: Final = ("Framed-IP-Address", "Framed-IPv6-Address", "Framed-IPv6-Prefix", "Delegated-IPv6-Prefix")


def rejection(reason: str, detail: str = "") -> Rejection:
    """The rejection for a refusal of ours or of charging's."""
    return Rejection(reason, _MESSAGES.get(reason, ""), detail)


def decide(subscriber: Subscriber | None, verdict: Verdict, now: Instant) -> Rejection | None:
    """May he ask charging for a session? None: yes. Nothing but the password is looked at until it was right."""
    refusal = unproven(subscriber, verdict)
    if refusal is not None or subscriber is None:
        return refusal
    if subscriber.status != "active":
        return rejection("suspended")
    if subscriber.expires_at is not None and subscriber.expires_at <= now:
        return rejection("expired")
    return None


def unproven(subscriber: Subscriber | None, verdict: Verdict) -> Rejection | None:
    """Why this is not proven to be a subscriber of ours; None: it is."""
    if subscriber is None:
        return Rejection("unknown-user")
    if verdict != "right":
        return Rejection("wrong-password" if verdict == "wrong" else "method-not-possible")
    return None


def accept(
    admitted: Admitted,
    dialect: Dialect,
    token: bytes,
    own: tuple[Attribute, ...] = (),
    *,
    means: Means = "profile",
) -> list[Attribute]:
    """The attributes of an Access-Accept: the session's token, its limits, its addresses, the profile in the NAS's own
    words, and what the plan and the subscriber say beside it (`own`). Who is slow because nothing is paid does not
    become fast by an attribute of his own. `means`: what the NAS can be made to do."""
    limits = [seconds for seconds in (admitted.time_limit_seconds,) if seconds is not None]
    # Where the NAS can not move a Session-Timeout later, one for the balance's sake would outlive a top-up.
    if admitted.paid_seconds is not None and dialect.session_timeout_extendable:
        limits.append(admitted.paid_seconds)
    if admitted.cap_seconds is not None:
        limits.append(admitted.cap_seconds)
    attributes: list[Attribute] = [("Class", token)]
    asks_again = dialect.asks_again_at_timeout and means == "disconnect"
    if asks_again and admitted.again and not limits:
        limits.append(_ASK_AGAIN_SECONDS)
    if limits and min(limits) <= _LONGEST_SECONDS:
        least = 0 if means == "time" else dialect.least_session_timeout_seconds
        attributes.append(("Session-Timeout", max(min(limits), least)))
        if asks_again and admitted.wanted == "full" and min(limits) != admitted.time_limit_seconds:
            # Only because little is left now. It may have been paid by then, and a Disconnect ends it anyway.
            attributes.append(("Termination-Action", _RADIUS_REQUEST))
    attributes.append(("Acct-Interim-Interval", admitted.interim_interval_seconds))
    own_wins = admitted.wanted == "full" and not admitted.paced
    words = profile_words(dialect, admitted.profile, own, own_wins=own_wins)
    addresses = address_words(admitted.addresses)
    if addresses:
        words = not_in(addresses, words)
        attributes.extend(addresses)
    if admitted.limit_octets is not None and dialect.quota is not None:
        # How far it may go before it is asked again is ours to say, whatever anybody wrote down.
        quota = dialect.quota(admitted.limit_octets)
        words = (*not_in(quota, words), *quota)
    attributes.extend(words)
    return attributes


def address_words(addresses: Addresses) -> tuple[Attribute, ...]:
    """What a session is given, in the RFCs' words (2865, 6911, 3162, 4818)."""
    if addresses is NO_ADDRESSES:
        return ()
    return tuple((name, value) for name, value in zip(_ADDRESS_ATTRIBUTES, addresses, strict=True) if value is not None)


def proof(method: MsChap1 | MsChap2, credential: Credential) -> list[Attribute]:
    """What an Access-Accept says after MS-CHAP: that this server knows the password too, and the keys of PPP's encryption."""
    nt = credential.known_nt_hash()
    assert nt is not None, "else it had not been right"
    attributes: list[Attribute] = [
        ("MS-MPPE-Encryption-Policy", _ENCRYPTION_ALLOWED),
        ("MS-MPPE-Encryption-Types", _ONLY_128_BIT),
    ]
    if isinstance(method, MsChap1):
        # RFC 2548 section 2.4.1: 8 octets of LM key, which nothing here keeps, 16 of NT key, 8 of padding.
        return [*attributes, ("MS-CHAP-MPPE-Keys", bytes(8) + hash_of_hash(nt) + bytes(8))]
    said = bytes([method.identifier]) + mschap.authenticator_response(method, nt)
    return [("MS-CHAP2-Success", said), *attributes, *keys(mppe.keys_2(nt, method.nt_response))]


def keys(each: mppe.Keys) -> list[Attribute]:
    """MS-MPPE-Send-Key and -Recv-Key (RFC 2548 section 2.4); the wire hides them."""
    return [("MS-MPPE-Send-Key", each.send), ("MS-MPPE-Recv-Key", each.recv)]


def reject(why: Rejection, method: Method | None = None) -> list[Attribute]:
    """The attributes of an Access-Reject."""
    attributes: list[Attribute] = [("Reply-Message", why.message)] if why.message else []
    if isinstance(method, MsChap1 | MsChap2):
        error = mschap.failure(_MS_CHAP_ERRORS.get(why.reason, mschap.AUTHENTICATION_FAILURE), method.challenge)
        attributes.append(("MS-CHAP-Error", bytes([method.identifier]) + error))
    elif isinstance(method, PasswordChange):
        error = mschap.failure(mschap.ERROR_CHANGING_PASSWORD, bytes(mschap.CHALLENGE_OCTETS))
        attributes.append(("MS-CHAP-Error", bytes([method.identifier]) + error))
    return attributes
