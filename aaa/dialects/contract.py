"""What a dialect is, and the words that all of them have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from aaa.nas import CounterUnit, Wish
from aaa.wire import Attribute
from aaa.wire.values import Value, encode_value, find
from charging.plan import Profile

Capability = Literal["rate", "disconnect", "reauthenticate"]
Subject = Literal[
    "enforcement", "identification", "rate", "volume", "redirect", "session-timeout", "counters", "interval", "quirk"
]
Source = Literal["tested", "measured", "code", "manual", "report", "assumed", "site"]
"""`tested`: a test here runs the real program. `measured`: seen on it, no test repeats that. `code`: read in its source.
`manual`: its vendor says so. `report`: somebody else who runs it does. `assumed`: the RFCs say so, nobody looked. `site`:
this site's configuration file says so."""

GIGAWORD_OCTETS: Final = 2**32
HIGHEST_INTEGER: Final = 2**32 - 1
_NUMBERS: Final = frozenset({"integer", "date", "signed", "short", "byte", "integer64"})


class Claim(NamedTuple):
    """One thing that is said of a kind of equipment, and why we believe it."""

    subject: Subject
    says: str
    source: Source
    where: str = ""
    """The test, the manual, the thread."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a kind of NAS understands. Attribute names are the dictionary's."""

    name: str
    about: str
    """One line for `aaa nas add --help`."""
    capability: Capability
    """`rate`: a CoA changes a running session's speed. `disconnect`: it can only be ended, and logs in again.
    `reauthenticate`: it can be told nothing, but asks for every running session again and again."""
    profile: Callable[[Profile], tuple[Attribute, ...]]
    """A profile in this vendor's words, for Accept and CoA alike: rates, filter, redirect. ValueError: rate 0."""
    identification: tuple[str, ...]
    """What names a session in CoA and Disconnect, and nothing else: some refuse any further attribute."""
    reduced_identification: tuple[str, ...]
    """A smaller set, tried when the first is answered with 401, 402, 403, 404 or 407. Equal to it: there is none
    that could not mean another session."""
    telling_apart: tuple[str, ...] = ()
    """What it also looks at where it is said: for two sessions that `identification` does not tell apart."""
    unlimited: tuple[Attribute, ...] = ()
    """What takes an earlier rate back; in a CoA it stands for what the profile leaves unsaid."""
    lasting: frozenset[str] = frozenset()
    """Attributes that a CoA can replace but not take back: a session that must lose one logs in again."""
    redirect_by_coa: bool = True
    """A CoA brings a running session into the walled garden; where not, it logs in again and lands there."""
    coa_replaces_all: bool = False
    """A CoA forgets all that the Accept said and it does not repeat."""
    coa_port: int = 3799
    message_authenticator: bool = True
    """Whether CoA and Disconnect carry one."""
    event_timestamp: bool = False
    """Whether CoA and Disconnect carry one."""
    counters_reversed: bool = False
    session_timeout_extendable: bool = True
    """A Session-Timeout in the Accept can be moved later; where not, one for the balance's sake would outlive a top-up."""
    least_session_timeout_seconds: int = 0
    """No shorter Session-Timeout is said, but this one: its clients would log in again at once, over and over. Where
    nothing else can end a session, what is right is said all the same."""
    one_in_flight: bool = False
    """A second request for a session while one is unanswered is lost."""
    proof_of_ack: bool = True
    """False: it acknowledges what it does not do; only its next report tells."""
    quota: Callable[[int], tuple[Attribute, ...]] | None = None
    """How many octets, both directions together, it lets through by itself before it ends the session. None: it does not
    count for us."""
    quota_counts_from_now: bool = False
    """A volume in a CoA is what is still to go; else it counts from the session's start, like the first."""
    rates_by_name: bool = False
    """A profile is something of that name on the NAS, so it has no other rates than that."""
    volume_by_coa: bool = False
    """A CoA moves the volume limit of a running session."""
    no_volume_limit: tuple[Attribute, ...] = ()
    """What takes a volume limit back."""
    interval_by_coa: bool = False
    """A CoA with Acct-Interim-Interval has it report more often."""
    bare_nak_is_gone: bool = False
    """It gives no Error-Cause, and a Disconnect is refused for one reason only: it has no such session."""
    least_interval_seconds: int = 60
    """Asked to report more often than this, it does not, or not so often."""
    session_timeout_counts_from_now: bool = False
    """A Session-Timeout in a CoA is what is still to go; else it counts from the session's start."""
    asks_again_at_timeout: bool = False
    """With Termination-Action RADIUS-Request (RFC 3580 section 3.17) a Session-Timeout has it authenticate the session again
    instead of ending it."""
    wishes_unknown: bool = False
    """Nobody knows whether CoA and Disconnect must carry a Message-Authenticator and an Event-Timestamp: both ways are
    tried, and what was answered is remembered."""
    counter_unit: CounterUnit = "octets"
    counters_delta: bool = False
    """Each report counts from the one before."""
    counter_bits: int | None = None
    """32: no gigawords, counters wrap; 64: they never do; None: its reports show it."""
    reports_services: bool = False
    """It reports the services in a session beside the session itself."""
    switch: Callable[[Profile, Profile | None], tuple[tuple[Attribute, ...], ...]] | None = None
    """Where a profile is a service of the NAS: what puts it in the place of the previous one, CoA by CoA."""
    claims: tuple[Claim, ...] = ()
    """What all this rests on, and what else is worth knowing."""


