"""What Vibes tells us, as frozen records. Every `parse_` raises ValueError where
the shape is not the vendor's.

Unknown fields are ignored and ids accepted as text or number, as the vendor asks of its clients (facts A.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_sms_flow.clients._wire import as_object, as_objects, as_text, as_utc


@dataclass(frozen=True, slots=True)
class Person:
    """One mobile person. Its repr shows nothing: everything in it names somebody."""

    person_key: str = field(repr=False)
    external_person_id: str | None = field(default=None, repr=False)
    mdn: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SubscriptionRecord:
    """One opt-in to a list and its end, if any (aware UTC). Leaving and rejoining makes two records."""

    list_id: str
    opt_in_date: datetime | None
    opt_out_date: datetime | None
    opt_out_reason: str | None


@dataclass(frozen=True, slots=True)
class Participation:
    """One opt-in under way, or just completed. Dates are aware UTC; `expire_date` ends the confirm window."""

    status: str  #: upper case: PENDING, SUBSCRIBED
    participation_date: datetime | None
    expire_date: datetime | None
    person_key: str | None = field(default=None, repr=False)
    person_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SubscriptionList:
    """A Vibes subscription list."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class AcquisitionCampaign:
    """An acquisition campaign. `status` is lower case: scheduled, active, deleted, past."""

    id: str
    name: str
    status: str


@dataclass(frozen=True, slots=True)
class SubscriptionFilter:
    """A campaign's filter on lists: selector `any` lets members through, `none` keeps them out."""

    selector: str
    list_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EventCampaign:
    """An event-triggered campaign. `status` is lower case: scheduled, in_progress, ended, canceled."""

    id: int
    event_type: str
    status: str
    message_template: str
    channel: str
    subscription_filters: tuple[SubscriptionFilter, ...] = ()
    other_filters: tuple[str, ...] = ()  #: names of the filters on anything else
    name: str | None = None


@dataclass(frozen=True, slots=True)
class SourceCode:
    """A short code (`SC`) or long number (`ANC`) that the account may send from."""

    code: str
    country_code: str
    code_type: str
    sms_enabled: bool | None


def parse_person(value: object) -> Person:
    """A person as lookups give it; an array of one is accepted as well."""
    if isinstance(value, list):
        if len(value) != 1:
            raise ValueError("expected one person")
        value = value[0]
    person = as_object(value)
    key = as_text(person.get("person_key"))
    if key is None:
        raise ValueError("a person without person_key")
    phone = person.get("mobile_phone")
    mdn = as_text(phone.get("mdn")) if isinstance(phone, dict) else None
    return Person(key, as_text(person.get("external_person_id")), mdn)


def parse_subscriptions(value: object) -> tuple[SubscriptionRecord, ...]:
    """All subscription records of one person; a lone object is accepted as well."""
    return tuple(_subscription(item) for item in as_objects([value] if isinstance(value, dict) else value))


def _subscription(item: Mapping[str, Any]) -> SubscriptionRecord:
    return SubscriptionRecord(
        list_id=_required(as_object(item.get("subscription_list")), "id"),
        opt_in_date=as_utc(item.get("opt_in_date")),
        opt_out_date=as_utc(item.get("opt_out_date")),
        opt_out_reason=as_text(item.get("opt_out_reason")),
    )


def parse_participation(value: object) -> Participation:
    """The participation object of A.2; `status` must be there."""
    item = as_object(value)
    person = item.get("person")
    person = person if isinstance(person, dict) else {}
    return Participation(
        status=_required(item, "status").upper(),
        participation_date=as_utc(item.get("participation_date")),
        expire_date=as_utc(item.get("expire_date")),
        person_key=as_text(person.get("person_key")),
        person_id=as_text(person.get("person_id")),
    )


def parse_participations(value: object) -> tuple[Participation, ...]:
    """The answer to a search for pending participants; a lone object is accepted as well."""
    return tuple(parse_participation(i) for i in as_objects([value] if isinstance(value, dict) else value))


def parse_list(value: object) -> SubscriptionList:
    """One subscription list."""
    item = as_object(value)
    return SubscriptionList(_required(item, "id"), as_text(item.get("name")) or "")


def parse_acquisition_campaign(value: object) -> AcquisitionCampaign:
    """One acquisition campaign; what the vendor calls `description` is its name."""
    item = as_object(value)
    return AcquisitionCampaign(
        _required(item, "acquisition_id"),
        as_text(item.get("description")) or "",
        (as_text(item.get("status")) or "").lower(),
    )


def parse_event_campaign(value: object) -> EventCampaign:
    """One event-triggered campaign with its filters taken apart."""
    item = as_object(value)
    targeting = as_object(item.get("targeting") or {})
    filters = as_objects(targeting.get("filters") or [])
    template = targeting.get("message_template")
    return EventCampaign(
        id=int(_required(item, "event_triggered_message_id")),
        event_type=_required(item, "event_type"),
        status=_required(item, "status").lower(),
        message_template=template if isinstance(template, str) else "",
        channel=(as_text(targeting.get("channel")) or "").lower(),
        subscription_filters=tuple(_list_filter(f) for f in filters if _filter_name(f) == "subscription"),
        other_filters=tuple(_filter_name(f) for f in filters if _filter_name(f) != "subscription"),
        name=as_text(item.get("name")),
    )


def _filter_name(item: Mapping[str, Any]) -> str:
    return _required(item, "name").lower()


def _list_filter(item: Mapping[str, Any]) -> SubscriptionFilter:
    listed = item.get("value")
    ids = [as_text(entry) for entry in (listed if isinstance(listed, list) else [listed])]
    if not all(ids):
        raise ValueError("a subscription filter without list ids")
    return SubscriptionFilter(_required(item, "selector").lower(), tuple(str(entry) for entry in ids))


def parse_source_code(value: object) -> SourceCode:
    """One source code of the account."""
    item = as_object(value)
    enabled = item.get("sms_enabled")
    return SourceCode(
        _required(item, "sourcecode"),
        as_text(item.get("country_code")) or "",
        (as_text(item.get("sourcecode_type")) or "").upper(),
        enabled if isinstance(enabled, bool) else None,
    )


def _required(item: Mapping[str, Any], name: str) -> str:
    text = as_text(item.get(name))
    if text is None:
        raise ValueError(f"{name} is missing")
    return text
