"""Marketo's state: leads, lists and tokens. No HTTP here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from airflow_sms_flow.sandbox import accounts
from airflow_sms_flow.sandbox.clock import Clock
from airflow_sms_flow.sandbox.settings import Settings

Lead = dict[str, Any]
_CLIENTS = {
    accounts.MARKETO_CLIENT_ID: accounts.MARKETO_CLIENT_SECRET,
    accounts.OTHER_MARKETO_CLIENT_ID: accounts.OTHER_MARKETO_CLIENT_SECRET,
}


class MarketoError(Exception):
    """A refusal inside HTTP 200: the code, which is a string, and the text."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class LeadField:
    """A field of a lead as `describe` tells it."""

    name: str
    display_name: str
    data_type: str = "string"
    length: int | None = 255
    read_only: bool = False


FIELDS = (
    LeadField("id", "Id", "integer", None, read_only=True),
    LeadField("firstName", "First Name"),
    LeadField("lastName", "Last Name"),
    LeadField("email", "Email Address", "email"),
    LeadField("mobilePhone", "Mobile Phone Number", "phone"),
    LeadField("phone", "Phone Number", "phone"),
    LeadField("company", "Company Name"),
    LeadField("city", "City"),
    LeadField("state", "State"),
    LeadField("postalCode", "Postal Code"),
    LeadField("country", "Country"),
    LeadField("unsubscribed", "Unsubscribed", "boolean", None),
    LeadField("blackListed", "Black Listed", "boolean", None),
    LeadField("marketingSuspended", "Marketing Suspended", "boolean", None),
    LeadField("favoriteStore_c", "Favorite Store"),
    LeadField("createdAt", "Created At", "datetime", None, read_only=True),
    LeadField("updatedAt", "Updated At", "datetime", None, read_only=True),
)
FIELD_NAMES = tuple(field.name for field in FIELDS)
#: Names that `describe2` offers for filterType.
SEARCHABLE = ("id", "email", "firstName", "lastName")


@dataclass(slots=True)
class MarketoList:
    """A smart list (its members as of now) or a static list."""

    list_id: int
    name: str
    lead_ids: list[int]
    created_at: datetime
    updated_at: datetime
    description: str = ""


@dataclass(slots=True)
class Token:
    """An access token of one API user."""

    value: str
    client_id: str
    expires_at: datetime


class Instance:
    """One Marketo instance. Guarded by the sandbox's lock."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings, self.clock = settings, clock
        self.leads: dict[int, Lead] = {}
        self.smart_lists: dict[int, MarketoList] = {}
        self.static_lists: dict[int, MarketoList] = {}
        self._tokens: dict[str, Token] = {}
        self._calls_today: tuple[str, int] = ("", 0)

    def add_leads(self, leads: Iterable[Lead]) -> None:
        """Add leads, or replace those with the same id; fields left out are null."""
        for lead in leads:
            self.leads[lead["id"]] = dict.fromkeys(FIELD_NAMES) | lead

    def set_list(
        self, lists: dict[int, MarketoList], list_id: int, name: str, lead_ids: Iterable[int]
    ) -> None:
        """Make or replace a list."""
        now = self.clock.now()
        lists[list_id] = MarketoList(list_id, name, sorted(set(lead_ids)), now, now)

    def members(self, marketo_list: MarketoList) -> list[Lead]:
        """The leads of a list, by id."""
        return [self.leads[lead_id] for lead_id in marketo_list.lead_ids if lead_id in self.leads]

    def token(self, client_id: str, client_secret: str) -> Token | None:
        """This client's token: the same one until it expires. None for wrong credentials."""
        if not client_secret or _CLIENTS.get(client_id) != client_secret:
            return None
        now = self.clock.now()
        for token in self._tokens.values():
            if token.client_id == client_id and token.expires_at > now:
                return token
        expires_at = now + timedelta(seconds=self.settings.token_seconds)
        token = Token(f"{uuid4()}:sb", client_id, expires_at)
        self._tokens[token.value] = token
        return token

    def authenticate(self, value: str) -> str:
        """The client behind an access token; 601 or 602 otherwise."""
        token = self._tokens.get(value)
        if token is None:
            raise MarketoError("601", "Access token invalid")
        if token.expires_at <= self.clock.now():
            raise MarketoError("602", "Access token expired")
        return token.client_id

    def count_call(self) -> None:
        """One more call today; 607 when the day's calls are used up."""
        day = central_day(self.clock.now())
        count = self._calls_today[1] + 1 if self._calls_today[0] == day else 1
        if count > self.settings.marketo_calls_per_day:
            raise MarketoError("607", "Daily quota reached")
        self._calls_today = (day, count)


def central_day(moment: datetime) -> str:
    """The day that quotas count, which starts at 00:00 Central. Without daylight saving here: UTC-6."""
    return (moment - timedelta(hours=6)).date().isoformat()
