"""What a callback, a poll or a file tells about one person: small, dated facts, whatever order they come in.

Every time is aware UTC and is that of the event at Vibes, not that of the telling. Numbers are E.164.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from airflow_sms_flow.core.receipts import Bounce, Stage

#: So far the vendor's clock and ours may be apart.
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody is on the list since `at`."""

    list_id: str
    phone: str
    at: datetime
    reason: str | None = None
    lead_id: str | None = None  #: external_person_id, the Marketo id


@dataclass(frozen=True, slots=True)
class Left:
    """Somebody is off the list since `at`. `reason`: the vendor's `opt_out_reason` in lower case."""

    list_id: str
    phone: str
    at: datetime
    reason: str | None = None
    lead_id: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Vibes asked somebody at `at`, and waits for the answer until `expire_at`."""

    campaign_id: str
    phone: str
    expire_at: datetime
    at: datetime
    lead_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to that. `expire_at` tells which question it was, where Vibes said so."""

    campaign_id: str
    phone: str
    confirmed: bool
    at: datetime
    expire_at: datetime | None = None
    lead_id: str | None = None


@dataclass(frozen=True, slots=True)
class EventStage:
    """How far the event with this id (ours) had come at `at`. `bounce` only where `stage` is BOUNCED."""

    event_id: str
    stage: Stage
    at: datetime
    bounce: Bounce | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Replied:
    """Somebody wrote to a code, and Vibes had no use for it. The text stays in the raw callback."""

    code: str
    phone: str
    at: datetime


Fact = Joined | Left | Asked | Answered | EventStage | Replied


class ChangeKind(StrEnum):
    """What campaigns are triggered by."""

    SUBSCRIBED = "subscribed"
    UNSUBSCRIBED = "unsubscribed"
    BOUNCED = "bounced"
    REPLIED = "replied"

    @property
    def scope(self) -> str:
        """What the `scope_id` of such a change is: a list's id, or a source code."""
        return "code" if self is ChangeKind.REPLIED else "list"
