"""first tables"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:  # noqa: PLR0915  every table and index once
    op.create_table(
        "account",
        sa.Column(
            "account_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=False),
            nullable=False,
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="prepaid", nullable=False),
        sa.Column("credit_limit_micros", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("ledger_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("ledger_hash", sa.Text(), server_default="", nullable=False, comment="the newest transfer's hash"),
        sa.Column("voucher_failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("voucher_failed_at", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("auto_below_micros", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "auto_amount_micros",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="0: no automatic top-up",
        ),
        sa.Column("auto_request_id", sa.BigInteger(), nullable=True, comment="the one open top-up request"),
        sa.Column("auto_not_before", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('prepaid', 'postpaid')", name=op.f("ck_account_kind")),
        sa.CheckConstraint("status IN ('active', 'suspended')", name=op.f("ck_account_status")),
        sa.CheckConstraint("credit_limit_micros >= 0", name=op.f("ck_account_credit_limit")),
        sa.CheckConstraint("auto_amount_micros >= 0", name=op.f("ck_account_auto_amount")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "billing_top_up",
        sa.Column(
            "top_up_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="the billing system that writes"),
        sa.Column("external_ref", sa.Text(), nullable=False, comment="its own number for this payment"),
        sa.Column("account", sa.Text(), nullable=False, comment="the account's name"),
        sa.Column("unit", sa.Text(), server_default="money", nullable=False, comment="money, octets or seconds"),
        sa.Column("amount", sa.Text(), nullable=False, comment="10.00, 5GB, 2h"),
        sa.Column("currency", sa.Text(), nullable=True, comment="null: the account's own"),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("validity", sa.Text(), nullable=True, comment="how long it lasts: 30 days, 1 month; null: for ever"),
        sa.Column("request_id", sa.BigInteger(), nullable=True, comment="the top-up request that it answers"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("(CURRENT_TIMESTAMP)"), nullable=False
        ),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'applied', 'duplicate', 'error')", name=op.f("ck_billing_top_up_status")
        ),
        sa.PrimaryKeyConstraint("top_up_id", name=op.f("pk_billing_top_up")),
    )
    with op.batch_alter_table("billing_top_up", schema=None) as batch_op:
        batch_op.create_index(
            "ix_billing_top_up_pending",
            ["top_up_id"],
            unique=False,
            postgresql_where=sa.text("status = 'pending'"),
            sqlite_where=sa.text("status = 'pending'"),
        )
        batch_op.create_index(
            "uq_billing_top_up_applied",
            ["source", "external_ref"],
            unique=True,
            postgresql_where=sa.text("status = 'applied'"),
            sqlite_where=sa.text("status = 'applied'"),
        )

    op.create_table(
        "billing_order",
        sa.Column(
            "order_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="the billing system that writes"),
        sa.Column("external_ref", sa.Text(), nullable=False, comment="its own number for this order"),
        sa.Column(
            "kind", sa.Text(), nullable=False, comment="redeem, transfer, refund, reverse, adjust, decline or renew"
        ),
        sa.Column("account", sa.Text(), nullable=False, comment="the account's name"),
        sa.Column(
            "unit",
            sa.Text(),
            server_default="money",
            nullable=False,
            comment="transfer, adjust: money, octets or seconds",
        ),
        sa.Column("amount", sa.Text(), nullable=True, comment="transfer, refund: 10.00, 5GB, 2h; adjust: -10.00 too"),
        sa.Column("currency", sa.Text(), nullable=True, comment="null: the account's own"),
        sa.Column("to_account", sa.Text(), nullable=True, comment="transfer: who gets it"),
        sa.Column(
            "code", sa.Text(), nullable=True, comment="redeem: the voucher's; the server wipes it when it answers"
        ),
        sa.Column(
            "bucket_id", sa.BigInteger(), nullable=True, comment="adjust: which one; null: the one that top-ups go to"
        ),
        sa.Column(
            "transfer_seq", sa.BigInteger(), nullable=True, comment="reverse: this transfer of the account's ledger"
        ),
        sa.Column("session_id", sa.BigInteger(), nullable=True, comment="reverse: all that this session was charged"),
        sa.Column("request_id", sa.BigInteger(), nullable=True, comment="decline: the top-up request that is not paid"),
        sa.Column(
            "subscriber",
            sa.Text(),
            nullable=True,
            comment="renew: whose period, by user name; null: all of the account's",
        ),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("(CURRENT_TIMESTAMP)"), nullable=False
        ),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "digest",
            sa.Text(),
            nullable=True,
            comment="over what was ordered; the same reference again must mean the same",
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'applied', 'duplicate', 'error')", name=op.f("ck_billing_order_status")
        ),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_billing_order")),
    )
    with op.batch_alter_table("billing_order", schema=None) as batch_op:
        batch_op.create_index(
            "ix_billing_order_pending",
            ["order_id"],
            unique=False,
            postgresql_where=sa.text("status = 'pending'"),
            sqlite_where=sa.text("status = 'pending'"),
        )
        batch_op.create_index(
            "uq_billing_order_applied",
            ["source", "external_ref"],
            unique=True,
            postgresql_where=sa.text("status = 'applied'"),
            sqlite_where=sa.text("status = 'applied'"),
        )

    op.create_table(
        "reversal",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="the transfer that was taken back: once"),
        sa.Column("by_seq", sa.BigInteger(), nullable=False, comment="the transfer that took it back"),
        sa.PrimaryKeyConstraint("account_id", "seq", name=op.f("pk_reversal")),
    )
    op.create_table(
        "top_up_request",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.BigInteger(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.Text(), nullable=False, comment="the same as a top-up's row says it: 20.00"),
        sa.Column("balance_micros", sa.BigInteger(), nullable=False, comment="when it was made"),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("answer", sa.Text(), nullable=True, comment="the top-up's reference, or why it was declined"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "status IN ('open', 'paid', 'declined', 'cancelled')", name=op.f("ck_top_up_request_status")
        ),
        sa.PrimaryKeyConstraint("account_id", "request_id", name=op.f("pk_top_up_request")),
    )
    with op.batch_alter_table("top_up_request", schema=None) as batch_op:
        batch_op.create_index(
            "uq_top_up_request_open",
            ["account_id"],
            unique=True,
            postgresql_where=sa.text("status = 'open'"),
            sqlite_where=sa.text("status = 'open'"),
        )
        batch_op.create_index(
            "ix_top_up_request_answered_at",
            ["answered_at"],
            unique=False,
            postgresql_where=sa.text("answered_at IS NOT NULL"),
            sqlite_where=sa.text("answered_at IS NOT NULL"),
        )

    op.create_table(
        "voucher_batch",
        sa.Column(
            "batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True, comment="of money"),
        sa.Column(
            "validity", sa.Text(), nullable=True, comment="how long what it pays in lasts: 30d, 1 month; null: for ever"
        ),
        sa.Column("expires_at", sa.BigInteger(), nullable=True, comment="when its vouchers can no longer be redeemed"),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("unit IN ('octets', 'seconds', 'money')", name=op.f("ck_voucher_batch_unit")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_voucher_batch_amount")),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_voucher_batch")),
        sa.UniqueConstraint("name", name=op.f("uq_voucher_batch_name")),
    )
    op.create_table(
        "voucher",
        sa.Column(
            "voucher_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=False),
            nullable=False,
        ),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False, comment="of the code, which is kept nowhere"),
        sa.Column("state", sa.Text(), server_default="ready", nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True, comment="who redeemed it"),
        sa.Column("reference", sa.Text(), nullable=True, comment="of its transfer in the ledger"),
        sa.Column("actor", sa.Text(), nullable=True, comment="who redeemed or voided it"),
        sa.Column("settled_at", sa.BigInteger(), nullable=True, comment="when it was redeemed or voided"),
        sa.CheckConstraint("state IN ('ready', 'redeemed', 'void')", name=op.f("ck_voucher_state")),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["voucher_batch.batch_id"], name=op.f("fk_voucher_batch_id_voucher_batch")
        ),
        sa.PrimaryKeyConstraint("voucher_id", name=op.f("pk_voucher")),
        sa.UniqueConstraint("batch_id", "serial", name=op.f("uq_voucher_batch_id_serial")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_voucher_fingerprint")),
    )

    op.create_table(
        "bucket",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("bucket_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), server_default="total", nullable=False),
        sa.Column("balance", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("held", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "granted", sa.BigInteger(), server_default="0", nullable=False, comment="what thresholds are shares of"
        ),
        sa.Column(
            "low_water_marks",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="balances that cause a notice, falling",
        ),
        sa.Column("marks_passed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("priority", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("blocker", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="allowance:<plan> or top-up"),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "scope",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="JSON: when, where and who may draw; empty: any",
        ),
        sa.Column(
            "subscriber_id",
            sa.BigInteger(),
            nullable=True,
            comment="whose period or rhythm it ends with; null: nobody's",
        ),
        sa.Column(
            "rolled",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="into how many further periods it went over",
        ),
        sa.Column(
            "every", sa.Text(), server_default="", nullable=False, comment="the rhythm of its allowance; empty: none"
        ),
        sa.Column(
            "closed_at",
            sa.BigInteger(),
            nullable=True,
            comment="when its time was over and what was left went to `expired`; null: not yet",
        ),
        sa.CheckConstraint("direction IN ('total', 'down', 'up')", name=op.f("ck_bucket_direction")),
        sa.CheckConstraint("unit IN ('octets', 'seconds', 'money')", name=op.f("ck_bucket_unit")),
        sa.CheckConstraint("held >= 0", name=op.f("ck_bucket_held")),
        sa.PrimaryKeyConstraint("account_id", "bucket_id", name=op.f("pk_bucket")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "ix_bucket_open",
        "bucket",
        ["account_id", "bucket_id"],
        unique=False,
        postgresql_where=sa.text("closed_at IS NULL"),
        sqlite_where=sa.text("closed_at IS NULL"),
    )
    op.create_index(
        "ix_bucket_ending",
        "bucket",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("closed_at IS NULL AND expires_at IS NOT NULL"),
        sqlite_where=sa.text("closed_at IS NULL AND expires_at IS NOT NULL"),
    )
    op.create_table(
        "command",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("command_id", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("nas_id", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False, comment="profile or disconnect"),
        sa.Column(
            "version", sa.BigInteger(), nullable=False, comment="the session's wanted_version that it brings about"
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("lease_node", sa.Text(), nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "packets",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="datagrams sent, repetitions among them",
        ),
        sa.Column("answers", sa.Text(), server_default="", nullable=False, comment="of each request in turn"),
        sa.Column("answer", sa.Text(), nullable=True, comment="the last word"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("action IN ('profile', 'disconnect')", name=op.f("ck_command_action")),
        sa.CheckConstraint("state IN ('pending', 'acked', 'failed', 'superseded')", name=op.f("ck_command_state")),
        sa.PrimaryKeyConstraint("account_id", "command_id", name=op.f("pk_command")),
    )
    with op.batch_alter_table("command", schema=None) as batch_op:
        batch_op.create_index(
            "ix_command_pending",
            ["not_before"],
            unique=False,
            postgresql_where=sa.text("state = 'pending'"),
            sqlite_where=sa.text("state = 'pending'"),
        )
        batch_op.create_index("ix_command_session", ["account_id", "session_id"], unique=False)
        batch_op.create_index("ix_command_created_at", ["created_at"], unique=False)

    op.create_table(
        "nas",
        sa.Column(
            "nas_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "network",
            sa.Text(),
            nullable=True,
            comment="the packets' source: an address or a prefix; null: any, over TLS",
        ),
        sa.Column(
            "certificate",
            sa.Text(),
            nullable=True,
            comment="a name of its certificate; null: it does not speak over TLS",
        ),
        sa.Column("secret_sealed", sa.LargeBinary(), nullable=False),
        sa.Column(
            "previous_secret_sealed",
            sa.LargeBinary(),
            nullable=True,
            comment="accepted too while a secret is being changed",
        ),
        sa.Column("dialect", sa.Text(), nullable=False),
        sa.Column(
            "coa_address",
            sa.Text(),
            nullable=True,
            comment="where CoA goes; null: to the source of the session's packets",
        ),
        sa.Column(
            "coa_port", sa.Integer(), nullable=True, comment="null: the dialect's port; 0: this NAS takes no CoA"
        ),
        sa.Column("require_message_authenticator", sa.Text(), nullable=False, comment="yes, learn or no"),
        sa.Column("limit_proxy_state", sa.Boolean(), nullable=False),
        sa.Column(
            "counters_reversed",
            sa.Boolean(),
            nullable=True,
            comment="Input means download here; null: as the dialect says",
        ),
        sa.Column(
            "counter_unit", sa.Text(), nullable=True, comment="octets, kB, KiB, MB or MiB; null: as the dialect says"
        ),
        sa.Column(
            "counters_delta",
            sa.Boolean(),
            nullable=True,
            comment="each report counts from the one before; null: as the dialect says",
        ),
        sa.Column(
            "counter_bits",
            sa.Integer(),
            nullable=True,
            comment="32: it has no gigawords and wraps; null: as the dialect says",
        ),
        sa.Column("counter_level", sa.Text(), nullable=True, comment="session or service; null: as the dialect says"),
        sa.Column(
            "enforcement_class", sa.Text(), nullable=True, comment="A, B, C or D at best; null: as the dialect says"
        ),
        sa.Column(
            "coa_message_authenticator",
            sa.Text(),
            nullable=True,
            comment="yes, no or auto; null: as the dialect says",
        ),
        sa.Column(
            "coa_event_timestamp", sa.Text(), nullable=True, comment="yes, no or auto; null: as the dialect says"
        ),
        sa.Column(
            "on_database_down",
            sa.Text(),
            server_default="spool",
            nullable=False,
            comment="its reports: spool or silent",
        ),
        sa.Column(
            "mac_authentication",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="an address alone may be a login",
        ),
        sa.Column(
            "nas_group",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="what zones and conditions of plans may name",
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "revised_at", sa.BigInteger(), nullable=False, comment="moves on with every change; nodes watch the newest"
        ),
        sa.CheckConstraint("network IS NOT NULL OR certificate IS NOT NULL", name=op.f("ck_nas_known_by")),
        sa.CheckConstraint("require_message_authenticator IN ('yes', 'learn', 'no')", name=op.f("ck_nas_require_ma")),
        sa.CheckConstraint("on_database_down IN ('spool', 'silent')", name=op.f("ck_nas_on_database_down")),
        sa.CheckConstraint("counter_unit IN ('octets', 'kB', 'KiB', 'MB', 'MiB')", name=op.f("ck_nas_counter_unit")),
        sa.CheckConstraint("counter_bits IN (32, 64)", name=op.f("ck_nas_counter_bits")),
        sa.CheckConstraint("counter_level IN ('session', 'service')", name=op.f("ck_nas_counter_level")),
        sa.CheckConstraint("enforcement_class IN ('A', 'B', 'C', 'D')", name=op.f("ck_nas_enforcement_class")),
        sa.CheckConstraint("coa_message_authenticator IN ('yes', 'no', 'auto')", name=op.f("ck_nas_coa_ma")),
        sa.CheckConstraint("coa_event_timestamp IN ('yes', 'no', 'auto')", name=op.f("ck_nas_coa_ts")),
        sa.PrimaryKeyConstraint("nas_id", name=op.f("pk_nas")),
        sa.UniqueConstraint("certificate", name=op.f("uq_nas_certificate")),
        sa.UniqueConstraint("name", name=op.f("uq_nas_name")),
        sa.UniqueConstraint("network", name=op.f("uq_nas_network")),
    )
    op.create_table(
        "nas_observation",
        sa.Column("nas_id", sa.BigInteger(), nullable=False),
        sa.Column("nas_address", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False, comment="silent, not-applied, still-alive, limit-not-kept"),
        sa.Column("count", sa.Integer(), nullable=False, comment="how often; silent: in a row"),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("nas_id", "nas_address", "what", name=op.f("pk_nas_observation")),
    )
    op.create_table(
        "nas_restart",
        sa.Column("nas_id", sa.BigInteger(), nullable=False),
        sa.Column("nas_address", sa.Text(), nullable=False),
        sa.Column(
            "event_at", sa.BigInteger(), nullable=False, comment="Accounting-On or -Off: older sessions are gone"
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True, comment="when the last of its sessions was closed"),
        sa.PrimaryKeyConstraint("nas_id", "nas_address", "event_at", name=op.f("pk_nas_restart")),
    )
    op.create_table(
        "notice",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("notice_id", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=True),
        sa.Column("bucket_id", sa.BigInteger(), nullable=True),
        sa.Column("subscriber_id", sa.BigInteger(), nullable=True, comment="whom it is about; null: the whole account"),
        sa.Column("kind", sa.Text(), nullable=False, comment="one of charging.notices.kinds"),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), server_default="{}", nullable=False, comment="JSON: what its text may say"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "routed_at", sa.BigInteger(), nullable=True, comment="when its deliveries were written down; null: not yet"
        ),
        sa.PrimaryKeyConstraint("account_id", "notice_id", name=op.f("pk_notice")),
    )
    with op.batch_alter_table("notice", schema=None) as batch_op:
        batch_op.create_index(
            "ix_notice_unrouted",
            ["created_at"],
            unique=False,
            postgresql_where=sa.text("routed_at IS NULL"),
            sqlite_where=sa.text("routed_at IS NULL"),
        )
        batch_op.create_index("ix_notice_created_at", ["created_at"], unique=False)

    op.create_table(
        "notice_delivery",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("notice_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False, comment="email, or a webhook's name"),
        sa.Column("subscriber_id", sa.BigInteger(), nullable=False, comment="who is told; 0: nobody in particular"),
        sa.Column("urgent", sa.Boolean(), nullable=False, comment="in quiet hours too"),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("give_up_at", sa.BigInteger(), nullable=False, comment="after this it is not tried again"),
        sa.Column("lease_node", sa.Text(), nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("address", sa.Text(), nullable=True, comment="where the last attempt went"),
        sa.Column("error", sa.Text(), nullable=True, comment="why the last attempt did not arrive"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'sent', 'failed')", name=op.f("ck_notice_delivery_state")),
        sa.PrimaryKeyConstraint("account_id", "notice_id", "channel", "subscriber_id", name=op.f("pk_notice_delivery")),
    )
    with op.batch_alter_table("notice_delivery", schema=None) as batch_op:
        batch_op.create_index(
            "ix_notice_delivery_failed",
            ["finished_at"],
            unique=False,
            postgresql_where=sa.text("state = 'failed'"),
            sqlite_where=sa.text("state = 'failed'"),
        )
        batch_op.create_index(
            "ix_notice_delivery_pending",
            ["channel", "not_before"],
            unique=False,
            postgresql_where=sa.text("state = 'pending'"),
            sqlite_where=sa.text("state = 'pending'"),
        )

    op.create_table(
        "orphan_report",
        sa.Column(
            "digest",
            sa.Text(),
            nullable=False,
            comment="of the packet and its NAS: a retransmission is the same orphan",
        ),
        sa.Column("nas_id", sa.BigInteger(), nullable=False),
        sa.Column("nas_address", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("acct_session_id", sa.LargeBinary(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("packet", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "session_id",
            sa.BigInteger(),
            nullable=True,
            comment="the session that it was charged in by an operator; null: to nobody",
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_orphan_report")),
    )
    with op.batch_alter_table("orphan_report", schema=None) as batch_op:
        batch_op.create_index("ix_orphan_report_received_at", ["received_at"], unique=False)

    op.create_table(
        "plan",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "plan_version_id", sa.BigInteger(), nullable=False, comment="the version that new sessions begin with"
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_plan")),
    )
    op.create_table(
        "plan_version",
        sa.Column(
            "plan_version_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=False),
            nullable=False,
        ),
        sa.Column("plan_name", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column(
            "content", sa.Text(), nullable=False, comment="the whole plan as JSON, profiles included; never changed"
        ),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("loaded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("plan_version_id", name=op.f("pk_plan_version")),
        sa.UniqueConstraint("plan_name", "number", name=op.f("uq_plan_version_plan_name_number")),
    )
    op.create_table(
        "removal",
        sa.Column("what", sa.Text(), nullable=False, comment="one of charging.retention"),
        sa.Column(
            "before_at", sa.BigInteger(), nullable=False, comment="what was over before this is gone, or is going"
        ),
        sa.Column("removed", sa.BigInteger(), nullable=False, comment="rows, in all"),
        sa.Column("removed_at", sa.BigInteger(), nullable=False, comment="the newest time"),
        sa.PrimaryKeyConstraint("what", name=op.f("pk_removal")),
    )
    op.create_table(
        "session",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("subscriber_id", sa.BigInteger(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column(
            "plan_version_id", sa.BigInteger(), nullable=False, comment="pinned: every charge can be computed again"
        ),
        sa.Column("nas_id", sa.BigInteger(), nullable=False),
        sa.Column("nas_address", sa.Text(), nullable=False, comment="source of its packets; where CoA goes"),
        sa.Column(
            "root_id",
            sa.BigInteger(),
            nullable=False,
            comment="the session that the Class token names; itself, unless it came later",
        ),
        sa.Column(
            "device_key",
            sa.Text(),
            nullable=False,
            comment="NAS, port and calling station: meets a Start that has no Class",
        ),
        sa.Column(
            "session_key",
            sa.Text(),
            nullable=True,
            comment="NAS, user, Acct-Session-Id, port: finds later reports that have no Class",
        ),
        sa.Column("acct_session_id", sa.LargeBinary(), nullable=True, comment="byte for byte, as CoA must repeat it"),
        sa.Column(
            "nas_username",
            sa.Text(),
            nullable=True,
            comment="what its NAS calls the user, as CoA must; null: it has not reported",
        ),
        sa.Column("calling_station", sa.Text(), nullable=True),
        sa.Column("nas_port_id", sa.Text(), nullable=True),
        sa.Column("framed_address", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("close_reason", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("last_report_at", sa.BigInteger(), nullable=False, comment="when a report arrived, or the login"),
        sa.Column(
            "last_event_at", sa.BigInteger(), nullable=False, comment="when the newest report was true at the NAS"
        ),
        sa.Column("stale_at", sa.BigInteger(), nullable=False, comment="silent until then: closed as stale"),
        sa.Column("interval_seconds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("octets_up", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("octets_down", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("seconds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("offset_up", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("offset_down", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("offset_seconds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("epoch_seconds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("gigawords_seen", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column(
            "rated", sa.Text(), server_default="", nullable=False, comment="per price line: units rated, micros booked"
        ),
        sa.Column("line_no", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("posted_at", sa.BigInteger(), nullable=False),
        sa.Column("leaked_octets", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("wanted", sa.Text(), nullable=False, comment="what the NAS should apply: full, exhausted or cut"),
        sa.Column("wanted_reason", sa.Text(), server_default="", nullable=False, comment="why, where it is not full"),
        sa.Column("wanted_version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed_commands", sa.Integer(), server_default="0", nullable=False),
        sa.Column("acked_version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("acked_at", sa.BigInteger(), nullable=True),
        sa.Column("nas_group", sa.Text(), server_default="", nullable=False),
        sa.Column("called_station", sa.Text(), server_default="", nullable=False),
        sa.Column("realm", sa.Text(), server_default="", nullable=False),
        sa.Column("service_class", sa.Text(), server_default="", nullable=False, comment="Service-Type by name"),
        sa.Column(
            "leased",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="how many addresses of pools its login has",
        ),
        sa.Column(
            "means",
            sa.Text(),
            server_default="profile",
            nullable=False,
            comment="volume, rate, profile, disconnect or time",
        ),
        sa.Column(
            "limit_octets",
            sa.BigInteger(),
            nullable=True,
            comment="up and down, as the marks count: its NAS stops it there",
        ),
        sa.Column("pace_permille", sa.Integer(), server_default="1000", nullable=False, comment="of the plan's rate"),
        sa.Column("asked_interval_seconds", sa.Integer(), server_default="0", nullable=False, comment="0: the plan's"),
        sa.Column("timeout_seconds", sa.BigInteger(), nullable=True, comment="from its start, for the balance's sake"),
        sa.Column("exhausted_at", sa.BigInteger(), nullable=True, comment="since when nothing pays for it"),
        sa.Column(
            "exhausted_until",
            sa.BigInteger(),
            nullable=True,
            comment="when it had its full profile back; null: a report has come since",
        ),
        sa.Column(
            "profile",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="while something pays; empty: the plan's own",
        ),
        sa.Column(
            "acked_profile", sa.Text(), server_default="", nullable=False, comment="the one that the NAS applies"
        ),
        sa.Column(
            "cap", sa.Text(), server_default="", nullable=False, comment="of its plan, that it was exhausted for"
        ),
        sa.Column("review_at", sa.BigInteger(), nullable=True, comment="when the clock may change its profile"),
        sa.Column(
            "removed_line_no",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="no usage line up to this is kept",
        ),
        sa.Column("lines_removed_at", sa.BigInteger(), nullable=True, comment="since when none of its usage lines is"),
        sa.CheckConstraint("state IN ('provisional', 'open', 'closed')", name=op.f("ck_session_state")),
        sa.CheckConstraint("wanted IN ('full', 'exhausted', 'cut')", name=op.f("ck_session_wanted")),
        sa.PrimaryKeyConstraint("account_id", "session_id", name=op.f("pk_session")),
        postgresql_with={"fillfactor": "70"},
    )
    with op.batch_alter_table("session", schema=None) as batch_op:
        batch_op.create_index("ix_session_key", ["session_key"], unique=False)
        batch_op.create_index(
            "ix_session_live",
            ["account_id", "session_id"],
            unique=False,
            postgresql_where=sa.text("closed_at IS NULL"),
            sqlite_where=sa.text("closed_at IS NULL"),
        )
        batch_op.create_index(
            "ix_session_review",
            ["review_at"],
            unique=False,
            postgresql_where=sa.text("closed_at IS NULL AND review_at IS NOT NULL"),
            sqlite_where=sa.text("closed_at IS NULL AND review_at IS NOT NULL"),
        )
        batch_op.create_index("ix_session_root", ["account_id", "root_id"], unique=False)
        batch_op.create_index(
            "ix_session_ended",
            ["closed_at"],
            unique=False,
            postgresql_where=sa.text("closed_at IS NOT NULL AND lines_removed_at IS NULL"),
            sqlite_where=sa.text("closed_at IS NOT NULL AND lines_removed_at IS NULL"),
        )
        batch_op.create_index(
            "ix_session_bare",
            ["closed_at"],
            unique=False,
            postgresql_where=sa.text("lines_removed_at IS NOT NULL"),
            sqlite_where=sa.text("lines_removed_at IS NOT NULL"),
        )

    op.create_table(
        "session_charge",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "bucket_id",
            sa.BigInteger(),
            nullable=False,
            comment="0: shortfall, consumed with nothing left to draw from",
        ),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("accrued", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("posted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("held", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("held_until", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "live", sa.Boolean(), server_default=sa.text("(true)"), nullable=False, comment="its session is not closed"
        ),
        sa.CheckConstraint("held >= 0", name=op.f("ck_session_charge_held")),
        sa.PrimaryKeyConstraint("account_id", "session_id", "bucket_id", "unit", name=op.f("pk_session_charge")),
        postgresql_with={"fillfactor": "70"},
    )
    with op.batch_alter_table("session_charge", schema=None) as batch_op:
        batch_op.create_index(
            "ix_session_charge_live",
            ["account_id", "session_id"],
            unique=False,
            postgresql_where=sa.text("live"),
            sqlite_where=sa.text("live"),
        )

    op.create_table(
        "transfer",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("debit", sa.Text(), nullable=False),
        sa.Column("credit", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=True),
        sa.Column("effective_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False, comment="over this row and the account's previous hash"),
        sa.CheckConstraint("amount > 0", name=op.f("ck_transfer_amount")),
        sa.PrimaryKeyConstraint("account_id", "seq", name=op.f("pk_transfer")),
    )
    op.create_table(
        "tally",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("subscriber_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "name",
            sa.Text(),
            nullable=False,
            comment="rate:<plan>:<line> in whole steps, or bucket:<id> in its unit",
        ),
        sa.Column("period_at", sa.BigInteger(), nullable=False, comment="when the period began; 0: all time"),
        sa.Column("until_at", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "subscriber_id", "name", "period_at", name=op.f("pk_tally")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "usage_line",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("line_no", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("event_at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("octets_up_from", sa.BigInteger(), nullable=False),
        sa.Column("octets_up_to", sa.BigInteger(), nullable=False),
        sa.Column("octets_down_from", sa.BigInteger(), nullable=False),
        sa.Column("octets_down_to", sa.BigInteger(), nullable=False),
        sa.Column("seconds_from", sa.BigInteger(), nullable=False),
        sa.Column("seconds_to", sa.BigInteger(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column(
            "draws", sa.Text(), nullable=False, comment="JSON: [[bucket_id, unit, amount], ...]; bucket 0 is shortfall"
        ),
        sa.Column(
            "free_octets", sa.BigInteger(), nullable=False, comment="used at the exhausted profile's speed: not charged"
        ),
        sa.Column("flags", sa.Text(), nullable=False, comment="suspect, wrap, reset, baseline, estimated"),
        sa.Column("raw", sa.Text(), nullable=False, comment="what the NAS said, where it was not taken as it stood"),
        sa.Column(
            "rated",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="per price line: units and micros that it added",
        ),
        sa.PrimaryKeyConstraint("account_id", "session_id", "line_no", name=op.f("pk_usage_line")),
    )
    op.create_table(
        "subscriber",
        sa.Column(
            "subscriber_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=False),
            nullable=False,
        ),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("plan_name", sa.Text(), nullable=False),
        sa.Column(
            "plan_version_id",
            sa.BigInteger(),
            nullable=True,
            comment="the version that the period runs under; null: the plan's newest",
        ),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("max_sessions", sa.Integer(), nullable=True, comment="null: as the plan says"),
        sa.Column(
            "password_argon2", sa.Text(), nullable=True, comment="PAP only; there is no way back to the clear text"
        ),
        sa.Column("password_sealed", sa.LargeBinary(), nullable=True, comment="encrypted clear text, for CHAP"),
        sa.Column("password_nt_sealed", sa.LargeBinary(), nullable=True, comment="encrypted NT hash, for MS-CHAP"),
        sa.Column("password_sha256", sa.LargeBinary(), nullable=True, comment="of a generated secret"),
        sa.Column(
            "totp_sealed", sa.LargeBinary(), nullable=True, comment="encrypted; null: no one-time code is asked for"
        ),
        sa.Column("totp_step", sa.BigInteger(), nullable=True, comment="of the newest code that was used"),
        sa.Column("email", sa.Text(), nullable=True, comment="where notices go"),
        sa.Column("phone", sa.Text(), nullable=True, comment="+ and digits (E.164), for a gateway"),
        sa.Column("language", sa.Text(), nullable=True, comment="of notices; null: the configuration's"),
        sa.Column(
            "reply_attributes", sa.Text(), nullable=True, comment="JSON: [[name, value], ...], said after the plan's"
        ),
        sa.Column(
            "conditions",
            sa.Text(),
            nullable=True,
            comment="JSON: where, with what and when; in the place of the plan's",
        ),
        sa.Column(
            "stations_learned",
            sa.Text(),
            nullable=True,
            comment="JSON: devices that became the allowed ones by logging in",
        ),
        sa.Column("own_ipv4", sa.Text(), nullable=True, comment="always this one: Framed-IP-Address"),
        sa.Column("own_ipv6", sa.Text(), nullable=True, comment="Framed-IPv6-Address"),
        sa.Column("own_prefix", sa.Text(), nullable=True, comment="Framed-IPv6-Prefix"),
        sa.Column("own_delegated", sa.Text(), nullable=True, comment="Delegated-IPv6-Prefix"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("status IN ('active', 'suspended')", name=op.f("ck_subscriber_status")),
        sa.CheckConstraint(
            "(CASE WHEN password_argon2 IS NULL THEN 0 ELSE 1 END) + (CASE WHEN password_sealed IS NULL THEN 0 ELSE 1 END) + "
            "(CASE WHEN password_nt_sealed IS NULL THEN 0 ELSE 1 END) + "
            "(CASE WHEN password_sha256 IS NULL THEN 0 ELSE 1 END) <= 1",
            name=op.f("ck_subscriber_one_password"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"], name=op.f("fk_subscriber_account_id_account")),
        sa.ForeignKeyConstraint(["plan_name"], ["plan.name"], name=op.f("fk_subscriber_plan_name_plan")),
        sa.PrimaryKeyConstraint("subscriber_id", name=op.f("pk_subscriber")),
        sa.UniqueConstraint("own_delegated", name=op.f("uq_subscriber_own_delegated")),
        sa.UniqueConstraint("own_ipv4", name=op.f("uq_subscriber_own_ipv4")),
        sa.UniqueConstraint("own_ipv6", name=op.f("uq_subscriber_own_ipv6")),
        sa.UniqueConstraint("own_prefix", name=op.f("uq_subscriber_own_prefix")),
        sa.UniqueConstraint("username", name=op.f("uq_subscriber_username")),
    )
    with op.batch_alter_table("subscriber", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_subscriber_account_id"), ["account_id"], unique=False)
        batch_op.create_index(
            "ix_subscriber_expires_at",
            ["expires_at"],
            unique=False,
            postgresql_where=sa.text("expires_at IS NOT NULL"),
            sqlite_where=sa.text("expires_at IS NOT NULL"),
        )
    _make_the_rest()


def _make_the_rest() -> None:
    _make_pools()
    _make_trace()
    _make_subscriptions()
    dialect = op.get_bind().dialect.name
    _make_views(dialect)
    _forbid_changes(dialect)


def _make_pools() -> None:
    op.create_table(
        "pool_range",
        sa.Column("network", sa.Text(), nullable=False, comment="no two overlap"),
        sa.Column("pool_name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("prefix_length", sa.Integer(), nullable=False, comment="of each of its addresses"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('ipv4', 'ipv6', 'prefix', 'delegated')", name=op.f("ck_pool_range_kind")),
        sa.PrimaryKeyConstraint("network", name=op.f("pk_pool_range")),
    )
    op.create_index(op.f("ix_pool_range_pool_name"), "pool_range", ["pool_name"], unique=False)
    op.create_table(
        "pool_lease",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("pool_name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subscriber_id", sa.BigInteger(), nullable=True, comment="it is always his; it is leased to nobody"),
        sa.Column("account_id", sa.BigInteger(), nullable=True, comment="who has it, or had it last"),
        sa.Column("root_id", sa.BigInteger(), nullable=True, comment="the session that his login opened"),
        sa.Column("freed_at", sa.BigInteger(), server_default="0", nullable=True, comment="null: a session has it"),
        sa.ForeignKeyConstraint(["network"], ["pool_range.network"], name=op.f("fk_pool_lease_network_pool_range")),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_pool_lease")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(op.f("ix_pool_lease_network"), "pool_lease", ["network"], unique=False)
    free = sa.text("freed_at IS NOT NULL AND subscriber_id IS NULL")
    op.create_index(
        "ix_pool_lease_free",
        "pool_lease",
        ["pool_name", "kind", "freed_at"],
        unique=False,
        postgresql_where=free,
        sqlite_where=free,
    )
    op.create_index("ix_pool_lease_holder", "pool_lease", ["account_id", "root_id"], unique=False)


def _make_trace() -> None:
    op.create_table(
        "trace",
        sa.Column(
            "trace_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("nas", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="login or report"),
        sa.Column(
            "result",
            sa.Text(),
            nullable=False,
            comment="in a word: accept, challenge, reject, recorded, orphan, silence",
        ),
        sa.Column("microseconds", sa.BigInteger(), nullable=False, comment="from packet to answer"),
        sa.Column("steps", sa.Text(), nullable=False, comment="JSON: [[microseconds since the packet, words], ...]"),
        sa.PrimaryKeyConstraint("trace_id", name=op.f("pk_trace")),
    )
    op.create_index(op.f("ix_trace_received_at"), "trace", ["received_at"], unique=False)
    op.create_table(
        "trace_watch",
        sa.Column(
            "watch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("username", sa.Text(), nullable=True, comment="null: everybody"),
        sa.Column("nas", sa.Text(), nullable=True, comment="null: all of them"),
        sa.Column("until", sa.BigInteger(), nullable=False, comment="whatever fits is written down until then"),
        sa.PrimaryKeyConstraint("watch_id", name=op.f("pk_trace_watch")),
    )


def _make_subscriptions() -> None:
    op.create_table(
        "subscription",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("subscriber_id", sa.BigInteger(), nullable=False),
        sa.Column("plan_name", sa.Text(), nullable=False),
        sa.Column(
            "plan_version_id", sa.BigInteger(), nullable=False, comment="what the period that runs was sold under"
        ),
        sa.Column(
            "next_plan_name", sa.Text(), nullable=True, comment="what the next period is of; null: the same plan"
        ),
        sa.Column(
            "state", sa.Text(), nullable=False, comment="waiting, active, grace, lapsed, paused; ended: no periods"
        ),
        sa.Column("anchor_at", sa.BigInteger(), nullable=False, comment="what the periods' ends are counted from"),
        sa.Column("number", sa.Integer(), nullable=False, comment="how many periods of this plan were paid"),
        sa.Column("start_at", sa.BigInteger(), nullable=False),
        sa.Column("end_at", sa.BigInteger(), nullable=False, comment="of the period that runs, or ran last"),
        sa.Column("price_micros", sa.BigInteger(), nullable=False, comment="what that period cost"),
        sa.Column("reminded", sa.Boolean(), nullable=False, comment="of that end"),
        sa.Column("paused_at", sa.BigInteger(), nullable=True),
        sa.Column(
            "due_at",
            sa.BigInteger(),
            nullable=True,
            comment="when it must be looked at next; null: when money comes in, or somebody says so",
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'active', 'grace', 'lapsed', 'paused', 'ended')", name=op.f("ck_subscription_state")
        ),
        sa.PrimaryKeyConstraint("account_id", "subscriber_id", name=op.f("pk_subscription")),
    )
    op.create_index(
        "ix_subscription_due",
        "subscription",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_table(
        "subscription_period",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("subscriber_id", sa.BigInteger(), nullable=False),
        sa.Column("start_at", sa.BigInteger(), nullable=False),
        sa.Column("end_at", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("plan_version_id", sa.BigInteger(), nullable=False),
        sa.Column("price_micros", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False, comment="of its transfers in the ledger"),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("price_micros >= 0", name=op.f("ck_subscription_period_price")),
        sa.PrimaryKeyConstraint("account_id", "subscriber_id", "start_at", name=op.f("pk_subscription_period")),
    )


_VIEWS = {
    "billing_account": """
        SELECT a.name AS account, a.kind, a.status, a.currency, a.credit_limit_micros,
               coalesce(sum(CASE WHEN b.unit = 'money' THEN b.balance END), 0) AS money_micros,
               coalesce(sum(CASE WHEN b.unit = 'money' THEN b.held END), 0) AS money_held_micros,
               coalesce(sum(CASE WHEN b.unit = 'octets' THEN b.balance END), 0) AS octets,
               coalesce(sum(CASE WHEN b.unit = 'seconds' THEN b.balance END), 0) AS seconds,
               (SELECT count(*) FROM session AS s
                WHERE s.account_id = a.account_id AND s.closed_at IS NULL) AS live_sessions,
               {a.created_at} AS created_at
        FROM account AS a
        LEFT JOIN bucket AS b ON b.account_id = a.account_id AND (b.expires_at IS NULL OR b.expires_at > {now})
        GROUP BY a.account_id, a.name, a.kind, a.status, a.currency, a.credit_limit_micros, a.created_at""",
    "billing_bucket": """
        SELECT a.name AS account, b.bucket_id, b.name, b.unit, b.direction, b.balance, b.held,
               b.balance - b.held AS available, b.granted, b.priority, b.blocker, b.source,
               {b.valid_from} AS valid_from, {b.expires_at} AS expires_at, b.every
        FROM bucket AS b JOIN account AS a ON a.account_id = b.account_id""",
    "billing_session": """
        SELECT a.name AS account, s.username, s.session_id, {text:s.acct_session_id} AS acct_session_id, n.name AS nas,
               s.nas_address, s.nas_port_id, s.calling_station, s.framed_address, p.plan_name AS plan,
               p.number AS plan_version, s.state, {s.created_at} AS created_at, {s.started_at} AS started_at,
               {s.last_report_at} AS last_report_at, {s.closed_at} AS closed_at, s.close_reason,
               s.octets_up, s.octets_down, s.seconds,
               (SELECT coalesce(sum(c.accrued), 0) FROM session_charge AS c
                WHERE c.account_id = s.account_id AND c.session_id = s.session_id AND c.unit = 'money') AS amount_micros,
               s.leaked_octets, s.wanted, s.wanted_version, s.acked_version
        FROM session AS s JOIN account AS a ON a.account_id = s.account_id
        JOIN plan_version AS p ON p.plan_version_id = s.plan_version_id
        LEFT JOIN nas AS n ON n.nas_id = s.nas_id""",
    "billing_usage": """
        SELECT a.name AS account, s.username, u.session_id, u.line_no, u.kind, {u.event_at} AS event_at,
               {u.recorded_at} AS recorded_at, u.octets_up_from, u.octets_up_to, u.octets_down_from, u.octets_down_to,
               u.seconds_from, u.seconds_to, u.octets_up_to - u.octets_up_from AS octets_up,
               u.octets_down_to - u.octets_down_from AS octets_down, u.seconds_to - u.seconds_from AS seconds,
               u.amount_micros, u.draws, u.free_octets, u.flags
        FROM usage_line AS u JOIN account AS a ON a.account_id = u.account_id
        JOIN session AS s ON s.account_id = u.account_id AND s.session_id = u.session_id""",
    "billing_notice": """
        SELECT a.name AS account, n.notice_id, n.kind, s.username, n.session_id, n.bucket_id, n.detail, n.facts,
               {n.created_at} AS created_at, {n.routed_at} AS routed_at,
               (SELECT count(*) FROM notice_delivery AS d WHERE d.account_id = n.account_id
                AND d.notice_id = n.notice_id AND d.state = 'pending') AS waiting,
               (SELECT count(*) FROM notice_delivery AS d WHERE d.account_id = n.account_id
                AND d.notice_id = n.notice_id AND d.state = 'sent') AS sent,
               (SELECT count(*) FROM notice_delivery AS d WHERE d.account_id = n.account_id
                AND d.notice_id = n.notice_id AND d.state = 'failed') AS failed
        FROM notice AS n JOIN account AS a ON a.account_id = n.account_id
        LEFT JOIN subscriber AS s ON s.subscriber_id = n.subscriber_id""",
    "billing_ledger": """
        SELECT a.name AS account, t.seq, t.debit, t.credit, t.unit, t.amount, t.kind, t.reference, t.session_id,
               {t.effective_at} AS effective_at, {t.recorded_at} AS recorded_at, t.actor, t.hash
        FROM transfer AS t JOIN account AS a ON a.account_id = t.account_id""",
    "billing_voucher": """
        SELECT b.name AS batch, v.serial, b.unit, b.amount, b.currency, b.validity,
               CASE WHEN v.state = 'ready' AND b.expires_at <= {now} THEN 'expired' ELSE v.state END AS state,
               {b.expires_at} AS expires_at, a.name AS account, v.reference, v.actor, {v.settled_at} AS settled_at
        FROM voucher AS v JOIN voucher_batch AS b ON b.batch_id = v.batch_id
        LEFT JOIN account AS a ON a.account_id = v.account_id""",
    "billing_top_up_request": """
        SELECT r.request_id, a.name AS account, a.currency, r.amount, r.amount_micros, r.balance_micros, r.status,
               r.answer, {r.created_at} AS created_at, {r.answered_at} AS answered_at
        FROM top_up_request AS r JOIN account AS a ON a.account_id = r.account_id""",
    "billing_subscription": """
        SELECT a.name AS account, u.username, s.plan_name AS plan, p.number AS plan_version, s.next_plan_name AS next_plan,
               s.state, s.number AS period_number, s.price_micros, {s.start_at} AS start_at, {s.end_at} AS end_at,
               {s.paused_at} AS paused_at, {s.due_at} AS due_at
        FROM subscription AS s JOIN account AS a ON a.account_id = s.account_id
        JOIN subscriber AS u ON u.subscriber_id = s.subscriber_id
        JOIN plan_version AS p ON p.plan_version_id = s.plan_version_id
        WHERE s.state <> 'ended'""",
    "billing_period": """
        SELECT a.name AS account, u.username, v.plan_name AS plan, v.number AS plan_version, p.number AS period_number,
               {p.start_at} AS start_at, {p.end_at} AS end_at, a.currency, p.price_micros, p.reference,
               {p.recorded_at} AS recorded_at
        FROM subscription_period AS p JOIN account AS a ON a.account_id = p.account_id
        JOIN plan_version AS v ON v.plan_version_id = p.plan_version_id
        LEFT JOIN subscriber AS u ON u.subscriber_id = p.subscriber_id""",
    "billing_command": """
        SELECT a.name AS account, s.username, c.session_id, c.command_id, n.name AS nas, s.nas_address, c.action,
               c.version, c.reason, c.state, c.attempts, c.packets, c.answers, c.answer, {c.created_at} AS created_at,
               {c.not_before} AS not_before, {c.sent_at} AS sent_at, {c.finished_at} AS finished_at
        FROM command AS c JOIN account AS a ON a.account_id = c.account_id
        JOIN session AS s ON s.account_id = c.account_id AND s.session_id = c.session_id
        LEFT JOIN nas AS n ON n.nas_id = c.nas_id""",
}

# The ledger and the usage lines are written once. Of usage lines retention may remove those that their session's row says.
_REMOVABLE = (
    "SELECT 1 FROM session AS s WHERE s.account_id = OLD.account_id AND s.session_id = OLD.session_id "
    "AND s.closed_at IS NOT NULL AND OLD.line_no <= s.removed_line_no"
)
_WRITTEN_ONCE = ("transfer", "usage_line", "plan_version", "reversal", "subscription_period")


def _make_views(dialect: str) -> None:
    def of(field: str) -> str:
        if dialect == "sqlite":
            return {
                "now": "unixepoch() * 1000",
                "text:s.acct_session_id": "CAST(s.acct_session_id AS TEXT)",
            }.get(field, f"strftime('%Y-%m-%d %H:%M:%f+00:00', {field} / 1000.0, 'unixepoch')")
        return {
            "now": "(extract(epoch FROM now()) * 1000)",
            "text:s.acct_session_id": "encode(s.acct_session_id, 'escape')",
        }.get(field, f"to_timestamp({field} / 1000.0)")

    for name, query in _VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS" + re.sub(r"\{([^}]+)\}", lambda found: of(found[1]), query))


def _forbid_changes(dialect: str) -> None:
    if dialect == "postgresql":
        op.execute(
            "CREATE FUNCTION written_once() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME; END $$"
        )
        op.execute(
            "CREATE FUNCTION usage_line_is_kept() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF EXISTS ({_REMOVABLE}) THEN RETURN OLD; END IF; "
            "RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME; END $$"
        )
    for table in _WRITTEN_ONCE:
        removable = table == "usage_line"
        if dialect == "postgresql":
            op.execute(
                f"CREATE TRIGGER {table}_written_once BEFORE UPDATE{'' if removable else ' OR DELETE'} ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION written_once()"
            )
            if removable:
                op.execute(
                    f"CREATE TRIGGER {table}_kept BEFORE DELETE ON {table} "
                    "FOR EACH ROW EXECUTE FUNCTION usage_line_is_kept()"
                )
            continue
        for event in ("UPDATE", "DELETE"):
            unless = f"WHEN NOT EXISTS ({_REMOVABLE}) " if removable and event == "DELETE" else ""
            op.execute(
                f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} {unless}"
                f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
            )
