"""Used up, slowed or cut, paid, served again: the same story on a NAS of every dialect, with the server's own handlers and
its command runner on one clock, and datagrams that go to and fro in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import Engine, insert, update
from twisted.internet.defer import Deferred, maybeDeferred

from aaa import dialects
from aaa.dialects import Dialect
from aaa.dynauth import Ports
from aaa.runner import Runner
from aaa.simulator import COA_PORT, Behaviour, Server, Service, SimulatedNas, SimulatedSession, behaviour_of
from aaa.wire import Code
from charging import inbox, tables
from charging.bound import Line, bound
from charging.database import open_engine
from charging.plan import Exhausted, Plan, Profile, Rate
from charging.settle import Cut, Plans, settle
from tests.aaa.conftest import NAS_ADDRESS, PASSWORD, SECRET, Floor
from tests.datagrams import Network, Sent

HOME = Profile("home", rate_down_bps=8_000_000, rate_up_bps=800_000, interim_interval_seconds=60)
SLOW = Profile("slow", rate_down_bps=256_000, rate_up_bps=128_000, interim_interval_seconds=60)
GARDEN = Profile(
    "garden", rate_down_bps=1_000_000, rate_up_bps=1_000_000, redirect_url="http://pay.example/", address_list="unpaid",
    interim_interval_seconds=60,
)  # fmt: skip
FULL_BPS, SLOW_BPS, GARDEN_BPS = (800_000, 8_000_000), (128_000, 256_000), (1_000_000, 1_000_000)
#: 0.02 for 10 MB: a euro is 500 MB.
PRICE = Rate("octets", "total", 20_000, 10_000_000, 100_000)
EURO_OCTETS = 500_000_000
SERVICES = (Service("home", *FULL_BPS), Service("slow", *SLOW_BPS), Service("garden", *GARDEN_BPS, redirects=True))
SHIPPED = list(dialects.SHIPPED.values())
CHANGES_RATES = [each for each in SHIPPED if each.capability == "rate"]
CUTS = [each for each in SHIPPED if each.capability == "disconnect"]
SHAPES_AT_LOGIN = [each for each in CUTS if dialects.limits(each, SLOW)]
SHAPES_NEVER = [each for each in CUTS if not dialects.limits(each, SLOW)]


def plan(exhausted: Exhausted) -> Plan:
    return Plan("volume", "EUR", "UTC", HOME, rates=(PRICE,), exhausted=exhausted, max_sessions=4)


THROTTLED = plan(Exhausted("throttle", SLOW))
REDIRECTED = plan(Exhausted("redirect", GARDEN))
DISCONNECTED = plan(Exhausted("disconnect"))


@dataclass
class Place:
    """One NAS, its server, and the clock that both live by."""

    engine: Engine
    speaks: Dialect
    plan: Plan
    behaviour: Behaviour | None = None
    network: Network = field(default_factory=Network)
    paid: int = 0

    def __post_init__(self) -> None:
        self.floor = Floor(self.engine, self.network, chance=random.Random(1))
        self.floor.add_nas("nas", dialect=self.speaks.name)
        self.account_id = self.floor.add_subscriber("anna", plan=self.plan, granted=False)
        behaviour = self.behaviour or replace(behaviour_of(self.speaks.name), services=SERVICES, reconnect_ms=3_000)
        at = Server(("192.0.2.200", 1812), ("192.0.2.200", 1813))
        self.nas = SimulatedNas("nas", NAS_ADDRESS, SECRET, self.speaks.name, [at], behaviour=behaviour, seed=1)
        self.network.nases[NAS_ADDRESS, self.speaks.coa_port] = self._order
        self.runner = Runner(
            self.engine, self.floor.services.writer, self.floor.nases, Ports(self.network, chance=random.Random(2)),
            at_once, self.network, "node-a", self.floor.now,
        )  # fmt: skip
        self.floor.services.writer.on_commands = self.runner.wake
        self.runner.start()

    def _order(self, sent: Sent) -> bytes | None:
        """A CoA or Disconnect arrives; its answer."""
        assert self.speaks.coa_port, "nobody listens there"
        source = ("192.0.2.200", sent.socket.number)
        self.nas.receive(sent.datagram, source, self.floor.now(), COA_PORT)
        answers = [each for each in self.nas.outbox if each.port == COA_PORT]
        self.nas.outbox = [each for each in self.nas.outbox if each.port != COA_PORT]
        return answers[0].datagram if answers else None

    def settle_down(self) -> None:
        """What is on its way arrives, and what follows from it."""
        for _ in range(10):
            outbox, self.nas.outbox = self.nas.outbox, []
            for each in outbox:
                access = each.destination[1] == 1812
                send = self.floor.send_access if access else self.floor.send_accounting
                sent = send(each.datagram, port=50_000 + each.port)
                self.network.advance(0)
                if not sent.done:
                    self.network.advance(1)  # a Reject waits for a second
                if sent.reply is not None:
                    self.nas.receive(sent.reply, each.destination, self.floor.now(), each.port)
            self.network.advance(0)

    def run(self, seconds: float) -> None:
        """Time passes."""
        until = self.network.seconds() + seconds
        self.settle_down()
        while (left := until - self.network.seconds()) > 0:
            due = self.nas.due()
            step = left if due is None else min(left, max(0.001, (due - self.floor.now()) / 1000))
            self.network.advance(min(step, 5))
            self.nas.tick(self.floor.now())
            self.settle_down()

    def log_in(self, line_bps: tuple[int, int] = FULL_BPS) -> SimulatedSession:
        # Where the NAS shapes nothing, the line must be what the plan says: the bound counts with that.
        demand = line_bps if self.speaks in SHAPES_NEVER else (10 * line_bps[0], 10 * line_bps[1])
        session = self.nas.log_in("anna", PASSWORD.decode(), self.floor.now(), demand_bps=demand)
        self.settle_down()
        return session

    def pay(self, euros: int) -> None:
        """As a billing system pays, and the inbox applies it."""
        self.paid += euros
        row = {"source": "bank", "external_ref": f"r{self.paid}", "account": "anna", "amount": f"{euros}.00"}
        with self.engine.begin() as connection:
            connection.execute(insert(tables.billing_top_up).values(row))
            page = inbox.pending(connection, 10)
            settle(connection, page.top_ups, self.floor.now(), Plans(), random.Random(3))

    def session(self) -> SimulatedSession:
        """The one that is on."""
        (session,) = self.nas.online()
        return session

    def rates(self) -> tuple[int | None, int | None]:
        told = self.session().told
        return told.up_bps, told.down_bps

    def octets(self) -> int:
        """What has been moved in all, by the NAS's own books."""
        for session in self.nas.sessions:
            session.move(self.floor.now())
        return sum(session.octets_up + session.octets_down for session in self.nas.sessions)

    def commands(self) -> list[tuple[str, str, str | None]]:
        rows = sorted(self.floor.rows(tables.command), key=lambda row: (row.created_at, row.version))
        return [(row.action, row.state, row.answer) for row in rows]

    def received(self) -> list[str]:
        """The orders that the NAS got, retransmissions aside."""
        return [str(event.fields["order"]) for event in self.nas.log if event.kind == "order-received"]