@dataclass(frozen=True, slots=True)
class Identity:
    """By what a NAS may know a session; None: it never told us."""

    username: str
    acct_session_id: bytes | None
    framed_address: str | None
    calling_station: str | None
    nas_port_id: str | None
    shared: bool = False
    """The user has another live session under the same Acct-Session-Id there."""


def accept(
    dialect: Dialect, profile: Profile, own: tuple[Attribute, ...] = (), *, own_wins: bool = True
) -> tuple[Attribute, ...]:
    """A profile as an Access-Accept says it: the vendor's words, what only a login can set, then the raw attributes.

    `own`: what the plan and the subscriber say themselves. It stands in the place of the profile's words; or, where it
    must not win (the profile is what is left when the money is gone), beside them.

    Session-Timeout, Acct-Interim-Interval and Class are not among them: they depend on more than the profile.
    ValueError for a rate of 0, or a raw attribute that its dictionary does not have or whose value does not fit.
    """
    said = dialect.profile(profile)
    words = (*said, *_unsaid(said, _login_words(profile)), *raw_attributes(profile))
    if not own:
        return words
    return in_their_place(words, own) if own_wins else (*words, *not_in(words, own))


def change(
    dialect: Dialect, profile: Profile, previous: Profile | None, *, redirect: bool, own: tuple[Attribute, ...] = ()
) -> tuple[tuple[Attribute, ...], ...] | None:
    """A profile as CoAs say it to a running session, nearly always one; where there are more, they go in this order and
    the last one decides. None when only a new login can bring it about.

    `previous`: what the NAS may be applying now. `redirect`: this is the way into the walled garden, or out of it.
    A CoA is absolute: it means the same whatever was said before. ValueError as for `accept`.

    `own`: what the plan and the subscriber say themselves. Of it only what stands in the place of a word that a CoA
    says goes out again: the rest was said by the Accept and stays.
    """
    if dialect.capability != "rate" or (redirect and not dialect.redirect_by_coa):
        return None
    raw = raw_attributes(profile)
    if dialect.switch is not None:
        *before, last = dialect.switch(profile, previous)
        return (*before, (*last, *raw))
    said = dialect.profile(profile)
    if previous is not None:
        kept = dialect.lasting & {name for name, _ in (*dialect.profile(previous), *raw_attributes(previous))}
        if kept - {name for name, _ in (*said, *raw, *own)}:
            return None
    if dialect.coa_replaces_all:
        said = (*said, *_unsaid(said, _running_words(profile)))
    words = (*said, *_unsaid((*said, *raw), dialect.unlimited), *raw)
    if own:
        earlier = () if previous is None else (*dialect.profile(previous), *raw_attributes(previous))
        repeated = {slot(*each) for each in (*words, *earlier)}
        again = own if dialect.coa_replaces_all else tuple(each for each in own if slot(*each) in repeated)
        words = in_their_place(words, again)
    return (words,)


def slot(name: str, value: Value) -> tuple[str, str]:
    """What an attribute is in the place of another for: its name; a Cisco-AVPair is many attributes of one name, and its
    own name stands before the `=`."""
    return name, str(value).partition("=")[0] if name == "Cisco-AVPair" else ""


def in_their_place(words: tuple[Attribute, ...], own: tuple[Attribute, ...]) -> tuple[Attribute, ...]:
    """The words, but for those that the later ones say too; then the later ones."""
    return (*not_in(own, words), *own)


def not_in(said: tuple[Attribute, ...], words: tuple[Attribute, ...]) -> tuple[Attribute, ...]:
    """Those of the words that are not said already."""
    slots = {slot(*each) for each in said}
    return tuple(word for word in words if slot(*word) not in slots)


def wish(speaks: Dialect, *, usual: bool) -> Wish:
    """Whether commands carry something, as the dialect says it."""
    return "auto" if speaks.wishes_unknown else "yes" if usual else "no"


def limits(dialect: Dialect, profile: Profile) -> bool:
    """Whether an Accept with this profile can hold a session to anything. Who must be slow where nothing makes him slow
    is not to be let in."""
    return bool(dialect.profile(profile) or profile.attributes or profile.pool or profile.filter or profile.vlan)


def names_in_turn(speaks: Dialect, identity: Identity) -> tuple[tuple[str, ...], ...]:
    """By what to name a session, and by what when the NAS finds fault with that."""
    if identity.shared and speaks.telling_apart:
        return (*speaks.identification, *speaks.telling_apart), speaks.identification
    return tuple(dict.fromkeys((speaks.identification, speaks.reduced_identification)))


