"""What each PostgreSQL role may and may not do, on the real one; and the server at work under its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql
from sqlalchemy import Engine, event, inspect, select
from twisted.internet.task import Clock

from aaa.wire import Code
from charging import roles, tables
from charging.database import bound_waits, open_engine
from charging.jobs import Jobs
from cli.main import aaa as command
from tests.aaa.conftest import NAS_ADDRESS, Floor, Thread
from tests.store.shop import Shop, plan_by_volume


class Database(NamedTuple):
    """A PostgreSQL database whose roles have been made, with something in its tables."""

    url: str
    prefix: str
    shop: Shop

    def engine_as(self, role: roles.Role) -> Engine:
        """An engine whose connections are that role's."""
        engine = open_engine(self.url)

        @event.listens_for(engine, "connect")
        def become(connection: Any, _record: object) -> None:
            connection.execute(f"SET ROLE {self.prefix}_{role}")
            connection.commit()

        return engine


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    prefix = f"t{uuid.uuid4().hex}"
    done = CliRunner().invoke(command, ["--database", postgresql_url, "db", "roles", "--apply", "--prefix", prefix])
    assert done.exit_code == 0, done.output
    engine = open_engine(postgresql_url)
    shop = Shop(engine)
    shop.nas()
    version = shop.plan(plan_by_volume())
    account_id = shop.account("smith")
    shop.subscriber(account_id, "smith")
    shop.pay("smith", "3.00")
    session_id = shop.login(account_id, 1, "smith", version)
    shop.report(account_id, session_id, "start")
    yield Database(postgresql_url, prefix, shop)
    engine.dispose()
    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as connection:
        for role in roles.ROLES:
            name = sql.Identifier(f"{prefix}_{role}")
            connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(name))


SERVER, OPERATOR, BILLING, AUDITOR = roles.ROLES
EVERYBODY = set(roles.ROLES)
# a statement · who may do it
CASES: list[tuple[str, set[roles.Role]]] = [
    # money and evidence
    ("SELECT count(*) FROM transfer", {SERVER, OPERATOR, AUDITOR}),
    ("UPDATE transfer SET amount = amount", set()),
    ("DELETE FROM transfer", set()),
    ("TRUNCATE transfer", set()),
    ("UPDATE usage_line SET amount_micros = 0", set()),
    ("DELETE FROM usage_line WHERE false", {SERVER, OPERATOR}),  # the trigger says which
    ("UPDATE removal SET removed = 0", {SERVER, OPERATOR}),
    ("DELETE FROM removal", set()),
    ("UPDATE bucket SET balance = balance", {SERVER, OPERATOR}),
    ("DELETE FROM bucket", set()),
    ("UPDATE account SET version = version + 1", {SERVER, OPERATOR}),
    ("UPDATE account SET credit_limit_micros = 1", {OPERATOR}),
    ("DELETE FROM account", set()),
    ("DELETE FROM session WHERE false", {SERVER, OPERATOR}),
    ("DELETE FROM tally", set()),
    ("SELECT * FROM account WHERE false FOR UPDATE", {SERVER, OPERATOR}),
    # who may come in
    ("SELECT secret_sealed FROM nas", {SERVER, OPERATOR}),
    ("SELECT name, network FROM nas", {SERVER, OPERATOR, AUDITOR}),
    ("UPDATE nas SET secret_sealed = ''", {OPERATOR}),
    ("UPDATE nas SET require_message_authenticator = 'yes', revised_at = 1", {SERVER, OPERATOR}),
    ("DELETE FROM nas", {OPERATOR}),
    ("SELECT password_argon2 FROM subscriber", {SERVER, OPERATOR}),
    ("SELECT password_sealed FROM subscriber", {SERVER, OPERATOR}),
    ("SELECT password_sha256 FROM subscriber", {SERVER, OPERATOR}),
    ("SELECT totp_sealed FROM subscriber", {SERVER, OPERATOR}),
    ("SELECT username, status FROM subscriber", {SERVER, OPERATOR, AUDITOR}),
    ("UPDATE subscriber SET totp_step = 1", {SERVER, OPERATOR}),
    ("UPDATE subscriber SET password_argon2 = ''", {OPERATOR}),
    ("INSERT INTO plan_version (plan_name, number, content, digest, loaded_at) VALUES ('x', 1, '', '', 1)", {OPERATOR}),
    ("UPDATE plan_version SET content = ''", set()),
    # the billing contract
    ("INSERT INTO billing_top_up (source, external_ref, account, amount) VALUES ('a', 'b', 'smith', '1')", {OPERATOR, BILLING}),
    (
        "INSERT INTO billing_top_up (source, external_ref, account, amount, status) VALUES ('a', 'b', 'c', '1', 'applied')",
        {OPERATOR},
    ),
    ("SELECT status FROM billing_top_up", EVERYBODY),
    ("UPDATE billing_top_up SET status = 'error'", {SERVER, OPERATOR}),
    ("UPDATE billing_top_up SET amount = '1'", {OPERATOR}),
    ("DELETE FROM billing_top_up", set()),
    ("SELECT * FROM billing_account", EVERYBODY),
    ("SELECT * FROM billing_ledger", EVERYBODY),
    ("SELECT * FROM billing_session", EVERYBODY),
    ("SELECT * FROM session", {SERVER, OPERATOR, AUDITOR}),
    ("SELECT * FROM orphan_report", {SERVER, OPERATOR, AUDITOR}),
    # the database itself
    ("SELECT version_num FROM alembic_version", {SERVER, OPERATOR, AUDITOR}),
    ("UPDATE alembic_version SET version_num = ''", set()),
    ("CREATE TABLE mine (a int)", set()),
    ("ALTER TABLE account ADD COLUMN mine int", set()),
    ("DROP TABLE notice", set()),
    ("CREATE ROLE mine", set()),
    ("ALTER TABLE transfer DISABLE TRIGGER ALL", set()),
]  # fmt: skip


