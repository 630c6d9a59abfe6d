"""Send SMS Message: one event per person who is on the list now. Never starts a subscription."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_sms_flow.clients.throttle import Ring, Slot
from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.message import BoundMessage
from airflow_sms_flow.steps.step import Go, Recipient

#: Where the text stands in an event, and so in the template of our campaign.
MESSAGE_FIELD = "message_body"


@dataclass(frozen=True, slots=True)
class SendStep:
    """`message` None: the campaign of `event_type` carries a text of its own.

    `membership="lookup"` looks each person up on the list first; "campaign" trusts the subscription filter
    of the verified campaign alone, which lets 300 people a second through instead of 100.

    `on_in_doubt="resend"` repeats a send whose answer was lost, with the same event id: DESIGN's override
    for people who would rather be read twice than not at all.
    """

    client: VibesClient
    list_id: str
    event_type: str
    message: BoundMessage | None
    on_in_doubt: str = "hold"
    membership: str = "lookup"

    @property
    def effects(self) -> Ring:
        """300 events a second, per company key."""
        return self.client.rings.events

    @property
    def repeats_in_doubt(self) -> bool:
        """Only where the author said so: a text cannot be taken back."""
        return self.on_in_doubt == "resend"

    def decide(self, recipient: Recipient, seen: DeliveryState | None) -> Go | Answer:
        """Render the text, then look the person up on the list, unless the campaign's filter shall do."""
        data: dict[str, str] = {}
        if self.message is not None:
            rendered = self.message.render(recipient.record)
            if isinstance(rendered, str):
                return Answer(AnswerClass.REFUSED, rendered, "the rendered text cannot be sent")
            data[MESSAGE_FIELD] = rendered.text
        if self.membership == "campaign":
            return Go(data)
        found = self.client.find_subscriber(self.list_id, mdn=recipient.phone)
        if found.kind is not AnswerClass.OK:
            return found
        if found.value is None:
            return Answer(AnswerClass.REFUSED, "not_subscribed", found.detail)
        return Go(data)

    def act(self, recipient: Recipient, go: Go, slot: Slot, event_id: str) -> Answer:
        """`POST …/events`."""
        return self.client.send_event(self.event_type, event_id, recipient.phone, go.value, slot=slot)

    def blames_request(self, answer: Answer) -> bool:
        """400 and 422: facts A.6 publishes no word that would tell a bad number from a bad request."""
        return answer.kind is AnswerClass.REFUSED and answer.reason in ("bad_request", "unprocessable")
