"""The callback registrations over HTTP, and the test event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_sms_flow.sandbox.vibes.callback_payloads import date_text
from airflow_sms_flow.sandbox.vibes.callback_samples import TESTABLE, sample
from airflow_sms_flow.sandbox.vibes.callbacks import Callbacks, Registration
from airflow_sms_flow.sandbox.vibes.models import VibesError
from airflow_sms_flow.sandbox.wire import Request, Response, Router

Values = dict[str, str]
Answer = Callable[[Values, object, int], Response]


class CallbackRoutes:
    """For all companies. `answer` writes a body the way that Vibes does today."""

    def __init__(self, callbacks: Mapping[str, Callbacks], answer: Answer) -> None:
        self._callbacks, self._answer = callbacks, answer

    def add_to(self, router: Router) -> None:
        """Add these routes to the others of Vibes."""
        root = "/companies/{company_key}/config"
        router.add("POST", f"{root}/callbacks/", self._register)
        router.add("GET", f"{root}/callbacks/", self._list)
        for method in ("GET", "PUT", "DELETE"):
            router.add(method, f"{root}/callbacks/{{callback_id}}", self._one)
        router.add("POST", f"{root}/callback_events/test", self._test)

    def _register(self, request: Request, values: Values) -> Response:
        version = request.headers.get("x-api-version", "1")
        created = self._of(values).create(request.json_object(), version)
        return self._answer(values, self._shown(values, created), 201)

    def _list(self, request: Request, values: Values) -> Response:
        shown = [self._shown(values, one) for one in self._of(values).by_id.values()]
        return self._answer(values, shown, 200)

    def _one(self, request: Request, values: Values) -> Response:
        callbacks = self._of(values)
        registration = callbacks.get(values["callback_id"])
        if request.method == "PUT":
            callbacks.update(registration, request.json_object())
        elif request.method == "DELETE":
            del callbacks.by_id[registration.callback_id]
        return self._answer(values, self._shown(values, registration), 200)

    def _test(self, request: Request, values: Values) -> Response:
        """Fires a made-up event at every registration of its type and scope."""
        callbacks, body = self._of(values), request.json_object()
        callback_type = body.get("callback_type")
        if callback_type not in TESTABLE:
            raise VibesError(422, "callback_type is missing or has no test event")
        subject = sample(callbacks.company, callback_type, body)
        wanted = callbacks.active(callback_type)
        if callback_type != "event_processed":  # the test call's schema has no event_type to choose by
            wanted = [one for one in wanted if one.wants(subject)]
        if not wanted:
            raise VibesError(404, f"No active registration of {callback_type}")
        event_id = callbacks.send(wanted, callback_type, subject)
        return self._answer(values, {"message": "Test event queued", "event_id": event_id}, 201)

    def _shown(self, values: Values, one: Registration) -> dict[str, Any]:
        """Vendor and portal disagree about the names of the dates; with moods, both occur."""
        callbacks = self._of(values)
        portal = callbacks.company.settings.moods and int(one.callback_id) % 2 == 0
        shown: dict[str, Any] = {
            "callback_id": one.callback_id,
            "callback_type": one.callback_type,
            "destination": {"url": one.url, "method": one.method, "content_type": one.content_type},
            "url": f"/companies/{values['company_key']}/config/callbacks/{one.callback_id}",
            "created_at" if portal else "created_date": date_text(one.created_at),
            "updated_at" if portal else "updated_date": date_text(one.updated_at),
        }
        if one.scope is not None:
            shown[one.callback_type] = one.scope
        dates = {"start_date": one.start_date, "end_date": one.end_date}
        return shown | {name: day.isoformat() for name, day in dates.items() if day is not None}

    def _of(self, values: Values) -> Callbacks:
        return self._callbacks[values["company_key"]]
