"""What FreeRADIUS's SQL tables mean here: subscribers, plans and NASes out of their rows, and a word on each row that has no
meaning here. Pure.

The tables are those of rlm_sql's schema: radcheck, radreply, radusergroup, radgroupcheck, radgroupreply, nas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from aaa import reply_attributes
from aaa.enrolment import MOST_SESSIONS, name_fault, password_fault
from aaa.messages import station
from aaa.reply_attributes import Texts
from aaa.wire.values import value_names
from charging.amounts import parse_rate
from charging.conditions import NO_CONDITIONS, Conditions, hours
from charging.plan import Instant, Plan, Profile
from charging.tomlfile import NAME

PASSWORDS: Final = frozenset({"cleartext-password", "user-password"})
NT_PASSWORD: Final = "nt-password"
#: Hashes that say nothing to us: the password itself is needed once.
_OTHER_HASHES: Final = frozenset(
    {
        "crypt-password", "lm-password", "md5-password", "password-with-header", "pbkdf2-password", "sha-password",
        "sha1-password", "sha2-password", "smd5-password", "ssha-password", "ssha2-256-password", "ssha2-512-password",
    }
)  # fmt: skip
_SET: Final = frozenset({":=", "=", "==", "+="})
#: What FreeRADIUS's documentation and its users write.
_DAYS: Final = ("%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y", "%Y-%m-%d")
_TIMES: Final = ("%H:%M:%S", "%H:%M")
#: nas.type → dialect.
_DIALECTS: Final = {
    "mikrotik": "mikrotik",
    "cisco": "cisco-isg",
    "juniper": "juniper",
    "huawei": "huawei",
    "aruba": "aruba",
}
#: What is compared at a login, and has a condition here.
_CONDITIONS: Final = frozenset({"calling-station-id", "nas-port-type", "login-time"})
_WEEKDAYS: Final = {"mo": "Mon", "tu": "Tue", "we": "Wed", "th": "Thu", "fr": "Fri", "sa": "Sat", "su": "Sun"}
_LOGIN_TIME: Final = re.compile(r"(any|al|wk|(?:mo|tu|we|th|fr|sa|su)+)(\d{4}-\d{4})?", re.IGNORECASE)
_SHORTEST_INTERIM: Final = 60
_LONGEST_INTERIM: Final = 86_400


class Row(NamedTuple):
    """A row of radcheck, radreply, radgroupcheck or radgroupreply; `name` is the user or the group."""

    name: str
    attribute: str
    op: str
    value: str


class Membership(NamedTuple):
    """A row of radusergroup."""

    username: str
    group: str
    priority: int


class NasRow(NamedTuple):
    """A row of nas."""

    nasname: str
    shortname: str | None
    type: str | None
    secret: str


@dataclass(frozen=True, slots=True)
class Rows:
    """All that is read of FreeRADIUS's database."""

    check: Sequence[Row] = ()
    reply: Sequence[Row] = ()
    memberships: Sequence[Membership] = ()
    group_check: Sequence[Row] = ()
    group_reply: Sequence[Row] = ()
    nases: Sequence[NasRow] = ()


class Left(NamedTuple):
    """What is not carried over: of which table and name, and why."""

    table: str
    name: str
    why: str


@dataclass(slots=True)
class Subscriber:
    """A user who is carried over. Either a password, its NT hash, or neither."""

    username: str
    plan_name: str
    password: bytes | None = None
    nt: bytes | None = None
    max_sessions: int | None = None
    expires_at: Instant | None = None
    suspended: bool = False
    reply_attributes: Texts = ()
    conditions: Conditions = NO_CONDITIONS


class NewNas(NamedTuple):
    """A NAS that is carried over; its address is as it was written."""

    name: str
    address: str
    dialect: str
    secret: str


@dataclass(slots=True)
class Carried:
    """What comes over, and what does not."""

    subscribers: list[Subscriber] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    nases: list[NewNas] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    def leave(self, table: str, name: str, why: str) -> None:
        """One more that does not."""
        self.left.append(Left(table, name, why))