def at_once(work: Callable[[], Any]) -> Deferred[Any]:
    return maybeDeferred(work)


@pytest.fixture
def place(sqlite_url: str) -> Iterator[Callable[..., Place]]:
    """Opens one; the story needs no second kind of database."""
    engine = open_engine(sqlite_url)
    yield lambda *arguments, **more: Place(engine, *arguments, **more)
    engine.dispose()


def spent(here: Place) -> bool:
    """Is no money left, and nothing served at full speed any more?"""
    left = sum(row.balance for row in here.floor.rows(tables.bucket))
    return (
        left < 1_000
        and all(row.closed_at is not None or row.wanted != "full" for row in here.floor.rows(tables.session))
        and all(session.state != "asking" for session in here.nas.sessions)
    )


def until_spent(here: Place, interval: int) -> None:
    deadline = here.network.seconds() + 40 * interval + 2_000
    while not spent(here):
        assert here.network.seconds() < deadline, "it never gets there"
        here.run(15)
    here.run(interval + interval // 10 + 40)  # what was ordered is done, and reported


def leaked(here: Place) -> int:
    return sum(row.leaked_octets for row in here.floor.rows(tables.session))


def printed_bound(here: Place) -> int:
    """As `aaa explain` prints it for the sessions that are live."""
    rows = [row for row in here.floor.rows(tables.session) if row.closed_at is None]
    octets = bound(
        [Line("anna", here.plan, row.interval_seconds, 1, row.session_id, means=row.means) for row in rows]
    ).octets
    assert octets is not None
    return octets


def suspend(here: Place) -> None:
    with here.engine.begin() as connection:
        connection.execute(update(tables.subscriber).values(status="suspended"))
        cut = Cut(here.account_id, None, None, "suspended")
        settle(connection, [cut], here.floor.now(), Plans(), random.Random(1))
    here.runner.wake()


@pytest.mark.parametrize("speaks", CHANGES_RATES, ids=lambda d: d.name)
def test_used_up_slowed_paid_served_again_and_slowed_again(place: Callable[..., Place], speaks: Dialect) -> None:
    here = place(speaks, THROTTLED)
    here.pay(1)
    session = here.log_in()
    assert here.rates() == FULL_BPS
    until_spent(here, 60)
    assert here.rates() == SLOW_BPS
    # Who counts volume ends the session at the octet; it is back at once, slowly.
    assert (here.session() is session) is not speaks.volume_by_coa
    session = here.session()
    here.run(300)  # its reports agree with it: nobody cuts it
    assert here.session() is session
    here.pay(5)
    here.run(1)
    assert here.rates() == FULL_BPS
    assert here.session() is session
    until_spent(here, 60)
    assert here.rates() == SLOW_BPS
    assert leaked(here) <= 2 * printed_bound(here)
    assert {state for _, state, _ in here.commands()} == {"acked"}
    assert set(here.received()) == {"COA_REQUEST"}


@pytest.mark.parametrize("speaks", SHAPES_AT_LOGIN, ids=lambda d: d.name)
def test_slowed_and_served_again_by_new_logins(place: Callable[..., Place], speaks: Dialect) -> None:
    here = place(speaks, THROTTLED)
    here.pay(1)
    first = here.log_in()
    assert here.rates() == FULL_BPS
    until_spent(here, 60)
    assert here.session() is not first
    assert here.rates() == SLOW_BPS
    assert leaked(here) <= 95 * 1_100_000
    here.pay(5)
    here.run(10)
    assert here.rates() == FULL_BPS
    assert {state for _, state, _ in here.commands()} == {"acked"}
    assert set(here.received()) == {"DISCONNECT_REQUEST"}


@pytest.mark.parametrize("speaks", SHAPES_NEVER, ids=lambda d: d.name)
def test_what_can_not_be_slowed_is_cut_and_kept_out_until_paid(place: Callable[..., Place], speaks: Dialect) -> None:
    here = place(speaks, THROTTLED)
    here.pay(1)
    here.log_in()
    until_spent(here, 60)
    assert here.nas.online() == []
    assert here.nas.sessions[-1].state == "refused"  # it came back at once, and was not let in
    assert leaked(here) <= 95 * 1_100_000
    assert not [row for row in here.floor.rows(tables.session) if row.closed_at is None]
    here.pay(5)
    assert here.log_in().online


def test_re_authentication_slows_and_serves_again(place: Callable[..., Place]) -> None:
    here = place(dialects.dialect("pfsense"), THROTTLED)
    here.pay(1)
    session = here.log_in()
    assert here.rates() == FULL_BPS
    until_spent(here, 60)
    assert here.rates() == SLOW_BPS
    assert leaked(here) <= 95 * 1_100_000
    here.run(300)
    assert here.session() is session
    (row,) = [each for each in here.floor.rows(tables.session) if each.acct_session_id is not None]
    assert (row.closed_at, row.acked_version) == (None, row.wanted_version)
    here.pay(5)
    here.run(62)
    assert here.rates() == FULL_BPS
    assert here.received() == []
    assert {(state, answer) for _, state, answer in here.commands()} == {("acked", "reauthentication")}


@pytest.mark.parametrize("speaks", SHIPPED, ids=lambda d: d.name)
def test_used_up_cut_kept_out_paid_and_let_in(place: Callable[..., Place], speaks: Dialect) -> None:
    here = place(speaks, DISCONNECTED)
    here.pay(1)
    here.log_in()
    until_spent(here, 60)
    assert here.nas.online() == []
    assert leaked(here) <= 95 * 1_100_000
    assert not here.log_in().online
    here.pay(1)
    assert here.log_in().online
    assert here.rates() == (FULL_BPS if speaks not in SHAPES_NEVER else (None, None))


# sessions of one account, Mbit/s down, the interval in seconds
LINES = [(sessions, mbps, interval) for sessions in (1, 4) for mbps in (20, 500) for interval in (60, 300)]
#: One of each class.
TYPICAL = ("mikrotik", "generic", "aruba", "hostapd")


def can_be_charged(speaks: Dialect, mbps: int, interval: int) -> bool:
    """Counters of 32 bits turn over within 68 s at 500 Mbit/s: nobody can charge that at 300 s."""
    return speaks.counter_bits != 32 or (mbps, interval) != (500, 300)


@pytest.mark.parametrize(
    ("speaks", "sessions", "mbps", "interval"),
    [
        (each, *line)
        for each in SHIPPED
        for line in [LINES[0], *((LINES[1], LINES[7]) if each.name in TYPICAL else ())]
        if can_be_charged(each, *line[1:])
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_spent_slowed_paid_served_spent_and_cut_within_the_printed_bound(
    place: Callable[..., Place], speaks: Dialect, sessions: int, mbps: int, interval: int
) -> None:
    """`make prove` tells it on every line."""
    spent_slowed_paid_served_spent_and_cut(place, speaks, sessions, mbps, interval)


def spent_slowed_paid_served_spent_and_cut(
    place: Callable[..., Place], speaks: Dialect, sessions: int, mbps: int, interval: int
) -> None:
    """The whole story; what leaks is within the bound that was printed."""
    bps = (mbps * 100_000, mbps * 1_000_000)
    line = replace(HOME, rate_up_bps=bps[0], rate_down_bps=bps[1], interim_interval_seconds=interval)
    services = (Service("home", *bps), *SERVICES[1:])
    behaviour = replace(behaviour_of(speaks.name), services=services, reconnect_ms=3_000)
    here = place(speaks, replace(THROTTLED, profile=line), behaviour=behaviour)
    euros = -(-sessions * (bps[0] + bps[1]) * (interval + 120) // 8 // EURO_OCTETS)
    here.pay(euros)
    for _ in range(sessions):
        here.log_in(bps)
        here.run(interval / 7)
    assert len(here.nas.online()) == sessions
    most = printed_bound(here)
    assert (most == 0) is (speaks.volume_by_coa)

    until_spent(here, interval)
    slowed = [session for session in here.nas.online() if session.told.up_bps == SLOW.rate_up_bps]
    assert len(slowed) == len(here.nas.online()) == (0 if speaks in SHAPES_NEVER else sessions)
    first = leaked(here)
    assert first <= most

    here.pay(euros)
    if speaks in SHAPES_NEVER:
        for _ in range(sessions):
            here.log_in(bps)
    here.run(70 if speaks.capability == "reauthenticate" else 10)
    served = [session for session in here.nas.online() if session.told.up_bps != SLOW.rate_up_bps]
    assert len(served) == len(here.nas.online()) == sessions
    most = max(most, printed_bound(here))

    until_spent(here, interval)
    suspend(here)
    here.run(70)
    assert here.nas.online() == []
    here.run(10)
    assert leaked(here) - first <= most
    rows = here.floor.rows(tables.session)
    assert all(row.closed_at is not None for row in rows)
    # Every octet that the NAS has moved was paid for, promised for nothing, or is on record as leaked.
    free = sum(row.free_octets for row in here.floor.rows(tables.usage_line))
    drawn = (2 * euros * 1_000_000 - sum(row.balance for row in here.floor.rows(tables.bucket))) // 20_000 * 10_000_000
    assert abs(here.octets() - free - leaked(here) - drawn) <= 200_000 * len(rows)
    assert not [each for each in here.commands() if each[1] == "pending"]


#: Where a CoA leads into the walled garden, and whether one leads out of it again.
IN_BY_COA = ["generic", "mikrotik", "chillispot", "wispr", "cisco-isg", "juniper", "huawei", "nokia", "aruba"]
OUT_BY_COA = ["chillispot", "cisco-isg", "juniper"]


@pytest.mark.parametrize("name", IN_BY_COA)
def test_into_the_walled_garden_and_out_of_it(place: Callable[..., Place], name: str) -> None:
    here = place(dialects.dialect(name), REDIRECTED)
    here.pay(1)
    session = here.log_in()
    until_spent(here, 60)
    assert (here.session() is session) is not here.speaks.volume_by_coa
    session = here.session()
    assert session.told.redirect is not None
    here.pay(5)
    here.run(10)
    assert here.session().told.redirect is None
    assert here.rates() == FULL_BPS
    assert (here.session() is session) is (name in OUT_BY_COA)


# --- manners ------------------------------------------------------------------------------------------------------


def test_isg_gets_one_service_per_coa_the_old_one_off_before_the_new_one_on(place: Callable[..., Place]) -> None:
    here = place(dialects.dialect("cisco-isg"), THROTTLED)
    here.pay(1)
    here.log_in()
    until_spent(here, 60)
    pairs = [[value for name, value in sent.attributes if name == "Cisco-AVPair"] for sent in here.network.sent]
    assert pairs == [
        ["subscriber:command=deactivate-service", "subscriber:service-name=home"],
        ["subscriber:command=activate-service", "subscriber:service-name=slow"],
    ]


def test_isg_that_has_not_the_old_service_gets_the_new_one(place: Callable[..., Place]) -> None:
    here = place(dialects.dialect("cisco-isg"), THROTTLED)
    here.pay(1)
    session = here.log_in()
    session.told = replace(session.told, services=())  # somebody has switched it off by hand
    until_spent(here, 60)
    assert here.rates() == SLOW_BPS
    assert here.commands() == [("profile", "acked", "ack")]


def test_isg_without_the_new_service_is_cut(place: Callable[..., Place]) -> None:
    behaviour = replace(behaviour_of("cisco-isg"), services=SERVICES[:1])
    here = place(dialects.dialect("cisco-isg"), THROTTLED, behaviour=behaviour)
    here.pay(1)
    here.log_in()
    until_spent(here, 60)
    assert here.nas.online() == []
    assert [state for _, state, _ in here.commands()] == ["failed", "acked"]


def test_isg_that_does_not_answer_the_first_is_not_sent_the_second(place: Callable[..., Place]) -> None:
    here = place(dialects.dialect("cisco-isg"), THROTTLED, behaviour=replace(behaviour_of("cisco-isg"), coa="ignore"))
    here.pay(1)
    here.log_in()
    until_spent(here, 60)
    here.run(60)
    assert here.nas.online() == []
    assert here.commands() == [("profile", "failed", "no-answer"), ("disconnect", "acked", "ack")]
    coas = [sent for sent in here.network.sent if sent.code == Code.COA_REQUEST]
    assert {value for sent in coas for name, value in sent.attributes if name == "Cisco-AVPair"} == {
        "subscriber:command=deactivate-service",
        "subscriber:service-name=home",
    }


def test_a_reauthenticating_nas_is_sent_nothing_and_nobody_is_called(place: Callable[..., Place]) -> None:
    here = place(dialects.dialect("pfsense"), DISCONNECTED)
    here.pay(1)
    here.log_in()
    until_spent(here, 60)
    assert here.network.sent == []
    assert {notice.kind for notice in here.floor.rows(tables.notice)} <= {"exhausted", "threshold"}


def test_two_devices_of_one_strongswan_user_go_together(place: Callable[..., Place]) -> None:
    behaviour = replace(behaviour_of("strongswan"), reconnect_ms=None)
    here = place(dialects.dialect("strongswan"), DISCONNECTED, behaviour=behaviour)
    here.pay(5)
    one, other = here.log_in(), here.log_in()
    assert one.online
    assert other.online
    here.run(60)
    (row, _) = sorted(here.floor.rows(tables.session), key=lambda each: each.session_id)
    with here.engine.begin() as connection:
        settle(
            connection,
            [Cut(here.account_id, None, row.session_id, "operator")],
            here.floor.now(),
            Plans(),
            random.Random(1),
        )
    here.run(5)
    assert here.nas.online() == []


def test_an_operators_disconnect_is_the_next_re_authentications_reject(place: Callable[..., Place]) -> None:
    here = place(dialects.dialect("pfsense"), THROTTLED)
    here.pay(5)
    session = here.log_in()
    here.run(5)
    (row,) = here.floor.rows(tables.session)
    with here.engine.begin() as connection:
        settle(
            connection,
            [Cut(here.account_id, None, row.session_id, "operator")],
            here.floor.now(),
            Plans(),
            random.Random(1),
        )
    here.run(62)
    assert (session.online, session.terminate_cause) == (False, "User-Error")
    assert here.log_in().online  # cut, not locked out


def test_a_re_authentication_opens_no_session_and_holds_nothing_more(place: Callable[..., Place]) -> None:
    here = place(dialects.dialect("pfsense"), THROTTLED)
    here.pay(5)
    here.log_in()
    here.run(30)
    held = [row.held for row in here.floor.rows(tables.bucket)]
    here.run(40)
    assert len([event for event in here.nas.log if event.kind == "access-sent"]) == 2
    assert len(here.floor.rows(tables.session)) == 1
    assert [row.held for row in here.floor.rows(tables.bucket)] == held


def test_elsewhere_a_second_login_from_the_device_is_a_session_of_its_own(place: Callable[..., Place]) -> None:
    here = place(dialects.dialect("generic"), THROTTLED)
    here.pay(5)
    first = here.log_in()
    here.nas.log_in(
        "anna", PASSWORD.decode(), here.floor.now(), calling_station=first.calling_station, nas_port=first.nas_port
    )
    here.settle_down()
    assert len(here.floor.rows(tables.session)) == 2
