"""Subscribe to Vibes List: Vibes asks the person, who must answer Y. Nobody counts as subscribed before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from airflow_sms_flow.clients.throttle import Ring, Slot
from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.clients.vibes_records import SubscriptionRecord
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.steps.step import LATE_EFFECT_SECONDS, Go, Recipient

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SubscribeStep:
    """`opted_out`: "refuse" leaves alone whoever left the list before, "ask" asks them, too."""

    client: VibesClient
    list_id: str
    acquisition_campaign_id: str
    opted_out: str = "refuse"
    late_effect_seconds: float = LATE_EFFECT_SECONDS

    @property
    def effects(self) -> Ring:
        """100 calls a second, per company key."""
        return self.client.rings.calls

    @property
    def repeats_in_doubt(self) -> bool:
        """Yes: `decide` looks first whether the lost question was asked."""
        return True

    @property
    def doubt_matters(self) -> bool:
        """Yes: nobody is asked twice."""
        return True

    def decide(self, recipient: Recipient, seen: DeliveryState | None) -> Go | Answer:
        """Look at the person's newest record on the list; after a lost answer, at the pending ones too."""
        person = self.client.find_person(mdn=recipient.phone)
        if person.kind is not AnswerClass.OK:
            return person
        if person.value is not None and (answer := self._by_records(person.value.person_key)) is not None:
            return answer
        # Also of a stranger: Vibes makes the person as it asks, and may find them only later.
        return self._was_asked(recipient) if seen is DeliveryState.IN_DOUBT else Go()

    def _by_records(self, person_key: str) -> Answer | None:
        records = self.client.get_subscriptions(person_key)
        if records.kind is not AnswerClass.OK:
            return records
        newest = newest_record(records.value or (), self.list_id)
        if newest is not None and newest.opt_out_date is None:
            return Answer(AnswerClass.ALREADY, "subscribed", records.detail)
        if newest is not None and self.opted_out == "refuse":
            return Answer(AnswerClass.REFUSED, "opted_out", records.detail)
        return None

    def _was_asked(self, recipient: Recipient) -> Go | Answer:
        pending = self.client.find_pending(self.acquisition_campaign_id, mdn=recipient.phone)
        if pending.kind is not AnswerClass.OK:
            return pending
        if pending.value is None:
            return Go()
        return Answer(AnswerClass.OK, "pending", pending.detail, pending.value)

    def act(self, recipient: Recipient, go: Go, slot: Slot, event_id: str) -> Answer:
        """`POST …/participants`; the Marketo id, where there is one, travels along."""
        return self.client.add_participant(
            self.acquisition_campaign_id,
            mdn=recipient.phone,
            external_person_id=recipient.external_person_id,
            slot=slot,
        )

    def blames_request(self, answer: Answer) -> bool:
        """The vendor's words tell people from requests here."""
        return False


def newest_record(records: Sequence[SubscriptionRecord], list_id: str) -> SubscriptionRecord | None:
    """The record that counts: each opt-in makes a new one (facts A.5)."""
    of_list = [record for record in records if record.list_id == list_id]
    return max(of_list, key=lambda r: (r.opt_in_date or _LONG_AGO, r.opt_out_date is None), default=None)


def check_acquisition_campaign(client: VibesClient, list_id: str, acquisition_campaign_id: str) -> None:
    """Raise `InvalidInput` unless this campaign subscribes people to this list, and is active."""
    client.get_subscription_list(list_id)
    of_list = {campaign.id: campaign for campaign in client.list_acquisition_campaigns_of(list_id)}
    campaign = of_list.get(acquisition_campaign_id)
    if campaign is None:
        known = ", ".join(sorted(of_list)) or "none"
        raise InvalidInput(
            "acquisition_campaign_id",
            acquisition_campaign_id,
            f"is not an acquisition campaign of list {list_id}; the list's own campaigns are: {known}",
        )
    if campaign.status and campaign.status != "active":
        raise InvalidInput(
            "acquisition_campaign_id",
            acquisition_campaign_id,
            f"is {campaign.status}, not active: start it in Vibes, or name another campaign of the list",
        )
