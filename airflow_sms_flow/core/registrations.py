"""Which callbacks Vibes can send, which of them somebody wants, and what a registration says (facts B.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.values import read_ids

EVENT_PROCESSED, UNMATCHED = "event_processed", "unmatched_message_received"
OF_CAMPAIGN = ("ack_participant_added", "ack_participant_changed")
OF_LIST = ("subscription_added", "subscription_removed")

#: Callback type -> the field of its scope object that says what it is about; the types that we read.
SUBJECT_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(OF_CAMPAIGN, "campaign_id"),
        **dict.fromkeys(OF_LIST, "list_id"),
        EVENT_PROCESSED: "event_type",
        UNMATCHED: "source_code",
    }
)
#: The types of which Vibes sends a test event on demand, in the order in which they are tested.
TESTED_TYPES = (*OF_CAMPAIGN, *OF_LIST, EVENT_PROCESSED)
_EVENT_TYPE = re.compile(r"[A-Za-z0-9_-]+")
#: The vendor's limits (facts B.2); what is counted are registrations.
MOST_REGISTRATIONS = 50
LONGEST_ADDRESS = 1024


@dataclass(frozen=True, slots=True)
class Registration:
    """One registration as Vibes shows it. Its `url` may hold somebody's secret and is never shown whole.

    `subject` is the list, campaign, event type or source code; None for a registration that names none,
    which for `event_processed` means every event type.
    """

    id: str
    callback_type: str
    subject: str | None
    url: str = field(repr=False)
    country_code: str | None = None
    callbacks_to_send: str = "all"
    start_date: date | None = None
    end_date: date | None = None

    def tells_all(self, today: date) -> bool:
        """Whether it is in force and leaves nothing out that we want to hear."""
        begun = self.start_date is None or self.start_date <= today
        over = self.end_date is not None and self.end_date < today
        return begun and not over and self.callbacks_to_send == "all"


@dataclass(frozen=True, slots=True)
class Need:
    """One callback that we want to hear. `country_code` belongs to a source code alone."""

    callback_type: str
    subject: str
    country_code: str | None = None

    def is_met_by(self, one: Registration) -> bool:
        """Whether this registration, wherever it leads, covers what we want; perhaps more than that."""
        every_event = one.callback_type == EVENT_PROCESSED and one.subject is None
        return self.is_same_as(one) or (every_event and self.callback_type == EVENT_PROCESSED)

    def is_same_as(self, one: Registration) -> bool:
        """Whether this registration is about exactly this. Vibes compares event types without case."""
        if one.callback_type != self.callback_type or one.subject is None:
            return False
        if self.callback_type == EVENT_PROCESSED:
            return one.subject.casefold() == self.subject.casefold()
        other_country = None not in (one.country_code, self.country_code) and (
            one.country_code != self.country_code
        )
        return one.subject == self.subject and not other_country

    def __str__(self) -> str:
        return f"{self.callback_type} of {self.subject}"


@dataclass(frozen=True, slots=True)
class Subjects:
    """What somebody wants to hear about: ids as the vendor shows them, each once."""

    lists: tuple[str, ...] = ()
    campaigns: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    source_codes: tuple[str, ...] = ()

    @classmethod
    def read(cls, lists: object, campaigns: object, event_types: object, source_codes: object) -> Subjects:
        """As people type them: see `read_ids`. Raises `InvalidInput` where nothing is named at all."""
        found = cls(
            read_ids("lists", lists, "give the ids of Vibes lists"),
            read_ids("acquisition_campaigns", campaigns, "give the ids of acquisition campaigns"),
            read_ids("event_types", event_types, "give the event types of campaigns"),
            read_ids("source_codes", source_codes, "give the short codes that people answer to"),
        )
        if not (found.lists or found.campaigns or found.event_types or found.source_codes):
            remedy = "name at least one list, acquisition campaign, event type or source code"
            raise InvalidInput("lists", "(nothing)", remedy)
        for one in found.event_types:
            if not _EVENT_TYPE.fullmatch(one):
                raise InvalidInput("event_types", one, "letters, digits, dash and underscore only")
        return found


def needed(subjects: Subjects, countries: Mapping[str, str | None] | None = None) -> tuple[Need, ...]:
    """What these need, everything once. `countries`: calling codes of source codes, where they are known."""
    needs = [Need(kind, one) for one in subjects.campaigns for kind in OF_CAMPAIGN]
    needs += [Need(kind, one) for one in subjects.lists for kind in OF_LIST]
    needs += [Need(EVENT_PROCESSED, one) for one in {t.casefold(): t for t in subjects.event_types}.values()]
    needs += [Need(UNMATCHED, code, (countries or {}).get(code) or None) for code in subjects.source_codes]
    return tuple(needs)
