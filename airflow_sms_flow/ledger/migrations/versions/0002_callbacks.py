"""What comes back: the callbacks' inbox, memberships, changes, receipts."""

import sqlalchemy as sa
from alembic import op

from airflow_sms_flow.ledger.schema import UtcDateTime

revision = "0002"
down_revision = "0001"

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add tables and columns; nothing that stands is changed."""
    op.add_column("sms_flow_opt_ins", sa.Column("asked_at", UtcDateTime))
    op.add_column("sms_flow_opt_ins", sa.Column("answered_at", UtcDateTime))
    op.create_index("ix_sms_flow_opt_ins_phone", "sms_flow_opt_ins", ["phone"])
    _prepare_looks()
    _create_campaign_lists()
    _create_inbox()
    _create_members()
    _create_changes()
    _create_receipts()


def _prepare_looks() -> None:
    op.add_column("sms_flow_opt_ins", sa.Column("look_at", UtcDateTime))
    op.add_column("sms_flow_opt_ins", sa.Column("look_seconds", sa.Integer))
    campaign = ["company_key", "acquisition_campaign_id"]
    op.create_index("ix_sms_flow_opt_ins_look_at", "sms_flow_opt_ins", [*campaign, "state", "look_at"])
    op.create_index("ix_sms_flow_opt_ins_updated_at", "sms_flow_opt_ins", [*campaign, "updated_at"])
    op.create_table(
        "sms_flow_opt_in_pace",
        sa.Column("company_key", sa.String(100), nullable=False),
        sa.Column("acquisition_campaign_id", sa.String(64), nullable=False),
        sa.Column("minute_began", UtcDateTime, nullable=False),
        sa.Column("looks", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("company_key", "acquisition_campaign_id", name="pk_sms_flow_opt_in_pace"),
    )


def _create_campaign_lists() -> None:
    """Filled with what the opt-ins know already."""
    op.create_table(
        "sms_flow_campaign_lists",
        sa.Column("company_key", sa.String(100), nullable=False),
        sa.Column("acquisition_campaign_id", sa.String(64), nullable=False),
        sa.Column("list_id", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("company_key", "acquisition_campaign_id", name="pk_sms_flow_campaign_lists"),
    )
    op.create_index("ix_sms_flow_campaign_lists_list", "sms_flow_campaign_lists", ["company_key", "list_id"])
    op.execute(
        "INSERT INTO sms_flow_campaign_lists (company_key, acquisition_campaign_id, list_id) "
        "SELECT company_key, acquisition_campaign_id, MAX(list_id) FROM sms_flow_opt_ins "
        "GROUP BY company_key, acquisition_campaign_id"
    )


def _create_inbox() -> None:
    op.create_table(
        "sms_flow_callbacks",
        sa.Column("id", _id, nullable=False),
        sa.Column("dedupe_key", sa.String(200), nullable=False),
        sa.Column("company_key", sa.String(100), nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("heard_at", UtcDateTime),
        sa.Column("outcome", sa.String(32)),
        sa.Column("callback_type", sa.String(64)),
        sa.Column("phone", sa.String(32)),
        sa.PrimaryKeyConstraint("id", name="pk_sms_flow_callbacks"),
        sa.UniqueConstraint("dedupe_key", name="uq_sms_flow_callbacks_dedupe_key"),
    )
    unheard = sa.text("heard_at IS NULL")
    op.create_index(
        "ix_sms_flow_callbacks_unheard",
        "sms_flow_callbacks",
        ["id"],
        sqlite_where=unheard,
        postgresql_where=unheard,
    )
    op.create_index("ix_sms_flow_callbacks_phone", "sms_flow_callbacks", ["phone"])
    op.create_index("ix_sms_flow_callbacks_received_at", "sms_flow_callbacks", ["received_at"])


def _create_members() -> None:
    op.create_table(
        "sms_flow_members",
        sa.Column("company_key", sa.String(100), nullable=False),
        sa.Column("list_id", sa.String(64), nullable=False),
        sa.Column("phone", sa.String(32), nullable=False),
        sa.Column("joined_at", UtcDateTime),
        sa.Column("left_at", UtcDateTime),
        sa.Column("subscribed", sa.Boolean, nullable=False),
        sa.Column("since", UtcDateTime, nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("company_key", "list_id", "phone", name="pk_sms_flow_members"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_sms_flow_members_phone", "sms_flow_members", ["phone"])
    op.create_table(
        "sms_flow_syncs",
        sa.Column("company_key", sa.String(100), nullable=False),
        sa.Column("list_id", sa.String(64), nullable=False),
        sa.Column("as_of", UtcDateTime, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("synced_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("company_key", "list_id", name="pk_sms_flow_syncs"),
    )


def _create_changes() -> None:
    op.create_table(
        "sms_flow_changes",
        sa.Column("id", _id, nullable=False),
        sa.Column("company_key", sa.String(100), nullable=False),
        sa.Column("scope", sa.String(8), nullable=False),
        sa.Column("scope_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("phone", sa.String(32), nullable=False),
        sa.Column("lead_id", sa.String(128)),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("noted_at", UtcDateTime, nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("source", sa.String(20), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sms_flow_changes"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_sms_flow_changes_scope", "sms_flow_changes", ["company_key", "kind", "scope_id", "id"]
    )
    op.create_index("ix_sms_flow_changes_phone", "sms_flow_changes", ["phone"])
    op.create_table(
        "sms_flow_takes",
        sa.Column("company_key", sa.String(100), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("scope_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("owner", sa.String(1000), nullable=False),
        sa.Column("from_id", sa.BigInteger, nullable=False),
        sa.Column("to_id", sa.BigInteger, nullable=False),
        sa.Column("taken_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("company_key", "kind", "scope_id", "name", "owner", name="pk_sms_flow_takes"),
    )


def _create_receipts() -> None:
    op.create_table(
        "sms_flow_receipts",
        sa.Column("event_id", sa.String(32), nullable=False),
        sa.Column("dispatch_id", _id, nullable=False),
        sa.Column("company_key", sa.String(100), nullable=False),
        sa.Column("stage", sa.String(20), nullable=False),
        sa.Column("bounce", sa.String(8)),
        sa.Column("reason", sa.String(64)),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("is_waiting", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_sms_flow_receipts"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_sms_flow_receipts_dispatch", "sms_flow_receipts", ["dispatch_id", "stage", "bounce"])
    waiting = sa.text("is_waiting")
    op.create_index(
        "ix_sms_flow_receipts_waiting",
        "sms_flow_receipts",
        ["event_id"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
