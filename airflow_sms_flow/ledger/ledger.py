"""The ledger as the rest of the package sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, or_, select
from sqlalchemy.engine import URL, Connection, Engine

from airflow_sms_flow.core.delivery import ONCE_PREFIX, Campaign, DeliveryState, StepName
from airflow_sms_flow.core.opt_in import USUAL_WINDOW
from airflow_sms_flow.ledger import changes, database, event_campaigns, inbox, leases, receipts
from airflow_sms_flow.ledger.deliveries import IN_LIST, Move, Mover, apply_moves
from airflow_sms_flow.ledger.known import Known, read_known
from airflow_sms_flow.ledger.leases import Lease, TaskTry
from airflow_sms_flow.ledger.listening import Listening
from airflow_sms_flow.ledger.opt_in_looks import OptInLooks
from airflow_sms_flow.ledger.ring_shares import RingShares
from airflow_sms_flow.ledger.schema import (
    IS_CLAIMED,
    claimers,
    deliveries,
    dispatches,
    history,
    identity,
)
from airflow_sms_flow.ledger.writer import Writer


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One move of one delivery, oldest first in every answer. `from_state` None: its first move."""

    at: datetime
    campaign: Campaign
    from_state: DeliveryState | None
    to_state: DeliveryState
    reason: str | None
    why: str
    owner: str | None
    run_id: str | None
    try_number: int | None


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """Where one delivery stands, as reports need it. `claimer_id` made its last move; `claim_id` is
    the last claim, which is the one that a doubt is about."""

    state: DeliveryState
    reason: str | None
    event_id: str
    updated_at: datetime
    expire_at: datetime | None
    claimer_id: str | None
    claim_id: str | None = None


