"""Was it really kept? A commit that PostgreSQL calls a success and that its standby never saw.

With a synchronous standby away, a commit waits; where that wait is cancelled (by an operator, a proxy, a shutdown), the
server says COMMIT and only a warning, SQLSTATE 01000, tells that the standby has nothing. An answer given then would be
lost with the primary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Engine, event

_WARNING: Final = "aaa.warning"
_WATCHED: Final = "aaa.watched"


class NotDurable(Exception):
    """Committed here, and perhaps nowhere else: it may still be lost. Nothing may be answered."""


def watch(engine: Engine) -> None:
    """Hear the warnings of this engine's connections, also of those that are open already."""
    if engine.dialect.name == "postgresql" and not event.contains(engine, "checkout", _listen):
        event.listen(engine, "checkout", _listen)


@contextmanager
def committed(connection: Connection) -> Iterator[None]:
    """What is done inside is committed at its end, or by its own last round trip. NotDurable where the database warned; the
    database's own errors."""
    connection.info.pop(_WARNING, None)
    yield
    connection.commit()
    warning = connection.info.pop(_WARNING, None)
    if warning is not None:
        raise NotDurable(warning)


def _listen(driver: Any, record: Any, _proxy: object) -> None:
    if _WATCHED not in record.info:
        record.info[_WATCHED] = True
        driver.add_notice_handler(partial(_hear, record.info))


def _hear(info: dict[str, Any], diagnostic: Any) -> None:
    if diagnostic.sqlstate == "01000":
        info[_WARNING] = diagnostic.message_primary or "a warning without a text"
