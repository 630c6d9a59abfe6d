"""Vibes' state for one company: persons, lists, subscriptions and opt-ins. No HTTP here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from airflow_sms_flow.sandbox.accounts import CUSTOM_FIELDS, ListSpec
from airflow_sms_flow.sandbox.clock import Clock, iso
from airflow_sms_flow.sandbox.people import Phones, is_e164
from airflow_sms_flow.sandbox.settings import Settings


class VibesError(Exception):
    """A refusal: the HTTP status and the text for Vibes' error envelope."""

    def __init__(self, status: int, *messages: str) -> None:
        self.status, self.messages = status, messages
        super().__init__(f"{status} {' '.join(messages)}")


@dataclass(slots=True)
class Person:
    """A person record of the mobile database."""

    person_id: int
    person_key: str
    mdn: str | None
    external_person_id: str | None
    created_at: datetime
    updated_at: datetime
    custom_fields: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Subscription:
    """One opt-in. Leaving closes it; joining again makes another."""

    person: Person
    list_id: str
    opt_in_date: datetime
    opt_out_date: datetime | None = None
    opt_out_reason: str | None = None


@dataclass(slots=True)
class Participation:
    """One question put to one person."""

    person: Person
    campaign: ListSpec
    participation_date: datetime
    expire_date: datetime
    status: str


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A text that answers nothing we asked, and is no keyword."""

    number: str
    text: str
    at: datetime


class Persons:
    """The mobile database, with its three ways to find somebody."""

    def __init__(self, company_key: str, clock: Clock) -> None:
        self._company_key = company_key
        self._clock = clock
        self.by_id: dict[int, Person] = {}
        self.by_key: dict[str, Person] = {}
        self.by_mdn: dict[str, Person] = {}
        self.by_external: dict[str, Person] = {}

    def find(self, kind: str, value: str) -> Person | None:
        """By `mdn`, `person_key`, `person_id` (a key is taken, too) or `external_person_id`."""
        if kind == "mdn":
            return self.by_mdn.get(value)
        if kind == "external_person_id":
            return self.by_external.get(value)
        return self.by_key.get(value) or (self.by_id.get(int(value)) if value.isdecimal() else None)

    def create(self, mdn: str | None, external_person_id: str | None) -> Person:
        """A new record. The caller has looked for conflicts."""
        number = 100_001 + len(self.by_id)
        now = self._clock.now()
        key = str(uuid5(NAMESPACE_URL, f"{self._company_key}/{number}"))
        person = Person(number, key, mdn, None, now, now)
        self.by_id[number] = self.by_key[key] = person
        if mdn is not None:
            self.by_mdn[mdn] = person
        self.set_external(person, external_person_id)
        return person

    def set_external(self, person: Person, external_person_id: str | None) -> None:
        """Give or take the caller's own id."""
        if person.external_person_id is not None:
            self.by_external.pop(person.external_person_id, None)
        person.external_person_id = external_person_id
        if external_person_id is not None:
            self.by_external[external_person_id] = person
        person.updated_at = self._clock.now()

    def clear_mdn(self, person: Person) -> None:
        """A number can be taken off a record, never exchanged."""
        if person.mdn is not None:
            self.by_mdn.pop(person.mdn, None)
        person.mdn = None
        person.updated_at = self._clock.now()

    def set_mdn(self, person: Person, mdn: str) -> None:
        """Give a number to a record that has none; 409 otherwise."""
        if person.mdn == mdn:
            return
        if person.mdn is not None or mdn in self.by_mdn:
            raise VibesError(409, "The MDN of a person cannot be changed, or belongs to another person")
        person.mdn = mdn
        self.by_mdn[mdn] = person


def check_mdn(mdn: object) -> str:
    """A number in E.164, or 400."""
    if not isinstance(mdn, str) or not is_e164(mdn):
        raise VibesError(400, f"mdn {mdn!r} is not a valid phone number in E.164 format")
    return mdn


def check_custom_fields(values: object) -> dict[str, Any]:
    """Known custom fields, or 422 naming the others."""
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise VibesError(422, "custom_fields must be an object")
    unknown = sorted(set(values) - set(CUSTOM_FIELDS))
    if unknown:
        raise VibesError(422, *(f"custom_fields.{name} does not exist" for name in unknown))
    return values


