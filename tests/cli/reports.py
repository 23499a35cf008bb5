"""Reports of sessions that `log_in` opened, as the server would book them."""

from sqlalchemy import Engine

from charging.admission import Admitted
from charging.plan import Instant
from charging.session import Kind, Report
from charging.transaction import run, settle_in


def book(
    engine: Engine, at: Admitted, kind: Kind, when: Instant, *, up: int = 0, down: int = 0, seconds: int = 0
) -> None:
    """One report of the session `at` at the instant `when`, counters as the NAS sends them."""
    report = Report(
        kind=kind, nas_id=1, nas_address="192.0.2.1", username="anna", acct_session_id=b"s-%d" % at.session_id,
        token=(at.account_id, at.session_id), octets_up=up, octets_down=down, seconds=seconds, gigawords=True,
        event_at=when, event_exact=True, received_at=when, packet=b"",
    )  # fmt: skip
    run(engine, lambda connection: settle_in(connection, [report], when))
