"""The people with their phones: what was texted to them, what they answer, and when."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any

from airflow_sms_flow.sandbox.clock import Clock, iso
from airflow_sms_flow.sandbox.settings import Settings

BEHAVIOURS = ("Y", "N", "silence")
CARRIERS = ("mobile", "landline", "unsupported")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def is_e164(number: object) -> bool:
    """Whether this has the form that Vibes takes under X-API-Version 2."""
    if not isinstance(number, str) or not _E164.fullmatch(number):
        return False
    return not number.startswith("+1") or re.fullmatch(r"\+1[2-9]\d{2}[2-9]\d{6}", number) is not None


@dataclass(slots=True)
class Text:
    """One bubble on a phone. `direction` is Vibes' view: "out" went to the person, "in" came from them."""

    at: datetime
    direction: str
    text: str
    kind: str  #: question, welcome, event, goodbye, help, unmatched; or reply
    list_id: str = ""
    campaign_id: str = ""
    event_id: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For the control panel."""
        return {
            "at": iso(self.at),
            "direction": self.direction,
            "text": self.text,
            "kind": self.kind,
            "list_id": self.list_id,
            "campaign_id": self.campaign_id,
            "event_id": self.event_id,
        }


@dataclass(slots=True)
class Phone:
    """One number."""

    number: str
    behaviour: str
    carrier: str  #: "mobile", "landline" or "unsupported" (outside the US and Canada)
    names: list[str] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)


class Phones:
    """Every phone that anything happened to. A number's behaviour follows from the seed, unless set."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self.effects: list[dict[str, Any]] = []
        self._phones: dict[str, Phone] = {}

    def get(self, number: str) -> Phone:
        """The phone with this number; it comes into being when first asked for."""
        phone = self._phones.get(number)
        if phone is None:
            phone = self._phones[number] = Phone(number, self._behaviour(number), self._carrier(number))
        return phone

    def all(self) -> Iterable[Phone]:
        """Every phone known by now."""
        return self._phones.values()

    def name(self, number: str, name: str) -> None:
        """Somebody called so has this number; only the page shows it."""
        names = self.get(number).names
        if name and name not in names:
            names.append(name)

    def chance(self, what: str, number: str) -> float:
        """A number from 0 to 1 that depends on seed, question and phone only."""
        seed = f"{self.settings.seed}|{what}|{number}".encode()
        return int.from_bytes(blake2b(seed, digest_size=8).digest(), "big") / 2**64

    def _behaviour(self, number: str) -> str:
        chance = self.chance("answer", number)
        if chance < self.settings.share_yes:
            return "Y"
        return "N" if chance < self.settings.share_yes + self.settings.share_no else "silence"

    def _carrier(self, number: str) -> str:
        if not number.startswith("+1"):
            return "unsupported"
        return "landline" if self.chance("carrier", number) < self.settings.share_landline else "mobile"

    def deliver(self, number: str, text: str, kind: str, **where: str) -> None:
        """A text arrives on a phone. `where`: list_id, campaign_id, event_id."""
        self.get(number).texts.append(Text(self._clock.now(), "out", text, kind, **where))
        self.effect("text_delivered", number, text_kind=kind, text=text, **where)

    def say(self, number: str, text: str) -> None:
        """A person texts something."""
        self.get(number).texts.append(Text(self._clock.now(), "in", text, "reply"))

    def effect(self, kind: str, number: str, **more: Any) -> None:
        """Write down that something happened to somebody. Nothing is ever taken from this record.

        Kinds: opt_in_asked, subscribed, declined, opt_in_expired, unsubscribed, event_accepted,
        event_reused, event_dropped, text_delivered, text_bounced.
        """
        entry = {"n": len(self.effects) + 1, "at": iso(self._clock.now()), "kind": kind, "phone": number}
        self.effects.append({**entry, **more})
