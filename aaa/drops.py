"""What was dropped, and why: counted always, said once a minute for each source and cause."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

import structlog

from charging.plan import Instant

_MOST_SOURCES: Final = 1024
_SILENCE_MS: Final = 60_000

_log = structlog.get_logger("aaa.drops")


class Drops:
    """Counts packets that get silence. Its memory of sources is bounded: a flood of spoofed ones says little."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._said: OrderedDict[tuple[str, str], Instant] = OrderedDict()

    def drop(self, reason: str, source: str, now: Instant, detail: str = "") -> None:
        """Count one packet; log it unless the same was logged within the last minute."""
        self.counts[reason] += 1
        key = (source, reason)
        said = self._said.get(key)
        if said is not None and now - said < _SILENCE_MS:
            return
        if said is None and len(self._said) >= _MOST_SOURCES:
            oldest = next(iter(self._said))
            if now - self._said[oldest] < _SILENCE_MS:
                return  # a flood; what it hides is counted
            del self._said[oldest]
        self._said[key] = now
        self._said.move_to_end(key)
        _log.warning("packet-dropped", reason=reason, source=source, detail=detail, total=self.counts[reason])
