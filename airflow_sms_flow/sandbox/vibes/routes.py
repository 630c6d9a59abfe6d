"""Vibes over HTTP: who may ask, what is asked, and the error envelope."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from airflow_sms_flow.sandbox import accounts
from airflow_sms_flow.sandbox.vibes.answers import Answers
from airflow_sms_flow.sandbox.vibes.callback_routes import CallbackRoutes
from airflow_sms_flow.sandbox.vibes.callbacks import Callbacks
from airflow_sms_flow.sandbox.vibes.events import Campaigns
from airflow_sms_flow.sandbox.vibes.models import (
    Company,
    Person,
    VibesError,
    check_custom_fields,
    check_mdn,
)
from airflow_sms_flow.sandbox.vibes.persons import save_person
from airflow_sms_flow.sandbox.wire import BadRequest, Request, Response, Router, json_response

EVENTS = "/companies/{company_key}/events"
_LOGINS = {
    accounts.VIBES_LOGIN: (accounts.VIBES_PASSWORD, accounts.COMPANY_KEY),
    accounts.OTHER_VIBES_LOGIN: (accounts.OTHER_VIBES_PASSWORD, accounts.OTHER_COMPANY_KEY),
}
_FINDERS = ("mdn", "person_key", "person_id", "external_person_id")
Values = dict[str, str]


class VibesApi:
    """All companies of one Vibes."""

    def __init__(self, companies: Mapping[str, Company], callbacks: Mapping[str, Callbacks]) -> None:
        self.companies = companies
        self.campaigns = {key: Campaigns(company) for key, company in companies.items()}
        self.answers = {key: Answers(companies[key], self.campaigns[key]) for key in companies}
        self.router = Router()
        self._add_routes()
        CallbackRoutes(callbacks, self._answer).add_to(self.router)

    def _add_routes(self) -> None:
        add, root = self.router.add, "/companies/{company_key}"
        acquisition, db = f"{root}/campaigns/acquisition", f"{root}/mobiledb"
        add("POST", EVENTS, self._post_event)
        add("GET", f"{db}/subscription_lists/{{list_id}}/subscribers", self._subscriber)
        add("GET", f"{acquisition}/{{acquisition_id}}/participants", self._search_participants)
        add("POST", f"{acquisition}/{{acquisition_id}}/participants", self._add_participant)
        add("GET", acquisition, self._acquisitions)
        add("GET", f"{acquisition}/{{acquisition_id}}", self._acquisition)
        add("GET", f"{db}/subscription_lists/", self._lists)
        add("GET", f"{db}/subscription_lists/{{list_id}}", self._list)
        add("GET", f"{db}/subscription_lists/{{list_id}}/acquisition_campaigns/", self._list_acquisitions)
        add("GET", f"{db}/persons", self._person_by_number)
        add("POST", f"{db}/persons/", self._post_person)
        for one in ("{person_key}", "external/{external_person_id}"):
            add("GET", f"{db}/persons/{one}", self._person)
            add("PUT", f"{db}/persons/{one}", self._put_person)
            add("GET", f"{db}/persons/{one}/subscriptions", self._subscriptions)
            add("GET", f"{db}/persons/{one}/subscriptions/{{list_id}}", self._subscription)
            add("DELETE", f"{db}/persons/{one}/subscriptions/{{list_id}}", self._unsubscribe)
        add("POST", f"{db}/event_triggered_messages", self._post_campaign)
        add("GET", f"{db}/event_triggered_messages", self._get_campaigns)
        for method in ("GET", "PUT", "DELETE"):
            add(method, f"{db}/event_triggered_messages/{{message_id}}", self._one_campaign)
        add("GET", f"{root}/sourcecodes", self._source_codes)

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        try:
            return self._handle(request)
        except VibesError as error:
            return error_response(error.status, *error.messages)
        except BadRequest as error:
            return error_response(422, str(error))

    def _handle(self, request: Request) -> Response:
        owner = _authenticate(request)
        company_key = request.path.split("/")[2] if request.path.count("/") >= 2 else ""
        if company_key not in self.companies:
            raise VibesError(404, f"Company {company_key} not found")
        if owner != company_key:
            raise VibesError(403, "These credentials belong to another company")
        if request.over_limit:
            raise VibesError(429, "Rate limit exceeded")
        found = self.router.find(request.method, request.path)
        if found is None:
            raise VibesError(
                404, "No such route; nearby: " + "; ".join(self.router.nearby(request.method, request.path))
            )
        route, values = found
        request.route = route.template
        return route.handler(request, values)

    def _answer(self, values: Values, body: object, status: int = 200) -> Response:
        return json_response(status, self.answers[values["company_key"]].finish(body))

    # Acquisition campaigns and participants

    def _acquisitions(self, request: Request, values: Values) -> Response:
        company, say = self._of(values)
        if not company.lists:
            raise VibesError(404, "No campaigns found")
        return self._answer(values, [say.acquisition(one) for one in company.lists.values()])

    def _acquisition(self, request: Request, values: Values) -> Response:
        company, say = self._of(values)
        return self._answer(values, say.acquisition(company.campaign(values["acquisition_id"])))

    def _search_participants(self, request: Request, values: Values) -> Response:
        company, say = self._of(values)
        campaign = company.campaign(values["acquisition_id"])
        person = self._looked_up(request, company)
        asked = company.is_asked(campaign, person) if person else None
        return self._answer(values, [say.participation(asked)] if asked else [])

    def _add_participant(self, request: Request, values: Values) -> Response:
        company, say = self._of(values)
        campaign = company.campaign(values["acquisition_id"])
        body = request.json_object()
        phone = body.get("mobile_phone")
        mdn = phone.get("mdn") if isinstance(phone, dict) else None
        if mdn is not None:
            _check_number(request, mdn)
        custom_fields = check_custom_fields(body.get("custom_fields"))
        person = save_person(company, body, mdn, custom_fields, dry=True)
        number = mdn or (person.mdn if person else None)
        if number is None:
            raise VibesError(422, "mobile_phone.mdn is required for a person without a phone")
        if company.phones.get(number).carrier != "mobile":
            raise VibesError(422, "The mobile phone is a landline or not on a provisioned carrier")
        if person is not None:
            company.refuse(campaign, person)
        saved = save_person(company, body, mdn, custom_fields)
        status, participation = company.ask(campaign, _known(saved))
        return self._answer(values, say.participation(participation, with_key=True), status)

    # Lists

    def _lists(self, request: Request, values: Values) -> Response:
        company, say = self._of(values)
        return self._answer(values, [say.subscription_list(one) for one in company.lists.values()])

    def _list(self, request: Request, values: Values) -> Response:
        company, say = self._of(values)
        return self._answer(values, say.subscription_list(company.lists[_list_id(company, values)]))

    def _subscriber(self, request: Request, values: Values) -> Response:
        company, say = self._of(values)
        list_id = _list_id(company, values)
        person = self._looked_up(request, company)
        if person is None or not company.active(list_id, person):
            raise VibesError(404, "Subscriber not found")
        return self._answer(values, say.person(person))

    def _list_acquisitions(self, request: Request, values: Values) -> Response:
        company, say = self._of(values)
        return self._answer(values, [say.acquisition(company.lists[_list_id(company, values)])])

    # Persons and their subscriptions

    def _person_by_number(self, request: Request, values: Values) -> Response:
        company, say = self._of(values)
        if request.parameter("mdn") is None:
            raise VibesError(404, "mdn is required")
        person = company.persons.by_mdn.get(_check_number(request, request.parameter("mdn")))
        return self._answer(values, say.person_by_number(_known(person)))

    def _person(self, request: Request, values: Values) -> Response:
        company, say = self._of(values)
        return self._answer(values, say.person(_person_of(company, values)))

    def _post_person(self, request: Request, values: Values) -> Response:
        return self._save(request, values, None)

    def _put_person(self, request: Request, values: Values) -> Response:
        company, _ = self._of(values)
        kind = "external_person_id" if "external_person_id" in values else "person_key"
        person = company.persons.find(kind, values[kind])
        if person is None and kind == "person_key":
            raise VibesError(404, "Person not found")
        return self._save(request, values, person)

    def _save(self, request: Request, values: Values, person: Person | None) -> Response:
        company, say = self._of(values)
        body = request.json_object()
        if "external_person_id" in values:
            body.setdefault("external_person_id", values["external_person_id"])
        phone = body.get("mobile_phone")
        mdn = phone.get("mdn") if isinstance(phone, dict) else None
        if mdn is not None:
            _check_number(request, mdn)
        known = len(company.persons.by_id)
        custom_fields = check_custom_fields(body.get("custom_fields"))
        body = {name: body[name] for name in body if name not in ("person_id", "person_key")}
        saved = save_person(company, body, mdn, custom_fields, person=person, create=True)
        return self._answer(
            values, say.person(_known(saved)), 201 if len(company.persons.by_id) > known else 200
        )

    def _subscriptions(self, request: Request, values: Values) -> Response:
        company, say = self._of(values)
        records = company.history.get(_person_of(company, values).person_id, [])
        if request.parameter("active_only") == "true" and "person_key" in values:
            records = [one for one in records if one.opt_out_date is None]
        return self._answer(values, [say.subscription(one) for one in records])

    def _subscription(self, request: Request, values: Values) -> Response:
        company, say = self._of(values)
        active = company.active(values["list_id"], _person_of(company, values))
        if active is None:
            raise VibesError(404, "Subscription not found")
        one = say.subscription(active)
        return self._answer(values, one if say.moody and active.person.person_id % 2 else [one])

    def _unsubscribe(self, request: Request, values: Values) -> Response:
        company, _ = self._of(values)
        if not company.unsubscribe(values["list_id"], _person_of(company, values), "api_opt_out"):
            raise VibesError(404, "Subscription not found")
        return Response(204)

    # Events and their campaigns

    def _post_event(self, request: Request, values: Values) -> Response:
        body = request.json_object()
        data = body.get("event_data")
        if isinstance(data, dict) and data.get("mdn") is not None:
            _check_number(request, data["mdn"])
        event_id = self.campaigns[values["company_key"]].accept(body, len(request.body))
        request.notes["event_id"] = event_id
        return self._answer(values, {"event_id": event_id}, 202)

    def _post_campaign(self, request: Request, values: Values) -> Response:
        campaign = self.campaigns[values["company_key"]].create(request.json_object())
        return self._answer(values, self._of(values)[1].campaign(campaign), 202)

    def _get_campaigns(self, request: Request, values: Values) -> Response:
        say = self._of(values)[1]
        found = [say.campaign(one) for one in self.campaigns[values["company_key"]].by_id.values()]
        for name in ("status", "event_type"):
            wanted = request.parameter(name)
            if wanted is not None:
                found = [one for one in found if one[name].lower() == wanted.lower()]
        return self._answer(values, found)

    def _one_campaign(self, request: Request, values: Values) -> Response:
        campaigns = self.campaigns[values["company_key"]]
        campaign = campaigns.get(values["message_id"])
        if request.method == "PUT":
            campaigns.update(campaign, request.json_object())
        elif request.method == "DELETE":
            campaign.canceled = True
        return self._answer(values, self._of(values)[1].campaign(campaign))

    def _source_codes(self, request: Request, values: Values) -> Response:
        return self._answer(values, [self._of(values)[1].source_code()])

    def _of(self, values: Values) -> tuple[Company, Answers]:
        return self.companies[values["company_key"]], self.answers[values["company_key"]]

    def _looked_up(self, request: Request, company: Company) -> Person | None:
        given = [name for name in _FINDERS if request.parameter(name) is not None]
        if len(given) != 1:
            raise VibesError(400, f"Give exactly one of {', '.join(_FINDERS)}")
        value = request.parameter(given[0]) or ""
        if given[0] == "mdn":
            _check_number(request, value)
        return company.persons.find(given[0], value)


def error_response(status: int, *messages: str) -> Response:
    """Vibes' error envelope."""
    return json_response(status, {"errors": [{"message": text, "code": status} for text in messages]})


def _authenticate(request: Request) -> str:
    """The company that these credentials belong to, or 401."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        login, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        login = password = ""
    expected, company_key = _LOGINS.get(login, ("", ""))
    if scheme.lower() != "basic" or not expected or password != expected:
        raise VibesError(401, "Invalid credentials")
    return company_key


def _check_number(request: Request, mdn: object) -> str:
    """Numbers are E.164 under version 2 of the API, and only there."""
    if request.headers.get("x-api-version") != "2":
        raise VibesError(400, "mdn: E.164 numbers need the header X-API-Version: 2")
    return check_mdn(mdn)


def _known(person: Person | None) -> Person:
    if person is None:
        raise VibesError(404, "Person not found")
    return person


def _person_of(company: Company, values: Values) -> Person:
    kind = "external_person_id" if "external_person_id" in values else "person_key"
    return _known(company.persons.find(kind, values[kind]))


def _list_id(company: Company, values: Values) -> str:
    if values["list_id"] not in company.lists:
        raise VibesError(404, f"Subscription list {values['list_id']} not found")
    return values["list_id"]
