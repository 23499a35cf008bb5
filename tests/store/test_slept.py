"""A node that was stopped for longer than its lease, and what it believes when it wakes up."""

from __future__ import annotations

from sqlalchemy import Engine, update

from charging import tables
from tests.store.shop import Shop
from tests.store.test_runner import World


def test_what_it_did_not_hear_ends_nothing_that_another_node_has_brought_about(engine: Engine) -> None:
    world = World(Shop(engine))
    _, session_id = world.exhausted()
    world.runner.wake()
    world.settle_down()
    with world.shop.engine.begin() as connection:  # meanwhile another node took the command over, and its NAS said yes
        done = {"lease_node": "node-b", "lease_epoch": 2, "state": "acked", "answer": "ack", "lease_until": 0}
        connection.execute(update(tables.command).values(done))
    world.network.advance(90)  # all timers are overdue at once: nobody answered in time
    world.settle_down()
    assert [(c.action, c.state) for c in world.commands()] == [("profile", "acked")]
    assert world.session(session_id).wanted == "exhausted"
