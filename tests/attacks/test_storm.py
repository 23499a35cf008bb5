"""A NAS reboots and everybody it served comes back at once: `make storm` in small, on each kind of database."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import insert, select

from aaa.keyring import subscriber_password
from aaa.wire import Attribute, Code
from charging import tables, transaction
from charging.jobs import Jobs
from charging.payment import Grant, money_bucket
from tests.aaa.conftest import PASSWORD, PREPAID, Floor, Sent, Thread

SUBSCRIBERS = 250


def enrol(floor: Floor) -> None:
    """Many subscribers in one transaction, each with what the plan grants."""
    version, now = floor.add_plan(PREPAID), floor.now()
    names = [f"line-{n}" for n in range(SUBSCRIBERS)]
    with floor.engine.begin() as connection:
        connection.execute(insert(tables.account), [{"name": n, "currency": "EUR", "created_at": now} for n in names])
        ids = {row.name: row.account_id for row in connection.execute(select(tables.account))}
        columns = [c.key for c in tables.bucket.columns]
        money = [money_bucket(ids[n], 1, now) for n in names]
        connection.execute(insert(tables.bucket), [{c: getattr(each, c) for c in columns} for each in money])
        rows = [
            {
                "account_id": ids[n],
                "username": n,
                "plan_name": PREPAID.name,
                "password_sealed": floor.keys.seal(subscriber_password(n), PASSWORD),
                "created_at": now,
            }
            for n in names
        ]
        connection.execute(insert(tables.subscriber), rows)
        transaction.settle_in(connection, [Grant(ids[n], version, f"subscriber:{n}", "test") for n in names], now)


def login(floor: Floor, number: int) -> Sent:
    """From a port of its own, as the identifiers of one do not suffice."""
    said: list[Attribute] = [
        ("User-Name", f"line-{number}"),
        ("User-Password", PASSWORD),
        ("NAS-Port-Id", f"ether1-vlan{number}"),
    ]
    return floor.send_access(floor.access_request(said), port=20_000 + number // 200)


def test_everybody_comes_back_after_a_reboot(floor: Floor) -> None:
    """All outstanding at once, while the sessions from before are still open: no Reject, all in, and of each one session is left."""
    enrol(floor)
    for number in range(SUBSCRIBERS):
        assert login(floor, number).answer().code == Code.ACCESS_ACCEPT
    floor.clock.advance(120)
    assert floor.report(7).answer().code == Code.ACCOUNTING_RESPONSE
    floor.clock.advance(1)
    floor.lookups.holding = floor.writing.holding = True
    sent = [login(floor, number) for number in range(SUBSCRIBERS)]
    again = [floor.send_access(each.datagram, port=20_000 + number // 200) for number, each in enumerate(sent)]
    assert not any(each.done for each in sent), "all are outstanding"
    assert len(floor.services.replies) <= 2 * SUBSCRIBERS + 10
    floor.lookups.release()
    floor.writing.release()
    floor.clock.advance(2)
    assert Counter(each.answer().code for each in sent) == {Code.ACCESS_ACCEPT: SUBSCRIBERS}
    assert {each.reply for each in again} == {None}, "what was sent again while it was under way is done once"
    jobs = Jobs(
        floor.engine, floor.services.writer, Thread(), floor.now, floor.clock,
        on_failure=lambda _name, _error: None, on_recovery=lambda _name: None,
    )  # fmt: skip
    jobs.start()
    floor.clock.pump([0.5] * 20)
    live = [row for row in floor.rows(tables.session) if row.closed_at is None]
    assert len(live) == len({row.subscriber_id for row in live}) == SUBSCRIBERS
    assert floor.dropped == {}
