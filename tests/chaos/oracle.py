"""What the NASes' journals demand of the books: own arithmetic over lines of JSON, nothing of the server's code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

Line = Mapping[str, Any]
"""A line of a journal."""


class Mark(NamedTuple):
    """What the books have of one session, all rows with its Acct-Session-Id together."""

    octets_up: int
    octets_down: int
    seconds: int
    closed: bool


@dataclass(slots=True)
class Said:
    """What a NAS said of one session."""

    username: str
    sent: tuple[int, int, int] = (0, 0, 0)
    """The highest of each counter that ever left the NAS."""
    answered: tuple[int, int, int] = (0, 0, 0)
    """The highest of each counter that was answered."""
    reports_answered: int = 0
    stop_answered: bool = False


@dataclass(slots=True)
class Journal:
    """What all NASes said."""

    sessions: dict[str, Said] = field(default_factory=dict)
    """By NAS name, a slash, and Acct-Session-Id."""
    sent: int = 0
    """Accounting datagrams, retransmissions too."""
    answered: int = 0
    unanswered: int = 0
    logins: int = 0
    refused: int = 0


def _highest(one: tuple[int, int, int], line: Line) -> tuple[int, int, int]:
    return max(one[0], line["octets_up"]), max(one[1], line["octets_down"]), max(one[2], line["seconds"])


def read(journals: Iterable[Sequence[Line]]) -> Journal:
    """Each of `journals` is one NAS's, in its order."""
    found = Journal()
    for lines in journals:
        numbers: dict[int, Said] = {}
        for line in lines:
            said = numbers.get(line["session"] or 0)
            match line["kind"]:
                case "accepted":
                    found.logins += 1
                    key = f"{line['nas']}/{line['acct_session_id']}"
                    numbers[line["session"]] = found.sessions[key] = Said(line["username"])
                case "refused":
                    found.refused += 1
                case "accounting-sent":
                    found.sent += 1
                    if said is not None and "octets_up" in line:
                        said.sent = _highest(said.sent, line)
                case "accounting-answered":
                    found.answered += 1
                    if said is not None:
                        said.reports_answered += 1
                        said.stop_answered = said.stop_answered or line["status"] == "Stop"
                        if "octets_up" in line:
                            said.answered = _highest(said.answered, line)
                case "unanswered":
                    found.unanswered += 1
    return found


_COUNTERS = ("octets up", "octets down", "seconds")


def broken_promises(journal: Journal, marks: Mapping[str, Mark]) -> list[str]:
    """Where the books have less than was answered, or more than was ever sent."""
    broken: list[str] = []
    for key, said in journal.sessions.items():
        mark = marks.get(key)
        who = f"session {key} of {said.username}"
        if mark is None:
            if said.reports_answered:
                broken.append(f"{who}: {said.reports_answered} reports were answered, and the books do not know it")
            continue
        for name, had, answered, sent in zip(_COUNTERS, mark[:3], said.answered, said.sent, strict=True):
            if had < answered:
                broken.append(f"{who}: {answered} {name} were answered, the books have {had}")
            if had > sent:
                broken.append(f"{who}: only {sent} {name} were ever sent, the books have {had}")
        if said.stop_answered and not mark.closed:
            broken.append(f"{who}: its Stop was answered, and it is still open")
    return broken


def wrong_balances(journal: Journal, paid_in: Mapping[str, int], left: Mapping[str, int]) -> list[str]:
    """Accounts, by the user that alone has them, whose balance is not what was paid in less what was used, in octets.

    Sessions whose Stop was answered are known exactly; the others leave a range.
    """
    lowest: dict[str, int] = defaultdict(int)
    highest: dict[str, int] = defaultdict(int)
    for said in journal.sessions.values():
        lowest[said.username] += sum(said.answered[:2])
        highest[said.username] += sum(said.answered[:2]) if said.stop_answered else sum(said.sent[:2])
    wrong: list[str] = []
    for username, paid in paid_in.items():
        at_least, at_most = paid - highest[username], paid - lowest[username]
        if not at_least <= left.get(username, 0) <= at_most:
            wrong.append(
                f"{username}: paid in {paid} octets and used {lowest[username]} to {highest[username]}, "
                f"so {at_least} to {at_most} are left; the books have {left.get(username)}"
            )
    return wrong


def longest_silence_ms(lines: Iterable[Line], since: int, until: int) -> int:
    """The longest time in [since, until] in which no report of this NAS or session was answered."""
    moments: list[int] = sorted(
        line["at"] for line in lines if line["kind"] == "accounting-answered" and since <= line["at"] <= until
    )
    borders = [since, *moments, until]
    return max(later - earlier for earlier, later in pairwise(borders))


def silences_ms(lines: Sequence[Line], since: int, until: int) -> dict[int, int]:
    """`longest_silence_ms` of each session that was on all the time from `since` to `until`."""
    began = {line["session"]: line["at"] for line in lines if line["kind"] == "accepted"}
    ended = {line["session"]: line["at"] for line in lines if line["kind"] == "ended"}
    answered: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        if line["kind"] == "accounting-answered" and line["session"] is not None:
            answered[line["session"]].append(line)
    return {
        session: longest_silence_ms(answered[session], since, until)
        for session, at in began.items()
        if at < since and ended.get(session, until + 1) > until
    }


def answer_times_ms(lines: Iterable[Line], since: int, until: int) -> list[int]:
    """How long each report that was first sent in [since, until] took until its answer, sorted; matched in their order."""
    waiting: dict[tuple[Any, str], list[int]] = defaultdict(list)
    took: list[int] = []
    for line in lines:
        if line["kind"] == "accounting-sent" and line["attempt"] == 1:
            waiting[line["session"], line["status"]].append(line["at"])
        elif line["kind"] == "accounting-answered" and waiting[line["session"], line["status"]]:
            at = waiting[line["session"], line["status"]].pop(0)
            if since <= at <= until:
                took.append(line["at"] - at)
    return sorted(took)