class Ledger(Listening):
    """One database of deliveries. Threads may share it; each call is a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, address: str | URL, *, busy_seconds: float = database.BUSY_SECONDS) -> Ledger:
        """Open, and create or upgrade the tables. `address` is a SQLAlchemy URL, `sqlite:///…` or
        `postgresql+psycopg://…`. A transaction waits `busy_seconds` for somebody else's lock, then fails.
        Raises `InvalidInput` for another kind, `LedgerError` where it does not answer or is newer than this
        code."""
        engine = database.create_ledger_engine(address, busy_seconds)
        database.upgrade(engine)
        return cls(engine)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @property
    def identity(self) -> str:
        """Tells this ledger from any other, as long as its database lives (32 hex digits)."""
        with database.reading(self._engine, "reading its identity") as connection:
            return str(connection.execute(select(identity.c.id)).scalar_one())

    def now(self) -> datetime:
        """The time of all who share this ledger (aware UTC), which no worker's own clock moves."""
        with database.reading(self._engine, "reading the time") as connection:
            return database.now(connection)

    # -- dispatches ------------------------------------------------------------------------------------

    def dispatch_id(self, campaign: Campaign) -> int:
        """The row of this campaign, made at its first use."""
        with database.writing(self._engine, "opening a dispatch") as connection:
            return _dispatch_id(connection, campaign)

    def known(self, dispatch_id: int, fingerprint: str, *, ask_again_after: timedelta | None = None) -> Known:
        """Everything the ledger knows of this dispatch, in one bulk read. Abandoned claims count as in
        doubt from here on."""
        with database.writing(self._engine, "looking for abandoned claims") as connection:
            leases.find_abandoned_claims(connection, dispatch_id, database.now(connection))
        with database.reading(self._engine, "reading what was done") as connection:
            before = database.now(connection) - ask_again_after if ask_again_after is not None else None
            return read_known(connection, dispatch_id, fingerprint, before)

    def rows_after_claims(self, dispatch_id: int, phones: Sequence[str]) -> dict[str, DeliveryRow]:
        """Like `rows`; abandoned claims of the whole dispatch count as in doubt from here on."""
        with database.writing(self._engine, "looking for abandoned claims") as connection:
            leases.find_abandoned_claims(connection, dispatch_id, database.now(connection))
        return self.rows(dispatch_id, phones)

    def rows(self, dispatch_id: int, phones: Sequence[str]) -> dict[str, DeliveryRow]:
        """Where these numbers stand now; a number without a row is absent."""
        found: dict[str, DeliveryRow] = {}
        columns = [deliveries.c[name] for name in ("phone", *DeliveryRow.__slots__)]
        with database.reading(self._engine, "reading results") as connection:
            for start in range(0, len(phones), IN_LIST):
                query = select(*columns).where(
                    deliveries.c.dispatch_id == dispatch_id,
                    deliveries.c.phone.in_(phones[start : start + IN_LIST]),
                )
                for row in connection.execute(query):
                    found[row.phone] = DeliveryRow(
                        DeliveryState(row.state),
                        row.reason,
                        row.event_id,
                        row.updated_at,
                        row.expire_at,
                        row.claimer_id,
                        row.claim_id,
                    )
        return found

    def campaigns(self, campaign_key: str) -> list[Campaign]:
        """Everything that was begun under this key, oldest first."""
        query = select(dispatches).where(dispatches.c.campaign_key == campaign_key).order_by(dispatches.c.id)
        with database.reading(self._engine, "looking for a campaign key") as connection:
            return [
                Campaign(row.company_key, row.campaign_key, StepName(row.step), row.list_id)
                for row in connection.execute(query)
            ]

    # -- claiming --------------------------------------------------------------------------------------

    @contextmanager
    def writer(self, campaign: Campaign, fingerprint: str, claimer_id: str) -> Iterator[Writer]:
        """The group-committing writer under which one try of one task makes its moves."""
        mover = Mover(self.dispatch_id(campaign), campaign, fingerprint, claimer_id)
        with Writer(self._engine, mover) as writer:
            yield writer

    def register_claimer(self, dispatch_id: int, task_try: TaskTry, lease: Lease) -> str:
        """Begin a try; its claims stand as long as `renew_lease` is called in time."""
        with database.writing(self._engine, "registering this try") as connection:
            return leases.register(connection, dispatch_id, task_try, lease, database.now(connection))

    def renew_lease(self, claimer_id: str, lease: Lease) -> bool:
        """False: the lease had run out. Stop sending."""
        with database.writing(self._engine, "renewing the lease") as connection:
            return leases.renew(connection, claimer_id, lease, database.now(connection))

    def end_claimer(self, claimer_id: str) -> None:
        """End a try: nothing of it is under way any more."""
        with database.writing(self._engine, "ending this try") as connection:
            leases.end(connection, claimer_id, database.now(connection))

    # -- event-triggered campaigns ---------------------------------------------------------------------

    def claim_event_campaign(self, company_key: str, list_id: str, event_type: str, claim_id: str) -> bool:
        """Whether the caller may create the list's event-triggered campaign now; see `event_campaigns`."""
        with database.writing(self._engine, "claiming a campaign") as connection:
            at = database.now(connection)
            return event_campaigns.claim_creation(connection, company_key, list_id, event_type, claim_id, at)

    def release_event_campaign(self, company_key: str, list_id: str, claim_id: str) -> None:
        """Give that right back."""
        with database.writing(self._engine, "releasing a campaign") as connection:
            event_campaigns.release_creation(connection, company_key, list_id, claim_id)

    def opt_in_looks(self, company_key: str, acquisition_campaign_id: str) -> OptInLooks:
        """Who waits for whose answer to this campaign, and when to ask Vibes."""
        return OptInLooks(self._engine, company_key, acquisition_campaign_id)

    # -- rate limits -----------------------------------------------------------------------------------

    @contextmanager
    def ring_shares(self, account: str) -> Iterator[RingShares]:
        """The shares of one account's rate limits, held still for the length of the block."""
        with database.writing(self._engine, "sharing the rate limit") as connection:
            yield RingShares(connection, account, database.now(connection))

    # -- people's questions ----------------------------------------------------------------------------

    def history(self, phone: str) -> list[HistoryEntry]:
        """What happened to this number (E.164), over all campaigns."""
        query = (
            select(history, dispatches, claimers.c.owner, claimers.c.run_id, claimers.c.try_number)
            .join(dispatches, dispatches.c.id == history.c.dispatch_id)
            .outerjoin(claimers, claimers.c.id == history.c.claimer_id)
            .where(history.c.phone == phone)
            .order_by(history.c.id)
        )
        with database.reading(self._engine, "reading the history") as connection:
            return [
                HistoryEntry(
                    row.at,
                    Campaign(row.company_key, row.campaign_key, StepName(row.step), row.list_id),
                    DeliveryState(row.from_state) if row.from_state else None,
                    DeliveryState(row.to_state),
                    row.reason,
                    row.why,
                    row.owner,
                    row.run_id,
                    row.try_number,
                )
                for row in connection.execute(query)
            ]

    def settle_in_doubt(self, campaign_key: str, *, sent: bool, by: str, phone: str | None = None) -> int:
        """What a person found out about the rows in doubt of this key (or one number of it); returns how
        many rows moved. A row settled as not sent is sent by the next try.

        A question of Subscribe's that was sent is pending: its answer is waited for like any other."""
        why = f"settled as {'sent' if sent else 'not sent'} by {by}"[:200]
        moved = 0
        with database.writing(self._engine, "settling rows in doubt") as connection:
            at = database.now(connection)
            query = select(dispatches).where(dispatches.c.campaign_key == campaign_key)
            for row in connection.execute(query).all():
                leases.find_abandoned_claims(connection, row.id, at)
                campaign = Campaign(row.company_key, campaign_key, StepName(row.step), row.list_id)
                in_doubt = select(deliveries).where(
                    deliveries.c.dispatch_id == row.id,
                    deliveries.c.state == DeliveryState.IN_DOUBT.value,
                    *([deliveries.c.phone == phone] if phone is not None else []),
                )
                locked = in_doubt.order_by(deliveries.c.phone).with_for_update()
                for found in connection.execute(locked).all():
                    # The claim stays: should its answer come after all, it knows better than "not sent".
                    move = _word_of_a_person(campaign.step, found, why, at, sent=sent)
                    mover = Mover(row.id, campaign, found.fingerprint)
                    moved += apply_moves(connection, mover, [move], at)[0].moved
        return moved

    def in_doubt_counts(self) -> dict[Campaign, int]:
        """Where somebody has to look: rows in doubt, by campaign; claims that were abandoned among them."""
        claimed = select(deliveries.c.dispatch_id).where(IS_CLAIMED)
        with database.writing(self._engine, "looking for abandoned claims") as connection:
            for dispatch_id in connection.execute(claimed.distinct()).scalars().all():
                leases.find_abandoned_claims(connection, dispatch_id, database.now(connection))
        query = (
            select(dispatches, func.count().label("rows"))
            .join(deliveries, deliveries.c.dispatch_id == dispatches.c.id)
            .where(deliveries.c.state == DeliveryState.IN_DOUBT.value)
            .group_by(dispatches.c.id)
        )
        with database.reading(self._engine, "counting rows in doubt") as connection:
            return {
                Campaign(row.company_key, row.campaign_key, StepName(row.step), row.list_id): row.rows
                for row in connection.execute(query)
            }

    def prune(self, *, history_days: int, rows_days: int | None) -> tuple[int, int]:
        """Forget history and rows older than so many days (None: no rows); returns how many of each. Rows of
        `once:` keys guard for ever and stay, and so do those of Unsubscribe, which are opt-outs; what is in
        doubt stays until somebody settles it.

        Raw callbacks that were heard, and changes, go with the history. Who is on a list, and who left it,
        is never forgotten, nor is where a cursor over the changes stands."""
        with database.writing(self._engine, "pruning") as connection:
            at = database.now(connection)
            old = delete(history).where(history.c.at < at - timedelta(days=history_days))
            forgotten = connection.execute(old).rowcount
            forgotten += inbox.prune(connection, at - timedelta(days=history_days))
            forgotten += changes.prune(connection, at - timedelta(days=history_days))
            if rows_days is None:
                return forgotten, 0
            is_kept = or_(
                dispatches.c.campaign_key.startswith(ONCE_PREFIX),
                dispatches.c.step == StepName.UNSUBSCRIBE.value,
            )
            ever = select(dispatches.c.id).where(is_kept)
            rows = delete(deliveries).where(
                deliveries.c.updated_at < at - timedelta(days=rows_days),
                deliveries.c.dispatch_id.not_in(ever),
                deliveries.c.state.not_in([state.value for state in _UNSETTLED]),
            )
            deleted = connection.execute(rows).rowcount
            receipts.prune(connection, at - timedelta(days=rows_days))
            return forgotten, deleted


