"""What the stories decide, told to a packet's trail in words. Where there is no trail, nothing is said. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aaa.accounting import Restart
from aaa.eap import Checked
from aaa.messages import AccessRequest, port_type_name
from aaa.passwords import Verdict, name_of
from aaa.subscriber import Subscriber
from aaa.trail import Trail, said_by, shown
from aaa.wire import Attribute
from charging.admission import Admitted, Refused
from charging.conditions import Judgement
from charging.session import Report
from charging.usage import Orphan, Recorded


def proven(trail: Trail | None, *, signed: bool) -> None:
    """The sender is the NAS, and it is no repetition."""
    if trail is not None:
        trail.proven = True
        trail.say("the shared secret is right, {} Message-Authenticator", "with" if signed else "without")


def request(trail: Trail | None, said: AccessRequest, name: str) -> None:
    """Who asks, and how; `name`: the one that he has here."""
    if trail is None:
        return
    trail.username = name
    trail.say(
        "{!r} asks by {}; device {}, port {}, {}", said.username, name_of(said.method), said.calling_station or "not said",
        said.nas_port_id or "not said", port_type_name(said.port_type) or "port type not said",
    )  # fmt: skip
    if name != said.username:
        trail.say("its realm is known: {!r} here", name)


def verdict(trail: Trail | None, subscriber: Subscriber | None, method: str, found: Verdict) -> None:
    """Was the password right?"""
    if trail is None:
        return
    if subscriber is None:
        trail.say("there is no such subscriber; a password was checked all the same, so that it takes as long")
        return
    words = "this method can not be checked against what is kept" if found == "method" else found
    kept = subscriber.credential.kept
    trail.say("subscriber {!r}, {}; {}: {} (kept: {})", subscriber.username, subscriber.status, method, words, kept)


def judgement(trail: Trail | None, said: Judgement) -> None:
    """What the conditions say."""
    if trail is not None:
        learned = "" if said.learn is None else f"; device {said.learn} is one of the allowed ones from now on"
        trail.say("conditions: {}{}", said.detail, learned)


def admission(trail: Trail | None, outcome: Admitted | Refused) -> None:
    """What charging says."""
    if trail is None:
        return
    if isinstance(outcome, Refused):
        trail.say("charging refuses: {}", outcome.reason)
        return
    limits = (outcome.time_limit_seconds, outcome.paid_seconds)
    trail.say(
        "charging admits: session {}, {}, profile {}; may last {} s, is paid for {} s; committed", outcome.session_id,
        outcome.wanted, outcome.profile.name, *("any number of" if s is None else s for s in limits),
    )  # fmt: skip


def acceptance(
    trail: Trail | None,
    attributes: Sequence[Attribute],
    own: Sequence[Attribute],
    addresses: Sequence[Attribute],
    profile: str,
) -> None:
    """Each attribute of an Accept, and who says it."""
    if trail is not None:
        trail.say_each(_said, attributes, own, addresses, profile)
        trail.say("Access-Accept")


def _said(
    attributes: Sequence[Attribute], own: Sequence[Attribute], addresses: Sequence[Attribute], profile: str
) -> Iterator[str]:
    for each in attributes:
        yield f"says {shown(each)}, by {said_by(each, own, addresses, profile)}"


def refusal(trail: Trail | None, reason: str, detail: str | None) -> None:
    """Why not."""
    if trail is not None:
        trail.say("Access-Reject: {}{}", reason, f", {detail}" if detail else "")


def inside(trail: Trail | None, checked: Checked) -> None:
    """What came of a password inside of EAP."""
    if trail is None:
        return
    if checked.refusal is None:
        trail.say("inside of EAP: the password is right")
    else:
        trail.say("inside of EAP: {}, {}", checked.refusal, checked.detail)
        trail.refused = True


def report(trail: Trail | None, said: Report | Restart, outcome: object) -> None:
    """What a report said, and what it came to; None: the database is away."""
    if trail is None:
        return
    if isinstance(said, Restart):
        trail.say("{}: the sessions of this NAS that are older have ended", said.kind)
        return
    trail.username = said.username
    name = said.acct_session_id.decode("latin-1")
    trail.say(
        "{} of Acct-Session-Id {!r}: its counters say up {}, down {}, {} s", said.kind, name, said.octets_up,
        said.octets_down, said.seconds,
    )  # fmt: skip
    if outcome is None:
        trail.say("the database is away: kept on this machine's disk, to be booked later")
    elif isinstance(outcome, Orphan):
        trail.result = "orphan"
        trail.say("nobody authorised it: {}; kept, not charged", outcome.reason)
    elif isinstance(outcome, Recorded):
        used = outcome.used
        trail.say(
            "session {}: {} octets up, {} down, {} s more, {} micros of money; {}; committed", outcome.session_id, used.up,
            used.down, used.seconds, outcome.micros, outcome.flags or "taken as it stands",
        )  # fmt: skip
