"""Dialects that a site describes in its configuration file, without code.

    [dialect.our-bng]
    base = "generic"
    identification = ["Acct-Session-Id"]
    coa_port = 1700
    [dialect.our-bng.rate]
    Filter-Id = "{down_kbps}/{up_kbps}"

Whatever is not said stays as the base has it. The templates of `rate`, `redirect` and `quota` are texts in which words in
braces are filled in; docs/nas/README.md lists the words.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, get_args

from aaa.dialects.contract import Capability, Claim, Dialect, Subject, kbps, rate_bps, read_attribute, split
from aaa.wire import Attribute
from aaa.wire.values import find
from charging.plan import Profile
from charging.tomlfile import BadValueError, Table

Template = tuple[str, str]
"""An attribute's name, and the text that its value is made from."""
Words = Mapping[str, str | None]
"""What stands for the words in braces; None: this profile does not say it."""

MOST_ABOUT_CHARACTERS: Final = 200
MOST_LEAST_SECONDS: Final = 86_400
LONGEST_INTERVAL_SECONDS: Final = 86_400
FLAGS: Final = (
    "redirect_by_coa", "coa_replaces_all", "message_authenticator", "event_timestamp", "counters_reversed",
    "session_timeout_extendable", "one_in_flight", "proof_of_ack", "rates_by_name", "volume_by_coa",
    "quota_counts_from_now", "session_timeout_counts_from_now", "interval_by_coa", "wishes_unknown", "counters_delta",
    "reports_services", "asks_again_at_timeout",
)  # fmt: skip
SESSION_NAMES: Final = ("User-Name", "Acct-Session-Id", "Framed-IP-Address", "Calling-Station-Id", "NAS-Port-Id")

_SUBJECTS: Final[Mapping[str, Subject]] = {
    "capability": "enforcement",
    "coa_port": "enforcement",
    "identification": "identification",
    "reduced_identification": "identification",
    "rate": "rate",
    "unlimited": "rate",
    "quota": "volume",
    "quota_counts_from_now": "volume",
    "volume_by_coa": "volume",
    "rates_by_name": "rate",
    "interval_by_coa": "interval",
    "least_interval_seconds": "interval",
    "session_timeout_counts_from_now": "session-timeout",
    "asks_again_at_timeout": "session-timeout",
    "counters_delta": "counters",
    "reports_services": "counters",
    "redirect": "redirect",
    "redirect_by_coa": "redirect",
    "lasting": "redirect",
    "session_timeout_extendable": "session-timeout",
    "least_session_timeout_seconds": "session-timeout",
    "counters_reversed": "counters",
}
"""Which claims of the base a key makes void."""

_WORD: Final = re.compile(r"\{([^{}]*)\}")
_EXAMPLE: Final = Profile(
    "example", rate_up_bps=5_000_000, rate_down_bps=20_000_000, burst_up_bps=6_000_000, burst_down_bps=30_000_000,
    redirect_url="http://pay.example/", address_list="unpaid", filter="unpaid",
)  # fmt: skip
_EXAMPLE_OCTETS: Final = 5_000_000_000


def read(tables: Mapping[str, Table], shipped: Mapping[str, Dialect]) -> tuple[Dialect, ...]:
    """The dialects of the tables `[dialect.NAME]`. What is wrong stands in the tables' faults afterwards."""
    return tuple(_dialect(name, table, shipped) for name, table in tables.items())


def _dialect(name: str, table: Table, shipped: Mapping[str, Dialect]) -> Dialect:
    """One of them; of a table with faults something that nobody will use."""
    fallback = shipped.get(name, next(iter(shipped.values())))
    required = None if name in shipped else f'base = "{fallback.name}", or another dialect that comes with the server'
    base = table.take("base", lambda value: _shipped(value, shipped), fallback, required=required)
    identification = table.take("identification", _identification, base.identification)
    # A base's smaller set makes no sense beside another identification.
    smaller = base.reduced_identification if "identification" not in table.values else identification
    made = replace(
        base,
        name=name,
        about=table.take("about", _about, f"as {base.name}, changed by this site" if name != base.name else base.about),
        capability=table.take("capability", _capability, base.capability),
        identification=identification,
        reduced_identification=table.take("reduced_identification", _identification, smaller),
        coa_port=table.take("coa_port", _port, base.coa_port),
        least_session_timeout_seconds=table.take(
            "least_session_timeout_seconds", _least_seconds, base.least_session_timeout_seconds
        ),
        least_interval_seconds=table.take("least_interval_seconds", _interval, base.least_interval_seconds),
        lasting=table.take("lasting", _attribute_names, base.lasting),
        unlimited=_fixed(table, base.unlimited),
    )
    flags: dict[str, Any] = {flag: table.take(flag, _flag, getattr(base, flag)) for flag in FLAGS}
    made = _with_words(replace(made, **flags), table)
    table.finish()
    if made.capability != "reauthenticate" and not made.identification:
        table.fault(None, f'identification is missing; write for example identification = ["{SESSION_NAMES[1]}"]')
    for extra in set(made.reduced_identification) - set(made.identification):
        table.fault("reduced_identification", f"{extra} is not in identification; it can only be a part of that")
    return replace(made, claims=_claims(base, table))


