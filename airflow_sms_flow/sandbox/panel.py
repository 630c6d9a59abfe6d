"""The control panel under `/_sandbox/`: what happened, and what shall happen next. JSON, but for the page."""

from __future__ import annotations

from importlib import resources
from typing import Any

from airflow_sms_flow.sandbox.callback_panel import CallbackPanel
from airflow_sms_flow.sandbox.clock import iso
from airflow_sms_flow.sandbox.faults import KINDS
from airflow_sms_flow.sandbox.loading import load
from airflow_sms_flow.sandbox.people import Phone, is_e164
from airflow_sms_flow.sandbox.settings import Settings
from airflow_sms_flow.sandbox.state import State
from airflow_sms_flow.sandbox.wire import (
    HTML_TYPE,
    BadRequest,
    Request,
    Response,
    Router,
    json_response,
    text_response,
)

Values = dict[str, str]


class Panel:
    """The routes of the control panel. A wrong field answers 400 with what to give instead."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.router, self.unlocked = Router(), Router()
        CallbackPanel(state).add_to(self.unlocked)
        add = self.router.add
        add("GET", "/_sandbox/", self._page)
        add("POST", "/_sandbox/reset", self._reset)
        add("GET", "/_sandbox/settings", self._get_settings)
        add("POST", "/_sandbox/settings", self._set_settings)
        add("POST", "/_sandbox/load", self._load)
        add("GET", "/_sandbox/faults", self._get_faults)
        add("POST", "/_sandbox/faults", self._set_faults)
        add("DELETE", "/_sandbox/faults", self._clear_faults)
        add("GET", "/_sandbox/clock", self._get_clock)
        add("POST", "/_sandbox/clock", self._move_clock)
        add("GET", "/_sandbox/log", self._log)
        add("GET", "/_sandbox/messages", self._messages)
        add("GET", "/_sandbox/effects", self._effects)
        add("GET", "/_sandbox/stats", self._stats)
        add("GET", "/_sandbox/state", self._dump)
        add("POST", "/_sandbox/reply", self._reply)

    def handle(self, request: Request) -> Response:
        """Answer one request to the panel."""
        locked = self.router.find(request.method, request.path)
        found = locked or self.unlocked.find(request.method, request.path)
        if found is None:
            routers = (self.router, self.unlocked)
            names = [name for one in routers for name in one.nearby(request.method, request.path, 3)]
            text = f"Nothing at {request.method} {request.path}. Nearby: {', '.join(names)}\n"
            return text_response(404, text)
        try:
            with self.state.lock:
                self.state.advance()
                if locked:
                    return found[0].handler(request, found[1])
            return found[0].handler(request, found[1])
        except (BadRequest, ValueError, TypeError, KeyError) as error:
            return json_response(400, {"error": str(error)})

    def _page(self, request: Request, values: Values) -> Response:
        return Response(200, resources.files(__package__).joinpath("page.html").read_bytes(), HTML_TYPE)

    def _reset(self, request: Request, values: Values) -> Response:
        """Body: settings to change, or nothing; the others stay, but with `"defaults": true`."""
        changes = request.json_object() if request.body else {}
        base = Settings() if changes.pop("defaults", False) else self.state.settings
        self.state.reset(base.changed(changes))
        return json_response(200, {"settings": vars(self.state.settings)})

    def _get_settings(self, request: Request, values: Values) -> Response:
        return json_response(200, vars(self.state.settings))

    def _set_settings(self, request: Request, values: Values) -> Response:
        self.state.change(request.json_object())
        return json_response(200, vars(self.state.settings))

    def _load(self, request: Request, values: Values) -> Response:
        return json_response(200, load(self.state, request.json_object()))

    def _get_faults(self, request: Request, values: Values) -> Response:
        rules = [rule.as_dict() for rule in self.state.faults.rules]
        return json_response(200, {"rules": rules, "kinds": KINDS})

    def _set_faults(self, request: Request, values: Values) -> Response:
        """Body: one rule, which is added, or `{"rules": [...]}`, which replaces all."""
        body = request.json_object()
        if "rules" not in body:
            return json_response(200, self.state.faults.add(body).as_dict())
        before = list(self.state.faults.rules)
        self.state.faults.clear()
        try:
            for rule in body["rules"]:
                self.state.faults.add(rule)
        except (ValueError, TypeError):
            self.state.faults.rules[:] = before
            raise
        return self._get_faults(request, values)

    def _clear_faults(self, request: Request, values: Values) -> Response:
        self.state.faults.clear()
        return json_response(200, {"rules": []})

    def _get_clock(self, request: Request, values: Values) -> Response:
        clock = self.state.clock
        return json_response(200, {"now": iso(clock.now()), "ahead_seconds": clock.ahead_seconds})

    def _move_clock(self, request: Request, values: Values) -> Response:
        seconds = request.json_object().get("advance_seconds")
        if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
            raise ValueError(f"advance_seconds={seconds!r}: give a number of seconds")
        self.state.clock.advance(seconds)
        return self._get_clock(request, values)

    def _log(self, request: Request, values: Values) -> Response:
        entries = self.state.record.since(int(request.parameter("since") or 0))
        return json_response(200, {"requests": entries})

    def _messages(self, request: Request, values: Values) -> Response:
        """Texts per phone. `phone=` one number; `search=` part of number or name; `limit=` the newest few."""
        phone, search = request.parameter("phone"), (request.parameter("search") or "").strip().lower()
        limit = int(request.parameter("limit") or 1_000_000)
        phones = self.state.phones.all()
        if phone is not None:
            phones = [one for one in phones if one.number == phone]
        found = [one for one in phones if one.texts and (not search or _is_found(one, search))]
        found.sort(key=lambda one: one.texts[-1].at, reverse=True)
        shown = [_shown(one) for one in found[:limit]]
        return json_response(200, {"phones": shown, "found": len(found), "counts": self._counts()})

    def _counts(self) -> dict[str, int]:
        texts = [text for phone in self.state.phones.all() for text in phone.texts]
        waiting = len(self.state.company.pending)
        kinds = ("question", "welcome", "event", "reply", "goodbye")
        return {"waiting": waiting, **{kind: sum(text.kind == kind for text in texts) for kind in kinds}}

    def _effects(self, request: Request, values: Values) -> Response:
        """Everything that happened to somebody, oldest first. `kind=` and `since=` narrow."""
        kind, since = request.parameter("kind"), int(request.parameter("since") or 0)
        effects = self.state.phones.effects[since:]
        return json_response(200, {"effects": [one for one in effects if kind in (None, one["kind"])]})

    def _stats(self, request: Request, values: Values) -> Response:
        stats = self.state.record.stats()
        return json_response(200, stats)

    def _dump(self, request: Request, values: Values) -> Response:
        """Who is on the lists, was asked, said no; the campaigns; Marketo's lists and jobs."""
        company, instance = self.state.company, self.state.instance
        subscriptions = [
            {
                "phone": one.person.mdn,
                "external_person_id": one.person.external_person_id,
                "list_id": one.list_id,
                "opt_in_date": iso(one.opt_in_date),
                "opt_out_date": iso(one.opt_out_date),
                "opt_out_reason": one.opt_out_reason,
            }
            for records in company.history.values()
            for one in records
        ]
        participants = [
            {
                "phone": one.person.mdn,
                "campaign_id": one.campaign.acquisition_id,
                "expire_date": iso(one.expire_date),
            }
            for one in company.pending.values()
        ]
        persons = company.persons.by_id
        blocks = [
            {"phone": persons[person].mdn, "campaign_id": campaign} for campaign, person in company.blocks
        ]
        campaigns = self.state.vibes.campaigns[company.company_key].by_id.values()
        say = self.state.vibes.answers[company.company_key]
        lists = {"smart_lists": instance.smart_lists, "static_lists": instance.static_lists}
        shown: dict[str, Any] = {
            name: [{"id": one.list_id, "name": one.name, "lead_ids": one.lead_ids} for one in found.values()]
            for name, found in lists.items()
        }
        shown |= {"subscriptions": subscriptions, "participants": participants, "blocks": blocks}
        shown["event_triggered_messages"] = [say.campaign(one) for one in campaigns]
        jobs = self.state.marketo.exports.jobs.values()
        shown["exports"] = [
            {"export_id": job.export_id, "status": job.status, "records": job.records} for job in jobs
        ]
        return json_response(200, shown)

    def _reply(self, request: Request, values: Values) -> Response:
        """A person texts something: `{"phone": "+12025550132", "text": "STOP"}`."""
        body = request.json_object()
        phone, text = body.get("phone"), body.get("text")
        if not is_e164(phone):
            raise ValueError(f"phone={phone!r}: give a number in E.164, such as +12025550132")
        if not isinstance(text, str):
            raise ValueError(f"text={text!r}: give what the person texts")
        self.state.company.receive_text(str(phone), text)
        return json_response(200, _shown(self.state.phones.get(str(phone))))


def _is_found(phone: Phone, search: str) -> bool:
    return search in phone.number or any(search in name.lower() for name in phone.names)


def _shown(phone: Phone) -> dict[str, Any]:
    return {
        "phone": phone.number,
        "names": phone.names,
        "behaviour": phone.behaviour,
        "carrier": phone.carrier,
        "texts": [text.as_dict() for text in phone.texts],
    }
