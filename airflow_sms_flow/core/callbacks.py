"""What Vibes says by callback, turned into facts. Facts B.3 and B.4; shapes vary: nothing is taken as given.

Nothing here raises, whatever the body: what cannot be read is called so and kept by its caller.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from airflow_sms_flow.core.callback_tests import is_test_callback
from airflow_sms_flow.core.facts import (
    CLOCK_SKEW,
    Answered,
    Asked,
    EventStage,
    Fact,
    Joined,
    Left,
    Replied,
)
from airflow_sms_flow.core.opt_in import USUAL_WINDOW
from airflow_sms_flow.core.receipts import read_action


class Outcome(StrEnum):
    """What became of a callback."""

    APPLIED = "applied"
    NOTHING_NEW = "nothing_new"  #: known already, or about something that is not ours
    UNKNOWN_TYPE = "unknown_type"  #: of a kind that this package has no use for
    TEST = "test"  #: of a test event that we had fired ourselves
    UNREADABLE = "unreadable"  #: no JSON, or without what its kind must carry


@dataclass(frozen=True, slots=True)
class Callback:
    """One callback, read. `outcome` is None where there are facts to apply."""

    kind: str | None
    facts: tuple[Fact, ...] = ()
    outcome: Outcome | None = None
    phone: str | None = None


_OLDEST = datetime(2000, 1, 1, tzinfo=UTC)

_HAS_MINUTES = re.compile(r"[T ]\d\d:?\d\d")
_HAS_SECONDS = re.compile(r"[T ]\d\d:?\d\d:?\d\d")

_E164 = re.compile(r"\+[1-9][0-9]{4,14}")
_NORTH_AMERICAN = re.compile(r"1?([2-9][0-9]{2}[2-9][0-9]{6})")
_EVENT_ID = re.compile(r"[0-9a-f]{32}")

_PARTICIPANT_STATES = {"PENDING": None, "CONFIRMED": True, "SUBSCRIBED": True, "REJECTED": False}
_PARTICIPANT_TYPES = (
    "ack_participant_added",
    "ack_participant_changed",
    "company_participant_added",
    "company_participant_changed",
)


def read_callback(body: bytes, received_at: datetime) -> Callback:
    """The facts in one raw body. `received_at` (aware) stands in for a missing event time, and bounds it."""
    envelope = _parse(body)
    if envelope is None:
        return Callback(None, outcome=Outcome.UNREADABLE)
    kind = _kind(envelope)
    if is_test_callback(envelope):
        return Callback(kind, outcome=Outcome.TEST)
    reader = _READERS.get(kind or "")
    if reader is None:
        return Callback(kind, outcome=Outcome.UNKNOWN_TYPE)
    try:
        found = reader(_Reader(envelope, received_at))
    except _Unreadable as problem:
        return Callback(kind, outcome=problem.outcome)
    return Callback(kind, (found,), phone=getattr(found, "phone", None))


def dedupe_key(company_key: str, body: bytes) -> str:
    """The same for every delivery of one callback; at most 200 characters.

    It is the outer `event_id`, together with what the callback says: should Vibes use one id for several
    stages of an event, none of them is lost. Without a usable id it is a hash of the body.
    """
    envelope = _parse(body)
    event_id = _text(envelope.get("event_id"), 80) if envelope is not None else None
    if envelope is None or event_id is None or len(company_key) > 100:
        return hashlib.sha256(company_key.encode("utf-8", "replace") + b"\0" + body).hexdigest()
    action = _dig(envelope, "event_processed", "action")
    says = (
        _kind(envelope),
        _dig(envelope, "participant", "status"),
        *((action.get("type"), action.get("status")) if isinstance(action, Mapping) else ()),
    )
    return f"{company_key}:{event_id}:{hashlib.sha256(repr(says).encode('utf-8', 'replace')).hexdigest()[:8]}"


class _Unreadable(Exception):
    """A callback lacks what its kind must carry. Stays in this module."""

    def __init__(self, outcome: Outcome = Outcome.UNREADABLE) -> None:
        self.outcome = outcome
        super().__init__(outcome)


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):  # also what is no UTF-8, and numbers of thousands of digits
        return None
    return found if isinstance(found, dict) else None


def _kind(envelope: Mapping[str, Any]) -> str | None:
    """A participant's status says what happened, then `event_type`, then `callback_type`: the vendor's own
    sample of a changed participant calls itself "added"."""
    state = _dig(envelope, "participant", "status")
    if isinstance(state, str) and state.upper() in _PARTICIPANT_STATES:
        added = _PARTICIPANT_STATES[state.upper()] is None
        return "ack_participant_added" if added else "ack_participant_changed"
    named = [_text(envelope.get(name), 64) for name in ("event_type", "callback_type")]
    known = [kind for kind in named if kind in _READERS]
    if known:
        return known[0]
    if isinstance(envelope.get("event_processed"), Mapping):
        return "event_processed"
    return next((kind for kind in named if kind is not None), None)


@dataclass(frozen=True, slots=True)
class _Reader:
    """One envelope, and how to get at its parts."""

    envelope: Mapping[str, Any]
    received_at: datetime

    def at(self, *paths: tuple[str, ...]) -> datetime:
        """The first of these times that can be read; else `event_date`; else that of arrival."""
        found = self._first(*paths, ("event_date",))
        return found if found is not None else self.received_at

    def opted_in_at(self, *paths: tuple[str, ...]) -> datetime:
        """The first of these times that can be read. Without any the callback is unreadable: dated by its
        arrival, which may be days late, a Yes would overrule a newer STOP."""
        found = self._first(*paths)
        if found is None:
            raise _Unreadable
        return found

    def _first(self, *paths: tuple[str, ...]) -> datetime | None:
        times = (read_time(_dig(self.envelope, *path)) for path in paths)
        return next((min(found, self._latest_possible) for found in times if found is not None), None)

    def latest(self, *paths: tuple[str, ...]) -> datetime:
        """The latest of these times and `event_date`; where it has no seconds, the end of its minute. For
        opt-outs, which must not lose to an older opt-in for being told in another shape."""
        spans: list[tuple[datetime, datetime]] = []
        for path in (*paths, ("event_date",)):
            text = _dig(self.envelope, *path)
            if (found := read_time(text)) is not None:
                start = min(found, self._latest_possible)
                spans.append((start, min(start + _vagueness(text), self._latest_possible)))
        return max(spans)[1] if spans else self.received_at

    @property
    def _latest_possible(self) -> datetime:
        # A vendor's clock may be ahead of ours. More than that would let one event win for ever.
        return self.received_at + CLOCK_SKEW

    def needed(self, longest: int, *paths: tuple[str, ...]) -> str:
        """The first of these that is a usable name or id."""
        for path in paths:
            found = _text(_dig(self.envelope, *path), longest)
            if found is not None:
                return found
        raise _Unreadable

    def phone(self, *path: str) -> str:
        """E.164. Callbacks that were registered with an older API version carry North American numbers
        without their country code."""
        found = _text(_dig(self.envelope, *path), 20) or ""
        if _E164.fullmatch(found):
            return found
        if match := _NORTH_AMERICAN.fullmatch(found):
            return f"+1{match[1]}"
        raise _Unreadable

    def lead_id(self, *path: str) -> str | None:
        """`external_person_id`, or its older twin."""
        person = _dig(self.envelope, *path)
        twins = ("external_person_id", "external_id")
        return next((found for name in twins if (found := _text(_dig(person, name), 128))), None)


def _joined(reader: _Reader) -> Fact:
    at = reader.opted_in_at(("subscription", "opt_in_date"), ("event_date",))
    return Joined(*_member(reader), at, None, reader.lead_id("subscription", "person"))


def _left(reader: _Reader) -> Fact:
    at = reader.latest(("subscription", "opt_out_date"))
    places = (("subscription", "opt_out_reason"), ("opt_out_reason",))
    found = (_text(_dig(reader.envelope, *place), 200) for place in places)
    reason = next((text.lower()[:64] for text in found if text), None)
    return Left(*_member(reader), at, reason, reader.lead_id("subscription", "person"))


def _member(reader: _Reader) -> tuple[str, str]:
    list_id = reader.needed(
        64, ("subscription", "subscription_list", "id"), ("subscription", "subscription_list_id")
    )
    return list_id, reader.phone("subscription", "person", "mobile_phone", "mdn")


_ASKED_AT = ("participant", "participation_date")


def _participant(reader: _Reader) -> Fact:
    state = _dig(reader.envelope, "participant", "status")
    if not isinstance(state, str) or state.upper() not in _PARTICIPANT_STATES:
        raise _Unreadable(Outcome.UNKNOWN_TYPE)
    confirmed = _PARTICIPANT_STATES[state.upper()]
    campaign_id = _campaign_id(reader)
    phone = reader.phone("participant", "person", "mobile_phone", "mdn")
    lead_id = reader.lead_id("participant", "person")
    expire_at = read_time(_dig(reader.envelope, "participant", "expire_date"))
    if confirmed is not None:
        at = reader.opted_in_at(("event_date",), _ASKED_AT) if confirmed else reader.latest()
        return Answered(campaign_id, phone, confirmed, at, expire_at, lead_id)
    asked_at = reader.at(_ASKED_AT)
    return Asked(campaign_id, phone, expire_at or asked_at + USUAL_WINDOW, asked_at, lead_id)


def _campaign_id(reader: _Reader) -> str:
    """The tail of the campaign's address: its `id` is another one than the one that the API takes."""
    url = _text(_dig(reader.envelope, "participant", "acquisition_campaign", "url"), 1024)
    tail = _text(url.split("?")[0].rstrip("/").rpartition("/")[2], 64) if url else None
    return tail or reader.needed(64, ("participant", "acquisition_campaign", "id"))


