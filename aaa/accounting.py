"""An Accounting-Request as a Report: gigawords, delay, direction, and whose session it is (RFC 2866, RFC 2869)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from aaa.messages import port_of, text
from aaa.nas import OCTETS_IN, Nas
from aaa.realms import NO_REALMS, Realms
from aaa.tokens import read_token
from aaa.wire import Malformed, Packet
from charging.plan import Instant
from charging.session import Kind, Report

USER_NAME: Final = 1
NAS_PORT: Final = 5
FRAMED_IP_ADDRESS: Final = 8
CLASS: Final = 25
CALLED_STATION_ID: Final = 30
VENDOR_SPECIFIC: Final = 26
CALLING_STATION_ID: Final = 31
ACCT_STATUS_TYPE: Final = 40
ACCT_DELAY_TIME: Final = 41
ACCT_INPUT_OCTETS: Final = 42
ACCT_OUTPUT_OCTETS: Final = 43
ACCT_SESSION_ID: Final = 44
ACCT_SESSION_TIME: Final = 46
ACCT_INPUT_GIGAWORDS: Final = 52
ACCT_OUTPUT_GIGAWORDS: Final = 53
EVENT_TIMESTAMP: Final = 55
NAS_PORT_ID: Final = 87
FRAMED_IPV6_ADDRESS: Final = 168

#: Acct-Status-Type → what it means to a session (RFC 2866 section 5.1); others are recorded and not charged.
_KINDS: Final[dict[int, Kind]] = {1: "start", 2: "stop", 3: "interim"}
#: Acct-Status-Type of a NAS that speaks of itself.
_RESTARTS: Final = {7: "on", 8: "off"}

#: A NAS's clock is believed within this of ours.
CLOCK_SKEW_MS: Final = 300_000
#: Acct-Delay-Time beyond a day is a broken clock, not a delay.
_LONGEST_DELAY_SECONDS: Final = 86_400


#: How equipment marks the record of a service in a session (vendor, type, beginning): Cisco-Service-Info, a
#: Cisco-AVPair that names the parent, ERX-Service-Session.
_SERVICE_MARKS: Final = ((9, 251, b""), (9, 1, b"parent-session-id="), (4874, 83, b""))


class Beside(NamedTuple):
    """A record of the level that is not charged here: of a service beside its session's, or the other way round. What it
    counts, the other level counts too."""

    nas_id: int


class Restart(NamedTuple):
    """Accounting-On or -Off: all sessions of this NAS that are older have ended."""

    nas_id: int
    nas_address: str
    kind: str
    event_at: Instant
    received_at: Instant


def report_of(
    packet: Packet,
    nas: Nas,
    source: str,
    received_at: Instant,
    token_keys: Sequence[bytes],
    realms: Realms = NO_REALMS,
) -> Report | Restart | Beside:
    """Read a verified Accounting-Request. Malformed where an attribute has the wrong length or one is missing that
    every report needs."""
    # One walk over the raw attributes: the hottest path of the server.
    seen: dict[int, bytes] = {}
    token = None
    for kind, value in packet.attributes:
        if kind == CLASS:
            token = token or read_token(value, token_keys)
        elif kind not in seen:
            seen[kind] = value
    get = seen.get
    status = _number(ACCT_STATUS_TYPE, get(ACCT_STATUS_TYPE))
    if status is None:
        raise Malformed("attribute-value", "an Accounting-Request without Acct-Status-Type")
    event_at, exact = _event(get(EVENT_TIMESTAMP), get(ACCT_DELAY_TIME), received_at)
    if status in _RESTARTS:
        # Sessions are told old or new by our clock: what is ahead of it would end those that began since.
        return Restart(nas.nas_id, source, _RESTARTS[status], min(event_at, received_at), received_at)
    if nas.reports_services and _is_of_service(packet) != (nas.counter_level == "service"):
        return Beside(nas.nas_id)
    input_octets = _octets(seen, ACCT_INPUT_OCTETS, ACCT_INPUT_GIGAWORDS)
    output_octets = _octets(seen, ACCT_OUTPUT_OCTETS, ACCT_OUTPUT_GIGAWORDS)
    # RFC 2866: Input is what the port received from the subscriber. Some equipment has it the other way round.
    up, down = (output_octets, input_octets) if nas.counters_reversed else (input_octets, output_octets)
    gigawords = ACCT_INPUT_GIGAWORDS in seen or ACCT_OUTPUT_GIGAWORDS in seen
    if nas.counter_unit != "octets" or nas.counter_bits is not None:
        up, down = _as_counted(up, nas), _as_counted(down, nas)
        # Nobody waits for 2^32 kB: such a counter does not wrap.
        gigawords = nas.counter_unit != "octets" or nas.counter_bits == 64
    calling, called = get(CALLING_STATION_ID), get(CALLED_STATION_ID)
    nas_username = text(get(USER_NAME, b""))
    username = realms.name(nas_username) if realms else nas_username
    return Report(
        _KINDS.get(status, "other"),
        nas.nas_id,
        source,
        username,
        get(ACCT_SESSION_ID, b""),
        token,
        up,
        down,
        _number(ACCT_SESSION_TIME, get(ACCT_SESSION_TIME)),
        gigawords,
        event_at,
        exact,
        received_at,
        packet.raw,
        text(calling) if calling else None,
        port_of(get(NAS_PORT_ID), get(NAS_PORT)),
        _address(get(FRAMED_IP_ADDRESS), get(FRAMED_IPV6_ADDRESS)),
        text(called) if called else "",
        nas.means,
        nas.counters_delta,
        None if nas_username == username else nas_username,
    )


def _as_counted(counter: int | None, nas: Nas) -> int | None:
    """A counter in octets, as its people say that this NAS counts."""
    if counter is None:
        return None
    return (counter & 0xFFFFFFFF if nas.counter_bits == 32 else counter) * OCTETS_IN[nas.counter_unit]


def _is_of_service(packet: Packet) -> bool:
    """Is this the record of a service within a session? Such equipment marks it so (RFC 2865 section 5.26)."""
    for kind, value in packet.attributes:
        if kind == VENDOR_SPECIFIC and len(value) > 6:
            vendor = int.from_bytes(value[:4], "big")
            for number, inner, begins in _SERVICE_MARKS:
                if vendor == number and value[4] == inner and value[6:].startswith(begins):
                    return True
    return False


def _number(kind: int, value: bytes | None) -> int | None:
    if value is None:
        return None
    if len(value) != 4:
        raise Malformed("attribute-value", f"attribute {kind} has {len(value)} octets, 4 expected")
    return int.from_bytes(value, "big")


def _octets(seen: dict[int, bytes], low: int, high: int) -> int | None:
    """64 bits from octets and gigawords (RFC 2869 section 5.1); None where the NAS does not count octets."""
    octets = _number(low, seen.get(low))
    gigawords = _number(high, seen.get(high))
    if octets is None or not gigawords:
        return octets
    return octets + (gigawords << 32)


def _event(timestamp: bytes | None, delay: bytes | None, received_at: Instant) -> tuple[Instant, bool]:
    """When the report was true, and whether that is the NAS's own word: Event-Timestamp where its clock is near
    ours, else the arrival less Acct-Delay-Time."""
    seconds = _number(EVENT_TIMESTAMP, timestamp)
    if seconds is not None and abs(seconds * 1000 - received_at) <= CLOCK_SKEW_MS:
        return seconds * 1000, True
    delayed = _number(ACCT_DELAY_TIME, delay) or 0
    return received_at - (delayed if delayed <= _LONGEST_DELAY_SECONDS else 0) * 1000, False


def _address(v4: bytes | None, v6: bytes | None) -> str | None:
    if v4 is not None and len(v4) == 4:
        return f"{v4[0]}.{v4[1]}.{v4[2]}.{v4[3]}"
    return str(IPv6Address(v6)) if v6 is not None and len(v6) == 16 else None