def _claims(base: Dialect, table: Table) -> tuple[Claim, ...]:
    """What the base rests on, but for what this site says otherwise."""
    said: dict[Subject, list[str]] = {}
    for key in table.values:
        if key not in ("base", "about"):
            said.setdefault(_SUBJECTS.get(key, "quirk"), []).append(key)
    own = [Claim(subject, f"as this site says: {', '.join(keys)}", "site") for subject, keys in said.items()]
    return (*own, *(claim for claim in base.claims if claim.subject == "quirk" or claim.subject not in said))


def _with_words(made: Dialect, table: Table) -> Dialect:
    """With the templates of rate and redirect, which replace all that the base says of a profile, and those of quota."""
    example = _rate_words(_EXAMPLE) | _redirect_words(_EXAMPLE)
    rate, redirect = _templates(table, "rate", example), _templates(table, "redirect", example)
    quota = _templates(table, "quota", _quota_words(_EXAMPLE_OCTETS))
    if rate or redirect:
        made = replace(made, profile=_profile_of(rate, redirect), switch=None)
        if "unlimited" not in table.values:
            made = replace(made, unlimited=())
        if "lasting" not in table.values:
            made = replace(made, lasting=frozenset(name for name, _ in redirect))
    return replace(made, quota=_quota_of(quota)) if quota else made


def _profile_of(
    rate: tuple[Template, ...], redirect: tuple[Template, ...]
) -> Callable[[Profile], tuple[Attribute, ...]]:
    def profile(of: Profile) -> tuple[Attribute, ...]:
        limited = rate_bps(of) is not None
        said = [*_filled(rate, _rate_words(of), needs_all=False)] if limited else []
        if of.redirect_url is not None or of.address_list is not None:
            said += _filled(redirect, _redirect_words(of), needs_all=True)
        return tuple(said)

    return profile


def _quota_of(templates: tuple[Template, ...]) -> Callable[[int], tuple[Attribute, ...]]:
    def quota(octets: int) -> tuple[Attribute, ...]:
        return tuple(_filled(templates, _quota_words(octets), needs_all=True))

    return quota


