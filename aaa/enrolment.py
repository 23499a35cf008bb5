"""What may be written down of a subscriber, and subscribers out of a CSV file: every row found good, or every fault named
with its line.

The first line names the columns: username, password and plan, and where wanted account, allow_chap, max_sessions, expires,
email, phone and language. A password's worth in CPU time is paid by the caller; nothing here hashes, seals or writes.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from charging.notices.contact import UNKNOWN, Contact
from charging.plan import Instant

REQUIRED: Final = ("username", "password", "plan")
OPTIONAL: Final = ("account", "allow_chap", "max_sessions", "expires", *Contact._fields)

#: What is held in memory at once; more come in several files.
MOST_ROWS: Final = 200_000
MOST_CHARACTERS_IN_LINE: Final = 4096
MOST_NAME_OCTETS: Final = 253
"""RFC 2865 section 5.1: what a User-Name attribute holds."""
MOST_PASSWORD_OCTETS: Final = 128
"""RFC 2865 section 5.2: what a User-Password attribute holds."""
MOST_SESSIONS: Final = 1000


class Entry(NamedTuple):
    """One row, checked as far as that goes without a database."""

    line: int
    username: str
    password: str
    plan_name: str
    account_name: str
    allow_chap: bool
    max_sessions: int | None
    expires: str | None
    """A day or a time as written: what it means depends on the plan's time zone."""
    contact: Contact = UNKNOWN


@dataclass(slots=True)
class Faults:
    """What is wrong with the file of that name: the first ones in words, and how many in all."""

    name: str
    most_shown: int = 20
    shown: list[tuple[int, str]] = field(default_factory=list)
    count: int = 0

    def add(self, line: int, problem: str) -> None:
        """One more."""
        self.count += 1
        if len(self.shown) < self.most_shown:
            self.shown.append((line, problem))

    def __str__(self) -> str:
        """A line for each that is shown, and a last one with the number of the others."""
        lines = [f"{self.name}:{line}: {problem}" for line, problem in sorted(self.shown)]
        hidden = self.count - len(self.shown)
        return "\n".join([*lines, *([f"and {hidden} more"] if hidden else [])])


class EnrolmentError(Exception):
    """A file with faults, all of them in one text."""


def read(lines: Iterable[str], faults: Faults) -> list[Entry]:
    """The good rows of a file; the bad ones become faults."""
    numbered = _Numbered(lines)
    reader = csv.reader(numbered, strict=True)
    try:
        header = [title.strip() for title in next(reader, [])]
        if not _header_is_good(header, faults):
            return []
        return list(_entries(reader, numbered, header, faults))
    except (csv.Error, _LineTooLong) as error:
        faults.add(numbered.number, f"not CSV: {error}")
        return []


class _LineTooLong(Exception):
    pass


class _Numbered:
    """Lines, counted and bounded: a field in quotes may go over several."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        if len(line) > MOST_CHARACTERS_IN_LINE:
            raise _LineTooLong(f"a line of more than {MOST_CHARACTERS_IN_LINE} characters")
        # A spreadsheet puts a mark before the first letter.
        return line.removeprefix("\ufeff") if self.number == 1 else line


def _header_is_good(header: list[str], faults: Faults) -> bool:
    known = (*REQUIRED, *OPTIONAL)
    before = faults.count
    for title in header:
        if title not in known:
            near = difflib.get_close_matches(title, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the columns are {', '.join(known)}"
            faults.add(1, f"unknown column {title!r}; {hint}")
        elif header.count(title) > 1:
            faults.add(1, f"column {title!r} stands there twice")
            break
    missing = [title for title in REQUIRED if title not in header]
    if missing:
        faults.add(1, f"no column {', '.join(missing)}; the first line must be, for example: username,password,plan")
    return faults.count == before


def _entries(reader: Iterable[list[str]], numbered: _Numbered, header: list[str], faults: Faults) -> Iterator[Entry]:
    seen: dict[str, int] = {}
    for values in reader:
        line = numbered.number
        if not values:
            continue
        if len(seen) >= MOST_ROWS:
            faults.add(line, f"more than {MOST_ROWS} subscribers; split the file")
            return
        if len(values) != len(header):
            faults.add(line, f"{len(values)} fields under {len(header)} columns; quote a field that has a comma")
            continue
        row = dict(zip(header, values, strict=True))
        username = row["username"]
        if username in seen:
            faults.add(line, f"{username!r} stands in line {seen[username]} already")
            continue
        seen[username] = line
        problems: list[str] = []
        entry = _entry(row, line, problems)
        for problem in problems:
            faults.add(line, problem)
        if not problems:
            yield entry


def _entry(row: dict[str, str], line: int, problems: list[str]) -> Entry:
    username, password, plan_name = row["username"], row["password"], row["plan"].strip()
    account_name = row.get("account", "") or username
    problems += filter(None, [name_fault("username", username), password_fault(password)])
    if account_name != username:
        problems += filter(None, [name_fault("account", account_name)])
    if not plan_name or not plan_name.isprintable():
        problems.append("plan: is no name; write the name of a plan")
    allow_chap = _yes_or_no(row.get("allow_chap", ""))
    if allow_chap is None:
        problems.append(f"allow_chap: {row['allow_chap']!r} is neither yes nor no")
    max_sessions = row.get("max_sessions", "").strip()
    if max_sessions and not (
        max_sessions.isascii() and max_sessions.isdigit() and 1 <= int(max_sessions) <= MOST_SESSIONS
    ):
        problems.append(f"max_sessions: {max_sessions!r} is not a number from 1 to {MOST_SESSIONS}")
        max_sessions = ""
    contact = Contact(*(row.get(name, "").strip() or None for name in Contact._fields))
    problems += contact.faults()
    return Entry(
        line,
        username,
        password,
        plan_name,
        account_name,
        bool(allow_chap),
        int(max_sessions) if max_sessions else None,
        row.get("expires", "").strip() or None,
        contact,
    )


def _yes_or_no(text: str) -> bool | None:
    return {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False, "": False}.get(
        text.strip().lower()
    )


def expiry(text: str, time_zone: str, now: Instant) -> Instant:
    """When the service of `2027-01-31` (a day: until its end) or `2027-01-31T18:00` ends, in the plan's time zone unless
    the time names its own. ValueError where it is neither, or past."""
    problem = f"{text!r} is no day; write for example 2027-01-31, or 2027-01-31T18:00"
    try:
        if "T" in text or " " in text:
            moment = datetime.fromisoformat(text)
        else:
            moment = datetime.combine(date.fromisoformat(text) + timedelta(days=1), time())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(time_zone))
        at = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise ValueError(problem) from None
    if at <= now:
        raise ValueError(f"{text!r} is past; write a later day")
    return at


def name_fault(what: str, text: str) -> str | None:
    """What is wrong with a user or account name; None where nothing is."""
    if not text or not text.isprintable() or text != text.strip():
        return f"{what}: {text[:40]!r} is not a name; write printable characters, no space at either end"
    if len(text.encode()) > MOST_NAME_OCTETS:
        return f"{what}: {text[:20]!r}… is too long; at most {MOST_NAME_OCTETS} octets"
    return None


def password_fault(text: str) -> str | None:
    """What is wrong with a password, without saying it; None where nothing is."""
    if not text:
        return "password: is empty"
    if "\0" in text or len(text.encode("utf-8", "surrogateescape")) > MOST_PASSWORD_OCTETS:
        return f"password: at most {MOST_PASSWORD_OCTETS} octets, none of them zero"
    return None
