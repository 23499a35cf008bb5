"""Several statements of one transaction in one round trip to PostgreSQL, on libpq itself.

The driver's pipeline mode looks at the socket after each statement. Here everything is written at once and read at
once, which for a small batch is most of the time that it takes. Statements are prepared once for each connection.
"""

from __future__ import annotations

from collections.abc import Generator, MutableMapping, Sequence
from itertools import count
from typing import Any, Final

from psycopg import errors, pq
from psycopg.adapt import Transformer
from psycopg.waiting import Ready, Wait

_TEXT: Final = pq.Format.TEXT
_BINARY: Final = pq.Format.BINARY
_PREPARED: Final = "aaa.prepared"
_NAMES: Final = count(1)
#: The server keeps what is prepared for as long as the connection lives. All of ours are some tens.
_MOST_PREPARED: Final = 500


Parameter = str | bytes
"""As text, or in PostgreSQL's binary form."""


class Statement:
    """One statement and its parameters; its rows, and how many it touched, are known after the round trip."""

    __slots__ = ("_rows", "parameters", "rowcount", "sql")

    def __init__(self, sql: str, parameters: Sequence[Parameter]) -> None:
        self.sql = sql
        self.parameters = parameters
        self.rowcount = -1
        self._rows: list[tuple[Any, ...]] = []

    def fetchall(self) -> list[tuple[Any, ...]]:
        """The rows that it brought."""
        return self._rows

    def keep(self, driver: Any, result: Any) -> None:
        """Take what the server answered."""
        self.rowcount = result.command_tuples or 0
        if result.status == pq.ExecStatus.TUPLES_OK and result.ntuples:
            reader = Transformer(driver)
            reader.set_pgresult(result)
            self._rows = reader.load_rows(0, result.ntuples, tuple)


def run(driver: Any, known: MutableMapping[Any, Any], statements: Sequence[Statement], *, commit: bool = False) -> None:
    """Carry out the statements in order, in the transaction that is open, or in a new one; `commit`, or a connection's
    autocommit mode: it ends with them.

    `known` is kept with the connection: the names of what is prepared there. Raises the driver's errors, those of the
    commit too; statements before the one that failed have their rowcount.
    """
    driver.wait(_exchange(driver, known, statements, commit=commit or driver.autocommit))


def _exchange(
    driver: Any, known: MutableMapping[Any, Any], statements: Sequence[Statement], *, commit: bool
) -> Generator[Wait, Ready, None]:
    """The round trip in the driver's own protocol: says what it waits for on the socket, and hears that it is there."""
    pgconn = driver.pgconn
    names: dict[str, bytes] = known.setdefault(_PREPARED, {})
    fresh: dict[str, bytes] = {}
    if len(names) < _MOST_PREPARED:
        fresh = {s.sql: b"aaa%d" % next(_NAMES) for s in statements if s.sql not in names}
    # What is sent up to a synchronisation point is a transaction by itself, unless one was begun before.
    idle = pgconn.transaction_status == pq.TransactionStatus.IDLE
    begins = idle and not commit
    pgconn.enter_pipeline_mode()
    try:
        if begins:
            pgconn.send_query_params(b"BEGIN", None)
        for sql, name in fresh.items():
            pgconn.send_prepare(name, sql.encode())
        for each in statements:
            prepared = names.get(each.sql) or fresh.get(each.sql)
            values = [one.encode() if isinstance(one, str) else one for one in each.parameters]
            formats = [_TEXT if isinstance(one, str) else _BINARY for one in each.parameters]
            if prepared is None:
                pgconn.send_query_params(each.sql.encode(), values, None, formats, _BINARY)
            else:
                pgconn.send_query_prepared(prepared, values, formats, _BINARY)
        if commit and not idle:
            pgconn.send_query_params(b"COMMIT", None)
        pgconn.pipeline_sync()
        while pgconn.flush():
            if (yield Wait.RW) & Ready.R:
                pgconn.consume_input()  # or both sides would wait for the other to read
        failure = yield from _read(driver, int(begins) + len(fresh), statements)
    finally:
        if pgconn.status == pq.ConnStatus.OK:
            pgconn.exit_pipeline_mode()
    if failure is not None:
        raise failure
    names.update(fresh)


def _read(driver: Any, before: int, statements: Sequence[Statement]) -> Generator[Wait, Ready, Exception | None]:
    """Read all answers up to the synchronisation point; what went wrong first."""
    pgconn = driver.pgconn
    failure: Exception | None = None
    answered = 0
    while True:
        while pgconn.is_busy():
            if (yield Wait.R):
                pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            continue  # the end of one statement's results
        status = result.status
        if status == pq.ExecStatus.PIPELINE_SYNC:
            return failure
        if status == pq.ExecStatus.FATAL_ERROR:
            failure = failure or errors.error_from_result(result)
        elif status != pq.ExecStatus.PIPELINE_ABORTED and 0 <= answered - before < len(statements):
            statements[answered - before].keep(driver, result)
        answered += 1
