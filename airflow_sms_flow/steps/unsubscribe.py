"""Unsubscribe from Vibes List: takes each person off, and spares nobody, the blocklisted least of all."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_sms_flow.clients.throttle import Ring, Slot
from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.errors import Stopped
from airflow_sms_flow.ledger.known import LEAD_PREFIX
from airflow_sms_flow.steps.step import Decided, Go, Recipient


@dataclass(frozen=True, slots=True)
class UnsubscribeStep:
    """By number where there is one, else by the Marketo id that Vibes keeps as external person id."""

    client: VibesClient
    list_id: str

    @property
    def effects(self) -> Ring:
        """100 calls a second, per company key."""
        return self.client.rings.calls

    @property
    def repeats_in_doubt(self) -> bool:
        """Leaving twice is leaving once."""
        return True

    @property
    def doubt_matters(self) -> bool:
        """No, for the same reason."""
        return False

    @property
    def late_effect_seconds(self) -> float:
        """None, for the same reason."""
        return 0.0

    def decide(self, recipient: Recipient, seen: DeliveryState | None) -> Go | Answer:
        """Look the number up on the list; without a number there is nothing to look up."""
        if recipient.phone.startswith(LEAD_PREFIX):
            if recipient.external_person_id is None:
                why = "has neither a number nor a Marketo id"
                return Decided(AnswerClass.REFUSED, "unknown_person", why)
            return Go(looked=False)
        found = self.client.find_subscriber(self.list_id, mdn=recipient.phone)
        if found.kind is not AnswerClass.OK:
            return found
        if found.value is None:
            return Answer(AnswerClass.ALREADY, "not_subscribed", found.detail)
        return Go(found.value.person_key)

    def act(self, recipient: Recipient, go: Go, slot: Slot, event_id: str) -> Answer:
        """`DELETE …/subscriptions/{list}`. Its 404 does not say whether the person or the subscription is
        missing (facts A.5), so it is believed only after a second look."""
        if go.value is None:
            answer = self.client.unsubscribe(
                self.list_id, external_person_id=recipient.external_person_id, slot=slot
            )
            if answer.kind is AnswerClass.ALREADY:
                return Answer(AnswerClass.REFUSED, "unknown_person", answer.detail)
            return answer
        answer = self.client.unsubscribe(self.list_id, person_key=go.value, slot=slot)
        if answer.kind is not AnswerClass.ALREADY:
            return answer
        try:
            again = self.client.find_subscriber(self.list_id, mdn=recipient.phone)
        except Stopped as error:  # raised from here it would leave the row claimed, though all is answered
            return Answer(AnswerClass.RETRY, "stopped", str(error))
        if again.kind is AnswerClass.OK and again.value is not None:
            return Answer(AnswerClass.RETRY, "still_subscribed", answer.detail)
        return answer if again.kind is AnswerClass.OK else again

    def blames_request(self, answer: Answer) -> bool:
        """A person found a moment ago and refused now is about that person."""
        return False
