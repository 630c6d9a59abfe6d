"""How Vibes writes its objects down, its moods included."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow_sms_flow.sandbox.accounts import COUNTRY_CODE, SOURCE_CODE, ListSpec
from airflow_sms_flow.sandbox.vibes.events import Campaign, Campaigns
from airflow_sms_flow.sandbox.vibes.models import Company, Participation, Person, Subscription

_EVERY_NTH = 7


class Answers:
    """One company's objects as JSON values. With `moods`, shapes vary where real ones do."""

    def __init__(self, company: Company, campaigns: Campaigns) -> None:
        self.company, self.campaigns = company, campaigns
        self._base = f"/companies/{company.company_key}"
        self._answered = 0

    @property
    def moody(self) -> bool:
        """Whether shapes vary."""
        return self.company.settings.moods

    def finish(self, value: Any) -> Any:
        """Now and then, an answer has a field that no specification knows."""
        self._answered += 1
        if self.moody and self._answered % _EVERY_NTH == 0:
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict):
                    one["added_by_vendor_later"] = {"since": "2031-01-01", "weight": 0.5}
        return value

    def _date(self, moment: datetime, *, short: bool = False) -> str:
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ" if short else "%Y-%m-%dT%H:%M:%SZ")

    def _id(self, person: Person) -> int | str:
        return person.person_id if self.moody and person.person_id % 2 else str(person.person_id)

    def person(self, person: Person) -> dict[str, Any]:
        """A person record."""
        value: dict[str, Any] = {
            "person_key": person.person_key,
            "external_person_id": person.external_person_id,
            "custom_fields": person.custom_fields,
            "created_at": self._date(person.created_at),
            "updated_at": self._date(person.updated_at),
            "url": f"{self._base}/mobiledb/persons/{person.person_key}",
        }
        if person.mdn is not None:
            value["mobile_phone"] = {"mdn": person.mdn, "carrier_code": "sandbox.us"}
        return value

    def person_by_number(self, person: Person) -> Any:
        """Looked up by number, a person is one object to some and an array of one to others."""
        value = self.person(person)
        return [value] if self.moody and person.person_id % 5 == 0 else value

    def participation(self, one: Participation, *, with_key: bool = False) -> dict[str, Any]:
        """An opt-in. Long windows are told to the minute by half of the answers."""
        long_window = self.company.settings.opt_in_window_seconds >= 3600
        short = self.moody and long_window and one.person.person_id % 2 == 0
        person: dict[str, Any] = {
            "person_id": self._id(one.person),
            "url": f"{self._base}/mobiledb/persons/{one.person.person_id}",
        }
        if with_key:
            person["person_key"] = one.person.person_key
        return {
            "person": person,
            "participation_date": self._date(one.participation_date, short=short),
            "expire_date": self._date(one.expire_date, short=short),
            "status": one.status,
        }

    def subscription(self, one: Subscription) -> dict[str, Any]:
        """One opt-in to a list."""
        opt_in_date = self._date(one.opt_in_date)
        if self.moody and one.person.person_id % 3 == 0:
            opt_in_date = opt_in_date.replace("Z", "+00:00")
        path = f"{self._base}/mobiledb/persons/{one.person.person_key}"
        value: dict[str, Any] = {
            "person": {"id": self._id(one.person), "url": path},
            "subscription_list": {
                "id": int(one.list_id) if self.moody and one.person.person_id % 2 else one.list_id,
                "url": f"{self._base}/mobiledb/subscription_lists/{one.list_id}",
            },
            "opt_in_date": opt_in_date,
            "url": f"{path}/subscriptions/{one.list_id}",
        }
        if one.opt_out_date is not None:
            value["opt_out_date"] = self._date(one.opt_out_date)
            value["opt_out_reason"] = one.opt_out_reason
        return value

    def subscription_list(self, one: ListSpec) -> dict[str, Any]:
        """A subscription list."""
        path = f"{self._base}/mobiledb/subscription_lists/{one.list_id}"
        return {
            "id": one.list_id,
            "name": one.name,
            "url": path,
            "subscribers_url": f"{path}/subscribers",
            "acquisition_campaigns_url": f"{path}/acquisition_campaigns",
        }

    def acquisition(self, one: ListSpec) -> dict[str, Any]:
        """An acquisition campaign."""
        created = self._date(self.company.created_at)
        return {
            "acquisition_id": one.acquisition_id,
            "description": f"Join {one.name}",
            "campaign_type": {"code": "ACQUISITION"},
            "status": "Active" if self.moody and not one.confirmation else "active",
            "start_date": created,
            "created_date": created,
            "updated_date": created,
            "sourcecode": SOURCE_CODE,
            "acquisition_campaign": {"keywords": [one.keyword]},
            "url": f"{self._base}/campaigns/acquisition/{one.acquisition_id}",
        }

    def campaign(self, one: Campaign) -> dict[str, Any]:
        """An event-triggered campaign."""
        path = f"{self._base}/mobiledb/event_triggered_messages/{one.message_id}"
        value: dict[str, Any] = {
            "event_triggered_message_id": one.message_id,
            "name": one.name,
            "status": self.campaigns.status(one),
            "event_type": one.event_type,
            "start_date": one.start_date.isoformat(),
            "created_by": "sandbox@acme.example",
            "created_by_application": "api",
            "targeting": {
                "channel": "sms",
                **one.targeting,
                "message_format": "sms",
                "url": path,
                "created_at": self._date(one.created_at),
                "updated_at": self._date(one.updated_at),
            },
        }
        if one.end_date is not None:
            value["end_date"] = one.end_date.isoformat()
        return value

    def source_code(self) -> dict[str, Any]:
        """The one short code."""
        return {
            "sourcecode": SOURCE_CODE,
            "country_code": COUNTRY_CODE,
            "sourcecode_type": "SC",
            "primary_country_name": "United States",
            "sms_enabled": True,
            "mms_enabled": False,
            "sourcecode_end_date": self._date(
                self.company.created_at.replace(year=self.company.created_at.year + 5, day=1)
            ),
        }
