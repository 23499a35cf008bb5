"""The log: one line per event on stderr, JSON for machines, text on a terminal. No secret gets into it, no control
character out of it, and no line is longer than a reader can take.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from functools import cache, lru_cache
from itertools import islice
from typing import Any, Final

import structlog
from structlog.typing import EventDict
from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogBeginner
from zope.interface import implementer

from cli.config import LogFormat
from cli.config import LogLevel as LevelName
from cli.output import printable

MOST_CHARACTERS_IN_LINE: Final = 8192
MOST_CHARACTERS_IN_VALUE: Final = 2048
MOST_CHARACTERS_IN_TRACEBACK: Final = 6000
_MOST_ITEMS: Final = 50
_MOST_DEPTH: Final = 4

#: What every line begins with.
_HEAD: Final = ("timestamp", "level", "logger", "event")

HIDDEN: Final = "[hidden]"
_SECRET_KEYS: Final = re.compile(
    r"password|passwd|secret|authenticator|credential|challenge|private|cookie|token|^(?:keys?|response|class)$",
    re.IGNORECASE,
)
#: A shorter one would be found inside ordinary words.
_LEAST_SECRET_CHARACTERS: Final = 4


class _Secrets:
    """Values that must not be written, whatever they stand in."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, value: str) -> None:
        if len(value) >= _LEAST_SECRET_CHARACTERS and value not in self._values:
            self._values.add(value)
            longest_first = sorted(self._values, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def clear(self) -> None:
        self._values.clear()
        self._pattern = None

    def scrub(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)


_secrets: Final = _Secrets()


def hide(secret: str | bytes) -> None:
    """Write `[hidden]` wherever this value would be written, from now on."""
    _secrets.add(secret if isinstance(secret, str) else secret.decode("utf-8", "backslashreplace"))


def forget_hidden() -> None:
    """Hide no value any more; names still are."""
    _secrets.clear()


def configure(level: LevelName, log_format: LogFormat, always: Mapping[str, str] | None = None) -> None:
    """Set up structlog, and send what Twisted and other libraries log the same way. `always` stands in every line."""
    fields = dict(always or {})
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _add_logger_name,
            *([lambda _logger, _method, event: {**fields, **event}] if fields else []),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            clean,
            as_text if text else as_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Lines,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_FromLogging()], level=logging.WARNING, force=True)
    _hear_twisted()


@cache
def _hear_twisted() -> None:
    # Once in a process: Twisted complains of a second beginning.
    globalLogBeginner.beginLoggingTo([FromTwisted()], redirectStandardIO=False, discardBuffer=False)


# --- processors ----------------------------------------------------------------------------------------------------


def clean(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Every value bounded, plain, and without secrets; what stands under a secret's name is dropped unseen."""
    return {
        _scrubbed(key): HIDDEN if _names_a_secret(key) else value if type(value) is int else _cleaned(key, value, 0)
        for key, value in islice(event.items(), _MOST_ITEMS)
    }


@lru_cache(maxsize=1024)
def _names_a_secret(key: str) -> bool:
    # A login is one line, so this is asked for a dozen keys per login: always the same ones.
    return _SECRET_KEYS.search(key) is not None


def as_json(_logger: object, _method: str, event: EventDict) -> str:
    """One line of ASCII JSON: what is not printable is escaped."""
    ordered = {key: event[key] for key in _HEAD if key in event} | dict(event)
    line = json.dumps(ordered, default=repr)
    if len(line) <= MOST_CHARACTERS_IN_LINE:
        return line
    return json.dumps({key: event[key] for key in _HEAD if key in event} | {"shortened": f"{len(line)} characters"})


def as_text(_logger: object, _method: str, event: EventDict) -> str:
    """One line for people: time, level, event, then key=value. A traceback follows on lines of its own."""
    rest = dict(event)
    traceback = rest.pop("exception", None)
    time, level, name = (str(rest.pop(key, "")) for key in ("timestamp", "level", "event"))
    pairs = " ".join(f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in rest.items())
    line = printable(f"{time[11:23]} {level:<8} {name:<28} {pairs}".rstrip())
    if len(line) > MOST_CHARACTERS_IN_LINE:
        line = f"{line[:MOST_CHARACTERS_IN_LINE]}…"
    if traceback is None:
        return line
    return "\n".join([line, *(printable(part) for part in str(traceback).splitlines())])


def _add_logger_name(logger: Any, _method: str, event: EventDict) -> EventDict:
    if logger.name:
        event["logger"] = logger.name
    return event


def _cleaned(key: object, value: Any, depth: int) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping() if depth < _MOST_DEPTH:
            return {
                _scrubbed(str(k)): HIDDEN if _names_a_secret(str(k)) else _cleaned(k, v, depth + 1)
                for k, v in islice(value.items(), _MOST_ITEMS)
            }
        case list() | tuple() | set() | frozenset() if depth < _MOST_DEPTH:
            return [_cleaned(key, item, depth + 1) for item in list(value)[:_MOST_ITEMS]]
        case bytes():
            return _scrubbed(value.decode("utf-8", "backslashreplace"))
        case str():
            text = value
        case _:
            text = repr(value)
    if key == "exception":
        # A traceback's end says what happened.
        return _secrets.scrub(text)[-MOST_CHARACTERS_IN_TRACEBACK:]
    return _scrubbed(text)


def _scrubbed(text: str) -> str:
    text = _secrets.scrub(text)
    if len(text) > MOST_CHARACTERS_IN_VALUE:
        return f"{text[:MOST_CHARACTERS_IN_VALUE]}… ({len(text)} characters)"
    return text


# --- ways in and out -----------------------------------------------------------------------------------------------


class _Lines:
    """A logger as structlog wants it: each line whole, from whichever thread."""

    _lock = threading.Lock()

    def __init__(self, name: str = "", *_: object) -> None:
        self.name = name

    def msg(self, message: str) -> None:
        try:
            with self._lock:
                sys.stderr.write(f"{message}\n")
                sys.stderr.flush()
        except (OSError, ValueError):
            pass  # nobody reads any more, or the disk is full: serving goes on

    log = debug = info = warning = error = critical = exception = fatal = msg


_FROM_TWISTED: Final = {
    LogLevel.debug: "debug",
    LogLevel.info: "debug",  # "Starting factory": of interest to nobody who runs a server
    LogLevel.warn: "warning",
    LogLevel.error: "error",
    LogLevel.critical: "critical",
}


@implementer(ILogObserver)
class FromTwisted:
    """Twisted's own events, as ours."""

    def __call__(self, event: MutableMapping[str, Any]) -> None:
        """Write one event; a failure brings its traceback."""
        failure = event.get("log_failure")
        fields = {} if failure is None else {"exception": failure.getTraceback()}
        method = _FROM_TWISTED.get(event.get("log_level", LogLevel.info), "warning")
        message = formatEvent(dict(event)) or (str(failure.value) if failure is not None else "")
        name = str(event.get("log_namespace", "twisted"))
        getattr(structlog.get_logger(name), method)("twisted", message=message, **fields)


class _FromLogging(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"exc_info": record.exc_info} if record.exc_info else {}
        method = record.levelname.lower() if record.levelname.lower() in {"info", "warning", "error"} else "error"
        getattr(structlog.get_logger(record.name), method)("library", message=record.getMessage(), **fields)
