"""Notices from the transaction that causes them to the one that says they arrived, on both databases."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Engine, update
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from charging import tables
from charging.notices import outbox
from charging.notices.kinds import KINDS
from charging.notices.letter import Letter
from charging.notices.outbox import LEASE_MS, MOST_ROUTED, Result
from charging.notices.postman import MOST_AT_ONCE, NotSent, Postman, PostOffice
from charging.notices.settings import Mail, QuietHours, Settings, Webhook
from charging.notices.wording import Said, Wording
from charging.plan import Allowance
from tests.store.shop import START, Shop, plan_by_volume

ALL = frozenset(KINDS)
MAIL = Mail("mail", "isp@example.net", 587, "starttls", None, None, None, ALL, 30)
SMS = Webhook("sms", "https://gateway/", Path("s"), "phone", ALL, 10)
URGENT = frozenset(name for name, kind in KINDS.items() if kind.urgent)
RULES = Settings("en", "UTC", None, URGENT, 86_400, None, MAIL, (SMS,))
#: 12:00 at START.
SIESTA = Settings("en", "UTC", QuietHours(12 * 60, 14 * 60), URGENT, 86_400, None, MAIL, ())
DAY_MS = 86_400_000


@dataclass
class House:
    """Anna, who can be reached, has a plan with thresholds and a session."""

    shop: Shop
    account_id: int
    subscriber_id: int
    session_id: int
    megabytes: int = 0

    def use(self, megabytes: int) -> None:
        """Report so many more."""
        self.megabytes += megabytes
        self.shop.now += 60_000
        seconds = (self.shop.now - START) // 1000
        self.shop.report(self.account_id, self.session_id, "interim", down=self.megabytes * 1_000_000, seconds=seconds)

    def kinds(self) -> list[str]:
        rows = sorted(self.shop.rows(tables.notice), key=lambda row: (row.created_at, row.notice_id))
        return [row.kind for row in rows]

    def route(self, rules: Settings = RULES) -> int:
        with self.shop.engine.begin() as connection:
            return outbox.route(connection, rules, self.shop.now)

    def claim(
        self, channel: str = "email", *, node: str = "a", most: int = 10, urgent_only: bool = False
    ) -> list[Letter]:
        with self.shop.engine.begin() as connection:
            return outbox.claim(connection, channel, node, self.shop.now, most, urgent_only=urgent_only)

    def store(self, *results: Result) -> None:
        with self.shop.engine.begin() as connection:
            outbox.store(connection, results)

    def states(self) -> list[tuple[str, str]]:
        return sorted((row.channel, row.state) for row in self.shop.rows(tables.notice_delivery))


def house_of(engine: Engine, **contact: str | None) -> House:
    shop = Shop(engine)
    shop.nas()
    allowance = Allowance("data", "octets", "total", 100_000_000)
    plan = plan_by_volume(allowances=(allowance,), thresholds_percent=(80, 95))
    version = shop.plan(plan)
    account_id = shop.account("anna")
    subscriber_id = shop.subscriber(account_id, "anna")
    reach = {"email": "anna@example.net", "phone": "+4915112345678", "language": "de"} | contact
    with engine.begin() as connection:
        connection.execute(update(tables.subscriber).values(reach))
    from charging.payment import Grant

    shop.settle(Grant(account_id, version, "grant", "test"))
    session_id = shop.login(account_id, subscriber_id, "anna", version)
    shop.report(account_id, session_id, "start")
    return House(shop, account_id, subscriber_id, session_id)


@pytest.fixture
def house(engine: Engine) -> House:
    return house_of(engine)


def test_a_crossing_is_told_once_and_by_every_channel(house: House) -> None:
    house.use(79)
    assert house.route() == 0
    house.use(2)
    house.use(1)
    assert house.kinds() == ["threshold"]
    assert (house.route(), house.route()) == (1, 0)
    assert house.states() == [("email", "pending"), ("sms", "pending")]
    (letter,) = house.claim()
    assert (letter.account, letter.username, letter.email, letter.phone, letter.language) == (
        "anna", "anna", "anna@example.net", "+4915112345678", "de",
    )  # fmt: skip
    assert letter.facts == {"bucket": "data", "unit": "octets", "left": 19_000_000, "granted": 100_000_000}
    said = Wording().say(letter.about, letter.facts, letter.language, "UTC")
    assert said.subject == "Noch 19 MB von data"
    house.use(15)
    assert house.kinds() == ["threshold", "threshold"]


def test_exhausted_and_restored_are_told_with_what_happened(house: House) -> None:
    house.use(51)
    house.use(50)
    assert sorted(house.kinds()) == ["exhausted", "threshold", "threshold"]
    house.shop.pay("anna", "5.00")
    assert sorted(house.kinds()) == ["exhausted", "restored", "threshold", "threshold"]
    facts = {row.kind: json.loads(row.facts) for row in house.shop.rows(tables.notice)}
    assert (facts["exhausted"], facts["restored"]) == ({"action": "throttle"}, {"reason": "top-up"})
    assert {row.subscriber_id for row in house.shop.rows(tables.notice)} == {house.subscriber_id}


def test_a_notice_and_its_cause_are_one_transaction(house: House) -> None:
    """A batch that is rolled back has told nobody."""
    from charging.settle import settle

    house.shop.now += 60_000
    report = house.shop.report_item(house.account_id, house.session_id, "interim", down=99_000_000, seconds=60)
    with house.shop.engine.connect() as connection, connection.begin() as transaction:
        settle(connection, [report], house.shop.now, house.shop.plans, house.shop.chance)
        transaction.rollback()
    assert house.kinds() == []


def test_two_nodes_route_a_notice_once(house: House) -> None:
    house.use(81)
    with house.shop.engine.connect() as first:
        rows = first.execute(tables.notice.select()).all()
    assert len(rows) == 1
    assert [house.route(), house.route()] == [1, 0]
    assert len(house.shop.rows(tables.notice_delivery)) == 2


def test_many_notices_are_routed_in_parts(house: House) -> None:
    with house.shop.engine.begin() as connection:
        rows = [
            {
                "account_id": house.account_id,
                "notice_id": number,
                "kind": "voucher-used",
                "detail": "",
                "created_at": house.shop.now,
            }
            for number in range(1, MOST_ROUTED + 11)
        ]
        connection.execute(tables.notice.insert(), rows)
    assert [house.route(), house.route(), house.route()] == [MOST_ROUTED, 10, 0]


def test_what_is_old_news_when_it_is_first_seen_is_not_told(house: House) -> None:
    house.use(81)
    house.shop.now += DAY_MS
    assert house.route() == 1
    assert house.states() == []


def test_a_letter_belongs_to_one_node_until_its_lease_ends(house: House) -> None:
    house.use(81)
    house.route()
    (first,) = house.claim(node="a")
    assert house.claim(node="b") == []
    house.shop.now += LEASE_MS + 1
    (second,) = house.claim(node="b")
    assert (first.attempts, second.attempts, second.lease_epoch) == (1, 2, first.lease_epoch + 1)
    # The first node wakes up and says its word: nobody listens.
    house.store(Result(first, "failed", "anna@example.net", "too late", house.shop.now))
    assert ("email", "pending") in house.states()
    house.store(Result(second, "sent", "anna@example.net", None, house.shop.now))
    assert ("email", "sent") in house.states()
    assert house.claim() == []


def test_in_quiet_hours_only_what_is_urgent_goes(house: House) -> None:
    house.use(81)
    house.use(20)
    house.route(SIESTA)
    assert SIESTA.urgent_only(house.shop.now)
    assert [letter.kind for letter in house.claim(urgent_only=True)] == ["exhausted"]
    house.shop.now += 2 * 3_600_000
    assert not SIESTA.urgent_only(house.shop.now)
    assert {letter.kind for letter in house.claim()} >= {"threshold"}


def test_who_can_be_reached_now_is_looked_up_when_it_is_sent(house: House) -> None:
    house.use(81)
    house.route()
    with house.shop.engine.begin() as connection:
        connection.execute(update(tables.subscriber).values(email="anna@elsewhere.net"))
    (letter,) = house.claim()
    assert letter.email == "anna@elsewhere.net"


def test_a_dead_letter_is_seen_and_tried_again_when_asked(house: House) -> None:
    house.use(81)
    house.route()
    (letter,) = house.claim()
    house.store(Result(letter, "failed", "anna@example.net", "550 no such user", house.shop.now))
    with house.shop.engine.begin() as connection:
        (line,) = outbox.notices(connection, state="failed", limit=10)
        deliveries = outbox.delivery_lines(connection, line.account_id, line.notice_id)
        assert (line.waiting, line.sent, line.failed) == (1, 0, 1)
        assert [(d.channel, d.username, d.error) for d in deliveries] == [
            ("email", "anna", "550 no such user"), ("sms", "anna", None),
        ]  # fmt: skip
        assert outbox.retry(connection, house.shop.now, house.shop.now + DAY_MS, channel="sms") == 0
        assert outbox.retry(connection, house.shop.now, house.shop.now + DAY_MS, notice_id=line.notice_id) == 1
    (again,) = house.claim()
    assert again.attempts == 1


# --- the postman ---------------------------------------------------------------------------------------------------


@dataclass
class Gateway:
    """A way out whose answers the test gives."""

    answers: list[Exception | None] = field(default_factory=list)
    """One for each letter; when there are none left, letters stay on their way."""
    letters: list[Letter] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    open: list[Deferred[None]] = field(default_factory=list)

    def address(self, letter: Letter) -> str | None:
        return letter.email

    async def send(self, letter: Letter, said: Said, now: int) -> None:
        self.letters.append(letter)
        self.said.append(said)
        if not self.answers:
            hanging: Deferred[None] = Deferred()
            self.open.append(hanging)
            await hanging
            return
        answer = self.answers.pop(0)
        if answer is not None:
            raise answer


class Town:
    """A house, a postman, and the ways that he takes."""

    def __init__(self, house: House, clock: Clock, node: str = "a", answers: int = 0) -> None:
        self.house = house
        self.clock = clock
        self.email, self.sms = Gateway([None] * answers), Gateway([None] * answers)
        self.postman = Postman(
            house.shop.engine,
            PostOffice(RULES, Wording(), {"email": (self.email, 30), "sms": (self.sms, 10)}),
            lambda work: succeed(work()),
            cast("IReactorTime", clock),
            node,
            lambda: house.shop.now,
            random.Random(1),
        )
        self.postman.start()

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.house.shop.now += 1000
            self.clock.advance(1)


@pytest.fixture
def town(house: House, clock: Clock) -> Town:
    return Town(house, clock)


def test_a_notice_is_carried_within_a_second(town: Town) -> None:
    town.email.answers, town.sms.answers = [None], [None]
    town.house.use(81)
    town.pass_time(1)
    assert town.house.states() == [("email", "sent"), ("sms", "sent")]
    assert town.email.said[0].text.startswith("Guten Tag anna")
    row = next(row for row in town.house.shop.rows(tables.notice_delivery) if row.channel == "email")
    assert (row.address, row.error, row.attempts, row.finished_at) == ("anna@example.net", None, 1, town.house.shop.now)


def test_what_failed_is_tried_ever_later_until_it_arrives(town: Town) -> None:
    town.email.answers = [NotSent("451 later", about_way=False)] * 3 + [None]
    town.house.use(81)
    at: list[int] = []
    began = town.house.shop.now
    while len(town.email.letters) < 4:
        before = len(town.email.letters)
        town.pass_time(1)
        at += [(town.house.shop.now - began) // 1000] * (len(town.email.letters) - before)
    first, second, third, fourth = at
    assert 15 <= second - first <= 20
    assert 30 <= third - second <= 39
    assert 60 <= fourth - third <= 77
    assert ("email", "sent") in town.house.states()


def test_what_will_never_arrive_is_a_dead_letter_at_once(town: Town) -> None:
    town.email.answers = [NotSent("550 no such user", final=True)]
    town.house.use(81)
    town.pass_time(1)
    assert ("email", "failed") in town.house.states()


def test_what_does_not_arrive_for_a_day_is_a_dead_letter(town: Town) -> None:
    town.email.answers = [NotSent("451 later", about_way=False)] * 2
    town.house.use(81)
    town.pass_time(1)
    town.house.shop.now += DAY_MS - 20_000
    town.pass_time(2)
    (line,) = [row for row in town.house.shop.rows(tables.notice_delivery) if row.channel == "email"]
    assert (line.state, line.error, line.attempts) == ("failed", "451 later", 2)


def test_a_way_that_is_down_rests_and_burns_no_letters(town: Town) -> None:
    for number in range(1, 101):
        row = {"account_id": town.house.account_id, "notice_id": number, "subscriber_id": town.house.subscriber_id}
        with town.house.shop.engine.begin() as connection:
            connection.execute(
                tables.notice.insert().values(**row, kind="voucher-used", detail="", created_at=town.house.shop.now)
            )
    town.email.answers = [NotSent("connection refused") for _ in range(1000)]
    town.pass_time(60)
    # The first eight at once, then one after each rest of 2, 4, 8, 16, 32 s: not a hundred times sixty.
    assert MOST_AT_ONCE <= len(town.email.letters) <= MOST_AT_ONCE + 6
    town.email.answers = [None] * 200
    town.pass_time(200)
    assert {row.state for row in town.house.shop.rows(tables.notice_delivery) if row.channel == "email"} == {"sent"}


def test_a_way_that_hangs_keeps_no_other_waiting(town: Town) -> None:
    town.sms.answers = [None]
    town.house.use(81)
    town.pass_time(2)
    assert town.house.states() == [("email", "pending"), ("sms", "sent")]
    assert len(town.email.letters) == 1
    town.pass_time(30)
    (line,) = [row for row in town.house.shop.rows(tables.notice_delivery) if row.channel == "email"]
    assert (line.state, line.error) == ("pending", "no answer within 30 s")


def test_no_more_are_on_their_way_than_a_way_may_have(town: Town) -> None:
    with town.house.shop.engine.begin() as connection:
        rows = [
            {"account_id": town.house.account_id, "notice_id": number, "kind": "voucher-used", "detail": "", "created_at": town.house.shop.now}
            for number in range(1, 50)
        ]  # fmt: skip
        connection.execute(tables.notice.insert(), rows)
    town.pass_time(3)
    assert len(town.email.letters) == MOST_AT_ONCE
    town.email.answers = [None] * 100
    town.email.open[0].callback(None)
    town.pass_time(1)
    assert len(town.email.letters) > MOST_AT_ONCE


def test_a_postman_who_stops_gives_his_letters_back(town: Town, house: House, clock: Clock) -> None:
    house.use(81)
    town.pass_time(1)
    assert len(town.email.open) == 1
    stopped = Deferred.fromCoroutine(town.postman.stop())
    assert stopped.called
    other = Town(house, clock, node="b", answers=1)
    other.pass_time(1)
    assert house.states() == [("email", "sent"), ("sms", "sent")]
    assert [letter.attempts for letter in other.email.letters] == [1]


def test_two_postmen_carry_every_letter_once(house: House, clock: Clock) -> None:
    towns = [Town(house, clock, node=node) for node in "ab"]
    for each in towns:
        each.email.answers, each.sms.answers = [None] * 200, [None] * 200
    with house.shop.engine.begin() as connection:
        rows = [
            {"account_id": house.account_id, "notice_id": number, "kind": "voucher-used", "detail": "", "created_at": house.shop.now}
            for number in range(1, 101)
        ]  # fmt: skip
        connection.execute(tables.notice.insert(), rows)
    towns[0].pass_time(20)
    carried = [letter.notice_id for each in towns for letter in each.email.letters]
    assert sorted(carried) == list(range(1, 101))


def test_a_bug_in_a_way_costs_no_letter(town: Town) -> None:
    town.email.answers = [RuntimeError("oh")]
    town.sms.answers = [None]
    town.house.use(81)
    town.pass_time(1)
    (line,) = [row for row in town.house.shop.rows(tables.notice_delivery) if row.channel == "email"]
    assert (line.state, line.error) == ("pending", "a fault of ours: RuntimeError: oh")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_that_is_away_is_waited_for(house: House, clock: Clock, monkeypatch: Any) -> None:
    away: list[bool] = [True]
    town = Town(house, clock)
    run: Callable[[Any], Any] = town.postman._run

    def failing(work: Any) -> Any:
        from twisted.internet.defer import fail

        return fail(OSError("gone")) if away[0] else run(work)

    monkeypatch.setattr(town.postman, "_run", failing)
    town.email.answers, town.sms.answers = [None], [None]
    house.use(81)
    town.pass_time(3)
    away[0] = False
    town.pass_time(1)
    assert house.states() == [("email", "sent"), ("sms", "sent")]
