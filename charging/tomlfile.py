"""TOML files read key by key, so that every fault is found in one reading, with its line and what would be right.

Unknown keys are faults too. Parsers of values raise BadValueError, or any ValueError, with the text to show.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar
from zoneinfo import ZoneInfo

T = TypeVar("T")
D = TypeVar("D")
Path = tuple[str | int, ...]
"""Keys from the top of the document: ("plan", "prepaid-50", "rate", 0, "price")."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a table, and so a plan or a profile, may be called."""

_MISSING: Final = object()


class TomlFileError(ValueError):
    """A file with faults. `problems` has one line for each; str() is all of them, one per line."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        """`problems`: at least one."""
        super().__init__("\n".join(problems))
        self.problems = problems


class BadValueError(ValueError):
    """A value that can not stand where it stands, its type included; the text says what could."""


@dataclass(slots=True)
class Faults:
    """What is wrong with one file, so far. `lines` is what `lines_by_path` found in its text."""

    name: str
    lines: Mapping[Path, int]
    found: list[tuple[int, Path, str]] = field(default_factory=list)

    def add(self, path: Path, message: str) -> None:
        """Remember a fault at the value that `path` leads to; where that has no line of its own, at its table's."""
        line = next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), 1)
        where = f"{dotted(path)}: " if path else ""
        self.found.append((line, path, f"{self.name}:{line}: {where}{message}"))

    def under(self, path: Path) -> bool:
        """Is there a fault at `path` or below it? Then what follows from its value is not worth saying."""
        return any(at[: len(path)] == path for _, at, _ in self.found)

    def in_file_order(self) -> Iterator[str]:
        """The problems as lines of text, without repetitions."""
        return iter(dict.fromkeys(problem for _, _, problem in sorted(self.found, key=lambda fault: fault[0])))


def dotted(path: Path) -> str:
    """The path as it is written: `plan.prepaid-50.rate[0].price`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
            text += f".{key}" if text else key
    return text


_KEY: Final = r"""(?:[A-Za-z0-9_-]+|"[^"\\]*"|'[^']*')"""
_DOTTED_KEY: Final = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_HEADER: Final = re.compile(rf"[ \t]*\[(\[?)[ \t]*({_DOTTED_KEY})[ \t]*\]")
_ASSIGNMENT: Final = re.compile(rf"[ \t]*({_DOTTED_KEY})[ \t]*=")


def lines_by_path(text: str) -> dict[Path, int]:
    """The line of every table header and `key =` that stands at the beginning of a line.

    tomllib does not keep lines, so this looks for them. Best effort: keys inside inline tables have no entry, and a line
    inside a multi-line string may be taken for a key. That can misplace a line number, never a value.
    """
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            table = ()
            keys = _keys(header[2])
            for depth, key in enumerate(keys, 1):
                table = (*table, key)
                if header[1] and depth == len(keys):
                    counts[table] = counts.get(table, 0) + 1
                if table in counts:
                    table = (*table, counts[table] - 1)
            lines.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            lines.setdefault((*table, *_keys(assignment[1])), number)
    return lines


def _keys(dotted: str) -> list[str]:
    return [key.strip("\"'") for key in re.findall(_KEY, dotted)]


@dataclass(slots=True)
class Table:
    """One TOML table: values are taken out by key and parser; what nobody took is unknown."""

    values: Mapping[str, object]
    path: Path
    faults: Faults
    taken: list[str] = field(default_factory=list)

    def fault(self, key: str | None, message: str) -> None:
        """A fault of the value at `key`, or of the whole table."""
        self.faults.add(self.path if key is None else (*self.path, key), message)

    def take(self, key: str, parse: Callable[[Any], T], default: D, *, required: str | None = None) -> T | D:
        """The value at `key`, parsed; `default` where it is absent or wrong. `required` says what to write if absent."""
        self.taken.append(key)
        value = self.values.get(key, _MISSING)
        if value is _MISSING:
            if required is not None:
                self.fault(None, f"{key!r} is missing; write {required}")
            return default
        try:
            return parse(value)
        except ValueError as error:
            self.fault(key, str(error))
            return default

    def tables(self, key: str) -> dict[str, Self]:
        """The tables `[key.NAME]`, by name."""
        self.taken.append(key)
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            self.fault(key, f"is not a table; write [{key}.NAME]")
            return {}
        found: dict[str, Self] = {}
        for name, inner in value.items():
            path = (*self.path, key, name)
            if not NAME.fullmatch(name):
                self.faults.add(path, f"{name!r} is not a name; use 1 to 64 of the letters a-z, digits, '.', '_', '-'")
            elif not isinstance(inner, dict):
                self.faults.add(path, f"is not a table; write [{dotted(path)}]")
            else:
                found[name] = type(self)(inner, path, self.faults)
        return found

    def table(self, key: str) -> Self | None:
        """The table `[key]`, where it is there."""
        self.taken.append(key)
        value = self.values.get(key)
        path = (*self.path, key)
        if isinstance(value, dict):
            return type(self)(value, path, self.faults)
        if value is not None:
            self.faults.add(path, f"is not a table; write [{dotted(path)}]")
        return None

    def array(self, key: str) -> list[Self]:
        """The tables `[[key]]`, in order."""
        self.taken.append(key)
        value = self.values.get(key, [])
        path = (*self.path, key)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.faults.add(path, f"is not a list of tables; write [[{dotted(path)}]] with two brackets")
            return []
        return [type(self)(item, (*path, index), self.faults) for index, item in enumerate(value)]

    def finish(self) -> None:
        """Everything known is taken: what is left is unknown."""
        for key in self.values:
            if key not in self.taken:
                near = difflib.get_close_matches(key, self.taken, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known here are {', '.join(self.taken)}"
                self.fault(key, f"unknown key; {hint}")


def parse_time_zone(value: object) -> str:
    """A parser of values: the name of a time zone."""
    if not isinstance(value, str) or not value:
        raise BadValueError(f'{value!r} is not a text; write for example "Europe/Berlin"')
    try:
        ZoneInfo(value)
    # An odd name reaches the file system: a folder, a name that is too long.
    except (LookupError, ValueError, OSError):
        raise BadValueError(
            f"{value!r} is no time zone; write for example Europe/Berlin, Africa/Nairobi or UTC"
        ) from None
    return value


def parse(text: str, name: str) -> Table:
    """The top table of a document; TomlFileError when it is not TOML. `name` is what the faults call the file."""
    try:
        document = tomllib.loads(text.removeprefix("\ufeff"))
    # Besides TOMLDecodeError: ValueError of a number of thousands of digits, RecursionError of as many brackets.
    except (ValueError, RecursionError) as error:
        raise TomlFileError((_syntax_problem(text, name, error),)) from None
    return Table(document, (), Faults(name, lines_by_path(text)))


def _syntax_problem(text: str, name: str, error: Exception) -> str:
    message = str(error)
    at = re.search(r" \(at line ([0-9]+), column ([0-9]+)\)", message)
    if at is not None:
        return f"{name}:{at[1]}: not TOML: {message[: at.start()]} (column {at[2]})"
    if message.endswith(" (at end of document)"):
        return f"{name}:{text.count(chr(10)) + 1}: not TOML: {message}"
    return f"{name}:1: not TOML: {message}"
