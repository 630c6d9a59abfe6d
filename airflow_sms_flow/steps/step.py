"""What the engine asks of a flow step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_sms_flow.clients.throttle import Ring, Slot
from airflow_sms_flow.core.answers import Answer
from airflow_sms_flow.core.delivery import DeliveryState

#: How long after a lost answer its request may still take effect, as far as we trust Vibes.
LATE_EFFECT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Recipient:
    """One person of the audience. `phone` is E.164, or `lead:<id>` for somebody without a number.
    `record` holds what the step needs of the audience's columns."""

    lead_id: int
    phone: str
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def external_person_id(self) -> str | None:
        """The Marketo id as Vibes keeps it; None for whom Marketo does not know: `new_people` numbers them
        below zero, each file anew, and at Vibes such a number would stand for somebody else tomorrow."""
        return str(self.lead_id) if self.lead_id > 0 else None


@dataclass(frozen=True, slots=True)
class Go:
    """Act on this recipient, with `value` as the step found it. `looked` False: found without a call, by a
    step that makes one for others."""

    value: Any = None
    looked: bool = True


@dataclass(frozen=True, slots=True)
class Decided(Answer):
    """An answer of our own: no vendor was asked, so that it says nothing of how they are."""


class Step(Protocol):
    """What to ask, how to read the answer, whether a repeat is harmless.

    Both methods are called from many threads at once and never raise for what a vendor answers.
    """

    @property
    def effects(self) -> Ring:
        """The rate limit that `act` counts under."""
        ...

    @property
    def repeats_in_doubt(self) -> bool:
        """Whether a row in doubt may be tried again by itself."""
        ...

    @property
    def doubt_matters(self) -> bool:
        """Whether it makes a difference later that an earlier request may have happened: a text cannot be
        taken back, while leaving a list twice is leaving it once."""
        ...

    @property
    def late_effect_seconds(self) -> float:
        """How long after a lost answer its request may still take effect: where `decide` looks whether it
        did, a sooner look proves nothing."""
        ...

    def decide(self, recipient: Recipient, seen: DeliveryState | None) -> Go | Answer:
        """Read, and either go or answer at once. `seen` is where the delivery stands as far as we know."""
        ...

    def act(self, recipient: Recipient, go: Go, slot: Slot, event_id: str) -> Answer:
        """The one request with an effect, made under `slot`, which it gives back."""
        ...

    def blames_request(self, answer: Answer) -> bool:
        """Whether this refusal may be about our request rather than about the recipient."""
        ...
