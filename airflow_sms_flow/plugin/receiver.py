"""Takes in one callback: store it, then say so. What it means is nobody's business here.

The answers, and what Vibes makes of them (facts B.5):

    204  it is on disk, whatever its body said
    404  wrong secret, or from where callbacks are not taken: Vibes gives the callback up
    405  the right address, another method
    413  too large: Vibes gives the callback up
    503  not stored, or it cannot be known yet whether the secret is right: Vibes repeats
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_sms_flow.core.callbacks import dedupe_key
from airflow_sms_flow.ledger.inbox import RawCallback
from airflow_sms_flow.plugin.door import Door, Unsure
from airflow_sms_flow.plugin.hiding import hide_secret
from airflow_sms_flow.plugin.sources import Address, Sources
from airflow_sms_flow.plugin.store import Store
from airflow_sms_flow.plugin.telling import NowAndThen

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)

_METHODS = ("POST", "PUT")
#: How long a caller may take to hand over its body.
_BODY_SECONDS = 10.0
#: Of headers, no more than this is kept: they are for people who look into a riddle.
_HEADER_CHARACTERS = 16_384
#: Headers whose values may open something else.
_PRIVATE_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
#: The longest key that the inbox takes.
_KEY_CHARACTERS = 200


class Receiver:
    """The ASGI application below `CALLBACK_PATH`. It never raises."""

    def __init__(self, door: Door, sources: Sources, store: Store, max_bytes: int) -> None:
        self._door = door
        self._sources = sources
        self._store = store
        self._max_bytes = max_bytes
        self._turned_away = NowAndThen()
        self._unknown = NowAndThen()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        secret = hide_secret(scope)
        try:
            status = await self._take_in(scope, receive, secret)
        except Exception as error:  # Vibes would take a traceback for an answer; its text may hold a secret
            log.error("A callback could not be taken in and was answered 503: %s", type(error).__name__)
            status = 503
        await answer(send, status)

    async def _take_in(self, scope: Scope, receive: Receive, secret: str) -> int:
        headers = _readable(scope["headers"])
        peer = (scope.get("client") or (None,))[0]
        forwarded = [value for name, value in headers if name == "x-forwarded-for"]
        caller = self._sources.caller(peer, forwarded)
        if not self._sources.admits(caller):
            self._tell_turned_away(caller, secret)
            return 404
        arrived = time.monotonic()
        try:
            company_key = await self._door.company_behind(secret)
        except Unsure:
            return 503
        # The time that the caller takes over its own body does not count against it.
        waited = time.monotonic() - arrived
        if company_key is None:
            self._tell_unknown(caller)
            return 404
        if scope["method"] not in _METHODS:
            return 405
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await _read_body(receive, self._max_bytes)
        except (TimeoutError, ConnectionError):
            return 503
        if body is None:
            log.warning("A callback of more than %d bytes was answered 413 and is lost", self._max_bytes)
            return 413
        callback = RawCallback(
            company_key=company_key,
            received_at=datetime.now(UTC),
            source=str(caller or ""),
            headers=_kept_headers(headers, secret),
            body=body,
            dedupe_key=_storable_key(company_key, body),
        )
        return 204 if await self._store.keep(callback, waited) else 503

    def _tell_turned_away(self, caller: Address | None, secret: str) -> None:
        """Strangers are turned away without a word. Whoever has the secret is Vibes."""
        if self._door.knew(secret) and self._turned_away.due():
            log.warning(
                "A callback with a right secret was answered 404 and is lost: %s is not among [sms_flow] "
                "callback_sources. Add it there; if it is a proxy of yours, to callback_trusted_proxies",
                caller or "its caller, whom the proxy does not name,",
            )

    def _tell_unknown(self, caller: Address | None) -> None:
        if self._sources.expects(caller) and self._unknown.due():
            log.warning(
                "A callback from %s, where Vibes calls from, was answered 404 and is lost: its secret stands "
                "in no connection of [sms_flow] callback_conn_ids. Where a registration still carries an "
                "older one, put that back and register again: python -m airflow_sms_flow callbacks register",
                caller,
            )


async def answer(send: Send, status: int) -> None:
    """An answer without a body: nobody learns from it why."""
    headers = [(b"cache-control", b"no-store")]
    if status == 405:
        headers.append((b"allow", ", ".join(_METHODS).encode()))
    if status == 413:
        headers.append((b"connection", b"close"))
    if status != 204:
        headers.append((b"content-length", b"0"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _read_body(receive: Receive, max_bytes: int) -> bytes | None:
    """The whole body; None once it is larger. Counted as it comes: Content-Length may lie."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _readable(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]


def _kept_headers(headers: Iterable[tuple[str, str]], secret: str) -> Mapping[str, str]:
    """Name to value, without anybody's secrets; a proxy may repeat the whole address in one of them."""
    kept: dict[str, Any] = {}
    room = _HEADER_CHARACTERS
    for name, value in headers:
        shown = "***" if name in _PRIVATE_HEADERS else value.replace(secret, "***")
        room -= len(name) + len(shown)
        if room < 0:
            break
        kept[name] = f"{kept[name]}, {shown}" if name in kept else shown
    return kept


def _storable_key(company_key: str, body: bytes) -> str:
    """What tells this callback from others; a database takes neither NUL nor half a surrogate pair."""
    try:
        key = dedupe_key(company_key, body)
    except Exception as error:  # a body that we merely fail to understand is kept all the same
        log.warning("A callback has no readable id: %s", type(error).__name__)
        key = ""
    if key and len(key) <= _KEY_CHARACTERS and key.isprintable() and _encodes(key):
        return key
    return f"{company_key[:64]}:{hashlib.sha256(body).hexdigest()}"


def _encodes(text: str) -> bool:
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in text)