def test_each_role_may_do_its_work_and_nothing_else(database: Database) -> None:
    wrong: list[str] = []
    for role in roles.ROLES:
        with psycopg.connect(database.url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(f"{database.prefix}_{role}")))
            for statement, who in CASES:
                with connection.transaction(force_rollback=True):
                    try:
                        with connection.transaction():
                            connection.execute(statement)
                        allowed = True
                    except psycopg.errors.InsufficientPrivilege:
                        allowed = False
                    except psycopg.errors.IntegrityError:
                        allowed = True  # it was let in; the row was bad
                if allowed != (role in who):
                    wrong.append(f"{role} {'may' if allowed else 'may not'}: {statement}")
    assert not wrong, "\n".join(wrong)


def test_every_table_has_its_line() -> None:
    """A new table: say in charging/roles.py who may do what with it, and add its cases above."""
    assert set(roles.TABLES) == set(tables.metadata.tables)


def test_a_new_view_of_the_contract_is_for_billing(database: Database) -> None:
    with database.shop.engine.connect() as connection:
        views = inspect(connection).get_view_names()
        assert all(view.startswith(roles.VIEW_PREFIX) for view in views)
        for view in views:
            may = f"SELECT has_table_privilege('{database.prefix}_billing', '{view}', 'SELECT')"
            assert connection.exec_driver_sql(may).scalar_one() is True


def test_nobody_may_truncate_reference_or_trigger(database: Database) -> None:
    with database.shop.engine.connect() as connection:
        for table in tables.metadata.tables:
            for role in roles.ROLES:
                for right in ("TRUNCATE", "REFERENCES", "TRIGGER"):
                    asked = f"SELECT has_table_privilege('{database.prefix}_{role}', '{table}', '{right}')"
                    assert connection.exec_driver_sql(asked).scalar_one() is False, (role, table, right)


def test_applying_again_takes_away_what_was_given_by_hand(database: Database) -> None:
    with database.shop.engine.begin() as connection:
        connection.exec_driver_sql(f"GRANT DELETE, UPDATE (amount) ON transfer TO {database.prefix}_billing")
        for statement in roles.statements(database.prefix, []):
            connection.exec_driver_sql(statement)
    with database.shop.engine.connect() as connection:
        for asked in (
            f"SELECT has_table_privilege('{database.prefix}_billing', 'transfer', 'DELETE')",
            f"SELECT has_column_privilege('{database.prefix}_billing', 'transfer', 'amount', 'UPDATE')",
        ):
            assert connection.exec_driver_sql(asked).scalar_one() is False


