"""From a row of the command table to the NAS and back: claims, orders, answers, and what follows from each."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import Engine, update
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred, maybeDeferred, succeed

from aaa import wire
from aaa.claims import CONNECTION_MS, LEASE_MS, MOST_PER_NAS, Candidate, Claims, due, pick
from aaa.dynauth import Ports
from aaa.nas import Nas
from aaa.retransmission import ACK, NO_ANSWER, Answer
from aaa.runner import Runner
from aaa.wire import Attribute, Code
from charging import tables
from charging.database import open_engine
from charging.plan import Exhausted, Plan, Profile
from charging.settle import Cut, Item, Outcome
from charging.writer import DatabaseUnavailable, Writer
from tests.datagrams import Network, Sent, answering, reply
from tests.store.shop import SLOW, Shop, plan_by_volume

SECRET = b"a-secret-between-us"
ADDRESS = ("192.0.2.1", 3799)
COA, DISCONNECT = int(Code.COA_REQUEST), int(Code.DISCONNECT_REQUEST)
GENERIC_NAS = Nas(
    1, "nas-1", "192.0.2.1", (SECRET,), "generic", None, 3799, "no", limit_proxy_state=False, counters_reversed=False
)


@dataclass
class Nases:
    """A directory."""

    by_id: dict[int, Nas]
    proven: bytes | None = None

    def nas(self, nas_id: int) -> Nas | None:
        return self.by_id.get(nas_id)

    def proven_secret(self, nas: Nas, address: str) -> bytes | None:
        return self.proven


@dataclass
class World:
    """A database, a network, NAS 1 on it, and one runner."""

    shop: Shop
    network: Network = field(default_factory=Network)
    nases: Nases = field(default_factory=lambda: Nases({1: GENERIC_NAS}))
    plan: Plan = field(default_factory=plan_by_volume)
    plan_version_id: int = 0
    began: int = 0

    def __post_init__(self) -> None:
        self.began = self.shop.now
        self.plan_version_id = self.shop.plan(self.plan)
        self.writer = Writer(self.shop.engine, at_once, self.now, chance=random.Random(1))
        self.runner = self.new_runner("node-a")
        self.writer.on_commands = self.runner.wake

    def now(self) -> int:
        self.shop.now = self.began + round(self.network.seconds() * 1000)
        return self.shop.now

    def new_runner(self, name: str, writer: Any = None, run: Any = None) -> Runner:
        ports = Ports(self.network, chance=random.Random(2))
        return Runner(
            self.shop.engine, writer or self.writer, self.nases, ports, run or at_once, self.network, name, self.now
        )  # fmt: skip

    def online(self, name: str = "anna", address: str = "192.0.2.1") -> tuple[int, int]:
        """(account_id, session_id) of a session that has reported."""
        account_id = self.shop.account(name)
        subscriber_id = self.shop.subscriber(account_id, name) if self.has_plan_row else 0
        self.shop.pay(name, "1.00")
        session_id = self.shop.login(account_id, subscriber_id, name, self.plan_version_id)
        self.shop.report(account_id, session_id, "start", username=name)
        if address != "192.0.2.1":
            self.set_session(session_id, nas_address=address)
        return account_id, session_id

    has_plan_row: bool = True

    def set_session(self, session_id: int, **values: Any) -> None:
        with self.shop.engine.begin() as connection:
            connection.execute(update(tables.session).where(tables.session.c.session_id == session_id).values(values))

    def exhausted(self, name: str = "anna", address: str = "192.0.2.1") -> tuple[int, int]:
        """A session that has used up its euro: the throttle is in the command table."""
        account_id, session_id = self.online(name, address)
        self.network.advance(60)
        self.now()
        self.shop.report(account_id, session_id, "interim", down=55_000_000, seconds=60)
        assert self.commands(session_id)[0].action == "profile"
        return account_id, session_id

    def cut(self, account_id: int, session_id: int) -> None:
        self.now()
        self.shop.settle(Cut(account_id, None, session_id, "operator"))

    def commands(self, session_id: int | None = None) -> Sequence[Any]:
        where = [] if session_id is None else [tables.command.c.session_id == session_id]
        rows = self.shop.rows(tables.command, *where)
        return sorted(rows, key=lambda row: (row.created_at, row.version))

    def session(self, session_id: int) -> Any:
        (row,) = self.shop.rows(tables.session, tables.session.c.session_id == session_id)
        return row

    def settle_down(self, seconds: float = 0.0) -> None:
        """Let what is due now happen, and what follows from it; then the clock moves on."""
        for _ in range(20):
            self.network.advance(0)
        if seconds:
            self.network.pump([0.25] * round(seconds * 4))
        self.now()


def at_once(work: Callable[[], Any]) -> Deferred[Any]:
    return maybeDeferred(work)


@pytest.fixture
def world(engine: Engine) -> World:
    return World(Shop(engine))


def names(sent: Sent) -> list[str]:
    return [name for name, _ in sent.attributes if name != "Message-Authenticator"]


# --- the way of one command ----------------------------------------------------------------------------------------


def test_the_throttle_reaches_the_nas_and_its_ack_the_database(world: World) -> None:
    _, session_id = world.exhausted()
    world.network.nases[ADDRESS] = answering(SECRET, None)
    sent_at = world.now()
    world.runner.wake()
    world.settle_down()
    (sent,) = world.network.sent
    assert sent.destination == ADDRESS
    assert wire.verify_request(wire.parse(sent.datagram, frozenset(Code)), SECRET)
    assert dict(sent.attributes) | {"Message-Authenticator": b""} == {
        "Message-Authenticator": b"",
        "User-Name": "anna",
        "Acct-Session-Id": f"s{session_id}",
        "WISPr-Bandwidth-Max-Up": SLOW.rate_up_bps,
        "WISPr-Bandwidth-Max-Down": SLOW.rate_down_bps,
    }
    (command,) = world.commands()
    assert (command.state, command.answer, command.attempts, command.lease_until) == ("acked", "ack", 1, 0)
    assert (command.sent_at, command.finished_at) == (sent_at, sent_at)
    session = world.session(session_id)
    assert (session.acked_version, session.acked_at) == (session.wanted_version, sent_at)
    assert world.runner.in_flight == 0
    world.settle_down(5)
    assert len(world.network.sent) == 1


def test_the_poll_finds_what_others_wrote(world: World) -> None:
    account_id, session_id = world.online()
    world.network.nases[ADDRESS] = answering(SECRET, None)
    world.runner.start()
    world.settle_down(1)
    assert world.network.sent == []
    world.cut(account_id, session_id)
    world.settle_down(0.5)
    assert [sent.code for sent in world.network.sent] == [DISCONNECT]
    assert names(world.network.sent[0]) == ["User-Name", "Acct-Session-Id"]


def test_where_another_process_looks_it_only_takes_what_it_is_woken_for(world: World) -> None:
    account_id, session_id = world.online()
    world.network.nases[ADDRESS] = answering(SECRET, None)
    world.runner.on_duty = lambda: False
    world.runner.start()
    world.settle_down(1)
    world.cut(account_id, session_id)
    world.settle_down(30)
    assert world.network.sent == []
    world.runner.wake()
    world.settle_down(0.5)
    assert [sent.code for sent in world.network.sent] == [DISCONNECT]


def test_a_top_up_restores_by_the_full_profile(world: World) -> None:
    _, session_id = world.exhausted()
    world.network.nases[ADDRESS] = answering(SECRET, None)
    world.runner.start()
    world.settle_down()
    world.shop.pay("anna", "5.00")
    world.settle_down(0.5)
    restored = world.network.sent[-1]
    assert dict(restored.attributes)["WISPr-Bandwidth-Max-Down"] == world.plan.profile.rate_down_bps
    assert [command.state for command in world.commands()] == ["acked", "acked"]
    assert world.session(session_id).acked_version == 2


# --- two secrets while one is being changed --------------------------------------------------------------------------

NEW_SECRET = b"the secret from tomorrow on"


@pytest.mark.parametrize("has", [SECRET, NEW_SECRET])
def test_a_command_is_signed_with_the_secret_that_the_nas_proved(world: World, has: bytes) -> None:
    account_id, session_id = world.online()
    world.nases.by_id[1] = replace(GENERIC_NAS, secrets=(NEW_SECRET, SECRET))
    world.nases.proven = has
    world.network.nases[ADDRESS] = answering(has, None)
    world.cut(account_id, session_id)
    world.runner.start()
    world.settle_down(1)
    assert [(each.state, each.answer) for each in world.commands()] == [("acked", "ack")]


def test_without_proof_each_secret_has_its_turn(world: World) -> None:
    account_id, session_id = world.online()
    world.nases.by_id[1] = replace(GENERIC_NAS, secrets=(NEW_SECRET, SECRET))
    world.network.nases[ADDRESS] = answering(SECRET, None)
    world.cut(account_id, session_id)
    world.runner.start()
    world.settle_down(120)
    assert world.commands()[-1].answer == "ack"
    signers = [wire.verify_request(wire.parse(sent.datagram, frozenset(Code)), SECRET) for sent in world.network.sent]
    assert signers[0] is False
    assert signers[-1] is True


# --- what each answer leads to -------------------------------------------------------------------------------------

# what is wanted · the NAS's Error-Causes one after the other (None: ACK) · the packets it gets within a second ·
# the commands' states and answers · why the session is closed
ANSWERS: list[tuple[str, list[int | None], list[int], list[tuple[str, str | None]], str | None]] = [
    ("throttle", [None], [COA], [("acked", "ack")], None),
    ("throttle", [401, None], [COA, COA], [("acked", "ack")], None),
    ("throttle", [402, None], [COA, COA], [("acked", "ack")], None),
    ("throttle", [403, None], [COA, COA], [("acked", "ack")], None),
    ("throttle", [404, None], [COA, COA], [("acked", "ack")], None),
    ("throttle", [407, None], [COA, COA], [("acked", "ack")], None),
    ("throttle", [401, 401, None], [COA, COA, DISCONNECT], [("failed", "nak-401"), ("acked", "ack")], None),
    ("throttle", [405, None], [COA, DISCONNECT], [("failed", "nak-405"), ("acked", "ack")], None),
    ("throttle", [501, None], [COA, DISCONNECT], [("failed", "nak-501"), ("acked", "ack")], None),
    ("throttle", [506, None], [COA, DISCONNECT], [("failed", "nak-506"), ("acked", "ack")], None),
    ("throttle", [503, 503], [COA, DISCONNECT], [("failed", "nak-503"), ("acked", "nak-503")], "gone"),
    ("cut", [None], [DISCONNECT], [("acked", "ack")], None),
    ("cut", [404, None], [DISCONNECT, DISCONNECT], [("acked", "ack")], None),
    ("cut", [404, 503], [DISCONNECT, DISCONNECT], [("acked", "nak-503")], "gone"),
    ("cut", [503], [DISCONNECT], [("acked", "nak-503")], "gone"),
    ("cut", [504], [DISCONNECT], [("failed", "nak-504"), ("pending", None)], None),
    ("cut", [501], [DISCONNECT], [("failed", "nak-501"), ("pending", None)], None),
]


@pytest.mark.parametrize(("wanted", "causes", "packets", "states", "closed"), ANSWERS)
def test_answers(
    world: World,
    wanted: str,
    causes: list[int | None],
    packets: list[int],
    states: list[tuple[str, str | None]],
    closed: str | None,
) -> None:
    if wanted == "throttle":
        _, session_id = world.exhausted()
    else:
        account_id, session_id = world.online()
        world.network.advance(60)
        world.cut(account_id, session_id)
    world.network.nases[ADDRESS] = answering(SECRET, *causes)
    world.runner.start()
    world.settle_down(1)
    assert [sent.code for sent in world.network.sent] == packets
    assert [(command.state, command.answer) for command in world.commands()] == states
    assert world.session(session_id).close_reason == closed


@pytest.mark.parametrize(("name", "said"), [("strongswan", ("acked", "gone")), ("generic", ("failed", None))])
def test_a_nak_that_gives_no_cause_is_the_end_where_there_is_but_one(
    world: World, name: str, said: tuple[str, str | None]
) -> None:
    account_id, session_id = world.online()
    world.nases.by_id[1] = replace(GENERIC_NAS, dialect=name)
    world.network.advance(60)
    world.cut(account_id, session_id)
    world.network.nases[ADDRESS] = lambda sent: reply(sent.datagram, SECRET, bare_nak=True)
    world.runner.start()
    world.settle_down(1)
    assert (world.commands()[0].state, world.session(session_id).close_reason) == said


def test_two_sessions_of_one_name_are_told_apart_by_more(world: World) -> None:
    world.nases.by_id[1] = replace(GENERIC_NAS, dialect="generic")
    account_id, one = world.online()
    other = world.shop.login(account_id, 1, "anna", world.plan_version_id, device="d2")
    world.shop.report(account_id, other, "start")
    world.network.nases[ADDRESS] = answering(SECRET, 401, None)
    for session_id, station in ((one, "02-00-00-00-00-01"), (other, "02-00-00-00-00-02")):
        world.set_session(session_id, acct_session_id=b"the-same", calling_station=station, framed_address="100.64.0.1")
    world.cut(account_id, other)
    world.runner.start()
    world.settle_down(1)
    assert [names(sent) for sent in world.network.sent] == [
        ["User-Name", "Acct-Session-Id", "Framed-IP-Address", "Calling-Station-Id"],
        ["User-Name", "Acct-Session-Id"],
    ]
    assert dict(world.network.sent[0].attributes)["Calling-Station-Id"] == "02-00-00-00-00-02"


def test_a_nas_is_told_the_name_that_it_uses_itself(world: World) -> None:
    world.exhausted()
    with world.shop.engine.begin() as connection:
        connection.execute(update(tables.session).values(nas_username="anna@example.net"))
    world.network.nases[ADDRESS] = answering(SECRET, None)
    world.runner.wake()
    world.settle_down()
    assert ("User-Name", "anna@example.net") in world.network.sent[0].attributes


def test_the_second_try_names_the_session_by_less(world: World) -> None:
    world.exhausted()
    world.network.nases[ADDRESS] = answering(SECRET, 404, None)
    world.runner.wake()
    world.settle_down()
    assert [names(sent)[:2] for sent in world.network.sent] == [
        ["User-Name", "Acct-Session-Id"],
        ["Acct-Session-Id", "WISPr-Bandwidth-Max-Up"],
    ]


def test_a_disconnect_that_is_refused_is_repeated_ever_later(world: World) -> None:
    account_id, session_id = world.online()
    world.cut(account_id, session_id)
    world.network.nases[ADDRESS] = answering(SECRET, 504)
    world.runner.start()
    world.settle_down(300)
    waits = [round(sent.at - world.network.sent[0].at) for sent in world.network.sent]
    assert waits == [0, 30, 90, 210]
    assert [notice.kind for notice in world.shop.rows(tables.notice)] == ["enforcement-failed"]
    assert {command.state for command in world.commands()} == {"failed"}


def test_a_nas_that_says_nothing_is_asked_four_times_then_told_to_disconnect(world: World) -> None:
    world.exhausted()
    world.runner.start()
    world.settle_down(29)
    assert {sent.code for sent in world.network.sent} == {COA}
    assert [command.state for command in world.commands()] == ["pending"]
    world.settle_down(5)
    assert [(c.action, c.state, c.answer) for c in world.commands()] == [
        ("profile", "failed", "no-answer"),
        ("disconnect", "pending", None),
    ]
    assert world.network.sent[-1].code == DISCONNECT


def test_gone_does_not_close_a_session_that_has_reported_since(world: World) -> None:
    account_id, session_id = world.online()
    world.network.advance(60)
    world.cut(account_id, session_id)

    def nas(sent: Sent) -> bytes:
        world.shop.now += 1
        world.shop.report(account_id, session_id, "interim", down=1000, seconds=61)
        return reply(sent.datagram, SECRET, 503)

    world.network.nases[ADDRESS] = nas
    world.runner.wake()
    world.settle_down()
    assert world.session(session_id).closed_at is None
    assert world.commands()[0].state == "acked"


# --- what is not sent ----------------------------------------------------------------------------------------------


def test_a_closed_session_needs_nothing_any_more(world: World) -> None:
    account_id, session_id = world.exhausted()
    world.shop.report(account_id, session_id, "stop", down=55_000_000, seconds=61)
    world.runner.wake()
    world.settle_down()
    assert world.network.sent == []
    assert [(command.state, command.answer) for command in world.commands()] == [("superseded", None)]


def test_an_older_wish_is_not_sent(world: World) -> None:
    _, session_id = world.exhausted()
    world.set_session(session_id, wanted_version=7)
    world.runner.wake()
    world.settle_down()
    assert (world.network.sent, world.commands()[0].state) == ([], "superseded")


@pytest.mark.parametrize(
    ("nas", "answer"), [(replace(GENERIC_NAS, coa_port=0), "no-coa-port"), (None, "no-nas")], ids=["no port", "removed"]
)
def test_a_nas_that_can_not_be_told_fails_at_once(world: World, nas: Nas | None, answer: str) -> None:
    world.exhausted()
    world.nases.by_id = {} if nas is None else {1: nas}
    world.runner.start()
    world.settle_down(1)
    assert world.network.sent == []
    assert [(c.action, c.answer) for c in world.commands()] == [
        ("profile", answer), ("disconnect", answer), ("disconnect", None)
    ]  # fmt: skip


def test_a_profile_that_can_not_be_said_goes_down_the_ladder(world: World, engine: Engine) -> None:
    bad = replace(SLOW, attributes=(("Session-Timeout", "soon"),))
    other = World(
        Shop(engine, numbers=world.shop.numbers),
        plan=replace(plan_by_volume(), name="bad", exhausted=Exhausted("throttle", bad)),
    )
    other.has_plan_row = False
    other.exhausted()
    other.network.nases[ADDRESS] = answering(SECRET, None)
    other.runner.start()
    other.settle_down(1)
    assert [sent.code for sent in other.network.sent] == [DISCONNECT]
    assert other.commands()[0].answer == "profile-not-sayable"


# --- a session that has not reported yet ---------------------------------------------------------------------------


def provisional(world: World) -> tuple[int, int]:
    """A login that is told something before its first report."""
    account_id = world.shop.account("anna")
    subscriber_id = world.shop.subscriber(account_id, "anna")
    world.shop.pay("anna", "1.00")
    session_id = world.shop.login(account_id, subscriber_id, "anna", world.plan_version_id)
    world.cut(account_id, session_id)
    return account_id, session_id


def test_its_first_report_is_waited_for(world: World) -> None:
    account_id, session_id = provisional(world)
    world.network.nases[ADDRESS] = answering(SECRET, None)
    world.runner.start()
    world.settle_down(5)
    assert world.network.sent == []
    world.shop.report(account_id, session_id, "start")
    world.settle_down(0.5)
    assert [names(sent) for sent in world.network.sent] == [["User-Name", "Acct-Session-Id"]]


def test_after_ten_seconds_it_is_cut_by_the_name_it_has(world: World) -> None:
    provisional(world)
    world.network.nases[ADDRESS] = answering(SECRET, None)
    world.runner.start()
    world.settle_down(11)
    assert [(sent.code, names(sent)) for sent in world.network.sent] == [(DISCONNECT, ["User-Name"])]


# --- dialects ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "code"), [("generic", COA), ("mikrotik", COA), ("accel-ppp", DISCONNECT), ("chillispot", COA)]
)
def test_into_the_garden_by_coa_or_by_a_new_login(engine: Engine, dialect: str, code: int) -> None:
    garden = Profile("garden", redirect_url="http://pay.example/", address_list="garden", pool="garden")
    world = World(Shop(engine), plan=plan_by_volume(exhausted=Exhausted("redirect", garden)))
    world.nases.by_id = {1: replace(GENERIC_NAS, dialect=dialect)}
    world.exhausted()
    world.runner.wake()
    world.settle_down()
    assert [sent.code for sent in world.network.sent] == [code]


# --- several commands ----------------------------------------------------------------------------------------------


def test_one_command_at_a_time_is_on_its_way_to_a_session(world: World) -> None:
    _, session_id = world.exhausted()
    world.runner.start()
    world.settle_down()
    world.shop.pay("anna", "5.00")  # full again, while the throttle is still unanswered
    world.settle_down(0.5)
    (throttle,) = world.network.sent
    throttle.socket.hear(reply(throttle.datagram, SECRET), ADDRESS)
    world.settle_down(0.25)
    assert [dict(sent.attributes)["WISPr-Bandwidth-Max-Down"] for sent in world.network.sent] == [
        SLOW.rate_down_bps,
        world.plan.profile.rate_down_bps,
    ]
    assert [(command.state, command.answer) for command in world.commands()] == [("acked", "ack"), ("pending", None)]
    assert world.session(session_id).acked_version == 1


def test_a_silent_nas_delays_nobody_and_gets_so_many_packets_and_no_more(world: World) -> None:
    silent, quick = ("192.0.2.66", 3799), ADDRESS
    for number in range(MOST_PER_NAS + 8):
        account_id, session_id = world.online(f"silent-{number}", silent[0])
        world.cut(account_id, session_id)
    account_id, session_id = world.online("quick")
    world.cut(account_id, session_id)
    world.network.nases[quick] = answering(SECRET, None)
    world.runner.start()
    world.settle_down(1)
    assert len([sent for sent in world.network.sent if sent.destination == silent]) == MOST_PER_NAS
    assert [sent.destination for sent in world.network.sent].count(quick) == 1
    before = len(world.network.sent)
    world.settle_down(28)
    assert len(world.network.sent) <= before + MOST_PER_NAS * 4
    world.settle_down(6)  # the first wave has ended: one command tries again
    tried = [sent for sent in world.network.sent if sent.destination == silent and sent.at > 31.5]
    assert len({sent.datagram for sent in tried}) == 1
    world.network.nases[silent] = answering(SECRET, None)
    world.settle_down(120)
    assert {command.state for command in world.commands()} <= {"acked", "failed"}
    assert world.runner.in_flight == 0


# --- several nodes -------------------------------------------------------------------------------------------------


def test_two_nodes_send_each_command_once(world: World) -> None:
    for number in range(20):
        account_id, session_id = world.online(f"user-{number}")
        world.cut(account_id, session_id)
    now = world.now()
    free = {"192.0.2.1": 100}

    def race(node: str) -> list[int]:
        claims, claimed = Claims(world.shop.engine, node), list[int]()
        for _ in range(6):
            got, _more = claims.take(now, [], free, 5)
            claimed += [each.command_id for each in got]
        claims.close()
        return claimed

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(race, ["node-a", "node-b"])
    assert not set(first) & set(second)
    assert len(first) == len(set(first))
    assert len(first) + len(second) == 20


def test_two_runners_on_one_database(world: World) -> None:
    other = world.new_runner("node-b")
    for number in range(10):
        account_id, session_id = world.online(f"user-{number}")
        world.cut(account_id, session_id)
    world.network.nases[ADDRESS] = answering(SECRET, None)
    world.runner.start()
    other.start()
    world.settle_down(2)
    told = [dict(sent.attributes)["User-Name"] for sent in world.network.sent]
    assert sorted(told) == sorted(f"user-{number}" for number in range(10))


def test_the_lease_of_a_stopped_node_runs_out_and_its_late_answer_ends_no_command(world: World) -> None:
    _, session_id = world.exhausted()
    asleep = world.runner
    asleep.wake()
    world.settle_down()
    (first,) = world.network.sent
    with world.shop.engine.begin() as connection:  # a minute later another node has taken it over
        connection.execute(update(tables.command).values(lease_node="node-b", lease_epoch=2))
    first.socket.hear(reply(first.datagram, SECRET), ADDRESS)
    world.settle_down()
    (command,) = world.commands()
    assert (command.state, command.answer, command.lease_node) == ("pending", None, "node-b")
    assert world.session(session_id).acked_version == 1  # what the NAS applied is a fact, whoever heard it
    assert world.runner.in_flight == 0


def test_a_node_that_slept_between_claim_and_packet_sends_nothing(world: World) -> None:
    world.exhausted()

    def slow(work: Callable[[], Any]) -> Deferred[Any]:
        claimed, later = work(), Deferred[Any]()
        world.network.callLater(40, later.callback, claimed)
        return later

    asleep = world.new_runner("node-s", run=slow)
    asleep.wake()
    world.settle_down(39)
    world.network.nases[ADDRESS] = answering(SECRET, None)
    world.settle_down(2)
    assert world.network.sent == []
    assert world.commands()[0].state == "pending"


def test_an_older_ack_does_not_take_a_newer_one_back(world: World) -> None:
    _, session_id = world.exhausted()
    world.runner.wake()
    world.settle_down()
    (throttle,) = world.network.sent
    world.set_session(session_id, acked_version=2, acked_at=1)
    throttle.socket.hear(reply(throttle.datagram, SECRET), ADDRESS)
    world.settle_down()
    assert (world.session(session_id).acked_version, world.session(session_id).acked_at) == (2, 1)


def test_a_command_of_a_dead_node_is_sent_by_another_when_its_lease_ends(world: World) -> None:
    world.exhausted()
    claimed, _ = Claims(world.shop.engine, "dead").take(world.now(), [], {}, 10)
    assert len(claimed) == 1
    world.network.nases[ADDRESS] = answering(SECRET, None)
    world.runner.start()
    world.settle_down(LEASE_MS / 1000 - 1)
    assert world.network.sent == []
    world.settle_down(2)
    assert len(world.network.sent) == 1
    assert (world.commands()[0].state, world.commands()[0].attempts) == ("acked", 2)


@pytest.mark.parametrize("on_duty", [True, False])
def test_a_node_that_died_and_is_back_sends_at_once_what_it_had(world: World, *, on_duty: bool) -> None:
    world.exhausted()
    Claims(world.shop.engine, "node-a").take(world.now(), [], {}, 10)
    world.runner.on_duty = lambda: on_duty
    world.network.nases[ADDRESS] = answering(SECRET, None)
    world.runner.start()
    world.settle_down(1)
    assert (world.commands()[0].state, world.commands()[0].attempts) == ("acked", 2)


def test_a_session_of_another_account_is_not_busy_because_its_number_is_the_same() -> None:
    mine, another = Candidate(1, 10, 77, 0, "192.0.2.1"), Candidate(2, 11, 77, 0, "192.0.2.1")
    assert pick([mine, another], {(1, 77)}, {}, 10) == [another]


def test_what_another_node_still_sends_is_not_overtaken(world: World) -> None:
    world.exhausted()
    Claims(world.shop.engine, "node-b").take(world.now(), [], {}, 10)
    world.shop.pay("anna", "5.00")
    world.runner.start()
    world.settle_down(LEASE_MS / 1000 - 1)
    assert world.network.sent == []
    world.settle_down(2)
    assert dict(world.network.sent[0].attributes)["WISPr-Bandwidth-Max-Down"] == world.plan.profile.rate_down_bps


def test_stop_gives_back_what_is_on_its_way(world: World) -> None:
    world.exhausted()
    world.runner.start()
    world.settle_down()
    stopping = Deferred.fromCoroutine(world.runner.stop())
    world.settle_down()
    assert stopping.called
    (command,) = world.commands()
    assert (command.state, command.lease_until) == ("pending", 0)
    sent = len(world.network.sent)
    world.runner.wake()
    world.settle_down(5)
    assert len(world.network.sent) == sent
    assert world.network.getDelayedCalls() == []


def test_a_look_reads_pending_commands_and_no_others(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    said: list[str] = []
    plans: list[str] = []
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(said.append)
        assert due(connection, 0, ["192.0.2.1"]) == []
        driver.set_trace_callback(None)
        for statement in said:
            plans += [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}") if "SELECT" in statement]
    engine.dispose()
    assert plans[0] == "SEARCH command USING INDEX ix_command_pending (not_before<?)"
    assert not [step for step in plans if step.startswith("SCAN") and "json_each" not in step]


# --- NASes over TLS ------------------------------------------------------------------------------------------------

OVER_TLS = "radsec:nas-1"


@dataclass
class Connected:
    """Connections over TLS: who is there, and what was said to them; everything is acknowledged."""

    there: set[str] = field(default_factory=set)
    said: list[tuple[str, int, list[str]]] = field(default_factory=list)

    def reachable(self) -> set[str]:
        return self.there

    def send(self, source: str, code: int, attributes: Sequence[Attribute], **_: Any) -> Deferred[Answer]:
        if source not in self.there:
            return succeed(NO_ANSWER)
        self.said.append((source, code, [name for name, _ in attributes]))
        return succeed(ACK)


@pytest.mark.parametrize("on_duty", [True, False])
def test_a_nas_over_tls_is_told_over_its_connection_when_it_is_there(world: World, *, on_duty: bool) -> None:
    """By the process that has the connection, which is no other's to look for."""
    account_id, session_id = world.online(address=OVER_TLS)
    world.runner.connections = connected = Connected()
    world.runner.on_duty = lambda: on_duty
    world.cut(account_id, session_id)
    world.runner.start()
    world.settle_down(30)
    assert (connected.said, world.network.sent) == ([], [])
    assert [command.attempts for command in world.commands()] == [0], "another node may have the connection"
    connected.there.add(OVER_TLS)
    world.settle_down(0.5)
    assert connected.said == [(OVER_TLS, DISCONNECT, ["User-Name", "Acct-Session-Id"])]
    assert [(command.state, command.answer) for command in world.commands()] == [("acked", "ack")]
    assert world.network.sent == []


