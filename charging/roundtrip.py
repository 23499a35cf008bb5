"""Several statements of one transaction in one round trip to PostgreSQL, on libpq itself.

The driver's pipeline mode looks at the socket after each statement. Here everything is written at once and read at
once, which for a small batch is most of the time that it takes. Statements are prepared once for each connection.
"""

from __future__ import annotations

import select
from collections.abc import MutableMapping, Sequence
from itertools import count
from typing import Any, Final

from psycopg import errors, pq

_PREPARED: Final = "aaa.prepared"
_NAMES: Final = count(1)
_LISTEN: Final = select.POLLIN | select.POLLPRI


class Statement:
    """One statement and its parameters as text; how many rows it touched is known after `run`."""

    __slots__ = ("parameters", "rowcount", "sql")

    def __init__(self, sql: str, parameters: Sequence[str]) -> None:
        self.sql = sql
        self.parameters = parameters
        self.rowcount = -1

    def fetchall(self) -> list[tuple[Any, ...]]:
        """These statements bring no rows."""
        return []


def run(pgconn: Any, known: MutableMapping[Any, Any], statements: Sequence[Statement]) -> None:
    """Carry out the statements in order, in the transaction that is open, or in a new one.

    `known` is kept with the connection: the names of what is prepared there. Raises the driver's errors; statements
    before the one that failed have their rowcount.
    """
    names: dict[str, bytes] = known.setdefault(_PREPARED, {})
    fresh = {s.sql: b"aaa%d" % next(_NAMES) for s in statements if s.sql not in names}
    begins = pgconn.transaction_status == pq.TransactionStatus.IDLE
    pgconn.enter_pipeline_mode()
    try:
        if begins:
            pgconn.send_query_params(b"BEGIN", None)
        for sql, name in fresh.items():
            pgconn.send_prepare(name, sql.encode())
        for each in statements:
            name = names.get(each.sql) or fresh[each.sql]
            pgconn.send_query_prepared(name, [parameter.encode() for parameter in each.parameters])
        pgconn.pipeline_sync()
        before = int(begins) + len(fresh)
        failure = _read(pgconn, before, statements)
    finally:
        if pgconn.status == pq.ConnStatus.OK:
            pgconn.exit_pipeline_mode()
    if failure is not None:
        raise failure
    names.update(fresh)


def _read(pgconn: Any, before: int, statements: Sequence[Statement]) -> Exception | None:
    """Read all answers up to the synchronisation point; what went wrong first."""
    socket = select.poll()
    socket.register(pgconn.socket, _LISTEN | select.POLLOUT)
    while pgconn.flush():
        for _, events in socket.poll():
            if events & _LISTEN:
                pgconn.consume_input()  # or both sides would wait for the other to read
    socket.modify(pgconn.socket, _LISTEN)
    failure: Exception | None = None
    answered = 0
    while True:
        while pgconn.is_busy():
            socket.poll()
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            continue  # the end of one statement's results
        status = result.status
        if status == pq.ExecStatus.PIPELINE_SYNC:
            return failure
        if status == pq.ExecStatus.FATAL_ERROR:
            failure = failure or errors.error_from_result(result)
        elif status != pq.ExecStatus.PIPELINE_ABORTED and answered >= before:
            statements[answered - before].rowcount = result.command_tuples or 0
        answered += 1
