"""What a test gets from `postgresql_url` is empty and migrated, whatever the one before it did."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from tests.databases import Databases


def plain(url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


NEW = "INSERT INTO account (name, currency, created_at) VALUES ('anna', 'EUR', 0) RETURNING account_id"


def test_rows_are_gone_and_numbers_begin_again(postgres_databases: Databases) -> None:
    found = []
    for _ in range(2):
        with postgres_databases.one() as url, plain(url) as connection:
            found.append((url, connection.execute(NEW).fetchone()))
    assert found[0] == found[1]


def test_who_is_still_connected_is_thrown_out(postgres_databases: Databases) -> None:
    with postgres_databases.one() as url:
        left_open = plain(url)
        left_open.execute("BEGIN")
        left_open.execute(NEW)
    with postgres_databases.one() as again, plain(again) as connection:
        assert again == url
        assert connection.execute("SELECT count(*) FROM account").fetchone() == (0,)
    with pytest.raises(psycopg.OperationalError):
        left_open.execute("COMMIT")
    left_open.close()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE transfer DISABLE TRIGGER USER",
        "DROP VIEW billing_ledger",
        "CREATE TABLE another (it integer)",
        "ALTER TABLE nas ALTER COLUMN name SET DEFAULT 'x'",
        "GRANT SELECT ON transfer TO PUBLIC",
        "UPDATE alembic_version SET version_num = 'older'",
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        "ALTER DATABASE {} CONNECTION LIMIT 7",
        "INSERT INTO account (name, currency, created_at) SELECT 'a' || n, 'EUR', 0 FROM generate_series(1, 40000) n",
    ],
)
def test_what_was_changed_is_not_used_again(postgres_databases: Databases, change: str) -> None:
    with postgres_databases.one() as url, plain(url) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL(change).format(name) if "{}" in change else change)
    with postgres_databases.one() as another:
        assert another != url