def _event_stage(reader: _Reader) -> Fact:
    action = _dig(reader.envelope, "event_processed", "action")
    if not isinstance(action, Mapping):
        raise _Unreadable
    event_id = reader.needed(200, ("event_processed", "event_id"))
    if not _EVENT_ID.fullmatch(event_id):
        raise _Unreadable(Outcome.NOTHING_NEW)  # somebody else's event of this company
    found = read_action(action.get("type"), action.get("status"), action.get("status_reason"))
    if found is None:
        raise _Unreadable(Outcome.UNKNOWN_TYPE)
    return EventStage(event_id, found.stage, reader.at(), found.bounce, found.reason)


def _replied(reader: _Reader) -> Fact:
    code = reader.needed(64, ("source_code", "code"))
    return Replied(code, reader.phone("participant", "mdn"), reader.at(("receipt_date",)))


_READERS: Mapping[str, Callable[[_Reader], Fact]] = {
    "subscription_added": _joined,
    "subscription_removed": _left,
    **dict.fromkeys(_PARTICIPANT_TYPES, _participant),
    "event_processed": _event_stage,
    "unmatched_message_received": _replied,
}


def read_time(value: object) -> datetime | None:
    """A vendor's time in aware UTC: `2026-01-02T03:04:05Z`, without seconds, or `2017-04-05 14:30:00 -0600`.
    A time without zone is UTC. None for what is no time, or none of this century."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        found = datetime.fromisoformat(re.sub(r"\s+(?=[+-]\d)", "", value.strip()))
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if found >= _OLDEST else None


def _vagueness(text: str) -> timedelta:
    """From the first moment that a readable time may mean to the last."""
    if _HAS_SECONDS.search(text):
        return timedelta(0)
    whole = timedelta(minutes=1) if _HAS_MINUTES.search(text) else timedelta(days=1)
    return whole - timedelta(microseconds=1)


def _dig(value: object, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: object, longest: int) -> str | None:
    """A name or id that came as text or number; None for what is empty, too long or not printable."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    found = value.strip() if isinstance(value, str) else ""
    return found if 0 < len(found) <= longest and found.isprintable() else None