def identify(names: tuple[str, ...], identity: Identity) -> tuple[Attribute, ...]:
    """The attributes of these names that we know of a session, in their order."""
    framed = identity.framed_address
    known: dict[str, str | bytes | None] = {
        "User-Name": identity.username,
        "Acct-Session-Id": identity.acct_session_id,
        "Framed-IP-Address": None if framed is None or ":" in framed else framed,
        "Calling-Station-Id": identity.calling_station,
        "NAS-Port-Id": identity.nas_port_id,
    }
    return tuple((name, value) for name in names if (value := known[name]))


def rate_bps(profile: Profile) -> tuple[int, int] | None:
    """(up, down) in bit/s where the profile limits one of them; 0 stands for the direction that it leaves free.

    ValueError where the profile itself says 0: that would lift the limit it means to set.
    """
    for rate in (profile.rate_up_bps, profile.rate_down_bps, profile.burst_up_bps, profile.burst_down_bps):
        if rate is not None and rate <= 0:
            raise ValueError(f"profile {profile.name}: a rate of {rate} bit/s would mean no limit")
    if profile.rate_up_bps is None and profile.rate_down_bps is None:
        return None
    return profile.rate_up_bps or 0, profile.rate_down_bps or 0


def wispr_rate(profile: Profile) -> tuple[Attribute, ...]:
    """WISPr-Bandwidth-Max-*, in bit/s; 4.29 Gbit/s is the most that they can say."""
    up, down = rate_bps(profile) or (0, 0)
    said = (("WISPr-Bandwidth-Max-Up", up), ("WISPr-Bandwidth-Max-Down", down))
    return tuple((name, min(bps, HIGHEST_INTEGER)) for name, bps in said if bps)


def kbps(bps: int) -> int:
    """Whole kbit/s, rounded down, but at least 1: 0 would be no limit, and stays it."""
    return max(bps // 1000, 1) if bps else 0


def split(octets: int) -> tuple[int, int]:
    """(gigawords, octets) of 32 bits each, as RFC 2869 section 5.1 splits a counter. ValueError for less than 1 octet."""
    if octets < 1:
        raise ValueError(f"a volume limit of {octets} octets would mean no limit")
    return divmod(min(octets, 2**64 - 1), GIGAWORD_OCTETS)


def raw_attributes(profile: Profile) -> tuple[Attribute, ...]:
    """The profile's own attributes, their text read by the dictionary's type: numbers, the names of numbers, and
    octets as `0x…`. ValueError, naming profile and attribute, for what no dictionary knows or does not fit."""
    return tuple(_read(profile, name, text) for name, text in profile.attributes)


def _read(profile: Profile, name: str, text: str) -> Attribute:
    try:
        return read_attribute(name, text)
    except ValueError as error:
        raise ValueError(f"profile {profile.name}: {error}") from error


def read_attribute(name: str, text: str) -> Attribute:
    """An attribute from its name and a text, as in `raw_attributes`. ValueError."""
    definition = find(name)[3]
    value: int | str | bytes = text
    if definition is None or definition.datatype == "octets":
        value = _octets(name, text)
    elif definition.datatype in _NUMBERS and text not in definition.values and text.isdecimal():
        value = int(text)
    if definition is not None:
        encode_value(name, definition, value)
    return name, value


def _octets(name: str, text: str) -> bytes:
    if not text.startswith("0x"):
        return text.encode()
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        raise ValueError(f"{name} = {text!r}: behind 0x stand pairs of hexadecimal digits") from None


def _login_words(profile: Profile) -> tuple[Attribute, ...]:
    words: list[Attribute] = []
    if profile.pool is not None:
        words.append(("Framed-Pool", profile.pool))
    if profile.filter is not None:
        words.append(("Filter-Id", profile.filter))
    if profile.idle_timeout_seconds is not None:
        words.append(("Idle-Timeout", profile.idle_timeout_seconds))
    if profile.vlan is not None:  # RFC 3580 3.31
        words.append(("Tunnel-Type:1", "VLAN"))
        words.append(("Tunnel-Medium-Type:1", "IEEE-802"))
        words.append(("Tunnel-Private-Group-Id:1", str(profile.vlan)))
    return tuple(words)


def _running_words(profile: Profile) -> tuple[Attribute, ...]:
    """What an Accept says that a session would lose when a CoA does not repeat it."""
    words: list[Attribute] = [("Acct-Interim-Interval", profile.interim_interval_seconds)]
    if profile.session_timeout_seconds is not None:
        words.append(("Session-Timeout", profile.session_timeout_seconds))
    if profile.idle_timeout_seconds is not None:
        words.append(("Idle-Timeout", profile.idle_timeout_seconds))
    if profile.filter is not None:
        words.append(("Filter-Id", profile.filter))
    return tuple(words)


def _unsaid(said: tuple[Attribute, ...], words: tuple[Attribute, ...]) -> tuple[Attribute, ...]:
    names = {name for name, _ in said}
    return tuple(word for word in words if word[0] not in names)
