"""The panel's part about callbacks and extract files: `/_sandbox/callbacks`, `/_sandbox/extracts`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_sms_flow.sandbox.clock import iso
from airflow_sms_flow.sandbox.numbers import us_number
from airflow_sms_flow.sandbox.state import State
from airflow_sms_flow.sandbox.vibes.callback_record import WHAT
from airflow_sms_flow.sandbox.vibes.callback_samples import subject_of
from airflow_sms_flow.sandbox.vibes.extracts import Extract, Wish, make_extract, write_extract
from airflow_sms_flow.sandbox.wire import TEXT_TYPE, Request, Response, Router, json_response

Values = dict[str, str]
_MOST_IN_A_BURST = 200_000
_AT_ONCE = 500


class CallbackPanel:
    """Its handlers are called without the sandbox's lock, and take it for as short as they can: others go on
    while a burst is made, or a file with a million rows is written.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def add_to(self, router: Router) -> None:
        """Add these routes."""
        router.add("GET", "/_sandbox/callbacks", self._show)
        router.add("GET", "/_sandbox/callbacks/record", self._record)
        router.add("POST", "/_sandbox/callbacks/resend", self._resend)
        router.add("POST", "/_sandbox/callbacks/burst", self._burst)
        router.add("POST", "/_sandbox/extracts", self._write)
        router.add("GET", "/_sandbox/extracts/{extract}", self._download)

    def _show(self, request: Request, values: Values) -> Response:
        """Counts per type, what waits, how the addresses behave, the failure queue, and who registered."""
        with self._state.lock:
            registrations = [
                {
                    "company_key": key,
                    "callback_id": one.callback_id,
                    "callback_type": one.callback_type,
                    "scope": one.scope,
                    "version": one.version,
                }
                for key, callbacks in self._state.callbacks.items()
                for one in callbacks.by_id.values()
            ]
            shown = self._state.deliveries.as_dict()
        return json_response(200, shown | {"registrations": registrations})

    def _record(self, request: Request, values: Values) -> Response:
        """What became of each callback, oldest first. `since=` and `what=` narrow."""
        what, since = request.parameter("what"), int(request.parameter("since") or 0)
        if what is not None and what not in WHAT:
            raise ValueError(f"what={what!r}: give one of {', '.join(WHAT)}")
        return json_response(200, {"entries": self._state.deliveries.record.since(since, what)})

    def _resend(self, request: Request, values: Values) -> Response:
        return json_response(200, {"resent": self._state.deliveries.resend()})

    def _burst(self, request: Request, values: Values) -> Response:
        """Body: callback_type, count; per_second spreads them, `first` says from which made-up person on."""
        body = request.json_object()
        count, first = _whole(body, "count", 1, _MOST_IN_A_BURST), _whole(body, "first", 0, 10**9)
        per_second = body.get("per_second")
        if per_second is not None and (not isinstance(per_second, (int, float)) or not per_second > 0):
            raise ValueError(f"per_second={per_second!r}: give a number above 0, or leave it out")
        callbacks = self._state.callbacks[self._state.company.company_key]
        callback_type = body.get("callback_type")
        registrations = callbacks.active(str(callback_type))
        if not registrations:
            raise ValueError(f"callback_type={callback_type!r}: nobody is registered for this type")
        for start in range(0, count, _AT_ONCE):
            with self._state.lock:
                for index in range(start, min(start + _AT_ONCE, count)):
                    after = index / per_second if per_second else 0.0
                    person = first + index
                    for one in registrations:
                        about = (one.callback_type, one.scope or {}, us_number(person), person)
                        subject = subject_of(self._state.company, *about)
                        callbacks.send([one], one.callback_type, subject, after)
        return json_response(200, {"made": count * len(registrations)})

    def _write(self, request: Request, values: Values) -> Response:
        """Body: extract and folder; list_id, as_of and rows if wanted."""
        body = request.json_object()
        folder = Path(str(body.get("folder", "")))
        if not body.get("folder") or not folder.is_dir():
            raise ValueError(f"folder={body.get('folder')!r}: give an existing folder of this machine")
        extract, wish = self._extract(body)
        path = write_extract(extract, folder)
        return json_response(200, {"path": str(path), "rows": extract.rows, "as_of": iso(wish.as_of)})

    def _download(self, request: Request, values: Values) -> Response:
        """The same as the body of the answer; `list_id=`, `as_of=` and `rows=` as above."""
        rows = request.parameter("rows") or "0"
        if not rows.isdecimal():
            raise ValueError(f"rows={rows!r}: give a whole number")
        query = {name: request.parameter(name) for name in ("list_id", "as_of")}
        extract, _ = self._extract({"extract": values["extract"], "rows": int(rows), **query})
        content = b"".join(extract.chunks())
        headers = {"Content-Disposition": f'attachment; filename="{extract.name}"'}
        return Response(200, content, TEXT_TYPE, headers)

    def _extract(self, body: dict[str, Any]) -> tuple[Extract, Wish]:
        list_id = body.get("list_id")
        with self._state.lock:
            as_of = _moment(body["as_of"]) if body.get("as_of") else self._state.clock.now()
            rows = _whole(body, "rows", 0, 3_000_000)
            wish = Wish(str(body.get("extract")), as_of, None if list_id is None else str(list_id), rows)
            return make_extract(self._state.company, wish), wish


def _whole(body: dict[str, Any], name: str, least: int, most: int) -> int:
    value = body.get(name, 0)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name}={value!r}: give a whole number from {least} to {most}")
    return value


def _moment(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"as_of={value!r}: give a moment such as 2026-01-02T03:04:05Z") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