class Company:
    """One company key: its lists, who is on them, who was asked, who said no."""

    def __init__(self, company_key: str, lists: Iterable[ListSpec], phones: Phones, clock: Clock) -> None:
        self.company_key = company_key
        self.phones = phones
        self.clock = clock
        self.persons = Persons(company_key, clock)
        self.lists = {one.list_id: one for one in lists}
        self.pending: dict[tuple[str, int], Participation] = {}
        self.blocks: set[tuple[str, int]] = set()
        self.history: dict[int, list[Subscription]] = {}
        self._active: dict[tuple[str, int], Subscription] = {}
        self.created_at = clock.now()
        #: Called with callback_type and subject whenever something happens that callbacks tell.
        self.tell: Callable[[str, object], None] = _nobody_listens
        #: Whether anybody registered for a callback_type: work that only callbacks show can be left out.
        self.has_listener: Callable[[str], bool] = lambda callback_type: False

    @property
    def settings(self) -> Settings:
        """The settings in force; the control panel may exchange them."""
        return self.phones.settings

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """What happens within is told to nobody: the world was always so."""
        tell, self.tell = self.tell, _nobody_listens
        try:
            yield
        finally:
            self.tell = tell

    def campaign(self, acquisition_id: str) -> ListSpec:
        """The acquisition campaign with this id, or 404."""
        for one in self.lists.values():
            if one.acquisition_id == acquisition_id:
                return one
        raise VibesError(404, f"Acquisition campaign {acquisition_id} not found")

    def active(self, list_id: str, person: Person) -> Subscription | None:
        """This person's running subscription to a list."""
        return self._active.get((list_id, person.person_id))

    def is_asked(self, campaign: ListSpec, person: Person) -> Participation | None:
        """The question that still waits for this person's answer."""
        return self.pending.get((campaign.acquisition_id, person.person_id))

    def subscribe(self, list_id: str, person: Person) -> Subscription:
        """Put somebody on a list, without asking."""
        subscription = Subscription(person, list_id, self.clock.now())
        self.history.setdefault(person.person_id, []).append(subscription)
        self._active[list_id, person.person_id] = subscription
        if person.mdn:
            self.phones.effect("subscribed", person.mdn, list_id=list_id)
        self.tell("subscription_added", subscription)
        return subscription

    def unsubscribe(self, list_id: str, person: Person, reason: str) -> bool:
        """Take somebody off a list. False where they were not on it."""
        subscription = self._active.pop((list_id, person.person_id), None)
        if subscription is None:
            return False
        subscription.opt_out_date, subscription.opt_out_reason = self.clock.now(), reason
        if person.mdn:
            self.phones.effect("unsubscribed", person.mdn, list_id=list_id, reason=reason)
        self.tell("subscription_removed", subscription)
        return True

    def leave_everything(self, person: Person, reason: str) -> None:
        """Take somebody off all lists."""
        for list_id in self.lists:
            self.unsubscribe(list_id, person, reason)

    def refuse(self, campaign: ListSpec, person: Person) -> None:
        """Refuse, by `VibesError`, to ask those who are on the list or have said no."""
        if self.active(campaign.list_id, person):
            raise VibesError(409, "The person is already subscribed to the list of this campaign")
        if (campaign.acquisition_id, person.person_id) in self.blocks:
            raise VibesError(422, "MDNHASCONFIRMATIONBLOCK: the person has answered No to this campaign")

    def ask(self, campaign: ListSpec, person: Person) -> tuple[int, Participation]:
        """Start an opt-in: 201, or 200 with the one that is pending. `refuse` has been asked before."""
        asked = self.is_asked(campaign, person)
        if asked:
            return 200, asked
        return 201, self._ask_now(campaign, person)

    def _ask_now(self, campaign: ListSpec, person: Person) -> Participation:
        now = self.clock.now()
        expires = now + timedelta(seconds=self.settings.opt_in_window_seconds)
        participation = Participation(person, campaign, now, expires, "PENDING")
        if not campaign.confirmation:
            participation.status = "SUBSCRIBED"
            self._welcome(campaign, person)
            return participation
        key = (campaign.acquisition_id, person.person_id)
        self.pending[key] = participation
        self.clock.call_at(expires, lambda: self._expire(key, participation))
        self.tell("ack_participant_added", participation)
        self._put_question(campaign, person, participation)
        return participation

    def _put_question(self, campaign: ListSpec, person: Person, participation: Participation) -> None:
        number = person.mdn or ""
        where = {"list_id": campaign.list_id, "campaign_id": campaign.acquisition_id}
        self.phones.effect("opt_in_asked", number, expire_date=iso(participation.expire_date), **where)
        rates = "Msg & data rates may apply. HELP for help, STOP to quit."
        question = f"{campaign.name}: reply Y to get our texts. {rates}"
        self.phones.deliver(number, question, "question", **where)
        answer = self.phones.get(number).behaviour
        if answer != "silence":
            self.clock.call_in(self.settings.answer_seconds, lambda: self.receive_text(number, answer))

    def _welcome(self, campaign: ListSpec, person: Person) -> None:
        self.subscribe(campaign.list_id, person)
        text = f"{campaign.name}: welcome, you are in! Reply STOP to leave at any time."
        where = {"list_id": campaign.list_id, "campaign_id": campaign.acquisition_id}
        self.phones.deliver(person.mdn or "", text, "welcome", **where)
        self.think_again(person.mdn or "")

    def think_again(self, number: str) -> None:
        """Having read a text of ours, a share of people texts STOP, or anything at all."""
        settings, chance = self.settings, self.phones.chance("afterthought", number)
        if chance < settings.share_stop + settings.share_unmatched:
            text = "STOP" if chance < settings.share_stop else "Who is this?"
            self.clock.call_in(settings.afterthought_seconds, lambda: self.receive_text(number, text))

    def _expire(self, key: tuple[str, int], participation: Participation) -> None:
        if self.pending.get(key) is participation:
            del self.pending[key]
            participation.status = "EXPIRED"
            campaign = participation.campaign
            where = {"list_id": campaign.list_id, "campaign_id": campaign.acquisition_id}
            self.phones.effect("opt_in_expired", participation.person.mdn or "", **where)

    def receive_text(self, number: str, text: str) -> None:
        """A person texts our short code: an answer, a keyword, STOP, HELP, or anything."""
        self.phones.say(number, text)
        word = text.strip().rstrip(".!").upper()
        person = self.persons.by_mdn.get(number)
        keyword = next((one for one in self.lists.values() if one.keyword == word), None)
        if word in ("STOP", "END", "QUIT", "CANCEL", "UNSUBSCRIBE", "STOP ALL"):
            self._stop(number, person)
        elif word == "HELP":
            self.phones.deliver(number, "Acme texts: help at acme.example/sms. Reply STOP to quit.", "help")
        elif keyword is not None:
            self._join_by_keyword(keyword, person or self.persons.create(number, None))
        elif word in ("Y", "YES", "N", "NO") and person and (asked := self._newest_question(person)):
            self._answer(asked, yes=word in ("Y", "YES"))
        else:
            self.phones.deliver(
                number, "Sorry, we did not understand. Reply HELP for help, STOP to quit.", "unmatched"
            )
            self.tell("unmatched_message_received", Unmatched(number, text, self.clock.now()))

    def _newest_question(self, person: Person) -> Participation | None:
        asked = [self.is_asked(campaign, person) for campaign in self.lists.values()]
        return max((one for one in asked if one), key=lambda one: one.participation_date, default=None)

    def _answer(self, asked: Participation, *, yes: bool) -> None:
        campaign, person = asked.campaign, asked.person
        del self.pending[campaign.acquisition_id, person.person_id]
        asked.status = "CONFIRMED" if yes else "REJECTED"
        self.tell("ack_participant_changed", asked)
        if yes:
            self._welcome(campaign, person)
            return
        self.blocks.add((campaign.acquisition_id, person.person_id))
        where = {"list_id": campaign.list_id, "campaign_id": campaign.acquisition_id}
        self.phones.effect("declined", person.mdn or "", **where)

    def _stop(self, number: str, person: Person | None) -> None:
        if person is not None:
            while asked := self._newest_question(person):
                self._answer(asked, yes=False)
            self.leave_everything(person, "keyword_opt_out")
        self.phones.deliver(number, "You have left all our lists and will get no more texts.", "goodbye")

    def _join_by_keyword(self, campaign: ListSpec, person: Person) -> None:
        self.blocks.discard((campaign.acquisition_id, person.person_id))
        if not self.active(campaign.list_id, person) and not self.is_asked(campaign, person):
            self._ask_now(campaign, person)


def _nobody_listens(callback_type: str, subject: object) -> None:
    """Nothing is registered."""
