"""Marketo over HTTP: identity, the envelope, and the routes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

from airflow_sms_flow.sandbox.faults import Faults
from airflow_sms_flow.sandbox.marketo.exports import Exports, Job
from airflow_sms_flow.sandbox.marketo.models import (
    FIELD_NAMES,
    FIELDS,
    SEARCHABLE,
    Instance,
    Lead,
    MarketoError,
    MarketoList,
)
from airflow_sms_flow.sandbox.wire import BadRequest, Request, Response, Router, json_response, text_response

#: Codes of calls that cost nothing: neither rate nor quota.
FREE_CODES = frozenset({"601", "602", "604", "605", "608", "611"})
IDENTITY = "/identity/oauth/token"
_DEFAULT_FIELDS = ("id", "email", "updatedAt", "createdAt", "lastName", "firstName")
_NO_ASSETS = "No assets found for the given search criteria."
Values = dict[str, str]


class MarketoApi:
    """One Marketo instance on the wire."""

    def __init__(self, instance: Instance, faults: Faults, forgive: Callable[[], None]) -> None:
        self.instance, self.faults, self._forgive = instance, faults, forgive
        self.exports = Exports(instance)
        self.router = Router()
        self._numbers = count(1)
        self._add_routes()

    def _add_routes(self) -> None:
        add, bulk, asset = self.router.add, "/bulk/v1/leads/export", "/rest/asset/v1"
        add("GET", f"{bulk}.json", self._list_jobs)
        add("POST", f"{bulk}/create.json", self._create_job)
        add("POST", f"{bulk}/{{export_id}}/enqueue.json", self._enqueue)
        add("GET", f"{bulk}/{{export_id}}/status.json", self._status)
        add("GET", f"{bulk}/{{export_id}}/file.json", self._file)
        add("POST", f"{bulk}/{{export_id}}/cancel.json", self._cancel)
        add("GET", "/rest/v1/leads/describe.json", self._describe)
        add("GET", "/rest/v1/leads/describe2.json", self._describe2)
        add("GET", "/rest/v1/leads.json", self._leads)
        add("GET", "/rest/v1/lead/{lead_id}.json", self._lead)
        add("GET", "/rest/v1/lists.json", self._lead_lists)
        add("GET", "/rest/v1/lists/{list_id}.json", self._lead_list)
        for path in ("/rest/v1/lists/{list_id}/leads.json", "/rest/v1/list/{list_id}/leads.json"):
            add("GET", path, self._members)
        add("POST", "/rest/v1/lists/{list_id}/leads.json", self._add_or_remove)
        add("DELETE", "/rest/v1/lists/{list_id}/leads.json", self._add_or_remove)
        for kind in ("smart", "static"):
            add("GET", f"{asset}/{kind}Lists.json", self._assets)
            add("GET", f"{asset}/{kind}List/byName.json", self._asset_by_name)
            add("GET", f"{asset}/{kind}List/{{list_id}}.json", self._asset)

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.path == IDENTITY:
            request.route = IDENTITY
            return self._token(request)
        try:
            return self._handle(request)
        except MarketoError as error:
            if error.code in FREE_CODES:
                self._forgive()
            return self._answer(None, errors=[{"code": error.code, "message": str(error)}])
        except BadRequest as error:
            return self._answer(None, errors=[{"code": "609", "message": f"Invalid JSON: {error}"}])

    def _handle(self, request: Request) -> Response:
        found = self.router.find(request.method, request.path)
        if found:
            request.route = found[0].template
        if request.parameter("access_token") is not None:
            raise MarketoError("600", "The access_token parameter is gone: use the Authorization header")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        request.notes["client_id"] = self.instance.authenticate(
            token.strip() if scheme.lower() == "bearer" else ""
        )
        self._check_limits(request)
        if found is None:
            nearby = "; ".join(self.router.nearby(request.method, request.path))
            error = {"code": "610", "message": f"Requested resource not found; nearby: {nearby}"}
            return json_response(404, {"requestId": self._request_id(), "success": False, "errors": [error]})
        return found[0].handler(request, found[1])

    def _check_limits(self, request: Request) -> None:
        settings = self.instance.settings
        if request.too_many_at_once:
            raise MarketoError(
                "615", f"Concurrent access limit '{settings.marketo_concurrent_calls}' reached"
            )
        if request.over_limit:
            limit, window = settings.marketo_calls_per_window, settings.marketo_window_seconds
            raise MarketoError("606", f"Max rate limit '{limit}' exceeded with in '{window:g}' secs")
        self.instance.count_call()

    def _request_id(self) -> str:
        return f"{next(self._numbers):x}#sandbox"

    def _answer(self, result: list[Any] | None, **more: Any) -> Response:
        body: dict[str, Any] = {"requestId": self._request_id(), "success": "errors" not in more, **more}
        if result is not None:
            body["result"] = result
        return json_response(200, body)

    def _token(self, request: Request) -> Response:
        if request.method not in ("GET", "POST") or request.parameter("grant_type") != "client_credentials":
            return _unauthorized("Unsupported grant type")
        client_id, secret = request.parameter("client_id") or "", request.parameter("client_secret") or ""
        token = self.instance.token(client_id, secret)
        if token is None:
            return _unauthorized("Bad client credentials")
        left = int((token.expires_at - self.instance.clock.now()).total_seconds())
        scope = f"{client_id}@acme.example"
        body = {"access_token": token.value, "token_type": "bearer", "expires_in": left, "scope": scope}
        return json_response(200, body)

    # Bulk export

    def _job(self, request: Request, values: Values) -> Job:
        return self.exports.get(request.notes["client_id"], values["export_id"])

    def _create_job(self, request: Request, values: Values) -> Response:
        return self._answer([_job(self.exports.create(request.notes["client_id"], request.json_object()))])

    def _enqueue(self, request: Request, values: Values) -> Response:
        job = self._job(request, values)
        self.exports.enqueue(job)
        job.will_fail = self.faults.strikes("export_failed", request)
        return self._answer([_job(job)])

    def _status(self, request: Request, values: Values) -> Response:
        job = self._job(request, values)
        shown = _job(job)
        if job.status == "Completed" and self.faults.strikes("wrong_checksum", request):
            shown["fileChecksum"] = "sha256:" + "0" * 64
        return self._answer([shown])

    def _cancel(self, request: Request, values: Values) -> Response:
        job = self._job(request, values)
        self.exports.cancel(job)
        return self._answer([_job(job)])

    def _list_jobs(self, request: Request, values: Values) -> Response:
        wanted = {word.lower() for word in (request.parameter("status") or "").split(",") if word}
        if "canceled" in wanted:
            wanted.add("cancelled")
        mine = [job for job in self.exports.jobs.values() if job.client_id == request.notes["client_id"]]
        jobs = [job for job in mine if not wanted or job.status.lower() in wanted]
        page, more = _page(request, jobs, 300)
        return self._answer([_job(job) for job in page], **more)

    def _file(self, request: Request, values: Values) -> Response:
        job = self.exports.jobs.get(values["export_id"])
        mine = job is not None and job.client_id == request.notes["client_id"]
        if job is None or not mine or job.status != "Completed" or self.faults.strikes("lost_job", request):
            return text_response(404, "File not found")
        return _file_response(job, request.headers.get("range"))

    # Leads

    def _describe(self, request: Request, values: Values) -> Response:
        fields = []
        for number, field in enumerate(FIELDS, 1):
            rest = {"name": field.name, "readOnly": field.read_only}
            one = {"id": number, "displayName": field.display_name, "dataType": field.data_type, "rest": rest}
            fields.append(one | ({"length": field.length} if field.length else {}))
        return self._answer(fields)

    def _describe2(self, request: Request, values: Values) -> Response:
        fields = []
        for field in FIELDS:
            one = {"name": field.name, "displayName": field.display_name, "dataType": field.data_type}
            more = {"length": field.length} if field.length else {}
            fields.append(one | more | {"updateable": not field.read_only, "crmManaged": False})
        searchable = [[name] for name in SEARCHABLE]
        return self._answer([{"name": "API Lead", "searchableFields": searchable, "fields": fields}])

    def _leads(self, request: Request, values: Values) -> Response:
        name, wanted = request.parameter("filterType"), (request.parameter("filterValues") or "").split(",")
        if name not in SEARCHABLE:
            raise MarketoError("1003", f"Invalid filterType '{name}'")
        if len(wanted) > 300:
            raise MarketoError("1003", "More than 300 filterValues")
        found = [lead for lead in self.instance.leads.values() if str(lead[name]) in wanted]
        if len(found) > 1000:
            raise MarketoError("1003", "More than 1000 leads match the filter")
        return self._lead_page(request, found)

    def _lead(self, request: Request, values: Values) -> Response:
        lead = self.instance.leads.get(_number(values["lead_id"]))
        if lead is None:
            raise MarketoError("1004", f"Lead with id '{values['lead_id']}' not found")
        return self._answer([_shown(lead, _wanted_fields(request))])

    def _lead_page(self, request: Request, leads: Sequence[Lead]) -> Response:
        fields = _wanted_fields(request)
        page, more = _page(request, leads, 300)
        return self._answer([_shown(lead, fields) for lead in page], **more)

    # Static lists, as the lead database sees them

    def _static_list(self, list_id: str) -> MarketoList:
        found = self.instance.static_lists.get(_number(list_id))
        if found is None:
            raise MarketoError("1013", f"Object (list) with id '{list_id}' not found")
        return found

    def _lead_lists(self, request: Request, values: Values) -> Response:
        found: Iterable[MarketoList] = self.instance.static_lists.values()
        for name, attribute in (("id", "list_id"), ("name", "name")):
            wanted = request.query.get(name)
            if wanted is not None:
                found = [one for one in found if str(getattr(one, attribute)) in ",".join(wanted).split(",")]
        page, more = _page(request, list(found), 300)
        return self._answer([_lead_list(one) for one in page], **more)

    def _lead_list(self, request: Request, values: Values) -> Response:
        return self._answer([_lead_list(self._static_list(values["list_id"]))])

    def _members(self, request: Request, values: Values) -> Response:
        return self._lead_page(request, self.instance.members(self._static_list(values["list_id"])))

    def _add_or_remove(self, request: Request, values: Values) -> Response:
        one = self._static_list(values["list_id"])
        lead_ids = [_number(text) for text in ",".join(request.query.get("id", [])).split(",") if text]
        if not lead_ids and request.body:
            lead_ids = _input_ids(request)
        if len(lead_ids) > 300:
            raise MarketoError("1003", "More than 300 ids")
        known = [lead_id for lead_id in lead_ids if lead_id in self.instance.leads]
        adding = request.method == "POST"
        members = set(one.lead_ids)
        one.lead_ids = sorted(members | set(known) if adding else members - set(known))
        done = "added" if adding else "removed"
        skipped = {"status": "skipped", "reasons": [{"code": "1004", "message": "Lead not found"}]}
        return self._answer([{"id": n, **({"status": done} if n in known else skipped)} for n in lead_ids])

    # Lists, as the asset API sees them

    def _lists_of(self, request: Request) -> dict[int, MarketoList]:
        return self.instance.smart_lists if "/smartList" in request.path else self.instance.static_lists

    def _asset_answer(self, request: Request, found: Iterable[MarketoList]) -> Response:
        smart = "/smartList" in request.path
        result = [_asset(one, smart=smart) for one in found]
        return self._answer(result) if result else self._answer(None, warnings=[_NO_ASSETS])

    def _assets(self, request: Request, values: Values) -> Response:
        offset = _number(request.parameter("offset") or "0")
        size = _number(request.parameter("maxReturn") or "20")
        if not 0 < size <= 200:
            raise MarketoError("709", "maxReturn must be from 1 to 200")
        return self._asset_answer(request, list(self._lists_of(request).values())[offset : offset + size])

    def _asset(self, request: Request, values: Values) -> Response:
        found = self._lists_of(request).get(_number(values["list_id"]))
        return self._asset_answer(request, [found] if found else [])

    def _asset_by_name(self, request: Request, values: Values) -> Response:
        name = request.parameter("name")
        return self._asset_answer(
            request, [one for one in self._lists_of(request).values() if one.name == name]
        )


def _unauthorized(description: str) -> Response:
    return json_response(401, {"error": "unauthorized", "error_description": description})


def _number(text: str) -> int:
    if not text.isdecimal():
        raise MarketoError("1001", f"Invalid value '{text}'. Required of type 'Integer'")
    return int(text)


def _input_ids(request: Request) -> list[int]:
    items = request.json_object().get("input")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise MarketoError("1002", "Missing value for required parameter 'input'")
    return [_number(str(item.get("id"))) for item in items]


def _wanted_fields(request: Request) -> Sequence[str]:
    wanted = [name for name in (request.parameter("fields") or "").split(",") if name]
    unknown = [name for name in wanted if name not in FIELD_NAMES]
    if unknown:
        raise MarketoError("1006", f"Field '{unknown[0]}' not found")
    return ["id", *(name for name in wanted if name != "id")] if wanted else _DEFAULT_FIELDS


def _shown(lead: Lead, fields: Sequence[str]) -> Lead:
    return {name: lead[name] for name in fields}


def _page(request: Request, items: Sequence[Any], largest: int) -> tuple[Sequence[Any], dict[str, Any]]:
    size = min(_number(request.parameter("batchSize") or str(largest)), largest) or largest
    start = _number((request.parameter("nextPageToken") or "SB0").removeprefix("SB"))
    more = {"nextPageToken": f"SB{start + size}", "moreResult": True} if len(items) > start + size else {}
    return items[start : start + size], more


def _asset(one: MarketoList, *, smart: bool) -> dict[str, Any]:
    url = f"https://app-sandbox.marketo.example/#{'SL' if smart else 'ST'}{one.list_id}A1"
    dates = {"createdAt": _asset_date(one.created_at), "updatedAt": _asset_date(one.updated_at)}
    shown = {"id": one.list_id, "name": one.name, "description": one.description, **dates, "url": url}
    shown |= {"folder": {"id": 31, "type": "Folder"}, "workspace": "Default"}
    return shown if smart else shown | {"computedUrl": url}


def _lead_list(one: MarketoList) -> dict[str, Any]:
    dates = {"createdAt": _date(one.created_at), "updatedAt": _date(one.updated_at)}
    return {"id": one.list_id, "name": one.name, "workspaceName": "Default", **dates}


def _asset_date(moment: datetime) -> str:
    """Asset dates end in `Z+0000`, which no parser of ISO-8601 takes."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ+0000")


def _date(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _job(job: Job) -> dict[str, Any]:
    shown: dict[str, Any] = {"exportId": job.export_id, "status": job.status, "format": job.format}
    dates = {"queuedAt": job.queued_at, "startedAt": job.started_at, "finishedAt": job.finished_at}
    shown["createdAt"] = _date(job.created_at)
    shown |= {name: _date(moment) for name, moment in dates.items() if moment is not None}
    if job.status == "Completed":
        shown |= {"numberOfRecords": job.records, "fileSize": len(job.file), "fileChecksum": job.checksum}
    return shown | ({"errorMsg": job.error} if job.error else {})


def _file_response(job: Job, wanted: str | None) -> Response:
    headers = {"Accept-Ranges": "bytes"}
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "")
    if found is None:
        return Response(200, job.file, "text/csv", headers)
    size = len(job.file)
    first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
    if first > last:
        return Response(416, b"", "text/plain", {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Response(206, job.file[first : last + 1], "text/csv", headers)
