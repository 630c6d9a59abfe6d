"""Keeps the secret in a callback's address out of what the API server logs.

Airflow's access log (3.2 and later) and uvicorn's (before) print the path of the request's scope when the
answer leaves or after it; by then it has been replaced there. Also where the address is nearly right, as with
a prefix that a proxy forgot to strip: the secret in it is real all the same.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from airflow_sms_flow.hooks.callbacks import CALLBACK_PATH

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ADDRESS = re.compile(rf"{re.escape(CALLBACK_PATH)}[^\s\"']*")
_HIDDEN = f"{CALLBACK_PATH}/***"
#: Loggers of the servers that Airflow may run in. At DEBUG, uvicorn prints a websocket's path before anybody
#: is asked; at TRACE, every scope.
_SERVER_LOGGERS = ("uvicorn.access", "uvicorn.asgi", "uvicorn.error", "gunicorn.access", "gunicorn.error")


class HidingMiddleware:
    """Around all of the API server's routes; requests that are not about callbacks pass untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if CALLBACK_PATH not in scope.get("path", ""):
            await self._app(scope, receive, send)
            return

        async def send_hidden(message: Message) -> None:
            hide_secret(scope)
            await send(message)

        try:
            await self._app(scope, receive, send_hidden)
        finally:
            hide_secret(scope)


def hide_secret(scope: Scope) -> str:
    """Put *** in the place of whatever follows `CALLBACK_PATH`; returns that, without the slash before it.
    To be called once the request has been routed."""
    before, _, secret = scope["path"].partition(CALLBACK_PATH)
    scope["path"] = f"{before}{_HIDDEN}"
    scope["raw_path"] = scope["path"].encode("utf-8", "replace")
    return str(secret).removeprefix("/")


def hide_in_server_logs() -> None:
    """The second lock, for what the server itself says, in this process and from now on."""
    for name in _SERVER_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, _HidingFilter) for one in logger.filters):
            logger.addFilter(_HidingFilter())


class _HidingFilter(logging.Filter):
    """Lets every record pass, without the secret. The arguments stay as many as they were: uvicorn's own
    formatter counts on them."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str):
            record.msg = _ADDRESS.sub(_HIDDEN, record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(_hidden(argument) for argument in record.args)
        elif CALLBACK_PATH in str(record.args):  # the one argument is a mapping, as a scope is
            record.msg, record.args = _ADDRESS.sub(_HIDDEN, record.getMessage()), ()
        return True


def _hidden(argument: object) -> object:
    if isinstance(argument, int | float):
        return argument
    text = str(argument)
    return _ADDRESS.sub(_HIDDEN, text) if CALLBACK_PATH in text else argument
