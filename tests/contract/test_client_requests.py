"""Every request of both clients has the shape that the vendors' own specs describe.

The specs lie beside the repository, not in it. They know nothing of behaviour: only method, path, query,
headers and body are held against them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonpatch
import jsonschema
import pytest

from airflow_sms_flow.clients.marketo import ExportJob, MarketoClient, SmartListFilter, StaticListFilter
from airflow_sms_flow.clients.throttle import Ring
from airflow_sms_flow.clients.vibes import Patience, VibesClient, VibesRings
from airflow_sms_flow.core.errors import SmsFlowError
from airflow_sms_flow.core.registrations import TESTED_TYPES, Subjects, needed
from tests.clients.scripted_server import Request, ScriptedServer, answer

SPECS = Path(__file__).parents[2].parent / "shared" / "specs"
MDN = "+12025550132"
ONCE = Patience(attempts=1)

pytestmark = pytest.mark.skipif(
    not SPECS.is_dir(), reason="the vendors' specs are not beside this repository"
)


class Spec:
    """One vendor's spec, OpenAPI 3 or Swagger 2, with the corrections that its own prose asks for."""

    def __init__(self, vendor: str) -> None:
        described = json.loads((SPECS / f"{vendor}-openapi.json").read_text())
        patch = json.loads((SPECS / f"{vendor}-prose.jsonpatch.json").read_text())
        self.document: dict[str, Any] = jsonpatch.apply_patch(described, patch)

    def check(self, request: Request) -> str:
        """Hold one request against its operation; returns the path template that it matched."""
        template, values = self._match(request)
        operation = self.document["paths"][template][request.method.lower()]
        given: dict[str, Mapping[str, Any]] = {
            "path": values,
            "query": parse_qs(
                urlsplit(request.target).query, strict_parsing=bool(urlsplit(request.target).query)
            ),
            "header": request.headers,
        }
        declared = {(one["in"], one["name"]): one for one in operation.get("parameters", [])}
        for (place, name), parameter in declared.items():
            self._check_parameter(request, place, name, parameter, given)
        unknown = {name for name in given["query"] if ("query", name) not in declared}
        assert not unknown, f"{template} knows no query parameters {unknown}"
        self._check_body(request, operation, declared)
        return f"{request.method} {template}"

    def _match(self, request: Request) -> tuple[str, dict[str, str]]:
        found = []
        for template, operations in self.document["paths"].items():
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template))
            matched = re.fullmatch(pattern, request.path)
            if matched and request.method.lower() in operations:
                found.append((template.count("{"), template, matched.groupdict()))
        assert found, f"no operation for {request.method} {request.path}"
        _, template, values = min(found, key=lambda one: one[0])
        return template, values

    def _check_parameter(
        self, request: Request, place: str, name: str, parameter: Mapping[str, Any], given: Mapping[str, Any]
    ) -> None:
        if place == "body":
            return
        value = given[place].get(name.lower() if place == "header" else name)
        assert value is not None or not parameter.get("required"), f"{place} {name} is missing"
        if value is None:
            return
        kind = parameter.get("type") or parameter.get("schema", {}).get("type")
        texts = value if isinstance(value, list) else [value]
        patterns = {"integer": r"-?\d+", "boolean": r"true|false"}
        assert all(re.fullmatch(patterns.get(kind, r"(?s).+"), text) for text in texts), (
            f"{name} is no {kind}"
        )
        if kind != "array":
            assert len(texts) == 1, f"{name} is given twice"

    def _check_body(
        self, request: Request, operation: Mapping[str, Any], declared: Mapping[tuple[str, str], Any]
    ) -> None:
        body: Mapping[str, Any] | None = operation.get("requestBody")
        schema = body["content"]["application/json"]["schema"] if body else None
        for (place, _), parameter in declared.items():
            if place == "body":
                schema, body = parameter["schema"], parameter
        if not request.body:
            assert not (body and body.get("required")), "the body is missing"
            return
        assert schema is not None, f"{request.method} {request.path} takes no body"
        assert request.headers["content-type"] == "application/json"
        # Fields that no schema names would pass unseen: what the vendor ignores, we meant to say.
        strict = _closed(schema, self.document)
        jsonschema.Draft202012Validator(strict).validate(request.json())


