"""A big prepared audience, a ledger that knows most of it already, and a step that answers by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import insert

from airflow_sms_flow import storage
from airflow_sms_flow.clients.throttle import Ring, Slot
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.delivery import Campaign, DeliveryState
from airflow_sms_flow.core.rules import AudienceRules
from airflow_sms_flow.ledger import Lease, Ledger, TaskTry, database
from airflow_sms_flow.ledger.schema import deliveries
from airflow_sms_flow.sandbox.numbers import us_number
from airflow_sms_flow.steps.step import Go, Recipient

_PIECE = 50_000


def write_audience(path: str, people: int) -> None:
    """A prepared file as wide as Marketo's usual fields make it."""
    pieces = (_table(range(start, min(start + _PIECE, people))) for start in range(0, people, _PIECE))
    storage.write_parquet(path, pieces, metadata={storage.PREPARED_KEY: AudienceRules().to_json()})


def _table(numbers: range) -> pa.Table:
    columns: dict[str, Any] = {"id": list(numbers), "phone": [us_number(n) for n in numbers]}
    for name in ("firstName", "lastName", "email", "company", "city", "country", "leadSource"):
        columns[name] = [f"{name} of person {n}" for n in numbers]
    return pa.table(columns)


def fill_ledger(address: str, campaign: Campaign, fingerprint: str, people: int) -> None:
    """Everybody below `people` was accepted by an earlier try."""
    ledger, engine = Ledger.open(address), database.create_ledger_engine(address)
    dispatch_id = ledger.dispatch_id(campaign)
    claimer_id = ledger.register_claimer(dispatch_id, TaskTry(), Lease())
    ledger.end_claimer(claimer_id)
    ledger.close()
    row = {"dispatch_id": dispatch_id, "fingerprint": fingerprint, "state": DeliveryState.ACCEPTED.value}
    row |= {"reason": "accepted", "claim_id": claimer_id, "claimer_id": claimer_id}
    row |= {"updated_at": datetime.now(UTC)}
    with engine.begin() as connection:
        for start in range(0, people, _PIECE):
            phones = [us_number(n) for n in range(start, min(start + _PIECE, people))]
            rows = [row | {"phone": phone, "event_id": campaign.event_id(phone)} for phone in phones]
            connection.execute(insert(deliveries), rows)
    engine.dispose()


class InstantStep:
    """Accepts everybody without a request, and remembers when the first one came."""

    repeats_in_doubt = False
    doubt_matters = True

    def __init__(self, at_first: Callable[[], None] = lambda: None) -> None:
        self.effects = Ring(1_000_000)
        self.first_at = 0.0
        self._at_first = at_first

    def decide(self, recipient: Recipient, seen: DeliveryState | None) -> Go | Answer:
        """Always go."""
        return Go()

    def act(self, recipient: Recipient, go: Go, slot: Slot, event_id: str) -> Answer:
        """Accepted."""
        if not self.first_at:
            self.first_at = time.monotonic()
            self._at_first()
        slot.give_back()
        return Answer(AnswerClass.OK, "accepted")

    def blames_request(self, answer: Answer) -> bool:
        """Never."""
        return False
