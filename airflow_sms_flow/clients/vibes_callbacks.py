"""Callbacks of a Vibes account: who is told what (facts B.2).

The API version of the registering call decides the form of numbers in what is sent later: the account's
calls all carry version 2, which is E.164.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_sms_flow.clients import vibes_answers as answers
from airflow_sms_flow.clients._patience import value_or_raise
from airflow_sms_flow.clients._vibes_account import VibesAccount, many
from airflow_sms_flow.clients._wire import as_object, as_text, as_utc
from airflow_sms_flow.core.answers import Answer
from airflow_sms_flow.core.callback_tests import TEST_MARK, TEST_PERSON_ID, TEST_PHONE
from airflow_sms_flow.core.errors import BugError
from airflow_sms_flow.core.registrations import (
    EVENT_PROCESSED,
    OF_CAMPAIGN,
    OF_LIST,
    SUBJECT_FIELDS,
    UNMATCHED,
    Need,
    Registration,
)

_CALLBACKS = "/companies/{company_key}/config/callbacks/"
_CALLBACK = "/companies/{company_key}/config/callbacks/{callback_id}"
_TEST = "/companies/{company_key}/config/callback_events/test"


class CallbackCalls(VibesAccount):
    """The calls about callbacks, a part of `VibesClient`."""

    def list_callbacks(self) -> tuple[Registration, ...]:
        """Every registration of the account, other people's and other types' among them."""
        found: tuple[Registration, ...] = self._get(self._call("GET", _CALLBACKS), many(parse_registration))
        return found

    def get_callback(self, callback_id: str) -> Registration:
        """The registration with this id. Raises `ConfigError` where the account has none such."""
        call = self._call("GET", _CALLBACK, path={"callback_id": callback_id})
        found: Registration = self._get(call, parse_registration, hint=f"callback_id={callback_id!r}")
        return found

    def register_callback(self, need: Need, url: str) -> Answer:
        """Have Vibes tell `url` about `need`, in one attempt: OK(created), with a `Registration` where the
        vendor gives one. ALREADY and IN_DOUBT: `list_callbacks` before repeating, for a second registration
        would tell everything twice."""
        body = {
            "callback_type": need.callback_type,
            need.callback_type: _scope(need),
            "destination": {"url": url, "method": "POST", "content_type": "application/json"},
        }
        call = self._call("POST", _CALLBACKS, body=body)
        outcome = self._ask(self.rings.calls, call, None)
        why = f"check {SUBJECT_FIELDS[need.callback_type]}, and that the address is https and can be reached"
        return answers.read_created(call, outcome, parse_registration, refused=why)

    def delete_callback(self, callback_id: str) -> None:
        """Have Vibes forget a registration; one that is gone already is gone. Repeats passing faults."""
        call = self._call("DELETE", _CALLBACK, path={"callback_id": callback_id})
        value_or_raise(
            self._waiter.persist(
                lambda: answers.read_deleted(call, self._ask(self.rings.calls, call, None)), self._patience
            )
        )

    def fire_test_callback(self, need: Need) -> Answer:
        """Have Vibes send a made-up callback of this type to everybody registered for it.

        OK(fired) with its event id, which the callback carries; CONFIG(not_registered) where Vibes knows of
        no registration. Repeats passing faults: a test more does no harm, since `is_test_callback` knows
        each of them. Raises `BugError` for a type without a test event.
        """
        call = self._call("POST", _TEST, body=_test_body(need))
        return self._waiter.persist(
            lambda: answers.read_fired(call, self._ask(self.rings.calls, call, None), parse_event_id),
            self._patience,
        )


def parse_registration(value: object) -> Registration:
    """One registration. `event_type` is an old name of `callback_type`; unreadable dates count as none, for
    they may belong to somebody else's."""
    item = as_object(value)
    kind = as_text(item.get("callback_type")) or as_text(item.get("event_type"))
    identifier = as_text(item.get("callback_id"))
    if kind is None or identifier is None:
        raise ValueError("a registration without type or id")
    scope = _object(item.get(kind))
    destination = _object(item.get("destination"))
    start, end = (_date(item.get(name)) for name in ("start_date", "end_date"))
    return Registration(
        id=identifier,
        callback_type=kind,
        subject=as_text(scope.get(SUBJECT_FIELDS.get(kind, ""))),
        url=as_text(destination.get("url")) or "",
        country_code=as_text(scope.get("country_code")),
        callbacks_to_send=(as_text(scope.get("callbacks_to_send")) or "all").lower(),
        start_date=start,
        end_date=end,
    )


def parse_event_id(value: object) -> str:
    """What the test call answers: the id of the callback that will come."""
    identifier = as_text(as_object(value).get("event_id"))
    if identifier is None:
        raise ValueError("no event_id")
    return identifier


def _scope(need: Need) -> dict[str, str]:
    scope = {SUBJECT_FIELDS[need.callback_type]: need.subject}
    if need.callback_type == EVENT_PROCESSED:
        scope["callbacks_to_send"] = "all"
    if need.callback_type == UNMATCHED and need.country_code:
        scope["country_code"] = need.country_code
    return scope


def _test_body(need: Need) -> dict[str, object]:
    """With our marks, each where `is_test_callback` looks for it."""
    body: dict[str, object] = {"callback_type": need.callback_type}
    if need.callback_type in OF_CAMPAIGN:
        body["participant"] = {
            "id": TEST_PERSON_ID,
            "mobile_phone": {"mdn": TEST_PHONE},
            "acquisition_campaign": {"api_key": need.subject, "description": TEST_MARK},
        }
    elif need.callback_type in OF_LIST:
        body["subscription"] = {"person": {"id": TEST_PERSON_ID}, "subscription_list": {"id": need.subject}}
    elif need.callback_type == EVENT_PROCESSED:
        body["event_processed"] = {"event_id": TEST_MARK, "event_data": {"mdn": TEST_PHONE}}
    else:
        raise BugError(f"{need.callback_type} has no test event")
    return body


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _date(value: object) -> Any:
    try:
        moment = as_utc(value)
    except ValueError:
        return None
    return moment.date() if moment else None
