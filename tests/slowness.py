"""How much slower this machine is at this moment than those on which times were promised: what is promised takes as much longer."""

import time
from statistics import median
from typing import Final

_ADDITIONS: Final = 200_000
#: What these additions took there. Other programs' share of the processors counts here as it does for the server.
_PROMISED_SECONDS: Final = 0.008


def slowness() -> float:
    """At least 1."""
    return max(1.0, median(_seconds() for _ in range(9)) / _PROMISED_SECONDS)


def _seconds() -> float:
    began = time.perf_counter()
    total = 0
    for each in range(_ADDITIONS):
        total += each
    return time.perf_counter() - began
