"""What Airflow's API server mounts: the receiver with its threads, from the server's start to its end."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from airflow_sms_flow import settings
from airflow_sms_flow.core.errors import SmsFlowError
from airflow_sms_flow.hooks.ledger import LedgerOpener
from airflow_sms_flow.hooks.vibes import VibesHook
from airflow_sms_flow.plugin.door import Account, Door
from airflow_sms_flow.plugin.hiding import hide_in_server_logs, hide_secret
from airflow_sms_flow.plugin.listening import Listener
from airflow_sms_flow.plugin.receiver import Receiver, answer
from airflow_sms_flow.plugin.sources import Sources
from airflow_sms_flow.plugin.store import Store

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)


class CallbackApp(FastAPI):
    """A FastAPI because Airflow runs the lifespan of no other kind; it has no routes. Every request goes to
    the receiver, past FastAPI's own middleware and its error pages."""

    def __init__(self) -> None:
        super().__init__(openapi_url=None, lifespan=self._life)
        self._receiver: Receiver | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 503 until it has begun, and where a setting is wrong: so nothing is lost."""
        if scope["type"] == "websocket":
            hide_secret(scope)
            await send({"type": "websocket.close", "code": 1000})
        elif self._receiver is not None:
            await self._receiver(scope, receive, send)
        else:
            hide_secret(scope)
            await answer(send, 503)

    @asynccontextmanager
    async def _life(self, _: FastAPI) -> AsyncIterator[None]:
        """In every process of the API server, after any fork: threads do not survive one."""
        hide_in_server_logs()
        with ExitStack() as stack:
            try:
                self._receiver = await _begin(stack)
            except Exception as error:  # the API server has other work to do, and must start
                what = str(error) if isinstance(error, SmsFlowError) else type(error).__name__
                log.error(
                    "Callbacks are answered 503, so that Vibes repeats them, until this is put right and "
                    "the API server is started again: %s",
                    what,
                )
            yield
            self._receiver = None


async def _begin(stack: ExitStack) -> Receiver:
    """The receiver at work; `stack` ends what it began."""
    door = Door(settings.callback_conn_ids(), _read_account)
    sources = Sources(settings.callback_sources(), settings.callback_trusted_proxies())
    max_bytes = settings.callback_max_bytes()
    _warn_of_believed_headers(sources)
    open_inbox = LedgerOpener()
    listener = Listener(open_inbox)
    store = Store(open_inbox, listener.wake)
    for part in (listener, store):
        part.start()
        stack.callback(part.close)
    await door.look()
    return Receiver(door, sources, store, max_bytes)


def _read_account(conn_id: str) -> Account:
    hook = VibesHook(conn_id)
    secrets = hook.callback_secrets
    return Account(hook.company_key, secrets)


def _warn_of_believed_headers(sources: Sources) -> None:
    """The server itself may have replaced the caller's address before we see it."""
    if sources.allowed is not None and os.environ.get("FORWARDED_ALLOW_IPS", "").strip() == "*":
        log.warning(
            "[sms_flow] callback_sources protects nothing while FORWARDED_ALLOW_IPS is *: with "
            "--proxy-headers the API server then believes any caller's X-Forwarded-For. Name your proxies "
            "there instead."
        )
