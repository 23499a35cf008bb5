"""Reads the tables of FreeRADIUS's rlm_sql out of another database, and changes nothing there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from aaa.freeradius import Membership, NasRow, Row, Rows
from aaa.radacct import AcctRow
from charging.database import DatabaseUrlError, open_engine, reading

MOST_ROWS: Final = 2_000_000
ACCT_ROWS_AT_ONCE: Final = 2_000
_NEEDED: Final = "radcheck"
_ACCT: Final = "radacct"
#: In the order of AcctRow's fields; every version of the schema has them.
_ACCT_COLUMNS: Final = (
    "radacctid, acctuniqueid, acctsessionid, username, nasipaddress, nasportid, acctstarttime, acctstoptime, "
    "acctsessiontime, acctinputoctets, acctoutputoctets, calledstationid, callingstationid, acctterminatecause, "
    "servicetype, framedipaddress"
)


class NotFreeRadius(Exception):
    """A database without FreeRADIUS's tables, or with too much in them."""


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """FreeRADIUS's database: sqlite:///FILE, postgresql://… or mysql://…, for reading only. DatabaseUrlError, NotFreeRadius."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseUrlError(
            f"{url!r} is not a database URL; write sqlite:///radius.db, postgresql://user@host/radius or "
            "mysql://user@host/radius"
        ) from None
    if parsed.drivername == "sqlite":
        file = Path(parsed.database or "")
        if not file.is_file():
            raise NotFreeRadius(f"there is no file {file}")
        # Our own way to open a file would change its journal.
        engine = create_engine(f"sqlite:///file:{file.absolute()}?mode=ro&uri=true")
    elif parsed.get_backend_name() in {"mysql", "mariadb"}:
        engine = _open_mysql(parsed)
    else:
        engine = open_engine(url)
    try:
        yield engine
    except DBAPIError as error:
        if not type(error.orig).__module__.startswith("pymysql"):
            raise
        raise NotFreeRadius(f"cannot read FreeRADIUS's database: {error.orig}") from None
    finally:
        engine.dispose()


def _open_mysql(url: URL) -> Engine:
    try:
        return create_engine(
            url.set(drivername="mysql+pymysql"), connect_args={"init_command": "SET SESSION TRANSACTION READ ONLY"}
        )
    except ModuleNotFoundError:
        raise NotFreeRadius("the driver for MySQL is not installed: pip install 'prepaid-aaa[mysql]'") from None


def read(engine: Engine) -> Rows:
    """All rows that have a meaning here. A table that is not there is empty, but for radcheck: NotFreeRadius."""
    there = set(inspect(engine).get_table_names())
    if _NEEDED not in there:
        raise NotFreeRadius("there is no table radcheck; is this FreeRADIUS's database?")
    with reading(engine) as connection:
        return Rows(
            check=_rows(connection, there, "radcheck", "username"),
            reply=_rows(connection, there, "radreply", "username"),
            memberships=[
                Membership(*row)
                for row in _select(connection, there, "radusergroup", "username, groupname, priority", "priority, id")
            ],
            group_check=_rows(connection, there, "radgroupcheck", "groupname"),
            group_reply=_rows(connection, there, "radgroupreply", "groupname"),
            nases=[NasRow(*row) for row in _select(connection, there, "nas", "nasname, shortname, type, secret", "id")],
        )


def open_sessions(engine: Engine) -> int:
    """How many sessions radacct has that have not ended."""
    if _ACCT not in inspect(engine).get_table_names():
        return 0
    with reading(engine) as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {_ACCT} WHERE acctstoptime IS NULL")).scalar_one())


def ended_sessions(engine: Engine) -> Iterator[list[AcctRow]]:
    """The sessions of radacct that have ended, in pages, in the order of their ids. NotFreeRadius without that table."""
    if _ACCT not in inspect(engine).get_table_names():
        raise NotFreeRadius("there is no table radacct: leave --radacct out")
    page = text(
        f"SELECT {_ACCT_COLUMNS} FROM {_ACCT} WHERE radacctid > :after AND acctstoptime IS NOT NULL "
        f"ORDER BY radacctid LIMIT {ACCT_ROWS_AT_ONCE}"
    )
    after = -1
    while True:
        # Each page is a transaction of its own: nobody's vacuum waits for a long reading.
        with reading(engine) as connection:
            rows = [AcctRow(*row) for row in connection.execute(page, {"after": after})]
        if not rows:
            return
        yield rows
        after = rows[-1].row_id


def _rows(connection: Connection, there: set[str], table: str, name: str) -> list[Row]:
    return [Row(*row) for row in _select(connection, there, table, f"{name}, attribute, op, value", "id")]


def _select(connection: Connection, there: set[str], table: str, columns: str, order: str) -> Iterator[tuple[Any, ...]]:
    if table not in there:
        return
    rows = connection.execute(text(f"SELECT {columns} FROM {table} ORDER BY {order} LIMIT {MOST_ROWS + 1}"))
    for number, row in enumerate(rows):
        if number >= MOST_ROWS:
            raise NotFreeRadius(f"{table} has more than {MOST_ROWS} rows")
        yield tuple(row)
