"""What callbacks say, in the shapes that the vendor publishes (and its slips), one writer per type."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

from airflow_sms_flow.sandbox.accounts import COUNTRY_CODE, SOURCE_CODE
from airflow_sms_flow.sandbox.vibes.models import Company, Participation, Person, Subscription, Unmatched
from airflow_sms_flow.sandbox.vibes.receipts import EventStage

Body = dict[str, Any]
DEFAULT_RESPONSE = "Sorry, we did not understand. Reply HELP for help, STOP to quit."
#: The vendor's sample of this type calls itself `ack_participant_added` in `callback_type`.
_MISLABELLED = {"ack_participant_changed": "ack_participant_added"}


class Payloads:
    """The callbacks of one company as JSON values. With `moods`, shapes vary where real ones do."""

    def __init__(self, company: Company) -> None:
        self._company = company
        self._base = f"/companies/{company.company_key}"
        self._writers: dict[str, Callable[[object, str], Body]] = {
            "ack_participant_added": self._participant,
            "ack_participant_changed": self._participant,
            "company_participant_added": self._participant,
            "company_participant_changed": self._participant,
            "subscription_added": self._subscription,
            "subscription_removed": self._subscription,
            "event_processed": self._event,
            "unmatched_message_received": self._unmatched,
            "person_added": self._person_alone,
            "person_updated": self._person_alone,
            "subscription_list_added": self._list_alone,
            "subscription_list_updated": self._list_alone,
        }

    def write(self, callback_type: str, subject: object, event_id: str, version: str) -> Body:
        """The whole callback. `version` decides how numbers are written: "2" is E.164, else ten digits."""
        return {
            "event_id": event_id,
            "callback_type": _MISLABELLED.get(callback_type, callback_type),
            "event_type": callback_type,
            "event_date": date_text(self._company.clock.now()),
            **self._writers[callback_type](subject, version),
        }

    @property
    def _moody(self) -> bool:
        return self._company.settings.moods

    def _id(self, person: Person) -> int | str:
        return person.person_id if self._moody and person.person_id % 2 else str(person.person_id)

    def _person(self, person: Person, version: str) -> Body:
        value: Body = {
            "id": self._id(person),
            "external_id": person.external_person_id,
            "url": f"{self._base}/mobiledb/persons/{person.person_id}",
        }
        if person.mdn is not None:
            value["mobile_phone"] = {"mdn": mdn_text(person.mdn, version)}
        return value

    def _participant(self, subject: object, version: str) -> Body:
        """`acquisition_campaign.id` is not the id that registrations use: that one ends its url."""
        one = cast(Participation, subject)
        long_window = self._company.settings.opt_in_window_seconds >= 3600
        short = self._moody and long_window and one.person.person_id % 2 == 0
        campaign = one.campaign
        participant = {
            "person": self._person(one.person, version),
            "acquisition_campaign": {
                "id": f"7{campaign.list_id}",
                "description": f"Join {campaign.name}",
                "url": f"{self._base}/campaigns/acquisition/{campaign.acquisition_id}",
                "keyword": campaign.keyword,
            },
            "participation_date": date_text(one.participation_date, short=short),
            "expire_date": date_text(one.expire_date, short=short),
            "status": one.status,
        }
        return {"participant": participant}

    def _subscription(self, subject: object, version: str) -> Body:
        """Where opt_out_date and opt_out_reason stand is not published: beside opt_in_date, as in the API."""
        one = cast(Subscription, subject)
        person = self._person(one.person, version)
        person |= {
            "external_person_id": one.person.external_person_id,
            "person_key": one.person.person_key,
        }
        value: Body = {
            "person": person,
            "subscription_list": {
                "id": int(one.list_id) if self._moody and one.person.person_id % 2 else one.list_id,
                "url": f"{self._base}/mobiledb/subscription_lists/{one.list_id}",
            },
            "opt_in_date": date_text(one.opt_in_date, offset=self._moody and one.person.person_id % 3 == 0),
        }
        if one.opt_out_date is not None:
            value |= {"opt_out_date": date_text(one.opt_out_date), "opt_out_reason": one.opt_out_reason}
        return {"subscription": value}

    def _event(self, subject: object, version: str) -> Body:
        stage = cast(EventStage, subject)
        action: Body = {"type": stage.type, "status": stage.status, "status_reason": stage.reason}
        if stage.message_id is not None:
            path = f"{self._base}/mobiledb/event_triggered_messages/{stage.message_id}"
            action["resource_url"] = path
        inner = {
            "event_id": stage.event.event_id,
            "event_type": stage.event.event_type,
            "event_data": stage.event.data,
            "debug_data": stage.event.debug_data,
            "action": action,
        }
        return {"event_processed": inner}

    def _unmatched(self, subject: object, version: str) -> Body:
        one = cast(Unmatched, subject)
        return {
            "participant": {"mdn": mdn_text(one.number, version), "carrier_id": "310"},
            "source_code": {
                "company_key": self._company.company_key,
                "code": SOURCE_CODE,
                "country_code": COUNTRY_CODE,
                "code_type": "SC",
                "default_response": DEFAULT_RESPONSE,
                "response_sent": True,
            },
            "message": one.text,
            "message_id": uuid4().hex,
            "txn_id": uuid4().hex,
            "receipt_date": date_text(one.at, offset=True),
        }

    def _person_alone(self, subject: object, version: str) -> Body:
        return {"person": self._person(cast(Person, subject), version)}

    def _list_alone(self, subject: object, version: str) -> Body:
        return {"subscription_list": subject}


def date_text(moment: datetime, *, short: bool = False, offset: bool = False) -> str:
    """`2026-01-02T03:04:05Z`; `short` leaves the seconds out, `offset` writes +00:00 for Z."""
    written = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M" if short else "%Y-%m-%dT%H:%M:%S")
    return written + ("+00:00" if offset else "Z")


def mdn_text(number: str, version: str) -> str:
    """E.164 for registrations made under version 2; the ten digits without country code otherwise."""
    return number if version == "2" else number[-10:]
