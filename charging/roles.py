"""Who may do what with each table on PostgreSQL: the server, operators, billing systems, auditors.

A right is what stands after GRANT: `SELECT`, `UPDATE (status)`. Whoever owns the tables runs `aaa db upgrade`; none of these
roles may make or change a table, and none may change or delete what is written once. Every table of the MetaData has its
line here: one without a line could be used by nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple, get_args

from sqlalchemy import Table

from charging.tables import metadata

Role = Literal["server", "operator", "billing", "auditor"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
#: What each is for, as PostgreSQL's own comment on it.
PURPOSES: Final[dict[Role, str]] = {
    "server": "the running server",
    "operator": "the command line",
    "billing": "billing systems: pays in, reads the billing_ views",
    "auditor": "reads everything but secrets, changes nothing",
}


class Rights(NamedTuple):
    """Who may do what with one table."""

    server: tuple[str, ...] = ()
    operator: tuple[str, ...] = ()
    billing: tuple[str, ...] = ()


READS: Final = ("SELECT",)
APPENDS: Final = ("SELECT", "INSERT")
WRITES: Final = ("SELECT", "INSERT", "UPDATE")
OWNS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

#: The server and the command line settle with the same code, so what that writes both may write.
TABLES: Final[dict[str, Rights]] = {
    "nas": Rights(server=("SELECT", "UPDATE (require_message_authenticator, revised_at)"), operator=OWNS),
    "plan": Rights(server=READS, operator=WRITES),
    "plan_version": Rights(server=READS, operator=APPENDS),
    "subscriber": Rights(
        server=("SELECT", "UPDATE (totp_step, expires_at, stations_learned)", "UPDATE (plan_name, plan_version_id)"),
        operator=OWNS,
    ),
    "account": Rights(
        server=(
            "SELECT",
            "UPDATE (version, ledger_seq, ledger_hash)",
            "UPDATE (voucher_failures, voucher_failed_at, auto_request_id, auto_not_before)",
        ),
        operator=WRITES,
    ),
    "bucket": Rights(server=WRITES, operator=WRITES),
    "subscription": Rights(server=WRITES, operator=WRITES),
    "subscription_period": Rights(server=APPENDS, operator=APPENDS),
    # What retention removes, both may: of usage lines the database lets go only those of sessions that are over and marked.
    "session": Rights(server=OWNS, operator=OWNS),
    "session_charge": Rights(server=OWNS, operator=OWNS),
    "tally": Rights(server=WRITES, operator=WRITES),
    "usage_line": Rights(server=(*APPENDS, "DELETE"), operator=(*APPENDS, "DELETE")),
    "transfer": Rights(server=APPENDS, operator=APPENDS),
    "notice": Rights(server=OWNS, operator=OWNS),
    "notice_delivery": Rights(server=OWNS, operator=OWNS),
    "command": Rights(server=OWNS, operator=OWNS),
    "billing_top_up": Rights(
        server=("SELECT", "UPDATE (status, error, applied_at)"),
        operator=WRITES,
        billing=(
            "SELECT",
            "INSERT (source, external_ref, account, unit, amount, currency, comment, validity, request_id)",
        ),
    ),
    "billing_order": Rights(
        server=("SELECT", "UPDATE (status, error, applied_at, digest, code)"),
        operator=OWNS,
        billing=(
            "SELECT",
            "INSERT (source, external_ref, kind, account, unit, amount, currency, to_account, code, reason)",
            "INSERT (bucket_id, transfer_seq, session_id, request_id, subscriber)",
        ),
    ),
    "voucher_batch": Rights(server=READS, operator=APPENDS),
    "voucher": Rights(server=("SELECT", "UPDATE (state, account_id, reference, actor, settled_at)"), operator=WRITES),
    "top_up_request": Rights(server=OWNS, operator=OWNS),
    "reversal": Rights(server=APPENDS, operator=APPENDS),
    "orphan_report": Rights(server=(*APPENDS, "UPDATE (session_id)", "DELETE"), operator=OWNS),
    "removal": Rights(server=WRITES, operator=WRITES),
    "nas_observation": Rights(server=WRITES, operator=OWNS),
    "nas_restart": Rights(server=WRITES, operator=WRITES),
    "pool_range": Rights(server=READS, operator=OWNS),
    # The command line can settle logins too, and an operator's own addresses are taken out of a pool.
    "pool_lease": Rights(server=("SELECT", "UPDATE (account_id, root_id, freed_at)"), operator=OWNS),
    "trace": Rights(server=OWNS, operator=READS),
    "trace_watch": Rights(server=("SELECT", "DELETE"), operator=OWNS),
}

#: Columns that an auditor need not see: with them a password, or a voucher's code, can be guessed at leisure.
_SECRET: Final = ("_sealed", "_argon2", "_sha256", "fingerprint")
#: Every view of this name is part of the billing contract (docs/billing-sql.md).
VIEW_PREFIX: Final = "billing_"
#: Alembic's own: the programs look whether the database is of their version.
_VERSION_TABLE: Final = "alembic_version"


def rights_of(role: Role, table: Table) -> tuple[str, ...]:
    """What a role may do with a table. KeyError where nobody has decided it."""
    rights = TABLES[table.name]
    if role != "auditor":
        return getattr(rights, role)  # type: ignore[no-any-return]
    seen = [column.name for column in table.columns if not column.name.endswith(_SECRET)]
    return READS if len(seen) == len(table.columns) else (f"SELECT ({', '.join(seen)})",)


def statements(prefix: str, views: Sequence[str]) -> Iterator[str]:
    """The SQL that makes the roles `<prefix>_<role>` and gives them their rights and no others; it may be run again.

    `views`: those of the database. `prefix` is a plain lower-case name: it is not quoted.
    """
    names = {role: f"{prefix}_{role}" for role in ROLES}
    yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    for role, name in names.items():
        # NOLOGIN: who logs in, and how, is the database administrator's to say.
        yield (
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') "
            f"THEN CREATE ROLE {name} NOLOGIN; END IF; END $$"
        )
        yield f"COMMENT ON ROLE {name} IS '{PURPOSES[role]}'"
        yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {name}"
        yield f"GRANT USAGE ON SCHEMA public TO {name}"
        for table in sorted(metadata.tables.values(), key=lambda table: table.name):
            for right in rights_of(role, table):
                yield f"GRANT {right} ON {table.name} TO {name}"
        for view in sorted(view for view in views if view.startswith(VIEW_PREFIX)):
            yield f"GRANT SELECT ON {view} TO {name}"
        if role != "billing":
            yield f"GRANT SELECT ON {_VERSION_TABLE} TO {name}"
