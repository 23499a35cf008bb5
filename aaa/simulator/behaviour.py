"""How a simulated NAS behaves: what it reports, how it retransmits, whether it obeys. All switches, no code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Instant = int

Obedience = Literal["obey", "ack-only", "nak", "ignore", "silent"]
"""`obey`: does it and says so. `ack-only`: says so and does nothing. `nak`: refuses (506). `ignore`: neither does it nor
answers. `silent`: does it, but its answer never comes."""


class Service(NamedTuple):
    """A service or role that its people have configured on a NAS, for a server to switch on by name."""

    name: str
    up_bps: int | None = None
    down_bps: int | None = None
    redirects: bool = False


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one NAS does. The defaults are a NAS that keeps to the RFCs."""

    # what it reports
    interim_seconds: int | None = None
    """Reports this often, whatever it was asked for."""
    unasked_interim_seconds: int | None = None
    """Reports this often when the Accept asks for nothing; None: then only Start and Stop."""
    least_interim_seconds: int = 0
    """Raises a shorter interval to this."""
    counters: Literal["all", "not-in-stop", "none"] = "all"
    """Whether octets and Acct-Session-Time are reported (in all reports, not in the Stop) or no octets ever."""
    gigawords: bool = True
    """False: 32-bit counters that wrap."""
    counters_reversed: bool = False
    """Acct-Input-* counts what goes to the subscriber."""
    counters_reset_after_seconds: int | None = None
    """The octet counters of a session begin anew, once, this long after its start; Acct-Session-Time goes on."""
    session_ids: Literal["unique", "reused", "literal"] = "unique"
    """`reused`: a counter that begins anew with every boot. `literal`: the same unexpanded format for every session."""
    event_timestamp: bool = True
    class_echoed: bool = True
    accounting_on: bool = True
    """Whether it says Accounting-On after a boot and Accounting-Off before an orderly one."""
    # how it asks
    message_authenticator: bool = True
    """In Access-Requests."""
    retransmission: Literal["same-bytes", "new-identifier", "fresh-counters"] = "same-bytes"
    """Of accounting: the same packet; a new identifier and Acct-Delay-Time; or that with counters read anew."""
    timeout_ms: int = 3_000
    attempts_per_server: int = 3
    gives_up: bool = True
    """After the last attempt at the last server; False: begins again at the first, for accounting only."""
    ends_unreported_sessions: bool = False
    """An interim that nobody answers ends the session."""
    # what it does when told
    coa: Obedience = "obey"
    disconnect: Obedience = "obey"
    keeps_volume: bool = True
    """Ends a session at the volume that it was told, to the octet; False: it does not count."""
    answer_delay_ms: int = 0
    """Between a CoA or Disconnect and the answer to it; what it asks for is done with the answer."""
    redirected_bps: int = 0
    """What a redirected session can still move, in each direction."""
    reauthenticate_seconds: int | None = None
    """Asks for every running session again this often, a second after its report; a Reject ends it, an Accept is its new
    profile."""
    services: tuple[Service, ...] = ()
    # its subscribers
    reconnect_ms: int | None = None
    """A session that the network ended logs in again after this."""

    def __post_init__(self) -> None:
        if self.timeout_ms <= 0 or self.attempts_per_server <= 0:
            raise ValueError("timeout_ms and attempts_per_server are at least 1")
        if self.interim_seconds is not None and self.interim_seconds <= 0:
            raise ValueError(f"interim_seconds = {self.interim_seconds}: None or at least 1")


@dataclass(frozen=True, slots=True)
class Manners:
    """What equipment of one dialect does with a CoA or Disconnect."""

    needed: frozenset[str]
    """Identification that must be there."""
    any_of: frozenset[str]
    """Identification of which one must be there; what is given of it must all fit."""
    when_missing: Literal["silence", "nak"]
    coa_replaces_profile: bool = False
    coa_acks_nonsense: bool = False
    """A CoA in which it understands nothing is acknowledged; else refused with 401."""
    session_timeout_changes: bool = True
    one_in_flight: bool = False
    """A second request for a session while one is unanswered is lost."""
    coa_changes_profile: bool = True
    """Whether a CoA changes speed and redirect of a running session."""
    refused: frozenset[str] = frozenset()
    """What makes it answer 401 when it is there."""
    ignored: frozenset[str] = frozenset()
    """Identification that it does not look at."""
    timestamp_window_seconds: int | None = None
    """Silence for an Event-Timestamp further away than this."""
    timestamp_needed: bool = False
    """Silence without an Event-Timestamp."""
    error_causes: bool = True
    """Whether it says why it does not know a session, or what it does not understand."""
    answers_by_identifier: bool = False
    """What comes from the same port under the same identifier is the same request to it, whatever it says."""