_UNSETTLED = (DeliveryState.CLAIMED, DeliveryState.IN_DOUBT)


def _word_of_a_person(step: StepName, row: Any, why: str, at: datetime, *, sent: bool) -> Move:
    if not sent:
        return Move(row.phone, DeliveryState.OPEN, why, "by_hand", claim_id=row.claim_id)
    if step is not StepName.SUBSCRIBE:
        return Move(row.phone, DeliveryState.ACCEPTED, why, "by_hand", claim_id=row.claim_id)
    # Whoever was asked belongs to the audience that the sensor waits for, or nobody looks for the answer.
    # When the question ends is not known; this is never too early.
    until = at + USUAL_WINDOW
    return Move(row.phone, DeliveryState.ACCEPTED, why, "pending", claim_id=row.claim_id, expire_at=until)


def _dispatch_id(connection: Connection, campaign: Campaign) -> int:
    key = {
        "company_key": campaign.company_key,
        "campaign_key": campaign.campaign_key,
        "step": campaign.step.value,
        "list_id": campaign.list_id,
    }
    query = select(dispatches.c.id).where(*(dispatches.c[name] == value for name, value in key.items()))
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_or_leave

        row = insert_or_leave(dispatches).values(**key, created_at=database.now(connection))
        connection.execute(row.on_conflict_do_nothing())
    elif connection.execute(query).scalar_one_or_none() is None:
        connection.execute(insert(dispatches).values(**key, created_at=database.now(connection)))
    return int(connection.execute(query).scalar_one())
