"""Send SMS Message: one event per person who is on the list now. Never starts a subscription."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_sms_flow.clients.throttle import Ring, Slot
from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.message import BoundMessage
from airflow_sms_flow.steps.membership import Membership
from airflow_sms_flow.steps.step import Decided, Go, Recipient

#: Where the text stands in an event, and so in the template of our campaign.
MESSAGE_FIELD = "message_body"


@dataclass(frozen=True, slots=True)
class SendStep:
    """`message` None: the campaign of `event_type` carries a text of its own.

    `membership` tells whether somebody is on the list now: see `steps.membership`.

    `on_in_doubt="resend"` repeats a send whose answer was lost, with the same event id: DESIGN's override
    for people who would rather be read twice than not at all.
    """

    client: VibesClient
    membership: Membership
    event_type: str
    message: BoundMessage | None
    on_in_doubt: str = "hold"

    @property
    def effects(self) -> Ring:
        """300 events a second, per company key."""
        return self.client.rings.events

    @property
    def repeats_in_doubt(self) -> bool:
        """Only where the author said so: a text cannot be taken back."""
        return self.on_in_doubt == "resend"

    @property
    def doubt_matters(self) -> bool:
        """Yes: what may have been sent never counts as not sent."""
        return True

    @property
    def late_effect_seconds(self) -> float:
        """None: no look tells whether a text left."""
        return 0.0

    def decide(self, recipient: Recipient, seen: DeliveryState | None) -> Go | Answer:
        """Render the text, then ask whether the person is on the list."""
        data: dict[str, str] = {}
        if self.message is not None:
            rendered = self.message.render(recipient.record)
            if isinstance(rendered, str):
                return Decided(AnswerClass.REFUSED, rendered, "the rendered text cannot be sent")
            data[MESSAGE_FIELD] = rendered.text
        return self.membership.refusal(recipient.phone) or Go(data)

    def act(self, recipient: Recipient, go: Go, slot: Slot, event_id: str) -> Answer:
        """`POST …/events`."""
        return self.client.send_event(self.event_type, event_id, recipient.phone, go.value, slot=slot)

    def blames_request(self, answer: Answer) -> bool:
        """400 and 422: facts A.6 publishes no word that would tell a bad number from a bad request."""
        return answer.kind is AnswerClass.REFUSED and answer.reason in ("bad_request", "unprocessable")
