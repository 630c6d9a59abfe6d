"""The event-triggered campaign that carries our texts to one list: made once, verified before every run.

Its subscription filter is the second lock on the list: Vibes itself drops an event for somebody who is not
on it. Without that filter an event may reach anyone (facts A.7), so a campaign that lacks it stops the task.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.clients.vibes_records import EventCampaign, SourceCode
from airflow_sms_flow.core.answers import AnswerClass
from airflow_sms_flow.core.errors import BugError, ConfigError, Stopped
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.steps.send import MESSAGE_FIELD
from airflow_sms_flow.steps.step import LATE_EFFECT_SECONDS

#: The whole text is ours; Vibes does not evaluate what stands in an event's value.
OUR_TEMPLATE = f"{{{{ ev.{MESSAGE_FIELD} }}}}"

_STANDING = ("scheduled", "in_progress")


def our_event_type(list_id: str) -> str:
    """The event type of our campaign for a list: letters, digits, dash and underscore only."""
    return f"sms_flow_{re.sub(r'[^A-Za-z0-9_-]', '-', list_id)}"


def verify(client: VibesClient, event_type: str, list_id: str, template: str | None) -> EventCampaign:
    """The one campaign that stands for `event_type`, or `ConfigError` saying why events may not be sent.
    `template` None: the text is the author's own campaign's."""
    standing = _standing(client, event_type)
    if len(standing) != 1:
        raise ConfigError(
            f"event_type {event_type!r}: {len(standing)} scheduled or running campaigns carry it, "
            f"exactly one must; start or end campaigns in Vibes so that one is left"
        )
    campaign = standing[0]
    if campaign.status != "in_progress":
        raise ConfigError(f"event_type {event_type!r}: its campaign is {campaign.status}, not running yet")
    lists = [(f.selector, f.list_ids) for f in campaign.subscription_filters]
    if lists != [("any", (list_id,))]:
        raise ConfigError(
            f"event_type {event_type!r}: campaign {campaign.id} has the subscription filter {lists}, which "
            f"must be exactly 'any' of list {list_id}; otherwise people off the list could be texted. Mend "
            f"it in Vibes, or name another event_type"
        )
    if template is not None and _squeeze(campaign.message_template) != _squeeze(template):
        raise ConfigError(
            f"event_type {event_type!r}: campaign {campaign.id} no longer has our template {template!r}; "
            f"restore it in Vibes, or cancel that campaign and let the next run make a new one"
        )
    return campaign


def verify_or_could_create(client: VibesClient, list_id: str, source_code: str) -> None:
    """For a dry run: our campaign of the list must be as a run would want it, or a run able to make it."""
    if _standing(client, our_event_type(list_id)):
        verify(client, our_event_type(list_id), list_id, OUR_TEMPLATE)
    else:
        _leased_source(client, source_code)


@dataclass(frozen=True, slots=True)
class OurCampaign:
    """Makes sure that our campaign for one list stands and runs, whoever makes it."""

    client: VibesClient
    ledger: Ledger
    company_key: str
    list_id: str
    source_code: str
    stop: Callable[[], bool] = lambda: False
    ready_within_seconds: float = 150.0  #: longer than a claim that its claimer abandoned stands
    look_for_seconds: float = (
        LATE_EFFECT_SECONDS  #: for a creation whose answer was lost, before it counts as not made
    )
    look_every_seconds: float = 1.0

    def ensure(self) -> str:
        """The event type under which texts reach the list now. Of any number of tasks that call this at
        once, one creates the campaign and the others wait for it."""
        event_type = our_event_type(self.list_id)
        deadline = time.monotonic() + self.ready_within_seconds
        claim_id = uuid.uuid4().hex
        look_until = 0.0
        try:
            while not self._stands_and_runs(event_type):
                if self.stop():
                    raise Stopped("stopped while waiting for the event-triggered campaign")
                if time.monotonic() > deadline:
                    raise ConfigError(
                        f"event_type {event_type!r}: its campaign is not running after "
                        f"{self.ready_within_seconds:.0f} seconds; look at it in Vibes"
                    )
                if time.monotonic() > look_until and self._may_create(event_type, claim_id):
                    look_until = time.monotonic() + self._create(event_type)
                time.sleep(self.look_every_seconds)
            look_until = 0.0
        finally:
            # Whoever leaves while a creation may still appear keeps its claim: it runs out by itself.
            if time.monotonic() > look_until:
                self.ledger.release_event_campaign(self.company_key, self.list_id, claim_id)
        verify(self.client, event_type, self.list_id, OUR_TEMPLATE)
        return event_type

    def _stands_and_runs(self, event_type: str) -> bool:
        standing = _standing(self.client, event_type)
        return bool(standing) and all(campaign.status == "in_progress" for campaign in standing)

    def _may_create(self, event_type: str, claim_id: str) -> bool:
        """Only where nothing stands even after the claim: the last claimer may have made it just before."""
        if _standing(self.client, event_type):
            return False
        if not self.ledger.claim_event_campaign(self.company_key, self.list_id, event_type, claim_id):
            return False
        return not _standing(self.client, event_type)

    def _create(self, event_type: str) -> float:
        """Ask Vibes for the campaign; for how many seconds to look for it before asking again."""
        source = _leased_source(self.client, self.source_code)
        # The account's own time zone is unknown, and a start date in its future would only be scheduled.
        yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
        answer = self.client.create_event_campaign(
            name=f"airflow-sms-flow, list {self.list_id}",
            event_type=event_type,
            message_template=OUR_TEMPLATE,
            list_id=self.list_id,
            source_code=source.code,
            source_code_type=source.code_type,
            country_code=source.country_code,
            start_date=yesterday,
        )
        match answer.kind:
            case AnswerClass.CONFIG | AnswerClass.REFUSED:
                raise ConfigError(f"the event-triggered campaign of list {self.list_id}: {answer.detail}")
            case AnswerClass.BUG:
                raise BugError(answer.detail)
            case AnswerClass.OK | AnswerClass.ALREADY:
                return self.ready_within_seconds  # 202 is not "ready", but it is never "not made"
            case AnswerClass.RETRY:
                return self.look_every_seconds
            case _:
                return self.look_for_seconds


def _leased_source(client: VibesClient, source_code: str) -> SourceCode:
    """The connection's source code as the account leases it; `ConfigError` where it does not."""
    leased = {code.code: code for code in client.list_source_codes()}
    if source_code in leased:
        return leased[source_code]
    raise ConfigError(
        f"the Vibes connection's source_code is {source_code!r}: set the short code that texts come from "
        f"in its extra fields (the account has: {', '.join(sorted(leased)) or 'none'}), or name "
        f"the event_type of a campaign that stands"
    )


def _standing(client: VibesClient, event_type: str) -> list[EventCampaign]:
    """Vibes compares event types without case (facts A.6)."""
    return [
        campaign
        for campaign in client.list_event_campaigns(event_type=event_type)
        if campaign.event_type.casefold() == event_type.casefold() and campaign.status in _STANDING
    ]


def _squeeze(template: str) -> str:
    return re.sub(r"\s+", "", template)
