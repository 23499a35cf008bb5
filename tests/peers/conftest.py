"""Real programs take their time, and on a busy machine more of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest


@pytest.fixture(scope="session")
def eventually(eventually: Callable[..., None]) -> Callable[..., None]:
    """As everywhere, and three times as patient where nothing is said."""
    return partial(eventually, within=15)
