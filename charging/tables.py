"""The tables of both floors, in one MetaData.

Conventions:

* An instant (`*_at`) is an integer: milliseconds since the epoch, UTC. Only the billing inbox, which other
  people's SQL reads and writes, has SQL timestamps.
* Every row that belongs to an account begins its primary key with `account_id`, so that PostgreSQL with Citus
  can keep an account on one machine. `account.version` is the one lock: who changes anything of an account
  moves it on by compare-and-set.
* Amounts are integers; what they count is the row's `unit`: octets, seconds, or money in micros (10^-6 of the currency).
* `up` is from the subscriber (RADIUS Input), `down` is to the subscriber (RADIUS Output).
* No index covers a column that every report changes: PostgreSQL then updates those rows in place (HOT).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    DefaultClause,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only for the exact type INTEGER.
_RowId = BigInteger().with_variant(Integer, "sqlite")

#: Rows that every report rewrites keep room on their page for the next version of themselves.
_REWRITTEN = {"fillfactor": "70"}


def _number(name: str) -> Column[int]:
    """A count that starts at zero."""
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def default_of(column: Column[Any]) -> int | str | None:
    """What a row says in that column where nobody says anything."""
    said = column.server_default
    if said is None:
        return None
    assert isinstance(said, DefaultClause)
    words = str(said.arg)
    if isinstance(column.type, Boolean):
        return words == "true"
    return int(words) if isinstance(column.type, Integer) else words


# --- reference tables: small, read by every node, changed by operators -------------------------------------------

nas = Table(
    "nas",
    metadata,
    Column("nas_id", _RowId, Identity(), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("network", Text, unique=True, comment="the packets' source: an address or a prefix; null: any, over TLS"),
    Column("certificate", Text, unique=True, comment="a name of its certificate; null: it does not speak over TLS"),
    Column("secret_sealed", LargeBinary, nullable=False),
    Column("previous_secret_sealed", LargeBinary, comment="accepted too while a secret is being changed"),
    Column("dialect", Text, nullable=False),
    Column("coa_address", Text, comment="where CoA goes; null: to the source of the session's packets"),
    Column("coa_port", Integer, comment="null: the dialect's port; 0: this NAS takes no CoA"),
    Column("require_message_authenticator", Text, nullable=False, comment="yes, learn or no"),
    Column("limit_proxy_state", Boolean, nullable=False),
    Column("counters_reversed", Boolean, comment="Input means download here; null: as the dialect says"),
    Column("counter_unit", Text, comment="octets, kB, KiB, MB or MiB; null: as the dialect says"),
    Column("counters_delta", Boolean, comment="each report counts from the one before; null: as the dialect says"),
    Column("counter_bits", Integer, comment="32: it has no gigawords and wraps; null: as the dialect says"),
    Column("counter_level", Text, comment="session or service; null: as the dialect says"),
    Column("enforcement_class", Text, comment="A, B, C or D at best; null: as the dialect says"),
    Column("coa_message_authenticator", Text, comment="yes, no or auto; null: as the dialect says"),
    Column("coa_event_timestamp", Text, comment="yes, no or auto; null: as the dialect says"),
    Column("on_database_down", Text, nullable=False, server_default="spool", comment="its reports: spool or silent"),
    Column(
        "mac_authentication", Boolean, nullable=False, server_default=false(), comment="an address alone may be a login"
    ),
    Column("nas_group", Text, nullable=False, server_default="", comment="what zones and conditions of plans may name"),
    Column("created_at", BigInteger, nullable=False),
    Column("revised_at", BigInteger, nullable=False, comment="moves on with every change; nodes watch the newest"),
    CheckConstraint("network IS NOT NULL OR certificate IS NOT NULL", name="known_by"),
    CheckConstraint("require_message_authenticator IN ('yes', 'learn', 'no')", name="require_ma"),
    CheckConstraint("on_database_down IN ('spool', 'silent')", name="on_database_down"),
    CheckConstraint("counter_unit IN ('octets', 'kB', 'KiB', 'MB', 'MiB')", name="counter_unit"),
    CheckConstraint("counter_bits IN (32, 64)", name="counter_bits"),
    CheckConstraint("counter_level IN ('session', 'service')", name="counter_level"),
    CheckConstraint("enforcement_class IN ('A', 'B', 'C', 'D')", name="enforcement_class"),
    CheckConstraint("coa_message_authenticator IN ('yes', 'no', 'auto')", name="coa_ma"),
    CheckConstraint("coa_event_timestamp IN ('yes', 'no', 'auto')", name="coa_ts"),
)

nas_observation = Table(
    "nas_observation",
    metadata,
    Column("nas_id", BigInteger, primary_key=True),
    Column("nas_address", Text, primary_key=True),
    Column("what", Text, primary_key=True, comment="silent, not-applied, still-alive, limit-not-kept"),
    Column("count", Integer, nullable=False, comment="how often; silent: in a row"),
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
)

plan = Table(
    "plan",
    metadata,
    Column("name", Text, primary_key=True),
    Column("plan_version_id", BigInteger, nullable=False, comment="the version that new sessions begin with"),
)

plan_version = Table(
    "plan_version",
    metadata,
    Column("plan_version_id", _RowId, Identity(), primary_key=True),
    Column("plan_name", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("content", Text, nullable=False, comment="the whole plan as JSON, profiles included; never changed"),
    Column("digest", Text, nullable=False),
    Column("loaded_at", BigInteger, nullable=False),
    UniqueConstraint("plan_name", "number"),
)

subscriber = Table(
    "subscriber",
    metadata,
    Column("subscriber_id", _RowId, Identity(), primary_key=True),
    Column("account_id", BigInteger, ForeignKey("account.account_id"), nullable=False, index=True),
    Column("username", Text, nullable=False, unique=True),
    Column("plan_name", Text, ForeignKey("plan.name"), nullable=False),
    Column("plan_version_id", BigInteger, comment="the version that the period runs under; null: the plan's newest"),
    Column("status", Text, nullable=False, server_default="active"),
    Column("expires_at", BigInteger),
    Column("max_sessions", Integer, comment="null: as the plan says"),
    Column("password_argon2", Text, comment="PAP only; there is no way back to the clear text"),
    Column("password_sealed", LargeBinary, comment="encrypted clear text, for CHAP"),
    Column("password_nt_sealed", LargeBinary, comment="encrypted NT hash, for MS-CHAP"),
    Column("password_sha256", LargeBinary, comment="of a generated secret"),
    Column("totp_sealed", LargeBinary, comment="encrypted; null: no one-time code is asked for"),
    Column("totp_step", BigInteger, comment="of the newest code that was used"),
    Column("email", Text, comment="where notices go"),
    Column("phone", Text, comment="+ and digits (E.164), for a gateway"),
    Column("language", Text, comment="of notices; null: the configuration's"),
    Column("reply_attributes", Text, comment="JSON: [[name, value], ...], said after the plan's"),
    Column("conditions", Text, comment="JSON: where, with what and when; in the place of the plan's"),
    Column("stations_learned", Text, comment="JSON: devices that became the allowed ones by logging in"),
    Column("own_ipv4", Text, unique=True, comment="always this one: Framed-IP-Address"),
    Column("own_ipv6", Text, unique=True, comment="Framed-IPv6-Address"),
    Column("own_prefix", Text, unique=True, comment="Framed-IPv6-Prefix"),
    Column("own_delegated", Text, unique=True, comment="Delegated-IPv6-Prefix"),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("status IN ('active', 'suspended')", name="status"),
    CheckConstraint(
        "(CASE WHEN password_argon2 IS NULL THEN 0 ELSE 1 END) + (CASE WHEN password_sealed IS NULL THEN 0 ELSE 1 END) + "
        "(CASE WHEN password_nt_sealed IS NULL THEN 0 ELSE 1 END) + "
        "(CASE WHEN password_sha256 IS NULL THEN 0 ELSE 1 END) <= 1",
        name="one_password",
    ),
)

Index(
    "ix_subscriber_expires_at",
    subscriber.c.expires_at,
    postgresql_where=subscriber.c.expires_at.is_not(None),
    sqlite_where=subscriber.c.expires_at.is_not(None),
)

# --- what belongs to an account ----------------------------------------------------------------------------------

account = Table(
    "account",
    metadata,
    Column("account_id", _RowId, Identity(), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("currency", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default="prepaid"),
    _number("credit_limit_micros"),
    Column("status", Text, nullable=False, server_default="active"),
    _number("version"),
    _number("ledger_seq"),
    Column("ledger_hash", Text, nullable=False, server_default="", comment="the newest transfer's hash"),
    _number("voucher_failures"),
    _number("voucher_failed_at"),
    _number("auto_below_micros"),
    Column("auto_amount_micros", BigInteger, nullable=False, server_default="0", comment="0: no automatic top-up"),
    Column("auto_request_id", BigInteger, comment="the one open top-up request"),
    _number("auto_not_before"),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("kind IN ('prepaid', 'postpaid')", name="kind"),
    CheckConstraint("status IN ('active', 'suspended')", name="status"),
    CheckConstraint("credit_limit_micros >= 0", name="credit_limit"),
    CheckConstraint("auto_amount_micros >= 0", name="auto_amount"),
    postgresql_with=_REWRITTEN,
)

bucket = Table(
    "bucket",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("bucket_id", BigInteger, primary_key=True),
    Column("name", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("direction", Text, nullable=False, server_default="total"),
    _number("balance"),
    _number("held"),
    Column("granted", BigInteger, nullable=False, server_default="0", comment="what thresholds are shares of"),
    Column("low_water_marks", Text, nullable=False, server_default="", comment="balances that cause a notice, falling"),
    _number("marks_passed"),
    _number("priority"),
    Column("blocker", Boolean, nullable=False, server_default=text("false")),
    Column("source", Text, nullable=False, comment="allowance:<plan> or top-up"),
    Column("valid_from", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("scope", Text, nullable=False, server_default="", comment="JSON: when, where and who may draw; empty: any"),
    Column("subscriber_id", BigInteger, comment="whose period or rhythm it ends with; null: nobody's"),
    Column("rolled", Integer, nullable=False, server_default="0", comment="into how many further periods it went over"),
    Column("every", Text, nullable=False, server_default="", comment="the rhythm of its allowance; empty: none"),
    Column(
        "closed_at", BigInteger, comment="when its time was over and what was left went to `expired`; null: not yet"
    ),
    CheckConstraint("unit IN ('octets', 'seconds', 'money')", name="unit"),
    CheckConstraint("direction IN ('total', 'down', 'up')", name="direction"),
    CheckConstraint("held >= 0", name="held"),
    postgresql_with=_REWRITTEN,
)
# No report changes what these cover: a book is read without what is over, and the job finds what ends.
Index(
    "ix_bucket_open",
    bucket.c.account_id,
    bucket.c.bucket_id,
    postgresql_where=text("closed_at IS NULL"),
    sqlite_where=text("closed_at IS NULL"),
)
Index(
    "ix_bucket_ending",
    bucket.c.expires_at,
    postgresql_where=text("closed_at IS NULL AND expires_at IS NOT NULL"),
    sqlite_where=text("closed_at IS NULL AND expires_at IS NOT NULL"),
)

subscription = Table(
    "subscription",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("subscriber_id", BigInteger, primary_key=True),
    Column("plan_name", Text, nullable=False),
    Column("plan_version_id", BigInteger, nullable=False, comment="what the period that runs was sold under"),
    Column("next_plan_name", Text, comment="what the next period is of; null: the same plan"),
    Column("state", Text, nullable=False, comment="waiting, active, grace, lapsed, paused; ended: no periods"),
    Column("anchor_at", BigInteger, nullable=False, comment="what the periods' ends are counted from"),
    Column("number", Integer, nullable=False, comment="how many periods of this plan were paid"),
    Column("start_at", BigInteger, nullable=False),
    Column("end_at", BigInteger, nullable=False, comment="of the period that runs, or ran last"),
    Column("price_micros", BigInteger, nullable=False, comment="what that period cost"),
    Column("reminded", Boolean, nullable=False, comment="of that end"),
    Column("paused_at", BigInteger),
    Column(
        "due_at", BigInteger, comment="when it must be looked at next; null: when money comes in, or somebody says so"
    ),
    CheckConstraint("state IN ('waiting', 'active', 'grace', 'lapsed', 'paused', 'ended')", name="state"),
)
Index(
    "ix_subscription_due",
    subscription.c.due_at,
    postgresql_where=text("due_at IS NOT NULL"),
    sqlite_where=text("due_at IS NOT NULL"),
)

# Written once for each: the key is what makes a renewal happen once, whoever is at work.
subscription_period = Table(
    "subscription_period",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("subscriber_id", BigInteger, primary_key=True),
    Column("start_at", BigInteger, primary_key=True),
    Column("end_at", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("plan_version_id", BigInteger, nullable=False),
    Column("price_micros", BigInteger, nullable=False),
    Column("reference", Text, nullable=False, comment="of its transfers in the ledger"),
    Column("recorded_at", BigInteger, nullable=False),
    CheckConstraint("price_micros >= 0", name="price"),
)

session = Table(
    "session",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("session_id", BigInteger, primary_key=True),
    # who and where; written at login, completed by the first report
    Column("subscriber_id", BigInteger, nullable=False),
    Column("username", Text, nullable=False),
    Column("plan_version_id", BigInteger, nullable=False, comment="pinned: every charge can be computed again"),
    Column("nas_id", BigInteger, nullable=False),
    Column("nas_address", Text, nullable=False, comment="source of its packets; where CoA goes"),
    Column(
        "root_id",
        BigInteger,
        nullable=False,
        comment="the session that the Class token names; itself, unless it came later",
    ),
    Column(
        "device_key", Text, nullable=False, comment="NAS, port and calling station: meets a Start that has no Class"
    ),
    Column("session_key", Text, comment="NAS, user, Acct-Session-Id, port: finds later reports that have no Class"),
    Column("acct_session_id", LargeBinary, comment="byte for byte, as CoA must repeat it"),
    Column("nas_username", Text, comment="what its NAS calls the user, as CoA must; null: it has not reported"),
    Column("calling_station", Text),
    Column("nas_port_id", Text),
    Column("framed_address", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    Column("close_reason", Text),
    # rewritten by reports
    Column("state", Text, nullable=False),
    Column("started_at", BigInteger),
    Column("last_report_at", BigInteger, nullable=False, comment="when a report arrived, or the login"),
    Column("last_event_at", BigInteger, nullable=False, comment="when the newest report was true at the NAS"),
    Column("stale_at", BigInteger, nullable=False, comment="silent until then: closed as stale"),
    _number("interval_seconds"),
    _number("octets_up"),
    _number("octets_down"),
    _number("seconds"),
    _number("offset_up"),
    _number("offset_down"),
    _number("offset_seconds"),
    _number("epoch"),
    _number("epoch_seconds"),
    Column("gigawords_seen", Boolean, nullable=False, server_default=text("false")),
    Column("rated", Text, nullable=False, server_default="", comment="per price line: units rated, micros booked"),
    _number("line_no"),
    Column("posted_at", BigInteger, nullable=False),
    _number("leaked_octets"),
    Column("wanted", Text, nullable=False, comment="what the NAS should apply: full, exhausted or cut"),
    Column("wanted_reason", Text, nullable=False, server_default="", comment="why, where it is not full"),
    _number("wanted_version"),
    Column("failed_commands", Integer, nullable=False, server_default="0"),
    # what the NAS acknowledged
    _number("acked_version"),
    Column("acked_at", BigInteger),
    # where it is, as prices ask for it; written at login
    Column("nas_group", Text, nullable=False, server_default=""),
    Column("called_station", Text, nullable=False, server_default=""),
    Column("realm", Text, nullable=False, server_default=""),
    Column("service_class", Text, nullable=False, server_default="", comment="Service-Type by name"),
    Column("leased", Integer, nullable=False, server_default="0", comment="how many addresses of pools its login has"),
    # how it is held to what is paid
    Column(
        "means", Text, nullable=False, server_default="profile", comment="volume, rate, profile, disconnect or time"
    ),
    Column("limit_octets", BigInteger, comment="up and down, as the marks count: its NAS stops it there"),
    Column("pace_permille", Integer, nullable=False, server_default="1000", comment="of the plan's rate"),
    Column("asked_interval_seconds", Integer, nullable=False, server_default="0", comment="0: the plan's"),
    Column("timeout_seconds", BigInteger, comment="from its start, for the balance's sake"),
    Column("exhausted_at", BigInteger, comment="since when nothing pays for it"),
    Column("exhausted_until", BigInteger, comment="when it had its full profile back; null: a report has come since"),
    Column("profile", Text, nullable=False, server_default="", comment="while something pays; empty: the plan's own"),
    Column("acked_profile", Text, nullable=False, server_default="", comment="the one that the NAS applies"),
    Column("cap", Text, nullable=False, server_default="", comment="of its plan, that it was exhausted for"),
    Column("review_at", BigInteger, comment="when the clock may change its profile"),
    # what retention has left of it
    Column(
        "removed_line_no", BigInteger, nullable=False, server_default="0", comment="no usage line up to this is kept"
    ),
    Column("lines_removed_at", BigInteger, comment="since when none of its usage lines is"),
    CheckConstraint("state IN ('provisional', 'open', 'closed')", name="state"),
    CheckConstraint("wanted IN ('full', 'exhausted', 'cut')", name="wanted"),
    postgresql_with=_REWRITTEN,
)
Index(
    "ix_session_live",
    session.c.account_id,
    session.c.session_id,
    postgresql_where=session.c.closed_at.is_(None),
    sqlite_where=session.c.closed_at.is_(None),
)
_REVIEWED = text("closed_at IS NULL AND review_at IS NOT NULL")
Index("ix_session_review", session.c.review_at, postgresql_where=_REVIEWED, sqlite_where=_REVIEWED)
Index("ix_session_root", session.c.account_id, session.c.root_id)
# What retention comes to next: usage lines, and then the sessions themselves.
_ENDED = text("closed_at IS NOT NULL AND lines_removed_at IS NULL")
_BARE = text("lines_removed_at IS NOT NULL")
Index("ix_session_ended", session.c.closed_at, postgresql_where=_ENDED, sqlite_where=_ENDED)
Index("ix_session_bare", session.c.closed_at, postgresql_where=_BARE, sqlite_where=_BARE)
Index("ix_session_key", session.c.session_key)

session_charge = Table(
    "session_charge",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("session_id", BigInteger, primary_key=True),
    Column("bucket_id", BigInteger, primary_key=True, comment="0: shortfall, consumed with nothing left to draw from"),
    Column("unit", Text, primary_key=True),
    _number("accrued"),
    _number("posted"),
    _number("held"),
    Column("held_until", BigInteger, nullable=False, server_default="0"),
    Column("live", Boolean, nullable=False, server_default=text("true"), comment="its session is not closed"),
    CheckConstraint("held >= 0", name="held"),
    postgresql_with=_REWRITTEN,
)
Index(
    "ix_session_charge_live",
    session_charge.c.account_id,
    session_charge.c.session_id,
    postgresql_where=text("live"),
    sqlite_where=text("live"),
)

usage_line = Table(
    "usage_line",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("session_id", BigInteger, primary_key=True),
    Column("line_no", BigInteger, primary_key=True),
    Column("recorded_at", BigInteger, nullable=False),
    Column("event_at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("octets_up_from", BigInteger, nullable=False),
    Column("octets_up_to", BigInteger, nullable=False),
    Column("octets_down_from", BigInteger, nullable=False),
    Column("octets_down_to", BigInteger, nullable=False),
    Column("seconds_from", BigInteger, nullable=False),
    Column("seconds_to", BigInteger, nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
    Column("draws", Text, nullable=False, comment="JSON: [[bucket_id, unit, amount], ...]; bucket 0 is shortfall"),
    Column("free_octets", BigInteger, nullable=False, comment="used at the exhausted profile's speed: not charged"),
    Column("flags", Text, nullable=False, comment="suspect, wrap, reset, baseline, estimated"),
    Column("raw", Text, nullable=False, comment="what the NAS said, where it was not taken as it stood"),
    Column("rated", Text, nullable=False, server_default="", comment="per price line: units and micros that it added"),
)

tally = Table(
    "tally",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("subscriber_id", BigInteger, primary_key=True),
    Column("name", Text, primary_key=True, comment="rate:<plan>:<line> in whole steps, or bucket:<id> in its unit"),
    Column("period_at", BigInteger, primary_key=True, comment="when the period began; 0: all time"),
    Column("until_at", BigInteger, nullable=False),
    _number("amount"),
    postgresql_with=_REWRITTEN,
)

transfer = Table(
    "transfer",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("debit", Text, nullable=False),
    Column("credit", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("session_id", BigInteger),
    Column("effective_at", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("hash", Text, nullable=False, comment="over this row and the account's previous hash"),
    CheckConstraint("amount > 0", name="amount"),
)

notice = Table(
    "notice",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("notice_id", BigInteger, primary_key=True),
    Column("session_id", BigInteger),
    Column("bucket_id", BigInteger),
    Column("subscriber_id", BigInteger, comment="whom it is about; null: the whole account"),
    Column("kind", Text, nullable=False, comment="one of charging.notices.kinds"),
    Column("detail", Text, nullable=False),
    Column("facts", Text, nullable=False, server_default="{}", comment="JSON: what its text may say"),
    Column("created_at", BigInteger, nullable=False),
    Column("routed_at", BigInteger, comment="when its deliveries were written down; null: not yet"),
)
Index(
    "ix_notice_unrouted",
    notice.c.created_at,
    postgresql_where=notice.c.routed_at.is_(None),
    sqlite_where=notice.c.routed_at.is_(None),
)
Index("ix_notice_created_at", notice.c.created_at)

notice_delivery = Table(
    "notice_delivery",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("notice_id", BigInteger, primary_key=True),
    Column("channel", Text, primary_key=True, comment="email, or a webhook's name"),
    Column("subscriber_id", BigInteger, primary_key=True, comment="who is told; 0: nobody in particular"),
    Column("urgent", Boolean, nullable=False, comment="in quiet hours too"),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("not_before", BigInteger, nullable=False),
    Column("give_up_at", BigInteger, nullable=False, comment="after this it is not tried again"),
    Column("lease_node", Text),
    _number("lease_epoch"),
    Column("lease_until", BigInteger, nullable=False, server_default="0"),
    Column("address", Text, comment="where the last attempt went"),
    Column("error", Text, comment="why the last attempt did not arrive"),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    CheckConstraint("state IN ('pending', 'sent', 'failed')", name="state"),
)
Index(
    "ix_notice_delivery_pending",
    notice_delivery.c.channel,
    notice_delivery.c.not_before,
    postgresql_where=notice_delivery.c.state == text("'pending'"),
    sqlite_where=notice_delivery.c.state == text("'pending'"),
)
Index(
    "ix_notice_delivery_failed",
    notice_delivery.c.finished_at,
    postgresql_where=notice_delivery.c.state == text("'failed'"),
    sqlite_where=notice_delivery.c.state == text("'failed'"),
)

command = Table(
    "command",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("command_id", BigInteger, primary_key=True),
    Column("session_id", BigInteger, nullable=False),
    Column("nas_id", BigInteger, nullable=False),
    Column("action", Text, nullable=False, comment="profile or disconnect"),
    Column("version", BigInteger, nullable=False, comment="the session's wanted_version that it brings about"),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("not_before", BigInteger, nullable=False),
    Column("lease_node", Text),
    _number("lease_epoch"),
    Column("lease_until", BigInteger, nullable=False, server_default="0"),
    Column(
        "packets",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="datagrams sent, repetitions among them",
    ),
    Column("answers", Text, nullable=False, server_default="", comment="of each request in turn"),
    Column("answer", Text, comment="the last word"),
    Column("created_at", BigInteger, nullable=False),
    Column("sent_at", BigInteger),
    Column("finished_at", BigInteger),
    CheckConstraint("state IN ('pending', 'acked', 'failed', 'superseded')", name="state"),
    CheckConstraint("action IN ('profile', 'disconnect')", name="action"),
)
Index(
    "ix_command_pending",
    command.c.not_before,
    postgresql_where=command.c.state == text("'pending'"),
    sqlite_where=command.c.state == text("'pending'"),
)
Index("ix_command_session", command.c.account_id, command.c.session_id)
Index("ix_command_created_at", command.c.created_at)

# --- inboxes -----------------------------------------------------------------------------------------------------

billing_top_up = Table(
    "billing_top_up",
    metadata,
    Column("top_up_id", _RowId, Identity(), primary_key=True),
    Column("source", Text, nullable=False, comment="the billing system that writes"),
    Column("external_ref", Text, nullable=False, comment="its own number for this payment"),
    Column("account", Text, nullable=False, comment="the account's name"),
    Column("unit", Text, nullable=False, server_default="money", comment="money, octets or seconds"),
    Column("amount", Text, nullable=False, comment="10.00, 5GB, 2h"),
    Column("currency", Text, comment="null: the account's own"),
    Column("comment", Text),
    Column("validity", Text, comment="how long it lasts: 30 days, 1 month; null: for ever"),
    Column("request_id", BigInteger, comment="the top-up request that it answers"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.current_timestamp()),
    Column("status", Text, nullable=False, server_default="pending"),
    Column("error", Text),
    Column("applied_at", DateTime(timezone=True)),
    CheckConstraint("status IN ('pending', 'applied', 'duplicate', 'error')", name="status"),
)
Index(
    "ix_billing_top_up_pending",
    billing_top_up.c.top_up_id,
    postgresql_where=billing_top_up.c.status == text("'pending'"),
    sqlite_where=billing_top_up.c.status == text("'pending'"),
)
# The last word against paying a reference twice is the database's, whatever the server believes.
Index(
    "uq_billing_top_up_applied",
    billing_top_up.c.source,
    billing_top_up.c.external_ref,
    unique=True,
    postgresql_where=billing_top_up.c.status == text("'applied'"),
    sqlite_where=billing_top_up.c.status == text("'applied'"),
)

billing_order = Table(
    "billing_order",
    metadata,
    Column("order_id", _RowId, Identity(), primary_key=True),
    Column("source", Text, nullable=False, comment="the billing system that writes"),
    Column("external_ref", Text, nullable=False, comment="its own number for this order"),
    Column("kind", Text, nullable=False, comment="redeem, transfer, refund, reverse, adjust, decline or renew"),
    Column("account", Text, nullable=False, comment="the account's name"),
    Column("unit", Text, nullable=False, server_default="money", comment="transfer, adjust: money, octets or seconds"),
    Column("amount", Text, comment="transfer, refund: 10.00, 5GB, 2h; adjust: -10.00 too"),
    Column("currency", Text, comment="null: the account's own"),
    Column("to_account", Text, comment="transfer: who gets it"),
    Column("code", Text, comment="redeem: the voucher's; the server wipes it when it answers"),
    Column("bucket_id", BigInteger, comment="adjust: which one; null: the one that top-ups go to"),
    Column("transfer_seq", BigInteger, comment="reverse: this transfer of the account's ledger"),
    Column("session_id", BigInteger, comment="reverse: all that this session was charged"),
    Column("request_id", BigInteger, comment="decline: the top-up request that is not paid"),
    Column("subscriber", Text, comment="renew: whose period, by user name; null: all of the account's"),
    Column("reason", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.current_timestamp()),
    Column("status", Text, nullable=False, server_default="pending"),
    Column("error", Text),
    Column("applied_at", DateTime(timezone=True)),
    Column("digest", Text, comment="over what was ordered; the same reference again must mean the same"),
    CheckConstraint("status IN ('pending', 'applied', 'duplicate', 'error')", name="status"),
)
Index(
    "ix_billing_order_pending",
    billing_order.c.order_id,
    postgresql_where=billing_order.c.status == text("'pending'"),
    sqlite_where=billing_order.c.status == text("'pending'"),
)
Index(
    "uq_billing_order_applied",
    billing_order.c.source,
    billing_order.c.external_ref,
    unique=True,
    postgresql_where=billing_order.c.status == text("'applied'"),
    sqlite_where=billing_order.c.status == text("'applied'"),
)

# --- vouchers, top-up requests, reversals ------------------------------------------------------------------------

voucher_batch = Table(
    "voucher_batch",
    metadata,
    Column("batch_id", _RowId, Identity(), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("unit", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, comment="of money"),
    Column("validity", Text, comment="how long what it pays in lasts: 30d, 1 month; null: for ever"),
    Column("expires_at", BigInteger, comment="when its vouchers can no longer be redeemed"),
    Column("comment", Text),
    Column("actor", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("unit IN ('octets', 'seconds', 'money')", name="unit"),
    CheckConstraint("amount > 0", name="amount"),
)

voucher = Table(
    "voucher",
    metadata,
    Column("voucher_id", _RowId, Identity(), primary_key=True),
    Column("batch_id", BigInteger, ForeignKey("voucher_batch.batch_id"), nullable=False),
    Column("serial", Integer, nullable=False),
    Column("fingerprint", Text, nullable=False, unique=True, comment="of the code, which is kept nowhere"),
    Column("state", Text, nullable=False, server_default="ready"),
    Column("account_id", BigInteger, comment="who redeemed it"),
    Column("reference", Text, comment="of its transfer in the ledger"),
    Column("actor", Text, comment="who redeemed or voided it"),
    Column("settled_at", BigInteger, comment="when it was redeemed or voided"),
    UniqueConstraint("batch_id", "serial"),
    CheckConstraint("state IN ('ready', 'redeemed', 'void')", name="state"),
)

top_up_request = Table(
    "top_up_request",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("request_id", BigInteger, primary_key=True),
    Column("amount_micros", BigInteger, nullable=False),
    Column("amount", Text, nullable=False, comment="the same as a top-up's row says it: 20.00"),
    Column("balance_micros", BigInteger, nullable=False, comment="when it was made"),
    Column("status", Text, nullable=False, server_default="open"),
    Column("answer", Text, comment="the top-up's reference, or why it was declined"),
    Column("created_at", BigInteger, nullable=False),
    Column("answered_at", BigInteger),
    CheckConstraint("status IN ('open', 'paid', 'declined', 'cancelled')", name="status"),
)
# The last word against asking twice, and what the billing systems look through.
Index(
    "uq_top_up_request_open",
    top_up_request.c.account_id,
    unique=True,
    postgresql_where=top_up_request.c.status == text("'open'"),
    sqlite_where=top_up_request.c.status == text("'open'"),
)
Index(
    "ix_top_up_request_answered_at",
    top_up_request.c.answered_at,
    postgresql_where=top_up_request.c.answered_at.is_not(None),
    sqlite_where=top_up_request.c.answered_at.is_not(None),
)

reversal = Table(
    "reversal",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("seq", BigInteger, primary_key=True, comment="the transfer that was taken back: once"),
    Column("by_seq", BigInteger, nullable=False, comment="the transfer that took it back"),
)

orphan_report = Table(
    "orphan_report",
    metadata,
    Column("digest", Text, primary_key=True, comment="of the packet and its NAS: a retransmission is the same orphan"),
    Column("nas_id", BigInteger, nullable=False),
    Column("nas_address", Text, nullable=False),
    Column("username", Text, nullable=False),
    Column("acct_session_id", LargeBinary),
    Column("reason", Text, nullable=False),
    Column("packet", LargeBinary, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("session_id", BigInteger, comment="the session that it was charged in by an operator; null: to nobody"),
)
Index("ix_orphan_report_received_at", orphan_report.c.received_at)

nas_restart = Table(
    "nas_restart",
    metadata,
    Column("nas_id", BigInteger, primary_key=True),
    Column("nas_address", Text, primary_key=True),
    Column("event_at", BigInteger, primary_key=True, comment="Accounting-On or -Off: older sessions are gone"),
    Column("kind", Text, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger, comment="when the last of its sessions was closed"),
)

# --- what is not kept for ever ------------------------------------------------------------------------------------

removal = Table(
    "removal",
    metadata,
    Column("what", Text, primary_key=True, comment="one of charging.retention"),
    Column("before_at", BigInteger, nullable=False, comment="what was over before this is gone, or is going"),
    Column("removed", BigInteger, nullable=False, comment="rows, in all"),
    Column("removed_at", BigInteger, nullable=False, comment="the newest time"),
)

# --- address pools -------------------------------------------------------------------------------------------------

pool_range = Table(
    "pool_range",
    metadata,
    Column("network", Text, primary_key=True, comment="no two overlap"),
    Column("pool_name", Text, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("prefix_length", Integer, nullable=False, comment="of each of its addresses"),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("kind IN ('ipv4', 'ipv6', 'prefix', 'delegated')", name="kind"),
)

# One row for each address: who takes one locks it and passes over those that others have locked, so nobody waits and
# none is given twice.
pool_lease = Table(
    "pool_lease",
    metadata,
    Column("address", Text, primary_key=True),
    Column("network", Text, ForeignKey("pool_range.network"), nullable=False, index=True),
    Column("pool_name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subscriber_id", BigInteger, comment="it is always his; it is leased to nobody"),
    Column("account_id", BigInteger, comment="who has it, or had it last"),
    Column("root_id", BigInteger, comment="the session that his login opened"),
    Column("freed_at", BigInteger, server_default="0", comment="null: a session has it"),
    postgresql_with=_REWRITTEN,
)
Index(
    "ix_pool_lease_free",
    pool_lease.c.pool_name,
    pool_lease.c.kind,
    pool_lease.c.freed_at,
    postgresql_where=text("freed_at IS NOT NULL AND subscriber_id IS NULL"),
    sqlite_where=text("freed_at IS NOT NULL AND subscriber_id IS NULL"),
)
Index("ix_pool_lease_holder", pool_lease.c.account_id, pool_lease.c.root_id)

# --- what happened, in words -----------------------------------------------------------------------------------------

trace = Table(
    "trace",
    metadata,
    Column("trace_id", _RowId, Identity(), primary_key=True),
    Column("node", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False, index=True),
    Column("nas", Text, nullable=False),
    Column("username", Text, nullable=False),
    Column("kind", Text, nullable=False, comment="login or report"),
    Column("result", Text, nullable=False, comment="in a word: accept, challenge, reject, recorded, orphan, silence"),
    Column("microseconds", BigInteger, nullable=False, comment="from packet to answer"),
    Column("steps", Text, nullable=False, comment="JSON: [[microseconds since the packet, words], ...]"),
)

trace_watch = Table(
    "trace_watch",
    metadata,
    Column("watch_id", _RowId, Identity(), primary_key=True),
    Column("username", Text, comment="null: everybody"),
    Column("nas", Text, comment="null: all of them"),
    Column("until", BigInteger, nullable=False, comment="whatever fits is written down until then"),
)
