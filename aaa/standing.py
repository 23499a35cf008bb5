"""What a NAS can be made to do: what its dialect says and its people set, lowered by what was seen of it.

The classes in words: A stops by itself at a volume; B changes speed when told; C ends a session when told; D can be told
nothing. A NAS falls when it does not do what it was told, and rises again when it answers, or after an hour without fault.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from aaa.dialects import Dialect
from charging.bound import SPANS
from charging.plan import Instant
from charging.session import Means

EnforcementClass = Literal["A", "B", "C", "D"]

#: So many commands in a row that a NAS did not answer.
SILENCES: Final = 3
#: A fault that was not seen again for so long is forgotten.
REMEMBERED_MS: Final = 3_600_000
CLASS_OF: Final[dict[Means, EnforcementClass]] = {
    "volume": "A", "rate": "B", "profile": "B", "disconnect": "C", "time": "D",
}  # fmt: skip
_WORST_FIRST: Final[tuple[Means, ...]] = ("time", "disconnect", "profile", "rate", "volume")
_SEEN: Final[dict[str, tuple[Means, str]]] = {
    "silent": ("time", "did not answer its last {count} commands"),
    "still-alive": ("time", "acknowledged a Disconnect and let the session live"),
    "not-applied": ("disconnect", "acknowledged a speed and did not apply it, or refused it"),
    "limit-not-kept": ("rate", "let a session pass the volume that it was told"),
}


class Observation(NamedTuple):
    """What was seen of one address of a NAS."""

    nas_address: str
    what: str
    times: int
    first_at: Instant
    last_at: Instant

    @property
    def counts(self) -> bool:
        """Does it say something of the NAS? One answer that did not come does not."""
        return self.what in _SEEN and self.times >= (SILENCES if self.what == "silent" else 1)


class Standing(NamedTuple):
    """What can be asked of a NAS, and why not more."""

    means: Means
    why: tuple[str, ...]

    @property
    def enforcement_class(self) -> EnforcementClass:
        """Its letter."""
        return CLASS_OF[self.means]


def means_of(speaks: Dialect) -> Means:
    """The best that a dialect's equipment can be made to do."""
    if speaks.capability == "disconnect":
        return "disconnect"
    if speaks.capability == "reauthenticate":
        return "rate"
    if speaks.quota is not None and speaks.volume_by_coa:
        return "volume"
    return _changing(speaks)


def refused(speaks: Dialect, wanted: EnforcementClass) -> str | None:
    """Why equipment of this dialect can not be of that class; None: it can."""
    if wanted == "A" and speaks.quota is None:
        return f"dialect {speaks.name} has no words for a volume limit; the class can be {CLASS_OF[means_of(speaks)]} at best"
    if wanted == "B" and speaks.capability == "disconnect":
        return f"dialect {speaks.name} can not change a running session's speed; the class can be C at best"
    return None


def standing(
    speaks: Dialect,
    wanted: EnforcementClass | None,
    coa_port: int,
    seen: Iterable[Observation],
) -> Standing:
    """The NAS's means now. `wanted`: what its people set; `seen`: what was observed at its address, or at all of them, and
    is not too old."""
    means, why = means_of(speaks), [f"dialect {speaks.name}"]
    if wanted is not None:
        means, why = _set(speaks, wanted), [f"set to {wanted}"]
    if coa_port == 0 and speaks.capability != "reauthenticate":
        means = "time"
        why.append("takes no CoA")
    for each in seen:
        if each.counts:
            lowered, words = _SEEN[each.what]
            if _WORST_FIRST.index(lowered) < _WORST_FIRST.index(means):
                means = lowered
            why.append(f"{each.nas_address} {words.format(count=each.times)}")
    return Standing(means, tuple(why))


def least_of(means: Iterable[Means]) -> Means:
    """The least of them, by what can leak; of none what is assumed of a NAS that nobody knows."""
    return max(means, key=lambda each: SPANS[each], default="profile")


def _set(speaks: Dialect, wanted: EnforcementClass) -> Means:
    if wanted == "B":
        return _changing(speaks)
    return {"A": "volume", "C": "disconnect", "D": "time"}[wanted]  # type: ignore[return-value]


def _changing(speaks: Dialect) -> Means:
    return "profile" if speaks.rates_by_name or speaks.switch is not None else "rate"
