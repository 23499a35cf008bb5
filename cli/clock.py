"""The one place that asks what time it is; everything below is told."""

from __future__ import annotations

import time

from charging.plan import Instant


def now() -> Instant:
    """Milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000
