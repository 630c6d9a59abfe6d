"""Registering callbacks at Vibes until what is needed stands, and nothing of ours twice (facts B.2).

It looks, does what the look asks for, and looks again. A creation whose answer was lost shows up in the next
look, and an older registration goes only once that look has shown the newer one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.core.answers import AnswerClass
from airflow_sms_flow.core.errors import BugError, ConfigError, InvalidInput, Stopped, Unavailable
from airflow_sms_flow.core.registrations import (
    LONGEST_ADDRESS,
    MOST_REGISTRATIONS,
    Need,
    Registration,
    Subjects,
    needed,
)
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.steps.callback_plan import CallbackAddress, Leads, Plan, make_plan
from airflow_sms_flow.steps.event_campaign import our_event_type
from airflow_sms_flow.steps.step import LATE_EFFECT_SECONDS


def open_needs(subjects: Subjects) -> tuple[Need, ...]:
    """What these need, without asking Vibes: the country of a source code is left open.

    The event type of our own campaign of each list is always among the event types.
    """
    return needed(_with_our_event_types(subjects))


def checked_needs(client: VibesClient, subjects: Subjects) -> tuple[Need, ...]:
    """The same, each list, campaign and code looked up: a slip of the pen would register something that never
    happens. Raises `ConfigError` for what the account does not have."""
    for one in subjects.lists:
        client.get_subscription_list(one)
    for one in subjects.campaigns:
        client.get_acquisition_campaign(one)
    countries: dict[str, str | None] = {}
    if subjects.source_codes:
        countries = {code.code: code.country_code for code in client.list_source_codes()}
    if missing := [code for code in subjects.source_codes if code not in countries]:
        raise ConfigError(
            f"source_codes: the account has no {', '.join(missing)}, only "
            f"{', '.join(sorted(countries)) or 'none'}; Vibes tells of replies to a code's main account alone"
        )
    return needed(_with_our_event_types(subjects), countries)


def name_lists(client: VibesClient, ledger: Ledger, company_key: str, subjects: Subjects) -> None:
    """Tell the ledger which of these lists each of these campaigns asks for: a Yes names only the campaign,
    and counts as joining the list from then on, also where no sensor and no Subscribe has told."""
    for list_id in subjects.lists if subjects.campaigns else ():
        for campaign in client.list_acquisition_campaigns_of(list_id):
            if campaign.id in subjects.campaigns:
                ledger.name_list(company_key, campaign.id, list_id)


def _with_our_event_types(subjects: Subjects) -> Subjects:
    ours = tuple(map(our_event_type, subjects.lists))
    return replace(subjects, event_types=(*ours, *subjects.event_types))


@dataclass(frozen=True, slots=True)
class Registered:
    """What a registration found and did. `replaced` are registrations that made room for ours."""

    standing: tuple[Need, ...]
    created: tuple[Need, ...]
    replaced: tuple[Registration, ...]
    elsewhere: tuple[Registration, ...]

    def report(self, address: CallbackAddress) -> dict[str, Any]:
        """For XCom: counts, and what leads elsewhere, without secrets."""
        return {
            "registered": len(self.created),
            "standing": len(self.standing),
            "replaced": len(self.replaced),
            "elsewhere": [
                {"callback_type": one.callback_type, "subject": one.subject, "to": address.shown(one.url)}
                for one in self.elsewhere
            ],
        }


@dataclass(slots=True)
class _Attempts:
    """How often a creation was asked for, and until when to look for it before asking again."""

    made: int = 0
    look_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Registrar:
    """Brings the registrations of one account into line with what is needed."""

    client: VibesClient
    address: CallbackAddress
    say: Callable[..., None] = lambda *words: None
    stop: Callable[[], bool] = lambda: False
    most_attempts: int = 5
    look_for_seconds: float = (
        LATE_EFFECT_SECONDS  #: for a creation, answered or not, before it counts as not made
    )
    look_every_seconds: float = 1.0

    def register(self, needs: Sequence[Need], *, replace_others: bool) -> Registered:
        """Create what lacks and take away what that replaces; `Registered` once all of it stands.

        Raises `ConfigError` before anything is created where the account has no room, and for what Vibes
        refuses; `Unavailable` where a registration does not come to stand. A repeat goes on from there.
        """
        found = self.client.list_callbacks()
        first = plan = self._plan(needs, found, replace_others)
        attempts = {need: _Attempts() for need in needs}
        gone: dict[str, Registration] = {}
        while plan.lacking or plan.superseded:
            if self.stop():
                raise Stopped("stopped while registering callbacks: a repeat goes on from here")
            room = _room(plan, found)
            for one in plan.superseded:
                self._delete(one)
                gone[one.id] = one
            due = self._due(plan.lacking, attempts)[:room]
            for need in due:
                self._create(need, attempts[need])
            if not due and not plan.superseded:
                time.sleep(self.look_every_seconds)
            found = tuple(one for one in self.client.list_callbacks() if one.id not in gone)
            plan = self._plan(needs, found, replace_others)
        return Registered(first.standing, first.lacking, tuple(gone.values()), plan.elsewhere)

    def remove(self, needs: Iterable[Need] | None) -> tuple[Registration, ...]:
        """Take away registrations of ours, by whatever secret: those for `needs`, or all for None."""
        wanted = None if needs is None else tuple(needs)
        ours = tuple(
            one
            for one in self.client.list_callbacks()
            if self.address.where(one, today()) is not Leads.ELSEWHERE
            and (wanted is None or any(need.is_same_as(one) for need in wanted))
        )
        for one in ours:
            self._delete(one)
        return ours

    def _plan(self, needs: Sequence[Need], found: Iterable[Registration], replace_others: bool) -> Plan:
        return make_plan(needs, found, self.address, today=today(), replace=replace_others)

    def _due(self, lacking: Iterable[Need], attempts: Mapping[Need, _Attempts]) -> list[Need]:
        """Those to be asked for now; the others may still appear."""
        due = [need for need in lacking if attempts[need].look_until <= time.monotonic()]
        for need in due:
            if attempts[need].made >= self.most_attempts:
                raise Unavailable(
                    f"the callback {need} was asked for {self.most_attempts} times and does not stand: look "
                    f"at it in Vibes, or try again later"
                )
        return due

    def _create(self, need: Need, attempts: _Attempts) -> None:
        """Ask for one; the next look shows what became of it."""
        answer = self.client.register_callback(need, self.address.url)
        attempts.made += 1
        match answer.kind:
            case AnswerClass.CONFIG | AnswerClass.REFUSED:
                raise ConfigError(f"the callback {need}: {answer.detail}")
            case AnswerClass.BUG:
                raise BugError(answer.detail)
            case AnswerClass.RETRY:
                seconds = self.look_every_seconds * 2**attempts.made
            case _:
                seconds = self.look_for_seconds
        attempts.look_until = time.monotonic() + seconds
        if answer.kind is AnswerClass.OK:
            self.say("Registered %s", need)

    def _delete(self, one: Registration) -> None:
        self.client.delete_callback(one.id)
        self.say("Removed %s of %s to %s", one.callback_type, one.subject, self.address.shown(one.url))


def _room(plan: Plan, found: Sequence[Registration]) -> int:
    """How many may be created now. Raises `ConfigError` where the account will not hold them all.

    The newer one is made before the older one goes, so one place more is needed for a moment.
    """
    if len(found) > MOST_REGISTRATIONS:  # so Vibes counts something else, and must say so itself
        return len(plan.lacking)
    room = MOST_REGISTRATIONS - len(found) + len(plan.superseded)
    if len(plan.lacking) > room + len(plan.waiting) or (plan.lacking and room == 0):
        raise ConfigError(
            f"Vibes allows {MOST_REGISTRATIONS} registered callbacks; the account has {len(found)} and "
            f"{len(plan.lacking)} more are needed: remove some that nobody needs (`python -m "
            f"airflow_sms_flow callbacks list` shows them), or name fewer lists, campaigns and event types"
        )
    return room


def check_address(address: CallbackAddress, vibes_url: str) -> None:
    """Raise `InvalidInput` for an address that Vibes could not use (facts B.2).

    Plain http is for a stand-in for Vibes that is itself reached by plain http.
    """
    if len(address.url) > LONGEST_ADDRESS:
        raise InvalidInput(
            "callback_url",
            f"({len(address.url)} characters with the secret)",
            f"Vibes takes {LONGEST_ADDRESS} at most",
        )
    if not address.url.startswith("https://") and vibes_url.startswith("https://"):
        raise InvalidInput(
            "callback_url",
            address.shown(address.url),
            "set [sms_flow] callback_url to the https address at which the internet reaches the API server",
        )


def today() -> date:
    """Where the account's own time zone is unknown."""
    return datetime.now(UTC).date()
