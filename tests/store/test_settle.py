"""`settle` on real databases: the table of cases, the version check, orphans and top-ups, rows that never change."""

from __future__ import annotations

import random
import threading
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

import pytest
import sqlalchemy.exc
from sqlalchemy import Boolean, Column, Engine, Integer, LargeBinary, func, insert, select, text, update

from charging import bookkeeping, tables
from charging.admission import Admitted, Login, Refused
from charging.book import Book, Opening
from charging.bookkeeping import read_books, write_books
from charging.bulk import Conflict, sets
from charging.payment import Applied, Grant, NotApplied, TopUp
from charging.plan import Allowance, Exhausted, Plan, Profile, Rate
from charging.session import Report, Session
from charging.settle import CatchUp, Close, Cut, Done, Item, Outcome, Plans, settle
from charging.shelf import Shelf
from charging.usage import Orphan, Recorded
from tests.charging.cases.invariants import broken
from tests.charging.cases.story import BEGIN, Case, Play, Stored, cases

MB = 1_000_000
SECOND = 1_000

PLAN = Plan(
    "p", "EUR", "UTC", Profile("line", 8_000_000, 8_000_000, interim_interval_seconds=5),
    allowances=(Allowance("data", "octets", "total", 1_000 * MB),),
    rates=(Rate("octets", "total", 20_000, MB, 1),),
    exhausted=Exhausted("throttle", Profile("slow", 80_000, 80_000)),
)  # fmt: skip


@dataclass
class Shop:
    """A database with two accounts, `home` and `other`, each with one subscriber on PLAN and its allowance."""

    stage: Stored
    home: int
    other: int

    def settle(self, *items: Item, at: int = BEGIN) -> list[Outcome]:
        with self.stage.engine.connect() as connection:
            outcomes = settle(connection, items, at, self.stage.plans, self.stage.chance).outcomes
            connection.commit()
        return outcomes

    def login(self, user: str, device: str = "d") -> Login:
        subscriber_id, username = self.stage.subscriber(user)
        account_id = self.home if user == "alice" else self.other
        return Login(account_id, subscriber_id, username, self.stage.version, None, None, 1, "10.0.0.1", device)

    def let_in(self, user: str) -> Admitted:
        (outcome,) = self.settle(self.login(user))
        assert isinstance(outcome, Admitted)
        return outcome

    def report(self, session: Admitted, kind: str, second: int, down: int) -> Report:
        return Report(
            kind, 1, "10.0.0.1", "?", b"S1", (session.account_id, session.session_id), 0, down, second,  # type: ignore[arg-type]
            False, BEGIN + second * SECOND, True, BEGIN + second * SECOND, f"{kind} {second}".encode(),
        )  # fmt: skip

    def balance(self, account_id: int, name: str = "data") -> int:
        return next(b.balance for b in self.stage.rows(account_id).buckets if b.name == name)

    def problems(self) -> list[str]:
        return [p for account_id in (self.home, self.other) for p in broken(self.stage.rows(account_id))]


@pytest.fixture
def shop(engine: Engine) -> Shop:
    stage = Stored(engine)
    ids = stage.open(Case("shop", PLAN), {"home": ["alice"], "other": ["carol"]})
    opened = Shop(stage, ids["home"], ids["other"])
    opened.settle(*(Grant(i, stage.version, "first", "test") for i in ids.values()))
    return opened


def test_the_table_of_cases(engine: Engine) -> None:
    stage = Stored(engine)
    assert [problem for case in cases() for problem in Play(case, stage).run()] == []


#: Where only some words are allowed.
WORDS = {"state": "open", "wanted": "cut", "means": "rate"}
WHO_IT_IS = {"account_id", "session_id", "subscriber_id", "plan_version_id", "nas_id", "root_id"}


def something_else(column: Column[Any]) -> Any:
    """A value that is nobody's default."""
    if isinstance(column.type, Boolean):
        return True
    if isinstance(column.type, Integer):
        return 7
    return b"7" if isinstance(column.type, LargeBinary) else WORDS.get(column.name, "x")


