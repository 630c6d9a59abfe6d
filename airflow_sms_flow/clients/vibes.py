"""The Vibes Platform API (facts A): one class over one session.

Methods about one person give an `Answer` and never raise for what Vibes or the network does: repeating,
backing off and booking are the caller's. Methods about lists and campaigns are asked once per task: they
repeat passing faults themselves and raise what cannot be mended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

from airflow_sms_flow.clients import vibes_answers as answers
from airflow_sms_flow.clients._patience import Patience, value_or_raise
from airflow_sms_flow.clients._vibes_account import VibesRings, many
from airflow_sms_flow.clients.throttle import Slot
from airflow_sms_flow.clients.vibes_callbacks import CallbackCalls
from airflow_sms_flow.clients.vibes_records import (
    AcquisitionCampaign,
    EventCampaign,
    Participation,
    Person,
    SourceCode,
    SubscriptionFilter,
    SubscriptionList,
    SubscriptionRecord,
    parse_acquisition_campaign,
    parse_event_campaign,
    parse_list,
    parse_participations,
    parse_source_code,
    parse_subscriptions,
)
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.errors import InvalidInput

__all__ = [
    "AcquisitionCampaign",
    "EventCampaign",
    "Participation",
    "Patience",
    "Person",
    "SourceCode",
    "SubscriptionFilter",
    "SubscriptionList",
    "SubscriptionRecord",
    "VibesClient",
    "VibesRings",
]

_LIST = "/companies/{company_key}/mobiledb/subscription_lists/{list_id}"
_LISTS = "/companies/{company_key}/mobiledb/subscription_lists/"
_PERSONS = "/companies/{company_key}/mobiledb/persons"
_ACQUISITION = "/companies/{company_key}/campaigns/acquisition/{acquisition_id}"
_EVENT_CAMPAIGNS = "/companies/{company_key}/mobiledb/event_triggered_messages"
_EVENT_TYPE = re.compile(r"[A-Za-z0-9_-]+")
_IDENTIFIERS = frozenset({"mdn", "person_id", "person_key", "external_person_id", "vibes_device_id"})


class VibesClient(CallbackCalls):
    """One company's Vibes account: people, lists and campaigns here, callbacks in `CallbackCalls`.

    See `VibesAccount` for the arguments.
    """

    # -- one person: an Answer, never an exception for what Vibes does ------------------------------------

    def find_subscriber(
        self,
        list_id: str,
        *,
        mdn: str | None = None,
        external_person_id: str | None = None,
        slot: Slot | None = None,
    ) -> Answer:
        """Is this person on the list now? OK(subscribed) with a `Person`, or OK(not_subscribed) with None.

        A wrong company_key looks like "not subscribed" (facts A.3): call `get_subscription_list` first.
        """
        query = _one_of(mdn=mdn, external_person_id=external_person_id)
        call = self._call("GET", _LIST + "/subscribers", query=query, path={"list_id": list_id})
        outcome = self._ask(self.rings.calls, call, slot)
        return answers.read_person(call, outcome, found="subscribed", missing="not_subscribed", mdn=mdn)

    def find_person(self, *, mdn: str, slot: Slot | None = None) -> Answer:
        """The person who has this number: OK(found) with a `Person`, or OK(not_found) with None."""
        call = self._call("GET", _PERSONS, query={"mdn": mdn})
        outcome = self._ask(self.rings.calls, call, slot)
        return answers.read_person(call, outcome, found="found", missing="not_found", mdn=mdn)

    def get_subscriptions(
        self, person_key: str, active_only: bool = False, *, slot: Slot | None = None
    ) -> Answer:
        """All opt-ins of one person, OK with a tuple of `SubscriptionRecord`; OK(not_found) with none."""
        query = {"active_only": "true"} if active_only else {}
        call = self._call(
            "GET", _PERSONS + "/{person_key}/subscriptions", query=query, path={"person_key": person_key}
        )
        unknown = Answer(AnswerClass.OK, "not_found", value=())
        outcome = self._ask(self.rings.calls, call, slot)
        return answers.read_records(call, outcome, parse_subscriptions, not_found=unknown)

    def find_pending(self, acquisition_id: str, *, mdn: str, slot: Slot | None = None) -> Answer:
        """Is an opt-in under way? OK(pending) with a `Participation`, or OK(not_pending) with None.

        An empty answer also means confirmed, declined or expired (facts A.2).
        """
        call = self._call(
            "GET", _ACQUISITION + "/participants", query={"mdn": mdn}, path={"acquisition_id": acquisition_id}
        )
        wrong = Answer(AnswerClass.CONFIG, "not_found", "check acquisition_campaign_id and company_key")
        outcome = self._ask(self.rings.calls, call, slot)
        answer = answers.read_records(call, outcome, parse_participations, not_found=wrong)
        if answer.kind is not AnswerClass.OK:
            return answer
        pending = next((one for one in answer.value if one.status == "PENDING"), None)
        return Answer(AnswerClass.OK, "pending" if pending else "not_pending", answer.detail, pending)

    def add_participant(
        self,
        acquisition_id: str,
        *,
        mdn: str,
        external_person_id: str | None = None,
        slot: Slot | None = None,
    ) -> Answer:
        """Start an opt-in: Vibes texts the person, who must confirm. Table in facts A.2.

        OK and ALREADY say `pending` or `subscribed`, with a `Participation` where the vendor gives one.
        IN_DOUBT: the person may have been texted; ask `find_pending` and the list before repeating.
        """
        body: dict[str, object] = {"mobile_phone": {"mdn": mdn}}
        if external_person_id is not None:
            body["external_person_id"] = external_person_id
        call = self._call(
            "POST", _ACQUISITION + "/participants", body=body, path={"acquisition_id": acquisition_id}
        )
        return answers.read_participant(call, self._ask(self.rings.calls, call, slot))

    def unsubscribe(
        self,
        list_id: str,
        *,
        person_key: str | None = None,
        external_person_id: str | None = None,
        slot: Slot | None = None,
    ) -> Answer:
        """Take a person off the list: OK(unsubscribed), or ALREADY(not_subscribed).

        The vendor's 404 does not tell an unknown person from one who is not on the list (facts A.5).
        """
        ((name, value),) = _one_of(person_key=person_key, external_person_id=external_person_id).items()
        person = "/{person_key}" if name == "person_key" else "/external/{external_person_id}"
        template = f"{_PERSONS}{person}/subscriptions/{{list_id}}"
        call = self._call("DELETE", template, path={"list_id": list_id, name: value})
        return answers.read_unsubscribe(call, self._ask(self.rings.calls, call, slot))

    def send_event(
        self, event_type: str, event_id: str, mdn: str, data: Mapping[str, str], *, slot: Slot | None = None
    ) -> Answer:
        """One event, which is one text: OK(accepted) is not delivered (facts A.6, H.1).

        IN_DOUBT: it may have been taken; never repeat it blindly. `data` is the template's `ev` and may not
        hold another identifier: exactly one is allowed.
        """
        if clash := sorted(_IDENTIFIERS & data.keys()):
            raise InvalidInput("data", clash, "an event names its person by mdn alone: rename these keys")
        body = {"event_type": event_type, "event_id": event_id, "event_data": {**data, "mdn": mdn}}
        call = self._call("POST", "/companies/{company_key}/events", body=body)
        return answers.read_event(call, self._ask(self.rings.events, call, slot))

    # -- lists and campaigns: the value, or an error that says what to change -----------------------------

    def get_subscription_list(self, list_id: str) -> SubscriptionList:
        """The list with this id. Raises `ConfigError` where the account has none such."""
        call = self._call("GET", _LIST, path={"list_id": list_id})
        hint = f"list_id={list_id!r}: choose one of the lists of this account"
        found: SubscriptionList = self._get(call, parse_list, hint=hint)
        return found

    def list_subscription_lists(self) -> tuple[SubscriptionList, ...]:
        """All lists of the account."""
        found: tuple[SubscriptionList, ...] = self._get(self._call("GET", _LISTS), many(parse_list))
        return found

    def list_acquisition_campaigns_of(self, list_id: str) -> tuple[AcquisitionCampaign, ...]:
        """The acquisition campaigns that lead to this list; none where Vibes answers 404 (facts A.1, A.3)."""
        call = self._call("GET", _LIST + "/acquisition_campaigns/", path={"list_id": list_id})
        found: tuple[AcquisitionCampaign, ...] = self._get(call, many(parse_acquisition_campaign), missing=())
        return found

    def get_acquisition_campaign(self, acquisition_id: str) -> AcquisitionCampaign:
        """The campaign with this id. Raises `ConfigError` where the account has none such."""
        call = self._call("GET", _ACQUISITION, path={"acquisition_id": acquisition_id})
        hint = f"acquisition_campaign_id={acquisition_id!r}: take the id that Vibes shows for the campaign"
        found: AcquisitionCampaign = self._get(call, parse_acquisition_campaign, hint=hint)
        return found

    def list_event_campaigns(
        self, event_type: str | None = None, status: str | None = None
    ) -> tuple[EventCampaign, ...]:
        """The event-triggered campaigns, narrowed to an event type and a status (case does not matter)."""
        query = {"event_type": event_type, "status": status}
        call = self._call("GET", _EVENT_CAMPAIGNS, query={k: v for k, v in query.items() if v is not None})
        found: tuple[EventCampaign, ...] = self._get(call, many(parse_event_campaign))
        return tuple(
            campaign
            for campaign in found
            if (event_type is None or campaign.event_type.lower() == event_type.lower())
            and (status is None or campaign.status == status.lower())
        )

    def create_event_campaign(
        self,
        *,
        name: str,
        event_type: str,
        message_template: str,
        list_id: str,
        source_code: str,
        start_date: date,
        country_code: str = "1",
        source_code_type: str = "SC",
    ) -> Answer:
        """Create the SMS campaign that an event type triggers for the members of one list, in one attempt.

        OK(created), with an `EventCampaign` where the vendor gives one; 202 is not "ready" yet. IN_DOUBT:
        `list_event_campaigns` before repeating.
        """
        if not _EVENT_TYPE.fullmatch(event_type):
            raise InvalidInput("event_type", event_type, "use letters, digits, dash and underscore only")
        listed: int | str = int(list_id) if list_id.isdecimal() else list_id
        body = {
            "name": name,
            "event_type": event_type,
            "start_date": start_date.isoformat(),
            "targeting": {
                "channel": "sms",
                "message_template": message_template,
                "sms": {
                    "sourcecode": source_code,
                    "country_code": country_code,
                    "sourcecode_type": source_code_type,
                },
                "filters": [{"name": "subscription", "selector": "any", "value": [listed]}],
            },
        }
        call = self._call("POST", _EVENT_CAMPAIGNS, body=body)
        outcome = self._ask(self.rings.calls, call, None)
        why = "check source_code, country_code, list and template"
        return answers.read_created(call, outcome, parse_event_campaign, refused=why)

    def list_source_codes(self) -> tuple[SourceCode, ...]:
        """The short codes and long numbers that this account may send from now."""
        call = self._call("GET", "/companies/{company_key}/sourcecodes")
        found: tuple[SourceCode, ...] = self._get(call, many(parse_source_code))
        return found

    def check(self) -> str:
        """One reading call that proves host, credentials and company key; a sentence for the Test button."""
        call = self._call("GET", _LISTS)
        outcome = self._ask(self.rings.calls, call, None)
        found = value_or_raise(answers.read_setup(call, outcome, many(parse_list)))
        return f"Vibes answers; the account has {len(found)} subscription list(s)"


def _one_of(**identifiers: str | None) -> dict[str, str]:
    """The one identifier that was given; the vendor wants exactly one."""
    given = {name: value for name, value in identifiers.items() if value is not None}
    if len(given) != 1:
        raise InvalidInput(" or ".join(identifiers), f"{len(given)} given", "give exactly one of them")
    return given
