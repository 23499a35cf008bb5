"""A small mass exhaustion; `python -m tests.store.mass 10000` is the large one."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from aaa.runner import MOST_IN_FLIGHT
from tests.store.mass import Mass

pytestmark = pytest.mark.proof

#: What one session may cost: a profile, the Disconnect after it, three repetitions, each with its retransmissions.
MOST_PACKETS = 30


def test_all_others_are_slowed_in_time_and_the_queue_is_empty_in_the_end(engine: Engine) -> None:
    found = Mass(engine, 1_000).run()
    assert found.unenforced == 0
    assert found.others_slowed_after <= 30
    assert found.most_in_flight <= MOST_IN_FLIGHT
    assert found.most_packets <= MOST_PACKETS
    assert found.empty_after < 900