def _rate_words(profile: Profile) -> dict[str, str | None]:
    """A direction that the plan leaves free is None, and "0" beside one that it limits."""
    up, down = rate_bps(profile) or (0, 0)
    words: dict[str, str | None] = {"profile": profile.name}
    for side, bps, burst_bps in (("up", up, profile.burst_up_bps), ("down", down, profile.burst_down_bps)):
        for prefix, value in (("", bps), ("burst_", (burst_bps or bps) if bps else 0)):
            words[f"{prefix}{side}_bps"] = str(value) if value else None
            words[f"{prefix}{side}_kbps"] = str(kbps(value)) if value else None
            words[f"{prefix}{side}_mbps"] = str(max(value // 1_000_000, 1)) if value else None
    return words


def _redirect_words(profile: Profile) -> dict[str, str | None]:
    return {
        "redirect_url": profile.redirect_url,
        "address_list": profile.address_list,
        "filter": profile.filter,
        "profile": profile.name,
    }


def _quota_words(octets: int) -> dict[str, str | None]:
    """Rounded down, but at least 1: 0 is no limit nearly everywhere."""
    gigawords, low = split(octets)
    units = {"kilobytes": 1000, "megabytes": 1000**2, "kibibytes": 1024, "mebibytes": 1024**2}
    words: dict[str, str | None] = {"octets": str(octets), "low_octets": str(low), "gigawords": str(gigawords)}
    return words | {name: str(max(octets // unit, 1)) for name, unit in units.items()}


def _filled(templates: Iterable[Template], words: Words, *, needs_all: bool) -> Iterable[Attribute]:
    """The attributes, but for those of which nothing is known, or with `needs_all` not everything."""
    for name, text in templates:
        used = [words[word] for word in _WORD.findall(text) if word != "profile"]
        if used and (None in used if needs_all else used.count(None) == len(used)):
            continue
        yield read_attribute(name, _WORD.sub(lambda match: words[match[1]] or "0", text))


# --- values of the file ----------------------------------------------------------------------------------------------


def _templates(table: Table, key: str, example: Words) -> tuple[Template, ...]:
    inner = table.table(key)
    if inner is None:
        return ()
    found: list[Template] = []
    for name in inner.values:
        texts = inner.take(name, lambda value, name=name: _texts(name, value, example), ())  # type: ignore[misc]
        found += [(name, text) for text in texts]
    return tuple(found)


def _texts(name: str, value: object, example: Words) -> tuple[str, ...]:
    """One text, or several for an attribute that occurs several times; each must make a value for the example."""
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        if not isinstance(text, str):
            raise BadValueError(f'{text!r} is not a text; write it in quotes, for example "{{{next(iter(example))}}}"')
        for word in _WORD.findall(text):
            if word not in example:
                near = difflib.get_close_matches(word, example, n=1)
                hint = f"did you mean {{{near[0]}}}?" if near else f"known here are {', '.join(example)}"
                raise BadValueError(f"nothing stands for {{{word}}}; {hint}")
        if "{" in _WORD.sub("", text) or "}" in _WORD.sub("", text):
            raise BadValueError(f"{text!r} has a brace without its other half")
        read_attribute(name, _WORD.sub(lambda match: example[match[1]] or "0", text))
    return tuple(texts)


def _fixed(table: Table, default: tuple[Attribute, ...]) -> tuple[Attribute, ...]:
    """`[dialect.NAME.unlimited]`: attributes with their values as they are."""
    inner = table.table("unlimited")
    if inner is None:
        return default
    found = [
        inner.take(name, lambda value, name=name: read_attribute(name, _written(value)), None)  # type: ignore[misc]
        for name in inner.values
    ]
    return tuple(each for each in found if each is not None)


def _written(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadValueError(f'{value!r} is neither a text nor a number; write for example "0/0"')
    return str(value)


def _shipped(value: object, shipped: Mapping[str, Dialect]) -> Dialect:
    if not isinstance(value, str) or value not in shipped:
        near = difflib.get_close_matches(str(value), shipped, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(shipped)}"
        raise BadValueError(f"no dialect {value!r} comes with the server; {hint}")
    return shipped[value]


def _about(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= MOST_ABOUT_CHARACTERS:
        raise BadValueError(f"{value!r} is not one line of 1 to {MOST_ABOUT_CHARACTERS} characters")
    return value


def _capability(value: object) -> Capability:
    if value not in get_args(Capability):
        raise BadValueError(f"{value!r} is unknown; write one of {', '.join(get_args(Capability))}")
    return value  # type: ignore[return-value]  # one of its own


def _identification(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise BadValueError(f'{value!r} is not a list of attributes; write for example ["{SESSION_NAMES[1]}"]')
    for name in value:
        if name not in SESSION_NAMES:
            near = difflib.get_close_matches(str(name), SESSION_NAMES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here are {', '.join(SESSION_NAMES)}"
            raise BadValueError(f"{name!r} names no session; {hint}")
    return tuple(dict.fromkeys(value))


def _attribute_names(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise BadValueError(f'{value!r} is not a list of attributes; write for example ["Filter-Id"]')
    for name in value:
        find(name)
    return frozenset(value)


def _interval(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 60 <= value <= LONGEST_INTERVAL_SECONDS:
        raise BadValueError(
            f"{value!r} is no interval; write a number of seconds from 60 to {LONGEST_INTERVAL_SECONDS}"
        )
    return value


def _port(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 65535:
        raise BadValueError(f"{value!r} is not a port; write a number from 0 (none) to 65535, without quotes")
    return value


def _least_seconds(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_LEAST_SECONDS:
        raise BadValueError(f"{value!r}: write seconds from 0 to {MOST_LEAST_SECONDS}, without quotes")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadValueError(f"{value!r} is neither true nor false, without quotes")
    return value