def _closed(schema: Any, document: Mapping[str, Any]) -> Any:
    """The schema without references, and closed to properties that it does not name."""
    if isinstance(schema, list):
        return [_closed(one, document) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return _closed(target, document)
    closed = {key: _closed(value, document) for key, value in schema.items()}
    if isinstance(closed.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


@pytest.fixture(scope="module")
def vibes_spec() -> Spec:
    """What Vibes describes."""
    return Spec("vibes")


@pytest.fixture(scope="module")
def marketo_spec() -> Spec:
    """What Marketo describes."""
    return Spec("marketo")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Answers anything, so that each call sends its one request."""
    job = {"exportId": "e-1", "status": "Created", "id": 1, "name": "x"}
    body = {"success": True, "result": [job], "access_token": "t", "expires_in": 3599}
    with ScriptedServer(forever=answer(200, body)) as running:
        yield running


CALLBACK_URL = "https://flow.example.com/sms-flow/callbacks/a-secret"
CALLBACK_NEEDS = needed(Subjects(("12",), ("ACQ1",), ("offer",), ("52623",)), {"52623": "1"})

VIBES_CALLS: dict[str, Callable[[VibesClient], object]] = {
    "subscriber by number": lambda vibes: vibes.find_subscriber("12", mdn=MDN),
    "subscriber by external id": lambda vibes: vibes.find_subscriber("12", external_person_id="4 2/+"),
    "person": lambda vibes: vibes.find_person(mdn=MDN),
    "subscriptions": lambda vibes: vibes.get_subscriptions("aaaa-bbbb"),
    "active subscriptions": lambda vibes: vibes.get_subscriptions("aaaa-bbbb", active_only=True),
    "pending": lambda vibes: vibes.find_pending("ACQ1", mdn=MDN),
    "participant": lambda vibes: vibes.add_participant("ACQ1", mdn=MDN),
    "participant with id": lambda vibes: vibes.add_participant("ACQ1", mdn=MDN, external_person_id="42"),
    "unsubscribe": lambda vibes: vibes.unsubscribe("12", person_key="aaaa-bbbb"),
    "unsubscribe by external id": lambda vibes: vibes.unsubscribe("12", external_person_id="4/2"),
    "event": lambda vibes: vibes.send_event("offer", "event-1", MDN, {"message_body": "Hi ☃"}),
    "list": lambda vibes: vibes.get_subscription_list("12"),
    "lists": lambda vibes: vibes.list_subscription_lists(),
    "campaigns of list": lambda vibes: vibes.list_acquisition_campaigns_of("12"),
    "acquisition campaign": lambda vibes: vibes.get_acquisition_campaign("ACQ1"),
    "event campaigns": lambda vibes: vibes.list_event_campaigns("offer", "in_progress"),
    "all event campaigns": lambda vibes: vibes.list_event_campaigns(),
    "new event campaign": lambda vibes: vibes.create_event_campaign(
        name="Offers",
        event_type="offer",
        message_template="{{ ev.message_body }}",
        list_id="12",
        source_code="52623",
        start_date=date(2026, 1, 2),
    ),
    "source codes": lambda vibes: vibes.list_source_codes(),
    "check": lambda vibes: vibes.check(),
    "callbacks": lambda vibes: vibes.list_callbacks(),
    "callback": lambda vibes: vibes.get_callback("77"),
    "callback no longer": lambda vibes: vibes.delete_callback("77"),
    **{
        f"callback {need.callback_type}": partial(VibesClient.register_callback, need=need, url=CALLBACK_URL)
        for need in CALLBACK_NEEDS
    },
    **{
        f"test of {need.callback_type}": partial(VibesClient.fire_test_callback, need=need)
        for need in CALLBACK_NEEDS
        if need.callback_type in TESTED_TYPES
    },
}


def _vibes(server: ScriptedServer) -> VibesClient:
    return VibesClient(
        host=server.url,
        company_key="ACME",
        username="api-user",
        password="secret",
        rings=VibesRings(Ring(1000), Ring(1000)),
        patience=ONCE,
    )


@pytest.mark.parametrize("name", VIBES_CALLS)
def test_a_request_to_vibes_is_as_its_spec_describes(
    vibes_spec: Spec, server: ScriptedServer, name: str
) -> None:
    """Method, path with its slash, query, headers and body, version 2 always."""
    client = _vibes(server)
    _quietly(lambda: VIBES_CALLS[name](client))
    (request,) = server.requests
    vibes_spec.check(request)
    assert request.headers["x-api-version"] == "2"
    assert request.query.get("mdn", MDN) == MDN


def test_each_request_to_vibes_reaches_an_operation_of_its_own(
    vibes_spec: Spec, server: ScriptedServer
) -> None:
    """The contract test covers every operation that the client uses; here they are."""
    client = _vibes(server)
    for call in VIBES_CALLS.values():
        _quietly(partial(call, client))
    assert len({vibes_spec.check(request) for request in server.requests}) == 20


MARKETO_CALLS: dict[str, Callable[[MarketoClient, Path], object]] = {
    "smart list by id": lambda marketo, to: marketo.find_smart_list(1234),
    "smart list by name": lambda marketo, to: marketo.find_smart_list("Offers & more"),
    "static list by id": lambda marketo, to: marketo.find_static_list(7),
    "static list by name": lambda marketo, to: marketo.find_static_list("Fallback"),
    "describe": lambda marketo, to: marketo.describe_leads(),
    "create by smart list": lambda marketo, to: marketo.create_export(["id"], SmartListFilter(1)),
    "create by static list": lambda marketo, to: marketo.create_export(["id"], StaticListFilter(1)),
    "enqueue": lambda marketo, to: marketo.enqueue_export("e-1"),
    "status": lambda marketo, to: marketo.get_export("e-1"),
    "cancel": lambda marketo, to: marketo.cancel_export("e-1"),
    "file": lambda marketo, to: _fetch(marketo, to, 0),
    "rest of the file": lambda marketo, to: _fetch(marketo, to, 5),
}


@pytest.mark.parametrize("name", MARKETO_CALLS)
def test_a_request_to_marketo_is_as_its_spec_describes(
    marketo_spec: Spec, server: ScriptedServer, tmp_path: Path, name: str
) -> None:
    """The token's request and the call's own; no token in any query."""
    client = MarketoClient(
        host=server.url, client_id="id", client_secret="secret", ring=Ring(1000), patience=ONCE
    )
    _quietly(lambda: MARKETO_CALLS[name](client, tmp_path / "file"))
    fetched, request = server.requests
    assert marketo_spec.check(fetched) == "GET /identity/oauth/token"
    marketo_spec.check(request)
    assert "access_token" not in request.target
    assert request.headers["authorization"] == "Bearer t"


def _fetch(marketo: MarketoClient, to: Path, first_byte: int) -> None:
    with to.open("wb") as sink:
        sink.write(b"x" * first_byte)
        marketo.fetch_export_file(ExportJob("e-1", "completed", 1, 10), sink, lambda done: None)


def _quietly(call: Callable[[], object]) -> None:
    """The server's answers fit no call in particular; what was asked is what counts here."""
    try:
        call()
    except SmsFlowError:
        return


def test_the_check_itself_sees_a_wrong_request(vibes_spec: Spec) -> None:
    """A missing slash, an unknown query, a missing header or a field of our invention does not pass."""
    good = {"content-type": "application/json", "x-api-version": "2"}
    event = b'{"event_type": "a", "event_data": {"mdn": "+12025550132"}}'
    vibes_spec.check(Request("POST", "/companies/ACME/events", good, event, 1))
    for wrong in (
        Request("GET", "/companies/ACME/mobiledb/subscription_lists", good, b"", 1),
        Request("GET", "/companies/ACME/mobiledb/persons?mdn=1&phone=2", good, b"", 1),
        Request("GET", "/companies/ACME/mobiledb/persons", good, b"", 1),
        Request("POST", "/companies/ACME/events", {}, event, 1),
        Request("POST", "/companies/ACME/events", good, event.replace(b"event_type", b"type"), 1),
        Request("POST", "/companies/ACME/events", good, event.replace(b'"a",', b'"a", "x": 1,'), 1),
    ):
        with pytest.raises((AssertionError, jsonschema.ValidationError)):
            vibes_spec.check(wrong)
