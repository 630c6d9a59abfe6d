"""Event-triggered campaigns, and what becomes of an event after its 202. No HTTP here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

from airflow_sms_flow.sandbox.accounts import COUNTRY_CODE, SOURCE_CODE
from airflow_sms_flow.sandbox.vibes.models import Company, Person, VibesError, check_mdn
from airflow_sms_flow.sandbox.vibes.receipts import Event, Receipts

IDENTIFIERS = ("mdn", "person_id", "person_key", "external_person_id", "vibes_device_id")
MAX_EVENT_BYTES = 16 * 1024
_EVENT_TYPE = re.compile(r"[A-Za-z0-9_-]+")
_TAG = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_EXPRESSION = re.compile(r"""ev\.([A-Za-z0-9_-]+)(?:\s*\|\s*default:\s*(?:'([^']*)'|"([^"]*)"))?""")


def render(template: str, event_data: dict[str, Any]) -> str:
    """Liquid as far as `{{ ev.x }}` and `{{ ev.x | default: 'y' }}` go; values are never evaluated."""

    def fill(tag: re.Match[str]) -> str:
        expression = _EXPRESSION.fullmatch(tag[1])
        if expression is None:
            return ""
        value = event_data.get(expression[1])
        if value is None or value in ("", [], {}, False):
            return expression[2] or expression[3] or ""
        return value if isinstance(value, str) else str(value)

    return _TAG.sub(fill, template)


@dataclass(slots=True)
class Campaign:
    """An event-triggered campaign: a template, and for whom it is."""

    message_id: int
    name: str
    event_type: str
    start_date: date
    end_date: date | None
    targeting: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    canceled: bool = False

    def status(self, now: datetime, start_seconds: float) -> str:
        """`scheduled` for a moment even where the start date is past: 202 is not "ready"."""
        if self.canceled:
            return "canceled"
        if self.end_date is not None and now.date() > self.end_date:
            return "ended"
        if now.date() < self.start_date or now < self.created_at + timedelta(seconds=start_seconds):
            return "scheduled"
        return "in_progress"


