"""The first schema."""

import uuid

import sqlalchemy as sa
from alembic import op

from airflow_sms_flow.ledger.schema import UtcDateTime

revision = "0001"
down_revision = None

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create every table."""
    identity = op.create_table(
        "sms_flow_identity",
        sa.Column("id", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sms_flow_identity"),
    )
    op.bulk_insert(identity, [{"id": uuid.uuid4().hex}])
    op.create_table(
        "sms_flow_dispatches",
        sa.Column("id", _id, nullable=False),
        sa.Column("company_key", sa.String(100), nullable=False),
        sa.Column("campaign_key", sa.String(200), nullable=False),
        sa.Column("step", sa.String(20), nullable=False),
        sa.Column("list_id", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sms_flow_dispatches"),
        sa.UniqueConstraint(
            "company_key",
            "campaign_key",
            "step",
            "list_id",
            name="uq_sms_flow_dispatches_company_key_campaign_key_step_list_id",
        ),
    )
    op.create_table(
        "sms_flow_deliveries",
        sa.Column("dispatch_id", _id, nullable=False),
        sa.Column("phone", sa.String(32), nullable=False),
        sa.Column("event_id", sa.String(32), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("claim_id", sa.String(48)),
        sa.Column("claimer_id", sa.String(32)),
        sa.Column("expire_at", UtcDateTime),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("dispatch_id", "phone", name="pk_sms_flow_deliveries"),
        sa.ForeignKeyConstraint(
            ["dispatch_id"], ["sms_flow_dispatches.id"], name="fk_sms_flow_deliveries_dispatch_id"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_sms_flow_deliveries_event_id", "sms_flow_deliveries", ["event_id"])
    op.create_index("ix_sms_flow_deliveries_phone", "sms_flow_deliveries", ["phone"])
    claimed = sa.text("state = 'claimed'")
    op.create_index(
        "ix_sms_flow_deliveries_claimed",
        "sms_flow_deliveries",
        ["state"],
        sqlite_where=claimed,
        postgresql_where=claimed,
    )
    op.create_table(
        "sms_flow_claimers",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("dispatch_id", _id, nullable=False),
        sa.Column("owner", sa.String(1000), nullable=False),
        sa.Column("run_id", sa.String(250), nullable=False),
        sa.Column("try_number", sa.Integer, nullable=False),
        sa.Column("process", sa.String(300), nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("lease_until", UtcDateTime, nullable=False),
        sa.Column("in_doubt_after", UtcDateTime, nullable=False),
        sa.Column("ended_at", UtcDateTime),
        sa.PrimaryKeyConstraint("id", name="pk_sms_flow_claimers"),
        sa.ForeignKeyConstraint(
            ["dispatch_id"], ["sms_flow_dispatches.id"], name="fk_sms_flow_claimers_dispatch_id"
        ),
    )
    op.create_table(
        "sms_flow_history",
        sa.Column("id", _id, nullable=False),
        sa.Column("dispatch_id", _id, nullable=False),
        sa.Column("phone", sa.String(32), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("from_state", sa.String(16)),
        sa.Column("to_state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("why", sa.String(200), nullable=False),
        sa.Column("claimer_id", sa.String(32)),
        sa.PrimaryKeyConstraint("id", name="pk_sms_flow_history"),
        sa.ForeignKeyConstraint(
            ["dispatch_id"], ["sms_flow_dispatches.id"], name="fk_sms_flow_history_dispatch_id"
        ),
    )
    op.create_index("ix_sms_flow_history_phone", "sms_flow_history", ["phone"])
    op.create_table(
        "sms_flow_event_campaigns",
        sa.Column("company_key", sa.String(100), nullable=False),
        sa.Column("list_id", sa.String(64), nullable=False),
        sa.Column("event_type", sa.String(100), nullable=False),
        sa.Column("claim_id", sa.String(48)),
        sa.Column("claimed_until", UtcDateTime),
        sa.PrimaryKeyConstraint("company_key", "list_id", name="pk_sms_flow_event_campaigns"),
    )
    op.create_table(
        "sms_flow_opt_ins",
        sa.Column("company_key", sa.String(100), nullable=False),
        sa.Column("acquisition_campaign_id", sa.String(64), nullable=False),
        sa.Column("phone", sa.String(32), nullable=False),
        sa.Column("list_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("expire_at", UtcDateTime, nullable=False),
        sa.Column("absent_since", UtcDateTime),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint(
            "company_key", "acquisition_campaign_id", "phone", name="pk_sms_flow_opt_ins"
        ),
    )
    op.create_table(
        "sms_flow_ring_shares",
        sa.Column("account", sa.String(250), nullable=False),
        sa.Column("ring", sa.String(20), nullable=False),
        sa.Column("holder_id", sa.String(32), nullable=False),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("lease_until", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("account", "ring", "holder_id", name="pk_sms_flow_ring_shares"),
    )