@pytest.mark.parametrize("connections", [None, Connected()])
def test_a_nas_over_tls_that_does_not_come_back_counts_as_silent(world: World, connections: Connected | None) -> None:
    account_id, session_id = world.online(address=OVER_TLS)
    world.runner.connections = connections
    world.cut(account_id, session_id)
    world.runner.start()
    world.settle_down(CONNECTION_MS / 1000 + 1)
    assert (world.commands()[0].state, world.commands()[0].answer) == ("failed", "no-answer")


def test_a_nas_over_tls_with_an_address_for_coa_is_told_there(world: World) -> None:
    account_id, session_id = world.online(address=OVER_TLS)
    world.nases.by_id[1] = replace(GENERIC_NAS, network=None, coa_address="198.51.100.9")
    world.network.nases["198.51.100.9", 3799] = answering(SECRET, None)
    world.runner.connections = connected = Connected({OVER_TLS})
    world.cut(account_id, session_id)
    world.runner.start()
    world.settle_down(1)
    assert [sent.destination for sent in world.network.sent] == [("198.51.100.9", 3799)]
    assert connected.said == []
    assert [command.state for command in world.commands()] == ["acked"]


# --- trouble of our own --------------------------------------------------------------------------------------------


@dataclass
class Unavailable:
    """A writer whose database is away for a while."""

    writer: Writer
    away: bool = True

    async def submit(self, item: Item) -> Outcome:
        if self.away:
            raise DatabaseUnavailable("away")
        return await self.writer.submit(item)


