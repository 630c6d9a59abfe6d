"""The tables. Every column says what it holds; `migrations/` builds them, a test holds the two together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    literal,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

#: The revision in `migrations/versions` that this code reads and writes.
SCHEMA_REVISION = "0001"
VERSION_TABLE = "sms_flow_version"


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes on both databases. SQLite forgets zones; a naive value is refused at the door."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the ledger takes aware datetimes only")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        found: datetime = value
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


# SQLite counts up by itself only for INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: One row, made with the tables: tells this ledger from any other, also from an empty one at its place.
identity = Table("sms_flow_identity", metadata, Column("id", String(32), primary_key=True))

#: One row per thing that may happen once to each number: see `core.delivery.Campaign`.
dispatches = Table(
    "sms_flow_dispatches",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("company_key", String(100), nullable=False),
    Column("campaign_key", String(200), nullable=False),
    Column("step", String(20), nullable=False),
    Column("list_id", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("company_key", "campaign_key", "step", "list_id"),
)

#: One row per number that was ever touched. The primary key is what keeps a second text from leaving.
deliveries = Table(
    "sms_flow_deliveries",
    metadata,
    Column("dispatch_id", _Id, ForeignKey(dispatches.c.id), primary_key=True),
    Column("phone", String(32), primary_key=True),  # E.164, or `lead:<id>` where a person has no number
    Column("event_id", String(32), nullable=False),  # the same at every try, for ever
    Column("fingerprint", String(64), nullable=False),  # of the message, so that a changed text is noticed
    Column("state", String(16), nullable=False),  # core.delivery.DeliveryState
    Column("reason", String(64)),
    Column("claim_id", String(48)),  # which claim may settle this row
    Column("claimer_id", String(32)),  # who made the last move; null for a person or a callback
    Column("expire_at", UtcDateTime),  # until when a pending opt-in may be answered
    Column("updated_at", UtcDateTime, nullable=False),
    sqlite_with_rowid=False,  # kept in the order of its key: a whole dispatch is read in one sweep
)
Index("ix_sms_flow_deliveries_event_id", deliveries.c.event_id)
Index("ix_sms_flow_deliveries_phone", deliveries.c.phone)
#: Written out in SQL wherever it is asked for: databases use the index below only where they can see that.
IS_CLAIMED = deliveries.c.state == literal("claimed", literal_execute=True)
Index(
    "ix_sms_flow_deliveries_claimed",
    deliveries.c.state,
    sqlite_where=text("state = 'claimed'"),
    postgresql_where=text("state = 'claimed'"),
)

#: Who sends: one row per try of a task. Its lease says that it lives.
claimers = Table(
    "sms_flow_claimers",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("dispatch_id", _Id, ForeignKey(dispatches.c.id), nullable=False),
    Column("owner", String(1000), nullable=False),  # dag_id/task_id[map_index]
    Column("run_id", String(250), nullable=False),
    Column("try_number", Integer, nullable=False),
    Column("process", String(300), nullable=False),  # host:pid
    Column("started_at", UtcDateTime, nullable=False),
    Column("lease_until", UtcDateTime, nullable=False),
    # lease_until plus the request timeout: from then on, claims of this claimer are in doubt.
    Column("in_doubt_after", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
)

#: Append-only: each move of each delivery.
history = Table(
    "sms_flow_history",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("dispatch_id", _Id, ForeignKey(dispatches.c.id), nullable=False),
    Column("phone", String(32), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("from_state", String(16)),
    Column("to_state", String(16), nullable=False),
    Column("reason", String(64)),
    Column("why", String(200), nullable=False),
    Column("claimer_id", String(32)),
)
Index("ix_sms_flow_history_phone", history.c.phone)

#: The one event-triggered campaign that carries our texts to a list.
event_campaigns = Table(
    "sms_flow_event_campaigns",
    metadata,
    Column("company_key", String(100), primary_key=True),
    Column("list_id", String(64), primary_key=True),
    Column("event_type", String(100), nullable=False),
    Column("claim_id", String(48)),  # whoever is creating it now
    Column("claimed_until", UtcDateTime),
)

#: What each question that Vibes asked has come to, as polls (and later callbacks) saw it.
opt_ins = Table(
    "sms_flow_opt_ins",
    metadata,
    Column("company_key", String(100), primary_key=True),
    Column("acquisition_campaign_id", String(64), primary_key=True),
    Column("phone", String(32), primary_key=True),
    Column("list_id", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # core.opt_in.OptInState
    Column("expire_at", UtcDateTime, nullable=False),
    Column("absent_since", UtcDateTime),  # first poll of a row that found neither pending nor subscribed
    Column("updated_at", UtcDateTime, nullable=False),
)

#: How the tasks that call one account at once share its rate limits: see `rings`.
ring_shares = Table(
    "sms_flow_ring_shares",
    metadata,
    Column("account", String(250), primary_key=True),  # vibes:<company key>, marketo:<address>
    Column("ring", String(20), primary_key=True),
    Column("holder_id", String(32), primary_key=True),  # one task's client
    Column("slots", Integer, nullable=False),  # that this holder may use, or that are not yet safe again
    Column("lease_until", UtcDateTime, nullable=False),  # from then on others may take them
)
