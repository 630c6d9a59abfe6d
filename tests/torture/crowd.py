"""Who is to be reached in these tests, what each step should come to for them, and how impatient we are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from airflow_sms_flow.clients.vibes import Patience
from airflow_sms_flow.core.backoff import Backoff
from airflow_sms_flow.core.delivery import StepName
from airflow_sms_flow.core.message import SmsMessage
from airflow_sms_flow.core.rules import AudienceRules
from airflow_sms_flow.ledger import Lease
from airflow_sms_flow.rings import SharingTimes
from airflow_sms_flow.sandbox.numbers import us_number

LIST_ID = "1201"
ACQUISITION_ID = "NEWS1201"
CAMPAIGN_KEY = "torture"
CONCURRENCY = 8
MESSAGE = SmsMessage("Hi {{lead.First Name}}, the sale starts on Friday.")

# All waits of the engine as in production, but a tenth as long, so that a resumed try need not wait for long.
LEASE = Lease(seconds=1.5, answer_seconds=2.0)
SHARING = SharingTimes(renew_every_seconds=0.3, lease_seconds=1.5, answer_seconds=2.0)
TIMEOUT = (0.4, 1.6)
BUSY_SECONDS = 6.0
BACKOFF = Backoff(attempts=4, first_wait_seconds=0.1, longest_wait_seconds=1.0)
CLIENT_PATIENCE = Patience(attempts=8, first_wait=0.1, longest_wait=1.0)
#: How long a faulty vendor keeps silent: longer than anybody waits for it.
SILENCE_SECONDS = 2.5

#: What a step does to a person, as the sandbox records it.
EFFECT = {
    StepName.SEND: "event_accepted",
    StepName.SUBSCRIBE: "opt_in_asked",
    StepName.UNSUBSCRIBE: "unsubscribed",
}
#: Where a person stands, by their place in the audience: of 32, so many are members, have left, or neither.
_MEMBERS = {StepName.SEND: 30, StepName.SUBSCRIBE: 1, StepName.UNSUBSCRIBE: 29}
MEMBER, LEFT, STRANGER = "member", "left", "stranger"
#: Whom a step must reach.
DUE = {StepName.SEND: MEMBER, StepName.SUBSCRIBE: STRANGER, StepName.UNSUBSCRIBE: MEMBER}
#: What becomes of the others.
NOT_DUE = {
    (StepName.SEND, LEFT): ("refused", "not_subscribed"),
    (StepName.SEND, STRANGER): ("refused", "not_subscribed"),
    (StepName.SUBSCRIBE, MEMBER): ("already", "subscribed"),
    (StepName.SUBSCRIBE, LEFT): ("refused", "opted_out"),
    (StepName.UNSUBSCRIBE, LEFT): ("already", "not_subscribed"),
    (StepName.UNSUBSCRIBE, STRANGER): ("already", "not_subscribed"),
}


@dataclass(frozen=True, slots=True)
class Person:
    """One person of the audience."""

    lead_id: int
    phone: str
    first_name: str
    stands: str

    @property
    def text(self) -> str:
        """What they must read, and nobody else's."""
        return MESSAGE.text.replace("{{lead.First Name}}", self.first_name)


def crowd(step: StepName, count: int) -> list[Person]:
    """So many people; the same ones every time."""

    def stands(place: int) -> str:
        if place % 32 < _MEMBERS[step]:
            return MEMBER
        return LEFT if place % 32 == 31 else STRANGER

    return [Person(5000 + n, us_number(n), f"Person{n}", stands(n)) for n in range(count)]


def write_audience(people: Sequence[Person], path: Path) -> None:
    """As Prepare leaves it."""
    from airflow_sms_flow import storage  # brings Airflow along, which a worker does without

    columns: dict[str, Any] = {
        "id": pa.array([one.lead_id for one in people], pa.int64()),
        "phone": [one.phone for one in people],
        "firstName": [one.first_name for one in people],
    }
    metadata = {storage.PREPARED_KEY: AudienceRules().to_json()}
    storage.write_parquet(str(path), [pa.table(columns)], metadata=metadata)


def subscriptions(people: Sequence[Person]) -> list[dict[str, Any]]:
    """What the sandbox must know of them beforehand."""
    return [
        {"phone": one.phone, "list_id": LIST_ID, "opted_out": one.stands == LEFT}
        for one in people
        if one.stands != STRANGER
    ]
