"""PostgreSQL databases for tests. To copy one costs its server a fifth of a second, to empty one a few milliseconds: so a
database that a test left as it was, but for rows, serves the next test as well."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

#: More than this of rows that came and went makes the next test slower than a new database would.
MOST_GROWTH_OCTETS: Final = 4_000_000
#: Whoever still holds a lock when its connection has been ended is a reason for a new database, not for waiting.
WAIT_FOR_LOCKS: Final = "SET lock_timeout = '5s'"

_OTHERS: Final = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
#: What is written down when anything but rows changes: each catalogue's number of rows and youngest writer.
_CATALOGUES: Final = (
    "pg_class", "pg_attribute", "pg_attrdef", "pg_constraint", "pg_trigger", "pg_proc", "pg_rewrite", "pg_namespace",
    "pg_type", "pg_policy", "pg_default_acl", "pg_event_trigger", "pg_extension", "pg_statistic_ext", "pg_largeobject_metadata",
)  # fmt: skip
_SHAPE: Final = (
    "SELECT "
    + ", ".join(f"(SELECT (count(*), max(xmin::text::bigint))::text FROM {each})" for each in _CATALOGUES)
    + ", (SELECT (xmin, datconnlimit)::text FROM pg_database WHERE datname = current_database())"
    ", (SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE datname = current_database())"
    ", (SELECT count(*) FROM pg_prepared_xacts), (SELECT string_agg(version_num, ' ') FROM alembic_version)"
)


def url_of(server_uri: str, name: str) -> str:
    """The SQLAlchemy URL of the database `name` on that server."""
    url = make_url(server_uri).set(drivername="postgresql+psycopg", database=name)
    return url.render_as_string(hide_password=False)


class Copy(NamedTuple):
    """A database for one test after another, and what it was like before the first."""

    name: str
    connection: psycopg.Connection[Any]
    """Ours, kept: what it has read of the catalogues it need not read after each test."""
    shape: Any
    octets: int


class Databases:
    """Migrated databases on one server, copies of one template, for the tests of one process, one after the other."""

    def __init__(self, server_uri: str, template: str) -> None:
        self._server_uri = server_uri
        self._template = template
        self._free: Copy | None = None

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a database with no row in it."""
        copy = self._free or self._created()
        self._free = None
        yield url_of(self._server_uri, copy.name)
        if _emptied(copy):
            self._free = copy
        else:
            self._drop(copy)

    def close(self) -> None:
        """Drop what is left."""
        if self._free is not None:
            self._drop(self._free)
            self._free = None

    def _created(self) -> Copy:
        name = create(self._server_uri, self._template)
        connection = psycopg.connect(url_of(self._server_uri, name).replace("+psycopg", ""), autocommit=True)
        connection.execute(WAIT_FOR_LOCKS)
        # No trigger asks who may delete a transfer, and no key in which order.
        connection.execute("SET session_replication_role = replica")
        return Copy(name, connection, connection.execute(_SHAPE).fetchone(), _octets(connection))

    def _drop(self, copy: Copy) -> None:
        copy.connection.close()
        drop(self._server_uri, copy.name)


def _emptied(copy: Copy) -> bool:
    """Take everything out of it; False if that does not make it what it was."""
    connection = copy.connection
    try:
        connection.execute(_OTHERS)
        if (
            connection.execute(_SHAPE).fetchone() != copy.shape
            or _octets(connection) - copy.octets > MOST_GROWTH_OCTETS
        ):
            return False
        connection.execute(_EMPTY)
    except psycopg.Error:
        return False
    return True


_EMPTY: Final = """\
DO $$
DECLARE one record;
BEGIN
  FOR one IN SELECT c.oid::regclass AS name, c.relkind AS kind FROM pg_class c
             WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S') AND relname <> 'alembic_version' LOOP
    IF one.kind = 'r' THEN
      EXECUTE format('DELETE FROM %s', one.name);
    ELSE
      PERFORM setval(one.name, (SELECT seqstart FROM pg_sequence WHERE seqrelid = one.name), false);
    END IF;
  END LOOP;
END $$
"""


def _octets(connection: psycopg.Connection[Any]) -> int:
    found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert found is not None
    return int(found[0])


def create(server_uri: str, template: str) -> str:
    """Make a database that is a copy of `template`; its name."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server_uri, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    return name


def drop(server_uri: str, name: str) -> None:
    """Remove a database, even when somebody is still connected to it."""
    with psycopg.connect(server_uri, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