class Wishes(NamedTuple):
    """What the operator says to it."""

    currency: str
    time_zone: str
    default_plan: str | None
    """Of users without a group; None: they stay behind."""
    known_plans: frozenset[str]
    """Plans that there are: a group of such a name is that plan as it is."""


def carry(rows: Rows, wishes: Wishes) -> Carried:
    """Everything that has a meaning here."""
    carried = Carried()
    groups = _groups(rows)
    names = {plan.name for plan in _plans(rows, groups, wishes, carried)} | wishes.known_plans
    for username, check in _by_name(rows.check).items():
        _subscriber(username, check, groups.get(username, []), names, wishes, carried)
    by_user = {each.username: each for each in carried.subscribers}
    for username, reply in _by_name(rows.reply).items():
        subscriber = by_user.get(username)
        if subscriber is not None:
            subscriber.reply_attributes = _attributes("radreply", reply, carried)
        else:
            carried.leave("radreply", username, "its user is not carried over")
    for username in sorted(groups.keys() - _by_name(rows.check).keys()):
        carried.leave("radusergroup", username, "has no row in radcheck: nothing to log in with")
    for row in rows.nases:
        _nas(row, carried)
    return carried


def _by_name(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.name, []).append(row)
    return found


def _groups(rows: Rows) -> dict[str, list[str]]:
    """User → groups, the one that goes first in front."""
    found: dict[str, list[tuple[int, str]]] = {}
    for each in rows.memberships:
        found.setdefault(each.username, []).append((each.priority, each.group))
    return {username: [group for _, group in sorted(groups)] for username, groups in found.items()}


# --- plans ---------------------------------------------------------------------------------------------------------


def _plans(rows: Rows, groups: Mapping[str, list[str]], wishes: Wishes, carried: Carried) -> list[Plan]:
    check, reply = _by_name(rows.group_check), _by_name(rows.group_reply)
    used = {memberships[0] for memberships in groups.values()}
    for group in sorted(check.keys() | reply.keys() | used):
        if group in wishes.known_plans:
            if group in check or group in reply:
                carried.leave("radgroupreply", group, "there is a plan of this name; it stays as it is")
        elif not NAME.fullmatch(group):
            carried.leave("radgroupreply", group, "is no name of a plan: 1 to 64 letters, digits, '.', '_', '-'")
        else:
            carried.plans.append(_plan(group, check.get(group, []), reply.get(group, []), wishes, carried))
    return carried.plans


def _plan(group: str, check: list[Row], reply: list[Row], wishes: Wishes, carried: Carried) -> Plan:
    max_sessions: int | None = None
    for row in check:
        if row.attribute.lower() == "simultaneous-use" and (number := _number(row.value, 1, MOST_SESSIONS)):
            max_sessions = number
        else:
            carried.leave("radgroupcheck", group, _why_not(row))
    values: dict[str, int] = {}
    others: list[Row] = []
    for row in reply:
        try:
            known = _profile_values(row)
        except ValueError as error:
            carried.leave("radgroupreply", group, f"{row.attribute} {row.value!r}: {error}")
            continue
        if known is None:
            others.append(row)
        else:
            values |= known
    profile = Profile(group, attributes=_attributes("radgroupreply", others, carried), **values)  # type: ignore[arg-type]  # its own names
    return Plan(group, wishes.currency, wishes.time_zone, profile, max_sessions=max_sessions)


def _profile_values(row: Row) -> dict[str, int] | None:
    """What an attribute says in words of a profile; None: nothing. ValueError where it is not what it should be."""
    match row.attribute.lower():
        case "mikrotik-rate-limit":
            up, down = _mikrotik_rates(row.value)
            return {"rate_up_bps": up, "rate_down_bps": down}
        case "wispr-bandwidth-max-down":
            return {"rate_down_bps": _whole(row.value, 1000, 10**12)}
        case "wispr-bandwidth-max-up":
            return {"rate_up_bps": _whole(row.value, 1000, 10**12)}
        case "acct-interim-interval":
            return {"interim_interval_seconds": _whole(row.value, _SHORTEST_INTERIM, _LONGEST_INTERIM)}
        case "session-timeout":
            return {"session_timeout_seconds": _whole(row.value, 1, 2**31 - 1)}
        case "idle-timeout":
            return {"idle_timeout_seconds": _whole(row.value, 1, 2**31 - 1)}
        case _:
            return None


