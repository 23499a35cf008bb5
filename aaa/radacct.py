"""What a row of FreeRADIUS's radacct means here: a session that is over, as history. Pure.

Nothing of it is charged. A row counts what its NAS counted, in the NAS's own direction and unit, so it is read as that NAS's
reports are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from aaa.dialects import dialect
from aaa.nas import OCTETS_IN, CounterUnit
from charging.history import PastSession
from charging.plan import Instant
from charging.session import IMPOSSIBLE_OCTETS
from charging.zone import SERVICE_CLASSES, realm_of

#: A clock that is wrong by no more than this is still believed.
_AHEAD_MS: Final = 86_400_000
_SERVICE_SUFFIX: Final = "-user"


class AcctRow(NamedTuple):
    """What is read of a row of radacct; times as the database's driver gives them."""

    row_id: int
    unique_id: str
    session_id: str
    username: str | None
    nas_address: object
    nas_port_id: str | None
    started: object
    stopped: object
    seconds: int | None
    input_octets: int | None
    output_octets: int | None
    called_station: str | None
    calling_station: str | None
    cause: str | None
    service_type: str | None
    address: object


class Meter(NamedTuple):
    """How a NAS that is known here counts."""

    nas_id: int
    nas_group: str
    octets_in: int
    """In one of what it counts."""
    reversed: bool
    """Its input is what the subscriber downloads."""
    delta: bool


def meter(
    nas_id: int,
    nas_group: str,
    dialect_name: str,
    counter_unit: CounterUnit | None,
    counters_reversed: bool | None,  # noqa: FBT001  as the table has it
    counters_delta: bool | None,  # noqa: FBT001
) -> Meter:
    """What its people set, and its dialect for the rest."""
    speaks = dialect(dialect_name)
    return Meter(
        nas_id,
        nas_group,
        OCTETS_IN[speaks.counter_unit if counter_unit is None else counter_unit],
        speaks.counters_reversed if counters_reversed is None else counters_reversed,
        speaks.counters_delta if counters_delta is None else counters_delta,
    )


class NasMeters:
    """The NASes that are known here, by the address that they say they have (NAS-IP-Address)."""

    def __init__(self, meters: Iterable[tuple[str, Meter]]) -> None:
        """By network: an address or a prefix."""
        # The longest prefix first, as among packets.
        self._meters = sorted(
            ((ip_network(each), meter) for each, meter in meters), key=lambda each: -each[0].prefixlen
        )
        self._found: dict[str, Meter | None] = {}

    def at(self, address: str) -> Meter | None:
        """None: there is none."""
        if address not in self._found:
            try:
                parsed = ip_address(address)
            except ValueError:
                return None
            self._found[address] = next((each for network, each in self._meters if parsed in network), None)
        return self._found[address]


class DoesNotFit(Exception):
    """A row that can not be a session of the past here: whose it is (a user, or a NAS's address), and why."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


def past(
    row: AcctRow,
    owners: Mapping[str, tuple[int, int, int]],
    nases: NasMeters,
    name_of: Callable[[str], str],
    time_zone: str,
    now: Instant,
) -> PastSession:
    """The session that a row tells of, up to `now`. DoesNotFit.

    `owners`: (account_id, subscriber_id, plan_version_id) by user name, which `name_of` makes of what a NAS says.
    `time_zone`: of times that are written without one.
    """
    username = name_of(_text(row.username))
    owner = owners.get(username)
    if owner is None:
        raise DoesNotFit(username, "there is no such subscriber here")
    address = _address(row.nas_address) or ""
    meter = nases.at(address)
    if meter is None:
        raise DoesNotFit(address, "there is no NAS with this address here; add it: aaa nas add")
    if meter.delta:
        raise DoesNotFit(address, "it counts from report to report, and FreeRADIUS kept the last count only")
    try:
        ended_at = instant(row.stopped, time_zone)
        seconds = row.seconds
        began_at = None if row.started is None else instant(row.started, time_zone)
    except ValueError as error:
        raise DoesNotFit(username, str(error)) from None
    if seconds is None:
        seconds = 0 if began_at is None else (ended_at - began_at) // 1000
    if seconds < 0 or (began_at is not None and began_at > ended_at):
        raise DoesNotFit(username, "the session ended before it began")
    if ended_at > now + _AHEAD_MS:
        raise DoesNotFit(username, "the session ends in the future")
    up, down = (0 if octets is None else octets * meter.octets_in for octets in (row.input_octets, row.output_octets))
    if not (0 <= up < IMPOSSIBLE_OCTETS and 0 <= down < IMPOSSIBLE_OCTETS):
        raise DoesNotFit(username, "its counters are impossible")
    account_id, subscriber_id, plan_version_id = owner
    return PastSession(
        account_id=account_id,
        subscriber_id=subscriber_id,
        username=username,
        plan_version_id=plan_version_id,
        nas_id=meter.nas_id,
        nas_address=address,
        nas_group=meter.nas_group,
        key=f"radacct:{_text(row.unique_id) or row.row_id}",
        acct_session_id=_text(row.session_id).encode("utf-8", "surrogateescape"),
        calling_station=_text(row.calling_station) or None,
        called_station=_text(row.called_station),
        nas_port_id=_text(row.nas_port_id) or None,
        framed_address=_address(row.address),
        realm=realm_of(username),
        service_class=_service_class(_text(row.service_type)),
        began_at=ended_at - seconds * 1000 if began_at is None else began_at,
        ended_at=ended_at,
        octets_up=down if meter.reversed else up,
        octets_down=up if meter.reversed else down,
        seconds=seconds,
        cause=_text(row.cause),
    )


def instant(value: object, time_zone: str) -> Instant:
    """A time as FreeRADIUS keeps it: seconds since the epoch (SQLite), `2026-01-31 18:00:00` in a time zone, or with one
    of its own. ValueError where it is none."""
    if isinstance(value, int):
        return value * 1000
    if isinstance(value, str):
        if value.isascii() and value.isdigit():
            return int(value) * 1000
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if not isinstance(value, datetime):
        raise ValueError("the session's times are none")  # noqa: TRY004  what it says is wrong, not who calls
    moment = value.replace(tzinfo=ZoneInfo(time_zone)) if value.tzinfo is None else value
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _service_class(text: str) -> str:
    name = text.lower().removesuffix(_SERVICE_SUFFIX)
    return name if name in SERVICE_CLASSES else ""


def _text(value: str | None) -> str:
    # PostgreSQL's texts have no zero octet.
    return "" if value is None else value.replace("\0", "").strip()


def _address(value: object) -> str | None:
    return str(value).partition("/")[0].strip() or None if value is not None else None
