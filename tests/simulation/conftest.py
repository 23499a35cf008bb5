"""The simulation's runners, one of each kind of database for each worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.simulation.run import Runner
from tests.simulation.storage import memory_folder


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """On SQLite."""
    with TemporaryDirectory(prefix="aaa-simulation-", dir=memory_folder()) as folder:
        yield Runner(Path(folder))


@pytest.fixture(scope="session")
def postgresql_runner(postgres_server: str, postgres_template: str) -> Iterator[Runner]:
    """On PostgreSQL."""
    with TemporaryDirectory(prefix="aaa-simulation-", dir=memory_folder()) as folder:
        yield Runner(Path(folder), server_uri=postgres_server, template=postgres_template)