class Campaigns:
    """The event-triggered campaigns of one company, and its events."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self.by_id: dict[int, Campaign] = {}
        self.event_ids: set[str] = set()
        self._receipts = Receipts(company)

    def status(self, campaign: Campaign) -> str:
        """Its status at this moment of the sandbox's clock."""
        return campaign.status(self.company.clock.now(), self.company.settings.campaign_start_seconds)

    def get(self, message_id: str) -> Campaign:
        """The campaign with this id, or 404."""
        campaign = self.by_id.get(int(message_id)) if message_id.isdecimal() else None
        if campaign is None:
            raise VibesError(404, f"Event-triggered message {message_id} not found")
        return campaign

    def create(self, body: dict[str, Any]) -> Campaign:
        """A new campaign, or 422."""
        name, event_type = _required(body, "name"), _event_type(body)
        now = self.company.clock.now()
        campaign = Campaign(
            message_id=5001 + len(self.by_id),
            name=name,
            event_type=event_type,
            start_date=_date(body, "start_date") or _missing("start_date"),
            end_date=_date(body, "end_date"),
            targeting=self._targeting(body.get("targeting")),
            created_at=now,
            updated_at=now,
        )
        self.by_id[campaign.message_id] = campaign
        return campaign

    def update(self, campaign: Campaign, body: dict[str, Any]) -> None:
        """Change a campaign that still may change, or 422."""
        status = self.status(campaign)
        if status in ("canceled", "ended"):
            raise VibesError(422, f"The event-triggered message is {status} and cannot be changed")
        start = _date(body, "start_date") or campaign.start_date
        if status == "in_progress" and start != campaign.start_date:
            raise VibesError(422, "start_date cannot be changed once the message is in progress")
        end = _date(body, "end_date") if "end_date" in body else campaign.end_date
        event_type = _event_type(body) if "event_type" in body else campaign.event_type
        targeting = self._targeting(body["targeting"]) if "targeting" in body else campaign.targeting
        campaign.name = _required(body, "name") if "name" in body else campaign.name
        campaign.start_date, campaign.end_date, campaign.event_type = start, end, event_type
        campaign.targeting, campaign.updated_at = targeting, self.company.clock.now()

    def _targeting(self, targeting: object) -> dict[str, Any]:
        if not isinstance(targeting, dict):
            raise VibesError(422, "targeting is required")
        _required(targeting, "message_template")
        sms = targeting.get("sms")
        if not isinstance(sms, dict):
            raise VibesError(422, "targeting.sms is required")
        for name in ("sourcecode", "country_code", "sourcecode_type"):
            _required(sms, name)
        if (sms["sourcecode"], sms["country_code"]) != (SOURCE_CODE, COUNTRY_CODE):
            raise VibesError(422, f"sourcecode {sms['sourcecode']} is not leased by this company")
        if sms["sourcecode_type"] not in ("SC", "ANC"):
            raise VibesError(422, "sourcecode_type must be SC or ANC")
        if targeting.get("channel", "sms") != "sms":
            raise VibesError(422, "channel must be sms")
        for one in targeting.get("filters") or []:
            self._check_filter(one)
        return targeting

    def _check_filter(self, one: object) -> None:
        if not isinstance(one, dict) or one.get("name") != "subscription":
            raise VibesError(422, "filters: the sandbox knows the filter 'subscription' only")
        if one.get("selector") not in ("any", "none"):
            raise VibesError(422, "filters: selector must be any or none")
        values = one.get("value")
        if not isinstance(values, list) or not all(type(value) is int for value in values):
            raise VibesError(422, "filters: value must be an array of list ids as numbers")
        unknown = [value for value in values if str(value) not in self.company.lists]
        if unknown:
            raise VibesError(422, f"filters: subscription list {unknown[0]} does not exist")

    def accept(self, body: dict[str, Any], size: int) -> str:
        """Take an event in and give its id; what becomes of it shows later. 400, 413, 422 where malformed."""
        if size > MAX_EVENT_BYTES:
            raise VibesError(413, "The event exceeds 16 KB")
        event_type, data = _event_type(body), body.get("event_data")
        if not isinstance(data, dict):
            raise VibesError(422, "event_data is required and must be an object")
        given = [name for name in IDENTIFIERS if data.get(name) is not None]
        if len(given) != 1:
            raise VibesError(422, f"event_data must have exactly one of {', '.join(IDENTIFIERS)}")
        if given[0] == "mdn":
            check_mdn(data["mdn"])
        event_id = body.get("event_id") or uuid4().hex
        if not isinstance(event_id, str):
            raise VibesError(422, "event_id must be a string")
        debug_data = body.get("debug_data") or {}
        if not isinstance(debug_data, dict):
            raise VibesError(422, "debug_data must be an object")
        self._note(Event(event_id, event_type, given[0], data, debug_data))
        return event_id

    def _note(self, event: Event) -> None:
        phones, number = self.company.phones, str(event.data.get("mdn", ""))
        reused = event.event_id in self.event_ids
        self.event_ids.add(event.event_id)
        phones.effect("event_accepted", number, event_id=event.event_id, event_type=event.event_type)
        if reused:
            phones.effect("event_reused", number, event_id=event.event_id, event_type=event.event_type)
            if self.company.settings.reused_event_id == "drop":
                return
        self.company.clock.call_in(self.company.settings.event_delay_seconds, lambda: self._route(event))

    def running(self, event_type: str) -> list[Campaign]:
        """The campaigns in progress for an event type, whatever its case."""
        wanted = event_type.lower()
        found = (one for one in self.by_id.values() if one.event_type.lower() == wanted)
        return [one for one in found if self.status(one) == "in_progress"]

    def _route(self, event: Event) -> None:
        """What Vibes does after its 202; the reasons are those of `event_processed` callbacks."""
        person = self.company.persons.find(event.identifier, str(event.data[event.identifier]))
        number = (person.mdn if person else None) or str(event.data.get("mdn", ""))
        campaigns, refuse = self.running(event.event_type), self._receipts.refuse
        if not campaigns:
            refuse(event, number, "no_route_rules")
        elif person is None or person.mdn is None:
            refuse(event, number, "person_not_found")
        elif self.company.phones.get(person.mdn).carrier != "mobile":
            refuse(event, number, "carrier_not_supported")
        else:
            for campaign in campaigns:
                if not self._lets_through(campaign, person):
                    refuse(event, number, "person_not_in_subscription_list", campaign.message_id)
                    continue
                text = render(campaign.targeting["message_template"], event.data)
                self._receipts.send(event, campaign.message_id, person, text, _list_of(campaign))

    def _lets_through(self, campaign: Campaign, person: Person) -> bool:
        for one in campaign.targeting.get("filters") or []:
            on_any = any(self.company.active(str(list_id), person) for list_id in one["value"])
            if on_any != (one["selector"] == "any"):
                return False
        return True


def _list_of(campaign: Campaign) -> str:
    filters = campaign.targeting.get("filters") or []
    return str(filters[0]["value"][0]) if filters and filters[0]["value"] else ""


def _missing(name: str) -> Any:
    raise VibesError(422, f"{name} is required")


def _required(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value.strip():
        raise VibesError(422, f"{name} is required and must be a string")
    return value


def _event_type(body: dict[str, Any]) -> str:
    event_type = _required(body, "event_type")
    if not _EVENT_TYPE.fullmatch(event_type):
        raise VibesError(422, "event_type may have letters, digits, dashes and underscores only")
    return event_type


def _date(body: dict[str, Any], name: str) -> date | None:
    value = body.get(name)
    if value is None:
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except (TypeError, ValueError):
        raise VibesError(422, f"{name} must be a date like 2026-01-31") from None
