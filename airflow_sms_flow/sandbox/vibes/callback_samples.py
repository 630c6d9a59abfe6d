"""Made-up events: for the vendor's test call, and by the thousand for load tests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow_sms_flow.sandbox.accounts import ListSpec
from airflow_sms_flow.sandbox.vibes.models import (
    Company,
    Participation,
    Person,
    Subscription,
    Unmatched,
    VibesError,
)
from airflow_sms_flow.sandbox.vibes.receipts import Event, EventStage

Body = dict[str, Any]
#: What the vendor's test call knows; there is no schema for unmatched messages.
TESTABLE = frozenset(
    {
        "ack_participant_added",
        "ack_participant_changed",
        "company_participant_added",
        "company_participant_changed",
        "subscription_added",
        "subscription_removed",
        "event_processed",
        "person_added",
        "person_updated",
        "subscription_list_added",
        "subscription_list_updated",
    }
)
#: Nobody's number: area code 555 does not exist.
DUMMY_MDN = "+15555550100"


def made_up_person(company: Company, number: str, index: int) -> Person:
    """Somebody who is in no list of persons. Its id comes after all real ones."""
    now, key = company.clock.now(), f"00000000-0000-4000-8000-{index:012x}"
    return Person(900_000_000 + index, key, number, str(index + 1), now, now)


def sample(company: Company, callback_type: str, body: Body) -> object:
    """What a test event is about: the dummy, with the values that `body` gives. 422 where its scope lacks."""
    if callback_type == "event_processed":
        return _event(_part(body, "event_processed"))
    if callback_type.startswith("subscription_list_"):
        one = _part(body, "subscription_list")
        return {"id": str(one.get("id", "0")), "name": str(one.get("name", "A list"))}
    block = {"person": "person", "subscription": "subscription"}.get(callback_type.partition("_")[0])
    given = _part(body, block or "participant")
    person = _person(company, given, block)
    if block == "person":
        return person
    if block == "subscription":
        list_id = _part(given, "subscription_list").get("id")
        if list_id is None:
            raise VibesError(422, "subscription.subscription_list.id is required")
        return subscription_of(company, callback_type, person, str(list_id))
    api_key = _part(given, "acquisition_campaign").get("api_key")
    if api_key is None and callback_type.startswith("ack_"):
        raise VibesError(422, "participant.acquisition_campaign.api_key is required")
    return participation_of(company, callback_type, person, api_key and str(api_key))


def subject_of(company: Company, callback_type: str, scope: Body, number: str, index: int) -> object:
    """One of many made-up events, about the person with this number, within a registration's scope."""
    person = made_up_person(company, number, index)
    lists = list(company.lists.values())
    wanted = scope.get("list_id"), scope.get("campaign_id")
    spec = next((one for one in lists if one.list_id in wanted or one.acquisition_id in wanted), lists[0])
    if callback_type == "event_processed":
        data, event_type = {"mdn": number, "message_body": "Load"}, scope.get("event_type", "load")
        event = Event(f"{index:032x}", event_type, "mdn", data, {})
        return EventStage(event, "handset_dlr", "success", "delivered", 1)
    if callback_type == "unmatched_message_received":
        return Unmatched(number, f"Message {index}", company.clock.now())
    if callback_type.startswith("person_"):
        return person
    if callback_type.startswith("subscription_list_"):
        return {"id": spec.list_id, "name": spec.name}
    if callback_type.startswith("subscription_"):
        return subscription_of(company, callback_type, person, spec.list_id)
    return participation_of(company, callback_type, person, spec.acquisition_id)


def subscription_of(company: Company, callback_type: str, person: Person, list_id: str) -> Subscription:
    """Somebody joined now, or left now after a day."""
    now = company.clock.now()
    if callback_type == "subscription_added":
        return Subscription(person, list_id, now)
    return Subscription(person, list_id, now - timedelta(days=1), now, "user_opt_out")


def participation_of(
    company: Company, callback_type: str, person: Person, acquisition_id: str | None
) -> Participation:
    """Somebody was asked now, or said yes now. An unknown campaign keeps its id, and has no name."""
    campaigns = {one.acquisition_id: one for one in company.lists.values()}
    unknown = ListSpec("0", "Test", acquisition_id or "TEST0000", "TEST", confirmation=True)
    campaign = campaigns.get(acquisition_id or "", unknown)
    now, status = company.clock.now(), "PENDING" if callback_type.endswith("_added") else "CONFIRMED"
    return Participation(person, campaign, now, now + timedelta(days=1), status)


def _event(given: Body) -> EventStage:
    data = given.get("event_data")
    if not isinstance(data, dict):
        data = {"mdn": DUMMY_MDN}
    event_type = str(given.get("event_type", "test_event"))
    event = Event(str(given.get("event_id", "test-event")), event_type, "mdn", data, {})
    return EventStage(event, "routing", "processing", "accepted_by_event_triggered_message", 1)


def _person(company: Company, given: Body, block: str | None) -> Person:
    who = _part(given, "person") if block == "subscription" else given
    phone = _part(given, "mobile") or _part(given, "mobile_phone")
    person = made_up_person(company, str(phone.get("mdn", DUMMY_MDN)), 0)
    person.external_person_id = str(given.get("external_person_id", "test-person"))
    given_id = str(who.get("id", who.get("person_id", "")))
    if given_id.isdecimal():
        person.person_id = int(given_id)
    return person


def _part(body: Body, name: str) -> Body:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise VibesError(422, f"{name} must be an object")
    return value or {}
