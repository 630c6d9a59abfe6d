"""Speaking to a sandbox over its port, for its own tests: plain requests, none of the package's clients."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

from airflow_sms_flow.sandbox import Sandbox, accounts

PERSON, OTHER, THIRD = "+12025550132", "+12025550143", "+12025550154"
LOGIN = (accounts.VIBES_LOGIN, accounts.VIBES_PASSWORD)
DB = "/companies/acme/mobiledb"
NEWS = "/companies/acme/campaigns/acquisition/NEWS1201"
EVENTS = "/companies/acme/events"
CALLBACKS = "/companies/acme/config/callbacks/"
#: What a registration of each callback type needs beside its destination, for list 1201.
SCOPES: dict[str, dict[str, str]] = {
    "ack_participant_added": {"campaign_id": "NEWS1201"},
    "ack_participant_changed": {"campaign_id": "NEWS1201"},
    "subscription_added": {"list_id": "1201"},
    "subscription_removed": {"list_id": "1201"},
    "event_processed": {},
    "unmatched_message_received": {"source_code": "52623", "country_code": "1"},
}


@dataclass
class Caller:
    """Both vendors and the panel of one sandbox."""

    sandbox: Sandbox
    session: requests.Session = field(default_factory=requests.Session)
    token: str = ""

    def vibes(
        self, method: str, path: str, *, auth: Any = LOGIN, version: str = "2", **more: Any
    ) -> requests.Response:
        """A call to Vibes with the right credentials, unless told otherwise."""
        headers = {"X-API-Version": version} if version else {}
        return self.session.request(
            method, self.sandbox.url + path, auth=auth, headers=headers, timeout=10, **more
        )

    def marketo(self, method: str, path: str, **more: Any) -> requests.Response:
        """A call to Marketo with a valid token, unless told otherwise."""
        if not self.token:
            self.token = self.new_token()
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        return self.session.request(method, self.sandbox.url + path, headers=headers, timeout=10, **more)

    def new_token(
        self, client: str = accounts.MARKETO_CLIENT_ID, secret: str = accounts.MARKETO_CLIENT_SECRET
    ) -> str:
        """What the identity service gives for these credentials."""
        query = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
        answer = self.session.get(self.sandbox.url + "/identity/oauth/token", params=query, timeout=10)
        return str(answer.json()["access_token"])

    def error(self, method: str, path: str, **more: Any) -> tuple[str, str]:
        """The first error of a Marketo answer: code and message."""
        answer = self.marketo(method, path, **more)
        body = answer.json()
        assert answer.status_code == 200
        assert body["success"] is False
        return body["errors"][0]["code"], body["errors"][0]["message"]

    def panel(self, method: str, path: str, **more: Any) -> Any:
        """A call to the control panel that must succeed."""
        answer = self.session.request(method, f"{self.sandbox.url}/_sandbox/{path}", timeout=10, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def load(self, **what: Any) -> None:
        """Put people, leads and lists into the sandbox."""
        self.panel("POST", "load", json=what)

    def advance(self, seconds: float) -> None:
        """Move the sandbox's clock."""
        self.panel("POST", "clock", json={"advance_seconds": seconds})

    def texts(self, phone: str = PERSON) -> list[str]:
        """The texts on a phone, oldest first."""
        phones = self.panel("GET", "messages", params={"phone": phone})["phones"]
        return [text["text"] for one in phones for text in one["texts"]]

    def effects(self, kind: str) -> list[dict[str, Any]]:
        """What happened, of one kind."""
        found: list[dict[str, Any]] = self.panel("GET", "effects", params={"kind": kind})["effects"]
        return found

    def ask(self, phone: str = PERSON, campaign: str = NEWS, **more: Any) -> requests.Response:
        """Start an opt-in."""
        return self.vibes("POST", f"{campaign}/participants", json={"mobile_phone": {"mdn": phone}, **more})

    def create_campaign(self, **changes: Any) -> dict[str, Any]:
        """An event-triggered campaign that prints `ev.message_body` to the members of list 1201."""
        body = campaign_body() | changes
        answer = self.vibes("POST", f"{DB}/event_triggered_messages", json=body)
        assert answer.status_code == 202, answer.text
        campaign: dict[str, Any] = answer.json()
        return campaign

    def send(self, phone: str = PERSON, **body: Any) -> requests.Response:
        """An event of the campaign's type."""
        data = {"mdn": phone, "message_body": "Hello"}
        return self.vibes("POST", EVENTS, json={"event_type": "promo", "event_data": data} | body)

    def register(
        self, callback_type: str, url: str, *, version: str = "2", **changes: Any
    ) -> requests.Response:
        """Ask for callbacks of a type, about list 1201 where they are about a list."""
        body = {"callback_type": callback_type, "destination": {"url": url}}
        if callback_type in SCOPES:
            body[callback_type] = SCOPES[callback_type]
        return self.vibes("POST", CALLBACKS, version=version, json=body | changes)

    def register_all(self, url: str) -> None:
        """Ask for every type that the sandbox sends."""
        for callback_type in SCOPES:
            answer = self.register(callback_type, url)
            assert answer.status_code == 201, answer.text

    def callbacks(self) -> dict[str, Any]:
        """What the panel knows about callbacks."""
        shown: dict[str, Any] = self.panel("GET", "callbacks")
        return shown

    def until_settled(self, seconds: float = 10.0) -> dict[str, dict[str, int]]:
        """Wait until no callback is under way; the counts by type."""
        wait_until(lambda: self.callbacks()["waiting"] == 0, seconds)
        counts: dict[str, dict[str, int]] = self.callbacks()["counts"]
        return counts


def campaign_body() -> dict[str, Any]:
    """What a campaign with a subscription filter needs."""
    sms = {"sourcecode": "52623", "country_code": "1", "sourcecode_type": "SC"}
    filters = [{"name": "subscription", "selector": "any", "value": [1201]}]
    template = "{{ ev.message_body | default: 'nothing to say' }}"
    targeting = {"message_template": template, "channel": "sms", "sms": sms, "filters": filters}
    return {"name": "Promo", "event_type": "promo", "start_date": "2026-01-01", "targeting": targeting}


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for something that happens in another thread."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