def test_while_the_books_can_not_be_told_the_command_stays_pending(world: World) -> None:
    world.exhausted()
    books = Unavailable(world.writer)
    node = world.new_runner("node-c", books)
    world.network.nases[ADDRESS] = answering(SECRET, 501, 501, None)
    node.start()
    world.settle_down(1)
    assert [command.state for command in world.commands()] == ["pending"]
    books.away = False
    world.settle_down(LEASE_MS / 1000 + 1)
    assert [(command.state, command.answer) for command in world.commands()] == [
        ("failed", "nak-501"),
        ("acked", "ack"),
    ]


def test_a_look_that_fails_is_taken_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.exhausted()
    world.network.nases[ADDRESS] = answering(SECRET, None)
    real = Claims.take

    def broken(*_: Any) -> Any:
        raise OSError("no database")

    monkeypatch.setattr(Claims, "take", broken)
    world.runner.start()
    world.settle_down(2)
    assert world.network.sent == []
    monkeypatch.setattr(Claims, "take", real)
    world.settle_down(1)
    assert len(world.network.sent) == 1


def test_one_line_per_command_and_no_secret_in_it(world: World) -> None:
    world.exhausted()
    world.network.nases[ADDRESS] = answering(SECRET, 501, None)
    with capture_logs() as lines:
        world.runner.start()
        world.settle_down(1)
    told = [(line["event"], line["action"], line["answer"], line["state"]) for line in lines]
    assert told == [("command", "profile", "nak-501", "failed"), ("command", "disconnect", "ack", "acked")]
    assert {"reason", "milliseconds", "username", "nas_address"} <= set(lines[0])
    assert SECRET.decode() not in str(lines)


