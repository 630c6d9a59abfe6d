"""The tables. Every column says what it holds; `migrations/` builds them, a test holds the two together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    literal,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

#: The revision in `migrations/versions` that this code reads and writes.
SCHEMA_REVISION = "0002"
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

#: What each question that Vibes asked has come to, as polls and callbacks saw it: see `core.opt_in`.
opt_ins = Table(
    "sms_flow_opt_ins",
    metadata,
    Column("company_key", String(100), primary_key=True),
    Column("acquisition_campaign_id", String(64), primary_key=True),
    Column("phone", String(32), primary_key=True),
    Column("list_id", String(64), nullable=False),  # "" as long as only callbacks told of it: they do not say
    Column("state", String(16), nullable=False),  # core.opt_in.OptInState
    Column("expire_at", UtcDateTime, nullable=False),
    Column("absent_since", UtcDateTime),  # first poll of a row that found neither pending nor subscribed
    Column("updated_at", UtcDateTime, nullable=False),
    Column("asked_at", UtcDateTime),  # event time of the newest question that a callback told
    Column("answered_at", UtcDateTime),  # event time of the answer that made this state; null for a poll's
    Column(
        "look_at", UtcDateTime
    ),  # when to ask Vibes next; null: decided, or nobody waits: see `opt_in_looks`
    Column("look_seconds", Integer),  # how far that is from the look before
)
Index("ix_sms_flow_opt_ins_phone", opt_ins.c.phone)
Index(
    "ix_sms_flow_opt_ins_look_at",
    opt_ins.c.company_key,
    opt_ins.c.acquisition_campaign_id,
    opt_ins.c.state,
    opt_ins.c.look_at,
)
Index(
    "ix_sms_flow_opt_ins_updated_at",
    opt_ins.c.company_key,
    opt_ins.c.acquisition_campaign_id,
    opt_ins.c.updated_at,
)

#: How many people of a campaign were looked up in the minute that is being counted, by all who wait.
opt_in_pace = Table(
    "sms_flow_opt_in_pace",
    metadata,
    Column("company_key", String(100), primary_key=True),
    Column("acquisition_campaign_id", String(64), primary_key=True),
    Column("minute_began", UtcDateTime, nullable=False),
    Column("looks", Integer, nullable=False),
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

#: Which list an acquisition campaign asks for: callbacks name the campaign alone.
campaign_lists = Table(
    "sms_flow_campaign_lists",
    metadata,
    Column("company_key", String(100), primary_key=True),
    Column("acquisition_campaign_id", String(64), primary_key=True),
    Column("list_id", String(64), nullable=False),
)
Index("ix_sms_flow_campaign_lists_list", campaign_lists.c.company_key, campaign_lists.c.list_id)

#: The inbox: each callback as it came in, answered 2XX once it stands here, heard later by anybody.
callbacks = Table(
    "sms_flow_callbacks",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("dedupe_key", String(200), nullable=False),  # core.callbacks.dedupe_key
    Column("company_key", String(100), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("source", String(64), nullable=False),  # the address that it came from
    Column("headers", Text, nullable=False),  # JSON
    Column("body", LargeBinary, nullable=False),
    Column("heard_at", UtcDateTime),
    Column("outcome", String(32)),  # core.callbacks.Outcome, once heard
    Column("callback_type", String(64)),
    Column("phone", String(32)),
    UniqueConstraint("dedupe_key"),
)
Index(
    "ix_sms_flow_callbacks_unheard",
    callbacks.c.id,
    sqlite_where=text("heard_at IS NULL"),
    postgresql_where=text("heard_at IS NULL"),
)
Index("ix_sms_flow_callbacks_phone", callbacks.c.phone)
Index("ix_sms_flow_callbacks_received_at", callbacks.c.received_at)

#: Who is on a list and who left it, as far as callbacks, polls and extracts told. Never pruned.
members = Table(
    "sms_flow_members",
    metadata,
    Column("company_key", String(100), primary_key=True),
    Column("list_id", String(64), primary_key=True),
    Column("phone", String(32), primary_key=True),
    # The newest of each kind. The later one counts; at the same instant, having left.
    Column("joined_at", UtcDateTime),
    Column("left_at", UtcDateTime),
    Column("subscribed", Boolean, nullable=False),
    Column("since", UtcDateTime, nullable=False),  # event time of what counts
    Column("reason", String(64)),  # why they left, in the vendor's words
    Column("source", String(20), nullable=False),  # callback, extract, poll
    Column("updated_at", UtcDateTime, nullable=False),
    sqlite_with_rowid=False,
)
Index("ix_sms_flow_members_phone", members.c.phone)

#: The tape that campaigns are triggered from: every turn of a membership, every new bounce and reply. Rows
#: become visible in the order of their ids (see `ledger.changes`), so that a cursor never passes one by.
changes = Table(
    "sms_flow_changes",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("company_key", String(100), nullable=False),
    Column("scope", String(8), nullable=False),  # list or code
    Column("scope_id", String(64), nullable=False),
    Column("kind", String(16), nullable=False),  # core.changes.ChangeKind
    Column("phone", String(32), nullable=False),
    Column("lead_id", String(128)),  # external_person_id
    Column("at", UtcDateTime, nullable=False),  # event time
    Column("noted_at", UtcDateTime, nullable=False),
    Column("reason", String(64)),
    Column("source", String(20), nullable=False),
    sqlite_autoincrement=True,  # an id that was pruned must not come back: cursors are past it
)
Index(
    "ix_sms_flow_changes_scope",
    changes.c.company_key,
    changes.c.kind,
    changes.c.scope_id,
    changes.c.id,
)
Index("ix_sms_flow_changes_phone", changes.c.phone)

#: Which part of the tape went to whom. A cursor is (company, kind, scope, name); its owners share it.
takes = Table(
    "sms_flow_takes",
    metadata,
    Column("company_key", String(100), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("scope_id", String(64), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("owner", String(1000), primary_key=True),
    Column("from_id", BigInteger, nullable=False),  # exclusive
    Column("to_id", BigInteger, nullable=False),  # inclusive
    Column("taken_at", UtcDateTime, nullable=False),
)

#: How far each of our texts has come, as the vendor told: see `core.receipts`.
receipts = Table(
    "sms_flow_receipts",
    metadata,
    Column("event_id", String(32), primary_key=True),  # ours
    Column("dispatch_id", _Id, nullable=False),
    Column("company_key", String(100), nullable=False),
    Column("stage", String(20), nullable=False),  # core.receipts.Stage
    Column("bounce", String(8)),  # soft or hard
    Column("reason", String(64)),
    Column("at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # The delivery does not know yet what this row proves: its claimer was still waiting for an answer.
    Column("is_waiting", Boolean, nullable=False),
    sqlite_with_rowid=False,
)
Index(
    "ix_sms_flow_receipts_dispatch",  # a campaign's report is counted by it alone
    receipts.c.dispatch_id,
    receipts.c.stage,
    receipts.c.bounce,
)
Index(
    "ix_sms_flow_receipts_waiting",
    receipts.c.event_id,
    sqlite_where=text("is_waiting"),
    postgresql_where=text("is_waiting"),
)

#: When the mirror of a list was last corrected from the vendor's extract.
syncs = Table(
    "sms_flow_syncs",
    metadata,
    Column("company_key", String(100), primary_key=True),
    Column("list_id", String(64), primary_key=True),
    Column("as_of", UtcDateTime, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("synced_at", UtcDateTime, nullable=False),
)
