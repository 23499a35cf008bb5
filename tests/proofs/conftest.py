"""What the proofs have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """`make prove` prints what passing proofs say: their figures, not a line for each packet."""
    with capture_logs():
        yield
