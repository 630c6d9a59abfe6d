"""Marketo's access token: fetched once, kept for its life, renewed a minute early (facts D.1).

The token's address holds the client secret. It is never shown: the transport names calls by template only.
"""

from __future__ import annotations

import threading
import time

from airflow_sms_flow.clients._transport import Transport
from airflow_sms_flow.clients._wire import Call, NoReply, Reply, as_text
from airflow_sms_flow.clients.marketo_answers import by_status, unanswered
from airflow_sms_flow.core.answers import Answer, AnswerClass

_EARLY_SECONDS = 60.0


class TokenCache:
    """The token of one custom service. Threads may share it; one of them fetches, the others wait."""

    def __init__(self, transport: Transport, client_id: str, client_secret: str) -> None:
        self._transport = transport
        self._call = Call(
            "GET",
            "/identity/oauth/token",
            query={
                "grant_type": "client_credentials",
                "client_id": client_id,
                "client_secret": client_secret,
            },
        )
        self._lock = threading.Lock()
        self._token = ""
        self._fresh_until = 0.0

    def get(self) -> Answer:
        """OK with the token as value, or what the refusal means. The call is not counted by Marketo."""
        with self._lock:
            if self._token and time.monotonic() < self._fresh_until:
                return Answer(AnswerClass.OK, value=self._token)
            answer = self._fetch()
            if answer.kind is AnswerClass.OK:
                self._token, seconds = answer.value
                # Asked early, Marketo gives the same token again with what is left of it, maybe seconds.
                self._fresh_until = time.monotonic() + max(seconds - _EARLY_SECONDS, seconds / 2)
                return Answer(AnswerClass.OK, value=self._token)
            return answer

    def forget(self, token: str) -> None:
        """The API does not take this token (601, 602): fetch another, unless somebody already did."""
        with self._lock:
            if token == self._token:
                self._token = ""

    def _fetch(self) -> Answer:
        outcome = self._transport.exchange(self._call)
        if isinstance(outcome, NoReply):
            return unanswered(self._call, outcome)
        if outcome.status in (400, 401, 403):
            why = "Marketo refuses client id and secret: check login and password of the Marketo connection"
            detail = f"{self._call.name} answered {outcome.status}: {why}"
            return Answer(AnswerClass.CONFIG, "credentials", detail)
        return _read(self._call, outcome) or by_status(self._call, outcome)


def _read(call: Call, reply: Reply) -> Answer | None:
    try:
        body = reply.json()
    except ValueError:
        return None
    token = as_text(body.get("access_token")) if isinstance(body, dict) else None
    if reply.status != 200 or token is None or not token.isascii() or not token.isprintable():
        return None
    try:
        seconds = float(as_text(body.get("expires_in")) or 0.0)
    except ValueError:
        seconds = 0.0
    return Answer(AnswerClass.OK, value=(token, seconds))