# --- what a request carries -------------------------------------------------------------------------------------------


def carried(sent: Sent) -> tuple[bool, bool]:
    said = {name for name, _ in sent.attributes}
    return "Message-Authenticator" in said, "Event-Timestamp" in said


AUTO_NAS = replace(GENERIC_NAS, coa_message_authenticator="auto", coa_event_timestamp="auto")


def test_auto_goes_on_until_a_form_is_answered_and_remembers_it(world: World) -> None:
    world.nases.by_id[1] = AUTO_NAS

    def answer(sent: Sent) -> bytes | None:
        return reply(sent.datagram, SECRET, None if carried(sent) == (True, True) else 401)

    world.network.nases[ADDRESS] = answer
    world.runner.start()
    world.cut(*world.online())
    world.settle_down(1)
    forms = list(dict.fromkeys(carried(sent) for sent in world.network.sent))
    assert forms == [(True, False), (False, False), (True, True)]
    (row,) = world.commands()
    assert (row.state, row.answer) == ("acked", "ack")
    assert row.answers.split() == ["nak-401"] * 4 + ["ack"]
    assert row.packets == 5
    before = len(world.network.sent)
    world.cut(*world.online("bert"))
    world.settle_down(1)
    assert [carried(sent) for sent in world.network.sent[before:]] == [(True, True)]


def test_auto_tries_another_form_after_a_silence(world: World) -> None:
    world.nases.by_id[1] = AUTO_NAS

    def answer(sent: Sent) -> bytes | None:
        return reply(sent.datagram, SECRET) if carried(sent) == (False, False) else None

    world.network.nases[ADDRESS] = answer
    world.runner.start()
    world.cut(*world.online())
    world.settle_down(120)
    assert {carried(sent) for sent in world.network.sent} == {(True, False), (False, False)}
    assert world.commands()[-1].state == "acked"


def test_a_form_that_is_set_is_the_only_one(world: World) -> None:
    world.nases.by_id[1] = replace(GENERIC_NAS, coa_message_authenticator="no", coa_event_timestamp="yes")
    world.network.nases[ADDRESS] = answering(SECRET, 401)
    world.runner.start()
    world.cut(*world.online())
    world.settle_down(1)
    assert {carried(sent) for sent in world.network.sent} == {(False, True)}
