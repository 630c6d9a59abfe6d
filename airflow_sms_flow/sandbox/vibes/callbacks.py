"""Who wants to hear what: the callback registrations of one company, and the announcing of what happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from airflow_sms_flow.sandbox.accounts import COMPANY_KEY, COUNTRY_CODE, SOURCE_CODE
from airflow_sms_flow.sandbox.vibes.callback_delivery import Callback, Deliveries
from airflow_sms_flow.sandbox.vibes.callback_payloads import Payloads
from airflow_sms_flow.sandbox.vibes.models import Company, Participation, Subscription, VibesError
from airflow_sms_flow.sandbox.vibes.receipts import EventStage

#: callback_type -> the one field of its scope object that says what it is about. Others have no scope.
SCOPES = {
    "ack_participant_added": "campaign_id",
    "ack_participant_changed": "campaign_id",
    "subscription_added": "list_id",
    "subscription_removed": "list_id",
    "event_processed": "event_type",
    "unmatched_message_received": "source_code",
}
WITHOUT_SCOPE = (
    "company_participant_added",
    "company_participant_changed",
    "subscription_list_added",
    "subscription_list_updated",
    "person_added",
    "person_updated",
)
#: What else is announced when this is.
_WHOLE_COMPANY = {
    "ack_participant_added": "company_participant_added",
    "ack_participant_changed": "company_participant_changed",
}
TO_SEND = ("all", "only_failures", "routing", "carrier_dlr", "handset_dlr")
MAX_REGISTRATIONS = 50
MAX_URL = 1024
Body = dict[str, Any]


@dataclass(slots=True)
class Registration:
    """One callback type for one destination. `version` is that of the API call which registered it."""

    callback_id: str
    callback_type: str
    scope: Body | None
    url: str
    method: str
    content_type: str
    start_date: date | None
    end_date: date | None
    version: str
    created_at: datetime
    updated_at: datetime

    def is_active(self, today: date) -> bool:
        """Whether today is within its dates."""
        return (self.start_date or today) <= today <= (self.end_date or today)

    def wants(self, subject: object) -> bool:
        """Whether its scope covers this."""
        scope = self.scope or {}
        if isinstance(subject, Participation) and "campaign_id" in scope:
            return bool(scope["campaign_id"] == subject.campaign.acquisition_id)
        if isinstance(subject, Subscription):
            return bool(scope.get("list_id") == subject.list_id)
        if isinstance(subject, EventStage):
            return _wants_event(scope, subject)
        return True


def _wants_event(scope: Body, subject: EventStage) -> bool:
    event_type = scope.get("event_type")
    if event_type is not None and event_type.lower() != subject.event.event_type.lower():
        return False
    wanted = scope.get("callbacks_to_send", "all")
    return wanted in ("all", subject.type) or (wanted == "only_failures" and subject.status == "failed")


class Callbacks:
    """The registrations of one company, and what becomes of everything that happens there."""

    def __init__(self, company: Company, deliveries: Deliveries) -> None:
        self.company, self.deliveries = company, deliveries
        self.payloads = Payloads(company)
        self.by_id: dict[str, Registration] = {}
        self._numbers = 0
        company.tell, company.has_listener = self.announce, self.has_listener

    def get(self, callback_id: str) -> Registration:
        """The registration with this id, or 404."""
        if callback_id not in self.by_id:
            raise VibesError(404, f"Callback {callback_id} not found")
        return self.by_id[callback_id]

    def create(self, body: Body, version: str) -> Registration:
        """A new registration, or 422. The very same one a second time is a second one."""
        if len(self.by_id) >= MAX_REGISTRATIONS:
            raise VibesError(422, f"A company has at most {MAX_REGISTRATIONS} callback destinations")
        callback_type = body.get("callback_type", body.get("event_type"))  # the latter is deprecated
        if callback_type not in SCOPES and callback_type not in WITHOUT_SCOPE:
            raise VibesError(422, "callback_type is missing or not one that the sandbox knows")
        now = self.company.clock.now()
        registration = Registration(
            callback_id=str(9001 + self._numbers),
            callback_type=callback_type,
            scope=self._scope(callback_type, body),
            **_destination(body),
            start_date=_date(body, "start_date"),
            end_date=_date(body, "end_date"),
            version=version,
            created_at=now,
            updated_at=now,
        )
        self._numbers += 1
        self.by_id[registration.callback_id] = registration
        self.deliveries.start()
        return registration

    def update(self, registration: Registration, body: Body) -> None:
        """Change what is given, but the type; the version stays that of the registering call. 422."""
        if body.get("callback_type", registration.callback_type) != registration.callback_type:
            raise VibesError(422, "callback_type cannot be changed")
        destination = _destination(body) if "destination" in body else {}
        scope = registration.scope
        if registration.callback_type in body:
            scope = self._scope(registration.callback_type, body)
        dates = {name: _date(body, name) for name in ("start_date", "end_date") if name in body}
        registration.scope = scope
        for name, value in (destination | dates).items():
            setattr(registration, name, value)
        registration.updated_at = self.company.clock.now()

    def active(self, callback_type: str) -> list[Registration]:
        """The registrations of a type that are active today."""
        today = self.company.clock.now().date()
        found = (one for one in self.by_id.values() if one.callback_type == callback_type)
        return [one for one in found if one.is_active(today)]

    def has_listener(self, callback_type: str) -> bool:
        """Whether anybody would hear this."""
        return any(one.callback_type == callback_type for one in self.by_id.values())

    def announce(self, callback_type: str, subject: object) -> None:
        """Tell everybody who registered for this. The sandbox's lock is held."""
        if not self.by_id:
            return
        for one_type in (callback_type, _WHOLE_COMPANY.get(callback_type)):
            if one_type is not None:
                wanted = [one for one in self.active(one_type) if one.wants(subject)]
                self.send(wanted, one_type, subject)

    def send(
        self, wanted: list[Registration], callback_type: str, subject: object, after: float = 0.0
    ) -> str:
        """One event to several destinations, in so many seconds; its id, which is the same for all."""
        event_id = uuid4().hex
        for registration in wanted:
            payload = self.payloads.write(callback_type, subject, event_id, registration.version)
            callback = Callback(
                registration.callback_id,
                callback_type,
                event_id,
                registration.url,
                registration.method,
                registration.content_type,
                payload,
            )
            self.deliveries.offer(callback, after)
        return event_id

    def _scope(self, callback_type: str, body: Body) -> Body | None:
        scope = body.get(callback_type)
        if scope is not None and not isinstance(scope, dict):
            raise VibesError(422, f"{callback_type} must be an object")
        if callback_type == "event_processed":
            if (scope or {}).get("callbacks_to_send", "all") not in TO_SEND:
                raise VibesError(422, f"callbacks_to_send must be one of {', '.join(TO_SEND)}")
            return scope or {}
        if callback_type not in SCOPES:
            return None
        name = SCOPES[callback_type]
        value = (scope or {}).get(name)
        if value not in self._existing(name) or scope is None:
            raise VibesError(422, f"{callback_type}.{name} is missing or does not exist")
        if callback_type == "unmatched_message_received":
            return {"country_code": COUNTRY_CODE, **scope}
        return {name: value}

    def _existing(self, name: str) -> list[str]:
        lists = self.company.lists.values()
        if name == "campaign_id":
            return [one.acquisition_id for one in lists]
        if name == "list_id":
            return [one.list_id for one in lists]
        return [SOURCE_CODE] if self.company.company_key == COMPANY_KEY else []


def _destination(body: Body) -> Body:
    destination = body.get("destination")
    url = destination.get("url") if isinstance(destination, dict) else None
    if not isinstance(destination, dict) or not isinstance(url, str):
        raise VibesError(422, "destination.url is required")
    if len(url) > MAX_URL:
        raise VibesError(422, f"destination.url has more than {MAX_URL} characters")
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or any(not "!" <= one <= "~" for one in url):
        raise VibesError(422, "destination.url must be a whole address with http:// or https://")
    method = destination.get("method", "POST")
    content_type = destination.get("content_type", "application/json")
    if method not in ("POST", "PUT"):
        raise VibesError(422, "destination.method must be POST or PUT")
    if content_type not in ("application/json", "text/json"):
        raise VibesError(422, "destination.content_type must be application/json or text/json")
    return {"url": url, "method": method, "content_type": content_type}


def _date(body: Body, name: str) -> date | None:
    value = body.get(name)
    if value is None:
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except (TypeError, ValueError):
        raise VibesError(422, f"{name} must be a date like 2026-01-31") from None