_BY_SESSION_OR_USER: Final = frozenset({"Acct-Session-Id", "User-Name"})
_BY_ANYTHING: Final = frozenset({"Acct-Session-Id", "User-Name", "Calling-Station-Id", "Framed-IP-Address"})

MANNERS: Final[dict[str, Manners]] = {
    "generic": Manners(frozenset({"Acct-Session-Id"}), frozenset({"Acct-Session-Id"}), "nak"),
    "mikrotik": Manners(
        frozenset({"User-Name", "Framed-IP-Address", "Acct-Session-Id"}), frozenset({"Acct-Session-Id"}), "nak"
    ),
    "accel-ppp": Manners(
        frozenset(),
        _BY_SESSION_OR_USER,
        "nak",
        coa_acks_nonsense=True,
        session_timeout_changes=False,
        one_in_flight=True,
    ),
    "chillispot": Manners(
        frozenset({"User-Name"}), _BY_SESSION_OR_USER, "silence", coa_replaces_profile=True, coa_acks_nonsense=True
    ),
    "wispr": Manners(frozenset({"Acct-Session-Id"}), frozenset({"Acct-Session-Id"}), "nak"),
    "hostapd": Manners(
        frozenset(),
        _BY_ANYTHING,
        "nak",
        session_timeout_changes=False,
        coa_changes_profile=False,
        refused=frozenset({"Framed-IP-Address", "NAS-Port", "Class", "Proxy-State"}),
        timestamp_window_seconds=300,
    ),
    "strongswan": Manners(
        frozenset({"User-Name"}),
        frozenset({"User-Name"}),
        "nak",
        coa_changes_profile=False,
        ignored=_BY_ANYTHING - {"User-Name"},
        error_causes=False,
        answers_by_identifier=True,
    ),
    "cisco-isg": Manners(frozenset({"Acct-Session-Id"}), frozenset({"Acct-Session-Id"}), "nak"),
    "juniper": Manners(frozenset({"Acct-Session-Id"}), frozenset({"Acct-Session-Id"}), "nak"),
    "huawei": Manners(
        frozenset({"Acct-Session-Id"}),
        frozenset({"Acct-Session-Id"}),
        "nak",
        refused=_BY_ANYTHING - {"Acct-Session-Id"},
    ),
    "nokia": Manners(frozenset(), _BY_ANYTHING, "nak"),
    "aruba": Manners(frozenset(), _BY_ANYTHING, "nak", timestamp_window_seconds=300, timestamp_needed=True),
    "ruckus": Manners(frozenset(), _BY_ANYTHING, "nak", coa_changes_profile=False),
    "cambium": Manners(frozenset({"User-Name", "Calling-Station-Id"}), _BY_ANYTHING, "nak", coa_changes_profile=False),
    "ubiquiti-edge": Manners(frozenset({"User-Name"}), _BY_SESSION_OR_USER, "nak", coa_changes_profile=False),
    "pfsense": Manners(frozenset(), frozenset(), "silence", coa_changes_profile=False),
}
"""The first four, hostapd and strongswan as measured on the real programs, the others as their manuals say. Where a manual
leaves it open they are strict, so that what suits them suits a lenient one."""

BEHAVIOURS: Final[dict[str, Behaviour]] = {
    "generic": Behaviour(),
    "mikrotik": Behaviour(),
    "accel-ppp": Behaviour(ends_unreported_sessions=True),
    "chillispot": Behaviour(counters_reversed=True, unasked_interim_seconds=300),
    "wispr": Behaviour(),
    "hostapd": Behaviour(retransmission="fresh-counters"),
    "strongswan": Behaviour(accounting_on=False, ends_unreported_sessions=True),
    "cisco-isg": Behaviour(),
    "juniper": Behaviour(),
    "huawei": Behaviour(),
    "nokia": Behaviour(),
    "aruba": Behaviour(),
    "ruckus": Behaviour(),
    "cambium": Behaviour(),
    "ubiquiti-edge": Behaviour(gigawords=False, session_ids="literal", accounting_on=False, least_interim_seconds=60),
    "pfsense": Behaviour(unasked_interim_seconds=60, class_echoed=False, reauthenticate_seconds=60),
}


def manners_of(dialect: str) -> Manners:
    """ValueError for a dialect that nobody simulates."""
    if dialect not in MANNERS:
        raise ValueError(f"no simulated NAS speaks {dialect!r}; there are {', '.join(sorted(MANNERS))}")
    return MANNERS[dialect]


def behaviour_of(dialect: str) -> Behaviour:
    """What a NAS of this dialect does when nobody says otherwise. ValueError for a dialect that nobody simulates."""
    manners_of(dialect)
    return BEHAVIOURS[dialect]