def _mikrotik_rates(text: str) -> tuple[int, int]:
    """(up, down) of `rx/tx`, which the router says of itself: it receives what the subscriber sends."""
    words = text.split()
    if len(words) != 1:
        raise ValueError("only the rate is carried over, not bursts and priorities; write them into the plan by hand")
    up, slash, down = words[0].partition("/")
    rates = parse_rate(up), parse_rate(down if slash else up)
    if min(rates) < 1000:
        raise ValueError("slower than 1 kbit/s")
    return rates


# --- subscribers ---------------------------------------------------------------------------------------------------


def _subscriber(
    username: str, check: list[Row], groups: list[str], plans: set[str], wishes: Wishes, carried: Carried
) -> None:
    plan_name = groups[0] if groups else wishes.default_plan
    fault = name_fault("user name", username)
    if fault is not None:
        carried.leave("radcheck", username, fault)
        return
    if plan_name is None:
        carried.leave("radcheck", username, "is in no group; give such users a plan: --default-plan P")
        return
    if plan_name not in plans:
        carried.leave("radcheck", username, f"its group {plan_name!r} is not carried over")
        return
    subscriber = Subscriber(username, plan_name)
    problems = [problem for row in check if (problem := _take(subscriber, row, wishes)) is not None]
    if subscriber.password is None and subscriber.nt is None:
        why = "; ".join(problems) or "it has none"
        carried.leave("radcheck", username, f"has no password that can be carried over ({why})")
        return
    for problem in problems:
        carried.leave("radcheck", username, problem)
    for group in groups[1:]:
        carried.leave("radusergroup", username, f"group {group!r}: a subscriber has one plan, {plan_name!r}")
    carried.subscribers.append(subscriber)


def _take(subscriber: Subscriber, row: Row, wishes: Wishes) -> str | None:
    """Let a row of radcheck have its effect; why it has none."""
    name = row.attribute.lower()
    try:
        if name in _CONDITIONS:
            subscriber.conditions = _condition(subscriber.conditions, name, row)
            return None
        if row.op not in _SET:
            raise ValueError(f"the operator {row.op} is not carried over")
        if name in PASSWORDS:
            if (fault := password_fault(row.value)) is not None:
                raise ValueError(fault)
            subscriber.password = row.value.encode("utf-8", "surrogateescape")
        elif name == NT_PASSWORD:
            subscriber.nt = _nt_hash(row.value)
        elif name == "simultaneous-use":
            subscriber.max_sessions = _whole(row.value, 1, MOST_SESSIONS)
        elif name == "expiration":
            subscriber.expires_at = expiration(row.value, wishes.time_zone)
        elif name == "auth-type" and row.value.lower() == "reject":
            subscriber.suspended = True
        else:
            return _why_not(row)
    except ValueError as error:
        # A password is not shown.
        shown = row.attribute if name in PASSWORDS or name == NT_PASSWORD else f"{row.attribute} {row.value!r}"
        return f"{shown}: {error}"
    return None


def _condition(before: Conditions, name: str, row: Row) -> Conditions:
    """One more condition of a login. Login-Time has its meaning with either operator; what else is not compared is none."""
    if row.op != "==" and not (name == "login-time" and row.op == ":="):
        raise ValueError(f"the operator {row.op} is not carried over")
    match name:
        case "calling-station-id":
            return replace(before, stations=(*before.stations, station(row.value) or row.value))
        case "nas-port-type":
            if row.value not in value_names("NAS-Port-Type"):
                raise ValueError("is no kind of port")
            return replace(before, port_types=(*before.port_types, row.value))
        case _:
            return replace(before, hours=(*before.hours, *login_time(row.value)))


