"""From facts to words: the subject and the text of a notice in its reader's language.

Templates are Jinja2 in its sandbox: they see the notice's words and nothing else of this program.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from charging.amounts import format_amount
from charging.notices.kinds import KINDS, Facts
from charging.notices.texts import SHIPPED, Texts
from charging.plan import Instant

FALLBACK_LANGUAGE: Final = "en"
MOST_TEMPLATE_CHARACTERS: Final = 16_384
MOST_SUBJECT_CHARACTERS: Final = 200
MOST_TEXT_CHARACTERS: Final = 65_536
#: Facts that count the fact `unit`.
AMOUNTS: Final = ("left", "granted", "amount")


class Wrong(ValueError):
    """A template that can not be used; `line` is where, as well as that is known."""

    def __init__(self, message: str, line: int) -> None:
        """`message`: what is wrong and what would be right."""
        super().__init__(message)
        self.line = line


class About(NamedTuple):
    """What every notice is about, besides its facts."""

    kind: str
    detail: str
    account: str
    username: str
    """The reader's, or the account's name where nobody in particular is told."""
    currency: str
    created_at: Instant


class Said(NamedTuple):
    """A notice in words."""

    subject: str
    """One line."""
    text: str


def words(about: About, facts: Facts, time_zone: str) -> dict[str, str]:
    """What a template may say: `price_micros` becomes `price`, an instant `renews_at` becomes `renews` in local time, and
    what counts a unit is said in it."""
    zone = ZoneInfo(time_zone)
    unit = facts.get("unit")
    said = {
        "kind": about.kind,
        "detail": about.detail,
        "account": about.account,
        "username": about.username,
        "currency": about.currency,
        "at": _local(about.created_at, zone),
    }
    for name, value in facts.items():
        if isinstance(value, int) and name.endswith("_micros"):
            said[name.removesuffix("_micros")] = format_amount("money", value, about.currency)
        elif isinstance(value, int) and name.endswith("_at"):
            said[name.removesuffix("_at")] = _local(value, zone)
        elif isinstance(value, int) and name in AMOUNTS and isinstance(unit, str):
            said[name] = format_amount(unit, value, about.currency)
        else:
            said[name] = str(value)
    # Nobody's name makes a line of its own.
    return {name: one_line(text) for name, text in said.items()}


class Wording:
    """The shipped texts and the operator's own, which go before them."""

    def __init__(self, own: Texts | None = None, *, language: str = FALLBACK_LANGUAGE) -> None:
        """`language`: of readers who did not choose one. The operator's templates must have passed `check`."""
        self._language = language
        self._own = own or {}
        self._lenient = _environment(Undefined)

    def say(self, about: About, facts: Facts, language: str | None, time_zone: str) -> Said:
        """A notice in the reader's language, the configured one, or English; where a template fails on what this notice
        brings, the next one is tried, and at last the bare detail is told."""
        known = words(about, facts, time_zone)
        for source in self._sources(about.kind, language):
            try:
                return _split(self._lenient.from_string(source).render(known))
            # A template of an operator's may fail in as many ways as there are expressions.
            except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError):
                continue
        return Said(one_line(f"{about.kind}: {about.account}"), f"{about.detail}\n")

    def template(self, kind: str, language: str | None) -> str | None:
        """The template that would be used; None for a kind that has none."""
        return next(self._sources(kind, language), None)

    def _sources(self, kind: str, language: str | None) -> Iterator[str]:
        wanted = [language, (language or "").partition("-")[0], self._language, FALLBACK_LANGUAGE]
        for each in dict.fromkeys(filter(None, wanted)):
            for texts in (self._own, SHIPPED):
                source = texts.get(each, {}).get(kind)
                if source is not None:
                    yield source


def check(kind: str, source: str) -> Said:
    """What a template says with an example of everything that its kind brings; Wrong where it can not be used."""
    if len(source) > MOST_TEMPLATE_CHARACTERS:
        raise Wrong(f"longer than {MOST_TEMPLATE_CHARACTERS} characters", 1)
    known = words(SAMPLE._replace(kind=kind), KINDS[kind].facts, "UTC")
    try:
        said = _split(_environment(StrictUndefined).from_string(source).render(known))
    except TemplateSyntaxError as error:
        raise Wrong(f"not Jinja2: {error.message}", error.lineno) from None
    except Exception as error:  # noqa: BLE001  whatever the operator's expressions come to, it is a fault of the template
        hint = f"; known here are {', '.join(sorted(known))}" if isinstance(error, TemplateError) else ""
        raise Wrong(f"{error}{hint}", _line_of(error)) from None
    if not said.subject or not said.text.strip():
        raise Wrong("the first line is the subject, the second is empty, then comes the text", 1)
    return said


SAMPLE: Final = About("test", "an example", "smith", "alice", "EUR", 1_796_083_200_000)


def one_line(text: str) -> str:
    """A text as a header may have it: one line, no control characters, not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line[:MOST_SUBJECT_CHARACTERS]


def _split(rendered: str) -> Said:
    subject, _, text = rendered.strip("\n").partition("\n")
    return Said(one_line(subject), text.strip("\n")[:MOST_TEXT_CHARACTERS] + "\n")


def _local(instant: Instant, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(instant // 1000, zone):%Y-%m-%d %H:%M}"


def _environment(undefined: type[Undefined]) -> ImmutableSandboxedEnvironment:
    # What comes out is plain text, in a mail or in JSON: there is nothing to escape for.
    return ImmutableSandboxedEnvironment(undefined=undefined, autoescape=False, keep_trailing_newline=True)


def _line_of(error: BaseException) -> int:
    """The template's line in which it failed."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