def test_the_server_works_under_its_role(database: Database) -> None:
    """Everything that a server writes by itself: learning, a one-time code's step, login, reports, orphans, a NAS's restart,
    a top-up, a session that went silent, the jobs of a day."""
    clock = Clock()
    owner = open_engine(database.url)
    operator = Floor(owner, clock)
    operator.add_nas("bras-9", NAS_ADDRESS + "9", require="learn")
    operator.add_subscriber("alice")
    engine = database.engine_as("server")
    bound_waits(engine)
    floor = Floor(engine, clock)
    floor.nases.refresh()
    source = NAS_ADDRESS + "9"
    accepted = floor.login(source=source)
    assert accepted.answer().code == Code.ACCESS_ACCEPT
    with owner.connect() as connection:
        modes = select(tables.nas.c.require_message_authenticator).where(tables.nas.c.name == "bras-9")
        assert connection.execute(modes).scalar_one() == "yes"
        alice = connection.execute(select(tables.subscriber).where(tables.subscriber.c.username == "alice")).one()
    assert floor.services.subscribers.use_code(alice.subscriber_id, 1) is True
    token = accepted.value("Class")
    assert isinstance(token, bytes)
    reports: list[tuple[int, int]] = [(1, 0), (3, 5_000_000), (2, 9_000_000)]
    for kind, octets in reports:
        clock.advance(60)
        sent = floor.report(kind, ("Class", token), ("Acct-Output-Octets", octets), source=source)
        assert sent.answer().code == Code.ACCOUNTING_RESPONSE
    orphan = floor.report(1, username="nobody", acct_session_id="9", source=source)
    assert orphan.answer().code == Code.ACCOUNTING_RESPONSE
    assert floor.report(7, source=source).answer().code == Code.ACCOUNTING_RESPONSE
    floor.login(source=source)
    with owner.begin() as connection:
        connection.execute(
            tables.billing_top_up.insert().values(source="shop", external_ref="1", account="alice", amount="1.00")
        )
    failures: list[str] = []
    jobs = Jobs(
        engine, floor.services.writer, Thread(), floor.now, clock,
        on_failure=lambda name, error: failures.append(f"{name}: {error}"), on_recovery=lambda _name: None,
    )  # fmt: skip
    jobs.start()
    for _ in range(48):
        clock.pump([0.25] * 8)
        clock.advance(1800)
    assert failures == []
    with owner.connect() as connection:
        paid = connection.execute(select(tables.billing_top_up.c.status)).scalars().all()
        assert set(paid) == {"applied"}
        assert (
            connection.execute(select(tables.session.c.session_id).where(tables.session.c.closed_at.is_(None))).all()
            == []
        )
    engine.dispose()
    owner.dispose()


def test_the_command_line_works_under_the_operators_role(database: Database, tmp_path: Any) -> None:
    with database.shop.engine.begin() as connection:
        connection.execute(tables.nas.delete())  # the shop's has a secret that no key opens
    url = database.url + ("&" if "?" in database.url else "?") + f"options=-crole%3D{database.prefix}_operator"

    def aaa(*arguments: str) -> None:
        done = CliRunner().invoke(command, ["--database", url, "--keys", str(tmp_path / "keys"), *arguments])
        assert done.exit_code == 0, (arguments, done.output, done.exception)

    aaa("nas", "add", "bras-1", "--address", "198.51.100.1")
    aaa("nas", "rotate-secret", "bras-1")
    aaa("subscriber", "add", "bob", "--plan", "volume", "--password", "long enough", "--allow-chap")
    aaa("topup", "bob", "5.00", "--reference", "r1")
    aaa("account", "suspend", "bob")
    aaa("subscriber", "suspend", "smith")
    aaa("nas", "remove", "bras-1")
    aaa("ledger", "check")
    aaa("db", "check")


def test_sqlite_has_none(sqlite_url: str) -> None:
    done = CliRunner().invoke(command, ["--database", sqlite_url, "db", "roles"])
    assert done.exit_code == 1
    assert "SQLite has no roles" in done.stderr


def test_printing_changes_nothing(postgresql_url: str) -> None:
    prefix = f"t{uuid.uuid4().hex}"
    done = CliRunner().invoke(command, ["--database", postgresql_url, "db", "roles", "--prefix", prefix])
    assert done.exit_code == 0
    assert f"GRANT UPDATE (totp_step, expires_at, stations_learned) ON subscriber TO {prefix}_server;" in done.stdout
    with psycopg.connect(postgresql_url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT FROM pg_roles WHERE rolname LIKE %s", [f"{prefix}%"]).fetchall() == []
    bad = CliRunner().invoke(command, ["--database", postgresql_url, "db", "roles", "--prefix", "x; DROP TABLE nas"])
    assert bad.exit_code == 2