def login_time(text: str) -> tuple[str, ...]:
    """`Wk0800-1800,Sa,Su` (UUCP's way, as rlm_logintime reads it) as hours of ours: `Mon-Fri 08:00-18:00`, … ValueError where
    it is something else, or its end is before its beginning."""
    found: list[str] = []
    for part in re.split(r"[,|]", "".join(text.split())):
        read = _LOGIN_TIME.fullmatch(part)
        if read is None:
            raise ValueError("is no Login-Time; FreeRADIUS writes Wk0800-1800,Sa,Su")
        days, span = read[1].lower(), read[2] or "0000-2400"
        names = [name for key, name in _WEEKDAYS.items() if key in re.findall("..", days)]
        everyday = days in {"any", "al"}
        which = "Mon-Fri " if days == "wk" else "" if everyday else f"{','.join(names)} "
        begin, _, end = span.partition("-")
        if begin >= end:
            raise ValueError("its end is before its beginning")
        found.append(hours(f"{which}{begin[:2]}:{begin[2:]}-{end[:2]}:{end[2:]}"))
    return tuple(found)


def _why_not(row: Row) -> str:
    name = row.attribute.lower()
    if name in _OTHER_HASHES:
        return f"{row.attribute}: this hash can not be used; set a password: aaa subscriber set --password-stdin"
    if name.startswith("max-") or name == "session-octets-limit":
        return f"{row.attribute} {row.value!r}: a limit of sqlcounter; write an allowance into the plan"
    if name in {"called-station-id", "nas-ip-address", *_CONDITIONS}:
        return f"{row.attribute} {row.value!r}: a condition; see: aaa subscriber set --help"
    return f"{row.attribute} {row.op} {row.value!r}: has no meaning here"


def expiration(text: str, time_zone: str) -> Instant:
    """The end of `31 Jan 2027` (a day: its beginning, as rlm_expiration has it), or `31 Jan 2027 18:00:00`, in that time
    zone. ValueError where it is neither."""
    shapes = [*_DAYS, *(f"{day} {time}" for day in _DAYS for time in _TIMES)]
    for shape in shapes:
        try:
            moment = datetime.strptime(" ".join(text.split()), shape).replace(tzinfo=ZoneInfo(time_zone))
        except ValueError:
            continue
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    raise ValueError("is no date; FreeRADIUS writes 31 Jan 2027 18:00:00")


def _nt_hash(text: str) -> bytes:
    digits = text.removeprefix("0x")
    if not re.fullmatch(r"[0-9A-Fa-f]{32}", digits):
        raise ValueError("is not 32 hexadecimal digits")
    return bytes.fromhex(digits)


def _attributes(table: str, rows: Sequence[Row], carried: Carried) -> Texts:
    said: list[tuple[str, str]] = []
    for row in rows:
        try:
            if row.op not in _SET:
                raise ValueError(f"the operator {row.op} is not carried over")
            reply_attributes.check(row.attribute, row.value)
        except ValueError as error:
            carried.leave(table, row.name, f"{row.attribute} {row.value!r}: {error}")
            continue
        said.append((row.attribute, row.value))
    if len(said) > reply_attributes.MOST:
        carried.leave(table, rows[0].name, f"{len(said)} reply attributes; the first {reply_attributes.MOST} are taken")
    return tuple(said[: reply_attributes.MOST])


# --- NASes ---------------------------------------------------------------------------------------------------------


def _nas(row: NasRow, carried: Carried) -> None:
    name = row.shortname or row.nasname
    fault = name_fault("name", name)
    if fault is not None:
        carried.leave("nas", row.nasname, fault)
    elif not row.secret or not row.secret.isprintable():
        carried.leave("nas", row.nasname, "its secret is empty or has characters that can not be seen")
    else:
        carried.nases.append(NewNas(name, row.nasname, _DIALECTS.get((row.type or "").lower(), "generic"), row.secret))


def _whole(text: str, least: int, most: int) -> int:
    number = _number(text, least, most)
    if number is None:
        raise ValueError(f"is not a number from {least} to {most}")
    return number


def _number(text: str, least: int, most: int) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most else None