def test_a_table_that_is_told_nothing_says_what_a_new_session_says() -> None:
    """So the row of a new one needs only what its login says."""
    said = {each.name: each.default for each in fields(Session) if each.default is not MISSING}
    assert {name: tables.default_of(tables.session.c[name]) for name in said} == said
    assert len(said) > 30


def test_of_an_ordinary_login_nothing_else_is_to_be_said(shop: Shop) -> None:
    """Or each would be written with all columns, at half as much again."""
    session = shop.let_in("alice")
    others = [tables.session.c[name] for name in bookkeeping._LATER]
    with shop.stage.engine.connect() as connection:
        row = connection.execute(select(*others).where(tables.session.c.session_id == session.session_id)).one()
    assert dict(zip(bookkeeping._LATER, row, strict=True)) == dict(
        zip(bookkeeping._LATER, bookkeeping._UNSAID, strict=True)
    )


def test_a_session_is_written_once_however_much_a_report_changes_of_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time would be one more version of its row, for PostgreSQL to keep and to remove."""
    session = shop.let_in("alice")
    written: list[int] = []
    with shop.stage.engine.connect() as connection:
        kind = type(sets(connection))
    update = kind.update

    def counting(to: Any, table: Any, keys: Any, columns: Any, rows: Any, *extra: Any, **more: Any) -> Any:
        if table is tables.session:
            written.append(len(rows))
        return update(to, table, keys, columns, rows, *extra, **more)

    monkeypatch.setattr(kind, "update", counting)
    for kind_of_report, second, down in (("start", 0, 0), ("interim", 300, 5 * MB), ("stop", 400, 6 * MB)):
        shop.settle(shop.report(session, kind_of_report, second, down))
    assert written == [1, 1, 1]
    assert shop.problems() == []


def test_every_field_of_a_new_session_is_read_back(shop: Shop) -> None:
    """What is as the table's defaults are is not written; the least that is not so is."""
    names = {each.name for each in fields(Session)} - WHO_IT_IS - {"closed_at"}  # of a closed one no book is read
    changes: list[dict[str, Any]] = [{}, *({name: something_else(tables.session.c[name])} for name in sorted(names))]
    openings = [
        Opening("alice", None, None, None),
        Opening("alice", "p", "c", "10.0.0.9"),
        Opening("a", "p", "c", None, "A"),
    ]
    shop.let_in("alice")
    with shop.stage.engine.connect() as connection:

        def read() -> Book:
            return read_books(sets(connection), [shop.home], lambda _: PLAN, lambda: 0)[shop.home]

        book = read()
        (session,) = book.live_sessions()
        for number, change in enumerate(changes, start=1):
            new = replace(session, session_id=session.session_id + number, **change)
            book.add_session(new, openings[number % 3])
        write_books(sets(connection), [book], BEGIN)
        c = tables.session.c
        opened = select(c.session_id, c.username, c.nas_port_id, c.calling_station, c.framed_address, c.nas_username)
        kept = {row[0]: Opening(*row[1:]) for row in connection.execute(opened)}
        found = read().sessions
        connection.rollback()
    assert found == book.sessions
    assert len(found) > 40
    for number in range(1, len(changes) + 1):
        assert kept[session.session_id + number] == openings[number % 3]


# --- two nodes -----------------------------------------------------------------------------------------------------


def read_before(shop: Shop) -> Shelf:
    """What another node has read of the account; it hears nothing of what comes after."""
    shelf = Shelf()
    with shop.stage.engine.connect() as connection:
        read = settle(connection, [CatchUp(shop.home)], BEGIN, shop.stage.plans, shop.stage.chance)
        connection.rollback()
    shelf.keep(read.books, BEGIN)
    return shelf


def settle_too_late(shop: Shop, shelf: Shelf, *items: Item) -> None:
    with shop.stage.engine.connect() as slow:
        with pytest.raises(Conflict):
            settle(slow, items, BEGIN, shop.stage.plans, shop.stage.chance, shelf)
        slow.rollback()


def test_who_is_slower_is_told_and_has_written_nothing(shop: Shop) -> None:
    session = shop.let_in("alice")
    shelf = read_before(shop)
    shop.settle(shop.report(session, "interim", 60, 20 * MB))
    settle_too_late(shop, shelf, shop.report(session, "interim", 60, 5 * MB))
    assert shop.balance(shop.home) == 980 * MB  # the faster one's 20 MB
    assert [line.octets_down_to for line in shop.stage.rows(shop.home).usage_lines] == [20 * MB]
    assert shop.problems() == []


def test_a_conflict_is_one_whatever_else_it_brings_about(shop: Shop) -> None:
    """Both write line 1 of the same session and its first posting: the second one meets their keys as well."""
    session = shop.let_in("alice")
    shelf = read_before(shop)
    shop.settle(shop.report(session, "stop", 60, 20 * MB))
    items = shop.report(session, "stop", 70, 25 * MB), shop.report(session, "interim", 60, 5 * MB)
    settle_too_late(shop, shelf, *items)
    assert shop.problems() == []


def test_nodes_that_race_for_one_account_lose_nothing(shop: Shop) -> None:
    """Four threads, each with its own session on the shared account, retry as the writer does."""
    plan_wide = replace(PLAN, max_sessions=None)
    ids = shop.stage.open(Case("wide", plan_wide), {"home": ["alice"]})
    account_id = ids["home"]
    shop.home = account_id
    shop.settle(Grant(account_id, shop.stage.version, "first", "test"))
    sessions = [s for i in range(4) for s in shop.settle(shop.login("alice", f"d{i}"))]

    def work(session: Admitted, chance: random.Random) -> None:
        for second in range(1, 6):
            while True:
                with shop.stage.engine.connect() as connection:
                    try:
                        report = shop.report(session, "interim", second, second * MB)._replace(
                            acct_session_id=b"%d" % session.session_id
                        )
                        settle(connection, [report], report.event_at, Plans(), chance)
                        connection.commit()
                        break
                    except Conflict:
                        connection.rollback()

    threads = [threading.Thread(target=work, args=(s, random.Random(i))) for i, s in enumerate(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shop.balance(account_id) == (1_000 - 4 * 5) * MB
    assert broken(shop.stage.rows(account_id)) == []


def test_a_book_from_the_shelf_that_is_old_refuses_nobody(shop: Shop) -> None:
    """Another node took money in, or let a session begin, since: what changes nothing must look before it answers."""
    shelf = Shelf()

    def settle_with_shelf(*items: Item) -> list[Outcome]:
        with shop.stage.engine.connect() as connection:
            settled = settle(connection, items, BEGIN, shop.stage.plans, shop.stage.chance, shelf)
            connection.commit()
        shelf.keep(settled.books, BEGIN)
        return settled.outcomes

    shop.let_in("alice")
    assert settle_with_shelf(shop.login("alice", "other")) == [Refused("too-many-sessions")]
    assert settle_with_shelf(shop.login("alice", "other")) == [Refused("too-many-sessions")]
    shop.settle(Close(shop.home, shop.stage.rows(shop.home).sessions[0].session_id, "stale", BEGIN))
    with pytest.raises(Conflict):
        settle_with_shelf(shop.login("alice", "other"))
    assert isinstance(settle_with_shelf(shop.login("alice", "other"))[0], Admitted)


def test_the_version_moves_on_once_for_each_batch(shop: Shop) -> None:
    before = shop.stage.rows(shop.home).account.version
    session = shop.let_in("alice")
    shop.settle(shop.report(session, "interim", 1, MB), shop.report(session, "interim", 2, 2 * MB))
    assert shop.stage.rows(shop.home).account.version == before + 2


# --- batches -------------------------------------------------------------------------------------------------------


def test_a_batch_of_several_accounts_answers_in_order(shop: Shop) -> None:
    alice, carol = shop.let_in("alice"), shop.let_in("carol")
    outcomes = shop.settle(
        shop.report(carol, "interim", 60, 2 * MB),
        shop.login("carol", "another device"),
        shop.report(alice, "interim", 60, MB),
        shop.report(alice, "interim", 60, MB)._replace(token=None, username="nobody"),
        shop.report(carol, "stop", 90, 3 * MB),
        Close(shop.home, alice.session_id, "stale", BEGIN),
        Cut(999_999, None, None, "suspended"),
    )
    kinds: list[object] = [type(outcome) for outcome in outcomes]
    assert kinds == [Recorded, Refused, Recorded, Orphan, Recorded, Done, Done]
    assert [o.used.down for o in outcomes if isinstance(o, Recorded)] == [2 * MB, MB, MB]
    assert outcomes[1] == Refused("too-many-sessions")
    assert (shop.balance(shop.home), shop.balance(shop.other)) == (999 * MB, 997 * MB)
    assert shop.problems() == []


def test_the_whole_life_of_a_session_in_one_batch(shop: Shop) -> None:
    session = shop.let_in("alice")
    shop.settle(
        shop.report(session, "start", 0, 0),
        shop.report(session, "interim", 60, 5 * MB),
        shop.report(session, "interim", 60, 5 * MB),
        shop.report(session, "stop", 90, 6 * MB),
        shop.report(session, "start", 95, 0),
        shop.report(session, "interim", 100, 2 * MB)._replace(seconds=5),
    )
    rows = shop.stage.rows(shop.home)
    assert sorted((s.state, s.octets_down) for s in rows.sessions) == [("closed", 6 * MB), ("open", 2 * MB)]
    assert shop.balance(shop.home) == 992 * MB
    assert shop.problems() == []


def test_two_logins_in_one_batch_can_not_both_pass(shop: Shop) -> None:
    outcomes = shop.settle(shop.login("alice", "d1"), shop.login("alice", "d2"))
    assert isinstance(outcomes[0], Admitted)
    assert outcomes[1] == Refused("too-many-sessions")
    assert len(shop.stage.rows(shop.home).sessions) == 1


def test_a_session_that_spoke_meanwhile_is_not_stale(shop: Shop) -> None:
    session = shop.let_in("alice")
    shop.settle(shop.report(session, "interim", 60, MB), at=BEGIN + 60 * SECOND)
    outcomes = shop.settle(
        Close(shop.home, session.session_id, "stale", BEGIN + 60 * SECOND - 1),
        Close(shop.home, session.session_id, "stale", BEGIN + 60 * SECOND),
        Close(shop.home, session.session_id, "stale", BEGIN + 60 * SECOND),
    )
    assert outcomes == [Done(0), Done(1), Done(0)]


def test_only_the_newest_command_of_a_session_waits(shop: Shop) -> None:
    session = shop.let_in("alice")
    shop.settle(*(shop.report(session, "interim", 2_000 * i, 500 * i * MB) for i in (1, 2)))
    shop.settle(replace(_top_up(shop, "1"), amount=5 * MB, unit="octets"))
    c = tables.command.c
    with shop.stage.engine.connect() as connection:
        found = connection.execute(select(c.version, c.action, c.state).order_by(c.version)).all()
    assert tuple(found[0]) == (1, "profile", "superseded")
    assert [row.state for row in found].count("pending") == 1


# --- orphans -------------------------------------------------------------------------------------------------------


def test_an_orphan_is_kept_once_byte_for_byte(shop: Shop) -> None:
    session = shop.let_in("alice")
    stranger = shop.report(session, "interim", 60, MB)._replace(
        token=None, username="o'\\neil \"{},\u00e9", packet=b"\x04\x00\xff'\\"
    )
    other = stranger._replace(packet=b"\x04\x01")
    elsewhere = stranger._replace(nas_address="10.0.0.2")
    shop.settle(stranger, stranger, other)
    shop.settle(stranger, elsewhere, stranger._replace(received_at=BEGIN + 1))
    with shop.stage.engine.connect() as connection:
        kept = connection.execute(
            select(tables.orphan_report.c.packet, tables.orphan_report.c.username, tables.orphan_report.c.reason)
        ).all()
    assert sorted(bytes(row.packet) for row in kept) == [b"\x04\x00\xff'\\", b"\x04\x00\xff'\\", b"\x04\x01"]
    assert {(row.username, row.reason) for row in kept} == {("o'\\neil \"{},\u00e9", "unknown-user")}
    assert shop.balance(shop.home) == 1_000 * MB


# --- top-ups -------------------------------------------------------------------------------------------------------


def _top_up(shop: Shop, reference: str) -> TopUp:
    with shop.stage.engine.begin() as connection:
        row = insert(tables.billing_top_up).values(source="shop", external_ref=reference, account="home", amount="5.00")
        top_up_id = connection.execute(row.returning(tables.billing_top_up.c.top_up_id)).scalar_one()
    return TopUp(shop.home, top_up_id, "money", 5_000_000, f"shop:{reference}", "shop")


def test_a_top_up_is_applied_and_its_row_answered(shop: Shop) -> None:
    top_up = _top_up(shop, "1")
    assert shop.settle(top_up, at=BEGIN + 123) == [Applied(5_000_000)]
    with shop.stage.engine.connect() as connection:
        row = connection.execute(select(tables.billing_top_up)).one()
    assert (row.status, row.error) == ("applied", None)
    assert round(row.applied_at.timestamp() * 1000) == BEGIN + 123
    assert shop.balance(shop.home, "money") == 5_000_000


def test_a_top_up_is_applied_once_in_later_batches_and_in_the_same(shop: Shop) -> None:
    top_up = _top_up(shop, "1")
    assert shop.settle(top_up, top_up) == [Applied(5_000_000), NotApplied("already-settled")]
    assert shop.settle(top_up) == [NotApplied("already-settled")]
    assert shop.balance(shop.home, "money") == 5_000_000
    assert shop.problems() == []


def test_two_nodes_race_for_one_top_up(shop: Shop) -> None:
    top_up = replace(_top_up(shop, "1"), unit="octets")
    engine = shop.stage.engine
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite lets one writer in at a time")

    class MeetsAnother(random.Random):
        """Chance is asked for the new bucket's id, after the inbox was read: just then the other node is done."""

        def getrandbits(self, bits: int, /) -> int:
            shop.settle(top_up)
            return super().getrandbits(bits)

    with engine.connect() as slow:
        with pytest.raises(Conflict):
            settle(slow, [top_up], BEGIN, Plans(), MeetsAnother(7))
        slow.rollback()
        again: list[Outcome] = settle(slow, [top_up], BEGIN, Plans(), random.Random(8)).outcomes
        slow.commit()
    assert again == [NotApplied("already-settled")]
    assert shop.balance(shop.home, "top-up") == 5_000_000
    assert shop.problems() == []


def test_one_reference_pays_once_whatever_the_server_believes(shop: Shop) -> None:
    first, second = _top_up(shop, "1"), _top_up(shop, "1")
    shop.settle(first)
    with pytest.raises(Exception, match=r"(?i)unique"):
        shop.settle(second)
    assert shop.balance(shop.home, "money") == 5_000_000


# --- rows that never change ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["transfer", "usage_line", "plan_version"])
@pytest.mark.parametrize("change", ["UPDATE {} SET {} = {}", "DELETE FROM {}"])
def test_what_is_written_once_can_not_be_changed(shop: Shop, table: str, change: str) -> None:
    session = shop.let_in("alice")
    shop.settle(shop.report(session, "stop", 60, MB))
    column = {"transfer": "amount", "usage_line": "amount_micros", "plan_version": "number"}[table]
    with shop.stage.engine.connect() as connection:
        before = connection.execute(select(func.count()).select_from(tables.metadata.tables[table])).scalar_one()
        with pytest.raises(sqlalchemy.exc.DBAPIError, match=rf"rows of {table} are never changed"):
            connection.execute(text(change.format(table, column, column)))
        connection.rollback()
        after = connection.execute(select(func.count()).select_from(tables.metadata.tables[table])).scalar_one()
    assert before == after > 0


def test_late_packets_find_their_closed_session(shop: Shop) -> None:
    session = shop.let_in("alice")
    shop.settle(shop.report(session, "stop", 60, MB))
    with_token = shop.report(session, "interim", 61, 2 * MB)
    username = shop.stage.subscriber("alice")[1]
    bare = shop.report(session, "interim", 62, 3 * MB)._replace(token=None, username=username)
    # The key was made from the first report, whose user name it must share.
    with shop.stage.engine.begin() as connection:
        connection.execute(update(tables.session).values(session_key=bare.session_key))
    assert [type(o) for o in shop.settle(with_token, bare)] == [Recorded, Recorded]
    rows = shop.stage.rows(shop.home)
    assert [(s.state, s.octets_down) for s in rows.sessions] == [("closed", 3 * MB)]
    assert shop.problems() == []
